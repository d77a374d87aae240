"""Whether pictures obey their captions: the reader that ships with the course, its errors on real
renderings, and the share of right words that follows for any pictures.

A reader that is sometimes wrong makes a model look worse, or better, than it is. So its rate of
right readings is measured on fresh renderings, and each share of right words is corrected for it.

Source of the correction and its error: Rogan & Gladen 1978, American Journal of Epidemiology 107,
71-76.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.base.files import file_sha256, read_json
from course_utils.base.images import check_uint8
from course_utils.data.captions import ATTRIBUTES, SCENE_ATTRIBUTES, said
from course_utils.data.scenes import CAPTION_SIDE, draw_scenes, draw_singles, scene_cells
from course_utils.metrics.measurement import with_error
from course_utils.models.reader import AttributeReader
from course_utils.training.runs import PRETRAINED

READER = PRETRAINED / "reader-captions"
LAYOUTS = ("single", "beside", "above")  # of the digits in a picture
# What the reader looks for, with the number of values of each.
READER_VALUES = {name: len(values) for name, values in ATTRIBUTES.items()} | {
    "layout": len(LAYOUTS)
}
CALIBRATION_PICTURES = 20_000
_CELL_ATTRIBUTES = ("digit", "ink", "thickness")


class WordAccuracy(NamedTuple):
    """How often pictures have what their captions say of one attribute.

    Attributes:
        value: the share of right words, corrected for the reader's errors, from 0 to 1.
        error: one standard error of the value: of the pictures and of the reader together.
        num_pictures: pictures whose caption names the attribute.
        read: the share of words that the reader found right, not corrected.
    """

    value: float
    error: float
    num_pictures: int
    read: float

    def __str__(self) -> str:
        return with_error(self.value, self.error)


@lru_cache(maxsize=1)
def load_reader() -> AttributeReader:
    """Returns the reader that ships with the course.

    Raises:
        CourseError: its file is damaged.
    """
    from safetensors.torch import load_file

    path, expected = READER / "model.safetensors", reader_record()["weights_sha256"]
    if file_sha256(path) != expected:
        raise CourseError(
            f"{path}: expected the weights with SHA-256 {expected[:12]}..., got others; install"
            " the course again."
        )
    reader = AttributeReader(READER_VALUES)
    reader.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return reader.eval()


def reader_record() -> dict:
    """Returns how the reader was made, and under "calibration" how often it was right on
    renderings that it had not seen: pictures and right readings for each attribute.
    """
    return read_json(READER / "reader.json")


def enlarged_cells(images: Tensor, relations: Tensor) -> Tensor:
    """Returns the fields of both digits of scenes at the size that the reader knows, uint8 `[N, 2,
    3, 32, 32]`.

    Args:
        images: uint8, `[N, 3, 32, 32]`.
        relations: int64 `[N]`, codes of `RELATIONS`.
    """
    cells = scene_cells(images, relations).flatten(0, 1).float()
    large = F.interpolate(cells, size=CAPTION_SIDE, mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).unflatten(0, (-1, 2))


def read_attributes(
    images: Tensor, *, scenes: bool = False, reader: AttributeReader | None = None
) -> dict[str, Tensor]:
    """Returns the codes of the attributes of pictures as they are read, int64 `[N]` each:
    `ATTRIBUTES`, or `SCENE_ATTRIBUTES` for scenes. The relation of a scene is -1 where one digit
    or none stands in it.

    Args:
        images: uint8, `[N, 3, 32, 32]`.
        scenes: whether two digits are looked for.
        reader: None takes the one that ships with the course.
    """
    check_uint8(images)
    reader = load_reader() if reader is None else reader
    codes = reader.read(images)
    if not scenes:
        return {name: codes[name] for name in ATTRIBUTES}
    relation = codes["layout"] - 1
    cells = enlarged_cells(images, relation.clamp(min=0))
    found = {"paper": codes["paper"], "relation": relation}
    for index, place in enumerate(("first", "second")):
        of_cell = reader.read(cells[:, index].contiguous())
        found |= {f"{place}_{name}": of_cell[name] for name in _CELL_ATTRIBUTES}
    return {name: found[name] for name in SCENE_ATTRIBUTES}


def calibrate(
    reader: AttributeReader, num_pictures: int, seed: int
) -> dict[str, dict[str, dict[str, int]]]:
    """Returns for "captions" and for "captions:scenes" the number of pictures and that of right
    readings of each attribute, on renderings of all combinations.

    Args:
        num_pictures: of each of the two kinds.
        seed: of the renderings; one that the reader was not trained with.
    """
    table = {}
    for name, draw in (("captions", draw_singles), ("captions:scenes", draw_scenes)):
        drawn = draw(num_pictures, np.random.default_rng(seed))
        read = read_attributes(drawn.images, scenes=draw is draw_scenes, reader=reader)
        table[name] = {
            attribute: {
                "num_pictures": num_pictures,
                "num_right": int((codes == drawn.factors[attribute]).sum()),
            }
            for attribute, codes in read.items()
        }
    return table


def obeyed(images: Tensor, captions: Sequence[str]) -> list[dict[str, bool]]:
    """Returns for each picture the attributes that its caption names, each with whether the reader
    finds the picture to have the value.

    Args:
        images: uint8, `[N, 3, 32, 32]`.
        captions: one for each, all of one digit or all of two.

    Raises:
        CourseError: another number of captions, captions of both kinds, or one that cannot be
            understood.
    """
    wanted, scenes = _wanted(images, captions)
    attributes = SCENE_ATTRIBUTES if scenes else ATTRIBUTES
    columns = {
        name: codes.tolist() for name, codes in read_attributes(images, scenes=scenes).items()
    }
    return [
        {
            name: attributes[name].index(value) == columns[name][row]
            for name, value in values.items()
        }
        for row, values in enumerate(wanted)
    ]


def _wanted(images: Tensor, captions: Sequence[str]) -> tuple[list[dict[str, str]], bool]:
    """Returns what each caption says, and whether all are captions of scenes."""
    if len(images) != len(captions) or not len(captions):
        raise CourseError(
            f"expected a caption for each picture, got {len(images)} pictures and"
            f" {len(captions)} captions."
        )
    wanted = [said(caption) for caption in captions]
    kinds = {"relation" in values for values in wanted}
    if len(kinds) > 1:
        raise CourseError(
            "captions: expected all of one digit or all of two, got both; measure them apart."
        )
    return wanted, kinds.pop()


def word_accuracy(images: Tensor, captions: Sequence[str]) -> dict[str, WordAccuracy]:
    """Returns how often pictures have what their captions say, for each attribute that is named.

    Args:
        images: uint8, `[N, 3, 32, 32]`.
        captions: one for each, all of one digit or all of two.

    Raises:
        CourseError: as `obeyed`.
    """
    rows = obeyed(images, captions)
    scenes = "relation" in said(captions[0])
    attributes = SCENE_ATTRIBUTES if scenes else ATTRIBUTES
    calibration = reader_record()["calibration"]["captions:scenes" if scenes else "captions"]
    found = {}
    for name, values in attributes.items():
        right = [row[name] for row in rows if name in row]
        if right:
            found[name] = corrected_accuracy(sum(right), len(right), calibration[name], len(values))
    return found


def corrected_accuracy(
    num_right: int, num_pictures: int, calibration: Mapping[str, int], num_values: int
) -> WordAccuracy:
    """Returns the share of right words without the reader's errors.

    With a reader that is right with probability r, and whose wrong readings fall on each of the
    other K - 1 values alike, a picture that has another value than its caption says passes with
    probability e = (1 - r) / (K - 1). So the share that passes is p r + (1 - p) e, which is solved
    for p. The answer is kept within 0 and 1.

    Args:
        num_right: pictures that the reader found right.
        num_pictures: pictures that were read, 1 or more.
        calibration: "num_pictures" that were rendered for the calibration and "num_right" among
            them.
        num_values: K, of the attribute.
    """
    share, rate = (
        _share(num_right, num_pictures),
        _share(calibration["num_right"], calibration["num_pictures"]),
    )
    others = num_values - 1
    chance = (1 - rate.value) / others
    scale = rate.value - chance
    value = (share.value - chance) / scale
    # how the answer moves with r: (value times dr, less what passes by chance) over the scale
    slope = (value * (1 + 1 / others) - 1 / others) / scale
    error = math.hypot(share.error / scale, slope * rate.error)
    return WordAccuracy(min(max(value, 0.0), 1.0), error, num_pictures, num_right / num_pictures)


class _Share(NamedTuple):
    value: float
    error: float


def _share(num_right: int, num_all: int) -> _Share:
    """Returns a share with its standard error, which counts two more of each outcome, so that it is
    not 0 where all were right (Agresti & Coull 1998).
    """
    smoothed = (num_right + 2) / (num_all + 4)
    return _Share(num_right / num_all, math.sqrt(smoothed * (1 - smoothed) / (num_all + 4)))


class Binding(NamedTuple):
    """Which digit got which ink in scenes whose captions name both inks, and they differ.

    Attributes:
        num_scenes: scenes with such captions, both inks somewhere in the picture.
        num_swapped: of these, scenes in which each digit has the other's ink.
    """

    num_scenes: int
    num_swapped: int


def binding_errors(images: Tensor, captions: Sequence[str]) -> Binding:
    """Returns how often the two colours of a scene are bound to the wrong digit: of the pictures
    that have both inks, those that have them the other way round.

    Args:
        images: uint8, `[N, 3, 32, 32]`.
        captions: of two digits, one for each picture.

    Raises:
        CourseError: captions of one digit, or another number of captions.
    """
    wanted, scenes = _wanted(images, captions)
    if not scenes:
        raise CourseError("captions: expected captions of two digits, got captions of one.")
    read = read_attributes(images, scenes=True)
    names = SCENE_ATTRIBUTES["first_ink"]
    num_scenes = num_swapped = 0
    for row, values in enumerate(wanted):
        pair = values.get("first_ink"), values.get("second_ink")
        drawn = tuple(names[read[f"{place}_ink"][row]] for place in ("first", "second"))
        if None not in pair and pair[0] != pair[1] and set(drawn) == set(pair):
            num_scenes += 1
            num_swapped += drawn != pair
    return Binding(num_scenes, num_swapped)
