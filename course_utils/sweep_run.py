"""The unit of work of a sweep: one run, trained and measured, as a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from course_utils.checkpoint import RECORD, Run, load_run
from course_utils.data.base import Dataset
from course_utils.errors import CourseError
from course_utils.experiment import default_folder, experiment_key, find_shipped, run
from course_utils.history import History
from course_utils.presets import Experiment
from course_utils.sweep_rows import Row

# Takes a finished run and the data; returns "metrics", {name: {"value", "error" or None, "num_images"}}, and "sampling_seconds".
Measure = Callable[[Run, Dataset], Mapping[str, Any]]
OnEpoch = Callable[[Any, History], None]
MAX_CURVE_POINTS = 200


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

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


def attempt(experiment: Experiment, dataset: Dataset, measure: Measure, on_epoch: OnEpoch | None = None) -> Outcome:
    """Returns what became of one run; an error that its settings explain is part of the outcome, so that the other runs go on."""
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


def run_and_measure(experiment: Experiment, dataset: Dataset, measure: Measure, on_epoch: OnEpoch | None = None) -> Row:
    """Returns the row of one experiment that fits the dataset: found among finished runs or trained, then measured.

    Raises:
        CourseError: the training diverged, or its images cannot be measured.
        KeyboardInterrupt: the training was stopped by Ctrl-C.
    """
    started = _now()
    result = find_or_train(experiment, dataset, on_epoch)
    if not result.record["finished"]:
        raise KeyboardInterrupt
    measured = measure(result, dataset)
    for name, metric in measured["metrics"].items():
        if not math.isfinite(metric["value"]):
            raise CourseError(f"{name}: expected a finite number, got {metric['value']}; the images of this model cannot be measured.")
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
        "history": curves(result.history),
    }


def find_or_train(experiment: Experiment, dataset: Dataset, on_epoch: OnEpoch | None = None) -> Run:
    """Returns the run of an experiment that fits the dataset: your own finished one, else a shipped one with equal settings, else a new one."""
    folder = default_folder(experiment, dataset)
    shipped = None if (folder / RECORD).exists() else find_shipped(experiment)
    return run(experiment, dataset, folder, on_epoch=on_epoch) if shipped is None else load_run(shipped)


def curves(history: History) -> dict[str, list[float]]:
    """Returns the training curves as columns, such as "test.kl" or "discriminator.train.loss": at most 200 points each, evenly chosen."""
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
