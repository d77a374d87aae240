"""Flows in few calls against exact results: pairings, bends of paths, velocities of a mixture, its
likelihood along the flow, and reflow.
"""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from scipy.integrate import quad

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.base import Batch
from course_utils.models.diffusion.exact import ring
from course_utils.models.diffusion.flows import optimal_transport_pairing, path_bends
from course_utils.models.diffusion.model import DiffusionConfig
from course_utils.models.diffusion.schedules import flow_schedule
from course_utils.studies.flow_toys import exact_velocity
from course_utils.studies.likelihoods import flow_log_density, rising_times
from course_utils.training.registry import build

SMALL = DiffusionConfig(channels=(8,), image_size=8, num_classes=4, num_steps=2, num_pairs=12)


def squared_length(noise, images, order):
    return (noise[order] - images).square().sum().item()


def test_the_pairing_is_the_best_of_all_orders():
    rng = make_rng(0)
    noise, images = torch.randn(2, 6, 1, 2, 2, generator=rng)
    found = optimal_transport_pairing(noise, images)
    assert sorted(found.tolist()) == list(range(6))
    best = min(
        squared_length(noise, images, list(order)) for order in itertools.permutations(range(6))
    )
    assert squared_length(noise, images, found) == pytest.approx(best)


def test_on_a_line_the_best_pairing_keeps_the_order():
    noise, images = torch.randn(2, 40, 1, generator=make_rng(1))
    paired = noise[optimal_transport_pairing(noise, images)]
    assert torch.equal(paired[:, 0].argsort(), images[:, 0].argsort())


def test_noise_stays_within_its_class():
    rng = make_rng(2)
    noise, images = torch.randn(2, 30, 3, generator=rng)
    labels = torch.randint(4, (30,), generator=rng)
    found = optimal_transport_pairing(noise, images, labels)
    assert torch.equal(labels[found], labels) and sorted(found.tolist()) == list(range(30))
    for label in range(4):
        rows = labels == label
        within = optimal_transport_pairing(noise[rows], images[rows])
        torch.testing.assert_close(noise[found][rows], noise[rows][within])


@pytest.mark.parametrize(
    ("shape", "labels", "words"), [((4, 3), None, "noise"), ((4, 2), torch.zeros(3), "labels")]
)
def test_what_cannot_be_paired_is_refused(shape, labels, words):
    with pytest.raises(CourseError, match=words):
        optimal_transport_pairing(torch.zeros(shape), torch.zeros(4, 2), labels)


def test_paths_to_one_point_are_straight_and_those_of_a_gaussian_bend_as_computed():
    noise = torch.randn(50, 2, generator=make_rng(3), dtype=torch.float64)
    point = torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert path_bends(lambda x, t: (x - point) / t[:, None], noise).max() < 1e-20
    std = 0.5

    def velocity(x, t):
        t = t[:, None]
        return (t - (1 - t) * std**2) / (t**2 + (1 - t) ** 2 * std**2) * x

    # a path is x_1 r(t) with r(t)^2 = t^2 + (1 - t)^2 std^2
    def radius(t):
        return (t**2 + (1 - t) ** 2 * std**2) ** 0.5

    def slope(t):
        return (t - (1 - t) * std**2) / radius(t)

    way = 1 - std
    expected = quad(lambda t: (slope(t) - way) ** 2, 0, 1)[0] / way**2
    found = path_bends(velocity, noise, 1000)
    torch.testing.assert_close(found, torch.full((50,), expected).double(), rtol=0.01, atol=0)
    with pytest.raises(CourseError, match="num_steps"):
        path_bends(velocity, noise, 1)


def test_the_marginal_velocity_is_the_mean_of_the_conditional_ones():
    """Monte Carlo over the images that x_t may have come from, weighed by how likely they are."""
    mixture, t = ring(4, 1.0, 0.3), 0.6
    rng = make_rng(4)
    x = mixture.sample(5, rng)[0] * (1 - t) + t * torch.randn(5, 2, generator=rng)
    images = mixture.sample(200_000, rng)[0]
    eps = (x[:, None] - (1 - t) * images) / t  # [5, M, 2]
    weights = (-0.5 * eps.square().sum(2)).softmax(1)[..., None]
    conditional = eps - images
    mean = (weights * conditional).sum(1)
    error = (weights.square() * (conditional - mean[:, None]).square()).sum(1).sqrt()
    found = exact_velocity(mixture, x, torch.full((5,), t))
    assert ((found - mean).abs() < 4.5 * error).all() and error.max() < 0.02


