"""The pieces of a sampler: a grid of times, and one update rule a solver. Each rule takes x_t and the image x0 seen in it to an earlier time.

The deterministic rules rest on one fact. Divide x_t = alpha x0 + sigma eps by alpha + sigma: what is left is y = (1 - r) x0 + r eps with
r = sigma / (alpha + sigma), the straight path of rectified flow, whatever the schedule. So a schedule only says how fast the path is walked, and
dy/dr = eps - x0 is the equation that every solver solves.

Source of that fact: Karras et al. 2022 (arXiv:2206.00364), sec. 2 and app. B; Kingma & Gao 2023 (arXiv:2303.00848), app. D.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.errors import unknown
from course_utils.schedules import Schedule

SPACINGS = ("uniform", "quadratic")


class Level(NamedTuple):
    """A time with its schedule's alpha and sigma, as plain numbers."""

    t: float
    alpha: float
    sigma: float

    @property
    def scale(self) -> float:
        """What x_t is divided by to lie on the straight path."""
        return self.alpha + self.sigma

    @property
    def share(self) -> float:
        """r, the place on the straight path: 0 is the image, 1 is noise."""
        return self.sigma / (self.alpha + self.sigma)

    @property
    def half_log_snr(self) -> float:
        """log(alpha / sigma), the time of DPM-Solver; infinite at both ends of a path."""
        if self.alpha == 0 or self.sigma == 0:
            return math.inf if self.sigma == 0 else -math.inf
        return math.log(self.alpha / self.sigma)


class Moment(NamedTuple):
    """x_t `[B, ...]`, the image seen in it, and where that was."""

    x: Tensor
    x0: Tensor
    level: Level


def time_grid(num_steps: int, spacing: str = "uniform", *, shift: float = 1.0, start: float = 1.0) -> Tensor:
    """Returns the times that a sampler visits, falling from `start` to 0, float64 `[num_steps + 1]`.

    Args:
        num_steps: at least 1.
        spacing: "uniform" in t, or "quadratic": steps that get smaller towards the image.
        shift: above 1 moves the times towards noise, below 1 towards the image; `start` and 0 stay.
        start: above 0, at most 1; below 1 where sampling goes on from an image with noise.

    Source: quadratic: Song et al. 2021 (arXiv:2010.02502), app. D.2; shift: Esser et al. 2024 (arXiv:2403.03206), eq. 23.
    """
    require(isinstance(num_steps, int) and num_steps >= 1, "num_steps", "a whole number of at least 1", num_steps)
    require(shift > 0, "shift", "more than 0", shift)
    require(0 < start <= 1, "start", "above 0 and at most 1", start)
    if spacing not in SPACINGS:
        raise unknown("spacing", spacing, SPACINGS)
    share = torch.arange(num_steps, -1, -1, dtype=torch.float64) / num_steps
    share = share.square() if spacing == "quadratic" else share
    return start * shift * share / (1 + (shift - 1) * share)


def levels_at(schedule: Schedule, times: Tensor) -> list[Level]:
    """Returns the levels of falling times from at most 1 to at least 0.

    Raises:
        CourseError: fewer than 2 times, times that do not fall, or times outside [0, 1].
    """
    times = torch.as_tensor(times, dtype=torch.float64).cpu()
    good = times.ndim == 1 and len(times) >= 2 and bool((times.diff() < 0).all()) and 0 <= times[-1] and times[0] <= 1
    require(good, "times", "at least 2 falling numbers from [0, 1], such as those of time_grid", times.tolist())
    return [Level(*values) for values in zip(times.tolist(), schedule.alpha(times).tolist(), schedule.sigma(times).tolist())]


def posterior_variance(here: Level, there: Level) -> float:
    """Returns the variance of q(x_s | x_t, x0) for s = there, t = here; 0 where s is the image.

    Source: Ho et al. 2020 (arXiv:2006.11239), eq. 7; see `Schedule.posterior`.
    """
    scale = here.alpha / there.alpha
    added = here.sigma**2 - scale**2 * there.sigma**2
    return added * there.sigma**2 / here.sigma**2


def ddim_step(now: Moment, there: Level, eta: float = 0.0, noise: Tensor | None = None) -> Tensor:
    """Returns alpha x0 + sqrt(sigma² - v) eps + sqrt(v) noise at the earlier level, where v is eta² times the posterior's variance.

    With eta = 0 nothing is random; with eta = 1 it is DDPM's ancestral step, a draw of q(x_s | x_t, x0).

    Args:
        now: where the walk is.
        there: where it goes.
        eta: 0 to 1.
        noise: standard normal, shaped like x; needed where v is above 0.

    Source: Song et al. 2021 (arXiv:2010.02502), eq. 12 and 16; Ho et al. 2020 (arXiv:2006.11239), eq. 6-7.
    """
    x, x0, here = now
    eps = (x - here.alpha * x0) / here.sigma
    variance = eta**2 * posterior_variance(here, there)
    moved = there.alpha * x0 + math.sqrt(max(0.0, there.sigma**2 - variance)) * eps
    return moved if variance == 0 else moved + math.sqrt(variance) * noise


def velocity_of(now: Moment) -> Tensor:
    """Returns dy/dr = eps - x0, the speed along the straight path, `[B, ...]`."""
    return (now.x / now.level.scale - now.x0) / now.level.share


def straight_step(now: Moment, velocity: Tensor, there: Level) -> Tensor:
    """Returns x at the earlier level after a step of constant velocity along the straight path.

    With `velocity_of(now)` it is Euler's method; with the flow schedule x_s = x_t + (s - t) velocity, and with every schedule DDIM with eta = 0.
    """
    return there.scale * (now.x / now.level.scale + (there.share - now.level.share) * velocity)


def adams_bashforth_velocity(now: Moment, there: Level, past: Moment | None) -> Tensor:
    """Returns the velocity that second-order Adams-Bashforth steps with: this one, carried on by half of its last change.

    Source: Bashforth & Adams 1883; for diffusion Liu et al. 2022 (arXiv:2202.09778), Zhang & Chen 2023 (arXiv:2204.13902), sec. 3. The ratio of the
    steps is kept, since they need not be equal on the straight path.
    """
    velocity = velocity_of(now)
    if past is None:
        return velocity
    ratio = (there.share - now.level.share) / (now.level.share - past.level.share)
    return velocity + 0.5 * ratio * (velocity - velocity_of(past))


def dpm_step(now: Moment, there: Level, past: Moment | None) -> Tensor:
    """Returns x at the earlier level by DPM-Solver++(2M): the image, carried on by half of its last change, stands in for all of the step.

    The first step, the last one (to sigma = 0) and the one after pure noise (alpha = 0) are of first order: there log(alpha / sigma) is infinite.

    Source: Lu et al. 2022 (arXiv:2211.01095), alg. 2.
    """
    x, x0, here = now
    shrink = (there.sigma / here.sigma) * (here.alpha / there.alpha)  # exp(-h)
    if past is not None and there.sigma > 0 and past.level.alpha > 0:
        step, last_step = there.half_log_snr - here.half_log_snr, here.half_log_snr - past.level.half_log_snr
        x0 = x0 + 0.5 * (step / last_step) * (x0 - past.x0)
    return there.sigma / here.sigma * x + there.alpha * (1 - shrink) * x0
