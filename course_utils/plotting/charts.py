"""Charts: training curves, comparisons with error bars, bars, latent maps, densities, histograms
and ROC curves.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import with_error
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, describe, new_figure
from course_utils.plotting.words import (
    counted,
    lines_words,
    rounded,
    spoken,
    spread_words,
    summary,
    trace,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

MARKERS, HATCHES = "osD^vP*X", ("", "//", "..", "xx")
# an olive for the yellow, which is too pale for thin marks
CLASS_COLOURS = (*OKABE_ITO[:6], "#7A7A00", "#000000", "#8B4513", "#808080")
PRIOR_RADIUS_95 = 2.448  # a circle of this radius holds 95 % of N(0, I) in two dimensions


def training_curves(histories: Any, terms: Sequence[str], ylabel: str = "nats per image") -> Figure:
    """Returns one panel a term, over epochs: train as a line, test dashed with markers.

    Args:
        histories: a History (or its rows), or `{name: History}` to compare several.
        terms: columns of the history, such as ("reconstruction", "kl").

    Raises:
        CourseError: a term that no row has.
    """
    named = histories if isinstance(histories, Mapping) else {"": histories}
    fig = new_figure(3.2)
    for axes, term in zip(fig.subplots(1, len(terms), squeeze=False)[0], terms):
        for (name, history), colour in zip(named.items(), OKABE_ITO * 2):
            for split, style in (
                ("train", {}),
                ("test", {"linestyle": "--", "marker": "o", "markersize": 4}),
            ):
                rows = [
                    row
                    for row in getattr(history, "rows", history)
                    if row["split"] == split and term in row
                ]
                if rows:
                    points = [row["epoch"] for row in rows], [row[term] for row in rows]
                    axes.plot(*points, color=colour, label=f"{name} {split}".strip(), **style)
        if not axes.lines:
            raise CourseError(
                f"no row of the history has the term {term!r}; choose a column of it."
            )
        axes.set(title=column_title(term), xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    fig.axes[0].set_ylabel(ylabel)
    fig.axes[-1].legend()
    return describe(fig, partial(lines_words, "Training curves", fig.axes))


def latent_map(
    mu: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    title: str = "",
    dimensions: tuple[int, int] = (0, 1),
) -> Figure:
    """Returns a map of a 2-D latent space: each image at the mean of its q(z | x), marked by its
    class's name if that is one letter or digit, else by the class's number; large names at the
    classes' centres.

    The dashed circle holds 95 % of the prior N(0, I).

    Args:
        mu: means `[N, 2]`.
        labels: int64 `[N]`, indices into `class_names`.
        dimensions: of the latent space that the two columns are, counted from 0.

    Raises:
        CourseError: `mu` has not two columns.
    """
    from matplotlib.patches import Circle

    if mu.ndim != 2 or mu.shape[1] != 2:
        raise CourseError(
            f"expected latent means of shape [N, 2], got {list(mu.shape)}; train with"
            " model.latent_dim=2."
        )
    fig = new_figure(6.4)
    axes = fig.subplots()
    points, centres = mu.detach().cpu(), []
    for index, name in enumerate(class_names):
        own = points[labels.cpu() == index]
        if len(own) == 0:
            continue
        # a marker is set as a formula, where other characters have a meaning
        text = name if len(name) == 1 and name.isascii() and name.isalnum() else str(index)
        colour = CLASS_COLOURS[index % len(CLASS_COLOURS)]
        axes.scatter(*own.T.numpy(), s=24, marker=f"${text}$", color=colour, linewidths=0)
        full = name if text == name else f"{index} {name}"
        centres.append((own.median(0).values.tolist(), full, colour))
    for (place, text, colour), shifted in zip(
        centres, apart([centre for centre, _, _ in centres], points.std().item() / 4)
    ):
        box = {
            "boxstyle": "circle,pad=0.15" if len(text) == 1 else "round,pad=0.2",
            "facecolor": "white",
            "edgecolor": colour,
            "linewidth": 2,
        }
        axes.annotate(
            text,
            place,
            shifted,
            ha="center",
            va="center",
            fontsize=12,
            weight="bold",
            bbox=box,
            arrowprops={"arrowstyle": "-"},
            zorder=3,
            parse_math=False,
        )
    prior = axes.add_patch(
        Circle(
            (0, 0),
            PRIOR_RADIUS_95,
            fill=False,
            linestyle="--",
            color="black",
            label="95 % of the prior",
        )
    )
    axes.legend(handles=[prior], loc="upper right")
    across, up = (f"z, dimension {number}" for number in dimensions)
    axes.set(title=title, xlabel=across, ylabel=up, aspect="equal")
    inside = (points.norm(dim=1) <= PRIOR_RADIUS_95).double().mean().item()
    medians = {text: f"({x:.2f}, {y:.2f})" for (x, y), text, _ in centres}
    many = counted(len(points), "image")
    opening = f"Map of {many} in a 2-D latent space, with the median of each class"
    closing = f"{100 * inside:.0f} % lie in the circle that holds 95 % of the prior."
    return describe(fig, summary(opening, medians, closing=closing))


def lines(
    x: Sequence[float], series: Mapping[str, Any], xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Returns one line for each entry of `series`, told apart by colour, marker and legend.

    Args:
        x: `[N]`.
        series: `{name: y [N]}`, or `{name: (y, error)}` for a band of ± error around it.
    """
    fig = new_figure(3.6)
    axes = fig.subplots()
    for (name, values), colour, marker in zip(series.items(), OKABE_ITO, MARKERS):
        y, error = values if isinstance(values, tuple) else (values, None)
        axes.plot(x, y, color=colour, marker=marker, markersize=4, label=name)
        if error is not None:
            low, high = [[a + sign * b for a, b in zip(y, error)] for sign in (-1, 1)]
            axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return describe(fig, partial(lines_words, "Lines", [axes]))


