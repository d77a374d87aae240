"""The exercises of notebook 04, in which the learner writes a VAE: its parts, one training step,
the whole class, the importance-weighted bound and the bug hunt.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.device import make_rng
from course_utils.data.strokes import make_strokes
from course_utils.exercises.hunt_04 import HUNT_EXERCISES
from course_utils.exercises.judge import (
    Exercise,
    Mistake,
    Raised,
    Wrong,
    fixed_torch_seed,
    kind_of,
    network_from,
    output_of,
    require_attempt,
    require_finite,
    same,
)

# ------------------------------------------------------------------ encoder and decoder


def _make_encoder(image_shape, hidden_dim, latent_dim):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(image_shape), hidden_dim),
        nn.SiLU(),
        nn.Linear(hidden_dim, 2 * latent_dim),
    )


def _make_decoder(image_shape, hidden_dim, latent_dim):
    return nn.Sequential(
        nn.Linear(latent_dim, hidden_dim),
        nn.SiLU(),
        nn.Linear(hidden_dim, math.prod(image_shape)),
        nn.Unflatten(1, image_shape),
    )


# image shape, hidden units, latent dimensions: grey, colour and not square, one latent dimension
NETWORKS = (((1, 28, 28), 40, 20), ((3, 6, 4), 16, 2), ((1, 5, 4), 12, 1))
BATCH = 7
STRETCH = 20.0  # times the weights of a fresh network, so that no output stays near 0 by chance
NO_NONLINEARITY = (
    "The network is linear: two linear layers in a row are one linear layer. Put a nonlinearity,"
    " such as nn.SiLU(), between them."
)
HIDDEN_IGNORED = (
    "The number of parameters does not change with hidden_dim. Use it as the width of the hidden"
    " layer."
)
NO_FLATTEN = (
    "It does not take images [B, C, H, W]. A linear layer takes vectors: begin with nn.Flatten()."
)
HALF_THE_OUTPUTS = (
    "It returns latent_dim numbers for each image. It needs twice as many: the mean and the"
    " log-variance of each latent dimension."
)
ENCODER_BOUNDED_BELOW = (
    "However large the weights, some outputs never get clearly negative: an activation such as"
    " ReLU or Softplus follows the last layer. Both mu and log sigma^2 may take any sign."
)
ENCODER_BOUNDED = (
    "However large the weights, some outputs stay between -1 and 1: an activation such as Sigmoid"
    " or Tanh follows the last layer. mu and log sigma^2 are real numbers, so nothing may follow."
)
NOT_UNFLATTENED = (
    "It returns vectors. Give each image its shape again: end with nn.Unflatten(1, image_shape)."
)
TWICE_THE_INPUTS = (
    "It does not take z of shape [B, latent_dim]. Only the encoder has 2 * latent_dim; the decoder"
    " sees the one z that was drawn."
)
DECODER_SIGMOID = (
    "Its outputs stay between 0 and 1, so a sigmoid is at the end. Logits are asked for: the loss"
    " applies the sigmoid itself."
)
DECODER_BOUNDED = (
    "However large the weights, the outputs are limited: an activation follows the last layer."
    " Logits may be any number, from black (very negative) to white (very positive)."
)


def _check_trainable(network: nn.Module, x: Tensor) -> None:
    """Raises `Wrong` where a parameter gets no gradient, or the network is linear."""
    out = network(x)
    if not out.requires_grad:
        raise Wrong(
            "No gradient reaches the network's parameters, so it could not be trained. Is there a"
            " no_grad() or detach() in it?"
        )
    out.square().sum().backward()
    parameters = dict(network.named_parameters())
    cut = [name for name, parameter in parameters.items() if parameter.grad is None]
    if cut:
        raise Wrong(f"No gradient reaches the parameters {', '.join(cut)}: they are never used.")
    with torch.no_grad():
        first, second = x, torch.flip(x, dims=(0,))
        bent = network(first + second) + network(torch.zeros_like(x))
        if torch.allclose(bent, network(first) + network(second), rtol=1e-3, atol=1e-4):
            raise Wrong(NO_NONLINEARITY)


def _check_width(make: Any, image_shape: tuple, hidden_dim: int, latent_dim: int) -> None:
    sizes = set()
    for width in (hidden_dim, 2 * hidden_dim):
        network = make(image_shape, width, latent_dim)
        sizes.add(sum(parameter.numel() for parameter in network.parameters()))
    if len(sizes) == 1:
        raise Wrong(HIDDEN_IGNORED)


@torch.no_grad()
def _stretched(network: nn.Module, x: Tensor) -> Tensor:
    """Returns the outputs after all parameters were made much larger."""
    for parameter in network.parameters():
        parameter.mul_(STRETCH)
    return network(x)


def _check_encoder(make: Any) -> None:
    for image_shape, hidden_dim, latent_dim in NETWORKS:
        x = torch.rand(BATCH, *image_shape)
        encoder = network_from(make, image_shape, hidden_dim, latent_dim)
        out = output_of(encoder, x, NO_FLATTEN)
        if out.shape == (BATCH, latent_dim):
            raise Wrong(HALF_THE_OUTPUTS)
        if out.shape != (BATCH, 2 * latent_dim):
            raise Wrong(
                f"For {BATCH} images {list(image_shape)} and latent_dim = {latent_dim} the output"
                f" should have the shape [{BATCH}, {2 * latent_dim}], got {list(out.shape)}."
            )
        _check_trainable(encoder, x)
        _check_width(make, image_shape, hidden_dim, latent_dim)
    many = torch.cat([torch.rand(64, *NETWORKS[0][0]), -torch.rand(64, *NETWORKS[0][0])])
    for half in _stretched(make(*NETWORKS[0]), 20 * many).chunk(2, dim=1):
        if half.abs().max() <= 1.01:
            raise Wrong(ENCODER_BOUNDED)
        if half.min() >= -1.01:
            raise Wrong(ENCODER_BOUNDED_BELOW)


def _encoder_without(*dropped: int, last: nn.Module | None = None) -> Callable[..., nn.Module]:
    """Returns a builder like the solution's, without some layers or with one more: what wrong
    answers look like.
    """

    def make(image_shape, hidden_dim, latent_dim):
        layers = list(_make_encoder(image_shape, hidden_dim, latent_dim))
        kept = [layer for place, layer in enumerate(layers) if place not in dropped]
        return nn.Sequential(*kept, *([] if last is None else [last]))

    return make


def _decoder_without(*dropped: int, last: nn.Module | None = None) -> Callable[..., nn.Module]:
    def make(image_shape, hidden_dim, latent_dim):
        layers = list(_make_decoder(image_shape, hidden_dim, latent_dim))
        kept = [layer for place, layer in enumerate(layers) if place not in dropped]
        return nn.Sequential(*kept, *([] if last is None else [last]))

    return make


ENCODER = Exercise(
    id="04.encoder",
    question=(
        "Return a network from images [B, C, H, W] to [B, 2 * latent_dim], with one hidden layer of"
        " hidden_dim units."
    ),
    solution=_make_encoder,
    check=_check_encoder,
    why=(
        "The log-variance may be any real number, and so may mu. That is why the network predicts"
        " log sigma^2 and needs nothing that keeps sigma positive."
    ),
    mistakes=(
        Mistake(
            lambda shape, hidden, latent: nn.Sequential(
                nn.Flatten(),
                nn.Linear(math.prod(shape), hidden),
                nn.SiLU(),
                nn.Linear(hidden, latent),
            ),
            HALF_THE_OUTPUTS,
        ),
        Mistake(_encoder_without(0), NO_FLATTEN),
        Mistake(_encoder_without(2), NO_NONLINEARITY),
        Mistake(_encoder_without(last=nn.ReLU()), ENCODER_BOUNDED_BELOW),
        Mistake(_encoder_without(last=nn.Tanh()), ENCODER_BOUNDED),
        Mistake(lambda shape, hidden, latent: _make_encoder(shape, 400, latent), HIDDEN_IGNORED),
    ),
    hints=(
        "nn.Sequential takes layers in order. The number of pixels is math.prod(image_shape).",
        "Four layers: nn.Flatten(), nn.Linear to hidden_dim, nn.SiLU(), nn.Linear to the output.",
    ),
)


def _check_decoder(make: Any) -> None:
    for image_shape, hidden_dim, latent_dim in NETWORKS:
        z = torch.randn(BATCH, latent_dim)
        decoder = network_from(make, image_shape, hidden_dim, latent_dim)
        out = output_of(decoder, z, TWICE_THE_INPUTS)
        if out.shape == (BATCH, math.prod(image_shape)):
            raise Wrong(NOT_UNFLATTENED)
        if out.shape != (BATCH, *image_shape):
            raise Wrong(
                f"For {BATCH} latents and image_shape = {image_shape} the output should have the"
                f" shape {[BATCH, *image_shape]}, got {list(out.shape)}."
            )
        _check_trainable(decoder, z)
        _check_width(make, image_shape, hidden_dim, latent_dim)
    out = _stretched(make(*NETWORKS[0]), 20 * torch.randn(128, NETWORKS[0][2]))
    if out.min() >= 0 and out.max() <= 1:
        raise Wrong(DECODER_SIGMOID)
    if out.min() >= -1.01 or out.max() <= 1.01:
        raise Wrong(DECODER_BOUNDED)


DECODER = Exercise(
    id="04.decoder",
    question=(
        "Return a network from latents [B, latent_dim] to logits [B, C, H, W], with one hidden"
        " layer of hidden_dim units."
    ),
    solution=_make_decoder,
    check=_check_decoder,
    why=(
        "A logit is log(p / (1 - p)). Working with it avoids the log of a p that was rounded to 0"
        " or 1."
    ),
    mistakes=(
        Mistake(_decoder_without(last=nn.Sigmoid()), DECODER_SIGMOID),
        Mistake(_decoder_without(last=nn.ReLU()), DECODER_BOUNDED),
        Mistake(_decoder_without(3), NOT_UNFLATTENED),
        Mistake(
            lambda shape, hidden, latent: _make_decoder(shape, hidden, 2 * latent), TWICE_THE_INPUTS
        ),
        Mistake(_decoder_without(1), NO_NONLINEARITY),
        Mistake(lambda shape, hidden, latent: _make_decoder(shape, 400, latent), HIDDEN_IGNORED),
    ),
    hints=(
        "It is the encoder's mirror, but with latent_dim inputs, not twice as many.",
        "The last layer has math.prod(image_shape) outputs; nn.Unflatten(1, image_shape) follows.",
    ),
)

# ------------------------------------------------------------------ drawing z


def _draw_z(mu, logvar, rng):
    eps = torch.randn(mu.shape, generator=rng, device=rng.device)
    return mu + torch.exp(0.5 * logvar) * eps


def _draw_cases() -> list[tuple]:
    rng = make_rng(4, 1)
    random = (torch.randn(3, 5, generator=rng), torch.randn(3, 5, generator=rng))
    one_image = (torch.randn(1, 4, generator=rng), torch.full((1, 4), -20.0))  # sigma near 0
    equal_images = (torch.zeros(4, 2), torch.full((4, 2), 1.5))
    return [
        (mu, logvar, make_rng(7, case))
        for case, (mu, logvar) in enumerate((random, one_image, equal_images))
    ]


REPARAMETERISE = Exercise(
    id="04.reparameterise",
    question="Return one draw of N(mu, sigma^2) for each image, through which gradients pass.",
    solution=_draw_z,
    cases=_draw_cases,
    gradients=(0, 1),
    why=(
        "eps is drawn outside the network, so z is plain arithmetic and gradients reach mu and"
        " logvar; both were checked."
    ),
    mistakes=(
        Mistake(
            lambda mu, logvar, rng: mu + logvar.exp() * torch.randn(mu.shape, generator=rng),
            "You scaled the noise by the variance. The standard deviation is its square root,"
            " exp(0.5 * logvar).",
        ),
        Mistake(
            lambda mu, logvar, rng: mu + logvar * torch.randn(mu.shape, generator=rng),
            "You scaled the noise by logvar itself. It is the log of the variance; the noise needs"
            " the standard deviation.",
        ),
        Mistake(
            lambda mu, logvar, rng: (
                mu + torch.exp(-0.5 * logvar) * torch.randn(mu.shape, generator=rng)
            ),
            "You divided by the standard deviation: look at the sign in the exponential.",
        ),
        Mistake(
            lambda mu, logvar, rng: (
                mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape[1], generator=rng)
            ),
            "You drew eps once and used it for every image. Each image needs noise of its own: eps"
            " has the shape of mu.",
        ),
        Mistake(
            lambda mu, logvar, rng: (
                mu + torch.exp(0.5 * logvar) * torch.randn(len(mu), 1, generator=rng)
            ),
            "You drew one number for each image and used it in every dimension. eps has the shape"
            " of mu.",
        ),
        Mistake(
            lambda mu, logvar, rng: torch.randn(mu.shape, generator=rng),
            "This is a draw from the prior p(z): it does not depend on the image.",
        ),
        Mistake(
            lambda mu, logvar, rng: mu + torch.randn(mu.shape, generator=rng),
            "You added noise of the prior's width. How wide it has to be, the encoder says in"
            " logvar.",
        ),
        Mistake(
            lambda mu, logvar, rng: mu + torch.exp(0.5 * logvar),
            "You added sigma itself, which is no draw: multiply it by noise.",
        ),
        Mistake(
            lambda mu, logvar, rng: mu,
            "This is the mean of q(z | x), not a draw from it: the noise is missing.",
        ),
        Mistake(
            lambda mu, logvar, rng: mu + torch.exp(0.5 * logvar) * torch.randn_like(mu),
            "The formula is right, but the noise does not come from rng, the generator that is"
            " given, so your run could not be repeated with it.",
        ),
        Mistake(
            lambda mu, logvar, rng: (
                mu + torch.exp(0.5 * logvar) * torch.rand(mu.shape, generator=rng)
            ),
            "torch.rand draws uniform numbers between 0 and 1. The noise has to be normal.",
        ),
    ),
    hints=(
        "Draw eps from N(0, I) with the shape of mu, and shift and scale it.",
        "The standard deviation is exp(0.5 * logvar), because log sigma^2 = 2 log sigma.",
    ),
)

# ------------------------------------------------------------------ the loss


def _elbo_terms(logits, x, mu, logvar):
    per_pixel = F.binary_cross_entropy_with_logits(logits, x, reduction="none")  # [B, C, H, W]
    kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
    return per_pixel.sum((1, 2, 3)), kl


def _loss_cases() -> list[tuple]:
    rng = make_rng(4, 0)

    def case(shape: tuple[int, ...], latent_dim: int, scale: float = 2.0) -> tuple:
        return (
            torch.randn(shape, generator=rng) * scale,
            torch.rand(shape, generator=rng),
            torch.randn(shape[0], latent_dim, generator=rng),
            torch.randn(shape[0], latent_dim, generator=rng),
        )

    logits, x, _, _ = case((2, 1, 3, 2), 3)
    return [
        case((3, 1, 4, 4), 5),
        case((1, 3, 2, 2), 1),  # one colour image, one latent dimension
        (logits, x.round(), torch.zeros(2, 3), torch.zeros(2, 3)),  # q is the prior
        case((4, 1, 3, 3), 2, scale=60.0),  # a decoder that is very sure
    ]


def _probability(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits)


def _with_parts(
    reconstruction: Callable[..., Tensor] | None = None, kl: Callable[..., Tensor] | None = None
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Returns an answer with one of the two terms replaced by a wrong one."""

    def answer(logits, x, mu, logvar):
        terms = _elbo_terms(logits, x, mu, logvar)
        return (
            terms[0] if reconstruction is None else reconstruction(logits, x),
            terms[1] if kl is None else kl(mu, logvar),
        )

    return answer


