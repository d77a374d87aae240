"""The exercises of notebook 06 on what a generator puts out and takes in: modes that are hit, and truncated noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake, Wrong
from course_utils.device import make_rng


def _hit(points: Tensor, centres: Tensor, radius: float) -> int:
    distance, mode = torch.cdist(points, centres).min(1)
    counts = torch.bincount(mode[distance <= radius], minlength=len(centres))
    return int((counts >= 0.1 * len(points) / len(centres)).sum())


def _modes_by(points: Tensor, centres: Tensor, radius: float, least: float) -> int:
    """Returns the modes that at least so many points are close to: the shape of most wrong answers."""
    return int(((torch.cdist(points, centres) <= radius).sum(0) >= least).sum())


def _mode_cases() -> list[tuple]:
    """Eight modes: two with many points, one with a little less than its share, one with a fifth, one with stray points, two with points near it."""
    rng = make_rng(6, 1)
    angles = 2 * math.pi * torch.arange(8) / 8
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    near = [centres[mode] + 0.03 * torch.randn(num, 2, generator=rng) for mode, num in ((0, 250), (1, 250), (2, 110), (3, 25), (4, 6))]
    beside = [1.4 * centres[mode] + 0.03 * torch.randn(num, 2, generator=rng) for mode, num in ((5, 180), (6, 179))]  # nearest to it, but far
    return [(torch.cat([*near, *beside]), centres, 0.15)]


MODES = Exercise(
    id="06.modes",
    question="Return how many modes are hit: those with at least a tenth of their fair share of the N points within `radius`.",
    solution=_hit,
    cases=_mode_cases,
    why="Counting modes makes collapse a number, and the threshold keeps a few stray points from passing for a mode.",
    mistakes=(
        Mistake(
            lambda points, centres, radius: _modes_by(points, centres, radius, 1),
            "You counted modes with any point at all. Stray points are no mode: ask for a tenth of the fair share N / K.",
        ),
        Mistake(
            lambda points, centres, radius: _modes_by(points, centres, math.inf, 1),
            "Every mode counts for you: compare the distance with `radius` before you count.",
        ),
        Mistake(
            lambda points, centres, radius: int((torch.cdist(points, centres).argmin(1).bincount(minlength=8) >= 0.1 * len(points) / 8).sum()),
            "You gave each point to its nearest mode, however far. Only points within `radius` count.",
        ),
        Mistake(
            lambda points, centres, radius: _modes_by(points, centres, radius, 0.1 * len(points)),
            "You asked for a tenth of all points. The fair share of one mode is N / K, and a tenth of that is asked for.",
        ),
        Mistake(
            lambda points, centres, radius: _modes_by(points, centres, radius, len(points) / len(centres)),
            "You asked for the whole fair share. A tenth of it is enough.",
        ),
        Mistake(
            lambda points, centres, radius: int((torch.cdist(points, centres).min(1).values <= radius).sum()),
            "You counted points. Count modes: sum over the points first, for each mode.",
        ),
    ),
    hints=(
        "torch.cdist(points, centres) is [N, K].",
        "Points within the radius: (… <= radius).sum(0), one number for each mode.",
        "Fair share: N / K.",
    ),
)


def _truncated(n: int, dim: int, bound: float, rng: torch.Generator) -> Tensor:
    z = torch.randn(n, dim, generator=rng)
    while (outside := z.abs() > bound).any():
        z[outside] = torch.randn(int(outside.sum()), generator=rng)
    return z


CLAMPED = "You moved what lies outside onto the bound: {share:.0%} of your values stand exactly there. Draw them anew."
SCALED = "All values lie inside, but they crowd around 0: you scaled the noise. Truncation leaves the middle as it is and draws the rest anew."
UNIFORM = "Your noise is spread evenly between the bounds. It has to keep the shape of the normal distribution."


def _check_truncated(answer) -> None:
    """The distribution is checked, not the draws: there is more than one right way."""
    n, dim = 4000, 4
    for case, bound in enumerate((0.7, 1.5)):
        z = answer(n, dim, bound, make_rng(6, 2, case))
        if not isinstance(z, Tensor) or z.shape != (n, dim):
            raise Wrong(f"Expected a tensor of shape [{n}, {dim}], got {list(z.shape) if isinstance(z, Tensor) else type(z).__name__}.")
        z = z.double()
        at_bound = (z.abs() >= bound * (1 - 1e-6)).double().mean().item()
        if z.abs().max() > bound * (1 + 1e-6):
            raise Wrong(f"{(z.abs() > bound).double().mean():.0%} of your values lie beyond the bound.")
        if at_bound > 0.01:
            raise Wrong(CLAMPED.format(share=at_bound))
        density = math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
        variance = 1 - 2 * bound * density / math.erf(bound / math.sqrt(2))  # of the truncated normal distribution
        error = 6 * variance * math.sqrt(2 / (n * dim))  # generous: its values vary less than normal ones
        if z.var().item() < variance - error:
            raise Wrong(SCALED)
        if z.var().item() > variance + error:
            raise Wrong(UNIFORM)


def _at_bounds(n: int, dim: int, bound: float, rng: torch.Generator) -> Tensor:
    return torch.randn(n, dim, generator=rng).clamp(-bound, bound)


TRUNCATION = Exercise(
    id="06.truncation",
    question="Return noise [n, dim] from N(0, 1) in which every value beyond ±bound has been drawn anew until it lies inside.",
    solution=_truncated,
    check=_check_truncated,
    why="The generator has met such values in training, the middle of the distribution, so its images get more typical and less varied.",
    mistakes=(
        Mistake(_at_bounds, "You moved what lies outside onto the bound"),
        Mistake(lambda n, dim, bound, rng: bound / 4.5 * torch.randn(n, dim, generator=rng).clamp(-4.4, 4.4), SCALED),
        Mistake(lambda n, dim, bound, rng: bound * (2 * torch.rand(n, dim, generator=rng) - 1), UNIFORM),
        Mistake(lambda n, dim, bound, rng: torch.randn(n, dim, generator=rng), "of your values lie beyond the bound."),
    ),
    hints=(
        "First draw all of it: z = torch.randn(n, dim, generator=rng).",
        "outside = z.abs() > bound says which values to draw anew.",
        "Repeat while any is outside.",
    ),
)
