"""DCGAN: a generator that turns noise into images, and a discriminator that it learns from.

Source: Goodfellow et al. 2014 (arXiv:1406.2661); Radford et al. 2016 (arXiv:1511.06434). Every switch of the config names its own source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from course_utils.config import require
from course_utils.device import randn
from course_utils.errors import CourseError
from course_utils.latent_space import truncated_quantiles
from course_utils.models.base import Batch, Model, check_num_samples, check_unconditional
from course_utils.models.gan_alarms import gan_alarms
from course_utils.models.gan_blocks import SMALLEST_SIDE, Discriminator, Generator, Norm
from course_utils.models.gan_losses import CROSS_ENTROPIES, GanLoss, discriminator_loss, generator_loss
from course_utils.models.gan_penalties import interpolation_penalty, real_penalty


@dataclass(frozen=True)
class DCGANConfig:
    """Settings of a DCGAN; the defaults are the course's laptop model."""

    image_channels: int = 1
    image_size: int = 28  # pixels a side, more than 4
    num_classes: int = 10  # used where conditional is true
    conditional: bool = True  # generator and discriminator are told the class
    latent_dim: int = 64  # of the noise z ~ N(0, I)
    generator_width: int = 32  # channels of the generator's last hidden layer; doubled at each lower resolution
    discriminator_width: int = 32  # channels of the discriminator's first layer; doubled at each lower resolution
    loss: GanLoss = "non-saturating"
    discriminator_norm: Norm = "none"  # spectral: Miyato et al. 2018 (arXiv:1802.05957); batch: the DCGAN paper
    discriminator_lr_factor: float = 1.0  # its learning rate in units of the generator's: two time-scales, Heusel et al. 2017 (arXiv:1706.08500)
    r1_weight: float = 0.3  # of half the squared gradient at real images: Mescheder et al. 2018 (arXiv:1801.04406), eq. 9
    gradient_penalty_weight: float = 0.0  # of (|gradient| - 1)^2 between real and fake: Gulrajani et al. 2017 (arXiv:1704.00028); 10 is common
    penalty_share: float = 0.0625  # of a batch on which penalties are computed; "lazy" regularisation (Karras et al. 2020) at every step
    instance_noise_std: float = 0.0  # on all of the discriminator's inputs, pixels in [-1, 1]: Sonderby et al. 2017 (arXiv:1610.04490)
    minibatch_std: bool = False  # the discriminator sees how much the images of a batch differ
    label_smoothing: float = 0.0  # a real image's label is 1 minus this

    def __post_init__(self) -> None:
        require(self.image_channels in (1, 3), "image_channels", "1 or 3", self.image_channels)
        require(self.image_size > SMALLEST_SIDE, "image_size", f"more than {SMALLEST_SIDE} pixels", self.image_size)
        for name in ("num_classes", "latent_dim", "generator_width", "discriminator_width"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.discriminator_lr_factor > 0, "discriminator_lr_factor", "more than 0", self.discriminator_lr_factor)
        for name in ("r1_weight", "gradient_penalty_weight", "instance_noise_std"):
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        require(0 < self.penalty_share <= 1, "penalty_share", "above 0 and at most 1", self.penalty_share)
        require(0 <= self.label_smoothing < 0.5, "label_smoothing", "from 0 up to 0.5", self.label_smoothing)
        if self.label_smoothing > 0:
            require(self.loss in CROSS_ENTROPIES, "loss", f"{' or '.join(CROSS_ENTROPIES)} where label_smoothing is above 0", self.loss)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size


