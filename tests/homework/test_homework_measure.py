"""What the homework measures of a run, against the metrics called by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from materials import make_dataset

from course_utils.base.config import override
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.homework.measure import (
    CURVES,
    HOMEWORK_METRICS,
    LOSS_TERMS,
    curve_panels,
    drawn_samples,
    incomparable,
    measure_for,
    measured_run,
)
from course_utils.homework.parameters import FAMILIES, NUM_IMAGES, homework_preset
from course_utils.metrics.classes import class_agreement
from course_utils.metrics.frechet import fid, kid
from course_utils.metrics.neighbours import precision_recall
from course_utils.models.diffusion.model import DiffusionConfig
from course_utils.plotting.homework import MAX_PANELS, curve_terms
from course_utils.studies.sweep import curve_columns
from course_utils.training.presets import preset
from course_utils.training.registry import build
from course_utils.training.runs import run

TINY = {
    "vae": {"model.hidden_dims": (8,), "model.latent_dim": 2},
    "dcgan": {"model.generator_width": 4, "model.discriminator_width": 4, "model.latent_dim": 4},
    "diffusion": {"model.channels": (8, 8), "model.embed_dim": 16, "model.num_steps": 2},
}


def tiny_run(family: str, dataset, **changes):
    smoke = homework_preset(family, "smoke")
    experiment = replace(
        smoke,
        train=replace(smoke.train, num_train_images=128, batch_size=64, num_validation_images=10),
    )
    return run(override(override(experiment, TINY[family]), changes), dataset)


@pytest.mark.parametrize("family", FAMILIES)
def test_metrics_are_those_of_the_samples_against_test_images(family, dataset):
    """The blobs have no classifier, so the pixels are the features."""
    result = tiny_run(family, dataset)
    measured = measured_run(result, dataset, 40)
    images, labels = drawn_samples(result.model, 40, 0)
    assert (labels is None) == (family == "vae")
    pixels = [
        part.flatten(1).double() / 255 for part in (images, dataset.subset(num_test=40).test_images)
    ]
    expected = [fid(*pixels), kid(*pixels), *precision_recall(pixels[1], pixels[0])]
    for one in expected:
        metric = measured["metrics"][one.name]
        assert (metric["value"], metric["error"], metric["num_images"]) == (
            pytest.approx(one.value),
            pytest.approx(one.error),
            40,
        )
    terms = LOSS_TERMS[family]
    assert list(measured["metrics"]) == [
        name
        for name in HOMEWORK_METRICS
        if name in {*(one.name for one in expected), *terms.values()}
    ]
    for recorded, name in terms.items():
        metric = measured["metrics"][name]
        assert (metric["value"], metric["error"]) == result.metric(recorded)
    assert measured["sampling_seconds"] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_curves_that_are_shown_are_those_of_the_loss(family, dataset):
    columns = curve_columns(tiny_run(family, dataset).history)
    terms = curve_terms([columns])
    panels = curve_panels(family, terms)
    assert panels == CURVES[family]  # every one of them is in a run's history
    parts = {term.split()[0] for term in panels}
    if family == "dcgan":
        assert parts == {"generator", "discriminator"} and len(panels) == MAX_PANELS
    else:
        assert "loss" in parts and not parts & {"learning_rate", "gradient_norm"}
    assert curve_panels("", terms[:1]) == {terms[0]: (terms[0], "")}


def test_data_with_a_classifier_have_metrics_of_classes(tiny_vae):
    images = make_dataset(name="strokes", num_test=50)
    ten = replace(images, class_names=tuple("0123456789"))
    result = tiny_run("dcgan", ten)
    metrics = measured_run(result, ten, 30)["metrics"]
    assert {"class KL", "class agreement"} <= set(metrics) and 0 <= metrics["class agreement"][
        "value"
    ] <= 1
    assert (
        "class agreement"
        not in measured_run(tiny_run("dcgan", ten, **{"model.conditional": False}), ten, 30)[
            "metrics"
        ]
    )


def test_agreement_is_the_share_of_images_that_show_their_class():
    probabilities = torch.eye(4)[torch.tensor([0, 1, 2, 3, 0])]
    measured = class_agreement(probabilities, torch.tensor([0, 1, 2, 0, 1]))
    assert measured.value == pytest.approx(3 / 5) and measured.num_images == 5
    assert measured.error == pytest.approx((4 / 7 * 3 / 7 / 5) ** 0.5)
    assert class_agreement(probabilities, torch.tensor([0, 1, 2, 3, 0])).error > 0
    with pytest.raises(CourseError, match="expected one for each of 5 images"):
        class_agreement(probabilities, torch.tensor([0, 1]))


def test_draws_depend_on_the_seed_and_tell_the_model_its_classes():
    model = build(DiffusionConfig(channels=(8, 8), embed_dim=16, num_steps=1), 0)
    images, labels = drawn_samples(model, 700, 3)  # more than one batch
    assert (
        images.shape == (700, 1, 28, 28)
        and images.dtype == torch.uint8
        and labels.shape == (700,)
        and set(labels.tolist()) == set(range(10))
    )
    assert torch.equal(images, drawn_samples(model, 700, 3)[0]) and not torch.equal(
        images, drawn_samples(model, 700, 4)[0]
    )
    assert drawn_samples(build(replace(model.config, unlabelled="null"), 0), 5, 3)[1] is None
    assert signed_to_uint8(torch.zeros(1, 1, 28, 28)).dtype == images.dtype


def test_no_more_images_than_there_are_test_images(dataset):
    assert measured_run(tiny_run("vae", dataset), dataset, 10_000)["metrics"]["FID"][
        "num_images"
    ] == len(dataset.test_images)
    assert measure_for("laptop").keywords == {"num_images": NUM_IMAGES["laptop"]}


def test_some_changes_change_what_a_metric_means():
    assert incomparable("negative ELBO", ["model.likelihood", "model.beta"]) == (
        "model.likelihood",
    )
    assert (
        incomparable("FID", ["model.likelihood"])
        == ()
        == incomparable("unheard of", ["model.beta"])
    )


@pytest.mark.parametrize("budget", ["smoke", "laptop", "gpu"])
@pytest.mark.parametrize("family", FAMILIES)
def test_budgets_differ_from_the_class_only_in_length(family, budget):
    ours, of_the_class = homework_preset(family, budget), preset(family, budget)
    assert ours.model == of_the_class.model
    lengths = {"num_epochs": 1, "num_train_images": None}
    assert replace(ours.train, **lengths) == replace(of_the_class.train, **lengths)


def test_unknown_budgets_are_refused():
    with pytest.raises(CourseError, match="unknown budget 'huge'"):
        homework_preset("vae", "huge")
