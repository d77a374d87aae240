"""Operators that mix pixels: a Gaussian blur, and some rows of the Fourier transform.

Source: Lustig et al. 2007, Magn. Reson. Med. 58(6), sec. 2, for the rows; Bracewell 1983, J. Opt. Soc. Am. 73(12), eq. 1, for the real form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.errors import CourseError
from course_utils.inverse.operators import Operator


@dataclass(frozen=True, eq=False)
class Blur(Operator):
    """A Gaussian blur. What lies outside mirrors what lies inside, so that the background stays what it is at the border.

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
        return tuple(blur_matrix(side, self.width_px) for side in self.image_shape[1:])

    def forward(self, images: Tensor) -> Tensor:
        """Returns the blurred images: A = down (x) across, so two small matrices do it."""
        down, across = (matrix.to(images) for matrix in self._sides)
        return down @ images @ across.T

    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns the same with both matrices transposed."""
        down, across = (matrix.to(measurements) for matrix in self._sides)
        return down.T @ measurements @ across

    def solve(self, measurements: Tensor, variance: float, noise_variance: float) -> Tensor:
        """Returns (variance A A^T + noise_variance I)^-1 y, by the eigenvectors of the two small matrices."""
        (values_down, down), (values_across, across) = (_eigen(matrix, measurements) for matrix in self._sides)
        eigenvalues = variance * values_down[:, None] * values_across + noise_variance
        return down @ ((down.T @ measurements @ across) / eigenvalues) @ across.T

    def pseudo_inverse(self, measurements: Tensor) -> Tensor:
        """Returns the blurred images as they are."""
        return measurements


def blur_matrix(side: int, width_px: float) -> Tensor:
    """Returns the matrix `[side, side]` of a Gaussian blur of a line of pixels that is mirrored at both ends; rows add up to 1. float64."""
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
    """Some rows of the 2-D Fourier transform are measured, as a magnetic resonance scanner does: undersampled Fourier.

    A real image has the same information in the frequency row k and in -k, so both are measured or neither. Then the real numbers Re - Im of the
    orthonormal transform (its Hartley transform) hold all that the complex ones do, once, and A is a real matrix with orthonormal rows.

    Attributes:
        rows: bool `[H]`, True for measured rows in the order of `torch.fft.fft2` (row 0: lowest frequency), symmetric: rows[k] = rows[-k].
    """

    rows: Tensor

    def __post_init__(self) -> None:
        good = self.rows.dtype == torch.bool and tuple(self.rows.shape) == self.image_shape[1:2] and bool(self.rows.any())
        require(good, "rows", f"a bool mask of shape {list(self.image_shape[1:2])}, True somewhere", f"{self.rows.dtype} {list(self.rows.shape)}")
        if not torch.equal(self.rows[1:], self.rows[1:].flip(0)):
            raise CourseError("rows: expected a symmetric mask, rows[k] = rows[-k], since a real image has the same information in both; mirror it.")

    @property
    def measured_shape(self) -> tuple[int, ...]:
        """The measured rows of each channel."""
        channels, _, width = self.image_shape
        return channels, int(self.rows.sum()), width

    def forward(self, images: Tensor) -> Tensor:
        """Returns the measured rows, `[B, C, R, W]`."""
        return _hartley(images)[:, :, self.rows.to(images.device)]

    def adjoint(self, measurements: Tensor) -> Tensor:
        """Returns the image whose other rows are 0, `[B, C, H, W]`: the transform is its own inverse."""
        spectrum = measurements.new_zeros(len(measurements), *self.image_shape)
        spectrum[:, :, self.rows.to(measurements.device)] = measurements
        return _hartley(spectrum)


def _hartley(images: Tensor) -> Tensor:
    """Returns the orthonormal 2-D Hartley transform, `[B, C, H, W]`."""
    spectrum = torch.fft.fft2(images, norm="ortho")
    return spectrum.real - spectrum.imag
