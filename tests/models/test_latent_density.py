"""The mixture in latent space against torch.distributions, and against the moments of what it was
fitted to.
"""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.latents import fit_latent_density


@pytest.fixture(scope="module")
def codes():
    """2,000 codes in two clusters, with narrow noise in the first dimension and wide noise in the
    second.
    """
    rng = make_rng(0)
    mu = torch.randn(2000, 2, generator=rng) * 0.3 + torch.where(
        torch.rand(2000, 1, generator=rng) < 0.3, -2.0, 2.0
    )
    return mu, torch.tensor([0.01, 1.0]).log().expand(2000, 2)


def test_density_agrees_with_torch_distributions(codes):
    density = fit_latent_density(*codes, num_components=3)
    oracle = MixtureSameFamily(
        Categorical(density.weights), MultivariateNormal(density.means, scale_tril=density.scales)
    )
    z = torch.randn(50, 2, generator=make_rng(1)).double()
    assert torch.allclose(density.log_density(z), oracle.log_prob(z))


def test_samples_have_the_aggregate_posteriors_moments(codes):
    mu, logvar = codes
    z = fit_latent_density(mu, logvar, num_components=2).sample(20_000, rng=make_rng(2))
    assert torch.allclose(z.mean(0), mu.mean(0), atol=0.1)
    # the codes' own variances are in
    assert torch.allclose(z.var(0), mu.var(0) + logvar.exp().mean(0), rtol=0.1)


def test_two_components_find_two_clusters_that_one_cannot(codes):
    one, two = (fit_latent_density(*codes, num_components=k) for k in (1, 2))
    z = codes[0][:500]
    assert two.log_density(z).mean() > one.log_density(z).mean() + 0.5
    assert sorted(two.weights.tolist())[0] == pytest.approx(0.3, abs=0.05)


def test_equal_seeds_equal_densities_and_temperature_narrows(codes):
    first, again = (fit_latent_density(*codes, num_components=2, seed=4) for _ in range(2))
    assert torch.equal(first.means, again.means)
    cold = first.sample(500, rng=make_rng(3), temperature=0.0)
    assert len(torch.unique(cold, dim=0)) == 2


def test_default_number_of_components_follows_the_images(codes):
    mu, logvar = codes
    assert len(fit_latent_density(mu, logvar).weights) == 50
    assert len(fit_latent_density(mu[:40], logvar[:40]).weights) == 10  # 2 x 2 rows each
    assert len(fit_latent_density(mu[:3], logvar[:3]).weights) == 1


def test_bad_input_has_a_clear_error(codes):
    mu, logvar = codes
    with pytest.raises(CourseError, match="more than 1000 x 2 rows"):
        fit_latent_density(mu, logvar, num_components=1000)
    with pytest.raises(CourseError, match="alike"):
        fit_latent_density(mu, logvar[:, :1])
    density = fit_latent_density(mu, logvar, num_components=1)
    with pytest.raises(CourseError, match="2 dimensions, got 3"):
        density.log_density(torch.zeros(4, 3))
    with pytest.raises(CourseError, match="at least 1"):
        density.sample(0)
