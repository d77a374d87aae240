"""Notebook 02: right answers in other styles pass, and wrong ones get a message that names their
error. The likely wrong answers stand beside the exercises; here are further ones.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch

from course_utils.exercises import core, nb02
from course_utils.exercises.judge import PASSED, WRONG, judge


@pytest.fixture(autouse=True)
def no_progress_file(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "off")


def verdict_of(exercise_id, answer):
    return judge(core.find(exercise_id), answer)


# ---- right answers in other styles ----


def factors_in_numpy(probabilities):
    p = np.asarray(probabilities)
    entropies = scipy.special.entr(p).sum(axis=1)
    return np.exp(-entropies.mean()), np.exp(scipy.special.entr(p.mean(axis=0)).sum())


def factors_with_where(probabilities):
    logs = torch.where(probabilities > 0, probabilities, 1.0).log()
    mean = probabilities.mean(0).clamp(min=1e-30)
    sharpness = math.exp((probabilities * logs).sum(1).mean().item())
    return [sharpness, math.exp(-(mean * mean.log()).sum().item())]


def factors_by_the_cross_term(probabilities):
    """D as the expectation over the images, as it stands in the definition."""
    p, mean = probabilities, probabilities.mean(0)
    diversity = torch.exp(-torch.xlogy(p, torch.where(mean > 0, mean, 1.0)).sum(1).mean())
    return torch.exp(-torch.special.entr(p).sum(1).mean()), diversity


def moments_by_torch(features):
    dim = features.shape[1]
    return features.mean(dim=0), torch.cov(features.T).reshape(dim, dim)


def moments_by_einsum(features):
    centred = features - features.mean(0, keepdim=True)
    return features.mean(0), torch.einsum("ni,nj->ij", centred, centred) / (len(features) - 1)


def moments_in_numpy(features):
    x = features.numpy()
    return x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))


def moments_by_hand(features):
    num, dim = features.shape
    mean = [sum(row[i] for row in features.tolist()) / num for i in range(dim)]
    covariance = torch.zeros(dim, dim, dtype=torch.float64)
    for row in features:
        covariance += torch.outer(row - torch.tensor(mean), row - torch.tensor(mean))
    return torch.tensor(mean, dtype=torch.float64), covariance / (num - 1)


def root_by_scipy(cov_a, cov_b):
    values = scipy.linalg.eigvals(cov_a.numpy() @ cov_b.numpy())
    return float(np.sqrt(np.maximum(values.real, 0)).sum())


def root_by_symmetry(cov_a, cov_b):
    values, vectors = torch.linalg.eigh(cov_a)
    half = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    return torch.linalg.eigvalsh(half @ cov_b @ half).clamp(min=0).sqrt().sum()


def root_of_complex_values(cov_a, cov_b):
    return torch.linalg.eigvals(cov_a @ cov_b).sqrt().sum().real


def frechet_in_numpy(features_a, features_b):
    a, b = features_a.numpy(), features_b.numpy()
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    roots = np.sqrt(np.maximum(np.linalg.eigvals(cov_a @ cov_b).real, 0))
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(means + np.trace(cov_a) + np.trace(cov_b) - 2 * roots.sum())


def frechet_by_the_library(features_a, features_b):
    from course_utils import metrics

    return metrics.frechet_distance(*map(metrics.fit_gaussian, (features_a, features_b)))


def rule_in_numpy(value_a, error_a, value_b, error_b, limit):
    return np.abs(value_a - value_b) > limit * np.sqrt(error_a**2 + error_b**2)


def rule_in_torch(value_a, error_a, value_b, error_b, limit):
    error = torch.tensor([error_a, error_b], dtype=torch.float64).norm()
    return torch.tensor(abs(value_a - value_b)).double() > limit * error


def rule_as_text(value_a, error_a, value_b, error_b, limit):
    if (value_a - value_b) ** 2 > limit**2 * (error_a**2 + error_b**2):
        return True
    return False


def psnr_in_numpy(images, references, largest):
    a, b = (np.asarray(x, dtype=np.float64) for x in (images, references))
    errors = ((a - b) ** 2).reshape(len(a), -1).mean(1)
    return 20 * np.log10(largest / np.sqrt(errors))


def psnr_as_list(images, references, largest):
    values = []
    for image, reference in zip(images.float(), references.float()):
        error = torch.nn.functional.mse_loss(image, reference).item()
        values.append(10 * math.log10(largest**2 / error))
    return values


def mind_by_numpy(features_a, features_b, directions):
    total = 0.0
    for direction in directions.numpy():
        first, second = (np.sort(x.numpy() @ direction) for x in (features_a, features_b))
        total += ((first - second) ** 2).mean()
    return 3 * features_a.shape[1] * total / len(directions)


def mind_downwards(features_a, features_b, directions):
    first, second = (
        torch.einsum("nd,ld->ln", x, directions).sort(1, descending=True).values
        for x in (features_a, features_b)
    )
    return 3 * features_a.shape[1] * torch.nn.functional.mse_loss(first, second)


RIGHT = [
    ("02.inception", factors_in_numpy),
    ("02.inception", factors_with_where),
    ("02.inception", factors_by_the_cross_term),
    ("02.extremes", {**nb02.EXTREMES_SOLUTION, nb02.HALF_SEVENS: math.sqrt(36)}),
    ("02.extremes", {key: torch.tensor(n) for key, n in nb02.EXTREMES_SOLUTION.items()}),
    ("02.moments", moments_by_torch),
    ("02.moments", moments_by_einsum),
    ("02.moments", moments_in_numpy),
    ("02.moments", moments_by_hand),
    ("02.root_trace", root_by_scipy),
    ("02.root_trace", root_by_symmetry),
    ("02.root_trace", root_of_complex_values),
    ("02.frechet", frechet_in_numpy),
    ("02.frechet", frechet_by_the_library),
    ("02.differs", rule_in_numpy),
    ("02.differs", rule_in_torch),
    ("02.differs", rule_as_text),
    ("02.psnr", psnr_in_numpy),
    ("02.psnr", psnr_as_list),
    (
        "02.wrong_max",
        {nb02.UNIT_AS_UINT8: 20 * math.log10(255), nb02.SIGNED_AS_UNIT: 10 * math.log10(0.25)},
    ),
    ("02.wrong_max", {nb02.UNIT_AS_UINT8: 48.1, nb02.SIGNED_AS_UNIT: -6}),
    ("02.wrong_max", {nb02.UNIT_AS_UINT8: 48, nb02.SIGNED_AS_UNIT: -6}),
    ("02.mind", mind_by_numpy),
    ("02.mind", mind_downwards),
]


@pytest.mark.parametrize(("exercise_id", "answer"), RIGHT)
def test_right_answers_in_other_styles_pass(exercise_id, answer):
    verdict = verdict_of(exercise_id, answer)
    assert verdict.status == PASSED, verdict.message


# ---- further wrong answers ----


def no_return(*arguments):
    sum(argument.double().sum() for argument in arguments if hasattr(argument, "double"))


def clipped_by_a_large_epsilon(probabilities):
    p = probabilities + 0.01
    mean = p.mean(0)
    return (p * p.log()).sum(1).mean().exp(), (-(mean * mean.log()).sum()).exp()


def median_of_entropies(probabilities):
    entropies = torch.special.entr(probabilities).sum(1)
    return (-entropies.median()).exp(), nb02._factors(probabilities)[1]


def moments_of_float_rounding(features):
    mean = features.mean(0).round()
    return mean, nb02._covariance(features)


def complex_root(cov_a, cov_b):
    return torch.linalg.eigvals(cov_a @ cov_b).sqrt().sum()


def frechet_of_pixels(features_a, features_b):
    num = min(len(features_a), len(features_b))
    return (features_a[:num] - features_b[:num]).square().sum(1).mean()


def rule_with_three(value_a, error_a, value_b, error_b, limit):
    return abs(value_a - value_b) > 3 * math.hypot(error_a, error_b)


def rule_as_number(value_a, error_a, value_b, error_b, limit):
    return abs(value_a - value_b) / max(1e-12, math.hypot(error_a, error_b))


def psnr_with_relu(images, references, largest):
    errors = (images.double() - references.double()).clamp(min=0).square().mean((1, 2, 3))
    return 10 * torch.log10(largest**2 / errors)


def psnr_of_each_channel(images, references, largest):
    errors = (images.double() - references.double()).square().mean((2, 3))
    return 10 * torch.log10(largest**2 / errors)


def mind_with_own_noise(features_a, features_b, directions):
    own = torch.nn.functional.normalize(torch.randn_like(directions), dim=1)
    return nb02._sliced(features_a, features_b, own)


def mind_of_sorted_features(features_a, features_b, directions):
    first, second = (x.sort(0).values @ directions.T for x in (features_a, features_b))
    return 3 * features_a.shape[1] * (first - second).square().mean()


EXTREMES, WRONG_MAX = nb02.EXTREMES_SOLUTION, nb02.WRONG_MAX_SOLUTION
WRONG_ANSWERS = [
    ("02.inception", no_return, "`return` missing"),
    ("02.inception", clipped_by_a_large_epsilon, "Item 0"),
    ("02.inception", median_of_entropies, "Item 0"),
    ("02.inception", lambda p: (torch.ones(()), torch.ones(())), "Item 0"),
    ("02.inception", lambda p: nb02._factors(p.softmax(1)), "Item 0"),
    ("02.inception", lambda p: nb02._factors(p)[0], "expected a tuple of 2 items"),
    ("02.extremes", [1, 3, 1, 6], "dictionary with the four keys"),
    ("02.extremes", {**EXTREMES, nb02.ONLY_SEVENS: 7}, "does not depend on which class"),
    ("02.extremes", {**EXTREMES, nb02.ONLY_SEVENS: 0}, "never below 1"),
    ("02.extremes", {**EXTREMES, nb02.THREE_CLASSES: math.log(3)}, "this is the entropy, log 3"),
    ("02.extremes", {**EXTREMES, nb02.THREE_CLASSES: 10}, "never drawn adds nothing"),
    ("02.extremes", {**EXTREMES, nb02.NEVER_KNOWS: 10}, "D is 10, but S is 1/10"),
    ("02.extremes", {**EXTREMES, nb02.HALF_SEVENS: 10}, "not equally often"),
    ("02.extremes", {**EXTREMES, nb02.HALF_SEVENS: 5.5}, "no mean of class counts"),
    ("02.extremes", {**EXTREMES, nb02.HALF_SEVENS: 4}, "too small"),
    ("02.moments", no_return, "`return` missing"),
    ("02.moments", moments_of_float_rounding, "Item 0"),
    ("02.moments", lambda x: (x.mean(0), torch.zeros(x.shape[1], x.shape[1])), "Item 1"),
    ("02.moments", lambda x: (x.sum(0), nb02._covariance(x)), "Item 0"),
    ("02.moments", lambda x: (x.median(0).values, nb02._covariance(x)), "Item 0"),
    ("02.moments", lambda x: (x.mean(0), -nb02._covariance(x)), "sign is the wrong way round"),
    ("02.root_trace", no_return, "`return` missing"),
    ("02.root_trace", complex_root, "take .real"),
    ("02.root_trace", lambda a, b: nb02._root_trace(a, a), "too"),
    ("02.root_trace", lambda a, b: -nb02._root_trace(a, b), "sign is the wrong way round"),
    ("02.root_trace", lambda a, b: torch.linalg.cholesky(a @ b).trace(), "is too small"),
    ("02.frechet", no_return, "`return` missing"),
    ("02.frechet", frechet_of_pixels, "is too"),
    ("02.frechet", lambda a, b: torch.zeros(()), "too small"),
    ("02.frechet", lambda a, b: -nb02._frechet(a, b), "sign is the wrong way round"),
    ("02.frechet", lambda a, b: nb02._frechet(a, b) + math.nan, "NaN"),
    ("02.differs", lambda *given: None if given else 0, "`return` missing"),
    ("02.differs", rule_with_three, "is not right"),
    ("02.differs", rule_as_number, "expected True or False, got a number"),
    ("02.differs", lambda *given: True, "is not right"),
    ("02.differs", lambda *given: np.bool_(False), "False is not right"),
    ("02.psnr", no_return, "`return` missing"),
    ("02.psnr", psnr_with_relu, "differ"),
    ("02.psnr", psnr_of_each_channel, "expected numbers of shape"),
    ("02.psnr", lambda images, references, largest: torch.zeros(len(images)), "every value is 0"),
    ("02.wrong_max", 48.13, "dictionary with the two keys"),
    ("02.wrong_max", {**WRONG_MAX, nb02.UNIT_AS_UINT8: 24.07}, "its ratio counts twice"),
    ("02.wrong_max", {**WRONG_MAX, nb02.UNIT_AS_UINT8: -48.13}, "the sign is wrong"),
    ("02.wrong_max", {**WRONG_MAX, nb02.SIGNED_AS_UNIT: 6.02}, "the sign is wrong"),
    ("02.wrong_max", {**WRONG_MAX, nb02.SIGNED_AS_UNIT: -3.01}, "its ratio counts twice"),
    ("02.wrong_max", {**WRONG_MAX, nb02.UNIT_AS_UINT8: 100}, "too large"),
    ("02.wrong_max", {**WRONG_MAX, nb02.UNIT_AS_UINT8: 47}, "too small"),
    ("02.mind", no_return, "`return` missing"),
    ("02.mind", mind_with_own_noise, "Two calls with the same arguments"),
    ("02.mind", mind_of_sorted_features, "is too"),
    ("02.mind", lambda a, b, directions: torch.zeros(()), "too small"),
]


@pytest.mark.parametrize(("exercise_id", "answer", "words"), WRONG_ANSWERS)
def test_wrong_answers_are_told_why(exercise_id, answer, words):
    verdict = verdict_of(exercise_id, answer)
    assert verdict.status == WRONG
    assert words.casefold() in verdict.message.casefold()


def test_each_exercise_knows_eight_wrong_answers():
    counts = {exercise.id: len(exercise.mistakes) for exercise in nb02.EXERCISES}
    for exercise_id, _, _ in WRONG_ANSWERS:
        counts[exercise_id] += 1
    assert min(counts.values()) >= 8, counts


def test_the_parts_are_the_librarys_metrics():
    """What a learner assembles in the notebook gives the numbers of the library."""
    from course_utils import make_rng, metrics

    rng = make_rng(3)
    a, b = (torch.randn(40, 6, generator=rng, dtype=torch.float64) for _ in range(2))
    assert nb02._frechet(a, b).item() == pytest.approx(metrics.fid(a, b, error="none").value)
    p = torch.randn(40, 6, generator=rng, dtype=torch.float64).softmax(1)
    score = metrics.inception_score(p)
    sharpness, diversity = nb02._factors(p)
    assert sharpness.item() == pytest.approx(score.sharpness.value)
    assert diversity.item() == pytest.approx(score.diversity.value)
    images, references = torch.rand(2, 5, 1, 8, 8, generator=rng)
    assert torch.allclose(
        nb02._decibels(images, references, 1.0), metrics.psnr(images, references, data_range=1)
    )
