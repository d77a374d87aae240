"""Experiments: run once, found again, resumed, described; presets and what the notebooks' training
cell does under each budget.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from materials import make_dataset, same_weights
from toys import Stop, stop_after

from course_utils.base.config import config_settings, flatten, override
from course_utils.base.device import BUDGETS
from course_utils.base.errors import CourseError
from course_utils.base.files import read_json, write_json
from course_utils.training import runs as checkpoint
from course_utils.training import runs as module
from course_utils.training.config import TrainConfig
from course_utils.training.fit import loss_terms
from course_utils.training.presets import PRESETS, VARIANTS, Experiment, preset, smoke_version
from course_utils.training.registry import REGISTRY, build, config_class
from course_utils.training.runs import (
    RECORD,
    STATE,
    affordable,
    default_folder,
    experiment_key,
    find_shipped,
    load_data_of,
    load_run,
    pretrained,
    run,
    train_or_load,
)


@pytest.fixture
def trainings(monkeypatch):
    """The experiments' train settings, one entry for each time that `fit` was called."""
    calls = []
    fit = module.fit
    monkeypatch.setattr(
        module,
        "fit",
        lambda model, data, config, **options: (
            calls.append(config),
            fit(model, data, config, **options),
        )[1],
    )
    return calls


def test_a_finished_run_is_loaded_and_not_run_again(dataset, tiny_vae, trainings):
    first, second = run(tiny_vae, dataset), run(tiny_vae, dataset)
    assert len(trainings) == 1 and same_weights(first.model, second.model)
    assert first.folder == second.folder == default_folder(tiny_vae.fitted_to(dataset), dataset)
    assert first.record["finished"] and not (first.folder / STATE).exists()
    assert not first.model.training and first.history.num_epochs == 3


def test_other_settings_or_data_are_another_run(dataset, tiny_vae):
    other_data = make_dataset(num_train=200)
    folders = {
        default_folder(experiment.fitted_to(data), data)
        for experiment, data in (
            (tiny_vae, dataset),
            (replace(tiny_vae, seed=1), dataset),
            (override(tiny_vae, {"model.beta": 2.0}), dataset),
            (override(tiny_vae, {"train.num_epochs": 4}), dataset),
            (tiny_vae, other_data),
        )
    }
    assert len(folders) == 5


def test_record_holds_data_time_and_metrics_of_all_test_images(dataset, tiny_vae):
    result = run(tiny_vae, dataset)
    record = result.record
    assert (
        record["dataset_sha256"] == dataset.sha256
        and record["num_train_images"] == 256
        and record["training_seconds"] > 0
    )
    expected = loss_terms(result.model, dataset.test_images, dataset.test_labels)
    assert (
        set(record["metrics"]) == set(expected) == {"loss", "negative_elbo", "reconstruction", "kl"}
    )
    values = expected["negative_elbo"]
    assert result.metric("negative_elbo") == pytest.approx(
        (values.mean().item(), values.std().item() / 8.0)
    )
    assert record["metrics"]["kl"]["num_images"] == 64


def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(dataset, tiny_vae, tmp_path):
    whole = run(tiny_vae, dataset, tmp_path / "whole")
    with pytest.raises(Stop):
        run(tiny_vae, dataset, tmp_path / "cut", on_epoch=stop_after(2))
    assert (tmp_path / "cut" / STATE).exists() and not (tmp_path / "cut" / RECORD).exists()
    epochs = []
    resumed = run(
        tiny_vae,
        dataset,
        tmp_path / "cut",
        on_epoch=lambda _, history: epochs.append(history.num_epochs),
    )
    assert (
        epochs == [3]
        and same_weights(resumed.model, whole.model)
        and same_weights(load_run(tmp_path / "cut").model, whole.model)
    )


def test_resume_false_starts_anew(dataset, tiny_vae, tmp_path):
    with pytest.raises(Stop):
        run(tiny_vae, dataset, tmp_path, on_epoch=stop_after(2))
    epochs = []
    run(
        tiny_vae,
        dataset,
        tmp_path,
        resume=False,
        on_epoch=lambda _, history: epochs.append(history.num_epochs),
    )
    assert epochs == [1, 2, 3]


