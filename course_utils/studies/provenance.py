"""Provenance: a secret key in the starting noise of a diffusion model, found again in the finished
image by running the flow backwards.

The key is a sign for each pixel of the noise. Marking keeps the size of every number of the noise
and replaces its sign by the key's. The owner integrates the flow from the image (t = 0) back to
noise (t = 1) and asks by how much the signs that come back agree with the key.

What holds exactly: size and sign of a number from N(0, 1) are independent, and the sign is a fair
coin. Averaged over keys the marked noise is therefore N(0, I), so that one image says nothing to
somebody without the key. For one fixed key it is not N(0, I): the signs are the same in every
image, so that somebody who has many images of one key can average it out, and the images of one key
are too much alike. On the strokes FID saw that (400 images, 5 keys: 27.7 ± 2.4 with a key, 6.2 ±
0.3 without), while the agreement with the class stayed as it was. With a new key
for each image the noise of many images is N(0, I) again.

Source: the idea, and the detection by inverting the sampler: Wen et al. 2023 (arXiv:2305.20030),
who fix Fourier coefficients on rings; signs of a noise that stays Gaussian: Yang et al. 2024
(arXiv:2404.04956). The p-value is ours.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.base.config import require
from course_utils.base.device import make_rng, randn
from course_utils.base.errors import CourseError
from course_utils.base.images import check_uint8, signed_to_uint8, uint8_to_signed
from course_utils.data.dataset import Dataset
from course_utils.metrics.classes import class_agreement
from course_utils.metrics.features import class_probabilities, extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.measurement import (
    Difference,
    Measurement,
    is_effect_real,
    mean_over_seeds,
)
from course_utils.models.diffusion.model import Diffusion
from course_utils.models.diffusion.samplers import Guided, sample, time_grid
from course_utils.studies.compare import shipped_rows
from course_utils.studies.corruptions import blurred, low_contrast, noisy, shifted
from course_utils.studies.evaluate import find_extractor

SHARE = 1.0  # of the pixels whose sign a key decides
NUM_KEYS = 9999  # random keys that the owner's is ranked among; the smallest p-value is 1 / 10,000
LEVEL = 0.01  # accepted rate of false alarms
INVERSION_STEPS = 10
STEPS_OF_OTHERS = 20  # Euler steps with which a model that is not the course's draws
IMAGES_PER_CALL = 500
# x_t [B, C, H, W] and times [B] -> dx_t/dt, shaped like x_t
VelocityField = Callable[[Tensor, Tensor], Tensor]
# uint8 images [N, C, H, W] -> the same number of them, changed
Attack = Callable[[Tensor], Tensor]


def null_label_of(model: nn.Module) -> int:
    """Returns the label that stands for "no label" in a diffusion model: its number of classes.

    Raises:
        CourseError: a model that does not say how many classes it has.
    """
    if isinstance(model, Diffusion):
        return model.config.null_label
    num = getattr(model, "num_classes", None)
    if not isinstance(num, int):
        raise CourseError(
            "model: expected a diffusion model with an attribute num_classes, got"
            f" {type(model).__name__} without; set self.num_classes in its __init__."
        )
    return num


def velocity_field(
    model: nn.Module, labels: Tensor | None = None, *, guided: bool = False
) -> VelocityField:
    """Returns the flow of a diffusion model, dx_t/dt for x_t = (1 - t) image + t noise, as a
    function of x_t `[B, C, H, W]` and equal times `[B]`.

    The flow takes the distribution of x_t at one time to that at any other, in both directions.

    Args:
        model: a `Diffusion` of the schedule "flow", or a module whose `forward(x_t, t, labels)`
            gives the velocity noise - image and which has `num_classes`, such as that of
            notebook 07.
        labels: int64 `[B]`; None takes "no label", the flow of p(image).
        guided: mix in the guidance that the model samples with; only for a `Diffusion` with labels.

    Raises:
        CourseError: a model of another schedule, or without `num_classes`.

    Source: Liu et al. 2023 (arXiv:2209.03003), eq. 1; it is the probability-flow equation of Song
    et al. 2021 (arXiv:2011.13456), eq. 13, for this schedule.
    """
    null_label = null_label_of(model)
    if isinstance(model, Diffusion):
        require(model.config.schedule == "flow", "schedule", "'flow'", model.config.schedule)

    def velocity(x: Tensor, t: Tensor, given: Tensor) -> Tensor:
        if isinstance(model, Diffusion):
            seen = model.predict(x, t, given)
            return seen.eps - seen.x0
        return model(x, t, given)

    if labels is None:
        return lambda x, t: velocity(x, t, torch.full((len(x),), null_label, device=x.device))
    if guided and isinstance(model, Diffusion):
        config = model.config
        return Guided(velocity, labels, null_label, config.guidance_scale, config.guidance_interval)
    return lambda x, t: velocity(x, t, labels)


@torch.no_grad()
def drawn_from(model: nn.Module, noise: Tensor, labels: Tensor) -> Tensor:
    """Returns the images that a diffusion model draws from given noise, by its own deterministic
    sampler, uint8 `[N, C, H, W]`.

    Args:
        model: as for `velocity_field`; a module that is not the course's takes 20 Euler steps
            without guidance.
        noise: `[N, C, H, W]`.
        labels: int64 `[N]`.
    """
    pieces = []
    for x, given in zip(noise.split(IMAGES_PER_CALL), labels.split(IMAGES_PER_CALL)):
        if isinstance(model, Diffusion):
            times = time_grid(model.config.num_steps, start=model.config.first_time)
            kind = model.config.sampler
            require(kind != "ddpm", "sampler", "a deterministic one", kind)
            walk = sample(
                model.denoiser(given), model.schedule, x, sampler=kind, times=times, rng=make_rng(0)
            )
            x = walk.x
        else:
            x = euler_walk(velocity_field(model, given), x, time_grid(STEPS_OF_OTHERS))
        pieces.append(signed_to_uint8(x.clamp(-1, 1)))
    return torch.cat(pieces)


@torch.no_grad()
def euler_walk(field: VelocityField, x: Tensor, times: Tensor) -> Tensor:
    """Returns where Euler's method takes x along a flow, `[B, C, H, W]`, through times that rise
    (from an image to noise) or fall (from noise to an image), `[S + 1]`.
    """
    for here, there in itertools.pairwise(times.tolist()):
        x = x + (there - here) * field(x, x.new_full((len(x),), here))
    return x


@torch.no_grad()
def inverted(
    model: nn.Module,
    images: Tensor,
    *,
    labels: Tensor | None = None,
    guided: bool = False,
    num_steps: int = INVERSION_STEPS,
) -> Tensor:
    """Returns the noise that a diffusion model would have drawn images from, as far as its flow can
    be run backwards, `[N, C, H, W]`.

    A step of the sampler from t + h to t used the velocity at t + h. So the step back asks for the
    velocity at the later time as well, though at the only x that is known, that of the earlier one.

    The result is not exact: x differs, the sampler was guided by a label that the owner may not
    know, and grey levels were rounded. Above all, most of the noise is gone: whatever it was, a
    black pixel became black.

    Args:
        model: as for `velocity_field`.
        images: uint8 `[N, C, H, W]`.
        labels: int64 `[N]`, the classes that were asked for; None: not known.
        guided: with labels: invert the guided flow.
        num_steps: from t = 0 to t = 1; about as many as the sampler takes, more find no more.

    Source: Song et al. 2021 (arXiv:2010.02502), sec. 4.3, there as DDIM's encoding; the later time
    is the first of the fixed-point steps of Pan et al. 2023 (arXiv:2309.04907).
    """
    check_uint8(images)
    times, pieces = time_grid(num_steps).flip(0).tolist(), []
    for start in range(0, len(images), IMAGES_PER_CALL):
        rows = slice(start, start + IMAGES_PER_CALL)
        field = velocity_field(model, None if labels is None else labels[rows], guided=guided)
        x = uint8_to_signed(images[rows])
        for here, later in itertools.pairwise(times):
            x = x + (later - here) * field(x, x.new_full((len(x),), later))
        pieces.append(x)
    return torch.cat(pieces)


def make_key(secret: int, image_shape: Sequence[int], share: float = SHARE) -> Tensor:
    """Returns the key of a secret number, float32 `[C, H, W]`: a fair coin, -1 or 1, for each pixel
    whose sign it decides, and 0 for the others.

    Args:
        secret: any whole number from 0.
        image_shape: (C, H, W).
        share: of the pixels that are decided, chosen at random, above 0 and at most 1. Fewer leave
            the images more freedom, and the owner less to find.
    """
    return _random_keys(image_shape, 1, share, make_rng(secret, 9))[0]


def marked_noise(
    num: int,
    secret: int,
    image_shape: Sequence[int],
    rng: torch.Generator | None = None,
    *,
    share: float = SHARE,
) -> Tensor:
    """Returns noise that carries a key, float32 `[num, C, H, W]`. See the top of the file for what
    of N(0, I) it keeps.

    Args:
        num: images.
        secret: of the key, see `make_key`.
        image_shape: (C, H, W).
        rng: source of the noise.
        share: of the pixels whose sign the key decides.
    """
    key = make_key(secret, image_shape, share)
    noise = randn((num, *image_shape), rng, key)
    return torch.where(key == 0, noise, noise.abs() * key)


def key_scores(noise: Tensor, secret: int, *, share: float = SHARE, reach_px: int = 0) -> Tensor:
    """Returns how well noise agrees with a key, `[N]`: the sum of its pixels times the key's signs,
    in standard errors. For noise that does not know the key it has mean 0 and variance 1 over keys.

    Args:
        noise: from `inverted`, `[N, C, H, W]`.
        secret: of the key.
        share: of the key.
        reach_px: the best of all shifts by up to so many pixels counts, which is above 0 for any
            noise; 0: no search.
    """
    return _scores(noise, make_key(secret, noise.shape[1:], share)[None], reach_px)[0]


def provenance_p_values(
    noise: Tensor,
    secret: int,
    *,
    num_keys: int = NUM_KEYS,
    share: float = SHARE,
    reach_px: int = 0,
    seed: int = 0,
) -> Tensor:
    """Returns a p-value for each image, float64 `[N]`: the rank of the owner's key among random
    keys, (1 + number that agree at least as well) / (1 + number of keys).

    The copy test ranks an image among images that are known to be no copies; this one ranks the key
    among keys that are known not to have been used. If the owner's key was drawn at random and the
    image was made without it, all ranks are equally likely, whatever the image shows: at most a
    share p of all keys gets a p-value of p or less. The promise is about keys. For one key, images
    that resemble each other err together.

    Args:
        noise: from `inverted`, `[N, C, H, W]`.
        secret: of the owner's key.
        num_keys: random keys; the smallest p-value is 1 / (num_keys + 1).
        share: of the keys.
        reach_px: shifts that are searched, by the random keys as well, so that the promise holds.
        seed: of the random keys.

    Source: the rank as a p-value: Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9(1).
    """
    require(num_keys >= 1, "num_keys", "at least 1", num_keys)
    own = key_scores(noise, secret, share=share, reach_px=reach_px)
    rank = torch.ones(len(noise), dtype=torch.float64)
    for piece in torch.arange(num_keys).split(1000):
        rng = make_rng(seed, 10, int(piece[0]))
        keys = _random_keys(noise.shape[1:], len(piece), share, rng)
        rank += (_scores(noise, keys, reach_px) >= own).sum(0)
    return rank / (num_keys + 1)


def _random_keys(
    image_shape: Sequence[int], num: int, share: float, rng: torch.Generator
) -> Tensor:
    """Returns keys, float32 `[num, C, H, W]`."""
    require(0 < share <= 1, "share", "above 0 and at most 1", share)
    shape = (num, math.prod(image_shape))
    coins = 2.0 * torch.randint(2, shape, generator=rng) - 1
    if share < 1:
        order = torch.rand(shape, generator=rng).argsort(1)
        coins = torch.where(order < max(1, round(share * shape[1])), coins, 0.0)
    return coins.view(num, *image_shape)


def _scores(noise: Tensor, keys: Tensor, reach_px: int) -> Tensor:
    """Returns the scores `[K, N]` of noise `[N, C, H, W]` under keys `[K, C, H, W]`."""
    require(reach_px >= 0, "reach_px", "0 or more", reach_px)
    signs, best = keys.flatten(1).to(noise), noise.new_full((len(keys), len(noise)), -math.inf)
    steps = range(-reach_px, reach_px + 1)
    for down, right in itertools.product(steps, steps):
        flat = noise.roll((down, right), (2, 3)).flatten(1)
        found = (signs @ flat.T) / (signs.abs() @ flat.square().T).sqrt()
        best = best.maximum(found)
    return best


def cropped(images: Tensor, num_px: int = 2) -> Tensor:
    """Returns images whose outermost `num_px` pixels were cut away on each side and the rest
    enlarged to the old size, uint8 `[N, C, H, W]`.
    """
    check_uint8(images)
    height, width = images.shape[2:]
    most = (min(height, width) - 1) // 2
    require(0 <= num_px <= most, "num_px", f"0 to {most}", num_px)
    inner = images[:, :, num_px : height - num_px, num_px : width - num_px].float()
    grown = F.interpolate(inner, (height, width), mode="bilinear", align_corners=False)
    return grown.round().clamp(0, 255).to(torch.uint8)


def as_jpeg(images: Tensor, quality: int = 50) -> Tensor:
    """Returns images that went through a JPEG file, uint8 `[N, C, H, W]`.

    Args:
        quality: of the file, 1 (worst) to 95.
    """
    from PIL import Image

    check_uint8(images)
    require(1 <= quality <= 95, "quality", "1 to 95", quality)
    pictures = []
    for image in images.permute(0, 2, 3, 1).squeeze(-1).numpy():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format="JPEG", quality=quality)
        with Image.open(stream, formats=["JPEG"]) as picture:
            pictures.append(torch.from_numpy(np.array(picture)))
    found = torch.stack(pictures)
    return found[:, None] if found.ndim == 3 else found.permute(0, 3, 1, 2).contiguous()


def attacks(model: nn.Module | None = None) -> dict[str, Attack]:
    """Returns what may happen to an image before the owner sees it, `{name: function of uint8
    images}`; "none" is the first.

    Args:
        model: a `Diffusion` draws images again from half noise: the known way to remove any such
            key, for whoever has a model of his own. None, or another module, leaves that out.

    Source: drawing again: Zhao et al. 2024 (arXiv:2306.01953); here as Meng et al. 2022
    (arXiv:2108.01073).
    """
    found: dict[str, Attack] = {
        "none": torch.clone,
        "noise 0.1": partial(noisy, noise_std=0.1),
        "JPEG, quality 50": as_jpeg,
        "contrast 0.6": low_contrast,
        "blur 1 px": blurred,
        "shift 1 px": partial(shifted, right_px=1),
        "shift 2 px": shifted,
        "crop 2 px": cropped,
    }
    if isinstance(model, Diffusion):
        found["drawn again"] = partial(_drawn_again, model)
    return found


def _drawn_again(model: Diffusion, images: Tensor) -> Tensor:
    walk = model.edit(uint8_to_signed(images), 0.5, rng=make_rng(0, 8), num_steps=10)
    return signed_to_uint8(walk.x)


KNOWLEDGE = ("no label", "label", "label and guidance")  # what the owner's inversion uses


@dataclass(frozen=True)
class ProvenanceRow:
    """How often the key was found in images of one kind.

    Attributes:
        images: "marked", "unmarked" or "real".
        attack: what was done to them, a key of `attacks`.
        knowledge: what the owner's inversion used, one of `KNOWLEDGE`.
        share: of the pixels whose sign the key decides.
        reach_px: shifts that were searched.
        rate: share of the images with a p-value of at most `level`, the mean over keys; of images
            that are not marked: the rate of false alarms.
        error: standard error of that, from the spread between keys, and at least that of a share of
            independent images with one more of either kind, so that it is never 0.
        score: mean agreement with the key in standard errors.
        median_p: median p-value over all images.
        num_keys, num_images: that the row rests on; each key has images of its own.
        level: accepted rate of false alarms.
    """

    images: str
    attack: str
    knowledge: str
    share: float
    reach_px: int
    rate: float
    error: float
    score: float
    median_p: float
    num_keys: int
    num_images: int
    level: float = LEVEL

    @property
    def measurement(self) -> Measurement:
        """The rate as a measurement over keys."""
        return Measurement(
            "detection rate", self.rate, self.error, self.num_images, num_seeds=self.num_keys
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns all fields for JSON; `saved_provenance` reads them again."""
        return asdict(self)