def _cost(logits: Tensor, x: Tensor) -> Tensor:
    return _elbo_terms(logits, x, x.new_zeros(len(x), 1), x.new_zeros(len(x), 1))[0]


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)


LOSS = Exercise(
    id="04.loss",
    question=(
        "Return the reconstruction term and the KL in nats for each image, a pair of tensors [B]."
    ),
    solution=_elbo_terms,
    cases=_loss_cases,
    gradients=(0, 2, 3),
    why=(
        "Pixels are independent given z and so are the latent dimensions under q, so logs add up"
        " along both. The two terms may be added only on this scale."
    ),
    mistakes=(
        Mistake(
            _with_parts(lambda logits, x: _cost(logits, x) / x[0].numel()),
            "The reconstruction is averaged over the pixels. Their probabilities multiply, so"
            " their logs add up; a mean makes the KL weigh more without a word.",
        ),
        Mistake(
            lambda *arguments: tuple(term.sum() for term in _elbo_terms(*arguments)),
            "You added up the images as well. Keep one value for each image.",
        ),
        Mistake(
            lambda *arguments: tuple(term.mean() for term in _elbo_terms(*arguments)),
            "You averaged over the images. Keep one value for each image; training_step takes the"
            " mean later.",
        ),
        Mistake(
            _with_parts(lambda logits, x: -_cost(logits, x)),
            "The reconstruction has the wrong sign: +log p(x | z) should rise in training, so its"
            " negative is what a loss holds.",
        ),
        Mistake(
            _with_parts(lambda logits, x: _cost(_probability(logits), x)),
            "The sigmoid is applied twice: a function whose name ends in with_logits applies it"
            " itself.",
        ),
        Mistake(
            _with_parts(
                lambda logits, x: (
                    (-x * _probability(logits).log() - (1 - x) * (1 - _probability(logits)).log())
                    .flatten(1)
                    .sum(1)
                )
            ),
            "The formula is right, but where the decoder is very sure p is rounded to 0 or 1, and"
            " its log is infinite. F.binary_cross_entropy_with_logits works with the logits.",
        ),
        Mistake(
            _with_parts(
                lambda logits, x: (
                    F.binary_cross_entropy(_probability(logits), x, reduction="none")
                    .flatten(1)
                    .sum(1)
                )
            ),
            "Where the decoder is very sure p is rounded to 0 or 1, and F.binary_cross_entropy cuts"
            " the log off there. Give the logits to F.binary_cross_entropy_with_logits.",
        ),
        Mistake(
            _with_parts(lambda logits, x: (torch.sigmoid(logits) - x).square().flatten(1).sum(1)),
            "This is the squared error. It belongs to a Gaussian decoder; this one gives the"
            " probability of a white pixel.",
        ),
        Mistake(
            _with_parts(kl=lambda mu, logvar: _kl(mu, logvar) / mu.shape[1]),
            "The KL is averaged over the latent dimensions. Their KLs add up.",
        ),
        Mistake(
            _with_parts(kl=lambda mu, logvar: -_kl(mu, logvar)),
            "The KL has the wrong sign: it is never negative.",
        ),
        Mistake(
            _with_parts(kl=lambda mu, logvar: 2 * _kl(mu, logvar)),
            "The KL is twice what it should be: where is the factor 1/2?",
        ),
        Mistake(
            _with_parts(
                kl=lambda mu, logvar: 0.5 * (mu**2 + (0.5 * logvar).exp() - 1 - logvar).sum(1)
            ),
            "The KL holds the standard deviation where the variance belongs: sigma^2 is"
            " exp(logvar).",
        ),
        Mistake(
            _with_parts(kl=lambda mu, logvar: 0.5 * (mu**2 + logvar - 1 - logvar.log()).sum(1)),
            "You took logvar for the variance. It is the log of the variance already, so its own"
            " log gives NaN.",
        ),
        Mistake(
            _with_parts(kl=lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - logvar).sum(1)),
            "The KL misses the -1 of each dimension. Where q is the prior (mu = 0, logvar = 0) it"
            " has to be 0.",
        ),
        Mistake(
            _with_parts(kl=lambda mu, logvar: 0.5 * (mu + logvar.exp() - 1 - logvar).sum(1)),
            "The KL holds mu where its square belongs.",
        ),
        Mistake(
            lambda *arguments: _elbo_terms(*arguments)[::-1],
            "The two terms are swapped: the reconstruction comes first.",
        ),
        Mistake(
            lambda *arguments: sum(_elbo_terms(*arguments)),
            "You added the two terms. Return both, so that they can be watched apart.",
        ),
    ),
    hints=(
        'F.binary_cross_entropy_with_logits(logits, x, reduction="none") has the shape of x. Which'
        " axes have to go, and by a mean or a sum?",
        "For each latent dimension the KL is 1/2 (mu^2 + sigma^2 - 1 - log sigma^2), with"
        " sigma^2 = exp(logvar).",
    ),
)


