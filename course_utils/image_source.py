"""Images that a command line names: those of a file, or fresh samples of a model."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from course_utils.checkpoint import resolve
from course_utils.device import make_rng
from course_utils.errors import CourseError
from course_utils.images import check_uint8, signed_to_uint8

BATCH_IMAGES = 500


def collect_images(source: str, num_images: int, seed: int = 0) -> Tensor:
    """Returns uint8 images `[N, C, H, W]`: the first of a file that `course sample` wrote, or fresh samples of a run.

    Args:
        source: FILE.npz, a run directory, or pretrained:FAMILY/DATASET.
        num_images: at most this many of a file, exactly this many of a run.
        seed: of the samples.
    """
    if source.endswith(".npz"):
        return _read_npz(Path(source))[:num_images]
    model = resolve(source).model
    rng = make_rng(seed)
    sizes = [len(piece) for piece in torch.arange(num_images).split(BATCH_IMAGES)]
    return torch.cat([signed_to_uint8(model.sample(size, rng=rng)).cpu() for size in sizes])


def _read_npz(path: Path) -> Tensor:
    try:
        with np.load(path, allow_pickle=False) as archive:
            images = archive["images"]
    except (OSError, ValueError, KeyError, IndexError, TypeError, BadZipFile) as error:
        raise CourseError(f"{path}: expected a file with the array `images` that `course sample --out FILE.npz` writes; {error}.") from error
    if images.dtype != np.uint8:
        raise CourseError(f"{path}: expected uint8 images (0 to 255), got {images.dtype}; signed_to_uint8 converts from [-1, 1].")
    images = torch.from_numpy(images)
    check_uint8(images)
    return images
