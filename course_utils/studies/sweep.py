"""Many experiments: each trained and measured once, in one process, in several, or on a cluster,
with results that survive any crash.

The unit of work is one run: train, then measure. What another call has finished is taken from the
rows on disk, from the run directories or from the shipped weights; a training that was cut off goes
on from its last epoch.
"""

from __future__ import annotations

import functools
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

from course_utils.base.config import require
from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import locked, read_jsonl, write_jsonl
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.training.history import History
from course_utils.training.presets import Experiment
from course_utils.training.runs import Run, experiment_key, find_or_train

Row = dict[str, Any]
# What a row says of a run; labels that tell what the run was for stand beside these.
RUN_COLUMNS = (
    "seed",
    "experiment",
    "key",
    "started",
    "finished",
    "machine",
    "training_seconds",
    "sampling_seconds",
    "metrics",
    "history",
)
DATA_SHA256 = "data_sha256"  # of the images; rows of older versions lack this column


def read_rows(path: Path | str) -> list[Row]:
    """Returns the rows of a file, none where it does not exist yet.

    Raises:
        CourseError: the file cannot be read or is empty, or a line is no row of a sweep.
    """
    path = Path(path)
    if not path.exists():
        return []
    remedy = "remove the line, its run is then measured again"
    rows = read_jsonl(path, remedy)
    if not rows:  # none is ever written without a row
        raise CourseError(
            f"{path}: expected rows of a sweep, got an empty file, as a power cut leaves it. Put a"
            " copy there, or delete it: finished runs are then found again and measured once more."
        )
    for number, row in enumerate(rows, start=1):
        missing = [name for name in RUN_COLUMNS if name not in row]
        if missing:
            raise CourseError(
                f"{path}, line {number}: expected a row of a sweep, got one without"
                f" {', '.join(missing)}; {remedy}."
            )
    return rows


SECONDS_TO_WRITE = 60.0  # how long to wait for another process that writes rows


def add_rows(path: Path | str, rows: Sequence[Row]) -> None:
    """Appends the rows that a file has not got yet, in one step: afterwards all of them are there,
    or none. Rows that other processes add at the same time are kept.

    Raises:
        CourseError: the file cannot be written.
        ValueError: a row holds a number that is not finite.
    """
    with locked(path, "sweep", wait_seconds=SECONDS_TO_WRITE):
        there = read_rows(path)
        new = [
            row
            for index, row in enumerate(rows)
            if not _among(row, there) and not _among(row, rows[:index])
        ]
        if new:
            write_jsonl(path, [*there, *new])


def with_labels(row: Row, labels: Mapping[str, Any]) -> Row:
    """Returns the row of a run under other labels."""
    there = [name for name in (*RUN_COLUMNS, DATA_SHA256) if name in row]
    return {**labels, **{name: row[name] for name in there}}


class SweepProgress:
    """Counts epochs, since runs of one sweep may differ in length, and takes the time of the rest
    from the pace until now.
    """

    def __init__(self, epochs: Mapping[str, int], num_runs: int) -> None:
        """Prints what is there already.

        Args:
            epochs: of each run that is still to be done, by key.
            num_runs: finished ones included.
        """
        self.epochs, self.num_runs = dict(epochs), num_runs
        self.start = time.monotonic()
        self.done_epochs = 0
        self.of_this_run = 0
        self.left = set(epochs)
        self.announced = False
        found = num_runs - len(epochs)
        print(
            f"{num_runs} runs, {found} of them finished before" if found else f"{num_runs} runs",
            flush=True,
        )

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until all runs are done; None as long as nothing is known."""
        done = self.done_epochs + self.of_this_run
        remaining = sum(self.epochs[key] for key in self.left) - self.of_this_run
        return (time.monotonic() - self.start) / done * remaining if done else None

    def epoch_finished(self) -> None:
        """Counts one epoch of the run that is under way; the first one gives the first estimate."""
        self.of_this_run += 1
        if not self.announced:
            print(
                f"  about {duration_in_words(self.seconds_left or 0.0)} for all of them", flush=True
            )
            self.announced = True

    def run_finished(
        self, key: str, name: str, *, failed: bool = False, trained: bool = True
    ) -> None:
        """Prints one line for a run that is done. One that was only found says nothing about the
        pace.
        """
        self.left.discard(key)
        self.done_epochs += self.epochs[key] if trained else 0
        self.of_this_run = 0
        place = f"  run {self.num_runs - len(self.left)} of {self.num_runs} ({name})"
        rest = (
            f"; about {duration_in_words(self.seconds_left)} left"
            if self.left and self.seconds_left is not None
            else ""
        )
        print(f"{place} {'failed' if failed else 'finished'}{rest}", flush=True)


def duration_in_words(seconds: float) -> str:
    """Returns a duration such as "40 s" or "12 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


