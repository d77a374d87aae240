"""A student's path through one model: folder, plan, runs, tables, pictures, texts; what comes too
early, and what can no longer be changed.
"""

from __future__ import annotations

import json

import pytest
from students import CHANGES, EXPLANATION, OBSERVATION, PREDICTION

from course_utils.base.config import override
from course_utils.base.errors import CourseError
from course_utils.base.files import read_json
from course_utils.homework import parameters as budgets
from course_utils.homework import student, study
from course_utils.homework.rule import check_rule
from course_utils.homework.schema import Plan, read_row
from course_utils.homework.study import (
    ablation_effects,
    ablations,
    effects_of,
    find_homework,
    gather_results,
    gather_samples,
    make_plan,
    missing_time,
    new_homework,
    now,
    read_homework,
    run_study,
    start_over,
    study_folder,
    write_texts,
)


def planned(vae_place):
    """Returns the plan of a good student."""
    return make_plan(vae_place, CHANGES, PREDICTION)


def test_new_makes_a_folder_that_the_reader_understands(tmp_path):
    new_homework(tmp_path / "mine", "A. Student", "strokes", "laptop", (3, 4))
    about = read_json(tmp_path / "mine" / "homework.json")
    expected = {
        "version": 1,
        "student": "A. Student",
        "dataset": "strokes",
        "budget": "laptop",
        "seeds": [3, 4],
    }
    assert {name: about[name] for name in expected} == expected
    vae_place = study_folder(tmp_path / "mine", "dcgan")
    assert (
        vae_place.dataset_name,
        vae_place.budget,
        vae_place.seeds,
        vae_place.plan(),
        vae_place.rows(),
    ) == ("strokes", "laptop", (3, 4), None, [])
    assert (
        find_homework(tmp_path / "mine" / "dcgan") == tmp_path / "mine"
        and find_homework(tmp_path) is None
    )


def test_new_copies_the_notebooks_and_overwrites_none(tmp_path, monkeypatch):
    (tmp_path / "course" / "homework").mkdir(parents=True)
    for name in ("vae.ipynb", "report.ipynb"):
        (tmp_path / "course" / "homework" / name).write_text(name)
    monkeypatch.setattr("course_utils.homework.study.handout_root", lambda: tmp_path / "course")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "vae.ipynb").write_text("my own work")
    assert [path.name for path in new_homework(tmp_path / "mine", "A", "strokes", "smoke")] == [
        "report.ipynb"
    ]
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


def test_new_never_replaces_a_homework(vae_place):
    with pytest.raises(CourseError, match="holds a homework already"):
        new_homework(vae_place.folder, "B", "mnist", "gpu")


@pytest.mark.parametrize(
    ("changes", "prediction", "message"),
    [
        (
            CHANGES,
            "",
            "vae: the prediction: expected a text, got an empty one. Write what you expect",
        ),
        (CHANGES, "FID rises", "the prediction: expected at least 8 words"),
        (
            {"model.latent_dim": 3},
            PREDICTION,
            "expected at least 3 changes that count, got 1: nothing else is changed",
        ),
        (
            {**CHANGES, "model.beta": 1.0},
            PREDICTION,
            "got 2: model.beta: no effect: 1.0 is the value in class",
        ),
        ({**CHANGES, "model.depth": 3}, PREDICTION, "model.depth: unknown parameter"),
    ],
)
def test_a_plan_that_is_not_complete_is_refused(vae_place, changes, prediction, message):
    with pytest.raises(CourseError, match=message):
        make_plan(vae_place, changes, prediction)
    assert vae_place.plan() is None


def test_nothing_runs_without_a_plan(vae_place, few_strokes):
    with pytest.raises(CourseError, match="vae: there is no plan yet; open vae.ipynb"):
        run_study(vae_place, few_strokes)


def test_a_plan_edited_by_hand_is_judged_again(vae_place, few_strokes):
    plan = {**json.loads(json.dumps(planned(vae_place).__dict__)), "prediction": ""}
    vae_place.plan_path.write_text(json.dumps(plan))
    with pytest.raises(CourseError, match="the prediction: expected a text"):
        run_study(vae_place, few_strokes)
    assert vae_place.rows() == []


