"""Measured tables that ship with the course, because they take a laptop longer than a notebook may.

Each was written by a benchmark or by `course compare`, never by hand; its rows name the machine. `tables/README.md` lists the commands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from course_utils.compare_table import Comparison
from course_utils.errors import unknown
from course_utils.files import read_json

TABLES = Path(__file__).resolve().parent / "tables"


def shipped_rows(name: str, dataset: str) -> list[dict[str, Any]]:
    """Returns the rows of a table as its benchmark wrote them, such as `shipped_rows("inverse", "strokes")`.

    Raises:
        CourseError: no such table, or none for this dataset.
    """
    lines = _path(name, dataset, ".jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def shipped_comparison(dataset: str) -> Comparison:
    """Returns what `course compare vae dcgan diffusion --seeds 3` measured on a dataset.

    Raises:
        CourseError: none ships for this dataset.
    """
    found = read_json(_path("compare", dataset, ".json"))
    return Comparison(found["protocol"], tuple(found["rows"]))


def _path(name: str, dataset: str, suffix: str) -> Path:
    path = TABLES / f"{name}-{dataset}{suffix}"
    if not path.exists():
        raise unknown("shipped table", path.stem, sorted(one.stem for one in TABLES.glob(f"*{suffix}")))
    return path
