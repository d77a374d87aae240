"""`course doctor`: what this machine has, and for each problem what to do about it. Each probe
returns one `Finding` and changes nothing.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from course_utils.base.errors import CourseError
from course_utils.base.files import cache_root, data_root, runs_root

MIN_PYTHON = (3, 10)
MIN_FREE_MEMORY_GIB = 2.0
MIN_FREE_DISK_GIB = 1.0
PACKAGES = (
    "torch",
    "torchvision",
    "accelerate",
    "safetensors",
    "matplotlib",
    "ipywidgets",
    "anywidget",
    "jupyterlab",
    "nbclient",
    "pandas",
    "tqdm",
)


@dataclass(frozen=True)
class Probe:
    """What one probe found; `remedy` is empty where all is well."""

    name: str
    value: str
    remedy: str = ""


def examine() -> list[Probe]:
    """Prints all findings and returns those that are problems."""
    findings = [
        probe()
        for probe in (
            python,
            packages,
            torch_device,
            memory,
            disk,
            dataset,
            budget_name,
            write_access,
        )
    ]
    for finding in findings:
        mark = "problem" if finding.remedy else "ok"
        print(f"{mark:8} {finding.name:12} {finding.value}")
        if finding.remedy:
            print(f"{'':21} -> {finding.remedy}")
    problems = [finding for finding in findings if finding.remedy]
    print("All is well." if not problems else f"{len(problems)} problem(s) found.")
    return problems


def python() -> Probe:
    """Returns the version of Python."""
    too_old = sys.version_info < MIN_PYTHON
    remedy = "Install Python 3.10 or newer, then `make setup`." if too_old else ""
    return Probe("Python", f"{platform.python_version()} on {platform.system()}", remedy)


def packages() -> Probe:
    """Returns which of the packages that the course imports are missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return Probe(
            "packages",
            f"missing: {', '.join(missing)}",
            "Run `make setup`, and start Python from .venv.",
        )
    return Probe("packages", f"all {len(PACKAGES)} are there")


def torch_device() -> Probe:
    """Returns the version of torch and the device that models will run on."""
    if importlib.util.find_spec("torch") is None:
        return Probe("torch", "missing", "Run `make setup`.")
    import torch

    from course_utils.base.device import describe_device

    try:
        return Probe("torch", f"{torch.__version__}, {describe_device()}")
    except CourseError as error:
        return Probe(
            "torch", torch.__version__, f"{error} Unset COURSE_DEVICE or set it to one of these."
        )


def memory() -> Probe:
    """Returns the free main memory."""
    if importlib.util.find_spec("psutil") is None:
        return Probe("memory", "unknown", "Run `make setup`: the package psutil is missing.")
    import psutil

    free = psutil.virtual_memory().available / 2**30
    remedy = (
        f"Close other programs and notebooks: trainings need {MIN_FREE_MEMORY_GIB:g} GiB."
        if free < MIN_FREE_MEMORY_GIB
        else ""
    )
    return Probe("memory", f"{free:.1f} GiB free", remedy)


def disk() -> Probe:
    """Returns the free space where runs and caches are written."""
    folder = _existing(runs_root())
    free = shutil.disk_usage(folder).free / 2**30
    remedy = (
        "Free some space (runs/ and data/cache/ may be deleted), or set COURSE_RUNS to another"
        " disk."
        if free < MIN_FREE_DISK_GIB
        else ""
    )
    return Probe("disk", f"{free:.1f} GiB free in {folder}", remedy)


def dataset() -> Probe:
    """Returns the dataset that `auto` gives, and whether MNIST files that are there are whole."""
    if importlib.util.find_spec("torch") is None:
        return Probe("dataset", "unknown", "Run `make setup`.")
    from course_utils.data import check_name, describe_dataset, resolve_auto
    from course_utils.data.mnist import load_idx, on_disk

    name, _ = resolve_auto()
    try:
        check_name(name)
    except CourseError as error:
        return Probe(
            "dataset", f"COURSE_DATASET={name}", f"{error} Unset COURSE_DATASET or correct it."
        )
    if name in ("mnist", "fashion") and on_disk(name):
        try:
            load_idx(name)
        except CourseError as error:
            return Probe("dataset", f"{name} is damaged", str(error))
    return Probe("dataset", describe_dataset())


def budget_name() -> Probe:
    """Returns the budget that presets will use."""
    if importlib.util.find_spec("torch") is None:
        return Probe("budget", "unknown", "Run `make setup`.")
    from course_utils.base.device import BUDGETS, budget

    try:
        return Probe("budget", budget())
    except CourseError as error:
        return Probe(
            "budget",
            str(os.environ.get("COURSE_BUDGET")),
            f"{error} Unset COURSE_BUDGET or set it to one of {', '.join(BUDGETS)}.",
        )


def write_access() -> Probe:
    """Returns whether files can be written where the course keeps data, caches and runs."""
    blocked = []
    for folder in (cache_root(), runs_root()):
        try:
            with tempfile.TemporaryFile(dir=_existing(folder)):
                pass
        except OSError as error:
            blocked.append(f"{folder} ({error.strerror})")
    if blocked:
        return Probe(
            "write access",
            f"none to {', '.join(blocked)}",
            "Set COURSE_CACHE and COURSE_RUNS to folders that you may write to.",
        )
    return Probe(
        "write access",
        f"caches {cache_root()}, runs {runs_root()} (data is read from {data_root()})",
    )


def _existing(folder: Path) -> Path:
    """Returns the folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
