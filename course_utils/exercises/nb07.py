"""The exercises of notebook 07, diffusion: x_t, what a network can say of it, the steps back, and
class labels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake, Wrong

NUM_LABELS, NULL_LABEL = 4000, 10


def _dropped(labels: Tensor, share: float, null_label: int, rng: torch.Generator) -> Tensor:
    hidden = torch.rand(len(labels), generator=rng) < share
    return torch.where(hidden, null_label, labels)


NONE = (
    "No label was hidden, so the network never learns p(x) without one, and guidance has nothing to"
    " compare with."
)
ALL = "Every label was hidden: the network never learns what a label means."
ZERO = "Hidden labels became 0, which is a class of its own. They have to become null_label."
SWAPPED = "You hid the labels that should stay: the share of hidden ones is 1 - share."
WHOLE_BATCH = "You tossed one coin for the whole batch. Toss one for each image."
SAME_PLACES = "The same places are hidden every time. Choose them at random, with rng."
IN_PLACE = (
    "You changed the labels that were given to you, so they are lost for the next epoch. Return a"
    " new tensor."
)


def _check_dropout(answer) -> None:
    """The share and the places are checked, not the draws: there is more than one right way."""
    labels = torch.arange(NUM_LABELS) % NULL_LABEL
    batches = [
        _hidden(answer, labels, share, case) for case, share in enumerate((0.1, *[0.35] * 12))
    ]
    shares = [hidden.double().mean().item() for hidden in batches]
    if set(shares) <= {0.0, 1.0}:
        raise Wrong(WHOLE_BATCH if len(set(shares)) == 2 else ALL if shares[0] else NONE)
    if torch.equal(batches[1], batches[2]):
        raise Wrong(SAME_PLACES)
    for wanted, got in zip((0.1, 0.35), shares):
        error = 6 * math.sqrt(wanted * (1 - wanted) / NUM_LABELS)
        if abs(got - (1 - wanted)) < error:
            raise Wrong(SWAPPED)
        if abs(got - wanted) > error:
            raise Wrong(f"You hid {got:.1%} of the labels where {wanted:.0%} were asked for.")


def _hidden(answer, labels: Tensor, share: float, case: int) -> Tensor:
    """Returns which labels an answer hides, bool `[N]`.

    Raises:
        Wrong: something else than labels came back, or labels were changed to something else than
            the null label.
    """
    given = labels.clone()
    result = answer(given, share, NULL_LABEL, make_rng(7, 7, case))
    if (
        not isinstance(result, Tensor)
        or result.shape != labels.shape
        or result.is_floating_point()
        or result.dtype == torch.bool
    ):
        got = (
            f"{result.dtype} {list(result.shape)}"
            if isinstance(result, Tensor)
            else type(result).__name__
        )
        raise Wrong(f"Expected whole numbers of shape [{len(labels)}], got {got}.")
    if not torch.equal(given, labels):
        raise Wrong(IN_PLACE)
    hidden = result != labels
    if hidden.any() and (result[hidden] == 0).all():
        raise Wrong(ZERO)
    if (result[hidden] != NULL_LABEL).any():
        raise Wrong(
            "Some labels turned into other classes. A label either stays or becomes null_label."
        )
    return hidden


def _in_place(labels: Tensor, share: float, null_label: int, rng: torch.Generator) -> Tensor:
    labels[torch.rand(len(labels), generator=rng) < share] = null_label
    return labels


def _for_all(labels: Tensor, share: float, null_label: int, rng: torch.Generator) -> Tensor:
    return torch.where(torch.rand(1, generator=rng) < share, null_label, labels)


def _first_ones(labels: Tensor, share: float, null_label: int, rng: torch.Generator) -> Tensor:
    return torch.where(torch.arange(len(labels)) < share * len(labels), null_label, labels)


DROPOUT = Exercise(
    id="07.dropout",
    question=(
        "Return the labels with a share of them hidden at random, image by image: a hidden label"
        " becomes null_label."
    ),
    solution=_dropped,
    check=_check_dropout,
    why="One network learns p(x | y) and p(x) at once, and guidance needs both.",
    mistakes=(
        Mistake(lambda labels, share, null_label, rng: labels.clone(), NONE),
        Mistake(lambda labels, share, null_label, rng: torch.full_like(labels, null_label), ALL),
        Mistake(lambda labels, share, null_label, rng: _dropped(labels, share, 0, rng), ZERO),
        Mistake(
            lambda labels, share, null_label, rng: _dropped(labels, 1 - share, null_label, rng),
            SWAPPED,
        ),
        Mistake(_for_all, WHOLE_BATCH),
        Mistake(_first_ones, SAME_PLACES),
        Mistake(_in_place, IN_PLACE),
    ),
    hints=(
        (
            "torch.rand(len(labels), generator=rng) gives each image a number between 0 and 1."
            " Which of them are below `share`?"
        ),
        "torch.where(condition, null_label, labels) makes a new tensor.",
    ),
)


def _guided(conditional: Tensor, unconditional: Tensor, w: float) -> Tensor:
    return unconditional + w * (conditional - unconditional)


def _guidance_cases() -> list[tuple]:
    conditional, unconditional = torch.randn(2, 2, 1, 3, 3, generator=make_rng(7, 8)).unbind()
    return [(conditional, unconditional, w) for w in (3.0, 0.0, 1.0)]


GUIDANCE = Exercise(
    id="07.guidance",
    question=(
        "Return the guided prediction from those with and without the label: w = 0 is the"
        " unconditional one, w = 1 the conditional one."
    ),
    solution=_guided,
    cases=_guidance_cases,
    why="Beyond w = 1 it exaggerates what the label changes: more of the class, less variety.",
    mistakes=(
        Mistake(
            lambda conditional, unconditional, w: _guided(unconditional, conditional, w),
            "The two are swapped: w = 1 returns the unconditional prediction, and w = 3 leads away"
            " from the class.",
        ),
        Mistake(
            lambda conditional, unconditional, w: _guided(conditional, unconditional, 1 + w),
            "This is the w of Ho & Salimans, which counts from the conditional prediction: their w"
            " = 0 is our w = 1.",
        ),
        Mistake(
            lambda conditional, unconditional, w: _guided(conditional, unconditional, w - 1),
            "You subtracted 1 from w. Here w = 1 has to return the conditional prediction already.",
        ),
        Mistake(
            lambda conditional, unconditional, w: w * (conditional - unconditional),
            "This is the direction alone. It starts at the unconditional prediction.",
        ),
        Mistake(
            lambda conditional, unconditional, w: unconditional + w * conditional,
            "You added the whole conditional prediction. Only its difference from the unconditional"
            " one is exaggerated.",
        ),
        Mistake(
            lambda conditional, unconditional, w: (conditional + w * unconditional) / (1 + w),
            "This is an average of the two, so it never goes beyond either. Guidance extrapolates.",
        ),
    ),
    hints=(
        "Put in w = 0 and w = 1: what has to come out?",
        "A straight line through both: start + w · (end - start).",
    ),
)


def _ancestral(x0: Tensor, xk: Tensor, alpha_bars: Tensor, k: int, noise: Tensor) -> Tensor:
    kept, kept_before = alpha_bars[k], alpha_bars[k - 1]
    beta = 1 - kept / kept_before
    mean = (kept_before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - kept_before) * xk) / (
        1 - kept
    )
    return mean + (beta * (1 - kept_before) / (1 - kept)).sqrt() * noise


def _ancestral_cases() -> list[tuple]:
    rng = make_rng(7, 4)
    x0, xk, noise = (torch.randn(2, 1, 3, 3, generator=rng) for _ in range(3))
    alpha_bars = torch.cat([torch.ones(1), (1 - torch.linspace(0.05, 0.4, 10)).cumprod(0)])
    return [(x0, xk, alpha_bars, k, noise) for k in (5, 2, 1)]


def _ancestral_with(
    noise_factor, from_x0=lambda kept, kept_before, beta: kept_before.sqrt() * beta / (1 - kept)
):
    """Returns an answer with another factor of the noise, or of x0: the shape of most wrong ones.
    Both are functions of (kept, kept_before, beta).
    """

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
    question=(
        "Return a draw of q(x_(k-1) | x_k, x0), one step of DDPM, from alpha_bars [K + 1]"
        " (alpha_bars[0] = 1, the image) and given noise."
    ),
    solution=_ancestral,
    cases=_ancestral_cases,
    why=(
        "This is the reverse step of DDPM once a network has said what x0 may be; at k = 1 it"
        " returns that x0 and adds nothing."
    ),
    mistakes=(
        Mistake(
            lambda x0, xk, alpha_bars, k, noise: _ancestral(x0, xk, alpha_bars, k + 1, noise),
            "You are one step off: this is the step from k + 1 to k. alpha_bars[0] is the image, so"
            " alpha_bars[k] belongs to step k.",
        ),
        Mistake(
            lambda x0, xk, alpha_bars, k, noise: _ancestral(x0, xk, alpha_bars, k - 1, noise),
            "You are one step off: this is the step from k - 1 to k - 2, and at k = 1 it falls off"
            " the end. alpha_bars[k] belongs to step k.",
        ),
        Mistake(
            _ancestral_with(lambda kept, kept_before, beta: beta.sqrt()),
            "You add noise in the last step too. The variance is not beta_k, that of the step"
            " forward; knowing x0 makes it smaller, and 0 at k = 1.",
        ),
        Mistake(
            _ancestral_with(lambda *shares: _spread(*shares).square()),
            "The noise is multiplied by the variance. Its standard deviation belongs there: a"
            " square root is missing.",
        ),
        Mistake(
            _ancestral_with(lambda *shares: 0),
            "This is the mean. DDPM draws from the Gaussian around it, so the noise has a factor"
            " too.",
        ),
        Mistake(
            _ancestral_with(
                _spread, lambda kept, kept_before, beta: kept.sqrt() * beta / (1 - kept)
            ),
            "x0 is multiplied by the root of alpha_bars[k]. The step ends at k - 1, so alpha_bars[k"
            " - 1] stands there.",
        ),
        Mistake(
            _ancestral_with(
                _spread, lambda kept, kept_before, beta: kept_before * beta / (1 - kept)
            ),
            "The factor of x0 lacks a root: the share of the image is the root of alpha_bars[k"
            " - 1].",
        ),
    ),
    hints=(
        "beta_k = 1 - alpha_bars[k] / alpha_bars[k - 1].",
        (
            "mean = sqrt(alpha_bars[k - 1]) beta / (1 - alpha_bars[k]) x0 + sqrt(1 - beta) (1 -"
            " alpha_bars[k - 1]) / (1 - alpha_bars[k]) x_k"
        ),
        "variance = beta (1 - alpha_bars[k - 1]) / (1 - alpha_bars[k]). What is it at k = 1?",
    ),
)


def _ddim(
    xt: Tensor, eps: Tensor, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float
) -> Tensor:
    x0 = (xt - sigma_t * eps) / alpha_t
    return alpha_s * x0 + sigma_s * eps


def _ddim_cases() -> list[tuple]:
    """A step in the middle, one to the image, and one of the flow schedule, whose squares do not
    add up to 1.
    """
    rng = make_rng(7, 5)
    xt, eps = (torch.randn(2, 1, 3, 3, generator=rng) for _ in range(2))
    return [
        (xt, eps, *levels)
        for levels in ((0.6, 0.8, 0.8, 0.6), (0.96, 0.28, 1.0, 0.0), (0.3, 0.7, 0.5, 0.5))
    ]


def _redrawn(
    xt: Tensor, eps: Tensor, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float
) -> Tensor:
    return alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_s * torch.randn_like(xt)


DDIM = Exercise(
    id="07.ddim",
    question=(
        "Return x_s, one step of DDIM from time t to an earlier time s, from x_t, the predicted"
        " noise and the levels of both times."
    ),
    solution=_ddim,
    cases=_ddim_cases,
    why="The step may be as long as you like: it only needs alpha and sigma at both of its ends.",
    mistakes=(
        Mistake(
            _redrawn,
            "You drew new noise. DDIM puts back the noise that it took out, so that nothing is"
            " random.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_t * eps
            ),
            "You put back as much noise as there was at t, in the last step too. The step ends at"
            " s, where the noise has the share sigma_s.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * xt + sigma_s * eps,
            "You treated x_t as if it were the image. Take its noise out first, and undo alpha_t.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_s * xt
            ),
            "You put x_t back in place of the noise eps.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t * eps) + sigma_s * eps
            ),
            "The image x0 was not divided by alpha_t, so it gets fainter with every step.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                (xt - sigma_t * eps) / alpha_t + sigma_s * eps
            ),
            "At time s the image has the share alpha_s; you put it in whole.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t * eps) / alpha_t - sigma_s * eps
            ),
            "The noise comes back with the wrong sign.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (xt - sigma_t * eps) / alpha_t,
            "This is the image that is seen in x_t. The step goes to time s, where it is mixed with"
            " noise again.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t**2 * eps) / alpha_t + sigma_s**2 * eps
            ),
            "The noise is multiplied by sigma². Its share is sigma.",
        ),
    ),
    hints=(
        "First the image: x0 = (x_t - sigma_t eps) / alpha_t.",
        "Then mix the same x0 and the same eps as at time s.",
    ),
)


EULER = Exercise(
    id="07.euler",
    question=(
        "Return x_s, one step of Euler's method from time t to an earlier time s, from x_t and the"
        " predicted velocity dx/dt = eps - x0."
    ),
    solution=lambda xt, velocity, t, s: xt + (s - t) * velocity,
    cases=lambda: [
        (*torch.randn(2, 2, 1, 3, 3, generator=make_rng(7, 6)).unbind(), t, s)
        for t, s in ((0.9, 0.6), (0.25, 0.0), (1.0, 0.5))
    ],
    why=(
        "On a straight path one step of any length is exact; the network's paths bend, and that is"
        " why several steps are needed."
    ),
    mistakes=(
        Mistake(
            lambda xt, velocity, t, s: xt + (t - s) * velocity,
            "You walk the wrong way: s is earlier than t, so dt = s - t is negative. Your step"
            " leads to more noise.",
        ),
        Mistake(
            lambda xt, velocity, t, s: xt - velocity,
            "You took a step of length 1, from noise to image at once. This one ends at s.",
        ),
        Mistake(
            lambda xt, velocity, t, s: xt + velocity,
            "You took a step of length 1, and towards the noise. dt is s - t.",
        ),
        Mistake(
            lambda xt, velocity, t, s: xt - t * velocity,
            "This goes all the way to the image at time 0. The step ends at s.",
        ),
        Mistake(
            lambda xt, velocity, t, s: xt - s * velocity,
            "The length of the step is the difference of both times, not s.",
        ),
        Mistake(
            lambda xt, velocity, t, s: (s - t) * velocity, "This is the change. Add it to x_t."
        ),
    ),
    hints=("new = old + dt · velocity.", "dt is where you go minus where you are."),
)


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
    question=(
        "Return x_k, a draw of q(x_k | x0), in one go: from the image, the noise, the betas [K]"
        " (betas[0] belongs to step 1) and k."
    ),
    solution=_noised,
    cases=_noising_cases,
    why=(
        "Training jumps straight to any noise level, so a step of training costs the same at all of"
        " them."
    ),
    mistakes=(
        Mistake(
            lambda x0, eps, betas, k: _kept(betas, k) * x0 + (1 - _kept(betas, k)) * eps,
            "The square roots are missing. The two shares are variances, and variances add up to 1;"
            " what multiplies x0 and eps are their roots.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _kept(betas, k).sqrt() * x0 + (1 - _kept(betas, k)) * eps,
            "You multiplied the noise by its variance sigma². Its standard deviation sigma belongs"
            " there.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _kept(betas, k) * x0 + (1 - _kept(betas, k)).sqrt() * eps,
            "The image lacks a square root: each step multiplies it by sqrt(1 - beta).",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(1 - betas[k - 1], x0, eps),
            "This is one single step, alpha_k in place of alpha-bar_k. The factors of all steps up"
            " to k multiply.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(_kept(betas, k - 1), x0, eps),
            "One step too few: with k = 1 you return the image itself. betas[0] is step 1, so"
            " betas[:k] are the first k steps.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(_kept(betas, k + 1), x0, eps),
            "One step too many: betas[0] is step 1, so with k = 1 only betas[0] has acted.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(1 - betas[:k].sum(), x0, eps),
            "You added the betas. What is kept is multiplied by 1 - beta at each step, so the"
            " factors form a product.",
        ),
        Mistake(
            lambda x0, eps, betas, k: _noised_with(1 - _kept(betas, k), x0, eps),
            "The shares are swapped: yours begins with noise at k = 1.",
        ),
    ),
    hints=(
        "How much of the image's variance is left after one step, after two, after k?",
        "alpha_bar = (1 - betas[:k]).prod()",
        (
            "The variances alpha_bar and 1 - alpha_bar add up to 1. Factors of numbers are standard"
            " deviations."
        ),
    ),
)


SCORE = Exercise(
    id="07.score",
    question=(
        "Return the score, the gradient of log q(x_t | x0) by x_t, from the noise eps in x_t and"
        " from sigma."
    ),
    solution=lambda eps, sigma: -eps / sigma,
    cases=lambda: [
        (torch.randn(4, 2, generator=make_rng(7, 1)), sigma) for sigma in (0.2, 0.7, 1.0)
    ],
    why=(
        "A network that predicts the noise has learned the score: it knows the way to likelier"
        " images."
    ),
    mistakes=(
        Mistake(
            lambda eps, sigma: eps / sigma,
            "The minus is missing: the score points back to where x_t is likelier, against the"
            " noise.",
        ),
        Mistake(
            lambda eps, sigma: -eps,
            "Sigma is missing: the less noise, the narrower the bell, the steeper its log-density.",
        ),
        Mistake(
            lambda eps, sigma: -eps / sigma**2,
            "You divided by sigma²: that is right for x_t - alpha x0, which is sigma eps. One of"
            " the two cancels.",
        ),
        Mistake(
            lambda eps, sigma: -eps * sigma,
            "You multiplied by sigma. Where there is little noise the bell is narrow and its slope"
            " is large.",
        ),
        Mistake(
            lambda eps, sigma: -eps / sigma**0.5,
            "You took sigma for a variance. It is the standard deviation already.",
        ),
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
    question=(
        "Return the image x0 that belongs to a predicted noise eps, given x_t = alpha x0 + sigma"
        " eps."
    ),
    solution=_image,
    cases=_image_cases,
    why="Whatever a network is trained to predict, a sampler can ask it for the image.",
    mistakes=(
        Mistake(
            lambda xt, eps, alpha, sigma: xt - sigma * eps,
            "The noise is gone, but the image is still as faint as in x_t: undo alpha too.",
        ),
        Mistake(
            lambda xt, eps, alpha, sigma: (xt - sigma**2 * eps) / alpha,
            "You subtracted sigma² eps. x_t holds sigma eps.",
        ),
        Mistake(
            lambda xt, eps, alpha, sigma: (xt - eps) / alpha,
            "You subtracted all of eps, but x_t holds only sigma eps.",
        ),
        Mistake(
            lambda xt, eps, alpha, sigma: (xt + sigma * eps) / alpha,
            "The sign is wrong: you added the noise a second time.",
        ),
        Mistake(
            lambda xt, eps, alpha, sigma: (xt - sigma * eps) * alpha,
            "You made the image fainter once more: divide by alpha.",
        ),
        Mistake(
            lambda xt, eps, alpha, sigma: (xt - alpha * eps) / sigma,
            "Alpha and sigma are swapped: alpha is the share of the image.",
        ),
        Mistake(
            lambda xt, eps, alpha, sigma: (xt - (1 - alpha) ** 0.5 * eps) / alpha**0.5,
            "You treated alpha as DDPM's alpha-bar. Here alpha and sigma are the factors"
            " themselves, their roots are taken already.",
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
    question=(
        "Return what rectified flow trains on: x_t on the straight path from image (t = 0) to noise"
        " (t = 1), and its velocity dx_t/dt."
    ),
    solution=_pair,
    cases=_pair_cases,
    why=(
        "The path is a straight line, so its velocity is the same at all times, and one formula"
        " trains the whole model."
    ),
    mistakes=(
        Mistake(
            _pair_with_target(lambda x0, eps, t: x0 - eps),
            "The target's sign is wrong: with t = 0 at the image, dx_t/dt points from the image to"
            " the noise.",
        ),
        Mistake(
            _pair_with_target(lambda x0, eps, t: eps),
            "Your target is eps, that of DDPM. Differentiate x_t by t: two terms remain.",
        ),
        Mistake(
            _pair_with_target(lambda x0, eps, t: (1 - t) * eps - t * x0),
            "Your target is v, alpha eps - sigma x0. It is no derivative of this path:"
            " differentiate (1 - t) x0 + t eps by t.",
        ),
        Mistake(
            lambda x0, eps, t: (_pair(x0, eps, 1 - t)[0], eps - x0),
            "Your path runs from noise at t = 0 to the image at t = 1. Many papers write it so;"
            " here t counts the noise.",
        ),
        Mistake(
            lambda x0, eps, t: ((1 - t) * x0 + t * eps, eps - x0),
            "Your times act on columns of pixels and not on images. t has the shape [B], the images"
            " [B, C, H, W]: give t three more axes.",
        ),
    ),
    hints=(
        "x_t = (1 - t) x0 + t eps. Check: t = 0 has to give the image.",
        "t[:, None, None, None] makes [B] into [B, 1, 1, 1].",
        "The derivative of (1 - t) x0 + t eps by t has no t in it.",
    ),
)

EXERCISES = (NOISING, SCORE, IMAGE, VELOCITY, ANCESTRAL, DDIM, EULER, DROPOUT, GUIDANCE)
