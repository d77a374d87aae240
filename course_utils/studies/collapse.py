"""Mode collapse, measured: the broken DCGAN and nine changes of it on a dataset, the broken and the
course's settings on the ring, each over several seeds, one row and one film at a time.

The rows of a whole study take minutes to train, so those of the strokes ship in `tables/`. A row
holds its settings and its images: one that was trained with other settings or on other images than
are asked for is never used.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_utils.base.config import override, require
from course_utils.base.device import budget, make_rng
from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import locked, read_json, read_jsonl, runs_root, write_jsonl
from course_utils.base.images import tile, uint8_to_signed
from course_utils.data.dataset import Dataset
from course_utils.metrics.classes import class_coverage, class_kl
from course_utils.metrics.features import class_probabilities, classifier_extractor, extract
from course_utils.metrics.measurement import (
    Difference,
    Measurement,
    is_difference_real,
    mean_over_seeds,
)
from course_utils.metrics.neighbours import precision_recall
from course_utils.models.base import Model
from course_utils.models.dcgan import CROSS_ENTROPIES
from course_utils.studies.compare import TABLES
from course_utils.studies.draw import label_frequencies, sample_in_batches
from course_utils.studies.ring import train_ring
from course_utils.training.film import frames_of
from course_utils.training.fit import TrainingDiverged, fit
from course_utils.training.history import History
from course_utils.training.presets import GAN_MITIGATIONS, Experiment, preset, smoke_version
from course_utils.training.registry import build
from course_utils.training.runs import PRETRAINED, RECORD, affordable, machine, pretrained

BROKEN, AVERAGE = "broken", "moving average"
# name: what it changes in the preset "dcgan-broken"
COLLAPSE_SETTINGS: dict[str, dict[str, Any]] = {BROKEN: {}, **GAN_MITIGATIONS}
RING_PRESETS = {BROKEN: "dcgan-broken", "course": "dcgan"}
NUM_COLLAPSE_SEEDS = 5
NUM_DRAWN, SMOKE_DRAWN = 1000, 200  # images of a trained generator that are measured
FILM_IMAGES = 10  # a frame
COLLAPSED_BELOW, CURED_FROM = 0.5, 0.8  # share of the classes
# G's final loss in nats: D gives a generated image a chance of less than 1 in 1,000
DIVERGED_ABOVE = math.log(1000)
# So many seeds are trained where no saved rows fit. With 3 the study takes a laptop some minutes.
SEEDS_NOW = {"smoke": 2, "laptop": 3, "gpu": NUM_COLLAPSE_SEEDS}
RING_STEPS, SMOKE_RING_STEPS = 1500, 40
RING_FRAMES, RING_REACH = 29, 2.0  # the film of the ring shows -2 to 2 on both axes
# They may differ by single grey levels between processors, so they are told by name.
_DRAWN_BY_PROGRAM = ("strokes", "strokes-colour")


@dataclass(frozen=True)
class StudyTraining:
    """One training of a study: what its row is recognised by, and how the row is made.

    Attributes:
        name: of the setting, such as "R1".
        experiment: all settings; its seed is that of the training.
        identity: what else the row has to agree in, such as the number of training images.
        measure: trains and returns the rest of the row, from the experiment and the identity.
    """

    name: str
    experiment: Experiment
    identity: Mapping[str, Any]
    measure: Callable[[Experiment, Mapping[str, Any]], dict[str, Any]]

    @property
    def place(self) -> tuple[str, int]:
        return self.name, self.experiment.seed

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Returns whether a row is of exactly this training: name, seed, images and all settings.

        A setting that the course has added since had the meaning of its default.
        """
        if (row.get("name"), row.get("seed")) != self.place:
            return False
        if any(row.get(name) != value for name, value in self.identity.items()):
            return False
        try:
            return Experiment.from_dict(row["settings"]) == self.experiment
        except (CourseError, KeyError):  # a setting that is no more
            return False

    def row(self) -> dict[str, Any]:
        """Trains and returns the whole row."""
        measured = self.measure(self.experiment, self.identity)
        return {
            **self.identity,
            "name": self.name,
            "seed": self.experiment.seed,
            **measured,
            "machine": machine(),
            "measured": time.strftime("%Y-%m-%d"),
            "settings": self.experiment.as_dict(),
        }