def test_ctrl_c_gives_an_unfinished_run_that_the_next_call_finishes(dataset, tiny_vae):
    def interrupt(_, history):
        if history.num_epochs == 1:
            raise KeyboardInterrupt

    stopped = run(tiny_vae, dataset, on_epoch=interrupt)
    assert (
        not stopped.record["finished"]
        and stopped.history.num_epochs == 1
        and not (stopped.folder / RECORD).exists()
    )
    finished = run(tiny_vae, dataset)
    assert finished.record["finished"] and finished.history.num_epochs == 3


def test_metrics_of_a_half_run_are_those_of_the_stored_weights(dataset, tiny_vae, tmp_path):
    result = run(tiny_vae, dataset, tmp_path, half=True)
    loaded = load_run(tmp_path)
    assert same_weights(result.model, loaded.model)
    measured = (
        loss_terms(loaded.model, dataset.test_images, dataset.test_labels)["loss"].mean().item()
    )
    assert loaded.metric("loss")[0] == pytest.approx(measured, rel=1e-6)


def test_a_test_set_of_two_images_is_the_smallest_that_has_an_error_bar(tiny_vae, tmp_path):
    run(tiny_vae, make_dataset(num_train=64, num_test=2), tmp_path)
    assert load_run(tmp_path).record["metrics"]["loss"]["num_images"] == 2
    with pytest.raises(CourseError, match="the test set has 1 images; expected at least 2"):
        make_dataset(num_train=64, num_test=1)


def test_the_model_takes_its_shape_from_the_dataset(tiny_classifier):
    data = make_dataset((3, 16, 16), num_train=64, num_test=8)
    fitted = tiny_classifier.fitted_to(data)
    assert (
        fitted.dataset,
        fitted.model.image_channels,
        fitted.model.image_size,
        fitted.model.num_classes,
    ) == ("blobs", 3, 16, 4)
    assert tiny_classifier.model.image_channels == 1


def test_images_that_are_not_square_are_refused(tiny_vae):
    with pytest.raises(CourseError) as error:
        tiny_vae.fitted_to(make_dataset((1, 28, 20), num_train=4, num_test=4))
    assert "expected square images, got 28 by 20 pixels" in str(error.value)


# Presets


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("family", sorted(REGISTRY))
def test_presets_exist_for_every_budget_and_survive_json(family, budget):
    experiment = preset(family, budget)
    assert Experiment.from_dict(experiment.as_dict()) == experiment
    assert type(build(experiment.model)) is REGISTRY[family][1]


@pytest.mark.parametrize("family", sorted(REGISTRY))
def test_smoke_differs_from_laptop_in_the_amount_of_work_only(family):
    smoke, laptop = (flatten(PRESETS[family][name]) for name in ("smoke", "laptop"))
    differing = {name for name in smoke if smoke[name] != laptop[name]}
    assert differing <= {
        "train.num_epochs",
        "train.num_train_images",
        "train.num_validation_images",
        "model.num_pairs",  # that a student's teacher draws
    }
    assert (
        smoke["train.num_train_images"] <= 4 * smoke["train.batch_size"]
        and smoke["train.num_epochs"] == 1
    )


def test_budget_of_the_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "gpu")
    assert preset("vae") == PRESETS["vae"]["gpu"] != PRESETS["vae"]["smoke"]


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_presets_of_their_family_with_changes(name):
    family, changes = VARIANTS[name]
    for budget in ("laptop", "gpu"):
        assert preset(name, budget) == override(PRESETS[family][budget], changes)
    assert preset(name, "smoke") == smoke_version(preset(name, "laptop"))
    same = name == "regressor-inpaint-half"  # every problem has its name, the preset's own too
    assert (preset(name, "laptop") == PRESETS[family]["laptop"]) == same
    assert name.startswith(f"{family}-") or name == "reflow"  # the latter is the field's word


