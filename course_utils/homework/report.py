"""The report of one student as a page: opens offline, prints well, and shows whatever the student wrote as plain text."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any

from course_utils.homework.effects import changes_of, difference, effects, in_short, judgement
from course_utils.homework.figures import curves_png, effects_png
from course_utils.homework.html_parts import Html, join, moment, page, paragraphs, picture, table, tag
from course_utils.homework.schema import Results, Study

if TYPE_CHECKING:  # torch costs seconds to import
    from course_utils.compare import Comparison

SELF_REPORTED = (
    "The numbers in this report are self-reported: they come from a file that the student handed in, made on the student's own machine. "
    "Nothing in the file proves them. An instructor can run any of the settings again and compare."
)
NAMES = {"vae": "VAE", "dcgan": "DCGAN", "diffusion": "Diffusion model"}
ROUND = {"baseline": "class model", "changed": "changed model"}
EMPTY = "Nothing written yet."
CAPTIONS = {  # of the pictures that `pictures.py` makes; others are shown with their file's name
    "samples": "samples of the class model above, of the changed model below, from the same noise",
    "reconstructions": "test images, and what the class model and the changed model make of them",
    "latent-map-class-model": "codes of test images in the class model, coloured by class",
    "latent-map-changed-model": "codes of test images in the changed model, coloured by class",
    "class-shares": "share of each class among the samples, and in the data",
    "fid-over-steps": "FID over the number of sampling steps, for both models",
}


def report_page(results: Results, samples: Mapping[str, bytes], verdict: Any, meaning: Callable[[str, str], str] = lambda *_: "") -> str:
    """Returns the report as a page of HTML.

    Args:
        samples: `{"vae-changed.png": PNG bytes}`, the family in front.
        verdict: of the assignment's rule: `.met`, and `.points` with `.name`, `.ok` and `.message` each.
        meaning: says what a setting means, given a family and a dotted name.
    """
    sections = [study_section(study, samples, meaning) for study in results.experiments]
    return page(
        f"Homework of {results.student}",
        tag("h1", f"Homework of {results.student}"),
        tag("p", SELF_REPORTED, class_="note"),
        facts(results),
        tag("h2", "The assignment, point by point"),
        verdict_list(verdict),
        *(sections or [tag("p", "No model was planned yet.")]),
    )


def facts(results: Results) -> Html:
    """Returns who, with which data, budget, seeds and machines."""
    machines = sorted({row.machine for study in results.experiments for row in study.rows})
    pairs = {
        "Student": results.student,
        "Data": f"{results.dataset.name} (SHA-256 {results.dataset.sha256[:12]}…)",
        "Budget": results.budget,
        "Seeds": ", ".join(map(str, results.seeds)) or "none",
        "Machine": "; ".join(machines) or "nothing ran yet",
        "Course version": results.course_version,
        "Created": moment(results.created),
    }
    return tag("dl", *(join([tag("dt", name), tag("dd", value, dir="auto")]) for name, value in pairs.items()), class_="facts")


def verdict_list(verdict: Any) -> Html:
    """Returns the rule's judgement: one line for the whole, one a point."""
    whole = tag("p", mark(verdict.met, "The rule is met.", "The rule is not met yet."))
    points = [tag("li", mark(point.ok, "met", "missing"), f" {point.name}: {point.message}") for point in verdict.points]
    return join([whole, tag("ul", *points, class_="points")])


def mark(good: bool, yes: str, no: str) -> Html:
    """Returns a judgement by sign, word and colour."""
    return tag("span", f"✓ {yes}" if good else f"✗ {no}", class_="good" if good else "bad")


def study_section(study: Study, samples: Mapping[str, bytes], meaning: Callable[[str, str], str]) -> Html:
    """Returns everything about one model: changes, texts, numbers and pictures."""
    name = NAMES.get(study.family, study.family)
    before, after = study.of_kind("baseline"), study.of_kind("changed")
    found = effects(before, after)
    first_run = min((row.started for row in after), default=None)
    when = f"Written {moment(study.planned)}. "
    when += f"First run of the changed model: {moment(first_run)}." if first_run else "The changed model has not run."
    parts = [
        tag("h2", name),
        tag("h3", "Changes"),
        changes_table(study, meaning),
        tag("h3", "Prediction"),
        said(study.prediction),
        tag("p", when, class_="quiet"),
        tag("h3", "What was measured"),
        effects_table(found, study) if found else tag("p", "Not measured yet: the runs of the class model or of the changed model are missing."),
        *_figures(study, found, name),
        sample_pictures(study.family, samples, name, without=("curves",) if any(row.history for row in study.rows) else ()),
        ablation(study),
        tag("h3", "Observation"),
        said(study.observation),
        tag("h3", "Explanation"),
        said(study.explanation),
        runs_table(study),
    ]
    return tag("section", *parts)


