"""How well a text-to-image model obeys its captions: pictures for captions, the share of right
words and of captions that are right in every word, and what guidance does to both and to variety.

All of it is measured by the reader that ships with the course (`reading.py`), whose own errors are
corrected for and counted in the error bars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.data.captions import ATTRIBUTES, SCENE_ATTRIBUTES, said
from course_utils.data.dataset import Dataset
from course_utils.metrics.features import Extractor, extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.measurement import Measurement, mean_over_images
from course_utils.models.text_to_image import TextToImage
from course_utils.studies.draw import DRAWING
from course_utils.studies.reading import (
    WordAccuracy,
    corrected_accuracy,
    load_reader,
    obeyed,
    reader_record,
)

PICTURES_PER_CALL = 250
VARIETY_CAPTIONS, VARIETY_PICTURES = 50, 8


def draw_captioned(
    model: TextToImage,
    captions: Sequence[str],
    *,
    seed: int = 0,
    images_per_call: int = PICTURES_PER_CALL,
    **options: Any,
) -> Tensor:
    """Returns a picture for each caption, uint8 `[N, C, H, W]` on the CPU.

    Args:
        model: in evaluation mode.
        captions: one for each picture, at least one.
        seed: of the noise; equal seeds give equal noise whatever the options are.
        images_per_call: size of a batch.
        options: passed to `model.sample`, such as `guidance_scale` or `negative`.
    """
    if not captions:
        raise CourseError("captions: expected at least one, got none.")
    rng = make_rng(seed, DRAWING)
    pictures = []
    for start in range(0, len(captions), images_per_call):
        some = list(captions[start : start + images_per_call])
        drawn = model.sample(len(some), captions=some, rng=rng, **options)
        pictures.append(signed_to_uint8(drawn).cpu())
    return torch.cat(pictures)


class CaptionAgreement(NamedTuple):
    """How often pictures have what their captions say.

    Attributes:
        by_attribute: the share of right words for each attribute that is named.
        words: the share of right words of all attributes together.
        captions: the share of pictures that are right in every word of their caption.
    """

    by_attribute: dict[str, WordAccuracy]
    words: WordAccuracy
    captions: WordAccuracy


def caption_agreement(images: Tensor, captions: Sequence[str]) -> CaptionAgreement:
    """Returns how often pictures have what their captions say, corrected for the reader's errors.

    Each attribute is corrected as `corrected_accuracy` says. The share of all words is the mean of
    these shares, each counted as often as its attribute is named; its error counts pictures and not
    words, for the words of a picture fail together. A picture that is right in every word passes
    with the product of the reader's rates, and the share of captions is divided by the mean of
    these products.

    Args:
        images: uint8, `[N, 3, 32, 32]`, N at least 2.
        captions: one for each, all of one digit or all of two.

    Raises:
        CourseError: as `obeyed`.
    """
    rows = obeyed(images, captions)
    scenes = "relation" in rows[0]
    attributes = SCENE_ATTRIBUTES if scenes else ATTRIBUTES
    calibration = reader_record()["calibration"]["captions:scenes" if scenes else "captions"]
    named = {name: [row[name] for row in rows if name in row] for name in attributes}
    named = {name: right for name, right in named.items() if right}
    found = {
        name: corrected_accuracy(sum(right), len(right), calibration[name], len(attributes[name]))
        for name, right in named.items()
    }
    rates = {
        name: calibration[name]["num_right"] / calibration[name]["num_pictures"] for name in named
    }
    # of each rate, as a share of it: what the calibration leaves open
    slack = {
        name: math.sqrt((1 - rate) / (rate * calibration[name]["num_pictures"]))
        for name, rate in rates.items()
    }
    shares = {name: len(right) / len(rows) for name, right in named.items()}
    return CaptionAgreement(
        found, _all_words(rows, found, shares, slack), _whole(rows, rates, shares, slack)
    )


def _all_words(
    rows: list[dict[str, bool]],
    found: dict[str, WordAccuracy],
    shares: dict[str, float],
    slack: dict[str, float],
) -> WordAccuracy:
    """Returns the share of right words, a ratio of two sums over pictures.

    Source: Cochran 1977, Sampling Techniques, eq. 2.46, for the error of a ratio.
    """
    num_words = sum(shares.values())  # of a picture, the mean
    value = sum(shares[name] * accuracy.value for name, accuracy in found.items()) / num_words
    counts = torch.tensor([[sum(row.values()), len(row)] for row in rows], dtype=torch.float64)
    read = float(counts[:, 0].sum() / counts[:, 1].sum())
    residuals = (counts[:, 0] - read * counts[:, 1]) / num_words
    of_pictures = residuals.square().sum().sqrt() / len(rows)
    of_reader = math.hypot(*(shares[name] / num_words * slack[name] for name in found))
    return WordAccuracy(value, math.hypot(of_pictures, of_reader), len(rows), read)


def _whole(
    rows: list[dict[str, bool]],
    rates: dict[str, float],
    shares: dict[str, float],
    slack: dict[str, float],
) -> WordAccuracy:
    right = sum(all(row.values()) for row in rows)
    passing = sum(math.prod(rates[name] for name in row) for row in rows) / len(rows)
    read = right / len(rows)
    smoothed = (right + 2) / (len(rows) + 4)  # not 0 where all are right, as in `reading.py`
    of_pictures = math.sqrt(smoothed * (1 - smoothed) / (len(rows) + 4)) / passing
    of_reader = read / passing * math.hypot(*(shares[name] * slack[name] for name in shares))
    error = math.hypot(of_pictures, of_reader)
    return WordAccuracy(min(read / passing, 1.0), error, len(rows), read)


def agreement_by_length(images: Tensor, captions: Sequence[str]) -> dict[int, CaptionAgreement]:
    """Returns how often pictures have what their captions say, for each number of attributes that
    a caption names: a mean over all captions hides what is wrong with the rare ones.

    Args:
        images, captions: as for `caption_agreement`; a length of one picture is left out.
    """
    groups: dict[int, list[int]] = {}
    for index, caption in enumerate(captions):
        groups.setdefault(len(said(caption)), []).append(index)
    return {
        length: caption_agreement(images[rows], [captions[row] for row in rows])
        for length, rows in sorted(groups.items())
        if len(rows) > 1
    }


def reader_extractor() -> Extractor:
    """Returns the reader's 128 features, for the FID of pictures of captions."""
    return Extractor("reader-captions", load_reader().body, range="signed")


