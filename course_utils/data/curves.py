"""Smooth curves through control points, as matrices: path points = matrix @ control points, for every style of `glyphs.py`.

A curve of Catmull and Rom is linear in its control points once its knots are fixed. The knots come from the undistorted style, so that
one matrix a style draws every bent version of it.

Source: Catmull & Rom, "A class of local interpolating splines" (1974), with the centripetal knots of Yuksel, Schaefer & Keyser (2011);
the ends, which the papers leave open, take the slope of their first and last piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from course_utils.data.glyphs import GLYPHS, Style

NUM_PATH_POINTS = 96


@dataclass(frozen=True)
class StyleTable:
    """All styles of all digits, one row each, padded with zeros to the same number of control points K; P path points.

    Attributes:
        first_row: `[10]`, the row of a digit's style 0.
        num_styles: `[10]`, styles of each digit.
        controls: `[rows, K, 2]`, x to the right and y down, in [0, 1].
        curves: `[rows, P, K]`, path points = curves @ controls, evenly spaced along the undistorted path.
        ends: `[rows, K, 2]`, unit vectors that point out of the two ends of each stroke, 0 elsewhere.
    """

    first_row: np.ndarray
    num_styles: np.ndarray
    controls: np.ndarray
    curves: np.ndarray
    ends: np.ndarray


def num_styles(digit: int) -> int:
    """Returns how many ways of writing `digit` (0 to 9) there are."""
    return len(GLYPHS[digit])


@lru_cache(maxsize=1)
def style_table() -> StyleTable:
    """Returns the curves of all styles, computed once."""
    counts = np.array([len(styles) for styles in GLYPHS])
    parts = [_style(style) for styles in GLYPHS for style in styles]
    num_controls = max(len(controls) for controls, _, _ in parts)
    controls, curves, ends = (np.zeros((len(parts), *shape)) for shape in ((num_controls, 2), (NUM_PATH_POINTS, num_controls), (num_controls, 2)))
    for row, (points, matrix, directions) in enumerate(parts):
        controls[row, : len(points)], curves[row, :, : len(points)], ends[row, : len(points)] = points, matrix, directions
    return StyleTable(np.concatenate([[0], np.cumsum(counts)[:-1]]), counts, controls, curves, ends)


def _style(style: Style) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the control points `[k, 2]`, the curve matrix `[P, k]` and the end directions `[k, 2]` of one style."""
    points, runs, ends = [], [], []
    for stroke in style:
        ends.append(len(points))
        run = []
        for position, point in enumerate(stroke):
            if position and point == stroke[position - 1]:  # a corner: the next run starts at the point where this one ends
                runs.append(run)
                run = [run[-1]]
            else:
                run.append(len(points))
                points.append(point)
        runs.append(run)
        ends.append(len(points) - 1)
    controls = np.array(points)
    dense = [_through(controls, run, 200) for run in runs]
    lengths = [np.linalg.norm(np.diff(matrix @ controls, axis=0), axis=1).sum() for matrix in dense]
    stops = np.rint(NUM_PATH_POINTS * np.cumsum([0, *lengths]) / sum(lengths)).astype(int)
    curves = np.concatenate([_through(controls, run, count) for run, count in zip(runs, np.diff(stops))])
    directions = np.zeros_like(controls)
    for first, last in zip(ends[::2], ends[1::2]):
        directions[first], directions[last] = _unit(controls[first] - controls[first + 1]), _unit(controls[last] - controls[last - 1])
    return controls, curves, directions


def _through(controls: np.ndarray, run: list[int], count: int) -> np.ndarray:
    """Returns the matrix `[count, k]` of one smooth curve, its points evenly spaced along it.

    Args:
        controls: `[k, 2]`, the control points of the undistorted style.
        run: which of them the curve goes through, 2 or more.
        count: number of points on the curve, both ends included.
    """
    basis = np.eye(len(controls))[run]  # [n, k]: row i picks the curve's i-th point
    steps = np.sqrt(np.linalg.norm(np.diff(controls[run], axis=0), axis=1))[:, None]  # centripetal
    knots = np.concatenate([[0], np.cumsum(steps)])
    slopes = np.diff(basis, axis=0) / steps
    inner = (slopes[:-1] * steps[1:] + slopes[1:] * steps[:-1]) / (steps[:-1] + steps[1:])
    tangents = np.concatenate([slopes[:1], inner, slopes[-1:]])

    def at(time: np.ndarray) -> np.ndarray:
        piece = np.clip(np.searchsorted(knots, time, side="right") - 1, 0, len(steps) - 1)
        step, u = steps[piece], (time - knots[piece])[:, None] / steps[piece]
        start, end = (1 + 2 * u) * (1 - u) ** 2 * basis[piece], u**2 * (3 - 2 * u) * basis[piece + 1]
        return start + end + step * (u * (1 - u) ** 2 * tangents[piece] - u**2 * (1 - u) * tangents[piece + 1])  # cubic Hermite

    dense = np.linspace(0, knots[-1], 200)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(at(dense) @ controls, axis=0), axis=1))])
    return at(np.interp(np.linspace(0, length[-1], count), length, dense))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
