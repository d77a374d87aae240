"""The inverse problems of the course by name: an operator, the noise of its measurements, and what
they look like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng, randn
from course_utils.base.errors import CourseError, unknown
from course_utils.inverse.operators import (
    BlockMean,
    Blur,
    FourierRows,
    Grey,
    Identity,
    ImageShape,
    Mask,
    Operator,
)

NOISE_STD = 0.05  # of a measurement, in signed pixel units, where the problem says nothing else
HIDDEN_SEED = 8  # of the random mask and the random frequencies: the same in every session


@dataclass(frozen=True, eq=False)
class Problem:
    """y = A x + noise_std n with n ~ N(0, I), for signed images x.

    Attributes:
        name: a key of `PROBLEMS`, or one of your own.
        operator: A.
        noise_std: of each measured number, above 0, in signed pixel units.
    """

    name: str
    operator: Operator
    noise_std: float

    def __post_init__(self) -> None:
        require(self.noise_std > 0, "noise_std", "more than 0", self.noise_std)

    def measure(self, images: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Returns measurements with noise, `[B, *measured_shape]`, of signed images `[B, C, H,
        W]`.
        """
        self.check_images(images)
        clean = self.operator.forward(images)
        return clean + self.noise_std * randn(tuple(clean.shape), rng, clean)

    def shown(self, measurements: Tensor) -> Tensor:
        """Returns the measurement as an image, `[B, C, H, W]` in [-1, 1]: grey where nothing is
        known, blocks, blur, streaks.
        """
        self.check_measurements(measurements)
        return self.operator.pseudo_inverse(measurements).clamp(-1, 1)

    def misfit(self, images: Tensor, measurements: Tensor) -> Tensor:
        """Returns the RMS of y - A x in units of the noise, `[...]` for images `[..., B, C, H, W]`:
        about 1 for the truth, 0 for noise copied.
        """
        expected = self.operator.forward(images.flatten(0, -4)).view(
            *images.shape[:-3], *measurements.shape[1:]
        )
        return (
            ((measurements - expected) / self.noise_std)
            .square()
            .flatten(images.ndim - 3)
            .mean(-1)
            .sqrt()
        )

    def check_images(self, images: Tensor) -> None:
        """Raises CourseError unless images have the operator's shape."""
        if tuple(images.shape[1:]) != self.operator.image_shape:
            raise CourseError(
                f"{self.name}: expected images of shape [B, {_listed(self.operator.image_shape)}],"
                f" got {list(images.shape)}."
            )

    def check_measurements(self, measurements: Tensor) -> None:
        """Raises CourseError unless measurements have the operator's shape."""
        expected = self.operator.measured_shape
        if tuple(measurements.shape[1:]) != expected:
            got = f"{list(measurements.shape)}; `measure` makes them from images"
            raise CourseError(
                f"{self.name}: expected measurements of shape [B, {_listed(expected)}], got {got}."
            )


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _bottom_hidden(shape: ImageShape) -> Tensor:
    return (torch.arange(shape[1]) < shape[1] // 2)[:, None].repeat(1, shape[2])


def _box_hidden(shape: ImageShape) -> Tensor:
    visible = torch.ones(shape[1:], dtype=torch.bool)
    (top, left), (high, wide) = (shape[1] // 4, shape[2] // 4), (shape[1] // 2, shape[2] // 2)
    visible[top : top + high, left : left + wide] = False
    return visible


def _few_pixels(shape: ImageShape, share: float = 0.2) -> Tensor:
    order = torch.randperm(shape[1] * shape[2], generator=make_rng(HIDDEN_SEED))
    visible = torch.zeros(shape[1] * shape[2], dtype=torch.bool)
    visible[order[: max(1, round(share * len(order)))]] = True
    return visible.view(shape[1:])


def _low_and_random_rows(shape: ImageShape, share: float = 0.3) -> Tensor:
    """Returns the lowest frequencies and random others up to about `share` of all rows: the design
    of compressed sensing in MRI.
    """
    height = shape[1]
    # rows that say the same of a real image
    pairs = [(k, (height - k) % height) for k in range(height // 2 + 1)]
    order = torch.randperm(len(pairs), generator=make_rng(HIDDEN_SEED, 1)).tolist()
    chosen = [0, 1, *(k for k in order if k > 1)]
    rows = torch.zeros(height, dtype=torch.bool)
    for k in chosen:
        if rows.sum() >= share * height:
            break
        rows[list(pairs[k])] = True
    return rows


# name: its operator for a shape, and the standard deviation of its noise in signed pixel units.
PROBLEMS: dict[str, tuple[Callable[[ImageShape], Operator], float]] = {
    "denoise": (Identity, 0.8),
    "inpaint-half": (lambda shape: Mask(shape, _bottom_hidden(shape)), NOISE_STD),
    "inpaint-box": (lambda shape: Mask(shape, _box_hidden(shape)), NOISE_STD),
    "inpaint-random": (lambda shape: Mask(shape, _few_pixels(shape)), NOISE_STD),
    "super-resolution": (BlockMean, NOISE_STD),
    "deblur": (Blur, NOISE_STD),
    "fourier": (lambda shape: FourierRows(shape, _low_and_random_rows(shape)), NOISE_STD),
    "colourise": (Grey, NOISE_STD),
}


def make_problem(name: str, image_shape: ImageShape, noise_std: float | None = None) -> Problem:
    """Returns a problem of the course for images of a shape.

    Args:
        name: "denoise", "inpaint-half" (the upper half is seen), "inpaint-box" (all but a box in
            the middle), "inpaint-random" (20 % of the pixels), "super-resolution" (means of 4 by 4
            pixels), "deblur" (Gaussian blur of 1.5 pixels), "fourier" (about 30 % of the frequency
            rows), or "colourise" (brightness of colour images).
        image_shape: (C, H, W).
        noise_std: above 0, in signed pixel units; None takes the problem's own.

    Raises:
        CourseError: no such problem, or one that images of this shape cannot have.
    """
    if name not in PROBLEMS:
        raise unknown("problem", name, PROBLEMS)
    build, own_noise_std = PROBLEMS[name]
    try:
        operator = build(cast(ImageShape, tuple(image_shape)))
    except CourseError as error:
        raise CourseError(
            f"problem {name!r}, images of shape {list(image_shape)}: {error}"
        ) from error
    return Problem(name, operator, own_noise_std if noise_std is None else noise_std)
