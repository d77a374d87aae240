"""The bug hunt of notebook 04: five training scripts of a VAE that run without an error message and
are wrong, what each of them shows, and the trial of a mended one.

Each script is whole, as a learner would write it, so they repeat each other on purpose. All of them
take uint8 images `[N, C, H, W]` and return the encoder, the decoder and the two terms of each step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


# ------------------------------------------------------------------ the scripts


def healthy(images, num_steps=400):
    """The script without a fault."""
    num_pixels, latent_dim = images[0].numel(), 10
    encoder = nn.Sequential(nn.Linear(num_pixels, 128), nn.SiLU(), nn.Linear(128, 2 * latent_dim))
    decoder = nn.Sequential(nn.Linear(latent_dim, 128), nn.SiLU(), nn.Linear(128, num_pixels))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    terms = []
    for _ in range(num_steps):
        x = images[torch.randint(len(images), (64,))].flatten(1) / 255
        mu, logvar = encoder(x).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        logits = decoder(z)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
        loss = (reconstruction + kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        terms.append((reconstruction.mean().item(), kl.mean().item()))
    return encoder, decoder, terms


def hunt_1(images, num_steps=400):
    """Script 1 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 10
    encoder = nn.Sequential(nn.Linear(num_pixels, 128), nn.SiLU(), nn.Linear(128, 2 * latent_dim))
    decoder = nn.Sequential(nn.Linear(latent_dim, 128), nn.SiLU(), nn.Linear(128, num_pixels))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    terms = []
    for _ in range(num_steps):
        x = images[torch.randint(len(images), (64,))].flatten(1) / 255
        mu, logvar = encoder(x).chunk(2, dim=1)
        z = mu + logvar * torch.randn_like(mu)
        logits = decoder(z)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
        optimizer.zero_grad()
        (reconstruction + kl).mean().backward()
        optimizer.step()
        terms.append((reconstruction.mean().item(), kl.mean().item()))
    return encoder, decoder, terms


def hunt_2(images, num_steps=400):
    """Script 2 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 10
    encoder = nn.Sequential(nn.Linear(num_pixels, 128), nn.SiLU(), nn.Linear(128, 2 * latent_dim))
    decoder = nn.Sequential(nn.Linear(latent_dim, 128), nn.SiLU(), nn.Linear(128, num_pixels))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    terms = []
    for _ in range(num_steps):
        x = images[torch.randint(len(images), (64,))].flatten(1) / 255
        with torch.no_grad():
            mu, logvar = encoder(x).chunk(2, dim=1)
            z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        logits = decoder(z)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
        loss = (reconstruction + kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        terms.append((reconstruction.mean().item(), kl.mean().item()))
    return encoder, decoder, terms


def hunt_3(images, num_steps=400):
    """Script 3 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 10
    encoder = nn.Sequential(nn.Linear(num_pixels, 128), nn.SiLU(), nn.Linear(128, 2 * latent_dim))
    decoder = nn.Sequential(nn.Linear(latent_dim, 128), nn.SiLU(), nn.Linear(128, num_pixels))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    terms = []
    for _ in range(num_steps):
        x = images[torch.randint(len(images), (64,))].flatten(1) / 255
        mu, logvar = encoder(x).chunk(2, dim=1)
        sigma = torch.exp(0.5 * logvar)
        logits = decoder(mu + sigma * torch.randn_like(sigma))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x)
        kl = 0.5 * (mu**2 + sigma**2 - 1 - logvar).sum(1).mean()
        loss = reconstruction + kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        terms.append((reconstruction.item(), kl.item()))
    return encoder, decoder, terms


