"""What every metric returns: a value that carries its error bar, its number of images, its features and its reference.

Also the two ways to get an error bar when there is no formula (resampling, repeated seeds), and the rule for "this difference is real".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.device import make_rng
from course_utils.errors import CourseError


@dataclass(frozen=True)
class Measurement:
    """One number and what is needed to read it.

    Attributes:
        name: of the metric, such as "FID".
        value: of the metric.
        error: one standard error of the value; NaN where there is none.
        num_images: that the value rests on; the smaller of the two numbers where two sets are compared.
        extractor: whose features or probabilities were used, such as "classifier-strokes".
        dataset: what was compared with, such as "strokes test".
        note: a warning that belongs to the value.
        size_matters: whether the expected value depends on the number of images, so that only equal numbers compare.
    """

    name: str
    value: float
    error: float
    num_images: int
    extractor: str = ""
    dataset: str = ""
    note: str = ""
    size_matters: bool = False

    def __str__(self) -> str:
        about = [f"{self.num_images:,} images"]
        about += [f"features: {self.extractor}"] if self.extractor else []
        about += [f"against {self.dataset}"] if self.dataset else []
        about += [self.note] if self.note else []
        return f"{self.name} {self.number} ({', '.join(about)})"

    @property
    def number(self) -> str:
        """Value and error bar in words, such as "4.31 ± 0.12", with two digits of the error."""
        if not math.isfinite(self.error):
            return f"{self.value:.4g}"
        scale = max(self.error, 1e-4 * abs(self.value))  # more digits of the value than five would mean nothing
        decimals = min(12, max(0, 1 - math.floor(math.log10(scale)))) if scale > 0 else 2
        return f"{self.value:.{decimals}f} ± {self.error:.{decimals}f}"

    def labelled(self, extractor: str = "", dataset: str = "") -> Measurement:
        """Returns the same with the names of its features and of what it was compared with; an empty name keeps the old one."""
        return replace(self, extractor=extractor or self.extractor, dataset=dataset or self.dataset)

    def as_dict(self) -> dict[str, object]:
        """Returns all fields for JSON, with None in place of NaN."""
        return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Verdict:
    """Whether two measurements differ by more than their noise.

    Attributes:
        real: the difference is larger than the allowed number of standard errors.
        difference: of the values, first minus second.
        error: one standard error of the difference.
        text: the same in one sentence.
    """

    real: bool
    difference: float
    error: float
    text: str

    def __bool__(self) -> bool:
        return self.real


def is_difference_real(first: Measurement, second: Measurement, num_errors: float = 1.96) -> Verdict:
    """Returns whether two measurements of one metric differ by more than chance would explain.

    The rule: |difference| > 1.96 * sqrt(error1^2 + error2^2). It takes the measurements as independent and their noise as normal, and then calls
    two equal generators different in at most 5 % of all cases (two-sided). Generators that are compared with the same reference images share
    part of their noise; the rule is then on the safe side. Comparing many generators takes a larger `num_errors`.

    Args:
        first, second: of one metric, with one extractor, against one dataset; of equal numbers of images where the metric is biased by it.
        num_errors: standard errors of the difference that chance may explain, above 0.

    Raises:
        CourseError: measurements that cannot be compared, or that have no error bar.
    """
    for what in ("name", "extractor", "dataset"):
        if getattr(first, what) != getattr(second, what):
            both = f"{getattr(first, what)!r} and {getattr(second, what)!r}"
            raise CourseError(f"expected two measurements with one {what}, got {both}; measure both alike.")
    if (first.size_matters or second.size_matters) and first.num_images != second.num_images:
        raise CourseError(
            f"expected two {first.name} of equal numbers of images, got {first.num_images:,} and {second.num_images:,}; "
            "its bias depends on the number, so measure both with the smaller one."
        )
    if not num_errors > 0:
        raise CourseError(f"num_errors: expected a number above 0, such as 1.96, got {num_errors!r}.")
    error = math.hypot(first.error, second.error)
    if not math.isfinite(error):
        raise CourseError(f"expected two measurements with error bars, got {first.number} and {second.number}; measure with an error bar.")
    difference = first.value - second.value
    real = abs(difference) > num_errors * error
    size = f"{abs(difference) / error:.1f} standard errors" if error > 0 else "no noise at all"
    judgement = "real" if real else "within the noise"
    text = f"{first.name}: {first.number} against {second.number}; the difference of {difference:.3g} is {judgement} ({size})."
    return Verdict(real, difference, error, text)


def bootstrap(statistic: Callable[..., float], *matrices: Tensor, num_rounds: int = 100, rng: torch.Generator | None = None) -> float:
    """Returns the standard error of a statistic: its spread when the rows of every matrix are drawn again, with replacement.

    It is a spread, not a bias correction: repeated rows make most distances between sets larger.

    Args:
        statistic: called with one resampled matrix for each that was given; returns a number.
        matrices: `[N, ...]`, rows are independent draws; at least 2 rows each.
        num_rounds: how often to draw again, at least 2; the error of the result is about 1/sqrt(2 num_rounds) of it.
        rng: source of the draws; None starts one from a fixed seed.

    Source: Efron 1979, Annals of Statistics 7(1), "Bootstrap methods".
    """
    if num_rounds < 2:
        raise CourseError(f"num_rounds: expected at least 2, got {num_rounds}.")
    for matrix in matrices:
        if len(matrix) < 2:
            raise CourseError(f"expected at least 2 rows to draw from, got {len(matrix)}.")
    rng = make_rng(0) if rng is None else rng
    values = []
    for _ in range(num_rounds):
        resampled = [matrix[torch.randint(len(matrix), (len(matrix),), generator=rng)] for matrix in matrices]
        values.append(float(statistic(*resampled)))
    return torch.tensor(values, dtype=torch.float64).std().item()


class SeedMean(NamedTuple):
    """Mean over training seeds and its standard error."""

    mean: float
    error: float


def seed_error(values: Sequence[float]) -> SeedMean:
    """Returns the mean over seeds and its standard error, from the spread between trainings that differ in nothing but the seed.

    Args:
        values: one for each seed, at least 2.
    """
    if len(values) < 2:
        raise CourseError(f"expected the values of at least 2 seeds, got {len(values)}; one training says nothing about the noise between trainings.")
    tensor = torch.tensor([float(value) for value in values], dtype=torch.float64)
    if not tensor.isfinite().all():
        raise CourseError(f"expected finite values, got {list(values)}.")
    return SeedMean(tensor.mean().item(), tensor.std().item() / len(values) ** 0.5)
