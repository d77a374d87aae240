"""The solutions of notebook 08's exercises against the library."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from course_utils.base.device import ImageNoise, make_rng
from course_utils.exercises import nb08
from course_utils.exercises.judge import PASSED, WRONG, judge
from course_utils.exercises.nb08 import BIAS, REPLACEMENT
from course_utils.inverse.exact import exact_posterior
from course_utils.inverse.operators import BlockMean, Identity, Mask, dense
from course_utils.inverse.posterior import replaced
from course_utils.inverse.problems import Problem
from course_utils.models.diffusion.exact import GaussianMixture
from course_utils.models.diffusion.samplers import Level

SHAPE = (1, 4, 4)


def gaussian(dim: int) -> GaussianMixture:
    root = torch.randn(dim, dim, generator=make_rng(0), dtype=torch.float64)
    mean = torch.randn(1, dim, generator=make_rng(1), dtype=torch.float64)
    return GaussianMixture(
        torch.ones(1),
        mean,
        (root @ root.T / dim + 0.1 * torch.eye(dim))[None],
        torch.zeros(1, dtype=torch.int64),
    )


def test_pixel_is_the_exact_posterior_of_one_pixel():
    prior, y = gaussian(1), torch.full((1, 1, 1, 1), 0.7)
    posterior = exact_posterior(prior, Problem("denoise", Identity((1, 1, 1)), 0.4), y)
    mean, variance = nb08.PIXEL.solution(
        prior.means.item(), prior.covariances.item(), 0.4, y.item()
    )
    assert mean == pytest.approx(posterior.mean().item()) and variance == pytest.approx(
        posterior.covariance(0).item()
    )


def test_gaussian_is_the_exact_posterior():
    prior, problem = gaussian(16), Problem("blocks", BlockMean(SHAPE, 2), 0.3)
    y = problem.measure(
        torch.randn(1, *SHAPE, generator=make_rng(2), dtype=torch.float64), make_rng(3)
    )
    found = nb08.GAUSSIAN.solution(
        prior.means[0], prior.covariances[0], dense(problem.operator), 0.3, y.flatten()
    )
    torch.testing.assert_close(found, exact_posterior(prior, problem, y).mean().flatten())


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_adjoint_is_that_of_the_operator(factor):
    operator = BlockMean(SHAPE, factor)
    y = torch.randn(3, *operator.measured_shape, generator=make_rng(4))
    torch.testing.assert_close(nb08.ADJOINT.solution(y, factor), operator.adjoint(y))


def test_a_draw_has_twice_the_squared_error_of_the_mean():
    """In expectation over images and draws, with the prior's own images as truths."""
    prior, problem = gaussian(16), Problem("blocks", BlockMean(SHAPE, 2), 0.3)
    truths = prior.sample(20_000, make_rng(5))[0].view(-1, *SHAPE)
    posterior = exact_posterior(prior, problem, problem.measure(truths, make_rng(6)))
    of_mean = (posterior.mean() - truths).square().flatten(1).mean(1)
    of_draw = (posterior.sample(1, make_rng(7))[0] - truths).square().flatten(1).mean(1)
    excess = of_draw - 2 * of_mean
    assert excess.mean().abs() < 4 * excess.std() / math.sqrt(len(excess))


def test_replacement_is_the_librarys_where_the_measurement_has_next_to_no_noise():
    visible = torch.tensor([[True], [False], [True], [True]]).repeat(1, 4)
    problem = Problem("mask", Mask(SHAPE, visible), 1e-8)
    xt, image = torch.randn(2, 3, *SHAPE, generator=make_rng(8), dtype=torch.float64)
    fresh = ImageNoise(3, make_rng(9)).normal(problem.operator.measured_shape, xt)
    expected = replaced(
        xt,
        Level(0.4, 0.6, 0.4),
        problem,
        problem.operator.forward(image),
        ImageNoise(3, make_rng(9)),
    )
    found = REPLACEMENT.solution(xt, image, visible, 0.6, 0.4, problem.operator.adjoint(fresh))
    torch.testing.assert_close(found, expected)


def test_error_of_the_ratio_is_its_spread():
    share, num_samples, training_share = 0.03, 500, 0.02
    hits = torch.binomial(
        torch.full((20_000,), float(num_samples)), torch.tensor(share), generator=make_rng(10)
    )
    spread = (hits / num_samples / training_share).std().item()
    ratio, error = BIAS.solution(round(share * num_samples), num_samples, training_share)
    assert ratio == pytest.approx(1.5) and error == pytest.approx(spread, rel=0.03)


def test_decibels_may_be_rounded_but_not_to_anything():
    assert judge(nb08.DECIBELS, 3.01).status == judge(nb08.DECIBELS, 3).status == PASSED
    assert judge(nb08.DECIBELS, 3.1).status == WRONG


@pytest.mark.parametrize(
    "exercise", [one for one in nb08.EXERCISES if one.cases], ids=lambda exercise: exercise.id
)
def test_no_two_mistakes_are_the_same(exercise):
    """Otherwise the second one's message could never be printed."""
    for one, other in itertools.combinations(exercise.mistakes, 2):
        assert judge(exercise, one.answer).message != judge(exercise, other.answer).message
