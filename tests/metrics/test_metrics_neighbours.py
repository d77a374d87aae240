"""Nearest neighbours, precision, recall, density and coverage against direct loops over all
pairs.
"""

from __future__ import annotations

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.neighbours import (
    density_coverage,
    nearest,
    nearest_distances,
    nearest_neighbour_accuracy,
    precision_recall,
)


def points(num: int, dim: int, seed: int, shift: float = 0.0, spread: float = 1.0) -> torch.Tensor:
    return spread * torch.randn(num, dim, generator=make_rng(seed), dtype=torch.float64) + shift


def all_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Every difference is formed, so nothing cancels."""
    return (a[:, None] - b[None]).square().sum(2).sqrt()


def direct(real: torch.Tensor, fake: torch.Tensor, k: int) -> dict[str, float]:
    """The four metrics as their papers define them, point by point."""
    # column 0 is the point itself
    radius_real, radius_fake = (all_distances(x, x).sort(1).values[:, k] for x in (real, fake))
    between = all_distances(real, fake)
    precision = sum(bool((between[:, j] <= radius_real).any()) for j in range(len(fake))) / len(
        fake
    )
    recall = sum(bool((between[i] <= radius_fake).any()) for i in range(len(real))) / len(real)
    density = sum(int((between[:, j] <= radius_real).sum()) for j in range(len(fake))) / (
        k * len(fake)
    )
    coverage = sum(bool((between[i] <= radius_real[i]).any()) for i in range(len(real))) / len(real)
    return {"precision": precision, "recall": recall, "density": density, "coverage": coverage}


@pytest.mark.parametrize(
    ("num_real", "num_fake", "dim"), [(120, 120, 2), (90, 151, 6), (700, 60, 3), (30, 520, 20)]
)
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.8, 0.5)])
def test_four_metrics_agree_with_loops_over_all_pairs(num_real, num_fake, dim, k, shift, spread):
    real, fake = points(num_real, dim, 1), points(num_fake, dim, 2, shift, spread)
    found = {
        m.name: m for m in (*precision_recall(real, fake, k), *density_coverage(real, fake, k))
    }
    expected = direct(real, fake, k)
    assert {name: m.value for name, m in found.items()} == pytest.approx(expected, abs=1e-12)
    assert all(m.num_images == min(num_real, num_fake) and m.error >= 0 for m in found.values())


def test_a_copy_of_the_real_images_is_perfect():
    """Every point then lies on the rim of balls, so this also holds the rim to be inside, whatever
    the rounding.
    """
    real = points(300, 30, 1, shift=100.0)
    fake = real[torch.randperm(300, generator=make_rng(0))]
    assert [m.value for m in precision_recall(real, fake)] == [1.0, 1.0]
    density, coverage = density_coverage(real, fake)
    # itself and k = 5 others reach it
    assert density.value == pytest.approx(6 / 5, abs=1e-12) and coverage.value == 1.0


def test_known_failures_are_told_apart():
    two_modes = torch.cat([points(150, 4, 1), points(150, 4, 2, 20.0)])
    one_mode, far = points(300, 4, 3), points(300, 4, 4, -50.0)
    precision, recall = precision_recall(two_modes, one_mode)
    assert precision.value > 0.8 and 0.3 < recall.value < 0.5
    assert [m.value for m in precision_recall(two_modes, far)] == [0.0, 0.0]
    assert [m.value for m in density_coverage(two_modes, far)] == [0.0, 0.0]
    assert 0.3 < density_coverage(two_modes, one_mode).coverage.value < 0.55


@pytest.mark.parametrize("block", [1, 7, 500])
@pytest.mark.parametrize("k", [1, 4])
def test_nearest_is_exact_for_any_block(block, k):
    # far from the origin: squares cancel badly
    queries, references = points(40, 9, 1, shift=1000.0), points(60, 9, 2, shift=1000.0)
    expected = all_distances(queries, references).sort(1)
    found = nearest(queries, references, k, block=block)
    torch.testing.assert_close(found.distances, expected.values[:, :k], rtol=1e-12, atol=0)
    assert torch.equal(found.indices, expected.indices[:, :k])
    assert torch.equal(nearest_distances(queries, references, k, block=block), found.distances)


def test_copies_have_distance_zero_exactly():
    references = 255 * torch.rand(200, 784, generator=make_rng(1), dtype=torch.float64)
    chosen = torch.tensor([5, 0, 199])
    found = nearest(references[chosen], references, 2)
    assert torch.equal(found.indices[:, 0], chosen)
    assert found.distances[:, 0].tolist() == [0, 0, 0] and (found.distances[:, 1] > 100).all()


def test_float32_queries_are_welcome():
    a, b = points(20, 5, 1).float(), points(30, 5, 2).float()
    assert nearest_distances(a, b).dtype == torch.float64


GOOD = points(10, 3, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nearest_distances(GOOD, GOOD, 11),
            "k: expected a whole number from 1 to 10, got 11: there are 10 references; choose"
            " another k, or give more images",
        ),
        (
            lambda: nearest_distances(GOOD, GOOD, 0),
            "k: expected a whole number from 1 to 10, got 0",
        ),
        (
            lambda: nearest_distances(GOOD, GOOD, True),
            "k: expected a whole number from 1 to 10, got True",
        ),
        (
            lambda: nearest_distances(GOOD, GOOD, block=0),
            "block: expected a whole number at least 1, got 0",
        ),
        (
            lambda: nearest_distances(GOOD, GOOD[:, :2]),
            "expected features from one extractor, got 3 columns and 2",
        ),
        (
            lambda: precision_recall(GOOD, GOOD[:3]),
            "k: expected a whole number from 1 to 2, got 3: the smaller set has 3 images; choose",
        ),
        (
            lambda: precision_recall(GOOD, GOOD * float("nan")),
            "fake: expected finite numbers, got NaN",
        ),
        (
            lambda: density_coverage(GOOD[:5], GOOD),
            "k: expected a whole number from 1 to 4, got 5: there are 5 real images; choose",
        ),
        (lambda: density_coverage(GOOD[:1], GOOD), "real: expected at least 2 images, got 1"),
    ],
)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()


@pytest.mark.parametrize("make", ["outlier", "many copies", "grid"])
def test_nearest_is_exact_where_float32_cannot_tell(make):
    references = points(300, 6, 1)
    if make == "outlier":  # squares everything else in float32
        references[7] = 1e8
    elif make == "many copies":
        references = references[:20].repeat(15, 1)
    else:  # ties everywhere
        references = references.mul(2).round()
    queries = torch.cat([references[10:30], points(20, 6, 2)])
    expected = all_distances(queries, references).sort(1).values[:, :3]
    torch.testing.assert_close(
        nearest_distances(queries, references, 3), expected, rtol=1e-12, atol=1e-12
    )


def test_one_query_and_one_reference_are_enough_for_a_distance():
    assert nearest_distances(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).tolist() == [[5.0]]


@pytest.mark.parametrize(("dim", "spread", "k"), [(2, 1.0, 1), (2, 0.6, 3), (7, 1.3, 3)])
def test_error_bars_are_those_of_leaving_out_each_image_in_turn(dim, spread, k):
    real, fake = points(30, dim, 1), points(23, dim, 2, 0.4, spread)
    squared = dict.fromkeys(("precision", "recall", "density", "coverage"), 0.0)
    for which, count in enumerate((len(real), len(fake))):
        without = [
            direct(
                *(
                    [
                        x[torch.arange(len(x)) != i] if which == j else x
                        for j, x in enumerate((real, fake))
                    ]
                ),
                k,
            )
            for i in range(count)
        ]
        for name in squared:
            values = torch.tensor([row[name] for row in without], dtype=torch.float64)
            squared[name] += (count - 1) * values.var(correction=0).item()
    found = {
        m.name: m.error
        for m in (*precision_recall(real, fake, k), *density_coverage(real, fake, k))
    }
    assert found == pytest.approx({name: value**0.5 for name, value in squared.items()}, rel=1e-9)


def test_nearest_neighbour_accuracy_counts_the_own_kind():
    first, second = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([[1.4], [20.0], [21.0]])
    # 0 -> 1 own, 1 -> 1.4 other, 10 -> 1.4 other; 1.4 -> 1 other, 20 -> 21 own, 21 -> 20 own
    found = nearest_neighbour_accuracy(first, second)
    assert found.value == pytest.approx(3 / 6) and found.num_images == 3


def test_nearest_neighbour_accuracy_of_equal_and_of_separate_distributions():
    first, second = points(300, 3, 1), points(300, 3, 2)
    same = nearest_neighbour_accuracy(first, second)
    assert abs(same.value - 0.5) < 3 * same.error
    assert nearest_neighbour_accuracy(first, second + 50).value == 1.0


def test_a_row_is_no_neighbour_of_itself_even_where_rows_repeat():
    first, second = points(40, 3, 1), points(40, 3, 2)
    # the copies stand in the other set: each row's nearest other row is its copy there
    assert nearest_neighbour_accuracy(first, first.clone()).value < 0.2
    twice = [rows.repeat(2, 1) for rows in (first, second)]
    assert nearest_neighbour_accuracy(*twice).value == 1.0


def test_nearest_neighbour_accuracy_needs_equal_sizes():
    with pytest.raises(CourseError, match="equal size, got 5 and 4"):
        nearest_neighbour_accuracy(points(5, 2, 1), points(4, 2, 2))