def collapse_trainings(
    dataset: Dataset,
    names: Sequence[str] | None = None,
    seeds: int = NUM_COLLAPSE_SEEDS,
    settings: Mapping[str, Mapping[str, Any]] = COLLAPSE_SETTINGS,
) -> list[StudyTraining]:
    """Returns the trainings of the study on images: each setting with seeds 0, 1, ...

    Args:
        dataset: what to train on; of large images only so many as an epoch can afford.
        names: keys of `settings`; None takes all.
        seeds: trainings of each setting, at least 1.
        settings: name to what it changes in the preset "dcgan-broken".

    Raises:
        CourseError: an unknown name, or no seeds.
    """
    identity = dataset_identity(dataset)
    found = []
    for name in _known(names, settings, seeds):
        changed = override(preset("dcgan-broken", "laptop"), settings[name])
        experiment = affordable(changed, dataset).fitted_to(dataset)
        for seed in range(seeds):
            one = replace(experiment, seed=seed)
            found.append(StudyTraining(name, one, identity, partial(_collapse_row, dataset)))
    return found


def dataset_identity(dataset: Dataset) -> dict[str, Any]:
    """Returns what a row has to agree in to be of these images."""
    identity = {
        "dataset": dataset.name,
        "dataset_key": dataset.key,
        "num_train_images": len(dataset.train_images),
        "num_classes": dataset.num_classes,
        "num_drawn": max(NUM_DRAWN, dataset.num_classes),
    }
    if dataset.name not in _DRAWN_BY_PROGRAM:
        identity["dataset_sha256"] = dataset.sha256
    return identity


def ring_trainings(
    names: Sequence[str] | None = None, seeds: int = NUM_COLLAPSE_SEEDS
) -> list[StudyTraining]:
    """Returns the trainings of the study on the ring: the broken and the course's settings.

    Args:
        names: "broken", "course"; None takes both.
        seeds: trainings of each, at least 1.

    Raises:
        CourseError: an unknown name, or no seeds.
    """
    identity = {"dataset": "ring", "num_steps": RING_STEPS}
    return [
        StudyTraining(
            name,
            replace(preset(RING_PRESETS[name], "laptop"), dataset="ring", seed=seed),
            identity,
            _ring_row,
        )
        for name in _known(names, RING_PRESETS, seeds)
        for seed in range(seeds)
    ]


def _known(names: Sequence[str] | None, known: Mapping[str, Any], seeds: int) -> list[str]:
    require(seeds >= 1, "seeds", "at least 1", seeds)
    for name in names or ():
        if name not in known:
            raise unknown("setting", name, known)
    return list(known if names is None else names)


def collapse_study(
    dataset: Dataset,
    names: Sequence[str] | None = None,
    seeds: int = NUM_COLLAPSE_SEEDS,
    *,
    retrain: bool = False,
) -> list[dict[str, Any]]:
    """Returns a row for each training of the broken DCGAN, changed and unchanged, and prints where
    the rows come from.

    Saved rows are taken where some ship for exactly these images and for today's settings. What is
    missing is trained now, with fewer seeds where the budget is small, and kept in the runs folder:
    a second call finds it. Where none ship for a dataset of this name, that would take half an
    hour, so the rows of strokes are returned, unless `retrain` is set or was set before (a smoke
    budget trains, since it takes seconds).

    A row holds `name`, `seed`; `classes_covered` of `num_classes`; `class_kl` in nats; `precision`,
    the share of images near real ones in the classifier's features (rows that were saved before it
    was measured lack it); `distance`,
    the mean distance of two generated images in units of that of two real ones; `generator_loss`,
    the mean of the last epoch (None where training broke off in the first); `alarms`, the lines
    that training printed; `seconds`, `machine`, `measured` (the day), `settings`; with seed 0 a
    `film` for `collapse_film`.

    Args:
        dataset: what to train on.
        names: keys of `COLLAPSE_SETTINGS`; None takes all ten.
        seeds: trainings of each setting, at least 1.
        retrain: leave the saved rows aside and train all seeds; your own earlier trainings count.

    Raises:
        CourseError: an unknown name, no seeds, or images that the DCGAN cannot draw.
        KeyboardInterrupt: stopped by hand; the trainings that had ended are kept.
    """
    own = f"{dataset.key.replace(':', '-')}-{dataset.sha256[:10]}"
    return _study(collapse_trainings(dataset, names, seeds), dataset, own, retrain)


