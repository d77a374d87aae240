"""A homework on the student's own pictures: found by content, wherever they lie and wherever the
commands are given.
"""

from __future__ import annotations

import json
import shutil

import pytest
from stand_ins import write_pictures
from students import CHANGES, EXPLANATION, OBSERVATION, PREDICTION, small_preset

from course_utils.cli.main import main
from course_utils.homework.archive import read_submission
from course_utils.homework.student import open_homework
from course_utils.studies.sweep import read_rows


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A homework on pictures in `me/pictures`, planned but not run."""
    for module in ("study", "parameters", "rule"):
        monkeypatch.setattr(f"course_utils.homework.{module}.homework_preset", small_preset)
    write_pictures(tmp_path / "me" / "pictures", num_each=15)
    monkeypatch.chdir(tmp_path / "me")
    new = ["homework", "new", "hw", "--dataset", "folder:pictures", "--name", "A B"]
    assert main([*new, "--seeds", "0"]) == 0
    open_homework("vae", "hw").plan(CHANGES, PREDICTION)
    return tmp_path / "me" / "hw"


def test_the_commands_work_from_any_folder(mine, tmp_path, monkeypatch, capsys):
    about = json.loads((mine / "homework.json").read_text(encoding="utf-8"))
    assert about["dataset"].startswith("folder:") and len(about["dataset"]) == len("folder:") + 12
    assert about["data"] == {
        "name": "folder:pictures",
        "folder": str(tmp_path / "me" / "pictures"),
        "image_size": 28,
    }
    monkeypatch.chdir("/")
    assert main(["homework", "run", str(mine)]) == 0
    open_homework("vae", mine).write(OBSERVATION, EXPLANATION)
    assert main(["homework", "report", str(mine)]) == 1  # one model is planned, two are asked for
    results = read_submission(mine / "submission.zip").results
    assert results.dataset.name == about["dataset"]
    assert str(tmp_path) not in results.as_json().decode()
    # only the second model is missing: the runs are those of the plan, on these pictures
    capsys.readouterr()
    assert main(["homework", "check", str(mine)]) == 1
    assert "[x] vae: settings of the runs" in capsys.readouterr().out


def test_moved_pictures_are_asked_for_once_and_nothing_runs_again(mine, tmp_path, capsys):
    assert main(["homework", "run", str(mine)]) == 0
    rows = read_rows(mine / "vae" / "rows.jsonl")
    moved = tmp_path / "photos of 2026"
    shutil.move(tmp_path / "me" / "pictures", moved)
    assert main(["homework", "run", str(mine)]) == 2
    asked = capsys.readouterr().err
    assert str(tmp_path / "me" / "pictures") in asked and "--data PATH" in asked
    assert main(["homework", "check", str(mine), "--data", str(moved)]) == 1  # not reported yet
    assert main(["homework", "run", str(mine)]) == 0
    assert read_rows(mine / "vae" / "rows.jsonl") == rows


def test_other_pictures_are_refused(mine, tmp_path, capsys):
    write_pictures(tmp_path / "others", num_each=16)
    assert main(["homework", "run", str(mine), "--data", str(tmp_path / "others")]) == 2
    assert "expected the pictures that were used before" in capsys.readouterr().err
    assert not (mine / "vae" / "rows.jsonl").exists()


def test_data_belongs_to_own_pictures(tmp_path, few_strokes, monkeypatch, capsys):
    monkeypatch.setattr("course_utils.data.load_dataset", lambda *_, **__: few_strokes)
    assert main(["homework", "new", str(tmp_path / "hw"), "--dataset", "strokes"]) == 0
    assert main(["homework", "check", str(tmp_path / "hw"), "--data", "x"]) == 2
    assert "--data: belongs to a homework on your own pictures" in capsys.readouterr().err
