"""Images that a command line names: those of a file or a folder, or fresh samples of a model."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from course_utils.checkpoint import RECORD, STATE, resolve
from course_utils.data.folder import read_pictures
from course_utils.device import make_rng
from course_utils.errors import CourseError
from course_utils.images import check_uint8, signed_to_uint8

BATCH_IMAGES = 500


def collect_images(source: str, num_images: int, seed: int = 0, image_size: int = 28) -> Tensor:
    """Returns uint8 images `[N, C, H, W]`: the first of a file that `course sample` wrote or of a folder of pictures, or fresh samples of a run.

    Args:
        source: FILE.npz, a run directory, a folder of pictures, or pretrained:FAMILY/DATASET.
        num_images: at most this many of a file or folder, exactly this many of a run.
        seed: of the samples, or of the choice of pictures.
        image_size: pixels a side that the pictures of a folder are resized to.
    """
    folder = Path(source)
    if source.endswith(".npz"):
        return _read_npz(folder)[:num_images]
    if folder.is_dir() and not any((folder / name).exists() for name in (RECORD, STATE)):
        pictures = read_pictures(source, image_size)[2]
        return pictures[torch.randperm(len(pictures), generator=make_rng(seed))[:num_images]]  # in the order of names one class would come first
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
