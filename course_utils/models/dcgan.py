"""DCGAN: a generator that turns noise into images, and a discriminator that it learns from.

From top to bottom: the two networks, the losses, the gradient penalties, the alarms that `fit`
prints, and the model that puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from course_utils.base.config import check_settings, require, setting
from course_utils.base.device import rand, randn
from course_utils.base.errors import CourseError, unknown
from course_utils.models.base import Batch, Model, check_num_samples, check_unconditional
from course_utils.models.latents import truncated_quantiles

SMALLEST_SIDE = 4  # pixels
Norm = Literal["none", "batch", "spectral"]


def resolutions(image_size: int) -> list[int]:
    """Returns the sides of the networks' resolutions in pixels, the image's first: 28, 14, 7, 4 or
    64, 32, 16, 8, 4.
    """
    sides = [image_size]
    while sides[-1] > SMALLEST_SIDE:
        sides.append((sides[-1] + 1) // 2)
    return sides


def kernel_size(side: int) -> int:
    """Returns the kernel that halves a side exactly with stride 2 and padding 1: 4 where it is
    even, 3 where it is odd.
    """
    return 4 - side % 2


class Generator(nn.Module):
    """Noise `[B, latent_dim]`, and a class each where there are any, to signed images `[B, C, H,
    W]`.
    """

    def __init__(
        self, latent_dim: int, width: int, image_shape: tuple[int, int, int], num_classes: int = 0
    ) -> None:
        super().__init__()
        image_channels, _, image_size = image_shape
        *larger, side = resolutions(image_size)
        # from the largest hidden resolution to the smallest
        channels = [width * 2**level for level in range(len(larger))]
        self.class_embedding = nn.Embedding(num_classes, latent_dim) if num_classes else None
        layers: list[nn.Module] = [
            nn.Linear(
                latent_dim * (2 if num_classes else 1), channels[-1] * side * side, bias=False
            ),
            nn.Unflatten(1, (channels[-1], side, side)),
        ]
        for target, channels_in, channels_out in zip(
            larger[::-1], channels[::-1], [*channels[-2::-1], image_channels], strict=True
        ):
            up = nn.ConvTranspose2d(
                channels_in, channels_out, kernel_size(target), stride=2, padding=1
            )
            layers += [nn.BatchNorm2d(channels_in), nn.ReLU(), up]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        self.apply(_initialise)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images; labels `[B]` are needed exactly where the generator was built with
        classes.
        """
        if self.class_embedding is not None:
            z = torch.cat([z, self.class_embedding(labels)], dim=1)
        return self.layers(z)


