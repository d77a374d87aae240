"""Variational autoencoder: encoder q(z | x), decoder p(x | z), standard normal prior p(z).

Source: Kingma & Welling 2014 (arXiv:1312.6114), eq. 10; beta: Higgins et al. 2017; free bits: Kingma et al. 2016 (arXiv:1606.04934), eq. 15.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.config import require
from course_utils.device import randn
from course_utils.errors import CourseError
from course_utils.images import signed_to_unit, unit_to_signed
from course_utils.models.base import Batch, Model, check_num_samples, check_unconditional
from course_utils.models.blocks import conv_decoder, conv_encoder, mlp


@dataclass(frozen=True)
class VAEConfig:
    """Settings of a VAE; the defaults are the course's laptop model."""

    image_channels: int = 1
    image_size: int = 28  # pixels a side; a multiple of 4 for the convolutional network
    network: Literal["mlp", "conv"] = "mlp"
    hidden_dims: tuple[int, ...] = (400, 400)  # units a layer (mlp), channels a resolution (conv: two of them)
    latent_dim: int = 20
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"  # of a pixel given z
    noise_std: float = 0.1  # of the Gaussian likelihood, in units of the [0, 1] pixel range
    beta: float = 1.0  # weight of the KL term; 1 is the evidence lower bound
    free_bits: float = 0.0  # nats a latent dimension may use for free; 0 is the evidence lower bound

    def __post_init__(self) -> None:
        require(self.image_channels in (1, 3), "image_channels", "1 or 3", self.image_channels)
        require(self.image_size >= 4, "image_size", "at least 4 pixels", self.image_size)
        require(len(self.hidden_dims) > 0 and min(self.hidden_dims) > 0, "hidden_dims", "at least one positive size", self.hidden_dims)
        require(self.latent_dim >= 1, "latent_dim", "at least 1", self.latent_dim)
        require(self.noise_std > 0, "noise_std", "more than 0", self.noise_std)
        require(self.beta >= 0, "beta", "0 or more", self.beta)
        require(self.free_bits >= 0, "free_bits", "0 or more", self.free_bits)
        if self.network == "conv":
            require(len(self.hidden_dims) == 2, "hidden_dims", "two channel counts for network='conv', such as (32, 64)", self.hidden_dims)
            require(self.image_size % 4 == 0, "image_size", "a multiple of 4 for network='conv'", self.image_size)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size


