"""Figures of inverse problems show what they were given and mark what is best."""

from __future__ import annotations

import io

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.plotting.inverse import (
    distortion_plane,
    method_sheet,
    method_table,
    solution_sheet,
)

TRUTHS = torch.stack([torch.full((1, 12, 12), value) for value in (-1.0, 0.0, 1.0)])
SOLUTIONS = torch.stack([TRUTHS * 0.5, -TRUTHS * 0.5])
VALUES = {
    "exact": {"deblur": (20.0, 0.5), "fourier": (15.0, 0.1)},
    "tweedie": {"deblur": (20.8, 0.5), "fourier": (14.0, 0.1)},
    "repaint": {"deblur": None, "fourier": (15.2, 0.1)},
}

EVERY = {
    "solution_sheet": lambda: solution_sheet(TRUTHS, TRUTHS, SOLUTIONS, "title"),
    "method_sheet": lambda: method_sheet(TRUTHS, TRUTHS, {"a": SOLUTIONS[0], "b": SOLUTIONS[1]}),
    "distortion_plane": lambda: distortion_plane(
        {"exact": ((20.0, 0.5), (90.0, 3.0)), "dps": ((17.0, 0.4), (20.0, 2.0))}, "PSNR, dB", "FID"
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_figure_can_be_drawn(name):
    stream = io.BytesIO()
    EVERY[name]().savefig(stream, format="png", dpi=30)
    assert stream.getvalue().startswith(b"\x89PNG")


def pixels(figure, row, column):
    """Returns the grey level at the middle of one picture of a sheet of 12-pixel images."""
    sheet = figure.axes[0].images[0].get_array()
    return int(sheet[2 + row * 14 + 6, 2 + column * 14 + 6])


def test_a_row_holds_image_measurement_mean_and_solutions():
    figure = EVERY["solution_sheet"]()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "image",
        "measured",
        "mean",
        "1",
        "2",
    ]
    assert [pixels(figure, 2, column) for column in range(5)] == [255, 255, 128, 191, 64]
    assert pixels(figure, 0, 0) == 0


def test_a_row_a_method():
    figure = EVERY["method_sheet"]()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "image",
        "measured",
        "a",
        "b",
    ]
    assert [pixels(figure, row, 2) for row in range(4)] == [255, 255, 191, 64]


def test_a_point_a_method_with_bars_of_two_errors():
    points = EVERY["distortion_plane"]().axes[0].containers
    assert [container.get_label() for container in points] == ["exact", "dps"]
    assert [
        tuple(float(value[0]) for value in container.lines[0].get_data()) for container in points
    ] == [(20.0, 90.0), (17.0, 20.0)]
    across, up = (bar.get_segments()[0] for bar in points[0].lines[2])
    assert across[:, 0].tolist() == [19.0, 21.0] and up[:, 1].tolist() == [84.0, 96.0]


def test_no_two_of_nine_methods_look_alike():
    figure = distortion_plane(
        {str(index): ((index, 1.0), (index, 1.0)) for index in range(9)}, "PSNR, dB", "FID"
    )
    looks = {
        (container.lines[0].get_marker(), container.lines[0].get_color())
        for container in figure.axes[0].containers
    }
    assert len(looks) == 9


def test_the_best_is_marked_and_what_is_not_told_apart_from_it():
    """20.0 ± 0.5 lies within the noise of 20.8 ± 0.5; 15.0 and 15.2 ± 0.1 do too; 14.0 does not."""
    table = method_table(VALUES, higher_is_better=True)
    assert table.to_dict("index") == {
        "exact": {"deblur": "20.00 ± 0.50 ~", "fourier": "15.00 ± 0.10 ~"},
        "tweedie": {"deblur": "20.80 ± 0.50 *", "fourier": "14.00 ± 0.10"},
        "repaint": {"deblur": "-", "fourier": "15.20 ± 0.10 *"},
    }
    lower = method_table(VALUES, higher_is_better=False)
    assert list(lower["deblur"]) == ["20.00 ± 0.50 *", "20.80 ± 0.50 ~", "-"]
    assert list(lower["fourier"].str[-1]) == ["0", "*", "0"]


def test_a_perfect_score_has_no_digits_for_an_error_of_0():
    table = method_table({"a": {"noise": (1.0, 0.0)}, "b": {"noise": (0.5, 0.1)}}, True)
    assert list(table["noise"]) == ["1 *", "0.50 ± 0.10"]


def test_numbers_that_can_be_too_high_get_no_mark():
    table = method_table(VALUES)
    assert list(table["fourier"]) == ["15.00 ± 0.10", "14.00 ± 0.10", "15.20 ± 0.10"]


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (
            lambda: solution_sheet(TRUTHS, TRUTHS[:2], SOLUTIONS),
            "got [3, 1, 12, 12], [2, 1, 12, 12], [2, 3, 1, 12, 12]",
        ),
        (lambda: method_sheet(TRUTHS, TRUTHS, {"a": SOLUTIONS}), "solutions [S, B, C, H, W]"),
        (
            lambda: method_table({"a": {"x": (1, 1)}, "b": {"y": (1, 1)}}),
            "the same problems for each method",
        ),
        (lambda: method_table({}), "the same problems for each method"),
    ],
)
def test_wrong_input_is_refused(call, fragment):
    with pytest.raises(CourseError) as error:
        call()
    assert fragment in str(error.value)
