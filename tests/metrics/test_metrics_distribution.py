"""FID, FID infinity and KID against torchmetrics, closed forms, finite differences and
simulation.
"""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.frechet import (
    GaussianParams,
    fid,
    fid_infinity,
    fit_gaussian,
    frechet_distance,
    frechet_influence,
    frechet_terms,
    kid,
    kid_subsets,
    squared_mmd,
)
from course_utils.metrics.measurement import MetricWarning, is_difference_real


def correlated(
    num: int, dim: int, seed: int, shift: float = 0.0, scale: float = 1.0
) -> torch.Tensor:
    """Returns features whose directions differ in spread by a factor of 20, the same directions for
    all seeds.
    """
    mixing = torch.randn(dim, dim, generator=make_rng(99), dtype=torch.float64) / dim**0.5
    mixing *= torch.logspace(0, -1.3, dim, dtype=torch.float64)[:, None]
    return (
        scale * torch.randn(num, dim, generator=make_rng(seed), dtype=torch.float64) @ mixing
        + shift
    )


class Given(torch.nn.Module):
    """Hands torchmetrics features in place of images."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim

    def forward(self, features):
        return features


PAIRS = {"near": (400, 16, 0.0, 1.0), "far": (300, 8, 1.5, 2.0), "wide": (500, 64, 0.1, 1.1)}


@pytest.fixture(params=sorted(PAIRS))
def pair(request):
    num, dim, shift, scale = PAIRS[request.param]
    return correlated(num, dim, 1), correlated(num + 57, dim, 2, shift, scale)


def torchmetrics_fid(a, b) -> float:
    from torchmetrics.image import fid as image

    metric = image.FrechetInceptionDistance(feature=Given(a.shape[1])).set_dtype(torch.float64)
    metric.update(a, real=True)
    metric.update(b, real=False)
    return metric.compute().item()


def torchmetrics_kid(a, b, num_subsets: int, subset_size: int, seed: int) -> tuple[float, float]:
    from torchmetrics.image import kid as image

    metric = image.KernelInceptionDistance(
        feature=Given(a.shape[1]), subsets=num_subsets, subset_size=subset_size
    )
    metric.update(a, real=True)
    metric.update(b, real=False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mean, std = metric.compute()
    return mean.item(), std.item()


def test_fid_agrees_with_torchmetrics(pair):
    assert fid(*pair).value == pytest.approx(torchmetrics_fid(*pair), rel=1e-6)
    assert fid(*pair, error="none").value == pytest.approx(fid(*pair).value, rel=1e-9)


@pytest.mark.parametrize("subset_size", [2, 50, 300])
def test_kid_agrees_with_torchmetrics_on_the_same_subsets(pair, subset_size):
    mean, std = torchmetrics_kid(*pair, 10, subset_size, seed=5)
    values = kid_subsets(
        *pair, subset_size=subset_size, num_subsets=10, rng=torch.Generator().manual_seed(5)
    )
    assert values.mean().item() == pytest.approx(mean, rel=1e-6)
    assert values.std(correction=0).item() == pytest.approx(std, rel=1e-6)
    measured = kid(
        *pair, subset_size=subset_size, num_subsets=10, rng=torch.Generator().manual_seed(5)
    )
    assert measured.value == pytest.approx(mean, rel=1e-6)


def test_fid_of_known_gaussians():
    std_a, std_b = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, 0.1]).double()
    first = GaussianParams(torch.tensor([0.0, 1.0, 2.0]).double(), std_a.square().diag(), 10)
    second = GaussianParams(torch.tensor([1.0, 1.0, 0.0]).double(), std_b.square().diag(), 10)
    # axes agree, so it is the squared distance of the standard deviations
    terms = frechet_terms(first, second)
    assert terms.mean_term == pytest.approx(5.0) and terms.covariance_term == pytest.approx(
        (std_a - std_b).square().sum().item()
    )
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=make_rng(0), dtype=torch.float64)).Q
    turned = [
        GaussianParams(fit.mean @ rotation, rotation.T @ fit.covariance @ rotation, 10)
        for fit in (first, second)
    ]
    assert frechet_distance(*turned) == pytest.approx(sum(terms), rel=1e-12)


def test_covariance_is_unbiased():
    fit = fit_gaussian(torch.tensor([[0.0], [1.0], [5.0]]))
    assert (
        fit.mean.item() == 2.0
        and fit.covariance.item() == pytest.approx(7.0)
        and fit.num_images == 3
    )


def test_fid_of_a_set_with_itself_is_zero_even_where_features_are_constant():
    features = correlated(200, 12, 1)
    features[:, 3] = 0.25
    assert abs(fid(features, features).value) < 1e-9
    assert abs(fid(features, features[torch.randperm(200)]).value) < 1e-9


@pytest.mark.parametrize("sizes", [(20, 30), (20, 500), (500, 20), (41, 41)])
def test_few_images_give_the_same_distance_as_the_full_matrices(sizes):
    a, b = correlated(sizes[0], 40, 1), correlated(sizes[1], 40, 2, 0.2, 1.3)
    roots = torch.linalg.eigvals(torch.cov(a.T) @ torch.cov(b.T)).real.clamp(min=0).sqrt().sum()
    full = (
        (a.mean(0) - b.mean(0)).square().sum()
        + torch.cov(a.T).trace()
        + torch.cov(b.T).trace()
        - 2 * roots
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)
        low_rank = fid(a, b)
    from_fits = frechet_distance(
        *(GaussianParams(x.mean(0), torch.cov(x.T), len(x)) for x in (a, b))
    )
    assert low_rank.value == pytest.approx(full.item(), rel=1e-6)
    assert from_fits == pytest.approx(low_rank.value, rel=1e-6)


@pytest.mark.parametrize("num_images", [15, 200])
def test_influence_is_the_derivative_with_respect_to_the_weight_of_an_image(num_images):
    a, b, index, step = correlated(num_images, 20, 1), correlated(90, 20, 2, 0.3, 1.2), 4, 1e-4

    def weighted(weight: float) -> float:
        """The distance when one image counts `weight` times, computed from the definition."""
        weights = torch.ones(num_images, dtype=torch.float64)
        weights[index] = weight
        weights = weights / weights.sum()
        mean = weights @ a
        covariance = (a - mean).T @ (weights[:, None] * (a - mean)) * num_images / (num_images - 1)
        return frechet_distance(GaussianParams(mean, covariance, num_images), fit_gaussian(b))

    slope = (weighted(1 + step) - weighted(1 - step)) / (2 * step)
    assert frechet_influence(a, b).first[index].item() / num_images == pytest.approx(
        slope, rel=1e-3
    )
    assert frechet_influence(b, a).second[index].item() / num_images == pytest.approx(
        slope, rel=1e-3
    )


def repeated(measure, num_rounds: int, num: int, dim: int, **other):
    """Returns values and errors of a metric measured on fresh sets again and again."""
    found = [
        measure(correlated(num, dim, 10 + 2 * i, **other), correlated(num, dim, 11 + 2 * i))
        for i in range(num_rounds)
    ]
    return torch.tensor([m.value for m in found]), torch.tensor([m.error for m in found])


METRICS = {
    "fid": fid,
    "fid_infinity": fid_infinity,
    "kid": lambda a, b: kid(a, b, subset_size=60, num_subsets=30),
}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("shift", "lowest", "highest"), [(0.0, 0.9, 3.0), (0.3, 0.8, 1.25)], ids=["equal", "different"]
)
def test_error_bars_are_the_spread_between_fresh_sets(name, shift, lowest, highest):
    """For equal distributions all linear terms vanish and the error bars are too long, never too
    short.
    """
    values, errors = repeated(METRICS[name], 150, 240, 6, shift=shift)
    assert lowest < errors.square().mean().sqrt() / values.std() < highest


@pytest.mark.parametrize("name", ["fid_infinity", "kid"])
def test_equal_distributions_average_zero(name):
    values, _ = repeated(METRICS[name], 100, 240, 6)
    assert abs(values.mean()) < 3.5 * values.std() / 10
    assert (values < 0).any()


def test_fid_falls_as_one_over_n_and_fid_infinity_takes_the_bias_away():
    exact = 6 * 0.3**2
    (small, _), (large, _) = (repeated(fid, 30, num, 6, shift=0.3) for num in (60, 240))
    infinite, _ = repeated(fid_infinity, 60, 240, 6, shift=0.3)
    assert small.mean() - exact > 2 * (large.mean() - exact) > 0
    assert abs(infinite.mean() - exact) < 3.5 * infinite.std() / 60**0.5


@pytest.mark.parametrize("error", ["jackknife", "bootstrap"])
def test_both_error_bars_of_fid_tell_the_same_size(error):
    a, b = correlated(400, 5, 1, 0.5), correlated(400, 5, 2)
    assert fid(a, b, error=error, rng=make_rng(0)).error == pytest.approx(fid(a, b).error, rel=0.25)
    assert math.isnan(fid(a, b, error="none").error)


@pytest.mark.parametrize("shift", [0.0, 0.3], ids=["perfect generators", "imperfect generators"])
def test_equal_generators_raise_a_false_alarm_in_at_most_5_percent(shift):
    """200 pairs of equal generators, each generator against fresh reference images; 16 of 200 is 5
    % + 2 standard errors of the count.
    """

    def one(seed: int):
        return fid(correlated(150, 6, seed, shift), correlated(150, 6, seed + 1))

    alarms = sum(bool(is_difference_real(one(4 * i), one(4 * i + 2))) for i in range(200))
    assert alarms <= 16


def test_a_true_difference_is_found():
    reference = correlated(400, 6, 0)
    assert is_difference_real(
        fid(correlated(400, 6, 1, 0.3), reference), fid(correlated(400, 6, 2, 0.6), reference)
    ).real


def test_squared_mmd_leaves_out_the_diagonal():
    a, b = correlated(7, 3, 1), correlated(5, 3, 2)

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within = [
        sum(kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j)
        / (len(x) * (len(x) - 1))
        for x in (a, b)
    ]
    between = sum(kernel(x, y) for x in a for y in b) / 35
    assert squared_mmd(a, b) == pytest.approx(
        (within[0] + within[1] - 2 * between).item(), rel=1e-12
    )


def test_the_same_seed_gives_the_same_kid_and_another_gives_another():
    a, b = correlated(80, 4, 1), correlated(90, 4, 2)
    assert kid(a, b) == kid(a, b)
    assert kid(a, b, rng=make_rng(1)).value != kid(a, b, rng=make_rng(2)).value
    assert math.isnan(kid(a, b, subset_size=80).error)


def test_few_images_warn_and_say_so_in_the_result():
    with pytest.warns(MetricWarning, match="FID of 10 images with 12 features"):
        measured = fid(correlated(10, 12, 1), correlated(50, 12, 2))
    assert "fewer images than the 12 features" in str(measured) and measured.num_images == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fid(correlated(13, 12, 1), correlated(50, 12, 2)).note == ""


GOOD = torch.zeros(10, 3).double() + torch.arange(10)[:, None]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fid(GOOD[:1], GOOD), "features_a: expected at least 2 images, got 1"),
        (
            lambda: fid(GOOD, GOOD[:, :2]),
            "expected features from one extractor, got 3 columns and 2",
        ),
        (
            lambda: fid(GOOD, GOOD.int()),
            "features_b: expected floating-point features, got torch.int32",
        ),
        (
            lambda: fid(GOOD, GOOD[:, 0]),
            r"features_b: expected a matrix of shape \[N, D\], got \[10\]",
        ),
        (lambda: fid(torch.zeros(5, 1, 8, 8), GOOD), "extract\\(\\) makes features of images"),
        (lambda: fid(GOOD * math.nan, GOOD), "features_a: expected finite numbers, got NaN"),
        (lambda: fid(GOOD, GOOD / 0), "features_b: expected finite numbers, got NaN or infinity"),
        (lambda: fid(GOOD[:, :0], GOOD[:, :0]), "expected at least 1 feature"),
        (
            lambda: fid(GOOD, GOOD, error="jacknife"),
            "unknown error 'jacknife'.*Did you mean 'jackknife'",
        ),
        (lambda: fid_infinity(GOOD, GOOD), "expected more than 13 images for 3 features, got 10"),
        (
            lambda: frechet_distance(fit_gaussian(GOOD), fit_gaussian(GOOD[:, :2])),
            "expected Gaussians of one dimension, got 3 and 2",
        ),
        (
            lambda: kid(GOOD, GOOD, subset_size=11),
            "subset_size: expected a whole number from 2 to 10, got 11: the smaller set has 10 im",
        ),
        (
            lambda: kid(GOOD, GOOD, subset_size=1),
            "subset_size: expected a whole number from 2 to 10, got 1",
        ),
        (
            lambda: kid(GOOD, GOOD, subset_size=2.5),
            "subset_size: expected a whole number from 2 to 10, got 2.5",
        ),
        (
            lambda: kid(GOOD, GOOD, num_subsets=1),
            "num_subsets: expected a whole number at least 2, got 1",
        ),
        (lambda: squared_mmd(GOOD[:1], GOOD), "expected at least 2 images, got 1"),
    ],
)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
