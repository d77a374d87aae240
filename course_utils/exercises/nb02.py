"""The exercises of notebook 02, evaluating generative models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import (
    Exercise,
    Mistake,
    Wrong,
    describe_difference,
    require_attempt,
    same,
)

F64 = torch.float64


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=F64)


# ---- Inception Score ----


def _factors(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(0)  # c(y), [K]
    # xlogy(p, p) is p log p, and 0 where p is 0
    sharpness = torch.xlogy(probabilities, probabilities).sum(1).mean().exp()
    diversity = (-torch.xlogy(mean, mean).sum()).exp()
    return sharpness, diversity


def _naive_factors(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(0)
    sharpness = (probabilities * probabilities.log()).sum(1).mean().exp()
    return sharpness, (-(mean * mean.log()).sum()).exp()


def _naive_sharpness(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    return _naive_factors(probabilities)[0], _factors(probabilities)[1]


def _factors_base_two(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    sharpness, diversity = (factor.log() / math.log(2) for factor in _factors(probabilities))
    return sharpness.exp(), diversity.exp()


def _factors_averaged_late(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    each = torch.xlogy(probabilities, probabilities).sum(1)
    return each.exp().mean(), _factors(probabilities)[1]


def _factors_mean_over_classes(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    num_classes = probabilities.shape[1]
    sharpness, diversity = (factor.log() / num_classes for factor in _factors(probabilities))
    return sharpness.exp(), diversity.exp()


def _factors_summed_over_images(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    each = torch.xlogy(probabilities, probabilities).sum(1)
    return each.sum().exp(), _factors(probabilities)[1]


def _factors_of_named_classes(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    named = probabilities.argmax(1).bincount(minlength=probabilities.shape[1]).double()
    return _factors(probabilities)[0], _factors((named / named.sum())[None])[1]


def _factors_of_columns(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    mean = probabilities.mean(1)
    sharpness = torch.xlogy(probabilities, probabilities).sum(0).mean().exp()
    return sharpness, (-torch.xlogy(mean, mean).sum()).exp()


def _probability_cases() -> list[tuple]:
    """Two ordinary sets, a sure classifier that names three of four classes, one that never knows,
    and a single image.
    """
    rng = make_rng(2, 0)
    soft = [(_normal(rng, num, classes).mul(2).softmax(1),) for num, classes in ((6, 4), (9, 10))]
    sure = torch.eye(4, dtype=F64)[[0, 0, 2, 3, 3]]
    unsure = torch.full((3, 5), 0.2, dtype=F64)
    single = torch.tensor([[0.7, 0.2, 0.1]], dtype=F64)
    return [*soft, (sure,), (unsure,), (single,)]


INCEPTION = Exercise(
    id="02.inception",
    question=(
        "Return sharpness S and diversity D, as a tuple, from class probabilities [N, K], some of"
        " which may be zero."
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
        Mistake(
            _factors_summed_over_images,
            "S sums over the images inside the exponent. The expectation over the images is a mean,"
            " so that the score does not depend on their number.",
        ),
        Mistake(
            _naive_factors,
            "Where a probability is exactly 0 you get NaN, because 0 * log 0 is NaN for a computer."
            " Its limit is 0: torch.xlogy(p, p) knows that, and where() or clamp() help as well.",
        ),
        Mistake(
            _naive_sharpness,
            "D is right, but S is NaN where a classifier is sure: 0 * log 0 has to count as 0 in S"
            " as well.",
        ),
        Mistake(
            _factors_of_named_classes,
            "Your D counts the likeliest class of each image. c(y) is the mean of the"
            " probabilities, doubts included.",
        ),
        Mistake(
            _factors_of_columns,
            "The axes are swapped: classes are axis 1, where the sum goes, and images are axis 0,"
            " where the mean goes.",
        ),
        Mistake(
            lambda p: _factors(p)[0] * _factors(p)[1],
            "This is the score itself. Return its two factors, S and D, as a tuple.",
        ),
    ),
    hints=(
        (
            "log(a / b) = log a - log b. The part with c(y | x) alone belongs to S: inside exp, a"
            " sum over the classes, then a mean over the images."
        ),
        (
            "For D compute c(y) = probabilities.mean(0) first. Because c(y) does not depend on the"
            " image, the mean of c(y | x) log c(y) over the images is c(y) log c(y)."
        ),
        "torch.xlogy(p, p) is p log p with 0 where p is 0.",
    ),
)


ONLY_SEVENS, THREE_CLASSES = "only perfect sevens", "three classes, equally often"
NEVER_KNOWS, HALF_SEVENS = "the classifier never knows", "half of them sevens"
EXTREMES_SOLUTION = {ONLY_SEVENS: 1, THREE_CLASSES: 3, NEVER_KNOWS: 1, HALF_SEVENS: 6}

# item: {a wrong answer that is likely: what to say}
EXTREMES_MESSAGES = {
    ONLY_SEVENS: {
        10: "10 is the best score, of a generator that draws all ten classes equally often.",
        0: "the score is never below 1: it is exp of a KL divergence, and a KL is at least 0.",
        0.1: "S is 1 and not 1/10, since the classifier is sure of each image.",
        7: "the score does not depend on which class it is.",
    },
    THREE_CLASSES: {
        10: "a class that is never drawn adds nothing to the entropy of c(y).",
        0.3: "this is a share. exp(entropy) of three equal shares is a number of classes.",
        1: "S is 1, but D is not: c(y) has three equal entries.",
        1.0986: "this is the entropy, log 3. The score is exp of it.",
    },
    NEVER_KNOWS: {
        10: "D is 10, but S is 1/10: the classifier is as unsure as it can be.",
        0.1: "this is S alone. D is 10 here, since the mean prediction is even.",
        0: "the KL is 0 here, so the score is exp(0).",
    },
    HALF_SEVENS: {
        10: "all ten classes occur, but not equally often, so D is below 10.",
        5.5: "D is no mean of class counts. It is exp of the entropy of c(y).",
        9: "the sevens count as well: c(y) has ten entries, one of 1/2 and nine of 1/18.",
        1.7918: "this is the entropy, log 6. The score is exp of it.",
        2: "this would be the score if all other images showed one single class.",
    },
}


def _check_extremes(answer: Any) -> None:
    if not isinstance(answer, Mapping) or set(answer) != set(EXTREMES_SOLUTION):
        raise Wrong(
            "Expected a dictionary with the four keys of the cell; change only the numbers behind"
            " them."
        )
    for key, right in EXTREMES_SOLUTION.items():
        given = answer[key]
        if same(given, right, 1e-2, 0.0):
            continue
        for known, message in EXTREMES_MESSAGES[key].items():
            if same(given, known, 1e-2, 0.0):
                raise Wrong(f"{key!r}: {message}")
        different = describe_difference(given, right, 1e-2, 0.0)
        raise Wrong(f"{key!r}: {different}. Write down c(y | x) and c(y) first.")


EXTREMES = Exercise(
    id="02.extremes",
    question=(
        "Which Inception Score do four generators get from a classifier of ten classes that is sure"
        " of each image, but for the third one?"
    ),
    solution=EXTREMES_SOLUTION,
    check=_check_extremes,
    why=(
        "The score goes from 1 to K. For a sure classifier it is exp(entropy) of the class"
        " frequencies, a number of classes that need not be whole."
    ),
    mistakes=(
        Mistake(
            {key: 10 for key in EXTREMES_SOLUTION},
            "10 is the highest score there is, and only of a generator whose ten classes are"
            " certain and equally frequent.",
        ),
        Mistake(
            {key: value / 10 for key, value in EXTREMES_SOLUTION.items()},
            "All four are ten times too small: the score goes from 1 to K, and not from 1/K to 1.",
        ),
        Mistake(
            {key: math.log(value) for key, value in EXTREMES_SOLUTION.items()},
            "These are the mean KL divergences. The score is exp of them.",
        ),
    ),
    hints=(
        "How sure is the classifier of one image? That gives S, which is 1 or 1/10 here.",
        "D is exp of the entropy of c(y). For three equal classes c(y) = (1/3, 1/3, 1/3, 0, ...).",
        (
            "In the last set c(7) = 1/2 and the other nine classes have 1/18 each: the entropy is"
            " (log 2 + log 18) / 2."
        ),
    ),
    explanation=(
        "Only sevens: c(y | x) = c(y), so KL = 0. Three classes: S = 1, D = 3. Never knows: S ="
        " 1/10, D = 10. Half sevens: S = 1, D = exp((log 2 + log 18) / 2) = sqrt(36)."
    ),
)


# ---- FID ----


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def _moments_with(
    covariance: Callable[[Tensor], Tensor],
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Returns a wrong answer whose mean is right."""
    return lambda features: (features.mean(0), covariance(features))


