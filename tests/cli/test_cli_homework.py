"""`course homework`: the commands on a small dataset, from a new folder to the verdict, and the one
line of each mistake.
"""

from __future__ import annotations

import pytest
from materials import run_python
from students import CHANGES, EXPLANATION, OBSERVATION, PREDICTION

from course_utils.base.files import read_json
from course_utils.cli.main import main
from course_utils.homework.study import make_plan, study_folder, write_texts


@pytest.fixture
def course(capsys, monkeypatch, few_strokes):
    """Runs one command on blobs that are called strokes; returns exit code, what it printed, and
    its one line of complaint.
    """
    monkeypatch.setattr("course_utils.data.load_dataset", lambda name="auto", **_: few_strokes)

    def call(*arguments: object):
        capsys.readouterr()
        try:
            code = main(["homework", *map(str, arguments)])
        except SystemExit as stop:  # argparse leaves by this door
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_from_a_new_folder_to_the_verdict(course, tmp_path):
    folder = tmp_path / "mine"
    code, out, _ = course("new", folder, "--name", "A. Student", "--budget", "smoke")
    assert (
        code == 0
        and "next: open" in out
        and read_json(folder / "homework.json")["student"] == "A. Student"
    )
    assert course("check", folder)[0] == 1
    own = study_folder(folder, "vae")
    make_plan(own, CHANGES, PREDICTION)
    code, out, _ = course("run", folder)
    assert (
        code == 0
        and "run 6 of 6 (vae, seed 2) finished" in out
        and f"5 pictures in {own.samples_path}" in out
    )
    code, out, _ = course("run", folder, "--family", "vae")
    assert code == 0 and "6 runs, 6 of them finished before" in out
    write_texts(own, OBSERVATION, EXPLANATION)
    code, out, _ = course("check", folder)
    assert (
        code == 1
        and "[ ] models: expected changes in 2 models, got vae" in out
        and "[x] vae: changes: 3 count" in out
    )
    code, out, _ = course("report", folder)
    assert code == 1 and (folder / "submission.zip").exists() and "the rule is not met yet" in out
    assert course("check", folder / "submission.zip")[0] == 1
    class_folder = tmp_path / "class"
    class_folder.mkdir()
    (folder / "submission.zip").rename(class_folder / "one.zip")
    code, out, _ = course("collect", class_folder)
    assert code == 0 and (class_folder / "class.html").exists() and "1 submissions" in out


def test_seeds_and_name_of_the_folder(course, tmp_path):
    assert course("new", tmp_path / "anna", "--seeds", 4, 5, "--budget", "smoke")[0] == 0
    about = read_json(tmp_path / "anna" / "homework.json")
    assert (about["seeds"], about["student"], about["dataset"]) == ([4, 5], "anna", "strokes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: VERB"),
        (("begin",), "invalid choice: 'begin'"),
        (("new",), "the following arguments are required: DIR"),
        (("new", "{mine}"), "course homework: {mine}: holds a homework already"),
        (("new", "{tmp}/x", "--dataset", "cats"), "course homework: unknown dataset 'cats'"),
        (("new", "{tmp}/x", "--budget", "huge"), "course homework: unknown budget 'huge'"),
        (
            ("new", "{tmp}/x", "--seeds", "1", "1"),
            "course homework: seeds: expected different whole numbers",
        ),
        (
            ("run", "{tmp}"),
            "course homework: {tmp}: expected a homework folder, got one without homework.json",
        ),
        (("run", "{mine}"), "course homework: {mine}: nothing is planned yet"),
        (("run", "{mine}", "--family", "gaussian"), "invalid choice: 'gaussian'"),
        (("run", "{mine}", "--family", "vae"), "course homework: vae: there is no plan yet"),
        (("run", "{mine}", "--workers", "two"), "invalid int value: 'two'"),
        (("check", "{tmp}/nothing.zip"), "course homework: "),
        (("check", "{tmp}"), "course homework: "),
        (("report", "{mine}", "--out", "x.html"), "course homework: --out: belongs to"),
        (("collect", "{tmp}/nothing"), "course homework: {tmp}/nothing: expected a folder"),
    ],
)
def test_mistakes_are_one_line(course, vae_place, tmp_path, arguments, message):
    names = {"mine": vae_place.folder, "tmp": tmp_path}
    code, out, err = course(*(argument.format(**names) for argument in arguments))
    assert code == 2 and message.format(**names) in err and len(err.splitlines()) == 1, err


@pytest.mark.parametrize("option", [("--workers", "0"), ("--scheduler", "tcp://x:1")])
def test_bad_options_of_a_run(course, vae_place, option):
    make_plan(vae_place, CHANGES, PREDICTION)
    code, _, err = course("run", vae_place.folder, *option)
    assert code == 2 and "course homework: " in err


def test_help_needs_no_torch():
    code = (
        "import sys; from course_utils.cli.main import main\ntry: main(['homework',"
        " '--help'])\nexcept SystemExit: pass\n"
    )
    result = run_python(code + "assert 'torch' not in sys.modules")
    for verb in ("new", "run", "check", "report", "collect"):
        assert verb in result.stdout
