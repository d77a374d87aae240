"""What every metric checks first, and what it returns: a value with its error bar, number of
images, features and reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError


class MetricWarning(UserWarning):
    """A value that can be computed but should not be trusted."""


def check_features(features: Tensor, name: str = "features", min_images: int = 2) -> Tensor:
    """Returns features `[N, D]` as float64 on the CPU.

    Raises:
        CourseError: another shape, fewer than `min_images` rows, whole numbers, NaN or infinity.
    """
    features = torch.as_tensor(features)
    if features.ndim != 2:
        hint = "; extract() makes features of images" if features.ndim == 4 else ""
        raise CourseError(
            f"{name}: expected a matrix of shape [N, D], got {list(features.shape)}{hint}."
        )
    if not features.is_floating_point():
        raise CourseError(
            f"{name}: expected floating-point features, got {features.dtype}; extract() makes them"
            " from uint8 images."
        )
    if len(features) < min_images:
        raise CourseError(
            f"{name}: expected at least {min_images} images, got {len(features)}; give more images."
        )
    if features.shape[1] < 1:
        raise CourseError(f"{name}: expected at least 1 feature an image, got 0.")
    features = features.detach().cpu().double()
    # in pieces: isfinite copies what it is given
    if not all(piece.isfinite().all() for piece in features.split(1000)):
        raise CourseError(
            f"{name}: expected finite numbers, got NaN or infinity; the generator or the extractor"
            " has diverged."
        )
    return features


def check_pair(
    first: Tensor,
    second: Tensor,
    names: tuple[str, str] = ("features_a", "features_b"),
    min_images: int = 2,
) -> tuple[Tensor, Tensor]:
    """Returns two matrices of features as float64 on the CPU.

    Raises:
        CourseError: either is wrong, or they have different numbers of features.
    """
    first, second = (
        check_features(first, names[0], min_images),
        check_features(second, names[1], min_images),
    )
    if first.shape[1] != second.shape[1]:
        raise CourseError(
            f"expected features from one extractor, got {first.shape[1]} columns and"
            f" {second.shape[1]}; extract both sets alike."
        )
    return first, second


def check_probabilities(probabilities: Tensor) -> Tensor:
    """Returns class probabilities `[N, K]` as float64 on the CPU, their rows adding up to 1
    exactly.

    Raises:
        CourseError: another shape, fewer than 2 rows, values outside [0, 1], or rows that do not
            add up to 1.
    """
    probabilities = check_features(probabilities, "probabilities")
    sums = probabilities.sum(1, keepdim=True)
    if probabilities.min() < 0 or (sums - 1).abs().max() > 1e-3:
        low, high = probabilities.min().item(), probabilities.max().item()
        raise CourseError(
            "probabilities: expected rows of numbers from 0 that add up to 1, got values from"
            f" {low:.3g} to {high:.3g} and sums from {sums.min().item():.3g} to"
            f" {sums.max().item():.3g}; apply softmax to logits first."
        )
    return probabilities / sums


def check_count(name: str, value: int, low: int, high: int | None = None, *, why: str = "") -> None:
    """Raises CourseError unless `value` is a whole number from `low` to `high`.

    Args:
        why: where `high` comes from, such as "the smaller set has 6 images", for the message.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < low
        or (high is not None and value > high)
    ):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        reason = f": {why}; choose another {name}, or give more images" if why else ""
        raise CourseError(f"{name}: expected a whole number {limits}, got {value!r}{reason}.")


def with_error(value: float, error: float) -> str:
    """Returns a value and its standard error in words, such as "4.31 ± 0.12", both to the second
    digit of the error.

    Where the error is NaN or infinite, the value stands alone, with four digits.
    """
    if not math.isfinite(error):
        return f"{value:.4g}"
    scale = max(error, 1e-4 * abs(value))  # more digits of the value than five would mean nothing
    decimals = min(12, max(0, 1 - math.floor(math.log10(scale)))) if scale > 0 else 2
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


