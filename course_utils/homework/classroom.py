"""A class's submissions: read one by one, judged, compared, shown as a page and a table.

One run of a student can be done once more.
"""

from __future__ import annotations

import csv
import io
import math
import os
import statistics
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path, write_text
from course_utils.homework.archive import RESULTS, Submission, read_submission
from course_utils.homework.measure import changes_of, difference, effects, in_short, judgement
from course_utils.homework.parameters import validate_changes
from course_utils.homework.report import NAMES, PagePicture, class_png, render_page, sample_pictures
from course_utils.homework.rule import DATA_FIELDS, Pair, near_equal, wrong_run
from course_utils.homework.schema import Results, Study, SubmittedRow
from course_utils.metrics.measurement import Difference, Measurement, is_difference_real
from course_utils.training.presets import Experiment

if TYPE_CHECKING:
    from course_utils.data.dataset import Dataset
    from course_utils.studies.significance import SeedComparison

MAX_SUBMISSIONS = 1000
MAX_PICTURE_BYTES = 15_000_000  # of all students together: the page must stay quick to open
OUTPUTS = {"class.html", "class.csv"}
TEXTS = ("prediction", "observation", "explanation")
# What spreadsheets take for the beginning of a formula, wide East Asian forms included.
FORMULA = set("=+-@\t\r\n|%＝＋－＠")
HEAD = ("source", "student", "problem", "rule met", "missing", "near-equal texts")
HEAD += ("dataset", "budget", "seeds", "model", "changes")
EFFECT_HEAD = ("class", "changed", "difference in", "error of difference in", "verdict on")
MIN_ID = 6  # hexadecimal digits
# Other processors round differently, and after some epochs that is as another seed; with a few
# seeds their spread is known only roughly.
NUM_ERRORS = 3.0

Check = Callable[[dict[str, Any]], Any]
RunAndMeasure = Callable[[Experiment, "Dataset"], Mapping[str, Any]]


@dataclass(frozen=True)
class Judged:
    """A submission, the rule's verdict on it, and the effects in each of its models.

    Its training curves are gone, and its pictures where those of others fill the page already:
    forty submissions of the largest size would take gigabytes of memory.
    """

    submission: Submission
    verdict: Any
    effects: dict[str, tuple[SeedComparison, ...]]
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
class Earlier:
    """A submission that the same student has followed by a newer one."""

    source: str
    student: str
    newest: str


@dataclass(frozen=True)
class SchoolClass:
    """All submissions of a class, the newest one of each student, and pairs of texts of different
    students that are nearly equal.

    A text is named as (index of the submission, family, part).
    """

    judged: tuple[Judged, ...]
    broken: tuple[Broken, ...]
    pairs: tuple[Pair, ...]
    earlier: tuple[Earlier, ...] = ()

    @property
    def families(self) -> list[str]:
        return sorted({study.family for one in self.judged for study in one.studies})

    def metrics(self, family: str, max_metrics: int = 10) -> list[str]:
        """Returns the metrics that at least half of those who studied a family have measured."""
        found = [one.effects[family] for one in self.judged if one.effects.get(family)]
        names = list(dict.fromkeys(effect.name for own in found for effect in own))
        measured = [{effect.name for effect in own} for own in found]
        counts = {name: sum(name in own for own in measured) for name in names}
        return [name for name in names if 2 * counts[name] >= len(found)][:max_metrics]


def collect(folder: Path | str, out: Path | str, check: Check) -> SchoolClass:
    """Writes `class.html` and `class.csv` of the submissions in a folder; returns what they say.

    Args:
        folder: holds submissions as zip files or unpacked, also one folder deeper, as learning
            platforms hand them out.
        out: the folder of the two files.
        check: judges `results.json`; returns `.met` and `.points` with `.name`, `.ok`, `.message`.

    Raises:
        CourseError: no such folder, nothing in it, or `out` cannot be written.
    """
    school_class = read_class(Path(folder), check)
    write_text(Path(out) / "class.html", class_page(school_class))
    with atomic_path(Path(out) / "class.csv") as partial:  # with the mark of UTF-8
        partial.write_text(class_csv(school_class), encoding="utf-8-sig", newline="")
    return school_class


