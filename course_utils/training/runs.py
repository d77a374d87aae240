"""Runs: a run directory holds a trained model (`model.safetensors`, `experiment.json`,
`history.jsonl`, and `film.png` where it draws images); this file finds, trains, saves and loads
them.

Nothing is ever unpickled: loading reads the JSON, builds the model from it and puts the weights in,
strictly. `experiment.json` is written last and holds the SHA-256 of the weights, so a directory
without it is unfinished and one that does not match is damaged.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from course_utils.base.config import flatten_dict, override
from course_utils.base.device import budget, describe_device, in_main, pick_device, processes
from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import (
    file_sha256,
    locked,
    read_json,
    runs_root,
    save_tensors,
    write_json,
    write_text,
)
from course_utils.data import load_dataset, load_own_pictures
from course_utils.data.dataset import Dataset
from course_utils.models.base import Model
from course_utils.training.film import Camera, Film, load_film, save_film
from course_utils.training.fit import fit, loss_terms
from course_utils.training.history import History
from course_utils.training.presets import Experiment, preset, smoke_version
from course_utils.training.registry import build

BINARY_USE = (
    "Likelihoods of black and white images, next to published ones: `course evaluate"
    " pretrained:vae-binary/mnist --against mnist --metrics nll`. The terms below are of pixels"
    " drawn black and white at random; `loss` is minus the importance-weighted bound of training."
)
USES = {
    "vae": (
        "Sampling, reconstructing and exploring small images in the course. Not a likelihood for"
        " binary images: its pixels are grey."
    ),
    "classifier": (
        "Judging generated images of the same dataset; features for metrics. Compare scores only"
        " where they come from these weights."
    ),
}


def model_card(record: dict[str, Any]) -> str:
    """Returns the card of a run as Markdown, made from its record alone.

    Args:
        record: what `experiment.json` holds.
    """
    experiment = record["experiment"]
    binary = experiment["model"].get("binarisation") == "dynamic"
    lines = [
        f"# {experiment['family']} trained on {experiment['dataset']}",
        "",
        BINARY_USE if binary else USES.get(experiment["family"], "Teaching."),
        "",
        f"- Command: `{record['command'] or 'trained from Python, see the settings below'}`",
        f"- Seed: {experiment['seed']}",
        (
            f"- Data: {experiment['dataset']}, {record['num_train_images']:,} training images;"
            f" SHA-256 of pixels and labels `{record['dataset_sha256']}`"
        ),
        f"- Training: {record['training_seconds']:.1f} s on {record['machine']}",
        f"- Weights: {record['weights_dtype']}, SHA-256 `{record['weights_sha256']}`",
        (
            "- Versions:"
            f" {', '.join(f'{name} {number}' for name, number in record['versions'].items())}"
        ),
        "",
        "| Measured on the test images | Mean | Standard error | Images |",
        "|---|---|---|---|",
    ]
    for name, metric in record["metrics"].items():
        lines.append(
            f"| {name} | {metric['value']:.4f} | {metric['standard_error']:.4f} |"
            f" {metric['num_images']:,} |"
        )
    lines += ["", "| Setting | Value |", "|---|---|"]
    settings = flatten_dict({"model": experiment["model"], "train": experiment["train"]})
    lines += [f"| {name} | {value} |" for name, value in settings.items()]
    return "\n".join(lines) + "\n"


WEIGHTS, RECORD, HISTORY, STATE = (
    "model.safetensors",
    "experiment.json",
    "history.jsonl",
    "state.safetensors",
)
CARD, FILM_PICTURE = "README.md", "film.png"
PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


@dataclass(frozen=True)
class Run:
    """A trained model and everything that is known about its training.

    Attributes:
        model: in evaluation mode, on the course's device.
        experiment: the settings it was trained with.
        history: rows of its training.
        record: what `experiment.json` holds besides: dataset SHA-256, metrics, seconds, versions,
            machine.
        folder: where it lies, or None where it was never saved.
        film: images from the same noise during the training; None where the model cannot draw, the
            training was too short, or it is older than films are.
    """

    model: Model
    experiment: Experiment
    history: History
    record: dict[str, Any]
    folder: Path | None
    film: Film | None = None

    def metric(self, name: str) -> tuple[float, float]:
        """Returns value and standard error of a test metric that was measured at the end of
        training.

        Raises:
            CourseError: no such metric in the record.
        """
        metrics = self.record.get("metrics", {})
        if name not in metrics:
            raise unknown("metric", name, metrics)
        return metrics[name]["value"], metrics[name]["standard_error"]


def save_run(
    folder: Path | str,
    model: Model,
    experiment: Experiment,
    history: History,
    record: dict[str, Any],
    half: bool = False,
    film: Film | None = None,
) -> None:
    """Writes a run directory; `half` stores the weights as float16, half the size, read back as
    float32.

    Raises:
        CourseError: the folder cannot be written.
    """
    folder = Path(folder)
    weights = to_half(model.state_dict()) if half else model.state_dict()
    save_tensors(folder / WEIGHTS, weights)
    history.save(folder / HISTORY)
    packages = ("torch", "numpy", "accelerate", "safetensors")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    checks = {
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "weights_dtype": "float16" if half else "float32",
        "versions": versions,
    }
    record = {"experiment": experiment.as_dict(), **record, **checks}
    if film is not None:
        save_film(folder / FILM_PICTURE, film)
        record["film_steps"] = list(film.steps)
    write_text(folder / CARD, model_card(record))
    write_json(folder / RECORD, record)


def to_half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights with float32 rounded to float16; counters keep their type."""
    return {
        name: value.half() if value.dtype == torch.float32 else value
        for name, value in weights.items()
    }


