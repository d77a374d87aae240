"""Device, precision, budget and random generators. Every random draw of the course comes from a
generator made here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.errors import unknown

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

Budget = Literal["smoke", "laptop", "gpu"]
BUDGETS: tuple[str, ...] = get_args(Budget)


def budget() -> str:
    """Returns how much work a preset may do: `COURSE_BUDGET`, else "gpu" where there is one, else
    "laptop".

    Raises:
        CourseError: `COURSE_BUDGET` names no budget.
    """
    name = os.environ.get("COURSE_BUDGET")
    if name and name not in BUDGETS:
        raise unknown("COURSE_BUDGET", name, BUDGETS)
    return name or ("laptop" if pick_device().type == "cpu" else "gpu")


def pick_device() -> torch.device:
    """Returns the device that models run on: `COURSE_DEVICE` (cpu, cuda, mps), else an accelerator
    that works, else the CPU.

    Raises:
        CourseError: `COURSE_DEVICE` names a device that this machine does not have.
    """
    import torch

    # check_available: without it a CUDA build reports "cuda" on machines that have no GPU.
    found = torch.accelerator.current_accelerator(check_available=True)
    wanted = os.environ.get("COURSE_DEVICE")
    valid = ["cpu"] + ([found.type] if found else [])
    if wanted and wanted not in valid:
        raise unknown("COURSE_DEVICE (on this machine)", wanted, valid)
    return torch.device(wanted or valid[-1])


def describe_device() -> str:
    """Returns the device in words, such as "cpu, 2 threads" or "cuda, NVIDIA T4, 15 GiB"."""
    import torch

    device = pick_device()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"cuda, {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{device.type}, {torch.get_num_threads()} threads"


def make_accelerator(precision: str = "auto") -> Accelerator:
    """Returns the accelerate object that places modules, casts and scales gradients.

    Args:
        precision: "no" (float32), "bf16", or "auto": bf16 on GPUs that compute in it natively, else
            float32. bf16 needs no gradient scaler, which is why float16 is not offered. On CPUs
            with AVX-512 but no bf16 units it was measured slower, hence never automatic there.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device = pick_device()
    if precision == "auto":
        native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        precision = "bf16" if native else "no"
    # accelerate keeps one state per process and refuses a second precision; a notebook trains
    # several models in one process.
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")


def make_rng(seed: int, *path: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns a generator that depends on the seed and on `path`, such as (epoch, purpose): equal
    arguments, equal draws.

    Deriving one generator per epoch, instead of saving a running state, is what makes a resumed
    training exact.
    """
    import numpy as np
    import torch

    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(state >> np.uint64(1)))


def randn(shape: tuple[int, ...], rng: torch.Generator | None, like: torch.Tensor) -> torch.Tensor:
    """Returns standard normal noise of `shape` with the dtype and device of `like`, drawn where
    `rng` lives.

    A CPU generator gives the same images on every device, at the price of one copy; training uses a
    generator on the device.
    """
    import torch

    device = rng.device if rng is not None else like.device
    return torch.randn(shape, generator=rng, dtype=like.dtype, device=device).to(like.device)


def reuse_freed_memory() -> None:
    """Lets the C library keep freed buffers of up to 30 MiB for the next ones.

    On Linux, glibc gives large buffers back to the system at once and has to be handed fresh pages
    for the next: measured 15 to 25 % of the time of a loop over tensors of some MB. It stops doing
    so for sizes below the largest one that was freed; this allocates one and frees it, untouched.
    """
    import torch

    torch.empty(30 * 2**20, dtype=torch.uint8)


class ImageNoise:
    """Random numbers for `num_images` images, each from a stream of its own. The streams live on
    the CPU: every device gets equal numbers.
    """

    def __init__(self, num_images: int, rng: torch.Generator | None = None) -> None:
        """Starts the streams.

        Args:
            num_images: how many.
            rng: one number is drawn from it, whatever `num_images` is; None uses torch's global
                generator.
        """
        require(num_images >= 1, "num_images", "at least 1", num_images)
        device = "cpu" if rng is None else rng.device
        seed = int(torch.randint(2**62, (), generator=rng, device=device))
        self.streams = [make_rng(seed, index) for index in range(num_images)]

    def __len__(self) -> int:
        return len(self.streams)

    def normal(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Returns the next standard normal numbers of each image, `[num_images, *shape]`, with the
        dtype and device of `like`.
        """
        noise = torch.empty(len(self), *shape)
        for row, stream in zip(noise, self.streams):
            row.normal_(generator=stream)
        return noise.to(like)

    def integers(self, end: int) -> Tensor:
        """Returns one whole number from 0 up to `end` for each image, int64 `[num_images]` on the
        CPU.
        """
        return torch.stack([torch.randint(end, (), generator=stream) for stream in self.streams])

    def split(self, size: int) -> list[ImageNoise]:
        """Returns the same streams in pieces of at most `size` images; drawing from a piece moves
        its images' streams on.
        """
        pieces = []
        for start in range(0, len(self), size):
            piece = object.__new__(ImageNoise)
            piece.streams = self.streams[start : start + size]
            pieces.append(piece)
        return pieces
