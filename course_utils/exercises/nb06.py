"""The exercises of notebook 06, in which the learner writes a GAN: the two networks, both losses,
the alternating step, the moving average, what is measured on it, and the bug hunt.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.device import make_rng
from course_utils.base.images import uint8_to_signed
from course_utils.data.strokes import make_strokes
from course_utils.exercises.hunt_06 import HUNT_EXERCISES
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

# ------------------------------------------------------------------ the two networks


def _make_generator(image_shape, latent_dim, width):
    channels, height, image_width = image_shape
    start = (2 * width, height // 4, image_width // 4)
    return nn.Sequential(
        nn.Linear(latent_dim, math.prod(start)),
        nn.Unflatten(1, start),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def _make_discriminator(image_shape, width):
    channels, height, image_width = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(2 * width * (height // 4) * (image_width // 4), 1),
        nn.Flatten(0),
    )


# image shape, latent dimensions, width: grey, colour and not square, one latent dimension
NETWORKS = (((1, 28, 28), 16, 8), ((3, 8, 12), 5, 6), ((1, 8, 8), 1, 4))
BATCH, MANY = 7, 64
STRETCH = 20.0  # times the weights of a fresh network, so that no output stays near 0 by chance
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)

G_INPUT = (
    "It does not take z of shape [B, latent_dim]. Begin with nn.Linear, whose outputs nn.Unflatten"
    " turns into a small image with many channels."
)
G_SIGMOID = (
    "Its images lie between 0 and 1, so a sigmoid is at the end. The data lie in [-1, 1], and D"
    " would see the difference at once: end with nn.Tanh()."
)
G_UNBOUNDED = (
    "Its images leave [-1, 1], where the data lie. Put nn.Tanh() behind the last convolution."
)
G_ONE_SIDED = (
    "However large the weights, no pixel gets clearly below 0: an activation such as ReLU comes"
    " before the tanh. Only the tanh may follow the last convolution."
)
G_NORM_AT_END = (
    "Batch norm follows the last convolution. It fixes the mean and the contrast of the images over"
    " the batch, although both have to be learned: normalise the hidden layers only."
)
G_CONSTANT = "Every z gives the same image: the noise never reaches the output."
G_LINEAR = (
    "Before the tanh the generator is linear in z. Put a nonlinearity, such as nn.ReLU(), between"
    " its layers."
)
G_EVAL = (
    "In evaluation mode an image depends on what else is in the batch. Use nn.BatchNorm2d, which"
    " then takes its running statistics."
)
G_WIDTH = (
    "The generator's number of parameters does not change with width. Use it as the number of"
    " channels of the last hidden layer."
)
D_INPUT = (
    "It does not take images [B, C, H, W] of this shape. How many numbers are left for the linear"
    " layer after two convolutions of stride 2?"
)
D_COLUMN = (
    "It returns scores of shape [B, 1]. With labels of shape [B] a loss would compare every image"
    " with every label: drop the last axis, for example by nn.Flatten(0)."
)
D_SIGMOID = (
    "Its outputs stay between 0 and 1, so a sigmoid is at the end. Return the logit: the losses"
    " apply the sigmoid themselves, in a form that cannot overflow."
)
D_BOUNDED = (
    "However large the weights, the scores are limited on one side or on both: an activation"
    " follows the last layer. A logit may be any number."
)
D_NORM_AT_START = (
    "Batch norm comes before the second layer with weights. It would hide the mean and the contrast"
    " of the images from D, by which it could tell them apart: leave the input alone."
)
D_BLIND = (
    "Some pixels do not change any score, so G would never learn what to draw there. Look at"
    " kernels and strides: with stride 2 a kernel of 4 and padding of 1 cover every pixel."
)
D_LINEAR = (
    "The discriminator is linear in the pixels. Put a nonlinearity, such as nn.LeakyReLU(0.2),"
    " behind each hidden layer."
)
D_WIDTH = (
    "The discriminator's number of parameters does not change with width. Use it as the number of"
    " channels of the first layer."
)
D_EVAL = "In evaluation mode the score of an image depends on what else is in the batch."


def _check_gradients(network: nn.Module, x: Tensor) -> None:
    """Raises `Wrong` where a parameter gets no gradient."""
    out = network(x)
    if not out.requires_grad:
        raise Wrong(
            "No gradient reaches the network's parameters, so it could not be trained. Is there a"
            " no_grad() or detach() in it?"
        )
    out.square().sum().backward()
    cut = [name for name, weight in network.named_parameters() if weight.grad is None]
    if cut:
        raise Wrong(f"No gradient reaches the parameters {', '.join(cut)}: they are never used.")


def _check_width(make: Any, message: str, *arguments: Any) -> None:
    """Raises `Wrong` where the last argument, the width, does not change the network's size."""
    *others, width = arguments
    sizes = set()
    for one in (width, 2 * width):
        sizes.add(sum(weight.numel() for weight in make(*others, one).parameters()))
    if len(sizes) == 1:
        raise Wrong(message)


def _layers_in_order(network: nn.Module, x: Tensor) -> list[nn.Module]:
    """Returns the layers with weights and the norms, in the order in which they are used."""
    used: list[nn.Module] = []

    def note(module: nn.Module, *_: Any) -> None:
        used.append(module)

    handles = [
        module.register_forward_hook(note)
        for module in network.modules()
        if isinstance(module, WEIGHTED + NORMS)
    ]
    network(x)
    for handle in handles:
        handle.remove()
    return used


@torch.no_grad()
def _stretched(network: nn.Module, x: Tensor) -> Tensor:
    """Returns the outputs after all parameters were made much larger."""
    for parameter in network.parameters():
        parameter.mul_(STRETCH)
    return network(x)