def read_class(folder: Path, check: Check) -> SchoolClass:
    """Returns everything in a class's folder, judged.

    Raises:
        CourseError: there is no folder, or nothing in it.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise CourseError(f"{folder}: expected a folder with submissions, got {found}.")
    judged: list[Judged] = []
    broken: list[Broken] = []
    room = MAX_PICTURE_BYTES
    for path in _candidates(folder):
        inside = path.relative_to(folder).as_posix()
        source = "".join(character if character.isprintable() else "?" for character in inside)
        try:
            judged.append(_judge(read_submission(path), check, room))
            room -= sum(map(len, judged[-1].submission.samples.values()))
        except CourseError as error:
            reason = str(error).removeprefix(f"{source.rpartition('/')[2]}: ")
            broken.append(Broken(source, reason))
        except Exception as error:  # a fault of ours in one file must not hide all the others
            reason = f"could not be read: {type(error).__name__}"
            broken.append(Broken(source, f"{reason}; please report this as a fault of the course."))
    if not judged and not broken:
        raise CourseError(f"{folder}: expected submissions (.zip), got an empty folder.")
    newest, earlier = _newest_of_each(judged)
    return SchoolClass(tuple(newest), tuple(broken), tuple(_pairs(newest)), tuple(earlier))


def _newest_of_each(judged: list[Judged]) -> tuple[list[Judged], list[Earlier]]:
    """Returns the newest submission of each name, and the others.

    Learning platforms keep every attempt. Equal runs under two names are not put together: that
    would let a copy hide its original.
    """
    attempts: dict[str, list[Judged]] = {}
    for one in judged:
        name = " ".join(unicodedata.normalize("NFKC", one.student).casefold().split())
        attempts.setdefault(name, []).append(one)
    newest = {name: max(own, key=_last_written) for name, own in attempts.items()}
    earlier = [
        Earlier(one.submission.source, one.student, newest[name].submission.source)
        for name, own in attempts.items()
        for one in own
        if one is not newest[name]
    ]
    return [one for one in judged if any(one is last for last in newest.values())], earlier


def _last_written(one: Judged) -> tuple[str, str]:
    """Returns what sorts the attempts of a student: the latest date in it, then its file."""
    dates = [one.submission.results.created]
    for study in one.studies:
        dates += [study.planned, *(row.finished for row in study.rows)]
    moments = [_as_utc(date) for date in dates]
    return max(moments), one.submission.source


def _as_utc(date: str) -> str:
    """Returns a checked date in a form that sorts; one without a time zone counts as UTC."""
    moment = datetime.fromisoformat(date.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    try:
        return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")
    except OverflowError:  # the first and the last day of the calendar
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def _judge(submission: Submission, check: Check, room: int) -> Judged:
    """Returns a submission judged; its pictures are left out where `room` bytes do not do."""
    results, found, studies = submission.results, {}, []
    for study in results.experiments:
        found[study.family] = effects(study.of_kind("baseline"), study.of_kind("changed"))
        rows = tuple(replace(row, history={}) for row in study.rows)
        studies.append(replace(study, rows=rows))
    slim = replace(results, experiments=tuple(studies))
    fits = sum(map(len, submission.samples.values())) <= room
    kept = replace(submission, results=slim, samples=submission.samples if fits else {})
    return Judged(kept, check(results.as_dict()), found, len(submission.samples))


def _candidates(folder: Path) -> Iterator[Path]:
    """Yields what may be a submission, by name: files, and folders that hold one or were one."""
    paths = _entries(folder)
    if len(paths) > MAX_SUBMISSIONS:
        expected = f"at most {MAX_SUBMISSIONS:,} submissions"
        raise CourseError(f"{folder}: expected {expected}, got {len(paths):,} files.")
    for path in paths:
        if not path.is_dir() or path.is_symlink() or (path / RESULTS).exists():
            yield path
            continue
        inner = _entries(path)
        inner = [one for one in inner if one.suffix.lower() == ".zip" or (one / RESULTS).exists()]
        yield from inner or [path]  # a folder without any is passed on, to be listed as broken


def _entries(folder: Path) -> list[Path]:
    """Returns what lies in a folder, without hidden files and our own pages; [] if unreadable."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    names = [name for name in names if not name.startswith((".", "__MACOSX"))]
    return [folder / name for name in names if name not in OUTPUTS]


