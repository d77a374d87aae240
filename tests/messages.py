"""How the tests of the exercises ask the judge: whether an answer passes, and why it does not."""

from __future__ import annotations

from typing import Any

from course_utils.exercises import core
from course_utils.exercises.judge import PASSED, WRONG, judge


def message(exercise_id: str, answer: Any) -> str:
    """Returns why a wrong answer is wrong; fails where it is not refused."""
    verdict = judge(core.find(exercise_id), answer)
    assert verdict.status == WRONG, f"{exercise_id} did not refuse it: {verdict}"
    return verdict.message


def passes(exercise_id: str, answer: Any) -> bool:
    """Returns True where an answer passes, and fails with the judge's words where it does not."""
    verdict = judge(core.find(exercise_id), answer)
    assert verdict.status == PASSED, f"{exercise_id}: {verdict}"
    return True