@torch.no_grad()
def _is_linear(network: nn.Module, x: Tensor, undo: Callable[[Tensor], Tensor]) -> bool:
    """Returns whether a network in evaluation mode is linear up to its last activation, which
    `undo` takes back.
    """
    network.eval()
    first, second = x, torch.flip(x, dims=(0,))
    bent = undo(network(first + second)) + undo(network(torch.zeros_like(x)))
    plain = undo(network(first)) + undo(network(second))
    network.train()
    return torch.allclose(bent, plain, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def _sees_the_batch(network: nn.Module, x: Tensor) -> bool:
    network.eval()
    alone, together = network(x[:1]), network(x)[:1]
    network.train()
    return not torch.allclose(alone, together, rtol=1e-3, atol=1e-4)


def _check_generator(make: Any) -> None:
    for image_shape, latent_dim, width in NETWORKS:
        z = torch.randn(BATCH, latent_dim)
        generator = network_from(make, image_shape, latent_dim, width)
        out = output_of(generator, z, G_INPUT)
        if out.shape != (BATCH, *image_shape):
            raise Wrong(
                f"For {BATCH} latents and image_shape = {image_shape} the images should have the"
                f" shape {[BATCH, *image_shape]}, got {list(out.shape)}."
            )
        require_finite(out)
        _check_gradients(generator, z)
        if torch.allclose(out[:1].expand_as(out), out, atol=1e-7):
            raise Wrong(G_CONSTANT)
        _check_width(make, G_WIDTH, image_shape, latent_dim, width)
    (shape, latent_dim, width), z = NETWORKS[0], torch.randn(MANY, NETWORKS[0][1])
    generator = make(shape, latent_dim, width)
    _check_range(generator(z), _stretched(make(shape, latent_dim, width), z))
    used = _layers_in_order(generator, z)
    last = max(place for place, layer in enumerate(used) if isinstance(layer, WEIGHTED))
    if any(isinstance(layer, NORMS) for layer in used[last:]):
        raise Wrong(G_NORM_AT_END)
    if _is_linear(generator, z, torch.atanh):
        raise Wrong(G_LINEAR)
    if _sees_the_batch(generator, z):
        raise Wrong(G_EVAL)


def _check_range(fresh: Tensor, out: Tensor) -> None:
    """Raises `Wrong` where images do not fill [-1, 1]; `out` comes from stretched weights."""
    if out.min() >= 0 and out.max() <= 1:
        raise Wrong(G_ONE_SIDED if (fresh == 0).any() else G_SIGMOID)
    if out.abs().max() > 1.001:
        raise Wrong(G_UNBOUNDED)
    if out.min() > -0.5:
        raise Wrong(G_ONE_SIDED)


def _changed_generator(
    drop: tuple[type, ...] = (),
    last: tuple[nn.Module, ...] = (nn.Tanh(),),
    before_end: tuple[nn.Module, ...] = (),
) -> Callable[..., nn.Module]:
    """Returns a builder like the solution's with other layers: what wrong answers look like."""

    def make(image_shape, latent_dim, width):
        layers = list(_make_generator(image_shape, latent_dim, width))[:-1]
        kept = [layer for layer in layers if not isinstance(layer, drop)]
        return nn.Sequential(*kept, *before_end, *last)

    return make


def _with_norm_at_the_end(image_shape, latent_dim, width):
    layers = list(_make_generator(image_shape, latent_dim, width))
    return nn.Sequential(*layers[:-1], nn.BatchNorm2d(image_shape[0]), layers[-1])


GENERATOR = Exercise(
    id="06.generator",
    question="Return a network from noise [B, latent_dim] to images [B, C, H, W] in [-1, 1].",
    solution=_make_generator,
    check=_check_generator,
    why=(
        "Hidden layers are normalised, so that their values stay in range whatever the opponent"
        " does, but the images are not: their brightness and contrast have to be learned."
    ),
    mistakes=(
        Mistake(_changed_generator(last=(nn.Sigmoid(),)), G_SIGMOID),
        Mistake(_changed_generator(last=()), G_UNBOUNDED),
        Mistake(_changed_generator(before_end=(nn.ReLU(),)), G_ONE_SIDED),
        Mistake(_with_norm_at_the_end, G_NORM_AT_END),
        Mistake(_changed_generator(drop=(nn.ReLU,)), G_LINEAR),
        Mistake(lambda shape, latent, width: _make_generator(shape, 2 * latent, width), G_INPUT),
        Mistake(lambda shape, latent, width: _make_generator(shape, latent, 8), G_WIDTH),
    ),
    hints=(
        "Begin small: nn.Linear to 2 * width * (H // 4) * (W // 4) numbers, then nn.Unflatten(1,"
        " (2 * width, H // 4, W // 4)).",
        "nn.ConvTranspose2d(before, after, 4, stride=2, padding=1) doubles height and width. Two of"
        " them are needed, with nn.BatchNorm2d and nn.ReLU in front of each.",
        "The last layer is nn.Tanh(), with no batch norm in front of it.",
    ),
)


def _check_discriminator(make: Any) -> None:
    for image_shape, _, width in NETWORKS:
        x = torch.randn(BATCH, *image_shape)
        discriminator = network_from(make, image_shape, width)
        out = output_of(discriminator, x, D_INPUT)
        if out.shape == (BATCH, 1):
            raise Wrong(D_COLUMN)
        if out.shape != (BATCH,):
            raise Wrong(
                f"For {BATCH} images {list(image_shape)} there should be {BATCH} scores, got the"
                f" shape {list(out.shape)}."
            )
        require_finite(out)
        _check_gradients(discriminator, x)
        _check_width(make, D_WIDTH, image_shape, width)
    (shape, _, width), x = NETWORKS[0], torch.randn(MANY, *NETWORKS[0][0])
    # several networks, since one may have a large bias
    fresh = [make(shape, width) for _ in range(8)]
    out = torch.cat([_stretched(network, torch.cat([x, -x])) for network in fresh])
    if out.min() >= 0 and out.max() <= 1:
        raise Wrong(D_SIGMOID)
    if out.min() >= -1.01 or out.max() <= 1.01:
        raise Wrong(D_BOUNDED)
    discriminator = make(shape, width)
    used = _layers_in_order(discriminator, x)
    second = [place for place, layer in enumerate(used) if isinstance(layer, WEIGHTED)][1:2]
    if any(isinstance(layer, NORMS) for layer in used[: (second or [len(used)])[0]]):
        raise Wrong(D_NORM_AT_START)
    _check_pixels(discriminator, x)
    if _is_linear(discriminator, x, lambda scores: scores):
        raise Wrong(D_LINEAR)
    if _sees_the_batch(discriminator, x):
        raise Wrong(D_EVAL)


def _check_pixels(discriminator: nn.Module, x: Tensor) -> None:
    """Raises `Wrong` where a pixel gets no gradient in any of many images."""
    x = x.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(discriminator(x).sum(), x)
    if (gradients.abs().amax((0, 1)) == 0).any():
        raise Wrong(D_BLIND)


def _changed_discriminator(
    first: Callable[[int], nn.Module] | None = None,
    drop: tuple[type, ...] = (),
    last: tuple[nn.Module, ...] = (),
    end: bool = True,
) -> Callable[..., nn.Module]:
    def make(image_shape, width):
        layers = [
            layer
            for layer in _make_discriminator(image_shape, width)
            if not isinstance(layer, drop)
        ]
        start = [first(image_shape[0])] if first else []
        return nn.Sequential(*start, *(layers if end else layers[:-1]), *last)

    return make


def _with_holes(image_shape, width):
    """A discriminator that looks at every other pixel."""
    channels, height, image_width = image_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, stride=2),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(width * (height // 2) * (image_width // 2), 1),
        nn.Flatten(0),
    )


DISCRIMINATOR = Exercise(
    id="06.discriminator",
    question="Return a network from images [B, C, H, W] to one logit each, [B].",
    solution=_make_discriminator,
    check=_check_discriminator,
    why=(
        "G learns from D's gradient alone, so it has to reach every pixel, and it must not die:"
        " a leaky ReLU has a slope everywhere."
    ),
    mistakes=(
        Mistake(_changed_discriminator(last=(nn.Sigmoid(),)), D_SIGMOID),
        Mistake(_changed_discriminator(last=(nn.ReLU(),)), D_BOUNDED),
        Mistake(_changed_discriminator(end=False), D_COLUMN),
        Mistake(_changed_discriminator(first=nn.BatchNorm2d), D_NORM_AT_START),
        Mistake(_changed_discriminator(drop=(nn.LeakyReLU,)), D_LINEAR),
        Mistake(_with_holes, D_BLIND),
        Mistake(lambda shape, width: _make_discriminator((1, 28, 28), width), D_INPUT),
        Mistake(lambda shape, width: _make_discriminator(shape, 8), D_WIDTH),
    ),
    hints=(
        "It is the generator's mirror: nn.Conv2d(before, after, 4, stride=2, padding=1) halves"
        " height and width. Two of them, each followed by nn.LeakyReLU(0.2).",
        "Then nn.Flatten(), nn.Linear(..., 1), and nn.Flatten(0), which turns [B, 1] into [B].",
    ),
)

# ------------------------------------------------------------------ the losses


def _d_losses(real, fake):
    return F.softplus(-real) + F.softplus(fake)  # -log D(x) - log(1 - D(G(z)))


def _score_cases() -> list[tuple]:
    rng = make_rng(6, 0)
    random = 2 * torch.randn(5, generator=rng), 2 * torch.randn(5, generator=rng)
    one = torch.tensor([0.7]), torch.tensor([-1.3])
    undecided = torch.zeros(3), torch.zeros(3)
    sure = torch.tensor([-200.0, 40.0, 200.0, 3.0]), torch.tensor([200.0, -40.0, -200.0, 150.0])
    return [random, one, undecided, sure]


def _cross_entropy(scores: Tensor, label: float) -> Tensor:
    """Returns the cross-entropy that is cut off at 100, as torch's works on probabilities."""
    labels = torch.full_like(scores, label)
    return F.binary_cross_entropy(torch.sigmoid(scores), labels, reduction="none")


D_LOSSES = Exercise(
    id="06.d_losses",
    question="Return the discriminator's loss of each pair of a real and a generated image, [B].",
    solution=_d_losses,
    cases=_score_cases,
    gradients=(0, 1),
    why=(
        "softplus(-s) = -log sigmoid(s), in one step that cannot overflow. An undecided"
        " discriminator has the loss 2 log 2 = 1.39 nats."
    ),
    mistakes=(
        Mistake(
            lambda real, fake: _d_losses(fake, real),
            "The labels are swapped: your discriminator learns to call generated images real.",
        ),
        Mistake(
            lambda real, fake: -_d_losses(real, fake),
            "This is the value of the game, which D raises. A loss is minimised: turn the sign.",
        ),
        Mistake(
            lambda real, fake: _d_losses(real, fake).mean(),
            "You averaged over the images. Keep one value for each pair; the step takes the mean.",
        ),
        Mistake(
            lambda real, fake: _d_losses(real, fake) / 2,
            "You halved the sum. The game's value has both terms in full.",
        ),
        Mistake(
            lambda real, fake: F.softplus(-real),
            "Only the real images count here, so D would call everything real.",
        ),
        Mistake(
            lambda real, fake: F.softplus(fake),
            "Only the generated images count here, so D would call everything generated.",
        ),
        Mistake(
            lambda real, fake: -torch.sigmoid(real).log() - (1 - torch.sigmoid(fake)).log(),
            "The formula is right, but for scores such as ±200 it becomes infinite in float32,"
            " because a sigmoid is rounded to 0 or 1. F.softplus and F.logsigmoid avoid this.",
        ),
        Mistake(
            lambda real, fake: _cross_entropy(real, 1.0) + _cross_entropy(fake, 0.0),
            "F.binary_cross_entropy works on probabilities that are rounded to 0 or 1 and cuts the"
            " log off at 100. Use the form that takes logits.",
        ),
        Mistake(
            lambda real, fake: _d_losses(torch.sigmoid(real), torch.sigmoid(fake)),
            "The sigmoid is applied twice: softplus and ..._with_logits take the scores.",
        ),
        Mistake(
            lambda real, fake: fake - real,
            "This is the loss of a Wasserstein critic, whose scores are no log-odds.",
        ),
        Mistake(
            lambda real, fake: (F.softplus(-real), F.softplus(fake)),
            "You return the two terms apart. Their sum is asked for.",
        ),
        Mistake(
            lambda real, fake: torch.cat([F.softplus(-real), F.softplus(fake)]),
            "You put the two terms in a row. Add them, pair by pair.",
        ),
    ),
    hints=(
        "-log D(x) with D(x) = sigmoid(score) is log(1 + exp(-score)).",
        "F.softplus(s) = log(1 + exp(s)). 1 - sigmoid(s) = sigmoid(-s).",
    ),
)


def _g_losses(fake):
    return F.softplus(-fake)  # -log D(G(z))


G_LOSSES = Exercise(
    id="06.g_losses",
    question="Return -log D(G(z)) for each generated image, from D's logits [B].",
    solution=_g_losses,
    cases=lambda: [
        (torch.tensor([-200.0, -3.0, -0.5, 0.0, 0.5, 3.0, 40.0]),),
        (torch.tensor([1.7]),),
        (torch.zeros(4),),
    ],
    gradients=(0,),
    why=(
        "It has the same best generator as log(1 - D), and its gradient is largest where the"
        " generator is worst."
    ),
    mistakes=(
        Mistake(
            lambda fake: -F.softplus(fake),
            "This is the minimax loss log(1 - D). It is flat where D is sure that an image is"
            " generated, so a bad generator hardly learns.",
        ),
        Mistake(
            lambda fake: F.softplus(fake),
            "This is -log(1 - D), the discriminator's loss of a generated image. A generator that"
            " makes it small helps the discriminator.",
        ),
        Mistake(
            lambda fake: -F.softplus(-fake),
            "The sign is wrong: this is +log D. Minimising it makes D(G(z)) small.",
        ),
        Mistake(
            lambda fake: -torch.sigmoid(fake).log(),
            "The formula is right, but at a score of -200 its float32 form is infinite. Use one"
            " function that does log and sigmoid at once.",
        ),
        Mistake(
            lambda fake: _cross_entropy(fake, 1.0),
            "F.binary_cross_entropy cuts the log off at 100, so a very bad image gets no gradient."
            " Give it the logits, in the form for logits.",
        ),
        Mistake(
            lambda fake: F.softplus(-torch.sigmoid(fake)),
            "The sigmoid is applied twice: softplus takes the logits.",
        ),
        Mistake(
            lambda fake: F.softplus(-fake).mean(),
            "You averaged over the images. Keep one value for each image.",
        ),
        Mistake(lambda fake: -fake, "This is the loss against a Wasserstein critic: no log in it."),
        Mistake(
            lambda fake: 1 - torch.sigmoid(fake),
            "This is 1 - D(G(z)). The loss is the negative logarithm of D(G(z)).",
        ),
    ),
    hints=(
        "log D = F.logsigmoid(score).",
        "-log sigmoid(s) = log(1 + exp(-s)), which is F.softplus of something.",
    ),
)


def _slopes(d):
    return -d, d - 1


SLOPES = Exercise(
    id="06.slopes",
    question=(
        "Return the derivatives by the score s of log(1 - D) and of -log D, both as functions of"
        " D = sigmoid(s)."
    ),
    solution=_slopes,
    cases=lambda: [
        (torch.tensor([0.1, 0.3, 0.9], dtype=torch.float64),),
        (torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64),),
        (torch.tensor([0.02], dtype=torch.float64),),
    ],
    why=(
        "Where D is sure that an image is generated, D is near 0: the first slope vanishes, the"
        " second is nearly -1. G's weights get this number times the slope of the score."
    ),
    mistakes=(
        Mistake(
            lambda d: (d - 1, -d), "The two are swapped. Which of them vanishes where D is near 0?"
        ),
        Mistake(
            lambda d: (d, 1 - d), "Both signs are wrong: a higher score makes both losses smaller."
        ),
        Mistake(
            lambda d: (-1 / (1 - d), -1 / d),
            "These are the derivatives by D. By the chain rule, the derivative by the score has the"
            " factor dD/ds = D (1 - D) as well.",
        ),
        Mistake(
            lambda d: (-d * (1 - d), -d * (1 - d)),
            "This is -dD/ds, without the derivative of the logarithm.",
        ),
        Mistake(lambda d: (-d, 1 - d), "The sign of the second slope is wrong."),
        Mistake(lambda d: (d, d - 1), "The sign of the first slope is wrong."),
        Mistake(
            lambda d: (-d, -1 / d),
            "The second is the derivative by D. Multiply it by dD/ds = D (1 - D).",
        ),
        Mistake(
            lambda d: (-1 / (1 - d), d - 1),
            "The first is the derivative by D: multiply it by dD/ds as well.",
        ),
        Mistake(lambda d: -d, "Only the first slope is here. Return both, as a pair."),
        Mistake(lambda d: d - 1, "Only the second slope is here. Return both, as a pair."),
        Mistake(
            lambda d: (torch.log(1 - d), -torch.log(d)), "These are the losses, not their slopes."
        ),
    ),
    hints=(
        "D = sigmoid(s) has the derivative dD/ds = D (1 - D).",
        "The derivative of log(1 - D) by D is -1 / (1 - D). Multiply, and one factor cancels.",
    ),
)

