"""The exercise checks on a small module of exercises of their own."""

from __future__ import annotations

import json
import sys

import numpy
import pytest
import torch

from course_utils import exercises as checks
from course_utils.base.errors import CourseError
from course_utils.exercises import core, judge
from course_utils.exercises.judge import Exercise, Wrong, describe_difference, same

MODULE = """
import torch
from course_utils.exercises.judge import Exercise, Mistake, Wrong

def cases():
    return [(torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.1, 0.7, 0.0]))]

def kl(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum()

def terms(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar)

def with_a_bug(mu, logvar):
    return mu @ logvar[:2]

def draw(rng):
    return torch.randn(3, generator=rng)

def check_order(answer):
    if answer(1) >= answer(2):
        raise Wrong("It should grow with its argument.")

EXERCISES = (
    Exercise("98.kl", "Write the KL divergence.", kl, "This is the second term of the ELBO.", cases=cases,
        mistakes=(
            Mistake(lambda mu, logvar: terms(mu, logvar).mean(), "You took the mean over the latent dimensions: sum them."),
            Mistake(with_a_bug, "The two vectors do not have the same length."),
            Mistake(3.0, "Pass the function, not its result."),
        ),
        hints=("Write it for one dimension first.", "Then sum.")),
    Exercise("98.terms", "Write the terms.", terms, "Each dimension pays.", cases=cases),
    Exercise("98.draw", "Draw.", draw, "Noise has a generator.", cases=lambda: [(torch.Generator().manual_seed(1),)]),
    Exercise("98.grows", "Write a growing function.", lambda x: x, "Growth.", check=check_order),
    Exercise("98.number", "What is p?", 0.25, "p matters.", mistakes=(Mistake(0.75, "That is 1 - p."),), hints=("Count.",),
        explanation="One of four."),
    Exercise("98.sample", "Double it.", lambda mu: 2 * mu, "It trains.", cases=lambda: [(torch.ones(2),)], gradients=(0,)),
    Exercise("98.choice", "Which one?", "B", "It is B."),
)
"""  # noqa: E501


@pytest.fixture(autouse=True)
def own_exercises(tmp_path, monkeypatch):
    """Adds the module `nb98` to the package, and keeps progress in a folder of its own."""
    folder = tmp_path / "checks"
    folder.mkdir()
    (folder / "nb98.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.setattr(checks, "__path__", [*checks.__path__, str(folder)])
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    monkeypatch.setattr(core, "_hints_given", core.Counter())
    core.exercises.cache_clear()
    yield
    core.exercises.cache_clear()
    sys.modules.pop("course_utils.exercises.nb98", None)


@pytest.fixture
def checked(capsys):
    def run(name: str, answer: object) -> str:
        core.check(f"98.{name}", answer)
        return capsys.readouterr().out.rstrip("\n").replace("\n", " ")

    return run


def body_is_dots(mu, logvar): ...


def forgets_to_return(mu, logvar):
    0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum()


def dots_inside(mu, logvar):
    kl = ...
    return kl.sum() + mu.sum()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("kl", ...),
        ("kl", body_is_dots),
        ("kl", dots_inside),
        ("kl", lambda mu, logvar: mu * ...),
        ("kl", None),
        ("number", ...),
        ("choice", (1, ...)),
        ("kl", lambda mu, logvar: {"kl": ...}),
        ("grows", lambda x: ...),
    ],
)
def test_stubs_are_not_attempted(name, answer, checked):
    assert checked(name, answer).startswith(f"– 98.{name}: not attempted yet. Replace each `...`")


def test_hint_is_offered_only_where_there_is_one(checked):
    assert checked("kl", ...).endswith('Stuck? hint("98.kl") helps.')
    assert "hint" not in checked("choice", ...)


