"""The exactly solvable model: its integrals against closed forms and Monte Carlo, its gradients
against the exact gradient of the ELBO.
"""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.exercises.core import solution_of
from course_utils.metrics.likelihood import importance_weighted_bound
from course_utils.models.toy_vae import (
    Gradients,
    ToyLatentModel,
    best_gaussian,
    elbo,
    gap,
    latent_grid,
    log_normal,
    reconstruction,
    reparameterised_gradients,
)

TOY, LINEAR = ToyLatentModel(), ToyLatentModel(bend=0.0)
X = torch.linspace(-4, 4, 9, dtype=torch.float64)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def log_weights(model, mu, std, x, num_samples, *, rng):
    """log p(x, z) - log q(z) for draws z ~ q = N(mu, std^2), [num_samples, B]."""
    z = mu + std * torch.randn(num_samples, len(x), generator=rng, dtype=x.dtype)
    return model.log_joint(x, z) - log_normal(z, mu, std)


def by_score(model, x, mu, logvar, num_draws, *, rng, baseline=0.0):
    """What notebook 03 has its readers write, on draws of the toy model."""
    std = torch.exp(0.5 * logvar)
    z = mu + std * torch.randn(num_draws, *mu.shape, generator=rng, dtype=x.dtype)
    f = (model.log_joint(x, z) - log_normal(z, mu, std)).sum(-1, keepdim=True) - baseline
    return Gradients(*solution_of("03.score_function")(f, z, mu, logvar))


def test_log_normal_is_the_normal_density():
    torch.testing.assert_close(
        log_normal(X, number(0.3), number(1.7)), Normal(number(0.3), number(1.7)).log_prob(X)
    )


def test_decoder_and_joint_by_hand():
    z, x = number(0.7), number(1.1)
    assert TOY.decode(z).item() == pytest.approx(0.7 + 1.2 * math.sin(1.4))
    right = Normal(TOY.decode(z), number(0.5)).log_prob(x) + Normal(
        number(0.0), number(1.0)
    ).log_prob(z)
    torch.testing.assert_close(TOY.log_joint(x, z), right)


@pytest.mark.parametrize("noise_std", [0.05, 0.5, 2.0])
def test_evidence_of_the_linear_model_in_closed_form(noise_std):
    right = Normal(number(0.0), number(math.sqrt(1 + noise_std**2))).log_prob(X)
    torch.testing.assert_close(
        ToyLatentModel(0.0, noise_std).log_evidence(X), right, rtol=0, atol=1e-10
    )


def test_evidence_of_the_bent_model_integrates_to_one_and_agrees_with_draws():
    x = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    assert torch.trapezoid(TOY.log_evidence(x).exp(), x).item() == pytest.approx(1, abs=1e-9)
    _, drawn = TOY.sample(20000, make_rng(0))
    share = (drawn < 1.0).double().mean().item()
    below = x <= 1.0
    assert share == pytest.approx(
        torch.trapezoid(TOY.log_evidence(x[below]).exp(), x[below]).item(), abs=0.015
    )


@pytest.mark.parametrize("x", [-2.0, 0.0, 1.5])
def test_posterior_is_a_density_and_the_right_gaussian_for_the_linear_model(x):
    z = latent_grid()
    assert torch.trapezoid(TOY.log_posterior(number(x), z).exp(), z).item() == pytest.approx(
        1, abs=1e-9
    )
    right = Normal(number(x / 1.25), number(math.sqrt(0.2))).log_prob(z)  # precision 1 + 1 / 0.25
    torch.testing.assert_close(LINEAR.log_posterior(number(x), z), right)


@pytest.mark.parametrize("model", [TOY, LINEAR], ids=["bent", "linear"])
@pytest.mark.parametrize("std", [0.01, 0.3, 1.0, 3.0])
def test_evidence_is_elbo_plus_gap(model, std):
    mu = number(0.4)
    bound, rest = elbo(model, X, mu, number(std)), gap(model, X, mu, number(std))
    torch.testing.assert_close(bound + rest, model.log_evidence(X), rtol=0, atol=1e-8)
    assert (rest > 0).all()


def test_gap_of_the_linear_model_is_the_kl_of_two_gaussians():
    mu, std = number(-0.2), number(0.9)
    right = kl_divergence(Normal(mu, std), Normal(X / 1.25, number(math.sqrt(0.2))))
    torch.testing.assert_close(gap(LINEAR, X, mu, std), right)


def test_reconstruction_of_the_linear_model_in_closed_form():
    mu, std = number(0.4), number(0.6)
    right = Normal(mu, number(0.5)).log_prob(X) - std.square() / (2 * 0.25)
    torch.testing.assert_close(reconstruction(LINEAR, X, mu, std), right)


