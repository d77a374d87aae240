"""Datasets by name. `load_dataset()` is the only door; the files beside this one know how each
dataset is made or read.

- `mnist`, `fashion`: from the data folder, else downloaded by torchvision.
- `strokes`: digits written by a program, drawn on this machine in seconds; needs no network.
- `strokes-colour`: the same digits in ink and paper of random colours, 3 channels, for
  colourisation.
- `captions`, `captions:scenes`: coloured digits of 32 by 32 pixels, one or two in each picture,
  with captions that say what is in them.
- `folder:PATH`: the learner's own images, with captions where the folder has a `captions.csv`.
- `auto`: `COURSE_DATASET` where it is set; else MNIST where it lies on disk, else a download, else
  strokes. It says which and why.
"""

from __future__ import annotations

import os
from pathlib import Path

from course_utils.base.errors import CourseError, unknown
from course_utils.data.colours import coloured
from course_utils.data.dataset import Dataset
from course_utils.data.folder import SIDES, load_folder
from course_utils.data.mnist import (
    download_failed_lately,
    load_idx,
    on_disk,
    other_forms,
    raw_folder,
)
from course_utils.data.scenes import CAPTION_SIDE, load_captions
from course_utils.data.strokes import load_strokes, strokes_cached

NAMES = (
    "auto",
    "mnist",
    "fashion",
    "strokes",
    "strokes-colour",
    "captions",
    "captions:scenes",
    "folder:PATH",
)


SIDE = 28  # pixels, of every dataset with a name but captions


def load_dataset(
    name: str = "auto", *, image_size: int | None = None, verbose: bool = True
) -> Dataset:
    """Returns a dataset as uint8 tensors in memory.

    Args:
        name: one of `auto`, `mnist`, `fashion`, `strokes`, `strokes-colour`, `captions`,
            `captions:scenes`, `folder:PATH`.
        image_size: side in pixels; only `folder:PATH` can choose it, captions are 32 and the others
            28. None takes `COURSE_IMAGE_SIZE` for a folder where that is set.
        verbose: print one line that says what was loaded from where.

    Raises:
        CourseError: an unknown name, or data that is missing or broken. A dataset asked for by name
            is never swapped for another.
    """
    chosen, reason = resolve_auto() if name == "auto" else (name, "")
    own = chosen.startswith("folder:")
    side = CAPTION_SIDE if chosen in ("captions", "captions:scenes") else SIDE
    if image_size is None:
        image_size = _wanted_size() if own else side
    if not own and image_size != side:
        raise CourseError(
            f"image_size: {chosen} has {side} by {side} pixels, got {image_size}; only folder:PATH"
            " can be resized."
        )
    check_name(chosen)
    try:
        dataset = _load(chosen, image_size)
    except CourseError as error:
        if name != "auto" or wanted_name() is not None or on_disk("mnist"):
            raise
        dataset, reason = load_strokes(), f"MNIST is not on disk and cannot be had: {error}"
    if verbose:
        why = f" ({reason})" if reason else ""
        print(
            f"{dataset.name}: {len(dataset.train_images):,} train and {len(dataset.test_images):,}"
            f" test images, {dataset.source}{why}"
        )
    return dataset


def _wanted_size() -> int:
    """Returns the side of own pictures that `COURSE_IMAGE_SIZE` asks for."""
    text = os.environ.get("COURSE_IMAGE_SIZE") or str(SIDE)
    if not (text.isdecimal() and len(text) < 9 and SIDES[0] <= int(text) <= SIDES[1]):
        raise CourseError(
            f"COURSE_IMAGE_SIZE: expected a whole number of pixels from {SIDES[0]} to {SIDES[1]}"
            f" such as 32, got {text!r}."
        )
    return int(text)


def _load(name: str, image_size: int) -> Dataset:
    if name in ("mnist", "fashion"):
        return load_idx(name)
    if name == "strokes":
        return load_strokes()
    if name == "strokes-colour":
        # painting takes a second, so only the strokes themselves are cached
        return coloured(load_strokes())
    if name in ("captions", "captions:scenes"):
        return load_captions(scenes=name == "captions:scenes")
    return load_folder(name.removeprefix("folder:"), image_size)


def load_own_pictures(
    key: str, folder: str | None, image_size: int = 28, *, verbose: bool = True
) -> Dataset:
    """Returns the learner's own pictures that something was made with.

    Args:
        key: `Dataset.key` of these pictures.
        folder: where they lie now; None where nobody knows.
        image_size: side in pixels.
        verbose: print one line that says what was loaded.

    Raises:
        CourseError: the folder is gone, or holds other pictures.
    """
    if folder is None or not Path(folder).expanduser().is_dir():
        place = "a folder that was not recorded" if folder is None else folder
        raise CourseError(
            f"expected your pictures in {place}, and they are not there; say where they lie now"
            " with --data PATH."
        )
    dataset = load_dataset(f"folder:{folder}", image_size=image_size, verbose=verbose)
    recorded_by_content = len(key) == len(dataset.key)  # older runs recorded a folder's name
    if recorded_by_content and dataset.key != key:
        raise CourseError(
            f"{folder}: expected the pictures that were used before ({key}), got others"
            f" ({dataset.key}): some were added, removed or changed. Put them back, give the folder"
            " that holds them with --data PATH, or start anew."
        )
    return dataset


def check_name(name: str) -> None:
    """Raises CourseError unless `name` is one that `load_dataset` takes; the message says where a
    wrong one comes from.
    """
    if name in NAMES or name.startswith("folder:"):
        return
    kind = "dataset (from COURSE_DATASET)" if name == wanted_name() else "dataset"
    if os.path.isdir(name):
        raise CourseError(
            f"unknown {kind} {name!r}; this is a folder: folder:{name} loads the pictures in it."
        )
    raise unknown(kind, name, NAMES)


def wanted_name() -> str | None:
    """Returns the dataset that `COURSE_DATASET` names, or None where it is unset, empty or
    "auto".
    """
    name = os.environ.get("COURSE_DATASET")
    return None if name in (None, "", "auto") else name


def resolve_auto() -> tuple[str, str]:
    """Returns the dataset that `auto` tries first, and why."""
    if wanted := wanted_name():
        return wanted, "chosen by COURSE_DATASET"
    if on_disk("mnist"):
        return "mnist", f"found in {raw_folder('mnist').parent.parent}"
    near = other_forms("mnist")
    near = f"; {near}" if near else ""
    if os.environ.get("COURSE_OFFLINE") == "1":
        return "strokes", f"MNIST is not on disk and COURSE_OFFLINE=1{near}"
    if download_failed_lately("mnist"):
        return (
            "strokes",
            "MNIST could not be downloaded within the last day; load_dataset('mnist') tries again"
            + near,
        )
    return "mnist", "downloaded"


def describe_dataset() -> str:
    """Returns in words what `auto` will give, without loading or downloading anything."""
    name, reason = resolve_auto()
    if name == "mnist" and not on_disk("mnist"):
        return (
            "mnist (will be downloaded, 12"
            f" MB{'; strokes where that fails' if wanted_name() is None else ''})"
        )
    if name == "strokes" and not strokes_cached():
        reason += "; will be drawn once"
    return f"{name} ({reason})"
