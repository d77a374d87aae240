"""The exercises of notebook 06, DCGAN: the game, its gradients, and what a generator puts out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake, Wrong


def _hit(points: Tensor, centres: Tensor, radius: float) -> int:
    distance, mode = torch.cdist(points, centres).min(1)
    counts = torch.bincount(mode[distance <= radius], minlength=len(centres))
    return int((counts >= 0.1 * len(points) / len(centres)).sum())


def _modes_by(points: Tensor, centres: Tensor, radius: float, least: float) -> int:
    """Returns the modes that at least so many points are close to: the shape of most wrong
    answers.
    """
    return int(((torch.cdist(points, centres) <= radius).sum(0) >= least).sum())


def _mode_cases() -> list[tuple]:
    """Eight modes: two with many points, one with a little less than its share, one with a fifth,
    one with stray points, two with points near it.
    """
    rng = make_rng(6, 1)
    angles = 2 * math.pi * torch.arange(8) / 8
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    near = [
        centres[mode] + 0.03 * torch.randn(num, 2, generator=rng)
        for mode, num in ((0, 250), (1, 250), (2, 110), (3, 25), (4, 6))
    ]
    # nearest to it, but far
    beside = [
        1.4 * centres[mode] + 0.03 * torch.randn(num, 2, generator=rng)
        for mode, num in ((5, 180), (6, 179))
    ]
    return [(torch.cat([*near, *beside]), centres, 0.15)]


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
                    torch.cdist(points, centres).argmin(1).bincount(minlength=8)
                    >= 0.1 * len(points) / 8
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
    ),
    hints=(
        "torch.cdist(points, centres) is [N, K].",
        "Points within the radius: (… <= radius).sum(0), one number for each mode.",
        "Fair share: N / K.",
    ),
)


def _truncated(n: int, dim: int, bound: float, rng: torch.Generator) -> Tensor:
    z = torch.randn(n, dim, generator=rng)
    while (outside := z.abs() > bound).any():
        z[outside] = torch.randn(int(outside.sum()), generator=rng)
    return z


CLAMPED = (
    "You moved what lies outside onto the bound: {share:.0%} of your values stand exactly there."
    " Draw them anew."
)
SCALED = (
    "All values lie inside, but they crowd around 0: you scaled the noise. Truncation leaves the"
    " middle as it is and draws the rest anew."
)
UNIFORM = (
    "Your noise is spread evenly between the bounds. It has to keep the shape of the normal"
    " distribution."
)


def _check_truncated(answer) -> None:
    """The distribution is checked, not the draws: there is more than one right way."""
    n, dim = 4000, 4
    for case, bound in enumerate((0.7, 1.5)):
        z = answer(n, dim, bound, make_rng(6, 2, case))
        if not isinstance(z, Tensor) or z.shape != (n, dim):
            raise Wrong(
                f"Expected a tensor of shape [{n}, {dim}], got"
                f" {list(z.shape) if isinstance(z, Tensor) else type(z).__name__}."
            )
        z = z.double()
        at_bound = (z.abs() >= bound * (1 - 1e-6)).double().mean().item()
        if z.abs().max() > bound * (1 + 1e-6):
            raise Wrong(
                f"{(z.abs() > bound).double().mean():.0%} of your values lie beyond the bound."
            )
        if at_bound > 0.01:
            raise Wrong(CLAMPED.format(share=at_bound))
        density = math.exp(-(bound**2) / 2) / math.sqrt(2 * math.pi)
        # of the truncated normal distribution
        variance = 1 - 2 * bound * density / math.erf(bound / math.sqrt(2))
        # generous: its values vary less than normal ones
        error = 6 * variance * math.sqrt(2 / (n * dim))
        if z.var().item() < variance - error:
            raise Wrong(SCALED)
        if z.var().item() > variance + error:
            raise Wrong(UNIFORM)


def _at_bounds(n: int, dim: int, bound: float, rng: torch.Generator) -> Tensor:
    return torch.randn(n, dim, generator=rng).clamp(-bound, bound)


TRUNCATION = Exercise(
    id="06.truncation",
    question=(
        "Return noise [n, dim] from N(0, 1) in which every value beyond ±bound has been drawn anew"
        " until it lies inside."
    ),
    solution=_truncated,
    check=_check_truncated,
    why=(
        "The generator has met such values in training, the middle of the distribution, so its"
        " images get more typical and less varied."
    ),
    mistakes=(
        Mistake(_at_bounds, "You moved what lies outside onto the bound"),
        Mistake(
            lambda n, dim, bound, rng: (
                bound / 4.5 * torch.randn(n, dim, generator=rng).clamp(-4.4, 4.4)
            ),
            SCALED,
        ),
        Mistake(
            lambda n, dim, bound, rng: bound * (2 * torch.rand(n, dim, generator=rng) - 1), UNIFORM
        ),
        Mistake(
            lambda n, dim, bound, rng: torch.randn(n, dim, generator=rng),
            "of your values lie beyond the bound.",
        ),
    ),
    hints=(
        "First draw all of it: z = torch.randn(n, dim, generator=rng).",
        "outside = z.abs() > bound says which values to draw anew.",
        "Repeat while any is outside.",
    ),
)


LEAK = (
    "The value is right, but the generator got gradients too: this step would teach it to make"
    " images that are easy to tell apart. Cut the graph between generator and discriminator."
)
DEAF = (
    "The value is right, but the discriminator gets no gradient from the generated images. Detach"
    " the images, not the scores."
)
SWAPPED = "The labels are swapped: your discriminator learns to call generated images real."
MIXED = (
    "Real and generated images went through D as one batch. Its batch norm then mixes their"
    " statistics; pass them one after the other, each as a batch of its own."
)
HALVED = (
    "Each half was averaged, then both were averaged again. The two halves of the game's value"
    " add up."
)
ONLY_REAL = "Only the real images count. D would call everything real."
ONLY_FAKE = "Only the generated images count. D would call everything generated."
NEGATIVE = (
    "This is the value of the game, which D raises. A loss is made small: the sign is missing."
)

LAZY = (
    "The value is right, but it has no gradient with respect to D's weights, so training ignores"
    " it: differentiate with create_graph=True."
)
WGAN_GP = (
    "This is the penalty of WGAN-GP, which pulls the length of the gradient to 1. R1 pulls it to 0."
)
NOT_SQUARED = (
    "You penalised the length. Its square is asked for, whose gradient fades as the length does."
)
PIXEL_MEAN = (
    "You averaged over the pixels. The squared length of a gradient is the sum over its pixels."
)
NO_HALF = "Every value is twice what it should be: the penalty has a factor 1/2."
MEAN_SCORE = (
    "You differentiated the mean of the scores, which divides every gradient by the number of"
    " images. Differentiate their sum."
)
BATCH_SUM = "You summed over the images. Average over them, as the loss does."


class Networks(NamedTuple):
    """What an answer is tried on: two small networks, five images, noise."""

    generator: nn.Module
    discriminator: nn.Module
    images: Tensor
    z: Tensor


def networks() -> Networks:
    """Returns fresh networks with the same weights every time; the discriminator has batch norm and
    takes images `[B, 1, 4, 4]`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        generator = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4)))
        head = [nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)]
        discriminator = nn.Sequential(nn.Flatten(), *head)
    rng = make_rng(6, 4)
    return Networks(
        generator,
        discriminator,
        torch.rand(5, 1, 4, 4, generator=rng),
        torch.randn(5, 3, generator=rng),
    )


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
    _check_value(
        value,
        expected,
        {message: wrong(*networks()) for message, wrong in DISCRIMINATOR_VALUES.items()},
    )
    if value.requires_grad:
        value.backward()
    expected.backward()
    if any(p.grad is not None and p.grad.abs().max() > 0 for p in tried.generator.parameters()):
        raise Wrong(LEAK)
    _check_gradients(tried.discriminator, right.discriminator, DEAF)