class Discriminator(nn.Module):
    """Signed images `[B, C, H, W]`, and a class each where there are any, to scores `[B]`.

    Source: classes by projection: Miyato & Koyama 2018 (arXiv:1802.05637), eq. 7; `minibatch_std`:
    Karras et al. 2018 (arXiv:1710.10196), sec. 3.
    """

    def __init__(
        self,
        width: int,
        image_shape: tuple[int, int, int],
        norm: Norm,
        num_classes: int = 0,
        minibatch_std: bool = False,
    ) -> None:
        super().__init__()
        image_channels, _, image_size = image_shape
        *larger, side = resolutions(image_size)
        channels = [image_channels, *(width * 2**level for level in range(len(larger)))]
        layers: list[nn.Module] = []
        for level, (source, channels_in, channels_out) in enumerate(
            zip(larger, channels, channels[1:])
        ):
            layers.append(
                _normed(
                    nn.Conv2d(channels_in, channels_out, kernel_size(source), stride=2, padding=1),
                    norm,
                )
            )
            if norm == "batch" and level > 0:  # never on the layer that sees the image
                layers.append(nn.BatchNorm2d(channels_out))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        self.minibatch_std = minibatch_std
        feature_dim = (channels[-1] + minibatch_std) * side * side
        self.head = _normed(nn.Linear(feature_dim, 1), norm)
        self.class_embedding = (
            _normed(nn.Embedding(num_classes, feature_dim), norm) if num_classes else None
        )
        self.apply(_initialise)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns scores; labels `[B]` are needed exactly where the discriminator was built with
        classes.
        """
        features = self.layers(images)
        if self.minibatch_std:
            # one number for the batch: small where all its images look alike
            spread = (features.var(0, correction=0) + 1e-8).sqrt().mean()
            features = torch.cat(
                [features, spread.expand(len(features), 1, *features.shape[2:])], dim=1
            )
        features = features.flatten(1)
        scores = self.head(features).squeeze(1)
        if self.class_embedding is not None:
            scores = scores + (self.class_embedding(labels) * features).sum(1)
        return scores


def _normed(layer: nn.Module, norm: Norm) -> nn.Module:
    return spectral_norm(layer) if norm == "spectral" else layer


def _initialise(module: nn.Module) -> None:
    """Draws the weights of one layer as the DCGAN paper does. Under spectral norm their scale is
    divided out again.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)):
        if hasattr(module, "parametrizations"):
            return
        nn.init.normal_(module.weight, 0.0, 0.02)
        bias = getattr(module, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


GanLoss = Literal["minimax", "non-saturating", "hinge", "wasserstein", "relativistic"]
# the losses in which a real image has a label that can be smoothed
CROSS_ENTROPIES = ("minimax", "non-saturating")


def discriminator_loss(
    loss: GanLoss, real: Tensor, fake: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Returns the loss that the discriminator minimises, `[B]`.

    Args:
        loss: its name. minimax and non-saturating differ only in what the generator minimises.
        real, fake: scores of real and of generated images, `[B]` each.
        label_smoothing: the label of a real image is 1 minus this, the label of a generated one
            stays 0 (one-sided).

    Raises:
        CourseError: no such loss.

    Source: Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1; hinge: Lim & Ye 2017
    (arXiv:1705.02894); wasserstein: Arjovsky et al. 2017 (arXiv:1701.07875); relativistic:
    Jolicoeur-Martineau 2019 (arXiv:1807.00734), eq. 6; smoothing: Salimans et al. 2016
    (arXiv:1606.03498), sec. 3.4.
    """
    if loss in CROSS_ENTROPIES:
        # softplus(r) = softplus(-r) + r
        return F.softplus(-real) + label_smoothing * real + F.softplus(fake)
    if loss == "hinge":
        return F.relu(1 - real) + F.relu(1 + fake)
    if loss == "wasserstein":
        return fake - real
    if loss == "relativistic":
        return F.softplus(fake - real)
    raise unknown("GAN loss", loss, GanLoss.__args__)


def generator_loss(loss: GanLoss, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """Returns the loss that the generator minimises, `[B]`.

    Args:
        loss: its name.
        fake: scores of generated images, `[B]`.
        real: scores of real images, `[B]`; only the relativistic loss looks at them.

    Raises:
        CourseError: no such loss.

    Source: as in `discriminator_loss`; non-saturating: Goodfellow et al. 2014 (arXiv:1406.2661),
    sec. 3.
    """
    if loss == "minimax":
        return -F.softplus(fake)  # log(1 - D(G(z))): flat exactly where the generator is worst
    if loss == "non-saturating":
        return F.softplus(-fake)  # -log D(G(z))
    if loss in ("hinge", "wasserstein"):
        return -fake
    if loss == "relativistic":
        assert real is not None, "the relativistic loss looks at real scores too"
        return F.softplus(real - fake)
    raise unknown("GAN loss", loss, GanLoss.__args__)


Critic = Callable[[Tensor], Tensor]  # images [B, C, H, W] to scores [B]


def real_penalty(critic: Critic, real: Tensor) -> Tensor:
    """Returns half of the squared gradient norm at real images, averaged over the batch; the R1
    penalty for weight 1.

    Source: Mescheder et al. 2018 (arXiv:1801.04406), eq. 9.
    """
    return 0.5 * _gradients(critic, real).square().sum(1).mean()


def interpolation_penalty(
    critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator | None = None
) -> Tensor:
    """Returns the mean of (gradient norm - 1)^2 at points drawn uniformly between real and
    generated images, for weight 1.

    Source: Gulrajani et al. 2017 (arXiv:1704.00028), eq. 3.
    """
    share = rand((len(real), *[1] * (real.ndim - 1)), rng, real.device, dtype=real.dtype)
    # the root has no slope at 0
    norms = _gradients(critic, fake + share * (real - fake)).square().sum(1).add(1e-12).sqrt()
    return (norms - 1).square().mean()


def _gradients(critic: Critic, images: Tensor) -> Tensor:
    """Returns the gradient of each image's score with respect to its pixels, `[B, C * H * W]`,
    itself differentiable.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        (gradients,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return gradients.flatten(1)


COLLAPSED = 0.6  # of the distance between real images
WON = 0.995  # of the pairs of a real and a generated image
GRACE_EPOCHS = 1  # an untrained generator's images are all alike too


def gan_alarms(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a line for each failure that the last epoch of a GAN's history shows; none while it
    goes well.

    Collapse: two generated images are less than 60 % as far apart as two real ones. A winning
    discriminator: it tells more than 99.5 % of pairs of a real and a generated image apart, so that
    the generator learns little from it. The first epoch is not judged.

    Args:
        rows: of a history. Test rows count, which show the end of an epoch; where there are none,
            the training's means do.
    """
    last = max((row["epoch"] for row in rows), default=0)
    if last <= GRACE_EPOCHS:
        return []
    now = [row for row in rows if row["epoch"] == last]
    split = "test" if any(row["split"] == "test" for row in now) else "train"
    terms = {name: value for row in now if row["split"] == split for name, value in row.items()}
    found = []
    if terms["diversity"] < COLLAPSED * terms["real_diversity"]:
        share = terms["diversity"] / terms["real_diversity"]
        found.append(
            f"epoch {last}: mode collapse: generated images differ {share:.0%} as much as real ones"
            " do; model.r1_weight helps."
        )
    if terms["separation"] > WON:
        told = f"{terms['separation']:.1%}"
        found.append(
            f"epoch {last}: the discriminator has won: it tells {told} of pairs apart;"
            " model.r1_weight helps."
        )
    return found


@dataclass(frozen=True)
class DCGANConfig:
    """Settings of a DCGAN, explained beside each; the defaults are the course's laptop model."""

    image_channels: int = setting(
        1, "channels of the images: 1 is grey, 3 is colour", choices=(1, 3)
    )
    image_size: int = setting(28, "side of the images", unit="pixels", above=SMALLEST_SIDE)
    num_classes: int = setting(10, "classes of the images, used where conditional", minimum=1)
    conditional: bool = setting(True, "whether both networks are told the class")
    latent_dim: int = setting(64, "dimensions of the noise z", minimum=1, sensible=(1, 256))
    # Both widths are doubled at each lower resolution.
    generator_width: int = setting(
        32,
        "channels of the generator's last hidden layer",
        unit="channels",
        minimum=1,
        sensible=(4, 96),
    )
    discriminator_width: int = setting(
        32,
        "channels of the discriminator's first layer",
        unit="channels",
        minimum=1,
        sensible=(4, 96),
    )
    loss: GanLoss = setting("non-saturating", "what the two networks minimise")
    # spectral: Miyato et al. 2018 (arXiv:1802.05957); batch: the DCGAN paper
    discriminator_norm: Norm = setting("none", "normalisation in the discriminator")
    # Two time-scales: Heusel et al. 2017 (arXiv:1706.08500)
    discriminator_lr_factor: float = setting(
        1.0,
        "the discriminator's learning rate",
        unit="of the generator's",
        above=0,
        sensible=(0.02, 50.0),
    )
    # Of half the squared gradient: Mescheder et al. 2018 (arXiv:1801.04406), eq. 9
    r1_weight: float = setting(
        0.1, "weight of the penalty on gradients at real images", minimum=0, sensible=(0.0, 100.0)
    )
    # Of (|gradient| - 1)^2: Gulrajani et al. 2017 (arXiv:1704.00028), who take 10
    gradient_penalty_weight: float = setting(
        0.0,
        "weight of the penalty on gradients between real and fake",
        minimum=0,
        sensible=(0.0, 100.0),
    )
    # "Lazy" regularisation (Karras et al. 2020), but at every step
    penalty_share: float = setting(
        0.0625,
        "share of a batch on which penalties are computed",
        above=0,
        maximum=1,
        sensible=(0.01, 1.0),
    )
    # Sonderby et al. 2017 (arXiv:1610.04490)
    instance_noise_std: float = setting(
        0.0,
        "noise on all that the discriminator sees",
        unit="pixels in [-1, 1]",
        minimum=0,
        sensible=(0.0, 2.0),
    )
    minibatch_std: bool = setting(
        False, "whether the discriminator sees how much the images of a batch differ"
    )
    label_smoothing: float = setting(
        0.0,
        "by how much the label of a real image is less than 1",
        minimum=0,
        below=0.5,
        sensible=(0.0, 0.4),
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.label_smoothing > 0:
            expected = f"{' or '.join(CROSS_ENTROPIES)} where label_smoothing is above 0"
            require(self.loss in CROSS_ENTROPIES, "loss", expected, self.loss)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size


class DCGAN(Model):
    """Two parts with losses of their own, updated in turn: the discriminator first, then the
    generator.
    """

    family = "dcgan"
    config: DCGANConfig

    def __init__(self, config: DCGANConfig) -> None:
        super().__init__(config)
        num_classes = config.num_classes if config.conditional else 0
        self.generator = Generator(
            config.latent_dim, config.generator_width, config.image_shape, num_classes
        )
        self.discriminator = Discriminator(
            config.discriminator_width,
            config.image_shape,
            config.discriminator_norm,
            num_classes,
            config.minibatch_std,
        )

    @property
    def takes_labels(self) -> bool:
        """Whether the networks are told the class."""
        return self.config.conditional

    @property
    def needs_labels(self) -> bool:
        """A generator that is told the class has not learned how frequent each class is."""
        return self.config.conditional

    def trainable_parts(self) -> dict[str, nn.Module]:
        """Returns discriminator and generator, in the order in which they are updated."""
        return {"discriminator": self.discriminator, "generator": self.generator}

    def learning_rate_factors(self) -> dict[str, float]:
        """Returns 1 for the generator and the config's factor for the discriminator."""
        return {"discriminator": self.config.discriminator_lr_factor, "generator": 1.0}

    def alarms(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Returns the warnings of `gan_alarms`: mode collapse, or a discriminator that has won."""
        return gan_alarms(rows)

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns signed images `[B, C, H, W]` for noise `[B, latent_dim]`, and labels `[B]` of a
        conditional model.

        Raises:
            CourseError: noise of another shape, or labels that are missing, out of range or not
                wanted.
        """
        if z.ndim != 2 or z.shape[1] != self.config.latent_dim:
            raise CourseError(
                f"expected noise of shape [B, {self.config.latent_dim}], got {list(z.shape)}."
            )
        return self.generator(z, self._checked(labels, len(z)))

    def scores(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the discriminator's scores `[B]` for signed images, higher for what looks real; a
        logit where the loss is a cross-entropy.

        Raises:
            CourseError: images of another shape, or labels that are missing, out of range or not
                wanted.
        """
        self._check_images(images)
        return self.discriminator(images, self._checked(labels, len(images)))

    def loss(
        self, batch: Batch, part: str, *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Returns the terms `[B]` of one part's loss.

        Both parts: `loss` and `d_fake`, the sigmoid of the score of a generated image. The
        discriminator also: `d_real`; `separation`, 1 where a real image scores higher than a
        generated one; and `penalty`. The generator also: `diversity`, the RMS distance between two
        of its images in signed pixels, and `real_diversity`, the same of real images.

        The discriminator's `d_fake` is measured just after a generator step and the generator's
        just after a discriminator step.
        """
        self._check_images(batch.images)
        labels = batch.labels if self.config.conditional else None
        z = randn((len(batch.images), self.config.latent_dim), rng, batch.images)
        if part == "discriminator":
            return self._discriminator_terms(batch.images, z, labels, rng)
        return self._generator_terms(batch.images, z, labels, rng)

    def _discriminator_terms(
        self, images: Tensor, z: Tensor, labels: Tensor | None, rng: torch.Generator | None
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            fakes = self.generator(z, labels)
        real_seen, fake_seen = self._seen(images, rng), self._seen(fakes, rng)
        real, fake = self._both_scores(real_seen, fake_seen, labels)
        loss = discriminator_loss(self.config.loss, real, fake, self.config.label_smoothing)
        penalty = self._penalty(real_seen, fake_seen, labels, rng)
        if penalty is not None:
            loss = loss + penalty
        terms = {
            "d_real": real.sigmoid(),
            "d_fake": fake.sigmoid(),
            "separation": (real > fake).float(),
        }
        terms["penalty"] = torch.zeros_like(real) if penalty is None else penalty.expand_as(real)
        return {"loss": loss, **{name: values.detach() for name, values in terms.items()}}

    def _generator_terms(
        self, images: Tensor, z: Tensor, labels: Tensor | None, rng: torch.Generator | None
    ) -> dict[str, Tensor]:
        return self._generator_terms_of(self.generator(z, labels), images, labels, rng)

    def _generator_terms_of(
        self, fakes: Tensor, images: Tensor, labels: Tensor | None, rng: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Returns the generator's terms for images that it has drawn."""
        # The detached copy of its weights is a critic that learns nothing here, which also saves
        # their gradients' cost.
        fixed = {
            name: parameter.detach() for name, parameter in self.discriminator.named_parameters()
        }
        fake = functional_call(self.discriminator, fixed, (self._seen(fakes, rng), labels)).float()
        real = None
        if self.config.loss == "relativistic":
            with torch.no_grad():
                real = self.discriminator(self._seen(images, rng), labels).float()
        terms = {
            "d_fake": fake.sigmoid(),
            "diversity": _distances(fakes),
            "real_diversity": _distances(images),
        }
        return {
            "loss": generator_loss(self.config.loss, fake, real),
            **{name: values.detach() for name, values in terms.items()},
        }

    def _both_scores(
        self, real: Tensor, fake: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Returns the scores of real and of generated images: from one pass, which is faster,
        unless the images of a batch see each other.
        """
        if self.config.discriminator_norm == "batch" or self.config.minibatch_std:
            return (
                self.discriminator(real, labels).float(),
                self.discriminator(fake, labels).float(),
            )
        doubled = None if labels is None else labels.repeat(2)
        return self.discriminator(torch.cat([real, fake]), doubled).float().chunk(2)

    def _seen(self, images: Tensor, rng: torch.Generator | None) -> Tensor:
        """Returns images as the discriminator sees them."""
        if self.config.instance_noise_std == 0:
            return images
        return images + self.config.instance_noise_std * randn(tuple(images.shape), rng, images)

    def _penalty(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, rng: torch.Generator | None
    ) -> Tensor | None:
        """Returns the weighted gradient penalties as one number, or None where the config has
        none.
        """
        config = self.config
        if config.r1_weight == 0 and config.gradient_penalty_weight == 0:
            return None
        few = slice(max(1, round(config.penalty_share * len(real))))

        def critic(images: Tensor) -> Tensor:
            return self.discriminator(images, None if labels is None else labels[few])

        r1 = between = real.new_zeros(())
        if config.r1_weight:
            r1 = config.r1_weight * real_penalty(critic, real[few])
        if config.gradient_penalty_weight:
            penalty = interpolation_penalty(critic, real[few], fake[few], rng)
            between = config.gradient_penalty_weight * penalty
        return r1 + between

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        labels: Tensor | None = None,
        rng: torch.Generator | None = None,
        truncation: float | None = None,
    ) -> Tensor:
        """Returns `n` images in [-1, 1], `[n, C, H, W]`. A conditional model without labels draws
        each class equally often.

        Args:
            truncation: largest absolute value of a coordinate of z, drawn from the normal
                distribution between; None sets no bound. Source: Brock et al. 2019
                (arXiv:1809.11096), sec. 3.1.

        Raises:
            CourseError: no such number, labels or truncation.
        """
        check_num_samples(n)
        require(
            truncation is None or truncation > 0, "truncation", "more than 0, or None", truncation
        )
        like = next(self.parameters())
        z = truncated_normal((n, self.config.latent_dim), truncation, rng, like)
        if self.config.conditional and labels is None:
            labels = torch.randint(
                self.config.num_classes,
                (n,),
                generator=rng,
                device=rng.device if rng else like.device,
            )
        return self.generate(z, labels if labels is None else labels.to(like.device))

    def _check_images(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != self.config.image_shape:
            raise CourseError(
                f"expected images of shape [B, {', '.join(map(str, self.config.image_shape))}], got"
                f" {list(images.shape)}."
            )

    def _checked(self, labels: Tensor | None, n: int) -> Tensor | None:
        if not self.config.conditional:
            check_unconditional(self.family, labels)
        elif (
            labels is None
            or labels.shape != (n,)
            or labels.min() < 0
            or labels.max() >= self.config.num_classes
        ):
            got = (
                "None"
                if labels is None
                else f"shape {list(labels.shape)}, values {labels.tolist()[:5]}"
            )
            raise CourseError(
                f"labels: expected {n} classes from 0 to {self.config.num_classes - 1}, got {got};"
                " this dcgan is class-conditional."
            )
        return labels


def truncated_normal(
    shape: tuple[int, ...], bound: float | None, rng: torch.Generator | None, like: Tensor
) -> Tensor:
    """Returns standard normal noise, each value given that it lies between -bound and bound; None
    sets no bound.
    """
    if bound is None:
        return randn(shape, rng, like)
    uniforms = torch.rand(
        shape,
        generator=rng,
        dtype=torch.float64,
        device=rng.device if rng is not None else like.device,
    )
    return truncated_quantiles(uniforms, bound).to(like.device, like.dtype)


def _distances(images: Tensor) -> Tensor:
    """Returns the RMS pixel distance of each image to its neighbour in the batch, `[B]`: the batch
    is in random order.
    """
    return (images - images.roll(1, 0)).flatten(1).square().mean(1).sqrt()
