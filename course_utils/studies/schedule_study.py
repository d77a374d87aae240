"""Two questions about diffusion, measured: what the noise schedule changes when everything else is
equal, and what the moving average of the weights does.

Every training is a small version of the course's diffusion preset. Its network predicts the
velocity eps - x0 whatever the schedule, sees uniform times, and is sampled by DDIM without
guidance, so that nothing but the schedule differs. The images are measured twice: drawn with the
averaged weights and with the last ones.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from course_utils.base.config import override, require
from course_utils.base.device import budget, make_rng
from course_utils.base.errors import unknown
from course_utils.base.files import read_jsonl, runs_root
from course_utils.data.dataset import Dataset
from course_utils.metrics.features import extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.measurement import (
    Difference,
    Measurement,
    is_difference_real,
    is_effect_real,
    mean_over_seeds,
    with_error,
)
from course_utils.models.base import Model
from course_utils.studies.collapse import (
    StudyTraining,
    dataset_identity,
    origin_of,
    rows_that_fit,
    train_missing,
)
from course_utils.studies.compare import TABLES
from course_utils.studies.draw import sample_in_batches
from course_utils.studies.evaluate import Features, find_extractor
from course_utils.training.fit import fit
from course_utils.training.presets import Experiment, preset, smoke_version
from course_utils.training.registry import build
from course_utils.training.runs import affordable

# what makes a training of the preset short enough to be repeated a dozen times
_SMALL = {
    "model.channels": (16, 32, 32),
    "model.embed_dim": 64,
    "model.time_sampling": "uniform",
    "model.guidance_scale": 1.0,
    "train.num_epochs": 1,
    "train.batch_size": 64,
    "train.num_train_images": 32_000,
    "train.num_validation_images": 0,
}
STRAIGHT, CONSTANT = "straight", "straight, constant rate"
# name: what it changes. The constant learning rates are half of the highest ones of the cycle,
# which is about the mean over the cycle.
SCHEDULE_SETTINGS: dict[str, dict[str, Any]] = {
    STRAIGHT: {"model.schedule": "flow"},
    "cosine": {"model.schedule": "cosine"},
    "linear": {"model.schedule": "linear"},
    CONSTANT: {
        "model.schedule": "flow",
        "train.schedule": "constant",
        "train.learning_rate": 2e-3,
        "train.muon_learning_rate": 0.01,
    },
}
NUM_SCHEDULE_SEEDS = 3
CALLS = (4, 8, 16)  # steps of DDIM, one network call each
EMA_CALLS = 16  # steps with which both kinds of weights are measured
NUM_COMPARED, SMOKE_COMPARED = 1000, 200  # images that are drawn, and real ones beside them
SMOKE_SEEDS = 2
_FALLBACK = "strokes"


def schedule_trainings(
    dataset: Dataset, names: Sequence[str] | None = None, seeds: int = NUM_SCHEDULE_SEEDS
) -> list[StudyTraining]:
    """Returns the trainings of the study: each setting with seeds 0, 1, ...

    Args:
        dataset: what to train on.
        names: keys of `SCHEDULE_SETTINGS`; None takes all four.
        seeds: trainings of each setting, at least 1.

    Raises:
        CourseError: an unknown name, or no seeds.
    """
    require(seeds >= 1, "seeds", "at least 1", seeds)
    names = list(SCHEDULE_SETTINGS if names is None else names)
    identity = {
        **dataset_identity(dataset),
        "num_drawn": min(NUM_COMPARED, len(dataset.test_images)),
        "calls": list(CALLS),
    }
    found = []
    for name in names:
        if name not in SCHEDULE_SETTINGS:
            raise unknown("setting", name, SCHEDULE_SETTINGS)
        changed = override(preset("diffusion", "laptop"), {**_SMALL, **SCHEDULE_SETTINGS[name]})
        experiment = affordable(changed, dataset).fitted_to(dataset)
        for seed in range(seeds):
            one = replace(experiment, seed=seed)
            found.append(StudyTraining(name, one, identity, partial(_schedule_row, dataset)))
    return found


def compare_schedules(
    dataset: Dataset,
    names: Sequence[str] | None = None,
    seeds: int = NUM_SCHEDULE_SEEDS,
    *,
    retrain: bool = False,
) -> list[dict[str, Any]]:
    """Returns a row for each training of the study, and prints where the rows come from.

    Saved rows are read where some ship for these images. For other images the rows of strokes are
    returned, and a printed line says so, because a study takes minutes; `retrain=True` measures on
    the images at hand and keeps the rows in the runs folder, where a second call finds them. Where
    no rows ship at all, they are trained as with `retrain=True`.

    A row holds `name`, `seed`; `fids`, one for each of `calls` (steps of DDIM, one network call
    each), with the averaged weights; `last_fid`, with the last weights and `EMA_CALLS` calls;
    `floor`, FID of training images in their place and its standard error; `num_drawn` images on
    either side, `dataset` and `features`; `seconds`, `machine`, `measured` (the day), `settings`.

    Args:
        dataset: what to train on.
        names: keys of `SCHEDULE_SETTINGS`; None takes all four.
        seeds: trainings of each setting, at least 1.
        retrain: train now (with the smoke budget: a few steps each, 2 seeds at most).

    Raises:
        CourseError: an unknown name, or no seeds.
        KeyboardInterrupt: stopped by hand; the trainings that had ended are kept.
    """
    wanted = schedule_trainings(dataset, names, seeds)
    if retrain:
        return _train_now(wanted, dataset)
    found = list(rows_that_fit(wanted, _table(dataset.name)).values())
    if len(found) == len(wanted):
        saved = f"{len(found)} saved trainings, {origin_of(found)}"
        print(f"noise schedules on {dataset.name}: {saved}; not trained now")
        return found
    places = {one.place for one in wanted}
    table = _table(_FALLBACK)
    rows = read_jsonl(table) if table.exists() else []
    found = [row for row in rows if (row["name"], row["seed"]) in places]
    if len(found) < len(wanted):
        return _train_now(wanted, dataset)
    print(
        f"noise schedules on {dataset.name}: none saved for exactly these images and today's"
        f" settings.\n  Instead: {len(found)} trainings on {_FALLBACK}, {origin_of(found)}.\n"
        f"  compare_schedules(dataset, retrain=True) measures on {dataset.name}, in about"
        f" {_minutes(found):.0f} minutes on that machine."
    )
    return found


def _table(name: str) -> Path:
    return TABLES / f"schedules-{name}.jsonl"


def _minutes(rows: Sequence[Mapping[str, Any]]) -> float:
    return sum(row["seconds"] for row in rows) / 60


def _train_now(wanted: list[StudyTraining], dataset: Dataset) -> list[dict[str, Any]]:
    kind = "smoke" if budget() == "smoke" else "full"
    if kind == "smoke":
        wanted = [_cut_short(one) for one in wanted if one.experiment.seed < SMOKE_SEEDS]
    name = f"{dataset.key.replace(':', '-')}-{dataset.sha256[:10]}-{kind}.jsonl"
    path = runs_root() / "schedules" / name
    done = len(rows_that_fit(wanted, path))
    print(f"noise schedules on {dataset.name}: {done} trainings of yours, {len(wanted) - done} now")
    return train_missing(wanted, path)


def _cut_short(training: StudyTraining) -> StudyTraining:
    """Returns the same training with a few steps, of which fewer images are drawn."""
    num_drawn = min(SMOKE_COMPARED, training.identity["num_drawn"])
    return replace(
        training,
        experiment=smoke_version(training.experiment),
        identity={**training.identity, "num_drawn": num_drawn},
    )


def _schedule_row(
    dataset: Dataset, experiment: Experiment, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """Trains and returns the measured part of a row."""
    judge, num = find_extractor("classifier", dataset), identity["num_drawn"]
    start = time.perf_counter()
    model = build(experiment.model, experiment.seed)
    with tempfile.TemporaryDirectory() as folder:  # the state holds both kinds of weights
        state = Path(folder) / "state.safetensors"
        history = fit(model, dataset, experiment.train, seed=experiment.seed, state_path=state)
        tensors = load_file(state)
    if history.num_epochs < experiment.train.num_epochs:
        raise KeyboardInterrupt
    real = dataset.subset(num_train=num, num_test=num)
    against = extract(judge.extractor, real.test_images)
    model.eval()
    fids = [_measured(model, judge, against, dataset, calls) for calls in identity["calls"]]
    weights = {
        name.removeprefix("model/"): value
        for name, value in tensors.items()
        if name.startswith("model/")
    }
    model.load_state_dict(weights)
    last_fid = _measured(model.eval(), judge, against, dataset, EMA_CALLS)
    floor = fid(extract(judge.extractor, real.train_images), against)
    return {
        "fids": fids,
        "last_fid": last_fid,
        "floor": [floor.value, floor.error],
        "features": judge.extractor.name,
        "seconds": round(time.perf_counter() - start, 2),
    }


def _measured(
    model: Model, judge: Features, against: Tensor, dataset: Dataset, num_steps: int
) -> float:
    """Returns FID of as many drawn images, of all classes equally often, as the reference has."""
    labels = torch.arange(len(against)) % dataset.num_classes
    options = {"num_steps": num_steps, "sampler": "ddim"}
    images = sample_in_batches(model, len(against), rng=make_rng(0, 3), labels=labels, **options)
    return fid(extract(judge.extractor, images), against, error="none").value


def _groups(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["name"], []).append(row)
    return groups


def _fid_means(
    rows: Sequence[Mapping[str, Any]], num_calls: int, *, last: bool = False
) -> dict[str, Measurement]:
    """Returns FID of each setting with so many calls, a mean over seeds."""
    found = {}
    for name, some in _groups(rows).items():
        place = some[0]["calls"].index(num_calls)
        values = [row["last_fid"] if last else row["fids"][place] for row in some]
        about = {"extractor": some[0]["features"], "dataset": f"{some[0]['dataset']} test"}
        found[name] = mean_over_seeds("FID", values, some[0]["num_drawn"], **about)
    return found


class CallSeries(NamedTuple):
    """What `plotting.diffusion.against_calls` draws: `against_calls(*schedule_series(rows))`."""

    num_calls: list[int]
    series: dict[str, tuple[list[float], list[float]]]
    ylabel: str
    floor: tuple[float, float]


def schedule_series(rows: Sequence[Mapping[str, Any]]) -> CallSeries:
    """Returns FID over the number of network calls for the three noise schedules, means over seeds
    with their standard errors, and the value of real images.

    Args:
        rows: of `compare_schedules`, at least 2 seeds of each setting.
    """
    own = [row for row in rows if row["name"] != CONSTANT]
    means = [_fid_means(own, calls) for calls in own[0]["calls"]]
    series = {
        name: ([one[name].value for one in means], [one[name].error for one in means])
        for name in means[0]
    }
    return CallSeries(list(own[0]["calls"]), series, _label(own), tuple(own[0]["floor"]))


def _label(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"FID, {rows[0]['num_drawn']:,} images"


class SchedulePair(NamedTuple):
    """Two schedules, and whether their FIDs differ by more than the seeds explain."""

    first: str
    second: str
    num_calls: int
    verdict: Difference


def schedule_pairs(rows: Sequence[Mapping[str, Any]], num_calls: int) -> list[SchedulePair]:
    """Returns the comparison of each two of the three schedules with so many network calls, a key
    of `CALLS`, by the rule of `metrics.is_difference_real`.
    """
    means = _fid_means([row for row in rows if row["name"] != CONSTANT], num_calls)
    names = list(means)
    return [
        SchedulePair(first, second, num_calls, is_difference_real(means[first], means[second]))
        for place, first in enumerate(names)
        for second in names[place + 1 :]
    ]


def schedule_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns what the schedules came to, in sentences: with the fewest and with the most network
    calls, each two of them with the verdict and its limit.
    """
    own = [row for row in rows if row["name"] != CONSTANT]
    num_seeds = len({row["seed"] for row in own})
    steps = own[0]["settings"]["train"]
    lines = [
        f"FID of {own[0]['num_drawn']:,} drawn against as many test images of"
        f" {own[0]['dataset']} ({own[0]['features']}), {num_seeds} seeds,"
        f" {_num_steps(steps)} training steps each; real images have"
        f" {with_error(*own[0]['floor'])}."
    ]
    for calls in (own[0]["calls"][0], own[0]["calls"][-1]):
        lines.append(f"With {calls} network calls:")
        for pair in schedule_pairs(own, calls):
            lines.append(f"  {pair.first} and {pair.second}: {pair.verdict.text}")
    return "\n".join(lines)


