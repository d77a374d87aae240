"""The results of a sweep on disk: one JSON object a line, each written at once and in one step, so a crash never leaves half a row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_utils.errors import CourseError
from course_utils.files import write_text

Row = dict[str, Any]
# What a row says of a run; labels that tell what the run was for stand beside these.
RUN_COLUMNS = (
    "seed",
    "experiment",
    "key",
    "started",
    "finished",
    "machine",
    "training_seconds",
    "sampling_seconds",
    "metrics",
    "history",
)


def read_rows(path: Path | str) -> list[Row]:
    """Returns the rows of a file, none where it does not exist yet.

    Raises:
        CourseError: the file cannot be read, or a line is no row of a sweep.
    """
    path = Path(path)
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"cannot read {path}: {error}. Expected the rows of a sweep.") from error
    return [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _parse(line: str, where: str) -> Row:
    remedy = "remove the line, its run is then measured again"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise CourseError(f"{where}: expected a JSON object, got {line[:40]!r} ({error.msg}); {remedy}.") from error
    missing = [name for name in RUN_COLUMNS if name not in row] if isinstance(row, dict) else list(RUN_COLUMNS)
    if missing:
        raise CourseError(f"{where}: expected a row of a sweep, got one without {', '.join(missing)}; {remedy}.")
    return row


def add_rows(path: Path | str, rows: Sequence[Row]) -> None:
    """Appends rows to a file in one step: afterwards all of them are there, or none.

    Raises:
        CourseError: the file cannot be written.
        ValueError: a row holds a number that is not finite.
    """
    path = Path(path)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, before + "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows))


def with_labels(row: Row, labels: Mapping[str, Any]) -> Row:
    """Returns what a row says of its run under other labels."""
    return {**labels, **{name: row[name] for name in RUN_COLUMNS}}
