"""Charts of the memorisation test: ratios beside those of held-out images, the most suspicious
samples with their look-alikes, power curves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import OKABE_ITO, attached_text, describe, new_figure
from course_utils.plotting.charts import MARKERS
from course_utils.plotting.pictures import image_rows
from course_utils.plotting.words import lines_words, rounded, spoken, spread_words, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

NULL_COLOUR = "#BBBBBB"
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def ratio_histogram(
    null: Tensor,
    ratios: Mapping[str, Tensor],
    threshold: float | None = None,
    xlabel: str = "",
    num_bins: int = 50,
) -> Figure:
    """Returns histograms of numbers from 0 up, the null distribution as a grey area, each generator
    as a line.

    Args:
        null: of held-out images, `[M]`.
        ratios: `{generator: [N]}`; ratios of the test, or plain distances.
        threshold: drawn as a dotted line: what is left of it counts as suspicious.
        xlabel: "" stands for the ratio to the second nearest.
        num_bins: from 0 to the largest value.
    """
    import torch

    fig = new_figure(3.4)
    axes = fig.subplots()
    high = max(values.max().item() for values in (null, *ratios.values()))
    edges = torch.linspace(0, high, num_bins + 1).tolist()
    axes.hist(null.tolist(), edges, density=True, color=NULL_COLOUR, label="held-out images")
    for (name, values), colour, dash in zip(ratios.items(), OKABE_ITO, DASHES):
        axes.hist(
            values.tolist(),
            edges,
            density=True,
            histtype="step",
            color=colour,
            linestyle=dash,
            linewidth=1.8,
            label=name,
        )
    if threshold is not None:
        axes.axvline(
            threshold, color="black", linestyle=":", linewidth=1, label="suspicious: left of here"
        )
    axes.set(
        xlabel=xlabel or "distance to the nearest real image / to the second nearest",
        ylabel="density",
        xlim=(0, high),
    )
    axes.legend()
    spreads = {}
    for name, values in {"held-out images": null, **ratios}.items():
        spreads[name] = spread_words(values)
        if threshold is not None:
            share = (values < threshold).double().mean().item()
            spreads[name] += f", {100 * share:.3g} % below {rounded(threshold)}"
    return describe(fig, summary(f"Histograms of {spoken(axes.get_xlabel())}", spreads))


def lookalike_pairs(
    images: Tensor,
    real: Tensor,
    ratios: Tensor,
    nearest: Tensor,
    num_pairs: int = 10,
    title: str = "",
) -> Figure:
    """Returns the most suspicious samples above the real image that each is nearest to, its ratio
    on top.

    Args:
        images: samples, uint8 or signed `[N, C, H, W]`.
        real: images that `nearest` counts through, of the same kind.
        ratios: `[N]`; the smallest come first.
        nearest: int64 `[N]`, rows of `real`, or -1 where the nearest one is not among them: such
            samples are left out.

    Raises:
        CourseError: no sample has its nearest image among `real`.
    """
    shown = (nearest >= 0).nonzero()[:, 0]
    if len(shown) == 0:
        raise CourseError(
            "expected samples whose nearest image is among the real ones, got none; every entry of"
            " nearest is -1."
        )
    shown = shown[ratios[shown].argsort(stable=True)[:num_pairs]]
    rows = {"sample": images[shown], "nearest": real[nearest[shown]]}
    fig = image_rows(
        rows, column_titles=[f"{value:.2f}" for value in ratios[shown].tolist()], title=title
    )
    return describe(fig, f"{attached_text(fig)} The number of a column is its sample's ratio.")


def power_curves(
    curves: Mapping[str, Sequence[Any]],
    level: float = 0.05,
    goal: float | None = 0.9,
    title: str = "",
) -> Figure:
    """Returns the share of alarms over the share of copies, a line a kind of copy; bars reach two
    standard errors to each side.

    Args:
        curves: `{kind: rows}` with `share`, `power` and `error`.
        level: rate of false alarms that the test promises; a dotted line.
        goal: power to reach; a dashed line, None draws none.
    """
    fig = new_figure(4.4)
    axes = fig.subplots()
    for (name, rows), colour, marker, dash in zip(curves.items(), OKABE_ITO, MARKERS, DASHES):
        shares, powers, errors = (
            [getattr(row, column) for row in rows] for column in ("share", "power", "error")
        )
        bars = [
            [min(2 * error, room) for error, room in zip(errors, rooms)]
            for rooms in (powers, [1 - power for power in powers])
        ]
        axes.errorbar(
            [100 * share for share in shares],
            powers,
            bars,
            color=colour,
            marker=marker,
            linestyle=dash,
            capsize=3,
            label=name,
        )
    axes.axhline(level, color="black", linestyle=":", linewidth=1)
    if goal is not None:
        axes.axhline(goal, color="black", linestyle="--", linewidth=1)
    axes.set(
        xlabel="copies among the samples (%)",
        ylabel="share of rounds with an alarm",
        ylim=(-0.03, 1.05),
        title=title,
    )
    fig.legend(loc="outside lower center", ncols=2)  # curves may run anywhere inside
    return describe(fig, partial(lines_words, "Lines with error bars", [axes]))
