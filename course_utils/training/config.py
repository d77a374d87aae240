"""Settings of a training, and the learning rate that follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from course_utils.base.config import require
from course_utils.data.augment import Augmentation


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training."""

    num_epochs: int = 10
    batch_size: int = 128  # images a step
    learning_rate: float = 1e-3  # the highest of the schedule
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    warmup_fraction: float = 0.25  # share of the training in which one_cycle climbs to learning_rate
    adam_betas: tuple[float, ...] = (0.9, 0.999)
    weight_decay: float = 0.0  # decoupled, as in AdamW
    max_grad_norm: float | None = None  # gradients longer than this are shortened to it
    ema_decay: float | None = None  # the trained model is this moving average of the weights
    augmentation: Augmentation = "none"  # applied to training images only
    num_train_images: int | None = None  # at most this many, a random subset; None takes all
    num_validation_images: int = 2000  # random test images measured after each epoch; 0 measures none
    channels_last: bool = False  # memory layout of convolutional networks; measured 1.2 to 1.4 times faster for the classifier on 2 CPU cores
    precision: Literal["auto", "no", "bf16"] = "auto"

    def __post_init__(self) -> None:
        require(self.num_epochs >= 1, "num_epochs", "at least 1", self.num_epochs)
        require(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        require(self.learning_rate > 0, "learning_rate", "more than 0", self.learning_rate)
        require(0 < self.warmup_fraction < 1, "warmup_fraction", "between 0 and 1", self.warmup_fraction)
        require(len(self.adam_betas) == 2 and all(0 <= b < 1 for b in self.adam_betas), "adam_betas", "two numbers from 0 up to 1", self.adam_betas)
        require(self.weight_decay >= 0, "weight_decay", "0 or more", self.weight_decay)
        require(self.max_grad_norm is None or self.max_grad_norm > 0, "max_grad_norm", "more than 0, or null", self.max_grad_norm)
        require(self.ema_decay is None or 0 < self.ema_decay < 1, "ema_decay", "between 0 and 1, or null", self.ema_decay)
        require(self.num_train_images is None or self.num_train_images >= 1, "num_train_images", "at least 1, or null", self.num_train_images)
        require(self.num_validation_images >= 0, "num_validation_images", "0 or more", self.num_validation_images)


def learning_rate_at(progress: float, config: TrainConfig) -> float:
    """Returns the learning rate at `progress` from 0 to 1; a function of progress alone, so that resuming needs no scheduler state.

    Source: one_cycle: Smith & Topin 2018 (arXiv:1708.07120), cosine-shaped, from 1/25 of the peak up and down to zero.
    """
    if config.schedule == "constant":
        return config.learning_rate
    warmup = config.warmup_fraction if config.schedule == "one_cycle" else 0.0
    if progress < warmup:
        low = config.learning_rate / 25
        return low + (config.learning_rate - low) * 0.5 * (1 - math.cos(math.pi * progress / warmup))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
