"""Diffusion by hand: the noise level, the steps of a sampler, samples of a chosen class, and the
guidance scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import ipywidgets
import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng, randn
from course_utils.base.errors import CourseError
from course_utils.base.images import check_signed, signed_to_uint8, tile
from course_utils.models.diffusion.samplers import Denoiser, Sampled
from course_utils.models.diffusion.schedules import Schedule
from course_utils.plotting.diffusion import film_frames, sheets
from course_utils.plotting.pictures import image_rows, image_table
from course_utils.widgets.controls import CountSlider, Panel, Slider, image_explorer, slider

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from course_utils.models.diffusion.model import Diffusion

TIMES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of the picture for readers without a kernel
LARGE_SNR = 1000.0  # from here on a signal-to-noise ratio is shown without decimals


def noise_level_image(
    denoise: Denoiser, schedule: Schedule, image: Tensor, eps: Tensor, t: float
) -> Tensor:
    """Returns an image, the same with noise of level t, and what the denoiser sees in that, side by
    side, uint8 `[C, H + 4, 3 W + 8]`.

    Args:
        denoise: x_t `[1, C, H, W]` and times `[1]` -> the image seen in it, such as
            `model.denoiser(labels, guidance_scale=1.0)`; not asked at t = 0.
        schedule: that the denoiser was made for.
        image: signed, `[C, H, W]`.
        eps: standard normal noise, `[C, H, W]`; equal noise makes levels compare.
        t: 0 (the image) to 1 (noise).

    Raises:
        CourseError: t outside [0, 1], an image outside [-1, 1], noise of another shape, or a
            denoiser that returns infinite values.
    """
    xt, seen = _noised_and_seen(denoise, schedule, image, eps, t)
    return sheets([torch.cat([image[None], xt, seen])], num_columns=3)[0]


@torch.no_grad()
def _noised_and_seen(
    denoise: Denoiser, schedule: Schedule, image: Tensor, eps: Tensor, t: float
) -> tuple[Tensor, Tensor]:
    """Returns x_t and the image seen in it, `[1, C, H, W]` each."""
    require(0 <= t <= 1, "t", "0 to 1", t)
    require(
        image.ndim == 3 and eps.shape == image.shape,
        "eps",
        f"one image [C, H, W] and noise like it, {list(image.shape)}",
        list(eps.shape),
    )
    check_signed(image[None])
    xt = schedule.noised(image[None], eps[None], t)
    if t == 0:
        return xt, xt
    seen = denoise(xt, xt.new_full((1,), t))
    if not seen.isfinite().all():
        raise CourseError(
            f"denoise: expected finite values at t = {t:g}, got others; where alpha is 0, an"
            " eps-prediction says nothing of the image."
        )
    return xt, seen


def noise_level_caption(schedule: Schedule, t: float) -> str:
    """Returns t, the mixture that x_t is there, its signal-to-noise ratio alpha² / sigma², and what
    the three images are, as text.
    """
    time = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = schedule.alpha(time).item(), schedule.sigma(time).item()
    mixture = f"t = {t:.2f}: x_t = {alpha:.2f} x_0 + {sigma:.2f} eps, SNR {_snr(schedule, t)}"
    return f"{mixture} (from left to right: x_0, x_t, the image seen in it)"


def _snr(schedule: Schedule, t: float) -> str:
    ratio = schedule.log_snr(torch.tensor(t, dtype=torch.float64)).exp().item()
    if math.isinf(ratio):
        return "∞"
    return f"{ratio:,.0f}" if ratio >= LARGE_SNR else f"{ratio:.3g}"


def noise_level_picture(
    denoise: Denoiser,
    schedule: Schedule,
    image: Tensor,
    eps: Tensor,
    times: Sequence[float] = TIMES,
) -> Figure:
    """Returns a row of noisy images and a row of what the denoiser sees in them, one column a time:
    the slider for readers without a kernel.

    Args:
        denoise, schedule, image, eps: as for `noise_level_image`.
        times: from 0 to 1, at least one.
    """
    require(len(times) >= 1, "times", "at least one", times)
    pairs = [_noised_and_seen(denoise, schedule, image, eps, float(t)) for t in times]
    rows = {
        name: torch.cat(images).clamp(-1, 1)
        for name, images in zip(("x_t", "image seen"), zip(*pairs))
    }
    return image_rows(rows, [f"t = {t:.2f}\nSNR {_snr(schedule, float(t))}" for t in times])


def noise_level_explorer(
    denoise: Denoiser,
    schedule: Schedule,
    image: Tensor,
    *,
    t: float = 0.5,
    max_t: float = 1.0,
    seed: int = 0,
) -> Panel:
    """Returns a slider for t above the image, the image with noise, and what the denoiser sees in
    it; the noise stays the same for all t.

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
    """Returns x_t and the image seen in it after so many steps; at the end nobody is asked, and the
    result stands for itself.
    """
    num_steps = len(trajectory.x0s)
    require(
        num_steps >= 1, "trajectory", "at least one step; sample with trajectory=True", num_steps
    )
    require(
        isinstance(step, int) and 0 <= step <= num_steps,
        "step",
        f"a whole number from 0 to {num_steps}",
        step,
    )
    require(num_images >= 1, "num_images", "at least 1", num_images)
    xt = trajectory.xts[step]
    seen = trajectory.x0s[step] if step < num_steps else xt
    return xt[:num_images], seen[:num_images]


