"""The memorisation test for runs of one dataset: it knows which images a run was trained on, and keeps what it has computed.

Which images may serve as held-out ones? Those that differ from the training images in nothing but chance. The test images of strokes are such, those
of MNIST are not: other people wrote them, so that even honest new digits of the training writers lie a little nearer to the training images.
`split_training` makes held-out images of the same writers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.data.base import Dataset
from course_utils.device import make_rng
from course_utils.evaluate import find_extractor
from course_utils.metrics.authenticity import authenticity
from course_utils.metrics.features import Extractor, aligned_pixel_extractor, extract
from course_utils.metrics.memorization import MIN_HELDOUT, Memorization, MemorizationTest
from course_utils.presets import Experiment


def training_images(dataset: Dataset, experiment: Experiment) -> Tensor:
    """Returns the images that `fit` trained on: all, or the random subset that the settings ask for."""
    num = experiment.train.num_train_images
    return dataset.train_images if num is None or num >= len(dataset.train_images) else dataset.subset(num, seed=experiment.seed).train_images


def split_training(dataset: Dataset, num_train: int, seed: int = 0) -> tuple[Dataset, Tensor]:
    """Returns the dataset with `num_train` random training images, and the other training images in random order.

    Raises:
        CourseError: no such number of images, or none left over.
    """
    available = len(dataset.train_images)
    require(1 <= num_train < available, "num_train", f"1 to {available - 1:,}, one less than there are", num_train)
    order = torch.randperm(available, generator=make_rng(seed))
    kept, rest = order[:num_train].sort().values, order[num_train:]
    factors = {name: values[kept] for name, values in dataset.train_factors.items()}
    changes = {"train_images": dataset.train_images[kept], "train_labels": dataset.train_labels[kept], "train_factors": factors}
    return replace(dataset, **changes), dataset.train_images[rest]


@dataclass
class CopyJudge:
    """Tests samples for copies of the training images in two ways of seeing: aligned pixels, and features of a classifier.

    Attributes:
        dataset: that the runs were trained on.
        features: as for `evaluate_images`.
        num_images: samples that are tested, at most this many.
        heldout: uint8 images of the same source that no run was trained on; None takes the test images.
    """

    dataset: Dataset
    features: str = "classifier"
    num_images: int = 2000
    heldout: Tensor | None = None
    _tests: dict[tuple, MemorizationTest] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.heldout is None:
            self.heldout = self.dataset.test_images

    def extractors(self) -> list[Extractor]:
        """Returns the ways of seeing."""
        chosen = find_extractor(self.features, self.dataset.name)[0]
        return [aligned_pixel_extractor(), *([] if chosen.name == "pixels" else [chosen])]

    def judge(self, images: Tensor, experiment: Experiment) -> dict[str, Memorization]:
        """Returns the verdict on samples of a run, for each way of seeing; nothing where there are too few held-out images."""
        if len(self.heldout) < MIN_HELDOUT:
            return {}
        return {one.name: self._test(one, experiment).judge(extract(one, images[: self.num_images])) for one in self.extractors()}

    def numbers(self, images: Tensor, experiment: Experiment) -> dict[str, tuple[float, float | None]]:
        """Returns p-value, estimated share of copies and authenticity as `{name: (value, error)}`; "copy p-value" is that of both tests together."""
        verdicts = self.judge(images, experiment)
        if not verdicts:
            return {}
        numbers: dict[str, tuple[float, float | None]] = {
            "copy p-value": (min(1.0, len(verdicts) * min(verdict.p_value for verdict in verdicts.values())), None)
        }
        for name, verdict in verdicts.items():
            numbers[f"copied share ({name})"] = (verdict.copied_share.value, verdict.copied_share.error)
        pixels = self.extractors()[0]
        authentic = authenticity(extract(pixels, images[: self.num_images]), self._test(pixels, experiment).train)
        return numbers | {"authenticity": (authentic.value, authentic.error)}

    def _test(self, extractor: Extractor, experiment: Experiment) -> MemorizationTest:
        train = training_images(self.dataset, experiment)
        whole = len(train) == len(self.dataset.train_images)
        key = (extractor.name, len(train), None if whole else experiment.seed)
        if key not in self._tests:
            self._tests = {old: test for old, test in self._tests.items() if old[0] != extractor.name}  # one at a time: each holds all pixels
            sets = [extract(extractor, part) for part in (train, self.heldout)]
            self._tests[key] = MemorizationTest(*sets, extractor=extractor.name)
        return self._tests[key]
