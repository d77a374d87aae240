"""How a GAN works, in a picture: its two players, and the ways of the two gradients.

The figure carries an alt text made of the numbers that it draws (see `canvas.describe`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import describe
from course_utils.plotting.mechanisms import (
    EDGE_COLOUR,
    GRADIENT_COLOUR,
    Place,
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
    fig, stage = new_stage(4.0)
    upper, lower, middle = 2.72, 1.28, 2.0  # heights of the rows, inches
    draw_strip(panel_on(stage, (0.5, upper), 0.6, 0.8), z, limit)
    stage.text(0.5, upper - 0.46, f"noise z\n[{len(z)}]", ha="center", va="top", fontsize=10)
    draw_shape(stage, [(1.1, 2.45), (1.1, 2.99), (2.15, 3.24), (2.15, 2.2)], "generator\nG")
    draw_shape(stage, [(3.75, 1.1), (3.75, 2.9), (4.95, 2.45), (4.95, 1.55)], "discriminator\nD")
    for picture, y, name in ((fake_image, upper, "G(z)"), (real_image, lower, "real x")):
        draw_framed(panel_on(stage, (2.85, y), 0.84, 0.84), picture)
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
        draw_arrow(stage, start, end)
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
        f"Diagram of a GAN. Noise z of {len(z)} dimensions ({span(z)}) enters the generator G,"
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
    draw_arrow(axes, corners[-2], corners[-1], **look)
