"""Handwritten digits as images like those of a dataset, from a photographed sheet or from strokes
on a screen; and a sheet that is rendered from test images for those who have no photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.data.decode import printable_path

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SIDE = 2000  # pixels; larger photographs are made smaller
BOX_SHARE = 20 / 28  # of the side: MNIST's digits fill a box of 20 pixels in 28
LEAST_CONTRAST = 0.12  # of the paper's brightness, between the ink and the paper
LEAST_HEIGHT = 10  # pixels of a digit: below this its form is lost
SPECK = 0.12  # of the largest digit's height and width: what is smaller is dirt
JOIN = 0.08  # of a digit's height: parts that are closer belong to one digit
MOST_DIGITS = 400

# The thickness of a drawn line, as a share of the digit's longer side. In MNIST a 1 has as much ink
# as 60 white pixels on a length of 21 (means of the training set), so its line is 2.8 of 20 thick.
LINE_SHARE = 2.8 / 20
LEAST_REACH = 0.2  # of the field: what is smaller, such as a dot, is not enlarged to fill the box
DRAWN_SIDE = 200  # pixels of the longer side, before the drawing is made small


@dataclass(frozen=True)
class _Digit:
    """One digit of a sheet: its ink in [0, 1] `[h, w]`, and where it stands on the sheet."""

    ink: np.ndarray
    top: int
    left: int

    @property
    def middle(self) -> float:
        return self.top + self.ink.shape[0] / 2


def digits_from_sheet(
    sheet: Path | str | Image, image_shape: tuple[int, int, int] = (1, 28, 28)
) -> Tensor:
    """Returns the digits of a photographed or scanned sheet in reading order, made like MNIST's:
    white on black, scaled to fit a box of 20/28 of the side, their centre of mass in the middle.

    The paper may be unevenly lit, and dark paper with light ink is turned round. Every connected
    piece of ink is one digit, together with pieces very close to it, so leave room between digits;
    lines of ruled paper have to be fainter than the ink, or they join the digits.

    Args:
        sheet: a picture file, or a picture of Pillow.
        image_shape: (C, H, W) of the images that are wanted, H = W; the ink is the same in all
            channels.

    Returns:
        uint8 `[N, C, H, W]`.

    Raises:
        CourseError: a file that cannot be read, no ink, digits of too few pixels, or far too many
            pieces for a sheet of digits.

    Source: LeCun et al. 1998, Proceedings of the IEEE 86(11), sec. III.A, for the box and the
    centre of mass.
    """
    channels, side = _channels_and_side(image_shape)
    where, grey = _grey(sheet)
    ink = _ink(grey, where)
    found = _in_reading_order(_cut_out(ink, where))
    images = torch.stack([torch.from_numpy(_centred(digit.ink, side)) for digit in found])
    return images[:, None].expand(-1, channels, -1, -1).contiguous()


def digit_from_strokes(
    strokes: Sequence[Sequence[Sequence[float]]], image_shape: tuple[int, int, int] = (1, 28, 28)
) -> Tensor:
    """Returns a digit that was drawn on a screen as an image, made as `digits_from_sheet` makes
    them: scaled to fit a box of 20/28 of the side, its centre of mass in the middle.

    Its lines get the thickness of MNIST's, however large the digit was drawn.

    Args:
        strokes: one list of points (x, y) for each, in units of the field's side, with y downwards;
            one point alone is a dot.
        image_shape: (C, H, W) of the image that is wanted, H = W; the ink is the same in all
            channels.

    Returns:
        uint8 `[C, H, W]`, white on black.

    Raises:
        CourseError: no strokes, points that are not pairs of finite numbers, or another shape.
    """
    from PIL import Image, ImageDraw

    channels, side = _channels_and_side(image_shape)
    lines = _checked_strokes(strokes)
    points = np.concatenate(lines)
    extent = np.ptp(points, axis=0)
    room = np.maximum(extent, LEAST_REACH) if extent.max() < LEAST_REACH else extent
    thickness = room.max() * LINE_SHARE / (1 - LINE_SHARE)
    scale = DRAWN_SIDE / (room.max() + thickness)
    corner = points.min(0) - (room - extent + thickness) / 2
    width, height = np.ceil(scale * (room + thickness)).astype(int).tolist()
    picture = Image.new("L", (width, height))
    pencil, radius = ImageDraw.Draw(picture), scale * thickness / 2
    for line in lines:
        places = [(x, y) for x, y in (scale * (line - corner)).tolist()]
        pencil.line(places, fill=255, width=round(2 * radius))
        for x, y in places:  # round ends and corners
            pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    image = torch.from_numpy(_centred(np.asarray(picture, dtype=np.float32) / 255, side))
    return image.expand(channels, -1, -1).contiguous()


def _channels_and_side(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    channels, side, width = image_shape
    if side != width or side < 8:
        raise CourseError(
            f"image_shape: expected square images of at least 8 pixels, got {list(image_shape)}."
        )
    return channels, side


def _checked_strokes(strokes: Sequence[Sequence[Sequence[float]]]) -> list[np.ndarray]:
    """Returns the points of each stroke, float64 `[P, 2]`."""
    try:
        lines = [np.asarray(stroke, dtype=np.float64) for stroke in strokes]
    except (TypeError, ValueError):  # texts, or points of different lengths
        lines = []
    right = [line.ndim == 2 and line.shape[1] == 2 and len(line) > 0 for line in lines]
    if not lines or not all(right) or not all(np.isfinite(line).all() for line in lines):
        raise CourseError(
            "strokes: expected one or more lists of points (x, y) of finite numbers, got"
            f" {str(strokes)[:60]}; draw a digit first."
        )
    return lines


def _grey(sheet: Path | str | Image) -> tuple[str, np.ndarray]:
    """Returns what to call the sheet in a message, and its brightness, float32 `[H, W]` in
    [0, 1].
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(sheet, Image.Image):
        where, picture = "sheet", sheet
    else:
        where = printable_path(sheet)
        try:
            picture = Image.open(Path(sheet).expanduser())
            picture.load()
        except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
            raise CourseError(
                f"{where}: expected a photograph or scan that Pillow reads, such as PNG or JPEG"
                f" ({type(error).__name__}: {error}); give the path of such a file."
            ) from error
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "P"):  # what is transparent is paper
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture)
    picture = picture.convert("L")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    return where, np.asarray(picture, dtype=np.float32) / 255