def step_image(trajectory: Sampled, step: int, num_images: int = 8) -> Tensor:
    """Returns x_t of some images after so many steps of a sampler, above what the denoiser sees in
    them, uint8 `[C, height, width]`.

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
    return (
        f"step {step} of {len(trajectory.x0s)}, t = {trajectory.times[step]:.2f}: x_t above, the"
        " image seen in it below"
    )


def step_picture(trajectory: Sampled, index: int = 0, num_columns: int = 8) -> Figure:
    """Returns x_t and the image seen in it for one image, a column a time: the scrubber for readers
    without a kernel.

    Args:
        trajectory: what a sampler returned.
        index: of the image.
        num_columns: times to show, evenly spread, the first and the last among them.
    """
    require(0 <= index < len(trajectory.x), "index", f"0 to {len(trajectory.x) - 1}", index)
    require(num_columns >= 2, "num_columns", "at least 2", num_columns)
    steps = film_frames(len(trajectory.xts), num_columns) or [0]
    pairs = [_rows_at(trajectory, step, len(trajectory.x)) for step in steps]
    rows = {
        name: torch.stack([part[index] for part in parts]).clamp(-1, 1)
        for name, parts in zip(("x_t", "image seen"), zip(*pairs))
    }
    return image_rows(rows, [f"t = {trajectory.times[step]:.2f}" for step in steps])


def step_scrubber(trajectory: Sampled, num_images: int = 8) -> Panel:
    """Returns a slider over the steps of a sampler above x_t and the image seen in it; everything
    was computed before.

    Args:
        trajectory: what a sampler returned, with its trajectory kept.
        num_images: the first so many are shown.
    """
    control = CountSlider(max=len(trajectory.x0s), description="step")
    return image_explorer(
        lambda step: (step_image(trajectory, step, num_images), step_caption(trajectory, step)),
        {"step": control},
    )


# label, seed, guidance scale -> signed images [N, C, H, W]; equal arguments, equal images
Draw = Callable[[int, int, float], Tensor]
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
MAX_IMAGES = 8  # so many take a fraction of a second on two cores
NUM_SEEDS = 100  # that the slider offers


def label_draws(
    model: Diffusion, num_images: int = MAX_IMAGES, num_steps: int | None = None
) -> Draw:
    """Returns `draw(label, seed, guidance_scale)` for a diffusion model; the noise depends on the
    seed alone.

    Args:
        model: that is told labels.
        num_images: 1 to 8, for each answer.
        num_steps: of its sampler; None takes the model's.

    Raises:
        CourseError: a model of another family, or another number of images.
    """
    require(
        getattr(model, "family", None) == "diffusion",
        "model",
        "a diffusion model",
        type(model).__name__,
    )
    require(1 <= num_images <= MAX_IMAGES, "num_images", f"1 to {MAX_IMAGES}", num_images)

    def draw(label: int, seed: int, guidance_scale: float) -> Tensor:
        labels = torch.full((num_images,), label)
        return model.sample(
            num_images,
            labels=labels,
            rng=make_rng(seed),
            num_steps=num_steps,
            guidance_scale=guidance_scale,
        )

    return draw


def label_image(draw: Draw, label: int, seed: int = 0, guidance_scale: float = 1.0) -> Tensor:
    """Returns the images of a class side by side, uint8 `[C, H + 4, N (W + 2) + 2]`.

    Args:
        draw: see `Draw`.
        label: the class, 0 or more.
        seed: of the noise, 0 or more.
        guidance_scale: 0 ignores the label, 1 is no guidance, more exaggerates what the label
            changes.
    """
    images = _drawn(draw, label, seed, guidance_scale)
    return tile(images, num_columns=len(images))


def _drawn(draw: Draw, label: int, seed: int, guidance_scale: float) -> Tensor:
    """Returns the images of `draw` as uint8 `[N, C, H, W]` on the CPU."""
    require(label >= 0, "label", "0 or more", label)
    require(seed >= 0, "seed", "0 or more", seed)
    require(guidance_scale >= 0, "guidance_scale", "0 or more", guidance_scale)
    return signed_to_uint8(draw(label, seed, guidance_scale)).cpu()


def label_picture(
    draw: Draw, class_names: Sequence[str], *, seed: int = 0, guidance_scale: float = 1.0
) -> Figure:
    """Returns one column of images a class: `digit_drawer` for readers without a kernel."""
    require(len(class_names) >= 1, "class_names", "at least one", class_names)
    columns = [_drawn(draw, label, seed, guidance_scale) for label in range(len(class_names))]
    images = torch.stack(columns, dim=1).flatten(0, 1)  # [N * classes, C, H, W], row by row
    return image_table(images, num_columns=len(columns), column_labels=list(class_names))


def guidance_picture(
    draw: Draw, label: int, scales: Sequence[float] = SCALES, *, seed: int = 0
) -> Figure:
    """Returns one row of images a guidance scale, all from the same noise: `guidance_explorer` for
    readers without a kernel.
    """
    _check_scales(scales)
    rows = {f"w = {scale:g}": _drawn(draw, label, seed, scale) for scale in scales}
    return image_rows(rows)


def guidance_caption(class_name: str, guidance_scale: float) -> str:
    """Returns the class, the guidance scale and what that scale means, as text."""
    meaning = {0.0: ", the label is ignored", 1.0: ", no guidance"}.get(guidance_scale, "")
    return f"y = {class_name}, guidance scale w = {guidance_scale:g}{meaning}"


def guidance_explorer(
    draw: Draw,
    class_names: Sequence[str],
    *,
    label: int = 0,
    scales: Sequence[float] = SCALES,
    seed: int = 0,
) -> Panel:
    """Returns a slider for the guidance scale and a choice of the class, above images that start
    from the same noise.

    Args:
        draw: see `Draw`; asked once for each class and scale that is looked at.
        class_names: of the labels 0, 1, ...
        label: the class to begin with.
        scales: places of the slider, rising; it begins at 1 where that is one of them.
        seed: of the noise.
    """
    _check_scales(scales)
    remembered = lru_cache(maxsize=None)(draw)
    start = 1.0 if 1.0 in scales else scales[0]
    control = Slider(value=start, options=list(scales), description="scale w")

    def draw_both(label: int, scale: float) -> tuple[Tensor, str]:
        return label_image(remembered, label, seed, scale), guidance_caption(
            class_names[label], scale
        )

    return image_explorer(
        draw_both, {"label": _class_buttons(class_names, label), "scale": control}
    )


def digit_drawer(
    draw: Draw,
    class_names: Sequence[str],
    *,
    label: int = 0,
    guidance_scale: float = 1.0,
    seed: int = 0,
) -> Panel:
    """Returns a choice of the class and of the seed above draws of p(x | y).

    Args:
        draw: see `Draw`; asked once for each class and seed that is looked at.
        class_names: of the labels 0, 1, ...
        label, seed: to begin with.
        guidance_scale: 1 is no guidance.
    """
    require(0 <= seed < NUM_SEEDS, "seed", f"0 to {NUM_SEEDS - 1}", seed)
    remembered = lru_cache(maxsize=None)(draw)
    control = CountSlider(value=seed, max=NUM_SEEDS - 1, description="seed")

    def draw_both(label: int, seed: int) -> tuple[Tensor, str]:
        return (
            label_image(remembered, label, seed, guidance_scale),
            f"draws of p(x | y = {class_names[label]}), seed {seed}",
        )

    return image_explorer(draw_both, {"label": _class_buttons(class_names, label), "seed": control})


def _class_buttons(class_names: Sequence[str], label: int) -> ipywidgets.ToggleButtons:
    require(0 <= label < len(class_names), "label", f"0 to {len(class_names) - 1}", label)
    options = [(name, index) for index, name in enumerate(class_names)]
    return ipywidgets.ToggleButtons(
        options=options, value=label, description="class y", style={"button_width": "auto"}
    )


def _check_scales(scales: Sequence[float]) -> None:
    rising = (
        len(scales) >= 1
        and scales[0] >= 0
        and all(low < high for low, high in zip(scales, scales[1:]))
    )
    require(rising, "scales", "one or more rising numbers from 0 on", scales)
