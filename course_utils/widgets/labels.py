"""Ordered drawings: samples of a class that the reader chooses, and how a guidance scale changes them.

The widgets take a function `draw(label, seed, guidance_scale)`, ask it only for what the reader looks at, and remember its answers. `label_draws`
makes one of a diffusion model; any other generator that can be told the class will do as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import ipywidgets
import torch
from torch import Tensor

from course_utils.config import require
from course_utils.device import make_rng
from course_utils.images import signed_to_uint8, tile
from course_utils.plotting.pictures import image_rows, image_table
from course_utils.widgets.figures import image_explorer
from course_utils.widgets.latent import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from course_utils.models.diffusion import Diffusion

Draw = Callable[[int, int, float], Tensor]  # label, seed, guidance scale -> signed images [N, C, H, W]; equal arguments, equal images
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
MAX_IMAGES = 8  # so many take a fraction of a second on two cores
NUM_SEEDS = 100  # that the slider offers


def label_draws(model: Diffusion, num_images: int = MAX_IMAGES, num_steps: int | None = None) -> Draw:
    """Returns `draw(label, seed, guidance_scale)` for a diffusion model; the noise depends on the seed alone.

    Args:
        model: that is told labels.
        num_images: 1 to 8, for each answer.
        num_steps: of its sampler; None takes the model's.

    Raises:
        CourseError: a model of another family, or another number of images.
    """
    require(getattr(model, "family", None) == "diffusion", "model", "a diffusion model", type(model).__name__)
    require(1 <= num_images <= MAX_IMAGES, "num_images", f"1 to {MAX_IMAGES}", num_images)

    def draw(label: int, seed: int, guidance_scale: float) -> Tensor:
        labels = torch.full((num_images,), label)
        return model.sample(num_images, labels=labels, rng=make_rng(seed), num_steps=num_steps, guidance_scale=guidance_scale)

    return draw


def label_image(draw: Draw, label: int, seed: int = 0, guidance_scale: float = 1.0) -> Tensor:
    """Returns the images of a class side by side, uint8 `[C, H + 4, N (W + 2) + 2]`.

    Args:
        draw: see `Draw`.
        label: the class, 0 or more.
        seed: of the noise, 0 or more.
        guidance_scale: 0 ignores the label, 1 is no guidance, more exaggerates what the label changes.
    """
    images = _drawn(draw, label, seed, guidance_scale)
    return tile(images, num_columns=len(images))


def _drawn(draw: Draw, label: int, seed: int, guidance_scale: float) -> Tensor:
    """Returns what `draw` answers, as uint8 `[N, C, H, W]` on the CPU."""
    require(label >= 0, "label", "0 or more", label)
    require(seed >= 0, "seed", "0 or more", seed)
    require(guidance_scale >= 0, "guidance_scale", "0 or more", guidance_scale)
    return signed_to_uint8(draw(label, seed, guidance_scale)).cpu()


def label_picture(draw: Draw, class_names: Sequence[str], *, seed: int = 0, guidance_scale: float = 1.0) -> Figure:
    """Returns one column of images a class: `digit_drawer` for readers without a kernel."""
    require(len(class_names) >= 1, "class_names", "at least one", class_names)
    columns = [_drawn(draw, label, seed, guidance_scale) for label in range(len(class_names))]
    images = torch.stack(columns, dim=1).flatten(0, 1)  # [N * classes, C, H, W], row by row
    return image_table(images, num_columns=len(columns), column_labels=list(class_names))


def guidance_picture(draw: Draw, label: int, scales: Sequence[float] = SCALES, *, seed: int = 0) -> Figure:
    """Returns one row of images a guidance scale, all from the same noise: `guidance_explorer` for readers without a kernel."""
    _check_scales(scales)
    rows = {f"w = {scale:g}": _drawn(draw, label, seed, scale) for scale in scales}
    return image_rows(rows)


def guidance_caption(class_name: str, guidance_scale: float) -> str:
    """Returns the class, the guidance scale and what that scale means, as text."""
    meaning = {0.0: ", the label is ignored", 1.0: ", no guidance"}.get(guidance_scale, "")
    return f"y = {class_name}, guidance scale w = {guidance_scale:g}{meaning}"


def guidance_explorer(draw: Draw, class_names: Sequence[str], *, label: int = 0, scales: Sequence[float] = SCALES, seed: int = 0) -> Panel:
    """Returns a slider for the guidance scale and a choice of the class, above images that start from the same noise.

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
    control = ipywidgets.SelectionSlider(options=[(f"{scale:g}", float(scale)) for scale in scales], value=float(start), description="scale w")

    def draw_both(label: int, scale: float) -> tuple[Tensor, str]:
        return label_image(remembered, label, seed, scale), guidance_caption(class_names[label], scale)

    return image_explorer(draw_both, {"label": _class_buttons(class_names, label), "scale": control})


def digit_drawer(draw: Draw, class_names: Sequence[str], *, label: int = 0, guidance_scale: float = 1.0, seed: int = 0) -> Panel:
    """Returns a choice of the class and of the seed above draws of p(x | y).

    Args:
        draw: see `Draw`; asked once for each class and seed that is looked at.
        class_names: of the labels 0, 1, ...
        label, seed: to begin with.
        guidance_scale: 1 is no guidance.
    """
    require(0 <= seed < NUM_SEEDS, "seed", f"0 to {NUM_SEEDS - 1}", seed)
    remembered = lru_cache(maxsize=None)(draw)
    control = ipywidgets.IntSlider(value=seed, min=0, max=NUM_SEEDS - 1, description="seed")

    def draw_both(label: int, seed: int) -> tuple[Tensor, str]:
        return label_image(remembered, label, seed, guidance_scale), f"draws of p(x | y = {class_names[label]}), seed {seed}"

    return image_explorer(draw_both, {"label": _class_buttons(class_names, label), "seed": control})


def _class_buttons(class_names: Sequence[str], label: int) -> ipywidgets.ToggleButtons:
    require(0 <= label < len(class_names), "label", f"0 to {len(class_names) - 1}", label)
    options = [(name, index) for index, name in enumerate(class_names)]
    return ipywidgets.ToggleButtons(options=options, value=label, description="class y", style={"button_width": "auto"})


def _check_scales(scales: Sequence[float]) -> None:
    rising = len(scales) >= 1 and scales[0] >= 0 and all(low < high for low, high in zip(scales, scales[1:]))
    require(rising, "scales", "one or more rising numbers from 0 on", scales)
