"""One notebook, executed from top to bottom in a kernel of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from course_utils.base.files import runs_root
from tools.notebook_files import widget_errors

CELL_TIMEOUT_SECONDS = 3600
STARTUP_TIMEOUT_SECONDS = 180  # a kernel starts in 2 seconds, on a busy machine in 20


@dataclass
class RunResult:
    """How one notebook ran: `error` is None where every cell ran well, else one line about it."""

    path: Path
    seconds: float = 0.0
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


def execute(notebook: Any, folder: Path, workers: int) -> str | None:
    """Executes a notebook in place; returns None, or one line about the first cell that failed.

    Args:
        folder: the working directory of the kernel.
        workers: notebooks that run at the same time, and so share the cores.
    """
    number = 1  # of the cell that runs

    def on_cell_start(cell: Any, cell_index: int) -> None:
        nonlocal number
        number = cell_index + 1

    # Without folders to search, "python3" can only be this interpreter's own kernel.
    specs = KernelSpecManager(kernel_dirs=[])
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs),
        timeout=CELL_TIMEOUT_SECONDS,
        startup_timeout=STARTUP_TIMEOUT_SECONDS,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # no warning about talking to itself unencrypted
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=on_cell_start,
    )
    try:
        client.execute(env=kernel_env(workers), cleanup_kc=True)
    except CellExecutionError as error:
        return f"cell {number}: {_one_line(f'{error.ename}: {error.evalue}')}"
    except CellTimeoutError:
        return f"cell {number}: it took longer than {CELL_TIMEOUT_SECONDS} s"
    except DeadKernelError:
        return f"cell {number}: the kernel died (often for want of memory)"
    except RuntimeError as error:
        return f"the kernel did not start: {_one_line(str(error))}"
    errors = widget_errors(notebook)
    return f"a widget's callback: {_one_line(errors[0])}" if errors else None


def kernel_env(workers: int) -> dict[str, str]:
    """Returns the caller's environment without progress bars, hash randomness, matplotlib backend.
    What the notebooks keep of the learner's models goes to the folder of the runs.

    Kernels side by side get their share of the cores: threads that wait for each other are slow.
    """
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    if workers > 1:
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    env.setdefault("COURSE_MY_MODELS", str(runs_root() / "my_models.py"))
    return env | {"TQDM_DISABLE": "1", "PYTHONHASHSEED": "0"}


def _one_line(text: str) -> str:
    lines = text.strip().splitlines() or ["no message"]
    return lines[0][:200]
