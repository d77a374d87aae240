"""Noise level, steps, guidance and drawing by class: the plain functions against values by hand,
and that the controls call them.
"""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.models.diffusion.model import DiffusionConfig
from course_utils.models.diffusion.samplers import Sampled, sample
from course_utils.models.diffusion.schedules import SCHEDULES, make_schedule
from course_utils.models.vae import VAEConfig
from course_utils.training.registry import build
from course_utils.widgets import (
    digit_drawer,
    guidance_caption,
    guidance_explorer,
    guidance_picture,
    label_draws,
    label_image,
    label_picture,
    noise_level_caption,
    noise_level_explorer,
    noise_level_image,
    noise_level_picture,
    png_bytes,
    step_caption,
    step_image,
    step_picture,
    step_scrubber,
)

FLOW = make_schedule("flow")
IMAGE, EPS = torch.full((1, 4, 4), 0.5), torch.full((1, 4, 4), -1.0)
NAMES = ("zero", "one", "two")


def half(xt, t):
    """A denoiser that sees half of x_t at every time."""
    return 0.5 * xt


def cells(sheet, num_columns, num_rows=1, side=4):
    """Returns the one grey level of each image on a sheet, row by row; fails where an image has
    several.
    """
    levels = []
    for row in range(num_rows):
        for column in range(num_columns):
            top, left = 2 + row * (side + 2), 2 + column * (side + 2)
            (level,) = (
                torch.as_tensor(sheet)[..., top : top + side, left : left + side].unique().tolist()
            )
            levels.append(level)
    return levels


def level_of(value):
    return signed_to_uint8(torch.full((1, 1, 1, 1), value)).item()