def _silent_betas(num_pixels, latent_dim):
    return num_pixels, 1 / latent_dim


SILENT_BETAS = Exercise(
    id="04.silent_betas",
    question=(
        "Return the beta of loss A (mean over the pixels, KL summed) and of loss B (sum over the"
        " pixels, KL averaged over the latent dimensions)."
    ),
    solution=_silent_betas,
    cases=lambda: [(784, 20), (3072, 8), (4, 2), (784, 1)],
    why=(
        "Multiplying a loss by a constant does not move its minimum, so only the ratio of the two"
        " weights counts. A punishes every bit of information in z, B almost none."
    ),
    mistakes=(
        Mistake(
            lambda num_pixels, latent_dim: (1 / num_pixels, 1 / latent_dim),
            "Loss A is the other way round: its reconstruction is too small, so its KL weighs more,"
            " not less.",
        ),
        Mistake(
            lambda num_pixels, latent_dim: (num_pixels, latent_dim),
            "Loss B is the other way round: there the KL is the smaller one.",
        ),
        Mistake(
            lambda num_pixels, latent_dim: (1 / num_pixels, latent_dim),
            "Both are the other way round. beta multiplies the KL, with the reconstruction as a sum"
            " over the pixels.",
        ),
        Mistake(
            lambda num_pixels, latent_dim: (1 / latent_dim, num_pixels),
            "The two are swapped: A averages over the pixels, B over the latent dimensions.",
        ),
        Mistake(
            lambda num_pixels, latent_dim: (num_pixels / latent_dim, 1 / latent_dim),
            "A's KL is summed, so latent_dim plays no part in A.",
        ),
        Mistake(
            lambda num_pixels, latent_dim: (num_pixels, num_pixels / latent_dim),
            "B's reconstruction is summed, so num_pixels plays no part in B.",
        ),
        Mistake(
            lambda num_pixels, latent_dim: (1, 1),
            "A mean is smaller than a sum, so in neither loss do the terms weigh the same.",
        ),
        Mistake(
            lambda num_pixels, latent_dim: (num_pixels**0.5, 1 / latent_dim),
            "An image has more pixels than one row.",
        ),
        Mistake(
            lambda num_pixels, latent_dim: (num_pixels, 1),
            "B's KL is not summed but averaged, so its beta is not 1.",
        ),
    ),
    hints=(
        "Write loss A as R / P + K, with P pixels. Multiply it by P: the minimum stays where it"
        " is.",
        "Loss B is R + K / D, with D latent dimensions. Which factor stands before K?",
    ),
)

