"""Figures of distributions: they draw what they are given, and refuse curves that do not fit their
grid.
"""

from __future__ import annotations

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.plotting.charts import DASHES, curves, fits, histograms, roc_curves, scatter_band

X = torch.linspace(0, 1, 20)


def test_curves_differ_by_dash_and_carry_their_values():
    axes = curves(X, {"a": X, "b": X**2}, "x", "y").axes[0]
    assert [line.get_label() for line in axes.lines] == ["a", "b"]
    assert len({line.get_linestyle() for line in axes.lines}) == 2
    assert torch.equal(torch.tensor(axes.lines[1].get_ydata()), X**2)


def test_curves_refuse_values_of_another_grid():
    with pytest.raises(CourseError) as error:
        curves(X, {"short": X[:5]}, "x", "y")
    assert "short: expected 20 values" in str(error.value) and "got 5" in str(error.value)


def test_fits_have_one_titled_panel_each():
    panels = fits(X, X, {"first": X, "second": 1 - X}).axes
    assert [axes.get_title() for axes in panels] == ["first", "second"]
    assert all(len(axes.lines) == 1 and len(axes.collections) == 1 for axes in panels)


def test_histograms_share_their_bins_and_have_area_one():
    values = {
        name: torch.randn(500, generator=make_rng(seed)) + seed for seed, name in enumerate("ab")
    }
    shapes = [patch.get_path().vertices for patch in histograms(values, "x").axes[0].patches]
    assert len(shapes) == 2 and (shapes[0][:, 0] == shapes[1][:, 0]).all()
    corners = shapes[0]  # an outline: up, along, up or down, along, ...
    area = sum((after[0] - before[0]) * before[1] for before, after in zip(corners, corners[1:]))
    assert area == pytest.approx(1, abs=1e-6)


def test_scatter_band_reaches_two_standard_deviations():
    axes = scatter_band(
        torch.rand(30, 2, generator=make_rng(0)), X, X, torch.full((20,), 0.5), "x", "y"
    ).axes[0]
    band = axes.collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-1.0) and band[:, 1].max() == pytest.approx(2.0)


def test_roc_curves_lie_over_the_diagonal():
    lines = roc_curves({"score": (X, X.sqrt())}).axes[0].lines
    assert [line.get_label() for line in lines] == ["blind guessing", "score"]
    assert list(lines[0].get_ydata()) == [0, 1] and len(DASHES) >= 6
