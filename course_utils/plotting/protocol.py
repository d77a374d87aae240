"""One figure of a comparison: a small panel a metric, a dot with its error bar a family, and the value of real images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from course_utils.plotting.canvas import WIDTH, new_figure
from course_utils.plotting.charts import MARKERS
from course_utils.style import OKABE_ITO

if TYPE_CHECKING:  # torch and matplotlib cost seconds to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_COLUMNS = 3
FLOOR_COLOUR = "#BBBBBB"
LOGARITHMIC_FROM = 30  # ratio of the largest to the smallest value from which a linear axis hides the small ones
ARROWS = {"lower": "lower is better", "higher": "higher is better"}


def comparison_panels(
    metrics: Mapping[str, Mapping[str, Any]], floors: Mapping[str, tuple[float, float] | None], better: Mapping[str, str]
) -> Figure:
    """Returns a grid of panels; bars reach two standard errors to each side, small dots are single seeds, grey bands real images.

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
    return fig


def _draw_panel(axes: Axes, families: list[str], cells: Mapping[str, Any], floor: tuple[float, float] | None) -> None:
    means = [cell.mean for cell in cells.values()]
    if floor is not None:
        value, error = floor[0], 0.0 if math.isnan(floor[1]) else floor[1]
        axes.axvspan(value - 2 * error, value + 2 * error, color=FLOOR_COLOUR, alpha=0.6, zorder=0)
        axes.axvline(value, color="black", linestyle=":", linewidth=1, zorder=0)
    for place, family in enumerate(families):
        colour, marker = OKABE_ITO[place % len(OKABE_ITO)], MARKERS[place % len(MARKERS)]
        if family not in cells:
            axes.text(0.5, place, "none", transform=axes.get_yaxis_transform(), ha="center", va="center", fontsize=8, color="#555555")
            continue
        cell = cells[family]
        bar = None if math.isnan(cell.error) else [2 * cell.error]
        axes.errorbar([cell.mean], [place], xerr=bar, color=colour, marker=marker, markeredgecolor="black", capsize=3)
        axes.plot(cell.values, [place] * len(cell.values), ".", color="black", markersize=3, alpha=0.6)
    if min(means) > 0 and max(means) > LOGARITHMIC_FROM * min(means):
        axes.set_xscale("log")
    else:
        axes.margins(x=0.15)
    axes.set_yticks(range(len(families)), families, fontsize=8)
    axes.set_ylim(len(families) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