def test_best_gaussian_is_the_posterior_where_that_is_gaussian():
    mu, std = best_gaussian(LINEAR, number(1.5))
    assert (mu.item(), std.item()) == pytest.approx((1.2, math.sqrt(0.2)), abs=1e-5)


@pytest.mark.parametrize("x", [-1.0, 1.5])
def test_best_gaussian_of_the_bent_model_is_an_optimum(x):
    mu, std = best_gaussian(TOY, number(x))
    best = elbo(TOY, number(x), mu, std)
    others = elbo(
        TOY,
        number(x),
        mu + torch.linspace(-3, 3, 25, dtype=torch.float64)[:, None],
        std * torch.tensor([0.5, 0.99, 1, 1.01, 2]).double(),
    )
    assert (others <= best + 1e-9).all() and gap(TOY, number(x), mu, std) > 0.05


def test_log_weights_have_the_evidence_as_log_mean_and_the_elbo_as_mean():
    mu, std = number(1.0), number(0.5)
    logs = log_weights(
        TOY, mu, std, torch.full((4,), 1.5, dtype=torch.float64), 20000, rng=make_rng(1)
    )
    assert logs.shape == (20000, 4)
    assert logs.exp().mean().log().item() == pytest.approx(
        TOY.log_evidence(number(1.5)).item(), abs=0.02
    )
    assert logs.mean().item() == pytest.approx(elbo(TOY, number(1.5), mu, std).item(), abs=0.02)


def test_log_weights_feed_the_importance_weighted_bound():
    exact = 0.8 * X, number(math.sqrt(0.2))
    bound = importance_weighted_bound(partial(log_weights, LINEAR, *exact), X, 3, rng=make_rng(2))
    # exact posterior: every weight is p(x)
    torch.testing.assert_close(bound.per_image, LINEAR.log_evidence(X))


ESTIMATORS = {
    "score": by_score,
    "score with baseline": partial(by_score, baseline=-4.0),
    "reparameterised": reparameterised_gradients,
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradient_estimates_are_unbiased(name):
    x = torch.tensor([1.5, -0.5], dtype=torch.float64)
    mu, logvar = (
        torch.tensor(values, dtype=torch.float64, requires_grad=True)
        for values in ([0.5, 0.1], [-1.0, -0.4])
    )
    exact = torch.autograd.grad(elbo(TOY, x, mu, torch.exp(0.5 * logvar)).sum(), (mu, logvar))
    found = ESTIMATORS[name](TOY, x, mu.detach(), logvar.detach(), 40000, rng=make_rng(3))
    for estimate, right in zip(found, exact):
        assert estimate.shape == (40000, 2) and not estimate.requires_grad
        error = estimate.std(0) / 200
        assert ((estimate.mean(0) - right).abs() < 4 * error).all()


def test_reparameterised_gradient_is_one_derivative_a_draw():
    x, mu, logvar = (torch.tensor([value], dtype=torch.float64) for value in (1.5, 0.5, -1.0))
    found = reparameterised_gradients(TOY, x, mu, logvar, 3, rng=make_rng(4)).mu[:, 0]
    z = mu + torch.exp(0.5 * logvar) * torch.randn(3, generator=make_rng(4), dtype=torch.float64)
    slope = (x - TOY.decode(z)) / 0.25 * (1 + 2.4 * torch.cos(2 * z)) - z
    torch.testing.assert_close(found, slope)


def test_estimators_take_a_batch_of_approximations():
    mu = torch.zeros(7, 3, dtype=torch.float64)
    for estimator in (by_score, reparameterised_gradients):
        found = estimator(TOY, torch.ones(3, dtype=torch.float64), mu, mu, 2, rng=make_rng(5))
        assert found.mu.shape == found.logvar.shape == (2, 7, 3)


def test_score_function_variance_grows_with_the_number_of_copies_and_the_other_does_not():
    def variance(estimator, dim):
        x, mu, logvar = (
            torch.full((dim,), value, dtype=torch.float64) for value in (1.5, 0.5, -1.0)
        )
        return estimator(TOY, x, mu, logvar, 4000, rng=make_rng(6)).mu[:, 0].var().item()

    assert variance(by_score, 30) > 50 * variance(by_score, 1)
    assert (
        0.7 < variance(reparameterised_gradients, 30) / variance(reparameterised_gradients, 1) < 1.4
    )


BAD = [
    (lambda: ToyLatentModel(noise_std=0.0), "noise_std: expected 0.05 or more, got 0.0"),
    (lambda: elbo(TOY, X, number(0.0), number(0.0)), "std: expected numbers above 0, got 0"),
    (lambda: gap(TOY, X, number(0.0), number(-1.0)), "std: expected numbers above 0, got -1"),
    (lambda: best_gaussian(TOY, X), "expected one number x, got shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
