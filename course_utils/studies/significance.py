"""Two sets of runs that differ in their settings: what changed in each metric, and whether it is
more than noise.

The rule is the course's (`metrics.measurement.is_difference_real`). The spread between three
trainings is known only roughly, so a difference has to be larger than 1.96 standard errors to
count: up to 2.8 with three seeds each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_utils.base.config import require
from course_utils.metrics.measurement import (
    Difference,
    Measurement,
    difference_limit,
    is_difference_real,
    seed_error,
)

# Metrics whose expected value depends on the number of images, so that only equal numbers compare.
SIZE_MATTERS = ("FID", "class KL")


@dataclass(frozen=True)
class SeedComparison:
    """One metric of a baseline and of what was changed.

    Attributes:
        name: of the metric.
        baseline, changed: means over seeds, each with one standard error.
        num_seeds: of each, in this order.
        verdict: None where a side has only one seed, so that nobody knows the noise between
            trainings.
    """

    name: str
    baseline: Measurement
    changed: Measurement
    num_seeds: tuple[int, int]
    verdict: Difference | None

    @property
    def judgement(self) -> str:
        """The verdict in words."""
        if self.verdict is None:
            return "one seed: no verdict"
        return "real" if self.verdict else "within noise"

    @property
    def reason(self) -> str:
        """What the verdict rests on, such as "3.1 standard errors, limit 2.78, 3 and 3 seeds"."""
        if self.verdict is None:
            return "one seed says nothing about the noise between trainings"
        seeds = f"{self.num_seeds[0]} and {self.num_seeds[1]} seeds"
        if self.verdict.error == 0:
            return f"no noise at all, {seeds}"
        return (
            f"{self.verdict.num_errors:.1f} standard errors, limit {self.verdict.limit:.2f},"
            f" {seeds}"
        )


@dataclass(frozen=True)
class _OverSeeds:
    """The mean of one metric over seeds.

    Attributes:
        spread: variance of the mean, from the spread between trainings.
        sample: variance of the mean, from the error bars of the single measurements.
    """

    mean: float
    spread: float
    sample: float
    num_seeds: int
    num_images: int

    def measurement(self, name: str) -> Measurement:
        error = math.sqrt(self.spread + self.sample) if self.num_seeds > 1 else math.nan
        return Measurement(
            name, self.mean, error, self.num_images, size_matters=name in SIZE_MATTERS
        )


def compare_seeds(
    baseline_rows: Sequence[Mapping[str, Any]], changed_rows: Sequence[Mapping[str, Any]]
) -> list[SeedComparison]:
    """Returns one comparison for each metric that all rows have, in the order of the first row.

    The error of a mean over seeds: the spread between trainings and the error bars of their
    measurements, as if independent. The spread contains the noise of the measurements already, so
    this is on the safe side; it also keeps three seeds that agree by chance from looking exact.

    Args:
        baseline_rows, changed_rows: rows of a sweep with `metrics`, one a seed; each seed once.

    Raises:
        CourseError: no rows, a seed twice, or numbers of images that do not compare.
    """
    for name, rows in (("baseline_rows", baseline_rows), ("changed_rows", changed_rows)):
        seeds = [row["seed"] for row in rows]
        require(len(seeds) > 0, name, "at least one row", "none")
        require(len(set(seeds)) == len(seeds), name, "each seed once", sorted(seeds))
    shared = [
        name
        for name in baseline_rows[0]["metrics"]
        if all(name in row["metrics"] for row in (*baseline_rows, *changed_rows))
    ]
    return [
        _compare(
            name,
            *(
                _over_seeds(row["metrics"][name] for row in rows)
                for rows in (baseline_rows, changed_rows)
            ),
        )
        for name in shared
    ]


def _over_seeds(metrics: Iterable[Mapping[str, Any]]) -> _OverSeeds:
    metrics = list(metrics)
    values = [metric["value"] for metric in metrics]
    errors = [metric["error"] or 0.0 for metric in metrics]
    mean, error = seed_error(values) if len(values) > 1 else (values[0], 0.0)
    sample = sum(error**2 for error in errors) / len(errors) ** 2
    return _OverSeeds(
        mean, error**2, sample, len(values), min(metric["num_images"] for metric in metrics)
    )


def _compare(name: str, baseline: _OverSeeds, changed: _OverSeeds) -> SeedComparison:
    first, second = baseline.measurement(name), changed.measurement(name)
    num_seeds = baseline.num_seeds, changed.num_seeds
    verdict = (
        is_difference_real(second, first, required_errors(baseline, changed))
        if min(num_seeds) > 1
        else None
    )
    return SeedComparison(name, first, second, num_seeds, verdict)


def required_errors(baseline: _OverSeeds, changed: _OverSeeds) -> float:
    """Returns how many standard errors a difference must have to count: the spread is known from
    the seeds alone, the error bars are given.
    """
    sides = (baseline, changed)
    return difference_limit(
        [*((side.spread, side.num_seeds) for side in sides), *((side.sample, 1) for side in sides)]
    )