def ring_study(
    names: Sequence[str] | None = None, seeds: int = NUM_COLLAPSE_SEEDS, *, retrain: bool = False
) -> list[dict[str, Any]]:
    """Returns a row for each training on the ring, as `collapse_study` does for images.

    A row holds `name`, `seed`; `modes_hit` of 8; `share_near`, from 0 to 1; `num_steps`, `seconds`,
    `machine`, `measured`, `settings`; with seed 0 a `film` for `ring_film`.

    Args:
        names: "broken", "course"; None takes both.
        seeds: trainings of each, at least 1.
        retrain: leave the saved rows aside and train all seeds; your own earlier trainings count.

    Raises:
        CourseError: an unknown name, or no seeds.
    """
    return _study(ring_trainings(names, seeds), None, "ring", retrain)


def _study(
    wanted: list[StudyTraining], dataset: Dataset | None, own: str, retrain: bool
) -> list[dict[str, Any]]:
    """Returns the rows of the trainings, in their order: saved ones, the learner's, new ones."""
    name = "ring" if dataset is None else dataset.name
    table, kept = TABLES / f"collapse-{name}.jsonl", runs_root() / "collapse" / own
    found = {} if retrain else rows_that_fit(wanted, table)
    if budget() == "smoke" and len(found) < len(wanted):
        found = {}  # a few steps do not compare with whole trainings
    title = f"collapse on {'the ring' if dataset is None else name}"
    of_images = dataset is not None
    if of_images and not table.exists() and not retrain and budget() != "smoke":
        shown = {} if _own_file(kept).exists() else _strokes_rows(wanted)
        if shown:
            print(f"{title}: no rows of these images are saved. Shown are those of strokes,")
            print(f"  {origin_of(shown.values())}; with retrain=True yours are trained now.")
            return [shown[one.place] for one in wanted if one.place in shown]
    if found:
        counted = _counted_by(found.values(), dataset)
        print(f"{title}: {len(found)} saved trainings, {origin_of(found.values())}{counted};")
        print(f"  made by `python benchmarks/gan_collapse.py --dataset {name}`, not trained now")
    missing = [one for one in wanted if one.place not in found]
    if missing:
        why = "saved rows left aside (retrain)" if retrain else _why_missing(table, missing)
        rows = _train_now(missing, title, why, kept, retrain)
        found |= {(row["name"], row["seed"]): row for row in rows}
    return [found[one.place] for one in wanted if one.place in found]


def _own_file(own: Path) -> Path:
    """Returns where the rows of the learner's own trainings lie, whole or of a few steps each."""
    return own.with_name(f"{own.name}-{'smoke' if budget() == 'smoke' else 'full'}.jsonl")


def _strokes_rows(wanted: Sequence[StudyTraining]) -> dict[tuple[str, int], dict[str, Any]]:
    """Returns the saved rows of strokes for these settings and seeds; none where none ship."""
    rows = {(row["name"], row["seed"]): row for row in _rows_in(TABLES / "collapse-strokes.jsonl")}
    return {one.place: rows[one.place] for one in wanted if one.place in rows}


