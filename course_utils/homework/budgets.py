"""How long the homework's trainings are, and how many images are measured: the same for the baseline and for what was changed.

The models are those of the class. The VAE is trained as in class. DCGAN and diffusion see fewer images than in class, so that two models with three
seeds fit into 45 minutes of a laptop; each epoch is shorter too, so that the training curves keep several points.
"""

from __future__ import annotations

from typing import Any

from course_utils.config import override
from course_utils.device import BUDGETS
from course_utils.errors import unknown
from course_utils.presets import Experiment, preset

FAMILIES = ("vae", "dcgan", "diffusion")
NUM_IMAGES = {"smoke": 200, "laptop": 2_000, "gpu": 10_000}  # generated ones that are measured, against as many test images
LENGTHS: dict[tuple[str, str], dict[str, Any]] = {
    ("dcgan", "laptop"): {"train.num_train_images": 15_000, "train.num_epochs": 4},  # half of the class's training
    ("diffusion", "laptop"): {"train.num_train_images": 20_000, "train.num_epochs": 6},  # a third of it
    ("vae", "gpu"): {"train.num_epochs": 20},
    ("dcgan", "gpu"): {"train.num_epochs": 6},
    ("diffusion", "gpu"): {"train.num_epochs": 20},
}


def homework_preset(family: str, budget_name: str) -> Experiment:
    """Returns the class's model with the training length of the homework.

    Args:
        family: "vae", "dcgan" or "diffusion".
        budget_name: "smoke", "laptop" or "gpu".

    Raises:
        CourseError: an unknown family or budget.
    """
    if family not in FAMILIES:
        raise unknown("family of the homework", family, FAMILIES)
    if budget_name not in BUDGETS:
        raise unknown("budget", budget_name, BUDGETS)
    return override(preset(family, budget_name), LENGTHS.get((family, budget_name), {}))
