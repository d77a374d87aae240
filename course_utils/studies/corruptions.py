"""Known-bad generators: each takes good images and spoils them in one known way. A metric that
notices nothing is blind to that failure.

All take and return uint8 images `[N, C, H, W]`; equal seeds give equal images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_uint8

BORDER = 0  # grey level of what lies outside an image


def blurred(images: Tensor, width_px: float = 1.0) -> Tensor:
    """Returns images behind a Gaussian blur whose standard deviation is `width_px` pixels; 0 leaves
    them as they are.
    """
    check_uint8(images)
    require(width_px >= 0, "width_px", "0 pixels or more", width_px)
    if width_px == 0:
        return images.clone()
    reach = math.ceil(3 * width_px)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width_px) ** 2)
    weights = weights / weights.sum()
    num_images, channels, height, width = images.shape
    pixels = images.float().reshape(num_images * channels, 1, height, width)
    pixels = F.conv2d(pixels, weights.reshape(1, 1, -1, 1), padding=(reach, 0))
    pixels = F.conv2d(pixels, weights.reshape(1, 1, 1, -1), padding=(0, reach))
    return _as_levels(pixels.reshape(images.shape))


def noisy(images: Tensor, noise_std: float = 0.15, *, seed: int = 0) -> Tensor:
    """Returns images with Gaussian noise on each pixel, clipped to valid levels.

    Args:
        noise_std: standard deviation of the noise on the scale where black is 0 and white is 1.
    """
    check_uint8(images)
    require(noise_std >= 0, "noise_std", "0 or more", noise_std)
    noise = torch.randn(images.shape, generator=make_rng(seed))
    return _as_levels(images.float() + 255 * noise_std * noise)


def shifted(images: Tensor, right_px: int = 2, down_px: int = 0) -> Tensor:
    """Returns images moved by whole pixels; what leaves on one side is lost, what enters on the
    other is black.
    """
    check_uint8(images)
    height, width = images.shape[2:]
    require(
        abs(down_px) < height and abs(right_px) < width,
        "right_px, down_px",
        f"less than {width} and {height} pixels",
        (right_px, down_px),
    )
    moved = torch.full_like(images, BORDER)
    target_rows, source_rows = _overlap(height, down_px)
    target_columns, source_columns = _overlap(width, right_px)
    moved[:, :, target_rows, target_columns] = images[:, :, source_rows, source_columns]
    return moved


def low_contrast(images: Tensor, factor: float = 0.6) -> Tensor:
    """Returns images whose distance from black is multiplied by `factor`, from 0 (all black) to 1
    (unchanged).
    """
    check_uint8(images)
    require(0 <= factor <= 1, "factor", "0 to 1", factor)
    return _as_levels(images.float() * factor)


def dropped_modes(
    images: Tensor, labels: Tensor, classes: Sequence[int], num_images: int, *, seed: int = 0
) -> Tensor:
    """Returns `num_images` different images that show none of `classes`.

    Args:
        labels: int64 `[N]`.
        classes: the labels that the generator never draws.

    Raises:
        CourseError: too few images are left.
    """
    check_uint8(images)
    require(len(labels) == len(images), "labels", f"{len(images)}, one an image", len(labels))
    left = (
        (~torch.isin(labels, torch.tensor(list(classes), dtype=labels.dtype))).nonzero().flatten()
    )
    if len(left) < num_images:
        raise CourseError(
            f"num_images: expected at most {len(left)}, the images of the other classes, got"
            f" {num_images}; ask for fewer."
        )
    return images[left[torch.randperm(len(left), generator=make_rng(seed))[:num_images]]]


def memorised(images: Tensor, num_remembered: int, num_images: int, *, seed: int = 0) -> Tensor:
    """Returns exact copies of the first `num_remembered` images; each occurs equally often, or once
    more than others.

    Args:
        images: the training images, in random order.
        num_remembered: how many of them the generator knows.
    """
    check_uint8(images)
    require(
        1 <= num_remembered <= len(images),
        "num_remembered",
        f"1 to {len(images)}, the number of images",
        num_remembered,
    )
    require(num_images >= 1, "num_images", "1 or more", num_images)
    repeated = torch.arange(num_images) % num_remembered
    return images[repeated[torch.randperm(num_images, generator=make_rng(seed))]]


def planted_copies(
    fresh: Tensor,
    train: Tensor,
    share: float = 0.05,
    *,
    noise_std: float = 0.0,
    right_px: int = 0,
    blur_px: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Returns fresh images of which a share has been replaced by copies of different training
    images, in random places.

    Args:
        fresh: honest images, drawn apart from `train`.
        train: what the memoriser remembers, at least as many as it copies.
        share: of the images that are copies, 0 to 1; the number is rounded.
        noise_std, right_px, blur_px: disguise of the copies, as in `noisy`, `shifted` and
            `blurred`.

    Raises:
        CourseError: images of different shapes, a share outside 0 to 1, or too few training images.
    """
    check_uint8(fresh)
    check_uint8(train)
    require(
        fresh.shape[1:] == train.shape[1:],
        "train",
        f"images of shape {list(fresh.shape[1:])} like the fresh ones",
        list(train.shape[1:]),
    )
    require(0 <= share <= 1, "share", "0 to 1", share)
    num_copies = round(share * len(fresh))
    require(num_copies <= len(train), "train", f"at least {num_copies} images to copy", len(train))
    rng = make_rng(seed)
    places = torch.randperm(len(fresh), generator=rng)[:num_copies]
    copies = train[torch.randperm(len(train), generator=rng)[:num_copies]]
    images = fresh.clone()
    images[places] = disguised(
        copies, noise_std=noise_std, right_px=right_px, blur_px=blur_px, seed=seed
    )
    return images


def disguised(
    images: Tensor,
    *,
    noise_std: float = 0.0,
    right_px: int = 0,
    blur_px: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Returns images shifted, then blurred, then with noise: how a memoriser may hide that it
    copies. The defaults hide nothing.
    """
    return noisy(blurred(shifted(images, right_px), blur_px), noise_std, seed=seed)


def _overlap(size: int, offset: int) -> tuple[slice, slice]:
    """Returns where pixels go to and where they come from along one axis."""
    return slice(max(0, offset), size + min(0, offset)), slice(
        max(0, -offset), size - max(0, offset)
    )


def _as_levels(pixels: Tensor) -> Tensor:
    """Returns float pixels (0 to 255) as uint8, rounded and clipped."""
    return pixels.round().clamp(0, 255).to(torch.uint8)
