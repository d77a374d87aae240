"""A small convolutional classifier: the discriminative rival of notebook 01 and the course's feature extractor for metrics."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.config import require
from course_utils.base.errors import CourseError
from course_utils.models.base import Batch, Model


@dataclass(frozen=True)
class ClassifierConfig:
    """Settings of the classifier."""

    image_channels: int = 1
    image_size: int = 28  # pixels a side, at least 8
    num_classes: int = 10
    channels: tuple[int, ...] = (16, 32, 64)  # of the three resolutions
    feature_dim: int = 128  # size of the penultimate layer, the features that metrics use
    label_smoothing: float = 0.05  # probability moved from the true class to all

    def __post_init__(self) -> None:
        require(self.image_channels in (1, 3), "image_channels", "1 or 3", self.image_channels)
        require(self.image_size >= 8, "image_size", "at least 8 pixels", self.image_size)
        require(self.num_classes >= 1, "num_classes", "at least 1", self.num_classes)
        require(len(self.channels) == 3 and min(self.channels) > 0, "channels", "three positive sizes", self.channels)
        require(self.feature_dim >= 1, "feature_dim", "at least 1", self.feature_dim)
        require(0 <= self.label_smoothing < 1, "label_smoothing", "from 0 up to 1", self.label_smoothing)


class Classifier(Model):
    """Models p(label | image) and nothing about p(image)."""

    family = "classifier"
    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        for channels_in, channels_out in itertools.pairwise((config.image_channels, *config.channels)):
            layers += [nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2)]
        side = config.image_size // 8
        self.backbone = nn.Sequential(*layers, nn.Flatten(), nn.Linear(config.channels[-1] * side * side, config.feature_dim))
        self.head = nn.Linear(config.feature_dim, config.num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Returns the penultimate layer `[B, feature_dim]` for signed images `[B, C, H, W]`."""
        expected = [self.config.image_channels, self.config.image_size, self.config.image_size]
        if list(images.shape[1:]) != expected:
            raise CourseError(f"expected images of shape [B, {', '.join(map(str, expected))}], got {list(images.shape)}.")
        return self.backbone(images)

    def logits(self, images: Tensor) -> Tensor:
        """Returns unnormalised log-probabilities `[B, num_classes]`."""
        return self.head(F.relu(self.features(images)))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Returns p(label | image), `[B, num_classes]`, rows adding up to 1."""
        return self.logits(images).softmax(1)

    def loss(self, batch: Batch, part: str = "model", *, rng: torch.Generator | None = None) -> dict[str, Tensor]:
        """Returns `loss` (cross-entropy with smoothed labels), `cross_entropy` in nats and `accuracy` (0 or 1) per image, `[B]`."""
        logits = self.logits(batch.images)
        return {
            "loss": F.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing, reduction="none"),
            "cross_entropy": F.cross_entropy(logits, batch.labels, reduction="none").detach(),
            "accuracy": (logits.argmax(1) == batch.labels).float(),
        }
