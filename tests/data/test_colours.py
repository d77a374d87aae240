"""Coloured digits: exact brightness, known colours, determinism, and that grey says nothing of the
hue.
"""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from materials import make_dataset

from course_utils import data
from course_utils.base.errors import CourseError
from course_utils.base.images import LUMA
from course_utils.data import colours as module
from course_utils.data import strokes
from course_utils.data import strokes as strokes_cache
from course_utils.data.colours import PRIOR, Colours, colour, coloured, draw_colours, rgb

WEIGHTS = torch.tensor(LUMA, dtype=torch.float64)


def drawn(num=500, seed=0):
    return draw_colours(num, np.random.default_rng(seed))


def ramp(num):
    """Returns images whose pixels take every grey level from 0 to 255."""
    return torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(num, -1, -1, -1)


def test_colours_follow_the_stated_prior():
    values = drawn(4000)
    for name, (low, high) in PRIOR.items():
        column = getattr(values, name)
        assert column.dtype == torch.float32 and low <= column.min() and column.max() <= high
        assert column.mean().item() == pytest.approx(
            (low + high) / 2, abs=5 * (high - low) / (12 * 4000) ** 0.5
        )


def test_ink_and_paper_have_their_brightness_and_every_mixture_lies_between():
    values = drawn()
    painted = colour(ramp(500), values).double() / 255
    grey = (painted * WEIGHTS[:, None, None]).sum(1).flatten(1)
    share = torch.arange(256) / 255
    expected = values.paper_luma[:, None] + (values.ink_luma - values.paper_luma)[:, None] * share
    assert (grey - expected).abs().max() < 1.5 / 255
    assert (grey[:, -1] > grey[:, 0] + 0.2).all(), "ink is lighter than paper"


def test_chroma_reaches_the_edge_of_what_a_screen_shows_and_zero_is_grey():
    hue = torch.arange(0.0, 360.0, 7.0)
    luma = torch.full_like(hue, 0.6)
    full, none = rgb(hue, luma, torch.ones_like(hue)), rgb(hue, luma, torch.zeros_like(hue))
    assert ((full.amin(1) == 0) | (full.amax(1) == 255)).all()
    assert (none == 153).all()
    assert ((full.double() / 255) @ WEIGHTS - 0.6).abs().max() < 1 / 255


def test_hue_goes_once_round_the_colour_circle():
    hue = torch.arange(0.0, 360.0, 5.0)
    colours = rgb(hue, torch.full_like(hue, 0.5), torch.ones_like(hue)).double() / 255
    others = torch.tensor([360 * colorsys.rgb_to_hsv(*one)[0] for one in colours.tolist()])
    steps = (others.roll(-1) - others + 180) % 360 - 180
    # always one way: from blue to red through magenta
    assert (steps > -0.5).all() and steps.sum().item() == pytest.approx(360, abs=1)


def test_hues_are_independent_of_all_that_grey_shows():
    values = drawn(4000)
    angle = torch.deg2rad(values.ink_hue)
    table = torch.stack(
        [
            angle.sin(),
            angle.cos(),
            values.ink_luma,
            values.paper_luma,
            torch.deg2rad(values.paper_hue).sin(),
        ]
    )
    assert (table.corrcoef() - torch.eye(5)).abs().max() < 5 / 4000**0.5


def test_a_dataset_keeps_its_labels_and_gains_colours_that_repeat():
    grey = make_dataset(num_train=60, num_test=20)
    first, second, other = coloured(grey), coloured(grey), coloured(grey, seed=1)
    assert first.name == "blobs-colour" and first.image_shape == (3, 28, 28)
    assert torch.equal(first.train_labels, grey.train_labels) and set(first.train_factors) == set(
        PRIOR
    )
    assert first.sha256 == second.sha256 != other.sha256
    assert torch.equal(first.test_images, colour(grey.test_images, Colours(**first.test_factors)))
    assert not torch.equal(first.train_factors["ink_hue"][:20], first.test_factors["ink_hue"])


def test_chunk_size_and_number_of_images_have_no_influence(monkeypatch):
    images, values = ramp(50), drawn(50)
    whole = colour(images, values)
    monkeypatch.setattr(module, "CHUNK", 7)
    assert torch.equal(colour(images, values), whole)
    assert torch.equal(drawn(20).ink_hue, values.ink_hue[:20])


def test_it_is_a_dataset_by_name(monkeypatch, capsys):
    made = strokes.make_strokes(30, 10, 0)
    monkeypatch.setattr(strokes, "make_strokes", lambda *_: made)
    monkeypatch.setattr(strokes_cache, "NUM_TRAIN", 30)
    monkeypatch.setattr(strokes_cache, "NUM_TEST", 10)
    loaded = data.load_dataset("strokes-colour")
    assert (
        loaded.name == "strokes-colour"
        and loaded.train_images.shape == (30, 3, 28, 28)
        and loaded.train_images.dtype == torch.uint8
    )
    assert {"slant", "style", "ink_hue"} < set(loaded.train_factors)
    assert "strokes-colour: 30 train and 10 test images" in capsys.readouterr().out
    assert loaded.sha256 == data.load_dataset("strokes-colour", verbose=False).sha256


def test_the_standard_colours_are_these():
    """What the seed draws is part of the dataset: a change here changes every number that was
    measured on it.
    """
    factors = coloured(make_dataset(num_train=2, num_test=2)).train_factors
    expected = {
        "ink_hue": [339.45752, 20.40381],
        "ink_luma": [0.69490, 0.84568],
        "ink_chroma": [0.91670, 0.78061],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(factors[name], values, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "fragment"),
    [
        (
            lambda: coloured(make_dataset((3, 8, 8))),
            "expected grey images [N, 1, H, W] and N colours, got [256, 3, 8, 8]",
        ),
        (lambda: colour(ramp(3), drawn(2)), "got [3, 1, 16, 16] and 2"),
        (lambda: colour(torch.zeros(2, 1, 4, 4), drawn(2)), "expected uint8 images"),
    ],
)
def test_wrong_input_is_refused(call, fragment):
    with pytest.raises(CourseError) as error:
        call()
    assert fragment in str(error.value)
