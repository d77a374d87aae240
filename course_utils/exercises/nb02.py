"""The exercises of notebook 02, evaluating generative models."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake

F64 = torch.float64


def _frechet_one_d(a: Tensor, b: Tensor) -> Tensor:
    return (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2


def _one_d_cases() -> list[tuple]:
    rng = make_rng(2, 1)
    return [
        (torch.randn(8, generator=rng, dtype=F64), 1 + 3 * torch.randn(6, generator=rng, dtype=F64))
    ]


FRECHET_1D = Exercise(
    id="02.frechet_1d",
    question=(
        "Return the squared Fréchet distance between Gaussian fits of two samples of numbers, a [N]"
        " and b [M], with unbiased variances."
    ),
    solution=_frechet_one_d,
    cases=_one_d_cases,
    why=(
        "In one dimension the distance is plain: how far the means lie apart, and how far the"
        " standard deviations do."
    ),
    mistakes=(
        Mistake(
            lambda a, b: (a.mean() - b.mean()) ** 2 + (a.var() - b.var()) ** 2,
            "You compared the variances. The second term compares standard deviations, which have"
            " the unit of the data.",
        ),
        Mistake(
            lambda a, b: (a.mean() - b.mean()) ** 2 + a.var() + b.var() - 2 * a.var() * b.var(),
            "The square root is missing: the last term is 2 sqrt(var_a var_b).",
        ),
        Mistake(
            lambda a, b: _frechet_one_d(a, b).sqrt(),
            "This is the distance itself. FID is its square.",
        ),
        Mistake(
            lambda a, b: (a.mean() - b.mean()).abs() + (a.std() - b.std()).abs(),
            "Square both differences before you add them.",
        ),
        Mistake(
            lambda a, b: (
                (a.mean() - b.mean()) ** 2 + (a.std(correction=0) - b.std(correction=0)) ** 2
            ),
            "These are the biased standard deviations, divided by N. Divide by N - 1, since the"
            " mean was estimated as well.",
        ),
        Mistake(
            lambda a, b: (a.mean() - b.mean()) ** 2,
            "This sees only the means: a generator that always draws the mean would be perfect.",
        ),
    ),
    hints=(
        (
            "The covariance matrix is a number here, so Tr(A + B - 2 sqrt(A B)) is a square of a"
            " difference."
        ),
        "Tensor.std() is unbiased by default.",
    ),
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
    why=(
        "With N - 1 the covariance of a small sample is right on average; FID stays biased all the"
        " same, because it takes a root of it."
    ),
    mistakes=(
        Mistake(
            lambda features: torch.cov(features.T, correction=0),
            "You divided by N. That is too small on average, because the mean was estimated from"
            " the same images: divide by N - 1.",
        ),
        Mistake(
            lambda features: features.T @ features / (len(features) - 1),
            "Subtract the mean of each feature first.",
        ),
        Mistake(
            lambda features: torch.cov(features),
            "This is [N, N], image against image. torch.cov expects features in rows: transpose.",
        ),
        Mistake(
            lambda features: _covariance(features) * (len(features) - 1),
            "This is the sum over the images. A covariance is a mean: divide by N - 1.",
        ),
        Mistake(
            lambda features: features.var(0),
            "These are the variances, the diagonal only. Features also vary together.",
        ),
    ),
    hints=(
        "Centre the features, then multiply: centred.T @ centred has the shape [D, D].",
        "Divide by one less than the number of images.",
    ),
)


def _frechet_with(trace_of_root: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Returns the formula of the distance with another way to get Tr((S1 S2)^1/2)."""

    def distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
        return (
            (mean_a - mean_b).square().sum()
            + cov_a.trace()
            + cov_b.trace()
            - 2 * trace_of_root(cov_a @ cov_b)
        )

    return distance


def _frechet(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    eigenvalues = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0)
    return (
        (mean_a - mean_b).square().sum()
        + cov_a.trace()
        + cov_b.trace()
        - 2 * eigenvalues.sqrt().sum()
    )


def _gaussian_cases() -> list[tuple]:
    cases, rng = [], make_rng(2, 3)
    for dim in (2, 5):
        mean_a, mean_b, *factors = (
            torch.randn(shape, generator=rng, dtype=F64) for shape in (dim, dim, (9, dim), (9, dim))
        )
        cases.append((mean_a, factors[0].T @ factors[0] / 9, mean_b, factors[1].T @ factors[1] / 9))
    return cases


