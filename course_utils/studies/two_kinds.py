"""Generative and discriminative models beside each other, notebook 01: small grey images, strange
images, few labels, and four divergences on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.base.device import budget, make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import LUMA, check_uint8
from course_utils.data.augment import Augmentation
from course_utils.data.dataset import Dataset
from course_utils.metrics.measurement import Measurement, seed_error, with_error
from course_utils.models.classifier import Classifier
from course_utils.training.fit import fit
from course_utils.training.presets import preset
from course_utils.training.registry import build

LARGEST_SIDE = 28  # pixels: a covariance of 784 pixels has 614,656 entries

# uint8 images [N, C, H, W] -> classes int64 [N]
Guess = Callable[[Tensor], Tensor]


# ------------------------------------------------------------------ images


def small_grey(dataset: Dataset, side: int = LARGEST_SIDE) -> Dataset:
    """Returns the dataset with one channel and at most `side` by `side` pixels, so that a
    covariance of all pixels fits into memory; one that is so already comes back itself.

    Colours become the brightness of ITU-R BT.601; larger images are averaged over areas.
    """
    channels, height, _ = dataset.image_shape
    if channels == 1 and height <= side:
        return dataset
    return replace(
        dataset,
        train_images=_shrunk(dataset.train_images, min(side, height)),
        test_images=_shrunk(dataset.test_images, min(side, height)),
    )


def _shrunk(images: Tensor, side: int) -> Tensor:
    # in pieces: as floats, large pictures would take four times their memory
    pieces = [
        torch.nn.functional.adaptive_avg_pool2d(_grey(piece), side) for piece in images.split(1000)
    ]
    return torch.cat([piece.round().clamp(0, 255).to(torch.uint8) for piece in pieces])


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images.float()
    return torch.einsum("nchw,c->nhw", images.float(), torch.tensor(LUMA))[:, None]


def ink_of_two_classes(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Returns the mean brightness from 0 to 1 of the training images of the first two classes, and
    their labels, 0 or 1, `[N]` each. Where there is one class, its darker and its brighter half
    stand for two.
    """
    chosen = dataset.train_labels < 2
    ink = dataset.train_images[chosen].float().mean((1, 2, 3)) / 255
    if dataset.num_classes > 1:
        return ink, dataset.train_labels[chosen]
    return ink, (ink.argsort().argsort() >= len(ink) // 2).long()


def strange_images(images: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Returns five kinds of images that belong to no class, each as many as were given and uint8 of
    the same shape: noise, and inverted images, images with their pixels in another order (the same
    for all), white discs and boxes, and images turned by 90 degrees.

    Args:
        images: uint8 `[N, C, H, H]`.
        seed: of the noise, the order and the shapes.
    """
    check_uint8(images)
    rng = make_rng(seed, 11)
    order = torch.randperm(images[0].numel(), generator=rng)
    return {
        "noise": torch.randint(0, 256, images.shape, generator=rng, dtype=torch.uint8),
        "inverted": 255 - images,
        "pixels shuffled": images.flatten(1)[:, order].view_as(images),
        "white shapes": _white_shapes(images, rng),
        "turned by 90°": images.rot90(1, (2, 3)),
    }


def _white_shapes(like: Tensor, rng: torch.Generator) -> Tensor:
    num, size = len(like), like.shape[2]
    scale = size / 28
    places = torch.arange(float(size))
    y, x = torch.meshgrid(places, places, indexing="ij")
    centre = scale * (9 + 10 * torch.rand(num, 2, 1, 1, generator=rng))
    radius = scale * (3 + 4 * torch.rand(num, 1, 1, generator=rng))
    dx, dy = (x - centre[:, 0]).abs(), (y - centre[:, 1]).abs()
    is_disc = torch.rand(num, 1, 1, generator=rng) < 0.5
    distance = torch.where(is_disc, (dx**2 + dy**2).sqrt(), torch.maximum(dx, dy))
    shapes = 255 * (radius + 0.5 - distance).clamp(0, 1)
    return shapes.to(torch.uint8)[:, None].expand_as(like).clone()


# ------------------------------------------------------------------ classifiers


def accuracy(log_probabilities: Tensor, labels: Tensor) -> Measurement:
    """Returns the share of images whose most probable class is the right one.

    Args:
        log_probabilities: log p(label | image), `[N, K]`, or anything with the same order.
        labels: int64 `[N]`.
    """
    return _mean_of("accuracy", (log_probabilities.cpu().argmax(1) == labels.cpu()).double())


def label_scores(log_probabilities: Tensor, labels: Tensor) -> dict[str, str]:
    """Returns a row of a table: accuracy, cross-entropy in nats, and the mean probability of the
    most probable class, each with its standard error.

    Args:
        log_probabilities: log p(label | image), `[N, K]`.
        labels: int64 `[N]`.
    """
    log_p, labels = log_probabilities.detach().cpu().double(), labels.cpu()
    of_label = -log_p.gather(1, labels[:, None])[:, 0]
    return {
        "accuracy": accuracy(log_p, labels).number,
        "cross-entropy (nats)": _mean_of("cross-entropy", of_label).number,
        "mean confidence": _mean_of("confidence", log_p.amax(1).exp()).number,
    }


def _mean_of(name: str, values: Tensor) -> Measurement:
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Measurement(name, values.mean().item(), error, len(values))


# ------------------------------------------------------------------ few labels


def few_labelled(dataset: Dataset, num_per_class: int, seed: int) -> Dataset:
    """Returns the dataset with at most `num_per_class` random training images of each class."""
    require(num_per_class >= 1, "num_per_class", "at least 1", num_per_class)
    order = torch.randperm(len(dataset.train_labels), generator=make_rng(seed))
    own = [order[dataset.train_labels[order] == k] for k in range(dataset.num_classes)]
    chosen = torch.cat([indices[:num_per_class] for indices in own])
    images, labels = dataset.train_images[chosen], dataset.train_labels[chosen]
    return replace(
        dataset, train_images=images, train_labels=labels, train_factors={}, test_factors={}
    )


def brief_cnn(
    dataset: Dataset, seed: int, augmentation: Augmentation, *, num_steps: int | None = None
) -> Guess:
    """Returns the guesses of the course's CNN after `num_steps` steps of 64 images; a small dataset
    is passed over again and again.

    Args:
        augmentation: "affine" shifts, turns and scales the training images at random, "none" leaves
            them as they are.
        num_steps: None means 60, or 15 with the budget `smoke`.
    """
    if num_steps is None:
        num_steps = 15 if budget() == "smoke" else 60
    experiment = preset("classifier", "laptop").fitted_to(dataset)
    times = -(-64 * num_steps // len(dataset.train_images))
    many = replace(
        dataset,
        train_images=dataset.train_images.repeat(times, 1, 1, 1)[: 64 * num_steps],
        train_labels=dataset.train_labels.repeat(times)[: 64 * num_steps],
    )
    config = replace(
        experiment.train,
        batch_size=64,
        num_epochs=1,
        min_epoch_steps=None,
        num_validation_images=0,
        ema_decay=None,
        augmentation=augmentation,
    )
    model = cast(Classifier, build(experiment.model, seed))
    fit(model, many, config, seed=seed)
    model.eval()

    def guess(images: Tensor) -> Tensor:
        signed = images.to(torch.float32) / 127.5 - 1
        return model.probabilities(signed.to(model.device)).argmax(1).cpu()

    return guess


def few_label_accuracies(
    trainers: Mapping[str, Callable[[Dataset, int], Guess]],
    dataset: Dataset,
    sizes: Sequence[int],
    num_seeds: int,
) -> dict[str, list[Measurement]]:
    """Returns for each trainer one accuracy a size: its mean over seeds, each with other training
    images, on all test images of the dataset.

    Args:
        trainers: `{name: (small dataset, seed) -> guess}`, where `guess` takes uint8 images.
        sizes: training images of each class.
        num_seeds: at least 1; with 1 there is no error bar.
    """
    require(num_seeds >= 1, "num_seeds", "at least 1", num_seeds)
    found: dict[str, list[Measurement]] = {name: [] for name in trainers}
    for size in sizes:
        smalls = [few_labelled(dataset, size, seed) for seed in range(num_seeds)]
        for name, train in trainers.items():
            shares = []
            for seed, small in enumerate(smalls):
                guessed = train(small, seed)(dataset.test_images)
                shares.append((guessed == dataset.test_labels).double().mean().item())
            found[name].append(_over_seeds(shares, len(dataset.test_labels)))
    return found


def _over_seeds(values: Sequence[float], num_images: int) -> Measurement:
    if len(values) == 1:
        return Measurement("accuracy", values[0], math.nan, num_images)
    mean, error = seed_error(values)
    return Measurement("accuracy", mean, error, num_images, num_seeds=len(values))


NUM_FEATURES, CORRELATION, SEPARATION = 30, 0.05, 1.5
SMALLEST_PENALTY = 1e-3  # keeps the weights finite where the training images can be separated


def naive_bayes_crossing(
    sizes: Sequence[int], num_seeds: int = 20
) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns test errors of naive Bayes and of logistic regression by the number of training
    points, `{name: (mean over seeds [S], standard error [S])}`.

    Both draw a linear border between two classes. Their 30 features are Gaussian with a correlation
    of 0.05, which naive Bayes takes for 0: it is a little wrong, and has little to learn. Logistic
    regression is fitted to the end by Newton's method.

    Args:
        sizes: numbers of training points, even and at least 4.
        num_seeds: at least 2.

    Source: Ng & Jordan 2002, NeurIPS 14, "On discriminative vs. generative classifiers".
    """
    rng = make_rng(0, 12)
    shift = torch.rand(NUM_FEATURES, generator=rng, dtype=torch.float64)
    shift *= SEPARATION / shift.norm()
    test = _two_gaussians(5000, shift, rng)
    errors: dict[str, list] = {"naive Bayes (generative)": [], "logistic regression": []}
    for size in sizes:
        require(size >= 4 and size % 2 == 0, "sizes", "even numbers from 4", size)
        sets = [_two_gaussians(size, shift, rng) for _ in range(num_seeds)]
        for name, train in zip(errors, (_naive_bayes, _logistic_regression)):
            errors[name].append(seed_error([_error_of(*train(*one), *test) for one in sets]))
    return {
        name: (torch.tensor([v.mean for v in rows]), torch.tensor([v.error for v in rows]))
        for name, rows in errors.items()
    }


def _two_gaussians(num: int, shift: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns points `[num, D]` of two classes in turn, and their classes 0 and 1."""
    labels = torch.arange(num) % 2
    own, shared = (
        torch.randn(num, width, generator=rng, dtype=torch.float64) for width in (len(shift), 1)
    )
    noise = math.sqrt(1 - CORRELATION) * own + math.sqrt(CORRELATION) * shared
    return noise + (2 * labels[:, None] - 1) * shift, labels


def _naive_bayes(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns slope `[D]` and intercept of the log-odds under one variance a feature."""
    low, high = points[labels == 0].mean(0), points[labels == 1].mean(0)
    centred = points - torch.where(labels[:, None] == 1, high, low)
    slope = (high - low) / centred.square().mean(0)
    return slope, -slope @ (high + low) / 2


def _logistic_regression(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns slope `[D]` and intercept of the log-odds, by Newton's method."""
    inputs = torch.cat([points, torch.ones_like(points[:, :1])], 1)
    penalty = SMALLEST_PENALTY * torch.eye(inputs.shape[1], dtype=inputs.dtype)
    weight = torch.zeros_like(inputs[0])
    for _ in range(15):
        p = torch.sigmoid(inputs @ weight)
        gradient = inputs.T @ (p - labels) + penalty @ weight
        curvature = inputs.T @ ((p * (1 - p))[:, None] * inputs) + penalty
        weight = weight - torch.linalg.solve(curvature, gradient)
    return weight[:-1], weight[-1]


def _error_of(slope: Tensor, intercept: Tensor, points: Tensor, labels: Tensor) -> float:
    return ((points @ slope + intercept > 0).long() != labels).double().mean().item()


# ------------------------------------------------------------------ divergences


def divergences(log_p: Tensor, log_q: Tensor, dx: float) -> dict[str, Tensor]:
    """Returns four divergences between densities on a grid, each over the last axis: both
    directions of KL and Jensen-Shannon in nats, Wasserstein-1 in units of x.

    All of it is done with logs, because densities far from the peak underflow.

    Args:
        log_p, log_q: log-densities `[..., N]` at equally spaced x.
        dx: the space between two of them.
    """
    if log_p.shape[-1] != log_q.shape[-1]:
        raise CourseError(
            f"expected two densities on one grid, got {log_p.shape[-1]} and {log_q.shape[-1]}"
            " points; compute both on the same x."
        )
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)  # of the average of both

    def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
        return (log_a.exp() * (log_a - log_b)).sum(-1) * dx

    between = (log_p.exp() - log_q.exp()).cumsum(-1) * dx  # of the distribution functions
    return {
        "KL(p || q)": kl(log_p, log_q),
        "KL(q || p)": kl(log_q, log_p),
        "Jensen-Shannon": (kl(log_p, log_m) + kl(log_q, log_m)) / 2,
        "Wasserstein": between.abs().sum(-1) * dx,
    }


def facts_of_images(facts: Mapping[str, Tensor]) -> dict[str, str]:
    """Returns the mean of each fact with its standard error, for a row of a table.

    Args:
        facts: `{name: one number or truth value an image [N]}`.
    """
    means = {name: _mean_of(name, values.double()) for name, values in facts.items()}
    return {name: with_error(mean.value, mean.error) for name, mean in means.items()}
