"""Schedules against the papers' formulas, step-by-step noising and diffusers; the posterior against
the rule for conditioning a Gaussian.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.diffusion.schedules import SCHEDULES, alpha_bars, betas, make_schedule

NAMES = sorted(SCHEDULES)
TIMES = torch.linspace(0, 1, 401, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_alpha_falls_from_one_and_sigma_rises_from_zero(name):
    schedule = make_schedule(name)
    alpha, sigma = schedule.alpha(TIMES), schedule.sigma(TIMES)
    assert schedule.name == name and alpha[0] == 1 and sigma[0] == 0
    assert (
        (alpha.diff() < 0).all()
        and (sigma.diff() > 0).all()
        and alpha[-1] < 0.01
        and sigma[-1] > 0.9999
    )
    assert schedule.preserves_variance == torch.allclose(
        alpha**2 + sigma**2, torch.ones_like(alpha), atol=1e-12
    )
    assert (schedule.log_snr(TIMES).diff() < 0)[1:-1].all()


@pytest.mark.parametrize("name", NAMES)
def test_the_dtype_of_the_times_is_kept(name):
    schedule = make_schedule(name)
    for dtype in (torch.float32, torch.float64):
        assert (
            schedule.alpha(torch.tensor(0.3, dtype=dtype)).dtype
            == schedule.sigma(torch.tensor(0.3, dtype=dtype)).dtype
            == dtype
        )


def test_linear_is_the_product_of_its_steps():
    added = np.linspace(1e-4, 0.02, 1000)
    np.testing.assert_allclose(betas(make_schedule("linear")), added, rtol=1e-9)
    np.testing.assert_allclose(
        alpha_bars(make_schedule("linear")), np.concatenate([[1], np.cumprod(1 - added)]), rtol=1e-9
    )


def test_cosine_is_the_formula_with_betas_cut_off():
    def kept(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    added = [min(1 - kept((k + 1) / 1000) / kept(k / 1000), 0.999) for k in range(1000)]
    np.testing.assert_allclose(betas(make_schedule("cosine")), added, rtol=1e-9)


def test_flow_is_the_straight_line():
    schedule = make_schedule("flow")
    assert torch.equal(schedule.alpha(TIMES), 1 - TIMES) and torch.equal(
        schedule.sigma(TIMES), TIMES
    )
    assert schedule.log_snr(torch.tensor([0.0, 0.5, 1.0])).tolist() == [math.inf, 0.0, -math.inf]


@pytest.mark.parametrize("name", NAMES)
def test_many_small_steps_of_noise_are_one_large_step(name):
    """Mean and variance of x_t, carried through the transitions of 200 steps, are alpha and
    sigma².
    """
    schedule = make_schedule(name)
    scale, variance = schedule.transition(TIMES[:-1:2], TIMES[2::2])
    mean, spread = 1.0, 0.0
    for one_scale, one_variance, t in zip(scale.tolist(), variance.tolist(), TIMES[2::2]):
        assert one_variance > 0
        mean, spread = one_scale * mean, one_scale**2 * spread + one_variance
        assert mean == pytest.approx(
            schedule.alpha(t).item(), abs=1e-12
        ) and spread == pytest.approx(schedule.sigma(t).item() ** 2, abs=1e-12)


def test_drawn_noise_has_the_moments_of_the_closed_form():
    schedule, rng = make_schedule("cosine"), make_rng(0)
    x0, eps = torch.full((20_000, 1), 0.7), torch.randn(20_000, 1, generator=rng)
    xt = schedule.noised(x0, eps, torch.full((20_000,), 0.4))
    alpha, sigma = schedule.alpha(torch.tensor(0.4)), schedule.sigma(torch.tensor(0.4))
    assert xt.mean().item() == pytest.approx(0.7 * alpha.item(), abs=4 * sigma.item() / 20_000**0.5)
    assert xt.std().item() == pytest.approx(sigma.item(), rel=4 / (2 * 20_000) ** 0.5)


def test_noising_broadcasts_one_time_an_image():
    schedule, t = make_schedule("flow"), torch.tensor([0.25, 1.0])
    x0, eps = torch.full((2, 1, 3, 3), 8.0), torch.full((2, 1, 3, 3), -4.0)
    assert schedule.noised(x0, eps, t)[:, 0, 0, 0].tolist() == [5.0, -4.0]
    assert schedule.noised(x0, eps, 0.25)[:, 0, 0, 0].tolist() == [5.0, 5.0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("s", "t"), [(0.0, 0.001), (0.3, 0.31), (0.2, 0.8), (0.6, 0.999)])
def test_posterior_is_the_conditional_of_the_joint_gaussian(name, s, t):
    """(x_s, x_t) given x0 are jointly Gaussian; conditioning on x_t by the textbook rule gives
    q(x_s | x_t, x0).
    """
    schedule = make_schedule(name)
    s_tensor, t_tensor = torch.tensor([s, t], dtype=torch.float64)
    alpha_s, alpha_t, sigma_s, sigma_t = (
        f(time).item() for f in (schedule.alpha, schedule.sigma) for time in (s_tensor, t_tensor)
    )
    x0, xt = 0.6, -0.4
    covariance = alpha_t / alpha_s * sigma_s**2  # of x_s and x_t = scale x_s + noise
    mean = alpha_s * x0 + covariance / sigma_t**2 * (xt - alpha_t * x0)
    got = schedule.posterior(
        torch.full((1, 2), x0).double(), torch.full((1, 2), xt).double(), s_tensor, t_tensor
    )
    np.testing.assert_allclose(got.mean, np.full((1, 2), mean), atol=1e-9)
    assert got.variance.item() == pytest.approx(sigma_s**2 - covariance**2 / sigma_t**2, abs=1e-9)


def test_posterior_is_the_papers_formula():
    """Ho et al. 2020, eq. 7, with its own indices."""
    schedule, k = make_schedule("linear"), np.array([1, 2, 500, 1000])
    added = np.linspace(1e-4, 0.02, 1000)
    kept = np.concatenate([[1], np.cumprod(1 - added)])
    beta, now, before = added[k - 1], kept[k], kept[k - 1]
    x0, xt = np.array([0.1, -0.2, 0.3, 0.4]), np.array([0.5, 0.6, -0.7, 0.8])
    mean = (
        np.sqrt(before) * beta / (1 - now) * x0 + np.sqrt(1 - beta) * (1 - before) / (1 - now) * xt
    )
    got = schedule.posterior(
        *(torch.tensor(x)[:, None] for x in (x0, xt)), *(torch.tensor(j / 1000) for j in (k - 1, k))
    )
    np.testing.assert_allclose(got.mean[:, 0], mean, rtol=1e-8)
    np.testing.assert_allclose(
        got.variance[:, 0], (1 - before) / (1 - now) * beta, rtol=1e-8, atol=1e-15
    )


def test_bad_input_has_its_message():
    with pytest.raises(
        CourseError,
        match="unknown schedule 'cosin'; valid: cosine, flow, linear. Did you mean 'cosine'",
    ):
        make_schedule("cosin")
    with pytest.raises(CourseError, match=r"schedule: expected one with .* got 'flow'"):
        betas(make_schedule("flow"))
    with pytest.raises(CourseError, match="num_steps: expected at least 1, got 0"):
        alpha_bars(make_schedule("flow"), 0)