# ------------------------------------------------------------------ the alternating step


def _train_step(gan, d_optimizer, g_optimizer, images, rng):
    fake = gan.generator(torch.randn(len(images), gan.latent_dim, generator=rng))
    d_loss = _d_losses(gan.discriminator(images), gan.discriminator(fake.detach())).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    g_loss = _g_losses(gan.discriminator(fake)).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    return d_loss.item(), g_loss.item()


class _Counted(nn.Module):
    """A generator of 4 x 4 pixels that counts how often a gradient comes back to its images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))
        self.num_gradients = 0

    def forward(self, z: Tensor) -> Tensor:
        images = self.layers(z)
        if images.requires_grad:
            images.register_hook(self._count)
        return images

    def _count(self, gradient: Tensor) -> None:
        self.num_gradients += 1


class _TinyGAN(nn.Module):
    """Two small networks for the checks, with the same weights every time."""

    latent_dim = 3

    def __init__(self) -> None:
        super().__init__()
        head = [nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)]
        self.generator, self.discriminator = _Counted(), nn.Sequential(nn.Flatten(), *head)
        with torch.no_grad():
            for place, parameter in enumerate(self.parameters()):
                rng = make_rng(6, 6, place)
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=rng))


class _Path(NamedTuple):
    """What some training steps did.

    Attributes:
        returned: by each step.
        generator, discriminator: all parameters after each step, `[num_steps, P]`.
        num_gradients: how often a gradient reached the generated images.
    """

    returned: list
    generator: Tensor
    discriminator: Tensor
    num_gradients: int


NUM_STEPS = 3


def _path(step: Any, seed: int = 0, noise: int = 7) -> _Path:
    torch.manual_seed(seed)
    gan, rng, returned = _TinyGAN(), make_rng(6, noise), []
    d_optimizer = torch.optim.SGD(gan.discriminator.parameters(), lr=0.3)
    g_optimizer = torch.optim.SGD(gan.generator.parameters(), lr=0.2)
    states: dict[str, list[Tensor]] = {"generator": [], "discriminator": []}
    for index in range(NUM_STEPS):
        images = 2 * torch.rand(5 + index, 1, 4, 4, generator=make_rng(6, 8, index)) - 1
        result = step(gan, d_optimizer, g_optimizer, images, rng)
        require_attempt(result)
        returned.append(result)
        for name, found in states.items():
            weights = getattr(gan, name).parameters()
            found.append(torch.cat([weight.detach().flatten() for weight in weights]))
    both = {name: torch.stack(found) for name, found in states.items()}
    return _Path(returned, **both, num_gradients=gan.generator.num_gradients)


def _same_path(first: _Path, second: _Path) -> bool:
    return all(
        torch.allclose(getattr(first, name), getattr(second, name), rtol=1e-4, atol=1e-6)
        for name in ("generator", "discriminator")
    )


def _step_with(
    d_loss: Callable[[Tensor, Tensor], Tensor] = _d_losses,
    g_loss: Callable[[Tensor], Tensor] = _g_losses,
    *,
    order: str = "DG",
    zeroed: str = "DG",
    stepped: str = "DG",
    zero_first: bool = False,
    detach: bool = True,
    dead: bool = False,
    fresh: bool = False,
    reduce: Callable[[Tensor], Tensor] = torch.mean,
    draw: Callable[..., Tensor] = torch.randn,
) -> Callable[..., tuple[float, float]]:
    """Returns a training step in another form: right ones with new noise for the generator
    (`fresh`) or with both gradients cleared at the start (`zero_first`), and wrong ones.
    """

    def step(gan, d_optimizer, g_optimizer, images, rng):
        optimizers, losses = {"D": d_optimizer, "G": g_optimizer}, {}
        if zero_first:
            for optimizer in optimizers.values():
                optimizer.zero_grad()
        fake = gan.generator(draw(len(images), gan.latent_dim, generator=rng))
        for place, part in enumerate(order):
            again = part == "G" and "G" in order[:place]  # its graph is used up
            if place and (fresh or again):
                fake = gan.generator(draw(len(images), gan.latent_dim, generator=rng))
            if part == "D":
                seen = fake.detach() if detach else fake
                loss = reduce(d_loss(gan.discriminator(images), gan.discriminator(seen)))
            else:
                loss = reduce(g_loss(gan.discriminator(fake.detach() if dead else fake)))
            if part in zeroed and not zero_first:
                optimizers[part].zero_grad()
            loss.backward(retain_graph=not detach)
            if part in stepped:
                optimizers[part].step()
            losses[part] = loss.item()
        return losses["D"], losses["G"]

    return step


LEAK = (
    "G learns from D's loss as well, because the generated images are not detached in D's step:"
    " this teaches G to be easy to tell apart. Pass fake.detach() to D there."
)
WASTED = (
    "The parameters are right, but the gradient of D's loss runs through G as well, which doubles"
    " the work of G's backward pass for nothing. Pass fake.detach() to D in its step."
)
SECOND_TIME = (
    "torch refuses to go through G's graph twice: D's backward() went through it already, because"
    " the generated images were not detached. Pass fake.detach() to D in its step."
)
STALE = (
    "You use scores from before D's step in G's loss, but D's weights have changed in the meantime:"
    " pass the generated images through D once more."
)
STEP_NOISE = (
    "Your steps cannot be repeated: the noise z does not come from rng. Draw it by torch.randn(...,"
    " generator=rng)."
)
FIXED_NOISE = (
    "Every call uses the same z, whatever rng is. G would learn to draw these few images only."
)
# message: (changes of the step that lead there)
_STEP_FAULTS: dict[str, dict[str, Any]] = {
    LEAK: {"detach": False, "zero_first": True},
    "The gradients of G's loss are still in D when D learns, so D is pushed to call generated"
    " images real. Call d_optimizer.zero_grad() before D's backward().": {"zeroed": "G"},
    "The gradients of earlier steps are still in G: backward() adds to them. Call"
    " g_optimizer.zero_grad() before G's backward().": {"zeroed": "D"},
    "No gradient is ever cleared: backward() adds to what is there. Call zero_grad() of both"
    " optimizers.": {"zeroed": ""},
    "G never changes: the generated images are detached in G's step too, so that no gradient"
    " reaches it. Detach them for D only.": {"dead": True},
    "G never changes: g_optimizer.step() is missing.": {"stepped": "D"},
    "D never changes: d_optimizer.step() is missing.": {"stepped": "G"},
    "G is updated with D's loss of its images, so it learns to be found out. Minimise"
    " -log D(G(z)).": {"g_loss": F.softplus},
    "G minimises log(1 - D), the minimax loss. The non-saturating loss is asked for: g_losses.": {
        "g_loss": lambda fake: -F.softplus(fake)
    },
    "D's labels are swapped: the first argument of d_losses holds the scores of real images.": {
        "d_loss": lambda real, fake: _d_losses(fake, real)
    },
    "D sees no generated images, so it calls everything real.": {
        "d_loss": lambda real, fake: F.softplus(-real)
    },
    "D sees no real images, so it calls everything generated.": {
        "d_loss": lambda real, fake: F.softplus(fake)
    },
    "You added up the losses of the batch. With a sum the step grows with the batch size: take the"
    " mean.": {"reduce": torch.sum},
    "G learns before D in your step. Update D first, then G against the new D.": {"order": "GD"},
    "D makes two steps in each of yours. One is asked for.": {"order": "DDG"},
    "G makes two steps in each of yours. One is asked for.": {"order": "DGG"},
    "The noise is uniform. z has to be normal: torch.randn.": {"draw": torch.rand},
}


def _check_step(step: Any) -> None:
    try:
        given = _path(step)
    except Raised as raised:
        for words, message in (("second time", SECOND_TIME), ("inplace", STALE)):
            if words in str(raised):
                raise Wrong(message) from raised
        raise
    for states in (given.generator, given.discriminator):
        if not torch.isfinite(states).all():
            raise Wrong("After your steps the parameters hold NaN or infinity.")
    # the same noise for both players, or new noise for G
    paths = [_path(_train_step), _path(_step_with(fresh=True))]
    right = next((path for path in paths if _same_path(given, path)), None)
    if right is None:
        raise Wrong(_what_went_wrong(step, given))
    if given.num_gradients > NUM_STEPS:
        raise Wrong(WASTED)
    _check_returned(given, right)


def _check_returned(given: _Path, right: _Path) -> None:
    for losses, right_losses in zip(given.returned, right.returned):
        values = list(losses) if isinstance(losses, (tuple, list)) else [losses]
        if any(isinstance(value, Tensor) and value.requires_grad for value in values):
            raise Wrong(
                "The parameters are right, but you return tensors with their whole graph, which"
                " keeps memory occupied. Return numbers: d_loss.item(), g_loss.item()."
            )
        if same(values, list(right_losses), 1e-4, 1e-6):
            continue
        require_finite(values)
        if same(values[::-1], list(right_losses), 1e-4, 1e-6):
            raise Wrong("The parameters are right, but the two losses are swapped: D's is first.")
        raise Wrong(
            f"The parameters are right, but you return {kind_of(losses)} that is not the pair of"
            " D's and G's mean loss of this batch."
        )


def _what_went_wrong(step: Any, given: _Path) -> str:
    """Returns the message for steps that led elsewhere."""
    if not _same_path(given, _path(step, seed=1)):
        return STEP_NOISE
    if _same_path(given, _path(step, noise=17)):
        return FIXED_NOISE
    for message, changes in _STEP_FAULTS.items():
        for fresh in (False, True):
            path = _path(_step_with(**changes, fresh=fresh))
            if _same_path(given, path) and given.num_gradients == path.num_gradients:
                return message
    return (
        "After your steps the parameters are not where they should be. First D: d_losses of real"
        " and detached generated images, zero_grad, backward, step of d_optimizer. Then G:"
        " g_losses of the generated images, and the same three calls of g_optimizer."
    )


def _undetached(gan, d_optimizer, g_optimizer, images, rng):
    """Not detached, but G's gradients are cleared afterwards: right and slow."""
    return _step_with(detach=False)(gan, d_optimizer, g_optimizer, images, rng)


