"""A student's folder: `homework.json`, copies of the notebooks, and one folder a model with its plan, its rows and its pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from course_utils.config import require
from course_utils.device import BUDGETS
from course_utils.errors import CourseError, unknown
from course_utils.files import atomic_path, course_root, write_json
from course_utils.homework.budgets import FAMILIES
from course_utils.homework.gather import HOMEWORK, PLAN, ROWS, SAMPLES, read_homework
from course_utils.homework.schema import MAX_NAME, MAX_SEEDS, VERSION, Plan, read_plan
from course_utils.sweep_rows import Row, read_rows

SEEDS = (0, 1, 2)


def now() -> str:
    """Returns the time as ISO 8601 writes it, in UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def new_homework(folder: Path | str, student: str, dataset_name: str, budget_name: str, seeds: Sequence[int] = SEEDS) -> list[Path]:
    """Makes a student's folder and returns the notebooks that were copied into it.

    Args:
        folder: made where it does not exist; what else lies there stays.
        student: name for the report.
        dataset_name: that all models are trained on, such as "strokes".
        budget_name: "smoke", "laptop" or "gpu".
        seeds: that every model is trained with.

    Raises:
        CourseError: the folder holds a homework already, a bad argument, or a folder that cannot be written.
    """
    folder = Path(folder)
    if (folder / HOMEWORK).exists():
        raise CourseError(f"{folder}: holds a homework already; go on in there, or choose another folder.")
    named = 0 < len(student.strip()) and len(student) <= MAX_NAME and student.isprintable()
    require(named, "name", f"1 to {MAX_NAME} characters in one line", student)
    if budget_name not in BUDGETS:
        raise unknown("budget", budget_name, BUDGETS)
    whole = all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    require(0 < len(set(seeds)) == len(seeds) <= MAX_SEEDS and whole, "seeds", "different whole numbers of at least 0", list(seeds))
    copied = []
    for source in sorted((course_root() / "homework").glob("*.ipynb")):
        if not (folder / source.name).exists():
            with atomic_path(folder / source.name) as partial:
                shutil.copyfile(source, partial)
            copied.append(folder / source.name)
    about = {"version": VERSION, "student": student, "created": now(), "dataset": dataset_name, "budget": budget_name, "seeds": list(seeds)}
    write_json(folder / HOMEWORK, about)
    return copied


@dataclass(frozen=True)
class StudyFolder:
    """One model of a student's homework on disk.

    Attributes:
        folder: of the whole homework.
        family: of the model.
        dataset_name, budget, seeds: of the whole homework.
    """

    folder: Path
    family: str
    dataset_name: str
    budget: str
    seeds: tuple[int, ...]

    @property
    def rows_path(self) -> Path:
        return self.folder / self.family / ROWS

    @property
    def plan_path(self) -> Path:
        return self.folder / self.family / PLAN

    @property
    def samples_path(self) -> Path:
        return self.folder / self.family / SAMPLES

    def plan(self) -> Plan | None:
        """Returns the plan, or None where there is none yet.

        Raises:
            CourseError: the file is damaged.
        """
        return read_plan(self.plan_path.read_bytes(), str(self.plan_path)) if self.plan_path.exists() else None

    def write_plan(self, plan: Plan) -> None:
        """Writes the plan in one step."""
        write_json(self.plan_path, asdict(plan))

    def rows(self, kind: str | None = None, ablated: str | None = None) -> list[Row]:
        """Returns the finished runs, those of one kind where it is given."""
        return [row for row in read_rows(self.rows_path) if kind is None or (row["kind"] == kind and row["ablated"] == ablated)]


def study_folder(folder: Path | str, family: str) -> StudyFolder:
    """Returns one model's place in a student's folder.

    Raises:
        CourseError: no homework in that folder, a damaged one, or an unknown family.
    """
    if family not in FAMILIES:
        raise unknown("family of the homework", family, FAMILIES)
    about = read_homework(Path(folder))
    return StudyFolder(Path(folder), family, about["dataset"], about["budget"], tuple(about["seeds"]))


def find_homework(start: Path | str = ".") -> Path | None:
    """Returns the nearest folder with a homework, at `start` or above it; None where there is none."""
    start = Path(start).resolve()
    return next((folder for folder in (start, *start.parents) if (folder / HOMEWORK).is_file()), None)
