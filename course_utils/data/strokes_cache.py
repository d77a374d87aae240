"""The standard strokes dataset: drawn once from seed 0, then read from the cache and checked against its own SHA-256."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from course_utils.data.base import DIGIT_NAMES, Dataset
from course_utils.errors import CourseError
from course_utils.files import cache_root, save_tensors

VERSION = 1  # raise it when the drawing changes: an old cache is then not read any more
NUM_TRAIN, NUM_TEST, SEED = 60_000, 10_000, 0


def cache_file() -> Path:
    """Returns where the drawn images are kept."""
    return cache_root() / f"strokes-v{VERSION}-seed{SEED}.safetensors"


def strokes_cached() -> bool:
    """Returns whether the images have been drawn already."""
    return cache_file().exists()


def load_strokes() -> Dataset:
    """Returns the 60,000 + 10,000 standard strokes with their factors, drawing them where they are not cached.

    A cache that is damaged is reported, drawn again and replaced.
    """
    if strokes_cached():
        try:
            return _read()
        except CourseError as error:
            print(f"{error} Drawing it again.")
    print(f"drawing {NUM_TRAIN + NUM_TEST:,} stroke digits, once ...", flush=True)
    dataset = _draw()
    _write(dataset)
    return dataset


def _draw() -> Dataset:
    from course_utils.data.strokes import make_strokes

    train_images, train_factors, test_images, test_factors = make_strokes(NUM_TRAIN, NUM_TEST, SEED)
    return _dataset({"train": train_images, "test": test_images}, {"train": asdict(train_factors), "test": asdict(test_factors)})


def _dataset(images: dict, factors: dict) -> Dataset:
    return Dataset(
        name="strokes",
        train_images=images["train"],
        train_labels=factors["train"]["digit"],
        test_images=images["test"],
        test_labels=factors["test"]["digit"],
        class_names=DIGIT_NAMES,
        source=f"drawn by a program from seed {SEED}",
        train_factors=factors["train"],
        test_factors=factors["test"],
    )


def _write(dataset: Dataset) -> None:
    tensors = {"train/images": dataset.train_images, "test/images": dataset.test_images}
    tensors |= {f"train/{name}": values for name, values in dataset.train_factors.items()}
    tensors |= {f"test/{name}": values for name, values in dataset.test_factors.items()}
    save_tensors(cache_file(), tensors, {"sha256": dataset.sha256})


def _read() -> Dataset:
    from safetensors import SafetensorError, safe_open

    images: dict = {}
    factors: dict = {"train": {}, "test": {}}
    try:
        with safe_open(cache_file(), framework="pt") as file:
            expected = (file.metadata() or {}).get("sha256")
            for key in file.keys():
                split, name = key.split("/")
                (images if name == "images" else factors[split])[split if name == "images" else name] = file.get_tensor(key)
        dataset = _dataset(images, factors)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CourseError(f"{cache_file()} is damaged ({error}).") from error
    if dataset.sha256 != expected:
        raise CourseError(f"{cache_file()} is damaged (its SHA-256 is not the one that was written).")
    return dataset
