"""The GAN's losses and penalties against torch's cross-entropy and closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.dcgan import (
    GanLoss,
    discriminator_loss,
    generator_loss,
    interpolation_penalty,
    real_penalty,
)

REAL, FAKE = torch.tensor([-3.0, -0.5, 0.0, 2.0, 50.0]), torch.tensor([4.0, -1.0, 0.0, -60.0, 0.3])
LOSSES = GanLoss.__args__


def cross_entropy(scores, target):
    return F.binary_cross_entropy_with_logits(
        scores, torch.full_like(scores, target), reduction="none"
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["minimax", "non-saturating"])
def test_discriminator_minimises_the_cross_entropy_with_one_sided_smoothing(loss, smoothing):
    expected = cross_entropy(REAL, 1 - smoothing) + cross_entropy(FAKE, 0.0)
    torch.testing.assert_close(discriminator_loss(loss, REAL, FAKE, smoothing), expected)


def test_generator_losses_are_what_the_papers_define():
    torch.testing.assert_close(generator_loss("minimax", FAKE), -cross_entropy(FAKE, 0.0))
    torch.testing.assert_close(generator_loss("non-saturating", FAKE), cross_entropy(FAKE, 1.0))
    torch.testing.assert_close(
        generator_loss("relativistic", FAKE, REAL), cross_entropy(FAKE - REAL, 1.0)
    )
    torch.testing.assert_close(
        discriminator_loss("relativistic", REAL, FAKE), cross_entropy(REAL - FAKE, 1.0)
    )
    assert torch.equal(generator_loss("hinge", FAKE), -FAKE) and torch.equal(
        generator_loss("wasserstein", FAKE), -FAKE
    )
    torch.testing.assert_close(
        discriminator_loss("hinge", REAL, FAKE), torch.tensor([9.0, 1.5, 2.0, 0.0, 1.3])
    )
    assert torch.equal(discriminator_loss("wasserstein", REAL, FAKE), FAKE - REAL)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_two_players_want_opposite_things(loss):
    """At equal scores the discriminator wants real up and fake down, the generator fake up."""
    real, fake = (torch.zeros(1, requires_grad=True) for _ in range(2))
    to_real, to_fake = torch.autograd.grad(discriminator_loss(loss, real, fake).sum(), (real, fake))
    (generators,) = torch.autograd.grad(generator_loss(loss, fake, real).sum(), fake)
    assert to_real < 0 and to_fake > 0 and generators < 0


def test_minimax_gives_the_worst_generator_no_gradient_and_non_saturating_gives_it_the_most():
    score = torch.tensor([-8.0], requires_grad=True)  # D(G(z)) = 0.0003
    gradients = {
        loss: torch.autograd.grad(generator_loss(loss, score).sum(), score)[0].item()
        for loss in ("minimax", "non-saturating")
    }
    chance = torch.sigmoid(score).item()
    assert gradients["minimax"] == pytest.approx(-chance, rel=1e-4) and gradients[
        "non-saturating"
    ] == pytest.approx(chance - 1, rel=1e-4)


def test_extreme_scores_stay_finite():
    for loss in LOSSES:
        extreme = torch.tensor([-1e4, 1e4])
        assert (
            discriminator_loss(loss, extreme, extreme.flip(0)).isfinite().all()
            and generator_loss(loss, extreme, extreme).isfinite().all()
        )


@pytest.mark.parametrize(
    "function", [lambda: discriminator_loss("bce", REAL, FAKE), lambda: generator_loss("bce", FAKE)]
)
def test_an_unknown_loss_lists_the_valid_ones(function):
    with pytest.raises(CourseError) as error:
        function()
    assert "'bce'" in str(error.value) and "non-saturating" in str(error.value)


def test_penalties_of_a_linear_judge_are_known_and_reach_its_weights():
    weights = torch.randn(12, generator=make_rng(0)).requires_grad_()
    judge = lambda images: images.flatten(1) @ weights  # noqa: E731
    real, fake = torch.randn(5, 1, 3, 4, generator=make_rng(1)), torch.zeros(5, 1, 3, 4)
    r1, between = real_penalty(judge, real), interpolation_penalty(judge, real, fake, make_rng(2))
    torch.testing.assert_close(r1, 0.5 * weights.square().sum())
    torch.testing.assert_close(between, (weights.norm() - 1).square())
    torch.testing.assert_close(torch.autograd.grad(r1, weights)[0], weights)


def test_the_interpolation_penalty_is_measured_between_the_images():
    seen = []

    def judge(images):
        seen.append(images.detach())
        return images.flatten(1).sum(1)

    interpolation_penalty(judge, torch.ones(200, 1, 2, 2), torch.zeros(200, 1, 2, 2), make_rng(0))
    (points,) = seen
    assert torch.equal(points, points[:, :, :1, :1].expand_as(points)), (
        "an image has one place on its line, not one for each pixel"
    )
    assert 0 <= points.min() < 0.05 and 0.95 < points.max() <= 1


def test_penalties_are_measured_without_gradients_too():
    with torch.no_grad():
        assert real_penalty(
            lambda images: images.square().sum((1, 2, 3)), torch.ones(2, 1, 2, 2)
        ).item() == pytest.approx(8.0)
