"""One random stream for each image, so that image i stays the same image whatever else is drawn with it.

A single generator that fills a batch hands image i other numbers when the batch grows or when it is cut into pieces. Here the given generator is
asked for one number, and that number and i start the stream of image i.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.device import make_rng


class ImageNoise:
    """Random numbers for `num_images` images, each from a stream of its own. The streams live on the CPU: every device gets equal numbers."""

    def __init__(self, num_images: int, rng: torch.Generator | None = None) -> None:
        """Starts the streams.

        Args:
            num_images: how many.
            rng: one number is drawn from it, whatever `num_images` is; None uses torch's global generator.
        """
        require(num_images >= 1, "num_images", "at least 1", num_images)
        device = "cpu" if rng is None else rng.device
        seed = int(torch.randint(2**62, (), generator=rng, device=device))
        self.streams = [make_rng(seed, index) for index in range(num_images)]

    def __len__(self) -> int:
        return len(self.streams)

    def normal(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Returns the next standard normal numbers of each image, `[num_images, *shape]`, with the dtype and device of `like`."""
        noise = torch.empty(len(self), *shape)
        for row, stream in zip(noise, self.streams):
            row.normal_(generator=stream)
        return noise.to(like)

    def integers(self, end: int) -> Tensor:
        """Returns one whole number from 0 up to `end` for each image, int64 `[num_images]` on the CPU."""
        return torch.stack([torch.randint(end, (), generator=stream) for stream in self.streams])

    def split(self, size: int) -> list[ImageNoise]:
        """Returns the same streams in pieces of at most `size` images; drawing from a piece moves its images' streams on."""
        pieces = []
        for start in range(0, len(self), size):
            piece = object.__new__(ImageNoise)
            piece.streams = self.streams[start : start + size]
            pieces.append(piece)
        return pieces
