"""What a submission says, as data: `results.json` and `plan.json`, with a cap on everything.

Nothing here knows what a setting means or whether the assignment is met; `rule` does. A value that
passes is of the expected type, finite, short and free of control characters, so that pages and
tables only have to escape it.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    Strict,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import NotRequired, TypedDict

from course_utils.base.config import flatten_dict
from course_utils.base.device import Budget
from course_utils.base.errors import CourseError
from course_utils.base.files import decode_text

VERSION = 1
MAX_RESULTS_BYTES, MAX_PLAN_BYTES, MAX_ROW_BYTES = 5_000_000, 200_000, 1_000_000
MAX_ROWS, MAX_EXPERIMENTS, MAX_SEEDS, MAX_CHANGES, MAX_EPOCHS = 200, 6, 20, 50, 200
MAX_NAME, MAX_TEXT = 200, 10_000
MAX_CODE = 40_000  # characters of one version of a learner's own file
MAX_NUMBER = 1e12  # beyond every setting, metric and loss of the course; larger axes overflow
MAX_PARTS, MAX_NAMES, MAX_DIGITS = 100_000, 1_000, 40  # of any JSON; names in one object
MAX_SHOWN = 60  # characters of a wrong value in a message


def shown(value: object) -> str:
    """Returns a wrong value for a message: escaped, and cut where it is long."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = ascii(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def refuse(where: str, expected: str, got: object) -> NoReturn:
    """Raises the CourseError of one line that says what stands where something else should."""
    raise CourseError(f"{where}: expected {expected}, got {shown(got)}.")


def parse_json(data: bytes, where: str, max_bytes: int) -> Any:
    """Returns the value that JSON of at most `max_bytes` holds, in UTF-8 or as its byte order mark
    says.

    Raises:
        CourseError: too many bytes, another encoding, not JSON, too deep, too many lists, objects
            or names, a name that stands twice in one object, NaN, infinity or an endless number.
    """
    if len(data) > max_bytes:
        raise CourseError(f"{where}: expected at most {max_bytes:,} bytes, got {len(data):,}.")
    # An empty list takes 2 bytes in the file and 30 times as many in memory.
    if data.count(b"[") + data.count(b"{") > MAX_PARTS:
        raise CourseError(f"{where}: expected at most {MAX_PARTS:,} lists and objects, got more.")

    try:
        return json.loads(
            decode_text(data, where),
            object_pairs_hook=partial(_to_object, where),
            parse_int=partial(_to_number, where),
            parse_float=partial(_to_number, where),
            parse_constant=partial(refuse, where, "finite numbers"),
        )
    except json.JSONDecodeError as error:
        found = f"a syntax error: {error.msg} (line {error.lineno}, column {error.colno})"
        raise CourseError(f"{where}: expected JSON, got {found}.") from None
    except RecursionError:
        expected = "JSON of a few levels, got lists or objects nested a thousand deep"
        raise CourseError(f"{where}: expected {expected}.") from None


