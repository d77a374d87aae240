"""The exercises of notebook 02, evaluating generative models; those on distances between sets stand in `nb02_distances`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake
from course_utils.checks.nb02_distances import COVARIANCE, FRECHET, FRECHET_1D, KID
from course_utils.device import make_rng

F64 = torch.float64


def _factors(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    sharpness = torch.exp((probabilities * probabilities.log()).sum(1).mean())
    mean = probabilities.mean(0)
    diversity = torch.exp(-(mean * mean.log()).sum())
    return sharpness, diversity


def _factors_base_two(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(0)
    return torch.exp((probabilities * probabilities.log2()).sum(1).mean()), torch.exp(-(mean * mean.log2()).sum())


def _factors_averaged_late(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(0)
    return torch.exp((probabilities * probabilities.log()).sum(1)).mean(), torch.exp(-(mean * mean.log()).sum())


def _factors_mean_over_classes(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(0)
    return torch.exp((probabilities * probabilities.log()).mean()), torch.exp(-(mean * mean.log()).mean())


def _probability_cases() -> list[tuple]:
    rng = make_rng(2, 0)
    return [(torch.randn(num, classes, generator=rng, dtype=F64).mul(2).softmax(1),) for num, classes in ((6, 4), (9, 10))]


INCEPTION = Exercise(
    id="02.inception",
    question="Return sharpness S and diversity D, as a tuple, from class probabilities [N, K] without zeros.",
    solution=_factors,
    cases=_probability_cases,
    why="The score is S x D; only its two factors say whether the images or their variety have failed.",
    mistakes=(
        Mistake(
            lambda p: _factors(p)[::-1],
            "S and D are swapped. S comes from the images one by one and is at most 1; D comes from their mean prediction and is at least 1.",
        ),
        Mistake(_factors_base_two, "The logarithm has base 2, but exp undoes the natural one. Both have to have the same base."),
        Mistake(
            lambda p: (_factors(p)[0], 1 / _factors(p)[1]),
            "D has the wrong sign in its exponent: it should grow with the number of classes that are drawn.",
        ),
        Mistake(
            lambda p: (1 / _factors(p)[0], _factors(p)[1]),
            "S has the wrong sign in its exponent: this is exp(entropy), which falls as the images get sharper.",
        ),
        Mistake(lambda p: tuple(factor.log() for factor in _factors(p)), "These are the logarithms of S and D: exp is missing."),
        Mistake(
            lambda p: (_factors(p)[0], 1 / _factors(p)[0]),
            "Your D is 1/S: you took the entropy of each image. D needs the entropy of the mean prediction, so average over the images first.",
        ),
        Mistake(_factors_averaged_late, "You averaged after exp. The mean over the images stands inside the exponent."),
        Mistake(_factors_mean_over_classes, "You averaged over the classes. The entropy is a sum over classes; the mean goes over images only."),
    ),
    hints=(
        "Inside exp, S has the mean over the images of sum_y p log p. That is a sum over axis 1, then a mean over axis 0.",
        "For D compute the mean prediction first, probabilities.mean(0), of shape [K]. Then its entropy.",
    ),
)

ONLY_SEVENS = Exercise(
    id="02.only_sevens",
    question="A generator draws nothing but perfect sevens, and a perfect classifier judges them. What is its Inception Score?",
    solution=1,
    why="S = 1 and D = 1: the score rewards sharp images only if there are several classes, and the worst possible value is 1.",
    mistakes=(
        Mistake(10, "This is the best score, of a generator that draws all ten classes equally often."),
        Mistake(0, "The score is never below 1: it is the exponential of a KL divergence."),
        Mistake(0.1, "You divided by the number of classes. S is 1, not 1/10: the classifier is sure of every image."),
        Mistake(7, "The score does not depend on which class it is."),
    ),
    hints=("How sure is the classifier of one image? How many classes are there in the mean prediction?",),
)


def _psnr(images: Tensor, references: Tensor) -> Tensor:
    errors = (images.double() - references.double()).square().mean((1, 2, 3))
    return 10 * torch.log10(255**2 / errors)


def _psnr_of(images: Tensor, references: Tensor, maximum: float, log=torch.log10, factor: float = 10.0) -> Tensor:
    errors = (images.double() - references.double()).square().mean((1, 2, 3))
    return factor * log(maximum**2 / errors)


def _image_cases() -> list[tuple]:
    rng = make_rng(2, 5)
    return [tuple(torch.randint(10, 200, (3, 1, 6, 6), generator=rng).to(torch.uint8) for _ in range(2))]


PSNR = Exercise(
    id="02.psnr",
    question="Return the PSNR in dB of each image against its reference, both uint8 [N, C, H, W].",
    solution=_psnr,
    cases=_image_cases,
    why="MAX is the largest value that a pixel may have, not the largest that occurs; a wrong one shifts every value by the same dB.",
    mistakes=(
        Mistake(
            lambda images, references: _psnr_of(images, references, 1.0),
            "MAX is that of pixels in [0, 1], but these are uint8: every value is 48 dB too low.",
        ),
        Mistake(lambda images, references: _psnr_of(images, references, 2.0), "MAX is that of signed pixels; uint8 pixels go further."),
        Mistake(
            lambda images, references: _psnr_of(images, references, images.max().item()),
            "You took the largest pixel that occurs. Then a dark image gets another scale; MAX belongs to the format.",
        ),
        Mistake(
            lambda images, references: _psnr_of(images, references, 255.0, factor=20.0),
            "Every value is twice too large: 20 log10 belongs to the RMSE, 10 log10 to the MSE.",
        ),
        Mistake(lambda images, references: _psnr_of(images, references, 255.0, log=torch.log), "Decibels need the logarithm with base 10."),
        Mistake(
            lambda images, references: 10 * torch.log10(255**2 / (images.double() - references.double()).square().mean()),
            "You averaged over the images as well. Keep one value for each image.",
        ),
        Mistake(
            lambda images, references: 10 * torch.log10(255**2 / (images - references).double().square().mean((1, 2, 3))),
            "uint8 minus uint8 wraps around: 3 - 5 is 254. Convert to floats first.",
        ),
        Mistake(
            lambda images, references: 10 * torch.log10(255**2 / (images.double() - references.double()).square().sum((1, 2, 3))),
            "You summed the squared errors over the pixels. MSE is their mean.",
        ),
    ),
    hints=(
        "First the MSE of each image: a mean over axes 1, 2 and 3.",
        "MAX of uint8 pixels is 255. Convert to float before you subtract.",
    ),
)


def _is_real(value_a: float, error_a: float, value_b: float, error_b: float) -> bool:
    return abs(value_a - value_b) > 1.96 * math.hypot(error_a, error_b)


def _rule_cases() -> list[tuple]:
    # Clearly real; real, though the bars of two errors overlap; the second is larger; within the noise; one error alone; large errors.
    small = [(5.0, 0.2, 3.0, 0.2), (4.0, 0.5, 2.5, 0.5), (3.0, 0.2, 5.0, 0.2), (4.0, 0.5, 2.7, 0.5), (4.0, 0.1, 3.5, 0.4), (4.0, 0.4, 3.5, 0.1)]
    return [*small, (40.0, 5.0, 30.0, 4.0)]


REAL = Exercise(
    id="02.real",
    question="Return whether two independent values differ by more than 1.96 standard errors of their difference.",
    solution=_is_real,
    cases=_rule_cases,
    why="Squares of independent errors add up, so two bars may overlap although the difference is real.",
    mistakes=(
        Mistake(
            lambda value_a, error_a, value_b, error_b: abs(value_a - value_b) > 1.96 * (error_a + error_b),
            "You added the errors. That asks the bars not to overlap, which is too strict: the squares add up.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: value_a - value_b > 1.96 * math.hypot(error_a, error_b),
            "This notices a difference in one direction only: take its absolute value.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: abs(value_a - value_b) > 1.96 * max(error_a, error_b),
            "Only the larger error counts here. The difference carries the noise of both values.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: abs(value_a - value_b) > 1.96 * error_a,
            "Only the first value's error counts here. The difference carries the noise of both.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: abs(value_a - value_b) > 1.96 * (error_a**2 + error_b**2),
            "The variance of the difference is the sum of the squares; its standard error is the root of that.",
        ),
        Mistake(lambda value_a, error_a, value_b, error_b: value_a != value_b, "Two measured values nearly always differ. Compare with the noise."),
    ),
    hints=("The variance of a difference of independent values is the sum of their variances.", "math.hypot(a, b) is sqrt(a² + b²)."),
)

EXERCISES = (INCEPTION, ONLY_SEVENS, FRECHET_1D, COVARIANCE, FRECHET, KID, PSNR, REAL)
