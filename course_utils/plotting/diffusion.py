"""Figures of diffusion: schedules, film strips, scores in the plane, quality against the number of
network calls, and what guidance trades.

Colour is never the only difference: curves differ by dash or marker too, points carry their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import with_error
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, describe, new_figure
from course_utils.plotting.charts import DASHES, MARKERS
from course_utils.plotting.metrics import FLOOR_COLOUR
from course_utils.plotting.pictures import image_table
from course_utils.plotting.words import counted, lines_words, points_words, rounded, spoken, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

# values and their standard errors, one of each for every point
Values = tuple[Sequence[float], Sequence[float]]


def schedule_curves(t: Tensor, curves: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> Figure:
    """Returns alpha, sigma and the log of the signal-to-noise ratio over time, one panel each, one
    line a schedule.

    Args:
        t: times `[N]`.
        curves: `{name: (alpha [N], sigma [N], log-SNR [N])}`; infinite values are left out.
    """
    fig = new_figure(2.9, WIDTH * 1.25)
    titles = ("alpha: share of the image", "sigma: share of the noise", "log(alpha² / sigma²)")
    for place, (axes, title) in enumerate(zip(fig.subplots(1, 3), titles)):
        for (name, values), colour, dash in zip(curves.items(), OKABE_ITO, DASHES):
            finite = values[place].isfinite()
            axes.plot(t[finite], values[place][finite], color=colour, linestyle=dash, label=name)
        axes.set(xlabel="t (0: image, 1: noise)")
        axes.set_title(title, fontsize=11)
    fig.axes[0].legend(fontsize=9)
    return describe(fig, partial(lines_words, "Lines", fig.axes))


def film_frames(num_frames: int, num_columns: int) -> list[int]:
    """Returns which of `num_frames` frames to show: `num_columns` of them, evenly spread, the first
    and the last among them.
    """
    num_columns = min(num_columns, num_frames)
    return [
        round(column * (num_frames - 1) / max(1, num_columns - 1)) for column in range(num_columns)
    ]


def film_strip(
    xts: Sequence[Tensor],
    times: Sequence[float],
    row_labels: Sequence[str] | None = None,
    num_columns: int = 8,
    title: str = "",
) -> Figure:
    """Returns one row an image: how it comes out of the noise, from left to right. Values outside
    [-1, 1] are shown as black or white.

    Args:
        xts: images at each time, `[B, C, H, W]` each; such as the `xts` or the `x0s` of a
            trajectory.
        times: of `xts`, as many or more.
        row_labels: B texts.
        num_columns: frames to show, evenly spread.

    Raises:
        CourseError: no frames, or fewer times than frames.
    """
    import torch

    if not 0 < len(xts) <= len(times):
        raise CourseError(
            f"xts: expected 1 to {len(times)} frames, one for each time, got {len(xts)}; sample"
            " with trajectory=True."
        )
    chosen = film_frames(len(xts), num_columns)
    # [B, columns, C, H, W]
    frames = torch.stack([xts[index].clamp(-1, 1) for index in chosen], dim=1)
    labels = [f"t = {float(times[index]):.2f}" for index in chosen]
    return image_table(
        frames.flatten(0, 1),
        num_columns=len(chosen),
        row_labels=row_labels,
        column_labels=labels,
        title=title,
    )


def against_calls(
    num_calls: Sequence[int],
    series: Mapping[str, Values],
    ylabel: str,
    floor: tuple[float, float] | None = None,
    log: bool = True,
) -> Figure:
    """Returns a metric over the number of network calls an image, with bars of two standard errors,
    and the floor as a grey band.

    Args:
        num_calls: `[N]`, drawn on a logarithmic axis.
        series: `{name: (values [N], standard errors [N])}`; NaN leaves a point out.
        ylabel: name of the metric.
        floor: value and standard error of real images, where there is one.
        log: whether the metric's axis is logarithmic too.
    """
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    fig = new_figure(3.8)
    axes = fig.subplots()
    for (name, (values, errors)), colour, dash, marker in zip(
        series.items(), OKABE_ITO, DASHES, MARKERS
    ):
        axes.errorbar(
            num_calls,
            values,
            [2 * error for error in errors],
            color=colour,
            linestyle=dash,
            marker=marker,
            capsize=3,
            label=name,
        )
    if floor is not None:
        _draw_floor(axes, floor)
    axes.set_xscale("log")
    if log:
        axes.set_yscale("log")
        # bars that reach below 0 would stretch the axis; they run out of it
        shown = [value for values, _ in series.values() for value in values if value > 0]
        if floor is not None:
            shown.append(floor[0])
        if shown:
            axes.set_ylim(bottom=0.5 * min(shown))
        # a range of less than ten would have one tick or none
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xticks(num_calls, [str(num) for num in num_calls])
    axes.minorticks_off()
    axes.set(xlabel="network calls an image", ylabel=f"{ylabel} (bars: ± 2 standard errors)")
    axes.legend()
    closing = f"Grey band: real vs real {with_error(*floor)}." if floor is not None else ""
    return describe(fig, partial(lines_words, "Lines", [axes], closing))


def _draw_floor(axes: Axes, floor: tuple[float, float]) -> None:
    value, error = floor
    axes.axhspan(
        max(value - 2 * error, 0.1 * value),
        value + 2 * error,
        color=FLOOR_COLOUR,
        alpha=0.6,
        zorder=0,
        label="real vs real",
    )
    axes.axhline(value, color="black", linestyle=":", linewidth=1, zorder=0)


def guidance_trade_off(
    scales: Sequence[float],
    x: Values,
    y: Values,
    xlabel: str,
    ylabel: str,
    floor: tuple[float, float] | None = None,
) -> Figure:
    """Returns the path of two metrics as the guidance scale grows: a point a scale, marked with it,
    with bars of two standard errors.

    Args:
        scales: guidance scales `[N]`.
        x, y: values and standard errors of the two metrics, `[N]` each.
        floor: the two values of real images, drawn as dotted lines.
    """
    fig = new_figure(4.2)
    axes = fig.subplots()
    x_bars, y_bars = [2 * error for error in x[1]], [2 * error for error in y[1]]
    axes.errorbar(x[0], y[0], y_bars, x_bars, color=OKABE_ITO[0], marker="o", capsize=3)
    for scale, place in zip(scales, zip(x[0], y[0])):
        axes.annotate(
            f"{scale:g}", place, (6, 6), textcoords="offset points", fontsize=10, weight="bold"
        )
    if floor is not None:
        axes.axvline(floor[0], color="black", linestyle=":", linewidth=1)
        axes.axhline(floor[1], color="black", linestyle=":", linewidth=1, label="real vs real")
        axes.legend()
    axes.set(xlabel=xlabel, ylabel=ylabel, title="numbers: guidance scale")
    points = {f"scale {scale:g}": place for scale, place in zip(scales, zip(x[0], y[0]))}
    opening = f"Path of points ({spoken(xlabel)}, {spoken(ylabel)}) with error bars"
    closing = f"Real vs real: {points_words({'': floor})['']}." if floor is not None else ""
    return describe(fig, summary(opening, points_words(points), list(y[0]), closing))


def score_field(
    places: Tensor,
    scores: Tensor,
    paths: Sequence[Tensor] = (),
    points: Tensor | None = None,
    title: str = "",
    limit: float = 1.5,
) -> Figure:
    """Returns the score as arrows in the plane (all of one length, their colour the logarithm of
    the true one), with points and paths of x_t.

    Args:
        places, scores: `[N, 2]` each.
        paths: x_t at each time, `[M, 2]` each, such as the `xts` of a trajectory; a path ends in a
            dot.
        points: data `[K, 2]`.
        limit: both axes go from -limit to +limit.
    """
    import torch
    from matplotlib import colormaps

    fig = new_figure(4.6, 5.4)
    axes = fig.subplots()
    if points is not None:
        axes.scatter(
            *points.T.tolist(),
            s=5,
            color="#999999",
            alpha=0.5,
            linewidths=0,
            label="data",
            zorder=1,
        )
    lengths = scores.norm(dim=1)
    direction = scores / lengths.clamp(min=1e-12)[:, None]
    # steps can be read off the bar, and the picture fits a small palette
    few = colormaps["viridis"].resampled(8)
    arrows = axes.quiver(
        *places.T.tolist(),
        *direction.T.tolist(),
        lengths.clamp(min=1e-12).log10().tolist(),
        cmap=few,
        scale=28,
        zorder=2,
    )
    fig.colorbar(arrows, ax=axes, label="log10 of the score's length", shrink=0.8)
    if len(paths):
        for number, path in enumerate(torch.stack(tuple(paths), dim=1)):
            axes.plot(
                *path.T.tolist(),
                color=OKABE_ITO[4],
                linewidth=1,
                label="paths of x_t" if number == 0 else None,
                zorder=3,
            )
            axes.plot(*path[-1].tolist(), color=OKABE_ITO[4], marker="o", markersize=4, zorder=3)
    axes.set(
        xlim=(-limit, limit),
        ylim=(-limit, limit),
        aspect="equal",
        xlabel="x, dimension 0",
        ylabel="x, dimension 1",
        title=title,
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", fontsize=9, frameon=True, framealpha=0.9, markerscale=3)
    low, high = lengths.min(), lengths.max()
    text = (
        f"{spoken(title) or 'Score field'}: arrows at {len(places)} places of the plane, their"
        f" colour the length of the score, from {rounded(low)} to {rounded(high)}."
    )
    if points is not None:
        text += f" {counted(len(points), 'point')} of data."
    if len(paths):
        text += f" {counted(len(paths[0]), 'path')} of x_t over {counted(len(paths), 'time')}."
    return describe(fig, text)


def sheets(xts: Sequence[Tensor], num_columns: int = 8) -> list[Tensor]:
    """Returns one sheet of images a time, uint8 `[C, height, width]`, the frames of an animation;
    values outside [-1, 1] are cut off.
    """
    from course_utils.base.images import signed_to_uint8, tile

    return [tile(signed_to_uint8(xt.detach().cpu().clamp(-1, 1)), num_columns) for xt in xts]
