"""What an instructor may want to ask: numbers that cannot be, numbers that two students share, and
runs of equal settings that came out unlike each other.

None of it is a verdict. Honest work can look like this: a wrong clock, a shared machine, a slow or
a broken one.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from course_utils.homework.rule import REQUIRED_METRICS, parse_moment, words_of
from course_utils.homework.schema import Results, SubmittedRow

NUM_ERRORS = 3.0
SPREAD = 0.15  # of a metric between seeds, and so between processors, as a share of its value
MIN_TRAINING_SECONDS = {"smoke": 0.0, "laptop": 2.0, "gpu": 2.0}
MIN_ROWS_AT_ONCE = 4
CLOCK = timedelta(days=1)  # clocks may be wrong, and zones mistaken
DIGITS = 6  # significant ones in which two different runs never agree, in FID and KID together


@dataclass(frozen=True)
class Question:
    """Something to ask some of the students: their indices in the class, and what about."""

    students: tuple[int, ...]
    text: str


_Run = tuple[int, str, SubmittedRow]  # student, family, row


def questions(class_results: Sequence[Results], now: datetime | None = None) -> list[Question]:
    """Returns what may be asked about the numbers of a class, those about single students first.

    Args:
        class_results: of each student.
        now: the time of reading; None takes this moment.
    """
    now = datetime.now(timezone.utc) if now is None else now
    runs = [
        (index, study.family, row)
        for index, results in enumerate(class_results)
        for study in results.experiments
        for row in study.rows
    ]
    found = [
        Question((index,), text)
        for index, results in enumerate(class_results)
        for text in _about_one(results, now)
    ]
    names = _same_names([results.student for results in class_results])
    return [*found, *names, *_shared_numbers(runs), *_shared_runs(runs), *_unlike(runs)]


def _same_names(students: Sequence[str]) -> Iterator[Question]:
    """Yields students whose names a reader cannot tell apart."""
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, name in enumerate(students):
        groups[words_of(name) or (name,)].append(index)
    for group in groups.values():
        if len(group) > 1:
            yield Question(tuple(group), "their names look the same; are these two people?")


def _about_one(results: Results, now: datetime) -> Iterator[str]:
    """Yields what is odd about one student's own numbers."""
    rows = [(study.family, row) for study in results.experiments for row in study.rows]
    texts: dict[str, list[str]] = defaultdict(list)
    for family, row in rows:
        for text in _odd_numbers(row, results.budget):
            texts[text].append(f"{family} {row.kind}, seed {row.seed}")
    for text, where in texts.items():
        yield f"{text} ({where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''})"
    started = [parse_moment(row.started) for _, row in rows]
    if len(started) >= MIN_ROWS_AT_ONCE and max(started) - min(started) < timedelta(seconds=1):
        yield f"all {len(rows)} runs started within one second"
    dates = [results.created, *(row.finished for _, row in rows)]
    if max(map(parse_moment, dates)) > now + CLOCK:
        yield "a date lies in the future; is the clock of that machine right?"


def _odd_numbers(row: SubmittedRow, budget: str) -> Iterator[str]:
    for name in ("FID", "KID"):
        if name in row.metrics and row.metrics[name].error == 0:
            yield f"{name} has an error of exactly 0"
    if "FID" in row.metrics and row.metrics["FID"].value <= 0:
        yield "FID is 0 or less, which samples of finite number never reach"
    shares = [row.metrics[name].value for name in ("precision", "recall") if name in row.metrics]
    if shares == [1.0, 1.0]:
        yield "precision and recall are both exactly 1"
    if row.training_seconds < MIN_TRAINING_SECONDS[budget]:
        yield f"the training took less than {MIN_TRAINING_SECONDS[budget]:g} s"


def _shared_numbers(runs: Iterable[_Run]) -> Iterator[Question]:
    """Yields runs of different settings, of different students, with the same FID and KID."""
    groups: dict[tuple[str, str], list[_Run]] = defaultdict(list)
    for run in runs:
        metrics = run[2].metrics
        if "FID" in metrics and "KID" in metrics and metrics["FID"].value > 0:
            both = (metrics[name].value for name in ("FID", "KID"))
            first, second = (f"{value:.{DIGITS}g}" for value in both)
            groups[first, second].append(run)
    counts: dict[tuple[int, ...], list[tuple[str, str]]] = defaultdict(list)
    for numbers, group in groups.items():
        students = tuple(dict.fromkeys(index for index, _, _ in group))
        if len(students) > 1 and len({row.key for _, _, row in group}) > 1:
            counts[students].append(numbers)
    for students, numbers in counts.items():
        (fid, kid), num = numbers[0], len(numbers)
        runs_of = "one run" if num == 1 else f"{num} runs"
        yield Question(
            students,
            f"{runs_of} of different settings have the same numbers (FID {fid}, KID {kid})",
        )


def _shared_runs(runs: Iterable[_Run]) -> Iterator[Question]:
    """Yields runs that several students report with the same moments, to the millisecond."""
    groups: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for index, _, row in runs:
        times = (str(row.training_seconds), str(row.sampling_seconds))
        groups[(row.key, row.started, row.finished, *times)].add(index)
    counts: dict[tuple[int, ...], int] = defaultdict(int)
    for students in groups.values():
        if len(students) > 1:
            counts[tuple(sorted(students))] += 1
    for students, num in counts.items():
        runs_of = "one run is" if num == 1 else f"{num} runs are"
        yield Question(students, f"{runs_of} the same to the millisecond and the last digit")


def _unlike(runs: Iterable[_Run]) -> Iterator[Question]:
    """Yields runs of equal settings and images that came out further apart than processors do.

    Everybody trains the class model, so that this is a check without a training.
    """
    groups: dict[str, dict[int, _Run]] = defaultdict(dict)
    for run in runs:
        groups[run[2].key].setdefault(run[0], run)
    found: dict[tuple[tuple[int, ...], str, str], list[str]] = defaultdict(list)
    for group in groups.values():
        for name in REQUIRED_METRICS:
            measured = {
                index: row.metrics[name]
                for index, (_, _, row) in group.items()
                if name in row.metrics
            }
            values = {index: metric.value for index, metric in measured.items()}
            away = _outside(values, [metric.error or 0.0 for metric in measured.values()])
            if away:
                _, family, row = next(iter(group.values()))
                told = ", ".join(f"{values[index]:.4g}" for index in away)
                found[away, family, row.kind].append(
                    f"seed {row.seed}: {name} is {told}, while {len(values)} students with the same"
                    f" settings have a median of {statistics.median(values.values()):.4g}"
                )
    for (students, family, kind), texts in found.items():
        more = f"; and {len(texts) - 1} more numbers of such runs" if len(texts) > 1 else ""
        yield Question(students, f"{family} {kind}, {texts[0]}{more}")


def _outside(values: Mapping[int, float], errors: Sequence[float]) -> tuple[int, ...]:
    """Returns who lies further from the median than errors and the spread of seeds explain."""
    if len(values) < 2:
        return ()
    centre, error = statistics.median(values.values()), statistics.median_low(errors)
    limit = NUM_ERRORS * math.hypot(error, SPREAD * abs(centre))
    return tuple(index for index, value in values.items() if abs(value - centre) > limit)
