"""The report of one student as a page.

It opens offline, prints well, and shows whatever the student wrote as plain text: the templates
escape every value, and the page's policy lets a browser run and load nothing.
"""

from __future__ import annotations

import base64
import functools
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from course_utils.homework.archive import SAMPLES, clean_png
from course_utils.homework.measure import changes_of, difference, effects, in_short, judgement
from course_utils.homework.own import code_diff
from course_utils.homework.schema import Results, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from course_utils.metrics.measurement import Measurement
    from course_utils.studies.significance import SeedComparison

TEMPLATES = Path(__file__).parent / "templates"
# The second line of defence: nothing but pictures and styles in the page itself is loaded or run.
SECURITY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
NAMES = {"vae": "VAE", "dcgan": "DCGAN", "diffusion": "Diffusion model"}
MODELS = {"baseline": "class model", "changed": "changed model"}
CAPTIONS = {  # of the pictures that `homework/pictures.py` makes; others show their file's name
    "samples-before": "samples of the student's own code before the change",
    "samples-after": "samples of the student's own code after the change",
    "samples": "samples of the class model above, of the changed model below, from the same noise",
    "reconstructions": "test images, and what the class model and the changed model make of them",
    "latent-map-class-model": "codes of test images in the class model, coloured by class",
    "latent-map-changed-model": "codes of test images in the changed model, coloured by class",
    "class-shares": "share of each class among the samples, and in the data",
    "fid-over-steps": "FID over the number of sampling steps, for both models",
}
GALLERY = ("samples", "samples-before", "samples-after")  # what the report shows first
DPI = 110


@dataclass(frozen=True)
class PagePicture:
    """A PNG in a page, with a text for those who do not see it."""

    png: bytes
    alt: str
    caption: str
    is_chart: bool = False


def report_page(
    results: Results,
    samples: Mapping[str, bytes],
    verdict: Any,
    meaning: Callable[[str, str], str] = lambda family, name: "",
) -> str:
    """Returns the report as a page of HTML.

    Args:
        samples: `{"vae-changed.png": PNG bytes}`, the family in front; they are written anew.
        verdict: of the assignment's rule: `.met`, and `.points` with `.name`, `.ok` and `.message`.
        meaning: says what a setting means, given a family and a dotted name.

    Raises:
        CourseError: a picture that is no plain PNG, or too large.
    """
    clean = {name: clean_png(data, f"{SAMPLES}/{name}") for name, data in samples.items()}
    return render_page(
        "report.html",
        title=f"Homework of {results.student}",
        facts=_facts(results),
        verdict=verdict,
        gallery=[one for study in results.experiments for one in _gallery(study.family, clean)],
        studies=[
            _study_parts(study, clean, meaning, results.budget) for study in results.experiments
        ],
    )


def render_page(template: str, **values: Any) -> str:
    """Returns one of the templates as a page; every value is escaped where it stands."""
    return "".join(page_parts(template, **values))


def page_parts(template: str, **values: Any) -> Iterator[str]:
    """Yields the same piece by piece: a page with pictures of a whole class is large."""
    yield from _templates().get_template(template).generate({"security": SECURITY, **values})
    yield "\n"


@functools.cache
def _templates() -> Environment:
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), lstrip_blocks=True, **options)
    environment.filters |= {
        "base64": lambda png: base64.b64encode(png).decode("ascii"),
        "moment": show_moment,
        "paragraphs": paragraphs,
        "run_rows": _run_rows,
    }
    return environment


def paragraphs(text: str) -> list[list[str]]:
    """Returns plain text as paragraphs of lines: an empty line begins a new paragraph."""
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())
    return [block.split("\n") for block in blocks if block]


def show_moment(date: str) -> str:
    """Returns an ISO date as people write it, such as "2025-03-01 12:30 UTC"."""
    day, _, time = date.partition("T")
    is_utc = date.endswith(("Z", "+00:00"))
    zone = "UTC" if is_utc else re.sub(r".*?([+-]\d\d:\d\d)?$", r"\1", time)
    return f"{day} {time[:5]} {zone}".strip()


def _facts(results: Results) -> dict[str, str]:
    """Returns who, with which data, budget, seeds and machines."""
    machines = sorted({row.machine for study in results.experiments for row in study.rows})
    return {
        "Student": results.student,
        "Data": f"{results.dataset.name} (SHA-256 {results.dataset.sha256[:12]}…)",
        "Budget": results.budget,
        "Seeds": ", ".join(map(str, results.seeds)) or "none",
        "Machine": "; ".join(machines) or "nothing ran yet",
        "Course version": results.course_version,
        "Created": show_moment(results.created),
    }


