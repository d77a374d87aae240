"""Metrics that ask a classifier: Inception Score and its two factors, and which classes a generator
makes.

All take p(class | image) `[N, K]`. Logarithms are natural.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import Measurement, check_probabilities


class InceptionScore(NamedTuple):
    """The score and the two factors that it is the product of."""

    sharpness: Measurement
    diversity: Measurement
    score: Measurement


def inception_score(probabilities: Tensor) -> InceptionScore:
    """Returns sharpness S, diversity D and the Inception Score S * D, each with an error bar.

    S = exp(E_x sum_c p(c|x) log p(c|x)) is 1 where the classifier is sure of every image and 1/K
    where it never knows. D = exp(-sum_c p(c) log p(c)), of the mean prediction p(c), is K where all
    classes are equally frequent and 1 where there is one.

    Args:
        probabilities: p(class | image), `[N, K]`.

    Source: Salimans et al. 2016 (arXiv:1606.03498), section 4, without their ten splits; factors as
    in Barratt & Sharma 2018 (arXiv:1801.01973).
    """
    p = check_probabilities(probabilities)
    marginal = p.mean(0)
    negative_entropy = torch.xlogy(p, p).sum(1)
    surprise = -(p * torch.where(marginal > 0, marginal, 1.0).log()).sum(1)
    logs = {
        "sharpness": negative_entropy,
        "diversity": surprise,
        "Inception Score": negative_entropy + surprise,
    }
    return InceptionScore(
        *(
            _exponential_of_mean(name, rows, biased=name != "sharpness")
            for name, rows in logs.items()
        )
    )


def _exponential_of_mean(name: str, rows: Tensor, biased: bool) -> Measurement:
    value = rows.mean().exp().item()
    return Measurement(name, value, value * _mean_error(rows), len(rows), size_matters=biased)


def _mean_error(rows: Tensor) -> float:
    return rows.std().item() / math.sqrt(len(rows))


def mean_confidence(probabilities: Tensor) -> Measurement:
    """Returns the mean probability of the likeliest class, from 1/K to 1.

    Source: Hendrycks & Gimpel 2017 (arXiv:1610.02136): the maximum softmax probability.
    """
    confidence = check_probabilities(probabilities).amax(1)
    return Measurement(
        "confidence", confidence.mean().item(), _mean_error(confidence), len(confidence)
    )


def class_histogram(probabilities: Tensor) -> Tensor:
    """Returns the share of images whose likeliest class is each class, float64 `[K]`, adding up to
    1.
    """
    p = check_probabilities(probabilities)
    return torch.bincount(p.argmax(1), minlength=p.shape[1]).double() / len(p)


def class_coverage(probabilities: Tensor, min_share: float = 0.1) -> Measurement:
    """Returns the share of classes that the generator makes: those with at least `min_share` of an
    equal share of the images.

    Args:
        probabilities: p(class | image), `[N, K]`.
        min_share: of 1/K that a class needs to count, above 0 and at most 1.
    """
    if not 0 < min_share <= 1:
        raise CourseError(f"min_share: expected a number above 0 and at most 1, got {min_share!r}.")
    share = class_histogram(probabilities)
    num_images, threshold = len(probabilities), min_share / len(share)
    # A class flips between made and not made with the noise of its share; the chances of that add
    # up.
    noise = (share * (1 - share) / num_images).sqrt().clamp(min=1e-12)
    chance = torch.special.ndtr((share - threshold) / noise)
    error = (chance * (1 - chance)).sum().sqrt().item() / len(share)
    return Measurement(
        "class coverage", (share >= threshold).double().mean().item(), error, num_images
    )


def class_kl(probabilities: Tensor, reference: Tensor) -> Measurement:
    """Returns KL(classes of the images || reference), in nats: 0 where classes are as frequent as
    in the reference.

    Args:
        probabilities: p(class | image), `[N, K]`.
        reference: frequencies of the classes, `[K]`, all above 0, adding up to 1; such as
            `class_histogram` of test images.

    Source: Kullback & Leibler 1951; the likeliest class of each image counts.
    """
    p = check_probabilities(probabilities)
    reference = torch.as_tensor(reference).double()
    if (
        reference.shape != (p.shape[1],)
        or not (reference > 0).all()
        or abs(reference.sum().item() - 1) > 1e-3
    ):
        raise CourseError(
            f"reference: expected {p.shape[1]} frequencies above 0 that add up to 1, got"
            f" {reference.tolist()}."
        )
    share = class_histogram(p)
    log_ratio = torch.where(share > 0, share / reference, 1.0).log()
    return Measurement(
        "class KL",
        (share * log_ratio).sum().item(),
        _mean_error(log_ratio[p.argmax(1)]),
        len(p),
        size_matters=True,
    )


def class_agreement(probabilities: Tensor, labels: Tensor) -> Measurement:
    """Returns the share of images whose likeliest class is the one that was asked for, from 0 to 1.

    The error is that of a share, with one image more of either kind, so that it is never 0.

    Args:
        probabilities: p(class | image), `[N, K]`.
        labels: that the generator was given, int64 `[N]`.

    Source: the error: Agresti & Coull 1998, The American Statistician 52(2).
    """
    p = check_probabilities(probabilities)
    if labels.shape != (len(p),):
        raise CourseError(
            f"labels: expected one for each of {len(p)} images, got shape {list(labels.shape)}."
        )
    agreeing = (p.argmax(1) == labels.to(p.device)).sum().item()
    likely = (agreeing + 1) / (len(p) + 2)
    return Measurement(
        "class agreement", agreeing / len(p), math.sqrt(likely * (1 - likely) / len(p)), len(p)
    )
