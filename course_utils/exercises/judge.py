"""What an exercise is, and how an answer to it is judged: not attempted, passed, or wrong with the
reason.
"""

from __future__ import annotations

import dis
import functools
import inspect
import linecache
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

from course_utils.base.errors import CourseError


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
        id: the notebook's number, a dot and a name, such as "04.loss".
        question: the task, in one sentence.
        solution: the right value or function. `solution()` shows it; the checks compare with it.
        why: one sentence that says why it matters; printed when the answer passes.
        cases: returns the argument tuples that functions are run on; called anew for each run, so
            that generators start equal. Needed by functions, unless `check` runs them itself.
        check: for answers that cannot be compared with `solution`: returns None where the answer is
            right, else raises `Wrong`.
        mistakes: known wrong answers; each has its own message.
        hints: graded, the weakest first.
        explanation: printed with the solution.
        gradients: the places of the arguments that a gradient has to reach, where the question asks
            for it; it is compared with that of the solution.
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
    gradients: tuple[int, ...] = ()
    rtol: float = 1e-4
    atol: float = 1e-6

    def __post_init__(self) -> None:
        if inspect.isfunction(self.solution) and self.cases is None and self.check is None:
            raise CourseError(
                f"exercise {self.id!r}: expected cases or a check, since its solution is a"
                " function, got neither; add cases."
            )


def same(given: Any, right: Any, rtol: float, atol: float) -> bool:
    """Returns whether two answers agree: numbers and tensors within the tolerance, texts without
    regard to case, containers item by item.
    """
    given, right = _plain_truth(given), _plain_truth(right)
    if isinstance(right, str) or isinstance(given, str):
        return (
            isinstance(right, str)
            and isinstance(given, str)
            and _plain_text(given) == _plain_text(right)
        )
    if isinstance(right, bool) or isinstance(given, bool):
        return isinstance(right, bool) and isinstance(given, bool) and given == right
    if _is_numeric(right) and _is_numeric(given):
        import numpy

        first, second = to_array(given), to_array(right)
        return first.shape == second.shape and bool(
            numpy.allclose(first, second, rtol=rtol, atol=atol, equal_nan=True)
        )
    if isinstance(right, Mapping) and isinstance(given, Mapping):
        return right.keys() == given.keys() and all(
            same(given[key], right[key], rtol, atol) for key in right
        )
    if isinstance(right, (list, tuple)) and isinstance(given, (list, tuple)):
        return len(right) == len(given) and all(
            same(*pair, rtol, atol) for pair in zip(given, right, strict=True)
        )
    if isinstance(right, Set) and isinstance(given, Set):
        return {_plain_text(item) for item in given} == {_plain_text(item) for item in right}
    return type(right) is type(given) and bool(right == given)


def has_ellipsis(value: Any) -> bool:
    """Returns whether a value is `...` or holds one, at any depth."""
    if isinstance(value, Mapping):
        return any(map(has_ellipsis, value.values()))
    if isinstance(value, (list, tuple, Set)):
        return any(map(has_ellipsis, value))
    return value is Ellipsis


def describe_difference(given: Any, right: Any, rtol: float, atol: float) -> str:
    """Returns how a wrong answer differs from the right one: its kind, its shape, its sign, its
    scale, or only that it does.
    """
    given = _plain_truth(given)
    sequences = all(isinstance(value, (list, tuple)) for value in (given, right))
    if kind_of(given) != kind_of(right) and not (sequences and len(given) == len(right)):
        return f"expected {kind_of(right)}, got {kind_of(given)}"
    if isinstance(right, Mapping):
        key = next(key for key in right if not same(given[key], right[key], rtol, atol))
        return f"item {key!r}: {describe_difference(given[key], right[key], rtol, atol)}"
    if isinstance(right, (list, tuple)) and not _is_numeric(right):
        index = next(
            index
            for index, pair in enumerate(zip(given, right, strict=True))
            if not same(*pair, rtol, atol)
        )
        return f"item {index}: {describe_difference(given[index], right[index], rtol, atol)}"
    if _is_numeric(right) and not isinstance(right, bool):
        return _numeric_difference(to_array(given), to_array(right), rtol, atol)
    return (
        f"{given!r} is not right"
        if isinstance(right, (str, bool))
        else f"this is not the {type(right).__name__} that was asked for"
    )


