"""Diffusion posterior sampling on Gaussian data with the exact denoiser: mean and covariance must
be those of the exact posterior.
"""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.device import ImageNoise, make_rng
from course_utils.base.errors import CourseError
from course_utils.inverse.exact import exact_posterior
from course_utils.inverse.posterior import (
    Informed,
    conjugate_gradients,
    replaced,
    sample_dps,
    sample_posterior,
    sample_replacement,
)
from course_utils.inverse.problems import make_problem
from course_utils.models.diffusion.exact import GaussianMixture
from course_utils.models.diffusion.samplers import levels_at
from course_utils.models.diffusion.schedules import make_schedule

SHAPE, DIM, NOISE_STD, NUM = (1, 4, 4), 16, 0.2, 1000
ROOT = 0.25 * torch.randn(DIM, DIM, generator=make_rng(0), dtype=torch.float64)
COVARIANCE = ROOT @ ROOT.T + 0.01 * torch.eye(DIM, dtype=torch.float64)
MEAN = 0.5 * torch.randn(DIM, generator=make_rng(1), dtype=torch.float64)
PRIOR = GaussianMixture(
    torch.ones(1, dtype=torch.float64),
    MEAN[None],
    COVARIANCE[None],
    torch.zeros(1, dtype=torch.int64),
)
VALUES, VECTORS = torch.linalg.eigh(COVARIANCE)
NAMES = ["denoise", "inpaint-half", "inpaint-random", "super-resolution", "deblur", "fourier"]


def denoiser(schedule):
    """Returns E[x0 | x_t] for x0 ~ N(MEAN, COVARIANCE): the regression of x0 on x_t, direction by
    direction.
    """

    def denoise(xt, t):
        alpha, sigma = schedule.at(t, xt.flatten(1))
        gain = alpha * VALUES / (alpha**2 * VALUES + sigma**2)
        return (MEAN + ((xt.flatten(1) - alpha * MEAN) @ VECTORS * gain) @ VECTORS.T).view_as(xt)

    return denoise


def setting(name, schedule="flow", num=1):
    problem = make_problem(name, SHAPE, NOISE_STD)
    y = problem.measure(PRIOR.sample(num, make_rng(2))[0].view(num, *SHAPE), make_rng(3))
    schedule = make_schedule(schedule)
    return denoiser(schedule), schedule, problem, y


def distances(draws, exact):
    """Returns how many standard errors mean and covariance of draws are from the exact ones, RMS
    over entries; about 1 for exact draws.
    """
    draws, covariance = draws[:, 0].flatten(1), exact.covariance(0)
    spread = covariance.diagonal()
    of_mean = (draws.mean(0) - exact.mean()[0].flatten()) / (spread / len(draws)).sqrt()
    of_covariance = (draws.T.cov() - covariance) / (
        (spread[:, None] * spread + covariance**2) / len(draws)
    ).sqrt()
    return of_mean.square().mean().sqrt().item(), of_covariance.square().mean().sqrt().item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schedule", ["flow", "cosine"])
def test_posterior_sampling_is_exact_on_gaussian_data(name, schedule):
    setup = setting(name, schedule)
    draws = sample_posterior(
        *setup, NUM, sampler="ab2", num_steps=40, num_iterations=DIM, rng=make_rng(4)
    )
    assert draws.shape == (NUM, 1, *SHAPE)
    assert max(distances(draws, exact_posterior(PRIOR, *setup[2:]))) < 1.8


def test_so_it_is_with_a_random_sampler():
    setup = setting("inpaint-half")
    draws = sample_posterior(
        *setup, NUM, sampler="ddpm", num_steps=150, num_iterations=DIM, rng=make_rng(5)
    )
    assert max(distances(draws, exact_posterior(PRIOR, *setup[2:]))) < 1.8


