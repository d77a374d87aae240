"""What the homework measures of each run, and what the changes did to it over the seeds."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.data.dataset import Dataset
from course_utils.homework.parameters import NUM_IMAGES
from course_utils.homework.schema import Study, SubmittedRow, changed_lines
from course_utils.metrics.classes import class_agreement, class_kl
from course_utils.metrics.features import class_probabilities, extract
from course_utils.metrics.frechet import fid, kid
from course_utils.metrics.measurement import Measurement, MetricWarning
from course_utils.metrics.neighbours import precision_recall
from course_utils.models.base import Model
from course_utils.plotting.charts import column_title
from course_utils.studies.draw import sample_in_batches
from course_utils.studies.evaluate import find_extractor, shipped_classifier
from course_utils.training.runs import Run

if TYPE_CHECKING:
    from course_utils.studies.significance import SeedComparison


@dataclass(frozen=True)
class MetricInfo:
    """How to read a metric of the homework.

    Attributes:
        unit: "" where it has none.
        better: "lower", "higher", or "" where neither is.
        meaning: in a few words.
        changed_by: settings that change what the number means, so that values before and after do
            not compare.
    """

    unit: str
    better: str
    meaning: str
    changed_by: tuple[str, ...] = ()


_PIXEL_MODEL = ("model.likelihood", "model.binarisation", "model.noise_std")
HOMEWORK_METRICS: dict[str, MetricInfo] = {
    "FID": MetricInfo("", "lower", "distance of the samples' features from those of test images"),
    "KID": MetricInfo("", "lower", "the same without the bias of few images"),
    "precision": MetricInfo("", "higher", "share of samples that lie among the test images"),
    "recall": MetricInfo("", "higher", "share of test images that lie among the samples"),
    "class KL": MetricInfo("nats", "lower", "how far the classes' frequencies are from the data's"),
    "class agreement": MetricInfo(
        "", "higher", "share of samples that show the class they were asked for"
    ),
    "negative ELBO": MetricInfo(
        "nats an image",
        "lower",
        "bound of the negative log-likelihood of test images",
        _PIXEL_MODEL,
    ),
    "reconstruction": MetricInfo(
        "nats an image", "lower", "-log p(x | z) of test images", _PIXEL_MODEL
    ),
    "KL": MetricInfo("nats an image", "", "what the latents say about an image"),
    "denoising error": MetricInfo(
        "squared pixels",
        "lower",
        "of the test image that the network sees in a noisy one",
        ("model.time_sampling", "model.schedule"),
    ),
    "separation": MetricInfo(
        "", "", "share of pairs in which the discriminator scores the real image higher"
    ),
    "diversity": MetricInfo("RMS of pixels", "", "distance between two samples"),
}
# Terms of a family's own loss on test images that the homework reports: the name in the run's
# record, and here.
LOSS_TERMS: dict[str, dict[str, str]] = {
    "vae": {"negative_elbo": "negative ELBO", "reconstruction": "reconstruction", "kl": "KL"},
    "dcgan": {"discriminator.separation": "separation", "generator.diversity": "diversity"},
    "diffusion": {"x0_mse": "denoising error"},
}

# The training curves of a family that are shown, in this order: title and unit of the axis.
_NATS = "nats an image"
CURVES: dict[str, dict[str, tuple[str, str]]] = {
    "vae": {
        "loss": ("loss", _NATS),
        "negative_elbo": ("negative ELBO", _NATS),
        "reconstruction": ("reconstruction", _NATS),
        "kl": ("KL", _NATS),
    },
    "dcgan": {
        "generator loss": ("generator's loss", ""),
        "discriminator loss": ("discriminator's loss", ""),
        "discriminator separation": ("separation", "share of pairs"),
        "discriminator d_real": ("D's answer to real images", "probability"),
        "discriminator d_fake": ("D's answer to generated images", "probability"),
        "generator diversity": ("distance of two samples", "RMS of pixels"),
    },
    "diffusion": {
        "loss": ("loss", "weighted mean square"),
        "target_mse": ("error of the target", "mean square"),
        "x0_mse": ("denoising error", "squared pixels"),
    },
}


def curve_panels(family: str, terms: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Returns `{term: (title, unit)}` of the curves that are shown; all terms under their own names
    where nothing is known of them.

    Args:
        family: of the models; "" for the student's own code, whose loss may be anything.
        terms: that the runs have, such as "kl" or "discriminator loss".
    """
    known = CURVES.get(family, {})
    found = {term: panel for term, panel in known.items() if term in terms}
    return found or {term: (column_title(term), "") for term in terms}


def incomparable(metric: str, changes: Collection[str]) -> tuple[str, ...]:
    """Returns the changed settings that change what a metric means; none where values before and
    after compare.
    """
    changed_by = HOMEWORK_METRICS[metric].changed_by if metric in HOMEWORK_METRICS else ()
    return tuple(name for name in changed_by if name in changes)


def measure_for(budget_name: str) -> Callable[[Run, Dataset], dict[str, Any]]:
    """Returns what a sweep calls with each finished run: `measured_run` with the number of images
    of a budget.
    """
    return partial(measured_run, num_images=NUM_IMAGES[budget_name])


