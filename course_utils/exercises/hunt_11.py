"""The bug hunt of notebook 11: five scripts that train a small text-to-image model, run without an
error message, and are wrong; what each of them shows, and the trial of a mended one.

Their pictures have two numbers each, brightness and size, so that a training takes seconds, and
their captions say one of three values of each, both or none. Each script is whole, as a learner
would write it, so they repeat each other on purpose. All of them take pictures `[N, 2]` and tokens
`[N, 4]` and return a function that draws, and the losses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# token: its word; 0 is no word, and 1 stands at the start of each caption
WORDS = ("", "start", "dark", "grey", "light", "small", "middle", "big")
BRIGHTNESS, SIZE = (40.0, 100.0, 160.0), (5.0, 6.0, 7.0)  # grey levels; pixels
SPREAD = 0.15  # of a picture around its values, in steps from one value to the next


# ------------------------------------------------------------------ the scripts


def healthy(pictures, tokens, num_steps=500):
    """The script without a fault."""
    mean, std = pictures.mean(0), pictures.std(0)
    latents = (pictures - mean) / std
    words, ask = nn.Embedding(8, 32), nn.Sequential(nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 32))
    layers = [nn.Linear(41, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)]
    answer = nn.Sequential(*layers)

    def velocity(x, t, tokens):
        angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
        place = torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1)
        codes = words(tokens)
        scores = (codes @ ask(place)[:, :, None])[:, :, 0] / 32**0.5
        weights = scores.masked_fill(tokens == 0, -torch.inf).softmax(dim=1)
        told = (weights[:, None] @ codes)[:, 0]
        return answer(torch.cat([place, told], dim=1))

    @torch.no_grad()
    def draw(tokens, noise, w, num_calls=20):
        x, away = noise, F.pad(tokens[:, :1], (0, 3))
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            wanted, unwanted = velocity(x, t, tokens), velocity(x, t, away)
            x = x - (unwanted + w * (wanted - unwanted)) / num_calls
        return x * std + mean

    losses = []
    parameters = [*words.parameters(), *ask.parameters(), *answer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(num_steps):
        rows = torch.randint(len(latents), (256,))
        x0, captions = latents[rows], tokens[rows]
        hidden = torch.rand(256) < 0.1
        captions[hidden, 1:] = 0
        noise, t = torch.randn(256, 2), torch.rand(256)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t, captions) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return draw, losses


def hunt_1(pictures, tokens, num_steps=500):
    """Script 1 of the bug hunt: it runs, and it is wrong."""
    mean, std = pictures.mean(0), pictures.std(0)
    latents = (pictures - mean) / std
    words, ask = nn.Embedding(8, 32), nn.Sequential(nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 32))
    layers = [nn.Linear(41, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)]
    answer = nn.Sequential(*layers)

    def velocity(x, t, tokens):
        angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
        place = torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1)
        codes = words(tokens)
        scores = (codes @ ask(place)[:, :, None])[:, :, 0] / 32**0.5
        weights = scores.masked_fill(tokens == 0, -torch.inf).softmax(dim=1)
        told = (weights[:, None] @ codes)[:, 0]
        return answer(torch.cat([place, told], dim=1))

    @torch.no_grad()
    def draw(tokens, noise, w, num_calls=20):
        x, away = noise, F.pad(tokens[:, :1], (0, 3))
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            wanted, unwanted = velocity(x, t, tokens), velocity(x, t, away)
            x = x - (unwanted + w * (wanted - unwanted)) / num_calls
        return x * std + mean

    losses = []
    parameters = [*words.parameters(), *ask.parameters(), *answer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(num_steps):
        rows = torch.randint(len(latents), (256,))
        x0, captions = latents[rows], tokens[torch.randint(len(tokens), (256,))]
        hidden = torch.rand(256) < 0.1
        captions[hidden, 1:] = 0
        noise, t = torch.randn(256, 2), torch.rand(256)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t, captions) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return draw, losses


def hunt_2(pictures, tokens, num_steps=500):
    """Script 2 of the bug hunt: it runs, and it is wrong."""
    mean, std = pictures.mean(0), pictures.std(0)
    latents = (pictures - mean) / std
    words, ask = nn.Embedding(8, 32), nn.Sequential(nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 32))
    layers = [nn.Linear(41, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)]
    answer = nn.Sequential(*layers)

    def velocity(x, t, tokens):
        angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
        place = torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1)
        codes = words(tokens)
        scores = (codes @ ask(place)[:, :, None])[:, :, 0] / 32**0.5
        weights = scores.masked_fill(tokens == 0, -torch.inf).softmax(dim=1)
        told = (weights[:, None] @ codes)[:, 0]
        return answer(torch.cat([place, told], dim=1))

    @torch.no_grad()
    def draw(tokens, noise, w, num_calls=20):
        x, away = noise, F.pad(tokens[:, :1], (0, 3))
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            wanted, unwanted = velocity(x, t, tokens), velocity(x, t, away)
            x = x - (unwanted + w * (wanted - unwanted)) / num_calls
        return x

    losses = []
    parameters = [*words.parameters(), *ask.parameters(), *answer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(num_steps):
        rows = torch.randint(len(latents), (256,))
        x0, captions = latents[rows], tokens[rows]
        hidden = torch.rand(256) < 0.1
        captions[hidden, 1:] = 0
        noise, t = torch.randn(256, 2), torch.rand(256)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t, captions) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return draw, losses


def hunt_3(pictures, tokens, num_steps=500):
    """Script 3 of the bug hunt: it runs, and it is wrong."""
    mean, std = pictures.mean(0), pictures.std(0)
    latents = pictures.clone()
    words, ask = nn.Embedding(8, 32), nn.Sequential(nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 32))
    layers = [nn.Linear(41, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)]
    answer = nn.Sequential(*layers)

    def velocity(x, t, tokens):
        angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
        place = torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1)
        codes = words(tokens)
        scores = (codes @ ask(place)[:, :, None])[:, :, 0] / 32**0.5
        weights = scores.masked_fill(tokens == 0, -torch.inf).softmax(dim=1)
        told = (weights[:, None] @ codes)[:, 0]
        return answer(torch.cat([place, told], dim=1))

    @torch.no_grad()
    def draw(tokens, noise, w, num_calls=20):
        x, away = noise, F.pad(tokens[:, :1], (0, 3))
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            wanted, unwanted = velocity(x, t, tokens), velocity(x, t, away)
            x = x - (unwanted + w * (wanted - unwanted)) / num_calls
        return x * std + mean

    losses = []
    parameters = [*words.parameters(), *ask.parameters(), *answer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(num_steps):
        rows = torch.randint(len(latents), (256,))
        x0, captions = latents[rows], tokens[rows]
        hidden = torch.rand(256) < 0.1
        captions[hidden, 1:] = 0
        noise, t = torch.randn(256, 2), torch.rand(256)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t, captions) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return draw, losses


def hunt_4(pictures, tokens, num_steps=500):
    """Script 4 of the bug hunt: it runs, and it is wrong."""
    mean, std = pictures.mean(0), pictures.std(0)
    latents = (pictures - mean) / std
    words, ask = nn.Embedding(8, 32), nn.Sequential(nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 32))
    layers = [nn.Linear(41, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)]
    answer = nn.Sequential(*layers)

    def velocity(x, t, tokens):
        angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
        place = torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1)
        codes = words(tokens)
        scores = (codes @ ask(place)[:, :, None])[:, :, 0] / 32**0.5
        weights = scores.masked_fill(tokens == 0, -torch.inf).softmax(dim=1)
        told = (weights[:, None] @ codes)[:, 0]
        return answer(torch.cat([place, told], dim=1))

    @torch.no_grad()
    def draw(tokens, noise, w, num_calls=20):
        x, away = noise, F.pad(tokens[:, :1], (0, 3))
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            wanted, unwanted = velocity(x, t, tokens), velocity(x, t, away)
            x = x - (wanted + w * (unwanted - wanted)) / num_calls
        return x * std + mean

    losses = []
    parameters = [*words.parameters(), *ask.parameters(), *answer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(num_steps):
        rows = torch.randint(len(latents), (256,))
        x0, captions = latents[rows], tokens[rows]
        hidden = torch.rand(256) < 0.1
        captions[hidden, 1:] = 0
        noise, t = torch.randn(256, 2), torch.rand(256)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t, captions) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return draw, losses


def hunt_5(pictures, tokens, num_steps=500):
    """Script 5 of the bug hunt: it runs, and it is wrong."""
    mean, std = pictures.mean(0), pictures.std(0)
    latents = (pictures - mean) / std
    words, ask = nn.Embedding(8, 32), nn.Sequential(nn.Linear(9, 64), nn.SiLU(), nn.Linear(64, 32))
    layers = [nn.Linear(41, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2)]
    answer = nn.Sequential(*layers)

    def velocity(x, t, tokens):
        angles = t[:, None] * torch.tensor([1.0, 3.0, 8.0])
        place = torch.cat([x, t[:, None], angles.sin(), angles.cos()], dim=1)
        codes = words(tokens)
        scores = (codes @ ask(place)[:, :, None])[:, :, 0] / 32**0.5
        weights = scores.masked_fill(tokens > 0, -torch.inf).softmax(dim=1)
        told = (weights[:, None] @ codes)[:, 0]
        return answer(torch.cat([place, told], dim=1))

    @torch.no_grad()
    def draw(tokens, noise, w, num_calls=20):
        x, away = noise, F.pad(tokens[:, :1], (0, 3))
        for step in range(num_calls, 0, -1):
            t = torch.full((len(x),), step / num_calls)
            wanted, unwanted = velocity(x, t, tokens), velocity(x, t, away)
            x = x - (unwanted + w * (wanted - unwanted)) / num_calls
        return x * std + mean

    losses = []
    parameters = [*words.parameters(), *ask.parameters(), *answer.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(num_steps):
        rows = torch.randint(len(latents), (256,))
        x0, captions = latents[rows], tokens[rows]
        hidden = torch.rand(256) < 0.1
        captions[hidden, 1:] = 0
        noise, t = torch.randn(256, 2), torch.rand(256)
        xt = (1 - t[:, None]) * x0 + t[:, None] * noise
        loss = (velocity(xt, t, captions) - (noise - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return draw, losses


# ------------------------------------------------------------------ what they show


class TrainedPainter(NamedTuple):
    """What a script returns.

    Attributes:
        draw: `draw(tokens, noise, w)` to pictures, `[B, 2]`.
        losses: of each step.
    """

    draw: Callable[..., Tensor]
    losses: list[float]


class PainterHealth(NamedTuple):
    """What is measured of a script.

    Attributes:
        plain, guided: share of the words that drawings obey, without guidance (w = 1) and with
            w = 3.
        moved: how far the drawings of two captions from equal noise are apart, in steps from one
            value to the next; 0 where the captions change nothing.
        loss: the mean over the last tenth.
    """

    plain: float
    guided: float
    moved: float
    loss: float


# name: what one would see
FAULTS = {
    "captions that belong to other pictures": (
        "the loss would settle above that of the healthy script, and for each caption all nine"
        " kinds of pictures would be drawn, with guidance as well as without"
    ),
    "drawings not scaled back": (
        "the loss would be that of the healthy script, and all drawings would be close to 0, far"
        " away from every picture"
    ),
    "latents not normalised": (
        "the loss would be many times that of the healthy script, and the drawings far away"
        " from every picture"
    ),
    "the mask upside down": (
        "the loss would settle above that of the healthy script, and equal noise would give"
        " exactly the same drawing, whatever the caption says"
    ),
    "guidance in the wrong direction": (
        "the loss would be that of the healthy script, the caption would be ignored at w = 1, and"
        " at w = 3 the drawings would avoid what it says"
    ),
    "captions never hidden": (
        "the loss would end a little below that of the healthy script, and only the drawings with"
        " guidance would be somewhat worse"
    ),
    "target with the wrong sign": (
        "the loss would be that of the healthy script, and the drawings would be far outside of"
        " all pictures"
    ),
    "all captions hidden": (
        "the loss would settle above that of the healthy script, and a caption would move the"
        " drawings a little, without being followed"
    ),
}
SHUFFLED, UNSCALED, UNNORMALISED, MASK, AWAY = list(FAULTS)[:5]

HUNTS = {
    1: BugHunt(
        hunt_1,
        SHUFFLED,
        "the loss settles above the healthy script's, and all nine kinds of pictures are drawn for"
        " a caption, though not quite the same ones for another",
        "Take pictures and captions of the same rows: latents[rows], tokens[rows]. As it was, the"
        " network learned that captions say nothing about pictures.",
    ),
    2: BugHunt(
        hunt_2,
        UNSCALED,
        "the loss is the healthy script's, and all drawings are close to 0",
        "return x * std + mean: the flow draws normalised latents, and the way back is missing.",
    ),
    3: BugHunt(
        hunt_3,
        UNNORMALISED,
        "the loss is many times the healthy script's, and the drawings are far away from"
        " every picture",
        "latents = (pictures - mean) / std: the flow starts from noise of standard deviation 1, and"
        " its data should have the same scale.",
    ),
    4: BugHunt(
        hunt_4,
        AWAY,
        "the loss is the healthy script's; at w = 1 the caption is ignored, and at w = 3 the"
        " drawings avoid what it says",
        "unwanted + w * (wanted - unwanted): from the answer without the caption towards that with"
        " it. As it was, w led the other way.",
    ),
    5: BugHunt(
        hunt_5,
        MASK,
        "the loss settles above the healthy script's, and equal noise gives exactly the same"
        " drawing for both captions",
        "masked_fill(tokens == 0, -inf) takes absent words out. As it was, the network saw only"
        " them, and they are all alike.",
    ),
}


def fault_list() -> str:
    """Returns the names of the faults with their numbers, one a line."""
    return numbered_faults(FAULTS)


class PainterRun(NamedTuple):
    """A script's result, what was measured of it, and 100 drawings for each of two captions,
    without guidance and with it, each `[2, 100, 2]`.
    """

    trained: TrainedPainter
    health: PainterHealth
    plain: Tensor
    guided: Tensor


GUIDANCE = 3.0
SHOWN = torch.tensor([[1, 2, 5, 0], [1, 4, 7, 0]])  # dark small; light big
_CENTRES = torch.tensor([BRIGHTNESS, SIZE])  # [2, 3]
_MIDDLE, _STEP = _CENTRES[:, 1], _CENTRES[:, 1] - _CENTRES[:, 0]


def run_hunts(num_steps: int = 500) -> dict[int, PainterRun]:
    """Returns what the five scripts (1 to 5) and the healthy one (0) learn, half a minute in all;
    equal numbers of steps give equal results.

    Args:
        num_steps: of each training.
    """
    scripts = {0: healthy, **{number: hunt.script for number, hunt in HUNTS.items()}}
    return {number: _run(script, num_steps) for number, script in scripts.items()}


def _run(script: Callable[..., Any], num_steps: int) -> PainterRun:
    with fixed_torch_seed():
        trained = TrainedPainter(*script(*_trial_data(), num_steps))
    return PainterRun(trained, _health(trained), *(_shown(trained, w) for w in (1.0, GUIDANCE)))


def _trial_data() -> tuple[Tensor, Tensor]:
    """Returns 4,000 pictures `[N, 2]` and their captions `[N, 4]`; a word is left out in a quarter
    of them.
    """
    rng, num = make_rng(11, 1), 4000
    codes = torch.randint(3, (num, 2), generator=rng)
    noise = SPREAD * torch.randn(num, 2, generator=rng)
    pictures = _MIDDLE + _STEP * (codes - 1 + noise)
    said = torch.rand(num, 2, generator=rng) >= 0.25
    words = (codes + torch.tensor([2, 5])) * said
    ordered = words.gather(1, (~said).long().argsort(dim=1, stable=True))  # no word goes to the end
    return pictures, F.pad(F.pad(ordered, (1, 0), value=1), (0, 1))


def _noise(num: int) -> Tensor:
    return torch.randn(num, 2, generator=make_rng(11, 2))


def _shown(trained: TrainedPainter, w: float, num: int = 100) -> Tensor:
    return torch.stack([trained.draw(row.expand(num, -1), _noise(num), w) for row in SHOWN])


def _health(trained: TrainedPainter) -> PainterHealth:
    plain, guided = (_share_right(trained, w) for w in (1.0, GUIDANCE))
    first, second = _shown(trained, 1.0)
    moved = ((first - second) / _STEP).norm(dim=1).mean().item()
    late = trained.losses[-max(1, len(trained.losses) // 10) :]
    return PainterHealth(plain, guided, moved, sum(late) / len(late))


def _share_right(trained: TrainedPainter, w: float, num: int = 100) -> float:
    """Returns the share of words that hold for drawings of all nine captions of two words."""
    codes = torch.cartesian_prod(torch.arange(3), torch.arange(3)).repeat(num, 1)
    tokens = F.pad(F.pad(codes + torch.tensor([2, 5]), (1, 0), value=1), (0, 1))
    places = (trained.draw(tokens, _noise(len(tokens)), w) - _MIDDLE) / _STEP
    return ((places - (codes - 1)).abs() < 0.5).float().mean().item()


def symptoms(runs: Mapping[int, PainterRun], number: int) -> Figure:
    """Returns the loss of one broken script (dashed: the healthy one) beside the pictures that it
    draws for two captions, without guidance and with it.

    Args:
        runs: of `run_hunts`.
        number: of the script, 1 to 5.
    """
    from course_utils.plotting.canvas import OKABE_ITO, describe, new_figure

    fig = new_figure(2.7)
    curve, *clouds = fig.subplots(1, 3, width_ratios=(1.25, 1, 1))
    for which, style in ((number, {"color": OKABE_ITO[4]}), (0, {"color": "k", "ls": "--"})):
        losses = torch.tensor(runs[which].trained.losses, dtype=torch.float64)
        width = max(1, len(losses) // 50)
        means = losses[: len(losses) // width * width].view(-1, width).mean(1)
        curve.plot(torch.arange(len(means)) * width, means, linewidth=1.0, **style)
    curve.set(xlabel="step", title="loss (dashed: healthy)")
    run, centres = runs[number], torch.cartesian_prod(*_CENTRES)
    for axes, both, w in zip(clouds, (run.plain, run.guided), (1, GUIDANCE)):
        axes.plot(*centres.T.tolist(), "o", markersize=16, mfc="none", mec="0.6")
        for points, name, place in zip(both, ("dark small", "light big"), (0, 1)):
            marks = {"s": 6, "marker": "ox"[place], "color": OKABE_ITO[place], "linewidths": 0.7}
            axes.scatter(*points.T.tolist(), label=name, **marks)
        axes.set(title=f"drawn, w = {w:g}", xlabel="brightness", ylabel="size")
    clouds[0].legend(fontsize=7)
    given, right = run.health, runs[0].health
    return describe(
        fig,
        f"Script {number}: its loss ends at {given.loss:.2f} (healthy: {right.loss:.2f}). Of the"
        f" words its drawings obey {given.plain:.0%} without guidance and {given.guided:.0%} with w"
        f" = 3 (healthy: {right.plain:.0%} and {right.guided:.0%}); those of two captions are"
        f" {given.moved:.2f} steps apart (healthy: {right.moved:.2f}).",
    )


# ------------------------------------------------------------------ the trial of a mended script

NUM_STEPS = 500
FAIR = 0.85  # of the healthy script's share of right words


@functools.lru_cache(maxsize=1)
def _healthy_run() -> PainterRun:
    return _run(healthy, NUM_STEPS)


@functools.lru_cache(maxsize=len(HUNTS))
def _ill_run(script: Callable[..., Any]) -> PainterRun:
    return _run(script, NUM_STEPS)


def _try_out(hunt: BugHunt, script: Callable[..., Any]) -> None:
    """Raises `Wrong` unless a mended script trains and draws as well as the healthy one."""
    trained = _checked(script)
    try:
        _check_health(_health(trained))
    except Wrong as wrong:
        if _still_ill(trained, hunt):
            raise Wrong(f"The script still does what it did: {hunt.seen}.") from wrong
        raise


def _still_ill(trained: TrainedPainter, hunt: BugHunt) -> bool:
    ill = _ill_run(hunt.script)
    return trained.losses == ill.trained.losses and _health(trained) == ill.health


def _checked(script: Callable[..., Any]) -> TrainedPainter:
    """Returns what a script returns, with its kinds and shapes checked."""
    result = script(*_trial_data(), NUM_STEPS)
    if result is None:
        raise Wrong(NO_RETURN)
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Wrong(f"Expected draw and losses, as the script returns them, got {kind_of(result)}.")
    trained = TrainedPainter(*result)
    if not callable(trained.draw):
        raise Wrong("Expected the function draw first, then the list of losses.")
    if not isinstance(trained.losses, list) or len(trained.losses) != NUM_STEPS:
        raise Wrong(
            f"Expected a list of {NUM_STEPS} losses: keep num_steps and losses as they are."
        )
    if not torch.isfinite(torch.tensor(trained.losses, dtype=torch.float64)).all():
        raise Wrong("Your script reports NaN or infinity: its training diverges.")
    drawn = trained.draw(SHOWN, _noise(2), 2.0)
    if not isinstance(drawn, Tensor) or list(drawn.shape) != [2, 2] or not drawn.isfinite().all():
        raise Wrong(
            "Expected draw(tokens, noise, w) to give finite pictures [2, 2] for 2 captions, got"
            f" {kind_of(drawn)}."
        )
    return trained


def _check_health(given: PainterHealth) -> None:
    right = _healthy_run().health
    shares = f"{given.plain:.0%} of the words are obeyed without guidance"
    if given.moved < 0.5 * right.moved:
        raise Wrong(
            f"The caption hardly changes what is drawn, and {shares} (a right script:"
            f" {right.plain:.0%}): does the network see the words, and those of its picture?"
        )
    if given.plain < FAIR * right.plain:
        raise Wrong(
            f"Only {shares} (a right script: {right.plain:.0%}). Look at captions, target, sampler"
            " and scale."
        )
    if given.guided < FAIR * right.guided:
        raise Wrong(
            f"It is right without guidance, but with w = 3 only {given.guided:.0%} of the words are"
            f" obeyed (a right script: {right.guided:.0%}). Look at the hidden captions and at what"
            " w multiplies."
        )


# ------------------------------------------------------------------ exercises


HUNT_EXERCISES = hunt_exercises(
    "11", HUNTS, FAULTS, healthy, _try_out, shown="curve and pictures", returned="draw and losses"
)