def provenance_study(
    model: nn.Module,
    dataset: Dataset,
    *,
    num_keys: int = 5,
    images_per_key: int = 40,
    chosen: Mapping[str, Attack] | None = None,
    knowledge: str = "no label",
    share: float = SHARE,
    reach_px: int = 0,
    num_steps: int = INVERSION_STEPS,
    null_keys: int = 999,
    seed: int = 0,
) -> list[ProvenanceRow]:
    """Returns how often keys are found in marked images after each attack, and how often they are
    "found" in unmarked images of the same model and in real ones.

    Args:
        model: as for `velocity_field`.
        dataset: whose test images are the real ones; it also gives the labels.
        num_keys: keys, 0, 1, ..., at least 2; the error bars are their spread.
        images_per_key: of each kind, at least 2.
        chosen: attacks; None takes all of `attacks(model)`. The images without the key are not
            attacked.
        knowledge: what the inversion uses, one of `KNOWLEDGE`. Real images have their true labels.
        share: of the pixels whose sign a key decides.
        reach_px: shifts that the owner searches.
        num_steps: of the inversion.
        null_keys: random keys of the p-values.
        seed: of labels, noise and the choice of real images.

    Raises:
        CourseError: an unknown `knowledge`, or too few test images.
    """
    require(knowledge in KNOWLEDGE, "knowledge", " or ".join(map(repr, KNOWLEDGE)), knowledge)
    require(num_keys >= 2, "num_keys", "at least 2", num_keys)
    num = num_keys * images_per_key
    available = len(dataset.test_images)
    require(num <= available, "num_keys", f"at most {available} test images in all", num)
    rows = torch.randperm(available, generator=make_rng(seed))[:num]
    labels, real = dataset.test_labels[rows], dataset.test_images[rows]
    shape = dataset.image_shape
    noise = [
        marked_noise(images_per_key, key, shape, make_rng(seed, 1, key), share=share)
        for key in range(num_keys)
    ]
    marked = drawn_from(model, torch.cat(noise), labels)
    plain = drawn_from(model, randn((num, *shape), make_rng(seed, 2), marked.float()), labels)
    sets: dict[tuple[str, str], Tensor] = {
        ("marked", name): attack(marked)
        for name, attack in (attacks(model) if chosen is None else chosen).items()
    }
    sets |= {("unmarked", "none"): plain, ("real", "none"): real}
    options: dict[str, Any] = {"num_steps": num_steps, "guided": knowledge == KNOWLEDGE[2]}
    test: dict[str, Any] = {"share": share, "reach_px": reach_px}
    found = []
    for (kind, attack_name), images in sets.items():
        given = None if knowledge == KNOWLEDGE[0] else labels
        parts = inverted(model, images, labels=given, **options).chunk(num_keys)
        p_values = [
            provenance_p_values(part, key, num_keys=null_keys, seed=1, **test)
            for key, part in enumerate(parts)
        ]
        scores = [key_scores(part, key, **test) for key, part in enumerate(parts)]
        rates = [(one <= LEVEL).double().mean().item() for one in p_values]
        rate = mean_over_seeds("detection rate", rates, num)
        smoothed = (rate.value * num + 1) / (num + 2)
        row = ProvenanceRow(
            kind,
            attack_name,
            knowledge,
            share,
            reach_px,
            rate.value,
            max(rate.error, math.sqrt(smoothed * (1 - smoothed) / num)),
            torch.cat(scores).mean().item(),
            torch.cat(p_values).median().item(),
            num_keys,
            num,
        )
        found.append(row)
    return found


