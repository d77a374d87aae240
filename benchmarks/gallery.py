"""Draws the README's picture: test digits, what the three families make of them or draw anew, a
digit on its way out of the noise, and pictures for captions.

All weights are those that ship with the course. The captions were chosen by hand, no picture was.

    python benchmarks/gallery.py --out gallery.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.images import save_png, signed_to_uint8, uint8_to_signed
from course_utils.data import load_dataset
from course_utils.models.diffusion.model import Diffusion
from course_utils.models.text_to_image import TextToImage
from course_utils.models.vae import VAE
from course_utils.training.runs import pretrained

NUM_COLUMNS = 20
DIGIT = 8  # of the film
CAPTIONS = (  # four pictures each, two rows
    "a thick red 7 on white",
    "a big green 4 on black",
    "on yellow, a blue 3 leaning right",
    "a thin white 0 on purple",
    "a big black 5 upright on green",
    "a bold yellow 6 on blue",
    "a fine purple 9 leaning left on white",
    "a crossed red 7 on black",
    "a small blue 2 on yellow paper",
    "8",
)


@torch.no_grad()
def vae_rows(vae: VAE, real: Tensor) -> list[Tensor]:
    """Returns reconstructions, samples and a walk between the first two images, signed, a row
    each.
    """
    images = uint8_to_signed(real).to(vae.device)
    mu, _ = vae.encode(images[:2])
    share = torch.linspace(0, 1, NUM_COLUMNS, device=vae.device)[:, None]
    return [
        vae.reconstruct(images),
        vae.sample(NUM_COLUMNS, rng=make_rng(0)),
        vae.decode(torch.lerp(mu[:1], mu[1:2], share)),
    ]


def film_row(diffusion: Diffusion) -> Tensor:
    """Returns one digit at evenly spread times from noise to image, signed; noise beyond the range
    is black or white.
    """
    film = diffusion.trace(1, NUM_COLUMNS - 1, labels=torch.tensor([DIGIT]), rng=make_rng(0))
    return torch.cat(film.xts).clamp(-1, 1)


def captioned_rows(painter: TextToImage) -> Tensor:
    """Returns pictures of `CAPTIONS`, signed, `[N, 3, 32, 32]`."""
    each = 2 * NUM_COLUMNS // len(CAPTIONS)
    repeated = [caption for caption in CAPTIONS for _ in range(each)]
    return painter.sample(len(repeated), captions=repeated, rng=make_rng(0))


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gallery.png"))
    options = parser.parse_args()
    vae, dcgan, diffusion = (
        pretrained(family, "strokes").model for family in ("vae", "dcgan", "diffusion")
    )
    real = load_dataset("strokes").subset(num_test=NUM_COLUMNS).test_images
    drawn = [model.sample(2 * NUM_COLUMNS, rng=make_rng(0)) for model in (dcgan, diffusion)]
    rows = [*vae_rows(vae, real), *drawn, film_row(diffusion)]
    grey = torch.cat([real, *(signed_to_uint8(row).cpu() for row in rows)])
    painter = cast(TextToImage, pretrained("text-to-image", "captions").model)
    coloured = signed_to_uint8(captioned_rows(painter)).cpu()
    margin = (coloured.shape[-1] - grey.shape[-1]) // 2  # pictures with captions are larger
    framed = F.pad(grey, [margin] * 4).expand(-1, 3, -1, -1)
    save_png(torch.cat([framed, coloured]), options.out, num_columns=NUM_COLUMNS, scale=2)


if __name__ == "__main__":
    main()
