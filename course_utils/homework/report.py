"""The report of one student as a page: opens offline, prints well, and shows whatever the student wrote as plain text."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.homework.measure import changes_of, difference, effects, in_short, judgement
from course_utils.homework.schema import Results, Study
from tools.site import PAGE_CSS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from course_utils.metrics.measurement import Measurement
    from course_utils.studies.significance import SeedComparison

HOMEWORK_CSS = """
:root { color-scheme: light dark; --line: #d0d7de; --quiet: #57606a; --soft: #f6f8fa; --good: #116329; --bad: #a40e26; }
body { max-width: 62rem; }
h2 { border-top: 1px solid var(--line); padding-top: 1.4rem; }
p, li, dd { max-width: 44rem; }
.note { border-left: 4px solid #b35900; background: var(--soft); padding: 0.5rem 1rem; margin: 1rem 0; max-width: 44rem; }
.note code { white-space: nowrap; }
.quiet { color: var(--quiet); font-size: 0.92rem; font-weight: normal; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1.2rem; }
dl.facts dt { color: var(--quiet); } dl.facts dd { margin: 0; }
.scroll { overflow-x: auto; margin: 0.8rem 0; }
.scroll table { display: table; margin: 0; max-width: none; }
th, td { text-align: left; vertical-align: top; } th { font-weight: 600; } tbody th { background: none; }
tbody th { min-width: 6.5rem; } td { min-width: 4.5rem; } td ul.points { margin: 0; }
td.number, th.number { text-align: right; white-space: nowrap; }
blockquote.text { border-left-color: var(--line); background: var(--soft); margin: 0.6rem 0; max-width: 46rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .good, .bad { font-weight: 600; }
ul.points { list-style: none; padding-left: 0; } ul.points li { margin: 0.25rem 0; }
figure { margin: 1rem 0; } figure img { background: #fff; border-radius: 4px; } figcaption { color: var(--quiet); font-size: 0.92rem; }
.samples { display: flex; flex-wrap: wrap; gap: 1rem; } .samples figure { flex: 1 1 28rem; max-width: 44rem; margin: 0; }
.samples img { width: 100%; }
@media (max-width: 30rem) {
  dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin-bottom: 0.5rem; }
  th, td { padding: 0.3rem 0.45rem; } .chart img { max-width: none; width: 40rem; }
}
@media (prefers-color-scheme: dark) {
  :root { --line: #3d444d; --quiet: #9198a1; --soft: #1c2128; --good: #56d364; --bad: #ff7b72; }
  body { background: #0d1117; color: #e6edf3; } a { color: #79c0ff; } th { background: #1c2128; } tbody th { background: none; }
  th, td { border-color: #3d444d; } code { background: #1c2128; } .note { border-left-color: #d29922; } details { border-color: #3d444d; }
}
@media print {
  @page { margin: 18mm 15mm; }
  :root { color-scheme: light; --line: #d0d7de; --quiet: #57606a; --soft: #f6f8fa; --good: #116329; --bad: #a40e26; }
  body { max-width: none; padding: 0; background: #fff; color: #000; font-size: 10.5pt; }
  .scroll { overflow: visible; } th { background: none; } th, td { border-color: #d0d7de; padding: 0.15rem 0.4rem; }
  figure, table, .note, blockquote { break-inside: avoid; } h2, h3 { break-after: avoid; } a { color: inherit; }
}
"""


# The second line of defence: where a browser reads this, nothing but pictures and styles in the page itself is ever loaded or run.
SECURITY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
VOID = {"br", "img", "meta"}
NAME = re.compile(r"[a-z][a-z0-9-]*")


class Html(str):
    """Text that is HTML already. Only the functions of this file make it."""


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Returns an element; text among its children and in its attributes is escaped.

    Args:
        children: Html as it is, anything else as text; None is left out.
        attributes: a trailing underscore keeps clear of Python's words (`class_`), other underscores become hyphens; None is left out.

    Raises:
        CourseError: names of elements or attributes that are none.
    """
    written = ""
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if not NAME.fullmatch(key) or key.startswith("on"):
            raise CourseError(f"expected the name of an attribute that runs nothing, got {key!r}.")
        written += "" if value is None else f' {key}="{html.escape(str(value))}"'
    if not NAME.fullmatch(name) or name in ("script", "iframe", "object", "embed"):
        raise CourseError(f"expected the name of an element that runs nothing, got {name!r}.")
    return Html(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Returns children one after the other, text escaped."""
    return Html("".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children if child is not None))


def paragraphs(text: str) -> Html:
    """Returns plain text as paragraphs: an empty line begins a new one, a line break stays. Each finds its own direction of writing."""
    blocks = [block for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()) if block]
    return join(tag("p", join(_broken(block)), dir="auto") for block in blocks)


def _broken(block: str) -> list[object]:
    parts: list[object] = []
    for line in block.split("\n"):
        parts += [tag("br"), line] if parts else [line]
    return parts


def table(head: Sequence[object], rows: Iterable[Sequence[object]], caption: str | None = None, numbers_from: int = 1) -> Html:
    """Returns a table in a box that scrolls on narrow screens.

    Args:
        numbers_from: columns from this one on are aligned to the right.
    """

    def cell(name: str, column: int, content: object, /, **attributes: object) -> Html:
        return tag(name, content, class_="number" if column >= numbers_from else None, **attributes)

    top = tag("tr", *(cell("th", column, content, scope="col") for column, content in enumerate(head)))
    body = [tag("tr", *(cell("th" if column == 0 else "td", column, content) for column, content in enumerate(row))) for row in rows]
    whole = tag("table", tag("thead", top), tag("tbody", *body))
    box = tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption or "table")
    return box if caption is None else join([tag("p", caption, class_="quiet"), box])


def picture(png: bytes, alt: str, caption: object = None, *, chart: bool = False) -> Html:
    """Returns a PNG that stands in the page itself, with a text for those who do not see it; a chart scrolls on a phone rather than shrinking."""
    address = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    image = tag("img", src=address, alt=alt)
    box = tag("div", image, class_="scroll chart", tabindex="0", role="region", aria_label="chart") if chart else image
    return tag("figure", box, None if caption is None else tag("figcaption", caption))


def show_moment(date: str) -> str:
    """Returns an ISO date as people write it, such as "2025-03-01 12:30 UTC"."""
    day, _, time = date.partition("T")
    zone = "UTC" if date.endswith(("Z", "+00:00")) else re.sub(r".*?([+-]\d\d:\d\d)?$", r"\1", time)
    return f"{day} {time[:5]} {zone}".strip()


def page(title: str, *body: object) -> str:
    """Returns a whole page that opens offline, prints well, and reads on a phone and in the dark."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=SECURITY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(PAGE_CSS + HOMEWORK_CSS)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"


DPI = 110


@contextmanager
def course_style() -> Iterator[None]:
    """Draws in the look of the course inside the block, whatever the process has set."""
    import matplotlib

    from course_utils.plotting.canvas import OKABE_ITO, RC_PARAMS

    with matplotlib.rc_context({**RC_PARAMS, "axes.prop_cycle": matplotlib.cycler(color=OKABE_ITO)}):
        yield


def report_png(figure: Figure) -> bytes:
    """Returns a figure as PNG; equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def effects_png(found: Sequence[SeedComparison]) -> bytes:
    """Returns each metric before and after, with error bars."""
    from course_utils.plotting.homework import before_and_after

    groups = {one.name: {"class": _pair(one.baseline), "changed": _pair(one.changed)} for one in found}
    with course_style():
        return report_png(before_and_after(groups))


def curves_png(study: Study) -> bytes | None:
    """Returns the training curves of the class model and the changed model, or None where the runs have none."""
    from course_utils.plotting.homework import curve_terms, seed_curves

    sides = {"class": study.of_kind("baseline"), "changed": study.of_kind("changed")}
    histories = {name: [row.history for row in rows] for name, rows in sides.items()}
    terms = curve_terms([history for runs in histories.values() for history in runs])
    with course_style():
        return report_png(seed_curves(histories, terms)) if terms else None


def class_png(class_results: Sequence[Results], family: str, metric: str, max_parameters: int = 9) -> tuple[bytes, str] | None:
    """Returns all runs of one family in a class as one scatter of parameter against metric, and the text for those who do not see it.

    One panel for each setting that somebody changed, those that most changed first. None where no run has the metric.
    """
    from course_utils.plotting.homework import parameter_scatter

    studies = [study for results in class_results for study in results.experiments if study.family == family]
    counts: dict[str, int] = {}
    for name in (name for study in studies for name in study.changes):
        counts[name] = counts.get(name, 0) + 1
    names = sorted(counts, key=lambda name: (-counts[name], name))[:max_parameters]
    panels = {name: points for name in names if (points := _points(studies, name, metric))}
    if not panels:
        return None
    baseline = [row.metrics[metric].value for study in studies for row in study.of_kind("baseline") if metric in row.metrics]
    with course_style():
        drawn = report_png(parameter_scatter(panels, metric, sum(baseline) / len(baseline) if baseline else None))
    told = ", ".join(f"{name} (changed by {counts[name]})" for name in panels)
    return drawn, f"{metric} of every {family} run of the class against {told}; dashed: mean of the class model."


def _points(studies: Sequence[Study], name: str, metric: str) -> dict[str, list[tuple[Any, float]]]:
    """Returns value of one setting and metric of every run of the students who changed it, class models and others apart."""
    groups: dict[str, list[tuple[Any, float]]] = {"class model": [], "changed models": []}
    for study in studies:
        for row in study.rows:
            if name in study.changes and metric in row.metrics and name in row.settings:
                value = row.settings[name]
                place = value if isinstance(value, (int, float)) and not isinstance(value, bool) else in_short(value)
                groups["class model" if row.kind == "baseline" else "changed models"].append((place, row.metrics[metric].value))
    return groups if any(groups.values()) else {}


def _pair(measured: Measurement) -> tuple[float, float]:
    return measured.value, measured.error


SELF_REPORTED = (
    "The numbers in this report are self-reported: they come from a file that the student handed in, made on the student's own machine. "
    "Nothing in the file proves them. An instructor can run any of the settings again and compare."
)
NAMES = {"vae": "VAE", "dcgan": "DCGAN", "diffusion": "Diffusion model"}
ROUND = {"baseline": "class model", "changed": "changed model"}
EMPTY = "Nothing written yet."
CAPTIONS = {  # of the pictures that `homework/pictures.py` makes; others are shown with their file's name
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
        "Created": show_moment(results.created),
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
    when = f"Written {show_moment(study.planned)}. "
    when += f"First run of the changed model: {show_moment(first_run)}." if first_run else "The changed model has not run."
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


def effects_table(found: tuple[SeedComparison, ...], study: Study) -> Html:
    """Returns each metric before and after with error bars, and the verdict."""
    from course_utils.homework.measure import HOMEWORK_METRICS

    rows = []
    for one in found:
        better = HOMEWORK_METRICS[one.name].better if one.name in HOMEWORK_METRICS else ""
        name = join([one.name, tag("br"), tag("span", f"{better} is better", class_="quiet")]) if better else one.name
        numbers = one.baseline.number, one.changed.number, f"{difference(one):+.3g}"
        rows.append((name, *numbers, mark_verdict(judgement(one, study.changes)), f"{one.changed.num_images:,}"))
    caption = "Mean over seeds ± one standard error. Real: more than chance explains; of models that are equal, one metric in twenty says so too."
    return table(("metric", "class model", "changed model", "difference", "verdict", "images"), rows, caption)


def mark_verdict(words: str) -> Html:
    """Returns a verdict in words, in bold where the difference is real."""
    return tag("strong" if words == "real" else "span", words)


def _figures(study: Study, found: tuple[SeedComparison, ...], name: str) -> list[Html]:
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
            show_moment(row.started),
            f"{row.training_seconds:.0f} s",
            f"{row.sampling_seconds:.1f} s",
        )
        for row in study.rows
    ]
    body = table(("run", "model", "seed", "started", "training", "sampling"), rows) if rows else tag("p", "None.")
    return tag("details", tag("summary", f"All runs ({len(rows)})"), body)
