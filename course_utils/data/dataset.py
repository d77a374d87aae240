"""The frozen `Dataset` that every part of the course reads: uint8 tensors, labels and where they
came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_uint8

DIGIT_NAMES = tuple("0123456789")
SMALLEST = {"train": 1, "test": 2}  # images: the error bar of a test result needs two


@dataclass(frozen=True)
class Dataset:
    """Images with labels, in memory.

    Attributes:
        name: what `load_dataset` calls it, such as "mnist".
        train_images, test_images: uint8, `[N, C, H, W]`.
        train_labels, test_labels: int64, `[N]`, values from 0 to `num_classes - 1`.
        class_names: one name a class.
        source: where the data came from, in words.
        train_factors, test_factors: known factors of variation, `{name: [N]}`; empty where nobody
            knows them.
        train_captions, test_captions: what is said of each image, in words; empty where nothing is.
        folder: where the learner's own pictures lie; None for every other dataset.
        content_id: 12 hexadecimal digits that follow from the learner's pictures and not from
            where they lie or what their folder is called; "" for every other dataset.

    Raises:
        CourseError: shapes, types or labels that do not fit together.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    source: str
    train_factors: Mapping[str, Tensor] = field(default_factory=dict)
    test_factors: Mapping[str, Tensor] = field(default_factory=dict)
    train_captions: tuple[str, ...] = ()
    test_captions: tuple[str, ...] = ()
    folder: str | None = None
    content_id: str = ""

    def __post_init__(self) -> None:
        for split, images, labels in self._splits():
            check_uint8(images)
            if len(images) < SMALLEST[split]:
                raise CourseError(
                    f"{self.name}: the {split} set has {len(images)} images; expected at least"
                    f" {SMALLEST[split]}."
                )
            if len(images) != len(labels):
                raise CourseError(
                    f"{self.name}: {len(images)} {split} images but {len(labels)} labels; the files"
                    " do not belong together."
                )
            captions = getattr(self, f"{split}_captions")
            if captions and len(images) != len(captions):
                raise CourseError(
                    f"{self.name}: {len(images)} {split} images but {len(captions)} captions; give"
                    " one for each image, or none."
                )
            if labels.min() < 0 or labels.max() >= len(self.class_names):
                raise CourseError(
                    f"{self.name}: {split} labels go up to {labels.max()}, expected 0 to"
                    f" {len(self.class_names) - 1}."
                )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise CourseError(
                f"{self.name}: train images are {list(self.image_shape)}, test images"
                f" {list(self.test_images.shape[1:])}."
            )

    def _splits(self) -> tuple[tuple[str, Tensor, Tensor], ...]:
        return ("train", self.train_images, self.train_labels), (
            "test",
            self.test_images,
            self.test_labels,
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def key(self) -> str:
        """What runs are found by: the name, or `folder:` and the content of the learner's own
        pictures, so that a moved or renamed folder finds its runs again.
        """
        return f"folder:{self.content_id}" if self.content_id else self.name

    @property
    def place(self) -> dict[str, str | int] | None:
        """What a record keeps of the learner's own pictures, to load them again: `name`, `folder`
        and `image_size`; None for every other dataset.
        """
        if self.folder is None:
            return None
        return {"name": self.name, "folder": self.folder, "image_size": self.image_shape[1]}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over all images, labels and captions: equal data, equal digits, wherever the
        files came from.
        """
        digest = hashlib.sha256()
        for split, images, labels in self._splits():
            digest.update(images.contiguous().numpy().data)
            digest.update(labels.contiguous().numpy().data)
            digest.update("\n".join(getattr(self, f"{split}_captions")).encode())
        return digest.hexdigest()

    def subset(
        self, num_train: int | None = None, num_test: int | None = None, seed: int = 0
    ) -> Dataset:
        """Returns a random subset (None keeps a split whole).

        Never take the first half or every second image instead: MNIST's files join two groups of
        writers, so such halves differ.
        """
        changes: dict[str, object] = {}
        for index, (split, images, labels), num in (
            (0, self._splits()[0], num_train),
            (1, self._splits()[1], num_test),
        ):
            if num is None:
                continue
            if not SMALLEST[split] <= num <= len(images):
                raise CourseError(
                    f"num_{split}: expected {SMALLEST[split]} to {len(images)}, got {num}."
                )
            chosen = (
                torch.randperm(len(images), generator=make_rng(seed, index))[:num].sort().values
            )
            factors = getattr(self, f"{split}_factors")
            changes |= {f"{split}_images": images[chosen], f"{split}_labels": labels[chosen]}
            changes[f"{split}_factors"] = {name: values[chosen] for name, values in factors.items()}
            if captions := getattr(self, f"{split}_captions"):
                changes[f"{split}_captions"] = tuple(captions[index] for index in chosen.tolist())
        return replace(self, **changes)