@pytest.mark.parametrize(
    ("name", "answer", "why"),
    [
        (
            "kl",
            lambda mu, logvar: ((mu**2).sum() + logvar.exp().sum() - logvar.sum() - len(mu)) / 2,
            "This is the second term of the ELBO.",
        ),
        (
            "kl",
            lambda mu, logvar: (
                0.5 * (mu.numpy() ** 2 + numpy.exp(logvar.numpy()) - 1 - logvar.numpy()).sum()
            ),
            "This is the second term",
        ),
        (
            "draw",
            lambda rng: torch.normal(torch.zeros(3), torch.ones(3), generator=rng),
            "Noise has a generator.",
        ),
        ("grows", lambda x: x**3, "Growth."),
        ("sample", lambda mu: mu + mu, "It trains."),
        ("number", 0.2500001, "p matters."),
        ("number", torch.tensor(0.25, requires_grad=True), "p matters."),
        ("choice", " b ", "It is B."),
    ],
)
def test_right_answers_pass_with_the_reason(name, answer, why, checked):
    assert checked(name, answer).startswith(f"✓ 98.{name}: passed. {why}")


def divides_by_zero(mu, logvar):
    scale = 0
    return mu.sum().item() / scale


def changes_its_input(mu, logvar):
    mu *= 0
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum()


@pytest.mark.parametrize(
    ("name", "answer", "diagnosis"),
    [
        (
            "kl",
            lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - 1 - logvar).mean(),
            "You took the mean over the latent dimensions: sum them.",
        ),
        (
            "kl",
            lambda mu, logvar: -0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(),
            "The sign is the wrong way round.",
        ),
        (
            "kl",
            lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - 1 - logvar),
            "Expected a number, got numbers of shape [3].",
        ),
        ("kl", lambda mu, logvar: "a lot", "Expected a number, got a text."),
        ("kl", changes_its_input, " is too small."),
        ("kl", 3.0, "Pass the function, not its result."),
        (
            "kl",
            4.0,
            "Expected a function, got a number. Pass the function itself, without calling it.",
        ),
        (
            "kl",
            divides_by_zero,
            "Your function raised ZeroDivisionError: float division by zero, at line ",
        ),
        ("kl", lambda mu: 0, "Your function raised TypeError"),
        (
            "kl",
            lambda mu, logvar: mu @ logvar[:1],
            "The two vectors do not have the same length. (Your function raised RuntimeError",
        ),
        (
            "terms",
            lambda mu, logvar: mu**2 + logvar.exp() - 1 - logvar,
            "Every value is 2 times what it should be.",
        ),
        (
            "terms",
            lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - logvar),
            "Every value is off by the same amount, 0.5.",
        ),
        (
            "terms",
            lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - 1),
            "The shape [3] is right, but 2 of 3 values differ.",
        ),
        ("terms", lambda mu, logvar: torch.log(mu), "Your result holds NaN or infinity."),
        ("draw", lambda rng: torch.randn(3), "do not come from the generator that is given"),
        (
            "draw",
            lambda rng: 2 * torch.randn(3, generator=rng),
            "Every value is 2 times what it should be.",
        ),
        ("kl", forgets_to_return, "Your function returned None. Is the `return` missing?"),
        ("sample", lambda mu: (2 * mu).detach(), "no gradient reaches `mu`"),
        ("sample", lambda mu: mu + mu.detach(), "the gradient that reaches `mu` is not"),
        ("grows", lambda x: -x, "It should grow with its argument."),
        (
            "grows",
            lambda x: x.shape,
            "Your function raised AttributeError: 'int' object has no attribute 'shape', at line ",
        ),
        ("grows", lambda x: "ab"[x - 1] if x < 2 else 3, "Checking your answer raised TypeError"),
        ("number", 0.75, "That is 1 - p."),
        ("number", 0.3, "Your 0.3 is too large."),
        ("number", "0.25", "Expected a number, got a text."),
        ("choice", "A", "'A' is not right."),
    ],
)
def test_wrong_answers_are_diagnosed(name, answer, diagnosis, checked):
    printed = checked(name, answer)
    assert printed.startswith(f"✗ 98.{name}: not yet. ") and diagnosis in printed


