"""Running experiments: train, measure, save. A finished run with an equal experiment and equal data is not run again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from course_utils.checkpoint import PRETRAINED, RECORD, STATE, Run, load_run, save_run, to_half
from course_utils.config import flatten_dict, override
from course_utils.data.base import Dataset
from course_utils.device import budget, describe_device
from course_utils.errors import CourseError
from course_utils.evaluation import evaluate
from course_utils.files import read_json, runs_root
from course_utils.history import History
from course_utils.models import Model, build
from course_utils.presets import Experiment, preset, smoke_version
from course_utils.training import fit


def run(
    experiment: Experiment,
    dataset: Dataset,
    folder: Path | str | None = None,
    *,
    resume: bool = True,
    half: bool = False,
    command: str = "",
    on_epoch: Callable[[Model, History], None] | None = None,
) -> Run:
    """Returns the finished run of an experiment, training it where it has not been trained yet.

    The training state is kept after each epoch, so a run that was cut off goes on where it stopped. Ctrl-C returns what there is, with
    `record["finished"]` false; the next call goes on.

    Args:
        experiment: the settings; image size, channels and classes are taken from the dataset.
        dataset: what to train on.
        folder: run directory; None picks one under `runs/` from the experiment itself.
        resume: go on from a state that is there; False starts anew.
        half: store the weights as float16.
        command: what was typed to start it, for the record.
        on_epoch: passed to `fit`.

    Raises:
        CourseError: the folder holds the run of another experiment, or cannot be written.
    """
    experiment = experiment.fitted_to(dataset)
    folder = Path(folder) if folder is not None else default_folder(experiment, dataset)
    if (folder / RECORD).exists():
        if not is_run_of(folder, experiment, dataset.sha256):
            raise CourseError(f"{folder}: holds a finished run of other settings or data; choose another folder, or delete it.")
        return load_run(folder)
    state_path = folder / STATE
    if not resume:
        state_path.unlink(missing_ok=True)
    model = build(experiment.model, experiment.seed)
    identity = {**flatten_dict(experiment.as_dict()), "dataset_sha256": dataset.sha256}
    history = fit(model, dataset, experiment.train, seed=experiment.seed, state_path=state_path, identity=identity, on_epoch=on_epoch)
    finished = history.num_epochs == experiment.train.num_epochs
    if half:  # first round, then measure: the metrics are those of the weights that are stored
        model.load_state_dict(to_half(model.state_dict()))
    record = {"command": command, **describe(model, dataset, history, finished)}
    if finished:
        save_run(folder, model, experiment, history, record, half)
        state_path.unlink(missing_ok=True)
    return Run(model.eval(), experiment, history, record, folder)


def describe(model: Model, dataset: Dataset, history: History, finished: bool) -> dict[str, Any]:
    """Returns what a record says of a training: data, time, machine, and each loss term on all test images with its standard error."""
    metrics = {}
    for part in model.trainable_parts():
        for name, values in evaluate(model, dataset.test_images, dataset.test_labels, part=part).items():
            key = name if len(model.trainable_parts()) == 1 else f"{part}.{name}"
            metrics[key] = {
                "value": values.mean().item(),
                "standard_error": values.std().item() / len(values) ** 0.5,
                "num_images": len(values),
            }
    return {
        "finished": finished,
        "dataset_sha256": dataset.sha256,
        "num_train_images": len(dataset.train_images),
        "training_seconds": history.seconds,
        "machine": machine(),
        "metrics": metrics,
    }


def machine() -> str:
    """Returns the kind of machine in words, such as "Intel Xeon 2.50GHz, cpu, 2 threads"; no host name."""
    model = platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {describe_device()}"


def train_or_load(
    family: str,
    dataset: Dataset,
    changes: Mapping[str, Any] | None = None,
    *,
    load: bool = False,
    on_epoch: Callable[[Model, History], None] | None = None,
) -> Run:
    """Returns the run of a family's preset with `changes`: the notebooks' training cell.

    A finished run is loaded; else it is trained, and one line says how long that took on a named machine. `load=True` takes the shipped
    weights instead of training. Under the `smoke` budget a few steps are taken to show that training runs, then the shipped weights are used.

    Args:
        family: such as "vae", or a variant such as "vae-binary".
        dataset: what to train on.
        changes: dotted settings, such as `{"model.latent_dim": 2}`.
        load: never train.
        on_epoch: passed to `fit`.

    Raises:
        CourseError: an unknown setting, or `load=True` where no equal run ships with the course.
    """
    smoke = budget() == "smoke"
    experiment = override(preset(family, "laptop" if smoke else None), changes or {}).fitted_to(dataset)
    shipped = find_shipped(experiment)
    if load and shipped is None:
        raise CourseError(f"no weights ship for {family} on {dataset.name} with {dict(changes or {})}; call again with load=False to train them.")
    if smoke:
        scratch = _smoke_run(smoke_version(experiment), dataset, on_epoch)
        print(f"smoke budget: trained {scratch.history.num_epochs} short epoch" + ("" if shipped else "; nothing ships for this setting"))
        return load_run(shipped) if shipped else scratch
    folder = default_folder(experiment, dataset)
    if load or (folder / RECORD).exists():
        print(f"loaded {family} from {'the shipped weights' if load else 'an earlier run of yours'}; nothing was trained")
        return load_run(shipped if load else folder)
    _announce(experiment, shipped)
    return run(experiment, dataset, folder, on_epoch=on_epoch)


def _announce(experiment: Experiment, shipped: Path | None) -> None:
    took = ""
    if shipped is not None:
        record = read_json(shipped / RECORD)
        took = f"; this took {record['training_seconds']:.0f} s on {record['machine']}"
    print(f"training {experiment.family} on {experiment.dataset}, {experiment.train.num_epochs} epochs{took}", flush=True)


def _smoke_run(experiment: Experiment, dataset: Dataset, on_epoch: Callable[[Model, History], None] | None) -> Run:
    model = build(experiment.model, experiment.seed)
    history = fit(model, dataset, experiment.train, seed=experiment.seed, on_epoch=on_epoch)
    few = dataset.subset(num_test=min(200, len(dataset.test_images)))
    return Run(model.eval(), experiment, history, describe(model, few, history, True), None)


def default_folder(experiment: Experiment, dataset: Dataset) -> Path:
    """Returns the run directory of an experiment: its name ends in a hash of all settings and of the data."""
    key = experiment_key(experiment.as_dict(), dataset.sha256)
    return runs_root() / f"{experiment.family}-{experiment.dataset.replace(':', '-')}-{key[:10]}"


def experiment_key(experiment: Mapping[str, Any], dataset_sha256: str) -> str:
    """Returns the SHA-256 of all settings, as `Experiment.as_dict` writes them, and of the data: equal keys are the same run."""
    text = json.dumps([experiment, dataset_sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_run_of(folder: Path, experiment: Experiment, dataset_sha256: str | None = None) -> bool:
    """Returns whether a run directory holds this experiment (and, where given, on these data)."""
    record = read_json(folder / RECORD)
    return _with_defaults(record.get("experiment")) == experiment.as_dict() and dataset_sha256 in (None, record.get("dataset_sha256"))


def _with_defaults(values: Any) -> Any:
    """Returns a recorded experiment with every setting of today: one that was added later had its default's meaning then."""
    return Experiment.from_dict(values).as_dict() if isinstance(values, dict) else None


def find_shipped(experiment: Experiment) -> Path | None:
    """Returns the shipped run of an equal experiment, or None.

    Named datasets are compared by name: strokes may differ by single grey levels between processors, which changes their SHA-256.
    """
    folders = sorted(path.parent for path in PRETRAINED.glob(f"*/{RECORD}"))
    return next((folder for folder in folders if is_run_of(folder, experiment)), None)
