"""Datasets by name. `load_dataset()` is the only door; the files beside this one know how each
dataset is made or read.

- `mnist`, `fashion`: from the data folder, else downloaded by torchvision.
- `strokes`: digits written by a program, drawn on this machine in seconds; needs no network.
- `strokes-colour`: the same digits in ink and paper of random colours, 3 channels, for
  colourisation.
- `folder:PATH`: the learner's own images.
- `auto`: `COURSE_DATASET` where it is set; else MNIST where it lies on disk, else a download, else
  strokes. It says which and why.
"""

from __future__ import annotations

import os

from course_utils.base.errors import CourseError, unknown
from course_utils.data.colours import coloured
from course_utils.data.dataset import Dataset
from course_utils.data.folder import load_folder
from course_utils.data.mnist import download_failed_lately, load_idx, on_disk, raw_folder
from course_utils.data.strokes import load_strokes, strokes_cached

NAMES = ("auto", "mnist", "fashion", "strokes", "strokes-colour", "folder:PATH")


def load_dataset(name: str = "auto", *, image_size: int = 28, verbose: bool = True) -> Dataset:
    """Returns a dataset as uint8 tensors in memory.

    Args:
        name: one of `auto`, `mnist`, `fashion`, `strokes`, `strokes-colour`, `folder:PATH`.
        image_size: side in pixels; only `folder:PATH` can choose it, the others are 28.
        verbose: print one line that says what was loaded from where.

    Raises:
        CourseError: an unknown name, or data that is missing or broken. A dataset asked for by name
            is never swapped for another.
    """
    chosen, reason = resolve_auto() if name == "auto" else (name, "")
    if not chosen.startswith("folder:") and image_size != 28:
        raise CourseError(
            f"image_size: {chosen} has 28 by 28 pixels, got {image_size}; only folder:PATH can be"
            " resized."
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


def _load(name: str, image_size: int) -> Dataset:
    if name in ("mnist", "fashion"):
        return load_idx(name)
    if name == "strokes":
        return load_strokes()
    if name == "strokes-colour":
        # painting takes a second, so only the strokes themselves are cached
        return coloured(load_strokes())
    return load_folder(name.removeprefix("folder:"), image_size)


def check_name(name: str) -> None:
    """Raises CourseError unless `name` is one that `load_dataset` takes; the message says where a
    wrong one comes from.
    """
    if name not in NAMES and not name.startswith("folder:"):
        raise unknown(
            "dataset (from COURSE_DATASET)" if name == wanted_name() else "dataset", name, NAMES
        )


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
    if os.environ.get("COURSE_OFFLINE") == "1":
        return "strokes", "MNIST is not on disk and COURSE_OFFLINE=1"
    if download_failed_lately("mnist"):
        return (
            "strokes",
            "MNIST could not be downloaded within the last day; load_dataset('mnist') tries again",
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
