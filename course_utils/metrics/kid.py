"""Kernel Inception Distance: the squared maximum mean discrepancy between two sets of features, without bias."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.device import make_rng
from course_utils.metrics.guards import check_count, check_pair
from course_utils.metrics.result import Measurement

BLOCK_ROWS = 128  # of a kernel matrix at a time: what is computed stays in the processor's cache


def kid(
    features_a: Tensor, features_b: Tensor, *, subset_size: int | None = None, num_subsets: int = 100, rng: torch.Generator | None = None
) -> Measurement:
    """Returns KID: the mean over random subsets of the unbiased squared MMD with the kernel (x.y / D + 1)^3.

    It is zero on average for equal distributions, so it is below zero about half of the time then; that is right and no mistake.

    Args:
        features_a, features_b: `[N, D]` of one extractor.
        subset_size: images of each set in a subset, from 2 to the size of the smaller set. None: 1000, or half of the smaller set if that is less.
        num_subsets: at least 2.
        rng: of the choice of subsets; None starts one from a fixed seed.

    Returns:
        The error is that of the mean over all images of such size, not only the spread between subsets of the given images: subsets overlap.
        It is NaN where a subset is the whole set.

    Source: Binkowski et al. 2018 (arXiv:1801.01401), section 4; the kernel is eq. 5.
    """
    values, num_images, size = _subset_values(features_a, features_b, subset_size, num_subsets, rng)
    share = size / num_images
    # Subsets of one data set vary by s^2 = v (1 - share), v being the variance of a fresh subset; the mean of all subsets has variance <= v share.
    variance = values.var().item()
    error = math.sqrt(variance * (share / (1 - share) + 1 / num_subsets)) if share < 1 else math.nan
    return Measurement("KID", values.mean().item(), error, num_images)


def kid_subsets(
    features_a: Tensor, features_b: Tensor, *, subset_size: int | None = None, num_subsets: int = 100, rng: torch.Generator | None = None
) -> Tensor:
    """Returns the unbiased squared MMD of each random subset, float64 `[num_subsets]`; arguments as in `kid`."""
    return _subset_values(features_a, features_b, subset_size, num_subsets, rng)[0]


def _subset_values(features_a: Tensor, features_b: Tensor, subset_size: int | None, num_subsets: int, rng: torch.Generator | None):
    features_a, features_b = check_pair(features_a, features_b)
    num_images = min(len(features_a), len(features_b))
    size = min(1000, max(2, num_images // 2)) if subset_size is None else subset_size
    check_count("subset_size", size, 2, num_images)
    check_count("num_subsets", num_subsets, 2)
    rng = make_rng(0) if rng is None else rng
    values = []
    for _ in range(num_subsets):
        chosen_a = torch.randperm(len(features_a), generator=rng)[:size]
        chosen_b = torch.randperm(len(features_b), generator=rng)[:size]
        values.append(_squared_mmd(features_a[chosen_a], features_b[chosen_b]))
    return torch.tensor(values, dtype=torch.float64), num_images, size


def squared_mmd(features_a: Tensor, features_b: Tensor) -> float:
    """Returns the unbiased squared MMD of two sets of features `[M, D]`, `[N, D]` with the kernel (x.y / D + 1)^3.

    Source: Gretton et al. 2012, JMLR 13, eq. 3: the mean over pairs of different images, so the diagonals are left out.
    """
    return _squared_mmd(*check_pair(features_a, features_b))


def _squared_mmd(features_a: Tensor, features_b: Tensor) -> float:
    a, b = (torch.cat([x / math.sqrt(x.shape[1]), x.new_ones(len(x), 1)], 1) for x in (features_a, features_b))  # a . b = x.y / D + 1
    m, n = len(a), len(b)
    return _pairs_within(a) / (m * (m - 1)) + _pairs_within(b) / (n * (n - 1)) - 2 * _sum_of_cubes(a, b) / (m * n)


def _pairs_within(a: Tensor) -> float:
    """Returns the sum of (a_i . a_j)^3 over all i and j that differ; each pair of blocks is computed once and counted twice."""
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
