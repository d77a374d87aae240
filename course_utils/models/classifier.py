"""A small convolutional classifier: the discriminative rival of notebook 01 and the course's
feature extractor for metrics.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.config import check_settings, setting
from course_utils.base.errors import CourseError
from course_utils.models.base import Batch, Model


@dataclass(frozen=True)
class ClassifierConfig:
    """Settings of the classifier, explained beside each."""

    image_channels: int = setting(
        1, "channels of the images: 1 is grey, 3 is colour", choices=(1, 3)
    )
    image_size: int = setting(28, "side of the images", unit="pixels", minimum=8)
    num_classes: int = setting(10, "classes of the images", minimum=1)
    channels: tuple[int, ...] = setting(
        (16, 32, 64), "channels of the three resolutions", above=0, length=3
    )
    feature_dim: int = setting(
        128, "units of the penultimate layer, the features that metrics use", minimum=1
    )
    label_smoothing: float = setting(
        0.05, "probability moved from the true class to all", minimum=0, below=1
    )

    def __post_init__(self) -> None:
        check_settings(self)


class Classifier(Model):
    """Models p(label | image) and nothing about p(image)."""

    family = "classifier"
    can_sample = False
    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        for channels_in, channels_out in itertools.pairwise(
            (config.image_channels, *config.channels)
        ):
            layers += [
                nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels_out),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        side = config.image_size // 8
        self.backbone = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(config.channels[-1] * side * side, config.feature_dim)
        )
        self.head = nn.Linear(config.feature_dim, config.num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Returns the penultimate layer `[B, feature_dim]` for signed images `[B, C, H, W]`."""
        expected = [self.config.image_channels, self.config.image_size, self.config.image_size]
        if list(images.shape[1:]) != expected:
            raise CourseError(
                f"expected images of shape [B, {', '.join(map(str, expected))}], got"
                f" {list(images.shape)}."
            )
        return self.backbone(images)

    def logits(self, images: Tensor) -> Tensor:
        """Returns unnormalised log-probabilities `[B, num_classes]`."""
        return self.head(F.relu(self.features(images)))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Returns p(label | image), `[B, num_classes]`, rows adding up to 1."""
        return self.logits(images).softmax(1)

    @torch.no_grad()
    def probabilities_of(self, features: Tensor) -> Tensor:
        """Returns p(label | image) of images whose features `[B, feature_dim]` are there already,
        float64 on the CPU. The convolutions before them cost nearly everything.
        """
        weight = self.head.weight
        logits = self.head(F.relu(features.to(weight.device, weight.dtype)))
        return logits.softmax(1).cpu().double()

    def loss(
        self, batch: Batch, part: str = "model", *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Returns `loss` (cross-entropy with smoothed labels), `cross_entropy` in nats and
        `accuracy` (0 or 1) per image, `[B]`.
        """
        logits = self.logits(batch.images)
        return {
            "loss": F.cross_entropy(
                logits, batch.labels, label_smoothing=self.config.label_smoothing, reduction="none"
            ),
            "cross_entropy": F.cross_entropy(logits, batch.labels, reduction="none").detach(),
            "accuracy": (logits.argmax(1) == batch.labels).float(),
        }
