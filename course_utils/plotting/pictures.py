"""Sheets of images: grids, labelled rows and tables. Images may be uint8 or signed ([-1, 1]), `[N,
C, H, W]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import WIDTH, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
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
    for axes, image, text in zip(cells, _as_uint8(images), titles):
        _draw_pixels(axes, image)
        axes.set_title(text, fontsize=10)
    return fig


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
    images = torch.cat([_as_uint8(row) for row in rows.values()])
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
    sheet = tile(_as_uint8(images), num_columns, pad)
    lines = "\n".join(column_labels or []).split("\n")
    longest = LETTER * max(map(len, lines))
    upright = longest > 1.2 * WIDTH / num_columns  # it would run into its neighbours
    room = (longest if upright else 0.3) if column_labels else 0
    fig = new_figure(
        min(10.0, WIDTH * sheet.shape[1] / sheet.shape[2] + (0.4 if title else 0) + room)
    )
    axes = fig.subplots()
    _draw_pixels(axes, sheet)
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
    return fig


def _as_uint8(images: Tensor) -> Tensor:
    """Returns uint8 images on the CPU for uint8 or signed ones."""
    import torch

    from course_utils.base.images import check_uint8, signed_to_uint8

    images = images.detach().cpu()
    if images.dtype == torch.uint8:
        check_uint8(images)
        return images
    return signed_to_uint8(images)


def _draw_pixels(axes: Axes, image: Tensor) -> None:
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
