"""The solutions of notebook 08's exercises against the library."""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.device import ImageNoise, make_rng
from course_utils.exercises import nb08
from course_utils.exercises.judge import PASSED, WRONG, judge
from course_utils.inverse.exact import exact_posterior
from course_utils.inverse.operators import BlockMean, Identity, Mask, dense
from course_utils.inverse.posterior import replaced
from course_utils.inverse.problems import Problem
from course_utils.models.diffusion.exact import GaussianMixture
from course_utils.models.diffusion.samplers import Level, time_grid
from course_utils.models.diffusion.schedules import make_schedule

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


@pytest.mark.parametrize(("t", "noise_std"), [(0.6, 1e-8), (0.4, 0.3), (0.9, 0.5), (0.2, 0.5)])
def test_replacement_is_the_librarys(t, noise_std):
    visible = torch.tensor([[True], [False], [True], [True]]).repeat(1, 4)
    problem = Problem("mask", Mask(SHAPE, visible), noise_std)
    xt, image = torch.randn(2, 3, *SHAPE, generator=make_rng(8), dtype=torch.float64)
    fresh = ImageNoise(3, make_rng(9)).normal(problem.operator.measured_shape, xt)
    expected = replaced(
        xt, Level(t, 1 - t, t), problem, problem.operator.forward(image), ImageNoise(3, make_rng(9))
    )
    back = problem.operator.adjoint(fresh)
    found = nb08.REPLACE.solution(xt, image, visible, t, noise_std, back)
    torch.testing.assert_close(found, expected)


def test_the_guide_is_exact_where_it_is_told_the_whole_variance_of_y():
    """For Gaussian data p(y | x_t) has the variance s² + V of the measured pixel; DPS takes s²."""
    prior, flow, t, noise_std = gaussian(2), make_schedule("flow"), 0.7, 0.2
    mean, covariance, eye = prior.means[0], prior.covariances[0], torch.eye(2).double()
    noisy = (1 - t) ** 2 * covariance + t**2 * eye
    doubt = covariance - (1 - t) ** 2 * covariance @ torch.linalg.solve(noisy, covariance)
    std = (noise_std**2 + doubt[0, 0].item()) ** 0.5
    y = torch.full((3, 1), 0.7, dtype=torch.float64)
    x_t = torch.randn(3, 2, generator=make_rng(11), dtype=torch.float64)

    def denoise(x):
        return prior.denoise(flow, x, torch.full((3,), t, dtype=torch.float64))

    def left(x):
        return x[:, :1]

    x0, gradient = nb08.GUIDE.solution(denoise, x_t, left, y, std)
    torch.testing.assert_close(x0, denoise(x_t))
    # log p(y | x_t) = log p(y, x_t) - log p(x_t), both Gaussian
    gain = (1 - t) * covariance[:1]  # covariance of y and x_t
    joint = torch.cat(
        [torch.cat([covariance[:1, :1] + noise_std**2, gain], 1), torch.cat([gain.T, noisy], 1)]
    )
    both = torch.distributions.MultivariateNormal(torch.cat([mean[:1], (1 - t) * mean]), joint)
    alone = torch.distributions.MultivariateNormal((1 - t) * mean, noisy)
    x = x_t.clone().requires_grad_()
    log_p = both.log_prob(torch.cat([y, x], 1)) - alone.log_prob(x)
    torch.testing.assert_close(gradient, torch.autograd.grad(log_p.sum(), x)[0])
    too_long = nb08.GUIDE.solution(denoise, x_t, left, y, noise_std)[1]
    torch.testing.assert_close(too_long, gradient * (std / noise_std) ** 2)


def test_an_edit_walks_the_librarys_times():
    image = torch.zeros(1, *SHAPE)
    _, times = nb08.EDIT.solution(image, 0.6, 5, image)
    torch.testing.assert_close(times, time_grid(5, start=0.6).to(times), rtol=0, atol=1e-6)


def test_the_error_of_the_noise_is_that_of_the_image_scaled():
    t, x0 = 0.4, torch.full((2, *SHAPE), 0.5)
    image, noise = torch.zeros(2, *SHAPE), torch.randn(2, *SHAPE, generator=make_rng(12))
    found = nb08.OUTLIER.solution(lambda x_t, t: x0, image, t, noise)
    torch.testing.assert_close(found, torch.full((2,), ((1 - t) / t * 0.5) ** 2))


def test_decibels_may_be_rounded_but_not_to_anything():
    assert judge(nb08.DECIBELS, 3.01).status == judge(nb08.DECIBELS, 3).status == PASSED
    assert judge(nb08.DECIBELS, 3.1).status == WRONG


@pytest.mark.parametrize(
    "exercise", [one for one in nb08.EXERCISES if one.cases], ids=lambda exercise: exercise.id
)
def test_no_two_mistakes_are_the_same(exercise):
    """Otherwise the second one's message could never be printed."""
    messages = [judge(exercise, mistake.answer).message for mistake in exercise.mistakes]
    assert len(set(messages)) == len(messages)
