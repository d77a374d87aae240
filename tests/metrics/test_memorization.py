"""The memorisation test against exact chances, its rate of false alarms on generators that copy
nothing, and its power on those that do.
"""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom, false_discovery_control, hypergeom

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.memorization import (
    LEVELS,
    Lookalikes,
    MemorizationTest,
    discoveries,
    hypergeometric_tail,
)

DIM, NUM_TRAIN, NUM_HELDOUT, NUM_IMAGES = 6, 900, 600, 300


def points(num: int, *path: int) -> torch.Tensor:
    """Two clouds of different width, so that typical and untypical places exist."""
    rng = make_rng(*path)
    wide = (torch.rand(num, generator=rng) < 0.5)[:, None]
    noise = torch.randn(num, DIM, generator=rng, dtype=torch.float64)
    return torch.where(wide, 4 + noise, 0.3 * noise)


def test_of(
    seed: int, num_train: int = NUM_TRAIN, num_heldout: int = NUM_HELDOUT
) -> MemorizationTest:
    return MemorizationTest(points(num_train, seed, 0), points(num_heldout, seed, 1))


test_of.__test__ = False

# None of them copies. All but the first are bad generators, each in a way that fools a test of
# plain distances.
HONEST = {
    "fresh": lambda x: x,
    "shrunk towards the mean, as blur does": lambda x: x.mean(0) + 0.6 * (x - x.mean(0)),
    "only the dense cloud": lambda x: x[(x.norm(dim=1) < 2).nonzero()[:, 0]],
    "noisy": lambda x: x + 0.5 * torch.randn(x.shape, generator=make_rng(9), dtype=x.dtype),
    "one image again and again": lambda x: x[:1].expand(NUM_IMAGES, -1) + 0.01 * x,
}


@pytest.mark.parametrize("name", HONEST)
def test_false_alarms_are_at_most_five_in_a_hundred(name):
    """Every round has training, held-out and generated images of its own; the bound is what 5 %
    exceeds once in a thousand times.
    """
    rounds = 200
    results = [
        test_of(seed, 400, 250).judge(HONEST[name](points(NUM_IMAGES, seed, 2)))
        for seed in range(rounds)
    ]
    assert sum(result.is_memorising() for result in results) <= binom.isf(1e-3, rounds, 0.05)
    shares = torch.tensor([result.copied_share.value for result in results])
    assert abs(shares.mean()) <= 4 * shares.std() / rounds**0.5 + 1e-12  # an unbiased effect size


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_copies_are_caught_and_counted(noise):
    caught, shares, flagged = [], [], []
    for seed in range(40):
        test, images = test_of(seed), points(NUM_IMAGES, seed, 2)
        images[:45] = test.train[:45] + noise * torch.randn(
            45, DIM, generator=make_rng(seed, 3), dtype=torch.float64
        )
        result = test.judge(images)
        caught.append(result.is_memorising())
        shares.append((result.copied_share.value, result.copied_share.error))
        flagged.append(
            (result.flags[:45].double().mean().item(), result.flags[45:].double().mean().item())
        )
    values, errors = torch.tensor(shares).unbind(1)
    assert sum(caught) >= 39
    assert (
        abs(values.mean() - 0.15) < 0.01
        and (values - 0.15).square().mean().sqrt() < 1.2 * errors.mean()
    )
    hits, false = torch.tensor(flagged).mean(0)
    # a tenth of the flagged may be wrong
    assert hits > 0.6 and 255 * false <= 0.15 * (45 * hits + 255 * false)


def test_a_copy_has_ratio_zero_and_names_its_original():
    test = test_of(0)
    result = test.judge(torch.cat([test.train[[7, 3]], test.heldout[:1], points(1, 0, 2)]))
    assert result.ratios[:3].tolist() == [0, 0, 0] and 0 < result.ratios[3] <= 1
    assert result.nearest[:3].tolist() == [7, 3, -1]
    assert result.image_p_values[:2].tolist() == [1 / 601] * 2 and result.image_p_values[2] == 1
    assert result.distances[0] == 0 and result.base_rate == 0.6


