"""Distances between two sets of features: the Fréchet distance (FID) and the kernel distance
(KID).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError, unknown
from course_utils.metrics.measurement import (
    Measurement,
    MetricWarning,
    bootstrap,
    check_count,
    check_features,
    check_pair,
)


@dataclass(frozen=True)
class GaussianParams:
    """A Gaussian with the mean and the covariance of some features.

    Attributes:
        mean: `[D]`.
        covariance: `[D, D]`, unbiased (divided by N - 1).
        num_images: N.
        factor: `[R, D]` with factor^T factor = covariance, R the smaller of N and D, or None to
            have it computed.
    """

    mean: Tensor
    covariance: Tensor
    num_images: int
    factor: Tensor | None = None


def fit_gaussian(features: Tensor) -> GaussianParams:
    """Returns the Gaussian with the mean and the unbiased covariance of features `[N, D]`, N at
    least 2.
    """
    features = check_features(features)
    mean = features.mean(0)
    centred = (features - mean) / math.sqrt(len(features) - 1)
    return GaussianParams(
        mean,
        centred.T @ centred,
        len(features),
        centred if len(features) <= features.shape[1] else None,
    )


class FrechetTerms(NamedTuple):
    """The two terms of the squared distance; they add up to it."""

    mean_term: float
    covariance_term: float


def frechet_terms(first: GaussianParams, second: GaussianParams) -> FrechetTerms:
    """Returns ||mu1 - mu2||^2 and Tr(S1 + S2 - 2 (S1 S2)^1/2), neither below zero but for rounding.

    Source: Dowson & Landau 1982, J. Multivariate Analysis 12, eq. 4; for few images Mathiasen &
    Hvilshøj 2020 (arXiv:2009.14075).
    """
    if first.mean.shape != second.mean.shape:
        raise CourseError(
            f"expected Gaussians of one dimension, got {len(first.mean)} and {len(second.mean)};"
            " extract both sets alike."
        )
    cross = torch.linalg.svdvals(_factor(first) @ _factor(second).T).sum()
    mean_term = (first.mean - second.mean).square().sum()
    return FrechetTerms(
        mean_term.item(), (first.covariance.trace() + second.covariance.trace() - 2 * cross).item()
    )


def _factor(fit: GaussianParams) -> Tensor:
    """Returns `[R, D]` with factor^T factor = covariance."""
    if fit.factor is not None:
        return fit.factor
    values, vectors = torch.linalg.eigh(fit.covariance)
    return values.clamp(min=0).sqrt()[:, None] * vectors.T


def frechet_distance(first: GaussianParams, second: GaussianParams) -> float:
    """Returns the squared Fréchet (2-Wasserstein) distance between two Gaussians.

    Source: Heusel et al. 2017 (arXiv:1706.08500), eq. 6.
    """
    return sum(frechet_terms(first, second))


class Influence(NamedTuple):
    """A Fréchet distance and how much each image moves it.

    Attributes:
        value: the distance.
        first, second: `[N]`, `[M]`: N times the change of the value when an image's weight grows by
            1/N; they average 0.
    """

    value: float
    first: Tensor
    second: Tensor

    @property
    def error(self) -> float:
        """Standard error of the value from the noise of both sets."""
        return math.sqrt(
            self.first.var().item() / len(self.first) + self.second.var().item() / len(self.second)
        )


def frechet_influence(features_a: Tensor, features_b: Tensor) -> Influence:
    """Returns the Fréchet distance of two sets of features and the influence of each image on it.

    With F = U S V^T for the product of the factors, the derivative of Tr((S1 S2)^1/2) in direction
    x is a^T U S U^T a / 2, where x = F1^T a.

    Source: Jaeckel 1972, "The infinitesimal jackknife" (Bell Labs memorandum); the derivative is
    ours, checked by finite differences in the tests.
    """
    (mean_a, centred_a, factor_a, codes_a), (mean_b, centred_b, factor_b, codes_b) = (
        _split(x) for x in check_pair(features_a, features_b)
    )
    left, singular, right = torch.linalg.svd(factor_a @ factor_b.T, full_matrices=False)
    shift = mean_a - mean_b
    value = (
        shift.square().sum()
        + factor_a.square().sum()
        + factor_b.square().sum()
        - 2 * singular.sum()
    )
    spread_a = centred_a.square().sum(1) - (codes_a @ left).square() @ singular
    spread_b = centred_b.square().sum(1) - (codes_b @ right.T).square() @ singular
    # N / (N - 1): the covariances are the unbiased ones.
    first = 2 * centred_a @ shift + spread_a * len(spread_a) / (len(spread_a) - 1)
    second = -2 * centred_b @ shift + spread_b * len(spread_b) / (len(spread_b) - 1)
    return Influence(value.item(), first - first.mean(), second - second.mean())


def _split(features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns mean `[D]`, centred rows `[N, D]`, a factor F `[R, D]` of the covariance, and codes
    `[N, R]` with codes F = centred rows.
    """
    mean = features.mean(0)
    centred = features - mean
    scale = math.sqrt(len(features) - 1)
    if len(features) <= features.shape[1]:
        return mean, centred, centred / scale, torch.eye(len(features), dtype=torch.float64) * scale
    values, vectors = torch.linalg.eigh(centred.T @ centred / scale**2)
    # constant features, such as pixels at the border, span no direction
    kept = values > RANK_TOLERANCE * values[-1]
    values, vectors = values[kept].sqrt(), vectors[:, kept]
    return mean, centred, values[:, None] * vectors.T, centred @ (vectors / values)


