"""What a training set does to its generator, and generated images as a training set: rare classes,
few images, classifiers trained on samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.data.dataset import Dataset
from course_utils.metrics.features import class_probabilities
from course_utils.metrics.measurement import Measurement, seed_error
from course_utils.metrics.memorization import Memorization
from course_utils.models.base import Model
from course_utils.studies.copies import MemorizationAudit, split_training
from course_utils.studies.draw import (
    IMAGES_PER_CALL,
    draw_images,
    label_frequencies,
    sample_in_batches,
)
from course_utils.studies.evaluate import find_extractor
from course_utils.training.fit import fit, loss_terms
from course_utils.training.presets import Experiment
from course_utils.training.registry import build
from course_utils.training.runs import run

Classify = Callable[[Tensor], Tensor]  # uint8 images [N, C, H, W] -> int64 labels [N]


def with_rare_class(dataset: Dataset, rare: int, share: float = 0.02, seed: int = 0) -> Dataset:
    """Returns the dataset without most training images of one class, so that they are `share` of
    what is left; test images stay as they are.

    Args:
        rare: label of the class.
        share: of the training images that show it afterwards, above 0 and at most what it is now.
        seed: of the choice of images that stay.
    """
    require(
        0 <= rare < dataset.num_classes,
        "rare",
        f"a label from 0 to {dataset.num_classes - 1}",
        rare,
    )
    own, others = (
        (dataset.train_labels == rare).nonzero()[:, 0],
        (dataset.train_labels != rare).nonzero()[:, 0],
    )
    now = len(own) / len(dataset.train_labels)
    require(0 < share <= now, "share", f"above 0 and at most {now:.3f}, its share now", share)
    num_kept = max(1, round(share / (1 - share) * len(others)))
    kept = (
        torch.cat([own[torch.randperm(len(own), generator=make_rng(seed))[:num_kept]], others])
        .sort()
        .values
    )
    name = f"{dataset.name}-rare{rare}"
    images, labels = dataset.train_images[kept], dataset.train_labels[kept]
    factors = {factor: values[kept] for factor, values in dataset.train_factors.items()}
    return replace(
        dataset, name=name, train_images=images, train_labels=labels, train_factors=factors
    )


@dataclass(frozen=True)
class BiasRow:
    """How often one training draws the rare class.

    Attributes:
        family, seed: of the training.
        told_labels: whether the model is told what to draw, at the frequencies of its training set;
            then only images that miss their label count.
        training_share: of the rare class among the training images, by their labels.
        real_share: what the classifier sees of it in those same images, its mistakes included: the
            value to compare with.
        share, error: what the classifier sees among the samples, and the standard error of that
            share.
        num_images: samples.
    """

    family: str
    seed: int
    told_labels: bool
    training_share: float
    real_share: float
    share: float
    error: float
    num_images: int


def bias_experiment(
    experiment: Experiment,
    dataset: Dataset,
    rare: int,
    share: float = 0.02,
    *,
    num_images: int = 10_000,
    classify: Classify | None = None,
) -> BiasRow:
    """Returns how often a generator draws a class that is rare in its training set; it is trained
    where it has not been yet.

    Families differ in what they have to learn. A model that takes labels learns p(image | label);
    how frequent labels are is counted, not learned, and its labels are drawn at those frequencies.
    A model without labels has to learn the frequencies as well, and may amplify or reduce the bias.

    Args:
        experiment: such as `preset("vae")`; its seed is that of the training, of the samples and of
            the images that are kept.
        dataset: all training images; `with_rare_class` thins them out.
        rare, share: the class, and how frequent it shall be.
        num_images: samples.
        classify: None takes the classifier of the dataset, which is trained where none ships.

    Raises:
        CourseError: a dataset of one class, in which none is rare.
    """
    classify = _classifier_of(dataset) if classify is None else classify
    skewed = with_rare_class(dataset, rare, share, experiment.seed)
    trained = run(experiment.fitted_to(skewed), skewed)
    frequencies = label_frequencies(skewed.train_labels, skewed.num_classes)
    hits = (
        classify(draw_images(trained.model, num_images, frequencies, seed=experiment.seed)) == rare
    ).double()
    smoothed = (hits.sum().item() + 1) / (num_images + 2)  # a share of 0 has an error too
    return BiasRow(
        experiment.family,
        experiment.seed,
        trained.model.needs_labels,
        frequencies[rare].item(),
        (classify(skewed.train_images) == rare).double().mean().item(),
        hits.mean().item(),
        math.sqrt(smoothed * (1 - smoothed) / num_images),
        num_images,
    )


def bias_over_seeds(rows: Sequence[BiasRow]) -> tuple[float, float]:
    """Returns the mean share of the rare class and its standard error over the seeds of one family;
    of one seed, the error within it.

    Raises:
        CourseError: no rows, or rows of several families.
    """
    if len({row.family for row in rows}) != 1:
        raise CourseError(
            f"expected rows of one family, got {sorted({row.family for row in rows})}."
        )
    if len(rows) == 1:
        return rows[0].share, rows[0].error
    mean, error = seed_error([row.share for row in rows])
    return mean, error


def _classifier_of(dataset: Dataset) -> Classify:
    if dataset.num_classes < 2:
        raise CourseError(
            f"rare classes: expected at least 2 classes, {dataset.name} has 1; sort its pictures"
            " into a folder for each class."
        )
    classifier = find_extractor("classifier", dataset).classifier
    return lambda images: class_probabilities(classifier, images).argmax(1)


def repeated_images(dataset: Dataset, num_images: int) -> Dataset:
    """Returns the dataset with its training images again and again, in turn, `num_images` in all;
    named after how many different ones there are.

    An epoch then takes as many steps as one of `num_images` different images.
    """
    num_train = len(dataset.train_images)
    rows = torch.arange(num_images) % num_train
    factors = {name: values[rows] for name, values in dataset.train_factors.items()}
    images, labels = dataset.train_images[rows], dataset.train_labels[rows]
    return replace(
        dataset,
        name=f"{dataset.name}-{num_train}",
        train_images=images,
        train_labels=labels,
        train_factors=factors,
    )


@dataclass(frozen=True)
class TrainSizeRow:
    """One training on few images, or on all, and what the memorisation test says of its samples.

    Attributes:
        num_train: different training images.
        images: the samples, uint8.
        train_images: what they may be copies of.
        verdicts: one for each way of seeing, as `MemorizationAudit.judge` gives them.
    """

    num_train: int
    images: Tensor
    train_images: Tensor
    verdicts: dict[str, Memorization]

    @property
    def p_value(self) -> float:
        """The smallest p-value, times the number of tests; NaN where there were too few held-out
        images to test.
        """
        if not self.verdicts:
            return math.nan
        return min(
            1.0, len(self.verdicts) * min(verdict.p_value for verdict in self.verdicts.values())
        )


def train_size_experiment(
    experiment: Experiment,
    dataset: Dataset,
    num_train: int,
    *,
    num_images: int = 2000,
    num_heldout: int = 10_000,
    features: str = "classifier",
) -> TrainSizeRow:
    """Returns the verdict on a generator that saw `num_train` different images, trained as many
    steps as the settings give it on all of them.

    Held-out images are other training images, so those that are "all" leave some aside: 50,000 of
    60,000.

    Args:
        experiment: such as `preset("diffusion")`; trained where it has not been yet.
        dataset: whose training images are split in two.
        num_train: different images that it is trained on, less than there are.
        num_images: samples.
        num_heldout: at most this many of the other training images serve as held-out ones.
        features: of the second test, beside aligned pixels.
    """
    few, others = split_training(dataset, num_train, experiment.seed)
    repeated = repeated_images(few, len(dataset.train_images))
    trained = run(experiment.fitted_to(repeated), repeated)
    images = draw_images(
        trained.model,
        num_images,
        label_frequencies(few.train_labels, few.num_classes),
        seed=experiment.seed,
    )
    # found for all images: a classifier of the few would be a poor judge
    seen = find_extractor(features, dataset)
    verdicts = MemorizationAudit(few, seen, num_images, others[:num_heldout]).judge(
        images, trained.experiment
    )
    return TrainSizeRow(num_train, images, few.train_images, verdicts)


def generated_dataset(
    model: Model,
    dataset: Dataset,
    num_images: int | None = None,
    *,
    seed: int = 0,
    labeller: Callable[[Tensor], Tensor] | None = None,
) -> Dataset:
    """Returns the dataset with generated training images in place of the real ones; its test images
    stay real.

    Args:
        model: generative, in evaluation mode. A class-conditional one makes each class equally
            often.
        dataset: that it was trained on.
        num_images: None makes as many as there are real ones.
        seed: of the samples.
        labeller: for a model that takes no labels: uint8 images `[B, C, H, W]` -> classes `[B]`,
            such as a classifier's answers.

    Raises:
        CourseError: a model without labels and no labeller.
    """
    num_images = len(dataset.train_images) if num_images is None else num_images
    require(num_images >= 1, "num_images", "at least 1", num_images)
    if labeller is None and not model.takes_labels:
        raise CourseError(
            f"this {model.family} takes no labels: expected a `labeller`, which tells the classes"
            " of its images, got none."
        )
    labels = torch.arange(num_images) % dataset.num_classes
    images = sample_in_batches(
        model, num_images, rng=make_rng(seed, 5), labels=labels if labeller is None else None
    )
    if labeller is not None:
        labels = torch.cat([labeller(piece).cpu() for piece in images.split(IMAGES_PER_CALL)])
    source = f"generated by a {model.family} from seed {seed}"
    return replace(
        dataset, train_images=images, train_labels=labels, train_factors={}, source=source
    )


def synthetic_accuracy(
    model: Model,
    dataset: Dataset,
    classifier: Experiment,
    *,
    num_images: int | None = None,
    seed: int = 0,
    labeller: Callable[[Tensor], Tensor] | None = None,
) -> Measurement:
    """Returns the accuracy on real test images of a classifier that was trained on generated images
    alone.

    The error bar is that of the test images; how much the training of model and classifier matters,
    only several seeds show.

    Args:
        model, dataset, num_images, labeller: see `generated_dataset`.
        classifier: settings of the classifier and of its training, such as `preset("classifier")`.
        seed: of the samples and of the classifier's training.
    """
    made = generated_dataset(model, dataset, num_images, seed=seed, labeller=labeller)
    return trained_accuracy(made, classifier, seed=seed)


def trained_accuracy(dataset: Dataset, classifier: Experiment, *, seed: int = 0) -> Measurement:
    """Returns the accuracy on test images of a classifier trained on a dataset: with real images
    what `synthetic_accuracy` is to be compared with.
    """
    experiment = replace(classifier, seed=seed).fitted_to(dataset)
    student = build(experiment.model, seed)
    fit(student, dataset, replace(experiment.train, num_validation_images=0), seed=seed)
    right = loss_terms(student, dataset.test_images, dataset.test_labels)["accuracy"].double()
    error = right.std().item() / math.sqrt(len(right))
    return Measurement(
        "accuracy on real images",
        right.mean().item(),
        error,
        len(right),
        dataset=f"{dataset.name} test",
        note=dataset.source,
    )