def load_run(folder: Path | str, family: str | None = None) -> Run:
    """Returns the run in a directory, its model on the course's device and in evaluation mode.

    Args:
        folder: a run directory.
        family: where given, a run of another family is refused.

    Raises:
        CourseError: no such folder, an unfinished or damaged run, weights of another model, or
            another family than asked for.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: there is no such run directory; `course train` makes one.")
    if not (folder / RECORD).exists():
        unfinished = (folder / STATE).exists()
        remedy = (
            "its training was cut off: go on with `course train ... --resume`"
            if unfinished
            else "it is not a run directory"
        )
        raise CourseError(f"{folder}: has no {RECORD}; {remedy}.")
    record = read_json(folder / RECORD)
    try:
        experiment = Experiment.from_dict(record.pop("experiment"))
        expected_sha256 = record["weights_sha256"]
    except KeyError as error:
        raise CourseError(
            f"{folder / RECORD}: {error} is missing; expected a file written by this course."
        ) from error
    if family is not None and experiment.family != family:
        raise CourseError(
            f"{folder}: expected a {family}, got a {experiment.family}; give the run directory of a"
            f" {family}."
        )
    model = build(experiment.model, experiment.seed)
    _load_weights(model, folder / WEIGHTS, expected_sha256)
    history, steps = History.load(folder / HISTORY), tuple(record.get("film_steps", ()))
    # nothing is lost without the picture, so it may be deleted
    filmed = steps and (folder / FILM_PICTURE).exists()
    film = load_film(folder / FILM_PICTURE, steps) if filmed else None
    return Run(model.to(pick_device()).eval(), experiment, history, record, folder, film)


def _load_weights(model: Model, path: Path, expected_sha256: str) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CourseError(
            f"{path}: cannot be read as safetensors ({error}); train or copy the run again."
        ) from error
    if file_sha256(path) != expected_sha256:
        raise CourseError(
            f"{path}: its SHA-256 is not the one in {RECORD}; the file is damaged or of another"
            " run. Train or copy the run again."
        )
    reference = model.state_dict()
    for name in sorted({*weights, *reference}):
        if (
            name not in weights
            or name not in reference
            or weights[name].shape != reference[name].shape
        ):
            shapes = [
                list(part[name].shape) if name in part else "nothing"
                for part in (reference, weights)
            ]
            raise CourseError(
                f"{path}: {name}: the settings in {RECORD} need {shapes[0]}, the file has"
                f" {shapes[1]}; it belongs to another model."
            )
    model.load_state_dict(
        {name: value.to(reference[name].dtype) for name, value in weights.items()}
    )


def pretrained_names() -> list[str]:
    """Returns the names of the shipped runs, such as "vae-strokes"."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{RECORD}"))


