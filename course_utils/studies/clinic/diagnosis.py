"""`diagnose(model, images)`: runs the clinic on any encoder/decoder pair and says which causes are
present.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_signed, signed_to_unit, uint8_to_signed
from course_utils.metrics.measurement import Measurement, check_count
from course_utils.metrics.neighbours import nearest_neighbour_accuracy
from course_utils.plotting import image_rows, ranked_bars
from course_utils.plotting.charts import histograms
from course_utils.studies.clinic import causes
from course_utils.studies.clinic.causes import ACTIVE_VARIANCE, PRESENT, Diagnosis
from course_utils.studies.clinic.readings import (
    Adapter,
    ExcessNLL,
    Readings,
    as_adapter,
    optimise_latents,
    optimise_posteriors,
    passes_gradients,
    prior_draws,
    read,
    squared_errors,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_SHOWN = 10


@dataclass(frozen=True)
class Material:
    """What the figures are drawn from; `transformed`, `excess_nll` and `latents` are None where
    nothing was measured.
    """

    adapter: Adapter
    readings: Readings
    transformed: Readings | None
    excess_nll: ExcessNLL | None
    latents: Tensor | None
    prior: Tensor

    @torch.no_grad()
    def decoded(self, z: Tensor) -> Tensor:
        """Returns the first images that a decoder makes of latents, signed."""
        return self.adapter.decode(z[:NUM_SHOWN]).clamp(-1, 1)

    @property
    def originals(self) -> Tensor:
        return self.readings.images[:NUM_SHOWN]


def latent_noise(shown: Material) -> Figure:
    """Returns images, decoded means and decoded samples."""
    r = shown.readings
    return image_rows(
        {
            "image": shown.originals,
            "from the mean": shown.decoded(r.mu),
            "from a sample": shown.decoded(r.z),
        }
    )


def amortisation(shown: Material) -> Figure:
    """Returns images, what the encoder's means decode to, and what the best means decode to."""
    rows = {"image": shown.originals, "encoder's mean": shown.decoded(shown.readings.mu)}
    if shown.excess_nll is not None:
        rows["optimised mean"] = shown.decoded(shown.excess_nll.mu)
    return image_rows(rows)


def active_units(shown: Material) -> Figure:
    """Returns the variance of each dimension's mean over images, with the threshold below which it
    is dead.
    """
    return ranked_bars(
        shown.readings.mu.var(0), "latent dimension", "variance of the mean", ACTIVE_VARIANCE
    )


def collapse(shown: Material) -> Figure:
    """Returns images and what their codes decode to: of a collapsed code always the same."""
    return image_rows(
        {
            "image": shown.originals,
            "from the mean": shown.decoded(shown.readings.mu),
            "from a sample": shown.decoded(shown.readings.z),
        }
    )


def prior(shown: Material) -> Figure:
    """Returns images decoded from codes, and images decoded from draws of the prior."""
    return image_rows(
        {
            "from codes": shown.decoded(shown.readings.z),
            "from the prior": shown.decoded(shown.prior),
        }
    )


def capacity(shown: Material) -> Figure:
    """Returns images, what their codes decode to, and the nearest that the decoder can come."""
    rows = {"image": shown.originals, "encoder's mean": shown.decoded(shown.readings.mu)}
    if shown.latents is not None:
        rows["best z"] = shown.decoded(shown.latents)
    return image_rows(rows)


def augmentation(shown: Material) -> Figure:
    """Returns the excess NLL of plain and of transformed images; samples from the prior where no
    transform was given.
    """
    if shown.transformed is None:
        return image_rows({"image": shown.originals, "from the prior": shown.decoded(shown.prior)})
    excess_nll = {
        "as they are": shown.readings.excess_nll.cpu(),
        "transformed": shown.transformed.excess_nll.cpu(),
    }
    return histograms(excess_nll, "excess NLL of an image (nats above the floor)", num_bins=30)


FIGURES = {
    "latent noise": latent_noise,
    "amortisation": amortisation,
    "active units": active_units,
    "collapse": collapse,
    "prior moments": prior,
    "prior holes": prior,
    "capacity": capacity,
    "augmentation": augmentation,
}


NUM_OPTIMISED = 96  # images whose codes are optimised
MIN_IMAGES = 100


