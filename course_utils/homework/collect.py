"""A class's submissions: read one by one, judged, compared with each other. What cannot be read is listed and stops nobody else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.errors import CourseError
from course_utils.files import atomic_path, write_text
from course_utils.homework.archive import RESULTS, Submission, read_submission
from course_utils.homework.effects import effects
from course_utils.homework.schema import Study
from course_utils.homework.similar import Pair, near_equal

if TYPE_CHECKING:  # torch costs seconds to import
    from course_utils.compare import Comparison

MAX_SUBMISSIONS = 1000
MAX_PICTURE_BYTES = 15_000_000  # of all students together: the class page must stay quick to open
OUTPUTS = {"class.html", "class.csv"}
TEXTS = ("prediction", "observation", "explanation")
Check = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Judged:
    """A submission, the rule's verdict on it, and the effects in each of its models.

    Its training curves are gone, and its pictures where those of others fill the page already: forty submissions of the largest size would take
    gigabytes of memory.
    """

    submission: Submission
    verdict: Any
    effects: dict[str, tuple[Comparison, ...]]
    num_pictures: int

    @property
    def student(self) -> str:
        return self.submission.results.student

    @property
    def studies(self) -> tuple[Study, ...]:
        return self.submission.results.experiments

    @property
    def missing(self) -> list[str]:
        """What the rule still asks for, one line each."""
        return [f"{point.name}: {point.message}" for point in self.verdict.points if not point.ok]


@dataclass(frozen=True)
class Broken:
    """Something in the class's folder that is no submission, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class SchoolClass:
    """All submissions of a class, and pairs of texts that are nearly equal, as (index of the submission, family, part)."""

    judged: tuple[Judged, ...]
    broken: tuple[Broken, ...]
    pairs: tuple[Pair, ...]

    @property
    def families(self) -> list[str]:
        return sorted({study.family for one in self.judged for study in one.studies})

    def metrics(self, family: str, max_metrics: int = 10) -> list[str]:
        """Returns the metrics that at least half of the students who studied a family have measured."""
        found = [one.effects[family] for one in self.judged if one.effects.get(family)]
        names = list(dict.fromkeys(effect.name for own in found for effect in own))
        counts = {name: sum(any(effect.name == name for effect in own) for own in found) for name in names}
        return [name for name in names if 2 * counts[name] >= len(found)][:max_metrics]


def collect(folder: Path | str, out: Path | str, check: Check) -> SchoolClass:
    """Reads the submissions in a folder, writes `class.html` and `class.csv` into `out`, and returns what they say.

    Args:
        folder: holds submissions as zip files or unpacked, also one folder deeper, as learning platforms hand them out.
        check: judges `results.json`; returns `.met` and `.points` with `.name`, `.ok` and `.message` each.

    Raises:
        CourseError: no such folder, nothing in it, or `out` cannot be written.
    """
    from course_utils.homework.class_page import class_page
    from course_utils.homework.class_table import class_csv

    school_class = read_class(Path(folder), check)
    out = Path(out)
    write_text(out / "class.html", class_page(school_class))
    with atomic_path(out / "class.csv") as partial:
        partial.write_text(class_csv(school_class), encoding="utf-8-sig", newline="")  # the mark makes spreadsheets read UTF-8
    return school_class


def read_class(folder: Path, check: Check) -> SchoolClass:
    """Returns everything in a class's folder, judged; raises CourseError where there is no folder or nothing in it."""
    if not folder.is_dir():
        raise CourseError(f"{folder}: expected a folder with submissions, got {'a file' if folder.exists() else 'nothing there'}.")
    judged: list[Judged] = []
    broken: list[Broken] = []
    room = MAX_PICTURE_BYTES
    for path in _candidates(folder):
        source = "".join(character if character.isprintable() else "?" for character in path.relative_to(folder).as_posix())
        try:
            judged.append(_judge(read_submission(path), check, room))
            room -= sum(map(len, judged[-1].submission.samples.values()))
        except CourseError as error:
            broken.append(Broken(source, str(error).removeprefix(f"{source.rpartition('/')[2]}: ")))
        except Exception as error:  # a fault of ours that one file brings to light must not hide thirty-nine others
            broken.append(Broken(source, f"could not be read: {type(error).__name__}; please report this as a fault of the course."))
    if not judged and not broken:
        raise CourseError(f"{folder}: expected submissions (.zip), got an empty folder.")
    return SchoolClass(tuple(judged), tuple(broken), tuple(_pairs(judged)))


def _judge(submission: Submission, check: Check, room: int) -> Judged:
    results = submission.results
    found = {study.family: effects(study.of_kind("baseline"), study.of_kind("changed")) for study in results.experiments}
    verdict = check(results.as_dict())
    studies = tuple(replace(study, rows=tuple(replace(row, history={}) for row in study.rows)) for study in results.experiments)
    samples = submission.samples if sum(map(len, submission.samples.values())) <= room else {}
    slim = replace(submission, results=replace(results, experiments=studies), samples=samples)
    return Judged(slim, verdict, found, len(submission.samples))


def _candidates(folder: Path) -> Iterator[Path]:
    """Yields what may be a submission, in order of name: files, and folders that hold one or were one."""
    paths = list(_entries(folder))
    if len(paths) > MAX_SUBMISSIONS:
        raise CourseError(f"{folder}: expected at most {MAX_SUBMISSIONS:,} submissions, got {len(paths):,} files.")
    for path in paths:
        if not path.is_dir() or path.is_symlink() or (path / RESULTS).exists():
            yield path
            continue
        inner = [one for one in _entries(path) if one.suffix.lower() == ".zip" or (one / RESULTS).exists()]
        yield from inner or [path]  # a folder without any is passed on, to be listed as broken


def _entries(folder: Path) -> Iterable[Path]:
    """Returns what lies in a folder, in order, the invisible and our own pages left out; nothing where it may not be read."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith((".", "__MACOSX")) and name not in OUTPUTS]


def _pairs(judged: list[Judged]) -> list[Pair]:
    """Returns nearly equal texts of different students, part by part."""
    pairs = []
    for part in TEXTS:
        texts = {(index, study.family, part): getattr(study, part) for index, one in enumerate(judged) for study in one.studies}
        pairs += [pair for pair in near_equal(texts) if pair.first[0] != pair.second[0]]
    return sorted(pairs, key=lambda pair: -pair.similarity)
