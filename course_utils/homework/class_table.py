"""The class as a table for spreadsheets: one line for each student and model. A cell that would start a formula is defused."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING

from course_utils.homework.collect import Judged, SchoolClass
from course_utils.homework.effects import changes_of, difference, in_short, judgement
from course_utils.homework.schema import Study

if TYPE_CHECKING:  # torch costs seconds to import
    from course_utils.compare import Comparison

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


def _cells(effect: Comparison, study: Study) -> list[str]:
    error = math.hypot(effect.baseline.error, effect.changed.error)  # NaN where a side has one seed
    numbers = effect.baseline.value, effect.changed.value, difference(effect), error
    return [*(f"{number:.6g}" if math.isfinite(number) else "" for number in numbers), judgement(effect, study.changes)]