def test_an_unknown_variant_lists_families_and_variants():
    with pytest.raises(CourseError) as error:
        preset("vae-binari")
    assert f"valid: {', '.join(sorted([*REGISTRY, *VARIANTS]))}. Did you mean 'vae-binary'?" in str(
        error.value
    )


def test_changed_writes_dots_as_double_underscores(tiny_vae):
    assert tiny_vae.changed(model__latent_dim=2, seed=3) == override(
        tiny_vae, {"model.latent_dim": 2, "seed": 3}
    )


def test_changes_that_fit_together_may_come_in_any_order():
    conv = {"model.network": "conv", "model.hidden_dims": [8, 16]}
    experiment = override(preset("vae", "smoke"), conv)
    back = {"model.hidden_dims": [400], "model.network": "mlp"}
    assert override(experiment, back) == override(experiment, dict(reversed(back.items())))


# The notebooks' training cell


@pytest.fixture
def small_presets(monkeypatch, tiny_vae):
    """A laptop preset that is the tiny experiment, and a folder of shipped runs, empty at first."""
    tiny = replace(tiny_vae, dataset="auto")
    monkeypatch.setitem(PRESETS, "vae", {"smoke": smoke_version(tiny), "laptop": tiny, "gpu": tiny})


@pytest.fixture
def shipped(monkeypatch, tmp_path, dataset, tiny_vae):
    folder = tmp_path / "pretrained"
    for place in (checkpoint, module):
        monkeypatch.setattr(place, "PRETRAINED", folder)
    return run(tiny_vae, dataset, folder / "vae-blobs")


def test_smoke_trains_a_little_and_then_gives_the_shipped_weights(
    dataset, small_presets, shipped, trainings, capsys
):
    result = train_or_load("vae", dataset)
    assert [config.num_epochs for config in trainings] == [1]
    assert (
        same_weights(result.model, shipped.model)
        and "smoke budget: trained 1 short epoch\n" in capsys.readouterr().out
    )


def test_smoke_gives_the_short_training_where_nothing_ships(
    dataset, small_presets, shipped, capsys
):
    result = train_or_load("vae", dataset, {"model.latent_dim": 3})
    assert (
        result.history.num_epochs == 1
        and result.folder is None
        and result.experiment.model.latent_dim == 3
    )
    assert "nothing ships for this setting" in capsys.readouterr().out


def test_a_variant_is_trained_by_its_name(dataset, small_presets, shipped, monkeypatch):
    monkeypatch.setitem(VARIANTS, "vae-other", ("vae", {"model.latent_dim": 3}))
    assert (
        train_or_load("vae-other", dataset).experiment
        == train_or_load("vae", dataset, {"model.latent_dim": 3}).experiment
    )


def test_a_shipped_run_is_found_again_after_a_setting_was_added(shipped, tiny_vae):
    """A record of an older version lacks the setting: it was trained as the default of today
    says.
    """
    record = read_json(shipped.folder / RECORD)
    assert record["experiment"]["model"].pop("binarisation") == "none"
    write_json(shipped.folder / RECORD, record)
    assert find_shipped(shipped.experiment) == shipped.folder
    assert find_shipped(shipped.experiment.changed(model__binarisation="dynamic")) is None


