"""Where to begin: questions that a homework can answer, and the parameters in groups, those first
that are worth trying first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What a setting does. A model's setting that is not named here belongs to what the model minimises.
NETWORK, CODE, LOSS = "network", "latent code", "loss and training target"
SAMPLING, OPTIMISATION, NO_PARAMETER = "sampling", "optimisation", "does not count"
GROUPS = (NETWORK, CODE, LOSS, SAMPLING, OPTIMISATION, NO_PARAMETER)
_MEMBERS = {
    NETWORK: (
        "network", "hidden_dims", "generator_width", "discriminator_width", "discriminator_norm",
        "minibatch_std", "conditional", "channels", "num_blocks", "patch_size", "embed_dim",
        "attention",
    ),
    CODE: ("latent_dim", "num_prior_components"),
    SAMPLING: ("unlabelled", "sampler", "num_steps", "guidance_scale", "guidance_interval"),
}  # fmt: skip
_GROUP_OF = {f"model.{name}": group for group, names in _MEMBERS.items() for name in names}

# Five settings of each family whose effect is easy to see and to explain.
FIRST_FIVE: dict[str, tuple[str, ...]] = {
    "vae": (
        "model.latent_dim",
        "model.beta",
        "model.hidden_dims",
        "model.num_prior_components",
        "train.learning_rate",
    ),
    "dcgan": (
        "model.latent_dim",
        "model.generator_width",
        "model.r1_weight",
        "model.loss",
        "model.discriminator_lr_factor",
    ),
    "diffusion": (
        "model.num_steps",
        "model.guidance_scale",
        "model.target",
        "model.channels",
        "train.ema_decay",
    ),
}


@dataclass(frozen=True)
class StarterQuestion:
    """A question that three changes of one model ask together.

    Attributes:
        family: of the model.
        question: one sentence.
        changes: `{dotted name: value}`; each counts in every budget.
    """

    family: str
    question: str
    changes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.question}\n    changes = {dict(self.changes)}"


STARTER_QUESTIONS = (
    StarterQuestion(
        "vae",
        "Does a wider latent space help samples, or only reconstructions?",
        {"model.latent_dim": 64, "model.hidden_dims": [800, 800], "model.beta": 0.5},
    ),
    StarterQuestion(
        "vae",
        "How little may the code say before the images cannot be recognised any more?",
        {"model.latent_dim": 2, "model.beta": 4.0, "model.hidden_dims": [100]},
    ),
    StarterQuestion(
        "vae",
        "Are the samples poor because the prior does not fit the codes?",
        {"model.num_prior_components": 50, "model.latent_dim": 8, "model.beta": 0.5},
    ),
    StarterQuestion(
        "dcgan",
        "Does a smaller generator lose variety, or only sharpness?",
        {"model.latent_dim": 8, "model.generator_width": 16, "model.discriminator_width": 16},
    ),
    StarterQuestion(
        "dcgan",
        "What happens if the discriminator learns faster and nothing holds it back?",
        {"model.discriminator_lr_factor": 4.0, "model.r1_weight": 0.0, "train.ema_decay": None},
    ),
    StarterQuestion(
        "diffusion",
        "How few steps are enough if the sampler takes better ones?",
        {"model.num_steps": 3, "model.sampler": "heun", "model.guidance_scale": 1.0},
    ),
    StarterQuestion(
        "diffusion",
        "Does strong guidance lose variety while the images become easier to recognise?",
        {
            "model.guidance_scale": 4.0,
            "model.guidance_interval": [0.0, 1.0],
            "model.label_dropout": 0.3,
        },
    ),
    StarterQuestion(
        "diffusion",
        "Does it matter what the network is asked to predict?",
        {"model.target": "x0", "model.schedule": "cosine", "model.time_sampling": "uniform"},
    ),
)


def group_of(name: str, counts: bool) -> str:
    """Returns what a setting does, one of `GROUPS`.

    Args:
        name: dotted, such as "model.latent_dim".
        counts: whether a change of it counts in the homework.
    """
    if not counts:
        return NO_PARAMETER
    if name.startswith("train."):
        return OPTIMISATION
    return _GROUP_OF.get(name, LOSS)


def table_place(family: str, name: str, counts: bool) -> tuple[int, int]:
    """Returns the place of a setting in the table of a family, to sort by: the first five, then
    group by group.
    """
    first = FIRST_FIVE.get(family, ())
    if name in first:
        return 0, first.index(name)
    return 1, GROUPS.index(group_of(name, counts))


def questions_for(family: str) -> tuple[StarterQuestion, ...]:
    """Returns the starter questions of one family."""
    return tuple(one for one in STARTER_QUESTIONS if one.family == family)