def measured_run(run: Run, dataset: Dataset, num_images: int = 2_000) -> dict[str, Any]:
    """Returns `metrics`, `{name: {"value", "error", "num_images"}}`, and `sampling_seconds` of a
    finished run.

    Samples are drawn from the run's seed and compared with test images, the same for all runs,
    through the shipped classifier of the dataset; for data that has none, through the pixels,
    without the metrics of classes.

    Args:
        run: a finished run of a generative family.
        dataset: the one that it was trained on.
        num_images: that are drawn; at most as many as there are test images.
    """
    num_images = min(num_images, len(dataset.test_images))
    start = time.perf_counter()
    images, labels = drawn_samples(run.model, num_images, run.experiment.seed)
    seconds = time.perf_counter() - start
    found = sample_metrics(images, labels, dataset)
    for recorded, name in LOSS_TERMS.get(run.experiment.family, {}).items():
        value, error = run.metric(recorded)
        found[name] = {
            "value": value,
            "error": error,
            "num_images": run.record["metrics"][recorded]["num_images"],
        }
    return {
        "metrics": {name: found[name] for name in HOMEWORK_METRICS if name in found},
        "sampling_seconds": seconds,
    }


def sample_metrics(
    images: Tensor, labels: Tensor | None, dataset: Dataset
) -> dict[str, Mapping[str, Any]]:
    """Returns the metrics of samples against equally many test images, as a row holds them.

    Args:
        images: uint8 `[N, C, H, W]`.
        labels: the classes that were asked for, int64 `[N]`; None where the model was told none.
    """
    return {one.name: _as_metric(one) for one in _of_images(images, labels, dataset)}


def _as_metric(measured: Measurement) -> Mapping[str, Any]:
    error = measured.error if math.isfinite(measured.error) else None
    return {"value": measured.value, "error": error, "num_images": measured.num_images}


def drawn_samples(model: Model, num_images: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Returns samples, uint8 `[N, C, H, W]` on the CPU, and the classes that were asked for, int64
    `[N]`; None where the model was told none.
    """
    rng = make_rng(seed, 7)
    labels = (
        torch.randint(model.config.num_classes, (num_images,), generator=rng)
        if model.needs_labels
        else None
    )
    return sample_in_batches(model, num_images, rng=rng, labels=labels), labels


def _of_images(images: Tensor, labels: Tensor | None, dataset: Dataset) -> list[Measurement]:
    reference = dataset.subset(num_test=len(images)).test_images
    # a classifier of one's own may be trained between two rows, which would then not compare
    known = shipped_classifier(dataset) is not None
    extractor, classifier = find_extractor("classifier" if known else "pixels", dataset)
    fake, real = extract(extractor, images), extract(extractor, reference)
    with warnings.catch_warnings():
        # the smoke budget has few images; both sides have equally few
        warnings.simplefilter("ignore", MetricWarning)
        found = [fid(fake, real), kid(fake, real), *precision_recall(real, fake)]
    if known:
        probabilities = class_probabilities(classifier, images)
        # half an image more: no class is impossible
        counts = torch.bincount(dataset.train_labels, minlength=dataset.num_classes) + 0.5
        found.append(class_kl(probabilities, counts.double() / counts.sum()))
        found += [class_agreement(probabilities, labels)] if labels is not None else []
    return found


def effects(
    before: Sequence[SubmittedRow], after: Sequence[SubmittedRow]
) -> tuple[SeedComparison, ...]:
    """Returns the comparison of two sets of runs for every metric that all of them have, in the
    order of the first run.

    Of several runs with one seed the first counts. Nothing where a side has no runs; a metric that
    does not compare (measured on other numbers of images) is left out: what students hand in may be
    anything, and the rest is still worth reading.
    """
    sides = [
        [asdict(row) for row in {row.seed: row for row in reversed(rows)}.values()][::-1]
        for rows in (before, after)
    ]
    from course_utils.studies.significance import compare_seeds

    found: list[SeedComparison] = []
    for name in _shared([*before, *after]) if all(sides) else ():
        try:
            found += compare_seeds(
                *(
                    [{**row, "metrics": {name: row["metrics"][name]}} for row in rows]
                    for rows in sides
                )
            )
        except CourseError:
            continue
    return tuple(found)


def judgement(effect: SeedComparison, changes: Collection[str]) -> str:
    """Returns "real", "within noise", or why neither can be said: one seed, or a change that gives
    the metric another meaning.
    """
    changed_by = incomparable(effect.name, changes)
    return f"not comparable: {', '.join(changed_by)} changed" if changed_by else effect.judgement


def difference(effect: SeedComparison) -> float:
    """Returns the changed model's mean minus the class model's."""
    return effect.changed.value - effect.baseline.value


def _shared(rows: Sequence[SubmittedRow]) -> list[str]:
    return (
        [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
        if rows
        else []
    )


def changes_of(study: Study) -> list[tuple[str, Any, Any]]:
    """Returns name, value in class and value now of each change; the value in class is read off the
    baseline's runs, None where there are none. Of the student's own code, how much differs.
    """
    if study.own_code is not None:
        lines = f"{changed_lines(study.own_code)} lines of code changed"
        return [("own code", study.own_code.file, lines)]
    baseline = study.of_kind("baseline")
    return [
        (name, baseline[0].settings.get(name) if baseline else None, value)
        for name, value in study.changes.items()
    ]


def in_short(value: Any) -> str:
    """Returns a setting's value as a reader writes it, such as "400, 400", "off" or "0.003"."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(in_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