def test_load_takes_what_ships_and_trains_what_does_not(
    dataset, small_presets, shipped, trainings, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    assert same_weights(train_or_load("vae", dataset, load=True).model, shipped.model)
    assert trainings == []
    changed = train_or_load("vae", dataset, {"model.beta": 4.0}, load=True)
    assert len(trainings) == 1 and changed.experiment.model.beta == 4.0
    assert "no weights ship for these settings and images" in capsys.readouterr().out
    train_or_load("vae", dataset, {"model.beta": 4.0}, load=True)
    assert len(trainings) == 1
    assert "loaded vae from an earlier run of yours" in capsys.readouterr().out


def test_shipped_weights_go_with_the_images_they_were_trained_on(
    dataset, small_presets, shipped, trainings, monkeypatch
):
    """Other images under the same name get a model of their own."""
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    others = replace(dataset, train_images=255 - dataset.train_images)
    assert same_weights(pretrained("vae", dataset).model, shipped.model)
    assert trainings == []
    own = pretrained("vae", others)
    assert len(trainings) == 1 and own.record["dataset_sha256"] == others.sha256
    assert not same_weights(own.model, shipped.model)
    assert same_weights(pretrained("vae", others).model, own.model) and len(trainings) == 1
    assert find_shipped(shipped.experiment, dataset) == shipped.folder
    assert find_shipped(shipped.experiment, others) is None


def test_a_shipped_variant_without_a_preset_is_trained_with_its_settings(dataset, monkeypatch):
    """`vae-beta4` is no preset: its settings are those of the weights that ship for strokes."""
    seen = []
    monkeypatch.setattr("course_utils.training.runs.run", lambda *args: seen.append(args) or "run")
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    assert pretrained("vae-beta4", dataset) == "run"
    experiment, data = seen[0]
    assert experiment.model.beta == 4.0 and experiment.dataset == "blobs" and data is dataset
    with pytest.raises(CourseError, match="unknown family 'vae-beta7'"):
        pretrained("vae-beta7", dataset)


def test_no_training_sees_more_pixels_than_one_on_mnist(tiny_vae):
    small, large = (make_dataset((3, side, side), num_train=8, num_test=4) for side in (28, 64))
    many = replace(
        large,
        train_images=large.train_images[:1].expand(20_000, -1, -1, -1),
        train_labels=large.train_labels[:1].expand(20_000),
    )
    assert affordable(tiny_vae, small) is tiny_vae and affordable(tiny_vae, large) is tiny_vae
    assert affordable(tiny_vae, many).train.num_train_images == 60_000 * 28 * 28 // (64 * 64)
    few = tiny_vae.changed(train__num_train_images=100)
    assert affordable(few, many) is few


def own_pictures(dataset, content_id="0123456789ab", name="folder:pets", folder="/home/me/pets"):
    return replace(dataset, name=name, folder=folder, content_id=content_id)


def test_own_pictures_are_found_by_content_and_not_by_place(dataset, tiny_vae):
    here = own_pictures(dataset)
    moved = own_pictures(dataset, name="folder:animals", folder="/mnt/animals")
    assert here.key == moved.key == "folder:0123456789ab"
    first, second = run(tiny_vae, here), run(tiny_vae, moved)
    assert first.folder == second.folder and same_weights(first.model, second.model)
    assert first.experiment.dataset == here.key and ":" not in first.folder.name
    assert first.record["data"] == {
        "name": "folder:pets",
        "folder": "/home/me/pets",
        "image_size": 28,
    }
    assert default_folder(tiny_vae.fitted_to(own_pictures(dataset, "f" * 12)), here) != first.folder


def test_few_pictures_are_passed_over_often_enough(dataset, tiny_vae):
    """A folder of few pictures gets as many steps an epoch as the settings ask for, 50 at most;
    other datasets are passed over once, as ever.
    """
    few = own_pictures(dataset.subset(40, 20))
    assert tiny_vae.fitted_to(few).train.min_epoch_steps == 50
    assert tiny_vae.fitted_to(dataset.subset(40, 20)).train.min_epoch_steps is None
    assert tiny_vae.changed(train__min_epoch_steps=7).fitted_to(few).train.min_epoch_steps == 7
    asked = tiny_vae.changed(train__num_train_images=128)  # two batches
    assert asked.fitted_to(few).train.min_epoch_steps == 2
    assert smoke_version(tiny_vae).fitted_to(few).train.min_epoch_steps == 4
    assert smoke_version(tiny_vae.fitted_to(few)).train.min_epoch_steps == 4
    assert smoke_version(tiny_vae).train.min_epoch_steps is None


def test_data_of_a_run_come_from_where_they_are_recorded_or_said(dataset, tiny_vae, monkeypatch):
    asked = []

    def load(name, *, image_size, verbose):
        asked.append((name, image_size, verbose))
        return here

    here = own_pictures(dataset, folder=str(Path(__file__).parent))
    monkeypatch.setattr("course_utils.data.load_dataset", load)
    trained = run(tiny_vae, here)
    assert load_data_of(trained) is here
    assert load_data_of(trained, "/", verbose=False) is here
    assert asked == [(f"folder:{Path(__file__).parent}", 28, True), ("folder:/", 28, False)]
    gone = replace(trained, record={**trained.record, "data": {"folder": "/no/such/place"}})
    with pytest.raises(CourseError, match="/no/such/place, and they are not there.*--data PATH"):
        load_data_of(gone)
    here = own_pictures(dataset, "f" * 12)
    with pytest.raises(CourseError, match="folder:0123456789ab.*folder:ffffffffffff.*--data PATH"):
        load_data_of(trained, "/")


# What told runs apart when settings began to be added. Whatever comes later is marked
# `added=True`, or every run that a learner has would be orphaned by the update.
FIRST_SETTINGS = {
    "train": """adam_betas augmentation batch_size channels_last ema_decay learning_rate
        max_grad_norm num_epochs num_train_images num_validation_images precision schedule
        warmup_fraction weight_decay""",
    "vae": """beta binarisation free_bits hidden_dims image_channels image_size latent_dim
        likelihood network noise_std num_importance_samples num_prior_components""",
    "classifier": "channels feature_dim image_channels image_size label_smoothing num_classes",
    "dcgan": """conditional discriminator_lr_factor discriminator_norm discriminator_width
        generator_width gradient_penalty_weight image_channels image_size instance_noise_std
        label_smoothing latent_dim loss minibatch_std num_classes penalty_share r1_weight""",
    "diffusion": """attention channels embed_dim guidance_scale image_channels image_size
        label_dropout loss_weighting num_blocks num_classes num_steps patch_size sampler schedule
        target time_sampling unlabelled""",
    "regressor": """attention channels embed_dim image_channels image_size noise_std num_blocks
        patch_size problem""",
    "gaussian": "image_channels image_size latent_dim num_classes start_noise_std",
}


@pytest.mark.parametrize("name", FIRST_SETTINGS)
def test_a_setting_that_was_added_later_is_marked(name):
    config = TrainConfig if name == "train" else config_class(name)
    known = {name for name, told in config_settings(config).items() if not told.added}
    assert known == set(FIRST_SETTINGS[name].split())


def test_an_added_setting_at_its_default_leaves_the_key_alone(tiny_vae):
    assert tiny_vae.train.min_epoch_steps is None
    written = tiny_vae.as_dict()
    assert set(written["train"]) == set(FIRST_SETTINGS["train"].split())
    assert Experiment.from_dict(written) == tiny_vae
    text = json.dumps([written, "0" * 64], sort_keys=True)
    assert experiment_key(written, "0" * 64) == hashlib.sha256(text.encode()).hexdigest()
    other = tiny_vae.changed(train__min_epoch_steps=9)
    assert other.as_dict()["train"]["min_epoch_steps"] == 9
    assert Experiment.from_dict(other.as_dict()) == other
    assert experiment_key(other.as_dict(), "0" * 64) != experiment_key(written, "0" * 64)


def test_laptop_trains_once_and_says_how_long_it_took_before(
    dataset, small_presets, shipped, trainings, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    first = train_or_load("vae", dataset)
    assert "training vae on blobs, 3 epochs; this took" in capsys.readouterr().out
    second = train_or_load("vae", dataset)
    assert "loaded vae from an earlier run of yours; nothing was trained" in capsys.readouterr().out
    assert len(trainings) == 1 and same_weights(first.model, second.model)


def test_training_draws_nothing_from_the_global_generator(dataset, small_presets, shipped):
    torch.manual_seed(2)
    before = torch.get_rng_state()
    train_or_load("vae", dataset)
    assert torch.equal(torch.get_rng_state(), before)