def _covariance(features: Tensor) -> Tensor:
    return _moments(features)[1]


def _feature_cases() -> list[tuple]:
    """Ordinary features; fewer images than features; a single feature; two images; a mean far from
    zero.
    """
    rng = make_rng(2, 2)
    shapes = ((7, 3), (3, 4), (5, 1), (2, 2))
    return [(1 + _normal(rng, *shape),) for shape in shapes] + [(50 + _normal(rng, 6, 2),)]


MOMENTS = Exercise(
    id="02.moments",
    question=(
        "Return the mean [d] and the unbiased covariance [d, d] of features [N, d], as a tuple."
    ),
    solution=_moments,
    cases=_feature_cases,
    why=(
        "With N - 1 the covariance of a small sample is right on average; FID stays biased all the"
        " same, because it takes a root of it."
    ),
    mistakes=(
        Mistake(
            _moments_with(lambda x: _covariance(x) * (len(x) - 1) / len(x)),
            "You divided by N. That is too small on average, because the mean was estimated from"
            " the same images: divide by N - 1.",
        ),
        Mistake(
            _moments_with(lambda x: x.T @ x / (len(x) - 1)),
            "Subtract the mean of each feature before you multiply.",
        ),
        Mistake(
            _moments_with(torch.cov),
            "This covariance is [N, N], image against image. torch.cov expects features in rows:"
            " transpose.",
        ),
        Mistake(
            _moments_with(lambda x: (x - x.mean(0)) @ (x - x.mean(0)).T / (len(x) - 1)),
            "This product is [N, N], image against image. For features against features the"
            " transposed matrix stands on the left.",
        ),
        Mistake(
            _moments_with(lambda x: torch.cov(x.T)),
            "Right for two features or more, but of a single feature torch.cov returns a plain"
            " number. Give it the shape [1, 1], for example by .reshape(d, d).",
        ),
        Mistake(
            _moments_with(lambda x: _covariance(x) * (len(x) - 1)),
            "This is the sum over the images. A covariance is a mean: divide by N - 1.",
        ),
        Mistake(
            _moments_with(lambda x: x.var(0)),
            "These are the variances, the diagonal only. Features also vary together.",
        ),
        Mistake(
            _moments_with(lambda x: torch.diag(x.var(0))),
            "Only the diagonal is filled. Features also vary together, and the ellipses tilt.",
        ),
        Mistake(
            lambda x: (x.mean(1), _covariance(x)),
            "The mean goes over the images, which are axis 0, so it has the shape [d].",
        ),
        Mistake(
            lambda x: (x.mean(), _covariance(x)),
            "The mean is one number for all features. Keep one for each: mean over axis 0.",
        ),
        Mistake(lambda x: _moments(x)[::-1], "The order is mean first, then covariance."),
        Mistake(_covariance, "Return the mean as well: a tuple (mean, covariance)."),
    ),
    hints=(
        "Centre the features, then multiply: centred.T @ centred has the shape [d, d].",
        "Divide by one less than the number of images.",
    ),
)


