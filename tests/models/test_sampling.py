"""Samplers with an exact denoiser: what must come out is known, so their order, their moments and
their bookkeeping can be checked.
"""

from __future__ import annotations

import math

import pytest
import torch
from exact import MEAN, STD, gaussian_denoiser, gaussian_flow, noise

from course_utils.base.device import ImageNoise, make_rng
from course_utils.base.errors import CourseError
from course_utils.models.diffusion.samplers import (
    SAMPLERS,
    joined,
    levels_at,
    num_denoiser_calls,
    sample,
    time_grid,
)
from course_utils.models.diffusion.schedules import SCHEDULES, make_schedule

EACH = pytest.mark.parametrize(
    "schedule",
    [make_schedule(name) for name in sorted(SCHEDULES)],
    ids=lambda schedule: schedule.name,
)
DETERMINISTIC = sorted(set(SAMPLERS) - {"ddpm"})
ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "ab2": 2, "dpm++2m": 2}
NUM_STEPS = (32, 64, 128, 256)


def slope(schedule, sampler, start, end, spacing="uniform"):
    """Returns minus the slope of log(error) over log(steps), fitted to the four numbers of steps:
    the order of convergence.
    """
    x, errors = noise(32), []
    x = schedule.noised(MEAN + STD * noise(32, 1), x, start) if start < 1 else x
    exact = gaussian_flow(schedule, x, start, end)
    for num in NUM_STEPS:
        times = end + (start - end) * time_grid(num, spacing)
        errors.append(
            (
                sample(gaussian_denoiser(schedule), schedule, x, sampler=sampler, times=times).x
                - exact
            )
            .square()
            .mean()
            .sqrt()
            .log()
            .item()
        )
    steps = torch.tensor([[math.log(num), 1.0] for num in NUM_STEPS])
    return -torch.linalg.lstsq(steps, torch.tensor(errors)[:, None]).solution[0].item()


def test_every_sampler_has_an_order_to_reach():
    assert set(ORDERS) == set(DETERMINISTIC)


@EACH
@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_error_falls_at_the_order_of_the_solver(schedule, sampler):
    """Away from the ends, where the times of all solvers are finite."""
    assert slope(schedule, sampler, 0.8, 0.2) == pytest.approx(ORDERS[sampler], abs=0.12)


@EACH
@pytest.mark.parametrize("sampler", ["euler", "heun", "ab2"])
def test_the_order_holds_from_pure_noise_to_the_image(schedule, sampler):
    """The walk on the straight path has no infinite times. DPM-Solver has: its first and last steps
    are of first order.

    Quadratic spacing makes the steps on the path alike near the image, where sigma of the other
    schedules starts like a square root.
    """
    assert slope(schedule, sampler, 1.0, 0.0, "quadratic") == pytest.approx(
        ORDERS[sampler], abs=0.15
    )


@EACH
@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_many_steps_reach_the_exact_answer(schedule, sampler):
    x = noise(32)
    got = sample(gaussian_denoiser(schedule), schedule, x, 500, sampler=sampler).x
    limit = 2e-2 if ORDERS[sampler] == 1 else 2e-3
    assert (got - gaussian_flow(schedule, x, 1.0, 0.0)).abs().max() < limit


@EACH
def test_euler_is_ddim_without_noise(schedule):
    x = noise(64)
    first, second = (
        sample(gaussian_denoiser(schedule), schedule, x, 7, sampler=name, eta=0.0).x
        for name in ("euler", "ddim")
    )
    torch.testing.assert_close(first, second, atol=1e-10, rtol=0)


def test_euler_on_the_flow_is_the_textbook_step():
    """x_s = x_t + (s - t) (E[eps | x_t] - E[x0 | x_t]), written with the flow's own formulas."""
    schedule, x = make_schedule("flow"), noise(8)
    expected = x
    for t in (1.0, 0.75, 0.5, 0.25):
        x0 = gaussian_denoiser(schedule)(expected, torch.full((8,), t))
        eps = (expected - (1 - t) * x0) / t
        expected = expected - 0.25 * (eps - x0)
    torch.testing.assert_close(
        sample(gaussian_denoiser(schedule), schedule, x, 4, sampler="euler").x,
        expected,
        atol=1e-12,
        rtol=0,
    )


