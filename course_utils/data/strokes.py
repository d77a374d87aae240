"""The embedded dataset `strokes`: ten digits written by a program, so that the course needs no
download.

The factors of each digit (style, slant, thickness, ...) are drawn from stated distributions and
rendered. The standard dataset is drawn once from seed 0, kept in the cache, and checked against its
own SHA-256 whenever it is read.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.base.files import cache_root, save_tensors
from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.data.glyphs import GLYPHS, Style

NUM_PATH_POINTS = 96


@dataclass(frozen=True)
class StyleTable:
    """All styles of all digits, one row each, padded with zeros to the same number of control
    points K; P path points.

    Attributes:
        first_row: `[10]`, the row of a digit's style 0.
        num_styles: `[10]`, styles of each digit.
        controls: `[rows, K, 2]`, x to the right and y down, in [0, 1].
        curves: `[rows, P, K]`, path points = curves @ controls, evenly spaced along the undistorted
            path.
        ends: `[rows, K, 2]`, unit vectors that point out of the two ends of each stroke, 0
            elsewhere.
    """

    first_row: np.ndarray
    num_styles: np.ndarray
    controls: np.ndarray
    curves: np.ndarray
    ends: np.ndarray


def num_styles(digit: int) -> int:
    """Returns how many ways of writing `digit` (0 to 9) there are."""
    return len(GLYPHS[digit])


@lru_cache(maxsize=1)
def style_table() -> StyleTable:
    """Returns the curves of all styles, computed once."""
    counts = np.array([len(styles) for styles in GLYPHS])
    parts = [_style(style) for styles in GLYPHS for style in styles]
    num_controls = max(len(controls) for controls, _, _ in parts)
    controls, curves, ends = (
        np.zeros((len(parts), *shape))
        for shape in ((num_controls, 2), (NUM_PATH_POINTS, num_controls), (num_controls, 2))
    )
    for row, (points, matrix, directions) in enumerate(parts):
        controls[row, : len(points)], curves[row, :, : len(points)], ends[row, : len(points)] = (
            points,
            matrix,
            directions,
        )
    return StyleTable(np.concatenate([[0], np.cumsum(counts)[:-1]]), counts, controls, curves, ends)


def _style(style: Style) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the control points `[k, 2]`, the curve matrix `[P, k]` and the end directions `[k,
    2]` of one style.
    """
    points, runs, ends = [], [], []
    for stroke in style:
        ends.append(len(points))
        run = []
        for position, point in enumerate(stroke):
            # a corner: the next run starts at the point where this one ends
            if position and point == stroke[position - 1]:
                runs.append(run)
                run = [run[-1]]
            else:
                run.append(len(points))
                points.append(point)
        runs.append(run)
        ends.append(len(points) - 1)
    controls = np.array(points)
    dense = [_through(controls, run, 200) for run in runs]
    lengths = [np.linalg.norm(np.diff(matrix @ controls, axis=0), axis=1).sum() for matrix in dense]
    stops = np.rint(NUM_PATH_POINTS * np.cumsum([0, *lengths]) / sum(lengths)).astype(int)
    curves = np.concatenate(
        [_through(controls, run, count) for run, count in zip(runs, np.diff(stops))]
    )
    directions = np.zeros_like(controls)
    for first, last in zip(ends[::2], ends[1::2]):
        directions[first], directions[last] = (
            _unit(controls[first] - controls[first + 1]),
            _unit(controls[last] - controls[last - 1]),
        )
    return controls, curves, directions


