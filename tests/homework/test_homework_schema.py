"""`results.json` holds what it should hold, or one line says where it does not."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from submissions import results_dict

from course_utils.base.errors import CourseError
from course_utils.homework.schema import (
    MAX_RESULTS_BYTES,
    Results,
    check_results,
    clean_name,
    read_homework_file,
    read_plan,
    read_results,
    read_row,
)

ROW = ("experiments", 0, "rows", 0)
LAST = ("experiments", 1, "rows", 5)


def test_results_survive_the_way_through_json():
    values = results_dict(ablate=True)
    results = check_results(values)
    assert isinstance(results, Results) and results.as_dict() == values
    assert read_results(results.as_json()) == results


def test_rows_are_found_by_kind():
    study = check_results(results_dict(ablate=True)).experiments[0]
    name = next(iter(study.changes))
    assert [row.seed for row in study.of_kind("changed")] == [0, 1, 2]
    assert {row.ablated for row in study.of_kind("ablation", name)} == {name}
    assert (
        study.rows[0].settings["model.latent_dim"]
        == study.rows[0].experiment["model"]["latent_dim"]
    )


def test_plans_and_rows_are_read_alone():
    study = results_dict()["experiments"][0]
    row = json.dumps(study["rows"][0]).encode()
    assert read_row(row).seed == 0
    plan = {name: value for name, value in study.items() if name != "rows"}
    assert read_plan(json.dumps(plan).encode()).changes == plan["changes"]
    with pytest.raises(
        CourseError, match="plan.json: expected no names beyond those of the format, got 'rows'"
    ):
        read_plan(json.dumps(study).encode())


def test_text_may_be_in_any_language():
    values = results_dict(student="Ἀρχιμήδης 王小明 🎓")
    values["experiments"][0]["observation"] = "línea uno\nسطر ثان\t<b>&amp;"
    assert check_results(values).as_dict() == values


BROKEN = {
    "a list": ((), [], "results.json: expected an object, got a list"),
    "no student": (("student",), " ", "results.json.student: expected one line of text"),
    "long student": (("student",), "a" * 201, "at most 200 characters, got 201"),
    "student of two lines": (("student",), "a\nb", "nor with control characters, got 'a\\nb'"),
    "escape sequence": (("student",), "\x1b[2J", "nor with control characters"),
    "half a character": (("student",), "\ud800", "text without halves of characters"),
    "number as student": (("student",), 7, "student: expected text, got 7"),
    "long text": (
        ("experiments", 0, "prediction"),
        "a" * 10_001,
        "experiments[0].prediction: expected at most 10,000 characters",
    ),
    "no such budget": (
        ("budget",),
        "huge",
        "budget: expected one of 'smoke', 'laptop' or 'gpu', got 'huge'",
    ),
    "list as budget": (("budget",), ["smoke"], "budget: expected one of"),
    "version as truth": (("version",), True, "version: expected a whole number, got True"),
    "negative seed": (("seeds",), [-1], "seeds[0]: expected at least 0, got -1"),
    "seed as truth": (("seeds",), [True], "seeds[0]: expected a whole number"),
    "seed as float": (("seeds",), [1.0], "seeds[0]: expected a whole number"),
    "many seeds": (("seeds",), list(range(21)), "seeds: expected at most 20 entries, got 21"),
    "no date": (("created",), "yesterday", "created: expected a date"),
    "impossible date": (("created",), "2025-02-30", "created: expected a date"),
    "date with a tail": (("created",), "2025-02-03\n", "created: expected a date"),
    "hash": (("dataset", "sha256"), "F" * 64, "64 hexadecimal digits"),
    "family": (("experiments", 0, "family"), "../vae", "a model family such as 'vae'"),
    "family twice": (("experiments", 1, "family"), "vae", "each family once, got 'vae, vae'"),
    "setting": (
        ("experiments", 0, "changes"),
        {"model.__class__": 1},
        "a dotted name such as 'model.latent_dim', got 'model.__class__'",
    ),
    "deep setting": (("experiments", 0, "changes"), {"a.b.c": 1}, "a dotted name"),
    "object as value": (
        ("experiments", 0, "changes"),
        {"model.beta": {"a": 1}},
        "text, a number, true, false or null, got an object",
    ),
    "long list as value": (
        ("experiments", 0, "changes"),
        {"model.channels": [1] * 21},
        "model.channels: expected at most 20 entries, got 21",
    ),
    "list of lists": (
        ("experiments", 0, "changes"),
        {"model.channels": [[1]]},
        "model.channels[0]: expected text, a number",
    ),
    "huge value": (
        ("experiments", 0, "changes"),
        {"model.latent_dim": 10**30},
        "model.latent_dim: expected at most 9,007,199,254,740,992, got 1000",
    ),
    "overflow": (
        ("experiments", 0, "changes"),
        {"model.beta": 1e200},
        "model.beta: expected at most 1,000,000,000,000.0, got 1e+200",
    ),
    "infinite value": (
        ("experiments", 0, "changes"),
        {"model.beta": float("inf")},
        "model.beta: expected a finite number, got inf",
    ),
    "many changes": (
        ("experiments", 0, "changes"),
        {f"model.a{i}": 1 for i in range(51)},
        "at most 50 names, got 51",
    ),
    "kind": (
        (*ROW, "kind"),
        "best",
        "rows[0].kind: expected one of 'baseline', 'changed' or 'ablation'",
    ),
    "ablation of a baseline": (
        (*ROW, "ablated"),
        "model.beta",
        "expected as 'ablated' of kind 'baseline' null, got 'model.beta'",
    ),
    "ablation without name": (
        (*ROW, "kind"),
        "ablation",
        "of kind 'ablation' the name that was left out, got None",
    ),
    "experiment": (
        (*ROW, "experiment", "code"),
        "x",
        "rows[0].experiment: expected no names beyond those of the format, got 'code'",
    ),
    "NaN": (
        (*LAST, "metrics", "FID", "value"),
        float("nan"),
        "experiments[1].rows[5].metrics.FID.value: expected a finite number",
    ),
    "NaN error": (
        (*LAST, "metrics", "FID", "error"),
        float("nan"),
        "metrics.FID.error: expected a finite number, got nan",
    ),
    "negative error": (
        (*ROW, "metrics", "FID", "error"),
        -1.0,
        "metrics.FID.error: expected at least 0.0, got -1.0",
    ),
    "text as metric": (
        (*ROW, "metrics", "FID", "value"),
        "3",
        "metrics.FID.value: expected a finite number, got '3'",
    ),
    "truth as metric": (
        (*ROW, "metrics", "FID", "value"),
        True,
        "metrics.FID.value: expected a finite number, got True",
    ),
    "formula": (
        (*ROW, "metrics"),
        {"$\\frac{": {"value": 1.0, "error": None, "num_images": 1}},
        "a name such as 'FID'",
    ),
    "negative time": (
        (*ROW, "training_seconds"),
        -1,
        "training_seconds: expected at least 0.0, got -1",
    ),
    "long history": (
        (*ROW, "history", "train.loss"),
        [1.0] * 201,
        "history.train.loss: expected at most 200 entries, got 201",
    ),
    "NaN in history": (
        (*ROW, "history", "train.loss"),
        [1.0, float("nan")],
        "history.train.loss[1]: expected a finite number",
    ),
    "many columns": ((*ROW, "history"), {f"c{i}": [] for i in range(41)}, "at most 40 names"),
    "many rows": (
        ("experiments", 0, "rows"),
        [results_dict()["experiments"][0]["rows"][0]] * 201,
        "rows: expected at most 200 entries, got 201",
    ),
    "many rows in all": (
        ("experiments", 0, "rows"),
        [results_dict()["experiments"][0]["rows"][0]] * 198,
        "expected at most 200 rows, got 204",
    ),
}


@pytest.mark.parametrize("trouble", BROKEN)
def test_each_broken_entry_is_named(trouble):
    path, value, message = BROKEN[trouble]
    values = {"": copy.deepcopy(results_dict())}
    inner = values
    for name in ("", *path)[:-1]:
        inner = inner[name]
    inner[("", *path)[-1]] = value
    with pytest.raises(CourseError) as refusal:
        check_results(values[""])
    assert message in str(refusal.value) and str(refusal.value).isprintable()


@pytest.mark.parametrize("name", ["version", "student", "dataset", "experiments"])
def test_each_entry_is_needed(name):
    values = results_dict()
    del values[name]
    with pytest.raises(CourseError, match=f"expected the name '{name}'"):
        check_results(values)


def test_size_is_checked_before_reading():
    with pytest.raises(CourseError, match="expected at most 5,000,000 bytes, got 5,000,001"):
        read_results(b" " * (MAX_RESULTS_BYTES + 1))


def test_ten_thousand_names_and_one_of_them_twice():
    """The search for the name must not look through all names for each."""
    names = ",".join(f'"a{index}":0' for index in [*range(300_000), 5])
    with pytest.raises(CourseError, match="each name once in an object, got 'a5'"):
        read_results(("{" + names + "}").encode())


MANY = {
    "names": (
        "{" + ",".join(f'"a{index}":0' for index in range(50_000)) + "}",
        "expected at most 1,000 names",
    ),
    "entries": ("[" + "0," * 200_000 + "0]", "expected an object, got a list"),
    "wrong seeds": (
        json.dumps(results_dict(seeds=["x"] * 100_000)),
        "seeds[0]: expected a whole number, got 'x'",
    ),
    "wrong rows": (
        json.dumps(results_dict(experiments=[{"rows": [0] * 100_000}] * 2)),
        "expected the name 'family'",
    ),
    "endless name": ('{"' + "a" * 4_000_000 + '": 1}', "expected the name 'version'"),
    "half a character as name": ('{"\\ud800": 1}', "text without halves of characters"),
}


@pytest.mark.parametrize("trouble", MANY)
def test_many_faults_are_told_in_one_short_line(trouble):
    text, message = MANY[trouble]
    with pytest.raises(CourseError) as refusal:
        read_results(text.encode())
    assert message in str(refusal.value) and str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 200


def test_only_the_first_of_many_faults_is_kept():
    """Else a file of 5 MB could hold a million of them, and take a gigabyte."""
    wrong = {
        **results_dict()["experiments"][0]["rows"][0],
        "history": {f"c{i}": ["x"] * 200 for i in range(40)},
    }
    study = {**results_dict()["experiments"][0], "rows": [wrong] * 200}
    with pytest.raises(ValidationError) as found:
        TypeAdapter(Results).validate_python(results_dict(experiments=[study] * 6))
    assert found.value.error_count() == 40


def test_names_in_messages_are_escaped_and_cut():
    values = results_dict()
    values["experiments"][0]["rows"][0]["metrics"]["\x1b[2J" + "a" * 300_000] = {}
    values["experiments"][0]["changes"] = {"<b>": [[]]}
    with pytest.raises(CourseError) as refusal:
        check_results(values)
    assert (
        str(refusal.value)
        == "results.json.experiments[0].changes, a name: expected a dotted name such as"
        " 'model.latent_dim', got '<b>'."
    )
    values["experiments"][0]["changes"] = {}
    with pytest.raises(CourseError, match="metrics, a name: expected a name such as") as refusal:
        check_results(values)
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 200


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FUZZ = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def places(value, path=()):
    """Yields the path to everything inside a value."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for name, inner in items:
        yield from places(inner, (*path, name))


