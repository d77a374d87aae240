"""What the changes did: each metric before and after over the seeds, and whether the difference is more than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_utils.homework.schema import Row, Study

if TYPE_CHECKING:  # torch costs seconds to import
    from course_utils.metrics.result import Measurement, Verdict


@dataclass(frozen=True)
class Effect:
    """One metric of two sets of runs.

    Attributes:
        before, after: means over the seeds with their standard errors.
        verdict: None where a side has no error bar at all.
    """

    metric: str
    before: Measurement
    after: Measurement
    verdict: Verdict | None

    @property
    def difference(self) -> float:
        return self.after.value - self.before.value

    @property
    def words(self) -> str:
        """The verdict in words: "real", "within noise" or "no error bar"."""
        return "no error bar" if self.verdict is None else "real" if self.verdict else "within noise"


def effects(before: Sequence[Row], after: Sequence[Row]) -> tuple[Effect, ...]:
    """Returns the effect on every metric that all runs of both sides have, in the order of the first run; none where a side has no runs."""
    from course_utils.metrics.result import is_difference_real

    found = []
    for name in shared_metrics([*before, *after]) if before and after else ():
        sides = mean_over_seeds(name, before), mean_over_seeds(name, after)
        judged = all(math.isfinite(side.error) for side in sides) and sum(side.error for side in sides) > 0
        found.append(Effect(name, *sides, is_difference_real(*reversed(sides)) if judged else None))
    return tuple(found)


def shared_metrics(rows: Sequence[Row]) -> list[str]:
    """Returns the names of the metrics that every row has."""
    return [name for name in rows[0].metrics if all(name in row.metrics for row in rows)] if rows else []


def mean_over_seeds(name: str, rows: Sequence[Row]) -> Measurement:
    """Returns the mean of a metric over runs and its standard error.

    With several seeds their spread holds both kinds of noise, that of the training and that of the samples; but a few seeds may lie close together
    by chance, so the error is never below what the samples alone explain. With one seed only the noise of the samples is known.
    """
    from course_utils.metrics.result import Measurement, seed_error

    metrics = [row.metrics[name] for row in rows]
    known = [metric.error for metric in metrics if metric.error is not None]
    sampling = math.hypot(*known) / len(metrics) if len(known) == len(metrics) else math.nan
    if len(metrics) == 1:
        return Measurement(name, metrics[0].value, sampling, metrics[0].num_images)
    mean, spread = seed_error([metric.value for metric in metrics])
    error = spread if math.isnan(sampling) else max(spread, sampling)
    return Measurement(name, mean, error, min(metric.num_images for metric in metrics))


def changes_of(study: Study) -> list[tuple[str, Any, Any]]:
    """Returns name, value in class and value now of each change; the value in class is read off the baseline's runs, None where there are none."""
    baseline = study.of_kind("baseline")
    return [(name, baseline[0].settings.get(name) if baseline else None, value) for name, value in study.changes.items()]


def in_short(value: Any) -> str:
    """Returns a setting's value as a reader writes it, such as "400, 400", "off" or "0.003"."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(in_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