# ------------------------------------------------------------------ one training step


def _train_step(model, optimizer, x, rng):
    reconstruction, kl = model(x, rng)
    loss = (reconstruction + kl).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class _TinyVAE(nn.Module):
    """A VAE of four pixels for the checks: small, with both kinds of randomness."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)
        with torch.no_grad():
            for place, parameter in enumerate(self.parameters()):
                rng = make_rng(4, 6, place)
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=rng))

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x.flatten(1)).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=rng)
        logits = self.decoder(z).view_as(x)
        return _elbo_terms(logits, x, mu, logvar)


class _Path(NamedTuple):
    """What some training steps did.

    Attributes:
        returned: by each step.
        states: all parameters after each step, `[num_steps, P]`.
        has_gradient: whether the parameters hold a gradient after the last step.
    """

    returned: list
    states: Tensor
    has_gradient: bool


def _path(step: Any, num_steps: int = 3, seed: int = 0) -> _Path:
    torch.manual_seed(seed)
    model, rng, returned, states = _TinyVAE(), make_rng(4, 7), [], []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for index in range(num_steps):
        x = torch.rand(5 + index, 1, 2, 2, generator=make_rng(4, 8, index))
        result = step(model, optimizer, x, rng)
        require_attempt(result)
        returned.append(result)
        states.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    has_gradient = any(weight.grad is not None for weight in model.parameters())
    return _Path(returned, torch.stack(states), has_gradient)


def _same_path(first: _Path, second: _Path) -> bool:
    return torch.allclose(first.states, second.states, rtol=1e-4, atol=1e-6)


def _check_step(step: Any) -> None:
    right = _path(_train_step)
    try:
        given = _path(step)
    except Raised as raised:
        if "inplace" in str(raised):
            raise Wrong(STEP_TOO_EARLY) from raised
        raise
    if not torch.isfinite(given.states).all():
        raise Wrong("After your steps the parameters hold NaN or infinity.")
    if not _same_path(given, right):
        raise Wrong(_what_went_wrong(step, given))
    for loss, right_loss in zip(given.returned, right.returned):
        if isinstance(loss, Tensor) and loss.requires_grad:
            raise Wrong(
                "The parameters are right, but you return a tensor with its whole graph, which"
                " keeps memory occupied. Return a number: loss.item()."
            )
        if not same(loss, right_loss, 1e-4, 1e-6):
            require_finite(loss)
            raise Wrong(
                f"The parameters are right, but you return {kind_of(loss)} that is not the loss of"
                " this batch. Return the mean over the batch of reconstruction + KL."
            )


def _what_went_wrong(step: Any, given: _Path) -> str:
    """Returns the message for steps that led elsewhere."""
    if not _same_path(given, _path(step, seed=1)):
        return RNG_NOT_PASSED
    for mistake in STEP.mistakes:
        if mistake.message == STEP_TOO_EARLY:  # torch refuses it
            continue
        path = _path(mistake.answer)
        if _same_path(given, path) and given.has_gradient == path.has_gradient:
            return mistake.message
    return (
        "After your steps the parameters are not where they should be. Four things belong in a"
        " step: the model's two terms, zero_grad, backward and step, in an order that makes sense."
    )


STEP_TOO_EARLY = (
    "You call optimizer.step() between the model and backward(). It changes the parameters that"
    " backward() still needs: call it last."
)
RNG_NOT_PASSED = (
    "Your steps cannot be repeated: the noise does not come from rng. Call model(x, rng)."
)


def _step_with(
    loss_of: Callable[..., Tensor] = lambda r, k: (r + k).mean(),
    calls: Sequence[str] = ("zero_grad", "backward", "step"),
) -> Callable[..., float]:
    """Returns a training step with another loss or other calls: what wrong answers look like."""

    def step(model, optimizer, x, rng):
        loss = loss_of(*model(x, rng))
        for call in calls:
            getattr(loss if call == "backward" else optimizer, call)()
        return loss.item()

    return step


STEP = Exercise(
    id="04.step",
    question="Make one training step and return its loss, the mean over the batch, as a number.",
    solution=_train_step,
    check=_check_step,
    why=(
        "These lines train every network of this course. Only the loss changes from family to"
        " family."
    ),
    mistakes=(
        Mistake(
            _step_with(calls=("backward", "step")),
            "The gradients of earlier steps are still there: backward() adds to them. Call"
            " optimizer.zero_grad() first.",
        ),
        Mistake(
            _step_with(calls=("zero_grad", "backward")),
            "The parameters never change: optimizer.step() is missing.",
        ),
        Mistake(
            _step_with(calls=("backward", "zero_grad", "step")),
            "You set the gradients to zero between backward() and step(), so that the step has"
            " nothing to work with.",
        ),
        Mistake(
            _step_with(loss_of=lambda r, k: (r + k).sum()),
            "You added up the images of the batch. With a sum the step grows with the batch size:"
            " take the mean.",
        ),
        Mistake(
            _step_with(loss_of=lambda r, k: r.mean()),
            "The KL is missing from the loss that you minimise.",
        ),
        Mistake(
            _step_with(loss_of=lambda r, k: k.mean()),
            "The reconstruction is missing from the loss that you minimise.",
        ),
        Mistake(
            _step_with(loss_of=lambda r, k: -(r + k).mean()),
            "You maximise the loss: its sign is the wrong way round.",
        ),
        Mistake(
            _step_with(loss_of=lambda r, k: (r - k).mean()),
            "You subtract the KL. -ELBO is the sum of both terms.",
        ),
        Mistake(_step_with(calls=("step", "zero_grad", "backward")), STEP_TOO_EARLY),
        Mistake(
            _step_with(calls=("zero_grad", "backward", "step", "step")),
            "You call optimizer.step() twice for one batch.",
        ),
    ),
    hints=(
        "model(x, rng) returns the two terms. Their sum has the shape [B]; its mean is the loss.",
        "Then optimizer.zero_grad(), loss.backward(), optimizer.step(), and return loss.item().",
    ),
)

# ------------------------------------------------------------------ the whole


class _ReferenceVAE(nn.Module):
    """Images `[B, C, H, W]` in [0, 1]. `forward` returns both terms of -ELBO in nats, `[B]`."""

    def __init__(self, image_shape, latent_dim=20, hidden_dim=400):
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = _make_encoder(image_shape, hidden_dim, latent_dim)
        self.decoder = _make_decoder(image_shape, hidden_dim, latent_dim)

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)

    def decode(self, z):
        return self.decoder(z)

    def forward(self, x, rng):
        mu, logvar = self.encode(x)
        logits = self.decode(_draw_z(mu, logvar, rng))
        return _elbo_terms(logits, x, mu, logvar)


class _WithoutDraw(_ReferenceVAE):
    """The reference, but for z, which is the mean."""

    def forward(self, x, rng):
        mu, logvar = self.encode(x)
        return _elbo_terms(self.decode(mu), x, mu, logvar)


NO_DRAW = (
    "The reconstruction does not depend on rng, so z is no draw: decode mu + sigma * eps, not mu."
)
PROBABILITIES = (
    "decode(z) returns probabilities: all its values lie between 0 and 1. Logits are asked for, so"
    " leave the sigmoid to the loss (and to the pictures):"
    " F.binary_cross_entropy_with_logits applies it itself."
)
NUM_OVERFIT, OVERFIT_STEPS, OVERFIT_RATE = 32, 200, 3e-3
DRAWS = 40  # of z, to measure the two terms independently
# -ELBO of 32 images after the training, as a share of what one average image for all would cost
FITTED_SHARE = 0.8


@functools.lru_cache(maxsize=1)
def _overfit_images() -> Tensor:
    return make_strokes(0, NUM_OVERFIT, seed=3)[2] / 255


def overfit(model_class: type) -> None:
    """Trains a VAE that a learner wrote on 32 images until it knows them by heart, a few seconds,
    and prints whether it can, or which part of it is wrong.

    Args:
        model_class: called with the shape of an image; with `encode(x) -> mu, logvar`, `decode(z)
            -> logits` and `forward(x, rng) -> reconstruction, KL` (nats, `[B]`) for images `[B, C,
            H, W]` in [0, 1].
    """
    try:
        with fixed_torch_seed():
            first, last = _overfit(model_class)
    except Wrong as wrong:
        print(f"✗ The whole does not work yet. {wrong}")
        return
    print(
        f"✓ {NUM_OVERFIT} images, {OVERFIT_STEPS} steps: reconstruction {first[0]:.0f} →"
        f" {last[0]:.0f} nats, KL {first[1]:.1f} → {last[1]:.1f} nats. The whole learns."
    )


def _overfit(model_class: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns the two terms before and after the training; raises `Wrong` with the part that the
    symptoms point to.
    """
    x = _overfit_images()
    model = model_class(tuple(x.shape[1:]))
    if not isinstance(model, nn.Module):
        raise Wrong(f"Expected a class of models (nn.Module), got {kind_of(model)}.")
    _check_methods(model, x)
    _check_gradients(model, x)
    _check_noise(model, x)
    optimizer = torch.optim.Adam(model.parameters(), lr=OVERFIT_RATE)
    rng, trace = make_rng(4, 11), []
    for _ in range(OVERFIT_STEPS):
        terms = [term.mean() for term in model(x, rng)]
        optimizer.zero_grad()
        (terms[0] + terms[1]).backward()
        optimizer.step()
        trace.append((terms[0].item(), terms[1].item()))
    _explain(model, x, trace)
    return trace[0], trace[-1]


