"""Posterior sampling with diffusion for any linear operator: informed denoisers, DPS, replacement
and RePaint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import ImageNoise
from course_utils.base.errors import CourseError, unknown
from course_utils.inverse.problems import Problem
from course_utils.models.diffusion.samplers import (
    Denoiser,
    Level,
    State,
    ddim_step,
    levels_at,
    posterior_variance,
    sample,
    time_grid,
)
from course_utils.models.diffusion.schedules import Schedule

Covariance = Literal["tweedie", "isotropic"]
COVARIANCES = ("tweedie", "isotropic")
# at time 1 x_t says nothing of the image, and sigma^2/alpha dD/dx_t is infinity times zero
START = 0.999


@dataclass(frozen=True)
class Informed:
    """A denoiser that knows a measurement: (x_t, t) -> E[x0 | x_t, y] under the Gaussian
    approximation of p(y | x_t).

    Attributes:
        denoise: E[x0 | x_t], differentiable in x_t; not clamped, since a clamped pixel has no
            derivative.
        schedule: that it was made for.
        problem: A and its noise.
        measurements: one for each image of the batch, `[B, *measured_shape]`.
        covariance: "tweedie": V = sigma^2/alpha dD/dx_t; "isotropic": V = sigma^2/(alpha^2 +
            sigma^2) I within p(y | x_t), as PiGDM takes it.
        num_iterations: of conjugate gradients ("tweedie"), each of them one backward pass. As many
            as there are measured numbers solve exactly.
        trusted_time: above this time V is isotropic and D gets the Kalman update of that V. A
            trained network's derivative is wrong where x_t holds next to nothing of the image:
            there sigma^2/alpha magnifies its errors. An exact denoiser is trusted up to 1.
        limit: what comes out is cut off at plus and minus this; None cuts nothing off.

    Source: isotropic: Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse
    problems", ICLR, sec. 3.
    """

    denoise: Denoiser
    schedule: Schedule
    problem: Problem
    measurements: Tensor
    covariance: Covariance = "tweedie"
    num_iterations: int = 5
    trusted_time: float = 1.0
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.covariance not in COVARIANCES:
            raise unknown("covariance", self.covariance, COVARIANCES)
        require(self.num_iterations >= 1, "num_iterations", "at least 1", self.num_iterations)
        self.problem.check_measurements(self.measurements)

    def __call__(self, xt: Tensor, t: Tensor) -> Tensor:
        """Returns E[x0 | x_t, y], `[B, C, H, W]`, for x_t at times `[B]`, all equal."""
        alpha, sigma = self.schedule.at(t[0], xt)
        operator, noise_variance = self.problem.operator, self.problem.noise_std**2
        spread = (sigma**2 / (alpha**2 + sigma**2)).item()
        if t[0].item() > self.trusted_time:
            x0 = self.denoise(xt, t).detach()
            return self._limited(
                x0
                + spread
                * operator.adjoint(
                    operator.solve(self.measurements - operator.forward(x0), spread, noise_variance)
                )
            )
        with torch.enable_grad():
            x = xt.detach().requires_grad_()
            seen = self.denoise(x, t)
        x0 = seen.detach()

        def times_covariance(images: Tensor) -> Tensor:
            """Returns V v for a batch of images v: one backward pass, without the Jacobian
            itself.
            """
            return sigma**2 / alpha * torch.autograd.grad(seen, x, images, retain_graph=True)[0]

        residual = self.measurements - operator.forward(x0)
        if self.covariance == "isotropic":
            weights = operator.solve(residual, spread, noise_variance)
        else:
            weights = conjugate_gradients(
                lambda y: (
                    operator.forward(times_covariance(operator.adjoint(y))) + noise_variance * y
                ),
                residual,
                self.num_iterations,
            )
        return self._limited(x0 + times_covariance(operator.adjoint(weights)))

    def _limited(self, x0: Tensor) -> Tensor:
        return x0 if self.limit is None else x0.clamp(-self.limit, self.limit)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], right: Tensor, num_iterations: int
) -> Tensor:
    """Returns x with M x = right, row by row, from 0; M symmetric and positive definite. Rows that
    are solved, or in which M is not so, stop.

    Args:
        product: x -> M x, `[B, ...]` to `[B, ...]`.
        right: `[B, ...]`.
        num_iterations: at least 1.

    Source: Hestenes & Stiefel 1952, J. Res. Natl. Bur. Stand. 49(6).
    """

    def dot(first: Tensor, second: Tensor) -> Tensor:
        return (first * second).flatten(1).sum(1).view(-1, *[1] * (right.ndim - 1))

    solution, rest, direction = torch.zeros_like(right), right.clone(), right.clone()
    size = dot(rest, rest)
    enough = size * torch.finfo(right.dtype).eps ** 2
    for _ in range(num_iterations):
        image = product(direction)
        curvature = dot(direction, image)
        going = (size > enough) & (curvature > 0)
        if not going.any():
            break
        step = torch.where(going, size / torch.where(going, curvature, 1), 0)
        solution, rest = solution + step * direction, rest - step * image
        size, last = dot(rest, rest), size
        direction = torch.where(going, rest + size / last.clamp(min=1e-30) * direction, 0)
    return solution


def sample_posterior(
    denoise: Denoiser,
    schedule: Schedule,
    problem: Problem,
    measurements: Tensor,
    num_samples: int,
    *,
    covariance: Covariance = "tweedie",
    num_iterations: int = 5,
    trusted_time: float = 1.0,
    limit: float | None = None,
    sampler: str = "ddpm",
    num_steps: int = 50,
    rng: torch.Generator | ImageNoise | None = None,
) -> Tensor:
    """Returns solutions of an inverse problem, `[num_samples, B, C, H, W]`: draws of p(x0 | y),
    exact for Gaussian data and enough steps.

    Args:
        denoise: E[x0 | x_t] for batches of any size.
        schedule, problem, measurements, covariance, num_iterations, trusted_time, limit: see
        `Informed`.
        num_samples: solutions a measurement.
        sampler, num_steps: see `course_utils.models.diffusion.samplers.sample`.
        rng: starts a stream for each solution: those of one measurement do not depend on the
            others.
    """
    own = measurements.repeat_interleave(num_samples, 0)
    noise = rng if isinstance(rng, ImageNoise) else ImageNoise(len(own), rng)
    informed = Informed(
        denoise, schedule, problem, own, covariance, num_iterations, trusted_time, limit
    )
    x = noise.normal(problem.operator.image_shape, own)
    x = sample(
        informed, schedule, x, sampler=sampler, times=time_grid(num_steps, start=START), rng=noise
    ).x
    return stacked(x, num_samples)


def stacked(images: Tensor, num_samples: int) -> Tensor:
    """Returns `[B * num_samples, ...]`, all solutions of one measurement in a row, as
    `[num_samples, B, ...]`.
    """
    return images.unflatten(0, (-1, num_samples)).transpose(0, 1)


def sample_dps(
    denoise: Denoiser,
    schedule: Schedule,
    problem: Problem,
    measurements: Tensor,
    num_samples: int,
    *,
    step_size: float = 1.0,
    num_steps: int = 100,
    limit: float | None = None,
    rng: torch.Generator | ImageNoise | None = None,
) -> Tensor:
    """Returns solutions by diffusion posterior sampling (DPS), `[num_samples, B, C, H, W]`: DDPM's
    steps, each followed by one down the misfit.

    It takes p(y | x_t) for p(y | x0 = D), as if x_t left no doubt about the image, and makes up for
    it with a step size that has to be tuned: the draws are not those of p(x0 | y), not even for
    Gaussian data.

    Args:
        denoise, schedule, problem, measurements, num_samples, rng: as for `sample_posterior`.
        step_size: zeta', the length of the step in units of the gradient of the misfit's norm.
        num_steps: of the sampler.
        limit: images are cut off there at the end.

    Source: Chung et al. 2023 (arXiv:2209.14687), alg. 1, with their step size zeta' / ||y - A D||.
    """
    require(step_size > 0, "step_size", "more than 0", step_size)
    problem.check_measurements(measurements)
    own = measurements.repeat_interleave(num_samples, 0)
    noise = rng if isinstance(rng, ImageNoise) else ImageNoise(len(own), rng)
    x = noise.normal(problem.operator.image_shape, own)
    levels = levels_at(schedule, time_grid(num_steps, start=START))
    for here, there in zip(levels, levels[1:]):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = denoise(x, x.new_full((len(x),), here.t))
            misfit = (own - problem.operator.forward(x0)).flatten(1).norm(dim=1)
            # of ||.||, half of that of ||.||^2 over ||.||
            (gradient,) = torch.autograd.grad(misfit.sum(), x)
        fresh = noise.normal(tuple(x.shape[1:]), x) if posterior_variance(here, there) > 0 else None
        x = (
            ddim_step(State(x.detach(), x0.detach(), here), there, 1.0, fresh)
            - 2 * step_size * gradient
        )
    return stacked(x if limit is None else x.clamp(-limit, limit), num_samples)


@torch.no_grad()
def sample_replacement(
    denoise: Denoiser,
    schedule: Schedule,
    problem: Problem,
    measurements: Tensor,
    num_samples: int,
    *,
    num_visits: int = 1,
    num_steps: int = 50,
    limit: float | None = None,
    rng: torch.Generator | ImageNoise | None = None,
) -> Tensor:
    """Returns solutions of an inverse problem, `[num_samples, B, C, H, W]`.

    Args:
        denoise: E[x0 | x_t] for batches of any size.
        schedule: that it was made for.
        problem: its operator has orthogonal rows: masks above all, but block means, Fourier rows
            and grey as well.
        measurements: `[B, *measured_shape]`.
        num_samples: solutions a measurement.
        num_visits: of each noise level: 1 is plain replacement; RePaint noises again and repeats
            the step, at the price of as many calls.
        num_steps: of DDPM's sampler.
        limit: images are cut off there at the end.
        rng: starts a stream for each solution: those of one measurement do not depend on the
            others.

    Raises:
        CourseError: an operator whose rows are not orthogonal, such as a blur.
    """
    require(num_visits >= 1, "num_visits", "at least 1", num_visits)
    problem.check_measurements(measurements)
    if problem.operator.row_scale is None:
        raise CourseError(
            f"{problem.name}: replacement needs an operator with orthogonal rows, and this has"
            " none; use posterior sampling."
        )
    own = measurements.repeat_interleave(num_samples, 0)
    noise = rng if isinstance(rng, ImageNoise) else ImageNoise(len(own), rng)
    shape = problem.operator.image_shape
    x = noise.normal(shape, own)
    levels = levels_at(schedule, time_grid(num_steps, start=START))
    for here, there in zip(levels, levels[1:]):
        for visit in range(num_visits):
            x0 = denoise(x, x.new_full((len(x),), here.t))
            moved = replaced(
                ddim_step(State(x, x0, here), there, 1.0, noise.normal(shape, x)),
                there,
                problem,
                own,
                noise,
            )
            # nothing is put back any more: another visit would forget y
            if visit + 1 == num_visits or _missing_variance(there, problem) < 0:
                break
            x = _noised_again(moved, there, here, noise)
        x = moved
    return stacked(x if limit is None else x.clamp(-limit, limit), num_samples)


def replaced(
    x: Tensor, level: Level, problem: Problem, measurements: Tensor, noise: ImageNoise
) -> Tensor:
    """Returns x with its measured part A x replaced by a draw of q(A x_t | y), `[B, C, H, W]`; the
    rest stays.

    alpha y holds the noise of the measurement already, so only what is missing up to that of the
    level is added. Late in sampling the measurement holds more noise than the level; x is then left
    to the denoiser, which cleans it. For denoising (A = I) this is a sampler that starts from y.
    """
    operator = problem.operator
    missing = _missing_variance(level, problem)
    if missing < 0:
        return x
    target = level.alpha * measurements + math.sqrt(missing) * noise.normal(
        operator.measured_shape, x
    )
    return x + operator.pseudo_inverse(target - operator.forward(x))


def _missing_variance(level: Level, problem: Problem) -> float:
    """Returns the variance that alpha y lacks to be as noisy as A x_t at a level; below 0 where y
    is the noisier one.
    """
    scale = problem.operator.row_scale
    assert scale is not None  # `sample_replacement` refuses operators without one
    return level.sigma**2 * scale - level.alpha**2 * problem.noise_std**2


def _noised_again(x: Tensor, level: Level, noisier: Level, noise: ImageNoise) -> Tensor:
    """Returns a draw of q(x_t | x_s) at the noisier level t."""
    scale = noisier.alpha / level.alpha
    added = noisier.sigma**2 - scale**2 * level.sigma**2
    return scale * x + math.sqrt(max(0.0, added)) * noise.normal(tuple(x.shape[1:]), x)