def _root_trace(cov_a: Tensor, cov_b: Tensor) -> Tensor:
    eigenvalues = torch.linalg.eigvals(cov_a @ cov_b).real
    return eigenvalues.clamp(min=0).sqrt().sum()


def _covariance_cases() -> list[tuple]:
    """Two ordinary pairs, numbers, equal covariances, and two of few images, which are singular."""
    rng = make_rng(2, 3)
    factors = [_normal(rng, rows, dim) for rows, dim in ((9, 2), (9, 2), (9, 5), (9, 5))]
    first, second, third, fourth = (factor.T @ factor / 9 for factor in factors)
    number = torch.tensor([[4.0]], dtype=F64), torch.tensor([[9.0]], dtype=F64)
    few = [_covariance(_normal(rng, 4, 6)) for _ in range(2)]
    return [(first, second), (third, fourth), number, (third, third.clone()), (few[0], few[1])]


def _check_root_trace(answer: Callable) -> None:
    cases = _covariance_cases()
    for place, (cov_a, cov_b) in enumerate(cases, start=1):
        given = answer(cov_a, cov_b)
        require_attempt(given)
        if "complex" in str(getattr(given, "dtype", type(given))):
            raise Wrong(
                "Your result is a complex number. The eigenvalues are real here, and only their"
                " type is complex: take .real."
            )
        right = _root_trace(cov_a, cov_b)
        if not same(given, right, 1e-4, 1e-6):
            different = describe_difference(given, right, 1e-4, 1e-6)
            raise Wrong(
                f"{different[0].upper()}{different[1:]} (test input {place} of {len(cases)})."
            )