def _check_methods(model: Any, x: Tensor) -> None:
    """Raises `Wrong` unless `encode`, `decode` and `forward` return what they should."""
    for name in ("encode", "decode"):
        if not callable(getattr(model, name, None)):
            raise Wrong(f"The class has no method `{name}`.")
    codes = model.encode(x)
    require_attempt(codes)
    if not isinstance(codes, (tuple, list)) or len(codes) != 2:
        raise Wrong(f"encode(x) should return mu and logvar, got {kind_of(codes)}.")
    mu, logvar = codes
    if mu.ndim != 2 or len(mu) != len(x) or mu.shape != logvar.shape:
        raise Wrong(
            f"encode(x) should return two tensors [{len(x)}, latent_dim], got {list(mu.shape)} and"
            f" {list(logvar.shape)}."
        )
    decoded = model.decode(mu)
    require_attempt(decoded)
    if decoded.shape != x.shape:
        raise Wrong(
            f"decode(z) should return logits of the shape of the images, {list(x.shape)}, got"
            f" {list(decoded.shape)}."
        )
    terms = model(x, make_rng(0))
    require_attempt(terms)
    if not isinstance(terms, (tuple, list)) or len(terms) != 2:
        raise Wrong(f"forward(x, rng) should return reconstruction and KL, got {kind_of(terms)}.")
    for name, term in zip(("reconstruction", "KL"), terms):
        if term.shape != (len(x),):
            raise Wrong(
                f"forward(x, rng) should return one {name} for each image, [{len(x)}], got"
                f" {list(term.shape)}."
            )


