"""The exercises of notebook 05, VAE at inference: the clinic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.base.device import make_rng
from course_utils.exercises.judge import (
    Exercise,
    Mistake,
    Raised,
    Wrong,
    kind_of,
    require_attempt,
    require_finite,
    to_array,
)

# ------------------------------------------------------------------ the gap of a draw


def _expected_gap(logvar, beta):
    return 0.5 * beta * (1 - logvar.exp()).sum(1)


def _gap_cases() -> list[tuple]:
    rng = make_rng(5, 0)
    sharp = torch.randn(6, 4, generator=rng) - 3
    # the prior's own noise leaves no gap; one image with one dimension; beta 0 forgets the KL
    return [(sharp, 1.0), (sharp, 4.0), (torch.zeros(3, 2), 2.0), (sharp[:1, :1], 0.5), (sharp, 0)]


GAP = Exercise(
    id="05.gap",
    question=(
        "Return how many nats a draw of q(z | x) lies above the mean, for a VAE that was trained to"
        " the end with the loss reconstruction + beta * KL."
    ),
    solution=_expected_gap,
    cases=_gap_cases,
    why=(
        "The gap is part of what the loss asks for, so it is no defect; and its size tells the beta"
        " that a model was trained with."
    ),
    mistakes=(
        Mistake(
            lambda logvar, beta: 0.5 * (1 - logvar.exp()).sum(1),
            "This is the gap for beta = 1. The KL's derivative is multiplied by beta, so the"
            " curvature is as well.",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * (1 - logvar.exp()).sum(1) / beta,
            "You divided by beta. A larger beta punishes precise codes more, so the noise grows,"
            " and so does the gap.",
        ),
        Mistake(
            lambda logvar, beta: beta * (1 - logvar.exp()).sum(1),
            "The factor 1/2 is missing: noise of variance sigma^2 adds h sigma^2 / 2.",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * beta * (1 - logvar.exp()).mean(1),
            "You took the mean over the latent dimensions. Each of them adds its own nats: take the"
            " sum.",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * beta * (1 - logvar.exp()).sum(),
            "You added up the images too. The result has one number for each image, [N].",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * beta * (1 - logvar.exp()).sum(0),
            "You added up the images. Axis 0 counts images, axis 1 latent dimensions.",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * beta * (1 - logvar).sum(1),
            "You used logvar as if it were the variance. sigma^2 = exp(logvar).",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * beta * (1 - torch.exp(0.5 * logvar)).sum(1),
            "exp(logvar / 2) is sigma, the standard deviation. The gap holds sigma^2.",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * beta * (logvar.exp() - 1).sum(1),
            "The sign is the wrong way round: a draw is worse than the mean, so the gap is 0 or"
            " more wherever sigma is at most 1.",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * (beta * (1 / logvar.exp() - 1)).sum(1),
            "This is half the sum of the curvatures h. The gap of one dimension is h sigma^2 / 2.",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * beta * (logvar.exp() - 1 - logvar).sum(1),
            "This is the part of the KL that sigma makes. The question is by how much the"
            " reconstruction gets worse.",
        ),
        Mistake(
            lambda logvar, beta: 0.5 * (1 - beta * logvar.exp()).sum(1),
            "Both parts of the KL's derivative are multiplied by beta, not only the first.",
        ),
    ),
    hints=(
        "At the best sigma^2 the derivative of h sigma^2 / 2 + beta (sigma^2 - 1 - log sigma^2) / 2"
        " is 0. Solve for h.",
        "h = beta (1 / sigma^2 - 1). Put it into h sigma^2 / 2 and add up the dimensions.",
    ),
)

# ------------------------------------------------------------------ a better q for one image


def _refine(negative_elbo, mu, logvar, rate):
    mu, logvar = mu.detach().requires_grad_(), logvar.detach().requires_grad_()
    of_mu, of_logvar = torch.autograd.grad(negative_elbo(mu, logvar).sum(), (mu, logvar))
    return (mu - rate * logvar.exp() * of_mu).detach(), (logvar - rate * of_logvar).detach()


class _Bowl(nn.Module):
    """-ELBO of a toy decoder whose best z differs from image to image, `[N]`; its `target` is a
    parameter, as those of a decoder are.
    """

    curvature: Tensor

    def __init__(self, num: int, dim: int, seed: int) -> None:
        super().__init__()
        rng = make_rng(5, 1, seed)
        self.target = nn.Parameter(torch.randn(num, dim, generator=rng))
        self.register_buffer("curvature", torch.rand(num, dim, generator=rng) * 20 + 1)

    def forward(self, mu: Tensor, logvar: Tensor) -> Tensor:
        squared, variance = (mu - self.target).square(), logvar.exp()
        # the last part couples mu and logvar, as a decoder that is not linear does
        near = self.curvature * (squared + variance) + squared * variance
        kl = mu.square() + logvar.exp() - 1 - logvar
        return 0.5 * (near + kl).sum(1)


def _refine_cases() -> list[tuple]:
    cases = []
    for seed, (num, dim, rate) in enumerate(((5, 3, 0.1), (1, 1, 0.5), (4, 2, 0.0))):
        rng = make_rng(5, 2, seed)
        mu = torch.randn(num, dim, generator=rng)
        cases.append((_Bowl(num, dim, seed), mu, torch.randn(num, dim, generator=rng) - 1, rate))
    return cases


def _pairs(step: Any) -> list[tuple[Tensor, Tensor]]:
    """Returns what a step answers in each case; raises `Wrong` where it is no pair, or where a step
    changed what it was given.
    """
    found = []
    for negative_elbo, mu, logvar, rate in _refine_cases():
        before = [value.clone() for value in (mu, logvar, negative_elbo.target)]
        answer = step(negative_elbo, mu, logvar, rate)
        require_attempt(answer)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong(f"Expected two tensors, the new mu and logvar, got {kind_of(answer)}.")
        for name, value in zip(("mu", "logvar"), answer):
            require_attempt(value)
            if to_array(value).shape != tuple(mu.shape):
                raise Wrong(
                    f"Expected a new {name} of shape {list(mu.shape)}, got"
                    f" {list(to_array(value).shape)}."
                )
            require_finite(value)
        after = (mu, logvar, negative_elbo.target)
        for name, old, new in zip(("mu", "logvar", "the model's parameters"), before, after):
            if not torch.equal(old, new.detach()):
                raise Wrong(
                    f"Your step changed {name} in place. The encoder's answer is still needed to"
                    " compare with: return new tensors."
                )
        found.append(tuple(torch.as_tensor(value).detach().float() for value in answer))
    return found


def _equal_pairs(first: list, second: list) -> bool:
    both = zip(sum(map(list, first), []), sum(map(list, second), []), strict=True)
    return all(torch.allclose(*pair, rtol=1e-4, atol=1e-6) for pair in both)


def _check_refine(step: Any) -> None:
    try:
        given = _pairs(step)
    except Raised as raised:
        if "scalar outputs" in str(raised):
            raise Wrong(
                "negative_elbo(mu, logvar) is one number for each image. A gradient needs one"
                " number in all: take the sum, which leaves each image its own gradient."
            ) from raised
        raise
    right = _pairs(_refine)
    if _equal_pairs(given, right):
        return
    for mistake in REFINE.mistakes:
        try:
            if _equal_pairs(given, _pairs(mistake.answer)):
                raise Wrong(mistake.message)
        except Raised:
            continue
    mu_is_right = _equal_pairs([pair[:1] for pair in given], [pair[:1] for pair in right])
    logvar_is_right = _equal_pairs([pair[1:] for pair in given], [pair[1:] for pair in right])
    if mu_is_right or logvar_is_right:
        good, bad = ("mu", "logvar") if mu_is_right else ("logvar", "mu")
        raise Wrong(f"The new {good} is right, the new {bad} is not.")
    raise Wrong(
        "Neither mu nor logvar is where one step leads. Take the gradient of the sum of"
        " negative_elbo(mu, logvar), and go against it."
    )


def _step(
    mu_scale: Callable[[Tensor], Tensor | float] = torch.exp,
    logvar_scale: Callable[[Tensor], Tensor | float] = lambda logvar: 1.0,
    total: Callable[[Tensor], Tensor] = torch.sum,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Returns a step with other factors or another total: what wrong answers look like."""

    def step(negative_elbo, mu, logvar, rate):
        mu, logvar = mu.detach().requires_grad_(), logvar.detach().requires_grad_()
        of_mu, of_logvar = torch.autograd.grad(total(negative_elbo(mu, logvar)), (mu, logvar))
        new_mu = mu - rate * mu_scale(logvar) * of_mu
        return new_mu.detach(), (logvar - rate * logvar_scale(logvar) * of_logvar).detach()

    return step