def pretrained(family: str, dataset: Dataset | str = "strokes") -> Run:
    """Returns a run that ships with the course, such as `pretrained("vae", "mnist")`.

    Given a dataset that nothing ships for, it trains the same model once and says so; the next
    call finds that run. No training sees more pixels than one on MNIST does.

    Args:
        family: a family, or a family with a variant such as "vae-latent2".
        dataset: "strokes", "mnist", or any `Dataset`.

    Raises:
        CourseError: no such run; the message lists those that exist.
    """
    if isinstance(dataset, str):
        name = f"{family}-{dataset}"
        if name not in pretrained_names():
            raise unknown("pretrained run", name, pretrained_names())
        return load_run(PRETRAINED / name)
    experiment = shipped_settings(family)
    folder = PRETRAINED / f"{family}-{dataset.name}"
    if (folder / RECORD).exists() and _was_trained_on(folder, dataset):
        return load_run(folder)
    experiment = affordable(experiment, dataset).fitted_to(dataset)
    if budget() == "smoke":
        experiment = smoke_version(experiment)
    found = find_run(experiment, dataset)
    if found is None:
        _announce(experiment, dataset, NOTHING_SHIPS)
        return run(experiment, dataset)
    return found.run


def shipped_settings(name: str) -> Experiment:
    """Returns the settings of a family, of a variant, or of a shipped run such as "vae-beta4".

    Raises:
        CourseError: an unknown name.
    """
    record = PRETRAINED / f"{name}-strokes" / RECORD
    if record.exists():
        return Experiment.from_dict(read_json(record)["experiment"])
    return preset(name, "laptop" if budget() == "smoke" else None)


def affordable(experiment: Experiment, dataset: Dataset) -> Experiment:
    """Returns the experiment with so many training images that an epoch sees no more pixels than
    one of MNIST's 60,000 images; unchanged where the dataset has no more.
    """
    num_affordable = 60_000 * 28 * 28 // math.prod(dataset.image_shape[1:])
    num_images = experiment.train.num_train_images or len(dataset.train_images)
    if min(num_images, len(dataset.train_images)) <= num_affordable:
        return experiment
    return replace(experiment, train=replace(experiment.train, num_train_images=num_affordable))


def _was_trained_on(folder: Path, dataset: Dataset) -> bool:
    """Returns whether a shipped run was trained on these images.

    Strokes are told by name: they may differ by single grey levels between processors. Files are
    told by content, so other images under MNIST's name get no weights of MNIST.
    """
    record = read_json(folder / RECORD)
    same_name = record["experiment"]["dataset"] == dataset.name
    drawn = dataset.name in ("strokes", "strokes-colour", "captions", "captions:scenes")
    return same_name and (drawn or record["dataset_sha256"] == dataset.sha256)


def resolve(source: str, family: str | None = None) -> Run:
    """Returns the run that a command-line argument names: a run directory, or
    `pretrained:FAMILY/DATASET`.

    Raises:
        CourseError: it names neither.
    """
    if not source.startswith("pretrained:"):
        return load_run(source, family)
    name, slash, dataset = source.removeprefix("pretrained:").partition("/")
    if not slash:
        raise CourseError(
            f"expected pretrained:FAMILY/DATASET, got {source!r}; valid:"
            f" {', '.join(pretrained_names())} (written with a slash)."
        )
    folder = pretrained(name, dataset).folder
    assert folder is not None  # a shipped run was loaded from one
    return load_run(folder, family)


