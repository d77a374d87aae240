"""The losses of a GAN: what discriminator and generator minimise, as functions of the discriminator's scores.

A score is any real number, higher for what looks real. Where the loss is a cross-entropy the score is a logit: sigmoid(score) is D(x).
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from course_utils.errors import unknown

GanLoss = Literal["minimax", "non-saturating", "hinge", "wasserstein", "relativistic"]
CROSS_ENTROPIES = ("minimax", "non-saturating")  # the losses in which a real image has a label that can be smoothed


def discriminator_loss(loss: GanLoss, real: Tensor, fake: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Returns what the discriminator minimises, `[B]`.

    Args:
        loss: its name. minimax and non-saturating differ only in what the generator minimises.
        real, fake: scores of real and of generated images, `[B]` each.
        label_smoothing: the label of a real image is 1 minus this, the label of a generated one stays 0 (one-sided).

    Raises:
        CourseError: no such loss.

    Source: Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1; hinge: Lim & Ye 2017 (arXiv:1705.02894); wasserstein: Arjovsky et al. 2017
    (arXiv:1701.07875); relativistic: Jolicoeur-Martineau 2019 (arXiv:1807.00734), eq. 6; smoothing: Salimans et al. 2016 (arXiv:1606.03498),
    sec. 3.4.
    """
    if loss in CROSS_ENTROPIES:
        return F.softplus(-real) + label_smoothing * real + F.softplus(fake)  # softplus(r) = softplus(-r) + r
    if loss == "hinge":
        return F.relu(1 - real) + F.relu(1 + fake)
    if loss == "wasserstein":
        return fake - real
    if loss == "relativistic":
        return F.softplus(fake - real)
    raise unknown("GAN loss", loss, GanLoss.__args__)


def generator_loss(loss: GanLoss, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """Returns what the generator minimises, `[B]`.

    Args:
        loss: its name.
        fake: scores of generated images, `[B]`.
        real: scores of real images, `[B]`; only the relativistic loss looks at them.

    Raises:
        CourseError: no such loss.

    Source: as in `discriminator_loss`; non-saturating: Goodfellow et al. 2014 (arXiv:1406.2661), sec. 3.
    """
    if loss == "minimax":
        return -F.softplus(fake)  # log(1 - D(G(z))): flat exactly where the generator is worst
    if loss == "non-saturating":
        return F.softplus(-fake)  # -log D(G(z))
    if loss in ("hinge", "wasserstein"):
        return -fake
    if loss == "relativistic":
        return F.softplus(real - fake)
    raise unknown("GAN loss", loss, GanLoss.__args__)
