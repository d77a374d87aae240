"""Noise schedules x_t = alpha(t) x0 + sigma(t) eps, from t = 0 (the image) to t = 1 (noise), and
what a network may predict of x_t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.errors import unknown

NUM_STEPS = 1000  # K of DDPM
COSINE_OFFSET = 0.008
MAX_BETA = 0.999  # of the cosine schedule, whose last step would otherwise divide by zero

Time = TypeVar("Time", float, Tensor)


class ImageGaussian(NamedTuple):
    """A Gaussian for each image: mean `[B, ...]` and a variance that broadcasts to it, the same for
    every pixel.
    """

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Schedule:
    """How much of the image and how much noise x_t holds.

    Attributes:
        name: "linear", "cosine" or "flow".
        alpha: share of the image, t in [0, 1] -> [0, 1], any shape; 1 at t = 0 and falling.
        sigma: share of the noise, t -> [0, 1]; 0 at t = 0 and rising.
        preserves_variance: whether alpha² + sigma² = 1, as in DDPM.
    """

    name: str
    alpha: Callable[[Tensor], Tensor]
    sigma: Callable[[Tensor], Tensor]
    preserves_variance: bool

    def at(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns alpha and sigma at t (`[B]` or a number) in the dtype of `like`, `[B, 1, ...]` so
        that they multiply `like`, `[B, ...]`.
        """
        t = torch.as_tensor(
            t, dtype=torch.float64, device="cpu" if like.device.type == "mps" else like.device
        )
        shape = (-1, *[1] * (like.ndim - 1)) if t.ndim else ()
        alpha, sigma = self.alpha(t).reshape(shape), self.sigma(t).reshape(shape)
        return alpha.to(like.device, like.dtype), sigma.to(like.device, like.dtype)

    def noised(self, x0: Tensor, eps: Tensor, t: Tensor | float) -> Tensor:
        """Returns x_t = alpha x0 + sigma eps, a draw of q(x_t | x0) where eps ~ N(0, I); t is `[B]`
        or a number.

        Source: Ho et al. 2020 (arXiv:2006.11239), eq. 4.
        """
        alpha, sigma = self.at(t, x0)
        return alpha * x0 + sigma * eps

    def log_snr(self, t: Tensor) -> Tensor:
        """Returns log(alpha² / sigma²), the log of the signal-to-noise ratio; infinite where sigma
        or alpha is 0.

        Source: Kingma et al. 2021 (arXiv:2107.00630), eq. 3.
        """
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def transition(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns scale and variance of the noising from time s to a later time t: q(x_t | x_s) =
        N(scale x_s, variance I).

        Source: Kingma et al. 2021 (arXiv:2107.00630), app. A.1.
        """
        scale = self.alpha(t) / self.alpha(s)
        return scale, self.sigma(t).square() - scale.square() * self.sigma(s).square()

    def posterior(self, x0: Tensor, xt: Tensor, s: Tensor, t: Tensor) -> ImageGaussian:
        """Returns q(x_s | x_t, x0), what one step back from t to s < t is when the image is known;
        s and t are `[B]` or numbers.

        Source: Ho et al. 2020 (arXiv:2006.11239), eq. 6-7; for any alpha and sigma Kingma et al.
        2021 (arXiv:2107.00630), eq. 28.
        """
        s, t = (torch.as_tensor(time, dtype=torch.float64) for time in (s, t))
        shape = (-1, *[1] * (xt.ndim - 1)) if s.ndim or t.ndim else ()
        (alpha_s, sigma_s), sigma_t = (self.alpha(s), self.sigma(s)), self.sigma(t)
        scale, variance = self.transition(s, t)
        from_xt, from_x0 = (
            scale * sigma_s.square() / sigma_t.square(),
            alpha_s * variance / sigma_t.square(),
        )
        rows = (from_xt, from_x0, variance * sigma_s.square() / sigma_t.square())
        from_xt, from_x0, variance = (row.reshape(shape).to(xt) for row in rows)
        return ImageGaussian(from_xt * xt + from_x0 * x0, variance)


def alpha_bars(schedule: Schedule, num_steps: int = NUM_STEPS) -> Tensor:
    """Returns alpha² at the steps k = 0 ... K, float64 `[K + 1]`: DDPM's cumulative product, with 1
    in front for the image itself.
    """
    require(num_steps >= 1, "num_steps", "at least 1", num_steps)
    return schedule.alpha(torch.arange(num_steps + 1, dtype=torch.float64) / num_steps).square()


def betas(schedule: Schedule, num_steps: int = NUM_STEPS) -> Tensor:
    """Returns the variance that each step k = 1 ... K adds, float64 `[K]`: x_k = sqrt(1 - beta_k)
    x_(k-1) + sqrt(beta_k) eps.

    Raises:
        CourseError: a schedule with another kind of step, such as flow; `Schedule.transition`
            describes those.
    """
    require(
        schedule.preserves_variance,
        "schedule",
        "one with alpha² + sigma² = 1 (linear or cosine)",
        schedule.name,
    )
    kept = alpha_bars(schedule, num_steps)
    return 1 - kept[1:] / kept[:-1]


def linear_schedule() -> Schedule:
    """Returns DDPM's schedule: beta rises linearly from 0.0001 to 0.02 over 1000 steps; log alpha
    is interpolated between the steps.

    Source: Ho et al. 2020 (arXiv:2006.11239), sec. 4; interpolation as in Lu et al. 2022
    (arXiv:2206.00927), app. D.
    """
    added = torch.linspace(1e-4, 0.02, NUM_STEPS, dtype=torch.float64)
    # log alpha² at k = 0 ... K
    table = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-added).cumsum(0)])

    def log_kept(t: Tensor) -> Tensor:
        position = t.double().clamp(0, 1) * NUM_STEPS
        below = position.floor().clamp(max=NUM_STEPS - 1).long()
        values = table.to(t.device)
        return torch.lerp(values[below], values[below + 1], position - below)

    return Schedule(
        "linear",
        lambda t: (0.5 * log_kept(t)).exp().to(t.dtype),
        lambda t: (-torch.expm1(log_kept(t))).sqrt().to(t.dtype),
        preserves_variance=True,
    )


def cosine_schedule() -> Schedule:
    """Returns the cosine schedule, alpha = cos(pi/2 (t + s)/(1 + s)) / cos(pi/2 s/(1 + s)) with s =
    0.008.

    Source: Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 17; their upper bound of 0.999 on the
    last beta is the lower bound on alpha here.
    """

    def angle(t: Time) -> Time:
        return (t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * (math.pi / 2)

    start = math.cos(angle(0.0))
    smallest = math.cos(angle(1 - 1 / NUM_STEPS)) / start * math.sqrt(1 - MAX_BETA)

    def alpha(t: Tensor) -> Tensor:
        return (angle(t.double()).cos() / start).clamp(smallest, 1)

    return Schedule(
        "cosine",
        lambda t: alpha(t).to(t.dtype),
        lambda t: (1 - alpha(t).square()).sqrt().to(t.dtype),
        preserves_variance=True,
    )


def flow_schedule() -> Schedule:
    """Returns the straight path x_t = (1 - t) x0 + t eps of rectified flow and flow matching.

    Source: Liu et al. 2023 (arXiv:2209.03003), eq. 1; Lipman et al. 2023 (arXiv:2210.02747), eq. 22
    with the smallest width 0. Both run from noise at 0 to the image at 1; here t counts the noise,
    as in DDPM.
    """
    return Schedule("flow", lambda t: 1 - t, lambda t: t, preserves_variance=False)


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "flow": flow_schedule,
}


def make_schedule(name: str) -> Schedule:
    """Returns the schedule of that name: "linear", "cosine" or "flow".

    Raises:
        CourseError: no such schedule.
    """
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return SCHEDULES[name]()


class Estimate(NamedTuple):
    """The image and the noise in x_t, as a network sees them; alpha x0 + sigma eps = x_t."""

    x0: Tensor
    eps: Tensor


# name: (a, b) of the target a x0 + b eps, for alpha and sigma.
TARGETS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "x0": lambda alpha, sigma: (alpha * 0 + 1, alpha * 0),
    "eps": lambda alpha, sigma: (alpha * 0, alpha * 0 + 1),
    "v": lambda alpha, sigma: (-sigma, alpha),
    "velocity": lambda alpha, sigma: (alpha * 0 - 1, alpha * 0 + 1),
}


def weights_of(name: str, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the factors a and b of the target a x0 + b eps.

    Raises:
        CourseError: no such target.
    """
    if name not in TARGETS:
        raise unknown("target", name, TARGETS)
    return TARGETS[name](alpha, sigma)


def make_target(name: str, schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """Returns the target that the network is to predict, `[B, ...]`.

    "x0" is the image and "eps" the noise; "v" is alpha eps - sigma x0; "velocity" is eps - x0, the
    speed along the straight path from image to noise (with the flow schedule it is dx_t/dt).

    Args:
        name: a key of `TARGETS`.
        schedule: gives alpha and sigma.
        x0, eps: image and noise, `[B, ...]`.
        t: times `[B]`, or one number.

    Source: eps: Ho et al. 2020 (arXiv:2006.11239), eq. 14; v: Salimans & Ho 2022
    (arXiv:2202.00512), sec. 4; velocity: Liu et al. 2023 (arXiv:2209.03003), eq. 1, with the sign
    of a time that counts the noise.
    """
    a, b = weights_of(name, *schedule.at(t, x0))
    return a * x0 + b * eps


def from_target(
    name: str, schedule: Schedule, prediction: Tensor, xt: Tensor, t: Tensor
) -> Estimate:
    """Returns the image and the noise that belong to a prediction of a target, given x_t; exact,
    the inverse of `make_target`.

    The solution divides by alpha b - sigma a: alpha for eps, -sigma for x0, alpha² + sigma² for v,
    alpha + sigma for velocity. So an eps-prediction says nothing of the image where alpha is 0
    (flow at t = 1), and an x0-prediction nothing of the noise at t = 0; v and velocity serve at all
    times.

    Args:
        name: a key of `TARGETS`.
        prediction, xt: `[B, ...]`.
        t: times `[B]`, or one number.
    """
    alpha, sigma = schedule.at(t, xt)
    a, b = weights_of(name, alpha, sigma)
    determinant = alpha * b - sigma * a
    return Estimate(
        (b * xt - sigma * prediction) / determinant, (alpha * prediction - a * xt) / determinant
    )


def convert_prediction(
    prediction: Tensor, source: str, wanted: str, schedule: Schedule, xt: Tensor, t: Tensor
) -> Tensor:
    """Returns a prediction of one target as the prediction of another, `[B, ...]`; both are keys of
    `TARGETS`.
    """
    estimate = from_target(source, schedule, prediction, xt, t)
    return make_target(wanted, schedule, estimate.x0, estimate.eps, t)


def noise_of(x0: Tensor, schedule: Schedule, xt: Tensor, t: Tensor) -> Tensor:
    """Returns eps = (x_t - alpha x0) / sigma, the noise that x_t holds besides the image; t above
    0.
    """
    return from_target("x0", schedule, x0, xt, t).eps


def score_of(x0: Tensor, schedule: Schedule, xt: Tensor, t: Tensor) -> Tensor:
    """Returns the score, the gradient of log q(x_t), for x0 = E[x0 | x_t]: -eps / sigma.

    Source: Vincent 2011; Song et al. 2021 (arXiv:2011.13456), sec. 2; Efron 2011 for the way back
    (Tweedie's formula).
    """
    _, sigma = schedule.at(t, xt)
    return -noise_of(x0, schedule, xt, t) / sigma