def _one_after_the_other(negative_elbo, mu, logvar, rate):
    new_mu, _ = _refine(negative_elbo, mu, logvar, rate)
    return new_mu, _refine(negative_elbo, new_mu, logvar, rate)[1]


REFINE = Exercise(
    id="05.refine",
    question=(
        "Make one gradient step that lowers -ELBO of each image on its own, and return the new mu"
        " and logvar."
    ),
    solution=_refine,
    check=_check_refine,
    why=(
        "The network stays as it is: only the two vectors of each image move. So what this saves is"
        " due to the encoder alone."
    ),
    mistakes=(
        Mistake(
            _step(mu_scale=lambda logvar: 1.0),
            "mu's step lacks the factor sigma^2. Without it a step that suits one dimension is far"
            " too long for another.",
        ),
        Mistake(
            _step(mu_scale=lambda logvar: torch.exp(0.5 * logvar)),
            "You scaled mu's step by sigma. The curvature is about 1 / sigma^2, so the step is"
            " scaled by sigma^2 = exp(logvar).",
        ),
        Mistake(
            _step(mu_scale=lambda logvar: logvar),
            "You scaled mu's step by logvar itself. sigma^2 = exp(logvar).",
        ),
        Mistake(
            _step(mu_scale=lambda logvar: torch.exp(-logvar)),
            "You divided by sigma^2. Where the code is precise, the cost is steep, and the step has"
            " to be short.",
        ),
        Mistake(
            _step(logvar_scale=torch.exp),
            "You scaled logvar's step by sigma^2 as well. A logarithm has no scale of its own: its"
            " step is rate times the gradient.",
        ),
        Mistake(
            _step(total=torch.mean),
            "You took the gradient of the mean over images, so that each image moves N times too"
            " little. The images do not share anything here: take the sum.",
        ),
        Mistake(
            _step(total=lambda values: -values.sum()),
            "You went up the gradient. -ELBO has to fall, so subtract it.",
        ),
        Mistake(
            lambda negative_elbo, mu, logvar, rate: (
                _refine(negative_elbo, mu, logvar, rate)[0],
                logvar.clone(),
            ),
            "logvar did not move. q(z | x) has two parameters for each dimension.",
        ),
        Mistake(
            lambda negative_elbo, mu, logvar, rate: (
                mu.clone(),
                _refine(negative_elbo, mu, logvar, rate)[1],
            ),
            "mu did not move. q(z | x) has two parameters for each dimension.",
        ),
        Mistake(
            _one_after_the_other,
            "You moved mu first and took logvar's gradient at the new mu. Take both gradients at"
            " the same place.",
        ),
        Mistake(
            lambda negative_elbo, mu, logvar, rate: tuple(
                reversed(_refine(negative_elbo, mu, logvar, rate))
            ),
            "You returned logvar first. Return the new mu, then the new logvar.",
        ),
        Mistake(
            lambda negative_elbo, mu, logvar, rate: (mu.clone(), logvar.clone()), "Nothing moved."
        ),
    ),
    hints=(
        "mu = mu.detach().requires_grad_(), the same for logvar; then"
        " torch.autograd.grad(negative_elbo(mu, logvar).sum(), (mu, logvar)).",
        "New mu: mu - rate * logvar.exp() * its gradient. New logvar: logvar - rate * its gradient."
        " detach() both.",
    ),
)