def _check_gradients(model: Any, x: Tensor) -> None:
    reconstruction, kl = model(x, make_rng(0))
    with torch.no_grad():
        right_kl = _kl(*model.encode(x))
    if torch.allclose(reconstruction, right_kl, rtol=1e-3, atol=1e-3):
        raise Wrong("forward returns the KL first. Return reconstruction and KL, in this order.")
    for name, term in (("reconstruction", reconstruction), ("KL", kl)):
        if not term.requires_grad:
            raise Wrong(f"The {name} carries no gradient: is there a detach() or no_grad()?")
    model.zero_grad()
    reconstruction.sum().backward()
    dead = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    if dead:
        raise Wrong(
            f"No gradient of the reconstruction reaches {', '.join(dead[:3])}. On its way to the"
            " encoder it passes through z: is z computed from mu and logvar, without detach()?"
        )
    model.zero_grad()


@torch.no_grad()
def _check_noise(model: Any, x: Tensor) -> None:
    """Raises `Wrong` where the noise of z is missing, not from `rng`, or shared by the images."""
    same_image = x[:1].repeat(8, 1, 1, 1)
    first, again, other = (model(same_image, make_rng(seed))[0] for seed in (1, 1, 2))
    if not torch.equal(first, again):
        raise Wrong("Two calls with equal rng differ: the noise of z does not come from rng.")
    if torch.equal(first, other):
        raise Wrong(NO_DRAW)
    if torch.allclose(first, first[:1].expand(8), rtol=1e-6):
        raise Wrong(
            "Eight copies of one image got the same reconstruction: eps is shared by the batch."
            " Each image needs noise of its own."
        )