def kind_of(value: Any) -> str:
    """Returns the kind of a value in words: "a number", "a tensor of shape [2, 3]", "a text",
    ...
    """
    if isinstance(value, bool):
        return "True or False"
    if isinstance(value, str):
        return "a text"
    if _is_numeric(value):
        shape = list(to_array(value).shape)
        return f"numbers of shape {shape}" if shape else "a number"
    if isinstance(value, Mapping):
        return f"a dictionary with the keys {', '.join(sorted(map(repr, value)))}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)} items"
    return f"a value of type {type(value).__name__}"


def to_array(value: Any):
    """Returns a number, array, tensor or flat list of numbers as a float64 (or complex) NumPy
    array.
    """
    import numpy

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.double().numpy() if value.is_floating_point() else value.numpy()
    array = numpy.asarray(value)
    return array if array.dtype.kind == "c" else array.astype(numpy.float64)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(
            isinstance(item, Number) and not isinstance(item, bool) for item in value
        )
    if isinstance(value, Number) or hasattr(value, "detach"):
        return True
    return getattr(getattr(value, "dtype", None), "kind", "") in tuple("biufc")


def _plain_truth(value: Any) -> Any:
    """Returns NumPy's or torch's True or False, such as `np.sqrt(4) > 1` gives, as Python's."""
    is_truth = str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
    return bool(value) if is_truth and getattr(value, "ndim", None) == 0 else value


def _numeric_difference(given: Any, right: Any, rtol: float, atol: float) -> str:
    import numpy

    if not numpy.isfinite(given).all() and numpy.isfinite(right).all():
        return "your result holds NaN or infinity"
    if numpy.allclose(given, -right, rtol=rtol, atol=atol):
        return "the sign is the wrong way round"
    if right.size == 1:
        return (
            f"your {_short(given.item())} is too"
            f" {'large' if given.item() > right.item() else 'small'}"
        )
    nonzero = numpy.abs(right) > atol
    if nonzero.all() and not given.any():
        return "every value is 0"
    ratios = given[nonzero] / right[nonzero]
    if (
        ratios.size > 1
        and numpy.allclose(ratios, ratios[0], rtol=1e-3)
        and numpy.allclose(given[~nonzero], 0, atol=atol)
    ):
        return f"every value is {_short(ratios[0])} times what it should be"
    offsets = given - right
    if numpy.allclose(offsets, offsets.flat[0], rtol=1e-3, atol=atol):
        return f"every value is off by the same amount, {_short(offsets.flat[0])}"
    wrong = int((~numpy.isclose(given, right, rtol=rtol, atol=atol)).sum())
    return f"the shape {list(right.shape)} is right, but {wrong} of {right.size} values differ"


def _short(value: Any) -> str:
    return f"{value:.4g}" if not isinstance(value, complex) and math.isfinite(value) else str(value)


def _plain_text(value: Any) -> Any:
    return " ".join(value.split()).casefold() if isinstance(value, str) else value


NOT_ATTEMPTED, PASSED, WRONG = "not attempted", "passed", "wrong"


NO_RETURN = "Your function returned None. Is the `return` missing?"


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
    """How an answer was judged: `status` is NOT_ATTEMPTED, PASSED or WRONG, `message` the
    reason.
    """

    status: str
    message: str = ""


def judge(exercise: Exercise, answer: Any) -> Verdict:
    """Returns the verdict on an answer. A learner's exception becomes part of it; an error in the
    solution is raised.
    """
    try:
        _require_attempt(answer)
        if inspect.isfunction(exercise.solution) and not callable(answer):
            raise Wrong(
                f"Expected a function, got {kind_of(answer)}. Pass the function itself, without"
                " calling it."
            )
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
            raise CourseError(
                f"exercise {exercise.id!r}: its own solution raised {right}; this is an error in"
                " the course, please report it."
            )
        if isinstance(given, Raised):
            raise Wrong(f"Your function raised {given}.")
        if not same(given, right, exercise.rtol, exercise.atol):
            place = f" (test input {case} of {len(expected)})" if len(expected) > 1 else ""
            again = zip(_results(exercise, answer, seed=1), got, strict=True)
            if not all(_equal_results(*pair, exercise) for pair in again):
                raise Wrong(UNREPEATABLE)
            difference = describe_difference(given, right, exercise.rtol, exercise.atol)
            raise Wrong(f"{difference[0].upper()}{difference[1:]}{place}.")
    if exercise.gradients:
        _compare_gradients(exercise, answer)


