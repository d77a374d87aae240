"""Stand-ins for the datasets that a reader may choose: Fashion-MNIST's files with drawn shapes, and
a folder of a person's own pictures; and how a notebook is run on one of them.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from materials import PROJECT
from PIL import Image, ImageDraw

NOTEBOOKS = ("00_start_here", "01_generative_vs_discriminative", "04_vae_on_digits")
NOTEBOOKS += ("06_dcgan", "07_diffusion", "10_flow_matching", "11_text_to_image")
MATRIX = [PROJECT / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS]
MATRIX += sorted((PROJECT / "homework").glob("*.ipynb"))


def draw_shape(kind: int, rng: np.random.Generator, mode: str, side: int) -> Image.Image:
    """Returns one of ten shapes, a little different each time; light on dark where it is grey."""

    def shade(low: int, high: int) -> int | tuple[int, ...]:
        values = rng.integers(low, high, 3).tolist()
        return values[0] if mode == "L" else tuple(values)

    ground = 0 if mode == "L" else shade(160, 255)
    picture = Image.new(mode, (side, side), ground)
    pen, ink = ImageDraw.Draw(picture), shade(120, 255) if mode == "L" else shade(0, 150)
    left, top = (rng.uniform(0.1, 0.3, 2) * side).tolist()
    right, bottom = (rng.uniform(0.7, 0.9, 2) * side).tolist()
    box = (left, top, right, bottom)
    if kind % 5 == 0:
        pen.rectangle(box, fill=ink)
    elif kind % 5 == 1:
        pen.ellipse(box, fill=ink)
    elif kind % 5 == 2:
        pen.polygon([(left, bottom), (right, bottom), (side / 2, top)], fill=ink)
    elif kind % 5 == 3:
        pen.line([(left, top), (right, bottom)], fill=ink, width=max(2, side // 7))
    else:
        pen.rectangle(box, outline=ink, width=max(2, side // 8))
    if kind >= 5:
        pen.rectangle((left, side / 2, right, side / 2 + side // 8), fill=ink)
    return picture


def write_fashion(data_root: Path, num_train: int = 2000, num_test: int = 1000) -> None:
    """Writes the four files of Fashion-MNIST, with fewer images of other things."""
    raw, rng = data_root / "FashionMNIST" / "raw", np.random.default_rng(0)
    raw.mkdir(parents=True)
    for split, num in (("train", num_train), ("t10k", num_test)):
        labels = rng.integers(0, 10, num)
        images = np.stack([np.asarray(draw_shape(int(kind), rng, "L", 28)) for kind in labels])
        for part, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(">HBB", 0, 8, array.ndim)
            header += struct.pack(f">{array.ndim}i", *array.shape)
            content = header + array.astype(np.uint8).tobytes()
            (raw / f"{split}-{part}-ubyte").write_bytes(content)


def write_pictures(
    folder: Path,
    classes: tuple[str, ...] = ("circles", "squares"),
    num_each: int = 30,
    mode: str = "RGB",
    side: int = 48,
) -> None:
    """Writes a folder of pictures, a sub-folder a class; ("",) leaves them flat."""
    rng = np.random.default_rng(0)
    for kind, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(num_each):
            draw_shape(1 - kind, rng, mode, side).save(folder / name / f"{name}{index:02d}.png")


def run_notebook(notebook: Path, scratch: Path, dataset: str, data_root: Path) -> None:
    """Runs a notebook under nbval on a dataset, with the smoke budget.

    Raises:
        AssertionError: a cell raised; the message is what nbval printed.
    """
    own = {"COURSE_DATASET": dataset, "COURSE_DATA": data_root, "COURSE_RUNS": scratch / "runs"}
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, str(notebook)], cwd=PROJECT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
