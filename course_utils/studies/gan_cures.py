"""What three habits of GAN training are worth, measured over seeds: `detach`, a moving average of
the weights, and spectral normalisation in a recipe in which it works.

The rows were trained on strokes and ship in `tables/`. On other images the same rows are shown and
the printed line says so, since a notebook has no time for trainings of minutes; `retrain=True`
trains on the images at hand.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.base.config import override, require
from course_utils.base.device import budget, make_rng, randn
from course_utils.base.files import read_jsonl, runs_root
from course_utils.base.images import uint8_to_signed
from course_utils.data.dataset import Dataset
from course_utils.metrics.classes import class_coverage, class_kl
from course_utils.metrics.features import class_probabilities
from course_utils.metrics.measurement import (
    Difference,
    is_difference_real,
    is_effect_real,
    mean_over_seeds,
)
from course_utils.models.base import Model
from course_utils.models.dcgan import DCGAN, discriminator_loss, generator_loss
from course_utils.studies.collapse import (
    CURED_FROM,
    NUM_COLLAPSE_SEEDS,
    NUM_DRAWN,
    SEEDS_NOW,
    StudyTraining,
    collapse_trainings,
    dataset_identity,
    frames_as_png,
    origin_of,
    train_missing,
)
from course_utils.studies.compare import TABLES
from course_utils.studies.draw import label_frequencies, sample_in_batches
from course_utils.studies.evaluate import evaluate_images, find_extractor
from course_utils.training.fit import fit
from course_utils.training.history import History
from course_utils.training.presets import Experiment, preset, smoke_version
from course_utils.training.registry import build
from course_utils.training.runs import affordable, pretrained

SAVED_ON = "strokes"  # what the rows that ship were trained on
TITLES = {
    "detach": "forgotten detach",
    "average": "moving average of the weights",
    "spectral": "spectral normalisation",
}
SMOKE_STEPS, SMOKE_DRAWN = 4, 200
NO_ROWS = "nothing was measured, so there is nothing to say"

# ------------------------------------------------------------------ saved or trained


def _rows(
    what: str, dataset: Dataset, trainings: Callable[[Dataset], list[StudyTraining]], retrain: bool
) -> list[dict[str, Any]]:
    """Returns the rows of the trainings: saved ones of this dataset, else those of the strokes, or
    new ones where they are asked for; says which. So images that could not be trained on may still
    be shown the strokes' rows.
    """
    if retrain:
        return _train_now(what, dataset, trainings(dataset))
    own = _saved(what, dataset.name)
    wanted = trainings(dataset) if own else []
    fitting = [row for one in wanted for row in own if one.fits(row)]
    complete = bool(own) and len(fitting) == len(wanted)
    rows = fitting if complete else _saved(what, SAVED_ON)
    if not rows:
        print(f"{TITLES[what]}: there are no saved rows; retrain=True trains now.")
        return []
    whose = dataset.name if complete else f"{SAVED_ON}, since none fit {dataset.name}"
    print(f"{TITLES[what]}: {len(rows)} saved trainings on {whose}; {origin_of(rows)};")
    print(f"  made by `python benchmarks/gan_cures.py {what}`, not trained now")
    return rows


def _saved(what: str, name: str) -> list[dict[str, Any]]:
    path = TABLES / f"gan_{what}-{name}.jsonl"
    return read_jsonl(path) if path.exists() else []


def _train_now(what: str, dataset: Dataset, wanted: list[StudyTraining]) -> list[dict[str, Any]]:
    """Returns the rows of all trainings, cut short where the budget is, kept in the runs folder."""
    short = budget() == "smoke"
    if short:
        seeds = SEEDS_NOW["smoke"]
        wanted = [_cut_short(one) for one in wanted if one.experiment.seed < seeds]
    name = f"{what}-{dataset.key.replace(':', '-')}-{dataset.sha256[:10]}"
    path = runs_root() / "gan_cures" / f"{name}-{'smoke' if short else 'full'}.jsonl"
    few = ", a few steps each" if short else ""
    print(
        f"{TITLES[what]}: {len(wanted)} trainings{few}, kept in {path.name} for the next call",
        flush=True,
    )
    return train_missing(wanted, path)


def _cut_short(training: StudyTraining) -> StudyTraining:
    """Returns the same training with a few steps, of which fewer images are drawn."""
    identity = {**training.identity, "num_drawn": min(SMOKE_DRAWN, training.identity["num_drawn"])}
    if "num_steps" in identity:
        identity["num_steps"] = SMOKE_STEPS
    return replace(training, experiment=smoke_version(training.experiment), identity=identity)


# ------------------------------------------------------------------ detach forgotten

# name: what the discriminator's update does with the generated images
DETACH_ARMS = {
    "detached": "detach() before the discriminator sees them",
    "forgotten, gradients cleared": "no detach(), both gradients cleared before each loss",
    "forgotten, gradients kept": "no detach(), the generator keeps what that loss left behind",
}
DETACHED, CLEARED, KEPT = DETACH_ARMS
NUM_DETACH_SEEDS = 3
DETACH_STEPS, BATCH = 300, 64


def forgotten_detach(dataset: Dataset, *, retrain: bool = False) -> list[dict[str, Any]]:
    """Returns what it costs to let the discriminator's loss run back into the generator, one row
    for each seed, and prints where the rows come from.

    Each row is of three small DCGANs with the same first weights, noise and images, updated in
    turn, so that their times compare. They differ in what `DETACH_ARMS` says.

    A row holds `seed`; `ms`, processor time of one step of both networks, median over steps,
    `{arm: ms}`; `leak`, `{arm: norm}` of the gradient that the discriminator's loss leaves in the
    generator, as a multiple of that of the generator's own loss, median over steps;
    `weights_apart`, `{arm: d}`, the largest difference of a weight from the arm "detached" at the
    end;
    `classes_covered` and `class_kl` (nats) of `num_drawn` images, `{arm: value}`; `num_steps`,
    `seconds`, `machine`, `measured`, `settings`.

    Args:
        dataset: what to train on, and whose saved rows are wanted.
        retrain: train now: 3 seeds, of 300 steps each.

    Raises:
        CourseError: images that a DCGAN cannot draw, or that have no classes.
    """
    return _rows("detach", dataset, detach_trainings, retrain)


def detach_trainings(dataset: Dataset, seeds: int = NUM_DETACH_SEEDS) -> list[StudyTraining]:
    """Returns the trainings behind `forgotten_detach`, one for each seed.

    Args:
        dataset: what to train on.
        seeds: at least 1.

    Raises:
        CourseError: no seeds.
    """
    require(seeds >= 1, "seeds", "at least 1", seeds)
    changed = override(preset("dcgan-broken", "laptop"), {"train.adam_betas": (0.5, 0.99)})
    experiment = affordable(changed, dataset).fitted_to(dataset)
    identity = {**dataset_identity(dataset), "num_steps": DETACH_STEPS}
    return [
        StudyTraining(
            "detach", replace(experiment, seed=seed), identity, partial(_detach_row, dataset)
        )
        for seed in range(seeds)
    ]


def _detach_row(
    dataset: Dataset, experiment: Experiment, identity: Mapping[str, Any]
) -> dict[str, Any]:
    start = time.perf_counter()
    runs = {arm: _Arm(arm, experiment) for arm in DETACH_ARMS}
    rng = make_rng(experiment.seed, 0)
    few = dataset.subset(num_train=min(len(dataset.train_images), 16_000)).train_images
    for _ in range(identity["num_steps"]):
        real = uint8_to_signed(few[torch.randint(len(few), (BATCH,), generator=rng)])
        z = randn((2, BATCH, experiment.model.latent_dim), rng, real)
        for one in runs.values():
            one.step(real, z)
    judge = pretrained("classifier", dataset)
    drawn = {arm: _classes(one.model, dataset, judge.model, identity) for arm, one in runs.items()}
    return {
        "ms": {arm: 1000 * statistics.median(one.seconds) for arm, one in runs.items()},
        "leak": {arm: statistics.median(one.leaks) for arm, one in runs.items()},
        "weights_apart": {arm: one.apart_from(runs[DETACHED]) for arm, one in runs.items()},
        "classes_covered": {arm: covered for arm, (covered, _) in drawn.items()},
        "class_kl": {arm: kl for arm, (_, kl) in drawn.items()},
        "seconds": round(time.perf_counter() - start, 2),
        "judge": judge.record.get("weights_sha256"),
    }


class _Arm:
    """One of the three GANs that `_detach_row` trains beside each other."""

    def __init__(self, arm: str, experiment: Experiment) -> None:
        self.arm, self.loss = arm, experiment.model.loss
        self.model = build(experiment.model, experiment.seed)
        assert isinstance(self.model, DCGAN)
        self.generator, self.discriminator = self.model.generator, self.model.discriminator
        self.optimizers = [
            torch.optim.Adam(
                part.parameters(),
                lr=experiment.train.learning_rate,
                betas=experiment.train.adam_betas,
            )
            for part in (self.discriminator, self.generator)
        ]
        self.seconds: list[float] = []
        self.leaks: list[float] = []

    def step(self, real: Tensor, z: Tensor) -> None:
        """Updates the discriminator, then the generator, as a learner would write it."""
        start = time.process_time()
        d_optimizer, g_optimizer = self.optimizers
        fakes = self.generator(z[0])
        if self.arm == DETACHED:
            fakes = fakes.detach()
        d_loss = discriminator_loss(self.loss, self.discriminator(real), self.discriminator(fakes))
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        d_loss.mean().backward()
        d_optimizer.step()
        before = time.process_time() - start
        left = _gradient_norm(self.generator)  # what is measured is not timed
        kept = [weight.grad for weight in self.generator.parameters()]
        start = time.process_time()
        g_loss = generator_loss(self.loss, self.discriminator(self.generator(z[1])))
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        g_loss.mean().backward()
        middle = time.process_time() - start
        self.leaks.append(left / _gradient_norm(self.generator))
        if self.arm == KEPT:
            for weight, gradient in zip(self.generator.parameters(), kept):
                assert weight.grad is not None and gradient is not None
                weight.grad += gradient
        start = time.process_time()
        g_optimizer.step()
        self.seconds.append(before + middle + time.process_time() - start)

    def apart_from(self, other: _Arm) -> float:
        """Returns the largest difference of two weights at the same place."""
        pairs = zip(self.model.parameters(), other.model.parameters())
        return max((mine - theirs).abs().max().item() for mine, theirs in pairs)


def _classes(
    model: Model, dataset: Dataset, judge: Model, identity: Mapping[str, Any]
) -> tuple[int, float]:
    """Returns how many classes the images of a generator hit, and their class KL in nats."""
    images = sample_in_batches(model.eval(), identity["num_drawn"], rng=make_rng(0, 3))
    probabilities = class_probabilities(judge, images)
    frequencies = label_frequencies(dataset.train_labels, dataset.num_classes)
    hit = round(class_coverage(probabilities).value * dataset.num_classes)
    return hit, class_kl(probabilities, frequencies).value


def _gradient_norm(network: nn.Module) -> float:
    squares = [
        weight.grad.square().sum().item()
        for weight in network.parameters()
        if weight.grad is not None
    ]
    return math.sqrt(sum(squares))


def detach_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns what the rows of `forgotten_detach` say, in four sentences with their numbers.

    Raises:
        CourseError: rows of fewer than 2 seeds.
    """
    if not rows:
        return NO_ROWS
    extra = [row["ms"][CLEARED] / row["ms"][DETACHED] - 1 for row in rows]
    cost = mean_over_seeds("time", extra, BATCH)
    ms = statistics.mean(row["ms"][DETACHED] for row in rows)
    leak = statistics.mean(row["leak"][CLEARED] for row in rows)
    apart = max(row["weights_apart"][CLEARED] for row in rows)
    same = "the weights stay equal to the last bit" if apart == 0 else f"weights differ by {apart}"
    effect = detach_effect(rows)
    verdict = f"{effect.num_errors:.1f} standard errors, limit {effect.limit:.2f}"
    return (
        f"With detach a step takes {ms:.1f} ms, without it {100 * cost.value:.0f} ± "
        f"{100 * cost.error:.0f} % more ({len(rows)} seeds).\n"
        "Without it the discriminator's loss leaves a gradient in the generator,"
        f" {leak:.2f} times as long as that of the generator's own loss.\n"
        f"Cleared before the generator's update, it does no harm: {same}.\n"
        f"Kept, it changes the class KL by {effect.difference:+.2f} ± {effect.error:.2f} nats"
        f" ({verdict}): {'a real change' if effect else 'no change that these seeds can show'}."
    )


