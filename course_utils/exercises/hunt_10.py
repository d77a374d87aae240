"""The bug hunt of notebook 10: two scripts that train a flow on the ring and straighten it by
reflow, run without an error message, and are wrong; what each of them shows, and the trial of a
mended one.

Each script is whole, as a learner would write it, so they repeat each other on purpose. All of them
take points `[N, 2]` and return the straightened velocity, the sampler and the losses of both
trainings, one after the other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils.base.device import make_rng
from course_utils.exercises.judge import (
    NO_RETURN,
    BugHunt,
    Wrong,
    fixed_torch_seed,
    hunt_exercises,
    kind_of,
    numbered_faults,
)
from course_utils.studies.flow_toys import flow_coverage, flow_points
from course_utils.studies.ring import ring_centres

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# ------------------------------------------------------------------ the scripts


def healthy(points, num_steps=400):
    """The script without a fault."""

    def make_velocity():
        layers = [nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)]
        network = nn.Sequential(*layers)

        def velocity(x, t):
            angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
            return network(torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1))

        return network, velocity

    @torch.no_grad()
    def sample(velocity, noise, num_calls):
        x = noise
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            x = x - velocity(x, t) / num_calls
        return x

    losses = []
    network, velocity = make_velocity()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(num_steps):
        x0 = points[torch.randint(len(points), (256,))]
        noise, t = torch.randn(256, 2), torch.rand(256)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    all_noise = torch.randn(4000, 2)
    all_x0 = sample(velocity, all_noise, 20)
    straight_network, straight = make_velocity()
    optimizer = torch.optim.Adam(straight_network.parameters(), lr=5e-3)
    for _ in range(num_steps):
        rows, t = torch.randint(4000, (256,)), torch.rand(256)
        x0, noise = all_x0[rows], all_noise[rows]
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (straight(xt, t) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return straight, sample, losses


def hunt_1(points, num_steps=400):
    """Script 1 of the bug hunt: it runs, and it is wrong."""

    def make_velocity():
        layers = [nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)]
        network = nn.Sequential(*layers)

        def velocity(x, t):
            angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
            return network(torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1))

        return network, velocity

    @torch.no_grad()
    def sample(velocity, noise, num_calls):
        x = noise
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            x = x - velocity(x, t) / num_calls
        return x

    losses = []
    network, velocity = make_velocity()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(num_steps):
        x0 = points[torch.randint(len(points), (256,))]
        noise, t = torch.randn(256, 2), torch.rand(256)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    all_noise = torch.randn(4000, 2)
    all_x0 = sample(velocity, all_noise, 20)
    straight_network, straight = make_velocity()
    optimizer = torch.optim.Adam(straight_network.parameters(), lr=5e-3)
    for _ in range(num_steps):
        x0, t = all_x0[torch.randint(4000, (256,))], torch.rand(256)
        noise = all_noise[torch.randint(4000, (256,))]
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (straight(xt, t) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return straight, sample, losses


def hunt_2(points, num_steps=400):
    """Script 2 of the bug hunt: it runs, and it is wrong."""

    def make_velocity():
        layers = [nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)]
        network = nn.Sequential(*layers)

        def velocity(x, t):
            angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
            return network(torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1))

        return network, velocity

    @torch.no_grad()
    def sample(velocity, noise, num_calls):
        x = noise
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            x = x - velocity(x, t) / num_calls
        return x

    losses = []
    network, velocity = make_velocity()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    t = torch.rand(1).expand(256)
    for _ in range(num_steps):
        x0 = points[torch.randint(len(points), (256,))]
        noise = torch.randn(256, 2)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    all_noise = torch.randn(4000, 2)
    all_x0 = sample(velocity, all_noise, 20)
    straight_network, straight = make_velocity()
    optimizer = torch.optim.Adam(straight_network.parameters(), lr=5e-3)
    for _ in range(num_steps):
        rows, t = torch.randint(4000, (256,)), torch.rand(256)
        x0, noise = all_x0[rows], all_noise[rows]
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (straight(xt, t) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return straight, sample, losses


# ------------------------------------------------------------------ what they show


class TrainedFlow(NamedTuple):
    """What a script returns.

    Attributes:
        velocity: points `[B, 2]` and times `[B]` to the straightened velocity, `[B, 2]`.
        sample: `sample(velocity, noise, num_calls)` to points, `[B, 2]`.
        losses: of each step, of the first training and then of the second.
    """

    velocity: Callable[..., Tensor]
    sample: Callable[..., Tensor]
    losses: list[float]


class FlowHealth(NamedTuple):
    """What is measured of a script.

    Attributes:
        near_slow, near_one: share of 1,000 drawn points near a mode after 20 calls and after one.
        first, second: loss of both trainings, the mean over the last tenth of each.
    """

    near_slow: float
    near_one: float
    first: float
    second: float


# name: what one would see
FAULTS = {
    "pairs that do not belong together": (
        "the loss of the second training would be as high as that of the first, and one call would"
        " draw a blob in the middle of the ring"
    ),
    "a single time for the whole run": (
        "the loss of the first training would settle below that of the healthy script, that of the"
        " second would be nearly 0, and hardly any drawn point would be near a mode"
    ),
    "gradients never set to zero": (
        "the losses would grow far beyond those of the healthy script, and the drawn points would"
        " be far away from the ring"
    ),
    "pairs made with one call": (
        "the loss of the second training would be low, and 20 calls and one alike would draw a"
        " blob in the middle of the ring"
    ),
    "second training at t = 1 alone": (
        "the loss of the second training would be nearly 0, and one call would draw the ring better"
        " than 20 calls"
    ),
    "target with the wrong sign": (
        "the loss of the first training would be that of the healthy script, that of the second"
        " low, and 20 calls would draw a cloud that fills the inside of the ring"
    ),
    "times of the walk in the wrong order": (
        "the loss of the first training would be that of the healthy script, that of the second"
        " would be low, and 20 calls would draw the ring, but one call would not"
    ),
    "the same noise in every step": (
        "the loss of the first training would be nearly 0, and that of the second higher"
    ),
}
APART, ONE_TIME = list(FAULTS)[:2]

HUNTS = {
    1: BugHunt(
        hunt_1,
        APART,
        "the loss of the second training is as high as that of the first, and one call draws a blob"
        " in the middle of the ring",
        "Draw the rows once, then take point and noise of the same rows: all_x0[rows] and"
        " all_noise[rows]. Pairs at random cross as they did in the first training, so nothing"
        " gets straight.",
    ),
    2: BugHunt(
        hunt_2,
        ONE_TIME,
        "the loss of the first training settles below that of the healthy script, that of the"
        " second is nearly 0, and hardly any drawn point is near a mode",
        "t = torch.rand(256) inside the loop. The network learns the velocity at one time alone,"
        " and the sampler asks at all others; reflow then straightens a flow that leads nowhere.",
    ),
}


def fault_list() -> str:
    """Returns the names of the faults with their numbers, one a line."""
    return numbered_faults(FAULTS)


class FlowRun(NamedTuple):
    """A script's result, what was measured of it, and 500 points drawn by 20 calls and by one."""

    trained: TrainedFlow
    health: FlowHealth
    slow: Tensor
    one: Tensor