# ------------------------------------------------------------------ all codes together


def _aggregate_variance(mu, logvar):
    return mu.var(0, correction=0) + logvar.exp().mean(0)


def _code_cases() -> list[tuple]:
    rng = make_rng(5, 3)
    offset = torch.tensor([0.0, 1.5, -0.5])
    mu, logvar = torch.randn(50, 3, generator=rng) + offset, torch.randn(50, 3, generator=rng) - 1
    # a dead dimension has mu 0 and sigma 1; of one image the spread of the means is 0
    return [(mu, logvar), (torch.zeros(7, 2), torch.zeros(7, 2)), (mu[:1], logvar[:1])]


AGGREGATE = Exercise(
    id="05.aggregate",
    question=(
        "Return the variance of the aggregate posterior in each dimension from mu and logvar of N"
        " images."
    ),
    solution=_aggregate_variance,
    cases=_code_cases,
    why=(
        "The law of total variance: the spread of the means plus the mean of the spreads. For codes"
        " that fit the prior, the sum is 1."
    ),
    mistakes=(
        Mistake(
            lambda mu, logvar: mu.var(0, correction=0),
            "This is the variance of the means alone. Each code is a small cloud, whose own"
            " variance has to be added.",
        ),
        Mistake(
            lambda mu, logvar: logvar.exp().mean(0),
            "This is the mean variance of single codes. The spread of their means is missing.",
        ),
        Mistake(
            lambda mu, logvar: mu.var(0) + logvar.exp().mean(0),
            "Your sum is right, but var(0) divides by N - 1, which is NaN for one image. Take"
            " var(0, correction=0): the N images are the whole mixture, not a sample of it.",
        ),
        Mistake(
            lambda mu, logvar: mu.var(0, correction=0) + torch.exp(0.5 * logvar).mean(0),
            "You added the mean standard deviation. Variances add up, standard deviations do not.",
        ),
        Mistake(
            lambda mu, logvar: mu.var(0, correction=0) + logvar.mean(0),
            "You added the mean of logvar. The variance is exp(logvar).",
        ),
        Mistake(
            lambda mu, logvar: mu.var(0, correction=0) + logvar.mean(0).exp(),
            "You averaged the logs and took exp afterwards. That is the geometric mean, which is"
            " smaller: take exp first.",
        ),
        Mistake(
            lambda mu, logvar: mu.square().mean(0) + logvar.exp().mean(0),
            "This is the mean square. Subtract the square of the mean: a dimension that is shifted"
            " does not vary more.",
        ),
        Mistake(
            lambda mu, logvar: mu.var(1, correction=0) + logvar.exp().mean(1),
            "You went along the dimensions. Images are axis 0; the result has one number for each"
            " dimension.",
        ),
        Mistake(
            lambda mu, logvar: mu.std(0, correction=0) + torch.exp(0.5 * logvar).mean(0),
            "You added standard deviations. Only variances add up.",
        ),
        Mistake(
            lambda mu, logvar: (mu.var(0, correction=0) + logvar.exp().mean(0)).sqrt(),
            "This is the standard deviation. The variance was asked for.",
        ),
        Mistake(
            lambda mu, logvar: mu.var(0, correction=0) + logvar.exp().sum(0),
            "You added up the variances of all images. A mixture has the mean of them.",
        ),
    ),
    hints=(
        "Var[z] = Var[E[z | x]] + E[Var[z | x]].",
        "E[z | x] is mu and Var[z | x] is exp(logvar).",
    ),
)

