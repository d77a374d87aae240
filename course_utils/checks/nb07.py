"""The exercises of notebook 07, diffusion: what x_t is, and what a network can say of it. `nb07_steps.py` has the steps back from the noise,
`nb07_labels.py` those with class labels."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake
from course_utils.checks.nb07_labels import DROPOUT, GUIDANCE
from course_utils.checks.nb07_steps import ANCESTRAL, DDIM, EULER
from course_utils.device import make_rng


def _noised(x0: Tensor, eps: Tensor, betas: Tensor, k: int) -> Tensor:
    kept = (1 - betas[:k]).prod()  # alpha-bar of step k
    return kept.sqrt() * x0 + (1 - kept).sqrt() * eps


def _noised_with(kept: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
    return kept.sqrt() * x0 + (1 - kept).sqrt() * eps


def _kept(betas: Tensor, k: int) -> Tensor:
    return (1 - betas[:k]).prod()


def _noising_cases() -> list[tuple]:
    rng = make_rng(7, 0)
    x0, eps = (torch.randn(3, 1, 2, 2, generator=rng) for _ in range(2))
    betas = torch.linspace(0.02, 0.14, 10)
    return [(x0, eps, betas, k) for k in (4, 1, 9)]


NOISING = Exercise(
    id="07.noising",
    question="Return x_k, a draw of q(x_k | x0), in one go: from the image, the noise, the betas [K] (betas[0] belongs to step 1) and k.",
    solution=_noised,
    cases=_noising_cases,
    why="Training jumps straight to any noise level, so a step of training costs the same at all of them.",
    mistakes=(
        Mistake(
            lambda x0, eps, betas, k: _kept(betas, k) * x0 + (1 - _kept(betas, k)) * eps,
            "The square roots are missing. The two shares are variances, and variances add up to 1; what multiplies x0 and eps are their roots.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _kept(betas, k).sqrt() * x0 + (1 - _kept(betas, k)) * eps,
            "You multiplied the noise by its variance sigma². Its standard deviation sigma belongs there.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _kept(betas, k) * x0 + (1 - _kept(betas, k)).sqrt() * eps,
            "The image lacks a square root: each step multiplies it by sqrt(1 - beta).",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(1 - betas[k - 1], x0, eps),
            "This is one single step, alpha_k in place of alpha-bar_k. The factors of all steps up to k multiply.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(_kept(betas, k - 1), x0, eps),
            "One step too few: with k = 1 you return the image itself. betas[0] is step 1, so betas[:k] are the first k steps.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(_kept(betas, k + 1), x0, eps),
            "One step too many: betas[0] is step 1, so with k = 1 only betas[0] has acted.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(1 - betas[:k].sum(), x0, eps),
            "You added the betas. What is kept is multiplied by 1 - beta at each step, so the factors form a product.",
        ),
        Mistake(lambda x0, eps, betas, k: _noised_with(1 - _kept(betas, k), x0, eps), "The shares are swapped: yours begins with noise at k = 1."),
    ),
    hints=(
        "How much of the image's variance is left after one step, after two, after k?",
        "alpha_bar = (1 - betas[:k]).prod()",
        "The variances alpha_bar and 1 - alpha_bar add up to 1. Factors of numbers are standard deviations.",
    ),
)


SCORE = Exercise(
    id="07.score",
    question="Return the score, the gradient of log q(x_t | x0) by x_t, from the noise eps in x_t and from sigma.",
    solution=lambda eps, sigma: -eps / sigma,
    cases=lambda: [(torch.randn(4, 2, generator=make_rng(7, 1)), sigma) for sigma in (0.2, 0.7, 1.0)],
    why="A network that predicts the noise has learned the score: it knows the way to likelier images.",
    mistakes=(
        Mistake(lambda eps, sigma: eps / sigma, "The minus is missing: the score points back to where x_t is likelier, against the noise."),
        Mistake(lambda eps, sigma: -eps, "Sigma is missing: the less noise, the narrower the bell, the steeper its log-density."),
        Mistake(
            lambda eps, sigma: -eps / sigma**2,
            "You divided by sigma²: that is right for x_t - alpha x0, which is sigma eps. One of the two cancels.",
        ),
        Mistake(lambda eps, sigma: -eps * sigma, "You multiplied by sigma. Where there is little noise the bell is narrow and its slope is large."),
        Mistake(lambda eps, sigma: -eps / sigma**0.5, "You took sigma for a variance. It is the standard deviation already."),
    ),
    hints=(
        "log q(x_t | x0) = -(x_t - alpha x0)² / (2 sigma²) + a constant. Differentiate it by x_t.",
        "Then put in x_t - alpha x0 = sigma eps.",
    ),
)


def _image(xt: Tensor, eps: Tensor, alpha: float, sigma: float) -> Tensor:
    return (xt - sigma * eps) / alpha


def _image_cases() -> list[tuple]:
    rng = make_rng(7, 2)
    xt, eps = (torch.randn(2, 1, 3, 3, generator=rng) for _ in range(2))
    return [(xt, eps, alpha, sigma) for alpha, sigma in ((0.8, 0.6), (0.3, 0.7))]


IMAGE = Exercise(
    id="07.x0",
    question="Return the image x0 that belongs to a predicted noise eps, given x_t = alpha x0 + sigma eps.",
    solution=_image,
    cases=_image_cases,
    why="Whatever a network is trained to predict, a sampler can ask it for the image.",
    mistakes=(
        Mistake(lambda xt, eps, alpha, sigma: xt - sigma * eps, "The noise is gone, but the image is still as faint as in x_t: undo alpha too."),
        Mistake(lambda xt, eps, alpha, sigma: (xt - sigma**2 * eps) / alpha, "You subtracted sigma² eps. x_t holds sigma eps."),
        Mistake(lambda xt, eps, alpha, sigma: (xt - eps) / alpha, "You subtracted all of eps, but x_t holds only sigma eps."),
        Mistake(lambda xt, eps, alpha, sigma: (xt + sigma * eps) / alpha, "The sign is wrong: you added the noise a second time."),
        Mistake(lambda xt, eps, alpha, sigma: (xt - sigma * eps) * alpha, "You made the image fainter once more: divide by alpha."),
        Mistake(lambda xt, eps, alpha, sigma: (xt - alpha * eps) / sigma, "Alpha and sigma are swapped: alpha is the share of the image."),
        Mistake(
            lambda xt, eps, alpha, sigma: (xt - (1 - alpha) ** 0.5 * eps) / alpha**0.5,
            "You treated alpha as DDPM's alpha-bar. Here alpha and sigma are the factors themselves, their roots are taken already.",
        ),
    ),
    hints=("Solve x_t = alpha x0 + sigma eps for x0.",),
)


def _pair(x0: Tensor, eps: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    t = t[:, None, None, None]
    return (1 - t) * x0 + t * eps, eps - x0


def _pair_cases() -> list[tuple]:
    rng = make_rng(7, 3)
    x0, eps = (torch.randn(4, 1, 4, 4, generator=rng) for _ in range(2))
    return [(x0, eps, torch.tensor([0.1, 0.4, 0.6, 0.9]))]


def _pair_with_target(target):
    """Returns an answer with the right x_t and another target: the shape of most wrong ones."""
    return lambda x0, eps, t: (_pair(x0, eps, t)[0], target(x0, eps, t[:, None, None, None]))


VELOCITY = Exercise(
    id="07.velocity",
    question="Return what rectified flow trains on: x_t on the straight path from image (t = 0) to noise (t = 1), and its velocity dx_t/dt.",
    solution=_pair,
    cases=_pair_cases,
    why="The path is a straight line, so its velocity is the same at all times, and one formula trains the whole model.",
    mistakes=(
        Mistake(
            _pair_with_target(lambda x0, eps, t: x0 - eps),
            "The target's sign is wrong: with t = 0 at the image, dx_t/dt points from the image to the noise.",
        ),
        Mistake(_pair_with_target(lambda x0, eps, t: eps), "Your target is eps, that of DDPM. Differentiate x_t by t: two terms remain."),
        Mistake(
            _pair_with_target(lambda x0, eps, t: (1 - t) * eps - t * x0),
            "Your target is v, alpha eps - sigma x0. It is no derivative of this path: differentiate (1 - t) x0 + t eps by t.",
        ),
        Mistake(
            lambda x0, eps, t: (_pair(x0, eps, 1 - t)[0], eps - x0),
            "Your path runs from noise at t = 0 to the image at t = 1. Many papers write it so; here t counts the noise.",
        ),
        Mistake(
            lambda x0, eps, t: ((1 - t) * x0 + t * eps, eps - x0),
            "Your times act on columns of pixels and not on images. t has the shape [B], the images [B, C, H, W]: give t three more axes.",
        ),
    ),
    hints=(
        "x_t = (1 - t) x0 + t eps. Check: t = 0 has to give the image.",
        "t[:, None, None, None] makes [B] into [B, 1, 1, 1].",
        "The derivative of (1 - t) x0 + t eps by t has no t in it.",
    ),
)

EXERCISES = (NOISING, SCORE, IMAGE, VELOCITY, ANCESTRAL, DDIM, EULER, DROPOUT, GUIDANCE)
