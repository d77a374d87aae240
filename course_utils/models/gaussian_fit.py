"""The class-conditional Gaussian in closed form: the most likely parameters from means and covariances, without a training loop.

Source: Tipping & Bishop 1999, Probabilistic Principal Component Analysis, J. R. Stat. Soc. B 61(3), eqs. 7-8; covariances of small classes
are drawn towards the mean covariance of all classes as in Friedman 1989, Regularized Discriminant Analysis, JASA 84(405), eq. 14-18.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.device import pick_device
from course_utils.errors import CourseError
from course_utils.images import uint8_to_signed
from course_utils.models.gaussian import GREY_LEVEL, Gaussian, GaussianConfig

SMALLEST_VARIANCE = 0.01**2  # of a direction in which no image differed from its class, in signed pixel units: about one grey level


@torch.no_grad()
def fit_gaussian(images: Tensor, labels: Tensor, num_classes: int, *, latent_dim: int = 40, prior_images: float = 100.0) -> Gaussian:
    """Returns the class-conditional Gaussian that fits labelled images best, on the course's device and in evaluation mode.

    A covariance of 784 pixels cannot be had from ten images. So each class adds to its own images `prior_images` imaginary ones, which vary
    as the images of all classes do around their class means. With 0 this is the maximum of the likelihood.

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
        raise CourseError(f"expected at least one image of each of {num_classes} classes, got {counts.tolist()} images a class; add images.")
    channels, size, width = images.shape[1:]
    if size != width:
        raise CourseError(f"expected square images, got {size} by {width} pixels.")
    model = Gaussian(GaussianConfig(channels, size, num_classes, latent_dim)).to(pick_device())
    groups = [uint8_to_signed(images[labels == label]).flatten(1).double().to(model.device) for label in range(num_classes)]
    means = [group.mean(0) for group in groups]
    scatters = [(group - mean).T @ (group - mean) for group, mean in zip(groups, means)]  # [D, D] each
    pooled = torch.stack(scatters).sum(0) / len(images)
    for label, (mean, scatter) in enumerate(zip(means, scatters)):
        covariance = (scatter + prior_images * pooled) / (counts[label] + prior_images)
        factors, variance = principal_factors(covariance, latent_dim)
        model.mean[label], model.factors[label], model.log_noise_std[label] = mean, factors, 0.5 * variance.log()
    model.class_logits.copy_(torch.log(counts / counts.sum()))
    return model.eval()


def principal_factors(covariance: Tensor, latent_dim: int) -> tuple[Tensor, Tensor]:
    """Returns the most likely factors `[D, latent_dim]` and noise variance for a covariance `[D, D]`.

    The factors are its leading eigenvectors, each as long as the root of its eigenvalue less the noise variance; the noise variance is the
    mean of the other eigenvalues. The noise that gives grey levels a volume is added, as in the training loss.
    """
    num_pixels = len(covariance)
    values, vectors = torch.linalg.eigh(covariance)  # in rising order
    leading, directions = values[-latent_dim:], vectors[:, -latent_dim:]
    variance = (covariance.trace() - leading.sum()) / (num_pixels - latent_dim)
    variance = (variance + GREY_LEVEL**2 / 12).clamp(min=SMALLEST_VARIANCE)
    return directions * (leading + GREY_LEVEL**2 / 12 - variance).clamp(min=0).sqrt(), variance
