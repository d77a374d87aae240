"""Latent spaces: paths and grids through them, and a density fitted to the latents of images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import check_count, check_features
from course_utils.models.vae import reparameterise

PARALLEL = 1e-4  # radians; below it arc and straight line are the same


def straight_path(start: Tensor, end: Tensor, shares: Sequence[float] | Tensor) -> Tensor:
    """Returns latents on the straight line between two, `[T, D]`.

    Args:
        start, end: `[D]` each.
        shares: of the way, `[T]`; 0 is the start, 1 the end.
    """
    shares = _check_ends(start, end, shares)
    return (1 - shares) * start + shares * end


def arc_path(start: Tensor, end: Tensor, shares: Sequence[float] | Tensor) -> Tensor:
    """Returns latents on the arc between two, `[T, D]`: spherical interpolation, which keeps the
    length where both ends have the same.

    Args:
        start, end: `[D]` each, neither zero nor opposite to each other.
        shares: of the way, `[T]`; 0 is the start, 1 the end.

    Raises:
        CourseError: a zero vector, or opposite ends, between which every arc is as short as any
            other.

    Source: Shoemake 1985, SIGGRAPH; White 2016 (arXiv:1609.04468), sec. 2.
    """
    shares = _check_ends(start, end, shares)
    lengths = start.norm() * end.norm()
    if lengths == 0:
        raise CourseError(
            "expected two latents that are not zero, got a zero vector, which has no direction; use"
            " straight_path."
        )
    angle = torch.arccos((torch.dot(start, end) / lengths).clamp(-1, 1))
    if angle > torch.pi - PARALLEL:
        raise CourseError(
            "expected ends that are not opposite, got an angle of 180 degrees, between which no arc"
            " is the shortest; move one end."
        )
    if angle < PARALLEL:
        return straight_path(start, end, shares[:, 0])
    return (torch.sin((1 - shares) * angle) * start + torch.sin(shares * angle) * end) / torch.sin(
        angle
    )


def _check_ends(start: Tensor, end: Tensor, shares: Sequence[float] | Tensor) -> Tensor:
    """Returns the shares as a column `[T, 1]` beside the latents."""
    if start.ndim != 1 or start.shape != end.shape:
        raise CourseError(
            f"expected two latents of one shape [D], got {list(start.shape)} and {list(end.shape)};"
            " pass z[0], z[1]."
        )
    return torch.as_tensor(shares).to(start)[:, None]


def traversal(z: Tensor, dim: int, values: Sequence[float] | Tensor) -> Tensor:
    """Returns copies of one latent `[D]` in which dimension `dim` takes each of the values `[T]` in
    turn, `[T, D]`.
    """
    if z.ndim != 1:
        raise CourseError(
            f"expected one latent of shape [D], got {list(z.shape)}; pass z[0] for the first of"
            " several."
        )
    require(0 <= dim < len(z), "dim", f"from 0 to {len(z) - 1}", dim)
    values = torch.as_tensor(values).to(z)
    moved = z.repeat(len(values), 1)
    moved[:, dim] = values
    return moved


def prior_quantiles(num: int, tail: float = 0.02) -> Tensor:
    """Returns `num` places of N(0, 1), ascending, that part it into equally likely pieces between
    the shares `tail` and 1 - `tail`, `[num]`.
    """
    require(num >= 2, "num", "at least 2", num)
    require(0 < tail < 0.5, "tail", "between 0 and 0.5", tail)
    return torch.distributions.Normal(0.0, 1.0).icdf(torch.linspace(tail, 1 - tail, num))


def truncated_quantiles(uniforms: Tensor, bound: float | None) -> Tensor:
    """Returns standard normal noise, each value given that it lies between -bound and bound, in the
    shape of `uniforms`.

    It is the inverse distribution function at `uniforms`, so it moves smoothly with the bound:
    equal uniforms make bounds compare.

    Args:
        uniforms: draws from the uniform distribution on [0, 1), float64 where the tails matter.
        bound: more than 0; None sets no bound.
    """
    require(bound is None or bound > 0, "bound", "more than 0, or None", bound)
    limit = math.inf if bound is None else bound
    inside = math.erf(limit / math.sqrt(2))  # the mass between the bounds
    z = math.sqrt(2) * torch.erfinv((2 * uniforms - 1) * inside)
    return z.clamp(-limit, limit)


def plane_grid(ticks: Tensor) -> Tensor:
    """Returns the points of a square grid in a 2-D latent space, `[num * num, 2]`, row by row from
    the top left: a page to decode and look at.

    Args:
        ticks: places on both axes, ascending, `[num]`; dimension 0 runs to the right, dimension 1
            upwards.
    """
    return torch.cartesian_prod(ticks.flip(0), ticks).flip(1)


def active_dims(mu: Tensor, threshold: float = 0.01) -> Tensor:
    """Returns which latent dimensions tell images apart, bool `[D]`: those whose mean varies by
    more than `threshold` over the images.

    Args:
        mu: means of q(z | x), `[N, D]`, at least 2 images.
        threshold: of the variance.

    Source: Burda et al. 2016 (arXiv:1509.00519), sec. 5.3.
    """
    if mu.ndim != 2 or len(mu) < 2:
        raise CourseError(
            f"mu: expected the means of at least 2 images, [N, D], got {list(mu.shape)}."
        )
    return mu.var(0) > threshold


MIN_VARIANCE = 1e-4  # added to each component's variances; codes vary on a scale of 1
# Measured on MNIST's training images: FID of samples 43 with 10 components, 33 with 50, 31 with 150
# at four times the time of fitting; 29 is that of reconstructions.
MOST_COMPONENTS, ROWS_A_DIMENSION = 50, 2


@dataclass(frozen=True)
class LatentDensity:
    """A Gaussian mixture in latent space, float64 on the CPU.

    Attributes:
        weights: share of each component, `[K]`, adding up to 1.
        means: `[K, D]`.
        scales: lower triangular `[K, D, D]`, covariance = scale scale^T.
    """

    weights: Tensor
    means: Tensor
    scales: Tensor

    def sample(
        self, n: int, *, rng: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Returns `n` latents, float32 `[n, D]`; `temperature` scales the spread within
        components.
        """
        check_count("n", n, 1)
        rng = make_rng(0) if rng is None else rng
        component = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        eps = torch.randn(n, self.means.shape[1], 1, generator=rng, dtype=torch.float64)
        return (
            self.means[component] + temperature * (self.scales[component] @ eps)[..., 0]
        ).float()

    def log_density(self, z: Tensor) -> Tensor:
        """Returns the log-density of latents `[N, D]` in nats, float64 `[N]`."""
        z = check_features(z, "z", min_images=1)
        if z.shape[1] != self.means.shape[1]:
            raise CourseError(
                f"expected latents of {self.means.shape[1]} dimensions, got {z.shape[1]}; this"
                " density belongs to another model."
            )
        rows = []
        for weight, mean, scale in zip(self.weights, self.means, self.scales):
            standardised = torch.linalg.solve_triangular(scale, (z - mean).T, upper=False)  # [D, N]
            log_volume = scale.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            rows.append(weight.log() - 0.5 * standardised.square().sum(0) - log_volume)
        return torch.stack(rows).logsumexp(0)


