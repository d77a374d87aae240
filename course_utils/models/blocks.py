"""Network pieces that models share: a multilayer perceptron, a small convolutional encoder and
decoder, and batch normalisation over several processes.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from course_utils.base.device import mean_over_processes, num_sharing


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


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation with mean and variance of the whole batch where several processes share
    it (see `batch_share`), as one process computes them; everywhere else it is its parent.

    nn.SyncBatchNorm does this too, but on GPUs only.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns normalised features of the shape of `input`, `[B, C, H, W]`."""
        if not (self.training and num_sharing() > 1):
            return super().forward(input)
        # half precision would round the sums
        with torch.autocast(input.device.type, enabled=False):
            values = input.float()
            mean = mean_over_processes(values.mean((0, 2, 3)))
            centred = values - mean[:, None, None]
            variance = mean_over_processes(centred.square().mean((0, 2, 3)))
            self._remember(mean.detach(), variance.detach(), values.numel() // len(mean))
            scale = self.weight * (variance + self.eps).rsqrt()
            return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, num_own: int) -> None:
        """Moves the running statistics on, which hold the unbiased variance of the batch."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None and self.num_batches_tracked is not None
        num_values = num_own * num_sharing()
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (num_values / (num_values - 1)), self.momentum)
        self.num_batches_tracked += 1


def share_batch_norms(model: nn.Module) -> None:
    """Makes every nn.BatchNorm2d of a model a SharedBatchNorm2d, in place: its weights, their names
    and what it computes in one process stay as they are.
    """
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
