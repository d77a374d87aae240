"""How well a score tells outliers from ordinary images: the ROC curve and the area under it.

Source: Hanley & McNeil 1982, Radiology 143(1), for the area; DeLong et al. 1988, Biometrics 44(3),
eqs. 3-5, for its error bar.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import Measurement


class Roc(NamedTuple):
    """Shares from 0 to 1 as the threshold falls, `[T]` each: of ordinary images called outliers,
    and of outliers found.
    """

    false_alarms: Tensor
    hits: Tensor


def auc(inside: Tensor, outside: Tensor) -> Measurement:
    """Returns the area under the ROC curve: how often a random outlier scores higher than a random
    ordinary image, ties counting half.

    1/2 is blind guessing; below it the score has the wrong sign.

    Args:
        inside, outside: scores of ordinary images and of outliers, `[N]` and `[M]`, higher is
            stranger; at least 2 each.
    """
    inside, outside = _checked("inside", inside), _checked("outside", outside)
    of_outliers, of_ordinary = _share_below(outside, inside), 1 - _share_below(inside, outside)
    error = math.sqrt(
        of_outliers.var().item() / len(outside) + of_ordinary.var().item() / len(inside)
    )
    return Measurement("AUC", of_outliers.mean().item(), error, min(len(inside), len(outside)))


def roc(inside: Tensor, outside: Tensor) -> Roc:
    """Returns the ROC curve from (0, 0) to (1, 1), one point a threshold; arguments as for
    `auc`.
    """
    inside, outside = _checked("inside", inside), _checked("outside", outside)
    thresholds = torch.cat([inside, outside]).unique().flip(0)
    shares = [
        1 - torch.searchsorted(scores.sort().values, thresholds).double() / len(scores)
        for scores in (inside, outside)
    ]
    return Roc(*(torch.cat([torch.zeros(1, dtype=torch.float64), share]) for share in shares))


def _share_below(scores: Tensor, others: Tensor) -> Tensor:
    """Returns for each score the share of the others below it, ties counting half, `[N]`."""
    ordered = others.sort().values
    below, at_most = (
        torch.searchsorted(ordered, scores),
        torch.searchsorted(ordered, scores, right=True),
    )
    return (below + at_most).double() / (2 * len(others))


def _checked(name: str, scores: Tensor) -> Tensor:
    scores = torch.as_tensor(scores).detach().cpu().double()
    if scores.ndim != 1 or len(scores) < 2:
        raise CourseError(
            f"{name}: expected at least 2 finite scores, [N], got {list(scores.shape)}; give one"
            " score an image, of more images."
        )
    if num := int((~scores.isfinite()).sum()):
        raise CourseError(
            f"{name}: expected at least 2 finite scores and no other, got {num} of {len(scores)}"
            " that are NaN or infinite; the model or the score has diverged."
        )
    return scores
