"""What the clinic measures once and all causes share: codes, costs and the aggregate posterior of some images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.clinic.adapter import Adapter
from course_utils.device import make_rng, randn
from course_utils.errors import CourseError
from course_utils.models.vae import gaussian_kl, reparameterise

NUM_DRAWS = 8  # of z for each image, where a mean over q(z | x) is taken
BATCH_SIZE = 500


@dataclass(frozen=True)
class Readings:
    """Measurements of N images; every cost is in nats above the floor of `Adapter.excess`.

    Attributes:
        images: signed, `[N, C, H, W]`.
        mu, logvar: of q(z | x), `[N, D]`.
        z: one draw from q(z | x) of each image, `[N, D]`: together, draws from the aggregate posterior.
        from_mean, from_sample: cost of decoding the mean, and of decoding a draw (mean over draws), `[N]`.
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
    def bill(self) -> Tensor:
        """-ELBO minus the floor: the nats that a perfect model could save, `[N]`."""
        return self.from_sample + self.kl.sum(1)

    @property
    def aggregate_variance(self) -> Tensor:
        """Variance of each dimension over the aggregate posterior, `[D]`: that of the means plus the mean of the variances."""
        return self.mu.var(0) + self.logvar.exp().mean(0)


@torch.no_grad()
def read(adapter: Adapter, images: Tensor, seed: int) -> Readings:
    """Returns the readings of signed images `[N, C, H, W]`.

    Raises:
        CourseError: encoder or decoder answer with other shapes than an adapter promises, or with numbers that are not finite.
    """
    rng, rows = make_rng(seed, 1), []
    for batch in images.to(adapter.device).split(BATCH_SIZE):
        mu, logvar = adapter.encode(batch)
        _check_code(mu, logvar, len(batch))
        _check_decoded(adapter.decode(mu), batch)
        draws = [reparameterise(mu, logvar, rng) for _ in range(NUM_DRAWS)]
        from_sample = torch.stack([adapter.excess(batch, adapter.decode(z)) for z in draws]).mean(0)
        rows.append((batch, mu, logvar, draws[0], adapter.excess(batch, adapter.decode(mu)), from_sample, gaussian_kl(mu, logvar)))
    return Readings(*(torch.cat(parts) for parts in zip(*rows)))


def _check_code(mu: Tensor, logvar: Tensor, num: int) -> None:
    if mu.ndim != 2 or len(mu) != num or mu.shape != logvar.shape:
        raise CourseError(f"encode: expected mean and log-variance, each of shape [{num}, D], got {list(mu.shape)} and {list(logvar.shape)}.")
    if not (mu.isfinite().all() and logvar.isfinite().all()):
        raise CourseError("encode: expected finite means and log-variances, got NaN or infinity; the encoder has diverged.")


def _check_decoded(decoded: Tensor, images: Tensor) -> None:
    if decoded.shape != images.shape:
        raise CourseError(f"decode: expected images of shape {list(images.shape)}, got {list(decoded.shape)}; reshape them in the adapter.")
    low, high = (value.item() for value in decoded.aminmax())
    if not (low >= -1.001 and high <= 1.001):
        raise CourseError(f"decode: expected signed images in [-1, 1], got {low:.3g} to {high:.3g}; convert in the adapter.")


def mutual_information(readings: Readings) -> tuple[Tensor, float]:
    """Returns I(x; z) in nats as one estimate for each image, `[N]`, and the largest value that N images can show, log N.

    Each draw is compared with the codes of all images: the log-probability under its own code minus that under their mixture.

    Source: Hoffman & Johnson 2016 ("ELBO surgery", NIPS workshop), eq. 5, with the mixture over the given images.
    """
    z, mu, logvar = (value.double() for value in (readings.z, readings.mu, readings.logvar))
    precision = (-logvar).exp()
    squares = z.square() @ precision.T - 2 * z @ (mu * precision).T + (mu.square() * precision).sum(1)
    log_q = -0.5 * (squares + logvar.sum(1))  # [N draws, N codes], without the constant that cancels
    return log_q.diagonal() - log_q.logsumexp(1) + math.log(len(z)), math.log(len(z))


def aggregate_kl(z: Tensor) -> tuple[float, float]:
    """Returns a lower bound on KL(q(z) || N(0, I)) in nats, and its standard error: the KL of a Gaussian with the draws' mean and covariance.

    Among all distributions with one mean and covariance the Gaussian is closest to N(0, I), so the bound sees no clusters and no holes.
    The expected value for draws that do come from N(0, I), about D (D + 3) / 4N, is taken off.

    Args:
        z: draws from the aggregate posterior, `[N, D]`, N above D.

    Source: Cover & Thomas 2006, theorem 8.6.5 (maximum entropy); as a share of the KL: Hoffman & Johnson 2016.
    """
    z = z.double().cpu()
    num, dim = z.shape
    mean, covariance = z.mean(0), z.T.cov().reshape(dim, dim)
    value = 0.5 * (covariance.trace() + mean.square().sum() - dim - torch.logdet(covariance))
    centred = z - mean
    influence = 0.5 * (z.square().sum(1) - (torch.linalg.solve(covariance, centred.T).T * centred).sum(1))
    return value.item() - dim * (dim + 3) / (4 * num), influence.std().item() / math.sqrt(num)


def prior_draws(readings: Readings, num: int, seed: int) -> Tensor:
    """Returns draws from N(0, I) where the codes are, `[num, D]`."""
    return randn((num, readings.mu.shape[1]), make_rng(seed, 2), readings.mu)
