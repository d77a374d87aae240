"""What metrics are tried on: generators that are spoiled in a known way, a table of which metric
catches which of them, and changes of an image that squared error cannot tell apart.

All images are uint8 `[N, C, H, W]`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.images import uint8_to_unit
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.metrics.classes import class_kl, inception_score
from course_utils.metrics.frechet import fid, squared_mmd
from course_utils.metrics.neighbours import density_coverage, nearest_distances, precision_recall
from course_utils.plotting.words import rounded
from course_utils.studies.corruptions import (
    blurred,
    dropped_modes,
    low_contrast,
    memorised,
    noisy,
    shifted,
)

MIN_TRAIN, MIN_TEST = 1600, 200  # images that the scores of notebook 02 need
UP, DOWN = "↑", "↓"  # end of a metric's name: a higher value, or a lower one, is better
CONTROL = "control"
STATES = ("missed", "caught", "preferred", "quiet")


def scoring_dataset(own: Dataset) -> Dataset:
    """Returns the dataset itself where it is large enough to try metrics on, else the strokes, with
    a printed line that says why.
    """
    num_train, num_test = len(own.train_images), len(own.test_images)
    rarest = int(own.train_labels.bincount(minlength=own.num_classes).min())
    even = own.num_classes > 1 and rarest >= num_train / own.num_classes / 2
    if num_train >= MIN_TRAIN and num_test >= MIN_TEST and even:
        return own
    print(
        f"The scores below need {MIN_TRAIN:,} training and {MIN_TEST} test images in two or more"
        f" classes of about equal size. {own.name} has {num_train:,} and {num_test:,} in"
        f" {own.num_classes}, so the scores are those of the strokes. Your images are shown in"
        " sections 1 and 8."
    )
    return load_dataset("strokes")


def crash_generators(
    memory: Tensor, fresh: Tensor, labels: Tensor, missing: Mapping[str, int], num_images: int
) -> dict[str, Tensor]:
    """Returns `num_images` of each generator: a perfect one, called "control", and seven that fail
    in one way each: blur, noise, shift, contrast, a missing class, and copies of 100 or of all
    images of `memory`.

    Args:
        memory: the training images, in random order.
        fresh, labels: real images that are not among them, and their classes, in random order.
        missing: the name of a generator, such as "no 7", and the class that it never draws.
    """
    last = fresh[-num_images:]
    sets = {
        CONTROL: last,
        "blur": blurred(last, 0.5),
        "noise": noisy(last, 0.1),
        "shift": shifted(last, 2),
        "contrast": low_contrast(last, 0.7),
    }
    for name, label in missing.items():
        sets[name] = dropped_modes(fresh[-5000:], labels[-5000:], (label,), num_images)
    sets["100 copies"] = memorised(memory, min(100, len(memory)), num_images)
    sets["all copies"] = memorised(memory, len(memory), num_images)
    return sets


def every_metric(
    features: Tensor,
    probabilities: Tensor,
    reference: Tensor,
    memory: Tensor,
    near: float,
    frequencies: Tensor,
) -> dict[str, float]:
    """Returns the eleven set metrics of the course; an arrow in the name says which way is better.

    Args:
        features, probabilities: of the images, `[N, d]` and `[N, K]`.
        reference, memory: features of real images and of the training images.
        near: a distance to the training images; "copies" is the share of images that are nearer.
        frequencies: of the classes, `[K]`, all above 0.
    """
    score = inception_score(probabilities)
    quality, variety = precision_recall(reference, features)
    density, coverage = density_coverage(reference, features)
    distances = nearest_distances(features, memory)[:, 0]
    return {
        f"FID {DOWN}": fid(features, reference, error="none").value,
        f"KID {DOWN}": squared_mmd(features, reference),
        f"S {UP}": score.sharpness.value,
        f"D {UP}": score.diversity.value,
        f"IS {UP}": score.score.value,
        f"precision {UP}": quality.value,
        f"recall {UP}": variety.value,
        f"density {UP}": density.value,
        f"coverage {UP}": coverage.value,
        f"class KL {DOWN}": class_kl(probabilities, frequencies).value,
        f"copies {DOWN}": (distances < near).double().mean().item(),
    }


def crash_verdicts(
    floor: Sequence[Mapping[str, float]],
    measured: Mapping[str, Mapping[str, float]],
    threshold: float = 4.0,
) -> dict[str, dict[str, tuple[str, str]]]:
    """Returns `{metric: {generator: (value, verdict)}}`, as `plotting.verdict_table` draws it.

    A generator is "caught" where its value is worse than the mean of perfect sets by more than
    `threshold` of their standard deviations, "preferred" where it is better by as much, else
    "missed"; of the control, which has no failure, "quiet".

    Args:
        floor: values of perfect sets, one dictionary each, 2 or more; the metrics' names end in an
            arrow.
        measured: `{generator: {metric: value}}`.

    Raises:
        CourseError: fewer than two perfect sets, or a metric's name without an arrow.
    """
    require(len(floor) > 1, "floor", "the values of 2 or more perfect sets", len(floor))
    table: dict[str, dict[str, tuple[str, str]]] = {}
    for metric in floor[0]:
        require(metric[-1] in (UP, DOWN), "metric", f"a name that ends in {UP} or {DOWN}", metric)
        perfect = [values[metric] for values in floor]
        mean, spread = statistics.fmean(perfect), statistics.stdev(perfect)
        table[metric] = {}
        for name, values in measured.items():
            worse = values[metric] - mean if metric[-1] == DOWN else mean - values[metric]
            verdict = _verdict(worse, threshold * spread, name)
            table[metric][name] = (rounded(values[metric]), verdict)
    return table


def _verdict(worse: float, limit: float, name: str) -> str:
    if worse > limit:
        return "caught"
    if worse < -limit:
        return "preferred"
    return "quiet" if name == CONTROL else "missed"


def missed_by(table: Mapping[str, Mapping[str, tuple[str, str]]]) -> dict[str, list[str]]:
    """Returns `{metric: generators that it does not catch}` of a table of `crash_verdicts`."""
    missed: dict[str, list[str]] = {}
    for metric, row in table.items():
        failures = {name: state for name, (_, state) in row.items() if name != CONTROL}
        missed[metric] = [name for name, state in failures.items() if state != "caught"]
    return missed


def equal_error_changes(
    originals: Tensor, largest_rmse: float = 0.05
) -> tuple[Tensor, dict[str, Tensor]]:
    """Returns images and five changed versions of them, each with the same mean squared error:
    brighter, more contrast, noise, blur, a double image.

    Args:
        originals: images, of any size.
        largest_rmse: root mean squared error of the changes where no pixel would leave [0, 1] by
            them; else the largest one for which none does.

    Returns:
        float64 `[N, C, H, W]` in [0, 1]: the originals in the range from 0.3 to 0.7, so that no
        change has to be clipped, and the changed ones by name.
    """
    x = _moderate(originals)
    directions = {
        "brighter": torch.ones_like(x),
        "more contrast": x - x.mean((2, 3), keepdim=True),
        "noise": torch.randn(x.shape, generator=make_rng(8), dtype=x.dtype),
        "blur": _moderate(blurred(originals, 1.5)) - x,
        "double image": _moderate(shifted(originals, 2)) - x,
    }
    pixels = (1, 2, 3)
    units, largest = {}, torch.zeros(())
    for name, direction in directions.items():
        rms = direction.square().mean(pixels, keepdim=True).sqrt().clamp(min=1e-9)
        units[name] = direction / rms
        largest = torch.maximum(largest, units[name].abs().amax(pixels, keepdim=True))
    level = (0.29 / largest).clamp(max=largest_rmse)  # [N, 1, 1, 1]
    return x, {name: x + level * unit for name, unit in units.items()}


def _moderate(images: Tensor) -> Tensor:
    return 0.3 + 0.4 * uint8_to_unit(images).double()


def log_density_of_copies(points: Tensor, centres: Tensor, std: float) -> Tensor:
    """Returns log p(x) in nats, `[N]`, of a mixture with one Gaussian around each of M centres.

    Only the 20 nearest centres are added up. The terms of the others are smaller than that of the
    twentieth, so log p(x) is at most log(M / 20) nats too low.

    Args:
        points, centres: `[N, D]` and `[M, D]`.
        std: of each Gaussian, in every direction.
    """
    num = min(20, len(centres))
    squares = nearest_distances(points, centres, num).square()  # [N, num]
    log_norm = points.shape[1] * math.log(std * math.sqrt(2 * math.pi))
    return (-squares / (2 * std**2)).logsumexp(1) - log_norm - math.log(len(centres))
