"""What every metric checks first: matrices of finite numbers with as many columns and enough rows, as float64 on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.errors import CourseError


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
        raise CourseError(f"{name}: expected a matrix of shape [N, D], got {list(features.shape)}{hint}.")
    if not features.is_floating_point():
        raise CourseError(f"{name}: expected floating-point features, got {features.dtype}; extract() makes them from uint8 images.")
    if len(features) < min_images:
        raise CourseError(f"{name}: expected at least {min_images} images, got {len(features)}; give more images.")
    if features.shape[1] < 1:
        raise CourseError(f"{name}: expected at least 1 feature an image, got 0.")
    features = features.detach().cpu().double()
    if not all(piece.isfinite().all() for piece in features.split(1000)):  # in pieces: isfinite copies what it is given
        raise CourseError(f"{name}: expected finite numbers, got NaN or infinity; the generator or the extractor has diverged.")
    return features


def check_pair(
    first: Tensor, second: Tensor, names: tuple[str, str] = ("features_a", "features_b"), min_images: int = 2
) -> tuple[Tensor, Tensor]:
    """Returns two matrices of features as float64 on the CPU.

    Raises:
        CourseError: either is wrong, or they have different numbers of features.
    """
    first, second = check_features(first, names[0], min_images), check_features(second, names[1], min_images)
    if first.shape[1] != second.shape[1]:
        raise CourseError(f"expected features from one extractor, got {first.shape[1]} columns and {second.shape[1]}; extract both sets alike.")
    return first, second


def check_probabilities(probabilities: Tensor) -> Tensor:
    """Returns class probabilities `[N, K]` as float64 on the CPU, their rows adding up to 1 exactly.

    Raises:
        CourseError: another shape, fewer than 2 rows, values outside [0, 1], or rows that do not add up to 1.
    """
    probabilities = check_features(probabilities, "probabilities")
    sums = probabilities.sum(1, keepdim=True)
    if probabilities.min() < 0 or (sums - 1).abs().max() > 1e-3:
        low, high = probabilities.min().item(), probabilities.max().item()
        raise CourseError(
            f"probabilities: expected rows of numbers from 0 that add up to 1, got values from {low:.3g} to {high:.3g} "
            f"and sums from {sums.min().item():.3g} to {sums.max().item():.3g}; apply softmax to logits first."
        )
    return probabilities / sums


def check_count(name: str, value: int, low: int, high: int | None = None) -> None:
    """Raises CourseError unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise CourseError(f"{name}: expected a whole number {limits}, got {value!r}.")
