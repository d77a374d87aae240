"""The best code of each image, found by gradient descent from the encoder's answer: what encoder and decoder could have done."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.clinic.adapter import Adapter
from course_utils.clinic.readings import Readings
from course_utils.descent import descend
from course_utils.device import make_rng, randn
from course_utils.images import signed_to_unit

CALIBRATION_STEPS, POSTERIOR_STEPS, LATENT_STEPS = 30, 80, 80
EVALUATION_DRAWS = 32


class Bills(NamedTuple):
    """Nats of each image, `[N]`: with the encoder's answers, with their noise scaled alike for all images, and with the best answer for each."""

    encoder: Tensor
    calibrated: Tensor
    optimised: Tensor
    mu: Tensor  # the best means, [N, D]


def optimise_posteriors(adapter: Adapter, readings: Readings, num_images: int, seed: int) -> Bills:
    """Returns what the first images cost with better and better posteriors, all measured with the same draws.

    First one factor a dimension rescales the noise of all images alike: what that saves is an encoder that is too sure or too unsure, and no
    amortisation gap. Then mean and log-variance of each image are optimised by themselves. In place of N(0, I) stands a Gaussian with the mean
    and variances of the aggregate posterior, so that a prior that does not fit is not counted here as well.

    Source: Cremer et al. 2018 (arXiv:1801.03558), section 3; the calibration and the prior are ours.
    """
    images, mu, logvar = (value[:num_images] for value in (readings.images, readings.mu, readings.logvar))
    centre, variance = readings.mu.mean(0), readings.aggregate_variance
    rng = make_rng(seed, 3)

    def bill(mean: Tensor, log_variance: Tensor, eps: Tensor) -> Tensor:
        decoded = adapter.decode(mean + torch.exp(0.5 * log_variance) * eps)
        kl = 0.5 * (((mean - centre).square() + log_variance.exp()) / variance - 1 - log_variance + variance.log()).sum(1)
        return adapter.excess(images, decoded) + kl

    @torch.no_grad()
    def measure(mean: Tensor, log_variance: Tensor) -> Tensor:
        draws = make_rng(seed, 4)
        return torch.stack([bill(mean, log_variance, randn(tuple(mu.shape), draws, mu)) for _ in range(EVALUATION_DRAWS)]).mean(0)

    def noise() -> Tensor:
        return randn(tuple(mu.shape), rng, mu)

    factor = torch.zeros_like(mu[0])
    (factor,) = descend(lambda f: bill(mu, logvar + f, noise()).mean(), [factor], CALIBRATION_STEPS, 0.15)
    calibrated = logvar + factor
    scale = variance.sqrt()
    step, change = descend(
        lambda s, c: bill(mu + scale * s, calibrated + c, noise()).sum(), [torch.zeros_like(mu), torch.zeros_like(mu)], POSTERIOR_STEPS, 0.04
    )
    best = mu + scale * step
    return Bills(measure(mu, logvar), measure(mu, calibrated), measure(best, calibrated + change), best)


def optimise_latents(adapter: Adapter, readings: Readings, num_images: int) -> Tensor:
    """Returns the latents whose decoded images have the least squared error, `[num_images, D]`: no noise, no prior, no encoder.

    The search starts from the code, among those of all images, whose decoded image is nearest.
    """
    images = readings.images[:num_images]
    with torch.no_grad():
        decoded = adapter.decode(readings.mu)
        start = readings.mu[torch.cdist(images.flatten(1), decoded.flatten(1)).argmin(1)]
        before = squared_errors(images, adapter.decode(start))
    scale = readings.aggregate_variance.sqrt()
    (step,) = descend(lambda s: squared_errors(images, adapter.decode(start + scale * s)).sum(), [torch.zeros_like(start)], LATENT_STEPS, 0.1)
    with torch.no_grad():
        found = start + scale * step
        better = squared_errors(images, adapter.decode(found)) < before
    return torch.where(better[:, None], found, start)


def squared_errors(images: Tensor, decoded: Tensor) -> Tensor:
    """Returns the sum over pixels of squared differences in [0, 1] units, `[B]`, for signed images."""
    return (signed_to_unit(images) - signed_to_unit(decoded)).square().flatten(1).sum(1)


def passes_gradients(adapter: Adapter, z: Tensor) -> bool:
    """Returns whether gradients pass through the decoder; a `torch.no_grad()` inside it stops them."""
    with torch.enable_grad():
        return adapter.decode(z[:1].detach().requires_grad_()).requires_grad
