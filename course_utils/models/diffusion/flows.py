"""What makes the paths of a flow straight, so that few calls suffice: pairing by optimal transport,
pairs that a trained flow draws itself (reflow), and a number for how much paths bend.

Times and signs are those of the schedule "flow": x_t = (1 - t) image + t noise, and the velocity is
noise - image.

Source: reflow and straightness: Liu et al. 2023 (arXiv:2209.03003), sec. 2.2 and eq. 5; pairing
within a batch: Tong et al. 2024 (arXiv:2302.00482), sec. 3.2, and Pooladian et al. 2023
(arXiv:2304.14772).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import ImageNoise, make_rng
from course_utils.base.errors import CourseError
from course_utils.models.base import Model


class FlowPairs(NamedTuple):
    """Where a flow takes noise: noise `[N, C, H, W]`, the ordered classes `[N]` and the images that
    it drew, in [-1, 1], `[N, C, H, W]`.
    """

    noise: Tensor
    labels: Tensor
    images: Tensor


def draw_pairs(
    teacher: Model, num_pairs: int, seed: int = 0, images_per_call: int = 500
) -> FlowPairs:
    """Returns noises and the images that a model makes of them with its own sampler, as many of
    each class.

    Args:
        teacher: a conditional model whose sampler adds no noise on the way.
        num_pairs: N.
        seed: of the noises.
        images_per_call: drawn at once; part of what makes pairs equal.

    Source: Liu et al. 2023 (arXiv:2209.03003), alg. 1.
    """
    labels = torch.arange(num_pairs) % teacher.config.num_classes
    noises, images = [], []
    for piece, some in enumerate(labels.split(images_per_call)):
        noise = ImageNoise(len(some), make_rng(seed, piece))
        noises.append(noise.normal(teacher.config.image_shape, torch.empty(())))
        # from an equal generator the teacher draws equal noise
        images.append(teacher.sample(len(some), labels=some, rng=make_rng(seed, piece)).cpu())
    return FlowPairs(torch.cat(noises), labels, torch.cat(images))


def optimal_transport_pairing(
    noise: Tensor, images: Tensor, labels: Tensor | None = None
) -> Tensor:
    """Returns which noise belongs to which image so that the sum of squared distances is smallest,
    int64 `[B]`: `noise[result]` is paired with `images`.

    Each noise and each image is used once, so both keep their distributions, and only how they meet
    changes. Where labels are given, noise changes places only within a class: a model that is told
    the class has to learn p(image | class) from all noise, and pairs across classes would give
    every class noise of its own.

    Args:
        noise: `[B, ...]`.
        images: `[B, ...]`, of the same shape.
        labels: int64 `[B]`, the classes that the model is told.

    Raises:
        CourseError: two shapes, or another number of labels.

    Source: Tong et al. 2024 (arXiv:2302.00482), alg. 3. The assignment is SciPy's, exact within the
    batch; its cost grows with the cube of the largest group.
    """
    if noise.shape != images.shape:
        raise CourseError(
            f"noise: expected the shape of the images, {list(images.shape)}, got"
            f" {list(noise.shape)}."
        )
    if labels is not None and labels.shape != (len(images),):
        raise CourseError(f"labels: expected [{len(images)}], got {list(labels.shape)}.")
    groups = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels.cpu()
    chosen = torch.arange(len(images))
    for group in groups.unique():
        rows = (groups == group).nonzero()[:, 0]
        here = rows.to(images.device)
        costs = torch.cdist(images[here].flatten(1).float(), noise[here].flatten(1).float())
        _, columns = linear_sum_assignment(costs.square().cpu().numpy())
        chosen[rows] = rows[torch.from_numpy(columns)]
    return chosen.to(images.device)


@torch.no_grad()
def path_bends(
    velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, num_steps: int = 20
) -> Tensor:
    """Returns how much the path from each noise bends, float64 `[B]`: the mean over time of the
    squared difference between the velocity and the straight way from the path's start to its end,
    as a share of the squared length of that way. 0 is a straight line at constant speed, which one
    Euler step follows exactly.

    Args:
        velocity: x_t `[B, ...]` and equal times `[B]` -> dx_t/dt, shaped like x_t.
        noise: x_1, `[B, ...]`.
        num_steps: Euler steps of the path; more show more of its bends.

    Source: Liu et al. 2023 (arXiv:2209.03003), eq. 5, divided by the squared length.
    """
    require(num_steps >= 2, "num_steps", "2 or more; one step has no bend", num_steps)
    x, velocities = noise, []
    for step in range(num_steps):
        t = torch.full((len(x),), 1 - step / num_steps, dtype=x.dtype, device=x.device)
        velocities.append(velocity(x, t))
        x = x - velocities[-1] / num_steps
    way = (noise - x).flatten(1).double()
    bends = [(one.flatten(1).double() - way).square().sum(1) for one in velocities]
    return torch.stack(bends).mean(0) / way.square().sum(1)
