"""How a diffusion model works, in pictures: a U-Net with its skip connections, feature maps under
FiLM, and guidance as arrows.

Every figure carries an alt text made of the numbers that it draws (see `canvas.describe`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_utils.base.config import require
from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import DIVERGING, OKABE_ITO, WIDTH, describe, new_figure
from course_utils.plotting.mechanisms import (
    BOX_COLOUR,
    EDGE_COLOUR,
    Place,
    check_plane,
    draw_arrow,
    new_stage,
)
from course_utils.plotting.words import counted, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

EMBEDDING_COLOUR, SKIP_COLOUR = OKABE_ITO[1], OKABE_ITO[0]
MAX_LEVELS = 4


def unet_diagram(
    sizes: Sequence[tuple[int, int]], image_shape: tuple[int, int, int] = (1, 28, 28)
) -> Figure:
    """Returns a diagram of a U-Net: blocks on the way down and on the way up with their channels
    and sides, and a skip connection between the two blocks of each resolution but the lowest.

    Each block is as high as its maps are, in the same units, and the wider the more channels it
    has. An orange bar marks what time and class act on, which is every block.

    Args:
        sizes: channels and side of the maps of each resolution, from the highest down, such as
            `[(32, 14), (64, 7)]`; 2 to 4 of them.
        image_shape: of what comes in and goes out, `(C, H, W)`.

    Raises:
        CourseError: another number of resolutions, numbers below 1, or sides that do not fall.

    Source: Ronneberger et al. 2015 (arXiv:1505.04597), fig. 1.
    """
    _check_sizes(sizes)
    levels = len(sizes)
    gap = 1.05 if levels < MAX_LEVELS else 0.9
    fig, stage = new_stage(1.35 + gap * (levels - 1))
    top = stage.get_ylim()[1] - 0.5
    left, right, inward = 1.75, WIDTH - 1.75, 0.55
    places = []
    for level, size in enumerate(sizes):
        y, lowest = top - gap * level, level == levels - 1
        xs = [WIDTH / 2] if lowest else [left + inward * level, right - inward * level]
        for x in xs:
            _draw_maps(stage, (x, y), size, sizes)
        places.append(xs)
        if not lowest:
            _draw_skip(stage, xs, y, size, sizes)
    for x, text in ((0.6, "noisy\nimage x_t"), (WIDTH - 0.6, "prediction")):
        label = f"{text}\n{list(image_shape)}"
        stage.text(x, top, label, ha="center", va="center", fontsize=10)
    half = _widths(sizes)[0] / 2
    draw_arrow(stage, (1.1, top), (left - half - 0.04, top))
    draw_arrow(stage, (right + half + 0.04, top), (WIDTH - 1.1, top))
    _draw_ways(stage, places, top, gap, sizes)
    _draw_unet_key(stage)
    said = ", ".join(f"{channels} channels of {side} x {side}" for channels, side in sizes)
    return describe(
        fig,
        f"Diagram of a U-Net with {levels} resolutions: {said}. An image {list(image_shape)} goes"
        " down on the left to the lowest resolution and up on the right, where a skip connection"
        " adds the maps of the block of the same size on the left, side by side with its own. Time"
        " and class act on every block.",
    )


def _check_sizes(sizes: Sequence[tuple[int, int]]) -> None:
    pairs = [tuple(size) for size in sizes]
    require(2 <= len(pairs) <= MAX_LEVELS, "sizes", f"2 to {MAX_LEVELS} resolutions", len(pairs))
    right = all(len(pair) == 2 and min(pair) >= 1 for pair in pairs)
    falling = right and all(high[1] > low[1] for high, low in zip(pairs, pairs[1:]))
    require(falling, "sizes", "(channels, side) pairs of falling sides", pairs)


def _widths(sizes: Sequence[tuple[int, int]]) -> list[float]:
    """Returns how wide each block is drawn, in inches: 0.3 for the most channels."""
    most = max(channels for channels, _ in sizes)
    return [max(0.1, 0.3 * channels / most) for channels, _ in sizes]


def _heights(sizes: Sequence[tuple[int, int]]) -> list[float]:
    """Returns how high each block is drawn, in inches: 0.8 for the largest maps."""
    return [max(0.14, 0.8 * side / sizes[0][1]) for _, side in sizes]


def _draw_maps(
    axes: Axes, centre: Place, size: tuple[int, int], sizes: Sequence[tuple[int, int]]
) -> None:
    """Draws a block with its orange bar below and its numbers beneath that."""
    from matplotlib.patches import Rectangle

    place = list(sizes).index(size)
    width, height = _widths(sizes)[place], _heights(sizes)[place]
    corner = (centre[0] - width / 2, centre[1] - height / 2)
    axes.add_patch(Rectangle(corner, width, height, facecolor=BOX_COLOUR, edgecolor=EDGE_COLOUR))
    bar = (corner[0], corner[1] - 0.07)
    axes.add_patch(Rectangle(bar, width, 0.07, facecolor=EMBEDDING_COLOUR, edgecolor="none"))
    text = f"[{size[0]}, {size[1]}, {size[1]}]"
    axes.text(centre[0], bar[1] - 0.03, text, ha="center", va="top", fontsize=10)


def _draw_skip(
    axes: Axes,
    xs: Sequence[float],
    y: float,
    size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
) -> None:
    half = _widths(sizes)[list(sizes).index(size)] / 2 + 0.05
    draw_arrow(axes, (xs[0] + half, y), (xs[1] - half, y), color=SKIP_COLOUR, linewidth=1.8)
    text = "skip connection" if xs[1] - xs[0] > 2 else "skip"
    axes.text(WIDTH / 2, y + 0.05, text, ha="center", va="bottom", fontsize=10)


def _draw_ways(
    axes: Axes,
    places: Sequence[Sequence[float]],
    top: float,
    gap: float,
    sizes: Sequence[tuple[int, int]],
) -> None:
    """Draws the arrows from each resolution to the next lower one and back."""
    heights = _heights(sizes)
    for level, (above, below) in enumerate(zip(places, places[1:])):
        start = top - gap * level - heights[level] / 2 - 0.3  # under the numbers
        end = top - gap * (level + 1)
        half = _widths(sizes)[level + 1] / 2 + 0.06
        draw_arrow(axes, (above[0], start), (below[0] - half, end))
        draw_arrow(axes, (below[-1] + half, end), (above[-1], start))


def _draw_unet_key(axes: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    axes.legend(
        handles=[
            Patch(
                facecolor=BOX_COLOUR, edgecolor=EDGE_COLOUR, label="block [channels, side, side]"
            ),
            Patch(facecolor=EMBEDDING_COLOUR, label="time and class act here"),
            Line2D([], [], color=SKIP_COLOUR, label="copied and joined"),
        ],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=3,
        frameon=False,
        fontsize=10,
    )


MAX_MAPS = 4


def film_modulation(before: Tensor, scale: Tensor, shift: Tensor, after: Tensor) -> Figure:
    """Returns feature maps before and after the embedding has scaled and shifted them (FiLM), with
    the two numbers of each map between them.

    All maps share one range of colours around 0, so a map that gets stronger colours was
    multiplied and one that turns red or blue as a whole was shifted.

    Args:
        before, after: maps of one image, `[C, H, W]` each, with `after = before * (1 + scale) +
            shift`; the first four are drawn.
        scale, shift: one number for each map, `[C]`.

    Raises:
        CourseError: shapes that do not belong to one another, or `after` that is something else.

    Source: Perez et al. 2018 (arXiv:1709.07871), eq. 2.
    """
    maps, changed, factors, offsets = _checked_film(before, scale, shift, after)
    num = min(MAX_MAPS, len(maps))
    limit = max(maps[:num].abs().max().item(), changed[:num].abs().max().item()) or 1.0
    fig = new_figure(2 * (0.84 * WIDTH / max(num, 3)) + 0.75)
    cells = fig.subplots(2, num, squeeze=False)
    drawn = None
    for column in range(num):
        for axes, values in zip(cells[:, column], (maps[column], changed[column])):
            drawn = axes.imshow(values.numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color="#999999", linewidth=0.8)
        cells[0, column].set_title(f"map {column}", fontsize=11)
        sign = "+" if offsets[column] >= 0 else "−"
        words = f"× {1 + factors[column].item():.2f} {sign} {abs(offsets[column].item()):.2f}"
        cells[1, column].set_title(words, fontsize=11, pad=5)
    cells[0, 0].set_ylabel("before", fontsize=11)
    cells[1, 0].set_ylabel("after", fontsize=11)
    if drawn is not None:
        fig.colorbar(drawn, ax=cells, label="value", shrink=0.9)
    parts = {
        f"map {column}:": (
            f"times {1 + factors[column].item():.2f} plus {offsets[column].item():.2f}"
        )
        for column in range(num)
    }
    opening = (
        f"Feature maps of {maps.shape[1]} x {maps.shape[2]} before and after the embedding acts, in"
        " one range of colours"
    )
    return describe(fig, summary(opening, parts))


def _checked_film(
    before: Tensor, scale: Tensor, shift: Tensor, after: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns maps before and after, scales and shifts, float64 on the CPU."""
    import torch

    num = before.shape[0] if before.ndim == 3 else 0
    shapes = [list(part.shape) for part in (before, scale, shift, after)]
    if num < 1 or after.shape != before.shape or shapes[1:3] != [[num], [num]]:
        raise CourseError(
            "expected before and after [C, H, W] with scale and shift [C], got"
            f" {', '.join(map(str, shapes))}; pass those of one image."
        )
    maps, factors, offsets, changed = (
        part.detach().cpu().double() for part in (before, scale, shift, after)
    )
    expected = maps * (1 + factors[:, None, None]) + offsets[:, None, None]
    size = 1 + expected.abs().max().item()
    if not torch.allclose(expected, changed, rtol=0.0, atol=1e-3 * size):
        raise CourseError(
            "after: expected before * (1 + scale) + shift, got maps that differ from it by up to"
            f" {(expected - changed).abs().max().item():.3g}; pass the maps before and after this"
            " one step."
        )
    return maps, changed, factors, offsets


