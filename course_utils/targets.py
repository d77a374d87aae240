"""What a denoising network may be asked to predict, and the exact way from each answer to every other.

All targets are mixtures a x0 + b eps of the image and the noise, with a and b that depend on t alone. Together with x_t = alpha x0 + sigma eps they
are two linear equations in x0 and eps, so one formula serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from course_utils.errors import unknown
from course_utils.schedules import Schedule


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
    """Returns what the network is to predict, `[B, ...]`.

    "x0" is the image and "eps" the noise; "v" is alpha eps - sigma x0; "velocity" is eps - x0, the speed along the straight path from image to noise
    (with the flow schedule it is dx_t/dt).

    Args:
        name: a key of `TARGETS`.
        schedule: gives alpha and sigma.
        x0, eps: image and noise, `[B, ...]`.
        t: times `[B]`, or one number.

    Source: eps: Ho et al. 2020 (arXiv:2006.11239), eq. 14; v: Salimans & Ho 2022 (arXiv:2202.00512), sec. 4; velocity: Liu et al. 2023
    (arXiv:2209.03003), eq. 1, with the sign of a time that counts the noise.
    """
    a, b = weights_of(name, *schedule.at(t, x0))
    return a * x0 + b * eps


def from_target(name: str, schedule: Schedule, prediction: Tensor, xt: Tensor, t: Tensor) -> Estimate:
    """Returns the image and the noise that belong to a prediction of a target, given x_t; exact, the inverse of `make_target`.

    The solution divides by alpha b - sigma a: alpha for eps, -sigma for x0, alpha² + sigma² for v, alpha + sigma for velocity. So an eps-prediction
    says nothing of the image where alpha is 0 (flow at t = 1), and an x0-prediction nothing of the noise at t = 0; v and velocity serve at all times.

    Args:
        name: a key of `TARGETS`.
        prediction, xt: `[B, ...]`.
        t: times `[B]`, or one number.
    """
    alpha, sigma = schedule.at(t, xt)
    a, b = weights_of(name, alpha, sigma)
    determinant = alpha * b - sigma * a
    return Estimate((b * xt - sigma * prediction) / determinant, (alpha * prediction - a * xt) / determinant)


def convert(prediction: Tensor, source: str, wanted: str, schedule: Schedule, xt: Tensor, t: Tensor) -> Tensor:
    """Returns a prediction of one target as the prediction of another, `[B, ...]`; both are keys of `TARGETS`."""
    estimate = from_target(source, schedule, prediction, xt, t)
    return make_target(wanted, schedule, estimate.x0, estimate.eps, t)


def noise_of(x0: Tensor, schedule: Schedule, xt: Tensor, t: Tensor) -> Tensor:
    """Returns eps = (x_t - alpha x0) / sigma, the noise that x_t holds besides the image; t above 0."""
    return from_target("x0", schedule, x0, xt, t).eps


def score_of(x0: Tensor, schedule: Schedule, xt: Tensor, t: Tensor) -> Tensor:
    """Returns the score, the gradient of log q(x_t), for x0 = E[x0 | x_t]: -eps / sigma.

    Source: Vincent 2011; Song et al. 2021 (arXiv:2011.13456), sec. 2; Efron 2011 for the way back (Tweedie's formula).
    """
    _, sigma = schedule.at(t, xt)
    return -noise_of(x0, schedule, xt, t) / sigma
