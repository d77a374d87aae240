"""The exercises of notebook 09, comparing families: is a difference real, and which models are worth their price?

`nb09_copies.py` has those of the memorisation test.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake
from course_utils.checks.nb09_copies import RANK, RATIO, SHARE, TAIL
from course_utils.device import make_rng

F64 = torch.float64


def _verdict(first: Tensor, second: Tensor) -> Tensor:
    error = (first.var() / len(first) + second.var() / len(second)).sqrt()
    return (first.mean() - second.mean()) / error


def _verdict_with(error: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the right difference over another error: the shape of most wrong answers."""
    return lambda first, second: (first.mean() - second.mean()) / error(first, second)


def _pooled(first: Tensor, second: Tensor) -> Tensor:
    variance = ((len(first) - 1) * first.var() + (len(second) - 1) * second.var()) / (len(first) + len(second) - 2)
    return (variance * (1 / len(first) + 1 / len(second))).sqrt()


def _verdict_cases() -> list[tuple]:
    rng = make_rng(9, 0)
    near, far = torch.tensor([3.1, 2.9, 3.3], dtype=F64), 9 + 2 * torch.randn(5, generator=rng, dtype=F64)
    return [(near, far), (far, near)]


VERDICT = Exercise(
    id="09.verdict",
    question="Return the difference of two families, first minus second, in standard errors, from one value of a metric a seed: [S] and [T].",
    solution=_verdict,
    cases=_verdict_cases,
    why="A difference has a meaning only beside the noise between trainings.",
    mistakes=(
        Mistake(
            _verdict_with(lambda first, second: (first.var() + second.var()).sqrt()),
            "This is the spread of single trainings. The mean of S trainings is known better: divide each variance by its number of seeds.",
        ),
        Mistake(
            _verdict_with(lambda first, second: first.std() / len(first) ** 0.5 + second.std() / len(second) ** 0.5),
            "You added the two errors. Independent errors add as squares: the root of the sum of both squares.",
        ),
        Mistake(
            _verdict_with(lambda a, b: (a.var(correction=0) / len(a) + b.var(correction=0) / len(b)).sqrt()),
            "You divided by S inside the variance. The mean was estimated from the same seeds, so divide by S - 1; with three seeds it matters much.",
        ),
        Mistake(
            _verdict_with(lambda first, second: first.var() / len(first) + second.var() / len(second)),
            "This is the squared error. A root is missing.",
        ),
        Mistake(
            _verdict_with(_pooled),
            "You pooled the variances, as if both families were equally noisy. One family's seeds may spread far more than those of another.",
        ),
        Mistake(
            _verdict_with(lambda first, second: first.std() / len(first) ** 0.5),
            "This is the error of the first mean. The second has noise too.",
        ),
        Mistake(lambda first, second: -_verdict(first, second), "The sign is turned: first minus second."),
        Mistake(lambda first, second: _verdict(first, second).abs(), "Keep the sign: it says which of the two is lower."),
        Mistake(lambda first, second: first.mean() - second.mean(), "This is the difference itself. Divide it by its standard error."),
    ),
    hints=(
        "The standard error of a mean: first.std() / len(first) ** 0.5.",
        "The variance of a difference of independent numbers is the sum of their variances.",
        "difference / (first.var() / S + second.var() / T).sqrt()",
    ),
)


def _front(fid: Tensor, seconds: Tensor) -> Tensor:
    as_good = (fid[:, None] <= fid) & (seconds[:, None] <= seconds)
    better = (fid[:, None] < fid) | (seconds[:, None] < seconds)
    return ~(as_good & better).any(0)


def _front_cases() -> list[tuple]:
    cases = [(torch.tensor([13.0, 9.0, 3.0, 9.0, 20.0]), torch.tensor([0.04, 0.2, 6.0, 0.5, 8.0]))]
    cases += [(torch.tensor([2.0, 5.0, 9.0]), torch.tensor([1.0, 3.0, 2.0]))]  # one model wins everywhere
    return [*cases, tuple(torch.rand(2, 8, generator=make_rng(9, 1)))]


FRONT = Exercise(
    id="09.front",
    question="Return which of M models are worth considering, bool [M]: no other model is as good in FID and in seconds and better in one of them.",
    solution=_front,
    cases=_front_cases,
    why="What is not on this front has a rival that wins everywhere. On the front it is your budget that decides.",
    mistakes=(
        Mistake(
            lambda fid, seconds: ~((fid[:, None] <= fid) & (seconds[:, None] <= seconds)).any(0),
            "Nothing is left: every model is as good as itself. To beat a model, another must be better in at least one of the two.",
        ),
        Mistake(
            lambda fid, seconds: ~((fid[:, None] < fid) & (seconds[:, None] < seconds)).any(0),
            "A model with the same FID that takes longer is still on your front. As good in one and better in the other is enough to beat it.",
        ),
        Mistake(
            lambda fid, seconds: ~((fid[:, None] < fid) | (seconds[:, None] < seconds)).any(0),
            "You throw a model out when another is better in FID or in seconds. It must be beaten in one without winning the other.",
        ),
        Mistake(lambda fid, seconds: fid == fid.min(), "This is the best FID alone. A faster model with a worse FID can be worth considering."),
        Mistake(lambda fid, seconds: seconds == seconds.min(), "This is the fastest model alone."),
        Mistake(
            lambda fid, seconds: (fid == fid.min()) | (seconds == seconds.min()),
            "These are the two ends of the front. A model between them, beaten by neither, belongs to it as well.",
        ),
        Mistake(lambda fid, seconds: _front(-fid, -seconds), "You took higher for better. FID and seconds are better when lower."),
        Mistake(lambda fid, seconds: ~_front(fid, seconds), "These are the models that are beaten. Return the others."),
    ),
    hints=(
        "fid[:, None] <= fid is a table: row i, column j says whether model i is as good as model j.",
        "Model i beats j: as good in both, better in one. `|` and `&` work on tables.",
        "Column j of that table must be False throughout: ~beats.any(0).",
    ),
)

EXERCISES = (VERDICT, FRONT, RATIO, TAIL, SHARE, RANK)
