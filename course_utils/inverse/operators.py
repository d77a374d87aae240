"""Linear operators on images, each with its adjoint: masks, block means, blur, Fourier rows,
grey.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.errors import CourseError
from course_utils.base.images import LUMA

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
        """Returns A^T y, `[B, C, H, W]`, for `[B, *measured_shape]`: <A x, y> = <x, A^T y> for all
        x and y.
        """

    def solve(self, measurements: Tensor, variance: float, noise_variance: float) -> Tensor:
        """Returns (variance A A^T + noise_variance I)^-1 y, in the shape of y; the two numbers are
        0 or more and not both 0.
        """
        scale = self.row_scale
        assert scale is not None, "an operator without a row scale has a `solve` of its own"
        return measurements / (variance * scale + noise_variance)

    def pseudo_inverse(self, measurements: Tensor) -> Tensor:
        """Returns the smallest image that explains y, A^+ y, `[B, C, H, W]`; a blur, whose inverse
        blows noise up, returns y itself.
        """
        scale = self.row_scale
        assert scale is not None, (
            "an operator without a row scale has a `pseudo_inverse` of its own"
        )
        return self.adjoint(measurements) / scale


def dense(operator: Operator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Returns A as a matrix `[M, D]`: column j is what the operator makes of an image that is 1 at
    pixel j and 0 elsewhere.
    """
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
    """Only some pixels are seen: inpainting. A measurement holds the visible pixels alone, `[C,
    V]`.

    Attributes:
        visible: bool `[H, W]`, True where a pixel is seen, at least once.
    """

    visible: Tensor

    def __post_init__(self) -> None:
        good = (
            self.visible.dtype == torch.bool
            and tuple(self.visible.shape) == self.image_shape[1:]
            and bool(self.visible.any())
        )
        got = (
            f"{self.visible.dtype} {list(self.visible.shape)} with {int(self.visible.sum())}"
            " visible pixels"
        )
        require(
            good,
            "visible",
            f"a bool mask of shape {list(self.image_shape[1:])}, True somewhere",
            got,
        )

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
        return blank.index_copy(2, self._places.to(measurements.device), measurements).view(
            -1, channels, height, width
        )


@dataclass(frozen=True, eq=False)
class BlockMean(Operator):
    """Blocks of pixels are averaged: super-resolution undoes it.

    Attributes:
        factor: pixels a side of a block; divides both sides of the image.
    """

    factor: int = 4

    def __post_init__(self) -> None:
        fits = self.factor >= 1 and all(side % self.factor == 0 for side in self.image_shape[1:])
        require(
            fits,
            "factor",
            f"a divisor of both sides of {self.image_shape[1]} by {self.image_shape[2]} pixels",
            self.factor,
        )

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
        return (
            measurements.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)
            / self.factor**2
        )


@dataclass(frozen=True, eq=False)
class Grey(Operator):
    """Only the brightness of each pixel is measured: colourisation undoes it."""

    def __post_init__(self) -> None:
        require(
            self.image_shape[0] == 3, "image_shape", "3 colour channels", list(self.image_shape)
        )

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


@dataclass(frozen=True, eq=False)
class Blur(Operator):
    """A Gaussian blur. What lies outside mirrors what lies inside, so that the background stays
    what it is at the border.

    Attributes:
        width_px: standard deviation in pixels, above 0.
    """

    width_px: float = 1.5

    def __post_init__(self) -> None:
        require(self.width_px > 0, "width_px", "more than 0 pixels", self.width_px)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.image_shape

    @property
    def row_scale(self) -> None:
        return None

    @cached_property
    def _sides(self) -> tuple[Tensor, Tensor]:
        _, height, width = self.image_shape
        return blur_matrix(height, self.width_px), blur_matrix(width, self.width_px)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the blurred images: A = down (x) across, so two small matrices do it."""
        down, across = (matrix.to(images) for matrix in self._sides)
        return down @ images @ across.T

    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns the same with both matrices transposed."""
        down, across = (matrix.to(measurements) for matrix in self._sides)
        return down.T @ measurements @ across

    def solve(self, measurements: Tensor, variance: float, noise_variance: float) -> Tensor:
        """Returns (variance A A^T + noise_variance I)^-1 y, by the eigenvectors of the two small
        matrices.
        """
        (values_down, down), (values_across, across) = (
            _eigen(matrix, measurements) for matrix in self._sides
        )
        eigenvalues = variance * values_down[:, None] * values_across + noise_variance
        return down @ ((down.T @ measurements @ across) / eigenvalues) @ across.T

    def pseudo_inverse(self, measurements: Tensor) -> Tensor:
        """Returns the blurred images as they are."""
        return measurements