def comparison(values: Mapping[str, tuple[float, float]], xlabel: str, title: str = "") -> Figure:
    """Returns one dot with its error bar and its number for each entry, top to bottom; dots, since
    the axis need not start at zero.

    Args:
        values: `{name: (value, standard error)}`; the bars reach two standard errors to each side.
    """
    fig = new_figure(0.9 + 0.42 * len(values) + (0.3 if title else 0))
    axes = fig.subplots()
    for row, (value, error) in enumerate(values.values()):
        axes.errorbar(
            value, row, xerr=2 * error, fmt="o", color=OKABE_ITO[0], capsize=4, markersize=7
        )
        axes.annotate(
            with_error(value, error),
            (value, row),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=10,
        )
    axes.set_yticks(range(len(values)), list(values))
    axes.set(
        xlabel=f"{xlabel} (bars: ± 2 standard errors)", title=title, ylim=(len(values) - 0.5, -0.75)
    )
    axes.margins(x=0.2)
    axes.grid(axis="x", alpha=0.3)
    numbers = {name: with_error(*value) for name, value in values.items()}
    means = [value for value, _ in values.values()]
    return describe(fig, summary(f"Dots with error bars, {spoken(xlabel)}", numbers, means))


def stacked_bars(
    parts: Mapping[str, Mapping[str, float]], xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Returns one bar a group, made of its parts from the bottom up, each with its number, the
    total on top.

    Args:
        parts: `{group: {part: value of 0 or more}}`, the same parts in each group.
    """
    fig = new_figure(3.8)
    axes = fig.subplots()
    floor = [0.0] * len(parts)
    for name, colour, hatch in zip(next(iter(parts.values())), OKABE_ITO, HATCHES):
        heights = [group[name] for group in parts.values()]
        bars = axes.bar(
            list(parts),
            heights,
            bottom=floor,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            width=0.6,
            label=column_title(name),
        )
        labels = axes.bar_label(bars, fmt="%.1f", label_type="center", fontsize=10)
        for label in labels:
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})
        floor = [low + height for low, height in zip(floor, heights)]
    axes.bar_label(bars, labels=[f"{total:.1f}" for total in floor], padding=3, weight="bold")
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.margins(y=0.12)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    numbers = {}
    for (group, heights), total in zip(parts.items(), floor):
        each = [f"{column_title(name)} {height:.1f}" for name, height in heights.items()]
        numbers[f"{spoken(xlabel)} {group}:"] = f"{', '.join(each)}, total {total:.1f}"
    return describe(fig, summary(f"Stacked bars, {spoken(ylabel)}", numbers, floor))


def ranked_bars(
    values: Tensor, xlabel: str, ylabel: str, threshold: float | None = None, title: str = ""
) -> Figure:
    """Returns one bar an entry, highest first, each named by its index; bars at or below
    `threshold` are hatched and grey.

    Args:
        values: `[D]`, such as the mean KL of each latent dimension in nats.
        threshold: drawn as a dashed line where given.
    """
    order = values.detach().cpu().argsort(descending=True).tolist()
    heights = [values[index].item() for index in order]
    fig = new_figure(3.4)
    axes = fig.subplots()
    high = [threshold is None or height > threshold for height in heights]
    for place, (height, is_high) in enumerate(zip(heights, high)):
        axes.bar(
            place,
            height,
            color=OKABE_ITO[0] if is_high else "#BBBBBB",
            hatch="" if is_high else "//",
            edgecolor="white",
        )
    if threshold is not None:
        axes.axhline(
            threshold,
            linestyle="--",
            color="black",
            label=f"threshold {threshold:g}: {sum(high)} of {len(high)} above",
        )
        axes.legend()
    axes.set_xticks(range(len(order)), order)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    text = (
        f"{len(order)} bars from high to low, {spoken(ylabel)} over {spoken(xlabel)}: highest"
        f" {rounded(heights[0])} (number {order[0]}), lowest {rounded(heights[-1])} (number"
        f" {order[-1]})."
    )
    if threshold is not None:
        text += f" {sum(high)} of {len(high)} are above the threshold of {threshold:g}."
    return describe(fig, text)


def column_title(name: str) -> str:
    """Returns a column's name as a title, such as "negative ELBO"."""
    return name.replace("_", " ").replace("elbo", "ELBO").replace("kl", "KL")


def apart(places: Sequence[Sequence[float]], distance: float) -> list[tuple[float, float]]:
    """Returns points moved as little as needed to be about `distance` from each other, so that
    labels do not cover one another.
    """
    moved = [complex(*place) for place in places]
    for _ in range(100):
        for i, j in itertools.combinations(range(len(moved)), 2):
            gap = moved[j] - moved[i] or 1e-6j
            push = max(0.0, distance - abs(gap)) / 2 * gap / abs(gap)
            moved[i], moved[j] = moved[i] - push, moved[j] + push
    return [(point.real, point.imag) for point in moved]


DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))


