"""Priors p(z) of a VAE: the standard normal distribution, or a mixture of Gaussians that is learned with the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.device import randn


class StandardPrior(nn.Module):
    """N(0, I)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def log_ratio(self, z: Tensor) -> Tensor:
        """Returns log p(z) - log N(z; 0, I), which is 0, `[...]` for latents `[..., D]`."""
        return z.new_zeros(z.shape[:-1])

    def sample(self, n: int, rng: torch.Generator | None, like: Tensor, temperature: float = 1.0) -> Tensor:
        """Returns `n` draws of N(0, temperature² I), `[n, D]`, with the device and dtype of `like`."""
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
        """Returns log p(z) - log N(z; 0, I) in nats, `[...]` for latents `[..., D]`: by how much the mixture finds z likelier."""
        with torch.autocast(z.device.type, enabled=False):  # half precision would round the squares
            precision = torch.exp(-self.logvar)  # [M, D]
            offset = self.logits.log_softmax(0) - 0.5 * (precision * self.mean.square() + self.logvar).sum(1)
            squares = z.float().square()
            components = z.float() @ (precision * self.mean).T - 0.5 * (squares @ precision.T) + offset  # the constants log(2 pi) cancel
            return components.logsumexp(-1) + 0.5 * squares.sum(-1)

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator | None, like: Tensor, temperature: float = 1.0) -> Tensor:
        """Returns `n` draws, `[n, D]`, each at `temperature` times its usual distance from the mean of its component."""
        shares = self.logits.softmax(0)
        device = shares.device if rng is None else rng.device
        chosen = torch.multinomial(shares.to(device), n, replacement=True, generator=rng).to(shares.device)
        eps = randn((n, self.mean.shape[1]), rng, like)
        return self.mean[chosen] + temperature * torch.exp(0.5 * self.logvar[chosen]) * eps
