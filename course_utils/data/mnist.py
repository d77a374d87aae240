"""MNIST and Fashion-MNIST: downloaded by torchvision, kept in its layout, and checked before a
single pixel is used.

Reading is done here because torchvision's reader does not name the file that is broken, and because
importing torchvision takes longer than everything else that a notebook imports.

Source: Y. LeCun, C. Cortes, C. Burges, the MNIST database; H. Xiao, K. Rasul, R. Vollgraf,
Fashion-MNIST (arXiv:1708.07747).
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.base.files import cache_root, data_root, write_text
from course_utils.data.dataset import DIGIT_NAMES, Dataset

FOLDERS = {"mnist": "MNIST", "fashion": "FashionMNIST"}
CLASS_NAMES = {
    "mnist": DIGIT_NAMES,
    "fashion": (
        "T-shirt",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
DOWNLOAD_TIMEOUT_SECONDS = 10
RETRY_AFTER_SECONDS = 24 * 3600


def raw_folder(name: str) -> Path:
    """Returns the folder in which torchvision keeps the four files of `name`."""
    return data_root() / FOLDERS[name] / "raw"


def on_disk(name: str) -> bool:
    """Returns whether any of the four files is there; a half set counts, so that it is reported and
    not replaced in silence.
    """
    return any((raw_folder(name) / file).exists() for file in FILES)


def read_idx(path: Path, num_dims: int) -> Tensor:
    """Returns the uint8 tensor in an IDX file.

    Raises:
        CourseError: the file is missing, unreadable, of another kind, truncated or too long; the
            message names it and the remedy.
    """
    remedy = f"Delete {path.parent} and load the dataset again, or copy a good file there."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CourseError(f"cannot read {path}: {error.strerror}. {remedy}") from error
    header_size = 4 + 4 * num_dims
    expected_magic = bytes([0, 0, 8, num_dims])  # 8: unsigned bytes
    if content[:4] != expected_magic:
        raise CourseError(
            f"{path}: expected the magic number {expected_magic.hex()}, got"
            f" {content[:4].hex() or 'an empty file'}. {remedy}"
        )
    if len(content) < header_size:
        raise CourseError(f"{path}: the header is cut off after {len(content)} bytes. {remedy}")
    shape = np.frombuffer(content, ">i4", num_dims, offset=4).tolist()
    expected_size = header_size + int(np.prod(shape, dtype=np.int64))
    if min(shape) < 0 or len(content) != expected_size:
        raise CourseError(
            f"{path}: expected {expected_size} bytes for shape {shape}, got {len(content)}."
            f" {remedy}"
        )
    return torch.from_numpy(
        np.frombuffer(content, np.uint8, offset=header_size).reshape(shape).copy()
    )


def read_folder(name: str, folder: Path) -> Dataset:
    """Returns the dataset from its four files in `folder`, all checked."""
    images, labels, test_images, test_labels = (
        read_idx(folder / file, num_dims)
        for file, num_dims in zip(FILES, (3, 1, 3, 1), strict=True)
    )
    for file, tensor in ((FILES[0], images), (FILES[2], test_images)):
        if tensor.shape[1:] != (28, 28):
            raise CourseError(
                f"{folder / file}: expected images of 28 by 28 pixels, got"
                f" {list(tensor.shape[1:])}. Another dataset's file?"
            )
    return Dataset(
        name=name,
        train_images=images[:, None],
        train_labels=labels.long(),
        test_images=test_images[:, None],
        test_labels=test_labels.long(),
        class_names=CLASS_NAMES[name],
        source=f"{FOLDERS[name]} files on disk",
    )


def load_idx(name: str) -> Dataset:
    """Returns `mnist` or `fashion` from the data folder, downloading it first where it is not
    there.

    Raises:
        CourseError: broken files, or no files and no way to get them.
    """
    if not on_disk(name):
        download(name)
    return read_folder(name, raw_folder(name))


def failure_note(name: str) -> Path:
    """Returns the small file that remembers a failed download, so that `auto` does not wait for a
    dead network at each start.
    """
    return cache_root() / f"{name}-download-failed.txt"


def download_failed_lately(name: str) -> bool:
    """Returns whether a download failed within the last day."""
    note = failure_note(name)
    return note.exists() and time.time() - note.stat().st_mtime < RETRY_AFTER_SECONDS


def download(name: str) -> None:
    """Fetches the four files through torchvision (with its checksums) beside their folder, checks
    them, then moves them in place.

    Raises:
        CourseError: no network, `COURSE_OFFLINE` is set, or what came is not the dataset. Nothing
            half-downloaded stays.
    """
    target = raw_folder(name)
    by_hand = (
        f"Copy its four files to {target}, set COURSE_DATA to a folder that has them, or use"
        " dataset 'strokes', which needs no download."
    )
    if os.environ.get("COURSE_OFFLINE") == "1":
        raise CourseError(
            f"{name} is not in {target} and COURSE_OFFLINE=1 forbids downloads. {by_hand}"
        )
    try:
        data_root().mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", suffix=".partial", dir=data_root()))
    except OSError as error:
        raise CourseError(
            f"cannot write to {data_root()}: {error.strerror}. Set COURSE_DATA to a folder that you"
            " may write to."
        ) from error
    old_timeout = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
        from torchvision import datasets

        getattr(datasets, FOLDERS[name])(root=str(folder), download=True)
        raw = folder / FOLDERS[name] / "raw"
        read_folder(name, raw)
        target.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            os.replace(raw / file, target / file)
        failure_note(name).unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        write_text(failure_note(name), f"{error}\n")
        reason = str(error).splitlines()[0].rstrip(":")
        raise CourseError(
            f"{name} could not be downloaded ({reason}; all of it in {failure_note(name)})."
            f" {by_hand}"
        ) from error
    finally:
        socket.setdefaulttimeout(old_timeout)
        shutil.rmtree(folder, ignore_errors=True)
