"""The exercises of notebook 07 that go one step back from the noise: DDPM's random step, DDIM's, and Euler's on the straight path."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake
from course_utils.device import make_rng


def _ancestral(x0: Tensor, xk: Tensor, alpha_bars: Tensor, k: int, noise: Tensor) -> Tensor:
    kept, kept_before = alpha_bars[k], alpha_bars[k - 1]
    beta = 1 - kept / kept_before
    mean = (kept_before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - kept_before) * xk) / (1 - kept)
    return mean + (beta * (1 - kept_before) / (1 - kept)).sqrt() * noise


def _ancestral_cases() -> list[tuple]:
    rng = make_rng(7, 4)
    x0, xk, noise = (torch.randn(2, 1, 3, 3, generator=rng) for _ in range(3))
    alpha_bars = torch.cat([torch.ones(1), (1 - torch.linspace(0.05, 0.4, 10)).cumprod(0)])
    return [(x0, xk, alpha_bars, k, noise) for k in (5, 2, 1)]


def _ancestral_with(noise_factor, from_x0=lambda kept, kept_before, beta: kept_before.sqrt() * beta / (1 - kept)):
    """Returns an answer with another factor of the noise, or of x0: the shape of most wrong ones. Both are functions of (kept, kept_before, beta)."""

    def answer(x0: Tensor, xk: Tensor, alpha_bars: Tensor, k: int, noise: Tensor) -> Tensor:
        kept, kept_before = alpha_bars[k], alpha_bars[k - 1]
        shares = kept, kept_before, 1 - kept / kept_before
        from_xk = (kept / kept_before).sqrt() * (1 - kept_before) / (1 - kept)
        return from_x0(*shares) * x0 + from_xk * xk + noise_factor(*shares) * noise

    return answer


def _spread(kept: Tensor, kept_before: Tensor, beta: Tensor) -> Tensor:
    """The right factor of the noise."""
    return (beta * (1 - kept_before) / (1 - kept)).sqrt()


ANCESTRAL = Exercise(
    id="07.ancestral",
    question="Return a draw of q(x_(k-1) | x_k, x0), one step of DDPM, from alpha_bars [K + 1] (alpha_bars[0] = 1, the image) and given noise.",
    solution=_ancestral,
    cases=_ancestral_cases,
    why="This is the reverse step of DDPM once a network has said what x0 may be; at k = 1 it returns that x0 and adds nothing.",
    mistakes=(
        Mistake(
            lambda x0, xk, alpha_bars, k, noise: _ancestral(x0, xk, alpha_bars, k + 1, noise),
            "You are one step off: this is the step from k + 1 to k. alpha_bars[0] is the image, so alpha_bars[k] belongs to step k.",
        ),
        Mistake(
            lambda x0, xk, alpha_bars, k, noise: _ancestral(x0, xk, alpha_bars, k - 1, noise),
            "You are one step off: this is the step from k - 1 to k - 2, and at k = 1 it falls off the end. alpha_bars[k] belongs to step k.",
        ),
        Mistake(
            _ancestral_with(lambda kept, kept_before, beta: beta.sqrt()),
            "You add noise in the last step too. The variance is not beta_k, that of the step forward; knowing x0 makes it smaller, and 0 at k = 1.",
        ),
        Mistake(
            _ancestral_with(lambda *shares: _spread(*shares).square()),
            "The noise is multiplied by the variance. Its standard deviation belongs there: a square root is missing.",
        ),
        Mistake(_ancestral_with(lambda *shares: 0), "This is the mean. DDPM draws from the Gaussian around it, so the noise has a factor too."),
        Mistake(
            _ancestral_with(_spread, lambda kept, kept_before, beta: kept.sqrt() * beta / (1 - kept)),
            "x0 is multiplied by the root of alpha_bars[k]. The step ends at k - 1, so alpha_bars[k - 1] stands there.",
        ),
        Mistake(
            _ancestral_with(_spread, lambda kept, kept_before, beta: kept_before * beta / (1 - kept)),
            "The factor of x0 lacks a root: the share of the image is the root of alpha_bars[k - 1].",
        ),
    ),
    hints=(
        "beta_k = 1 - alpha_bars[k] / alpha_bars[k - 1].",
        "mean = sqrt(alpha_bars[k - 1]) beta / (1 - alpha_bars[k]) x0 + sqrt(1 - beta) (1 - alpha_bars[k - 1]) / (1 - alpha_bars[k]) x_k",
        "variance = beta (1 - alpha_bars[k - 1]) / (1 - alpha_bars[k]). What is it at k = 1?",
    ),
)


def _ddim(xt: Tensor, eps: Tensor, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float) -> Tensor:
    x0 = (xt - sigma_t * eps) / alpha_t
    return alpha_s * x0 + sigma_s * eps


def _ddim_cases() -> list[tuple]:
    """A step in the middle, one to the image, and one of the flow schedule, whose squares do not add up to 1."""
    rng = make_rng(7, 5)
    xt, eps = (torch.randn(2, 1, 3, 3, generator=rng) for _ in range(2))
    return [(xt, eps, *levels) for levels in ((0.6, 0.8, 0.8, 0.6), (0.96, 0.28, 1.0, 0.0), (0.3, 0.7, 0.5, 0.5))]


def _redrawn(xt: Tensor, eps: Tensor, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float) -> Tensor:
    return alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_s * torch.randn_like(xt)


DDIM = Exercise(
    id="07.ddim",
    question="Return x_s, one step of DDIM from time t to an earlier time s, from x_t, the predicted noise and the levels of both times.",
    solution=_ddim,
    cases=_ddim_cases,
    why="The step may be as long as you like: it only needs alpha and sigma at both of its ends.",
    mistakes=(
        Mistake(
            _redrawn,
            "You drew new noise. DDIM puts back the noise that it took out, so that nothing is random.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_t * eps,
            "You put back as much noise as there was at t, in the last step too. The step ends at s, where the noise has the share sigma_s.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * xt + sigma_s * eps,
            "You treated x_t as if it were the image. Take its noise out first, and undo alpha_t.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_s * xt,
            "You put x_t back in place of the noise eps.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * (xt - sigma_t * eps) + sigma_s * eps,
            "The image x0 was not divided by alpha_t, so it gets fainter with every step.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (xt - sigma_t * eps) / alpha_t + sigma_s * eps,
            "At time s the image has the share alpha_s; you put it in whole.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * (xt - sigma_t * eps) / alpha_t - sigma_s * eps,
            "The noise comes back with the wrong sign.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (xt - sigma_t * eps) / alpha_t,
            "This is the image that is seen in x_t. The step goes to time s, where it is mixed with noise again.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * (xt - sigma_t**2 * eps) / alpha_t + sigma_s**2 * eps,
            "The noise is multiplied by sigma². Its share is sigma.",
        ),
    ),
    hints=("First the image: x0 = (x_t - sigma_t eps) / alpha_t.", "Then mix the same x0 and the same eps as at time s."),
)


EULER = Exercise(
    id="07.euler",
    question="Return x_s, one step of Euler's method from time t to an earlier time s, from x_t and the predicted velocity dx/dt = eps - x0.",
    solution=lambda xt, velocity, t, s: xt + (s - t) * velocity,
    cases=lambda: [(*torch.randn(2, 2, 1, 3, 3, generator=make_rng(7, 6)).unbind(), t, s) for t, s in ((0.9, 0.6), (0.25, 0.0), (1.0, 0.5))],
    why="On a straight path one step of any length is exact; the network's paths bend, and that is why several steps are needed.",
    mistakes=(
        Mistake(
            lambda xt, velocity, t, s: xt + (t - s) * velocity,
            "You walk the wrong way: s is earlier than t, so dt = s - t is negative. Your step leads to more noise.",
        ),
        Mistake(lambda xt, velocity, t, s: xt - velocity, "You took a step of length 1, from noise to image at once. This one ends at s."),
        Mistake(lambda xt, velocity, t, s: xt + velocity, "You took a step of length 1, and towards the noise. dt is s - t."),
        Mistake(lambda xt, velocity, t, s: xt - t * velocity, "This goes all the way to the image at time 0. The step ends at s."),
        Mistake(lambda xt, velocity, t, s: xt - s * velocity, "The length of the step is the difference of both times, not s."),
        Mistake(lambda xt, velocity, t, s: (s - t) * velocity, "This is the change. Add it to x_t."),
    ),
    hints=("new = old + dt · velocity.", "dt is where you go minus where you are."),
)
