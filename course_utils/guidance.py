"""Classifier-free guidance: a denoiser that exaggerates what a label changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.config import require

ROUNDING = 1e-6  # times reach the denoiser as float32

LabelledDenoiser = Callable[[Tensor, Tensor, Tensor], Tensor]  # x_t [B, ...], times [B], labels [B] -> the image seen in it, [B, ...]


@dataclass(frozen=True)
class Guided:
    """A denoiser x0 = unconditional + scale (conditional - unconditional), to be handed to `sample`.

    Scale 1 is the conditional denoiser and 0 the unconditional one, each with one call of the network; every other scale takes two calls, made as one
    batch of 2 B. The same mixture of eps, v or velocity gives the same result, since all of them depend on x0 linearly.

    Attributes:
        denoise: takes labels.
        labels: int64 `[B]`, one for each image of the batch.
        null_label: that the network was trained to take for "no label".
        scale: strength of the guidance, 0 or more.
        interval: times (low, high] within which guidance acts; elsewhere the denoiser is the conditional one.
        limit: the largest value a pixel may have; exaggeration goes beyond it, and what goes beyond is cut off. None cuts nothing off.

    Source: Ho & Salimans 2022 (arXiv:2207.12598), eq. 6, whose w is scale - 1; interval: Kynkäänniemi et al. 2024 (arXiv:2404.07724), eq. 5.
    """

    denoise: LabelledDenoiser
    labels: Tensor
    null_label: int
    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    limit: float | None = None

    def __post_init__(self) -> None:
        require(self.scale >= 0, "guidance_scale", "0 or more", self.scale)
        ordered = len(self.interval) == 2 and 0 <= self.interval[0] <= self.interval[1] <= 1
        require(ordered, "guidance_interval", "two rising times from [0, 1]", self.interval)

    def scale_at(self, t: float) -> float:
        """Returns the strength at time t: `scale` within the interval, 1 outside."""
        low, high = (end + ROUNDING for end in self.interval)
        return self.scale if low < t <= high else 1.0

    def num_calls_at(self, t: float) -> int:
        """Returns how often the network runs for each image at time t."""
        return 1 if self.scale_at(t) in (0.0, 1.0) else 2

    def __call__(self, xt: Tensor, t: Tensor) -> Tensor:
        """Returns the guided image `[B, ...]` for x_t `[B, ...]`, all at the same time, which t `[B]` repeats."""
        x0 = self._mixed(xt, t, self.scale_at(t[0].item()))
        return x0 if self.limit is None else x0.clamp(-self.limit, self.limit)

    def _mixed(self, xt: Tensor, t: Tensor, scale: float) -> Tensor:
        null = torch.full_like(self.labels, self.null_label)
        if scale in (0.0, 1.0):
            return self.denoise(xt, t, self.labels if scale == 1.0 else null)
        both = self.denoise(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([self.labels, null]))
        conditional, unconditional = both.chunk(2)
        return unconditional + scale * (conditional - unconditional)
