"""A class of forty: read, judged and compared; one broken file among them is listed and stops
nobody.
"""

from __future__ import annotations

import csv
import io
import json
import random
import time

import pytest
from hostile_zips import HOSTILE
from submissions import png, prose, results_dict, write_class, write_one

from course_utils.base.errors import CourseError
from course_utils.homework import classroom as collecting
from course_utils.homework.archive import clean_png, write_submission
from course_utils.homework.class_table import defused
from course_utils.homework.classroom import Earlier, class_csv, class_page, collect, read_class
from course_utils.homework.rule import check_rule, near_equal, words_of
from course_utils.homework.schema import check_results
from course_utils.homework.student import collect_command

MAX_SECONDS = 30


def table(school_class):
    return list(csv.DictReader(io.StringIO(class_csv(school_class))))


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    """Forty submissions and one that is broken, in one folder."""
    folder = tmp_path_factory.mktemp("class")
    write_class(folder)
    (folder / "broken.zip").write_bytes(HOSTILE["bomb"][0])
    return folder


def test_forty_submissions_are_collected_in_thirty_seconds(forty, tmp_path):
    begin = time.process_time()
    school_class = collect(forty, tmp_path, check_rule)
    assert time.process_time() - begin < MAX_SECONDS
    assert len(school_class.judged) == 40 and all(one.verdict.met for one in school_class.judged)
    assert [one.source for one in school_class.broken] == [
        "broken.zip"
    ] and "packed at most 100 times" in school_class.broken[0].reason
    page = (tmp_path / "class.html").read_text(encoding="utf-8")
    rows = list(
        csv.DictReader(io.StringIO((tmp_path / "class.csv").read_text(encoding="utf-8-sig")))
    )
    assert (
        len(rows) == 81
        and rows[-1]["source"] == "broken.zip"
        and rows[-1]["problem"].startswith("'samples/a.png': expected")
    )
    for one in school_class.judged:
        assert one.student in page and one.studies[0].prediction in page
    assert page.count("<img") >= 3 and "broken.zip" in page and len(page) < 20_000_000


def test_table_holds_what_the_students_measured(tmp_path):
    write_one(tmp_path / "one.zip", seed=5, families=("vae",))
    school_class = read_class(tmp_path, check_rule)
    (row,) = table(school_class)
    study = school_class.judged[0].studies[0]
    changed = [one.metrics["FID"].value for one in study.of_kind("changed")]
    baseline = [one.metrics["FID"].value for one in study.of_kind("baseline")]
    assert float(row["difference in FID"]) == pytest.approx(
        sum(changed) / 3 - sum(baseline) / 3, rel=1e-4
    )
    assert row["verdict on FID"] in ("real", "within noise")
    assert (row["rule met"], row["model"]) == ("no", "vae") and row["missing"].startswith(
        "models: expected changes in 2 models, got vae"
    )
    for name, value in study.changes.items():
        assert name in row["changes"] and f"→ {value:g}" in row["changes"]


def test_where_submissions_may_lie(tmp_path):
    """As learning platforms and browsers leave them: one folder deeper, unpacked, with other files
    around.
    """
    write_one(tmp_path / "a.zip", seed=1)
    (tmp_path / "Ada_assignsubmission_file").mkdir()
    write_one(tmp_path / "Ada_assignsubmission_file" / "submission.ZIP", seed=2)
    results = check_results(results_dict(3))
    unpacked = tmp_path / "Carl"
    (unpacked / "samples").mkdir(parents=True)
    (unpacked / "results.json").write_bytes(results.as_json())
    (unpacked / "report.html").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "essay.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "class.html").write_text("of the last time")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link.zip").symlink_to(tmp_path / "a.zip")
    school_class = read_class(tmp_path, check_rule)
    assert sorted(one.student for one in school_class.judged) == [
        "Student 1",
        "Student 2",
        "Student 3",
    ]
    assert sorted(one.source for one in school_class.broken) == [
        "empty",
        "essay.pdf",
        "link.zip",
        "loop",
    ]


def test_every_hostile_file_is_listed_and_stops_nobody(tmp_path):
    for index, (data, _) in enumerate(HOSTILE.values()):
        (tmp_path / f"hostile-{index:02d}.zip").write_bytes(data)
    write_one(tmp_path / "honest.zip")
    school_class = read_class(tmp_path, check_rule)
    assert [one.student for one in school_class.judged] == ["Student 0"] and len(
        school_class.broken
    ) == len(HOSTILE)


