"""The figures of the homework's pages as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from course_utils.homework.effects import in_short
from course_utils.homework.schema import Results, Study

if TYPE_CHECKING:  # torch and matplotlib cost seconds to import
    from matplotlib.figure import Figure

    from course_utils.compare import Comparison
    from course_utils.metrics.result import Measurement

DPI = 110


@contextmanager
def course_style() -> Iterator[None]:
    """Draws in the look of the course inside the block, whatever the process has set."""
    import matplotlib

    from course_utils.style import OKABE_ITO, RC_PARAMS

    with matplotlib.rc_context({**RC_PARAMS, "axes.prop_cycle": matplotlib.cycler(color=OKABE_ITO)}):
        yield


def figure_png(figure: Figure) -> bytes:
    """Returns a figure as PNG; equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def effects_png(found: Sequence[Comparison]) -> bytes:
    """Returns each metric before and after, with error bars."""
    from course_utils.plotting.homework import before_and_after

    groups = {one.name: {"class": _pair(one.baseline), "changed": _pair(one.changed)} for one in found}
    with course_style():
        return figure_png(before_and_after(groups))


def curves_png(study: Study) -> bytes | None:
    """Returns the training curves of the class model and the changed model, or None where the runs have none."""
    from course_utils.plotting.homework import curve_terms, seed_curves

    sides = {"class": study.of_kind("baseline"), "changed": study.of_kind("changed")}
    histories = {name: [row.history for row in rows] for name, rows in sides.items()}
    terms = curve_terms([history for runs in histories.values() for history in runs])
    with course_style():
        return figure_png(seed_curves(histories, terms)) if terms else None


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
        drawn = figure_png(parameter_scatter(panels, metric, sum(baseline) / len(baseline) if baseline else None))
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
