"""The supervised rival of generative models in inverse problems: a network that learned one problem
from pairs of measurement and image.

It is the diffusion model's network with the noise level left out, so the two differ in what they
are trained for and not in what they are. Least squares make it answer with the mean of all images
that fit: the best single guess by squared error, and a blur where several fit.

Source: Ronneberger et al. 2015 (arXiv:1505.04597) for the network; Jin et al. 2017
(arXiv:1611.03679) for what it learns: the residual of a direct inversion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.base.config import check_settings, require, setting
from course_utils.inverse.problems import Problem, make_problem
from course_utils.models.base import Batch, Model
from course_utils.models.diffusion.unet import UNet


@dataclass(frozen=True)
class RegressorConfig:
    """Settings of the regressor, explained beside each; the network's are the diffusion model's."""

    image_channels: int = setting(
        1, "channels of the images: 1 is grey, 3 is colour", choices=(1, 3)
    )
    image_size: int = setting(28, "side of the images; a multiple of patch_size", unit="pixels")
    problem: str = setting(
        "inpaint-half", "inverse problem that it learns; an unknown name lists all"
    )
    noise_std: float | None = setting(
        None,
        "noise of a measurement; null takes the problem's own",
        unit="pixels in [-1, 1]",
        above=0,
    )
    channels: tuple[int, ...] = setting(
        (32, 64, 64), "channels of each resolution of the U-Net", unit="channels", above=0
    )
    num_blocks: int = setting(1, "blocks a resolution, on each side", minimum=1)
    patch_size: int = setting(
        2, "side of the squares that are folded into channels", unit="pixels", minimum=1
    )
    embed_dim: int = setting(
        128, "dimensions of the code that the blocks are given", minimum=2, even=True
    )
    attention: bool = setting(True, "whether the lowest resolution has self-attention")

    def __post_init__(self) -> None:
        check_settings(self)
        smallest = self.patch_size * 2 ** len(self.channels)
        expected = f"at least {smallest} pixels with this patch_size and these channels"
        require(self.image_size >= smallest, "image_size", expected, self.image_size)
        expected = f"a multiple of patch_size ({self.patch_size})"
        require(self.image_size % self.patch_size == 0, "image_size", expected, self.image_size)
        make_problem(self.problem, self.image_shape, self.noise_std)  # refuses what cannot be

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size


class Regressor(Model):
    """Answers E[x | y] for one inverse problem."""

    family = "regressor"
    can_sample = False
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
        """Returns one image for each measurement `[B, *measured_shape]`: direct inversion plus what
        the network adds, `[B, C, H, W]`, not clamped.
        """
        problem = self.problem
        problem.check_measurements(measurements)
        direct = problem.operator.pseudo_inverse(measurements)
        nothing = direct.new_zeros(len(direct))
        return direct + self.network(direct, nothing, nothing.long()).to(direct.dtype)

    def loss(
        self, batch: Batch, part: str = "model", *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Returns `loss`, the squared error of the image recovered from a fresh measurement of each
        training image, a mean over pixels, `[B]`.
        """
        measurements = self.problem.measure(batch.images, rng)
        return {"loss": (self.recover(measurements) - batch.images).square().flatten(1).mean(1)}
