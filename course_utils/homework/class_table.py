"""The class's table as CSV: for any spreadsheet, and in the columns that platforms import."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_utils.base.errors import unknown
from course_utils.base.files import atomic_path

# What spreadsheets take for the beginning of a formula, wide and small East Asian forms included.
FORMULA = set("=+-@\t\r\n|%＝＋－＠﹦﹢﹣﹫")
# Signs without a picture, behind which a spreadsheet may look
_UNSEEN = "\\u00ad\\u200b-\\u200f\\u2060-\\u2064\\ufeff"
_BEFORE = re.compile(rf"^[\s{_UNSEEN}]+")
SEPARATORS = {"comma": ",", "semicolon": ";"}
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
# A cell is one cell, and no formula, also where a spreadsheet splits at the other separator.
_AFTER_SEPARATOR = re.compile(rf"([,;][\s\"{_UNSEEN}]*)(?=[{re.escape(''.join(sorted(FORMULA)))}])")
PLATFORMS = ("canvas", "moodle")
CANVAS_HEAD = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Homework")
MOODLE_HEAD = ("Identifier", "Full name", "Status", "Grade", "Feedback comments")


@dataclass(frozen=True)
class Line:
    """What a platform is told of one student.

    Attributes:
        platform_id: that the platform gave the student, or "".
        is_met: whether the rule is met.
        remark: for the student.
    """

    platform_id: str
    student: str
    is_met: bool
    remark: str


def defused(text: str) -> str:
    """Returns text on one line that no spreadsheet takes for a formula, whether it splits lines at
    commas or at semicolons.

    An apostrophe stands before a sign that would start a formula; semicolons become commas.
    """
    flat = " ".join(text.split())
    starts = text[:1] in FORMULA or _BEFORE.sub("", flat)[:1] in FORMULA
    flat = _AFTER_SEPARATOR.sub(r"\1'", flat.replace(";", ","))
    return f"'{flat}" if starts else flat


def table_text(rows: Sequence[Sequence[object]], separator: str = "comma") -> str:
    """Returns rows of defused cells as CSV.

    Args:
        separator: "comma", or "semicolon" for spreadsheets of countries that write 0,5 for a half;
            numbers are then written like that.

    Raises:
        CourseError: another separator.
    """
    if separator not in SEPARATORS:
        raise unknown("separator", separator, SEPARATORS)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=SEPARATORS[separator], lineterminator="\r\n")
    for row in rows:
        cells = [str(cell) for cell in row]
        if separator == "semicolon":
            cells = [cell.replace(".", ",") if NUMBER.fullmatch(cell) else cell for cell in cells]
        writer.writerow(cells)
    return text.getvalue()


def write_csv(path: Path | str, text: str) -> None:
    """Writes CSV in one step, with the mark of UTF-8 by which spreadsheets know it."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8-sig", newline="")


def platform_table(platform: str, lines: Sequence[Line]) -> str:
    """Returns the table that a learning platform imports; the grade is left to a person.

    Canvas takes "complete" or "incomplete" for the assignment "Homework"; Moodle finds participants
    by their identifier and takes the remark as feedback. Both find students by the id that they
    wrote into the names of the downloaded files.

    Args:
        platform: "canvas" or "moodle".

    Raises:
        CourseError: another platform.
    """
    if platform == "canvas":
        rows = [
            [defused(one.student), defused(one.platform_id), "", "", "", _grade(one)]
            for one in lines
        ]
        return table_text([CANVAS_HEAD, *rows])
    if platform == "moodle":
        rows = [
            [_participant(one), defused(one.student), _status(one), "", defused(one.remark)]
            for one in lines
        ]
        return table_text([MOODLE_HEAD, *rows])
    raise unknown("platform", platform, PLATFORMS)


def _grade(line: Line) -> str:
    return "complete" if line.is_met else "incomplete"


def _status(line: Line) -> str:
    return "Submitted for grading: the rule is " + ("met" if line.is_met else "not met")


def _participant(line: Line) -> str:
    return f"Participant {line.platform_id}" if line.platform_id.isdigit() else ""
