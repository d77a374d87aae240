"""A latent-variable model so small that everything a VAE estimates can be computed: one latent
number z, one observed number x.

    z ~ N(0, 1),    x | z ~ N(z + bend * sin(2 z), noise_std^2)

All functions work element by element in float64: `D` numbers x with `D` numbers z are D independent
copies side by side, and the log-probability of all of them is the sum over the last axis. With
`bend=0` the model is linear and Gaussian, and every answer has a closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import randn
from course_utils.base.errors import CourseError

# the prior has 1e-15 of its mass beyond; sums over this grid are exact to about 1e-12
LIMIT, NUM_POINTS = 8.0, 3201
MIN_NOISE_STD = 0.05  # with less noise the posterior would fall between the points of the grid


@dataclass(frozen=True)
class ToyLatentModel:
    """The model: decoder mean z + bend * sin(2 z), a noise of fixed width, a standard normal
    prior.
    """

    bend: float | Tensor = 1.2  # how far the decoder is from a straight line
    noise_std: float = 0.5  # of x given z

    def __post_init__(self) -> None:
        require(
            self.noise_std >= MIN_NOISE_STD, "noise_std", f"{MIN_NOISE_STD} or more", self.noise_std
        )

    def decode(self, z: Tensor) -> Tensor:
        """Returns the mean of p(x | z), in the shape of `z`."""
        return z + self.bend * torch.sin(2 * z)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Returns log p(x | z) in nats; `x` and `z` broadcast."""
        return log_normal(x, self.decode(z), self.noise_std)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """Returns log p(x, z) = log p(x | z) + log p(z) in nats; `x` and `z` broadcast."""
        return self.log_likelihood(x, z) + log_normal(z, 0.0, 1.0)

    def log_evidence(self, x: Tensor) -> Tensor:
        """Returns log p(x) in nats for each number of `x`: the integral over z on a fine grid,
        exact to about 1e-12.
        """
        z = latent_grid(x)
        return self.log_joint(x[..., None], z).logsumexp(-1) + math.log(_spacing())

    def log_posterior(self, x: Tensor, z: Tensor) -> Tensor:
        """Returns log p(z | x) in nats by Bayes' rule; `x` and `z` broadcast."""
        return self.log_joint(x, z) - self.log_evidence(x)

    def sample(self, n: int, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Returns `n` latents drawn from the prior and one observation for each, both float64
        `[n]`.
        """
        like = torch.empty(0, dtype=torch.float64)
        z = randn((n,), rng, like)
        return z, self.decode(z) + self.noise_std * randn((n,), rng, like)


def log_normal(value: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """Returns log N(value; mean, std^2) in nats; all arguments broadcast."""
    std = torch.as_tensor(std, dtype=torch.float64)
    return -0.5 * ((value - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def latent_grid(like: Tensor | None = None) -> Tensor:
    """Returns the grid of z that integrals are summed on, float64 `[3201]` from -8 to 8, on the
    device of `like`.
    """
    return torch.linspace(
        -LIMIT, LIMIT, NUM_POINTS, dtype=torch.float64, device=None if like is None else like.device
    )


def reconstruction(model: ToyLatentModel, x: Tensor, mu: Tensor, std: Tensor) -> Tensor:
    """Returns E_q log p(x | z) in nats for q = N(mu, std^2); all arguments broadcast.

    Raises:
        CourseError: a `std` that is not above 0.
    """
    return _mean_under_q(partial(model.log_likelihood, x[..., None]), mu, std)


def elbo(model: ToyLatentModel, x: Tensor, mu: Tensor, std: Tensor) -> Tensor:
    """Returns the evidence lower bound in nats for q = N(mu, std^2): E_q log p(x | z) - KL(q ||
    prior); all arguments broadcast.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), eq. 3.
    """
    price = 0.5 * (mu.square() + std.square() - 1.0) - std.log()  # KL(q || N(0, 1)) in closed form
    return reconstruction(model, x, mu, std) - price


def gap(model: ToyLatentModel, x: Tensor, mu: Tensor, std: Tensor) -> Tensor:
    """Returns KL(q || p(z | x)) in nats for q = N(mu, std^2), an integral over z; all arguments
    broadcast. It never uses the ELBO.

    Raises:
        CourseError: a `std` that is not above 0.
    """
    log_evidence = model.log_evidence(x)[..., None]
    mean, width = mu[..., None], std[..., None]

    def log_ratio(z: Tensor) -> Tensor:
        return log_normal(z, mean, width) - (model.log_joint(x[..., None], z) - log_evidence)

    return _mean_under_q(log_ratio, mu, std)


def best_gaussian(model: ToyLatentModel, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of the Gaussian q with the highest ELBO for one number
    `x`: a grid search, refined eight times.

    Args:
        x: a scalar tensor.
    """
    if x.ndim != 0:
        raise CourseError(f"expected one number x, got shape {list(x.shape)}; call once for each.")
    centre, reach = (0.0, -1.0), (4.0, 2.5)  # of mu and of log std
    for _ in range(8):
        mu, log_std = (
            torch.linspace(c - r, c + r, 41, dtype=torch.float64) for c, r in zip(centre, reach)
        )
        mu, std = torch.meshgrid(mu, log_std.exp(), indexing="ij")
        best = elbo(model, x, mu, std).argmax()
        centre, reach = (
            (mu.flatten()[best].item(), std.flatten()[best].log().item()),
            tuple(r / 5 for r in reach),
        )
    return (
        torch.tensor(centre[0], dtype=torch.float64),
        torch.tensor(centre[1], dtype=torch.float64).exp(),
    )


