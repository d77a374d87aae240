"""What alt texts are made of: numbers, curves and names in words, cut to a length that a screen
reader can speak.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

MAX_CHARACTERS = 400  # of one alt text


def rounded(value: Any) -> str:
    """Returns a number with three or four digits, such as "0.0123", "101.2" or "12,345"; a text,
    such as the name of a place on an axis, comes back as it is.
    """
    if isinstance(value, str):
        return value
    number = float(value)
    size = abs(number)
    if size < 1e-12:
        return "0"  # what rounding leaves of a zero
    if 1000 <= size < 1e6:
        return f"{number:,.0f}"
    return f"{number:.4g}" if 100 <= size < 1000 else f"{number:.3g}"


def spoken(text: str) -> str:
    """Returns a label without the signs of a formula, such as "beta" for "$\\beta$"."""
    return re.sub(r"\$([^$]+)\$", lambda found: re.sub(r"[\\{}]", "", found[1]), text).strip()


def trace(x: Iterable[Any], y: Iterable[Any]) -> str:
    """Returns a curve in words: its first and last value, and its lowest and highest one where
    these lie between, such as "from 120 at 1 to 98.4 at 30, lowest 97.1 at 22".

    Args:
        x, y: `[N]` each; points whose y is not finite are left out.
    """
    points = [(place, float(value)) for place, value in zip(x, y)]
    points = [point for point in points if math.isfinite(point[1])]
    if not points:
        return "without values"
    first, last = points[0], points[-1]
    text = _at(first) if len(points) == 1 else f"from {_at(first)} to {_at(last)}"
    ends = {rounded(first[1]), rounded(last[1])}
    for word, choose in (("lowest", min), ("highest", max)):
        extreme = choose(points, key=lambda point: point[1])
        if rounded(extreme[1]) not in ends:
            text += f", {word} {_at(extreme)}"
    return text


def _at(point: tuple[Any, float]) -> str:
    return f"{rounded(point[1])} at {rounded(point[0])}"


def lines_words(kind: str, panels: Sequence[Axes], closing: str = "") -> str:
    """Returns the alt text of every named line and error bar that has been drawn in some panels.

    Numbers and labels are read from the panels, so that they are those of the picture, whatever
    was changed after it had been drawn.

    Args:
        kind: such as "Lines".
        panels: at least one; the labels of the axes are those of the first, the titles tell the
            panels apart.
        closing: whole sentences that come last.
    """
    import numpy as np

    first, parts, values = panels[0], {}, []
    units = {panel.get_ylabel() for panel in panels} - {""}  # one may stand for all of a row
    for panel in panels:
        before = f"{panel.get_title()}, " if len(panels) > 1 and panel.get_title() else ""
        if len(units) > 1 and panel.get_ylabel():  # each panel has an axis of its own
            before += f"in {panel.get_ylabel()}, "
        for name, line in _named_lines(panel):
            x, y = (np.asarray(data).tolist() for data in (line.get_xdata(), line.get_ydata()))
            x = _tick_names(panel, x)
            crosses = line.get_transform() != panel.transData  # the whole panel, at one height
            parts[before + name] = f"at {rounded(y[0])}" if crosses else trace(x, y)
            values.append(float(y[-1]) if y else math.nan)
    title = f" ({spoken(first.get_title())})" if len(panels) == 1 and first.get_title() else ""
    height = spoken(first.get_ylabel()) if len(units) <= 1 else ""
    axes = f"{height or 'values'} over {spoken(first.get_xlabel()) or 'x'}"
    opening = f"{len(panels)} panels of {kind[0].lower()}{kind[1:]}" if len(panels) > 1 else kind
    # the values of panels that differ in their scale cannot be ranked
    ranked = values if len(panels) == 1 else ()
    return summary(f"{opening}, {axes}{title}", parts, ranked, closing)


def _tick_names(panel: Axes, x: Sequence[Any]) -> list[Any]:
    """Returns the texts at places of an axis whose ticks have been given texts, such as names of
    classes; other places stay numbers.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter

    axis = panel.xaxis  # `set_xticks` with labels gives it these two
    given = isinstance(axis.get_major_formatter(), FuncFormatter)
    if not given or not isinstance(axis.get_major_locator(), FixedLocator):
        return list(x)
    names = [label.get_text() for label in panel.get_xticklabels()]
    named = {float(tick): name for tick, name in zip(panel.get_xticks(), names) if name}
    return [named.get(place, place) for place in x]