# ------------------------------------------------------------------ two samples


def _own_kind_share(first, second):
    both = torch.cat([first, second])
    distances = torch.cdist(both, both).fill_diagonal_(math.inf)
    is_first = torch.arange(len(both)) < len(first)
    return (is_first[distances.argmin(1)] == is_first).float().mean().item()


def _two_sample_cases() -> list[tuple]:
    rng = make_rng(5, 4)
    first = torch.randn(30, 3, generator=rng)
    second = torch.randn(20, 3, generator=rng) + 0.7
    clusters = torch.randn(24, 1, generator=rng).sign() + 0.05 * torch.randn(24, 1, generator=rng)
    # apart; one row each, so that the only other row is of the other kind; one wide, one clustered
    return [
        (first, second),
        (first[:4], second[:4] + 50),
        (first[:1], second[:1]),
        (clusters, torch.randn(24, 1, generator=rng)),
    ]


def _share_with(distances_of: Callable[[Tensor], Tensor], pick: str = "argmin") -> Callable:
    """Returns the share with other distances or another choice: what wrong answers look like."""

    def share(first, second):
        both = torch.cat([first, second])
        chosen = getattr(distances_of(both), pick)(1)
        is_first = torch.arange(len(both)) < len(first)
        return (is_first[chosen] == is_first).float().mean().item()

    return share


def _not_itself(both: Tensor) -> Tensor:
    return torch.cdist(both, both).fill_diagonal_(math.inf)


