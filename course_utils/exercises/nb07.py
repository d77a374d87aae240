"""The exercises of notebook 07, in which the learner writes a diffusion model: noising, time
embedding, FiLM, the way through a U-Net, loss, sampler and guidance; and for the sections that may
be skipped the score and a step of DDIM.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.device import make_rng
from course_utils.data.strokes import make_strokes
from course_utils.exercises.hunt_07 import HUNT_EXERCISES
from course_utils.exercises.judge import (
    Exercise,
    Mistake,
    Wrong,
    fixed_torch_seed,
    kind_of,
    require_attempt,
    require_finite,
    require_repeatable,
)

# ------------------------------------------------------------------ noising


def _noised(x0, noise, t):
    t = t[:, None, None, None]
    return (1 - t) * x0 + t * noise, noise - x0


def _noising_cases() -> list[tuple]:
    """Square images of as many pixels a side as there are images, one colour image, both ends."""
    rng = make_rng(7, 3)

    def case(shape: tuple[int, ...], times: list[float]) -> tuple:
        x0, noise = (torch.randn(shape, generator=rng) for _ in range(2))
        return x0, noise, torch.tensor(times)

    return [
        case((4, 1, 4, 4), [0.1, 0.4, 0.6, 0.9]),
        case((1, 3, 2, 5), [0.3]),
        case((2, 1, 3, 3), [0.0, 1.0]),
    ]


def _pair_with(
    mix: Callable[..., Tensor] | None = None, target: Callable[..., Tensor] | None = None
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Returns an answer with another x_t or another target: what most wrong ones look like."""

    def answer(x0, noise, t):
        t = t[:, None, None, None]
        right = (1 - t) * x0 + t * noise, noise - x0
        return (
            right[0] if mix is None else mix(x0, noise, t),
            right[1] if target is None else target(x0, noise, t),
        )

    return answer


NOISING = Exercise(
    id="07.noising",
    question=(
        "Return x_t on the straight line from the image (t = 0) to the noise (t = 1), and its"
        " velocity dx_t/dt, for images [B, C, H, W] and one time for each, [B]."
    ),
    solution=_noised,
    cases=_noising_cases,
    why=(
        "Any noise level is reached in one jump, and the velocity of a straight line is the same at"
        " all times."
    ),
    mistakes=(
        Mistake(
            lambda x0, noise, t: _noised(x0, noise, t)[::-1],
            "The two are swapped: x_t comes first, then the velocity.",
        ),
        Mistake(
            _pair_with(target=lambda x0, noise, t: x0 - noise),
            "The sign of the velocity is wrong: as t grows, x_t moves from the image to the noise.",
        ),
        Mistake(
            _pair_with(target=lambda x0, noise, t: noise),
            "Your velocity is the noise alone. Differentiate x_t by t: two terms remain.",
        ),
        Mistake(
            _pair_with(target=lambda x0, noise, t: -x0),
            "Your velocity is that of the image's share alone. Differentiate both terms of x_t by"
            " t.",
        ),
        Mistake(
            _pair_with(target=lambda x0, noise, t: (1 - t) * noise - t * x0),
            "(1 - t) noise - t image is no derivative of this line: differentiate x_t by t, with"
            " image and noise fixed.",
        ),
        Mistake(
            _pair_with(mix=lambda x0, noise, t: t * x0 + (1 - t) * noise),
            "At t = 0 your x_t is the noise, but your velocity belongs to a line that begins at the"
            " image. Here t counts the noise.",
        ),
        Mistake(
            _pair_with(
                lambda x0, noise, t: t * x0 + (1 - t) * noise, lambda x0, noise, t: x0 - noise
            ),
            "Your line runs from the noise at t = 0 to the image at t = 1. Many papers write it so;"
            " here t counts the noise.",
        ),
        Mistake(
            lambda x0, noise, t: ((1 - t) * x0 + t * noise, noise - x0),
            "Your times act on columns of pixels and not on images. t has the shape [B], the images"
            " [B, C, H, W]: give t three more axes.",
        ),
        Mistake(
            lambda x0, noise, t: ((1 - t[:, None]) * x0 + t[:, None] * noise, noise - x0),
            "Your times act on rows of pixels and not on images. t needs three more axes, one for"
            " each axis of an image.",
        ),
        Mistake(
            _pair_with(mix=lambda x0, noise, t: (1 - t**2).sqrt() * x0 + t * noise),
            "Your two shares are those of a circle: their squares add up to 1. On a straight line"
            " the shares themselves do.",
        ),
        Mistake(
            _pair_with(mix=lambda x0, noise, t: (1 - t).sqrt() * x0 + t.sqrt() * noise),
            "You took square roots of the shares. A straight line has 1 - t and t.",
        ),
        Mistake(
            lambda x0, noise, t: _noised(x0, noise, t)[0],
            "You returned x_t alone. The velocity, which is what the network learns, comes second.",
        ),
        Mistake(
            lambda x0, noise, t: _noised(x0, noise, t.mean().expand(len(t))),
            "You gave all images of the batch one time. Each has its own.",
        ),
    ),
    hints=(
        "A straight line between two places: at t = 0 only the image counts, at t = 1 only the"
        " noise.",
        "t[:, None, None, None] makes [B] into [B, 1, 1, 1].",
        "The derivative of (1 - t) x0 + t noise by t has no t in it.",
    ),
)

# ------------------------------------------------------------------ time embedding