def detach_effect(rows: Sequence[Mapping[str, Any]]) -> Difference:
    """Returns the class KL (nats) of the generator that keeps the gradients of the discriminator's
    loss less that of the detached one, judged by the pairs of each seed.

    Raises:
        CourseError: rows of fewer than 2 seeds.
    """
    apart = [row["class_kl"][KEPT] - row["class_kl"][DETACHED] for row in rows]
    return is_effect_real(mean_over_seeds("class KL, kept less detached", apart, NUM_DRAWN))


# ------------------------------------------------------------------ moving average

NUM_EMA_SEEDS = 3
NUM_HELD_OUT = 5000
EMA_IMAGES = 10  # pictures of a row


def ema_effect(dataset: Dataset, *, retrain: bool = False) -> list[dict[str, Any]]:
    """Returns how good the averaged and the last weights of the course's DCGAN are, one row for
    each seed, and prints where the rows come from. Both are of the same training.

    A row holds `seed`; `fid`, `{"average": value, "last": value, "real": value}`, and `fid_error`,
    the same with one standard error each, of `num_drawn` images against as many training images
    that were held out ("real": other training images against these); `agreement`, the share of
    images of the class that was asked for, `{"average": ..., "last": ...}`, where a classifier can
    tell; `ema_decay`,
    `num_train_images`, `seconds`, `machine`, `measured`, `settings`; with seed 0 the pictures for
    `ema_pictures`.

    Args:
        dataset: what to train on, and whose saved rows are wanted.
        retrain: train now, 3 seeds of about 2.5 minutes each.

    Raises:
        CourseError: images that a DCGAN cannot draw, or fewer than 100 training images.
    """
    return _rows("average", dataset, ema_trainings, retrain)


