"""Text to image: a small encoder reads a caption, a flow draws in the latent space of an
autoencoder, and cross-attention brings the words to each place of the picture.

Time t runs from 0 (the image) to 1 (noise), as in `diffusion`. The autoencoder is trained first,
while the mean and the standard deviation of its latents are measured; then the flow learns to draw
in the latent space, which is fixed by then. With `space="pixel"` there is no autoencoder: squares
of pixels are folded into channels, and all else stays the same.

Source: Rombach et al. 2022 (arXiv:2112.10752) for the latent space and cross-attention; Liu et al.
2023 (arXiv:2209.03003) for the flow; Ho & Salimans 2022 (arXiv:2207.12598) for guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.config import check_settings, require, setting
from course_utils.base.device import ImageNoise, mean_over_processes, rand, randn
from course_utils.base.errors import CourseError
from course_utils.data.captions import Tokenizer
from course_utils.models.base import Batch, Model, check_num_samples, check_unconditional
from course_utils.models.diffusion.model import draw_times
from course_utils.models.diffusion.samplers import time_grid
from course_utils.models.diffusion.schedules import make_schedule, make_target
from course_utils.models.diffusion.unet import (
    CHANNELS_PER_HEAD,
    OUTPUT_SCALE,
    Attention,
    FiLMBlock,
    group_norm,
    time_features,
)

FOLD = 4  # an image has four times the side of its latent
MOMENTS_DECAY = 0.99  # a step, of the running moments of the latents
SMALLEST_STD = 1e-3


@dataclass(frozen=True)
class TextToImageConfig:
    """Settings of a text-to-image model, explained beside each."""

    image_channels: int = setting(
        3, "channels of the images: 1 is grey, 3 is colour", choices=(1, 3)
    )
    image_size: int = setting(32, f"side of the images; a multiple of {FOLD}", unit="pixels")
    # filled in from the captions of the dataset; without any the model learns p(image) alone
    vocabulary: str = setting("", "words of the captions, with spaces between them")
    max_words: int = setting(24, "words of the longest caption", minimum=1, sensible=(1, 77))
    space: Literal["latent", "pixel"] = setting("latent", "where the flow draws")
    latent_channels: int = setting(8, "channels of the latent space", minimum=1, sensible=(1, 16))
    autoencoder_channels: int = setting(
        32, "channels of the autoencoder at half the side, doubled at a quarter", minimum=1
    )
    # weak: it only keeps the latents near the origin and smooth
    kl_weight: float = setting(
        1e-3, "weight of the KL divergence against the squared error", minimum=0, sensible=(0, 1)
    )
    autoencoder_share: float = setting(
        0.2,
        "share of the training in which the autoencoder learns, before the flow",
        above=0,
        below=1,
        sensible=(0.05, 0.5),
        added=True,
    )
    channels: int = setting(
        64,
        "channels of the flow's network, doubled at half the resolution",
        minimum=8,
        sensible=(16, 256),
        even=True,
    )
    num_blocks: int = setting(
        2,
        "blocks of the flow's network at half the resolution, each with cross-attention",
        minimum=1,
        sensible=(1, 8),
    )
    embed_dim: int = setting(
        96, "dimensions of a word and of the code of time", minimum=8, even=True
    )
    # Hidden captions teach the network p(x) as well, which guidance needs.
    caption_dropout: float = setting(
        0.1, "share of the training images whose caption is hidden", minimum=0, maximum=1
    )
    num_steps: int = setting(
        10, "steps that the sampler takes", unit="steps", minimum=1, sensible=(1, 250)
    )
    # Chosen with an earlier model on 400 captions without held-out combinations: all words right in
    # 76, 80, 81 and 77 % (each ± 2) of the pictures with 3, 4, 5 and 7.
    guidance_scale: float = setting(
        4.0, "strength of classifier-free guidance; 1 is none", minimum=0, sensible=(0.0, 10.0)
    )

    def __post_init__(self) -> None:
        check_settings(self)
        fits = self.image_size >= 2 * FOLD and self.image_size % FOLD == 0
        require(fits, "image_size", f"{2 * FOLD} or more, a multiple of {FOLD}", self.image_size)
        heads = self.embed_dim % CHANNELS_PER_HEAD == 0
        require(heads, "embed_dim", f"a multiple of {CHANNELS_PER_HEAD}", self.embed_dim)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the flow draws."""
        is_latent = self.space == "latent"
        channels = self.latent_channels if is_latent else FOLD**2 * self.image_channels
        return channels, self.image_size // FOLD, self.image_size // FOLD