def test_the_plan_may_change_until_something_ran(vae_place, few_strokes):
    first = planned(vae_place)
    assert planned(vae_place) == first  # an equal plan keeps its time
    other = make_plan(vae_place, {**CHANGES, "model.beta": 2.0}, PREDICTION)
    assert other != first and vae_place.plan() == other
    run_study(vae_place, few_strokes)
    assert make_plan(vae_place, {**CHANGES, "model.beta": 2.0}, PREDICTION) == other
    for changes, prediction in (
        (CHANGES, PREDICTION),
        ({**CHANGES, "model.beta": 2.0}, PREDICTION + " I knew it."),
    ):
        with pytest.raises(
            CourseError,
            match="the changed model has run, so changes and prediction stay as they were planned",
        ):
            make_plan(vae_place, changes, prediction)
    assert vae_place.plan() == other


def test_the_whole_path_meets_the_rule_of_its_model(vae_place, few_strokes, capsys):
    planned(vae_place)
    rows = run_study(vae_place, few_strokes)
    assert [(row["seed"], row["kind"]) for row in rows] == [
        (seed, kind) for seed in (0, 1, 2) for kind in ("baseline", "changed")
    ]
    for line in vae_place.rows_path.read_bytes().splitlines():
        read_row(line)  # the schema of what is handed in
    write_texts(vae_place, OBSERVATION, EXPLANATION)
    verdict = check_rule(gather_results(vae_place.folder, few_strokes.sha256))
    assert [point for point in verdict.points if not point.ok and point.name != "models"] == [], (
        str(verdict)
    )
    again = run_study(vae_place, few_strokes)
    assert again == rows and "6 runs, 6 of them finished before" in capsys.readouterr().out


def test_effects_are_over_the_seeds_that_both_have(vae_place, few_strokes):
    planned(vae_place)
    with pytest.raises(CourseError, match="no seed has run with both models yet"):
        effects_of(vae_place, CHANGES)
    run_study(vae_place, few_strokes)
    effects = {effect.comparison.name: effect for effect in effects_of(vae_place, CHANGES)}
    assert effects["FID"].comparison.num_seeds == (3, 3) and effects["KL"].info.better == ""
    kl = effects["KL"].comparison
    assert effects["KL"].verdict == (
        f"real: {'higher' if kl.changed.value > kl.baseline.value else 'lower'}"
        if kl.verdict
        else "within noise"
    )
    likelihood = {
        effect.comparison.name: effect.verdict
        for effect in effects_of(vae_place, {"model.likelihood": "gaussian"})
    }
    assert (
        likelihood["negative ELBO"] == "not comparable: model.likelihood changes its meaning"
        and "not comparable" not in likelihood["FID"]
    )


def test_better_and_worse_follow_the_metric(vae_place, few_strokes):
    planned(vae_place)
    for kind, shift in (("baseline", 0.0), ("changed", 1.0)):
        for seed in (0, 1, 2):
            metrics = {
                name: {"value": 5 + shift + seed / 100, "error": 0.01, "num_images": 200}
                for name in ("FID", "precision", "diversity")
            }
            row = {
                name: ""
                for name in (
                    "experiment",
                    "key",
                    "started",
                    "finished",
                    "machine",
                    "training_seconds",
                    "sampling_seconds",
                    "history",
                )
            }
            vae_place.rows_path.parent.mkdir(exist_ok=True)
            with open(vae_place.rows_path, "a") as stream:
                stream.write(
                    json.dumps(
                        {**row, "kind": kind, "ablated": None, "seed": seed, "metrics": metrics}
                    )
                    + "\n"
                )
    verdicts = {effect.comparison.name: effect.verdict for effect in effects_of(vae_place, CHANGES)}
    assert verdicts == {
        "FID": "real: worse",
        "precision": "real: better",
        "diversity": "real: higher",
    }


def test_one_change_at_a_time_is_left_out(vae_place, few_strokes):
    planned(vae_place)
    rows = run_study(vae_place, few_strokes, ablate=True)
    left_out = [
        (row["ablated"], row["experiment"]["model"]["beta"])
        for row in rows
        if row["kind"] == "ablation" and row["seed"] == 0
    ]
    assert left_out == [
        ("model.latent_dim", 4.0),
        ("model.beta", 1.0),
        ("train.learning_rate", 4.0),
    ]
    assert set(ablation_effects(vae_place, list(CHANGES))) == set(CHANGES)
    # three changes, each left out with two of the three seeds; the baselines are shared
    assert [sum(row["kind"] == kind for row in rows) for kind in ("baseline", "ablation")] == [3, 6]
    assert missing_time(vae_place, ablate=True).num_runs == 0
    more = missing_time(vae_place, ablate=True, ablation_seeds=3)
    took = [row["training_seconds"] + row["sampling_seconds"] for row in rows]
    assert more.num_runs == 3 and more.seconds == pytest.approx(3 * sum(took) / len(took))
    with pytest.raises(CourseError, match="ablation_seeds: expected at least 2"):
        missing_time(vae_place, ablate=True, ablation_seeds=1)


