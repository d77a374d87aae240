"""The two networks of a DCGAN. Their shapes follow from the image size: it is halved, odd sides rounded up, until 4 pixels are left.

Source: Radford et al. 2016 (arXiv:1511.06434), sec. 3: strided convolutions in place of pooling, no hidden linear layers, ReLU in the generator and
leaky ReLU in the discriminator, tanh at the end, weights from N(0, 0.02^2).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SMALLEST_SIDE = 4  # pixels
Norm = Literal["none", "batch", "spectral"]


def resolutions(image_size: int) -> list[int]:
    """Returns the sides of the networks' resolutions in pixels, the image's first: 28, 14, 7, 4 or 64, 32, 16, 8, 4."""
    sides = [image_size]
    while sides[-1] > SMALLEST_SIDE:
        sides.append((sides[-1] + 1) // 2)
    return sides


def kernel_size(side: int) -> int:
    """Returns the kernel that halves a side exactly with stride 2 and padding 1: 4 where it is even, 3 where it is odd."""
    return 4 - side % 2


class Generator(nn.Module):
    """Noise `[B, latent_dim]`, and a class each where there are any, to signed images `[B, C, H, W]`."""

    def __init__(self, latent_dim: int, width: int, image_shape: tuple[int, int, int], num_classes: int = 0) -> None:
        super().__init__()
        image_channels, _, image_size = image_shape
        *larger, side = resolutions(image_size)
        channels = [width * 2**level for level in range(len(larger))]  # from the largest hidden resolution to the smallest
        self.class_embedding = nn.Embedding(num_classes, latent_dim) if num_classes else None
        layers: list[nn.Module] = [
            nn.Linear(latent_dim * (2 if num_classes else 1), channels[-1] * side * side, bias=False),
            nn.Unflatten(1, (channels[-1], side, side)),
        ]
        for target, channels_in, channels_out in zip(larger[::-1], channels[::-1], [*channels[-2::-1], image_channels], strict=True):
            up = nn.ConvTranspose2d(channels_in, channels_out, kernel_size(target), stride=2, padding=1)
            layers += [nn.BatchNorm2d(channels_in), nn.ReLU(), up]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(_initialise)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images; labels `[B]` are needed exactly where the generator was built with classes."""
        if self.class_embedding is not None:
            z = torch.cat([z, self.class_embedding(labels)], dim=1)
        return self.layers(z)


class Discriminator(nn.Module):
    """Signed images `[B, C, H, W]`, and a class each where there are any, to scores `[B]`.

    Source: classes by projection: Miyato & Koyama 2018 (arXiv:1802.05637), eq. 7; `minibatch_std`: Karras et al. 2018 (arXiv:1710.10196), sec. 3.
    """

    def __init__(self, width: int, image_shape: tuple[int, int, int], norm: Norm, num_classes: int = 0, minibatch_std: bool = False) -> None:
        super().__init__()
        image_channels, _, image_size = image_shape
        *larger, side = resolutions(image_size)
        channels = [image_channels, *(width * 2**level for level in range(len(larger)))]
        layers: list[nn.Module] = []
        for level, (source, channels_in, channels_out) in enumerate(zip(larger, channels, channels[1:])):
            layers.append(_normed(nn.Conv2d(channels_in, channels_out, kernel_size(source), stride=2, padding=1), norm))
            if norm == "batch" and level > 0:  # never on the layer that sees the image
                layers.append(nn.BatchNorm2d(channels_out))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        self.minibatch_std = minibatch_std
        feature_dim = (channels[-1] + minibatch_std) * side * side
        self.head = _normed(nn.Linear(feature_dim, 1), norm)
        self.class_embedding = _normed(nn.Embedding(num_classes, feature_dim), norm) if num_classes else None
        self.apply(_initialise)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns scores; labels `[B]` are needed exactly where the discriminator was built with classes."""
        features = self.layers(images)
        if self.minibatch_std:
            spread = (features.var(0, correction=0) + 1e-8).sqrt().mean()  # one number for the batch: small where all its images look alike
            features = torch.cat([features, spread.expand(len(features), 1, *features.shape[2:])], dim=1)
        features = features.flatten(1)
        scores = self.head(features).squeeze(1)
        if self.class_embedding is not None:
            scores = scores + (self.class_embedding(labels) * features).sum(1)
        return scores


def _normed(layer: nn.Module, norm: Norm) -> nn.Module:
    return spectral_norm(layer) if norm == "spectral" else layer


def _initialise(module: nn.Module) -> None:
    """Draws the weights of one layer as the DCGAN paper does. Under spectral norm their scale is divided out again."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)):
        if hasattr(module, "parametrizations"):
            return
        nn.init.normal_(module.weight, 0.0, 0.02)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
