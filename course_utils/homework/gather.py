"""A student's folder as one value: what `course homework new` began and the runs since then have filled, ready to be judged and handed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from course_utils import __version__
from course_utils.device import BUDGETS
from course_utils.errors import CourseError
from course_utils.homework.schema import MAX_NAME, MAX_PLAN_BYTES, MAX_ROW_BYTES, MAX_ROWS, MAX_SEEDS, VERSION, Results, check_results, read_row
from course_utils.homework.strict_json import date, list_of, one_of, parse_json, record, text, whole

HOMEWORK, PLAN, ROWS, SAMPLES = "homework.json", "plan.json", "rows.jsonl", "samples"
_homework = record(
    {
        "version": one_of(VERSION),
        "student": text(MAX_NAME),
        "created": date,
        "dataset": text(MAX_NAME, required=True),
        "budget": one_of(*BUDGETS),
        "seeds": list_of(whole(0, 2**32 - 1), MAX_SEEDS),
    }
)


def read_homework(folder: Path) -> dict[str, Any]:
    """Returns what `homework.json` says: version, student, created, dataset, budget, seeds.

    Raises:
        CourseError: the folder holds no homework, or the file is damaged.
    """
    if not (folder / HOMEWORK).is_file():
        raise CourseError(f"{folder}: expected a homework folder, got one without {HOMEWORK}; make one with `course homework new {folder}`.")
    return _homework(parse_json((folder / HOMEWORK).read_bytes(), HOMEWORK, MAX_PLAN_BYTES), HOMEWORK)


def gather_results(folder: Path, dataset_sha256: str) -> Results:
    """Returns the results of a student's folder.

    Args:
        dataset_sha256: of the images that the runs were made with, 64 hexadecimal digits.

    Raises:
        CourseError: a file is missing or damaged; the line names the file.
    """
    about = read_homework(folder)
    experiments = []
    for path in sorted(folder.glob(f"*/{PLAN}")):
        where = f"{path.parent.name}/{PLAN}"
        plan = parse_json(path.read_bytes(), where, MAX_PLAN_BYTES)
        if not isinstance(plan, dict):
            raise CourseError(f"{where}: expected an object, got {type(plan).__name__}.")
        experiments.append({**plan, "rows": _rows(path.parent / ROWS)})
    dataset = {"name": about["dataset"], "sha256": dataset_sha256}
    whole_of_it = {**about, "dataset": dataset, "course_version": __version__, "experiments": experiments}
    return check_results(whole_of_it, str(folder))


def gather_samples(folder: Path) -> dict[str, bytes]:
    """Returns the pictures of a student's folder as `{"vae-changed.png": bytes}`: the family in front of the file's own name."""
    paths = [path for plan in sorted(folder.glob(f"*/{PLAN}")) for path in sorted((plan.parent / SAMPLES).glob("*.png"))]
    return {f"{path.parent.parent.name}-{path.name}": path.read_bytes() for path in paths}


def _rows(path: Path) -> list[dict[str, Any]]:
    """Returns the finished runs of one family; none where nothing ran yet."""
    if not path.exists():
        return []
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        read_row(line, f"{path.parent.name}/{ROWS}, line {number}")
    return [parse_json(line, ROWS, MAX_ROW_BYTES) for line in lines[: MAX_ROWS + 1]]
