"""The variational bound on Gaussian data, where the exact denoiser and the exact likelihood are
known.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from exact import gaussian_denoiser

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.diffusion.schedules import make_schedule
from course_utils.models.diffusion.variational_bound import reverse_variances, variational_bound

EACH = pytest.mark.parametrize(
    "schedule",
    [make_schedule(name) for name in ("linear", "cosine")],
    ids=lambda schedule: schedule.name,
)
DIM, STD = 4, 0.5  # of the data N(0, STD² I)
# nats: the smallest mean of -log p(x0) that any model reaches
ENTROPY = 0.5 * DIM * math.log(2 * math.pi * math.e * STD**2)


def data(num, seed=0):
    return STD * torch.randn(num, DIM, generator=make_rng(seed), dtype=torch.float64)


def denoiser(schedule):
    return gaussian_denoiser(schedule, torch.zeros(DIM).double(), torch.full((DIM,), STD).double())


def coefficients(schedule, num_steps):
    """Returns, for k = 1 ... K, the variance of q(x_(k-1) | x_k, x0), the weight of x0 in its mean,
    and Var[x0 | x_k], by textbook formulas.
    """
    t = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    kept = schedule.alpha(t).numpy() ** 2
    now, before = kept[1:], kept[:-1]
    beta = 1 - now / before
    left = STD**2 * (1 - now) / (now * STD**2 + 1 - now)
    return (1 - before) / (1 - now) * beta, np.sqrt(before) * beta / (1 - now), left


def close(values, expected, num_errors=4.5):
    """The mean of many independent estimates agrees with the expected value."""
    error = values.std().item() / len(values) ** 0.5
    return values.mean().item() == pytest.approx(expected, abs=num_errors * error)


def mismatch(schedule):
    """Returns KL(q(x_K) || N(0, I)) of the data's noisy marginal: what starting from N(0, I) costs
    even an exact model.
    """
    kept = schedule.alpha(torch.ones(()).double()).item() ** 2
    variance = kept * STD**2 + 1 - kept
    return 0.5 * DIM * (variance - 1 - math.log(variance))


@EACH
def test_the_bound_is_tight_with_exact_steps(schedule):
    """With the true variance of each reverse step the chain is the data's own, so the mean bound is
    the entropy (plus the mismatch at the end).
    """
    num_steps = 60
    variance, weight, left = coefficients(schedule, num_steps)
    exact = torch.tensor(variance + weight**2 * left)
    bound = variational_bound(
        denoiser(schedule),
        schedule,
        data(4000),
        num_steps=num_steps,
        variance=exact,
        decoder="gaussian",
        rng=make_rng(1),
    )
    assert bound.nats.shape == (4000,) and close(bound.nats, ENTROPY + mismatch(schedule))


@EACH
@pytest.mark.parametrize("kind", ["small", "large"])
def test_the_bound_of_ddpm_is_its_closed_form(schedule, kind):
    """The mean of every term is known: the squared error of the image has the mean Var[x0 |
    x_k].
    """
    num_steps = 60
    variance, weight, left = coefficients(schedule, num_steps)
    chosen = reverse_variances(schedule, kind, num_steps).numpy()
    ratio = variance[1:] / chosen[1:]
    steps = 0.5 * DIM * (ratio - 1 - np.log(ratio) + (weight**2 * left / chosen)[1:])
    decoder = 0.5 * DIM * (np.log(2 * np.pi * chosen[0]) + left[0] / chosen[0])
    bound = variational_bound(
        denoiser(schedule),
        schedule,
        data(4000),
        num_steps=num_steps,
        variance=kind,
        decoder="gaussian",
        rng=make_rng(1),
    )
    assert close(bound.steps, steps.sum()) and close(bound.decoder, decoder)
    kept = schedule.alpha(torch.ones(()).double()).item() ** 2
    assert close(bound.prior, 0.5 * DIM * (kept * STD**2 + 1 - kept - 1 - math.log(1 - kept)))
    assert steps.sum() + decoder > ENTROPY


@EACH
def test_more_steps_tighten_the_bound(schedule):
    gaps = []
    for num_steps in (20, 200):
        options = {
            "num_steps": num_steps,
            "variance": "large",
            "decoder": "gaussian",
            "rng": make_rng(2),
        }
        gaps.append(
            variational_bound(denoiser(schedule), schedule, data(1000), **options)
            .nats.mean()
            .item()
            - ENTROPY
        )
    assert 0 < gaps[1] < 0.3 * gaps[0]


@EACH
def test_a_worse_denoiser_has_a_worse_bound(schedule):
    good, bad = (
        variational_bound(
            f, schedule, data(500), num_steps=50, decoder="gaussian", rng=make_rng(3)
        ).nats.mean()
        for f in (denoiser(schedule), lambda xt, t: 0.9 * denoiser(schedule)(xt, t))
    )
    assert bad > good


def test_some_times_estimate_the_sum_over_all():
    schedule = make_schedule("cosine")
    whole = variational_bound(
        denoiser(schedule), schedule, data(4000), num_steps=50, decoder="gaussian", rng=make_rng(4)
    ).steps
    some = variational_bound(
        denoiser(schedule),
        schedule,
        data(4000),
        num_steps=50,
        decoder="gaussian",
        num_times=5,
        rng=make_rng(5),
    ).steps
    assert whole.mean().item() == pytest.approx(
        some.mean().item(), abs=4.5 * math.hypot(whole.std().item(), some.std().item()) / 4000**0.5
    )
    assert some.std() > whole.std()


def test_variances_are_the_papers():
    """Small: beta (1 - kept before) / (1 - kept); large: beta."""
    schedule = make_schedule("linear")
    beta = np.linspace(1e-4, 0.02, 1000)
    kept = np.cumprod(1 - beta)
    small = np.append(0, (1 - kept[:-1]) / (1 - kept[1:]) * beta[1:])
    small[0] = small[1]
    np.testing.assert_allclose(reverse_variances(schedule, "small"), small, rtol=1e-8)
    np.testing.assert_allclose(reverse_variances(schedule, "large"), beta, rtol=1e-8)


def levels(num=300):
    return (torch.randint(256, (num, 1, 2, 2), generator=make_rng(6)) / 127.5 - 1).double()


def test_the_discrete_decoder_is_a_distribution_over_levels():
    """Summed over all 256 levels of one pixel, for one x_1, the probabilities are 1; also where the
    denoiser is far off.
    """
    from course_utils.models.diffusion.variational_bound import _log_probability_of_levels

    x0 = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    for mean in (-1.0, 0.013, 0.7, 1.3):
        for std in (0.004, 0.01, 0.3):
            logs = _log_probability_of_levels(
                x0, torch.tensor(mean).double(), torch.tensor(std).double()
            )
            assert (
                logs.exp().sum().item() == pytest.approx(1, abs=1e-9) and torch.isfinite(logs).all()
            )


def test_a_density_times_the_width_of_a_level_is_the_probability_of_it():
    """Where a level is narrow against the noise, both ways to count bits agree."""
    schedule = make_schedule("linear")

    def grey(xt, t):
        return 0 * xt

    x0 = 0.5 * levels()
    wide = torch.full((10,), 0.4).double()
    bits = [
        variational_bound(
            grey, schedule, x0, num_steps=10, variance=wide, decoder=kind, rng=make_rng(7)
        ).bits_per_dimension
        for kind in ("discrete", "gaussian")
    ]
    torch.testing.assert_close(bits[0], bits[1], atol=1e-4, rtol=0)


def test_bits_follow_from_nats():
    schedule = make_schedule("cosine")
    bound = variational_bound(
        lambda xt, t: 0 * xt, schedule, levels(3), num_steps=10, rng=make_rng(8)
    )
    torch.testing.assert_close(
        bound.bits_per_dimension, (bound.prior + bound.steps + bound.decoder) / 4 / math.log(2)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variance": "tiny"}, "unknown variance 'tiny'; valid: large, small"),
        ({"variance": torch.ones(3)}, r"variance: expected \[10\] numbers above 0, got \[3\]"),
        ({"decoder": "bernoulli"}, "unknown decoder 'bernoulli'; valid: discrete, gaussian"),
        ({"num_times": 10}, "num_times: expected 1 to 9, got 10"),
        ({"num_steps": 1}, "num_steps: expected at least 2, got 1"),
    ],
)
def test_bad_input_has_its_message(options, message):
    with pytest.raises(CourseError, match=message):
        variational_bound(
            lambda xt, t: xt, make_schedule("linear"), levels(2), **{"num_steps": 10, **options}
        )


def test_numbers_beyond_the_pixels_need_the_gaussian_decoder():
    with pytest.raises(
        CourseError, match=r"x0: expected images in \[-1, 1\].*use decoder='gaussian'"
    ):
        variational_bound(lambda xt, t: xt, make_schedule("linear"), 3 * levels(2), num_steps=3)