def test_a_fault_of_the_course_is_listed_too(tmp_path, monkeypatch):
    write_one(tmp_path / "a.zip", seed=1)
    write_one(tmp_path / "b.zip", seed=2)

    def faulty(results):
        if results["student"] == "Student 1":
            raise KeyError("model.colour")
        return check_rule(results)

    school_class = read_class(tmp_path, faulty)
    assert len(school_class.judged) == 1
    assert "could not be read: KeyError" in school_class.broken[0].reason


def test_folders_that_hold_no_class(tmp_path, monkeypatch):
    with pytest.raises(CourseError, match="got an empty folder"):
        collect(tmp_path, tmp_path, check_rule)
    with pytest.raises(CourseError, match="got nothing there"):
        collect(tmp_path / "nowhere", tmp_path, check_rule)
    (tmp_path / "a").touch(), (tmp_path / "b").touch()
    monkeypatch.setattr(collecting, "MAX_SUBMISSIONS", 1)
    with pytest.raises(CourseError, match="at most 1 submissions, got 2"):
        collect(tmp_path, tmp_path, check_rule)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        "＝1",
        '=HYPERLINK("http://x")',
        "|calc",
        "%0A",
    ],
)
def test_cells_that_start_a_formula_are_defused(text, tmp_path):
    assert defused(text) == "'" + " ".join(text.split())
    values = results_dict(student=text.strip() or "x", families=("vae",))
    values["experiments"][0]["changes"]["model.network"] = text if text.isprintable() else "x"
    write_submission(tmp_path / "a.zip", check_results(values), {}, "")
    (tmp_path / f"{text.strip().replace('/', '')}.zip").write_bytes(b"")
    lines = list(csv.reader(io.StringIO(class_csv(read_class(tmp_path, check_rule)))))
    for cell in (cell for line in lines for cell in line):
        # a negative number is no formula
        assert not cell or cell[0] not in "=+@|%\t\r\n＝" and (cell[0] != "-" or float(cell) < 0)
        assert "\n" not in cell and "\r" not in cell


def test_signs_that_nobody_sees_do_not_hide_a_formula():
    for text in ("\u200b=1+1", "\ufeff@x", "﹦1+1", "\u00ad \u2060-2"):
        assert defused(text).startswith("'")
    assert defused("a;\u200b=1") == "a,\u200b'=1"
    # a quotation mark is written twice, and ends the cell where a reader splits before it
    assert defused(';"=') == ",\"'="


def test_harmless_cells_stay_as_they_are():
    assert [defused(text) for text in ("Ada", "a=b", "3 - 2", "", "é")] == [
        "Ada",
        "a=b",
        "3 - 2",
        "",
        "é",
    ]


def test_pictures_are_left_out_where_they_would_fill_the_page(tmp_path, monkeypatch):
    for seed in range(3):
        write_one(tmp_path / f"{seed}.zip", seed=seed)  # four pictures each
    monkeypatch.setattr(collecting, "MAX_PICTURE_BYTES", 9 * len(clean_png(png(), "x")))
    school_class = read_class(tmp_path, check_rule)
    assert [len(one.submission.samples) for one in school_class.judged] == [
        4,
        4,
        0,
    ] and school_class.judged[2].num_pictures == 4
    page = class_page(school_class)
    assert page.count("Pictures were left out") == 1
    assert not any(
        row.history for one in school_class.judged for study in one.studies for row in study.rows
    )


def test_near_equal_texts_are_found_across_students(tmp_path):
    rng = random.Random(0)
    original = prose(rng, 120)
    copied = original.upper().replace("DECODER", "network,\n").replace(".", "")
    for name, text in (("a", original), ("b", copied), ("c", prose(rng, 120))):
        values = results_dict(ord(name), families=("vae",))
        values["experiments"][0]["explanation"] = text
        write_submission(tmp_path / f"{name}.zip", check_results(values), {"vae-a.png": png()}, "")
    school_class = read_class(tmp_path, check_rule)
    assert [(pair.first, pair.second) for pair in school_class.pairs] == [
        ((0, "vae", "explanation"), (1, "vae", "explanation"))
    ]
    assert [row["near-equal texts"] for row in table(school_class)] == ["1", "1", "0"]


