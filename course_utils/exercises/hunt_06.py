"""The bug hunt of notebook 06: five training scripts of a GAN that run without an error message and
are wrong, what each of them shows, and the trial of a mended one.

Each script is whole, as a learner would write it, so they repeat each other on purpose. All of them
take uint8 images `[N, C, H, W]` and return the generator, the discriminator and four numbers for
each step: both losses, and what the discriminator says of real and of generated images.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.images import signed_to_uint8, uint8_to_signed
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
from course_utils.metrics.frechet import fit_gaussian, frechet_distance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# ------------------------------------------------------------------ the scripts

LATENT_DIM = 16  # of the noise that all scripts draw


def healthy(images, num_steps=600):
    """The script without a fault."""
    num_pixels, latent_dim = images[0].numel(), 16
    generator = nn.Sequential(
        nn.Linear(latent_dim, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, num_pixels),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(num_pixels, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 1),
    )
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    is_real, is_fake = torch.ones(64, 1), torch.zeros(64, 1)
    cross_entropy = F.binary_cross_entropy_with_logits
    terms = []
    for _ in range(num_steps):
        real = images[torch.randint(len(images), (64,))].flatten(1) / 127.5 - 1
        fake = generator(torch.randn(64, latent_dim))
        real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
        d_loss = cross_entropy(real_logits, is_real) + cross_entropy(fake_logits, is_fake)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = cross_entropy(discriminator(fake), is_real)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        said = real_logits.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()
        terms.append((d_loss.item(), g_loss.item(), *said))
    return generator, discriminator, terms


def hunt_1(images, num_steps=600):
    """Script 1 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 16
    generator = nn.Sequential(
        nn.Linear(latent_dim, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, num_pixels),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(num_pixels, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 1),
    )
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    is_real, is_fake = torch.ones(64, 1), torch.zeros(64, 1)
    cross_entropy = F.binary_cross_entropy_with_logits
    terms = []
    for _ in range(num_steps):
        real = images[torch.randint(len(images), (64,))].flatten(1) / 127.5 - 1
        fake = generator(torch.randn(64, latent_dim)).detach()
        real_logits, fake_logits = discriminator(real), discriminator(fake)
        d_loss = cross_entropy(real_logits, is_real) + cross_entropy(fake_logits, is_fake)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = cross_entropy(discriminator(fake), is_real)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        said = real_logits.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()
        terms.append((d_loss.item(), g_loss.item(), *said))
    return generator, discriminator, terms


def hunt_2(images, num_steps=600):
    """Script 2 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 16
    generator = nn.Sequential(
        nn.Linear(latent_dim, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, num_pixels),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(num_pixels, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 1),
    )
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    is_real, is_fake = torch.ones(64, 1), torch.zeros(64, 1)
    cross_entropy = F.binary_cross_entropy_with_logits
    terms = []
    for _ in range(num_steps):
        real = images[torch.randint(len(images), (64,))].flatten(1) / 127.5 - 1
        fake = generator(torch.randn(64, latent_dim))
        real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
        d_loss = cross_entropy(real_logits, is_real) + cross_entropy(fake_logits, is_fake)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = cross_entropy(discriminator(fake), is_fake)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        said = real_logits.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()
        terms.append((d_loss.item(), g_loss.item(), *said))
    return generator, discriminator, terms


def hunt_3(images, num_steps=600):
    """Script 3 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 16
    generator = nn.Sequential(
        nn.Linear(latent_dim, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, num_pixels),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(num_pixels, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 1),
    )
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    is_real, is_fake = torch.ones(64, 1), torch.zeros(64, 1)
    cross_entropy = F.binary_cross_entropy_with_logits
    terms = []
    for _ in range(num_steps):
        real = images[torch.randint(len(images), (64,))].flatten(1) / 255
        fake = generator(torch.randn(64, latent_dim))
        real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
        d_loss = cross_entropy(real_logits, is_real) + cross_entropy(fake_logits, is_fake)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = cross_entropy(discriminator(fake), is_real)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        said = real_logits.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()
        terms.append((d_loss.item(), g_loss.item(), *said))
    return generator, discriminator, terms


