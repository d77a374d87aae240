"""Figures of the VAE's derivation: a mixture made of slices, Jensen's inequality, log p(x) as ELBO
plus gap, curves over dimensions and draws.

Colour is never the only difference: lines differ by dash and marker, parts of a bar by hatch, and
values stand beside their marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import OKABE_ITO, describe, new_figure
from course_utils.plotting.charts import DASHES, MARKERS
from course_utils.plotting.words import lines_words, rounded, summary, trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

ELBO_COLOUR, GAP_COLOUR = OKABE_ITO[0], OKABE_ITO[1]


def mixture(
    z: Tensor,
    mean: Tensor,
    noise_std: float,
    draws: Tensor,
    x: Tensor,
    slices: Tensor,
    density: Tensor,
) -> Figure:
    """Returns a decoder's curve with draws around it, beside the density of x that its slices add
    up to. Both panels share the axis of x.

    Args:
        z, mean: the curve, `[N]` each.
        noise_std: half of the half-width of the band.
        draws: pairs of z and x, `[M, 2]`.
        x: `[P]`.
        slices: weighted densities p(x | z_i) p(z_i) dz, `[S, P]`.
        density: p(x), `[P]`.
    """
    if slices.shape[1:] != x.shape:
        raise CourseError(
            f"slices: expected {len(x)} columns, one for each x, got shape {list(slices.shape)};"
            " compute them on the same grid."
        )
    fig = new_figure(3.8)
    curve, sums = fig.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
    curve.fill_between(
        z,
        mean - 2 * noise_std,
        mean + 2 * noise_std,
        color="#DDDDDD",
        linewidth=0,
        label="± 2 standard deviations of the noise",
    )
    curve.scatter(*draws.T, s=7, color="#555555", alpha=0.5, linewidths=0, label="draws of (z, x)")
    curve.plot(z, mean, color=OKABE_ITO[0], label="decoder: mean of x given z")
    curve.set(xlabel="z, drawn from N(0, 1)", ylabel="x", title="z decides where x lies")
    curve.legend(fontsize=9, loc="upper left")
    for one in slices:
        sums.fill_betweenx(x, 0, one, color=OKABE_ITO[0], alpha=0.15, linewidth=0)
        sums.plot(one, x, color=OKABE_ITO[0], linewidth=0.7)
    sums.plot(density, x, color="black", label="p(x): sum of all slices")
    sums.plot([], [], color=OKABE_ITO[0], linewidth=0.7, label="slice: x given one z")
    sums.set(xlabel="density of x", title="all z together", xlim=(0, None))
    sums.set_ylim(min(x).item(), 1.35 * max(x).item())
    sums.legend(fontsize=9, loc="upper right")
    peak = int(density.argmax())
    return describe(
        fig,
        f"Left: {len(draws)} draws of z and x around the decoder's curve, mean of x given z"
        f" {trace(z, mean)}, with a band of ± {rounded(2 * noise_std)}. Right, on the same axis of"
        f" x: {len(slices)} slices, one for each z, and their sum p(x), whose peak of"
        f" {rounded(density[peak])} is at x = {rounded(x[peak])}.",
    )


def jensen(weights: Tensor) -> Figure:
    """Returns the curve of the logarithm with some weights on it: the log of their mean above the
    mean of their logs.

    Args:
        weights: above 0, `[S]`, few of them.
    """
    import torch

    if not (weights > 0).all():
        raise CourseError(
            f"weights: expected numbers above 0, got {weights.min().item():.3g} among them; they"
            " are probabilities or densities."
        )
    mean, log_mean, mean_log = (
        weights.mean().item(),
        weights.mean().log().item(),
        weights.log().mean().item(),
    )
    fig = new_figure(3.6)
    axes = fig.subplots()
    low, high = weights.min().item(), weights.max().item()
    grid = torch.linspace(0.5 * low, 1.12 * high, 300)
    axes.plot(grid, grid.log(), color="#777777", label="log w")
    axes.plot(weights, weights.log(), "o", color=OKABE_ITO[0], label="the weights")
    axes.plot(
        [mean],
        [log_mean],
        marker="^",
        linestyle="",
        markersize=9,
        color=OKABE_ITO[2],
        label=f"log of the mean: {log_mean:.2f}",
    )
    axes.plot(
        [mean],
        [mean_log],
        marker="v",
        linestyle="",
        markersize=9,
        color=OKABE_ITO[4],
        label=f"mean of the logs: {mean_log:.2f}",
    )
    if len(weights) == 2:
        axes.plot(weights, weights.log(), color=OKABE_ITO[0], linestyle="--", linewidth=1)
    axes.plot([mean, mean], [mean_log, log_mean], color="black", linewidth=1.2)
    axes.annotate(
        "gap",
        (mean, (log_mean + mean_log) / 2),
        (8, 0),
        textcoords="offset points",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    axes.set(xlabel="weight w", ylabel="log w (nats)")
    axes.legend(loc="lower right")
    return describe(
        fig,
        f"The curve of log w with {len(weights)} weights from {rounded(low)} to {rounded(high)} on"
        f" it. Above their mean {rounded(mean)}: log of the mean {log_mean:.2f} on the curve, mean"
        f" of the logs {mean_log:.2f} below it, a gap of {log_mean - mean_log:.2f} nats.",
    )


def bound_bars(log_evidence: float, bounds: Mapping[str, tuple[float, float]]) -> Figure:
    """Returns one bar for each q: the ELBO, and above it the KL that reaches up to log p(x), the
    same height for all.

    Args:
        log_evidence: log p(x), nats.
        bounds: `{name of q: (ELBO, KL(q || p(z | x)))}`, nats.
    """
    fig = new_figure(3.6)
    axes = fig.subplots()
    reach = max(gap for _, gap in bounds.values())
    floor = log_evidence - 1.35 * max(reach, 0.1)
    _draw_bound(axes, log_evidence, bounds, floor)
    axes.set_ylim(floor, log_evidence + 0.2 * (log_evidence - floor))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    opening = f"Stacked bars that reach log p(x) = {log_evidence:.2f} nats, one for each q"
    numbers = {name: f"ELBO {bound:.2f} and KL {kl:.2f}" for name, (bound, kl) in bounds.items()}
    return describe(fig, summary(opening, numbers, [bound for bound, _ in bounds.values()]))


def bound_picture(
    z: Tensor,
    curves: Mapping[str, Tensor],
    log_evidence: float,
    elbo: float,
    gap: float,
    title: str = "",
) -> Figure:
    """Returns prior, posterior and q over z, beside the bar of log p(x) = ELBO + KL. Its axis ends
    6 nats below log p(x). Quick to draw.

    Args:
        z: `[N]`.
        curves: `{name: density [N]}`; the first is drawn as an area, so make it the posterior.
        log_evidence, elbo, gap: nats.
    """
    from matplotlib.figure import Figure

    # a fixed layout: the automatic one would take longer than all the rest
    fig = Figure(figsize=(7.0, 3.2))
    densities, bar = fig.subplots(
        1,
        2,
        width_ratios=(3, 1),
        gridspec_kw={"left": 0.08, "right": 0.98, "bottom": 0.15, "top": 0.9, "wspace": 0.28},
    )
    (first, area), *others = curves.items()
    densities.fill_between(z, area, color="#BBBBBB", linewidth=0, label=first)
    for (name, density), colour, dash in zip(others, (OKABE_ITO[4], OKABE_ITO[0]), DASHES):
        densities.plot(z, density, color=colour, linestyle=dash, label=name)
    densities.set(
        xlabel="z",
        ylabel="density",
        title=title,
        xlim=(z[0].item(), z[-1].item()),
        ylim=(0, 1.15 * float(area.max())),
    )
    densities.legend(fontsize=9, loc="upper left")
    floor = log_evidence - 6.0
    _draw_bound(bar, log_evidence, {"": (elbo, gap)}, floor)
    bar.set_title(f"log p(x) = {log_evidence:.2f}", fontsize=11)
    bar.set_ylim(floor, log_evidence + 1.4)
    peaks = {}
    for name, density in curves.items():
        place = int(density.argmax())
        peaks[name] = f"peak {rounded(density[place])} at {rounded(z[place])}"
    closing = (
        f"Beside them the bar of log p(x) = {log_evidence:.2f} nats: ELBO {elbo:.2f} and KL"
        f" {gap:.2f}."
    )
    return describe(fig, summary("Densities over z, the first as an area", peaks, closing=closing))


def _draw_bound(
    axes: Axes, log_evidence: float, bounds: Mapping[str, tuple[float, float]], floor: float
) -> None:
    for place, (bound, gap) in enumerate(bounds.values()):
        first: dict[str, Any] = {"label": "ELBO"} if place == 0 else {}
        second: dict[str, Any] = {"label": "KL(q || posterior)"} if place == 0 else {}
        axes.bar(
            place, max(0.0, bound - floor), bottom=floor, width=0.6, color=ELBO_COLOUR, **first
        )
        axes.bar(
            place,
            log_evidence - max(bound, floor),
            bottom=max(bound, floor),
            width=0.6,
            color=GAP_COLOUR,
            hatch="//",
            edgecolor="white",
            **second,
        )
        axes.annotate(
            f"ELBO {bound:.2f}\nKL {gap:.2f}",
            (place, log_evidence),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=10,
        )
    axes.axhline(
        log_evidence, color="black", linestyle="--", label=f"log p(x) = {log_evidence:.2f}"
    )
    axes.set_xticks(range(len(bounds)), list(bounds))
    axes.set(ylabel="nats", xlim=(-0.6, len(bounds) - 0.4))


def scaled_lines(
    x: Sequence[float],
    series: Mapping[str, Sequence[float] | tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    *,
    log_x: bool = True,
    log_y: bool = True,
    level: tuple[str, float] | None = None,
    title: str = "",
) -> Figure:
    """Returns one line for each entry of `series` over logarithmic axes, with error bars where
    errors are given.

    Args:
        x: `[N]`.
        series: `{name: y [N]}`, or `{name: (y, standard error)}`; the bars reach two standard
            errors to each side.
        level: name and value of a horizontal line.
    """
    fig = new_figure(3.6)
    axes = fig.subplots()
    for (name, values), colour, marker, dash in zip(series.items(), OKABE_ITO, MARKERS, DASHES):
        if isinstance(values, tuple):
            y, error = cast("tuple[Sequence[float], Sequence[float]]", values)
        else:
            y, error = values, None
        if len(y) != len(x):
            raise CourseError(
                f"{name}: expected {len(x)} values, one for each x, got {len(y)}; compute the line"
                " for the same x."
            )
        reach = None if error is None else [2 * float(one) for one in error]
        axes.errorbar(
            x,
            y,
            yerr=reach,
            color=colour,
            marker=marker,
            markersize=5,
            linestyle=dash,
            capsize=3,
            label=name,
        )
    if level is not None:
        axes.axhline(level[1], color="black", linewidth=1.2, label=level[0])
    axes.set(
        xlabel=xlabel,
        ylabel=ylabel,
        title=title,
        xscale="log" if log_x else "linear",
        yscale="log" if log_y else "linear",
    )
    axes.legend()
    scales = {(True, True): "Lines on logarithmic axes", (False, False): "Lines"}
    one = f"Lines, {'x' if log_x else 'y'} logarithmic"
    return describe(fig, partial(lines_words, scales.get((log_x, log_y), one), [axes]))


def progress_bands(
    steps: Sequence[int],
    panels: Mapping[str, Mapping[str, Tensor]],
    level: tuple[str, float],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Returns one panel for each entry: the mean over repetitions as a line, all repetitions in a
    band from lowest to highest.

    Args:
        steps: `[T]`.
        panels: `{title: {name: values [T, num_repetitions]}}`.
        level: name and value of a horizontal line, such as the best that can be reached.
    """
    fig = new_figure(3.4)
    for axes, (title, runs) in zip(
        fig.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items()
    ):
        for (name, values), colour, dash in zip(runs.items(), OKABE_ITO, DASHES):
            axes.plot(steps, values.mean(1), color=colour, linestyle=dash, label=name)
            axes.fill_between(
                steps, values.amin(1), values.amax(1), color=colour, alpha=0.2, linewidth=0
            )
        axes.axhline(level[1], color="black", linewidth=1, label=level[0])
        axes.set(xlabel=xlabel, title=title)
    fig.axes[0].set_ylabel(ylabel)
    fig.axes[0].legend(fontsize=9, loc="lower right")
    return describe(fig, partial(lines_words, "Means of several runs", fig.axes))