ROOT_TRACE = Exercise(
    id="02.root_trace",
    question="Return the trace of the matrix root of the product of two covariances [d, d].",
    solution=_root_trace,
    cases=_covariance_cases,
    check=_check_root_trace,
    why=(
        "No matrix root had to be computed: its trace needs the eigenvalues only, and those of"
        " covariances of few images may be zero."
    ),
    mistakes=(
        Mistake(
            lambda a, b: (a @ b).trace(),
            "The matrix root is missing: you took the trace of the product itself.",
        ),
        Mistake(
            lambda a, b: (a @ b).sqrt().trace(),
            "This is the root of each entry. The root of a matrix is a matrix R with R @ R ="
            " product; its trace is the sum of the roots of the eigenvalues.",
        ),
        Mistake(
            lambda a, b: torch.linalg.eigvalsh(a @ b).clamp(min=0).sqrt().sum(),
            "eigvalsh expects a symmetric matrix, and the product of two covariances is not"
            " symmetric. torch.linalg.eigvals takes any matrix.",
        ),
        Mistake(
            lambda a, b: (a @ b).trace().sqrt(),
            "You took the root of the trace. It has to be the trace of the root: first the roots of"
            " the eigenvalues, then their sum.",
        ),
        Mistake(
            lambda a, b: torch.linalg.eigvals(a @ b).real.sqrt().sum(),
            "NaN: with fewer images than features some eigenvalues are 0, and rounding makes them"
            " tiny negative numbers. Cut them off at 0 before the root: .clamp(min=0).",
        ),
        Mistake(
            lambda a, b: torch.linalg.svdvals(a @ b).sqrt().sum(),
            "These are singular values of the product. They equal the eigenvalues only of a"
            " symmetric matrix, which the product is not.",
        ),
        Mistake(
            lambda a, b: (
                (torch.linalg.eigvalsh(a) * torch.linalg.eigvalsh(b)).clamp(min=0).sqrt().sum()
            ),
            "You multiplied the eigenvalues of the two matrices. Those of the product are others,"
            " unless both ellipses have the same axes.",
        ),
        Mistake(
            lambda a, b: torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().mean(),
            "You averaged the roots of the eigenvalues. A trace is a sum.",
        ),
        Mistake(
            lambda a, b: torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt(),
            "These are the roots of the eigenvalues. The trace is their sum.",
        ),
        Mistake(
            lambda a, b: torch.linalg.eigvals(a + b).real.clamp(min=0).sqrt().sum(),
            "You took the sum of the two matrices. The formula has their product.",
        ),
        Mistake(
            lambda a, b: torch.linalg.eigvals(a * b).real.clamp(min=0).sqrt().sum(),
            "a * b multiplies entry by entry. The matrix product is a @ b.",
        ),
    ),
    hints=(
        (
            "If M has the eigenvalues m_1, m_2, ..., then its root has their square roots, and a"
            " trace is the sum of the eigenvalues."
        ),
        "torch.linalg.eigvals(cov_a @ cov_b) is complex by type; take .real.",
        "Rounding can make tiny negative values of zeros: .clamp(min=0) before the root.",
    ),
)


def _frechet(features_a: Tensor, features_b: Tensor) -> Tensor:
    mean_a, cov_a = _moments(features_a)
    mean_b, cov_b = _moments(features_b)
    means = (mean_a - mean_b).square().sum()
    return means + cov_a.trace() + cov_b.trace() - 2 * _root_trace(cov_a, cov_b)


