"""Nearest neighbours of feature vectors, exact and in bounded memory, and the metrics made of them:
precision, recall, density, coverage, and a two-sample test.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import Measurement, check_count, check_pair

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
    neighbours: Tensor

    def changes(self, per_ball: Tensor) -> Tensor:
        """Returns, for each missing centre, the sum of `per_ball` over the balls that would grow,
        float64 `[M]`.
        """
        total = torch.zeros(len(self.centres), dtype=torch.float64)
        return total.index_add_(
            0,
            self.neighbours.flatten(),
            per_ball.double().repeat_interleave(self.neighbours.shape[1]),
        )


class Hits(NamedTuple):
    """Points in balls.

    Attributes:
        counts: number of balls that each point lies in, `[N]`.
        covered_change: by how much the number of points in any ball would change without each
            centre, `[M]`.
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
        distances = torch.addmm(squares, rows, centres.T, alpha=-2).add_(
            rows.square().sum(1, keepdim=True), alpha=1 - ROUNDING
        )
        inside, reach = distances <= limits, distances <= next_limits
        # int32: a sum of booleans as int64, the default, takes five times as long
        counts.append(inside.sum(1, dtype=torch.int32))
        inside_per_ball += inside.sum(0, dtype=torch.int32)
        ring = reach.logical_xor_(inside)  # between the rim and the next rim
        ring_per_ball += ring.sum(0, dtype=torch.int32)
        covered += _covered_change(counts[-1], inside, ring, balls.neighbours)
    return Hits(torch.cat(counts), covered, balls.changes(ring_per_ball) - inside_per_ball)


