"""Authenticity and C_T against loops over all pairs, SciPy and their own definitions; and the
failures that they mistake for copying.
"""

from __future__ import annotations

import pytest
import torch
from scipy.stats import mannwhitneyu

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.memorization import MemorizationTest, authenticity, data_copying_statistic
from course_utils.metrics.neighbours import nearest_distances


def points(num: int, seed: int, dim: int = 4) -> torch.Tensor:
    return torch.randn(num, dim, generator=make_rng(seed), dtype=torch.float64)


def test_authenticity_agrees_with_a_loop():
    generated, train = points(60, 1), points(90, 2)
    authentic = 0
    for image in generated:
        distances = (train - image).norm(dim=1)
        owner = int(distances.argmin())
        others = (train[torch.arange(90) != owner] - train[owner]).norm(dim=1)
        authentic += bool(distances[owner] > others.min())
    measured = authenticity(generated, train, "toy")
    assert measured.value == pytest.approx(authentic / 60) and (
        measured.num_images,
        measured.extractor,
    ) == (60, "toy")
    share = authentic / 60
    assert measured.error == pytest.approx((share * (1 - share) / 59) ** 0.5)


def test_copies_are_not_authentic_and_held_out_images_only_half():
    train = points(800, 1)
    assert authenticity(train[:100], train).value == 0
    assert 0.3 < authenticity(points(800, 2), train).value < 0.7


@pytest.mark.parametrize("digits", [8, 1])  # one digit: many ties
def test_statistic_is_mann_whitney(digits):
    first, second = (
        points(70, 1, 1)[:, 0].exp().round(decimals=digits),
        points(50, 2, 1)[:, 0].exp().round(decimals=digits),
    )
    u = mannwhitneyu(first, second).statistic
    assert data_copying_statistic(first, second) == pytest.approx(
        (u - 70 * 50 / 2) / (70 * 50 * 121 / 12) ** 0.5
    )


def test_cells_are_weighted_by_their_held_out_images():
    first, second = points(60, 1, 1)[:, 0], points(80, 2, 1)[:, 0]
    cells = torch.arange(60) % 2, (torch.arange(80) % 4 == 0).long()
    parts = [
        data_copying_statistic(first[cells[0] == cell], second[cells[1] == cell]) for cell in (0, 1)
    ]
    assert data_copying_statistic(first, second, cells) == pytest.approx(
        0.75 * parts[0] + 0.25 * parts[1]
    )


def test_statistic_takes_blur_for_copying_and_the_ratio_test_does_not():
    train, heldout, blurred = points(900, 1), points(600, 2), 0.5 * points(300, 3)
    statistic = data_copying_statistic(
        nearest_distances(blurred, train), nearest_distances(heldout, train)
    )
    assert statistic < -5
    assert not MemorizationTest(train, heldout).judge(blurred).is_memorising()


BAD = [
    (
        lambda: data_copying_statistic(torch.rand(5), torch.rand(50)),
        "at least 10 generated and 10 held-out",
    ),
    (
        lambda: data_copying_statistic(
            torch.rand(20), torch.rand(20), (torch.zeros(20), torch.zeros(3))
        ),
        r"cells: expected \[20, 20\]",
    ),
    (lambda: authenticity(points(5, 1), points(1, 2)), "train: expected at least 2 images"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
