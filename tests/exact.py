"""Exact denoisers for data whose distribution is known, written down anew: what the tests of
samplers compare with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.models.diffusion.schedules import Schedule

MEAN, STD = (
    torch.tensor([0.3, -0.5], dtype=torch.float64),
    torch.tensor([0.4, 1.3], dtype=torch.float64),
)


def gaussian_denoiser(schedule: Schedule, mean: Tensor = MEAN, std: Tensor = STD):
    """Returns E[x0 | x_t] for independent pixels x0 ~ N(mean, std²): the regression of x0 on
    x_t.
    """

    def denoise(xt: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.alpha(t.double())[:, None], schedule.sigma(t.double())[:, None]
        return mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (xt - alpha * mean)

    return denoise


def gaussian_flow(
    schedule: Schedule, xt: Tensor, t: float, s: float, mean: Tensor = MEAN, std: Tensor = STD
) -> Tensor:
    """Returns where the probability-flow equation takes x_t from time t to s: it keeps how many
    standard deviations x is from its mean.
    """

    def moments(time: float) -> tuple[Tensor, Tensor]:
        time = torch.tensor(time, dtype=torch.float64)
        alpha, sigma = schedule.alpha(time), schedule.sigma(time)
        return alpha * mean, (alpha**2 * std**2 + sigma**2).sqrt()

    (mean_t, std_t), (mean_s, std_s) = moments(t), moments(s)
    return mean_s + std_s * (xt - mean_t) / std_t


def noise(num: int, seed: int = 0, *shape: int) -> Tensor:
    """Returns standard normal noise, float64 `[num, 2]` unless another shape is given."""
    return torch.randn(
        num, *(shape or (2,)), dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
