"""Flows in the plane: the ways of single points from noise to data, still and animated.

Every figure carries an alt text made of the numbers that it draws (see `canvas.describe`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, Animation, animate, describe, new_figure
from course_utils.plotting.words import counted, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REACH = 2.4  # both axes show -REACH to REACH
FILM_SIDE, FILM_GAP = 110, 6  # pixels
FILM_FRAMES = 20
WAY, PLACE, TARGET = (70, 110, 160), (255, 255, 255), (200, 130, 0)  # colours of the film


def flow_paths(walks: Mapping[str, Tensor], centres: Tensor) -> Figure:
    """Returns the ways of points from noise to data, one panel for each flow: grey dots where they
    begin, blue ones where they end, the modes as orange rings. A title gives the median of their
    bends.

    Args:
        walks: `{name: places}`, each `[S + 1, B, 2]`, noise first; 1 to 4 of them.
        centres: of the modes, `[K, 2]`.

    Raises:
        CourseError: places of another shape, or another number of panels.

    Source: the bend is that of `path_bends`, here from the places of equal steps.
    """
    _check_walks(walks)
    side = WIDTH / max(2, len(walks))
    fig = new_figure(side + 0.35)
    parts = {}
    for axes, (name, places) in zip(fig.subplots(1, len(walks), squeeze=False)[0], walks.items()):
        x = places.detach().double().cpu()
        for way in x.transpose(0, 1):
            axes.plot(*way.T.tolist(), color=OKABE_ITO[0], linewidth=0.7, alpha=0.6)
        axes.scatter(*x[0].T.tolist(), s=6, color="0.6", linewidths=0, zorder=2)
        axes.scatter(*x[-1].T.tolist(), s=8, color=OKABE_ITO[0], linewidths=0, zorder=3)
        axes.plot(*centres.T.tolist(), "o", markersize=9, mfc="none", mec=OKABE_ITO[1])
        limits = (-REACH, REACH)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xticks=[], yticks=[])
        bend = _median_bend(x)
        axes.set_title(f"{name}\nbend {bend:.3f}", fontsize=10)
        parts[name] = f"{bend:.3f}"
    num = next(iter(walks.values())).shape[1]
    opening = (
        f"Ways of {counted(num, 'point')} from noise to the modes on a ring, one panel for each"
        " flow; the median of their bends, 0 for straight ways"
    )
    return describe(fig, summary(opening, parts))


def flow_film(walks: Mapping[str, Tensor], centres: Tensor, seconds: float = 3.0) -> Animation:
    """Returns points that move from noise to data as an animation, the flows side by side; each
    leaves its way behind as a line of dots.

    Args:
        walks: see `flow_paths`; equally many places each.
        centres: of the modes, `[K, 2]`.
        seconds: from the first to the last frame.

    Raises:
        CourseError: places of another shape or number, or another number of flows.
    """
    _check_walks(walks)
    lengths = {len(places) for places in walks.values()}
    require(len(lengths) == 1, "walks", "equally many places each", sorted(lengths))
    num_places = lengths.pop()
    require(num_places >= 3, "walks", "at least 3 places each", num_places)
    chosen = torch.linspace(0, num_places - 1, min(FILM_FRAMES, num_places)).round().int().tolist()
    panels = [_film_panel(places, centres, chosen) for places in walks.values()]
    frames = [_side_by_side(row) for row in zip(*panels)]
    film = animate(frames, seconds, scale=2)
    names = ", ".join(walks)
    return replace(
        film,
        alt_text=(
            f"Animation in {film.num_frames} frames: points move from noise to eight modes on a"
            f" ring and leave their ways behind. From left to right: {names}."
        ),
    )


def _median_bend(x: Tensor) -> float:
    """Returns the median over ways `[S + 1, B, 2]` of the mean squared difference between the
    velocity of a step and the way from end to end, as a share of the squared length of that way.
    """
    velocities, way = x.diff(dim=0) * (len(x) - 1), x[-1] - x[0]
    bends = (velocities - way).square().sum(2).mean(0) / way.square().sum(1)
    return bends.median().item()


def _check_walks(walks: Mapping[str, Tensor]) -> None:
    require(1 <= len(walks) <= 4, "walks", "1 to 4 flows", len(walks))
    for name, places in walks.items():
        good = places.ndim == 3 and len(places) >= 2 and places.shape[2] == 2
        require(good, name, "places [S + 1, B, 2]", list(places.shape))


def _film_panel(places: Tensor, centres: Tensor, chosen: list[int]) -> list[Tensor]:
    """Returns the frames of one flow, uint8 `[3, FILM_SIDE, FILM_SIDE]` each."""
    x = places.detach().float().cpu()
    canvas, frames, drawn = torch.zeros(3, FILM_SIDE, FILM_SIDE, dtype=torch.uint8), [], 0
    for row, column in _pixels(centres.float()):
        canvas[:, row - 2 : row + 3, column] = torch.tensor(TARGET, dtype=torch.uint8)[:, None]
        canvas[:, row, column - 2 : column + 3] = torch.tensor(TARGET, dtype=torch.uint8)[:, None]
    for place in chosen:
        for start, end in zip(x[drawn:place], x[drawn + 1 : place + 1]):
            for share in torch.linspace(0, 1, 8):
                _dot(canvas, torch.lerp(start, end, share), WAY)
        drawn, frame = place, canvas.clone()
        _dot(frame, x[place], PLACE)
        frames.append(frame)
    return frames


def _pixels(points: Tensor) -> list[list[int]]:
    """Returns row and column of those points that lie inside the picture."""
    flipped = points.flip(1) * torch.tensor([-1.0, 1.0])  # row 0 is at the top
    places = ((flipped + REACH) * FILM_SIDE / (2 * REACH)).floor().long()
    return places[((places >= 0) & (places < FILM_SIDE)).all(1)].tolist()


def _dot(canvas: Tensor, points: Tensor, colour: tuple[int, int, int]) -> None:
    found = torch.tensor(_pixels(points), dtype=torch.int64).view(-1, 2)
    canvas[:, found[:, 0], found[:, 1]] = torch.tensor(colour, dtype=torch.uint8)[:, None]


def _side_by_side(panels: tuple[Tensor, ...]) -> Tensor:
    gap = torch.full((3, FILM_SIDE, FILM_GAP), 255, dtype=torch.uint8)
    pieces = [piece for panel in panels for piece in (panel, gap)]
    return torch.cat(pieces[:-1], dim=2)