def test_what_the_others_need_cannot_be_left_out(capsys):
    found = ablations(
        "vae",
        "smoke",
        {
            "model.likelihood": "bernoulli",
            "model.num_importance_samples": 3,
            "model.latent_dim": 3,
            "model.beta": 1.0,
        },
    )
    assert [variant.ablated for variant in found] == [
        "model.likelihood",
        "model.num_importance_samples",
        "model.latent_dim",
        "model.beta",
    ]
    conv = {
        "model.network": "conv",
        "model.hidden_dims": [8, 16],
        "model.latent_dim": 3,
        "train.batch_size": 64,
    }
    assert len(ablations("vae", "smoke", conv)) == 4
    three = {"model.hidden_dims": [8, 16, 8], "model.network": "mlp", "model.latent_dim": 3}
    assert len(ablations("vae", "smoke", three)) == 3 and capsys.readouterr().out == ""


def test_texts_come_after_the_runs_and_say_something(vae_place, few_strokes):
    planned(vae_place)
    with pytest.raises(CourseError, match="nothing has run yet"):
        write_texts(vae_place, OBSERVATION, EXPLANATION)
    run_study(vae_place, few_strokes)
    with pytest.raises(CourseError, match="the explanation: expected a text"):
        write_texts(vae_place, OBSERVATION, "")
    assert (
        write_texts(vae_place, OBSERVATION, EXPLANATION).prediction
        == PREDICTION
        == vae_place.plan().prediction
    )


def test_starting_over_keeps_everything_aside(vae_place, few_strokes):
    planned(vae_place)
    run_study(vae_place, few_strokes)
    kept = start_over(vae_place)
    assert (
        vae_place.plan() is None
        and vae_place.rows() == []
        and (kept / "rows.jsonl").exists()
        and kept.name == "vae-1"
    )
    make_plan(vae_place, {**CHANGES, "model.beta": 2.0}, PREDICTION)
    assert start_over(vae_place).name == "vae-2"
    with pytest.raises(CourseError, match="nothing to start over from"):
        start_over(vae_place)
    # what is aside is not handed in
    assert gather_results(vae_place.folder, few_strokes.sha256).experiments == ()


def test_other_data_than_the_homeworks_are_refused(vae_place, dataset):
    planned(vae_place)
    with pytest.raises(
        CourseError, match="expected the dataset 'strokes' of its homework.json, got 'blobs'"
    ):
        run_study(vae_place, dataset)


# What the notebooks call.


def test_a_notebook_runs_from_top_to_bottom_before_anything_is_chosen(
    vae_place, few_strokes, capsys
):
    own = student.open_homework("vae", vae_place.folder)
    assert "Homework(vae on strokes, budget smoke, seeds 0, 1, 2" in repr(own)
    assert (
        "model.latent_dim" in repr(own.parameters()) and "<table" in own.parameters()._repr_html_()
    )
    own.check({})
    assert [
        own.plan({}, ""),
        own.run(),
        own.table(),
        own.show("curves"),
        own.ablate(),
        own.ablation_table(),
        own.write("", ""),
    ] == [None] * 7
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not yet: ")]
    assert len(lines) == 7 and "0 of 3" not in lines[0]
    with pytest.raises(CourseError, match="expected a dict"):
        own.check(None)


def test_the_notebooks_path(vae_place, few_strokes, capsys):
    own = student.open_homework("vae", vae_place.folder)
    own.check(CHANGES)
    assert "3 of 3 parameters count" in capsys.readouterr().out
    own.plan(CHANGES, PREDICTION)
    own.run()
    assert {
        "curves",
        "samples",
        "reconstructions",
        "latent-map-class-model",
        "latent-map-changed-model",
    } == set(own.picture_names)
    saved = {path.name for path in vae_place.samples_path.iterdir()}
    assert saved == {f"{name}.png" for name in own.picture_names}
    table = own.table()
    assert "within noise" in repr(table) or "real" in repr(table)
    assert "negative ELBO (nats an image)" in table.frame.index
    assert (
        own.show("nothing of that name") is None
        and "there is no picture 'nothing of that name'; choose one of curves"
        in capsys.readouterr().out
    )
    own.ablate()
    assert list(own.ablation_table().frame.index) == list(CHANGES)
    assert own.write(OBSERVATION, EXPLANATION).observation == OBSERVATION
    own.start_over()
    assert "kept in" in capsys.readouterr().out