def test_the_newest_of_a_students_attempts_counts(tmp_path, capsys):
    """Canvas keeps every attempt; the older ones are named and are no copies of another student."""
    first, second = "doe_111_222_submission.zip", "doe_LATE_111_333_submission-1.zip"
    write_one(tmp_path / first, 1, student="Jane  Doe", created="2025-03-02T12:00:00+00:00")
    write_one(tmp_path / second, 1, student="jane doe", created="2025-03-01T12:00:00+00:00")
    write_one(tmp_path / "roe_444_555_submission.zip", 2, student="Richard Roe")
    school_class = read_class(tmp_path, check_rule)
    assert [one.submission.source for one in school_class.judged] == [
        first,
        "roe_444_555_submission.zip",
    ]
    assert school_class.pairs == ()
    assert school_class.earlier == (Earlier(second, "jane doe", first),)
    assert {row["source"] for row in table(school_class)} == {first, "roe_444_555_submission.zip"}
    assert "Handed in more than once" in class_page(school_class)
    collect_command(tmp_path, tmp_path / "out")
    printed = capsys.readouterr().out
    assert f"handed in twice: jane doe: {first} counts, {second} is passed over" in printed
    assert printed.count("2 submissions") == 1


def test_a_copy_under_another_name_does_not_hide_the_original(tmp_path):
    write_one(tmp_path / "a.zip", 1, student="Jane Doe")
    write_one(tmp_path / "b.zip", 1, student="Eve", created="2026-01-01T00:00:00+14:00")
    school_class = read_class(tmp_path, check_rule)
    assert [one.student for one in school_class.judged] == ["Jane Doe", "Eve"]
    assert len(school_class.pairs) == 6 and school_class.earlier == ()


def test_attempts_with_dates_at_the_ends_of_the_calendar_are_sorted(tmp_path):
    write_one(tmp_path / "a.zip", 1, student="Jane", created="0001-01-01T00:00:00+14:00")
    write_one(tmp_path / "b.zip", 1, student="Jane", created="9999-12-31T23:59:59-14:00")
    school_class = read_class(tmp_path, check_rule)
    assert [one.submission.source for one in school_class.judged] == ["b.zip"]


def test_similarity_is_the_share_of_the_shorter_text():
    words = [f"word{index}" for index in range(30)]
    half = [*words[:15], *(f"other{index}" for index in range(15))]
    (pair,) = near_equal(
        {
            "whole": " ".join(words),
            "half": " ".join(half),
            "none": " ".join(f"third{index}" for index in range(30)),
        },
        0.1,
    )
    # of 27 runs of four words, the first 12 are shared
    assert pair.similarity == pytest.approx(12 / 27)
    (pair,) = near_equal({"whole": " ".join(words), "part": " ".join(words[5:20])})
    assert pair.similarity == 1.0


def test_short_texts_and_other_scripts():
    assert near_equal(
        {1: "It got worse!", 2: "it got  WORSE", 3: "It got better.", 4: "yes", 5: "Yes"}
    ) == [(1, 2, 1.0)]
    assert words_of("潜在 space,2D_x") == ("潜", "在", "space", "2d", "x")
    same = "隠れ変数の次元を減らすと画像がぼやける"
    assert [
        pair[:2]
        for pair in near_equal(
            {1: same, 2: same + "と思う", 3: "生成器の学習率を上げると学習が不安定になる"}
        )
    ] == [(1, 2)]


def test_the_longest_texts_of_a_class_are_compared_in_seconds():
    rng = random.Random(1)
    vocabulary = [f"w{index}" for index in range(2000)]
    texts = {index: " ".join(rng.choice(vocabulary) for _ in range(1800)) for index in range(80)}
    begin = time.process_time()
    assert near_equal(texts) == []
    assert near_equal(dict.fromkeys(range(80), texts[0])) and time.process_time() - begin < 10


def test_extreme_numbers_are_drawn(tmp_path):
    """The largest and smallest numbers that the schema lets pass, and settings of any kind, still
    make a page.
    """
    values = results_dict(families=("vae",))
    rng = random.Random(2)
    extremes = (1e12, -1e12, 0.0, 5e-324, 1e-300)
    for row in values["experiments"][0]["rows"]:
        row["metrics"]["FID"] = {
            "value": rng.choice(extremes),
            "error": rng.choice((0.0, 1e12, None)),
            "num_images": rng.choice((0, 10**7)),
        }
        row["history"] = {
            "train.epoch": [1.0],
            "train.loss": [rng.choice(extremes)],
            "train.empty": [],
            "x": [0.0] * 200,
        }
        for name, value in (
            ("a", 2**53),
            ("b", "$\\frac{"),
            ("c", [True, None, "$"]),
            ("d", rng.choice((None, 5e-324, 1e12))),
        ):
            row["experiment"]["model"][name] = value
            values["experiments"][0]["changes"][f"model.{name}"] = value
    write_submission(tmp_path / "a.zip", check_results(values), {}, "")
    school_class = collect(tmp_path, tmp_path / "out", check_rule)
    assert len(school_class.judged) == 1 and json.dumps(values)
