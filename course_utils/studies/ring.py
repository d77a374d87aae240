"""Eight small Gaussians on a circle: the smallest data on which a GAN loses modes, and on which
lost modes can be counted exactly.

The losses, penalties and switches are those of `models/dcgan.py`; only the two networks and the
data differ. Source: the data: Metz et al. 2017 (arXiv:1611.02163), sec. 3.1.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_utils.base.config import require
from course_utils.base.device import make_rng, randn
from course_utils.models.base import Batch, Model
from course_utils.models.dcgan import DCGAN, DCGANConfig
from course_utils.training.config import TrainConfig, learning_rate_at

NUM_MODES, RADIUS, MODE_STD = 8, 1.0, 0.05
HIDDEN_DIM = 128


def ring_centres() -> Tensor:
    """Returns the means of the modes, `[8, 2]`, counter-clockwise from (1, 0)."""
    angles = 2 * math.pi * torch.arange(NUM_MODES) / NUM_MODES
    return RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)


def ring_points(n: int, rng: torch.Generator | None = None, std: float = MODE_STD) -> Tensor:
    """Returns `n` points of the ring, `[n, 2]`: a mode at random, then noise of standard deviation
    `std`.
    """
    modes = torch.randint(NUM_MODES, (n,), generator=rng)
    return ring_centres()[modes] + std * torch.randn(n, 2, generator=rng)


class RingCoverage(NamedTuple):
    """What a set of points covers of the ring."""

    modes_hit: int  # of 8; a mode is hit by a tenth of its fair share or more
    # of the points, within 3 standard deviations of any mode; 0.989 for the ring itself
    share_near: float


def ring_coverage(points: Tensor, std: float = MODE_STD) -> RingCoverage:
    """Returns how many modes points `[N, 2]` hit, and what share of them is near one, for a ring
    whose modes have the standard deviation `std`.
    """
    require(
        points.ndim == 2 and points.shape[1] == 2 and len(points) > 0,
        "points",
        "[N, 2]",
        list(points.shape),
    )
    distance, mode = torch.cdist(points.float(), ring_centres()).min(1)
    near = distance <= 3 * std
    counts = torch.bincount(mode[near], minlength=NUM_MODES)
    return RingCoverage(
        int((counts >= 0.1 * len(points) / NUM_MODES).sum()), near.float().mean().item()
    )


def ring_image(points: Tensor, size: int = 96, reach: float = 1.6) -> Tensor:
    """Returns a picture of points `[N, 2]`, uint8 `[1, size, size]`: white on black, the centres of
    the modes as grey crosses.

    Args:
        points: those outside the picture are left out.
        size: pixels a side.
        reach: the picture shows -reach to reach on both axes.
    """
    image = torch.zeros(1, size, size, dtype=torch.uint8)
    scale = torch.tensor([1.0, -1.0]) * size / (2 * reach)  # row 0 is at the top
    for column, row in (ring_centres() * scale + size / 2).long().tolist():
        image[0, row, column - 2 : column + 3] = image[0, row - 2 : row + 3, column] = 110
    column, row = (points * scale + size / 2).floor().long().T
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    image[0, row[inside], column[inside]] = 255
    return image


class RingGAN(DCGAN):
    """A GAN of two perceptrons for points `[B, 2]`; the config's image settings have no meaning
    here.
    """

    family = "ring GAN"

    def __init__(self, config: DCGANConfig) -> None:
        Model.__init__(self, config)
        self.generator = _PointGenerator(config)
        self.discriminator = _PointDiscriminator(config)

    def _check_images(self, images: Tensor) -> None:
        """Points have no image shape."""

    @torch.no_grad()
    def sample(self, n: int, *, rng: torch.Generator | None = None) -> Tensor:
        """Returns `n` points `[n, 2]`."""
        return self.generator(randn((n, self.config.latent_dim), rng, next(self.parameters())))


class _PointGenerator(nn.Module):
    """Noise `[B, latent_dim]` to points `[B, 2]`."""

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        self.layers = _perceptron((config.latent_dim, HIDDEN_DIM, HIDDEN_DIM, 2))

    def forward(self, z: Tensor, labels: None = None) -> Tensor:
        return self.layers(z)


class _PointDiscriminator(nn.Module):
    """Points `[B, 2]` to scores `[B]`, with the config's norm and minibatch statistics."""

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__()
        self.minibatch_std = config.minibatch_std
        self.layers = _perceptron((2, HIDDEN_DIM, HIDDEN_DIM), config.discriminator_norm, last=True)
        self.head = _perceptron((HIDDEN_DIM + config.minibatch_std, 1), config.discriminator_norm)

    def forward(self, points: Tensor, labels: None = None) -> Tensor:
        features = self.layers(points)
        if self.minibatch_std:
            spread = (features.var(0, correction=0) + 1e-8).sqrt().mean()
            features = torch.cat([features, spread.expand(len(features), 1)], dim=1)
        return self.head(features).squeeze(1)