# Takes a finished run and the data; returns "metrics", {name: {"value", "error" or None,
# "num_images"}}, and "sampling_seconds".
Measure = Callable[[Run, Dataset], Mapping[str, Any]]
OnEpoch = Callable[[Any, History], None]
MAX_CURVE_POINTS = 200


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run.

    Attributes:
        key: of the experiment and the data.
        row: None where the run failed.
        error: the line that says why it failed.
        trained: whether an epoch was trained; false where the run was found finished.
    """

    key: str
    row: Row | None = None
    error: str = ""
    trained: bool = True


def attempt(
    experiment: Experiment, dataset: Dataset, measure: Measure, on_epoch: OnEpoch | None = None
) -> Outcome:
    """Returns the outcome of one run; an error that its settings explain is part of the outcome, so
    that the other runs go on.
    """
    key = experiment_key(experiment.as_dict(), dataset.sha256)
    epochs = []

    def count(model: Any, history: History) -> None:
        epochs.append(history.num_epochs)
        if on_epoch is not None:
            on_epoch(model, history)

    try:
        row = run_and_measure(experiment, dataset, measure, count)
    except CourseError as error:
        return Outcome(key, error=str(error), trained=bool(epochs))
    return Outcome(key, row, trained=bool(epochs))


def run_and_measure(
    experiment: Experiment, dataset: Dataset, measure: Measure, on_epoch: OnEpoch | None = None
) -> Row:
    """Returns the row of one experiment that fits the dataset: found among finished runs or
    trained, then measured.

    Raises:
        CourseError: the training diverged, or its images cannot be measured.
        KeyboardInterrupt: the training was stopped by Ctrl-C.
    """
    started = _now()
    result = find_or_train(experiment, dataset, on_epoch=on_epoch).run
    measured = measure(result, dataset)
    for name, metric in measured["metrics"].items():
        if not math.isfinite(metric["value"]):
            raise CourseError(
                f"{name}: expected a finite number, got {metric['value']}; the images of this model"
                " cannot be measured."
            )
    return {
        "seed": experiment.seed,
        "experiment": experiment.as_dict(),
        "key": experiment_key(experiment.as_dict(), dataset.sha256),
        "started": started,
        "finished": _now(),
        "machine": result.record["machine"],
        "training_seconds": round(result.record["training_seconds"], 3),
        "sampling_seconds": round(measured["sampling_seconds"], 3),
        "metrics": measured["metrics"],
        "history": curve_columns(result.history),
        DATA_SHA256: dataset.sha256,
    }


def curve_columns(history: History) -> dict[str, list[float]]:
    """Returns the training curves as columns, such as "test.kl" or "discriminator.train.loss": at
    most 200 points each, evenly chosen.
    """
    several = len({row["part"] for row in history.rows}) > 1
    columns: dict[str, list[float]] = {}
    for row in history.rows:
        prefix = f"{row['part']}.{row['split']}" if several else row["split"]
        for name, value in row.items():
            if name not in ("split", "part"):
                columns.setdefault(f"{prefix}.{name}", []).append(value)
    return {name: thinned(values) for name, values in columns.items()}


def thinned(values: Sequence[float], most: int = MAX_CURVE_POINTS) -> list[float]:
    """Returns at most that many of the values, evenly chosen, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


BACKENDS = ("loky", "dask")
SAME_EVERYWHERE = ("mnist", "fashion", "strokes")  # each machine can load these by itself
SECONDS_TO_CONNECT = 15
INSTALL_DASK = (
    "the backend dask needs dask and distributed; install them with: pip install"
    ' "dask[distributed]"'
)