def fit_latent_density(
    mu: Tensor, logvar: Tensor, num_components: int | None = None, *, seed: int = 0
) -> LatentDensity:
    """Returns a Gaussian mixture with full covariances, fitted to one draw from q(z | x) of each
    image: the aggregate posterior.

    Fitting the means alone would leave the encoder's variances out, and the density would be too
    narrow.

    Args:
        mu, logvar: of q(z | x) for the training images, `[N, D]`; N above `num_components` times D.
        num_components: of the mixture; 1 is a single Gaussian. None: 50, or as many as have 2 D
            images each.
        seed: of the draws and of the fit's start.

    Source: Ghosh et al. 2020 (arXiv:1903.12436), "ex-post density estimation", section 4.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mu, logvar = check_features(mu, "mu"), check_features(logvar, "logvar")
    if num_components is None:
        affordable = len(mu) // (ROWS_A_DIMENSION * mu.shape[1])
        num_components = max(1, min(MOST_COMPONENTS, affordable))
    check_count("num_components", num_components, 1)
    if mu.shape != logvar.shape or len(mu) <= num_components * mu.shape[1]:
        needed = f"more than {num_components} x {mu.shape[1]} rows of mu and logvar alike"
        raise CourseError(
            f"expected {needed}, got {list(mu.shape)} and {list(logvar.shape)}; give more images or"
            " fewer components."
        )
    z = reparameterise(mu, logvar, make_rng(seed, 0))
    mixture = GaussianMixture(
        num_components, reg_covar=MIN_VARIANCE, max_iter=60, tol=1e-2, random_state=seed
    )
    with warnings.catch_warnings():
        # a mixture that could still improve a little is a density all the same
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(z.numpy())
    scales = torch.linalg.cholesky(torch.as_tensor(mixture.covariances_))
    return LatentDensity(torch.as_tensor(mixture.weights_), torch.as_tensor(mixture.means_), scales)
