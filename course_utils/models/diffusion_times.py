"""Which times the training of a diffusion model sees, and how much each of them counts."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.errors import unknown
from course_utils.schedules import Schedule
from course_utils.targets import weights_of

TIME_SAMPLINGS = ("uniform", "logit-normal")
LOSS_WEIGHTINGS = ("none", "min-snr")
MARGIN = 1e-5  # times stay this far from 0 and 1, where ratios of alpha and sigma are infinite
MAX_SNR = 5.0  # gamma of min-SNR


def draw_times(num: int, distribution: str, rng: torch.Generator | None, like: Tensor) -> Tensor:
    """Returns times in (0, 1) for a batch, `[num]`, with the dtype and device of `like`.

    One time falls into each num-th part of the distribution: that keeps it, and takes noise from the mean loss of a batch.

    Args:
        num: size of the batch.
        distribution: "uniform", or "logit-normal": t = sigmoid(z) with z ~ N(0, 1), most often near 1/2, where there is most to learn.
        rng: source of the draws.

    Source: strata: Kingma et al. 2021 (arXiv:2107.00630), app. I.1; logit-normal: Esser et al. 2024 (arXiv:2403.03206), sec. 3.1.
    """
    if distribution not in TIME_SAMPLINGS:
        raise unknown("time_sampling", distribution, TIME_SAMPLINGS)
    device = like.device if rng is None else rng.device
    within = torch.rand(num, generator=rng, device=device, dtype=torch.float32).to(like.device)
    u = ((torch.arange(num, device=like.device) + within) / num).clamp(MARGIN, 1 - MARGIN)
    t = torch.sigmoid(torch.special.ndtri(u)) if distribution == "logit-normal" else u
    return t.to(like.dtype)


def loss_weights(weighting: str, target: str, schedule: Schedule, t: Tensor, like: Tensor) -> Tensor:
    """Returns what the squared error of a prediction is multiplied by, `[B]`: 1, or for "min-snr" what makes it min(SNR, 5) times the error of x0.

    Args:
        weighting: "none" or "min-snr".
        target: what is predicted.
        schedule: gives the signal-to-noise ratio.
        t: times in (0, 1), `[B]`.
        like: gives dtype and device.

    Source: Hang et al. 2023 (arXiv:2303.09556), sec. 3.4.
    """
    if weighting not in LOSS_WEIGHTINGS:
        raise unknown("loss_weighting", weighting, LOSS_WEIGHTINGS)
    if weighting == "none":
        return torch.ones_like(t)
    alpha, sigma = schedule.at(t, t)
    a, b = weights_of(target, alpha, sigma)
    x0_error = sigma / (alpha * b - sigma * a)  # of x0, for a unit error of the prediction
    return ((alpha / sigma).square().clamp(max=MAX_SNR) * x0_error.square()).to(like)
