"""Exercises of notebook 01, "Generative vs discriminative": Bayes' rule, missing pixels, ROC, KL
and which conditional is which.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake


def posterior(log_likelihoods: Tensor, log_prior: Tensor) -> Tensor:
    return (log_likelihoods + log_prior).softmax(1)


def _exp_first(log_likelihoods: Tensor, log_prior: Tensor) -> Tensor:
    joint = (log_likelihoods + log_prior).exp()
    return joint / joint.sum(1, keepdim=True)


def _posterior_cases() -> list[tuple]:
    log_prior = torch.tensor([0.7, 0.2, 0.1]).log()
    ordinary = torch.randn(4, 3, generator=make_rng(1, 0))
    # images have log-likelihoods far below what exp can hold
    return [(ordinary, log_prior), (ordinary - 900, log_prior)]


BAYES = Exercise(
    id="01.bayes",
    question="Return p(y | x), shape [B, K], from log p(x | y) [B, K] and log p(y) [K].",
    solution=posterior,
    cases=_posterior_cases,
    why="Any model of p(x | y) is a classifier: Bayes' rule turns it round.",
    mistakes=(
        Mistake(
            lambda log_likelihoods, _: log_likelihoods.softmax(1),
            "You left out p(y). Equal classes would hide it; here one class is seven times as"
            " frequent as another.",
        ),
        Mistake(
            lambda a, b: (a + b).softmax(0),
            "Your columns add up to 1. The classes of one image have to: the class axis is axis 1.",
        ),
        Mistake(
            _exp_first,
            "Right on paper, but exp of -900 is 0, and 0/0 is NaN. Stay in logs and let softmax"
            " subtract the largest one first.",
        ),
        Mistake(
            lambda a, b: (a + b).exp(), "This is p(x, y). Divide by p(x), the sum over the classes."
        ),
        Mistake(
            lambda a, b: (a + b.exp()).softmax(1),
            "You added a probability to a log. Both terms have to be logs.",
        ),
    ),
    hints=(
        "log p(x, y) = log p(x | y) + log p(y).",
        "exp, then divide by the sum: softmax does both.",
        "softmax over axis 1.",
    ),
)


def conditional(mean: Tensor, covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    slope = covariance[0, 1] / covariance[0, 0]
    return mean[1] + slope * (seen - mean[0]), covariance[1, 1] - slope * covariance[0, 1]


def _wrong_variance(mean: Tensor, covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    slope = covariance[0, 1] / covariance[1, 1]
    return mean[1] + slope * (seen - mean[0]), covariance[1, 1] - slope * covariance[0, 1]


def _not_centred(mean: Tensor, covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    right = conditional(mean, covariance, seen)
    return mean[1] + covariance[0, 1] / covariance[0, 0] * seen, right[1]


def _variance_kept(mean: Tensor, covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    return conditional(mean, covariance, seen)[0], covariance[1, 1]


def _standard_deviation(mean: Tensor, covariance: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    right = conditional(mean, covariance, seen)
    return right[0], right[1].sqrt()


def _conditional_cases() -> list[tuple]:
    first = torch.tensor([[0.5, 0.3], [0.3, 0.8]]), torch.tensor([[2.0, -0.6], [-0.6, 0.4]])
    means = torch.tensor([0.2, -0.4]), torch.tensor([1.0, 0.5])
    return [
        (mean, covariance, torch.tensor(seen))
        for mean, covariance, seen in zip(means, first, (0.9, -0.7))
    ]


CONDITIONAL = Exercise(
    id="01.conditional",
    question=(
        "Two pixels have a Gaussian with `mean` [2] and `covariance` [2, 2]. Return mean and"
        " variance of pixel 1 when pixel 0 is `seen`."
    ),
    solution=conditional,
    cases=_conditional_cases,
    why=(
        "With many pixels the same two lines hold with matrices; that is how a Gaussian fills in an"
        " image."
    ),
    mistakes=(
        Mistake(
            _wrong_variance,
            "You divided by the variance of the hidden pixel. The slope divides the covariance by"
            " that of the pixel you saw.",
        ),
        Mistake(
            _not_centred, "Only the surprise counts: subtract the mean of the seen pixel first."
        ),
        Mistake(
            _variance_kept,
            "You kept the variance of the hidden pixel. Seeing its neighbour made you surer, so it"
            " has to shrink.",
        ),
        Mistake(
            _standard_deviation,
            "You returned the standard deviation. The question asks for the variance.",
        ),
    ),
    hints=(
        "The mean moves by slope * surprise.",
        "surprise = seen - mean[0].",
        "Variance left = variance of pixel 1 - slope * covariance[0, 1].",
    ),
)


def marginal(mean: Tensor, covariance: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    return mean[visible], covariance[visible][:, visible]


def _zeroed(mean: Tensor, covariance: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    return mean * visible, covariance * visible[:, None] * visible


def _precision_block(mean: Tensor, covariance: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    return mean[visible], torch.linalg.inv(torch.linalg.inv(covariance)[visible][:, visible])


def _marginal_cases() -> list[tuple]:
    cases = []
    for case, visible in enumerate(
        ([True, False, True, True, False], [False, False, True, False, True])
    ):
        rng = make_rng(1, 2, case)
        root = torch.randn(5, 5, generator=rng)
        cases.append(
            (torch.randn(5, generator=rng), root @ root.T + torch.eye(5), torch.tensor(visible))
        )
    return cases


MARGINAL = Exercise(
    id="01.marginal",
    question=(
        "Return mean and covariance of the visible pixels alone, from `mean` [D], `covariance` [D,"
        " D] and the bool mask `visible` [D]."
    ),
    solution=marginal,
    cases=_marginal_cases,
    why="Leaving pixels out of a Gaussian costs nothing: no integral, only a smaller matrix.",
    mistakes=(
        Mistake(
            _zeroed,
            "You set the hidden pixels to zero, as if they had been seen and were grey. They have"
            " to disappear: the shapes shrink.",
        ),
        Mistake(
            _precision_block,
            "You cut the block out of the inverse, which fixes the hidden pixels. Integrating cuts"
            " the covariance.",
        ),
        Mistake(
            lambda mean, covariance, visible: (mean[visible], covariance[visible]),
            "You dropped rows. The columns have to go as well.",
        ),
        Mistake(
            lambda mean, covariance, visible: marginal(mean, covariance, ~visible),
            "The mask is True where a pixel is seen.",
        ),
    ),
    hints=(
        "Index the mean with the mask.",
        "Of the covariance keep rows and columns of visible pixels.",
        "covariance[visible][:, visible].",
    ),
)


def _auc(inside: Tensor, outside: Tensor) -> Tensor:
    larger = (outside[:, None] > inside).double() + 0.5 * (outside[:, None] == inside)
    return larger.mean()


def _auc_cases() -> list[tuple]:
    rng = make_rng(1, 3)
    return [
        (torch.randn(40, generator=rng), torch.randn(30, generator=rng) + 1),
        (torch.randint(0, 4, (20,), generator=rng), torch.randint(2, 6, (25,), generator=rng)),
    ]


AUC = Exercise(
    id="01.auc",
    question=(
        "Return the share of pairs in which the outlier is higher, from scores `inside` [N] and"
        " `outside` [M]; a tie counts half."
    ),
    solution=_auc,
    cases=_auc_cases,
    why=(
        "The area under the ROC curve needs no threshold: it is the probability that a random"
        " outlier looks stranger than a random digit."
    ),
    mistakes=(
        Mistake(
            lambda inside, outside: _auc(outside, inside),
            "This is the share of pairs in which the digit scores higher: swapped.",
        ),
        Mistake(
            lambda inside, outside: (outside[:, None] > inside).double().mean(),
            "Your ties count nothing. A detector that says the same of every image would get 0 and"
            " not one half.",
        ),
        Mistake(
            lambda a, b: (b > a.float().mean()).double().mean(),
            "You chose one threshold. Compare every outlier with every digit.",
        ),
    ),
    hints=(
        "outside[:, None] > inside has the shape [M, N]: every pair.",
        "Add half of (outside[:, None] == inside).",
        "Then take the mean.",
    ),
)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum()


def _kl_cases() -> list[tuple]:
    rng = make_rng(1, 4)
    return [tuple(torch.rand(size, generator=rng).add(0.1) for _ in range(2)) for size in (4, 6)]


def _normalised_kl_cases() -> list[tuple]:
    return [tuple(values / values.sum() for values in case) for case in _kl_cases()]


KL = Exercise(
    id="01.kl",
    question=(
        "Return KL(p || q) in nats for two distributions over K outcomes, `p` and `q` [K], all"
        " positive."
    ),
    solution=kl,
    cases=_normalised_kl_cases,
    why=(
        "The first argument decides where the two are compared, and this is why the two directions"
        " fit so differently."
    ),
    mistakes=(
        Mistake(
            lambda p, q: kl(q, p),
            "This is KL(q || p). The weights in front of the log have to be those of p.",
        ),
        Mistake(
            lambda p, q: -kl(p, q),
            "The sign is the wrong way round: a KL divergence is never negative.",
        ),
        Mistake(
            lambda p, q: (p.log() - q.log()).sum(),
            "The weights are missing: each log ratio counts as often as p visits that outcome.",
        ),
        Mistake(
            lambda p, q: (p * (p.log2() - q.log2())).sum(),
            "This is in bits. Nats use the natural logarithm.",
        ),
        Mistake(
            lambda p, q: kl(p, q) / len(p),
            "You averaged over the outcomes. The weights p already make the sum an average.",
        ),
        Mistake(
            lambda p, q: -(p * q.log()).sum(),
            "This is the cross-entropy. Subtract the entropy of p, so that p is at distance 0"
            " from p.",
        ),
    ),
    hints=(
        "It is the average of log(p / q).",
        "The average is taken under p.",
        "(p * (p.log() - q.log())).sum().",
    ),
)

CONDITIONALS = {
    "inpainting": "c",
    "super-resolution": "e",
    "colourisation": "a",
    "text to image": "b",
    "captioning": "d",
}


def _swapped(first: str, second: str) -> dict[str, str]:
    return {**CONDITIONALS, first: CONDITIONALS[second], second: CONDITIONALS[first]}


APPLICATIONS = Exercise(
    id="01.applications",
    question='Match each application with its conditional, as in {"inpainting": "a", ...}.',
    solution=CONDITIONALS,
    why="What is given stands right of the bar, what is drawn stands left of it.",
    mistakes=(
        Mistake(
            _swapped("text to image", "captioning"),
            "Text to image and captioning are turned round. What is handed over is given.",
        ),
        Mistake(
            _swapped("inpainting", "super-resolution"),
            "Inpainting knows some pixels and not others; super-resolution knows averages.",
        ),
        Mistake(
            _swapped("colourisation", "inpainting"),
            "Colourisation is given every pixel, but of each only how bright it is.",
        ),
    ),
    hints=(
        "Ask of each: what do I have, and what do I want?",
        "What I have stands right of the bar.",
    ),
)

EXERCISES = (BAYES, CONDITIONAL, MARGINAL, AUC, KL, APPLICATIONS)
