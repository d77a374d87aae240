"""Runs notebooks from top to bottom in this interpreter; writes executed copies and web pages, or the outputs back into the notebooks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.base.config import require
from course_utils.base.errors import CourseError
from course_utils.base.files import cache_root, course_root, read_json, write_json, write_text
from tools.bootstrap import stamp_notebook, stamp_readme
from tools.notebook_files import (
    code_cells,
    has_error,
    make_paths_relative,
    normalise,
    read_notebook,
    record_run,
    stale_cells,
    widget_errors,
    write_notebook,
)
from tools.site import title_and_summary, write_index, write_page


class NotebookTimes:
    """Seconds that notebooks took, this time and in earlier runs on this machine with the same budget."""

    def __init__(self, workers: int) -> None:
        self.workers = workers  # notebooks at a time
        self.path = cache_root() / "notebook_seconds.json"
        self.prefix = f"{os.environ.get('COURSE_BUDGET') or 'default'}/"
        self.seconds: dict[str, float] = {}
        if self.path.exists():
            try:
                self.seconds = {name: float(value) for name, value in read_json(self.path).items()}
            except (CourseError, TypeError, ValueError) as error:
                print(f"The times of earlier runs cannot be used; they are measured anew. ({one_line(str(error))})")

    def record(self, name: str, seconds: float) -> None:
        """Keeps how long a notebook took; where that cannot be written, it says so and goes on."""
        self.seconds[self.prefix + name] = round(seconds, 1)
        try:
            write_json(self.path, self.seconds)
        except CourseError as error:
            print(f"(times not kept: {one_line(str(error))}) ", end="")

    def left(self, names: list[str]) -> str:
        """Returns ", about 3 min left" for the notebooks still to run; an unknown one counts as the mean of the known."""
        known = [value for name, value in self.seconds.items() if name.startswith(self.prefix)]
        if not names or not known:
            return ""
        seconds = sum(self.seconds.get(self.prefix + name, sum(known) / len(known)) for name in names) / min(self.workers, len(names))
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"


def one_line(text: str) -> str:
    """Returns the first line of a text, 200 characters at most."""
    lines = text.strip().splitlines() or ["no message"]
    return lines[0][:200]


__all__ = ["RunResult", "notebook_paths", "run_notebooks", "stale_cells"]

DEFAULT_TIMEOUT_SECONDS = 3600.0
STARTUP_TIMEOUT_SECONDS = 180  # a kernel starts in 2 seconds, on a busy machine in 20


@dataclass(frozen=True)
class RunResult:
    """How one notebook ran: `error` is None where every cell ran well, else one line that names the cell."""

    path: Path
    seconds: float
    error: str | None

    @property
    def ok(self) -> bool:
        return self.error is None


def notebook_paths(folder: Path | str) -> list[Path]:
    """Returns the notebooks directly in `folder`, in the order of their names.

    Raises:
        CourseError: the folder is missing or holds none.
    """
    paths = sorted(Path(folder).glob("*.ipynb"))
    if not paths:
        raise CourseError(f"expected a folder with notebooks, got {folder}; give the folder that holds the .ipynb files.")
    return paths


def run_notebooks(
    paths: Iterable[Path | str],
    out_dir: Path | str | None = None,
    refresh: bool = False,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    workers: int = 1,
) -> list[RunResult]:
    """Returns how each notebook ran, in order; a failing one does not stop the rest.

    Args:
        paths: the notebooks, in the order to run them. Each runs in its own folder and in a kernel of its own.
        out_dir: folder for the executed copies, their web pages and `index.html`; None writes none.
        refresh: write the new outputs back into the notebooks that ran without an error.
        timeout_seconds: the longest time that one cell may take.
        workers: notebooks that run at the same time; their kernels share the cores.

    Raises:
        CourseError: `out_dir` cannot be written, or fewer than 1 worker.
    """
    paths, out = [Path(path) for path in paths], Path(out_dir) if out_dir else None
    require(workers >= 1, "workers", "at least 1", workers)
    times, waiting, printing = NotebookTimes(workers), [path.stem for path in paths], threading.Lock()
    print(f"{len(paths)} notebooks, {min(workers, len(paths))} at a time{times.left(waiting)}", flush=True)
    names, env = set(waiting), _kernel_env(workers)

    def work(path: Path) -> dict:
        row = _process(path, out, refresh, timeout_seconds, names, env)
        with printing:
            waiting.remove(path.stem)
            if row["error"] is None:
                times.record(path.stem, row["seconds"])
            outcome = "ok" if row["error"] is None else f"FAILED: {row['error']}"
            done = f"[{len(paths) - len(waiting)}/{len(paths)}]"
            print(f"{done} {path.stem}: {row['seconds']:.1f} s, {outcome}{times.left(waiting)}", flush=True)
        return row

    with ThreadPoolExecutor(workers) as pool:
        rows = list(pool.map(work, paths))
    results = [RunResult(path, row["seconds"], row["error"]) for path, row in zip(paths, rows)]
    if out:
        write_index(out / "index.html", rows)
    _print_summary(results, out_dir)
    return results


def run_course(names: Sequence[str], out_dir: Path, *, refresh: bool, workers: int | None) -> int:
    """Runs the course's notebooks and those of the homework; returns 0 where all ran well, else 1.

    Args:
        names: beginnings of notebooks' names, such as "04"; none means all.
        out_dir: folder for the executed copies and their pages.
        refresh: write outputs, bootstrap cells and badges back into the course.
        workers: notebooks at a time; None is 2, or 1 with `refresh`, so that the times in the outputs compare.

    Raises:
        CourseError: no notebook has such a name.
    """
    paths = [path for folder in ("notebooks", "homework") for path in notebook_paths(course_root() / folder)]
    chosen = [path for path in paths if not names or any(path.name.startswith(name) for name in names)]
    if not chosen:
        raise CourseError(f"no notebook starts with {' or '.join(names)}; there are {', '.join(path.stem for path in paths)}.")
    if refresh:
        readme = course_root() / "README.md"
        write_text(readme, stamp_readme(readme.read_text(encoding="utf-8")))
    if workers is None:
        workers = 1 if refresh else 2
    results = run_notebooks(chosen, out_dir=out_dir, refresh=refresh, workers=workers)
    return 0 if all(result.ok for result in results) else 1


def _process(path: Path, out_dir: Path | None, refresh: bool, timeout_seconds: float, site_names: set[str], env: dict[str, str]) -> dict:
    """Runs one notebook and writes what is asked for; returns its row of the index."""
    row = {"name": path.stem, "title": path.stem, "summary": "", "seconds": 0.0, "error": None}
    folder = path.parent.resolve()
    try:
        notebook = read_notebook(path)
        before = [cell.source for cell in notebook.cells]
        if refresh:
            stamp_notebook(notebook)
        start = time.monotonic()
        row["error"] = _execute(notebook, folder, timeout_seconds, env)
        row["seconds"] = time.monotonic() - start
        normalise(notebook)
        if out_dir:
            write_notebook(out_dir / path.name, notebook)
            row["title"], row["summary"] = title_and_summary(notebook, path.stem)
            write_page(notebook, folder, out_dir / f"{path.stem}.html", site_names)
        if refresh and row["error"] is None:
            _write_back(path, notebook, before, folder)
    except CourseError as error:
        row["error"] = f"{row['error']}; {error}" if row["error"] else str(error)
    return row


def _execute(notebook: Any, folder: Path, timeout_seconds: float, env: dict[str, str]) -> str | None:
    """Executes a notebook in place; returns None, or one line about the first cell that failed."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    started: list[int] = []
    # Without folders to search, the only kernel "python3" is the one of this interpreter, whatever else is installed under that name.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=timeout_seconds,
        startup_timeout=STARTUP_TIMEOUT_SECONDS,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # not the warning that a kernel talks to its own machine unencrypted
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=lambda cell, cell_index: started.append(cell_index + 1),
    )
    try:
        client.execute(env=env, cleanup_kc=True)
    except CellExecutionError as error:
        number, cell = next((pair for pair in code_cells(notebook) if has_error(pair[1])), (started[-1], None))
        outputs = [output for output in cell.outputs if output.output_type == "error"] if cell else []
        text = f"{outputs[0].ename}: {outputs[0].evalue}" if outputs else str(error)
        return f"cell {number}: {one_line(text)}"
    except CellTimeoutError:
        return f"cell {started[-1]}: it took longer than {timeout_seconds:.0f} s"
    except DeadKernelError:
        return f"cell {started[-1] if started else 1}: the kernel died (often for want of memory)"
    except RuntimeError as error:  # the kernel did not start
        return f"the kernel did not start: {one_line(str(error))}"
    errors = widget_errors(notebook)
    return f"a widget's callback: {one_line(errors[0])}" if errors else None


