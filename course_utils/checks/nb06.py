"""The exercises of notebook 06, DCGAN: the game. `nb06_steps.py` has those on gradients, `nb06_samples.py` those on points and noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.checks.exercise import Exercise, Mistake
from course_utils.checks.nb06_samples import MODES, TRUNCATION
from course_utils.checks.nb06_steps import DISCRIMINATOR, PENALTY
from course_utils.device import make_rng


def _best(p_data: Tensor, p_gen: Tensor) -> Tensor:
    return p_data / (p_data + p_gen)


def _density_cases() -> list[tuple]:
    rng = make_rng(6, 0)
    return [(torch.rand(20, generator=rng) + 0.01, torch.rand(20, generator=rng) + 0.01)]


OPTIMAL = Exercise(
    id="06.optimal",
    question="Return the best answer D*(x) for each place x, from the densities of data and generated points there.",
    solution=_best,
    cases=_density_cases,
    why="The best discriminator is Bayes' rule for two classes of equal frequency, so its logit is the log of the ratio of the densities.",
    mistakes=(
        Mistake(lambda p_data, p_gen: p_gen / (p_data + p_gen), "You swapped the two: this is the probability that the point is generated."),
        Mistake(lambda p_data, p_gen: p_data / p_gen, "This is the ratio of the densities. D is a probability: which share of *all* points is data?"),
        Mistake(
            lambda p_data, p_gen: (p_data > p_gen).float(),
            "You decided for the likelier class. The loss asks for a probability, and a certain answer that is wrong costs infinitely much.",
        ),
        Mistake(
            lambda p_data, p_gen: 1 / (1 + torch.exp(p_gen - p_data)),
            "You put the difference of the densities into a sigmoid. The logit is the difference of their logs.",
        ),
    ),
    hints=("Draw 1,000 points of each kind. Of those that land at x, which share is data?", "It is p_data divided by a sum."),
)


def _js(value: Tensor) -> Tensor:
    return value / 2 + math.log(2)


JS = Exercise(
    id="06.js",
    question="Return the Jensen-Shannon divergence in nats, from the value V of the game at the best discriminator, V = 2 JS - 2 log 2.",
    solution=_js,
    cases=lambda: [(torch.tensor([-2 * math.log(2), -1.0, -0.3, 0.0], dtype=torch.float64),)],
    why="At its best the discriminator's loss is a distance of two distributions, measured by samples alone: 0 for equal ones, log 2 for ones apart.",
    mistakes=(
        Mistake(lambda value: value + 2 * math.log(2), "This is 2 JS: for two distributions apart it gives 2 log 2. Halve it."),
        Mistake(lambda value: value / 2 - math.log(2), "The constant has the wrong sign: a perfect generator would get a negative divergence."),
        Mistake(lambda value: value / 2 + 1, "Your logarithm has base 2. The losses use natural logarithms, so the constant is log 2, not 1."),
        Mistake(lambda value: value / 2, "The constant is missing: equal distributions give V = -2 log 2, and their divergence is 0."),
    ),
    hints=("Solve V = 2 JS - 2 log 2 for JS.", "Check: V = -2 log 2 has to give 0, and V = 0 has to give log 2."),
)


def _non_saturating(scores: Tensor) -> Tensor:
    return F.softplus(-scores)


GENERATOR = Exercise(
    id="06.generator",
    question="Return the non-saturating loss -log D(G(z)) of each generated image, from D's logits.",
    solution=_non_saturating,
    cases=lambda: [(torch.tensor([-200.0, -3.0, -0.5, 0.0, 0.5, 3.0, 40.0]),)],
    why="It has the same best generator as the minimax loss, and its gradient is strongest where the generator is worst.",
    mistakes=(
        Mistake(
            lambda scores: -F.softplus(scores),
            "This is the minimax loss log(1 - D). It is flat where D is sure that an image is generated, so a bad generator hardly learns.",
        ),
        Mistake(
            lambda scores: F.softplus(scores),
            "This is -log(1 - D), the discriminator's loss of a generated image. A generator that makes it small helps the discriminator.",
        ),
        Mistake(lambda scores: -F.softplus(-scores), "The sign is wrong: this is +log D. Minimising it makes D(G(z)) small."),
        Mistake(
            lambda scores: -scores.sigmoid().log(),
            "The formula is right, but the sigmoid of -200 is zero in float32, and its log is minus infinity. Use one function that does both.",
        ),
        Mistake(lambda scores: F.softplus(-scores.sigmoid()), "The sigmoid is applied twice: softplus takes the logits themselves."),
        Mistake(lambda scores: F.softplus(-scores).mean(), "You averaged over the images. Keep one value for each."),
    ),
    hints=("log D = F.logsigmoid(score).", "-log sigmoid(s) = log(1 + exp(-s)), which is F.softplus of something."),
)


def _ema(average: Tensor, weights: Tensor, decay: float) -> Tensor:
    return decay * average + (1 - decay) * weights


def _ema_cases() -> list[tuple]:
    rng = make_rng(6, 3)
    return [(torch.randn(5, generator=rng), torch.randn(5, generator=rng), 0.99)]


EMA = Exercise(
    id="06.ema",
    question="Return the moving average after one more step, from the average so far, the new weights and the decay (0.99: a long memory).",
    solution=_ema,
    cases=_ema_cases,
    why="The game makes the weights circle; their average lies nearer to the middle, at the cost of one line a step.",
    mistakes=(
        Mistake(
            lambda average, weights, decay: (1 - decay) * average + decay * weights,
            "The decay stands at the wrong one: with 0.99 your average forgets nearly everything in one step.",
        ),
        Mistake(lambda average, weights, decay: decay * average + weights, "The two shares have to add up to 1, or the weights grow forever."),
        Mistake(lambda average, weights, decay: (average + weights) / 2, "This is the plain mean. The decay says how much of the old stays."),
        Mistake(lambda average, weights, decay: decay * (average + weights), "Both have the same share here. The new weights get 1 - decay."),
    ),
    hints=("With decay = 1 nothing may change, with decay = 0 the new weights are the answer.",),
)

EXERCISES = (OPTIMAL, JS, DISCRIMINATOR, GENERATOR, MODES, PENALTY, TRUNCATION, EMA)
