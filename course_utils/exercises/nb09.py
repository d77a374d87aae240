"""The exercises of notebook 09: a fair comparison (equal sets, a difference in its standard errors,
the Pareto front, bits per dimension) and the test for copies, from the ratio to its p-value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from math import comb
from typing import Any

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import (
    Exercise,
    Mistake,
    Wrong,
    kind_of,
    require_attempt,
    require_repeatable,
)

F64 = torch.float64

# ------------------------------------------------------------------ equal sets


def _equal_sets(sets, rng):
    num = min(len(images) for images in sets.values())
    return {
        name: images[torch.randperm(len(images), generator=rng)[:num]]
        for name, images in sets.items()
    }


FIRST_ONES = (
    "You only ever take from the first images of a set. Sets are often sorted, for example by"
    " class, so the choice must be random among all images of the set."
)
LAST_ONES = (
    "You take the last images of a set. Sets are often sorted, for example by class, so the choice"
    " must be random among all images of the set."
)
NOT_RANDOM = (
    "The same images are chosen whatever rng says. Draw the choice with generator=rng, so that"
    " another seed gives another choice."
)
STILL_UNEQUAL = (
    "The sets still differ in their number of images, so a biased metric would differ too."
)
TOO_MANY = "N exceeds the size of the smallest set, so some of its images must occur twice."
TOO_FEW = "N is smaller than the smallest set: you leave out images that all sets could have used."
TWICE = (
    "Some images of a set occur twice. Draw without replacement: torch.randperm gives each place"
    " once, torch.randint does not."
)
FOREIGN = "A set holds images that were not in it: each name must keep images of its own set."
CHANGED = "Your function changes the sets that it was given. Build new tensors by indexing."
OTHER_NAMES = "Return a dictionary with exactly the names of `sets`."
OTHER_IMAGES = "The chosen images have another shape or type than the images of their set."


def _numbered(sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Returns sets of tiny images, each filled with a number of its own, in sorted order."""
    sets, first = {}, 0
    for name, size in sizes.items():
        values = torch.arange(first, first + size, dtype=torch.uint8)
        sets[name] = values[:, None, None, None].repeat(1, 1, 2, 2)
        first += size
    return sets


SET_SIZES: tuple[dict[str, int], ...] = (
    {"real": 90, "vae": 24, "gan": 40},
    {"vae": 30, "gan": 30},  # equal already
    {"real": 60, "diffusion": 1},
)


def _check_equal_sets(function: Any) -> None:
    for sizes in SET_SIZES:
        given = _numbered(sizes)
        chosen = function(given, make_rng(9, 0))
        require_attempt(chosen)
        if any(not torch.equal(given[name], images) for name, images in _numbered(sizes).items()):
            raise Wrong(CHANGED)
        _check_choice(chosen, given)
        _check_places(function, sizes, chosen)
        require_repeatable(function, lambda sizes=sizes: (_numbered(sizes), make_rng(9, 0)))


def _check_choice(chosen: Any, given: Mapping[str, Tensor]) -> None:
    """Raises `Wrong` unless each set is as large as the smallest and holds its own images once."""
    if not isinstance(chosen, Mapping) or chosen.keys() != given.keys():
        got = kind_of(chosen)
        raise Wrong(f"{OTHER_NAMES} You returned {got}.")
    if not all(isinstance(images, Tensor) for images in chosen.values()):
        raise Wrong("Each set should be a tensor of images, [N, C, H, W].")
    nums = [len(images) for images in chosen.values()]
    smallest = min(map(len, given.values()))
    if len(set(nums)) > 1:
        raise Wrong(f"{STILL_UNEQUAL} You returned {', '.join(map(str, nums))} images.")
    if nums[0] > smallest:
        raise Wrong(TOO_MANY)
    if nums[0] < smallest:
        raise Wrong(TOO_FEW)
    for name, images in chosen.items():
        if images.shape[1:] != given[name].shape[1:] or images.dtype != given[name].dtype:
            raise Wrong(OTHER_IMAGES)
        numbers = images[:, 0, 0, 0]
        if not torch.isin(numbers, given[name][:, 0, 0, 0]).all():
            raise Wrong(FOREIGN)
        if len(numbers.unique()) < len(numbers):
            raise Wrong(TWICE)