def _to_object(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            refuse(where, "each name once in an object", name)
        values[name] = value
    if len(values) > MAX_NAMES:
        found = f"an object of {len(values):,}"
        raise CourseError(f"{where}: expected at most {MAX_NAMES:,} names, got {found}.")
    return values


def _to_number(where: str, text: str) -> int | float:
    if len(text) > MAX_DIGITS:
        refuse(where, f"numbers of at most {MAX_DIGITS} digits", text)
    return float(text) if set(text) & set(".eE") else int(text)


def _matching(pattern: str, expected: str) -> AfterValidator:
    """Returns the check of text that matches a regular expression as a whole."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise PydanticCustomError("expected", expected)  # pyright: ignore
        return value

    return AfterValidator(check)


_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{3}([0-9]{3})?)?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


def _check_date(value: str) -> str:
    """Returns a date of ISO 8601, with or without time, that exists."""
    try:
        if not _DATE.fullmatch(value):
            raise ValueError
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        expected = "a date such as 2025-03-01T12:30:00+00:00"
        raise PydanticCustomError("expected", expected) from None
    return value


_NO_CONTROL = r"[^\x00-\x1f\x7f-\x9f]*"
_LINE = _matching(_NO_CONTROL, "one line of text without control characters")
_NAME = _matching(
    rf"(?=.*\S){_NO_CONTROL}", "one line of text, neither empty nor with control characters"
)
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Soft hyphen, space of no width and such: left by copying from a page, without a meaning in a name.
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u061c\u200b\u200e\u200f\u2060\ufeff"))
_BLANK = set("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols without a picture


MAX_MARKS = 8  # on one letter; more cover the lines above and below


def clean_name(name: str) -> str:
    """Returns a person's name in any script: composed (NFC), each space of any kind a plain one,
    none at the ends. Joiners stay, since Persian, Indic scripts and emoji are written with them.

    Raises:
        ValueError: says what was expected: something to see, in one line, without control
            characters, marks that turn the direction of the text, or towers of accents.
    """
    one_line = "one line of text, neither empty nor with control characters"
    if {unicodedata.category(character) for character in name} & {"Cc", "Cs", "Zl", "Zp"}:
        raise ValueError(one_line)
    if _TURNING.search(name):
        raise ValueError("text without marks that turn its direction (U+202A to U+2069)")
    marks = ("x" if unicodedata.category(one) in ("Mn", "Me") else " " for one in name)
    if "x" * (MAX_MARKS + 1) in "".join(marks):
        raise ValueError(f"text with at most {MAX_MARKS} accents on one letter")
    cleaned = " ".join(unicodedata.normalize("NFC", name.translate(_UNSEEN)).split())
    seen = set(cleaned) - _BLANK
    if not any(unicodedata.category(character) not in ("Cf", "Zs") for character in seen):
        raise ValueError(one_line)
    return cleaned


def _check_person(value: str) -> str:
    try:
        return clean_name(value)
    except ValueError as error:
        raise PydanticCustomError("expected", str(error)) from None  # pyright: ignore


_PROSE = _matching(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*", "text without control characters")

# One `_matching` a type and no more: older versions of pydantic keep only the last of several.
Text = Annotated[str, Strict()]
Line = Annotated[Text, Field(max_length=MAX_NAME), _LINE]
Name = Annotated[Text, Field(max_length=MAX_NAME), _NAME]
Person = Annotated[Text, Field(max_length=MAX_NAME), AfterValidator(_check_person)]
ShortLine = Annotated[Text, Field(max_length=40), _LINE]
Prose = Annotated[Text, Field(max_length=MAX_TEXT), _PROSE]
Code = Annotated[Text, Field(max_length=MAX_CODE), _PROSE]
Date = Annotated[Text, AfterValidator(_check_date)]
Digest = Annotated[Text, _matching(r"[0-9a-f]{64}", "64 hexadecimal digits")]
Family = Annotated[Text, _matching(r"[a-z][a-z0-9-]{0,39}", "a model family such as 'vae'")]
SettingName = Annotated[
    Text,
    _matching(
        r"[a-z][a-z0-9_]{0,59}(\.[a-z][a-z0-9_]{0,59})?", "a dotted name such as 'model.latent_dim'"
    ),
]
Label = Annotated[
    Text,
    _matching(
        r"[A-Za-z0-9-][A-Za-z0-9 _.,:;()/%+*=-]{0,59}", "a name such as 'FID' or '-ELBO (nats)'"
    ),
]
Kind = Literal["baseline", "changed", "ablation"]

Whole = Annotated[int, Strict()]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], Field(max_length=MAX_SEEDS), FailFast()]
Version = Annotated[Whole, Field(ge=VERSION, le=VERSION)]
Number = Annotated[float, Strict(), Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
Positive = Annotated[Number, Field(ge=0)]
Seconds = Annotated[Number, Field(ge=0, le=1e8)]
Column = Annotated[tuple[Number, ...], Field(max_length=MAX_EPOCHS), FailFast()]


def _kind_of(value: Any) -> str:
    return "<list>" if isinstance(value, (list, tuple)) else f"<{type(value).__name__}>"


# Told apart by their Python type, so that one value has one error; `_place` leaves out the tags.
Scalar = Annotated[
    Annotated[None, Tag("<NoneType>")]
    | Annotated[bool, Strict(), Tag("<bool>")]
    | Annotated[Whole, Field(ge=-(2**53), le=2**53), Tag("<int>")]
    | Annotated[Number, Tag("<float>")]
    | Annotated[Line, Tag("<str>")],
    Discriminator(
        _kind_of,
        custom_error_type="expected",
        custom_error_message="text, a number, true, false or null",
    ),
]
SettingValue = Annotated[
    Annotated[Scalar, Tag("<scalar>")]
    | Annotated[tuple[Scalar, ...], Field(max_length=20), Tag("<list>")],
    Discriminator(lambda value: "<list>" if _kind_of(value) == "<list>" else "<scalar>"),
]
Settings = Annotated[dict[SettingName, SettingValue], Field(max_length=80)]

_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CONFIG)
class Metric:
    """One measured number of one run; `error` is one standard error, None where there is none."""

    value: Number
    error: Positive | None
    num_images: Annotated[Whole, Field(ge=0, le=10**7)]


class ExperimentDict(TypedDict):
    """An experiment as `Experiment.as_dict` writes it; its names are checked, not its meaning."""

    __pydantic_config__ = _CONFIG  # type: ignore

    family: Family
    dataset: Line
    seed: Seed
    model: Settings
    train: Settings


@dataclass(frozen=True, config=_CONFIG)
class SubmittedRow:
    """One finished run: what was trained, when, how long, and what came out.

    Attributes:
        kind: "baseline", "changed" (all changes) or "ablation" (all but one).
        ablated: of an ablation, the dotted name of the change that was left out; else None.
        key: SHA-256 of experiment and data, 64 hexadecimal digits.
        history: columns of the training curves, one value an epoch.
        data_sha256: SHA-256 of the images that it was run with; None in rows of older versions.
    """

    kind: Kind
    ablated: SettingName | None
    seed: Seed
    experiment: ExperimentDict
    key: Digest
    started: Date
    finished: Date
    machine: Line
    training_seconds: Seconds
    sampling_seconds: Seconds
    metrics: Annotated[dict[Label, Metric], Field(max_length=40)]
    history: Annotated[dict[Label, Column], Field(max_length=40)]
    data_sha256: Digest | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """`{dotted name: value}` of the experiment."""
        return flatten_dict(self.experiment)  # type: ignore[arg-type]


@dataclass(frozen=True, config=_CONFIG)
class OwnCode:
    """A file that a student wrote, before and after her change. It is text: nobody who reads a
    submission runs it.
    """

    file: Name
    before: Code
    after: Code


def changed_lines(code: OwnCode) -> int:
    """Returns how many lines of code differ, comments, docstrings and layout left out; the texts
    are parsed, never run. 0 for text that is no Python.
    """
    try:
        first, second = (_plain_lines(text) for text in (code.before, code.after))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0
    changes = difflib.unified_diff(first, second, n=0, lineterm="")
    signs = [line[0] for line in list(changes)[2:] if line[0] in "+-"]
    return max(signs.count("+"), signs.count("-"))


def _plain_lines(text: str) -> list[str]:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [one for one in body if not _is_text(one)] or [ast.Pass()]
    return ast.unparse(tree).splitlines()


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@dataclass(frozen=True, config=_CONFIG)
class Plan:
    """What a student set out to change in one model family, and their texts; `own_code` where it is
    her own code that she changed, which has no settings.
    """

    family: Family
    changes: Annotated[dict[SettingName, SettingValue], Field(max_length=MAX_CHANGES)]
    prediction: Prose
    observation: Prose
    explanation: Prose
    planned: Date
    own_code: OwnCode | None = field(default=None, kw_only=True)

    def as_dict(self) -> dict[str, Any]:
        """Returns nested dicts and lists; without `own_code` where there is none."""
        return _without_no_code(asdict(self))


@dataclass(frozen=True, config=_CONFIG)
class Study(Plan):
    """A plan with the runs that belong to it."""

    rows: Annotated[tuple[SubmittedRow, ...], Field(max_length=MAX_ROWS), FailFast()]

    def of_kind(self, kind: str, ablated: str | None = None) -> tuple[SubmittedRow, ...]:
        """Returns the rows of one kind; of the ablations those that left out `ablated`."""
        return tuple(row for row in self.rows if row.kind == kind and row.ablated == ablated)


@dataclass(frozen=True, config=_CONFIG)
class DatasetName:
    """Which images were used."""

    name: Name
    sha256: Digest


@dataclass(frozen=True, config=_CONFIG)
class Results:
    """Everything that one student hands in, the report and the pictures aside."""

    version: Version
    student: Person
    course_version: ShortLine
    dataset: DatasetName
    budget: Budget
    seeds: Seeds
    created: Date
    experiments: Annotated[tuple[Study, ...], Field(max_length=MAX_EXPERIMENTS), FailFast()]

    @model_validator(mode="after")
    def _check_as_a_whole(self) -> Results:
        rows = [row for study in self.experiments for row in study.rows]
        if len(rows) > MAX_ROWS:
            _raise(f"at most {MAX_ROWS} rows", len(rows))
        families = [study.family for study in self.experiments]
        if len(families) > len(set(families)):
            _raise("each family once", ", ".join(families))
        for row in rows:
            if (row.kind == "ablation") != (row.ablated is not None):
                expected = "null" if row.ablated else "the name that was left out"
                _raise(f"as 'ablated' of kind {row.kind!r} {expected}", row.ablated)
        return self

    def as_dict(self) -> dict[str, Any]:
        """Returns nested dicts and lists, as `results.json` holds them."""
        return json.loads(json.dumps(self._values(), allow_nan=False))

    def as_json(self) -> bytes:
        """Returns `results.json`; equal results give equal bytes."""
        text = json.dumps(self._values(), allow_nan=False, ensure_ascii=False, indent=1)
        return (text + "\n").encode()

    def _values(self) -> dict[str, Any]:
        values = asdict(self)
        return values | {"experiments": [_without_no_code(one) for one in values["experiments"]]}


def _without_no_code(plan: dict[str, Any]) -> dict[str, Any]:
    """Returns a plan as it was written before there was `own_code`, where it has none."""
    return {name: value for name, value in plan.items() if name != "own_code" or value is not None}


class OwnPictures(TypedDict):
    """Where the student's own pictures lie; stays in the student's folder."""

    __pydantic_config__ = _CONFIG  # type: ignore

    name: Name
    folder: Annotated[Text, Field(max_length=4096)]
    image_size: Annotated[Whole, Field(ge=4, le=4096)]


class HomeworkFile(TypedDict):
    """What `homework.json` in a student's folder says."""

    __pydantic_config__ = _CONFIG  # type: ignore

    version: Version
    student: Person
    created: Date
    dataset: Name
    data: NotRequired[OwnPictures]
    budget: Budget
    seeds: Seeds


def _raise(expected: str, got: object) -> NoReturn:
    context = {"expected": expected, "got": shown(got)}
    raise PydanticCustomError("whole", "{expected}, got {got}", context)


_RESULTS, _PLAN = TypeAdapter(Results), TypeAdapter(Plan)
_ROW, _HOMEWORK = TypeAdapter(SubmittedRow), TypeAdapter(HomeworkFile)

_EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "an object",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_type": "a finite number",
    "greater_than_equal": "at least {ge:,}",
    "int_type": "a whole number",
    "less_than": "less than {lt:,}",
    "less_than_equal": "at most {le:,}",
    "literal_error": "one of {expected}",
    "string_type": "text",
    "string_unicode": "text without halves of characters",
    "tuple_type": "a list",
}


