"""Ways to move through a latent space by hand: a pad over a 2-D space, a scrubber between images,
sliders for temperature and truncation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import ipywidgets
import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.models.latents import arc_path, plane_grid, straight_path, truncated_quantiles
from course_utils.widgets.controls import Decode, Panel, latent_image, png_bytes

# In this file `decode` is handed latents on the CPU; a model on another device needs `lambda z:
# model.decode(z.to(model.device))`.
PATHS = {"arc": arc_path, "straight line": straight_path}
INK = 255  # grey level of the frame on the pad


@torch.no_grad()
def manifold_sheet(decode: Decode, ticks: Tensor) -> Tensor:
    """Returns the decoded images of a grid over a 2-D latent space side by side, uint8 `[C, num *
    H, num * W]`.

    Args:
        decode: latents `[B, 2]` -> signed images `[B, C, H, W]`.
        ticks: places on both axes, ascending, `[num]`.
    """
    tiles = signed_to_uint8(decode(plane_grid(ticks))).cpu()
    num = len(ticks)
    channels, height, width = tiles.shape[1:]
    return (
        tiles.view(num, num, channels, height, width)
        .permute(2, 0, 3, 1, 4)
        .reshape(channels, num * height, num * width)
    )


def pad_image(sheet: Tensor, ticks: Tensor, z: Tensor) -> Tensor:
    """Returns the sheet with a white frame around the tile next to the latent `z` `[2]`, uint8 `[C,
    H, W]`.
    """
    if z.shape != (2,):
        raise CourseError(
            f"the pad needs a latent space of 2 dimensions, got a latent of shape {list(z.shape)};"
            " use latent_explorer."
        )
    height, width = (size // len(ticks) for size in sheet.shape[1:])
    column, row = ((ticks - value).abs().argmin().item() for value in z.cpu())
    top, left = (len(ticks) - 1 - row) * height, column * width
    framed = sheet.clone()
    tile = framed[:, top : top + height, left : left + width]
    tile[:, [0, 1, -2, -1], :] = INK
    tile[:, :, [0, 1, -2, -1]] = INK
    return framed


@torch.no_grad()
def walk_image(decode: Decode, ends: Tensor, share: float, path: str = "arc") -> Tensor:
    """Returns the image a share of the way along a chain of latents, uint8 `[C, H, W]`.

    Args:
        decode: latents to signed images.
        ends: the stations, `[N, D]`, at least 2.
        share: of the whole way, from 0 (first station) to 1 (last).
        path: "arc" or "straight line", between one station and the next.
    """
    if ends.ndim != 2 or len(ends) < 2:
        raise CourseError(f"ends: expected at least 2 latents, [N, D], got {list(ends.shape)}.")
    require(0 <= share <= 1, "share", "0 to 1", share)
    require(path in PATHS, "path", " or ".join(PATHS), path)
    place = share * (len(ends) - 1)
    leg = min(int(place), len(ends) - 2)
    return latent_image(decode, PATHS[path](ends[leg], ends[leg + 1], [place - leg])[0])


@torch.no_grad()
def temperature_image(decode: Decode, eps: Tensor, temperature: float) -> Tensor:
    """Returns decoded images of the latents temperature * eps, side by side, uint8 `[C, H, N * W]`.

    Args:
        decode: latents to signed images.
        eps: draws from N(0, I), `[N, D]`; equal draws make temperatures compare.
        temperature: 0 or more; 1 is the prior.
    """
    require(temperature >= 0, "temperature", "0 or more", temperature)
    return _side_by_side(decode, temperature * eps)


@torch.no_grad()
def truncation_image(decode: Decode, uniforms: Tensor, bound: float) -> Tensor:
    """Returns decoded images of normal noise that was drawn between -bound and bound, side by side,
    uint8 `[C, H, N * W]`.

    Args:
        decode: latents to signed images.
        uniforms: draws from the uniform distribution, float64 `[N, D]`; equal draws make bounds
            compare, and images move smoothly.
        bound: more than 0; from 4 on next to nothing is cut off.
    """
    require(bound > 0, "bound", "more than 0", bound)
    return _side_by_side(decode, truncated_quantiles(uniforms, bound).float())


def _side_by_side(decode: Decode, z: Tensor) -> Tensor:
    return torch.cat(list(signed_to_uint8(decode(z)).cpu()), dim=2)


def latent_pad(decode: Decode, ticks: Tensor) -> Panel:
    """Returns two sliders for the axes of a 2-D latent space, beside the sheet of the whole space
    and the image at this place.
    """
    device_ticks = ticks.detach().cpu()
    sheet = manifold_sheet(decode, device_ticks)
    low, high = device_ticks[0].item(), device_ticks[-1].item()
    sliders = [
        ipywidgets.FloatSlider(value=0.0, min=low, max=high, step=0.05, description=f"z[{dim}]")
        for dim in (0, 1)
    ]
    pictures = [ipywidgets.Image(format="png", value=b"") for _ in range(2)]

    def redraw(_: object = None) -> None:
        z = torch.tensor([slider.value for slider in sliders])
        pictures[0].value = png_bytes(pad_image(sheet, device_ticks, z), scale=1)
        pictures[1].value = png_bytes(latent_image(decode, z))

    return _panel(sliders, pictures, redraw)


def walk_scrubber(decode: Decode, ends: Tensor) -> Panel:
    """Returns a slider that walks from each latent of `ends` `[N, D]` to the next, on the arc or
    the straight line.
    """
    slider = ipywidgets.FloatSlider(value=0.0, min=0.0, max=1.0, step=0.01, description="way")
    choice = ipywidgets.Dropdown(options=list(PATHS), description="path")
    picture = ipywidgets.Image(format="png", value=b"")

    def redraw(_: object = None) -> None:
        path = cast(str, choice.value)
        picture.value = png_bytes(walk_image(decode, ends, slider.value, path))

    return _panel([slider, choice], [picture], redraw)


def temperature_explorer(
    decode: Decode, latent_dim: int, *, num_images: int = 8, seed: int = 0
) -> Panel:
    """Returns a slider for the temperature above the same draws at that temperature."""
    eps = torch.randn(num_images, latent_dim, generator=make_rng(seed))
    slider = ipywidgets.FloatSlider(
        value=1.0, min=0.0, max=2.0, step=0.05, description="temperature"
    )
    picture = ipywidgets.Image(format="png", value=b"")

    def redraw(_: object = None) -> None:
        picture.value = png_bytes(temperature_image(decode, eps, slider.value), scale=3)

    return _panel([slider], [picture], redraw)


def truncation_explorer(
    decode: Decode, latent_dim: int, *, num_images: int = 8, seed: int = 0
) -> Panel:
    """Returns a slider for the bound of the noise above the same draws within that bound."""
    uniforms = torch.rand(num_images, latent_dim, generator=make_rng(seed), dtype=torch.float64)
    slider = ipywidgets.FloatSlider(
        value=4.0, min=0.05, max=4.0, step=0.05, description="truncation"
    )
    picture = ipywidgets.Image(format="png", value=b"")

    def redraw(_: object = None) -> None:
        picture.value = png_bytes(truncation_image(decode, uniforms, slider.value), scale=3)

    return _panel([slider], [picture], redraw)


def _panel(
    controls: Sequence[ipywidgets.Widget],
    pictures: Sequence[ipywidgets.Image],
    redraw: Callable[..., None],
) -> Panel:
    redraw()
    for control in controls:
        control.observe(redraw, names="value")
    return Panel([ipywidgets.HBox([ipywidgets.VBox(controls), *pictures])])
