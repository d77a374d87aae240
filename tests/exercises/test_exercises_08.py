"""What the exercises of notebook 08 accept and refuse beyond their listed mistakes: other styles of
right answers, and wrong ones with the words that name the error.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from messages import message, passes

from course_utils.exercises import core, nb08
from course_utils.exercises.judge import NOT_ATTEMPTED, judge


def nothing(*args):
    print(end="")


FORGOTTEN_RETURN = "Is the `return` missing"


@pytest.mark.parametrize("exercise", nb08.EXERCISES, ids=lambda exercise: exercise.id)
def test_a_forgotten_return_is_named(exercise):
    if callable(exercise.solution):
        assert FORGOTTEN_RETURN.casefold() in message(exercise.id, nothing).casefold()


def test_there_are_eight_wrong_answers_for_each_exercise():
    assert all(len(exercise.mistakes) >= 8 for exercise in nb08.EXERCISES)


# ------------------------------------------------------------------ one pixel


def by_cases(mean, variance, noise_std, y):
    pairs = []
    for m, v, s, one in zip(*(np.asarray(part) for part in (mean, variance, noise_std, y))):
        gain = 0.0 if math.isinf(s) else v / (v + s**2)
        pairs.append((m + gain * (one - m), v * (1 - gain)))
    return [list(part) for part in zip(*pairs)]


@pytest.mark.parametrize(
    "answer",
    [
        lambda m, v, s, y: ((1 - v / (v + s**2)) * m + v / (v + s**2) * y, v - v / (v + s**2) * v),
        lambda m, v, s, y: [m + (y - m) / (1 + s**2 / v), v - v**2 / (v + s * s)],
        by_cases,
    ],
)
def test_pixels_in_other_styles_pass(answer):
    assert passes("08.pixel", answer)


def pixel(m, v, s, y):
    return nb08.PIXEL.solution(m, v, s, y)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda m, v, s, y: pixel(m, v, s, y)[0], "got numbers of shape"),
        (lambda m, v, s, y: pixel(m, v, s, y)[::-1], "item 0"),
        (lambda m, v, s, y: (pixel(m, v, s, y)[0], -pixel(m, v, s, y)[1]), "sign"),
        (lambda m, v, s, y: (pixel(m, v, s, y)[0] * math.nan, v), "NaN"),
        (lambda m, v, s, y: (m, v), "item 0"),
        (lambda m, v, s, y: (y, 0 * v), "item 0"),
        (lambda m, v, s, y: (pixel(m, v, s, y)[0], v * s**2), "item 1"),
        (lambda m, v, s, y: pixel(y, v, s, m), "item 0"),
    ],
)
def test_wrong_pixels_are_refused(answer, words):
    assert words.casefold() in message("08.pixel", answer).casefold()


# ------------------------------------------------------------------ searching


def by_distributions(decode, z, forward, y, noise_std):
    """The same up to a constant would be refused, so the constants are taken off."""
    expected = forward(decode(z)).reshape(len(z), -1)
    normal = torch.distributions.Normal(expected, noise_std)
    constant = torch.distributions.Normal(0.0, noise_std).log_prob(torch.tensor(0.0))
    fit = (normal.log_prob(y.reshape(len(z), -1)) - constant).sum(-1)
    return -fit + torch.einsum("bd,bd->b", z, z) / 2


def one_by_one(decode, z, forward, y, noise_std):
    seen = forward(decode(z))
    return torch.stack(
        [
            ((a - b) ** 2).sum() / 2 / noise_std**2 + (row**2).sum() / 2
            for a, b, row in zip(y, seen, z)
        ]
    )


@pytest.mark.parametrize("answer", [by_distributions, one_by_one])
def test_search_losses_in_other_styles_pass(answer):
    assert passes("08.search", answer)


def loss(*args):
    return nb08.SEARCH.solution(*args)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda d, z, f, y, s: loss(d, z.detach(), f, y, s), "no gradient reaches `z`"),
        (lambda d, z, f, y, s: loss(lambda z: d(z).detach(), z, f, y, s), "is cut off from it"),
        (lambda d, z, f, y, s: loss(d, z, f, y, s).detach().numpy(), "no gradient reaches `z`"),
        (lambda d, z, f, y, s: loss(d, z, f, y, s) + 1, "off by the same amount"),
        (lambda d, z, f, y, s: loss(d, z, f, y, s) * math.nan, "NaN"),
        (lambda d, z, f, y, s: 2 * loss(d, z, f, y, s), "2 times what it should be"),
        (lambda d, z, f, y, s: loss(d, z, f, y, s)[:, None], "got numbers of shape"),
        (lambda d, z, f, y, s: (y - f(d(z))).abs().flatten(1).sum(1) / s, "values differ"),
        (lambda d, z, f, y, s: loss(d, z, f, y[::2], s), "raised"),
    ],
)
def test_wrong_search_losses_are_named(answer, words):
    assert words.casefold() in message("08.search", answer).casefold()


# ------------------------------------------------------------------ replacement


def with_numpy(x_t, y, visible, t, noise_std, noise):
    lacking = t**2 - (noise_std * (1 - t)) ** 2
    if lacking < 0:
        return x_t
    mask = visible.numpy()
    return mask * ((1 - t) * y.numpy() + np.sqrt(lacking) * noise.numpy()) + ~mask * x_t.numpy()


def in_place(x_t, y, visible, t, noise_std, noise):
    out, own = x_t.clone(), (1 - t) * noise_std
    if own <= t:
        out[..., visible] = ((1 - t) * y + math.sqrt(t**2 - own**2) * noise)[..., visible]
    return out


@pytest.mark.parametrize("answer", [with_numpy, in_place])
def test_replacements_in_other_styles_pass(answer):
    assert passes("08.replace", answer)


def put(*args):
    return nb08.REPLACE.solution(*args)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, y, m, t, s, n: put(x, y, m, t, s, -n), "values differ"),
        (lambda x, y, m, t, s, n: put(x, y, m, t, s, torch.randn_like(n)), "same arguments gave"),
        (lambda x, y, m, t, s, n: put(x, y, m, t, s, n[:1].expand_as(n)), "values differ"),
        (lambda x, y, m, t, s, n: x, "values differ"),
        (lambda x, y, m, t, s, n: put(x, y, m, t, s, n) * math.nan, "NaN"),
        (lambda x, y, m, t, s, n: put(x, -y, m, t, s, n), "values differ"),
        (lambda x, y, m, t, s, n: put(x, y, m, t, s, n)[:, 0], "got numbers of shape"),
        (
            lambda x, y, m, t, s, n: torch.where(
                m, (1 - t) * y + math.sqrt(t**2 - ((1 - t) * s) ** 2) * n, x
            ),
            "math domain error",
        ),
        (
            lambda x, y, m, t, s, n: torch.where(
                m, (1 - t) * y + (t**2 - ((1 - t) * s) ** 2) ** 0.5 * n, x
            ),
            "test input 4 of 6",
        ),
    ],
)
def test_wrong_replacements_are_named(answer, words):
    assert words.casefold() in message("08.replace", answer).casefold()


# ------------------------------------------------------------------ guidance


def by_backward(denoise, x_t, forward, y, noise_std):
    x = x_t.clone()
    x.requires_grad = True
    x0 = denoise(x)
    (((y - forward(x0)) ** 2).sum() / 2).backward()
    return x0, -x.grad / noise_std**2


def by_vector_product(denoise, x_t, forward, y, noise_std):
    x = x_t.detach().requires_grad_()
    x0 = denoise(x)
    seen = forward(x0)
    return [x0.detach(), torch.autograd.grad(seen, x, (y - seen).detach() / noise_std**2)[0]]


@pytest.mark.parametrize("answer", [by_backward, by_vector_product])
def test_guides_in_other_styles_pass(answer):
    assert passes("08.guide", answer)


def guide(*args):
    return nb08.GUIDE.solution(*args)


def no_graph(denoise, x_t, forward, y, noise_std):
    with torch.no_grad():
        x0 = denoise(x_t)
    value = -(y - forward(x0)).square().sum() / (2 * noise_std**2)
    return x0, torch.autograd.grad(value, x_t)[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (no_graph, "does not require grad"),
        (lambda d, x, f, y, s: (x, guide(d, x, f, y, s)[1]), "item 0"),
        (lambda d, x, f, y, s: (guide(d, x, f, y, s)[0], guide(d, x, f, y, s)[1] * 0), "is 0"),
        (
            lambda d, x, f, y, s: (guide(d, x, f, y, s)[0], guide(d, x, f, y, s)[1] * math.nan),
            "NaN",
        ),
        (
            lambda d, x, f, y, s: (guide(d, x, f, y, s)[0], guide(d, x, f, y, s)[1][:1]),
            "got numbers of shape",
        ),
        (lambda d, x, f, y, s: guide(d, x, f, y, s)[0], "got numbers of shape"),
        (lambda d, x, f, y, s: guide(d, x, f, y, s**2), "item 1"),
        (lambda d, x, f, y, s: guide(d, x + torch.randn_like(x), f, y, s), "same arguments gave"),
    ],
)
def test_wrong_guides_are_named(answer, words):
    assert words.casefold() in message("08.guide", answer).casefold()


# ------------------------------------------------------------------ decibels


@pytest.mark.parametrize("answer", [3.01, 3.0103, np.float64(3.01), torch.tensor(3.01)])
def test_three_decibels_pass(answer):
    assert passes("08.decibels", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (3.3, "too large"),
        (0.0, "too small"),
        (math.nan, "NaN"),
        ("3 dB", "got a text"),
        (6.0206, "for amplitudes"),
        (20.0, "too large"),
    ],
)
def test_wrong_decibels_are_named(answer, words):
    assert words.casefold() in message("08.decibels", answer).casefold()


# ------------------------------------------------------------------ edit


@pytest.mark.parametrize(
    "answer",
    [
        lambda g, s, k, n: [g + s * (n - g), [s * (1 - i / k) for i in range(k + 1)]],
        lambda g, s, k, n: (torch.lerp(g, n, s), np.linspace(s, 0, k + 1)),
        lambda g, s, k, n: (
            (1 - s) * g.numpy() + s * n.numpy(),
            s * torch.arange(k, -1, -1, dtype=torch.float64) / k,
        ),
    ],
)
def test_edits_in_other_styles_pass(answer):
    assert passes("08.edit", answer)


def edit(*args):
    return nb08.EDIT.solution(*args)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda g, s, k, n: edit(g, s, k, n)[0], "got numbers of shape"),
        (lambda g, s, k, n: edit(g, s, k, torch.randn_like(n)), "same arguments gave"),
        (lambda g, s, k, n: edit(g, s, k, -n), "item 0"),
        (lambda g, s, k, n: (edit(g, s, k, n)[0], edit(g, s, k, n)[1] ** 2), "item 1"),
        (lambda g, s, k, n: (edit(g, s, k, n)[0], torch.linspace(s, 0, 11)), "item 1"),
        (lambda g, s, k, n: (edit(g, s, k, n)[0] * math.nan, edit(g, s, k, n)[1]), "NaN"),
        (lambda g, s, k, n: (edit(g, s, k, n)[0], s), "item 1"),
        (lambda g, s, k, n: edit(g, 0.6, k, n), "test input 2"),
    ],
)
def test_wrong_edits_are_named(answer, words):
    assert words.casefold() in message("08.edit", answer).casefold()


# ------------------------------------------------------------------ outliers


@pytest.mark.parametrize(
    "answer",
    [
        # the error of the noise is that of the image, scaled
        lambda d, x, t, n: (
            ((d((1 - t) * x + t * n, t) - x) * (1 - t) / t).pow(2).mean(dim=(1, 2, 3))
        ),
        lambda d, x, t, n: [
            float((((1 - t) * (a - b)) ** 2).mean() / t**2)
            for a, b in zip(x, d(torch.lerp(x, n, t), t))
        ],
    ],
)
def test_outlier_scores_in_other_styles_pass(answer):
    assert passes("08.outlier", answer)


def strange(*args):
    return nb08.OUTLIER.solution(*args)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda d, x, t, n: strange(d, x, t, torch.randn_like(n)), "same arguments gave"),
        (lambda d, x, t, n: strange(d, x, t, n[:1].expand_as(n)), "values differ"),
        (lambda d, x, t, n: strange(d, x, 0.4, n), "test input 2"),
        (lambda d, x, t, n: strange(d, x, t, n) * math.nan, "NaN"),
        (lambda d, x, t, n: strange(lambda x_t, t: d(x_t, 0.5), x, t, n), "values differ"),
        (lambda d, x, t, n: torch.ones(len(x)), "values differ"),
        (lambda d, x, t, n: 2 * strange(d, x, t, n), "2 times what it should be"),
        (lambda d, x, t, n: strange(d, x, t, n)[:, None], "got numbers of shape"),
    ],
)
def test_wrong_outlier_scores_are_named(answer, words):
    assert words.casefold() in message("08.outlier", answer).casefold()


# ------------------------------------------------------------------ adjoint


def by_autograd(y, factor):
    shape = (*y.shape[:2], y.shape[2] * factor, y.shape[3] * factor)
    x = torch.zeros(shape, requires_grad=True)
    torch.nn.functional.avg_pool2d(x, factor).backward(y)
    return x.grad


@pytest.mark.parametrize(
    "answer",
    [
        by_autograd,
        lambda y, k: np.kron(y.numpy(), np.ones((k, k))) / k**2,
        lambda y, k: torch.nn.functional.interpolate(y, scale_factor=k) / k / k,
    ],
)
def test_adjoints_in_other_styles_pass(answer):
    assert passes("08.adjoint", answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda y, k: -nb08.ADJOINT.solution(y, k), "sign"),
        (lambda y, k: nb08.ADJOINT.solution(y, k) / k**2, "times what it should be"),
        (lambda y, k: nb08.ADJOINT.solution(y, 2), "test input"),
        (lambda y, k: nb08.ADJOINT.solution(y, k) * math.nan, "NaN"),
        (lambda y, k: y / k**2, "got numbers of shape"),
        (
            lambda y, k: torch.nn.functional.interpolate(y, scale_factor=k, mode="bilinear") / k**2,
            "values differ",
        ),
    ],
)
def test_wrong_adjoints_are_named(answer, words):
    assert words.casefold() in message("08.adjoint", answer).casefold()


# ------------------------------------------------------------------ Gaussian


def by_inverse(mean, covariance, matrix, noise_std, y):
    a, c = matrix.numpy(), covariance.numpy()
    gain = c @ a.T @ np.linalg.inv(a @ c @ a.T + noise_std**2 * np.eye(len(a)))
    return mean.numpy() + gain @ (y.numpy() - a @ mean.numpy())


def by_precision(mean, covariance, matrix, noise_std, y):
    precision = torch.linalg.inv(covariance) + matrix.T @ matrix / noise_std**2
    return mean + torch.linalg.solve(precision, matrix.T @ (y - matrix @ mean)) / noise_std**2


@pytest.mark.parametrize("answer", [by_inverse, by_precision])
def test_gaussian_means_in_other_styles_pass(answer):
    assert passes("08.gaussian", answer)


def given(*args):
    return nb08.GAUSSIAN.solution(*args)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda m, c, a, s, y: given(m, c, a, s, y)[:, None], "got numbers of shape"),
        (lambda m, c, a, s, y: given(m, c, a, s, y) * math.nan, "NaN"),
        (lambda m, c, a, s, y: given(0 * m, c, a, s, y), "differ"),
        (lambda m, c, a, s, y: given(m, c, a, s, -y), "differ"),
        (lambda m, c, a, s, y: given(m, c, a, 0.5, y), "test input 2"),
        (lambda m, c, a, s, y: given(m, c @ c, a, s, y), "differ"),
        (lambda m, c, a, s, y: m + c @ a.T @ (y - a @ m), "differ"),
        (lambda m, c, a, s, y: given(m, c, a.T, s, y), "raised"),
    ],
)
def test_wrong_gaussian_means_are_named(answer, words):
    assert words.casefold() in message("08.gaussian", answer).casefold()


def test_a_stub_is_not_attempted_even_where_two_results_are_asked_for():
    verdict = judge(core.find("08.guide"), lambda d, x, f, y, s: (..., ...))
    assert verdict.status == NOT_ATTEMPTED