def _study_parts(
    study: Study, samples: Mapping[str, bytes], meaning: Callable[[str, str], str], budget: str
) -> dict[str, Any]:
    """Returns what the template shows of one model: changes, numbers and pictures."""
    before, after = study.of_kind("baseline"), study.of_kind("changed")
    found = effects(before, after)
    changes = []
    for name, value, now in changes_of(study):
        in_class = in_short(value) if before else "not run"
        changes.append(((name, meaning(study.family, name)), in_class, in_short(now)))
    has_curves = any(row.history for row in study.rows)
    return {
        "study": study,
        "name": NAMES.get(study.family, study.family),
        "changes": changes,
        "length": _length_of(study, budget),
        "diff": code_diff(study.own_code) if study.own_code is not None else "",
        "first_run": min((row.started for row in after), default=None),
        "effects": [_effect_row(effect, study) for effect in found],
        "charts": _charts(study, found),
        "pictures": sample_pictures(
            study.family, samples, (*GALLERY, *(("curves",) if has_curves else ()))
        ),
        "ablation": _ablation(study),
    }


def _length_of(study: Study, budget: str) -> str:
    """Returns how long both models were trained, and how long the class's is in class; "" where the
    student's own code decides it.
    """
    from course_utils.homework.parameters import lengths_in_words

    if study.own_code is not None:
        return ""
    words = lengths_in_words(study.family, budget, study.changes)
    found = (row.settings.get("train.min_epoch_steps") for row in study.rows)
    steps = {value for value in found if isinstance(value, int)}
    if words and len(steps) == 1:
        words += f" The pictures are few, so each epoch repeats them for {steps.pop()} steps."
    return words


def _effect_row(effect: SeedComparison, study: Study) -> tuple[object, ...]:
    """Returns (name, better direction), before, after, difference, verdict, number of images."""
    from course_utils.homework.measure import HOMEWORK_METRICS

    info = HOMEWORK_METRICS.get(effect.name)
    return (
        (effect.name, info.better if info else ""),
        effect.baseline.number,
        effect.changed.number,
        f"{difference(effect):+.3g}",
        (judgement(effect, study.changes), effect.reason),
        f"{effect.changed.num_images:,}",
    )


def _charts(study: Study, found: Sequence[SeedComparison]) -> list[PagePicture]:
    """Returns the metrics before and after, and the training curves, as far as they are there."""
    name, charts = NAMES.get(study.family, study.family), []
    if found:
        numbers = [
            f"{one.name}: class {one.baseline.number}, changed {one.changed.number}"
            for one in found
        ]
        alt = f"{name}, metrics of class model and changed model. {'; '.join(numbers)}."
        charts.append(PagePicture(effects_png(found), alt, "Bars: ± 2 standard errors.", True))
    curves = curves_png(study)
    if curves is not None:
        caption = "Training curves, one line a seed."
        models = "training curves of the class model and of the changed model"
        charts.append(PagePicture(curves, f"{name}: {models}, one line a seed.", caption, True))
    return charts


def sample_pictures(
    family: str, samples: Mapping[str, bytes], without: Container[str] = ()
) -> list[PagePicture]:
    """Returns the pictures of one family.

    Args:
        family: "vae", "dcgan" or "diffusion".
        samples: `{"vae-samples.png": PNG bytes}`.
        without: names of pictures that the page shows already, such as "curves".
    """
    name, pictures = NAMES.get(family, family), []
    for file_name, png in samples.items():
        label = file_name.removesuffix(".png").removeprefix(f"{family}-")
        if file_name.startswith(f"{family}-") and label not in without:
            words = label.strip("-_. ").replace("-", " ").replace("_", " ") or "picture"
            caption = CAPTIONS.get(label, words)
            sentence = f"{caption[0].upper()}{caption[1:]}."
            pictures.append(PagePicture(png, f"{name}, {words}: {caption}.", sentence))
    return pictures


def _gallery(family: str, samples: Mapping[str, bytes]) -> list[PagePicture]:
    """Returns the pictures of samples of one family, which stand at the front of the report."""
    wanted = {f"{family}-{label}.png" for label in GALLERY}
    found = sample_pictures(family, {name: samples[name] for name in samples if name in wanted})
    name = NAMES.get(family, family)
    return [
        replace(one, caption=f"{name}: {one.caption[0].lower()}{one.caption[1:]}") for one in found
    ]


def _ablation(study: Study) -> dict[str, Any] | None:
    """Returns head and rows of the metrics with one change left out at a time, None without."""
    baseline, changed = study.of_kind("baseline"), study.of_kind("changed")
    lines = {"no change": {one.name: one.baseline.number for one in effects(baseline, changed)}}
    metrics: list[str] = []
    for name in study.changes:
        found = effects(changed, study.of_kind("ablation", name))
        if found and not metrics:
            metrics = [one.name for one in found]
            lines["all changes"] = {one.name: one.baseline.number for one in found}
        if found:
            lines[f"all but {name}"] = {
                one.name: one.changed.number + (" (real)" if one.verdict else "") for one in found
            }
    rows = [(label, *(cells.get(name, "-") for name in metrics)) for label, cells in lines.items()]
    return {"head": ("model", *metrics), "rows": rows} if metrics else None


