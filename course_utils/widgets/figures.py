"""Controls above a figure, or above an image and a line of text, that is drawn anew with each move."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets

from course_utils.widgets.latent import Panel, png_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox
    from torch import Tensor

DPI = 100  # enough for a picture that moves; a third faster than that of the static figures


def figure_png(figure: Figure, places: list[Bbox] | None = None) -> bytes:
    """Returns a figure as PNG.

    Args:
        figure: drawn on no screen.
        places: where the axes stand, such as `places_of` an earlier picture of the same kind: spares the layout, a third of the time, and keeps
            the axes from jumping between moves.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if places:
        figure.set_layout_engine("none")
        for axes, place in zip(figure.axes, places):
            axes.set_position(place)
    stream = io.BytesIO()
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(stream)  # draws once, where savefig draws twice
    return stream.getvalue()


def places_of(figure: Figure) -> list[Bbox]:
    """Returns where the axes of a figure stand after it has been drawn."""
    return [axes.get_position() for axes in figure.axes]


def figure_explorer(draw: Callable[..., Figure], sliders: dict[str, Any]) -> Panel:
    """Returns sliders above the figure that `draw` makes of their values.

    Args:
        draw: takes one keyword for each slider.
        sliders: `{keyword: widget with a value}`.
    """
    picture, places = ipywidgets.Image(value=b"", format="png"), []

    def redraw(_: object = None) -> None:
        figure = draw(**{name: control.value for name, control in sliders.items()})
        picture.value = figure_png(figure, places)
        places[:] = places or places_of(figure)

    redraw()
    for control in sliders.values():
        control.observe(redraw, names="value")
    return Panel([ipywidgets.VBox([*sliders.values(), picture])])


def image_explorer(draw: Callable[..., tuple[Tensor, str]], controls: dict[str, Any], scale: int = 3) -> Panel:
    """Returns controls above a line of text and the image that `draw` makes of their values.

    Args:
        draw: takes one keyword for each control, returns a uint8 image `[C, H, W]` and the text.
        controls: `{keyword: widget with a value}`.
        scale: screen pixels a pixel.
    """
    caption, picture = ipywidgets.Label(), ipywidgets.Image(value=b"", format="png")

    def redraw(_: object = None) -> None:
        image, caption.value = draw(**{name: control.value for name, control in controls.items()})
        picture.value = png_bytes(image, scale)

    redraw()
    for control in controls.values():
        control.observe(redraw, names="value")
    return Panel([*controls.values(), caption, picture])


def slider(description: str, value: float, low: float, high: float, step: float = 0.1) -> ipywidgets.FloatSlider:
    """Returns a slider for a number, with two decimals beside it."""
    return ipywidgets.FloatSlider(value=value, min=low, max=high, step=step, description=description, readout_format=".2f")
