"""How strange each model finds an image, one number an image, higher is stranger: what outlier
detection compares with a threshold.

Source: likelihoods, and how they fail on images that are simpler than the training set: Nalisnick
et al. 2019 (arXiv:1810.09136); denoising error: Graham et al. 2023 (arXiv:2211.07740); the
classifier's doubt: Hendrycks & Gimpel 2017 (arXiv:1610.02136).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_utils.base.device import ImageNoise, make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_uint8, uint8_to_signed
from course_utils.models.base import Model
from course_utils.training.fit import loss_terms

if TYPE_CHECKING:
    from course_utils.models.classifier import Classifier
    from course_utils.models.diffusion.model import Diffusion

IMAGES_PER_CALL = 500
TIMES = (0.2, 0.4, 0.6, 0.8)  # of the noise that is added to look how well it is removed
# the score of an image so far off that float32 cannot hold its nats, such as inverted digits in a
# VAE
STRANGEST = torch.finfo(torch.float32).max


def outlier_score(model: Model, images: Tensor, *, seed: int = 0) -> Tensor:
    """Returns how strange a model finds images, `[N]` float64 on the CPU: equal seeds give equal
    noise, so that images compare.

    A vae: -ELBO in nats; a gaussian: -log p(x) in nats; a diffusion model: `denoising_error`,
    without a label; a classifier: 1 - its largest p(label | x).

    Args:
        model: of one of these families, in evaluation mode.
        images: uint8 `[N, C, H, W]`.
        seed: of the noise.

    Raises:
        CourseError: a family that has no opinion of a given image, such as a GAN.
    """
    check_uint8(images)
    if model.family not in SCORES:
        raise CourseError(
            f"a {model.family} says nothing of how likely a given image is; expected one of"
            f" {', '.join(SCORES)}."
        )
    return SCORES[model.family](model, images, seed)


@torch.no_grad()
def denoising_error(
    model: Diffusion, images: Tensor, *, times: Sequence[float] = TIMES, seed: int = 0
) -> Tensor:
    """Returns the mean squared error of the noise that a diffusion model sees in noised images,
    over pixels and times, `[N]` float64 on the CPU.

    Args:
        model: a diffusion model; it gets no label.
        images: uint8 `[N, C, H, W]`.
        times: of the noise, each between 0 and 1; every image gets the same noise whatever comes
            with it.
        seed: of the noise.
    """
    if len(times) == 0 or not all(0 < t < 1 for t in times):
        raise CourseError(f"times: expected numbers between 0 and 1, got {list(times)}.")
    noise = ImageNoise(len(images), make_rng(seed, 8)).split(IMAGES_PER_CALL)
    rows = []
    for piece, source in zip(images.split(IMAGES_PER_CALL), noise):
        x0 = uint8_to_signed(piece).to(model.device)
        total = torch.zeros(len(x0), dtype=torch.float64)
        for t in times:
            eps, time = source.normal(tuple(x0.shape[1:]), x0), x0.new_full((len(x0),), t)
            seen = model.predict(model.schedule.noised(x0, eps, time), time).eps
            total += (seen - eps).square().flatten(1).mean(1).double().cpu()
        rows.append(total / len(times))
    return torch.cat(rows)


def _loss_term(name: str) -> Callable[[Model, Tensor, int], Tensor]:
    """Returns a score that is a term of the model's loss; the term does not look at labels."""

    def score(model: Model, images: Tensor, seed: int) -> Tensor:
        nats = loss_terms(
            model,
            images,
            torch.zeros(len(images), dtype=torch.int64),
            seed=seed,
            batch_size=IMAGES_PER_CALL,
        )[name].double()
        return nats.nan_to_num(nan=STRANGEST, posinf=STRANGEST)

    return score


@torch.no_grad()
def _doubt(model: Classifier, images: Tensor, seed: int) -> Tensor:
    pieces = images.split(IMAGES_PER_CALL)
    return torch.cat(
        [
            1 - model.probabilities(uint8_to_signed(piece).to(model.device)).amax(1).double().cpu()
            for piece in pieces
        ]
    )


# family: (a model of it, images, seed) -> scores
SCORES: dict[str, Callable[[Any, Tensor, int], Tensor]] = {
    "vae": _loss_term("negative_elbo"),
    "gaussian": _loss_term("negative_log_likelihood"),
    "diffusion": lambda model, images, seed: denoising_error(model, images, seed=seed),
    "classifier": _doubt,
}
