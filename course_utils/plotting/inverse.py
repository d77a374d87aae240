"""Figures of inverse problems: sheets of solutions, and tables of methods against problems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import with_error
from course_utils.plotting.canvas import OKABE_ITO, describe, new_figure
from course_utils.plotting.charts import MARKERS
from course_utils.plotting.pictures import image_table
from course_utils.plotting.words import spoken, summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

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
    higher_is_better: bool | None = None,
) -> pd.DataFrame:
    """Returns a table of methods (rows) against problems (columns), each number with its standard
    error; the best of a column is marked where one end is better.

    "*" stands for the best; "~" for a value that is nearer to the best than 1.96 standard errors of
    the difference, so that it may be as good; "-" where a method cannot solve a problem.

    Args:
        values: `{method: {problem: (value, standard error), or None where the method cannot}}`, the
            same problems in each.
        higher_is_better: False for distances such as FID; None marks nothing, for numbers that can
            be too high as well as too low, such as the diversity of answers.

    Raises:
        CourseError: methods with different problems.
    """
    import pandas as pd

    problems = list(next(iter(values.values()), {}))
    if not problems or any(list(row) != problems for row in values.values()):
        raise CourseError(
            "values: expected the same problems for each method, got"
            f" { {name: list(row) for name, row in values.items()} }."
        )
    columns = {}
    for problem in problems:
        column = [row[problem] for row in values.values()]
        marks = [""] * len(column)
        if higher_is_better is not None:
            marks = _marks(column, higher_is_better)
        columns[problem] = [
            f"{_cell_text(cell)} {mark}".strip() for cell, mark in zip(column, marks, strict=True)
        ]
    return pd.DataFrame(columns, index=list(values))


def _cell_text(cell: tuple[float, float] | None) -> str:
    """Returns a value with its error; without it where it is 0, as that of a perfect score."""
    if cell is None:
        return "-"
    return with_error(*cell) if cell[1] > 0 else f"{cell[0]:.4g}"


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
