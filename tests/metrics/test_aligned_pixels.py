"""Aligned pixels: shifts by whole pixels disappear, nothing else does."""

from __future__ import annotations

import pytest
import torch
from materials import blobs

from course_utils.metrics.features import aligned_pixel_extractor, extract
from course_utils.studies.corruptions import shifted

EXTRACTOR = aligned_pixel_extractor()
ROUND = blobs(40, (1, 28, 28), 1)[0]


def centred(num: int = 8) -> torch.Tensor:
    """Images with a wide black border, so that a shift loses no ink."""
    images = torch.zeros(num, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 8:18, 9:20] = torch.randint(
        0, 256, (num, 1, 10, 11), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return images


@pytest.mark.parametrize(("right", "down"), [(1, 0), (-3, 2), (0, 5)])
def test_whole_shifts_leave_no_trace(right, down):
    images = centred()
    assert torch.equal(extract(EXTRACTOR, images), extract(EXTRACTOR, shifted(images, right, down)))


def test_features_are_the_same_pixels_in_the_middle():
    features = extract(EXTRACTOR, ROUND).view(40, 28, 28)
    assert torch.equal(
        features.flatten(1).sort().values,
        (ROUND.double() / 255).float().double().flatten(1).sort().values,
    )
    place = torch.arange(28, dtype=torch.float64)
    for axis in (1, 2):
        centre = (features.sum(3 - axis) @ place) / features.sum((1, 2))
        # half a pixel of rounding, and what was rolled around
        assert (centre - 13.5).abs().max() <= 1.0


def test_different_images_stay_different_and_black_ones_are_no_error():
    features = extract(
        EXTRACTOR, torch.cat([centred(), torch.zeros(1, 1, 28, 28, dtype=torch.uint8)])
    )
    assert torch.cdist(features, features).add(torch.eye(9)).min() > 1e-3 and features[8].sum() == 0


def test_three_channels_move_together():
    images = centred().expand(-1, 3, -1, -1)
    assert torch.equal(extract(EXTRACTOR, images), extract(EXTRACTOR, shifted(images, 2, 1)))
