"""Charts of the memorisation test show what they were given."""

from __future__ import annotations

import io

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.plotting import memorization as charts
from course_utils.studies.copies import PowerRow

NULL, RATIOS = torch.linspace(0.5, 1, 100), torch.tensor([0.9, 0.05, 0.4, 0.95])
IMAGES = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 8, 8) * 60
CURVES = {
    "exact": [PowerRow(0.0, 0.04, 0.02, 0, 0, 100), PowerRow(0.05, 1.0, 0.01, 0, 0, 100)],
    "shifted": [PowerRow(0.0, 0.0, 0.01, 0, 0, 100), PowerRow(0.05, 0.3, 0.05, 0, 0, 100)],
}
EVERY = {
    "ratio_histogram": lambda: charts.ratio_histogram(
        NULL, {"vae": RATIOS, "memoriser": RATIOS / 2}, 0.6
    ),
    "lookalike_pairs": lambda: charts.lookalike_pairs(
        IMAGES, IMAGES, RATIOS, torch.tensor([0, 2, -1, 3]), 2
    ),
    "power_curves": lambda: charts.power_curves(CURVES),
}


@pytest.mark.parametrize("name", EVERY)
def test_figure_can_be_drawn(name):
    stream = io.BytesIO()
    EVERY[name]().savefig(stream, format="png", dpi=30)
    assert stream.getvalue().startswith(b"\x89PNG")


def test_histograms_are_densities_and_the_threshold_is_a_line():
    axes = EVERY["ratio_histogram"]().axes[0]
    null = [
        patch
        for patch in axes.patches
        if patch.get_facecolor()[:3] == pytest.approx((0xBB / 255,) * 3)
    ]
    assert sum(bar.get_width() * bar.get_height() for bar in null) == pytest.approx(1)
    assert [line.get_xdata()[0] for line in axes.lines] == [0.6]
    assert {text.get_text() for text in axes.get_legend().get_texts()} >= {
        "held-out images",
        "vae",
        "memoriser",
    }


def test_pairs_are_the_most_suspicious_ones_and_stand_above_their_look_alikes():
    axes = EVERY["lookalike_pairs"]().axes[0]
    sheet = axes.images[0].get_array()
    # -1 is left out
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.05", "0.90"]
    assert (sheet[6, 6], sheet[6, 16], sheet[16, 6], sheet[16, 16]) == (60, 0, 120, 0)


def test_bars_stay_between_zero_and_one():
    axes = EVERY["power_curves"]().axes[0]
    for container, rows in zip(axes.containers, CURVES.values()):
        segments = container.lines[2][0].get_segments()
        for segment, row in zip(segments, rows):
            low, high = segment[:, 1]
            assert low == pytest.approx(
                max(0, row.power - 2 * row.error)
            ) and high == pytest.approx(min(1, row.power + 2 * row.error))
    assert [line.get_ydata()[0] for line in axes.lines[-2:]] == [0.05, 0.9]


def test_pairs_need_a_nearest_training_image():
    with pytest.raises(CourseError, match="every entry of nearest is -1"):
        charts.lookalike_pairs(IMAGES, IMAGES, RATIOS, torch.full((4,), -1))
