"""Pictures of mechanisms: a VAE with its tensors, reparameterisation as a graph, the encoder's
ellipses over the prior, the holes between the latents of images, weights as images, the two players
of a GAN, a U-Net with its skip connections, feature maps under FiLM, guidance as arrows.

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
from course_utils.plotting.pictures import as_uint8, draw_pixels
from course_utils.plotting.words import counted, summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

Place = tuple[float, float]

BOX_COLOUR, EDGE_COLOUR = "#E6E6E6", "#555555"
GRADIENT_COLOUR = OKABE_ITO[4]
HOLE_COLOUR, OCCUPIED_COLOUR = OKABE_ITO[4], OKABE_ITO[0]
DIVERGING = "RdBu_r"  # ColorBrewer's; readable with every common colour blindness
BLOCK_ROWS = 50  # draws at a time
PRIOR_RADII = {1.0: "-", 2.0: "--"}  # standard deviations: line


def _stage(height: float) -> tuple[Figure, Axes]:
    """Returns a figure and axes without a frame that cover it, whose unit is an inch."""
    from matplotlib.figure import Figure

    # no automatic layout: every place is given
    fig = Figure(figsize=(WIDTH, height))
    axes = fig.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    return fig, axes


def _panel(axes: Axes, centre: Place, width: float, height: float) -> Axes:
    """Returns new axes on a stage, by their centre and size in inches."""
    fig, (full_width, full_height) = axes.figure, (axes.get_xlim()[1], axes.get_ylim()[1])
    left, bottom = centre[0] - width / 2, centre[1] - height / 2
    return fig.add_axes(
        (left / full_width, bottom / full_height, width / full_width, height / full_height)
    )


def _arrow(axes: Axes, start: Place, end: Place, **style: Any) -> None:
    """Draws a straight arrow; `style` changes its colour, line or curvature."""
    look = {"arrowstyle": "-|>", "color": "black", "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops={**look, **style})


def _shape(axes: Axes, corners: Sequence[Place], text: str) -> None:
    """Draws a grey polygon with a text in its middle."""
    from matplotlib.patches import Polygon

    axes.add_patch(Polygon(corners, facecolor=BOX_COLOUR, edgecolor=EDGE_COLOUR))
    x, y = (sum(side) / len(corners) for side in zip(*corners))
    axes.text(x, y, text, ha="center", va="center", fontsize=10)


def _rectangle(centre: Place, width: float, height: float) -> list[Place]:
    (x, y), w, h = centre, width / 2, height / 2
    return [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]


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
    fig, stage = _stage(3.3)
    middle, upper, lower = 1.5, 2.18, 0.82  # heights of the rows, inches
    for picture, x, name in zip(pictures, (0.53, 6.47), ("x", "decoded")):
        _draw_image(_panel(stage, (x, middle), 0.9, 0.9), picture)
        label = f"{name}\n{list(picture.shape)}"
        stage.text(x, middle - 0.53, label, ha="center", va="top", fontsize=10)
    _shape(stage, [(1.14, 0.95), (1.14, 2.05), (1.8, 1.8), (1.8, 1.2)], "encoder")
    _shape(stage, [(5.2, 1.2), (5.2, 1.8), (5.86, 2.05), (5.86, 0.95)], "decoder")
    _shape(stage, _rectangle((3.42, middle), 0.92, 0.6), "z =\nμ + σ ⊙ ε")
    for values, place, name in (
        (mu, (2.4, upper), "μ"),
        (logvar, (2.4, lower), "log σ²"),
        (eps, (3.42, 2.66), "ε"),
        (z, (4.55, middle), "z"),
    ):
        _draw_strip(_panel(stage, place, 0.62, 0.72), values, limit)
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
        _arrow(stage, start, end)
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
        f" ({_span(mu)}) and log sigma squared ({_span(logvar)}) of {len(mu)} latent dimensions."
        f" eps ({_span(eps)}) is drawn from N(0, I); z = mu + sigma * eps ({_span(z)}) enters the"
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


def _span(values: Tensor) -> str:
    return f"{values.min().item():.1f} to {values.max().item():.1f}"


def _draw_image(axes: Axes, picture: Tensor) -> None:
    """Draws one uint8 image `[C, H, W]` with a thin frame, which shows where black ends."""
    draw_pixels(axes, picture)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#999999", linewidth=0.8)


def _draw_strip(axes: Axes, values: Tensor, limit: float) -> None:
    """Draws one bar a dimension, the first on top, over an axis from -limit to limit."""
    places = range(len(values))
    axes.barh(places, values.tolist(), height=0.8, color=OKABE_ITO[0])
    axes.axvline(0, color="black", linewidth=0.7)
    axes.set(xlim=(-limit, limit), ylim=(len(values) - 0.5, -0.5), xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#999999", linewidth=0.8)


def reparameterisation_graph() -> Figure:
    """Returns two graphs side by side: on the left z is drawn from N(mu, sigma^2), and the gradient
    stops at the draw; on the right z is computed from an eps that is drawn outside, and the
    gradient reaches mu and sigma.

    Source: Kingma & Welling 2019 (arXiv:1906.02691), fig. 2.3.
    """
    fig, stage = _stage(3.9)
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
        _arrow(axes, first, last)
        return
    _arrow(axes, *(_moved(place, across, -1) for place in (first, last)))
    first, last = (_moved(place, across, 1) for place in (first, last))
    look = {"color": GRADIENT_COLOUR, "linestyle": (0, (4, 2)), "linewidth": 1.8}
    if backward:
        _arrow(axes, last, first, **look)
        return
    middle = ((first[0] + 2 * last[0]) / 3, (first[1] + 2 * last[1]) / 3)
    _arrow(axes, last, middle, **look)
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

    _check_plane("mu", mu)
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

    _check_plane("latents", latents)
    _check_plane("draws", draws)
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


def _check_plane(name: str, points: Tensor) -> None:
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 1:
        raise CourseError(
            f"{name}: expected points of a latent plane, [N, 2], got {list(points.shape)}; use a"
            " model with model.latent_dim=2."
        )


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
        _draw_image(axes, picture)
        axes.set_title(sign, fontsize=10, weight="bold", pad=2)


def weight_images(weights: Tensor, class_names: Sequence[str], title: str = "") -> Figure:
    """Returns the weights of a linear classifier (softmax regression), one image for each class: a
    bright pixel raises the score of the class where the weight is red and lowers it where it is
    blue.

    One symmetric range of colours holds for all classes, so white is 0 everywhere.

    Args:
        weights: `[K, C, H, W]`, such as `layer.weight.view(K, C, H, W)`; channels are added up,
            which is the effect of a grey pixel.
        class_names: K of them.

    Raises:
        CourseError: another shape, or another number of names.
    """
    if weights.ndim != 4 or len(weights) != len(class_names) or len(weights) < 1:
        raise CourseError(
            f"weights: expected [{len(class_names)}, C, H, W], one image for each of"
            f" {len(class_names)} classes, got {list(weights.shape)}; reshape a layer's weight with"
            " weight.view(K, C, H, W)."
        )
    images = weights.detach().cpu().double().sum(1)  # [K, H, W]
    limit = images.abs().max().item()
    num_columns = min(5, len(images))
    num_rows = -(-len(images) // num_columns)
    fig = new_figure(num_rows * (0.86 * WIDTH / num_columns + 0.2) + (0.3 if title else 0.0))
    cells = list(fig.subplots(num_rows, num_columns, squeeze=False).flat)
    for axes in cells:
        axes.set_axis_off()
    drawn = None
    for axes, image, name in zip(cells, images, class_names):
        # weights that are all 0 are drawn white
        drawn = axes.imshow(image.numpy(), cmap=DIVERGING, vmin=-(limit or 1), vmax=limit or 1)
        axes.set_title(name, fontsize=11, parse_math=False)
    if drawn is not None:
        fig.colorbar(drawn, ax=cells, label="weight", shrink=0.9)
    fig.suptitle(title)
    low, high = images.min().item(), images.max().item()
    strongest = class_names[int(images.abs().flatten(1).amax(1).argmax())]
    return describe(
        fig,
        f"The weights of {len(images)} classes as images of one colour range, red above 0 and blue"
        f" below: they go from {low:.2g} to {high:.2g}, and the largest in size belongs to the"
        f" class {strongest}.",
    )


def gan_game(noise: Tensor, fake: Tensor, real: Tensor) -> Figure:
    """Returns a diagram of the two players of a GAN: the generator makes an image of noise, the
    discriminator gives a real and a generated image one logit each, and the two losses send their
    gradients back on two ways.

    The first of each of the given tensors is drawn.

    Args:
        noise: `[N, D]`; the bars share one scale.
        fake: what the generator made of it, uint8 or signed `[N, C, H, W]`.
        real: training images of the same shape.

    Raises:
        CourseError: noise of another kind, or images of different shapes.

    Source: Goodfellow et al. 2014 (arXiv:1406.2661), sec. 3.
    """
    _check_game(noise, fake, real)
    z = noise.detach().cpu().double()[0]
    fake_image, real_image = (as_uint8(images.detach().cpu()[:1])[0] for images in (fake, real))
    limit = max(1, math.ceil(z.abs().max().item()))
    fig, stage = _stage(4.0)
    upper, lower, middle = 2.72, 1.28, 2.0  # heights of the rows, inches
    _draw_strip(_panel(stage, (0.5, upper), 0.6, 0.8), z, limit)
    stage.text(0.5, upper - 0.46, f"noise z\n[{len(z)}]", ha="center", va="top", fontsize=10)
    _shape(stage, [(1.1, 2.45), (1.1, 2.99), (2.15, 3.24), (2.15, 2.2)], "generator\nG")
    _shape(stage, [(3.75, 1.1), (3.75, 2.9), (4.95, 2.45), (4.95, 1.55)], "discriminator\nD")
    for picture, y, name in ((fake_image, upper, "G(z)"), (real_image, lower, "real x")):
        _draw_image(_panel(stage, (2.85, y), 0.84, 0.84), picture)
        label = f"{name}  {list(picture.shape)}"
        stage.text(2.85, y - 0.45, label, ha="center", va="top", fontsize=10)
    stage.text(
        1.75, lower, "drawn from the\ntraining images", ha="center", va="center", fontsize=10
    )
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": EDGE_COLOUR}
    for y, text in (
        (upper, "G's loss is low where\nD(G(z)) is high"),
        (lower, "D's loss is low where\nD(x) is high and\nD(G(z)) is low"),
    ):
        stage.text(6.1, y, text, ha="center", va="center", fontsize=10, bbox=box)
    stage.text(6.1, middle, "one logit an image", ha="center", va="center", fontsize=10)
    for start, end in (
        ((0.84, upper), (1.1, upper)),
        ((2.15, upper), (2.42, upper)),
        ((3.3, upper), (3.75, 2.4)),
        ((3.3, lower), (3.75, 1.6)),
        ((4.95, middle), (5.36, middle)),
        ((6.1, middle + 0.12), (6.1, upper - 0.27)),
        ((6.1, middle - 0.12), (6.1, lower + 0.35)),
    ):
        _arrow(stage, start, end)
    _way_back(stage, [(6.1, upper + 0.25), (6.1, 3.55), (1.62, 3.55), (1.62, 3.12)])
    _way_back(stage, [(6.1, lower - 0.34), (6.1, 0.4), (4.35, 0.4), (4.35, 1.31)])
    stage.text(
        3.85,
        3.62,
        "gradient of G's loss: through D and G(z) to the weights of G",
        ha="center",
        va="bottom",
        fontsize=10,
        color=GRADIENT_COLOUR,
    )
    stage.text(
        4.25,
        0.4,
        "gradient of D's loss: to the weights of D,\nnot on to G",
        ha="right",
        va="center",
        fontsize=10,
        color=GRADIENT_COLOUR,
    )
    return describe(
        fig,
        f"Diagram of a GAN. Noise z of {len(z)} dimensions ({_span(z)}) enters the generator G,"
        f" which makes an image {list(fake_image.shape)} of it. The discriminator D gives this"
        " image and a real one a logit each. The gradient of G's loss goes back through D to the"
        " weights of G; that of D's loss goes to the weights of D and stops there.",
    )


def _check_game(noise: Tensor, fake: Tensor, real: Tensor) -> None:
    if noise.ndim != 2 or len(noise) < 1 or not noise.isfinite().all():
        raise CourseError(
            f"noise: expected finite numbers [N, D], got {list(noise.shape)}; pass the z that the"
            " images were made of."
        )
    shapes = [list(images.shape[1:]) for images in (fake, real)]
    if fake.ndim != 4 or shapes[0] != shapes[1] or min(len(fake), len(real)) < 1:
        raise CourseError(
            "expected generated and real images [N, C, H, W] of one size, got"
            f" {list(fake.shape)} and {list(real.shape)}."
        )


def _way_back(axes: Axes, corners: Sequence[Place]) -> None:
    """Draws the way of a gradient along straight pieces, with an arrow head at its end."""
    look = {"color": GRADIENT_COLOUR, "linestyle": (0, (4, 2)), "linewidth": 1.8}
    xs, ys = zip(*corners[:-1])
    axes.plot(xs, ys, **look)
    _arrow(axes, corners[-2], corners[-1], **look)


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
    fig, stage = _stage(1.35 + gap * (levels - 1))
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
    _arrow(stage, (1.1, top), (left - half - 0.04, top))
    _arrow(stage, (right + half + 0.04, top), (WIDTH - 1.1, top))
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
    _arrow(axes, (xs[0] + half, y), (xs[1] - half, y), color=SKIP_COLOUR, linewidth=1.8)
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
        _arrow(axes, (above[0], start), (below[0] - half, end))
        _arrow(axes, (below[-1] + half, end), (above[-1], start))


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
            _arrow(axes, tuple(start), tuple(end), **look)
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

    _check_plane("data", data)
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
