"""What a submission says, as data: `results.json` and `plan.json`, with a cap on everything.

Nothing here knows what a setting means or whether the assignment is met; `rule` does. A value that passes is of the expected type, finite, short
and free of control characters, so that pages and tables only have to escape it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from course_utils.config import flatten_dict
from course_utils.device import BUDGETS
from course_utils.errors import CourseError
from course_utils.homework.strict_json import (
    date,
    list_of,
    mapping,
    matching,
    number,
    one_of,
    optional,
    parse_json,
    record,
    refuse,
    scalar,
    text,
    whole,
)

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
class Row:
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

    rows: tuple[Row, ...]

    def of_kind(self, kind: str, ablated: str | None = None) -> tuple[Row, ...]:
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
    Row,
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


def read_row(data: bytes, where: str = "rows.jsonl") -> Row:
    """Returns the run in one line of a `rows.jsonl`; raises CourseError as `read_results` does."""
    return _row(parse_json(data, where, MAX_ROW_BYTES), where)
