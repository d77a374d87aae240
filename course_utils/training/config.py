"""Settings of a training, and the learning rate that follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from course_utils.base.config import check_settings, setting
from course_utils.data.augment import Augmentation


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training, explained beside each."""

    num_epochs: int = setting(
        10, "passes over the training images", unit="epochs", minimum=1, sensible=(1, 200)
    )
    batch_size: int = setting(
        128, "images that one step sees", unit="images", minimum=1, sensible=(8, 1024)
    )
    learning_rate: float = setting(
        1e-3, "highest learning rate of the schedule", above=0, sensible=(1e-5, 0.1)
    )
    schedule: Literal["one_cycle", "cosine", "constant"] = setting(
        "one_cycle", "how the learning rate changes during the training"
    )
    warmup_fraction: float = setting(
        0.25,
        "share of the training in which one_cycle climbs",
        above=0,
        below=1,
        sensible=(0.01, 0.9),
    )
    # Muon: Jordan 2024. On held-out MNIST, 93,000 images seen, the diffusion model has FID 9.0 with
    # it and batches of 128, and 12.2 with AdamW and batches of 64. It takes 8 % of a step.
    optimizer: Literal["adamw", "muon"] = setting(
        "adamw",
        "what updates the weights; muon takes those of hidden layers, AdamW the rest",
        added=True,
    )
    muon_learning_rate: float = setting(
        0.02,
        "highest learning rate of muon, in place of learning_rate",
        above=0,
        sensible=(1e-3, 0.2),
        added=True,
    )
    adam_betas: tuple[float, float] = setting(
        (0.9, 0.999),
        "how long Adam remembers gradients and their squares",
        minimum=0,
        below=1,
        length=2,
        sensible=(0.0, 0.99999),
    )
    # Decoupled as in AdamW: Loshchilov & Hutter 2019 (arXiv:1711.05101)
    weight_decay: float = setting(0.0, "decoupled weight decay", minimum=0, sensible=(0.0, 1.0))
    max_grad_norm: float | None = setting(
        None, "gradients longer than this are shortened to it", above=0, sensible=(1e-3, 1e3)
    )
    # Where it is set, the trained model is that average.
    ema_decay: float | None = setting(
        None,
        "decay of the moving average of the weights",
        unit="a step",
        above=0,
        below=1,
        sensible=(0.5, 0.99999),
    )
    augmentation: Augmentation = setting("none", "random changes of the training images")
    num_train_images: int | None = setting(
        None,
        "training images, a random subset",  # None takes all
        unit="images",
        minimum=1,
        sensible=(500, 1_000_000),
    )
    num_validation_images: int = setting(
        2000,
        "test images measured after each epoch",  # a random subset; 0 measures none
        unit="images",
        minimum=0,
        sensible=(0, 100_000),
    )
    # Fitting a preset to a folder of few pictures sets it (`Experiment.fitted_to`); None is 1 pass.
    min_epoch_steps: int | None = setting(
        None,
        "a small dataset is passed over again until an epoch has this many steps",
        unit="steps",
        minimum=1,
        sensible=(1, 1000),
        added=True,
    )
    # Measured 1.2 to 1.4 times faster for the classifier on 2 CPU cores.
    channels_last: bool = setting(
        False, "whether convolutions keep the channels last in memory, which can be faster"
    )
    # native: for networks of which it was measured that it pays on CPUs with AMX.
    precision: Literal["auto", "no", "bf16", "native"] = setting(
        "auto",
        "arithmetic: float32 (no), bf16, bf16 where the GPU computes in it (auto), or where GPU or"
        " CPU does (native)",
    )

    def __post_init__(self) -> None:
        check_settings(self)


def learning_rate_at(progress: float, config: TrainConfig) -> float:
    """Returns the learning rate at `progress` from 0 to 1.

    It follows from progress alone, so that resuming needs no state of a scheduler.

    Source: one_cycle: Smith & Topin 2018 (arXiv:1708.07120), cosine-shaped, from 1/25 of the peak
    up and down to zero.
    """
    if config.schedule == "constant":
        return config.learning_rate
    warmup = config.warmup_fraction if config.schedule == "one_cycle" else 0.0
    if progress < warmup:
        low = config.learning_rate / 25
        climbed = 0.5 * (1 - math.cos(math.pi * progress / warmup))
        return low + (config.learning_rate - low) * climbed
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
