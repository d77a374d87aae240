"""Sheets of images: grids, labelled rows and tables, the weights of a classifier, and the view of a
running training. Images may be uint8 or signed ([-1, 1]), `[N, C, H, W]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from course_utils.base.config import require
from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import (
    DIVERGING,
    MIN_FRAMES,
    OKABE_ITO,
    WIDTH,
    Animation,
    animate,
    describe,
    new_figure,
    still_frames,
)
from course_utils.plotting.charts import DASHES
from course_utils.plotting.words import counted, grid_words, lines_words, names_words, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

LETTER = 0.073  # inches that a letter of a label is wide


def image_grid(
    images: Tensor, num_columns: int = 10, titles: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Returns images row by row, each with a text above it where `titles` are given (one an
    image).
    """
    if titles is None:
        return image_table(images, num_columns=num_columns, title=title)
    _check_length("titles", titles, len(images))
    num_columns = max(1, min(num_columns, len(images)))
    num_rows = -(-len(images) // num_columns)
    fig = new_figure(num_rows * (WIDTH / num_columns + 0.25) + (0.4 if title else 0.0))
    fig.suptitle(title)
    cells = list(fig.subplots(num_rows, num_columns, squeeze=False).flat)
    for axes in cells:
        axes.set_axis_off()
    for axes, image, text in zip(cells, as_uint8(images), titles):
        draw_pixels(axes, image)
        axes.set_title(text, fontsize=10)
    return describe(
        fig,
        f"{_named(title)}Grid of {grid_words(len(images), num_columns)}, with texts above them, row"
        f" by row: {names_words(titles)}.",
    )


def image_rows(
    rows: Mapping[str, Tensor],
    column_titles: Sequence[str] | None = None,
    title: str = "",
    xlabel: str = "",
) -> Figure:
    """Returns one labelled row of images for each entry, such as original above reconstruction.

    Args:
        rows: `{label: images [N, C, H, W]}`, the same N in each.
        column_titles: texts above the columns, N of them.
        title, xlabel: above and below the whole.

    Raises:
        CourseError: no rows, or rows of different lengths.
    """
    import torch

    if len({tuple(images.shape) for images in rows.values()}) != 1:
        shapes = {label: list(images.shape) for label, images in rows.items()}
        raise CourseError(f"expected one or more rows of images of one shape, got {shapes}.")
    images = torch.cat([as_uint8(row) for row in rows.values()])
    num_columns = len(images) // len(rows)
    return image_table(
        images,
        num_columns=num_columns,
        row_labels=list(rows),
        column_labels=column_titles,
        title=title,
        xlabel=xlabel,
    )


def image_table(
    images: Tensor,
    *,
    num_columns: int,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    pad: int = 2,
) -> Figure:
    """Returns images row by row as one sheet, with labels beside the rows and above the columns; ""
    leaves one out. Column labels that are too long to stand side by side, such as the names of a
    learner's folders, are turned upright.

    Args:
        images: uint8 or signed, `[N, C, H, W]`.
        num_columns: images a row.
        pad: pixels between images; 0 for images that continue each other.
    """
    from course_utils.base.images import tile

    num_columns = max(1, min(num_columns, len(images)))
    num_rows, (height, width) = -(-len(images) // num_columns), images.shape[2:]
    sheet = tile(as_uint8(images), num_columns, pad)
    lines = "\n".join(column_labels or []).split("\n")
    longest = LETTER * max(map(len, lines))
    upright = longest > 1.2 * WIDTH / num_columns  # it would run into its neighbours
    room = (longest if upright else 0.3) if column_labels else 0
    fig = new_figure(
        min(10.0, WIDTH * sheet.shape[1] / sheet.shape[2] + (0.4 if title else 0) + room)
    )
    axes = fig.subplots()
    draw_pixels(axes, sheet)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    for axis, labels, num, size in (
        (axes.yaxis, row_labels, num_rows, height),
        (axes.xaxis, column_labels, num_columns, width),
    ):
        _check_length("labels", labels or [""] * num, num)
        axis.set_ticks(
            [pad + i * (size + pad) + (size - 1) / 2 for i in range(num)], labels or [""] * num
        )
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    if upright:
        axes.tick_params(axis="x", labelrotation=90)
    axes.spines[:].set_visible(False)
    text = _named(title) + _table_words(len(images), num_columns, row_labels)
    if column_labels and any(column_labels):
        columns = "Columns" if all(column_labels) else "Labelled columns"
        text += f" {columns}, from left to right: {names_words(column_labels)}."
    named = [
        f"{way} {spoken(label)}" for way, label in (("across", xlabel), ("down", ylabel)) if label
    ]
    return describe(fig, f"{text} {f'Axes: {names_words(named)}.' if named else ''}")


def _named(title: str) -> str:
    """Returns a title as a sentence of its own, "" where there is none."""
    title = spoken(title)
    return f"{title if title[-1:] in '.!?' else title + '.'} " if title else ""


def _table_words(num_images: int, num_columns: int, row_labels: Sequence[str] | None) -> str:
    if not row_labels or not any(row_labels):
        return f"Grid of {grid_words(num_images, num_columns)}."
    labelled = "" if all(row_labels) else " (those with a label)"
    names = names_words(row_labels)
    return f"Rows of {counted(num_columns, 'image')} each, from top to bottom{labelled}: {names}."


def weight_images(weights: Tensor, class_names: Sequence[str], title: str = "") -> Figure:
    """Returns the weights of a linear classifier (softmax regression), one image for each class: a
    bright pixel raises the score of the class where the weight is red and lowers it where it is
    blue.

    One symmetric range of colours holds for all classes, so white is 0 everywhere.

    Args:
        weights: `[K, C, H, W]`, such as `layer.weight.view(K, C, H, W)`; channels are added up,
            which is the effect of a grey pixel.
        class_names: K of them.

    Raises:
        CourseError: another shape, or another number of names.
    """
    if weights.ndim != 4 or len(weights) != len(class_names) or len(weights) < 1:
        raise CourseError(
            f"weights: expected [{len(class_names)}, C, H, W], one image for each of"
            f" {len(class_names)} classes, got {list(weights.shape)}; reshape a layer's weight with"
            " weight.view(K, C, H, W)."
        )
    images = weights.detach().cpu().double().sum(1)  # [K, H, W]
    limit = images.abs().max().item()
    num_columns = min(5, len(images))
    num_rows = -(-len(images) // num_columns)
    fig = new_figure(num_rows * (0.86 * WIDTH / num_columns + 0.2) + (0.3 if title else 0.0))
    cells = list(fig.subplots(num_rows, num_columns, squeeze=False).flat)
    for axes in cells:
        axes.set_axis_off()
    drawn = None
    for axes, image, name in zip(cells, images, class_names):
        # weights that are all 0 are drawn white
        drawn = axes.imshow(image.numpy(), cmap=DIVERGING, vmin=-(limit or 1), vmax=limit or 1)
        axes.set_title(name, fontsize=11, parse_math=False)
    if drawn is not None:
        fig.colorbar(drawn, ax=cells, label="weight", shrink=0.9)
    fig.suptitle(title)
    low, high = images.min().item(), images.max().item()
    strongest = class_names[int(images.abs().flatten(1).amax(1).argmax())]
    return describe(
        fig,
        f"The weights of {len(images)} classes as images of one colour range, red above 0 and blue"
        f" below: they go from {low:.2g} to {high:.2g}, and the largest in size belongs to the"
        f" class {strongest}.",
    )


VIEW_POINTS = 1000  # of one line in the view of a training; more would not be seen


def training_view(
    losses: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    images: Tensor | None = None,
    title: str = "",
    ylabel: str = "loss",
    window: int = 1,
) -> Figure:
    """Returns the curves of losses over the steps of a training, and the images of this moment
    beside them. Quick to draw, so that it can be drawn again and again during the training.

    A pale line shows every step, a strong one the mean of the last `window` steps. From 100 values
    on, the axis leaves out the outer 1 % of them, such as the first steps of a training.

    Args:
        losses: `{name: (steps, values)}`, values that are not finite leave a gap.
        images: uint8 or signed, `[N, C, H, W]`.
        window: steps that the mean is taken over.
    """
    import numpy as np
    from matplotlib.figure import Figure

    from course_utils.base.images import tile

    # a fixed layout: the automatic one would take longer than all the rest
    fig = Figure(figsize=(WIDTH, 3.3))
    fig.suptitle(title, fontsize=11)
    top, bottom = 0.88, 0.16
    axes = fig.add_axes((0.11, bottom, 0.46 if images is not None else 0.86, top - bottom))
    for (name, (steps, values)), colour, dash in zip(losses.items(), OKABE_ITO, DASHES):
        x, y = np.asarray(steps), np.asarray(values, dtype=float)
        shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), VIEW_POINTS)).round().astype(int))
        axes.plot(x[shown], y[shown], color=colour, alpha=0.3, linewidth=1)
        mean = _running_mean(y, window)
        axes.plot(x[shown], mean[shown], color=colour, linestyle=dash, label=name)
    everything = np.concatenate([np.asarray(values, dtype=float) for _, values in losses.values()])
    finite = everything[np.isfinite(everything)]
    if len(finite) >= 100:
        low, high = np.quantile(finite, [0.01, 0.99])
        room = 0.05 * (high - low) or 1.0
        axes.set_ylim(low - room, high + room)
    axes.set(xlabel="step", ylabel=ylabel)
    axes.locator_params(axis="x", integer=True, nbins=5)
    axes.legend(fontsize=9)
    text = _named(title) + lines_words(f"Mean of {window} steps" if window > 1 else "Lines", [axes])
    if images is not None:
        num_columns = square_columns(len(images))
        right = fig.add_axes((0.61, 0.04, 0.37, top - 0.04))
        right.set_axis_off()
        draw_pixels(right, tile(as_uint8(images), num_columns))
        text += f" Beside them a grid of {grid_words(len(images), num_columns)}."
    return describe(fig, text)


