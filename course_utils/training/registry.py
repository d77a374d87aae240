"""The registry of model families. A new family costs one line here."""

from __future__ import annotations

from typing import Any

from course_utils.base.errors import CourseError, unknown
from course_utils.inverse.regressor import Regressor, RegressorConfig
from course_utils.models.base import Batch, Model
from course_utils.models.classifier import Classifier, ClassifierConfig
from course_utils.models.dcgan import DCGAN, DCGANConfig
from course_utils.models.diffusion.model import Diffusion, DiffusionConfig
from course_utils.models.gaussian import Gaussian, GaussianConfig
from course_utils.models.student import Student, StudentConfig
from course_utils.models.text_to_image import TextToImage, TextToImageConfig
from course_utils.models.vae import VAE, VAEConfig

__all__ = ["REGISTRY", "Batch", "Model", "build", "config_class"]

REGISTRY: dict[str, tuple[type, type[Model]]] = {
    "classifier": (ClassifierConfig, Classifier),
    "dcgan": (DCGANConfig, DCGAN),
    "diffusion": (DiffusionConfig, Diffusion),
    "gaussian": (GaussianConfig, Gaussian),
    "regressor": (RegressorConfig, Regressor),
    "student": (StudentConfig, Student),
    "text-to-image": (TextToImageConfig, TextToImage),
    "vae": (VAEConfig, VAE),
}


def config_class(family: str) -> type:
    """Returns the config dataclass of a family.

    Raises:
        CourseError: no such family.
    """
    if family not in REGISTRY:
        raise unknown("family", family, REGISTRY)
    return REGISTRY[family][0]


def takes_muon(family: str) -> bool:
    """Returns whether a family names hidden weights, which the optimizer "muon" needs."""
    return REGISTRY[family][1].hidden_weights is not Model.hidden_weights


def build(config: Any, seed: int = 0) -> Model:
    """Returns a new model for a config, its weights drawn from `seed` without touching torch's
    global generator.

    Raises:
        CourseError: the config belongs to no family.
    """
    import torch

    for config_type, model_type in REGISTRY.values():
        if type(config) is config_type:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return model_type(config)
    raise CourseError(
        f"expected one of {', '.join(entry[0].__name__ for entry in REGISTRY.values())}, got"
        f" {type(config).__name__}."
    )
