"""Which points lie in the balls around other points, and what would change if one of the centres were missing.

The ball of a centre reaches to its k-th nearest fellow; a point on the rim lies inside. Without one of its k nearest fellows it would reach
to the next one. That is all that is needed for the jackknife error bars of precision, recall, density and coverage.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_ROWS = 500  # of a distance matrix at a time
RIM = 1e-9  # relative to the squared radius: the rim is inside whatever the rounding
ROUNDING = 1e-13  # of a squared distance in float64, relative to the squared lengths


class Balls(NamedTuple):
    """Balls around points.

    Attributes:
        centres: `[M, D]`.
        radii, next_radii: `[M]`, distances to the k-th and to the (k + 1)-th nearest fellow.
        fellows: `[M, k]`, which the k nearest are.
    """

    centres: Tensor
    radii: Tensor
    next_radii: Tensor
    fellows: Tensor

    def changes(self, per_ball: Tensor) -> Tensor:
        """Returns, for each missing centre, the sum of `per_ball` over the balls that would grow, float64 `[M]`."""
        total = torch.zeros(len(self.centres), dtype=torch.float64)
        return total.index_add_(0, self.fellows.flatten(), per_ball.double().repeat_interleave(self.fellows.shape[1]))


class Hits(NamedTuple):
    """Points in balls.

    Attributes:
        counts: number of balls that each point lies in, `[N]`.
        covered_change: by how much the number of points in any ball would change without each centre, `[M]`.
        counts_change: by how much the sum of all counts would change without each centre, `[M]`.
    """

    counts: Tensor
    covered_change: Tensor
    counts_change: Tensor


def hits(points: Tensor, balls: Balls) -> Hits:
    """Returns which of `points` `[N, D]` lie in which balls, in bounded memory."""
    origin = balls.centres.mean(0)
    centres = balls.centres - origin
    squares = centres.square().sum(1) * (1 - ROUNDING)
    limits, next_limits = (r.square() * (1 + RIM) for r in (balls.radii, balls.next_radii))
    counts, covered = [], torch.zeros(len(centres), dtype=torch.float64)
    inside_per_ball, ring_per_ball = torch.zeros(len(centres)), torch.zeros(len(centres))
    for rows in points.split(BLOCK_ROWS):
        rows = rows - origin
        distances = torch.addmm(squares, rows, centres.T, alpha=-2).add_(rows.square().sum(1, keepdim=True), alpha=1 - ROUNDING)
        inside, reach = distances <= limits, distances <= next_limits
        counts.append(inside.sum(1, dtype=torch.int32))  # int32: a sum of booleans as int64, the default, takes five times as long
        inside_per_ball += inside.sum(0, dtype=torch.int32)
        ring = reach.logical_xor_(inside)  # between the rim and the next rim
        ring_per_ball += ring.sum(0, dtype=torch.int32)
        covered += _covered_change(counts[-1], inside, ring, balls.fellows)
    return Hits(torch.cat(counts), covered, balls.changes(ring_per_ball) - inside_per_ball)


def _covered_change(counts: Tensor, inside: Tensor, ring: Tensor, fellows: Tensor) -> Tensor:
    """Returns by how much the number of covered rows would change without each centre, `[M]`.

    A row in no ball is won when a fellow of a ball that it nearly lies in is missing; a row in one ball is lost with that ball's centre, unless
    that very loss makes another ball reach it.
    """
    num = inside.shape[1]
    few = (counts <= 1).nonzero()[:, 0]
    row, ball = ring[few].nonzero(as_tuple=True)
    won = torch.unique((row[:, None] * num + fellows[ball]).flatten())  # pairs of row and missing centre
    bare = counts[few] == 0
    change = torch.bincount(won[bare[won // num]] % num, minlength=num)
    single = (~bare).nonzero()[:, 0]
    sole = single * num + inside[few[single]].byte().argmax(1)
    lost = sole[~torch.isin(sole, won)] % num
    return (change - torch.bincount(lost, minlength=num)).double()


def jackknife(*changes: Tensor) -> float:
    """Returns the standard error of a value from its changes when each image of each set is left out; one `[N]` for each set.

    Source: Efron & Stein 1981, Annals of Statistics 9(3): its square is no less than the variance on average, but for one image fewer.
    """
    return math.sqrt(sum((len(change) - 1) * change.var(correction=0).item() for change in changes))