def _frechet_parts(features_a: Tensor, features_b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the difference of the means [d], the sum of both traces, and the trace of the
    root.
    """
    (mean_a, cov_a), (mean_b, cov_b) = _moments(features_a), _moments(features_b)
    return mean_a - mean_b, cov_a.trace() + cov_b.trace(), _root_trace(cov_a, cov_b)


def _frechet_from(combine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Returns a wrong answer that puts the three parts together in its own way."""
    return lambda features_a, features_b: combine(*_frechet_parts(features_a, features_b))


def _frechet_biased(features_a: Tensor, features_b: Tensor) -> Tensor:
    shift = features_a.mean(0) - features_b.mean(0)
    cov_a, cov_b = (_covariance(x) * (len(x) - 1) / len(x) for x in (features_a, features_b))
    return shift.square().sum() + cov_a.trace() + cov_b.trace() - 2 * _root_trace(cov_a, cov_b)


def _frechet_of_spreads(features_a: Tensor, features_b: Tensor) -> Tensor:
    means = (features_a.mean(0) - features_b.mean(0)).square().sum()
    return means + (features_a.std(0) - features_b.std(0)).square().sum()


def _pair_cases() -> list[tuple]:
    """Two ordinary pairs, single features, fewer images than features, and equal sets."""
    rng = make_rng(2, 1)
    cases = [(_normal(rng, 9, 3), 1 + 2 * _normal(rng, 7, 3))]
    cases.append((_normal(rng, 12, 2) @ _normal(rng, 2, 2), 0.5 - _normal(rng, 8, 2)))
    cases.append((_normal(rng, 8, 1), 1 + 3 * _normal(rng, 6, 1)))
    cases.append((_normal(rng, 4, 6), _normal(rng, 5, 6)))
    equal = _normal(rng, 7, 2)
    return [*cases, (equal, equal.clone())]


FRECHET = Exercise(
    id="02.frechet",
    question=(
        "Return the squared Fréchet distance between Gaussian fits of two sets of features, [N, d]"
        " and [M, d]."
    ),
    solution=_frechet,
    cases=_pair_cases,
    why="This is FID: all that is left of two sets of images is two means and two covariances.",
    mistakes=(
        Mistake(
            _frechet_from(lambda shift, traces, root: shift.square().mean() + traces - 2 * root),
            "The first term is the mean of the squared differences. A squared distance is their"
            " sum.",
        ),
        Mistake(
            _frechet_from(lambda shift, traces, root: shift.norm() + traces - 2 * root),
            "The distance of the means is not squared yet.",
        ),
        Mistake(
            _frechet_from(lambda shift, traces, root: shift.sum().square() + traces - 2 * root),
            "You summed the differences of the means before squaring, so that they can cancel:"
            " square first.",
        ),
        Mistake(
            _frechet_from(lambda shift, traces, root: shift.square().sum() + traces - root),
            "The factor 2 before the root is missing. Without it equal sets would not have distance"
            " zero.",
        ),
        Mistake(
            _frechet_from(lambda shift, traces, root: shift.square().sum() + traces - 4 * root),
            "The trace of the root counts four times instead of twice.",
        ),
        Mistake(
            _frechet_from(lambda shift, traces, root: shift.square().sum() + traces + 2 * root),
            "The trace of the root has the wrong sign: equal sets would not have distance zero.",
        ),
        Mistake(
            _frechet_from(lambda shift, traces, root: shift.square().sum() - 2 * root),
            "The traces of the two covariances are missing.",
        ),
        Mistake(
            _frechet_from(lambda shift, traces, root: traces - 2 * root),
            "The means are missing: a generator whose images are all a little too bright would be"
            " perfect.",
        ),
        Mistake(
            _frechet_from(lambda shift, traces, root: shift.square().sum()),
            "This sees only the means: a generator that always draws the mean would be perfect.",
        ),
        Mistake(
            _frechet_from(
                lambda shift, traces, root: (
                    (shift.square().sum() + traces - 2 * root).clamp(min=0).sqrt()
                )
            ),
            "This is the distance itself. FID is its square.",
        ),
        Mistake(
            _frechet_biased,
            "Your covariances are divided by N instead of N - 1. mean_and_covariance does it"
            " right: use it.",
        ),
        Mistake(
            _frechet_of_spreads,
            "You compared the standard deviations feature by feature. That is right in one"
            " dimension only; features also vary together, and the traces see that.",
        ),
    ),
    hints=(
        "Fit both sets with mean_and_covariance, then add up the terms of the formula.",
        "cov.trace() is the trace of a covariance; trace_of_root(cov_a, cov_b) is the last one.",
    ),
)


# ---- when a difference is real ----


def _differs(value_a: float, error_a: float, value_b: float, error_b: float, limit: float) -> bool:
    return abs(value_a - value_b) > limit * math.hypot(error_a, error_b)


def _rule_cases() -> list[tuple]:
    """Named cases, and thirty drawn ones near the limit: with true and false as the only answers it
    takes many to tell the wrong rules apart.
    """
    named = [
        (5.0, 0.2, 3.0, 0.2, 1.96),  # clearly real
        (4.0, 0.5, 2.5, 0.5, 1.96),  # real, though the bars of two errors overlap
        (3.0, 0.2, 5.0, 0.2, 1.96),  # the second value is the larger one
        (4.0, 0.5, 2.7, 0.5, 1.96),  # within the noise
        (40.0, 5.0, 23.0, 4.0, 2.78),  # real for many images, not for three seeds
        (2.0, 0.0, 2.0, 0.0, 1.96),  # no noise, no difference
        (2.0, 0.0, 2.1, 0.0, 1.96),  # no noise
        (-5.0, 0.2, 5.0, 0.2, 1.96),  # they differ in nothing but their sign
    ]
    rng, drawn = make_rng(2, 7), []
    for _ in range(30):
        first, second, size, side, other = torch.rand(5, generator=rng, dtype=F64).tolist()
        error_a, error_b = 0.05 + first, 0.05 + second
        limit = 1.5 + 2 * other
        difference = (0.3 + 1.5 * size) * limit * math.hypot(error_a, error_b)
        drawn.append((3.0, error_a, 3.0 + math.copysign(difference, side - 0.5), error_b, limit))
    return [*named, *drawn]


DIFFERS = Exercise(
    id="02.differs",
    question=(
        "Return whether two independent values differ by more than `limit` standard errors of"
        " their difference."
    ),
    solution=_differs,
    cases=_rule_cases,
    why=(
        "Squares of independent errors add up, so two bars may overlap although the difference is"
        " real."
    ),
    mistakes=(
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                abs(value_a - value_b) > limit * (error_a + error_b)
            ),
            "You added the errors. That asks the bars not to overlap, which is too strict, because"
            " two independent errors seldom point apart.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                value_a - value_b > limit * math.hypot(error_a, error_b)
            ),
            "This notices a difference in one direction only: take its absolute value.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                value_b - value_a > limit * math.hypot(error_a, error_b)
            ),
            "This is true only where the second value is the larger one: take the absolute value.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                abs(value_a - value_b) > limit * max(error_a, error_b)
            ),
            "Only the larger error counts here. The difference carries the noise of both values.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                abs(value_a - value_b) > limit * error_a
            ),
            "Only the first value's error counts here. The difference carries the noise of both.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                abs(value_a - value_b) > limit * error_b
            ),
            "Only the second value's error counts here. The difference carries the noise of both.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                abs(value_a - value_b) > limit * (error_a**2 + error_b**2)
            ),
            "The variance of the difference is the sum of the squares; its standard error is the"
            " root of that.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                abs(value_a - value_b) > limit * (error_a + error_b) / 2
            ),
            "You took the mean of the two errors. The difference is noisier than either value, not"
            " as noisy as their mean.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                abs(value_a - value_b) > 1.96 * math.hypot(error_a, error_b)
            ),
            "You always use 1.96. The limit is an argument, because few seeds need a larger one.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: (
                abs(value_a - value_b) > math.hypot(error_a, error_b)
            ),
            "The limit is missing: one standard error of the difference is exceeded in about a"
            " third of all cases by chance.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: abs(value_a - value_b) > limit,
            "The limit counts standard errors, so multiply it by the error of the difference.",
        ),
        Mistake(
            lambda value_a, error_a, value_b, error_b, limit: value_a != value_b,
            "Two measured values nearly always differ. Compare with the noise.",
        ),
        Mistake(
            lambda *given: not _differs(*given),
            "The answer is the wrong way round: return True where the difference is real.",
        ),
    ),
    hints=(
        "The variance of a difference of independent values is the sum of their variances.",
        "math.hypot(a, b) is sqrt(a² + b²).",
    ),
)