def hunt_4(images, num_steps=400):
    """Script 4 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 10
    encoder = nn.Sequential(nn.Linear(num_pixels, 128), nn.SiLU(), nn.Linear(128, 2 * latent_dim))
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 128), nn.SiLU(), nn.Linear(128, num_pixels), nn.Sigmoid()
    )
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    terms = []
    for _ in range(num_steps):
        x = images[torch.randint(len(images), (64,))].flatten(1) / 255
        mu, logvar = encoder(x).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        reconstruction = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(1)
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
        loss = (reconstruction + kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        terms.append((reconstruction.mean().item(), kl.mean().item()))
    return encoder, decoder, terms


def hunt_5(images, num_steps=400):
    """Script 5 of the bug hunt: it runs, and it is wrong."""
    num_pixels, latent_dim = images[0].numel(), 10
    encoder = nn.Sequential(nn.Linear(num_pixels, 128), nn.SiLU(), nn.Linear(128, 2 * latent_dim))
    decoder = nn.Sequential(nn.Linear(latent_dim, 128), nn.SiLU(), nn.Linear(128, num_pixels))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    x_all = images.flatten(1) / 127.5 - 1
    terms = []
    for _ in range(num_steps):
        x = x_all[torch.randint(len(x_all), (64,))]
        mu, logvar = encoder(x).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        logits = decoder(z)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)
        loss = (reconstruction + kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        terms.append((reconstruction.mean().item(), kl.mean().item()))
    return encoder, decoder, terms


# ------------------------------------------------------------------ what they show


class Trained(NamedTuple):
    """What a script returns.

    Attributes:
        encoder: pixels `[B, P]` to mu and logvar side by side, `[B, 2 * D]`.
        decoder: latents `[B, D]` to logits `[B, P]`.
        terms: mean reconstruction and mean KL of each step, as the script computed them.
    """

    encoder: nn.Module
    decoder: nn.Module
    terms: list[tuple[float, float]]


@dataclass(frozen=True)
class Hunt(BugHunt):
    """One broken script; `signed` says whether its encoder was trained on pixels in [-1, 1]."""

    signed: bool = False


# name: what one would see
FAULTS = {
    "log-variance used as the standard deviation": (
        "both terms end below those of the healthy run, but only reconstructions look right, and"
        " new images do not"
    ),
    "encoder without gradient": (
        "the KL keeps the value that it starts with, and the reconstruction stops far above the"
        " healthy run"
    ),
    "reconstruction averaged over the pixels": (
        "the reconstruction is below 1 nat from the first step on, the KL falls to zero, and all"
        " pictures are the same average"
    ),
    "sigmoid applied twice": "no pixel gets darker than a middle grey",
    "pixels in the wrong range": "the reconstruction term falls below zero and keeps falling",
    "gradients not reset": "both terms jump up and down by large amounts and do not settle",
    "noise shared by the batch": (
        "curves and pictures differ from those of the healthy run by little"
    ),
    "KL left out": "the KL rises far above that of the healthy run",
}
LOGVAR, NO_GRADIENT, AVERAGED, TWICE, RANGE = list(FAULTS)[:5]

HUNTS = {
    1: Hunt(
        hunt_1,
        LOGVAR,
        "both terms end below the dashed lines, the reconstructions are good, and the new images"
        " are not",
        "z = mu + torch.exp(0.5 * logvar) * eps: with logvar itself the network sets it to 0, which"
        " the KL takes for a standard deviation of 1 while no noise is added at all.",
    ),
    2: Hunt(
        hunt_2,
        NO_GRADIENT,
        "the KL keeps the value that it starts with, while the reconstruction stops early",
        "Take encoder(x) and z out of torch.no_grad(): behind it the encoder is never trained, so"
        " z says next to nothing about the image and the decoder can only learn the average.",
    ),
    3: Hunt(
        hunt_3,
        AVERAGED,
        "the reconstruction is below 1 nat from the first step on and the KL falls to zero",
        'reduction="none", then .sum(1).mean(): the default of the function averages over all'
        " pixels, which multiplies the weight of the KL by their number.",
    ),
    4: Hunt(
        hunt_4,
        TWICE,
        "no pixel gets darker than a middle grey, although the rest of the training goes on",
        "Leave out nn.Sigmoid() at the end of the decoder: the loss applies the sigmoid itself, and"
        " the sigmoid of a number between 0 and 1 lies between 0.5 and 0.73.",
    ),
    5: Hunt(
        hunt_5,
        RANGE,
        "the reconstruction term falls below zero, which a cost of pixels in [0, 1] cannot do",
        "images / 255: a pixel of -1 gives the cross-entropy a term without a lower bound, so the"
        " decoder drives its logits towards infinity.",
        signed=True,
        also_seen={
            "KL left out": (
                "The KL rises far above that of the healthy run here, too. But the reconstruction"
                " term itself falls below zero, and leaving the KL out cannot do that."
            )
        },
    ),
}


def fault_list() -> str:
    """Returns the names of the faults with their numbers, one a line."""
    return numbered_faults(FAULTS)


def run_hunts(images: Tensor, num_steps: int = 400) -> dict[int, Trained]:
    """Returns what the five scripts (1 to 5) and the healthy one (0) make of some images, about two
    seconds each; equal images give equal results.

    Args:
        images: uint8 `[N, C, H, W]`.
        num_steps: of each script.
    """
    scripts = {0: healthy, **{number: hunt.script for number, hunt in HUNTS.items()}}
    return {number: _trained(script, images, num_steps) for number, script in scripts.items()}


def _trained(script: Callable[..., Any], images: Tensor, num_steps: int) -> Trained:
    with fixed_torch_seed():
        return Trained(*script(images, num_steps))


def symptoms(runs: Mapping[int, Trained], number: int, images: Tensor) -> Figure:
    """Returns the curves of one broken script (dashed: the healthy one) beside six images, what it
    makes of them, and six new images.

    Args:
        runs: of `run_hunts`.
        number: of the script, 1 to 5.
        images: uint8 `[N, C, H, W]` that the scripts were not trained on.
    """
    from course_utils.base.images import tile
    from course_utils.plotting.canvas import describe, new_figure
    from course_utils.plotting.pictures import draw_pixels

    fig = new_figure(3.0)
    parts = fig.subfigures(1, 2, width_ratios=(1, 1.15), squeeze=False)
    curve_part, picture_part = parts.flat
    words = []
    axes_of_terms = curve_part.subplots(2, 1, sharex=True)
    for place, (axes, name) in enumerate(zip(axes_of_terms, ("reconstruction", "KL"))):
        values = [[step[place] for step in runs[which].terms] for which in (number, 0)]
        _draw_curves(axes, *values)
        ends = [f"{_short(row[0])} → {_short(row[-1])}" for row in values]
        axes.set_title(f"{name}: {ends[0]}\n(healthy: {ends[1]})", fontsize=10)
        words.append(f"{name} {ends[0]}, healthy run {ends[1]}".replace("→", "to"))
    axes_of_terms[1].set_xlabel("step")
    axes = picture_part.subplots()
    rows = _pictures(runs[number], images[:6], HUNTS[number].signed)
    sheet = tile(torch.cat(rows), len(rows[0]))
    draw_pixels(axes, sheet)
    height = sheet.shape[1] / 3
    axes.set_yticks([height * (row + 0.5) for row in range(3)], ["test", "decoded", "new"])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Script {number}", fontsize=11)
    return describe(
        fig,
        f"Two curves of broken script {number} as it reports them, from the first step to the last:"
        f" {'; '.join(words)}. Beside them three rows of images: test images, decoded from their"
        " mu, and new images.",
    )


def _draw_curves(axes: Axes, values: list[float], healthy_values: list[float]) -> None:
    """Draws one term over the steps, and the healthy run's dashed."""
    from matplotlib.ticker import NullLocator

    from course_utils.plotting.canvas import OKABE_ITO

    axes.plot(values, color=OKABE_ITO[4], linewidth=1.2)
    axes.plot(healthy_values, color="black", linestyle="--", linewidth=1.0)
    if max(map(abs, values)) > 100 * max(map(abs, healthy_values)):
        axes.set_yscale("symlog", linthresh=1000)
        extreme = max(values, key=abs)
        axes.set_yticks([0.0, math.copysign(10.0 ** int(math.log10(abs(extreme))), extreme)])
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylabel("log scale\nbeyond ± 1,000", fontsize=8)


