"""The exercises of notebook 05, VAE at inference: the clinic."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake


def _noise(like: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=rng)


def _reconstruct(encode, decode, x: Tensor, rng: torch.Generator) -> Tensor:
    mu, logvar = encode(x)
    z = mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=rng)
    return decode(z)


def _reconstruct_from(encode, decode, x: Tensor, code) -> Tensor:
    """Returns what `code(mu, logvar)` decodes to: the shape of every wrong answer."""
    return decode(code(*encode(x)))


def _sample_cases() -> list[tuple]:
    rng = make_rng(5, 0)
    into, out = torch.randn(6, 4, generator=rng), torch.randn(2, 6, generator=rng)
    x = torch.rand(5, 6, generator=rng)
    return [(lambda x: (x @ into)[:, :4].chunk(2, dim=1), lambda z: z @ out, x, make_rng(5, 1))]


SAMPLE = Exercise(
    id="05.sample",
    question=(
        "Return a reconstruction of x from one draw of q(z | x), with encode(x) -> mu, logvar and"
        " decode(z)."
    ),
    solution=_reconstruct,
    cases=_sample_cases,
    why=(
        "The draw uses the encoder's own mean and noise, so the picture says how sure the encoder"
        " is of this image."
    ),
    mistakes=(
        Mistake(
            lambda encode, decode, x, rng: _reconstruct_from(
                encode, decode, x, lambda mu, logvar: mu
            ),
            "You decoded the mean. That is the faithful reconstruction, but a draw was asked for.",
        ),
        Mistake(
            lambda encode, decode, x, rng: _reconstruct_from(
                encode, decode, x, lambda mu, logvar: _noise(mu, rng)
            ),
            "You drew from the prior. This image knows nothing of x: it is a new drawing, not a"
            " reconstruction.",
        ),
        Mistake(
            lambda encode, decode, x, rng: _reconstruct_from(
                encode, decode, x, lambda mu, logvar: mu + logvar.exp() * _noise(mu, rng)
            ),
            "You multiplied the noise by the variance exp(logvar). Noise is scaled by the standard"
            " deviation, its root.",
        ),
        Mistake(
            lambda encode, decode, x, rng: _reconstruct_from(
                encode, decode, x, lambda mu, logvar: mu + logvar * _noise(mu, rng)
            ),
            "You used logvar itself as the standard deviation. It is the log of the variance, and"
            " often negative.",
        ),
        Mistake(
            lambda encode, decode, x, rng: _reconstruct_from(
                encode, decode, x, lambda mu, logvar: mu + _noise(mu, rng)
            ),
            "You added noise of the prior's width. The encoder says how wide it has to be: use"
            " logvar.",
        ),
    ),
    hints=("First z = mu + sigma * eps, then decode(z).", "sigma = torch.exp(0.5 * logvar)."),
)


def _aggregate_variance(mu: Tensor, logvar: Tensor) -> Tensor:
    return mu.var(0, correction=0) + logvar.exp().mean(0)


def _code_cases() -> list[tuple]:
    rng = make_rng(5, 2)
    offset = torch.tensor([0.0, 1.5, -0.5])
    return [(torch.randn(50, 3, generator=rng) + offset, torch.randn(50, 3, generator=rng) - 1)]


AGGREGATE = Exercise(
    id="05.aggregate",
    question=(
        "Return the variance of the aggregate posterior in each dimension from mu and logvar of N"
        " images."
    ),
    solution=_aggregate_variance,
    cases=_code_cases,
    why=(
        "The law of total variance: the spread of the means plus the mean of the spreads. For a"
        " prior that fits, the sum is 1."
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
            lambda mu, logvar: mu.var(0, correction=0) + torch.exp(0.5 * logvar).mean(0),
            "You added the mean standard deviation. Variances add up, standard deviations do not.",
        ),
        Mistake(
            lambda mu, logvar: mu.var(0, correction=0) + logvar.mean(0).exp(),
            "You averaged the logs and took exp afterwards. That is the geometric mean, which is"
            " smaller: take exp first.",
        ),
        Mistake(
            lambda mu, logvar: mu.square().mean(0) + logvar.exp().mean(0),
            "This is the mean square. Subtract the mean of mu: a dimension that is shifted does not"
            " vary more.",
        ),
        Mistake(
            lambda mu, logvar: mu.var(1, correction=0) + logvar.exp().mean(1),
            "You went along the dimensions. Images are axis 0; the result has one number for each"
            " dimension.",
        ),
    ),
    hints=(
        "Var[z] = Var[E[z | x]] + E[Var[z | x]].",
        "E[z | x] is mu and Var[z | x] is exp(logvar).",
    ),
)


def _latents(n: int, dim: int, temperature: float, rng: torch.Generator) -> Tensor:
    return temperature * torch.randn(n, dim, generator=rng)


def _temperature_cases() -> list[tuple]:
    return [(4, 3, temperature, make_rng(5, 3)) for temperature in (0.5, 1.5)]


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
            lambda n, dim, temperature, rng: torch.randn(n, dim, generator=rng) / temperature,
            "You divided: a low temperature has to give less noise.",
        ),
        Mistake(
            lambda n, dim, temperature, rng: torch.randn(n, dim, generator=rng),
            "This is the prior at T = 1: the temperature is missing.",
        ),
    ),
    hints=("If eps has variance 1, then c * eps has variance c squared.",),
)


def _perturbed(mu: Tensor, logvar: Tensor, scale: float, rng: torch.Generator) -> Tensor:
    return mu + scale * torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=rng)


def _perturb_cases() -> list[tuple]:
    rng = make_rng(5, 4)
    mu, logvar = torch.randn(6, 3, generator=rng), torch.randn(6, 3, generator=rng) - 2
    return [(mu, logvar, scale, make_rng(5, 5)) for scale in (0.5, 2.0)]


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
    ),
    hints=(
        "A draw from q(z | x) is mu + sigma * eps. What changes if the noise is twice as wide?",
    ),
)

DIAGNOSIS = Exercise(
    id="05.diagnosis",
    question=(
        "Good reconstructions, no gain from optimising codes, all dimensions active, KL of all"
        " codes to N(0, I) 40 % of the excess NLL: which cause?"
    ),
    solution="prior mismatch",
    why=(
        "Everything between encoder and decoder works; only the prior's draws are not where the"
        " codes are, so samples suffer and nothing else."
    ),
    mistakes=(
        Mistake(
            "collapse",
            "A collapsed code knows nothing of its image, and reconstructions would all be alike."
            " These are good.",
        ),
        Mistake(
            "capacity",
            "With too little capacity no z reconstructs well. Here reconstructions are good.",
        ),
        Mistake(
            "amortisation", "Then optimising the codes would save nats. Here it saves nothing."
        ),
        Mistake("active units", "All dimensions are active, so none is dead."),
        Mistake(
            "latent noise",
            "Too much noise would spoil reconstructions from samples. Nothing of the kind is"
            " reported.",
        ),
        Mistake(
            "augmentation",
            "Nothing is said of the training transform; without it that cause cannot be told.",
        ),
    ),
    hints=("Which row of the report compares all codes together with N(0, I)?",),
)

EXERCISES = (SAMPLE, AGGREGATE, TEMPERATURE, PERTURB, DIAGNOSIS)
