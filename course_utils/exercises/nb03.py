"""The exercises of notebook 03, VAE: the derivation.

They are the parts of a VAE of one number: the log-likelihood from draws, the importance weight, the
KL, the ELBO and the reparameterised draw. Both optional sections add one: the score function and
the gap of the importance-weighted bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import (
    Exercise,
    Mistake,
    Wrong,
    require_attempt,
    require_finite,
    require_repeatable,
)

# ------------------------------------------------------------------ log p(x) from draws


def _log_mean_exp(log_values: Tensor) -> Tensor:
    return torch.logsumexp(log_values, 0) - math.log(len(log_values))


def _log_value_cases() -> list[tuple]:
    rng = make_rng(3, 0)
    shapes = (((50,), 2.0), ((7,), 900.0), ((1,), 3.0), ((6, 4), 5.0))
    return [
        (3 * torch.randn(shape, generator=rng, dtype=torch.float64) - offset,)
        for shape, offset in shapes
    ]


EVIDENCE = Exercise(
    id="03.evidence",
    question=(
        "Return the Monte Carlo estimate of log p(x) from log p(x | z_s), shape [S] or [S, B],"
        " where the S numbers along the first axis belong to draws from the prior."
    ),
    solution=_log_mean_exp,
    cases=_log_value_cases,
    gradients=(0,),
    why=(
        "The mean estimates p(x) and the log comes last; logsumexp keeps tiny probabilities from"
        " becoming zero."
    ),
    mistakes=(
        Mistake(
            lambda log_values: log_values.mean(0),
            "This is the mean of the logs. p(x) is a mean of probabilities: exponentiate first,"
            " take the mean, then the log.",
        ),
        Mistake(
            lambda log_values: torch.logsumexp(log_values, 0),
            "You added the probabilities up; p(x) is their mean. The number of draws is missing.",
        ),
        Mistake(
            lambda log_values: log_values.exp().mean(0).log(),
            "The formula is right, but exp(-900) is zero in the computer, and its log is minus"
            " infinity. torch.logsumexp avoids this.",
        ),
        Mistake(
            lambda log_values: torch.logsumexp(log_values, 0) / len(log_values),
            "Divide p(x) by the number of draws, not log p(x): dividing inside the log subtracts"
            " log S.",
        ),
        Mistake(
            lambda log_values: torch.logsumexp(log_values, 0) + math.log(len(log_values)),
            "log S has the wrong sign: dividing by S inside the log subtracts log S.",
        ),
        Mistake(
            lambda log_values: torch.logsumexp(log_values, 0) - len(log_values),
            "You subtracted S. Dividing by S inside the log subtracts log S.",
        ),
        Mistake(
            lambda log_values: torch.logsumexp(log_values, 0) - math.log(log_values.numel()),
            "You divided by the number of all values. The mean is over the draws, so divide by the"
            " length of the first axis.",
        ),
        Mistake(
            lambda log_values: torch.logsumexp(log_values, -1) - math.log(log_values.shape[-1]),
            "The mean is over the last axis. The draws lie along the first one: for [S, B] the"
            " answer has the shape [B].",
        ),
        Mistake(
            lambda log_values: (
                torch.logsumexp(log_values.flatten(), 0) - math.log(log_values.numel())
            ),
            "You took the mean over both axes. Each of the B columns has an estimate of its own.",
        ),
        Mistake(
            lambda log_values: torch.exp(_log_mean_exp(log_values)),
            "This is p(x) itself, without the log.",
        ),
    ),
    hints=(
        "log(1/S * sum) = log(sum) - log(S).",
        "torch.logsumexp(values, 0) is log(sum(exp(values))) over the first axis, computed safely.",
    ),
)

# ------------------------------------------------------------------ importance weight


def _log_weight(log_likelihood: Tensor, z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    log_prior = -0.5 * z.square()
    log_q = -0.5 * (z - mu).square() / logvar.exp() - 0.5 * logvar
    return log_likelihood + log_prior - log_q  # both logs lack the same constant


def _weight_cases() -> list[tuple]:
    rng = make_rng(3, 1)

    def case(shape: tuple, mu: Tensor, logvar: Tensor) -> tuple:
        log_likelihood = torch.randn(shape, generator=rng) - 3
        z = mu + torch.exp(0.5 * logvar) * torch.randn(shape, generator=rng)
        return log_likelihood, z, mu, logvar

    at_its_mean = (torch.tensor([-2.0]), torch.tensor([0.4]), torch.tensor(0.4), torch.tensor(1.1))
    return [
        case((6,), torch.tensor(0.7), torch.tensor(-1.2)),
        case((5, 3), torch.tensor([-1.0, 0.2, 2.0]), torch.tensor([0.5, -2.0, -0.3])),
        case((4,), torch.tensor(0.0), torch.tensor(0.0)),  # q is the prior
        at_its_mean,
    ]


def _changed_weight(sign_prior: float = 1.0, sign_q: float = 1.0) -> Callable:
    """Returns the log weight with other factors before the prior and before q."""

    def answer(log_likelihood: Tensor, z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        log_q = -0.5 * (z - mu).square() / logvar.exp() - 0.5 * logvar
        return log_likelihood - 0.5 * sign_prior * z.square() - sign_q * log_q

    return answer


def _weight_with(variance: Callable[[Tensor], Tensor]) -> Callable:
    """Returns the log weight with another reading of logvar."""

    def answer(log_likelihood: Tensor, z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        log_q = -0.5 * (z - mu).square() / variance(logvar) - 0.5 * logvar
        return log_likelihood - 0.5 * z.square() - log_q

    return answer


LOG_WEIGHT = Exercise(
    id="03.log_weight",
    question=(
        "Return log w = log p(x | z) + log p(z) - log q(z) for the prior N(0, 1) and q = N(mu,"
        " exp(logvar)); it has the shape of z."
    ),
    solution=_log_weight,
    cases=_weight_cases,
    gradients=(0, 1, 2, 3),
    why=(
        "The constants -1/2 log 2 pi of prior and q cancel. This one number a draw gives p(x), the"
        " ELBO, and what section 10 calls f."
    ),
    mistakes=(
        Mistake(
            _changed_weight(sign_prior=0.0),
            "The prior is missing: w has the joint p(x, z) = p(x | z) p(z) above the line.",
        ),
        Mistake(
            _changed_weight(sign_q=0.0),
            "This is log p(x, z). The draws came from q, so w divides by q(z).",
        ),
        Mistake(
            _changed_weight(sign_q=-1.0),
            "log q is added. w divides by q(z), so its log is subtracted.",
        ),
        Mistake(
            _changed_weight(sign_prior=-1.0),
            "The prior has the wrong sign: log p(z) = -z^2 / 2 + constant falls away from 0.",
        ),
        Mistake(
            _weight_with(lambda logvar: logvar),
            "You divided by logvar as if it were the variance. The variance is exp(logvar).",
        ),
        Mistake(
            _weight_with(lambda logvar: torch.exp(0.5 * logvar)),
            "You divided the square by the standard deviation exp(0.5 * logvar). log q has the"
            " variance exp(logvar) there.",
        ),
        Mistake(
            _weight_with(lambda logvar: logvar.square()),
            "You took logvar for the standard deviation. The variance is exp(logvar).",
        ),
        Mistake(
            lambda log_likelihood, z, mu, logvar: (
                _log_weight(log_likelihood, z, mu, logvar) - 0.5 * logvar
            ),
            "The normalising constant of q depends on its width: the log of 1 / sigma is -1/2"
            " logvar, and it is missing from log q.",
        ),
        Mistake(
            lambda log_likelihood, z, mu, logvar: (
                _log_weight(log_likelihood, z, mu, logvar) + 0.5 * logvar
            ),
            "log q holds log sigma, and log sigma is half of logvar. The half is missing.",
        ),
        Mistake(
            lambda log_likelihood, z, mu, logvar: (
                _log_weight(log_likelihood, z, mu, logvar) - logvar
            ),
            "log sigma has the wrong sign: a wide q is lower, so log q holds -1/2 logvar.",
        ),
        Mistake(
            lambda log_likelihood, z, mu, logvar: (
                _log_weight(log_likelihood, z, mu, logvar) - 0.5 * math.log(2 * math.pi)
            ),
            "You wrote -1/2 log 2 pi in the prior and forgot it in q. It stands in both, so it"
            " cancels.",
        ),
        Mistake(
            lambda log_likelihood, z, mu, logvar: _log_weight(log_likelihood, z, mu, logvar).exp(),
            "This is w itself. Return its log.",
        ),
        Mistake(
            lambda log_likelihood, z, mu, logvar: _log_weight(log_likelihood, z, mu, logvar).mean(
                0
            ),
            "You took the mean over the draws. Here each draw keeps a weight of its own.",
        ),
    ),
    hints=(
        "log N(z; mu, sigma^2) = -(z - mu)^2 / (2 sigma^2) - log sigma - 1/2 log 2 pi.",
        "log sigma = logvar / 2, and the prior is the case mu = 0, sigma = 1.",
    ),
)

# ------------------------------------------------------------------ KL


def _kl(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    spread = (logvar_q.exp() + (mu_q - mu_p).square()) / logvar_p.exp()  # E_q (z - mu_p)^2 / var_p
    return 0.5 * (spread - 1 + logvar_p - logvar_q)


def _pair_cases() -> list[tuple]:
    rows = (
        (0.5, -1.0, -0.3, 0.7),
        (-2.0, 1.1, 0.4, -0.5),
        (0.6, -0.4, 0.0, 0.0),  # the prior of a VAE
        (0.3, 0.8, 0.3, 0.8),  # q = p: no KL
        ([0.2, -1.0, 3.0], [-4.0, 0.0, 0.3], 0.0, 0.0),  # one KL for each of three
    )
    return [tuple(torch.tensor(numbers) for numbers in row) for row in rows]


KL = Exercise(
    id="03.kl",
    question=(
        "Return KL(N(mu_q, exp(logvar_q)) || N(mu_p, exp(logvar_p))) in nats, one for each element."
    ),
    solution=_kl,
    cases=_pair_cases,
    gradients=(0, 1),
    why=(
        "With mu_p = logvar_p = 0 it is the KL term of a VAE's loss; with the posterior for p it is"
        " the gap of the ELBO."
    ),
    mistakes=(
        Mistake(
            lambda m, v, n, w: _kl(n, w, m, v),
            "q and p are swapped. KL(q || p) takes the mean under q, and it is not symmetric.",
        ),
        Mistake(
            lambda m, v, n, w: -_kl(m, v, n, w),
            "The sign is the wrong way round: a KL is never negative, since it is E_q of log q -"
            " log p.",
        ),
        Mistake(
            lambda m, v, n, w: 2 * _kl(m, v, n, w),
            "The factor 1/2 is missing: it comes from the exponents -(z - mu)^2 / (2 sigma^2) and"
            " from log sigma = logvar / 2.",
        ),
        Mistake(
            lambda m, v, n, w: _kl(m, v, n, w) + 0.5,
            "The constant -1/2 is missing. Test: the KL of a distribution with itself is 0.",
        ),
        Mistake(
            lambda m, v, n, w: _kl(m, v, n, w) - 0.5 * (w - v),
            "The logs of the widths are missing: log q holds -1/2 logvar_q, and log p holds -1/2"
            " logvar_p.",
        ),
        Mistake(
            lambda m, v, n, w: _kl(m, v, n, w) - (w - v),
            "The logs of the widths have the wrong sign: a narrow q has a high density, so its KL"
            " is large.",
        ),
        Mistake(
            lambda m, v, n, w: 0.5 * ((v.exp() + (m - n).square()) - 1 + w - v),
            "The squares are not divided by the variance of p, exp(logvar_p).",
        ),
        Mistake(
            lambda m, v, n, w: (
                0.5 * (((0.5 * v).exp() + (m - n).square()) / (0.5 * w).exp() - 1 + w - v)
            ),
            "exp(0.5 * logvar) is the standard deviation. The formula has variances, exp(logvar).",
        ),
        Mistake(
            lambda m, v, n, w: 0.5 * ((v.exp() + (m - n)) / w.exp() - 1 + w - v),
            "The distance of the means is not squared.",
        ),
        Mistake(
            lambda m, v, n, w: 0.5 * ((v.exp() + m.square() - n.square()) / w.exp() - 1 + w - v),
            "(mu_q - mu_p)^2 is not mu_q^2 - mu_p^2.",
        ),
        Mistake(
            lambda m, v, n, w: 0.5 * (v.exp() + m.square() - 1 - v),
            "This is the KL to N(0, 1). Here p has a mean and a variance of its own.",
        ),
        Mistake(
            lambda m, v, n, w: 0.5 * ((m - n).square() / w.exp() - 1 + w - v),
            "E_q (z - mu_p)^2 is more than the squared distance of the means: the draws spread"
            " around mu_q as well.",
        ),
        Mistake(
            lambda m, v, n, w: _kl(m, v, n, w).sum(),
            "You added up all elements. Return one KL for each of them.",
        ),
        Mistake(
            lambda m, v, n, w: _kl(m, v, n, w).mean(),
            "You averaged over the elements. Return one KL for each of them.",
        ),
    ),
    hints=(
        "Only E_q log p changes, to E_q of -1/2 log 2 pi - logvar_p / 2 - (z - mu_p)^2 / (2 var_p)."
        " What is E_q (z - mu_p)^2?",
        "z - mu_p = (z - mu_q) + (mu_q - mu_p), so E_q (z - mu_p)^2 = var_q + (mu_q - mu_p)^2.",
    ),
)

# ------------------------------------------------------------------ ELBO


def _elbo(log_likelihood: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    kl_to_prior = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
    return log_likelihood.mean(0) - kl_to_prior


def _elbo_cases() -> list[tuple]:
    rng = make_rng(3, 2)
    several = torch.tensor([0.7, -1.5, 0.1]), torch.tensor([-1.2, 0.4, 0.0])
    return [
        (torch.randn(6, 3, generator=rng) - 3, *several),
        (torch.randn(1, 3, generator=rng) - 3, *several),  # one draw
        (torch.randn(5, generator=rng) - 3, torch.tensor(0.9), torch.tensor(-0.7)),
        (torch.randn(4, 2, generator=rng), torch.tensor(0.0), torch.tensor(0.0)),  # q = prior
    ]


def _kl_per(reduce: Callable[[Tensor], Tensor]) -> Callable:
    """Returns the ELBO with its KL reduced or scaled in another way."""

    def answer(log_likelihood: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        kl_to_prior = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
        return log_likelihood.mean(0) - reduce(kl_to_prior)

    return answer


ELBO = Exercise(
    id="03.elbo",
    question=(
        "Return the ELBO of each x from log p(x | z_s), shape [S] or [S, B], with S draws z_s ~ q ="
        " N(mu, exp(logvar)), and from mu and logvar; the prior is N(0, 1)."
    ),
    solution=_elbo,
    cases=_elbo_cases,
    gradients=(0, 1, 2),
    why=(
        "Reconstruction minus KL: the first term is a mean over draws, the second has a closed form"
        " and needs none."
    ),
    mistakes=(
        Mistake(
            _kl_per(lambda kl: -kl),
            "The KL is added. The ELBO is the reconstruction term minus the KL.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: -_elbo(log_likelihood, mu, logvar),
            "This is the loss, the negative of the ELBO.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                log_likelihood.sum(0) - 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
            ),
            "You added the draws up. The reconstruction term is a mean over the draws of z.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                _log_mean_exp(log_likelihood) - 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
            ),
            "You took the log of the mean. In the ELBO the log stands inside the mean: this is"
            " where Jensen's inequality was used.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                log_likelihood.mean() - 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
            ),
            "The reconstruction term is averaged over all x. Take the mean over the draws alone,"
            " the first axis.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                log_likelihood.mean(-1) - 0.5 * (mu.square() + logvar.exp() - 1 - logvar)
            ),
            "The mean is over the last axis; the draws lie along the first one. (With other sizes"
            " this raises an error.)",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: log_likelihood.mean(0),
            "The KL is missing: this is the reconstruction term alone.",
        ),
        Mistake(_kl_per(lambda kl: 2 * kl), "The KL lacks its factor 1/2."),
        Mistake(
            _kl_per(lambda kl: kl + 0.5),
            "The -1 in the KL is missing. Test: where q is the prior, the KL is 0.",
        ),
        Mistake(
            _kl_per(lambda kl: kl.mean()),
            "The KL is averaged over all x. Each x has a q, and so a KL, of its own.",
        ),
        Mistake(
            _kl_per(lambda kl: kl.sum()),
            "The KL is added up over all x. Each x has a q, and so a KL, of its own.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                log_likelihood.mean(0)
                - 0.5 * (mu.square() + logvar.exp() - 1 - logvar) / len(log_likelihood)
            ),
            "The KL is divided by the number of draws. It is no mean over draws; its closed form"
            " stands as it is.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                log_likelihood.mean(0) - 0.5 * (mu.square() + (0.5 * logvar).exp() - 1 - logvar)
            ),
            "exp(0.5 * logvar) is the standard deviation. The KL has the variance.",
        ),
        Mistake(
            lambda log_likelihood, mu, logvar: (
                log_likelihood.mean(0) - 0.5 * (mu.square() + logvar - 1 - logvar.abs().log())
            ),
            "You used logvar as if it were the variance. It is the log; the variance is"
            " exp(logvar).",
        ),
    ),
    hints=(
        "Two terms: the mean of log_likelihood over its first axis, minus a KL.",
        "Your `kl` gives the second one, with zeros for the prior: torch.zeros(()).",
    ),
)

# ------------------------------------------------------------------ reparameterisation


def _draw_z(mu: Tensor, logvar: Tensor, num_draws: int, rng: torch.Generator) -> Tensor:
    eps = torch.randn(num_draws, *mu.shape, generator=rng)  # new noise for each draw and each x
    return mu + torch.exp(0.5 * logvar) * eps


def _latent_cases() -> list[tuple]:
    mu, logvar = torch.tensor([0.3, -2.0, 1.0]), torch.tensor([-1.2, 0.8, 0.5])
    return [(mu, logvar, 4, make_rng(3, 3)), (mu[0], logvar[0], 1, make_rng(3, 4))]


def _check_draw_z(draw: Callable) -> None:
    for arguments in _latent_cases():
        _check_shape_and_gradients(draw(*arguments), arguments[0], arguments[2])
    require_repeatable(draw, lambda: _latent_cases()[0])
    mu, logvar, _, _ = _latent_cases()[0]
    if torch.equal(draw(mu, logvar, 4, make_rng(3, 3)), draw(mu, logvar, 4, make_rng(3, 5))):
        raise Wrong(
            "Two different generators gave the same z: the noise does not come from `rng`, so every"
            " step of a training would use the same noise."
        )
    _check_distribution(draw(mu, logvar, 4000, make_rng(3, 6)).detach(), mu, logvar)
    _check_gradients(draw)


def _check_shape_and_gradients(z: Tensor, mu: Tensor, num_draws: int) -> None:
    require_attempt(z)
    expected = [num_draws, *mu.shape]
    if not isinstance(z, Tensor) or list(z.shape) != expected:
        got = f"shape {list(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise Wrong(
            f"Expected a tensor of shape {expected} for {num_draws} draws and a mu of shape"
            f" {list(mu.shape)}, got {got}."
        )
    require_finite(z)


def _check_gradients(draw: Callable) -> None:
    mu, logvar = (part.clone().requires_grad_() for part in _latent_cases()[0][:2])
    z = draw(mu, logvar, 4, make_rng(3, 3))
    given = [None, None]
    if z.requires_grad:
        given = torch.autograd.grad(z.sum(), [mu, logvar], allow_unused=True)
    expected = torch.full_like(mu, 4.0), 0.5 * (z - mu).detach().sum(0)
    for name, right, got in zip(("mu", "logvar"), expected, given):
        if got is None or not got.any():  # torch.normal passes zeros back
            raise Wrong(
                f"No gradient reaches `{name}`, so an encoder could not be trained. detach(),"
                " no_grad(), item(), NumPy and torch.normal cut the gradient off."
            )
        if not torch.allclose(got, right, rtol=1e-3, atol=1e-4):
            raise Wrong(
                f"The gradient that reaches `{name}` is not the one of z = mu + exp(0.5 * logvar) *"
                " eps."
            )


def _check_distribution(z: Tensor, mu: Tensor, logvar: Tensor) -> None:
    """Raises `Wrong` where draws `[4000, 3]` are not independent and normal."""
    std, found = torch.exp(0.5 * logvar), z.std(0)
    if (found < 1e-3 * std).all():
        raise Wrong("All draws of an x are the same. Each draw needs noise of its own.")
    eps = (z - mu) / std
    if not (eps.mean(0).abs() < 0.1).all():
        raise Wrong(f"The mean of z is {_listed(z.mean(0))} where mu is {_listed(mu)}.")
    if not ((found / std - 1).abs() < 0.08).all():
        raise Wrong(
            f"The standard deviation of z is {_listed(found)} where exp(0.5 * logvar) is"
            f" {_listed(std)}."
        )
    if (torch.corrcoef(eps.T) - torch.eye(3)).abs().max() > 0.1:
        raise Wrong(
            "The three x share their noise: where one z is high, the others are too. Draw new noise"
            " for each x."
        )
    if (eps.pow(4).mean(0) - 3).abs().max() > 0.7:
        raise Wrong(
            "Mean and width are right, but the noise is not normal. torch.randn draws from N(0, 1),"
            " torch.rand does not."
        )


def _listed(values: Tensor) -> str:
    return ", ".join(f"{value:.2f}" for value in values.tolist())


def _draw_with(width: Callable[[Tensor], Tensor]) -> Callable:
    """Returns the draw with another width of the noise."""

    def answer(mu: Tensor, logvar: Tensor, num_draws: int, rng: torch.Generator) -> Tensor:
        return mu + width(logvar) * torch.randn(num_draws, *mu.shape, generator=rng)

    return answer


REPARAMETERISE = Exercise(
    id="03.reparameterise",
    question=(
        "Return num_draws draws of z ~ N(mu, exp(logvar)) for each element of mu, shape [num_draws,"
        " *mu.shape], so that gradients reach mu and logvar; the noise comes from `rng`."
    ),
    solution=_draw_z,
    cases=_latent_cases,
    check=_check_draw_z,
    why=(
        "All randomness is in eps, which no parameter changes, so the gradient passes through mu"
        " and sigma."
    ),
    mistakes=(
        Mistake(
            _draw_with(torch.exp),
            "You multiplied the noise by exp(logvar), the variance. The width of z is its root,"
            " exp(0.5 * logvar).",
        ),
        Mistake(
            _draw_with(lambda logvar: logvar),
            "You multiplied the noise by logvar itself. It is the log of the variance, and may be"
            " negative.",
        ),
        Mistake(
            _draw_with(lambda logvar: 0.5 * logvar),
            "0.5 * logvar is log sigma. The noise is multiplied by sigma itself.",
        ),
        Mistake(
            _draw_with(torch.ones_like), "The noise has width 1 for every x: logvar is not used."
        ),
        Mistake(
            lambda mu, logvar, n, rng: (
                mu
                + torch.exp(0.5 * logvar)
                * torch.randn(mu.shape, generator=rng).expand(n, *mu.shape)
            ),
            "You drew the noise once and used it for all draws. Each draw needs noise of its own.",
        ),
        Mistake(
            lambda mu, logvar, n, rng: (
                mu
                + torch.exp(0.5 * logvar)
                * torch.randn(n, *[1] * mu.ndim, generator=rng).expand(n, *mu.shape)
            ),
            "All x of a draw share one noise. Each x needs noise of its own.",
        ),
    ),
    hints=(
        "z = mu + sigma * eps, with eps ~ N(0, 1) of the shape that is asked for.",
        "torch.randn(num_draws, *mu.shape, generator=rng) draws eps; sigma is exp(0.5 * logvar).",
    ),
)

# ------------------------------------------------------------------ decoder's noise


def _implied_std(weight: float) -> float:
    return math.sqrt(1 / (2 * weight))


DECODER_STD = Exercise(
    id="03.decoder_std",
    question=(
        "A loss is weight * (sum of squared errors) + KL. Return the standard deviation of the"
        " Gaussian decoder whose -ELBO it is, up to a constant."
    ),
    solution=_implied_std,
    cases=lambda: [(torch.tensor(weight),) for weight in (1.0, 0.5, 50.0, 2.0, 1e-3)],
    why=(
        "A weight before a squared error is a statement about the noise; with none at all it says"
        " 0.71, whatever the data are."
    ),
    mistakes=(
        Mistake(
            lambda weight: 1 / (2 * weight), "This is the variance. The question asks for its root."
        ),
        Mistake(
            lambda weight: (1 / weight) ** 0.5,
            "The squared error of a Gaussian has the factor 1 / (2 s^2). The 2 is missing.",
        ),
        Mistake(
            lambda weight: (2 * weight) ** 0.5,
            "It is the other way round: a larger weight means less noise.",
        ),
        Mistake(
            lambda weight: (2 / weight) ** 0.5,
            "The 2 is above the line, but 1 / (2 s^2) = weight has it below.",
        ),
        Mistake(
            lambda weight: 1 / weight,
            "This is neither the variance nor its root. Solve 1 / (2 s^2) = weight for s.",
        ),
        Mistake(
            lambda weight: weight / 2**0.5,
            "This grows with the weight. A larger weight means that less error counts as noise.",
        ),
        Mistake(
            lambda weight: 0.5**0.5,
            "This is right for the weight 1 alone. The answer depends on the weight.",
        ),
        Mistake(
            lambda weight: weight,
            "The weight is not the standard deviation. Solve 1 / (2 s^2) = weight for s.",
        ),
    ),
    hints=(
        "-log N(x; m, s^2) = (x - m)^2 / (2 s^2) + terms without m. Which s makes the factor equal"
        " to the weight?",
    ),
)

# ------------------------------------------------------------------ score function


def _score_gradients(f: Tensor, z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    standard = (z - mu) * torch.exp(-0.5 * logvar)  # (z - mu) / sigma
    d_mu = standard * torch.exp(-0.5 * logvar)
    d_logvar = 0.5 * (standard.square() - 1)
    return f * d_mu, f * d_logvar


def _score_cases() -> list[tuple]:
    rng = make_rng(3, 7)
    mu, logvar = torch.tensor([0.8, -0.5, 0.0]), torch.tensor([-1.8, 0.4, 0.0])
    z = mu + torch.exp(0.5 * logvar) * torch.randn(5, 3, generator=rng)
    f = torch.randn(5, 1, generator=rng) - 2
    return [
        (f, z, mu, logvar),
        (f[:, 0], z[:, 0], mu[0], logvar[0]),
        (torch.tensor([2.0]), mu[:1], mu[0], logvar[0]),  # z at the mean
        (torch.zeros(5, 1), z, mu, logvar),
    ]


def _changed_score(change: Callable) -> Callable:
    """Returns the estimate with `change(d_mu, d_logvar, f, mu, logvar)` applied to the scores."""

    def answer(f: Tensor, z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        return change(*_score_gradients(torch.ones(()), z, mu, logvar), f, mu, logvar)

    return answer


SCORE = Exercise(
    id="03.score_function",
    question=(
        "Return the score-function estimates of the gradient of E_q f with respect to mu and to"
        " logvar for each draw, a pair in the shape of z, from f, shape [S] or [S, 1], and z."
    ),
    solution=_score_gradients,
    cases=_score_cases,
    why=(
        "It multiplies values of f and never differentiates f, so f may be a black box. What this"
        " does to the variance comes next."
    ),
    mistakes=(
        Mistake(
            _changed_score(lambda d_mu, d_logvar, f, mu, logvar: (-f * d_mu, -f * d_logvar)),
            "The signs are the wrong way round: raising mu makes draws above mu more likely.",
        ),
        Mistake(
            _changed_score(
                lambda d_mu, d_logvar, f, mu, logvar: (
                    f * d_mu * torch.exp(0.5 * logvar),
                    f * d_logvar,
                )
            ),
            "The derivative by mu is divided by sigma. log q has sigma squared below the line.",
        ),
        Mistake(
            _changed_score(lambda d_mu, d_logvar, f, mu, logvar: (f * d_mu, 2 * f * d_logvar)),
            "The derivative by logvar lacks a factor 1/2: log sigma is half of logvar.",
        ),
        Mistake(
            _changed_score(lambda d_mu, d_logvar, f, mu, logvar: (f * d_mu, f * (d_logvar + 0.5))),
            "The derivative by logvar lacks its -1/2, which comes from the normalising constant of"
            " q.",
        ),
        Mistake(
            _changed_score(
                lambda d_mu, d_logvar, f, mu, logvar: (
                    f * d_mu,
                    2 * f * d_logvar * torch.exp(-0.5 * logvar),
                )
            ),
            "The second derivative is by sigma. The encoder gives logvar, so differentiate by"
            " logvar.",
        ),
        Mistake(
            _changed_score(
                lambda d_mu, d_logvar, f, mu, logvar: (f * d_mu, f * d_logvar * torch.exp(-logvar))
            ),
            "The second derivative is by the variance. The encoder gives logvar, so differentiate"
            " by logvar.",
        ),
        Mistake(
            _changed_score(
                lambda d_mu, d_logvar, f, mu, logvar: (
                    d_mu + torch.zeros_like(f),
                    d_logvar + torch.zeros_like(f),
                )
            ),
            "These are the scores alone. Each draw has to be multiplied by its value f.",
        ),
        Mistake(
            _changed_score(lambda d_mu, d_logvar, f, mu, logvar: (f * d_logvar, f * d_mu)),
            "The two are swapped: first mu, then logvar.",
        ),
        Mistake(
            _changed_score(
                lambda d_mu, d_logvar, f, mu, logvar: ((f * d_mu).mean(0), (f * d_logvar).mean(0))
            ),
            "You took the mean over the draws. Return one estimate for each draw, since their"
            " variance is measured next.",
        ),
        Mistake(
            _changed_score(lambda d_mu, d_logvar, f, mu, logvar: f * d_mu),
            "This is the first of two. Return a pair: the derivative by mu and the one by logvar.",
        ),
    ),
    hints=(
        "log q(z) = -(z - mu)^2 / (2 exp(logvar)) - logvar / 2 + constant. Differentiate it by mu"
        " and by logvar, and multiply by f.",
        "d/dmu is (z - mu) / exp(logvar). In d/dlogvar, 1 / exp(logvar) = exp(-logvar) comes down"
        " with a minus sign.",
    ),
)

# ------------------------------------------------------------------ gap of the k-sample bound


def _expected_gap(log_w: Tensor, k: int) -> Tensor:
    w = torch.exp(log_w - log_w.max())  # a common factor does not change the ratio
    return w.var() / (2 * k * w.mean().square())


def _gap_cases() -> list[tuple]:
    rng = make_rng(3, 8)
    log_w = 0.8 * torch.randn(2000, generator=rng, dtype=torch.float64)
    return [
        (log_w - 1, 1),
        (0.3 * log_w + 2, 10),
        (log_w - 900, 100),
        (torch.full((50,), -1.4, dtype=torch.float64), 5),  # q is the posterior
    ]


EXPECTED_GAP = Exercise(
    id="03.expected_gap",
    question=(
        "Return the gap of the bound with k weights to log p(x), as the second-order expansion"
        " gives it, estimated from many log weights, shape [N]."
    ),
    solution=_expected_gap,
    cases=_gap_cases,
    rtol=5e-3,
    why="The gap falls like 1/k, and the relative variance of a single weight says from where.",
    mistakes=(
        Mistake(
            lambda log_w, k: 2 * _expected_gap(log_w, k),
            "The factor 1/2 of the expansion is missing.",
        ),
        Mistake(
            lambda log_w, k: k * _expected_gap(log_w, k),
            "This is the gap for k = 1. The mean of k weights has a k-th of the variance of one.",
        ),
        Mistake(
            lambda log_w, k: _expected_gap(log_w, k) / k,
            "You divided by k twice. The variance of a mean falls like 1/k.",
        ),
        Mistake(
            lambda log_w, k: _expected_gap(log_w, k) * k**0.5,
            "You divided by the root of k. That is right for a standard deviation; here stands a"
            " variance.",
        ),
        Mistake(
            lambda log_w, k: log_w.exp().var() / (2 * k),
            "The variance is not divided by p(x)^2, the squared mean of the weights: delta is a"
            " relative deviation.",
        ),
        Mistake(
            lambda log_w, k: log_w.var() / (2 * k),
            "This is the variance of the log weights. The expansion has the relative variance of"
            " the weights themselves.",
        ),
        Mistake(
            lambda log_w, k: log_w.exp().var() / (2 * k * log_w.exp().mean().square()),
            "The formula is right, but exp(-900) is zero in the computer. Subtract the largest log"
            " weight first; a common factor changes nothing.",
        ),
        Mistake(
            lambda log_w, k: -_expected_gap(log_w, k),
            "The gap is log p(x) minus the bound, so it is positive.",
        ),
        Mistake(
            lambda log_w, k: (2 * k * _expected_gap(log_w, k)).sqrt() / (2 * k),
            "You took the relative standard deviation. Its square belongs there.",
        ),
        Mistake(
            lambda log_w, k: log_w.exp().var() / (2 * k * log_w.exp().mean()),
            "You divided by p(x) once. A relative variance is divided by the squared mean.",
        ),
    ),
    hints=(
        "The expansion leaves E[delta^2] / 2, where 1 + delta is the mean of k weights over p(x).",
        "Var(mean of k weights) = Var(w) / k, and p(x) is the mean of w. Use exp(log_w -"
        " log_w.max()), whose largest value is 1.",
    ),
)

EXERCISES = (EVIDENCE, LOG_WEIGHT, KL, ELBO, REPARAMETERISE, DECODER_STD, SCORE, EXPECTED_GAP)
