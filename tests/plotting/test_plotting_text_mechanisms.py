"""The diagram of text to image: its shapes in words, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.plotting import text_to_image_diagram
from course_utils.plotting.canvas import attached_text

NOISE, LATENT, IMAGE = torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 32, 32)


def test_the_diagram_says_its_shapes():
    figure = text_to_image_diagram("a red 7", NOISE, LATENT, IMAGE)
    figure.canvas.draw()
    text = attached_text(figure)
    assert "“a red 7”" in text and len(text) <= 400
    assert "noise [4, 8, 8] into a latent [4, 8, 8]" in text and "picture [3, 32, 32]" in text
    sheets = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [sheet.shape[:2] for sheet in sheets] == [(8, 8), (8, 8), (32, 32)]
    assert sheets[0].mean() > sheets[1].mean()  # the noise of the call, not of its own


@pytest.mark.parametrize(
    "given", [(NOISE[:, :2], LATENT, IMAGE), (NOISE, LATENT, IMAGE.expand(2, -1, -1, -1))]
)
def test_other_tensors_are_refused(given):
    with pytest.raises(CourseError, match="one image"):
        text_to_image_diagram("a red 7", *given)
