"""The contract of every exercise: the stub is not attempted, the solution passes, each known
mistake gets a message of its own.

New files `course_utils/exercises/nbNN.py` are picked up without a change here.
"""

from __future__ import annotations

import inspect

import pytest

from course_utils.exercises import core

EXERCISES = [exercise for name in core.exercise_modules() for exercise in core.exercises(name)]
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]


def stub(*args, **kwargs):
    return ...


@pytest.fixture(autouse=True)
def no_progress_file(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "off")


def printed_by_check(exercise, answer, capsys) -> str:
    core.check(exercise.id, answer)
    return capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_stub_is_not_attempted(exercise, capsys):
    stubs = [..., stub] if inspect.isfunction(exercise.solution) else [...]
    for answer in stubs:
        assert printed_by_check(exercise, answer, capsys).startswith(
            f"– {exercise.id}: not attempted yet."
        )


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_solution_passes_with_a_reason_and_can_be_shown(exercise, capsys):
    assert printed_by_check(exercise, exercise.solution, capsys).startswith(
        f"✓ {exercise.id}: passed. {exercise.why}"
    )
    assert exercise.why.endswith(".") and exercise.question
    core.solution(exercise.id)
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=[f"{e.id}-{e.mistakes.index(m)}" for e, m in MISTAKES]
)
def test_mistake_gets_its_own_message(exercise, mistake, capsys):
    printed = printed_by_check(exercise, mistake.answer, capsys)
    assert printed.startswith(f"✗ {exercise.id}: not yet.")
    others = [other.message for other in exercise.mistakes if other is not mistake]
    assert mistake.message in printed and mistake.message not in others
    assert [other for other in others if other in printed] == []


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise_helps(exercise):
    assert exercise.hints, "an exercise needs at least one hint"
    assert exercise.mistakes, "an exercise needs at least one known mistake"