def test_ratios_are_those_of_all_distances():
    test, images = test_of(1), points(50, 1, 2)
    ordered = torch.cdist(images, torch.cat([test.train, test.heldout])).sort(1).values
    torch.testing.assert_close(test.judge(images).ratios, ordered[:, 0] / ordered[:, 1])
    third = MemorizationTest(test.train, test.heldout, k=3)
    torch.testing.assert_close(third.judge(images).ratios, ordered[:, 0] / ordered[:, 2])


def test_null_is_of_held_out_images_among_all_others():
    train, heldout = points(200, 5, 0), points(120, 5, 1)
    expected = []
    for i in range(120):
        others = torch.cat([train, heldout[torch.arange(120) != i]])
        ordered = (others - heldout[i]).norm(dim=1).sort().values
        expected.append((ordered[0] / ordered[1]).item())
    assert MemorizationTest(train, heldout).null_ratios.sort().values.tolist() == pytest.approx(
        sorted(expected), rel=1e-9
    )


def test_p_value_is_the_hypergeometric_one_times_the_number_of_levels():
    """Twelve different training images are the nearest of twelve copies; nobody else is suspicious
    at the strictest level.
    """
    test = test_of(2)
    found = test.look_up(test.train[:12])
    expected = hypergeom.sf(11, NUM_TRAIN + NUM_HELDOUT, NUM_TRAIN, 12)
    assert test.verdict(found).p_value == pytest.approx(len(LEVELS) * expected, rel=1e-9)
    # the same look-alikes again are no new evidence
    often = Lookalikes(*(values.repeat(5) for values in found))
    assert test.verdict(often).p_value == pytest.approx(len(LEVELS) * expected, rel=1e-9)


def test_copies_of_held_out_images_are_no_alarm():
    test = test_of(3)
    result = test.judge(test.heldout[:100])
    assert result.p_value == 1 and result.copied_share.value < 0 and not result.flags.any()


def test_near_duplicates_in_the_training_set_need_a_larger_k():
    train = points(400, 4, 0)
    train = torch.cat([train, train + 1e-3])
    copies = train[:60] + 5e-4
    weak, strong = (MemorizationTest(train, points(400, 4, 1), k=k).judge(copies) for k in (2, 3))
    assert not weak.is_memorising() and strong.is_memorising(1e-4)


@pytest.mark.parametrize(
    ("population", "marked", "drawn"),
    [(20, 7, 6), (70_000, 60_000, 40), (9, 9, 4), (10_100, 100, 300)],
)
def test_hypergeometric_tail_agrees_with_scipy(population, marked, drawn):
    for at_least in range(0, drawn + 2):
        expected = hypergeom.sf(at_least - 1, population, marked, drawn)
        assert hypergeometric_tail(at_least, population, marked, drawn) == pytest.approx(
            expected, rel=1e-6, abs=1e-300
        )


def test_discoveries_agree_with_scipy():
    p_values = torch.rand(200, generator=make_rng(0), dtype=torch.float64) ** 3
    expected = false_discovery_control(p_values.numpy()) <= 0.1
    assert discoveries(p_values, 0.1).tolist() == expected.tolist() and 0 < sum(expected) < 200
    assert not discoveries(torch.ones(5, dtype=torch.float64)).any()


def test_the_verdict_is_a_sentence():
    test = test_of(0)
    assert str(test.judge(test.train[:100])).startswith("training images leak: p = ")
    assert str(test.judge(points(100, 0, 2))).startswith("no copying detected: p = ")


GOOD = points(150, 0, 0)
BAD = [
    (lambda: MemorizationTest(GOOD, GOOD[:99]), "heldout: expected at least 100 images, got 99"),
    (lambda: MemorizationTest(GOOD, GOOD[:, :2]), "expected features from one extractor"),
    (lambda: MemorizationTest(GOOD, GOOD, k=1), "k: expected a whole number from 2 to 299, got 1"),
    (
        lambda: MemorizationTest(GOOD, GOOD, num_null=5),
        "num_null: expected a whole number at least 100",
    ),
    (
        lambda: MemorizationTest(GOOD, GOOD).judge(GOOD[:, :3]),
        "expected features from one extractor, got 3 columns and 6",
    ),
    (
        lambda: MemorizationTest(GOOD, GOOD).judge(GOOD * float("nan")),
        "generated: expected finite numbers",
    ),
    (lambda: test_of(0).judge(GOOD).is_memorising(0), "level: expected between 0 and 1, got 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