def _perceptron(dims: tuple[int, ...], norm: str = "none", last: bool = False) -> nn.Sequential:
    """Returns linear layers with leaky ReLUs between them, and after the last where `last` is
    true.
    """
    layers: list[nn.Module] = []
    for dim_in, dim_out in itertools.pairwise(dims):
        linear = nn.Linear(dim_in, dim_out)
        layers.append(spectral_norm(linear) if norm == "spectral" else linear)
        layers += [nn.BatchNorm1d(dim_out)] * (norm == "batch" and last) + [nn.LeakyReLU(0.2)]
    return nn.Sequential(*(layers if last else layers[:-1]))


class RingRun(NamedTuple):
    """A finished training on the ring."""

    model: RingGAN  # the moving average where the config asks for one
    # the same noise through the generator during training, [num_frames][500, 2]
    frames: list[Tensor]
    coverage: RingCoverage  # of 10,000 points


def train_ring(
    config: DCGANConfig,
    train: TrainConfig,
    *,
    num_steps: int = 2000,
    seed: int = 0,
    num_frames: int = 8,
) -> RingRun:
    """Returns a GAN trained on fresh points of the ring in every step, the parts in turn as `fit`
    does it.

    Args:
        config: loss, norms, penalties; shapes do not matter.
        train: batch size, learning rate and its schedule, betas, moving average; the number of
            epochs does not matter.
        num_steps: of both parts.
        seed: of weights, data and noise.
        num_frames: pictures kept, evenly spaced, the first of the untrained generator.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RingGAN(config)
    rng, watched = make_rng(seed, 0), torch.randn(500, config.latent_dim, generator=make_rng(0, 1))
    optimizers = {
        name: torch.optim.AdamW(
            part.parameters(), betas=train.adam_betas, weight_decay=train.weight_decay, fused=True
        )
        for name, part in model.trainable_parts().items()
    }
    average = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(train.ema_decay), use_buffers=True)
        if train.ema_decay
        else None
    )
    shown = cast(RingGAN, average.module) if average else model
    due = set(torch.linspace(0, num_steps, num_frames).round().int().tolist())
    frames = []
    for step in range(num_steps + 1):
        if step in due:
            frames.append(shown.generator(watched).detach())
        if step == num_steps:
            break
        batch = Batch(
            ring_points(train.batch_size, rng), torch.zeros(train.batch_size, dtype=torch.long)
        )
        for part, optimizer in optimizers.items():
            optimizer.param_groups[0]["lr"] = (
                learning_rate_at(step / num_steps, train) * model.learning_rate_factors()[part]
            )
            optimizer.zero_grad()
            model.loss(batch, part, rng=rng)["loss"].mean().backward()
            optimizer.step()
        if average:
            average.update_parameters(model)
    shown.eval()
    return RingRun(shown, frames, ring_coverage(shown.sample(10_000, rng=make_rng(seed, 2))))
