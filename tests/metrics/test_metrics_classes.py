"""Inception Score against torchmetrics and its limits; class metrics against counts; error bars
against fresh draws.
"""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.classes import (
    class_coverage,
    class_histogram,
    class_kl,
    inception_score,
    mean_confidence,
)


def logits(num: int, seed: int, temperature: float = 2.0, num_classes: int = 10) -> torch.Tensor:
    return temperature * torch.randn(
        num, num_classes, generator=make_rng(seed), dtype=torch.float64
    )


class Given(torch.nn.Module):
    """Hands torchmetrics logits in place of images."""

    def forward(self, values):
        return values


@pytest.mark.parametrize("temperature", [0.3, 2.0, 10.0])
def test_inception_score_agrees_with_torchmetrics(temperature):
    from torchmetrics.image import inception as image

    metric = image.InceptionScore(feature=Given(), splits=1)
    values = logits(300, 1, temperature)
    metric.update(values)
    assert inception_score(values.softmax(1)).score.value == pytest.approx(
        metric.compute()[0].item(), rel=1e-6
    )


def test_factors_multiply_to_the_score_and_follow_the_formulas():
    p = logits(200, 2).softmax(1)
    sharpness, diversity, score = inception_score(p)
    assert sharpness.value == pytest.approx((p * p.log()).sum(1).mean().exp().item(), rel=1e-12)
    assert diversity.value == pytest.approx(
        (-(p.mean(0) * p.mean(0).log()).sum()).exp().item(), rel=1e-12
    )
    assert score.value == pytest.approx(sharpness.value * diversity.value, rel=1e-12)


@pytest.mark.parametrize("num_classes", [2, 10, 37])
def test_limits(num_classes):
    one_hot = torch.eye(num_classes).repeat(3, 1)
    unsure = torch.full((20, num_classes), 1 / num_classes)
    one_class = torch.eye(num_classes)[:1].repeat(20, 1)
    expected = {
        "sure": (1, num_classes, num_classes),
        "unsure": (1 / num_classes, num_classes, 1),
        "one class": (1, 1, 1),
    }
    for name, p in (("sure", one_hot), ("unsure", unsure), ("one class", one_class)):
        assert [m.value for m in inception_score(p)] == pytest.approx(expected[name], rel=1e-6)


METRICS = {
    "sharpness": lambda p: inception_score(p).sharpness,
    "diversity": lambda p: inception_score(p).diversity,
    "score": lambda p: inception_score(p).score,
    "confidence": mean_confidence,
    "class KL": lambda p: class_kl(p, torch.full((10,), 0.1)),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("balanced", [True, False])
def test_error_bars_are_the_spread_between_fresh_draws(name, balanced):
    """Where classes are balanced, diversity and KL lie at their extreme; their error bars are too
    long there, never too short.
    """
    bias = 0 if balanced else torch.linspace(0, 4, 10)
    found = [METRICS[name]((logits(200, seed) + bias).softmax(1)) for seed in range(150)]
    values, errors = (
        torch.tensor([getattr(m, part) for m in found]) for part in ("value", "error")
    )
    at_extreme = balanced and name in ("diversity", "class KL")
    assert 0.85 < errors.mean() / values.std() < (1.8 if at_extreme else 1.2)


def test_confidence_of_equal_generators_raises_few_false_alarms():
    from course_utils.metrics.measurement import is_difference_real

    pairs = [
        [mean_confidence(logits(100, 2 * i + j).softmax(1)) for j in (0, 1)] for i in range(200)
    ]
    # 5 % of 200, and two standard errors of the count
    assert sum(bool(is_difference_real(*pair)) for pair in pairs) <= 16


def test_class_metrics_count_the_likeliest_class():
    p = torch.tensor([[0.9, 0.1, 0.0]] * 6 + [[0.2, 0.5, 0.3]] * 2)
    assert class_histogram(p).tolist() == [0.75, 0.25, 0.0]
    assert class_coverage(p).value == pytest.approx(2 / 3)
    assert class_coverage(p, min_share=1.0).value == pytest.approx(1 / 3)
    assert mean_confidence(p).value == pytest.approx((6 * 0.9 + 2 * 0.5) / 8)
    reference = torch.tensor([0.5, 0.25, 0.25])
    assert class_kl(p, reference).value == pytest.approx(0.75 * math.log(1.5))
    assert class_kl(p, torch.tensor([0.75, 0.25 - 1e-9, 1e-9])).value == pytest.approx(0, abs=1e-6)


def test_a_class_near_the_threshold_has_an_uncertain_coverage():
    # the second class has exactly a tenth of its equal share
    p = torch.eye(2)[torch.tensor([0] * 95 + [1] * 5)]
    assert class_coverage(p).error == pytest.approx(0.25, rel=0.01)
    assert class_coverage(torch.eye(2).repeat(50, 1)).error == pytest.approx(0, abs=1e-6)


GOOD = logits(10, 0).softmax(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: inception_score(logits(10, 0)),
            (
                "probabilities: expected rows of numbers from 0 that add up to 1.*apply softmax to"
                " logits"
            ),
        ),
        (lambda: inception_score(GOOD * 2), "add up to 1, got values from .* and sums from 2 to 2"),
        (lambda: inception_score(GOOD[:1]), "probabilities: expected at least 2 images, got 1"),
        (
            lambda: mean_confidence(GOOD[0]),
            r"probabilities: expected a matrix of shape \[N, D\], got \[10\]",
        ),
        (
            lambda: class_histogram(GOOD * math.nan),
            "probabilities: expected finite numbers, got NaN",
        ),
        (
            lambda: class_coverage(GOOD, 0),
            "min_share: expected a number above 0 and at most 1, got 0",
        ),
        (
            lambda: class_kl(GOOD, torch.ones(10)),
            "reference: expected 10 frequencies above 0 that add up to 1",
        ),
        (lambda: class_kl(GOOD, torch.full((5,), 0.2)), "reference: expected 10 frequencies"),
        (lambda: class_kl(GOOD, torch.eye(10)[0]), "reference: expected 10 frequencies above 0"),
    ],
)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
