"""The caption box: the plain functions, what its button does, and an unknown word."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError, unknown
from course_utils.models.text_to_image import TextToImageConfig
from course_utils.models.vae import VAEConfig
from course_utils.training.registry import build
from course_utils.widgets import caption_box, caption_draws, caption_picture
from course_utils.widgets.captions import PICTURE_SCALE

WORDS = ("dark", "light")


class Painter:
    """Draws two grey images whose level says what was asked for, and counts."""

    def __init__(self):
        self.asked = []

    def __call__(self, caption, seed, guidance_scale):
        self.asked.append((caption, seed, guidance_scale))
        if caption not in WORDS:
            raise unknown("word", caption, WORDS)
        level = 0.5 * WORDS.index(caption) + 0.01 * seed + 0.05 * guidance_scale
        return torch.full((2, 1, 4, 4), level)


def shown(panel) -> set[int]:
    """Returns the grey levels of the picture in a panel, but for the white around the images."""
    picture = Image.open(io.BytesIO(panel.children[-1].value))
    assert picture.size == (14 * PICTURE_SCALE, 8 * PICTURE_SCALE)
    return {level for _, level in picture.getcolors()}


def level(value) -> int:
    return round((value + 1) * 127.5)


def test_the_button_draws_what_the_fields_say():
    painter = Painter()
    panel = caption_box(painter, "dark", seed=3, guidance_scale=2.0)
    field, scale, start, button, message, _ = panel.children
    assert painter.asked == [("dark", 3, 2.0)] and level(0.13) in shown(panel)
    field.value, scale.value, start.value = "light", 1.0, 7
    assert len(painter.asked) == 1  # nothing is drawn before the button is pressed
    button.click()
    assert painter.asked[1:] == [("light", 7, 1.0)] and level(0.62) in shown(panel)
    assert message.value == "Drawn for: <i>light</i>"
    assert panel.children[-1].alt == "2 pictures drawn for: light"


def test_an_unknown_word_is_named_and_the_picture_stays():
    panel = caption_box(Painter(), "dark")
    field, _, _, button, message, picture = panel.children
    before = picture.value
    field.value = "<b>pink</b>"
    button.click()
    assert picture.value == before
    assert "&lt;b&gt;pink" in message.value and "light" in message.value  # the known words
    field.value = "light"
    button.click()
    assert picture.value != before


@pytest.fixture(scope="module")
def model():
    config = TextToImageConfig(
        image_size=8, vocabulary="blue red", max_words=4, channels=16, num_blocks=1, embed_dim=32,
        autoencoder_channels=8, num_steps=2,
    )  # fmt: skip
    return build(config, 1).eval()


def test_a_model_draws_its_own_samples(model):
    expected = model.sample(3, captions="red blue", rng=make_rng(4), guidance_scale=3.0)
    assert torch.equal(caption_draws(model, 3)("red blue", 4, 3.0), expected)


def test_the_picture_has_a_row_for_each_caption(model):
    axes = caption_picture(caption_draws(model, 2), ["red", "blue"], seed=1).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["red", "blue"]


def test_bad_values_are_refused(model):
    with pytest.raises(CourseError, match="expected a text-to-image model, got 'vae'"):
        caption_draws(build(VAEConfig(image_size=8), 0))
    with pytest.raises(CourseError, match="num_images"):
        caption_draws(model, 9)
    with pytest.raises(CourseError, match="seed"):
        caption_box(Painter(), "dark", seed=100)
    with pytest.raises(CourseError, match="at least one"):
        caption_picture(Painter(), [])
