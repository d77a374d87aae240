"""The alarms name a failure when it happens and stay silent while a training goes well; the class
counter feeds the history.
"""

from __future__ import annotations

import pytest
import torch
from materials import make_dataset

from course_utils.base.config import override
from course_utils.models.dcgan import DCGANConfig, gan_alarms
from course_utils.training.config import TrainConfig
from course_utils.training.fit import fit
from course_utils.training.registry import build

GOOD = {"diversity": 0.7, "real_diversity": 0.73, "separation": 0.9}
TRAIN = TrainConfig(num_epochs=2, batch_size=32, learning_rate=1e-3, num_validation_images=32)


def rows(epoch: int = 2, split: str = "test", **changes: float) -> list[dict]:
    terms = {**GOOD, **changes}
    return [
        {
            "epoch": epoch,
            "split": split,
            "part": "discriminator",
            "separation": terms["separation"],
        },
        {
            "epoch": epoch,
            "split": split,
            "part": "generator",
            "diversity": terms["diversity"],
            "real_diversity": terms["real_diversity"],
        },
    ]


def test_a_good_training_is_quiet():
    assert gan_alarms(rows()) == [] and gan_alarms([]) == []


@pytest.mark.parametrize("split", ["test", "train"])
def test_collapse_and_a_winning_discriminator_are_named_with_their_readings(split):
    (collapse,) = gan_alarms(rows(split=split, diversity=0.2))
    assert "epoch 2: mode collapse" in collapse and "27%" in collapse
    (won,) = gan_alarms(rows(split=split, separation=0.999))
    assert "epoch 2: the discriminator has won" in won and "99.9%" in won
    assert len(gan_alarms(rows(split=split, diversity=0.2, separation=1.0))) == 2


def test_the_last_epoch_counts_and_test_rows_before_the_means_of_training():
    assert gan_alarms(rows(2, diversity=0.1) + rows(3)) == []
    assert gan_alarms(rows(2, "train", diversity=0.1) + rows(2, "test")) == []


def test_the_first_epoch_is_not_judged():
    assert gan_alarms(rows(1, diversity=0.1)) == []


def small_gan():
    return build(DCGANConfig(generator_width=2, discriminator_width=2, latent_dim=2, num_classes=4))


def test_fit_prints_the_alarm_of_a_generator_that_makes_one_image(capsys):
    model = small_gan()
    for parameter in model.generator.parameters():
        torch.nn.init.zeros_(parameter)
    fit(model, make_dataset(num_train=64), override(TRAIN, {"learning_rate": 1e-12}))
    printed = capsys.readouterr().out
    assert "epoch 2: mode collapse" in printed and "epoch 1: mode collapse" not in printed
