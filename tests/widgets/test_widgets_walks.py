"""Pad, scrubber, temperature and truncation slider: their plain functions, and that the controls
call them.
"""

from __future__ import annotations

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.models.latents import arc_path, prior_quantiles
from course_utils.widgets import (
    latent_image,
    latent_pad,
    manifold_sheet,
    png_bytes,
    temperature_explorer,
    temperature_image,
    truncation_explorer,
    truncation_image,
    walk_image,
    walk_scrubber,
)
from course_utils.widgets.walks import latent_at, place_of

TICKS = torch.tensor([-1.0, 0.0, 1.0])
ENDS = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0]])


def decode(z: torch.Tensor) -> torch.Tensor:
    """Left half of the 4 by 4 image shows z[0] / 4, right half z[1] / 4."""
    return (z / 4).clamp(-1, 1)[:, None, None, :].repeat_interleave(2, 3).expand(-1, 1, 4, 4)


def parts(panel):
    """Returns the sliders, the plane and the picture of a pad."""
    column, plane = panel.children[0].children
    *sliders, picture = column.children
    return sliders, plane, picture


def test_the_sheet_has_dimension_0_to_the_right_and_1_upwards():
    sheet = manifold_sheet(decode, TICKS)
    assert sheet.shape == (1, 12, 12)
    top_right = latent_image(decode, torch.tensor([1.0, 1.0]))
    assert torch.equal(sheet[:, :4, 8:], top_right)


def test_a_place_on_the_sheet_is_the_latent_of_its_tile():
    uneven = torch.tensor([-2.0, 0.5, 1.0])
    middles = {(1 / 6, 5 / 6): [-2.0, -2.0], (0.5, 1 / 6): [0.5, 1.0], (2 / 3, 0.5): [0.75, 0.5]}
    for place, z in middles.items():
        assert latent_at(uneven, place) == pytest.approx(z)
        assert place_of(uneven, z) == pytest.approx(place)
    assert latent_at(uneven, (0.0, 1.0)) == [-2.0, -2.0]  # the outer halves belong to their tiles


def test_plane_sliders_and_picture_of_the_pad_go_together():
    sliders, plane, picture = parts(latent_pad(decode, TICKS))
    assert plane.place == [0.5, 0.5] and plane.sheet == png_bytes(manifold_sheet(decode, TICKS), 1)
    plane.set_state({"place": [1 / 3, 1 / 6]})  # as a browser sends it
    assert [control.value for control in sliders] == pytest.approx([-0.5, 1.0])
    assert picture.value == png_bytes(latent_image(decode, torch.tensor([-0.5, 1.0])))
    sliders[0].value = 1.0
    assert plane.place == pytest.approx([5 / 6, 1 / 6])
    assert picture.value == png_bytes(latent_image(decode, torch.tensor([1.0, 1.0])))


def test_each_move_of_the_pad_decodes_once():
    asked = []
    sliders, plane, _ = parts(latent_pad(lambda z: asked.append(len(z)) or decode(z), TICKS))
    plane.place = [0.2, 0.9]
    sliders[1].value = 0.5
    assert asked == [9, 1, 1, 1]  # the sheet, the first picture, and one for each move


def test_sliders_of_the_pad_can_stand_at_0():
    sliders, _, _ = parts(latent_pad(decode, prior_quantiles(11)))
    for control in sliders:
        steps = -control.min / control.step
        assert steps == pytest.approx(round(steps)) and control.value == 0.0


def test_a_walk_passes_its_stations():
    for share, station in ((0.0, 0), (0.5, 1), (1.0, 2)):
        assert torch.equal(walk_image(decode, ENDS, share), latent_image(decode, ENDS[station]))
    halfway = walk_image(decode, ENDS, 0.25)
    assert torch.equal(halfway, latent_image(decode, arc_path(ENDS[0], ENDS[1], [0.5])[0]))
    assert not torch.equal(halfway, walk_image(decode, ENDS, 0.25, "straight line"))


def test_temperature_scales_the_draws():
    eps = torch.tensor([[1.0, -1.0], [2.0, 0.0]])
    assert torch.equal(
        temperature_image(decode, eps, 0.5)[:, :, 4:], latent_image(decode, 0.5 * eps[1])
    )
    assert temperature_image(decode, eps, 0.0).unique().tolist() == [128]


def test_truncation_draws_within_the_bound_and_equal_draws_keep_their_order():
    uniforms = torch.tensor([[0.5, 0.5], [0.9, 0.2]], dtype=torch.float64)
    wide, narrow = (truncation_image(decode, uniforms, bound)[0, 0].float() for bound in (4.0, 0.5))
    # the median stays where it is
    assert wide[:4].unique().tolist() == narrow[:4].unique().tolist() == [128]
    assert wide[4] > narrow[4] > 128 > narrow[7] > wide[7]
    # the bound of 4 hardly changes it
    quantile = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor([0.9, 0.2]))
    assert torch.equal(
        truncation_image(decode, uniforms, 4.0)[:, :, 4:], latent_image(decode, quantile)
    )


def test_controls_redraw():
    walk = walk_scrubber(decode, ENDS).children[0]
    walk.children[0].children[1].value = "straight line"
    walk.children[0].children[0].value = 0.25
    assert walk.children[1].value == png_bytes(walk_image(decode, ENDS, 0.25, "straight line"))
    hot = temperature_explorer(decode, 2, num_images=3).children[0]
    before = hot.children[1].value
    hot.children[0].children[0].value = 0.0
    assert hot.children[1].value != before
    cut = truncation_explorer(decode, 2, num_images=3).children[0]
    before = cut.children[1].value
    cut.children[0].children[0].value = 0.1
    assert cut.children[1].value != before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: walk_image(decode, ENDS[:1], 0.0), "at least 2 latents"),
        (lambda: walk_image(decode, ENDS, 1.5), "share: expected 0 to 1"),
        (lambda: walk_image(decode, ENDS, 0.5, "zigzag"), "path: expected arc or straight line"),
        (lambda: temperature_image(decode, ENDS, -1.0), "temperature: expected 0 or more"),
        (lambda: truncation_image(decode, ENDS, 0.0), "bound: expected more than 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(CourseError, match=message):
        call()