STEP = Exercise(
    id="06.step",
    question="Update D once, then G once; return the two mean losses as numbers.",
    solution=_train_step,
    check=_check_step,
    why=(
        "Each half of the step moves one player. detach cuts the graph between them, so that D's"
        " loss cannot teach G."
    ),
    mistakes=(
        Mistake(_undetached, WASTED),
        Mistake(
            lambda gan, d_optimizer, g_optimizer, images, rng: _step_with()(
                gan, d_optimizer, g_optimizer, images, None
            ),
            STEP_NOISE,
        ),
        *(Mistake(_step_with(**changes), words) for words, changes in _STEP_FAULTS.items()),
    ),
    hints=(
        "z = torch.randn(len(images), gan.latent_dim, generator=rng), and fake = gan.generator(z).",
        "D's loss takes gan.discriminator(images) and gan.discriminator(fake.detach()). G's takes"
        " gan.discriminator(fake), computed after D's step.",
        "Each half: optimizer.zero_grad(), loss.backward(), optimizer.step(), with its own"
        " optimizer.",
    ),
)

# ------------------------------------------------------------------ the moving average


def _ema(average, weights, decay):
    return decay * average + (1 - decay) * weights


def _ema_cases() -> list[tuple]:
    rng = make_rng(6, 3)

    def pair(*shape: int) -> tuple[Tensor, Tensor]:
        return torch.randn(*shape, generator=rng), torch.randn(*shape, generator=rng)

    return [(*pair(5), 0.99), (*pair(2, 3), 0.0), (*pair(4), 1.0), (*pair(1), 0.9)]


