"""MSE, PSNR and SSIM against scikit-image and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from materials import blobs

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import uint8_to_signed, uint8_to_unit
from course_utils.metrics.paired import mse, psnr, rmse, ssim, ssim_maps


def noisy_pair(channels: int = 1, size: int = 28, num: int = 4):
    """Returns uint8 images and references that resemble them."""
    references, _ = blobs(num, (channels, size, size), 5)
    noise = 40 * torch.randn(references.shape, generator=make_rng(1))
    return (references + noise).clamp(0, 255).to(torch.uint8), references


RANGES = {
    "uint8": (lambda images: images, 255),
    "unit": (uint8_to_unit, 1),
    "signed": (uint8_to_signed, 2),
}


@pytest.mark.parametrize("pixel_range", RANGES)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 11)])
def test_agree_with_scikit_image(pixel_range, channels, size):
    from skimage import metrics as skimage

    convert, data_range = RANGES[pixel_range]
    images, references = (convert(x) for x in noisy_pair(channels, size))
    found = ssim(images, references, data_range=data_range)
    for index, (image, reference) in enumerate(zip(images, references)):
        x, y = (value.double().permute(1, 2, 0).numpy() for value in (image, reference))
        paper = {
            "gaussian_weights": True,
            "sigma": 1.5,
            "use_sample_covariance": False,
            "channel_axis": 2,
        }
        assert found.value[index].item() == pytest.approx(
            skimage.structural_similarity(x, y, data_range=data_range, **paper), abs=1e-6
        )
        decibels = skimage.peak_signal_noise_ratio(y, x, data_range=data_range)
        assert psnr(images, references, data_range=data_range)[index].item() == pytest.approx(
            decibels, abs=1e-6
        )


def test_mse_and_rmse_by_hand():
    images, references = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    images[0, 0, 0, 0] = 1.0
    assert mse(images, references).tolist() == [0.25, 0.0]
    assert rmse(images, references).tolist() == [0.5, 0.0]
    assert psnr(images, references, data_range=1).tolist() == pytest.approx(
        [10 * math.log10(4), math.inf]
    )


@pytest.mark.parametrize("metric", ["psnr", "ssim"])
def test_the_scale_of_the_pixels_does_not_matter_when_the_range_is_right(metric):
    def measure(name):
        convert, data_range = RANGES[name]
        pair = [convert(x) for x in noisy_pair()]
        return (
            psnr(*pair, data_range=data_range)
            if metric == "psnr"
            else ssim(*pair, data_range=data_range).contrast
        )

    torch.testing.assert_close(measure("uint8"), measure("unit"), rtol=1e-4, atol=0)
    # SSIM's luminance depends on where black is, so only PSNR is the same for signed images
    if metric == "psnr":
        torch.testing.assert_close(measure("uint8"), measure("signed"), rtol=1e-4, atol=0)


def test_each_factor_sees_its_own_change():
    references = 0.25 + 0.5 * torch.rand(1, 1, 32, 32, generator=make_rng(2), dtype=torch.float64)
    mean = references.mean()
    brighter = ssim(references + 0.2, references, data_range=1)
    flatter = ssim(mean + 0.5 * (references - mean), references, data_range=1)
    inverted = ssim(2 * mean - references, references, data_range=1)
    assert brighter.luminance < 0.97 < brighter.contrast and brighter.structure > 0.999
    assert flatter.contrast < 0.85 < flatter.luminance and flatter.structure > 0.9
    assert inverted.structure < -0.9 and inverted.contrast > 0.999
    identical = ssim(references, references, data_range=1)
    assert [
        part.item()
        for part in (identical.luminance, identical.contrast, identical.structure, identical.value)
    ] == pytest.approx([1] * 4)


def test_maps_are_the_product_of_the_factors_at_each_pixel():
    maps = ssim_maps(*noisy_pair(), data_range=255)
    assert maps.value.shape == (4, 1, 18, 18)
    torch.testing.assert_close(maps.value, maps.luminance * maps.contrast * maps.structure)
    torch.testing.assert_close(
        ssim(*noisy_pair(), data_range=255).value, maps.value.flatten(1).mean(1)
    )


BYTES, UNIT = torch.full((2, 1, 12, 12), 200, dtype=torch.uint8), torch.full((2, 1, 12, 12), 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: psnr(BYTES, UNIT, data_range=1),
            "of one type, both uint8 or both float, got torch.uint8 and torch.float32",
        ),
        (
            lambda: psnr(BYTES, BYTES, data_range=1),
            "data_range: expected 255 for torch.uint8 pixels, got 1",
        ),
        (
            lambda: psnr(UNIT, UNIT, data_range=255),
            "images: expected pixels up to 255 for data_range 255, got at most 0.5",
        ),
        (
            lambda: psnr(BYTES.float(), BYTES.float(), data_range=1),
            r"images: expected pixels in \[0, 1\] for data_range 1, got 200 to 200",
        ),
        (
            lambda: psnr(UNIT, UNIT - 1, data_range=1),
            r"references: expected pixels in \[0, 1\] for data_range 1, got -0.5",
        ),
        (
            lambda: psnr(UNIT, UNIT, data_range=3),
            "data_range: expected 1 or 2 or 255 for torch.float32 pixels, got 3",
        ),
        (lambda: psnr(UNIT, UNIT, data_range=None), "data_range: expected 255 .* got None"),
        (lambda: mse(UNIT, UNIT[:1]), "expected one reference for each image, got shapes"),
        (lambda: mse(UNIT[0], UNIT[0]), r"expected images of shape \[N, C, H, W\]"),
        (lambda: mse(UNIT * math.nan, UNIT), "expected finite pixels, got NaN"),
        (lambda: mse(UNIT[:0], UNIT[:0]), "expected at least 1 image, got 0"),
        (lambda: mse(BYTES.int(), BYTES.int()), "got torch.int32 and torch.int32"),
        (
            lambda: ssim(UNIT[..., :10], UNIT[..., :10], data_range=1),
            "expected images of at least 11 pixels a side",
        ),
        (lambda: ssim(UNIT * math.nan, UNIT, data_range=1), "got nan to nan"),
    ],
)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
