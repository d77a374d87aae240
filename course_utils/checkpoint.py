"""A run directory <-> a model: `model.safetensors`, `experiment.json`, `history.jsonl`. Nothing is ever unpickled.

Loading reads the JSON, builds the model from it and puts the weights in, strictly. `experiment.json` is written last and holds the
SHA-256 of the weights, so a directory without it is unfinished and one that does not match is damaged.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from course_utils.device import pick_device
from course_utils.errors import CourseError, unknown
from course_utils.files import file_sha256, read_json, save_tensors, write_json, write_text
from course_utils.history import History
from course_utils.model_card import model_card
from course_utils.models import Model, build
from course_utils.presets import Experiment

WEIGHTS, RECORD, HISTORY, STATE = "model.safetensors", "experiment.json", "history.jsonl", "state.safetensors"
CARD = "README.md"
PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class Run:
    """A trained model and everything that is known about its training.

    Attributes:
        model: in evaluation mode, on the course's device.
        experiment: the settings it was trained with.
        history: rows of its training.
        record: what `experiment.json` holds besides: dataset SHA-256, metrics, seconds, versions, machine.
        folder: where it lies, or None where it was never saved.
    """

    model: Model
    experiment: Experiment
    history: History
    record: dict[str, Any]
    folder: Path | None

    def metric(self, name: str) -> tuple[float, float]:
        """Returns value and standard error of a test metric that was measured at the end of training.

        Raises:
            CourseError: no such metric in the record.
        """
        metrics = self.record.get("metrics", {})
        if name not in metrics:
            raise unknown("metric", name, metrics)
        return metrics[name]["value"], metrics[name]["standard_error"]


def save_run(folder: Path | str, model: Model, experiment: Experiment, history: History, record: dict[str, Any], half: bool = False) -> None:
    """Writes a run directory; `half` stores the weights as float16, half the size, read back as float32.

    Raises:
        CourseError: the folder cannot be written.
    """
    folder = Path(folder)
    weights = to_half(model.state_dict()) if half else model.state_dict()
    save_tensors(folder / WEIGHTS, weights)
    history.save(folder / HISTORY)
    packages = ("torch", "numpy", "accelerate", "safetensors")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    checks = {"weights_sha256": file_sha256(folder / WEIGHTS), "weights_dtype": "float16" if half else "float32", "versions": versions}
    record = {"experiment": experiment.as_dict(), **record, **checks}
    write_text(folder / CARD, model_card(record))
    write_json(folder / RECORD, record)


def to_half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights with float32 rounded to float16; counters keep their type."""
    return {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}


def load_run(folder: Path | str, family: str | None = None) -> Run:
    """Returns the run in a directory, its model on the course's device and in evaluation mode.

    Args:
        folder: a run directory.
        family: where given, a run of another family is refused.

    Raises:
        CourseError: no such folder, an unfinished or damaged run, weights of another model, or another family than asked for.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"{folder}: there is no such run directory; `course train` makes one.")
    if not (folder / RECORD).exists():
        unfinished = (folder / STATE).exists()
        remedy = "its training was cut off: go on with `course train ... --resume`" if unfinished else "it is not a run directory"
        raise CourseError(f"{folder}: has no {RECORD}; {remedy}.")
    record = read_json(folder / RECORD)
    try:
        experiment = Experiment.from_dict(record.pop("experiment"))
        expected_sha256 = record["weights_sha256"]
    except KeyError as error:
        raise CourseError(f"{folder / RECORD}: {error} is missing; expected a file written by this course.") from error
    if family is not None and experiment.family != family:
        raise CourseError(f"{folder}: expected a {family}, got a {experiment.family}; give the run directory of a {family}.")
    model = build(experiment.model, experiment.seed)
    _load_weights(model, folder / WEIGHTS, expected_sha256)
    return Run(model.to(pick_device()).eval(), experiment, History.load(folder / HISTORY), record, folder)


def _load_weights(model: Model, path: Path, expected_sha256: str) -> None:
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CourseError(f"{path}: cannot be read as safetensors ({error}); train or copy the run again.") from error
    if file_sha256(path) != expected_sha256:
        raise CourseError(f"{path}: its SHA-256 is not the one in {RECORD}; the file is damaged or of another run. Train or copy the run again.")
    reference = model.state_dict()
    for name in sorted({*weights, *reference}):
        if name not in weights or name not in reference or weights[name].shape != reference[name].shape:
            shapes = [list(part[name].shape) if name in part else "nothing" for part in (reference, weights)]
            raise CourseError(f"{path}: {name}: the settings in {RECORD} need {shapes[0]}, the file has {shapes[1]}; it belongs to another model.")
    model.load_state_dict({name: value.to(reference[name].dtype) for name, value in weights.items()})


def pretrained_names() -> list[str]:
    """Returns the names of the shipped runs, such as "vae-strokes"."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{RECORD}"))


def pretrained(family: str, dataset: str = "strokes") -> Run:
    """Returns a run that ships with the course, such as `pretrained("vae", dataset="mnist")`.

    Args:
        family: a family, or a family with a variant such as "vae-latent2".
        dataset: "strokes" or "mnist".

    Raises:
        CourseError: no such run; the message lists those that exist.
    """
    name = f"{family}-{dataset}"
    if name not in pretrained_names():
        raise unknown("pretrained run", name, pretrained_names())
    return load_run(PRETRAINED / name)


def resolve(source: str, family: str | None = None) -> Run:
    """Returns the run that a command-line argument names: a run directory, or `pretrained:FAMILY/DATASET`.

    Raises:
        CourseError: it names neither.
    """
    if not source.startswith("pretrained:"):
        return load_run(source, family)
    name, slash, dataset = source.removeprefix("pretrained:").partition("/")
    if not slash:
        raise CourseError(f"expected pretrained:FAMILY/DATASET, got {source!r}; valid: {', '.join(pretrained_names())} (written with a slash).")
    return load_run(pretrained(name, dataset).folder, family)
