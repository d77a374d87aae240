"""Flows on the ring of eight Gaussians: small enough to be trained in seconds, and with an exact
velocity to compare with. Training, reflow, a student of one call, and MeanFlow with its divergence.

As everywhere in the course t = 0 is the data and t = 1 the noise, so a velocity points from the
data to the noise.

Source: flow matching: Lipman et al. 2023 (arXiv:2210.02747); reflow: Liu et al. 2023
(arXiv:2209.03003); MeanFlow: Geng et al. 2025 (arXiv:2505.13447).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.models.diffusion.exact import GaussianMixture, ring
from course_utils.models.diffusion.schedules import flow_schedule
from course_utils.studies.ring import RADIUS, RingCoverage, ring_coverage, ring_points

FLOW_STD = 0.1  # of a mode: twice that of the GANs' ring, so that seconds of training are enough
HIDDEN_DIM, NUM_FREQUENCIES = 64, 4
BATCH_SIZE, LEARNING_RATE = 256, 4e-3
DIVERGED = 1e3  # a loss above it, or one that is no number

PointVelocity = Callable[[Tensor, Tensor], Tensor]  # points [B, 2] and times [B] -> [B, 2]
Couples = tuple[Tensor, Tensor]  # points [N, 2], and the noise [N, 2] that belongs to each


class PointFlow(nn.Module):
    """A perceptron that gives points `[B, 2]` at the times `[B]` a velocity, `[B, 2]`.

    With one time it is also given sines of the place, without which seconds of training find the
    circle but not the modes on it. MeanFlow differentiates by the place, so there it has none.

    Args:
        num_times: how many times it is told; MeanFlow tells it two, as `forward(x, t, r)`.
        fastest: the highest frequency of its sines, in radians per unit of time.
    """

    frequencies: Tensor
    waves: Tensor

    def __init__(self, num_times: int = 1, fastest: float = 8.0) -> None:
        super().__init__()
        require(num_times in (1, 2), "num_times", "1 or 2", num_times)
        steps = torch.linspace(0, 1, NUM_FREQUENCIES)
        self.register_buffer("frequencies", fastest**steps)
        self.register_buffer("waves", torch.tensor([2.0, 4.0, 8.0] if num_times == 1 else []))
        features = 2 + 4 * len(self.waves) + num_times * (1 + 2 * NUM_FREQUENCIES)
        self.layers = nn.Sequential(
            nn.Linear(features, HIDDEN_DIM),
            nn.SiLU(),
            nn.Linear(HIDDEN_DIM, HIDDEN_DIM),
            nn.SiLU(),
            nn.Linear(HIDDEN_DIM, HIDDEN_DIM),
            nn.SiLU(),
            nn.Linear(HIDDEN_DIM, 2),
        )

    def forward(self, x: Tensor, *times: Tensor) -> Tensor:
        """Returns the velocity at the places x `[B, 2]` and times `[B]`, `[B, 2]`."""
        angles = (x[:, None] * self.waves[:, None]).flatten(1)
        parts = [x, angles.sin(), angles.cos()]
        for t in times:
            angles = t[:, None] * self.frequencies
            parts += [t[:, None], angles.sin(), angles.cos()]
        return self.layers(torch.cat(parts, dim=1))


def ring_mixture() -> GaussianMixture:
    """Returns the distribution that the flows learn, eight Gaussians of standard deviation 0.1 on a
    circle of radius 1, with which everything about its flow is exact.
    """
    return ring(num_classes=1, radius=RADIUS, width=FLOW_STD)


def flow_points(n: int, rng: torch.Generator | None = None) -> Tensor:
    """Returns `n` points of `ring_mixture`, float32 `[n, 2]`."""
    return ring_points(n, rng, FLOW_STD)


def exact_velocity(mixture: GaussianMixture, x: Tensor, t: Tensor) -> Tensor:
    """Returns E[noise - x0 | x_t = x], the velocity of the exact flow, float64 `[B, 2]`, for points
    `[B, 2]` and times `[B]` above 0.
    """
    require(bool((t > 0).all()), "t", "times above 0", t.min().item())
    x, t = x.double(), t.double()
    return (x - mixture.denoise(flow_schedule(), x, t)) / t[:, None]


def train_point_flow(
    loss_of: Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor],
    *,
    couples: Couples | None = None,
    start: nn.Module | None = None,
    num_steps: int = 1500,
    seed: int = 0,
    on_step: Callable[[float, nn.Module], None] | None = None,
) -> PointFlow:
    """Returns a velocity that was trained on points of the ring, or on given couples.

    Args:
        loss_of: `loss_of(network, x0, noise, rng)`, one number for each point, `[B]`.
        couples: points and the noise that belongs to each; None draws both anew in each step.
        start: a velocity whose weights the training starts from; None starts from new ones.
        num_steps: of Adam, with batches of 256; the learning rate falls to 0 along a cosine.
        seed: of weights and draws.
        on_step: called with the loss and the network after each step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PointFlow()
    if start is not None:
        network.load_state_dict(start.state_dict())
    rng, optimizer = make_rng(seed, 10), torch.optim.Adam(network.parameters(), LEARNING_RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    for _ in range(num_steps):
        x0, noise = _batch(couples, rng)
        loss = loss_of(network, x0, noise, rng).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
        if on_step is not None:
            on_step(loss.item(), network)
    return network.eval()


def _batch(couples: Couples | None, rng: torch.Generator) -> Couples:
    if couples is None:
        return flow_points(BATCH_SIZE, rng), torch.randn(BATCH_SIZE, 2, generator=rng)
    rows = torch.randint(len(couples[0]), (BATCH_SIZE,), generator=rng)
    return couples[0][rows], couples[1][rows]


@torch.no_grad()
def walk_points(velocity: PointVelocity, noise: Tensor, num_steps: int) -> Tensor:
    """Returns the places of points on their way from noise `[B, 2]` at t = 1 to t = 0 in equal
    Euler steps, `[num_steps + 1, B, 2]`.
    """
    require(num_steps >= 1, "num_steps", "at least 1", num_steps)
    places = [noise]
    for step in range(num_steps, 0, -1):
        x = places[-1]
        places.append(x - velocity(x, x.new_full((len(x),), step / num_steps)) / num_steps)
    return torch.stack(places)


def flow_coverage(points: Tensor) -> RingCoverage:
    """Returns how many modes of this ring points `[N, 2]` hit, and what share is near one."""
    return ring_coverage(points, FLOW_STD)


def exact_divergence(velocity: PointVelocity, x: Tensor, t: Tensor) -> Tensor:
    """Returns the sum of dv_i/dx_i at points `[B, D]` and times `[B]`, `[B]`: no estimate, at the
    cost of D gradients.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = velocity(x, t)
        parts = [
            torch.autograd.grad(v[:, place].sum(), x, retain_graph=True)[0][:, place]
            for place in range(x.shape[1])
        ]
    return torch.stack(parts).sum(0).detach()


class MeanFlowRun(NamedTuple):
    """A training of MeanFlow on the ring.

    Attributes:
        network: `network(x, t, r)`, the mean velocity between r and t; None where it diverged.
        losses: of each step, up to the one at which it diverged.
        coverage: of 2,000 points drawn by one call; None where it diverged.
    """

    network: PointFlow | None
    losses: list[float]
    coverage: RingCoverage | None


def train_mean_flow(
    *,
    num_steps: int = 1500,
    seed: int = 0,
    learning_rate: float = LEARNING_RATE,
    fastest: float = 8.0,
    share_apart: float = 0.5,
    stop_gradient: bool = True,
    adaptive: bool = True,
) -> MeanFlowRun:
    """Returns what MeanFlow learns on the ring. Its network answers with the mean velocity u
    between two times r <= t, so that one call, x_0 = x_1 - u(x_1, 1, 0), draws. It is trained on

        u(x_t, t, r) = v - (t - r) d/dt u(x_t, t, r),

    where d/dt follows the path, v = noise - x0. The target contains a derivative of the network
    itself, and so the training may diverge.

    Args:
        num_steps: of Adam, with batches of 256 and gradients cut to a norm of 1.
        seed: of weights and draws.
        learning_rate: at the beginning; it falls to 0 along a cosine.
        fastest: see `PointFlow`; the derivative by t grows with it.
        share_apart: of the batch that has r < t; for the rest r = t, which is flow matching.
        stop_gradient: whether the target counts as a constant, as the paper has it.
        adaptive: divide each point's loss by its own size, as the paper does with its power 1.

    Source: Geng et al. 2025 (arXiv:2505.13447), eq. 6, 10 and 22.
    """
    require(0 <= share_apart <= 1, "share_apart", "0 to 1", share_apart)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PointFlow(2, fastest)
    rng, optimizer = make_rng(seed, 11), torch.optim.Adam(network.parameters(), learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    losses: list[float] = []
    for _ in range(num_steps):
        errors = _mean_flow_errors(network, share_apart, stop_gradient, rng)
        losses.append(errors.mean().item())
        if not losses[-1] < DIVERGED:  # NaN compares as false
            return MeanFlowRun(None, losses, None)
        weights = 1 / (errors.detach() + 1e-3) if adaptive else torch.ones_like(errors)
        optimizer.zero_grad()
        (weights * errors).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        falling.step()
    network.eval()
    return MeanFlowRun(network, losses, flow_coverage(draw_mean_flow(network, 2000, seed)))


def _mean_flow_errors(
    network: PointFlow, share_apart: float, stop_gradient: bool, rng: torch.Generator
) -> Tensor:
    """Returns the squared errors of one batch, `[256]`."""
    x0, noise = _batch(None, rng)
    two = torch.rand(2, BATCH_SIZE, generator=rng)
    t, r = two.max(0).values, two.min(0).values
    together = torch.rand(BATCH_SIZE, generator=rng) >= share_apart
    r = torch.where(together, t, r)
    xt, v = (1 - t[:, None]) * x0 + t[:, None] * noise, noise - x0
    moves = (v, torch.ones_like(t), torch.zeros_like(r))
    _, found = torch.autograd.functional.jvp(
        network, (xt, t, r), moves, create_graph=not stop_gradient
    )
    growth = cast(Tensor, found)
    return (network(xt, t, r) - (v - (t - r)[:, None] * growth)).square().sum(1)


@torch.no_grad()
def draw_mean_flow(network: nn.Module, num: int, seed: int = 0) -> Tensor:
    """Returns `num` points `[num, 2]`, each drawn with one call of a MeanFlow network."""
    noise = torch.randn(num, 2, generator=make_rng(seed, 12))
    return noise - network(noise, torch.ones(num), torch.zeros(num))


def mean_flow_words(runs: dict[str, Sequence[MeanFlowRun]]) -> str:
    """Returns a line for each setting: how many of its trainings diverged, and what the others
    drew in one call.

    Args:
        runs: `{setting: its trainings}`.
    """
    lines = []
    for name, tries in runs.items():
        lost = [run for run in tries if run.coverage is None]
        shares = [run.coverage.share_near for run in tries if run.coverage is not None]
        end = f"{len(lost)} of {len(tries)} diverged"
        if lost:
            end += f", the first at step {min(len(run.losses) for run in lost):,}"
        if shares:
            mean = math.fsum(shares) / len(shares)
            end += f"; share near a mode after one call: {mean:.2f}"
        lines.append(f"{name}: {end}")
    return "\n".join(lines)
