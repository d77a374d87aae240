"""The learner's own images: every picture below a folder, cropped to a square, resized and
counted.

What is loaded follows from the pictures' bytes alone. Their order and the test set are by hash, so
a folder that was moved, renamed or unpacked on another system is the same dataset.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.data.captions import captions_of_files, read_captions
from course_utils.data.dataset import SMALLEST, Dataset
from course_utils.data.decode import (
    Square,
    decode_square,
    is_picture,
    printable_path,
    scaled_to_bytes,
)

MIN_IMAGES = 10
SIDES = (4, 512)  # pixels, the smallest and the largest that own pictures can have
TEST_SHARE = 0.1
MIN_TEST_IMAGES = 10  # what a measurement needs; a third of the images at most
# What systems and programs leave in folders; names that start with a dot are passed over as well.
SYSTEM_NAMES = {
    "__macosx",
    "$recycle.bin",
    "#recycle",
    "recycler",
    "system volume information",
    "lost+found",
    "@eadir",
    "network trash folder",
    "temporary items",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
}
SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "eval": "val",
    "evaluation": "val",
    "dev": "val",
}
_PARTS = "|".join(sorted(SPLITS, key=len, reverse=True))
# "train_images", "test set": the parts of a split by a longer name
SPLIT_PATTERN = re.compile(rf"({_PARTS})([-_. ]?(set|data|images?|imgs|pictures|split))?", re.I)
# "train2017", "pets_test": only said, as classes may be called so
SPLIT_LIKE = re.compile(rf"(?<![a-z])({_PARTS})(?![a-z])", re.I)
# Endings of pictures that Pillow may not read; of other files nobody asks for a conversion.
CONVERTIBLE = {
    *(".heic", ".heif", ".avif", ".webp", ".jxl", ".svg", ".pdf", ".eps", ".ps", ".wmf", ".emf"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".exr", ".hdr", ".dcm"),
}
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}
MAX_NAMES = 5  # classes or endings in one line


@dataclass
class _Found:
    """The picture files below a folder, each with the folders on the way to it, and what was left
    out.
    """

    files: list[tuple[tuple[str, ...], Path]] = field(default_factory=list)
    endings: Counter = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def left_out(self) -> str:
        """Returns what was left out in words; "" where nothing was."""
        counted = self.endings.most_common(MAX_NAMES)
        words = [f"{count:,} {ending}" for ending, count in counted]
        num_others = sum(self.endings.values()) - sum(count for _, count in counted)
        words += [f"{num_others:,} others"] if num_others else []
        words += (
            [f"{len(self.broken)} broken link(s) such as {self.broken[0]}"] if self.broken else []
        )
        remedy = "; convert them to PNG or JPEG" if CONVERTIBLE & set(self.endings) else ""
        return f"left out: {', '.join(words)}{remedy}" if words else ""


_Files = Sequence[tuple[tuple[str, ...], Path]]


class Pictures(NamedTuple):
    """The pictures below a folder.

    Attributes:
        root: the folder, absolute.
        files: in the order of `images`, which follows from their content alone.
        images: uint8 `[N, C, S, S]`; one channel where none has colour.
        notes: what was done to some of them and what was left out, in words.
    """

    root: Path
    files: list[Path]
    images: Tensor
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Labelled:
    """A picture file with the name of its class ("" directly in the folder) and the split that its
    folder gives ("" where none does).
    """

    file: Path
    group: str
    split: str = ""


def load_folder(path: str, image_size: int) -> Dataset:
    """Returns the images below `path` as a dataset; direct sub-folders are the classes.

    Folders named train and test (or val, in any case and in their usual variants) are the split,
    with the classes inside; other folders beside them are left out. Otherwise a tenth is the test
    set, but at least 10 images where there are 30: those with the smallest hashes, and copies of a
    file on one side. A file `captions.csv` in the folder gives each picture a caption; see
    `read_captions`.

    Args:
        path: the folder.
        image_size: side of the square images in pixels.

    Raises:
        CourseError: no such folder, too few images, or a picture that cannot be read (named in the
            message).
    """
    root, found = _search(path, image_size, MIN_IMAGES)
    labelled, notes = _layout(found.files, path)
    _check_number(path, len(labelled), found, MIN_IMAGES)
    captions = _captions(root, labelled, found)
    squares = _decode_all([item.file for item in labelled], image_size)
    groups = sorted({item.group for item in labelled})
    rows = [
        (square.sha256, groups.index(item.group), item.split, caption, square)
        for item, caption, square in zip(labelled, captions, squares)
    ]
    rows.sort(key=lambda row: row[:4])
    hashes, labels, splits, captions, squares = (list(column) for column in zip(*rows))
    identity = "".join(f"{s} {label} {h}\n" for h, label, s in sorted(zip(hashes, labels, splits)))
    # without captions as it always was, so that runs on such pictures are found again
    identity += "".join(f"{caption}\n" for caption in captions if caption)
    if "test" in splits:
        is_test = np.array([split == "test" for split in splits])
        notes += _leaks(hashes, is_test)
    else:
        is_test, note = _smallest_hashes(hashes)
        notes += note
    arrays, remarks = _remarks(squares, found)
    images, targets = _stacked(arrays, image_size), torch.tensor(labels)
    test = torch.from_numpy(is_test)
    names = _class_names(groups, root)
    listed = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    parts = [
        f"{len(images):,} images of {len(names)} class{'es' if len(names) > 1 else ''} ({listed}),"
        f" resized to {image_size} by {image_size} pixels",
        *notes,
        *_few(int((~test).sum())),
        *_only_in_test(names, targets, test),
        *remarks,
    ]
    return Dataset(
        name=f"folder:{printable_path(root.name or str(root))}",
        train_images=images[~test],
        train_labels=targets[~test],
        test_images=images[test],
        test_labels=targets[test],
        class_names=names,
        source="; ".join(parts),
        train_captions=_chosen(captions, ~is_test),
        test_captions=_chosen(captions, is_test),
        folder=str(root),
        content_id=hashlib.sha256(identity.encode()).hexdigest()[:12],
    )


def _captions(root: Path, labelled: list[_Labelled], found: _Found) -> list[str]:
    """Returns the caption of each picture, from the folder's `captions.csv`; "" for all where there
    is none.
    """
    captions = read_captions(root)
    if captions is None:
        return [""] * len(labelled)
    found.endings[".csv"] -= 1  # it is used, so it is not left out
    found.endings += Counter()  # drops a count of 0
    files = [item.file for item in labelled]
    return list(captions_of_files(captions, root, files, [file for _, file in found.files]))


def _chosen(captions: list[str], chosen: np.ndarray) -> tuple[str, ...]:
    """Returns the captions of the chosen pictures; none where no picture has one."""
    return tuple(text for text, is_chosen in zip(captions, chosen) if is_chosen and text)


def read_pictures(path: str, image_size: int, at_least: int = 1) -> Pictures:
    """Returns all pictures below a folder, whatever their classes.

    Raises:
        CourseError: as `load_folder`, but for fewer than `at_least` pictures.
    """
    root, found = _search(path, image_size, at_least)
    files = [file for _, file in found.files]
    pairs = sorted(
        zip(_decode_all(files, image_size), files), key=lambda pair: (pair[0].sha256, pair[1])
    )
    arrays, remarks = _remarks([square for square, _ in pairs], found)
    return Pictures(root, [file for _, file in pairs], _stacked(arrays, image_size), tuple(remarks))


# Finding the files


def _search(path: str, image_size: int, at_least: int) -> tuple[Path, _Found]:
    """Returns the folder and its picture files."""
    if not SIDES[0] <= image_size <= SIDES[1]:
        raise CourseError(
            f"image_size: expected at least {SIDES[0]} pixels and at most {SIDES[1]}, got"
            f" {image_size}."
        )
    root = _root(path)
    found = _find(root)
    _check_number(path, len(found.files), found, at_least)
    return root, found


def _check_number(path: str, number: int, found: _Found, at_least: int) -> None:
    if number >= at_least:
        return
    left_out = found.left_out()
    remedy = ""
    if left_out and "; convert" not in left_out:
        remedy = "; convert them to PNG or JPEG"
    if ARCHIVES & set(found.endings):
        remedy += ", and unpack archives"
    raise CourseError(
        f"folder:{path}: expected at least {at_least} images (.png, .jpg and all others that Pillow"
        f" reads), found {number}{'; ' + left_out if left_out else ''}{remedy}."
    )


def _root(path: str) -> Path:
    """Returns the folder, absolute, links resolved."""
    example = "Give the folder that holds your images, such as folder:/home/me/pictures."
    if not path.strip():
        raise CourseError(f"folder: expected a path after the colon, got nothing. {example}")
    try:
        root = Path(path).expanduser().resolve()
        if root.is_dir():
            return root
        is_file = root.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        # no permission on the way, a null byte, a loop of links, an unknown ~user
        raise CourseError(f"folder:{path}: cannot be read ({error}). {example}") from error
    if is_file:
        what = "unpack it and give" if root.suffix.lower() in ARCHIVES else "give"
        raise CourseError(
            f"folder:{path}: expected a folder, got a file; {what} the folder of the pictures."
        )
    hint = ""
    if path.strip()[0] in "'\"" or path.strip()[-1] in "'\"":
        hint = " Leave out the quotation marks."
    elif "://" in path:
        hint = " Give a plain path in place of an address."
    elif "\\" in path and os.sep == "/":
        hint = " On this system the parts of a path are joined by /."
    raise CourseError(
        f"folder:{path}: there is no such folder (looked for {printable_path(root)}).{hint}"
        f" {example}"
    )


def _is_system_name(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def _find(root: Path) -> _Found:
    """Returns the pictures below `root`, each file once. Links are followed after everything else,
    so that of a picture with a link to it the place of the picture itself counts.
    """
    found = _Found()
    folders: list[tuple[tuple[str, ...], str]] = [((), str(root))]
    links: list[tuple[tuple[str, ...], str]] = []
    seen: set[str] = set()
    while folders or links:
        parts, place = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(place)
        if real in seen:
            continue
        if not os.path.isdir(place):
            if os.path.exists(place):
                seen.add(real)
                _take(found, parts[:-1], Path(place))
            else:
                found.broken.append(printable_path(os.path.basename(place)))
            continue
        seen.add(real)
        for entry in _entries(place, root):
            if _is_system_name(entry.name):
                continue
            if entry.is_symlink():
                links.append(((*parts, entry.name), entry.path))
            elif entry.is_dir():
                folders.append(((*parts, entry.name), entry.path))
            elif os.path.join(real, entry.name) not in seen:
                seen.add(os.path.join(real, entry.name))
                _take(found, parts, Path(entry.path))
    return found


def _entries(place: str, root: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(place) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise CourseError(
            f"folder:{printable_path(root)}: {printable_path(place)} cannot be read"
            f" ({error.strerror}). Check its permissions."
        ) from error


def _take(found: _Found, parts: tuple[str, ...], file: Path) -> None:
    """Adds a file to the pictures, or counts it among those left out."""
    if file.is_file() and is_picture(file):
        found.files.append((parts, file))
        return
    ending = file.suffix.lower()
    found.endings[printable_path(ending) if 1 < len(ending) <= 10 else "without ending"] += 1


# Classes and splits


def _layout(files: _Files, path: str) -> tuple[list[_Labelled], list[str]]:
    """Returns the files with class and split, and what was decided, in words."""
    # an archive often unpacks to one folder around train and test
    if (inner := _inside(files)) and (_is_split(inner) or _is_only_part(inner)):
        files = inner
    if _is_split(files):
        return _given_split(files, path)
    notes = []
    if _is_only_part(files):
        other = "train" if _split_name(files[0][0][0]) != "train" else "test"
        part = printable_path(files[0][0][0])
        notes.append(f"no {other} folder: the test set is drawn from {part}")
        files = _inside(files)
    labelled = [_Labelled(file, _name(parts[0]) if parts else "") for parts, file in files]
    num_flat = sum(item.group == "" for item in labelled)
    if 0 < num_flat < len(labelled):
        notes.append(f"the {num_flat:,} directly in the folder are a class of their own")
    return labelled, notes + _split_like(files)


def _inside(files: _Files) -> _Files:
    """Returns the files as seen from the one folder that holds them all; [] where none does."""
    is_one = len({parts[:1] for parts, _ in files}) == 1 and files[0][0]
    return [(parts[1:], file) for parts, file in files] if is_one else []


def _split_name(folder: str) -> str | None:
    match = SPLIT_PATTERN.fullmatch(folder)
    return SPLITS[match[1].lower()] if match else None


def _is_split(files: _Files) -> bool:
    """Returns whether there are a train folder and one of test and val."""
    splits = {_split_name(parts[0]) for parts, _ in files if parts}
    return "train" in splits and not splits.isdisjoint(("test", "val"))


def _is_only_part(files: _Files) -> bool:
    """Returns whether all lies in one part of a split, such as train, with classes inside."""
    inner = _inside(files)
    return any(parts for parts, _ in inner) and _split_name(files[0][0][0]) is not None


def _split_like(files: _Files) -> list[str]:
    """Returns the remark that classes, or folders in all of them, are called like a split."""
    for depth, taken in ((0, "taken for classes"), (1, "inside the classes not used as a split")):
        names = {parts[depth] for parts, _ in files if len(parts) > depth}
        kinds = {name: SPLIT_LIKE.search(name) for name in names}
        listed = sorted(printable_path(name) for name, match in kinds.items() if match)
        if len({SPLITS[match[1].lower()] for match in kinds.values() if match}) > 1:
            where = "rename them to" if depth == 0 else "put the classes into folders"
            return [
                f"{', '.join(listed[:MAX_NAMES])} {taken}; {where} train and test to use them as"
                " the split"
            ]
    parts_inside = {parts[:2] for parts, _ in files if len(parts) > 1 and _split_name(parts[0])}
    if len(parts_inside) > 1:
        part = printable_path(min(parts_inside)[0])
        return [f"{part}/ taken for one class; to use the folders in it, leave only {part}/ here"]
    return []


def _given_split(files: _Files, path: str) -> tuple[list[_Labelled], list[str]]:
    """Returns the pictures of a train and a test folder with their classes. Of test and val, test
    is taken, unless its pictures have no classes as in a competition.
    """
    places: dict[str, list[_Labelled]] = {}
    folders: dict[str, set[str]] = {}
    strays: Counter = Counter()
    for parts, file in files:
        split = _split_name(parts[0]) if parts else ""
        if split is None:
            strays[printable_path(parts[0])] += 1
            continue
        group = _name(parts[1]) if len(parts) > 1 else ""
        places.setdefault(split, []).append(_Labelled(file, group, split))
        folders.setdefault(split, set()).update(f"{printable_path(name)}/" for name in parts[:1])
    names = {split: " and ".join(sorted(found)) for split, found in folders.items()}
    train = places.pop("train")
    classes = {item.group for item in train}
    beside = " and ".join(sorted(set(folders) - {""}, key=("train", "test", "val").index))
    notes = [
        f"{name}/ beside {beside} left out ({count:,} picture{'s' if count > 1 else ''})"
        for name, count in sorted(strays.items())
    ]
    for split in ("test", "val"):
        usable = [
            replace(item, split="test")
            for item in places.get(split, ())
            if item.group or "" in classes
        ]
        if usable:
            num_unusable = len(places.pop(split)) - len(usable)
            _check_part(path, "training", len(train), f"to {names['train']}")
            _check_part(path, "test", len(usable), f"to {names[split]} or remove it")
            notes.append(f"train from {names['train']}, test from {names[split]}")
            if num_unusable:
                notes.append(f"{num_unusable:,} in no class folder of {names[split]} left out")
            break
    else:
        train, usable = [replace(item, split="") for item in train], []
        notes.append(f"test taken from {names['train']} as no other folder has classes")
    notes += [
        f"{len(left):,} {'in ' + names[split] if split else 'in no folder'} left out"
        for split, left in places.items()
    ]
    return train + usable, notes


def _check_part(path: str, what: str, number: int, where: str) -> None:
    if number < 2:
        raise CourseError(
            f"folder:{path}: {number} {what} image; expected at least 2: add pictures {where}."
        )


def _few(num_train: int) -> list[str]:
    return [f"ONLY {num_train} TRAINING PICTURES"] if num_train < MIN_IMAGES else []


def _name(folder: str) -> str:
    """Returns a folder's name as it can be printed; one form for each, as a Mac stores accents
    otherwise than other systems.
    """
    return unicodedata.normalize("NFC", printable_path(folder))


def _class_names(groups: list[str], root: Path) -> tuple[str, ...]:
    """Returns the names of the classes; pictures directly in the folder take the folder's name."""
    name = _name(root.name or str(root))
    while name in groups:
        name = f"./{name}"
    return tuple(group or name for group in groups)


