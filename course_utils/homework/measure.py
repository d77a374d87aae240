"""What the homework measures of each run: its samples against test images, and what the model's own loss says of test images."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from course_utils.checkpoint import Run, pretrained_names
from course_utils.data.base import Dataset
from course_utils.device import make_rng
from course_utils.evaluate import find_extractor
from course_utils.homework.budgets import NUM_IMAGES
from course_utils.images import signed_to_uint8
from course_utils.metrics.classes import class_agreement, class_kl
from course_utils.metrics.distribution import fid
from course_utils.metrics.features import class_probabilities, extract
from course_utils.metrics.guards import MetricWarning
from course_utils.metrics.kid import kid
from course_utils.metrics.neighbours import precision_recall
from course_utils.metrics.result import Measurement
from course_utils.models import Model

BATCH_IMAGES = 500


@dataclass(frozen=True)
class MetricInfo:
    """How to read a metric of the homework.

    Attributes:
        unit: "" where it has none.
        better: "lower", "higher", or "" where neither is.
        meaning: in a few words.
        changed_by: settings that change what the number means, so that values before and after do not compare.
    """

    unit: str
    better: str
    meaning: str
    changed_by: tuple[str, ...] = ()


_PIXEL_MODEL = ("model.likelihood", "model.binarisation", "model.noise_std")
METRICS: dict[str, MetricInfo] = {
    "FID": MetricInfo("", "lower", "distance of the samples' features from those of test images"),
    "KID": MetricInfo("", "lower", "the same without the bias of few images"),
    "precision": MetricInfo("", "higher", "share of samples that lie among the test images"),
    "recall": MetricInfo("", "higher", "share of test images that lie among the samples"),
    "class KL": MetricInfo("nats", "lower", "how far the classes' frequencies are from the data's"),
    "class agreement": MetricInfo("", "higher", "share of samples that show the class they were asked for"),
    "negative ELBO": MetricInfo("nats an image", "lower", "bound of the negative log-likelihood of test images", _PIXEL_MODEL),
    "reconstruction": MetricInfo("nats an image", "lower", "-log p(x | z) of test images", _PIXEL_MODEL),
    "KL": MetricInfo("nats an image", "", "what the latents say about an image"),
    "denoising error": MetricInfo(
        "squared pixels", "lower", "of the test image that the network sees in a noisy one", ("model.time_sampling", "model.schedule")
    ),
    "separation": MetricInfo("", "", "share of pairs in which the discriminator scores the real image higher"),
    "diversity": MetricInfo("RMS of pixels", "", "distance between two samples"),
}
# Terms of a family's own loss on test images that the homework reports: the name in the run's record, and here.
LOSS_TERMS: dict[str, dict[str, str]] = {
    "vae": {"negative_elbo": "negative ELBO", "reconstruction": "reconstruction", "kl": "KL"},
    "dcgan": {"discriminator.separation": "separation", "generator.diversity": "diversity"},
    "diffusion": {"x0_mse": "denoising error"},
}


def incomparable(metric: str, changes: Collection[str]) -> tuple[str, ...]:
    """Returns the changed settings that change what a metric means; none where values before and after compare."""
    changed_by = METRICS[metric].changed_by if metric in METRICS else ()
    return tuple(name for name in changed_by if name in changes)


def measure_for(budget_name: str) -> Callable[[Run, Dataset], dict[str, Any]]:
    """Returns what a sweep calls with each finished run: `measured_run` with the number of images of a budget."""
    return partial(measured_run, num_images=NUM_IMAGES[budget_name])


def measured_run(run: Run, dataset: Dataset, num_images: int = 2_000) -> dict[str, Any]:
    """Returns `metrics`, `{name: {"value", "error", "num_images"}}`, and `sampling_seconds` of a finished run.

    Samples are drawn from the run's seed and compared with test images, the same for all runs, through the shipped classifier of the dataset; for
    data that has none, through the pixels, without the metrics of classes.

    Args:
        run: a finished run of a generative family.
        dataset: the one that it was trained on.
        num_images: that are drawn; at most as many as there are test images.
    """
    num_images = min(num_images, len(dataset.test_images))
    start = time.perf_counter()
    images, labels = drawn_samples(run.model, num_images, run.experiment.seed)
    seconds = time.perf_counter() - start
    found = {one.name: _as_metric(one) for one in _of_images(images, labels, dataset)}
    for recorded, name in LOSS_TERMS.get(run.experiment.family, {}).items():
        value, error = run.metric(recorded)
        found[name] = {"value": value, "error": error, "num_images": run.record["metrics"][recorded]["num_images"]}
    return {"metrics": {name: found[name] for name in METRICS if name in found}, "sampling_seconds": seconds}


def _as_metric(measured: Measurement) -> Mapping[str, Any]:
    error = measured.error if math.isfinite(measured.error) else None
    return {"value": measured.value, "error": error, "num_images": measured.num_images}


def drawn_samples(model: Model, num_images: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Returns samples, uint8 `[N, C, H, W]` on the CPU, and the classes that were asked for, int64 `[N]`; None where the model was told none."""
    rng = make_rng(seed, 7)
    config = model.config
    told = getattr(config, "conditional", hasattr(config, "num_classes")) and getattr(config, "unlabelled", "uniform") != "null"
    labels = torch.randint(config.num_classes, (num_images,), generator=rng) if told else None
    pieces = []
    for rows in torch.arange(num_images).split(BATCH_IMAGES):
        images = model.sample(len(rows), labels=None if labels is None else labels[rows], rng=rng)
        pieces.append(signed_to_uint8(images).cpu())
    return torch.cat(pieces), labels


def _of_images(images: Tensor, labels: Tensor | None, dataset: Dataset) -> list[Measurement]:
    reference = dataset.subset(num_test=len(images)).test_images
    known = f"classifier-{dataset.name}" in pretrained_names()
    extractor, classifier = find_extractor("classifier" if known else "pixels", dataset.name)
    fake, real = extract(extractor, images), extract(extractor, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)  # the smoke budget has few images; both sides have equally few
        found = [fid(fake, real), kid(fake, real), *precision_recall(real, fake)]
    if classifier is not None:
        probabilities = class_probabilities(classifier, images)
        counts = torch.bincount(dataset.train_labels, minlength=dataset.num_classes) + 0.5  # half an image more: no class is impossible
        found.append(class_kl(probabilities, counts.double() / counts.sum()))
        found += [class_agreement(probabilities, labels)] if labels is not None else []
    return found
