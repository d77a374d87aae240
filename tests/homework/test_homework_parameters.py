"""What counts as a changed parameter. That a setting has an effect, or none, is checked on trained
models, bit by bit.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import pytest
import torch

from course_utils.base.config import config_settings, flatten, override
from course_utils.base.errors import CourseError
from course_utils.homework.measure import drawn_samples
from course_utils.homework.parameters import (
    FAMILIES,
    FIXED,
    MIN_COUNTED,
    NOT_COUNTED,
    RULES,
    effective,
    homework_preset,
    lengths_in_words,
    meaning,
    parameter_rows,
    settings_of,
    training_length,
    validate_changes,
)
from course_utils.homework.starters import FIRST_FIVE, GROUPS, STARTER_QUESTIONS
from course_utils.training.presets import preset
from course_utils.training.runs import run

GOOD = {
    "vae": {"model.latent_dim": 4, "model.beta": 4.0, "train.learning_rate": 1e-3},
    "dcgan": {"model.latent_dim": 8, "model.r1_weight": 1.0, "train.batch_size": 32},
    "diffusion": {"model.num_steps": 4, "model.target": "x0", "train.ema_decay": None},
}
EACH_SETTING = [
    (family, name) for family in FAMILIES for name in settings_of(family) if name not in NOT_COUNTED
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_setting_of_a_model_is_in_the_table_or_fixed(family):
    known = {*settings_of(family), *FIXED}
    there = flatten(homework_preset(family, "laptop"))
    assert set(there) <= known and set(settings_of(family)) <= set(there)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_values_in_class_and_the_ends_of_each_range_are_accepted(family):
    baseline = homework_preset(family, "laptop")
    for name, setting in settings_of(family).items():
        value = flatten(baseline)[name]
        items = value if isinstance(value, tuple) else (value,)
        if setting.sensible is not None:
            low, high = setting.sensible
            assert all(item is None or low <= item <= high for item in items), name
            for end in setting.sensible:
                exact = type(items[0])(end) if isinstance(items[0], (int, float)) else end
                override(
                    baseline, {name: (exact,) * len(items) if isinstance(value, tuple) else exact}
                )


@pytest.mark.parametrize("family", FAMILIES)
def test_three_good_changes_are_enough(family):
    report = validate_changes(family, GOOD[family])
    assert report.num_counted == 3 and report.enough and report.problems == ()
    assert flatten(report.experiment) == {
        **flatten(homework_preset(family, "laptop")),
        **GOOD[family],
    }
    assert str(report).startswith("3 of 3 parameters count")


@pytest.mark.parametrize(
    ("family", "changes", "counted", "message"),
    [
        ("vae", {}, 0, "nothing is changed yet"),
        ("vae", {"model.latent_dim": 4, "model.beta": 4.0}, 2, "2 of 3 parameters count"),
        (
            "vae",
            {"model.latent_dim": 20},
            0,
            "model.latent_dim: no effect: 20 is the value in class",
        ),
        ("vae", {"model.beta": 1}, 0, "model.beta: no effect: 1.0 is the value in class"),
        ("vae", {"model.beta": 1.001}, 0, "differs from 1.0 by less than 1%"),
        ("vae", {"train.adam_betas": [0.9, 0.9501]}, 0, "no effect to be seen"),
        ("dcgan", {"train.adam_betas": [0.5, 0.999]}, 1, "counts"),
        (
            "vae",
            {"model.latnt_dim": 4},
            0,
            (
                "unknown parameter 'model.latnt_dim'; valid: model.beta.* Did you mean"
                " 'model.latent_dim'"
            ),
        ),
        ("vae", {"latent_dim": 4}, 0, "unknown parameter 'latent_dim'"),
        ("vae", {"model": {"latent_dim": 4}}, 0, "unknown parameter 'model'"),
        (
            "vae",
            {"model.latent_dim": 4, "latent_dim": 8},
            1,
            "latent_dim: is the same parameter as model.latent_dim",
        ),
        (
            "vae",
            {"model.latent_dim": 4, "Model.Latent_Dim ": 8},
            1,
            "is the same parameter as model.latent_dim",
        ),
        (
            "vae",
            {"model.latent_dim": 4, "model__latent_dim": 8},
            1,
            "is the same parameter as model.latent_dim",
        ),
        ("vae", {"seed": 3}, 0, "seed: does not count and cannot be changed"),
        ("vae", {"dataset": "mnist"}, 0, "dataset: does not count and cannot be changed"),
        ("vae", {"budget": "gpu"}, 0, "budget: does not count and cannot be changed"),
        ("vae", {"model.image_size": 32}, 0, "it is taken from the data"),
        ("diffusion", {"num_classes": 3}, 0, "it is taken from the data"),
        (
            "vae",
            {"train.num_epochs": 3},
            0,
            "train.num_epochs: may be changed but does not count: it is the length",
        ),
        (
            "vae",
            {"train.num_validation_images": 100},
            0,
            "may be changed but does not count: it is bookkeeping",
        ),
        ("vae", {"model.latent_dim": "8"}, 0, "model.latent_dim: expected a whole number, got '8'"),
        ("vae", {"model.latent_dim": 8.0}, 0, "model.latent_dim: expected a whole number, got 8.0"),
        ("vae", {"model.beta": float("nan")}, 0, "model.beta: "),
        ("vae", {"model.beta": True}, 0, "model.beta: expected a finite number, got True"),
        (
            "vae",
            {"model.network": "transformer"},
            0,
            "model.network: expected one of 'mlp', 'conv'",
        ),
        (
            "vae",
            {"model.latent_dim": 0},
            0,
            "model.latent_dim: out of range: expected 1 to 128, got 0",
        ),
        (
            "vae",
            {"model.hidden_dims": [10**9]},
            0,
            "model.hidden_dims: out of range: expected 4 to 1024",
        ),
        (
            "vae",
            {"model.hidden_dims": [8] * 5},
            0,
            "model.hidden_dims: expected at most 4 entries, got 5",
        ),
        (
            "vae",
            {"model.hidden_dims": []},
            0,
            "model.hidden_dims: expected at least one positive size",
        ),
        ("vae", {"model.network": "conv", "model.hidden_dims": [16, 32]}, 2, "counts"),
        (
            "vae",
            {"model.network": "conv", "model.hidden_dims": [16]},
            1,
            "model.hidden_dims: does not go with the other changes",
        ),
        (
            "vae",
            {"model.num_importance_samples": 5, "model.beta": 3.0},
            1,
            "model.beta: does not go with the other changes: beta: expected 1",
        ),
        (
            "vae",
            {"model.noise_std": 0.2},
            0,
            "model.noise_std: no effect: only the likelihood 'gaussian'",
        ),
        ("vae", {"model.noise_std": 0.2, "model.likelihood": "gaussian"}, 2, "counts"),
        (
            "vae",
            {"model.beta": 0.0, "model.free_bits": 0.5},
            1,
            "model.free_bits: no effect: with beta 0",
        ),
        (
            "vae",
            {"train.schedule": "constant", "train.warmup_fraction": 0.5},
            1,
            "train.warmup_fraction: no effect: only the schedule 'one_cycle'",
        ),
        (
            "dcgan",
            {"model.penalty_share": 0.06},
            0,
            "no effect: it comes to the same whole number of images",
        ),
        ("dcgan", {"model.penalty_share": 0.06, "train.batch_size": 256}, 2, "counts"),
        (
            "dcgan",
            {"model.penalty_share": 0.5, "model.r1_weight": 0.0},
            1,
            "model.penalty_share: no effect: r1_weight and",
        ),
        (
            "dcgan",
            {"model.label_smoothing": 0.1, "model.loss": "hinge"},
            1,
            "does not go with the other changes",
        ),
        (
            "diffusion",
            {"model.sampler": "ddim"},
            0,
            "model.sampler: no effect: 'ddim' without noise",
        ),
        (
            "diffusion",
            {"model.sampler": "heun", "model.num_steps": 1},
            1,
            "model.sampler: no effect: with one step",
        ),
        ("diffusion", {"model.sampler": "heun", "model.num_steps": 3}, 2, "counts"),
        (
            "diffusion",
            {"model.guidance_scale": 3.0, "model.unlabelled": "null"},
            1,
            "model.guidance_scale: no effect: samples without labels",
        ),
    ],
)
def test_what_a_change_is_worth(family, changes, counted, message):
    report = validate_changes(family, changes)
    assert report.num_counted == counted, str(report)
    assert re.search(re.escape(message).replace(r"\.\*", ".*"), str(report)), str(report)
    assert report.enough == (counted >= MIN_COUNTED and not report.problems)


@pytest.mark.parametrize("changes", [None, ["model.latent_dim", 8], "model.latent_dim=8"])
def test_changes_must_be_a_dict(changes):
    with pytest.raises(CourseError, match="changes: expected a dict"):
        validate_changes("vae", changes)


def test_only_the_three_families():
    with pytest.raises(
        CourseError, match="unknown family of the homework 'gaussian'; valid: dcgan, diffusion, vae"
    ):
        validate_changes("gaussian", {})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_homework_trains_the_models_of_the_class(family):
    assert homework_preset(family, "laptop").model == preset(family, "laptop").model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_of_the_class_model(family):
    rows = {row["parameter"]: row for row in parameter_rows(family)}
    assert set(rows) == set(settings_of(family)) and len(rows) == len(parameter_rows(family))
    assert list(rows)[:5] == list(FIRST_FIVE[family]) and all(
        row["meaning"] and row["range"] for row in rows.values()
    )
    assert (
        rows["train.num_epochs"]["counts"].startswith("no: ")
        and rows["train.schedule"]["range"] == "'one_cycle' or 'cosine' or 'constant'"
    )
    assert (
        meaning(family, "train.learning_rate") and meaning(family, "x") == meaning("x", "y") == ""
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_says_what_the_metadata_of_the_configs_say(family):
    baseline = homework_preset(family, "laptop")
    for row in parameter_rows(family):
        group, name = row["parameter"].split(".")
        setting = config_settings(getattr(baseline, group))[name]
        assert row["meaning"] == meaning(family, row["parameter"]) == setting.meaning
        assert row["unit"] == setting.unit
        if setting.sensible is not None:
            assert row["range"] == f"{setting.sensible[0]:g} to {setting.sensible[1]:g}"


# What settings do, on models that train in a fraction of a second.
TINY = {
    "vae": {"model.hidden_dims": (8, 8), "model.latent_dim": 3},
    "dcgan": {
        "model.generator_width": 4,
        "model.discriminator_width": 4,
        "model.latent_dim": 4,
        "train.batch_size": 64,
    },
    "diffusion": {
        "model.channels": (8, 8),
        "model.embed_dim": 16,
        "model.num_steps": 3,
        "train.batch_size": 32,
    },
}
OTHER = {
    "train.optimizer": "adamw",
    "train.muon_learning_rate": 0.1,
    "model.guidance_interval": (0.0, 0.4),
    "model.pairing": "optimal_transport",
    "model.network": "conv",
    "model.hidden_dims": (8, 4),
    "model.latent_dim": 5,
    "model.likelihood": "gaussian",
    "model.binarisation": "dynamic",
    "model.noise_std": 0.3,
    "model.beta": 3.0,
    "model.free_bits": 1.0,
    "model.num_prior_components": 3,
    "model.num_importance_samples": 3,
    "model.conditional": False,
    "model.generator_width": 6,
    "model.discriminator_width": 6,
    "model.loss": "hinge",
    "model.discriminator_norm": "spectral",
    "model.discriminator_lr_factor": 0.5,
    "model.r1_weight": 10.0,
    "model.gradient_penalty_weight": 5.0,
    "model.penalty_share": 0.5,
    "model.instance_noise_std": 0.2,
    "model.minibatch_std": True,
    "model.label_smoothing": 0.2,
    "model.channels": (8, 12),
    "model.num_blocks": 2,
    "model.patch_size": 4,
    "model.embed_dim": 20,
    "model.attention": False,
    "model.schedule": "cosine",
    "model.target": "x0",
    "model.time_sampling": "uniform",
    "model.loss_weighting": "min-snr",
    "model.label_dropout": 0.5,
    "model.unlabelled": "null",
    "model.sampler": "heun",
    "model.num_steps": 4,
    "model.guidance_scale": 2.0,
    "train.learning_rate": 1e-3,
    "train.batch_size": 16,
    "train.schedule": "cosine",
    "train.warmup_fraction": 0.6,
    "train.adam_betas": (0.3, 0.9),
    "train.weight_decay": 0.5,
    "train.max_grad_norm": 1e-2,
    "train.ema_decay": 0.7,
    "train.augmentation": "affine",
}
# what a setting needs to have an effect
NEEDS = {"model.noise_std": {"model.likelihood": "gaussian"}}


def tiny(family: str, dataset, **changes):
    """Returns an experiment of two epochs of a few steps."""
    train = replace(
        homework_preset(family, "smoke").train,
        num_epochs=2,
        num_train_images=128,
        num_validation_images=2,
    )
    experiment = override(replace(homework_preset(family, "smoke"), train=train), TINY[family])
    return override(experiment, changes).fitted_to(dataset)


def made(experiment, dataset) -> list[torch.Tensor]:
    """Returns the trained weights and samples as the homework draws them."""
    model = run(experiment, dataset).model
    return [
        *model.state_dict().values(),
        *(part for part in drawn_samples(model, 6, 0) if part is not None),
    ]


def same(first, second, grey_levels: int = 0) -> bool:
    """Returns whether weights are equal bit by bit, and pixels up to some grey levels."""
    shapes = [[part.shape for part in parts] for parts in (first, second)]
    if shapes[0] != shapes[1]:
        return False
    allowed = [grey_levels if part.dtype == torch.uint8 else 0 for part in first]
    return all(
        (a.double() - b.double()).abs().max() <= limit
        for a, b, limit in zip(first, second, allowed)
    )


@pytest.fixture(scope="module")
def made_once(dataset):
    """Like `made`, for the experiments that settings are changed in: most are changed in the same
    three, so each of them is trained once.
    """
    return functools.cache(lambda experiment: made(experiment, dataset))


@pytest.mark.parametrize(("family", "name"), EACH_SETTING)
def test_every_setting_that_counts_changes_weights_or_samples(family, name, dataset, made_once):
    before = tiny(family, dataset, **NEEDS.get(name, {}))
    after = override(before, {name: OTHER[name]})
    assert effective(before) != effective(after)
    assert not same(made_once(before), made(after, dataset))


IDLE = [
    ("vae", {}, {"model.noise_std": 0.4}),
    ("vae", {"model.beta": 0.0}, {"model.free_bits": 0.7}),
    ("vae", {"train.schedule": "cosine"}, {"train.warmup_fraction": 0.7}),
    ("dcgan", {"model.r1_weight": 0.0}, {"model.penalty_share": 0.9}),
    ("dcgan", {}, {"model.penalty_share": 0.06}),
    ("diffusion", {}, {"model.sampler": "ddim"}),
    ("diffusion", {"model.num_steps": 1}, {"model.sampler": "heun"}),
    ("diffusion", {"model.num_steps": 1}, {"model.sampler": "ddpm"}),
    ("diffusion", {"model.num_steps": 1}, {"model.sampler": "dpm++2m"}),
    ("diffusion", {"model.unlabelled": "null"}, {"model.guidance_scale": 4.0}),
    ("diffusion", {"model.guidance_interval": (0.5, 0.5)}, {"model.guidance_scale": 4.0}),
    ("diffusion", {"model.guidance_scale": 1.0}, {"model.guidance_interval": (0.0, 0.4)}),
    ("diffusion", {"train.optimizer": "adamw"}, {"train.muon_learning_rate": 0.1}),
]


@pytest.mark.parametrize(("family", "context", "change"), IDLE)
def test_settings_without_effect_leave_weights_and_samples_as_they_are(
    family, context, change, dataset
):
    before = tiny(family, dataset, **context)
    after = override(before, change)
    assert before != after and effective(before) == effective(after)
    # samplers round differently
    assert same(made(before, dataset), made(after, dataset), grey_levels=1)


def test_every_rule_of_idle_settings_is_tried():
    """Each rule makes at least one of the pairs above equal."""
    for rule in RULES:
        tried = [
            (context, change)
            for family, context, change in IDLE
            if rule.family in ("", family) and rule.name in change
        ]
        assert tried, rule.name


@pytest.mark.parametrize("one", STARTER_QUESTIONS, ids=lambda one: one.question)
@pytest.mark.parametrize("budget", ["smoke", "laptop", "gpu"])
def test_the_changes_of_a_starter_question_all_count(one, budget):
    report = validate_changes(one.family, one.changes, budget)
    assert report.enough and report.num_counted == len(one.changes) >= MIN_COUNTED, str(report)
    assert one.question.endswith("?")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_is_grouped_by_what_a_parameter_does(family):
    does = [row["does"] for row in parameter_rows(family)]
    assert [what.endswith(" (try first)") for what in does] == [True] * 5 + [False] * (
        len(does) - 5
    )
    places = [GROUPS.index(what) for what in does[5:]]
    assert places == sorted(places) and set(GROUPS) - {"latent code", "sampling"} <= set(does[5:])
    first = FIRST_FIVE[family]
    assert len(set(first)) == 5 and not set(first) & set(NOT_COUNTED)


def test_what_is_trained_shorter_than_in_class_is_named():
    assert lengths_in_words("vae", "laptop", {}) == (
        "The class model was trained for 8 epochs of all images, as in class."
    )
    shorter = {"train.num_epochs": 1, "model.beta": 4.0}
    assert lengths_in_words("dcgan", "laptop", shorter) == (
        "The class model was trained for 4 epochs of 15,000 images, in class for 2 epochs of all"
        " images. The changed model was trained for 1 epoch of 15,000 images."
    )
    assert "changed model" not in lengths_in_words("vae", "laptop", {"train.num_epochs": "many"})
    assert lengths_in_words("pixelcnn", "laptop", {}) == ""
    assert training_length("vae", "laptop") == "trained as in class: 8 epochs of all images"
    assert training_length("dcgan", "laptop") == (
        "the class's model, trained for 4 epochs of 15,000 images; in class it is 2 epochs of all"
        " images"
    )