@dataclass(frozen=True)
class Measurement:
    """One number and what is needed to read it.

    Attributes:
        name: of the metric, such as "FID".
        value: of the metric.
        error: one standard error of the value; NaN where there is none.
        num_images: that the value rests on; the smaller of the two numbers where two sets are
            compared.
        extractor: whose features or probabilities were used, such as "classifier-strokes".
        dataset: what was compared with, such as "strokes test".
        note: a warning that belongs to the value.
        size_matters: whether the expected value depends on the number of images, so that only equal
            numbers compare.
        num_seeds: trainings whose mean the value is, where the error comes from their spread; 1
            where it comes from the images.
    """

    name: str
    value: float
    error: float
    num_images: int
    extractor: str = ""
    dataset: str = ""
    note: str = ""
    size_matters: bool = False
    num_seeds: int = 1

    def __str__(self) -> str:
        about = [f"{self.num_images:,} images"]
        about += [f"features: {self.extractor}"] if self.extractor else []
        about += [f"against {self.dataset}"] if self.dataset else []
        about += [self.note] if self.note else []
        return f"{self.name} {self.number} ({', '.join(about)})"

    @property
    def number(self) -> str:
        """Value and error bar in words, such as "4.31 ± 0.12", with two digits of the error."""
        return with_error(self.value, self.error)

    def labelled(self, extractor: str = "", dataset: str = "") -> Measurement:
        """Returns the same with the names of its features and of what it was compared with; an
        empty name keeps the old one.
        """
        return replace(self, extractor=extractor or self.extractor, dataset=dataset or self.dataset)

    def as_dict(self) -> dict[str, object]:
        """Returns all fields for JSON, with None in place of NaN; `num_seeds` only where there are
        several.
        """
        fields: dict[str, object] = {}
        for name, value in asdict(self).items():
            fields[name] = None if isinstance(value, float) and math.isnan(value) else value
        if self.num_seeds == 1:
            del fields["num_seeds"]
        return fields


@dataclass(frozen=True)
class Difference:
    """Whether two measurements differ by more than their noise.

    Attributes:
        real: the difference is larger than the allowed number of standard errors.
        difference: of the values, first minus second.
        error: one standard error of the difference.
        limit: how many standard errors chance may explain.
        text: the same in one sentence.
    """

    real: bool
    difference: float
    error: float
    limit: float
    text: str

    def __bool__(self) -> bool:
        return self.real

    @property
    def num_errors(self) -> float:
        """The size of the difference in standard errors; infinite for one without any noise."""
        if self.difference == 0:
            return 0.0
        return abs(self.difference) / self.error if self.error > 0 else math.inf


CONFIDENCE = 0.95  # of not calling two equal generators different


def difference_limit(variances: Sequence[tuple[float, int]]) -> float:
    """Returns how many standard errors a difference must have to count, two-sided at 95 %.

    That is 1.96 where the errors are known, and more where few seeds had to tell them: 2.78 for two
    means of three seeds with equal spread.

    Args:
        variances: of what the difference is made of, each with the number of seeds that it was
            estimated from; 1 stands for "known".

    Source: Student 1908, Biometrika 6; Welch 1947, Biometrika 34; Satterthwaite 1946, Biometrics
    Bulletin 2, for the degrees of freedom.
    """
    from scipy.stats import t as student

    total = sum(variance for variance, _ in variances)
    estimated = sum(
        variance**2 / (num_seeds - 1) for variance, num_seeds in variances if num_seeds > 1
    )
    freedom = total**2 / estimated if estimated > 0 else math.inf
    return float(student.ppf(0.5 + CONFIDENCE / 2, freedom))


def is_difference_real(
    first: Measurement, second: Measurement, num_errors: float | None = None
) -> Difference:
    """Returns whether two measurements of one metric differ by more than chance would explain.

    The rule: |difference| > limit * sqrt(error1^2 + error2^2). It takes the measurements as
    independent and their noise as normal, and then calls two equal generators different in at most
    5 % of all cases (two-sided). The limit is 1.96 where the errors come from many images, and that
    of Student's t distribution where they come from few seeds (`difference_limit`). Generators that
    are compared with the same reference images share part of their noise; the rule is then on the
    safe side. Comparing many generators takes a larger `num_errors`.

    Args:
        first, second: of one metric, with one extractor, against one dataset; of equal numbers of
            images where the metric is biased by it.
        num_errors: standard errors of the difference that chance may explain, above 0; None takes
            the limit for the numbers of seeds.

    Raises:
        CourseError: measurements that cannot be compared, or that have no error bar.
    """
    for what in ("name", "extractor", "dataset"):
        if getattr(first, what) != getattr(second, what):
            both = f"{getattr(first, what)!r} and {getattr(second, what)!r}"
            raise CourseError(
                f"expected two measurements with one {what}, got {both}; measure both alike."
            )
    if (first.size_matters or second.size_matters) and first.num_images != second.num_images:
        raise CourseError(
            f"expected two {first.name} of equal numbers of images, got {first.num_images:,} and"
            f" {second.num_images:,}; its bias depends on the number, so measure both with the"
            " smaller one."
        )
    if num_errors is not None and not num_errors > 0:
        raise CourseError(
            f"num_errors: expected a number above 0, such as 1.96, got {num_errors!r}."
        )
    error = math.hypot(first.error, second.error)
    if not math.isfinite(error):
        raise CourseError(
            f"expected two measurements with error bars, got {first.number} and {second.number};"
            " measure with an error bar."
        )
    difference = first.value - second.value
    limit = num_errors or difference_limit(
        [(first.error**2, first.num_seeds), (second.error**2, second.num_seeds)]
    )
    real = abs(difference) > limit * error
    size = (
        f"{abs(difference) / error:.1f} standard errors, limit {limit:.2f}"
        if error > 0
        else "no noise at all"
    )
    judgement = "real" if real else "within the noise"
    text = (
        f"{first.name}: {first.number} against {second.number}; the difference of {difference:.3g}"
        f" is {judgement} ({size})."
    )
    return Difference(real, difference, error, limit, text)


