"""Figures of a comparison: a small panel a metric with a dot and its error bar a family, and
quality over what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from course_utils.metrics.measurement import with_error
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, describe, new_figure
from course_utils.plotting.charts import MARKERS
from course_utils.plotting.words import counted, spoken, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_COLUMNS = 3
FLOOR_COLOUR = "#BBBBBB"
# ratio of the largest to the smallest value from which a linear axis hides the small ones
LOGARITHMIC_FROM = 30
ARROWS = {"lower": "lower is better", "higher": "higher is better"}


def comparison_panels(
    metrics: Mapping[str, Mapping[str, Any]],
    floors: Mapping[str, tuple[float, float] | None],
    better: Mapping[str, str],
) -> Figure:
    """Returns a grid of panels; bars reach two standard errors to each side, small dots are single
    seeds, grey bands real images.

    Args:
        metrics: `{metric: {family: cell}}`, cells with `mean`, `error` (NaN: no bar) and `values`.
        floors: `{metric: (value, error)}` of real images, None where there is none.
        better: `{metric: "lower" or "higher"}`, for those where one end is good.
    """
    families = list(dict.fromkeys(family for cells in metrics.values() for family in cells))
    num_rows = math.ceil(len(metrics) / NUM_COLUMNS)
    fig = new_figure(num_rows * (0.95 + 0.3 * len(families)), width=1.4 * WIDTH)
    panels = list(fig.subplots(num_rows, NUM_COLUMNS, squeeze=False).flat)
    for axes, (metric, cells) in zip(panels, metrics.items()):
        _draw_panel(axes, families, cells, floors.get(metric))
        axes.set_title(metric, fontsize=10)
        axes.set_xlabel(ARROWS.get(better.get(metric, ""), ""), fontsize=8)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    numbers = {}
    for metric, cells in metrics.items():
        each = [f"{family} {with_error(cell.mean, cell.error)}" for family, cell in cells.items()]
        numbers[f"{metric}:"] = ", ".join(each)
    return describe(
        fig, summary(f"{counted(len(metrics), 'panel')} of dots with error bars", numbers)
    )


def _draw_panel(
    axes: Axes, families: list[str], cells: Mapping[str, Any], floor: tuple[float, float] | None
) -> None:
    means = [cell.mean for cell in cells.values()]
    if floor is not None:
        value, error = floor[0], 0.0 if math.isnan(floor[1]) else floor[1]
        axes.axvspan(value - 2 * error, value + 2 * error, color=FLOOR_COLOUR, alpha=0.6, zorder=0)
        axes.axvline(value, color="black", linestyle=":", linewidth=1, zorder=0)
    for place, family in enumerate(families):
        colour, marker = OKABE_ITO[place % len(OKABE_ITO)], MARKERS[place % len(MARKERS)]
        if family not in cells:
            axes.text(
                0.5,
                place,
                "none",
                transform=axes.get_yaxis_transform(),
                ha="center",
                va="center",
                fontsize=8,
                color="#555555",
            )
            continue
        cell = cells[family]
        bar = None if math.isnan(cell.error) else [2 * cell.error]
        axes.errorbar(
            [cell.mean],
            [place],
            xerr=bar,
            color=colour,
            marker=marker,
            markeredgecolor="black",
            capsize=3,
        )
        axes.plot(
            cell.values, [place] * len(cell.values), ".", color="black", markersize=3, alpha=0.6
        )
    if min(means) > 0 and max(means) > LOGARITHMIC_FROM * min(means):
        axes.set_xscale("log")
    else:
        axes.margins(x=0.15)
    axes.set_yticks(range(len(families)), families, fontsize=8)
    axes.set_ylim(len(families) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)


def quality_and_cost(
    quality: Mapping[str, tuple[float, float]],
    costs: Mapping[str, Mapping[str, float]],
    ylabel: str,
    floor: tuple[float, float] | None = None,
) -> Figure:
    """Returns a panel a cost, with the quality of each family over it; bars reach two standard
    errors to each side, a grey band is real images.

    Args:
        quality: `{family: (value, standard error)}`, drawn on one axis for all panels.
        costs: `{cost: {family: value above 0}}`, drawn on logarithmic axes that are marked at these
            values.
        ylabel: name of the quality.
        floor: value and standard error of real images.
    """
    fig = new_figure(3.2, width=1.4 * WIDTH)
    panels = fig.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, (cost, values) in zip(panels, costs.items()):
        if floor is not None:
            axes.axhspan(
                floor[0] - 2 * floor[1],
                floor[0] + 2 * floor[1],
                color=FLOOR_COLOUR,
                alpha=0.6,
                zorder=0,
                label="real images",
            )
        for (family, (value, error)), colour, marker in zip(quality.items(), OKABE_ITO, MARKERS):
            style = {
                "color": colour,
                "marker": marker,
                "markeredgecolor": "black",
                "markersize": 8,
                "linestyle": "none",
                "capsize": 3,
            }
            axes.errorbar([values[family]], [value], [2 * error], label=family, **style)
        axes.set(xlabel=cost, xscale="log")
        axes.minorticks_off()
        axes.set_xticks(
            list(values.values()), [_short(value) for value in values.values()], fontsize=9
        )
        axes.margins(x=0.25, y=0.15)
        axes.grid(alpha=0.3)
    means = [value for value, _ in quality.values()]
    if min(means) > 0 and max(means) > LOGARITHMIC_FROM * min(means):
        panels[0].set_yscale("log")
    panels[0].set_ylabel(ylabel)
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    numbers = {}
    for family, measured in quality.items():
        prices = [f"{spoken(cost)} {_short(values[family])}" for cost, values in costs.items()]
        numbers[family] = f"{with_error(*measured)} at {', '.join(prices)}"
    closing = f"Grey band: real images {with_error(*floor)}." if floor is not None else ""
    opening = f"Dots with error bars, {spoken(ylabel)}, one panel a cost"
    return describe(fig, summary(opening, numbers, means, closing))


def _short(value: float) -> str:
    """Returns a number in few characters, such as "0.0015", "142" or "974 k"."""
    if value >= 1e4:
        return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value / 1e3:.0f} k"
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
