"""Pixels drawn black and white, their log-probability with its hand-written gradient, and the
importance-weighted objective.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from materials import make_dataset

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import binarise, uint8_to_signed
from course_utils.models.base import Batch
from course_utils.models.vae import VAEConfig, bernoulli_log_likelihood, sum_softplus
from course_utils.training.registry import build

CONFIG = VAEConfig(image_size=8, hidden_dims=(16,), latent_dim=3)
DYNAMIC = replace(CONFIG, binarisation="dynamic")


@pytest.fixture(scope="module")
def batch():
    data = make_dataset((1, 8, 8), num_train=6, num_test=2)
    return Batch(uint8_to_signed(data.train_images), data.train_labels)


# The draw


def test_mean_of_many_draws_is_the_grey_image():
    grey = torch.linspace(-1, 1, 9).view(1, 1, 3, 3)
    rng = make_rng(0)
    draws = torch.cat([binarise(grey, rng) for _ in range(4000)])
    assert set(draws.unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(draws.mean(0), grey[0], atol=4 / 4000**0.5, rtol=0)
    # black stays black, white stays white
    assert (draws[:, 0, 0, 0] == -1).all() and (draws[:, 0, 2, 2] == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_generators_draw_equal_images_of_the_same_type(dtype, batch):
    images = batch.images.to(dtype)
    first, again, other = (binarise(images, make_rng(seed)) for seed in (0, 0, 1))
    assert first.dtype == dtype and torch.equal(first, again) and not torch.equal(first, other)


def test_training_draws_anew_at_every_step_and_before_the_encoder(batch):
    model, plain = build(DYNAMIC), build(CONFIG)
    rng = make_rng(3)
    first = model.loss(batch, rng=rng)["loss"]
    second = model.loss(batch, rng=rng)["loss"]
    again = make_rng(3)
    for loss in (first, second):
        images = binarise(batch.images, again)
        assert torch.equal(loss, plain.loss(Batch(images, batch.labels), rng=again)["loss"])
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"binarisation": "static"}, "binarisation: expected none or dynamic, got 'static'"),
        (
            {"binarisation": "dynamic", "likelihood": "gaussian"},
            "likelihood: expected 'bernoulli' where binarisation is 'dynamic', got 'gaussian'",
        ),
        ({"num_importance_samples": 0}, "num_importance_samples: expected at least 1, got 0"),
        (
            {"num_importance_samples": 2, "beta": 0.5},
            "beta: expected 1 where num_importance_samples is above 1, got 0.5",
        ),
        (
            {"num_importance_samples": 2, "free_bits": 0.5},
            "free_bits: expected 0 where num_importance_samples is above 1, got 0.5",
        ),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(CourseError) as error:
        replace(CONFIG, **changes)
    assert message in str(error.value)


# The log-probability


def pixels_and_logits(shape: tuple[int, ...], num_pixels: int = 48, scale: float = 5.0):
    x = torch.rand(shape[-1], num_pixels, generator=make_rng(0), dtype=torch.float64)
    return x, scale * torch.randn(*shape, num_pixels, generator=make_rng(1), dtype=torch.float64)


@pytest.mark.parametrize("num_pixels", [1, 7, 16, 24, 784])
@pytest.mark.parametrize("shape", [(4,), (3, 4)], ids=str)
def test_bernoulli_log_likelihood_is_minus_the_cross_entropy(shape, num_pixels):
    x, logits = pixels_and_logits(shape, num_pixels)
    oracle = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(
        -1
    )
    torch.testing.assert_close(bernoulli_log_likelihood(x, logits), oracle)


@pytest.mark.parametrize("shape", [(4,), (3, 4)], ids=str)
def test_its_gradient_is_that_of_finite_differences(shape):
    x, logits = pixels_and_logits(shape, num_pixels=6)
    assert torch.autograd.gradcheck(
        bernoulli_log_likelihood, (x.requires_grad_(), logits.requires_grad_())
    )


@pytest.mark.parametrize("scale", [0.1, 5.0, 100.0, 1000.0])
def test_the_faster_logarithm_changes_nothing_in_float32(scale):
    logits = scale * torch.randn(20, 784, generator=make_rng(1))
    oracle = torch.logaddexp(logits.double(), torch.zeros((), dtype=torch.float64)).sum(1)
    torch.testing.assert_close(sum_softplus(logits).double(), oracle, rtol=2e-6, atol=2e-4)


# The objective


def draws_of_gradient(model, batch, num_draws: int) -> dict[str, torch.Tensor]:
    """Returns the gradients of the last encoder and decoder layers for independent draws of z,
    `[num_draws, ...]`.
    """
    layers = {"encoder": model.encoder[1][-1].weight, "decoder": model.decoder[0][-1].weight}
    rows = {name: [] for name in layers}
    rng = make_rng(4)
    for _ in range(num_draws):
        loss = model.loss(batch, rng=rng)["loss"].mean()
        for name, gradient in zip(layers, torch.autograd.grad(loss, list(layers.values()))):
            rows[name].append(gradient)
    return {name: torch.stack(values) for name, values in rows.items()}


@pytest.mark.parametrize("num_importance_samples", [2, 7])
def test_importance_weighted_loss_is_minus_the_bound(num_importance_samples, batch):
    model = build(replace(CONFIG, num_importance_samples=num_importance_samples))
    terms = model.loss(batch, rng=make_rng(5))
    weights = model.log_weights(batch.images, num_importance_samples, rng=make_rng(5))
    torch.testing.assert_close(
        terms["loss"], math.log(num_importance_samples) - weights.logsumexp(0)
    )
    torch.testing.assert_close(terms["negative_elbo"], terms["reconstruction"] + terms["kl"])
    assert (terms["loss"] < -weights.mean(0)).all()


def test_doubly_reparameterised_gradient_equals_the_plain_one_on_average_with_less_noise(
    batch, monkeypatch
):
    model = build(replace(CONFIG, num_importance_samples=4))
    ours = draws_of_gradient(model, batch, 600)

    def plain_loss(images, mu, logvar, rng):
        return {"loss": math.log(4) - model.log_weights(images, 4, rng=rng).logsumexp(0)}

    monkeypatch.setattr(model, "_importance_weighted_loss", plain_loss)
    plain = draws_of_gradient(model, batch, 600)
    for name in ours:
        error = ((ours[name].var(0) + plain[name].var(0)) / 600).sqrt()
        deviation = (ours[name].mean(0) - plain[name].mean(0)).abs() / error
        assert deviation.square().mean() < 1.5, (
            f"{name}: {deviation.square().mean()} is not about 1"
        )
    # draw by draw: only the encoder's gradient is another
    torch.testing.assert_close(ours["decoder"], plain["decoder"])
    assert ours["encoder"].var(0).sum() < 0.7 * plain["encoder"].var(0).sum()
