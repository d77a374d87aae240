"""What `course homework report` does: a student's folder becomes report.html and submission.zip; a submission becomes its report again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from course_utils.files import write_text
from course_utils.homework.archive import read_submission, write_submission
from course_utils.homework.gather import HOMEWORK, gather_results, gather_samples, read_homework
from course_utils.homework.report import report_page

REPORT, SUBMISSION = "report.html", "submission.zip"
Check = Callable[[dict[str, Any]], Any]
Meaning = Callable[[str, str], str]


def hand_in(folder: Path | str, check: Check, meaning: Meaning, sha256_of: Callable[[str], str] | None = None) -> tuple[Path, Any]:
    """Writes `report.html` and `submission.zip` into a student's folder; returns the path of the latter and the rule's verdict.

    Args:
        check: judges the content of `results.json`; see `rule`.
        meaning: says what a setting means, given a family and a dotted name.
        sha256_of: gives the SHA-256 of a dataset by name; None loads it.

    Raises:
        CourseError: no homework folder, a damaged file in it, or something that is too large to hand in.
    """
    folder = Path(folder)
    name = read_homework(folder)["dataset"]
    results, samples = gather_results(folder, (sha256_of or _sha256_of)(name)), gather_samples(folder)
    verdict = check(results.as_dict())
    page = report_page(results, samples, verdict, meaning)
    target = write_submission(folder / SUBMISSION, results, samples, page)
    write_text(folder / REPORT, page)
    return target, verdict


def report_again(path: Path | str, out: Path | str, check: Check, meaning: Meaning) -> Any:
    """Writes the report of a submission anew, from its data, to `out`; returns the rule's verdict.

    The report.html that came with it is not opened: a page that a stranger wrote may do anything.

    Raises:
        CourseError: no submission, or one that is refused.
    """
    submission = read_submission(path)
    verdict = check(submission.results.as_dict())
    write_text(out, report_page(submission.results, submission.samples, verdict, meaning))
    return verdict


def is_homework(path: Path | str) -> bool:
    """Returns whether a path is a student's folder, not a submission."""
    return (Path(path) / HOMEWORK).is_file()


def _sha256_of(name: str) -> str:
    from course_utils.data import load_dataset

    return load_dataset(name, verbose=False).sha256