DISCRIMINATOR = Exercise(
    id="06.discriminator",
    question=(
        "Return the loss of one discriminator step on a batch, so that backward() reaches the"
        " discriminator alone."
    ),
    solution=_discriminator_loss,
    check=_check_discriminator,
    why=(
        "Each step moves one player: the images are constants to the discriminator, however they"
        " were made."
    ),
    mistakes=(
        Mistake(lambda g, d, x, z: _loss(d(x), d(g(z))), LEAK),
        Mistake(lambda g, d, x, z: _loss(d(x), d(g(z)).detach()), DEAF),
        *(Mistake(answer, message) for message, answer in DISCRIMINATOR_VALUES.items()),
    ),
    hints=(
        (
            "fakes = generator(z), then two calls of discriminator: one for the real images, one"
            " for the generated ones."
        ),
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
    """Returns an answer that makes its number of the gradients `[B, P]`: the shape of every wrong
    one.
    """

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
    value, expected = (
        answer(tried.discriminator, tried.images),
        _r1(right.discriminator, right.images),
    )
    known = {
        message: wrong(right.discriminator, right.images)
        for message, wrong in PENALTY_VALUES.items()
    }
    _check_value(value, expected, known)
    if value.requires_grad:
        value.backward()
    expected.backward()
    _check_gradients(tried.discriminator, right.discriminator, LAZY)


def _penalty_networks() -> Networks:
    """Returns the networks with the batch norm in evaluation mode: each score then depends on its
    own image alone.
    """
    fresh = networks()
    fresh.discriminator.eval()
    return fresh


PENALTY = Exercise(
    id="06.penalty",
    question=(
        "Return the R1 penalty: half of the squared length of the gradient of D's score by the"
        " image, averaged over the real images."
    ),
    solution=_r1,
    check=_check_penalty,
    why=(
        "Near real images D gets a gentle slope, so the generator is pulled towards them without"
        " overshooting."
    ),
    mistakes=(
        Mistake(
            _from_gradients(lambda g: 0.5 * g.square().sum(1).mean(), create_graph=False), LAZY
        ),
        *(Mistake(answer, message) for message, answer in PENALTY_VALUES.items()),
    ),
    hints=(
        (
            "images = images.detach().requires_grad_() makes a copy that autograd can"
            " differentiate by."
        ),
        (
            "(gradients,) = torch.autograd.grad(discriminator(images).sum(), images,"
            " create_graph=True)"
        ),
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


def _best(p_data: Tensor, p_gen: Tensor) -> Tensor:
    return p_data / (p_data + p_gen)


def _density_cases() -> list[tuple]:
    rng = make_rng(6, 0)
    return [(torch.rand(20, generator=rng) + 0.01, torch.rand(20, generator=rng) + 0.01)]


OPTIMAL = Exercise(
    id="06.optimal",
    question=(
        "Return the best answer D*(x) for each place x, from the densities of data and generated"
        " points there."
    ),
    solution=_best,
    cases=_density_cases,
    why=(
        "The best discriminator is Bayes' rule for two classes of equal frequency, so its logit is"
        " the log of the ratio of the densities."
    ),
    mistakes=(
        Mistake(
            lambda p_data, p_gen: p_gen / (p_data + p_gen),
            "You swapped the two: this is the probability that the point is generated.",
        ),
        Mistake(
            lambda p_data, p_gen: p_data / p_gen,
            "This is the ratio of the densities. D is a probability: which share of *all* points is"
            " data?",
        ),
        Mistake(
            lambda p_data, p_gen: (p_data > p_gen).float(),
            "You decided for the likelier class. The loss asks for a probability, and a certain"
            " answer that is wrong costs infinitely much.",
        ),
        Mistake(
            lambda p_data, p_gen: 1 / (1 + torch.exp(p_gen - p_data)),
            "You put the difference of the densities into a sigmoid. The logit is the difference of"
            " their logs.",
        ),
    ),
    hints=(
        "Draw 1,000 points of each kind. Of those that land at x, which share is data?",
        "It is p_data divided by a sum.",
    ),
)


def _js(value: Tensor) -> Tensor:
    return value / 2 + math.log(2)


JS = Exercise(
    id="06.js",
    question=(
        "Return the Jensen-Shannon divergence in nats, from the value V of the game at the best"
        " discriminator, V = 2 JS - 2 log 2."
    ),
    solution=_js,
    cases=lambda: [(torch.tensor([-2 * math.log(2), -1.0, -0.3, 0.0], dtype=torch.float64),)],
    why=(
        "At its best the discriminator's loss is a distance of two distributions, measured by"
        " samples alone: 0 for equal ones, log 2 for ones apart."
    ),
    mistakes=(
        Mistake(
            lambda value: value + 2 * math.log(2),
            "This is 2 JS: for two distributions apart it gives 2 log 2. Halve it.",
        ),
        Mistake(
            lambda value: value / 2 - math.log(2),
            "The constant has the wrong sign: a perfect generator would get a negative divergence.",
        ),
        Mistake(
            lambda value: value / 2 + 1,
            "Your logarithm has base 2. The losses use natural logarithms, so the constant is log"
            " 2, not 1.",
        ),
        Mistake(
            lambda value: value / 2,
            "The constant is missing: equal distributions give V = -2 log 2, and their divergence"
            " is 0.",
        ),
    ),
    hints=(
        "Solve V = 2 JS - 2 log 2 for JS.",
        "Check: V = -2 log 2 has to give 0, and V = 0 has to give log 2.",
    ),
)


def _non_saturating(scores: Tensor) -> Tensor:
    return F.softplus(-scores)


GENERATOR = Exercise(
    id="06.generator",
    question=(
        "Return the non-saturating loss -log D(G(z)) of each generated image, from D's logits."
    ),
    solution=_non_saturating,
    cases=lambda: [(torch.tensor([-200.0, -3.0, -0.5, 0.0, 0.5, 3.0, 40.0]),)],
    why=(
        "It has the same best generator as the minimax loss, and its gradient is strongest where"
        " the generator is worst."
    ),
    mistakes=(
        Mistake(
            lambda scores: -F.softplus(scores),
            "This is the minimax loss log(1 - D). It is flat where D is sure that an image is"
            " generated, so a bad generator hardly learns.",
        ),
        Mistake(
            lambda scores: F.softplus(scores),
            "This is -log(1 - D), the discriminator's loss of a generated image. A generator that"
            " makes it small helps the discriminator.",
        ),
        Mistake(
            lambda scores: -F.softplus(-scores),
            "The sign is wrong: this is +log D. Minimising it makes D(G(z)) small.",
        ),
        Mistake(
            lambda scores: -scores.sigmoid().log(),
            "The formula is right, but the sigmoid of -200 is zero in float32, and its log is minus"
            " infinity. Use one function that does both.",
        ),
        Mistake(
            lambda scores: F.softplus(-scores.sigmoid()),
            "The sigmoid is applied twice: softplus takes the logits themselves.",
        ),
        Mistake(
            lambda scores: F.softplus(-scores).mean(),
            "You averaged over the images. Keep one value for each.",
        ),
    ),
    hints=(
        "log D = F.logsigmoid(score).",
        "-log sigmoid(s) = log(1 + exp(-s)), which is F.softplus of something.",
    ),
)


def _ema(average: Tensor, weights: Tensor, decay: float) -> Tensor:
    return decay * average + (1 - decay) * weights


def _ema_cases() -> list[tuple]:
    rng = make_rng(6, 3)
    return [(torch.randn(5, generator=rng), torch.randn(5, generator=rng), 0.99)]


EMA = Exercise(
    id="06.ema",
    question=(
        "Return the moving average after one more step, from the average so far, the new weights"
        " and the decay (0.99: a long memory)."
    ),
    solution=_ema,
    cases=_ema_cases,
    why=(
        "The game makes the weights circle; their average lies nearer to the middle, at the cost of"
        " one line a step."
    ),
    mistakes=(
        Mistake(
            lambda average, weights, decay: (1 - decay) * average + decay * weights,
            "The decay stands at the wrong one: with 0.99 your average forgets nearly everything in"
            " one step.",
        ),
        Mistake(
            lambda average, weights, decay: decay * average + weights,
            "The two shares have to add up to 1, or the weights grow forever.",
        ),
        Mistake(
            lambda average, weights, decay: (average + weights) / 2,
            "This is the plain mean. The decay says how much of the old stays.",
        ),
        Mistake(
            lambda average, weights, decay: decay * (average + weights),
            "Both have the same share here. The new weights get 1 - decay.",
        ),
    ),
    hints=("With decay = 1 nothing may change, with decay = 0 the new weights are the answer.",),
)

EXERCISES = (OPTIMAL, JS, DISCRIMINATOR, GENERATOR, MODES, PENALTY, TRUNCATION, EMA)