def square_columns(num_images: int) -> int:
    """Returns how many columns make a grid of images about as wide as high."""
    return max(1, math.ceil(math.sqrt(num_images)))


def _running_mean(values: NDArray, window: int) -> NDArray:
    """Returns the mean of the last `window` values at each place, of fewer at the start; values
    that are not finite count for nothing.
    """
    import numpy as np

    finite = np.isfinite(values)
    sums, counts = np.cumsum(np.where(finite, values, 0.0)), np.cumsum(finite).astype(float)
    for total in (counts, sums):
        total[window:] -= total[:-window].copy()
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def as_uint8(images: Tensor) -> Tensor:
    """Returns uint8 images on the CPU for uint8 or signed ones."""
    import torch

    from course_utils.base.images import check_uint8, signed_to_uint8

    images = images.detach().cpu()
    if images.dtype == torch.uint8:
        check_uint8(images)
        return images
    return signed_to_uint8(images)


def draw_pixels(axes: Axes, image: Tensor) -> None:
    """Draws one uint8 image `[C, H, W]`, black to white over the whole range of levels."""
    axes.imshow(
        image.permute(1, 2, 0).squeeze(-1).numpy(),
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="nearest",
    )


def _check_length(name: str, given: Sequence, expected: int) -> None:
    if len(given) != expected:
        raise CourseError(f"{name}: expected {expected}, got {len(given)}; give one for each.")