def _num_steps(train: Mapping[str, Any]) -> int:
    return train["num_epochs"] * (train["num_train_images"] // train["batch_size"])


def ema_effects(rows: Sequence[Mapping[str, Any]]) -> dict[str, Measurement]:
    """Returns, for each setting, FID of the averaged weights minus FID of the last weights of the
    same training, the mean over seeds; below 0 where averaging helps.

    Args:
        rows: of `compare_schedules`, at least 2 seeds of each setting.
    """
    effects = {}
    for name, some in _groups(rows).items():
        place = some[0]["calls"].index(EMA_CALLS)
        values = [row["fids"][place] - row["last_fid"] for row in some]
        effects[name] = mean_over_seeds("averaged minus last, FID", values, some[0]["num_drawn"])
    return effects


def ema_fids(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str] = (STRAIGHT, CONSTANT)
) -> dict[str, tuple[float, float]]:
    """Returns FID with the last and with the averaged weights as `plotting.comparison` draws it,
    `{text: (mean over seeds, standard error)}`.
    """
    kinds = {"last weights": True, "averaged weights": False}
    learning_rate = {STRAIGHT: "one cycle", CONSTANT: "constant rate"}
    found = {}
    for name in names:
        for kind, last in kinds.items():
            mean = _fid_means(rows, EMA_CALLS, last=last)[name]
            found[f"{learning_rate.get(name, name)}, {kind}"] = (mean.value, mean.error)
    return found


def ema_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns in sentences what averaging the weights does in each setting, with the verdict over
    the seeds and its limit.
    """
    last, averaged = (_fid_means(rows, EMA_CALLS, last=kind) for kind in (True, False))
    lines = [f"FID with {EMA_CALLS} network calls, of the last and of the averaged weights:"]
    for name, effect in ema_effects(rows).items():
        verdict = is_effect_real(effect)
        lines.append(f"  {name}: {last[name].number} and {averaged[name].number}; {verdict.text}")
    return "\n".join(lines)