ARROW_KINDS = {  # what a network was told: colour, width of the arrow in points, layer
    "without a label": (OKABE_ITO[0], 1.8, 4.2),
    "with the label": (OKABE_ITO[2], 1.8, 4.1),
    "guided": (OKABE_ITO[4], 3.0, 4.0),
}


def guidance_arrows(
    x: Tensor,
    plain: Tensor,
    told: Tensor,
    guided: Tensor,
    *,
    data: Tensor | None = None,
    labels: Tensor | None = None,
    label: int = 0,
    step: float = 1.0,
    title: str = "",
) -> Figure:
    """Returns points of the plane with three arrows each: where the sampler goes without a label,
    where with the label, and where guidance sends it, beyond the second in the direction from the
    first.

    The sampler walks against the velocity, from noise to the data, so an arrow is -step times a
    velocity. A dotted line joins the tip of the first arrow to that of the guided one.

    Args:
        x: where the sampler stands, `[N, 2]`; up to six stay legible.
        plain, told, guided: velocities noise - image there, without label, with it and guided,
            `[N, 2]` each.
        data: points of the data, `[M, 2]`, drawn behind.
        labels: their classes, int64 `[M]`.
        label: the one that the network was told; points of this class are drawn dark.
        step: length of the arrows in units of a step in time, above 0.
        title: above the picture.

    Raises:
        CourseError: other shapes than these.

    Source: Ho & Salimans 2022 (arXiv:2207.12598), eq. 6 and fig. 2.
    """
    points, kinds = _checked_arrows(x, (plain, told, guided), step)
    fig = new_figure(5.6)
    axes = fig.subplots()
    seen = [points]
    if data is not None:
        seen.append(_draw_classes(axes, data, labels, label))
    tips = [points - step * velocity for velocity in kinds]
    for (name, (colour, width, layer)), ends in zip(ARROW_KINDS.items(), tips):
        look = {"color": colour, "linewidth": width, "zorder": layer}
        for start, end in zip(points.tolist(), ends.tolist()):
            draw_arrow(axes, tuple(start), tuple(end), **look)
        axes.plot([], [], color=colour, linewidth=width, label=name)
    for first, last in zip(tips[0].tolist(), tips[2].tolist()):
        axes.plot(*zip(first, last), color="#555555", linestyle=":", linewidth=1.2, zorder=3)
    axes.scatter(*points.T.tolist(), s=36, color="black", zorder=5, label="x_t")
    _frame_all(axes, [*seen, *tips])
    scale = _extrapolation(kinds)
    words = "" if scale is None else f"guided = plain + {scale:.2f} · (told − plain)"
    axes.set_title("\n".join(part for part in (title, words) if part), fontsize=11)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.03), ncols=3, fontsize=9.5)
    lengths = [step * velocity.norm(dim=1).mean().item() for velocity in kinds]
    formula = ""
    if scale is not None:
        formula = f" Their tips lie on one line: guided is plain + {scale:.2f} (told - plain)."
    return describe(
        fig,
        f"{counted(len(points), 'point')} of the plane with three arrows each: the step without a"
        f" label (mean length {lengths[0]:.2f}), with the label ({lengths[1]:.2f}) and guided"
        f" ({lengths[2]:.2f}).{formula}"
        f"{_data_words(data, labels, label)}",
    )


