"""Toy models that show or break one property of the training loop each, and short ways to train
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from course_utils.models.base import Batch, Model
from course_utils.models.text_to_image import TextToImageConfig
from course_utils.training.config import TrainConfig
from course_utils.training.fit import fit
from course_utils.training.registry import build


@dataclass(frozen=True)
class ToyConfig:
    size: int = 28


class Toy(Model):
    """The smallest model that can be trained: it learns the mean image. Subclasses misbehave."""

    family = "toy"

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        self.mean = nn.Parameter(torch.zeros(1, 1, 28, 28))
        self.calls: list[Batch] = []

    def loss(self, batch, part="model", *, rng=None):
        if self.training:
            self.calls.append(batch)
        noise = torch.randn(len(batch.images), generator=rng)
        squared = (batch.images - self.mean).square().flatten(1).mean(1)
        return {"loss": squared, "noise": noise}


class ToyGAN(Model):
    """Two parts with losses of their own: the loop must serve them without knowing that they are a
    GAN.
    """

    family = "toy-gan"

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        self.generator, self.discriminator = (
            nn.Linear(2, 28 * 28),
            nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 1)),
        )
        self.order: list[str] = []

    def trainable_parts(self):
        return {"discriminator": self.discriminator, "generator": self.generator}

    def sample(self, n, *, labels=None, rng=None):
        return torch.tanh(self.generator(torch.randn(n, 2, generator=rng))).view(n, 1, 28, 28)

    def loss(self, batch, part, *, rng=None):
        self.order.append(part)
        fake = self.sample(len(batch.images), rng=rng)
        if part == "generator":
            return {"loss": nn.functional.softplus(-self.discriminator(fake)).squeeze(1)}
        real, made = (
            self.discriminator(images).squeeze(1) for images in (batch.images, fake.detach())
        )
        return {
            "loss": nn.functional.softplus(-real) + nn.functional.softplus(made),
            "real": real.detach(),
        }


TINY_TEXT_TO_IMAGE = TextToImageConfig(
    image_channels=1,
    image_size=8,
    vocabulary="black dark light white",
    max_words=3,
    autoencoder_channels=8,
    latent_channels=2,
    channels=16,
    num_blocks=1,
    embed_dim=16,
    num_steps=4,
)
CONFIG = TrainConfig(num_epochs=2, batch_size=64, learning_rate=0.01, num_validation_images=32)


def train(experiment, dataset, **options):
    model = build(experiment.model, experiment.seed)
    return model, fit(model, dataset, experiment.train, seed=experiment.seed, **options)


class Stop(Exception):
    """Cuts a training off as a crash would."""


def stop_after(num_epochs: int):
    """Returns an `on_epoch` that cuts a training off."""

    def on_epoch(_, history):
        if history.num_epochs == num_epochs:
            raise Stop

    return on_epoch
