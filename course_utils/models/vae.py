"""Variational autoencoder: encoder q(z | x), decoder p(x | z), prior p(z), which is N(0, I) unless
the config asks for a learned one.

Source: Kingma & Welling 2014 (arXiv:1312.6114), eq. 10; beta: Higgins et al. 2017; free bits:
Kingma et al. 2016 (arXiv:1606.04934), eq. 15; several importance samples: Burda et al. 2016
(arXiv:1509.00519), eq. 8, with the gradient of Tucker et al. 2019 (arXiv:1810.04152), eq. 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from course_utils.base.config import check_settings, require, setting
from course_utils.base.device import mean_over_processes, randn
from course_utils.base.errors import CourseError
from course_utils.base.images import binarise, signed_to_unit, unit_to_signed
from course_utils.models.base import Batch, Model, check_num_samples, check_unconditional
from course_utils.models.blocks import conv_decoder, conv_encoder, mlp


def bernoulli_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """Returns log p(x) = sum over pixels of x * logit - log(1 + exp(logit)) in nats, `[B]` or `[K,
    B]`.

    Equal to minus the summed binary cross-entropy, grey pixels included, and two to three times
    faster.

    Args:
        x: unit pixels, `[B, D]`.
        logits: log-odds of a white pixel, `[B, D]`, or `[K, B, D]` for K draws an image.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), app. C.1.
    """
    return _BernoulliLogLikelihood.apply(x, logits)


class _BernoulliLogLikelihood(torch.autograd.Function):
    """The gradient is x - sigmoid(logits): autograd would keep three more tensors of that size and
    pass over them.
    """

    @staticmethod
    def forward(ctx, x: Tensor, logits: Tensor) -> Tensor:
        ctx.save_for_backward(x, logits)
        return torch.einsum("...bd,bd->...b", logits, x) - sum_softplus(logits)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, logits = ctx.saved_tensors
        to_x = to_logits = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient[..., None] * logits).sum_to_size(x.shape)
        if ctx.needs_input_grad[1]:
            to_logits = torch.sigmoid(logits)
            torch.sub(x, to_logits, out=to_logits)
            to_logits *= gradient[..., None]
        return to_x, to_logits


def sum_softplus(logits: Tensor) -> Tensor:
    """Returns the sum of log(1 + exp(logit)) over the last axis: minus the log-probability that
    every pixel is black.

    log(1 + exp(l)) = max(l, 0) + log(1 + exp(-|l|)) cannot overflow. Its second part is at most log
    2, so that `log` does, which is measured five times faster than `log1p` and rounds by 6e-8 a
    pixel at most.
    """
    return F.relu(logits).sum(-1) + logits.abs().neg_().exp_().add_(1.0).log_().sum(-1)


class StandardPrior(nn.Module):
    """N(0, I)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def log_ratio(self, z: Tensor) -> Tensor:
        """Returns log p(z) - log N(z; 0, I), which is 0, `[...]` for latents `[..., D]`."""
        return z.new_zeros(z.shape[:-1])

    def sample(
        self, n: int, rng: torch.Generator | None, like: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """Returns `n` draws of N(0, temperature² I), `[n, D]`, with the device and dtype of
        `like`.
        """
        return temperature * randn((n, self.latent_dim), rng, like)


class MixturePrior(nn.Module):
    """A mixture of diagonal Gaussians that moves to where the encoder puts the images.

    Source: Tomczak & Welling 2018 (arXiv:1705.07120), the "MoG" prior that they compare with.
    """

    def __init__(self, num_components: int, latent_dim: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.mean = nn.Parameter(torch.randn(num_components, latent_dim))
        self.logvar = nn.Parameter(torch.zeros(num_components, latent_dim))

    def log_ratio(self, z: Tensor) -> Tensor:
        """Returns log p(z) - log N(z; 0, I) in nats, `[...]` for latents `[..., D]`: by how much
        the mixture finds z likelier.
        """
        with torch.autocast(z.device.type, enabled=False):  # half precision would round the squares
            precision = torch.exp(-self.logvar)  # [M, D]
            offset = self.logits.log_softmax(0) - 0.5 * (
                precision * self.mean.square() + self.logvar
            ).sum(1)
            squares = z.float().square()
            # the constants log(2 pi) cancel
            components = (
                z.float() @ (precision * self.mean).T - 0.5 * (squares @ precision.T) + offset
            )
            return components.logsumexp(-1) + 0.5 * squares.sum(-1)

    @torch.no_grad()
    def sample(
        self, n: int, rng: torch.Generator | None, like: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """Returns `n` draws, `[n, D]`, each at `temperature` times its usual distance from the mean
        of its component.
        """
        shares = self.logits.softmax(0)
        device = shares.device if rng is None else rng.device
        chosen = torch.multinomial(shares.to(device), n, replacement=True, generator=rng).to(
            shares.device
        )
        eps = randn((n, self.mean.shape[1]), rng, like)
        return self.mean[chosen] + temperature * torch.exp(0.5 * self.logvar[chosen]) * eps


@dataclass(frozen=True)
class VAEConfig:
    """Settings of a VAE, explained beside each; the defaults are the course's laptop model."""

    image_channels: int = setting(
        1, "channels of the images: 1 is grey, 3 is colour", choices=(1, 3)
    )
    image_size: int = setting(
        28, "side of the images; a multiple of 4 for network 'conv'", unit="pixels", minimum=4
    )
    network: Literal["mlp", "conv"] = setting("mlp", "kind of encoder and decoder")
    hidden_dims: tuple[int, ...] = setting(
        (400, 400),
        "units a layer (mlp), channels a resolution (conv, two of them)",
        unit="units",
        above=0,
        sensible=(4, 1024),
        longest=4,
    )
    latent_dim: int = setting(20, "dimensions of z", minimum=1, sensible=(1, 128))
    likelihood: Literal["bernoulli", "gaussian"] = setting(
        "bernoulli", "distribution of a pixel given z"
    )
    # dynamic: a pixel is white with its grey value as the probability
    binarisation: Literal["none", "dynamic"] = setting(
        "none", "whether pixels are drawn black or white at every step", choices=("none", "dynamic")
    )
    noise_std: float = setting(
        0.1,
        "standard deviation of the Gaussian likelihood",
        unit="of the range of pixels",  # [0, 1]
        above=0,
        sensible=(0.01, 1.0),
    )
    # With beta 1, free_bits 0 and one draw, minus the loss is the evidence lower bound.
    beta: float = setting(1.0, "weight of the KL term", minimum=0, sensible=(0.0, 100.0))
    free_bits: float = setting(
        0.0,
        "KL that a latent dimension may use for free",
        unit="nats",
        minimum=0,
        sensible=(0.0, 10.0),
    )
    num_prior_components: int = setting(
        0, "Gaussians of a learned prior; 0: N(0, I)", minimum=0, sensible=(0, 500)
    )
    num_importance_samples: int = setting(
        1, "draws of z an image in the loss", minimum=1, sensible=(1, 20)
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.num_prior_components > 0:
            expected = "0 where num_prior_components is above 0"
            require(self.free_bits == 0, "free_bits", expected, self.free_bits)
        if self.num_importance_samples > 1:
            expected = "where num_importance_samples is above 1"
            require(self.beta == 1, "beta", f"1 {expected}", self.beta)
            require(self.free_bits == 0, "free_bits", f"0 {expected}", self.free_bits)
        if self.binarisation == "dynamic":
            expected = "'bernoulli' where binarisation is 'dynamic'"
            require(self.likelihood == "bernoulli", "likelihood", expected, self.likelihood)
        if self.network == "conv":
            expected = "two channel counts for network='conv', such as (32, 64)"
            require(len(self.hidden_dims) == 2, "hidden_dims", expected, self.hidden_dims)
            expected = "a multiple of 4 for network='conv'"
            require(self.image_size % 4 == 0, "image_size", expected, self.image_size)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size


class VAE(Model):
    """A VAE with a diagonal Gaussian encoder and a Bernoulli or Gaussian decoder."""

    family = "vae"
    has_likelihood = True
    config: VAEConfig

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        make_encoder, make_decoder = (
            (conv_encoder, conv_decoder)
            if config.network == "conv"
            else (_mlp_encoder, _mlp_decoder)
        )
        self.encoder = make_encoder(config.image_shape, config.hidden_dims, 2 * config.latent_dim)
        self.decoder = make_decoder(config.latent_dim, config.hidden_dims[::-1], config.image_shape)
        num_components = config.num_prior_components
        self.prior = (
            MixturePrior(num_components, config.latent_dim)
            if num_components
            else StandardPrior(config.latent_dim)
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log-variance of q(z | x), each `[B, latent_dim]`, for signed images `[B,
        C, H, W]`.
        """
        if tuple(images.shape[1:]) != self.config.image_shape:
            raise CourseError(
                f"expected images of shape [B, {', '.join(map(str, self.config.image_shape))}], got"
                f" {list(images.shape)}."
            )
        mu, logvar = self.encoder(images).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Returns the mean image of p(x | z) in [-1, 1], `[B, C, H, W]`, for latents `[B,
        latent_dim]`.
        """
        if z.shape[1:] != (self.config.latent_dim,):
            raise CourseError(
                f"expected latents of shape [B, {self.config.latent_dim}], got {list(z.shape)}."
            )
        return unit_to_signed(torch.sigmoid(self.decoder(z)))

    def reconstruct(self, images: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Returns decoded images in [-1, 1]: from the mean of q(z | x), or from a draw of it where
        `rng` is given.
        """
        mu, logvar = self.encode(images)
        return self.decode(mu if rng is None else reparameterise(mu, logvar, rng))

    def log_likelihood(self, images: Tensor, z: Tensor) -> Tensor:
        """Returns log p(x | z) in nats, summed over pixels, `[B]` for z `[B, latent_dim]`, `[K, B]`
        for K draws an image.
        """
        x = signed_to_unit(images).flatten(1)
        logits = self.decoder(z.flatten(0, -2)).view(*z.shape[:-1], -1)
        # half precision would round the sums over pixels
        with torch.autocast(images.device.type, enabled=False):
            logits = logits.to(x.dtype)
            # on grey pixels: a cross-entropy, bounded below by the pixels' own entropy
            if self.config.likelihood == "bernoulli":
                return bernoulli_log_likelihood(x, logits)
            squared = ((x - torch.sigmoid(logits)) / self.config.noise_std).square().sum(-1)
            return -0.5 * squared - x.shape[1] * (
                math.log(self.config.noise_std) + 0.5 * math.log(2 * math.pi)
            )

    def loss(
        self, batch: Batch, part: str = "model", *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Returns `loss`, `negative_elbo`, `reconstruction` and `kl` in nats per image, `[B]`;
        reconstruction is -log p(x | z).
        """
        images = (
            binarise(batch.images, rng) if self.config.binarisation == "dynamic" else batch.images
        )
        mu, logvar = self.encode(images)
        if self.config.num_importance_samples > 1:
            return self._importance_weighted_loss(images, mu, logvar, rng)
        z = reparameterise(mu, logvar, rng)
        reconstruction = -self.log_likelihood(images, z)
        closeness = self.prior.log_ratio(z)  # 0 for the standard prior
        kl = gaussian_kl(mu, logvar)  # [B, latent_dim]
        loss = reconstruction + self.config.beta * (self._penalty(kl) - closeness)
        return _terms(loss, reconstruction, kl.sum(1) - closeness)

    def _penalty(self, kl: Tensor) -> Tensor:
        """Returns the term that beta multiplies, `[B]` or a number: the KL term, or its mean with a
        floor under each dimension.
        """
        if self.config.free_bits > 0:
            # a dimension below its free bits gets no gradient
            return mean_over_processes(kl.mean(0)).clamp(min=self.config.free_bits).sum()
        return kl.sum(1)

    def _importance_weighted_loss(
        self, images: Tensor, mu: Tensor, logvar: Tensor, rng: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Returns the terms of `loss` for several draws of z an image, whose means the terms but
        `loss` are.

        The gradient is the doubly reparameterised one: log q counts as a function of z alone, and
        what reaches z is weighted a second time. It equals the plain gradient on average, with less
        noise in the encoder.
        """
        num_samples = self.config.num_importance_samples
        # [num_samples, B, latent_dim]
        z = reparameterise(mu.expand(num_samples, *mu.shape), logvar, rng)
        log_likelihood, log_ratio = self.log_likelihood(images, z), self.prior.log_ratio(z)
        log_weights = log_likelihood + log_ratio + log_prior_ratio(z, mu.detach(), logvar.detach())
        if z.requires_grad:
            normalised = log_weights.detach().softmax(0)
            z.register_hook(lambda gradient: gradient * normalised[..., None])
        loss = math.log(num_samples) - log_weights.logsumexp(0)
        return _terms(
            loss, -log_likelihood.mean(0), gaussian_kl(mu, logvar).sum(1) - log_ratio.mean(0)
        )

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        labels: Tensor | None = None,
        rng: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Returns `n` decoder means in [-1, 1] for z ~ p(z), `[n, C, H, W]`; `temperature` scales
        the standard deviation of the prior.
        """
        check_num_samples(n)
        check_unconditional(self.family, labels)
        return self.decode(self.prior.sample(n, rng, next(self.parameters()), temperature))

    def log_weights(
        self, images: Tensor, num_samples: int, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Returns log p(x, z) - log q(z | x) for `num_samples` draws z ~ q(z | x) of each image,
        `[num_samples, B]`, in nats.

        Their mean over draws is the ELBO; the log of their mean exponential is the
        importance-weighted bound. Source: Burda et al. 2016 (arXiv:1509.00519), eq. 8.
        """
        mu, logvar = self.encode(images)
        # [num_samples, B, latent_dim]
        z = reparameterise(mu.expand(num_samples, *mu.shape), logvar, rng)
        return (
            self.log_likelihood(images, z)
            + self.prior.log_ratio(z)
            + log_prior_ratio(z, mu, logvar)
        )


def _terms(loss: Tensor, reconstruction: Tensor, kl: Tensor) -> dict[str, Tensor]:
    """Returns the terms of `VAE.loss`; all but the first are for the record."""
    reconstruction, kl = reconstruction.detach(), kl.detach()
    return {
        "loss": loss,
        "negative_elbo": reconstruction + kl,
        "reconstruction": reconstruction,
        "kl": kl,
    }


def reparameterise(mu: Tensor, logvar: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Returns z = mu + sigma * eps with eps ~ N(0, I): a draw from q(z | x) that gradients pass
    through.

    Args:
        mu, logvar: mean and log-variance, `[B, D]`; a mean that was expanded to `[K, B, D]` gives K
            draws.
        rng: source of eps.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), sec. 2.4.
    """
    return mu + torch.exp(0.5 * logvar) * randn(tuple(mu.shape), rng, mu, batch_axis=-2)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """Returns KL(N(mu, exp(logvar)) || N(0, 1)) in nats for each latent dimension, `[B, D]`; sum
    over D for the KL of an image.

    Source: Kingma & Welling 2014 (arXiv:1312.6114), app. B.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1.0 - logvar)


def log_prior_ratio(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Returns log N(z; 0, I) - log q(z | x) in nats for draws z of N(mu, exp(logvar)), summed over
    the last axis; the constants log(2 pi) cancel.
    """
    return 0.5 * ((z - mu).square() * torch.exp(-logvar) + logvar - z.square()).sum(-1)


def _mlp_encoder(
    image_shape: tuple[int, int, int], hidden_dims: tuple[int, ...], out_dim: int
) -> nn.Module:
    return nn.Sequential(nn.Flatten(), mlp((math.prod(image_shape), *hidden_dims, out_dim)))


def _mlp_decoder(
    latent_dim: int, hidden_dims: tuple[int, ...], image_shape: tuple[int, int, int]
) -> nn.Module:
    return nn.Sequential(
        mlp((latent_dim, *hidden_dims, math.prod(image_shape))), nn.Unflatten(1, image_shape)
    )