def _time_embedding(t, dim):
    frequencies = 1000 * torch.logspace(0, -4, dim // 2)  # from 1000 down to 0.1
    angles = t[:, None] * frequencies  # [B, dim // 2]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


FEATURES, GRID = 64, 1001
STEP = 3  # of the grid between times that have to look different
TOLD_APART, EQUAL = 0.05, 1e-4
NO_TIME = "Your numbers do not depend on t."
TIMES_ALIKE = (
    "Times 0.500 and 0.503 get nearly the same numbers, so the network could not tell them apart. t"
    " lies between 0 and 1: multiply it, so that the fastest sine turns many times on the way."
)
NO_SINE = (
    "Some of your numbers lie outside [-1, 1], so they are no sines. Large numbers upset a network;"
    " take the sine and the cosine of the angles."
)
ONLY_HALF = (
    "You return dim // 2 numbers for each time. With sines and cosines side by side there are dim."
)
TURNED = "Rows and columns are swapped: one row for each time, [B, dim]."
EQUAL_COLUMNS = (
    "Some of your columns are equal, so they say nothing new. Each frequency gives one sine and one"
    " cosine, and all frequencies differ."
)
TIMES_RETURN = (
    "Different times get the same numbers, because all your sines come back to where they were."
    " Add slow ones, of which the slowest does not finish one turn between t = 0 and t = 1."
)
RANDOM_TIMES = "Two calls with the same times give different numbers. Choose fixed frequencies."
BATCH_TIMES = "The numbers of one time depend on the other times of the batch."


def _check_time(answer: Any) -> None:
    """The frequencies are free; what they have to do is checked."""
    for num, dim in ((5, FEATURES), (1, 8), (3, 2)):
        out = answer(torch.linspace(0, 1, num), dim)
        if not isinstance(out, Tensor):
            raise Wrong(f"Expected a tensor [{num}, {dim}], got {kind_of(out)}.")
        if out.shape == (num, dim // 2):
            raise Wrong(ONLY_HALF)
        if out.shape == (dim, num):
            raise Wrong(TURNED)
        if out.shape != (num, dim):
            raise Wrong(
                f"For {num} times and dim = {dim} the result should have the shape [{num}, {dim}],"
                f" got {list(out.shape)}."
            )
        require_finite(out)
    t = torch.linspace(0, 1, GRID)
    _check_features(answer, t, answer(t, FEATURES).double())


def _check_features(answer: Any, t: Tensor, out: Tensor) -> None:
    if not torch.equal(answer(t, FEATURES).double(), out):
        raise Wrong(RANDOM_TIMES)
    if not torch.allclose(answer(t[300:301], FEATURES).double(), out[300:301], atol=1e-3):
        raise Wrong(BATCH_TIMES)
    if out.abs().max() > 1.0001:
        raise Wrong(NO_SINE)
    if out.std(0).max() < EQUAL:
        raise Wrong(NO_TIME)
    if (out[500] - out[500 + STEP]).norm() < TOLD_APART:
        raise Wrong(TIMES_ALIKE)
    distances = torch.cdist(out, out) + torch.eye(GRID)
    if distances.min() < TOLD_APART:
        raise Wrong(TIMES_RETURN)
    columns = torch.cdist(out.T, out.T) / GRID**0.5 + torch.eye(FEATURES)
    if columns.min() < EQUAL:
        raise Wrong(EQUAL_COLUMNS)


def _features_with(
    frequencies: Callable[[int], Tensor], waves: tuple[str, ...] = ("sin", "cos")
) -> Callable[..., Tensor]:
    """Returns an answer with other frequencies or other waves of the angles."""

    def answer(t, dim):
        angles = t[:, None] * frequencies(dim // 2)
        return torch.cat([getattr(angles, wave)() for wave in waves], dim=1)

    return answer


def _frequencies(num: int) -> Tensor:
    return 1000 * torch.logspace(0, -4, num)


TIME_EMBEDDING = Exercise(
    id="07.time_embedding",
    question=(
        "Return dim numbers for each time, [B, dim]: the sines and the cosines of t at dim // 2"
        " frequencies that you choose."
    ),
    solution=_time_embedding,
    check=_check_time,
    why=(
        "The fast sines tell neighbouring times apart, and the slow ones say in which part of the"
        " way a time lies."
    ),
    mistakes=(
        Mistake(lambda t, dim: torch.ones(len(t), dim), NO_TIME),
        Mistake(_features_with(lambda num: torch.logspace(0, -4, num)), TIMES_ALIKE),
        Mistake(_features_with(_frequencies, ("abs", "neg")), NO_SINE),
        Mistake(_features_with(_frequencies, ("sin",)), ONLY_HALF),
        Mistake(lambda t, dim: _time_embedding(t, dim).T, TURNED),
        Mistake(_features_with(_frequencies, ("sin", "sin")), EQUAL_COLUMNS),
        Mistake(_features_with(lambda num: 200 * math.pi * torch.arange(1, num + 1)), TIMES_RETURN),
        Mistake(_features_with(lambda num: 1000 * torch.rand(num)), RANDOM_TIMES),
        Mistake(lambda t, dim: _time_embedding(t - t.mean(), dim), BATCH_TIMES),
    ),
    hints=(
        "Between t = 0 and t = 1 the fastest sine should turn about a hundred times, the slowest"
        " not even once.",
        "torch.logspace(0, -4, dim // 2) gives factors from 1 down to 1/10,000. Times 1,000 they"
        " serve well.",
        "t[:, None] * frequencies is a table of angles, [B, dim // 2]; torch.cat puts sines and"
        " cosines side by side.",
    ),
)

# ------------------------------------------------------------------ FiLM


def _film(h, scale_and_shift):
    scale, shift = scale_and_shift[:, :, None, None].chunk(2, dim=1)  # [B, C, 1, 1] each
    return (1 + scale) * h + shift


def _film_cases() -> list[tuple]:
    rng = make_rng(7, 10)
    return [
        (torch.randn(shape, generator=rng), torch.randn(shape[0], 2 * shape[1], generator=rng))
        for shape in ((4, 4, 4, 4), (2, 3, 4, 5), (1, 1, 2, 2))
    ]


def _film_with(combine: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns an answer that does something else with scale and shift, `[B, C, 1, 1]` each."""

    def answer(h, scale_and_shift):
        scale, shift = scale_and_shift[:, :, None, None].chunk(2, dim=1)
        return combine(h, scale, shift)

    return answer


def _film_on_pixels(h, scale_and_shift):
    scale, shift = scale_and_shift.chunk(2, dim=1)
    return (1 + scale) * h + shift


def _film_interleaved(h, scale_and_shift):
    both = scale_and_shift[:, :, None, None]
    return (1 + both[:, ::2]) * h + both[:, 1::2]


FILM = Exercise(
    id="07.film",
    question=(
        "Return the feature maps with each channel multiplied by 1 + its scale, and its shift added"
        " to it."
    ),
    solution=_film,
    cases=_film_cases,
    gradients=(0, 1),
    why=(
        "Two numbers for each channel are all that time and label say to a block, and they are"
        " enough. Where they are 0, the features pass unchanged."
    ),
    mistakes=(
        Mistake(
            _film_with(lambda h, scale, shift: scale * h + shift),
            "You multiplied by the scale alone. A fresh layer gives scales near 0, which would"
            " erase the features: multiply by 1 + scale.",
        ),
        Mistake(
            _film_with(lambda h, scale, shift: (1 + shift) * h + scale),
            "The halves are swapped: the first C numbers are the scales.",
        ),
        Mistake(
            _film_with(lambda h, scale, shift: h + shift),
            "The scale is missing: you only add the shift.",
        ),
        Mistake(
            _film_with(lambda h, scale, shift: (1 + scale) * h),
            "The shift is missing: you only multiply.",
        ),
        Mistake(
            _film_with(lambda h, scale, shift: (1 + scale) * (h + shift)),
            "You add the shift first, so that it is scaled too. Scale, then shift.",
        ),
        Mistake(
            _film_with(lambda h, scale, shift: scale.exp() * h + shift),
            "You multiply by exp(scale). That is near 1 + scale for small scales only.",
        ),
        Mistake(
            _film_with(lambda h, scale, shift: (1 - scale) * h + shift),
            "You subtract the scale from 1.",
        ),
        Mistake(
            _film_on_pixels,
            "Your scales act on columns of pixels. They have the shape [B, C], the features [B, C,"
            " H, W]: give them two more axes.",
        ),
        Mistake(
            _film_interleaved,
            "You took every second number for a scale. The first C numbers are scales, the last C"
            " shifts: chunk(2, dim=1).",
        ),
        Mistake(
            _film_with(lambda h, scale, shift: (1 + scale).mean(1, keepdim=True) * h + shift),
            "You averaged the scales. Each channel has its own.",
        ),
    ),
    hints=(
        "scale_and_shift.chunk(2, dim=1) gives two tensors [B, C].",
        "[:, :, None, None] makes [B, C] into [B, C, 1, 1], which fits every pixel of a channel.",
    ),
)

# ------------------------------------------------------------------ the way through the U-Net


def _route(net, x, embedding):
    skip = net.down(net.stem(x), embedding)  # full size
    h = net.deep2(net.deep1(net.shrink(skip), embedding), embedding)  # half of it
    h = torch.cat([net.grow(h), skip], dim=1)  # full size, twice the channels
    return net.out(net.up(h, embedding))


class ChannelsDoNotFit(ValueError):
    """Told apart from the errors of torch, so that it gets a message of its own."""


class _TinyBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv, self.told = nn.Conv2d(before, after, 1), nn.Linear(3, after)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        taken = self.conv.in_channels
        if x.shape[1] != taken:
            raise ChannelsDoNotFit(f"a block that takes {taken} channels got {x.shape[1]}")
        return torch.tanh(self.conv(x) + self.told(embedding)[:, :, None, None])


class _TinyUNet(nn.Module):
    """The layers of the notebook's U-Net, very small. `up` treats both halves of its input alike,
    so that the order in which they are put together does not matter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.out = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 2, 1)
        self.down, self.up = _TinyBlock(3, 3), _TinyBlock(6, 3)
        self.deep1, self.deep2 = _TinyBlock(4, 4), _TinyBlock(4, 4)
        self.shrink = nn.Conv2d(3, 4, 2, stride=2)
        self.grow = nn.ConvTranspose2d(4, 3, 2, stride=2)
        with torch.no_grad():
            for place, parameter in enumerate(self.parameters()):
                rng = make_rng(7, 11, place)
                parameter.copy_(torch.randn(parameter.shape, generator=rng))
            self.up.conv.weight[:, :3] = self.up.conv.weight[:, 3:]


def _route_cases() -> list[tuple]:
    rng = make_rng(7, 12)
    return [
        (_TinyUNet(), torch.randn(shape, generator=rng), torch.randn(shape[0], 3, generator=rng))
        for shape in ((2, 2, 4, 4), (1, 2, 8, 6))
    ]


def _route_with(
    skip_of: Callable[..., Tensor] | None = None,
    deep: Callable[..., Tensor] | None = None,
    join: Callable[..., tuple[Tensor, Tensor]] | None = None,
    last: Callable[..., Tensor] | None = None,
) -> Callable[..., Tensor]:
    """Returns an answer with one part of the way changed: what wrong ones look like."""

    def answer(net, x, embedding):
        down = net.down(net.stem(x), embedding)
        skip = down if skip_of is None else skip_of(net, x, embedding)
        h = net.shrink(down)
        if deep is None:
            h = net.deep2(net.deep1(h, embedding), embedding)
        else:
            h = deep(net, h, embedding)
        pair = (net.grow(h), skip) if join is None else join(net.grow(h), skip)
        out = net.out(net.up(torch.cat(pair, dim=1), embedding))
        return out if last is None else last(out, x)

    return answer


def _route_without_skip(net, x, embedding):
    h = net.deep2(net.deep1(net.shrink(net.down(net.stem(x), embedding)), embedding), embedding)
    return net.out(net.up(net.grow(h), embedding))


ROUTE = Exercise(
    id="07.route",
    question=(
        "Send x through the layers of the U-Net: down, through the deep blocks at half the size, up"
        " again, and join what came down with what comes up."
    ),
    solution=_route,
    cases=_route_cases,
    gradients=(1, 2),
    why=(
        "The deep blocks see the whole digit, and the skip brings the place of every edge. Both"
        " were checked, and so was the gradient through them."
    ),
    mistakes=(
        Mistake(
            _route_without_skip,
            "A block got another number of channels than it takes. `up` takes what `grow` returns"
            " and the skip side by side: torch.cat([...], dim=1).",
        ),
        Mistake(
            _route_with(join=lambda grown, skip: (grown, grown)),
            "You joined the grown features with themselves, so the details that came down are lost:"
            " join them with what `down` returned.",
        ),
        Mistake(
            _route_with(join=lambda grown, skip: (skip, skip)),
            "You joined the skip with itself, so what the deep blocks found is thrown away.",
        ),
        Mistake(
            _route_with(skip_of=lambda net, x, embedding: net.stem(x)),
            "Your skip leaves before the block `down`. It carries what `down` returned, which knows"
            " time and label.",
        ),
        Mistake(
            _route_with(deep=lambda net, h, embedding: net.deep1(h, embedding)),
            "The block `deep2` is never used.",
        ),
        Mistake(
            _route_with(deep=lambda net, h, embedding: net.deep2(h, embedding)),
            "The block `deep1` is never used.",
        ),
        Mistake(_route_with(deep=lambda net, h, embedding: h), "Neither deep block is used."),
        Mistake(
            _route_with(
                deep=lambda net, h, embedding: net.deep1(net.deep2(h, embedding), embedding)
            ),
            "The deep blocks stand in the wrong order: `deep1` comes first.",
        ),
        Mistake(
            lambda net, x, embedding: _route(net, x, torch.zeros_like(embedding)),
            "The blocks do not get the embedding, so they know neither time nor label.",
        ),
        Mistake(
            _route_with(last=lambda out, x: out + x),
            "You add the input at the end. Return what `out` gives.",
        ),
        Mistake(
            _route_with(last=lambda out, x: torch.tanh(out)),
            "You squash the result between -1 and 1. A velocity may be larger, up to the noise plus"
            " 1.",
        ),
    ),
    hints=(
        "Four lines: stem and down (keep the result as skip), shrink and the deep blocks, grow and"
        " join, up and out.",
        "torch.cat([net.grow(h), skip], dim=1) puts the channels of both behind each other.",
    ),
)

# ------------------------------------------------------------------ the loss


def _diffusion_loss(network, x0, labels, rng):
    t = torch.randn(len(x0), generator=rng).sigmoid()
    noise = torch.randn(x0.shape, generator=rng)
    along = t[:, None, None, None]
    xt, velocity = (1 - along) * x0 + along * noise, noise - x0
    hidden = torch.rand(len(x0), generator=rng) < 0.1
    given = torch.where(hidden, network.num_classes, labels)
    return (network(xt, t, given) - velocity).square().mean((1, 2, 3))


class _Probe(nn.Module):
    """A network that remembers what it was asked, and answers something simple."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight = nn.Parameter(torch.tensor(0.4))
        self.asked: list[tuple[Any, Any, Any]] = []

    def forward(self, xt: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        self.asked.append((xt, t, labels))
        return self.weight * xt + 0.3 * self.weight


NUM_LOSSES, SHARE = 3000, 0.1
NOT_ASKED = "You never ask the network. Call network(xt, t, labels)."
ASKED_OFTEN = "You ask the network {num} times. One call for the whole batch is enough."
ONE_TIME = (
    "All images of the batch get the same t. Draw one for each, so that a batch looks at many noise"
    " levels."
)
TIMES_OUTSIDE = (
    "Some of your times lie outside 0 to 1. torch.rand gives numbers between 0 and 1; torch.randn"
    " needs a sigmoid."
)
SAME_DRAWS = "Your draws are the same for every rng. Pass it on: generator=rng."
NOISE_SHARED = "All images of the batch get the same noise. It has the shape of x0."
NOT_NORMAL = (
    "The noise in x_t has the mean {mean:.2f} and the standard deviation {std:.2f}, where N(0, 1)"
    " has 0 and 1. torch.randn draws from it."
)
TOLD_OTHER_TIME = (
    "What the network sees is not (1 - t) x0 + t noise for the t that it is told: x_t was made with"
    " another t, or by another formula."
)
NOISE_OF_IMAGE = "All pixels of an image get the same noise. It has the shape of x0."
CLEAN = "The network sees x0, without any noise. It is asked about x_t."
REVERSED = (
    "Your x_t is the noise at t = 0 and the image at t = 1. Here t counts the noise, as in"
    " 07.noising."
)
ALL_SHOWN = (
    "No label was ever hidden, so the network does not learn to answer without one, and guidance"
    " will have nothing to compare with."
)
ALL_HIDDEN = "Every label was hidden, so the network never learns what a label means."
WHOLE_BATCH = "You hide the labels of the whole batch or none. Decide for each image."
HIDDEN_AS_ZERO = (
    "Hidden labels became 0, which is a class of its own. Use network.num_classes, the number"
    " behind the last class."
)
OTHER_LABELS = (
    "Some labels turned into other classes. A label stays as it is or becomes network.num_classes."
)
SHOWN_SHARE = "You hid the labels that should stay: nine in ten are hidden."
FIRST_PLACES = (
    "The same places of the batch are hidden every time. Choose them at random, with rng."
)
IN_PLACE = (
    "You changed the labels that were given to you, so they are lost for the next step. Use"
    " torch.where, which makes a new tensor."
)
LOSS_SHAPE = "Return one loss for each image, [B], so that they can be looked at one by one."
LOSS_SUM = "You added up the pixels. Take their mean, so that the size of the image plays no part."
WRONG_TARGETS = {
    "velocity, reversed": (
        "The target has the wrong sign: the velocity of x_t is noise - image.",
        lambda x0, noise, xt: x0 - noise,
    ),
    "noise": (
        "The target is the noise. This network predicts the velocity, noise - image.",
        lambda x0, noise, xt: noise,
    ),
    "image": (
        "The target is the image. This network predicts the velocity, noise - image.",
        lambda x0, noise, xt: x0,
    ),
    "x_t": (
        "The target is x_t, which the network sees already. It predicts the velocity.",
        lambda x0, noise, xt: xt,
    ),
}
NOT_SQUARED = "You took the absolute error. A mean as answer needs the squared one."
ROOT = "You took the root of the mean squared error. Return the mean of the squares."
NO_GRADIENT = (
    "No gradient reaches the network, so it could not be trained. Is there a detach() or a"
    " no_grad() in it?"
)


def _asked(answer: Any, shape: tuple[int, ...], num_classes: int, seed: int) -> tuple:
    """Returns x0, labels, what the network was asked (x_t, t, labels), the losses and the
    network, of one call of a learner's loss.
    """
    rng = make_rng(7, 13, seed)
    x0 = 2 * torch.rand(shape, generator=rng) - 1
    labels = torch.arange(shape[0]) % num_classes
    given, network = labels.clone(), _Probe(num_classes)
    losses = answer(network, x0, given, make_rng(7, 14, seed))
    require_attempt(losses)
    if not torch.equal(given, labels):
        raise Wrong(IN_PLACE)
    if not network.asked:
        raise Wrong(NOT_ASKED)
    if len(network.asked) > 1:
        raise Wrong(ASKED_OFTEN.format(num=len(network.asked)))
    xt, t, told = network.asked[0]
    for name, value, wanted in (
        ("xt", xt, shape),
        ("t", t, shape[:1]),
        ("labels", told, shape[:1]),
    ):
        if not isinstance(value, Tensor) or tuple(value.shape) != tuple(wanted):
            raise Wrong(
                f"The network should get {name} of the shape {list(wanted)}, got {kind_of(value)}."
            )
    return x0, labels, (xt, t, told), losses, network


def _check_loss(answer: Any) -> None:
    """The order of the draws and the distribution of t are free; what is done with them is
    checked.
    """
    x0, labels, (xt, t, told), losses, network = _asked(answer, (NUM_LOSSES, 1, 2, 3), 10, 0)
    if t.min() < 0 or t.max() > 1:
        raise Wrong(TIMES_OUTSIDE)
    if t.std() < 1e-3:
        raise Wrong(ONE_TIME)
    again = _asked(answer, (NUM_LOSSES, 1, 2, 3), 10, 1)
    _check_mixture(x0, xt, t)
    if torch.equal(again[2][1], t):
        raise Wrong(SAME_DRAWS)
    hidden = _check_hidden(labels, told, 10)
    other_hidden = _check_hidden(again[1], again[2][2], 10)
    if torch.equal(hidden, other_hidden):
        raise Wrong(FIRST_PLACES)
    for shape, num_classes in (((1, 3, 4, 2), 3), ((40, 1, 4, 4), 3)):
        small = _asked(answer, shape, num_classes, 2)
        _check_hidden(small[1], small[2][2], num_classes, count=False)
        _check_values(*small)
    _check_values(x0, labels, (xt, t, told), losses, network)
    require_repeatable(
        lambda *arguments: answer(*arguments).detach(),
        lambda: (_Probe(10), x0[:50], labels[:50].clone(), make_rng(7, 15)),
    )


def _check_mixture(x0: Tensor, xt: Tensor, t: Tensor) -> None:
    """Raises `Wrong` unless x_t is the image with normal noise of the share t."""
    if torch.equal(xt, x0):
        raise Wrong(CLEAN)
    far = (t > 0.05) & (t < 0.95)
    along = t[far][:, None, None, None]
    noise = (xt[far] - (1 - along) * x0[far]) / along
    mean, std = noise.mean().item(), noise.std().item()
    if noise.flatten(1).std(1).max() < 0.01:
        raise Wrong(NOISE_OF_IMAGE)
    if abs(mean) < 0.06 and abs(std - 1) < 0.06:
        if noise.std(0).max() < 0.1:
            raise Wrong(NOISE_SHARED)
        return
    if noise.std(0).max() < 0.1:
        raise Wrong(NOISE_SHARED)
    swapped = (xt[far] - along * x0[far]) / (1 - along)
    if abs(swapped.mean()) < 0.06 and abs(swapped.std() - 1) < 0.06:
        raise Wrong(REVERSED)
    # with the right t and formula the noise depends on neither t nor x0, whatever its distribution
    late, early = noise[t[far] > 0.5], noise[t[far] <= 0.5]
    shared = ((noise - mean) * x0[far]).mean().item() / (std * x0.std().item())
    if abs(shared) < 0.05 and abs(late.std() / early.std() - 1) < 0.05:
        raise Wrong(NOT_NORMAL.format(mean=mean, std=std))
    raise Wrong(TOLD_OTHER_TIME)


def _check_hidden(labels: Tensor, told: Tensor, null_label: int, count: bool = True) -> Tensor:
    """Returns which labels were hidden, bool `[B]`."""
    if told.is_floating_point() or told.dtype == torch.bool:
        raise Wrong(f"The labels should stay whole numbers, got {told.dtype}.")
    hidden = told != labels
    if hidden.any() and (told[hidden] == 0).all():
        raise Wrong(HIDDEN_AS_ZERO)
    if (told[hidden] != null_label).any():
        raise Wrong(OTHER_LABELS)
    share = hidden.double().mean().item()
    if count and abs(share - SHARE) > 6 * math.sqrt(SHARE * (1 - SHARE) / len(labels)):
        if share in (0.0, 1.0):
            raise Wrong(ALL_HIDDEN if share else ALL_SHOWN)
        if abs(1 - share - SHARE) < 0.03:
            raise Wrong(SHOWN_SHARE)
        raise Wrong(f"You hid {share:.1%} of the labels. One in ten was asked for.")
    return hidden


def _check_values(
    x0: Tensor, labels: Tensor, asked: tuple, losses: Tensor, network: _Probe
) -> None:
    xt, t, _ = asked
    if not isinstance(losses, Tensor):
        raise Wrong(f"{LOSS_SHAPE} Got {kind_of(losses)}.")
    if losses.numel() == x0.numel() and losses.ndim > 1:
        raise Wrong(f"You kept one loss for each pixel. {LOSS_SHAPE}")
    if tuple(losses.shape) != (len(x0),):
        raise Wrong(f"{LOSS_SHAPE} Got {kind_of(losses)}.")
    require_finite(losses)
    far = t > 0.02  # nearer to the image the noise cannot be read off x_t
    xt, x0, along = xt[far].double(), x0[far].double(), t[far, None, None, None].double()
    noise = (xt - (1 - along) * x0) / along
    out = 0.4 * xt + 0.12
    errors = (out - (noise - x0)).square()
    given = losses.detach().double()[far]

    def is_like(other: Tensor) -> bool:
        return torch.allclose(given, other, rtol=2e-2, atol=1e-3)

    if is_like(errors.flatten(1).mean(1)):
        if not losses.requires_grad:
            raise Wrong(NO_GRADIENT)
        (slope,) = torch.autograd.grad(losses.sum(), [network.weight], allow_unused=True)
        if slope is None or slope == 0:
            raise Wrong(NO_GRADIENT)
        return
    raise Wrong(_other_loss(is_like, errors, out, x0, noise, xt))


def _other_loss(
    is_like: Callable[[Tensor], bool],
    errors: Tensor,
    out: Tensor,
    x0: Tensor,
    noise: Tensor,
    xt: Tensor,
) -> str:
    """Returns the message for values that belong to another loss."""
    if is_like(errors.flatten(1).sum(1)):
        return LOSS_SUM
    if is_like(errors.sqrt().flatten(1).mean(1)):
        return NOT_SQUARED
    if is_like(errors.flatten(1).mean(1).sqrt()):
        return ROOT
    for message, target in WRONG_TARGETS.values():
        if is_like((out - target(x0, noise, xt)).square().flatten(1).mean(1)):
            return message
    if is_like(errors.mean().expand(len(x0))):
        return f"You averaged over the images too. {LOSS_SHAPE}"
    return (
        "The draws are right, but your losses are not the mean squared error of what the network"
        " answers against noise - image."
    )


def _loss_with(
    time: Callable[..., Tensor] = lambda num, rng: torch.randn(num, generator=rng).sigmoid(),
    noise_of: Callable[..., Tensor] = lambda x0, rng: torch.randn(x0.shape, generator=rng),
    mix: Callable[..., Tensor] = lambda x0, noise, along: (1 - along) * x0 + along * noise,
    told: Callable[..., Tensor] = lambda t: t,
    hide: Callable[..., Tensor] = lambda labels, null, rng: torch.where(
        torch.rand(len(labels), generator=rng) < SHARE, null, labels
    ),
    target: Callable[..., Tensor] = lambda x0, noise, xt: noise - x0,
    reduce: Callable[..., Tensor] = lambda error: error.square().mean((1, 2, 3)),
) -> Callable[..., Tensor]:
    """Returns a loss with one part changed: what wrong answers look like."""

    def answer(network, x0, labels, rng):
        t = time(len(x0), rng)
        noise = noise_of(x0, rng)
        xt = mix(x0, noise, t[:, None, None, None])
        given = hide(labels, network.num_classes, rng)
        return reduce(network(xt, told(t), given) - target(x0, noise, xt))

    return answer


def _hide_in_place(labels: Tensor, null: int, rng: torch.Generator) -> Tensor:
    labels[torch.rand(len(labels), generator=rng) < SHARE] = null
    return labels


def _hide_first(labels: Tensor, null: int, rng: torch.Generator) -> Tensor:
    return torch.where(torch.arange(len(labels)) < SHARE * len(labels), null, labels)


def _hide_with(share: float = SHARE, null: int | None = None) -> Callable[..., Tensor]:
    def hide(labels, own_null, rng):
        hidden = torch.rand(len(labels), generator=rng) < share
        return torch.where(hidden, own_null if null is None else null, labels)

    return hide


LOSS = Exercise(
    id="07.loss",
    question=(
        "Return the loss of each image, [B]: draw a time, noise and which labels are hidden (one in"
        " ten), ask the network, and take the mean squared error against the velocity."
    ),
    solution=_diffusion_loss,
    check=_check_loss,
    why=(
        "This is the whole training objective of a modern image generator. Nothing in it draws an"
        " image."
    ),
    mistakes=(
        Mistake(
            _loss_with(time=lambda num, rng: torch.rand(1, generator=rng).expand(num)), ONE_TIME
        ),
        Mistake(_loss_with(time=lambda num, rng: torch.randn(num, generator=rng)), TIMES_OUTSIDE),
        Mistake(
            _loss_with(noise_of=lambda x0, rng: torch.randn(x0[:1].shape, generator=rng)),
            NOISE_SHARED,
        ),
        Mistake(
            _loss_with(
                noise_of=lambda x0, rng: torch.randn(len(x0), 1, 1, 1, generator=rng).expand_as(x0)
            ),
            NOISE_OF_IMAGE,
        ),
        Mistake(_loss_with(told=lambda t: t.flip(0)), TOLD_OTHER_TIME),
        Mistake(_loss_with(mix=lambda x0, noise, along: x0), CLEAN),
        Mistake(
            _loss_with(mix=lambda x0, noise, along: along * x0 + (1 - along) * noise), REVERSED
        ),
        Mistake(_loss_with(hide=lambda labels, null, rng: labels), ALL_SHOWN),
        Mistake(_loss_with(hide=_hide_with(null=0)), HIDDEN_AS_ZERO),
        Mistake(_loss_with(hide=_hide_with(1 - SHARE)), SHOWN_SHARE),
        Mistake(_loss_with(hide=_hide_first), FIRST_PLACES),
        Mistake(_loss_with(hide=_hide_in_place), IN_PLACE),
        Mistake(_loss_with(hide=_hide_with(null=10)), OTHER_LABELS),
        Mistake(_loss_with(reduce=lambda error: error.square().sum((1, 2, 3))), LOSS_SUM),
        Mistake(_loss_with(reduce=lambda error: error.square().mean()), LOSS_SHAPE),
        Mistake(_loss_with(reduce=lambda error: error.abs().mean((1, 2, 3))), NOT_SQUARED),
        Mistake(_loss_with(reduce=lambda error: error.square().mean((1, 2, 3)).sqrt()), ROOT),
        *(
            Mistake(_loss_with(target=target), message)
            for message, target in WRONG_TARGETS.values()
        ),
        Mistake(
            _loss_with(reduce=lambda error: error.detach().square().mean((1, 2, 3))), NO_GRADIENT
        ),
    ),
    hints=(
        "Three draws come from rng: torch.randn(len(x0), generator=rng).sigmoid() for t,"
        " torch.randn(x0.shape, generator=rng) for the noise, and torch.rand(...) < 0.1 for what is"
        " hidden.",
        "torch.where(hidden, network.num_classes, labels) makes a new tensor of labels.",
        "noised(x0, noise, t) gives x_t and the velocity. The mean of the squared error runs over"
        " the axes (1, 2, 3).",
    ),
)

# ------------------------------------------------------------------ the sampler


def _walk_back(velocity, x, num_steps):
    for step in range(num_steps, 0, -1):
        t = torch.full((len(x),), step / num_steps)
        x = x - velocity(x, t) / num_steps
    return x


class TimeIsNoTensor(TypeError):
    """Told apart from other errors, so that it gets a message of its own; so is the next one."""


class TimeOfOtherShape(IndexError):
    """The time is a tensor of another shape than [B]."""


def _toy_velocity(x, t):
    if not isinstance(t, Tensor):
        raise TimeIsNoTensor(f"velocity got {kind_of(t)} for t")
    if t.ndim != 1:
        raise TimeOfOtherShape(f"velocity got a t of shape {list(t.shape)}")
    t = t[:, None, None, None]
    return x * (t + 0.5) + torch.cos(3 * t)


def _walk_cases() -> list[tuple]:
    rng = make_rng(7, 16)
    shapes = ((2, 1, 3, 3), (3, 3, 2, 4), (1, 1, 2, 2))
    return [
        (_toy_velocity, torch.randn(shape, generator=rng), num_steps)
        for shape, num_steps in zip(shapes, (4, 1, 10))
    ]


def _walk_with(
    times: Callable[[int], list[float]] = lambda n: [step / n for step in range(n, 0, -1)],
    step: Callable[..., Tensor] = lambda x, u, n, t: x - u / n,
    ask_at: Callable[..., Tensor] = lambda x, start: x,
) -> Callable[..., Tensor]:
    """Returns a sampler with other times, another step, or one that asks elsewhere: what wrong
    ones look like.
    """

    def answer(velocity, x, num_steps):
        start = x
        for t in times(num_steps):
            u = velocity(ask_at(x, start), torch.full((len(x),), t))
            x = step(x, u, num_steps, t)
        return x

    return answer


def _even(num: int, first: float, last: float) -> list[float]:
    return torch.linspace(first, last, num).tolist()


def _walk_between_ends(velocity, x, num_steps):
    times = _even(num_steps, 1, 0)
    for t, s in zip(times, times[1:]):
        x = x + (s - t) * velocity(x, torch.full((len(x),), t))
    return x


def _walk_with_number(velocity, x, num_steps):
    for step in range(num_steps, 0, -1):
        x = x - velocity(x, step / num_steps) / num_steps
    return x


def _walk_with_one_time(velocity, x, num_steps):
    for step in range(num_steps, 0, -1):
        x = x - velocity(x, torch.tensor(step / num_steps)) / num_steps
    return x


SAMPLER = Exercise(
    id="07.sampler",
    question=(
        "Walk from the noise x at t = 1 to t = 0 in num_steps equal steps of Euler's method, and"
        " return where you arrive."
    ),
    solution=_walk_back,
    cases=_walk_cases,
    why=(
        "Each step asks at the place and the time where it begins, so the first question is about t"
        " = 1 and none is about t = 0."
    ),
    mistakes=(
        Mistake(
            _walk_with(step=lambda x, u, n, t: x + u / n),
            "You walk along the velocity, which leads to more noise. Time runs backwards here.",
        ),
        Mistake(
            _walk_with(times=lambda n: [step / n for step in range(n - 1, -1, -1)]),
            "You are off by one: you ask at the time where a step ends, t = 0 at last. The first"
            " question is about t = 1.",
        ),
        Mistake(
            _walk_with(times=lambda n: _even(n, 1, 0)),
            "Your last question is about t = 0, where there is no noise left to remove. num_steps"
            " steps have num_steps + 1 ends, and the last of them is not asked about.",
        ),
        Mistake(
            _walk_between_ends,
            "You make num_steps - 1 steps, because num_steps times have one gap less between them.",
        ),
        Mistake(
            _walk_with(times=lambda n: [step / n for step in range(n, -1, -1)]),
            "You make one step too many, the last of them at t = 0.",
        ),
        Mistake(
            _walk_with(times=lambda n: [step / n for step in range(n)]),
            "Your times rise from 0, but x is pure noise, which belongs to t = 1.",
        ),
        Mistake(
            _walk_with(times=lambda n: [step / n for step in range(n, 1, -1)]),
            "The last step, from t = 1 / num_steps to 0, is missing: noise is left in the image.",
        ),
        Mistake(
            _walk_with(step=lambda x, u, n, t: x - u),
            "Each of your steps has the length 1. In num_steps steps from 1 to 0 each has the"
            " length 1 / num_steps.",
        ),
        Mistake(
            _walk_with(ask_at=lambda x, start: start),
            "You ask about the first x in every step. Ask about where you are now.",
        ),
        Mistake(
            _walk_with(times=lambda n: [1.0] * n),
            "You tell the network t = 1 in every step, although the noise gets less.",
        ),
        Mistake(
            _walk_with(times=lambda n: [1.0], step=lambda x, u, n, t: x - u),
            "You jump from t = 1 to 0 in one step, whatever num_steps is.",
        ),
        Mistake(
            _walk_with(step=lambda x, u, n, t: x - t * u),
            "x - t * velocity is the image seen in x: you jump there in each step. Go only 1 /"
            " num_steps of the time.",
        ),
        Mistake(
            _walk_with_number,
            "velocity takes a tensor with one time for each image, [B], and you gave a plain"
            " number: torch.full((len(x),), t).",
        ),
        Mistake(
            _walk_with_one_time,
            "velocity takes one time for each image, [B], and your tensor has another shape:"
            " torch.full((len(x),), t).",
        ),
    ),
    hints=(
        "With 4 steps the questions are about t = 1, 0.75, 0.5 and 0.25.",
        "for step in range(num_steps, 0, -1): t = step / num_steps",
        "A step back in time by 1 / num_steps: x - velocity(x, t) / num_steps.",
    ),
)

# ------------------------------------------------------------------ guidance


def _guided(plain, told, w):
    return plain + w * (told - plain)


def _guide_cases() -> list[tuple]:
    plain, told = torch.randn(2, 2, 1, 3, 3, generator=make_rng(7, 8)).unbind()
    return [(plain, told, w) for w in (3.0, 0.0, 1.0, 1.5)]


GUIDE = Exercise(
    id="07.guide",
    question=(
        "Return the guided velocity: the plain one for w = 0, the told one for w = 1, and for other"
        " w a place on the same straight line."
    ),
    solution=_guided,
    cases=_guide_cases,
    why="Beyond w = 1 it exaggerates what the label changes: more of the class, less variety.",
    mistakes=(
        Mistake(
            lambda plain, told, w: _guided(told, plain, w),
            "The two are swapped: w = 1 returns the plain velocity, and w = 3 leads away from the"
            " class.",
        ),
        Mistake(
            lambda plain, told, w: _guided(plain, told, 1 + w),
            "This is the w of Ho & Salimans, which counts from the told velocity: their w = 0 is"
            " our w = 1.",
        ),
        Mistake(
            lambda plain, told, w: _guided(plain, told, w - 1),
            "You subtracted 1 from w. Here w = 1 has to return the told velocity already.",
        ),
        Mistake(
            lambda plain, told, w: w * (told - plain),
            "This is the difference alone. The line starts at the plain velocity.",
        ),
        Mistake(
            lambda plain, told, w: plain + w * told,
            "You added the whole told velocity. Only its difference from the plain one is"
            " exaggerated.",
        ),
        Mistake(
            lambda plain, told, w: (told + w * plain) / (1 + w),
            "This is an average of the two, so it never goes beyond either. Guidance extrapolates.",
        ),
        Mistake(
            lambda plain, told, w: w * told,
            "You scaled the told velocity and never used the plain one.",
        ),
        Mistake(
            lambda plain, told, w: plain - w * (told - plain),
            "You go from the plain velocity away from the told one: look at the sign.",
        ),
        Mistake(
            lambda plain, told, w: _guided(plain, told, min(max(w, 0.0), 1.0)),
            "You stop at w = 1. The interesting values lie beyond it.",
        ),
    ),
    hints=(
        "Put in w = 0 and w = 1: what has to come out?",
        "A straight line through both: start + w * (end - start).",
    ),
)

# ------------------------------------------------------------------ for the sections marked ◆


def _score(eps, sigma):
    return -eps / sigma


SCORE = Exercise(
    id="07.score",
    question=(
        "Return the score, the gradient of log q(x_t | x0) by x_t, from the noise eps in x_t and"
        " from sigma."
    ),
    solution=_score,
    cases=lambda: [
        (torch.randn(4, 2, generator=make_rng(7, 1, place)), sigma)
        for place, sigma in enumerate((0.2, 0.7, 1.0))
    ],
    why=(
        "A network that predicts the noise has learned the score: it knows the way to likelier"
        " images."
    ),
    mistakes=(
        Mistake(
            lambda eps, sigma: eps / sigma,
            "The minus is missing: the score points back to where x_t is likelier, against the"
            " noise.",
        ),
        Mistake(
            lambda eps, sigma: -eps,
            "Sigma is missing: the less noise, the narrower the Gaussian, the steeper its"
            " log-density.",
        ),
        Mistake(
            lambda eps, sigma: -eps / sigma**2,
            "You divided by sigma²: that is right for x_t - alpha x0, which is sigma eps. One of"
            " the two cancels.",
        ),
        Mistake(
            lambda eps, sigma: -eps * sigma,
            "You multiplied by sigma. Where there is little noise the Gaussian is narrow and its"
            " slope is large.",
        ),
        Mistake(
            lambda eps, sigma: -eps / sigma**0.5,
            "You took sigma for a variance. It is the standard deviation already.",
        ),
        Mistake(
            lambda eps, sigma: -0.5 * eps**2,
            "This is the log-density itself, up to a constant. Its gradient is asked for.",
        ),
        Mistake(
            lambda eps, sigma: -0.5 * eps / sigma,
            "The factor 1/2 of the log-density cancels with the 2 of the derivative of a square.",
        ),
        Mistake(
            lambda eps, sigma: -2 * eps / sigma,
            "The derivative of a square brings a 2, but the log-density has a factor 1/2.",
        ),
        Mistake(
            lambda eps, sigma: -eps / (2 * sigma**2),
            "Two things: the 1/2 cancels with the derivative of the square, and x_t - alpha x0 is"
            " sigma eps.",
        ),
    ),
    hints=(
        "log q(x_t | x0) = -(x_t - alpha x0)² / (2 sigma²) + a constant. Differentiate it by x_t.",
        "Then put in x_t - alpha x0 = sigma eps.",
    ),
)


def _ddim(xt, eps, alpha_t, sigma_t, alpha_s, sigma_s):
    x0 = (xt - sigma_t * eps) / alpha_t
    return alpha_s * x0 + sigma_s * eps


def _ddim_cases() -> list[tuple]:
    """A step in the middle, one to the image, and one of the flow schedule, whose squares do not
    add up to 1.
    """
    rng = make_rng(7, 5)
    xt, eps = (torch.randn(2, 1, 3, 3, generator=rng) for _ in range(2))
    return [
        (xt, eps, *levels)
        for levels in ((0.6, 0.8, 0.8, 0.6), (0.96, 0.28, 1.0, 0.0), (0.3, 0.7, 0.5, 0.5))
    ]


def _redrawn(
    xt: Tensor, eps: Tensor, alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float
) -> Tensor:
    return alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_s * torch.randn_like(xt)


DDIM = Exercise(
    id="07.ddim",
    question=(
        "Return x_s, one step of DDIM from time t to an earlier time s, from x_t, the predicted"
        " noise and the levels of both times."
    ),
    solution=_ddim,
    cases=_ddim_cases,
    why="The step may be as long as you like: it only needs alpha and sigma at both of its ends.",
    mistakes=(
        Mistake(
            _redrawn,
            "You drew new noise. DDIM puts back the noise that it took out, so that nothing is"
            " random.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_t * eps
            ),
            "You put back as much noise as there was at t, in the last step too. The step ends at"
            " s, where the noise has the share sigma_s.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: alpha_s * xt + sigma_s * eps,
            "You treated x_t as if it were the image. Take its noise out first, and undo alpha_t.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t * eps) / alpha_t + sigma_s * xt
            ),
            "You put x_t back in place of the noise eps.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t * eps) + sigma_s * eps
            ),
            "The image x0 was not divided by alpha_t, so it gets fainter with every step.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                (xt - sigma_t * eps) / alpha_t + sigma_s * eps
            ),
            "At time s the image has the share alpha_s; you put it in whole.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t * eps) / alpha_t - sigma_s * eps
            ),
            "The noise comes back with the wrong sign.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (xt - sigma_t * eps) / alpha_t,
            "This is the image that is seen in x_t. The step goes to time s, where it is mixed with"
            " noise again.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s * (xt - sigma_t**2 * eps) / alpha_t + sigma_s**2 * eps
            ),
            "The noise is multiplied by sigma². Its share is sigma.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_s**0.5 * (xt - (1 - alpha_t) ** 0.5 * eps) / alpha_t**0.5
                + (1 - alpha_s) ** 0.5 * eps
            ),
            "You took alpha for the alpha-bar of DDPM and drew its root. Here alpha and sigma are"
            " the factors themselves; where papers write alpha-bar, its root is our alpha.",
        ),
        Mistake(
            lambda xt, eps, alpha_t, sigma_t, alpha_s, sigma_s: (
                alpha_t * (xt - sigma_s * eps) / alpha_s + sigma_t * eps
            ),
            "The two times are swapped: you took out the noise of s and went to t.",
        ),
    ),
    hints=(
        "First the image: x0 = (x_t - sigma_t eps) / alpha_t.",
        "Then mix the same x0 and the same eps as at time s.",
    ),
)

# ------------------------------------------------------------------ the whole

OVERFIT_CLASSES, OVERFIT_COPIES, OVERFIT_STEPS, OVERFIT_RATE = 6, 4, 100, 4e-3
OVERFIT_DRAWN = 24
LEARNED_SHARE = 0.5  # of the first loss; the mean of the noise alone is worth about so much


@functools.lru_cache(maxsize=1)
def _overfit_images() -> Tensor:
    """Returns one stroke digit of each of six classes, signed `[6, 1, 16, 16]`."""
    _, _, images, factors = make_strokes(0, 100, seed=3)
    places = [int((factors.digit == label).nonzero()[0]) for label in range(OVERFIT_CLASSES)]
    small = F.avg_pool2d(images[places].float() / 127.5 - 1, 2)
    return F.pad(small, (1, 1, 1, 1), value=-1.0)


def overfit(model_class: Any, loss: Any, draw: Any) -> None:
    """Trains a diffusion model that a learner put together on six small images until it knows them
    by heart, a few seconds, and prints whether it draws the one that is ordered, or which part is
    wrong.

    Args:
        model_class: called with the number of channels and of classes; `model(xt, t, labels)`
            returns the velocity.
        loss: `loss(model, x0, labels, rng)`, one number for each image.
        draw: `draw(model, labels, image_shape, rng)`, images in [-1, 1] for labels.
    """
    try:
        with fixed_torch_seed():
            first, last, num_right = _overfit(model_class, loss, draw)
    except Wrong as wrong:
        print(f"✗ The whole does not work yet. {wrong}")
        return
    print(
        f"✓ {OVERFIT_CLASSES} images, {OVERFIT_STEPS} steps: loss {first:.2f} → {last:.2f};"
        f" {num_right} of {OVERFIT_DRAWN} new drawings are nearest to the image that was ordered."
        " The whole learns."
    )


def _overfit(model_class: Any, loss: Any, draw: Any) -> tuple[float, float, int]:
    """Returns the loss of the first and of the last steps, and how many drawings are nearest to
    what was ordered; raises `Wrong` with the part that the symptoms point to.
    """
    images = _overfit_images()
    model = model_class(images.shape[1], OVERFIT_CLASSES)
    _check_model(model, images)
    x0 = images.repeat(OVERFIT_COPIES, 1, 1, 1)
    labels = torch.arange(OVERFIT_CLASSES).repeat(OVERFIT_COPIES)
    optimizer, rng, trace = torch.optim.Adam(model.parameters(), lr=OVERFIT_RATE), make_rng(7), []
    for _ in range(OVERFIT_STEPS):
        mean = loss(model, x0, labels, rng).mean()
        optimizer.zero_grad()
        mean.backward()
        optimizer.step()
        trace.append(mean.item())
    first, last = trace[0], sum(trace[-20:]) / 20
    _explain(first, last)
    ordered = torch.arange(OVERFIT_DRAWN) % OVERFIT_CLASSES
    drawn = draw(model, ordered, tuple(images.shape[1:]), make_rng(8))
    require_attempt(drawn)
    found = torch.cdist(drawn.flatten(1), images.flatten(1)).argmin(1)
    num_right = int((found == ordered).sum())
    if num_right < 0.75 * OVERFIT_DRAWN:
        raise Wrong(
            f"The loss fell to {last:.2f}, but only {num_right} of {OVERFIT_DRAWN} drawings are"
            " nearest to the image that was ordered. Look at how images are drawn (the walk and the"
            " guidance), and whether too many labels are hidden."
        )
    return first, last, num_right


def _check_model(model: Any, images: Tensor) -> None:
    """Raises `Wrong` unless the model takes and returns what it should, and all of it learns."""
    if not isinstance(model, nn.Module):
        raise Wrong(f"Expected a class of networks (nn.Module), got {kind_of(model)}.")
    if getattr(model, "num_classes", None) != OVERFIT_CLASSES:
        raise Wrong("The model needs the attribute num_classes, which stands for no label.")
    labels = torch.arange(len(images)) + 1  # the last one stands for no label
    out = model(images, torch.linspace(0.1, 1.0, len(images)), labels)
    require_attempt(out)
    if not isinstance(out, Tensor) or out.shape != images.shape:
        raise Wrong(
            f"model(xt, t, labels) should return {list(images.shape)}, like xt, got {kind_of(out)}."
        )
    out.square().sum().backward()
    dead = [name for name, weight in model.named_parameters() if weight.grad is None]
    if dead:
        raise Wrong(f"No gradient reaches {', '.join(dead[:3])}: a part is never used.")
    model.zero_grad()
    times, other = torch.full((2, len(images)), 0.3).unbind()
    with torch.no_grad():
        told = model(images, times, labels)
        if torch.allclose(told, model(images, times, labels.flip(0)), atol=1e-5):
            raise Wrong("The answer does not depend on the label: it does not reach the blocks.")
        if torch.allclose(told, model(images, other + 0.5, labels), atol=1e-5):
            raise Wrong("The answer does not depend on t: the embedding does not reach the blocks.")


def _explain(first: float, last: float) -> None:
    """Raises `Wrong` where the loss did not fall."""
    if not math.isfinite(last):
        raise Wrong("The loss became NaN or infinite in training.")
    if last > LEARNED_SHARE * first:
        raise Wrong(
            f"In {OVERFIT_STEPS} steps the loss fell from {first:.2f} to {last:.2f} only. Look at"
            " the loss: is the target noise - image, and is the network told the t of its x_t?"
        )


EXERCISES = (
    NOISING,
    TIME_EMBEDDING,
    FILM,
    ROUTE,
    LOSS,
    SAMPLER,
    GUIDE,
    SCORE,
    DDIM,
    *HUNT_EXERCISES,
)