def _through(controls: np.ndarray, run: list[int], count: int) -> np.ndarray:
    """Returns the matrix `[count, k]` of one smooth curve, its points evenly spaced along it.

    Args:
        controls: `[k, 2]`, the control points of the undistorted style.
        run: which of them the curve goes through, 2 or more.
        count: number of points on the curve, both ends included.
    """
    basis = np.eye(len(controls))[run]  # [n, k]: row i picks the curve's i-th point
    steps = np.sqrt(np.linalg.norm(np.diff(controls[run], axis=0), axis=1))[:, None]  # centripetal
    knots = np.concatenate([[0], np.cumsum(steps)])
    slopes = np.diff(basis, axis=0) / steps
    inner = (slopes[:-1] * steps[1:] + slopes[1:] * steps[:-1]) / (steps[:-1] + steps[1:])
    tangents = np.concatenate([slopes[:1], inner, slopes[-1:]])

    def at(time: np.ndarray) -> np.ndarray:
        piece = np.clip(np.searchsorted(knots, time, side="right") - 1, 0, len(steps) - 1)
        step, u = steps[piece], (time - knots[piece])[:, None] / steps[piece]
        start, end = (
            (1 + 2 * u) * (1 - u) ** 2 * basis[piece],
            u**2 * (3 - 2 * u) * basis[piece + 1],
        )
        # cubic Hermite
        return (
            start
            + end
            + step * (u * (1 - u) ** 2 * tangents[piece] - u**2 * (1 - u) * tangents[piece + 1])
        )

    dense = np.linspace(0, knots[-1], 200)
    length = np.concatenate(
        [[0], np.cumsum(np.linalg.norm(np.diff(at(dense) @ controls, axis=0), axis=1))]
    )
    return at(np.interp(np.linspace(0, length[-1], count), length, dense))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


# The prior over factors. digit: uniform over 0..9. style: uniform over the digit's styles. The
# others are normal, clipped to limits: mean, standard deviation, lowest, highest
PRIOR = {
    "slant":      (9.0, 12.0, -20.0, 38.0),  # degrees, + = leaning right
    "rotation":   (0.0, 5.0, -12.0, 12.0),   # degrees, + = clockwise
    "width":      (1.05, 0.18, 0.70, 1.45),  # horizontal scale, relative to the style's own
    "thickness":  (2.60, 0.62, 1.30, 4.30),  # width of the line in pixels
    # scale of every random bend below; 0 would draw the bare style
    "sloppiness": (1.0, 0.35, 0.30, 1.70),
}  # fmt: skip

# What `render` accepts, far beyond the prior.
LIMITS = {
    "slant": (-75, 75),
    "rotation": (-360, 360),
    "width": (0.1, 4),
    "thickness": (0.5, 8),
    "sloppiness": (0, 5),
}

# How far one unit of sloppiness bends the path: standard deviations, as a share of the digit's
# height unless said otherwise.
JITTER = 0.014  # each control point
OVERSHOOT = 0.042  # the ends of each stroke, along the stroke
FIELD = 0.029  # each wave of a smooth displacement of the plane
WAIST = 0.050  # the middle, up or down
TAPER = 0.12  # the top's width against the bottom's (relative)
PRESSURE = 0.06  # each wave of the line's width along the path (relative)
# no bend goes further than this many standard deviations, so that every digit stays readable
MAX_BEND = 1.8

IMAGE_SIZE = 28
BOX_SIZE = 20  # the longer side of the ink, in pixels
EDGE = 1.3  # width of the grey edge, in pixels
SUBPIXEL = 64  # positions are whole multiples of 1/64 pixel
CHUNK = 256  # images drawn at once; has no influence on what is drawn
# (x, y) frequencies of the displacement
WAVES = 2 * np.pi * np.array([[0.6, 0.0], [0.0, 0.6], [0.45, 0.45], [0.45, -0.45]])


@dataclass(frozen=True)
class Factors:
    """What each image was drawn from, one entry an image: `[N]` each, the first two int64, the
    others float32.
    """

    digit: Tensor  # 0 to 9
    style: Tensor  # which of the digit's ways of writing, from 0 to num_styles(digit) - 1
    slant: Tensor  # degrees, + = leaning right
    rotation: Tensor  # degrees, + = clockwise
    width: Tensor  # horizontal scale relative to the style's own
    thickness: Tensor  # width of the line in pixels
    sloppiness: Tensor  # scale of the random bends; 0 draws the bare style

    def __len__(self) -> int:
        return len(self.digit)


def make_strokes(
    num_train: int = 60_000, num_test: int = 10_000, seed: int = 0
) -> tuple[Tensor, Factors, Tensor, Factors]:
    """Returns train images, train factors, test images and test factors; equal arguments give equal
    images.

    Args:
        num_train, num_test: numbers of images, 0 or more. The first n images of a split do not
            depend on how many follow.
        seed: 0 or more; train and test draw from different streams of it.

    Raises:
        CourseError: a number that is negative or not whole.
    """
    for name, value in (("num_train", num_train), ("num_test", num_test), ("seed", seed)):
        _check_count(name, value)
    splits = []
    for num_images, stream in zip((num_train, num_test), np.random.SeedSequence(seed).spawn(2)):
        factor_rng, render_rng = (np.random.default_rng(child) for child in stream.spawn(2))
        factors = draw_factors(num_images, factor_rng)
        splits += [render(factors, render_rng), factors]
    return tuple(splits)


