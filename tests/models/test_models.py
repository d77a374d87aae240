"""The contract of every model family. A new line in the registry is tested here without an edit."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch
from materials import RECORD_VALUES, make_dataset, same_weights

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_signed, uint8_to_signed
from course_utils.models.base import Batch, Model
from course_utils.training.history import History
from course_utils.training.presets import PRESETS
from course_utils.training.registry import REGISTRY, build, config_class
from course_utils.training.runs import load_run, save_run

FAMILIES = sorted(REGISTRY)
BATCH_SIZE = 8
SHAPES = [(1, 28, 28), (3, 16, 16)]


def is_generative(family: str) -> bool:
    return REGISTRY[family][1].can_sample


GENERATIVE = [family for family in FAMILIES if is_generative(family)]


def make(
    family: str, image_shape: tuple[int, int, int] = (1, 28, 28), seed: int = 0
) -> tuple[Model, Batch]:
    """Returns the smoke preset's model for an image shape, and a batch of blobs."""
    data = make_dataset(image_shape, num_train=BATCH_SIZE, num_test=2)
    model = build(PRESETS[family]["smoke"].fitted_to(data).model, seed)
    return model, Batch(uint8_to_signed(data.train_images), data.train_labels)


def parts(family: str) -> list[str]:
    return list(make(family)[0].trainable_parts())


PARTS = [(family, part) for family in FAMILIES for part in parts(family)]


@pytest.mark.parametrize("family", FAMILIES)
def test_registry_presets_and_class_agree_on_the_name(family):
    assert REGISTRY[family][1].family == family and config_class(family) is REGISTRY[family][0]
    assert set(PRESETS[family]) == {"smoke", "laptop", "gpu"}
    assert {experiment.family for experiment in PRESETS[family].values()} == {family}


@pytest.mark.parametrize("family", FAMILIES)
def test_config_is_frozen_and_has_defaults(family):
    config = config_class(family)()
    assert hash(config) == hash(config_class(family)())
    with pytest.raises(AttributeError):
        config.image_size = 3


@pytest.mark.parametrize(("family", "part"), PARTS)
@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
def test_loss_gives_named_finite_terms_per_image(family, part, image_shape):
    model, batch = make(family, image_shape)
    terms = model.loss(batch, part, rng=make_rng(0))
    assert "loss" in terms and terms["loss"].requires_grad
    for name, values in terms.items():
        assert values.shape == (BATCH_SIZE,) and torch.isfinite(values).all(), name
        assert name == "loss" or not values.requires_grad, f"{name} would keep the graph alive"


@pytest.mark.parametrize("family", GENERATIVE)
@pytest.mark.parametrize("image_shape", SHAPES, ids=str)
def test_samples_have_the_shape_of_the_data_and_the_signed_range(family, image_shape):
    model, _ = make(family, image_shape)
    samples = model.eval().sample(3, rng=make_rng(0))
    assert (
        samples.shape == (3, *image_shape)
        and samples.dtype == torch.float32
        and not samples.requires_grad
    )
    check_signed(samples)


