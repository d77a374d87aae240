"""The learner's own images: every picture below a folder, cropped to a square, resized and
counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.data.dataset import Dataset

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
MIN_IMAGES = 10


def load_folder(path: str, image_size: int, test_share: float = 0.1, seed: int = 0) -> Dataset:
    """Returns the images below `path` as a dataset; direct sub-folders are the classes, a random
    tenth is the test set.

    Args:
        path: the folder.
        image_size: side of the square images in pixels.
        test_share: share of the images that go to the test set.
        seed: decides which.

    Raises:
        CourseError: no such folder, too few images, or a picture that cannot be read (named in the
            message).
    """
    root, files, images = read_pictures(path, image_size, at_least=MIN_IMAGES)
    groups = [file.relative_to(root).parts[0] if file.parent != root else "." for file in files]
    class_names = tuple(sorted(set(groups)))
    labels = torch.tensor([class_names.index(group) for group in groups])
    order = torch.randperm(len(files), generator=make_rng(seed))
    num_test = max(2, round(test_share * len(files)))
    test, train = order[:num_test], order[num_test:]
    return Dataset(
        name=f"folder:{root.name}",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        class_names=class_names,
        source=(
            f"{len(files)} images in {len(class_names)} class folder(s), resized to {image_size} by"
            f" {image_size} pixels"
        ),
    )


def read_pictures(path: str, image_size: int, at_least: int = 1) -> tuple[Path, list[Path], Tensor]:
    """Returns the folder, its picture files in order, and all pictures as uint8 `[N, C, image_size,
    image_size]`; grey where none has colour.

    Raises:
        CourseError: as `load_folder`, but for fewer than `at_least` pictures.
    """
    if image_size < 4:
        raise CourseError(f"image_size: expected at least 4 pixels, got {image_size}.")
    root = Path(path).expanduser()
    if not root.is_dir():
        raise CourseError(
            f"folder:{path}: there is no such folder. Give the folder that holds your images, such"
            " as folder:/home/me/pictures."
        )
    try:
        files = sorted(
            file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
        )
    except OSError as error:
        raise CourseError(
            f"folder:{path}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    if len(files) < at_least:
        raise CourseError(
            f"folder:{path}: expected at least {at_least} images ({', '.join(sorted(SUFFIXES))}),"
            f" found {len(files)}."
        )
    pictures = [_read_square(file, image_size) for file in files]
    colour = any(picture.shape[0] == 3 for picture in pictures)
    return (
        root,
        files,
        torch.stack([picture.expand(3, -1, -1) if colour else picture for picture in pictures]),
    )


def _read_square(file: Path, image_size: int) -> Tensor:
    """Returns the centre square of a picture as uint8 `[1 or 3, image_size, image_size]`; one
    channel where it has no colour.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            square = ImageOps.fit(
                ImageOps.exif_transpose(picture).convert("RGB"),
                (image_size, image_size),
                Image.Resampling.LANCZOS,
            )
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise CourseError(
            f"{file}: is not a picture that can be read ({error}). Remove it or replace it."
        ) from error
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    has_colour = bool((pixels.amax(0) != pixels.amin(0)).any())
    return pixels if has_colour else pixels[:1]