def saved_provenance(dataset: str) -> list[ProvenanceRow]:
    """Returns the rows of `provenance_study` that ship for a dataset, made by
    `python benchmarks/provenance_rates.py`.

    Raises:
        CourseError: none ship for it; `shipped_datasets("provenance")` says which there are.
    """
    names = [one.name for one in fields(ProvenanceRow)]
    rows = [row for row in shipped_rows("provenance", dataset) if row["part"] == "rates"]
    return [ProvenanceRow(**{name: row[name] for name in names}) for row in rows]


def provenance_cells(rows: Sequence[ProvenanceRow]) -> list[dict[str, Any]]:
    """Returns the rows as texts for a table, one `{column: text}` each."""
    return [
        {
            "images": row.images,
            "attack": row.attack,
            "the owner knows": row.knowledge,
            "shifts searched": f"{row.reach_px} px",
            f"found at p <= {row.level:g}": f"{row.rate:.2f} ± {row.error:.2f}",
            "agreement, errors": f"{row.score:.1f}",
            "median p": f"{row.median_p:.2g}",
            "images, keys": f"{row.num_images}, {row.num_keys}",
        }
        for row in rows
    ]


class QualityRow(NamedTuple):
    """A metric of images with and without a key, and the mean paired difference over keys with its
    verdict (`is_effect_real`).
    """

    metric: str
    marked: Measurement
    unmarked: Measurement
    verdict: Difference


