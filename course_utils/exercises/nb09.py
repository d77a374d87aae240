"""The exercises of notebook 09: is a difference real, which model is worth its price, and the
memorisation test.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake

F64 = torch.float64


def _ratio(distances: Tensor) -> Tensor:
    nearest, second = distances.sort(1).values[:, :2].T
    return nearest / second


RATIO = Exercise(
    id="09.ratio",
    question=(
        "Return, for each of N samples, its distance to the nearest real image over that to the"
        " second nearest, from distances [N, M]."
    ),
    solution=_ratio,
    cases=lambda: [
        (0.1 + torch.rand(num, 6, generator=make_rng(9, 2, num), dtype=F64),) for num in (6, 3)
    ],
    why=(
        "A blurred or a simple image is near to many real images at once, which leaves the ratio"
        " alone. A copy is near to one."
    ),
    mistakes=(
        Mistake(
            lambda distances: 1 / _ratio(distances),
            "Upside down: a copy has to get a ratio near 0.",
        ),
        Mistake(
            lambda distances: distances.min(1).values,
            "This is the distance alone. It is small for every simple image, copied or not.",
        ),
        Mistake(
            lambda distances: distances[:, 0] / distances[:, 1],
            "These are the first two real images as they stand in the table. Sort each row first.",
        ),
        Mistake(
            lambda distances: distances.min(1).values / distances.mean(1),
            "You divided by the mean distance. The second nearest image says how crowded this"
            " place is.",
        ),
        Mistake(
            lambda distances: distances.min(1).values / distances.max(1).values,
            "You divided by the farthest image. Take the second nearest.",
        ),
        Mistake(
            lambda distances: distances.sort(1).values[:, 0] / distances.sort(1).values[:, 2],
            "This is the third nearest: columns count from 0.",
        ),
        Mistake(
            lambda distances: distances.sort(1).values[:, 1] / distances.sort(1).values[:, 2],
            "These are the second and the third nearest. A sample does not stand among the real"
            " images, so nothing has to be left out.",
        ),
        Mistake(
            lambda distances: _ratio(distances.T),
            "You sorted the columns. A row belongs to a sample, a column to a real image.",
        ),
        Mistake(
            lambda distances: _ratio(distances) ** 2,
            "This is a ratio of squares. Take the distances themselves.",
        ),
    ),
    hints=(
        "distances.sort(1).values puts the nearest of each row first.",
        "Column 0 over column 1.",
    ),
)


def _tail(ours: int, drawn: int, train: int, real: int) -> float:
    return sum(_chance(n, drawn, train, real) for n in range(ours, min(drawn, train) + 1))


def _chance(n: int, drawn: int, train: int, real: int) -> float:
    return comb(train, n) * comb(real - train, drawn - n) / comb(real, drawn)


def _binomial(ours: int, drawn: int, train: int, real: int) -> float:
    rate = train / real
    return sum(comb(drawn, n) * rate**n * (1 - rate) ** (drawn - n) for n in range(ours, drawn + 1))


TAIL = Exercise(
    id="09.tail",
    question=(
        "Return the chance that `ours` or more of `drawn` look-alikes are training images if"
        " nothing is copied; `train` of `real` images are."
    ),
    solution=_tail,
    cases=lambda: [(3, 3, 6, 10), (7, 9, 50, 80), (5, 6, 30, 60)],
    why=(
        "This is the p-value: whoever copies nothing cannot know which real images were withheld,"
        " so it is a draw from an urn."
    ),
    mistakes=(
        Mistake(
            lambda ours, drawn, train, real: _tail(ours + 1, drawn, train, real),
            "You counted more than `ours`. What was seen belongs to it: `ours` or more.",
        ),
        Mistake(
            _chance,
            "This is the chance of exactly `ours`. A p-value adds everything that would be at least"
            " as surprising.",
        ),
        Mistake(
            _binomial,
            "You put each image back into the urn. A real image counts once, so draw without"
            " putting back: comb(a, n) comb(b, m).",
        ),
        Mistake(
            lambda *counts: 1 - _tail(*counts),
            "This is the chance of fewer. The surprise lies at the other end.",
        ),
        Mistake(
            lambda ours, drawn, train, real: 1 - _tail(ours + 1, drawn, train, real),
            "This is the chance of `ours` or fewer. Copying makes `ours` large, so add up the large"
            " numbers.",
        ),
        Mistake(
            lambda ours, drawn, train, real: (train / real) ** ours,
            "This puts images back, and asks for training images only.",
        ),
        Mistake(
            lambda ours, drawn, train, real: ours / drawn,
            "This is the share that was seen. How surprising is it, if train / real is the rule?",
        ),
        Mistake(
            lambda ours, drawn, train, real: _tail(ours, drawn, real - train, real),
            "You counted the held-out images in the urn as the training images.",
        ),
    ),
    hints=(
        (
            "The chance of exactly n: comb(train, n) * comb(real - train, drawn - n) / comb(real,"
            " drawn), with comb from math."
        ),
        "Add up n = ours, ours + 1, ... up to the smaller of drawn and train.",
    ),
)


def _share(suspicious: int, ours: int, base_rate: float, num_images: int) -> float:
    return (ours - base_rate * suspicious) / (1 - base_rate) / num_images


SHARE = Exercise(
    id="09.share",
    question=(
        "Return the estimated share of copies if `suspicious` of `num_images` samples are"
        " suspicious and `ours` resemble a training image."
    ),
    solution=_share,
    cases=lambda: [(60, 56, 0.8, 1000), (10, 7, 0.8, 500), (40, 40, 0.5, 400)],
    why=(
        "An effect size says how much is copied. A p-value says only whether one can be sure, and"
        " that depends on the number of images."
    ),
    mistakes=(
        Mistake(
            lambda suspicious, ours, base_rate, num_images: ours / num_images,
            "Some honest samples are suspicious and nearest to a training image too, by chance."
            " Take off what the base rate explains.",
        ),
        Mistake(
            lambda suspicious, ours, base_rate, num_images: suspicious / num_images,
            "Not every suspicious sample is a copy.",
        ),
        Mistake(
            lambda suspicious, ours, base_rate, num_images: (
                (ours - base_rate * suspicious) / num_images
            ),
            "Copies are suspicious as well, so base_rate * suspicious takes off too much. Only the"
            " others are at the base rate.",
        ),
        Mistake(
            lambda suspicious, ours, base_rate, num_images: (
                (ours / suspicious - base_rate) / (1 - base_rate)
            ),
            "This is the share among the suspicious samples. Divide by all samples.",
        ),
        Mistake(
            lambda *counts: max(0.0, _share(*counts)),
            "You cut it off at 0. Then honest generators get an estimate above 0 on average; let it"
            " fall below 0 by chance.",
        ),
        Mistake(
            lambda suspicious, ours, base_rate, num_images: (2 * ours - suspicious) / num_images,
            "This is right where half of the real images are training images. Put the base"
            " rate in.",
        ),
        Mistake(
            lambda suspicious, ours, base_rate, num_images: (
                (ours - base_rate * suspicious) / base_rate / num_images
            ),
            "You divided by the base rate; solving the equation for the copies gives 1 -"
            " base_rate.",
        ),
        Mistake(
            lambda suspicious, ours, base_rate, num_images: (
                (ours - base_rate * suspicious) / (1 - base_rate)
            ),
            "This is the number of copies. Return their share of all samples.",
        ),
    ),
    hints=(
        (
            "Every copy is nearest to a training image; the other suspicious samples are at the"
            " base rate."
        ),
        (
            "ours = copies + base_rate * (suspicious - copies). Solve for copies, divide by"
            " num_images."
        ),
    ),
)


def _counted(ratios: Tensor, null: Tensor) -> Tensor:
    return (null <= ratios[:, None]).sum(1)


def _p_values(ratios: Tensor, is_train: Tensor, null: Tensor) -> Tensor:
    return torch.where(is_train, (1 + _counted(ratios, null)) / (1 + len(null)), 1.0)


def _rank_cases() -> list[tuple]:
    null = torch.linspace(0.25, 1, 16)  # multiples of 0.05, so that ties can be had
    ratios = torch.stack([torch.tensor(0.0), null[3], null[3] + 0.01, null[9], null[15], null[5]])
    return [(ratios, torch.tensor([True, True, True, False, True, True]), null)]


RANK = Exercise(
    id="09.rank",
    question=(
        "Return a p-value a sample: the share of held-out ratios at most as small, itself counted"
        " in; 1 if it resembles no training image."
    ),
    solution=_p_values,
    cases=_rank_cases,
    why=(
        "Held-out images are no copies, so their ratios say how small one gets by chance. No bell"
        " curve is assumed."
    ),
    mistakes=(
        Mistake(
            lambda ratios, is_train, null: torch.where(
                is_train, _counted(ratios, null) / len(null), 1.0
            ),
            "A p-value of 0 claims certainty from a few held-out images. Count the sample itself"
            " in: 1 + count over 1 + M.",
        ),
        Mistake(
            lambda ratios, is_train, null: torch.where(
                is_train, (1 + _counted(ratios, null)) / len(null), 1.0
            ),
            "The sample is counted above and not below: your largest value exceeds 1.",
        ),
        Mistake(
            lambda ratios, is_train, null: torch.where(
                is_train, _counted(ratios, null) / (1 + len(null)), 1.0
            ),
            "The sample is counted below and not above, so an exact copy gets 0.",
        ),
        Mistake(
            lambda ratios, is_train, null: torch.where(
                is_train, (1 + (null < ratios[:, None]).sum(1)) / (1 + len(null)), 1.0
            ),
            "Ties are missing: at most as small includes equal ones.",
        ),
        Mistake(
            lambda ratios, is_train, null: torch.where(
                is_train, (1 + (null >= ratios[:, None]).sum(1)) / (1 + len(null)), 1.0
            ),
            "The other end: a copy has a small ratio, so count the held-out ratios that are at most"
            " as small.",
        ),
        Mistake(
            lambda ratios, is_train, null: (1 + _counted(ratios, null)) / (1 + len(null)),
            "A sample that resembles a held-out image copies nothing: the generator has never seen"
            " that image. Its p-value is 1.",
        ),
        Mistake(
            lambda ratios, is_train, null: torch.where(
                is_train, (1 + _counted(ratios, null)) / (1 + len(null)), 0.0
            ),
            "You gave 0 to samples that resemble no training image: that accuses them. It has to"
            " be 1.",
        ),
    ),
    hints=(
        "(null <= ratios[:, None]) is a table [N, M]; .sum(1) counts along a row.",
        "(1 + count) / (1 + len(null)), then torch.where(is_train, ..., 1.0).",
    ),
)


def _verdict(first: Tensor, second: Tensor) -> Tensor:
    error = (first.var() / len(first) + second.var() / len(second)).sqrt()
    return (first.mean() - second.mean()) / error


def _verdict_with(error: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the right difference over another error: the shape of most wrong answers."""
    return lambda first, second: (first.mean() - second.mean()) / error(first, second)


