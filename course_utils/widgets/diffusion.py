"""Diffusion by hand: a slider for the noise level, and one that steps through a sampler's way from noise to image.

Everything is computed where the given image or trajectory lies; a denoiser on another device needs them there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets
import torch
from torch import Tensor

from course_utils.config import require
from course_utils.device import make_rng, randn
from course_utils.errors import CourseError
from course_utils.images import check_signed
from course_utils.plotting.diffusion import film_frames, sheets
from course_utils.plotting.pictures import image_rows
from course_utils.sampling import Denoiser, Sampled
from course_utils.schedules import Schedule
from course_utils.widgets.figures import image_explorer, slider
from course_utils.widgets.latent import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of the picture for readers without a kernel
LARGE_SNR = 1000.0  # from here on a signal-to-noise ratio is shown without decimals


def noise_level_image(denoise: Denoiser, schedule: Schedule, image: Tensor, eps: Tensor, t: float) -> Tensor:
    """Returns an image, the same with noise of level t, and what the denoiser sees in that, side by side, uint8 `[C, H + 4, 3 W + 8]`.

    Args:
        denoise: x_t `[1, C, H, W]` and times `[1]` -> the image seen in it, such as `model.denoiser(labels, guidance_scale=1.0)`; not asked at t = 0.
        schedule: that the denoiser was made for.
        image: signed, `[C, H, W]`.
        eps: standard normal noise, `[C, H, W]`; equal noise makes levels compare.
        t: 0 (the image) to 1 (noise).

    Raises:
        CourseError: t outside [0, 1], an image outside [-1, 1], noise of another shape, or a denoiser that returns infinite values.
    """
    xt, seen = _noised_and_seen(denoise, schedule, image, eps, t)
    return sheets([torch.cat([image[None], xt, seen])], num_columns=3)[0]


@torch.no_grad()
def _noised_and_seen(denoise: Denoiser, schedule: Schedule, image: Tensor, eps: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """Returns x_t and the image seen in it, `[1, C, H, W]` each."""
    require(0 <= t <= 1, "t", "0 to 1", t)
    require(image.ndim == 3 and eps.shape == image.shape, "eps", f"one image [C, H, W] and noise like it, {list(image.shape)}", list(eps.shape))
    check_signed(image[None])
    xt = schedule.noised(image[None], eps[None], t)
    if t == 0:
        return xt, xt
    seen = denoise(xt, xt.new_full((1,), t))
    if not seen.isfinite().all():
        raise CourseError(f"denoise: expected finite values at t = {t:g}, got others; where alpha is 0, an eps-prediction says nothing of the image.")
    return xt, seen


def noise_level_caption(schedule: Schedule, t: float) -> str:
    """Returns t, the mixture that x_t is there, and its signal-to-noise ratio alpha² / sigma², as text."""
    time = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = schedule.alpha(time).item(), schedule.sigma(time).item()
    return f"t = {t:.2f}: x_t = {alpha:.2f} x_0 + {sigma:.2f} eps, SNR {_snr(schedule, t)}"


def _snr(schedule: Schedule, t: float) -> str:
    ratio = schedule.log_snr(torch.tensor(t, dtype=torch.float64)).exp().item()
    if math.isinf(ratio):
        return "∞"
    return f"{ratio:,.0f}" if ratio >= LARGE_SNR else f"{ratio:.3g}"


def noise_level_picture(denoise: Denoiser, schedule: Schedule, image: Tensor, eps: Tensor, times: Sequence[float] = TIMES) -> Figure:
    """Returns a row of noisy images and a row of what the denoiser sees in them, one column a time: the slider for readers without a kernel.

    Args:
        denoise, schedule, image, eps: as for `noise_level_image`.
        times: from 0 to 1, at least one.
    """
    require(len(times) >= 1, "times", "at least one", times)
    pairs = [_noised_and_seen(denoise, schedule, image, eps, float(t)) for t in times]
    rows = {name: torch.cat(images).clamp(-1, 1) for name, images in zip(("x_t", "image seen"), zip(*pairs))}
    return image_rows(rows, [f"t = {t:.2f}\nSNR {_snr(schedule, float(t))}" for t in times])


def noise_level_explorer(denoise: Denoiser, schedule: Schedule, image: Tensor, *, t: float = 0.5, max_t: float = 1.0, seed: int = 0) -> Panel:
    """Returns a slider for t above the image, the image with noise, and what the denoiser sees in it; the noise stays the same for all t.

    Args:
        denoise: as for `noise_level_image`.
        schedule: that the denoiser was made for.
        image: signed, `[C, H, W]`.
        t: where the slider stands at first.
        max_t: where it ends, such as `model.config.first_time`.
        seed: of the noise.
    """
    require(0 < max_t <= 1, "max_t", "above 0 and at most 1", max_t)
    require(0 <= t <= max_t, "t", f"0 to {max_t:g}", t)
    eps = randn(tuple(image.shape), make_rng(seed), image)

    def draw(t: float) -> tuple[Tensor, str]:
        return noise_level_image(denoise, schedule, image, eps, t), noise_level_caption(schedule, t)

    return image_explorer(draw, {"t": slider("t", t, 0.0, max_t, step=0.01)}, scale=5)


def _rows_at(trajectory: Sampled, step: int, num_images: int) -> tuple[Tensor, Tensor]:
    """Returns x_t and the image seen in it after so many steps; at the end nobody is asked, and the result stands for itself."""
    num_steps = len(trajectory.x0s)
    require(num_steps >= 1, "trajectory", "at least one step; sample with trajectory=True", num_steps)
    require(isinstance(step, int) and 0 <= step <= num_steps, "step", f"a whole number from 0 to {num_steps}", step)
    require(num_images >= 1, "num_images", "at least 1", num_images)
    xt = trajectory.xts[step]
    seen = trajectory.x0s[step] if step < num_steps else xt
    return xt[:num_images], seen[:num_images]


def step_image(trajectory: Sampled, step: int, num_images: int = 8) -> Tensor:
    """Returns x_t of some images after so many steps of a sampler, above what the denoiser sees in them, uint8 `[C, height, width]`.

    Args:
        trajectory: what a sampler returned, such as `model.trace(8, labels=labels, rng=rng)`.
        step: 0 (noise) to the number of steps (the result).
        num_images: the first so many are shown.

    Raises:
        CourseError: a trajectory that was not kept, or a step that it does not have.
    """
    rows = _rows_at(trajectory, step, num_images)
    return sheets([torch.cat(rows)], num_columns=len(rows[0]))[0]


def step_caption(trajectory: Sampled, step: int) -> str:
    """Returns the step and its time as text."""
    return f"step {step} of {len(trajectory.x0s)}, t = {trajectory.times[step]:.2f}: x_t above, the image seen in it below"


def step_picture(trajectory: Sampled, index: int = 0, num_columns: int = 8) -> Figure:
    """Returns x_t and the image seen in it for one image, a column a time: the scrubber for readers without a kernel.

    Args:
        trajectory: what a sampler returned.
        index: of the image.
        num_columns: times to show, evenly spread, the first and the last among them.
    """
    require(0 <= index < len(trajectory.x), "index", f"0 to {len(trajectory.x) - 1}", index)
    require(num_columns >= 2, "num_columns", "at least 2", num_columns)
    steps = film_frames(len(trajectory.xts), num_columns) or [0]
    pairs = [_rows_at(trajectory, step, len(trajectory.x)) for step in steps]
    rows = {name: torch.stack([part[index] for part in parts]).clamp(-1, 1) for name, parts in zip(("x_t", "image seen"), zip(*pairs))}
    return image_rows(rows, [f"t = {trajectory.times[step]:.2f}" for step in steps])


def step_scrubber(trajectory: Sampled, num_images: int = 8) -> Panel:
    """Returns a slider over the steps of a sampler above x_t and the image seen in it; everything was computed before.

    Args:
        trajectory: what a sampler returned, with its trajectory kept.
        num_images: the first so many are shown.
    """
    control = ipywidgets.IntSlider(value=0, min=0, max=len(trajectory.x0s), description="step")
    return image_explorer(lambda step: (step_image(trajectory, step, num_images), step_caption(trajectory, step)), {"step": control})
