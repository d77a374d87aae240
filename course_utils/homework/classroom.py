"""A class's submissions: read one by one, judged, compared, shown as a page and a table."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path, handout_root, read_text
from course_utils.homework.archive import Submission, read_submission
from course_utils.homework.class_table import Line, defused, platform_table, table_text, write_csv
from course_utils.homework.downloads import Origin, platform_origin, read_download
from course_utils.homework.measure import changes_of, difference, effects, in_short, judgement
from course_utils.homework.questions import Question, questions
from course_utils.homework.report import (
    NAMES,
    SECURITY,
    TEMPLATES,
    PagePicture,
    class_png,
    page_parts,
    render_page,
    sample_pictures,
)
from course_utils.homework.rule import Pair, near_equal, parse_moment
from course_utils.homework.schema import Study

if TYPE_CHECKING:
    from course_utils.studies.significance import SeedComparison

MAX_SUBMISSIONS = 1000
MAX_PICTURE_BYTES = 15_000_000  # of all students together: the page must stay quick to open
TEXTS = ("prediction", "observation", "explanation")
HEAD = ("source", "platform id", "student", "problem", "rule met", "missing", "near-equal texts")
HEAD += ("questions",)
HEAD += ("dataset", "budget", "seeds", "model", "changes")
EFFECT_HEAD = ("class", "changed", "difference in", "error of difference in", "verdict on")

Check = Callable[[dict[str, Any]], Any]


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
    origin: Origin = Origin()

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
    origin: Origin = Origin()


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

    Attributes:
        questions: what may be asked of students, by index, about their numbers.
        aside: other files in the folder, such as lists and comments of the platform.
    """

    judged: tuple[Judged, ...]
    broken: tuple[Broken, ...]
    pairs: tuple[Pair, ...]
    earlier: tuple[Earlier, ...] = ()
    questions: tuple[Question, ...] = ()
    aside: tuple[str, ...] = ()

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


def collect(
    folder: Path | str,
    out: Path | str,
    check: Check,
    platform: str | None = None,
    separator: str = "comma",
) -> SchoolClass:
    """Writes `class.html` and `class.csv` of the submissions in a folder; returns what they say.

    Args:
        folder: holds submissions as zip files or unpacked, also some folders deeper, as learning
            platforms hand them out.
        out: the folder of the files.
        check: judges `results.json`; returns `.met` and `.points` with `.name`, `.ok`, `.message`.
        platform: "canvas" or "moodle", for a file `class-canvas.csv` that it imports.
        separator: of `class.csv`, "comma" or "semicolon".

    Raises:
        CourseError: no such folder, nothing in it, or `out` cannot be written.
    """
    school_class = read_class(Path(folder), check)
    tables = {"class.csv": class_csv(school_class, separator)}
    if platform is not None:
        tables[f"class-{platform}.csv"] = platform_table(platform, platform_lines(school_class))
    write_class_page(Path(out) / "class.html", school_class)
    for name, text in tables.items():
        write_csv(Path(out) / name, text)
    return school_class


def read_class(folder: Path, check: Check) -> SchoolClass:
    """Returns everything in a class's folder, judged.

    Raises:
        CourseError: there is no folder, or nothing in it.
    """
    download = read_download(folder)
    if len(download.candidates) > MAX_SUBMISSIONS:
        expected = f"at most {MAX_SUBMISSIONS:,} submissions"
        found = f"{len(download.candidates):,} files"
        raise CourseError(f"{folder}: expected {expected}, got {found}.")
    judged: list[Judged] = []
    broken: list[Broken] = []
    room = MAX_PICTURE_BYTES
    for path in download.candidates:
        source = _printable(folder, path)
        origin = platform_origin(source)
        try:
            judged.append(_judge(read_submission(path), source, origin, check, room))
            room -= sum(map(len, judged[-1].submission.samples.values()))
        except CourseError as error:
            reason = str(error).removeprefix(f"{source.rpartition('/')[2]}: ")
            broken.append(Broken(source, reason, origin))
        except Exception as error:  # a fault of ours in one file must not hide all the others
            reason = f"could not be read: {type(error).__name__}"
            reason += "; please report this as a fault of the course."
            broken.append(Broken(source, reason, origin))
    if not judged and not broken:
        raise CourseError(f"{folder}: expected submissions (.zip), got an empty folder.")
    newest, earlier = _newest_of_each(judged)
    return SchoolClass(
        tuple(newest),
        tuple(broken),
        tuple(_pairs(newest)),
        tuple(earlier),
        tuple(questions([one.submission.results for one in newest])),
        tuple(_printable(folder, path) for path in download.aside),
    )


