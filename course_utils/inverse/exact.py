"""The exact posterior of an inverse problem whose prior is a mixture of Gaussians: means,
covariances, class probabilities and draws.

Under y = A x + s n each Gaussian N(m, C) becomes N(m + K (y - A m), C - K A C) with the gain K = C
A^T (A C A^T + s^2 I)^-1, and its share grows or shrinks with how likely it finds y. So the
posterior is a mixture again.

Source: Bishop 2006, Pattern Recognition and Machine Learning, eqs. 2.113-2.117.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.base.device import randn
from course_utils.base.errors import CourseError
from course_utils.inverse.operators import dense
from course_utils.inverse.problems import Problem
from course_utils.models.diffusion.exact import GaussianMixture


@dataclass(frozen=True)
class ExactPosterior:
    """p(x | y) for a batch of measurements: a mixture with shares and means of its own for each,
    and covariances that all share.

    Attributes:
        image_shape: (C, H, W).
        shares: p(component | y), `[B, M]`.
        means: of each component given y, `[B, M, D]`.
        covariances: of each component given y, the same whatever y is, `[M, D, D]`.
    """

    image_shape: tuple[int, int, int]
    shares: Tensor
    means: Tensor
    covariances: Tensor

    def mean(self) -> Tensor:
        """Returns E[x | y], the image with the least expected squared error, `[B, C, H, W]`; not
        clamped.
        """
        return (self.shares[:, None] @ self.means)[:, 0].view(-1, *self.image_shape)

    def covariance(self, index: int) -> Tensor:
        """Returns Cov[x | y] of measurement `index`, within and between components, `[D, D]`."""
        shares, means = self.shares[index], self.means[index]
        centred = means - shares @ means
        return torch.einsum("m,mij->ij", shares, self.covariances) + torch.einsum(
            "m,mi,mj->ij", shares, centred, centred
        )

    def std(self) -> Tensor:
        """Returns the standard deviation of each pixel given y, `[B, C, H, W]`."""
        within = self.shares @ self.covariances.diagonal(dim1=1, dim2=2)
        between = (self.shares[:, None] @ self.means.square())[:, 0] - self.mean().flatten(
            1
        ).square()
        return (within + between.clamp(min=0)).sqrt().view(-1, *self.image_shape)

    def sample(self, num_samples: int, rng: torch.Generator | None = None) -> Tensor:
        """Returns independent draws of p(x | y), `[num_samples, B, C, H, W]`; a Gaussian does not
        know that pixels end at -1 and 1.
        """
        batch, dim = len(self.shares), self.means.shape[2]
        device = self.shares.device if rng is None else rng.device
        # [S, B]
        chosen = torch.multinomial(
            self.shares.to(device), num_samples, replacement=True, generator=rng
        ).T.to(self.shares.device)
        eps = randn((num_samples, batch, dim), rng, self.means)
        draws = torch.empty_like(eps)
        for component in chosen.unique().tolist():
            own = chosen == component
            draws[own] = eps[own] @ _root(self.covariances[component]).T
        # [S, B, D]
        means = self.means.gather(1, chosen.T[:, :, None].expand(-1, -1, dim)).transpose(0, 1)
        return (means + draws).view(num_samples, batch, *self.image_shape)


def exact_posterior(
    prior: GaussianMixture, problem: Problem, measurements: Tensor
) -> ExactPosterior:
    """Returns p(x | y) for measurements `[B, *measured_shape]`.

    Args:
        prior: of images as vectors of D = C H W pixels; float64 keeps the narrow directions of 784
            pixels apart.
        problem: A and its noise.
        measurements: y.

    Raises:
        CourseError: a prior of another number of pixels, or measurements of another shape.
    """
    problem.check_measurements(measurements)
    matrix = dense(problem.operator, prior.means.dtype).to(prior.means.device)  # [M, D]
    if matrix.shape[1] != prior.means.shape[1]:
        got = f"one of {prior.means.shape[1]} for images {list(problem.operator.image_shape)}"
        raise CourseError(
            f"prior: expected a distribution over {matrix.shape[1]} pixels, got {got}; take one"
            " that was fitted to such images."
        )
    y = measurements.flatten(1).to(prior.means)
    log_shares, means, covariances = [], [], []
    for share, mean, covariance in zip(prior.shares, prior.means, prior.covariances):
        cross = matrix @ covariance  # A C
        # Cov[y]
        noisy = cross @ matrix.T + problem.noise_std**2 * torch.eye(
            len(matrix), dtype=y.dtype, device=y.device
        )
        cholesky = torch.linalg.cholesky(noisy)
        gain = torch.cholesky_solve(cross, cholesky).T  # K = C A^T Cov[y]^-1
        offset = y - matrix @ mean
        whitened = torch.linalg.solve_triangular(cholesky, offset.T, upper=False)
        log_shares.append(
            share.log() - 0.5 * whitened.square().sum(0) - cholesky.diagonal().log().sum()
        )
        means.append(mean + offset @ gain.T)
        covariances.append(covariance - gain @ cross)
    return ExactPosterior(
        problem.operator.image_shape,
        torch.stack(log_shares, 1).softmax(1),
        torch.stack(means, 1),
        torch.stack(covariances),
    )


def _root(covariance: Tensor) -> Tensor:
    """Returns R with R R^T = covariance, but for a billionth of the mean variance: measured
    directions have next to none, and rounding takes some.
    """
    jitter = (
        1e-9
        * covariance.diagonal().mean()
        * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    )
    return torch.linalg.cholesky(covariance + jitter)
