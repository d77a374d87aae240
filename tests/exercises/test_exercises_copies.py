"""The solutions of notebook 09's exercises against the library that the notebook calls."""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.exercises.nb09 import FRONT, RANK, RATIO, SHARE, TAIL, VERDICT
from course_utils.metrics.measurement import seed_error
from course_utils.metrics.memorization import EFFECT_LEVEL, MemorizationTest, hypergeometric_tail


@pytest.fixture(scope="module")
def judged():
    """A test in the plane, samples of which a tenth are near-copies, and the verdict on them."""
    rng = make_rng(90)
    known, withheld, honest = torch.rand(500, 2, generator=rng, dtype=torch.float64).split(
        [250, 150, 100]
    )
    samples = torch.cat([honest, known[:10] + 1e-3 * torch.randn(10, 2, generator=rng)])
    test = MemorizationTest(known, withheld)
    return test, samples, test.judge(samples)


def test_ratio(judged):
    test, samples, verdict = judged
    assert torch.allclose(RATIO.solution(torch.cdist(samples, test.real)), verdict.ratios)


def test_p_values_of_images(judged):
    _, _, verdict = judged
    assert torch.allclose(
        RANK.solution(verdict.ratios, verdict.nearest >= 0, verdict.null_ratios).double(),
        verdict.image_p_values,
        atol=1e-6,
    )


def test_copied_share(judged):
    test, samples, verdict = judged
    suspicious = verdict.ratios <= test.null_ratios.quantile(EFFECT_LEVEL)
    ours = int((suspicious & (verdict.nearest >= 0)).sum())
    assert ours > 0
    assert SHARE.solution(int(suspicious.sum()), ours, 250 / 400, len(samples)) == pytest.approx(
        verdict.copied_share.value
    )


@pytest.mark.parametrize(
    ("ours", "drawn", "train", "real"), [(3, 3, 6, 10), (0, 4, 3, 9), (20, 30, 500, 900)]
)
def test_tail(ours, drawn, train, real):
    assert TAIL.solution(ours, drawn, train, real) == pytest.approx(
        hypergeometric_tail(ours, real, train, drawn), rel=1e-6
    )


def test_verdict():
    first, second = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([4.0, 4.5, 5.0, 7.0])
    (mean_a, error_a), (mean_b, error_b) = seed_error(first.tolist()), seed_error(second.tolist())
    assert VERDICT.solution(first, second).item() == pytest.approx(
        (mean_a - mean_b) / math.hypot(error_a, error_b)
    )


def test_front_is_what_remains_when_beaten_models_are_struck_out_one_by_one():
    fid, seconds = torch.randint(0, 6, (2, 40), generator=make_rng(91)).unbind()  # with ties
    points = list(zip(fid.tolist(), seconds.tolist()))
    beaten = [any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]
    assert FRONT.solution(fid, seconds).tolist() == [not one for one in beaten]
    assert any(beaten) and not all(beaten)
