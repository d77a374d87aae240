"""Drawing many images from a trained model of any family, and what that costs."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from course_utils.device import make_rng
from course_utils.images import signed_to_uint8
from course_utils.models.base import Model, check_num_samples

IMAGES_PER_CALL = 500
DRAWING, LABELS = 5, 6  # purposes of the random streams of a seed


def label_frequencies(labels: Tensor, num_classes: int) -> Tensor:
    """Returns the share of each class among labels, float64 `[num_classes]`."""
    return torch.bincount(labels, minlength=num_classes).double() / len(labels)


def takes_labels(model: Model) -> bool:
    """Returns whether the model has to be told which class to draw: it then learned p(image | label), and not how frequent labels are."""
    return getattr(model.config, "conditional", getattr(model.config, "unlabelled", "null") == "uniform")


def draw_images(model: Model, num_images: int, frequencies: Tensor, *, seed: int = 0) -> Tensor:
    """Returns `num_images` samples, uint8 `[N, C, H, W]` on the CPU.

    A model that takes labels gets them drawn from `frequencies`. That makes it a model of the images as a whole, p(image) = sum over labels of
    p(label) p(image | label), with the p(label) of its training data, which is known and need not be learned. Other models draw as they learned to.

    Args:
        frequencies: of the classes in the training set, `[K]`, adding up to 1.
        seed: of labels and noise.
    """
    check_num_samples(num_images)
    rng = make_rng(seed, DRAWING)
    pieces = [{"n": len(piece)} for piece in torch.arange(num_images).split(IMAGES_PER_CALL)]
    if takes_labels(model):
        labels = torch.multinomial(frequencies, num_images, replacement=True, generator=make_rng(seed, LABELS))
        pieces = [{"n": len(piece), "labels": piece.to(model.device)} for piece in labels.split(IMAGES_PER_CALL)]
    return torch.cat([signed_to_uint8(model.sample(rng=rng, **piece)).cpu() for piece in pieces])


def drawing_seconds(model: Model, num_images: int, frequencies: Tensor, *, seed: int = 0) -> tuple[Tensor, float]:
    """Returns samples and the seconds that drawing them took, conversion to uint8 included; the caller warms up."""
    start = time.perf_counter()
    images = draw_images(model, num_images, frequencies, seed=seed)  # ends on the CPU, so the device has finished
    return images, time.perf_counter() - start


def network_calls(model: Model) -> float:
    """Returns how often an image passes through the model's network while it is drawn: 1 for a decoder, num_steps for diffusion.

    Counted, not looked up: rows that enter each part of the model, for a few images. A model without parts draws from a formula, which counts as 1.
    """
    rows = dict.fromkeys(model._modules, 0)
    num_images = 4

    def counter(name: str):
        def count(_, inputs: tuple) -> None:
            rows[name] += len(inputs[0])

        return count

    handles = [part.register_forward_pre_hook(counter(name)) for name, part in model.named_children()]
    try:
        model.sample(num_images, rng=make_rng(0))
    finally:
        for handle in handles:
            handle.remove()
    return max(1.0, max(rows.values(), default=0) / num_images)
