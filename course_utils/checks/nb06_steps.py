"""The exercises of notebook 06 whose answers are judged by their gradients too: the discriminator's step and a gradient penalty.

A wrong gradient can come with the right value, so these have a check of their own that looks at both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checks.exercise import Exercise, Mistake, Wrong
from course_utils.device import make_rng

LEAK = (
    "The value is right, but the generator got gradients too: this step would teach it to make images that are easy to tell apart. "
    "Cut the graph between generator and discriminator."
)
DEAF = "The value is right, but the discriminator gets no gradient from the generated images. Detach the images, not the scores."
SWAPPED = "The labels are swapped: your discriminator learns to call generated images real."
MIXED = (
    "Real and generated images went through D as one batch. Its batch norm then mixes their statistics; pass them one after the other, "
    "each as a batch of its own."
)
HALVED = "Each half was averaged, then both were averaged again. The two halves of the game's value add up."
ONLY_REAL = "Only the real images count. D would call everything real."
ONLY_FAKE = "Only the generated images count. D would call everything generated."
NEGATIVE = "This is the value of the game, which D raises. A loss is made small: the sign is missing."

LAZY = "The value is right, but it has no gradient with respect to D's weights, so training ignores it: differentiate with create_graph=True."
WGAN_GP = "This is the penalty of WGAN-GP, which pulls the length of the gradient to 1. R1 pulls it to 0."
NOT_SQUARED = "You penalised the length. Its square is asked for, whose gradient fades as the length does."
PIXEL_MEAN = "You averaged over the pixels. The squared length of a gradient is the sum over its pixels."
NO_HALF = "Every value is twice what it should be: the penalty has a factor 1/2."
MEAN_SCORE = "You differentiated the mean of the scores, which divides every gradient by the number of images. Differentiate their sum."
BATCH_SUM = "You summed over the images. Average over them, as the loss does."


class Networks(NamedTuple):
    """What an answer is tried on: two small networks, five images, noise."""

    generator: nn.Module
    discriminator: nn.Module
    images: Tensor
    z: Tensor


def networks() -> Networks:
    """Returns fresh networks with the same weights every time; the discriminator has batch norm and takes images `[B, 1, 4, 4]`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        generator = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))
        head = [nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)]
        discriminator = nn.Sequential(nn.Flatten(), *head)
    rng = make_rng(6, 4)
    return Networks(generator, discriminator, torch.rand(5, 1, 4, 4, generator=rng), torch.randn(5, 3, generator=rng))


