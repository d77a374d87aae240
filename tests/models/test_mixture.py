"""The mixture against torch.distributions, autograd and plain sampling."""

from __future__ import annotations

import pytest
import torch
from exact import noise

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.diffusion.exact import GaussianMixture, ring
from course_utils.models.diffusion.schedules import SCHEDULES, make_schedule

EACH = pytest.mark.parametrize(
    "schedule",
    [make_schedule(name) for name in sorted(SCHEDULES)],
    ids=lambda schedule: schedule.name,
)
MIXTURE = GaussianMixture(
    shares=torch.tensor([0.5, 0.3, 0.2]).double() / torch.tensor([0.5, 0.3, 0.2]).double().sum(),
    means=torch.tensor([[0.5, 0.2], [-0.6, 0.4], [0.1, -0.8]]).double(),
    covariances=torch.tensor(
        [[[0.04, 0.01], [0.01, 0.09]], [[0.10, -0.05], [-0.05, 0.06]], [[0.02, 0.0], [0.0, 0.02]]]
    ).double(),
    classes=torch.tensor([0, 1, 0]),
)
XT, T = noise(6, 5), torch.tensor([0.05, 0.2, 0.4, 0.6, 0.8, 0.97]).double()
LABELS = torch.tensor([0, 1, 0, 1, 2, 0])  # 2: no label


def gradient(schedule, log_density):
    """Returns the gradient of a log-density at each of the points, by autograd; `log_density(x, t,
    index)` is a number.
    """
    rows = []
    for index in range(len(XT)):
        x = XT[index].clone().requires_grad_()
        rows.append(torch.autograd.grad(log_density(x, T[index].item(), index), x)[0])
    return torch.stack(rows)


def log_p(schedule, x, t, label=None):
    return MIXTURE.at(schedule, t, label).log_prob(x)


@EACH
def test_score_is_the_gradient_of_the_log_density(schedule):
    expected = gradient(schedule, lambda x, t, _: log_p(schedule, x, t))
    torch.testing.assert_close(MIXTURE.score(schedule, XT, T), expected, atol=1e-8, rtol=1e-8)


@EACH
def test_score_of_a_class_is_the_gradient_of_its_log_density(schedule):
    expected = gradient(
        schedule,
        lambda x, t, i: log_p(schedule, x, t, None if LABELS[i] == 2 else LABELS[i].item()),
    )
    torch.testing.assert_close(
        MIXTURE.score(schedule, XT, T, LABELS), expected, atol=1e-8, rtol=1e-8
    )


@EACH
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guided_score_is_the_gradient_with_a_sharpened_class(schedule, scale):
    def sharpened(x, t, _):
        share = MIXTURE.shares[MIXTURE.classes == 0].sum()
        log_class = log_p(schedule, x, t, 0) + share.log() - log_p(schedule, x, t)
        return log_p(schedule, x, t) + scale * log_class

    got = MIXTURE.guided_score(schedule, XT, T, torch.zeros(len(XT), dtype=torch.int64), scale)
    torch.testing.assert_close(got, gradient(schedule, sharpened), atol=1e-7, rtol=1e-7)


@EACH
def test_class_probabilities_follow_bayes_rule(schedule):
    got = MIXTURE.class_probabilities(schedule, XT, T)
    for index, t in enumerate(T.tolist()):
        joint = torch.stack(
            [
                log_p(schedule, XT[index], t, label)
                + MIXTURE.shares[MIXTURE.classes == label].sum().log()
                for label in (0, 1)
            ]
        )
        torch.testing.assert_close(got[index], joint.softmax(0), atol=1e-9, rtol=1e-9)


def test_denoiser_is_the_best_guess():
    """E[x0 | x_t] has the smallest squared error: the mean of x0 over the draws whose x_t falls
    near a point.
    """
    schedule, t = make_schedule("flow"), torch.tensor(0.5).double()
    rng = make_rng(1)
    x0, labels = MIXTURE.sample(400_000, rng)
    xt = schedule.noised(x0, torch.randn(x0.shape, generator=rng, dtype=torch.float64), t)
    for label in (None, 0):
        near = (xt - torch.tensor([0.1, 0.1])).norm(dim=1) < 0.05
        near = near if label is None else near & (labels == label)
        centre = xt[near].mean(0, keepdim=True)
        given = None if label is None else torch.tensor([label])
        seen = MIXTURE.denoise(schedule, centre, t[None], given)[0]
        error = x0[near].std(0) / near.sum() ** 0.5
        assert ((x0[near].mean(0) - seen).abs() < 4 * error + 0.01).all()


def test_draws_have_the_shares_and_moments_of_the_mixture():
    x, labels = MIXTURE.sample(40_000, make_rng(2))
    exact = MIXTURE.at(make_schedule("flow"), 0.0)
    assert torch.allclose(x.mean(0), exact.mean, atol=0.02) and torch.allclose(
        x.var(0), exact.variance, rtol=0.04
    )
    assert (labels == 1).double().mean().item() == pytest.approx(0.3, abs=0.01)


def test_ring_lies_on_its_circle_with_classes_in_turns():
    mixture = ring(num_classes=2, radius=0.5, num_components=6)
    assert (
        torch.allclose(mixture.means.norm(dim=1), torch.full((6,), 0.5).double())
        and mixture.num_classes == 2
    )
    assert mixture.classes.tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ring(num_classes=9), "num_classes: expected 1 to 8"),
        (lambda: ring(width=0.0), "width: expected more than 0"),
        (
            lambda: GaussianMixture(
                torch.ones(2),
                torch.zeros(2, 2),
                torch.eye(2).repeat(2, 1, 1),
                torch.zeros(2).long(),
            ),
            "add up to 1",
        ),
        (
            lambda: GaussianMixture(
                torch.ones(1), torch.zeros(1, 2), torch.eye(3)[None], torch.zeros(1).long()
            ),
            r"\[1\], \[1, 2, 2\], \[1\]",
        ),
    ],
)
def test_bad_input_has_its_message(make, message):
    with pytest.raises(CourseError, match=message):
        make()