def run(
    experiment: Experiment,
    dataset: Dataset,
    folder: Path | str | None = None,
    *,
    resume: bool = True,
    half: bool = False,
    command: str = "",
    on_epoch: Callable[[Model, History], None] | None = None,
    wait: bool = True,
) -> Run:
    """Returns the finished run of an experiment, training it where it has not been trained yet.

    The training state is kept after each epoch, so a run that was cut off goes on where it stopped.
    Ctrl-C returns what there is, with `record["finished"]` false; the next call goes on.

    Under a launcher such as `torchrun` every process calls this with equal arguments; they train
    together, and the main one writes.

    Args:
        experiment: the settings; image size, channels and classes are taken from the dataset.
        dataset: what to train on.
        folder: run directory; None picks one under `runs/` from the experiment itself.
        resume: go on from a state that is there; False starts anew.
        half: store the weights as float16.
        command: what was typed to start it, for the record.
        on_epoch: passed to `fit`.
        wait: where another process trains in the folder, wait until it is done; False refuses.

    Raises:
        CourseError: the folder holds the run of another experiment, cannot be written, or another
            process trains in it.
    """
    experiment = experiment.fitted_to(dataset)
    folder = Path(folder) if folder is not None else default_folder(experiment, dataset)
    found = _finished(folder, experiment, dataset)
    if found is not None:
        return found
    with ExitStack() as held:
        lock = locked(folder / STATE, "training", math.inf if wait else 0.0)
        in_main(lambda: held.enter_context(lock))
        # perhaps the other process has finished it
        found = _finished(folder, experiment, dataset)
        if found is not None:
            return found
        return _train_in(folder, experiment, dataset, resume, half, command, on_epoch)


def _finished(folder: Path, experiment: Experiment, dataset: Dataset) -> Run | None:
    """Returns the run that a folder holds, or None where it is not finished; raises CourseError
    where it is another one.
    """
    if (folder / RECORD).exists():
        if not is_run_of(folder, experiment, dataset.sha256):
            raise CourseError(
                f"{folder}: holds a finished run of other settings or data; choose another folder,"
                " or delete it."
            )
        return load_run(folder)
    return None


def _train_in(
    folder: Path,
    experiment: Experiment,
    dataset: Dataset,
    resume: bool,
    half: bool,
    command: str,
    on_epoch: Callable[[Model, History], None] | None,
) -> Run:
    """Returns the run that is trained in a folder and saved there where it is finished."""
    state_path = folder / STATE
    if not resume:
        in_main(lambda: state_path.unlink(missing_ok=True))
    model = _build_to_train(experiment, dataset)
    identity = {**flatten_dict(experiment.as_dict()), "dataset_sha256": dataset.sha256}
    camera = Camera(experiment.seed, dataset.image_shape) if model.can_sample else None
    history = fit(
        model,
        dataset,
        experiment.train,
        seed=experiment.seed,
        state_path=state_path,
        identity=identity,
        on_epoch=on_epoch,
        camera=camera,
    )
    film = None if camera is None else camera.film()
    finished = history.num_epochs == experiment.train.num_epochs
    if half:  # first round, then measure: the metrics are those of the weights that are stored
        model.load_state_dict(to_half(model.state_dict()))
    record = {"command": command, **describe_run(model, dataset, history, finished)}

    def keep() -> None:
        save_run(folder, model, experiment, history, record, half, film)
        state_path.unlink(missing_ok=True)

    if finished:
        in_main(keep)
    return Run(model.eval(), experiment, history, record, folder, film)


def _build_to_train(experiment: Experiment, dataset: Dataset) -> Model:
    """Returns a new model, which has taken over what it needs where its family learns from a
    teacher.
    """
    model = build(experiment.model, experiment.seed)
    if model.learns_from is not None:
        model.start_from(pretrained(model.learns_from, dataset).model, experiment.seed)
    return model


