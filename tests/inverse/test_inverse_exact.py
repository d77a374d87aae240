"""The exact posterior against a dense computation of its own, against Bayes' rule on a grid, and
against its own draws.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.inverse.exact import exact_posterior
from course_utils.inverse.operators import dense
from course_utils.inverse.problems import make_problem
from course_utils.models.diffusion.exact import GaussianMixture

SHAPE, DIM, NUM_COMPONENTS = (1, 4, 4), 16, 3
NAMES = ["denoise", "inpaint-half", "inpaint-random", "super-resolution", "deblur", "fourier"]


def mixture(num_components=NUM_COMPONENTS, seed=0):
    rng = make_rng(seed)
    roots = 0.25 * torch.randn(num_components, DIM, DIM, generator=rng, dtype=torch.float64)
    shares = torch.rand(num_components, generator=rng, dtype=torch.float64) + 0.2
    return GaussianMixture(
        shares=shares / shares.sum(),
        means=0.5 * torch.randn(num_components, DIM, generator=rng, dtype=torch.float64),
        covariances=roots @ roots.mT + 0.01 * torch.eye(DIM, dtype=torch.float64),
        classes=torch.arange(num_components),
    )


def measured(prior, problem, num=4):
    images = prior.sample(num, make_rng(1))[0].view(num, *SHAPE)
    return problem.measure(images, make_rng(2))


@pytest.mark.parametrize("name", NAMES)
def test_posterior_is_the_conditional_of_the_joint_gaussian(name):
    """x and y are jointly Gaussian in each component; NumPy conditions them by the block inverse of
    the joint precision.
    """
    prior, problem = mixture(), make_problem(name, SHAPE, 0.2)
    y = measured(prior, problem)
    posterior = exact_posterior(prior, problem, y)
    a, flat = dense(problem.operator).numpy(), y.flatten(1).numpy()
    for k in range(NUM_COMPONENTS):
        mean, cov = prior.means[k].numpy(), prior.covariances[k].numpy()
        precision = np.linalg.inv(cov) + a.T @ a / 0.2**2
        expected = np.linalg.solve(
            precision, (np.linalg.inv(cov) @ mean)[:, None] + a.T @ flat.T / 0.2**2
        ).T
        np.testing.assert_allclose(posterior.means[:, k], expected, atol=1e-8)
        np.testing.assert_allclose(posterior.covariances[k], np.linalg.inv(precision), atol=1e-8)
    joint = [
        prior.shares[k].item()
        * multivariate_normal(
            a @ prior.means[k].numpy(),
            a @ prior.covariances[k].numpy() @ a.T + 0.04 * np.eye(len(a)),
        ).pdf(flat)
        for k in range(NUM_COMPONENTS)
    ]
    np.testing.assert_allclose(
        posterior.shares, np.array(joint).T / np.sum(joint, 0)[:, None], atol=1e-8
    )


@pytest.mark.parametrize("name", ["inpaint-half", "super-resolution"])
def test_mean_and_covariance_are_those_of_weighted_prior_draws(name):
    """Importance sampling knows nothing of gains: draws of the prior, weighted by p(y | x)."""
    prior, problem = mixture(), make_problem(name, SHAPE, 1.0)
    y = measured(prior, problem, 1)
    draws = prior.sample(200_000, make_rng(5))[0]
    weights = (
        -0.5 * problem.misfit(draws.view(-1, 1, *SHAPE), y)[:, 0].square() * y[0].numel()
    ).softmax(0)
    posterior, effective = exact_posterior(prior, problem, y), 1 / weights.square().sum().item()
    mean = weights @ draws
    covariance = (draws - mean).T @ (weights[:, None] * (draws - mean))
    spread = posterior.std()[0].flatten()
    assert ((posterior.mean()[0].flatten() - mean).abs() < 5 * spread / math.sqrt(effective)).all()
    assert (
        (posterior.covariance(0) - covariance).abs()
        < 7 * spread[:, None] * spread / math.sqrt(effective)
    ).all()
    torch.testing.assert_close(posterior.covariance(0).diagonal().sqrt(), spread)


def test_draws_have_the_posteriors_mean_and_covariance():
    prior, problem, num = mixture(), make_problem("inpaint-half", SHAPE, 0.3), 20_000
    y = measured(prior, problem, 2)
    posterior = exact_posterior(prior, problem, y)
    draws = posterior.sample(num, make_rng(3))
    assert draws.shape == (num, 2, *SHAPE)
    for index in range(2):
        own, covariance = draws[:, index].flatten(1), posterior.covariance(index)
        spread = covariance.diagonal().sqrt()
        assert (
            (own.mean(0) - posterior.mean()[index].flatten()).abs() < 5 * spread / math.sqrt(num)
        ).all()
        assert (
            (own.T.cov() - covariance).abs() < 8 * spread[:, None] * spread / math.sqrt(num)
        ).all()
    assert torch.equal(posterior.sample(3, make_rng(4)), posterior.sample(3, make_rng(4)))


def test_little_noise_pins_measured_pixels_and_leaves_the_others_free():
    prior, problem = mixture(1), make_problem("inpaint-half", SHAPE, 1e-4)
    y = measured(prior, problem)
    posterior = exact_posterior(prior, problem, y)
    assert posterior.std()[:, :, :2].max() < 2e-4 < 0.1 < posterior.std()[:, :, 2:].min()
    torch.testing.assert_close(problem.operator.forward(posterior.mean()), y, atol=1e-3, rtol=0)


def test_a_prior_of_other_images_is_refused():
    with pytest.raises(CourseError) as error:
        exact_posterior(mixture(), make_problem("denoise", (1, 8, 8)), torch.zeros(1, 1, 8, 8))
    assert "over 64 pixels, got one of 16" in str(error.value)
