"""Schedules, one-step posteriors, targets and samplers against diffusers."""

from __future__ import annotations

import sys

import pytest
import torch
from exact import gaussian_denoiser, noise

from course_utils.models.diffusion.samplers import State, ddim_step, levels_at, sample, time_grid
from course_utils.models.diffusion.schedules import (
    alpha_bars,
    betas,
    from_target,
    make_schedule,
    make_target,
)

if sys.version_info < (3, 11):
    pytest.skip("diffusers asks for Python 3.11", allow_module_level=True)
import diffusers  # noqa: E402  where Python allows it, a broken installation is an error and no skip

NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}  # ours: theirs
PREDICTIONS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
EACH = pytest.mark.parametrize("name", sorted(NAMES))
INDICES = (0, 1, 10, 499, 998)  # their timesteps; our step is one more


def theirs(kind, name, **options):
    """Returns their scheduler, its products in double precision: in single, 1 - alpha_bar of the
    first steps has three digits.
    """
    scheduler = getattr(diffusers, kind)(beta_schedule=NAMES[name], **options)
    scheduler.alphas_cumprod = (1 - scheduler.betas.double()).cumprod(0)
    return scheduler


@EACH
def test_betas_and_their_product(name):
    schedule, scheduler = make_schedule(name), theirs("DDPMScheduler", name)
    torch.testing.assert_close(betas(schedule).float(), scheduler.betas, **CLOSE)
    torch.testing.assert_close(alpha_bars(schedule)[1:], scheduler.alphas_cumprod, **CLOSE)


@EACH
def test_noised_images_and_v(name):
    schedule, scheduler = make_schedule(name), theirs("DDPMScheduler", name)
    x0, eps, index = noise(5, 1), noise(5, 2), torch.tensor([*INDICES])
    t = (index + 1).double() / 1000
    torch.testing.assert_close(
        schedule.noised(x0, eps, t), scheduler.add_noise(x0, eps, index), **CLOSE
    )
    torch.testing.assert_close(
        make_target("v", schedule, x0, eps, t), scheduler.get_velocity(x0, eps, index), **CLOSE
    )


@EACH
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("target", sorted(PREDICTIONS))
def test_one_step_of_ddpm_is_a_draw_of_the_posterior(name, index, target):
    schedule = make_schedule(name)
    scheduler = theirs(
        "DDPMScheduler", name, prediction_type=PREDICTIONS[target], clip_sample=False
    )
    scheduler.set_timesteps(1000)
    xt, prediction = noise(3, 3), noise(3, 4)
    got = scheduler.step(prediction, index, xt, generator=torch.Generator().manual_seed(0))
    t, s = torch.tensor((index + 1) / 1000).double(), torch.tensor(index / 1000).double()
    x0 = from_target(target, schedule, prediction, xt, t).x0
    drawn = torch.randn(xt.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, variance = schedule.posterior(x0, xt, s, t)
    size = max(1.0, x0.abs().max().item())  # an eps-prediction near t = 1 means images of any size
    torch.testing.assert_close(got.pred_original_sample / size, x0 / size, **CLOSE)
    torch.testing.assert_close(
        got.prev_sample / size, (mean + variance.sqrt() * drawn) / size, **CLOSE
    )


@EACH
@pytest.mark.parametrize("index", [60, 500, 950])
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_one_step_of_ddim(name, index, eta):
    schedule, scheduler = (
        make_schedule(name),
        theirs("DDIMScheduler", name, prediction_type="sample", clip_sample=False),
    )
    scheduler.set_timesteps(20)  # steps of 50
    xt, x0, fresh = noise(3, 5), noise(3, 6), noise(3, 7)
    got = scheduler.step(x0, index, xt, eta=eta, variance_noise=fresh if eta else None).prev_sample
    here, there = levels_at(schedule, torch.tensor([index + 1, index - 49]).double() / 1000)
    torch.testing.assert_close(ddim_step(State(xt, x0, here), there, eta, fresh), got, **CLOSE)


@EACH
@pytest.mark.parametrize("num_steps", [5, 20])
def test_a_whole_run_of_dpm_solver(name, num_steps):
    schedule = make_schedule(name)
    scheduler = theirs("DPMSolverMultistepScheduler", name, prediction_type="sample")
    scheduler.set_timesteps(num_steps)
    start = noise(4, 8).float()
    denoise, x = gaussian_denoiser(schedule), start
    for index in scheduler.timesteps:
        x = scheduler.step(denoise(x, (index + 1)[None] / 1000).float(), index, x).prev_sample
    times = torch.cat([(scheduler.timesteps.double() + 1) / 1000, torch.zeros(1).double()])
    got = sample(
        lambda xt, t: denoise(xt, t).float(), schedule, start, sampler="dpm++2m", times=times
    ).x
    torch.testing.assert_close(got, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_whole_run_of_flow_matching(shift):
    schedule = make_schedule("flow")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 0.1, 10).numpy())
    torch.testing.assert_close(scheduler.sigmas.double(), time_grid(10, shift=shift), **CLOSE)
    start = noise(4, 9).float()
    denoise, x = gaussian_denoiser(schedule), start
    for index, t in zip(scheduler.timesteps, scheduler.sigmas):
        x0 = denoise(x, t[None]).float()
        eps = (x - (1 - t) * x0) / t
        x = scheduler.step(make_target("velocity", schedule, x0, eps, t), index, x).prev_sample
    got = sample(
        lambda xt, t: denoise(xt, t).float(),
        schedule,
        start,
        sampler="euler",
        times=time_grid(10, shift=shift),
    ).x
    torch.testing.assert_close(got, x, atol=1e-4, rtol=1e-4)