def test_long_messages_are_broken_between_words(capsys):
    core.check("98.kl", divides_by_zero)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= 100
    assert lines[1].endswith("`return mu.sum().item() / scale`.")


def test_the_line_that_raised_is_the_learners(checked):
    printed = checked("kl", divides_by_zero)
    assert printed.endswith(
        f"at line {divides_by_zero.__code__.co_firstlineno + 2}: `return mu.sum().item() / scale`."
    )


def test_interrupt_is_not_caught():
    def interrupted(mu, logvar):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        core.check("98.kl", interrupted)


def test_unknown_exercise_lists_the_valid_ones():
    with pytest.raises(
        CourseError,
        match=r"unknown exercise '98.kll'; valid: 98.choice, .*98.terms. Did you mean '98.kl'\?",
    ):
        core.check("98.kll", 1)


def test_hints_are_graded_and_end(capsys):
    for _ in range(3):
        core.hint("98.kl")
    core.hint("98.choice")
    assert capsys.readouterr().out.splitlines() == [
        "98.kl, hint 1 of 2: Write it for one dimension first.",
        "98.kl, hint 2 of 2: Then sum.",
        '98.kl: no more hints. solution("98.kl") shows the solution.',
        '98.choice: no hints. solution("98.choice") shows the solution.',
    ]


def test_solution_shows_value_and_explanation(capsys):
    core.solution("98.number")
    assert capsys.readouterr().out == "98.number: 0.25\nOne of four.\n"


def test_solution_shows_the_source_of_a_function(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda bundle, **_: shown.append(bundle["text/plain"])
    )
    core.solution("98.kl")
    assert shown == [
        "def kl(mu, logvar):\n    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum()\n"
    ]


def test_progress_is_kept_and_printed(checked, capsys, tmp_path):
    checked("number", 0.25)
    checked("choice", "B")
    checked("choice", "C")
    checked("number", 0.25)
    assert json.loads((tmp_path / "runs" / "progress.json").read_text()) == {
        "passed": ["98.choice", "98.number"]
    }
    core.progress()
    assert capsys.readouterr().out.splitlines()[-1] == "98        2 of 7"


@pytest.mark.parametrize("content", ["{half", "[]", '{"passed": 3}', '{"passed": [3]}'])
def test_broken_progress_file_is_reported_and_starts_anew(content, checked, tmp_path):
    path = tmp_path / "runs" / "progress.json"
    path.parent.mkdir()
    path.write_text(content)
    assert "starts anew" in checked("number", 0.25)
    assert json.loads(path.read_text()) == {"passed": ["98.number"]}


def test_progress_that_cannot_be_written_does_not_take_the_pass_away(checked, monkeypatch):
    def full_disk(path, value):
        raise CourseError("cannot write")

    monkeypatch.setattr(core, "write_json", full_disk)
    assert checked("number", 0.25).startswith(
        "✓ 98.number: passed. p matters. Your answer counts, but your progress was not saved."
    )