def diagnose(
    model: Any,
    images: Tensor,
    *,
    train_transform: Callable[[Tensor], Tensor] | None = None,
    num_images: int = 500,
    seed: int = 0,
) -> Diagnosis:
    """Returns which of eight causes make an encoder/decoder pair disappoint: latent noise,
    amortisation, active units, collapse, prior moments, prior holes, capacity, augmentation. Each
    comes with value, error, threshold, verdict and figure; the prior is taken to be N(0, I).

    A collapsed code makes every other measurement meaningless, so then the others are "cannot
    tell". Thresholds, the same for all models: latent noise, amortisation and prior moments count
    from a tenth of the excess NLL on (nats that -ELBO lies above its floor), since less is not
    worth a change; prior holes from a fifth of the prior on, where the nearest neighbour rule tells
    codes from draws of the prior in 60 % of all cases; collapse below 1 nat, which tells fewer than
    three images apart; active units when most dimensions are dead; capacity when a quarter of the
    pixel variance stays unexplained, so that errors have half the amplitude of the images;
    augmentation when the training transform raises the excess NLL by less than a twentieth, since
    -ELBO rises for images that a model was not trained on.

    Args:
        model: a VAE of the course, any object with `encode` and `decode`, an `Adapter`, or a pair
            of the two functions (see `Adapter`).
        images: uint8 or signed `[N, C, H, W]`, at least 100, such as test images; not augmented.
        train_transform: signed images -> signed images, the random augmentation of the training;
            None: that cause cannot be told.
        num_images: how many images to use, a random choice.
        seed: of the choice and of all draws.

    Raises:
        CourseError: a model without encoder or decoder, images of another kind or too few, or
            answers of the wrong shape.
    """
    adapter, signed = as_adapter(model), _chosen(images, num_images, seed)
    readings = read(adapter, signed, seed)
    first = causes.collapse(readings)
    collapsed = first.verdict == PRESENT
    able = not collapsed and passes_gradients(adapter, readings.mu)
    excess_nll = optimise_posteriors(adapter, readings, NUM_OPTIMISED, seed) if able else None
    latents = optimise_latents(adapter, readings, NUM_OPTIMISED) if able else None
    errors, num_components = (
        (None, None) if latents is None else _capacity(adapter, readings, latents)
    )
    transformed = (
        read(adapter, _transformed(train_transform, readings.images), seed)
        if train_transform is not None
        else None
    )
    found = [
        causes.latent_noise(readings, collapsed),
        causes.amortisation(excess_nll, collapsed),
        causes.active_units(readings, collapsed),
        first,
        causes.prior_moments(readings, collapsed),
        causes.prior_holes(None if collapsed else _told_from_prior(readings, seed)),
        causes.capacity(readings, errors, num_components, collapsed),
        causes.augmentation(readings, transformed, collapsed),
    ]
    per_image = readings.excess_nll
    about = (
        f"{len(signed)} images, {readings.mu.shape[1]} latent dimensions, {adapter.likelihood}"
        f" likelihood. The excess NLL is -ELBO above its floor: {per_image.mean():.1f} ±"
        f" {per_image.std() / len(per_image) ** 0.5:.1f} nats an image."
    )
    shown = Material(
        adapter, readings, transformed, excess_nll, latents, prior_draws(readings, 10, seed)
    )
    return Diagnosis(
        {f.cause: f for f in found},
        about,
        {cause: partial(draw, shown) for cause, draw in FIGURES.items()},
    )


def _chosen(images: Tensor, num_images: int, seed: int) -> Tensor:
    check_count("num_images", num_images, MIN_IMAGES)
    if len(images) < MIN_IMAGES:
        raise CourseError(
            f"expected at least {MIN_IMAGES} images, got {len(images)}; the error bars of fewer say"
            " nothing."
        )
    chosen = images[torch.randperm(len(images), generator=make_rng(seed, 0))[:num_images]]
    if chosen.dtype == torch.uint8:
        return uint8_to_signed(chosen)
    check_signed(chosen)
    return chosen


def _transformed(transform: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    out = transform(images)
    if not isinstance(out, Tensor) or out.shape != images.shape:
        got = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise CourseError(
            f"train_transform: expected signed images of shape {list(images.shape)}, got {got}."
        )
    check_signed(out)
    return out


@torch.no_grad()
def _capacity(adapter: Adapter, readings: Readings, latents: Tensor) -> tuple[Tensor, int | None]:
    """Returns squared errors at the best z, and how many principal components of the other images
    reach their mean.
    """
    num = len(latents)
    errors = squared_errors(readings.images[:num], adapter.decode(latents))
    x = signed_to_unit(readings.images).flatten(1)
    others = x[num:] if len(x) >= 3 * num else x
    centred = x[:num] - others.mean(0)
    components = torch.linalg.svd(others - others.mean(0), full_matrices=False).Vh
    # after 1, 2, ... components
    left = centred.square().sum(1).mean() - (centred @ components.T).square().mean(0).cumsum(0)
    enough = (left <= errors.mean()).nonzero()
    return errors, int(enough[0]) + 1 if len(enough) else None


def _told_from_prior(readings: Readings, seed: int) -> Measurement:
    """Returns how well nearest neighbours tell codes from draws of the prior, in the dimensions
    that tell images apart; the others are noise, in which neighbours get lost.
    """
    active = readings.mu.var(0) > ACTIVE_VARIANCE
    if not active.any():
        active = torch.ones_like(active)
    draws = prior_draws(readings, len(readings.z), seed)
    return nearest_neighbour_accuracy(readings.z[:, active], draws[:, active])