@torch.no_grad()
def _explain(model: Any, x: Tensor, trace: list[tuple[float, float]]) -> None:
    """Raises `Wrong` with the part that what did not fall points to."""
    if not all(map(math.isfinite, trace[-1])):
        raise Wrong("The loss became NaN or infinite in training.")
    mu, logvar = model.encode(x)
    reconstruction, kl = model(x, make_rng(3))
    right_kl = _kl(mu, logvar)
    if not torch.allclose(kl, right_kl, rtol=1e-3, atol=1e-3):
        _check_second_code(mu, logvar, kl)
        raise Wrong(
            f"forward gives a KL of {kl.mean().item():.2f} nats; for this mu and logvar it is"
            f" {right_kl.mean().item():.2f}. Look at the KL term."
        )
    for name, values in (("mu", mu), ("logvar", logvar)):
        if values.min() >= 0:
            raise Wrong(
                f"No {name} is ever below 0, in any dimension of any image: an activation follows"
                " the encoder's last layer. Both mu and logvar may take any sign."
            )
    out = model.decode(torch.cat([mu, torch.randn_like(mu)]))
    if out.min() >= 0 and out.max() <= 1:
        raise Wrong(PROBABILITIES)
    if out.min() >= 0:
        raise Wrong(
            f"The reconstruction fell to {trace[-1][0]:.0f} nats only, because no logit is ever"
            " below 0: an activation follows the decoder's last layer, so no pixel gets black."
        )
    _compare_reconstruction(model, x, mu, logvar)
    average = x.mean(0, keepdim=True).clamp(0.001, 0.999).expand_as(x)
    alike = F.binary_cross_entropy(average, x, reduction="none").flatten(1).sum(1).mean().item()
    total = sum(trace[-1])
    if total > FITTED_SHARE * alike:
        raise Wrong(
            f"After {OVERFIT_STEPS} steps the loss is {total:.0f} nats. One average picture for all"
            f" images would give {alike:.0f}, so z says too little about the image. Look at how"
            " z is made, and at the weight of the two terms."
        )


