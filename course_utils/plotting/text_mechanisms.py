"""How text to image works, in a picture: the caption, the flow in the latent space, the decoder.

The figure carries an alt text made of the shapes that it draws (see `canvas.describe`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import describe
from course_utils.plotting.mechanisms import (
    draw_arrow,
    draw_framed,
    draw_shape,
    new_stage,
    panel_on,
)
from course_utils.plotting.pictures import as_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


def text_to_image_diagram(caption: str, noise: Tensor, latent: Tensor, image: Tensor) -> Figure:
    """Returns a diagram of how a caption becomes a picture: the text encoder gives codes, the
    flow's network asks them by cross-attention while it turns noise into a latent, and the decoder
    makes the picture of that.

    The first channel of noise and latent is drawn.

    Args:
        caption: of the picture.
        noise, latent: `[1, C, H, W]` each, with standard deviation near 1.
        image: uint8 or signed, `[1, C, H, W]`.

    Raises:
        CourseError: more than one of them, or a latent of another shape than the noise.

    Source: Rombach et al. 2022 (arXiv:2112.10752), fig. 3.
    """
    if noise.shape != latent.shape or len(latent) != 1 or len(image) != 1:
        raise CourseError(
            "expected noise and latent [1, C, H, W] and one image, got"
            f" {list(noise.shape)}, {list(latent.shape)} and {list(image.shape)}; pass x[:1]."
        )
    grey = [(maps[:, :1].detach().cpu() / 3).clamp(-1, 1) for maps in (noise, latent)]
    pictures = [as_uint8(maps)[0] for maps in (*grey, image.detach().cpu())]
    names = ("noise", "latent", "picture")
    shapes = [list(maps.shape[1:]) for maps in (noise, latent, image)]
    fig, stage = new_stage(2.9)
    low, high = 1.0, 2.35  # heights of the rows, inches
    for picture, x, name, shape in zip(pictures, (0.55, 4.1, 6.4), names, shapes):
        draw_framed(panel_on(stage, (x, low), 0.84, 0.84), picture)
        label = f"{name}\n{shape}"
        stage.text(x, low - 0.48, label, ha="center", va="top", fontsize=10)
    stage.text(1.5, high, f"“{caption}”", ha="center", va="center", fontsize=10)
    draw_shape(
        stage, [(3.2, high - 0.25), (3.2, high + 0.25), (4.6, high + 0.25), (4.6, high - 0.25)],
        "text encoder",
    )  # fmt: skip
    stage.text(5.0, high, "a code for each word", ha="left", va="center", fontsize=10)
    draw_shape(
        stage, [(1.5, 0.6), (1.5, 1.4), (3.2, 1.4), (3.2, 0.6)], "flow's network,\nten steps"
    )
    draw_shape(stage, [(4.95, 0.8), (4.95, 1.2), (5.6, 1.5), (5.6, 0.5)], "decoder")
    for start, end in (
        ((2.85, high), (3.2, high)),
        ((4.6, high), (4.95, high)),
        ((1.0, low), (1.5, low)),
        ((3.2, low), (3.64, low)),
        ((4.55, low), (4.95, low)),
        ((5.6, low), (5.95, low)),
    ):
        draw_arrow(stage, start, end)
    draw_arrow(stage, (5.4, high - 0.15), (2.9, 1.4), connectionstyle="arc3,rad=-0.15")
    stage.text(4.75, 1.72, "cross-attention", ha="left", va="center", fontsize=10)
    return describe(
        fig,
        f"Diagram of text to image: the caption “{caption}” enters the text encoder, which gives a"
        f" code for each word. The flow's network asks these by cross-attention while it turns"
        f" noise {shapes[0]} into a latent {shapes[1]} in ten steps; the decoder makes a picture"
        f" {shapes[2]} of it.",
    )
