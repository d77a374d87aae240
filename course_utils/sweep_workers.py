"""Runs of a sweep in several processes: those of this machine (loky) or of a cluster (dask). The same function runs in each of them."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from course_utils.data import load_dataset
from course_utils.data.base import Dataset
from course_utils.errors import CourseError
from course_utils.presets import Experiment
from course_utils.sweep_run import Measure, Outcome, attempt

BACKENDS = ("loky", "dask")
SAME_EVERYWHERE = ("mnist", "fashion", "strokes")  # each machine can load these by itself
SECONDS_TO_CONNECT = 15
INSTALL_DASK = 'the backend dask needs dask and distributed; install them with: pip install "dask[distributed]"'


@dataclass(frozen=True)
class NamedData:
    """A dataset that a worker loads by itself: its name instead of 50 MB of pixels, and the SHA-256 that they must have."""

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
                f"{self.name}: this worker has other images (SHA-256 {dataset.sha256[:10]}) than the sweep ({self.sha256[:10]}); "
                "copy the folder data/ to the worker, or share it."
            )
        return dataset


@functools.lru_cache(maxsize=1)
def _load_once(name: str) -> Dataset:
    return load_dataset(name, verbose=False)


def portable(dataset: Dataset) -> Dataset | NamedData:
    """Returns what is sent to workers: the name, where loading it gives these very images, else the images."""
    if dataset.name not in SAME_EVERYWHERE:
        return dataset
    try:
        loaded = _load_once(dataset.name)
    except CourseError:  # not to be had by name here, though somebody made such a dataset
        return dataset
    return NamedData(dataset.name, dataset.sha256) if loaded.sha256 == dataset.sha256 else dataset


_ONE_AT_A_TIME = threading.Lock()  # a dask worker may have several threads, and trainings in one process would share its settings


def work(experiment: Experiment, data: Dataset | NamedData, measure: Measure, environment: Mapping[str, str]) -> Outcome:
    """Returns what became of one run: what a worker does."""
    with _ONE_AT_A_TIME:
        os.environ.update(environment)  # a process may be older than a setting of the program that uses it
        return attempt(experiment, data.load() if isinstance(data, NamedData) else data, measure)


def in_parallel(
    experiments: Collection[Experiment], dataset: Dataset, measure: Measure, workers: int, backend: str, scheduler: str | None
) -> Iterator[Outcome]:
    """Yields what became of each run, in the order in which they end.

    Each process of this machine takes its share of the cores (joblib sees to that); a dask worker keeps the threads that it was started with.

    Raises:
        CourseError: dask is not installed, no scheduler answers, or a worker died and could not be replaced; what was yielded before stands.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    if not experiments:
        return
    data = portable(dataset)
    with _dask_client(workers, scheduler) if backend == "dask" else _processes(workers) as (environment, lost):
        try:
            parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
            yield from parallel(delayed(work)(experiment, data, measure, environment) for experiment in experiments)
        except (TerminatedWorkerError, *lost) as error:
            raise CourseError(
                f"a worker process died ({type(error).__name__}), perhaps for want of memory; finished runs and epochs are kept. "
                "Start again, with fewer workers where it happens again."
            ) from error


@contextmanager
def _processes(workers: int) -> Iterator[tuple[dict[str, str], tuple[type, ...]]]:
    """Yields the settings that workers take over, and the errors of lost workers that only this backend has."""
    from joblib import parallel_config

    with parallel_config(backend="loky", n_jobs=workers):
        yield {name: value for name, value in os.environ.items() if name.startswith("COURSE_")}, ()


@contextmanager
def _dask_client(workers: int, scheduler: str | None) -> Iterator[tuple[dict[str, str], tuple[type, ...]]]:
    """Yields the same for a cluster; machines of a cluster keep settings of their own."""
    try:
        from dask.distributed import Client, KilledWorker
    except ImportError as error:
        raise CourseError(f"{INSTALL_DASK}.") from error
    from joblib import parallel_config

    with _connected(Client, workers, scheduler) as client, parallel_config(backend="dask", n_jobs=-1, client=client):
        yield {}, (KilledWorker,)


def _connected(client_class: Any, workers: int, scheduler: str | None) -> Any:
    if scheduler is None:
        return client_class(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    try:
        return client_class(scheduler, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise CourseError(f"no dask scheduler answers at {scheduler!r} ({error}); expected an address such as tcp://10.0.0.1:8786.") from error
