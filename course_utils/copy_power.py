"""How often the memorisation test catches a memoriser of known strength, and how often it cries wolf where nothing is copied.

Planted memorisers draw fresh images and hand out a copy of a training image now and then, as it is or disguised. Looking up the nearest real image
of each is the slow part, so it is done once for a bank of fresh images and once for a bank of copies; each round then draws its samples from both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.device import make_rng
from course_utils.errors import CourseError
from course_utils.generators import disguised
from course_utils.metrics.features import Extractor, extract
from course_utils.metrics.memorization import Lookalikes, Memorization, MemorizationTest

# What a copy goes through before it is handed out: arguments of `generators.disguised`.
DISGUISES: dict[str, dict[str, float]] = {
    "exact": {},
    "noise 0.05": {"noise_std": 0.05},
    "noise 0.1": {"noise_std": 0.1},
    "blurred, 1 px": {"blur_px": 1.0},
    "shifted, 1 px": {"right_px": 1},
}


@dataclass(frozen=True)
class PowerRow:
    """What the test said of memorisers of one strength.

    Attributes:
        share: of the images that were copies.
        power: share of the rounds with an alarm; at share 0 these are false alarms.
        error: standard error of the power, never 0: of a binomial share with one more success and one more failure.
        estimate, estimate_error: mean of the estimated shares of copies, and their spread between rounds.
        num_rounds: of the experiment.
    """

    share: float
    power: float
    error: float
    estimate: float
    estimate_error: float
    num_rounds: int


def power_curve(
    test: MemorizationTest,
    extractor: Extractor,
    fresh: Tensor,
    remembered: Tensor,
    shares: Sequence[float] = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1),
    *,
    num_images: int = 2000,
    num_rounds: int = 100,
    level: float = 0.05,
    disguise: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[PowerRow]:
    """Returns how often the test raises an alarm at each share of copies.

    Rounds draw from one bank of fresh images and share the real images, so they are not quite independent.

    Args:
        test: with the features of the training and of the held-out images.
        extractor: that made those features.
        fresh: uint8 images of the same source that are neither training nor held-out images, at least `num_images`; more make rounds differ more.
        remembered: uint8 training images of the test, at least as many as the largest share asks for.
        shares: of copies among the generated images.
        num_images: that the memoriser generates in each round.
        num_rounds: of each share.
        level: of the test.
        disguise: of the copies, such as an entry of `DISGUISES`.
        seed: of the choice of images, and of the noise.

    Raises:
        CourseError: too few images for a share.
    """
    require(num_rounds >= 2, "num_rounds", "at least 2", num_rounds)
    honest = test.look_up(extract(extractor, fresh))
    copies = test.look_up(extract(extractor, disguised(remembered, **(disguise or {}), seed=seed)))
    rows = []
    for index, share in enumerate(shares):
        rng = make_rng(seed, index)
        results = [test.verdict(mixed(honest, copies, share, num_images, rng)) for _ in range(num_rounds)]
        rows.append(_row(share, results, level))
    return rows


def mixed(honest: Lookalikes, copies: Lookalikes, share: float, num_images: int, rng: torch.Generator) -> Lookalikes:
    """Returns the look-alikes of `num_images` samples, a share of them drawn from the copies and the rest from the honest ones, each at most once."""
    require(0 <= share <= 1, "share", "0 to 1", share)
    num_copies = round(share * num_images)
    for name, bank, needed in (("fresh", honest, num_images - num_copies), ("remembered", copies, num_copies)):
        if len(bank.ratios) < needed:
            raise CourseError(f"{name}: expected at least {needed:,} images, got {len(bank.ratios):,}; give more, or a smaller num_images.")
    drawn = honest.rows(torch.randperm(len(honest.ratios), generator=rng)[: num_images - num_copies])
    copied = copies.rows(torch.randperm(len(copies.ratios), generator=rng)[:num_copies])
    return Lookalikes(*(torch.cat(both) for both in zip(drawn, copied)))


def _row(share: float, results: Sequence[Memorization], level: float) -> PowerRow:
    num = len(results)
    alarms = sum(result.is_memorising(level) for result in results)
    smoothed = (alarms + 1) / (num + 2)
    estimates = torch.tensor([result.copied_share.value for result in results], dtype=torch.float64)
    error = (smoothed * (1 - smoothed) / num) ** 0.5
    return PowerRow(share, alarms / num, error, estimates.mean().item(), estimates.std().item(), num)