def test_the_flow_gives_the_density_of_a_mixture_to_a_thousandth_of_a_nat():
    mixture, start = ring(4, 1.0, 0.3), 0.01
    mixture = type(mixture)(
        mixture.shares.double(), mixture.means.double(), mixture.covariances.double(),
        mixture.classes,
    )  # fmt: skip
    known = mixture.at(flow_schedule(), start)
    rng = make_rng(8)
    images, noise = mixture.sample(20, rng)[0], torch.randn(20, 2, generator=rng)
    x = (1 - start) * images + start * noise
    found = flow_log_density(
        partial(exact_velocity, mixture), x, rising_times(start, 300), exact_trace=True
    )
    torch.testing.assert_close(found, known.log_prob(x), rtol=0, atol=1e-3)
    few = flow_log_density(
        partial(exact_velocity, mixture), x, rising_times(start, 1), exact_trace=True
    )
    assert (few - known.log_prob(x)).abs().mean() > 0.1  # one step: of nothing


def test_reflow_learns_from_the_pairs_of_its_teacher_alone():
    teacher = build(SMALL, 1).eval()
    model = build(override(SMALL, {"teacher": "diffusion", "label_dropout": 0.0}), 2)
    assert model.learns_from == "diffusion" and build(SMALL).learns_from is None
    batch = Batch(torch.zeros(6, 1, 8, 8), torch.zeros(6, dtype=torch.int64))
    with pytest.raises(CourseError, match="start_from"):
        model.loss(batch, rng=make_rng(0))
    model.start_from(teacher, seed=3)
    for name, value in teacher.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert model.pairs.labels.tolist() == [0, 1, 2, 3] * 3
    drawn = teacher.sample(12, labels=model.pairs.labels, rng=make_rng(3, 0))
    assert torch.equal(model.pairs.images, drawn)
    first = model.loss(batch, rng=make_rng(5))
    other = model.loss(Batch(torch.ones(6, 1, 8, 8), batch.labels), rng=make_rng(5))
    assert torch.equal(first["loss"], other["loss"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"schedule": "cosine"}, "'flow'"), ({"channels": (12,)}, "same network"),
     ({"sampler": "ddpm"}, "deterministic")],
)  # fmt: skip
def test_reflow_refuses_other_teachers(changes, words):
    model = build(override(SMALL, {"teacher": "diffusion"}))
    with pytest.raises(CourseError, match=words):
        model.start_from(build(override(SMALL, changes)))


def test_a_teacher_s_pairs_leave_no_other_pairing():
    with pytest.raises(CourseError, match="pairing"):
        override(SMALL, {"teacher": "diffusion", "pairing": "optimal_transport"})


def test_labels_are_hidden_from_reflow_as_often_as_its_settings_say():
    model = build(override(SMALL, {"teacher": "diffusion", "label_dropout": 1.0}))
    model.start_from(build(SMALL).eval())
    seen = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2]))
    batch = Batch(torch.zeros(6, 1, 8, 8), torch.zeros(6, dtype=torch.int64))
    model.loss(batch, rng=make_rng(0))
    assert seen[0].tolist() == [SMALL.null_label] * 6


def test_paired_training_shortens_the_way_from_noise_to_image():
    """With the batch's noise in the best order, the target noise - image is smaller."""
    rng = make_rng(6)
    images = torch.randn(64, 1, 8, 8, generator=rng).sign()
    batch = Batch(images, torch.zeros(64, dtype=torch.int64))
    found = {}
    for pairing in ("independent", "optimal_transport"):
        model = build(override(SMALL, {"pairing": pairing}))
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)  # predicts 0, so that the error is the target's square
        found[pairing] = model.loss(batch, rng=make_rng(7))["target_mse"].mean().item()
    assert found["optimal_transport"] < 0.97 * found["independent"]
