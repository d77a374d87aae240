"""Draws the README's picture: test digits, their reconstructions, new digits, and a walk through latent space, all by shipped weights.

    python benchmarks/gallery.py --out gallery.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from course_utils.checkpoint import pretrained
from course_utils.data import load_dataset
from course_utils.device import make_rng
from course_utils.images import save_png, signed_to_uint8, uint8_to_signed

NUM_COLUMNS = 20


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gallery.png"))
    options = parser.parse_args()
    vae = pretrained("vae", "strokes").model
    real = load_dataset("strokes").subset(num_test=NUM_COLUMNS).test_images
    with torch.no_grad():
        images = uint8_to_signed(real).to(vae.device)
        mu, _ = vae.encode(images[:2])
        share = torch.linspace(0, 1, NUM_COLUMNS, device=vae.device)[:, None]
        walk = vae.decode(torch.lerp(mu[:1], mu[1:2], share))
        rows = [vae.reconstruct(images), vae.sample(3 * NUM_COLUMNS, rng=make_rng(0)), walk]
    save_png(torch.cat([real, *(signed_to_uint8(row).cpu() for row in rows)]), options.out, num_columns=NUM_COLUMNS, scale=2)


if __name__ == "__main__":
    main()
