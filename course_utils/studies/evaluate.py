"""What `course evaluate` does: images of any source against a dataset, by every metric, each beside
the value of real images.

The floor: as many training images take the place of the generated ones. A generator cannot be
expected to beat it, and no metric is 0 there.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_utils.base.device import budget, make_rng, reuse_freed_memory
from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import read_json, runs_root, write_json, write_text
from course_utils.base.images import binarise, check_uint8, uint8_to_signed
from course_utils.data.dataset import Dataset
from course_utils.data.folder import MIN_TEST_IMAGES, TEST_SHARE
from course_utils.metrics.classes import (
    class_agreement,
    class_coverage,
    class_kl,
    inception_score,
    mean_confidence,
)
from course_utils.metrics.features import (
    Extractor,
    class_probabilities,
    classifier_extractor,
    extract,
    inception_extractor,
    pixel_extractor,
)
from course_utils.metrics.frechet import fid, fid_infinity, kid
from course_utils.metrics.likelihood import importance_weighted_bound
from course_utils.metrics.measurement import (
    Difference,
    Measurement,
    MetricWarning,
    is_difference_real,
)
from course_utils.metrics.neighbours import density_coverage, precision_recall
from course_utils.models.base import Model
from course_utils.models.gaussian import GREY_LEVEL
from course_utils.training.presets import SMOKE_STEPS
from course_utils.training.runs import (
    RECORD,
    Run,
    find_shipped,
    load_run,
    pretrained,
    pretrained_names,
    shipped_settings,
)

if TYPE_CHECKING:
    from course_utils.models.gaussian import Gaussian
    from course_utils.models.vae import VAE

NLL = "nll"
NUM_DRAWS = 5000  # the k of the published numbers
BINARISATION_SEED = 0
IMAGES_PER_UPDATE = 40  # of the progress bar
ROWS_PER_CALL = 2000  # pairs of image and draw, some 30 MB of memory


def binarised_test_images(dataset: Dataset) -> Tensor:
    """Returns all test images, signed, each drawn black and white once with the course's fixed
    seed: image i is the same in every evaluation.
    """
    return binarise(uint8_to_signed(dataset.test_images), make_rng(BINARISATION_SEED))


def negative_log_likelihood(
    model: Model,
    dataset: Dataset,
    *,
    num_draws: int = NUM_DRAWS,
    num_images: int | None = None,
    seed: int = 0,
) -> Measurement:
    """Returns -log p(x) in nats, the mean over test images: exact where the model can, else the
    importance-weighted bound, on average never too low.

    Args:
        model: with `log_prob` (exact) or `log_weights` (importance samples).
        dataset: whose test images are measured, black and white where the model was trained on
            black and white.
        num_draws: k, importance samples an image; the bound falls towards the exact value as it
            grows.
        num_images: that many random test images; None takes all.
        seed: of the choice of images and of the draws.

    Raises:
        CourseError: a model without a likelihood, a number out of range, or images of another
            shape.
    """
    check_likelihood(model)
    available = len(dataset.test_images)
    if num_images is not None and not 2 <= num_images <= available:
        raise CourseError(
            f"expected 2 to {available:,} test images of {dataset.name}, got {num_images:,}; change"
            " --num."
        )
    if num_draws < 1:
        raise CourseError(f"k: expected at least 1 importance sample an image, got {num_draws}.")
    binary = getattr(model.config, "binarisation", "none") == "dynamic"
    images = binarised_test_images(dataset) if binary else uint8_to_signed(dataset.test_images)
    if num_images is not None:
        images = images[torch.randperm(available, generator=make_rng(seed))[:num_images]]
    exact = hasattr(model, "log_prob")
    if exact:
        values = _exact(cast("Gaussian", model), images, seed)
    else:
        values = _bound(cast("VAE", model), images, num_draws, seed)
    how = (
        "exact density of signed pixels plus noise of one grey level"
        if exact
        else f"importance-weighted, k = {num_draws:,}"
    )
    pixels = f"black and white once (seed {BINARISATION_SEED})" if binary else "grey"
    note = f"nats an image, {how}, pixels {pixels}"
    label = f"{dataset.name} test{', binarised' if binary else ''}"
    return Measurement(
        "NLL",
        -values.mean().item(),
        values.std().item() / math.sqrt(len(values)),
        len(values),
        "",
        label,
        note,
    )


def check_likelihood(model: Model) -> None:
    """Raises CourseError unless the model gives a likelihood of images."""
    if not model.has_likelihood:
        raise CourseError(
            f"nll: a {model.family} gives no likelihood of images; a vae and a gaussian do."
        )


@torch.no_grad()
def _exact(model: Gaussian, images: Tensor, seed: int) -> Tensor:
    """Returns log p(x) of images with the noise that gives a grey level its volume, float64 `[N]`
    on the CPU.
    """
    noise = torch.rand(images.shape, generator=make_rng(seed, 1))
    noisy = images + GREY_LEVEL * (noise - 0.5)
    return torch.cat(
        [model.log_prob(piece.to(model.device)).double().cpu() for piece in noisy.split(500)]
    )


def _bound(model: VAE, images: Tensor, num_draws: int, seed: int) -> Tensor:
    """Returns the importance-weighted bound of each image, float64 `[N]` on the CPU; memory does
    not grow with the number of draws.
    """
    rng = make_rng(seed, 1, device=model.device)
    reuse_freed_memory()
    rows = []
    with tqdm(total=len(images), desc="nll", unit=" images", leave=False) as bar:
        for piece in images.split(IMAGES_PER_UPDATE):
            bound = importance_weighted_bound(
                model.log_weights,
                piece.to(model.device),
                num_draws,
                rng=rng,
                rows_per_call=ROWS_PER_CALL,
            )
            rows.append(bound.per_image)
            bar.update(len(piece))
    return torch.cat(rows)


MIN_IMAGES, MAX_IMAGES = 10, 10_000  # the latter unless more are asked for


class Features(NamedTuple):
    """What measurements see images through, and the classifier of the dataset's classes; None where
    there is none.
    """

    extractor: Extractor
    classifier: Any | None


@dataclass(frozen=True)
class Described:
    """A set of images as metrics see it: features `[N, D]`, p(class | image) `[N, K]` or None where
    no classifier knows the classes, and the classes that were asked for, `[N]`, or None.
    """

    features: Tensor
    probabilities: Tensor | None
    labels: Tensor | None = None


@dataclass(frozen=True)
class MetricRow:
    """One metric of the images, the same of real images, and whether they differ; None where real
    images have no such value.
    """

    measured: Measurement
    floor: Measurement | None = None
    verdict: Difference | None = None

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """The cells of the printed table."""
        if self.floor is None:
            return self.measured.name, self.measured.number, "-", "-"
        return (
            self.measured.name,
            self.measured.number,
            self.floor.number,
            "yes" if self.verdict else "no",
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns everything for JSON."""
        floor = {"value": None, "error": None} if self.floor is None else self.floor.as_dict()
        differs = None if self.verdict is None else self.verdict.real
        return {
            **self.measured.as_dict(),
            "floor": floor["value"],
            "floor_error": floor["error"],
            "differs_from_real": differs,
        }