def _pairs(judged: list[Judged]) -> list[Pair]:
    """Returns nearly equal texts of different students, part by part."""
    pairs = []
    for part in TEXTS:
        texts = {}
        for index, one in enumerate(judged):
            texts |= {(index, study.family, part): getattr(study, part) for study in one.studies}
        pairs += [pair for pair in near_equal(texts) if pair.first[0] != pair.second[0]]
    return sorted(pairs, key=lambda pair: -pair.similarity)


def class_csv(school_class: SchoolClass) -> str:
    """Returns the table as CSV.

    It says who changed what, the effect on each metric with its verdict, whether the rule is met,
    and what is broken.
    """
    metrics: dict[str, None] = {}
    for family in school_class.families:
        metrics |= dict.fromkeys(school_class.metrics(family))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)
    columns = [f"{what} {name}" for name in metrics for what in EFFECT_HEAD]
    writer.writerow([defused(name) for name in (*HEAD, *columns)])
    for index, one in enumerate(school_class.judged):
        num_pairs = sum(index in (pair.first[0], pair.second[0]) for pair in school_class.pairs)
        for study in one.studies or (None,):
            writer.writerow(_line(one, study, num_pairs, list(metrics)))
    for one in school_class.broken:
        writer.writerow([defused(one.source), "", defused(one.reason), "no"])
    return text.getvalue()


def defused(text: str) -> str:
    """Returns text on one line that no spreadsheet takes for a formula.

    An apostrophe stands before a sign that would start one.
    """
    flat = " ".join(text.split())
    return f"'{flat}" if text[:1] in FORMULA or flat[:1] in FORMULA else flat


def changes_in_words(study: Study) -> list[str]:
    """Returns one "name: before → now" for each change."""
    changes = changes_of(study)
    return [f"{name}: {in_short(before)} → {in_short(now)}" for name, before, now in changes]


def _line(one: Judged, study: Study | None, num_pairs: int, metrics: list[str]) -> list[object]:
    results, met = one.submission.results, "yes" if one.verdict.met else "no"
    texts = [one.submission.source, results.student, "", met, "; ".join(one.missing)]
    about = [results.dataset.name, results.budget, " ".join(map(str, results.seeds))]
    about += [study.family, "; ".join(changes_in_words(study))] if study else ["", ""]
    line: list[object] = [*map(defused, texts), num_pairs, *map(defused, about)]
    found = {effect.name: effect for effect in one.effects.get(study.family, ())} if study else {}
    for name in metrics:
        line += _cells(found[name], study) if study and name in found else [""] * len(EFFECT_HEAD)
    return line


def _cells(effect: SeedComparison, study: Study) -> list[str]:
    error = math.hypot(effect.baseline.error, effect.changed.error)  # NaN where a side has one seed
    numbers = effect.baseline.value, effect.changed.value, difference(effect), error
    written = [f"{number:.6g}" if math.isfinite(number) else "" for number in numbers]
    return [*written, judgement(effect, study.changes)]