def quality_with_key(
    model: nn.Module,
    dataset: Dataset,
    *,
    num_keys: int = 5,
    images_per_key: int = 500,
    share: float = SHARE,
    fresh: bool = False,
    seed: int = 0,
) -> list[QualityRow]:
    """Returns FID and agreement with the class, with and without a key: whether marking makes the
    images worse.

    Each key draws images of its own; their twins without a key have the same labels and other
    noise. FID compares with as many test images, always the same ones. It sees what a single image
    cannot show: that the images of one key are too much alike.

    Args:
        model: as for `velocity_field`.
        dataset: of the real images, the labels and the classifier, whose features FID uses.
        num_keys: keys, at least 2; more than one, since images of one key are more alike.
        images_per_key: of each set, N of the FID.
        share: of the pixels whose sign a key decides.
        fresh: a new key for each image, so that the noise of a set is N(0, I) exactly; "keys" are
            then only repetitions.
        seed: of labels and noise.
    """
    require(num_keys >= 2, "num_keys", "at least 2", num_keys)
    available = len(dataset.test_images)
    most = min(images_per_key, available)
    require(most == images_per_key, "images_per_key", f"at most {available}", images_per_key)
    extractor, classifier = find_extractor("classifier", dataset)
    rows = torch.randperm(available, generator=make_rng(seed))[:images_per_key]
    labels, shape = dataset.test_labels[rows], dataset.image_shape
    reference = extract(extractor, dataset.test_images[rows])
    values: dict[str, list[tuple[float, float]]] = {"FID": []}
    for key in range(num_keys):
        rng = make_rng(seed, 1, key)
        marked = (
            [marked_noise(1, num_keys + row, shape, rng, share=share) for row in rows.tolist()]
            if fresh
            else [marked_noise(images_per_key, key, shape, rng, share=share)]
        )
        noises = (
            torch.cat(marked),
            randn((images_per_key, *shape), make_rng(seed, 2, key), torch.empty(0)),
        )
        images = [drawn_from(model, noise, labels) for noise in noises]
        values["FID"].append(_pair(fid(extract(extractor, one), reference) for one in images))
        if classifier is not None:
            values.setdefault("agreement", []).append(
                _pair(class_agreement(class_probabilities(classifier, x), labels) for x in images)
            )
    return [_quality_row(metric, pairs, images_per_key) for metric, pairs in values.items()]


def _pair(measured: Any) -> tuple[float, float]:
    first, second = (one.value for one in measured)
    return first, second


def _quality_row(metric: str, pairs: list[tuple[float, float]], num_images: int) -> QualityRow:
    marked, unmarked = (
        mean_over_seeds(metric, values, num_images, size_matters=metric == "FID")
        for values in zip(*pairs)
    )
    differences = [first - second for first, second in pairs]
    effect = mean_over_seeds(f"{metric}, marked less unmarked", differences, num_images)
    return QualityRow(metric, marked, unmarked, is_effect_real(effect))


def quality_rows(rows: Sequence[QualityRow]) -> list[dict[str, Any]]:
    """Returns the rows of `quality_with_key` as texts and numbers, for a table or JSON."""
    return [
        {
            "metric": row.metric,
            "with a key": row.marked.number,
            "without": row.unmarked.number,
            "keys": row.marked.num_seeds,
            "images a key": row.marked.num_images,
            "verdict": row.verdict.text,
        }
        for row in rows
    ]