def bootstrap(
    statistic: Callable[..., float],
    *matrices: Tensor,
    num_rounds: int = 100,
    rng: torch.Generator | None = None,
) -> float:
    """Returns the standard error of a statistic: its spread when the rows of every matrix are drawn
    again, with replacement.

    It is a spread, not a bias correction: repeated rows make most distances between sets larger.

    Args:
        statistic: called with one resampled matrix for each that was given; returns a number.
        matrices: `[N, ...]`, rows are independent draws; at least 2 rows each.
        num_rounds: how often to draw again, at least 2; the error of the result is about 1/sqrt(2
            num_rounds) of it.
        rng: source of the draws; None starts one from a fixed seed.

    Source: Efron 1979, Annals of Statistics 7(1), "Bootstrap methods".
    """
    if num_rounds < 2:
        raise CourseError(f"num_rounds: expected at least 2, got {num_rounds}.")
    for matrix in matrices:
        if len(matrix) < 2:
            raise CourseError(
                f"expected at least 2 rows to draw from, got {len(matrix)}; give more images."
            )
    rng = make_rng(0) if rng is None else rng
    values = []
    for _ in range(num_rounds):
        resampled = [
            matrix[torch.randint(len(matrix), (len(matrix),), generator=rng)] for matrix in matrices
        ]
        values.append(float(statistic(*resampled)))
    return torch.tensor(values, dtype=torch.float64).std().item()


def mean_over_images(name: str, values: Tensor, **about: Any) -> Measurement:
    """Returns the mean of one number for each image, its error from the spread between images.

    Args:
        values: `[N]`, N at least 2; of paired differences where two models saw the same images.
        about: other fields of the measurement, such as `dataset`.
    """
    values = torch.as_tensor(values).detach().cpu().double().flatten()
    if len(values) < 2:
        raise CourseError(
            f"{name}: expected the values of at least 2 images, got {len(values)}; one image says"
            " nothing about the spread between images."
        )
    error = values.std().item() / len(values) ** 0.5
    return Measurement(name, values.mean().item(), error, len(values), **about)


def is_effect_real(effect: Measurement) -> Difference:
    """Returns whether the mean of paired differences is further from 0 than chance would explain,
    by the rule of `is_difference_real`.
    """
    none = replace(effect, value=0.0, error=0.0, num_seeds=1)
    found = is_difference_real(effect, none)
    judgement = "real" if found else "within the noise"
    size = (
        f"{found.num_errors:.1f} standard errors, limit {found.limit:.2f}"
        if effect.error > 0
        else "no noise at all"
    )
    return replace(found, text=f"{effect.name}: {effect.number}, {judgement} ({size}).")


def mean_over_seeds(
    name: str, values: Sequence[float], num_images: int, **about: Any
) -> Measurement:
    """Returns the mean of a metric over seeds, its error from the spread between trainings.

    Args:
        values: one for each seed, at least 2.
        num_images: that each of them rests on.
        about: other fields of the measurement, such as `extractor`.
    """
    mean, error = seed_error(values)
    return Measurement(name, mean, error, num_images, num_seeds=len(values), **about)


class SeedMean(NamedTuple):
    """Mean over training seeds and its standard error."""

    mean: float
    error: float


def seed_error(values: Sequence[float]) -> SeedMean:
    """Returns the mean over seeds and its standard error, from the spread between trainings that
    differ in nothing but the seed.

    Args:
        values: one for each seed, at least 2.
    """
    if len(values) < 2:
        raise CourseError(
            f"expected the values of at least 2 seeds, got {len(values)}; one training says nothing"
            " about the noise between trainings."
        )
    tensor = torch.tensor([float(value) for value in values], dtype=torch.float64)
    if not tensor.isfinite().all():
        raise CourseError(f"expected finite values, got {list(values)}.")
    return SeedMean(tensor.mean().item(), tensor.std().item() / len(values) ** 0.5)