def _run_rows(study: Study) -> list[tuple[object, ...]]:
    return [
        (
            row.key[:10],
            MODELS.get(row.kind, f"without {row.ablated}"),
            row.seed,
            show_moment(row.started),
            f"{row.training_seconds:.0f} s",
            f"{row.sampling_seconds:.1f} s",
        )
        for row in study.rows
    ]


@contextmanager
def course_style() -> Iterator[None]:
    """Draws in the look of the course inside the block, whatever the process has set."""
    import matplotlib
    from matplotlib.rcsetup import cycler

    from course_utils.plotting.canvas import OKABE_ITO, RC_PARAMS

    colours = cycler(color=OKABE_ITO)
    with matplotlib.rc_context({**RC_PARAMS, "axes.prop_cycle": colours}):
        yield


def report_png(figure: Figure) -> bytes:
    """Returns a figure as PNG; equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def effects_png(found: Sequence[SeedComparison]) -> bytes:
    """Returns each metric before and after, with error bars."""
    from course_utils.homework.measure import HOMEWORK_METRICS
    from course_utils.homework.rule import NEVER_NEGATIVE, SHARES
    from course_utils.plotting.homework import before_and_after

    groups = {
        one.name: {"class": _pair(one.baseline), "changed": _pair(one.changed)} for one in found
    }
    units = {name: info.unit for name, info in HOMEWORK_METRICS.items()}
    bounds = {name: (0.0, math.inf) for name in NEVER_NEGATIVE}
    bounds |= {name: (0.0, 1.0) for name in SHARES}
    with course_style():
        return report_png(before_and_after(groups, units, bounds))


def curves_png(study: Study) -> bytes | None:
    """Returns the training curves of both models, or None where the runs have none."""
    from course_utils.homework.measure import curve_panels
    from course_utils.plotting.homework import curve_terms, seed_curves

    histories = {
        "class": [row.history for row in study.of_kind("baseline")],
        "changed": [row.history for row in study.of_kind("changed")],
    }
    terms = curve_terms(histories["class"] + histories["changed"])
    panels = curve_panels(study.family if study.own_code is None else "", terms)
    with course_style():
        return report_png(seed_curves(histories, list(panels), panels)) if panels else None


def class_png(
    class_results: Sequence[Results], family: str, metric: str, max_parameters: int = 9
) -> tuple[bytes, str] | None:
    """Returns all runs of one family in a class as one picture, and alt text.

    One panel for each setting that somebody changed, those that most changed first. None where no
    run has the metric.
    """
    from course_utils.homework.parameters import FAMILIES, settings_of
    from course_utils.plotting.homework import parameter_scatter

    everyone = [study for results in class_results for study in results.experiments]
    studies = [study for study in everyone if study.family == family]
    counts = Counter(name for study in studies for name in study.changes)
    names = sorted(counts, key=lambda name: (-counts[name], name))[:max_parameters]
    panels = {name: points for name in names if (points := _points(studies, name, metric))}
    if not panels:
        return None
    rows = [row for study in studies for row in study.of_kind("baseline")]
    baseline = [row.metrics[metric].value for row in rows if metric in row.metrics]
    mean = sum(baseline) / len(baseline) if baseline else None
    known = settings_of(family) if family in FAMILIES else {}
    units = {name: known[name].unit for name in panels if name in known}
    with course_style():
        drawn = report_png(parameter_scatter(panels, metric, mean, units))
    told = ", ".join(f"{name} (changed by {counts[name]})" for name in panels)
    runs = f"{metric} of every {family} run of the class against {told}"
    return drawn, f"{runs}; dashed: mean of the class model."


def _points(studies: Sequence[Study], name: str, metric: str) -> dict[str, list[tuple[Any, float]]]:
    """Returns (value of a setting, metric) of every run of the students who changed it."""
    groups: dict[str, list[tuple[Any, float]]] = {"class model": [], "changed models": []}
    rows = [row for study in studies if name in study.changes for row in study.rows]
    for row in rows:
        if metric in row.metrics and name in row.settings:
            value = row.settings[name]
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            group = "class model" if row.kind == "baseline" else "changed models"
            place = value if is_number else in_short(value)
            groups[group].append((place, row.metrics[metric].value))
    return groups if any(groups.values()) else {}


def _pair(measured: Measurement) -> tuple[float, float]:
    return measured.value, measured.error
