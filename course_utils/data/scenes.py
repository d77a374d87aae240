"""The datasets `captions` and `captions:scenes`: coloured digits with captions, drawn from known
attributes, so that each word can be looked for in a picture.

`captions` has one digit in each picture, `captions:scenes` two. The combinations of a digit and its
ink in `HELD_OUT` are in no training picture. The test pictures have all combinations; their factor
`held_out` is 1 where a digit has an ink that it never had in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.data.captions import ATTRIBUTES, COLOUR_NAMES, SCENE_ATTRIBUTES, write_caption
from course_utils.data.colours import Colours, colour
from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.data.strokes import Factors, draw_factors, render

NUM_TRAIN, NUM_TEST, SEED = 20_000, 4_000, 0
CAPTION_SIDE = 32  # pixels of a picture
CELL = 16  # pixels of the field of one digit in a scene: as wide or as high as the half of it
CROP = 22  # pixels of a stroke digit that are kept: its ink is 20 long, and its edge is soft

# Each digit misses one ink, and each ink one or two digits.
HELD_OUT = frozenset(
    (digit, COLOUR_NAMES[(3 * digit + 1) % len(COLOUR_NAMES)]) for digit in range(10)
)

# Names of colours: hue in degrees, brightness and chroma as in colours.py, each the middle of an
# interval from which a picture's colour is drawn.
_PALETTE = {
    "red":    (109.0, 0.33, 0.95),
    "yellow": (168.0, 0.80, 0.95),
    "green":  (232.0, 0.52, 0.95),
    "blue":   (345.0, 0.28, 0.95),
    "purple": (42.0, 0.42, 0.85),
    "white":  (0.0, 0.96, 0.10),
    "black":  (0.0, 0.04, 0.10),
}  # fmt: skip
_HUE_SPREAD, _LUMA_SPREAD, _CHROMA_SPREAD = 6.0, 0.03, 0.05  # to both sides of the middle

# Intervals of what the words mean, with a gap between neighbours, so that no picture lies between
# two words. Thickness in pixels of a digit that is 20 long: it grows with the digit.
_THICKNESS = {"thin": (1.4, 1.9), "thick": (3.4, 4.0)}
_SLANT = {"left": (-30.0, -23.0), "upright": (-3.0, 3.0), "right": (23.0, 30.0)}  # degrees
_SIDES_OF_SIZE = {"small": (16, 17, 18), "big": (26, 27, 28)}  # pixels, of a digit and its edge
_SCENE_SIDE = 14
_SHIFT = 2  # pixels that a digit is moved from the middle, at most; 1 in a scene
# The other factors keep to a narrower prior than in strokes, so that they hide no word.
_PLAIN_FACTORS = {"rotation": (-2.0, 2.0), "width": (0.95, 1.2), "sloppiness": (0.3, 0.7)}
# The ways of writing of a 4 and of a 7 that have a word; a 4 is written in no other way.
_STYLE_NAMES = {(4, 0): "open", (4, 2): "open", (4, 1): "closed", (7, 1): "crossed"}
_FOURS = (0, 2, 1, 1)  # so that half of the fours are closed


@dataclass(frozen=True)
class CaptionedPictures:
    """Pictures with what is known of them.

    Attributes:
        images: uint8 `[N, 3, 32, 32]`.
        captions: one for each picture.
        factors: int64 `[N]` for each attribute, the codes of its values.
    """

    images: Tensor
    captions: tuple[str, ...]
    factors: dict[str, Tensor]


def load_captions(scenes: bool = False) -> Dataset:
    """Returns 20,000 + 4,000 pictures with captions, drawn anew, labels = the (first) digit.

    Args:
        scenes: two digits in each picture in place of one.
    """
    return make_captions(NUM_TRAIN, NUM_TEST, SEED, scenes=scenes)


def make_captions(num_train: int, num_test: int, seed: int = 0, *, scenes: bool = False) -> Dataset:
    """Returns a dataset of pictures with captions; equal arguments give equal pictures.

    Args:
        num_train: pictures without the combinations in `HELD_OUT`.
        num_test: pictures of all combinations.
        seed: train and test draw from different streams of it.
        scenes: two digits in each picture in place of one.
    """
    draw = draw_scenes if scenes else draw_singles
    train_stream, test_stream = np.random.SeedSequence(seed).spawn(2)
    train = draw(num_train, np.random.default_rng(train_stream), held_out=False)
    test = draw(num_test, np.random.default_rng(test_stream))
    label = "first_digit" if scenes else "digit"
    return Dataset(
        name="captions:scenes" if scenes else "captions",
        train_images=train.images,
        train_labels=train.factors[label],
        test_images=test.images,
        test_labels=test.factors[label],
        class_names=DIGIT_NAMES,
        source=f"{'two digits' if scenes else 'a digit'} in each, drawn by a program from seed"
        f" {seed}; {len(HELD_OUT)} combinations of digit and ink are in the test set alone",
        train_factors=train.factors,
        test_factors=test.factors,
        train_captions=train.captions,
        test_captions=test.captions,
    )


def draw_singles(
    num_pictures: int, rng: np.random.Generator, *, held_out: bool | None = None
) -> CaptionedPictures:
    """Returns pictures of one digit each, their attributes independent of each other but for the
    ink, which differs from the paper, and the style, which belongs to the digit.

    Args:
        num_pictures: 1 or more.
        rng: source of all randomness.
        held_out: whether all combinations of digit and ink are in `HELD_OUT` (True) or none
            (False); None draws from all.
    """
    _check_number(num_pictures)
    digit, ink = _digits_and_inks(num_pictures, rng, held_out)
    codes = {"digit": digit, "ink": ink, "paper": _other_colour(rng, ink)}
    for name in ("thickness", "slant", "size"):
        codes[name] = rng.integers(len(ATTRIBUTES[name]), size=num_pictures)
    strokes, style = _strokes(digit, codes["thickness"], codes["slant"], rng)
    codes["style"] = style
    sides = np.array([*_SIDES_OF_SIZE.values()])[codes["size"], rng.integers(3, size=num_pictures)]
    shape = (CAPTION_SIDE, CAPTION_SIDE)
    images = _painted(_placed(strokes, sides, shape, _SHIFT, rng), ink, codes["paper"], rng)
    held = np.array([_is_held_out(pair) for pair in zip(digit, ink)])
    return _captioned(images, codes, held, ATTRIBUTES, rng)


def draw_scenes(
    num_pictures: int, rng: np.random.Generator, *, held_out: bool | None = None
) -> CaptionedPictures:
    """Returns pictures of two digits each, side by side or one above the other, on one paper.

    Args:
        num_pictures: 1 or more.
        rng: source of all randomness.
        held_out: whether the combinations of digit and ink of both digits are in `HELD_OUT` (True)
            or that of none (False); None draws from all.
    """
    _check_number(num_pictures)
    paper = rng.integers(len(COLOUR_NAMES), size=num_pictures)
    relation = rng.integers(2, size=num_pictures)
    halves, codes, held = [], {"paper": paper, "relation": relation}, np.zeros(num_pictures, bool)
    paper_colours = _named_colours(paper, rng)
    for place in ("first", "second"):
        digit, ink = _digits_and_inks(num_pictures, rng, held_out, paper)
        thickness = rng.integers(2, size=num_pictures)
        upright = np.full(num_pictures, ATTRIBUTES["slant"].index("upright"))
        strokes, _ = _strokes(digit, thickness, upright, rng)
        sides = np.full(num_pictures, _SCENE_SIDE)
        cells = _placed(strokes, sides, (CELL, CELL), 1, rng)
        halves.append(_painted(cells, ink, paper, rng, paper_colours))
        codes |= {f"{place}_digit": digit, f"{place}_ink": ink, f"{place}_thickness": thickness}
        held |= np.array([_is_held_out(pair) for pair in zip(digit, ink)])
    blank = torch.zeros(num_pictures, 1, 1, 1, dtype=torch.uint8)
    images = _joined(halves, _painted(blank, paper, paper, rng, paper_colours), relation)
    return _captioned(images, codes, held, SCENE_ATTRIBUTES, rng)


def scene_cells(images: Tensor, relations: Tensor) -> Tensor:
    """Returns the fields of the two digits of each scene, `[N, 2, 3, 16, 16]`, the first one first.

    Args:
        images: `[N, 3, 32, 32]`.
        relations: codes of `RELATIONS`, `[N]`: how the digits stand.
    """
    middle = slice((CAPTION_SIDE - CELL) // 2, (CAPTION_SIDE + CELL) // 2)
    beside = torch.stack([images[:, :, middle, :CELL], images[:, :, middle, CELL:]], 1)
    above = torch.stack([images[:, :, :CELL, middle], images[:, :, CELL:, middle]], 1)
    return torch.where(relations.view(-1, 1, 1, 1, 1) == 0, beside, above)


def values_of(
    factors: Mapping[str, Tensor], attributes: Mapping[str, tuple[str, ...]]
) -> list[dict[str, str]]:
    """Returns the values of each picture's attributes in words.

    Args:
        factors: int64 `[N]` codes for each attribute; others are passed over.
        attributes: `ATTRIBUTES` or `SCENE_ATTRIBUTES`.
    """
    columns = [
        [names[code] for code in factors[name].tolist()] for name, names in attributes.items()
    ]
    return [dict(zip(attributes, row)) for row in zip(*columns)]


def _captioned(
    images: Tensor,
    codes: dict[str, np.ndarray],
    held_out: np.ndarray,
    attributes: Mapping[str, tuple[str, ...]],
    rng: np.random.Generator,
) -> CaptionedPictures:
    factors = {name: torch.from_numpy(codes[name].astype(np.int64)) for name in attributes}
    captions = tuple(write_caption(values, rng) for values in values_of(factors, attributes))
    factors["held_out"] = torch.from_numpy(held_out.astype(np.int64))
    return CaptionedPictures(images, captions, factors)


def _check_number(num_pictures: int) -> None:
    if num_pictures < 1:
        raise CourseError(f"num_pictures: expected at least 1, got {num_pictures}.")


def _is_held_out(pair: tuple[int, int]) -> bool:
    return (int(pair[0]), COLOUR_NAMES[pair[1]]) in HELD_OUT


def _digits_and_inks(
    num: int, rng: np.random.Generator, held_out: bool | None, paper: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns digits and inks, each allowed pair with the same probability, no ink like the paper
    where that is given.
    """
    pairs = np.array(
        [
            pair
            for pair in np.ndindex(len(DIGIT_NAMES), len(COLOUR_NAMES))
            if held_out is None or _is_held_out(pair) == held_out
        ]
    )
    if paper is None:
        return tuple(pairs[rng.integers(len(pairs), size=num)].T)
    orders = rng.permuted(np.tile(np.arange(len(pairs)), (num, 1)), axis=1)
    fits = pairs[orders, 1] != paper[:, None]
    return tuple(pairs[orders[np.arange(num), fits.argmax(1)]].T)


