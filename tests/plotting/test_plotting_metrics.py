"""Charts of metrics show what they were given: ellipses, terms, points, curves to 1/N = 0, floors
and verdicts.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.plotting import metrics as charts

UNIT = (torch.zeros(2), torch.eye(2))
OTHER = (torch.tensor([1.0, 2.0]), torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
PAIR = {"real": UNIT, "generated": OTHER}
CELLS = {
    "blur": {"FID": ("3.1", "caught"), "IS": ("9.0", "blind")},
    "noise": {"FID": ("8.2", "caught"), "IS": ("9.9", "preferred")},
}
STATES = ("blind", "caught", "preferred")

EVERY = {
    "gaussian_distance": lambda: charts.gaussian_distance(PAIR, (5.0, 1.0)),
    "gaussian_distance_samples": lambda: charts.gaussian_distance(
        PAIR, (5.0, 1.0), {name: torch.randn(9, 2) for name in PAIR}
    ),
    "score_map": lambda: charts.score_map({"a": (0.5, 3.0), "b": (1.0, 10.0)}, 10),
    "plane": lambda: charts.plane({"floor": (0.8, 0.8), "a": (0.1, 1.0)}, "precision", "recall"),
    "against_num_images": lambda: charts.against_num_images(
        [100, 400], {"a": ([3.0, 1.5], [0.2, 0.1])}, {"a": (1.0, 0.1)}, "FID"
    ),
    "comparison_with_floor": lambda: charts.comparison_with_floor(
        {"a": (3.0, 0.2)}, (1.0, 0.1), "FID"
    ),
    "verdict_table": lambda: charts.verdict_table(CELLS, STATES),
}


@pytest.mark.parametrize("name", EVERY)
def test_figure_can_be_drawn(name):
    stream = io.BytesIO()
    EVERY[name]().savefig(stream, format="png", dpi=30)
    assert stream.getvalue().startswith(b"\x89PNG")


def test_ellipses_lie_one_and_two_standard_deviations_from_the_mean():
    axes = EVERY["gaussian_distance"]().axes[0]
    one, two = (
        np.array(line.get_xydata())
        for line in [line for line in axes.lines if len(line.get_xdata()) == 100][2:4]
    )
    assert np.abs(one - [1, 2]).max(0) == pytest.approx([2, 1], abs=0.01)
    assert np.abs(two - [1, 2]).max(0) == pytest.approx([4, 2], abs=0.01)


def test_terms_are_stacked():
    bars = EVERY["gaussian_distance"]().axes[1].patches
    assert [(bar.get_y(), bar.get_height()) for bar in bars] == [(0.0, 5.0), (5.0, 1.0)]


def test_lines_of_equal_score_multiply_to_it():
    axes = EVERY["score_map"]().axes[0]
    for score, line in zip((1, 2, 4, 8, 10), axes.lines):
        assert np.prod(line.get_xydata(), axis=1) == pytest.approx(score)


def test_no_line_of_equal_score_lies_above_the_number_of_classes():
    axes = charts.score_map({"a": (0.8, 1.5)}, 2).axes[0]
    scores = [line.get_xydata().prod(1).mean() for line in axes.lines[:-1]]
    assert scores == pytest.approx([1, 2])
    assert [text.get_text() for text in axes.texts] == ["IS 1", "IS 2"]


def test_the_first_of_several_points_is_a_ring_that_is_seen_round_another():
    first, second = charts.plane({"a": (0.8, 0.5), "b": (0.8, 0.5)}, "x", "y").axes[0].lines
    assert first.get_fillstyle() == "none" and first.get_markersize() > second.get_markersize() + 3
    (alone,) = charts.plane({"a": (0.8, 0.5)}, "x", "y").axes[0].lines
    assert alone.get_fillstyle() == "full"


def test_the_table_of_verdicts_leaves_room_for_its_outer_borders():
    axes = EVERY["verdict_table"]().axes[0]
    assert axes.get_xlim()[0] < 0 and axes.get_ylim()[1] < 0
    right = max(patch.get_x() + patch.get_width() for patch in axes.patches)
    assert axes.get_xlim()[1] > right and axes.get_ylim()[0] > len(axes.get_yticklabels())


def test_plane_draws_lines_at_the_floor():
    axes = EVERY["plane"]().axes[0]
    assert [line.get_linestyle() for line in axes.lines].count(":") == 2
    assert not [
        line
        for line in charts.plane({"a": (0.1, 1.0)}, "x", "y").axes[0].lines
        if line.get_linestyle() == ":"
    ]


def test_line_over_one_by_n_starts_at_the_limit_and_fits_the_points():
    axes = EVERY["against_num_images"]().axes[0]
    line = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert line.get_xydata()[0].tolist() == [0.0, 1.0]
    assert line.get_xydata()[1] == pytest.approx([0.01, 3.0])  # both points lie on 1 + 200 / N
    assert [text.get_text() for text in axes.get_xticklabels()] == ["∞", "100", "400"]


def test_floor_is_a_band_of_two_errors():
    band = EVERY["comparison_with_floor"]().axes[0].patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.8, 1.2))


def test_verdicts_are_written_out_and_coloured_by_state():
    axes = EVERY["verdict_table"]().axes[0]
    assert [text.get_text() for text in axes.texts] == [
        "3.1\ncaught",
        "9.0\nblind",
        "8.2\ncaught",
        "9.9\npreferred",
    ]
    colours = [patch.get_facecolor() for patch in axes.patches]
    assert colours[0] == colours[2] and len(set(colours)) == 3
    assert [text.get_text() for text in axes.get_yticklabels()] == ["blur", "noise"]


BAD = [
    (lambda: charts.gaussian_distance({"real": UNIT}, (0.0, 0.0)), "gaussians: expected two"),
    (
        lambda: charts.gaussian_distance(
            {"a": UNIT, "b": (torch.zeros(3), torch.eye(3))}, (0.0, 0.0)
        ),
        r"gaussians: expected two.*\[3, 3\]",
    ),
    (
        lambda: charts.verdict_table(CELLS, ("blind", "caught")),
        "states: expected up to 4 that include",
    ),
]


@pytest.mark.parametrize(("draw", "message"), BAD)
def test_bad_input_has_its_message(draw, message):
    with pytest.raises(CourseError, match=message):
        draw()
