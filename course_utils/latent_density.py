"""A density fitted to the codes of images: a Gaussian mixture to sample from in place of the prior N(0, I).

The mixture is fitted with scikit-learn; sampling and densities are torch, from the course's own generators.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.device import make_rng
from course_utils.errors import CourseError
from course_utils.metrics.guards import check_count, check_features
from course_utils.models.vae import reparameterise

MIN_VARIANCE = 1e-4  # added to each component's variances; codes vary on a scale of 1


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

    def sample(self, n: int, *, rng: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """Returns `n` latents, float32 `[n, D]`; `temperature` scales the spread within components."""
        check_count("n", n, 1)
        rng = make_rng(0) if rng is None else rng
        component = torch.multinomial(self.weights, n, replacement=True, generator=rng)
        eps = torch.randn(n, self.means.shape[1], 1, generator=rng, dtype=torch.float64)
        return (self.means[component] + temperature * (self.scales[component] @ eps)[..., 0]).float()

    def log_density(self, z: Tensor) -> Tensor:
        """Returns the log-density of latents `[N, D]` in nats, float64 `[N]`."""
        z = check_features(z, "z", min_images=1)
        if z.shape[1] != self.means.shape[1]:
            raise CourseError(f"expected latents of {self.means.shape[1]} dimensions, got {z.shape[1]}; this density belongs to another model.")
        rows = []
        for weight, mean, scale in zip(self.weights, self.means, self.scales):
            standardised = torch.linalg.solve_triangular(scale, (z - mean).T, upper=False)  # [D, N]
            log_volume = scale.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            rows.append(weight.log() - 0.5 * standardised.square().sum(0) - log_volume)
        return torch.stack(rows).logsumexp(0)


def fit_latent_density(mu: Tensor, logvar: Tensor, num_components: int = 10, *, seed: int = 0) -> LatentDensity:
    """Returns a Gaussian mixture with full covariances, fitted to one draw from q(z | x) of each image: the aggregate posterior.

    Fitting the means alone would leave the encoder's variances out, and the density would be too narrow.

    Args:
        mu, logvar: of q(z | x) for the training images, `[N, D]`; N above `num_components` times D.
        num_components: of the mixture; 1 is a single Gaussian.
        seed: of the draws and of the fit's start.

    Source: Ghosh et al. 2020 (arXiv:1903.12436), "ex-post density estimation", section 4.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mu, logvar = check_features(mu, "mu"), check_features(logvar, "logvar")
    check_count("num_components", num_components, 1)
    if mu.shape != logvar.shape or len(mu) <= num_components * mu.shape[1]:
        needed = f"more than {num_components} x {mu.shape[1]} rows of mu and logvar alike"
        raise CourseError(f"expected {needed}, got {list(mu.shape)} and {list(logvar.shape)}; give more images or fewer components.")
    z = reparameterise(mu, logvar, make_rng(seed, 0))
    mixture = GaussianMixture(num_components, reg_covar=MIN_VARIANCE, max_iter=60, tol=1e-2, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture that could still improve a little is a density all the same
        mixture.fit(z.numpy())
    scales = torch.linalg.cholesky(torch.as_tensor(mixture.covariances_))
    return LatentDensity(torch.as_tensor(mixture.weights_), torch.as_tensor(mixture.means_), scales)
