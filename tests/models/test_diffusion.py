"""The diffusion model: its loss by hand, its network, its samples and their labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from materials import make_dataset

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import uint8_to_signed
from course_utils.models.base import Batch
from course_utils.models.diffusion.model import (
    MARGIN,
    Diffusion,
    DiffusionConfig,
    draw_times,
    loss_weights,
)
from course_utils.models.diffusion.samplers import time_grid
from course_utils.models.diffusion.schedules import (
    SCHEDULES,
    TARGETS,
    make_schedule,
    make_target,
    weights_of,
)
from course_utils.models.diffusion.unet import UNet, time_features
from course_utils.training.registry import build

TINY = DiffusionConfig(image_size=8, num_classes=3, channels=(8, 16), embed_dim=16, num_steps=3)
NULL = TINY.null_label


@pytest.fixture(scope="module")
def model() -> Diffusion:
    return build(TINY, 1).eval()


def batch(num=6, config=TINY):
    data = make_dataset(config.image_shape, num_train=num, num_test=2)
    return Batch(
        uint8_to_signed(data.train_images), data.train_labels.clamp(max=config.num_classes - 1)
    )


def with_network(config, function) -> Diffusion:
    """Returns a model whose network is a plain function of x_t, t and labels."""
    model = build(config)
    del model.network
    object.__setattr__(model, "network", function)
    return model


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_loss_is_the_squared_error_of_the_target(schedule, target):
    """By hand, for a network that answers 0 and tells what it was asked."""
    seen = {}

    def silent(xt, t, labels):
        seen.update(xt=xt, t=t, labels=labels)
        return 0 * xt

    model = with_network(replace(TINY, schedule=schedule, target=target, label_dropout=0.0), silent)
    given = batch()
    terms = model.loss(given, rng=make_rng(0))
    assert torch.equal(seen["labels"], given.labels)
    alpha, sigma = (
        factor(seen["t"].double())[:, None, None, None]
        for factor in (model.schedule.alpha, model.schedule.sigma)
    )
    eps = (seen["xt"].double() - alpha * given.images) / sigma
    a, b = weights_of(target, alpha, sigma)
    expected = (a * given.images + b * eps).square().mean((1, 2, 3))
    torch.testing.assert_close(terms["loss"].double(), expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(terms["loss"], terms["target_mse"]) and (terms["x0_mse"] <= 4).all()


def test_network_with_the_answer_has_no_loss():
    """A network that returns the true target is right in all terms."""
    given, schedule = batch(), make_schedule("cosine")

    def oracle(xt, t, labels):
        alpha, sigma = schedule.at(t, xt)
        return make_target("v", schedule, given.images, (xt - alpha * given.images) / sigma, t)

    model = with_network(replace(TINY, target="v", schedule="cosine"), oracle)
    terms = model.loss(given, rng=make_rng(0))
    assert terms["loss"].max() < 1e-6 and terms["x0_mse"].max() < 1e-6


@pytest.mark.parametrize(("dropout", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_labels_are_hidden_as_often_as_asked(dropout, share):
    model = build(replace(TINY, label_dropout=dropout))
    labels = model._with_dropout(torch.arange(3).repeat(2000), make_rng(0))
    assert (labels == NULL).float().mean().item() == pytest.approx(share, abs=0.03)
    kept = labels != NULL
    assert torch.equal(labels[kept], torch.arange(3).repeat(2000)[kept])


def test_times_fill_their_distribution():
    like = torch.zeros(())
    uniform, normal = (
        draw_times(4000, name, make_rng(0), like) for name in ("uniform", "logit-normal")
    )
    quantiles = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    torch.testing.assert_close(uniform.quantile(quantiles), quantiles, atol=2e-3, rtol=0)
    expected = torch.sigmoid(torch.distributions.Normal(0.0, 1.0).icdf(quantiles))
    torch.testing.assert_close(normal.quantile(quantiles), expected, atol=2e-3, rtol=0)
    assert uniform.min() >= MARGIN and uniform.max() <= 1 - MARGIN
    one = torch.cat([draw_times(1, "uniform", make_rng(0, seed), like) for seed in range(2000)])
    assert one.mean().item() == pytest.approx(0.5, abs=0.03) and one.std().item() == pytest.approx(
        12**-0.5, abs=0.02
    )


@pytest.mark.parametrize(
    "schedule",
    [make_schedule(name) for name in sorted(SCHEDULES)],
    ids=lambda schedule: schedule.name,
)
def test_min_snr_weighs_the_error_of_the_image(schedule):
    """Published weights: min(SNR, 5) for x0, over SNR for eps, over SNR + 1 for v (where alpha² +
    sigma² = 1).
    """
    t = torch.tensor([0.05, 0.3, 0.6, 0.95], dtype=torch.float64)
    snr = schedule.log_snr(t).exp()
    expected = {"x0": snr.clamp(max=5), "eps": snr.clamp(max=5) / snr}
    if schedule.preserves_variance:
        expected["v"] = snr.clamp(max=5) / (snr + 1)
    for target, weights in expected.items():
        torch.testing.assert_close(
            loss_weights("min-snr", target, schedule, t, t), weights, rtol=1e-6, atol=1e-9
        )
    assert torch.equal(
        loss_weights("none", "eps", schedule, t, t), torch.ones(4, dtype=torch.float64)
    )


def test_weighted_loss_is_weight_times_error():
    plain, weighted = (
        build(replace(TINY, loss_weighting=name)).loss(batch(), rng=make_rng(0))
        for name in ("none", "min-snr")
    )
    assert torch.equal(plain["target_mse"], weighted["target_mse"]) and not torch.equal(
        plain["loss"], weighted["loss"]
    )


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_prediction_adds_up_to_what_was_given(target):
    model = build(replace(TINY, target=target)).eval()
    xt, t = torch.randn(4, 1, 8, 8, generator=make_rng(0)), torch.tensor([0.2, 0.4, 0.6, 0.8])
    with torch.no_grad():
        estimate = model.predict(xt, t, torch.zeros(4).long())
    torch.testing.assert_close(
        model.schedule.noised(estimate.x0, estimate.eps, t), xt, atol=1e-4, rtol=1e-4
    )


def test_no_label_is_the_null_label(model):
    xt, t = torch.randn(2, 1, 8, 8, generator=make_rng(0)), torch.full((2,), 0.5)
    without, null = (model.predict(xt, t, labels).x0 for labels in (None, torch.full((2,), NULL)))
    assert torch.equal(without, null) and not torch.equal(
        without, model.predict(xt, t, torch.zeros(2).long()).x0
    )


@pytest.mark.parametrize("sampler", ["euler", "ddpm"])
def test_an_image_depends_on_neither_the_number_nor_the_batches(model, sampler, monkeypatch):
    labels = torch.arange(7) % 3
    whole = model.sample(7, labels=labels, rng=make_rng(3), sampler=sampler)
    fewer = model.sample(3, labels=labels[:3], rng=make_rng(3), sampler=sampler)
    monkeypatch.setattr("course_utils.models.diffusion.model.IMAGES_PER_CALL", 2)
    pieces = model.sample(7, labels=labels, rng=make_rng(3), sampler=sampler)
    torch.testing.assert_close(whole[:3], fewer, atol=1e-5, rtol=0)
    torch.testing.assert_close(whole, pieces, atol=1e-5, rtol=0)


def test_only_its_own_label_changes_an_image(model):
    first, second = (
        model.sample(2, labels=torch.tensor(labels), rng=make_rng(3)) for labels in ([0, 1], [0, 2])
    )
    torch.testing.assert_close(first[0], second[0], atol=1e-5, rtol=0)
    assert not torch.allclose(first[1], second[1], atol=1e-5)


def test_without_labels_the_config_decides(model):
    drawn = model.sample(12, rng=make_rng(5))
    each = [
        model.sample(12, labels=torch.full((12,), label), rng=make_rng(5))
        for label in (*range(3), NULL)
    ]
    same = torch.tensor(
        [[torch.allclose(a, b, atol=1e-5) for a, b in zip(drawn, images)] for images in each]
    )
    assert same[:3].any(0).all() and same[:3].any(1).all() and not same[3].any(), (
        "every class is drawn, no label never is"
    )
    null = build(replace(TINY, unlabelled="null"), 1).eval()
    torch.testing.assert_close(null.sample(12, rng=make_rng(5)), each[3])


def test_trace_says_what_it_cost_and_ends_in_the_sample(model):
    labels = torch.zeros(2).long()
    traced = model.trace(2, 5, labels=labels, rng=make_rng(0), guidance_scale=2.0)
    assert traced.num_calls == 10 and len(traced.xts) == 6 and traced.xts[0].shape == (2, 1, 8, 8)
    assert torch.equal(
        traced.x, model.sample(2, num_steps=5, labels=labels, rng=make_rng(0), guidance_scale=2.0)
    )
    assert (
        model.trace(
            2, 5, "heun", labels=labels, rng=make_rng(0), guidance_scale=1.0, trajectory=False
        ).num_calls
        == 9
    )
    assert all(x0.abs().max() <= 1 for x0 in traced.x0s), (
        "what is seen is an image, under guidance too"
    )


def test_edit_keeps_the_image_where_little_noise_was_added(model):
    images = batch(4).images
    distances = [
        (model.edit(images, strength, rng=make_rng(0), labels=torch.zeros(4).long()).x - images)
        .square()
        .mean()
        for strength in (0.05, 1.0)
    ]
    assert distances[0] < 0.05 * distances[1]
    traced = model.edit(images, 0.4, rng=make_rng(0), num_steps=4, trajectory=True)
    assert traced.times.tolist() == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])
    noise = (traced.xts[0] - 0.6 * images) / 0.4
    assert noise.mean().item() == pytest.approx(
        0, abs=0.25
    ) and noise.std().item() == pytest.approx(1, abs=0.25)


def test_eps_starts_just_below_pure_noise():
    """At t = 1 of the flow an eps-prediction would be divided by alpha = 0."""
    model = build(replace(TINY, target="eps")).eval()
    traced = model.trace(3, rng=make_rng(0))
    assert traced.times[0] == 0.999 and torch.isfinite(traced.x).all()
    assert build(TINY).trace(3, rng=make_rng(0)).times[0] == 1


def test_own_times_are_taken(model):
    times = time_grid(4, "quadratic")
    assert torch.equal(model.trace(1, times=times, rng=make_rng(0)).times, times)


@pytest.mark.parametrize("size", [4, 6, 10, 14, 26])
@pytest.mark.parametrize("patch_size", [1, 2])
def test_network_takes_every_even_size(size, patch_size):
    network = UNet(3, (8, 8), patch_size=patch_size, embed_dim=8, num_embeddings=4, num_blocks=2)
    out = network(torch.randn(2, 3, size, size), torch.tensor([0.1, 0.9]), torch.tensor([0, 3]))
    assert out.shape == (2, 3, size, size) and torch.isfinite(out).all()


def test_network_hears_the_time_and_the_label():
    network = UNet(1, (8, 8), embed_dim=8, num_embeddings=4)
    x, t, labels = torch.randn(1, 1, 8, 8), torch.tensor([0.3]), torch.tensor([1])
    base = network(x, t, labels)
    assert not torch.allclose(base, network(x, t + 0.2, labels)) and not torch.allclose(
        base, network(x, t, labels + 1)
    )
    assert torch.equal(base, network(x, t, labels))


def test_attention_lets_far_places_talk():
    """Without attention a pixel at one corner cannot reach the other corner of a wide map through
    few convolutions.
    """

    def reach(attention):
        torch.manual_seed(0)
        network = UNet(1, (8,), patch_size=1, embed_dim=8, num_embeddings=2, attention=attention)
        x = torch.zeros(1, 1, 40, 40, requires_grad=True)
        # normalisation would carry the corner everywhere by itself
        for module in network.modules():
            if isinstance(module, torch.nn.GroupNorm):
                module.forward = lambda value: value
        network(
            x + torch.randn(1, 1, 40, 40, generator=make_rng(0)),
            torch.tensor([0.5]),
            torch.tensor([0]),
        )[0, 0, 0, 0].backward()
        return x.grad[0, 0, -1, -1].abs().item()

    assert reach(False) == 0 and reach(True) > 0


def test_time_features_tell_times_apart():
    features = time_features(torch.tensor([0.0, 0.001, 0.5, 1.0]), 16)
    assert features.shape == (4, 16) and features[0].tolist() == [0.0] * 8 + [1.0] * 8
    assert features[1, 0].item() == pytest.approx(0.84147, abs=1e-3), (
        "a thousandth is one step, an angle of 1"
    )
    assert torch.cdist(features, features).fill_diagonal_(1).min() > 0.1


def test_preset_is_of_the_size_that_the_course_promises():
    bytes_shipped = 2 * 2 * build(DiffusionConfig()).num_parameters  # float16, for two datasets
    assert bytes_shipped < 4_000_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_size": 9},
            r"image_size: expected a multiple of patch_size \(2\); 1 suits all, got 9",
        ),
        ({"image_size": 6}, "image_size: expected at least 8 pixels"),
        ({"channels": ()}, "channels: expected at least one positive size"),
        ({"embed_dim": 7}, "embed_dim: expected an even number"),
        ({"label_dropout": 1.5}, "label_dropout: expected 0 to 1"),
        ({"num_steps": 0}, "num_steps: expected at least 1"),
        ({"guidance_scale": -1.0}, "guidance_scale: expected 0 or more"),
        ({"num_blocks": 0}, "num_blocks: expected at least 1"),
        ({"patch_size": 0}, "patch_size: expected at least 1"),
        ({"num_classes": 0}, "num_classes: expected at least 1"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(CourseError, match=message):
        replace(TINY, **changes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            torch.zeros(3).long(),
            r"labels: expected int64 \[2\] from 0 to 2 \(3: no label\), got torch.int64 \[3\]",
        ),
        (torch.zeros(2), r"got torch.float32 \[2\]"),
        (torch.tensor([0, 4]), "with values from 0 to 4"),
        ([0, 1], r"got \[0, 1\]"),
    ],
)
def test_bad_labels_are_refused(model, labels, message):
    with pytest.raises(CourseError, match=message):
        model.sample(2, labels=labels, rng=make_rng(0))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda model: model.sample(2, num_steps=0),
            "num_steps: expected a whole number of at least 1, got 0",
        ),
        (lambda model: model.sample(2, sampler="rk4"), "unknown sampler 'rk4'"),
        (lambda model: model.sample(2, guidance_scale=-1.0), "guidance_scale: expected 0 or more"),
        (lambda model: model.edit(torch.zeros(1, 1, 8, 8), 0.0), "start: expected above 0"),
        (
            lambda model: model.edit(torch.full((1, 1, 8, 8), 3.0), 0.5),
            r"expected images in \[-1, 1\]",
        ),
        (
            lambda model: model.predict(torch.zeros(1, 1, 9, 9), torch.ones(1)),
            r"expected images of shape \[B, 1, 8, 8\], got \[1, 1, 9, 9\]",
        ),
        (
            lambda model: draw_times(2, "normal", None, torch.zeros(())),
            "unknown time_sampling 'normal'",
        ),
        (
            lambda model: loss_weights("snr", "eps", model.schedule, torch.ones(1), torch.ones(1)),
            "unknown loss_weighting 'snr'",
        ),
    ],
)
def test_bad_input_has_its_message(model, act, message):
    with pytest.raises(CourseError, match=message):
        act(model)
