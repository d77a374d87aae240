"""Pictures of the class model beside the changed one: training curves, samples from the same noise,
and what belongs to a family.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path
from course_utils.base.images import signed_to_uint8, uint8_to_signed
from course_utils.data.dataset import Dataset
from course_utils.homework.measure import curve_panels, drawn_samples
from course_utils.metrics.classes import class_histogram
from course_utils.metrics.features import class_probabilities, extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.measurement import MetricWarning
from course_utils.models.base import Model
from course_utils.models.vae import VAE, gaussian_kl
from course_utils.plotting import image_rows, latent_map
from course_utils.plotting.charts import lines
from course_utils.plotting.diffusion import against_calls
from course_utils.plotting.gan import gan_curves
from course_utils.plotting.homework import curve_terms, seed_curves
from course_utils.studies.draw import sample_in_batches
from course_utils.studies.evaluate import find_extractor, shipped_classifier
from course_utils.studies.sweep import curve_columns
from course_utils.training.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

NUM_COLUMNS = 10
NUM_MAPPED = 1000  # images on the latent map
STEPS = (1, 2, 5, 10, 20)
SAVED_DPI = 100
Runs = Mapping[str, Run]  # {"class model": ..., "changed model": ...}


class Picture(NamedTuple):
    """A figure, or an image that was one, and a text for those who cannot see it."""

    figure: Figure | Image
    alt: str


def pictures(runs: Runs, dataset: Dataset, num_images: int = 1000) -> dict[str, Picture]:
    """Returns `{name: picture}` of two runs of one family.

    Args:
        runs: the class model and the changed one, with one seed.
        dataset: that they were trained on.
        num_images: that the pictures which need metrics draw, for each point.
    """
    family = next(iter(runs.values())).experiment.family
    found = {"curves": training(runs), "samples": samples(runs)}
    for name, make in FAMILY_PICTURES[family].items():
        picture = make(runs, dataset, num_images)
        if picture is not None:
            found[name] = picture
    return found


def training(runs: Runs) -> Picture:
    """Returns the training curves of both models."""
    names, family = " and ".join(runs), next(iter(runs.values())).experiment.family
    if family == "dcgan":
        figure = gan_curves({name: run.history for name, run in runs.items()})
        return Picture(
            figure,
            f"One row of panels each for the {names}, over epochs: answers of D, separation,"
            " distances of images, gradient norms.",
        )
    histories = {name: [curve_columns(run.history)] for name, run in runs.items()}
    panels = curve_panels(family, curve_terms([one[0] for one in histories.values()]))
    told = ", ".join(title for title, _ in panels.values())
    return Picture(
        seed_curves(histories, list(panels), panels),
        f"Training curves of the {names} over epochs: {told}; dashed on test images.",
    )


def samples(runs: Runs, num_rows: int = 2) -> Picture:
    """Returns samples of both models from the same seed: the same noise as far as their latents
    have the same shape.
    """
    rows = {}
    for name, run in runs.items():
        images = same_noise(run.model, num_rows * NUM_COLUMNS)
        rows |= {
            f"{name}{' ' * index}": part for index, part in enumerate(images.split(NUM_COLUMNS))
        }
    figure = image_rows(rows, title="samples from the same seed")
    return Picture(
        figure,
        f"{num_rows} rows of {NUM_COLUMNS} samples each of the {' and of the '.join(runs)}, drawn"
        " from the same seed.",
    )


@torch.no_grad()
def same_noise(model: Model, num_images: int, seed: int = 0) -> Tensor:
    """Returns samples, uint8 `[N, C, H, W]`; a model that is told classes draws them in turn."""
    labels = torch.arange(num_images) % model.config.num_classes if model.needs_labels else None
    return sample_in_batches(model, num_images, rng=make_rng(seed), labels=labels)


@torch.no_grad()
def reconstructions(runs: Runs, dataset: Dataset, num_images: int) -> Picture:
    """Returns test images above what each VAE makes of them."""
    images = dataset.test_images[:NUM_COLUMNS]
    rows = {"test image": images}
    for name, run in runs.items():
        model = cast(VAE, run.model)
        rows[name] = signed_to_uint8(
            model.reconstruct(uint8_to_signed(images).to(model.device))
        ).cpu()
    alt = f"{NUM_COLUMNS} test images above their reconstructions by the {' and the '.join(runs)}."
    return Picture(image_rows(rows, title="reconstructions"), alt)


def _latent_map(name: str) -> Callable[[Runs, Dataset, int], Picture | None]:
    """Returns what draws the two latent dimensions of a VAE that say most; None where it has only
    one.
    """

    def draw_map(runs: Runs, dataset: Dataset, num_images: int) -> Picture | None:
        model = cast(VAE, runs[name].model)
        if model.config.latent_dim < 2:
            return None
        few = dataset.subset(num_test=min(NUM_MAPPED, len(dataset.test_images)))
        with torch.no_grad():
            mu, logvar = (
                part.cpu()
                for part in model.encode(uint8_to_signed(few.test_images).to(model.device))
            )
        first, second = gaussian_kl(mu, logvar).mean(0).topk(2).indices.tolist()
        title = (
            f"{name}: dimensions {first} and {second} of {model.config.latent_dim}, which say most"
        )
        pair = (first, second)
        figure = latent_map(mu[:, pair], few.test_labels, dataset.class_names, title, pair)
        return Picture(
            figure,
            f"Map of {len(mu):,} test images in dimensions {first} and {second} of the {name}'s"
            f" {model.config.latent_dim} latent dimensions, marked by class.",
        )

    return draw_map


def class_shares(runs: Runs, dataset: Dataset, num_images: int) -> Picture | None:
    """Returns how often each model draws each class; None for data whose classes no shipped
    classifier knows.
    """
    shipped = shipped_classifier(dataset)
    if shipped is None:
        return None
    classifier = shipped.model
    shares = {
        "training images": (
            (
                torch.bincount(dataset.train_labels, minlength=dataset.num_classes)
                / len(dataset.train_labels)
            ).tolist()
        )
    }
    for name, run in runs.items():
        images, _ = drawn_samples(run.model, num_images, 0)
        shares[name] = class_histogram(class_probabilities(classifier, images)).tolist()
    figure = lines(
        range(dataset.num_classes),
        shares,
        "class",
        "share of the images",
        f"classes of {num_images:,} samples",
    )
    figure.axes[0].set_xticks(range(dataset.num_classes), dataset.class_names)
    return Picture(
        figure,
        f"Share of each class among {num_images:,} samples of the {' and of the '.join(runs)}, and"
        " among training images.",
    )


def fid_over_steps(runs: Runs, dataset: Dataset, num_images: int) -> Picture:
    """Returns FID over the number of network calls of each model's own sampler."""
    known = shipped_classifier(dataset) is not None
    extractor, _ = find_extractor("classifier" if known else "pixels", dataset)
    real = extract(extractor, dataset.subset(num_test=num_images).test_images)
    series = {}
    for name, run in runs.items():
        found = []
        for num_steps in STEPS:
            images = sample_in_batches(run.model, num_images, rng=make_rng(0), num_steps=num_steps)
            with warnings.catch_warnings():
                # few images, but equally few everywhere
                warnings.simplefilter("ignore", MetricWarning)
                found.append(fid(extract(extractor, images), real))
        series[name] = [one.value for one in found], [one.error for one in found]
    figure = against_calls(STEPS, series, "FID")
    figure.axes[0].set_xlabel("steps of the sampler")
    return Picture(
        figure,
        f"FID of {num_images:,} samples over 1 to {STEPS[-1]} steps of the sampler, a line each for"
        f" the {' and the '.join(runs)}.",
    )