def _kernel_env(workers: int) -> dict[str, str]:
    """Returns the environment of the kernels: the caller's, without progress bars, hash randomness and a matplotlib backend of the caller.

    Kernels that run side by side get their share of the cores: threads that wait for each other's cores are many times slower.
    """
    env = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    share = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers))} if workers > 1 else {}
    return {**share, **env, "TQDM_DISABLE": "1", "PYTHONHASHSEED": "0"}


def _write_back(path: Path, notebook: Any, before: list[str], folder: Path) -> None:
    """Writes the outputs into the notebook's own file, unless it was edited meanwhile."""
    from course_utils.base.device import budget
    from course_utils.data import resolve_auto

    make_paths_relative(notebook, folder)
    record_run(notebook, budget(), resolve_auto()[0])
    if [cell.source for cell in read_notebook(path).cells] != before:
        raise CourseError(f"{path.name}: expected the notebook to stay as it was while it ran, but it was edited; run it again.")
    write_notebook(path, notebook)


def _print_summary(results: list[RunResult], out_dir: Path | str | None) -> None:
    failed = [result for result in results if not result.ok]
    print(f"{len(results)} notebooks: {len(results) - len(failed)} ok, {len(failed)} failed, {sum(result.seconds for result in results):.0f} s.")
    for result in failed:
        print(f"  {result.path.name}: {result.error}")
    if out_dir:
        print(f"Open {Path(out_dir) / 'index.html'} in a browser.")
