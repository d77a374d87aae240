"""What the exercises of notebook 09 accept and refuse beyond their listed mistakes: other styles of
right answers, and wrong ones with the words that name the error.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from messages import message, passes

from course_utils.base.device import make_rng
from course_utils.exercises import nb09
from course_utils.metrics.memorization import LEVELS, MemorizationTest
from course_utils.models.gaussian import GREY_LEVEL
from course_utils.studies.likelihoods import bits_per_dimension


def nothing(*arguments):
    """A forgotten return."""
    print(end="")


# ------------------------------------------------------------------ equal sets


def by(places):
    """Returns an answer that takes the images at `places(size, N, rng)` of each set."""

    def answer(sets, rng):
        num = min(map(len, sets.values()))
        return {name: images[places(len(images), num, rng)] for name, images in sets.items()}

    return answer


def by_loop(sets, rng):
    chosen = {}
    for name in sets:
        order = torch.rand(len(sets[name]), generator=rng).argsort().tolist()
        rows = order[: min(len(one) for one in sets.values())]
        chosen[name] = torch.stack([sets[name][row] for row in rows])
    return chosen


@pytest.mark.parametrize(
    "answer",
    [
        by(lambda size, num, rng: torch.randperm(size, generator=rng)[:num]),
        by(lambda size, num, rng: torch.randperm(size, generator=rng)[:num].sort().values),
        by(lambda size, num, rng: torch.multinomial(torch.ones(size), num, generator=rng)),
        by(
            lambda size, num, rng: np.random.default_rng(rng.initial_seed()).permutation(size)[:num]
        ),
        by_loop,
    ],
    ids=["randperm", "in order", "multinomial", "NumPy", "loop"],
)
def test_other_choices_pass(answer):
    assert passes("09.equal_sets", answer)


def shared_places(sets, rng):
    num = min(map(len, sets.values()))
    order = torch.randperm(num, generator=rng)
    return {name: images[order] for name, images in sets.items()}


def in_place(sets, rng):
    num = min(map(len, sets.values()))
    for images in sets.values():
        images[:] = images[torch.randperm(len(images), generator=rng)]
    return {name: images[:num] for name, images in sets.items()}


def pooled(sets, rng):
    every, num = torch.cat(list(sets.values())), min(map(len, sets.values()))
    return {name: every[torch.randperm(len(every), generator=rng)[:num]] for name in sets}


def largest(sets, rng):
    num = max(map(len, sets.values()))
    return {
        name: images[torch.randint(len(images), (num,), generator=rng)]
        for name, images in sets.items()
    }


def right(sets, rng):
    return nb09.EQUAL_SETS.solution(sets, rng)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (by(lambda size, num, rng: slice(num)), "from the first images"),
        (shared_places, "from the first images"),
        (by(lambda size, num, rng: slice(size - num, size)), "the last images"),
        (by(lambda size, num, rng: torch.arange(size)[:: size // num][:num]), "whatever rng says"),
        (
            by(lambda size, num, rng: torch.randperm(size, generator=make_rng(3))[:num]),
            "whatever rng says",
        ),
        (
            by(lambda size, num, rng: torch.randint(size, (num,), generator=rng)),
            "without replacement",
        ),
        (by(lambda size, num, rng: slice(size)), "still differ"),
        (by(lambda size, num, rng: slice(num // 2)), "N is smaller than the smallest set"),
        (largest, "N exceeds the size of the smallest"),
        (in_place, "changes the sets"),
        (pooled, "not in it"),
        (lambda sets, rng: list(right(sets, rng).values()), "exactly the names"),
        (lambda sets, rng: {"real": right(sets, rng)["vae"]}, "exactly the names"),
        (
            lambda sets, rng: {name: x.float() for name, x in right(sets, rng).items()},
            "another shape or type",
        ),
        (
            lambda sets, rng: {name: x.flatten(1) for name, x in right(sets, rng).items()},
            "another shape or type",
        ),
        (lambda sets, rng: {name: len(x) for name, x in sets.items()}, "tensor of images"),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_choices_are_named(answer, words):
    assert words in message("09.equal_sets", answer)


def test_a_choice_that_no_seed_repeats_is_refused():
    answer = by(lambda size, num, rng: torch.randperm(size)[:num])
    assert any(words in message("09.equal_sets", answer) for words in ("whatever rng", "repeat"))


# ------------------------------------------------------------------ the verdict


def by_numpy(first, second):
    a, b = first.numpy(), second.numpy()
    return (a.mean() - b.mean()) / np.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))


def by_hand(first, second):
    def parts(values):
        values = values.tolist()
        mean = sum(values) / len(values)
        return mean, sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)

    (a, error_a), (b, error_b) = parts(first), parts(second)
    return (a - b) / math.sqrt(error_a + error_b)


@pytest.mark.parametrize("answer", [by_numpy, by_hand])
def test_other_verdicts_pass(answer):
    assert passes("09.verdict", answer)


def scaled(error):
    return lambda a, b: (a.mean() - b.mean()) / error(a, b)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (scaled(lambda a, b: (a.var() + b.var()).sqrt()), "single trainings"),
        (scaled(lambda a, b: a.std() + b.std()), "too large"),
        (scaled(lambda a, b: (a.var() / len(b) + b.var() / len(a)).sqrt()), "the other family's"),
        (scaled(lambda a, b: a.var() / len(a) + b.var() / len(b)), "A root is missing"),
        (scaled(lambda a, b: b.std() / len(b) ** 0.5), ""),
        (lambda a, b: by_numpy(b, a), "sign is turned"),
        (lambda a, b: abs(by_numpy(a, b)), "Keep the sign"),
        (lambda a, b: a.mean() - b.mean(), "standard error"),
        (lambda a, b: by_numpy(a, b) * math.nan, "NaN or infinity"),
        (lambda a, b: 2.0, "too"),
        (lambda a, b: (a - b[: len(a)]) / 2, ""),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_verdicts_are_named(answer, words):
    assert words in message("09.verdict", answer)


# ------------------------------------------------------------------ the ratio


def ratio_by_numpy(distances):
    two = np.partition(distances.numpy(), 1, axis=1)[:, :2]
    return two.min(1) / two.max(1)


@pytest.mark.parametrize(
    "answer",
    [
        ratio_by_numpy,
        lambda d: d.topk(2, largest=False).values[:, 0] / d.topk(2, largest=False).values[:, 1],
        lambda d: [sorted(row)[0] / sorted(row)[1] for row in d.tolist()],
        lambda d: torch.stack([row.sort().values[0] / row.sort().values[1] for row in d]),
    ],
)
def test_other_ratios_pass(answer):
    assert passes("09.ratio", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda d: d.sort(0).values[0] / d.sort(0).values[1], "sorted the columns"),
        (lambda d: d.min(1).values / d.median(1).values, "third nearest"),
        (lambda d: d.min(1).values, "distance alone"),
        (lambda d: d[:, 0] / d[:, 1], "Sort each row"),
        (lambda d: d.min(1).values / d.max(1).values, "farthest"),
        (lambda d: (d.sort(1).values[:, 0] / d.sort(1).values[:, 1]).mean(), "a number"),
        (lambda d: d.sort(1).values[:, 1] / d.sort(1).values[:, 0], "Upside down"),
        (lambda d: d.min(1).values / d.sort(1).values[:, 1] * math.nan, "NaN or infinity"),
        (lambda d: torch.full((len(d),), 0.5), "differ"),
        # raises where there are only three real images, and is repeatable all the same
        (lambda d: d.min(1).values / d.sort(1).values[:, 3], "differ"),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_ratios_are_named(answer, words):
    assert words in message("09.ratio", answer)


# ------------------------------------------------------------------ the tail and the p-value


def tail_by_scipy(ours, drawn, train, real):
    from scipy.stats import hypergeom

    return hypergeom.sf(ours - 1, real, train, drawn)


def tail_by_complement(ours, drawn, train, real):
    ways = [math.comb(train, n) * math.comb(real - train, drawn - n) for n in range(ours)]
    return 1 - sum(ways) / math.comb(real, drawn)


@pytest.mark.parametrize("answer", [tail_by_scipy, tail_by_complement])
def test_other_tails_pass(answer):
    assert passes("09.tail", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda o, d, t, r: nb09._chance(o, d, t, r), "exactly `ours`"),
        (lambda o, d, t, r: tail_by_scipy(o + 1, d, t, r), "more than `ours`"),
        (lambda o, d, t, r: 1 - tail_by_scipy(o, d, t, r), "chance of fewer"),
        (lambda o, d, t, r: nb09._binomial(o, d, t, r), "without putting back"),
        (lambda o, d, t, r: tail_by_scipy(o, d, r - t, r), "held-out images in the urn"),
        (lambda o, d, t, r: (t / r) ** o, "puts images back"),
        (
            lambda o, d, t, r: math.prod((t - n) / (r - n) for n in range(o)),
            "",  # only training images: right in the first case alone
        ),
        (lambda o, d, t, r: math.log(tail_by_scipy(o, d, t, r)), "too small"),
        (lambda o, d, t, r: 0.05, "too small"),
        (lambda o, d, t, r: math.nan, "NaN or infinity"),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_tails_are_named(answer, words):
    assert words in message("09.tail", answer)


def p_by_set(ratios, owners, null, num_train, num_real, level):
    threshold = np.quantile(null.numpy(), level)
    hits = {int(owner) for owner, r in zip(owners, ratios) if r <= threshold}
    ours = sum(hit < num_train for hit in hits)
    return tail_by_scipy(ours, len(hits), num_train, num_real)


def test_a_p_value_by_sets_and_numpy_passes():
    assert passes("09.p_value", p_by_set)


def test_the_p_value_is_the_librarys():
    known, withheld, fresh = (
        torch.rand(460, 2, generator=make_rng(92)).double().split([240, 160, 60])
    )
    samples = torch.cat([fresh, known[:6] + 1e-4, known[:2] - 1e-4])
    test = MemorizationTest(known, withheld)
    found = test.look_up(samples)
    each = [
        nb09.P_VALUE.solution(found.ratios, found.owners, test.null_ratios, 240, 400, level)
        for level in LEVELS
    ]
    assert min(1.0, 3 * min(each)) == pytest.approx(test.verdict(found).p_value, rel=1e-6)
    assert min(each) < 0.05


def p_with(hits, tail=nb09._tail):
    def answer(ratios, owners, null, num_train, num_real, level):
        found = hits(ratios, owners, null, level)
        return tail(int((found < num_train).sum()), len(found), num_train, num_real)

    return answer


def of_suspicious(ratios, owners, null, level):
    return owners[ratios <= null.quantile(level)].unique()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (p_with(lambda r, o, n, q: o[r <= n.quantile(q)]), "each real image once"),
        (p_with(lambda r, o, n, q: o[r > n.quantile(q)].unique()), ""),
        (p_with(lambda r, o, n, q: o[r >= n.quantile(q)].unique()), "large ratios"),
        (p_with(lambda r, o, n, q: o[r <= n.quantile(1 - q)].unique()), "quantile 1 - level"),
        (p_with(lambda r, o, n, q: o[r <= q].unique()), "with the level itself"),
        (p_with(lambda r, o, n, q: o[r <= r.quantile(q)].unique()), "own ratios"),
        (p_with(lambda r, o, n, q: o.unique()), "all samples"),
        (p_with(lambda r, o, n, q: o[r < n.quantile(q)].unique()), "at most, not less than"),
        (p_with(of_suspicious, lambda o, d, t, r: nb09._tail(d - o, d, t, r)), "held-out images"),
        (p_with(of_suspicious, lambda o, d, t, r: nb09._tail(o, d, t, r - t)), "last argument"),
        (p_with(of_suspicious, lambda o, d, t, r: nb09._tail(d, o, t, r)), ""),
        (p_with(of_suspicious, lambda o, d, t, r: nb09._chance(o, d, t, r)), ""),
        (p_with(of_suspicious, lambda o, d, t, r: math.nan), "NaN or infinity"),
        (p_with(of_suspicious, lambda o, d, t, r: 3 * nb09._tail(o, d, t, r)), "too large"),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_p_values_are_named(answer, words):
    assert words in message("09.p_value", answer)


# ------------------------------------------------------------------ the front


def front_by_loop(fid, seconds):
    points = list(zip(fid.tolist(), seconds.tolist()))
    return [not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points) for x, y in points]


@pytest.mark.parametrize(
    "answer",
    [
        front_by_loop,
        lambda fid, seconds: np.array(front_by_loop(fid, seconds)),
        lambda fid, seconds: tuple(front_by_loop(fid, seconds)),
    ],
    ids=["a list of bools", "NumPy", "a tuple"],
)
def test_other_fronts_pass(answer):
    assert passes("09.front", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda f, s: [not one for one in front_by_loop(f, s)], "models that are beaten"),
        (lambda f, s: [int(one) for one in front_by_loop(f, s)], "True or False"),
        (lambda f, s: torch.tensor(front_by_loop(f, s)).nonzero()[:, 0], "one bool for each"),
        (lambda f, s: all(front_by_loop(f, s)), "one bool for each"),
        (lambda f, s: f <= f.median(), "your front, which is not right"),
        (lambda f, s: front_by_loop(-f, -s), "higher for better"),
        (lambda f, s: front_by_loop(f, -s), "your front, which is not right"),
        (lambda f, s: [True] * len(f), "is on your front"),
        (lambda f, s: [one or two for one, two in zip(f == f.min(), s == s.min())], "two ends"),
        (lambda f, s: [False] * len(f), "every model is as good as itself"),
        (lambda f, s: f == f.min(), "best FID alone"),
        (lambda f, s: "all", "Checking your answer raised"),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_fronts_are_named(answer, words):
    assert words in message("09.front", answer)


# ------------------------------------------------------------------ bits


def bits_by_numpy(nats, image_shape, level_width):
    return np.asarray(nats) / np.prod(image_shape) / np.log(2) - np.log2(level_width)


def bits_of_the_cell(nats, image_shape, level_width):
    num = math.prod(image_shape)
    return (nats - num * math.log(level_width)) * math.log2(math.e) / num


@pytest.mark.parametrize("answer", [bits_by_numpy, bits_of_the_cell])
def test_other_bits_pass(answer):
    assert passes("09.bits", answer)


def test_bits_are_those_of_the_protocol():
    nats = torch.tensor([-1200.0, 40.0], dtype=torch.float64)
    ours = nb09.BITS.solution(nats, (1, 28, 28), GREY_LEVEL)
    assert torch.allclose(ours, bits_per_dimension(-nats, 784, GREY_LEVEL))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n, s, w: n / math.prod(s) / math.log(2), "density as a probability"),
        (lambda n, s, w: bits_of_the_cell(n, s, 1 / w), "wrong sign"),
        (lambda n, s, w: bits_of_the_cell(n, s, w) * math.log(2), "nats per dimension"),
        (lambda n, s, w: bits_of_the_cell(n, s[1:], w), "forgot the channels"),
        (lambda n, s, w: bits_of_the_cell(n, s, w) * math.prod(s), "bits an image"),
        (lambda n, s, w: -bits_of_the_cell(n, s, w), "sign is turned"),
        (lambda n, s, w: bits_of_the_cell(n, s, w).mean(), "one value for each image"),
        (lambda n, s, w: bits_of_the_cell(n, s, w**2), "off by the same amount"),
        (lambda n, s, w: bits_of_the_cell(n, s, w) + 1, ""),
        (lambda n, s, w: bits_of_the_cell(n, s, w) * math.nan, "NaN or infinity"),
        (lambda n, s, w: 8.0, "numbers of shape [3], got a number"),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_bits_are_named(answer, words):
    assert words in message("09.bits", answer)


# ------------------------------------------------------------------ share and rank


def solved_share(suspicious, ours, base_rate, num_images):
    honest = (suspicious - ours) / (1 - base_rate)  # those that resemble a held-out image, and more
    return (suspicious - honest) / num_images


def test_a_share_by_another_way_passes():
    assert passes("09.share", solved_share)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda f, o, b, n: o / n, "base rate explains"),
        (lambda f, o, b, n: f / n, "Not every suspicious"),
        (lambda f, o, b, n: (o - b * f) / n, "takes off too much"),
        (lambda f, o, b, n: max(0.0, solved_share(f, o, b, n)), "cut it off at 0"),
        (lambda f, o, b, n: n * solved_share(f, o, b, n), "the number of copies"),
        (lambda f, o, b, n: abs(solved_share(f, o, b, n)), ""),
        (lambda f, o, b, n: round(solved_share(f, o, b, n), 2), ""),
        (lambda f, o, b, n: 0.05, ""),
        (lambda f, o, b, n: math.nan, "NaN or infinity"),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_shares_are_named(answer, words):
    assert words in message("09.share", answer)


def rank_by_search(ratios, is_train, null):
    counts = np.searchsorted(np.sort(null.numpy()), ratios.numpy(), side="right")
    return np.where(is_train.numpy(), (1 + counts) / (1 + len(null)), 1.0)


def rank_by_loop(ratios, is_train, null):
    found = []
    for r, ours in zip(ratios.tolist(), is_train.tolist()):
        found.append((1 + sum(other <= r for other in null.tolist())) / (1 + len(null)))
        if not ours:
            found[-1] = 1.0
    return found


@pytest.mark.parametrize("answer", [rank_by_search, rank_by_loop])
def test_other_ranks_pass(answer):
    assert passes("09.rank", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda r, t, n: torch.as_tensor(rank_by_search(r, ~t, n)), "the wrong way round"),
        (
            lambda r, t, n: torch.where(t, (n <= r[:, None]).double().mean(1), 1.0),
            "a few held-out images",
        ),
        (lambda r, t, n: (1 + (n <= r[:, None]).sum(1)) / (1 + len(n)), "copies nothing"),
        (
            lambda r, t, n: torch.where(t, (1 + (n < r[:, None]).sum(1)) / (1 + len(n)), 1.0),
            "Ties are missing",
        ),
        (lambda r, t, n: torch.where(t, nb09._normal_tail(r, n), 1.0), "normally distributed"),
        (
            lambda r, t, n: torch.searchsorted(n, r, right=True) / (1 + len(n)),
            "differ",  # null is not sorted
        ),
        (lambda r, t, n: torch.as_tensor(rank_by_search(r, t, n)).min(), "a number"),
        (lambda r, t, n: rank_by_search(r, t, n) * math.nan, "NaN or infinity"),
        (nothing, "Is the `return` missing"),
    ],
)
def test_wrong_ranks_are_named(answer, words):
    assert words in message("09.rank", answer)


def test_there_are_eight_wrong_answers_an_exercise():
    listed = sum(len(exercise.mistakes) for exercise in nb09.EXERCISES)
    assert listed >= 8 * len(nb09.EXERCISES)
