"""Lower bounds on log p(x) from importance weights, for any model that can give them.

This module knows no model: it is handed a function that draws log weights log p(x, z) - log q(z |
x) for z ~ q(z | x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import Measurement

DRAWS_PER_CALL = 100  # of one image: the encoder runs once for them

# (images [B, ...], num_samples, rng=...) -> [num_samples, B] in nats
LogWeights = Callable[..., Tensor]


@dataclass(frozen=True)
class LikelihoodBound:
    """A lower bound on log p(x) for each of some images.

    Attributes:
        per_image: nats, float64, `[N]` on the CPU.
        num_samples: draws of z for each image, the k of the bound; 1 is the evidence lower bound
            (ELBO).
    """

    per_image: Tensor
    num_samples: int

    @property
    def value(self) -> float:
        """Mean over images, nats."""
        return self.per_image.mean().item()

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, from the spread between images, nats; NaN for a single
        image.
        """
        return self.per_image.std().item() / len(self.per_image) ** 0.5

    def measurement(self) -> Measurement:
        """Returns the mean over images with its error bar, to stand beside other metrics."""
        return Measurement(
            f"log p(x) bound, k = {self.num_samples}",
            self.value,
            self.standard_error,
            len(self.per_image),
        )

    def __str__(self) -> str:
        return (
            f"log p(x) >= {self.value:.2f} ± {self.standard_error:.2f} nats (k ="
            f" {self.num_samples}, {len(self.per_image):,} images)"
        )


@torch.no_grad()
def importance_weighted_bound(
    log_weights: LogWeights,
    images: Tensor,
    num_samples: int,
    *,
    rng: torch.Generator | None = None,
    rows_per_call: int = 5000,
) -> LikelihoodBound:
    """Returns log(1/k * sum of the k weights) for each image: a lower bound on log p(x) whose
    expectation rises with k.

    Memory stays bounded: images and draws are taken in pieces, and only a running log-sum-exp in
    float64 is kept. Which draws an image gets depends on the pieces; what is estimated does not.

    Args:
        log_weights: called as `log_weights(images, num_samples, rng=rng)`, returns `[num_samples,
            B]` in nats, such as `VAE.log_weights`.
        images: `[N, ...]`, in the range that `log_weights` expects (for the course's models [-1,
            1]).
        num_samples: k, at least 1.
        rng: source of the draws.
        rows_per_call: at most this many pairs of image and draw in one call, at least 1.

    Raises:
        CourseError: a number below 1, no images, weights of another shape, or weights that are NaN
            or +infinity.

    Source: Burda et al. 2016 (arXiv:1509.00519), eq. 8.
    """
    for name, number in (
        ("num_samples", num_samples),
        ("rows_per_call", rows_per_call),
        ("number of images", len(images)),
    ):
        if not isinstance(number, int) or number < 1:
            raise CourseError(f"{name}: expected a whole number of at least 1, got {number!r}.")
    draws_per_call = min(num_samples, rows_per_call, DRAWS_PER_CALL)
    pieces = [
        _log_sum(log_weights, piece, num_samples, rng, draws_per_call)
        for piece in images.split(rows_per_call // draws_per_call)
    ]
    return LikelihoodBound(torch.cat(pieces) - math.log(num_samples), num_samples)


def _log_sum(
    log_weights: LogWeights,
    images: Tensor,
    num_samples: int,
    rng: torch.Generator | None,
    draws_per_call: int,
) -> Tensor:
    """Returns the log of the sum of all weights of each image, float64 `[B]`."""
    total = torch.full((len(images),), -math.inf, dtype=torch.float64)
    for start in range(0, num_samples, draws_per_call):
        num_draws = min(draws_per_call, num_samples - start)
        weights = log_weights(images, num_draws, rng=rng).detach().cpu().double()
        if weights.shape != (num_draws, len(images)):
            raise CourseError(
                f"expected log weights of shape [{num_draws}, {len(images)}] (draws, images), got"
                f" {list(weights.shape)}."
            )
        if weights.isnan().any() or (weights == math.inf).any():
            raise CourseError(
                "expected log weights below infinity, got NaN or +infinity; the model's encoder or"
                " decoder has diverged."
            )
        total = torch.logaddexp(total, weights.logsumexp(0))
    return total