def shown(panel, scale):
    """Returns the picture that a panel shows, uint8 `[H, W]`, with its pixels as large as they
    were.
    """
    picture = Image.open(io.BytesIO(panel.children[-1].value))
    small = picture.resize(
        (picture.width // scale, picture.height // scale), Image.Resampling.NEAREST
    )
    return torch.tensor(list(small.tobytes()), dtype=torch.uint8).view(small.height, small.width)


# --- noise level ---


def test_noise_level_image_by_hand():
    """x_t = 0.75 * 0.5 - 0.25 = 0.125, of which the denoiser sees half."""
    sheet = noise_level_image(half, FLOW, IMAGE, EPS, 0.25)
    assert sheet.dtype == torch.uint8 and sheet.shape == (1, 8, 20)
    assert cells(sheet, 3) == [level_of(value) for value in (0.5, 0.125, 0.0625)]


def test_denoiser_is_asked_about_the_given_time_and_not_about_the_image():
    asked = []

    def denoise(xt, t):
        asked.append((xt.shape, t.tolist()))
        return xt

    noise_level_image(denoise, FLOW, IMAGE, EPS, 0.25)
    assert asked == [((1, 1, 4, 4), [0.25])]
    assert cells(noise_level_image(denoise, FLOW, IMAGE, EPS, 0.0), 3) == [level_of(0.5)] * 3
    assert len(asked) == 1


def test_noise_beyond_the_range_is_shown_as_black_or_white():
    assert cells(noise_level_image(lambda xt, t: -3 * xt, FLOW, IMAGE, 5 * EPS, 1.0), 3) == [
        level_of(0.5),
        0,
        255,
    ]


@pytest.mark.parametrize(
    ("name", "t", "text"),
    [
        ("flow", 0.25, "t = 0.25: x_t = 0.75 x_0 + 0.25 eps, SNR 9"),
        ("flow", 0.5, "x_t = 0.50 x_0 + 0.50 eps, SNR 1"),
        ("flow", 0.01, "SNR 9,801"),  # 99²
        ("flow", 0.0, "x_t = 1.00 x_0 + 0.00 eps, SNR ∞"),
        ("flow", 1.0, "x_t = 0.00 x_0 + 1.00 eps, SNR 0"),
        ("linear", 0.001, "SNR 9,999"),  # alpha² = 1 - 0.0001 after the first step
        ("linear", 0.0, "SNR ∞"),
    ],
)
def test_caption_states_mixture_and_signal_to_noise_ratio(name, t, text):
    assert text in noise_level_caption(make_schedule(name), t)


def test_caption_of_a_schedule_that_preserves_variance():
    """alpha² / sigma² follows from the two numbers that are printed beside it."""
    for name in SCHEDULES:
        words = noise_level_caption(make_schedule(name), 0.4).split()
        alpha, sigma, ratio = (float(words[index]) for index in (5, 8, 11))
        assert ratio == pytest.approx((alpha / sigma) ** 2, rel=0.03)


def test_noise_level_explorer_keeps_its_noise():
    panel = noise_level_explorer(half, FLOW, IMAGE, seed=3)
    control, caption, _ = panel.children
    eps = torch.randn(1, 4, 4, generator=make_rng(3))
    for t in (0.5, 0.9, 0.2):
        control.value = t
        assert torch.equal(shown(panel, 5), noise_level_image(half, FLOW, IMAGE, eps, t)[0])
        assert caption.value == noise_level_caption(FLOW, t)


def test_noise_level_explorer_ends_where_the_model_begins():
    control = noise_level_explorer(half, FLOW, IMAGE, max_t=0.999).children[0]
    assert (control.min, control.max) == (0.0, 0.999)


def test_noise_level_picture_has_a_column_a_time():
    axes = noise_level_picture(half, FLOW, IMAGE, EPS, (0.25, 0.5)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x_t", "image seen"]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "t = 0.25\nSNR 9",
        "t = 0.50\nSNR 1",
    ]
    assert cells(axes.images[0].get_array(), 2, 2) == [
        level_of(value) for value in (0.125, -0.25, 0.0625, -0.125)
    ]


# --- steps ---


@pytest.fixture(scope="module")
def trajectory() -> Sampled:
    """Two images on the straight path to the image 0.5, from the noise -1 and 1: exact, so Euler's
    steps stay on it.
    """
    noise = torch.stack([EPS, -EPS])
    return sample(lambda xt, t: torch.full_like(xt, 0.5), FLOW, noise, 4, trajectory=True)


def test_step_image_by_hand(trajectory):
    assert cells(step_image(trajectory, 0), 2, 2) == [0, 255, level_of(0.5), level_of(0.5)]
    assert cells(step_image(trajectory, 2), 2, 2) == [
        level_of(value) for value in (-0.25, 0.75, 0.5, 0.5)
    ]


def test_last_step_shows_the_result_twice(trajectory):
    assert torch.allclose(trajectory.x, torch.tensor(0.5))
    assert (
        cells(
            step_image(
                replace(trajectory, xts=(*trajectory.xts[:-1], -IMAGE.expand(2, 1, 4, 4))), 4
            ),
            2,
            2,
        )
        == [level_of(-0.5)] * 4
    )


def test_step_image_shows_the_first_images(trajectory):
    assert cells(step_image(trajectory, 0, num_images=1), 1, 2) == [0, level_of(0.5)]


def test_scrubber_has_one_place_a_step(trajectory):
    panel = step_scrubber(trajectory)
    control, caption, _ = panel.children
    assert (control.min, control.max) == (0, 4)
    for step, t in enumerate(("1.00", "0.75", "0.50", "0.25", "0.00")):
        control.value = step
        assert torch.equal(shown(panel, 3), step_image(trajectory, step)[0])
        assert (
            caption.value == step_caption(trajectory, step)
            and f"step {step} of 4, t = {t}" in caption.value
        )


def test_step_picture_shows_one_image(trajectory):
    axes = step_picture(trajectory, index=1, num_columns=3).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "t = 1.00",
        "t = 0.50",
        "t = 0.00",
    ]
    assert cells(axes.images[0].get_array(), 3, 2) == [
        level_of(value) for value in (1.0, 0.75, 0.5, 0.5, 0.5, 0.5)
    ]


def test_scrubber_takes_what_a_model_traces(model):
    traced = model.trace(3, labels=torch.tensor([0, 1, 2]), rng=make_rng(0))
    assert step_image(traced, 3).shape == (1, 2 * 10 + 2, 3 * 10 + 2)


# --- labels and guidance ---


class Painter:
    """Draws grey images whose level says what was asked for, and counts."""

    def __init__(self):
        self.asked = []

    def __call__(self, label, seed, guidance_scale):
        self.asked.append((label, seed, guidance_scale))
        return torch.stack(
            [
                torch.full((1, 4, 4), self.value(label, seed, guidance_scale, index))
                for index in range(2)
            ]
        )

    @staticmethod
    def value(label, seed, guidance_scale, index):
        return -1 + 0.5 * label + 0.05 * seed + 0.1 * guidance_scale + 0.02 * index


