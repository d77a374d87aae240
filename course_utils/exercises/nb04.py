"""The exercises of notebook 04, VAE: training on digits."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake


def _reconstruction(logits: Tensor, x: Tensor) -> Tensor:
    per_pixel = F.binary_cross_entropy_with_logits(logits, x, reduction="none")  # [B, C, H, W]
    return per_pixel.sum((1, 2, 3))


def _reconstruction_cases() -> list[tuple]:
    rng = make_rng(4, 0)
    return [
        (torch.randn(shape, generator=rng) * 2, torch.rand(shape, generator=rng))
        for shape in ((3, 1, 4, 4), (2, 3, 2, 2))
    ]


RECONSTRUCTION = Exercise(
    id="04.reconstruction",
    question=(
        "Return -log p(x | z) in nats for each image of a batch, from the decoder's logits and x in"
        " [0, 1]."
    ),
    solution=_reconstruction,
    cases=_reconstruction_cases,
    why=(
        "A sum over pixels is the log-probability of the whole image, the only scale on which it"
        " may be added to the KL."
    ),
    mistakes=(
        Mistake(
            lambda logits, x: _reconstruction(logits, x) / x[0].numel(),
            "You averaged over the pixels. The probabilities of the pixels multiply, so their logs"
            " add up; a mean makes the KL weigh more, silently.",
        ),
        Mistake(
            lambda logits, x: _reconstruction(logits, x).sum(),
            "You also added up the images. Keep one value for each image.",
        ),
        Mistake(
            lambda logits, x: -_reconstruction(logits, x),
            "This is +log p(x | z), which training should raise. The loss is its negative: it falls"
            " as reconstructions get better.",
        ),
        Mistake(
            lambda logits, x: _reconstruction(logits.sigmoid(), x),
            "The sigmoid is applied twice: a function whose name ends in with_logits applies it"
            " itself.",
        ),
    ),
    hints=(
        (
            'With reduction="none" the result has the shape of x. Which axes have to go, by mean or'
            " by sum?"
        ),
    ),
)


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)


def _latent_cases(num_cases: int = 2) -> list[tuple]:
    rng = make_rng(4, 1)
    return [
        (torch.randn(3, 5, generator=rng), torch.randn(3, 5, generator=rng))
        for _ in range(num_cases)
    ]


KL = Exercise(
    id="04.kl",
    question=(
        "Return KL(q(z | x) || p(z)) in nats for each image of a batch, from mu and logvar of shape"
        " [B, latent_dim]."
    ),
    solution=_kl,
    cases=_latent_cases,
    why=(
        "The KL is the price in nats of saying more about z than the prior does, and it is never"
        " below zero."
    ),
    mistakes=(
        Mistake(
            lambda mu, logvar: -_kl(mu, logvar),
            "The sign is the wrong way round: a KL divergence is never negative.",
        ),
        Mistake(
            lambda mu, logvar: 0.5 * (mu.square() + logvar - 1 - logvar.log()).sum(1),
            "The result holds NaN: you took the log of logvar. It already is a log; the variance is"
            " exp(logvar).",
        ),
        Mistake(
            lambda mu, logvar: 0.5 * (mu.square() + (0.5 * logvar).exp() - 1 - logvar).sum(1),
            "You put the standard deviation where the variance belongs. exp(0.5 * logvar) is sigma;"
            " the formula has sigma squared.",
        ),
        Mistake(
            lambda mu, logvar: _kl(mu, logvar) / mu.shape[1],
            "You averaged over the latent dimensions. Their KLs add up.",
        ),
        Mistake(
            lambda mu, logvar: 2 * _kl(mu, logvar),
            "Every value is twice what it should be: where is the factor 1/2?",
        ),
    ),
    hints=(
        (
            "Write sigma squared as logvar.exp(). Each latent dimension gives 1/2 (mu^2 + sigma^2 -"
            " 1 - log sigma^2)."
        ),
        "The result has shape [B]: sum over axis 1 and leave axis 0 alone.",
    ),
)


def _draw_posterior(mu: Tensor, logvar: Tensor, rng: torch.Generator) -> Tensor:
    eps = torch.randn(mu.shape, generator=rng)
    return mu + torch.exp(0.5 * logvar) * eps


def _draw_cases() -> list[tuple]:
    return [(mu, logvar, make_rng(7, case)) for case, (mu, logvar) in enumerate(_latent_cases())]


REPARAMETERISE = Exercise(
    id="04.reparameterise",
    question=(
        "Return one draw z ~ q(z | x) for each image, with eps = torch.randn(mu.shape,"
        " generator=rng)."
    ),
    solution=_draw_posterior,
    cases=_draw_cases,
    why="All randomness sits in eps, so gradients reach mu and logvar through plain arithmetic.",
    mistakes=(
        Mistake(
            lambda mu, logvar, rng: mu + logvar.exp() * torch.randn(mu.shape, generator=rng),
            "You scaled the noise by the variance. z = mu + sigma * eps needs the standard"
            " deviation, exp(0.5 * logvar).",
        ),
        Mistake(
            lambda mu, logvar, rng: (
                mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape[1], generator=rng)
            ),
            "You drew eps once and used it for every image. Each image needs noise of its own: eps"
            " has the shape of mu.",
        ),
        Mistake(
            lambda mu, logvar, rng: torch.randn(mu.shape, generator=rng),
            "This is a draw from the prior p(z): it knows nothing of the image.",
        ),
        Mistake(
            lambda mu, logvar, rng: mu,
            "This is the mean of q(z | x), not a draw from it: the noise is missing.",
        ),
        Mistake(
            lambda mu, logvar, rng: mu + torch.exp(0.5 * logvar) * torch.randn_like(mu),
            "The formula is right, but the noise does not come from rng, so nobody can repeat your"
            " run.",
        ),
    ),
    hints=(
        "Three steps: draw eps, compute sigma from logvar, combine.",
        "sigma = exp(0.5 * logvar), since the log of a square is twice the log.",
    ),
)

SILENT_BETA = Exercise(
    id="04.silent_beta",
    question=(
        "A loss averages the reconstruction over the pixels of a 28 x 28 grey image and sums the"
        " KL. Which beta does it use?"
    ),
    solution=784,
    why=(
        "Dividing one term by 784 is multiplying the other by 784: the latent code becomes so"
        " expensive that the model stops using it."
    ),
    mistakes=(
        Mistake(
            1,
            "No: a mean over pixels is smaller than their sum, so the two terms no longer weigh the"
            " same.",
        ),
        Mistake(
            1 / 784,
            "It is the other way round: the reconstruction got smaller, so the KL weighs more, not"
            " less.",
        ),
        Mistake(28, "An image has more pixels than one row."),
        Mistake(
            784 / 20,
            "That would be right if the KL were averaged over 20 latent dimensions as well. Here it"
            " is summed.",
        ),
    ),
    hints=(
        (
            "Write the loss as (1/P) * R + K, with P pixels. Multiply it by P: the minimum stays"
            " where it is."
        ),
    ),
)


def _num_active(mu: Tensor) -> int:
    return int((mu.var(0) > 0.01).sum())


def _active_cases() -> list[tuple]:
    rng = make_rng(4, 2)
    # standard deviations of mu
    scales = torch.tensor([1.0, 0.9, 0.5, 0.15, 0.15, 0.05, 0.05, 0.03, 0.01])
    offsets = torch.tensor([0.0, 0.0, 2.0, 0.0, 0.5, 0.0, 0.0, 3.0, 0.0])
    return [(torch.randn(400, 9, generator=rng) * scales + offsets,)]


ACTIVE = Exercise(
    id="04.active",
    question=(
        "Return how many latent dimensions are active: those whose mu has a variance above 0.01"
        " over the images."
    ),
    solution=_num_active,
    cases=_active_cases,
    why=(
        "A dimension whose mu is the same for every image carries nothing about the image, wherever"
        " that mu lies."
    ),
    mistakes=(
        Mistake(
            lambda mu: int((mu.var(1) > 0.01).sum()),
            "You took the variance over the dimensions. Look along axis 0, the images.",
        ),
        Mistake(
            lambda mu: int((mu.std(0) > 0.01).sum()),
            "You compared the standard deviation with 0.01. The threshold is meant for the"
            " variance.",
        ),
        Mistake(
            lambda mu: int((mu.square().mean(0) > 0.01).sum()),
            "This is the mean square. It counts a dimension that is large but the same for every"
            " image: subtract the mean.",
        ),
        Mistake(
            lambda mu: mu.shape[1],
            "You counted every dimension. Compare each variance with the threshold first.",
        ),
    ),
    hints=(
        "mu has shape [N, latent_dim]. mu.var(0) is one variance for each dimension.",
        "Count with (… > 0.01).sum().",
    ),
)


def _slerp(z0: Tensor, z1: Tensor, t: float) -> Tensor:
    cosine = torch.dot(z0 / z0.norm(), z1 / z1.norm())
    angle = torch.arccos(cosine)
    return (torch.sin((1 - t) * angle) * z0 + torch.sin(t * angle) * z1) / torch.sin(angle)


def _slerp_cases() -> list[tuple]:
    rng = make_rng(4, 3)
    return [
        (torch.randn(8, generator=rng), 1.3 * torch.randn(8, generator=rng), t)
        for t in (0.0, 0.3, 0.5, 1.0)
    ]


SLERP = Exercise(
    id="04.slerp",
    question=(
        "Return the point a share t of the way from z0 to z1 along the arc: (sin((1-t)a) z0 + sin(t"
        " a) z1) / sin(a), a the angle between them."
    ),
    solution=_slerp,
    cases=_slerp_cases,
    why=(
        "The arc keeps the length of z near what the decoder saw in training; the straight line"
        " cuts through the middle."
    ),
    mistakes=(
        Mistake(
            lambda z0, z1, t: (1 - t) * z0 + t * z1,
            "This is the straight line. The weights of the arc are sines of the angle.",
        ),
        Mistake(lambda z0, z1, t: _slerp(z1, z0, t), "The ends are swapped: t = 0 has to give z0."),
        Mistake(
            lambda z0, z1, t: _slerp(z0 / z0.norm(), z1 / z1.norm(), t),
            "Normalise only for the angle. Your result has length 1, so t = 0 does not give"
            " back z0.",
        ),
    ),
    hints=(
        "The angle is torch.arccos of the dot product of z0 / z0.norm() and z1 / z1.norm().",
        "t = 0 gives sin(a) z0 / sin(a) = z0.",
    ),
)


def _iw_bound(log_weights: Tensor) -> Tensor:
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def _weight_cases() -> list[tuple]:
    rng = make_rng(4, 4)
    return [(torch.randn(k, 3, generator=rng) * 4 - 150,) for k in (1, 10)]


IWAE = Exercise(
    id="04.iwae",
    question=(
        "Return the importance-weighted bound of each image, log(1/k * sum of the k weights), from"
        " their logs [k, B]."
    ),
    solution=_iw_bound,
    cases=_weight_cases,
    why=(
        "The mean of the weights comes before the log; swapping them gives the ELBO, which Jensen's"
        " inequality puts below."
    ),
    mistakes=(
        Mistake(
            lambda w: w.mean(0),
            "This is the mean of the logs: the ELBO. The bound is the log of the mean.",
        ),
        Mistake(
            lambda w: torch.logsumexp(w, 0),
            "You summed the weights, but the mean is asked for: subtract log k.",
        ),
        Mistake(
            lambda w: torch.log(torch.exp(w).mean(0)),
            "The formula is right, but exp(-150) is zero in float32, and its log is minus infinity."
            " torch.logsumexp avoids this.",
        ),
    ),
    hints=(
        "log(mean of exp(w)) = log(sum of exp(w)) - log(k).",
        "torch.logsumexp(log_weights, 0) adds up exponentials safely.",
    ),
)

EXERCISES = (RECONSTRUCTION, KL, REPARAMETERISE, SILENT_BETA, ACTIVE, SLERP, IWAE)
