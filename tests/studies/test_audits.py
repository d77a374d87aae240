"""The rare class is as rare as asked for, and trainings on few images are as long as on many."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from materials import make_dataset

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import seed_error
from course_utils.studies.copies import split_training
from course_utils.studies.draw import draw_images
from course_utils.studies.training_sets import (
    BiasRow,
    bias_experiment,
    bias_over_seeds,
    repeated_images,
    train_size_experiment,
    with_rare_class,
)
from course_utils.training.runs import default_folder, load_run


@pytest.fixture(scope="module")
def blobs():
    return make_dataset(num_train=600, num_test=120)


@pytest.fixture
def short(tiny_vae):
    """One epoch: what is measured of the model does not matter here, that it is measured rightly
    does.
    """
    return replace(tiny_vae, train=replace(tiny_vae.train, num_epochs=1, num_validation_images=0))


def quadrant(images):
    """The label of a blob: the quadrant that holds most of its light."""
    halves = images.double().sum(1).unfold(1, 14, 14).unfold(2, 14, 14).sum((3, 4))  # [N, 2, 2]
    return halves.flatten(1).argmax(1)


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_rare_class_has_its_share_and_others_stay_whole(blobs, share):
    skewed = with_rare_class(blobs, 2, share)
    counts, before = (torch.bincount(part.train_labels, minlength=4) for part in (skewed, blobs))
    assert counts[2].item() / len(skewed.train_labels) == pytest.approx(
        share, abs=1 / len(skewed.train_labels)
    )
    assert counts[[0, 1, 3]].tolist() == before[[0, 1, 3]].tolist()
    assert torch.equal(skewed.test_images, blobs.test_images) and skewed.name == "blobs-rare2"
    # labels moved with their images
    assert (quadrant(skewed.train_images) == skewed.train_labels).double().mean() > 0.9


def test_bias_row_is_what_the_classifier_sees_of_the_model_that_was_trained_on_the_skewed_set(
    blobs, short
):
    row = bias_experiment(short, blobs, 1, 0.1, num_images=900, classify=quadrant)
    skewed = with_rare_class(blobs, 1, 0.1)
    model = load_run(default_folder(short.fitted_to(skewed), skewed)).model
    share = (quadrant(draw_images(model, 900, torch.ones(4) / 4)) == 1).double().mean().item()
    assert (row.family, row.seed, row.told_labels, row.num_images, row.share) == (
        "vae",
        0,
        False,
        900,
        share,
    )
    assert row.training_share == pytest.approx(0.1, abs=1 / len(skewed.train_images))
    assert row.real_share == pytest.approx(
        (quadrant(skewed.train_images) == 1).double().mean().item()
    )
    assert row.error == pytest.approx((share * (1 - share) / 900) ** 0.5, rel=0.05, abs=0.002)


def test_labels_are_drawn_at_the_frequencies_of_the_skewed_set(blobs, short, monkeypatch):
    """A generator that does what it is told keeps the bias as it is."""

    def draw(_, num_images, frequencies, *, seed):
        labels = torch.multinomial(
            frequencies, num_images, replacement=True, generator=make_rng(seed)
        )
        return torch.stack([blobs.test_images[blobs.test_labels == label][0] for label in labels])

    monkeypatch.setattr("course_utils.studies.training_sets.draw_images", draw)
    row = bias_experiment(short, blobs, 1, 0.1, num_images=900, classify=quadrant)
    assert abs(row.share - 0.1) < 4 * row.error


def test_a_share_of_zero_has_an_error_bar(blobs, short):
    never = bias_experiment(
        short, blobs, 1, 0.1, num_images=900, classify=lambda images: torch.zeros(len(images))
    )
    assert never.share == 0 and 0 < never.error < 0.01


def test_share_over_seeds():
    rows = [
        BiasRow("vae", seed, False, 0.02, 0.02, share, 0.01, 100)
        for seed, share in enumerate((0.01, 0.03, 0.02))
    ]
    assert bias_over_seeds(rows) == tuple(seed_error([0.01, 0.03, 0.02])) and bias_over_seeds(
        rows[:1]
    ) == (0.01, 0.01)


def test_repeated_images_make_epochs_of_the_old_length(blobs):
    few, rest = split_training(blobs, 7, seed=3)
    many = repeated_images(few, 600)
    assert len(many.train_images) == 600 and len(rest) == 593 and many.name == "blobs-7"
    images, counts = many.train_images.unique(dim=0, return_counts=True)
    assert (
        len(images) == len(few.train_images.unique(dim=0))
        and counts.max() - counts.min() <= 1 + counts.max() // 2
    )
    assert torch.equal(many.train_labels[:7], few.train_labels) and torch.equal(
        many.train_labels[7:14], few.train_labels
    )


def test_a_memoriser_of_few_images_is_caught(blobs, short, monkeypatch):
    few = split_training(blobs, 100)[0].train_images
    monkeypatch.setattr("course_utils.studies.training_sets.draw_images", lambda *_, **__: few[:90])
    row = train_size_experiment(short, blobs, 100, num_images=90, features="pixels")
    assert row.p_value < 1e-6 and row.num_train == 100 and torch.equal(row.train_images, few)
    assert row.verdicts["aligned pixels"].base_rate == 100 / 600 and len(row.images) == 90


def test_verdicts_pay_for_their_number(blobs, short):
    row = train_size_experiment(short, blobs, 300, num_images=150, features="pixels")
    assert (
        list(row.verdicts) == ["aligned pixels"]
        and row.p_value == row.verdicts["aligned pixels"].p_value
    )
    twice = replace(
        row, verdicts={"a": row.verdicts["aligned pixels"], "b": row.verdicts["aligned pixels"]}
    )
    assert twice.p_value == min(1, 2 * row.p_value)


BAD = [
    (lambda d, e: with_rare_class(d, 4), "rare: expected a label from 0 to 3, got 4"),
    (lambda d, e: with_rare_class(d, 0, 0.9), "share: expected above 0 and at most 0.2"),
    (lambda d, e: with_rare_class(d, 0, 0.0), "share: expected above 0"),
    (lambda d, e: bias_over_seeds([]), r"expected rows of one family, got \[\]"),
    (lambda d, e: split_training(d, 600), "num_train: expected 1 to 599"),
    (
        lambda d, e: bias_experiment(
            e,
            replace(
                d,
                train_labels=0 * d.train_labels,
                test_labels=0 * d.test_labels,
                class_names=("all",),
            ),
            0,
        ),
        "rare classes: expected at least 2 classes, blobs has 1",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message, blobs, short):
    with pytest.raises(CourseError, match=message):
        call(blobs, short)
