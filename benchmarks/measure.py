"""What the benchmarks share: rows in a file that a second call goes on from, the quality of images
beside that of real ones, the steps of any training loop, memory, and fresh processes.

Measured here: FID, precision and recall in the features of the dataset's shipped classifier,
agreement with the labels that were asked for, steps, and peaks of memory. No script of its own; see
`board.py` and `scale.py`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from course_utils.base.device import make_rng, pick_device
from course_utils.base.files import read_jsonl, write_text
from course_utils.data.dataset import Dataset
from course_utils.metrics.features import class_probabilities, classifier_extractor, extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.neighbours import precision_recall
from course_utils.training.runs import pretrained

MIB = 2**20
MEMORY_EVERY_STEPS = 20  # asking for the peak takes longer than counting a step


def rows_in(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file of JSON lines, none where there is no file. Half a last line, as a
    killed process leaves it, is removed.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(path, whole)
    return read_jsonl(path)


def add_row(path: Path, *rows: dict[str, Any]) -> None:
    """Appends one row, or several at once; an error that is NaN, which JSON does not know, becomes
    null.
    """
    lines = []
    for row in rows:
        known = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        lines.append(json.dumps(known, allow_nan=False) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def measure(images: Tensor, dataset: Dataset, labels: Tensor | None) -> dict[str, Any]:
    """Returns FID, precision and recall against as many test images, agreement with the labels, and
    the floor of FID, each with its error.
    """
    classifier = pretrained("classifier", dataset.name).model
    extractor = classifier_extractor(classifier)
    num = min(len(images), len(dataset.test_images))
    real = real_images(dataset, num)
    fake, test, train = (
        extract(extractor, part) for part in (images[:num], real.test_images, real.train_images)
    )
    precision, recall = precision_recall(test, fake)
    found = {
        "fid": fid(fake, test),
        "precision": precision,
        "recall": recall,
        "fid_floor": fid(train, test),
    }
    result: dict[str, Any] = {"num_images": num}
    for name, value in found.items():
        result |= {name: value.value, f"{name}_error": value.error}
    if labels is not None:
        right = class_probabilities(classifier, images).argmax(1) == labels
        result["agreement"] = right.double().mean().item()
    return result


def real_images(dataset: Dataset, num: int) -> Dataset:
    """Returns the `num` training and test images that `measure` compares with."""
    return dataset.subset(num_train=num, num_test=num, seed=0)


def batches(images: Tensor, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yields the indices of batches for ever, every image once an epoch, in random order."""
    rng = make_rng(seed, 3)
    while True:
        for index in torch.randperm(len(images), generator=rng).split(batch_size):
            if len(index) == batch_size:
                yield index


def synchronize() -> None:
    """Waits until an accelerator has done what it was asked for."""
    if pick_device().type != "cpu":
        torch.accelerator.synchronize()


def warm_up() -> None:
    """Takes one step with one parameter: torch imports its compiler with the first optimizer, which
    takes seconds and belongs to the imports, not to a training.
    """
    parameter = torch.nn.Parameter(torch.ones(1, device=pick_device()))
    optimizer = torch.optim.AdamW([parameter])
    parameter.square().sum().backward()
    optimizer.step()
    synchronize()


def peak_memory() -> float:
    """Returns MiB: the most that tensors have taken on the GPU where the course runs on one, else
    the most that the whole process has, Python and torch included.
    """
    if pick_device().type == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    return process_peak()


def process_peak() -> float:
    """Returns the most memory that this process has had, in MiB; where the system does not say, as
    on a Mac, what it has now.
    """
    # and not getrusage, which on Linux hands the peak of the parent on to its children
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss) / MIB


class StepClock:
    """Watches the optimizers that work within its block, in whatever training loop.

    A training of several parts has an optimizer for each; a step is one of the first of them.

    Attributes:
        num_steps: done so far.
        num_parameters: that the optimizers update.
        first, last: when the first and the latest step were done, as `time.time()` says; the
            device is waited for after the first.
        ends: when each `every`-th step was done, in seconds of a steady clock.
        peak: memory in MiB while it trained, as `peak_memory` says.
        left_out: seconds between the begin of the block and the call of `forget`.
    """

    def __init__(self, *, every: int | None = None, max_steps: int | None = None) -> None:
        """Sets the clock up; the block starts it.

        Args:
            every: the device is waited for and the time noted after so many steps; None: never.
            max_steps: the block is interrupted as by Ctrl-C after so many.
        """
        self.every, self.max_steps, self.left_out = every, max_steps, 0.0
        self._reset()

    def _reset(self) -> None:
        self.num_steps, self.first, self.last, self.peak = 0, math.nan, math.nan, 0.0
        self.ends: list[float] = []
        self.optimizers: dict[Optimizer, int] = {}  # and the number of their parameters

    def __enter__(self) -> StepClock:
        self.begun = time.time()
        self.hook = register_optimizer_step_post_hook(self._after_step)
        return self

    def forget(self) -> None:
        """Begins anew: what it has seen until now was no part of the training."""
        self._reset()
        self.left_out = time.time() - self.begun

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    @property
    def num_parameters(self) -> int:
        return sum(self.optimizers.values())

    def _after_step(self, optimizer: Optimizer, *_: object) -> None:
        if optimizer not in self.optimizers:
            groups = (group["params"] for group in optimizer.param_groups)
            self.optimizers[optimizer] = sum(each.numel() for group in groups for each in group)
        self.last = time.time()
        if optimizer is not next(iter(self.optimizers)):
            return
        self.num_steps += 1
        if self.num_steps == 1:
            synchronize()
            self.first = self.last = time.time()
        if self.every is not None and self.num_steps % self.every == 0:
            synchronize()
            self.ends.append(time.perf_counter())
        stop = self.num_steps == self.max_steps
        if stop or self.num_steps == 1 or self.num_steps % MEMORY_EVERY_STEPS == 0:
            self.peak = peak_memory()
        if stop:
            raise KeyboardInterrupt


def in_fresh_process(script: str, *words: object, timeout: float | None = None) -> bool:
    """Runs a script of this folder in a process of its own, which begins with nothing imported.

    Args:
        script: its path.
        words: the arguments; `--started` with the time of the start is added.
        timeout: in seconds; a process that takes longer is killed.

    Returns:
        Whether it ended in time.

    Raises:
        SystemExit: it failed; what it printed stands above.
    """
    command = [sys.executable, script, *map(str, words), "--started", repr(time.time())]
    try:
        done = subprocess.run(command, timeout=timeout)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with {done.returncode}")
    return True