@pytest.mark.parametrize("family", GENERATIVE)
def test_equal_generators_give_equal_samples(family):
    model = make(family)[0].eval()
    first, second, other = (model.sample(2, rng=make_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


@pytest.mark.parametrize("family", GENERATIVE)
@pytest.mark.parametrize("n", [0, -1, 2.0])
def test_sample_refuses_numbers_that_are_no_counts(family, n):
    with pytest.raises(CourseError) as error:
        make(family)[0].sample(n)
    assert "expected a whole number of at least 1" in str(error.value) and repr(n) in str(
        error.value
    )


@pytest.mark.parametrize("family", GENERATIVE)
def test_labels_are_used_or_refused(family):
    """An unconditional family must not take labels in silence; a conditional one must care about
    them.
    """
    model = make(family)[0].eval()
    labels = torch.zeros(2).long()
    if model.takes_labels:
        first, second = (
            model.sample(2, labels=some, rng=make_rng(0)) for some in (labels, labels + 1)
        )
        assert not torch.equal(first, second)
    else:
        assert not model.needs_labels
        with pytest.raises(CourseError, match=f"this {family} is not class-conditional"):
            model.sample(2, labels=labels, rng=make_rng(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_can_do_is_what_it_says(family):
    model = make(family)[0]
    assert model.can_sample == (type(model).sample is not Model.sample)
    assert model.has_likelihood == (hasattr(model, "log_prob") or hasattr(model, "log_weights"))


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(GENERATIVE)))
def test_a_discriminative_family_refuses_to_sample(family):
    with pytest.raises(CourseError) as error:
        make(family)[0].sample(2)
    assert f"a {family} cannot sample" in str(error.value)


@pytest.mark.parametrize(("family", "part"), PARTS)
def test_equal_generators_give_equal_losses(family, part):
    model, batch = make(family)
    first, second = (model.loss(batch, part, rng=make_rng(1))["loss"] for _ in range(2))
    assert torch.equal(first, second)
    if is_generative(family):
        assert not torch.equal(first, model.loss(batch, part, rng=make_rng(2))["loss"])


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_draws_from_the_global_generator_where_one_is_given(family):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model, batch = make(family)
    for part in model.trainable_parts():
        model.loss(batch, part, rng=make_rng(0))
    if is_generative(family):
        model.sample(2, rng=make_rng(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_decides_the_first_weights(family):
    first, second, other = (make(family, seed=seed)[0] for seed in (3, 3, 4))
    assert same_weights(first, second) and not same_weights(first, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_cover_every_parameter_once(family):
    model, _ = make(family)
    owned = [
        id(parameter)
        for part in model.trainable_parts().values()
        for parameter in part.parameters()
    ]
    assert len(owned) == len(set(owned))
    assert set(owned) == {
        id(parameter) for parameter in model.parameters() if parameter.requires_grad
    }
    assert model.num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("family", "part"), PARTS)
def test_a_step_changes_its_own_part_and_nothing_else(family, part):
    model, batch = make(family)
    own = model.trainable_parts()[part]
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(own.parameters(), lr=1e-3)
    model.loss(batch, part, rng=make_rng(0))["loss"].mean().backward()
    optimizer.step()
    mine = {id(parameter) for parameter in own.parameters()}
    assert all(parameter.grad is not None for parameter in own.parameters()), (
        "a parameter of the part gets no gradient"
    )
    changed = {
        name for name, value in model.named_parameters() if not torch.equal(value, before[name])
    }
    assert changed and changed <= {
        name for name, value in model.named_parameters() if id(value) in mine
    }


@pytest.mark.parametrize("family", [family for family in FAMILIES if len(parts(family)) == 1])
def test_loss_falls_when_one_batch_is_learned_by_heart(family):
    model, batch = make(family)
    (part,) = model.trainable_parts()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(12):
        optimizer.zero_grad()
        loss = model.loss(batch, part, rng=make_rng(0, step))["loss"].mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0], losses


@pytest.mark.parametrize("half", [False, True], ids=["float32", "half"])
@pytest.mark.parametrize("family", FAMILIES)
def test_saving_and_loading_is_exact(family, half, tmp_path):
    model, _ = make(family)
    experiment = PRESETS[family]["smoke"].fitted_to(make_dataset(num_train=1, num_test=2))
    if half:
        model.load_state_dict(
            {name: value.half().to(value.dtype) for name, value in model.state_dict().items()}
        )
    save_run(tmp_path / "run", model, experiment, History(), RECORD_VALUES, half=half)
    loaded = load_run(tmp_path / "run", family)
    assert same_weights(loaded.model, model) and loaded.experiment == experiment
    assert not loaded.model.training and {value.dtype for value in loaded.model.parameters()} == {
        torch.float32
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_moving_the_model_moves_everything(family):
    model, _ = make(family)
    model.to("meta")
    assert model.device.type == "meta"
    left_behind = [
        name
        for name, value in [*model.named_parameters(), *model.named_buffers()]
        if value.device.type != "meta"
    ]
    hidden = [
        name
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    ]
    assert left_behind == [] and hidden == [], "constants must be buffers"


@pytest.mark.gpu
@pytest.mark.parametrize(("family", "part"), PARTS)
def test_loss_and_samples_work_on_a_gpu(family, part):
    device = torch.accelerator.current_accelerator()
    model, batch = make(family)
    model.to(device)
    terms = model.loss(
        Batch(batch.images.to(device), batch.labels.to(device)),
        part,
        rng=make_rng(0, device=device),
    )
    assert {values.device.type for values in terms.values()} == {device.type}
    if is_generative(family):
        on_cpu, on_gpu = (
            model.eval().cpu().sample(2, rng=make_rng(0)),
            model.to(device).sample(2, rng=make_rng(0)),
        )
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-2, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("image_shape", [(1, 12, 12), (3, 28, 28)], ids=str)
def test_images_of_another_shape_are_refused_with_both_shapes(family, image_shape):
    model, _ = make(family)
    wrong = Batch(torch.zeros(2, *image_shape), torch.zeros(2).long())
    with pytest.raises(CourseError) as error:
        model.loss(wrong, next(iter(model.trainable_parts())), rng=make_rng(0))
    assert "1, 28, 28" in str(error.value) and str([2, *image_shape]) in str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_signatures_are_those_of_the_base_class(family):
    for name in ("loss", "sample"):
        expected, own = (
            inspect.signature(getattr(cls, name)).parameters for cls in (Model, REGISTRY[family][1])
        )
        assert list(own)[: len(expected)] == list(expected)
        extra = list(own.values())[len(expected) :]
        assert all(parameter.default is not parameter.empty for parameter in extra), (
            f"{name}: what a family adds needs a default"
        )


@pytest.mark.parametrize("changes", [{"image_channels": 2}, {"image_size": 1}], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_configs_refuse_images_that_no_dataset_has(family, changes):
    with pytest.raises(CourseError) as error:
        replace(config_class(family)(), **changes)
    assert next(iter(changes)) in str(error.value) and "expected" in str(error.value)


def test_build_refuses_what_is_no_config():
    with pytest.raises(CourseError) as error:
        build({"latent_dim": 3})
    assert (
        "expected one of" in str(error.value)
        and "VAEConfig" in str(error.value)
        and "got dict" in str(error.value)
    )


def test_unknown_family_lists_the_valid_ones():
    with pytest.raises(CourseError) as error:
        config_class("vaee")
    assert f"valid: {', '.join(FAMILIES)}. Did you mean 'vae'?" in str(error.value)