def _check_places(function: Any, sizes: Mapping[str, int], chosen: Mapping[str, Tensor]) -> None:
    """Raises `Wrong` where the larger sets give the same places always."""
    given = _numbered(sizes)
    again = function(given, make_rng(9, 1))
    for name, images in given.items():
        num = len(chosen[name])
        if len(images) <= num:
            continue
        places = [one[name][:, 0, 0, 0].sort().values for one in (chosen, again)]
        for end, message in ((images[:num], FIRST_ONES), (images[-num:], LAST_ONES)):
            if all(torch.equal(one, end[:, 0, 0, 0]) for one in places):
                raise Wrong(message)
        if torch.equal(*places) and num > 1:  # one image may be the same by chance
            raise Wrong(NOT_RANDOM)


def _chosen_by(places: Callable[[int, int, torch.Generator], Any]) -> Callable:
    """Returns an answer that takes the images at `places(size, N, rng)` of each set."""

    def answer(sets, rng):
        num = min(map(len, sets.values()))
        return {name: images[places(len(images), num, rng)] for name, images in sets.items()}

    return answer


EQUAL_SETS = Exercise(
    id="09.equal_sets",
    question=(
        "Return sets of equal size: from each set of a dictionary as many random images as the"
        " smallest holds, no image twice."
    ),
    solution=_equal_sets,
    check=_check_equal_sets,
    why="Now a difference between two values cannot come from the number of images.",
    mistakes=(
        Mistake(_chosen_by(lambda size, num, rng: slice(num)), FIRST_ONES),
        Mistake(_chosen_by(lambda size, num, rng: slice(size - num, size)), LAST_ONES),
        Mistake(_chosen_by(lambda size, num, rng: slice(size)), STILL_UNEQUAL),
        Mistake(
            _chosen_by(lambda size, num, rng: torch.randint(size, (num,), generator=rng)), TWICE
        ),
        Mistake(
            _chosen_by(lambda size, num, rng: torch.randperm(size, generator=make_rng(0))[:num]),
            NOT_RANDOM,
        ),
        Mistake(_chosen_by(lambda size, num, rng: slice(num - 1)), TOO_FEW),
    ),
    hints=(
        "N = min(len(images) for images in sets.values()).",
        "torch.randperm(len(images), generator=rng)[:N] gives N different random places.",
    ),
)

# ------------------------------------------------------------------ the ratio of a sample


def _ratio(distances: Tensor) -> Tensor:
    nearest, second = distances.sort(1).values[:, :2].T
    return nearest / second


def _ratio_cases() -> list[tuple]:
    rng = make_rng(9, 2)
    tables = [0.1 + torch.rand(num, 6, generator=rng, dtype=F64) for num in (6, 3, 1)]
    copy_and_even = torch.tensor([[3.0, 0.0, 5.0], [2.0, 2.0, 2.0]], dtype=F64)
    return [(table,) for table in (*tables, copy_and_even)]


RATIO = Exercise(
    id="09.ratio",
    question=(
        "Return, for each of N samples, its distance to the nearest real image over that to the"
        " second nearest, from distances [N, M]."
    ),
    solution=_ratio,
    cases=_ratio_cases,
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
            lambda distances: distances.sort(0).values[0] / distances.sort(0).values[1],
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


# ------------------------------------------------------------------ the p-value


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
    cases=lambda: [
        (3, 3, 6, 10),
        (7, 9, 50, 80),
        (5, 6, 30, 60),
        (2, 7, 4, 12),  # fewer training images than look-alikes
        (0, 4, 30, 60),
        (0, 0, 6, 10),  # nothing was suspicious
    ],
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
            lambda ours, drawn, train, real: ours / max(drawn, 1),
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


def _p_value(ratios, owners, null, num_train, num_real, level):
    hits = owners[ratios <= null.quantile(level)].unique()  # a real image counts once
    return _tail(int((hits < num_train).sum()), len(hits), num_train, num_real)


def _p_value_cases() -> list[tuple]:
    """Samples of which some share their nearest real image; honest ones; none suspicious; all."""
    null = torch.linspace(0.3, 1.0, 71, dtype=F64)
    ratios = torch.cat([torch.linspace(0.01, 0.25, 12), torch.linspace(0.5, 1.0, 20)]).double()
    owners = torch.cat([torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 5, 35, 6, 7]), torch.arange(20) + 12])
    mixed = (ratios, owners, null, 30, 50)
    tie = torch.tensor([null.quantile(0.05).item(), 0.9, 0.95], dtype=F64)
    return [
        (*mixed, 0.05),
        (*mixed, 0.5),
        (ratios.flip(0), owners, null.flip(0), 30, 50, 0.1),
        (tie, torch.tensor([4, 5, 49]), null, 30, 50, 0.05),
        (ratios[12:], owners[12:], null, 30, 50, 0.05),  # nothing is suspicious
        (ratios[:4], owners[:4], null, 49, 50, 0.01),
    ]


