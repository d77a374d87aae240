"""The plan of one model: changes and a prediction, written before anything runs; then observation and explanation."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_utils.errors import CourseError
from course_utils.homework.folder import StudyFolder, now
from course_utils.homework.judge_texts import too_short
from course_utils.homework.parameters import MIN_COUNTED, ChangeReport, validate_changes
from course_utils.homework.schema import MAX_TEXT, Plan, read_plan


def make_plan(place: StudyFolder, changes: Mapping[str, Any], prediction: str) -> Plan:
    """Returns the plan that was written to the folder: what will be changed, and what the student expects.

    It may be made again as often as one likes, until the changed model has run; from then on only an equal plan is accepted.

    Raises:
        CourseError: fewer than three changes that count, a prediction that says too little, or runs of another plan that are there already.
    """
    report = validate_changes(place.family, changes, place.budget)
    check_ready(report, prediction)
    texts = {"prediction": prediction, "observation": "", "explanation": ""}
    new = read_plan(json.dumps({"family": place.family, "changes": dict(changes), **texts, "planned": now()}).encode(), "plan")
    old = place.plan()
    if old is not None and (old.changes, old.prediction) == (new.changes, new.prediction):
        return old
    if has_run(place):
        raise CourseError(
            f"{place.family}: the changed model has run, so changes and prediction stay as they were planned ({old.planned if old else 'earlier'}). "
            "Write what you see into the observation; start_over() keeps these runs aside and begins anew."
        )
    place.write_plan(new)
    return new


def check_ready(report: ChangeReport, prediction: str) -> None:
    """Raises CourseError unless the changes are enough and the prediction is written."""
    if report.problems:
        raise CourseError(f"{report.family}: {'; '.join(report.problems)}.")
    if not report.enough:
        lacking = "; ".join(str(entry) for entry in report.entries if entry.status != "counts") or "nothing else is changed"
        raise CourseError(f"{report.family}: expected at least {MIN_COUNTED} changes that count, got {report.num_counted}: {lacking}.")
    problem = too_short(prediction)
    if problem:
        raise CourseError(f"{report.family}: the prediction: {problem}. Write what you expect, and why, before anything runs.")


def has_run(place: StudyFolder) -> bool:
    """Returns whether a run with changes has finished."""
    return any(row["kind"] != "baseline" for row in place.rows())


def ready_plan(place: StudyFolder) -> Plan:
    """Returns the plan of a model that may run; a file that was edited by hand is judged again.

    Raises:
        CourseError: no plan, or one that is not complete.
    """
    plan = place.plan()
    if plan is None:
        raise CourseError(f"{place.family}: there is no plan yet; open {place.family}.ipynb, choose the changes and write a prediction first.")
    check_ready(validate_changes(place.family, plan.changes, place.budget), plan.prediction)
    return plan


def write_texts(place: StudyFolder, observation: str, explanation: str) -> Plan:
    """Returns the plan with what the student saw and why; both may be written again as often as one likes.

    Raises:
        CourseError: nothing has run yet, or a text that says too little.
    """
    plan = ready_plan(place)
    if not has_run(place):
        raise CourseError(f"{place.family}: nothing has run yet, so there is nothing to observe; run it first.")
    for name, text in (("observation", observation), ("explanation", explanation)):
        problem = too_short(text) or (f"expected at most {MAX_TEXT:,} characters, got {len(text):,}" if len(text) > MAX_TEXT else "")
        if problem:
            raise CourseError(f"{place.family}: the {name}: {problem}.")
    plan = replace(plan, observation=observation, explanation=explanation)
    place.write_plan(plan)
    return plan


def start_over(place: StudyFolder) -> Path:
    """Returns the folder that plan, rows and pictures were moved to; the trained models stay where they are and are found again.

    Raises:
        CourseError: there is nothing to move.
    """
    own = place.plan_path.parent
    if not own.exists():
        raise CourseError(f"{place.family}: there is nothing to start over from.")
    numbers = (number for number in range(1, 1000) if not (place.folder / "earlier" / f"{place.family}-{number}").exists())
    target = place.folder / "earlier" / f"{place.family}-{next(numbers)}"
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(own, target)
    return target
