"""A student on her own colour pictures with her own VAE, killed five times on the way, each time
with half of a file written; then the instructor repeats a run of hers and one of a cheat.

`benchmarks/homework_own.py` plays the same with processes that are killed from outside, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from materials import PROJECT
from stand_ins import write_pictures
from students import CUT_OFF, DCGAN_CHANGES, DCGAN_TEXTS, OWN_TEXTS, invented, write_own_vae

from course_utils.cli.main import main
from course_utils.homework.archive import read_submission, write_submission
from course_utils.homework.classroom import read_class
from course_utils.homework.rule import check_rule
from course_utils.homework.study import make_plan, study_folder, write_texts
from course_utils.studies.sweep import read_rows


def killed(beginning: str, number: int, *words: object) -> None:
    """Runs a command in a process of its own, which dies with half of a file written: the one of
    that number whose partial version begins like this.
    """
    command = [sys.executable, "-c", CUT_OFF, beginning, str(number), "homework", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stdout + process.stderr


def homework(*words: object) -> int:
    return main(["homework", *map(str, words)])


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Her folder, in which nothing is yet, beside sixty pictures and two versions of her VAE."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    write_pictures(tmp_path / "pictures")  # two classes of thirty
    write_own_vae(tmp_path)
    return tmp_path / "mine"


def test_nothing_is_lost_and_a_cheat_is_found(mine, tmp_path, monkeypatch, capsys):
    new = ("new", mine, "--name", "A. Student", "--dataset", "folder:pictures", "--budget", "smoke")
    killed(".homework.", 1, *new)
    assert not (mine / "homework.json").exists()
    assert homework(*new) == 0

    own = ("own", "after.py", "--before", "before.py", "--family", "vae", "--folder", mine)
    own += ("--prediction", OWN_TEXTS[0])
    killed(".plan.", 1, *own)
    assert homework(*own) == 0
    make_plan(study_folder(mine, "dcgan"), DCGAN_CHANGES, DCGAN_TEXTS[0])
    vae, dcgan = (study_folder(mine, family) for family in ("vae", "dcgan"))

    killed(".rows.", 3, "run", mine, "--family", "vae")  # of six trainings
    kept = vae.rows_path.read_bytes()
    assert len(read_rows(vae.rows_path)) == 2
    killed(".state.", 2, "run", mine, "--family", "dcgan")  # in the second training
    (first,) = read_rows(dcgan.rows_path)
    assert homework("run", mine) == 0
    assert vae.rows_path.read_bytes().startswith(kept)
    rows = [*read_rows(vae.rows_path), *read_rows(dcgan.rows_path)]
    assert first in rows and len({row["key"] for row in rows}) == len(rows) == 12
    assert all(row["experiment"]["dataset"].startswith("folder:") for row in rows)

    for place, texts in ((vae, OWN_TEXTS), (dcgan, DCGAN_TEXTS)):
        write_texts(place, *texts[1:])
    killed(".submission.", 1, "report", mine)
    assert not (mine / "submission.zip").exists()
    assert homework("report", mine) == 0
    assert not list(mine.rglob(".*.partial*"))
    assert homework("check", mine / "submission.zip") == 0

    together = tmp_path / "class"
    together.mkdir()
    submission = read_submission(mine / "submission.zip")
    shutil.copy(mine / "submission.zip", together / "student_1_11_submission.zip")
    cheated = invented(submission.results)
    write_submission(together / "cheat_2_22_submission.zip", cheated, submission.samples, "")
    school_class = read_class(together, check_rule)
    assert [bool(one.verdict.met) for one in school_class.judged] == [True, True]

    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs of the instructor"))
    hers, his = (
        results.experiments[0].of_kind("changed")[0].key[:12]
        for results in (submission.results, cheated)
    )
    again = ("collect", together, "--rerun")
    assert homework(*again, hers) == 2
    assert "Ask for the folder with the pictures" in capsys.readouterr().err
    assert homework(*again, hers, "--data", "pictures") == 0
    assert "A. Student, dcgan, changed, seed 0 (student_1_11_submission.zip): agrees" in (
        capsys.readouterr().out
    )
    assert homework(*again, his, "--data", "pictures") == 1
    told = capsys.readouterr().out
    assert "B. Cheat, dcgan, changed, seed 0 (cheat_2_22_submission.zip): does not agree" in told
    own_run = submission.results.experiments[1].rows[0].key[:12]
    assert homework(*again, own_run, "--data", "pictures") == 2
    assert "read here and never run" in capsys.readouterr().err
    write_pictures(tmp_path / "others", num_each=31)
    assert homework(*again, hers, "--data", "others") == 2
    assert "expected the pictures that were used before" in capsys.readouterr().err
    assert homework("collect", together, "--data", "pictures") == 2
    assert "--data: belongs to --rerun" in capsys.readouterr().err
