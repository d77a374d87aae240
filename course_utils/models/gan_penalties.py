"""Penalties on the discriminator's gradient with respect to its input: they keep it from becoming steep.

Each needs a gradient of a gradient, so they switch gradients on even where the caller measures without any.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Judge = Callable[[Tensor], Tensor]  # images [B, C, H, W] to scores [B]


def real_penalty(judge: Judge, real: Tensor) -> Tensor:
    """Returns half of the squared gradient norm at real images, averaged over the batch; the R1 penalty for weight 1.

    Source: Mescheder et al. 2018 (arXiv:1801.04406), eq. 9.
    """
    return 0.5 * _gradients(judge, real).square().sum(1).mean()


def interpolation_penalty(judge: Judge, real: Tensor, fake: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Returns the mean of (gradient norm - 1)^2 at points drawn uniformly between real and generated images, for weight 1.

    Source: Gulrajani et al. 2017 (arXiv:1704.00028), eq. 3.
    """
    device = rng.device if rng is not None else real.device
    share = torch.rand((len(real), *[1] * (real.ndim - 1)), generator=rng, dtype=real.dtype, device=device).to(real.device)
    norms = _gradients(judge, fake + share * (real - fake)).square().sum(1).add(1e-12).sqrt()  # the root has no slope at 0
    return (norms - 1).square().mean()


def _gradients(judge: Judge, images: Tensor) -> Tensor:
    """Returns the gradient of each image's score with respect to its pixels, `[B, C * H * W]`, itself differentiable."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        (gradients,) = torch.autograd.grad(judge(images).sum(), images, create_graph=True)
    return gradients.flatten(1)
