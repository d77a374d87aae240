"""What diagrams of mechanisms are drawn with, whichever family they explain: a stage whose unit is
an inch, panels on it, boxes, arrows, images and bars, and the colours of boxes and gradients.

The diagrams themselves are in `vae_mechanisms`, `gan_mechanisms`, `diffusion_mechanisms` and
`text_mechanisms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import OKABE_ITO, WIDTH
from course_utils.plotting.pictures import draw_pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

Place = tuple[float, float]

BOX_COLOUR, EDGE_COLOUR = "#E6E6E6", "#555555"
GRADIENT_COLOUR = OKABE_ITO[4]


def new_stage(height: float) -> tuple[Figure, Axes]:
    """Returns a figure and axes without a frame that cover it, whose unit is an inch."""
    from matplotlib.figure import Figure

    # no automatic layout: every place is given
    fig = Figure(figsize=(WIDTH, height))
    axes = fig.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    return fig, axes


def panel_on(axes: Axes, centre: Place, width: float, height: float) -> Axes:
    """Returns new axes on a stage, by their centre and size in inches."""
    fig, (full_width, full_height) = axes.figure, (axes.get_xlim()[1], axes.get_ylim()[1])
    left, bottom = centre[0] - width / 2, centre[1] - height / 2
    return fig.add_axes(
        (left / full_width, bottom / full_height, width / full_width, height / full_height)
    )


def draw_arrow(axes: Axes, start: Place, end: Place, **style: Any) -> None:
    """Draws a straight arrow; `style` changes its colour, line or curvature."""
    look = {"arrowstyle": "-|>", "color": "black", "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops={**look, **style})


def draw_shape(axes: Axes, corners: Sequence[Place], text: str) -> None:
    """Draws a grey polygon with a text in its middle."""
    from matplotlib.patches import Polygon

    axes.add_patch(Polygon(corners, facecolor=BOX_COLOUR, edgecolor=EDGE_COLOUR))
    x, y = (sum(side) / len(corners) for side in zip(*corners))
    axes.text(x, y, text, ha="center", va="center", fontsize=10)


def draw_framed(axes: Axes, picture: Tensor) -> None:
    """Draws one uint8 image `[C, H, W]` with a thin frame, which shows where black ends."""
    draw_pixels(axes, picture)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#999999", linewidth=0.8)


def draw_strip(axes: Axes, values: Tensor, limit: float) -> None:
    """Draws one bar a dimension, the first on top, over an axis from -limit to limit."""
    places = range(len(values))
    axes.barh(places, values.tolist(), height=0.8, color=OKABE_ITO[0])
    axes.axvline(0, color="black", linewidth=0.7)
    axes.set(xlim=(-limit, limit), ylim=(len(values) - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#999999", linewidth=0.8)


def span(values: Tensor) -> str:
    """Returns the lowest and the highest value in words, such as "-1.0 to 2.5"."""
    return f"{values.min().item():.1f} to {values.max().item():.1f}"


def check_plane(name: str, points: Tensor) -> None:
    """Raises a CourseError unless `points` are one or more points of a plane, `[N, 2]`."""
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 1:
        raise CourseError(
            f"{name}: expected points of a latent plane, [N, 2], got {list(points.shape)}; use a"
            " model with model.latent_dim=2."
        )
