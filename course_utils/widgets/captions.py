"""A field for a caption above the pictures that a text-to-image model draws for it."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ipywidgets
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8, tile
from course_utils.plotting.pictures import image_rows
from course_utils.widgets.controls import CountSlider, LivePicture, Panel, png_bytes, slider

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from course_utils.models.text_to_image import TextToImage

# caption, seed, guidance scale -> signed images [N, C, H, W]; equal arguments, equal images
CaptionDraw = Callable[[str, int, float], Tensor]
MAX_PICTURES = 8  # so many take a second at most on two cores
NUM_CAPTION_SEEDS = 100  # that the slider offers
PICTURE_SCALE = 3  # screen pixels a pixel


def caption_draws(model: TextToImage, num_images: int = MAX_PICTURES) -> CaptionDraw:
    """Returns `draw(caption, seed, guidance_scale)` for a text-to-image model; the noise depends on
    the seed alone.

    Args:
        model: that was trained on captions.
        num_images: 1 to 8, for each caption.

    Raises:
        CourseError: a model of another family, or another number of images.
    """
    family = getattr(model, "family", type(model).__name__)
    require(family == "text-to-image", "model", "a text-to-image model", family)
    require(1 <= num_images <= MAX_PICTURES, "num_images", f"1 to {MAX_PICTURES}", num_images)

    def draw(caption: str, seed: int, guidance_scale: float) -> Tensor:
        wanted = {"captions": caption, "guidance_scale": guidance_scale}
        return model.sample(num_images, rng=make_rng(seed), **wanted)

    return draw


def caption_picture(
    draw: CaptionDraw, captions: Sequence[str], *, seed: int = 0, guidance_scale: float = 2.0
) -> Figure:
    """Returns a row of pictures for each caption, all from the same noise: `caption_box` for
    readers without a kernel.

    Args:
        draw: see `CaptionDraw`.
        captions: one or more, each of another wording.
        seed: of the noise, 0 or more.
        guidance_scale: 1 is no guidance.

    Raises:
        CourseError: no captions, or a word that the model does not know.
    """
    require(len(captions) >= 1, "captions", "at least one", list(captions))
    return image_rows(
        {
            caption: signed_to_uint8(draw(caption, seed, guidance_scale)).cpu()
            for caption in captions
        }
    )


def caption_box(
    draw: CaptionDraw, caption: str, *, seed: int = 0, guidance_scale: float = 2.0
) -> Panel:
    """Returns a field for a caption, sliders for guidance and seed, and a button that draws. A word
    that the model does not know is named below them, with the words that it knows.

    Args:
        draw: see `CaptionDraw`; asked once at the start and at each press of the button.
        caption, seed, guidance_scale: to begin with.
    """
    last = NUM_CAPTION_SEEDS - 1
    require(0 <= seed <= last, "seed", f"0 to {last}", seed)
    field = ipywidgets.Text(
        value=caption, description="caption", layout=ipywidgets.Layout(width="520px")
    )
    scale = slider("guidance w", guidance_scale, 0.0, 6.0, step=0.5)
    start = CountSlider(value=seed, max=last, description="seed")
    button = ipywidgets.Button(description="Draw")
    message, picture = ipywidgets.HTML(), LivePicture()

    def redraw(_: object = None) -> None:
        try:
            images = signed_to_uint8(draw(field.value, start.value, scale.value)).cpu()
        except CourseError as error:  # the picture stays that of the last caption
            message.value = html.escape(str(error))
            return
        message.value = f"Drawn for: <i>{html.escape(field.value)}</i>"
        with picture.hold_sync():  # the pictures and their text arrive together
            picture.value = png_bytes(tile(images, num_columns=len(images)), PICTURE_SCALE)
            picture.alt = f"{len(images)} pictures drawn for: {field.value}"

    redraw()
    button.on_click(redraw)
    return Panel([field, scale, start, button, message, picture])