def draw_factors(
    num_images: int, rng: np.random.Generator, digits: Tensor | None = None
) -> Factors:
    """Returns factors drawn from the prior.

    Args:
        num_images: 0 or more.
        rng: source of all randomness.
        digits: whole numbers `[num_images]` from 0 to 9 to be used in place of uniform draws.

    Raises:
        CourseError: a negative number, or digits of another length or outside 0 to 9.
    """
    _check_count("num_images", num_images)
    # one stream each, so that the first images do not depend on how many follow
    uniform_rng, normal_rng = rng.spawn(2)
    uniforms, normals = (
        uniform_rng.random((num_images, 2)),
        normal_rng.standard_normal((num_images, len(PRIOR))),
    )
    digit = (
        np.floor(len(GLYPHS) * uniforms[:, 0]).astype(np.int64)
        if digits is None
        else _checked_digits(digits, num_images)
    )
    style = np.floor(uniforms[:, 1] * style_table().num_styles[digit]).astype(np.int64)
    values = {"digit": torch.from_numpy(digit), "style": torch.from_numpy(style)}
    for (name, (mean, std, lowest, highest)), normal in zip(PRIOR.items(), normals.T):
        values[name] = torch.from_numpy(
            np.clip(mean + std * normal, lowest, highest).astype(np.float32)
        )
    return Factors(**values)