def _check_second_code(mu: Tensor, second: Tensor, kl: Tensor) -> None:
    """Raises `Wrong` where `encode` returns sigma or sigma^2 in place of its log."""
    if second.min() <= 0:
        return
    for name, factor in (("sigma", 2), ("sigma^2", 1)):
        if torch.allclose(kl, _kl(mu, factor * second.log()), rtol=1e-3, atol=1e-3):
            raise Wrong(
                f"encode(x) returns mu and {name}. Return mu and logvar, which is log sigma^2, and"
                " compute sigma = exp(0.5 * logvar) in forward."
            )


def _compare_reconstruction(model: Any, x: Tensor, mu: Tensor, logvar: Tensor) -> None:
    """Raises `Wrong` where the reconstruction term is not that of draws from N(mu, sigma^2)."""
    rng = make_rng(3)
    own = torch.stack([model(x, rng)[0] for _ in range(DRAWS)]).mean().item()
    right = torch.stack(
        [_cost(model.decode(_draw_z(mu, logvar, rng)), x) for _ in range(DRAWS)]
    ).mean()
    right = right.item()
    if abs(own - right) <= 0.05 * right:
        return
    if abs(own * x[0].numel() - right) <= 0.1 * right:
        raise Wrong(
            f"The reconstruction is {own:.3f}, a mean over the pixels. Their sum is {right:.0f}"
            " nats; as it is, the KL outweighs it and falls to zero."
        )
    if own < 0:
        raise Wrong("The reconstruction is negative: it is -log p(x | z), so its sign is wrong.")
    raise Wrong(
        f"forward gives a reconstruction of {own:.0f} nats. With z = mu + exp(0.5 * logvar) * eps"
        f" it would be {right:.0f}, so z is drawn with another standard deviation, or the term is"
        " not the cross-entropy summed over the pixels."
    )


def _check_whole(answer: Any) -> None:
    _overfit(answer)


WHOLE = Exercise(
    id="04.vae",
    question=(
        "Write the whole class in an empty cell: __init__(image_shape), encode(x) -> mu, logvar;"
        " decode(z) -> logits; forward(x, rng) -> reconstruction, KL."
    ),
    solution=_ReferenceVAE,
    check=_check_whole,
    why=f"It learned {NUM_OVERFIT} images by heart. You can write a VAE.",
    mistakes=(Mistake(_WithoutDraw, NO_DRAW),),
    hints=(
        "__init__ makes two networks, encode splits the encoder's output by chunk(2, dim=1), decode"
        " returns logits.",
        "forward: encode, draw z with noise from rng, decode, and return both terms, [B] each.",
    ),
)

# ------------------------------------------------------------------ the importance-weighted bound


def _iw_bound(log_weights):
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def _weight_cases() -> list[tuple]:
    rng = make_rng(4, 4)
    random = [(torch.randn(k, num, generator=rng) * 4 - 150,) for k, num in ((1, 3), (10, 3))]
    return [*random, (torch.randn(4, 1, generator=rng) - 900,), (torch.full((6, 2), -80.0),)]


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
        Mistake(
            lambda w: torch.logsumexp(w, 1) - math.log(w.shape[1]),
            "You averaged over the images. The draws are axis 0; one value for each image remains.",
        ),
        Mistake(
            lambda w: torch.logsumexp(w, 0) - math.log(w.shape[1]),
            "You divided by the number of images. k is the number of draws, the length of axis 0.",
        ),
        Mistake(
            lambda w: torch.logsumexp(w, 0) / len(w),
            "You divided the log by k. Dividing the sum by k means subtracting log k from its log.",
        ),
        Mistake(
            lambda w: torch.logsumexp(w, 0) + math.log(len(w)),
            "You multiplied by k where you should divide: subtract log k.",
        ),
        Mistake(
            lambda w: _iw_bound(w).mean(), "You averaged over the images. Keep one bound for each."
        ),
        Mistake(
            lambda w: w.max(0).values,
            "This is the largest weight alone. All k of them enter the mean.",
        ),
        Mistake(
            lambda w: -_iw_bound(w),
            "The sign is the wrong way round: the bound on log p(x) is asked for.",
        ),
    ),
    hints=(
        "log(mean of exp(w)) = log(sum of exp(w)) - log(k).",
        "torch.logsumexp(log_weights, 0) adds up exponentials safely.",
    ),
)

EXERCISES = (
    ENCODER,
    REPARAMETERISE,
    DECODER,
    LOSS,
    SILENT_BETAS,
    STEP,
    WHOLE,
    IWAE,
    *HUNT_EXERCISES,
)
