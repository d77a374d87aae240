"""What is particular to the DCGAN; its contract as a family is tested in test_models.py."""

from __future__ import annotations

import pytest
import torch
from materials import make_dataset
from scipy import stats
from toys import CONFIG, ToyGAN

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.base import Batch
from course_utils.models.dcgan import DCGANConfig, Discriminator, resolutions, truncated_normal
from course_utils.training.fit import fit
from course_utils.training.registry import build

SMALL = {"generator_width": 4, "discriminator_width": 4, "latent_dim": 6}
PLAIN = {"conditional": False, "r1_weight": 0.0}
SWITCHES = [
    {"loss": "minimax", "discriminator_norm": "batch", "label_smoothing": 0.1},
    {
        "loss": "non-saturating",
        "discriminator_norm": "none",
        "r1_weight": 1.0,
        "penalty_share": 0.25,
    },
    {"loss": "hinge", "discriminator_norm": "spectral", "minibatch_std": True},
    {"loss": "wasserstein", "discriminator_norm": "none", "gradient_penalty_weight": 10.0},
    {"loss": "relativistic", "discriminator_norm": "spectral", "instance_noise_std": 0.1},
]


def make(seed: int = 0, **settings):
    return build(DCGANConfig(**{**SMALL, **PLAIN, **settings}), seed)


def make_batch(n: int = 8, size: int = 28, channels: int = 1) -> Batch:
    rng = make_rng(7)
    return Batch(
        torch.rand(n, channels, size, size, generator=rng) * 2 - 1,
        torch.randint(10, (n,), generator=rng),
    )


def test_resolutions_are_halved_down_to_four_pixels():
    assert (
        resolutions(28) == [28, 14, 7, 4]
        and resolutions(32) == [32, 16, 8, 4]
        and resolutions(64) == [64, 32, 16, 8, 4]
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 15, 28, 32, 64])
def test_shapes_follow_from_the_config(size, channels):
    model = make(image_size=size, image_channels=channels)
    images = model.sample(2, rng=make_rng(0))
    assert images.shape == (2, channels, size, size) and model.scores(images).shape == (2,)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("settings", SWITCHES, ids=lambda settings: settings["loss"])
def test_every_switch_trains_both_parts_and_only_them(settings, conditional):
    model, batch = make(**settings, conditional=conditional), make_batch()
    for part, module in model.trainable_parts().items():
        model.zero_grad()
        terms = model.loss(batch, part, rng=make_rng(0))
        assert all(values.shape == (8,) and values.isfinite().all() for values in terms.values())
        terms["loss"].mean().backward()
        with_gradient = {
            name
            for name, value in model.named_parameters()
            if value.grad is not None and value.grad.abs().sum() > 0
        }
        own = {f"{part}.{name}" for name, _ in module.named_parameters()}
        assert with_gradient <= own and len(with_gradient) > 0.7 * len(own)


def test_discriminators_loss_is_the_formula_on_its_own_scores():
    model, batch = make(discriminator_norm="none", loss="non-saturating"), make_batch()
    terms = model.loss(batch, "discriminator", rng=make_rng(3))
    fakes = model.generate(torch.randn(8, 6, generator=make_rng(3)))
    real, fake = model.scores(batch.images), model.scores(fakes)
    expected = -torch.log(torch.sigmoid(real)) - torch.log(1 - torch.sigmoid(fake))
    torch.testing.assert_close(terms["loss"], expected)
    assert torch.equal(terms["separation"], (real > fake).float())


def test_penalty_is_part_of_the_loss_and_scales_with_its_weight():
    batch = make_batch()
    losses = {}
    for weight in (0.0, 1.0, 3.0):
        losses[weight] = make(discriminator_norm="none", r1_weight=weight).loss(
            batch, "discriminator", rng=make_rng(0)
        )
    torch.testing.assert_close(losses[3.0]["penalty"], 3 * losses[1.0]["penalty"])
    torch.testing.assert_close(losses[1.0]["loss"], losses[0.0]["loss"] + losses[1.0]["penalty"])
    assert losses[1.0]["penalty"].min() > 0 and losses[0.0]["penalty"].max() == 0


def test_diversity_is_zero_for_equal_images_and_known_for_real_ones():
    model, batch = make(), make_batch()
    torch.nn.init.zeros_(model.generator.layers[0].weight)  # whatever the noise, one image
    terms = model.loss(batch, "generator", rng=make_rng(0))
    assert terms["diversity"].max() < 1e-4
    neighbour = torch.cat([batch.images[-1:], batch.images[:-1]])
    torch.testing.assert_close(
        terms["real_diversity"], (batch.images - neighbour).flatten(1).pow(2).mean(1).sqrt()
    )


def test_instance_noise_reaches_real_and_generated_images_alike():
    model, seen = make(instance_noise_std=0.5), []
    model.discriminator.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach())
    )
    batch = Batch(torch.zeros(64, 1, 28, 28), torch.zeros(64).long())
    model.loss(batch, "discriminator", rng=make_rng(0))
    model.loss(batch, "generator", rng=make_rng(0))
    (real, fake), fake_again = seen[0].chunk(2), seen[1]
    assert real.std().item() == pytest.approx(0.5, rel=0.02)
    assert fake.std() > 0.5 and fake_again.std() > 0.5