def ema_trainings(dataset: Dataset, seeds: int = NUM_EMA_SEEDS) -> list[StudyTraining]:
    """Returns the trainings behind `ema_effect`, one for each seed.

    Args:
        dataset: what to train on; a random tenth of the training images, at most 5,000, is held
            out.
        seeds: at least 1.

    Raises:
        CourseError: no seeds, or fewer than 100 training images.
    """
    require(seeds >= 1, "seeds", "at least 1", seeds)
    num_images = len(dataset.train_images)
    require(num_images >= 100, "training images", "at least 100", num_images)
    num_held_out = min(NUM_HELD_OUT, num_images // 10)
    experiment = affordable(preset("dcgan", "laptop"), dataset).fitted_to(dataset)
    identity = {
        **dataset_identity(dataset),
        "num_train_images": num_images - num_held_out,
        "num_drawn": num_held_out,
    }
    return [
        StudyTraining(
            "average", replace(experiment, seed=seed), identity, partial(_ema_row, dataset)
        )
        for seed in range(seeds)
    ]


def _held_out(dataset: Dataset, num: int) -> Dataset:
    """Returns the dataset with `num` of its training images, drawn at random, as its test
    images.
    """
    order = torch.randperm(len(dataset.train_images), generator=make_rng(0, 7))
    held, kept = order[:num], order[num:]
    return replace(
        dataset,
        train_images=dataset.train_images[kept],
        train_labels=dataset.train_labels[kept],
        test_images=dataset.train_images[held],
        test_labels=dataset.train_labels[held],
        train_factors={},
        test_factors={},
    )


def _ema_row(
    dataset: Dataset, experiment: Experiment, identity: Mapping[str, Any]
) -> dict[str, Any]:
    num = identity["num_drawn"]
    split = _held_out(dataset, num)
    model = build(experiment.model, experiment.seed)
    last: dict[str, Tensor] = {}

    def keep_last(averaged: Model, history: History) -> None:
        # `fit` trains `model` itself and puts the average into it only at its end
        last.update({name: value.clone() for name, value in model.state_dict().items()})

    history = fit(model, split, experiment.train, seed=experiment.seed, on_epoch=keep_last)
    if history.num_epochs < experiment.train.num_epochs:
        raise KeyboardInterrupt
    features = find_extractor(None, dataset)
    fids, errors, agreement, pictures = {}, {}, {}, []
    for name in ("average", "last"):
        if name == "last":
            model.load_state_dict(last)
        model.eval()
        labels = torch.arange(num) % dataset.num_classes if model.takes_labels else None
        images = sample_in_batches(model, num, rng=make_rng(0, 3), labels=labels)
        told = labels is not None and features.classifier is not None
        chosen = ("fid", "classes") if told else ("fid",)
        measured = evaluate_images(images, split, metrics=chosen, features=features, labels=labels)
        rows = {row.measured.name: row for row in measured.rows}
        fids[name], errors[name] = rows["FID"].measured.value, rows["FID"].measured.error
        if told:
            agreement[name] = rows["class agreement"].measured.value
        floor = rows["FID"].floor
        assert floor is not None
        fids["real"], errors["real"] = floor.value, floor.error
        pictures.append(images[:EMA_IMAGES])
    row = {
        "fid": fids,
        "fid_error": errors,
        "agreement": agreement,
        "ema_decay": experiment.train.ema_decay,
        "seconds": round(history.seconds, 2),
        "judge": features.extractor.name,
    }
    return row | ({"film": frames_as_png(pictures)} if experiment.seed == 0 else {})


def average_verdict(rows: Sequence[Mapping[str, Any]]) -> Difference:
    """Returns the FID of the averaged weights less that of the last ones, mean over seeds, judged
    by the differences within each training; `real` says whether chance is ruled out.

    Raises:
        CourseError: rows of fewer than 2 seeds.
    """
    apart = [row["fid"]["average"] - row["fid"]["last"] for row in rows]
    return is_effect_real(
        mean_over_seeds("FID, average less last weights", apart, rows[0]["num_drawn"])
    )


def average_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns what the rows of `ema_effect` say, in three sentences with their numbers.

    Raises:
        CourseError: rows of fewer than 2 seeds.
    """
    if not rows:
        return NO_ROWS
    num = rows[0]["num_drawn"]
    means = {
        name: mean_over_seeds("FID", [row["fid"][name] for row in rows], num)
        for name in ("average", "last", "real")
    }
    verdict = average_verdict(rows)
    words = "no effect that these seeds can show"
    if verdict:
        words = "the average is better" if verdict.difference < 0 else "the average is worse"
    return (
        f"FID of {num:,} images against {num:,} held-out training images, {len(rows)} seeds:"
        f" averaged weights {means['average'].number}, last weights {means['last'].number}.\n"
        f"Real images against the same reference: {means['real'].value:.2f}.\n"
        f"Average less last: {verdict.difference:+.2f} ± {verdict.error:.2f}"
        f" ({verdict.num_errors:.1f} standard errors, limit {verdict.limit:.2f}): {words}."
    )


# ------------------------------------------------------------------ spectral normalisation

# Hinge loss and an Adam without momentum, as in Miyato et al. 2018 (arXiv:1802.05957), sec. 4, with
# the widths, images and steps of the broken DCGAN. That paper finds spectral norm robust to large
# learning rates, so there are two: that of the broken DCGAN, and four times as much.
_RECIPE: dict[str, Any] = {"model.loss": "hinge", "train.adam_betas": (0.0, 0.9)}
_LARGE: dict[str, Any] = {**_RECIPE, "train.learning_rate": 2e-2}
_NORM: dict[str, Any] = {"model.discriminator_norm": "spectral"}
# name: what it changes in the preset "dcgan-broken"
SPECTRAL_SETTINGS: dict[str, dict[str, Any]] = {
    "no norm, learning rate 0.005": _RECIPE,
    "spectral norm, learning rate 0.005": {**_RECIPE, **_NORM},
    "no norm, learning rate 0.02": _LARGE,
    "spectral norm, learning rate 0.02": {**_LARGE, **_NORM},
}
NO_NORM, SPECTRAL, NO_NORM_LARGE, SPECTRAL_LARGE = SPECTRAL_SETTINGS
# what is compared: learning rate, without, with
_PAIRS = (("0.005", NO_NORM, SPECTRAL), ("0.02", NO_NORM_LARGE, SPECTRAL_LARGE))


def spectral_norm_works(dataset: Dataset, *, retrain: bool = False) -> list[dict[str, Any]]:
    """Returns the trainings of one recipe without and with spectral normalisation, at two learning
    rates, 5 seeds each, and prints where the rows come from. None of them has a penalty.

    The rows are those of `collapse_study`, with the names of `SPECTRAL_SETTINGS`; those of seed 0
    hold a film for `collapse_film`.

    Args:
        dataset: what to train on, and whose saved rows are wanted.
        retrain: train now, 20 times about half a minute.

    Raises:
        CourseError: images that a DCGAN cannot draw.
    """
    return _rows("spectral", dataset, spectral_trainings, retrain)


def spectral_trainings(dataset: Dataset, seeds: int = NUM_COLLAPSE_SEEDS) -> list[StudyTraining]:
    """Returns the trainings behind `spectral_norm_works`, five seeds of each setting.

    Args:
        dataset: what to train on.
        seeds: at least 1.

    Raises:
        CourseError: no seeds.
    """
    return collapse_trainings(dataset, None, seeds, SPECTRAL_SETTINGS)


def spectral_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns what the rows of `spectral_norm_works` say: classes by seed, then the verdict.

    Raises:
        CourseError: rows of fewer than 2 seeds of a setting.
    """
    if not rows:
        return NO_ROWS
    lines, means = [], {}
    for name in SPECTRAL_SETTINGS:
        some = [row for row in rows if row["name"] == name]
        hit, num_classes = [row["classes_covered"] for row in some], rows[0]["num_classes"]
        cured = sum(one >= CURED_FROM * num_classes for one in hit)
        values = [row["class_kl"] for row in some]
        means[name] = mean_over_seeds("class KL", values, rows[0]["num_drawn"])
        lines.append(
            f"{name:34} classes hit, by seed: {', '.join(map(str, hit))} of {num_classes};"
            f" {cured} of {len(hit)} healthy; class KL {means[name].number} nats"
        )
    for rate, without, within in _PAIRS:
        effect = is_difference_real(means[within], means[without])
        words = "no effect that these seeds can show"
        if effect:
            words = "less collapse" if effect.difference < 0 else "more collapse"
        lines.append(
            f"At a learning rate of {rate}, spectral norm changes the class KL by"
            f" {effect.difference:+.2f} ± {effect.error:.2f} nats ({effect.num_errors:.1f} standard"
            f" errors, limit {effect.limit:.2f}): {words}."
        )
    return "\n".join(lines)