def _short(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 10 or abs(value) >= 1e5 else f"{value:.0f}"


@torch.no_grad()
def _pictures(trained: Trained, images: Tensor, signed: bool) -> list[Tensor]:
    """Returns images, their decoded means and as many new images, uint8 `[N, C, H, W]` each."""
    x = images.flatten(1) / 255
    mu, _ = trained.encoder(2 * x - 1 if signed else x).chunk(2, dim=1)
    new = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    decoded = [torch.sigmoid(trained.decoder(z)).view(images.shape) for z in (mu, new)]
    return [images, *((255 * picture).round().to(torch.uint8) for picture in decoded)]


# ------------------------------------------------------------------ the trial of a mended script

NUM_STEPS, NUM_TRAIN, NUM_TEST = 100, 600, 200
WORSE = 1.12  # times the healthy script's -ELBO; the ill ones are at 1.18 and more
OFF = 0.15  # share by which what a script reports may differ from what is measured


@functools.lru_cache(maxsize=1)
def _trial_images() -> Tensor:
    return make_strokes(0, NUM_TRAIN + NUM_TEST, seed=4)[2]


@functools.lru_cache(maxsize=1)
def _healthy_nats() -> float:
    trained = _trained(healthy, _trial_images()[:NUM_TRAIN], NUM_STEPS)
    return sum(_measured(trained, _trial_images()[NUM_TRAIN:]))


@torch.no_grad()
def _measured(trained: Trained, images: Tensor) -> tuple[float, float]:
    """Returns reconstruction and KL in nats per image, by the formulas of the notebook. A script
    may have taken signed pixels, or have a sigmoid in its decoder: the better reading counts.
    """
    x = images.flatten(1) / 255
    found = []
    for pixels in (x, 2 * x - 1):
        mu, logvar = trained.encoder(pixels).chunk(2, dim=1)
        eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(1))
        out = trained.decoder(mu + torch.exp(0.5 * logvar) * eps)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean().item()
        readings = [out]
        if out.min() >= 0 and out.max() <= 1:
            readings.append(torch.logit(out, eps=1e-6))
        for logits in readings:
            costs = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
            found.append((costs.mean().item(), kl))
    return min(found, key=sum)


