"""Comparing two models over a few seeds: the error bars, and how often chance alone is called
real.
"""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import difference_limit
from course_utils.studies.significance import compare_seeds


def rows(values, errors=0.0, name="KID", num_images=100):
    errors = [errors] * len(values) if not isinstance(errors, list) else errors
    return [
        {
            "seed": seed,
            "metrics": {name: {"value": value, "error": error, "num_images": num_images}},
        }
        for seed, (value, error) in enumerate(zip(values, errors))
    ]


@pytest.mark.parametrize(("seeds", "limit"), [(3, 2.776), (2, 4.303), (5, 2.306)])
def test_few_seeds_need_a_larger_difference(seeds, limit):
    """Equal spread on both sides: 2 (n - 1) degrees of freedom; the values are those of a printed t
    table.
    """
    assert difference_limit([(0.5, seeds), (0.5, seeds)]) == pytest.approx(limit, abs=1e-3)


def test_known_errors_need_the_normal_limit():
    assert difference_limit([(0.5, 1), (0.2, 1)]) == pytest.approx(1.95996, abs=1e-4)
    assert (
        1.96
        < difference_limit([(0.5, 3), (5.0, 1)])
        < difference_limit([(0.5, 3), (0.05, 1)])
        < 4.4
    )


def test_the_mean_over_seeds_carries_the_spread_and_the_measurements_errors():
    (one,) = compare_seeds(
        rows([1.0, 2.0, 3.0], [0.3, 0.3, 0.3]), rows([5.0, 5.0, 8.0], [0.0, 0.6, 0.0])
    )
    assert (one.name, one.num_seeds, one.baseline.value, one.changed.value) == (
        "KID",
        (3, 3),
        2.0,
        6.0,
    )
    # variance between seeds 1; three errors of 0.3
    assert one.baseline.error == pytest.approx(math.sqrt(1.0 / 3 + 0.3**2 / 3))
    assert one.changed.error == pytest.approx(math.sqrt(3.0 / 3 + 0.6**2 / 9))


def test_the_verdict_without_measurement_errors_is_welchs_test():
    first, second = [1.0, 1.3, 0.9, 1.2], [1.6, 2.4, 1.5]
    p = stats.ttest_ind(first, second, equal_var=False).pvalue
    for shift in (-0.5, -0.2, 0.0, 0.3, 1.0):
        moved = [value + shift for value in second]
        p = stats.ttest_ind(first, moved, equal_var=False).pvalue
        (one,) = compare_seeds(rows(first), rows(moved))
        assert bool(one.verdict) == (p < 0.05), (shift, p)


def test_chance_alone_is_seldom_called_real():
    """Two equal models with three seeds each: 1.96 standard errors would call 12 % of them
    different.
    """
    rng, num = random.Random(0), 400
    real = 0
    for _ in range(num):
        (one,) = compare_seeds(*(rows([rng.gauss(0, 1) for _ in range(3)]) for _ in range(2)))
        real += bool(one.verdict)
    assert real / num < 0.05 + 3 * math.sqrt(0.05 * 0.95 / num)


def test_a_large_difference_is_real_and_says_which_way():
    (one,) = compare_seeds(rows([10.0, 10.1, 9.9], 0.1), rows([7.0, 7.1, 6.9], 0.1))
    assert one.verdict and one.verdict.difference == pytest.approx(-3) and one.judgement == "real"
    (one,) = compare_seeds(rows([10.0, 12.0, 8.0], 0.1), rows([9.0, 11.0, 8.5], 0.1))
    assert not one.verdict and one.judgement == "within noise"


def test_equal_values_in_all_runs_are_no_difference():
    (one,) = compare_seeds(rows([1.0, 1.0]), rows([1.0, 1.0]))
    assert not one.verdict


def test_one_seed_gives_no_verdict():
    (one,) = compare_seeds(rows([1.0]), rows([2.0, 2.1]))
    assert (
        one.verdict is None
        and one.judgement == "one seed: no verdict"
        and math.isnan(one.baseline.error)
    )


def test_only_metrics_of_all_rows_are_compared_and_an_error_may_be_missing():
    first, second = rows([1.0, 2.0], [None, None]), rows([1.0, 2.0])
    second[1]["metrics"]["recall"] = {"value": 1.0, "error": 0.1, "num_images": 5}
    assert [one.name for one in compare_seeds(first, second)] == ["KID"]


@pytest.mark.parametrize("name", ["FID", "class KL"])
def test_what_depends_on_the_number_of_images_compares_only_at_equal_numbers(name):
    with pytest.raises(CourseError, match="equal numbers of images"):
        compare_seeds(rows([1.0, 2.0], 0.1, name, 100), rows([1.0, 2.0], 0.1, name, 200))


@pytest.mark.parametrize(
    ("first", "second", "message"), [([], [1.0], "baseline_rows"), ([1.0], [], "changed_rows")]
)
def test_no_rows_are_refused(first, second, message):
    with pytest.raises(CourseError, match=message):
        compare_seeds(rows(first), rows(second))


def test_a_seed_twice_is_refused():
    twice = [*rows([1.0]), *rows([2.0])]
    with pytest.raises(CourseError, match="each seed once"):
        compare_seeds(twice, rows([1.0]))
