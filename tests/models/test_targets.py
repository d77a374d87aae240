"""Every target tells the image and the noise exactly, and so every other target."""

from __future__ import annotations

import pytest
import torch
from exact import gaussian_denoiser, noise

from course_utils.base.errors import CourseError
from course_utils.models.diffusion.schedules import (
    SCHEDULES,
    TARGETS,
    convert_prediction,
    from_target,
    make_schedule,
    make_target,
    noise_of,
    score_of,
)

T = torch.tensor([0.02, 0.3, 0.5, 0.7, 0.95], dtype=torch.float64)
X0, EPS = noise(5, 1, 3), noise(5, 2, 3)
EACH = pytest.mark.parametrize(
    "schedule",
    [make_schedule(name) for name in sorted(SCHEDULES)],
    ids=lambda schedule: schedule.name,
)


@EACH
def test_targets_are_the_papers_formulas(schedule):
    alpha, sigma = schedule.alpha(T)[:, None], schedule.sigma(T)[:, None]
    expected = {"x0": X0, "eps": EPS, "v": alpha * EPS - sigma * X0, "velocity": EPS - X0}
    assert set(expected) == set(TARGETS)
    for name, value in expected.items():
        torch.testing.assert_close(make_target(name, schedule, X0, EPS, T), value)


@EACH
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_image_and_noise_come_back(schedule, name):
    xt = schedule.noised(X0, EPS, T)
    estimate = from_target(name, schedule, make_target(name, schedule, X0, EPS, T), xt, T)
    torch.testing.assert_close(estimate.x0, X0, atol=1e-9, rtol=0)
    torch.testing.assert_close(estimate.eps, EPS, atol=1e-9, rtol=0)


@EACH
@pytest.mark.parametrize("source", sorted(TARGETS))
@pytest.mark.parametrize("wanted", sorted(TARGETS))
def test_any_prediction_converts_to_any_other(schedule, source, wanted):
    """Also where the prediction is wrong: image and noise must then still add up to x_t."""
    xt, prediction = schedule.noised(X0, EPS, T), noise(5, 3, 3)
    there = convert_prediction(prediction, source, wanted, schedule, xt, T)
    torch.testing.assert_close(
        convert_prediction(there, wanted, source, schedule, xt, T), prediction, atol=1e-8, rtol=0
    )
    estimate = from_target(source, schedule, prediction, xt, T)
    torch.testing.assert_close(schedule.noised(estimate.x0, estimate.eps, T), xt, atol=1e-9, rtol=0)


def test_velocity_of_the_flow_is_the_derivative_of_x():
    schedule, step = make_schedule("flow"), 1e-6
    slope = (schedule.noised(X0, EPS, T + step) - schedule.noised(X0, EPS, T - step)) / (2 * step)
    torch.testing.assert_close(
        make_target("velocity", schedule, X0, EPS, T), slope, atol=1e-8, rtol=0
    )


@EACH
def test_velocity_and_v_serve_at_both_ends(schedule):
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    x0, eps = X0[:2], EPS[:2]
    for name in ("v", "velocity"):
        estimate = from_target(
            name,
            schedule,
            make_target(name, schedule, x0, eps, ends),
            schedule.noised(x0, eps, ends),
            ends,
        )
        torch.testing.assert_close(estimate.x0, x0, atol=1e-9, rtol=0)
        torch.testing.assert_close(estimate.eps, eps, atol=1e-9, rtol=0)


@EACH
def test_score_is_the_gradient_of_the_log_density(schedule):
    """Pixels N(mean, std²) have the marginal N(alpha mean, alpha² std² + sigma²) at time t."""
    mean, std = torch.tensor([0.3, -0.5]).double(), torch.tensor([0.4, 1.3]).double()
    xt = noise(5, 4).requires_grad_()
    alpha, sigma = schedule.alpha(T)[:, None], schedule.sigma(T)[:, None]
    density = (
        torch.distributions.Normal(alpha * mean, (alpha**2 * std**2 + sigma**2).sqrt())
        .log_prob(xt)
        .sum()
    )
    (gradient,) = torch.autograd.grad(density, xt)
    x0 = gaussian_denoiser(schedule, mean, std)(xt.detach(), T)
    torch.testing.assert_close(
        score_of(x0, schedule, xt.detach(), T), gradient, atol=1e-8, rtol=1e-8
    )
    torch.testing.assert_close(
        noise_of(x0, schedule, xt.detach(), T), -sigma * gradient, atol=1e-8, rtol=1e-8
    )


def test_unknown_target_lists_the_valid_ones():
    with pytest.raises(CourseError, match="unknown target 'epsilon'; valid: eps, v, velocity, x0"):
        make_target("epsilon", make_schedule("flow"), X0, EPS, T)
