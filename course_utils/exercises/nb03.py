"""The exercises of notebook 03, VAE: the derivation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake


def _log_evidence(log_likelihood: Tensor) -> Tensor:
    return torch.logsumexp(log_likelihood, 0) - math.log(len(log_likelihood))


def _likelihood_cases() -> list[tuple]:
    rng = make_rng(3, 0)
    return [
        (3 * torch.randn(k, generator=rng, dtype=torch.float64) - offset,)
        for k, offset in ((50, 2.0), (7, 900.0))
    ]


EVIDENCE = Exercise(
    id="03.evidence",
    question=(
        "Return the Monte Carlo estimate of log p(x) from log p(x | z_s), shape [S], where the z_s"
        " are draws from the prior."
    ),
    solution=_log_evidence,
    cases=_likelihood_cases,
    why=(
        "The mean estimates p(x); the log comes last, and logsumexp keeps tiny probabilities from"
        " becoming zero."
    ),
    mistakes=(
        Mistake(
            lambda log_likelihood: log_likelihood.mean(),
            "This is the mean of the logs. p(x) is a mean of probabilities: exponentiate first,"
            " take the mean, then the log.",
        ),
        Mistake(
            lambda log_likelihood: torch.logsumexp(log_likelihood, 0),
            "You added the probabilities up; p(x) is their mean. The number of draws is missing.",
        ),
        Mistake(
            lambda log_likelihood: log_likelihood.exp().mean().log(),
            "The formula is right, but exp(-900) is zero in the computer, and its log is minus"
            " infinity. torch.logsumexp avoids this.",
        ),
        Mistake(
            lambda log_likelihood: _log_evidence(log_likelihood) / len(log_likelihood),
            "Divide p(x) by the number of draws, not log p(x): dividing inside the log subtracts"
            " log S.",
        ),
    ),
    hints=(
        "log(1/S * sum) = log(sum) - log(S).",
        "torch.logsumexp(values, 0) is log(sum(exp(values))), computed safely.",
    ),
)


def _elbo(log_likelihood: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return log_likelihood.mean() - 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def _elbo_cases() -> list[tuple]:
    rng = make_rng(3, 1)
    numbers = [(0.7, -1.2), (-1.5, 0.4)]
    return [
        (torch.randn(6, generator=rng) - 3, torch.tensor(mu), torch.tensor(logvar))
        for mu, logvar in numbers
    ]


ELBO = Exercise(
    id="03.elbo",
    question=(
        "Return the ELBO from log p(x | z_s), shape [S], with z_s drawn from q = N(mu,"
        " exp(logvar)), and from the numbers mu and logvar."
    ),
    solution=_elbo,
    cases=_elbo_cases,
    why=(
        "Reconstruction minus the price of the code: the first term needs draws, the second has a"
        " closed form without noise."
    ),
    mistakes=(
        Mistake(
            lambda log_likelihood, mu, logvar: (
                2 * log_likelihood.mean() - _elbo(log_likelihood, mu, logvar)
            ),
            "The KL is added. It is a price: the ELBO is the reconstruction term minus the KL.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                log_likelihood.mean() - 0.5 * (mu.square() + logvar - 1 - logvar.abs().log())
            ),
            "You used logvar as if it were the variance. It is the log; the variance is"
            " exp(logvar).",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                log_likelihood.mean() - 0.5 * (mu.square() + (0.5 * logvar).exp() - 1 - logvar)
            ),
            "exp(0.5 * logvar) is the standard deviation. The formula has the variance.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                _elbo(log_likelihood, mu, logvar) - log_likelihood.mean() + log_likelihood.sum()
            ),
            "You added the draws up. The reconstruction term is a mean over draws of z; only pixels"
            " and dimensions add up.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                _elbo(log_likelihood, mu, logvar)
                - log_likelihood.mean()
                + _log_evidence(log_likelihood)
            ),
            "You took the log of the mean. In the ELBO the log stands inside the mean: this is"
            " where Jensen's inequality was used.",
        ),
    ),
    hints=(
        "Two terms: the mean of log_likelihood, minus a KL.",
        "KL(q || N(0, 1)) = 1/2 (mu^2 + sigma^2 - 1 - log sigma^2).",
    ),
)


def _gaussian_kl(mean_q: Tensor, std_q: Tensor, mean_p: Tensor, std_p: Tensor) -> Tensor:
    return (
        torch.log(std_p / std_q)
        + (std_q.square() + (mean_q - mean_p).square()) / (2 * std_p.square())
        - 0.5
    )


def _pair_cases() -> list[tuple]:
    rows = ((0.5, 0.6, -0.3, 1.4), (-2.0, 1.7, 0.4, 0.8))
    return [tuple(torch.tensor(number) for number in row) for row in rows]


GAUSSIAN_KL = Exercise(
    id="03.gaussian_kl",
    question="Return KL(N(mean_q, std_q^2) || N(mean_p, std_p^2)) in nats.",
    solution=_gaussian_kl,
    cases=_pair_cases,
    why="With mean_p = 0 and std_p = 1 it becomes the KL term of every VAE in this course.",
    mistakes=(
        Mistake(
            lambda m, s, n, t: _gaussian_kl(n, t, m, s),
            "q and p are swapped. KL(q || p) averages under q, and it is not symmetric.",
        ),
        Mistake(
            lambda m, s, n, t: -_gaussian_kl(m, s, n, t),
            "The sign is the wrong way round: a KL is never negative, since it is E_q of log q -"
            " log p.",
        ),
        Mistake(
            lambda m, s, n, t: _gaussian_kl(m, s.sqrt(), n, t.sqrt()),
            "You took the standard deviations for variances. std_q and std_p still have to be"
            " squared.",
        ),
        Mistake(
            lambda m, s, n, t: _gaussian_kl(m, s, n, t) + 0.5,
            "The constant -1/2 is missing. Test: the KL of a distribution with itself is 0.",
        ),
        Mistake(
            lambda m, s, n, t: _gaussian_kl(m, s, n, t) - torch.log(t / s),
            "The ratio of the widths is missing: log(std_p / std_q) comes from the normalising"
            " constants.",
        ),
    ),
    hints=(
        "E_q of log q is -log std_q - 1/2 - constant. What is E_q of (z - mean_p)^2?",
        "E_q (z - mean_p)^2 = std_q^2 + (mean_q - mean_p)^2.",
    ),
)


def _score_gradients(value: Tensor, z: Tensor, mu: Tensor, std: Tensor) -> Tensor:
    return value * (z - mu) / std.square()


def _score_cases() -> list[tuple]:
    rng = make_rng(3, 2)
    mu, std = torch.tensor(0.8), torch.tensor(0.4)
    return [(torch.randn(5, generator=rng) - 2, mu + std * torch.randn(5, generator=rng), mu, std)]


SCORE = Exercise(
    id="03.score_function",
    question=(
        "Return the score-function estimate of d/dmu E_q f(z) for each draw, from f(z_s) and z_s of"
        " shape [S], and q's mu and std."
    ),
    solution=_score_gradients,
    cases=_score_cases,
    why=(
        "It only multiplies values of f, so f may be a black box; the price is the variance that"
        " you are about to measure."
    ),
    mistakes=(
        Mistake(
            lambda f, z, mu, std: f * (z - mu) / std,
            "You divided by sigma. The derivative of log q with respect to mu has sigma squared"
            " below.",
        ),
        Mistake(
            lambda f, z, mu, std: f * (mu - z) / std.square(),
            "The sign is the wrong way round: raising mu makes draws above mu more likely.",
        ),
        Mistake(
            lambda f, z, mu, std: (z - mu) / std.square(),
            "This is the score alone. Each draw has to be weighed with its value f(z).",
        ),
        Mistake(
            lambda f, z, mu, std: (
                f * (-0.5 * ((z - mu) / std).square() - std.log() - 0.5 * math.log(2 * math.pi))
            ),
            "You multiplied by log q itself. The estimator has the derivative of log q.",
        ),
    ),
    hints=(
        "f(z) times the derivative of log q(z) with respect to mu.",
        "log q(z) = -(z - mu)^2 / (2 sigma^2) + constant.",
    ),
)


def _path_gradients(
    slope: Callable[[Tensor], Tensor], mu: Tensor, std: Tensor, num_draws: int, rng: torch.Generator
) -> Tensor:
    eps = torch.randn(num_draws, generator=rng)
    return slope(mu + std * eps) * eps


def _path_cases() -> list[tuple]:
    return [
        (torch.cos, torch.tensor(0.7), torch.tensor(0.5), 6, make_rng(3, 3)),
        (torch.exp, torch.tensor(-0.2), torch.tensor(1.1), 4, make_rng(3, 4)),
    ]


def _two_noises(slope, mu, std, num_draws, rng):
    first = torch.randn(num_draws, generator=rng)
    return slope(mu + std * first) * torch.randn(num_draws, generator=rng)


def _one_noise(slope, mu, std, num_draws, rng):
    eps = torch.randn(1, generator=rng)
    return (slope(mu + std * eps) * eps).expand(num_draws)


REPARAMETERISED = Exercise(
    id="03.reparameterised",
    question=(
        "Return the reparameterised estimate of d/dstd E_q f(z) for each draw; slope is f', eps is"
        " torch.randn(num_draws, generator=rng)."
    ),
    solution=_path_gradients,
    cases=_path_cases,
    why=(
        "The chain rule through z = mu + std * eps uses the slope of f, which points the way; the"
        " score function has to find it by trial."
    ),
    mistakes=(
        Mistake(
            lambda slope, mu, std, n, rng: slope(mu + std * torch.randn(n, generator=rng)),
            "This is the gradient with respect to mu. The chain rule for std has one more factor:"
            " dz/dstd.",
        ),
        Mistake(
            _two_noises,
            "You drew eps twice. z and dz/dstd belong to the same draw; with fresh noise the mean"
            " of their product is zero.",
        ),
        Mistake(
            _one_noise,
            "You drew eps once and used it for all draws. Their mean is then as noisy as a single"
            " draw.",
        ),
        Mistake(
            lambda slope, mu, std, n, rng: (lambda eps: slope(mu) * eps)(
                torch.randn(n, generator=rng)
            ),
            "The slope is taken at mu. It belongs at the drawn z = mu + std * eps.",
        ),
    ),
    hints=(
        "d/dstd f(mu + std * eps): apply the chain rule.",
        "Draw eps once with shape [num_draws], keep it in a variable, use it twice.",
    ),
)

DECODER_STD = Exercise(
    id="03.decoder_std",
    question=(
        "A loss is the sum of squared pixel errors plus the KL, without further factors. Which"
        " standard deviation has its Gaussian decoder?"
    ),
    solution=math.sqrt(0.5),
    why=(
        "A plain squared error is a decision about the noise: 0.7 for pixels from 0 to 1 declares"
        " nearly every detail to be noise."
    ),
    mistakes=(
        Mistake(
            1.0, "With std 1 the squared error would have the factor 1/2. Solve 1 / (2 std^2) = 1."
        ),
        Mistake(0.5, "This is the variance. The question asks for its root."),
        Mistake(
            2.0, "It is the other way round: a larger std makes the factor 1 / (2 std^2) smaller."
        ),
        Mistake(math.sqrt(2.0), "It is the other way round: std^2 = 2 would give the factor 1/4."),
    ),
    hints=(
        "-log N(x; m, s^2) = (x - m)^2 / (2 s^2) + terms without m. Which s makes the factor 1?",
    ),
    rtol=5e-3,
)

EXERCISES = (EVIDENCE, ELBO, GAUSSIAN_KL, SCORE, REPARAMETERISED, DECODER_STD)