def _covered_change(counts: Tensor, inside: Tensor, ring: Tensor, neighbours: Tensor) -> Tensor:
    """Returns by how much the number of covered rows would change without each centre, `[M]`.

    A row in no ball is won when a fellow of a ball that it nearly lies in is missing; a row in one
    ball is lost with that ball's centre, unless that very loss makes another ball reach it.
    """
    num = inside.shape[1]
    few = (counts <= 1).nonzero()[:, 0]
    row, ball = ring[few].nonzero(as_tuple=True)
    # pairs of row and missing centre
    won = torch.unique((row[:, None] * num + neighbours[ball]).flatten())
    bare = counts[few] == 0
    change = torch.bincount(won[bare[won // num]] % num, minlength=num)
    single = (~bare).nonzero()[:, 0]
    sole = single * num + inside[few[single]].byte().argmax(1)
    lost = sole[~torch.isin(sole, won)] % num
    return (change - torch.bincount(lost, minlength=num)).double()


def jackknife(*changes: Tensor) -> float:
    """Returns the standard error of a value from its changes when each image of each set is left
    out; one `[N]` for each set.

    Source: Efron & Stein 1981, Annals of Statistics 9(3): its square is no less than the variance
    on average, but for one image fewer.
    """
    return math.sqrt(sum((len(change) - 1) * change.var(correction=0).item() for change in changes))


BLOCK_DISTANCES = 6_000_000  # at a time, in float32: 24 MB
SPARE = 4  # candidates beyond k that the float32 search keeps
# of a squared distance in float32, relative to the squared lengths; 2e-6 is the most that was seen
# for 784 dimensions
FLOAT32_ROUNDING = 4e-6


class Neighbours(NamedTuple):
    """The nearest rows of a reference: distances float64 `[N, k]`, ascending, and their row numbers
    int64 `[N, k]`.
    """

    distances: Tensor
    indices: Tensor


def nearest(
    queries: Tensor, references: Tensor, k: int = 1, *, block: int | None = None
) -> Neighbours:
    """Returns the k nearest references of each query by Euclidean distance, nearest first.

    The search runs in float32; the distances of the candidates are then formed in float64 from the
    differences, so that a copy is at 0 exactly. Queries for which float32 cannot tell the
    candidates from the rest are searched again in float64.

    Args:
        queries, references: `[N, D]`, `[M, D]`; a row that stands in both is its own nearest
            neighbour.
        k: from 1 to M.
        block: queries at a time; memory grows with block * M. None picks it so that memory stays
            bounded.

    Source: Garcia et al. 2008 (CVPR workshops), "Fast k nearest neighbor search": distances from
    one matrix product; the second look is ours.
    """
    queries, references = check_pair(queries, references, ("queries", "references"), min_images=1)
    check_count("k", k, 1, len(references), why=f"there are {len(references)} references")
    block = max(1, min(BLOCK_ROWS, BLOCK_DISTANCES // len(references))) if block is None else block
    check_count("block", block, 1)
    search = _Search(references, k)
    found = Neighbours(
        torch.empty(len(queries), k, dtype=torch.float64),
        torch.empty(len(queries), k, dtype=torch.int64),
    )
    # into one result: small pieces kept between the large blocks would scatter the memory
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        found.distances[rows], found.indices[rows] = search.nearest(queries[rows])
    return found


def nearest_distances(
    queries: Tensor, references: Tensor, k: int = 1, *, block: int | None = None
) -> Tensor:
    """Returns the distances to the k nearest references, float64 `[N, k]`, ascending; see
    `nearest`.
    """
    return nearest(queries, references, k, block=block).distances


class _Search:
    """References to search; the search works on copies that are centred, scaled to keep squares
    within range, and of float32.
    """

    def __init__(self, references: Tensor, k: int) -> None:
        self.references, self.k = references, k
        self.centre = references.mean(0)
        self.scale = max(
            (references.amax() - self.centre.min()).item(),
            (self.centre.max() - references.amin()).item(),
            1e-150,
        )
        self.points = torch.empty(references.shape, dtype=torch.float32)
        self.squares = torch.empty(len(references), dtype=torch.float32)
        for rows, target, squares in zip(
            *(whole.split(BLOCK_ROWS) for whole in (references, self.points, self.squares))
        ):
            target.copy_((rows - self.centre) / self.scale)
            squares.copy_(target.square().sum(1))

    def nearest(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns distances and indices `[B, k]` of the references nearest to `rows`."""
        num = min(self.k + SPARE, len(self.references))
        scaled = ((rows - self.centre) / self.scale).float()
        last, indices = torch.addmm(self.squares, scaled, self.points.T, alpha=-2).topk(
            num, largest=False
        )
        distances, indices = self.exact(rows, indices)
        if num < len(self.references):
            lengths = scaled.double().square().sum(1)
            margin = last[:, -1].double() + lengths - (distances[:, -1] / self.scale).square()
            # ~: NaN is unsure as well
            unsure = (
                ~(margin > FLOAT32_ROUNDING * (lengths + self.squares.max().double()))
            ).nonzero()[:, 0]
            for few in unsure.split(50):
                distances[few], indices[few] = self.searched_in_float64(rows[few])
        return distances, indices

    def exact(self, rows: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the k smallest distances from each row to its candidates, ascending, and which
        they are.
        """
        distances = (self.references[indices] - rows[:, None]).square_().sum(2).sqrt_()
        order = distances.sort(dim=1, stable=True).indices[:, : self.k]
        return distances.gather(1, order), indices.gather(1, order)

    def searched_in_float64(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the same as `nearest` without float32: slower, and right where many references
        are almost equally far.
        """
        indices = (
            torch.cdist(rows, self.references, compute_mode="donot_use_mm_for_euclid_dist")
            .topk(self.k, largest=False)
            .indices
        )
        return self.exact(rows, indices)


class PrecisionRecall(NamedTuple):
    """Improved precision (quality) and recall (variety), from 0 to 1."""

    precision: Measurement
    recall: Measurement


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> PrecisionRecall:
    """Returns the share of fakes within the balls of the reals (precision) and the share of reals
    within the balls of the fakes (recall).

    Error bars are jackknife ones and cover the noise of both sets, that of the balls included.

    Args:
        real, fake: features `[N, D]`, `[M, D]` of one extractor.
        k: from 1 to the size of the smaller set minus 1.

    Source: Kynkäänniemi et al. 2019 (arXiv:1904.06991), eq. 1-2.
    """
    real, fake = check_pair(real, fake, ("real", "fake"))
    num_images = min(len(real), len(fake))
    check_count("k", k, 1, num_images - 1, why=f"the smaller set has {num_images} images")
    return PrecisionRecall(
        _share_covered("precision", fake, balls_of(real, k)),
        _share_covered("recall", real, balls_of(fake, k)),
    )


def _share_covered(name: str, points: Tensor, balls: Balls) -> Measurement:
    found = hits(points, balls)
    covered = (found.counts > 0).double()
    error = jackknife(covered / (len(points) - 1), found.covered_change / len(points))
    return _measurement(name, covered.mean(), error, points, balls)


class DensityCoverage(NamedTuple):
    """Density (quality, may exceed 1) and coverage (variety, from 0 to 1)."""

    density: Measurement
    coverage: Measurement


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> DensityCoverage:
    """Returns the mean number of balls of reals that a fake lies in, divided by k, and the share of
    reals whose ball holds a fake.

    Error bars are jackknife ones and cover the noise of both sets, that of the balls included.

    Args:
        real, fake: features `[N, D]`, `[M, D]` of one extractor.
        k: from 1 to the number of reals minus 1.

    Source: Naeem et al. 2020 (arXiv:2002.09797), eq. 3-4.
    """
    real, fake = check_pair(real, fake, ("real", "fake"))
    check_count("k", k, 1, len(real) - 1, why=f"there are {len(real)} real images")
    balls = balls_of(real, k)
    found = hits(fake, balls)
    density = found.counts.double() / k
    error = jackknife(density / (len(fake) - 1), found.counts_change / (k * len(fake)))
    return DensityCoverage(
        _measurement("density", density.mean(), error, fake, balls), _coverage(fake, balls)
    )


def _coverage(fake: Tensor, balls: Balls) -> Measurement:
    distances, indices = nearest(balls.centres, fake, 2)
    # the nearest and the second nearest fake
    within = distances <= balls.radii[:, None] * (1 + RIM)
    covered = within[:, 0].double()
    nearly = (distances[:, 0] <= balls.next_radii * (1 + RIM)) & ~within[:, 0]
    without_real = (balls.changes(nearly) - covered + covered.mean()) / (len(covered) - 1)
    without_fake = torch.bincount(
        indices[within[:, 0] & ~within[:, 1], 0], minlength=len(fake)
    ).double() / len(covered)
    return _measurement(
        "coverage", covered.mean(), jackknife(without_real, without_fake), fake, balls
    )


def _measurement(
    name: str, value: Tensor, error: float, points: Tensor, balls: Balls
) -> Measurement:
    return Measurement(
        name, value.item(), error, min(len(points), len(balls.centres)), size_matters=True
    )


def balls_of(points: Tensor, k: int) -> Balls:
    """Returns the ball of each point, which reaches to its k-th nearest fellow."""
    # the first is the point itself, or a copy of it
    distances, indices = nearest(points, points, min(k + 2, len(points)))
    return Balls(points, distances[:, k], distances[:, -1], indices[:, 1 : k + 1])


def nearest_neighbour_accuracy(first: Tensor, second: Tensor) -> Measurement:
    """Returns how often the nearest other row of both sets together comes from a row's own set: 0.5
    where both sets are drawn from one distribution, more where they are not.

    It is the accuracy of the nearest neighbour rule, each row left out in turn. No rule can be
    right more often than (1 + TV) / 2, where TV is the total variation distance of the two
    distributions, so 2 * accuracy - 1 is a lower bound on TV, up to the noise. Clusters and gaps
    are seen even where means and covariances are equal. The error bar counts the rows as
    independent.

    Args:
        first, second: `[N, D]` each, N at least 2.

    Raises:
        CourseError: sets of different sizes, for then guessing alone would be right more often.

    Source: Schilling 1986, J. Am. Stat. Assoc. 81; Lopez-Paz & Oquab 2017 (arXiv:1610.06545); for
    images Xu et al. 2018 (arXiv:1806.07755).
    """
    first, second = check_pair(first, second, ("first", "second"))
    if len(first) != len(second):
        raise CourseError(
            f"expected two sets of equal size, got {len(first)} and {len(second)} rows; take"
            f" {min(len(first), len(second))} of each."
        )
    both = torch.cat([first, second])
    indices = nearest(both, both, 2).indices
    rows = torch.arange(len(both))
    # of equal rows either may come first
    other = torch.where(indices[:, 0] == rows, indices[:, 1], indices[:, 0])
    own = ((other < len(first)) == (rows < len(first))).double()
    error = own.std().item() / math.sqrt(len(own))
    return Measurement("1-NN accuracy", own.mean().item(), error, len(first))