def _checked_arrows(
    x: Tensor, velocities: Sequence[Tensor], step: float
) -> tuple[Tensor, list[Tensor]]:
    """Returns points and velocities, float64 on the CPU."""
    shapes = [list(part.shape) for part in (x, *velocities)]
    if x.ndim != 2 or x.shape[1:] != (2,) or len(x) < 1 or shapes != [shapes[0]] * 4:
        raise CourseError(
            "expected x, plain, told and guided [N, 2] each, got"
            f" {', '.join(map(str, shapes))}; this picture needs a model of the plane."
        )
    require(step > 0, "step", "more than 0", step)
    points, *rest = (part.detach().cpu().double() for part in (x, *velocities))
    return points, rest


def _draw_classes(axes: Axes, data: Tensor, labels: Tensor | None, label: int) -> Tensor:
    """Draws data points, those of the class dark, and returns them as float64."""
    import torch

    check_plane("data", data)
    if labels is not None and len(labels) != len(data):
        raise CourseError(
            f"labels: expected {len(data)}, one for each point of data, got {len(labels)}."
        )
    points = data.detach().cpu().double()
    own = torch.ones(len(points), dtype=torch.bool) if labels is None else labels.cpu() == label
    kinds = ((~own, "#BBBBBB", "o", "other data"), (own, "#555555", "^", f"data of class {label}"))
    for chosen, colour, marker, name in kinds:
        if chosen.any():
            name = "data" if labels is None else name
            places = points[chosen].T.tolist()
            axes.scatter(*places, s=14, marker=marker, color=colour, linewidths=0, label=name)
    return points


