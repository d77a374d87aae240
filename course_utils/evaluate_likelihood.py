"""The metric `nll` of `course evaluate`: how probable a model finds test images. It asks the model itself, so it needs no samples and no features.

Protocol for models of black and white pixels (binarisation "dynamic"), that of the published numbers: every test image is drawn black and white once,
with a fixed seed, so that all models are judged on the same 10,000 binary images; k = 5,000 importance samples an image.
Source: Burda et al. 2016 (arXiv:1509.00519), sec. 5. Deviation: they drew the test images anew, here the draw is fixed, which repeats exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_utils.data.base import Dataset
from course_utils.device import make_rng, reuse_freed_memory
from course_utils.errors import CourseError
from course_utils.images import binarise, uint8_to_signed
from course_utils.metrics.likelihood import importance_weighted_bound
from course_utils.metrics.result import Measurement
from course_utils.models import Model
from course_utils.models.gaussian import GREY_LEVEL

NLL = "nll"
NUM_DRAWS = 5000  # the k of the published numbers
BINARISATION_SEED = 0
IMAGES_PER_UPDATE = 40  # of the progress bar
ROWS_PER_CALL = 2000  # pairs of image and draw, some 30 MB of memory


def binarised_test_images(dataset: Dataset) -> Tensor:
    """Returns all test images, signed, each drawn black and white once with the course's fixed seed: image i is the same in every evaluation."""
    return binarise(uint8_to_signed(dataset.test_images), make_rng(BINARISATION_SEED))


def negative_log_likelihood(
    model: Model, dataset: Dataset, *, num_draws: int = NUM_DRAWS, num_images: int | None = None, seed: int = 0
) -> Measurement:
    """Returns -log p(x) in nats, the mean over test images: exact where the model can, else the importance-weighted bound, on average never too low.

    Args:
        model: with `log_prob` (exact) or `log_weights` (importance samples).
        dataset: whose test images are measured, black and white where the model was trained on black and white.
        num_draws: k, importance samples an image; the bound falls towards the exact value as it grows.
        num_images: that many random test images; None takes all.
        seed: of the choice of images and of the draws.

    Raises:
        CourseError: a model without a likelihood, a number out of range, or images of another shape.
    """
    check_likelihood(model)
    available = len(dataset.test_images)
    if num_images is not None and not 2 <= num_images <= available:
        raise CourseError(f"expected 2 to {available:,} test images of {dataset.name}, got {num_images:,}; change --num.")
    if num_draws < 1:
        raise CourseError(f"k: expected at least 1 importance sample an image, got {num_draws}.")
    binary = getattr(model.config, "binarisation", "none") == "dynamic"
    images = binarised_test_images(dataset) if binary else uint8_to_signed(dataset.test_images)
    if num_images is not None:
        images = images[torch.randperm(available, generator=make_rng(seed))[:num_images]]
    exact = hasattr(model, "log_prob")
    values = _exact(model, images, seed) if exact else _bound(model, images, num_draws, seed)
    how = "exact density of signed pixels plus noise of one grey level" if exact else f"importance-weighted, k = {num_draws:,}"
    pixels = f"black and white once (seed {BINARISATION_SEED})" if binary else "grey"
    note = f"nats an image, {how}, pixels {pixels}"
    label = f"{dataset.name} test{', binarised' if binary else ''}"
    return Measurement("NLL", -values.mean().item(), values.std().item() / math.sqrt(len(values)), len(values), "", label, note)


def check_likelihood(model: Model) -> None:
    """Raises CourseError unless the model gives a likelihood of images."""
    if not (hasattr(model, "log_prob") or hasattr(model, "log_weights")):
        raise CourseError(f"nll: a {model.family} gives no likelihood of images; it can be had from a vae or a gaussian.")


@torch.no_grad()
def _exact(model: Model, images: Tensor, seed: int) -> Tensor:
    """Returns log p(x) of images with the noise that gives a grey level its volume, float64 `[N]` on the CPU."""
    noise = torch.rand(images.shape, generator=make_rng(seed, 1))
    noisy = images + GREY_LEVEL * (noise - 0.5)
    return torch.cat([model.log_prob(piece.to(model.device)).double().cpu() for piece in noisy.split(500)])


def _bound(model: Model, images: Tensor, num_draws: int, seed: int) -> Tensor:
    """Returns the importance-weighted bound of each image, float64 `[N]` on the CPU; memory does not grow with the number of draws."""
    rng = make_rng(seed, 1, device=model.device)
    reuse_freed_memory()
    rows = []
    with tqdm(total=len(images), desc="nll", unit=" images", leave=False) as bar:
        for piece in images.split(IMAGES_PER_UPDATE):
            bound = importance_weighted_bound(model.log_weights, piece.to(model.device), num_draws, rng=rng, rows_per_call=ROWS_PER_CALL)
            rows.append(bound.per_image)
            bar.update(len(piece))
    return torch.cat(rows)