MAX_FILM_FRAMES = 24
FILM_BYTES = (50_000, 250_000)  # what a notebook has room for, and what large pictures may need


def _animated(
    sheets: Sequence[Tensor], seconds: float, scale: int, *, last: bool
) -> Animation | None:
    """Returns an animation of the smaller size where it can be had, else of the larger one, else
    None; raises CourseError in its place where this was the last attempt.
    """
    for max_bytes in FILM_BYTES:
        try:
            return animate(sheets, seconds, scale=scale, max_bytes=max_bytes)
        except CourseError:
            if last and max_bytes == FILM_BYTES[-1]:
                raise
    return None


def training_film(
    frames: Sequence[Tensor], steps: Sequence[int], seconds: float = 3.0, scale: int = 2
) -> Animation:
    """Returns what a model drew during its training, from the first moment to the last, as an
    animation of up to 24 frames: fewer where it would be larger than 50 kB, and only the first half
    of the images, or less, where even a few frames are larger than 250 kB.

    Args:
        frames: uint8 images `[N, C, H, W]` of each moment.
        steps: training steps before each moment.
        seconds: from the first to the last frame.
        scale: how often each pixel is repeated along each side.

    Raises:
        CourseError: no frames, or not one number of steps for each.
    """
    from course_utils.base.images import tile

    require(len(frames) >= 1, "frames", "at least 1", len(frames))
    _check_length("steps", steps, len(frames))
    num_images = len(frames[0])
    while True:
        columns = square_columns(num_images)
        sheets = [tile(images[:num_images], columns) for images in frames]
        # a short training may have fewer than an animation needs: the last stays longer
        sheets += sheets[-1:] * (MIN_FRAMES - len(sheets))
        sheets = still_frames(sheets, min(MAX_FILM_FRAMES, len(sheets)))
        film = _animated(sheets, seconds, scale, last=num_images == 1)
        if film is not None:
            break
        num_images //= 2  # large pictures: fewer of them fit into a film
    text = (
        f"Film of a training in {film.num_frames} frames, from step {steps[0]:,} to step"
        f" {steps[-1]:,}: grid of {grid_words(num_images, columns)}."
    )
    return replace(film, alt_text=text)