class Autoencoder(nn.Module):
    """Convolutions that shrink an image to a quarter of its side and make it large again.

    Attributes:
        mean, std: running moments of the latents, by which the flow's latents are normalised.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: TextToImageConfig) -> None:
        super().__init__()
        width, channels = config.autoencoder_channels, config.latent_channels
        self.encoder = nn.Sequential(
            nn.Conv2d(config.image_channels, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 4 * config.image_channels, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log-variance of the latents of images, `[B, C, H/4, W/4]` each."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def encode(self, images: Tensor) -> Tensor:
        """Returns normalised latents `[B, C, H/4, W/4]`: the means, without noise."""
        return (self.moments(images)[0] - self.mean) / self.std

    def decode(self, latents: Tensor) -> Tensor:
        """Returns images `[B, C, H, W]` of normalised latents, not clamped."""
        return self.decoder(latents * self.std + self.mean)

    def hidden_weights(self) -> list[Tensor]:
        """Returns the weights of all convolutions but the first and the last of both halves."""
        halves = [
            [layer.weight for layer in half if isinstance(layer, nn.Conv2d)]
            for half in (self.encoder, self.decoder)
        ]
        return [weight for half in halves for weight in half[1:-1]]

    @torch.no_grad()
    def watch(self, latents: Tensor) -> None:
        """Moves the running moments towards those of latents `[B, C, H/4, W/4]`."""
        values = latents.float()
        mean = mean_over_processes(values.mean((0, 2, 3)))[:, None, None]
        square = mean_over_processes((values - mean).square().mean((0, 2, 3)))[:, None, None]
        self.mean.lerp_(mean, 1 - MOMENTS_DECAY)
        self.std.lerp_(square.sqrt().clamp(min=SMALLEST_STD), 1 - MOMENTS_DECAY)


class Folding(nn.Module):
    """The pixel space in the place of an autoencoder: squares of 4 by 4 pixels become channels, and
    nothing is learned or lost.
    """

    def hidden_weights(self) -> list[Tensor]:
        """Returns no weights: there are none."""
        return []

    def encode(self, images: Tensor) -> Tensor:
        """Returns `[B, 16 C, H/4, W/4]`."""
        return F.pixel_unshuffle(images, FOLD)

    def decode(self, latents: Tensor) -> Tensor:
        """Returns images `[B, C, H, W]`."""
        return F.pixel_shuffle(latents, FOLD)


class TextEncoder(nn.Module):
    """Words with their places, a start in front of them, and one layer of self-attention."""

    def __init__(self, num_tokens: int, max_words: int, embed_dim: int) -> None:
        super().__init__()
        self.words = nn.Embedding(num_tokens, embed_dim)
        self.places = nn.Parameter(0.1 * torch.randn(max_words + 1, embed_dim))
        self.layer = nn.TransformerEncoderLayer(
            embed_dim,
            embed_dim // CHANNELS_PER_HEAD,
            2 * embed_dim,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Returns codes `[B, L + 1, E]` of the start and of L words, and which of them are there,
        bool `[B, L + 1]`; the start always is.

        Args:
            tokens: int64 `[B, L]`; 0 is no word.
        """
        tokens = F.pad(tokens, (1, 0))
        present = tokens > 0
        present[:, 0] = True
        codes = self.words(tokens) + self.places[: tokens.shape[1]]
        return self.layer(codes, src_key_padding_mask=~present), present