def _p_value_by(hits: Callable[..., Tensor], tail: Callable[..., float] = _tail) -> Callable:
    """Returns an answer with other hits, or another tail: the shape of most wrong answers."""

    def answer(ratios, owners, null, num_train, num_real, level):
        found = hits(ratios, owners, null, level)
        return tail(int((found < num_train).sum()), len(found), num_train, num_real)

    return answer


P_VALUE = Exercise(
    id="09.p_value",
    question=(
        "Return the p-value at one level: the chance of so many training images among the different"
        " real images that the suspicious samples resemble."
    ),
    solution=_p_value,
    cases=_p_value_cases,
    why=(
        "Held-out images set the threshold, and which real images were hit decides. No distribution"
        " was assumed anywhere."
    ),
    mistakes=(
        Mistake(
            _p_value_by(lambda ratios, owners, null, level: owners[ratios <= null.quantile(level)]),
            "You counted a real image once for each sample that resembles it. The urn holds each"
            " real image once, so count different ones: unique().",
        ),
        Mistake(
            _p_value_by(
                lambda ratios, owners, null, level: owners[ratios >= null.quantile(level)].unique()
            ),
            "You took the samples with large ratios. A copy has a small one.",
        ),
        Mistake(
            _p_value_by(
                lambda ratios, owners, null, level: owners[
                    ratios <= null.quantile(1 - level)
                ].unique()
            ),
            "You used the quantile 1 - level, so nearly every sample is suspicious.",
        ),
        Mistake(
            _p_value_by(lambda ratios, owners, null, level: owners[ratios <= level].unique()),
            "You compared the ratios with the level itself. The level is a share of held-out"
            " images: the threshold is the quantile of `null` at it.",
        ),
        Mistake(
            _p_value_by(
                lambda ratios, owners, null, level: owners[
                    ratios <= ratios.quantile(level)
                ].unique()
            ),
            "You took the quantile of the samples' own ratios, so that always the same share of"
            " them is suspicious. The threshold comes from the held-out images, `null`.",
        ),
        Mistake(
            _p_value_by(lambda ratios, owners, null, level: owners.unique()),
            "You counted all samples. Only the suspicious ones are drawn from the urn.",
        ),
        Mistake(
            _p_value_by(
                lambda ratios, owners, null, level: owners[ratios < null.quantile(level)].unique()
            ),
            "A ratio that equals the threshold is suspicious too: at most, not less than.",
        ),
        Mistake(
            _p_value_by(
                lambda ratios, owners, null, level: owners[ratios <= null.quantile(level)].unique(),
                lambda ours, drawn, train, real: _tail(drawn - ours, drawn, train, real),
            ),
            "You counted the held-out images among the look-alikes. Rows below num_train are"
            " training images.",
        ),
        Mistake(
            _p_value_by(
                lambda ratios, owners, null, level: owners[ratios <= null.quantile(level)].unique(),
                lambda ours, drawn, train, real: _tail(ours, drawn, train, real - train),
            ),
            "You gave `tail` the number of held-out images. Its last argument is the number of all"
            " real images.",
        ),
        Mistake(
            _p_value_by(
                lambda ratios, owners, null, level: owners[ratios <= null.quantile(level)].unique(),
                lambda ours, drawn, train, real: ours / drawn if drawn else 0.0,
            ),
            "This is the share of training images among the look-alikes. `tail` says how surprising"
            " it is.",
        ),
    ),
    hints=(
        "The threshold is null.quantile(level); owners[ratios <= threshold] are the look-alikes.",
        "unique() keeps each real image once; those below num_train are training images.",
        "tail(number of training images, number of look-alikes, num_train, num_real).",
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
    cases=lambda: [
        (60, 56, 0.8, 1000),
        (10, 7, 0.8, 500),  # below 0 by chance
        (40, 40, 0.5, 400),
        (13, 12, 0.7, 300),
        (0, 0, 0.9, 200),
    ],
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
                (ours / max(suspicious, 1) - base_rate * (suspicious > 0)) / (1 - base_rate)
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
    shuffled = null[torch.randperm(16, generator=make_rng(9, 3))]
    return [
        (ratios, torch.tensor([True, True, True, False, True, True]), null),
        (ratios[:3], torch.tensor([True, False, True]), shuffled),
        (torch.tensor([0.3]), torch.tensor([True]), torch.tensor([0.5, 0.2, 0.9])),
    ]


def _normal_tail(ratios: Tensor, null: Tensor) -> Tensor:
    return torch.special.ndtr((ratios - null.mean()) / null.std())


RANK = Exercise(
    id="09.rank",
    question=(
        "Return a p-value a sample: the share of held-out ratios at most as small, itself counted"
        " in; 1 if it resembles no training image."
    ),
    solution=_p_values,
    cases=_rank_cases,
    why=(
        "Held-out images are no copies, so their ratios say how small one gets by chance. No normal"
        " distribution is assumed."
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
        Mistake(
            lambda ratios, is_train, null: torch.where(
                is_train, 1.0, (1 + _counted(ratios, null)) / (1 + len(null))
            ),
            "is_train is the wrong way round: samples that resemble a held-out image get 1.",
        ),
        Mistake(
            lambda ratios, is_train, null: torch.where(is_train, _normal_tail(ratios, null), 1.0),
            "You took the held-out ratios as normally distributed. Count how many are at most as"
            " small instead; that assumes nothing.",
        ),
    ),
    hints=(
        "(null <= ratios[:, None]) is a table [N, M]; .sum(1) counts along a row.",
        "(1 + count) / (1 + len(null)), then torch.where(is_train, ..., 1.0).",
    ),
)


# ------------------------------------------------------------------ comparing families


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
    one_apart = torch.tensor([5.0, 6.0], dtype=F64)
    return [(near, far), (far, near), (one_apart, near + 2.4)]


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
            _verdict_with(
                lambda first, second: (first.var() / len(second) + second.var() / len(first)).sqrt()
            ),
            "You divided each variance by the other family's number of seeds.",
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
    # one model wins everywhere; two equal models; one model alone
    cases += [(torch.tensor([2.0, 5.0, 9.0]), torch.tensor([1.0, 3.0, 2.0]))]
    cases += [(torch.tensor([4.0, 4.0, 6.0]), torch.tensor([1.0, 1.0, 0.5]))]
    cases += [(torch.tensor([7.0]), torch.tensor([2.0]))]
    return [*cases, tuple(torch.rand(2, 8, generator=make_rng(9, 1)))]


def _check_front(function: Any) -> None:
    """Compares with the solution; a list of bools is as good as a tensor."""
    answers = [_bools(function(*map(torch.clone, case)), len(case[0])) for case in _front_cases()]
    right = [_front(*case) for case in _front_cases()]
    if all(map(torch.equal, answers, right)):
        return
    for mistake in FRONT.mistakes:
        if all(map(torch.equal, answers, [mistake.answer(*case) for case in _front_cases()])):
            raise Wrong(mistake.message)
    for number, (fid, seconds) in enumerate(_front_cases()):
        for model in (answers[number] != right[number]).nonzero()[:, 0].tolist():
            says = "on" if answers[number][model] else "not on"
            raise Wrong(
                f"Among FIDs {fid.tolist()} and seconds {seconds.tolist()}, model {model} is {says}"
                " your front, which is not right."
            )


def _bools(given: Any, num: int) -> Tensor:
    """Returns an answer as bools `[num]`."""
    require_attempt(given)
    answer = torch.as_tensor(given)
    if answer.shape != (num,):
        raise Wrong(f"Expected one bool for each of {num} models, got {kind_of(given)}.")
    if answer.dtype != torch.bool:
        raise Wrong("Return True or False for each model, not a number.")
    return answer


FRONT = Exercise(
    id="09.front",
    question=(
        "Return which of M models are worth considering, bool [M]: no other model is as good in FID"
        " and in seconds and better in one of them."
    ),
    solution=_front,
    cases=_front_cases,
    check=_check_front,
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

# ------------------------------------------------------------------ bits per dimension


def _bits(nats, image_shape, level_width):
    num_dims = math.prod(image_shape)
    return nats / (num_dims * math.log(2)) - math.log2(level_width)


def _bits_cases() -> list[tuple]:
    nats = torch.tensor([-2500.0, -1800.0, 310.0], dtype=F64)
    return [
        (nats, (1, 28, 28), 2 / 255),
        (nats[:1], (3, 8, 6), 1 / 256),
        (nats.abs(), (1, 4, 4), 1.0),  # probabilities already: nothing is added
    ]


BITS = Exercise(
    id="09.bits",
    question=(
        "Turn -log p(x) of a density, in nats an image, into bits per dimension of an image whose"
        " grey levels lie level_width apart."
    ),
    solution=_bits,
    cases=_bits_cases,
    why=(
        "A density has units: stretch the pixels, and its logarithm moves. The probability of a"
        " grey level has none, so such bits compare between models that rescale pixels differently."
    ),
    mistakes=(
        Mistake(
            lambda nats, image_shape, level_width: nats / (math.prod(image_shape) * math.log(2)),
            "You treated the density as a probability. The probability of a grey level is about"
            " density times level_width, in every dimension.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: (
                nats / (math.prod(image_shape) * math.log(2)) + math.log2(level_width)
            ),
            "The width has the wrong sign: a narrow level has a small probability, so more bits.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: (
                nats / math.prod(image_shape) - math.log(level_width)
            ),
            "These are nats per dimension. A bit is log 2 of them.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: (
                nats / math.prod(image_shape) - math.log2(level_width)
            ),
            "You added bits to nats: divide the nats by log 2 first.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: (
                nats / (math.prod(image_shape) * math.log(2)) - math.log(level_width)
            ),
            "The width is still in nats: take its logarithm to base 2.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: nats / math.log(2) - math.log2(level_width),
            "These are bits of a whole image with the width of one dimension. Divide the bits of"
            " the image by its number of dimensions.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: (
                nats / math.log(2) - math.prod(image_shape) * math.log2(level_width)
            ),
            "These are bits an image. Divide by the number of dimensions, channels included.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: (
                nats / (math.prod(image_shape[1:]) * math.log(2)) - math.log2(level_width)
            ),
            "You counted pixels and forgot the channels: a colour image has three numbers a pixel.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: (
                nats * math.log(2) / math.prod(image_shape) - math.log2(level_width)
            ),
            "You multiplied by log 2. One nat is 1 / log 2 = 1.44 bits, so divide.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: (
                (nats / math.log(2) - math.log2(level_width)) / math.prod(image_shape)
            ),
            "The width counts once in every dimension, not once in the whole image.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: -_bits(nats, image_shape, level_width),
            "The sign is turned: `nats` is -log p(x) already.",
        ),
        Mistake(
            lambda nats, image_shape, level_width: _bits(nats, image_shape, level_width).mean(),
            "You averaged over the images. Return one value for each image, so that an error bar"
            " can be had.",
        ),
    ),
    hints=(
        "P(level) is about p(x) * level_width ** D for an image of D numbers. Take -log2 of it.",
        "-log2 P = nats / log(2) - D * log2(level_width); then divide by D.",
    ),
)

EXERCISES = (EQUAL_SETS, VERDICT, RATIO, TAIL, P_VALUE, FRONT, BITS, SHARE, RANK)
