"""The panels of a comparison: a place for each family, bars of two errors, a band for real images, a log axis where values span orders."""

from __future__ import annotations

import io
import math

import pytest

from course_utils.compare_table import Cell
from course_utils.plotting.protocol import comparison_panels

METRICS = {
    "FID": {"vae": Cell(20.0, 1.0, (19.0, 21.0)), "dcgan": Cell(4.0, math.nan, (4.0,))},
    "NLL": {"vae": Cell(90.0, 0.5, (90.0,))},
    "training seconds": {"vae": Cell(20.0, 1.0, (19.0, 21.0)), "dcgan": Cell(2000.0, 3.0, (2000.0,))},
    "recall": {"vae": Cell(0.0, 0.0, (0.0,)), "dcgan": Cell(0.7, 0.01, (0.7,))},
}
FLOORS = {"FID": (1.0, 0.1), "NLL": None, "training seconds": None, "recall": (0.8, math.nan)}


@pytest.fixture(scope="module")
def figure():
    return comparison_panels(METRICS, FLOORS, {"FID": "lower", "recall": "higher"})


def test_figure_can_be_drawn(figure):
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=30)
    assert stream.getvalue().startswith(b"\x89PNG")


def test_each_metric_has_a_panel_with_every_family(figure):
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == list(METRICS) and len(figure.axes) == 6
    assert all([text.get_text() for text in axes.get_yticklabels()] == ["vae", "dcgan"] for axes in shown)
    assert [axes.get_xlabel() for axes in shown] == ["lower is better", "", "", "higher is better"]
    assert [text.get_text() for text in shown[1].texts] == ["none"]


def test_bars_reach_two_errors_and_unknown_errors_draw_none(figure):
    vae, dcgan = figure.axes[0].containers
    (segment,) = vae.lines[2][0].get_segments()
    assert segment[:, 0].tolist() == [18.0, 22.0] and segment[:, 1].tolist() == [0, 0]
    assert dcgan.lines[2] == ()


def test_real_images_are_a_band_and_a_line(figure):
    band = figure.axes[0].patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.8, 1.2))
    assert len(figure.axes[1].patches) == 0


def test_axes_are_logarithmic_only_where_values_span_orders(figure):
    assert [axes.get_xscale() for axes in figure.axes[:4]] == ["linear", "linear", "log", "linear"]