def load_data_of(trained: Run, data: str | None = None, *, verbose: bool = True) -> Dataset:
    """Returns the dataset that a run was trained on.

    Args:
        data: folder of the learner's own pictures, where it is not the recorded one any more.
        verbose: print one line that says what was loaded.

    Raises:
        CourseError: the folder is gone, or holds other pictures than the run was trained on.
    """
    key, image_size = trained.experiment.dataset, trained.experiment.model.image_size
    if not key.startswith("folder:"):
        return load_dataset(key, verbose=verbose)
    recorded = trained.record.get("data", {}).get("folder")
    folder = recorded if data is None else data
    return load_own_pictures(key, folder, image_size, verbose=verbose)


def describe_run(
    model: Model, dataset: Dataset, history: History, finished: bool
) -> dict[str, Any]:
    """Returns the record of a training: data, time, machine, and each loss term on all test images
    with its standard error.
    """
    metrics = {}
    for part in model.trainable_parts():
        for name, values in loss_terms(
            model,
            dataset.test_images,
            dataset.test_labels,
            part=part,
            captions=dataset.test_captions,
        ).items():
            key = name if len(model.trainable_parts()) == 1 else f"{part}.{name}"
            metrics[key] = {
                "value": values.mean().item(),
                "standard_error": values.std().item() / len(values) ** 0.5,
                "num_images": len(values),
            }
    return {
        "finished": finished,
        "dataset_sha256": dataset.sha256,
        **({"data": dataset.place} if dataset.place else {}),
        "num_train_images": len(dataset.train_images),
        "training_seconds": history.seconds,
        "machine": machine(),
        "metrics": metrics,
    }


