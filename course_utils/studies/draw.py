"""Drawing images: from a trained model in batches, from what a command line names, and while a
generator trains.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_uint8, signed_to_uint8
from course_utils.data.folder import read_pictures
from course_utils.metrics.classes import class_coverage, class_kl
from course_utils.metrics.features import class_probabilities
from course_utils.models.base import Model, check_num_samples
from course_utils.training.history import History
from course_utils.training.runs import RECORD, STATE, resolve

IMAGES_PER_CALL = 500
DRAWING, LABELS = 5, 6  # purposes of the random streams of a seed


def label_frequencies(labels: Tensor, num_classes: int) -> Tensor:
    """Returns the share of each class among labels, float64 `[num_classes]`."""
    return torch.bincount(labels, minlength=num_classes).double() / len(labels)


@torch.no_grad()
def sample_in_batches(
    model: Model,
    num_images: int,
    *,
    rng: torch.Generator,
    labels: Tensor | None = None,
    images_per_call: int = IMAGES_PER_CALL,
    **options: Any,
) -> Tensor:
    """Returns samples of a model, uint8 `[N, C, H, W]` on the CPU: the one place that draws many
    images, in batches.

    Args:
        model: that can sample, in evaluation mode.
        num_images: N, at least 1.
        rng: source of the noise, used up batch by batch.
        labels: int64 `[N]`, the class of each image, for a model that takes labels.
        images_per_call: size of a batch; part of what makes samples equal, since a model may draw
            its own labels before its noise.
        options: passed to `model.sample`, such as `num_steps`.

    Raises:
        CourseError: N below 1, or a model that cannot sample or takes no labels.
    """
    check_num_samples(num_images)
    batches = []
    for rows in torch.arange(num_images).split(images_per_call):
        given = {} if labels is None else {"labels": labels[rows].to(model.device)}
        batches.append(signed_to_uint8(model.sample(len(rows), rng=rng, **given, **options)).cpu())
    return torch.cat(batches)


def draw_images(model: Model, num_images: int, frequencies: Tensor, *, seed: int = 0) -> Tensor:
    """Returns `num_images` samples of p(image), uint8 `[N, C, H, W]` on the CPU.

    A model that needs labels gets them drawn from `frequencies`. That makes it a model of the
    images as a whole, p(image) = sum over labels of p(label) p(image | label), with the p(label) of
    its training data, which is known and need not be learned. Other models draw as they learned to.

    Args:
        frequencies: of the classes in the training set, `[K]`, adding up to 1.
        seed: of labels and noise.
    """
    check_num_samples(num_images)
    labels = None
    if model.needs_labels:
        labels = torch.multinomial(
            frequencies, num_images, replacement=True, generator=make_rng(seed, LABELS)
        )
    return sample_in_batches(model, num_images, rng=make_rng(seed, DRAWING), labels=labels)


def drawing_seconds(
    model: Model, num_images: int, frequencies: Tensor, *, seed: int = 0
) -> tuple[Tensor, float]:
    """Returns samples and the seconds that drawing them took, conversion to uint8 included; the
    caller warms up.
    """
    start = time.perf_counter()
    # ends on the CPU, so the device has finished
    images = draw_images(model, num_images, frequencies, seed=seed)
    return images, time.perf_counter() - start


def network_calls(model: Model) -> float:
    """Returns how often an image passes through the model's network while it is drawn: 1 for a
    decoder, num_steps for diffusion.

    Counted, not looked up: rows that enter each part of the model, for a few images. A model
    without parts draws from a formula, which counts as 1.
    """
    rows = dict.fromkeys(model._modules, 0)
    num_images = 4

    def counter(name: str):
        def count(_, inputs: tuple) -> None:
            rows[name] += len(inputs[0])

        return count

    handles = [
        part.register_forward_pre_hook(counter(name)) for name, part in model.named_children()
    ]
    try:
        model.sample(num_images, rng=make_rng(0))
    finally:
        for handle in handles:
            handle.remove()
    return max(1.0, max(rows.values(), default=0) / num_images)


def collect_images(source: str, num_images: int, seed: int = 0, image_size: int = 28) -> Tensor:
    """Returns uint8 images `[N, C, H, W]`: the first of a file that `course sample` wrote or of a
    folder of pictures, or fresh samples of a run.

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
        # in the order of names one class would come first
        return pictures[torch.randperm(len(pictures), generator=make_rng(seed))[:num_images]]
    return sample_in_batches(resolve(source).model, num_images, rng=make_rng(seed))


def _read_npz(path: Path) -> Tensor:
    try:
        with np.load(path, allow_pickle=False) as archive:
            images = archive["images"]
    except (OSError, ValueError, KeyError, IndexError, TypeError, BadZipFile) as error:
        raise CourseError(
            f"{path}: expected a file with the array `images` that `course sample --out FILE.npz`"
            f" writes; {error}."
        ) from error
    if images.dtype != np.uint8:
        raise CourseError(
            f"{path}: expected uint8 images (0 to 255), got {images.dtype}; signed_to_uint8"
            " converts from [-1, 1]."
        )
    images = torch.from_numpy(images)
    check_uint8(images)
    return images


def watch_classes(
    classifier: Model, frequencies: Tensor, num_images: int = 1000
) -> Callable[[Model, History], None]:
    """Returns an `on_epoch` hook for `fit` that samples the model after each epoch and adds what
    classes it drew to the history.

    The row has split "samples" and the columns `classes_covered` (a number of classes), `class_kl`
    (nats) and `seconds` (training time so far).

    Args:
        classifier: tells the classes of images.
        frequencies: of the classes among real images, `[K]`, adding up to 1.
        num_images: sampled each time, from the same noise.
    """
    require(
        num_images >= len(frequencies),
        "num_images",
        f"at least {len(frequencies)}, the number of classes",
        num_images,
    )

    @torch.no_grad()
    def hook(model: Model, history: History) -> None:
        was_training = model.training
        model.eval()
        images = sample_in_batches(model, num_images, rng=make_rng(0, 3))
        model.train(was_training)
        probabilities = class_probabilities(classifier, images)
        covered = round(class_coverage(probabilities).value * len(frequencies))
        row = {
            "epoch": history.num_epochs,
            "split": "samples",
            "part": "generator",
            "seconds": history.seconds,
        }
        history.rows.append(
            {
                **row,
                "classes_covered": covered,
                "class_kl": class_kl(probabilities, frequencies).value,
            }
        )

    return hook