def run_hunts(num_steps: int = 400) -> dict[int, FlowRun]:
    """Returns what the two scripts (1 and 2) and the healthy one (0) make of the ring, a few
    seconds in all; equal numbers of steps give equal results.

    Args:
        num_steps: of each of the two trainings of a script.
    """
    scripts = {0: healthy, **{number: hunt.script for number, hunt in HUNTS.items()}}
    return {number: _run(script, num_steps) for number, script in scripts.items()}


def _run(script: Callable[..., Any], num_steps: int) -> FlowRun:
    with fixed_torch_seed():
        trained = TrainedFlow(*script(_trial_points(), num_steps))
    noise = _fresh_noise(500)
    drawn = [trained.sample(trained.velocity, noise, calls) for calls in (20, 1)]
    return FlowRun(trained, _health(trained), *drawn)


def _trial_points() -> Tensor:
    return flow_points(4000, make_rng(10, 1))


def _fresh_noise(num: int) -> Tensor:
    return torch.randn(num, 2, generator=make_rng(10, 2))


def _health(trained: TrainedFlow) -> FlowHealth:
    noise, num = _fresh_noise(1000), len(trained.losses) // 2
    near = [
        flow_coverage(trained.sample(trained.velocity, noise, calls)).share_near
        for calls in (20, 1)
    ]
    late = max(1, num // 10)
    ends = (trained.losses[num - late : num], trained.losses[-late:])
    return FlowHealth(*near, *(sum(part) / late for part in ends))


def symptoms(runs: Mapping[int, FlowRun], number: int) -> Figure:
    """Returns the losses of one broken script (dashed: the healthy one) beside the points that it
    draws by 20 calls and by one.

    Args:
        runs: of `run_hunts`.
        number: of the script, 1 or 2.
    """
    from course_utils.plotting.canvas import OKABE_ITO, describe, new_figure

    fig = new_figure(2.6)
    curve, *clouds = fig.subplots(1, 3, width_ratios=(1.25, 1, 1))
    for which, style in ((number, {"color": OKABE_ITO[4]}), (0, {"color": "k", "ls": "--"})):
        losses = torch.tensor(runs[which].trained.losses, dtype=torch.float64)
        width = max(1, len(losses) // 80)
        means = losses[: len(losses) // width * width].view(-1, width).mean(1)
        curve.plot(torch.arange(len(means)) * width, means, linewidth=1.0, **style)
    curve.axvline(len(runs[number].trained.losses) / 2, color="0.6", linewidth=0.8)
    curve.set(xlabel="step", title="loss (dashed: healthy)")
    run = runs[number]
    for axes, points, name in zip(clouds, (run.slow, run.one), ("20 calls", "1 call")):
        axes.plot(*ring_centres().T.tolist(), "o", markersize=8, mfc="none", mec=OKABE_ITO[1])
        axes.scatter(*points.clamp(-2, 2).T.tolist(), s=3, color=OKABE_ITO[0], linewidths=0)
        axes.set(xlim=(-2, 2), ylim=(-2, 2), aspect="equal", xticks=[], yticks=[], title=name)
    given, right = run.health, runs[0].health
    return describe(
        fig,
        f"Script {number}: the loss of the first training ends at {given.first:.2f} (healthy:"
        f" {right.first:.2f}), that of the second at {given.second:.3f} (healthy:"
        f" {right.second:.3f}). Beside it 500 drawn points; near a mode are {given.near_slow:.0%}"
        f" after 20 calls and {given.near_one:.0%} after one (healthy: {right.near_slow:.0%} and"
        f" {right.near_one:.0%}).",
    )


# ------------------------------------------------------------------ the trial of a mended script

NUM_STEPS = 400
FAIR = 0.6  # of the healthy script's share of points near a mode
TOO_LOW = 0.9  # times the healthy script's first loss, which no right script falls below


@functools.lru_cache(maxsize=1)
def _healthy_run() -> FlowRun:
    return _run(healthy, NUM_STEPS)


@functools.lru_cache(maxsize=len(HUNTS))
def _ill_losses(script: Callable[..., Any]) -> list[float]:
    return _run(script, NUM_STEPS).trained.losses


def _try_out(hunt: BugHunt, script: Callable[..., Any]) -> None:
    """Raises `Wrong` unless a mended script trains and draws as well as the healthy one."""
    trained = _checked(script)
    try:
        _check_health(_health(trained))
    except Wrong as wrong:
        if trained.losses == _ill_losses(hunt.script):
            raise Wrong(f"The script still does what it did: {hunt.seen}.") from wrong
        raise


def _checked(script: Callable[..., Any]) -> TrainedFlow:
    """Returns what a script returns, with its kinds and shapes checked."""
    result = script(_trial_points(), NUM_STEPS)
    if result is None:
        raise Wrong(NO_RETURN)
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        raise Wrong(
            f"Expected velocity, sample and losses, as the script returns them, got"
            f" {kind_of(result)}."
        )
    trained = TrainedFlow(*result)
    if not callable(trained.velocity) or not callable(trained.sample):
        raise Wrong("Expected the functions velocity and sample first, then the list of losses.")
    if not isinstance(trained.losses, list) or len(trained.losses) != 2 * NUM_STEPS:
        raise Wrong(
            f"Expected a list of {2 * NUM_STEPS} losses, {NUM_STEPS} of each training: keep"
            " num_steps and losses as they are."
        )
    if not torch.isfinite(torch.tensor(trained.losses, dtype=torch.float64)).all():
        raise Wrong("Your script reports NaN or infinity: its training diverges.")
    noise = _fresh_noise(3)
    drawn = trained.sample(trained.velocity, noise, 2)
    if not isinstance(drawn, Tensor) or drawn.shape != noise.shape or not drawn.isfinite().all():
        raise Wrong(
            "Expected sample(velocity, noise, num_calls) to give finite points [3, 2] for 3 noises,"
            f" got {kind_of(drawn)}."
        )
    return trained


def _check_health(given: FlowHealth) -> None:
    right = _healthy_run().health
    if given.first < TOO_LOW * right.first:
        raise Wrong(
            f"Your first loss ends at {given.first:.2f}, where a right script has"
            f" {right.first:.2f}. With new noise and times in each step it cannot be lower: are"
            " both new in each step?"
        )
    if given.near_slow < FAIR * right.near_slow:
        raise Wrong(
            f"After 20 calls {given.near_slow:.0%} of the points are near a mode (a right script:"
            f" {right.near_slow:.0%}): the flow does not lead to the ring. Look at times, target"
            " and sampler."
        )
    if given.near_one < FAIR * right.near_one:
        raise Wrong(
            f"20 calls are right, but after one call {given.near_one:.0%} of the points are near a"
            f" mode (a right script: {right.near_one:.0%}): the second flow is not straight. Look"
            " at its pairs."
        )


# ------------------------------------------------------------------ exercises


HUNT_EXERCISES = hunt_exercises(
    "10",
    HUNTS,
    FAULTS,
    healthy,
    _try_out,
    shown="curve and pictures",
    returned="velocity, sample and losses",
)