def painted(*asked):
    return [level_of(Painter.value(*one, index)) for one in asked for index in range(2)]


@pytest.fixture(scope="module")
def model():
    config = DiffusionConfig(
        image_size=8, num_classes=3, channels=(8, 16), embed_dim=16, num_steps=3
    )
    built = build(config, 1).eval()
    for parameter in built.parameters():  # an untrained network answers 0 whatever it is told
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.3, generator=make_rng(5))
    return built


def test_label_image_shows_what_was_drawn():
    assert cells(label_image(Painter(), 2, 3, 1.5), 2) == painted((2, 3, 1.5))


def test_model_draws_its_own_samples(model):
    expected = model.sample(
        4, labels=torch.full((4,), 2), rng=make_rng(7), guidance_scale=2.0, num_steps=5
    )
    assert torch.equal(label_draws(model, num_images=4, num_steps=5)(2, 7, 2.0), expected)
    # the model's own number of steps
    assert not torch.equal(label_draws(model, num_images=4)(2, 7, 2.0), expected)


def test_noise_depends_on_the_seed_alone(model):
    """One Euler step from pure noise: x_0 = what is seen in the noise, so an answer that ignores
    the label gives equal images.
    """
    draw = label_draws(model, num_images=2, num_steps=1)
    assert torch.equal(draw(0, 4, 0.0), draw(2, 4, 0.0)) and not torch.equal(
        draw(0, 4, 0.0), draw(0, 5, 0.0)
    )
    assert not torch.equal(draw(0, 4, 1.0), draw(2, 4, 1.0)) and not torch.equal(
        draw(0, 4, 1.0), draw(0, 4, 3.0)
    )


def test_guidance_explorer_asks_once_for_each_place():
    painter = Painter()
    panel = guidance_explorer(painter, NAMES, label=1, scales=(0.0, 1.0, 2.5), seed=4)
    buttons, control, caption, _ = panel.children
    assert [name for name, _ in buttons.options] == list(NAMES)
    assert control.options == [0.0, 1.0, 2.5]
    assert painter.asked == [(1, 4, 1.0)], "only what is looked at"
    assert cells(shown(panel, 3), 2) == painted((1, 4, 1.0)) and caption.value == guidance_caption(
        "one", 1.0
    )
    control.value = 2.5
    buttons.value = 2
    assert cells(shown(panel, 3), 2) == painted((2, 4, 2.5)) and caption.value == guidance_caption(
        "two", 2.5
    )
    buttons.value = 1
    control.value = 1.0
    assert painter.asked == [(1, 4, 1.0), (1, 4, 2.5), (2, 4, 2.5)], "what was drawn is remembered"
    assert cells(shown(panel, 3), 2) == painted((1, 4, 1.0))


def test_guidance_begins_at_the_lowest_scale_where_1_is_missing():
    assert guidance_explorer(Painter(), NAMES, scales=(2.0, 3.0)).children[1].value == 2.0


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (0.0, "w = 0, the label is ignored"),
        (1.0, "w = 1, no guidance"),
        (2.5, "y = two, guidance scale w = 2.5"),
    ],
)
def test_guidance_caption(scale, text):
    assert guidance_caption("two", scale).endswith(text)


def test_guidance_picture_has_a_row_a_scale():
    axes = guidance_picture(Painter(), 1, (0.0, 3.0), seed=2).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["w = 0", "w = 3"]
    assert cells(axes.images[0].get_array(), 2, 2) == painted((1, 2, 0.0), (1, 2, 3.0))


def test_label_picture_has_a_column_a_class():
    axes = label_picture(Painter(), NAMES, seed=1, guidance_scale=2.0).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(NAMES)
    drawn = painted((0, 1, 2.0), (1, 1, 2.0), (2, 1, 2.0))
    assert cells(axes.images[0].get_array(), 3, 2) == drawn[::2] + drawn[1::2]


