"""Judges an answer to an exercise: not attempted, passed, or wrong with the reason.

An answer is a value (number, text, tensor, tuple of them) or a function that is run on the exercise's own inputs.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from course_utils.checks.compare import describe_difference, has_ellipsis, kind_of, same
from course_utils.checks.exercise import Exercise, Wrong
from course_utils.errors import CourseError

NOT_ATTEMPTED, PASSED, WRONG = "not attempted", "passed", "wrong"


class NotAttempted(Exception):
    """The answer still holds the `...` of the stub."""


class Raised(Exception):
    """The learner's function raised; `kind` is the name of the exception's class."""

    def __init__(self, error: BaseException, function: Callable | None) -> None:
        self.kind = type(error).__name__
        text = str(error).strip().splitlines()
        super().__init__(f"{self.kind}{': ' + text[0] if text else ''}{_place(error, function)}")


@dataclass(frozen=True)
class Verdict:
    """How an answer was judged: `status` is NOT_ATTEMPTED, PASSED or WRONG, `message` the reason."""

    status: str
    message: str = ""


def judge(exercise: Exercise, answer: Any) -> Verdict:
    """Returns the verdict on an answer. A learner's exception becomes part of it; an error in the solution is raised."""
    try:
        _require_attempt(answer)
        if inspect.isfunction(exercise.solution) and not callable(answer):
            raise Wrong(f"Expected a function, got {kind_of(answer)}. Pass the function itself, without calling it.")
        if exercise.check is None:
            _compare_with_solution(exercise, answer)
        else:
            _run_check(exercise, answer)
    except NotAttempted:
        return Verdict(NOT_ATTEMPTED)
    except Wrong as wrong:
        return Verdict(WRONG, _known_mistake(exercise, answer) or str(wrong))
    return Verdict(PASSED, exercise.why)


def _compare_with_solution(exercise: Exercise, answer: Any) -> None:
    expected, got = _results(exercise, exercise.solution), _results(exercise, answer)
    for case, (right, given) in enumerate(zip(expected, got, strict=True), start=1):
        if isinstance(right, Raised):
            raise CourseError(f"exercise {exercise.id!r}: its own solution raised {right}; this is an error in the course, please report it.")
        if isinstance(given, Raised):
            raise Wrong(f"Your function raised {given}.")
        if not same(given, right, exercise.rtol, exercise.atol):
            place = f" (test input {case} of {len(expected)})" if len(expected) > 1 else ""
            difference = describe_difference(given, right, exercise.rtol, exercise.atol)
            raise Wrong(f"{difference[0].upper()}{difference[1:]}{place}.")


def _run_check(exercise: Exercise, answer: Any) -> None:
    given = _guarded(answer) if inspect.isfunction(answer) else answer
    try:
        with _fixed_torch_seed():
            exercise.check(given)
    except (Wrong, NotAttempted):
        raise
    except Raised as raised:
        raise Wrong(f"Your function raised {raised}.") from raised
    except CourseError as error:
        raise Wrong(str(error)) from error
    except Exception as error:  # the answer has a form that the check cannot work with: say so, with the place
        raise Wrong(f"Checking your answer raised {Raised(error, None)}.") from error


def _known_mistake(exercise: Exercise, answer: Any) -> str | None:
    """Returns the message of the mistake whose results equal those of the answer, or None."""
    if callable(answer) and exercise.cases is None:
        return None
    got = _results(exercise, answer)
    for mistake in exercise.mistakes:
        if callable(mistake.answer) != callable(answer):
            continue
        if all(_equal_results(*pair, exercise) for pair in zip(got, _results(exercise, mistake.answer), strict=True)):
            raised = next((result for result in got if isinstance(result, Raised)), None)
            return f"{mistake.message} (Your function raised {raised}.)" if raised else mistake.message
    return None


def _equal_results(first: Any, second: Any, exercise: Exercise) -> bool:
    if isinstance(first, Raised) or isinstance(second, Raised):
        return isinstance(first, Raised) and isinstance(second, Raised) and first.kind == second.kind
    return same(first, second, exercise.rtol, exercise.atol)


def _results(exercise: Exercise, answer: Any) -> list:
    """Returns the answer itself, or what it returns (or raises) for each case."""
    if not callable(answer) or exercise.cases is None:
        return [answer]
    function, results = _guarded(answer), []
    for arguments in exercise.cases():
        try:
            with _fixed_torch_seed():
                results.append(function(*arguments))
        except Raised as raised:
            results.append(raised)
    return results


def _guarded(function: Callable) -> Callable:
    """Returns the function with two more outcomes: NotAttempted for a stub, Raised for any exception of its own."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            if "ellipsis" in str(error).lower():
                raise NotAttempted from error
            raise Raised(error, function) from error
        _require_attempt(result)
        return result

    return guarded


def _require_attempt(value: Any) -> None:
    if value is None or has_ellipsis(value):
        raise NotAttempted


@contextmanager
def _fixed_torch_seed() -> Iterator[None]:
    """Seeds torch's global CPU generator inside the block, so that two functions that draw from it draw the same."""
    torch = sys.modules.get("torch")
    with torch.random.fork_rng(devices=[]) if torch else nullcontext():
        if torch:
            torch.manual_seed(0)
        yield


def _place(error: BaseException, function: Callable | None) -> str:
    """Returns " at line N: `code`" for the innermost line of the learner's own code, or of the call where there is none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    frame = next((frame for frame in reversed(frames) if own in (None, frame.filename)), None)
    code = frame and linecache.getline(frame.filename, frame.lineno).strip()
    return f", at line {frame.lineno}: `{code}`" if code else ""
