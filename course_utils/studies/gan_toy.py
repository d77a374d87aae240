"""A GAN on a line, where everything that a GAN only estimates can be computed: the best
discriminator, the value of the game, the generator's pull.

Densities live on a grid in float64 and in logs, so that nothing underflows where two distributions
hardly overlap. The losses are those of `models/dcgan.py`; derivatives come from autograd.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.dcgan import GanLoss, discriminator_loss, generator_loss
from course_utils.models.toy_vae import log_normal

LIMIT, NUM_POINTS = 12.0, 4801
SPACING = 2 * LIMIT / (NUM_POINTS - 1)
BATCH_SIZE, HIDDEN_DIM = 256, 32


@dataclass(frozen=True)
class Bells:
    """A distribution on the line: equally likely normal distributions side by side."""

    means: tuple[float, ...]
    std: float = 1.0  # of each

    def __post_init__(self) -> None:
        require(len(self.means) > 0, "means", "one or more numbers", self.means)
        require(
            self.std >= 10 * SPACING,
            "std",
            f"{10 * SPACING:g} or more, so that the grid resolves it",
            self.std,
        )
        require(
            max(map(abs, self.means)) + 6 * self.std <= LIMIT,
            "means",
            f"6 standard deviations inside ±{LIMIT:g}",
            self.means,
        )

    def log_density(self, x: Tensor) -> Tensor:
        """Returns log p(x) in nats, in the shape of `x`."""
        each = torch.stack([log_normal(x, mean, self.std) for mean in self.means])
        return each.logsumexp(0) - math.log(len(self.means))

    def sample(self, n: int, rng: torch.Generator | None = None) -> Tensor:
        """Returns `n` draws, float64 `[n]`."""
        means = torch.tensor(self.means, dtype=torch.float64)[
            torch.randint(len(self.means), (n,), generator=rng)
        ]
        return means + self.std * torch.randn(n, generator=rng, dtype=torch.float64)


def line() -> Tensor:
    """Returns the grid that integrals are summed on, float64 `[4801]` from -12 to 12."""
    return torch.linspace(-LIMIT, LIMIT, NUM_POINTS, dtype=torch.float64)


def optimal_scores(data: Bells, generated: Bells, x: Tensor) -> Tensor:
    """Returns the logit of the best discriminator, log p_data(x) - log p_gen(x), in the shape of
    `x`.

    Its sigmoid is D*(x) = p_data(x) / (p_data(x) + p_gen(x)).

    Source: Goodfellow et al. 2014 (arXiv:1406.2661), proposition 1.
    """
    return data.log_density(x) - generated.log_density(x)


def game_value(data: Bells, generated: Bells, scores: Tensor) -> float:
    """Returns E_data log D(x) + E_gen log(1 - D(x)) in nats, what the discriminator maximises; -2
    log 2 where it only guesses.

    Args:
        data, generated: the two distributions.
        scores: logits of D on `line()`, `[4801]`.

    Source: Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1.
    """
    if scores.shape != (NUM_POINTS,):
        raise CourseError(
            f"scores: expected one for each of the {NUM_POINTS:,} points of line(), got shape"
            f" {list(scores.shape)}."
        )
    scores = scores.double()
    return _mean(data, F.logsigmoid(scores)) + _mean(generated, F.logsigmoid(-scores))


def jensen_shannon(data: Bells, generated: Bells) -> float:
    """Returns the Jensen-Shannon divergence in nats, from 0 to log 2: the mean KL divergence from
    the average of the two.

    Source: Lin 1991, IEEE Transactions on Information Theory 37(1), eq. 3.4 with equal weights.
    """
    x = line()
    logs = torch.stack([data.log_density(x), generated.log_density(x)])
    average = logs.logsumexp(0) - math.log(2)
    return 0.5 * (_mean(data, logs[0] - average) + _mean(generated, logs[1] - average))


def generator_pull(loss: GanLoss, data: Bells, generated: Bells) -> float:
    """Returns how fast the generator's mean loss changes as all its points move to the right
    together; training moves them the other way.

    The discriminator is the best one for where the points are now, and stands still while they
    move.

    Args:
        loss: one that looks at generated points only.
        data, generated: the two distributions.
    """
    x = line().requires_grad_()
    (slopes,) = torch.autograd.grad(
        generator_loss(loss, optimal_scores(data, generated, x)).sum(), x
    )
    return _mean(generated, slopes)


def score_gradient(loss: GanLoss, scores: Tensor) -> Tensor:
    """Returns the derivative of the generator's loss with respect to each score, in the shape of
    `scores`.
    """
    scores = scores.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(generator_loss(loss, scores).sum(), scores)
    return gradient


def fit_discriminator(
    data: Bells, generated: Bells, steps: Sequence[int] = (0, 30, 2000), *, seed: int = 0
) -> dict[int, Tensor]:
    """Returns the scores of a small network that learns from samples alone: its scores on `line()`
    after each of some numbers of steps, `{step: [4801]}`.

    Args:
        data, generated: what it learns to tell apart, 256 fresh draws of each a step.
        steps: ascending; 0 is the untrained network.
        seed: of the weights and the draws.
    """
    require(
        list(steps) == sorted(set(steps)) and len(steps) > 0 and steps[0] >= 0,
        "steps",
        "ascending whole numbers from 0",
        steps,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(1, HIDDEN_DIM),
            nn.Tanh(),
            nn.Linear(HIDDEN_DIM, HIDDEN_DIM),
            nn.Tanh(),
            nn.Linear(HIDDEN_DIM, 1),
        )
    optimizer, rng, found = torch.optim.Adam(network.parameters(), lr=3e-3), make_rng(seed, 0), {}
    for step in range(steps[-1] + 1):
        if step in steps:
            with torch.no_grad():
                found[step] = network(line().float()[:, None]).squeeze(1).double()
        real, fake = (
            network(part.sample(BATCH_SIZE, rng).float()[:, None]).squeeze(1)
            for part in (data, generated)
        )
        optimizer.zero_grad()
        discriminator_loss("non-saturating", real, fake).mean().backward()
        optimizer.step()
    return found


def _mean(bells: Bells, values: Tensor) -> float:
    """Returns the expectation of values on the grid."""
    return torch.trapezoid(bells.log_density(line()).exp() * values, dx=SPACING).item()
