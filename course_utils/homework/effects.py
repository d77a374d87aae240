"""What the changes did: each metric before and after over the seeds, and whether the difference is more than noise."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from course_utils.errors import CourseError
from course_utils.homework.schema import Row, Study

if TYPE_CHECKING:  # torch costs seconds to import
    from course_utils.compare import Comparison


def effects(before: Sequence[Row], after: Sequence[Row]) -> tuple[Comparison, ...]:
    """Returns the comparison of two sets of runs for every metric that all of them have, in the order of the first run.

    Of several runs with one seed the first counts. Nothing where a side has no runs; a metric that does not compare (measured on other numbers of
    images) is left out: what students hand in may be anything, and the rest is still worth reading.
    """
    sides = [[asdict(row) for row in {row.seed: row for row in reversed(rows)}.values()][::-1] for rows in (before, after)]
    from course_utils.compare import compare

    found: list[Comparison] = []
    for name in _shared([*before, *after]) if all(sides) else ():
        try:
            found += compare(*([{**row, "metrics": {name: row["metrics"][name]}} for row in rows] for rows in sides))
        except CourseError:
            continue
    return tuple(found)


def judgement(effect: Comparison, changes: Collection[str]) -> str:
    """Returns "real", "within noise", or why neither can be said: one seed, or a change that gives the metric another meaning."""
    from course_utils.homework.measure import incomparable

    changed_by = incomparable(effect.name, changes)
    return f"not comparable: {', '.join(changed_by)} changed" if changed_by else effect.judgement


def difference(effect: Comparison) -> float:
    """Returns the changed model's mean minus the class model's."""
    return effect.changed.value - effect.baseline.value


def _shared(rows: Sequence[Row]) -> list[str]:
    return [name for name in rows[0].metrics if all(name in row.metrics for row in rows)] if rows else []


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
