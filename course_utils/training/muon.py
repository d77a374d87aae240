"""Muon: momentum whose singular values are all set to about 1, for the weights of hidden layers.

A gradient of a weight matrix is often dominated by a few directions, and Adam, which rescales each
number by itself, leaves it so. Muon steps equally far in every direction that the momentum spans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
# x -> a x + b x^3 + c x^5, five times, brings singular values from (0, 1] to about 0.7 ... 1.2.
# Source: Jordan 2024, https://kellerjordan.github.io/posts/muon
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """Returns U V^T of the singular value decomposition U S V^T, roughly: the singular values
    become 0.7 to 1.2, except those below about 1/1000 of the matrix's norm.

    The iteration multiplies by a polynomial of the small square matrix X X^T, so all of it is done
    on that matrix, and the large one is multiplied twice only.

    Args:
        matrix: `[M, N]`.

    Source: Newton-Schulz iteration as in Jordan 2024.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram, identity = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    total = identity
    for _ in range(NUM_ITERATIONS):
        factor = a * identity + b * gram + c * gram @ gram
        total, gram = factor @ total, factor @ gram @ factor
    x = total @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, as the step of weights with two dimensions or more; a
    convolution counts as the matrix `[channels out, channels in x places]`.

    The step is as long for every matrix of a shape, so the learning rate is not Adam's: 0.02 is
    where to start.

    Source: Jordan 2024, https://kellerjordan.github.io/posts/muon; the factor for tall matrices as
    there.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 0.02) -> None:
        super().__init__(list(params), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Updates the weights that have a gradient.

        Args:
            closure: part of PyTorch's interface, not used.
        """
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].mul_(MOMENTUM).add_(weight.grad)
                matrix = (weight.grad + MOMENTUM * momentum).flatten(1)
                length = math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
                update = orthogonalised(matrix).reshape(weight.shape)
                weight.add_(update, alpha=-group["lr"] * length)
