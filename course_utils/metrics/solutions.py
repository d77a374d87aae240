"""Metrics of several solutions to one question: how near they are to the truth, each and in the mean, and how much they differ.

All take solutions `[S, B, C, H, W]` and truths `[B, C, H, W]`, signed. Error bars are over the B questions: solutions of one question are not
independent.

Source: mean and draws: Blau & Michaeli 2018 (arXiv:1711.06077), sec. 4; PSNR and SSIM: see `paired`.
"""

from __future__ import annotations

import math

from torch import Tensor

from course_utils.errors import CourseError
from course_utils.images import check_signed
from course_utils.metrics.paired import psnr, ssim
from course_utils.metrics.result import Measurement

SIGNED_RANGE = 2.0


def paired_quality(solutions: Tensor, truths: Tensor) -> tuple[Measurement, ...]:
    """Returns PSNR in dB and SSIM, of the mean of all solutions and of single solutions: "PSNR of the mean", "PSNR", "SSIM of the mean", "SSIM".

    The mean of posterior draws minimises the expected squared error; a single draw has twice that error where draws and truth are alike.
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
    """Returns "pixel std", the root mean variance of a pixel over solutions of one question, and "pairwise distance", the mean RMS distance of two.

    Both are in signed pixel units and 0 where all solutions are equal. The variance is unbiased, so it does not depend on the number of solutions.

    Args:
        solutions: `[S, B, C, H, W]`, S at least 2; 8 or more make the error bars small.
    """
    if solutions.ndim != 5 or len(solutions) < 2:
        raise CourseError(f"solutions: expected at least 2 for each question, [S, B, C, H, W], got {list(solutions.shape)}; draw more of them.")
    flat = solutions.detach().cpu().double().flatten(2)  # [S, B, D]
    spread = flat.var(0).mean(1).sqrt()
    num, batch, dim = flat.shape
    total = flat.new_zeros(batch)
    for first in range(num - 1):
        total += (flat[first + 1 :] - flat[first]).square().mean(2).sqrt().sum(0)
    return _over_questions("pixel std", spread), _over_questions("pairwise distance", total / (num * (num - 1) / 2))


def check_solutions(solutions: Tensor, truths: Tensor) -> None:
    """Raises CourseError unless solutions `[S, B, C, H, W]` answer the truths `[B, C, H, W]`, both signed."""
    if solutions.ndim != 5 or solutions.shape[1:] != truths.shape:
        raise CourseError(
            f"expected solutions [S, B, C, H, W] for truths [B, C, H, W], got {list(solutions.shape)} and {list(truths.shape)}; one truth a question."
        )
    if len(truths) < 2:
        raise CourseError(f"expected at least 2 questions for an error bar, got {len(truths)}.")
    check_signed(truths)
    check_signed(solutions.flatten(0, 1))


def _over_questions(name: str, values: Tensor) -> Measurement:
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Measurement(name, values.mean().item(), error, len(values))
