"""What the exercises of notebook 10 accept beyond their solutions, and the solutions against the
library and against closed forms.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from messages import message, passes

from course_utils.base.device import make_rng
from course_utils.exercises import nb10
from course_utils.models.diffusion.flows import optimal_transport_pairing
from course_utils.models.diffusion.samplers import sample
from course_utils.models.diffusion.schedules import flow_schedule
from course_utils.studies.flow_toys import exact_velocity, ring_mixture, walk_points


def normal(*shape, stream=0):
    return torch.randn(shape, generator=make_rng(100, stream), dtype=torch.float64)


def test_the_notebook_has_eight_parts_and_the_hunt():
    ids = [exercise.id for exercise in nb10.EXERCISES]
    assert ids[:8] == [f"10.{name}" for name in (
        "conditional", "marginal", "loss", "euler", "pair", "reflow", "student", "likelihood"
    )]  # fmt: skip
    assert len(ids) == 12
    assert min(len(exercise.mistakes) for exercise in nb10.EXERCISES[:8]) >= 8


def test_the_conditional_velocity_is_that_of_the_path():
    x0, noise, t = normal(6, 2), normal(6, 2, stream=1), torch.linspace(0.1, 1, 6).double()
    xt = flow_schedule().noised(x0, noise, t)
    found = nb10.CONDITIONAL.solution(xt, x0, t)
    torch.testing.assert_close(found, noise - x0)
    assert passes("10.conditional", lambda x, x0, t: torch.einsum("bd,b->bd", x - x0, 1 / t))


def test_the_marginal_velocity_of_few_points_is_that_of_narrow_gaussians():
    """Against autograd: for data points u = -x/(1-t) - t/(1-t) score."""
    x, data, t = normal(5, 2).requires_grad_(), normal(4, 2, stream=1), 0.6
    density = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(4).double()),
        torch.distributions.Independent(torch.distributions.Normal((1 - t) * data, t), 1),
    )
    (score,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    expected = -(x.detach() + t * score) / (1 - t)
    torch.testing.assert_close(nb10.MARGINAL.solution(x.detach(), data, t), expected)


def by_mean_of_conditionals(x, data, t):
    weights = (-(torch.cdist(x, (1 - t) * data) ** 2) / (2 * t**2)).softmax(1)
    each = (x[:, None] - data) / t
    return (weights[..., None] * each).sum(1)


def test_the_mean_of_conditional_velocities_passes():
    assert passes("10.marginal", by_mean_of_conditionals)


def test_other_losses_pass():
    def by_mse(network, x0, noise, t):
        xt = torch.lerp(x0, noise, t.view(-1, 1))
        pairs = (network(xt, t), noise - x0)
        return torch.nn.functional.mse_loss(*pairs, reduction="none").mean(1)

    assert passes("10.loss", by_mse)


def test_the_walk_is_the_librarys():
    mixture, noise = ring_mixture(), normal(7, 2)

    def velocity(x, t):
        return exact_velocity(mixture, x, t)

    found = nb10.EULER.solution(velocity, noise, 6)
    torch.testing.assert_close(found, walk_points(velocity, noise, 6))
    schedule = flow_schedule()
    by_ddim = sample(lambda x, t: mixture.denoise(schedule, x, t), schedule, noise, 6)
    torch.testing.assert_close(found[-1], getattr(by_ddim, "x", by_ddim))


def with_a_time_that_falls(velocity, x, num_steps):
    places, t = [x], 1.0
    while len(places) <= num_steps:
        step = velocity(places[-1], torch.full((len(x),), t)) / num_steps
        places.append(places[-1] - step)
        t -= 1 / num_steps
    return torch.stack(places)


def test_other_walks_pass():
    assert passes("10.euler", with_a_time_that_falls)


def test_pairs_are_the_best_of_all_orders():
    x0, noise = normal(5, 2), normal(5, 2, stream=1)
    costs = {
        order: (x0 - noise[list(order)]).square().sum().item()
        for order in itertools.permutations(range(5))
    }
    best = min(costs, key=costs.__getitem__)
    torch.testing.assert_close(nb10.PAIR.solution(x0, noise), noise[list(best)])
    assert passes("10.pair", lambda x0, noise: noise[optimal_transport_pairing(noise, x0)])


def test_reflow_pairs_and_student_take_images():
    assert passes(
        "10.reflow",
        lambda walk, velocity, noise, num_steps: (
            list(walk(velocity, noise, num_steps)).pop(),
            noise,
        ),
    )

    def by_axes(student, x0, noise):
        off = x0 - noise + student(noise, noise.new_ones(len(noise)))
        return (off**2).mean(tuple(range(1, off.ndim)))

    assert passes("10.student", by_axes)


def test_the_density_of_a_gaussian_comes_out():
    mean, std = torch.tensor([0.5, -0.3]), 0.4
    x = mean + std * normal(50, 2).float()
    exact = torch.distributions.Normal(mean, std).log_prob(x).sum(1)
    found = nb10.LIKELIHOOD.solution(nb10._gaussian_velocity, nb10._gaussian_divergence, x, 400)
    assert (found - exact).abs().max() < 0.03  # its error falls as 1 / steps


def test_another_way_to_the_density_passes():
    def answer(velocity, divergence, x, num_steps):
        normal = torch.distributions.Normal(0.0, 1.0)
        total, width = 0.0, 1 / num_steps
        for t in torch.linspace(width / 2, 1 - width / 2, num_steps):
            here = t.expand(len(x))
            total, x = total + width * divergence(x, here), x + width * velocity(x, here)
        return normal.log_prob(x).sum(1) + total

    assert passes("10.likelihood", answer)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("conditional", lambda x, x0, t: math.nan * x, "NaN"),
        ("conditional", lambda x, x0, t: print(end=""), "Is the `return` missing"),
        ("marginal", lambda x, data, t: (x - data[: len(x)]) / t, "raised|shape|differ"),
        ("loss", lambda network, x0, noise, t: (noise - x0).square().mean(1), "differ"),
        ("euler", lambda velocity, x, n: torch.stack([x] * (n + 1)), "differ"),
        ("pair", lambda x0, noise: noise.flip(0), "differ"),
        ("reflow", lambda walk, velocity, noise, n: (noise, noise), "the first place of the walk"),
        ("student", lambda s, x0, n: (s(n, torch.ones(len(n))) - n + x0).sum(), "expected"),
        ("likelihood", lambda v, d, x, n: torch.zeros(len(x)), "every value is 0|Every value is 0"),
    ],
)
def test_wrong_answers_are_refused(name, answer, words):
    found = message(f"10.{name}", answer)
    assert any(word.casefold() in found.casefold() for word in words.split("|")), found
