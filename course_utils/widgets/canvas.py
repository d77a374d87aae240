"""Fields for mouse, finger and keyboard: one to draw digits on, and a plane of latents to drag
in. The browser's parts are in `canvas.js` and `plane.js`; what strokes become is
`digit_from_strokes` in `course_utils.data.handwriting`.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import torch
import traitlets
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.data.handwriting import digit_from_strokes


class DigitField(anywidget.AnyWidget):
    """A field to draw digits on; `draw_digit` makes one.

    Attributes:
        digits: what the browser sends: a list of drawings of which the last one is on the field,
            each a list of strokes, each a list of points [x, y] from 0 to 1, with y downwards.
        image_shape: (C, H, W) of the images that are made of it.
    """

    _esm = Path(__file__).with_name("canvas.js")
    digits = traitlets.List([[]]).tag(sync=True)

    def __init__(self, image_shape: tuple[int, int, int] = (1, 28, 28)) -> None:
        self.image_shape = image_shape
        super().__init__()

    @property
    def images(self) -> Tensor:
        """What was drawn, uint8 `[N, C, H, W]`, without the drawings that are empty; N is 0 until
        there is one.
        """
        made = [digit_from_strokes(strokes, self.image_shape) for strokes in self.digits if strokes]
        return torch.stack(made) if made else torch.empty((0, *self.image_shape), dtype=torch.uint8)

    @property
    def value(self) -> Tensor:
        """The last digit that was drawn, uint8 `[C, H, W]`, centred and scaled as MNIST's are.

        Raises:
            CourseError: there is none.
        """
        images = self.images
        if not len(images):
            raise CourseError(
                "expected a digit on the field, got none; draw one and ask again. Where no field is"
                " to be seen, photograph a sheet instead."
            )
        return images[-1]

    def __repr__(self) -> str:
        return "No field to draw on here? Write digits on a sheet of paper, and photograph it."


def draw_digit(image_shape: tuple[int, int, int] = (1, 28, 28)) -> DigitField:
    """Returns a field to draw digits on. What was drawn is its `value` (the last digit) and its
    `images` (all of them).

    Mouse, finger and pen draw while they are pressed. On the keyboard the arrows move the pen, and
    space lowers or lifts it. Where no widget can run, a line says that a sheet can be photographed
    instead.

    Args:
        image_shape: (C, H, W) of the images that are wanted, H = W; the ink is the same in all
            channels.
    """
    return DigitField(image_shape)


class LatentPlane(anywidget.AnyWidget):
    """The plane of `latent_pad`: a picture, and on it a mark that can be dragged.

    Attributes:
        sheet: the picture, a PNG.
        place: of the mark, [x, y] from 0 to 1 across the picture, with y downwards.
    """

    _esm = Path(__file__).with_name("plane.js")
    sheet = traitlets.Bytes().tag(sync=True)
    place = traitlets.List(traitlets.Float(), [0.5, 0.5]).tag(sync=True)
