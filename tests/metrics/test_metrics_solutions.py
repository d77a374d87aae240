"""Quality and diversity of solutions against scikit-image and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.paired import diversity, paired_quality

TRUTHS = 1.6 * torch.rand(6, 1, 16, 16, generator=make_rng(0), dtype=torch.float64) - 0.8
SOLUTIONS = (
    TRUTHS + 0.2 * torch.randn(5, 6, 1, 16, 16, generator=make_rng(1), dtype=torch.float64)
).clamp(-1, 1)


def skimage_ssim(image, truth):
    options = {
        "data_range": 2,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    return structural_similarity(image, truth, full=True, **options)[1][5:-5, 5:-5].mean()


def test_quality_agrees_with_scikit_image():
    found = {one.name: one for one in paired_quality(SOLUTIONS, TRUTHS)}
    truths, solutions = TRUTHS[:, 0].numpy(), SOLUTIONS[:, :, 0].numpy()
    for name, judge in (
        ("PSNR", lambda a, b: peak_signal_noise_ratio(b, a, data_range=2)),
        ("SSIM", skimage_ssim),
    ):
        of_mean = [judge(solutions[:, b].mean(0), truths[b]) for b in range(6)]
        single = [np.mean([judge(solutions[s, b], truths[b]) for s in range(5)]) for b in range(6)]
        for key, values in ((f"{name} of the mean", of_mean), (name, single)):
            assert found[key].value == pytest.approx(np.mean(values), rel=1e-6)
            assert (
                found[key].error == pytest.approx(np.std(values, ddof=1) / math.sqrt(6), rel=1e-6)
                and found[key].num_images == 6
            )


def test_the_mean_of_many_draws_is_three_decibels_nearer_than_one():
    """Draws and truth are alike: each draw's squared error is the sum of two equal variances."""
    rng = make_rng(2)
    centre = 0.1 * torch.randn(8, 1, 16, 16, generator=rng, dtype=torch.float64)
    truths = centre + 0.05 * torch.randn(8, 1, 16, 16, generator=rng, dtype=torch.float64)
    draws = centre + 0.05 * torch.randn(400, 8, 1, 16, 16, generator=rng, dtype=torch.float64)
    found = {one.name: one.value for one in paired_quality(draws, truths)}
    assert found["PSNR of the mean"] - found["PSNR"] == pytest.approx(10 * math.log10(2), abs=0.1)


def test_diversity_is_the_spread_that_was_put_in_whatever_the_number_of_solutions():
    rng = make_rng(3)
    for num in (2, 8):
        draws = 0.3 * torch.randn(num, 50, 1, 16, 16, generator=rng, dtype=torch.float64)
        spread, distance = diversity(draws)
        assert (
            spread.value == pytest.approx(0.3, abs=5 * spread.error + 1e-3) and spread.error < 0.005
        )
        assert distance.value == pytest.approx(0.3 * math.sqrt(2), rel=0.02)


def test_pairwise_distance_is_the_mean_over_pairs():
    points = (
        torch.tensor([0.0, 0.3, 0.9], dtype=torch.float64)
        .view(3, 1, 1, 1, 1)
        .expand(3, 2, 1, 12, 12)
    )
    assert diversity(points)[1].value == pytest.approx((0.3 + 0.6 + 0.9) / 3)
    assert diversity(points[:1].repeat(4, 1, 1, 1, 1))[0].value == 0


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (lambda: paired_quality(SOLUTIONS, TRUTHS[:5]), "got [5, 6, 1, 16, 16] and [5, 1, 16, 16]"),
        (
            lambda: paired_quality(SOLUTIONS[:, :1], TRUTHS[:1]),
            "at least 2 questions for an error bar, got 1",
        ),
        (lambda: paired_quality(2 * SOLUTIONS, TRUTHS), "expected images in [-1, 1]"),
        (lambda: diversity(SOLUTIONS[:1]), "at least 2 for each question"),
        (lambda: diversity(TRUTHS), "[S, B, C, H, W], got [6, 1, 16, 16]"),
    ],
)
def test_wrong_input_is_refused(call, fragment):
    with pytest.raises(CourseError) as error:
        call()
    assert fragment in str(error.value)
