"""How long does a slider take to answer? The median and the slowest of 30 moves of every explorer,
through the plain function that it calls.

For explorers that draw a figure, a second line includes the picture that is sent to the notebook.

    python benchmarks/widget_speed.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from matplotlib.figure import Figure

from course_utils.base.device import make_rng
from course_utils.base.images import uint8_to_signed
from course_utils.data import load_dataset
from course_utils.training.runs import pretrained
from course_utils.widgets import (
    elbo_picture,
    fid_picture,
    inception_picture,
    label_draws,
    label_image,
    latent_image,
    noise_level_image,
    png_bytes,
    step_image,
    temperature_image,
    walk_image,
)
from course_utils.widgets.controls import figure_png, places_of

NUM_MOVES, LIMIT_MS = 30, 100
# of a drawing that is remembered: coming back to it costs nothing
FIRST_TIME, FIRST_TIME_LIMIT_MS = "first time", 500


def moves() -> dict[str, Callable[[float], object]]:
    """Returns what each explorer does when a slider moves to a place between 0 and 1."""
    vae, flat = pretrained("vae", "strokes").model, pretrained("vae-latent2", "strokes").model
    z = torch.randn(4, vae.config.latent_dim, generator=make_rng(0))
    return {
        "latent explorer": lambda place: png_bytes(latent_image(vae.decode, z[0] + place)),
        "latent pad": lambda place: png_bytes(
            latent_image(flat.decode, torch.tensor([place, -place]))
        ),
        "walk": lambda place: png_bytes(walk_image(vae.decode, z, place)),
        "temperature": lambda place: png_bytes(temperature_image(vae.decode, z, place), scale=3),
        **diffusion_moves(),
        **figures("ELBO explorer", lambda place: elbo_picture(mean=place)),
        **figures("FID explorer", lambda place: fid_picture(mean_x=place)),
        **figures("S x D explorer", lambda place: inception_picture(confidence=0.2 + 0.8 * place)),
    }


def diffusion_moves() -> dict[str, Callable[[float], object]]:
    """Returns the moves of the explorers of diffusion. The last two are taken at their dearest:
    nothing is remembered.
    """
    model, dataset = pretrained("diffusion", "strokes").model, load_dataset("strokes")
    image, labels = uint8_to_signed(dataset.test_images[:1])[0].to(model.device), torch.arange(8)
    eps = torch.randn(image.shape, generator=make_rng(0)).to(model.device)
    denoise = model.denoiser(dataset.test_labels[:1].to(model.device), guidance_scale=1.0)
    trajectory, draw = model.trace(8, labels=labels, rng=make_rng(0)), label_draws(model)
    last = len(trajectory.x0s)
    return {
        "noise level": lambda place: png_bytes(
            noise_level_image(denoise, model.schedule, image, eps, place), scale=5
        ),
        "steps": lambda place: png_bytes(step_image(trajectory, round(place * last)), scale=3),
        f"draw a digit, {FIRST_TIME}": lambda place: png_bytes(
            label_image(draw, 3, round(100 * place)), scale=3
        ),
        f"guidance, {FIRST_TIME}": lambda place: png_bytes(
            label_image(draw, 3, 0, 2.0 + place), scale=3
        ),
    }


def figures(name: str, draw: Callable[[float], Figure]) -> dict[str, Callable[[float], object]]:
    """Returns the plain function, and what `figure_explorer` does after its first picture: draw,
    with the axes where they stood before.
    """
    first = draw(0.5)
    figure_png(first)
    places = places_of(first)
    return {name: draw, f"{name}, as PNG": lambda place: figure_png(draw(place), places)}


def main() -> None:
    """Prints a line for each explorer."""
    for name, move in moves().items():
        move(0.5)  # fonts and kernels are loaded once
        times = []
        for step in range(NUM_MOVES):
            start = time.perf_counter()
            move(step / (NUM_MOVES - 1))
            times.append(1000 * (time.perf_counter() - start))
        limit = FIRST_TIME_LIMIT_MS if FIRST_TIME in name else LIMIT_MS
        print(
            f"{name:26} median {statistics.median(times):6.1f} ms, slowest {max(times):6.1f} ms,"
            f" limit {limit} ms"
        )


if __name__ == "__main__":
    main()