def _pooled(first: Tensor, second: Tensor) -> Tensor:
    variance = ((len(first) - 1) * first.var() + (len(second) - 1) * second.var()) / (
        len(first) + len(second) - 2
    )
    return (variance * (1 / len(first) + 1 / len(second))).sqrt()


def _verdict_cases() -> list[tuple]:
    rng = make_rng(9, 0)
    near, far = (
        torch.tensor([3.1, 2.9, 3.3], dtype=F64),
        9 + 2 * torch.randn(5, generator=rng, dtype=F64),
    )
    return [(near, far), (far, near)]


VERDICT = Exercise(
    id="09.verdict",
    question=(
        "Return the difference of two families, first minus second, in standard errors, from one"
        " value of a metric a seed: [S] and [T]."
    ),
    solution=_verdict,
    cases=_verdict_cases,
    why="A difference has a meaning only beside the noise between trainings.",
    mistakes=(
        Mistake(
            _verdict_with(lambda first, second: (first.var() + second.var()).sqrt()),
            "This is the spread of single trainings. The mean of S trainings is known better:"
            " divide each variance by its number of seeds.",
        ),
        Mistake(
            _verdict_with(
                lambda first, second: (
                    first.std() / len(first) ** 0.5 + second.std() / len(second) ** 0.5
                )
            ),
            "You added the two errors. Independent errors add as squares: the root of the sum of"
            " both squares.",
        ),
        Mistake(
            _verdict_with(
                lambda a, b: (a.var(correction=0) / len(a) + b.var(correction=0) / len(b)).sqrt()
            ),
            "You divided by S inside the variance. The mean was estimated from the same seeds, so"
            " divide by S - 1; with three seeds it matters much.",
        ),
        Mistake(
            _verdict_with(
                lambda first, second: first.var() / len(first) + second.var() / len(second)
            ),
            "This is the squared error. A root is missing.",
        ),
        Mistake(
            _verdict_with(_pooled),
            "You pooled the variances, as if both families were equally noisy. One family's seeds"
            " may spread far more than those of another.",
        ),
        Mistake(
            _verdict_with(lambda first, second: first.std() / len(first) ** 0.5),
            "This is the error of the first mean. The second has noise too.",
        ),
        Mistake(
            lambda first, second: -_verdict(first, second),
            "The sign is turned: first minus second.",
        ),
        Mistake(
            lambda first, second: _verdict(first, second).abs(),
            "Keep the sign: it says which of the two is lower.",
        ),
        Mistake(
            lambda first, second: first.mean() - second.mean(),
            "This is the difference itself. Divide it by its standard error.",
        ),
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
    # one model wins everywhere
    cases += [(torch.tensor([2.0, 5.0, 9.0]), torch.tensor([1.0, 3.0, 2.0]))]
    return [*cases, tuple(torch.rand(2, 8, generator=make_rng(9, 1)))]


FRONT = Exercise(
    id="09.front",
    question=(
        "Return which of M models are worth considering, bool [M]: no other model is as good in FID"
        " and in seconds and better in one of them."
    ),
    solution=_front,
    cases=_front_cases,
    why=(
        "What is not on this front has a rival that wins everywhere. On the front it is your budget"
        " that decides."
    ),
    mistakes=(
        Mistake(
            lambda fid, seconds: ~((fid[:, None] <= fid) & (seconds[:, None] <= seconds)).any(0),
            "Nothing is left: every model is as good as itself. To beat a model, another must be"
            " better in at least one of the two.",
        ),
        Mistake(
            lambda fid, seconds: ~((fid[:, None] < fid) & (seconds[:, None] < seconds)).any(0),
            "A model with the same FID that takes longer is still on your front. As good in one and"
            " better in the other is enough to beat it.",
        ),
        Mistake(
            lambda fid, seconds: ~((fid[:, None] < fid) | (seconds[:, None] < seconds)).any(0),
            "You throw a model out when another is better in FID or in seconds. It must be beaten"
            " in one without winning the other.",
        ),
        Mistake(
            lambda fid, seconds: fid == fid.min(),
            "This is the best FID alone. A faster model with a worse FID can be worth considering.",
        ),
        Mistake(lambda fid, seconds: seconds == seconds.min(), "This is the fastest model alone."),
        Mistake(
            lambda fid, seconds: (fid == fid.min()) | (seconds == seconds.min()),
            "These are the two ends of the front. A model between them, beaten by neither, belongs"
            " to it as well.",
        ),
        Mistake(
            lambda fid, seconds: _front(-fid, -seconds),
            "You took higher for better. FID and seconds are better when lower.",
        ),
        Mistake(
            lambda fid, seconds: ~_front(fid, seconds),
            "These are the models that are beaten. Return the others.",
        ),
    ),
    hints=(
        (
            "fid[:, None] <= fid is a table: row i, column j says whether model i is as good as"
            " model j."
        ),
        "Model i beats j: as good in both, better in one. `|` and `&` work on tables.",
        "Column j of that table must be False throughout: ~beats.any(0).",
    ),
)

EXERCISES = (VERDICT, FRONT, RATIO, TAIL, SHARE, RANK)
