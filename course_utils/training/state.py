"""The exact state of a training in one safetensors file: weights, moving average, optimizers. No
pickle, one atomic write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from course_utils.base.config import flatten_dict, to_dict
from course_utils.base.errors import CourseError
from course_utils.base.files import save_tensors
from course_utils.training.config import TrainConfig
from course_utils.training.film import Camera


@dataclass(frozen=True)
class TrainingState:
    """What has to come back for a training to go on as if nothing had happened.

    Random generators are not part of it: they are derived from (seed, epoch) at the start of every
    epoch.
    """

    model: nn.Module
    optimizers: Mapping[str, torch.optim.Optimizer]
    ema: nn.Module | None
    batch_size: int
    camera: Camera | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Returns every tensor under a flat name; they share memory with the live ones."""
        flat = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        if self.ema is not None:
            flat |= {f"ema/{name}": value for name, value in self.ema.state_dict().items()}
        for part, optimizer in self.optimizers.items():
            for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
                flat |= {
                    f"optimizer/{part}/{index}/{name}": value
                    for name, value in optimizer.state.get(parameter, {}).items()
                }
        if self.camera is not None:
            flat |= {"film/frames": self.camera.frames, "film/steps": self.camera.steps}
        return flat

    def snapshot(self) -> dict[str, Tensor]:
        """Returns a copy of every tensor."""
        return {name: value.clone() for name, value in self.tensors().items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts tensors back that `snapshot` or a file gave."""
        self.model.load_state_dict(_below("model/", tensors))
        if self.ema is not None:
            self.ema.load_state_dict(_below("ema/", tensors))
        for part, optimizer in self.optimizers.items():
            optimizer.state.clear()
            for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
                saved = _below(f"optimizer/{part}/{index}/", tensors)
                if saved:
                    optimizer.state[parameter] = {
                        name: _like(parameter, value) for name, value in saved.items()
                    }
        if self.camera is not None and "film/steps" in tensors:  # older states have no film
            self.camera.frames.copy_(tensors["film/frames"])
            self.camera.steps.copy_(tensors["film/steps"])


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Returns a copy of a saved tensor where the optimizer wants it: moments have the parameter's
    memory layout, the step count has none.
    """
    if value.shape == parameter.shape:
        return torch.empty_like(parameter).copy_(value)
    return value.clone().to(parameter.device)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def save_state(
    path: Path | str, state: TrainingState, identity: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    """Writes the state and the history so far in one step: after a crash the file is either the old
    state or the new one.
    """
    metadata = {
        "identity": json.dumps(identity),
        "rows": json.dumps(rows),
        "batch_size": str(state.batch_size),
    }
    save_tensors(path, state.tensors(), metadata)


def load_state(
    path: Path | str, state: TrainingState, identity: dict[str, Any]
) -> tuple[list[dict[str, Any]], int]:
    """Restores `state` from a file and returns the history's rows and the batch size that the
    training had come down to.

    Raises:
        CourseError: the file is damaged, or belongs to a training with other settings (which are
            listed).
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        saved = json.loads(metadata["identity"])
        rows, batch_size = json.loads(metadata["rows"]), int(metadata["batch_size"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CourseError(
            f"{path}: cannot be resumed from, the file is damaged ({error}). Delete it to train"
            " from the start."
        ) from error
    # a setting that is not named has its default's meaning: it was added to the course since then
    defaults = _default_settings(state.model)
    known = {name: defaults[name] for name in {*saved, *identity} if name in defaults}
    differing = _differences(known | saved, known | identity)
    if differing:
        raise CourseError(
            f"{path}: belongs to another training: {'; '.join(differing)}. Use the same settings or"
            " another folder."
        )
    state.restore(tensors)
    return rows, batch_size


def _default_settings(model: nn.Module) -> dict[str, Any]:
    """Returns `{dotted name: default}` of the settings that this version of the course has."""
    config = getattr(model, "config", None)
    defaults = {"train": to_dict(TrainConfig())}
    if is_dataclass(config) and not isinstance(config, type):
        defaults["model"] = to_dict(type(config)())
    return flatten_dict(defaults)


def _differences(saved: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Returns a line for each part of an identity that is not what was saved."""
    same_data = saved.get("dataset_sha256", 0) == identity.get("dataset_sha256")
    lines = []
    for name in sorted({*saved, *identity}):
        if name == "dataset" and same_data:  # the same images by another name
            continue
        if name not in identity:
            lines.append(
                f"{name} was {saved[name]!r}, and this version of the course has no such setting"
            )
        elif name not in saved or saved[name] != identity[name]:
            lines.append(f"{name} was {saved.get(name)!r}, now {identity[name]!r}")
    return lines
