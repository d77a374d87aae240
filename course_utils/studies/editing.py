"""What else trained models are for: one style in all classes, and crude paintings made into
images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_uint8, signed_to_uint8, uint8_to_signed
from course_utils.inverse.operators import BlockMean
from course_utils.metrics.features import Extractor, extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.measurement import Measurement
from course_utils.models.base import Model

if TYPE_CHECKING:
    from course_utils.models.diffusion.model import Diffusion


def style_sheet(
    model: Model,
    num_styles: int,
    *,
    classes: Sequence[int] | None = None,
    seed: int = 0,
    **options: object,
) -> Tensor:
    """Returns images uint8 `[num_styles, num_classes, C, H, W]`: a row has one noise, a column one
    class.

    Where the model keeps style in its noise and content in the label, a row is one hand that writes
    every digit.

    Args:
        model: class-conditional.
        num_styles: how many noises, at least 1.
        classes: None takes all.
        seed: of the noise.
        options: passed to `model.sample`, such as `num_steps`.

    Raises:
        CourseError: a model that takes no labels.
    """
    require(num_styles >= 1, "num_styles", "at least 1", num_styles)
    if not hasattr(model.config, "num_classes"):
        raise CourseError(
            f"a {model.family} has no classes to hold a style against; expected a class-conditional"
            " model."
        )
    classes = range(model.config.num_classes) if classes is None else classes
    # The generator starts anew for each class, so that image i of every class has the same noise.
    columns = [
        model.sample(
            num_styles, labels=torch.full((num_styles,), label), rng=make_rng(seed, 9), **options
        )
        for label in classes
    ]
    return torch.stack([signed_to_uint8(column).cpu() for column in columns], 1)


def paintings(images: Tensor, block: int = 4, num_levels: int = 3) -> Tensor:
    """Returns crude paintings of images, uint8 `[N, C, H, W]`: one flat patch a block, in few grey
    levels.

    Args:
        images: uint8 `[N, C, H, W]`.
        block: pixels a side of a patch; divides both sides.
        num_levels: of grey, at least 2, black and white among them.
    """
    check_uint8(images)
    require(num_levels >= 2, "num_levels", "at least 2", num_levels)
    channels, height, width = images.shape[1:]
    operator = BlockMean((channels, height, width), block)
    patches = operator.pseudo_inverse(operator.forward(images.float() / 255))
    levels = (patches * (num_levels - 1)).round() / (num_levels - 1)
    return (255 * levels).round().clamp(0, 255).to(torch.uint8)


def edited(
    model: Model,
    guides: Tensor,
    strengths: Sequence[float],
    *,
    labels: Tensor | None = None,
    seed: int = 0,
    **options: Any,
) -> Tensor:
    """Returns the images that SDEdit draws from guides at each strength, uint8 `[T, B, C, H, W]`;
    all strengths share one noise.

    Args:
        model: a diffusion model.
        guides: uint8 `[B, C, H, W]`, such as `paintings`.
        strengths: above 0 (the guide) up to 1 (nothing of it is left).
        labels: int64 `[B]`, or None.
        seed: of the noise.
        options: passed to `model.edit`.
    """
    if not hasattr(model, "edit"):
        raise CourseError(
            f"a {model.family} cannot start from a noisy image; expected a diffusion model."
        )
    signed = uint8_to_signed(guides)
    edit = cast("Diffusion", model).edit
    results = [
        edit(signed, strength, labels=labels, rng=make_rng(seed, 10), **options).x
        for strength in strengths
    ]
    return torch.stack([signed_to_uint8(one).cpu() for one in results])


def edit_tradeoff(
    guides: Tensor, results: Tensor, strengths: Sequence[float], extractor: Extractor, real: Tensor
) -> dict[float, tuple[Measurement, Measurement]]:
    """Returns for each strength how far the results are from their guides (RMS, pixels in [0, 1])
    and from real images (FID).

    Args:
        guides: uint8 `[B, C, H, W]`.
        results: uint8 `[T, B, C, H, W]`, as `edited` returns them.
        strengths: T of them.
        extractor: of features.
        real: uint8 images to compare with.

    Source: the two axes are those of Meng et al. 2022 (arXiv:2108.01073), fig. 3: faithful or
    realistic.
    """
    if results.shape[1:] != guides.shape or len(results) != len(strengths):
        raise CourseError(
            f"expected results [{len(strengths)}, {', '.join(map(str, guides.shape))}], got"
            f" {list(results.shape)}."
        )
    reference, rows = extract(extractor, real), {}
    for strength, images in zip(strengths, results):
        distances = ((images.double() - guides.double()) / 255).square().flatten(1).mean(1).sqrt()
        error = distances.std().item() / len(distances) ** 0.5
        distance = Measurement(
            "distance to the guide", distances.mean().item(), error, len(distances)
        )
        rows[strength] = (
            distance,
            fid(extract(extractor, images), reference).labelled(extractor.name),
        )
    return rows