def _ink(grey: np.ndarray, where: str) -> np.ndarray:
    """Returns how much ink is at each place, from 0 (paper) to about 1, and 0 exactly where there
    is none.
    """
    from scipy import ndimage

    if np.median(grey) < 0.5 * (grey.max() + grey.min()):  # light ink on dark paper
        grey = 1 - grey
    # The paper without the ink: the median of a wide neighbourhood, seen on a small copy. Digits
    # cover less than half of it, and shadows change more slowly.
    step = max(1, max(grey.shape) // 120)
    small = grey[: grey.shape[0] // step * step, : grey.shape[1] // step * step]
    small = small.reshape(small.shape[0] // step, step, -1, step).mean((1, 3))
    paper = ndimage.percentile_filter(small, 70, size=max(3, max(small.shape) // 5))
    paper = ndimage.gaussian_filter(paper, max(small.shape) / 20)
    factors = [large / little for large, little in zip(grey.shape, paper.shape)]
    zoomed = np.asarray(ndimage.zoom(paper, factors, order=1, mode="nearest"))
    contrast = np.clip(1 - grey / np.maximum(zoomed, 0.05), 0, 1)
    smooth = ndimage.gaussian_filter(contrast, 0.7)  # grains of paper and of the camera
    strongest = float(np.quantile(smooth, 0.999))
    if strongest < LEAST_CONTRAST:
        raise CourseError(
            f"{where}: expected dark ink on light paper, found no ink: the darkest places differ"
            f" from the paper by {strongest:.0%} of its brightness. Write with a dark pen, and take"
            " the photograph in good light."
        )
    threshold = max(LEAST_CONTRAST / 2, _otsu(smooth[smooth > 0.02]))
    return np.where(smooth > 0.6 * threshold, np.clip(contrast / strongest, 0, 1), 0.0)


def _otsu(values: np.ndarray) -> float:
    """Returns the threshold that splits numbers in [0, 1] into two groups as unlike as possible.

    Source: Otsu 1979, IEEE Transactions on Systems, Man, and Cybernetics 9(1).
    """
    counts, edges = np.histogram(values, bins=64, range=(0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), counts.sum()
    sums = np.cumsum(counts * middles)
    share = below / max(total, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (sums[-1] / total * share - sums / total) ** 2 / (share * (1 - share))
    return float(edges[1 + int(np.nan_to_num(between).argmax())])


def _cut_out(ink: np.ndarray, where: str) -> list[_Digit]:
    """Returns the connected pieces of ink that are digits."""
    from scipy import ndimage

    joined = _pieces(ink > 0)
    heights = [rows.stop - rows.start for rows, _ in ndimage.find_objects(joined)]
    tall = sorted(heights)[-max(1, len(heights) // 10) :] or [0]
    reach = max(1, round(JOIN * float(np.median(tall)) / 2))
    joined = _pieces(ndimage.binary_dilation(ink > 0, iterations=reach))
    pieces = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(joined), start=1):
        own = np.where(joined[rows, columns] == number, ink[rows, columns], 0.0)
        if not _touches_the_border(rows, columns, ink.shape) and own.any():
            trimmed, top, left = _trimmed(own)
            pieces.append(_Digit(trimmed, rows.start + top, columns.start + left))
    largest = max((max(piece.ink.shape) for piece in pieces), default=0)
    pieces = [piece for piece in pieces if max(piece.ink.shape) > SPECK * largest]
    # a digit 1 may be narrow, but none is much smaller than most
    usual = float(np.median([piece.ink.shape[0] for piece in pieces])) if pieces else 0.0
    pieces = [piece for piece in pieces if piece.ink.shape[0] > 0.35 * usual]
    if not pieces:
        raise CourseError(
            f"{where}: expected digits with paper around them, found none; leave a margin, and no"
            " line that touches the edge."
        )
    if len(pieces) > MOST_DIGITS:
        raise CourseError(
            f"{where}: expected at most {MOST_DIGITS} digits, found {len(pieces):,} pieces of ink;"
            " photograph a plain sheet of paper with nothing else on it."
        )
    if usual < LEAST_HEIGHT:
        raise CourseError(
            f"{where}: expected digits at least {LEAST_HEIGHT} pixels tall, got {usual:.0f}; take"
            " the photograph from nearer, or write larger."
        )
    return pieces


def _pieces(mask: np.ndarray) -> np.ndarray:
    """Returns the number of the connected piece that each place belongs to, 0 outside."""
    from scipy import ndimage

    pieces = np.zeros(mask.shape, dtype=np.int32)
    ndimage.label(mask, np.ones((3, 3)), output=pieces)
    return pieces


def _touches_the_border(rows: slice, columns: slice, shape: tuple[int, ...]) -> bool:
    return (
        rows.start == 0 or columns.start == 0 or rows.stop == shape[0] or columns.stop == shape[1]
    )


def _trimmed(ink: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Returns the smallest part that holds all ink, and its first row and column."""
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], int(rows[0]), int(columns[0])


def _in_reading_order(digits: list[_Digit]) -> list[_Digit]:
    """Returns the digits row by row, each row from left to right. A row ends where the next digit's
    middle lies more than half a digit lower.
    """
    height = float(np.median([digit.ink.shape[0] for digit in digits]))
    rows: list[list[_Digit]] = []
    for digit in sorted(digits, key=lambda digit: digit.middle):
        if rows and digit.middle - np.mean([other.middle for other in rows[-1]]) < height / 2:
            rows[-1].append(digit)
        else:
            rows.append([digit])
    return [digit for row in rows for digit in sorted(row, key=lambda digit: digit.left)]


def _centred(ink: np.ndarray, side: int) -> np.ndarray:
    """Returns ink `[h, w]` as a uint8 image `[side, side]`: the longer side fills the box, the
    centre of mass lies in the middle.
    """
    from PIL import Image

    box = round(BOX_SHARE * side)
    scale = box / max(ink.shape)
    height, width = (max(1, round(scale * length)) for length in ink.shape)
    picture = Image.fromarray(np.round(255 * ink).astype(np.uint8))
    small = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32)
    small = np.clip(small * (255 / max(1.0, float(np.quantile(small, 0.98)))), 0, 255)
    image = np.zeros((side, side), dtype=np.uint8)
    starts = []
    for axis, length in enumerate(small.shape):
        mass = small.sum(1 - axis)
        centre = float((mass * np.arange(length)).sum() / max(mass.sum(), 1e-6))
        starts.append(min(max(0, round((side - 1) / 2 - centre)), side - length))
    top, left = starts
    image[top : top + small.shape[0], left : left + small.shape[1]] = np.round(small)
    return image


# ------------------------------------------------------------------ a sheet for those without one


def example_sheet(dataset: Dataset, num_digits: int = 20, seed: int = 0) -> Image:
    """Returns what a photograph of a sheet would look like, with paper that is unevenly lit, a
    camera's noise and digits that do not stand in line.

    The digits are test images of the dataset; of the strokes program where the dataset has none or
    is not grey.

    Args:
        num_digits: 1 to 40, ten in a row.
        seed: of the choice of images, their places and the noise.

    Raises:
        CourseError: another number of digits.
    """
    from PIL import Image

    if not 1 <= num_digits <= 40:
        raise CourseError(f"num_digits: expected 1 to 40, got {num_digits!r}.")
    rng = make_rng(seed, 41)
    images = _grey_digits(dataset, num_digits, rng)
    cell, size = 64, 44  # pixels of a place, and of an image on it
    columns, margin = min(10, num_digits), 30
    rows = -(-num_digits // columns)
    shape = (rows * cell + 2 * margin, columns * cell + 2 * margin)
    ink = np.zeros(shape, dtype=np.float32)
    for place, image in enumerate(images):
        tops = (margin + place // columns * cell, margin + place % columns * cell)
        room = cell - size
        top, left = (
            start + int(torch.randint(room // 4, room - room // 4 + 1, (), generator=rng))
            for start in tops
        )
        large = Image.fromarray(image[0].numpy()).resize((size, size), Image.Resampling.BICUBIC)
        part = ink[top : top + size, left : left + size]
        np.maximum(part, np.asarray(large, dtype=np.float32) / 255, out=part)
    across, down = np.linspace(0, 1, shape[1]), np.linspace(0, 1, shape[0])[:, None]
    paper = 0.93 - 0.28 * across * down - 0.08 * np.cos(3 * across + 2 * down)
    noise = 0.015 * torch.randn(shape, generator=rng).numpy()
    light = np.clip(paper * (1 - 0.78 * ink) + noise, 0, 1)
    return Image.fromarray(np.round(255 * light).astype(np.uint8))


def _grey_digits(dataset: Dataset, num: int, rng: Any) -> Tensor:
    from course_utils.data.strokes import make_strokes

    if dataset.class_names != DIGIT_NAMES or dataset.image_shape[0] != 1:
        return make_strokes(0, num, seed=17)[2]
    chosen = torch.randperm(len(dataset.test_images), generator=rng)[:num]
    if len(chosen) < num:
        return make_strokes(0, num, seed=17)[2]
    return dataset.test_images[chosen]