def machine() -> str:
    """Returns the kind of machine in words, such as "Intel Xeon 2.50GHz, cpu, 2 threads"; no host
    name.
    """
    model = platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
            model,
        )
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

    A finished run is loaded; else it is trained, and one line says how long that took on a named
    machine. `load=True` takes the shipped weights instead of training, where any were trained on
    these images. Under the `smoke` budget a few steps are taken to show that training runs, then
    the shipped weights are used.

    Args:
        family: such as "vae", or a variant such as "vae-binary".
        dataset: what to train on.
        changes: dotted settings, such as `{"model.latent_dim": 2}`.
        load: train only where no weights of an equal run ship with the course.
        on_epoch: passed to `fit`.

    Raises:
        CourseError: an unknown setting.
    """
    smoke = budget() == "smoke"
    asked = override(preset(family, "laptop" if smoke else None), changes or {})
    experiment = affordable(asked, dataset).fitted_to(dataset)
    shipped = find_shipped(experiment, dataset)
    if smoke:
        scratch = _smoke_run(smoke_version(experiment), dataset, on_epoch)
        processes().print(
            f"smoke budget: trained {scratch.history.num_epochs} short epoch"
            + ("" if shipped else "; nothing ships for this setting")
        )
        return load_run(shipped) if shipped else scratch
    if load and shipped is not None:
        found = Found(load_run(shipped), SHIPPED)
    else:
        found = find_run(experiment, dataset, use_shipped=False)
    if found is None:
        note = NOTHING_SHIPS if load else ""
        _announce(experiment, dataset, _took(shipped) if shipped else note)
        return run(experiment, dataset, on_epoch=on_epoch)
    origin = "the shipped weights" if found.source == SHIPPED else "an earlier run of yours"
    processes().print(f"loaded {family} from {origin}; nothing was trained")
    return found.run


EARLIER, SHIPPED, TRAINED = "earlier run", "shipped", "trained"


class Found(NamedTuple):
    """A run, and where it came from: "earlier run", "shipped" or "trained"."""

    run: Run
    source: str


def find_run(experiment: Experiment, dataset: Dataset, *, use_shipped: bool = True) -> Found | None:
    """Returns the finished run of an experiment that fits the dataset: your own, else a shipped one
    with equal settings, else None.

    Raises:
        CourseError: the folder of the experiment holds the run of another one, or a damaged one.
    """
    folder = default_folder(experiment, dataset)
    if (folder / RECORD).exists():
        return Found(run(experiment, dataset, folder), EARLIER)
    shipped = find_shipped(experiment, dataset) if use_shipped else None
    return None if shipped is None else Found(load_run(shipped), SHIPPED)


def find_or_train(
    experiment: Experiment,
    dataset: Dataset,
    *,
    use_shipped: bool = True,
    on_epoch: Callable[[Model, History], None] | None = None,
) -> Found:
    """Returns the run of an experiment that fits the dataset, training it where it is neither yours
    nor shipped.

    Notebooks, sweeps, the comparison of families and the homework all find their runs here.

    Raises:
        CourseError: the training diverged, or a run that was found is damaged.
        KeyboardInterrupt: the training was stopped by Ctrl-C; the next call goes on where it
            stopped.
    """
    found = find_run(experiment, dataset, use_shipped=use_shipped)
    if found is not None:
        return found
    trained = run(experiment, dataset, on_epoch=on_epoch)
    if not trained.record["finished"]:
        raise KeyboardInterrupt
    return Found(trained, TRAINED)


NOTHING_SHIPS = "; no weights ship for these settings and images, and the next call finds this run"


def _took(shipped: Path) -> str:
    record = read_json(shipped / RECORD)
    return f"; this took {record['training_seconds']:.0f} s on {record['machine']}"


def _announce(experiment: Experiment, dataset: Dataset, note: str) -> None:
    num_images = experiment.train.num_train_images
    some = num_images is not None and num_images < len(dataset.train_images)
    processes().print(
        f"training {experiment.family} on {f'{num_images:,} images of ' if some else ''}"
        f"{dataset.name}, {experiment.train.num_epochs} epochs{note}",
        flush=True,
    )


def _smoke_run(
    experiment: Experiment, dataset: Dataset, on_epoch: Callable[[Model, History], None] | None
) -> Run:
    model = _build_to_train(experiment, dataset)
    history = fit(model, dataset, experiment.train, seed=experiment.seed, on_epoch=on_epoch)
    few = dataset.subset(num_test=min(200, len(dataset.test_images)))
    return Run(model.eval(), experiment, history, describe_run(model, few, history, True), None)


def default_folder(experiment: Experiment, dataset: Dataset) -> Path:
    """Returns the run directory of an experiment: its name ends in a hash of all settings and of
    the data.
    """
    key = experiment_key(experiment.as_dict(), dataset.sha256)
    return runs_root() / f"{experiment.family}-{experiment.dataset.replace(':', '-')}-{key[:10]}"


def experiment_key(experiment: Mapping[str, Any], dataset_sha256: str) -> str:
    """Returns the SHA-256 of all settings, as `Experiment.as_dict` writes them, and of the data:
    equal keys are the same run.
    """
    text = json.dumps([experiment, dataset_sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_run_of(folder: Path, experiment: Experiment, dataset_sha256: str | None = None) -> bool:
    """Returns whether a run directory holds this experiment (and, where given, on these data)."""
    record = read_json(folder / RECORD)
    return _with_defaults(record.get("experiment")) == experiment.as_dict() and dataset_sha256 in (
        None,
        record.get("dataset_sha256"),
    )


def _with_defaults(values: Any) -> Any:
    """Returns a recorded experiment with every setting of today: one that was added later had its
    default's meaning then.
    """
    return Experiment.from_dict(values).as_dict() if isinstance(values, dict) else None


def find_shipped(experiment: Experiment, dataset: Dataset | None = None) -> Path | None:
    """Returns the shipped run of an equal experiment, or None; with `dataset`, only one that was
    trained on these images.
    """
    folders = sorted(path.parent for path in PRETRAINED.glob(f"*/{RECORD}"))
    return next(
        (
            folder
            for folder in folders
            if is_run_of(folder, experiment)
            and (dataset is None or _was_trained_on(folder, dataset))
        ),
        None,
    )