def curves(
    x: Tensor, series: Mapping[str, Tensor], xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Returns one smooth line for each entry of `series`, told apart by colour, dash and legend.

    Args:
        x: `[N]`.
        series: `{name: y [N]}`.

    Raises:
        CourseError: a series of another length.
    """
    fig = new_figure(3.4)
    axes = fig.subplots()
    for (name, y), colour, dash in zip(series.items(), OKABE_ITO, DASHES):
        if len(y) != len(x):
            raise CourseError(
                f"{name}: expected {len(x)} values, one for each x, got {len(y)}; compute the curve"
                " on the same grid."
            )
        axes.plot(x, y, color=colour, linestyle=dash, label=name)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return describe(fig, partial(lines_words, "Smooth curves", [axes]))


def fits(x: Tensor, target: Tensor, fitted: Mapping[str, Tensor], xlabel: str = "x") -> Figure:
    """Returns one panel for each fitted density, the target as a grey area behind it.

    Args:
        x: `[N]`.
        target: density `[N]`.
        fitted: `{title: density [N]}`.
    """
    fig = new_figure(2.6, WIDTH * 1.25)
    for axes, (name, density), colour, dash in zip(
        fig.subplots(1, len(fitted), sharey=True, squeeze=False)[0],
        fitted.items(),
        OKABE_ITO,
        DASHES,
    ):
        axes.fill_between(x, target, color="#BBBBBB", linewidth=0, label="target")
        axes.plot(x, density, color=colour, linestyle=dash)  # its title names it
        axes.set(xlabel=xlabel)
        axes.set_title(name, fontsize=11)
    fig.axes[0].set_ylabel("density")
    fig.axes[-1].legend(fontsize=9)
    peaks = {name: peak_words(x, density) for name, density in fitted.items()}
    opening = f"Densities over {spoken(xlabel)}, one panel a fit, the target as a grey area"
    return describe(fig, summary(opening, {"target": peak_words(x, target), **peaks}))


def peak_words(x: Tensor, density: Tensor) -> str:
    """Returns how high a density `[N]` is at most and at which x `[N]`, in words."""
    place = int(density.argmax())
    return f"peak {rounded(density[place])} at {rounded(x[place])}"


def histograms(
    values: Mapping[str, Tensor], xlabel: str, num_bins: int = 60, title: str = ""
) -> Figure:
    """Returns one outlined histogram for each entry, on shared bins and each with area 1; values
    beyond the outer 0.5 % are left out.

    Args:
        values: `{name: [N]}`.
    """
    import numpy as np

    everything = np.concatenate([np.asarray(one) for one in values.values()])
    low, high = np.quantile(everything, [0.005, 0.995])
    bins = np.linspace(low, high, num_bins)
    fig = new_figure(3.2)
    axes = fig.subplots()
    for (name, one), colour, dash in zip(values.items(), OKABE_ITO, DASHES):
        axes.hist(
            np.asarray(one),
            bins,
            density=True,
            histtype="step",
            color=colour,
            linestyle=dash,
            linewidth=1.8,
            label=name,
        )
    axes.set(title=title, xlabel=xlabel, ylabel="share (area 1)")
    axes.legend()
    spreads = {name: spread_words(one) for name, one in values.items()}
    medians = [float(np.median(np.asarray(one))) for one in values.values()]
    return describe(fig, summary(f"Histograms of {spoken(xlabel)}", spreads, medians))


def scatter_band(
    points: Tensor, x: Tensor, mean: Tensor, std: Tensor, xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Returns points with a line for the mean of y given x and a band of two standard deviations to
    each side; the labels of the axes name both in the legend.

    Args:
        points: `[N, 2]`.
        x, mean, std: `[M]`.
    """
    fig = new_figure(3.6, 5.0)
    axes = fig.subplots()
    axes.scatter(*points.T, s=8, alpha=0.4, color="#666666", linewidths=0, label="images")
    name = f"mean of {ylabel} given {xlabel}"
    axes.plot(x, mean, color=OKABE_ITO[1], label=name)
    axes.fill_between(
        x,
        mean - 2 * std,
        mean + 2 * std,
        color=OKABE_ITO[1],
        alpha=0.2,
        linewidth=0,
        label="± 2 standard deviations",
    )
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend(fontsize=9)
    opening = f"{counted(len(points), 'point')}, {spoken(ylabel)} over {spoken(xlabel)}"
    widths = [2 * float(choose(std)) for choose in (min, max)]
    reach = " to ".join(dict.fromkeys(map(rounded, widths)))
    closing = f"The band reaches ± 2 standard deviations around it, which are {reach}."
    return describe(fig, summary(opening, {spoken(name): trace(x, mean)}, closing=closing))


def roc_curves(rates: Mapping[str, tuple[Tensor, Tensor]], title: str = "") -> Figure:
    """Returns ROC curves over the diagonal of blind guessing.

    Args:
        rates: `{name: (false alarms [N], hits [N])}`, shares from 0 to 1 as the threshold falls.
    """
    fig = new_figure(4.0, 5.0)
    axes = fig.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, label="blind guessing")
    for (name, (false_alarms, hits)), colour, dash in zip(rates.items(), OKABE_ITO, DASHES):
        axes.plot(false_alarms, hits, color=colour, linestyle=dash, label=name)
    axes.set(
        title=title,
        xlabel="share of ordinary images called outliers",
        ylabel="share of outliers found",
        aspect="equal",
    )
    axes.legend(fontsize=9)
    areas = {name: _area_under(*curve) for name, curve in rates.items()}
    opening = "ROC curves over the diagonal of blind guessing, area under the curve"
    numbers = {name: rounded(area) for name, area in areas.items()}
    return describe(fig, summary(opening, numbers, list(areas.values())))


def _area_under(false_alarms: Tensor, hits: Tensor) -> float:
    """Returns the area under a ROC curve by the trapezoidal rule."""
    import torch

    return abs(torch.trapezoid(torch.as_tensor(hits), torch.as_tensor(false_alarms)).item())