FAMILY_PICTURES: dict[str, dict[str, Callable[[Runs, Dataset, int], Picture | None]]] = {
    "vae": {
        "reconstructions": reconstructions,
        "latent-map-class-model": _latent_map("class model"),
        "latent-map-changed-model": _latent_map("changed model"),
    },
    "dcgan": {"class-shares": class_shares},
    "diffusion": {"fid-over-steps": fid_over_steps},
}


def kept_pictures(folder: Path) -> dict[str, Picture]:
    """Returns what the student's own code drew while it ran, as it was saved.

    Raises:
        CourseError: nothing was saved yet, or a file is no picture.
    """
    import PIL.Image

    found = {}
    for path in sorted(folder.glob("*.png")):
        try:
            with PIL.Image.open(path) as image:
                when = path.stem.removeprefix("samples-")
                alt = f"Twenty samples of your own code, {when} the change."
                found[path.stem] = Picture(image.copy(), alt)
        except OSError as error:
            raise CourseError(f"{path}: expected a picture, got another file ({error}).") from error
    if not found:
        raise CourseError(f"{folder}: your own code has drawn nothing yet; run it first.")
    return found


def save_picture(picture: Picture, path: Path) -> None:
    """Writes a figure as a PNG in one step."""
    stream = io.BytesIO()
    cast("Figure", picture.figure).savefig(stream, format="png", dpi=SAVED_DPI)
    with atomic_path(path) as partial:
        partial.write_bytes(stream.getvalue())
