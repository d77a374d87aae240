"""Charts of metrics: two Gaussians and their distance, the plane of sharpness and diversity, the
balls of precision and recall, SSIM as a map, scores beside the real-vs-real floor, verdicts.

Colour is never the only difference: states have a word, curves a marker and a dash, points a name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError, unknown
from course_utils.metrics.measurement import check_count, check_pair, with_error
from course_utils.metrics.neighbours import Balls, balls_of, hits
from course_utils.metrics.paired import WINDOW
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, attached_text, describe, new_figure
from course_utils.plotting.charts import HATCHES, MARKERS, comparison
from course_utils.plotting.pictures import as_uint8, draw_pixels
from course_utils.plotting.words import counted, names_words, points_words, spoken, summary, trace

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
    means = points_words({name: tuple(mean.tolist()) for name, (mean, _) in gaussians.items()})
    closing = (
        f"Beside them a bar of their squared Fréchet distance {sum(terms):.2f}: means"
        f" {terms[0]:.2f}, covariances {terms[1]:.2f}."
    )
    opening = "Two Gaussians as ellipses of 1 and 2 standard deviations, with means at"
    return describe(fig, summary(opening, means, closing=closing))


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
            marker="." if score == num_classes else None,  # this line is a single point
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
    opening = f"Points (S, D) among lines of equal Inception Score S x D up to {num_classes}"
    return describe(
        fig, summary(opening, points_words(points), [s * d for s, d in points.values()])
    )


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
    opening = f"Points ({spoken(xlabel)}, {spoken(ylabel)})"
    return describe(fig, summary(opening, points_words(points), [y for _, y in points.values()]))


def _draw_points(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    for index, (name, (x, y)) in enumerate(points.items()):
        colour = OKABE_ITO[index % len(OKABE_ITO)]
        # a large ring for the first of several, such as real images: it is seen round another
        is_ring = index == 0 and len(points) > 1
        axes.plot(
            x,
            y,
            MARKERS[index % len(MARKERS)],
            color=colour,
            fillstyle="none" if is_ring else "full",
            markeredgecolor=colour if is_ring else "black",
            markeredgewidth=2 if is_ring else 1,
            markersize=14 if is_ring else 9,
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
    ends = {
        name: f"{trace(num_images, values)}, limit {with_error(*limits[name])}"
        for name, (values, _) in series.items()
    }
    opening = f"Points with error bars and straight lines, {spoken(ylabel)} over 1/N, N images"
    return describe(fig, summary(opening, ends, [limits[name][0] for name in series]))


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
    return describe(fig, f"{attached_text(fig)} Grey band: real vs real {with_error(*floor)}.")


LONGEST_COLUMN = 11  # letters that fit above a column of `verdict_table`


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
    # a little room, or the outer borders would be cut
    axes.set(xlim=(-0.02, len(columns) + 0.02), ylim=(len(rows) + 0.02, -0.02), title=title)
    rotation, side = (0, "center") if max(map(len, columns)) <= LONGEST_COLUMN else (20, "left")
    places = [j + 0.5 for j in range(len(columns))]
    axes.set_xticks(places, columns, fontsize=9, rotation=rotation, ha=side)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], list(rows))
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    every = [state for row in rows.values() for _, state in row.values()]
    counts = {f"{state}:": str(every.count(state)) for state in states}
    opening = (
        f"Table of {counted(len(rows), 'row')} ({names_words(rows)}) and"
        f" {counted(len(columns), 'column')} ({names_words(columns)}), cells of each state"
    )
    return describe(fig, summary(opening, counts))


# metric: (its points, whose balls have to hold them)
BALL_PANELS = {"precision": ("generated", "real"), "recall": ("real", "generated")}


def neighbour_balls(real: Tensor, fake: Tensor, k: int = 3, which: str = "both") -> Figure:
    """Returns the balls of precision and recall in the plane: a circle round each real point that
    reaches to its k-th nearest real neighbour, with the generated points inside and outside marked,
    and the same the other way round.

    The axes hold all points; a large circle may reach beyond them.

    Args:
        real, fake: points of the plane, `[N, 2]` and `[M, 2]`; up to about 50 each stay legible.
        k: from 1 to the size of the smaller set minus 1.
        which: "precision", "recall" or "both", side by side.

    Raises:
        CourseError: points of another shape, or a `which` or `k` that there is not.

    Source: Kynkäänniemi et al. 2019 (arXiv:1904.06991), eq. 1-2 and fig. 2.
    """
    if which not in (*BALL_PANELS, "both"):
        raise unknown("panel", which, (*BALL_PANELS, "both"))
    real, fake = check_pair(real, fake, ("real", "fake"))
    if real.shape[1] != 2:
        raise CourseError(
            f"expected points of the plane, [N, 2], got {list(real.shape)} and"
            f" {list(fake.shape)}; choose two features, or project them onto two directions."
        )
    num = min(len(real), len(fake))
    check_count("k", k, 1, num - 1, why=f"the smaller set has {num} points")
    sets, chosen = {"real": real, "generated": fake}, list(BALL_PANELS)
    if which != "both":
        chosen = [which]
    fig = new_figure(4.7, WIDTH if which == "both" else 4.2)
    sentences = []
    panels = fig.subplots(1, len(chosen), sharex=True, sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, chosen):
        points_name, centres_name = BALL_PANELS[metric]
        points, balls = sets[points_name], balls_of(sets[centres_name], k)
        inside = hits(points, balls).counts > 0
        _draw_balls(axes, balls, f"{centres_name}, with its ball")
        for covered, marker, colour, place in (
            (inside, "o", OKABE_ITO[0], "in a ball"),
            (~inside, "X", OKABE_ITO[4], "in none"),
        ):
            axes.scatter(
                *points[covered].T.tolist(),
                s=38,
                marker=marker,
                color=colour,
                edgecolor="white",
                linewidths=0.7,
                label=f"{points_name}, {place}",
                zorder=3,
            )
        num_inside = int(inside.sum())
        share = f"{100 * num_inside / len(points):.0f} %"
        axes.set_title(f"{metric}: {num_inside} of {len(points)} ({share})")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))
        axes.set(xlabel="feature 0", aspect="equal")
        sentences.append(
            f"{metric.capitalize()}: {num_inside} of {len(points)} {points_name} points"
            f" ({share}) lie in a ball of a {centres_name} one."
        )
    _frame_points(panels, real, fake)
    return describe(
        fig,
        f"{len(real)} real and {len(fake)} generated points in the plane, with circles that reach"
        f" from each point to its neighbour number {k} of the same set. {' '.join(sentences)}",
    )


def _draw_balls(axes: Axes, balls: Balls, label: str) -> None:
    from matplotlib.patches import Circle

    for centre, radius in zip(balls.centres.tolist(), balls.radii.tolist()):
        axes.add_patch(
            Circle(
                (centre[0], centre[1]),
                radius,
                facecolor=(0.5, 0.5, 0.5, 0.08),
                edgecolor="#AAAAAA",
                linewidth=0.8,
            )
        )
    axes.scatter(
        *balls.centres.T.tolist(), s=12, color="black", linewidths=0, label=label, zorder=2
    )


def _frame_points(panels: Sequence[Axes], real: Tensor, fake: Tensor) -> None:
    """Gives all panels one square view that holds every point."""
    import torch

    low, high = torch.cat([real, fake]).aminmax(dim=0)
    middle, reach = (low + high) / 2, 0.56 * (high - low).max().item() or 1.0
    for axes in panels:
        axes.set(
            xlim=(middle[0].item() - reach, middle[0].item() + reach),
            ylim=(middle[1].item() - reach, middle[1].item() + reach),
        )
    panels[0].set_ylabel("feature 1")


def ssim_map(
    original: Tensor, degraded: Tensor, values: Tensor, names: Sequence[str] | None = None
) -> Figure:
    """Returns one row for each pair of images: the original, the degraded image, and SSIM at every
    pixel where its window fits, with the mean in the title.

    Colours go from 0 to 1; a pixel below 0, where bright and dark are swapped, has the colour of 0.
    The means are those of the values as they are. The grey rim is as wide as half the window.

    Args:
        original, degraded: uint8 or signed, `[N, C, H, W]` each.
        values: `metrics.ssim_maps(...).value` of the same images, `[N, C, H - 10, W - 10]`;
            channels are averaged.
        names: of the degradations, N of them; None writes "degraded" above the column.

    Raises:
        CourseError: shapes that do not belong to one another.

    Source: Wang et al. 2004, IEEE Trans. Image Processing 13(4), fig. 5 (SSIM index maps).
    """
    num, height, width = _check_maps(original, degraded, values, names)
    maps = values.detach().cpu().double().mean(1)  # [N, H - 10, W - 10]
    means = maps.flatten(1).mean(1).tolist()
    fig = new_figure(num * (0.29 * WIDTH * height / width + 0.3))
    cells = fig.subplots(num, 3, squeeze=False)
    rim, drawn = WINDOW // 2, None
    extent = (rim - 0.5, width - rim - 0.5, height - rim - 0.5, rim - 0.5)
    for row, (row_axes, before, after, mean) in enumerate(
        zip(cells, as_uint8(original), as_uint8(degraded), means)
    ):
        draw_pixels(row_axes[0], before)
        draw_pixels(row_axes[1], after)
        row_axes[2].set_facecolor("#CCCCCC")
        drawn = row_axes[2].imshow(maps[row].numpy(), cmap="viridis", vmin=0, vmax=1, extent=extent)
        titles = ("original", names[row] if names else "degraded", f"mean SSIM {mean:.2f}")
        for axes, title in zip(row_axes, titles):
            axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            axes.set_title(title, fontsize=11)
            axes.spines[:].set_visible(False)
    if drawn is not None:
        fig.colorbar(drawn, ax=cells[:, 2].tolist(), label="SSIM at the pixel")
    parts = {
        names[row] if names else f"pair {row + 1}": f"mean {mean:.2f}, lowest {lowest:.2f}"
        for row, (mean, lowest) in enumerate(zip(means, maps.flatten(1).amin(1).tolist()))
    }
    opening = (
        "Original and degraded image beside a map of SSIM at every pixel, dark where it is low"
    )
    return describe(fig, summary(opening, parts, means))


def _check_maps(
    original: Tensor, degraded: Tensor, values: Tensor, names: Sequence[str] | None
) -> tuple[int, int, int]:
    """Returns the number of pairs, their height and their width."""
    if original.ndim != 4 or len(original) < 1 or original.shape != degraded.shape:
        raise CourseError(
            "expected originals and degraded images [N, C, H, W] of one shape, got"
            f" {list(original.shape)} and {list(degraded.shape)}; repeat the original for each"
            " degradation."
        )
    num, channels, height, width = original.shape
    expected = [num, channels, height - WINDOW + 1, width - WINDOW + 1]
    if list(values.shape) != expected:
        raise CourseError(
            f"values: expected {expected}, one for each place of the window, got"
            f" {list(values.shape)}; pass metrics.ssim_maps(...).value of the same images."
        )
    if names is not None and len(names) != num:
        raise CourseError(f"names: expected {num}, one for each pair, got {len(names)}.")
    return num, height, width
