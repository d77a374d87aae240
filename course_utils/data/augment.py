"""Augmentation of training images on the device, in one batched resampling."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.device import rand

Augmentation = Literal["none", "affine", "flip"]

MAX_ROTATION_DEGREES = 12.0
MAX_SCALE = 0.12  # relative
MAX_SHEAR = 0.12
MAX_SHIFT = 0.08  # of the image's side: 2.2 pixels of 28


def augment(images: Tensor, kind: Augmentation, rng: torch.Generator) -> Tensor:
    """Returns augmented copies of signed images `[B, C, H, W]`, same shape and range; "none"
    returns them as they are.

    Args:
        images: in [-1, 1]; what an affine map moves in from outside is -1, the background of
            digits.
        kind: "affine" rotates, scales, shears and shifts at random; "flip" mirrors half of the
            images left to right.
        rng: source of the randomness, on the images' device.
    """
    if kind == "none":
        return images
    if kind == "flip":
        mirrored = rand((len(images), 1, 1, 1), rng, images.device) < 0.5
        return torch.where(mirrored, images.flip(3), images)
    # uniform in [-1, 1]
    u = 2 * rand((6, len(images)), rng, images.device, batch_axis=1) - 1
    angle = u[0] * math.radians(MAX_ROTATION_DEGREES)
    scale_x, scale_y = 1 + MAX_SCALE * u[1], 1 + MAX_SCALE * u[2]
    cos, sin, shear = angle.cos(), angle.sin(), MAX_SHEAR * u[3]
    row_x = torch.stack([cos * scale_x, (shear - sin) * scale_y, 2 * MAX_SHIFT * u[4]], 1)
    row_y = torch.stack([sin * scale_x, cos * scale_y, 2 * MAX_SHIFT * u[5]], 1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, padding_mode="zeros", align_corners=False) - 1
