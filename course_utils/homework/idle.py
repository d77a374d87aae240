"""Settings without effect: those that other settings switch off, and values that come to the same thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course_utils.config import override
from course_utils.presets import Experiment
from course_utils.training_config import TrainConfig


@dataclass(frozen=True)
class Idle:
    """A setting that has no effect, or less than its values suggest, in some experiments.

    Attributes:
        family: whose experiments; "" for all.
        name: dotted.
        applies: to which experiments.
        value: the one that stands for all values which are the same there.
        why: in one clause.
    """

    family: str
    name: str
    applies: Callable[[Experiment], bool]
    value: Callable[[Experiment], Any]
    why: str


def _no_penalty(experiment: Experiment) -> bool:
    return experiment.model.r1_weight == 0 and experiment.model.gradient_penalty_weight == 0


def _share_of_whole_images(experiment: Experiment) -> float:
    """Returns the share of a batch that penalties really see, whole images as in `DCGAN`."""
    size = experiment.train.batch_size
    return min(1.0, max(1, round(experiment.model.penalty_share * size)) / size)


RULES = (
    Idle(
        "",
        "train.warmup_fraction",
        lambda e: e.train.schedule != "one_cycle",
        lambda e: TrainConfig().warmup_fraction,
        "only the schedule 'one_cycle' has a warm-up",
    ),
    Idle(
        "vae", "model.noise_std", lambda e: e.model.likelihood != "gaussian", lambda e: 0.1, "only the likelihood 'gaussian' has a noise_std"
    ),
    Idle("vae", "model.free_bits", lambda e: e.model.beta == 0, lambda e: 0.0, "with beta 0 the KL term counts for nothing"),
    Idle("dcgan", "model.penalty_share", _no_penalty, lambda e: 1.0, "r1_weight and gradient_penalty_weight are 0, so there is no penalty"),
    Idle(
        "dcgan",
        "model.penalty_share",
        lambda e: not _no_penalty(e),
        _share_of_whole_images,
        "it comes to the same whole number of images of a batch",
    ),
    Idle("diffusion", "model.sampler", lambda e: e.model.sampler == "ddim", lambda e: "euler", "'ddim' without noise takes the steps of 'euler'"),
    Idle("diffusion", "model.sampler", lambda e: e.model.num_steps == 1, lambda e: "euler", "with one step all samplers do the same"),
    Idle("diffusion", "model.guidance_scale", lambda e: e.model.unlabelled == "null", lambda e: 1.0, "samples without labels have nothing to guide"),
)


def effective(experiment: Experiment) -> Experiment:
    """Returns the experiment with one value for all that come to the same: equal results mean equal models and equal samples."""
    for rule in RULES:
        if rule.family in ("", experiment.family) and rule.applies(experiment):
            experiment = override(experiment, {rule.name: rule.value(experiment)})
    return experiment


def why_idle(experiment: Experiment, name: str) -> str:
    """Returns why a setting has no effect in an experiment, in one clause."""
    for rule in RULES:
        if rule.name == name and rule.family in ("", experiment.family) and rule.applies(experiment):
            return rule.why
    return "another setting switches it off"
