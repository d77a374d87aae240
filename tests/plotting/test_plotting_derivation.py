"""Figures of the derivation: they draw the numbers that they are given, and refuse what they cannot
draw.
"""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.plotting.derivation import (
    bound_bars,
    bound_picture,
    jensen,
    mixture,
    progress_bands,
    scaled_lines,
)

Z = torch.linspace(-1, 1, 9)


def texts(axes) -> str:
    legend = axes.get_legend().get_texts() if axes.get_legend() else []
    return " ".join(text.get_text() for text in [*axes.texts, *legend])


def test_mixture_draws_every_slice_and_their_sum():
    slices = torch.rand(4, 9)
    curve, sums = mixture(Z, Z, 0.1, torch.rand(6, 2), Z, slices, slices.sum(0)).axes
    assert len(curve.collections) == 2 and len(sums.collections) == 4
    black = next(line for line in sums.lines if line.get_label().startswith("p(x)"))
    torch.testing.assert_close(torch.tensor(black.get_xdata()), slices.sum(0))


def test_jensen_marks_both_means():
    axes = jensen(torch.tensor([1.0, math.e**2])).axes[0]
    assert f"log of the mean: {math.log((1 + math.e**2) / 2):.2f}" in texts(
        axes
    ) and "mean of the logs: 1.00" in texts(axes)
    assert any(line.get_linestyle() == "--" for line in axes.lines)  # the chord
    assert not any(
        line.get_linestyle() == "--" for line in jensen(torch.tensor([1.0, 2.0, 3.0])).axes[0].lines
    )


def test_bound_bars_all_reach_the_evidence():
    axes = bound_bars(-1.0, {"a": (-3.0, 2.0), "b": (-1.5, 0.5)}).axes[0]
    tops = [patch.get_y() + patch.get_height() for patch in axes.patches]
    assert tops[1::2] == pytest.approx([-1.0, -1.0]) and tops[::2] == pytest.approx([-3.0, -1.5])
    assert "ELBO -3.00\nKL 2.00" in texts(axes) and "log p(x) = -1.00" in texts(axes)


def test_bound_picture_keeps_a_bound_below_its_axis_out_of_sight():
    densities, bar = bound_picture(
        Z, {"posterior": Z**2, "q": Z**2, "prior": Z**2}, -1.0, -50.0, 49.0
    ).axes
    assert bar.patches[0].get_height() == 0 and "ELBO -50.00" in texts(bar)
    assert bar.get_ylim()[0] == pytest.approx(-7.0) and len(densities.lines) == 2


def test_scaled_lines_have_bars_of_two_errors_and_a_level():
    axes = scaled_lines(
        [1, 10], {"a": ([1.0, 2.0], [0.1, 0.2]), "b": [3.0, 4.0]}, "x", "y", level=("exact", 5.0)
    ).axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "log" and "exact" in texts(axes)
    segments = axes.containers[0][2][0].get_segments()
    assert segments[1][:, 1].tolist() == pytest.approx([1.6, 2.4])
    assert scaled_lines([1], {"a": [1.0]}, "x", "y", log_y=False).axes[0].get_yscale() == "linear"


def test_progress_bands_reach_from_lowest_to_highest():
    values = torch.tensor([[0.0, 2.0], [1.0, 5.0]])
    panels = progress_bands(
        [0, 1], {"D = 1": {"a": values}, "D = 2": {"a": values}}, ("best", 6.0), "step", "nats"
    ).axes
    assert [axes.get_title() for axes in panels] == ["D = 1", "D = 2"]
    assert panels[0].lines[0].get_ydata().tolist() == [1.0, 3.0]
    band = panels[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == 0.0 and band.max() == 5.0


BAD = [
    (
        lambda: mixture(Z, Z, 0.1, torch.rand(3, 2), Z, torch.rand(4, 5), Z),
        "slices: expected 9 columns",
    ),
    (lambda: jensen(torch.tensor([1.0, 0.0])), "weights: expected numbers above 0, got 0"),
    (
        lambda: scaled_lines([1, 2], {"short": [1.0]}, "x", "y"),
        "short: expected 2 values, one for each x, got 1",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
