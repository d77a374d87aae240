"""Charts of metrics: two Gaussians and their distance, the plane of sharpness and diversity, scores
beside the real-vs-real floor, verdicts.

Colour is never the only difference: states have a word, curves a marker and a dash, points a name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, new_figure
from course_utils.plotting.charts import HATCHES, MARKERS, comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

FLOOR_COLOUR = "#BBBBBB"
# pale, so that black text stays readable on them
STATE_COLOURS = ("#FFFFFF", "#A6CEE3", "#FDBF6F", "#DDDDDD")
ELLIPSE_RADII = (1.0, 2.0)  # standard deviations


def gaussian_distance(
    gaussians: Mapping[str, tuple[Tensor, Tensor]],
    terms: tuple[float, float],
    samples: Mapping[str, Tensor] | None = None,
    limit: float = 5.0,
) -> Figure:
    """Returns two Gaussians of the plane as ellipses of one and two standard deviations, beside the
    two terms of their distance.

    Args:
        gaussians: `{name: (mean [2], covariance [2, 2])}`, two of them.
        terms: the mean term and the covariance term of the squared Fréchet distance.
        samples: `{name: points [N, 2]}` to draw as well.
        limit: both axes go from -limit to +limit.

    Raises:
        CourseError: not two Gaussians of the plane.
    """
    shapes = [(list(mean.shape), list(covariance.shape)) for mean, covariance in gaussians.values()]
    if shapes != [([2], [2, 2])] * 2:
        raise CourseError(
            f"gaussians: expected two, each a mean [2] and a covariance [2, 2], got {shapes}."
        )
    fig = new_figure(3.6)
    plane, bars = fig.subplots(1, 2, width_ratios=(2.2, 1))
    for (name, (mean, covariance)), colour, style, marker in zip(
        gaussians.items(), OKABE_ITO, ("-", "--"), MARKERS
    ):
        for radius in ELLIPSE_RADII:
            _draw_ellipse(plane, mean, covariance, radius, colour, style)
        plane.plot(*mean.tolist(), marker=marker, color=colour, linestyle=style, label=name)
        if samples is not None:
            plane.scatter(
                *samples[name].T.tolist(),
                s=5,
                color=colour,
                marker=marker,
                alpha=0.35,
                linewidths=0,
            )
    plane.set(
        xlim=(-limit, limit),
        ylim=(-limit, limit),
        aspect="equal",
        xlabel="feature 0",
        ylabel="feature 1",
    )
    plane.legend(loc="upper left")
    _draw_terms(bars, terms)
    return fig


def _draw_ellipse(
    axes: Axes, mean: Tensor, covariance: Tensor, radius: float, colour: str, style: str
) -> None:
    import torch

    variances, directions = torch.linalg.eigh(covariance.double())
    angle = torch.linspace(0, 2 * math.pi, 100, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()])  # [2, 100]
    outline = mean.double()[:, None] + directions @ (
        radius * variances.clamp(min=0).sqrt()[:, None] * circle
    )
    axes.plot(*outline.tolist(), color=colour, linestyle=style, linewidth=1.5)


def _draw_terms(axes: Axes, terms: Sequence[float]) -> None:
    """Draws the two terms of a squared Fréchet distance as one stacked bar, the sum on top."""
    floor = 0.0
    for name, value, colour, hatch in zip(("means", "covariances"), terms, OKABE_ITO[2:], HATCHES):
        axes.bar(
            0,
            value,
            bottom=floor,
            width=0.6,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            label=f"{name}: {value:.2f}",
        )
        floor += value
    axes.annotate(
        f"{floor:.2f}", (0, floor), (0, 4), textcoords="offset points", ha="center", weight="bold"
    )
    axes.set(
        xlim=(-1, 1), ylim=(0, max(1.0, 1.5 * floor)), xticks=[], ylabel="squared Fréchet distance"
    )
    axes.legend(loc="upper center", fontsize=9)


def score_map(
    points: Mapping[str, tuple[float, float]], num_classes: int, title: str = ""
) -> Figure:
    """Returns the plane of sharpness S and diversity D with lines of equal Inception Score S x D,
    and named points.

    Args:
        points: `{name: (S, D)}`.
        num_classes: K; S goes from 1/K to 1, D from 1 to K.
    """
    fig = new_figure(4.4)
    axes = fig.subplots()
    for score in (*(score for score in (1, 2, 4, 8) if score < num_classes), num_classes):
        diversity = [score + (num_classes - score) * step / 50 for step in range(51)]
        axes.plot(
            [score / value for value in diversity],
            diversity,
            color=FLOOR_COLOUR,
            linewidth=1,
            zorder=1,
        )
        axes.annotate(
            f"IS {score:g}",
            (1, score),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color="#555555",
        )
    _draw_points(axes, points)
    axes.set(
        xlabel="sharpness S",
        ylabel="diversity D",
        xlim=(0, 1.15),
        ylim=(0.5, 1.08 * num_classes),
        title=title,
    )
    return fig


def plane(
    points: Mapping[str, tuple[float, float]], xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Returns named points on two axes from 0 to 1, such as precision and recall; the point named
    "floor" gets dotted lines.
    """
    fig = new_figure(4.4)
    axes = fig.subplots()
    _draw_points(axes, points)
    if "floor" in points:
        axes.axvline(points["floor"][0], color="black", linestyle=":", linewidth=1)
        axes.axhline(points["floor"][1], color="black", linestyle=":", linewidth=1)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.05, 1.12), ylim=(-0.05, 1.12), title=title)
    return fig


