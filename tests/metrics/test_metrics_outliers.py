"""AUC and ROC against scikit-learn and against repeated draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.roc import auc, roc

RNG = make_rng(0)
CASES = {
    "smooth": (torch.randn(60, generator=RNG), torch.randn(40, generator=RNG) + 1),
    "ties": (torch.randint(0, 5, (50,), generator=RNG), torch.randint(2, 7, (30,), generator=RNG)),
    "wrong sign": (torch.randn(30, generator=RNG) + 2, torch.randn(50, generator=RNG)),
}


def labelled(inside, outside):
    return np.r_[np.zeros(len(inside)), np.ones(len(outside))], torch.cat([inside, outside]).numpy()


@pytest.mark.parametrize("case", CASES)
def test_area_and_curve_agree_with_scikit_learn(case):
    inside, outside = CASES[case]
    assert auc(inside, outside).value == pytest.approx(roc_auc_score(*labelled(inside, outside)))
    curve, expected = (
        roc(inside, outside),
        roc_curve(*labelled(inside, outside), drop_intermediate=False),
    )
    np.testing.assert_allclose(curve.false_alarms, expected[0])
    np.testing.assert_allclose(curve.hits, expected[1])
    assert torch.trapezoid(curve.hits, curve.false_alarms).item() == pytest.approx(
        auc(inside, outside).value
    )


def test_error_bar_is_the_spread_of_repeated_draws():
    rng, found = make_rng(1), []
    for _ in range(400):
        found.append(auc(torch.randn(50, generator=rng), torch.randn(30, generator=rng) + 1))
    spread = np.std([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize(
    "bad",
    [torch.zeros(1), torch.zeros(2, 2), torch.tensor([0.0, float("nan")])],
    ids=["one", "matrix", "nan"],
)
def test_wrong_scores_are_refused(bad):
    for pair in ((bad, torch.zeros(3)), (torch.zeros(3), bad)):
        with pytest.raises(CourseError, match="expected at least 2 finite scores"):
            auc(*pair)
