"""Guidance on a mixture of Gaussians, where the guided score is known."""

from __future__ import annotations

import pytest
import torch
from exact import noise

from course_utils.base.errors import CourseError
from course_utils.models.diffusion.exact import GaussianMixture, ring
from course_utils.models.diffusion.samplers import Guided, sample
from course_utils.models.diffusion.schedules import (
    SCHEDULES,
    TARGETS,
    convert_prediction,
    make_schedule,
    score_of,
)

EACH = pytest.mark.parametrize(
    "schedule",
    [make_schedule(name) for name in sorted(SCHEDULES)],
    ids=lambda schedule: schedule.name,
)
MIXTURE = ring(num_classes=2)
NULL = MIXTURE.num_classes


class Network:
    """The mixture's denoiser as a network: takes a label or the null label, and counts how many
    images it is asked about.
    """

    def __init__(self, mixture, schedule):
        self.mixture, self.schedule, self.num_images = mixture, schedule, 0

    def __call__(self, xt, t, labels):
        self.num_images += len(xt)
        return self.mixture.denoise(self.schedule, xt, t, labels)


@EACH
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_guided_denoiser_has_the_closed_form_score(schedule, scale):
    xt, labels = noise(6, 1), torch.tensor([0, 1, 0, 1, 0, 1])
    for time in (0.1, 0.5, 0.9):
        t = torch.full((6,), time).double()
        x0 = Guided(Network(MIXTURE, schedule), labels, NULL, scale)(xt, t)
        torch.testing.assert_close(
            score_of(x0, schedule, xt, t),
            MIXTURE.guided_score(schedule, xt, t, labels, scale),
            atol=1e-7,
            rtol=1e-7,
        )


@EACH
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_scale_one_is_conditional_and_zero_unconditional(schedule, scale):
    xt, t, labels = noise(4, 2), torch.full((4,), 0.6).double(), torch.tensor([0, 1, 1, 0])
    network = Network(MIXTURE, schedule)
    expected = MIXTURE.denoise(schedule, xt, t, labels if scale == 1 else None)
    torch.testing.assert_close(
        Guided(network, labels, NULL, scale)(xt, t), expected, atol=1e-12, rtol=0
    )
    assert network.num_images == 4, "one call is enough"


def test_any_target_gives_the_same_guidance():
    """Mixing eps, v or velocity with the scale and then reading off x0 equals mixing x0."""
    schedule, scale = make_schedule("cosine"), 2.5
    xt, t, labels = noise(4, 3), torch.full((4,), 0.4).double(), torch.tensor([0, 1, 1, 0])
    guided = Guided(Network(MIXTURE, schedule), labels, NULL, scale)(xt, t)
    for target in TARGETS:
        seen = [
            convert_prediction(
                MIXTURE.denoise(schedule, xt, t, given), "x0", target, schedule, xt, t
            )
            for given in (labels, None)
        ]
        mixed = seen[1] + scale * (seen[0] - seen[1])
        torch.testing.assert_close(
            convert_prediction(mixed, target, "x0", schedule, xt, t), guided, atol=1e-9, rtol=1e-9
        )


def test_guided_flow_between_two_gaussians_has_a_closed_form():
    """p(x) = N(0, S²) and p(x | label) = N(m, S²) need one linear equation, whose solution moves
    the mean by scale times as much.
    """
    schedule, scale, mean, std = make_schedule("cosine"), 3.0, 0.5, 0.8

    def network(xt, t, labels):
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        centre = torch.where(labels[:, None] == 0, mean, 0.0)
        return centre + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (xt - alpha * centre)

    x = noise(500, 4)
    got = sample(
        Guided(network, torch.zeros(500).long(), 1, scale), schedule, x, 400, sampler="ab2"
    ).x
    # the guided score is that of N(scale m, S²) at all times
    torch.testing.assert_close(got, scale * mean + std * x, atol=2e-3, rtol=0)


def test_samples_follow_their_label_and_guidance_tightens_them():
    schedule, labels = make_schedule("flow"), torch.arange(600) % 2
    # classes that overlap
    wide = GaussianMixture(MIXTURE.shares, MIXTURE.means, 4 * MIXTURE.covariances, MIXTURE.classes)
    share = []
    for scale in (0.0, 1.0, 3.0):
        x = sample(
            Guided(Network(wide, schedule), labels, NULL, scale),
            schedule,
            noise(600),
            40,
            sampler="ab2",
        ).x
        probabilities = wide.class_probabilities(schedule, x, torch.full((600,), 0.02).double())
        share.append(probabilities[torch.arange(600), labels].mean().item())
    assert share[0] == pytest.approx(0.5, abs=0.06) and share[0] + 0.1 < share[1] < share[2] - 0.1


@pytest.mark.parametrize(
    ("scale", "interval", "calls"),
    [(1.0, (0.0, 1.0), 10), (2.0, (0.0, 1.0), 20), (2.0, (0.2, 0.7), 15), (0.0, (0.3, 0.3), 10)],
)
def test_calls_are_counted_image_by_image(scale, interval, calls):
    schedule = make_schedule("flow")
    network = Network(MIXTURE, schedule)
    guided = Guided(network, torch.zeros(3).long(), NULL, scale, interval)
    assert (
        sample(guided, schedule, noise(3).float(), 10).num_calls == calls == network.num_images / 3
    )


def test_outside_its_interval_guidance_is_the_conditional_denoiser():
    schedule, labels = make_schedule("flow"), torch.tensor([0, 1])
    guided, plain = (
        Guided(Network(MIXTURE, schedule), labels, NULL, scale, (0.2, 0.7)) for scale in (3.0, 1.0)
    )
    xt = noise(2)
    for time, equal in ((0.1, True), (0.2, True), (0.5, False), (0.7, False), (0.8, True)):
        t = torch.full((2,), time).double()
        assert torch.equal(guided(xt, t), plain(xt, t)) == equal, time


def test_the_limit_cuts_off_after_the_exaggeration():
    schedule, labels, xt, t = (
        make_schedule("flow"),
        torch.tensor([0, 1]),
        noise(2),
        torch.full((2,), 0.5).double(),
    )
    free, cut = (
        Guided(Network(MIXTURE, schedule), labels, NULL, 6.0, limit=limit)(xt, t)
        for limit in (None, 0.3)
    )
    assert free.abs().max() > 0.3 and torch.equal(cut, free.clamp(-0.3, 0.3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": -1.0}, "guidance_scale: expected 0 or more, got -1.0"),
        ({"interval": (0.7, 0.2)}, "guidance_interval: expected two rising times"),
    ],
)
def test_bad_input_has_its_message(options, message):
    with pytest.raises(CourseError, match=message):
        Guided(Network(MIXTURE, make_schedule("flow")), torch.zeros(1).long(), NULL, **options)