def _shares_of_kinds(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.cat([first, second])
    is_first = torch.arange(len(both)) < len(first)
    own = (is_first[_not_itself(both).argmin(1)] == is_first).float()
    return own[: len(first)].mean(), own[len(first) :].mean()


def _mean_distance_rule(first: Tensor, second: Tensor) -> float:
    """Returns how often a row is nearer to the centre of its own kind: blind to what surrounds one
    centre.
    """
    both = torch.cat([first, second])
    centres = torch.stack([first.mean(0), second.mean(0)])
    is_first = torch.arange(len(both)) < len(first)
    return ((torch.cdist(both, centres).argmin(1) == 0) == is_first).float().mean().item()


TWO_SAMPLE = Exercise(
    id="05.two_sample",
    question=(
        "Return the share of rows of both sets whose nearest other row, in both sets together, is"
        " of their own kind."
    ),
    solution=_own_kind_share,
    cases=_two_sample_cases,
    why=(
        "Where both sets come from one distribution, the share is about one half. Clusters and"
        " holes raise it, even if all means and variances agree."
    ),
    mistakes=(
        Mistake(
            _share_with(lambda both: torch.cdist(both, both)),
            "Each row found itself, at distance 0, so the share is always 1. Look for the nearest"
            " other row: set the diagonal to infinity.",
        ),
        Mistake(
            _share_with(lambda both: torch.cdist(both, both).fill_diagonal_(-math.inf), "argmax"),
            "You took the farthest row instead of the nearest.",
        ),
        Mistake(
            lambda first, second: 1 - _own_kind_share(first, second),
            "This is the share whose neighbour is of the other kind.",
        ),
        Mistake(
            lambda first, second: _shares_of_kinds(first, second)[0].item(),
            "You counted the rows of `first` alone. Those of `second` have neighbours too.",
        ),
        Mistake(
            lambda first, second: _shares_of_kinds(first, second)[1].item(),
            "You counted the rows of `second` alone. Those of `first` have neighbours too.",
        ),
        Mistake(
            lambda first, second: torch.stack(_shares_of_kinds(first, second)).mean().item(),
            "You averaged the shares of both sets. They have different sizes here: count all rows"
            " together.",
        ),
        Mistake(
            lambda first, second: _own_kind_share(first, second) * (len(first) + len(second)),
            "This is the number of such rows. Divide it by the number of all rows.",
        ),
        Mistake(
            lambda first, second: _own_kind_share(first[:, :1], second[:, :1]),
            "You looked at the first dimension only. The distance goes over all of them.",
        ),
        Mistake(
            _mean_distance_rule,
            "You compared with the centres of the sets. A hole does not move a centre: look at"
            " single rows.",
        ),
        Mistake(
            lambda first, second: 0.5,
            "0.5 is what two equal distributions give. Here the sets have to be looked at.",
        ),
        Mistake(
            lambda first, second: bool(_own_kind_share(first, second) > 0.5),
            "You returned whether the share is above one half. Return the share itself, a number.",
        ),
    ),
    hints=(
        "both = torch.cat([first, second]); torch.cdist(both, both) has all distances, and"
        " fill_diagonal_(math.inf) takes a row's distance to itself out.",
        "argmin(1) is the nearest row. Compare (index < len(first)) of the row and of its"
        " neighbour.",
    ),
)

# ------------------------------------------------------------------ reading reports

REPORTS = {"A": "capacity", "B": "prior holes", "C": "collapse"}


def _named(**names: str) -> dict[str, str]:
    return {**REPORTS, **names}


def _check_causes(answer: Any) -> None:
    if not isinstance(answer, dict):
        raise Wrong(f"Expected a dictionary of the three models, got {kind_of(answer)}.")
    require_attempt(answer)
    missing = sorted(set(REPORTS) - set(answer))
    if missing:
        raise Wrong(f"The model {missing[0]} is missing: name a cause for A, B and C.")
    for model, right in REPORTS.items():
        given = answer[model]
        words = " ".join(given.split()).casefold() if isinstance(given, str) else ""
        words = words.split(" (")[0]  # the rows say in brackets what their values are
        if words == right:
            continue
        if words not in CAUSES:
            raise Wrong(
                f"{model}: {given!r} is no row of the report. Its rows are {', '.join(CAUSES)}."
            )
        raise Wrong(f"{model}: {WHY_NOT[model].get(words, ABSENT[words])}")


CAUSES = (
    "latent noise",
    "amortisation",
    "active units",
    "collapse",
    "prior moments",
    "prior holes",
    "capacity",
)
ABSENT = {
    "latent noise": "this row does not cross its threshold.",
    "amortisation": "optimising q(z | x) saves less than a tenth of the excess NLL.",
    "active units": "only a share above 0.5 counts.",
    "collapse": "its code knows more than 1 nat of the image.",
    "prior moments": "means and covariances explain less than a tenth of the excess NLL.",
    "prior holes": "nearest neighbours tell codes from the prior hardly better than chance.",
    "capacity": "the best z explains more than three quarters of the pixels' variance.",
}
WHY_NOT = {
    "A": {
        "collapse": (
            "its code knows 2.3 nats of the image, which is little but above 1. See what even the"
            " best z cannot do."
        )
    },
    "B": {
        "prior moments": (
            "the moments explain 0.05 of the excess NLL, below the threshold of 0.1. Another row"
            " compares codes and prior as well."
        )
    },
    "C": {
        "active units": (
            "all dimensions are dead, but that is a consequence: a code that knows nothing needs"
            " none. Which row says that the code knows nothing?"
        ),
        "capacity": "without a code nothing can be said of capacity. Which row was measured?",
    },
}

DIAGNOSIS = Exercise(
    id="05.diagnosis",
    question="Name the cause of each of the models A, B and C from its measurements.",
    solution=REPORTS,
    check=_check_causes,
    why=(
        "Only one value of each column lies on the bad side of its threshold. Collapse goes first,"
        " because without a code nothing else can be measured."
    ),
    mistakes=(
        Mistake(_named(A="collapse"), f"A: {WHY_NOT['A']['collapse']}"),
        Mistake(_named(A="prior holes"), f"A: {ABSENT['prior holes']}"),
        Mistake(_named(A="active units"), f"A: {ABSENT['active units']}"),
        Mistake(_named(B="prior moments"), f"B: {WHY_NOT['B']['prior moments']}"),
        Mistake(_named(B="capacity"), f"B: {ABSENT['capacity']}"),
        Mistake(_named(B="amortisation"), f"B: {ABSENT['amortisation']}"),
        Mistake(_named(C="active units"), f"C: {WHY_NOT['C']['active units']}"),
        Mistake(_named(C="capacity"), f"C: {WHY_NOT['C']['capacity']}"),
    ),
    hints=(
        'Compare each value with the column "present if".',
        "A: look at capacity. B: two rows compare codes with the prior; which one is over its"
        " threshold? C: how much does the code know?",
    ),
)

# ------------------------------------------------------------------ temperature


def _latents(n, dim, temperature, rng):
    return temperature * torch.randn(n, dim, generator=rng)


def _temperature_cases() -> list[tuple]:
    sizes = ((4, 3, 0.5), (4, 3, 1.5), (1, 1, 2.0), (3, 2, 0.0))
    return [(n, dim, temperature, make_rng(5, 5)) for n, dim, temperature in sizes]


TEMPERATURE = Exercise(
    id="05.temperature",
    question="Return n latents from N(0, T^2 I), [n, dim].",
    solution=_latents,
    cases=_temperature_cases,
    why=(
        "T is the standard deviation of the prior that you draw from, so that T = 1 changes nothing"
        " and T = 0 gives one image."
    ),
    mistakes=(
        Mistake(
            lambda n, dim, temperature, rng: temperature**0.5 * torch.randn(n, dim, generator=rng),
            "Here T is the variance. In N(0, T^2 I) it is the standard deviation, which multiplies"
            " the noise.",
        ),
        Mistake(
            lambda n, dim, temperature, rng: temperature**2 * torch.randn(n, dim, generator=rng),
            "You multiplied by the variance T^2. Noise is multiplied by its standard deviation.",
        ),
        Mistake(
            lambda n, dim, temperature, rng: temperature + torch.randn(n, dim, generator=rng),
            "You moved the mean. Temperature scales the noise around 0.",
        ),
        Mistake(
            lambda n, dim, temperature, rng: (
                torch.randn(n, dim, generator=rng) / torch.tensor(float(temperature))
            ),
            "You divided: a low temperature has to give less noise.",
        ),
        Mistake(
            lambda n, dim, temperature, rng: torch.randn(n, dim, generator=rng),
            "This is the prior at T = 1: the temperature is missing.",
        ),
        Mistake(
            lambda n, dim, temperature, rng: (
                temperature * torch.randn(1, dim, generator=rng).repeat(n, 1)
            ),
            "All n latents are the same. Draw torch.randn(n, dim), one row for each.",
        ),
        Mistake(
            lambda n, dim, temperature, rng: temperature * torch.rand(n, dim, generator=rng),
            "torch.rand is uniform on [0, 1). The prior is a Gaussian: torch.randn.",
        ),
        Mistake(
            lambda n, dim, temperature, rng: temperature * torch.randn(dim, n, generator=rng),
            "The shape is [dim, n]. Each row is one latent: [n, dim].",
        ),
        Mistake(
            lambda n, dim, temperature, rng: torch.randn(n, dim, generator=rng).clamp(
                -temperature, temperature
            ),
            "You cut the noise off at T, which is truncation. Temperature scales all of it.",
        ),
    ),
    hints=("If eps has variance 1, then c * eps has variance c squared.",),
)

# ------------------------------------------------------------------ perturbing codes


def _perturbed(mu, logvar, scale, rng):
    return mu + scale * torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=rng)


