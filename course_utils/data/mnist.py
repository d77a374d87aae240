"""MNIST and Fashion-MNIST: downloaded by torchvision, kept in its layout, and checked before a
single pixel is used.

Reading is done here because torchvision's reader does not name the file that is broken, and because
importing torchvision takes longer than everything else that a notebook imports. Files that were
brought by hand are taken as they come: packed by gzip, with dots in their names, in folders of
their own, or beside the folder that torchvision uses. They are never changed.

Source: Y. LeCun, C. Cortes, C. Burges, the MNIST database; H. Xiao, K. Rasul, R. Vollgraf,
Fashion-MNIST (arXiv:1708.07747).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import shutil
import socket
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.base.files import cache_root, course_root, data_root, write_text
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
# The same four names as other sites, programs and hands write them: "train-images.idx3-ubyte",
# "train_images.gz". What a set of another name has before it, "emnist-letters-", does not match.
FILE_PATTERN = re.compile(
    r"(train|t10k|test)[-_. ]?(image|label)s?([-_. ]?idx[13])?([-_. ]?ubyte)?(\.(idx|bin))?(\.gz)?",
    re.IGNORECASE,
)
OTHER_FORMS = {
    *(".csv", ".parquet", ".npz", ".npy", ".pkl", ".mat", ".arff", ".pt"),
    *(".zip", ".tar", ".7z", ".bz2", ".xz"),
}
# Files that lie in a folder of another name, or have something behind their names
NEAR_PATTERN = re.compile(
    r"(train|t10k)[-_. ]?images\b[^/]*$|processed/(training|test)\.pt$", re.IGNORECASE
)
NEAR_DEPTH, NEAR_FOLDERS = 3, 1000  # how far below the data folder they are looked for
# First bytes of what is no IDX file, and what it is
SIGNATURES = {
    b"PK": "a zip archive: unpack it",
    b"\xfd7zXZ": "packed by xz: unpack it",
    b"BZh": "packed by bzip2: unpack it",
    b"\x1f\x8b": "packed by gzip several times: unpack it",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file: run git lfs pull",
}
FULL_SIZE = (60_000, 10_000)
MNIST_SHA256 = "1e35582d42a90940c55b956deb61875c020b567ed20e3c5b174f52bf7809ed9b"  # Dataset.sha256
FIRST_LABELS = {"mnist": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], "fashion": [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]}
DOWNLOAD_TIMEOUT_SECONDS = 10
RETRY_AFTER_SECONDS = 24 * 3600


def raw_folder(name: str) -> Path:
    """Returns the folder in which torchvision keeps the four files of `name`."""
    return data_root() / FOLDERS[name] / "raw"


def _places(name: str) -> list[Path]:
    """Returns the folders that may hold the files, the usual one first. Files directly in the data
    folder are MNIST's: Fashion-MNIST's have the same names.
    """
    places = [raw_folder(name), raw_folder(name).parent]
    for folder in _names_in(data_root()):
        if re.sub("[^a-z]", "", folder.lower()) == FOLDERS[name].lower():  # "fashion-mnist"
            places += [data_root() / folder / "raw", data_root() / folder]
    return places + [data_root() / "raw", data_root()] if name == "mnist" else places


def _names_in(folder: Path) -> list[str]:
    """Returns the sorted names in a folder; none where there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except OSError:  # missing, or closed to us: then nothing can be read from it either
        return []


def find_files(name: str) -> dict[str, Path]:
    """Returns the files of `name` that are there, by their published names; see `_places`."""
    found: dict[str, Path] = {}
    for folder in _places(name):
        found = {**_files_in(folder), **found}
    return found