def class_page(school_class: SchoolClass) -> str:
    """Returns the page of a class as HTML that opens offline."""
    judged = school_class.judged
    return render_page(
        "class.html",
        title="Homework of the class",
        judged=judged,
        num_met=sum(bool(one.verdict.met) for one in judged),
        broken=[(one.source, one.reason) for one in school_class.broken],
        earlier=[(one.student, one.source, one.newest) for one in school_class.earlier],
        overview=[_overview_row(index, one) for index, one in enumerate(judged)],
        families=[_family(school_class, family) for family in school_class.families],
        pairs=[_pair_row(school_class, pair) for pair in school_class.pairs],
        texts=TEXTS,
        names=NAMES,
        changes_in_words=changes_in_words,
        sample_pictures=sample_pictures,
    )


def _overview_row(index: int, one: Judged) -> tuple[object, ...]:
    families = ", ".join(study.family for study in one.studies)
    return (index, one.student), families, one.verdict.met, one.missing, one.submission.source


def _family(school_class: SchoolClass, family: str) -> dict[str, Any]:
    """Returns the table of changes and effects of one family, and the joint picture."""
    metrics, rows = school_class.metrics(family), []
    for index, one in enumerate(school_class.judged):
        for study in one.studies:
            if study.family == family:
                found = {effect.name: effect for effect in one.effects[family]}
                cells = [_effect_cell(found.get(name), study) for name in metrics]
                rows.append(((index, one.student), changes_in_words(study), *cells))
    results = [one.submission.results for one in school_class.judged]
    drawn = class_png(results, family, metrics[0]) if metrics else None
    chart = None
    if drawn is not None:
        who = "Every run of those who changed the setting"
        caption = f"{who}: its value across, {metrics[0]} up. Dashed: mean of the class model."
        chart = PagePicture(*drawn, caption, is_chart=True)
    head = ("student", "changes", *metrics)
    return {"name": NAMES.get(family, family), "head": head, "rows": rows, "chart": chart}


def _effect_cell(effect: SeedComparison | None, study: Study) -> dict[str, Any]:
    if effect is None:
        return {"text": "-", "is_real": False}
    text, words = f"{difference(effect):+.3g}", judgement(effect, study.changes)
    if words not in ("real", "within noise"):
        text += f" ({words.partition(':')[0]})"
    return {"text": text, "is_real": words == "real"}


def _pair_row(school_class: SchoolClass, pair: Pair) -> tuple[object, ...]:
    index, family, part = pair.first
    other, other_family, _ = pair.second
    one, two = school_class.judged[index].student, school_class.judged[other].student
    links = (index, f"{one}, {family}"), (other, f"{two}, {other_family}")
    return part, *links, f"{pair.similarity:.0%}"


@dataclass(frozen=True)
class Claim:
    """One run as a student reported it."""

    source: str
    results: Results
    study: Study
    row: SubmittedRow

    @property
    def name(self) -> str:
        """Student, family, kind and seed of the run, in words."""
        row = self.row
        return f"{self.results.student}, {self.study.family}, {row.kind}, seed {row.seed}"


