"""The GAN on a line against closed forms: the game's value, Jensen-Shannon, the two losses'
gradients, and a trained discriminator.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.studies.gan_toy import (
    Bells,
    fit_discriminator,
    game_value,
    generator_pull,
    jensen_shannon,
    line,
    optimal_scores,
    score_gradient,
)

DATA, GENERATED = Bells((-2.0, 2.0), 0.7), Bells((0.5,), 1.5)


def test_density_is_that_of_a_mixture_and_draws_follow_it():
    x = line()
    right = torch.stack([Normal(mean, 0.7).log_prob(x) for mean in (-2.0, 2.0)]).exp().mean(0)
    torch.testing.assert_close(DATA.log_density(x).exp(), right)
    drawn = DATA.sample(20_000, make_rng(0))
    assert drawn.mean().item() == pytest.approx(0, abs=0.06)
    assert drawn.var().item() == pytest.approx(4 + 0.49, abs=0.1)


def test_optimal_discriminator_is_the_share_of_the_data():
    x = line()
    p, q = DATA.log_density(x).exp(), GENERATED.log_density(x).exp()
    seen = p + q > 1e-12
    torch.testing.assert_close(
        optimal_scores(DATA, GENERATED, x).sigmoid()[seen], (p / (p + q))[seen]
    )


def test_no_discriminator_beats_the_optimal_one():
    best = optimal_scores(DATA, GENERATED, line())
    value = game_value(DATA, GENERATED, best)
    for wobble in (torch.sin(line()), 0.1 * line(), torch.ones_like(best), -0.5 * best):
        assert game_value(DATA, GENERATED, best + wobble) < value
        slope = (
            game_value(DATA, GENERATED, best + 1e-4 * wobble)
            - game_value(DATA, GENERATED, best - 1e-4 * wobble)
        ) / 2e-4
        assert slope == pytest.approx(0, abs=1e-6)


def test_value_of_the_game_is_jensen_shannon():
    value = game_value(DATA, GENERATED, optimal_scores(DATA, GENERATED, line()))
    assert value == pytest.approx(2 * jensen_shannon(DATA, GENERATED) - 2 * math.log(2), abs=1e-10)
    assert game_value(DATA, GENERATED, torch.zeros(len(line()))) == pytest.approx(-2 * math.log(2))


def test_jensen_shannon_of_equal_and_of_distant_bells():
    assert jensen_shannon(DATA, DATA) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(Bells((-6.0,), 0.5), Bells((6.0,), 0.5)) == pytest.approx(
        math.log(2), abs=1e-9
    )
    assert jensen_shannon(DATA, GENERATED) == pytest.approx(jensen_shannon(GENERATED, DATA))


def test_jensen_shannon_agrees_with_draws():
    parts = [part.sample(100_000, make_rng(1)) for part in (DATA, GENERATED)]
    scores = [optimal_scores(DATA, GENERATED, part) for part in parts]
    drawn = 0.5 * (
        scores[0].sigmoid().log().mean() + (-scores[1]).sigmoid().log().mean()
    ) + math.log(2)
    assert jensen_shannon(DATA, GENERATED) == pytest.approx(drawn.item(), abs=0.005)


@pytest.mark.parametrize("shift", [0.5, 2.0, 5.0])
def test_minimax_pulls_down_jensen_shannon(shift):
    """At the best D the generator's gradient is that of 2 JS: D's own change adds nothing, since it
    stands at its optimum.
    """
    data = Bells((0.0,))
    slope = (
        jensen_shannon(data, Bells((shift + 1e-4,))) - jensen_shannon(data, Bells((shift - 1e-4,)))
    ) / 2e-4
    assert generator_pull("minimax", data, Bells((shift,))) == pytest.approx(2 * slope, abs=1e-6)


@pytest.mark.parametrize("shift", [0.5, 2.0, 5.0])
def test_non_saturating_pulls_down_reverse_kl_minus_twice_jensen_shannon(shift):
    """Arjovsky & Bottou 2017 (arXiv:1701.04862), theorem 2.5; KL of two unit Gaussians is shift^2 /
    2, its slope `shift`.
    """
    data, generated = Bells((0.0,)), Bells((shift,))
    right = shift - generator_pull("minimax", data, generated)
    assert generator_pull("non-saturating", data, generated) == pytest.approx(right, abs=1e-6)


def test_gradients_by_the_score_in_closed_form():
    scores = torch.linspace(-9, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(score_gradient("minimax", scores), -scores.sigmoid())
    torch.testing.assert_close(score_gradient("non-saturating", scores), scores.sigmoid() - 1)
    assert not scores.requires_grad


def test_a_discriminator_that_sees_only_draws_comes_close_to_the_best():
    best = game_value(DATA, GENERATED, optimal_scores(DATA, GENERATED, line()))
    values = [
        game_value(DATA, GENERATED, scores)
        for scores in fit_discriminator(DATA, GENERATED, (0, 50, 1000)).values()
    ]
    assert values == sorted(values) and best - 0.03 < values[-1] < best


def test_fitting_again_gives_the_same_and_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    first, again = (fit_discriminator(DATA, GENERATED, (3,), seed=4)[3] for _ in range(2))
    assert torch.equal(first, again) and torch.equal(torch.random.get_rng_state(), state)


BAD = [
    (lambda: Bells(()), "means: expected one or more numbers"),
    (lambda: Bells((0.0,), 0.001), "std: expected 0.05 or more"),
    (lambda: Bells((9.0,)), "means: expected 6 standard deviations inside"),
    (
        lambda: game_value(DATA, GENERATED, torch.zeros(5)),
        "scores: expected one for each of the 4,801 points",
    ),
    (lambda: fit_discriminator(DATA, GENERATED, (5, 2)), "steps: expected ascending"),
    (lambda: score_gradient("sharp", torch.zeros(2)), "GAN loss"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