def _draw_points(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    for index, (name, (x, y)) in enumerate(points.items()):
        axes.plot(
            x,
            y,
            MARKERS[index % len(MARKERS)],
            color=OKABE_ITO[index % len(OKABE_ITO)],
            markeredgecolor="black",
            markersize=9,
            label=name,
        )
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def against_num_images(
    num_images: Sequence[int],
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    limits: Mapping[str, tuple[float, float]],
    ylabel: str,
) -> Figure:
    """Returns one curve a set of images over 1/N, with its straight line to 1/N = 0 where the limit
    of infinitely many images stands.

    Args:
        num_images: N, `[P]`.
        series: `{name: (values [P], errors [P])}`; bars reach two errors to each side.
        limits: `{name: (value, error)}` at 1/N = 0, for the same names.
    """
    fig = new_figure(4.0)
    axes = fig.subplots()
    inverse = [1 / num for num in num_images]
    for (name, (values, errors)), colour, marker in zip(series.items(), OKABE_ITO, MARKERS):
        axes.errorbar(
            inverse,
            values,
            [2 * error for error in errors],
            color=colour,
            marker=marker,
            linestyle="none",
            capsize=3,
            label=name,
        )
        value, error = limits[name]
        slope = sum((y - value) * x for x, y in zip(inverse, values)) / sum(x * x for x in inverse)
        axes.plot(
            [0, max(inverse)],
            [value, value + slope * max(inverse)],
            color=colour,
            linestyle="--",
            linewidth=1,
        )
        axes.errorbar(
            [0],
            [value],
            [2 * error],
            color=colour,
            marker=marker,
            markerfacecolor="white",
            capsize=5,
            clip_on=False,
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks([0, *inverse], ["∞", *(f"{num:,}" for num in num_images)], rotation=45)
    axes.set(xlabel="number of images N (axis: 1/N)", ylabel=ylabel)
    axes.legend()
    return fig


def comparison_with_floor(
    values: Mapping[str, tuple[float, float]],
    floor: tuple[float, float],
    xlabel: str,
    title: str = "",
) -> Figure:
    """Returns `comparison` with a grey band at the real-vs-real floor (value, standard error), two
    errors to each side.
    """
    fig = comparison(values, xlabel, title)
    axes, (value, error) = fig.axes[0], floor
    axes.axvspan(
        value - 2 * error,
        value + 2 * error,
        color=FLOOR_COLOUR,
        alpha=0.6,
        zorder=0,
        label="real vs real",
    )
    axes.axvline(value, color="black", linestyle=":", linewidth=1, zorder=0)
    axes.legend(loc="best")
    return fig


def verdict_table(
    rows: Mapping[str, Mapping[str, tuple[str, str]]], states: Sequence[str], title: str = ""
) -> Figure:
    """Returns a table of short texts whose cells are coloured and marked by their state.

    Args:
        rows: `{row: {column: (text, state)}}`, the same columns in each row.
        states: every state, in the order of the legend.

    Raises:
        CourseError: a state that is not listed, or more than four.
    """
    from matplotlib.patches import Rectangle

    used = {state for row in rows.values() for _, state in row.values()}
    if not used <= set(states) or len(states) > len(STATE_COLOURS):
        raise CourseError(
            f"states: expected up to {len(STATE_COLOURS)} that include {sorted(used)}, got"
            f" {list(states)}."
        )
    colours = dict(zip(states, STATE_COLOURS))
    columns = list(next(iter(rows.values())))
    fig = new_figure(1.3 + 0.5 * len(rows), width=max(WIDTH, 1.6 + 0.85 * len(columns)))
    axes = fig.subplots()
    for i, row in enumerate(rows.values()):
        for j, (text, state) in enumerate(row.values()):
            axes.add_patch(
                Rectangle((j, i), 1, 1, facecolor=colours[state], edgecolor="black", linewidth=0.6)
            )
            axes.text(j + 0.5, i + 0.5, f"{text}\n{state}", ha="center", va="center", fontsize=8.5)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0), title=title)
    axes.set_xticks([j + 0.5 for j in range(len(columns))], columns, rotation=20, ha="left")
    axes.set_yticks([i + 0.5 for i in range(len(rows))], list(rows))
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return fig
