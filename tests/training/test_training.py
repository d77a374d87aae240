"""The training loop: one step for every family, schedules, what goes wrong, and a resume that is
exact.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from materials import same_weights
from toys import CONFIG, Toy, ToyGAN, train

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.base.images import check_signed, uint8_to_signed
from course_utils.models.vae import VAE, VAEConfig
from course_utils.training.config import TrainConfig, learning_rate_at
from course_utils.training.fit import fit, loss_terms
from course_utils.training.registry import build

# The learning rate


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_learning_rate_starts_peaks_and_ends_where_it_should(schedule):
    config = TrainConfig(schedule=schedule, learning_rate=0.4, warmup_fraction=0.2)
    rates = [learning_rate_at(step / 1000, config) for step in range(1001)]
    assert max(rates) == pytest.approx(0.4)
    first, peak, last = {
        "one_cycle": (0.016, 200, 0.0),
        "cosine": (0.4, 0, 0.0),
        "constant": (0.4, 0, 0.4),
    }[schedule]
    assert (
        rates[0] == pytest.approx(first)
        and rates[peak] == pytest.approx(0.4)
        and rates[-1] == pytest.approx(last, abs=1e-9)
    )
    # no jump anywhere
    assert max(abs(b - a) for a, b in zip(rates, rates[1:], strict=False)) < 0.4 * 0.01


def test_the_schedule_is_what_the_optimizer_gets(dataset, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self, *a, **k: (rates.append(self.param_groups[0]["lr"]), step(self, *a, **k))[1],
    )
    history = fit(Toy(), dataset, CONFIG)
    assert rates == pytest.approx([learning_rate_at(step / 8, CONFIG) for step in range(8)])
    assert history.select("learning_rate") == pytest.approx([rates[0], rates[4]])


# One loop for every family


def test_history_has_a_row_for_each_epoch_and_split(dataset):
    history = fit(Toy(), dataset, CONFIG)
    assert [(row["epoch"], row["split"], row["part"]) for row in history.rows] == [
        (1, "train", "model"),
        (1, "test", "model"),
        (2, "train", "model"),
        (2, "test", "model"),
    ]
    assert {"loss", "noise", "seconds"} <= set(history.columns) and history.num_epochs == 2
    assert history.rows[0]["seconds"] <= history.rows[2]["seconds"] == history.seconds
    assert history.select("loss")[1] < history.select("loss")[0]


def test_two_parts_need_no_special_case(dataset):
    model = ToyGAN()
    before = {name: value.clone() for name, value in model.named_parameters()}
    history = fit(model, dataset, replace(CONFIG, num_epochs=1, ema_decay=0.5))
    assert model.order[:8] == ["discriminator", "generator"] * 4
    assert [(row["split"], row["part"]) for row in history.rows] == [
        ("train", "discriminator"),
        ("train", "generator"),
        ("test", "discriminator"),
        ("test", "generator"),
    ]
    assert "real" in history.rows[0] and "real" not in history.rows[1]
    assert all(not torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert history.select("loss", part="generator") != history.select("loss", part="discriminator")


def test_a_part_is_never_moved_by_the_other_ones_gradient(dataset):
    """With a generator that gets no gradient of its own, what the discriminator's loss leaves
    behind must not be applied.
    """

    class Frozen(ToyGAN):
        def loss(self, batch, part, *, rng=None):
            if part == "generator":
                return {"loss": 0 * self.generator(torch.zeros(len(batch.images), 2)).sum(1)}
            # no detach()
            leaking = self.discriminator(self.sample(len(batch.images), rng=rng)).squeeze(1)
            return {"loss": leaking}

    model = Frozen()
    before = model.generator.weight.clone()
    fit(model, dataset, replace(CONFIG, num_epochs=1, num_validation_images=0))
    assert torch.equal(model.generator.weight, before)


def test_every_image_is_seen_once_an_epoch_in_a_new_order(dataset):
    model = Toy()
    fit(model, dataset, replace(CONFIG, num_validation_images=0))
    first, second = (
        torch.cat([batch.images for batch in model.calls[start : start + 4]]).flatten(1).sum(1)
        for start in (0, 4)
    )
    assert len(first) == 256 and not torch.equal(first, second)
    torch.testing.assert_close(first.sort().values, second.sort().values)


def test_an_epoch_of_few_images_can_have_more_steps(dataset):
    """Every image is seen equally often, or once more; the first pass is that of a plain epoch."""
    few = replace(CONFIG, num_epochs=1, num_train_images=64, batch_size=32)
    plain, longer = Toy(), Toy()
    fit(plain, dataset, replace(few, num_validation_images=0))
    fit(longer, dataset, replace(few, num_validation_images=0, min_epoch_steps=5))
    assert len(plain.calls) == 2 and len(longer.calls) == 5
    for one, other in zip(plain.calls, longer.calls):
        assert torch.equal(one.images, other.images)
    seen = Counter(bytes(image.numpy()) for call in longer.calls for image in call.images)
    assert sorted(seen.values()) == [2] * 32 + [3] * 32
    many = replace(few, num_validation_images=0, min_epoch_steps=1)
    fit(again := Toy(), dataset, many)
    assert len(again.calls) == 2


def test_num_train_images_takes_a_random_subset(dataset):
    model = Toy()
    fit(model, dataset, replace(CONFIG, num_train_images=100, batch_size=50))
    seen = {bytes(image.numpy()) for batch in model.calls for image in batch.images}
    assert len(model.calls) == 4 and len(seen) == 100
    first_ones = {bytes(image.numpy()) for image in uint8_to_signed(dataset.train_images[:100])}
    assert seen != first_ones


def test_labels_stay_with_their_images(dataset):
    model = Toy()
    fit(model, dataset, replace(CONFIG, num_epochs=1))
    images, labels = (torch.cat([batch[index] for batch in model.calls]) for index in (0, 1))
    brightest = images.flatten(1).argmax(1)
    rows, columns = brightest // 28 >= 14, brightest % 28 >= 14
    # blobs on the border between two quadrants aside
    assert (2 * rows + columns == labels).float().mean() > 0.95


def test_augmentation_reaches_the_model_and_only_in_training(dataset):
    plain, moved = Toy(), Toy()
    fit(plain, dataset, replace(CONFIG, num_epochs=1))
    fit(moved, dataset, replace(CONFIG, num_epochs=1, augmentation="affine"))
    for before, after in zip(plain.calls, moved.calls, strict=True):
        assert torch.equal(before.labels, after.labels) and not torch.equal(
            before.images, after.images
        )
        check_signed(after.images)


def test_validation_uses_the_same_noise_and_images_each_time(dataset, tiny_vae):
    # the weights stand still, so only the noise could differ
    experiment = override(tiny_vae, {"train.learning_rate": 1e-30})
    _, history = train(experiment, dataset)
    assert len(set(history.select("loss", split="test"))) == 1
    assert len(set(history.select("loss", split="train"))) == 3


def test_evaluation_does_not_depend_on_the_training_mode_and_puts_it_back(dataset, tiny_classifier):
    model = build(tiny_classifier.model)
    for mode in (True, False):
        model.train(mode)
        values = loss_terms(model, dataset.test_images, dataset.test_labels, batch_size=10)
        assert (
            model.training is mode
            and values["loss"].shape == (64,)
            and not values["loss"].requires_grad
        )
    whole = loss_terms(model, dataset.test_images, dataset.test_labels)
    torch.testing.assert_close(values["loss"], whole["loss"])


def test_no_validation_images_means_no_rows(dataset):
    assert {
        row["split"] for row in fit(Toy(), dataset, replace(CONFIG, num_validation_images=0)).rows
    } == {"train"}


def gradient_norms(dataset, monkeypatch, **changes):
    norms = []
    step = torch.optim.AdamW.step

    def record(self, *arguments, **options):
        norms.append(
            torch.cat([p.grad.flatten() for p in self.param_groups[0]["params"]]).norm().item()
        )
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    fit(Toy(), dataset, replace(CONFIG, num_epochs=1, **changes))
    return norms


def test_gradient_clipping_limits_what_the_optimizer_sees(dataset, monkeypatch):
    free = gradient_norms(dataset, monkeypatch)
    limit = min(free) / 2
    assert gradient_norms(dataset, monkeypatch, max_grad_norm=limit) == pytest.approx(
        [limit] * 4, rel=1e-3
    )


def test_moving_average_is_what_comes_back_and_what_is_validated(dataset, tiny_vae):
    plain, _ = train(tiny_vae, dataset)
    seen = []
    averaged, history = train(
        override(tiny_vae, {"train.ema_decay": 0.9}),
        dataset,
        on_epoch=lambda model, _: seen.append(model.state_dict()["encoder.1.0.weight"].clone()),
    )
    assert not same_weights(plain, averaged)
    assert torch.equal(seen[-1], averaged.state_dict()["encoder.1.0.weight"])
    measured = loss_terms(
        averaged,
        *(getattr(dataset.subset(256, 32, 0), name) for name in ("test_images", "test_labels")),
    )
    assert history.select("loss", split="test")[-1] == pytest.approx(
        measured["loss"].mean().item(), rel=1e-6
    )


def test_moving_average_follows_its_definition(dataset):
    weights = []

    class Recording(Toy):
        def loss(self, batch, part="model", *, rng=None):
            if self.training:
                weights.append(self.mean.detach().clone())
            return super().loss(batch, part, rng=rng)

    final = Recording()
    fit(final, dataset, replace(CONFIG, num_epochs=1, ema_decay=0.8, num_validation_images=0))
    unaveraged = Recording()
    weights.clear()
    fit(unaveraged, dataset, replace(CONFIG, num_epochs=1, num_validation_images=0))
    steps = [*weights[1:], unaveraged.mean.detach()]  # the weights after each step
    average = steps[0]
    for value in steps[1:]:
        average = 0.8 * average + 0.2 * value
    torch.testing.assert_close(final.mean.detach(), average)


@pytest.mark.parametrize("name", ["tiny_vae", "tiny_classifier"])
def test_training_is_repeatable_and_the_seed_matters(dataset, request, name):
    torch.manual_seed(1)
    experiment = request.getfixturevalue(name)
    state = torch.get_rng_state()
    first, second = train(experiment, dataset)[0], train(experiment, dataset)[0]
    assert same_weights(first, second)
    assert not same_weights(first, train(replace(experiment, seed=1), dataset)[0])
    assert torch.equal(torch.get_rng_state(), state), "fit drew from the global generator"


def test_bf16_runs_and_is_not_float32(dataset, tiny_vae):
    exact, _ = train(tiny_vae, dataset)
    rounded, history = train(override(tiny_vae, {"train.precision": "bf16"}), dataset)
    assert not same_weights(exact, rounded) and all(
        torch.isfinite(value).all() for value in rounded.parameters()
    )
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.float32}
    assert history.select("loss")[-1] == pytest.approx(
        train(tiny_vae, dataset)[1].select("loss")[-1], rel=0.02
    )


@pytest.mark.gpu
def test_training_works_on_a_gpu(dataset, tiny_vae):
    model, history = train(tiny_vae, dataset)
    assert model.device.type != "cpu" and history.select("loss")[-1] < history.select("loss")[0]


def test_the_models_own_draws_come_from_the_generator_of_the_epoch(dataset, monkeypatch):
    """The exact resume stands on this: epoch 2 draws the same whether or not epoch 1 ran in this
    process.
    """
    seen = []
    loss = VAE.loss

    def record(self, batch, part="model", *, rng=None):
        seen.append(rng.initial_seed())
        return loss(self, batch, part, rng=rng)

    monkeypatch.setattr(VAE, "loss", record)
    fit(
        build(VAEConfig(hidden_dims=(8,), latent_dim=2)),
        dataset,
        replace(CONFIG, num_validation_images=0),
        seed=6,
    )
    assert seen == [make_rng(6, 1, 1).initial_seed()] * 4 + [make_rng(6, 2, 1).initial_seed()] * 4