def hunt_4(images, num_steps=600):
    """Script 4 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 16
    generator = nn.Sequential(
        nn.Linear(latent_dim, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, num_pixels),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(num_pixels, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 1),
        nn.Sigmoid(),
    )
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    is_real, is_fake = torch.ones(64, 1), torch.zeros(64, 1)
    cross_entropy = F.binary_cross_entropy_with_logits
    terms = []
    for _ in range(num_steps):
        real = images[torch.randint(len(images), (64,))].flatten(1) / 127.5 - 1
        fake = generator(torch.randn(64, latent_dim))
        real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
        d_loss = cross_entropy(real_logits, is_real) + cross_entropy(fake_logits, is_fake)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = cross_entropy(discriminator(fake), is_real)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        said = real_logits.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()
        terms.append((d_loss.item(), g_loss.item(), *said))
    return generator, discriminator, terms


def hunt_5(images, num_steps=600):
    """Script 5 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 16
    generator = nn.Sequential(
        nn.Linear(latent_dim, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, num_pixels),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Linear(num_pixels, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 1),
    )
    g_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    d_optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
    is_real, is_fake = torch.ones(64, 1), torch.zeros(64, 1)
    cross_entropy = F.binary_cross_entropy_with_logits
    terms = []
    for _ in range(num_steps):
        real = images[torch.randint(len(images), (64,))].flatten(1) / 127.5 - 1
        fake = generator(torch.randn(64, latent_dim))
        real_logits, fake_logits = discriminator(real), discriminator(fake.detach())
        d_loss = cross_entropy(real_logits, is_real) + cross_entropy(fake_logits, is_fake)
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        g_loss = cross_entropy(discriminator(fake), is_real)
        g_optimizer.zero_grad()
        g_loss.backward()
        g_optimizer.step()
        said = real_logits.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()
        terms.append((d_loss.item(), g_loss.item(), *said))
    return generator, discriminator, terms


# ------------------------------------------------------------------ what they show


class GanTrained(NamedTuple):
    """What a script returns.

    Attributes:
        generator: noise `[B, 16]` to signed pixels `[B, P]`.
        discriminator: signed pixels `[B, P]` to logits `[B, 1]`.
        terms: of each step the discriminator's loss, the generator's loss, and the mean probability
            "real" that the discriminator gives to real and to generated images.
    """

    generator: nn.Module
    discriminator: nn.Module
    terms: list[tuple[float, float, float, float]]


# name: what one would see
FAULTS = {
    "no gradient reaches the generator": (
        "the generator's loss grows, the discriminator's falls to zero, and the pictures stay the"
        " noise of an untrained generator"
    ),
    "the generator's target is swapped": (
        "both losses fall to zero, because both networks want generated images to look generated"
    ),
    "real pixels in the wrong range": (
        "the background of the new images is grey, although that of the real ones is not"
    ),
    "sigmoid applied twice": (
        "no probability leaves the range from 0.5 to 0.73, and the discriminator's loss stays above"
        " 1 nat"
    ),
    "the discriminator is never updated": (
        "the generator's loss falls close to zero and the discriminator's grows, while the pictures"
        " have no likeness to the data"
    ),
    "the discriminator's targets are swapped": (
        "both losses fall to zero, and the discriminator calls real images generated and generated"
        " ones real"
    ),
    "the same noise in every step": (
        "curves and pictures of so short a run differ little from those of the healthy one"
    ),
    "gradients not reset": (
        "both losses grow together, because every step repeats the gradients of all steps before it"
    ),
}
NO_GRADIENT, SWAPPED, RANGE, TWICE, NEVER = list(FAULTS)[:5]

HUNTS = {
    1: BugHunt(
        hunt_1,
        NO_GRADIENT,
        "the generator's loss grows, the discriminator's falls to zero, and the pictures stay"
        " noise",
        "Call detach() only where the discriminator's loss is computed: this loss must not reach"
        " the generator, but the generator's own loss has to.",
    ),
    2: BugHunt(
        hunt_2,
        SWAPPED,
        "both losses fall to zero, and the discriminator is right about every image",
        "The generator's loss is the cross-entropy of its images with the target is_real: it is"
        " small where the discriminator takes them for real.",
    ),
    3: BugHunt(
        hunt_3,
        RANGE,
        "the background of the new images is grey, although that of the real ones is not",
        "Scale real pixels to [-1, 1], the range of tanh: / 127.5 - 1. The generator has learnt the"
        " range that it was shown, so the mistake appears only where its images are drawn.",
    ),
    4: BugHunt(
        hunt_4,
        TWICE,
        "no probability leaves the range from 0.5 to 0.73, and the discriminator's loss stays above"
        " 1 nat",
        "Leave out nn.Sigmoid() at the end of the discriminator: the loss applies the sigmoid"
        " itself, and the sigmoid of a number between 0 and 1 lies between 0.5 and 0.73.",
    ),
    5: BugHunt(
        hunt_5,
        NEVER,
        "the generator's loss falls close to zero while the discriminator's grows, and the pictures"
        " have no likeness to the data",
        "The discriminator's optimizer takes discriminator.parameters(): with those of the other"
        " network the discriminator keeps its first, random weights, which are soon deceived.",
    ),
}


def fault_list() -> str:
    """Returns the names of the faults with their numbers, one a line."""
    return numbered_faults(FAULTS)


