"""The exercises of notebook 02 on distances between sets of features: Fréchet distance, covariance, kernel distance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake
from course_utils.device import make_rng

F64 = torch.float64


def _frechet_one_d(a: Tensor, b: Tensor) -> Tensor:
    return (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2


def _one_d_cases() -> list[tuple]:
    rng = make_rng(2, 1)
    return [(torch.randn(8, generator=rng, dtype=F64), 1 + 3 * torch.randn(6, generator=rng, dtype=F64))]


FRECHET_1D = Exercise(
    id="02.frechet_1d",
    question="Return the squared Fréchet distance between Gaussian fits of two samples of numbers, a [N] and b [M], with unbiased variances.",
    solution=_frechet_one_d,
    cases=_one_d_cases,
    why="In one dimension the distance is plain: how far the means lie apart, and how far the standard deviations do.",
    mistakes=(
        Mistake(
            lambda a, b: (a.mean() - b.mean()) ** 2 + (a.var() - b.var()) ** 2,
            "You compared the variances. The second term compares standard deviations, which have the unit of the data.",
        ),
        Mistake(
            lambda a, b: (a.mean() - b.mean()) ** 2 + a.var() + b.var() - 2 * a.var() * b.var(),
            "The square root is missing: the last term is 2 sqrt(var_a var_b).",
        ),
        Mistake(lambda a, b: _frechet_one_d(a, b).sqrt(), "This is the distance itself. FID is its square."),
        Mistake(lambda a, b: (a.mean() - b.mean()).abs() + (a.std() - b.std()).abs(), "Square both differences before you add them."),
        Mistake(
            lambda a, b: (a.mean() - b.mean()) ** 2 + (a.std(correction=0) - b.std(correction=0)) ** 2,
            "These are the biased standard deviations, divided by N. Divide by N - 1, since the mean was estimated as well.",
        ),
        Mistake(lambda a, b: (a.mean() - b.mean()) ** 2, "This sees only the means: a generator that always draws the mean would be perfect."),
    ),
    hints=("The covariance matrix is a number here, so Tr(A + B - 2 sqrt(A B)) is a square of a difference.", "Tensor.std() is unbiased by default."),
)


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(0)
    return centred.T @ centred / (len(features) - 1)


def _feature_cases() -> list[tuple]:
    rng = make_rng(2, 2)
    return [(1 + torch.randn(num, dim, generator=rng, dtype=F64),) for num, dim in ((7, 3), (3, 4))]


COVARIANCE = Exercise(
    id="02.covariance",
    question="Return the unbiased covariance [D, D] of features [N, D].",
    solution=_covariance,
    cases=_feature_cases,
    why="With N - 1 the covariance of a small sample is right on average; FID stays biased all the same, because it takes a root of it.",
    mistakes=(
        Mistake(
            lambda features: torch.cov(features.T, correction=0),
            "You divided by N. That is too small on average, because the mean was estimated from the same images: divide by N - 1.",
        ),
        Mistake(lambda features: features.T @ features / (len(features) - 1), "Subtract the mean of each feature first."),
        Mistake(lambda features: torch.cov(features), "This is [N, N], image against image. torch.cov expects features in rows: transpose."),
        Mistake(
            lambda features: _covariance(features) * (len(features) - 1),
            "This is the sum over the images. A covariance is a mean: divide by N - 1.",
        ),
        Mistake(lambda features: features.var(0), "These are the variances, the diagonal only. Features also vary together."),
    ),
    hints=("Centre the features, then multiply: centred.T @ centred has the shape [D, D].", "Divide by one less than the number of images."),
)


def _frechet_with(trace_of_root: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Returns the formula of the distance with another way to get Tr((S1 S2)^1/2)."""

    def distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
        return (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * trace_of_root(cov_a @ cov_b)

    return distance


def _frechet(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    eigenvalues = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0)
    return (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * eigenvalues.sqrt().sum()


def _gaussian_cases() -> list[tuple]:
    cases, rng = [], make_rng(2, 3)
    for dim in (2, 5):
        mean_a, mean_b, *factors = (torch.randn(shape, generator=rng, dtype=F64) for shape in (dim, dim, (9, dim), (9, dim)))
        cases.append((mean_a, factors[0].T @ factors[0] / 9, mean_b, factors[1].T @ factors[1] / 9))
    return cases


FRECHET = Exercise(
    id="02.frechet",
    question="Return the squared Fréchet distance of two Gaussians from their means [D] and covariances [D, D].",
    solution=_frechet,
    cases=_gaussian_cases,
    why="This is FID: all that is left of two sets of images is two means and two covariances.",
    mistakes=(
        Mistake(_frechet_with(lambda product: product.trace()), "The matrix square root is missing: you took the trace of the product itself."),
        Mistake(
            _frechet_with(lambda product: product.sqrt().trace()),
            "This is the root of each entry. The root of a matrix R satisfies R @ R = product; its trace is the sum of the roots of the eigenvalues.",
        ),
        Mistake(
            _frechet_with(lambda product: torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()),
            "eigvalsh expects a symmetric matrix, and the product of two covariances is not symmetric. torch.linalg.eigvals takes any matrix.",
        ),
        Mistake(
            _frechet_with(lambda product: product.trace().sqrt()),
            "You took the root of the trace. It has to be the trace of the root: first the roots of the eigenvalues, then their sum.",
        ),
        Mistake(
            lambda mean_a, cov_a, mean_b, cov_b: _frechet(mean_a, cov_a, mean_b, cov_b) - (mean_a - mean_b).square().mean() * (len(mean_a) - 1),
            "The first term is the mean of the squared differences. A squared distance is their sum.",
        ),
        Mistake(
            lambda mean_a, cov_a, mean_b, cov_b: _frechet(mean_a, cov_a, mean_b, cov_b) - 2 * _frechet_root(cov_a, cov_b),
            "The trace of the root counts four times instead of twice.",
        ),
        Mistake(
            lambda mean_a, cov_a, mean_b, cov_b: _frechet(mean_a, cov_a, mean_b, cov_b) + _frechet_root(cov_a, cov_b),
            "The factor 2 before the root is missing. Without it equal Gaussians would not have distance zero.",
        ),
        Mistake(lambda *gaussians: _frechet(*gaussians).sqrt(), "This is the distance; FID is its square."),
    ),
    hints=(
        "The trace of a matrix root is the sum of the square roots of the eigenvalues.",
        "torch.linalg.eigvals(cov_a @ cov_b) is complex by type; take .real. Rounding can make tiny negative values: .clamp(min=0).",
    ),
)


def _frechet_root(cov_a: Tensor, cov_b: Tensor) -> Tensor:
    return torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum()


def _mmd(within_a: Tensor, within_b: Tensor, between: Tensor) -> Tensor:
    parts = ((kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1)) for kernel in (within_a, within_b))
    return sum(parts) - 2 * between.mean()


def _kernel_cases() -> list[tuple]:
    rng = make_rng(2, 4)
    cases = []
    for num_a, num_b in ((5, 4), (3, 6)):
        a, b = (torch.randn(num, 3, generator=rng, dtype=F64) + shift for num, shift in ((num_a, 0.0), (num_b, 0.8)))
        cases.append(tuple((x @ y.T / 3 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))))
    return cases