def test_digit_drawer_draws_the_class_and_the_seed_that_were_chosen():
    painter = Painter()
    panel = digit_drawer(painter, NAMES, label=2, guidance_scale=1.5)
    buttons, control, caption, picture = panel.children
    assert picture.value == png_bytes(label_image(Painter(), 2, 0, 1.5), scale=3)
    buttons.value = 0
    control.value = 9
    assert (
        cells(shown(panel, 3), 2) == painted((0, 9, 1.5))
        and caption.value == "draws of p(x | y = zero), seed 9"
    )
    control.value = 0
    assert painter.asked == [(2, 0, 1.5), (0, 0, 1.5), (0, 9, 1.5)]


def test_text_for_readers_without_a_kernel(trajectory):
    for panel in (
        step_scrubber(trajectory),
        digit_drawer(Painter(), NAMES),
        noise_level_explorer(half, FLOW, IMAGE),
    ):
        assert "running notebook" in repr(panel)


NO_TRAJECTORY = Sampled(torch.zeros(2, 1, 4, 4), 4, torch.linspace(1, 0, 5))
BAD = [
    (lambda: noise_level_image(half, FLOW, IMAGE, EPS, 1.1), "t: expected 0 to 1, got 1.1"),
    (
        lambda: noise_level_image(half, FLOW, IMAGE[None], EPS[None], 0.5),
        r"eps: expected one image \[C, H, W\] and noise like it",
    ),
    (
        lambda: noise_level_image(half, FLOW, IMAGE, EPS[:, :2], 0.5),
        r"noise like it, \[1, 4, 4\], got \[1, 2, 4\]",
    ),
    (lambda: noise_level_image(half, FLOW, 3 * IMAGE, EPS, 0.5), r"expected images in \[-1, 1\]"),
    (
        lambda: noise_level_image(lambda xt, t: xt / 0, FLOW, IMAGE, EPS, 0.5),
        "denoise: expected finite values at t = 0.5",
    ),
    (lambda: noise_level_picture(half, FLOW, IMAGE, EPS, ()), "times: expected at least one"),
    (
        lambda: noise_level_explorer(half, FLOW, IMAGE, max_t=0.0),
        "max_t: expected above 0 and at most 1",
    ),
    (
        lambda: noise_level_explorer(half, FLOW, IMAGE, t=0.9, max_t=0.5),
        "t: expected 0 to 0.5, got 0.9",
    ),
    (
        lambda: step_image(NO_TRAJECTORY, 0),
        "trajectory: expected at least one step; sample with trajectory=True",
    ),
    (lambda: step_scrubber(NO_TRAJECTORY), "sample with trajectory=True"),
    (lambda: step_picture(NO_TRAJECTORY), "sample with trajectory=True"),
    (lambda: label_draws(build(VAEConfig())), "model: expected a diffusion model, got 'VAE'"),
    (lambda: label_image(Painter(), -1), "label: expected 0 or more"),
    (lambda: label_image(Painter(), 0, -1), "seed: expected 0 or more"),
    (lambda: label_image(Painter(), 0, 0, -1.0), "guidance_scale: expected 0 or more"),
    (lambda: label_picture(Painter(), ()), "class_names: expected at least one"),
    (
        lambda: guidance_picture(Painter(), 0, (1.0, 1.0)),
        "scales: expected one or more rising numbers",
    ),
    (
        lambda: guidance_explorer(Painter(), NAMES, scales=()),
        "scales: expected one or more rising numbers",
    ),
    (lambda: guidance_explorer(Painter(), NAMES, label=3), "label: expected 0 to 2, got 3"),
    (lambda: digit_drawer(Painter(), NAMES, seed=-1), "seed: expected 0 to 99, got -1"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()


BAD_STEPS = [
    (lambda given: step_image(given, 5), "step: expected a whole number from 0 to 4, got 5"),
    (lambda given: step_image(given, -1), "step: expected a whole number from 0 to 4, got -1"),
    (lambda given: step_image(given, 0, 0), "num_images: expected at least 1"),
    (lambda given: step_picture(given, index=2), "index: expected 0 to 1, got 2"),
    (lambda given: step_picture(given, num_columns=1), "num_columns: expected at least 2"),
]


@pytest.mark.parametrize(("call", "message"), BAD_STEPS)
def test_bad_steps_have_their_message(trajectory, call, message):
    with pytest.raises(CourseError, match=message):
        call(trajectory)


@pytest.mark.parametrize("num_images", [0, 9])
def test_number_of_images_is_bounded(model, num_images):
    with pytest.raises(CourseError, match="num_images: expected 1 to 8"):
        label_draws(model, num_images)
