"""What a submission says, as data: `results.json` and `plan.json`, with a cap on everything.

Nothing here knows what a setting means or whether the assignment is met; `rule` does. A value that passes is of the expected type, finite, short
and free of control characters, so that pages and tables only have to escape it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NoReturn

from course_utils.base.config import flatten_dict
from course_utils.base.device import BUDGETS
from course_utils.base.errors import CourseError

Reader = Callable[[Any, str], Any]
MAX_DIGITS, MAX_SHOWN = 40, 60  # of a number; of a wrong value in a message
MAX_PARTS = 100_000
MAX_NUMBER = 1e12  # no setting, metric or loss of the course comes near; squares and axes of larger ones overflow
DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?(Z|[+-]\d\d:\d\d)?)?")


def refuse(where: str, expected: str, got: object) -> NoReturn:
    """Raises the one line of a refusal; a long value is cut."""
    text = "an object" if isinstance(got, Mapping) else "a list" if isinstance(got, (list, tuple)) else ascii(got)
    raise CourseError(f"{where}: expected {expected}, got {text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + '...'}.")


def parse_json(data: bytes, where: str, max_bytes: int) -> Any:
    """Returns the value that UTF-8 JSON of at most `max_bytes` holds.

    Raises:
        CourseError: too many bytes, not UTF-8, not JSON, nested too deep, a name that stands twice in one object, NaN, infinity or an endless number.
    """
    if len(data) > max_bytes:
        raise CourseError(f"{where}: expected at most {max_bytes:,} bytes, got {len(data):,}.")
    if data.count(b"[") + data.count(b"{") > MAX_PARTS:  # an empty list takes 2 bytes in the file and 30 times as many in memory
        raise CourseError(f"{where}: expected at most {MAX_PARTS:,} lists and objects, got more.")

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name in values:
                refuse(where, "each name once in an object", name)
            values[name] = value
        return values

    def to_number(text: str) -> int | float:
        if len(text) > MAX_DIGITS:
            refuse(where, f"numbers of at most {MAX_DIGITS} digits", text)
        return float(text) if set(text) & set(".eE") else int(text)

    def constant(text: str) -> NoReturn:
        refuse(where, "finite numbers", text)

    try:
        text = data.decode("utf-8")
        return json.loads(text, object_pairs_hook=without_repeats, parse_int=to_number, parse_float=to_number, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise CourseError(f"{where}: expected UTF-8 text, got the byte 0x{data[error.start]:02x} at {error.start:,}.") from None
    except json.JSONDecodeError as error:
        raise CourseError(f"{where}: expected JSON, got a syntax error: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise CourseError(f"{where}: expected JSON of a few levels, got lists or objects nested a thousand deep.") from None


def text(max_length: int, *, one_line: bool = True, required: bool = False) -> Reader:
    """Returns the reader of plain text without control characters, with line breaks only where `one_line` is false."""
    allowed, kind = ("", "one line of text") if one_line else ("\n\r\t", "text")

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str):
            refuse(where, kind, value)
        if len(value) > max_length:
            raise CourseError(f"{where}: expected at most {max_length:,} characters, got {len(value):,}.")
        for character in value:
            if character not in allowed and unicodedata.category(character) in ("Cc", "Cs"):
                refuse(where, f"{kind} without control characters", character)
        if required and not value.strip():
            refuse(where, kind, value)
        return value

    return read


def matching(pattern: str, expected: str) -> Reader:
    """Returns the reader of text that matches a regular expression as a whole."""
    compiled = re.compile(pattern)

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            refuse(where, expected, value)
        return value

    return read


def one_of(*valid: str | int) -> Reader:
    """Returns the reader of one of a few values."""

    def read(value: Any, where: str) -> Any:
        if type(value) not in {type(name) for name in valid} or value not in valid:
            refuse(where, "one of " + ", ".join(map(repr, valid)), value)
        return value

    return read


def whole(low: int, high: int) -> Reader:
    """Returns the reader of a whole number from `low` to `high`; true and 1.0 are none."""

    def read(value: Any, where: str) -> int:
        if type(value) is not int or not low <= value <= high:
            refuse(where, f"a whole number from {low:,} to {high:,}", value)
        return value

    return read


def number(low: float = -MAX_NUMBER, high: float = MAX_NUMBER) -> Reader:
    """Returns the reader of a finite number from `low` to `high`."""

    def read(value: Any, where: str) -> float:
        if type(value) not in (int, float) or not low <= value <= high:  # NaN is in no range
            refuse(where, f"a finite number from {low:g} to {high:g}", value)
        return float(value)

    return read


def date(value: Any, where: str) -> str:
    """Returns a date with or without time as ISO 8601 writes it, such as "2025-03-01T12:30:00+00:00"."""
    expected = "a date such as 2025-03-01T12:30:00+00:00"
    if not isinstance(value, str) or not DATE.fullmatch(value) or not value.isascii():
        refuse(where, expected, value)
    try:
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        refuse(where, expected, value)
    return value


def optional(read: Reader) -> Reader:
    """Returns the reader of what `read` accepts, or null."""
    return lambda value, where: None if value is None else read(value, where)


def scalar(value: Any, where: str) -> Any:
    """Returns a setting's value: text, a number, true, false or null."""
    if isinstance(value, str):
        return text(200)(value, where)
    if isinstance(value, float):
        return number()(value, where)
    if type(value) is int:
        return whole(-(2**53), 2**53)(value, where)
    if value is not None and not isinstance(value, bool):
        refuse(where, "text, a number, true, false or null", value)
    return value


