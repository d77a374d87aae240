"""The alarms name a failure when it happens and stay silent while a training goes well; the class
counter feeds the history.
"""

from __future__ import annotations

import pytest
import torch
from materials import make_dataset
from toys import Stop

from course_utils.base.config import override
from course_utils.base.errors import CourseError
from course_utils.models.classifier import ClassifierConfig
from course_utils.models.dcgan import DCGANConfig, gan_alarms
from course_utils.studies.draw import watch_classes
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


def test_classes_are_counted_after_each_epoch_and_survive_a_crash(tmp_path):
    data, classifier = make_dataset(num_train=64), build(ClassifierConfig(num_classes=4)).eval()
    watch = watch_classes(classifier, torch.full((4,), 0.25), num_images=40)

    def watch_and_stop(model, history):
        watch(model, history)
        if history.num_epochs == 2:
            raise Stop

    config = override(TRAIN, {"num_epochs": 3})
    expected = fit(small_gan(), data, config, on_epoch=watch)
    with pytest.raises(Stop):
        fit(small_gan(), data, config, on_epoch=watch_and_stop, state_path=tmp_path / "state")
    resumed = fit(small_gan(), data, config, on_epoch=watch, state_path=tmp_path / "state")
    assert len(expected.select("classes_covered", "samples")) == 3
    assert resumed.select("class_kl", "samples")[0] == expected.select("class_kl", "samples")[0]
    assert resumed.select("class_kl", "samples")[-1] == expected.select("class_kl", "samples")[-1]


def test_watching_leaves_the_training_as_it_was():
    data, classifier = make_dataset(num_train=64), build(ClassifierConfig(num_classes=4)).eval()
    plain, watched = small_gan(), small_gan()
    fit(plain, data, TRAIN)
    fit(
        watched,
        data,
        TRAIN,
        on_epoch=watch_classes(classifier, torch.full((4,), 0.25), num_images=40),
    )
    assert all(
        torch.equal(one, two)
        for one, two in zip(plain.state_dict().values(), watched.state_dict().values())
    )


def test_too_few_images_to_see_every_class_are_refused():
    with pytest.raises(CourseError, match="at least 4, the number of classes"):
        watch_classes(build(ClassifierConfig(num_classes=4)), torch.full((4,), 0.25), num_images=3)
