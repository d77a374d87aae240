"""Does a generator hand out its training images? A calibrated test, and two published ones
(authenticity and C_T) beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import Measurement, check_count, check_features, check_pair
from course_utils.metrics.neighbours import nearest, nearest_distances

# shares of held-out images that count as suspicious; the p-value pays for trying all three
LEVELS = (0.001, 0.01, 0.05)
EFFECT_LEVEL = 0.01  # at which the copied share is estimated
FALSE_DISCOVERIES = 0.1  # share of the flagged images that may be flagged wrongly
MIN_HELDOUT = 100


class Lookalikes(NamedTuple):
    """The real image nearest to each of N images: `distances` float64 `[N]`, `ratios` to the k-th
    nearest `[N]`, its row `owners` int64 `[N]`.

    Rows count through the training images, then the held-out ones. Every image is looked up for
    itself, so rows may be joined and drawn again.
    """

    distances: Tensor
    ratios: Tensor
    owners: Tensor

    def rows(self, index: Tensor) -> Lookalikes:
        """Returns the entries of some of the images."""
        return Lookalikes(*(values[index] for values in self))


@dataclass(frozen=True)
class Memorization:
    """What the test says of some generated images.

    Attributes:
        p_value: chance of so many training images among the look-alikes of suspicious samples, if
            nothing is copied.
        copied_share: estimated share of copies among the samples, with its error bar: the effect
            size. It may be below 0 by chance.
        ratios: `[N]`, distance to the nearest real image over distance to the k-th nearest; 0 for a
            copy, 1 for an image that is near to none.
        distances: `[N]`, to the nearest real image.
        nearest: int64 `[N]`, the row of that image among the training images, or -1 where it is a
            held-out one.
        image_p_values: `[N]`, share of held-out images with a ratio at most as small; 1 where the
            nearest real image is a held-out one.
        flags: bool `[N]`, images called copies one by one; about one in ten of them is called so
            wrongly.
        null_ratios: `[M]`, ratios of held-out images, which are no copies.
        base_rate: share of training images among the real ones.
    """

    p_value: float
    copied_share: Measurement
    ratios: Tensor
    distances: Tensor
    nearest: Tensor
    image_p_values: Tensor
    flags: Tensor
    null_ratios: Tensor
    base_rate: float

    def is_memorising(self, level: float = 0.05) -> bool:
        """Returns whether the p-value is at most `level`, the rate of false alarms that one
        accepts.
        """
        require(0 < level < 1, "level", "between 0 and 1", level)
        return self.p_value <= level

    def __str__(self) -> str:
        verdict = "training images leak" if self.is_memorising() else "no copying detected"
        return (
            f"{verdict}: p = {self.p_value:.2g}, {self.copied_share}, {int(self.flags.sum())} of"
            f" {len(self.flags):,} images flagged one by one"
        )


@dataclass(frozen=True)
class MemorizationTest:
    """The real images of the test and the null distribution that they give; made once, it judges
    any number of generators.

    Args:
        train: features `[T, D]` of the images that the generator was trained on.
        heldout: features `[H, D]` of images of the same source that it has not seen, at least 100;
            the more, the smaller the p-values can get.
        extractor: name of the features, for the results.
        k: the nearest real image is compared with the k-th nearest, 2 or more; above 2 where real
            images have near-duplicates.
        num_null: held-out images that the null distribution is made of, at most this many.

    Source: nearest over second nearest distance: Yoon et al. 2023 (ICML workshop SPIGM, "Diffusion
    probabilistic models generalize when they fail to memorize") and Gu et al. 2023
    (arXiv:2310.02664), who call a sample memorised below 1/3; held-out images as the yardstick:
    Meehan et al. 2020 (arXiv:2004.05675). Ours are the threshold, which held-out images set, and
    the exact test on which of the look-alikes were training images.
    """

    train: Tensor
    heldout: Tensor
    extractor: str = ""
    k: int = 2
    num_null: int = 4000
    real: Tensor = field(init=False, repr=False)
    null_ratios: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        train, heldout = check_pair(self.train, self.heldout, ("train", "heldout"), min_images=1)
        if len(heldout) < MIN_HELDOUT:
            raise CourseError(
                f"heldout: expected at least {MIN_HELDOUT} images, got {len(heldout)}; they say how"
                " near honest images come. Use a larger test set, or leave training images aside."
            )
        num_real = len(train) + len(heldout)
        check_count("k", self.k, 2, num_real - 1, why=f"there are {num_real} real images")
        check_count("num_null", self.num_null, MIN_HELDOUT)
        real = torch.cat([train, heldout])
        chosen = len(train) + torch.randperm(len(heldout), generator=make_rng(0))[: self.num_null]
        found = nearest(real[chosen], real, self.k + 1)
        # nobody is his own neighbour
        others = (
            torch.where(found.indices == chosen[:, None], torch.inf, found.distances).sort(1).values
        )
        # the pixels of 70,000 images take 440 MB: once is enough
        views = {"train": real[: len(train)], "heldout": real[len(train) :]}
        for name, value in {**views, "real": real, "null_ratios": _ratios(others, self.k)}.items():
            object.__setattr__(self, name, value)

    def judge(self, generated: Tensor) -> Memorization:
        """Returns the verdict on generated images.

        The p-value is the smallest of the hypergeometric ones at each level of `LEVELS`, times
        their number (Bonferroni). Real images count once, however many samples resemble them, so a
        mode that is drawn often is no evidence of its own.

        Args:
            generated: features `[N, D]` of the same extractor.
        """
        return self.verdict(self.look_up(generated))

    def look_up(self, generated: Tensor) -> Lookalikes:
        """Returns the nearest real image of each of the features `[N, D]`: the slow part, some
        seconds for 2,000 images among 70,000.
        """
        found = nearest(check_features(generated, "generated", min_images=1), self.real, self.k)
        return Lookalikes(
            found.distances[:, 0], _ratios(found.distances, self.k), found.indices[:, 0]
        )

    def verdict(self, found: Lookalikes) -> Memorization:
        """Returns the same as `judge`, for images whose neighbours have been looked up."""
        ratios, owners = found.ratios, found.owners
        is_train = owners < len(self.train)
        base_rate = len(self.train) / len(self.real)
        rank = torch.searchsorted(self.null_ratios.sort().values, ratios, right=True)
        image_p_values = torch.where(
            is_train, (1 + rank.double()) / (1 + len(self.null_ratios)), 1.0
        )
        return Memorization(
            p_value=self._p_value(ratios, owners),
            copied_share=self._copied_share(ratios, is_train, base_rate),
            ratios=ratios,
            distances=found.distances,
            nearest=torch.where(is_train, owners, -1),
            image_p_values=image_p_values,
            flags=discoveries(image_p_values, FALSE_DISCOVERIES),
            null_ratios=self.null_ratios,
            base_rate=base_rate,
        )

    def _p_value(self, ratios: Tensor, owners: Tensor) -> float:
        order = ratios.argsort()
        smallest = torch.full((len(self.real),), torch.inf, dtype=torch.float64).scatter_reduce(
            0, owners[order], ratios[order], "amin"
        )
        hits = smallest.isfinite().nonzero()[:, 0]  # real images that some sample is nearest to
        smallest, is_train = smallest[hits], hits < len(self.train)
        p_values = []
        for level in LEVELS:
            suspicious = smallest <= self.null_ratios.quantile(level)
            drawn, ours = int(suspicious.sum()), int((suspicious & is_train).sum())
            p_values.append(hypergeometric_tail(ours, len(self.real), len(self.train), drawn))
        return min(1.0, len(LEVELS) * min(p_values))

    def _copied_share(self, ratios: Tensor, is_train: Tensor, base_rate: float) -> Measurement:
        """Returns (F_train - base_rate F) / (1 - base_rate) / N for F suspicious samples, F_train
        of them nearest to a training image.

        Copies are all nearest to training images, other samples at the base rate: solving for the
        number of copies gives this.
        """
        suspicious = ratios <= self.null_ratios.quantile(EFFECT_LEVEL)
        num, ours = int(suspicious.sum()), int((suspicious & is_train).sum())
        value = (ours - base_rate * num) / (1 - base_rate) / len(ratios)
        error = (max(num, 1) * base_rate / (1 - base_rate)) ** 0.5 / len(ratios)
        return Measurement("copied share", value, error, len(ratios), self.extractor)


def _ratios(distances: Tensor, k: int) -> Tensor:
    """Returns nearest over k-th nearest distance, `[N]`; an exact copy has 0, even of an image that
    occurs k times.
    """
    return torch.where(distances[:, 0] > 0, distances[:, 0] / distances[:, k - 1], 0.0)


def hypergeometric_tail(at_least: int, population: int, marked: int, drawn: int) -> float:
    """Returns the chance of `at_least` or more marked items among `drawn` of a population, drawn
    without putting back.

    Source: Fisher 1935, "The Design of Experiments": the one-sided exact test.
    """
    lowest, highest = max(at_least, 0, drawn - population + marked), min(drawn, marked)
    if lowest > highest:
        return 0.0
    counts = torch.arange(lowest, highest + 1, dtype=torch.float64)
    ways = _log_choose(marked, counts) + _log_choose(population - marked, drawn - counts)
    return min(
        1.0,
        (ways.logsumexp(0) - _log_choose(population, torch.tensor(drawn, dtype=torch.float64)))
        .exp()
        .item(),
    )


def _log_choose(n: int, k: Tensor) -> Tensor:
    total = torch.tensor(float(n), dtype=torch.float64)
    return torch.lgamma(total + 1) - torch.lgamma(k + 1) - torch.lgamma(total - k + 1)


def discoveries(p_values: Tensor, rate: float = FALSE_DISCOVERIES) -> Tensor:
    """Returns which hypotheses to reject, bool `[N]`, so that at most a share `rate` of the
    rejected ones is true on average.

    Source: Benjamini & Hochberg 1995, J. Royal Statistical Society B 57(1).
    """
    ordered = p_values.sort().values
    bounds = rate * torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    below = (ordered <= bounds).nonzero()
    return (
        p_values <= ordered[below.max()]
        if len(below)
        else torch.zeros_like(p_values, dtype=torch.bool)
    )


MIN_CELL = 10  # images of each kind that a cell needs to count


def authenticity(generated: Tensor, train: Tensor, extractor: str = "") -> Measurement:
    """Returns the share of images that are farther from their nearest training image than that one
    is from the other training images.

    Honest images do not reach 1: the value of held-out images, about one half, is what to compare
    with.

    Args:
        generated, train: features `[N, D]`, `[T, D]` of one extractor, T at least 2.
        extractor: name of the features, for the result.

    Source: Alaa et al. 2022 (arXiv:2102.08921), the authenticity score.
    """
    generated, train = check_pair(generated, train, ("generated", "train"))
    found = nearest(generated, train)
    owners, which = found.indices[:, 0].unique(return_inverse=True)
    radii = nearest_distances(train[owners], train, 2)[:, 1]  # the first is the image itself
    authentic = (found.distances[:, 0] > radii[which]).double()
    return Measurement(
        "authenticity",
        authentic.mean().item(),
        authentic.std().item() / math.sqrt(len(authentic)),
        len(authentic),
        extractor,
    )


def data_copying_statistic(
    generated: Tensor, heldout: Tensor, cells: tuple[Tensor, Tensor] | None = None
) -> float:
    """Returns C_T, standard normal where generated images are as far from the training images as
    held-out ones; far below 0 means nearer.

    Args:
        generated, heldout: distances to the nearest training image, `[N]` and `[M]`.
        cells: regions of image space, such as classes, that the images lie in, int64 `[N]` and
            `[M]`; distances compare within a cell only. None takes one cell. The result is the mean
            over cells, weighted by the held-out images in each.

    Raises:
        CourseError: no cell holds ten images of each kind.

    Source: Meehan et al. 2020 (arXiv:2004.05675), the statistics Z_U (Mann & Whitney's U,
    standardised) and C_T. Deviation: ties count half.
    """
    distances = [torch.as_tensor(x).double().flatten() for x in (generated, heldout)]
    if cells is None:
        first, second = (torch.zeros(len(x), dtype=torch.int64) for x in distances)
        cells = first, second
    if [len(x) for x in cells] != [len(x) for x in distances]:
        raise CourseError(
            f"cells: expected {[len(x) for x in distances]}, one for each distance, got"
            f" {[len(x) for x in cells]}."
        )
    total, weight = 0.0, 0
    for cell in cells[1].unique():
        ours, theirs = (x[which == cell] for x, which in zip(distances, cells))
        if min(len(ours), len(theirs)) >= MIN_CELL:
            total += len(theirs) * _mann_whitney(ours, theirs)
            weight += len(theirs)
    if weight == 0:
        raise CourseError(
            f"expected at least {MIN_CELL} generated and {MIN_CELL} held-out images in one cell;"
            " give more images or fewer cells."
        )
    return total / weight


def _mann_whitney(first: Tensor, second: Tensor) -> float:
    """Returns the z-score of U, above 0 where `first` tends to be larger."""
    ordered = second.sort().values
    lower = torch.searchsorted(ordered, first).double()
    lower_or_equal = torch.searchsorted(ordered, first, right=True).double()
    n, m = len(first), len(second)
    u = 0.5 * (lower + lower_or_equal).sum().item()
    return (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
