"""Diffusion samplers with one signature. They know no model: `denoise(xt, t)` gives the image E[x0 | x_t] that somebody sees in x_t.

An exact denoiser serves as well as a network, which is how the tests know what must come out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.errors import unknown
from course_utils.image_noise import ImageNoise
from course_utils.sampling_steps import (
    Level,
    Moment,
    adams_bashforth_velocity,
    ddim_step,
    dpm_step,
    levels_at,
    posterior_variance,
    straight_step,
    time_grid,
    velocity_of,
)
from course_utils.schedules import Schedule

Denoiser = Callable[[Tensor, Tensor], Tensor]  # x_t [B, ...] and times [B] -> the image seen in it, [B, ...]


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
    xts, x0s = (tuple(torch.cat(parts) for parts in zip(*(getattr(piece, name) for piece in pieces))) for name in ("xts", "x0s"))
    return replace(pieces[0], x=torch.cat([piece.x for piece in pieces]), xts=xts, x0s=x0s)


class _Walk:
    """A sampler on its way: it asks the denoiser, counts the calls, and draws noise where a step needs some."""

    def __init__(self, denoise: Denoiser, eta: float, noise: ImageNoise | None, rng: torch.Generator | None) -> None:
        self.denoise, self.eta, self.noise, self.rng = denoise, eta, noise, rng
        self.num_calls = 0

    def look(self, x: Tensor, level: Level) -> Moment:
        """Returns x with the image that the denoiser sees in it."""
        self.num_calls += calls_at(self.denoise, level.t)
        return Moment(x, self.denoise(x, x.new_full((len(x),), level.t)), level)

    def draw(self, x: Tensor) -> Tensor:
        """Returns standard normal noise shaped like x, image by image."""
        if self.noise is None:
            self.noise = ImageNoise(len(x), self.rng)
        return self.noise.normal(tuple(x.shape[1:]), x)


def calls_at(denoise: Denoiser, t: float) -> int:
    """Returns how often the network runs for one call at time t: what the denoiser says (guidance costs two), else 1."""
    count = getattr(denoise, "num_calls_at", None)
    return 1 if count is None else count(t)


def _stochastic(walk: _Walk, now: Moment, there: Level, eta: float) -> Tensor:
    """A step with noise; none is drawn where none is added, as in the last step."""
    noise = walk.draw(now.x) if eta > 0 and posterior_variance(now.level, there) > 0 else None
    return ddim_step(now, there, eta, noise)


def _heun(walk: _Walk, now: Moment, there: Level, past: Moment | None) -> Tensor:
    """Euler's step, then again with the mean of the velocities at both ends.

    Source: Karras et al. 2022 (arXiv:2206.00364), alg. 1, on the straight path. At sigma = 0 no velocity can be read off, so the last step is one of
    Adams-Bashforth and not, as there, of Euler: that costs no call and keeps the order.
    """
    if there.sigma == 0:
        return straight_step(now, adams_bashforth_velocity(now, there, past), there)
    velocity = velocity_of(now)
    guess = straight_step(now, velocity, there)
    return straight_step(now, 0.5 * (velocity + velocity_of(walk.look(guess, there))), there)


# name: what takes one step. `past` is the moment before this one, None at the first step.
SAMPLERS: dict[str, Callable[[_Walk, Moment, Level, Moment | None], Tensor]] = {
    "ddpm": lambda walk, now, there, past: _stochastic(walk, now, there, 1.0),
    "ddim": lambda walk, now, there, past: _stochastic(walk, now, there, walk.eta),
    "euler": lambda walk, now, there, past: straight_step(now, velocity_of(now), there),
    "heun": lambda walk, now, there, past: _heun(walk, now, there, past),
    "ab2": lambda walk, now, there, past: straight_step(now, adams_bashforth_velocity(now, there, past), there),
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
    """Returns what a sampler makes of noise x: draws of p(x0), as far as the denoiser and the number of steps allow.

    Args:
        denoise: see the top of the file. Labels and guidance are its own affair. It is never asked about t = 0.
        schedule: that the denoiser was made for.
        x: x_t at the first time, standard normal noise where that is 1, `[B, ...]`.
        num_steps: of a uniform grid from 1 to 0; not used where `times` are given. A step is one call of the denoiser (heun: two, save in the last).
        sampler: "ddpm" (ancestral, random), "ddim" (with eta), "euler" (the same as ddim with eta 0), "heun", "ab2" (Adams-Bashforth), "dpm++2m".
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
        now = walk.look(x, here)
        x = SAMPLERS[sampler](walk, now, there, past)
        past = now
        if trajectory:
            xts.append(x)
            x0s.append(now.x0)
    kept = (tuple(xts), tuple(x0s)) if trajectory else ((), ())
    return Sampled(x, walk.num_calls, torch.as_tensor(times, dtype=torch.float64).cpu(), *kept)


def num_denoiser_calls(sampler: str, num_steps: int) -> int:
    """Returns how often `sample` asks the denoiser in so many steps: 2 num_steps - 1 for heun, else num_steps.

    Raises:
        CourseError: no such sampler.
    """
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    return 2 * num_steps - 1 if sampler == "heun" else num_steps
