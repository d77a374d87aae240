"""Charts of the clinic: verdicts beside their thresholds, sweeps of a setting, and a curve of
fidelity against variety.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from course_utils.metrics.measurement import with_error
from course_utils.plotting.canvas import OKABE_ITO, describe, new_figure
from course_utils.plotting.charts import MARKERS
from course_utils.plotting.words import counted, rounded, spoken, summary, trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICT_STYLES = {
    "present": (OKABE_ITO[4], "X"),
    "absent": (OKABE_ITO[2], "o"),
    "cannot tell": ("#808080", "D"),
}
MOST_SEVERE = 2.5  # the axis ends here; what lies beyond gets an arrow

Values = Sequence[tuple[float, float]]  # value and standard error


def verdicts(rows: Mapping[str, tuple[float, float, str, str]], title: str = "") -> Figure:
    """Returns one row a cause: its severity with a bar of two standard errors to each side, the
    threshold at 1 as a line, and value and verdict in words beside it.

    Args:
        rows: `{cause: (severity, its standard error, value in words, verdict)}`; severity NaN where
            nothing was measured. What lies beyond the axis stands at its end, without an error bar.
    """
    fig = new_figure(0.9 + 0.42 * len(rows))
    axes, words = fig.subplots(1, 2, sharey=True, width_ratios=(1, 1))
    for row, (severity, error, text, verdict) in enumerate(rows.values()):
        colour, marker = VERDICT_STYLES[verdict]
        if math.isfinite(severity):
            place = min(max(severity, 0.0), MOST_SEVERE)
            inside = place == severity
            bar = [[2 * error], [min(2 * error, MOST_SEVERE - place)]] if inside else None
            axes.errorbar(
                place,
                row,
                xerr=bar,
                fmt=marker,
                color=colour,
                markersize=9,
                capsize=3,
                clip_on=False,
            )
        words.annotate(
            verdict.upper() if verdict == "present" else verdict,
            (0, row),
            va="center",
            color=colour,
            weight="bold",
        )
        words.annotate(text, (0.38, row), va="center", fontsize=10)
    axes.axvline(1, color="black", linestyle="--", linewidth=1)
    axes.axvspan(1, MOST_SEVERE, color=VERDICT_STYLES["present"][0], alpha=0.08, linewidth=0)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xticks([0, 1, MOST_SEVERE], ["good", "threshold", "bad"])
    axes.set_xlabel("bars: ± 2 standard errors", fontsize=9)
    axes.set(xlim=(-0.1, MOST_SEVERE), ylim=(len(rows) - 0.5, -0.5), title=title)
    axes.grid(axis="y", alpha=0.3)
    words.set_axis_off()
    found = {}
    for name, (_, _, text, verdict) in rows.items():
        found[f"{name}:"] = f"{verdict}, {text}"
    opening = "Dots for the causes between good and bad, with bars of ± 2 standard errors"
    return describe(fig, summary(opening, found, [severity for severity, *_ in rows.values()]))


def setting_sweep(
    settings: Sequence[float],
    panels: Mapping[str, Values],
    xlabel: str,
    floors: Mapping[str, float] | None = None,
    title: str = "",
) -> Figure:
    """Returns one small panel a quantity over the settings of a sweep, evenly spaced, with bars of
    two standard errors.

    Args:
        settings: `[S]`, such as latent dimensions.
        panels: `{ylabel: (value, standard error) of each setting}`, up to six.
        floors: `{ylabel: value}` drawn as a dotted line, such as the FID between two real sets.
    """
    num_columns = 2 if len(panels) <= 4 else 3
    num_rows = -(-len(panels) // num_columns)
    fig = new_figure(2.3 * num_rows + (0.3 if title else 0))
    cells = list(fig.subplots(num_rows, num_columns, squeeze=False).flat)
    places = range(len(settings))
    for axes, (ylabel, values), colour, marker in zip(cells, panels.items(), OKABE_ITO, MARKERS):
        axes.errorbar(
            places,
            [v for v, _ in values],
            [2 * e for _, e in values],
            color=colour,
            marker=marker,
            capsize=3,
        )
        if floors and ylabel in floors:
            axes.axhline(floors[ylabel], color="black", linestyle=":", linewidth=1)
            axes.annotate(
                "real vs real",
                (len(settings) - 1, floors[ylabel]),
                (0, 3),
                textcoords="offset points",
                ha="right",
                fontsize=9,
            )
        axes.set_xticks(places, [f"{setting:g}" for setting in settings])
        axes.set_title(ylabel, fontsize=11)
        low = min(0.0, *(v for v, _ in values))
        axes.set_ylim(bottom=low if low < 0 else 0)
        axes.set_xlabel(xlabel)
    for axes in cells[len(panels) :]:
        axes.set_visible(False)
    if title:
        fig.suptitle(title)
    fig.supxlabel("bars: ± 2 standard errors", fontsize=9)
    traces = {}
    for ylabel, values in panels.items():
        floor = f" (real vs real {rounded(floors[ylabel])})" if floors and ylabel in floors else ""
        traces[ylabel] = trace(settings, [value for value, _ in values]) + floor
    opening = (
        f"{counted(len(panels), 'panel')} with bars of ± 2 standard errors over {spoken(xlabel)}"
    )
    return describe(fig, summary(opening, traces))


def fidelity_trade_off(
    points: Mapping[str, tuple[tuple[float, float], tuple[float, float]]],
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Figure:
    """Returns a curve through named points of the plane with error bars in both directions, such as
    recall against precision.

    Args:
        points: `{name: ((x, standard error), (y, standard error))}`, in order along the curve.
    """
    fig = new_figure(4.0, 5.6)
    axes = fig.subplots()
    xs, ys = [x for (x, _), _ in points.values()], [y for _, (y, _) in points.values()]
    axes.plot(xs, ys, color="#999999", linewidth=1, zorder=1)
    for index, (name, ((x, x_error), (y, y_error))) in enumerate(points.items()):
        axes.errorbar(
            x, y, 2 * y_error, 2 * x_error, fmt="o", color=OKABE_ITO[0], capsize=2, markersize=6
        )
        # in turn, so that neighbours do not clash
        axes.annotate(
            name, (x, y), (7, 7 if index % 2 else -16), textcoords="offset points", fontsize=10
        )
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.margins(0.15)
    # shares end at 1, and so does their axis
    for values, low_high, limit in (
        (xs, axes.get_xlim(), axes.set_xlim),
        (ys, axes.get_ylim(), axes.set_ylim),
    ):
        if 0 <= min(values) and max(values) <= 1:
            limit(max(low_high[0], -0.02), min(low_high[1], 1.02))
    numbers = {name: f"({with_error(*x)}, {with_error(*y)})" for name, (x, y) in points.items()}
    opening = f"Curve through points ({spoken(xlabel)}, {spoken(ylabel)}) with error bars"
    return describe(fig, summary(opening, numbers, [y for _, (y, _) in points.values()]))
