"""The importance-weighted bound against a linear-Gaussian model, whose log p(x) is known in closed
form.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.likelihood import importance_weighted_bound

# x = LOADING z + noise, z in 2 dimensions, x in 3
LOADING = torch.tensor([[1.0, 0.4], [-0.5, 0.8], [0.3, -1.2]])
NOISE_STD = 0.6
POSTERIOR_PRECISION = torch.eye(2) + LOADING.T @ LOADING / NOISE_STD**2


def exact_log_p(x: Tensor) -> Tensor:
    return MultivariateNormal(
        torch.zeros(3), LOADING @ LOADING.T + NOISE_STD**2 * torch.eye(3)
    ).log_prob(x)


def observations(num: int) -> Tensor:
    rng = make_rng(1)
    return torch.randn(num, 2, generator=rng) @ LOADING.T + NOISE_STD * torch.randn(
        num, 3, generator=rng
    )


def log_joint(x: Tensor, z: Tensor) -> Tensor:
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + Normal(z @ LOADING.T, NOISE_STD).log_prob(x).sum(
        -1
    )


def posterior(x: Tensor, widen: float) -> MultivariateNormal:
    covariance = torch.linalg.inv(POSTERIOR_PRECISION)
    return MultivariateNormal(x @ LOADING @ covariance / NOISE_STD**2, widen * covariance)


def weights_from(widen: float):
    """Returns log weights whose q is the exact posterior with its covariance multiplied by
    `widen`.
    """

    def log_weights(x: Tensor, num_samples: int, *, rng: torch.Generator | None = None) -> Tensor:
        q = posterior(x, widen)
        eps = torch.randn(num_samples, len(x), 2, generator=rng)
        z = q.loc + (q.scale_tril @ eps[..., None])[..., 0]
        return log_joint(x, z) - q.log_prob(z)

    return log_weights


@pytest.mark.parametrize("num_samples", [1, 7])
def test_exact_posterior_gives_exact_log_likelihood_for_any_k(num_samples):
    x = observations(40)
    bound = importance_weighted_bound(weights_from(1.0), x, num_samples, rng=make_rng(0))
    torch.testing.assert_close(bound.per_image, exact_log_p(x).double(), atol=1e-4, rtol=0)


def test_k_of_one_is_the_elbo():
    x, widen = observations(3000), 2.0
    # KL(q || posterior) in closed form: the covariances differ by a factor, in 2 dimensions
    gap = 0.5 * 2 * (widen - 1 - math.log(widen))
    bound = importance_weighted_bound(weights_from(widen), x, 1, rng=make_rng(0))
    difference = exact_log_p(x).double() - bound.per_image
    assert abs(difference.mean().item() - gap) < 4 * difference.std().item() / len(x) ** 0.5


def test_bound_rises_with_k_towards_the_exact_value():
    x = observations(3000)
    values = [
        importance_weighted_bound(weights_from(3.0), x, k, rng=make_rng(0)).value
        for k in (1, 5, 50)
    ]
    exact = exact_log_p(x).mean().item()
    assert values[0] + 0.1 < values[1]
    assert values[1] + 0.05 < values[2]
    assert values[2] == pytest.approx(exact, abs=0.02)


class FixedWeights:
    """Log weights read from a table, so that they cannot depend on how images and draws are cut
    into pieces.
    """

    def __init__(self, table: Tensor) -> None:
        self.table, self.used, self.largest_call = table, [0] * table.shape[1], 0

    def __call__(
        self, images: Tensor, num_samples: int, *, rng: torch.Generator | None = None
    ) -> Tensor:
        index = images.flatten().long()
        first = self.used[index[0]]
        for i in index.tolist():
            self.used[i] += num_samples
        self.largest_call = max(self.largest_call, num_samples * len(images))
        return self.table[first : first + num_samples, index]


@pytest.mark.parametrize("rows_per_call", [1, 3, 8, 1000])
def test_pieces_do_not_change_the_result_and_bound_the_memory(rows_per_call):
    # exp(-800) underflows in float64
    table = torch.randn(9, 4, generator=make_rng(0), dtype=torch.float64) * 30 - 800
    weights = FixedWeights(table)
    bound = importance_weighted_bound(
        weights, torch.arange(4.0)[:, None], 9, rows_per_call=rows_per_call
    )
    torch.testing.assert_close(
        bound.per_image, table.logsumexp(0) - math.log(9), atol=1e-10, rtol=0
    )
    assert weights.used == [9] * 4
    assert weights.largest_call <= rows_per_call


def test_result_says_what_it_is():
    bound = importance_weighted_bound(
        lambda x, k, rng=None: torch.tensor([[-99.0, -101.0]]), torch.zeros(2, 1), 1
    )
    assert (bound.value, bound.num_samples) == (-100.0, 1)
    assert bound.standard_error == pytest.approx(1.0)
    assert str(bound) == "log p(x) >= -100.00 ± 1.00 nats (k = 1, 2 images)"


@pytest.mark.parametrize(
    ("num_samples", "images", "weights", "message"),
    [
        (
            0,
            torch.zeros(2, 1),
            torch.zeros(1, 2),
            "num_samples: expected a whole number of at least 1, got 0",
        ),
        (
            1,
            torch.zeros(0, 1),
            torch.zeros(1, 2),
            "number of images: expected a whole number of at least 1, got 0",
        ),
        (1, torch.zeros(2, 1), torch.zeros(2, 1), r"expected log weights of shape \[1, 2\]"),
        (1, torch.zeros(2, 1), torch.full((1, 2), math.nan), "got NaN"),
    ],
)
def test_bad_input_has_its_message(num_samples, images, weights, message):
    with pytest.raises(CourseError, match=message):
        importance_weighted_bound(lambda x, k, rng=None: weights, images, num_samples)
