"""The clinic's charts show every row, every panel and every point that they were given."""

from __future__ import annotations

import math

from course_utils.plotting.clinic import fidelity_trade_off, setting_sweep, verdicts


def texts(fig) -> str:
    fig.canvas.draw()
    return " ".join(text.get_text() for axes in fig.axes for text in axes.texts)


def test_verdicts_name_value_and_verdict_of_every_cause():
    rows = {"noise": (5.0, 0.1, "0.5", "present"), "capacity": (0.4, 0.1, "0.1", "absent")}
    rows["augmentation"] = (math.nan, math.nan, "none", "cannot tell")
    fig = verdicts(rows)
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == list(rows)
    shown = texts(fig)
    assert "PRESENT 0.5" in shown and "absent 0.1" in shown and "cannot tell none" in shown


def test_sweep_has_a_panel_for_each_quantity_and_the_floor_where_it_belongs():
    fig = setting_sweep(
        [1, 2, 5],
        {"error": [(3, 0.1), (2, 0.1), (1, 0.1)], "FID": [(30, 1), (20, 1), (10, 1)]},
        "latent dimensions",
        {"FID": 2.0},
    )
    panels = [axes for axes in fig.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["error", "FID"]
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["1", "2", "5"]
    assert "real vs real" in texts(fig) and not panels[0].texts


def test_trade_off_names_every_point():
    fig = fidelity_trade_off(
        {"T = 0.5": ((0.2, 0.01), (0.9, 0.01)), "T = 1": ((0.6, 0.01), (0.7, 0.01))},
        "recall",
        "precision",
    )
    assert "T = 0.5" in texts(fig) and "T = 1" in texts(fig)
    assert fig.axes[0].get_xlabel() == "recall"
