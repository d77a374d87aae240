"""A reader of attributes: one small convolutional network that says, for any picture, which value
each attribute has, such as the digit, the colour of its ink and how it leans.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.errors import CourseError
from course_utils.base.images import check_uint8, uint8_to_signed

UNKNOWN = -100  # the code of an attribute that a picture does not have; no loss is taken there
READER_SIDE = 32  # pixels
_CHANNELS = (24, 48, 64)
_FEATURES = 128


class AttributeReader(nn.Module):
    """A body of three convolutions that all attributes share, and a linear head for each.

    Attributes:
        num_values: the number of values of each attribute.
    """

    def __init__(self, num_values: Mapping[str, int]) -> None:
        super().__init__()
        self.num_values = dict(num_values)
        layers: list[nn.Module] = []
        for channels_in, channels_out in itertools.pairwise((3, *_CHANNELS)):
            layers += [
                nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        side = READER_SIDE // 2 ** len(_CHANNELS)
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(_CHANNELS[-1] * side * side, _FEATURES), nn.ReLU()
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(_FEATURES, number) for name, number in self.num_values.items()}
        )

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """Returns unnormalised log-probabilities `[B, K]` of the values of each attribute.

        Args:
            images: signed, `[B, 3, 32, 32]`.

        Raises:
            CourseError: images of another shape.
        """
        if list(images.shape[1:]) != [3, READER_SIDE, READER_SIDE]:
            raise CourseError(
                f"expected pictures [B, 3, {READER_SIDE}, {READER_SIDE}], got"
                f" {list(images.shape)}; the reader knows those of load_dataset('captions')."
            )
        features = self.body(images)
        return {name: head(features) for name, head in self.heads.items()}

    def cross_entropy(self, images: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """Returns the sum over attributes of the mean cross-entropy in nats, a scalar.

        Args:
            images: signed, `[B, 3, 32, 32]`.
            codes: int64 `[B]` for each attribute; `UNKNOWN` where a picture does not have it.
        """
        total = images.new_zeros(())
        for name, logits in self.logits(images).items():
            num_known = (codes[name] != UNKNOWN).sum().clamp(min=1)
            total = total + F.cross_entropy(logits, codes[name], reduction="sum") / num_known
        return total

    @torch.no_grad()
    def read(self, images: Tensor, batch_size: int = 500) -> dict[str, Tensor]:
        """Returns the likeliest code of each attribute, int64 `[N]`.

        Args:
            images: uint8, `[N, 3, 32, 32]`.
            batch_size: images a call.
        """
        check_uint8(images)
        device = next(self.parameters()).device
        rows = [
            {name: logits.argmax(1).cpu() for name, logits in self.logits(chunk).items()}
            for part in images.split(batch_size)
            for chunk in [uint8_to_signed(part.to(device))]
        ]
        return {name: torch.cat([row[name] for row in rows]) for name in self.num_values}