def _loss(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _discriminator_loss(generator, discriminator, images: Tensor, z: Tensor) -> Tensor:
    fakes = generator(z).detach()
    real, fake = discriminator(images), discriminator(fakes)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _one_batch(generator, discriminator, images: Tensor, z: Tensor) -> Tensor:
    return _loss(*discriminator(torch.cat([images, generator(z).detach()])).chunk(2))


# wrong value: an answer that gives it
DISCRIMINATOR_VALUES = {
    SWAPPED: lambda g, d, x, z: _loss(d(g(z).detach()), d(x)),
    MIXED: _one_batch,
    HALVED: lambda g, d, x, z: _discriminator_loss(g, d, x, z) / 2,
    ONLY_REAL: lambda g, d, x, z: F.softplus(-d(x)).mean(),
    ONLY_FAKE: lambda g, d, x, z: F.softplus(d(g(z).detach())).mean(),
    NEGATIVE: lambda g, d, x, z: -_discriminator_loss(g, d, x, z),
}


def _check_discriminator(answer) -> None:
    tried, right = networks(), networks()
    value, expected = answer(*tried), _discriminator_loss(*right)
    _check_value(value, expected, {message: wrong(*networks()) for message, wrong in DISCRIMINATOR_VALUES.items()})
    if value.requires_grad:
        value.backward()
    expected.backward()
    if any(p.grad is not None and p.grad.abs().max() > 0 for p in tried.generator.parameters()):
        raise Wrong(LEAK)
    _check_gradients(tried.discriminator, right.discriminator, DEAF)


DISCRIMINATOR = Exercise(
    id="06.discriminator",
    question="Return the loss of one discriminator step on a batch, so that backward() reaches the discriminator alone.",
    solution=_discriminator_loss,
    check=_check_discriminator,
    why="Each step moves one player: the images are constants to the discriminator, however they were made.",
    mistakes=(
        Mistake(lambda g, d, x, z: _loss(d(x), d(g(z))), LEAK),
        Mistake(lambda g, d, x, z: _loss(d(x), d(g(z)).detach()), DEAF),
        *(Mistake(answer, message) for message, answer in DISCRIMINATOR_VALUES.items()),
    ),
    hints=(
        "fakes = generator(z), then two calls of discriminator: one for the real images, one for the generated ones.",
        "-log D(x) = F.softplus(-score) and -log(1 - D(x)) = F.softplus(score).",
        "`.detach()` returns the same numbers as constants. Where does it have to stand?",
    ),
)


def _gradients(scores: Tensor, images: Tensor, create_graph: bool = True) -> Tensor:
    (gradients,) = torch.autograd.grad(scores, images, create_graph=create_graph)
    return gradients.flatten(1)


def _r1(discriminator, images: Tensor) -> Tensor:
    images = images.detach().requires_grad_()
    (gradients,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return 0.5 * gradients.flatten(1).square().sum(1).mean()


def _from_gradients(reduce, total=torch.sum, create_graph: bool = True):
    """Returns an answer that makes its number of the gradients `[B, P]`: the shape of every wrong one."""

    def answer(discriminator, images: Tensor) -> Tensor:
        images = images.detach().requires_grad_()
        return reduce(_gradients(total(discriminator(images)), images, create_graph))

    return answer


PENALTY_VALUES = {
    WGAN_GP: _from_gradients(lambda g: (g.norm(dim=1) - 1).square().mean()),
    NOT_SQUARED: _from_gradients(lambda g: 0.5 * g.norm(dim=1).mean()),
    PIXEL_MEAN: _from_gradients(lambda g: 0.5 * g.square().mean(1).mean()),
    NO_HALF: _from_gradients(lambda g: g.square().sum(1).mean()),
    MEAN_SCORE: _from_gradients(lambda g: 0.5 * g.square().sum(1).mean(), total=torch.mean),
    BATCH_SUM: _from_gradients(lambda g: 0.5 * g.square().sum()),
}


def _check_penalty(answer) -> None:
    tried, right = (_penalty_networks() for _ in range(2))
    value, expected = answer(tried.discriminator, tried.images), _r1(right.discriminator, right.images)
    known = {message: wrong(right.discriminator, right.images) for message, wrong in PENALTY_VALUES.items()}
    _check_value(value, expected, known)
    if value.requires_grad:
        value.backward()
    expected.backward()
    _check_gradients(tried.discriminator, right.discriminator, LAZY)


def _penalty_networks() -> Networks:
    """Returns the networks with the batch norm in evaluation mode: each score then depends on its own image alone."""
    fresh = networks()
    fresh.discriminator.eval()
    return fresh


PENALTY = Exercise(
    id="06.penalty",
    question="Return the R1 penalty: half of the squared length of the gradient of D's score by the image, averaged over the real images.",
    solution=_r1,
    check=_check_penalty,
    why="Near real images D gets a gentle slope, so the generator is pulled towards them without overshooting.",
    mistakes=(
        Mistake(_from_gradients(lambda g: 0.5 * g.square().sum(1).mean(), create_graph=False), LAZY),
        *(Mistake(answer, message) for message, answer in PENALTY_VALUES.items()),
    ),
    hints=(
        "images = images.detach().requires_grad_() makes a copy that autograd can differentiate by.",
        "(gradients,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)",
        "Squared length: the sum of squares over the pixels of one image.",
    ),
)


def _check_value(value, expected: Tensor, known: Mapping[str, Tensor]) -> None:
    if not isinstance(value, Tensor) or value.ndim > 0:
        got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise Wrong(f"Expected one number for the batch, a tensor without axes, got {got}.")
    if torch.allclose(value, expected, rtol=1e-4):
        return
    for message, wrong in known.items():
        if torch.allclose(value, wrong, rtol=1e-4):
            raise Wrong(message)
    raise Wrong(f"Your {value.item():.4g} is too {'large' if value > expected else 'small'}.")


def _check_gradients(tried: nn.Module, right: nn.Module, message: str) -> None:
    """Raises unless every weight of two networks got the same gradient."""
    for mine, theirs in zip(tried.parameters(), right.parameters(), strict=True):
        both = (torch.zeros_like(p) if p.grad is None else p.grad for p in (mine, theirs))
        if not torch.allclose(*both, rtol=1e-3, atol=1e-6):
            raise Wrong(message)
