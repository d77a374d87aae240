"""One Gaussian a class, with an exact density: p(x | y), p(x), p(y | x), missing pixels and
samples, all without approximation.

Each class is a probabilistic principal component analysis: x = mean + factors z + noise, z ~ N(0,
I), so its covariance is factors factors^T + noise_std^2 I. `fit_gaussian` fits it in closed form;
the training loop reaches the same likelihood by steps.

Source: Tipping & Bishop 1999, Probabilistic Principal Component Analysis, J. R. Stat. Soc. B 61(3),
eqs. 3-7; noise on grey levels (a density needs continuous pixels): Theis, van den Oord & Bethge
2016 (arXiv:1511.01844), sec. 3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils.base.config import check_settings, require, setting
from course_utils.base.device import make_rng, pick_device, rand, randn
from course_utils.base.errors import CourseError
from course_utils.base.images import uint8_to_signed
from course_utils.models.base import Batch, Model, check_num_samples

GREY_LEVEL = 2 / 255  # distance of two neighbouring grey levels of signed pixels


@dataclass(frozen=True)
class GaussianConfig:
    """Settings of the class-conditional Gaussian, explained beside each."""

    image_channels: int = setting(
        1, "channels of the images: 1 is grey, 3 is colour", choices=(1, 3)
    )
    image_size: int = setting(28, "side of the images", unit="pixels", minimum=4)
    num_classes: int = setting(10, "classes of the images", minimum=1)
    latent_dim: int = setting(
        40, "directions of variation that a class has; all others share one variance", minimum=1
    )
    start_noise_std: float = setting(
        0.1, "standard deviation of the noise before training", unit="pixels in [-1, 1]", above=0
    )

    def __post_init__(self) -> None:
        check_settings(self)
        pixels = math.prod(self.image_shape)
        expected = f"from 1 to {pixels - 1}, one less than the number of pixels"
        require(self.latent_dim < pixels, "latent_dim", expected, self.latent_dim)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.image_channels, self.image_size, self.image_size


class Gaussian(Model):
    """Models p(x, y) = p(y) p(x | y) with a Gaussian p(x | y) for each class; p(x) is their
    mixture. Densities are those of signed pixels.
    """

    family = "gaussian"
    has_likelihood = True
    config: GaussianConfig

    def __init__(self, config: GaussianConfig) -> None:
        super().__init__(config)
        num_classes, num_pixels = config.num_classes, math.prod(config.image_shape)
        self.class_logits = nn.Parameter(torch.zeros(num_classes))
        self.mean = nn.Parameter(torch.zeros(num_classes, num_pixels))
        self.factors = nn.Parameter(0.02 * torch.randn(num_classes, num_pixels, config.latent_dim))
        self.log_noise_std = nn.Parameter(
            torch.full((num_classes,), math.log(config.start_noise_std))
        )

    @property
    def takes_labels(self) -> bool:
        """Every class has a Gaussian of its own; none is needed, for it learned how frequent they
        are.
        """
        return True

    def log_likelihoods(self, images: Tensor, visible: Tensor | None = None) -> Tensor:
        """Returns log p(x | y) in nats for every class y, `[B, num_classes]`, of the visible pixels
        alone where a mask is given.

        Args:
            images: signed, `[B, C, H, W]`; what hidden pixels hold plays no role.
            visible: bool, `[H, W]` or `[C, H, W]`, the same for all images; None: every pixel.
        """
        pixels, shown = self._flat(images, visible), self._pixels_of(visible)
        # half precision has no Cholesky factorisation
        with torch.autocast(images.device.type, enabled=False):
            return torch.stack(
                [self._latent(pixels, shown, label)[2] for label in range(self.config.num_classes)],
                1,
            )

    def log_joint(self, images: Tensor, visible: Tensor | None = None) -> Tensor:
        """Returns log p(x, y) = log p(x | y) + log p(y) for every class, `[B, num_classes]`."""
        return self.log_likelihoods(images, visible) + self.class_logits.log_softmax(0)

    def log_prob(self, images: Tensor, visible: Tensor | None = None) -> Tensor:
        """Returns log p(x) in nats, `[B]`: the sum of p(x, y) over the classes."""
        return self.log_joint(images, visible).logsumexp(1)

    @torch.no_grad()
    def probabilities(self, images: Tensor, visible: Tensor | None = None) -> Tensor:
        """Returns p(y | x) by Bayes' rule, `[B, num_classes]`, rows adding up to 1."""
        return self.log_joint(images, visible).softmax(1)

    def loss(
        self, batch: Batch, part: str = "model", *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Returns `loss` = -log p(x, y), its parts `negative_log_likelihood` (-log p(x)) and
        `cross_entropy` (-log p(y | x)), and `accuracy`.

        Grey levels are discrete; uniform noise of one level, from `rng`, gives each of them a
        volume. Otherwise a pixel that never changes would have an infinite density.
        """
        noise = rand(tuple(batch.images.shape), rng, batch.images.device)
        joint = self.log_joint(batch.images + GREY_LEVEL * (noise - 0.5))
        own = joint.gather(1, batch.labels[:, None]).squeeze(1)
        marginal = joint.logsumexp(1)
        return {
            "loss": -own,
            "negative_log_likelihood": -marginal.detach(),
            "cross_entropy": (marginal - own).detach(),
            "accuracy": (joint.argmax(1) == batch.labels).float(),
        }

    @torch.no_grad()
    def draw_labels(self, n: int, *, rng: torch.Generator | None = None) -> Tensor:
        """Returns classes drawn from p(y), int64 `[n]`."""
        return _draw_classes(self.class_logits.softmax(0).expand(n, -1), rng)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        labels: Tensor | None = None,
        rng: torch.Generator | None = None,
        pixel_noise: bool = True,
    ) -> Tensor:
        """Returns `n` draws `[n, C, H, W]` of p(x), or of p(x | y) where `labels` `[n]` are given,
        cut off at -1 and 1.

        A Gaussian does not know that grey levels end: `draw` returns the same values before they
        are cut off.

        Args:
            n: number of images.
            labels: int64 classes; None draws them from p(y).
            rng: source of all randomness.
            pixel_noise: False leaves out the independent noise of the pixels and returns mean +
                factors z.
        """
        return self.draw(n, labels=labels, rng=rng, pixel_noise=pixel_noise).clamp(-1, 1)

    @torch.no_grad()
    def draw(
        self,
        n: int,
        *,
        labels: Tensor | None = None,
        rng: torch.Generator | None = None,
        pixel_noise: bool = True,
    ) -> Tensor:
        """Returns `n` exact draws `[n, C, H, W]`, which may leave [-1, 1]; arguments as in
        `sample`.
        """
        check_num_samples(n)
        if labels is None:
            labels = self.draw_labels(n, rng=rng)
        elif labels.shape != (n,) or labels.min() < 0 or labels.max() >= self.config.num_classes:
            raise CourseError(
                f"labels: expected {n} classes from 0 to {self.config.num_classes - 1}, got"
                f" {labels.tolist()}."
            )
        labels = labels.to(self.device)
        z = randn((n, self.config.latent_dim), rng, self.mean)
        pixels = self.mean[labels] + torch.bmm(self.factors[labels], z[:, :, None])[:, :, 0]
        if pixel_noise:
            pixels = pixels + self.log_noise_std[labels].exp()[:, None] * randn(
                tuple(pixels.shape), rng, self.mean
            )
        return pixels.view(n, *self.config.image_shape)

    @torch.no_grad()
    def fill_in(
        self,
        images: Tensor,
        visible: Tensor,
        *,
        rng: torch.Generator | None = None,
        pixel_noise: bool = False,
    ) -> Tensor:
        """Returns the images with their hidden pixels filled in, `[B, C, H, W]`, cut off at -1 and
        1: the mean of p(hidden | visible), or a draw.

        The latent given the visible pixels is Gaussian: its precision is I + F^T F / s^2 and its
        mean solves that matrix against F^T (x - mean) / s^2, with F the rows of the factors that
        belong to visible pixels and s the noise.

        Args:
            images: signed; what hidden pixels hold plays no role.
            visible: bool, `[H, W]` or `[C, H, W]`.
            rng: draws the class from p(y | visible), then the latent; None returns the mean over
                both.
            pixel_noise: with `rng`: also draw the independent noise of the hidden pixels.
        """
        pixels, shown = self._flat(images, visible), self._pixels_of(visible)
        weights = self.probabilities(images, visible)  # [B, num_classes]
        if rng is not None:
            weights = nn.functional.one_hot(
                _draw_classes(weights, rng), self.config.num_classes
            ).to(weights)
        filled = torch.zeros(
            len(images), self.mean.shape[1], dtype=self.mean.dtype, device=self.device
        )
        for label in range(self.config.num_classes):
            z, cholesky, _ = self._latent(pixels, shown, label)
            if rng is not None:
                z = (
                    z
                    + torch.linalg.solve_triangular(
                        cholesky.T, randn(tuple(z.shape), rng, z).T, upper=True
                    ).T
                )
            filled += weights[:, label, None] * (self.mean[label] + z @ self.factors[label].T)
        if rng is not None and pixel_noise:
            filled += (weights @ self.log_noise_std.exp()[:, None]) * randn(
                tuple(filled.shape), rng, filled
            )
        filled[:, shown] = pixels
        return filled.view_as(images).clamp(-1, 1)

    def _latent(self, pixels: Tensor, shown: Tensor, label: int) -> tuple[Tensor, Tensor, Tensor]:
        """Returns for one class: mean of p(z | visible) `[B, L]`, Cholesky factor of its precision
        `[L, L]`, log p(visible | y) `[B]`.
        """
        factors, variance = self.factors[label][shown], torch.exp(2 * self.log_noise_std[label])
        centred = pixels - self.mean[label][shown]  # [B, visible pixels]
        identity = torch.eye(factors.shape[1], dtype=factors.dtype, device=factors.device)
        cholesky = torch.linalg.cholesky(identity + factors.T @ factors / variance)
        # [L, B]
        whitened = torch.linalg.solve_triangular(
            cholesky, factors.T @ centred.T / variance, upper=False
        )
        z = torch.linalg.solve_triangular(cholesky.T, whitened, upper=True).T
        # Woodbury: the inverse and the determinant of a D x D covariance from those of an L x L
        # matrix.
        squared = centred.square().sum(1) / variance - whitened.square().sum(0)
        log_determinant = (
            centred.shape[1] * torch.log(variance) + 2 * cholesky.diagonal().log().sum()
        )
        return (
            z,
            cholesky,
            -0.5 * (squared + log_determinant + centred.shape[1] * math.log(2 * math.pi)),
        )

    def _pixels_of(self, visible: Tensor | None) -> Tensor:
        """Returns the mask as bool `[D]`."""
        shape = self.config.image_shape
        if visible is None:
            return torch.ones(math.prod(shape), dtype=torch.bool, device=self.device)
        if visible.dtype != torch.bool or tuple(visible.shape) not in (shape, shape[1:]):
            got = f"{visible.dtype} of shape {list(visible.shape)}"
            raise CourseError(
                f"visible: expected a bool mask of shape {list(shape[1:])} or {list(shape)}, True"
                f" where a pixel is seen, got {got}."
            )
        return visible.to(self.device).expand(shape).flatten()

    def _flat(self, images: Tensor, visible: Tensor | None) -> Tensor:
        """Returns the visible pixels as `[B, number of visible pixels]`, in the dtype of the
        parameters.
        """
        if tuple(images.shape[1:]) != self.config.image_shape:
            raise CourseError(
                f"expected images of shape [B, {', '.join(map(str, self.config.image_shape))}], got"
                f" {list(images.shape)}."
            )
        return images.flatten(1)[:, self._pixels_of(visible)].to(self.mean.dtype)


def _draw_classes(probabilities: Tensor, rng: torch.Generator | None) -> Tensor:
    """Returns one class for each row of `[B, num_classes]`, `[B]`, drawn where `rng` lives."""
    device = probabilities.device if rng is None else rng.device
    return (
        torch.multinomial(probabilities.to(device), 1, generator=rng)
        .squeeze(1)
        .to(probabilities.device)
    )


# of a direction in which no image differed from its class, in signed pixel units: about one grey
# level
SMALLEST_VARIANCE = 0.01**2


@torch.no_grad()
def fit_class_gaussians(
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    latent_dim: int = 40,
    prior_images: float = 100.0,
) -> Gaussian:
    """Returns the class-conditional Gaussian that fits labelled images best, on the course's device
    and in evaluation mode.

    A covariance of 784 pixels cannot be had from ten images. So each class adds to its own images
    `prior_images` imaginary ones, which vary as the images of all classes do around their class
    means. With 0 this is the maximum of the likelihood.

    Images of more than `MAX_DIRECTIONS` pixels are looked at in the directions that so many random
    ones of them span; that is exact for fewer images, and keeps the time within seconds for more.

    Args:
        images: uint8, `[N, C, H, H]`, at least one a class.
        labels: int64, `[N]`.
        num_classes: number of classes.
        latent_dim: directions of variation of a class.
        prior_images: weight of the shared covariance, in images; 0 or more.

    Raises:
        CourseError: a class without images.
    """
    require(prior_images >= 0, "prior_images", "0 or more", prior_images)
    counts = torch.bincount(labels, minlength=num_classes)
    if len(counts) != num_classes or counts.min() == 0:
        raise CourseError(
            f"expected at least one image of each of {num_classes} classes, got {counts.tolist()}"
            " images a class; add images."
        )
    channels, size, width = images.shape[1:]
    if size != width:
        raise CourseError(f"expected square images, got {size} by {width} pixels.")
    model = Gaussian(GaussianConfig(channels, size, num_classes, latent_dim)).to(pick_device())
    groups = [
        uint8_to_signed(images[labels == label]).flatten(1).double().to(model.device)
        for label in range(num_classes)
    ]
    means = [group.mean(0) for group in groups]
    centred = [group - mean for group, mean in zip(groups, means)]
    basis = _spanned_directions(torch.cat(centred))
    totals = torch.stack([rows.square().sum() for rows in centred])  # of all directions
    if basis is not None:
        centred = [rows @ basis for rows in centred]
    scatters = [rows.T @ rows for rows in centred]  # each [D, D], or [M, M] in the basis
    pooled, pooled_total = torch.stack(scatters).sum(0) / len(images), totals.sum() / len(images)
    for label, (mean, scatter, total) in enumerate(zip(means, scatters, totals)):
        weight = counts[label] + prior_images
        factors, variance = principal_factors(
            (scatter + prior_images * pooled) / weight,
            latent_dim,
            num_pixels=len(mean),
            total_variance=(total + prior_images * pooled_total) / weight,
        )
        model.mean[label], model.log_noise_std[label] = mean, 0.5 * variance.log()
        model.factors[label] = factors if basis is None else basis @ factors
    model.class_logits.copy_(torch.log(counts / counts.sum()))
    return model.eval()


MAX_DIRECTIONS = 784  # an eigendecomposition takes the cube of it: a second, and 27 for 2,352


def _spanned_directions(rows: Tensor) -> Tensor | None:
    """Returns an orthonormal basis `[D, M]` of the space that up to `MAX_DIRECTIONS` random rows of
    `[N, D]` span; None where D is no larger.
    """
    if rows.shape[1] <= MAX_DIRECTIONS:
        return None
    chosen = torch.randperm(len(rows), generator=make_rng(0))[:MAX_DIRECTIONS]
    return torch.linalg.qr(rows[chosen].T).Q


def principal_factors(
    covariance: Tensor,
    latent_dim: int,
    *,
    num_pixels: int | None = None,
    total_variance: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the most likely factors `[D, latent_dim]` and noise variance for a covariance `[D,
    D]`.

    The factors are its leading eigenvectors, each as long as the root of its eigenvalue less the
    noise variance; the noise variance is the mean of the other eigenvalues. The noise that gives
    grey levels a volume is added, as in the training loss.

    Args:
        num_pixels, total_variance: of the images, where the covariance is that of only D of their
            directions; None: D and its trace.
    """
    num_pixels = num_pixels or len(covariance)
    total_variance = covariance.trace() if total_variance is None else total_variance
    values, vectors = torch.linalg.eigh(covariance)  # in rising order
    leading, directions = values[-latent_dim:], vectors[:, -latent_dim:]
    variance = (total_variance - leading.sum()) / (num_pixels - latent_dim)
    variance = (variance + GREY_LEVEL**2 / 12).clamp(min=SMALLEST_VARIANCE)
    factors = directions * (leading + GREY_LEVEL**2 / 12 - variance).clamp(min=0).sqrt()
    # fewer directions than asked for: the others do not vary
    return nn.functional.pad(factors, (latent_dim - factors.shape[1], 0)), variance