class VAE(Model):
    """A VAE with a diagonal Gaussian encoder and a Bernoulli or Gaussian decoder."""

    family = "vae"
    config: VAEConfig

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        make_encoder, make_decoder = (conv_encoder, conv_decoder) if config.network == "conv" else (_mlp_encoder, _mlp_decoder)
        self.encoder = make_encoder(config.image_shape, config.hidden_dims, 2 * config.latent_dim)
        self.decoder = make_decoder(config.latent_dim, config.hidden_dims[::-1], config.image_shape)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log-variance of q(z | x), each `[B, latent_dim]`, for signed images `[B, C, H, W]`."""
        if tuple(images.shape[1:]) != self.config.image_shape:
            raise CourseError(f"expected images of shape [B, {', '.join(map(str, self.config.image_shape))}], got {list(images.shape)}.")
        mu, logvar = self.encoder(images).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Returns the mean image of p(x | z) in [-1, 1], `[B, C, H, W]`, for latents `[B, latent_dim]`."""
        if z.shape[1:] != (self.config.latent_dim,):
            raise CourseError(f"expected latents of shape [B, {self.config.latent_dim}], got {list(z.shape)}.")
        return unit_to_signed(torch.sigmoid(self.decoder(z)))

    def reconstruct(self, images: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Returns decoded images in [-1, 1]: from the mean of q(z | x), or from a draw of it where `rng` is given."""
        mu, logvar = self.encode(images)
        return self.decode(mu if rng is None else reparameterise(mu, logvar, rng))

    def log_likelihood(self, images: Tensor, z: Tensor) -> Tensor:
        """Returns log p(x | z) in nats, summed over pixels, `[B]`."""
        x, logits = signed_to_unit(images), self.decoder(z)
        if self.config.likelihood == "bernoulli":  # on grey pixels: a cross-entropy, bounded below by the pixels' own entropy
            return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
        squared = ((x - torch.sigmoid(logits)) / self.config.noise_std).square().flatten(1).sum(1)
        return -0.5 * squared - x[0].numel() * (math.log(self.config.noise_std) + 0.5 * math.log(2 * math.pi))

    def loss(self, batch: Batch, part: str = "model", *, rng: torch.Generator | None = None) -> dict[str, Tensor]:
        """Returns `loss`, `negative_elbo`, `reconstruction` and `kl` in nats per image, `[B]`; reconstruction is -log p(x | z)."""
        mu, logvar = self.encode(batch.images)
        kl = gaussian_kl(mu, logvar)  # [B, latent_dim]
        reconstruction = -self.log_likelihood(batch.images, reparameterise(mu, logvar, rng))
        if self.config.free_bits > 0:
            penalty = kl.mean(0).clamp(min=self.config.free_bits).sum()  # a dimension below its free bits gets no gradient
        else:
            penalty = kl.sum(1)
        return {
            "loss": reconstruction + self.config.beta * penalty,
            "negative_elbo": (reconstruction + kl.sum(1)).detach(),
            "reconstruction": reconstruction.detach(),
            "kl": kl.sum(1).detach(),
        }

    @torch.no_grad()
    def sample(
        self, n: int, *, labels: Tensor | None = None, rng: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Returns `n` decoder means in [-1, 1] for z ~ N(0, temperature² I), `[n, C, H, W]`."""
        check_num_samples(n)
        check_unconditional(self.family, labels)
        like = next(self.parameters())
        return self.decode(temperature * randn((n, self.config.latent_dim), rng, like))

    def log_weights(self, images: Tensor, num_samples: int, *, rng: torch.Generator | None = None) -> Tensor:
        """Returns log p(x, z) - log q(z | x) for `num_samples` draws z ~ q(z | x) of each image, `[num_samples, B]`, in nats.

        Their mean over draws is the ELBO; the log of their mean exponential is the importance-weighted bound.
        Source: Burda et al. 2016 (arXiv:1509.00519), eq. 8.
        """
        mu, logvar = self.encode(images)
        eps = randn((num_samples, *mu.shape), rng, mu)
        z = mu + torch.exp(0.5 * logvar) * eps  # [num_samples, B, latent_dim]
        repeated = images.expand(num_samples, *images.shape).flatten(0, 1)
        log_likelihood = self.log_likelihood(repeated, z.flatten(0, 1)).view(num_samples, -1)
        # log p(z) - log q(z | x): the two constants -0.5 log(2 pi) cancel.
        return log_likelihood + 0.5 * (eps.square() + logvar - z.square()).sum(2)


def reparameterise(mu: Tensor, logvar: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Returns z = mu + sigma * eps with eps ~ N(0, I): a draw from q(z | x) that gradients pass through.

    Args:
        mu, logvar: mean and log-variance, `[B, D]`.
        rng: source of eps.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), sec. 2.4.
    """
    return mu + torch.exp(0.5 * logvar) * randn(tuple(mu.shape), rng, mu)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """Returns KL(N(mu, exp(logvar)) || N(0, 1)) in nats for each latent dimension, `[B, D]`; sum over D for the KL of an image.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), app. B.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar)


def _mlp_encoder(image_shape: tuple[int, int, int], hidden_dims: tuple[int, ...], out_dim: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), mlp((math.prod(image_shape), *hidden_dims, out_dim)))


def _mlp_decoder(latent_dim: int, hidden_dims: tuple[int, ...], image_shape: tuple[int, int, int]) -> nn.Module:
    return nn.Sequential(mlp((latent_dim, *hidden_dims, math.prod(image_shape))), nn.Unflatten(1, image_shape))
