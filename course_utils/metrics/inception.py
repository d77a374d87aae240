"""The extractor of published FIDs: the 2048 pooled features of Inception v3. Needs weights that do not ship with the course.

For digits use the course's classifier instead: these features were learned from photographs, and cost about a minute per 1,000 images on a CPU.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.device import pick_device
from course_utils.errors import CourseError, unknown
from course_utils.metrics.features import Extractor

INPUT_PIXELS, DIM = 299, 2048
REMEDY = "run once with a network, or use the course's classifier (--features classifier) or pixels"


def inception_extractor(source: str = "torchvision") -> Extractor:
    """Returns the extractor of Inception v3's 2048 features of RGB images; grey images are repeated in three channels.

    Args:
        source: "torchvision" (its own training; FIDs compare only with each other), or "torch-fidelity" (the network of published FIDs, from the
            optional extra: `pip install 'generative-images-course[inception]'`).

    Raises:
        CourseError: an unknown source, a package that is not installed, or weights that are not there and cannot be downloaded.

    Source: Szegedy et al. 2016 (arXiv:1512.00567); as features of FID: Heusel et al. 2017 (arXiv:1706.08500).
    """
    if source not in BUILDERS:
        raise unknown("source of Inception v3", source, BUILDERS)
    network = BUILDERS[source]()
    device = pick_device()
    return Extractor(f"inception-{source}", lambda images: network(as_rgb(images).to(device)), DIM)


def as_rgb(images: Tensor) -> Tensor:
    """Returns images `[B, 3, H, W]`, grey ones repeated."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _from_torchvision() -> Callable[[Tensor], Tensor]:
    models = _import("torchvision.models")
    weights = models.Inception_V3_Weights.IMAGENET1K_V1
    _check_offline(weights.url)
    network = models.inception_v3(weights=None, init_weights=False, transform_input=False)
    try:
        network.load_state_dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (OSError, RuntimeError) as error:
        raise CourseError(f"the weights of Inception v3 cannot be had: {error}; {REMEDY}.") from error
    network.fc = torch.nn.Identity()
    network = network.eval().to(pick_device())
    return lambda images: network(resized(images))


def resized(images: Tensor) -> Tensor:
    """Returns uint8 images as signed images of 299 pixels a side, the input of Inception v3."""
    size = (INPUT_PIXELS, INPUT_PIXELS)
    return F.interpolate(images.float(), size, mode="bilinear", antialias=True).clamp(0, 255) / 127.5 - 1


def _from_torch_fidelity() -> Callable[[Tensor], Tensor]:
    module = _import("torch_fidelity.feature_extractor_inceptionv3")
    path = _check_offline(module.URL_INCEPTION_V3)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(module.URL_INCEPTION_V3, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False)
        # torch-fidelity unpickles whatever the file holds; the safe reader goes first and refuses all but tensors.
        torch.load(path, weights_only=True, map_location="cpu")
        network = module.FeatureExtractorInceptionV3("inception-v3-compat", [str(DIM)], feature_extractor_weights_path=str(path))
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise CourseError(f"the weights of Inception v3 cannot be had: {error}; {REMEDY}.") from error
    network = network.eval().to(pick_device())
    return lambda images: network(images)[0]


BUILDERS = {"torchvision": _from_torchvision, "torch-fidelity": _from_torch_fidelity}


def _import(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise CourseError(f"{package} is not installed; pip install 'generative-images-course[inception]', or use other features.") from error


def _check_offline(url: str) -> Path:
    """Returns where the weights lie or will lie; raises where they are missing and COURSE_OFFLINE forbids to fetch them."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists() and os.environ.get("COURSE_OFFLINE") == "1":
        raise CourseError(f"the weights of Inception v3 are not in {path} and COURSE_OFFLINE=1; {REMEDY}.")
    return path
