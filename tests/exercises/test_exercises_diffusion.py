"""The solutions of notebook 07's exercises against the library, and what the checks accept and
refuse beyond their listed mistakes.
"""

from __future__ import annotations

import itertools

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.exercises import nb07
from course_utils.exercises import nb07 as nb07_labels
from course_utils.exercises.judge import PASSED, WRONG, judge
from course_utils.exercises.nb07 import ANCESTRAL, DDIM, EULER
from course_utils.models.diffusion.samplers import (
    Guided,
    Level,
    State,
    ddim_step,
    straight_step,
    velocity_of,
)
from course_utils.models.diffusion.schedules import (
    alpha_bars,
    betas,
    cosine_schedule,
    flow_schedule,
    from_target,
    linear_schedule,
    make_target,
    score_of,
)

IMAGE_SHAPE = (4, 1, 4, 4)


@pytest.fixture
def images():
    """x0, eps and more noise."""
    return torch.randn(3, *IMAGE_SHAPE, generator=make_rng(0), dtype=torch.float64).unbind()


@pytest.mark.parametrize("k", [1, 17, 1000])
def test_noising_is_that_of_the_linear_schedule(images, k):
    x0, eps, _ = images
    schedule = linear_schedule()
    found = nb07.NOISING.solution(x0, eps, betas(schedule), k)
    torch.testing.assert_close(
        found, schedule.noised(x0, eps, torch.tensor(k / 1000, dtype=torch.float64))
    )


@pytest.mark.parametrize("k", [1, 2, 500, 999])
def test_ancestral_step_is_the_posterior_of_the_cosine_schedule(images, k):
    x0, xk, noise = images
    schedule = cosine_schedule()
    posterior = schedule.posterior(
        x0, xk, *(torch.tensor(step / 1000, dtype=torch.float64) for step in (k - 1, k))
    )
    found = ANCESTRAL.solution(x0, xk, alpha_bars(schedule), k, noise)
    torch.testing.assert_close(found, posterior.mean + posterior.variance.sqrt() * noise)


@pytest.mark.parametrize(
    "schedule",
    [linear_schedule(), cosine_schedule(), flow_schedule()],
    ids=lambda schedule: schedule.name,
)
def test_steps_are_those_of_the_samplers(images, schedule):
    xt, eps, _ = images
    times = torch.tensor([0.8, 0.5], dtype=torch.float64)
    here, there = (
        Level(*values)
        for values in zip(
            *(row.tolist() for row in (times, schedule.alpha(times), schedule.sigma(times)))
        )
    )
    x0 = nb07.IMAGE.solution(xt, eps, here.alpha, here.sigma)
    torch.testing.assert_close(x0, from_target("eps", schedule, eps, xt, times[:1]).x0)
    torch.testing.assert_close(
        nb07.SCORE.solution(eps, here.sigma), score_of(x0, schedule, xt, times[:1])
    )
    now = State(xt, x0, here)
    torch.testing.assert_close(DDIM.solution(xt, eps, *here[1:], *there[1:]), ddim_step(now, there))
    if schedule.name == "flow":
        torch.testing.assert_close(
            EULER.solution(xt, velocity_of(now), here.t, there.t),
            straight_step(now, velocity_of(now), there),
        )


def test_velocity_pair_is_the_flow_schedule_with_its_target(images):
    x0, eps, _ = images
    t, schedule = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=torch.float64), flow_schedule()
    xt, velocity = nb07.VELOCITY.solution(x0, eps, t)
    torch.testing.assert_close(xt, schedule.noised(x0, eps, t))
    torch.testing.assert_close(velocity, make_target("velocity", schedule, x0, eps, t))


@pytest.mark.parametrize("w", [0.0, 1.0, 2.5])
def test_guidance_is_that_of_the_sampler(images, w):
    conditional, unconditional, xt = images
    labels = torch.arange(len(xt))

    def denoise(xt, t, given):
        told, untold = (
            seen.repeat(len(given) // len(labels), 1, 1, 1) for seen in (conditional, unconditional)
        )
        return torch.where((given == 10)[:, None, None, None], untold, told)

    guided = Guided(denoise, labels, null_label=10, scale=w)(xt, torch.full((4,), 0.5))
    torch.testing.assert_close(nb07.GUIDANCE.solution(conditional, unconditional, w), guided)


def test_guidance_from_the_other_end_is_right_too():
    answer = lambda conditional, unconditional, w: w * conditional + (1 - w) * unconditional  # noqa: E731
    assert judge(nb07.GUIDANCE, answer).status == PASSED


def test_ddim_may_rescale_x_t_instead():
    answer = lambda xt, eps, a_t, s_t, a_s, s_s: a_s / a_t * xt + (s_s - a_s * s_t / a_t) * eps  # noqa: E731
    assert judge(DDIM, answer).status == PASSED


def test_dropout_of_an_exact_number_is_right_too():
    def answer(labels, share, null_label, rng):
        chosen = torch.randperm(len(labels), generator=rng)[: round(share * len(labels))]
        return labels.index_fill(0, chosen, null_label)

    assert judge(nb07.DROPOUT, answer).status == PASSED


REFUSED = {
    "a share of half of it": (
        lambda labels, share, null, rng: nb07_labels._dropped(labels, share / 2, null, rng),
        "where 10% were asked for",
    ),
    "another class": (
        lambda labels, share, null, rng: torch.where(
            torch.rand(len(labels), generator=rng) < share, 3, labels
        ),
        "other classes",
    ),
    "the mask": (
        lambda labels, share, null, rng: torch.rand(len(labels), generator=rng) < share,
        "Expected whole numbers",
    ),
    "fewer labels": (
        lambda labels, share, null, rng: labels[torch.rand(len(labels), generator=rng) > share],
        "Expected whole numbers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_dropout_refuses(name):
    answer, reason = REFUSED[name]
    verdict = judge(nb07.DROPOUT, answer)
    assert verdict.status == WRONG and reason in verdict.message


@pytest.mark.parametrize(
    "exercise", [one for one in nb07.EXERCISES if one.cases], ids=lambda exercise: exercise.id
)
def test_no_two_mistakes_are_the_same(exercise):
    """Otherwise the second one's message could never be printed."""
    for one, other in itertools.combinations(exercise.mistakes, 2):
        assert judge(exercise, one.answer).message != judge(exercise, other.answer).message
