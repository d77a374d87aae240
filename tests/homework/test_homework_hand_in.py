"""A student's folder becomes a submission that can be read; a damaged folder says which file is
damaged.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from submissions import SHA256, png, results_dict

from course_utils.base.errors import CourseError
from course_utils.homework.archive import read_submission
from course_utils.homework.student import hand_in, is_homework, report_again
from course_utils.homework.study import gather_results, gather_samples, read_homework


def check(results):
    return SimpleNamespace(
        met=True,
        points=(
            SimpleNamespace(
                name="models", ok=True, message=f"{len(results['experiments'])} of them"
            ),
        ),
    )


def meaning(family, name):
    return f"what {name} means in a {family}"


def sha256_of(name):
    return SHA256


@pytest.fixture
def folder(tmp_path):
    """A student's folder with two families, all runs finished."""
    results = results_dict()
    folder = tmp_path / "ada"
    for study in results["experiments"]:
        own = folder / study["family"]
        (own / "samples").mkdir(parents=True)
        rows = study.pop("rows")
        (own / "plan.json").write_text(json.dumps(study), encoding="utf-8")
        (own / "rows.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
        )
        for name in ("class-model", "changed-model"):
            (own / "samples" / f"{name}.png").write_bytes(png())
    about = {
        "version": 1,
        "student": "Ada",
        "created": "2025-03-01",
        "dataset": "strokes",
        "budget": "laptop",
        "seeds": [0, 1, 2],
    }
    (folder / "homework.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "vae.ipynb").write_text("{}")
    return folder


def test_a_folder_becomes_a_submission(folder):
    target, verdict = hand_in(folder, check, meaning, sha256_of)
    assert target == folder / "submission.zip" and verdict.met
    submission = read_submission(target)
    got, want = submission.results.as_dict(), results_dict()
    assert (got["student"], got["dataset"]) == ("Ada", {"name": "strokes", "sha256": SHA256})
    assert sorted(got["experiments"], key=lambda study: study["family"]) == sorted(
        want["experiments"], key=lambda study: study["family"]
    )
    assert sorted(submission.samples) == [
        "dcgan-changed-model.png",
        "dcgan-class-model.png",
        "vae-changed-model.png",
        "vae-class-model.png",
    ]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "2 of them" in page and page.count("<img") == 8
    assert all(
        meaning(study["family"], name) in page
        for study in want["experiments"]
        for name in study["changes"]
    )


def test_an_equal_folder_gives_an_equal_submission(folder):
    first = hand_in(folder, check, meaning, sha256_of)[0].read_bytes()
    assert hand_in(folder, check, meaning, sha256_of)[0].read_bytes() == first


def test_a_submission_becomes_its_report_again(folder, tmp_path):
    target, _ = hand_in(folder, check, meaning, sha256_of)
    report_again(target, tmp_path / "again.html", check, meaning)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == (
        folder / "report.html"
    ).read_text(encoding="utf-8")
    assert is_homework(folder) and not is_homework(target)


def test_a_folder_where_nothing_ran_yet_can_be_reported(folder):
    for path in folder.rglob("rows.jsonl"):
        path.unlink()
    hand_in(folder, check, meaning, sha256_of)
    assert "Not measured yet" in (folder / "report.html").read_text(encoding="utf-8")


DAMAGE = {
    "no homework": (
        "homework.json",
        None,
        "expected a homework folder, got one without homework.json",
    ),
    "half a file": ("homework.json", "{", "homework.json: expected JSON, got a syntax error"),
    "seeds": ("homework.json", '{"version": 1}', "homework.json: expected the name 'student'"),
    "plan": ("vae/plan.json", "[]", "vae/plan.json: expected an object, got list"),
    "plan without text": ("vae/plan.json", '{"family": "vae"}', "expected the name 'changes'"),
    "half a row": ("vae/rows.jsonl", '{"kind": "base', "vae/rows.jsonl, line 1: expected JSON"),
    "NaN": ("vae/rows.jsonl", '{"kind": NaN}', "vae/rows.jsonl, line 1: expected finite numbers"),
    "picture": ("vae/samples/x.png", "GIF89a", "samples/vae-x.png: expected a PNG picture"),
    "name of a picture": (
        "vae/samples/my picture.png",
        png(),
        "samples/NAME.png only, got 'samples/vae-my picture.png'",
    ),
}


@pytest.mark.parametrize("trouble", DAMAGE)
def test_damage_is_named_and_nothing_is_written(folder, trouble):
    name, content, message = DAMAGE[trouble]
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CourseError) as refusal:
        hand_in(folder, check, meaning, sha256_of)
    assert message in str(refusal.value)
    assert not (folder / "submission.zip").exists() and not (folder / "report.html").exists()


def test_the_dataset_is_asked_for_its_sha256(folder, monkeypatch):
    asked = []
    hand_in(folder, check, meaning, lambda name: asked.append(name) or SHA256)
    assert asked == ["strokes"] and read_homework(folder)["seeds"] == (0, 1, 2)
    assert gather_results(folder, SHA256).seeds == (0, 1, 2) and len(gather_samples(folder)) == 4
