"""A class's submissions: read one by one, judged, compared with each other, shown as a page and a table, and one run done once more."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path, write_text
from course_utils.homework.archive import RESULTS, Submission, read_submission
from course_utils.homework.measure import changes_of, difference, effects, in_short, judgement
from course_utils.homework.report import NAMES, Html, class_png, join, mark, page, picture, runs_table, said, sample_pictures, table, tag
from course_utils.homework.rule import Pair, near_equal
from course_utils.homework.schema import Results, Study, SubmittedRow

if TYPE_CHECKING:
    from course_utils.data.dataset import Dataset
    from course_utils.metrics.measurement import Difference, Measurement
    from course_utils.studies.significance import SeedComparison
    from course_utils.training.presets import Experiment

# What spreadsheets take for the beginning of a formula, the wide forms of East Asian keyboards included.
FORMULA = set("=+-@\t\r\n|%＝＋－＠")
HEAD = ("source", "student", "problem", "rule met", "missing", "near-equal texts", "dataset", "budget", "seeds", "model", "changes")


def class_csv(school_class: SchoolClass) -> str:
    """Returns the table as CSV: who changed what, the effect on each metric with its verdict, whether the rule is met, and what is broken."""
    metrics = list(dict.fromkeys(name for family in school_class.families for name in school_class.metrics(family)))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)
    columns = [f"{what} {name}" for name in metrics for what in ("class", "changed", "difference in", "error of difference in", "verdict on")]
    writer.writerow([defused(name) for name in (*HEAD, *columns)])
    for index, one in enumerate(school_class.judged):
        for study in one.studies or (None,):
            writer.writerow(_line(one, study, _number_of_pairs(school_class, index), metrics))
    for one in school_class.broken:
        writer.writerow([defused(one.source), "", defused(one.reason), "no"])
    return text.getvalue()


def defused(text: str) -> str:
    """Returns text on one line that no spreadsheet takes for a formula: an apostrophe stands before a sign that would start one."""
    flat = " ".join(text.split())
    return f"'{flat}" if text[:1] in FORMULA or flat[:1] in FORMULA else flat


def changes_in_words(study: Study) -> list[str]:
    """Returns one "name: before → now" for each change."""
    return [f"{name}: {in_short(before)} → {in_short(now)}" for name, before, now in changes_of(study)]


def _number_of_pairs(school_class: SchoolClass, index: int) -> int:
    return sum(index in (pair.first[0], pair.second[0]) for pair in school_class.pairs)


def _line(one: Judged, study: Study | None, num_pairs: int, metrics: list[str]) -> list[object]:
    results = one.submission.results
    texts = [one.submission.source, results.student, "", "yes" if one.verdict.met else "no", "; ".join(one.missing)]
    about = [results.dataset.name, results.budget, " ".join(map(str, results.seeds))]
    model = [study.family, "; ".join(changes_in_words(study))] if study else ["", ""]
    line: list[object] = [*map(defused, texts), num_pairs, *map(defused, [*about, *model])]
    found = {effect.name: effect for effect in one.effects.get(study.family, ())} if study else {}
    for effect in map(found.get, metrics):
        line += _cells(effect, study) if effect and study else [""] * 5
    return line


def _cells(effect: SeedComparison, study: Study) -> list[str]:
    error = math.hypot(effect.baseline.error, effect.changed.error)  # NaN where a side has one seed
    numbers = effect.baseline.value, effect.changed.value, difference(effect), error
    return [*(f"{number:.6g}" if math.isfinite(number) else "" for number in numbers), judgement(effect, study.changes)]


SELF_REPORTED = "All numbers are self-reported by the students. Nothing in the submissions was executed."

RERUN = tag("code", "course homework collect FOLDER --rerun RUN")


def class_page(school_class: SchoolClass) -> str:
    """Returns the page of a class as HTML that opens offline."""
    met = sum(bool(one.verdict.met) for one in school_class.judged)
    told = f"{len(school_class.judged)} submissions were read; {met} meet the rule. {len(school_class.broken)} could not be read."
    return page(
        "Homework of the class",
        tag("h1", "Homework of the class"),
        tag("p", told),
        tag("p", SELF_REPORTED, " To check a run, give its number: ", RERUN, " trains the same settings again and compares.", class_="note"),
        _broken(school_class),
        tag("h2", "Who handed in what"),
        _overview(school_class),
        *(_family(school_class, family) for family in school_class.families),
        tag("h2", "Texts that are nearly equal"),
        _pairs_table(school_class),
        tag("h2", "What each student wrote"),
        *(_student(index, one) for index, one in enumerate(school_class.judged)),
    )


def _broken(school_class: SchoolClass) -> Html | None:
    if not school_class.broken:
        return None
    rows = [(one.source, one.reason) for one in school_class.broken]
    return join([tag("h2", "Not readable"), table(("file", "why"), rows, numbers_from=2)])


def _overview(school_class: SchoolClass) -> Html:
    rows = []
    for index, one in enumerate(school_class.judged):
        missing = tag("ul", *(tag("li", line) for line in one.missing), class_="points") if one.missing else "-"
        link = tag("a", one.student, href=f"#student-{index}")
        rows.append((link, ", ".join(study.family for study in one.studies), mark(one.verdict.met, "met", "not met"), missing, one.submission.source))
    return table(("student", "models", "rule", "what is missing", "file"), rows, numbers_from=5)


def _family(school_class: SchoolClass, family: str) -> Html:
    """Returns one table of changes and effects, and the joint picture."""
    metrics = school_class.metrics(family)
    rows = []
    for index, one in enumerate(school_class.judged):
        for study in (study for study in one.studies if study.family == family):
            found = {effect.name: effect for effect in one.effects[family]}
            changes = tag("ul", *(tag("li", line) for line in changes_in_words(study)), class_="points")
            rows.append((tag("a", one.student, href=f"#student-{index}"), changes, *(_cell(found.get(name), study) for name in metrics)))
    caption = "Difference of the means over seeds, changed model minus class model. Bold: real; else within noise."
    parts = [tag("h2", NAMES.get(family, family)), table(("student", "changes", *metrics), rows, caption, numbers_from=2)]
    results = [one.submission.results for one in school_class.judged]
    drawn = class_png(results, family, metrics[0]) if metrics else None
    if drawn is not None:
        caption = f"Every run of those who changed the setting: its value across, {metrics[0]} up. Dashed: mean of the class model."
        parts.append(picture(*drawn, caption, chart=True))
    return join(parts)


def _cell(effect: SeedComparison | None, study: Study) -> Html | str:
    if effect is None:
        return "-"
    text, words = f"{difference(effect):+.3g}", judgement(effect, study.changes)
    return tag("strong", text) if words == "real" else text if words == "within noise" else f"{text} ({words.partition(':')[0]})"


def _pairs_table(school_class: SchoolClass) -> Html:
    if not school_class.pairs:
        return tag("p", "None.")

    def name(key: tuple[int, str, str]) -> Html:
        return tag("a", f"{school_class.judged[key[0]].student}, {key[1]}", href=f"#student-{key[0]}")

    rows = [(pair.first[2], name(pair.first), name(pair.second), f"{pair.similarity:.0%}") for pair in school_class.pairs[:200]]
    caption = "Share of the shorter text's runs of four words that stand in the other text too. It is a hint to read both, not a judgement."
    more = tag("p", f"{len(school_class.pairs) - 200} more.") if len(school_class.pairs) > 200 else None
    return join([table(("text", "one", "other", "equal"), rows, caption, numbers_from=3), more])


def _student(index: int, one: Judged) -> Html:
    parts: list[object] = [tag("summary", one.student)]
    for study in one.studies:
        parts += [tag("h3", NAMES.get(study.family, study.family)), tag("p", "; ".join(changes_in_words(study)) or "no changes", class_="quiet")]
        for part in TEXTS:
            parts += [tag("h4", part.capitalize()), said(getattr(study, part))]
        parts.append(sample_pictures(study.family, one.submission.samples, NAMES.get(study.family, study.family)))
        parts.append(runs_table(study))
    if one.num_pictures > len(one.submission.samples):
        parts.append(tag("p", "Pictures were left out to keep this page small; `course homework report FILE.zip` shows them.", class_="quiet"))
    return tag("details", *parts, id=f"student-{index}")


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
    pass
    pass

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


MIN_ID = 6  # hexadecimal digits
# Other processors round differently, and after some epochs that is as another seed; with a few seeds their spread is known only roughly.
NUM_ERRORS = 3.0


@dataclass(frozen=True)
class Claim:
    """One run as a student reported it."""

    source: str
    results: Results
    study: Study
    row: SubmittedRow

    @property
    def name(self) -> str:
        return f"{self.results.student}, {self.study.family}, {self.row.kind}, seed {self.row.seed}"


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
        lines = [f"{self.claim.name} ({self.claim.source}): {'agrees' if self.agrees else 'does not agree'}; each line: here against claimed."]
        lines += [f"  {verdict.text}" for verdict in self.verdicts]
        lines += [f"  {name}: only one side has it" for name in self.unknown]
        lines += [] if self.same_data else ["  The images differ from the student's in their SHA-256, which alone can change the numbers a little."]
        return "\n".join(lines)


RunAndMeasure = Callable[["Experiment", "Dataset"], Mapping[str, Any]]


def find_claims(school_class: SchoolClass, run_id: str) -> list[Claim]:
    """Returns everyone's claim of one run; class models are often the same run.

    Args:
        run_id: the run's number on the class page, or more digits of its key.

    Raises:
        CourseError: no such run, or two different ones.
    """
    if len(run_id) < MIN_ID or set(run_id) - set("0123456789abcdef"):
        raise CourseError(f"expected the number of a run, {MIN_ID} or more of the digits 0 to 9 and a to f, got {run_id!r}; the class page has them.")
    claims = [
        Claim(one.submission.source, one.submission.results, study, row)
        for one in school_class.judged
        for study in one.studies
        for row in study.rows
        if row.key.startswith(run_id)
    ]
    if not claims:
        raise CourseError(f"expected the number of a run in these submissions, got {run_id!r}; the class page lists them.")
    keys = {claim.row.key for claim in claims}
    if len(keys) > 1:
        raise CourseError(f"expected the number of one run, got {run_id!r}, with which {len(keys)} begin; give more digits.")
    return claims


def rerun(claims: list[Claim], load: Callable[[str], Dataset], run_and_measure: RunAndMeasure) -> list[Rerun]:
    """Returns what one training here says of each claim.

    Args:
        claims: of one run, by `find_claims`.
        load: gives the images of a dataset that everybody has, by name.
        run_and_measure: trains (or finds) an experiment and returns a row with `metrics`, as `sweep_run.run_and_measure`.

    Raises:
        CourseError: images that only the student has, or settings that are not the class model with planned changes in range.
    """
    experiments = [checked_experiment(claim) for claim in claims]
    dataset = load(claims[0].results.dataset.name)
    metrics = run_and_measure(experiments[0].fitted_to(dataset), dataset)["metrics"]
    return [_compare(claim, metrics, claim.results.dataset.sha256 == dataset.sha256) for claim in claims]


def checked_experiment(claim: Claim) -> Experiment:
    """Returns the experiment of a claim, built from its data alone and within the ranges of the homework: a billion layers are data too.

    Raises:
        CourseError: as `rerun`.
    """
    from course_utils.homework.parameters import validate_changes
    from course_utils.homework.rule import DATA_FIELDS, wrong_run
    from course_utils.training.presets import Experiment

    name = claim.results.dataset.name
    if name not in DATA_FIELDS:
        raise CourseError(f"{claim.name}: expected one of the datasets {', '.join(DATA_FIELDS)}, got {name!r}; only the student has these images.")
    problems = validate_changes(claim.study.family, claim.study.changes, claim.results.budget).problems
    if problems:
        raise CourseError(f"{claim.name}: is not run, since its changes would not have been accepted: {'; '.join(problems)}.")
    problem = wrong_run(claim.row, claim.study, claim.results)
    if problem:
        raise CourseError(f"{claim.name}: is not run, since {problem}.")
    return Experiment.from_dict(claim.row.experiment)


def _compare(claim: Claim, metrics: Mapping[str, Mapping[str, Any]], same_data: bool) -> Rerun:
    from course_utils.metrics.measurement import is_difference_real

    verdicts, unknown = [], sorted(set(metrics) ^ set(claim.row.metrics))
    for name, claimed in claim.row.metrics.items():
        if name in metrics:
            here = _measurement(name, metrics[name]["value"], metrics[name]["error"], metrics[name]["num_images"], _spread(claim, name))
            there = _measurement(name, claimed.value, claimed.error, claimed.num_images, 0.0)
            verdicts.append(is_difference_real(here, there, NUM_ERRORS))
    return Rerun(claim, same_data, tuple(verdicts), tuple(unknown))


def _measurement(name: str, value: float, error: float | None, num_images: int, spread: float) -> Measurement:
    from course_utils.metrics.measurement import Measurement

    return Measurement(name, value, math.hypot(error or 0.0, spread), num_images)


def _spread(claim: Claim, name: str) -> float:
    """Returns the standard deviation of a metric between the student's own seeds, 0 where there is only one."""
    rows = claim.study.of_kind(claim.row.kind, claim.row.ablated)
    values = [row.metrics[name].value for row in rows if name in row.metrics]
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0
