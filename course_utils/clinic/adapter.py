"""What the clinic needs of a model: two functions and a likelihood. Any encoder/decoder pair can be examined, the course's own or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.config import require
from course_utils.errors import CourseError, unknown
from course_utils.images import signed_to_unit

LIKELIHOODS = ("bernoulli", "gaussian")
SMALLEST_PROBABILITY = 1e-6  # a float32 sigmoid rounds to exactly 1 beyond it, and the cost of a pixel to infinity


@dataclass(frozen=True)
class Adapter:
    """An encoder and a decoder as two functions.

    Attributes:
        encode: signed images `[B, C, H, W]` -> mean and log-variance of q(z | x), `[B, D]` each.
        decode: latents `[B, D]` -> signed images `[B, C, H, W]`, the mean of p(x | z); gradients have to pass through it.
        likelihood: of a pixel given z, "bernoulli" (cross-entropy on [0, 1]) or "gaussian".
        noise_std: of the Gaussian likelihood, in units of the [0, 1] pixel range.
        device: where images and latents have to be.
    """

    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    noise_std: float = 0.1
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.likelihood not in LIKELIHOODS:
            raise unknown("likelihood", self.likelihood, LIKELIHOODS)
        require(self.noise_std > 0, "noise_std", "more than 0", self.noise_std)

    def excess(self, images: Tensor, decoded: Tensor) -> Tensor:
        """Returns -log p(x | z) minus its least possible value, that of decoded = images: nats, 0 or more, `[B]`.

        Grey pixels cost something even when they are predicted perfectly; that floor says nothing about a model, so it is taken off.

        Args:
            images, decoded: signed, `[B, C, H, W]`.
        """
        x, p = signed_to_unit(images), signed_to_unit(decoded)
        if self.likelihood == "gaussian":
            return 0.5 * ((x - p) / self.noise_std).square().flatten(1).sum(1)
        p = p.clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        cost = F.binary_cross_entropy(p, x, reduction="none")
        floor = -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x))
        return (cost - floor).flatten(1).sum(1)

    def floor(self, images: Tensor) -> Tensor:
        """Returns -log p(x | z) of decoded = images: the part of every cost that no model can save, `[B]` in nats."""
        x = signed_to_unit(images)
        if self.likelihood == "gaussian":
            return torch.full((len(x),), x[0].numel() * (math.log(self.noise_std) + 0.5 * math.log(2 * math.pi)), device=x.device)
        return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).flatten(1).sum(1)


def as_adapter(model: Any) -> Adapter:
    """Returns the adapter of a model: an Adapter as it is, else whatever has `encode` and `decode`, or a pair of two functions.

    A model's likelihood is read from its `config` where there is one; else it is Bernoulli. A model is expected in evaluation mode.

    Raises:
        CourseError: it has no encoder or no decoder, or is in training mode.
    """
    if isinstance(model, Adapter):
        return model
    if isinstance(model, (tuple, list)) and len(model) == 2 and all(map(callable, model)):
        return Adapter(*model)
    if not callable(getattr(model, "encode", None)) or not callable(getattr(model, "decode", None)):
        raise CourseError(
            f"expected a model with encode() and decode(), or an Adapter(encode, decode), got {type(model).__name__}; "
            "an adapter of two functions makes any encoder/decoder pair fit."
        )
    if getattr(model, "training", False):
        raise CourseError("expected a model in evaluation mode, got one in training mode; call .eval() first.")
    config = getattr(model, "config", None)
    parameters = list(model.parameters()) if hasattr(model, "parameters") else []
    return Adapter(
        model.encode,
        model.decode,
        getattr(config, "likelihood", "bernoulli"),
        getattr(config, "noise_std", 0.1),
        parameters[0].device if parameters else "cpu",
    )
