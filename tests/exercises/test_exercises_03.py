"""What the exercises of notebook 03 accept beside their solution, and what they say to wrong
answers: every known mistake by the words that name it, and others that are told by their values.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from course_utils.exercises.judge import NOT_ATTEMPTED, PASSED, WRONG, judge
from course_utils.exercises.nb03 import (
    DECODER_STD,
    ELBO,
    EVIDENCE,
    EXERCISES,
    EXPECTED_GAP,
    KL,
    LOG_WEIGHT,
    REPARAMETERISE,
    SCORE,
)

# ------------------------------------------------------------------ right answers, other styles


def evidence_by_logaddexp(log_values):
    total = log_values[0]
    for row in log_values[1:]:
        total = torch.logaddexp(total, row)
    return total - np.log(log_values.shape[0])


def evidence_with_the_largest_taken_out(log_values):
    largest = log_values.max(0).values
    return largest + (log_values - largest).exp().mean(0).log()


def weight_by_distributions(log_likelihood, z, mu, logvar):
    q = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    return log_likelihood + prior.log_prob(z) - q.log_prob(z)


def kl_by_distributions(mu_q, logvar_q, mu_p, logvar_p):
    pair = (
        torch.distributions.Normal(m, (v / 2).exp())
        for m, v in ((mu_q, logvar_q), (mu_p, logvar_p))
    )
    return torch.distributions.kl_divergence(*pair)


def kl_with_standard_deviations(mu_q, logvar_q, mu_p, logvar_p):
    std_q, std_p = torch.exp(logvar_q / 2), torch.exp(logvar_p / 2)
    ratio = torch.log(std_p / std_q)
    return ratio + (std_q**2 + (mu_q - mu_p) ** 2) / (2 * std_p**2) - 1 / 2


def elbo_by_einsum(log_likelihood, mu, logvar):
    weights = torch.full((len(log_likelihood),), 1 / len(log_likelihood))
    kl = kl_by_distributions(mu, logvar, torch.zeros(()), torch.zeros(()))
    return torch.einsum("s,s...->...", weights, log_likelihood) - kl


def draws_in_a_loop(mu, logvar, num_draws, rng):
    rows = []
    for _ in range(num_draws):
        rows.append(mu + (logvar / 2).exp() * torch.randn(mu.shape, generator=rng))
    return torch.stack(rows)


def draws_with_minus_eps(mu, logvar, num_draws, rng):
    eps = torch.empty(num_draws, *mu.shape).normal_(generator=rng)
    return mu.expand(num_draws, *mu.shape) - logvar.exp().sqrt() * eps


def std_in_numpy(weight):
    return np.sqrt(0.5 / np.asarray(weight))


def score_by_autograd(f, z, mu, logvar):
    m, v = (part.expand(z.shape).clone().requires_grad_() for part in (mu, logvar))
    log_q = torch.distributions.Normal(m, torch.exp(v / 2)).log_prob(z)
    d_mu, d_logvar = torch.autograd.grad(log_q.sum(), (m, v))
    return [f * d_mu, f * d_logvar]


def score_in_numpy(f, z, mu, logvar):
    f, z, mu, variance = (np.asarray(part) for part in (f, z, mu, logvar.exp()))
    return f * (z - mu) / variance, f * 0.5 * ((z - mu) ** 2 / variance - 1)


def gap_in_numpy(log_w, k):
    w = np.exp(np.asarray(log_w) - float(log_w.max()))
    return np.var(w) / np.mean(w) ** 2 / 2 / k


RIGHT = [
    (EVIDENCE, evidence_by_logaddexp),
    (EVIDENCE, evidence_with_the_largest_taken_out),
    (LOG_WEIGHT, weight_by_distributions),
    (KL, kl_by_distributions),
    (KL, kl_with_standard_deviations),
    (ELBO, elbo_by_einsum),
    (REPARAMETERISE, draws_in_a_loop),
    (REPARAMETERISE, draws_with_minus_eps),
    (DECODER_STD, std_in_numpy),
    (DECODER_STD, lambda weight: (2 * weight) ** -0.5),
    (SCORE, score_in_numpy),
    (SCORE, score_by_autograd),
    (EXPECTED_GAP, gap_in_numpy),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_right_answers_in_other_styles_pass(exercise, answer):
    verdict = judge(exercise, answer)
    assert verdict.status == PASSED, verdict.message


# ------------------------------------------------------------------ known mistakes

MISTAKE_WORDS = {
    EVIDENCE.id: (
        "mean of the logs",
        "number of draws is missing",
        "torch.logsumexp avoids",
        "not log p(x)",
        "wrong sign",
        "subtracted S",
        "number of all values",
        "last axis",
        "both axes",
        "without the log",
    ),
    LOG_WEIGHT.id: (
        "prior is missing",
        "w divides by q(z)",
        "log q is added",
        "prior has the wrong sign",
        "as if it were the variance",
        "standard deviation exp(0.5 * logvar)",
        "took logvar for the standard deviation",
        "missing from log q",
        "The half is missing",
        "log sigma has the wrong sign",
        "log 2 pi",
        "Return its log",
        "a weight of its own",
    ),
    KL.id: (
        "swapped",
        "sign is the wrong way",
        "factor 1/2",
        "constant -1/2",
        "logs of the widths are missing",
        "logs of the widths have the wrong sign",
        "not divided by the variance of p",
        "is the standard deviation",
        "not squared",
        "is not mu_q^2 - mu_p^2",
        "KL to N(0, 1)",
        "spread around mu_q",
        "added up all",
        "averaged over the elements",
    ),
    ELBO.id: (
        "KL is added",
        "This is the loss",
        "added the draws up",
        "log of the mean",
        "averaged over all x",
        "last axis",
        "KL is missing",
        "factor 1/2",
        "-1 in the KL",
        "KL is averaged",
        "KL is added up over all x",
        "divided by the number of draws",
        "is the standard deviation",
        "as if it were the variance",
    ),
    REPARAMETERISE.id: (
        "exp(logvar), the variance",
        "multiplied the noise by logvar",
        "is log sigma",
        "logvar is not used",
        "used it for all draws",
        "share one noise",
    ),
    DECODER_STD.id: (
        "This is the variance",
        "The 2 is missing",
        "other way round",
        "2 is above the line",
        "neither the variance",
        "grows with the weight",
        "weight 1 alone",
        "not the standard deviation",
    ),
    SCORE.id: (
        "signs are the wrong way",
        "sigma squared",
        "lacks a factor 1/2",
        "lacks its -1/2",
        "by sigma",
        "by the variance",
        "scores alone",
        "swapped",
        "mean over the draws",
        "first of two",
    ),
    EXPECTED_GAP.id: (
        "factor 1/2",
        "gap for k = 1",
        "divided by k twice",
        "root of k",
        "squared mean of the weights",
        "variance of the log weights",
        "exp(-900)",
        "positive",
        "relative standard deviation",
        "divided by p(x) once",
    ),
}
MISTAKES = [
    (exercise, mistake.answer, words)
    for exercise in EXERCISES
    for mistake, words in zip(exercise.mistakes, MISTAKE_WORDS[exercise.id], strict=True)
]


@pytest.mark.parametrize(("exercise", "answer", "words"), MISTAKES)
def test_known_mistakes_are_named(exercise, answer, words):
    verdict = judge(exercise, answer)
    assert verdict.status == WRONG and words in verdict.message


# ------------------------------------------------------------------ mutants without a message


def evidence_in_numpy(log_values):
    return logsumexp(np.asarray(log_values), axis=0) - np.log(log_values.shape[0])


def detached(function):
    return lambda *arguments: function(*arguments).detach()


def draw(eps_of, width=lambda logvar: torch.exp(0.5 * logvar)):
    """A reparameterised draw whose noise `eps_of(shape, rng)` is something else."""

    def answer(mu, logvar, num_draws, rng):
        return mu + width(logvar) * eps_of((num_draws, *mu.shape), rng)

    return answer


def drawn_by_torch_normal(mu, logvar, num_draws, rng):
    shape = (num_draws, *mu.shape)
    std = torch.exp(0.5 * logvar)
    return torch.normal(mu.expand(shape), std.expand(shape), generator=rng)


def drawn_with_a_stopped_width(mu, logvar, num_draws, rng):
    return REPARAMETERISE.solution(mu, logvar.detach(), num_draws, rng)


MUTANTS = [
    (EVIDENCE, evidence_in_numpy, "no gradient reaches"),
    (EVIDENCE, lambda log_values: log_values.max(0).values, "too large"),
    (EVIDENCE, lambda log_values: EVIDENCE.solution(log_values) / math.log(10), "too small"),
    (EVIDENCE, lambda log_values: EVIDENCE.solution(log_values) * math.nan, "NaN"),
    (LOG_WEIGHT, detached(LOG_WEIGHT.solution), "no gradient reaches"),
    (LOG_WEIGHT, lambda ll, z, m, v: -LOG_WEIGHT.solution(ll, z, m, v), "sign is the wrong way"),
    (LOG_WEIGHT, lambda ll, z, m, v: LOG_WEIGHT.solution(ll, z, m.detach(), v), "reaches `mu`"),
    (KL, detached(KL.solution), "no gradient reaches"),
    (KL, lambda m, v, n, w: KL.solution(m, v.detach(), n, w), "reaches `logvar_q`"),
    (KL, lambda m, v, n, w: KL.solution(m, v, n, w).abs() * math.nan, "NaN"),
    (ELBO, detached(ELBO.solution), "no gradient reaches"),
    (ELBO, lambda ll, m, v: ELBO.solution(ll, m, v.detach()), "reaches `logvar`"),
    (ELBO, lambda ll, m, v: ELBO.solution(ll, m, v).mean(), "Expected numbers of shape [3]"),
    (REPARAMETERISE, detached(REPARAMETERISE.solution), "No gradient reaches `mu`"),
    (REPARAMETERISE, drawn_by_torch_normal, "No gradient reaches"),
    (REPARAMETERISE, drawn_with_a_stopped_width, "No gradient reaches `logvar`"),
    (REPARAMETERISE, draw(lambda shape, rng: torch.randn(shape)), "generator that is given"),
    (
        REPARAMETERISE,
        draw(lambda shape, rng: torch.randn(shape, generator=torch.Generator().manual_seed(0))),
        "does not come from `rng`",
    ),
    (REPARAMETERISE, draw(lambda shape, rng: torch.rand(shape, generator=rng)), "mean of z"),
    (
        REPARAMETERISE,
        draw(lambda shape, rng: 12**0.5 * (torch.rand(shape, generator=rng) - 0.5)),
        "not normal",
    ),
    (
        REPARAMETERISE,
        lambda mu, logvar, n, rng: REPARAMETERISE.solution(mu, logvar, n, rng).mT,
        "got shape [3, 4]",
    ),
    (
        REPARAMETERISE,
        lambda mu, logvar, n, rng: REPARAMETERISE.solution(mu, logvar, n, rng).mean(0),
        "Expected a tensor of shape [4, 3]",
    ),
    (REPARAMETERISE, draw(lambda shape, rng: torch.zeros(shape)), "does not come from `rng`"),
    (
        REPARAMETERISE,
        draw(lambda shape, rng: torch.randn(shape, generator=rng), lambda v: (0.25 * v).exp()),
        "standard deviation of z",
    ),
    (
        REPARAMETERISE,
        lambda mu, logvar, n, rng: REPARAMETERISE.solution(mu, logvar, n, rng) * math.nan,
        "NaN",
    ),
    (DECODER_STD, 0.5**0.5, "Expected a function"),
    (DECODER_STD, lambda weight: -((2 * weight) ** -0.5), "sign is the wrong way"),
    (SCORE, lambda *a: [g * math.nan for g in SCORE.solution(*a)], "NaN"),
    (EXPECTED_GAP, lambda log_w, k: math.nan, "NaN"),
    (EXPECTED_GAP, lambda log_w, k: 0.0, "too small"),
]


@pytest.mark.parametrize(("exercise", "answer", "words"), MUTANTS)
def test_other_wrong_answers_are_refused_with_a_reason(exercise, answer, words):
    verdict = judge(exercise, answer)
    assert verdict.status == WRONG
    assert words in verdict.message


def test_a_forgotten_return_is_named():
    def without_return(log_values):
        torch.logsumexp(log_values, 0)

    assert "`return` missing" in judge(EVIDENCE, without_return).message


def test_a_stub_with_a_signature_is_not_attempted():
    def draw_z(mu, logvar, num_draws, rng):
        """Returns [num_draws, *mu.shape]."""
        return ...

    assert judge(REPARAMETERISE, draw_z).status == NOT_ATTEMPTED


def test_there_are_eight_wrong_answers_an_exercise():
    assert len(MISTAKES) + len(MUTANTS) >= 8 * len(EXERCISES)
    for exercise in EXERCISES:
        known = len(exercise.mistakes) + sum(entry[0] is exercise for entry in MUTANTS)
        assert known >= 8, exercise.id


# ------------------------------------------------------------------ what the notebook says


def test_the_parts_make_a_bound_that_is_tight_for_the_exact_posterior():
    """On a straight decoder log w is log p(x) for every draw, and the ELBO reaches it."""
    x, std = torch.tensor([1.5, -0.4]), 0.5
    mu, logvar = 0.8 * x, torch.full((2,), math.log(0.2))
    rng = torch.Generator().manual_seed(0)
    z = REPARAMETERISE.solution(mu, logvar, 2000, rng)
    log_likelihood = torch.distributions.Normal(z, std).log_prob(x)
    exact = torch.distributions.Normal(0.0, math.sqrt(1 + std**2)).log_prob(x)
    log_w = LOG_WEIGHT.solution(log_likelihood, z, mu, logvar)
    torch.testing.assert_close(log_w, exact.expand(2000, 2), rtol=0, atol=1e-4)
    torch.testing.assert_close(EVIDENCE.solution(log_w), exact, rtol=0, atol=1e-4)
    assert (ELBO.solution(log_likelihood, mu, logvar) - exact).abs().max() < 0.1
    assert KL.solution(mu, logvar, 0.8 * x, torch.tensor(math.log(0.2))).abs().max() < 1e-6


def test_the_score_function_agrees_with_the_derivative_of_a_known_mean():
    """E_q z^2 = mu^2 + exp(logvar), so its derivatives are 2 mu and exp(logvar)."""
    mu, logvar = torch.tensor(0.6), torch.tensor(-0.5)
    z = REPARAMETERISE.solution(mu, logvar, 400_000, torch.Generator().manual_seed(1))
    d_mu, d_logvar = SCORE.solution(z.square(), z, mu, logvar)
    assert d_mu.mean().item() == pytest.approx(1.2, abs=0.02)
    assert d_logvar.mean().item() == pytest.approx(math.exp(-0.5), abs=0.02)
