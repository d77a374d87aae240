"""The exercises of notebook 10, in which the learner writes a flow and makes it quick: conditional
and marginal velocity, loss, Euler's walk, pairing by optimal transport, reflow, the student's loss,
and the likelihood along the flow.

As in the whole course t = 0 is the data and t = 1 the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.hunt_10 import HUNT_EXERCISES
from course_utils.exercises.judge import Exercise, Mistake


def _normal(*shape: int, stream: int) -> Tensor:
    return torch.randn(shape, generator=make_rng(10, stream))


# ------------------------------------------------------------------ conditional velocity


def _conditional_velocity(x, x0, t):
    return (x - x0) / t[:, None]


CONDITIONAL = Exercise(
    id="10.conditional",
    question=(
        "Return the velocity at the places x [B, 2] and times t [B] of the path between the data"
        " point x0 [B, 2] (t = 0) and its noise (t = 1), without using that noise."
    ),
    solution=_conditional_velocity,
    cases=lambda: [
        (_normal(4, 2, stream=1), _normal(4, 2, stream=2), torch.tensor([0.2, 0.4, 0.7, 0.9])),
        (_normal(2, 2, stream=3), _normal(2, 2, stream=4), torch.tensor([1.0, 0.3])),
    ],
    why="So the velocity is a function of place and time alone, and can be averaged at a place.",
    mistakes=(
        Mistake(
            lambda x, x0, t: (x0 - x) / t[:, None],
            "The sign is wrong: with growing t the point moves away from x0, towards the noise.",
        ),
        Mistake(
            lambda x, x0, t: (x - x0) / (1 - t[:, None]),
            "You divided by the time left until the noise. From x0 to x the time t went by.",
        ),
        Mistake(
            lambda x, x0, t: x - x0,
            "This is the way since t = 0. A velocity is that way divided by the time it took.",
        ),
        Mistake(
            lambda x, x0, t: (x - (1 - t[:, None]) * x0) / t[:, None],
            "This is the noise. The velocity is noise - x0, so one term is missing.",
        ),
        Mistake(
            lambda x, x0, t: (x - (1 - t[:, None]) * x0) / t[:, None] + x0,
            "You added x0 to the noise. The derivative of (1 - t) x0 by t is -x0.",
        ),
        Mistake(
            lambda x, x0, t: x / t[:, None],
            "Your velocity does not depend on x0: it leads away from the origin.",
        ),
        Mistake(
            lambda x, x0, t: (x - x0) * t[:, None],
            "You multiplied by t. A way of the same length in less time needs a higher velocity.",
        ),
        Mistake(
            lambda x, x0, t: (x - x0) / t,
            "Your times act on the columns of x. t has the shape [B]: give it a second axis.",
        ),
        Mistake(
            lambda x, x0, t: (x - t[:, None] * x0) / (1 - t[:, None]),
            "This belongs to a path with the data at t = 1. Here t = 0 is the data.",
        ),
        Mistake(
            lambda x, x0, t: (x - x0) / t[:, None] ** 2,
            "You divided by t². The path is straight, so the way since t = 0 is t times the"
            " velocity.",
        ),
    ),
    hints=(
        "x = (1 - t) x0 + t noise. Solve it for the noise.",
        "Put the noise into noise - x0. Nearly everything cancels.",
        "A straight path: what is left is way by time, from x0 to x.",
    ),
)

# ------------------------------------------------------------------ marginal velocity


def _marginal_velocity(x, data, t):
    distance = torch.cdist(x, (1 - t) * data)
    weights = (-(distance**2) / (2 * t**2)).softmax(dim=1)
    return (x - weights @ data) / t


def _marginal_with(
    logits: Callable[..., Tensor], dim: int = 1, times: Callable[[float], float] | None = None
) -> Callable[..., Tensor]:
    def answer(x, data, t):
        weights = logits(x, data, t).softmax(dim)
        return (x - weights @ data) / (t if times is None else times(t))

    return answer


def _squared(x: Tensor, data: Tensor, t: float) -> Tensor:
    return torch.cdist(x, (1 - t) * data) ** 2


MARGINAL = Exercise(
    id="10.marginal",
    question=(
        "Return the marginal velocity at the places x [B, 2] and at one time t, a number, for data"
        " that consists of N equally likely points, [N, 2]."
    ),
    solution=_marginal_velocity,
    cases=lambda: [
        (_normal(5, 2, stream=5), _normal(3, 2, stream=6), 0.6),
        (_normal(2, 2, stream=7), _normal(4, 2, stream=8), 0.9),
        (_normal(3, 2, stream=9), _normal(2, 2, stream=10), 0.35),
    ],
    rtol=1e-3,
    atol=1e-5,
    why="It is the mean of the conditional velocities, weighted by how likely each point is here.",
    mistakes=(
        Mistake(
            lambda x, data, t: (x - data.mean(0)) / t,
            "All points have the same weight in your mean. At x, those that x_t may have come from"
            " count more.",
        ),
        Mistake(
            _marginal_with(lambda x, data, t: -(torch.cdist(x, data) ** 2) / (2 * t**2)),
            "You measured the distance to the data points. At time t their places are (1 - t) times"
            " as far from the origin.",
        ),
        Mistake(
            _marginal_with(lambda x, data, t: -_squared(x, data, t) / (2 * t)),
            "You took t for a variance. The noise is multiplied by t, so its variance is t².",
        ),
        Mistake(
            _marginal_with(lambda x, data, t: -_squared(x, data, t) / t**2),
            "The 2 of the Gaussian's exponent is missing.",
        ),
        Mistake(
            _marginal_with(lambda x, data, t: -_squared(x, data, t).sqrt() / (2 * t**2)),
            "The distance has to be squared in the exponent of a Gaussian.",
        ),
        Mistake(
            _marginal_with(lambda x, data, t: _squared(x, data, t) / (2 * t**2)),
            "The minus in the exponent is missing: your weights prefer the points that are far"
            " away.",
        ),
        Mistake(
            lambda x, data, t: (x - (-_squared(x, data, t) / (2 * t**2)).exp() @ data) / t,
            "Your weights do not add up to 1. Divide by their sum, as softmax does.",
        ),
        Mistake(
            lambda x, data, t: -_marginal_velocity(x, data, t),
            "The sign is wrong: the velocity points from the data to the noise.",
        ),
        Mistake(
            lambda x, data, t: (-_squared(x, data, t) / (2 * t**2)).softmax(1) @ data,
            "This is the mean of the data points, E[x0 | x]. What is the velocity that leads from"
            " it to x?",
        ),
        Mistake(
            lambda x, data, t: (
                (x - (1 - t) * (-_squared(x, data, t) / (2 * t**2)).softmax(1) @ data) / t
            ),
            "This is the mean of the noise, E[noise | x]. The mean of x0 has to be taken off.",
        ),
        Mistake(
            lambda x, data, t: (x - data[_squared(x, data, t).argmin(1)]) / t,
            "You took the nearest point alone. All points have a share in the mean.",
        ),
    ),
    hints=(
        "Given x0, x_t is a Gaussian with mean (1 - t) x0 and standard deviation t.",
        "The weights are a softmax over the data points of -|x - (1 - t) x0|² / (2 t²).",
        "The conditional velocity is linear in x0, so its mean is that of the mean x0.",
    ),
)

# ------------------------------------------------------------------ loss


def _flow_loss(network, x0, noise, t):
    xt = (1 - t[:, None]) * x0 + t[:, None] * noise
    return (network(xt, t) - (noise - x0)).square().mean(1)


def _some_network(x: Tensor, t: Tensor) -> Tensor:
    return torch.stack([x[:, 0] * t - 0.3, x[:, 1].sin() + t**2], dim=1)


def _loss_with(
    place: Callable[..., Tensor], target: Callable[..., Tensor], told: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    def answer(network, x0, noise, t):
        error = network(place(x0, noise, t[:, None]), told(t)) - target(x0, noise, t[:, None])
        return error.square().mean(1)

    return answer


def _line(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    return (1 - t) * x0 + t * noise


LOSS = Exercise(
    id="10.loss",
    question=(
        "Return the flow-matching loss of each point, [B]: the squared error of network(x_t, t)"
        " against the velocity of its own path, averaged over the coordinates."
    ),
    solution=_flow_loss,
    cases=lambda: [
        (
            _some_network,
            _normal(num, 2, stream=11 + num),
            _normal(num, 2, stream=21 + num),
            torch.rand(num, generator=make_rng(10, 31 + num)),
        )
        for num in (5, 2)
    ],
    why="Its best answer is the marginal velocity, which nobody has to know.",
    mistakes=(
        Mistake(
            _loss_with(_line, lambda x0, noise, t: x0 - noise, lambda t: t),
            "The sign of the target is wrong: as t grows, x_t moves from x0 to the noise.",
        ),
        Mistake(
            _loss_with(_line, lambda x0, noise, t: noise, lambda t: t),
            "Your target is the noise. The velocity of the path is asked for.",
        ),
        Mistake(
            _loss_with(_line, lambda x0, noise, t: x0, lambda t: t),
            "Your target is the data point. The velocity of the path is asked for.",
        ),
        Mistake(
            _loss_with(
                lambda x0, noise, t: _line(noise, x0, t),
                lambda x0, noise, t: noise - x0,
                lambda t: t,
            ),
            "Your path has the noise at t = 0, where the data should be.",
        ),
        Mistake(
            _loss_with(_line, lambda x0, noise, t: noise - x0, lambda t: 1 - t),
            "You told the network 1 - t. It has to know the time of its x_t.",
        ),
        Mistake(
            _loss_with(lambda x0, noise, t: noise, lambda x0, noise, t: noise - x0, lambda t: t),
            "You asked at the noise. The network has to be asked on the path, at x_t.",
        ),
        Mistake(
            _loss_with(
                lambda x0, noise, t: x0 + t * noise, lambda x0, noise, t: noise - x0, lambda t: t
            ),
            "You left the data point its full share. On the path it has the share 1 - t.",
        ),
        Mistake(
            lambda network, x0, noise, t: 2 * _flow_loss(network, x0, noise, t),
            "Every loss is twice as large: you took the sum over the two coordinates, not their"
            " mean.",
        ),
        Mistake(
            lambda network, x0, noise, t: _flow_loss(network, x0, noise, t).mean(),
            "This is one number for the whole batch. Return one for each point.",
        ),
        Mistake(
            lambda network, x0, noise, t: (
                (network(_line(x0, noise, t[:, None]), t) - noise + x0).abs().mean(1)
            ),
            "You took absolute values. They lead to a median; a mean needs squares.",
        ),
    ),
    hints=(
        "First x_t = (1 - t) x0 + t noise, with t[:, None].",
        "The velocity of the path of this pair is noise - x0.",
        ".square().mean(dim=1) keeps one number for each point.",
    ),
)

# ------------------------------------------------------------------ Euler


def _euler(velocity, x, num_steps):
    places = [x]
    for step in range(num_steps, 0, -1):
        t = torch.full((len(x),), step / num_steps)
        places.append(places[-1] - velocity(places[-1], t) / num_steps)
    return torch.stack(places)


def _euler_with(
    time: Callable[[int, int], float] = lambda step, num: 1 - step / num,
    size: Callable[[int], float] = lambda num: -1 / num,
    count: Callable[[int], int] = lambda num: num,
) -> Callable[..., Tensor]:
    def answer(velocity, x, num_steps):
        places = [x]
        for step in range(count(num_steps)):
            t = torch.full((len(x),), time(step, num_steps))
            places.append(places[-1] + size(num_steps) * velocity(places[-1], t))
        return torch.stack(places)

    return answer


def _frozen(velocity, x, num_steps):
    u = velocity(x, torch.ones(len(x)))
    return torch.stack([x - step / num_steps * u for step in range(num_steps + 1)])


def _bending(x: Tensor, t: Tensor) -> Tensor:
    t = t.view(-1, *[1] * (x.ndim - 1))
    return x * (1 + 0.5 * t) + t**2 - 0.5


EULER = Exercise(
    id="10.euler",
    question=(
        "Return all places of a walk from x at t = 1 to t = 0 in num_steps equal Euler steps, x"
        " first: [num_steps + 1, B, 2]. velocity(x, t) wants one time for each point."
    ),
    solution=_euler,
    cases=lambda: [
        (_bending, _normal(3, 2, stream=41), 4),
        (_bending, _normal(2, 2, stream=42), 1),
        (_bending, _normal(2, 1, 2, 2, stream=43), 3),
    ],
    why="What follows is about one question: how far off does this walk end if its steps are few.",
    mistakes=(
        Mistake(
            _euler_with(size=lambda num: 1 / num),
            "You walk along the velocity. It points to the noise, and you come from there.",
        ),
        Mistake(
            _euler_with(time=lambda step, num: step / num),
            "You tell the network times that rise from 0. The walk begins at t = 1.",
        ),
        Mistake(
            _euler_with(time=lambda step, num: step / num, size=lambda num: 1 / num),
            "This is the walk from data to noise. The one from noise to data is asked for.",
        ),
        Mistake(
            _euler_with(time=lambda step, num: 1 - (step + 1) / num),
            "You tell the network the time at the end of each step. Euler asks at its beginning.",
        ),
        Mistake(
            _euler_with(time=lambda step, num: 1.0),
            "You told the network t = 1 in every step. The time falls as you walk.",
        ),
        Mistake(
            _euler_with(size=lambda num: -1),
            "Each of your steps is as long as the whole way. Divide by num_steps.",
        ),
        Mistake(
            _euler_with(count=lambda num: num - 1),
            "A step is missing: with num_steps steps there are num_steps + 1 places.",
        ),
        Mistake(_frozen, "You asked for the velocity once. Ask again at each new place."),
        Mistake(
            lambda velocity, x, num_steps: _euler(velocity, x, num_steps)[-1],
            "You returned the last place alone. All places are asked for, the first one too.",
        ),
        Mistake(
            lambda velocity, x, num_steps: _euler(velocity, x, num_steps).flip(0),
            "The order is reversed: x, at t = 1, comes first.",
        ),
        Mistake(
            lambda velocity, x, num_steps: _euler(velocity, x, num_steps)[1:],
            "The place where the walk begins is missing.",
        ),
    ),
    hints=(
        "With 4 steps the network is asked at t = 1, 0.75, 0.5 and 0.25.",
        "A step back in time: x - velocity(x, t) / num_steps.",
        "Collect the places in a list that begins with x; torch.stack makes a tensor of it.",
    ),
)

# ------------------------------------------------------------------ pairing


def _paired(x0, noise):
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x0, noise) ** 2
    _, columns = linear_sum_assignment(cost.numpy())
    return noise[torch.as_tensor(columns)]


def _reordered(order: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """Returns an answer that picks noise by the costs `[B, B]`, points along the rows."""
    return lambda x0, noise: noise[order(torch.cdist(x0, noise) ** 2)]


def _assigned(cost: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    return torch.as_tensor(linear_sum_assignment(cost.numpy())[1])


def _greedy(cost: Tensor) -> Tensor:
    """Each point in turn takes the nearest noise that is left."""
    left, order = cost.clone(), []
    for row in range(len(cost)):
        order.append(int(left[row].argmin()))
        left[:, order[-1]] = math.inf
    return torch.tensor(order)


PAIR = Exercise(
    id="10.pair",
    question=(
        "Return the rows of noise [B, 2] in the order in which they belong to x0 [B, 2]: each used"
        " once, with the least sum of squared distances."
    ),
    solution=_paired,
    cases=lambda: [
        (_normal(num, 2, stream=50 + num), _normal(num, 2, stream=60 + num)) for num in (7, 5, 9)
    ],
    why="Paths of such pairs do not cross within the batch, so the walk bends less.",
    mistakes=(
        Mistake(lambda x0, noise: noise, "You left the noise in its random order."),
        Mistake(
            _reordered(lambda cost: cost.argmin(1)),
            "Each point took its nearest noise, so some noise is used twice and some never: the"
            " noise is no longer Gaussian.",
        ),
        Mistake(
            _reordered(_greedy),
            "You served the points one after another, and the last ones took what was left. The"
            " sum over all pairs has to be least.",
        ),
        Mistake(
            _reordered(lambda cost: _assigned(cost.T)),
            "Rows and columns are swapped: your result says which point each noise gets.",
        ),
        Mistake(
            _reordered(lambda cost: _assigned(-cost)),
            "Your pairs have the largest sum of squared distances, not the least.",
        ),
        Mistake(
            _reordered(lambda cost: _assigned(cost.sqrt())),
            "You took the least sum of distances. The squares are asked for.",
        ),
        Mistake(
            lambda x0, noise: x0[_assigned((torch.cdist(x0, noise) ** 2).T)],
            "You reordered the data. The noise is to be reordered.",
        ),
        Mistake(
            lambda x0, noise: _assigned(torch.cdist(x0, noise) ** 2),
            "You returned the places. Return the rows of the noise in that order.",
        ),
        Mistake(
            lambda x0, noise: noise[noise[:, 0].argsort()][x0[:, 0].argsort().argsort()],
            "You sorted by the first coordinate. On a line sorting is right, in the plane it is"
            " not.",
        ),
    ),
    hints=(
        "torch.cdist(x0, noise) ** 2 holds the squared distance of each point to each noise.",
        "scipy.optimize.linear_sum_assignment(cost) returns rows and columns of the best pairs.",
        "noise[torch.as_tensor(columns)]",
    ),
)

# ------------------------------------------------------------------ reflow


def _reflow_pairs(walk, velocity, noise, num_steps):
    return walk(velocity, noise, num_steps)[-1], noise


def _reflow_cases() -> list[tuple]:
    return [
        (_euler, _bending, _normal(4, 2, stream=71), 5),
        (_euler, _bending, _normal(2, 1, 2, 2, stream=72), 2),
    ]


REFLOW = Exercise(
    id="10.reflow",
    question=(
        "Return new pairs for a second training, x0 first: the noise, and what the first flow makes"
        " of it in num_steps steps of your walk."
    ),
    solution=_reflow_pairs,
    cases=_reflow_cases,
    why="Walks of one flow never cross, so neither do the lines between their ends, or hardly.",
    mistakes=(
        Mistake(
            lambda walk, velocity, noise, num_steps: (noise, walk(velocity, noise, num_steps)[-1]),
            "The two are swapped: x0 comes first, then the noise.",
        ),
        Mistake(
            lambda walk, velocity, noise, num_steps: (
                walk(velocity, noise, num_steps)[-1],
                noise.roll(1, 0),
            ),
            "Each point came with the noise of another. The pair is what belongs together.",
        ),
        Mistake(
            lambda walk, velocity, noise, num_steps: (
                walk(velocity, noise, num_steps)[-1],
                torch.randn_like(noise),
            ),
            "You drew new noise for the pairs. Then nothing is gained over random pairs.",
        ),
        Mistake(
            lambda walk, velocity, noise, num_steps: (walk(velocity, noise, 1)[-1], noise),
            "You walked in one step. Its end is not where the flow leads.",
        ),
        Mistake(
            lambda walk, velocity, noise, num_steps: (walk(velocity, noise, num_steps)[0], noise),
            "You took the first place of the walk, which is the noise itself.",
        ),
        Mistake(
            lambda walk, velocity, noise, num_steps: (walk(velocity, noise, num_steps), noise),
            "You returned the whole walk. Its last place is the new x0.",
        ),
        Mistake(
            lambda walk, velocity, noise, num_steps: walk(velocity, noise, num_steps)[-1],
            "The noise is missing: a pair has two parts.",
        ),
        Mistake(
            lambda walk, velocity, noise, num_steps: (walk(velocity, noise, num_steps)[-2], noise),
            "You took the place before the last one, where some noise is left.",
        ),
        Mistake(
            lambda walk, velocity, noise, num_steps: (
                walk(velocity, noise, num_steps)[-1],
                walk(velocity, noise, num_steps)[1],
            ),
            "The second part is the place after the first step. The noise at t = 1 is asked for.",
        ),
    ),
    hints=(
        "walk is your exercise 10.euler: it returns all places, the last one is at t = 0.",
        "Return two tensors of the same shape: end and beginning of each walk.",
    ),
)

# ------------------------------------------------------------------ student


def _student_loss(student, x0, noise):
    drawn = noise - student(noise, torch.ones(len(noise)))
    return (drawn - x0).square().flatten(1).mean(1)


def _student_with(drawn: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda student, x0, noise: (drawn(student, x0, noise) - x0).square().flatten(1).mean(1)


STUDENT = Exercise(
    id="10.student",
    question=(
        "Return the loss of a student of one call for each pair, [B]: it makes one Euler step from"
        " the noise at t = 1 to t = 0, and should arrive at x0, in the mean squared error."
    ),
    solution=_student_loss,
    cases=lambda: [
        (_bending, _normal(4, 2, stream=81), _normal(4, 2, stream=82)),
        (_bending, _normal(2, 1, 2, 2, stream=83), _normal(2, 1, 2, 2, stream=84)),
    ],
    why="It is trained for the one step that it makes, and for nothing else.",
    mistakes=(
        Mistake(
            _student_with(lambda s, x0, n: n + s(n, torch.ones(len(n)))),
            "You walked along the velocity. It points to the noise, so it has to be subtracted.",
        ),
        Mistake(
            _student_with(lambda s, x0, n: s(n, torch.ones(len(n)))),
            "You took the network's answer for the point. It is a velocity: make a step with it.",
        ),
        Mistake(
            _student_with(lambda s, x0, n: n - s(n, torch.zeros(len(n)))),
            "You told the student t = 0. The noise is at t = 1.",
        ),
        Mistake(
            _student_with(lambda s, x0, n: n - s(n, torch.full((len(n),), 0.5))),
            "You told the student a time in the middle. The noise is at t = 1.",
        ),
        Mistake(
            _student_with(lambda s, x0, n: x0 - s(x0, torch.ones(len(n)))),
            "You asked at x0, which is what the student should find out. It is given the noise.",
        ),
        Mistake(_student_with(lambda s, x0, n: n), "Your loss does not depend on the student."),
        Mistake(
            lambda s, x0, n: _student_loss(s, n, x0),
            "The two are swapped: your student walks from x0 to the noise.",
        ),
        Mistake(
            lambda s, x0, n: _student_loss(s, x0, n).mean(),
            "This is one number for the whole batch. Return one for each pair.",
        ),
        Mistake(
            lambda s, x0, n: (n - s(n, torch.ones(len(n))) - x0).abs().flatten(1).mean(1),
            "You took absolute values in place of squares.",
        ),
    ),
    hints=(
        "One step of Euler from t = 1 to t = 0 has the length 1.",
        "student(noise, torch.ones(len(noise))) is the velocity of that step.",
        ".flatten(1).mean(1) keeps one number for each pair, for points and for images.",
    ),
)

# ------------------------------------------------------------------ likelihood


def _log_density(velocity, divergence, x, num_steps):
    total = torch.zeros(len(x))
    for step in range(num_steps):
        t = torch.full((len(x),), (step + 0.5) / num_steps)
        total = total + divergence(x, t) / num_steps
        x = x + velocity(x, t) / num_steps
    return total - 0.5 * (x.square() + math.log(2 * math.pi)).sum(1)


def _density_with(
    size: float = 1.0,
    growth: float = 1.0,
    early: float = 0.5,
    late: Callable[[Tensor], Tensor] = lambda x: -0.5 * (x.square() + math.log(2 * math.pi)).sum(1),
    count: Callable[[int], int] = lambda num: num,
) -> Callable[..., Tensor]:
    def answer(velocity, divergence, x, num_steps):
        total = torch.zeros(len(x))
        for step in range(count(num_steps)):
            t = torch.full((len(x),), (step + early) / num_steps)
            total = total + growth * divergence(x, t) / num_steps
            x = x + size * velocity(x, t) / num_steps
        return total + late(x)

    return answer


def _gaussian_velocity(x: Tensor, t: Tensor) -> Tensor:
    """The exact velocity of data N((0.5, -0.3), 0.4²)."""
    mean, t = torch.tensor([0.5, -0.3]), t[:, None]
    return (t - (1 - t) * 0.16) / ((1 - t) ** 2 * 0.16 + t**2) * (x - (1 - t) * mean) - mean


def _gaussian_divergence(x: Tensor, t: Tensor) -> Tensor:
    return 2 * (t - (1 - t) * 0.16) / ((1 - t) ** 2 * 0.16 + t**2)


LIKELIHOOD = Exercise(
    id="10.likelihood",
    question=(
        "Return log p(x) in nats, [B]: walk from x at t = 0 to t = 1, asking in the middle of each"
        " step's time, and add up the divergence and the log-density of N(0, I) at the end."
    ),
    solution=_log_density,
    cases=lambda: [
        (_gaussian_velocity, _gaussian_divergence, 0.5 * _normal(5, 2, stream=92), 20),
        (_gaussian_velocity, _gaussian_divergence, 0.5 * _normal(3, 2, stream=93), 7),
    ],
    rtol=1e-3,
    atol=1e-4,
    why="A flow moves points without tearing space, so it knows how much each part was stretched.",
    mistakes=(
        Mistake(
            _density_with(growth=-1.0),
            "The sign of the divergence is wrong: where the flow spreads the points on their way to"
            " the noise, they were denser before.",
        ),
        Mistake(
            _density_with(growth=0.0),
            "The divergence is missing: this is the density of the noise, not of the data.",
        ),
        Mistake(
            _density_with(size=-1.0),
            "You walk against the velocity. From data to noise you go along it.",
        ),
        Mistake(
            _density_with(late=lambda x: torch.zeros(len(x))),
            "The log-density of the noise at the end of the walk is missing.",
        ),
        Mistake(
            _density_with(late=lambda x: -0.5 * x.square().sum(1)),
            "The Gaussian's constant is missing: log(2π) / 2 for each coordinate.",
        ),
        Mistake(
            _density_with(late=lambda x: -0.5 * (x.square() + math.log(2 * math.pi)).mean(1)),
            "You averaged over the coordinates. Log-densities of independent coordinates add up.",
        ),
        Mistake(
            _density_with(early=0.0),
            "You asked at the beginning of each step. The question says in the middle of its time,"
            " which is nearer to the integral.",
        ),
        Mistake(
            _density_with(early=1.0),
            "You asked at the end of each step's time. The middle is asked for.",
        ),
        Mistake(
            lambda velocity, divergence, x, num_steps: _density_with(growth=float(num_steps))(
                velocity, divergence, x, num_steps
            ),
            "The divergence has to be multiplied by the length of a step, 1 / num_steps.",
        ),
        Mistake(
            lambda *given: -_log_density(*given),
            "This is -log p(x). The log-density itself is asked for.",
        ),
        Mistake(
            lambda *given: _log_density(*given).exp(), "This is p(x). Its logarithm is asked for."
        ),
        Mistake(_density_with(count=lambda num: num - 1), "The last step is missing."),
    ),
    hints=(
        "In step k of num_steps the time in the middle is (k + 0.5) / num_steps.",
        "total + divergence(x, t) / num_steps, then x + velocity(x, t) / num_steps.",
        "At the end: -(x² + log 2π) / 2, summed over the coordinates.",
    ),
)


EXERCISES = (CONDITIONAL, MARGINAL, LOSS, EULER, PAIR, REFLOW, STUDENT, LIKELIHOOD, *HUNT_EXERCISES)