def test_the_measure_of_exactness_sees_the_approximations():
    """The same test fails for DPS at any step size, for the isotropic covariance and for plain
    replacement: they are not exact.
    """
    setup = setting("inpaint-half")
    exact = exact_posterior(PRIOR, *setup[2:])
    assert max(distances(exact.sample(NUM, make_rng(6)), exact)) < 1.8
    for step_size in (0.02, 0.1, 0.5):
        assert (
            max(
                distances(
                    sample_dps(*setup, NUM, step_size=step_size, num_steps=100, rng=make_rng(7)),
                    exact,
                )
            )
            > 3
        )
    assert (
        max(
            distances(
                sample_posterior(
                    *setup,
                    NUM,
                    covariance="isotropic",
                    sampler="ab2",
                    num_steps=40,
                    rng=make_rng(8),
                ),
                exact,
            )
        )
        > 3
    )
    assert (
        max(distances(sample_replacement(*setup, NUM, num_steps=100, rng=make_rng(9)), exact)) > 3
    )


def test_going_back_and_forth_brings_replacement_nearer():
    setup = setting("inpaint-half")
    exact = exact_posterior(PRIOR, *setup[2:])
    plain, repaint = (
        sum(
            distances(
                sample_replacement(*setup, 400, num_visits=v, num_steps=50, rng=make_rng(9)), exact
            )
        )
        for v in (1, 10)
    )
    assert repaint < 0.7 * plain


def test_replacement_is_exact_for_denoising():
    setup = setting("denoise")
    draws = sample_replacement(*setup, NUM, num_steps=200, rng=make_rng(10))
    assert max(distances(draws, exact_posterior(PRIOR, *setup[2:]))) < 1.8


@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("name", NAMES)
def test_the_informed_denoiser_is_the_conditional_mean_given_both(name, t):
    """E[x0 | x_t, y]: x_t is one more linear measurement of x0, so a dense computation knows the
    answer.
    """
    denoise, schedule, problem, y = setting(name)
    xt = torch.randn(1, *SHAPE, generator=make_rng(11), dtype=torch.float64)
    time = torch.full((1,), t, dtype=torch.float64)
    alpha, sigma = (float(value) for value in schedule.at(t, torch.zeros((), dtype=torch.float64)))
    precision = torch.linalg.inv(COVARIANCE) + (alpha / sigma) ** 2 * torch.eye(
        DIM, dtype=torch.float64
    )
    right = torch.linalg.solve(COVARIANCE, MEAN) + alpha / sigma**2 * xt.flatten()
    middle = torch.linalg.solve(precision, right)
    given_xt = GaussianMixture(
        PRIOR.shares, middle[None], torch.linalg.inv(precision)[None], PRIOR.classes
    )
    expected = exact_posterior(given_xt, problem, y).mean()
    torch.testing.assert_close(
        Informed(denoise, schedule, problem, y, num_iterations=DIM)(xt, time),
        expected,
        atol=1e-4,
        rtol=0,
    )
    if t == 0.4:
        loose = Informed(denoise, schedule, problem, y, covariance="isotropic")(xt, time)
        assert (loose - expected).abs().max() > 1e-3


def test_isotropic_covariance_is_exact_for_white_data():
    schedule, problem = make_schedule("flow"), make_problem("super-resolution", SHAPE, NOISE_STD)
    white = GaussianMixture(
        PRIOR.shares,
        torch.zeros(1, DIM, dtype=torch.float64),
        torch.eye(DIM, dtype=torch.float64)[None],
        PRIOR.classes,
    )
    y = torch.full((1, 1, 1, 1), 0.4, dtype=torch.float64)

    def denoise(xt, t):
        alpha, sigma = schedule.at(t, xt)
        return alpha / (alpha**2 + sigma**2) * xt

    setup = (denoise, schedule, problem, y, 500)
    both = [
        sample_posterior(*setup, covariance=kind, sampler="ab2", rng=make_rng(0))
        for kind in ("isotropic", "tweedie")
    ]
    torch.testing.assert_close(*both)
    assert max(distances(both[0], exact_posterior(white, problem, y))) < 1.8