EMA = Exercise(
    id="06.ema",
    question="Return the moving average of the weights after one more step.",
    solution=_ema,
    cases=_ema_cases,
    why=(
        "The two players push each other around, so the weights keep moving. Their average moves"
        " much less."
    ),
    mistakes=(
        Mistake(
            lambda average, weights, decay: (1 - decay) * average + decay * weights,
            "The decay stands at the wrong one: with 0.99 your average forgets nearly everything in"
            " one step.",
        ),
        Mistake(
            lambda average, weights, decay: decay * average + weights,
            "The two shares have to add up to 1, or the weights grow.",
        ),
        Mistake(
            lambda average, weights, decay: (average + weights) / 2,
            "This is the plain mean. The decay says how much of the old stays.",
        ),
        Mistake(
            lambda average, weights, decay: decay * (average + weights),
            "Both have the same share here. The new weights get 1 - decay.",
        ),
        Mistake(
            lambda average, weights, decay: decay * average,
            "The new weights are missing: your average shrinks to 0.",
        ),
        Mistake(
            lambda average, weights, decay: decay * average - (1 - decay) * weights,
            "The new weights are subtracted. Both shares are added.",
        ),
        Mistake(
            lambda average, weights, decay: average,
            "Your average never moves: the new weights do not enter.",
        ),
        Mistake(
            lambda average, weights, decay: weights,
            "These are the new weights: nothing is averaged.",
        ),
    ),
    hints=("With decay = 1 nothing may change, with decay = 0 the new weights are the answer.",),
)

