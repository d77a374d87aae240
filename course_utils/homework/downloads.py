"""What an instructor downloads from a learning platform: where the submissions lie in it, whose
they are by the platform's own count, and what lies beside them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from course_utils.base.errors import CourseError
from course_utils.homework.archive import LEFTOVERS, RESULTS

MAX_FILES, MAX_DEPTH = 20_000, 3  # folders in each other: group, student, attempt
OUTPUTS = {"class.html", "class.csv", "class-canvas.csv", "class-moodle.csv"}
# Platforms write what a student typed, and lists of their own, beside the files.
SIDE_FILES = {
    ".txt",
    ".html",
    ".htm",
    ".csv",
    ".ini",
    ".db",
    ".url",
    ".lnk",
    ".webloc",
    ".ds_store",
}

# How each platform names what it hands out, by its documentation of bulk downloads.
PLATFORMS = {
    # "Jane Doe_12345_assignsubmission_file_", with the file inside or its name behind
    "moodle": re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)(?:_|\b)"),
    # "Homework 1_jdoe_attempt_2025-03-01-12-30-45_submission.zip"
    "blackboard": re.compile(
        r"(?P<who>.+?_(?P<id>[^_]+))_attempt_(?P<attempt>\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d)(?:_|\.|$)"
    ),
    # "12345-67890 - Jane Doe - Mar 1, 2025 1230 PM"; without a date in older versions
    "brightspace": re.compile(r"(?P<id>\d+-\d+) ?- (?P<name>.+?)(?: ?- .*\d{4}.*)?$"),
    # "doejane_LATE_111_222_submission-1.zip": of the user and of the submission
    "canvas": re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_(?P<attempt>\d+)_"),
}


@dataclass(frozen=True)
class Origin:
    """Where a submission came from, by the name that a platform gave it.

    Attributes:
        platform: "moodle", "blackboard", "brightspace", "canvas", or "" where none is known.
        id: of the student (of the participant in Moodle), or "".
        attempt: sorts the attempts of one student: a date or a number, or "".
        who: tells students apart: the id, with what stands before it where the platform joins
            parts that may hold underscores themselves (users "a_lee" and "b_lee" of Blackboard).
    """

    platform: str = ""
    id: str = ""
    attempt: str = ""
    who: str = field(default="", compare=False)


@dataclass(frozen=True)
class Download:
    """What lies in a class's folder.

    Attributes:
        candidates: files and folders that should be submissions, and folders without any.
        aside: side files, relative to the folder.
    """

    candidates: tuple[Path, ...]
    aside: tuple[Path, ...]


def platform_origin(inside: str) -> Origin:
    """Returns where something came from; the innermost name that a platform wrote counts.

    Args:
        inside: its path in the class's folder, with slashes.
    """
    for part in reversed(PurePosixPath(inside).parts):
        for platform, pattern in PLATFORMS.items():
            found = pattern.match(part)
            if found:
                groups = found.groupdict()
                who = groups.get("who") or groups["id"]
                return Origin(platform, groups["id"], groups.get("attempt") or "", who)
    return Origin()


def read_download(folder: Path) -> Download:
    """Returns what lies in a class's folder: submissions in it, or in folders of students and of
    groups.

    Raises:
        CourseError: there is no folder, or so much in it that it is no class.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        advice = "; unpack the platform's download first" if folder.suffix == ".zip" else ""
        raise CourseError(f"{folder}: expected a folder with submissions, got {found}{advice}.")
    aside: list[Path] = []
    candidates = list(_candidates(folder, 0, aside))
    # Moodle gives the files and the online text of one student a folder each
    whose = {path: platform_origin(path.relative_to(folder).as_posix()) for path in candidates}
    complete = {whose[path] for path in candidates if not _is_empty(path)} - {Origin()}
    second = [path for path in candidates if _is_empty(path) and whose[path] in complete]
    kept = [path for path in candidates if path not in second]
    return Download(tuple(kept), (*aside, *second))


def _is_empty(path: Path) -> bool:
    """Returns whether a candidate is a folder in which nothing was found."""
    return path.is_dir() and not path.is_symlink() and not _is_there(path / RESULTS)


def _candidates(folder: Path, depth: int, aside: list[Path]) -> Iterator[Path]:
    """Yields what may be a submission, by name; the rest goes to `aside`.

    A folder without any is passed on as well, to be listed as broken, unless it lies beside a
    submission.
    """
    paths = _entries(folder)
    has_one = any(path.suffix.lower() == ".zip" for path in paths)
    for path in paths:
        if path.is_symlink() or not path.is_dir():
            if _is_beside(path, depth):
                aside.append(path)
            else:
                yield path
        elif _is_there(path / RESULTS):
            yield path
        elif not _is_ours(path):
            inner = list(_candidates(path, depth + 1, aside)) if depth < MAX_DEPTH else []
            if not inner and depth > 0 and has_one:
                aside.append(path)
            yield from inner or ([path] if depth == 0 or not has_one else [])


def _is_beside(path: Path, depth: int) -> bool:
    """Returns whether a file is no submission; in a student's folder only archives are, and at the
    top whatever is not known as a side file, since somebody may have handed that in.
    """
    suffix = path.suffix.lower()
    return suffix in SIDE_FILES or (depth > 0 and suffix != ".zip" and not path.is_symlink())


def _is_ours(folder: Path) -> bool:
    """Returns whether a folder holds the pages of an earlier `collect` and nothing else."""
    try:
        names = {name for name in os.listdir(folder) if not name.startswith(".")}
    except OSError:
        return False
    return bool(names) and names <= OUTPUTS


def _is_there(path: Path) -> bool:
    """Returns whether a file is there and may be looked at."""
    try:
        return path.exists()
    except OSError:  # Python before 3.14 raises what the folder forbids
        return False


def _entries(folder: Path) -> list[Path]:
    """Returns what lies in a folder, by name, without hidden files and our own pages; [] where it
    cannot be read.

    Raises:
        CourseError: more than a class hands in.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    if len(names) > MAX_FILES:
        expected = f"at most {MAX_FILES:,} files in a folder"
        raise CourseError(f"{folder}: expected {expected}, got {len(names):,}.")
    passed_over = {"__MACOSX", *LEFTOVERS, *OUTPUTS}
    return [folder / name for name in names if name[0] != "." and name not in passed_over]
