"""Drawing images: from a trained model in batches, from what a command line names, and while a
generator trains.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.data.arrays import ImageSet, explain_other_file, fitted, read_arrays
from course_utils.data.dataset import Dataset
from course_utils.data.folder import read_pictures
from course_utils.models.base import Model, check_num_samples
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


def collect_images(
    source: str, dataset: Dataset, num_images: int, *, seed: int = 0, grey: bool = False
) -> ImageSet:
    """Returns images to compare with a dataset: a random choice of those of a file or of a folder
    of pictures, or fresh samples of a run.

    Args:
        source: FILE.npz, FILE.npy, a run directory, pretrained:FAMILY/DATASET, or folder:PATH (the
            path alone will do).
        dataset: whose size and channels the images are to have.
        num_images: at most this many of a file or folder, exactly this many of a run.
        seed: of the samples, or of the choice.
        grey: average colours by luminance where the dataset is grey.

    Raises:
        CourseError: a source that cannot be read, or images unlike those of the dataset.
    """
    if names_a_run(source):
        return _drawn(source, dataset, num_images, seed)
    path = Path(source)
    if source.startswith("folder:") or path.is_dir():
        pictures = read_pictures(source.removeprefix("folder:"), dataset.image_shape[1])
        found = ImageSet(pictures.images, notes=pictures.notes)
        found = fitted(found, dataset, source, grey=grey)
    elif path.suffix.lower() in (".npz", ".npy"):
        found = read_arrays(path, dataset, grey=grey)
    else:
        raise explain_other_file(path)
    if len(found.images) <= num_images:
        return found
    # files and folders are often in the order of classes: the first would be of one class
    rows = torch.randperm(len(found.images), generator=make_rng(seed))[:num_images]
    labels = None if found.labels is None else found.labels[rows]
    return ImageSet(found.images[rows], labels, found.notes)


def names_a_run(source: str) -> bool:
    """Returns whether a command-line argument names a trained model and not images."""
    folder = Path(source)
    return source.startswith("pretrained:") or any(
        (folder / name).exists() for name in (RECORD, STATE)
    )


def check_same_images(model: Model, dataset: Dataset, source: str) -> None:
    """Raises CourseError unless a model makes images of a dataset's size and channels."""
    side = model.config.image_size
    shapes = (model.config.image_channels, side, side), dataset.image_shape
    if shapes[0] == shapes[1]:
        return
    of_model, of_data = (
        f"{height} by {width} pixels in {'1 channel' if channels == 1 else f'{channels} channels'}"
        for channels, height, width in shapes
    )
    remedy = f"train a {model.family} on {dataset.name}"
    if dataset.folder is not None and shapes[0][0] == shapes[1][0]:
        remedy = f"compare at its size with --image-size {side}, or {remedy}"
    raise CourseError(
        f"{source}: expected a model of images like {dataset.name} ({of_data}), got one of"
        f" {of_model}; {remedy}."
    )


def _drawn(source: str, dataset: Dataset, num_images: int, seed: int) -> ImageSet:
    run = resolve(source)
    check_same_images(run.model, dataset, source)
    labels = run.model.draw_labels(num_images, rng=make_rng(seed, LABELS))
    images = sample_in_batches(run.model, num_images, rng=make_rng(seed), labels=labels)
    # classes of other data have other meanings
    return ImageSet(images, labels if run.experiment.dataset == dataset.key else None)
