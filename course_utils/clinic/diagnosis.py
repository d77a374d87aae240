"""`diagnose(model, images)`: runs the clinic on any encoder/decoder pair and says which causes are present."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course_utils.clinic import causes, figures
from course_utils.clinic.adapter import Adapter, as_adapter
from course_utils.clinic.optimise import optimise_latents, optimise_posteriors, passes_gradients, squared_errors
from course_utils.clinic.readings import Readings, prior_draws, read
from course_utils.clinic.report import PRESENT, Diagnosis
from course_utils.device import make_rng
from course_utils.errors import CourseError
from course_utils.images import check_signed, signed_to_unit, uint8_to_signed
from course_utils.metrics.guards import check_count
from course_utils.metrics.neighbours import precision_recall

NUM_OPTIMISED = 96  # images whose codes are optimised
MIN_IMAGES = 100


def diagnose(
    model: Any, images: Tensor, *, train_transform: Callable[[Tensor], Tensor] | None = None, num_images: int = 500, seed: int = 0
) -> Diagnosis:
    """Returns which of seven causes make an encoder/decoder pair disappoint: latent noise, amortisation, active units, collapse, prior mismatch,
    capacity, augmentation. Each comes with value, error, threshold, verdict and figure; the prior is taken to be N(0, I).

    A collapsed code makes every other measurement meaningless, so then the others are "cannot tell". Thresholds, the same for all models:
    latent noise, amortisation and prior mismatch count from a tenth of the bill on (nats that -ELBO lies above its floor), since less is not worth
    a cure; collapse below 1 nat, which tells fewer than three images apart; active units when most dimensions are dead; capacity when a quarter of
    the pixel variance stays unexplained, so that errors have half the amplitude of the images; augmentation when the training transform raises the
    bill by less than a twentieth, since a model finds dearer what it was not trained on.

    Args:
        model: a VAE of the course, any object with `encode` and `decode`, an `Adapter`, or a pair of the two functions (see `Adapter`).
        images: uint8 or signed `[N, C, H, W]`, at least 100, such as test images; not augmented.
        train_transform: signed images -> signed images, the random augmentation of the training; None: that cause cannot be told.
        num_images: how many images to use, a random choice.
        seed: of the choice and of all draws.

    Raises:
        CourseError: a model without encoder or decoder, images of another kind or too few, or answers of the wrong shape.
    """
    adapter, signed = as_adapter(model), _chosen(images, num_images, seed)
    readings = read(adapter, signed, seed)
    first = causes.collapse(readings)
    collapsed = first.verdict == PRESENT
    able = not collapsed and passes_gradients(adapter, readings.mu)
    bills = optimise_posteriors(adapter, readings, NUM_OPTIMISED, seed) if able else None
    latents = optimise_latents(adapter, readings, NUM_OPTIMISED) if able else None
    errors, num_components = _capacity(adapter, readings, latents) if able else (None, None)
    transformed = read(adapter, _transformed(train_transform, readings.images), seed) if train_transform is not None else None
    found = [
        causes.latent_noise(readings, collapsed),
        causes.amortisation(bills, collapsed),
        causes.active_units(readings, collapsed),
        first,
        causes.prior_mismatch(readings, collapsed, None if collapsed else _precision(adapter, readings, seed)),
        causes.capacity(readings, errors, num_components, collapsed),
        causes.augmentation(readings, transformed, collapsed),
    ]
    bill = readings.bill
    about = (
        f"{len(signed)} images, {readings.mu.shape[1]} latent dimensions, {adapter.likelihood} likelihood. The bill is -ELBO above its floor: "
        f"{bill.mean():.1f} ± {bill.std() / len(bill) ** 0.5:.1f} nats an image."
    )
    shown = figures.Material(adapter, readings, transformed, bills, latents, prior_draws(readings, 10, seed))
    return Diagnosis({f.cause: f for f in found}, about, {cause: partial(draw, shown) for cause, draw in figures.FIGURES.items()})


def _chosen(images: Tensor, num_images: int, seed: int) -> Tensor:
    check_count("num_images", num_images, MIN_IMAGES)
    if len(images) < MIN_IMAGES:
        raise CourseError(f"expected at least {MIN_IMAGES} images, got {len(images)}; the error bars of fewer say nothing.")
    chosen = images[torch.randperm(len(images), generator=make_rng(seed, 0))[:num_images]]
    if chosen.dtype == torch.uint8:
        return uint8_to_signed(chosen)
    check_signed(chosen)
    return chosen


def _transformed(transform: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    out = transform(images)
    if not isinstance(out, Tensor) or out.shape != images.shape:
        got = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise CourseError(f"train_transform: expected signed images of shape {list(images.shape)}, got {got}.")
    check_signed(out)
    return out


@torch.no_grad()
def _capacity(adapter: Adapter, readings: Readings, latents: Tensor) -> tuple[Tensor, int | None]:
    """Returns squared errors at the best z, and how many principal components of the other images reach their mean."""
    num = len(latents)
    errors = squared_errors(readings.images[:num], adapter.decode(latents))
    x = signed_to_unit(readings.images).flatten(1)
    others = x[num:] if len(x) >= 3 * num else x
    centred = x[:num] - others.mean(0)
    components = torch.linalg.svd(others - others.mean(0), full_matrices=False).Vh
    left = centred.square().sum(1).mean() - (centred @ components.T).square().mean(0).cumsum(0)  # after 1, 2, ... components
    enough = (left <= errors.mean()).nonzero()
    return errors, int(enough[0]) + 1 if len(enough) else None


@torch.no_grad()
def _precision(adapter: Adapter, readings: Readings, seed: int):
    """Returns the precision of images decoded from the prior, and of those of one half of the codes, against those of the other half."""
    half = len(readings.z) // 2
    z = {"codes": readings.z[:half], "other codes": readings.z[half : 2 * half], "prior": prior_draws(readings, half, seed)}
    pixels = {name: adapter.decode(values).flatten(1).cpu() for name, values in z.items()}
    return tuple(precision_recall(pixels["codes"], pixels[name]).precision for name in ("prior", "other codes"))
