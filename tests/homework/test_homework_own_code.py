"""The learner's own code in place of a model: it runs on her machine, and only there; everybody
else reads it as text.
"""

from __future__ import annotations

import copy
import re
import shutil
from dataclasses import replace

import pytest
from bs4 import BeautifulSoup
from students import few_images

from course_utils.base.errors import CourseError
from course_utils.cli.main import main
from course_utils.homework import own, report, student
from course_utils.homework.own import code_diff, read_own_code
from course_utils.homework.parameters import meaning
from course_utils.homework.report import curves_png, report_page
from course_utils.homework.rule import check_rule, wrong_run
from course_utils.homework.schema import MAX_CODE, OwnCode, changed_lines, check_results
from course_utils.homework.study import (
    effects_of,
    gather_results,
    gather_samples,
    make_own_plan,
    make_plan,
    missing_time,
    new_homework,
    run_study,
    start_over,
    study_folder,
    write_texts,
)

BEFORE = '''
"""Draws grey noise around the mean image."""
import torch
from pathlib import Path

Path("ran.txt").write_text("this code ran")  # </pre><script>alert(1)</script>

SPREAD = 0.1


def train(dataset, seed):
    mean = dataset.train_images[:200].float().mean(0) / 127.5 - 1

    def draw(n, rng):
        noise = torch.randn(n, *mean.shape, generator=rng)
        return (mean + SPREAD * noise).clamp(-1, 1)

    return draw, [3.0 - seed * 0.1, 2.0, 1.0]
'''
AFTER = BEFORE.replace("SPREAD = 0.1", "SPREAD = 0.5  # wider")
PREDICTION = "Wider noise leaves the mean image further behind, so FID will rise in every seed."
OBSERVATION = "The samples are noisier than before, and FID moved by many of its standard errors."
EXPLANATION = "Independent noise at each pixel has no strokes, therefore features leave the data."


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (("before.py", BEFORE), ("after.py", AFTER)):
        (tmp_path / name).write_text(text)
    return tmp_path / "before.py", tmp_path / "after.py"