@dataclass(frozen=True)
class NamedData:
    """A dataset that a worker loads by itself: its name instead of 50 MB of pixels, and the SHA-256
    that they must have.
    """

    name: str
    sha256: str

    def load(self) -> Dataset:
        """Returns the dataset, loaded once a process.

        Raises:
            CourseError: this machine has other images under that name.
        """
        dataset = _load_once(self.name)
        if dataset.sha256 != self.sha256:
            raise CourseError(
                f"{self.name}: this worker has other images (SHA-256 {dataset.sha256[:10]}) than"
                f" the sweep ({self.sha256[:10]}); copy the folder data/ to the worker, or"
                " share it."
            )
        return dataset


@functools.lru_cache(maxsize=1)
def _load_once(name: str) -> Dataset:
    return load_dataset(name, verbose=False)


def portable(dataset: Dataset) -> Dataset | NamedData:
    """Returns the form in which a dataset is sent to workers: its name, where loading it gives
    these very images, else the images.
    """
    if dataset.name not in SAME_EVERYWHERE:
        return dataset
    try:
        loaded = _load_once(dataset.name)
    except CourseError:  # not to be had by name here, though somebody made such a dataset
        return dataset
    return NamedData(dataset.name, dataset.sha256) if loaded.sha256 == dataset.sha256 else dataset


# a dask worker may have several threads, and trainings in one process would share its settings
_ONE_AT_A_TIME = threading.Lock()


def work(
    experiment: Experiment,
    data: Dataset | NamedData,
    measure: Measure,
    environment: Mapping[str, str],
) -> Outcome:
    """Returns the outcome of one run, computed in a worker process."""
    with _ONE_AT_A_TIME:
        # a process may be older than a setting of the program that uses it
        os.environ.update(environment)
        return attempt(experiment, data.load() if isinstance(data, NamedData) else data, measure)


