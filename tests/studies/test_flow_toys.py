"""Flows on the ring: exact velocity, training on fresh points and on couples, and MeanFlow."""

from __future__ import annotations

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.studies import flow_toys as toys

NOISE = torch.randn(300, 2, generator=make_rng(1))


def flow_loss(network, x0, noise, rng):
    t = torch.rand(len(x0), generator=rng)
    xt = (1 - t[:, None]) * x0 + t[:, None] * noise
    return (network(xt, t) - (noise - x0)).square().mean(1)


def test_the_mixture_is_where_the_points_come_from():
    points = toys.flow_points(20_000, make_rng(0))
    mixture = toys.ring_mixture()
    drawn, _ = mixture.sample(20_000, make_rng(1))
    for found in (points.double(), drawn):
        covariance = torch.cov(found.T)
        expected = (0.5 + toys.FLOW_STD**2) * torch.eye(2, dtype=torch.float64)
        torch.testing.assert_close(covariance, expected, atol=0.02, rtol=0)
    assert toys.flow_coverage(points) == pytest.approx((8, 0.989), abs=0.003)


def test_the_exact_velocity_leads_to_the_ring_and_keeps_the_mean_of_pairs():
    mixture = toys.ring_mixture()
    reached = toys.walk_points(lambda x, t: toys.exact_velocity(mixture, x, t), NOISE.double(), 60)
    assert toys.flow_coverage(reached[-1]).share_near > 0.95
    # least squares: no other answer is nearer to noise - x0
    x0, noise = mixture.sample(4000, make_rng(2))[0], torch.randn(4000, 2, generator=make_rng(3))
    t = torch.full((4000,), 0.6)
    exact = toys.exact_velocity(mixture, 0.4 * x0 + 0.6 * noise, t)
    errors = [((1 + a) * exact - (noise - x0)).square().mean().item() for a in (-0.1, 0, 0.1)]
    assert errors[1] == min(errors)
    with pytest.raises(CourseError, match="times above 0"):
        toys.exact_velocity(mixture, x0[:1], torch.zeros(1))


def test_a_training_repeats_itself_and_learns():
    losses = []
    first = toys.train_point_flow(
        flow_loss, num_steps=60, on_step=lambda loss, network: losses.append(loss)
    )
    second = toys.train_point_flow(flow_loss, num_steps=60)
    t = torch.full((300,), 0.5)
    torch.testing.assert_close(first(NOISE, t), second(NOISE, t), rtol=0, atol=0)
    assert sum(losses[-10:]) < 1.9 * sum(losses[:5]) and len(losses) == 60


def test_couples_stay_together_and_a_start_is_taken_over():
    """The noise of a couple is its point turned by a quarter: the loss sees no other pair."""
    points = torch.randn(50, 2, generator=make_rng(4))
    turned = torch.stack([-points[:, 1], points[:, 0]], dim=1)
    seen = []

    def loss_of(network, x0, noise, rng):
        seen.append((x0 * noise).sum(1).abs().max().item())
        return network(x0, torch.ones(len(x0))).square().sum(1)

    start = toys.PointFlow()
    options = {"couples": (points, turned), "start": start, "num_steps": 1}
    trained = toys.train_point_flow(loss_of, **options)
    assert max(seen) < 1e-6
    t = torch.ones(300)
    assert 0 < (trained(NOISE, t) - start(NOISE, t)).abs().max() < 0.2


def test_the_divergence_is_the_trace_of_the_jacobian():
    matrix = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])

    def velocity(x, t):
        return x @ matrix.T + t[:, None] * x**2

    t = torch.full((300,), 0.3)
    expected = 1.5 + 0.6 * NOISE.sum(1)
    torch.testing.assert_close(toys.exact_divergence(velocity, NOISE, t), expected)


def test_mean_flow_without_apart_times_is_flow_matching():
    """With r = t everywhere the target is noise - x0, whatever the derivative of the network."""
    torch.manual_seed(0)
    network = toys.PointFlow(2, 1000.0)
    errors = toys._mean_flow_errors(network, 0.0, True, make_rng(5))
    rng = make_rng(5)
    x0, noise = toys._batch(None, rng)
    t = torch.rand(2, toys.BATCH_SIZE, generator=rng).amax(0)
    xt = (1 - t[:, None]) * x0 + t[:, None] * noise
    torch.testing.assert_close(errors, (network(xt, t, t) - noise + x0).square().sum(1))


def test_the_target_of_mean_flow_is_its_identity():
    """A network whose mean velocity is known: u(x, t, r) = a (t + r) / 2 + b x-free terms."""
    slope = torch.tensor([0.7, -0.2])

    def network(x, t, r):
        return 0.5 * (t + r)[:, None] * slope

    errors = toys._mean_flow_errors(network, 1.0, True, make_rng(6))
    rng = make_rng(6)
    x0, noise = toys._batch(None, rng)
    two = torch.rand(2, toys.BATCH_SIZE, generator=rng)
    t, r = two.amax(0), two.amin(0)
    target = noise - x0 - (t - r)[:, None] * 0.5 * slope
    torch.testing.assert_close(errors, (network(x0, t, r) - target).square().sum(1))


def test_mean_flow_diverges_with_fast_sines_and_learns_without():
    lost = toys.train_mean_flow(num_steps=60, fastest=1000.0)
    assert lost.network is None and lost.coverage is None and len(lost.losses) < 60
    assert not lost.losses[-1] < toys.DIVERGED
    kept = toys.train_mean_flow(num_steps=60)
    assert kept.network is not None and max(kept.losses) < 10
    words = toys.mean_flow_words({"fast": [lost], "slow": [kept]})
    assert f"fast: 1 of 1 diverged, the first at step {len(lost.losses)}" in words
    assert "slow: 0 of 1 diverged; share near a mode after one call" in words


def test_bad_input_is_refused():
    with pytest.raises(CourseError, match="num_times"):
        toys.PointFlow(3)
    with pytest.raises(CourseError, match="share_apart"):
        toys.train_mean_flow(share_apart=2.0)
    with pytest.raises(CourseError, match="num_steps"):
        toys.walk_points(lambda x, t: x, NOISE, 0)