def test_minibatch_statistics_tell_a_varied_batch_from_copies():
    torch.manual_seed(0)
    discriminator = Discriminator(4, (1, 28, 28), "none", minibatch_std=True)
    images = make_batch().images
    scores = discriminator(images)[0], discriminator(images[:1].expand(8, -1, -1, -1))[0]
    assert scores[0].item() != pytest.approx(scores[1].item(), abs=1e-6)
    plain = Discriminator(4, (1, 28, 28), "none")
    assert plain(images)[0].item() == pytest.approx(
        plain(images[:1].expand(8, -1, -1, -1))[0].item(), abs=1e-6
    )


def test_spectral_norm_keeps_the_discriminator_1_lipschitz_layer_by_layer():
    model = make(discriminator_norm="spectral").train()
    for _ in range(50):  # the power iteration of torch goes one step a forward pass
        model.scores(make_batch().images)
    layers = [
        module
        for module in model.discriminator.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * len(layers), abs=0.02)


def test_conditional_model_draws_the_class_it_is_told_and_refuses_labels_that_do_not_fit():
    model = make(conditional=True).eval()
    z = torch.randn(2, 6, generator=make_rng(0))
    assert not torch.equal(
        model.generate(z, torch.tensor([0, 0])), model.generate(z, torch.tensor([1, 1]))
    )
    for labels in (None, torch.tensor([0]), torch.tensor([0, 10]), torch.tensor([-1, 0])):
        with pytest.raises(CourseError, match="expected 2 classes from 0 to 9"):
            model.generate(z, labels)
    with pytest.raises(CourseError, match="not class-conditional"):
        make(conditional=False).generate(z, torch.tensor([0, 1]))


def test_without_labels_a_conditional_model_draws_every_class():
    labels = []
    model = make(conditional=True).eval()
    model.generator.register_forward_pre_hook(lambda module, inputs: labels.append(inputs[1]))
    model.sample(2000, rng=make_rng(0))
    # 200 expected, standard deviation 13
    assert torch.bincount(labels[0], minlength=10).min() > 140


@pytest.mark.parametrize("bound", [0.3, 1.0, 2.5])
def test_truncated_noise_has_the_truncated_normal_distribution(bound):
    z = truncated_normal((4000,), bound, make_rng(0), torch.zeros(1))
    assert z.abs().max() <= bound
    assert stats.kstest(z.double().numpy(), stats.truncnorm(-bound, bound).cdf).pvalue > 1e-3


def test_no_truncation_is_plain_noise_and_a_bound_of_zero_is_refused():
    assert torch.equal(
        truncated_normal((5,), None, make_rng(0), torch.zeros(1)),
        torch.randn(5, generator=make_rng(0)),
    )
    with pytest.raises(CourseError, match="truncation: expected more than 0"):
        make().sample(2, truncation=0.0)


BAD = [
    ({"loss": "hinge", "label_smoothing": 0.1}, "minimax or non-saturating where label_smoothing"),
    ({"label_smoothing": 0.5, "loss": "minimax"}, "from 0 up to 0.5"),
    ({"latent_dim": 0}, "at least 1"),
    ({"penalty_share": 0.0}, "above 0 and at most 1"),
    ({"r1_weight": -1.0}, "0 or more"),
    ({"discriminator_lr_factor": 0.0}, "more than 0"),
    ({"image_size": 4}, "more than 4 pixels"),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=lambda value: str(value))
def test_bad_settings_say_what_was_expected(settings, message):
    with pytest.raises(CourseError) as error:
        DCGANConfig(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize("shape", [(3, 5), (6,)])
def test_noise_of_another_shape_is_refused(shape):
    with pytest.raises(CourseError, match=r"expected noise of shape \[B, 6\]"):
        make().generate(torch.zeros(shape))


def test_each_part_learns_at_its_own_rate():
    """Adam's first step has the length of the learning rate, so two time-scales can be read off the
    weights.
    """

    class TwoTimeScales(ToyGAN):
        def learning_rate_factors(self):
            return {"discriminator": 4.0, "generator": 1.0}

    torch.manual_seed(0)
    model = TwoTimeScales()
    before = {name: value.clone() for name, value in model.named_parameters()}
    fit(
        model,
        make_dataset(num_train=64),
        override(CONFIG, {"num_epochs": 1, "schedule": "constant"}),
    )
    moved = {
        name: (value - before[name]).abs().max().item() for name, value in model.named_parameters()
    }
    assert moved["discriminator.1.bias"] == pytest.approx(0.04, rel=1e-3) and moved[
        "generator.bias"
    ] == pytest.approx(0.01, rel=1e-2)


def test_history_knows_each_parts_gradient_norm():
    torch.manual_seed(0)
    history = fit(ToyGAN(), make_dataset(), CONFIG)
    for part in ("discriminator", "generator"):
        norms = history.select("gradient_norm", part=part)
        assert len(norms) == 2 and min(norms) > 0
