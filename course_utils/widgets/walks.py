"""Ways to move through a latent space by hand: a pad over a 2-D space, a scrubber between images,
sliders for temperature and truncation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.models.latents import arc_path, plane_grid, straight_path, truncated_quantiles
from course_utils.widgets.canvas import LatentPlane
from course_utils.widgets.controls import (
    DECODED,
    Decode,
    LivePicture,
    Panel,
    Slider,
    beside,
    latent_image,
    png_bytes,
    slider,
)

# In this file `decode` is handed latents on the CPU; a model on another device needs `lambda z:
# model.decode(z.to(model.device))`.
PATHS = {"arc": arc_path, "straight line": straight_path}
PAD_STEP = 0.05  # of the pad's sliders


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


def latent_at(ticks: Tensor, place: Sequence[float]) -> list[float]:
    """Returns the latent of a place on `manifold_sheet`: in the middle of a tile that of its image,
    evenly in between.

    Args:
        ticks: places of the sheet on both axes, ascending, `[num]`.
        place: x and y from 0 to 1 across the sheet, with y downwards.
    """
    x, y = place
    tiles = [share * len(ticks) - 0.5 for share in (x, 1 - y)]
    return np.interp(tiles, range(len(ticks)), ticks).tolist()


def place_of(ticks: Tensor, z: Sequence[float]) -> list[float]:
    """Returns the place of a latent on `manifold_sheet`, as for `latent_at`."""
    x, y = (np.interp(z, ticks, range(len(ticks))) + 0.5) / len(ticks)
    return [x, 1 - y]


def latent_pad(decode: Decode, ticks: Tensor) -> Panel:
    """Returns the sheet of a whole 2-D latent space to drag in, two sliders for its axes, and the
    image at this place.
    """
    device_ticks = ticks.detach().cpu()
    sheet = png_bytes(manifold_sheet(decode, device_ticks), scale=1)
    plane, picture = LatentPlane(sheet=sheet), LivePicture(alt=DECODED)
    # The limits are whole steps, so that 0 is one of the places where a slider can stand.
    low, high = (PAD_STEP * round(tick.item() / PAD_STEP) for tick in device_ticks[[0, -1]])
    sliders = [slider(f"z[{dim}]", 0.0, low, high, PAD_STEP) for dim in (0, 1)]
    moving: list[object] = []  # what is moved by hand at present: the others follow it

    def redraw(move: Any = None) -> None:
        if moving:
            return
        moving.append(move)
        try:
            if move and move.owner is plane:
                for control, value in zip(sliders, latent_at(device_ticks, plane.place)):
                    control.value = value
            z = [control.value for control in sliders]
            if not move or move.owner is not plane:
                plane.place = place_of(device_ticks, z)
            picture.value = png_bytes(latent_image(decode, torch.tensor(z)))
        finally:
            moving.clear()

    redraw()
    plane.observe(redraw, names="place")
    for control in sliders:
        control.observe(redraw, names="value")
    return beside([*sliders, picture], [plane])


def walk_scrubber(decode: Decode, ends: Tensor) -> Panel:
    """Returns a slider that walks from each latent of `ends` `[N, D]` to the next, on the arc or
    the straight line.
    """
    way = Slider(step=0.01, description="way")
    choice = ipywidgets.Dropdown(options=list(PATHS), description="path")
    picture = LivePicture(
        alt="Image that the decoder makes of the latent at this place of the way."
    )

    def redraw(_: object = None) -> None:
        path = cast(str, choice.value)
        picture.value = png_bytes(walk_image(decode, ends, way.value, path))

    return _panel([way, choice], picture, redraw)


def temperature_explorer(
    decode: Decode, latent_dim: int, *, num_images: int = 8, seed: int = 0
) -> Panel:
    """Returns a slider for the temperature above the same draws at that temperature."""
    eps = torch.randn(num_images, latent_dim, generator=make_rng(seed))
    control = slider("temperature", 1.0, 0.0, 2.0, step=0.05)
    picture = LivePicture(alt=f"{num_images} draws at this temperature.")

    def redraw(_: object = None) -> None:
        picture.value = png_bytes(temperature_image(decode, eps, control.value), scale=3)

    return _panel([control], picture, redraw)


def truncation_explorer(
    decode: Decode, latent_dim: int, *, num_images: int = 8, seed: int = 0
) -> Panel:
    """Returns a slider for the bound of the noise above the same draws within that bound."""
    uniforms = torch.rand(num_images, latent_dim, generator=make_rng(seed), dtype=torch.float64)
    control = slider("truncation", 4.0, 0.05, 4.0, step=0.05)
    picture = LivePicture(alt=f"{num_images} draws from noise within this bound.")

    def redraw(_: object = None) -> None:
        picture.value = png_bytes(truncation_image(decode, uniforms, control.value), scale=3)

    return _panel([control], picture, redraw)


def _panel(
    controls: Sequence[ipywidgets.Widget], picture: LivePicture, redraw: Callable[..., None]
) -> Panel:
    redraw()
    for control in controls:
        control.observe(redraw, names="value")
    return beside(controls, [picture])