def _checked(adapter: TypeAdapter[Any], value: Any, where: str) -> Any:
    """Returns the value as the adapter's type, or raises the first of its errors as CourseError."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
    raise CourseError(f"{where}{_place(details)}: expected {_complaint(details)}.")


def _place(details: ErrorDetails) -> str:
    """Returns where in the file an error is, such as `.experiments[0].rows[3].seed`."""
    parts = list(details["loc"])
    if details["type"] in ("missing", "unexpected_keyword_argument", "extra_forbidden"):
        parts.pop()
    is_name = parts[-1:] == ["[key]"]
    place = ""
    for part in parts[:-2] if is_name else parts:
        if isinstance(part, int):
            place += f"[{part}]"
        elif not part.startswith("<"):
            place += f".{shown(part)[1:-1]}"
    return place + (", a name" if is_name else "")


def _complaint(details: ErrorDetails) -> str:
    """Returns what was expected and what was got instead."""
    kind, got, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "missing":
        return f"the name {shown(details['loc'][-1])}, got an object without it"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"no names beyond those of the format, got {shown(details['loc'][-1])}"
    if kind in ("too_long", "string_too_long"):
        units = {str: "characters", dict: "names"}.get(type(got), "entries")
        return f"at most {context['max_length']:,} {units}, got {len(got):,}"
    if kind == "whole":
        return details["msg"]
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else details["msg"]
    return f"{expected}, got {shown(got)}"


def check_results(value: Any, where: str = "results.json") -> Results:
    """Returns the results that nested dicts and lists describe.

    Raises:
        CourseError: a name is missing, unknown or stands for something else than expected; a text,
            list or number is too large; a family twice.
    """
    return _checked(_RESULTS, value, where)


def read_results(data: bytes, where: str = "results.json") -> Results:
    """Returns the results in the bytes of a `results.json`.

    Raises:
        CourseError: more than 5 MB, no UTF-8, no JSON, or JSON that `check_results` refuses.
    """
    try:  # no editor comes between a program that writes this file and one that reads it
        if len(data) <= MAX_RESULTS_BYTES:
            data.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"the byte 0x{data[error.start]:02x} at {error.start:,}"
        raise CourseError(f"{where}: expected UTF-8 text, got {found}.") from None
    return check_results(parse_json(data, where, MAX_RESULTS_BYTES), where)


def read_plan(data: bytes, where: str = "plan.json") -> Plan:
    """Returns the plan in the bytes of a `plan.json`; raises CourseError as `read_results`."""
    return _checked(_PLAN, parse_json(data, where, MAX_PLAN_BYTES), where)


def read_row(data: bytes, where: str = "rows.jsonl") -> SubmittedRow:
    """Returns the run in one line of a `rows.jsonl`; raises CourseError as `read_results`."""
    return _checked(_ROW, parse_json(data, where, MAX_ROW_BYTES), where)


def read_homework_file(data: bytes, where: str = "homework.json") -> HomeworkFile:
    """Returns what the bytes of a `homework.json` say; raises CourseError as `read_results`."""
    return _checked(_HOMEWORK, parse_json(data, where, MAX_PLAN_BYTES), where)
