"""What textbooks say of VAEs, GANs and diffusion models, as numbers with verdicts: how sharp their
images are, how even a walk through their latent space is, how much their trainings differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_uint8
from course_utils.metrics.measurement import (
    CONFIDENCE,
    Difference,
    Measurement,
    is_difference_real,
    mean_over_images,
    mean_over_seeds,
)
from course_utils.metrics.memorization import hypergeometric_tail
from course_utils.models.base import Model
from course_utils.models.dcgan import DCGAN
from course_utils.models.diffusion.model import Diffusion
from course_utils.models.diffusion.samplers import sample, time_grid
from course_utils.models.latents import arc_path
from course_utils.models.vae import VAE

if TYPE_CHECKING:
    import pandas as pd

    from course_utils.studies.collapse import CollapseResult
    from course_utils.studies.compare import FamilyComparison

CONTRAST, UNEVENNESS = "edge contrast", "walk unevenness"
NUM_WALKS, NUM_PARTS = 40, 20  # walks through a latent space, and steps of each
WALKS = 11  # purpose of a random stream of a seed
REAL = "real images"


def edge_contrast(images: Tensor) -> Tensor:
    """Returns the squared difference of neighbouring pixels over the squared ink, one number an
    image, float64 `[N]`. Blur lowers it; noise raises it above that of real images.

    Args:
        images: uint8 `[N, C, H, W]`; 0 counts as no ink.
    """
    check_uint8(images)
    x = images.double() / 255
    edges = x.diff(dim=2).square().sum((1, 2, 3)) + x.diff(dim=3).square().sum((1, 2, 3))
    return edges / x.square().sum((1, 2, 3)).clamp(min=1)


@torch.no_grad()
def images_of_latents(model: Model, latents: Tensor, labels: Tensor) -> Tensor:
    """Returns the images that a model makes of given latents, signed `[B, C, H, W]`, without any
    further randomness.

    Args:
        model: a VAE (decoder means), a DCGAN, or a diffusion model, whose latent is the noise that
            its sampler starts from.
        latents: `[B, D]`, D as `latent_size` says.
        labels: int64 `[B]`, for models that take labels.

    Raises:
        CourseError: a model of another family.
    """
    latents, labels = latents.to(model.device), labels.to(model.device)
    if isinstance(model, VAE):
        return model.decode(latents)
    if isinstance(model, DCGAN):
        return model.generate(latents, labels if model.config.conditional else None)
    if isinstance(model, Diffusion):
        settings = model.config
        times = time_grid(settings.num_steps, start=settings.first_time)
        noise = latents.reshape(-1, *settings.image_shape)
        kind = settings.sampler
        return sample(model.denoiser(labels), model.schedule, noise, sampler=kind, times=times).x
    raise CourseError(
        f"expected a VAE, a DCGAN or a diffusion model, got a {model.family}; only these draw an"
        " image from a latent."
    )


def latent_size(model: Model) -> int:
    """Returns how many numbers an image of the model is drawn from."""
    if isinstance(model, Diffusion):
        return math.prod(model.config.image_shape)
    return model.config.latent_dim


def walk_unevenness(
    model: Model, num_walks: int = NUM_WALKS, *, num_parts: int = NUM_PARTS, seed: int = 0
) -> Tensor:
    """Returns the largest step over the mean step of walks between two random latents, float64
    `[num_walks]`: 1 where the image changes evenly, `num_parts` where it stands still and then
    jumps once.

    A walk goes along an arc in equal steps, a step is the distance of two neighbouring images, and
    the class stays the same during a walk.

    Args:
        model: as for `images_of_latents`.
        num_walks: at least 1.
        num_parts: steps of a walk, at least 2.
        seed: of the latents; equal for models that are compared.
    """
    require(num_walks >= 1, "num_walks", "at least 1", num_walks)
    require(num_parts >= 2, "num_parts", "at least 2", num_parts)
    rng, shares = make_rng(seed, WALKS), torch.linspace(0, 1, num_parts + 1)
    found = []
    for walk in range(num_walks):
        start, end = torch.randn(2, latent_size(model), generator=rng)
        end = end * start.norm() / end.norm()  # on one circle, so that the latent moves evenly
        labels = torch.full((len(shares),), walk % max(1, getattr(model.config, "num_classes", 1)))
        images = images_of_latents(model, arc_path(start, end, shares), labels).double().cpu()
        steps = images.diff(dim=0).flatten(1).norm(dim=1)
        found.append(steps.max() / steps.mean().clamp(min=1e-12))
    return torch.stack(found)


def latent_measurements(
    models: Mapping[str, Model], num_walks: int = NUM_WALKS, *, seed: int = 0
) -> dict[str, Measurement]:
    """Returns the mean unevenness of walks for each model that draws from latents, `{name:
    measurement}`; the error is over walks, of one training.
    """
    return {
        name: mean_over_images(UNEVENNESS, walk_unevenness(model, num_walks, seed=seed))
        for name, model in models.items()
        if isinstance(model, (VAE, DCGAN, Diffusion))
    }


def spread_limit(num_seeds: int) -> float:
    """Returns the ratio of two standard deviations over so many trainings each that chance exceeds
    (one way or the other) in 5 % of all cases where the true ones are equal: 6.2 for three.

    Source: Fisher's F distribution; see Snedecor & Cochran 1989, Statistical Methods, ch. 6.
    """
    from scipy.stats import f

    require(num_seeds >= 2, "num_seeds", "at least 2", num_seeds)
    return float(f.ppf(0.5 + CONFIDENCE / 2, num_seeds - 1, num_seeds - 1)) ** 0.5


@dataclass(frozen=True)
class Sentence:
    """A sentence of the textbook: `metric` of `larger` exceeds that of each of `smaller`."""

    text: str
    metric: str
    larger: str
    smaller: tuple[str, ...]
    turned: bool = False  # `larger` has the smaller value


SENTENCES = (
    Sentence("VAE: blurry (below real images)", CONTRAST, REAL, ("vae",)),
    Sentence("GAN: sharper than the VAE", CONTRAST, "dcgan", ("vae",)),
    Sentence("VAE: smoothest latent space", UNEVENNESS, "vae", ("dcgan", "diffusion"), turned=True),
    Sentence(
        "GAN: loses modes (lowest recall)", "recall", "dcgan", ("vae", "diffusion"), turned=True
    ),
    Sentence("diffusion: best quality (FID)", "FID", "diffusion", ("vae", "dcgan"), turned=True),
    Sentence("diffusion: best coverage (recall)", "recall", "diffusion", ("vae", "dcgan")),
    Sentence("diffusion: slow to draw", "seconds for 100 images", "diffusion", ("vae", "dcgan")),
)


def textbook_table(
    table: FamilyComparison,
    single: Mapping[str, Mapping[str, Measurement]],
    cures: Mapping[str, CollapseResult] | None = None,
) -> pd.DataFrame:
    """Returns a row for each sentence of the textbook: the comparison that supports it least, in
    standard errors, the limit, and the verdict.

    Args:
        table: trainings of "vae", "dcgan" and "diffusion".
        single: `{metric: {family: measurement}}` of one training each, for metrics that the table
            lacks. One training gives no verdict on a family.
        cures: results of `collapse_results`; adds the GAN's collapsed trainings.
    """
    import pandas as pd

    rows = {sentence.text: _judged(sentence, table, single) for sentence in SENTENCES}
    rows["GAN: trainings differ more than the VAE's"] = _spread(table)
    if cures is not None:
        rows["GAN: collapses if nothing prevents it"] = _collapses(cures)
    columns = ["measured", "distance", "limit", "verdict"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _judged(
    sentence: Sentence, table: FamilyComparison, single: Mapping[str, Mapping[str, Measurement]]
) -> tuple[str, str, str, str]:
    sides = [
        _measured(sentence.metric, name, table, single)
        for name in (sentence.larger, *sentence.smaller)
    ]
    if None in sides:
        return "not measured", "-", "-", "not measured"
    first, *others = [side for side in sides if side is not None]
    found = [is_difference_real(first, other) for other in others]
    weakest = min(found, key=lambda one: _support(one, sentence.turned) / one.limit)
    z = _support(weakest, sentence.turned)
    other = others[found.index(weakest)]
    texts = f"{first.number} against {other.number}", f"{z:+.1f} errors", f"{weakest.limit:.2f}"
    families = [
        side
        for side, name in zip(sides, (sentence.larger, *sentence.smaller))
        if side and name != REAL
    ]
    if min(side.num_seeds for side in families) < 2:
        return *texts, "one training: no verdict"
    return *texts, _verdict(z, weakest.limit)


def _support(found: Difference, turned: bool) -> float:
    """Returns how many standard errors speak for a sentence; below 0, against it."""
    z = math.copysign(found.num_errors, found.difference)
    return -z if turned else z


def _verdict(z: float, limit: float) -> str:
    return "agrees" if z > limit else "does not agree" if z < -limit else "undecided"


def _measured(
    metric: str, name: str, table: FamilyComparison, single: Mapping[str, Mapping[str, Measurement]]
) -> Measurement | None:
    """Returns a metric of a family, or of real images, from the table or else from one training."""
    num_images = table.protocol["num_images"]
    if name == REAL and (floor := table.floor(metric)) is not None:
        return Measurement(metric, *floor, num_images)
    cell = table.cell(metric, name)
    if cell is not None and len(cell.values) > 1:
        return mean_over_seeds(metric, cell.values, num_images)
    return single.get(metric, {}).get(name)


def _spread(table: FamilyComparison) -> tuple[str, str, str, str]:
    """Returns the row on the spread of FID between trainings, relative to its mean."""
    cells = [table.cell("FID", name) for name in ("dcgan", "vae")]
    if any(cell is None or len(cell.values) < 2 or cell.error == 0 for cell in cells):
        return "not measured", "-", "-", "not measured"
    spreads = [
        cell.error * len(cell.values) ** 0.5 / cell.mean for cell in cells if cell is not None
    ]
    limit = spread_limit(min(len(cell.values) for cell in cells if cell is not None))
    ratio = spreads[0] / spreads[1]
    measured = f"spread of FID {spreads[0]:.1%} against {spreads[1]:.1%}"
    verdict = _verdict(math.log(ratio), math.log(limit))
    return measured, f"ratio {ratio:.1f}", f"{limit:.1f}", verdict


def _collapses(cures: Mapping[str, CollapseResult]) -> tuple[str, str, str, str]:
    """Returns the row on collapsed trainings of the broken GAN, beside the same one with R1; the
    p-value is that of Fisher's exact test.
    """
    broken, cured = cures["broken"], cures["R1"]
    nums, hits = [len(one.covered) for one in (broken, cured)], broken.num_collapsed
    p = hypergeometric_tail(hits, sum(nums), hits + cured.num_collapsed, nums[0])
    measured = f"{hits} of {nums[0]} collapsed; with R1 {cured.num_collapsed} of {nums[1]}"
    return measured, f"p = {p:.2g}", "0.05", "agrees" if p <= 1 - CONFIDENCE else "undecided"