def list_of(read: Reader, max_length: int, min_length: int = 0) -> Reader:
    """Returns the reader of a list; it gives a tuple."""

    def read_list(value: Any, where: str) -> tuple:
        if not isinstance(value, (list, tuple)):
            refuse(where, "a list", value)
        if not min_length <= len(value) <= max_length:
            raise CourseError(f"{where}: expected {min_length} to {max_length:,} entries, got {len(value):,}.")
        return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read_list


def mapping(read_name: Reader, read: Reader, max_length: int) -> Reader:
    """Returns the reader of an object whose names are free."""

    def read_mapping(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            refuse(where, "an object", value)
        if len(value) > max_length:
            raise CourseError(f"{where}: expected at most {max_length:,} names, got {len(value):,}.")
        return {read_name(name, f"{where}, a name"): read(item, f"{where}.{name}") for name, item in value.items()}

    return read_mapping


def record(readers: Mapping[str, Reader], make: Callable[..., Any] = dict) -> Reader:
    """Returns the reader of an object with exactly these names; it gives `make(**values)`."""

    def read_record(value: Any, where: str) -> Any:
        if not isinstance(value, Mapping):
            refuse(where, "an object", value)
        for name in value:
            if name not in readers:
                refuse(where, f"the names {', '.join(readers)}", name)
        for name in readers:
            if name not in value:
                raise CourseError(f"{where}: expected the name {name!r}, got an object without it.")
        return make(**{name: read(value[name], f"{where}.{name}") for name, read in readers.items()})

    return read_record


VERSION = 1
KINDS = ("baseline", "changed", "ablation")
MAX_RESULTS_BYTES, MAX_PLAN_BYTES, MAX_ROW_BYTES = 5_000_000, 200_000, 1_000_000
MAX_ROWS, MAX_EXPERIMENTS, MAX_SEEDS, MAX_CHANGES, MAX_NAME, MAX_TEXT, MAX_EPOCHS = 200, 6, 20, 50, 200, 10_000, 200


@dataclass(frozen=True)
class Metric:
    """One measured number of one run; `error` is one standard error, None where there is none."""

    value: float
    error: float | None
    num_images: int


@dataclass(frozen=True)
class SubmittedRow:
    """One finished run: what was trained, when, how long, and what came out.

    Attributes:
        kind: "baseline", "changed" (all changes) or "ablation" (all but one).
        ablated: of an ablation, the dotted name of the change that was left out; else None.
        experiment: as `Experiment.as_dict` writes it; its names are checked, its meaning is not.
        key: SHA-256 of experiment and data, 64 hexadecimal digits.
        history: columns of the training curves, one value an epoch.
    """

    kind: str
    ablated: str | None
    seed: int
    experiment: dict[str, Any]
    key: str
    started: str
    finished: str
    machine: str
    training_seconds: float
    sampling_seconds: float
    metrics: dict[str, Metric]
    history: dict[str, tuple[float, ...]]

    @property
    def settings(self) -> dict[str, Any]:
        """`{dotted name: value}` of the experiment."""
        return flatten_dict(self.experiment)


@dataclass(frozen=True)
class Plan:
    """What a student set out to change in one model family, and their texts."""

    family: str
    changes: dict[str, Any]
    prediction: str
    observation: str
    explanation: str
    planned: str


@dataclass(frozen=True)
class Study(Plan):
    """A plan with the runs that belong to it."""

    rows: tuple[SubmittedRow, ...]

    def of_kind(self, kind: str, ablated: str | None = None) -> tuple[SubmittedRow, ...]:
        """Returns the rows of one kind; of the ablations those that left out `ablated`."""
        return tuple(row for row in self.rows if row.kind == kind and row.ablated == ablated)


@dataclass(frozen=True)
class DatasetName:
    """Which images were used."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Results:
    """Everything that one student hands in, the report and the pictures aside."""

    version: int
    student: str
    course_version: str
    dataset: DatasetName
    budget: str
    seeds: tuple[int, ...]
    created: str
    experiments: tuple[Study, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns nested dicts and lists, as `results.json` holds them."""
        return json.loads(json.dumps(asdict(self), allow_nan=False))

    def as_json(self) -> bytes:
        """Returns `results.json`; equal results give equal bytes."""
        return (json.dumps(asdict(self), allow_nan=False, ensure_ascii=False, indent=1) + "\n").encode()


_sha256 = matching(r"[0-9a-f]{64}", "64 hexadecimal digits")
_family = matching(r"[a-z][a-z0-9-]{0,39}", "a model family such as 'vae'")
_setting = matching(r"[a-z][a-z0-9_]{0,59}(\.[a-z][a-z0-9_]{0,59})?", "a dotted name such as 'model.latent_dim'")
_label = matching(r"[A-Za-z0-9-][A-Za-z0-9 _.,:;()/%+*=-]{0,59}", "a name such as 'FID' or '-ELBO (nats)'")
_seed = whole(0, 2**32 - 1)
_prose, _seconds = text(MAX_TEXT, one_line=False), number(0, 1e8)


def _value(value: Any, where: str) -> Any:  # of a setting
    return list_of(scalar, 20)(value, where) if isinstance(value, (list, tuple)) else scalar(value, where)


_settings = mapping(_setting, _value, 80)
_experiment = record({"family": _family, "dataset": text(MAX_NAME), "seed": _seed, "model": _settings, "train": _settings})
_metric = record({"value": number(), "error": optional(number(low=0)), "num_images": whole(0, 10**7)}, Metric)
_plan_readers = {
    "family": _family,
    "changes": mapping(_setting, _value, MAX_CHANGES),
    "prediction": _prose,
    "observation": _prose,
    "explanation": _prose,
    "planned": date,
}
_row = record(
    {
        "kind": one_of(*KINDS),
        "ablated": optional(_setting),
        "seed": _seed,
        "experiment": _experiment,
        "key": _sha256,
        "started": date,
        "finished": date,
        "machine": text(MAX_NAME),
        "training_seconds": _seconds,
        "sampling_seconds": _seconds,
        "metrics": mapping(_label, _metric, 40),
        "history": mapping(_label, list_of(number(), MAX_EPOCHS), 40),
    },
    SubmittedRow,
)
_results = record(
    {
        "version": one_of(VERSION),
        "student": text(MAX_NAME, required=True),
        "course_version": text(40),
        "dataset": record({"name": text(MAX_NAME, required=True), "sha256": _sha256}, DatasetName),
        "budget": one_of(*BUDGETS),
        "seeds": list_of(_seed, MAX_SEEDS),
        "created": date,
        "experiments": list_of(record({**_plan_readers, "rows": list_of(_row, MAX_ROWS)}, Study), MAX_EXPERIMENTS),
    },
    Results,
)


def check_results(value: Any, where: str = "results.json") -> Results:
    """Returns the results that nested dicts and lists describe.

    Raises:
        CourseError: a name is missing, unknown or stands for something else than expected; a text, list or number is too large; a family twice.
    """
    results = _results(value, where)
    if (num_rows := sum(len(study.rows) for study in results.experiments)) > MAX_ROWS:
        raise CourseError(f"{where}: expected at most {MAX_ROWS} rows, got {num_rows}.")
    if len(families := [study.family for study in results.experiments]) > len(set(families)):
        refuse(f"{where}.experiments", "each family once", ", ".join(families))
    for row in (row for study in results.experiments for row in study.rows):
        if (row.kind == "ablation") != (row.ablated is not None):
            refuse(f"{where}, ablated", f"{'null' if row.ablated else 'the name that was left out'} for kind {row.kind!r}", row.ablated)
    return results


def read_results(data: bytes, where: str = "results.json") -> Results:
    """Returns the results in the bytes of a `results.json`.

    Raises:
        CourseError: more than 5 MB, no UTF-8, no JSON, or JSON that `check_results` refuses.
    """
    return check_results(parse_json(data, where, MAX_RESULTS_BYTES), where)


def read_plan(data: bytes, where: str = "plan.json") -> Plan:
    """Returns the plan in the bytes of a `plan.json`; raises CourseError as `read_results` does."""
    return record(_plan_readers, Plan)(parse_json(data, where, MAX_PLAN_BYTES), where)


def read_row(data: bytes, where: str = "rows.jsonl") -> SubmittedRow:
    """Returns the run in one line of a `rows.jsonl`; raises CourseError as `read_results` does."""
    return _row(parse_json(data, where, MAX_ROW_BYTES), where)
