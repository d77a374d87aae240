"""A small U-Net that takes a noisy image, its time and a class.

Source: Ronneberger et al. 2015 (arXiv:1505.04597) for the shape, Ho et al. 2020 (arXiv:2006.11239),
app. B, for its use in diffusion. Deviations: the image enters with 2 x 2 pixels folded into
channels (Shi et al. 2016, arXiv:1609.05158), which makes a step about four times cheaper; time and
class act by FiLM.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# t in [0, 1] enters as the step number of DDPM, for which the frequencies below were chosen
TIME_SCALE = 1000.0
LONGEST_PERIOD = 10_000.0
CHANNELS_PER_GROUP, CHANNELS_PER_HEAD = 8, 16
# first weights of the last layer: the untrained network says little, but is no constant
OUTPUT_SCALE = 0.1


def time_features(t: Tensor, dim: int) -> Tensor:
    """Returns sines and cosines of t at frequencies from 1 down to 1/10000 a step, `[B, dim]`, for
    times in [0, 1], `[B]`; dim is even.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), sec. 3.5; Ho et al. 2020 (arXiv:2006.11239),
    app. B.
    """
    exponents = torch.arange(dim // 2, device=t.device, dtype=torch.float32) / max(1, dim // 2 - 1)
    angles = TIME_SCALE * t.float()[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class FiLMBlock(nn.Module):
    """Two convolutions with a shortcut; between them the embedding scales and shifts each channel.

    Source: He et al. 2016 (arXiv:1603.05027); FiLM: Perez et al. 2018 (arXiv:1709.07871), eq. 2.
    """

    def __init__(self, channels_in: int, channels_out: int, embed_dim: int) -> None:
        super().__init__()
        self.norm_in, self.norm_mid = group_norm(channels_in), group_norm(channels_out)
        self.conv_in = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.conv_out = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.film = nn.Linear(embed_dim, 2 * channels_out)
        self.shortcut = (
            nn.Conv2d(channels_in, channels_out, 1)
            if channels_in != channels_out
            else nn.Identity()
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Returns `[B, channels_out, H, W]` for x `[B, channels_in, H, W]` and the embedding `[B,
        embed_dim]`.
        """
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv_in(F.silu(self.norm_in(x)))
        h = torch.addcmul(shift, self.norm_mid(h), 1 + scale)
        return self.shortcut(x) + self.conv_out(F.silu(h))


class Attention(nn.Module):
    """Self-attention over all places of a small feature map, with a shortcut.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 1; in a U-Net: Ho et al. 2020
    (arXiv:2006.11239), app. B.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_heads = max(1, channels // CHANNELS_PER_HEAD)
        self.norm = group_norm(channels)
        self.queries_keys_values = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[B, channels, H, W]`, like x."""
        batch, channels, height, width = x.shape
        rows = self.queries_keys_values(self.norm(x)).reshape(
            batch, 3, self.num_heads, channels // self.num_heads, height * width
        )
        # each [B, heads, places, channels a head]
        queries, keys, values = rows.transpose(3, 4).unbind(1)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return x + self.out(mixed.transpose(2, 3).reshape(batch, channels, height, width))


class FloatGroupNorm(nn.GroupNorm):
    """Group normalisation that computes in float32 whatever the arithmetic around it: the sums of
    squares need its digits, and CPUs that multiply in bf16 normalise in it three times slower.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns `[B, channels, H, W]`, like the input."""
        return super().forward(input.float()).to(input.dtype)


def group_norm(channels: int) -> nn.GroupNorm:
    """Returns group normalisation with 8 channels a group, or as near as the number of channels
    allows.

    Source: Wu & He 2018 (arXiv:1803.08494).
    """
    return FloatGroupNorm(math.gcd(channels, max(1, channels // CHANNELS_PER_GROUP)), channels)


class UNet(nn.Module):
    """Down through the resolutions, attention at the lowest, and up again with a skip connection
    from each block on the way down.
    """

    def __init__(
        self,
        image_channels: int,
        channels: tuple[int, ...],
        *,
        num_blocks: int = 1,
        patch_size: int = 2,
        embed_dim: int = 128,
        num_embeddings: int = 11,
        attention: bool = True,
    ) -> None:
        """Builds the network.

        Args:
            image_channels: of the image, and of what is predicted.
            channels: of each resolution, from the highest down; each resolution has half the side
                of the one before, rounded up.
            num_blocks: a resolution, on the way down and on the way up each.
            patch_size: pixels a side that are folded into channels at the entrance; 1 folds none.
                The image's side is a multiple of it.
            embed_dim: size of the embedding of time and class; even.
            num_embeddings: classes, the null class included.
            attention: whether there is any.
        """
        super().__init__()
        self.patch_size, self.embed_dim = patch_size, embed_dim
        self.time = nn.Sequential(
            nn.Linear(embed_dim, embed_dim), nn.SiLU(), nn.Linear(embed_dim, embed_dim)
        )
        self.classes = nn.Embedding(num_embeddings, embed_dim)
        folded = image_channels * patch_size**2
        self.stem = nn.Conv2d(folded, channels[0], 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(channels):
            self.down.append(
                nn.ModuleList(FiLMBlock(width, width, embed_dim) for _ in range(num_blocks))
            )
            if level + 1 < len(channels):
                self.shrink.append(nn.Conv2d(width, channels[level + 1], 3, stride=2, padding=1))
        self.attention = Attention(channels[-1]) if attention else nn.Identity()
        self.middle = FiLMBlock(channels[-1], channels[-1], embed_dim)
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level, width in reversed(list(enumerate(channels))):
            self.up.append(
                nn.ModuleList(FiLMBlock(2 * width, width, embed_dim) for _ in range(num_blocks))
            )
            if level > 0:
                self.grow.append(nn.Conv2d(width, 4 * channels[level - 1], 1))
        self.norm = group_norm(channels[0])
        self.out = nn.Conv2d(channels[0], folded, 3, padding=1)
        with torch.no_grad():
            self.out.weight.mul_(OUTPUT_SCALE)

    def hidden_weights(self) -> list[Tensor]:
        """Returns the weights of all convolutions but the first and the last."""
        ends = (self.stem, self.out)
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]
        return [layer.weight for layer in layers if layer not in ends]

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Returns the prediction `[B, C, H, W]` for noisy images, times `[B]` in [0, 1] and labels
        `[B]`.
        """
        embedding = F.silu(
            self.time(time_features(t, self.embed_dim).to(xt.dtype)) + self.classes(labels)
        )
        x = self.stem(F.pixel_unshuffle(xt, self.patch_size))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            for block in cast(nn.ModuleList, blocks):
                x = block(x, embedding)
                skips.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(self.attention(x), embedding)
        for level, blocks in enumerate(self.up):
            for block in cast(nn.ModuleList, blocks):
                x = block(torch.cat([x, skips.pop()], dim=1), embedding)
            if level < len(self.grow):
                # of an odd side half was rounded up: one row and column too many come back
                height, width = skips[-1].shape[2:]
                x = F.pixel_shuffle(self.grow[level](x), 2)[:, :, :height, :width]
        return F.pixel_shuffle(self.out(F.silu(self.norm(x))), self.patch_size)
