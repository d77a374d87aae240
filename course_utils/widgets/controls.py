"""Controls above a picture that is drawn anew with each move: the panel that all widgets share, and
the latent explorer.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox
    from torch import Tensor

# latents [B, latent_dim] -> signed images [B, C, H, W], such as `VAE.decode`
Decode = Callable[[Tensor], Tensor]
SCALE = 8  # screen pixels a pixel


class Panel(ipywidgets.VBox):
    """A column of widgets that has a readable text where no kernel runs."""

    def __repr__(self) -> str:
        return "Sliders: they need a running notebook. The picture below shows the same."


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
    picture = ipywidgets.Image(value=png_bytes(latent_image(decode, latent)), format="png")
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
    return Panel([ipywidgets.HBox([ipywidgets.VBox([*sliders, button]), picture])])


def _slider(dim: int, value: float, limit: float) -> ipywidgets.FloatSlider:
    value = max(-limit, min(limit, value))
    return ipywidgets.FloatSlider(
        value=value, min=-limit, max=limit, step=0.1, description=f"z[{dim}]", readout_format=".1f"
    )


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
    picture, places = ipywidgets.Image(value=b"", format="png"), []

    def redraw(_: object = None) -> None:
        figure = draw(**{name: control.value for name, control in sliders.items()})
        picture.value = figure_png(figure, places)
        places[:] = places or places_of(figure)

    redraw()
    for control in sliders.values():
        control.observe(redraw, names="value")
    return Panel([ipywidgets.VBox([*sliders.values(), picture])])


def image_explorer(
    draw: Callable[..., tuple[Tensor, str]], controls: dict[str, Any], scale: int = 3
) -> Panel:
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


def slider(
    description: str, value: float, low: float, high: float, step: float = 0.1
) -> ipywidgets.FloatSlider:
    """Returns a slider for a number, with two decimals beside it."""
    return ipywidgets.FloatSlider(
        value=value, min=low, max=high, step=step, description=description, readout_format=".2f"
    )
