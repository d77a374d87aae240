"""Extractors: functions from uint8 images to feature vectors. They are the only place where metrics
look at images.

The course uses its own classifier; `inception_extractor` gives the 2048 pooled features of
published FIDs, whose weights do not ship.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.device import pick_device
from course_utils.base.errors import CourseError, unknown
from course_utils.base.images import check_uint8, uint8_to_signed, uint8_to_unit
from course_utils.metrics.measurement import check_count

RANGES = {"uint8": lambda images: images, "unit": uint8_to_unit, "signed": uint8_to_signed}


@dataclass(frozen=True)
class Extractor:
    """A named function from images to features.

    Attributes:
        name: printed with every result, such as "classifier-strokes".
        function: `[B, C, H, W]` in `range` -> float `[B, D]`, on any device.
        dim: D, or None where only a call can tell.
        range: of the pixels that `function` expects: "uint8" (0 to 255), "unit" ([0, 1]) or
            "signed" ([-1, 1]).
        classifier: whose `probabilities_of` turns the features into p(class | image); None for
            other features.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    dim: int | None = None
    range: str = "uint8"
    classifier: Any = None

    def __post_init__(self) -> None:
        if self.range not in RANGES:
            raise unknown("pixel range", self.range, RANGES)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns features `[B, D]` of uint8 images `[B, C, H, W]`."""
        return self.function(RANGES[self.range](images))


@torch.no_grad()
def extract(extractor: Extractor, images: Tensor, batch_size: int = 500) -> Tensor:
    """Returns one row of features for each image, float64 `[N, D]` on the CPU.

    Args:
        extractor: see `Extractor`.
        images: uint8 `[N, C, H, W]`, at least 2. Other ranges are refused, so that no set is
            measured on another scale than its reference.
        batch_size: images a call, at least 1.

    Raises:
        CourseError: images that are not uint8, fewer than 2, or features that are not finite rows
            of one length.
    """
    _check_images(images)
    check_count("batch_size", batch_size, 1)
    rows, dim = torch.empty(0), extractor.dim
    for start in range(0, len(images), batch_size):
        piece = images[start : start + batch_size]
        features = extractor(piece)
        if (
            features.ndim != 2
            or len(features) != len(piece)
            or (dim is not None and features.shape[1] != dim)
        ):
            raise CourseError(
                f"{extractor.name}: expected features of shape [{len(piece)}, {dim or 'D'}], got"
                f" {list(features.shape)}."
            )
        if not features.isfinite().all():
            raise CourseError(
                f"{extractor.name}: expected finite features, got NaN or infinity; the extractor"
                " has diverged."
            )
        # one matrix from the start: joining pieces at the end would take the memory twice
        if start == 0:
            dim = features.shape[1]
            rows = torch.empty(len(images), dim, dtype=torch.float64)
        rows[start : start + len(piece)] = features
    return rows


def _check_images(images: Tensor) -> None:
    check_uint8(images)
    if len(images) < 2:
        raise CourseError(
            f"expected at least 2 images, got {len(images)}; metrics compare distributions, so give"
            " more images."
        )


def classifier_extractor(classifier: Any, name: str = "classifier") -> Extractor:
    """Returns the extractor of a classifier's penultimate layer.

    Args:
        classifier: has `features(signed images) -> [B, D]` and `device`; in evaluation mode.
        name: such as "classifier-strokes"; distances compare only within one name.
    """
    _check_evaluation_mode(classifier)
    return Extractor(
        name,
        lambda images: classifier.features(images.to(classifier.device)),
        range="signed",
        classifier=classifier,
    )


@torch.no_grad()
def class_probabilities(classifier: Any, images: Tensor, batch_size: int = 500) -> Tensor:
    """Returns a classifier's p(class | image), float64 `[N, K]` on the CPU.

    Args:
        classifier: has `probabilities(signed images) -> [B, K]` and `device`; in evaluation mode.
        images: uint8 `[N, C, H, W]`, at least 2.
        batch_size: images a call.
    """
    _check_evaluation_mode(classifier)
    extractor = Extractor(
        "class probabilities",
        lambda images: classifier.probabilities(images.to(classifier.device)),
        range="signed",
    )
    return extract(extractor, images, batch_size)


def _check_evaluation_mode(classifier: Any) -> None:
    if getattr(classifier, "training", False):
        raise CourseError(
            "expected a classifier in evaluation mode, got one in training mode, whose batch norm"
            " mixes images; call .eval() first."
        )


def pixel_extractor() -> Extractor:
    """Returns the extractor that takes the pixels themselves, as intensities in [0, 1]."""
    return Extractor("pixels", lambda images: images.flatten(1), range="unit")


def aligned_pixel_extractor() -> Extractor:
    """Returns the extractor of pixels in [0, 1] after each image was moved, by whole pixels, until
    its centre of mass is in the middle.

    Images that differ by a shift of whole pixels have equal features, unless ink was lost at the
    border. For bright shapes on black.
    """
    return Extractor("aligned pixels", lambda images: _centred(images).flatten(1), range="unit")


def _centred(images: Tensor) -> Tensor:
    """Returns images `[B, C, H, W]` rolled around so that the centre of mass is at most half a
    pixel off the middle.
    """
    mass = images.double().sum(1)
    total = mass.sum((1, 2)).clamp(min=1e-12)
    for dim in (2, 3):
        size = images.shape[dim]
        profile = mass.sum(2 if dim == 2 else 1)  # [B, size]: ink in each row, or in each column
        centre = (profile @ torch.arange(size, dtype=torch.float64, device=images.device)) / total
        offsets = (centre - (size - 1) / 2).round().long()
        source = (torch.arange(size, device=images.device) + offsets[:, None]) % size
        source = source[:, None, :, None] if dim == 2 else source[:, None, None, :]
        images = images.gather(dim, source.expand(images.shape))
    return images


def callable_extractor(
    function: Callable[[Tensor], Tensor], name: str, range: str = "uint8"
) -> Extractor:
    """Returns an extractor of the learner's own.

    Args:
        function: images `[B, C, H, W]` -> features `[B, D]`.
        name: printed with every result.
        range: pixel range that `function` expects: "uint8", "unit" or "signed".
    """
    if not callable(function):
        raise CourseError(
            f"function: expected something to call with images, got {type(function).__name__}."
        )
    return Extractor(name, function, range=range)


INPUT_PIXELS, DIM = 299, 2048
REMEDY = "run once with a network, or use the course's classifier (--features classifier) or pixels"


def inception_extractor(source: str = "torchvision") -> Extractor:
    """Returns the extractor of Inception v3's 2048 features of RGB images; grey images are repeated
    in three channels.

    Args:
        source: "torchvision" (its own training; FIDs compare only with each other), or
            "torch-fidelity" (the network of published FIDs, from the optional extra: `pip install
            'generative-images-course[inception]'`).

    Raises:
        CourseError: an unknown source, a package that is not installed, or weights that are not
            there and cannot be downloaded.

    Source: Szegedy et al. 2016 (arXiv:1512.00567); as features of FID: Heusel et al. 2017
    (arXiv:1706.08500).
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
        network.load_state_dict(
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        )
    except (OSError, RuntimeError) as error:
        raise CourseError(
            f"the weights of Inception v3 cannot be had: {error}; {REMEDY}."
        ) from error
    network.fc = torch.nn.Identity()
    network = network.eval().to(pick_device())
    return lambda images: network(resized(images))


