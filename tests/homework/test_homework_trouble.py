"""Hand-ins that once hid others, stopped a command or were believed too easily; each is told and
stops nobody.
"""

from __future__ import annotations

import json
import os
import random
import zipfile
from types import SimpleNamespace

import pytest
from submissions import SHA256, png, results_dict, row_dict, write_one

from course_utils.base.errors import CourseError
from course_utils.cli.main import main
from course_utils.homework import classroom
from course_utils.homework.archive import write_submission
from course_utils.homework.challenge import _takes_part
from course_utils.homework.classroom import class_csv, class_page, read_class
from course_utils.homework.rule import check_rule, parse_moment
from course_utils.homework.schema import check_results
from course_utils.homework.study import new_homework, run_study, study_folder
from course_utils.training.runs import experiment_key


def write(path, values, samples=None):
    return write_submission(path, check_results(values), samples or {}, "")


def without_runs(seed=0):
    """Returns results of a student who has planned and not run: quick to draw."""
    values = results_dict(seed, families=("vae",))
    values["experiments"][0]["rows"] = []
    return values


def test_pictures_of_any_name_are_shown(tmp_path):
    names = ("vae-.png", "vae--.png", "vae-_.png", "vae-..png", "vae.png")
    write(tmp_path / "x.zip", without_runs(1), dict.fromkeys(names, png()))
    write(tmp_path / "honest.zip", without_runs(2))
    page = class_page(read_class(tmp_path, check_rule))
    assert "Student 1" in page and "Student 2" in page and page.count("<img") == 4
    assert main(["homework", "report", str(tmp_path / "x.zip"), "--out", f"{tmp_path}/x.html"]) == 1


def test_a_submission_that_cannot_be_shown_is_listed_and_hides_nobody(tmp_path, monkeypatch):
    def faulty(family, samples, without=()):
        assert "vae-trap.png" not in samples
        return ()

    monkeypatch.setitem(classroom.SHOWN, "sample_pictures", faulty)
    write(tmp_path / "x.zip", results_dict(1), {"vae-trap.png": png()})
    write_one(tmp_path / "honest.zip", 2)
    school_class = read_class(tmp_path, check_rule)
    assert [one.student for one in school_class.judged] == ["Student 2"]
    assert "AssertionError" in school_class.broken[0].reason
    assert "Student 2" in class_page(school_class) and "x.zip" in class_csv(school_class)


def test_a_picture_of_the_class_that_fails_leaves_the_tables(tmp_path, monkeypatch):
    def faulty(*_):
        raise FloatingPointError

    monkeypatch.setattr(classroom, "class_png", faulty)
    write_one(tmp_path / "a.zip", 2)
    page = class_page(read_class(tmp_path, check_rule))
    assert "could not be drawn (FloatingPointError)" in page and "Student 2" in page


def test_a_folder_that_nobody_may_read_is_listed(tmp_path, monkeypatch):
    """Permissions do not stop the user of a container, so the question itself is refused."""
    write_one(tmp_path / "honest.zip")
    (tmp_path / "Ada").mkdir()
    exists = classroom.Path.exists

    def forbidden(path, **options):
        if path.parent.name == "Ada":
            raise PermissionError(13, "Permission denied")
        return exists(path, **options)

    monkeypatch.setattr(classroom.Path, "exists", forbidden)
    school_class = read_class(tmp_path, check_rule)
    assert len(school_class.judged) == 1 and [one.source for one in school_class.broken] == ["Ada"]


DATES = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01", "9999-12-31"]


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("place", ["created", "planned", "started", "finished"])
def test_dates_at_the_ends_of_the_calendar_are_judged(date, place, tmp_path):
    values = results_dict(families=("vae",))
    study = values["experiments"][0]
    study["rows"] = study["rows"][:5]
    {"created": values, "planned": study}.get(place, study["rows"][4])[place] = date
    path = write(tmp_path / "x.zip", values)
    assert main(["homework", "check", str(path)]) == 1
    school_class = read_class(tmp_path, check_rule)
    assert [one.student for one in school_class.judged] == ["Student 0"] and date in str(values)
    assert "Student 0" in class_csv(school_class)


def test_moments_are_compared_across_zones():
    assert parse_moment("2025-03-01T12:00:00+02:00") == parse_moment("2025-03-01T10:00")
    assert parse_moment("0001-01-01T00:00:00+14:00").year == 1


def unpacked(folder):
    path = write(folder.with_suffix(".zip"), without_runs())
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    (folder / "samples").mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("where, path", [("U", "."), ("U/samples", ".."), ("", "U"), ("", "U.zip")])
def test_the_report_of_a_submission_is_named_after_it(where, path, tmp_path, monkeypatch):
    unpacked(tmp_path / "U")
    monkeypatch.chdir(tmp_path / where)
    assert main(["homework", "report", path]) == 1  # nothing ran
    assert "Homework of Student 0" in (tmp_path / where / "U.html").read_text(encoding="utf-8")


