"""The class as a page: who changed what, what it did, whether the rule is met, which texts are nearly equal, and all runs in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.homework.class_table import changes_in_words
from course_utils.homework.collect import TEXTS, Judged, SchoolClass
from course_utils.homework.effects import difference, judgement
from course_utils.homework.figures import class_png
from course_utils.homework.html_parts import Html, join, page, picture, table, tag
from course_utils.homework.report import NAMES, mark, runs_table, said, sample_pictures
from course_utils.homework.schema import Study

if TYPE_CHECKING:  # torch costs seconds to import
    from course_utils.compare import Comparison

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
        _pairs(school_class),
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


def _cell(effect: Comparison | None, study: Study) -> Html | str:
    if effect is None:
        return "-"
    text, words = f"{difference(effect):+.3g}", judgement(effect, study.changes)
    return tag("strong", text) if words == "real" else text if words == "within noise" else f"{text} ({words.partition(':')[0]})"


def _pairs(school_class: SchoolClass) -> Html:
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
