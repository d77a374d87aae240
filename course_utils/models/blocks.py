"""Network pieces that models share: a multilayer perceptron and a small convolutional encoder and
decoder.
"""

from __future__ import annotations

import itertools

from torch import nn


def mlp(dims: tuple[int, ...]) -> nn.Sequential:
    """Returns linear layers of the given sizes with SiLU between them, from `[B, dims[0]]` to `[B,
    dims[-1]]`.
    """
    layers: list[nn.Module] = []
    for dim_in, dim_out in itertools.pairwise(dims):
        layers += [nn.Linear(dim_in, dim_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def conv_encoder(
    image_shape: tuple[int, int, int], channels: tuple[int, ...], out_dim: int
) -> nn.Sequential:
    """Returns a network from images `[B, C, H, W]` to `[B, out_dim]` that halves the resolution
    once for each entry of `channels`.
    """
    image_channels, height, width = image_shape
    layers: list[nn.Module] = []
    for channels_in, channels_out in itertools.pairwise((image_channels, *channels)):
        layers += [nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1), nn.SiLU()]
    scale = 2 ** len(channels)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(channels[-1] * (height // scale) * (width // scale), out_dim),
    )


def conv_decoder(
    in_dim: int, channels: tuple[int, ...], image_shape: tuple[int, int, int]
) -> nn.Sequential:
    """Returns a network from `[B, in_dim]` to images `[B, C, H, W]`, the mirror of
    `conv_encoder`.
    """
    image_channels, height, width = image_shape
    scale = 2 ** len(channels)
    start = (channels[0], height // scale, width // scale)
    layers: list[nn.Module] = [
        nn.Linear(in_dim, start[0] * start[1] * start[2]),
        nn.SiLU(),
        nn.Unflatten(1, start),
    ]
    for channels_in, channels_out in itertools.pairwise((*channels, image_channels)):
        layers += [nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
