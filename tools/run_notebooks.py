"""Runs the notebooks; writes executed copies and web pages, or the outputs back into the course."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from course_utils.base.config import require
from course_utils.base.errors import CourseError
from course_utils.base.files import course_root, write_text
from tools import notebook_files
from tools.bootstrap import stamp_notebook, stamp_readme
from tools.execute import RunResult, execute
from tools.notebook_files import read_notebook, write_notebook
from tools.play import write_play
from tools.site import Site
from tools.times import NotebookTimes


def run_course(names: Sequence[str], out_dir: Path, *, refresh: bool, workers: int | None) -> int:
    """Runs the course's notebooks and those of the homework; returns 0 where all ran well, else 1.

    Args:
        names: beginnings of notebooks' names, such as "04"; none means all.
        out_dir: folder for the executed copies and their pages.
        refresh: write outputs, bootstrap cells and badges back into the course.
        workers: notebooks at a time; None is 2, or 1 with `refresh`, so that the times compare.

    Raises:
        CourseError: no notebook has such a name.
    """
    root = course_root()
    paths = notebook_paths(root / "notebooks") + notebook_paths(root / "homework")
    chosen = [path for path in paths if not names or path.name.startswith(tuple(names))]
    if not chosen:
        there = ", ".join(path.stem for path in paths)
        raise CourseError(f"no notebook starts with {' or '.join(names)}; there are {there}.")
    if refresh:
        readme = root / "README.md"
        write_text(readme, stamp_readme(readme.read_text(encoding="utf-8")))
    if workers is None:
        workers = 1 if refresh else 2
    results = run_notebooks(chosen, out_dir, refresh, workers)
    return 0 if all(result.ok for result in results) else 1


def notebook_paths(folder: Path) -> list[Path]:
    """Returns the notebooks directly in `folder`, of which there must be some, by name."""
    paths = sorted(folder.glob("*.ipynb"))
    if not paths:
        advice = "give the folder that holds the .ipynb files"
        raise CourseError(f"expected a folder with notebooks, got {folder}; {advice}.")
    return paths


def run_notebooks(
    paths: Sequence[Path], out_dir: Path | None = None, refresh: bool = False, workers: int = 1
) -> list[RunResult]:
    """Returns how each notebook ran, in order; a failing one does not stop the rest.

    Args:
        paths: the notebooks, in the order to run them, each in its own folder and kernel.
        out_dir: folder for the executed copies, their web pages and `index.html`; None writes none.
        refresh: write the new outputs back into the notebooks that ran without an error.
        workers: notebooks that run at the same time; their kernels share the cores.

    Raises:
        CourseError: the index cannot be written, or fewer than 1 worker.
    """
    require(workers >= 1, "workers", "at least 1", workers)
    waiting = [path.stem for path in paths]
    if out_dir:
        write_play(out_dir, in_site=True)  # first, since pages link to it
    site = Site(paths, out_dir) if out_dir else None
    times = NotebookTimes(workers)
    printing = threading.Lock()
    at_a_time = min(workers, len(paths))
    print(f"{len(paths)} notebooks, {at_a_time} at a time{times.left(waiting)}", flush=True)

    def run(path: Path) -> RunResult:
        result = RunResult(path)
        try:
            _run(result, site, refresh, workers)
        except CourseError as error:
            result.error = f"{result.error}; {error}" if result.error else str(error)
        with printing:
            waiting.remove(path.stem)
            if result.ok:
                times.record(path.stem, result.seconds)
            count = f"[{len(paths) - len(waiting)}/{len(paths)}]"
            outcome = "ok" if result.ok else f"FAILED: {result.error}"
            seconds = f"{result.seconds:.1f} s"
            print(f"{count} {path.stem}: {seconds}, {outcome}{times.left(waiting)}", flush=True)
        return result

    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(run, paths))
    if site:
        for remark in site.finish(results):
            print(remark, flush=True)
    _print_summary(results, out_dir)
    return results


def _run(result: RunResult, site: Site | None, refresh: bool, workers: int) -> None:
    """Runs one notebook, writes what is asked for, and fills in its result."""
    path, folder = result.path, result.path.parent.resolve()
    notebook = read_notebook(path)
    sources = [cell.source for cell in notebook.cells]
    if refresh:
        stamp_notebook(notebook)

    start = time.monotonic()
    result.error = execute(notebook, folder, workers)
    result.seconds = time.monotonic() - start
    notebook_files.normalise(notebook)

    if site:
        write_notebook(site.folder / path.name, notebook)
        site.write_notebook(notebook, path)
    if refresh and result.ok:
        from course_utils.base.device import budget  # these import torch
        from course_utils.data import resolve_auto

        notebook_files.reduce_pictures(notebook)
        notebook_files.make_paths_relative(notebook, folder)
        notebook_files.record_run(notebook, budget(), resolve_auto()[0])
        if [cell.source for cell in read_notebook(path).cells] != sources:
            raise CourseError(
                f"{path.name}: expected the notebook to stay as it was while it ran, "
                "but it was edited; run it again."
            )
        write_notebook(path, notebook)


def _print_summary(results: Sequence[RunResult], out_dir: Path | None) -> None:
    failed = [result for result in results if not result.ok]
    seconds = sum(result.seconds for result in results)
    num_ok = len(results) - len(failed)
    print(f"{len(results)} notebooks: {num_ok} ok, {len(failed)} failed, {seconds:.0f} s.")
    for result in failed:
        print(f"  {result.path.name}: {result.error}")
    if out_dir:
        print(f"Open {out_dir / 'index.html'} in a browser.")