FRECHET = Exercise(
    id="02.frechet",
    question=(
        "Return the squared Fréchet distance of two Gaussians from their means [D] and covariances"
        " [D, D]."
    ),
    solution=_frechet,
    cases=_gaussian_cases,
    why="This is FID: all that is left of two sets of images is two means and two covariances.",
    mistakes=(
        Mistake(
            _frechet_with(lambda product: product.trace()),
            "The matrix square root is missing: you took the trace of the product itself.",
        ),
        Mistake(
            _frechet_with(lambda product: product.sqrt().trace()),
            "This is the root of each entry. The root of a matrix R satisfies R @ R = product; its"
            " trace is the sum of the roots of the eigenvalues.",
        ),
        Mistake(
            _frechet_with(lambda product: torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()),
            "eigvalsh expects a symmetric matrix, and the product of two covariances is not"
            " symmetric. torch.linalg.eigvals takes any matrix.",
        ),
        Mistake(
            _frechet_with(lambda product: product.trace().sqrt()),
            "You took the root of the trace. It has to be the trace of the root: first the roots of"
            " the eigenvalues, then their sum.",
        ),
        Mistake(
            lambda mean_a, cov_a, mean_b, cov_b: (
                _frechet(mean_a, cov_a, mean_b, cov_b)
                - (mean_a - mean_b).square().mean() * (len(mean_a) - 1)
            ),
            "The first term is the mean of the squared differences. A squared distance is their"
            " sum.",
        ),
        Mistake(
            lambda mean_a, cov_a, mean_b, cov_b: (
                _frechet(mean_a, cov_a, mean_b, cov_b) - 2 * _frechet_root(cov_a, cov_b)
            ),
            "The trace of the root counts four times instead of twice.",
        ),
        Mistake(
            lambda mean_a, cov_a, mean_b, cov_b: (
                _frechet(mean_a, cov_a, mean_b, cov_b) + _frechet_root(cov_a, cov_b)
            ),
            "The factor 2 before the root is missing. Without it equal Gaussians would not have"
            " distance zero.",
        ),
        Mistake(
            lambda *gaussians: _frechet(*gaussians).sqrt(),
            "This is the distance; FID is its square.",
        ),
    ),
    hints=(
        "The trace of a matrix root is the sum of the square roots of the eigenvalues.",
        (
            "torch.linalg.eigvals(cov_a @ cov_b) is complex by type; take .real. Rounding can make"
            " tiny negative values: .clamp(min=0)."
        ),
    ),
)


def _frechet_root(cov_a: Tensor, cov_b: Tensor) -> Tensor:
    return torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt().sum()


def _mmd(within_a: Tensor, within_b: Tensor, between: Tensor) -> Tensor:
    parts = (
        (kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1))
        for kernel in (within_a, within_b)
    )
    return sum(parts) - 2 * between.mean()


def _kernel_cases() -> list[tuple]:
    rng = make_rng(2, 4)
    cases = []
    for num_a, num_b in ((5, 4), (3, 6)):
        a, b = (
            torch.randn(num, 3, generator=rng, dtype=F64) + shift
            for num, shift in ((num_a, 0.0), (num_b, 0.8))
        )
        cases.append(tuple((x @ y.T / 3 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))))
    return cases


KID = Exercise(
    id="02.kid",
    question=(
        "Return the unbiased squared MMD from kernel matrices: within a [M, M], within b [N, N],"
        " and between them [M, N]."
    ),
    solution=_mmd,
    cases=_kernel_cases,
    why=(
        "Without the diagonals the value is right on average for any number of images, at the price"
        " that it can fall below zero."
    ),
    mistakes=(
        Mistake(
            lambda within_a, within_b, between: (
                within_a.mean() + within_b.mean() - 2 * between.mean()
            ),
            "The diagonals are still in. They compare each image with itself, which makes the value"
            " too large for few images.",
        ),
        Mistake(
            lambda within_a, within_b, between: (
                sum(
                    (kernel.sum() - kernel.trace()) / len(kernel) ** 2
                    for kernel in (within_a, within_b)
                )
                - 2 * between.mean()
            ),
            "The diagonals are gone, but you still divide by M². There are M (M - 1) pairs left.",
        ),
        Mistake(
            lambda within_a, within_b, between: _mmd(within_a, within_b, between) + between.mean(),
            "The factor 2 of the third term is missing: pairs between the sets occur in both"
            " orders.",
        ),
        Mistake(
            lambda within_a, within_b, between: _mmd(within_a, within_b, between).clamp(min=0),
            "You cut off negative values. Then the mean over repetitions is too large: the values"
            " below zero balance those above.",
        ),
        Mistake(
            lambda *kernels: _mmd(*kernels).abs().sqrt(), "KID is the squared distance: no root."
        ),
        Mistake(
            lambda *kernels: -_mmd(*kernels),
            "The sign is the wrong way round: likeness between the sets counts negative.",
        ),
    ),
    hints=(
        "kernel.sum() - kernel.trace() adds up all pairs of different images.",
        (
            "A matrix [M, M] has M * (M - 1) entries off its diagonal; the third matrix keeps all"
            " of its entries."
        ),
    ),
)


