"""The panels of a comparison: a place for each family, bars of two errors, a band for real images,
a log axis where values span orders.
"""

from __future__ import annotations

import io
import math

import pytest

from course_utils.plotting.compare import comparison_panels, quality_and_cost
from course_utils.studies.compare import Cell

METRICS = {
    "FID": {"vae": Cell(20.0, 1.0, (19.0, 21.0)), "dcgan": Cell(4.0, math.nan, (4.0,))},
    "NLL": {"vae": Cell(90.0, 0.5, (90.0,))},
    "training seconds": {
        "vae": Cell(20.0, 1.0, (19.0, 21.0)),
        "dcgan": Cell(2000.0, 3.0, (2000.0,)),
    },
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
    assert all(
        [text.get_text() for text in axes.get_yticklabels()] == ["vae", "dcgan"] for axes in shown
    )
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


def test_quality_stands_over_each_cost_with_bars_of_two_errors_and_the_band_of_real_images():
    costs = {"seconds": {"vae": 0.01, "dcgan": 3.0}, "parameters": {"vae": 2e6, "dcgan": 1e6}}
    panels = quality_and_cost(
        {"vae": (20.0, 1.5), "dcgan": (4.0, 0.25)}, costs, "FID", (1.0, 0.1)
    ).axes
    assert [axes.get_xlabel() for axes in panels] == list(costs) and {
        axes.get_xscale() for axes in panels
    } == {"log"}
    for axes, values in zip(panels, costs.values()):
        points = {bars.get_label(): bars[0].get_xydata()[0].tolist() for bars in axes.containers}
        assert points == {"vae": [values["vae"], 20.0], "dcgan": [values["dcgan"], 4.0]}
        ends = [[y for _, y in bars[2][0].get_segments()[0]] for bars in axes.containers]
        assert ends == [pytest.approx([17, 23]), pytest.approx([3.5, 4.5])]
        (band,) = axes.patches
        assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.8, 1.2))


def test_no_band_without_real_images():
    assert (
        not quality_and_cost({"vae": (20.0, 1.5)}, {"seconds": {"vae": 0.01}}, "FID")
        .axes[0]
        .patches
    )


def test_cost_axes_are_marked_at_the_values_and_wide_quality_is_logarithmic():
    costs = {
        "parameters": {"vae": 973_624, "dcgan": 2_500_000},
        "seconds": {"vae": 0.00153, "dcgan": 142.1},
    }
    panels = quality_and_cost({"vae": (118.0, 1.5), "dcgan": (3.0, 0.25)}, costs, "FID").axes
    assert [[text.get_text() for text in axes.get_xticklabels()] for axes in panels] == [
        ["974 k", "2.5 M"],
        ["0.0015", "142"],
    ]
    assert panels[0].get_yscale() == "log"
    assert (
        quality_and_cost({"vae": (4.0, 1.5), "dcgan": (3.0, 0.25)}, costs, "FID")
        .axes[0]
        .get_yscale()
        == "linear"
    )