# ---- image recovery ----


def _mean_squared_error(images: Tensor, references: Tensor) -> Tensor:
    return (images.double() - references.double()).square().mean((1, 2, 3))


def _decibels(images: Tensor, references: Tensor, largest: float) -> Tensor:
    errors = (images.double() - references.double()).square().mean((1, 2, 3))
    return 10 * torch.log10(largest**2 / errors)


def _wrapped_decibels(images: Tensor, references: Tensor, largest: float) -> Tensor:
    errors = (images - references).double().square().mean((1, 2, 3))
    return 10 * torch.log10(largest**2 / errors)


def _twice_wrapped_decibels(images: Tensor, references: Tensor, largest: float) -> Tensor:
    errors = ((images - references) ** 2).double().mean((1, 2, 3))
    return 10 * torch.log10(largest**2 / errors)


def _decibels_with(
    value: Callable[[Tensor, float], Tensor],
) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Returns a wrong answer that makes something else of the mean squared errors [N]."""
    return lambda images, references, largest: value(
        _mean_squared_error(images, references), largest
    )


def _image_cases() -> list[tuple]:
    """Grey uint8 images, one colour image, and images in [0, 1]."""
    rng = make_rng(2, 5)

    def levels(*shape: int) -> Tensor:
        return torch.randint(10, 200, shape, generator=rng).to(torch.uint8)

    grey, colour = (
        (levels(3, 1, 6, 6), levels(3, 1, 6, 6)),
        (levels(1, 3, 4, 5), levels(1, 3, 4, 5)),
    )
    unit = tuple(torch.rand(2, 1, 5, 5, generator=rng) for _ in range(2))
    return [(*grey, 255), (*colour, 255), (*unit, 1.0)]


PSNR = Exercise(
    id="02.psnr",
    question=(
        "Return the PSNR in dB of each image against its reference, [N, C, H, W] of any type, where"
        " `largest` is the largest value that a pixel may have."
    ),
    solution=_decibels,
    cases=_image_cases,
    why=(
        "Twice the error means 3 dB less, whatever the scale of the pixels, as long as MAX belongs"
        " to that scale."
    ),
    mistakes=(
        Mistake(
            lambda images, references, largest: _decibels(images, references, 255),
            "MAX is always 255 here. Images in [0, 1] have another one, which is why `largest` is"
            " given.",
        ),
        Mistake(
            lambda images, references, largest: _decibels(images, references, 1),
            "`largest` has no effect: you divide 1 by the MSE, in place of MAX².",
        ),
        Mistake(
            lambda images, references, largest: _decibels(
                images, references, references.max().item()
            ),
            "You took the largest pixel that occurs. Then a dark image gets another scale; MAX"
            " belongs to the format.",
        ),
        Mistake(
            lambda images, references, largest: _decibels(images, references, math.sqrt(largest)),
            "MAX is not squared: the MSE has squared units, so MAX needs them too.",
        ),
        Mistake(
            lambda images, references, largest: 2 * _decibels(images, references, largest),
            "Every value is twice too large: 20 log10 belongs to the RMSE, 10 log10 to the MSE.",
        ),
        Mistake(
            lambda images, references, largest: _decibels(images, references, largest) / 2,
            "Every value is half of what it should be: 10 log10 belongs to the MSE, and you have"
            " the RMSE under it.",
        ),
        Mistake(
            _decibels_with(lambda errors, largest: 10 * (largest**2 / errors).log()),
            "Decibels need the logarithm with base 10.",
        ),
        Mistake(
            _decibels_with(lambda errors, largest: (largest**2 / errors).log10()),
            "The factor 10 is missing: a decibel is a tenth of a bel.",
        ),
        Mistake(
            lambda images, references, largest: -_decibels(images, references, largest),
            "The fraction is upside down: a larger error has to give a smaller PSNR.",
        ),
        Mistake(
            _decibels_with(lambda errors, largest: 10 * torch.log10(largest**2 / errors.mean())),
            "You averaged over the images as well. Keep one value for each image.",
        ),
        Mistake(
            _wrapped_decibels,
            "uint8 minus uint8 wraps around: 3 - 5 is 254. Convert to floats first.",
        ),
        Mistake(
            _twice_wrapped_decibels,
            "The difference of uint8 images wraps around, and so does its square: 20 * 20 is 144."
            " Convert to floats before you subtract.",
        ),
        Mistake(
            lambda images, references, largest: (
                _decibels(images, references, largest) - 10 * math.log10(images[0].numel())
            ),
            "You summed the squared errors over the pixels. MSE is their mean.",
        ),
        Mistake(
            lambda images, references, largest: (
                10
                * torch.log10(
                    largest**2 / (images.double() - references.double()).abs().mean((1, 2, 3))
                )
            ),
            "You averaged the absolute errors. MSE averages their squares.",
        ),
    ),
    hints=(
        "First the MSE of each image: a mean over axes 1, 2 and 3.",
        "Convert both to float before you subtract: uint8 cannot hold negative differences.",
    ),
)


UNIT_AS_UINT8, SIGNED_AS_UNIT = "pixels in [0, 1], MAX = 255", "pixels in [-1, 1], MAX = 1"
WRONG_MAX_SOLUTION = {
    UNIT_AS_UINT8: round(20 * math.log10(255), 2),
    SIGNED_AS_UNIT: round(-20 * math.log10(2), 2),
}


WHOLE_DECIBEL = 0.5  # an answer may be rounded to a whole number


def _check_wrong_max(answer: Any) -> None:
    if not isinstance(answer, Mapping) or set(answer) != set(WRONG_MAX_SOLUTION):
        raise Wrong(
            "Expected a dictionary with the two keys of the cell; change only the numbers behind"
            " them."
        )
    for key, right in WRONG_MAX_SOLUTION.items():
        if same(answer[key], right, 0.0, WHOLE_DECIBEL):
            continue
        if same(answer[key], -right, 0.0, WHOLE_DECIBEL):
            raise Wrong(f"{key!r}: the sign is wrong. PSNR grows with MAX.")
        if same(answer[key], right / 2, 0.0, WHOLE_DECIBEL):
            raise Wrong(f"{key!r}: MAX is squared in the formula, so its ratio counts twice.")
        raise Wrong(f"{key!r}: {describe_difference(answer[key], right, 0.0, WHOLE_DECIBEL)}.")


def _scaled(factor: float) -> dict[str, float]:
    return {key: factor * value for key, value in WRONG_MAX_SOLUTION.items()}


WRONG_MAX = Exercise(
    id="02.wrong_max",
    question="By how many dB does PSNR change, if MAX does not fit the pixels?",
    solution=WRONG_MAX_SOLUTION,
    check=_check_wrong_max,
    why=(
        "The change is the same for each image, so it is easily overlooked; but 48 dB too much"
        " makes any restoration look perfect."
    ),
    mistakes=(
        Mistake(
            _scaled(0.5),
            "These are 10 log10 of the ratio of the two MAX. But MAX is squared in the formula.",
        ),
        Mistake(
            _scaled(-1.0),
            "Both signs are the wrong way round: MAX stands above the fraction's line.",
        ),
        Mistake(
            {UNIT_AS_UINT8: 255**2, SIGNED_AS_UNIT: 0.25},
            "These are the factors inside the logarithm. In dB a factor becomes a difference: 10"
            " log10 of it.",
        ),
        Mistake(
            _scaled(math.log(10) / 10),
            "These are natural logarithms of the factors. Decibels are 10 log10.",
        ),
        Mistake(
            {UNIT_AS_UINT8: 0, SIGNED_AS_UNIT: 0},
            "PSNR does not change only if the images are rescaled together with MAX. Here the"
            " pixels stay as they are.",
        ),
        Mistake(
            {UNIT_AS_UINT8: WRONG_MAX_SOLUTION[UNIT_AS_UINT8], SIGNED_AS_UNIT: 0},
            "Signed pixels reach from -1 to 1, which is a range of 2. MAX, for them, is the length"
            " of the range.",
        ),
    ),
    hints=(
        "10 log10(a² MAX² / MSE) = 10 log10(a²) + 10 log10(MAX² / MSE).",
        "The right MAX is 1 for pixels in [0, 1], and 2, the length of the range, for [-1, 1].",
    ),
)


# ---- MIND ----


def _sliced(features_a: Tensor, features_b: Tensor, directions: Tensor) -> Tensor:
    first = (features_a @ directions.T).sort(0).values  # [N, L]
    second = (features_b @ directions.T).sort(0).values
    return 3 * features_a.shape[1] * (first - second).square().mean()


def _sliced_with(
    combine: Callable[[Tensor, Tensor], Tensor],
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Returns a wrong answer that compares the projections [N, L] in its own way."""

    def distance(features_a: Tensor, features_b: Tensor, directions: Tensor) -> Tensor:
        projected = features_a @ directions.T, features_b @ directions.T
        return 3 * features_a.shape[1] * combine(*projected)

    return distance


