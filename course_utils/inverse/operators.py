"""Linear operators on images, each with its adjoint: what a camera, a scanner or a vandal does before noise is added.

All keep autograd, dtype and device, and act on signed images `[B, C, H, W]`; a measurement has the shape `[B, *measured_shape]`. An operator whose
rows are orthogonal (A A^T = row_scale I) says so: then its pseudo-inverse is A^T / row_scale.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.images import LUMA

ImageShape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """A linear map A from images to measurements.

    Attributes:
        image_shape: (C, H, W) of the images.
    """

    image_shape: ImageShape

    @property
    @abstractmethod
    def measured_shape(self) -> tuple[int, ...]:
        """The shape of one measurement."""

    @property
    def row_scale(self) -> float | None:
        """c where A A^T = c I, None where rows are not orthogonal or not equally long."""
        return 1.0

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Returns A x, `[B, *measured_shape]`, for images `[B, C, H, W]`."""

    @abstractmethod
    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns A^T y, `[B, C, H, W]`, for `[B, *measured_shape]`: <A x, y> = <x, A^T y> for all x and y."""

    def solve(self, measurements: Tensor, variance: float, noise_variance: float) -> Tensor:
        """Returns (variance A A^T + noise_variance I)^-1 y, in the shape of y; the two numbers are 0 or more and not both 0."""
        return measurements / (variance * self.row_scale + noise_variance)

    def pseudo_inverse(self, measurements: Tensor) -> Tensor:
        """Returns the smallest image that explains y, A^+ y, `[B, C, H, W]`; a blur, whose inverse blows noise up, returns y itself."""
        return self.adjoint(measurements) / self.row_scale


def dense(operator: Operator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Returns A as a matrix `[M, D]`: column j is what the operator makes of an image that is 1 at pixel j and 0 elsewhere."""
    num_pixels = math.prod(operator.image_shape)
    units = torch.eye(num_pixels, dtype=dtype).view(num_pixels, *operator.image_shape)
    return operator.forward(units).flatten(1).T


@dataclass(frozen=True, eq=False)
class Identity(Operator):
    """Every pixel is measured: denoising."""

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.image_shape

    def forward(self, images: Tensor) -> Tensor:
        """Returns the images."""
        return images

    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns the measurements."""
        return measurements


@dataclass(frozen=True, eq=False)
class Mask(Operator):
    """Only some pixels are seen: inpainting. A measurement holds the visible pixels alone, `[C, V]`.

    Attributes:
        visible: bool `[H, W]`, True where a pixel is seen, at least once.
    """

    visible: Tensor

    def __post_init__(self) -> None:
        good = self.visible.dtype == torch.bool and tuple(self.visible.shape) == self.image_shape[1:] and bool(self.visible.any())
        got = f"{self.visible.dtype} {list(self.visible.shape)} with {int(self.visible.sum())} visible pixels"
        require(good, "visible", f"a bool mask of shape {list(self.image_shape[1:])}, True somewhere", got)

    @cached_property
    def _places(self) -> Tensor:
        return self.visible.flatten().nonzero().flatten()

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.image_shape[0], len(self._places)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the visible pixels, `[B, C, V]`."""
        return images.flatten(2)[:, :, self._places.to(images.device)]

    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns the visible pixels at their places and 0 elsewhere, `[B, C, H, W]`."""
        channels, height, width = self.image_shape
        blank = measurements.new_zeros(len(measurements), channels, height * width)
        return blank.index_copy(2, self._places.to(measurements.device), measurements).view(-1, channels, height, width)


@dataclass(frozen=True, eq=False)
class BlockMean(Operator):
    """Blocks of pixels are averaged: super-resolution undoes it.

    Attributes:
        factor: pixels a side of a block; divides both sides of the image.
    """

    factor: int = 4

    def __post_init__(self) -> None:
        fits = self.factor >= 1 and all(side % self.factor == 0 for side in self.image_shape[1:])
        require(fits, "factor", f"a divisor of both sides of {self.image_shape[1]} by {self.image_shape[2]} pixels", self.factor)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        """The small image."""
        channels, height, width = self.image_shape
        return channels, height // self.factor, width // self.factor

    @property
    def row_scale(self) -> float:
        return 1 / self.factor**2

    def forward(self, images: Tensor) -> Tensor:
        """Returns the mean of each block, `[B, C, H / factor, W / factor]`."""
        return images.unflatten(3, (-1, self.factor)).unflatten(2, (-1, self.factor)).mean((3, 5))

    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns each number spread evenly over its block, `[B, C, H, W]`."""
        return measurements.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3) / self.factor**2


@dataclass(frozen=True, eq=False)
class Grey(Operator):
    """Only the brightness of each pixel is measured: colourisation undoes it."""

    def __post_init__(self) -> None:
        require(self.image_shape[0] == 3, "image_shape", "3 colour channels", list(self.image_shape))

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return 1, *self.image_shape[1:]

    @property
    def row_scale(self) -> float:
        return sum(weight**2 for weight in LUMA)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the brightness of each pixel, `[B, 1, H, W]`."""
        return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)

    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns the brightness times the weight of each colour, `[B, 3, H, W]`."""
        return measurements * measurements.new_tensor(LUMA)[:, None, None]
