"""Inverse problems by searching the latent space of a decoder (VAE) or a generator (GAN) for an
image that explains the measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import randn
from course_utils.inverse.posterior import stacked
from course_utils.inverse.problems import Problem


def minimise(
    loss: Callable[..., Tensor], start: list[Tensor], num_steps: int, learning_rate: float
) -> list[Tensor]:
    """Returns where Adam arrives after `num_steps` from `start`, with a step size that falls
    linearly to zero. No model parameter is touched.

    Args:
        loss: points -> one number. Where it is a sum over rows, each row goes its own way: Adam
            scales coordinates one by one.
        start: tensors of any shapes.
        num_steps: 0 or more.
        learning_rate: of the first step, in the units of the points.
    """
    points = [value.detach().clone().requires_grad_() for value in start]
    optimizer = torch.optim.Adam(points, lr=learning_rate)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss(*points), points)
        for point, gradient in zip(points, gradients):
            point.grad = gradient
        optimizer.step()
    return [point.detach() for point in points]


ROWS_PER_CALL = 1000


@dataclass(frozen=True)
class Latents:
    """Latents `[N, D]`, and the class of each, int64 `[N]`, or None where the decoder knows no
    classes.
    """

    z: Tensor
    labels: Tensor | None = None

    def rows(self, rows: Tensor | slice) -> Latents:
        """Returns some of them."""
        return Latents(self.z[rows], None if self.labels is None else self.labels[rows])


# latents of N images -> signed images [N, C, H, W], differentiable in z
Decoder = Callable[[Latents], Tensor]
# a number and a generator -> draws of the prior
DrawLatents = Callable[[int, torch.Generator | None], Latents]


def standard_log_prior(z: Tensor) -> Tensor:
    """Returns log N(z; 0, I) without its constant, `[N]` for `[N, D]`."""
    return -0.5 * z.square().sum(1)


def search_latents(
    decode: Decoder,
    draw: DrawLatents,
    problem: Problem,
    measurements: Tensor,
    num_samples: int,
    *,
    log_prior: Callable[[Tensor], Tensor] = standard_log_prior,
    model_std: float = 0.2,
    num_candidates: int = 100,
    num_steps: int = 150,
    learning_rate: float = 0.1,
    perturb: bool = False,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Returns solutions of an inverse problem, `[num_samples, B, C, H, W]`: decoded maxima of log
    p(y | z) + log p(z).

    Each solution starts at the best of its own `num_candidates` draws of the prior; classes are
    chosen there and stay.

    Args:
        decode, draw: the decoder, and draws of its prior.
        problem, measurements: A with its noise, and y.
        num_samples: solutions a measurement.
        log_prior: log p(z) up to a constant.
        model_std: how far pixels of the best decoded image are off, in signed pixel units: it adds
            to the noise, else the search overfits.
        num_candidates: draws that a solution chooses its start from, at least 1.
        num_steps, learning_rate: of Adam.
        perturb: search for an explanation of y plus fresh noise, with a prior centred at a fresh
            draw. For a linear decoder with a standard normal prior that makes solutions exact draws
            of the posterior (Papandreou & Yuille 2010, sec. 2).
        rng: source of candidates and noise.
    """
    require(num_candidates >= 1, "num_candidates", "at least 1", num_candidates)
    require(model_std >= 0, "model_std", "0 or more", model_std)
    problem.check_measurements(measurements)
    row_scale = problem.operator.row_scale
    variance = problem.noise_std**2 + model_std**2 * (1.0 if row_scale is None else row_scale)
    candidates = draw(num_samples * num_candidates, rng)
    start = candidates.rows(_best(decode, candidates, problem, measurements, num_samples))
    own = measurements.repeat_interleave(num_samples, 0)
    centre = torch.zeros_like(start.z)
    if perturb:
        own, centre = (
            own + variance**0.5 * randn(tuple(own.shape), rng, own),
            randn(tuple(centre.shape), rng, centre),
        )

    def loss(z: Tensor, labels: Tensor | None, y: Tensor, middle: Tensor) -> Tensor:
        squared = (y - problem.operator.forward(decode(Latents(z, labels)))).square().sum()
        return squared / (2 * variance) - log_prior(z - middle).sum()

    found = []
    for first in range(0, len(own), ROWS_PER_CALL):
        rows = slice(first, first + ROWS_PER_CALL)
        some = start.rows(rows)
        fixed = (some.labels, own[rows], centre[rows])
        (z,) = minimise(lambda z, fixed=fixed: loss(z, *fixed), [some.z], num_steps, learning_rate)
        with torch.no_grad():
            found.append(decode(Latents(z, some.labels)))
    return stacked(torch.cat(found), num_samples).clamp(-1, 1)


@torch.no_grad()
def _best(
    decode: Decoder, candidates: Latents, problem: Problem, measurements: Tensor, num_samples: int
) -> Tensor:
    """Returns which candidate explains each measurement best within each of `num_samples` groups of
    them, `[B * num_samples]`.
    """
    pieces = [
        slice(first, first + ROWS_PER_CALL) for first in range(0, len(candidates.z), ROWS_PER_CALL)
    ]
    expected = torch.cat(
        [problem.operator.forward(decode(candidates.rows(piece))).flatten(1) for piece in pieces]
    )
    # [B, S, K]
    distances = torch.cdist(measurements.flatten(1).to(expected), expected).unflatten(
        1, (num_samples, -1)
    )
    group_size = distances.shape[2]
    firsts = group_size * torch.arange(num_samples, device=distances.device)
    return (distances.argmin(2) + firsts).flatten()
