"""Figures of the homework: training curves of several seeds, metrics before and after, and a whole
class in one picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import with_error
from course_utils.plotting.canvas import OKABE_ITO, describe, new_figure
from course_utils.plotting.charts import MARKERS, column_title
from course_utils.plotting.words import lines_words, rounded, spoken, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

NOT_DRAWN = {"epoch", "step", "seconds"}
MAX_PANELS = 6
TITLE_WIDTH = 18  # characters a line: a longer title would be cut off at its neighbour
WIDE = 10  # values that span more than this factor stand on a logarithmic axis


def curve_terms(histories: Sequence[Mapping[str, Sequence[float]]]) -> list[str]:
    """Returns the curves that can be drawn of some runs: columns without their split, such as
    "discriminator loss" for "discriminator.train.loss".
    """
    names = dict.fromkeys(
        _term(column) for history in histories for column, values in history.items() if values
    )
    return [name for name in names if name.split()[-1] not in NOT_DRAWN]


def seed_curves(
    histories: Mapping[str, Sequence[Mapping[str, Sequence[float]]]],
    terms: Sequence[str],
    named: Mapping[str, tuple[str, str]] | None = None,
) -> Figure:
    """Returns one panel a term over epochs, one line a run: groups differ by colour and marker,
    test values are dashed. Runs that count steps and no epochs are drawn over steps.

    Args:
        histories: `{group: [{column: one value an epoch} of each seed]}`; columns such as
            "train.loss" or "discriminator.test.loss".
        terms: of `curve_terms`; at most 6 are drawn.
        named: `{term: (title, unit)}`, the latter "" where there is none; None makes titles of the
            terms.

    Raises:
        CourseError: no terms.
    """
    if not terms:
        raise CourseError("expected training curves, got none.")
    fig, panels = _panels(len(terms[:MAX_PANELS]))
    for axes, term in zip(panels, terms):
        title, unit = (named or {}).get(term, (column_title(term), ""))
        across = ""
        for (group, runs), colour, marker in zip(histories.items(), OKABE_ITO, MARKERS):
            for index, run in enumerate(runs):
                for column in (column for column in run if _term(column) == term):
                    test = "test" in column.split(".")
                    label = f"{group}, {'test' if test else 'train'}" if index == 0 else None
                    look = {
                        "linestyle": "--" if test else "-",
                        "marker": marker,
                        "markersize": 4,
                        "color": colour,
                        "alpha": 0.8,
                    }
                    across, places = _across(run, column)
                    axes.plot(places, run[column], label=label, **look)
        axes.set(title=textwrap.fill(title, TITLE_WIDTH), xlabel=across, ylabel=unit)
        locator = cast("MaxNLocator", axes.xaxis.get_major_locator())  # of every axis of numbers
        locator.set_params(integer=True)
    _legend(fig)
    return describe(fig, partial(lines_words, "Training curves (in words: first seed)", panels))


def _term(column: str) -> str:
    """Returns a column's name in words, without the split."""
    return " ".join(part for part in column.split(".") if part not in ("train", "test"))


def _across(run: Mapping[str, Sequence[float]], column: str) -> tuple[str, Sequence[float]]:
    """Returns what a column goes over, and where its values stand: epochs or steps, as the run says
    it, else the values counted from 1.
    """
    for name in ("epoch", "step"):
        own = run.get(".".join([*column.split(".")[:-1], name]), ())
        if len(own) == len(run[column]):
            return name, own
    return "number of the value", range(1, len(run[column]) + 1)