def test_without_a_homework_one_tries_out_in_a_folder_of_its_own(
    tmp_path, few_strokes, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    own = student.open_homework("vae")
    assert own.place.folder == tmp_path / "runs" / "homework-trial-strokes-smoke"
    assert own.place.budget == "smoke"
    assert student.open_homework("dcgan").place.folder == own.place.folder
    assert "no homework.json here" in capsys.readouterr().out
    verdict = student.check_homework()
    assert not verdict and "expected changes in 2 models, got none" in str(verdict)
    student.report_homework()
    assert (
        "the rule is not met yet" in capsys.readouterr().out
        and (own.place.folder / "submission.zip").exists()
    )
    assert student.check_homework(tmp_path) is None and "not yet: " in capsys.readouterr().out


@pytest.mark.parametrize("family", ["dcgan", "diffusion"])
def test_pictures_of_the_other_families(family, few_strokes, tmp_path):
    from course_utils.homework.pictures import pictures

    small = {
        "dcgan": {"model.generator_width": 4, "model.discriminator_width": 4},
        "diffusion": {"model.channels": (8, 8), "model.embed_dim": 16},
    }[family]
    smoke = override(
        budgets.homework_preset(family, "smoke"),
        {**small, "train.num_train_images": 64, "train.num_epochs": 2},
    )
    runs = {
        "class model": study_run(smoke, few_strokes),
        "changed model": study_run(override(smoke, {"train.learning_rate": 1e-3}), few_strokes),
    }
    found = pictures(runs, few_strokes, 50)
    assert set(found) == {
        "curves",
        "samples",
        {"dcgan": "class-shares", "diffusion": "fid-over-steps"}[family],
    }
    assert all(
        len(picture.alt) > 40 and picture.alt.count("class model") == 1
        for picture in found.values()
    )


def study_run(experiment, dataset):
    from course_utils.training.runs import find_or_train

    return find_or_train(experiment.fitted_to(dataset), dataset).run


def test_the_module_of_the_runs_is_the_one_that_was_patched():
    """`few_strokes` patches names in these modules; a renamed one would silently train the real
    models.
    """
    assert study.homework_preset is budgets.homework_preset


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Ali\u200creza", "Ali\u200creza"),
        ("Jean\u00a0Dupont", "Jean Dupont"),
        ("Zo\u00eb \U0001f469\u200d\U0001f52c", "Zo\u00eb \U0001f469\u200d\U0001f52c"),
        ("Zoe\u0308", "Zo\u00eb"),
    ],
    ids=ascii,
)
def test_names_of_all_scripts_are_kept(tmp_path, name, kept):
    new_homework(tmp_path / "mine", name, "strokes", "smoke")
    assert read_homework(tmp_path / "mine")["student"] == kept


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("\u202eyraM", "marks that turn its direction"),
        ("a\u2028b", "control characters"),
        ("a" * 201, "give another one with --name"),
    ],
    ids=["reversed", "two lines", "long"],
)
def test_names_that_cannot_be_shown_are_refused(tmp_path, name, problem):
    with pytest.raises(
        CourseError, match="name: expected 1 to 200 characters in one line"
    ) as error:
        new_homework(tmp_path / "mine", name, "strokes", "smoke")
    assert problem in str(error.value) and not (tmp_path / "mine").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_homework_file_that_an_editor_has_saved_is_read(tmp_path, encoding):
    new_homework(tmp_path / "mine", "Zoë", "strokes", "smoke")
    path = tmp_path / "mine" / "homework.json"
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", "\r\n").encode(encoding))
    assert read_homework(tmp_path / "mine")["student"] == "Zoë"


def test_pictures_that_a_killed_process_left_half_written_are_not_handed_in(vae_place):
    vae_place.write_plan(Plan("vae", {}, "", "", "", now()))
    vae_place.samples_path.mkdir()
    for name in ("curves.png", ".curves.abcdef-1-00000000.partial.png"):
        (vae_place.samples_path / name).write_bytes(b"picture")
    assert list(gather_samples(vae_place.folder)) == ["vae-curves.png"]