def ancestral_moments(schedule, num_steps):
    """Returns mean and standard deviation of DDPM's result in closed form: each step is linear in
    x, and adds the posterior's variance.
    """
    times = torch.linspace(1, 0, num_steps + 1, dtype=torch.float64)
    mean, variance = torch.zeros(2).double(), torch.ones(2).double()
    for t, s in zip(times[:-1], times[1:]):
        zero, one = torch.zeros(1, 2).double(), torch.ones(1, 2).double()
        shift, slope = (gaussian_denoiser(schedule)(x, t[None]) for x in (zero, one))
        base, tilted = (schedule.posterior(x0, x, s, t) for x0, x in ((shift, zero), (slope, one)))
        gain = (tilted.mean - base.mean)[0]
        mean, variance = base.mean[0] + gain * mean, gain**2 * variance + base.variance
    return mean, variance.sqrt()


@EACH
@pytest.mark.parametrize("num_steps", [20, 200])
def test_ddpm_has_the_moments_that_its_steps_imply(schedule, num_steps):
    num = 20_000
    drawn = sample(
        gaussian_denoiser(schedule),
        schedule,
        noise(num),
        num_steps,
        sampler="ddpm",
        rng=OneStream(num),
    ).x
    mean, std = ancestral_moments(schedule, num_steps)
    assert ((drawn.mean(0) - mean).abs() < 4.5 * std / num**0.5).all()
    assert ((drawn.std(0) / std - 1).abs() < 4.5 / (2 * num) ** 0.5).all()


@EACH
def test_ddpm_of_a_thousand_steps_has_the_moments_of_the_data(schedule):
    mean, std = ancestral_moments(schedule, 1000)
    torch.testing.assert_close(mean, MEAN, atol=0.01, rtol=0)
    torch.testing.assert_close(std, STD, atol=0, rtol=0.01)


class OneStream(ImageNoise):
    """One generator for many points: fast where no single one has to be reproduced."""

    def __init__(self, num):
        self.num, self.rng = num, make_rng(3)

    def __len__(self):
        return self.num

    def normal(self, shape, like):
        return torch.randn(self.num, *shape, generator=self.rng, dtype=like.dtype)


@EACH
def test_ddim_with_full_noise_is_ddpm(schedule):
    first, second = (
        sample(
            gaussian_denoiser(schedule),
            schedule,
            noise(8),
            6,
            sampler=name,
            eta=1.0,
            rng=make_rng(4),
        ).x
        for name in ("ddim", "ddpm")
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("sampler", "eta", "draws"),
    [("ddpm", 0.0, 5), ("ddim", 0.5, 5), ("ddim", 0.0, 0), ("heun", 0.5, 0)],
)
def test_noise_is_drawn_where_it_is_added_and_never_in_the_last_step(sampler, eta, draws):
    noises = []

    class Recorded(ImageNoise):
        def normal(self, shape, like):
            noises.append(super().normal(shape, like))
            return noises[-1]

    schedule = make_schedule("cosine")
    result = sample(
        gaussian_denoiser(schedule),
        schedule,
        noise(8),
        6,
        sampler=sampler,
        eta=eta,
        rng=Recorded(8, make_rng(0)),
        trajectory=True,
    )
    assert len(noises) == draws
    if draws:  # the last step's result is the image that was seen, without noise
        torch.testing.assert_close(result.x, result.x0s[-1])


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("num_steps", [1, 2, 9])
def test_calls_are_counted(sampler, num_steps):
    asked = []
    schedule = make_schedule("flow")

    def denoise(xt, t):
        asked.append(t)
        return gaussian_denoiser(schedule)(xt, t)

    result = sample(denoise, schedule, noise(3), num_steps, sampler=sampler, rng=make_rng(0))
    assert result.num_calls == len(asked) == num_denoiser_calls(sampler, num_steps)
    assert all(t.shape == (3,) and t.min() > 0 for t in asked), (
        "nobody knows the noise in an image without noise"
    )