UNREPEATABLE = (
    "Two calls with the same arguments gave different results: some of your random numbers do not"
    " come from the generator that is given, so nobody can repeat your run."
)


def require_repeatable(function: Callable, arguments: Callable[[], tuple]) -> None:
    """Raises `Wrong` where a function that is given a generator draws from another one.

    Args:
        arguments: returns the same arguments at each call, with a generator in the same state.
    """
    with fixed_torch_seed(0):
        first = function(*arguments())
    with fixed_torch_seed(1):
        second = function(*arguments())
    if not same(first, second, 0.0, 0.0):
        raise Wrong(UNREPEATABLE)


def require_finite(value: Any) -> None:
    """Raises `Wrong` where a result holds NaN or infinity."""
    import numpy

    if not numpy.isfinite(to_array(value)).all():
        raise Wrong("Your result holds NaN or infinity.")


def require_attempt(value: Any) -> None:
    """Raises `NotAttempted` for what a stub returns, and `Wrong` for None: checks that call methods
    of a learner's class look at what comes back with it.
    """
    if value is None:
        raise Wrong(NO_RETURN)
    _require_attempt(value)


def network_from(make: Callable, *arguments: Any) -> Any:
    """Returns the `nn.Module` that a learner's builder builds; raises `Wrong` for anything else."""
    from torch import nn

    network = make(*arguments)
    require_attempt(network)
    if not isinstance(network, nn.Module):
        raise Wrong(
            f"Expected a network, an nn.Module such as nn.Sequential(...), got {kind_of(network)}."
        )
    return network


def output_of(network: Any, x: Any, message: str) -> Any:
    """Returns the tensor that a learner's network makes of `x`; a wrong number of inputs gets
    `message`.
    """
    import torch

    try:
        out = network(x)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Wrong(f"{message} (It raised: {reason}.)") from error
    require_attempt(out)
    if not isinstance(out, torch.Tensor):
        raise Wrong(f"The network should return one tensor, got {kind_of(out)}.")
    return out


def numbered_faults(faults: Iterable[str]) -> str:
    """Returns the names of faults with their numbers, one a line, in alphabetical order without
    regard to a leading "the". It is not the order of the scripts, which would give them away.
    """
    names = sorted(faults, key=lambda name: name.casefold().removeprefix("the "))
    return "\n".join(f"{number} {name}" for number, name in enumerate(names, start=1))


@dataclass(frozen=True)
class BugHunt:
    """One broken script of a bug hunt.

    Attributes:
        script: it.
        fault: its name, one of the notebook's list of faults.
        seen: what its curves and pictures show, in words.
        cure: what has to be changed.
        also_seen: `{fault: text}`, what speaks against other faults whose usual signs are seen here
            as well.
    """

    script: Callable[..., Any]
    fault: str
    seen: str
    cure: str
    also_seen: Mapping[str, str] = field(default_factory=dict)


def hunt_exercises(
    notebook: str,
    hunts: Mapping[int, BugHunt],
    faults: Mapping[str, str],
    healthy: Callable[..., Any],
    try_out: Callable[[Any, Callable[..., Any]], None],
    *,
    shown: str,
    returned: str,
) -> tuple[Exercise, ...]:
    """Returns two exercises for each broken script of a notebook: name its fault, then mend it.

    Args:
        notebook: its number, such as "04".
        hunts: `{number of the script: hunt}`.
        faults: `{name: what one would see}`.
        healthy: the mended script.
        try_out: see `mend_exercise`.
        shown: what the learner is shown, such as "curves and pictures".
        returned: what a script returns, in words.
    """
    exercises = []
    for number, hunt in hunts.items():
        name = f"Name the fault of script {number} from its {shown}."
        mend = f"Mend script {number}: return {returned} as it does."
        exercises += [
            name_exercise(f"{notebook}.hunt_{number}", name, hunt, faults),
            mend_exercise(f"{notebook}.mend_{number}", mend, hunt, healthy, try_out),
        ]
    return tuple(exercises)


