"""Device, precision, budget, random generators, and the processes that train together. Every random
draw of the course comes from a generator made here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.errors import CourseError, unknown

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator, PartialState

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
        precision: "no" (float32), "bf16", "auto": bf16 on GPUs that compute in it natively, else
            float32; or "native": the same, and on CPUs that do (AMX). bf16 needs no gradient
            scaler, which is why float16 is not offered. On a CPU it pays for some networks only,
            and on those without AMX for none that was measured, hence "auto" leaves CPUs out. The
            choice follows from the hardware and not from a timing, so that a training that is
            resumed, or repeated on the same machine, takes the same steps.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device = pick_device()
    if precision in ("auto", "native"):
        native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        native |= precision == "native" and device.type == "cpu" and has_amx()
        precision = "bf16" if native else "no"
    # accelerate keeps one state per process and refuses a second precision; a notebook trains
    # several models in one process.
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")


def has_amx() -> bool:
    """Returns whether the CPU multiplies matrices of bf16 natively (Intel's AMX, since 2023)."""
    import torch

    return bool(torch.cpu._is_amx_tile_supported())  # no public name for it before torch 2.11


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


def randn(
    shape: tuple[int, ...], rng: torch.Generator | None, like: torch.Tensor, *, batch_axis: int = 0
) -> torch.Tensor:
    """Returns standard normal noise of `shape` with the dtype and device of `like`, drawn where
    `rng` lives.

    A CPU generator gives the same images on every device, at the price of one copy; training uses a
    generator on the device.

    Args:
        batch_axis: the axis of `shape` along which the images of a batch lie, for `batch_share`.
    """
    device = rng.device if rng is not None else like.device

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=like.dtype, device=device)

    return own_rows(shape, draw, batch_axis).to(like.device)


def rand(
    shape: tuple[int, ...],
    rng: torch.Generator | None,
    device: torch.device,
    *,
    dtype: torch.dtype | None = None,
    batch_axis: int = 0,
) -> torch.Tensor:
    """Returns uniform noise in [0, 1) of `shape` on `device`, drawn where `rng` lives.

    Args:
        dtype: None takes torch's default, float32.
        batch_axis: as for `randn`.
    """
    home = rng.device if rng is not None else device

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=rng, dtype=dtype, device=home)

    return own_rows(shape, draw, batch_axis).to(device)


# Rank of this process and number of the processes that share a batch.
_share: ContextVar[tuple[int, int]] = ContextVar("share", default=(0, 1))


@contextmanager
def batch_share(rank: int, num_processes: int) -> Iterator[None]:
    """Within the block this process has rows `rank`, `rank + num_processes`, ... of a batch.

    `rand`, `randn` and `own_rows` then draw for the whole batch and keep these rows: equal
    generators give the processes together exactly the noise that one process alone draws. And
    `mean_over_processes` averages, where it otherwise returns what it is given.

    Args:
        rank: from 0 up to `num_processes`.
        num_processes: how many share the batch, equally.
    """
    token = _share.set((rank, num_processes))
    try:
        yield
    finally:
        _share.reset(token)


def own_rows(
    shape: tuple[int, ...], draw: Callable[[tuple[int, ...]], Tensor], batch_axis: int = 0
) -> Tensor:
    """Returns `draw(shape)`; within `batch_share` the rows of this process, `shape`, of a draw for
    the whole batch.

    Args:
        shape: of this process's share.
        draw: takes the shape of the whole batch and returns a tensor of it.
        batch_axis: the axis along which the images lie.
    """
    rank, num_processes = _share.get()
    if num_processes == 1:
        return draw(shape)
    whole = list(shape)
    whole[batch_axis] *= num_processes
    drawn = draw(tuple(whole)).movedim(batch_axis, 0)
    return drawn[rank::num_processes].movedim(0, batch_axis).contiguous()


def num_sharing() -> int:
    """Returns how many processes share the batch: 1 but within `batch_share`."""
    return _share.get()[1]


def mean_over_processes(values: Tensor) -> Tensor:
    """Returns the mean over the processes that share the batch of a tensor of any shape, with its
    gradient; the tensor itself where there is one process.
    """
    return _MeanOverProcesses.apply(values) if num_sharing() > 1 else values


class _MeanOverProcesses(torch.autograd.Function):
    """Each process's loss depends on what all gave, so the gradient is a mean over them as well."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total.div_(num_sharing())

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # by apply, since the penalties of a GAN differentiate twice
        return _MeanOverProcesses.apply(gradient)


def processes() -> PartialState:
    """Returns accelerate's state of this process among those that a launcher such as `torchrun`
    started; the first call joins them. Without a launcher there is one, the main process.
    """
    from accelerate import PartialState

    return PartialState(cpu=pick_device().type == "cpu")


def in_main(action: Callable[[], object]) -> None:
    """Runs `action` in the main process while the others wait for it; what stops it stops all.

    Raises:
        CourseError: in the other processes, where `action` raised something.
        KeyboardInterrupt: in all, where `action` did. In the main process its errors pass through.
    """
    everyone = processes()
    if everyone.num_processes == 1:
        action()
        return
    error: BaseException | None = None
    if everyone.is_main_process:
        try:
            action()
        except BaseException as raised:  # told to the others first, which would wait for ever
            error = raised
    outcome = 0 if error is None else 2 if isinstance(error, KeyboardInterrupt) else 1
    told = torch.tensor(outcome, device=everyone.device)
    torch.distributed.broadcast(told, 0)
    if error is not None:
        raise error
    if told == 2:
        raise KeyboardInterrupt
    if told == 1:
        raise CourseError("stopped, since the main process did; its own message says why.")


def copy_from_main(tensors: Iterable[Tensor]) -> None:
    """Gives tensors of all processes the values of the main process, in place."""
    if processes().num_processes == 1:
        return
    with torch.no_grad():
        for tensor in tensors:
            values = tensor.clone(memory_format=torch.contiguous_format)
            torch.distributed.broadcast(values, 0)
            tensor.copy_(values)


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