def _factors(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    sharpness = torch.exp((probabilities * probabilities.log()).sum(1).mean())
    mean = probabilities.mean(0)
    diversity = torch.exp(-(mean * mean.log()).sum())
    return sharpness, diversity


def _factors_base_two(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(0)
    return torch.exp((probabilities * probabilities.log2()).sum(1).mean()), torch.exp(
        -(mean * mean.log2()).sum()
    )


def _factors_averaged_late(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(0)
    return torch.exp((probabilities * probabilities.log()).sum(1)).mean(), torch.exp(
        -(mean * mean.log()).sum()
    )


def _factors_mean_over_classes(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(0)
    return torch.exp((probabilities * probabilities.log()).mean()), torch.exp(
        -(mean * mean.log()).mean()
    )


def _probability_cases() -> list[tuple]:
    rng = make_rng(2, 0)
    return [
        (torch.randn(num, classes, generator=rng, dtype=F64).mul(2).softmax(1),)
        for num, classes in ((6, 4), (9, 10))
    ]


INCEPTION = Exercise(
    id="02.inception",
    question=(
        "Return sharpness S and diversity D, as a tuple, from class probabilities [N, K] without"
        " zeros."
    ),
    solution=_factors,
    cases=_probability_cases,
    why=(
        "The score is S x D; only its two factors say whether the images or their variety have"
        " failed."
    ),
    mistakes=(
        Mistake(
            lambda p: _factors(p)[::-1],
            "S and D are swapped. S comes from the images one by one and is at most 1; D comes from"
            " their mean prediction and is at least 1.",
        ),
        Mistake(
            _factors_base_two,
            "The logarithm has base 2, but exp undoes the natural one. Both have to have the same"
            " base.",
        ),
        Mistake(
            lambda p: (_factors(p)[0], 1 / _factors(p)[1]),
            "D has the wrong sign in its exponent: it should grow with the number of classes that"
            " are drawn.",
        ),
        Mistake(
            lambda p: (1 / _factors(p)[0], _factors(p)[1]),
            "S has the wrong sign in its exponent: this is exp(entropy), which falls as the images"
            " get sharper.",
        ),
        Mistake(
            lambda p: tuple(factor.log() for factor in _factors(p)),
            "These are the logarithms of S and D: exp is missing.",
        ),
        Mistake(
            lambda p: (_factors(p)[0], 1 / _factors(p)[0]),
            "Your D is 1/S: you took the entropy of each image. D needs the entropy of the mean"
            " prediction, so average over the images first.",
        ),
        Mistake(
            _factors_averaged_late,
            "You averaged after exp. The mean over the images stands inside the exponent.",
        ),
        Mistake(
            _factors_mean_over_classes,
            "You averaged over the classes. The entropy is a sum over classes; the mean goes over"
            " images only.",
        ),
    ),
    hints=(
        (
            "Inside exp, S has the mean over the images of sum_y p log p. That is a sum over axis"
            " 1, then a mean over axis 0."
        ),
        (
            "For D compute the mean prediction first, probabilities.mean(0), of shape [K]. Then its"
            " entropy."
        ),
    ),
)

ONLY_SEVENS = Exercise(
    id="02.only_sevens",
    question=(
        "A generator draws nothing but perfect sevens, and a perfect classifier judges them. What"
        " is its Inception Score?"
    ),
    solution=1,
    why=(
        "S = 1 and D = 1: the score rewards sharp images only if there are several classes, and the"
        " worst possible value is 1."
    ),
    mistakes=(
        Mistake(
            10, "This is the best score, of a generator that draws all ten classes equally often."
        ),
        Mistake(0, "The score is never below 1: it is the exponential of a KL divergence."),
        Mistake(
            0.1,
            "You divided by the number of classes. S is 1, not 1/10: the classifier is sure of"
            " every image.",
        ),
        Mistake(7, "The score does not depend on which class it is."),
    ),
    hints=(
        (
            "How sure is the classifier of one image? How many classes are there in the mean"
            " prediction?"
        ),
    ),
)


def _psnr(images: Tensor, references: Tensor) -> Tensor:
    errors = (images.double() - references.double()).square().mean((1, 2, 3))
    return 10 * torch.log10(255**2 / errors)


def _psnr_of(
    images: Tensor, references: Tensor, maximum: float, log=torch.log10, factor: float = 10.0
) -> Tensor:
    errors = (images.double() - references.double()).square().mean((1, 2, 3))
    return factor * log(maximum**2 / errors)


def _image_cases() -> list[tuple]:
    rng = make_rng(2, 5)
    return [
        tuple(torch.randint(10, 200, (3, 1, 6, 6), generator=rng).to(torch.uint8) for _ in range(2))
    ]


PSNR = Exercise(
    id="02.psnr",
    question="Return the PSNR in dB of each image against its reference, both uint8 [N, C, H, W].",
    solution=_psnr,
    cases=_image_cases,
    why=(
        "MAX is the largest value that a pixel may have, not the largest that occurs; a wrong one"
        " shifts every value by the same dB."
    ),
    mistakes=(
        Mistake(
            lambda images, references: _psnr_of(images, references, 1.0),
            "MAX is that of pixels in [0, 1], but these are uint8: every value is 48 dB too low.",
        ),
        Mistake(
            lambda images, references: _psnr_of(images, references, 2.0),
            "MAX is that of signed pixels; uint8 pixels go further.",
        ),
        Mistake(
            lambda images, references: _psnr_of(images, references, images.max().item()),
            "You took the largest pixel that occurs. Then a dark image gets another scale; MAX"
            " belongs to the format.",
        ),
        Mistake(
            lambda images, references: _psnr_of(images, references, 255.0, factor=20.0),
            "Every value is twice too large: 20 log10 belongs to the RMSE, 10 log10 to the MSE.",
        ),
        Mistake(
            lambda images, references: _psnr_of(images, references, 255.0, log=torch.log),
            "Decibels need the logarithm with base 10.",
        ),
        Mistake(
            lambda images, references: (
                10 * torch.log10(255**2 / (images.double() - references.double()).square().mean())
            ),
            "You averaged over the images as well. Keep one value for each image.",
        ),
        Mistake(
            lambda images, references: (
                10 * torch.log10(255**2 / (images - references).double().square().mean((1, 2, 3)))
            ),
            "uint8 minus uint8 wraps around: 3 - 5 is 254. Convert to floats first.",
        ),
        Mistake(
            lambda images, references: (
                10
                * torch.log10(
                    255**2 / (images.double() - references.double()).square().sum((1, 2, 3))
                )
            ),
            "You summed the squared errors over the pixels. MSE is their mean.",
        ),
    ),
    hints=(
        "First the MSE of each image: a mean over axes 1, 2 and 3.",
        "MAX of uint8 pixels is 255. Convert to float before you subtract.",
    ),
)


def _is_real(value_a: float, error_a: float, value_b: float, error_b: float) -> bool:
    return abs(value_a - value_b) > 1.96 * math.hypot(error_a, error_b)


def _rule_cases() -> list[tuple]:
    # Clearly real; real, though the bars of two errors overlap; the second is larger; within the
    # noise; one error alone; large errors.
    small = [
        (5.0, 0.2, 3.0, 0.2),
        (4.0, 0.5, 2.5, 0.5),
        (3.0, 0.2, 5.0, 0.2),
        (4.0, 0.5, 2.7, 0.5),
        (4.0, 0.1, 3.5, 0.4),
        (4.0, 0.4, 3.5, 0.1),
    ]
    return [*small, (40.0, 5.0, 30.0, 4.0)]


REAL = Exercise(
    id="02.real",
    question=(
        "Return whether two independent values differ by more than 1.96 standard errors of their"
        " difference."
    ),
    solution=_is_real,
    cases=_rule_cases,
    why=(
        "Squares of independent errors add up, so two bars may overlap although the difference is"
        " real."
    ),
    mistakes=(
        Mistake(
            lambda value_a, error_a, value_b, error_b: (
                abs(value_a - value_b) > 1.96 * (error_a + error_b)
            ),
            "You added the errors. That asks the bars not to overlap, which is too strict: the"
            " squares add up.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: (
                value_a - value_b > 1.96 * math.hypot(error_a, error_b)
            ),
            "This notices a difference in one direction only: take its absolute value.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: (
                abs(value_a - value_b) > 1.96 * max(error_a, error_b)
            ),
            "Only the larger error counts here. The difference carries the noise of both values.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: abs(value_a - value_b) > 1.96 * error_a,
            "Only the first value's error counts here. The difference carries the noise of both.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: (
                abs(value_a - value_b) > 1.96 * (error_a**2 + error_b**2)
            ),
            "The variance of the difference is the sum of the squares; its standard error is the"
            " root of that.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b: value_a != value_b,
            "Two measured values nearly always differ. Compare with the noise.",
        ),
    ),
    hints=(
        "The variance of a difference of independent values is the sum of their variances.",
        "math.hypot(a, b) is sqrt(a² + b²).",
    ),
)

EXERCISES = (INCEPTION, ONLY_SEVENS, FRECHET_1D, COVARIANCE, FRECHET, KID, PSNR, REAL)