RANK_TOLERANCE = 1e-13
ERRORS = ("jackknife", "bootstrap", "none")


def fid(
    features_a: Tensor,
    features_b: Tensor,
    *,
    error: str = "jackknife",
    num_rounds: int = 100,
    rng: torch.Generator | None = None,
) -> Measurement:
    """Returns the Fréchet distance between the Gaussian fits of two sets of features, with an error
    bar.

    The value is biased: for finite N it lies above the distance of the distributions by about c/N,
    where c depends on the generator. The error bar is the spread around that biased mean, from the
    noise of both sets. So it serves to compare values of equal N, and says nothing about the bias:
    `fid_infinity` does. Where the two sets come from one distribution, the error bar is too long
    rather than too short.

    Args:
        features_a, features_b: `[N, D]`, `[M, D]` of one extractor.
        error: "jackknife" (closed form, from each image's influence), "bootstrap" (draws again;
            slower, longer), or "none".
        num_rounds: of the bootstrap.
        rng: of the bootstrap.

    Source: Heusel et al. 2017 (arXiv:1706.08500), eq. 6; bias: Chong & Forsyth 2020
    (arXiv:1911.07023).
    """
    if error not in ERRORS:
        raise unknown("error", error, ERRORS)
    features_a, features_b = check_pair(features_a, features_b)
    num_images, dim = min(len(features_a), len(features_b)), features_a.shape[1]
    note = (
        ""
        if num_images > dim
        else (
            f"fewer images than the {dim} features: the covariance is singular, the value biased"
            " far upwards"
        )
    )
    if note:
        warnings.warn(
            f"FID of {num_images} images with {dim} features; use more images, or KID.",
            MetricWarning,
            stacklevel=2,
        )
    if error == "jackknife":
        influence = frechet_influence(features_a, features_b)
        value, spread = influence.value, influence.error
    else:
        value = _plain_fid(features_a, features_b)
        spread = (
            bootstrap(_plain_fid, features_a, features_b, num_rounds=num_rounds, rng=rng)
            if error == "bootstrap"
            else math.nan
        )
    return Measurement("FID", value, spread, num_images, note=note, size_matters=True)


def _plain_fid(features_a: Tensor, features_b: Tensor) -> float:
    return frechet_distance(fit_gaussian(features_a), fit_gaussian(features_b))