def in_parallel(
    experiments: Collection[Experiment],
    dataset: Dataset,
    measure: Measure,
    workers: int,
    backend: str,
    scheduler: str | None,
) -> Iterator[Outcome]:
    """Yields the outcome of each run, in the order in which they end.

    Each process of this machine takes its share of the cores (joblib sees to that); a dask worker
    keeps the threads that it was started with.

    Raises:
        CourseError: dask is not installed, no scheduler answers, or a worker died and could not be
            replaced; what was yielded before stands.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if not experiments:
        return
    data = portable(dataset)
    with (
        _dask_client(workers, scheduler) if backend == "dask" else _processes(workers) as (
            environment,
            lost,
        )
    ):
        try:
            # joblib has no stubs: pyright takes the type of a default, "auto", for that of the
            # argument.
            one_each = cast(Any, 1)
            parallel = Parallel(
                return_as="generator_unordered", batch_size=one_each, pre_dispatch="all"
            )
            outcomes = parallel(
                delayed(work)(experiment, data, measure, environment) for experiment in experiments
            )
            yield from cast(Iterator[Outcome], outcomes)
        except (TerminatedWorkerError, *lost) as error:
            raise CourseError(
                f"a worker process died ({type(error).__name__}), perhaps for want of memory;"
                " finished runs and epochs are kept. Start again, with fewer workers where it"
                " happens again."
            ) from error


@contextmanager
def _processes(workers: int) -> Iterator[tuple[dict[str, str], tuple[type[Exception], ...]]]:
    """Yields the settings that workers take over, and the errors of lost workers that only this
    backend has.
    """
    from joblib import parallel_config

    with parallel_config(backend="loky", n_jobs=workers):
        yield {name: value for name, value in os.environ.items() if name.startswith("COURSE_")}, ()


@contextmanager
def _dask_client(
    workers: int, scheduler: str | None
) -> Iterator[tuple[dict[str, str], tuple[type[Exception], ...]]]:
    """Yields the same for a cluster; machines of a cluster keep settings of their own."""
    try:
        from dask.distributed import Client, KilledWorker
    except ImportError as error:
        raise CourseError(f"{INSTALL_DASK}.") from error
    from joblib import parallel_config

    with (
        _connected(Client, workers, scheduler) as client,
        parallel_config(backend="dask", n_jobs=-1, client=client),
    ):
        yield {}, (KilledWorker,)


def _connected(client_class: Any, workers: int, scheduler: str | None) -> Any:
    if scheduler is None:
        return client_class(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    try:
        return client_class(scheduler, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise CourseError(
            f"no dask scheduler answers at {scheduler!r} ({error}); expected an address such as"
            " tcp://10.0.0.1:8786."
        ) from error


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

    Each row is written as soon as its run is measured. A call that was killed is simply made again:
    it does only what is missing. Rows of different `workers` are equal where the processes have
    equally many threads: sums are rounded differently otherwise.

    Args:
        experiments: the settings; image size, channels and classes are taken from the dataset.
        dataset: what to train on and to compare with.
        measure: called with each finished run and the dataset; with several workers it must be a
            function of a module.
        rows_path: file of the rows (JSON lines), made where it does not exist.
        labels: one dict for each experiment that says what it is for; part of its row.
        workers: processes that train at the same time; each takes its share of the cores.
        backend: "loky" (processes of this machine) or "dask" (a cluster).
        scheduler: address of a dask scheduler, such as "tcp://10.0.0.1:8786"; None starts `workers`
            processes here.

    Raises:
        CourseError: bad arguments, or runs that failed; all others are finished and written before
            it is raised.
        KeyboardInterrupt: stopped by Ctrl-C; the next call goes on.
    """
    _check(workers, backend, scheduler)
    experiments = [experiment.fitted_to(dataset) for experiment in experiments]
    keys = [experiment_key(experiment.as_dict(), dataset.sha256) for experiment in experiments]
    labels = [{} for _ in keys] if labels is None else labels
    require(
        len(labels) == len(keys), "labels", f"one for each of {len(keys)} experiments", len(labels)
    )
    wanted = list(zip(keys, labels))
    finished = {row["key"]: row for row in read_rows(rows_path)}
    pending = {key: experiment for key, experiment in zip(keys, experiments) if key not in finished}
    _keep(rows_path, wanted, finished)
    progress = SweepProgress(
        {key: experiment.train.num_epochs for key, experiment in pending.items()}, len(set(keys))
    )
    if backend == "dask" or (workers > 1 and len(pending) > 1):
        outcomes = in_parallel(pending.values(), dataset, measure, workers, backend, scheduler)
    else:
        outcomes = _in_turn(pending, dataset, measure, progress)
    failed = []
    for outcome in outcomes:
        name = f"{pending[outcome.key].family}, seed {pending[outcome.key].seed}"
        progress.run_finished(
            outcome.key, name, failed=outcome.row is None, trained=outcome.trained
        )
        if outcome.row is None:
            failed.append(f"{name}: {outcome.error}")
        else:
            finished[outcome.key] = outcome.row
            _keep(
                rows_path, [(key, label) for key, label in wanted if key == outcome.key], finished
            )
    if failed:
        raise CourseError(
            f"{len(failed)} of {len(set(keys))} runs failed; the others are kept."
            f" {' '.join(failed)}"
        )
    return [with_labels(finished[key], label) for key, label in wanted]


def _check(workers: int, backend: str, scheduler: str | None) -> None:
    require(
        isinstance(workers, int) and workers >= 1,
        "workers",
        "a whole number of at least 1",
        workers,
    )
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    if scheduler is not None and backend != "dask":
        raise CourseError(
            f"scheduler: belongs to the backend 'dask', got the backend {backend!r}; add"
            " backend='dask'."
        )


def _keep(
    path: Path | str, wanted: Sequence[tuple[str, Mapping[str, Any]]], finished: Mapping[str, Row]
) -> None:
    """Writes the rows of finished runs under those labels that the file has not got yet."""
    rows = [with_labels(finished[key], label) for key, label in wanted if key in finished]
    if rows:
        add_rows(path, rows)


def _among(row: Row, rows: Sequence[Row]) -> bool:
    """Returns whether the run stands there under the same labels."""
    labels = {name: value for name, value in row.items() if name not in with_labels(row, {})}
    return any(row["key"] == other["key"] and labels.items() <= other.items() for other in rows)


def _in_turn(
    pending: Mapping[str, Experiment], dataset: Dataset, measure: Measure, progress: SweepProgress
) -> Iterator[Outcome]:
    for experiment in pending.values():
        yield attempt(experiment, dataset, measure, lambda _, history: progress.epoch_finished())