def _why_missing(table: Path, missing: list[StudyTraining]) -> str:
    if not table.exists():
        return "no saved rows for these images"
    there = {(row.get("name"), row.get("seed")) for row in read_jsonl(table)}
    if any(one.place in there for one in missing):
        names = ", ".join(dict.fromkeys(one.name for one in missing if one.place in there))
        return f"the saved rows of {names} are of other settings or images"
    return "not among the saved rows"


def _train_now(
    missing: list[StudyTraining], title: str, why: str, own: Path, retrain: bool
) -> list[dict[str, Any]]:
    """Returns the rows of what the budget allows of the trainings, found in the runs folder or
    trained now; says which.
    """
    smoke, asked = budget() == "smoke", max(one.experiment.seed for one in missing) + 1
    seeds = asked if retrain and not smoke else min(asked, SEEDS_NOW[budget()])
    allowed = [_cut_short(one) if smoke else one for one in missing if one.experiment.seed < seeds]
    path = _own_file(own)
    done = rows_that_fit(allowed, path)
    if done:
        print(f"{title}: {len(done)} trainings of yours, {origin_of(done.values())}")
    num_new = len(allowed) - len(done)
    if num_new:
        fewer = f", {seeds} seeds in place of {asked}" if seeds < asked else ""
        short = ", a few steps each" if smoke else ""
        print(
            f"{title}: {why}; {num_new} trainings now (budget {budget()}{fewer}{short}),"
            " kept for the next call",
            flush=True,
        )
    return train_missing(allowed, path)


def _cut_short(training: StudyTraining) -> StudyTraining:
    """Returns the same training with a few steps, of which fewer images are drawn."""
    if "num_steps" in training.identity:
        return replace(training, identity={**training.identity, "num_steps": SMOKE_RING_STEPS})
    num_drawn = max(SMOKE_DRAWN, training.identity["num_classes"])
    identity = {**training.identity, "num_drawn": num_drawn}
    return replace(training, experiment=smoke_version(training.experiment), identity=identity)


def train_missing(trainings: Sequence[StudyTraining], path: Path | str) -> list[dict[str, Any]]:
    """Returns the rows of trainings, in their order: those that a file holds, and for the others
    new ones, which are added to it as soon as each has ended.

    Args:
        trainings: from `collapse_trainings` or `ring_trainings`.
        path: JSON lines; a row of the same name and seed that does not fit is replaced.

    Raises:
        CourseError: the file cannot be read or written.
        KeyboardInterrupt: stopped by hand; rows that were finished stay.
    """
    found = rows_that_fit(trainings, Path(path))
    for one in trainings:
        if one.place not in found:
            found[one.place] = _kept(one.row(), Path(path))
    return [found[one.place] for one in trainings]


def rows_that_fit(
    trainings: Sequence[StudyTraining], path: Path
) -> dict[tuple[str, int], dict[str, Any]]:
    """Returns those rows of a file that belong to the trainings, by name and seed; none where there
    is no file.
    """
    rows = {(row.get("name"), row.get("seed")): row for row in _rows_in(path)}
    return {
        one.place: rows[one.place]
        for one in trainings
        if one.place in rows and one.fits(rows[one.place])
    }


def _rows_in(path: Path) -> list[dict[str, Any]]:
    return read_jsonl(path) if path.exists() else []


