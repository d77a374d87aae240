"""Metrics that compare images with their references: MSE, RMSE, PSNR and SSIM with its three
factors, for one solution or for several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.base.images import TOLERANCE, check_shape, check_signed
from course_utils.metrics.measurement import Measurement

WINDOW, SIGMA = 11, 1.5  # pixels
K1, K2 = 0.01, 0.03


def mse(images: Tensor, references: Tensor, *, data_range: float | None = None) -> Tensor:
    """Returns the mean squared error over pixels for each image, float64 `[N]`, in squared units of
    the pixels.

    Args:
        images, references: `[N, C, H, W]` of one type and one range.
        data_range: length of the pixel range; only checked here.

    Source: Gauss 1809; Wang & Bovik 2009, IEEE Signal Processing Magazine 26(1), on what it cannot
    see.
    """
    images, references = _check(images, references, data_range)
    return (images - references).square().flatten(1).mean(1)


def rmse(images: Tensor, references: Tensor, *, data_range: float | None = None) -> Tensor:
    """Returns the root of `mse` for each image, float64 `[N]`, in units of the pixels."""
    return mse(images, references, data_range=data_range).sqrt()


def psnr(images: Tensor, references: Tensor, *, data_range: float) -> Tensor:
    """Returns the peak signal-to-noise ratio 10 log10(data_range^2 / MSE) for each image, in dB,
    float64 `[N]`; infinite for equal images.

    Args:
        images, references: `[N, C, H, W]` of one type and one range.
        data_range: length of the pixel range: 255 (uint8), 1 (unit) or 2 (signed).
    """
    errors = mse(images, references, data_range=_known(data_range))
    return 10 * torch.log10(data_range**2 / errors)


@dataclass(frozen=True)
class Ssim:
    """Structural similarity of each image, float64 `[N]` each.

    Attributes:
        luminance, contrast, structure: the three factors, each averaged over the image.
        value: average over the image of their product at every pixel; not the product of the
            averages.
    """

    luminance: Tensor
    contrast: Tensor
    structure: Tensor
    value: Tensor


def ssim(images: Tensor, references: Tensor, *, data_range: float) -> Ssim:
    """Returns structural similarity and its three factors for each image, averaged over all places
    where the window fits.

    Args:
        images, references: `[N, C, H, W]` of one type and one range, at least 11 pixels a side.
            Channels are averaged.
        data_range: length of the pixel range: 255 (uint8), 1 (unit) or 2 (signed).

    Source: Wang et al. 2004, IEEE Trans. Image Processing 13(4), eq. 6-13: Gaussian window of 11
    pixels, sigma 1.5, K1 = 0.01, K2 = 0.03.
    """
    maps = ssim_maps(images, references, data_range=data_range)
    return Ssim(
        *(
            part.flatten(1).mean(1)
            for part in (maps.luminance, maps.contrast, maps.structure, maps.value)
        )
    )


def ssim_maps(images: Tensor, references: Tensor, *, data_range: float) -> Ssim:
    """Returns the same as `ssim` before averaging, `[N, C, H - 10, W - 10]` each: where the images
    differ and how.
    """
    x, y = _check(images, references, _known(data_range))
    if min(x.shape[2:]) < WINDOW:
        raise CourseError(
            f"expected images of at least {WINDOW} pixels a side for SSIM's window, got"
            f" {list(x.shape)}; use PSNR for smaller ones."
        )
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = (
        (_blur(x * x) - mean_x**2).clamp(min=0),
        (_blur(y * y) - mean_y**2).clamp(min=0),
    )
    spread = (variance_x * variance_y).sqrt()
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast = (2 * spread + c2) / (variance_x + variance_y + c2)
    structure = (_blur(x * y) - mean_x * mean_y + c2 / 2) / (spread + c2 / 2)
    return Ssim(luminance, contrast, structure, luminance * contrast * structure)


def _blur(images: Tensor) -> Tensor:
    """Returns the weighted mean within the window around every pixel where it fits, `[N, C, H - 10,
    W - 10]`.
    """
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.softmax(-0.5 * (offset / SIGMA) ** 2, 0)
    flat = images.flatten(0, 1)[:, None]
    return F.conv2d(
        F.conv2d(flat, weights[None, None, :, None]), weights[None, None, None, :]
    ).unflatten(0, images.shape[:2])[:, :, 0]


def _known(data_range: float) -> float:
    """Returns the range; None is for metrics that do not depend on it."""
    if data_range is None:
        raise CourseError(
            "data_range: expected 255 (uint8), 1 (unit) or 2 (signed), got None; the value depends"
            " on it."
        )
    return data_range


def _check(images: Tensor, references: Tensor, data_range: float | None) -> tuple[Tensor, Tensor]:
    """Returns both as float64 on the CPU."""
    for tensor in (images, references):
        check_shape(tensor)
    if images.shape != references.shape:
        raise CourseError(
            f"expected one reference for each image, got shapes {list(images.shape)} and"
            f" {list(references.shape)}."
        )
    if images.dtype != references.dtype or not (
        images.is_floating_point() or images.dtype == torch.uint8
    ):
        raise CourseError(
            "expected images and references of one type, both uint8 or both float, got"
            f" {images.dtype} and {references.dtype}."
        )
    if len(images) < 1:
        raise CourseError("expected at least 1 image, got 0; give the images to compare.")
    if data_range is not None:
        for name, tensor in (("images", images), ("references", references)):
            _check_range(name, tensor, data_range)
    images, references = (tensor.detach().cpu().double() for tensor in (images, references))
    if not (images.isfinite().all() and references.isfinite().all()):
        raise CourseError("expected finite pixels, got NaN or infinity.")
    return images, references


def _check_range(name: str, images: Tensor, data_range: float) -> None:
    """Raises CourseError unless pixels fit in [0, data_range] or, for 2, in [-1, 1]."""
    valid = (255,) if images.dtype == torch.uint8 else (1, 2, 255)
    if data_range not in valid:
        raise CourseError(
            f"data_range: expected {' or '.join(map(str, valid))} for {images.dtype} pixels, got"
            f" {data_range!r}."
        )
    low, high = (-1.0, 1.0) if data_range == 2 else (0.0, float(data_range))
    smallest, largest = (value.item() for value in images.detach().aminmax())
    if not (smallest >= low - TOLERANCE and largest <= high + TOLERANCE):
        expected = f"pixels in [{low:g}, {high:g}] for data_range {data_range:g}"
        raise CourseError(
            f"{name}: expected {expected}, got {smallest:.3g} to {largest:.3g}; clamp or rescale."
        )
    if data_range == 255 and images.is_floating_point() and largest <= 1 and largest > 0:
        raise CourseError(
            f"{name}: expected pixels up to 255 for data_range 255, got at most {largest:.3g}; unit"
            " images have data_range 1."
        )


SIGNED_RANGE = 2.0


def paired_quality(solutions: Tensor, truths: Tensor) -> tuple[Measurement, ...]:
    """Returns PSNR in dB and SSIM, of the mean of all solutions and of single solutions: "PSNR of
    the mean", "PSNR", "SSIM of the mean", "SSIM".

    The mean of posterior draws minimises the expected squared error; a single draw has twice that
    error where draws and truth are alike.
    """
    check_solutions(solutions, truths)
    mean = solutions.mean(0)
    singles = solutions.flatten(0, 1), truths.repeat(len(solutions), 1, 1, 1)
    shape = solutions.shape[:2]
    return (
        _over_questions("PSNR of the mean", psnr(mean, truths, data_range=SIGNED_RANGE)),
        _over_questions("PSNR", psnr(*singles, data_range=SIGNED_RANGE).view(shape).mean(0)),
        _over_questions("SSIM of the mean", ssim(mean, truths, data_range=SIGNED_RANGE).value),
        _over_questions("SSIM", ssim(*singles, data_range=SIGNED_RANGE).value.view(shape).mean(0)),
    )


def diversity(solutions: Tensor) -> tuple[Measurement, Measurement]:
    """Returns "pixel std", the root mean variance of a pixel over solutions of one question, and
    "pairwise distance", the mean RMS distance of two.

    Both are in signed pixel units and 0 where all solutions are equal. The variance is unbiased, so
    it does not depend on the number of solutions.

    Args:
        solutions: `[S, B, C, H, W]`, S at least 2; 8 or more make the error bars small.
    """
    if solutions.ndim != 5 or len(solutions) < 2:
        raise CourseError(
            "solutions: expected at least 2 for each question, [S, B, C, H, W], got"
            f" {list(solutions.shape)}; draw more of them."
        )
    flat = solutions.detach().cpu().double().flatten(2)  # [S, B, D]
    spread = flat.var(0).mean(1).sqrt()
    num, batch, dim = flat.shape
    total = flat.new_zeros(batch)
    for first in range(num - 1):
        total += (flat[first + 1 :] - flat[first]).square().mean(2).sqrt().sum(0)
    return _over_questions("pixel std", spread), _over_questions(
        "pairwise distance", total / (num * (num - 1) / 2)
    )


def check_solutions(solutions: Tensor, truths: Tensor) -> None:
    """Raises CourseError unless solutions `[S, B, C, H, W]` answer the truths `[B, C, H, W]`, both
    signed.
    """
    if solutions.ndim != 5 or solutions.shape[1:] != truths.shape:
        raise CourseError(
            "expected solutions [S, B, C, H, W] for truths [B, C, H, W], got"
            f" {list(solutions.shape)} and {list(truths.shape)}; one truth a question."
        )
    if len(truths) < 2:
        raise CourseError(
            f"expected at least 2 questions for an error bar, got {len(truths)}; give more images."
        )
    check_signed(truths)
    check_signed(solutions.flatten(0, 1))


def _over_questions(name: str, values: Tensor) -> Measurement:
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Measurement(name, values.mean().item(), error, len(values))