def _noise(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng)


def _perturb_cases() -> list[tuple]:
    rng = make_rng(5, 6)
    mu, logvar = torch.randn(6, 3, generator=rng), torch.randn(6, 3, generator=rng) - 2
    cases = [(mu, logvar, scale, make_rng(5, 7)) for scale in (0.5, 2.0, 0.0)]
    return [*cases, (mu[:1, :1], logvar[:1, :1], 1.0, make_rng(5, 7))]


PERTURB = Exercise(
    id="05.perturb",
    question=(
        "Return mu moved by noise that is `scale` times as wide as q(z | x), with one draw for each"
        " image."
    ),
    solution=_perturbed,
    cases=_perturb_cases,
    why=(
        "Measured in the encoder's own standard deviations, a step of 1 is one that the decoder met"
        " in training all the time."
    ),
    mistakes=(
        Mistake(
            lambda mu, logvar, scale, rng: mu + scale * logvar.exp() * _noise(mu, rng),
            "You scaled by the variance. The width of a Gaussian is its standard deviation,"
            " exp(logvar / 2).",
        ),
        Mistake(
            lambda mu, logvar, scale, rng: mu + scale * logvar * _noise(mu, rng),
            "You used logvar itself as the width. It is the log of the variance, and often"
            " negative.",
        ),
        Mistake(
            lambda mu, logvar, scale, rng: mu + scale * _noise(mu, rng),
            "This noise is as wide as the prior, many times wider than q(z | x). Use logvar.",
        ),
        Mistake(
            lambda mu, logvar, scale, rng: mu + (scale * logvar.exp()).sqrt() * _noise(mu, rng),
            "You applied the scale to the variance: twice the variance is only 1.4 times the"
            " width.",
        ),
        Mistake(
            lambda mu, logvar, scale, rng: (
                mu + scale * torch.exp(0.5 * logvar) * torch.randn(mu.shape[1], generator=rng)
            ),
            "All images got the same noise. Draw torch.randn(mu.shape), one row for each image.",
        ),
        Mistake(
            lambda mu, logvar, scale, rng: scale * torch.exp(0.5 * logvar) * _noise(mu, rng),
            "The mean is missing: you moved 0 and not mu.",
        ),
        Mistake(
            lambda mu, logvar, scale, rng: mu + torch.exp(0.5 * logvar) * _noise(mu, rng),
            "This is a draw of q(z | x) itself: the scale is missing.",
        ),
        Mistake(
            lambda mu, logvar, scale, rng: scale * (mu + torch.exp(0.5 * logvar) * _noise(mu, rng)),
            "You scaled mu as well. Only the noise is `scale` times as wide.",
        ),
        Mistake(
            lambda mu, logvar, scale, rng: mu + scale * torch.exp(0.5 * logvar),
            "There is no noise: every image moved by exactly `scale` standard deviations.",
        ),
    ),
    hints=(
        "A draw from q(z | x) is mu + sigma * eps. What changes if the noise is twice as wide?",
    ),
)

EXERCISES = (GAP, REFINE, AGGREGATE, TWO_SAMPLE, DIAGNOSIS, TEMPERATURE, PERTURB)