def _up(projected: Tensor) -> Tensor:
    return projected.sort(0).values


def _slice_cases() -> list[tuple]:
    """Two ordinary pairs, single features, one direction, and one set in two orders."""
    rng = make_rng(2, 6)

    def units(num: int, dim: int) -> Tensor:
        return torch.nn.functional.normalize(_normal(rng, num, dim), dim=1)

    cases = [(_normal(rng, 6, 3), 1 + 2 * _normal(rng, 6, 3), units(4, 3))]
    cases.append((_normal(rng, 9, 5), _normal(rng, 9, 5) - 0.3, units(7, 5)))
    cases.append((_normal(rng, 5, 1), 2 + _normal(rng, 5, 1), torch.ones(1, 1, dtype=F64)))
    cases.append((_normal(rng, 3, 2), _normal(rng, 3, 2), units(1, 2)))
    same_set = _normal(rng, 6, 4)
    return [*cases, (same_set, same_set.flip(0), units(3, 4))]


MIND = Exercise(
    id="02.mind",
    question=(
        "Return 3 d times the mean squared 1-D Wasserstein distance of two sets of features [N, d]"
        " along unit directions [L, d]."
    ),
    solution=_sliced,
    cases=_slice_cases,
    why=(
        "Sorting finds the cheapest way to move one sample of numbers onto another, so no"
        " covariance is needed."
    ),
    mistakes=(
        Mistake(
            _sliced_with(lambda a, b: (a - b).square().mean()),
            "Without sorting each image is compared with a stranger that happens to have the same"
            " number. Sort both projections.",
        ),
        Mistake(
            _sliced_with(lambda a, b: (a.sort(1).values - b.sort(1).values).square().mean()),
            "You sorted along the directions. Each direction has its own order of the images: sort"
            " along axis 0 of [N, L].",
        ),
        Mistake(
            _sliced_with(lambda a, b: (_up(a) - b).square().mean()),
            "Only one of the two sets is sorted.",
        ),
        Mistake(
            _sliced_with(lambda a, b: (_up(a) - _up(b)).abs().mean()),
            "These are absolute differences, the distance called Wasserstein-1. FID and MIND use"
            " squares.",
        ),
        Mistake(
            lambda *given: _sliced(*given) / (3 * given[0].shape[1]), "The factor 3 d is missing."
        ),
        Mistake(
            lambda *given: _sliced(*given) / given[0].shape[1],
            "The number of features d is missing from the factor 3 d.",
        ),
        Mistake(lambda *given: _sliced(*given) / 3, "The 3 of the factor 3 d is missing."),
        Mistake(
            lambda *given: _sliced(*given) * len(given[2]),
            "You summed over the directions. Average over them, so that their number does not"
            " matter.",
        ),
        Mistake(
            lambda *given: _sliced(*given) * len(given[0]),
            "You summed over the images. Average over them, so that N does not set the scale.",
        ),
        Mistake(
            lambda *given: _sliced(*given).sqrt(),
            "This is the root. MIND, like FID, is a squared distance.",
        ),
        Mistake(
            _sliced_with(lambda a, b: (a.mean(0) - b.mean(0)).square().mean()),
            "This compares the means along each direction and no more. Sort, then compare image by"
            " image.",
        ),
        Mistake(
            _sliced_with(lambda a, b: (_up(a) - b.sort(0, descending=True).values).square().mean()),
            "One set is sorted upwards and the other downwards: that is the most expensive way to"
            " move.",
        ),
    ),
    hints=(
        "features @ directions.T is [N, L]: each column is one direction's projection.",
        ".sort(0).values sorts each column. Then take the mean of the squared differences.",
    ),
)

EXERCISES = (INCEPTION, EXTREMES, MOMENTS, ROOT_TRACE, FRECHET, DIFFERS, PSNR, WRONG_MAX, MIND)
