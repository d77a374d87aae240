"""Paths and grids of a latent space against their geometry; active dimensions; refusals."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import truncnorm

from course_utils.base.errors import CourseError
from course_utils.models.latents import (
    active_dims,
    arc_path,
    plane_grid,
    prior_quantiles,
    straight_path,
    traversal,
    truncated_quantiles,
)

START, END = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])


@pytest.mark.parametrize("path", [straight_path, arc_path])
def test_paths_start_and_end_where_they_should(path):
    ends = path(START, END, [0.0, 1.0])
    assert torch.allclose(ends, torch.stack([START, END]), atol=1e-6)


def test_the_arc_keeps_the_length_and_turns_evenly():
    points = arc_path(START, 2 / 3 * END, torch.linspace(0, 1, 7))
    assert torch.allclose(points.norm(dim=1), torch.full((7,), 2.0), atol=1e-5)
    turns = torch.atan2(points[:, 1], points[:, 0])
    assert torch.allclose(turns, torch.linspace(0, math.pi / 2, 7), atol=1e-5)
    assert straight_path(START, 2 / 3 * END, [0.5]).norm() == pytest.approx(2 / math.sqrt(2))


def test_parallel_ends_give_the_straight_line():
    points = arc_path(START, 2 * START, [0.25, 0.5])
    assert (
        torch.allclose(points, straight_path(START, 2 * START, [0.25, 0.5]))
        and points.isfinite().all()
    )


def test_a_traversal_moves_one_dimension():
    moved = traversal(END, 2, [-1.0, 0.0, 4.0])
    assert moved.tolist() == [
        [0.0, 3.0, -1.0],
        [0.0, 3.0, 0.0],
        [0.0, 3.0, 4.0],
    ] and END.tolist() == [0.0, 3.0, 0.0]


def test_the_grid_reads_like_a_page():
    grid = plane_grid(torch.tensor([-1.0, 0.0, 1.0]))
    assert (
        grid[0].tolist() == [-1.0, 1.0]
        and grid[2].tolist() == [1.0, 1.0]
        and grid[-1].tolist() == [1.0, -1.0]
    )


def test_quantiles_part_the_prior_evenly():
    cut = torch.distributions.Normal(0.0, 1.0).cdf(prior_quantiles(5, 0.1))
    assert torch.allclose(cut, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]), atol=1e-5)


@pytest.mark.parametrize("bound", [0.3, 1.0, 2.5, None])
def test_truncated_quantiles_follow_scipys_truncated_normal(bound):
    uniforms = torch.tensor([0.001, 0.2, 0.5, 0.77, 0.999], dtype=torch.float64)
    limit = math.inf if bound is None else bound
    right = torch.from_numpy(truncnorm.ppf(uniforms.numpy(), -limit, limit))
    torch.testing.assert_close(truncated_quantiles(uniforms, bound), right)


def test_the_ends_of_the_uniform_range_stay_within_the_bound():
    assert truncated_quantiles(torch.tensor([0.0, 1.0]), 0.7).tolist() == pytest.approx([-0.7, 0.7])


def test_a_constant_dimension_is_not_active_however_large():
    mu = torch.tensor([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]])
    assert active_dims(mu).tolist() == [True, False]
    assert active_dims(mu, threshold=1.5).tolist() == [False, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: arc_path(START, torch.zeros(3), [0.5]), "not zero"),
        (lambda: arc_path(START, -2 * START, [0.5]), "180 degrees"),
        (lambda: straight_path(START, END[:2], [0.5]), r"one shape \[D\]"),
        (lambda: traversal(END, 3, [0.0]), "dim: expected from 0 to 2"),
        (lambda: traversal(END[None], 0, [0.0]), "pass z"),
        (lambda: prior_quantiles(1), "num: expected at least 2"),
        (lambda: prior_quantiles(5, 0.7), "tail: expected between 0 and 0.5"),
        (lambda: active_dims(END), "at least 2 images"),
        (lambda: truncated_quantiles(END, -1.0), "bound: expected more than 0, or None"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(CourseError, match=message):
        call()
