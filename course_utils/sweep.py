"""Many experiments: each trained and measured once, in one process, in several, or on a cluster, with results that survive any crash.

The unit of work is one run: train, then measure. What another call has finished is taken from the rows on disk, from the run directories or from
the shipped weights; a training that was cut off goes on from its last epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from course_utils.config import require
from course_utils.data.base import Dataset
from course_utils.errors import CourseError, unknown
from course_utils.experiment import experiment_key
from course_utils.presets import Experiment
from course_utils.sweep_progress import SweepProgress
from course_utils.sweep_rows import Row, add_rows, read_rows, with_labels
from course_utils.sweep_run import Measure, Outcome, attempt
from course_utils.sweep_workers import BACKENDS, in_parallel


def sweep(
    experiments: Sequence[Experiment],
    dataset: Dataset,
    measure: Measure,
    rows_path: Path | str,
    *,
    labels: Sequence[Mapping[str, Any]] | None = None,
    workers: int = 1,
    backend: str = "loky",
    scheduler: str | None = None,
) -> list[Row]:
    """Returns one row for each experiment, in their order; equal experiments are run once.

    Each row is written as soon as its run is measured. A call that was killed is simply made again: it does only what is missing. Rows of
    different `workers` are equal where the processes have equally many threads: sums are rounded differently otherwise.

    Args:
        experiments: the settings; image size, channels and classes are taken from the dataset.
        dataset: what to train on and to compare with.
        measure: called with each finished run and the dataset; with several workers it must be a function of a module.
        rows_path: file of the rows (JSON lines), made where it does not exist.
        labels: one dict for each experiment that says what it is for; part of its row.
        workers: processes that train at the same time; each takes its share of the cores.
        backend: "loky" (processes of this machine) or "dask" (a cluster).
        scheduler: address of a dask scheduler, such as "tcp://10.0.0.1:8786"; None starts `workers` processes here.

    Raises:
        CourseError: bad arguments, or runs that failed; all others are finished and written before it is raised.
        KeyboardInterrupt: stopped by Ctrl-C; the next call goes on.
    """
    _check(workers, backend, scheduler)
    experiments = [experiment.fitted_to(dataset) for experiment in experiments]
    keys = [experiment_key(experiment.as_dict(), dataset.sha256) for experiment in experiments]
    labels = [{} for _ in keys] if labels is None else labels
    require(len(labels) == len(keys), "labels", f"one for each of {len(keys)} experiments", len(labels))
    wanted = list(zip(keys, labels))
    finished = {row["key"]: row for row in read_rows(rows_path)}
    pending = {key: experiment for key, experiment in zip(keys, experiments) if key not in finished}
    _keep(rows_path, wanted, finished)
    progress = SweepProgress({key: experiment.train.num_epochs for key, experiment in pending.items()}, len(set(keys)))
    if backend == "dask" or (workers > 1 and len(pending) > 1):
        outcomes = in_parallel(pending.values(), dataset, measure, workers, backend, scheduler)
    else:
        outcomes = _in_turn(pending, dataset, measure, progress)
    failed = []
    for outcome in outcomes:
        name = f"{pending[outcome.key].family}, seed {pending[outcome.key].seed}"
        progress.run_finished(outcome.key, name, failed=outcome.row is None, trained=outcome.trained)
        if outcome.row is None:
            failed.append(f"{name}: {outcome.error}")
        else:
            finished[outcome.key] = outcome.row
            _keep(rows_path, [(key, label) for key, label in wanted if key == outcome.key], finished)
    if failed:
        raise CourseError(f"{len(failed)} of {len(set(keys))} runs failed; the others are kept. {' '.join(failed)}")
    return [with_labels(finished[key], label) for key, label in wanted]


def _check(workers: int, backend: str, scheduler: str | None) -> None:
    require(isinstance(workers, int) and workers >= 1, "workers", "a whole number of at least 1", workers)
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    if scheduler is not None and backend != "dask":
        raise CourseError(f"scheduler: belongs to the backend 'dask', got the backend {backend!r}; add backend='dask'.")


def _keep(path: Path | str, wanted: Sequence[tuple[str, Mapping[str, Any]]], finished: Mapping[str, Row]) -> None:
    """Writes the rows of finished runs under those labels that the file has not got yet."""
    there = read_rows(path)
    rows = [with_labels(finished[key], label) for key, label in wanted if key in finished]
    new = [row for index, row in enumerate(rows) if not _among(row, there) and not _among(row, rows[:index])]
    if new:
        add_rows(path, new)


def _among(row: Row, rows: Sequence[Row]) -> bool:
    """Returns whether the run stands there under the same labels."""
    labels = {name: value for name, value in row.items() if name not in with_labels(row, {})}
    return any(row["key"] == other["key"] and labels.items() <= other.items() for other in rows)


def _in_turn(pending: Mapping[str, Experiment], dataset: Dataset, measure: Measure, progress: SweepProgress) -> Iterator[Outcome]:
    for experiment in pending.values():
        yield attempt(experiment, dataset, measure, lambda _, history: progress.epoch_finished())