def _files_in(folder: Path) -> dict[str, Path]:
    """Returns the files of a set in a folder, or in a folder for each as Kaggle and 7-Zip make."""
    found: dict[str, Path] = {}
    # the exact name counts most, then a file that need not be unpacked
    names = sorted(_names_in(folder), key=lambda n: (n not in FILES, n.lower().endswith(".gz"), n))
    for name in names:
        match = FILE_PATTERN.fullmatch(name)
        if not match:
            continue
        split = "train" if match[1].lower() == "train" else "t10k"
        kind = "images-idx3" if match[2].lower() == "image" else "labels-idx1"
        path = folder / name
        if path.is_dir():
            inside = [n for n in _names_in(path) if FILE_PATTERN.fullmatch(n)]
            if len(inside) == 1:
                path = path / inside[0]
            elif name not in FILES:
                continue
        elif match[3] is None and match[4] is None and not _starts_like_idx(path):
            continue  # "train_labels" may be anything
        found.setdefault(f"{split}-{kind}-ubyte", path)
    return found


def _starts_like_idx(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(3) in (b"\x00\x00\x08", b"\x1f\x8b\x08")
    except OSError:
        return False


def other_forms(name: str) -> str:
    """Returns in words what lies near that is no IDX file of `name`, or of another set; "" where
    there is nothing.
    """
    if data_root().is_file():
        return f"COURSE_DATA is a file: {data_root()}; give the folder that holds the data"
    for folder in _places(name):
        for file in _names_in(folder):
            if not (folder / file).is_file():
                continue
            place = f"{folder / file} lies there, "
            if re.search("[ekq]mnist", file, re.IGNORECASE):
                return place + f"but its name is that of another set than {FOLDERS[name]}"
            is_likely = re.search("mnist|train|test|archive", file, re.IGNORECASE)
            if is_likely and Path(file).suffix.lower() in OTHER_FORMS:
                return place + "but the course reads the four IDX files"
    return _elsewhere(name)


def _elsewhere(name: str) -> str:
    """Returns in words where a file of `name` lies that is not found by its place and name."""
    root = data_root()
    for number, (folder, inner, files) in enumerate(os.walk(root)):
        below = Path(folder).relative_to(root)
        depth = len(below.parts)
        inner[:] = sorted(n for n in inner if depth < NEAR_DEPTH and not n.startswith("."))
        for file in sorted(files):
            place = (below / file).as_posix()
            is_fashion = "fashion" in place.lower()
            is_other = is_fashion != (name == "fashion") or re.search("[ekq]mnist", place, re.I)
            if is_other or not NEAR_PATTERN.search(place):
                continue
            if Path(file).suffix.lower() in OTHER_FORMS:
                return f"found {root / place}, but the course reads the four IDX files"
            return (
                f"found {root / place}; move the four files to {raw_folder(name)}, called"
                f" {FILES[0]} and so on"
            )
        if number >= NEAR_FOLDERS:
            break
    return ""


def on_disk(name: str) -> bool:
    """Returns whether any of the four files is there; a half set counts, so that it is reported and
    not replaced in silence.
    """
    return bool(find_files(name))


def _remedy(path: Path) -> str:
    """Returns what to do about a broken file. Nobody is told to delete what may be the only
    copy.
    """
    own_folder = course_root() / "data"
    downloaded = os.environ.get("COURSE_OFFLINE") != "1" and own_folder in path.parents
    aside = f", or move {path.parent} elsewhere and load the dataset again" if downloaded else ""
    packed = path.with_name(f"{path.name}.gz")
    beside = (
        f" {packed.name} lies beside it and is read once {path.name} has another name."
        if packed.is_file()
        else ""
    )
    return f"Put a good copy of {path.name} in its place{aside}.{beside}"


def read_idx(path: Path, num_dims: int) -> Tensor:
    """Returns the uint8 tensor in an IDX file, which may be packed by gzip.

    Raises:
        CourseError: the file is missing, unreadable, of another kind, truncated or too long; the
            message names it and the remedy.
    """
    remedy = _remedy(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CourseError(f"cannot read {path}: {error.strerror}. {remedy}") from error
    for _ in range(2):  # some are packed twice
        if content[:2] != b"\x1f\x8b":
            break
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise CourseError(f"{path}: cannot be unpacked ({error}). {remedy}") from error
    header_size = 4 + 4 * num_dims
    expected_magic = bytes([0, 0, 8, num_dims])  # 8: unsigned bytes
    if content[:4] != expected_magic:
        what = _recognised(content)
        raise CourseError(
            f"{path}: expected the magic number {expected_magic.hex()}, got"
            f" {content[:4].hex() or 'an empty file'}{what}. {remedy}"
        )
    if len(content) < header_size:
        raise CourseError(f"{path}: the header is cut off after {len(content)} bytes. {remedy}")
    shape = np.frombuffer(content, ">i4", num_dims, offset=4).tolist()
    if min(shape) < 0:
        raise CourseError(f"{path}: the header gives the impossible shape {shape}. {remedy}")
    expected_size = header_size + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected_size:
        raise CourseError(
            f"{path}: expected {expected_size} bytes for shape {shape}, got {len(content)}."
            f" {remedy}"
        )
    return torch.from_numpy(
        np.frombuffer(content, np.uint8, offset=header_size).reshape(shape).copy()
    )


def _recognised(content: bytes) -> str:
    """Returns what a file is that is no IDX file of the expected kind, where it is plain."""
    for start, what in SIGNATURES.items():
        if content.startswith(start):
            return f" ({what})"
    if content[:3] == bytes([0, 0, 8]):
        return " (labels in the place of images, or the other way round)"
    if content.lstrip()[:1] == b"<":
        return " (a web page that was saved in place of the file)"
    return ""


def read_files(name: str, files: dict[str, Path]) -> Dataset:
    """Returns the dataset from its four files, all checked.

    Args:
        name: "mnist" or "fashion".
        files: by their published names, as `find_files` returns them.

    Raises:
        CourseError: one is missing or broken, or they are those of another set.
    """
    places = [files.get(file, raw_folder(name) / file) for file in FILES]
    images, labels, test_images, test_labels = (
        read_idx(path, num_dims) for path, num_dims in zip(places, (3, 1, 3, 1), strict=True)
    )
    for path, tensor in ((places[0], images), (places[2], test_images)):
        if tensor.shape[1:] != (28, 28):
            raise CourseError(
                f"{path}: expected images of 28 by 28 pixels, got"
                f" {list(tensor.shape[1:])}. Another dataset's file?"
            )
    for split, split_labels in (("train", labels), ("test", test_labels)):
        if len(split_labels) and split_labels.max() > 9:
            raise CourseError(
                f"{name}: {split} labels go up to {split_labels.max()}, expected 0 to 9. EMNIST has"
                f" such labels (letters: 1 to 26); {_move_advice(name, places)}"
            )
    sizes = len(images), len(test_images)
    part = (
        f", {sizes[0]:,} of {FULL_SIZE[0]:,} images: a part of {FOLDERS[name]} or other images"
        if sizes != FULL_SIZE
        else ""
    )
    dataset = Dataset(
        name=name,
        train_images=images[:, None],
        train_labels=labels.long(),
        test_images=test_images[:, None],
        test_labels=test_labels.long(),
        class_names=CLASS_NAMES[name],
        source=f"{FOLDERS[name]} files on disk{part}",
    )
    _check_identity(dataset, places)
    return dataset


def _check_identity(dataset: Dataset, places: list[Path]) -> None:
    """Raises CourseError where the files are another set under this one's names."""
    name, sizes = dataset.name, (len(dataset.train_images), len(dataset.test_images))
    first = dataset.train_labels[:10].tolist()
    other = "fashion" if name == "mnist" else "mnist"
    if first == FIRST_LABELS[other] and (name == "mnist" or sizes == FULL_SIZE):
        raise CourseError(
            f"{name}: the files in {places[0].parent} are those of {FOLDERS[other]}. Load dataset"
            f" {other!r} after moving the four to {raw_folder(other)}."
        )
    is_published = (
        dataset.sha256 == MNIST_SHA256 if name == "mnist" else first == FIRST_LABELS["fashion"]
    )
    if (sizes == FULL_SIZE and not is_published) or sizes[0] > FULL_SIZE[0]:
        raise CourseError(
            f"{name}: the files in {places[0].parent} are not the published {FOLDERS[name]}:"
            f" {sizes[0]:,} and {sizes[1]:,} images, but other pixels or labels. They may be KMNIST"
            f" or EMNIST, or changed; {_move_advice(name, places)}"
        )


def _move_advice(name: str, places: list[Path]) -> str:
    return (
        f"move them out of {places[0].parent} and put the four files of {FOLDERS[name]} there."
        " Other images can be loaded as pictures (folder:PATH)."
    )


def read_folder(name: str, folder: Path) -> Dataset:
    """Returns the dataset from its four files in `folder`, all checked."""
    return read_files(name, {file: folder / file for file in FILES} | _files_in(folder))


def load_idx(name: str) -> Dataset:
    """Returns `mnist` or `fashion` from the data folder, downloading it first where it is not
    there.

    Raises:
        CourseError: broken files, or no files and no way to get them.
    """
    if not on_disk(name):
        download(name)
    return read_files(name, find_files(name))


def failure_note(name: str) -> Path:
    """Returns the small file that remembers a failed download, so that `auto` does not wait for a
    dead network at each start.
    """
    return cache_root() / f"{name}-download-failed.txt"


def download_failed_lately(name: str) -> bool:
    """Returns whether a download failed within the last day."""
    try:
        return time.time() - failure_note(name).stat().st_mtime < RETRY_AFTER_SECONDS
    except OSError:  # no note, or a cache that cannot be read
        return False


def download(name: str) -> None:
    """Fetches the four files through torchvision (with its checksums) beside their folder, checks
    them, then moves them in place.

    Raises:
        CourseError: no network, `COURSE_OFFLINE` is set, or what came is not the dataset. Nothing
            half-downloaded stays.
    """
    target = raw_folder(name)
    near = other_forms(name)
    by_hand = (
        f"Copy its four files ({FILES[0]} and so on, or *.gz) to {target}, set COURSE_DATA to a"
        " folder that has them, or use dataset 'strokes', which needs no download."
    )
    if os.environ.get("COURSE_OFFLINE") == "1":
        raise CourseError(
            f"{name} is not in {target} and COURSE_OFFLINE=1 forbids downloads"
            f"{'; ' + near if near else ''}. {by_hand}"
        )
    try:
        data_root().mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", suffix=".partial", dir=data_root()))
    except OSError as error:
        raise CourseError(
            f"cannot write to {data_root()}: {near or error.strerror}. Set COURSE_DATA to a folder"
            " that you may write to."
        ) from error
    old_timeout = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
        from torchvision import datasets

        with contextlib.redirect_stdout(io.StringIO()):  # a line for each address it tries
            getattr(datasets, FOLDERS[name])(root=str(folder), download=True)
        raw = folder / FOLDERS[name] / "raw"
        read_folder(name, raw)
        target.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            os.replace(raw / file, target / file)
        _remember_failure(name, None)
    except Exception as error:  # a proxy, a login page or a cut line can end in any class
        _remember_failure(name, error)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CourseError(
            f"{name} could not be downloaded ({lines[0].rstrip(':')}){'; ' + near if near else ''}."
            f" {by_hand}"
        ) from error
    finally:
        socket.setdefaulttimeout(old_timeout)
        shutil.rmtree(folder, ignore_errors=True)


def _remember_failure(name: str, error: Exception | None) -> None:
    """Writes the note of a failed download, or removes it where there was none. A cache that cannot
    be written costs a wait at the next start and nothing else.
    """
    note = failure_note(name)
    with contextlib.suppress(CourseError, OSError):
        if error is None:
            note.unlink(missing_ok=True)
        else:
            write_text(note, f"{type(error).__name__}: {error}\n")
