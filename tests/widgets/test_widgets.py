"""The latent explorer: its plain functions, and that sliders and button call them."""

from __future__ import annotations

import io

import ipywidgets
import pytest
import torch
from PIL import Image

from course_utils.base.errors import CourseError
from course_utils.widgets import (
    LivePicture,
    Slider,
    caption_box,
    elbo_explorer,
    fid_explorer,
    inception_explorer,
    latent_explorer,
    latent_image,
    latent_pad,
    moved,
    png_bytes,
    temperature_explorer,
    truncation_explorer,
    walk_scrubber,
)


def decode(z: torch.Tensor) -> torch.Tensor:
    """A decoder whose image says what it was given: pixel d is z[d] / 4."""
    return (z / 4).clamp(-1, 1).reshape(len(z), 1, 2, 2)


def pixels(png: bytes) -> list[int]:
    picture = Image.open(io.BytesIO(png))
    small = picture.resize((2, 2), Image.Resampling.NEAREST)
    return [small.getpixel(place) for place in ((0, 0), (1, 0), (0, 1), (1, 1))]


def expected(z: list[float]) -> list[int]:
    return latent_image(decode, torch.tensor(z)).flatten().tolist()


def parts(panel):
    controls, picture = panel.children[0].children
    *sliders, button = controls.children
    return sliders, button, picture


def test_latent_image_is_uint8_without_batch_axis():
    image = latent_image(decode, torch.tensor([-4.0, 4.0, 0.0, 2.0]))
    assert image.dtype == torch.uint8 and image.shape == (1, 2, 2)
    assert image.flatten().tolist() == [0, 255, 128, 191]


def test_moved_leaves_the_start_alone():
    start = torch.zeros(4)
    assert moved(start, [1, 3], [0.5, -2.0]).tolist() == [0.0, 0.5, 0.0, -2.0]
    assert start.tolist() == [0.0] * 4


def test_png_is_enlarged_by_whole_pixels():
    picture = Image.open(
        io.BytesIO(png_bytes(torch.tensor([[[0, 255]]], dtype=torch.uint8), scale=3))
    )
    assert (
        picture.size == (6, 3) and picture.getpixel((2, 2)) == 0 and picture.getpixel((3, 0)) == 255
    )


def test_slider_moves_its_own_dimension():
    sliders, _, picture = parts(
        latent_explorer(decode, torch.tensor([0.4, 0.0, 1.0, 0.0]), dims=[2, 0])
    )
    assert [slider.description for slider in sliders] == ["z[2]", "z[0]"]
    assert pixels(picture.value) == expected([0.4, 0.0, 1.0, 0.0])
    sliders[0].value = -2.0
    assert pixels(picture.value) == expected([0.4, 0.0, -2.0, 0.0])


def test_button_draws_all_dimensions_anew_and_sets_the_sliders():
    sliders, button, picture = parts(
        latent_explorer(decode, torch.zeros(4), dims=[0, 1, 2], seed=3)
    )
    before = pixels(picture.value)
    button.click()
    values = [slider.value for slider in sliders]
    assert len(set(values)) == 3 and 0.0 not in values
    after = pixels(picture.value)
    assert after[:3] == expected([*values, 0.0])[:3]
    assert after[3] != before[3]  # a dimension without a slider


def within(widget):
    """Yields a widget and all that it holds."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from within(child)


@pytest.mark.parametrize(
    "make",
    [
        elbo_explorer,
        fid_explorer,
        inception_explorer,
        lambda: caption_box(lambda *asked: torch.zeros(2, 1, 4, 4), "a 7"),
        lambda: latent_explorer(decode, torch.zeros(4), dims=[0]),
        lambda: latent_pad(lambda z: decode(z.repeat(1, 2)), torch.tensor([-1.0, 1.0])),
        lambda: temperature_explorer(decode, 4),
        lambda: truncation_explorer(decode, 4),
        lambda: walk_scrubber(decode, torch.eye(4)),
    ],
)
def test_sliders_have_names_and_pictures_have_texts(make):
    parts = list(within(make()))
    names = [part.description for part in parts if isinstance(part, Slider)]
    texts = [part.alt for part in parts if isinstance(part, LivePicture)]
    assert names and all(names) and texts and all(len(text) > 15 for text in texts)
    silent = (ipywidgets.IntSlider, ipywidgets.FloatSlider, ipywidgets.Image)
    assert not any(isinstance(part, silent) for part in parts)


def test_the_text_of_a_figure_follows_the_sliders():
    *sliders, picture = fid_explorer().children[0].children
    before = picture.alt
    sliders[0].value = -2.0
    assert picture.alt != before


def test_text_for_readers_without_a_kernel():
    assert "running notebook" in repr(latent_explorer(decode, torch.zeros(4), dims=[0]))


@pytest.mark.parametrize("dims", [[], [4], [-1]])
def test_bad_dimensions_have_their_message(dims):
    with pytest.raises(CourseError, match="dims: expected one or more from 0 to 3"):
        latent_explorer(decode, torch.zeros(4), dims=dims)


def test_batch_of_latents_has_its_message():
    with pytest.raises(
        CourseError, match=r"expected one latent of shape \[latent_dim\], got \[2, 4\]"
    ):
        latent_image(decode, torch.zeros(2, 4))