@pytest.fixture
def place(tmp_path, few_strokes):
    new_homework(tmp_path / "mine", "Ada", few_strokes, "smoke")
    return study_folder(tmp_path / "mine", "vae")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns the folder of a student whose own code has run."""
    folder, dataset = tmp_path_factory.mktemp("own"), few_images()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in (("before.py", BEFORE), ("after.py", AFTER)):
            (folder / name).write_text(text)
        new_homework(folder / "mine", "Ada", dataset, "smoke")
        place = study_folder(folder / "mine", "vae")
        make_own_plan(place, folder / "before.py", folder / "after.py", PREDICTION)
        run_study(place, dataset)
        write_texts(place, OBSERVATION, EXPLANATION)
    assert (folder / "ran.txt").exists()
    return place.folder


@pytest.fixture
def done(finished, files, tmp_path):
    """Returns a copy of that folder, in which nothing has run yet."""
    shutil.copytree(finished, tmp_path / "mine")
    return study_folder(tmp_path / "mine", "vae")


def points(results, name):
    return [point for point in check_rule(results).points if point.name == name]


def test_own_code_runs_with_every_seed_and_is_measured(done, few_strokes, tmp_path):
    rows = done.rows()
    kinds = [(row["kind"], row["seed"]) for row in rows]
    assert sorted(kinds) == sorted((k, s) for k in ("baseline", "changed") for s in (0, 1, 2))
    assert len({row["key"] for row in rows}) == 6
    assert rows[0]["history"] == {"train.step": [1.0, 2.0, 3.0], "train.loss": [3.0, 2.0, 1.0]}
    assert {row["data_sha256"] for row in rows} == {few_strokes.sha256}
    found = {one.comparison.name: one for one in effects_of(done, {})}
    assert found["FID"].verdict == "real: worse" and found["FID"].comparison.num_seeds == (3, 3)
    # nothing is trained twice
    assert missing_time(done).num_runs == 0
    assert run_study(done, few_strokes) and not (tmp_path / "ran.txt").exists()
    names = {"vae-samples-before.png", "vae-samples-after.png"}
    assert set(gather_samples(done.folder)) == names
    assert set(student.Homework(done).save_pictures()) == set(done.samples_path.iterdir())


def test_long_curves_become_means_over_steps():
    steps = [float(step) for step in range(1, 251)]
    found = own._curve(steps, "own.py")
    assert len(found["train.loss"]) == 84 and found["train.step"][-1] == 250
    assert found["train.loss"][:2] == [2.0, 5.0] and found["train.step"][:2] == [3.0, 6.0]
    assert found["train.loss"][-1] == 250.0


def test_the_report_draws_own_code_over_steps_and_claims_no_unit(done, few_strokes, monkeypatch):
    figures = []
    monkeypatch.setattr(report, "report_png", figures.append)
    (study,) = gather_results(done.folder, few_strokes.sha256).experiments
    curves_png(study)
    (panel,) = figures[0].axes
    assert (panel.get_title(), panel.get_xlabel(), panel.get_ylabel()) == ("loss", "step", "")


def test_the_notebook_shows_what_own_code_drew_and_trains_nothing(done, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("course_utils.notebook.show", lambda *picture: shown.append(picture))
    monkeypatch.setattr(student, "find_or_train", lambda *_: pytest.fail("a model was trained"))
    hw = student.Homework(done)
    assert hw.picture_names == ["samples-after", "samples-before"]
    hw.show("samples-before")
    assert shown[0][0].size[0] > 100 and "code, before the change" in shown[0][1]
    hw.show("curves")
    assert "choose one of samples-after, samples-before" in capsys.readouterr().out


def test_the_rule_takes_own_code_for_one_model(done, few_strokes):
    results = gather_results(done.folder, few_strokes.sha256)
    own = [point for point in check_rule(results).points if point.name.startswith("vae: ")]
    assert len(own) > 8 and all(point.ok for point in own), own
    (change,) = points(results, "vae: changes")
    assert change.message == "own code: 1 lines of after.py changed"
    (first,) = results.experiments
    two = replace(results, experiments=(first, replace(first, family="dcgan")))
    (models,) = points(two, "models")
    assert not models.ok and "at most 1 model, got vae, dcgan" in models.message


@pytest.mark.parametrize(
    ("break_it", "point", "message"),
    [
        (lambda s: s["own_code"].update(after=s["own_code"]["after"] + "\nx = 1\n"),
         "vae: settings of the runs", "it belongs to other code than the plan holds"),
        (lambda s: s["own_code"].update(after=s["own_code"]["before"] + "# only a remark\n"),
         "vae: changes", "expected after.py with code that differs from before, got none"),
        (lambda s: s.update(changes={"model.beta": 4.0}), "vae: changes", "got both"),
        (lambda s: s["rows"][0].update(key="0" * 64), "vae: settings of the runs", "other code"),
        (lambda s: s["own_code"].update(after="def train(:"), "vae: changes", "got none"),
        (lambda s: s.update(prediction=""), "vae: prediction", "got an empty one"),
    ],
)  # fmt: skip
def test_own_code_that_is_not_what_ran_is_found(done, few_strokes, break_it, point, message):
    values = gather_results(done.folder, few_strokes.sha256).as_dict()
    break_it(values["experiments"][0])
    (found,) = points(check_results(values), point)
    assert not found.ok and message in found.message


def test_whoever_reads_a_submission_never_runs_the_code(done, few_strokes, tmp_path, capsys):
    target, _ = student.hand_in(done.folder, check_rule, meaning, lambda name: few_strokes.sha256)
    folder = tmp_path / "class"
    folder.mkdir()
    shutil.copy(target, folder / "ada.zip")
    student.report_again(folder / "ada.zip", tmp_path / "again.html", check_rule, meaning)
    assert main(["homework", "collect", str(folder)]) == 0
    results = gather_results(done.folder, few_strokes.sha256)
    (study,) = results.experiments
    assert "student's own code" in wrong_run(study.rows[0], study, results)
    assert main(["homework", "collect", str(folder), "--rerun", study.rows[0].key[:12]]) != 0
    assert "never run" in capsys.readouterr().err
    assert not (tmp_path / "ran.txt").exists()
    page = BeautifulSoup((tmp_path / "again.html").read_text(encoding="utf-8"), "html.parser")
    assert not page.select("script")
    (diff,) = page.select("section pre")
    assert "-SPREAD = 0.1" in diff.get_text() and "+SPREAD = 0.5  # wider" in diff.get_text()


def test_the_diff_is_escaped_in_the_report(done, few_strokes):
    values = copy.deepcopy(gather_results(done.folder, few_strokes.sha256).as_dict())
    values["experiments"][0]["own_code"]["after"] += "</pre><script>alert(2)</script>\n"
    results = check_results(values)
    html = report_page(results, {}, check_rule(results))
    assert "<script" not in html and "&lt;script&gt;alert(2)" in html


def test_a_plan_of_own_code_is_locked_when_it_has_run(done, files):
    with pytest.raises(CourseError, match="runs of another plan are there"):
        make_own_plan(done, *files, PREDICTION + " Or not.")
    with pytest.raises(CourseError, match="stay as they were planned"):
        changes = {"model.latent_dim": 4, "model.beta": 4.0, "train.learning_rate": 1e-3}
        make_plan(done, changes, PREDICTION)
    assert make_own_plan(done, *files, PREDICTION).observation == OBSERVATION
    start_over(done)
    assert done.plan() is None


def test_own_code_has_no_ablation(files, place, few_strokes):
    make_own_plan(place, *files, PREDICTION)
    assert missing_time(place).num_runs == 6
    with pytest.raises(CourseError, match="expected changed settings for an ablation"):
        run_study(place, few_strokes, ablate=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def train(", "expected Python, got a syntax error"),
        ("x = 1", r"expected a function `train\(dataset, seed\)`"),
        (BEFORE + "# a remark\n", "the same but for comments"),
        ("#" * (MAX_CODE + 1), "expected at most 40,000 characters"),
    ],
)
def test_files_that_cannot_stand_for_a_model(files, text, message):
    files[1].write_text(text)
    with pytest.raises(CourseError, match=message):
        read_own_code(*files)
    with pytest.raises(CourseError, match="nothing.py: cannot be read"):
        read_own_code(files[0], files[0].with_name("nothing.py"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[3.0 - seed * 0.1, 2.0, 1.0]", "[float('nan')]", "1 losses, 0 of them finite"),
        (".clamp(-1, 1)", " + 9", r"expected finite values in \[-1, 1\]"),
        ("randn(n, *mean.shape", "randn(n, 2, *mean.shape", "expected images of shape"),
        ("return draw,", "raise ValueError('no')\n    return draw,", "line 18: ValueError: no"),
    ],
)
def test_what_own_code_does_wrong_is_said(files, place, few_strokes, old, new, message):
    assert old in AFTER
    files[1].write_text(AFTER.replace(old, new))
    make_own_plan(place, *files, PREDICTION)
    with pytest.raises(CourseError, match=message):
        run_study(place, few_strokes)
    assert [row["kind"] for row in place.rows()] == ["baseline"]  # what is finished stays


def test_lines_of_code_are_counted_without_remarks():
    before = 'def train(a, b):\n    """Old."""\n    x = 1\n    return x\n'
    after = 'def train(a, b):\n    """New."""\n    # why\n    x  =  2\n    y = 3\n    return x\n'
    assert changed_lines(OwnCode(file="a.py", before=before, after=after)) == 2
    assert changed_lines(OwnCode(file="a.py", before=before, after=before + "# x\n")) == 0
    assert re.search(r"^\+    x  =  2$", code_diff(OwnCode("a.py", before, after)), re.MULTILINE)


def test_the_command_plans_own_code(files, place, capsys):
    words = ["homework", "own", "after.py", "--before", "before.py", "--family", "vae"]
    assert main([*words, "--prediction", PREDICTION, "--folder", str(place.folder)]) == 0
    assert "course homework run" in capsys.readouterr().out
    assert place.plan().own_code.after == AFTER