def _named_lines(panel: Axes) -> list[tuple[str, Line2D]]:
    """Returns the lines that the legend would name, those of error bars among them."""
    from matplotlib.container import ErrorbarContainer

    bars = [
        (str(bar.get_label()), bar[0])
        for bar in panel.containers
        if isinstance(bar, ErrorbarContainer)
    ]
    named = [*((str(line.get_label()), line) for line in panel.lines), *bars]
    return [(name, line) for name, line in named if name and not name.startswith("_")]


def points_words(points: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Returns the two coordinates of named points in words, such as "(0.91, 0.84)"."""
    return {name: f"({rounded(x)}, {rounded(y)})" for name, (x, y) in points.items()}


def summary(
    opening: str, parts: Mapping[str, str], values: Sequence[float] = (), closing: str = ""
) -> str:
    """Returns "opening: name text; name text. closing".

    Where that would be longer than 400 characters, only the parts of the lowest and of the highest
    value are kept, or without values the first ones that fit, and the rest is counted.

    Args:
        opening: kind of the picture and its axes.
        parts: `{name: its numbers in words}`.
        values: one number for each part, by which the lowest and the highest are found.
        closing: whole sentences.
    """
    said = [f"{spoken(name)} {text}".strip() for name, text in parts.items()]
    text = _sentence(opening, said, closing)
    if len(text) <= MAX_CHARACTERS or len(said) < 2:
        return text
    places = [place for place, value in enumerate(values) if math.isfinite(value)]
    if places:
        low, high = (choose(places, key=lambda place: values[place]) for choose in (min, max))
        ends = [f"lowest: {said[low]}", f"highest: {said[high]}"]
        return _sentence(opening, [*ends, f"{len(said) - len({low, high})} more"], closing)
    kept = len(said) - 1
    while kept > 1 and len(_sentence(opening, _first(said, kept), closing)) > MAX_CHARACTERS:
        kept -= 1
    return _sentence(opening, _first(said, kept), closing)


def _first(said: Sequence[str], kept: int) -> list[str]:
    return [*said[:kept], f"{len(said) - kept} more"]


def _sentence(opening: str, said: Sequence[str], closing: str) -> str:
    return f"{opening}{': ' if said else ''}{'; '.join(said)}. {closing}".strip()


def names_words(names: Iterable[str]) -> str:
    """Returns names with semicolons between them, without empty ones; of many, the first ones that
    fit into 200 characters, and how many more.
    """
    every = [spoken(name) for name in names if name]
    text = "; ".join(every)
    if len(text) <= MAX_CHARACTERS // 2:
        return text
    kept = len(every) - 1
    while kept > 1 and len("; ".join(_first(every, kept))) > MAX_CHARACTERS // 2:
        kept -= 1
    return "; ".join(_first(every, kept))


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, such as "1 panel" or "2,000 panels"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def grid_words(num_images: int, num_columns: int) -> str:
    """Returns how many images stand in how many rows, such as "40 images, 4 rows of 10"."""
    if num_images == 1:
        return "1 image"
    num_rows = -(-num_images // num_columns)
    if num_rows == 1:
        return f"{num_images} images in one row"
    upto = "up to " if num_rows * num_columns > num_images else ""
    return f"{num_images} images, {num_rows} rows of {upto}{num_columns}"


def spread_words(values: Any) -> str:
    """Returns the middle and the width of many numbers, such as "median 0.31, 90 % from 0.1 to
    0.52".

    Args:
        values: array or tensor of numbers, `[N]`.
    """
    import numpy as np

    low, median, high = np.quantile(np.asarray(values, dtype=float), [0.05, 0.5, 0.95])
    return f"median {rounded(median)}, 90 % from {rounded(low)} to {rounded(high)}"
