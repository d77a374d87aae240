"""Replacement and RePaint: an ordinary sampler whose measured part is put back after each step, noised to the level that the step has reached.

It needs no derivative and no tuning, but the rest of the image learns what was measured only one step later: parts need not fit together.
RePaint goes back and forth between noise levels to let them.

Source: replacement: Song et al. 2021 (arXiv:2011.13456), app. I.2; RePaint: Lugmayr et al. 2022 (arXiv:2201.09865), alg. 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.errors import CourseError
from course_utils.image_noise import ImageNoise
from course_utils.inverse.posterior import START, stacked
from course_utils.inverse.problems import Problem
from course_utils.sampling import Denoiser
from course_utils.sampling_steps import Level, Moment, ddim_step, levels_at, time_grid
from course_utils.schedules import Schedule


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
        problem: its operator has orthogonal rows: masks above all, but block means, Fourier rows and grey as well.
        measurements: `[B, *measured_shape]`.
        num_samples: solutions a measurement.
        num_visits: of each noise level: 1 is plain replacement; RePaint noises again and repeats the step, at the price of as many calls.
        num_steps: of DDPM's sampler.
        limit: images are cut off there at the end.
        rng: starts a stream for each solution: those of one measurement do not depend on the others.

    Raises:
        CourseError: an operator whose rows are not orthogonal, such as a blur.
    """
    require(num_visits >= 1, "num_visits", "at least 1", num_visits)
    problem.check_measurements(measurements)
    if problem.operator.row_scale is None:
        raise CourseError(f"{problem.name}: replacement needs an operator with orthogonal rows, and this has none; use posterior sampling.")
    own = measurements.repeat_interleave(num_samples, 0)
    noise = rng if isinstance(rng, ImageNoise) else ImageNoise(len(own), rng)
    shape = problem.operator.image_shape
    x = noise.normal(shape, own)
    levels = levels_at(schedule, time_grid(num_steps, start=START))
    for here, there in zip(levels, levels[1:]):
        for visit in range(num_visits):
            x0 = denoise(x, x.new_full((len(x),), here.t))
            moved = replaced(ddim_step(Moment(x, x0, here), there, 1.0, noise.normal(shape, x)), there, problem, own, noise)
            if visit + 1 == num_visits or _missing_variance(there, problem) < 0:  # nothing is put back any more: another visit would forget y
                break
            x = _noised_again(moved, there, here, noise)
        x = moved
    return stacked(x if limit is None else x.clamp(-limit, limit), num_samples)


def replaced(x: Tensor, level: Level, problem: Problem, measurements: Tensor, noise: ImageNoise) -> Tensor:
    """Returns x with its measured part A x replaced by a draw of q(A x_t | y), `[B, C, H, W]`; the rest stays.

    alpha y holds the noise of the measurement already, so only what is missing up to that of the level is added. Late in sampling the measurement
    holds more noise than the level; x is then left to the denoiser, which cleans it. For denoising (A = I) this is a sampler that starts from y.
    """
    operator = problem.operator
    missing = _missing_variance(level, problem)
    if missing < 0:
        return x
    target = level.alpha * measurements + math.sqrt(missing) * noise.normal(operator.measured_shape, x)
    return x + operator.pseudo_inverse(target - operator.forward(x))


def _missing_variance(level: Level, problem: Problem) -> float:
    """Returns the variance that alpha y lacks to be as noisy as A x_t at a level; below 0 where y is the noisier one."""
    return level.sigma**2 * problem.operator.row_scale - level.alpha**2 * problem.noise_std**2


def _noised_again(x: Tensor, level: Level, noisier: Level, noise: ImageNoise) -> Tensor:
    """Returns a draw of q(x_t | x_s) at the noisier level t."""
    scale = noisier.alpha / level.alpha
    added = noisier.sigma**2 - scale**2 * level.sigma**2
    return scale * x + math.sqrt(max(0.0, added)) * noise.normal(tuple(x.shape[1:]), x)
