"""What goes wrong in a training: bad losses, too little memory, Ctrl-C, settings out of range."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from materials import same_weights
from toys import CONFIG, Stop, Toy, stop_after, train

from course_utils.base.errors import CourseError
from course_utils.training import fit as training
from course_utils.training.fit import TrainingDiverged, fit
from course_utils.training.registry import build


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_loss_that_is_not_finite_names_its_step_and_restores_the_weights(dataset, bad, ema_decay):
    class Diverging(Toy):
        def loss(self, batch, part="model", *, rng=None):
            terms = super().loss(batch, part, rng=rng)
            # the third of four steps in epoch 2
            return {"loss": terms["loss"] * (bad if len(self.calls) >= 7 else 1.0)}

    good = []
    model = Diverging()
    with pytest.raises(TrainingDiverged) as error:
        config = replace(CONFIG, num_validation_images=0, ema_decay=ema_decay)
        fit(model, dataset, config, on_epoch=lambda *_: good.append(model.mean.detach().clone()))
    for fragment in (
        f"the loss of 'model' is {bad} at step 3 of epoch 2",
        "Lower train.learning_rate",
        "train.max_grad_norm",
    ):
        assert fragment in str(error.value)
    assert torch.equal(model.mean, good[0]) and torch.isfinite(model.mean).all()


def test_the_first_bad_step_is_found_between_two_checks(dataset, monkeypatch):
    monkeypatch.setattr(training, "CHECK_EVERY_STEPS", 3)

    class Diverging(Toy):
        def loss(self, batch, part="model", *, rng=None):
            terms = super().loss(batch, part, rng=rng)
            return {"loss": terms["loss"] / (0.0 if len(self.calls) >= 11 else 1.0)}

    model = Diverging()
    with pytest.raises(TrainingDiverged) as error:
        fit(model, dataset, replace(CONFIG, batch_size=16, num_epochs=1))
    assert "step 11 of epoch 1" in str(error.value) and len(model.calls) == 12


class Hungry(Toy):
    """Has memory for 16 images."""

    def loss(self, batch, part="model", *, rng=None):
        if len(batch.images) > 16 and self.training:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: can't allocate"
                " memory: you tried to allocate 9 bytes."
            )
        return super().loss(batch, part, rng=rng)


def test_out_of_memory_halves_the_batch_says_so_and_finishes(dataset, capsys):
    model = Hungry()
    history = fit(model, dataset, CONFIG)
    printed = capsys.readouterr().out
    assert (
        "out of memory: epoch 1 starts again with batch_size 32 (the config says 64)." in printed
        and "batch_size 16" in printed
    )
    assert (
        history.num_epochs == 2
        and {len(batch.images) for batch in model.calls} == {16}
        and len(model.calls) == 2 * 16
    )
    plain = Toy()
    fit(plain, dataset, replace(CONFIG, batch_size=16))
    assert torch.equal(plain.mean, model.mean), "the failed tries left something behind"


def test_a_reduced_batch_is_remembered_by_the_state(dataset, tmp_path, capsys):
    with pytest.raises(Stop):
        fit(Hungry(), dataset, CONFIG, state_path=tmp_path / "state", on_epoch=stop_after(1))
    capsys.readouterr()
    model = Hungry()
    fit(model, dataset, CONFIG, state_path=tmp_path / "state")
    assert "out of memory" not in capsys.readouterr().out and len(model.calls) == 16


@pytest.mark.parametrize(
    "message", ["DefaultCPUAllocator: can't allocate memory", "a bug in the model"]
)
def test_errors_that_smaller_batches_cannot_cure_are_raised(dataset, message):
    class Broken(Toy):
        def loss(self, batch, part="model", *, rng=None):
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match=message):
        fit(Broken(), dataset, replace(CONFIG, num_validation_images=0))


def test_interrupt_keeps_weights_and_history(dataset, tiny_vae, capsys):
    def interrupt(_, history):
        if history.num_epochs == 2:
            raise KeyboardInterrupt

    model, history = train(tiny_vae, dataset, on_epoch=interrupt)
    assert (
        history.num_epochs == 2 and "stopped by hand after 2 of 3 epochs" in capsys.readouterr().out
    )
    assert not same_weights(model, build(tiny_vae.model))


def test_interrupt_returns_the_moving_average(dataset, tiny_classifier):
    averages = []

    def interrupt(model, _):
        averages.append({name: value.clone() for name, value in model.state_dict().items()})
        raise KeyboardInterrupt

    model, _ = train(tiny_classifier, dataset, on_epoch=interrupt)
    assert all(torch.equal(value, averages[0][name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_epochs": 0}, "num_epochs: expected at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected more than 0, got 0.0"),
        ({"warmup_fraction": 1.0}, "warmup_fraction: expected between 0 and 1"),
        ({"adam_betas": (0.9,)}, "adam_betas: expected two numbers from 0 up to 1"),
        ({"adam_betas": (0.9, 1.0)}, "adam_betas: expected two numbers from 0 up to 1"),
        ({"weight_decay": -0.1}, "weight_decay: expected 0 or more"),
        ({"max_grad_norm": 0.0}, "max_grad_norm: expected more than 0, or null"),
        ({"ema_decay": 1.0}, "ema_decay: expected between 0 and 1, or null"),
        ({"num_train_images": 0}, "num_train_images: expected at least 1, or null"),
        ({"num_validation_images": -1}, "num_validation_images: expected 0 or more"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(CourseError) as error:
        replace(CONFIG, **changes)
    assert message in str(error.value)