# ------------------------------------------------------------------ the whole

NUM_PAIRS, DUEL_STEPS, DUEL_RATE = 32, 60, 2e-3
TOLD_APART, FOLLOWED = 0.95, 0.5  # what D and then G have to reach


class _ReferenceGAN(nn.Module):
    """Two networks, and `sample(n, rng)` for images `[n, C, H, W]` in [-1, 1]."""

    def __init__(self, image_shape, latent_dim=64, width=32):
        super().__init__()
        self.latent_dim = latent_dim
        self.generator = _make_generator(image_shape, latent_dim, width)
        self.discriminator = _make_discriminator(image_shape, width)

    @torch.no_grad()
    def sample(self, n, rng):
        return self.generator(torch.randn(n, self.latent_dim, generator=rng))


@functools.lru_cache(maxsize=1)
def _duel_images() -> Tensor:
    return uint8_to_signed(make_strokes(0, 2 * NUM_PAIRS, seed=3)[2])


def duel(model_class: type) -> None:
    """Lets the two networks of a GAN that a learner wrote learn one after the other, a few seconds,
    and prints whether both can, or which of them is wrong.

    First D learns to tell real images from noise and from what the untrained generator draws; then
    D stands still, and G learns to be taken for real by it.

    Args:
        model_class: called with the shape of an image; with `generator(z)`, `discriminator(images)`
            (logits), `latent_dim` and `sample(n, rng)`.
    """
    try:
        with fixed_torch_seed():
            told_apart, (before, after) = _duel(model_class)
    except Wrong as wrong:
        print(f"✗ The whole does not work yet. {wrong}")
        return
    print(
        f"✓ {DUEL_STEPS} steps each: D tells {told_apart:.0%} of real images from noise and from"
        f" G's; then G raises D(G(z)) from {before:.2f} to {after:.2f}. Both can learn."
    )


def _duel(model_class: Any) -> tuple[float, tuple[float, float]]:
    """Returns the share of pairs that D tells apart, and D(G(z)) before and after G learned; raises
    `Wrong` with the network that the symptoms point to.
    """
    x = _duel_images()
    gan = model_class(tuple(x.shape[1:]))
    require_attempt(gan)
    if not isinstance(gan, nn.Module):
        raise Wrong(f"Expected a class of models (nn.Module), got {kind_of(gan)}.")
    _check_parts(gan, x)
    rng = make_rng(6, 20)
    told_apart = _let_d_learn(gan, x, rng)
    if not told_apart >= TOLD_APART:
        raise Wrong(
            f"After {DUEL_STEPS} steps D scores a real image above noise or above a picture of the"
            f" untrained G in {told_apart:.0%} of pairs only, though they look nothing alike. Look"
            " at the discriminator."
        )
    before, after = _let_g_learn(gan, rng)
    if not after >= FOLLOWED:
        raise Wrong(
            f"D stood still for {DUEL_STEPS} steps, and D(G(z)) went from {before:.2f} to"
            f" {after:.2f} only. Look at the generator, and at what D's gradient passes on its way"
            " to it."
        )
    return told_apart, (before, after)