def _data_words(data: Tensor | None, labels: Tensor | None, label: int) -> str:
    if data is None:
        return ""
    if labels is None:
        return f" Behind them {len(data)} points of the data."
    num = int((labels == label).sum())
    return f" Behind them {len(data)} points of the data, of which {num} are of class {label}."


def _frame_all(axes: Axes, sets: Sequence[Tensor]) -> None:
    """Gives the axes a view that holds all points, with equal units and without ticks."""
    import torch

    low, high = torch.cat(list(sets)).aminmax(dim=0)
    margin = 0.06 * (high - low).max().item() or 1.0
    axes.set(
        xlim=(low[0].item() - margin, high[0].item() + margin),
        ylim=(low[1].item() - margin, high[1].item() + margin),
        aspect="equal",
        xticks=[],
        yticks=[],
    )
    axes.spines[:].set(visible=True, color="#999999")


def _extrapolation(kinds: Sequence[Tensor]) -> float | None:
    """Returns w of guided = plain + w (told - plain), where one w serves all points, else None."""
    plain, told, guided = kinds
    apart_by = told - plain
    total = apart_by.square().sum().item()
    if total == 0:
        return None
    scale = ((guided - plain) * apart_by).sum().item() / total
    rest = (guided - plain - scale * apart_by).square().sum().item()
    return scale if rest < 1e-4 * total * max(1.0, scale**2) else None