def variety(images: Tensor, num_each: int) -> Measurement:
    """Returns how different the pictures of one caption are: the mean distance between two of them
    in the features of the reader, divided by that between pictures of two captions. 0 is one
    picture again and again; 1 would be pictures that don't depend on the caption.

    Args:
        images: uint8, `[captions x num_each, 3, 32, 32]`, those of a caption one after the other.
        num_each: pictures of each caption, 2 or more; at least two captions.
    """
    num_captions = len(images) // num_each
    require(num_each >= 2, "num_each", "2 or more", num_each)
    fits = len(images) == num_captions * num_each and num_captions >= 2
    require(fits, "images", f"those of 2 captions or more, {num_each} each", len(images))
    features = extract(reader_extractor(), images)
    distances = torch.cdist(features, features)
    owner = torch.arange(num_captions).repeat_interleave(num_each)
    apart = distances[owner[:, None] != owner].mean()
    blocks = distances.unflatten(0, (num_captions, num_each)).unflatten(2, (num_captions, num_each))
    index = torch.arange(num_captions)
    within = blocks[index, :, index].sum((1, 2)) / (num_each * (num_each - 1))
    return mean_over_images("variety", within / apart, extractor="reader-captions")


@dataclass(frozen=True)
class GuidanceRow:
    """Pictures of one strength of guidance.

    Attributes:
        guidance_scale: 1 is no guidance.
        agreement: of pictures for the captions of test pictures.
        fid: of these pictures against the test pictures, in the reader's features.
        variety: of several pictures for one caption.
    """

    guidance_scale: float
    agreement: CaptionAgreement
    fid: Measurement
    variety: Measurement


def guidance_sweep(
    model: TextToImage,
    dataset: Dataset,
    scales: Sequence[float],
    *,
    num_images: int = 1000,
    seed: int = 0,
) -> list[GuidanceRow]:
    """Returns a row for each strength of guidance, with equal captions and equal noise in all.

    Args:
        model: in evaluation mode.
        dataset: "captions" or "captions:scenes", whose first test captions are drawn.
        scales: strengths of guidance.
        num_images: pictures of a row; variety is measured on 400 more.
        seed: of the noise.
    """
    captions = dataset.test_captions[:num_images]
    repeated = [text for text in captions[:VARIETY_CAPTIONS] for _ in range(VARIETY_PICTURES)]
    real = extract(reader_extractor(), dataset.test_images[:num_images])
    rows = []
    for scale in scales:
        images = draw_captioned(model, captions, seed=seed, guidance_scale=scale)
        several = draw_captioned(model, repeated, seed=seed + 1, guidance_scale=scale)
        distance = fid(extract(reader_extractor(), images), real)
        rows.append(
            GuidanceRow(
                scale,
                caption_agreement(images, captions),
                distance.labelled("reader-captions", f"{dataset.name} test"),
                variety(several, VARIETY_PICTURES),
            )
        )
    return rows
