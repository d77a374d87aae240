"""Drawing from every family: labels at the frequencies of the training set where a model takes
them, and what a drawing costs.
"""

from __future__ import annotations

import time

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.models.dcgan import DCGANConfig
from course_utils.models.diffusion.model import DiffusionConfig
from course_utils.models.gaussian import GaussianConfig
from course_utils.models.vae import VAEConfig
from course_utils.studies.draw import (
    DRAWING,
    draw_images,
    drawing_seconds,
    label_frequencies,
    network_calls,
    sample_in_batches,
)
from course_utils.training.registry import build

UNIFORM = torch.full((10,), 0.1, dtype=torch.float64)
CONFIGS = {
    "vae": (VAEConfig(hidden_dims=(8,), latent_dim=2), False, 1),
    "dcgan": (DCGANConfig(generator_width=4, discriminator_width=4), True, 1),
    "dcgan, no labels": (
        DCGANConfig(generator_width=4, discriminator_width=4, conditional=False),
        False,
        1,
    ),
    "diffusion": (
        DiffusionConfig(channels=(8,), embed_dim=8, num_steps=3, guidance_scale=1.0),
        True,
        3,
    ),
    "diffusion, heun": (
        DiffusionConfig(
            channels=(8,), embed_dim=8, num_steps=3, guidance_scale=1.0, sampler="heun"
        ),
        True,
        5,
    ),
    "diffusion, guided": (
        DiffusionConfig(channels=(8,), embed_dim=8, num_steps=3, guidance_scale=2.0),
        True,
        6,
    ),
    "diffusion, null": (
        DiffusionConfig(
            channels=(8,), embed_dim=8, num_steps=3, guidance_scale=1.0, unlabelled="null"
        ),
        False,
        3,
    ),
    "gaussian": (GaussianConfig(latent_dim=2), False, 1),
}
each = pytest.mark.parametrize("name", CONFIGS)


@each
def test_network_calls_are_counted(name):
    config, _, num_calls = CONFIGS[name]
    model = build(config).eval()
    assert network_calls(model) == num_calls
    assert not any(part._forward_pre_hooks for part in model.modules())


@each
def test_labels_go_to_models_that_take_them_at_the_given_frequencies(name, monkeypatch):
    config, told, _ = CONFIGS[name]
    model, seen = build(config).eval(), []

    def sample(n, *, labels=None, rng=None):
        seen.append(labels)
        return torch.zeros(n, 1, 28, 28)

    monkeypatch.setattr(model, "sample", sample)
    frequencies = torch.tensor([0.5, 0, 0.5, *[0] * 7], dtype=torch.float64)
    assert model.needs_labels is told and len(draw_images(model, 1200, frequencies)) == 1200
    if told:
        labels = torch.cat(seen)
        assert (
            set(labels.tolist()) == {0, 2}
            and abs((labels == 0).double().mean() - 0.5) < 4 * (0.25 / 1200) ** 0.5
        )
    else:
        assert seen == [None] * 3


@each
def test_labels_that_a_model_draws_are_those_of_its_images(name):
    """A conditional model draws each class equally often, the Gaussian as often as in training."""
    model, told = build(CONFIGS[name][0]).eval(), CONFIGS[name][1]
    if name == "gaussian":
        share = torch.tensor([0.5, 0.25, 0.25, *[1e-9] * 7])
        with torch.no_grad():
            model.class_logits.copy_(share.log())
    labels = model.draw_labels(3000, rng=make_rng(0))
    if not told and name != "gaussian":
        assert labels is None
        return
    assert labels.dtype == torch.int64 and torch.equal(
        labels, model.draw_labels(3000, rng=make_rng(0))
    )
    found = torch.bincount(labels, minlength=10) / 3000
    wanted = share if name == "gaussian" else torch.full((10,), 0.1)
    assert (found - wanted).abs().max() < 4 * (0.25 / 3000) ** 0.5
    images = sample_in_batches(model, 6, rng=make_rng(1), labels=labels[:6])
    again = sample_in_batches(model, 6, rng=make_rng(1), labels=labels[:6].flip(0))
    assert images.shape == (6, 1, 28, 28) and not torch.equal(images, again)


@each
def test_images_are_those_of_the_model_and_repeat(name):
    model = build(CONFIGS[name][0]).eval()
    images, again, other = (draw_images(model, 6, UNIFORM, seed=seed) for seed in (1, 1, 2))
    assert images.dtype == torch.uint8 and images.shape == (6, 1, 28, 28)
    assert torch.equal(images, again) and not torch.equal(images, other)


def test_a_model_without_labels_is_sampled_as_it_is():
    model = build(CONFIGS["vae"][0]).eval()
    assert torch.equal(
        draw_images(model, 7, UNIFORM, seed=3),
        signed_to_uint8(model.sample(7, rng=make_rng(3, DRAWING))),
    )


def test_seconds_are_those_of_the_drawing(monkeypatch):
    model = build(CONFIGS["vae"][0]).eval()
    monkeypatch.setattr(
        model, "sample", lambda n, **_: time.sleep(0.05) or torch.zeros(n, 1, 28, 28)
    )
    images, seconds = drawing_seconds(model, 600, UNIFORM)
    assert len(images) == 600 and seconds >= 0.1  # two calls


def test_frequencies_add_up():
    assert label_frequencies(torch.tensor([0, 2, 2, 1]), 4).tolist() == [0.25, 0.25, 0.5, 0]


def test_no_images_are_refused():
    with pytest.raises(CourseError, match="number of samples"):
        draw_images(build(CONFIGS["vae"][0]), 0, UNIFORM)