class Gradients(NamedTuple):
    """One estimate of the ELBO's gradient for each draw, with respect to the mean and to the
    log-variance of q, `[num_draws, ..., D]`.
    """

    mu: Tensor
    logvar: Tensor


def reparameterised_gradients(
    model: ToyLatentModel,
    x: Tensor,
    mu: Tensor,
    logvar: Tensor,
    num_draws: int,
    *,
    rng: torch.Generator | None = None,
) -> Gradients:
    """Returns the gradient of log p(x, z) - log q(z) through z = mu + sigma * eps for each draw, an
    unbiased estimate of the ELBO's.

    Args:
        x: observations `[D]`, one for each latent number.
        mu, logvar: of q, `[..., D]`.
        num_draws: how many z to draw, at least 1.
        rng: source of the draws.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), sec. 2.4; Rezende et al. 2014
    (arXiv:1401.4082).
    """
    eps = randn((num_draws, *mu.shape), rng, mu)
    # one copy a draw: one gradient a draw
    mu, logvar = (
        value.detach().expand(eps.shape).clone().requires_grad_() for value in (mu, logvar)
    )
    std = torch.exp(0.5 * logvar)
    z = mu + std * eps
    total = (model.log_joint(x, z) - log_normal(z, mu, std)).sum()
    return Gradients(*torch.autograd.grad(total, (mu, logvar)))


def _spacing() -> float:
    return 2 * LIMIT / (NUM_POINTS - 1)


def _mean_under_q(function: Callable[[Tensor], Tensor], mu: Tensor, std: Tensor) -> Tensor:
    """Returns E f(mu + std * eps) for eps ~ N(0, 1), a sum over a grid of eps, which `function`
    gets as the last axis of z.
    """
    if not (std > 0).all():
        raise CourseError(
            f"std: expected numbers above 0, got {std.min().item():.3g}; pass exp(0.5 * logvar)."
        )
    eps = latent_grid(mu)[::5]
    weights = log_normal(eps, 0.0, 1.0).exp() * 5 * _spacing()
    return (function(mu[..., None] + std[..., None] * eps) * weights).sum(-1)
