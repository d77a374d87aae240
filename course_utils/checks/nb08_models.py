"""The exercises of notebook 08 that ask a model: putting a measurement back while sampling, and whether samples repeat a bias."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake
from course_utils.device import make_rng


def _put_back(xt: Tensor, y: Tensor, visible: Tensor, alpha: float, sigma: float, noise: Tensor) -> Tensor:
    return torch.where(visible, alpha * y + sigma * noise, xt)


def _replacement_cases() -> list[tuple]:
    rng = make_rng(8, 2)
    xt, y, noise = (torch.randn(2, 1, 4, 4, generator=rng) for _ in range(3))
    visible = torch.tensor([[True], [True], [False], [True]]).repeat(1, 4)
    return [(xt, y, visible, alpha, sigma, noise) for alpha, sigma in ((0.3, 0.7), (0.8, 0.2))]


REPLACEMENT = Exercise(
    id="08.replacement",
    question=(
        "Return x_t with its visible pixels replaced by the measured ones, noised to the level of x_t. All images are [B, C, H, W], visible is bool "
        "[H, W]; y holds the measured image, without noise of its own."
    ),
    solution=_put_back,
    cases=_replacement_cases,
    why="A network that was never told of masks then fills in whatever you hide.",
    mistakes=(
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, y, xt),
            "You put the clean measurement into a noisy image. The network expects one noise level everywhere: that of x_t.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, y + sigma * noise, xt),
            "The noise is there, but the image is too bright: in x_t it has the factor alpha.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, alpha * y, xt),
            "The visible part has the factor alpha but no noise, so the network takes it for something else than an image at this level.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, alpha * y + sigma**2 * noise, xt),
            "You multiplied the noise by its variance sigma². The factor is the standard deviation sigma.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, xt, alpha * y + sigma * noise),
            "You replaced the hidden pixels and left the measured ones to the model: it has to be the other way round.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: alpha * y + sigma * noise,
            "You replaced every pixel. Hidden ones have to keep what the sampler has drawn so far.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, alpha * y + sigma * xt, xt),
            "You took x_t for the noise. It holds an image too; use `noise`.",
        ),
    ),
    hints=(
        "What is the distribution of x_t, given the image? Notebook 07: alpha · image + sigma · noise.",
        "torch.where(visible, a, b) takes a where visible is True.",
    ),
)


def _amplified(hits: int, num_samples: int, training_share: float) -> tuple[float, float]:
    share = hits / num_samples
    return share / training_share, (share * (1 - share) / num_samples) ** 0.5 / training_share


def _share_error(hits: int, num_samples: int) -> float:
    return (hits / num_samples * (1 - hits / num_samples) / num_samples) ** 0.5


BIAS = Exercise(
    id="08.bias",
    question=(
        "Of num_samples generated images `hits` show a class that has the share training_share in the training set. Return how often it is drawn "
        "for each time that it should be (1 = as in training), and the standard error of that ratio."
    ),
    solution=_amplified,
    cases=lambda: [(120, 10_000, 0.02), (60, 2000, 0.02), (5, 400, 0.05)],
    why="Below 1 the model makes the rare rarer. Without the error bar nobody can tell that from chance.",
    mistakes=(
        Mistake(
            lambda hits, num_samples, training_share: (training_share * num_samples / hits, _share_error(hits, num_samples) / training_share),
            "The ratio is upside down: a class that is drawn too rarely has to get a number below 1.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (hits / num_samples / training_share, _share_error(hits, num_samples)),
            "The ratio is right. Your error is that of the share; dividing by training_share stretches it too.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (
                hits / num_samples / training_share,
                _share_error(hits, num_samples) * num_samples**0.5 / training_share,
            ),
            "The ratio is right. Your error is the spread of one sample; the mean of num_samples is known better, by their root.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (hits / num_samples / training_share, _share_error(hits, num_samples) ** 2 / training_share),
            "The ratio is right. You forgot the root: this is a variance.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (hits / num_samples - training_share, _share_error(hits, num_samples)),
            "This is a difference. One per cent less means little for a class of 50 % and half of everything for one of 2 %: take the ratio.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (hits / num_samples, _share_error(hits, num_samples)),
            "This is the share among the samples. Compare it with the share in training.",
        ),
    ),
    hints=(
        "The share among samples is hits / num_samples. Divide it by the share in training.",
        "A share p of N draws has the variance p (1 - p) / N.",
        "Whatever divides the value divides its error as well.",
    ),
)
