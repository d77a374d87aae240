"""The means of a training's loss terms, and the error that ends a training whose loss is no number any more."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.errors import CourseError


class TrainingDiverged(CourseError):
    """A loss became infinite or NaN; the model holds the weights of the last good epoch."""


class Meter:
    """The mean of every loss term at every step, kept on the device until it is asked for."""

    def __init__(self, num_steps: int, device: torch.device, epoch: int) -> None:
        self.num_steps, self.device, self.epoch = num_steps, device, epoch
        self.names: dict[str, list[str]] = {}
        self.values: dict[str, Tensor] = {}  # part -> [num_steps, number of terms]
        self.checked = 0

    def add(self, part: str, terms: dict[str, Tensor], step: int) -> None:
        """Keeps the mean over images of each term of a part's loss at one step."""
        if part not in self.values:
            self.names[part] = list(terms)
            self.values[part] = torch.zeros(self.num_steps, len(terms), device=self.device)
        self.values[part][step] = torch.stack([term.detach().float().mean() for term in terms.values()])

    def check(self, step: int) -> dict[str, str]:
        """Returns the latest losses as text for the progress bar; raises TrainingDiverged where one since the last check is not finite."""
        latest = {}
        for part, values in self.values.items():
            losses = values[self.checked : step + 1, self.names[part].index("loss")].cpu()
            bad = torch.nonzero(~torch.isfinite(losses))
            if len(bad):
                first = int(bad[0])
                raise TrainingDiverged(
                    f"the loss of {part!r} is {losses[first].item()} at step {self.checked + first + 1} of epoch {self.epoch}; the weights are "
                    "back at the start of this epoch. Lower train.learning_rate, or set train.max_grad_norm=1."
                )
            latest["loss" if len(self.values) == 1 else part] = f"{losses[-1].item():.4g}"
        self.checked = step + 1
        return latest

    def means(self) -> dict[str, dict[str, float]]:
        """Returns the mean over steps of each part's terms."""
        return {part: dict(zip(self.names[part], values.double().mean(0).tolist())) for part, values in self.values.items()}
