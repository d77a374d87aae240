"""An empty figure of the course's width. It belongs to no window and to no global list, so nobody has to close it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 7.0  # inches; 700 px in a notebook


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Returns an empty figure, `width` by `height` inches, that leaves room for every label."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