def _printable(folder: Path, path: Path) -> str:
    """Returns a path inside the class's folder as one line."""
    inside = path.relative_to(folder).as_posix()
    return "".join(character if character.isprintable() else "?" for character in inside)


def _newest_of_each(judged: list[Judged]) -> tuple[list[Judged], list[Earlier]]:
    """Returns the newest submission of each student, and the others.

    Learning platforms keep every attempt. A student is an id of the platform, or a name where there
    is no id: two students of one name who have ids stay two. Equal runs under two names are not put
    together: that would let a copy hide its original.
    """
    attempts: dict[tuple[str, str], list[Judged]] = {}
    for one in judged:
        platform, known = one.origin.platform, one.origin.who or one.origin.id
        who = (platform, known) if known else ("", name_key(one.student))
        attempts.setdefault(who, []).append(one)
    newest = {who: max(own, key=_last_written) for who, own in attempts.items()}
    earlier = [
        Earlier(one.submission.source, one.student, newest[who].submission.source)
        for who, own in attempts.items()
        for one in own
        if one is not newest[who]
    ]
    return [one for one in judged if any(one is last for last in newest.values())], earlier


def name_key(name: str) -> str:
    """Returns what two writings of one name have in common."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _last_written(one: Judged) -> tuple[datetime, str, str]:
    """Returns what sorts the attempts of a student: the latest date in it, then the platform's
    attempt, then its file.
    """
    dates = [one.submission.results.created]
    for study in one.studies:
        dates += [study.planned, *(row.finished for row in study.rows)]
    return max(map(parse_moment, dates)), one.origin.attempt, one.submission.source


def _judge(submission: Submission, source: str, origin: Origin, check: Check, room: int) -> Judged:
    """Returns a submission judged; its pictures are left out where `room` bytes do not do."""
    results, found, studies = submission.results, {}, []
    for study in results.experiments:
        found[study.family] = effects(study.of_kind("baseline"), study.of_kind("changed"))
        rows = tuple(replace(row, history={}) for row in study.rows)
        studies.append(replace(study, rows=rows))
    slim = replace(results, experiments=tuple(studies))
    fits = sum(map(len, submission.samples.values())) <= room
    samples = submission.samples if fits else {}
    kept = replace(submission, source=source, results=slim, samples=samples)
    verdict = check(results.as_dict())
    judged = Judged(kept, verdict, found, len(submission.samples), origin)
    _show_once(judged)
    return judged


def _show_once(judged: Judged) -> None:
    """Writes what page and table say of one student, and forgets it: whatever cannot be shown
    stops here, where it is this student's, and not the page of the whole class.
    """
    render_page("student.html", one=judged, **SHOWN)
    for study in judged.studies or (None,):
        _line(
            judged,
            study,
            (0, 0),
            [effect.name for effect in judged.effects.get(study.family, ())] if study else [],
        )
    for study in judged.studies:
        for effect in judged.effects[study.family]:
            _effect_cell(effect, study)


def _pairs(judged: list[Judged]) -> list[Pair]:
    """Returns nearly equal texts of different students, part by part."""
    pairs = []
    for part in TEXTS:
        texts = {}
        for index, one in enumerate(judged):
            texts |= {(index, study.family, part): getattr(study, part) for study in one.studies}
        pairs += [pair for pair in near_equal(texts) if pair.first[0] != pair.second[0]]
    return sorted(pairs, key=lambda pair: -pair.similarity)


def class_csv(school_class: SchoolClass, separator: str = "comma") -> str:
    """Returns the table as CSV.

    It says who changed what, the effect on each metric with its verdict, whether the rule is met,
    what may be asked, and what is broken.
    """
    metrics: dict[str, None] = {}
    for family in school_class.families:
        metrics |= dict.fromkeys(school_class.metrics(family))
    columns = [f"{what} {name}" for name in metrics for what in EFFECT_HEAD]
    rows: list[list[object]] = [[defused(name) for name in (*HEAD, *columns)]]
    num_pairs = Counter(
        index for pair in school_class.pairs for index in {pair.first[0], pair.second[0]}
    )
    num_questions = Counter(index for one in school_class.questions for index in one.students)
    for index, one in enumerate(school_class.judged):
        counts = num_pairs[index], num_questions[index]
        for study in one.studies or (None,):
            rows.append(_line(one, study, counts, list(metrics)))
    for one in school_class.broken:
        source, platform_id, reason = map(defused, (one.source, one.origin.id, one.reason))
        rows.append([source, platform_id, "", reason, "no"])
    width = len(rows[0])
    return table_text([[*row, *[""] * (width - len(row))] for row in rows], separator)


def platform_lines(school_class: SchoolClass) -> list[Line]:
    """Returns what a learning platform is told: a line for each student, also for those whose
    hand-in could not be read and who have an id there.
    """
    lines = [
        Line(one.origin.id, one.student, bool(one.verdict.met), ", ".join(one.missing))
        for one in school_class.judged
    ]
    ids = {line.platform_id for line in lines}
    lines += [
        Line(one.origin.id, "", False, one.reason)
        for one in school_class.broken
        if one.origin.id and one.origin.id not in ids
    ]
    return lines


def changes_in_words(study: Study) -> list[str]:
    """Returns one "name: before → now" for each change."""
    changes = changes_of(study)
    return [f"{name}: {in_short(before)} → {in_short(now)}" for name, before, now in changes]


def _line(
    one: Judged, study: Study | None, counts: tuple[int, int], metrics: list[str]
) -> list[object]:
    """Returns the cells of one model of a student.

    Args:
        counts: how many texts are nearly equal to others, and how many questions there are.
    """
    results, met = one.submission.results, "yes" if one.verdict.met else "no"
    texts = [
        one.submission.source,
        one.origin.id,
        results.student,
        "",
        met,
        " / ".join(one.missing),
    ]
    about = [results.dataset.name, results.budget, " ".join(map(str, results.seeds))]
    about += [study.family, " / ".join(changes_in_words(study))] if study else ["", ""]
    line: list[object] = [*map(defused, texts), *counts, *map(defused, about)]
    found = {effect.name: effect for effect in one.effects.get(study.family, ())} if study else {}
    for name in metrics:
        line += _cells(found[name], study) if study and name in found else [""] * len(EFFECT_HEAD)
    return line


def _cells(effect: SeedComparison, study: Study) -> list[str]:
    error = math.hypot(effect.baseline.error, effect.changed.error)  # NaN where a side has one seed
    numbers = effect.baseline.value, effect.changed.value, difference(effect), error
    written = [f"{number:.6g}" if math.isfinite(number) else "" for number in numbers]
    return [*written, judgement(effect, study.changes)]


def write_class_page(target: Path | str, school_class: SchoolClass) -> None:
    """Writes the page of a class in one step. It is never in memory as a whole, where signs such as
    ✓ would take two bytes for each letter of the pictures.
    """
    with atomic_path(target) as partial, open(partial, "w", encoding="utf-8") as stream:
        stream.writelines(_class_page_parts(school_class))


def class_page(school_class: SchoolClass) -> str:
    """Returns the page of a class as HTML that opens offline."""
    return "".join(_class_page_parts(school_class))


def _class_page_parts(school_class: SchoolClass) -> Iterator[str]:
    judged = school_class.judged
    script = (TEMPLATES / "class.js").read_text(encoding="utf-8")
    return page_parts(
        "class.html",
        title="Homework of the class",
        security=f"{SECURITY}; script-src 'sha256-{_sha256_of(script)}'",
        script=Markup(script),  # a file of the course
        judged=judged,
        by_name=sorted(enumerate(judged), key=lambda pair: name_key(pair[1].student)),
        rubric=rubric(),
        num_met=sum(bool(one.verdict.met) for one in judged),
        broken=[(one.source, one.reason) for one in school_class.broken],
        earlier=[(one.student, one.source, one.newest) for one in school_class.earlier],
        aside=school_class.aside,
        questions=[_question_row(school_class, one) for one in school_class.questions],
        overview=sorted(
            (_overview_row(index, one) for index, one in enumerate(judged)),
            key=lambda row: name_key(row[0][1]),
        ),
        families=[_family(school_class, family) for family in school_class.families],
        pairs=[_pair_row(school_class, pair) for pair in school_class.pairs],
        **SHOWN,
    )


def _sha256_of(script: str) -> str:
    """Returns what a page's policy calls the one script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


