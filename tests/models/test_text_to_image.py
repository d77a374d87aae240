"""Text to image: captions decide what is drawn, guidance and negative prompts do what their formula
says, and the spaces that the flow draws in.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from toys import TINY_TEXT_TO_IMAGE as TINY

from course_utils.base.device import ImageNoise, make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import uint8_to_signed
from course_utils.data.dataset import Dataset
from course_utils.models.base import Batch
from course_utils.models.diffusion.samplers import time_grid
from course_utils.models.text_to_image import Autoencoder, CrossAttention
from course_utils.training.fit import fit, loss_terms
from course_utils.training.presets import preset
from course_utils.training.registry import build

PIXEL = replace(TINY, space="pixel")


def made(config=TINY, seed=0):
    """Returns a model in evaluation whose network says more than at its start."""
    model = build(config, seed).eval()
    with torch.no_grad():
        model.flow.out.weight.mul_(10)
    return model


def flat_pictures(num=96):
    """Returns dark and light pictures, each with a caption that says which it is."""
    light = torch.arange(num) % 2
    images = (40 + 170 * light).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    captions = tuple("light white" if each else "dark" for each in light.tolist())
    return Dataset(
        "flat",
        images,
        torch.zeros(num).long(),
        images[:20],
        torch.zeros(20).long(),
        ("all",),
        "made by the test",
        train_captions=captions,
        test_captions=captions[:20],
    )


def test_a_training_teaches_what_the_words_mean():
    dataset = flat_pictures()
    experiment = preset("text-to-image", "laptop").changed(
        train__num_epochs=20,
        train__batch_size=32,
        train__num_validation_images=2,
        train__ema_decay=None,
    )
    experiment = replace(experiment, model=PIXEL).fitted_to(dataset)
    assert experiment.model.vocabulary == "dark light white"
    model = build(experiment.model)
    history = fit(model, dataset, experiment.train)
    model.eval()
    assert history.rows[-1]["part"] == "flow"
    dark, light = (
        model.sample(8, captions=text, rng=make_rng(0)).mean((1, 2, 3))
        for text in ("dark", "light white")
    )
    assert dark.max() < 0 < light.min()
    # with equal noise, hidden captions make the velocity harder to guess
    options = {"part": "flow"}
    known, hidden = (
        loss_terms(model, dataset.test_images, dataset.test_labels, captions=some, **options)
        for some in (dataset.test_captions, ())
    )
    assert known["loss"].mean() < hidden["loss"].mean() - 0.02


@pytest.mark.parametrize("config", [TINY, PIXEL], ids=["latent", "pixel"])
def test_guidance_and_the_negative_caption_follow_their_formula(config):
    model = made(config)
    sampled = model.sample(
        2, captions=["dark", "white"], negative="light", guidance_scale=3.0, rng=make_rng(1)
    )
    # Euler's method once more, with one call of the network for each caption
    x = ImageNoise(2, make_rng(1)).normal(config.latent_shape, torch.zeros(1))
    tokens, away = (
        model.tokenizer.encode(some) for some in (["dark", "white"], ["light", "light"])
    )
    times = time_grid(config.num_steps).tolist()
    with torch.no_grad():
        for now, then in zip(times, times[1:]):
            t = torch.full((2,), now)
            wanted, unwanted = model.flow(x, t, tokens), model.flow(x, t, away)
            x = x + (then - now) * (3.0 * wanted - 2.0 * unwanted)
        expected = model.codec.decode(x).clamp(-1, 1)
    torch.testing.assert_close(sampled, expected, atol=1e-4, rtol=0)


def test_without_a_caption_guidance_changes_nothing_and_words_do():
    model = made()
    draw = [
        model.sample(2, rng=make_rng(0), **options)
        for options in (
            {},
            {"captions": ""},
            {"guidance_scale": 7.0},
            {"captions": "dark", "negative": "dark"},
            {"captions": "dark", "guidance_scale": 1.0},
            {"captions": "white", "guidance_scale": 1.0},
        )
    ]
    assert torch.equal(draw[0], draw[1]) and torch.equal(draw[0], draw[2])
    torch.testing.assert_close(draw[3], draw[4])
    assert not torch.allclose(draw[4], draw[5], atol=1e-3)


def test_an_image_depends_on_its_own_caption_and_not_on_the_others():
    model = made()
    several = model.sample(3, captions=["dark", "white", "light"], rng=make_rng(0))
    fewer = model.sample(2, captions=["dark", "black"], rng=make_rng(0))
    torch.testing.assert_close(several[0], fewer[0])
    assert not torch.allclose(several[1], fewer[1], atol=1e-3)


def test_room_for_more_words_changes_nothing():
    model = made()
    x, t = torch.randn(2, *TINY.latent_shape, generator=make_rng(0)), torch.tensor([0.2, 0.9])
    short = model.tokenizer.encode(["dark", "white light"])
    with torch.no_grad():
        codes, present = model.flow.text(short)
        assert present.tolist() == [[True, True, False, False], [True, True, True, False]]
        cross = model.flow.last_cross
        h = model.flow.stem(x)
        weights = cross.weights(h, codes, present)
        scrambled = torch.where(present[..., None], codes, torch.randn(codes.shape))
        torch.testing.assert_close(cross(h, codes, present), cross(h, scrambled, present))
    assert weights.shape == (2, 2, 2, 4) and (weights[0, ..., 2:] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 2))
    maps = model.flow.attention_weights(x, t, short)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 2, 2))


def test_words_reach_the_network_by_two_ways():
    """By cross-attention, and by the code of the whole caption that joins that of time."""
    x, t = torch.randn(2, *TINY.latent_shape, generator=make_rng(0)), torch.tensor([0.2, 0.9])
    captions = ["dark", "white light"], ["light", "white dark"]
    for silent in (("crosses", "last_cross"), ("down", "blocks", "middle", "last")):
        model = made()
        with torch.no_grad():
            for name, weight in model.flow.named_parameters():
                if name.startswith(silent) and ("film" in name or ".out." in name):
                    weight.zero_()
            first, second = (model.flow(x, t, model.tokenizer.encode(some)) for some in captions)
        assert not torch.allclose(first, second, atol=1e-4), silent


def test_cross_attention_is_that_of_torch():
    torch.manual_seed(0)
    cross = CrossAttention(32, 16)
    oracle = torch.nn.MultiheadAttention(32, cross.num_heads, kdim=16, vdim=16, batch_first=True)
    x, codes = torch.randn(2, 32, 3, 3), torch.randn(2, 5, 16)
    present = torch.tensor([[True] * 5, [True, True, False, False, False]])
    with torch.no_grad():
        oracle.q_proj_weight.copy_(cross.queries.weight[:, :, 0, 0])
        oracle.k_proj_weight.copy_(cross.keys_values.weight[:32])
        oracle.v_proj_weight.copy_(cross.keys_values.weight[32:])
        biases = [cross.queries.bias, *cross.keys_values.bias.chunk(2)]
        oracle.in_proj_bias.copy_(torch.cat(biases))
        oracle.out_proj.weight.copy_(cross.out.weight[:, :, 0, 0])
        oracle.out_proj.bias.copy_(cross.out.bias)
        queries = cross.norm(x).flatten(2).transpose(1, 2)
        mixed, weights = oracle(queries, codes, codes, key_padding_mask=~present)
        expected = x + mixed.transpose(1, 2).reshape(x.shape)
        torch.testing.assert_close(cross(x, codes, present), expected)
        torch.testing.assert_close(cross.weights(x, codes, present).flatten(1, 2), weights)


def test_latents_are_normalised_by_what_was_watched():
    torch.manual_seed(0)
    codec = Autoencoder(TINY)
    images = 2 * torch.rand(400, 1, 8, 8) - 1
    with torch.no_grad():
        mean = codec.moments(images)[0]
        raw = 5 + 3 * mean / mean.std((0, 2, 3))[:, None, None]
        for _ in range(1200):
            codec.watch(raw)
        normalised = (raw - codec.mean) / codec.std
        assert normalised.mean((0, 2, 3)).abs().max() < 1e-3
        torch.testing.assert_close(normalised.std((0, 2, 3)), torch.ones(2), atol=1e-2, rtol=0)
        torch.testing.assert_close(
            codec.decode(codec.encode(images)), codec.decoder(codec.moments(images)[0])
        )


def test_the_divergence_is_that_of_torch_and_moments_move_in_training_only():
    model = made()
    images = 2 * torch.rand(3, 1, 8, 8, generator=make_rng(0)) - 1
    batch = Batch(images, torch.zeros(3).long())
    terms = model.loss(batch, "autoencoder", rng=make_rng(0))
    mean, log_variance = model.codec.moments(images)
    latents = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(latents, Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(terms["kl"], expected.detach())
    assert model.codec.mean.abs().max() == 0
    model.train().loss(batch, "autoencoder", rng=make_rng(0))
    assert model.codec.mean.abs().max() > 0


def tiny_training(dataset, num_epochs, autoencoder_share):
    """Returns an experiment in which the autoencoder has a share of the steps."""
    experiment = preset("text-to-image", "laptop").changed(
        train__num_epochs=num_epochs,
        train__batch_size=16,
        train__num_validation_images=0,
        train__ema_decay=None,
    )
    config = replace(TINY, autoencoder_share=autoencoder_share)
    return replace(experiment, model=config).fitted_to(dataset)


def test_the_autoencoder_is_trained_first_and_the_latent_space_is_fixed_then():
    dataset = flat_pictures()
    experiment = tiny_training(dataset, num_epochs=3, autoencoder_share=0.5)
    model = build(experiment.model)
    seen = []

    def watch(model, history):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})

    history = fit(model, dataset, experiment.train, on_epoch=watch)
    # 18 steps: the autoencoder has 9, which end in the middle of the second epoch
    parts = [(row["epoch"], row["part"]) for row in history.rows]
    assert parts == [(1, "autoencoder"), (2, "autoencoder"), (2, "flow"), (3, "flow")]

    def moved(first, second, part):
        return any(
            not torch.equal(value, second[name])
            for name, value in first.items()
            if name.startswith(part)
        )

    start = build(experiment.model).state_dict()
    assert moved(start, seen[0], "codec") and not moved(start, seen[0], "flow")
    assert moved(seen[0], seen[1], "codec") and moved(seen[0], seen[1], "flow")
    assert not moved(seen[1], seen[2], "codec") and moved(seen[1], seen[2], "flow")
    # each part goes through the whole schedule: it ends where the learning rate is lowest
    rates = [row["learning_rate"] for row in history.rows]
    assert rates[0] == rates[2] < rates[1]


def test_the_autoencoder_rebuilds_what_it_was_trained_on():
    dataset = flat_pictures()
    experiment = tiny_training(dataset, num_epochs=20, autoencoder_share=0.9)
    model = build(experiment.model)
    images = uint8_to_signed(dataset.test_images)
    fit(model, dataset, experiment.train)
    with torch.no_grad():
        rebuilt = model.eval().codec.decode(model.codec.encode(images))
    assert (rebuilt - images).square().mean() < 0.02 < images.var() / 10


def test_empty_places_behind_the_captions_change_no_loss():
    model = made()
    images = 2 * torch.rand(3, 1, 8, 8, generator=make_rng(0)) - 1
    tokens = model.tokenizer.encode(["dark", "white", ""])
    expected = model.loss(Batch(images, torch.zeros(3).long(), tokens), "flow", rng=make_rng(0))
    shown = model.loss(Batch(images, torch.zeros(3).long(), tokens[:, :1]), "flow", rng=make_rng(0))
    torch.testing.assert_close(shown["loss"], expected["loss"])
    assert tokens.shape[1] == 3


@pytest.mark.parametrize("side", [8, 12, 28])
def test_the_network_takes_latents_of_odd_sides(side):
    config = replace(TINY, image_size=side)
    model = made(config)
    latents = torch.randn(2, *config.latent_shape, generator=make_rng(0))
    t, tokens = torch.tensor([0.1, 0.9]), model.tokenizer.encode(["dark", "white"])
    assert model.flow(latents, t, tokens).shape == latents.shape
    maps = model.flow.attention_weights(latents, t, tokens)
    assert maps.shape == (2, side // 4, side // 4, 4)
    assert model.sample(2, captions="dark", rng=make_rng(0)).shape == (2, 1, side, side)


def test_the_pixel_space_loses_nothing():
    codec = build(PIXEL).codec
    images = torch.randn(2, 1, 8, 8)
    assert codec.encode(images).shape == (2, *PIXEL.latent_shape) == (2, 16, 2, 2)
    assert torch.equal(codec.decode(codec.encode(images)), images)
    assert list(build(PIXEL).trainable_parts()) == ["flow"]


def test_editing_keeps_more_of_a_picture_the_lower_the_strength():
    model = made(PIXEL)
    images = 2 * torch.rand(4, 1, 8, 8, generator=make_rng(3)) - 1
    distances = [
        (model.edit(images, strength, captions="dark", rng=make_rng(0)) - images).square().mean()
        for strength in (0.05, 0.4, 1.0)
    ]
    assert distances[0] < 0.05 < distances[1] < distances[2]
    with pytest.raises(CourseError, match="strength: expected above 0"):
        model.edit(images, 0.0, captions="dark")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"captions": "dim"}, ["unknown word 'dim'; valid: black, dark, light, white"]),
        ({"captions": "dark", "negative": "drak"}, ["Did you mean 'dark'?"]),
        ({"captions": ["dark"] * 3}, ["one for each of 2 images, got 3"]),
        ({"captions": "dark dark dark dark"}, ["at most 3 words, got 4"]),
    ],
)
def test_captions_that_cannot_be_drawn_are_refused(options, words):
    with pytest.raises(CourseError) as caught:
        made().sample(2, **options)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    "changes", [{"image_size": 30}, {"embed_dim": 24}, {"channels": 7}], ids=str
)
def test_settings_that_do_not_fit_are_refused(changes):
    with pytest.raises(CourseError, match=f"{next(iter(changes))}: expected"):
        replace(TINY, **changes)