def test_progress_can_be_switched_off(checked, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert checked("number", 0.25) == "✓ 98.number: passed. p matters."
    assert not (tmp_path / "runs").exists()


def test_duplicate_and_misnamed_ids_are_refused(tmp_path):
    (tmp_path / "checks" / "nb97.py").write_text(
        "from course_utils.exercises.judge import Exercise\nE = Exercise('98.x', 'q', 1,"
        " 'w.')\nEXERCISES = (E, E)\n"
    )
    with pytest.raises(CourseError, match="expected unique ids that begin with '97'"):
        core.exercises("nb97")


def test_function_exercise_needs_inputs():
    with pytest.raises(CourseError, match="expected cases or a check"):
        Exercise("98.x", "q", lambda x: x, "w.")


def test_a_failing_solution_is_an_error_of_the_course(monkeypatch):
    broken = Exercise("98.broken", "q", lambda x: 1 / x, "w.", cases=lambda: [(0,)])
    monkeypatch.setattr(core, "find", lambda _: broken)
    with pytest.raises(CourseError, match="its own solution raised ZeroDivisionError"):
        core.check("98.broken", lambda x: x)


@pytest.mark.parametrize(
    ("given", "right", "expected"),
    [
        (torch.ones(2), numpy.ones(2), True),
        (torch.ones(2, 1), torch.ones(2), False),
        ([1, 2.0], (1, 2), True),
        (float("nan"), float("nan"), True),
        (True, 1, False),
        ({"a": torch.zeros(1)}, {"a": torch.zeros(1)}, True),
        ({"a": 1}, {"b": 1}, False),
        ({"VAE ", "gan"}, {"vae", "GAN"}, True),
        (torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.0]), True),
        (("vae", torch.ones(2)), ("VAE", torch.ones(2)), True),
        (numpy.array(["a"]), "a", False),
    ],
)
def test_same(given, right, expected):
    assert same(given, right, 1e-4, 1e-6) is expected


@pytest.mark.parametrize(
    ("given", "right", "words"),
    [
        ((1.0, "x"), (2.0, "x"), "item 0: your 1 is too small"),
        (
            ("a", torch.zeros(2)),
            ("a", torch.tensor([0.0, 5.0])),
            "item 1: the shape [2] is right, but 1 of 2 values differ",
        ),
        ({"loss": 1.0}, {"loss": 2.0}, "item 'loss': your 1 is too small"),
        (
            {"a": 1},
            {"b": 1},
            "expected a dictionary with the keys 'b', got a dictionary with the keys 'a'",
        ),
        ((1, "x", 3), (1, "x"), "expected a tuple of 2 items, got a tuple of 3 items"),
    ],
)
def test_describe_difference_reaches_inside(given, right, words):
    assert words in describe_difference(given, right, 1e-4, 1e-6)


def test_a_function_that_ignores_its_generator_is_not_repeatable():
    def arguments():
        return (torch.Generator().manual_seed(3),)

    judge.require_repeatable(lambda rng: torch.randn(3, generator=rng), arguments)
    with pytest.raises(Wrong, match="do not come from the generator that is given"):
        judge.require_repeatable(lambda rng: torch.randn(3), arguments)


def test_results_have_to_be_finite():
    judge.require_finite([1.0, -2.0])
    with pytest.raises(Wrong, match="NaN or infinity"):
        judge.require_finite(torch.tensor([1.0, float("nan")]))


def test_what_a_learners_class_returns_has_to_be_something():
    judge.require_attempt(torch.ones(1))
    with pytest.raises(Wrong, match="Is the `return` missing"):
        judge.require_attempt(None)
    with pytest.raises(judge.NotAttempted):
        judge.require_attempt((1, ...))


@pytest.mark.parametrize(
    ("guess", "measured", "printed"),
    [
        ("?", 20.0, "You made no guess. Measured: 20 nats."),
        (..., "rise", "You made no guess. Measured: rise."),
        (21, 20.0, "Your guess, 21, is right. Measured: 20 nats."),
        ("25", 20.0, "Your guess, 25, is too high. Measured: 20 nats."),
        (-30, -20.0, "Your guess, -30, is too low. Measured: -20 nats."),
        ("many", 20, "Your guess, 'many', is no number. Measured: 20 nats."),
        (" Rise ", "rise", "Your guess,  Rise , is right. Measured: rise."),
        ("fall", "rise", "Your guess, fall, is not what happens. Measured: rise."),
    ],
)
def test_a_guess_is_judged(guess, measured, printed, capsys):
    core.judge_guess(guess, measured, unit="nats")
    assert capsys.readouterr().out.strip() == printed
