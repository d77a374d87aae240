"""What a learner calls: `check`, `hint`, `solution`, `progress`; and what an author imports:
`Exercise`, `Mistake`, `Wrong`.

The exercises of notebook NN stand in `course_utils/exercises/nbNN.py` as `EXERCISES`; the module is
imported when one of them is asked for.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import course_utils.exercises
from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import locked, read_json, runs_root, write_json
from course_utils.exercises.judge import NOT_ATTEMPTED, PASSED, Exercise, Mistake, Wrong, judge

__all__ = [
    "Exercise",
    "Mistake",
    "Wrong",
    "check",
    "exercise_modules",
    "exercises",
    "find",
    "hint",
    "judge_guess",
    "passed_answer",
    "progress",
    "solution",
    "solution_of",
]

# how far each exercise's hints have been shown in this session
_hints_given: Counter[str] = Counter()
# the answers that were passed in this session, by exercise
_passed_answers: dict[str, Any] = {}


def check(exercise_id: str, answer: Any) -> None:
    """Prints whether an answer is right and, where it is not, what went wrong. A passed exercise is
    remembered.

    Args:
        exercise_id: the exercise, such as "04.loss".
        answer: a value or a function, as the question asks; `...` while it is not attempted.

    Raises:
        CourseError: there is no such exercise.
    """
    exercise = find(exercise_id)
    verdict = judge(exercise, answer)
    if verdict.status == NOT_ATTEMPTED:
        more = f' Stuck? hint("{exercise.id}") helps.' if exercise.hints else ""
        _say(
            f"– {exercise.id}: not attempted yet. Replace each `...` and run this cell again.{more}"
        )
    elif verdict.status == PASSED:
        _say(f"✓ {exercise.id}: passed. {verdict.message}")
        _passed_answers[exercise.id] = answer
        _remember(exercise.id)
    else:
        _say(f"✗ {exercise.id}: not yet. {verdict.message}")


def judge_guess(guess: Any, measured: Any, within: float = 0.1, unit: str = "") -> None:
    """Prints whether what a learner predicted agrees with what was measured.

    Args:
        guess: a number or a text; "?" or `...` where none was made.
        measured: a number or a text; texts are compared without regard to case.
        within: by which share of the measured number a guess may be off and still be right.
        unit: of the numbers, such as "nats".
    """
    shown = f"{measured:.4g} {unit}".rstrip() if isinstance(measured, (int, float)) else measured
    if guess is ... or guess == "?":
        _say(f"You made no guess. Measured: {shown}.")
        return
    if isinstance(measured, (int, float)) and not isinstance(measured, bool):
        try:
            number = float(guess)
        except (TypeError, ValueError):
            _say(f"Your guess, {guess!r}, is no number. Measured: {shown}.")
            return
        right = abs(number - measured) <= within * abs(measured)
        off = "too high" if number > measured else "too low"
    else:
        right = " ".join(str(guess).split()).casefold() == str(measured).casefold()
        off = "not what happens"
    _say(f"Your guess, {guess}, is {'right' if right else off}. Measured: {shown}.")


def hint(exercise_id: str) -> None:
    """Prints the next hint of an exercise; each call goes one further.

    Raises:
        CourseError: there is no such exercise.
    """
    exercise = find(exercise_id)
    given, total = _hints_given[exercise.id], len(exercise.hints)
    if given >= total:
        _say(
            f'{exercise.id}: no {"more " if total else ""}hints. solution("{exercise.id}") shows'
            " the solution."
        )
        return
    _hints_given[exercise.id] += 1
    _say(f"{exercise.id}, hint {given + 1} of {total}: {exercise.hints[given]}")


def solution(exercise_id: str) -> None:
    """Displays the solution of an exercise: the source of a function, else the value; then the
    explanation.

    Raises:
        CourseError: there is no such exercise.
    """
    exercise = find(exercise_id)
    if callable(exercise.solution):
        from course_utils.notebook import show_source

        show_source(exercise.solution)
    else:
        print(f"{exercise.id}: {exercise.solution}")
    if exercise.explanation:
        _say(exercise.explanation)


def _say(text: str) -> None:
    """Prints lines of 100 columns: JupyterLab breaks longer ones in the middle of words."""
    for line in text.splitlines():
        print(textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False))


def solution_of(exercise_id: str) -> Any:
    """Returns the reference solution of an exercise: a function, a class or a value.

    Raises:
        CourseError: there is no such exercise.
    """
    return find(exercise_id).solution


def passed_answer(exercise_id: str) -> Any:
    """Returns the answer that passed an exercise in this session, or None.

    Raises:
        CourseError: there is no such exercise.
    """
    return _passed_answers.get(find(exercise_id).id)


def progress() -> None:
    """Prints how many exercises of each notebook have been passed."""
    passed = _passed()
    print("notebook  passed")
    for name in exercise_modules():
        ids = [exercise.id for exercise in exercises(name)]
        done = sum(exercise_id in passed for exercise_id in ids)
        print(f"{name[2:]:<8}  {done} of {len(ids)}{'  all done' if done == len(ids) else ''}")


def exercise_modules() -> tuple[str, ...]:
    """Returns the names of the modules that hold exercises, in order: "nb00", "nb01", ..."""
    return tuple(
        sorted(
            module.name
            for module in pkgutil.iter_modules(course_utils.exercises.__path__)
            if re.fullmatch(r"nb\d\d", module.name)
        )
    )


@functools.cache
def exercises(module_name: str) -> tuple[Exercise, ...]:
    """Returns the exercises of one module, such as "nb04".

    Raises:
        CourseError: an id occurs twice or does not begin with the notebook's number.
    """
    found = importlib.import_module(f"course_utils.exercises.{module_name}").EXERCISES
    ids = [exercise.id for exercise in found]
    bad = [i for i in ids if ids.count(i) > 1 or not i.startswith(f"{module_name[2:]}.")]
    if bad:
        raise CourseError(
            f"{module_name}: expected unique ids that begin with {module_name[2:]!r} and a dot, got"
            f" {', '.join(bad)}; rename them."
        )
    return tuple(found)


def find(exercise_id: str) -> Exercise:
    """Returns the exercise with this id; only its notebook's module is imported.

    Raises:
        CourseError: there is none; the message lists the ids of the notebook, or of all notebooks.
    """
    module_name = f"nb{str(exercise_id)[:2]}"
    names = [module_name] if module_name in exercise_modules() else exercise_modules()
    candidates = {exercise.id: exercise for name in names for exercise in exercises(name)}
    if exercise_id not in candidates:
        raise unknown("exercise", exercise_id, candidates)
    return candidates[exercise_id]


def _progress_file() -> Path | None:
    """Returns where progress is kept, or None where `COURSE_PROGRESS=off`."""
    return (
        None
        if os.environ.get("COURSE_PROGRESS", "").lower() == "off"
        else runs_root() / "progress.json"
    )


def _passed() -> set[str]:
    """Returns the ids of the passed exercises. A file that cannot be used is reported and counts as
    empty.
    """
    path = _progress_file()
    if path is None or not path.exists():
        return set()
    try:
        passed = read_json(path).get("passed")
        if not isinstance(passed, list) or not all(isinstance(item, str) for item in passed):
            raise CourseError(f'{path}: expected a list of exercise ids under "passed"')
    except CourseError as error:
        print(f"The record of your progress cannot be used and starts anew. ({error})")
        return set()
    return set(passed)


def _remember(exercise_id: str) -> None:
    path = _progress_file()
    if path is None:
        return
    if exercise_id in _passed():
        return
    try:
        with locked(path, "notebook", wait_seconds=10):  # two may be open
            write_json(path, {"passed": sorted(_passed() | {exercise_id})})
    except CourseError as error:
        print(f"Your answer counts, but your progress was not saved. ({error})")
