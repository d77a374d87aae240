"""What an exercise is. A notebook's exercises are data: `EXERCISES = (Exercise(...), ...)` in `nb00.py`, `nb01.py`, ..."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course_utils.errors import CourseError


class Wrong(Exception):
    """The answer is wrong; the text says why. Raised by an exercise's `check`."""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that learners are known to give, and what to tell them.

    Args:
        answer: the wrong value or function; an answer with the same results gets `message`.
        message: what went wrong and where to look, in one or two sentences, without the solution.
    """

    answer: Any
    message: str


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    Args:
        id: the notebook's number, a dot and a name, such as "04.kl".
        question: the task, in one sentence.
        solution: the right value or function. `solution()` shows it; the checks compare with it.
        why: one sentence that says why it matters; printed when the answer passes.
        cases: returns the argument tuples that functions are run on; called anew for each run, so that generators start equal. Needed by
            functions, unless `check` runs them itself.
        check: for answers that cannot be compared with `solution`: returns None where the answer is right, else raises `Wrong`.
        mistakes: known wrong answers; each has its own message.
        hints: graded, the weakest first.
        explanation: printed with the solution.
        rtol, atol: relative and absolute tolerance of numbers.
    """

    id: str
    question: str
    solution: Any
    why: str
    cases: Callable[[], list[tuple]] | None = None
    check: Callable[[Any], None] | None = None
    mistakes: tuple[Mistake, ...] = ()
    hints: tuple[str, ...] = ()
    explanation: str = ""
    rtol: float = 1e-4
    atol: float = 1e-6

    def __post_init__(self) -> None:
        if inspect.isfunction(self.solution) and self.cases is None and self.check is None:
            raise CourseError(f"exercise {self.id!r}: expected cases or a check, since its solution is a function, got neither; add cases.")
