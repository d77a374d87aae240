"""The exercises of notebook 07 with class labels: hiding them in training, and guidance by what they change."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake, Wrong
from course_utils.device import make_rng

NUM_LABELS, NULL_LABEL = 4000, 10


def _dropped(labels: Tensor, share: float, null_label: int, rng: torch.Generator) -> Tensor:
    hidden = torch.rand(len(labels), generator=rng) < share
    return torch.where(hidden, null_label, labels)


NONE = "No label was hidden, so the network never learns p(x) without one, and guidance has nothing to compare with."
ALL = "Every label was hidden: the network never learns what a label means."
ZERO = "Hidden labels became 0, which is a class of its own. They have to become null_label."
SWAPPED = "You hid the labels that should stay: the share of hidden ones is 1 - share."
WHOLE_BATCH = "You tossed one coin for the whole batch. Toss one for each image."
SAME_PLACES = "The same places are hidden every time. Choose them at random, with rng."
IN_PLACE = "You changed the labels that were given to you, so they are lost for the next epoch. Return a new tensor."


def _check_dropout(answer) -> None:
    """The share and the places are checked, not the draws: there is more than one right way."""
    labels = torch.arange(NUM_LABELS) % NULL_LABEL
    batches = [_hidden(answer, labels, share, case) for case, share in enumerate((0.1, *[0.35] * 12))]
    shares = [hidden.double().mean().item() for hidden in batches]
    if set(shares) <= {0.0, 1.0}:
        raise Wrong(WHOLE_BATCH if len(set(shares)) == 2 else ALL if shares[0] else NONE)
    if torch.equal(batches[1], batches[2]):
        raise Wrong(SAME_PLACES)
    for wanted, got in zip((0.1, 0.35), shares):
        error = 6 * math.sqrt(wanted * (1 - wanted) / NUM_LABELS)
        if abs(got - (1 - wanted)) < error:
            raise Wrong(SWAPPED)
        if abs(got - wanted) > error:
            raise Wrong(f"You hid {got:.1%} of the labels where {wanted:.0%} were asked for.")


def _hidden(answer, labels: Tensor, share: float, case: int) -> Tensor:
    """Returns which labels an answer hides, bool `[N]`.

    Raises:
        Wrong: something else than labels came back, or labels were changed to something else than the null label.
    """
    given = labels.clone()
    result = answer(given, share, NULL_LABEL, make_rng(7, 7, case))
    if not isinstance(result, Tensor) or result.shape != labels.shape or result.is_floating_point() or result.dtype == torch.bool:
        got = f"{result.dtype} {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise Wrong(f"Expected whole numbers of shape [{len(labels)}], got {got}.")
    if not torch.equal(given, labels):
        raise Wrong(IN_PLACE)
    hidden = result != labels
    if hidden.any() and (result[hidden] == 0).all():
        raise Wrong(ZERO)
    if (result[hidden] != NULL_LABEL).any():
        raise Wrong("Some labels turned into other classes. A label either stays or becomes null_label.")
    return hidden


def _in_place(labels: Tensor, share: float, null_label: int, rng: torch.Generator) -> Tensor:
    labels[torch.rand(len(labels), generator=rng) < share] = null_label
    return labels


def _for_all(labels: Tensor, share: float, null_label: int, rng: torch.Generator) -> Tensor:
    return torch.where(torch.rand(1, generator=rng) < share, null_label, labels)


def _first_ones(labels: Tensor, share: float, null_label: int, rng: torch.Generator) -> Tensor:
    return torch.where(torch.arange(len(labels)) < share * len(labels), null_label, labels)


DROPOUT = Exercise(
    id="07.dropout",
    question="Return the labels with a share of them hidden at random, image by image: a hidden label becomes null_label.",
    solution=_dropped,
    check=_check_dropout,
    why="One network learns p(x | y) and p(x) at once, and guidance needs both.",
    mistakes=(
        Mistake(lambda labels, share, null_label, rng: labels.clone(), NONE),
        Mistake(lambda labels, share, null_label, rng: torch.full_like(labels, null_label), ALL),
        Mistake(lambda labels, share, null_label, rng: _dropped(labels, share, 0, rng), ZERO),
        Mistake(lambda labels, share, null_label, rng: _dropped(labels, 1 - share, null_label, rng), SWAPPED),
        Mistake(_for_all, WHOLE_BATCH),
        Mistake(_first_ones, SAME_PLACES),
        Mistake(_in_place, IN_PLACE),
    ),
    hints=(
        "torch.rand(len(labels), generator=rng) gives each image a number between 0 and 1. Which of them are below `share`?",
        "torch.where(condition, null_label, labels) makes a new tensor.",
    ),
)


def _guided(conditional: Tensor, unconditional: Tensor, w: float) -> Tensor:
    return unconditional + w * (conditional - unconditional)


def _guidance_cases() -> list[tuple]:
    conditional, unconditional = torch.randn(2, 2, 1, 3, 3, generator=make_rng(7, 8)).unbind()
    return [(conditional, unconditional, w) for w in (3.0, 0.0, 1.0)]


GUIDANCE = Exercise(
    id="07.guidance",
    question="Return the guided prediction from those with and without the label: w = 0 is the unconditional one, w = 1 the conditional one.",
    solution=_guided,
    cases=_guidance_cases,
    why="Beyond w = 1 it exaggerates what the label changes: more of the class, less variety.",
    mistakes=(
        Mistake(
            lambda conditional, unconditional, w: _guided(unconditional, conditional, w),
            "The two are swapped: w = 1 returns the unconditional prediction, and w = 3 leads away from the class.",
        ),
        Mistake(
            lambda conditional, unconditional, w: _guided(conditional, unconditional, 1 + w),
            "This is the w of Ho & Salimans, which counts from the conditional prediction: their w = 0 is our w = 1.",
        ),
        Mistake(
            lambda conditional, unconditional, w: _guided(conditional, unconditional, w - 1),
            "You subtracted 1 from w. Here w = 1 has to return the conditional prediction already.",
        ),
        Mistake(
            lambda conditional, unconditional, w: w * (conditional - unconditional),
            "This is the direction alone. It starts at the unconditional prediction.",
        ),
        Mistake(
            lambda conditional, unconditional, w: unconditional + w * conditional,
            "You added the whole conditional prediction. Only its difference from the unconditional one is exaggerated.",
        ),
        Mistake(
            lambda conditional, unconditional, w: (conditional + w * unconditional) / (1 + w),
            "This is an average of the two, so it never goes beyond either. Guidance extrapolates.",
        ),
    ),
    hints=("Put in w = 0 and w = 1: what has to come out?", "A straight line through both: start + w · (end - start)."),
)