def _kept(row: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns the row after writing it into its place of a file that others may write to as
    well.
    """
    names = list(dict.fromkeys((*COLLAPSE_SETTINGS, *RING_PRESETS)))
    order = {name: index for index, name in enumerate(names)}
    with locked(path, "study of collapse", wait_seconds=60):
        rows = {(one["name"], one["seed"]): one for one in _rows_in(path)}
        rows[row["name"], row["seed"]] = row
        places = sorted(rows, key=lambda place: (order.get(place[0], len(order)), place[1]))
        write_jsonl(path, [rows[place] for place in places])
    return row


def origin_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns when, where and in what time rows were trained, in words."""
    rows = list(rows)
    days = sorted({row["measured"] for row in rows})
    machines = "; ".join(sorted({row["machine"] for row in rows}))
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"{when}, {sum(row['seconds'] for row in rows) / 60:.1f} min on {machines}"


def _counted_by(rows: Iterable[Mapping[str, Any]], dataset: Dataset | None) -> str:
    """Returns a note where another classifier than today's told the classes of saved rows."""
    if dataset is None:
        return ""
    record = PRETRAINED / f"classifier-{dataset.name}" / RECORD
    now = read_json(record)["weights_sha256"] if record.exists() else None
    return "" if {row.get("judge") for row in rows} == {now} else ", by an earlier classifier"


def collapse_training(
    dataset: Dataset, changes: Mapping[str, Any] | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Returns what one training of the broken DCGAN measures, as in `collapse_study`, with its
    film; nothing is kept. For a change that the study does not have.

    Args:
        dataset: what to train on.
        changes: dotted settings, such as `{"model.loss": "relativistic"}`.
        seed: of the training.

    Raises:
        CourseError: an unknown setting.
        KeyboardInterrupt: stopped by hand.
    """
    changed = override(preset("dcgan-broken", "laptop"), changes or {})
    experiment = replace(affordable(changed, dataset).fitted_to(dataset), seed=seed)
    if budget() == "smoke":
        experiment = smoke_version(experiment)
    row = _collapse_row(dataset, experiment, dataset_identity(dataset), filmed=True)
    return {**dataset_identity(dataset), "name": "own", "seed": seed, **row}


def _collapse_row(
    dataset: Dataset,
    experiment: Experiment,
    identity: Mapping[str, Any],
    filmed: bool | None = None,
) -> dict[str, Any]:
    """Returns the measured part of a row; the film is kept with seed 0, or where it is asked
    for.
    """
    model, kept = build(experiment.model, experiment.seed), []
    frames = [_frame(model)]

    def keep(model: Model, history: History) -> None:
        frames.append(_frame(model))
        kept[:] = [history]

    start, printed = time.perf_counter(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            history = fit(model, dataset, experiment.train, seed=experiment.seed, on_epoch=keep)
        if history.num_epochs < experiment.train.num_epochs:
            raise KeyboardInterrupt
    except TrainingDiverged as error:  # the model holds the weights of the last good epoch
        history = kept[0] if kept else History()
        printed.write(f"{error}\n")
    losses = history.select("loss", part="generator") if history.rows else []
    judge = pretrained("classifier", dataset)
    row = {
        "dataset_sha256": dataset.sha256,
        **_variety(model.eval(), dataset, judge.model, identity["num_drawn"]),
        "generator_loss": losses[-1] if losses else None,
        "alarms": printed.getvalue().splitlines(),
        "seconds": round(history.seconds or time.perf_counter() - start, 2),
        "judge": judge.record.get("weights_sha256"),
    }
    if filmed or (filmed is None and experiment.seed == 0):
        row["film"] = frames_as_png(frames)
    return row


def frames_as_png(frames: Sequence[Tensor]) -> str:
    """Returns a film as the text that `collapse_film` reads.

    Args:
        frames: ten images each, uint8 `[10, C, H, W]`.
    """
    return _to_png(tile(torch.cat(list(frames)), FILM_IMAGES, pad=0))


def _frame(model: Model) -> Tensor:
    """Returns ten images from the same noise each time, uint8 `[10, C, H, W]`."""
    was_training = model.training
    images = sample_in_batches(model.eval(), FILM_IMAGES, rng=make_rng(9))
    model.train(was_training)
    return images


def _variety(model: Model, dataset: Dataset, judge: Model, num_drawn: int) -> dict[str, float]:
    images = sample_in_batches(model, num_drawn, rng=make_rng(0, 3))
    probabilities = class_probabilities(judge, images)
    frequencies = label_frequencies(dataset.train_labels, dataset.num_classes)
    real = _distance_of_two(dataset.test_images)
    chosen = dataset.subset(num_test=min(num_drawn, len(dataset.test_images)))
    extractor = classifier_extractor(judge)
    reference, seen = (extract(extractor, some) for some in (chosen.test_images, images))
    k = min(3, len(chosen.test_images) - 1)
    return {
        "classes_covered": round(class_coverage(probabilities).value * dataset.num_classes),
        "class_kl": class_kl(probabilities, frequencies).value,
        "precision": precision_recall(reference, seen, k).precision.value,
        "distance": _distance_of_two(images) / real if real > 0 else 1.0,
    }


def _distance_of_two(images: Tensor) -> float:
    """Returns the mean RMS distance of two of the images in signed pixels; of 1,000 at most."""
    rows = torch.randperm(len(images), generator=make_rng(0))[:NUM_DRAWN]
    x = uint8_to_signed(images[rows])
    return (x - x.roll(1, 0)).flatten(1).square().mean(1).sqrt().mean().item()


def _ring_row(experiment: Experiment, identity: Mapping[str, Any]) -> dict[str, Any]:
    start, seed = time.perf_counter(), experiment.seed
    run = train_ring(
        experiment.model,
        experiment.train,
        num_steps=identity["num_steps"],
        seed=seed,
        num_frames=RING_FRAMES,
    )
    row = {**run.coverage._asdict(), "seconds": round(time.perf_counter() - start, 2)}
    if seed == 0:
        levels = (torch.stack(run.frames).clamp(-RING_REACH, RING_REACH) / RING_REACH + 1) * 127.5
        row["film"] = _to_png(levels.round().to(torch.uint8).flatten(1)[None])
    return row


def _to_png(image: Tensor) -> str:
    """Returns a uint8 image `[C, H, W]` as the base64 text of a PNG."""
    from PIL import Image

    stream = io.BytesIO()
    pixels = image.permute(1, 2, 0).squeeze(-1).numpy()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _from_png(row: Mapping[str, Any]) -> Tensor:
    """Returns the image `[C, H, W]` of a row's film, uint8."""
    from PIL import Image

    if "film" not in row:
        raise CourseError(
            f"{row.get('name')}, seed {row.get('seed')}: expected a row with a film, got one"
            " without; only seed 0 of each setting keeps one."
        )
    with Image.open(io.BytesIO(base64.b64decode(row["film"])), formats=["PNG"]) as picture:
        pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def collapse_film(row: Mapping[str, Any]) -> Tensor:
    """Returns the film of a row of `collapse_study`: ten images from the same noise before training
    and after each epoch, uint8 `[epochs + 1, 10, C, H, W]`.

    Raises:
        CourseError: a row without a film.
    """
    sheet = _from_png(row)
    num_moments = sheet.shape[1] * FILM_IMAGES // sheet.shape[2]  # the images are square
    return frames_of(sheet, num_moments, FILM_IMAGES)


def ring_film(row: Mapping[str, Any]) -> Tensor:
    """Returns the film of a row of `ring_study`: the same noise through the generator, evenly
    spaced in time from the untrained one on, float32 `[29, 500, 2]`.

    Points are rounded to 1/64 and pulled to the edge where they lie beyond ±2.

    Raises:
        CourseError: a row without a film.
    """
    levels = _from_png(row)[0]
    return (levels.float() / 127.5 - 1).view(len(levels), -1, 2) * RING_REACH


@dataclass(frozen=True)
class CollapseResult:
    """What the trainings of one setting came to.

    Attributes:
        name: of the setting.
        covered: classes hit, one number for each seed.
        num_classes: that there are.
        num_diverged: trainings in which D has won so clearly that the game is over, `is_diverged`.
        class_kl: mean over seeds, in nats.
        precision: mean over seeds; None where rows lack it.
        distance: of two generated images in units of that of two real ones, mean over seeds.
        effect: the class KL less that of the broken GAN; None for the broken GAN itself.
    """

    name: str
    covered: tuple[int, ...]
    num_classes: int
    num_diverged: int
    class_kl: Measurement
    precision: Measurement | None
    distance: Measurement
    effect: Difference | None

    @property
    def num_collapsed(self) -> int:
        """Trainings that hit fewer than half of the classes."""
        return sum(hit < COLLAPSED_BELOW * self.num_classes for hit in self.covered)

    @property
    def num_cured(self) -> int:
        """Trainings that hit four fifths of the classes or more."""
        return sum(hit >= CURED_FROM * self.num_classes for hit in self.covered)

    @property
    def state(self) -> str:
        """ "cured" where all trainings are, "collapsed" where most are, else "between"."""
        if self.num_cured == len(self.covered):
            return "cured"
        return "collapsed" if self.num_collapsed > len(self.covered) / 2 else "between"

    @property
    def effect_text(self) -> str:
        """The effect in words, with the numbers that it rests on."""
        if self.effect is None:
            return f"{self.name}: what the others are compared with"
        words = "less collapse" if self.effect.difference < 0 else "more collapse"
        if not self.effect:
            words = f"no effect that {len(self.covered)} seeds can show"
        return (
            f"{self.name:22} {words}: class KL {self.effect.difference:+.2f} ±"
            f" {self.effect.error:.2f} nats, {self.effect.num_errors:.1f} standard errors, limit"
            f" {self.effect.limit:.2f}"
        )


def collapse_results(rows: Sequence[Mapping[str, Any]]) -> dict[str, CollapseResult]:
    """Returns the result of each setting in the rows of `collapse_study`, the broken GAN's among
    them, by name.

    Raises:
        CourseError: no rows of the broken GAN, or fewer than 2 seeds of a setting.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["name"], []).append(row)
    if BROKEN not in groups:
        raise CourseError(f"expected rows of {BROKEN!r} to compare with, got {list(groups)}.")
    means = {
        name: [
            mean_over_seeds(metric, [row[column] for row in some], some[0]["num_drawn"])
            for metric, column in (("class KL", "class_kl"), ("distance", "distance"))
        ]
        for name, some in groups.items()
    }
    return {
        name: CollapseResult(
            name,
            tuple(row["classes_covered"] for row in some),
            some[0]["num_classes"],
            sum(map(is_diverged, some)),
            means[name][0],
            _mean_precision(some),
            means[name][1],
            None if name == BROKEN else is_difference_real(means[name][0], means[BROKEN][0]),
        )
        for name, some in groups.items()
    }


def is_diverged(row: Mapping[str, Any]) -> bool:
    """Returns whether a training of `collapse_study` diverged: its loss became infinite, or G's
    loss at its end, a cross-entropy, is above log 1000 = 6.9 nats, so that D gives a generated
    image (geometric mean) a chance of less than 1 in 1,000. Few classes without this are a
    collapse: the game goes on, between few kinds of images.
    """
    if row["generator_loss"] is None:
        return True
    is_cross_entropy = row["settings"]["model"]["loss"] in CROSS_ENTROPIES
    return is_cross_entropy and row["generator_loss"] > DIVERGED_ABOVE


def _mean_precision(rows: Sequence[Mapping[str, Any]]) -> Measurement | None:
    if any("precision" not in row for row in rows):
        return None
    return mean_over_seeds("precision", [row["precision"] for row in rows], rows[0]["num_drawn"])


def collapse_cells(results: Mapping[str, CollapseResult]) -> dict[str, dict[str, tuple[str, str]]]:
    """Returns the results as `plotting.metrics.verdict_table` takes them, `{name: {column: (text,
    state)}}`.
    """
    cells = {}
    for name, result in results.items():
        texts = {
            "classes hit, by seed": ", ".join(map(str, result.covered)),
            "diverged": f"{result.num_diverged} of {len(result.covered)}",
            "class KL, nats": f"{result.class_kl.value:.2f} ± {result.class_kl.error:.2f}",
            "distance / real": f"{result.distance.value:.2f} ± {result.distance.error:.2f}",
        }
        if all(one.precision is not None for one in results.values()):
            assert result.precision is not None
            texts["precision"] = f"{result.precision.value:.2f} ± {result.precision.error:.2f}"
        cells[name] = {column: (text, result.state) for column, text in texts.items()}
    return cells


STATE_WORDS = {
    "cured": f"At least {CURED_FROM:.0%} of the classes with every seed",
    "between": "Neither",
    "collapsed": "Fewer than half of the classes with most seeds",
}


def collapse_words(results: Mapping[str, CollapseResult]) -> str:
    """Returns what came out in sentences: the classes that the broken GAN hit, which trainings
    diverged, then the changes by the share of classes that they hit.
    """
    broken = results[BROKEN]
    hit = ", ".join(map(str, broken.covered))
    lines = [f"The trainings of the broken GAN hit {hit} of {broken.num_classes} classes."]
    gone = [
        f"{name} {one.num_diverged} of {len(one.covered)}"
        for name, one in results.items()
        if one.num_diverged
    ]
    lines.append(
        f"Diverged, with G's loss above {DIVERGED_ABOVE:.1f} nats at the end: "
        f"{', '.join(gone) or 'none'}."
    )
    if broken.num_collapsed == 0:
        lines.append("None of them lost half of the classes: there is little to cure.")
    for state, words in STATE_WORDS.items():
        names = [name for name, one in results.items() if one.state == state and name != BROKEN]
        lines.append(f"{words}: {', '.join(names) or 'none'}.")
    return "\n".join(lines)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Returns the rank correlation of two lists of one length, from -1 to 1; equal values share
    their mean rank. NaN for fewer than 3 pairs, or where one list is constant.

    Source: Spearman 1904, American Journal of Psychology 15.
    """
    from scipy.stats import rankdata

    require(len(first) == len(second), "second", f"{len(first)} values", len(second))
    if min(len(set(first)), len(set(second))) < 2 or len(first) < 3:
        return math.nan
    ranks = torch.tensor(np.stack([rankdata(first), rankdata(second)]))
    return torch.corrcoef(ranks)[0, 1].item()


def losses_and_kl(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Returns G's final loss and the class KL of each training, `{name: [(loss, class KL)]}`, of
    the settings whose generator minimises the loss of the broken GAN: only their losses compare.
    """
    losses = {row["name"]: row["settings"]["model"]["loss"] for row in rows}
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if losses[row["name"]] == losses[BROKEN] and row["generator_loss"] is not None:
            pair = row["generator_loss"], row["class_kl"]
            found.setdefault(row["name"], []).append(pair)
    return found


def loss_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns in sentences how G's final loss and the class KL go together over all trainings of
    `collapse_study`, and over those alone that did not collapse.

    The moving average is left out of the first, since its trainings are those of the broken GAN;
    the second sentence compares the two.
    """
    pairs = losses_and_kl(rows)
    covered = {(row["name"], row["seed"]): row["classes_covered"] for row in rows}
    own = [row for row in rows if row["name"] in pairs and row["name"] != AVERAGE]
    own = [row for row in own if row["generator_loss"] is not None]
    groups = {
        "trainings with the loss of the broken GAN": own,
        "of them that hit four fifths of the classes": [
            row
            for row in own
            if covered[row["name"], row["seed"]] >= CURED_FROM * row["num_classes"]
        ],
    }
    parts = []
    for words, some in groups.items():
        value = rank_correlation(
            [row["generator_loss"] for row in some], [row["class_kl"] for row in some]
        )
        parts.append(
            f"{'too few to say' if math.isnan(value) else f'{value:.2f}'} over the"
            f" {len(some)} {words}"
        )
    text = f"rank correlation of G's final loss and the class KL: {parts[0]}; {parts[1]}."
    both = list(zip(pairs.get(BROKEN, ()), pairs.get(AVERAGE, ())))
    if not both:
        return text
    equal = [sum(one[i] == other[i] for one, other in both) for i in (0, 1)]
    return (
        f"{text}\n{AVERAGE} beside {BROKEN}: G's final loss is the same in {equal[0]} of"
        f" {len(both)} trainings, the class KL in {equal[1]}."
    )
