"""The assignment's rule, point by point: two of three models, three counted changes in each, texts, and runs that are what they say they are.

Nothing that a submission claims about itself is believed where it can be worked out: what was changed is read off the settings of each run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from course_utils.errors import CourseError
from course_utils.homework.budgets import FAMILIES
from course_utils.homework.judge_runs import run_points
from course_utils.homework.judge_texts import text_points
from course_utils.homework.parameters import MIN_COUNTED, ChangeReport, counted_names, validate_changes
from course_utils.homework.point import Point
from course_utils.homework.schema import Results, Study, check_results

MIN_MODELS, MIN_SEEDS = 2, 3


@dataclass(frozen=True)
class Verdict:
    """Whether a submission meets the assignment's rule.

    Attributes:
        points: what the rule asks for, first of the whole, then of each model.
        met: the points of the whole are met, and all points of at least two models.
    """

    points: tuple[Point, ...]
    met: bool

    def __bool__(self) -> bool:
        return self.met

    def __str__(self) -> str:
        lines = [f"  [{'x' if point.ok else ' '}] {point.name}: {point.message}" for point in self.points]
        return "\n".join([*lines, "The rule is met." if self.met else "The rule is not met yet."])


def check(results: Mapping[str, Any] | Results) -> Verdict:
    """Returns the verdict on what `results.json` holds; it raises nothing, whatever is in there.

    Args:
        results: the content of the file, or the same checked already.
    """
    if not isinstance(results, Results):
        try:
            results = check_results(results)
        except CourseError as error:
            return Verdict((Point("results.json", False, str(error)),), False)
    by_study = {study.family: _study_points(study, results) for study in results.experiments}
    complete = [family for family, points in by_study.items() if all(point.ok for point in points)]
    whole = [_models(results, complete), _seeds(results), _budget(results)]
    points = (*whole, *(point for points in by_study.values() for point in points))
    return Verdict(points, all(point.ok for point in whole))


def _models(results: Results, complete: list[str]) -> Point:
    there = [study.family for study in results.experiments if study.family in FAMILIES]
    if len(there) < MIN_MODELS:
        missing = f"choose {MIN_MODELS} of {', '.join(FAMILIES)}"
        return Point("models", False, f"expected changes in {MIN_MODELS} models, got {', '.join(there) or 'none'}; {missing}")
    if len(complete) < MIN_MODELS:
        return Point("models", False, f"expected {MIN_MODELS} complete models, got {', '.join(complete) or 'none'}; see what each still lacks")
    return Point("models", True, f"complete: {', '.join(complete)}")


def _seeds(results: Results) -> Point:
    seeds = results.seeds
    listed = ", ".join(map(str, seeds)) or "none"
    if len(set(seeds)) < len(seeds):
        return Point("seeds", False, f"expected each seed once, got {listed}")
    if len(seeds) < MIN_SEEDS:
        return Point("seeds", False, f"expected at least {MIN_SEEDS}, got {listed}; one training says nothing about the noise between trainings")
    return Point("seeds", True, listed)


def _budget(results: Results) -> Point:
    remark = "; its trainings take a few steps, so its numbers say nothing about the models" if results.budget == "smoke" else ""
    return Point("budget", True, results.budget + remark)


def _study_points(study: Study, results: Results) -> list[Point]:
    """Returns the points of one model."""
    if study.family not in FAMILIES:
        return [Point(f"{study.family}: model", False, f"expected one of {', '.join(FAMILIES)}; {study.family!r} is no model of this homework")]
    points = [_changes(validate_changes(study.family, study.changes, results.budget)), *text_points(study, results), *run_points(study, results)]
    return [Point(f"{study.family}: {point.name}", point.ok, point.message) for point in points]


def _changes(report: ChangeReport) -> Point:
    """Returns the point of the counted changes."""
    counted = counted_names(report)
    others = [str(entry) for entry in report.entries if entry.status != "counts"]
    if report.enough:
        return Point("changes", True, "; ".join([f"{len(counted)} count ({', '.join(counted)})", *others]))
    why = "; ".join(others) or f"{MIN_COUNTED - len(counted)} more needed"
    return Point("changes", False, f"expected at least {MIN_COUNTED} changes that count, got {len(counted)} ({', '.join(counted) or 'none'}): {why}")