class DCGAN(Model):
    """Two parts with losses of their own, updated in turn: the discriminator first, then the generator."""

    family = "dcgan"
    config: DCGANConfig

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__(config)
        num_classes = config.num_classes if config.conditional else 0
        self.generator = Generator(config.latent_dim, config.generator_width, config.image_shape, num_classes)
        self.discriminator = Discriminator(
            config.discriminator_width, config.image_shape, config.discriminator_norm, num_classes, config.minibatch_std
        )

    def trainable_parts(self) -> dict[str, nn.Module]:
        """Returns discriminator and generator, in the order in which they are updated."""
        return {"discriminator": self.discriminator, "generator": self.generator}

    def learning_rate_factors(self) -> dict[str, float]:
        """Returns 1 for the generator and the config's factor for the discriminator."""
        return {"discriminator": self.config.discriminator_lr_factor, "generator": 1.0}

    def alarms(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Returns what `gan_alarms` finds: mode collapse, or a discriminator that has won."""
        return gan_alarms(rows)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns signed images `[B, C, H, W]` for noise `[B, latent_dim]`, and labels `[B]` of a conditional model.

        Raises:
            CourseError: noise of another shape, or labels that are missing, out of range or not wanted.
        """
        if z.ndim != 2 or z.shape[1] != self.config.latent_dim:
            raise CourseError(f"expected noise of shape [B, {self.config.latent_dim}], got {list(z.shape)}.")
        return self.generator(z, self._checked(labels, len(z)))

    def scores(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the discriminator's scores `[B]` for signed images, higher for what looks real; a logit where the loss is a cross-entropy.

        Raises:
            CourseError: images of another shape, or labels that are missing, out of range or not wanted.
        """
        self._check_images(images)
        return self.discriminator(images, self._checked(labels, len(images)))

    def loss(self, batch: Batch, part: str, *, rng: torch.Generator | None = None) -> dict[str, Tensor]:
        """Returns the terms `[B]` of one part's loss.

        Both parts: `loss` and `d_fake`, the sigmoid of the score of a generated image. The discriminator also: `d_real`; `separation`, 1 where a real
        image scores higher than a generated one; and `penalty`. The generator also: `diversity`, the RMS distance between two of its images in
        signed pixels, and `real_diversity`, the same of real images.

        The discriminator's `d_fake` is measured just after a generator step and the generator's just after a discriminator step.
        """
        self._check_images(batch.images)
        labels = batch.labels if self.config.conditional else None
        z = randn((len(batch.images), self.config.latent_dim), rng, batch.images)
        if part == "discriminator":
            return self._discriminator_terms(batch.images, z, labels, rng)
        return self._generator_terms(batch.images, z, labels, rng)

    def _discriminator_terms(self, images: Tensor, z: Tensor, labels: Tensor | None, rng: torch.Generator | None) -> dict[str, Tensor]:
        with torch.no_grad():
            fakes = self.generator(z, labels)
        real_seen, fake_seen = self._seen(images, rng), self._seen(fakes, rng)
        real, fake = self._both_scores(real_seen, fake_seen, labels)
        loss = discriminator_loss(self.config.loss, real, fake, self.config.label_smoothing)
        penalty = self._penalty(real_seen, fake_seen, labels, rng)
        if penalty is not None:
            loss = loss + penalty
        terms = {"d_real": real.sigmoid(), "d_fake": fake.sigmoid(), "separation": (real > fake).float()}
        terms["penalty"] = torch.zeros_like(real) if penalty is None else penalty.expand_as(real)
        return {"loss": loss, **{name: values.detach() for name, values in terms.items()}}

    def _generator_terms(self, images: Tensor, z: Tensor, labels: Tensor | None, rng: torch.Generator | None) -> dict[str, Tensor]:
        fakes = self.generator(z, labels)
        # The detached copy of its weights is a judge that learns nothing here, which also saves their gradients' cost.
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        fake = functional_call(self.discriminator, fixed, (self._seen(fakes, rng), labels)).float()
        real = None
        if self.config.loss == "relativistic":
            with torch.no_grad():
                real = self.discriminator(self._seen(images, rng), labels).float()
        terms = {"d_fake": fake.sigmoid(), "diversity": _distances(fakes), "real_diversity": _distances(images)}
        return {"loss": generator_loss(self.config.loss, fake, real), **{name: values.detach() for name, values in terms.items()}}

    def _both_scores(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the scores of real and of generated images: from one pass, which is faster, unless the images of a batch see each other."""
        if self.config.discriminator_norm == "batch" or self.config.minibatch_std:
            return self.discriminator(real, labels).float(), self.discriminator(fake, labels).float()
        doubled = None if labels is None else labels.repeat(2)
        return self.discriminator(torch.cat([real, fake]), doubled).float().chunk(2)

    def _seen(self, images: Tensor, rng: torch.Generator | None) -> Tensor:
        """Returns what the discriminator gets to see of images."""
        if self.config.instance_noise_std == 0:
            return images
        return images + self.config.instance_noise_std * randn(tuple(images.shape), rng, images)

    def _penalty(self, real: Tensor, fake: Tensor, labels: Tensor | None, rng: torch.Generator | None) -> Tensor | None:
        """Returns the weighted gradient penalties as one number, or None where the config has none."""
        config = self.config
        if config.r1_weight == 0 and config.gradient_penalty_weight == 0:
            return None
        few = slice(max(1, round(config.penalty_share * len(real))))
        judge = lambda images: self.discriminator(images, None if labels is None else labels[few])  # noqa: E731
        r1 = config.r1_weight * real_penalty(judge, real[few]) if config.r1_weight else 0.0
        between = config.gradient_penalty_weight * interpolation_penalty(judge, real[few], fake[few], rng) if config.gradient_penalty_weight else 0.0
        return r1 + between

    @torch.no_grad()
    def sample(
        self, n: int, *, labels: Tensor | None = None, rng: torch.Generator | None = None, truncation: float | None = None
    ) -> Tensor:
        """Returns `n` images in [-1, 1], `[n, C, H, W]`. A conditional model without labels draws each class equally often.

        Args:
            truncation: largest absolute value of a coordinate of z, drawn from the normal distribution between; None sets no bound.
                Source: Brock et al. 2019 (arXiv:1809.11096), sec. 3.1.

        Raises:
            CourseError: no such number, labels or truncation.
        """
        check_num_samples(n)
        require(truncation is None or truncation > 0, "truncation", "more than 0, or None", truncation)
        like = next(self.parameters())
        z = truncated_normal((n, self.config.latent_dim), truncation, rng, like)
        if self.config.conditional and labels is None:
            labels = torch.randint(self.config.num_classes, (n,), generator=rng, device=rng.device if rng else like.device)
        return self.generate(z, labels if labels is None else labels.to(like.device))

    def _check_images(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != self.config.image_shape:
            raise CourseError(f"expected images of shape [B, {', '.join(map(str, self.config.image_shape))}], got {list(images.shape)}.")

    def _checked(self, labels: Tensor | None, n: int) -> Tensor | None:
        if not self.config.conditional:
            check_unconditional(self.family, labels)
        elif labels is None or labels.shape != (n,) or labels.min() < 0 or labels.max() >= self.config.num_classes:
            got = "None" if labels is None else f"shape {list(labels.shape)}, values {labels.tolist()[:5]}"
            raise CourseError(f"labels: expected {n} classes from 0 to {self.config.num_classes - 1}, got {got}; this dcgan is class-conditional.")
        return labels


def truncated_normal(shape: tuple[int, ...], bound: float | None, rng: torch.Generator | None, like: Tensor) -> Tensor:
    """Returns standard normal noise, each value given that it lies between -bound and bound; None sets no bound."""
    if bound is None:
        return randn(shape, rng, like)
    uniforms = torch.rand(shape, generator=rng, dtype=torch.float64, device=rng.device if rng is not None else like.device)
    return truncated_quantiles(uniforms, bound).to(like.device, like.dtype)


def _distances(images: Tensor) -> Tensor:
    """Returns the RMS pixel distance of each image to its neighbour in the batch, `[B]`: the batch is in random order."""
    return (images - images.roll(1, 0)).flatten(1).square().mean(1).sqrt()
