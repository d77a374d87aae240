"""Coloured digits: light ink on dark paper, both in colours that are drawn anew for each image and
known afterwards.

Hues are independent of the digit and of their brightness. So the grey version of an image says
everything of its shape and nothing of its hues: whoever colours it has to choose, and the mean of
all choices is grey.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.base.images import LUMA, check_uint8
from course_utils.data.dataset import Dataset

# The prior over colours: uniform between these, independently.  lowest, highest
PRIOR = {
    "ink_hue":      (0.0, 360.0),  # degrees around the colour circle
    "ink_luma":     (0.60, 0.90),  # brightness, from 0 to 1
    # 0 is grey, 1 as colourful as a screen can show at this hue and brightness
    "ink_chroma":   (0.70, 1.00),
    "paper_hue":    (0.0, 360.0),
    "paper_luma":   (0.08, 0.35),
    "paper_chroma": (0.70, 1.00),
}  # fmt: skip

CHUNK = 4096  # images coloured at once; has no influence on the result


@dataclass(frozen=True)
class Colours:
    """Ink and paper of each image, float32 `[N]` each; see `PRIOR` for what they mean."""

    ink_hue: Tensor
    ink_luma: Tensor
    ink_chroma: Tensor
    paper_hue: Tensor
    paper_luma: Tensor
    paper_chroma: Tensor

    def __len__(self) -> int:
        return len(self.ink_hue)


def coloured(dataset: Dataset, seed: int = 0) -> Dataset:
    """Returns a grey dataset in colour, named "NAME-colour", images uint8 `[N, 3, H, W]`, the
    colours among its factors.

    Args:
        dataset: with one channel, 0 = paper and 255 = ink.
        seed: of the colours; train and test draw from different streams of it.

    Raises:
        CourseError: a dataset that has colours already.
    """
    changes: dict[str, Any] = {
        "name": f"{dataset.name}-colour",
        "source": f"{dataset.source}; ink and paper coloured from seed {seed}",
    }
    for split, stream in zip(("train", "test"), np.random.SeedSequence(seed).spawn(2)):
        images = getattr(dataset, f"{split}_images")
        colours = draw_colours(len(images), np.random.default_rng(stream))
        changes[f"{split}_images"] = colour(images, colours)
        changes[f"{split}_factors"] = {**getattr(dataset, f"{split}_factors"), **asdict(colours)}
    return replace(dataset, **changes)


def draw_colours(num_images: int, rng: np.random.Generator) -> Colours:
    """Returns colours drawn from the prior; the first do not depend on how many follow."""
    uniforms = rng.random((num_images, len(PRIOR)))
    values = {
        name: low + (high - low) * column
        for (name, (low, high)), column in zip(PRIOR.items(), uniforms.T)
    }
    return Colours(
        **{name: torch.from_numpy(column.astype(np.float32)) for name, column in values.items()}
    )


def colour(images: Tensor, colours: Colours) -> Tensor:
    """Returns grey images painted in given colours, uint8 `[N, 3, H, W]`: paper where they are 0,
    ink where they are 255, a mixture between.

    Args:
        images: uint8 `[N, 1, H, W]`.
        colours: one entry an image.

    Raises:
        CourseError: images with colours, or another number of colours.
    """
    check_uint8(images)
    if images.shape[1] != 1 or len(colours) != len(images):
        raise CourseError(
            f"expected grey images [N, 1, H, W] and N colours, got {list(images.shape)} and"
            f" {len(colours)}; colour each image once."
        )
    ink = rgb(colours.ink_hue, colours.ink_luma, colours.ink_chroma)
    paper = rgb(colours.paper_hue, colours.paper_luma, colours.paper_chroma)
    painted = torch.empty(len(images), 3, *images.shape[2:], dtype=torch.uint8)
    for start in range(0, len(images), CHUNK):
        rows = slice(start, start + CHUNK)
        share = images[rows].int()  # whole numbers all the way: equal on every machine
        mixed = ink[rows, :, None, None] * share + paper[rows, :, None, None] * (255 - share)
        painted[rows] = ((mixed + 127) // 255).to(torch.uint8)
    return painted


def rgb(hue: Tensor, luma: Tensor, chroma: Tensor) -> Tensor:
    """Returns red, green and blue from 0 to 255, int32 `[N, 3]`, of colours with the given
    brightness (by `images.LUMA`), rounded.

    Args:
        hue: degrees, `[N]`.
        luma: brightness, 0 to 1, `[N]`.
        chroma: 0 to 1, `[N]`, as a share of what the screen can show there.

    Source: the plane of equal brightness is that of ITU-R BT.601, R - Y = 1.402 Cr and B - Y =
    1.772 Cb.
    """
    angle, luma, chroma = (
        torch.as_tensor(value).double()[:, None]
        for value in (torch.deg2rad(hue.double()), luma, chroma)
    )
    red, blue = 2 * (1 - LUMA[0]) * angle.sin(), 2 * (1 - LUMA[2]) * angle.cos()
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]  # brightness stays
    direction = torch.cat([red, green, blue], 1)
    room = torch.where(direction > 0, 1 - luma, luma) / direction.abs().clamp(min=1e-9)
    reach = room.amin(1, keepdim=True)  # how far until a channel is at 0 or 1
    return (255 * (luma + chroma * reach * direction)).round().clamp(0, 255).int()