def _try_out(hunt: Hunt, script: Callable[..., Any]) -> None:
    """Raises `Wrong` unless a mended script trains as well as the healthy one and reports what it
    does.
    """
    trained = _checked(script, _trial_images()[:NUM_TRAIN])
    try:
        _check_trained(trained)
    except Wrong as wrong:
        ill = _trained(hunt.script, _trial_images()[:NUM_TRAIN], NUM_STEPS)
        if trained.terms == ill.terms:
            raise Wrong(f"The script still does what it did: {hunt.seen}.") from wrong
        raise


def _check_trained(trained: Trained) -> None:
    images = _trial_images()
    terms = torch.tensor(trained.terms, dtype=torch.float64)
    if not torch.isfinite(terms).all():
        raise Wrong("Your script reports NaN or infinity: its training diverges.")
    reported = terms[-10:].mean(0).tolist()
    if reported[0] < 0:
        raise Wrong(
            f"Your script reports a reconstruction term of {reported[0]:.3g} nats. A cross-entropy"
            " of pixels in [0, 1] is never below zero: look at the range of x."
        )
    own = _measured(trained, images[:NUM_TRAIN])
    num_pixels = images[0].numel()
    if abs(reported[0] * num_pixels / own[0] - 1) < OFF:
        raise Wrong(
            f"Your script reports {reported[0]:.2g} nats of reconstruction: this is still a mean"
            " over the pixels. Add them up."
        )
    for name, given, right in zip(("reconstruction", "KL"), reported, own):
        if abs(given - right) > OFF * sum(own):
            raise Wrong(
                f"Your script reports a {name} of {given:.1f} nats. Its encoder and decoder, used"
                f" as in this notebook, give {right:.1f}: the script does not compute the bound"
                " of a VAE yet."
            )
    nats = sum(_measured(trained, images[NUM_TRAIN:]))
    if nats > WORSE * _healthy_nats():
        raise Wrong(
            f"After {NUM_STEPS} steps -ELBO is {nats:.0f} nats on images that the script has not"
            f" seen, where a right script reaches {_healthy_nats():.0f}: something is still wrong."
        )


def _checked(script: Callable[..., Any], images: Tensor) -> Trained:
    result = script(images, NUM_STEPS)
    if result is None:
        raise Wrong(NO_RETURN)
    if not isinstance(result, (tuple, list)) or len(result) != 3:
        raise Wrong(
            f"Expected encoder, decoder and terms, as the script returns them, got"
            f" {kind_of(result)}."
        )
    trained = Trained(*result)
    if not isinstance(trained.encoder, nn.Module) or not isinstance(trained.decoder, nn.Module):
        raise Wrong("Expected the encoder and the decoder first, two networks.")
    if len(trained.terms) != NUM_STEPS:
        raise Wrong(
            f"Expected one pair of terms for each of the {NUM_STEPS} steps that were asked for, got"
            f" {len(trained.terms)}: keep num_steps and terms as they are."
        )
    return trained


# ------------------------------------------------------------------ exercises


HUNT_EXERCISES = hunt_exercises(
    "04",
    HUNTS,
    FAULTS,
    healthy,
    _try_out,
    shown="curves and pictures",
    returned="encoder, decoder and terms",
)