def name_exercise(
    exercise_id: str, question: str, hunt: BugHunt, faults: Mapping[str, str]
) -> Exercise:
    """Returns the exercise of naming the fault of a broken script, by its name or by its number in
    `numbered_faults`. Case, hyphens, underscores and the width of spaces do not count.

    Args:
        exercise_id: the notebook's number and the script's name, such as "04.hunt_1".
        hunt: the script; its fault is a key of `faults`.
        faults: `{name: what one would see}`.
    """
    notebook, script = exercise_id.split(".")
    why_not = {
        name: hunt.also_seen.get(name, f"If it were that, {symptom}. Here {hunt.seen}.")
        for name, symptom in faults.items()
        if name != hunt.fault
    }

    def check_name(answer: Any) -> None:
        name = _meant_fault(answer, faults)
        if name is None:
            raise Wrong(
                f"{answer!r} is not in the list of faults. Give a number from 1 to {len(faults)},"
                f" or a name as it stands there:\n{numbered_faults(faults)}"
            )
        if name != hunt.fault:
            raise Wrong(why_not[name])

    return Exercise(
        id=exercise_id,
        question=question,
        solution=hunt.fault,
        check=check_name,
        why=f"Now mend it. show_source(hunt_{notebook}.{script}) shows the script.",
        mistakes=tuple(Mistake(name, message) for name, message in why_not.items()),
        hints=(f"What is seen here: {hunt.seen}.",),
        explanation=f"Seen: {hunt.seen}.",
    )


def _meant_fault(answer: Any, faults: Iterable[str]) -> str | None:
    """Returns the fault that an answer means: its number, its name, or its line in the list; None
    where it means none.
    """
    meant = {}
    for line in numbered_faults(faults).splitlines():
        number, name = line.split(" ", 1)
        meant |= {_letters(words): name for words in (number, name, line)}
    return meant.get(_letters(str(answer)))


def _letters(words: str) -> str:
    """Returns words in small letters with single spaces between them, also where a hyphen or an
    underscore stood.
    """
    return " ".join(re.split(r"[\s_-]+", words.strip().replace("’", "'"))).casefold()


def mend_exercise(
    exercise_id: str, question: str, hunt: BugHunt, healthy: Callable, try_out: Callable
) -> Exercise:
    """Returns the exercise of mending a broken script.

    Args:
        hunt: the script.
        healthy: the mended script.
        try_out: `try_out(hunt, answer)` trains an answer and raises `Wrong`; its global random
            numbers start from 0 and leave those of the notebook alone.
    """

    def tried(answer: Callable[..., Any]) -> None:
        with fixed_torch_seed():
            try_out(hunt, answer)

    return Exercise(
        id=exercise_id,
        question=question,
        solution=healthy,
        why=hunt.cure,
        check=tried,
        mistakes=(Mistake(hunt.script, f"The script still does what it did: {hunt.seen}."),),
        hints=(f"The fault is called: {hunt.fault}.", hunt.cure),
        explanation=f"What was wrong: {hunt.cure}",
    )


def _compare_gradients(exercise: Exercise, answer: Any) -> None:
    """Raises `Wrong` where a gradient does not reach an argument or differs from the solution's."""
    import torch

    assert exercise.cases is not None
    names = list(inspect.signature(exercise.solution).parameters)
    for arguments, same_arguments in zip(exercise.cases(), exercise.cases(), strict=True):
        right = _gradients(exercise.solution, arguments, exercise.gradients)
        try:
            given = _gradients(_guarded(answer), same_arguments, exercise.gradients)
        except Raised:  # NumPy refuses a tensor that asks for its gradient
            given = [None] * len(exercise.gradients)
        for place, expected, got in zip(exercise.gradients, right, given, strict=True):
            # torch.normal lets a gradient through that is zero
            if got is None or (not got.any() and expected.any()):
                raise Wrong(
                    f"The values are right, but no gradient reaches `{names[place]}`, so it could"
                    " not be trained. detach(), no_grad(), item(), NumPy and torch.normal cut the"
                    " gradient off."
                )
            if not torch.allclose(got, expected, rtol=1e-3, atol=1e-5):
                raise Wrong(
                    f"The values are right, but the gradient that reaches `{names[place]}` is not:"
                    " a part of the computation is cut off from it."
                )