def said(text: str) -> Html:
    """Returns a student's text, set apart as theirs."""
    return tag("blockquote", paragraphs(text) if text.strip() else tag("p", EMPTY, class_="quiet"), class_="text")


def changes_table(study: Study, meaning: Callable[[str, str], str]) -> Html:
    """Returns name with meaning, value in class and value now of each change."""
    has_run = bool(study.of_kind("baseline"))
    rows = []
    for name, before, now in changes_of(study):
        explained = join([tag("code", name), tag("br"), tag("span", meaning(study.family, name), class_="quiet")])
        rows.append((explained, in_short(before) if has_run else "not run", in_short(now)))
    return table(("setting", "in class", "changed to"), rows) if rows else tag("p", "No change was planned.")


def effects_table(found: tuple[Comparison, ...], study: Study) -> Html:
    """Returns each metric before and after with error bars, and the verdict."""
    from course_utils.homework.measure import METRICS

    rows = []
    for one in found:
        better = METRICS[one.name].better if one.name in METRICS else ""
        name = join([one.name, tag("br"), tag("span", f"{better} is better", class_="quiet")]) if better else one.name
        numbers = one.baseline.number, one.changed.number, f"{difference(one):+.3g}"
        rows.append((name, *numbers, mark_verdict(judgement(one, study.changes)), f"{one.changed.num_images:,}"))
    caption = "Mean over seeds ± one standard error. Real: more than chance explains; of models that are equal, one metric in twenty says so too."
    return table(("metric", "class model", "changed model", "difference", "verdict", "images"), rows, caption)


def mark_verdict(words: str) -> Html:
    """Returns a verdict in words, in bold where the difference is real."""
    return tag("strong" if words == "real" else "span", words)


def _figures(study: Study, found: tuple[Comparison, ...], name: str) -> list[Html]:
    pictures = []
    if found:
        alt = "; ".join(f"{one.name}: class {one.baseline.number}, changed {one.changed.number}" for one in found)
        alt = f"{name}, metrics of class model and changed model. {alt}."
        pictures.append(picture(effects_png(found), alt, "Bars: ± 2 standard errors.", chart=True))
    curves = curves_png(study)
    if curves is not None:
        alt = f"{name}: training curves of the class model and of the changed model, one line a seed."
        pictures.append(picture(curves, alt, "Training curves, one line a seed.", chart=True))
    return pictures


def sample_pictures(family: str, samples: Mapping[str, bytes], name: str, without: Container[str] = ()) -> Html | None:
    """Returns the pictures of one family, or None where there are none.

    Args:
        family: "vae", "dcgan" or "diffusion".
        samples: `{"vae-samples.png": PNG bytes}`.
        name: of the family, for people.
        without: names of pictures that the page shows already, such as "curves".
    """
    own = {key.removesuffix(".png").removeprefix(f"{family}-"): data for key, data in samples.items() if key.startswith(f"{family}-")}
    figures = []
    for label, data in own.items():
        if label not in without:
            words = label.replace("-", " ").replace("_", " ")
            shown = CAPTIONS.get(label, words)
            figures.append(picture(data, f"{name}, {words}: {shown}.", f"{shown[0].upper()}{shown[1:]}."))
    return tag("div", *figures, class_="samples") if figures else None


def ablation(study: Study) -> Html | None:
    """Returns the metrics with one change left out at a time, or None where that was not run."""
    baseline, changed = study.of_kind("baseline"), study.of_kind("changed")
    left_out = {name: effects(changed, study.of_kind("ablation", name)) for name in study.changes}
    left_out = {f"all but {name}": found for name, found in left_out.items() if found}
    if not left_out:
        return None
    metrics = [one.name for one in next(iter(left_out.values()))]
    lines = {"no change": {one.name: one.baseline.number for one in effects(baseline, changed)}}
    lines["all changes"] = {one.name: one.baseline.number for one in next(iter(left_out.values()))}
    for label, found in left_out.items():
        lines[label] = {one.name: one.changed.number + (" (real)" if one.verdict else "") for one in found}
    caption = "(real): differs from all changes together by more than noise, so the change that was left out mattered."
    rows = [(label, *(cells.get(name, "-") for name in metrics)) for label, cells in lines.items()]
    return join([tag("h3", "Which change did it"), table(("model", *metrics), rows, caption)])


def runs_table(study: Study) -> Html:
    """Returns every run, folded away."""
    rows = [
        (
            tag("code", row.key[:10]),
            ROUND.get(row.kind, f"without {row.ablated}"),
            row.seed,
            moment(row.started),
            f"{row.training_seconds:.0f} s",
            f"{row.sampling_seconds:.1f} s",
        )
        for row in study.rows
    ]
    body = table(("run", "model", "seed", "started", "training", "sampling"), rows) if rows else tag("p", "None.")
    return tag("details", tag("summary", f"All runs ({len(rows)})"), body)