def _only_in_test(names: tuple[str, ...], labels: Tensor, test: Tensor) -> list[str]:
    missing = sorted(set(labels.tolist()) - set(labels[~test].tolist()))
    if not missing:
        return []
    listed = ", ".join(names[index] for index in missing[:MAX_NAMES])
    return [f"NO TRAINING PICTURES in {len(missing)} of the classes ({listed})"]


def _leaks(hashes: list[str], is_test: np.ndarray) -> list[str]:
    train = {digest for digest, test in zip(hashes, is_test) if not test}
    num_both = sum(digest in train for digest, test in zip(hashes, is_test) if test)
    return [f"{num_both:,} test pictures are also among the training pictures"] if num_both else []


def _smallest_hashes(hashes: list[str]) -> tuple[np.ndarray, list[str]]:
    """Returns which of the sorted hashes are the test set, and what copies there are."""
    num_most = len(hashes) // 3
    num_wanted = min(max(MIN_TEST_IMAGES, round(TEST_SHARE * len(hashes))), num_most)
    counts = Counter(hashes)
    chosen: set[str] = set()
    num_test = 0
    for digest, count in counts.items():  # in the order of the hashes
        if num_test >= num_wanted:
            break
        if num_test + count <= num_most:
            chosen.add(digest)
            num_test += count
    num_copies = len(hashes) - len(counts)
    notes = [f"{num_copies:,} are copies of others"] if num_copies else []
    if num_test >= SMALLEST["test"]:
        return np.array([digest in chosen for digest in hashes]), notes
    # nearly all are copies of a few pictures
    notes = [f"{num_copies:,} are copies of others, in training and test alike"]
    return np.arange(len(hashes)) < num_wanted, notes


