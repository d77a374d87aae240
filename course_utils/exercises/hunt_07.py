"""The bug hunt of notebook 07: five scripts of a diffusion model that run without an error message
and are wrong, what each of them shows, and the trial of a mended one.

Each script is whole, as a learner would write it, so they repeat each other on purpose. All of them
take uint8 images `[N, C, H, W]` with their labels, shrink the images to 14 x 14 pixels, and return
the trained velocity, the sampler and the loss of each step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.data.strokes import make_strokes
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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 14  # pixels; the scripts say it themselves, so that they can be copied whole


# ------------------------------------------------------------------ the scripts


def healthy(images, labels, num_steps=300):
    """The script without a fault."""
    x_all = F.adaptive_avg_pool2d(images / 127.5 - 1, 14).flatten(1)
    num_pixels, num_classes = x_all.shape[1], int(labels.max()) + 1
    network = nn.Sequential(
        nn.Linear(num_pixels + num_classes + 17, 256),
        nn.SiLU(),
        nn.Linear(256, 256),
        nn.SiLU(),
        nn.Linear(256, num_pixels),
    )

    def velocity(xt, t, y):
        angles = t[:, None] * 2.0 ** torch.arange(8)
        given = [xt, angles.sin(), angles.cos(), F.one_hot(y, num_classes + 1)]
        x0 = network(torch.cat(given, dim=1))
        return (xt - x0) / t[:, None].clamp(min=0.3)  # (x_t - image) / t is noise - image

    @torch.no_grad()
    def sample(noise, y, num_steps=20, guidance=2.0):
        x, no_label = noise, torch.full_like(y, num_classes)
        for step in range(num_steps, 0, -1):
            t = torch.full((len(y),), step / num_steps)
            plain, told = velocity(x, t, no_label), velocity(x, t, y)
            x = x - (plain + guidance * (told - plain)) / num_steps
        return x.clamp(-1, 1)

    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(num_steps):
        rows = torch.randint(len(x_all), (128,))
        x0, eps = x_all[rows], torch.randn(128, num_pixels)
        y = torch.where(torch.rand(128) < 0.1, num_classes, labels[rows])
        t = torch.rand(128)
        xt = (1 - t[:, None]) * x0 + t[:, None] * eps
        loss = (velocity(xt, t, y) - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return velocity, sample, losses


def hunt_1(images, labels, num_steps=300):
    """Script 1 of the bug hunt: it runs, and it is wrong."""
    x_all = F.adaptive_avg_pool2d(images / 127.5 - 1, 14).flatten(1)
    num_pixels, num_classes = x_all.shape[1], int(labels.max()) + 1
    network = nn.Sequential(
        nn.Linear(num_pixels + num_classes + 17, 256),
        nn.SiLU(),
        nn.Linear(256, 256),
        nn.SiLU(),
        nn.Linear(256, num_pixels),
    )

    def velocity(xt, t, y):
        angles = t[:, None] * 2.0 ** torch.arange(8)
        given = [xt, angles.sin(), angles.cos(), F.one_hot(y, num_classes + 1)]
        x0 = network(torch.cat(given, dim=1))
        return (xt - x0) / t[:, None].clamp(min=0.3)  # (x_t - image) / t is noise - image

    @torch.no_grad()
    def sample(noise, y, num_steps=20, guidance=2.0):
        x, no_label = noise, torch.full_like(y, num_classes)
        for step in range(num_steps, 0, -1):
            t = torch.full((len(y),), step / num_steps)
            plain, told = velocity(x, t, no_label), velocity(x, t, y)
            x = x + (plain + guidance * (told - plain)) / num_steps
        return x.clamp(-1, 1)

    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(num_steps):
        rows = torch.randint(len(x_all), (128,))
        x0, eps = x_all[rows], torch.randn(128, num_pixels)
        y = torch.where(torch.rand(128) < 0.1, num_classes, labels[rows])
        t = torch.rand(128)
        xt = (1 - t[:, None]) * x0 + t[:, None] * eps
        loss = (velocity(xt, t, y) - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return velocity, sample, losses


def hunt_2(images, labels, num_steps=300):
    """Script 2 of the bug hunt: it runs, and it is wrong."""
    x_all = F.adaptive_avg_pool2d(images / 127.5 - 1, 14).flatten(1)
    num_pixels, num_classes = x_all.shape[1], int(labels.max()) + 1
    network = nn.Sequential(
        nn.Linear(num_pixels + num_classes + 17, 256),
        nn.SiLU(),
        nn.Linear(256, 256),
        nn.SiLU(),
        nn.Linear(256, num_pixels),
    )

    def velocity(xt, t, y):
        angles = t[:, None] * 2.0 ** torch.arange(8)
        given = [xt, angles.sin(), angles.cos(), F.one_hot(y, num_classes + 1)]
        x0 = network(torch.cat(given, dim=1))
        return (xt - x0) / t[:, None].clamp(min=0.3)  # (x_t - image) / t is noise - image

    @torch.no_grad()
    def sample(noise, y, num_steps=20, guidance=2.0):
        x, no_label = noise, torch.full_like(y, num_classes)
        for step in range(num_steps, 0, -1):
            t = torch.full((len(y),), step / num_steps)
            plain, told = velocity(x, t, no_label), velocity(x, t, y)
            x = x - (plain + guidance * (told - plain)) / num_steps
        return x.clamp(-1, 1)

    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(num_steps):
        rows = torch.randint(len(x_all), (128,))
        x0, eps = x_all[rows], torch.randn(128, num_pixels)
        y = torch.where(torch.rand(128) < 0.1, num_classes, labels[rows])
        t = torch.rand(1).expand(128)
        xt = (1 - t[:, None]) * x0 + t[:, None] * eps
        loss = (velocity(xt, t, y) - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return velocity, sample, losses


def hunt_3(images, labels, num_steps=300):
    """Script 3 of the bug hunt: it runs, and it is wrong."""
    x_all = F.adaptive_avg_pool2d(images / 127.5 - 1, 14).flatten(1)
    num_pixels, num_classes = x_all.shape[1], int(labels.max()) + 1
    network = nn.Sequential(
        nn.Linear(num_pixels + num_classes + 17, 256),
        nn.SiLU(),
        nn.Linear(256, 256),
        nn.SiLU(),
        nn.Linear(256, num_pixels),
    )

    def velocity(xt, t, y):
        angles = t[:, None] * 2.0 ** torch.arange(8)
        given = [xt, angles.sin(), angles.cos(), F.one_hot(y, num_classes + 1)]
        x0 = network(torch.cat(given, dim=1))
        return (xt - x0) / t[:, None].clamp(min=0.3)  # (x_t - image) / t is noise - image

    @torch.no_grad()
    def sample(noise, y, num_steps=20, guidance=2.0):
        x, no_label = noise, torch.full_like(y, num_classes)
        for step in range(num_steps, 0, -1):
            t = torch.full((len(y),), step / num_steps)
            plain, told = velocity(x, t, no_label), velocity(x, t, y)
            x = x - (plain + guidance * (told - plain)) / num_steps
        return x.clamp(-1, 1)

    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(num_steps):
        x0 = x_all[torch.randint(len(x_all), (128,))]
        y = labels[torch.randint(len(labels), (128,))]
        y = torch.where(torch.rand(128) < 0.1, num_classes, y)
        eps = torch.randn_like(x0)
        t = torch.rand(128)
        xt = (1 - t[:, None]) * x0 + t[:, None] * eps
        loss = (velocity(xt, t, y) - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return velocity, sample, losses


def hunt_4(images, labels, num_steps=300):
    """Script 4 of the bug hunt: it runs, and it is wrong."""
    x_all = F.adaptive_avg_pool2d(images / 127.5 - 1, 14).flatten(1)
    num_pixels, num_classes = x_all.shape[1], int(labels.max()) + 1
    network = nn.Sequential(
        nn.Linear(num_pixels + num_classes + 17, 256),
        nn.SiLU(),
        nn.Linear(256, 256),
        nn.SiLU(),
        nn.Linear(256, num_pixels),
    )

    def velocity(xt, t, y):
        angles = t[:, None] * 2.0 ** torch.arange(8)
        given = [xt, angles.sin(), angles.cos(), F.one_hot(y, num_classes + 1)]
        x0 = network(torch.cat(given, dim=1))
        return (xt - x0) / t[:, None].clamp(min=0.3)  # (x_t - image) / t is noise - image

    @torch.no_grad()
    def sample(noise, y, num_steps=20, guidance=2.0):
        x, no_label = noise, torch.full_like(y, num_classes)
        for step in range(num_steps, 0, -1):
            t = torch.full((len(y),), step / num_steps)
            plain, told = velocity(x, t, no_label), velocity(x, t, y)
            x = x - (plain + guidance * (told - plain)) / num_steps
        return x.clamp(-1, 1)

    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses, eps = [], torch.randn(1, num_pixels)
    for _ in range(num_steps):
        rows = torch.randint(len(x_all), (128,))
        x0 = x_all[rows]
        y = torch.where(torch.rand(128) < 0.1, num_classes, labels[rows])
        t = torch.rand(128)
        xt = (1 - t[:, None]) * x0 + t[:, None] * eps
        loss = (velocity(xt, t, y) - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return velocity, sample, losses


def hunt_5(images, labels, num_steps=300):
    """Script 5 of the bug hunt: it runs, and it is wrong."""
    x_all = F.adaptive_avg_pool2d(images / 127.5 - 1, 14).flatten(1)
    num_pixels, num_classes = x_all.shape[1], int(labels.max()) + 1
    network = nn.Sequential(
        nn.Linear(num_pixels + num_classes + 17, 256),
        nn.SiLU(),
        nn.Linear(256, 256),
        nn.SiLU(),
        nn.Linear(256, num_pixels),
    )

    def velocity(xt, t, y):
        angles = t[:, None] * 2.0 ** torch.arange(8)
        given = [xt, angles.sin(), angles.cos(), F.one_hot(y, num_classes + 1)]
        x0 = network(torch.cat(given, dim=1))
        return (xt - x0) / t[:, None].clamp(min=0.3)  # (x_t - image) / t is noise - image

    @torch.no_grad()
    def sample(noise, y, num_steps=20, guidance=2.0):
        x, no_label = noise, torch.full_like(y, num_classes)
        for step in range(num_steps, 0, -1):
            t = torch.full((len(y),), step / num_steps)
            plain, told = velocity(x, t, no_label), velocity(x, t, y)
            x = x - (told + guidance * (plain - told)) / num_steps
        return x.clamp(-1, 1)

    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(num_steps):
        rows = torch.randint(len(x_all), (128,))
        x0, eps = x_all[rows], torch.randn(128, num_pixels)
        y = torch.where(torch.rand(128) < 0.1, num_classes, labels[rows])
        t = torch.rand(128)
        xt = (1 - t[:, None]) * x0 + t[:, None] * eps
        loss = (velocity(xt, t, y) - (eps - x0)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return velocity, sample, losses


# ------------------------------------------------------------------ what they show


class Trained(NamedTuple):
    """What a script returns.

    Attributes:
        velocity: x_t `[B, P]`, times `[B]` and labels `[B]` to the velocity noise - image,
            `[B, P]`; the number of classes stands for "no label".
        sample: noise `[B, P]` and labels `[B]` to images in [-1, 1], `[B, P]`.
        losses: of each step, as the script computed them.
    """

    velocity: Callable[..., Tensor]
    sample: Callable[..., Tensor]
    losses: list[float]


class Hunted(NamedTuple):
    """A script's result with what is needed to draw it.

    Attributes:
        trained: the result.
        pictures: uint8 `[3, L, C, 14, 14]`, what the sampler makes of three noises (rows), each
            with the first L labels (columns).
    """

    trained: Trained
    pictures: Tensor


# name: what one would see
FAULTS = {
    "sampler that walks the wrong way": (
        "the loss would be that of the healthy run and the images would be noise of black and white"
        " pixels"
    ),
    "one time for the whole batch": (
        "the loss would jump up and down from step to step, far more than in the healthy run"
    ),
    "labels apart from their images": (
        "all columns of a row would show nearly the same image, because the label says nothing"
    ),
    "the same noise in every step": (
        "the loss would fall far below that of the healthy run while the images are poor"
    ),
    "guidance the wrong way round": (
        "the loss would be that of the healthy run, the columns of a row would differ, and the"
        " images would not show the class that was asked for"
    ),
    "pixels in the wrong range": "no pixel would be darker than a middle grey",
    "last step of the sampler left out": (
        "the images would have their right shapes under a fine grain of noise"
    ),
    "labels never hidden": (
        "the loss would be that of the healthy run, and the images would show their classes,"
        " although guidance compares with a label that was never trained"
    ),
}
WRONG_WAY, ONE_TIME, APART, SAME_NOISE, AGAINST = list(FAULTS)[:5]

HUNTS = {
    1: BugHunt(
        hunt_1,
        WRONG_WAY,
        "the loss falls as in the healthy run, and all images are noise of black and white pixels",
        "x = x - velocity / num_steps. The network is trained on eps - x0, which points from the"
        " image to the noise, and the sampler goes from noise to the image, so it has to subtract"
        " the velocity.",
    ),
    2: BugHunt(
        hunt_2,
        ONE_TIME,
        "the loss jumps up and down from step to step, far more than in the healthy run",
        "t = torch.rand(128): one time for each image. The loss depends on t much more than on the"
        " progress of the training, so a batch of one time tells little about it, and its gradient"
        " is as noisy.",
    ),
    3: BugHunt(
        hunt_3,
        APART,
        "all columns of a row show nearly the same image, whatever class was asked for",
        "Draw the rows once, then take images and labels of the same rows: x_all[rows] and"
        " labels[rows]. Labels of other images say nothing about x0, so the network learns to"
        " ignore them.",
    ),
    4: BugHunt(
        hunt_4,
        SAME_NOISE,
        "the loss falls far below that of the healthy run, and the images are poor",
        "eps = torch.randn_like(x0) in each step. A network that sees one noise all the time learns"
        " it by heart, which lowers the loss and does not help with noise that it has not seen.",
    ),
    5: BugHunt(
        hunt_5,
        AGAINST,
        "the loss is that of the healthy run and the columns of a row differ, but the images do"
        " not show the class that was asked for",
        "plain + guidance * (told - plain): away from the velocity without a label, beyond the one"
        " with the label. The other way round the sampler walks away from the class.",
    ),
}
NUM_ROWS, MAX_COLUMNS = 3, 6


def fault_list() -> str:
    """Returns the names of the faults with their numbers, one a line."""
    return numbered_faults(FAULTS)


def run_hunts(images: Tensor, labels: Tensor, num_steps: int = 300) -> dict[int, Hunted]:
    """Returns what the five scripts (1 to 5) and the healthy one (0) make of some images,
    about two seconds each on one thread; equal images give equal results.

    Args:
        images: uint8 `[N, C, H, W]`.
        labels: int64 `[N]`, from 0.
        num_steps: of each script.
    """
    scripts = {0: healthy, **{number: hunt.script for number, hunt in HUNTS.items()}}
    num_columns = min(MAX_COLUMNS, int(labels.max()) + 1)
    found = {}
    for number, script in scripts.items():
        trained = _trained(script, images, labels, num_steps)
        found[number] = Hunted(trained, _pictures(trained, images.shape[1], num_columns))
    return found


def _trained(script: Callable[..., Any], images: Tensor, labels: Tensor, num_steps: int) -> Trained:
    with fixed_torch_seed():
        return Trained(*script(images, labels, num_steps))


def _pictures(trained: Trained, channels: int, num_columns: int) -> Tensor:
    num_pixels = channels * SIDE**2
    noise = torch.randn(NUM_ROWS, num_pixels, generator=torch.Generator().manual_seed(0))
    asked = torch.arange(num_columns).repeat(NUM_ROWS)
    drawn = trained.sample(noise.repeat_interleave(num_columns, 0), asked).clamp(-1, 1)
    pictures = (127.5 * (drawn + 1)).round().to(torch.uint8)
    return pictures.view(NUM_ROWS, num_columns, channels, SIDE, SIDE)


def symptoms(runs: Mapping[int, Hunted], number: int) -> Figure:
    """Returns the loss of one broken script (dashed: the healthy one) beside its images: three
    noises as rows, each drawn with several labels, and below them the healthy one's images of the
    first noise.

    Args:
        runs: of `run_hunts`.
        number: of the script, 1 to 5.
    """
    from course_utils.base.images import tile
    from course_utils.plotting.canvas import describe, new_figure
    from course_utils.plotting.pictures import draw_pixels

    fig = new_figure(3.1)
    parts = fig.subfigures(1, 2, width_ratios=(1, 1.35), squeeze=False)
    curve_part, picture_part = parts.flat
    axes = curve_part.subplots()
    losses = {which: runs[which].trained.losses for which in (number, 0)}
    _draw_losses(axes, losses[number], losses[0])
    ends = [f"{row[0]:.2f} → {_late(row):.2f}" for row in losses.values()]
    axes.set_title(f"loss: {ends[0]}\n(healthy: {ends[1]})", fontsize=10)
    axes.set_xlabel("step")
    axes = picture_part.subplots()
    rows = torch.cat([runs[number].pictures, runs[0].pictures[:1]])
    num_rows, num_columns = rows.shape[:2]
    sheet = tile(rows.flatten(0, 1), num_columns)
    draw_pixels(axes, sheet)
    height, width = sheet.shape[1] / num_rows, sheet.shape[2] / num_columns
    names = [*(f"noise {row + 1}" for row in range(NUM_ROWS)), "healthy,\nnoise 1"]
    axes.set_yticks([height * (row + 0.5) for row in range(num_rows)], names)
    axes.set_xticks([width * (column + 0.5) for column in range(num_columns)], range(num_columns))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Script {number}: images by label", fontsize=11)
    words = " and ".join(end.replace("→", "to") for end in ends)
    return describe(
        fig,
        f"The loss of broken script {number} as it reports it, from the first step to the mean of"
        f" the last tenth, and that of the healthy run: {words}. Beside it its images of"
        f" {NUM_ROWS} noises with {num_columns} labels each, and in the last row the healthy"
        " run's.",
    )


def _late(losses: list[float]) -> float:
    """Returns the mean over the last tenth of the steps."""
    num = max(1, len(losses) // 10)
    return sum(losses[-num:]) / num


def _draw_losses(axes: Axes, losses: list[float], healthy_losses: list[float]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    from course_utils.plotting.canvas import OKABE_ITO

    axes.plot(losses, color=OKABE_ITO[4], linewidth=1.0)
    axes.plot(healthy_losses, color="black", linestyle="--", linewidth=0.9)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


# ------------------------------------------------------------------ the trial of a mended script

NUM_STEPS, NUM_TRAIN, NUM_TEST = 300, 2000, 300
NUM_TIMES = 4  # that the velocity is measured at
TOO_LOW = 0.7  # times the error on unseen noise: what is reported may not be below it
JUMPY = 4.0  # times the jumps of the healthy script, both as shares of the loss; one time has 15
LITTLE_GAIN = 0.3  # of the gain that labels bring to the healthy script
WORSE = 1.12  # times the healthy script's error
FAR = 2.0  # times the distance of the healthy script; noise is at 4
ASTRAY = 0.2  # of the drawn images may be of another class beyond the healthy script's


@functools.lru_cache(maxsize=1)
def _trial_data() -> tuple[Tensor, Tensor]:
    _, _, images, factors = make_strokes(0, NUM_TRAIN + NUM_TEST, seed=4)
    return images, factors.digit


class Health(NamedTuple):
    """What the trial measures of a script.

    Attributes:
        error: squared error of the velocity on images and noise that the script has not seen.
        flipped: the same of minus the velocity.
        gain: by how much the error grows where the labels are those of other images.
        jumps: standard deviation of the reported loss over the last half of the steps.
        reported: its mean over the last tenth.
        agreement: share of drawn images that are nearest to the mean image of the class that was
            asked for.
        distance: of a drawn image to the nearest training image, root mean square.
    """

    error: float
    flipped: float
    gain: float
    jumps: float
    reported: float
    agreement: float
    distance: float


@functools.lru_cache(maxsize=1)
def _healthy_health() -> Health:
    images, labels = _trial_data()
    return _health(_trained(healthy, images[:NUM_TRAIN], labels[:NUM_TRAIN], NUM_STEPS))


@torch.no_grad()
def _health(trained: Trained) -> Health:
    images, labels = _trial_data()
    x_all = F.adaptive_avg_pool2d(images / 127.5 - 1, SIDE).flatten(1)
    known, x0, y = x_all[:NUM_TRAIN], x_all[NUM_TRAIN:], labels[NUM_TRAIN:]
    rng = torch.Generator().manual_seed(1)
    errors = torch.zeros(3)  # of the velocity, of minus the velocity, with the labels of others
    for place in range(NUM_TIMES):
        t = torch.full((len(x0),), (place + 0.5) / NUM_TIMES)
        eps = torch.randn(x0.shape, generator=rng)
        xt = (1 - t[:, None]) * x0 + t[:, None] * eps
        told, misled = trained.velocity(xt, t, y), trained.velocity(xt, t, y.roll(1))
        sign = 1 if (told * (eps - x0)).mean() > 0 else -1
        seen = (told, -told, sign * misled)
        errors += torch.stack([(each - (eps - x0)).square().mean() for each in seen]) / NUM_TIMES
    error, flipped, misled_error = errors.tolist()
    asked = torch.arange(NUM_TEST) % (int(labels.max()) + 1)
    drawn = trained.sample(torch.randn(NUM_TEST, x0.shape[1], generator=rng), asked)
    classes = [known[labels[:NUM_TRAIN] == label].mean(0) for label in range(int(labels.max()) + 1)]
    nearest = torch.cdist(drawn, torch.stack(classes)).argmin(1)
    distance = torch.cdist(drawn, known).amin(1).mean().item() / x0.shape[1] ** 0.5
    losses = torch.tensor(trained.losses, dtype=torch.float64)
    return Health(
        error,
        flipped,
        misled_error - min(error, flipped),
        losses[len(losses) // 2 :].std().item(),
        _late(trained.losses),
        (nearest == asked).double().mean().item(),
        distance,
    )


def _try_out(hunt: BugHunt, script: Callable[..., Any]) -> None:
    """Raises `Wrong` unless a mended script trains and draws as well as the healthy one."""
    images, labels = (part[:NUM_TRAIN] for part in _trial_data())
    trained = _checked(script, images, labels)
    try:
        _check_health(_health(trained))
    except Wrong as wrong:
        ill = _ill(hunt.script)
        if trained.losses == ill.losses and _draws_alike(trained, ill):
            raise Wrong(f"The script still does what it did: {hunt.seen}.") from wrong
        raise


@functools.lru_cache(maxsize=len(HUNTS))
def _ill(script: Callable[..., Any]) -> Trained:
    images, labels = (part[:NUM_TRAIN] for part in _trial_data())
    return _trained(script, images, labels, NUM_STEPS)


def _draws_alike(first: Trained, second: Trained) -> bool:
    images = [_pictures(trained, 1, 2) for trained in (first, second)]
    return torch.equal(*images)


def _checked(script: Callable[..., Any], images: Tensor, labels: Tensor) -> Trained:
    """Returns what a script returns, with its kinds and shapes checked."""
    result = script(images, labels, NUM_STEPS)
    if result is None:
        raise Wrong(NO_RETURN)
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        raise Wrong(
            f"Expected velocity, sample and losses, as the script returns them, got"
            f" {kind_of(result)}."
        )
    trained = Trained(*result)
    if not callable(trained.velocity) or not callable(trained.sample):
        raise Wrong("Expected the functions velocity and sample first, then the list of losses.")
    if not isinstance(trained.losses, list) or len(trained.losses) != NUM_STEPS:
        raise Wrong(
            f"Expected a list of {NUM_STEPS} losses, one for each of the steps that were asked for:"
            " keep num_steps and losses as they are."
        )
    if not torch.isfinite(torch.tensor(trained.losses, dtype=torch.float64)).all():
        raise Wrong("Your script reports NaN or infinity: its training diverges.")
    noise = torch.randn(2, images.shape[1] * SIDE**2, generator=torch.Generator().manual_seed(0))
    drawn = trained.sample(noise, torch.tensor([0, 1]))
    if not isinstance(drawn, Tensor) or drawn.shape != noise.shape or not drawn.isfinite().all():
        raise Wrong(
            f"Expected sample(noise, y) to give finite images {list(noise.shape)}, as many as"
            f" noises, got {kind_of(drawn)}."
        )
    return trained


def _check_health(given: Health) -> None:
    right = _healthy_health()
    error = min(given.error, given.flipped)  # a mended script may have changed the sampler's sign
    if given.reported < TOO_LOW * error:
        raise Wrong(
            f"Your script reports a loss of {given.reported:.2f}, but with images and noise that it"
            f" has not seen its velocity is off from eps - x0 by {error:.2f} (squared error):"
            " either the noise is not new in every step, or the target is another."
        )
    if given.jumps / given.reported > JUMPY * right.jumps / right.reported:
        raise Wrong(
            f"The loss still jumps: its standard deviation over the last half of the steps is"
            f" {given.jumps:.3f}, where a right script has {right.jumps:.3f}. Look at how t is"
            " drawn."
        )
    if error > WORSE * right.error:
        raise Wrong(
            f"After {NUM_STEPS} steps the squared error of your velocity is {error:.3f} on images"
            f" that it has not seen, where a right script reaches {right.error:.3f}: something is"
            " still wrong."
        )
    if given.gain < LITTLE_GAIN * right.gain:
        raise Wrong(
            f"With the labels of other images your velocity is worse by {given.gain:.3f} only,"
            f" where that of a right script is worse by {right.gain:.3f}: it does not know which"
            " label belongs to which image."
        )
    if given.distance > FAR * right.distance:
        raise Wrong(
            "Your velocity is right, but the images are not: each is"
            f" {given.distance:.2f} away from the nearest training image (a right script:"
            f" {right.distance:.2f}). Target and sampler have to agree on the way from noise to"
            " image."
        )
    if given.agreement < right.agreement - ASTRAY:
        raise Wrong(
            f"Of your images {given.agreement:.0%} look like the class that was asked for (a right"
            f" script: {right.agreement:.0%}). Look at the guidance."
        )


# ------------------------------------------------------------------ exercises


HUNT_EXERCISES = hunt_exercises(
    "07",
    HUNTS,
    FAULTS,
    healthy,
    _try_out,
    shown="curve and pictures",
    returned="velocity, sample and losses",
)