def test_a_report_replaces_reports_only(tmp_path, monkeypatch):
    write(tmp_path / "index.zip", without_runs())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "index.html").write_text("my home page")
    for _ in range(2):
        main(["homework", "report", "index.zip"])
    assert (tmp_path / "index.html").read_text() == "my home page"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index-report.html", "index.html", "index.zip",
    ]  # fmt: skip
    (tmp_path / "index-report.html").write_text("another page")
    assert main(["homework", "report", "index.zip"]) == 2


def test_a_class_page_is_no_report(tmp_path, monkeypatch):
    """A submission may be called class.zip, and the class page lies beside it."""
    write(tmp_path / "class.zip", without_runs())
    monkeypatch.chdir(tmp_path)
    main(["homework", "collect", str(tmp_path)])
    page = (tmp_path / "class.html").read_bytes()
    main(["homework", "report", "class.zip"])
    assert (tmp_path / "class.html").read_bytes() == page
    assert "Homework of Student" in (tmp_path / "class-report.html").read_text(encoding="utf-8")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    assert not _takes_part(tmp_path / "pipe.zip")
    (tmp_path / "link.zip").symlink_to(tmp_path / "pipe.zip")
    assert not _takes_part(tmp_path / "link.zip")


def with_keys(sha256=SHA256, row_sha256=None, trained_on=SHA256):
    """Returns results whose numbers of runs belong to their settings and `trained_on`."""
    values = results_dict(dataset={"name": "strokes", "sha256": sha256})
    for study in values["experiments"]:
        for row in study["rows"]:
            row["key"] = experiment_key(row["experiment"], trained_on)
            row["data_sha256"] = row_sha256
    return values


@pytest.mark.parametrize("row_sha256, told", [(SHA256, "it was run with other images"), (None, "")])
def test_runs_on_other_images_name_a_remedy(row_sha256, told):
    assert check_rule(with_keys()).met
    verdict = check_rule(with_keys("6" * 64, row_sha256))
    (message, _) = (one.message for one in verdict.points if "settings of the runs" in one.name)
    assert not verdict.met and told in message and "start_over()" in message


def test_a_study_does_not_mix_runs_of_two_sets_of_images(tmp_path, dataset, monkeypatch):
    from course_utils.studies import sweep

    new_homework(tmp_path, "Ada", dataset, "smoke")
    place = study_folder(tmp_path, "vae")
    row = {**row_dict(random.Random(0), "vae", "baseline", {}, 0), "data_sha256": "a" * 64}
    sweep.add_rows(place.rows_path, [row])
    monkeypatch.setattr("course_utils.homework.study.ready_plan", lambda _: SimpleNamespace())
    with pytest.raises(CourseError, match=r"got runs with others \(aaaaaaaaaa\).*start_over"):
        run_study(place, dataset)


def test_a_wrong_clock_names_a_remedy():
    values = with_keys()
    values["experiments"][0]["planned"] = "2025-03-01T10:30:00+00:00"
    (point,) = [one for one in check_rule(values).points if one.name == "vae: predicted first"]
    assert not point.ok and "start_over()" in point.message


OWN = "folder:0123456789ab"


@pytest.fixture
def own_pictures(tmp_path, monkeypatch):
    """A folder about own pictures with one run; whoever loads pictures fails."""
    from course_utils.base.files import write_json, write_jsonl

    def load(*_, **__):
        raise AssertionError("pictures were loaded")

    monkeypatch.setattr("course_utils.homework.study.load_own_pictures", load)
    new_homework(tmp_path / "ada", "Ada", OWN, "laptop")
    about = {"name": "folder:x", "folder": "/etc", "image_size": 28}
    path = tmp_path / "ada" / "homework.json"
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"data": about})
    study = results_dict(families=("vae",))["experiments"][0]
    rows = study.pop("rows")
    write_json(tmp_path / "ada" / "vae" / "plan.json", study)
    write_jsonl(tmp_path / "ada" / "vae" / "rows.jsonl", rows)
    return tmp_path / "ada"


def test_a_path_in_somebodys_folder_is_not_followed(own_pictures, capsys):
    assert main(["homework", "check", str(own_pictures)]) == 1
    assert "[ ] models" in capsys.readouterr().out
    rows = own_pictures / "vae" / "rows.jsonl"
    rows.write_text(rows.read_text(encoding="utf-8").replace(f', "data_sha256": "{SHA256}"', ""))
    assert main(["homework", "check", str(own_pictures)]) == 2
    assert "--data PATH" in capsys.readouterr().err
    rows.unlink()
    assert main(["homework", "check", str(own_pictures)]) == 1


@pytest.mark.parametrize("name", ["homework.json", "vae/plan.json"])
def test_a_huge_file_in_somebodys_folder_is_not_read_whole(name, own_pictures, capsys):
    with open(own_pictures / name, "wb") as stream:
        stream.truncate(10**12)  # a file of zeros that takes no place on the disk
    assert main(["homework", "check", str(own_pictures)]) == 2
    assert "expected at most 200,000 bytes" in capsys.readouterr().err