def before_and_after(
    metrics: Mapping[str, Mapping[str, tuple[float, float]]],
    units: Mapping[str, str] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Returns one small panel a metric: each group a dot with a bar of two standard errors to each
    side.

    Args:
        metrics: `{metric: {group: (value, standard error)}}`, the same groups in each; an error may
            be NaN, which draws no bar.
        units: `{metric: unit}`, for those that have one.
        bounds: `{metric: (least, largest possible value)}`; no axis goes beyond them.
    """
    fig, panels = _panels(len(metrics), height=1.9)
    for axes, (name, groups) in zip(panels, metrics.items()):
        for place, ((value, error), colour, marker) in enumerate(
            zip(groups.values(), OKABE_ITO, MARKERS)
        ):
            axes.errorbar(
                place,
                value,
                yerr=2 * error if error == error else None,
                fmt="none",
                ecolor=colour,
                capsize=4,
            )
            # a dot on the edge is whole; the bar of a share may reach beyond it and is cut there
            axes.plot(place, value, marker, color=colour, markersize=7, clip_on=False, zorder=3)
        axes.set_xticks(range(len(groups)), list(groups))
        unit = (units or {}).get(name, "")
        axes.set(title=name, ylabel=unit, xlim=(-0.6, len(groups) - 0.4))
        axes.margins(y=0.2)
        _keep_within(axes, [value for value, _ in groups.values()], (bounds or {}).get(name))
        axes.grid(axis="y", alpha=0.3)
    numbers = {}
    for name, groups in metrics.items():
        each = [f"{group} {with_error(*value)}" for group, value in groups.items()]
        numbers[f"{name}:"] = ", ".join(each)
    return describe(fig, summary("Dots with error bars, one panel a metric", numbers))


def _keep_within(axes: Axes, values: Sequence[float], bounds: tuple[float, float] | None) -> None:
    """Cuts the vertical axis at what is possible, unless a value that cannot be lies beyond it."""
    if bounds is not None and bounds[0] <= min(values) and max(values) <= bounds[1]:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, bounds[0]), min(high, bounds[1]))


def parameter_scatter(
    panels: Mapping[str, Mapping[str, Sequence[tuple[Any, float]]]],
    metric: str,
    reference: float | None = None,
    units: Mapping[str, str] | None = None,
) -> Figure:
    """Returns one panel a parameter, one point a run: the parameter's value across, the metric up.

    Args:
        panels: `{parameter: {group: [(value, metric)]}}`; values are numbers, or anything else,
            which then stand side by side.
        metric: name of the vertical axis.
        reference: drawn as a dashed line where given, such as the baseline's mean.
        units: `{parameter: unit}`, for those that have one.

    Raises:
        CourseError: no parameter.
    """
    if not panels:
        raise CourseError("expected at least one parameter with runs, got none.")
    fig, all_axes = _panels(len(panels))
    for place, (axes, (name, groups)) in enumerate(zip(all_axes, panels.items())):
        places, ticks = _places([value for points in groups.values() for value, _ in points])
        for (group, points), colour, marker in zip(groups.items(), OKABE_ITO, MARKERS):
            x, y = [places[_key(value)] for value, _ in points], [height for _, height in points]
            axes.plot(
                x, y, marker, color=colour, markersize=5, alpha=0.6, linestyle="", label=group
            )
        _set_axis(axes, ticks, list(places.values()))
        if reference is not None:
            axes.axhline(reference, linestyle="--", color="black", linewidth=1)
        unit = (units or {}).get(name, "")
        axes.set(title=name, xlabel=unit, ylabel="" if place % _columns(len(panels)) else metric)
        if axes is not all_axes[0]:
            axes.sharey(all_axes[0])
    _legend(fig)
    ranges = {}
    for name, groups in panels.items():
        heights = [height for points in groups.values() for _, height in points]
        span = f"{rounded(min(heights))} to {rounded(max(heights))}"
        ranges[f"{name}:"] = f"{len(heights)} runs from {span}"
    closing = "" if reference is None else f"Dashed line at {rounded(reference)}."
    opening = f"Dots, one for each run, {spoken(metric)} over each parameter"
    return describe(fig, summary(opening, ranges, closing=closing))


def challenge_board(entries: Mapping[str, Mapping[int, tuple[float, float]]]) -> Figure:
    """Returns FID over network calls, both on logarithmic axes, one line for each student.

    Args:
        entries: `{student: {number of calls: (FID, error)}}`.
    """
    fig = new_figure(3.6)
    axes = fig.subplots()
    all_calls = sorted({num for found in entries.values() for num in found})
    for index, (student, found) in enumerate(entries.items()):
        calls = sorted(found)
        axes.errorbar(
            calls,
            [found[num][0] for num in calls],
            [found[num][1] for num in calls],
            color=OKABE_ITO[index % len(OKABE_ITO)],
            marker=MARKERS[index % len(MARKERS)],
            label=textwrap.shorten(student, TITLE_WIDTH, placeholder="…"),
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(all_calls, [str(num) for num in all_calls])
    axes.set_xlabel("calls of the network for an image")
    axes.set_ylabel("FID, hidden half")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    best = {
        student: min(value for value, _ in found.values()) for student, found in entries.items()
    }
    told = ", ".join(f"{student} {value:.3g}" for student, value in best.items())
    return describe(fig, f"FID over {all_calls} calls of the network; lowest of each: {told}.")


def _columns(count: int) -> int:
    """Returns how many of so many panels stand side by side."""
    return 2 if count == 4 else min(3, max(1, count))


def _panels(count: int, height: float = 2.6) -> tuple[Figure, list[Axes]]:
    """Returns a figure with `count` panels, row by row, with room for a legend above; the places
    left over are empty.
    """
    columns = _columns(count)
    rows = -(-max(1, count) // columns)
    fig = new_figure(height * rows + 0.3)
    axes = list(fig.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[count:]:
        spare.remove()
    return fig, axes[:count]


def _legend(fig: Figure) -> None:
    """Puts one legend above all panels, where it covers nothing."""
    handles, labels = fig.axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _key(value: Any) -> Any:
    return value if _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _places(values: Sequence[Any]) -> tuple[dict[Any, float], list[str] | None]:
    """Returns where each value stands on the axis, and the names of the places unless values are
    numbers.
    """
    if all(map(_is_number, values)):
        return {value: value for value in values}, None
    names = sorted({str(value) for value in values})
    return {_key(value): names.index(str(value)) for value in values}, names


def _set_axis(axes: Axes, ticks: list[str] | None, places: Sequence[float]) -> None:
    if ticks is not None:
        # a dollar would begin a formula
        shown = [
            (name if len(name) <= 12 else name[:11] + "…").replace("$", r"\$") for name in ticks
        ]
        axes.set_xticks(range(len(ticks)), shown)
        axes.set_xlim(-0.6, len(ticks) - 0.4)
    elif min(places) > 0 and max(places) / min(places) > WIDE:
        axes.set_xscale("log")
