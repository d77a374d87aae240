"""The mathematics of the VAE against torch.distributions and closed forms, and its loss terms
against each other.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from materials import make_dataset
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_unit, uint8_to_signed
from course_utils.models.base import Batch
from course_utils.models.vae import VAEConfig, gaussian_kl, reparameterise
from course_utils.training.registry import build

CONFIG = VAEConfig(image_size=8, hidden_dims=(16,), latent_dim=3)
BATCH_SIZE = 6


@pytest.fixture(scope="module")
def batch():
    data = make_dataset((1, 8, 8), num_train=BATCH_SIZE, num_test=2)
    return Batch(uint8_to_signed(data.train_images), data.train_labels)


def double(config: VAEConfig):
    return build(config).double()


def sharpened(vae):
    """The same model far from its start, where KL and likelihood are not nearly constant."""
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(4)
    return vae


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_kl_is_that_of_torch_distributions(spread):
    mu, logvar = (
        spread * torch.randn(50, 4, generator=make_rng(0, index), dtype=torch.float64)
        for index in (1, 2)
    )
    oracle = kl_divergence(
        Normal(mu, torch.exp(0.5 * logvar)), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    )
    torch.testing.assert_close(gaussian_kl(mu, logvar), oracle, rtol=1e-10, atol=1e-10)


def test_kl_is_zero_at_the_prior_and_positive_elsewhere():
    zero = torch.zeros(1, 2)
    assert torch.equal(gaussian_kl(zero, zero), zero)
    assert (gaussian_kl(zero + 0.1, zero) > 0).all() and (gaussian_kl(zero, zero - 0.1) > 0).all()


def test_reparameterised_draws_have_the_asked_moments_and_pass_gradients():
    mu, logvar = (
        torch.tensor([[2.0, -1.0]]).repeat(40_000, 1),
        torch.tensor([[math.log(0.25), math.log(9.0)]]).repeat(40_000, 1),
    )
    z = reparameterise(mu, logvar, make_rng(0))
    # four standard errors of the wider one
    torch.testing.assert_close(z.mean(0), torch.tensor([2.0, -1.0]), atol=0.06, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([0.5, 3.0]), atol=0.05, rtol=0)
    mu, logvar = (
        torch.zeros(1, 1, requires_grad=True),
        torch.full((1, 1), math.log(4.0), requires_grad=True),
    )
    z = reparameterise(mu, logvar, make_rng(0))
    z.sum().backward()
    assert mu.grad.item() == 1.0
    assert logvar.grad.item() == pytest.approx(0.5 * z.item())  # d/dlogvar of exp(logvar/2) eps


@pytest.mark.parametrize(
    "network", [{}, {"network": "conv", "hidden_dims": (4, 8)}], ids=["mlp", "conv"]
)
def test_bernoulli_likelihood_of_black_and_white_pixels(network, batch):
    vae = double(replace(CONFIG, **network))
    binary = (signed_to_unit(batch.images) > 0.3).double()
    z = torch.randn(BATCH_SIZE, 3, generator=make_rng(1), dtype=torch.float64)
    oracle = Independent(Bernoulli(logits=vae.decoder(z)), 3).log_prob(binary)
    torch.testing.assert_close(vae.log_likelihood(2 * binary - 1, z), oracle)


def test_bernoulli_likelihood_of_grey_pixels_is_the_cross_entropy(batch):
    vae, grey = sharpened(double(CONFIG)), batch.images.double()
    z = torch.randn(BATCH_SIZE, 3, generator=make_rng(1), dtype=torch.float64)
    x, p = signed_to_unit(grey), signed_to_unit(vae.decode(z))
    oracle = (x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3))
    assert ((x > 0) & (x < 1)).any()
    torch.testing.assert_close(vae.log_likelihood(grey, z), oracle)


def test_bernoulli_likelihood_stays_finite_for_certain_decoders(batch):
    vae = build(CONFIG)
    with torch.no_grad():
        vae.decoder[0][-1].bias.fill_(1000.0)
    assert torch.isfinite(vae.log_likelihood(batch.images, torch.zeros(BATCH_SIZE, 3))).all()


@pytest.mark.parametrize("noise_std", [0.1, 1.0])
def test_gaussian_likelihood_is_that_of_torch_distributions(noise_std, batch):
    vae = double(replace(CONFIG, likelihood="gaussian", noise_std=noise_std))
    z = torch.randn(BATCH_SIZE, 3, generator=make_rng(1), dtype=torch.float64)
    images = batch.images.double()
    oracle = Independent(Normal(signed_to_unit(vae.decode(z)), noise_std), 3).log_prob(
        signed_to_unit(images)
    )
    torch.testing.assert_close(vae.log_likelihood(images, z), oracle)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_loss_is_reconstruction_plus_beta_times_kl(beta, likelihood, batch):
    terms = build(replace(CONFIG, beta=beta, likelihood=likelihood)).loss(batch, rng=make_rng(0))
    assert set(terms) == {"loss", "negative_elbo", "reconstruction", "kl"}
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * terms["kl"])
    torch.testing.assert_close(terms["negative_elbo"], terms["reconstruction"] + terms["kl"])


def test_loss_uses_the_draw_and_the_kl_of_the_encoder(batch):
    vae = sharpened(build(CONFIG))
    mu, logvar = vae.encode(batch.images)
    terms = vae.loss(batch, rng=make_rng(7))
    torch.testing.assert_close(
        terms["reconstruction"],
        -vae.log_likelihood(batch.images, reparameterise(mu, logvar, make_rng(7))),
    )
    torch.testing.assert_close(terms["kl"], gaussian_kl(mu, logvar).sum(1))


@pytest.mark.parametrize("free_bits", [0.01, 0.5, 100.0])
def test_free_bits_put_a_floor_under_each_dimension(free_bits, batch):
    vae = sharpened(build(replace(CONFIG, beta=2.0, free_bits=free_bits)))
    terms = vae.loss(batch, rng=make_rng(0))
    kl = gaussian_kl(*vae.encode(batch.images))
    floored = sum(max(value.item(), free_bits) for value in kl.mean(0))
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 2.0 * floored)
    # the bound itself knows no free bits
    torch.testing.assert_close(terms["negative_elbo"], terms["reconstruction"] + kl.sum(1))


def test_dimensions_below_their_free_bits_get_no_gradient(batch):
    gradients = {}
    for free_bits in (0.0, 100.0):
        vae = build(replace(CONFIG, free_bits=free_bits, beta=1000.0))
        vae.loss(batch, rng=make_rng(0))["loss"].mean().backward()
        gradients[free_bits] = vae.encoder[1][-1].weight.grad.norm().item()
    without_kl = build(replace(CONFIG, beta=0.0))
    without_kl.loss(batch, rng=make_rng(0))["loss"].mean().backward()
    assert gradients[100.0] == pytest.approx(
        without_kl.encoder[1][-1].weight.grad.norm().item(), rel=1e-5
    )
    assert gradients[0.0] > 2 * gradients[100.0]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_log_weights_are_log_joint_minus_log_posterior(likelihood, batch):
    vae = sharpened(double(replace(CONFIG, likelihood=likelihood)))
    images = batch.images.double()
    weights = vae.log_weights(images, 5, rng=make_rng(3))
    mu, logvar = vae.encode(images)
    posterior = Normal(mu, torch.exp(0.5 * logvar))
    z = mu + posterior.stddev * torch.randn(
        5, BATCH_SIZE, 3, generator=make_rng(3), dtype=torch.float64
    )
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    likelihoods = torch.stack([vae.log_likelihood(images, draw) for draw in z])
    oracle = likelihoods + prior.log_prob(z).sum(2) - posterior.log_prob(z).sum(2)
    assert weights.shape == (5, BATCH_SIZE)
    torch.testing.assert_close(weights, oracle)


def test_mean_of_log_weights_is_the_elbo(batch):
    """Two estimates of one number: the loss takes the KL in closed form, the weights estimate it by
    sampling.
    """
    vae = sharpened(build(CONFIG))
    with torch.no_grad():
        weights = vae.log_weights(batch.images, 4000, rng=make_rng(0))
        repeated = Batch(batch.images.repeat(1000, 1, 1, 1), batch.labels.repeat(1000))
        elbo = -vae.loss(repeated, rng=make_rng(1))["negative_elbo"].view(1000, BATCH_SIZE)
    error = (weights.var(0) / 4000 + elbo.var(0) / 1000).sqrt()
    assert ((weights.mean(0) - elbo.mean(0)).abs() < 5 * error).all()
    assert (error < 0.05 * elbo.mean(0).abs()).all()


def test_importance_weighted_bound_is_above_the_elbo(batch):
    weights = sharpened(build(CONFIG)).log_weights(batch.images, 200, rng=make_rng(0))
    bound = weights.logsumexp(0) - math.log(200)
    assert (bound > weights.mean(0)).all()


def test_the_importance_weighted_loss_is_minus_the_log_of_the_mean_weight(batch):
    """Also its height, which the gradient does not know: log of a mean, not of a sum."""
    vae = sharpened(build(replace(CONFIG, num_importance_samples=5)))
    weights = vae.log_weights(batch.images, 5, rng=make_rng(3)).detach()
    expected = -weights.double().exp().mean(0).log()
    loss = vae.loss(batch, rng=make_rng(3))["loss"]
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-4)


def test_reconstruction_decodes_the_mean_or_a_draw(batch):
    vae = sharpened(build(CONFIG))
    mu, logvar = vae.encode(batch.images)
    assert torch.equal(vae.reconstruct(batch.images), vae.decode(mu))
    drawn = vae.reconstruct(batch.images, rng=make_rng(4))
    assert torch.equal(
        drawn, vae.decode(reparameterise(mu, logvar, make_rng(4)))
    ) and not torch.equal(drawn, vae.decode(mu))


def test_samples_decode_draws_from_the_prior():
    vae = build(CONFIG)
    z = torch.randn(4, 3, generator=make_rng(9))
    assert torch.equal(vae.sample(4, rng=make_rng(9)), vae.decode(z))
    assert torch.equal(vae.sample(4, rng=make_rng(9), temperature=0.5), vae.decode(0.5 * z))
    assert torch.equal(
        vae.sample(2, rng=make_rng(9), temperature=0.0), vae.decode(torch.zeros(2, 3))
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_dim": 0}, "latent_dim: expected at least 1, got 0"),
        ({"noise_std": 0.0}, "noise_std: expected more than 0, got 0.0"),
        ({"beta": -1.0}, "beta: expected 0 or more, got -1.0"),
        ({"free_bits": -0.1}, "free_bits: expected 0 or more"),
        ({"hidden_dims": ()}, "hidden_dims: expected at least one positive size, got ()"),
        ({"hidden_dims": (4, 0)}, "hidden_dims: expected at least one positive size"),
        ({"network": "conv", "hidden_dims": (4,)}, "two channel counts for network='conv'"),
        (
            {"network": "conv", "hidden_dims": (4, 8), "image_size": 10},
            "image_size: expected a multiple of 4 for network='conv', got 10",
        ),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(CourseError) as error:
        replace(CONFIG, **changes)
    assert message in str(error.value)


def test_latents_of_another_size_are_refused():
    with pytest.raises(CourseError) as error:
        build(CONFIG).decode(torch.zeros(2, 4))
    assert "expected latents of shape [B, 3], got [2, 4]" in str(error.value)
