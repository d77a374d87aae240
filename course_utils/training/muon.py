"""Muon: momentum whose singular values are all set to about 1, for the weights of hidden layers.

A gradient of a weight matrix is often dominated by a few directions, and Adam, which rescales each
number by itself, leaves it so. Muon steps equally far in every direction that the momentum spans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
# x -> a x + b x^3 + c x^5, five times, brings singular values from (0, 1] to about 0.7 ... 1.2.
# Source: Jordan 2024, https://kellerjordan.github.io/posts/muon
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Returns U V^T of the singular value decomposition U S V^T of each matrix, roughly: the
    singular values become 0.7 to 1.2, except those below about 1/1000 of the matrix's norm.

    Each iteration multiplies by a polynomial of the square matrix X X^T. So all iterations are done
    on that smaller matrix, for all matrices of a size at once, and X itself is multiplied twice.

    Args:
        matrices: `[M, N]` each.

    Source: Newton-Schulz iteration as in Jordan 2024.
    """
    wide = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    wide = [matrix / (matrix.norm() + 1e-7) for matrix in wide]
    sizes: dict[int, list[int]] = {}
    for index, matrix in enumerate(wide):
        sizes.setdefault(len(matrix), []).append(index)
    for members in sizes.values():
        grams = torch.stack([wide[index] @ wide[index].T for index in members])
        for index, factor in zip(members, _polynomial(grams)):
            wide[index] = factor @ wide[index]
    return [
        result.T if matrix.shape[0] > matrix.shape[1] else result
        for matrix, result in zip(matrices, wide)
    ]


def _polynomial(grams: Tensor) -> Tensor:
    """Returns what X is multiplied by in all iterations together, `[B, M, M]`, from X X^T."""
    a, b, c = COEFFICIENTS
    identity = torch.eye(grams.shape[1], dtype=grams.dtype, device=grams.device)
    total = identity.expand_as(grams)
    for _ in range(NUM_ITERATIONS):
        factor = a * identity + b * grams + c * grams @ grams
        total, grams = factor @ total, factor @ grams @ factor
    return total


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
            weights = [weight for weight in group["params"] if weight.grad is not None]
            matrices = []
            for weight in weights:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].mul_(MOMENTUM).add_(weight.grad)
                matrices.append((weight.grad + MOMENTUM * momentum).flatten(1))
            for weight, update in zip(weights, orthogonalised(matrices)):
                length = math.sqrt(max(1.0, update.shape[0] / update.shape[1]))
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * length)
