"""Settings of a diffusion model.

Source: of the defaults Liu et al. 2023 (arXiv:2209.03003), Esser et al. 2024 (arXiv:2403.03206), sec. 3, Ho & Salimans 2022 (arXiv:2207.12598).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from course_utils.config import require


@dataclass(frozen=True)
class DiffusionConfig:
    """Settings of a diffusion model; the defaults are the course's laptop model."""

    image_channels: int = 1
    image_size: int = 28  # pixels a side; a multiple of patch_size
    num_classes: int = 10
    channels: tuple[int, ...] = (32, 64, 64)  # of each resolution of the U-Net; the first is image_size / patch_size, each next one half of it
    num_blocks: int = 1  # a resolution, on each side of the U-Net
    patch_size: int = 2  # pixels a side that are folded into channels at the entrance
    embed_dim: int = 128  # of time and class
    attention: bool = True  # at the lowest resolution
    schedule: Literal["flow", "cosine", "linear"] = "flow"
    target: Literal["velocity", "eps", "x0", "v"] = "velocity"  # what the network predicts
    time_sampling: Literal["uniform", "logit-normal"] = "logit-normal"  # how often training sees each t
    loss_weighting: Literal["none", "min-snr"] = "none"
    label_dropout: float = 0.1  # share of the training images whose label is hidden, so that the network learns p(x) as well
    unlabelled: Literal["uniform", "null"] = "uniform"  # sample() without labels draws them, or tells the network that there is none
    sampler: Literal["ddpm", "ddim", "euler", "heun", "ab2", "dpm++2m"] = "euler"
    num_steps: int = 10  # of the sampler
    guidance_scale: float = 1.5  # 1 is no guidance, at half the price

    def __post_init__(self) -> None:
        require(self.image_channels in (1, 3), "image_channels", "1 or 3", self.image_channels)
        require(self.num_classes >= 1, "num_classes", "at least 1", self.num_classes)
        require(len(self.channels) > 0 and min(self.channels) > 0, "channels", "at least one positive size", self.channels)
        require(self.num_blocks >= 1, "num_blocks", "at least 1", self.num_blocks)
        require(self.patch_size >= 1, "patch_size", "at least 1", self.patch_size)
        require(self.embed_dim >= 2 and self.embed_dim % 2 == 0, "embed_dim", "an even number of at least 2", self.embed_dim)
        smallest = self.patch_size * 2 ** len(self.channels)
        require(self.image_size >= smallest, "image_size", f"at least {smallest} pixels with this patch_size and these channels", self.image_size)
        require(self.image_size % self.patch_size == 0, "image_size", f"a multiple of patch_size ({self.patch_size}); 1 suits all", self.image_size)
        require(0 <= self.label_dropout <= 1, "label_dropout", "0 to 1", self.label_dropout)
        require(self.num_steps >= 1, "num_steps", "at least 1", self.num_steps)
        require(self.guidance_scale >= 0, "guidance_scale", "0 or more", self.guidance_scale)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size

    @property
    def null_label(self) -> int:
        """The label that stands for none."""
        return self.num_classes

    @property
    def first_time(self) -> float:
        """Where sampling starts. An eps-prediction says nothing of the image where there is none, so it starts a thousandth below 1."""
        return 0.999 if self.target == "eps" else 1.0