def _check_parts(gan: Any, x: Tensor) -> None:
    """Raises `Wrong` unless the parts are there and fit together."""
    for name in ("generator", "discriminator", "latent_dim", "sample"):
        if not hasattr(gan, name):
            raise Wrong(f"The class has no `{name}`.")
    images = gan.generator(torch.randn(4, gan.latent_dim))
    require_attempt(images)
    if images.shape != (4, *x.shape[1:]):
        raise Wrong(
            f"generator(z) should return images {[4, *x.shape[1:]]}, got {list(images.shape)}."
        )
    scores = gan.discriminator(images)
    require_attempt(scores)
    if scores.shape != (4,):
        raise Wrong(f"discriminator(images) should return scores [4], got {list(scores.shape)}.")
    drawn = [gan.sample(3, make_rng(seed)) for seed in (1, 1, 2)]
    if drawn[0].shape != (3, *x.shape[1:]) or drawn[0].requires_grad:
        raise Wrong("sample(n, rng) should return n images without a gradient.")
    if not torch.allclose(drawn[0], drawn[1], atol=1e-5):
        raise Wrong("Two samples with equal rng differ: the noise does not come from rng.")
    if torch.allclose(drawn[0], drawn[2], atol=1e-6):
        raise Wrong("Samples do not depend on rng: another seed gives the same images.")


