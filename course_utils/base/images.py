"""The pixel-range contract of the course, asserted at its borders.

Three ranges exist and no other: **uint8** (0 to 255, how images are stored), **unit** ([0, 1], how
intensities and metrics read them) and **signed** ([-1, 1], what models take and give). Images are
`[N, C, H, W]`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from course_utils.base.device import rand
from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path

TOLERANCE = 1e-4  # rounding of float32 and float16; a wrong range is off by far more
# what red, green and blue add to the brightness of a pixel: ITU-R BT.601
LUMA = (0.299, 0.587, 0.114)


def uint8_to_signed(images: Tensor) -> Tensor:
    """Returns uint8 images as float32 in [-1, 1]."""
    check_uint8(images)
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def uint8_to_unit(images: Tensor) -> Tensor:
    """Returns uint8 images as float32 in [0, 1]."""
    check_uint8(images)
    return images.to(torch.float32).div_(255.0)


def signed_to_unit(images: Tensor) -> Tensor:
    """Returns images in [-1, 1] as images in [0, 1]. Cheap on purpose: it runs in every training
    step, so it checks nothing.
    """
    return (images + 1.0) * 0.5


def unit_to_signed(images: Tensor) -> Tensor:
    """Returns images in [0, 1] as images in [-1, 1]; the twin of `signed_to_unit`."""
    return images * 2.0 - 1.0


def signed_to_uint8(images: Tensor) -> Tensor:
    """Returns images in [-1, 1] as uint8, rounded to the nearest level and not truncated."""
    check_range(images, -1.0, 1.0)
    return signed_to_unit(images.float()).mul(255.0).round_().clamp_(0, 255).to(torch.uint8)


def binarise(images: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Returns black and white images (-1 and 1), each pixel of signed `images` drawn white with a
    probability equal to its grey value in [0, 1].

    The mean of many draws is the grey image again.

    Args:
        images: signed, any shape.
        rng: source of the draws; they are made where it lives, so that a CPU generator gives the
            same images on every device.

    Source: Salakhutdinov & Murray 2008, sec. 5; drawn anew at every step: Burda et al. 2016
    (arXiv:1509.00519), sec. 5.
    """
    threshold = 2 * rand(tuple(images.shape), rng, images.device, dtype=images.dtype) - 1
    return torch.where(threshold < images, 1.0, -1.0).to(images.dtype)


def check_shape(images: Tensor) -> None:
    """Raises CourseError unless `images` is `[N, C, H, W]` with 1 or 3 channels."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise CourseError(
            f"expected images of shape [N, C, H, W] with 1 or 3 channels, got {list(images.shape)}."
        )


def check_uint8(images: Tensor) -> None:
    """Raises CourseError unless `images` is `[N, C, H, W]` of uint8."""
    if images.dtype != torch.uint8:
        raise CourseError(
            f"expected uint8 images (0 to 255), got {images.dtype}; signed_to_uint8 converts from"
            " [-1, 1]."
        )
    check_shape(images)


def check_range(images: Tensor, low: float, high: float) -> None:
    """Raises CourseError unless `images` is `[N, C, H, W]` of finite floats in [low, high]."""
    if not images.is_floating_point():
        raise CourseError(
            f"expected float images in [{low:g}, {high:g}], got {images.dtype}; uint8_to_signed"
            " converts from uint8."
        )
    check_shape(images)
    if images.numel() == 0:
        return
    smallest, largest = (value.item() for value in images.detach().aminmax())
    if not (smallest >= low - TOLERANCE and largest <= high + TOLERANCE):  # false for NaN as well
        raise CourseError(
            f"expected images in [{low:g}, {high:g}], got values from {smallest:.3g} to"
            f" {largest:.3g}."
        )


def check_signed(images: Tensor) -> None:
    """Raises CourseError unless `images` is `[N, C, H, W]` of finite floats in [-1, 1]."""
    check_range(images, -1.0, 1.0)


def tile(images: Tensor, num_columns: int = 10, pad: int = 2) -> Tensor:
    """Returns uint8 images `[N, C, H, W]` as one sheet `[C, rows*(H+pad)+pad,
    columns*(W+pad)+pad]`, row by row, on mid-grey.
    """
    check_uint8(images)
    num, channels, height, width = images.shape
    num_columns = max(1, min(num_columns, num))
    num_rows = -(-num // num_columns)
    sheet = images.new_full(
        (channels, num_rows * (height + pad) + pad, num_columns * (width + pad) + pad), 128
    )
    for index, image in enumerate(images):
        top, left = (
            pad + index // num_columns * (height + pad),
            pad + index % num_columns * (width + pad),
        )
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def save_png(images: Tensor, path: Path | str, num_columns: int = 10, scale: int = 3) -> None:
    """Writes uint8 images `[N, C, H, W]` as one PNG sheet, each pixel `scale` times enlarged."""
    from PIL import Image

    sheet = tile(images.cpu(), num_columns).permute(1, 2, 0).squeeze(-1).numpy()
    picture = Image.fromarray(sheet)
    with atomic_path(path) as partial:
        picture.resize(
            (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
        ).save(partial, format="PNG")
