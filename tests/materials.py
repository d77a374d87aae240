"""What the tests are made of: small images, files in MNIST's layout, and a comparison of
weights.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from course_utils.data.dataset import Dataset

PROJECT = Path(__file__).resolve().parent.parent
NUM_TRAIN, NUM_TEST = 256, 64

# What a run's record holds besides its experiment, for tests that save a model without training it.
RECORD_VALUES = {
    "command": "",
    "finished": True,
    "dataset_sha256": "0" * 64,
    "num_train_images": NUM_TRAIN,
    "training_seconds": 1.0,
    "machine": "a test",
    "metrics": {"loss": {"value": 2.5, "standard_error": 0.1, "num_images": NUM_TEST}},
}


def blobs(num_images: int, image_shape: tuple[int, int, int], seed: int):
    """Returns images of one bright blob each and the quadrant that it lies in: small, easy to
    learn, and nothing like noise.
    """
    channels, height, width = image_shape
    rng = torch.Generator().manual_seed(seed)
    centre = 0.2 + 0.6 * torch.rand(num_images, 2, generator=rng)
    radius = 0.1 + 0.1 * torch.rand(num_images, 1, 1, generator=rng)
    y, x = ((torch.arange(size) + 0.5) / size for size in (height, width))
    squared = (y[None, :, None] - centre[:, 0, None, None]) ** 2 + (
        x[None, None, :] - centre[:, 1, None, None]
    ) ** 2
    tint = 1 - 0.5 * torch.rand(num_images, channels, 1, 1, generator=rng)
    images = (255 * tint * torch.exp(-squared / radius**2)[:, None]).to(torch.uint8)
    return images, (2 * (centre[:, 0] > 0.5) + (centre[:, 1] > 0.5)).long()


def make_dataset(
    image_shape: tuple[int, int, int] = (1, 28, 28),
    num_train: int = NUM_TRAIN,
    num_test: int = NUM_TEST,
    name: str = "blobs",
):
    """Returns a dataset of blobs with four classes."""
    train, test = blobs(num_train, image_shape, 1), blobs(num_test, image_shape, 2)
    return Dataset(
        name,
        *train,
        *test,
        ("top left", "top right", "bottom left", "bottom right"),
        "made by the tests",
    )


def write_idx_files(raw: Path, num_train: int, num_test: int) -> None:
    """Writes the four files of MNIST with blobs in them."""
    raw.mkdir(parents=True)
    for prefix, num_images, seed in (("train", num_train, 1), ("t10k", num_test, 2)):
        images, labels = blobs(num_images, (1, 28, 28), seed)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images[:, 0])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)


def write_idx(path: Path, values) -> None:
    """Writes a tensor of bytes as an IDX file."""
    shape = b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + shape + bytes(values.flatten().tolist()))


def same_weights(first, second) -> bool:
    """Returns whether two models hold bitwise equal tensors under the same names."""
    one, two = first.state_dict(), second.state_dict()
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


def run_python(code: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
    """Runs code in a fresh interpreter, with this folder and the project on its path."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "tests")]),
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert not check or result.returncode == 0, result.stderr
    return result
