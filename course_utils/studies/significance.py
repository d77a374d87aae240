"""Two sets of runs that differ in their settings: what changed in each metric, and whether it is more than noise.

The rule is the course's (`metrics.result.is_difference_real`); what is added is what a few seeds cost. The spread between three trainings is known
only roughly, so a difference has to be larger than 1.96 standard errors to count: up to 2.8 with three seeds each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_utils.base.config import require
from course_utils.metrics.measurement import Difference, Measurement, is_difference_real, seed_error

CONFIDENCE = 0.95  # of calling two equal models equal
# Metrics whose expected value depends on the number of images, so that only equal numbers compare.
SIZE_MATTERS = ("FID", "class KL")


@dataclass(frozen=True)
class SeedComparison:
    """One metric of a baseline and of what was changed.

    Attributes:
        name: of the metric.
        baseline, changed: means over seeds, each with one standard error.
        num_seeds: of each, in this order.
        verdict: None where a side has only one seed, so that nobody knows the noise between trainings.
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
        return Measurement(name, self.mean, error, self.num_images, size_matters=name in SIZE_MATTERS)


def compare_seeds(baseline_rows: Sequence[Mapping[str, Any]], changed_rows: Sequence[Mapping[str, Any]]) -> list[SeedComparison]:
    """Returns one comparison for each metric that all rows have, in the order of the first row.

    The error of a mean over seeds: the spread between trainings and the error bars of their measurements, as if independent. The spread contains
    the noise of the measurements already, so this is on the safe side; it also keeps three seeds that agree by chance from looking exact.

    Args:
        baseline_rows, changed_rows: rows of a sweep with `metrics`, one a seed; each seed once.

    Raises:
        CourseError: no rows, a seed twice, or numbers of images that do not compare.
    """
    for name, rows in (("baseline_rows", baseline_rows), ("changed_rows", changed_rows)):
        seeds = [row["seed"] for row in rows]
        require(len(seeds) > 0, name, "at least one row", "none")
        require(len(set(seeds)) == len(seeds), name, "each seed once", sorted(seeds))
    shared = [name for name in baseline_rows[0]["metrics"] if all(name in row["metrics"] for row in (*baseline_rows, *changed_rows))]
    return [_compare(name, *(_over_seeds(row["metrics"][name] for row in rows) for rows in (baseline_rows, changed_rows))) for name in shared]


def _over_seeds(metrics: Iterable[Mapping[str, Any]]) -> _OverSeeds:
    metrics = list(metrics)
    values = [metric["value"] for metric in metrics]
    errors = [metric["error"] or 0.0 for metric in metrics]
    mean, error = seed_error(values) if len(values) > 1 else (values[0], 0.0)
    sample = sum(error**2 for error in errors) / len(errors) ** 2
    return _OverSeeds(mean, error**2, sample, len(values), min(metric["num_images"] for metric in metrics))


def _compare(name: str, baseline: _OverSeeds, changed: _OverSeeds) -> SeedComparison:
    first, second = baseline.measurement(name), changed.measurement(name)
    num_seeds = baseline.num_seeds, changed.num_seeds
    verdict = is_difference_real(second, first, required_errors(baseline, changed)) if min(num_seeds) > 1 else None
    return SeedComparison(name, first, second, num_seeds, verdict)


def required_errors(baseline: _OverSeeds, changed: _OverSeeds) -> float:
    """Returns how many standard errors a difference must have to count: 1.96 where its error is known, more where few seeds had to tell it.

    Source: Welch 1947, Biometrika 34; Satterthwaite 1946, Biometrics Bulletin 2, for the degrees of freedom.
    """
    sides = (baseline, changed)
    total = sum(side.spread + side.sample for side in sides)
    guessed = sum(side.spread**2 / (side.num_seeds - 1) for side in sides)
    return student_quantile(0.5 + CONFIDENCE / 2, total**2 / guessed if guessed > 0 else math.inf)


def student_quantile(probability: float, freedom: float) -> float:
    """Returns the quantile of Student's t distribution with that many degrees of freedom (1 or more), for a probability from 0.5 up to 1.

    Found by bisection on the distribution function, which is an integral of the density over the angle arctan(t / sqrt(freedom)).

    Source: Student 1908, Biometrika 6.
    """
    require(0.5 <= probability < 1, "probability", "from 0.5 up to 1", probability)
    require(freedom >= 1, "freedom", "at least 1", freedom)
    freedom = min(freedom, 1e4)  # beyond that it is the normal distribution's quantile, to four digits
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)

    def excess(angle: float) -> float:
        """Returns P(0 < T < sqrt(freedom) tan(angle)) minus what is wanted, by Simpson's rule."""
        num = 400
        values = [math.cos(angle * index / num) ** (freedom - 1) for index in range(num + 1)]
        integral = angle / (3 * num) * (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2]))
        return scale * integral - (probability - 0.5)

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)
