"""What `course homework report` and `course homework collect` do and print; the command line only reads the arguments."""

from __future__ import annotations

from pathlib import Path

from course_utils.errors import CourseError
from course_utils.homework.collect import SchoolClass, collect, read_class
from course_utils.homework.hand_in import hand_in, is_homework, report_again


def report_command(path: Path | str, out: Path | str | None = None) -> int:
    """Makes report.html and submission.zip of a student's folder, or the report of a submission anew; returns 0 where the rule is met, else 1.

    Args:
        path: a student's folder, or a submission.
        out: where the report of a submission goes; None puts NAME.html into this folder.

    Raises:
        CourseError: neither of the two, something in it is damaged, or `out` for a student's folder, whose report lies in it.
    """
    from course_utils.homework.rule import check
    from course_utils.homework.settings import meaning

    if is_homework(path):
        if out is not None:
            raise CourseError(f"--out: belongs to the report of a submission; the report of {path} lies in it.")
        target, verdict = hand_in(path, check, meaning)
        print(f"wrote {target.with_name('report.html')} and {target}; hand in the latter")
    else:
        out = Path(out) if out is not None else Path(Path(path).stem).with_suffix(".html")
        verdict = report_again(path, out, check, meaning)
        print(f"wrote {out}")
    for point in verdict.points:
        if not point.ok:
            print(f"  missing: {point.name}: {point.message}")
    print("the rule is met" if verdict.met else "the rule is not met yet")
    return 0 if verdict.met else 1


def collect_command(folder: Path | str, out: Path | str | None = None, run_id: str | None = None) -> int:
    """Writes class.html and class.csv of a folder of submissions, or trains one of their runs again; returns 1 where not all is well.

    Args:
        folder: of the class.
        out: folder for the two files; None is the class's own.
        run_id: number of a run on the class page.
    """
    from course_utils.homework.rule import check

    if run_id is not None:
        return _rerun(read_class(Path(folder), check), run_id)
    out = Path(folder if out is None else out)
    school_class = collect(folder, out, check)
    for one in school_class.broken:
        print(f"  not readable: {one.source}: {one.reason}")
    met = sum(bool(one.verdict.met) for one in school_class.judged)
    counts = f"{len(school_class.judged)} submissions, {met} meet the rule, {len(school_class.broken)} not readable"
    print(f"{counts}, {len(school_class.pairs)} pairs of nearly equal texts")
    print(f"wrote {out / 'class.html'} and {out / 'class.csv'}")
    return 1 if school_class.broken else 0


def _rerun(school_class: SchoolClass, run_id: str) -> int:
    from course_utils.data import load_dataset
    from course_utils.homework.measure import measure_for
    from course_utils.homework.rerun import find_claims, rerun
    from course_utils.sweep_run import run_and_measure

    claims = find_claims(school_class, run_id)
    results = claims[0].results
    measure = measure_for(results.budget)
    found = rerun(claims, lambda: load_dataset(results.dataset.name), lambda experiment, data: run_and_measure(experiment, data, measure))
    for one in found:
        print(one)
    return 0 if all(one.agrees for one in found) else 1
