"""The datasets with captions: known colours and shapes in the pictures, and a split that holds out
combinations.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_utils import data
from course_utils.base.errors import CourseError
from course_utils.data import scenes as module
from course_utils.data.captions import ATTRIBUTES, COLOUR_NAMES, SCENE_ATTRIBUTES, said
from course_utils.data.scenes import (
    HELD_OUT,
    draw_scenes,
    draw_singles,
    make_captions,
    scene_cells,
    values_of,
)

SCREEN = {  # what a person would call the colours, red, green and blue from 0 to 255
    "red": (255, 0, 0),
    "yellow": (255, 225, 0),
    "green": (0, 215, 0),
    "blue": (40, 50, 255),
    "purple": (190, 35, 235),
    "white": (245, 245, 245),
    "black": (10, 10, 10),
}


def singles(num=300, **options):
    return draw_singles(num, np.random.default_rng(3), **options)


def nearest_colour(pixels):
    """Returns codes of the named colours that are nearest to pixels `[N, 3]`."""
    distance = torch.cdist(pixels.double(), torch.tensor(list(SCREEN.values())).double())
    assert list(SCREEN) == list(COLOUR_NAMES)
    return distance.argmin(1)


def mask_of(images):
    """Returns which pixels are ink: those far from the corner's colour, `[N, H, W]`."""
    paper = images[:, :, :1, :1].double()
    distance = (images.double() - paper).norm(dim=1)
    return distance > 0.5 * distance.amax((1, 2), keepdim=True)


def test_colours_are_what_their_names_say():
    drawn = singles()
    corner = drawn.images[:, :, 0, 0]
    assert (nearest_colour(corner) == drawn.factors["paper"]).all()
    distance = (drawn.images.double() - corner[:, :, None, None]).norm(dim=1).flatten(1)
    farthest = distance.argmax(1)
    ink = drawn.images.flatten(2)[torch.arange(300), :, farthest]
    assert (nearest_colour(ink) == drawn.factors["ink"]).all()
    assert (drawn.factors["ink"] != drawn.factors["paper"]).all()


def test_size_thickness_and_slant_are_seen_in_the_shape():
    drawn = singles(600)
    mask = mask_of(drawn.images)
    heights = mask.any(2).sum(1).maximum(mask.any(1).sum(1))
    big = drawn.factors["size"] == 1
    assert heights[big].min() > heights[~big].max()
    # of one size and digit, thick ink covers more than thin ink
    area = mask.sum((1, 2)).double() / heights.double() ** 2
    for digit in range(10):
        of_digit = drawn.factors["digit"] == digit
        thick = drawn.factors["thickness"] == 1
        assert area[of_digit & thick].median() > 1.4 * area[of_digit & ~thick].median()
    # the middle of the ink moves right towards the top where it leans right
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    weight = mask.double() / mask.sum((1, 2), keepdim=True)
    mean_x, mean_y = ((weight * at).sum((1, 2), keepdim=True) for at in (x, y))
    shear = -(weight * (x - mean_x) * (y - mean_y)).sum((1, 2)) / (weight * (y - mean_y) ** 2).sum(
        (1, 2)
    )
    means = [shear[drawn.factors["slant"] == code].mean().item() for code in range(3)]
    # a shear of tan 26.5° = 0.5 to both sides; the shapes' own shears cancel over the digits
    assert means == [pytest.approx(expected, abs=0.12) for expected in (-0.5, 0.0, 0.5)]


def test_no_held_out_combination_is_in_training_and_all_are_in_the_test():
    assert len(HELD_OUT) == 10 and {digit for digit, _ in HELD_OUT} == set(range(10))
    assert {ink for _, ink in HELD_OUT} == set(COLOUR_NAMES)
    for is_scene, places in ((False, ("",)), (True, ("first_", "second_"))):
        dataset = make_captions(400, 700, seed=5, scenes=is_scene)
        for place in places:
            pairs = [
                set(
                    zip(
                        factors[f"{place}digit"].tolist(),
                        [COLOUR_NAMES[code] for code in factors[f"{place}ink"].tolist()],
                    )
                )
                for factors in (dataset.train_factors, dataset.test_factors)
            ]
            assert not pairs[0] & HELD_OUT and HELD_OUT <= pairs[1]
        assert dataset.train_factors["held_out"].sum() == 0
        share = dataset.test_factors["held_out"].double().mean().item()
        assert share == pytest.approx(1 - (6 / 7) ** len(places), abs=0.06)


def test_each_value_of_each_attribute_is_in_training():
    for is_scene, attributes in ((False, ATTRIBUTES), (True, SCENE_ATTRIBUTES)):
        factors = make_captions(500, 2, seed=6, scenes=is_scene).train_factors
        for name, values in attributes.items():
            counts = factors[name].bincount(minlength=len(values))
            assert len(counts) == len(values) and counts.min() > 0, name


def test_pictures_are_equal_from_equal_seeds_and_captions_are_true_of_them():
    first, again, other = (make_captions(60, 20, seed=seed) for seed in (1, 1, 2))
    assert first.sha256 == again.sha256 != other.sha256
    rows = values_of(first.train_factors, ATTRIBUTES)
    for caption, row in zip(first.train_captions, rows):
        assert said(caption).items() <= row.items()
    assert (first.train_labels == first.train_factors["digit"]).all()


def test_only_fours_and_sevens_have_ways_of_writing_with_a_word():
    drawn = singles(600)
    style, digit = drawn.factors["style"], drawn.factors["digit"]
    named = {
        name: set(digit[style == code].tolist()) for code, name in enumerate(ATTRIBUTES["style"])
    }
    assert named == {
        "plain": {0, 1, 2, 3, 5, 6, 7, 8, 9},
        "crossed": {7},
        "open": {4},
        "closed": {4},
    }


def test_the_first_digit_of_a_scene_is_on_the_left_or_at_the_top():
    drawn = draw_scenes(200, np.random.default_rng(4))
    cells = scene_cells(drawn.images, drawn.factors["relation"])
    assert cells.shape == (200, 2, 3, 16, 16)
    paper = drawn.images[:, :, :1, :1].double()
    for index, place in enumerate(("first", "second")):
        distance = (cells[:, index].double() - paper).norm(dim=1).flatten(1)
        assert (distance.amax(1) > 40).all(), "a digit in each field"
        ink = cells[:, index].flatten(2)[torch.arange(200), :, distance.argmax(1)]
        assert (nearest_colour(ink) == drawn.factors[f"{place}_ink"]).all()
    beside = drawn.factors["relation"] == 0
    assert (drawn.images[beside][:, :, :8] == drawn.images[beside][:, :, :1, :1]).all()
    assert (drawn.images[~beside][:, :, :, :8] == drawn.images[~beside][:, :, :1, :1]).all()


@pytest.mark.parametrize("name", ["captions", "captions:scenes"])
def test_they_are_loaded_by_name(name, monkeypatch, capsys):
    monkeypatch.setattr(module, "NUM_TRAIN", 30)
    monkeypatch.setattr(module, "NUM_TEST", 10)
    loaded = data.load_dataset(name)
    assert loaded.name == name and loaded.image_shape == (3, 32, 32) and loaded.num_classes == 10
    assert len(loaded.train_captions) == 30 and len(loaded.test_captions) == 10
    assert f"{name}: 30 train and 10 test images" in capsys.readouterr().out
    with pytest.raises(CourseError, match="has 32 by 32 pixels, got 28"):
        data.load_dataset(name, image_size=28)


def test_no_pictures_are_refused():
    with pytest.raises(CourseError, match="num_pictures: expected at least 1, got 0"):
        singles(0)
