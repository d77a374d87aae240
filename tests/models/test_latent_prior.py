"""The learned mixture prior against torch.distributions, its place in the ELBO, and its draws."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.base import Batch
from course_utils.models.vae import MixturePrior, StandardPrior, VAEConfig
from course_utils.training.registry import build

CONFIG = VAEConfig(image_size=8, hidden_dims=(16,), latent_dim=3, num_prior_components=4)


@pytest.fixture
def prior():
    torch.manual_seed(0)
    prior = MixturePrior(4, 3)
    with torch.no_grad():
        prior.logits.normal_()
        prior.logvar.normal_(std=0.5)
    return prior


def reference(prior: MixturePrior) -> MixtureSameFamily:
    components = Independent(Normal(prior.mean, torch.exp(0.5 * prior.logvar)), 1)
    return MixtureSameFamily(Categorical(logits=prior.logits), components)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3)])
def test_log_ratio_agrees_with_torch_distributions(prior, shape):
    z = torch.randn(shape, generator=make_rng(1))
    expected = reference(prior).log_prob(z) - Independent(Normal(torch.zeros(3), 1.0), 1).log_prob(
        z
    )
    torch.testing.assert_close(prior.log_ratio(z), expected, atol=1e-5, rtol=1e-5)
    assert StandardPrior(3).log_ratio(z).abs().max() == 0


def test_draws_have_the_moments_of_the_mixture(prior):
    z = prior.sample(40_000, make_rng(2), prior.mean)
    exact = reference(prior)
    assert torch.allclose(z.mean(0), exact.mean, atol=0.05) and torch.allclose(
        z.var(0), exact.variance, rtol=0.05
    )
    cold = prior.sample(1000, make_rng(2), prior.mean, temperature=0.0)
    assert torch.cdist(cold, prior.mean).min(1).values.max() < 1e-5


def test_one_standard_component_is_the_standard_prior():
    model = build(replace(CONFIG, num_prior_components=1))
    plain = build(replace(CONFIG, num_prior_components=0))
    with torch.no_grad():
        model.prior.mean.zero_()
    plain.load_state_dict(
        {name: value for name, value in model.state_dict().items() if not name.startswith("prior")}
    )
    batch = Batch(
        torch.rand(6, 1, 8, 8, generator=make_rng(3)) * 2 - 1, torch.zeros(6, dtype=torch.int64)
    )
    ours, expected = (m.loss(batch, rng=make_rng(4)) for m in (model, plain))
    for name in expected:
        torch.testing.assert_close(ours[name], expected[name], msg=name)


@pytest.mark.parametrize("num_importance_samples", [1, 3])
def test_the_bound_holds_the_mixture(num_importance_samples):
    model = build(replace(CONFIG, num_importance_samples=num_importance_samples))
    images = torch.rand(4, 1, 8, 8, generator=make_rng(3)) * 2 - 1
    mu, logvar = model.encode(images)
    weights = model.log_weights(images, 2, rng=make_rng(6))
    eps = torch.randn((2, *mu.shape), generator=make_rng(6))
    z = mu + torch.exp(0.5 * logvar) * eps
    log_q = Independent(Normal(mu, torch.exp(0.5 * logvar)), 1).log_prob(z)
    torch.testing.assert_close(
        weights,
        model.log_likelihood(images, z) + reference(model.prior).log_prob(z) - log_q,
        atol=1e-3,
        rtol=1e-4,
    )


def test_training_moves_the_prior():
    model = build(CONFIG)
    images = torch.rand(64, 1, 8, 8, generator=make_rng(3)) * 2 - 1
    before = model.prior.mean.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(20):
        optimizer.zero_grad()
        model.loss(Batch(images, torch.zeros(64, dtype=torch.int64)), rng=make_rng(step))[
            "loss"
        ].mean().backward()
        optimizer.step()
    assert (model.prior.mean - before).abs().max() > 0.01 and math.isfinite(
        model.prior.logits.sum().item()
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"num_prior_components": -1}, "0 or more"), ({"free_bits": 0.5}, "free_bits: expected 0")],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(CourseError, match=message):
        replace(CONFIG, **changes)