@dataclass(frozen=True)
class Rerun:
    """A claim and what came out here: one verdict a metric, real where the numbers do not agree.

    Attributes:
        same_data: whether the images here are bitwise those of the student.
        unknown: metrics that only one side has.
    """

    claim: Claim
    same_data: bool
    verdicts: tuple[Difference, ...]
    unknown: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether there is something to compare and all of it agrees."""
        return bool(self.verdicts) and not any(self.verdicts)

    def __str__(self) -> str:
        judged = "agrees" if self.agrees else "does not agree"
        first = f"{self.claim.name} ({self.claim.source}): {judged}"
        lines = [f"{first}; each line: here against claimed."]
        lines += [f"  {verdict.text}" for verdict in self.verdicts]
        lines += [f"  {name}: only one side has it" for name in self.unknown]
        if not self.same_data:
            which = "  The images differ from the student's in their SHA-256"
            lines.append(f"{which}, which alone can change the numbers a little.")
        return "\n".join(lines)


def find_claims(school_class: SchoolClass, run_id: str) -> list[Claim]:
    """Returns everyone's claim of one run; class models are often the same run.

    Args:
        run_id: the run's number on the class page, or more digits of its key.

    Raises:
        CourseError: no such run, or two different ones.
    """
    if len(run_id) < MIN_ID or set(run_id) - set("0123456789abcdef"):
        expected = f"the number of a run, {MIN_ID} or more of the digits 0 to 9 and a to f"
        raise CourseError(f"expected {expected}, got {run_id!r}; the class page has them.")
    claims = [
        Claim(one.submission.source, one.submission.results, study, row)
        for one in school_class.judged
        for study in one.studies
        for row in study.rows
        if row.key.startswith(run_id)
    ]
    if not claims:
        expected = "the number of a run in these submissions"
        raise CourseError(f"expected {expected}, got {run_id!r}; the class page lists them.")
    num_runs = len({claim.row.key for claim in claims})
    if num_runs > 1:
        found = f"{run_id!r}, with which {num_runs} begin"
        raise CourseError(f"expected the number of one run, got {found}; give more digits.")
    return claims


def rerun(
    claims: list[Claim], load: Callable[[str], Dataset], run_and_measure: RunAndMeasure
) -> list[Rerun]:
    """Returns what one training here says of each claim.

    Args:
        claims: of one run, by `find_claims`.
        load: gives the images of a dataset that everybody has, by name.
        run_and_measure: trains (or finds) an experiment and returns a row with `metrics`.

    Raises:
        CourseError: images that only the student has, or settings that are not the class model
            with planned changes in range.
    """
    experiments = [checked_experiment(claim) for claim in claims]
    dataset = load(claims[0].results.dataset.name)
    metrics = run_and_measure(experiments[0].fitted_to(dataset), dataset)["metrics"]
    return [_compare(claim, metrics, dataset.sha256) for claim in claims]


def checked_experiment(claim: Claim) -> Experiment:
    """Returns the experiment of a claim, built from its data alone.

    Its settings are within the ranges of the homework: a billion layers are data too.

    Raises:
        CourseError: as `rerun`.
    """
    name, study = claim.results.dataset.name, claim.study
    if name not in DATA_FIELDS:
        expected = f"one of the datasets {', '.join(DATA_FIELDS)}"
        found = f"{name!r}; only the student has these images"
        raise CourseError(f"{claim.name}: expected {expected}, got {found}.")
    problems = validate_changes(study.family, study.changes, claim.results.budget).problems
    if problems:
        reason = f"its changes would not have been accepted: {'; '.join(problems)}"
        raise CourseError(f"{claim.name}: is not run, since {reason}.")
    problem = wrong_run(claim.row, study, claim.results)
    if problem:
        raise CourseError(f"{claim.name}: is not run, since {problem}.")
    return Experiment.from_dict(claim.row.experiment)


def _compare(claim: Claim, metrics: Mapping[str, Mapping[str, Any]], sha256: str) -> Rerun:
    verdicts, unknown = [], sorted(set(metrics) ^ set(claim.row.metrics))
    for name, claimed in claim.row.metrics.items():
        if name in metrics:
            found, spread = metrics[name], _spread(claim, name)
            error = math.hypot(found["error"] or 0.0, spread)
            here = Measurement(name, found["value"], error, found["num_images"])
            there = Measurement(name, claimed.value, claimed.error or 0.0, claimed.num_images)
            verdicts.append(is_difference_real(here, there, NUM_ERRORS))
    same_data = claim.results.dataset.sha256 == sha256
    return Rerun(claim, same_data, tuple(verdicts), tuple(unknown))


def _spread(claim: Claim, name: str) -> float:
    """Returns a metric's standard deviation between the student's seeds, 0 for a single one."""
    rows = claim.study.of_kind(claim.row.kind, claim.row.ablated)
    values = [row.metrics[name].value for row in rows if name in row.metrics]
    return statistics.stdev(values) if len(values) > 1 else 0.0