def _gradients(function: Callable, arguments: tuple, places: tuple[int, ...]) -> list:
    """Returns the gradients of the sum of a function's results with respect to some arguments; None
    where none arrives.
    """
    import torch

    given = list(arguments)
    for place in places:
        given[place] = given[place].detach().clone().requires_grad_()
    with fixed_torch_seed():
        result = function(*given)
    parts = [part for part in _as_list(result) if getattr(part, "requires_grad", False)]
    if not parts:
        return [None] * len(places)
    total = torch.stack([part.sum() for part in parts]).sum()
    return list(torch.autograd.grad(total, [given[i] for i in places], allow_unused=True))


def _as_list(result: Any) -> list:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _run_check(exercise: Exercise, answer: Any) -> None:
    assert exercise.check is not None
    given = _guarded(answer) if inspect.isfunction(answer) else answer
    try:
        with fixed_torch_seed():
            exercise.check(given)
    except (Wrong, NotAttempted):
        raise
    except Raised as raised:
        raise Wrong(f"Your function raised {raised}.") from raised
    except CourseError as error:
        raise Wrong(str(error)) from error
    except (
        Exception
    ) as error:  # the answer has a form that the check cannot work with: say so, with the place
        if "ellipsis" in str(error).lower():
            raise NotAttempted from error
        raise Wrong(f"Checking your answer raised {Raised(error, None)}.") from error


def _known_mistake(exercise: Exercise, answer: Any) -> str | None:
    """Returns the message of the mistake whose results equal those of the answer, or None."""
    if callable(answer) and exercise.cases is None:
        return None
    try:
        got = _results(exercise, answer)
    except Wrong:  # a forgotten return
        return None
    for mistake in exercise.mistakes:
        if callable(mistake.answer) != callable(answer):
            continue
        if all(
            _equal_results(*pair, exercise)
            for pair in zip(got, _results(exercise, mistake.answer), strict=True)
        ):
            raised = next((result for result in got if isinstance(result, Raised)), None)
            return (
                f"{mistake.message} (Your function raised {raised}.)" if raised else mistake.message
            )
    return None


def _equal_results(first: Any, second: Any, exercise: Exercise) -> bool:
    if isinstance(first, Raised) or isinstance(second, Raised):
        return (
            isinstance(first, Raised) and isinstance(second, Raised) and first.kind == second.kind
        )
    return same(first, second, exercise.rtol, exercise.atol)


def _results(exercise: Exercise, answer: Any, seed: int = 0) -> list:
    """Returns the answer itself, or what it returns (or raises) for each case."""
    if not callable(answer) or exercise.cases is None:
        return [answer]
    function, results = _guarded(answer), []
    for arguments in exercise.cases():
        try:
            with fixed_torch_seed(seed):
                results.append(function(*arguments))
        except Raised as raised:
            results.append(raised)
    return results


def _guarded(function: Callable) -> Callable:
    """Returns the function with three more outcomes: NotAttempted for a stub, Wrong for a forgotten
    `return`, Raised for any exception of its own.
    """

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            if "ellipsis" in str(error).lower():
                raise NotAttempted from error
            raise Raised(error, function) from error
        if result is None:
            raise NotAttempted if _is_empty(function) else Wrong(NO_RETURN)
        _require_attempt(result)
        return result

    return guarded


def _is_empty(function: Callable) -> bool:
    """Returns whether a function's body names nothing at all, as `...` and `pass` do."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    uses = {instruction.opname for instruction in dis.get_instructions(code)}
    return uses <= {"RESUME", "NOP", "LOAD_CONST", "POP_TOP", "RETURN_CONST", "RETURN_VALUE"}


def _require_attempt(value: Any) -> None:
    if value is None or has_ellipsis(value):
        raise NotAttempted


@contextmanager
def fixed_torch_seed(seed: int = 0) -> Iterator[None]:
    """Seeds torch's global CPU generator inside the block, so that two functions that draw from it
    draw the same.
    """
    torch = sys.modules.get("torch")
    with torch.random.fork_rng(devices=[]) if torch else nullcontext():
        if torch:
            torch.manual_seed(seed)
        yield


def _place(error: BaseException, function: Callable | None) -> str:
    """Returns " at line N: `code`" for the innermost line of the learner's own code, or of the call
    where there is none.
    """
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__
    ]
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    frame = next((frame for frame in reversed(frames) if own in (None, frame.filename)), None)
    if frame is None or frame.lineno is None:
        return ""
    code = linecache.getline(frame.filename, frame.lineno).strip()
    return f", at line {frame.lineno}: `{code}`" if code else ""