def run_hunts(images: Tensor, num_steps: int = 600) -> dict[int, GanTrained]:
    """Returns what the five scripts (1 to 5) and the healthy one (0) make of some images, a few
    seconds each; equal images give equal results.

    Args:
        images: uint8 `[N, C, H, W]`.
        num_steps: of each script.
    """
    scripts = {0: healthy, **{number: hunt.script for number, hunt in HUNTS.items()}}
    return {number: _trained(script, images, num_steps) for number, script in scripts.items()}


def _trained(script: Callable[..., Any], images: Tensor, num_steps: int) -> GanTrained:
    with fixed_torch_seed():
        return GanTrained(*script(images, num_steps))


NUM_SHOWN, NUM_COLUMNS = 8, 4  # images of each kind


def symptoms(runs: Mapping[int, GanTrained], number: int, real: Tensor) -> Figure:
    """Returns the curves of one broken script by step (dashed: the healthy one) beside real images,
    what the script makes of new noise, and what the healthy one makes of it.

    Args:
        runs: of `run_hunts`.
        number: of the script, 1 to 5.
        real: uint8 `[N, C, H, W]`, at least one; the first eight are drawn.
    """
    from course_utils.base.images import tile
    from course_utils.plotting.canvas import describe, new_figure
    from course_utils.plotting.pictures import draw_pixels

    fig = new_figure(3.4)
    parts = fig.subfigures(1, 2, width_ratios=(1, 1.05), squeeze=False)
    curve_part, picture_part = parts.flat
    panels = curve_part.subplots(2, 1, sharex=True)
    terms = [torch.tensor(runs[which].terms).T for which in (number, 0)]
    words = _draw_curves(panels[0], [rows[:2] for rows in terms], LOSSES, "loss")
    words += _draw_curves(panels[1], [rows[2:] for rows in terms], SAID, "D says “real”")
    panels[1].set_ylim(-0.05, 1.05)
    panels[1].set_xlabel("step")
    axes = picture_part.subplots()
    shape = real.shape[1:]
    num_columns = min(NUM_COLUMNS, len(real))
    num = min(NUM_SHOWN, len(real)) // num_columns * num_columns  # of each kind, whole rows
    new = [_new_images(runs[which], shape)[:num] for which in (number, 0)]
    sheet = tile(torch.cat([real[:num], *new]), num_columns)
    draw_pixels(axes, sheet)
    height = sheet.shape[1] / 3
    names = ["real", "script", "healthy"]
    axes.set_yticks([height * (row + 0.5) for row in range(3)], names)
    for row in (1, 2):  # between the kinds
        axes.axhline(height * row - 1, color="white", linewidth=3)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Script {number}: images from new noise", fontsize=11)
    return describe(
        fig,
        f"Curves of broken script {number} as it reports them, from the first step to the last:"
        f" {'; '.join(words)}. Beside them images of three kinds: real ones, new ones of the"
        " script, and new ones of the healthy run.",
    )


# name of a curve: its colour, by place in the palette
LOSSES = {"discriminator": 4, "generator": 0}
SAID = {"real images": 2, "generated": 3}


def _draw_curves(axes: Axes, both: list[Tensor], names: Mapping[str, int], title: str) -> list[str]:
    """Draws two curves over the steps, those of the healthy run dashed; returns them in words."""
    from course_utils.plotting.canvas import OKABE_ITO

    words = []
    for place, (name, colour) in enumerate(names.items()):
        values, healthy_values = (_smooth(rows[place]) for rows in both)
        steps = _middle_steps(both[0][place])
        axes.plot(steps, healthy_values, color=OKABE_ITO[colour], linestyle="--", linewidth=1.0)
        axes.plot(steps, values, color=OKABE_ITO[colour], linewidth=1.6, label=name)
        words.append(
            f"{title} {name} {_short(values[0])} to {_short(values[-1])}, healthy run"
            f" {_short(healthy_values[0])} to {_short(healthy_values[-1])}"
        )
    axes.set_title(title, fontsize=10, loc="left", pad=16)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.02, 0.98),
        ncols=2,
        fontsize=9,
        borderpad=0,
        handlelength=1.2,
        columnspacing=1.0,
    )
    return words


