"""What the clinic asks of a model, and what it measures once for all causes: codes, costs, and the
best code of each image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng, randn
from course_utils.base.errors import CourseError, unknown
from course_utils.base.images import signed_to_unit
from course_utils.inverse.search import minimise
from course_utils.models.vae import gaussian_kl, reparameterise

LIKELIHOODS = ("bernoulli", "gaussian")
# a float32 sigmoid rounds to exactly 1 beyond it, and the cost of a pixel to infinity
SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Adapter:
    """An encoder and a decoder as two functions.

    Attributes:
        encode: signed images `[B, C, H, W]` -> mean and log-variance of q(z | x), `[B, D]` each.
        decode: latents `[B, D]` -> signed images `[B, C, H, W]`, the mean of p(x | z); gradients
            have to pass through it.
        likelihood: of a pixel given z, "bernoulli" (cross-entropy on [0, 1]) or "gaussian".
        noise_std: of the Gaussian likelihood, in units of the [0, 1] pixel range.
        device: where images and latents have to be.
    """

    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    noise_std: float = 0.1
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.likelihood not in LIKELIHOODS:
            raise unknown("likelihood", self.likelihood, LIKELIHOODS)
        require(self.noise_std > 0, "noise_std", "more than 0", self.noise_std)

    def excess(self, images: Tensor, decoded: Tensor) -> Tensor:
        """Returns -log p(x | z) minus its least possible value, that of decoded = images: nats, 0
        or more, `[B]`.

        Grey pixels cost something even when they are predicted perfectly; that floor says nothing
        about a model, so it is taken off.

        Args:
            images, decoded: signed, `[B, C, H, W]`.
        """
        x, p = signed_to_unit(images), signed_to_unit(decoded)
        if self.likelihood == "gaussian":
            return 0.5 * ((x - p) / self.noise_std).square().flatten(1).sum(1)
        p = p.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        cost = F.binary_cross_entropy(p, x, reduction="none")
        floor = -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x))
        return (cost - floor).flatten(1).sum(1)

    def floor(self, images: Tensor) -> Tensor:
        """Returns -log p(x | z) of decoded = images: the part of every cost that no model can save,
        `[B]` in nats.
        """
        x = signed_to_unit(images)
        if self.likelihood == "gaussian":
            return torch.full(
                (len(x),),
                x[0].numel() * (math.log(self.noise_std) + 0.5 * math.log(2 * math.pi)),
                device=x.device,
            )
        return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).flatten(1).sum(1)


def as_adapter(model: Any) -> Adapter:
    """Returns the adapter of a model: an Adapter as it is, else whatever has `encode` and `decode`,
    or a pair of two functions.

    A model's likelihood is read from its `config` where there is one; else it is Bernoulli. A model
    is expected in evaluation mode.

    Raises:
        CourseError: it has no encoder or no decoder, or is in training mode.
    """
    if isinstance(model, Adapter):
        return model
    if _is_pair(model):
        return Adapter(*model)
    if not callable(getattr(model, "encode", None)) or not callable(getattr(model, "decode", None)):
        raise CourseError(
            "expected a model with encode() and decode(), or an Adapter(encode, decode), got"
            f" {type(model).__name__}; an adapter of two functions makes any encoder/decoder pair"
            " fit."
        )
    if getattr(model, "training", False):
        raise CourseError(
            "expected a model in evaluation mode, got one in training mode; call .eval() first."
        )
    config = getattr(model, "config", None)
    parameters = list(model.parameters()) if hasattr(model, "parameters") else []
    return Adapter(
        model.encode,
        model.decode,
        getattr(config, "likelihood", "bernoulli"),
        getattr(config, "noise_std", 0.1),
        parameters[0].device if parameters else "cpu",
    )


def _is_pair(model: Any) -> bool:
    return isinstance(model, (tuple, list)) and len(model) == 2 and all(map(callable, model))


NUM_DRAWS = 8  # of z for each image, where a mean over q(z | x) is taken
BATCH_SIZE = 500


@dataclass(frozen=True)
class Readings:
    """Measurements of N images; every cost is in nats above the floor of `Adapter.excess`.

    Attributes:
        images: signed, `[N, C, H, W]`.
        mu, logvar: of q(z | x), `[N, D]`.
        z: one draw from q(z | x) of each image, `[N, D]`: together, draws from the aggregate
            posterior.
        from_mean, from_sample: cost of decoding the mean, and of decoding a draw (mean over draws),
            `[N]`.
        kl: KL(q(z | x) || N(0, I)) of each dimension, `[N, D]`.
    """

    images: Tensor
    mu: Tensor
    logvar: Tensor
    z: Tensor
    from_mean: Tensor
    from_sample: Tensor
    kl: Tensor

    @property
    def excess_nll(self) -> Tensor:
        """-ELBO minus the floor: the nats that a perfect model could save, `[N]`."""
        return self.from_sample + self.kl.sum(1)

    @property
    def aggregate_variance(self) -> Tensor:
        """Variance of each dimension over the aggregate posterior, `[D]`: that of the means plus
        the mean of the variances.
        """
        return self.mu.var(0) + self.logvar.exp().mean(0)


@torch.no_grad()
def read(adapter: Adapter, images: Tensor, seed: int) -> Readings:
    """Returns the readings of signed images `[N, C, H, W]`.

    Raises:
        CourseError: encoder or decoder answer with other shapes than an adapter promises, or with
            numbers that are not finite.
    """
    rng, rows = make_rng(seed, 1), []
    for batch in images.to(adapter.device).split(BATCH_SIZE):
        mu, logvar = adapter.encode(batch)
        _check_code(mu, logvar, len(batch))
        _check_decoded(adapter.decode(mu), batch)
        draws = [reparameterise(mu, logvar, rng) for _ in range(NUM_DRAWS)]
        from_sample = torch.stack([adapter.excess(batch, adapter.decode(z)) for z in draws]).mean(0)
        rows.append(
            (
                batch,
                mu,
                logvar,
                draws[0],
                adapter.excess(batch, adapter.decode(mu)),
                from_sample,
                gaussian_kl(mu, logvar),
            )
        )
    return Readings(*(torch.cat(parts) for parts in zip(*rows)))


def _check_code(mu: Tensor, logvar: Tensor, num: int) -> None:
    if mu.ndim != 2 or len(mu) != num or mu.shape != logvar.shape:
        raise CourseError(
            f"encode: expected mean and log-variance, each of shape [{num}, D], got"
            f" {list(mu.shape)} and {list(logvar.shape)}."
        )
    if not (mu.isfinite().all() and logvar.isfinite().all()):
        raise CourseError(
            "encode: expected finite means and log-variances, got NaN or infinity; the encoder has"
            " diverged."
        )


def _check_decoded(decoded: Tensor, images: Tensor) -> None:
    if decoded.shape != images.shape:
        raise CourseError(
            f"decode: expected images of shape {list(images.shape)}, got {list(decoded.shape)};"
            " reshape them in the adapter."
        )
    low, high = (value.item() for value in decoded.aminmax())
    if not (low >= -1.001 and high <= 1.001):
        raise CourseError(
            f"decode: expected signed images in [-1, 1], got {low:.3g} to {high:.3g}; convert in"
            " the adapter."
        )


def mutual_information(readings: Readings) -> tuple[Tensor, float]:
    """Returns I(x; z) in nats as one estimate for each image, `[N]`, and the largest value that N
    images can show, log N.

    Each draw is compared with the codes of all images: the log-probability under its own code minus
    that under their mixture.

    Source: Hoffman & Johnson 2016 ("ELBO surgery", NIPS workshop), eq. 5, with the mixture over the
    given images.
    """
    z, mu, logvar = (value.double() for value in (readings.z, readings.mu, readings.logvar))
    precision = (-logvar).exp()
    squares = (
        z.square() @ precision.T - 2 * z @ (mu * precision).T + (mu.square() * precision).sum(1)
    )
    # [N draws, N codes], without the constant that cancels
    log_q = -0.5 * (squares + logvar.sum(1))
    return log_q.diagonal() - log_q.logsumexp(1) + math.log(len(z)), math.log(len(z))


def aggregate_kl(z: Tensor) -> tuple[float, float]:
    """Returns a lower bound on KL(q(z) || N(0, I)) in nats, and its standard error: the KL of a
    Gaussian with the draws' mean and covariance.

    Among all distributions with one mean and covariance the Gaussian is closest to N(0, I), so the
    bound sees no clusters and no holes. The expected value for draws that do come from N(0, I),
    about D (D + 3) / 4N, is taken off.

    Args:
        z: draws from the aggregate posterior, `[N, D]`, N above D.

    Source: Cover & Thomas 2006, theorem 8.6.5 (maximum entropy); as a share of the KL: Hoffman &
    Johnson 2016.
    """
    z = z.double().cpu()
    num, dim = z.shape
    mean, covariance = z.mean(0), z.T.cov().reshape(dim, dim)
    value = 0.5 * (covariance.trace() + mean.square().sum() - dim - torch.logdet(covariance))
    centred = z - mean
    influence = 0.5 * (
        z.square().sum(1) - (torch.linalg.solve(covariance, centred.T).T * centred).sum(1)
    )
    return value.item() - dim * (dim + 3) / (4 * num), influence.std().item() / math.sqrt(num)


def prior_draws(readings: Readings, num: int, seed: int) -> Tensor:
    """Returns draws from N(0, I) where the codes are, `[num, D]`."""
    return randn((num, readings.mu.shape[1]), make_rng(seed, 2), readings.mu)


CALIBRATION_STEPS, POSTERIOR_STEPS, LATENT_STEPS = 30, 80, 80
EVALUATION_DRAWS = 32


class ExcessNLL(NamedTuple):
    """Nats of each image, `[N]`: with the encoder's answers, with their noise scaled alike for all
    images, and with the best answer for each.
    """

    encoder: Tensor
    calibrated: Tensor
    optimised: Tensor
    mu: Tensor  # the best means, [N, D]


def optimise_posteriors(
    adapter: Adapter, readings: Readings, num_images: int, seed: int
) -> ExcessNLL:
    """Returns the excess NLL of the first images with better and better posteriors, all measured
    with the same draws.

    First one factor per dimension rescales the noise of all images alike: what that saves is due to
    an encoder that is too sure or too unsure, and is no amortisation gap. Then mean and
    log-variance of each image are optimised by themselves. In place of N(0, I) stands a Gaussian
    with the mean and variances of the aggregate posterior, so that a prior that does not fit is not
    counted here as well.

    Source: Cremer et al. 2018 (arXiv:1801.03558), section 3; the calibration and the prior are
    ours.
    """
    images, mu, logvar = (
        value[:num_images] for value in (readings.images, readings.mu, readings.logvar)
    )
    centre, variance = readings.mu.mean(0), readings.aggregate_variance
    rng = make_rng(seed, 3)

    def excess_nll(mean: Tensor, log_variance: Tensor, eps: Tensor) -> Tensor:
        decoded = adapter.decode(mean + torch.exp(0.5 * log_variance) * eps)
        kl = 0.5 * (
            ((mean - centre).square() + log_variance.exp()) / variance
            - 1
            - log_variance
            + variance.log()
        ).sum(1)
        return adapter.excess(images, decoded) + kl

    @torch.no_grad()
    def measure(mean: Tensor, log_variance: Tensor) -> Tensor:
        draws = make_rng(seed, 4)
        return torch.stack(
            [
                excess_nll(mean, log_variance, randn(tuple(mu.shape), draws, mu))
                for _ in range(EVALUATION_DRAWS)
            ]
        ).mean(0)

    def noise() -> Tensor:
        return randn(tuple(mu.shape), rng, mu)

    factor = torch.zeros_like(mu[0])
    (factor,) = minimise(
        lambda f: excess_nll(mu, logvar + f, noise()).mean(), [factor], CALIBRATION_STEPS, 0.15
    )
    calibrated = logvar + factor
    scale = variance.sqrt()
    step, change = minimise(
        lambda s, c: excess_nll(mu + scale * s, calibrated + c, noise()).sum(),
        [torch.zeros_like(mu), torch.zeros_like(mu)],
        POSTERIOR_STEPS,
        0.04,
    )
    best = mu + scale * step
    return ExcessNLL(
        measure(mu, logvar), measure(mu, calibrated), measure(best, calibrated + change), best
    )


def optimise_latents(adapter: Adapter, readings: Readings, num_images: int) -> Tensor:
    """Returns the latents whose decoded images have the least squared error, `[num_images, D]`: no
    noise, no prior, no encoder.

    The search starts from the code, among those of all images, whose decoded image is nearest.
    """
    images = readings.images[:num_images]
    with torch.no_grad():
        decoded = adapter.decode(readings.mu)
        start = readings.mu[torch.cdist(images.flatten(1), decoded.flatten(1)).argmin(1)]
        before = squared_errors(images, adapter.decode(start))
    scale = readings.aggregate_variance.sqrt()
    (step,) = minimise(
        lambda s: squared_errors(images, adapter.decode(start + scale * s)).sum(),
        [torch.zeros_like(start)],
        LATENT_STEPS,
        0.1,
    )
    with torch.no_grad():
        found = start + scale * step
        better = squared_errors(images, adapter.decode(found)) < before
    return torch.where(better[:, None], found, start)


def squared_errors(images: Tensor, decoded: Tensor) -> Tensor:
    """Returns the sum over pixels of squared differences in [0, 1] units, `[B]`, for signed
    images.
    """
    return (signed_to_unit(images) - signed_to_unit(decoded)).square().flatten(1).sum(1)


def passes_gradients(adapter: Adapter, z: Tensor) -> bool:
    """Returns whether gradients pass through the decoder; a `torch.no_grad()` inside it stops
    them.
    """
    with torch.enable_grad():
        return adapter.decode(z[:1].detach().requires_grad_()).requires_grad
