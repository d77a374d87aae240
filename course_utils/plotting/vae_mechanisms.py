"""How a VAE works, in pictures: the way of one image with its tensors, reparameterisation as a
graph, the encoder's ellipses over the prior, and the holes between the latents of images.

Every figure carries an alt text made of the numbers that it draws (see `canvas.describe`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from course_utils.base.config import require
from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import check_count
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, describe, new_figure
from course_utils.plotting.charts import CLASS_COLOURS, apart
from course_utils.plotting.mechanisms import (
    BOX_COLOUR,
    EDGE_COLOUR,
    GRADIENT_COLOUR,
    Place,
    check_plane,
    draw_arrow,
    draw_framed,
    draw_shape,
    draw_strip,
    new_stage,
    panel_on,
    span,
)
from course_utils.plotting.pictures import as_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

HOLE_COLOUR, OCCUPIED_COLOUR = OKABE_ITO[4], OKABE_ITO[0]
BLOCK_ROWS = 50  # draws at a time
PRIOR_RADII = {1.0: "-", 2.0: "--"}  # standard deviations: line


def vae_diagram(image: Tensor, mu: Tensor, logvar: Tensor, z: Tensor, decoded: Tensor) -> Figure:
    """Returns a diagram of how one image passes through a VAE, with the tensors themselves and
    their shapes: the encoder's mu and log sigma^2 as bars, z = mu + sigma * eps, the decoded image.

    The eps of the picture is (z - mu) / sigma, so it is the one that this z was made with. All bars
    share one scale.

    Args:
        image, decoded: uint8 or signed, `[1, C, H, W]` each.
        mu, logvar, z: `[1, D]` each; z is one draw of q(z | x).

    Raises:
        CourseError: more than one image, latents of different shapes, or NaN among them.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), sec. 2.4 and app. C.2.
    """
    import torch

    _check_diagram(image, mu, logvar, z, decoded)
    mu, logvar, z = (values.detach().cpu().double()[0] for values in (mu, logvar, z))
    eps = (z - mu) / torch.exp(0.5 * logvar)
    pictures = [as_uint8(picture)[0] for picture in (image, decoded)]
    reach = max(part.abs().max().item() for part in (mu, logvar, z, eps))
    limit = max(1, math.ceil(reach))
    fig, stage = new_stage(3.3)
    middle, upper, lower = 1.5, 2.18, 0.82  # heights of the rows, inches
    for picture, x, name in zip(pictures, (0.53, 6.47), ("x", "decoded")):
        draw_framed(panel_on(stage, (x, middle), 0.9, 0.9), picture)
        label = f"{name}\n{list(picture.shape)}"
        stage.text(x, middle - 0.53, label, ha="center", va="top", fontsize=10)
    draw_shape(stage, [(1.14, 0.95), (1.14, 2.05), (1.8, 1.8), (1.8, 1.2)], "encoder")
    draw_shape(stage, [(5.2, 1.2), (5.2, 1.8), (5.86, 2.05), (5.86, 0.95)], "decoder")
    draw_shape(stage, _rectangle((3.42, middle), 0.92, 0.6), "z =\nμ + σ ⊙ ε")
    for values, place, name in (
        (mu, (2.4, upper), "μ"),
        (logvar, (2.4, lower), "log σ²"),
        (eps, (3.42, 2.66), "ε"),
        (z, (4.55, middle), "z"),
    ):
        draw_strip(panel_on(stage, place, 0.62, 0.72), values, limit)
        label = f"{name}  {list(values.shape)}"
        stage.text(place[0], place[1] + 0.4, label, ha="center", va="bottom", fontsize=10)
    for start, end in (
        ((1.0, middle), (1.14, middle)),
        ((1.82, middle + 0.12), (2.06, upper - 0.1)),
        ((1.82, middle - 0.12), (2.06, lower + 0.1)),
        ((2.74, upper - 0.1), (2.96, middle + 0.12)),
        ((2.74, lower + 0.1), (2.96, middle - 0.12)),
        ((3.42, 2.29), (3.42, middle + 0.3)),
        ((3.88, middle), (4.21, middle)),
        ((4.89, middle), (5.2, middle)),
        ((5.86, middle), (6.02, middle)),
    ):
        draw_arrow(stage, start, end)
    stage.text(3.82, 2.66, "drawn from N(0, I),\noutside the network", va="center", fontsize=10)
    stage.text(
        WIDTH / 2,
        0.1,
        f"σ = exp(½ log σ²); bars run over the {len(z)} dimensions, each from −{limit} to {limit}",
        ha="center",
        fontsize=10,
    )
    off = (pictures[0].double() - pictures[1].double()).div(255).square().mean().sqrt().item()
    return describe(
        fig,
        f"Diagram of a VAE: an image {list(pictures[0].shape)} enters the encoder, which gives mu"
        f" ({span(mu)}) and log sigma squared ({span(logvar)}) of {len(mu)} latent dimensions."
        f" eps ({span(eps)}) is drawn from N(0, I); z = mu + sigma * eps ({span(z)}) enters the"
        f" decoder. The decoded image differs from the first by {off:.2f} of the range of pixels"
        " (root mean square).",
    )


def _check_diagram(image: Tensor, mu: Tensor, logvar: Tensor, z: Tensor, decoded: Tensor) -> None:
    latents = [list(values.shape) for values in (mu, logvar, z)]
    if mu.ndim != 2 or len(mu) != 1 or latents != [latents[0]] * 3:
        raise CourseError(
            "expected mu, logvar and z of one image, [1, D] each, got"
            f" {', '.join(map(str, latents))}; encode x[:1] and draw one z for it."
        )
    if not all(values.isfinite().all() for values in (mu, logvar, z)):
        raise CourseError(
            "expected finite mu, logvar and z, got NaN or infinity; the model has diverged, so"
            " train it again with a smaller learning rate."
        )
    if image.ndim != 4 or len(image) != 1 or image.shape != decoded.shape:
        raise CourseError(
            "expected one image and its decoded one, [1, C, H, W] each, got"
            f" {list(image.shape)} and {list(decoded.shape)}; pass x[:1] and decode(z)."
        )


def _rectangle(centre: Place, width: float, height: float) -> list[Place]:
    (x, y), w, h = centre, width / 2, height / 2
    return [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]


def reparameterisation_graph() -> Figure:
    """Returns two graphs side by side: on the left z is drawn from N(mu, sigma^2), and the gradient
    stops at the draw; on the right z is computed from an eps that is drawn outside, and the
    gradient reaches mu and sigma.

    Source: Kingma & Welling 2019 (arXiv:1906.02691), fig. 2.3.
    """
    fig, stage = new_stage(3.9)
    for x, title in ((1.75, "z is drawn: z ~ N(μ, σ²)"), (5.25, "z is computed: z = μ + σ ε")):
        stage.text(x, 3.72, title, ha="center", va="center", fontsize=12)
    stage.plot([WIDTH / 2, WIDTH / 2], [0.62, 3.6], color="#CCCCCC", linewidth=1)
    for left, random in ((0.0, True), (3.5, False)):
        loss, z = (left + 1.75, 3.15), (left + 1.75, 2.0)
        _node(stage, loss, "loss", random=False)
        _node(stage, z, "z", random=random)
        _edge(stage, z, loss, backward=True)
        for x, name in ((0.85, "μ"), (2.65, "σ")):
            place = (left + x, 0.95)
            _node(stage, place, name, random=False)
            _edge(stage, place, z, backward=not random, blocked=random)
    for x, y, side, text in (
        (2.15, 2.0, "left", "a draw has no\nderivative"),
        (4.47, 1.5, "right", "∂z/∂μ = 1"),
        (6.03, 1.5, "left", "∂z/∂σ = ε"),
    ):
        stage.text(x, y, text, ha=side, va="center", fontsize=10, color=GRADIENT_COLOUR)
    _node(stage, (6.55, 2.0), "ε", random=True)
    _edge(stage, (6.55, 2.0), (5.25, 2.0))
    stage.text(6.55, 2.34, "N(0, 1)", ha="center", va="center", fontsize=10)
    _draw_key(stage)
    return describe(
        fig,
        "Two graphs. Left: mu and sigma lead to a random node z and on to the loss; the gradient"
        " comes back from the loss to z and is crossed out there, because a draw has no derivative."
        " Right: z = mu + sigma * eps is computed from mu, sigma and a random input eps, and the"
        " gradient comes back through z to mu (factor 1) and to sigma (factor eps).",
    )


NODE_RADIUS = 0.24  # inches


def _node(axes: Axes, centre: Place, text: str, *, random: bool) -> None:
    """Draws a circle for what is drawn at random and a square for what is given or computed."""
    from matplotlib.patches import Circle, Rectangle

    if random:
        axes.add_patch(
            Circle(centre, NODE_RADIUS, facecolor="#FFF1CC", edgecolor="black", zorder=3)
        )
    else:
        corner = (centre[0] - NODE_RADIUS, centre[1] - NODE_RADIUS)
        side = 2 * NODE_RADIUS
        axes.add_patch(
            Rectangle(corner, side, side, facecolor=BOX_COLOUR, edgecolor=EDGE_COLOUR, zorder=3)
        )
    axes.text(*centre, text, ha="center", va="center", fontsize=11, zorder=4)


def _edge(
    axes: Axes, start: Place, end: Place, *, backward: bool = False, blocked: bool = False
) -> None:
    """Draws the arrow between two nodes, and beside it the gradient's way back or a crossed stub of
    it.
    """
    length = math.dist(start, end)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    # on the outer side of a slanted arrow, on the right of an upright one
    outward = 1 if along[0] <= 0.01 else -1
    across = (0.09 * outward * along[1], -0.09 * outward * along[0])
    gap = NODE_RADIUS + 0.09
    first = (start[0] + gap * along[0], start[1] + gap * along[1])
    last = (end[0] - gap * along[0], end[1] - gap * along[1])
    if not (backward or blocked):
        draw_arrow(axes, first, last)
        return
    draw_arrow(axes, *(_moved(place, across, -1) for place in (first, last)))
    first, last = (_moved(place, across, 1) for place in (first, last))
    look = {"color": GRADIENT_COLOUR, "linestyle": (0, (4, 2)), "linewidth": 1.8}
    if backward:
        draw_arrow(axes, last, first, **look)
        return
    middle = ((first[0] + 2 * last[0]) / 3, (first[1] + 2 * last[1]) / 3)
    draw_arrow(axes, last, middle, **look)
    axes.plot(*middle, "x", color=GRADIENT_COLOUR, markersize=13, markeredgewidth=2.5, zorder=5)


def _moved(place: Place, step: Place, times: float) -> Place:
    return (place[0] + times * step[0], place[1] + times * step[1])


def _draw_key(axes: Axes) -> None:
    from matplotlib.lines import Line2D

    def mark(marker: str, colour: str, edge: str, label: str) -> Line2D:
        return Line2D(
            [],
            [],
            marker=marker,
            markersize=10,
            linestyle="",
            markerfacecolor=colour,
            markeredgecolor=edge,
            label=label,
        )

    axes.legend(
        handles=[
            mark("o", "#FFF1CC", "black", "drawn at random"),
            mark("s", BOX_COLOUR, EDGE_COLOUR, "given or computed"),
            Line2D([], [], color="black", linewidth=1.3, label="forward"),
            Line2D([], [], color=GRADIENT_COLOUR, linestyle=(0, (4, 2)), label="gradient"),
        ],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=4,
        frameon=False,
        fontsize=10,
    )


def encoder_ellipses(
    mu: Tensor, logvar: Tensor, labels: Tensor, class_names: Sequence[str], title: str = ""
) -> Figure:
    """Returns q(z | x) of each image as an ellipse of one standard deviation, over the circles of
    one and two standard deviations of the prior N(0, I).

    Beside each ellipse stands its class: the name where that is one letter or digit, else the
    number.

    Args:
        mu, logvar: of q(z | x), `[N, 2]` each; about 60 images stay legible.
        labels: int64 `[N]`, indices into `class_names`.

    Raises:
        CourseError: other shapes than these.
    """
    import torch
    from matplotlib.patches import Ellipse

    check_plane("mu", mu)
    if logvar.shape != mu.shape or len(labels) != len(mu):
        raise CourseError(
            f"expected logvar {list(mu.shape)} and {len(mu)} labels, one for each row of mu, got"
            f" {list(logvar.shape)} and {len(labels)} labels; pass both parts of model.encode(x)."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= len(class_names):
        raise CourseError(
            f"labels: expected numbers from 0 to {len(class_names) - 1}, got {int(labels.min())} to"
            f" {int(labels.max())}; give the class_names of the same dataset."
        )
    mu, std = mu.detach().cpu().double(), torch.exp(0.5 * logvar.detach().cpu().double())
    fig = new_figure(6.4)
    axes = fig.subplots()
    _draw_prior(axes)
    for (x, y), (width, height), label in zip(mu.tolist(), (2 * std).tolist(), labels.tolist()):
        colour = CLASS_COLOURS[label % len(CLASS_COLOURS)]
        axes.add_patch(
            Ellipse((x, y), width, height, facecolor=(colour, 0.2), edgecolor=colour, linewidth=1.4)
        )
        axes.annotate(
            _short_name(class_names, label),
            (x + width / 2, y),
            (2, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
            parse_math=False,
        )
    # ellipses do not widen the axes by themselves
    _frame_plane(axes, max(2.2, (mu.abs() + std).max().item() + 0.2))
    axes.set_title(title)
    axes.plot([], [], color="#555555", label="q(z | x), one standard deviation")
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.09), ncols=3, fontsize=9)
    within = [int((mu.norm(dim=1) <= radius).sum()) for radius in PRIOR_RADII]
    return describe(
        fig,
        f"Ellipses of one standard deviation of q(z | x) for {len(mu)} images in the latent plane,"
        f" marked by class. Their standard deviations have the median {std.median().item():.2f},"
        f" where the prior has 1. {within[0]} centres lie within one and {within[1]} within two"
        " standard deviations of the prior's mean.",
    )


def holes_on_plane(
    latents: Tensor,
    draws: Tensor,
    decoded: Tensor,
    *,
    radius: float = 0.2,
    level: float = 0.25,
    num_shown: int = 6,
) -> Figure:
    """Returns the latent plane with the latents of images in grey and draws from the prior N(0, I)
    on it, those in holes marked, beside the decoded pictures of the first few of both kinds.

    A draw lies in a hole if the number of images within `radius` of it is below `level` times the
    number that would be expected if the latents of images were drawn from N(0, I) themselves. Some
    draws in the tails would be marked even then, by chance; the title says what share. Both numbers
    take the density of the prior as constant over the small circle round each draw.

    Args:
        latents: one draw of q(z | x) for each of N images, `[N, 2]`; a few thousand, so that the
            share by chance is small.
        draws: from N(0, I), `[M, 2]`.
        decoded: their pictures, uint8 or signed `[M, C, H, W]`.
        radius: above 0.
        level: between 0 and 1.
        num_shown: pictures of each kind at most, from 1 to 9.

    Raises:
        CourseError: other shapes than these, or numbers out of range.

    Source: Rosca et al. 2018 (arXiv:1802.06847), on the mismatch of prior and aggregate posterior.
    """
    check_count("num_shown", num_shown, 1, 9)
    holes, num_by_chance = _holes(latents, draws, radius, level)
    if len(decoded) != len(draws):
        raise CourseError(
            f"decoded: expected {len(draws)} pictures, one for each draw, got {len(decoded)}; pass"
            " model.decode(draws)."
        )
    latents, draws = (points.detach().cpu().double() for points in (latents, draws))
    fig = new_figure(4.5)
    plane_part, picture_part = fig.subfigures(1, 2, width_ratios=(1.75, 1), squeeze=False)[0]
    axes = plane_part.subplots()
    axes.scatter(*latents.T.tolist(), s=4, color="#999999", linewidths=0, zorder=1)
    _draw_prior(axes)
    kinds = (
        (holes, "^", 26, HOLE_COLOUR, "drawn, few images near", "ABCDEFGHI"),
        (~holes, "o", 8, OCCUPIED_COLOUR, "drawn, images near", "123456789"),
    )
    blocks = picture_part.subfigures(2, 1, hspace=0.02)
    signs_of = []
    for block, (chosen, marker, size, colour, name, signs) in zip(blocks, kinds):
        points = draws[chosen]
        axes.scatter(
            *points.T.tolist(),
            s=size,
            marker=marker,
            color=colour,
            linewidths=0,
            zorder=2,
            label=name.removeprefix("drawn, "),
        )
        shown = as_uint8(decoded.detach().cpu()[chosen][:num_shown])
        signs_of += [
            (place, sign, colour) for place, sign in zip(points.tolist(), signs[: len(shown)])
        ]
        block.suptitle(name, color=colour, fontsize=11)
        _draw_block(block, shown, signs, num_shown)
    _draw_signs(axes, signs_of)
    num = int(holes.sum())
    found, by_chance = (f"{100 * part / len(draws):.1f} %" for part in (num, num_by_chance))
    share = f"{100 * level:.0f} %"
    # all but the outermost latents
    reach = max(draws.abs().max().item(), latents.abs().quantile(0.995).item())
    _frame_plane(axes, max(3.0, reach + 0.2))
    axes.set_title(
        f"{num} of {len(draws)} draws ({found}) have fewer than {share} of\n"
        f"the expected images near them (by chance: {by_chance})",
        fontsize=10,
    )
    axes.scatter([], [], s=12, color="#999999", label=f"latents of {len(latents):,} images")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=3, fontsize=8, columnspacing=1.0
    )
    return describe(
        fig,
        f"The latent plane with the latents of {len(latents):,} images and {len(draws)} draws from"
        f" the prior. {num} draws ({found}) have fewer than {share} of the images within"
        f" {radius:g} of them that N(0, I) would put there; by chance it would be {by_chance}."
        f" Beside it the decoded pictures of {min(num, num_shown)} of these draws and of"
        f" {min(len(draws) - num, num_shown)} others.",
    )


def _holes(latents: Tensor, draws: Tensor, radius: float, level: float) -> tuple[Tensor, float]:
    """Returns which draws lie in holes, bool `[M]`, and how many would do so by chance."""
    import torch

    check_plane("latents", latents)
    check_plane("draws", draws)
    require(radius > 0, "radius", "more than 0", radius)
    require(0 < level < 1, "level", "between 0 and 1", level)
    latents, draws = (points.detach().cpu().double() for points in (latents, draws))
    # pi r^2 times the density of N(0, I), for each of the images
    expected = len(latents) * torch.exp(-0.5 * draws.square().sum(1)) * radius**2 / 2
    # in pieces, so that memory stays small for all training images
    counts = torch.cat(
        [(torch.cdist(rows, latents) <= radius).sum(1) for rows in draws.split(BLOCK_ROWS)]
    )
    # a Poisson count is at most k with the probability Q(k + 1, mean)
    at_most = torch.ceil(level * expected) - 1
    chance = torch.special.gammaincc(at_most + 1, expected)
    return counts < level * expected, chance.sum().item()


def _draw_prior(axes: Axes) -> None:
    from matplotlib.patches import Circle

    for radius, line in PRIOR_RADII.items():
        axes.add_patch(Circle((0, 0), radius, fill=False, linestyle=line, linewidth=1.3, zorder=3))
        axes.plot(
            [], [], color="black", linestyle=line, linewidth=1.3, label=f"prior, {radius:g} std"
        )


def _frame_plane(axes: Axes, limit: float) -> None:
    axes.set(
        xlim=(-limit, limit),
        ylim=(-limit, limit),
        aspect="equal",
        xlabel="z, dimension 0",
        ylabel="z, dimension 1",
    )


def _short_name(class_names: Sequence[str], label: int) -> str:
    name = class_names[label]
    return name if len(name) == 1 and name.isalnum() else str(label)


def _draw_signs(axes: Axes, signs: Sequence[tuple[Sequence[float], str, str]]) -> None:
    """Writes a sign near each place, apart from the others, the same that stands above the picture
    of that place.

    Args:
        signs: place, sign and colour of each.
    """
    # a little above the place, or the sign would hide it
    raised = [(place[0], place[1] + 0.45) for place, _, _ in signs]
    for (place, sign, colour), beside in zip(signs, apart(raised, 0.45)):
        axes.annotate(
            sign,
            (place[0], place[1]),
            beside,
            ha="center",
            va="center",
            fontsize=10,
            weight="bold",
            color=colour,
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": colour},
            arrowprops={"arrowstyle": "-", "color": colour, "shrinkB": 0},
            zorder=4,
        )


def _draw_block(part: Any, pictures: Tensor, signs: str, num_places: int) -> None:
    """Draws pictures in rows of three, each below its sign; places without one stay empty."""
    cells = part.subplots(-(-num_places // 3), 3, squeeze=False).flat
    for axes in cells:
        axes.set_axis_off()
    for axes, picture, sign in zip(part.axes, pictures, signs):
        axes.set_axis_on()
        draw_framed(axes, picture)
        axes.set_title(sign, fontsize=10, weight="bold", pad=2)
