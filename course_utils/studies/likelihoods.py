"""Likelihoods in one protocol: how many bits a pixel each model needs for the same test images.

The protocol. An image x has D grey levels from 0 to 255 (D = pixels times channels), every model
gives a probability P(x) of such images, and what is reported is

    bits per dimension = -log2 P(x) / D,

the mean over test images; 8 is what storing the levels takes, and less is better. Where P(x) cannot
be computed, an upper bound of the bits is: the true value is at most that. Three kinds of models
come to P(x) in three ways.

- A density p(y) of real pixels: P(x) is its integral over the cell of x, one grey level wide. With
  noise u, uniform in the cell, E log p(x + u) + log(cell) <= log P(x).
- A VAE: log P(x) >= E[log P(x | z)] - KL(q(z | x) || p(z)), if its decoder gives probabilities of
  grey levels. The course's Bernoulli decoder does not: of grey pixels its cross-entropy is no
  likelihood. `count_levels` makes it one. Of all training pixels whose decoded grey is alike, it
  counts which levels they have.
- Diffusion: the same bound, whose latent variable is the image with a little noise, x_s = (1 - s) x
  + s eps. Its "decoder" is the denoiser's image with the same kind of counted table, and p(x_s)
  comes from the flow: as a bound (`diffusion_bits`), or computed along the flow (`flow_bits`).

Nothing is trained for this protocol, and no test image takes part in the counting.

Source: noise in the cell: Theis et al. 2016 (arXiv:1511.01844), sec. 3.1; the bound in continuous
time: Kingma et al. 2021 (arXiv:2107.00630), eq. 17; the density along a flow: Chen et al. 2018
(arXiv:1806.07366), eq. 8, with the trace estimate of Hutchinson 1990 as in Grathwohl et al. 2019
(arXiv:1810.01367).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.base.config import require
from course_utils.base.device import make_rng, rand, randn
from course_utils.base.errors import CourseError
from course_utils.base.images import (
    check_uint8,
    signed_to_uint8,
    uint8_to_signed,
    uint8_to_unit,
    unit_to_signed,
)
from course_utils.data.dataset import Dataset
from course_utils.metrics.likelihood import importance_weighted_bound
from course_utils.metrics.measurement import (
    Difference,
    Measurement,
    is_effect_real,
    mean_over_images,
)
from course_utils.models.diffusion.model import Diffusion
from course_utils.models.diffusion.variational_bound import variational_bound
from course_utils.models.gaussian import GREY_LEVEL, fit_class_gaussians
from course_utils.models.vae import VAE, gaussian_kl, log_prior_ratio, reparameterise
from course_utils.studies.compare import shipped_rows
from course_utils.studies.provenance import VelocityField, velocity_field

NUM_LEVELS = 256
NUM_BINS = 128  # of decoded greys with equally many training pixels each, and as many equally wide
START = (
    0.1  # s, the noise of the latent variable x_s of diffusion; the best of those that were tried
)
NUM_TIMES = 20  # of the bound in continuous time, for each image
FLOW_STEPS = 20  # of Heun's method, two network calls each
IMAGES_PER_CALL = 250
COUNTED_IMAGES = 5000  # training images that a table is counted from
# added to every count, so that no level is impossible: more would blur the table of a rare grey
IMAGINARY = 0.1


def bits_per_dimension(
    log_probability: Tensor, num_dims: int, cell_width: float | None = None
) -> Tensor:
    """Returns -log2 P(x) / D for each image, `[N]`, float64.

    Args:
        log_probability: log P(x) in nats, `[N]`; of a density, log p(x + u) with noise u.
        num_dims: D, pixels times channels.
        cell_width: of a density, the width of a grey level in the units of its pixels, 2/255 for
            signed and 1/255 for unit ones; None: P(x) is a probability already.
    """
    bits = -log_probability.double() / (num_dims * math.log(2))
    return bits if cell_width is None else bits - math.log2(cell_width)


@dataclass(frozen=True)
class LevelTable:
    """The probability of each grey level where a model predicts some grey.

    Attributes:
        edges: of the bins of predictions, rising, `[E]`; the first and the last bin are open.
        log_probabilities: nats, `[E + 1, 256]`; the exponentials of a row add up to 1.
    """

    edges: Tensor
    log_probabilities: Tensor

    def log_probability(self, predictions: Tensor, images: Tensor) -> Tensor:
        """Returns log P(image | prediction), the sum over pixels, float64 `[B]`.

        Args:
            predictions: signed greys, `[B, C, H, W]`.
            images: uint8, of the same shape.
        """
        bins = torch.bucketize(predictions.contiguous(), self.edges)
        return self.log_probabilities[bins, images.long()].flatten(1).sum(1)


def count_levels(predictions: Tensor, images: Tensor, num_bins: int = NUM_BINS) -> LevelTable:
    """Returns a table counted from predictions of training images: a decoder that gives
    probabilities of grey levels, whatever the model was trained for.

    Half of the edges have equally many pixels between them, since most pixels are black, and the
    other half are equally far apart. Each level is counted a tenth of a pixel more often than it
    occurs, so that none is impossible.

    Args:
        predictions: signed greys, `[N, C, H, W]`.
        images: uint8, what they predict.
        num_bins: of either half.
    """
    check_uint8(images)
    if predictions.shape != images.shape:
        raise CourseError(
            f"expected one prediction a pixel, {list(images.shape)}, got {list(predictions.shape)}."
        )
    require(num_bins >= 1, "num_bins", "at least 1", num_bins)
    greys, levels = predictions.flatten().float(), images.flatten().long()
    ranks = torch.linspace(0, len(greys) - 1, num_bins + 1)[1:-1].long()
    by_rank = greys.sort().values[ranks]
    edges = torch.cat([by_rank, torch.linspace(-1, 1, num_bins + 1)[1:-1]]).unique()
    num_rows = len(edges) + 1
    bins = torch.bucketize(greys, edges)
    counts = torch.bincount(bins * NUM_LEVELS + levels, minlength=num_rows * NUM_LEVELS)
    counts = counts.view(num_rows, NUM_LEVELS).double() + IMAGINARY
    return LevelTable(edges, (counts / counts.sum(1, keepdim=True)).log())


def independent_bits(train: Tensor, images: Tensor) -> Tensor:
    """Returns the bits of a model that knows how frequent each level is at each pixel and nothing
    else, exact, `[N]`.

    Args:
        train, images: uint8 `[T, C, H, W]`, `[N, C, H, W]`.
    """
    check_uint8(train)
    check_uint8(images)
    num_dims = train[0].numel()
    pixel = torch.arange(num_dims) * NUM_LEVELS
    counts = torch.full((num_dims * NUM_LEVELS,), IMAGINARY, dtype=torch.float64)
    for piece in train.flatten(1).split(2000):
        counts += torch.bincount((piece.long() + pixel).flatten(), minlength=len(counts))
    table = counts.log().view(num_dims, NUM_LEVELS)
    table = table - math.log(len(train) + IMAGINARY * NUM_LEVELS)
    found = [
        table.flatten()[piece.long() + pixel].sum(1) for piece in images.flatten(1).split(2000)
    ]
    return bits_per_dimension(torch.cat(found), num_dims)


@torch.no_grad()
def density_bits(
    log_density: Callable[[Tensor], Tensor], images: Tensor, rng: torch.Generator | None = None
) -> Tensor:
    """Returns an upper bound of the bits of a density of signed pixels, `[N]`: of the images with
    uniform noise, one grey level wide.

    Args:
        log_density: signed pixels `[B, C, H, W]` -> nats `[B]`, such as `Gaussian.log_prob`.
        images: uint8 `[N, C, H, W]`.
        rng: source of the noise.
    """
    x = uint8_to_signed(images)
    y = x + GREY_LEVEL * (rand(tuple(x.shape), rng, x.device) - 0.5)
    nats = torch.cat([log_density(piece).double() for piece in y.split(IMAGES_PER_CALL)])
    return bits_per_dimension(nats, images[0].numel(), GREY_LEVEL)


@dataclass(frozen=True)
class VAEParts:
    """A VAE as the protocol needs it.

    Attributes:
        encode: uint8 images `[B, C, H, W]` -> mean and log-variance of q(z | x), `[B, L]` each.
        decode: latents `[B, L]` -> signed greys, with as many numbers as the images.
    """

    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]


def vae_parts(model: nn.Module) -> VAEParts:
    """Returns the parts of a `VAE` with the prior N(0, I), or of a module like that of notebook 04:
    `encode` takes unit images and gives mean and log-variance, `decode` gives logits.

    Raises:
        CourseError: a VAE with a learned prior, or a module without these methods.
    """
    if isinstance(model, VAE):
        num = model.config.num_prior_components
        require(num == 0, "num_prior_components", "0, the prior N(0, I)", num)
        return VAEParts(lambda images: model.encode(uint8_to_signed(images)), model.decode)
    if not all(callable(getattr(model, name, None)) for name in ("encode", "decode")):
        raise CourseError(
            "model: expected a VAE with the methods encode and decode, got"
            f" {type(model).__name__} without; notebook 04 builds one."
        )
    built: Any = model  # its methods are the reader's
    return VAEParts(
        lambda images: built.encode(uint8_to_unit(images)),
        lambda z: unit_to_signed(torch.sigmoid(built.decode(z))),
    )


@torch.no_grad()
def count_vae_levels(
    parts: VAEParts, train: Tensor, rng: torch.Generator | None = None
) -> LevelTable:
    """Returns the table of a VAE's decoder, counted from reconstructions of training images from a
    draw of z each.

    Args:
        parts: see `vae_parts`.
        train: uint8 `[T, C, H, W]`; of some thousand the numbers no longer change.
        rng: source of the draws.
    """
    pieces = train.split(IMAGES_PER_CALL)
    greys = [
        parts.decode(reparameterise(*parts.encode(one), rng)).view(one.shape) for one in pieces
    ]
    return count_levels(torch.cat(greys), train)


@torch.no_grad()
def vae_bits(
    parts: VAEParts,
    table: LevelTable,
    images: Tensor,
    *,
    num_draws: int = 1,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Returns an upper bound of the bits of a VAE with a counted decoder, `[N]`: minus the evidence
    lower bound, or with several draws the importance-weighted bound, which is lower.

    Args:
        parts: see `vae_parts`.
        table: of its decoder, see `count_vae_levels`.
        images: uint8 `[N, C, H, W]`.
        num_draws: of z for each image; with 1 the KL term is computed and not drawn.
        rng: source of the draws.
    """
    num_dims = images[0].numel()

    def log_likelihood(pictures: Tensor, z: Tensor) -> Tensor:
        greys = parts.decode(z).view(-1, *pictures.shape[1:])
        return table.log_probability(greys, pictures.repeat(len(z) // len(pictures), 1, 1, 1))

    if num_draws == 1:
        nats = []
        for piece in images.split(IMAGES_PER_CALL):
            mu, logvar = parts.encode(piece)
            kl = gaussian_kl(mu, logvar).sum(1)
            nats.append(log_likelihood(piece, reparameterise(mu, logvar, rng)) - kl)
        return bits_per_dimension(torch.cat(nats), num_dims)

    def log_weights(signed: Tensor, num: int, *, rng: torch.Generator | None) -> Tensor:
        pictures = signed_to_uint8(signed)
        mu, logvar = parts.encode(pictures)
        z = reparameterise(mu.expand(num, *mu.shape), logvar, rng)  # [num, B, L]
        ratio = log_prior_ratio(z, mu, logvar)
        return log_likelihood(pictures, z.flatten(0, 1)).view(num, -1) + ratio

    signed = uint8_to_signed(images)
    bound = importance_weighted_bound(log_weights, signed, num_draws, rng=rng)
    return bits_per_dimension(bound.per_image, num_dims)


def _noised(images: Tensor, start: float, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Returns x_s and its noise for uint8 images, each `[B, C, H, W]`."""
    x = uint8_to_signed(images)
    eps = randn(tuple(x.shape), rng, x)
    return (1 - start) * x + start * eps, eps


def _times(x: Tensor, t: float) -> Tensor:
    return x.new_full((len(x),), t)


@torch.no_grad()
def count_denoised_levels(
    field: VelocityField, train: Tensor, *, start: float = START, rng: torch.Generator | None = None
) -> LevelTable:
    """Returns the table of the last step of diffusion: which levels training pixels have where the
    denoiser sees some grey in x_s.

    Args:
        field: see `velocity_field`.
        train: uint8 `[T, C, H, W]`.
        start: s, the noise of the latent variable, above 0 and below 1.
        rng: source of the noise.
    """
    require(0 < start < 1, "start", "above 0 and below 1", start)
    greys = []
    for piece in train.split(IMAGES_PER_CALL):
        xs, _ = _noised(piece, start, rng)
        greys.append(xs - start * field(xs, _times(xs, start)))
    return count_levels(torch.cat(greys), train)


@torch.no_grad()
def diffusion_bits(
    field: VelocityField,
    table: LevelTable,
    images: Tensor,
    *,
    start: float = START,
    num_times: int = NUM_TIMES,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Returns an upper bound of the bits of a diffusion model, `[N]`: its variational bound in
    continuous time,

        -log P(x) <= E[-log P(x | x_s)] + integral from s to 1 of (1 - t)/t E |v - v_hat|² dt,

    where v = eps - x is the velocity and v_hat the model's. The weight (1 - t)/t makes nats of the
    training loss; the prior costs nothing, since x_1 is pure noise.

    The integral is estimated without bias from random times, one in each of `num_times` parts that
    are equally long in log t.

    Args:
        field: see `velocity_field`.
        table: of the last step, see `count_denoised_levels`, with the same `start`.
        images: uint8 `[N, C, H, W]`.
        start: s.
        num_times: network calls for each image, besides one for the last step.
        rng: source of times and noise.

    Source: Kingma et al. 2021 (arXiv:2107.00630), eq. 17, with SNR = (1 - t)²/t².
    """
    require(num_times >= 1, "num_times", "at least 1", num_times)
    found = []
    for piece in images.split(IMAGES_PER_CALL):
        xs, _ = _noised(piece, start, rng)
        nats = -table.log_probability(xs - start * field(xs, _times(xs, start)), piece)
        x, span = uint8_to_signed(piece), -math.log(start)
        for part in range(num_times):
            u = (part + rand((len(x),), rng, x.device)) / num_times
            t = torch.exp(-span * u)
            eps = randn(tuple(x.shape), rng, x)
            share = t[:, None, None, None]
            error = eps - x - field((1 - share) * x + share * eps, t)
            # dt = t span du
            nats += (1 - t) * span / num_times * error.square().flatten(1).sum(1)
        found.append(nats)
    return bits_per_dimension(-torch.cat(found), images[0].numel())


def velocity_and_divergence(
    field: VelocityField, x: Tensor, t: Tensor, probe: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the velocity at x and an estimate of its divergence, probe^T J probe, `[B, C, H, W]`
    and float64 `[B]`: one call of the network and one of its gradient.

    Args:
        field: see `velocity_field`.
        x: `[B, C, H, W]`.
        t: equal times `[B]`.
        probe: random signs, shaped like x; the mean over them is the divergence.

    Source: Hutchinson 1990, Communications in Statistics 19(2).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        velocity = field(x, t)
        (gradient,) = torch.autograd.grad((velocity * probe).sum(), x)
    return velocity.detach(), (gradient * probe).double().flatten(1).sum(1)


def velocity_and_trace(field: VelocityField, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the velocity at x and its exact divergence, the trace of the Jacobian, shaped like x
    and float64 `[B]`: one gradient for each dimension of x, so for toys of few dimensions.

    Args:
        field: see `velocity_field`; each row's velocity depends on that row alone.
        x: `[B, ...]`.
        t: equal times `[B]`.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        velocity = field(x, t)
        flat, trace = velocity.flatten(1), torch.zeros(len(x), dtype=torch.float64)
        for i in range(flat.shape[1]):
            (gradient,) = torch.autograd.grad(flat[:, i].sum(), x, retain_graph=True)
            trace += gradient.detach().double().flatten(1)[:, i].cpu()
    return velocity.detach(), trace


def flow_log_density(
    field: VelocityField,
    x: Tensor,
    times: Tensor,
    rng: torch.Generator | None = None,
    *,
    exact_trace: bool = False,
) -> Tensor:
    """Returns log p(x) of a flow in nats, float64 `[B]`: x is taken along the flow to noise z, and

        log p(x) = log N(z; 0, I) + integral of div v dt,

    because volumes grow at the rate of the divergence. Heun's method, with one estimate of the
    divergence an evaluation.

    Args:
        field: see `velocity_field`.
        x: at the first time, `[B, C, H, W]`, or `[B, D]` for points.
        times: rising to 1, `[S + 1]`; too few steps give a number that is the density of nothing,
            and it may be too high.
        rng: source of the random signs.
        exact_trace: compute the divergence in place of the estimate, see `velocity_and_trace`.
    """
    total = torch.zeros(len(x), dtype=torch.float64)
    for here, there in itertools.pairwise(times.tolist()):
        step = there - here
        if exact_trace:
            slope = velocity_and_trace
        else:
            probe = 2.0 * (rand(tuple(x.shape), rng, x.device) < 0.5) - 1
            slope = partial(velocity_and_divergence, probe=probe)
        first, growth = slope(field, x, _times(x, here))
        second, later = slope(field, x + step * first, _times(x, there))
        x = x + 0.5 * step * (first + second)
        total += 0.5 * step * (growth + later)
    return total + _log_normal(x)


def _log_normal(z: Tensor) -> Tensor:
    """Returns log N(z; 0, I) in nats, float64 `[B]`."""
    return -0.5 * (z.double().square() + math.log(2 * math.pi)).flatten(1).sum(1)


def rising_times(start: float, num_steps: int) -> Tensor:
    """Returns times from `start` above 0 to 1 with equal ratios, float64 `[num_steps + 1]`: small
    steps near the image, where the flow bends most.
    """
    require(0 < start < 1, "start", "above 0 and below 1", start)
    require(num_steps >= 1, "num_steps", "at least 1", num_steps)
    return torch.logspace(math.log10(start), 0, num_steps + 1, dtype=torch.float64)


def flow_bits(
    field: VelocityField,
    table: LevelTable,
    images: Tensor,
    *,
    start: float = START,
    num_steps: int = FLOW_STEPS,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Returns an upper bound of the bits of a diffusion model as a flow, `[N]`:

        -log P(x) <= E[log q(x_s | x) - log p(x_s) - log P(x | x_s)],

    with p(x_s) computed along the flow and the last step as in `diffusion_bits`. The flow gives
    other probabilities than the random steps of which that is the bound, from the same network.

    Args:
        field: see `velocity_field`.
        table: see `count_denoised_levels`, with the same `start`.
        images: uint8 `[N, C, H, W]`.
        start: s.
        num_steps: of Heun's method, two calls and two gradients of the network each. It is a bound
            only as far as the steps are small enough: compare with twice as many.
        rng: source of the noise and of the random signs.

    Source: Song et al. 2021 (arXiv:2011.13456), sec. 4.3; noise in place of uniform noise: Zheng et
    al. 2023 (arXiv:2305.03935), sec. 4.
    """
    found, times = [], rising_times(start, num_steps)
    for piece in images.split(IMAGES_PER_CALL):
        xs, eps = _noised(piece, start, rng)
        log_q = _log_normal(eps) - eps[0].numel() * math.log(start)
        with torch.no_grad():
            greys = xs - start * field(xs, _times(xs, start))
        log_p = flow_log_density(field, xs, times, rng)
        found.append(table.log_probability(greys, piece) + log_p - log_q)
    return bits_per_dimension(torch.cat(found), images[0].numel())


@dataclass(frozen=True)
class BitsRow:
    """One model in the protocol.

    Attributes:
        model: its name.
        how: what was computed, in words.
        bound: whether the value is an upper bound of the model's bits; else it is exact.
        bits: bits per dimension, the mean over test images with its error bar.
        per_image: the same for each image, float64 `[N]`; all rows of a study have the same images
            in the same order.
        num_calls: of the network for each image.
        seconds: that the row took, counting of tables included.
    """

    model: str
    how: str
    bound: bool
    bits: Measurement
    per_image: Tensor = field(repr=False)
    num_calls: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Returns all fields for JSON; `bits_row` reads them again."""
        kept = ("model", "how", "bound", "num_calls", "seconds")
        return {
            **{name: getattr(self, name) for name in kept},
            "bits": self.bits.value,
            "error": self.bits.error,
            "against": self.bits.dataset,
            "per_image": [round(value, 5) for value in self.per_image.tolist()],
        }


def bits_row(values: Mapping[str, Any]) -> BitsRow:
    """Returns the row that `BitsRow.as_dict` wrote; its mean and error are those of the rounded
    values of the images.
    """
    per_image = torch.tensor(values["per_image"], dtype=torch.float64)
    bits = mean_over_images("bits per dimension", per_image, dataset=values["against"])
    kept = {name: values[name] for name in ("model", "how", "bound", "num_calls", "seconds")}
    return BitsRow(bits=bits, per_image=per_image, **kept)


def saved_bits(dataset: str) -> list[BitsRow]:
    """Returns the rows of `bits_study` that ship for a dataset, made by
    `python benchmarks/bits_per_dimension.py`.

    Raises:
        CourseError: none ship for it; `shipped_datasets("bits")` says which there are.
    """
    return [bits_row(row) for row in shipped_rows("bits", dataset)]


def bits_difference(first: BitsRow, second: BitsRow) -> Difference:
    """Returns by how many bits per dimension the first row lies above the second, image by image,
    and whether that is more than chance (`is_effect_real`). Two bounds that differ say which bound
    is lower, not by how much the models differ.

    Raises:
        CourseError: rows of different numbers of images.
    """
    if len(first.per_image) != len(second.per_image):
        raise CourseError(
            "expected two rows of the same images, got"
            f" {len(first.per_image)} and {len(second.per_image)} images."
        )
    name = f"{first.model} ({first.how}) less {second.model} ({second.how}), bits per dimension"
    return is_effect_real(mean_over_images(name, first.per_image - second.per_image))


def bits_cells(rows: Sequence[BitsRow]) -> list[dict[str, Any]]:
    """Returns the rows as texts for a table, one `{column: text}` each."""
    return [
        {
            "model": row.model,
            "computed": row.how,
            "bits per dimension": f"{'at most ' if row.bound else ''}{row.bits.number}",
            "test images": row.bits.num_images,
            "network calls": row.num_calls,
        }
        for row in rows
    ]


def bits_study(
    dataset: Dataset,
    models: Mapping[str, nn.Module],
    *,
    num_images: int = 200,
    num_draws: int = 50,
    num_times: int = NUM_TIMES,
    flow_steps: Sequence[int] = (FLOW_STEPS,),
    start: float = START,
    baselines: bool = True,
    seed: int = 0,
) -> list[BitsRow]:
    """Returns the bits of independent pixels, of the class-conditional Gaussian of notebook 01 and
    of given models, on the same random test images.

    Args:
        dataset: of the images.
        models: `{name: model}`; a model with `encode` is taken for a VAE (`vae_parts`), every other
            for a diffusion model (`velocity_field`), asked without labels.
        num_images: test images, at least 2.
        num_draws: importance samples of the second row of a VAE; 1 leaves that row out.
        num_times: of `diffusion_bits`.
        flow_steps: a row of `flow_bits` for each of them; none where it is empty.
        start: s of diffusion.
        baselines: whether independent pixels and the Gaussian are among the rows; fitting them
            takes some seconds.
        seed: of the choice of images and of all noise.

    Raises:
        CourseError: too many images, or a model that is neither.
    """
    available = len(dataset.test_images)
    require(2 <= num_images <= available, "num_images", f"2 to {available:,}", num_images)
    order = torch.randperm(available, generator=make_rng(seed))[:num_images]
    images = dataset.test_images[order]
    chosen = torch.randperm(len(dataset.train_images), generator=make_rng(seed, 1))
    train = dataset.train_images[chosen[:COUNTED_IMAGES]]
    clock, rows = _Clock(dataset.name), []
    if baselines:
        rows += _baseline_rows(clock, dataset, images, seed)
    for name, model in models.items():
        if hasattr(model, "encode"):
            rows += _vae_rows(clock, name, model, train, images, num_draws, seed)
        else:
            field = velocity_field(model)
            table = count_denoised_levels(field, train, start=start, rng=make_rng(seed, 3))
            options = {"start": start, "rng": make_rng(seed, 4)}
            bits = diffusion_bits(field, table, images, num_times=num_times, **options)
            how = f"variational bound, {num_times} times"
            rows.append(clock.row(name, how, True, bits, num_times + 1))
            for steps in flow_steps:
                bits = flow_bits(
                    field, table, images, start=start, num_steps=steps, rng=make_rng(seed, 5)
                )
                how = f"along the flow, {steps} steps"
                rows.append(clock.row(name, how, True, bits, 2 * steps + 1))
    return rows


def _baseline_rows(clock: _Clock, dataset: Dataset, images: Tensor, seed: int) -> list[BitsRow]:
    bits = independent_bits(dataset.train_images, images)
    rows = [clock.row("independent pixels", "a histogram a pixel", False, bits, 0)]
    gaussian = fit_class_gaussians(
        dataset.train_images, dataset.train_labels, dataset.num_classes
    ).cpu()
    bits = density_bits(gaussian.log_prob, images, make_rng(seed, 2))
    how = "density, uniform noise in the cell"
    return [*rows, clock.row("gaussian", how, True, bits, 0)]


class _Clock:
    """Makes rows, each with the seconds since the one before."""

    def __init__(self, dataset: str) -> None:
        self.dataset, self.last = dataset, time.perf_counter()

    def row(self, model: str, how: str, bound: bool, bits: Tensor, num_calls: int) -> BitsRow:
        now = time.perf_counter()
        seconds, self.last = now - self.last, now
        measured = mean_over_images("bits per dimension", bits, dataset=f"{self.dataset} test")
        return BitsRow(model, how, bound, measured, bits, num_calls, round(seconds, 2))


def _vae_rows(
    clock: _Clock,
    name: str,
    model: nn.Module,
    train: Tensor,
    images: Tensor,
    num_draws: int,
    seed: int,
) -> list[BitsRow]:
    parts = vae_parts(model)
    table = count_vae_levels(parts, train, make_rng(seed, 3))
    rows = []
    for num in dict.fromkeys((1, num_draws)):
        bits = vae_bits(parts, table, images, num_draws=num, rng=make_rng(seed, 4))
        how = "evidence lower bound" if num == 1 else f"importance-weighted bound, {num} draws"
        rows.append(clock.row(name, how, True, bits, num + 1))
    return rows


def gaussian_decoder_bits(
    model: Diffusion,
    images: Tensor,
    *,
    num_steps: int = 1000,
    num_times: int = NUM_TIMES,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Returns the bound of Ho et al. in the same units, `[N]`: random steps with fixed variances
    down to the image, and a Gaussian in place of the counted table.

    It takes the steps down to t = 1 / num_steps. With many of them the last ones have less noise
    than the network was trained on, and the bound gets worse, not better.

    Args:
        model: without labels.
        images: uint8 `[N, C, H, W]`.
        num_steps: K.
        num_times: steps that are looked at for each image.
        rng: source of noise and steps.
    """
    nothing = torch.full((len(images),), model.config.null_label)
    denoise = model.denoiser(nothing, guidance_scale=1.0, clamp=True)
    bound = variational_bound(
        denoise,
        model.schedule,
        uint8_to_signed(images),
        num_steps=num_steps,
        num_times=num_times,
        rng=rng,
    )
    return bound.bits_per_dimension