def resized(images: Tensor) -> Tensor:
    """Returns uint8 images as signed images of 299 pixels a side, the input of Inception v3."""
    size = (INPUT_PIXELS, INPUT_PIXELS)
    return (
        F.interpolate(images.float(), size, mode="bilinear", antialias=True).clamp(0, 255) / 127.5
        - 1
    )


def _from_torch_fidelity() -> Callable[[Tensor], Tensor]:
    module = _import("torch_fidelity.feature_extractor_inceptionv3")
    path = _check_offline(module.URL_INCEPTION_V3)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                module.URL_INCEPTION_V3,
                str(path),
                hash_prefix=path.stem.rpartition("-")[2],
                progress=False,
            )
        # torch-fidelity unpickles whatever the file holds; the safe reader goes first and refuses
        # all but tensors.
        torch.load(path, weights_only=True, map_location="cpu")
        network = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", [str(DIM)], feature_extractor_weights_path=str(path)
        )
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise CourseError(
            f"the weights of Inception v3 cannot be had: {error}; {REMEDY}."
        ) from error
    network = network.eval().to(pick_device())
    return lambda images: network(images)[0]


BUILDERS = {"torchvision": _from_torchvision, "torch-fidelity": _from_torch_fidelity}


def _import(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise CourseError(
            f"{package} is not installed; pip install 'generative-images-course[inception]', or use"
            " other features."
        ) from error


def _check_offline(url: str) -> Path:
    """Returns where the weights lie or will lie; raises where they are missing and COURSE_OFFLINE
    forbids to fetch them.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.exists() and os.environ.get("COURSE_OFFLINE") == "1":
        raise CourseError(
            f"the weights of Inception v3 are not in {path} and COURSE_OFFLINE=1; {REMEDY}."
        )
    return path