def blur_matrix(side: int, width_px: float) -> Tensor:
    """Returns the matrix `[side, side]` of a Gaussian blur of a line of pixels that is mirrored at
    both ends; rows add up to 1. float64.
    """
    place = torch.arange(side, dtype=torch.float64)
    # Mirror images of pixel j lie at j + 2 k side and at -1 - j + 2 k side.
    shifts = 2 * side * torch.arange(-3, 4, dtype=torch.float64)
    copies = torch.stack([place[:, None] + shifts, -1 - place[:, None] + shifts])  # [2, side, 7]
    weights = torch.exp(-0.5 * ((place[:, None, None, None] - copies) / width_px) ** 2).sum((1, 3))
    return weights / weights.sum(1, keepdim=True)


def _eigen(matrix: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues and eigenvectors of K K^T in the dtype and on the device of `like`."""
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    return values.clamp(min=0).to(like), vectors.to(like)


@dataclass(frozen=True, eq=False)
class FourierRows(Operator):
    """Some rows of the 2-D Fourier transform are measured, as a magnetic resonance scanner does:
    undersampled Fourier.

    A real image has the same information in the frequency row k and in -k, so both are measured or
    neither. Then the real numbers Re - Im of the orthonormal transform (its Hartley transform) hold
    all that the complex ones do, once, and A is a real matrix with orthonormal rows.

    Attributes:
        rows: bool `[H]`, True for measured rows in the order of `torch.fft.fft2` (row 0: lowest
            frequency), symmetric: rows[k] = rows[-k].
    """

    rows: Tensor

    def __post_init__(self) -> None:
        good = (
            self.rows.dtype == torch.bool
            and tuple(self.rows.shape) == self.image_shape[1:2]
            and bool(self.rows.any())
        )
        require(
            good,
            "rows",
            f"a bool mask of shape {list(self.image_shape[1:2])}, True somewhere",
            f"{self.rows.dtype} {list(self.rows.shape)}",
        )
        if not torch.equal(self.rows[1:], self.rows[1:].flip(0)):
            raise CourseError(
                "rows: expected a symmetric mask, rows[k] = rows[-k], since a real image has the"
                " same information in both; mirror it."
            )

    @property
    def measured_shape(self) -> tuple[int, ...]:
        """The measured rows of each channel."""
        channels, _, width = self.image_shape
        return channels, int(self.rows.sum()), width

    def forward(self, images: Tensor) -> Tensor:
        """Returns the measured rows, `[B, C, R, W]`."""
        return _hartley(images)[:, :, self.rows.to(images.device)]

    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns the image whose other rows are 0, `[B, C, H, W]`: the transform is its own
        inverse.
        """
        spectrum = measurements.new_zeros(len(measurements), *self.image_shape)
        spectrum[:, :, self.rows.to(measurements.device)] = measurements
        return _hartley(spectrum)


def _hartley(images: Tensor) -> Tensor:
    """Returns the orthonormal 2-D Hartley transform, `[B, C, H, W]`."""
    spectrum = torch.fft.fft2(images, norm="ortho")
    return spectrum.real - spectrum.imag
