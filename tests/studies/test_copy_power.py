"""Power curves: false alarms at no copies, certainty at many, and a bank of look-alikes that is
drawn from as it should be.
"""

from __future__ import annotations

import pytest
import torch
from materials import blobs

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.features import extract, pixel_extractor
from course_utils.metrics.memorization import Lookalikes, MemorizationTest
from course_utils.studies.copies import DISGUISES, mixed, power_curve
from course_utils.studies.corruptions import disguised, planted_copies

SHAPE = (1, 12, 12)
TRAIN, HELDOUT, FRESH = (blobs(num, SHAPE, seed)[0] for num, seed in ((500, 1), (400, 2), (400, 3)))
PIXELS = pixel_extractor()


@pytest.fixture(scope="module")
def judge():
    return MemorizationTest(extract(PIXELS, TRAIN), extract(PIXELS, HELDOUT))


def test_power_rises_from_the_level_to_one(judge):
    rows = power_curve(judge, PIXELS, FRESH, TRAIN, (0.0, 0.2), num_images=200, num_rounds=60)
    assert [row.share for row in rows] == [0.0, 0.2] and all(row.num_rounds == 60 for row in rows)
    assert rows[0].power <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5 and rows[1].power == 1
    assert rows[1].error == pytest.approx(((61 / 62) * (1 / 62) / 60) ** 0.5)
    assert rows[1].estimate == pytest.approx(0.2, abs=0.02) and abs(rows[0].estimate) < 0.03


def test_a_disguise_reaches_the_copies(judge):
    (hidden,) = power_curve(
        judge,
        PIXELS,
        FRESH,
        TRAIN,
        (0.2,),
        num_images=200,
        num_rounds=20,
        disguise={"noise_std": 0.6},
    )
    (plain,) = power_curve(judge, PIXELS, FRESH, TRAIN, (0.2,), num_images=200, num_rounds=20)
    assert hidden.estimate < 0.5 * plain.estimate


def test_one_round_equals_the_test_of_planted_images(judge):
    """Looking up a bank and drawing from it is the same as making the images and testing them."""
    images = planted_copies(FRESH, TRAIN, 0.1, seed=4)
    is_copy = (images != FRESH).flatten(1).any(1)
    expected = judge.judge(extract(PIXELS, images))
    honest, copies = (
        judge.look_up(extract(PIXELS, FRESH[~is_copy])),
        judge.look_up(extract(PIXELS, images[is_copy])),
    )
    found = mixed(honest, copies, 0.1, 400, make_rng(0))
    assert judge.verdict(found).p_value == expected.p_value
    assert judge.verdict(found).copied_share.value == pytest.approx(expected.copied_share.value)


def test_rounds_draw_each_image_at_most_once():
    bank = Lookalikes(torch.rand(50), torch.rand(50), torch.arange(50))
    other = Lookalikes(torch.rand(30), torch.rand(30), 100 + torch.arange(30))
    owners = mixed(bank, other, 0.25, 40, make_rng(1)).owners
    assert len(set(owners.tolist())) == 40 and (owners >= 100).sum() == 10


def test_disguises_are_arguments_of_disguised():
    for settings in DISGUISES.values():
        assert disguised(TRAIN[:2], **settings).shape == TRAIN[:2].shape


BAD = [
    (
        lambda judge: power_curve(judge, PIXELS, FRESH[:10], TRAIN, num_images=20),
        "fresh: expected at least 20 images, got 10",
    ),
    (
        lambda judge: power_curve(judge, PIXELS, FRESH, TRAIN[:5], (0.5,), num_images=20),
        "remembered: expected at least 10 images, got 5",
    ),
    (
        lambda judge: power_curve(judge, PIXELS, FRESH, TRAIN, num_rounds=1),
        "num_rounds: expected at least 2, got 1",
    ),
    (
        lambda judge: power_curve(judge, PIXELS, FRESH, TRAIN, (1.5,), num_images=20),
        "share: expected 0 to 1, got 1.5",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message, judge):
    with pytest.raises(CourseError, match=message):
        call(judge)