def test_a_denoiser_may_say_what_it_costs():
    class Costly:
        def num_calls_at(self, t):
            return 2 if t > 0.5 else 1

        def __call__(self, xt, t):
            return xt * 0

    assert sample(Costly(), make_schedule("flow"), noise(2), 4).num_calls == 2 + 2 + 1 + 1


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_a_trajectory_holds_every_time_and_changes_nothing(sampler):
    schedule, x = make_schedule("linear"), noise(5)
    plain, traced = (
        sample(
            gaussian_denoiser(schedule),
            schedule,
            x,
            6,
            sampler=sampler,
            rng=make_rng(1),
            trajectory=keep,
        )
        for keep in (False, True)
    )
    assert torch.equal(plain.x, traced.x) and plain.xts == plain.x0s == ()
    assert len(traced.xts) == len(traced.times) == 7 and len(traced.x0s) == 6
    assert torch.equal(traced.xts[0], x) and torch.equal(traced.xts[-1], traced.x)
    for xt, x0, t in zip(traced.xts, traced.x0s, traced.times):
        torch.testing.assert_close(x0, gaussian_denoiser(schedule)(xt, t.expand(5)))


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_an_image_does_not_depend_on_its_company(sampler):
    schedule, x = make_schedule("cosine"), noise(7)
    whole = sample(gaussian_denoiser(schedule), schedule, x, 5, sampler=sampler, rng=make_rng(2)).x
    fewer = sample(
        gaussian_denoiser(schedule), schedule, x[:3], 5, sampler=sampler, rng=make_rng(2)
    ).x
    streams = ImageNoise(7, make_rng(2)).split(2)
    pieces = [
        sample(gaussian_denoiser(schedule), schedule, rows, 5, sampler=sampler, rng=own)
        for rows, own in zip(x.split(2), streams)
    ]
    torch.testing.assert_close(whole[:3], fewer)
    torch.testing.assert_close(whole, joined(pieces).x)


def test_streams_are_different_normal_and_in_order():
    drawn = ImageNoise(200, make_rng(0)).normal((30,), torch.zeros(()))
    assert drawn.std().item() == pytest.approx(
        1, abs=0.05
    ) and drawn.mean().item() == pytest.approx(0, abs=0.05)
    assert len({tuple(row.tolist()) for row in drawn}) == 200
    assert not torch.equal(drawn, ImageNoise(200, make_rng(1)).normal((30,), torch.zeros(())))
    whole = ImageNoise(9, make_rng(5)).integers(10)
    assert torch.equal(
        whole, torch.cat([piece.integers(10) for piece in ImageNoise(9, make_rng(5)).split(4)])
    )
    assert (
        whole.dtype == torch.int64 and len(ImageNoise(400, make_rng(5)).integers(3).unique()) == 3
    )


def test_streams_take_one_number_from_the_generator():
    rng, other = make_rng(7), make_rng(7)
    ImageNoise(3, rng), ImageNoise(300, other)
    assert torch.equal(rng.get_state(), other.get_state())


def test_grids():
    assert time_grid(4).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_grid(4, "quadratic").tolist() == [1.0, 0.5625, 0.25, 0.0625, 0.0]
    assert time_grid(2, start=0.6).tolist() == pytest.approx([0.6, 0.3, 0.0])
    assert time_grid(2, shift=3.0).tolist() == pytest.approx([1.0, 0.75, 0.0])
    assert time_grid(1000)[999].item() == pytest.approx(0.001), "step k lies at k / 1000"


SCHEDULE = make_schedule("flow")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: sample(None, SCHEDULE, noise(1), sampler="ddpmm"),
            "unknown sampler 'ddpmm'; valid: ab2, ddim, ddpm, .*Did you mean 'ddpm'",
        ),
        (lambda: num_denoiser_calls("rk4", 3), "unknown sampler 'rk4'"),
        (
            lambda: sample(None, SCHEDULE, noise(1), sampler="ddim", eta=1.5),
            "eta: expected 0 to 1, got 1.5",
        ),
        (
            lambda: sample(None, SCHEDULE, noise(1), 0),
            "num_steps: expected a whole number of at least 1, got 0",
        ),
        (lambda: time_grid(3, "cubic"), "unknown spacing 'cubic'; valid: quadratic, uniform"),
        (lambda: time_grid(3, shift=0.0), "shift: expected more than 0"),
        (lambda: time_grid(3, start=1.5), "start: expected above 0 and at most 1"),
        (
            lambda: levels_at(SCHEDULE, torch.tensor([0.0, 1.0])),
            "times: expected at least 2 falling numbers",
        ),
        (
            lambda: levels_at(SCHEDULE, torch.tensor([1.2, 0.0])),
            "times: expected at least 2 falling numbers",
        ),
        (lambda: ImageNoise(0), "num_images: expected at least 1, got 0"),
    ],
)
def test_bad_input_has_its_message(act, message):
    with pytest.raises(CourseError, match=message):
        act()
