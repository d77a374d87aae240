"""A student's path through one model: folder, plan, runs, tables, pictures, texts; what comes too early, and what can no longer be changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from materials import make_dataset

from course_utils import homework
from course_utils.config import override
from course_utils.errors import CourseError
from course_utils.files import read_json
from course_utils.homework import budgets, student, study
from course_utils.homework.folder import find_homework, new_homework, study_folder
from course_utils.homework.gather import gather_results
from course_utils.homework.plan import make_plan, start_over, write_texts
from course_utils.homework.rule import check
from course_utils.homework.schema import read_row
from course_utils.homework.study import ablation_effects, ablations, effects_of, run_study

CHANGES = {"model.latent_dim": 3, "model.beta": 4.0, "train.learning_rate": 1e-3}
PREDICTION = "Fewer latent dimensions and a larger beta will blur the samples, so FID rises in every seed."
OBSERVATION = "FID rose in all three seeds, and the samples of the changed model look thicker and greyer."
EXPLANATION = "Three dimensions hold less about an image, and beta makes the encoder pay more for each nat."


@pytest.fixture
def few(monkeypatch):
    """Blobs in the place of strokes, and a VAE that trains at once."""
    blobs = replace(make_dataset(name="strokes", num_test=210), class_names=tuple("0123456789"))
    monkeypatch.setattr(student, "load_dataset", lambda name, **_: blobs)
    whole = budgets.homework_preset

    def small(family, budget_name):
        experiment = whole(family, budget_name)
        train = replace(experiment.train, num_train_images=128, batch_size=64, num_validation_images=10)
        return override(replace(experiment, train=train), {"model.hidden_dims": (8, 8)} if family == "vae" else {})

    for module in ("study", "parameters", "judge_runs"):
        monkeypatch.setattr(f"course_utils.homework.{module}.homework_preset", small)
    return blobs


@pytest.fixture
def place(tmp_path):
    new_homework(tmp_path / "mine", "A. Student", "strokes", "smoke", (0, 1, 2))
    return study_folder(tmp_path / "mine", "vae")


def planned(place):
    return make_plan(place, CHANGES, PREDICTION)


def test_new_makes_a_folder_that_the_reader_understands(tmp_path):
    new_homework(tmp_path / "mine", "A. Student", "strokes", "laptop", (3, 4))
    about = read_json(tmp_path / "mine" / "homework.json")
    expected = {"version": 1, "student": "A. Student", "dataset": "strokes", "budget": "laptop", "seeds": [3, 4]}
    assert {name: about[name] for name in expected} == expected
    place = study_folder(tmp_path / "mine", "dcgan")
    assert (place.dataset_name, place.budget, place.seeds, place.plan(), place.rows()) == ("strokes", "laptop", (3, 4), None, [])
    assert find_homework(tmp_path / "mine" / "dcgan") == tmp_path / "mine" and find_homework(tmp_path) is None


def test_new_copies_the_notebooks_and_overwrites_none(tmp_path, monkeypatch):
    (tmp_path / "course" / "homework").mkdir(parents=True)
    for name in ("vae.ipynb", "report.ipynb"):
        (tmp_path / "course" / "homework" / name).write_text(name)
    monkeypatch.setattr("course_utils.homework.folder.course_root", lambda: tmp_path / "course")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "vae.ipynb").write_text("my own work")
    assert [path.name for path in new_homework(tmp_path / "mine", "A", "strokes", "smoke")] == ["report.ipynb"]
    assert (tmp_path / "mine" / "vae.ipynb").read_text() == "my own work"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "strokes", "smoke"), "name: expected 1 to 200 characters"),
        (("a\nb", "strokes", "smoke"), "name: expected 1 to 200 characters in one line"),
        (("A", "strokes", "huge"), "unknown budget 'huge'"),
        (("A", "strokes", "smoke", ()), "seeds: expected different whole numbers"),
        (("A", "strokes", "smoke", (1, 1)), "seeds: expected different whole numbers"),
        (("A", "strokes", "smoke", (-1,)), "seeds: expected different whole numbers"),
    ],
)
def test_new_refuses(tmp_path, arguments, message):
    with pytest.raises(CourseError, match=message):
        new_homework(tmp_path / "mine", *arguments)
    assert not (tmp_path / "mine" / "homework.json").exists()


def test_new_never_replaces_a_homework(place):
    with pytest.raises(CourseError, match="holds a homework already"):
        new_homework(place.folder, "B", "mnist", "gpu")


@pytest.mark.parametrize(
    ("changes", "prediction", "message"),
    [
        (CHANGES, "", "vae: the prediction: expected a text, got an empty one. Write what you expect"),
        (CHANGES, "FID rises", "the prediction: expected at least 8 words"),
        ({"model.latent_dim": 3}, PREDICTION, "expected at least 3 changes that count, got 1: nothing else is changed"),
        ({**CHANGES, "model.beta": 1.0}, PREDICTION, "got 2: model.beta: no effect: 1.0 is the value in class"),
        ({**CHANGES, "model.depth": 3}, PREDICTION, "model.depth: unknown parameter"),
    ],
)
def test_a_plan_that_is_not_complete_is_refused(place, changes, prediction, message):
    with pytest.raises(CourseError, match=message):
        make_plan(place, changes, prediction)
    assert place.plan() is None


def test_nothing_runs_without_a_plan(place, few):
    with pytest.raises(CourseError, match="vae: there is no plan yet; open vae.ipynb"):
        run_study(place, few)


def test_a_plan_edited_by_hand_is_judged_again(place, few):
    plan = {**json.loads(json.dumps(planned(place).__dict__)), "prediction": ""}
    place.plan_path.write_text(json.dumps(plan))
    with pytest.raises(CourseError, match="the prediction: expected a text"):
        run_study(place, few)
    assert place.rows() == []


def test_the_plan_may_change_until_something_ran(place, few):
    first = planned(place)
    assert planned(place) == first  # an equal plan keeps its time
    other = make_plan(place, {**CHANGES, "model.beta": 2.0}, PREDICTION)
    assert other != first and place.plan() == other
    run_study(place, few)
    assert make_plan(place, {**CHANGES, "model.beta": 2.0}, PREDICTION) == other
    for changes, prediction in ((CHANGES, PREDICTION), ({**CHANGES, "model.beta": 2.0}, PREDICTION + " I knew it.")):
        with pytest.raises(CourseError, match="the changed model has run, so changes and prediction stay as they were planned"):
            make_plan(place, changes, prediction)
    assert place.plan() == other


def test_the_whole_path_meets_the_rule_of_its_model(place, few, capsys):
    planned(place)
    rows = run_study(place, few)
    assert [(row["seed"], row["kind"]) for row in rows] == [(seed, kind) for seed in (0, 1, 2) for kind in ("baseline", "changed")]
    for line in place.rows_path.read_bytes().splitlines():
        read_row(line)  # the schema of what is handed in
    write_texts(place, OBSERVATION, EXPLANATION)
    verdict = check(gather_results(place.folder, few.sha256))
    assert [point for point in verdict.points if not point.ok and point.name != "models"] == [], str(verdict)
    again = run_study(place, few)
    assert again == rows and "6 runs, 6 of them finished before" in capsys.readouterr().out


def test_effects_are_over_the_seeds_that_both_have(place, few):
    planned(place)
    with pytest.raises(CourseError, match="no seed has run with both models yet"):
        effects_of(place, CHANGES)
    run_study(place, few)
    effects = {effect.comparison.name: effect for effect in effects_of(place, CHANGES)}
    assert effects["FID"].comparison.num_seeds == (3, 3) and effects["KL"].info.better == ""
    kl = effects["KL"].comparison
    assert effects["KL"].verdict == (f"real: {'higher' if kl.changed.value > kl.baseline.value else 'lower'}" if kl.verdict else "within noise")
    likelihood = {effect.comparison.name: effect.verdict for effect in effects_of(place, {"model.likelihood": "gaussian"})}
    assert likelihood["negative ELBO"] == "not comparable: model.likelihood changes its meaning" and "not comparable" not in likelihood["FID"]


def test_better_and_worse_follow_the_metric(place, few):
    planned(place)
    for kind, shift in (("baseline", 0.0), ("changed", 1.0)):
        for seed in (0, 1, 2):
            metrics = {name: {"value": 5 + shift + seed / 100, "error": 0.01, "num_images": 200} for name in ("FID", "precision", "diversity")}
            row = {name: "" for name in ("experiment", "key", "started", "finished", "machine", "training_seconds", "sampling_seconds", "history")}
            place.rows_path.parent.mkdir(exist_ok=True)
            with open(place.rows_path, "a") as stream:
                stream.write(json.dumps({**row, "kind": kind, "ablated": None, "seed": seed, "metrics": metrics}) + "\n")
    verdicts = {effect.comparison.name: effect.verdict for effect in effects_of(place, CHANGES)}
    assert verdicts == {"FID": "real: worse", "precision": "real: better", "diversity": "real: higher"}


def test_one_change_at_a_time_is_left_out(place, few):
    planned(place)
    rows = run_study(place, few, ablate=True)
    left_out = [(row["ablated"], row["experiment"]["model"]["beta"]) for row in rows if row["kind"] == "ablation" and row["seed"] == 0]
    assert left_out == [("model.latent_dim", 4.0), ("model.beta", 1.0), ("train.learning_rate", 4.0)]
    assert set(ablation_effects(place, list(CHANGES))) == set(CHANGES)


def test_what_the_others_need_cannot_be_left_out(capsys):
    found = ablations("vae", "smoke", {"model.likelihood": "bernoulli", "model.num_importance_samples": 3, "model.latent_dim": 3, "model.beta": 1.0})
    assert [variant.ablated for variant in found] == ["model.likelihood", "model.num_importance_samples", "model.latent_dim", "model.beta"]
    conv = {"model.network": "conv", "model.hidden_dims": [8, 16], "model.latent_dim": 3, "train.batch_size": 64}
    assert len(ablations("vae", "smoke", conv)) == 4
    three = {"model.hidden_dims": [8, 16, 8], "model.network": "mlp", "model.latent_dim": 3}
    assert len(ablations("vae", "smoke", three)) == 3 and capsys.readouterr().out == ""


def test_texts_come_after_the_runs_and_say_something(place, few):
    planned(place)
    with pytest.raises(CourseError, match="nothing has run yet"):
        write_texts(place, OBSERVATION, EXPLANATION)
    run_study(place, few)
    with pytest.raises(CourseError, match="the explanation: expected a text"):
        write_texts(place, OBSERVATION, "")
    assert write_texts(place, OBSERVATION, EXPLANATION).prediction == PREDICTION == place.plan().prediction


def test_starting_over_keeps_everything_aside(place, few):
    planned(place)
    run_study(place, few)
    kept = start_over(place)
    assert place.plan() is None and place.rows() == [] and (kept / "rows.jsonl").exists() and kept.name == "vae-1"
    make_plan(place, {**CHANGES, "model.beta": 2.0}, PREDICTION)
    assert start_over(place).name == "vae-2"
    with pytest.raises(CourseError, match="nothing to start over from"):
        start_over(place)
    assert gather_results(place.folder, few.sha256).experiments == ()  # what is aside is not handed in


def test_other_data_than_the_homeworks_are_refused(place, dataset):
    planned(place)
    with pytest.raises(CourseError, match="expected the dataset 'strokes' of its homework.json, got 'blobs'"):
        run_study(place, dataset)


# What the notebooks call.


def test_a_notebook_runs_from_top_to_bottom_before_anything_is_chosen(place, few, capsys):
    own = homework.open_homework("vae", place.folder)
    assert "Homework(vae on strokes, budget smoke, seeds 0, 1, 2" in repr(own)
    assert "model.latent_dim" in repr(own.parameters()) and "<table" in own.parameters()._repr_html_()
    own.check({})
    assert [own.plan({}, ""), own.run(), own.table(), own.show("curves"), own.ablate(), own.ablation_table(), own.write("", "")] == [None] * 7
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not yet: ")]
    assert len(lines) == 7 and "0 of 3" not in lines[0]
    with pytest.raises(CourseError, match="expected a dict"):
        own.check(None)


def test_the_notebooks_path(place, few, capsys):
    own = homework.open_homework("vae", place.folder)
    own.check(CHANGES)
    assert "3 of 3 parameters count" in capsys.readouterr().out
    own.plan(CHANGES, PREDICTION)
    own.run()
    assert {"curves", "samples", "reconstructions", "latent-map-class-model", "latent-map-changed-model"} == set(own.picture_names)
    saved = {path.name for path in place.samples_path.iterdir()}
    assert saved == {f"{name}.png" for name in own.picture_names}
    table = own.table()
    assert "within noise" in repr(table) or "real" in repr(table)
    assert "negative ELBO (nats an image)" in table.frame.index
    assert own.show("nothing of that name") is None and "there is no picture 'nothing of that name'; choose one of curves" in capsys.readouterr().out
    own.ablate()
    assert list(own.ablation_table().frame.index) == list(CHANGES)
    assert own.write(OBSERVATION, EXPLANATION).observation == OBSERVATION
    own.start_over()
    assert "kept in" in capsys.readouterr().out


def test_without_a_homework_one_tries_out_in_a_folder_of_its_own(tmp_path, few, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = homework.open_homework("vae")
    assert own.place.folder == tmp_path / "runs" / "homework-trial" and own.place.budget == "smoke"
    assert homework.open_homework("dcgan").place.folder == own.place.folder
    assert "no homework.json here" in capsys.readouterr().out


@pytest.mark.parametrize("family", ["dcgan", "diffusion"])
def test_pictures_of_the_other_families(family, few, tmp_path):
    from course_utils.homework.pictures import pictures

    small = {
        "dcgan": {"model.generator_width": 4, "model.discriminator_width": 4},
        "diffusion": {"model.channels": (8, 8), "model.embed_dim": 16},
    }[family]
    smoke = override(budgets.homework_preset(family, "smoke"), {**small, "train.num_train_images": 64, "train.num_epochs": 2})
    runs = {
        "class model": study_run(smoke, few),
        "changed model": study_run(override(smoke, {"train.learning_rate": 1e-3}), few),
    }
    found = pictures(runs, few, 50)
    assert set(found) == {"curves", "samples", {"dcgan": "class-shares", "diffusion": "fid-over-steps"}[family]}
    assert all(len(picture.alt) > 40 and picture.alt.count("class model") == 1 for picture in found.values())


def study_run(experiment, dataset):
    from course_utils.sweep_run import find_or_train

    return find_or_train(experiment.fitted_to(dataset), dataset)


def test_the_module_of_the_runs_is_the_one_that_was_patched():
    """`few` patches names in these modules; a renamed one would silently train the real models."""
    assert study.homework_preset is budgets.homework_preset