def _smooth(values: Tensor, num_points: int = 60) -> list[float]:
    """Returns means over equal pieces of a curve, since single steps jump."""
    return [piece.mean().item() for piece in values.split(max(1, len(values) // num_points))]


def _middle_steps(values: Tensor) -> list[float]:
    steps = torch.arange(len(values), dtype=torch.float32)
    return _smooth(steps)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"


@torch.no_grad()
def _new_images(trained: GanTrained, shape: torch.Size, num: int = 64) -> Tensor:
    """Returns images from noise that training has not seen, uint8 `[num, C, H, W]`."""
    z = torch.randn(num, LATENT_DIM, generator=torch.Generator().manual_seed(5))
    return signed_to_uint8(trained.generator(z).view(num, *shape))


# ------------------------------------------------------------------ the trial of a mended script

NUM_STEPS, NUM_TRAIN, NUM_TEST, NUM_NEW = 200, 1000, 500, 500
WORSE = 2.0  # times the healthy script's distance; the ill ones are at 2 and more
OFF = 0.25  # by which a reported probability may differ from the measured one


@functools.lru_cache(maxsize=1)
def _trial_images() -> Tensor:
    return make_strokes(0, NUM_TRAIN + NUM_TEST, seed=4)[2]


@functools.lru_cache(maxsize=1)
def _healthy_distance() -> float:
    return _distance(_trained(healthy, _trial_images()[:NUM_TRAIN], NUM_STEPS))


@torch.no_grad()
def _distance(trained: GanTrained) -> float:
    """Returns the Fréchet distance between new and real images, of pixels averaged over 4 by 4."""
    real = uint8_to_signed(_trial_images()[NUM_TRAIN:])
    z = torch.randn(NUM_NEW, LATENT_DIM, generator=torch.Generator().manual_seed(1))
    pixels = trained.generator(z).view(-1, *real.shape[1:])
    if pixels.min() >= 0:  # of a script that keeps real and generated pixels in [0, 1]
        pixels = 2 * pixels - 1
    fits = [fit_gaussian(F.avg_pool2d(images, 4).flatten(1)) for images in (pixels, real)]
    return frechet_distance(*fits)


def _try_out(hunt: BugHunt, script: Callable[..., Any]) -> None:
    """Raises `Wrong` unless a mended script trains as well as the healthy one."""
    images = _trial_images()[:NUM_TRAIN]
    trained = _checked(script, images)
    try:
        _check_trained(trained)
    except Wrong as wrong:
        if trained.terms == _trained(hunt.script, images, NUM_STEPS).terms:
            raise Wrong(f"The script still does what it did: {hunt.seen}.") from wrong
        raise


def _check_trained(trained: GanTrained) -> None:
    terms = torch.tensor(trained.terms, dtype=torch.float64)
    if not torch.isfinite(terms).all():
        raise Wrong("Your script reports NaN or infinity: its training diverges.")
    said = terms[:, 2:]
    if said.min() < 0 or said.max() > 1:
        raise Wrong(
            f"The last two numbers of a step are probabilities, got {said.min().item():.2g} to"
            f" {said.max().item():.2g}: apply the sigmoid to the logits that you report."
        )
    if said.min() >= 0.5 and said.max() < 0.732:
        raise Wrong(
            f"All probabilities that you report lie between {said.min().item():.2f} and"
            f" {said.max().item():.2f}. The sigmoid of a probability lies there: apply it once."
        )
    d_loss, g_loss, real, fake = terms[-30:].mean(0).tolist()
    if d_loss < 0.05 and g_loss < 0.05:
        raise Wrong(
            "Both losses fall to zero. In a GAN one network's gain is the other's loss, so the two"
            " targets cannot be right."
        )
    distance = _distance(trained)
    if distance > WORSE * _healthy_distance():
        raise Wrong(
            f"After {NUM_STEPS} steps the distance of new images to real ones is {distance:.1f},"
            f" where a right script reaches {_healthy_distance():.1f}; the discriminator gives real"
            f" images {real:.2f} and generated ones {fake:.2f}. Something is still wrong."
        )


def _checked(script: Callable[..., Any], images: Tensor) -> GanTrained:
    result = script(images, NUM_STEPS)
    if result is None:
        raise Wrong(NO_RETURN)
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        raise Wrong(
            f"Expected generator, discriminator and terms, as the script returns them, got"
            f" {kind_of(result)}."
        )
    trained = GanTrained(*result)
    networks = trained.generator, trained.discriminator
    if not all(isinstance(network, nn.Module) for network in networks):
        raise Wrong("Expected the generator and the discriminator first, two networks.")
    if len(trained.terms) != NUM_STEPS:
        raise Wrong(
            f"Expected four numbers for each of the {NUM_STEPS} steps that were asked for, got"
            f" {len(trained.terms)}: keep num_steps and terms as they are."
        )
    if any(len(step) != 4 for step in trained.terms):
        raise Wrong(
            "Expected four numbers for each step: the discriminator's loss, the generator's, and"
            " what the discriminator says of real and of generated images."
        )
    return trained


# ------------------------------------------------------------------ exercises


HUNT_EXERCISES = hunt_exercises(
    "06",
    HUNTS,
    FAULTS,
    healthy,
    _try_out,
    shown="curves and pictures",
    returned="generator, discriminator and terms",
)
