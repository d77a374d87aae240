"""Experiments: run once, found again, resumed, described; presets and what the notebooks' training
cell does under each budget.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from materials import make_dataset, same_weights
from toys import Stop, stop_after

from course_utils.base.config import flatten, override
from course_utils.base.device import BUDGETS
from course_utils.base.errors import CourseError
from course_utils.base.files import read_json, write_json
from course_utils.training import runs as checkpoint
from course_utils.training import runs as module
from course_utils.training.fit import loss_terms
from course_utils.training.presets import PRESETS, VARIANTS, Experiment, preset, smoke_version
from course_utils.training.registry import REGISTRY, build
from course_utils.training.runs import (
    RECORD,
    STATE,
    default_folder,
    find_shipped,
    load_run,
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
    assert (preset(name, "laptop") == PRESETS[family]["laptop"]) == same and name.startswith(
        f"{family}-"
    )


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


def test_load_never_trains(dataset, small_presets, shipped, trainings, monkeypatch):
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    assert same_weights(train_or_load("vae", dataset, load=True).model, shipped.model)
    with pytest.raises(CourseError) as error:
        train_or_load("vae", dataset, {"model.beta": 4.0}, load=True)
    assert "no weights ship for vae on blobs with {'model.beta': 4.0}" in str(
        error.value
    ) and "load=False" in str(error.value)
    assert trainings == []


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
