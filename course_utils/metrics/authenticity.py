"""Two published tests for copying, which compare distances alone: authenticity, and the data-copying statistic C_T.

Both need the value of held-out images beside theirs, and both mistake other failures for copying or for its absence: a blurred image is near to
everything, a noisy one far from everything. `memorization` is the test that is not fooled so; these show why it is built as it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.errors import CourseError
from course_utils.metrics.guards import check_pair
from course_utils.metrics.neighbours import nearest, nearest_distances
from course_utils.metrics.result import Measurement

MIN_CELL = 10  # images of each kind that a cell needs to count


def authenticity(generated: Tensor, train: Tensor, extractor: str = "") -> Measurement:
    """Returns the share of images that are farther from their nearest training image than that one is from the other training images.

    Honest images do not reach 1: the value of held-out images, about one half, is what to compare with.

    Args:
        generated, train: features `[N, D]`, `[T, D]` of one extractor, T at least 2.
        extractor: name of the features, for the result.

    Source: Alaa et al. 2022 (arXiv:2102.08921), the authenticity score.
    """
    generated, train = check_pair(generated, train, ("generated", "train"))
    found = nearest(generated, train)
    owners, which = found.indices[:, 0].unique(return_inverse=True)
    radii = nearest_distances(train[owners], train, 2)[:, 1]  # the first is the image itself
    authentic = (found.distances[:, 0] > radii[which]).double()
    return Measurement("authenticity", authentic.mean().item(), authentic.std().item() / math.sqrt(len(authentic)), len(authentic), extractor)


def data_copying_statistic(
    generated: Tensor, heldout: Tensor, cells: tuple[Tensor, Tensor] | None = None
) -> float:
    """Returns C_T, standard normal where generated images are as far from the training images as held-out ones; far below 0 means nearer.

    Args:
        generated, heldout: distances to the nearest training image, `[N]` and `[M]`.
        cells: regions of image space, such as classes, that the images lie in, int64 `[N]` and `[M]`; distances compare within a cell only. None
            takes one cell. The result is the mean over cells, weighted by the held-out images in each.

    Raises:
        CourseError: no cell holds ten images of each kind.

    Source: Meehan et al. 2020 (arXiv:2004.05675), the statistics Z_U (Mann & Whitney's U, standardised) and C_T. Deviation: ties count half.
    """
    distances = [torch.as_tensor(x).double().flatten() for x in (generated, heldout)]
    cells = tuple(torch.zeros(len(x), dtype=torch.int64) for x in distances) if cells is None else cells
    if [len(x) for x in cells] != [len(x) for x in distances]:
        raise CourseError(f"cells: expected {[len(x) for x in distances]}, one for each distance, got {[len(x) for x in cells]}.")
    total, weight = 0.0, 0
    for cell in cells[1].unique():
        ours, theirs = (x[which == cell] for x, which in zip(distances, cells))
        if min(len(ours), len(theirs)) >= MIN_CELL:
            total += len(theirs) * _mann_whitney(ours, theirs)
            weight += len(theirs)
    if weight == 0:
        raise CourseError(f"expected at least {MIN_CELL} generated and {MIN_CELL} held-out images in one cell; give more images or fewer cells.")
    return total / weight


def _mann_whitney(first: Tensor, second: Tensor) -> float:
    """Returns the z-score of U, above 0 where `first` tends to be larger."""
    ordered = second.sort().values
    lower = torch.searchsorted(ordered, first).double()
    lower_or_equal = torch.searchsorted(ordered, first, right=True).double()
    n, m = len(first), len(second)
    u = 0.5 * (lower + lower_or_equal).sum().item()
    return (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