def fid_infinity(
    features_a: Tensor, features_b: Tensor, *, rng: torch.Generator | None = None
) -> Measurement:
    """Returns FID extrapolated to infinitely many images: a straight line through FID against 1/N,
    read off at 0.

    Both sets are cut into 1, 2, 4 and 8 parts, as long as a part has more than twice as many images
    as features; the FID of a number of parts is the mean over the parts. The value may be below
    zero by chance. The error bar comes from each image's influence on the whole procedure.

    Args:
        features_a, features_b: `[N, D]`, `[M, D]` of one extractor; more than 4 D images each.
        rng: of the order in which images are cut; None starts one from a fixed seed.

    Source: Chong & Forsyth 2020 (arXiv:1911.07023), section 3; they draw the sizes at random and
    only of the generated images.
    """
    features_a, features_b = check_pair(features_a, features_b)
    num_images, dim = min(len(features_a), len(features_b)), features_a.shape[1]
    num_parts = [parts for parts in NUM_PARTS if num_images // parts > 2 * dim]
    if len(num_parts) < 2:
        raise CourseError(
            f"FID infinity: expected more than {4 * dim + 1} images for {dim} features, got"
            f" {num_images}; use more images, or KID."
        )
    rng = make_rng(0) if rng is None else rng
    # Equal parts: the few images that are left over are not used.
    a, b = (
        x[torch.randperm(len(x), generator=rng)[: len(x) - len(x) % num_parts[-1]]]
        for x in (features_a, features_b)
    )
    rows = [
        [frechet_influence(*part) for part in zip(a.chunk(parts), b.chunk(parts))]
        for parts in num_parts
    ]
    x = torch.tensor(num_parts, dtype=torch.float64)  # 1/N in units of one over the whole set
    # of the intercept of a least-squares line
    weights = 1 / len(x) - x.mean() * (x - x.mean()) / (x - x.mean()).square().sum()
    value = sum(
        weight.item() * sum(part.value for part in row) / len(row)
        for weight, row in zip(weights, rows)
    )
    first = second = torch.zeros((), dtype=torch.float64)
    for weight, row in zip(weights, rows):
        first = first + weight * torch.cat([part.first for part in row])
        second = second + weight * torch.cat([part.second for part in row])
    return Measurement("FID infinity", value, Influence(value, first, second).error, num_images)


NUM_PARTS = (1, 2, 4, 8)


BLOCK_ROWS = 128  # of a kernel matrix at a time: what is computed stays in the processor's cache


def kid(
    features_a: Tensor,
    features_b: Tensor,
    *,
    subset_size: int | None = None,
    num_subsets: int = 100,
    rng: torch.Generator | None = None,
) -> Measurement:
    """Returns KID: the mean over random subsets of the unbiased squared MMD with the kernel (x.y /
    D + 1)^3.

    It is zero on average for equal distributions, so it is below zero about half of the time then;
    that is right and no mistake.

    Args:
        features_a, features_b: `[N, D]` of one extractor.
        subset_size: images of each set in a subset, from 2 to the size of the smaller set. None:
            1000, or half of the smaller set if that is less.
        num_subsets: at least 2.
        rng: of the choice of subsets; None starts one from a fixed seed.

    Returns:
        The error is that of the mean over all images of such size, not only the spread between
        subsets of the given images: subsets overlap. It is NaN where a subset is the whole set.

    Source: Binkowski et al. 2018 (arXiv:1801.01401), section 4; the kernel is eq. 5.
    """
    values, num_images, size = _subset_values(features_a, features_b, subset_size, num_subsets, rng)
    share = size / num_images
    # Subsets of one data set vary by s^2 = v (1 - share), v being the variance of a fresh subset;
    # the mean of all subsets has variance <= v share.
    variance = values.var().item()
    error = math.sqrt(variance * (share / (1 - share) + 1 / num_subsets)) if share < 1 else math.nan
    return Measurement("KID", values.mean().item(), error, num_images)


def kid_subsets(
    features_a: Tensor,
    features_b: Tensor,
    *,
    subset_size: int | None = None,
    num_subsets: int = 100,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Returns the unbiased squared MMD of each random subset, float64 `[num_subsets]`; arguments as
    in `kid`.
    """
    return _subset_values(features_a, features_b, subset_size, num_subsets, rng)[0]


def _subset_values(
    features_a: Tensor,
    features_b: Tensor,
    subset_size: int | None,
    num_subsets: int,
    rng: torch.Generator | None,
):
    features_a, features_b = check_pair(features_a, features_b)
    num_images = min(len(features_a), len(features_b))
    size = min(1000, max(2, num_images // 2)) if subset_size is None else subset_size
    check_count("subset_size", size, 2, num_images, why=f"the smaller set has {num_images} images")
    check_count("num_subsets", num_subsets, 2)
    rng = make_rng(0) if rng is None else rng
    values = []
    for _ in range(num_subsets):
        chosen_a = torch.randperm(len(features_a), generator=rng)[:size]
        chosen_b = torch.randperm(len(features_b), generator=rng)[:size]
        values.append(_squared_mmd(features_a[chosen_a], features_b[chosen_b]))
    return torch.tensor(values, dtype=torch.float64), num_images, size


def squared_mmd(features_a: Tensor, features_b: Tensor) -> float:
    """Returns the unbiased squared MMD of two sets of features `[M, D]`, `[N, D]` with the kernel
    (x.y / D + 1)^3.

    Source: Gretton et al. 2012, JMLR 13, eq. 3: the mean over pairs of different images, so the
    diagonals are left out.
    """
    return _squared_mmd(*check_pair(features_a, features_b))


def _squared_mmd(features_a: Tensor, features_b: Tensor) -> float:
    # a . b = x.y / D + 1
    a, b = (
        torch.cat([x / math.sqrt(x.shape[1]), x.new_ones(len(x), 1)], 1)
        for x in (features_a, features_b)
    )
    m, n = len(a), len(b)
    return (
        _pairs_within(a) / (m * (m - 1))
        + _pairs_within(b) / (n * (n - 1))
        - 2 * _sum_of_cubes(a, b) / (m * n)
    )


def _pairs_within(a: Tensor) -> float:
    """Returns the sum of (a_i . a_j)^3 over all i and j that differ; each pair of blocks is
    computed once and counted twice.
    """
    total = -a.square().sum(1).pow(3).sum().item()
    for start in range(0, len(a), BLOCK_ROWS):
        rows = a[start : start + BLOCK_ROWS]
        total += _sum_of_cubes(rows, rows) + 2 * _sum_of_cubes(rows, a[start + BLOCK_ROWS :])
    return total


def _sum_of_cubes(a: Tensor, b: Tensor) -> float:
    """Returns the sum of (a_i . b_j)^3 over all pairs of rows."""
    total = 0.0
    for rows in a.split(BLOCK_ROWS):
        kernel = rows @ b.T
        total += torch.dot(kernel.flatten(), kernel.square().flatten()).item()
    return total
