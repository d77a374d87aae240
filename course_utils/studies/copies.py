"""The memorisation test applied to runs: it knows which images a run was trained on; and how often
it catches a memoriser of known strength.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.data.dataset import Dataset
from course_utils.metrics.features import Extractor, aligned_pixel_extractor, extract
from course_utils.metrics.memorization import (
    MIN_HELDOUT,
    Lookalikes,
    Memorization,
    MemorizationTest,
    authenticity,
)
from course_utils.studies.corruptions import disguised
from course_utils.studies.evaluate import Features, find_extractor, pictures_for
from course_utils.training.presets import Experiment


def training_images(dataset: Dataset, experiment: Experiment) -> Tensor:
    """Returns the images that `fit` trained on: all, or the random subset that the settings ask
    for.
    """
    num = experiment.train.num_train_images
    return (
        dataset.train_images
        if num is None or num >= len(dataset.train_images)
        else dataset.subset(num, seed=experiment.seed).train_images
    )


def split_training(dataset: Dataset, num_train: int, seed: int = 0) -> tuple[Dataset, Tensor]:
    """Returns the dataset with `num_train` random training images, and the other training images in
    random order.

    Raises:
        CourseError: no such number of images, or none left over.
    """
    available = len(dataset.train_images)
    require(
        1 <= num_train < available,
        "num_train",
        f"1 to {available - 1:,}, one less than there are",
        num_train,
    )
    order = torch.randperm(available, generator=make_rng(seed))
    kept, rest = order[:num_train].sort().values, order[num_train:]
    factors = {name: values[kept] for name, values in dataset.train_factors.items()}
    changes = {
        "train_images": dataset.train_images[kept],
        "train_labels": dataset.train_labels[kept],
        "train_factors": factors,
    }
    return replace(dataset, **changes), dataset.train_images[rest]


@dataclass
class MemorizationAudit:
    """Tests samples for copies of the training images in two ways of seeing: aligned pixels, and
    features of a classifier.

    Attributes:
        dataset: that the runs were trained on.
        features: as for `find_extractor`.
        num_images: samples that are tested, at most this many.
        heldout: uint8 images of the same source that no run was trained on; None takes the test
            images.
    """

    dataset: Dataset
    features: str | Features = "classifier"
    num_images: int = 2000
    heldout: Tensor | None = None
    _tests: dict[tuple, MemorizationTest] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.heldout is None:
            self.heldout = self.dataset.test_images

    def extractors(self) -> list[Extractor]:
        """Returns the ways of seeing."""
        chosen = find_extractor(self.features, self.dataset).extractor
        return [aligned_pixel_extractor(), *([] if chosen.name == "pixels" else [chosen])]

    def too_few(self) -> str | None:
        """Returns a sentence that says how many held-out images are needed where there are too few
        to test for copies; None where there are enough.
        """
        assert self.heldout is not None  # see `__post_init__`
        if len(self.heldout) >= MIN_HELDOUT:
            return None
        return (
            f"left out: the tests for copies, which need at least {MIN_HELDOUT} images that were"
            f" not trained on; {self.dataset.name} has {len(self.heldout)}"
            f"{pictures_for(MIN_HELDOUT, self.dataset)}."
        )

    def judge(self, images: Tensor, experiment: Experiment) -> dict[str, Memorization]:
        """Returns the verdict on samples of a run, for each way of seeing; nothing where there are
        too few held-out images (`too_few` says how many it takes).
        """
        if self.too_few() is not None:
            return {}
        return {
            one.name: self._test(one, experiment).judge(extract(one, images[: self.num_images]))
            for one in self.extractors()
        }

    def numbers(
        self, images: Tensor, experiment: Experiment
    ) -> dict[str, tuple[float, float | None]]:
        """Returns p-value, estimated share of copies and authenticity as `{name: (value, error)}`;
        "copy p-value" is that of both tests together.
        """
        verdicts = self.judge(images, experiment)
        if not verdicts:
            return {}
        numbers: dict[str, tuple[float, float | None]] = {
            "copy p-value": (
                min(1.0, len(verdicts) * min(verdict.p_value for verdict in verdicts.values())),
                None,
            )
        }
        for name, verdict in verdicts.items():
            numbers[f"copied share ({name})"] = (
                verdict.copied_share.value,
                verdict.copied_share.error,
            )
        pixels = self.extractors()[0]
        authentic = authenticity(
            extract(pixels, images[: self.num_images]), self._test(pixels, experiment).train
        )
        return numbers | {"authenticity": (authentic.value, authentic.error)}

    def _test(self, extractor: Extractor, experiment: Experiment) -> MemorizationTest:
        train = training_images(self.dataset, experiment)
        whole = len(train) == len(self.dataset.train_images)
        key = (extractor.name, len(train), None if whole else experiment.seed)
        if key not in self._tests:
            # one at a time: each holds all pixels
            self._tests = {
                old: test for old, test in self._tests.items() if old[0] != extractor.name
            }
            assert self.heldout is not None  # see `__post_init__`
            sets = [extract(extractor, part) for part in (train, self.heldout)]
            self._tests[key] = MemorizationTest(*sets, extractor=extractor.name)
        return self._tests[key]


# What a copy goes through before it is handed out: arguments of `generators.disguised`.
DISGUISES: dict[str, dict[str, Any]] = {
    "exact": {},
    "noise 0.05": {"noise_std": 0.05},
    "noise 0.1": {"noise_std": 0.1},
    "blurred, 1 px": {"blur_px": 1.0},
    "shifted, 1 px": {"right_px": 1},
}


@dataclass(frozen=True)
class PowerRow:
    """What the test said of memorisers of one strength.

    Attributes:
        share: of the images that were copies.
        power: share of the rounds with an alarm; at share 0 these are false alarms.
        error: standard error of the power, never 0: of a binomial share with one more success and
            one more failure.
        estimate, estimate_error: mean of the estimated shares of copies, and their spread between
            rounds.
        num_rounds: of the experiment.
    """

    share: float
    power: float
    error: float
    estimate: float
    estimate_error: float
    num_rounds: int


def power_curve(
    test: MemorizationTest,
    extractor: Extractor,
    fresh: Tensor,
    remembered: Tensor,
    shares: Sequence[float] = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1),
    *,
    num_images: int = 2000,
    num_rounds: int = 100,
    level: float = 0.05,
    disguise: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> list[PowerRow]:
    """Returns how often the test raises an alarm at each share of copies.

    Rounds draw from one bank of fresh images and share the real images, so they are not quite
    independent.

    Args:
        test: with the features of the training and of the held-out images.
        extractor: that made those features.
        fresh: uint8 images of the same source that are neither training nor held-out images, at
            least `num_images`; more make rounds differ more.
        remembered: uint8 training images of the test, at least as many as the largest share asks
            for.
        shares: of copies among the generated images.
        num_images: that the memoriser generates in each round.
        num_rounds: of each share.
        level: of the test.
        disguise: of the copies, such as an entry of `DISGUISES`.
        seed: of the choice of images, and of the noise.

    Raises:
        CourseError: too few images for a share.
    """
    require(num_rounds >= 2, "num_rounds", "at least 2", num_rounds)
    honest = test.look_up(extract(extractor, fresh))
    copies = test.look_up(extract(extractor, disguised(remembered, **(disguise or {}), seed=seed)))
    rows = []
    for index, share in enumerate(shares):
        rng = make_rng(seed, index)
        results = [
            test.verdict(mixed(honest, copies, share, num_images, rng)) for _ in range(num_rounds)
        ]
        rows.append(_row(share, results, level))
    return rows


def mixed(
    honest: Lookalikes, copies: Lookalikes, share: float, num_images: int, rng: torch.Generator
) -> Lookalikes:
    """Returns the look-alikes of `num_images` samples, a share of them drawn from the copies and
    the rest from the honest ones, each at most once.
    """
    require(0 <= share <= 1, "share", "0 to 1", share)
    num_copies = round(share * num_images)
    for name, bank, needed in (
        ("fresh", honest, num_images - num_copies),
        ("remembered", copies, num_copies),
    ):
        if len(bank.ratios) < needed:
            raise CourseError(
                f"{name}: expected at least {needed:,} images, got {len(bank.ratios):,}; give more,"
                " or a smaller num_images."
            )
    drawn = honest.rows(
        torch.randperm(len(honest.ratios), generator=rng)[: num_images - num_copies]
    )
    copied = copies.rows(torch.randperm(len(copies.ratios), generator=rng)[:num_copies])
    return Lookalikes(*(torch.cat(both) for both in zip(drawn, copied)))


def _row(share: float, results: Sequence[Memorization], level: float) -> PowerRow:
    num = len(results)
    alarms = sum(result.is_memorising(level) for result in results)
    smoothed = (alarms + 1) / (num + 2)
    estimates = torch.tensor([result.copied_share.value for result in results], dtype=torch.float64)
    error = (smoothed * (1 - smoothed) / num) ** 0.5
    return PowerRow(
        share, alarms / num, error, estimates.mean().item(), estimates.std().item(), num
    )