SMALL = results_dict()
for study in SMALL["experiments"]:
    study["rows"] = study["rows"][2:4]
PLACES = [path for path in places(SMALL) if path]


@FUZZ
@given(st.sampled_from(PLACES), values, st.booleans())
def test_anything_anywhere_is_read_or_refused(path, value, rename):
    changed = copy.deepcopy(SMALL)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    if rename and isinstance(inner, dict):
        inner[str(value)[:100]] = inner.pop(path[-1])
    else:
        inner[path[-1]] = value
    try:
        results = check_results(changed)
    except CourseError as error:
        assert len(str(error)) < 600
    else:
        assert read_results(results.as_json()) == results


@FUZZ
@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_read_or_refused(data):
    with pytest.raises(CourseError):
        read_results(data)


NAMES = {
    "Ali\u200creza": "Ali\u200creza",
    "Zo\u00eb \U0001f469\u200d\U0001f52c": "Zoë \U0001f469\u200d\U0001f52c",
    "\u0915\u094d\u200d\u0937": "\u0915\u094d\u200d\u0937",
    "Jean\u00a0Dupont": "Jean Dupont",
    "王\u3000小明": "王 小明",
    " \u202fAnne \u2009 Marie ": "Anne Marie",
    "Zoe\u0308": "Zo\u00eb",
    "\ufeffO\u2019Brien\u200b": "O\u2019Brien",
    "D'Arcy-Ng\u0169gi\u0303": "D'Arcy-Ng\u0169g\u0129",
    "\u200fمحمد": "محمد",
    "\U0001f393": "\U0001f393",
    "\u1e9e\U00011f04": "\u1e9e\U00011f04",
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_all_scripts_are_kept(name):
    assert clean_name(name) == NAMES[name] == clean_name(NAMES[name])
    assert check_results(results_dict(student=name)).student == NAMES[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "neither empty"),
        (" \u00a0\u3000", "neither empty"),
        ("\u200b\u200d\u2060", "neither empty"),
        ("\u3164", "neither empty"),
        ("a\tb", "nor with control characters"),
        ("a\nb", "one line of text"),
        ("a\u2028b", "one line of text"),
        ("a\u2029b", "one line of text"),
        ("a\x85b", "nor with control characters"),
        ("a\udc80b", "one line of text"),
        ("\u202eyraM", "marks that turn its direction"),
        ("Ada" + 9 * "\u0301", "at most 8 accents on one letter"),
        ("\u2067a\u2069", "marks that turn its direction"),
    ],
    ids=ascii,
)
def test_names_that_cannot_be_shown_are_refused(name, expected):
    with pytest.raises(ValueError, match=expected):
        clean_name(name)
    with pytest.raises(CourseError, match="student: expected"):
        check_results(results_dict(student=name))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_that_an_editor_has_saved_with_its_mark_are_read(encoding):
    values = {name: results_dict(student="Zoë")[name] for name in ("version", "student", "created")}
    values |= {"dataset": "strokes", "budget": "smoke", "seeds": [0, 1]}
    data = json.dumps(values, ensure_ascii=False).replace("{", "{\r\n", 1).encode(encoding)
    assert read_homework_file(data) == {**values, "seeds": (0, 1)}


def test_results_with_the_mark_of_utf_8_are_read():
    values = results_dict(student="Zoë")
    data = json.dumps(values, ensure_ascii=False).encode("utf-8-sig")
    assert read_results(data).as_dict() == values