CRITERION = re.compile(r"\| *([^|]+?) *\| *(?:(\d+) *[×x*] *)?(\d+) *\|")


def rubric() -> list[tuple[str, int]]:
    """Returns the criteria of the homework's rubric that have points, with the most points of each;
    [] where the homework is not installed.
    """
    path = handout_root() / "homework" / "rubric.md"
    if not path.is_file():
        return []
    lines = map(CRITERION.match, read_text(path).split("\n"))
    return [(found[1], int(found[2] or 1) * int(found[3])) for found in lines if found]


# What the template of one student needs beside the submission
SHOWN = {
    "texts": TEXTS,
    "names": NAMES,
    "changes_in_words": changes_in_words,
    "sample_pictures": sample_pictures,
}


def _overview_row(index: int, one: Judged) -> tuple[Any, ...]:
    families = ", ".join(study.family for study in one.studies)
    source = one.submission.source
    return (index, one.student), families, one.verdict.met, one.missing, source, one.origin.id


def _question_row(school_class: SchoolClass, question: Question) -> tuple[object, ...]:
    who = [(index, school_class.judged[index].student) for index in question.students]
    return who, question.text


def _family(school_class: SchoolClass, family: str) -> dict[str, Any]:
    """Returns the table of changes and effects of one family, and the joint picture."""
    metrics, rows = school_class.metrics(family), []
    for index, one in enumerate(school_class.judged):
        for study in one.studies:
            if study.family == family:
                found = {effect.name: effect for effect in one.effects[family]}
                cells = [_effect_cell(found.get(name), study) for name in metrics]
                rows.append([(index, one.student), changes_in_words(study), *cells])
    rows.sort(key=lambda row: name_key(row[0][1]))
    for place in range(2, 2 + len(metrics)):
        _mark_outliers([row[place] for row in rows])
    results = [one.submission.results for one in school_class.judged]
    chart, problem = None, ""
    try:
        drawn = class_png(results, family, metrics[0]) if metrics else None
    except Exception as error:  # a fault of ours in one picture must not hide the tables
        drawn, problem = None, f"The picture could not be drawn ({type(error).__name__})."
    if drawn is not None:
        who = "Every run of those who changed the setting"
        caption = f"{who}: its value across, {metrics[0]} up. Dashed: mean of the class model."
        chart = PagePicture(*drawn, caption, is_chart=True)
    head = ("student", "changes", *metrics)
    name = NAMES.get(family, family)
    return {"name": name, "head": head, "rows": rows, "chart": chart, "problem": problem}


