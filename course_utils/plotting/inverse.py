"""Figures of inverse problems: sheets of solutions, and tables of methods against problems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import with_error
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, describe, new_figure
from course_utils.plotting.charts import MARKERS
from course_utils.plotting.pictures import image_table
from course_utils.plotting.words import counted, spoken, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

BEST_COLOUR, EQUAL_COLOUR = "#A6CEE3", "#E3EFF7"  # pale, so that black text stays readable on them
NUM_ERRORS = 1.96


def solution_sheet(truths: Tensor, measured: Tensor, solutions: Tensor, title: str = "") -> Figure:
    """Returns one row a question: the image, what was measured of it, the mean of all solutions,
    the solutions.

    Args:
        truths, measured: signed, `[B, C, H, W]`; see `Problem.shown`.
        solutions: signed, `[S, B, C, H, W]`.

    Raises:
        CourseError: shapes that do not belong together.
    """
    import torch

    _check_shapes(truths, measured, solutions)
    columns = torch.cat([truths[None], measured[None], solutions.mean(0)[None], solutions])
    labels = [
        "image",
        "measured",
        "mean",
        *(f"{number}" for number in range(1, len(solutions) + 1)),
    ]
    return image_table(
        columns.transpose(0, 1).flatten(0, 1),
        num_columns=len(columns),
        column_labels=labels,
        title=title,
    )


def method_sheet(
    truths: Tensor, measured: Tensor, solutions: Mapping[str, Tensor], title: str = ""
) -> Figure:
    """Returns one column a question and one row a picture of it: the image, what was measured, then
    one solution of each method.

    Args:
        truths, measured: signed, `[B, C, H, W]`.
        solutions: `{method: signed images [B, C, H, W]}`.
    """
    import torch

    for images in solutions.values():
        _check_shapes(truths, measured, images[None])
    rows = {"image": truths, "measured": measured, **solutions}
    return image_table(
        torch.cat(list(rows.values())), num_columns=len(truths), row_labels=list(rows), title=title
    )


def method_table(
    values: Mapping[str, Mapping[str, tuple[float, float] | None]],
    metric: str,
    *,
    higher_is_better: bool = True,
    title: str = "",
) -> Figure:
    """Returns a table of methods (rows) against problems (columns), each number with its error; the
    best of a column is marked.

    Bold with a star: best. Marked with ~: nearer to the best than 1.96 standard errors of the
    difference, so it may be as good.

    Args:
        values: `{method: {problem: (value, standard error), or None where the method cannot}}`, the
            same problems in each.
        metric: what is shown, such as "PSNR of the mean, dB".
        higher_is_better: False for distances such as FID.

    Raises:
        CourseError: methods with different problems.
    """
    from matplotlib.patches import Rectangle

    problems = list(next(iter(values.values()), {}))
    if not problems or any(list(row) != problems for row in values.values()):
        raise CourseError(
            "values: expected the same problems for each method, got"
            f" { {name: list(row) for name, row in values.items()} }."
        )
    texts = [
        len(with_error(*cell))
        for row in values.values()
        for cell in row.values()
        if cell is not None
    ]
    # inches; a letter of this size is about 0.08 wide in bold
    column = max(1.1, 0.08 * (max(texts, default=0) + 2))
    fig = new_figure(1.3 + 0.4 * len(values), width=max(WIDTH, 1.6 + column * len(problems)))
    axes, best = fig.subplots(), {}
    for j, problem in enumerate(problems):
        marks = _marks([row[problem] for row in values.values()], higher_is_better)
        best[f"{problem}:"] = _best_words(values, problem, marks)
        for i, (row, mark) in enumerate(zip(values.values(), marks)):
            colour = {"*": BEST_COLOUR, "~": EQUAL_COLOUR}.get(mark, "#FFFFFF")
            axes.add_patch(
                Rectangle((j, i), 1, 1, facecolor=colour, edgecolor="black", linewidth=0.6)
            )
            cell = row[problem]
            text = "-" if cell is None else f"{with_error(*cell)} {mark}".strip()
            axes.text(
                j + 0.5,
                i + 0.5,
                text,
                ha="center",
                va="center",
                fontsize=8.5,
                weight="bold" if mark == "*" else "normal",
            )
    axes.set(xlim=(0, len(problems)), ylim=(len(values), 0), title=title)
    axes.set_xlabel(f"{metric} ± standard error; * best, ~ not told apart from it")
    axes.set_xticks([j + 0.5 for j in range(len(problems))], problems)
    axes.set_yticks([i + 0.5 for i in range(len(values))], list(values))
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    opening = (
        f"Table of {counted(len(values), 'method')}, {spoken(metric)}, the best of each problem"
    )
    return describe(fig, summary(opening, best))


def _best_words(
    values: Mapping[str, Mapping[str, tuple[float, float] | None]], problem: str, marks: list[str]
) -> str:
    """Returns the best method of a problem, and how many are not told apart from it, in words."""
    if "*" not in marks:
        return "none"
    name = list(values)[marks.index("*")]
    near = f" ({marks.count('~')} not told apart)" if "~" in marks else ""
    return f"{name} {with_error(*values[name][problem] or (math.nan, math.nan))}{near}"


def distortion_plane(
    points: Mapping[str, tuple[tuple[float, float], tuple[float, float]]],
    distortion: str,
    realism: str,
    title: str = "",
) -> Figure:
    """Returns one marked point a method, with bars of two standard errors in both directions and a
    legend beside the plane.

    Args:
        points: `{method: ((distortion, standard error), (realism, standard error))}`.
        distortion, realism: what the axes show and which end is good, such as "PSNR, dB (right is
            better)".

    Source: the plane is that of Blau & Michaeli 2018 (arXiv:1711.06077), fig. 1.
    """
    fig = new_figure(4.2)
    axes = fig.subplots()
    for index, (name, ((x, x_error), (y, y_error))) in enumerate(points.items()):
        place = index + index // len(OKABE_ITO)  # the colours begin anew, with other markers
        look: dict[str, Any] = {
            "marker": MARKERS[place % len(MARKERS)],
            "color": OKABE_ITO[index % len(OKABE_ITO)],
            "markeredgecolor": "black",
        }
        axes.errorbar(
            [x],
            [y],
            [2 * y_error],
            [2 * x_error],
            linestyle="none",
            markersize=9,
            capsize=2,
            label=name,
            **look,
        )
    axes.set(xlabel=distortion, ylabel=realism, title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    numbers = {name: f"({with_error(*x)}, {with_error(*y)})" for name, (x, y) in points.items()}
    opening = f"Points ({spoken(distortion)}; {spoken(realism)}) with error bars"
    return describe(fig, summary(opening, numbers, [y for _, (y, _) in points.values()]))


def _marks(column: Sequence[tuple[float, float] | None], higher_is_better: bool) -> list[str]:
    """Returns "*" for the best entry, "~" for those within its noise, "" for the others."""
    there = [entry for entry in column if entry is not None]
    if not there:
        return [""] * len(column)
    best = (max if higher_is_better else min)(there, key=lambda entry: entry[0])

    def mark(entry: tuple[float, float] | None) -> str:
        if entry is None:
            return ""
        if entry is best:
            return "*"
        return "~" if abs(entry[0] - best[0]) <= NUM_ERRORS * math.hypot(entry[1], best[1]) else ""

    return [mark(entry) for entry in column]


def _check_shapes(truths: Tensor, measured: Tensor, solutions: Tensor) -> None:
    if measured.shape != truths.shape or solutions.ndim != 5 or solutions.shape[1:] != truths.shape:
        shapes = ", ".join(str(list(part.shape)) for part in (truths, measured, solutions))
        raise CourseError(
            "expected images [B, C, H, W], measured [B, C, H, W] and solutions [S, B, C, H, W] of"
            f" one B, got {shapes}."
        )