def _other_colour(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    step = rng.integers(1, len(COLOUR_NAMES), size=len(colours))
    return (colours + step) % len(COLOUR_NAMES)


# Shapes


def _strokes(
    digit: np.ndarray, thickness: np.ndarray, slant: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, np.ndarray]:
    """Returns grey digits `[N, 1, 22, 22]`, the ink's frame in the middle, and codes of style."""
    num = len(digit)
    drawn = draw_factors(num, rng, torch.from_numpy(digit.astype(np.int64)))
    style = np.where(digit == 4, np.array(_FOURS)[rng.integers(4, size=num)], drawn.style.numpy())

    def uniform(low: np.ndarray | float, high: np.ndarray | float) -> Tensor:
        return torch.from_numpy(
            (low + (np.asarray(high) - low) * rng.random(num)).astype(np.float32)
        )

    def within(intervals: Mapping[str, tuple[float, float]], codes: np.ndarray) -> Tensor:
        return uniform(*np.array([*intervals.values()])[codes].T)

    factors = Factors(
        digit=drawn.digit,
        style=torch.from_numpy(style),
        slant=within(_SLANT, slant),
        thickness=within(_THICKNESS, thickness),
        **{name: uniform(*interval) for name, interval in _PLAIN_FACTORS.items()},
    )
    names = [_STYLE_NAMES.get(pair, "plain") for pair in zip(digit.tolist(), style.tolist())]
    codes = np.array([ATTRIBUTES["style"].index(name) for name in names])
    return _framed_crop(render(factors, rng)), codes


def _framed_crop(images: Tensor) -> Tensor:
    """Returns the squares around the ink of grey images, `[N, 1, 22, 22]`, its frame in the
    middle.
    """
    grey = images[:, 0].numpy()
    side = grey.shape[1]
    middles = []
    for axis in (2, 1):  # rows, then columns
        inked = grey.max(axis=axis) > 0
        middles.append((inked.argmax(1) + side - 1 - inked[:, ::-1].argmax(1)) // 2)
    source = np.arange(CROP) - (CROP - 1) // 2 + np.stack(middles)[:, :, None]  # [2, N, 22]
    padded = np.pad(grey, ((0, 0), (CROP, CROP), (CROP, CROP)))
    rows, columns = source + CROP
    cropped = padded[np.arange(len(grey))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return torch.from_numpy(cropped)[:, None]


@lru_cache(maxsize=16)
def _resampling(side: int) -> np.ndarray:
    """Returns a matrix `[side, 22]` of whole numbers that add up to 256 in each row: a triangle
    around each new pixel, as wide as a pixel of the coarser of the two grids.

    Whole numbers give the same pictures on every machine.
    """
    scale = CROP / side
    centres = (np.arange(side) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(CROP) - centres[:, None]) / max(scale, 1.0)
    weights = np.clip(1 - distance, 0, None)
    matrix = np.rint(256 * weights / weights.sum(axis=1, keepdims=True)).astype(np.int64)
    matrix[np.arange(side), matrix.argmax(axis=1)] += 256 - matrix.sum(axis=1)
    return matrix


def _placed(
    strokes: Tensor, sides: np.ndarray, shape: tuple[int, int], shift: int, rng: np.random.Generator
) -> Tensor:
    """Returns grey images `[N, 1, H, W]` with the digits made `sides` pixels large, each moved from
    the middle by up to `shift` pixels.
    """
    canvas = np.zeros((len(sides), 1, *shape), np.uint8)
    moved = rng.random((len(sides), 2))
    for side in np.unique(sides):
        matrix = _resampling(int(side))
        of_side = np.flatnonzero(sides == side)
        values = matrix @ strokes[of_side, 0].numpy().astype(np.int64) @ matrix.T
        small = ((values + 2**15) >> 16).astype(np.uint8)
        free = np.array(shape) - side
        reach = np.minimum(shift, free // 2)
        offsets = free // 2 + np.floor((2 * reach + 1) * moved[of_side]).astype(np.int64) - reach
        for index, image, (top, left) in zip(of_side, small, offsets):
            canvas[index, 0, top : top + side, left : left + side] = image
    return torch.from_numpy(canvas)


# Colours


def _named_colours(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns hue, brightness and chroma `[N, 3]` near those of the named colours."""
    middle = np.array([_PALETTE[name] for name in COLOUR_NAMES])[codes]
    spread = np.array([_HUE_SPREAD, _LUMA_SPREAD, _CHROMA_SPREAD])
    values = middle + spread * (2 * rng.random((len(codes), 3)) - 1)
    grey = middle[:, 2] < 0.5  # white and black have a tinge of any hue
    values[:, 0] = np.where(grey, values[:, 0] * 30, values[:, 0]) % 360
    return values


def _painted(
    grey: Tensor,
    ink: np.ndarray,
    paper: np.ndarray,
    rng: np.random.Generator,
    paper_colours: np.ndarray | None = None,
) -> Tensor:
    """Returns grey images in colours near those of the named inks and papers."""
    inks = _named_colours(ink, rng)
    papers = _named_colours(paper, rng) if paper_colours is None else paper_colours
    columns = [torch.from_numpy(column.astype(np.float32)) for column in (*inks.T, *papers.T)]
    return colour(grey, Colours(*columns))


def _joined(halves: list[Tensor], paper: Tensor, relation: np.ndarray) -> Tensor:
    """Returns pictures `[N, 3, 32, 32]` of two fields `[N, 3, 16, 16]` each, with paper `[N, 3, 1,
    1]` around them.
    """
    first, second = halves
    edge = (CAPTION_SIDE - CELL) // 2
    strip = paper.expand(-1, -1, edge, CAPTION_SIDE)
    beside = torch.cat([strip, torch.cat([first, second], 3), strip], 2)
    strip = paper.expand(-1, -1, CAPTION_SIDE, edge)
    above = torch.cat([strip, torch.cat([first, second], 2), strip], 3)
    return torch.where(torch.from_numpy(relation).view(-1, 1, 1, 1) == 0, beside, above)
