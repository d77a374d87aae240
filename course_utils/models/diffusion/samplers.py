"""Diffusion samplers with one signature, their update rules, and classifier-free guidance.

They know no model: `denoise(xt, t)` is any function that returns E[x0 | x_t], a trained network or
an exact formula.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import ImageNoise
from course_utils.base.errors import unknown
from course_utils.models.diffusion.schedules import Schedule

ROUNDING = 1e-6  # times reach the denoiser as float32

# x_t [B, ...], times [B], labels [B] -> the image seen in it, [B, ...]
LabelledDenoiser = Callable[[Tensor, Tensor, Tensor], Tensor]


def guides_at(interval: tuple[float, float], t: float) -> bool:
    """Returns whether guidance that is kept to the times (low, high] acts at time t."""
    low, high = (end + ROUNDING for end in interval)
    return low < t <= high


@dataclass(frozen=True)
class Guided:
    """A denoiser x0 = unconditional + scale (conditional - unconditional), to be handed to
    `sample`.

    Scale 1 is the conditional denoiser and 0 the unconditional one, each with one call of the
    network; every other scale takes two calls, made as one batch of 2 B. The same mixture of eps, v
    or velocity gives the same result, since all of them depend on x0 linearly.

    Attributes:
        denoise: takes labels.
        labels: int64 `[B]`, one for each image of the batch.
        null_label: that the network was trained to take for "no label".
        scale: strength of the guidance, 0 or more.
        interval: times (low, high] within which guidance acts; elsewhere the denoiser is the
            conditional one.
        limit: the largest value a pixel may have; exaggeration goes beyond it, and what goes beyond
            is cut off. None cuts nothing off.

    Source: Ho & Salimans 2022 (arXiv:2207.12598), eq. 6, whose w is scale - 1; interval:
    Kynkäänniemi et al. 2024 (arXiv:2404.07724), eq. 5.
    """

    denoise: LabelledDenoiser
    labels: Tensor
    null_label: int
    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    limit: float | None = None

    def __post_init__(self) -> None:
        require(self.scale >= 0, "guidance_scale", "0 or more", self.scale)
        ordered = len(self.interval) == 2 and 0 <= self.interval[0] <= self.interval[1] <= 1
        require(ordered, "guidance_interval", "two rising times from [0, 1]", self.interval)

    def scale_at(self, t: float) -> float:
        """Returns the strength at time t: `scale` within the interval, 1 outside."""
        return self.scale if guides_at(self.interval, t) else 1.0

    def num_calls_at(self, t: float) -> int:
        """Returns how often the network runs for each image at time t."""
        return 1 if self.scale_at(t) in (0.0, 1.0) else 2

    def __call__(self, xt: Tensor, t: Tensor) -> Tensor:
        """Returns the guided image `[B, ...]` for x_t `[B, ...]`, all at the same time, which t
        `[B]` repeats.
        """
        x0 = self._mixed(xt, t, self.scale_at(t[0].item()))
        return x0 if self.limit is None else x0.clamp(-self.limit, self.limit)

    def _mixed(self, xt: Tensor, t: Tensor, scale: float) -> Tensor:
        null = torch.full_like(self.labels, self.null_label)
        if scale in (0.0, 1.0):
            return self.denoise(xt, t, self.labels if scale == 1.0 else null)
        both = self.denoise(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([self.labels, null]))
        conditional, unconditional = both.chunk(2)
        return unconditional + scale * (conditional - unconditional)


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


class State(NamedTuple):
    """x_t `[B, ...]`, the image seen in it, and where that was."""

    x: Tensor
    x0: Tensor
    level: Level


def time_grid(
    num_steps: int, spacing: str = "uniform", *, shift: float = 1.0, start: float = 1.0
) -> Tensor:
    """Returns the times that a sampler visits, falling from `start` to 0, float64 `[num_steps +
    1]`.

    Args:
        num_steps: at least 1.
        spacing: "uniform" in t, or "quadratic": steps that get smaller towards the image.
        shift: above 1 moves the times towards noise, below 1 towards the image; `start` and 0 stay.
        start: above 0, at most 1; below 1 where sampling goes on from an image with noise.

    Source: quadratic: Song et al. 2021 (arXiv:2010.02502), app. D.2; shift: Esser et al. 2024
    (arXiv:2403.03206), eq. 23.
    """
    require(
        isinstance(num_steps, int) and num_steps >= 1,
        "num_steps",
        "a whole number of at least 1",
        num_steps,
    )
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
    good = times.ndim == 1 and len(times) >= 2 and bool((times.diff() < 0).all())
    good = good and bool(0 <= times[-1]) and bool(times[0] <= 1)
    require(
        good,
        "times",
        "at least 2 falling numbers from [0, 1], such as those of time_grid",
        times.tolist(),
    )
    return [
        Level(*values)
        for values in zip(
            times.tolist(), schedule.alpha(times).tolist(), schedule.sigma(times).tolist()
        )
    ]


def posterior_variance(here: Level, there: Level) -> float:
    """Returns the variance of q(x_s | x_t, x0) for s = there, t = here; 0 where s is the image.

    Source: Ho et al. 2020 (arXiv:2006.11239), eq. 7; see `Schedule.posterior`.
    """
    scale = here.alpha / there.alpha
    added = here.sigma**2 - scale**2 * there.sigma**2
    return added * there.sigma**2 / here.sigma**2


def ddim_step(now: State, there: Level, eta: float = 0.0, noise: Tensor | None = None) -> Tensor:
    """Returns alpha x0 + sqrt(sigma² - v) eps + sqrt(v) noise at the earlier level, where v is eta²
    times the posterior's variance.

    With eta = 0 nothing is random; with eta = 1 it is DDPM's ancestral step, a draw of q(x_s | x_t,
    x0).

    Args:
        now: where the walk is.
        there: where it goes.
        eta: 0 to 1.
        noise: standard normal, shaped like x; needed where v is above 0.

    Source: Song et al. 2021 (arXiv:2010.02502), eq. 12 and 16; Ho et al. 2020 (arXiv:2006.11239),
    eq. 6-7.
    """
    x, x0, here = now
    eps = (x - here.alpha * x0) / here.sigma
    variance = eta**2 * posterior_variance(here, there)
    moved = there.alpha * x0 + math.sqrt(max(0.0, there.sigma**2 - variance)) * eps
    if variance == 0:
        return moved
    assert noise is not None, "a step with variance needs noise"
    return moved + math.sqrt(variance) * noise


def velocity_of(now: State) -> Tensor:
    """Returns dy/dr = eps - x0, the speed along the straight path, `[B, ...]`."""
    return (now.x / now.level.scale - now.x0) / now.level.share


def straight_step(now: State, velocity: Tensor, there: Level) -> Tensor:
    """Returns x at the earlier level after a step of constant velocity along the straight path.

    With `velocity_of(now)` it is Euler's method; with the flow schedule x_s = x_t + (s - t)
    velocity, and with every schedule DDIM with eta = 0.
    """
    return there.scale * (now.x / now.level.scale + (there.share - now.level.share) * velocity)


def adams_bashforth_velocity(now: State, there: Level, past: State | None) -> Tensor:
    """Returns the velocity that second-order Adams-Bashforth steps with: this one, carried on by
    half of its last change.

    Source: Bashforth & Adams 1883; for diffusion Liu et al. 2022 (arXiv:2202.09778), Zhang & Chen
    2023 (arXiv:2204.13902), sec. 3. The ratio of the steps is kept, since they need not be equal on
    the straight path.
    """
    velocity = velocity_of(now)
    if past is None:
        return velocity
    ratio = (there.share - now.level.share) / (now.level.share - past.level.share)
    return velocity + 0.5 * ratio * (velocity - velocity_of(past))


def dpm_step(now: State, there: Level, past: State | None) -> Tensor:
    """Returns x at the earlier level by DPM-Solver++(2M): the image, carried on by half of its last
    change, stands in for all of the step.

    The first step, the last one (to sigma = 0) and the one after pure noise (alpha = 0) are of
    first order: there log(alpha / sigma) is infinite.

    Source: Lu et al. 2022 (arXiv:2211.01095), alg. 2.
    """
    x, x0, here = now
    shrink = (there.sigma / here.sigma) * (here.alpha / there.alpha)  # exp(-h)
    if past is not None and there.sigma > 0 and past.level.alpha > 0:
        step, last_step = (
            there.half_log_snr - here.half_log_snr,
            here.half_log_snr - past.level.half_log_snr,
        )
        x0 = x0 + 0.5 * (step / last_step) * (x0 - past.x0)
    return there.sigma / here.sigma * x + there.alpha * (1 - shrink) * x0


# x_t [B, ...] and times [B] -> the image seen in it, [B, ...]
Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sampled:
    """What a sampler returns.

    Attributes:
        x: the result, `[B, ...]`.
        num_calls: of the network for each image, counted while sampling.
        times: that were visited, from noise to image, `[S + 1]`.
        xts: x_t at those times, S + 1 of them; empty unless a trajectory was asked for.
        x0s: the image seen in each x_t but the last, S of them; empty likewise.
    """

    x: Tensor
    num_calls: int
    times: Tensor
    xts: tuple[Tensor, ...] = ()
    x0s: tuple[Tensor, ...] = ()


def joined(pieces: Sequence[Sampled]) -> Sampled:
    """Returns batches that were sampled one after the other, at the same times, as one."""
    xts, x0s = (
        tuple(torch.cat(parts) for parts in zip(*(getattr(piece, name) for piece in pieces)))
        for name in ("xts", "x0s")
    )
    return replace(pieces[0], x=torch.cat([piece.x for piece in pieces]), xts=xts, x0s=x0s)


class _Walk:
    """A sampler on its way: it asks the denoiser, counts the calls, and draws noise where a step
    needs some.
    """

    def __init__(
        self, denoise: Denoiser, eta: float, noise: ImageNoise | None, rng: torch.Generator | None
    ) -> None:
        self.denoise, self.eta, self.noise, self.rng = denoise, eta, noise, rng
        self.num_calls = 0

    def predict_x0(self, x: Tensor, level: Level) -> State:
        """Returns x with the image that the denoiser sees in it."""
        self.num_calls += calls_at(self.denoise, level.t)
        return State(x, self.denoise(x, x.new_full((len(x),), level.t)), level)

    def draw(self, x: Tensor) -> Tensor:
        """Returns standard normal noise shaped like x, image by image."""
        if self.noise is None:
            self.noise = ImageNoise(len(x), self.rng)
        return self.noise.normal(tuple(x.shape[1:]), x)


def calls_at(denoise: Denoiser, t: float) -> int:
    """Returns how often the network runs for one call at time t: what the denoiser says (guidance
    costs two), else 1.
    """
    count = getattr(denoise, "num_calls_at", None)
    return 1 if count is None else count(t)


def _stochastic(walk: _Walk, now: State, there: Level, eta: float) -> Tensor:
    """A step with noise; none is drawn where none is added, as in the last step."""
    noise = walk.draw(now.x) if eta > 0 and posterior_variance(now.level, there) > 0 else None
    return ddim_step(now, there, eta, noise)


def _heun(walk: _Walk, now: State, there: Level, past: State | None) -> Tensor:
    """Euler's step, then again with the mean of the velocities at both ends.

    Source: Karras et al. 2022 (arXiv:2206.00364), alg. 1, on the straight path. At sigma = 0 no
    velocity can be read off, so the last step is one of Adams-Bashforth and not, as there, of
    Euler: that costs no call and keeps the order.
    """
    if there.sigma == 0:
        return straight_step(now, adams_bashforth_velocity(now, there, past), there)
    velocity = velocity_of(now)
    guess = straight_step(now, velocity, there)
    return straight_step(now, 0.5 * (velocity + velocity_of(walk.predict_x0(guess, there))), there)


# name: what takes one step. `past` is the moment before this one, None at the first step.
SAMPLERS: dict[str, Callable[[_Walk, State, Level, State | None], Tensor]] = {
    "ddpm": lambda walk, now, there, past: _stochastic(walk, now, there, 1.0),
    "ddim": lambda walk, now, there, past: _stochastic(walk, now, there, walk.eta),
    "euler": lambda walk, now, there, past: straight_step(now, velocity_of(now), there),
    "heun": lambda walk, now, there, past: _heun(walk, now, there, past),
    "ab2": lambda walk, now, there, past: straight_step(
        now, adams_bashforth_velocity(now, there, past), there
    ),
    "dpm++2m": lambda walk, now, there, past: dpm_step(now, there, past),
}


@torch.no_grad()
def sample(
    denoise: Denoiser,
    schedule: Schedule,
    x: Tensor,
    num_steps: int = 20,
    *,
    sampler: str = "euler",
    times: Tensor | None = None,
    eta: float = 0.0,
    rng: torch.Generator | ImageNoise | None = None,
    trajectory: bool = False,
) -> Sampled:
    """Returns images that a sampler draws from noise x: draws of p(x0), as far as the denoiser and
    the number of steps allow.

    Args:
        denoise: see the top of the file. Labels and guidance are its own affair. It is never asked
            about t = 0.
        schedule: that the denoiser was made for.
        x: x_t at the first time, standard normal noise where that is 1, `[B, ...]`.
        num_steps: of a uniform grid from 1 to 0; not used where `times` are given. A step is one
            call of the denoiser (heun: two, save in the last).
        sampler: "ddpm" (ancestral, random), "ddim" (with eta), "euler" (the same as ddim with eta
            0), "heun", "ab2" (Adams-Bashforth), "dpm++2m".
        times: that are visited, falling; see `time_grid`.
        eta: noise of "ddim", from 0 (none) to 1 (as ddpm).
        rng: source of the noise that ddpm and ddim add, a stream for each image (`ImageNoise`).
        trajectory: keep x_t and the image seen in it at all times.

    Raises:
        CourseError: an unknown sampler, an eta outside [0, 1], or times that do not fall.
    """
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    require(0 <= eta <= 1, "eta", "0 to 1", eta)
    times = time_grid(num_steps) if times is None else times
    noise, generator = (rng, None) if isinstance(rng, ImageNoise) else (None, rng)
    walk = _Walk(denoise, eta, noise, generator)
    xts, x0s, past = [x], [], None
    for here, there in itertools.pairwise(levels_at(schedule, times)):
        now = walk.predict_x0(x, here)
        x = SAMPLERS[sampler](walk, now, there, past)
        past = now
        if trajectory:
            xts.append(x)
            x0s.append(now.x0)
    kept = (tuple(xts), tuple(x0s)) if trajectory else ((), ())
    return Sampled(x, walk.num_calls, torch.as_tensor(times, dtype=torch.float64).cpu(), *kept)


def num_denoiser_calls(sampler: str, num_steps: int) -> int:
    """Returns how often `sample` asks the denoiser in so many steps: 2 num_steps - 1 for heun, else
    num_steps.

    Raises:
        CourseError: no such sampler.
    """
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    return 2 * num_steps - 1 if sampler == "heun" else num_steps