# Pixels


def _decode_all(files: list[Path], image_size: int) -> list[Square]:
    """Returns the pictures in the order of the files.

    One after the other: threads halve the speed where pictures are small (1,600 against 3,000 a
    second of 32 by 32 pixels on 2 cores) and gain nothing where they are large.
    """
    # warnings of decoders say nothing that the pixels do not; what cannot be read is an error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [decode_square(file, image_size) for file in files]


def _remarks(squares: list[Square], found: _Found) -> tuple[list[np.ndarray], list[str]]:
    """Returns the pixels as uint8, and all that is to be said about the pictures."""
    arrays, notes = scaled_to_bytes(squares)
    counted: Counter = Counter()
    for square in squares:
        counted.update(square.remarks)
    notes += [f"{count:,} {remark}" for remark, count in sorted(counted.items())]
    left_out = found.left_out()
    return arrays, [*notes, *([left_out] if left_out else [])]


def _stacked(arrays: list[np.ndarray], image_size: int) -> Tensor:
    """Returns the pictures as one uint8 tensor `[N, C, image_size, image_size]`."""
    channels = 3 if any(pixels.ndim == 3 for pixels in arrays) else 1
    images = np.empty((len(arrays), channels, image_size, image_size), np.uint8)
    for image, pixels in zip(images, arrays):
        image[:] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(images)
