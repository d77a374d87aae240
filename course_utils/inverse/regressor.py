"""The supervised rival of generative models in inverse problems: a network that learned one problem from pairs of measurement and image.

It is the diffusion model's network with the noise level left out, so the two differ in what they are trained for and not in what they are. Least
squares make it answer with the mean of all images that fit: the best single guess by squared error, and a blur where several fit.

Source: Ronneberger et al. 2015 (arXiv:1505.04597) for the network; Jin et al. 2017 (arXiv:1611.03679) for what it learns: the
residual of a direct inversion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.inverse.problems import Problem, make_problem
from course_utils.models.base import Batch, Model
from course_utils.models.diffusion.unet import UNet


@dataclass(frozen=True)
class RegressorConfig:
    """Settings of the regressor."""

    image_channels: int = 1
    image_size: int = 28  # pixels a side; a multiple of patch_size
    problem: str = "inpaint-half"  # the one that it can solve; see `course_utils.inverse.problems.make_problem`
    noise_std: float | None = None  # of a measurement in signed pixel units; None takes the problem's own
    channels: tuple[int, ...] = (32, 64, 64)  # of each resolution of the U-Net, as in the diffusion model
    num_blocks: int = 1  # a resolution, on each side of the U-Net
    patch_size: int = 2  # pixels a side that are folded into channels at the entrance
    embed_dim: int = 128
    attention: bool = True

    def __post_init__(self) -> None:
        require(self.image_channels in (1, 3), "image_channels", "1 or 3", self.image_channels)
        require(self.patch_size >= 1, "patch_size", "at least 1", self.patch_size)
        require(len(self.channels) > 0 and min(self.channels) > 0, "channels", "at least one positive size", self.channels)
        smallest = self.patch_size * 2 ** len(self.channels)
        require(self.image_size >= smallest, "image_size", f"at least {smallest} pixels with this patch_size and these channels", self.image_size)
        require(self.image_size % self.patch_size == 0, "image_size", f"a multiple of patch_size ({self.patch_size})", self.image_size)
        require(self.num_blocks >= 1, "num_blocks", "at least 1", self.num_blocks)
        require(self.embed_dim >= 2 and self.embed_dim % 2 == 0, "embed_dim", "an even number of at least 2", self.embed_dim)
        make_problem(self.problem, self.image_shape, self.noise_std)  # refuses what cannot be

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size


class Regressor(Model):
    """Answers E[x | y] for one inverse problem."""

    family = "regressor"
    config: RegressorConfig

    def __init__(self, config: RegressorConfig) -> None:
        super().__init__(config)
        self.network = UNet(
            config.image_channels,
            config.channels,
            num_blocks=config.num_blocks,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            num_embeddings=1,
            attention=config.attention,
        )

    @property
    def problem(self) -> Problem:
        """The problem that it was trained for."""
        return make_problem(self.config.problem, self.config.image_shape, self.config.noise_std)

    def recover(self, measurements: Tensor) -> Tensor:
        """Returns one image for each measurement `[B, *measured_shape]`: direct inversion plus what the network adds, `[B, C, H, W]`, not clamped."""
        problem = self.problem
        problem.check_measurements(measurements)
        direct = problem.operator.pseudo_inverse(measurements)
        nothing = direct.new_zeros(len(direct))
        return direct + self.network(direct, nothing, nothing.long()).to(direct.dtype)

    def loss(self, batch: Batch, part: str = "model", *, rng: torch.Generator | None = None) -> dict[str, Tensor]:
        """Returns `loss`, the squared error of the image recovered from a fresh measurement of each training image, a mean over pixels, `[B]`."""
        measurements = self.problem.measure(batch.images, rng)
        return {"loss": (self.recover(measurements) - batch.images).square().flatten(1).mean(1)}
