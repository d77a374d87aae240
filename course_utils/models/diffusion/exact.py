"""A mixture of Gaussians under noise: density, score, E[x0 | x_t] and class probabilities, all
exact. Two of its dimensions fit on a page.

The noise of a schedule turns each Gaussian N(m, S) into N(alpha m, alpha² S + sigma² I), so at
every time the mixture is a mixture again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from course_utils.base.config import require
from course_utils.base.device import randn
from course_utils.models.diffusion.schedules import Schedule


@dataclass(frozen=True)
class GaussianMixture:
    """Components N(mean, covariance), each of a class; a class may own several.

    Attributes:
        shares: of each component, above 0, adding up to 1, `[M]`.
        means: `[M, D]`.
        covariances: `[M, D, D]`.
        classes: of each component, int64 `[M]`, from 0.

    Source: the posterior mean is Tweedie's formula (Efron 2011) for a mixture; the rule for
    conditioning a Gaussian: Bishop 2006, eq. 2.116.
    """

    shares: Tensor
    means: Tensor
    covariances: Tensor
    classes: Tensor

    def __post_init__(self) -> None:
        num, dim = self.means.shape
        shapes = [list(part.shape) for part in (self.shares, self.covariances, self.classes)]
        require(
            shapes == [[num], [num, dim, dim], [num]],
            "shares, covariances, classes",
            f"[{num}], [{num}, {dim}, {dim}], [{num}]",
            shapes,
        )
        good = bool((self.shares > 0).all()) and abs(self.shares.sum().item() - 1) < 1e-5
        require(good, "shares", "numbers above 0 that add up to 1", self.shares.tolist())

    @property
    def num_classes(self) -> int:
        """Also the label that stands for no class."""
        return int(self.classes.max()) + 1

    def sample(self, num: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Returns `num` points `[num, D]` and their classes `[num]`."""
        chosen = torch.multinomial(self.shares, num, replacement=True, generator=rng)
        eps = randn((num, self.means.shape[1]), rng, self.means)
        factors = torch.linalg.cholesky(self.covariances)[chosen]
        return self.means[chosen] + (factors @ eps[..., None])[..., 0], self.classes[chosen]

    def at(self, schedule: Schedule, t: float, label: int | None = None) -> MixtureSameFamily:
        """Returns the distribution of x_t, of one class where `label` is given, as an object with
        `log_prob` and `sample`.
        """
        own = (
            torch.ones_like(self.classes, dtype=torch.bool)
            if label is None
            else self.classes == label
        )
        alpha, sigma = schedule.at(t, self.means[0])
        noise = sigma.square() * torch.eye(self.means.shape[1], dtype=self.means.dtype)
        components = MultivariateNormal(
            alpha * self.means[own], alpha.square() * self.covariances[own] + noise
        )
        return MixtureSameFamily(Categorical(self.shares[own]), components)

    def class_probabilities(self, schedule: Schedule, xt: Tensor, t: Tensor) -> Tensor:
        """Returns p(class | x_t), `[B, num_classes]`, for x_t `[B, D]` and times `[B]`."""
        weights = self._log_weights(schedule, xt, t).softmax(1)
        return xt.new_zeros(len(xt), self.num_classes).index_add_(1, self.classes, weights)

    def denoise(
        self, schedule: Schedule, xt: Tensor, t: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """Returns E[x0 | x_t] or E[x0 | x_t, label], `[B, D]`, for x_t `[B, D]` and times `[B]`.

        Args:
            labels: int64 `[B]`, where `num_classes` stands for no label; None for no labels at all.
        """
        weights = self._log_weights(schedule, xt, t)
        if labels is not None:
            other = (labels[:, None] != self.classes) & (labels[:, None] != self.num_classes)
            weights = weights.masked_fill(other, -torch.inf)
        alpha, _ = schedule.at(t, xt)
        gain = alpha[..., None, None] * torch.linalg.solve(
            self._covariances(schedule, t, xt), self.covariances.expand(len(xt), -1, -1, -1)
        )
        # E[x0 | x_t, component], [B, M, D]
        seen = self.means + (self._offsets(schedule, xt, t)[..., None, :] @ gain)[..., 0, :]
        return (weights.softmax(1)[..., None] * seen).sum(1)

    def score(
        self, schedule: Schedule, xt: Tensor, t: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """Returns the gradient of log p(x_t), or of log p(x_t | label), `[B, D]`; arguments as for
        `denoise`.
        """
        alpha, sigma = schedule.at(t, xt)
        return (alpha * self.denoise(schedule, xt, t, labels) - xt) / sigma.square()

    def guided_score(
        self, schedule: Schedule, xt: Tensor, t: Tensor, labels: Tensor, scale: float
    ) -> Tensor:
        """Returns the gradient of log p(x_t) + scale log p(label | x_t), what classifier-free
        guidance follows, `[B, D]`.

        Source: Ho & Salimans 2022 (arXiv:2207.12598), eq. 5-6, whose w is scale - 1.
        """
        plain = self.score(schedule, xt, t)
        return plain + scale * (self.score(schedule, xt, t, labels) - plain)

    def _covariances(self, schedule: Schedule, t: Tensor, like: Tensor) -> Tensor:
        """Returns alpha² S + sigma² I for each image and component, `[B, M, D, D]`."""
        alpha, sigma = (factor[..., None, None].square() for factor in schedule.at(t, like))
        return alpha * self.covariances + sigma * torch.eye(self.means.shape[1], dtype=like.dtype)

    def _offsets(self, schedule: Schedule, xt: Tensor, t: Tensor) -> Tensor:
        """Returns x_t minus the noisy mean of each component, `[B, M, D]`."""
        alpha, _ = schedule.at(t, xt)
        return xt[:, None] - alpha[..., None] * self.means

    def _log_weights(self, schedule: Schedule, xt: Tensor, t: Tensor) -> Tensor:
        """Returns log(share N(x_t; component)) for each component, `[B, M]`."""
        components = MultivariateNormal(
            torch.zeros_like(self.means), self._covariances(schedule, t, xt)
        )
        return self.shares.log() + components.log_prob(self._offsets(schedule, xt, t))


def ring(
    num_classes: int = 2, radius: float = 0.7, width: float = 0.12, num_components: int = 8
) -> GaussianMixture:
    """Returns round Gaussians of equal shares on a circle, whose classes take turns: a picture that
    shows modes, classes and guidance at once.

    Args:
        num_classes: at most `num_components`.
        radius: of the circle, in the units of x.
        width: standard deviation of each component.
        num_components: on the circle, at least 1.
    """
    require(
        1 <= num_classes <= num_components,
        "num_classes",
        f"1 to {num_components}, the number of components",
        num_classes,
    )
    require(width > 0, "width", "more than 0", width)
    angles = 2 * torch.pi * torch.arange(num_components, dtype=torch.float64) / num_components
    return GaussianMixture(
        shares=torch.full((num_components,), 1 / num_components, dtype=torch.float64),
        means=radius * torch.stack([angles.cos(), angles.sin()], dim=1),
        covariances=width**2 * torch.eye(2, dtype=torch.float64).repeat(num_components, 1, 1),
        classes=torch.arange(num_components) % num_classes,
    )