def _let_d_learn(gan: Any, x: Tensor, rng: torch.Generator) -> float:
    """Returns the share of pairs that D tells apart after learning on them."""
    optimizer = torch.optim.Adam(gan.discriminator.parameters(), lr=DUEL_RATE, betas=(0.5, 0.99))

    def pairs() -> tuple[Tensor, Tensor]:
        real = x[torch.randperm(len(x), generator=rng)[:NUM_PAIRS]]
        noise = 2 * torch.rand(real[: NUM_PAIRS // 2].shape, generator=rng) - 1
        z = torch.randn(NUM_PAIRS - len(noise), gan.latent_dim, generator=rng)
        with torch.no_grad():
            return real, torch.cat([noise, gan.generator(z)])

    for _ in range(DUEL_STEPS):
        real, fake = map(gan.discriminator, pairs())
        optimizer.zero_grad()
        _d_losses(real, fake).mean().backward()
        optimizer.step()
    with torch.no_grad():
        real, fake = map(gan.discriminator, pairs())
    return (real[:, None] > fake[None]).float().mean().item()


def _let_g_learn(gan: Any, rng: torch.Generator) -> tuple[float, float]:
    """Returns the mean of D(G(z)) before and after G learned against a D that stands still."""
    optimizer = torch.optim.Adam(gan.generator.parameters(), lr=DUEL_RATE, betas=(0.5, 0.99))
    answers = []
    for _ in range(DUEL_STEPS + 1):
        scores = gan.discriminator(
            gan.generator(torch.randn(NUM_PAIRS, gan.latent_dim, generator=rng))
        )
        answers.append(torch.sigmoid(scores).mean().item())
        optimizer.zero_grad()
        _g_losses(scores).mean().backward()
        optimizer.step()
    return answers[0], answers[-1]


# ------------------------------------------------------------------ modes, and slopes of a critic


def _hit(points, centres, radius):
    near = torch.cdist(points, centres) <= radius  # [N, K]
    return int((near.sum(0) >= 0.1 * len(points) / len(centres)).sum())


def _modes_by(points: Tensor, centres: Tensor, radius: float, least: float) -> int:
    """Returns the modes that at least so many points are close to: the shape of most wrong
    answers.
    """
    return int(((torch.cdist(points, centres) <= radius).sum(0) >= least).sum())


def _circle(num_modes: int) -> Tensor:
    angles = 2 * math.pi * torch.arange(num_modes) / num_modes
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def _mode_cases() -> list[tuple]:
    """Eight modes: two with many points, one with a little less than its share, one with a fifth,
    one with stray points, two with points near it; then one mode, none, and exactly a tenth.
    """
    rng, centres = make_rng(6, 1), _circle(8)
    near = [
        centres[mode] + 0.03 * torch.randn(num, 2, generator=rng)
        for mode, num in ((0, 250), (1, 250), (2, 110), (3, 25), (4, 6))
    ]
    # nearest to it, but far: one of them would be inside if distances were squared
    beside = [
        factor * centres[mode] + 0.03 * torch.randn(num, 2, generator=rng)
        for mode, num, factor in ((5, 180, 1.3), (6, 179, 1.7))
    ]
    one = torch.zeros(1, 2)
    return [
        (torch.cat([*near, *beside]), centres, 0.15),
        (0.01 * torch.randn(12, 2, generator=rng), one, 0.1),
        (torch.tensor([[0.05, 0.0]]).repeat(12, 1), one, 0.02),
        # 80 points, so one of them is a tenth of the fair share of 10
        (torch.cat([centres[:1].repeat(79, 1), centres[3:4]]), centres, 0.15),
    ]


MODES = Exercise(
    id="06.modes",
    question=(
        "Return how many modes are hit: those with at least a tenth of their fair share of the N"
        " points within `radius`."
    ),
    solution=_hit,
    cases=_mode_cases,
    why=(
        "Counting modes makes collapse a number, and the threshold keeps a few stray points from"
        " passing for a mode."
    ),
    mistakes=(
        Mistake(
            lambda points, centres, radius: _modes_by(points, centres, radius, 1),
            "You counted modes with any point at all. Stray points are no mode: ask for a tenth of"
            " the fair share N / K.",
        ),
        Mistake(
            lambda points, centres, radius: _modes_by(points, centres, math.inf, 1),
            "Every mode counts for you: compare the distance with `radius` before you count.",
        ),
        Mistake(
            lambda points, centres, radius: int(
                (
                    torch.cdist(points, centres).argmin(1).bincount(minlength=len(centres))
                    >= 0.1 * len(points) / len(centres)
                ).sum()
            ),
            "You gave each point to its nearest mode, however far. Only points within `radius`"
            " count.",
        ),
        Mistake(
            lambda points, centres, radius: _modes_by(points, centres, radius, 0.1 * len(points)),
            "You asked for a tenth of all points. The fair share of one mode is N / K, and a tenth"
            " of that is asked for.",
        ),
        Mistake(
            lambda points, centres, radius: _modes_by(
                points, centres, radius, len(points) / len(centres)
            ),
            "You asked for the whole fair share. A tenth of it is enough.",
        ),
        Mistake(
            lambda points, centres, radius: int(
                (torch.cdist(points, centres).min(1).values <= radius).sum()
            ),
            "You counted points. Count modes: sum over the points first, for each mode.",
        ),
        Mistake(
            lambda points, centres, radius: _hit(points, centres, radius**0.5),
            "You compared the squared distance with `radius`: take the root first.",
        ),
        Mistake(
            lambda points, centres, radius: int(
                (
                    (torch.cdist(points, centres) <= radius).sum(0)
                    > 0.1 * len(points) / len(centres)
                ).sum()
            ),
            "You asked for more than a tenth of the fair share. Exactly a tenth is enough: use >=.",
        ),
        Mistake(
            lambda points, centres, radius: len(centres) - _hit(points, centres, radius),
            "You counted the modes that are missing.",
        ),
    ),
    hints=(
        "torch.cdist(points, centres) is [N, K].",
        "Points within the radius: (… <= radius).sum(0), one number for each mode.",
        "Fair share: N / K.",
    ),
)

LAZY = (
    "The lengths are right, but they have no gradient with respect to the critic's weights, so a"
    " penalty made of them would be ignored: differentiate with create_graph=True."
)
MEAN_SCORE = (
    "You differentiated the mean of the scores, which divides every gradient by the number of"
    " images. Differentiate their sum."
)
SQUARED = "These are the squared lengths. Take the root."
PIXEL_MEAN = (
    "You averaged over the pixels. The length of a gradient is the root of a sum over its pixels."
)
WHOLE_BATCH = "This is one length for the whole batch. Return one for each image."
BATCH_MEAN = "You averaged over the images. Keep one length for each."
ABSOLUTE = "You added up absolute values. The Euclidean length is the root of the sum of squares."
LARGEST = "This is the largest slope by a single pixel. All pixels enter the length."


def _gradient_norms(critic, images):
    images = images.detach().requires_grad_()
    (gradients,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    return gradients.flatten(1).norm(dim=1)


def _from_gradients(
    reduce: Callable[[Tensor], Tensor],
    total: Callable[[Tensor], Tensor] = torch.sum,
    create_graph: bool = True,
) -> Callable[..., Tensor]:
    """Returns an answer that makes its numbers of the gradients `[B, P]`: the shape of every wrong
    one.
    """

    def answer(critic, images):
        images = images.detach().requires_grad_()
        scores = total(critic(images))
        (gradients,) = torch.autograd.grad(scores, images, create_graph=create_graph)
        return reduce(gradients.flatten(1))

    return answer


_NORM_FAULTS: dict[str, Callable[..., Tensor]] = {
    MEAN_SCORE: _from_gradients(lambda g: g.norm(dim=1), total=torch.mean),
    SQUARED: _from_gradients(lambda g: g.square().sum(1)),
    PIXEL_MEAN: _from_gradients(lambda g: g.square().mean(1).sqrt()),
    WHOLE_BATCH: _from_gradients(lambda g: g.norm()),
    BATCH_MEAN: _from_gradients(lambda g: g.norm(dim=1).mean()),
    ABSOLUTE: _from_gradients(lambda g: g.abs().sum(1)),
    LARGEST: _from_gradients(lambda g: g.abs().amax(1)),
}


def _critic(num_pixels: int) -> nn.Module:
    """Returns a small critic with the same weights every time."""
    critic = nn.Sequential(
        nn.Flatten(), nn.Linear(num_pixels, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)
    )
    with torch.no_grad():
        for place, parameter in enumerate(critic.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=make_rng(6, 4, place)))
    return critic


def _check_gradient_norms(answer: Any) -> None:
    for case, shape in enumerate(((5, 1, 4, 4), (1, 3, 2, 2), (6, 1))):
        images = torch.rand(shape, generator=make_rng(6, 5, case))
        tried, right = (_critic(math.prod(shape[1:])) for _ in range(2))
        norms, expected = answer(tried, images.clone()), _gradient_norms(right, images)
        if not isinstance(norms, Tensor):
            raise Wrong(f"Expected a tensor of lengths [{shape[0]}], got {kind_of(norms)}.")
        _compare_norms(norms, expected, right, images)
        if norms.requires_grad:
            norms.sum().backward()
        expected.sum().backward()
        for mine, theirs in zip(tried.parameters(), right.parameters(), strict=True):
            both = (torch.zeros_like(p) if p.grad is None else p.grad for p in (mine, theirs))
            if not torch.allclose(*both, rtol=1e-3, atol=1e-5):
                raise Wrong(LAZY)


def _compare_norms(norms: Tensor, expected: Tensor, critic: nn.Module, images: Tensor) -> None:
    """Raises `Wrong` with what the values point to."""
    for message, wrong in _NORM_FAULTS.items():
        values = wrong(critic, images)
        is_right = values.shape == expected.shape and torch.allclose(values, expected, rtol=1e-4)
        if not is_right and values.shape == norms.shape and torch.allclose(values, norms, 1e-4):
            raise Wrong(message)
    if norms.shape != expected.shape:
        raise Wrong(f"Expected lengths of shape {list(expected.shape)}, got {list(norms.shape)}.")
    require_finite(norms)
    if not torch.allclose(norms, expected, rtol=1e-3, atol=1e-6):
        raise Wrong(
            f"The first length should be {expected[0].item():.4g}, got {norms[0].item():.4g}."
        )


GRADIENT_NORMS = Exercise(
    id="06.gradient_norms",
    question=(
        "Return the length of the gradient of each image's score by its pixels, [B], so that it can"
        " be differentiated once more."
    ),
    solution=_gradient_norms,
    check=_check_gradient_norms,
    why=(
        "The gradient of the sum of the scores holds one gradient for each image, because no score"
        " depends on another image. Penalties on it need a second derivative."
    ),
    mistakes=(
        Mistake(_from_gradients(lambda g: g.norm(dim=1), create_graph=False), LAZY),
        *(Mistake(answer, message) for message, answer in _NORM_FAULTS.items()),
    ),
    hints=(
        "images = images.detach().requires_grad_() makes a copy that autograd can differentiate"
        " by.",
        "(gradients,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)",
        "The length: the root of the sum of squares over all axes but the first.",
    ),
)

EXERCISES = (
    GENERATOR,
    DISCRIMINATOR,
    D_LOSSES,
    G_LOSSES,
    SLOPES,
    STEP,
    EMA,
    MODES,
    GRADIENT_NORMS,
    *HUNT_EXERCISES,
)