KID = Exercise(
    id="02.kid",
    question="Return the unbiased squared MMD from kernel matrices: within a [M, M], within b [N, N], and between them [M, N].",
    solution=_mmd,
    cases=_kernel_cases,
    why="Without the diagonals the value is right on average for any number of images, at the price that it can fall below zero.",
    mistakes=(
        Mistake(
            lambda within_a, within_b, between: within_a.mean() + within_b.mean() - 2 * between.mean(),
            "The diagonals are still in. They compare each image with itself, which makes the value too large for few images.",
        ),
        Mistake(
            lambda within_a, within_b, between: (
                sum((kernel.sum() - kernel.trace()) / len(kernel) ** 2 for kernel in (within_a, within_b)) - 2 * between.mean()
            ),
            "The diagonals are gone, but you still divide by M². There are M (M - 1) pairs left.",
        ),
        Mistake(
            lambda within_a, within_b, between: _mmd(within_a, within_b, between) + between.mean(),
            "The factor 2 of the third term is missing: pairs between the sets occur in both orders.",
        ),
        Mistake(
            lambda within_a, within_b, between: _mmd(within_a, within_b, between).clamp(min=0),
            "You cut off negative values. Then the mean over repetitions is too large: the values below zero balance those above.",
        ),
        Mistake(lambda *kernels: _mmd(*kernels).abs().sqrt(), "KID is the squared distance: no root."),
        Mistake(
            lambda *kernels: -_mmd(*kernels),
            "The sign is the wrong way round: likeness between the sets counts negative.",
        ),
    ),
    hints=(
        "kernel.sum() - kernel.trace() adds up all pairs of different images.",
        "A matrix [M, M] has M * (M - 1) entries off its diagonal; the third matrix keeps all of its entries.",
    ),
)
