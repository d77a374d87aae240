"""Gradient descent on a few points, such as the latents of some images, with the model held still."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def descend(loss: Callable[..., Tensor], start: list[Tensor], num_steps: int, learning_rate: float) -> list[Tensor]:
    """Returns where Adam arrives after `num_steps` from `start`, with a step size that falls linearly to zero. No model parameter is touched.

    Args:
        loss: points -> one number. Where it is a sum over rows, each row goes its own way: Adam scales coordinates one by one.
        start: tensors of any shapes.
        num_steps: 0 or more.
        learning_rate: of the first step, in the units of the points.
    """
    points = [value.detach().clone().requires_grad_() for value in start]
    optimizer = torch.optim.Adam(points, lr=learning_rate)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss(*points), points)
        for point, gradient in zip(points, gradients):
            point.grad = gradient
        optimizer.step()
    return [point.detach() for point in points]