@dataclass(frozen=True)
class Evaluation:
    """All metrics of one set of images.

    Attributes:
        source, dataset, features: what was measured, against what, seen through what ("" where no
            metric needs features).
        num_images: of the images, of the reference and of the floor, each.
        rows: one for each number.
        left_out: a sentence for each metric that could not be measured: why, and what it takes.
    """

    source: str
    dataset: str
    features: str
    num_images: int
    rows: tuple[MetricRow, ...]
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = (
            f"{self.num_images:,} images of {self.source} against {self.num_images:,} of"
            f" {self.dataset}, features: {self.features}"
        )
        if not self.features:  # the model itself was asked, about real images
            head = f"{self.source} on {self.num_images:,} images of {self.dataset}"
        cells = [
            ("metric", "value ± error", "real vs real", "differs from real"),
            *(row.texts for row in self.rows),
        ]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()
            for line in cells
        ]
        notes = sorted(
            {f"{row.measured.name}: {row.measured.note}" for row in self.rows if row.measured.note}
        )
        return "\n".join(
            [
                head,
                *lines,
                *notes,
                *self.left_out,
                (
                    "± is one standard error; real vs real: training images in place of the"
                    " generated ones."
                ),
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns everything for JSON."""
        head = {
            name: getattr(self, name) for name in ("source", "dataset", "features", "num_images")
        }
        rows = [row.as_dict() for row in self.rows]
        return {**head, "metrics": rows, "left_out": list(self.left_out)}

    def save(self, path: Path) -> Path:
        """Writes FILE.json, and the same numbers as a table beside it; returns the path of that
        FILE.csv.
        """
        rows = self.as_dict()["metrics"]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_json(path, self.as_dict())
        write_text(path.with_suffix(".csv"), text.getvalue())
        return path.with_suffix(".csv")


def _probabilities(images: Described) -> Tensor:
    """Returns p(class | image), for the metrics that `METRICS` says need a classifier."""
    assert images.probabilities is not None
    return images.probabilities


def _classes(
    images: Described, reference: Described, frequencies: Tensor
) -> tuple[Measurement, ...]:
    p = _probabilities(images)
    asked = () if images.labels is None else (class_agreement(p, images.labels),)
    return class_coverage(p), class_kl(p, frequencies), mean_confidence(p), *asked


# name: (whether it needs a classifier, what it measures)
METRICS: dict[
    str, tuple[bool, Callable[[Described, Described, Tensor], tuple[Measurement, ...]]]
] = {
    "fid": (False, lambda images, reference, _: (fid(images.features, reference.features),)),
    "fid_infinity": (
        False,
        lambda images, reference, _: (fid_infinity(images.features, reference.features),),
    ),
    "kid": (False, lambda images, reference, _: (kid(images.features, reference.features),)),
    "precision_recall": (
        False,
        lambda images, reference, _: precision_recall(reference.features, images.features),
    ),
    "density_coverage": (
        False,
        lambda images, reference, _: density_coverage(reference.features, images.features),
    ),
    "inception_score": (True, lambda images, reference, _: inception_score(_probabilities(images))),
    "classes": (True, _classes),
}


def evaluate_images(
    images: Tensor,
    dataset: Dataset,
    *,
    metrics: Sequence[str] | None = None,
    features: str | Features | None = None,
    source: str = "given",
    labels: Tensor | None = None,
    seed: int = 0,
) -> Evaluation:
    """Returns every metric of some images against as many test images, with the same for training
    images beside it.

    Args:
        images: uint8 `[N, C, H, W]` like the dataset's, at least 10 and at most as many as it has
            train and test images.
        dataset: what they should look like.
        metrics: keys of `METRICS`; None takes all that the features and N allow, and says which
            are left out and why.
        features: as for `find_extractor`.
        source: what the images are, for the table.
        labels: the classes that were asked for, int64 `[N]`; adds the share of images of the right
            class to "classes".
        seed: of the choice of real images.

    Raises:
        CourseError: images of another shape, too few or too many, an unknown metric, or features
            that this dataset does not have.
    """
    check_uint8(images)
    if tuple(images.shape[1:]) != dataset.image_shape:
        raise CourseError(
            f"expected images of shape {list(dataset.image_shape)} like {dataset.name}, got"
            f" {list(images.shape[1:])}."
        )
    check_num_images(len(images), dataset)
    check_metrics(metrics)
    real = dataset.subset(num_train=len(images), num_test=len(images), seed=seed)
    found = find_extractor(features, dataset)
    described = [_describe(part, found) for part in (images, real.train_images, real.test_images)]
    if labels is not None:
        described[0] = replace(described[0], labels=labels)
        described[1] = replace(described[1], labels=real.train_labels)
    # half an image more: no class is impossible
    counts = torch.bincount(dataset.train_labels, minlength=dataset.num_classes) + 0.5
    frequencies = counts.double() / counts.sum()
    against, features_name = f"{dataset.name} test", found.extractor.name
    chosen, left_out = _chosen(metrics, described[0], dataset)
    rows = []
    for name in chosen:
        with warnings.catch_warnings():
            # the note of the measurement says the same, under the table
            warnings.simplefilter("ignore", MetricWarning)
            sets = [METRICS[name][1](part, described[2], frequencies) for part in described[:2]]
        for measured, floor in zip(
            *([one.labelled(features_name, against) for one in group] for group in sets)
        ):
            rows.append(MetricRow(measured, floor, is_difference_real(measured, floor)))
    return Evaluation(source, against, features_name, len(images), tuple(rows), left_out)


def check_num_images(num_images: int, dataset: Dataset) -> None:
    """Raises CourseError unless the dataset has as many real images, of training and of test, to
    compare with.
    """
    for split, available in (
        ("test", len(dataset.test_images)),
        ("training", len(dataset.train_images)),
    ):
        if available < MIN_IMAGES:
            raise CourseError(
                f"needs at least {MIN_IMAGES} {split} images, {dataset.name} has {available}"
                f"{pictures_for(MIN_IMAGES, dataset)}."
            )
    available = min(len(dataset.train_images), len(dataset.test_images))
    if not MIN_IMAGES <= num_images <= available:
        enough = f"{MIN_IMAGES} to {available:,}" if available > MIN_IMAGES else f"{MIN_IMAGES}"
        more = pictures_for(num_images, dataset) if num_images > available else ""
        raise CourseError(
            f"expected {enough} images to compare with {dataset.name}, got {num_images:,}; change"
            f" --num{more and f', or add pictures{more}'}."
        )


def pictures_for(num_test: int, dataset: Dataset) -> str:
    """Returns how many pictures of one's own give that many test images; "" for other datasets,
    whose size nobody can change.
    """
    if dataset.folder is None:
        return ""
    few = num_test <= MIN_TEST_IMAGES  # of few pictures a third is the test set, else a share
    num = 3 * num_test if few else math.ceil(num_test / TEST_SHARE)
    return f": about {num:,} pictures, or {num_test:,} in a folder `test` beside one `train`"


def check_metrics(metrics: Sequence[str] | None) -> None:
    """Raises CourseError unless all are keys of `METRICS`, or "nll"."""
    for name in metrics or ():
        if name not in METRICS and name != NLL:
            raise unknown("metric", name, [*METRICS, NLL])


def _chosen(
    metrics: Sequence[str] | None, images: Described, dataset: Dataset
) -> tuple[list[str], tuple[str, ...]]:
    """Returns the metrics to measure, and a sentence for each that is left out; those that were
    asked for by name must be possible.
    """
    reasons = {}
    num_images, dim = images.features.shape
    if num_images <= 4 * dim + 1:
        reasons["fid_infinity"] = (
            f"expected more than {4 * dim + 1} images for {dim} features, got {num_images}"
            f"{pictures_for(4 * dim + 2, dataset)}"
        )
    if images.probabilities is None:
        why = "--features classifier trains one"
        if dataset.num_classes < 2:
            why = "it has one class, so there is nothing to classify"
        needing = [name for name, (needs_classes, _) in METRICS.items() if needs_classes]
        reasons |= dict.fromkeys(needing, f"needs a classifier for {dataset.name}; {why}")
    if metrics is None:
        left_out = tuple(f"left out: {name}: {why}." for name, why in reasons.items())
        return [name for name in METRICS if name not in reasons], left_out
    for name in metrics:
        if name in reasons:
            raise CourseError(f"{name}: {reasons[name]}.")
    return list(dict.fromkeys(metrics)), ()


def _describe(images: Tensor, found: Features) -> Described:
    features = extract(found.extractor, images)
    if found.classifier is None:
        return Described(features, None)
    if found.extractor.classifier is found.classifier:
        return Described(features, found.classifier.probabilities_of(features))
    return Described(features, class_probabilities(found.classifier, images))


def find_extractor(features: str | Features | None, dataset: Dataset | str) -> Features:
    """Returns the extractor that `--features` names, and the classifier of the dataset's classes,
    or None where there is none.

    Args:
        features: "classifier" (the one that `pretrained` finds or trains for these data), "pixels",
            "inception", "inception:torch-fidelity", or a classifier's run directory. None takes a
            classifier that is there, else pixels, and prints a line then. Of a single class pixels
            are taken, where a classifier would be meant. What was found before stays as it is.
        dataset: what was or will be measured; of a name, only a shipped classifier is found.

    Raises:
        CourseError: no such features, or no classifier for this name.
    """
    if isinstance(features, Features):
        return features
    if features is not None and Path(features).is_dir():
        return _seen_by(load_run(features, "classifier"))
    if features in (None, "classifier"):
        found = _classifier_or_none(dataset, train=features is not None)
        return Features(pixel_extractor(), None) if found is None else _seen_by(found)
    found = find_classifier(dataset)
    classifier = None if found is None else found.model
    kind, _, source = features.partition(":")
    if features == "pixels":
        return Features(pixel_extractor(), classifier)
    if kind == "inception":
        return Features(inception_extractor(source or "torchvision"), classifier)
    raise unknown(
        "features",
        features,
        [
            "classifier",
            "pixels",
            "inception",
            "inception:torch-fidelity",
            "DIR of a classifier's run",
        ],
    )


def _seen_by(found: Run) -> Features:
    """Returns the features of a classifier, named after its folder: distances compare only within
    one name.
    """
    folder = "" if found.folder is None else found.folder.name
    name = folder if folder.startswith("classifier") else f"classifier-{folder}"
    return Features(classifier_extractor(found.model, name), found.model)


def shipped_classifier(dataset: Dataset | str) -> Run | None:
    """Returns the classifier that ships for these data (or for this name), or None."""
    if isinstance(dataset, str):
        known = f"classifier-{dataset}" in pretrained_names()
        return pretrained("classifier", dataset) if known else None
    folder = find_shipped(shipped_settings("classifier").fitted_to(dataset), dataset)
    return None if folder is None else load_run(folder)


def find_classifier(dataset: Dataset | str) -> Run | None:
    """Returns the classifier that knows the classes of a dataset: the shipped one, else the most
    accurate of your own finished runs on these data; None where there is none.

    Args:
        dataset: of a name, only a shipped classifier is found.
    """
    if isinstance(dataset, str):
        return shipped_classifier(dataset)
    if dataset.num_classes < 2:
        return None
    shipped = shipped_classifier(dataset)
    if shipped is not None:
        return shipped
    own = {}
    for path in sorted(runs_root().glob(f"classifier-*/{RECORD}")):
        record = read_json(path)
        if _knows(record.get("experiment", {}), dataset):
            accuracy = record.get("metrics", {}).get("accuracy", {}).get("value", 0.0)
            own[path.parent] = record.get("dataset_sha256") == dataset.sha256, accuracy
    return load_run(max(own, key=lambda folder: own[folder]), "classifier") if own else None


def _knows(experiment: dict[str, Any], dataset: Dataset) -> bool:
    """Returns whether a recorded classifier was trained on these data at this size, and not only to
    show that the code runs.
    """
    channels, size, _ = dataset.image_shape
    model, train = experiment.get("model", {}), experiment.get("train", {})
    found = [model.get(name) for name in ("image_channels", "image_size", "num_classes")]
    num_smoke_images = SMOKE_STEPS * train.get("batch_size", 0)
    is_smoke = (train.get("num_epochs"), train.get("num_train_images")) == (1, num_smoke_images)
    return (
        experiment.get("dataset") == dataset.key
        and found == [channels, size, dataset.num_classes]
        and (not is_smoke or budget() == "smoke")
    )


def _classifier_or_none(dataset: Dataset | str, train: bool) -> Run | None:
    """Returns the classifier of a dataset, trained now where there is none and `train` says so; or
    None, and says that pixels take its place.
    """
    if isinstance(dataset, str):
        found = shipped_classifier(dataset)
        if found is None:
            raise CourseError(
                f"no classifier for {dataset} ships with the course; use --features pixels, or"
                f" train one (`course train classifier --dataset {dataset} --out DIR`) and give"
                " --features DIR."
            )
        return found
    if dataset.num_classes < 2:
        print(f"{dataset.name} has one class, so there is nothing to classify: measuring in pixels")
        return None
    if train:
        return pretrained("classifier", dataset)
    found = find_classifier(dataset)
    if found is None:
        source = dataset.name if dataset.folder is None else f"folder:{dataset.folder}"
        print(
            f"no classifier was trained on {dataset.name}: measuring in pixels (--features"
            f" classifier trains one, as does `course train classifier --dataset {source}`)"
        )
    return found