def render(factors: Factors, rng: np.random.Generator) -> Tensor:
    """Returns the images of `factors`, uint8 `[N, 1, 28, 28]`, 0 = paper and 255 = ink.

    Args:
        factors: what to draw, as `draw_factors` returns it or edited with `dataclasses.replace`.
        rng: source of the bends that the factors leave open; equal factors and an equally seeded
            rng give equal images.

    Raises:
        CourseError: factors of unequal lengths, a digit or style that does not exist, a width or
            thickness out of range.
    """
    _check_factors(factors)
    images = np.empty((len(factors), 1, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for start in range(0, len(factors), CHUNK):
        part = {
            f.name: getattr(factors, f.name)[start : start + CHUNK].double().numpy()
            for f in fields(Factors)
        }
        paths, pressure = _paths(part, rng)
        images[start : start + CHUNK, 0] = _centred(_ink(paths, 0.5 * part["thickness"], pressure))
    return torch.from_numpy(images)


def _paths(part: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns path points in pixels from the image's centre `[N, P, 2]` and the relative width of
    the line there `[N, P]`.
    """
    table = style_table()
    row = table.first_row[part["digit"].astype(np.int64)] + part["style"].astype(np.int64)
    num_controls = table.controls.shape[1]
    normals = rng.standard_normal((len(row), 3 * num_controls + 4 * len(WAVES) + 6))
    bends = part["sloppiness"][:, None] * np.clip(normals, -MAX_BEND, MAX_BEND)
    jitter, overshoot, field, rest = np.split(
        bends, np.cumsum([2 * num_controls, num_controls, 4 * len(WAVES)]), axis=1
    )

    controls = table.controls[row] + JITTER * jitter.reshape(-1, num_controls, 2)
    controls += OVERSHOOT * overshoot[:, :, None] * table.ends[row]
    xy = table.curves[row] @ controls - 0.5  # [N, P, 2], about -0.5 to 0.5, y down
    angle = xy @ WAVES.T
    xy += (
        FIELD
        * np.concatenate([np.sin(angle), np.cos(angle)], axis=2)
        @ field.reshape(-1, 2 * len(WAVES), 2)
    )
    xy[:, :, 1] += WAIST * rest[:, 0:1] * (1 - 4 * xy[:, :, 1] ** 2)
    xy[:, :, 0] *= 1 + 2 * TAPER * rest[:, 1:2] * xy[:, :, 1]

    time = np.linspace(0, 2 * np.pi, NUM_PATH_POINTS)
    waves = np.stack([np.sin(time), np.cos(time), np.sin(2 * time), np.cos(2 * time)])
    pressure = np.clip(1 + PRESSURE * rest[:, 2:6] @ waves, 0.75, 1.3)
    return _framed(_leaned(xy, part), part["thickness"], pressure), pressure


def _leaned(xy: np.ndarray, part: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the points `[N, P, 2]` after the factors width, slant and rotation, in this order."""
    slant, rotation = np.radians(part["slant"])[:, None], np.radians(part["rotation"])[:, None]
    x = part["width"][:, None] * xy[:, :, 0] - np.tan(slant) * xy[:, :, 1]
    y = xy[:, :, 1]
    return np.stack(
        [np.cos(rotation) * x - np.sin(rotation) * y, np.sin(rotation) * x + np.cos(rotation) * y],
        axis=2,
    )


def _framed(xy: np.ndarray, thickness: np.ndarray, pressure: np.ndarray) -> np.ndarray:
    """Returns the points in pixels: the ink's longer side is 20 pixels and its centre of mass is
    the origin, as in MNIST.
    """
    extent = (xy.max(axis=1) - xy.min(axis=1)).max(axis=1)
    xy = xy * ((BOX_SIZE - EDGE / 2 - thickness) / extent)[:, None, None]
    return (
        xy
        - (pressure[:, :, None] * xy).sum(axis=1, keepdims=True)
        / pressure.sum(axis=1)[:, None, None]
    )


def _ink(paths: np.ndarray, radius: np.ndarray, pressure: np.ndarray) -> np.ndarray:
    """Returns uint8 images `[N, 28, 28]`: each pixel's grey follows from its distance to the edge
    of the line.
    """
    # [P, 2, N], whole numbers
    paths = np.rint(SUBPIXEL * np.clip(paths, -20, 20)).transpose(1, 2, 0).astype(np.float32)
    # [P, N], whole numbers
    local = np.rint((SUBPIXEL * radius[:, None] * pressure) ** 2).T.astype(np.float32)
    # [28, 1]
    pixels = (SUBPIXEL * (np.arange(IMAGE_SIZE) - (IMAGE_SIZE - 1) / 2)).astype(np.float32)[:, None]
    # max over points of (radius^2 - distance^2)
    power = np.full((IMAGE_SIZE, IMAGE_SIZE, len(radius)), -np.inf, np.float32)
    scratch = np.empty_like(power)
    for point, square in zip(paths, local):
        across, down = (pixels - point[0]) ** 2, square - (pixels - point[1]) ** 2  # [28, N] each
        np.subtract(down[:, None], across[None], out=scratch)
        np.maximum(power, scratch, out=power)
    radius = radius.astype(np.float32)
    # pixels from the edge of the line, > 0 in the ink
    inside = radius - np.sqrt(np.maximum(radius**2 - power / SUBPIXEL**2, 0))
    ramp = np.clip(0.5 + inside / EDGE, 0, 1)
    return np.rint(255 * (ramp * ramp * (3 - 2 * ramp))).astype(np.uint8).transpose(2, 0, 1)


def _centred(images: np.ndarray) -> np.ndarray:
    """Returns the images `[N, 28, 28]` moved by whole pixels, so that the centre of mass is at most
    half a pixel off the centre.
    """
    position = np.arange(IMAGE_SIZE)
    # [2, N, 28]: of rows, of columns
    profiles = np.stack([images.sum(axis=2, dtype=np.int64), images.sum(axis=1, dtype=np.int64)])
    centre = profiles @ position / np.maximum(profiles.sum(axis=2), 1)
    source = position + np.rint(centre - (IMAGE_SIZE - 1) / 2).astype(np.int64)[:, :, None]
    rows, columns = source % IMAGE_SIZE
    return images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _checked_digits(digits: Tensor, num_images: int) -> np.ndarray:
    digit = torch.as_tensor(digits)
    if (
        digit.dtype not in (torch.uint8, torch.int32, torch.int64)
        or digit.shape != (num_images,)
        or (num_images and (digit.min() < 0 or digit.max() > 9))
    ):
        raise CourseError(
            f"digits: expected {num_images} whole numbers from 0 to 9, got {digits!r}."
        )
    return digit.numpy().astype(np.int64)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
        raise CourseError(f"{name}: expected a whole number, 0 or more, got {value!r}.")


def _check_factors(factors: Factors) -> None:
    values = {field.name: getattr(factors, field.name) for field in fields(Factors)}
    if any(value.shape != (len(factors),) for value in values.values()):
        raise CourseError(
            "factors: expected one number an image, got the shapes"
            f" {[list(value.shape) for value in values.values()]}."
        )
    digit, style = _checked_digits(factors.digit, len(factors)), factors.style.numpy()
    if np.any((style < 0) | (style >= style_table().num_styles[digit])):
        raise CourseError(
            "factors: a style does not exist; num_styles(digit) says how many a digit has, counted"
            " from 0."
        )
    for name, (lowest, highest) in LIMITS.items():
        if not ((values[name] >= lowest) & (values[name] <= highest)).all():
            raise CourseError(
                f"factors: expected {name} from {lowest:g} to {highest:g}, got"
                f" {values[name].min():g} to {values[name].max():g}."
            )


VERSION = 1  # raise it when the drawing changes: an old cache is then not read any more
NUM_TRAIN, NUM_TEST, SEED = 60_000, 10_000, 0


def cache_file() -> Path:
    """Returns where the drawn images are kept."""
    return cache_root() / f"strokes-v{VERSION}-seed{SEED}.safetensors"


def strokes_cached() -> bool:
    """Returns whether the images have been drawn already."""
    return os.path.exists(cache_file())  # False, too, where the cache cannot be looked into


def load_strokes() -> Dataset:
    """Returns the 60,000 + 10,000 standard strokes with their factors, drawing them where they are
    not cached.

    A cache that is damaged is reported, drawn again and replaced. One that cannot be written costs
    the drawing at each start; that is said once.
    """
    if strokes_cached():
        try:
            return _read()
        except CourseError as error:
            print(f"{error} Drawing it again.")
    print(f"drawing {NUM_TRAIN + NUM_TEST:,} stroke digits, once ...", flush=True)
    dataset = _draw()
    try:
        _write(dataset)
    except CourseError:
        _say_not_kept(str(cache_root()))
    return dataset


@lru_cache
def _say_not_kept(folder: str) -> None:
    print(
        f"the strokes cannot be kept in {folder} and will be drawn again at the next start; set"
        " COURSE_CACHE to a folder that you may write to."
    )


def _draw() -> Dataset:
    train_images, train_factors, test_images, test_factors = make_strokes(NUM_TRAIN, NUM_TEST, SEED)
    return _dataset(
        {"train": train_images, "test": test_images},
        {"train": asdict(train_factors), "test": asdict(test_factors)},
    )


def _dataset(images: dict, factors: dict) -> Dataset:
    return Dataset(
        name="strokes",
        train_images=images["train"],
        train_labels=factors["train"]["digit"],
        test_images=images["test"],
        test_labels=factors["test"]["digit"],
        class_names=DIGIT_NAMES,
        source=f"drawn by a program from seed {SEED}",
        train_factors=factors["train"],
        test_factors=factors["test"],
    )


def _write(dataset: Dataset) -> None:
    tensors = {"train/images": dataset.train_images, "test/images": dataset.test_images}
    tensors |= {f"train/{name}": values for name, values in dataset.train_factors.items()}
    tensors |= {f"test/{name}": values for name, values in dataset.test_factors.items()}
    save_tensors(cache_file(), tensors, {"sha256": dataset.sha256})


def _read() -> Dataset:
    from safetensors import SafetensorError, safe_open

    images: dict = {}
    factors: dict = {"train": {}, "test": {}}
    try:
        with safe_open(cache_file(), framework="pt") as file:
            expected = (file.metadata() or {}).get("sha256")
            for key in file.keys():
                split, name = key.split("/")
                (images if name == "images" else factors[split])[
                    split if name == "images" else name
                ] = file.get_tensor(key)
        dataset = _dataset(images, factors)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CourseError(f"{cache_file()} is damaged ({error}).") from error
    if dataset.sha256 != expected:
        raise CourseError(
            f"{cache_file()} is damaged (its SHA-256 is not the one that was written)."
        )
    return dataset
