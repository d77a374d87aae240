"""Controls above a picture that is drawn anew with each move: the slider, the picture and the panel
that all widgets share, and the latent explorer.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets
import torch
import traitlets
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.plotting.canvas import attached_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox
    from torch import Tensor

# latents [B, latent_dim] -> signed images [B, C, H, W], such as `VAE.decode`
Decode = Callable[[Tensor], Tensor]
SCALE = 8  # screen pixels a pixel
DECODED = "Image that the decoder makes of the latent under the sliders."


class Panel(ipywidgets.VBox):
    """A column of widgets that has a readable text where no kernel runs."""

    def __repr__(self) -> str:
        return (
            "Sliders: they need a running notebook. The pictures of this section show what they do."
        )


class Slider(anywidget.AnyWidget):
    """A slider with a name, which screen readers say, and a number beside it: those of ipywidgets
    tell nobody their name. The browser's part is in `slider.js`.

    Attributes:
        value: where it stands.
        min, max, step: where it may stand.
        options: where it may stand in place of these, rising, if there are any.
        description: its name.
        digits: decimals of the number beside it, unless there are options.
    """

    _esm = Path(__file__).with_name("slider.js")
    value = traitlets.Float(0.0).tag(sync=True)
    min = traitlets.Float(0.0).tag(sync=True)
    max = traitlets.Float(1.0).tag(sync=True)
    step = traitlets.Float(0.1).tag(sync=True)
    options = traitlets.List(traitlets.Float()).tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
    digits = traitlets.Int(2).tag(sync=True)


class CountSlider(Slider):
    """A `Slider` for a whole number."""

    value = traitlets.Int(0).tag(sync=True)
    step = traitlets.Float(1.0).tag(sync=True)
    digits = traitlets.Int(0).tag(sync=True)


class LivePicture(anywidget.AnyWidget):
    """A PNG with a text for those who cannot see it, which the images of ipywidgets lack. The
    browser's part is in `picture.js`.

    Attributes:
        value: the PNG.
        alt: the text.
    """

    _esm = Path(__file__).with_name("picture.js")
    value = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)


def beside(controls: Sequence[Any], pictures: Sequence[Any]) -> Panel:
    """Returns controls with the pictures beside them, or below them where the window is narrow.

    No part is squeezed: a row of ipywidgets shrinks its sliders to nothing, and stretches pictures
    to its own height.
    """
    column = ipywidgets.VBox(controls, layout=ipywidgets.Layout(flex="0 0 auto", max_width="100%"))
    row = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap="8px")
    return Panel([ipywidgets.HBox([column, *pictures], layout=row)])


@torch.no_grad()
def latent_image(decode: Decode, z: Tensor) -> Tensor:
    """Returns the image that a decoder makes of one latent, uint8 `[C, H, W]`.

    Args:
        decode: takes latents `[1, latent_dim]`, returns signed images.
        z: one latent, `[latent_dim]`.

    Raises:
        CourseError: `z` has more than one dimension.
    """
    if z.ndim != 1:
        raise CourseError(
            f"expected one latent of shape [latent_dim], got {list(z.shape)}; pass z[0] for the"
            " first of several."
        )
    return signed_to_uint8(decode(z[None]))[0].cpu()


def moved(start: Tensor, dims: Sequence[int], values: Sequence[float]) -> Tensor:
    """Returns a copy of the latent `start` `[latent_dim]` in which the given dimensions have the
    given values.
    """
    z = start.detach().clone()
    for dim, value in zip(dims, values):
        z[dim] = value
    return z


def png_bytes(image: Tensor, scale: int = SCALE) -> bytes:
    """Returns a uint8 image `[C, H, W]` as PNG, each pixel `scale` times enlarged."""
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy())
    stream = io.BytesIO()
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(
        stream, format="PNG"
    )
    return stream.getvalue()


def latent_explorer(
    decode: Decode, start: Tensor, dims: Sequence[int], *, limit: float = 3.0, seed: int = 0
) -> Panel:
    """Returns sliders for some dimensions of a latent beside the image that it decodes to.

    The button draws a new latent from the prior N(0, I); the sliders then move that one.

    Args:
        decode: latents to signed images, such as `model.decode`.
        start: latent to begin with, `[latent_dim]`.
        dims: dimensions that get a slider, such as the most active ones.
        limit: sliders go from -limit to +limit, in standard deviations of the prior.
        seed: of the button's draws.

    Raises:
        CourseError: no dimensions, or one that the latent does not have.
    """
    bad = [dim for dim in dims if not 0 <= dim < len(start)]
    if bad or not dims:
        raise CourseError(
            f"dims: expected one or more from 0 to {len(start) - 1}, got {list(dims)}."
        )
    latent, rng = start.detach().clone(), make_rng(seed)
    sliders = [_slider(dim, latent[dim].item(), limit) for dim in dims]
    picture = LivePicture(value=png_bytes(latent_image(decode, latent)), alt=DECODED)
    button = ipywidgets.Button(
        description="new draw from the prior", layout=ipywidgets.Layout(width="300px")
    )

    def redraw(_: object = None) -> None:
        latent.copy_(moved(latent, dims, [slider.value for slider in sliders]))
        picture.value = png_bytes(latent_image(decode, latent))

    def draw_anew(_: object) -> None:
        fresh = torch.randn(len(latent), generator=rng).clamp(-limit, limit)
        latent.copy_(fresh)
        for dim, slider in zip(dims, sliders):
            slider.value = round(fresh[dim].item(), 1)
        redraw()

    for slider in sliders:
        slider.observe(redraw, names="value")
    button.on_click(draw_anew)
    return beside([*sliders, button], [picture])


def _slider(dim: int, value: float, limit: float) -> Slider:
    value = max(-limit, min(limit, value))
    return Slider(value=value, min=-limit, max=limit, step=0.1, description=f"z[{dim}]", digits=1)


DPI = 100  # enough for a picture that moves; a third faster than that of the static figures


def figure_png(figure: Figure, places: list[Bbox] | None = None) -> bytes:
    """Returns a figure as PNG.

    Args:
        figure: drawn on no screen.
        places: where the axes stand, such as `places_of` an earlier picture of the same kind:
            spares the layout, a third of the time, and keeps the axes from jumping between moves.
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
    picture, places = LivePicture(), []

    def redraw(_: object = None) -> None:
        figure = draw(**{name: control.value for name, control in sliders.items()})
        with picture.hold_sync():  # the picture and its text arrive together
            picture.value, picture.alt = figure_png(figure, places), attached_text(figure)
        places[:] = places or places_of(figure)

    redraw()
    for control in sliders.values():
        control.observe(redraw, names="value")
    return Panel([ipywidgets.VBox([*sliders.values(), picture])])


def image_explorer(
    draw: Callable[..., tuple[Tensor, str]], controls: dict[str, Any], scale: int = 3
) -> Panel:
    """Returns controls above a line of text and the image that `draw` makes of their values. The
    text is also the image's for those who cannot see it.

    Args:
        draw: takes one keyword for each control, returns a uint8 image `[C, H, W]` and the text.
        controls: `{keyword: widget with a value}`.
        scale: screen pixels a pixel.
    """
    caption, picture = ipywidgets.HTML(), LivePicture()  # a Label would cut long lines off

    def redraw(_: object = None) -> None:
        image, text = draw(**{name: control.value for name, control in controls.items()})
        caption.value = html.escape(text)
        with picture.hold_sync():  # the picture and its text arrive together
            picture.value, picture.alt = png_bytes(image, scale), text

    redraw()
    for control in controls.values():
        control.observe(redraw, names="value")
    return Panel([*controls.values(), caption, picture])


def slider(description: str, value: float, low: float, high: float, step: float = 0.1) -> Slider:
    """Returns a slider for a number, with two decimals beside it."""
    return Slider(value=value, min=low, max=high, step=step, description=description)