def _effect_cell(effect: SeedComparison | None, study: Study) -> dict[str, Any]:
    if effect is None:
        return {"text": "-", "is_real": False, "value": math.nan, "is_outlier": False}
    text, words = f"{difference(effect):+.3g}", judgement(effect, study.changes)
    if words not in ("real", "within noise"):
        text += f" ({words.partition(':')[0]})"
    value = difference(effect)
    return {"text": text, "is_real": words == "real", "value": value, "is_outlier": False}


MIN_FOR_OUTLIERS, OUTLIER = 5, 3.5
# A normal distribution's standard deviation, in median distances from its median
SIGMA = 1.4826


def _mark_outliers(cells: list[dict[str, Any]]) -> None:
    """Marks the differences that lie far from the median of the class, by the median of these
    distances (Iglewicz and Hoaglin, 1993).
    """
    values = [cell["value"] for cell in cells if math.isfinite(cell["value"])]
    if len(values) < MIN_FOR_OUTLIERS:
        return
    centre = statistics.median(values)
    width = SIGMA * statistics.median(abs(value - centre) for value in values)
    for cell in cells:
        cell["is_outlier"] = abs(cell["value"] - centre) > OUTLIER * width > 0


def _pair_row(school_class: SchoolClass, pair: Pair) -> tuple[object, ...]:
    index, family, part = pair.first
    other, other_family, _ = pair.second
    one, two = school_class.judged[index].student, school_class.judged[other].student
    links = (index, f"{one}, {family}"), (other, f"{two}, {other_family}")
    return part, *links, f"{pair.similarity:.0%}"