class CrossAttention(nn.Module):
    """Each place of a feature map asks, each word answers, with a shortcut.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), eq. 1, with queries from the image and keys and
    values from the text: Rombach et al. 2022 (arXiv:2112.10752), sec. 3.3.
    """

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.num_heads = max(1, channels // CHANNELS_PER_HEAD)
        self.norm = group_norm(channels)
        self.queries = nn.Conv2d(channels, channels, 1)
        self.keys_values = nn.Linear(embed_dim, 2 * channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def _split(self, x: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values, `[B, heads, places or words, channels a head]`."""
        queries = self.queries(self.norm(x)).flatten(2).transpose(1, 2)
        keys, values = self.keys_values(codes).chunk(2, dim=2)
        heads = (
            rows.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for rows in (queries, keys, values)
        )
        queries, keys, values = heads
        return queries, keys, values

    def forward(self, x: Tensor, codes: Tensor, present: Tensor) -> Tensor:
        """Returns `[B, channels, H, W]`, like x.

        Args:
            x: features of the image.
            codes: of the words, `[B, L, E]`.
            present: which words are there, `[B, L]`.
        """
        queries, keys, values = self._split(x, codes)
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=present[:, None, None, :]
        )
        return x + self.out(mixed.transpose(1, 2).flatten(2).transpose(1, 2).reshape(x.shape))

    def weights(self, x: Tensor, codes: Tensor, present: Tensor) -> Tensor:
        """Returns how much each place attends to each word, a mean over heads, `[B, H, W, L]`; the
        weights of a place add up to 1.
        """
        queries, keys, _ = self._split(x, codes)
        scores = queries @ keys.transpose(2, 3) * queries.shape[-1] ** -0.5
        scores = scores.masked_fill(~present[:, None, None, :], -torch.inf)
        return scores.softmax(-1).mean(1).unflatten(1, (x.shape[2], x.shape[3]))


class CaptionedFlow(nn.Module):
    """The flow's network and the text encoder, which are trained together: a U-Net of two
    resolutions with cross-attention at both.
    """

    def __init__(self, config: TextToImageConfig) -> None:
        super().__init__()
        width, embed = config.channels, config.embed_dim
        folded = config.latent_shape[0]
        self.embed_dim = embed
        num_tokens = len(config.vocabulary.split()) + 1
        self.text = TextEncoder(num_tokens, config.max_words, embed)
        self.time = nn.Sequential(nn.Linear(embed, embed), nn.SiLU(), nn.Linear(embed, embed))
        self.stem = nn.Conv2d(folded, width, 3, padding=1)
        self.down = FiLMBlock(width, width, embed)
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            FiLMBlock(2 * width, 2 * width, embed) for _ in range(config.num_blocks)
        )
        self.crosses = nn.ModuleList(
            CrossAttention(2 * width, embed) for _ in range(config.num_blocks)
        )
        self.attention = Attention(2 * width)
        self.middle = FiLMBlock(2 * width, 2 * width, embed)
        self.grow = nn.Conv2d(2 * width, 4 * width, 1)
        self.last_cross = CrossAttention(width, embed)
        self.last = FiLMBlock(2 * width, width, embed)
        self.norm = group_norm(width)
        self.out = nn.Conv2d(width, folded, 3, padding=1)
        with torch.no_grad():
            self.out.weight.mul_(OUTPUT_SCALE)

    def hidden_weights(self) -> list[Tensor]:
        """Returns the weights of all convolutions but the first and the last."""
        ends = (self.stem, self.out)
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]
        return [layer.weight for layer in layers if layer not in ends]

    def forward(self, xt: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Returns the velocity, `[B, C, H, W]` like x_t.

        Args:
            xt: noisy latents.
            t: times in [0, 1], `[B]`.
            tokens: int64 `[B, L]`; 0 is no word.
        """
        codes, present = self.text(tokens)
        embedding = self._embedding(t, codes, present)
        skip, h = self._down_and_up(xt, embedding, codes, present)
        h = self.last_cross(h, codes, present)
        h = self.last(torch.cat([h, skip], dim=1), embedding)
        return self.out(F.silu(self.norm(h)))

    def attention_weights(self, xt: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Returns how much each place attends to the start and to each word in the last
        cross-attention, `[B, H, W, L + 1]`; arguments as for `forward`.
        """
        codes, present = self.text(tokens)
        _, h = self._down_and_up(xt, self._embedding(t, codes, present), codes, present)
        return self.last_cross.weights(h, codes, present)

    def _embedding(self, t: Tensor, codes: Tensor, present: Tensor) -> Tensor:
        """Returns the code of time and caption, `[B, E]`.

        Source: Podell et al. 2023 (arXiv:2307.01952), sec. 2.1: one code for the whole caption
        joins that of time, beside cross-attention. Here it is the sum over words.
        """
        caption = codes.masked_fill(~present[..., None], 0).sum(1) / len(self.text.places) ** 0.5
        return F.silu(self.time(time_features(t, self.embed_dim)) + caption)

    def _down_and_up(
        self, xt: Tensor, embedding: Tensor, codes: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns features at the full resolution from before and from after those at half of it,
        `[B, channels, H, W]` each.
        """
        skip = self.down(self.stem(xt), embedding)
        h = self.shrink(skip)
        for block, cross in zip(self.blocks, self.crosses):
            h = cross(block(h, embedding), codes, present)
        h = self.middle(self.attention(h), embedding)
        # of an odd side half was rounded up: one row and column too many come back
        height, width = skip.shape[2:]
        return skip, F.pixel_shuffle(self.grow(h), 2)[:, :, :height, :width]


class TextToImage(Model):
    """Draws pictures for captions."""

    family = "text-to-image"
    config: TextToImageConfig

    def __init__(self, config: TextToImageConfig) -> None:
        super().__init__(config)
        self.tokenizer = Tokenizer(config.vocabulary.split(), config.max_words)
        self.schedule = make_schedule("flow")
        self.codec = Autoencoder(config) if config.space == "latent" else Folding()
        self.flow = CaptionedFlow(config)

    def trainable_parts(self) -> dict[str, nn.Module]:
        """The autoencoder, where there is one, then the flow with its text encoder."""
        parts: dict[str, nn.Module] = {"flow": self.flow}
        return {"autoencoder": self.codec, **parts} if self.config.space == "latent" else parts

    def training_spans(self) -> dict[str, tuple[float, float]]:
        """The autoencoder first, then the flow in its latent space, which is fixed by then."""
        if self.config.space == "pixel":
            return super().training_spans()
        share = self.config.autoencoder_share
        return {"autoencoder": (0.0, share), "flow": (share, 1.0)}

    def hidden_weights(self) -> list[Tensor]:
        """Returns the weights of the flow's convolutions and the autoencoder's, but for those next
        to images and latents.
        """
        return self.codec.hidden_weights() + self.flow.hidden_weights()

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Returns the tokens of captions, int64 `[N, max_words]`.

        Raises:
            CourseError: an unknown word, with those that are known, or too many words.
        """
        return self.tokenizer.encode(captions)

    def loss(
        self, batch: Batch, part: str = "flow", *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Returns per-image terms `[B]`. For the part "autoencoder": `loss`, `squared_error` (a
        mean over pixels) and `kl` in nats. For "flow": `loss`, the squared error of the velocity,
        a mean over the latent's entries.

        Where the batch has no captions, none is shown to the network.
        """
        self._check_images(batch.images)
        if part == "autoencoder":
            return self._autoencoder_loss(batch.images, rng)
        with torch.no_grad():
            x0 = self.codec.encode(batch.images).to(batch.images.dtype)
        t = draw_times(len(x0), "logit-normal", rng, x0)
        tokens = self._tokens(batch.captions, len(x0))
        hidden = rand((len(x0), 1), rng, x0.device) < self.config.caption_dropout
        eps = randn(tuple(x0.shape), rng, x0)
        target = make_target("velocity", self.schedule, x0, eps, t)
        # what stands after the longest caption of a batch would take time and change nothing
        tokens = tokens[:, : int((tokens > 0).sum(1).max())]
        predicted = self.flow(self.schedule.noised(x0, eps, t), t, tokens.masked_fill(hidden, 0))
        return {"loss": (predicted.to(x0.dtype) - target).square().flatten(1).mean(1)}

    def _autoencoder_loss(self, images: Tensor, rng: torch.Generator | None) -> dict[str, Tensor]:
        codec = self.codec
        assert isinstance(codec, Autoencoder)
        mean, log_variance = codec.moments(images)
        noise = randn(tuple(mean.shape), rng, mean)
        rebuilt = codec.decoder(mean + (0.5 * log_variance).exp() * noise)
        if self.training:
            codec.watch(mean)
        squared_error = (rebuilt - images).square().flatten(1).mean(1)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)
        loss = squared_error + self.config.kl_weight * kl / images[0].numel()
        return {"loss": loss, "squared_error": squared_error.detach(), "kl": kl.detach()}

    def _check_images(self, images: Tensor) -> None:
        expected = list(self.config.image_shape)
        if list(images.shape[1:]) != expected:
            raise CourseError(
                f"expected images of shape [B, {', '.join(map(str, expected))}], got"
                f" {list(images.shape)}."
            )

    def _tokens(self, tokens: Tensor | None, num_images: int) -> Tensor:
        """Returns the tokens, or those of no caption for all images."""
        if tokens is not None:
            return tokens
        shape = (num_images, self.config.max_words)
        return torch.zeros(shape, dtype=torch.int64, device=self.device)

    def sample(
        self,
        n: int,
        *,
        labels: Tensor | None = None,
        rng: torch.Generator | None = None,
        captions: str | Sequence[str] | None = None,
        negative: str | None = None,
        guidance_scale: float | None = None,
        num_steps: int | None = None,
    ) -> Tensor:
        """Returns `n` new images in [-1, 1], `[n, C, H, W]`; image i depends on the generator, on i
        and on its caption, not on n.

        Args:
            labels: refused: this model reads captions.
            rng: one number is drawn from it, which starts a stream for each image.
            captions: one for all images, or one for each; None draws from p(image).
            negative: guidance leads away from this caption, in place of from no caption.
            guidance_scale: None takes the config's.
            num_steps: of Euler's method; None takes the config's.

        Raises:
            CourseError: an unknown word, or another number of captions.
        """
        check_num_samples(n)
        check_unconditional(self.family, labels)
        noise = ImageNoise(n, rng)
        x = noise.normal(self.config.latent_shape, next(self.parameters()))
        times = time_grid(self.config.num_steps if num_steps is None else num_steps)
        return self._walk(x, times, self._wanted(n, captions), negative, guidance_scale)

    def edit(
        self,
        images: Tensor,
        strength: float,
        *,
        captions: str | Sequence[str],
        rng: torch.Generator | None = None,
        negative: str | None = None,
        guidance_scale: float | None = None,
        num_steps: int = 20,
    ) -> Tensor:
        """Returns images `[B, C, H, W]` that keep the coarse shape of the given ones and follow a
        caption: noised to time `strength`, then drawn from there.

        Args:
            images: signed, `[B, C, H, W]`.
            strength: above 0 (almost the same image) up to 1 (nothing of it is kept).
            captions, rng, negative, guidance_scale, num_steps: as for `sample`.

        Source: Meng et al. 2022 (arXiv:2108.01073), alg. 1.
        """
        self._check_images(images)
        require(0 < strength <= 1, "strength", "above 0 and at most 1", strength)
        with torch.no_grad():
            x0 = self.codec.encode(images)
        eps = ImageNoise(len(images), rng).normal(self.config.latent_shape, x0)
        t = torch.full((len(images),), strength, dtype=x0.dtype, device=x0.device)
        tokens = self._wanted(len(images), captions)
        times = time_grid(num_steps, start=strength)
        return self._walk(self.schedule.noised(x0, eps, t), times, tokens, negative, guidance_scale)

    def _wanted(self, n: int, captions: str | Sequence[str] | None) -> Tensor:
        """Returns the tokens `[n, max_words]` of captions for `n` images."""
        if captions is None:
            return self._tokens(None, n)
        captions = [captions] * n if isinstance(captions, str) else list(captions)
        if len(captions) != n:
            raise CourseError(
                f"captions: expected one, or one for each of {n} images, got {len(captions)}."
            )
        return self.encode_captions(captions).to(self.device)

    @torch.no_grad()
    def _walk(
        self,
        x: Tensor,
        times: Tensor,
        tokens: Tensor,
        negative: str | None,
        guidance_scale: float | None,
    ) -> Tensor:
        """Returns the images at the end of Euler's steps from x at the first of the times."""
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        away = self._wanted(len(x), negative)
        # where the caption is the same as what guidance leads away from, it changes nothing
        guided = scale != 1 and not torch.equal(tokens, away)
        for now, then in zip(times[:-1].tolist(), times[1:].tolist()):
            t = torch.full((len(x),), now, dtype=x.dtype, device=x.device)
            if guided:
                both = self.flow(torch.cat([x, x]), torch.cat([t, t]), torch.cat([tokens, away]))
                with_caption, without = both.chunk(2)
                velocity = without + scale * (with_caption - without)
            else:
                velocity = self.flow(x, t, tokens)
            x = x + (then - now) * velocity
        return self.codec.decode(x).float().clamp(-1, 1)
