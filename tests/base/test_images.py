"""The pixel-range contract: conversions, their exact values, and the checks at the borders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_utils.base import images as im
from course_utils.base.errors import CourseError

ALL_LEVELS = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (2, 3, 4, 5), (0, 1, 4, 4)])
def test_uint8_survives_the_round_trip(shape):
    images = torch.randint(
        0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    assert torch.equal(im.signed_to_uint8(im.uint8_to_signed(images)), images)


def test_every_grey_level_survives_also_in_half_precision():
    assert torch.equal(im.signed_to_uint8(im.uint8_to_signed(ALL_LEVELS)), ALL_LEVELS)
    assert torch.equal(im.signed_to_uint8(im.uint8_to_signed(ALL_LEVELS).half()), ALL_LEVELS)


def test_ranges_have_their_ends_at_black_and_white():
    signed, unit = im.uint8_to_signed(ALL_LEVELS), im.uint8_to_unit(ALL_LEVELS)
    assert (signed.min(), signed.max(), signed.dtype) == (-1.0, 1.0, torch.float32)
    assert (unit.min(), unit.max(), unit.dtype) == (0.0, 1.0, torch.float32)
    torch.testing.assert_close(im.signed_to_unit(signed), unit)
    torch.testing.assert_close(im.unit_to_signed(unit), signed)


def test_conversion_leaves_its_input_alone():
    before = ALL_LEVELS.clone()
    im.uint8_to_signed(ALL_LEVELS), im.uint8_to_unit(ALL_LEVELS)
    signed = im.uint8_to_signed(ALL_LEVELS)
    kept = signed.clone()
    im.signed_to_uint8(signed)
    assert torch.equal(ALL_LEVELS, before) and torch.equal(signed, kept)


def test_signed_to_uint8_rounds_and_does_not_truncate():
    unit = torch.tensor([0.0, 0.4, 0.6, 254.6, 255.0]).view(1, 1, 1, 5) / 255
    assert im.signed_to_uint8(im.unit_to_signed(unit)).flatten().tolist() == [0, 0, 1, 255, 255]


def test_rounding_errors_of_floats_are_forgiven():
    images = torch.tensor([-1 - 1e-6, 1 + 1e-6]).view(1, 1, 1, 2)
    assert im.signed_to_uint8(images).flatten().tolist() == [0, 255]


SIGNED = torch.zeros(2, 1, 4, 4)
WITH_NAN = SIGNED.clone().index_fill_(0, torch.tensor(1), float("nan"))


@pytest.mark.parametrize(
    ("function", "images", "fragments"),
    [
        (
            im.uint8_to_signed,
            SIGNED,
            ["expected uint8 images (0 to 255), got torch.float32", "signed_to_uint8"],
        ),
        (im.uint8_to_unit, SIGNED.int(), ["expected uint8 images", "torch.int32"]),
        (im.uint8_to_signed, ALL_LEVELS[0], ["[N, C, H, W] with 1 or 3 channels, got [1, 16, 16]"]),
        (
            im.uint8_to_signed,
            ALL_LEVELS.expand(1, 2, 16, 16),
            ["1 or 3 channels, got [1, 2, 16, 16]"],
        ),
        (
            im.signed_to_uint8,
            ALL_LEVELS,
            ["expected float images in [-1, 1], got torch.uint8", "uint8_to_signed"],
        ),
        (
            im.signed_to_uint8,
            SIGNED + 255,
            ["expected images in [-1, 1], got values from 255 to 255"],
        ),
        (im.signed_to_uint8, WITH_NAN, ["expected images in [-1, 1]", "nan"]),
        (im.check_signed, SIGNED + 1.01, ["got values from 1.01 to 1.01"]),
        (im.check_signed, SIGNED[0], ["got [1, 4, 4]"]),
        (im.tile, SIGNED, ["expected uint8 images"]),
    ],
)
def test_wrong_images_are_refused(function, images, fragments):
    with pytest.raises(CourseError) as error:
        function(images)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


@pytest.mark.parametrize(
    ("num", "num_columns", "rows", "columns"), [(7, 3, 3, 3), (2, 10, 1, 2), (4, 1, 4, 1)]
)
def test_tile_puts_every_image_where_it_belongs(num, num_columns, rows, columns):
    images = torch.arange(1, num + 1, dtype=torch.uint8).view(num, 1, 1, 1).expand(num, 3, 4, 5)
    sheet = im.tile(images, num_columns, pad=1)
    assert list(sheet.shape) == [3, rows * 5 + 1, columns * 6 + 1]
    corners = sheet[0, 1::5, 1::6].flatten()
    assert corners.tolist() == list(range(1, num + 1)) + [128] * (rows * columns - num)
    assert (sheet[:, 0] == 128).all() and (sheet[:, :, 0] == 128).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_png_holds_the_sheet_enlarged(tmp_path, channels, mode):
    from PIL import Image

    images = torch.randint(
        0, 256, (5, channels, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    im.save_png(images, tmp_path / "new" / "sheet.png", num_columns=3, scale=2)
    with Image.open(tmp_path / "new" / "sheet.png") as picture:
        assert picture.mode == mode
        pixels = np.array(picture)
    expected = im.tile(images, 3).permute(1, 2, 0).squeeze(-1).numpy()
    assert np.array_equal(pixels[::2, ::2], expected) and np.array_equal(
        pixels[1::2, 1::2], expected
    )
