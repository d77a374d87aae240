"""The variational bound of a diffusion model on -log p(x0): a sum of KL divergences over the steps,
plus what is paid at both ends.

The model's reverse steps are those of DDPM: p(x_(k-1) | x_k) is Gaussian, with the mean of
q(x_(k-1) | x_k, x0) at the image that the denoiser sees, and a variance that is chosen beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import randn
from course_utils.base.errors import CourseError, unknown
from course_utils.models.diffusion.samplers import Denoiser
from course_utils.models.diffusion.schedules import NUM_STEPS, Schedule

VARIANCES, DECODERS = ("small", "large"), ("discrete", "gaussian")
HALF_LEVEL = 1 / 255  # half the distance of two grey levels in [-1, 1]
# levels beyond it are the darkest and the brightest, which own all that lies outside
PIXEL_EDGE = 0.999


@dataclass(frozen=True)
class VariationalBound:
    """-log p(x0) <= prior + steps + decoder, in nats, for each image.

    Attributes:
        prior: KL(q(x_K | x0) || N(0, I)), what is left of the image at the last step, `[B]`.
        steps: sum of the KL divergences of the steps K ... 2, `[B]`; an estimate without bias where
            only some of them were looked at.
        decoder: -log p(x0 | x_1), `[B]`.
        num_dims: pixels times channels.
        decoder_kind: "discrete" makes the sum the code length of 256 grey levels; "gaussian" makes
            it one of a density.
    """

    prior: Tensor
    steps: Tensor
    decoder: Tensor
    num_dims: int
    decoder_kind: str

    @property
    def nats(self) -> Tensor:
        """The bound on -log p(x0), `[B]`."""
        return self.prior + self.steps + self.decoder

    @property
    def bits_per_dimension(self) -> Tensor:
        """The same in bits a pixel and channel for images of 256 levels in [-1, 1], `[B]`; a
        density counts with the width of a level.
        """
        bits = self.nats / (self.num_dims * math.log(2))
        return bits if self.decoder_kind == "discrete" else bits - math.log2(2 * HALF_LEVEL)


def reverse_variances(
    schedule: Schedule, kind: str = "small", num_steps: int = NUM_STEPS
) -> Tensor:
    """Returns the variance of p(x_(k-1) | x_k) for the steps k = 1 ... K, float64 `[K]`.

    Args:
        schedule: with alpha above 0 in all steps but the last.
        kind: "small" is that of q(x_(k-1) | x_k, x0), right if the data were one image, with that
            of k = 2 for the 0 at k = 1; "large" is that of the noise of step k, right if the data
            were N(0, I).
        num_steps: K, at least 2.

    Source: Ho et al. 2020 (arXiv:2006.11239), sec. 3.2; for k = 1 Nichol & Dhariwal 2021
    (arXiv:2102.09672), sec. 3.1.
    """
    if kind not in VARIANCES:
        raise unknown("variance", kind, VARIANCES)
    require(num_steps >= 2, "num_steps", "at least 2", num_steps)
    t = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    _, added = schedule.transition(t[:-1], t[1:])
    if kind == "large":
        return added
    small = added * schedule.sigma(t[:-1]).square() / schedule.sigma(t[1:]).square()
    return torch.cat([small[1:2], small[1:]])


@torch.no_grad()
def variational_bound(
    denoise: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    *,
    num_steps: int = NUM_STEPS,
    variance: str | Tensor = "small",
    decoder: str = "discrete",
    num_times: int | None = None,
    rng: torch.Generator | None = None,
) -> VariationalBound:
    """Returns the bound for each of some images; its mean over images and noise is what is
    reported.

    Args:
        denoise: x_t and times `[B]` -> E[x0 | x_t].
        schedule: of the noise. Where its alpha ends at 0 (flow) the prior costs nothing.
        x0: signed images `[B, ...]`; any numbers with the Gaussian decoder.
        num_steps: K.
        variance: see `reverse_variances`, or variances of one's own, `[K]`.
        decoder: "discrete" for images of 256 grey levels, "gaussian" for a density of continuous
            numbers.
        num_times: steps to look at for each image, spread evenly at random; None takes all, with
            one call of the denoiser each.
        rng: source of the noise and of the choice of steps.

    Raises:
        CourseError: an unknown decoder or variance, or a number of times outside 1 ... K - 1.

    Source: Ho et al. 2020 (arXiv:2006.11239), eq. 5 and 13.
    """
    if decoder not in DECODERS:
        raise unknown("decoder", decoder, DECODERS)
    variances = (
        reverse_variances(schedule, variance, num_steps)
        if isinstance(variance, str)
        else torch.as_tensor(variance).double()
    )
    require(
        variances.shape == (num_steps,) and bool((variances > 0).all()),
        "variance",
        f"[{num_steps}] numbers above 0",
        list(variances.shape),
    )
    num_times = num_steps - 1 if num_times is None else num_times
    require(1 <= num_times <= num_steps - 1, "num_times", f"1 to {num_steps - 1}", num_times)
    variances = variances.to(x0.device)
    steps = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    for stratum in range(num_times):
        k = _step_within(stratum, num_times, num_steps, len(x0), rng).to(x0.device)
        steps += _step_kl(denoise, schedule, x0, k, num_steps, variances, rng)
    first = torch.ones(len(x0), dtype=torch.int64, device=x0.device)
    seen = _predict_x0(denoise, schedule, x0, first, num_steps, rng)
    log_likelihood = _log_density if decoder == "gaussian" else _log_probability_of_levels
    end = -log_likelihood(x0.double(), seen.double(), variances[0].sqrt()).flatten(1).sum(1)
    return VariationalBound(
        _prior_kl(schedule, x0), steps * (num_steps - 1) / num_times, end, x0[0].numel(), decoder
    )


def _step_within(
    stratum: int, num_strata: int, num_steps: int, num: int, rng: torch.Generator | None
) -> Tensor:
    """Returns a step from 2 to K for each image, from one of the equal parts of that range, int64
    `[num]`; with K - 1 parts each has one step.
    """
    u = torch.rand(
        num, generator=rng, dtype=torch.float64, device=None if rng is None else rng.device
    )
    return 2 + ((num_steps - 1) * (stratum + u) / num_strata).long().clamp(max=num_steps - 2)


def _predict_x0(
    denoise: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    k: Tensor,
    num_steps: int,
    rng: torch.Generator | None,
) -> Tensor:
    """Returns the image that the denoiser sees in a draw of x_k, `[B, ...]`."""
    t = k.double() / num_steps
    return denoise(schedule.noised(x0, randn(tuple(x0.shape), rng, x0), t), t.to(x0.dtype))


def _step_kl(
    denoise: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    k: Tensor,
    num_steps: int,
    variances: Tensor,
    rng: torch.Generator | None,
) -> Tensor:
    """Returns KL(q(x_(k-1) | x_k, x0) || p(x_(k-1) | x_k)) for one draw of x_k, `[B]`: two
    Gaussians whose means differ by the error of the image.
    """
    s, t = (k - 1).double() / num_steps, k.double() / num_steps
    _, added = schedule.transition(s, t)
    exact = added * schedule.sigma(s).square() / schedule.sigma(t).square()
    weight = schedule.alpha(s) * added / schedule.sigma(t).square()  # of x0 in the mean
    chosen = variances[k - 1]
    error = (
        (x0 - _predict_x0(denoise, schedule, x0, k, num_steps, rng))
        .double()
        .square()
        .flatten(1)
        .sum(1)
    )
    ratio = exact / chosen
    return 0.5 * (x0[0].numel() * (ratio - 1 - ratio.log()) + weight.square() / chosen * error)


def _prior_kl(schedule: Schedule, x0: Tensor) -> Tensor:
    alpha, sigma = (
        factor(torch.ones((), dtype=torch.float64)).item() ** 2
        for factor in (schedule.alpha, schedule.sigma)
    )
    return 0.5 * (alpha * x0.double().square() + sigma - 1 - math.log(sigma)).flatten(1).sum(1)


def _log_density(x0: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return -0.5 * ((x0 - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def _log_probability_of_levels(x0: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Returns the log-probability of each pixel's grey level: the Gaussian's mass from half a level
    below to half a level above.

    Source: Ho et al. 2020 (arXiv:2006.11239), eq. 13.
    """
    if x0.min() < -1 - HALF_LEVEL or x0.max() > 1 + HALF_LEVEL:
        raise CourseError(
            f"x0: expected images in [-1, 1] for the discrete decoder, got {x0.min():.3g} to"
            f" {x0.max():.3g}; use decoder='gaussian'."
        )
    low = torch.where(x0 < -PIXEL_EDGE, -torch.inf, (x0 - HALF_LEVEL - mean) / std)
    high = torch.where(x0 > PIXEL_EDGE, torch.inf, (x0 + HALF_LEVEL - mean) / std)
    # the mass in the far right tail is that in the far left one, where the difference keeps its
    # digits
    mirrored = low > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    log_high = torch.special.log_ndtr(high)
    return log_high + torch.log1p(-torch.exp(torch.special.log_ndtr(low) - log_high))