def test_above_the_trusted_time_no_derivative_is_taken():
    denoise, schedule, problem, y = setting("inpaint-half")
    flat = lambda xt, t: denoise(xt, t).detach()  # noqa: E731
    informed = Informed(flat, schedule, problem, y, trusted_time=0.9, limit=0.5)
    xt = torch.zeros(1, *SHAPE, dtype=torch.float64)
    seen = informed(xt, torch.full((1,), 0.95, dtype=torch.float64))
    plain = flat(xt, torch.full((1,), 0.95, dtype=torch.float64))
    assert torch.equal(seen[:, :, 2:], plain[:, :, 2:].clamp(-0.5, 0.5)) and not torch.equal(
        seen[:, :, :2], plain[:, :, :2]
    )
    assert seen.abs().max() <= 0.5
    with pytest.raises(RuntimeError):
        informed(xt, torch.full((1,), 0.5, dtype=torch.float64))


def test_conjugate_gradients_solve_row_by_row_and_stop_where_they_must():
    rng = make_rng(12)
    roots = torch.randn(3, 6, 6, generator=rng, dtype=torch.float64)
    matrices, right = (
        roots @ roots.mT + torch.eye(6, dtype=torch.float64),
        torch.randn(3, 6, generator=rng, dtype=torch.float64),
    )
    right[1] = 0
    matrices[2] *= -1
    solved = conjugate_gradients(lambda x: (matrices @ x[:, :, None])[:, :, 0], right, 6)
    torch.testing.assert_close(solved[0], torch.linalg.solve(matrices[0], right[0]))
    assert solved[1].eq(0).all() and solved[2].eq(0).all()
    assert (
        conjugate_gradients(lambda x: (matrices @ x[:, :, None])[:, :, 0], right, 1)[0] - solved[0]
    ).abs().max() > 1e-3


def test_replaced_part_has_the_law_of_noised_measurements():
    """A x_t given y is N(alpha A x0, sigma^2 A A^T) over the noise of y as well: compare with
    noising the truth.
    """
    _, schedule, problem, _ = setting("super-resolution")
    truth, num = PRIOR.sample(1, make_rng(2))[0].view(1, *SHAPE), 5000
    y = problem.measure(truth.expand(num, -1, -1, -1), make_rng(13))
    level = levels_at(schedule, torch.tensor([0.6, 0.0]))[0]
    x = torch.zeros(num, *SHAPE, dtype=torch.float64)
    got = problem.operator.forward(
        replaced(x, level, problem, y, ImageNoise(num, make_rng(14)))
    ).flatten()
    expected = (
        (level.alpha * problem.operator.forward(truth)).item(),
        level.sigma * math.sqrt(problem.operator.row_scale),
    )
    assert got.mean().item() == pytest.approx(expected[0], abs=5 * expected[1] / math.sqrt(num))
    assert got.std().item() == pytest.approx(expected[1], rel=5 / math.sqrt(2 * num))


@pytest.mark.parametrize("method", [sample_posterior, sample_dps, sample_replacement])
def test_solutions_of_a_measurement_do_not_depend_on_the_others(method):
    denoise, schedule, problem, y = setting("inpaint-half", num=3)
    alone = method(denoise, schedule, problem, y[:2], 2, num_steps=4, rng=make_rng(0))
    together = method(denoise, schedule, problem, y, 2, num_steps=4, rng=make_rng(0))
    torch.testing.assert_close(together[:, :2], alone)
    assert not torch.equal(alone[0], alone[1])


BAD = {
    "blur": (
        lambda s: sample_replacement(*setting("deblur"), 2),
        "replacement needs an operator with orthogonal rows",
    ),
    "visits": (
        lambda s: sample_replacement(*s, 2, num_visits=0),
        "num_visits: expected at least 1",
    ),
    "covariance": (
        lambda s: sample_posterior(*s, 2, covariance="full"),
        "unknown covariance 'full'; valid: isotropic, tweedie",
    ),
    "iterations": (
        lambda s: sample_posterior(*s, 2, num_iterations=0),
        "num_iterations: expected at least 1",
    ),
    "step": (lambda s: sample_dps(*s, 2, step_size=0.0), "step_size: expected more than 0"),
    "measured": (
        lambda s: sample_dps(*s[:3], torch.zeros(1, 1, 4, 4), 2),
        "expected measurements of shape [B, 1, 8]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_is_refused(case):
    call, fragment = BAD[case]
    with pytest.raises(CourseError) as error:
        call(setting("inpaint-half"))
    assert fragment in str(error.value)
