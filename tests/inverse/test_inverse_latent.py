"""The search of latents: with a linear decoder its answers are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.device import make_rng, randn
from course_utils.base.errors import CourseError
from course_utils.inverse.exact import exact_posterior
from course_utils.inverse.problems import make_problem
from course_utils.inverse.search import Latents, search_latents
from course_utils.models.diffusion.exact import GaussianMixture

SHAPE, DIM, LATENT_DIM = (1, 4, 4), 16, 3
# decoded pixels stay far from the ends -1 and 1
WEIGHTS = 0.12 * torch.randn(LATENT_DIM, DIM, generator=make_rng(0), dtype=torch.float64)
OFFSET = 0.1 * torch.randn(DIM, generator=make_rng(1), dtype=torch.float64)
NOISE_STD, MODEL_STD = 0.2, 0.1


def decode(latents):
    return (latents.z @ WEIGHTS + OFFSET).view(-1, *SHAPE)


def draw(num, rng):
    return Latents(randn((num, LATENT_DIM), rng, WEIGHTS))


def setting(name, num=3):
    """Returns a problem, measurements of decoder images, and the exact posterior of the decoder's
    images.
    """
    problem = make_problem(name, SHAPE, NOISE_STD)
    y = problem.measure(decode(draw(num, make_rng(2))), make_rng(3))
    total = math.sqrt(NOISE_STD**2 + MODEL_STD**2 * (problem.operator.row_scale or 1))
    one = torch.ones(1, dtype=torch.float64)
    prior = GaussianMixture(
        one, OFFSET[None], (WEIGHTS.T @ WEIGHTS)[None], torch.zeros(1, dtype=torch.int64)
    )
    return problem, y, exact_posterior(prior, make_problem(name, SHAPE, total), y)


@pytest.mark.parametrize("name", ["inpaint-half", "super-resolution", "deblur"])
def test_every_start_of_a_linear_decoder_ends_at_the_posterior_mean(name):
    problem, y, exact = setting(name)
    found = search_latents(
        decode,
        draw,
        problem,
        y,
        2,
        model_std=MODEL_STD,
        num_candidates=2,
        num_steps=400,
        rng=make_rng(4),
    )
    torch.testing.assert_close(found, exact.mean().expand(2, -1, -1, -1, -1), atol=2e-4, rtol=0)


def test_perturbed_solutions_of_a_linear_decoder_are_draws_of_the_posterior():
    problem, y, exact = setting("inpaint-half", 1)
    num = 3000
    options = {"model_std": MODEL_STD, "num_candidates": 1, "num_steps": 300, "perturb": True}
    found = search_latents(decode, draw, problem, y, num, **options, rng=make_rng(5))[:, 0].flatten(
        1
    )
    covariance = exact.covariance(0)
    spread = covariance.diagonal().sqrt()
    # elsewhere solutions are cut off at 1
    inside = exact.mean()[0].flatten().abs() + 4 * spread < 1
    assert inside.sum() >= 12
    assert ((found.mean(0) - exact.mean()[0].flatten()).abs() < 5 * spread / math.sqrt(num))[
        inside
    ].all()
    assert ((found.T.cov() - covariance).abs() < 8 * spread[:, None] * spread / math.sqrt(num))[
        inside
    ][:, inside].all()


def test_starts_are_the_best_candidates_of_each_group_and_keep_their_class():
    """Without steps the solution is the start itself; the class decides the sign of the image."""

    def signed(latents):
        return torch.where(latents.labels == 1, 1.0, -1.0).view(-1, 1, 1, 1) * latents.z.view(
            -1, 1, 1, 1
        ).expand(-1, *SHAPE)

    candidates = Latents(torch.tensor([[0.1], [0.9], [0.5], [0.7]]), torch.tensor([0, 1, 1, 0]))
    problem = make_problem("denoise", SHAPE, 0.1)
    y = torch.stack([torch.full(SHAPE, 0.6), torch.full(SHAPE, -0.6)])
    found = search_latents(
        signed, lambda num, rng: candidates, problem, y, 2, num_candidates=2, num_steps=0
    )
    assert found.mean((2, 3, 4)).tolist() == [
        [pytest.approx(0.9), pytest.approx(-0.1)],
        [pytest.approx(0.5), pytest.approx(-0.7)],
    ]


def test_solutions_do_not_depend_on_how_many_rows_a_call_takes(monkeypatch):
    problem, y, _ = setting("denoise")
    whole = search_latents(decode, draw, problem, y, 4, num_steps=5, rng=make_rng(0))
    monkeypatch.setattr("course_utils.inverse.search.ROWS_PER_CALL", 5)
    torch.testing.assert_close(
        search_latents(decode, draw, problem, y, 4, num_steps=5, rng=make_rng(0)), whole
    )


@pytest.mark.parametrize(("option", "value"), [("num_candidates", 0), ("model_std", -0.1)])
def test_settings_out_of_range_are_refused(option, value):
    problem, y, _ = setting("denoise")
    with pytest.raises(CourseError, match=f"{option}: expected"):
        search_latents(decode, draw, problem, y, 2, **{option: value})
