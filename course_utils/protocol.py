"""What `course compare` does: one frozen protocol for every family and seed, as a table that can be stopped and gone on with.

Frozen means that data, features, numbers of images and random seeds are equal for all. One row is one training: how good its samples are, whether
they copy, how probable it finds test images, and what all that costs. Each row is written when it is there, and is not measured again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from course_utils.checkpoint import RECORD, Run, load_run
from course_utils.compare_table import Comparison
from course_utils.config import require
from course_utils.copy_judge import CopyJudge, split_training
from course_utils.data.base import Dataset
from course_utils.errors import CourseError
from course_utils.evaluate import METRICS, check_num_images, evaluate_images, find_extractor
from course_utils.evaluate_likelihood import negative_log_likelihood
from course_utils.experiment import default_folder, find_shipped, is_run_of, machine, run
from course_utils.files import read_json, write_json, write_text
from course_utils.models.base import Model
from course_utils.presets import preset
from course_utils.sample_images import draw_images, drawing_seconds, label_frequencies, network_calls

ROWS, PROTOCOL = "rows.jsonl", "protocol.json"
COMPARED = ("fid", "kid", "inception_score", "precision_recall", "classes")
FEW = 100  # images of the shorter of the two timings


@dataclass(frozen=True)
class Protocol:
    """All that is equal for every family and seed; two tables compare only where this is equal."""

    dataset: str  # name
    budget: str  # of the presets: smoke, laptop or gpu
    features: str = "classifier"  # that FID, KID, precision, recall and one of the tests for copies see
    num_images: int = 10_000  # that are drawn, and of the real ones that they are compared with
    num_copy_images: int = 2000  # of them, that are tested for copies
    num_heldout: int = 0  # training images that are left aside as held-out ones; 0 takes the test images for that
    num_likelihood_images: int = 1000  # test images whose likelihood is asked for
    num_likelihood_draws: int = 200  # importance samples for each of them
    dataset_sha256: str = ""

    def __post_init__(self) -> None:
        require(self.num_images >= FEW, "num_images", f"at least {FEW}", self.num_images)
        require(self.num_likelihood_images >= 2, "num_likelihood_images", "at least 2", self.num_likelihood_images)
        require(self.num_likelihood_draws >= 1, "num_likelihood_draws", "at least 1", self.num_likelihood_draws)
        require(self.num_heldout >= 0, "num_heldout", "0 or more", self.num_heldout)
        require(2 <= self.num_copy_images <= self.num_images, "num_copy_images", f"2 to {self.num_images}", self.num_copy_images)


def make_protocol(dataset: Dataset, budget: str, num_images: int | None = None, features: str = "classifier", num_heldout: int = 0) -> Protocol:
    """Returns the protocol of a budget: 10,000 images or as many as there are to compare with, for "smoke" a few hundred.

    Raises:
        CourseError: more images than the dataset has to compare with.
    """
    smoke = budget == "smoke"
    available = min(len(dataset.train_images), len(dataset.test_images))
    num_images = min(300 if smoke else 10_000, available) if num_images is None else num_images
    check_num_images(num_images, dataset)
    few = {"num_likelihood_images": 50, "num_likelihood_draws": 10} if smoke else {"num_likelihood_images": 1000}
    few["num_likelihood_images"] = min(few["num_likelihood_images"], len(dataset.test_images))
    return Protocol(dataset.name, budget, features, num_images, min(2000, num_images), num_heldout, dataset_sha256=dataset.sha256, **few)


def compare(
    families: Sequence[str], dataset: Dataset, protocol: Protocol, num_seeds: int, out: Path | str, *, use_shipped: bool = True
) -> Comparison:
    """Returns the comparison of families, training what is not trained and measuring what is not measured.

    Rows go to `out/rows.jsonl`, each when it is finished. The same call goes on where an earlier one stopped; more families or seeds add rows.

    Args:
        families: names of presets or variants, such as "vae" or "dcgan-plain"; all of them can sample.
        dataset: what to train on and to compare with.
        protocol: from `make_protocol`.
        num_seeds: trainings of each family, seeds 0, 1, ...
        out: folder of the tables.
        use_shipped: take weights that ship with the course where they are those of an equal experiment. Their training time is that of another
            machine; every row says which.

    Raises:
        CourseError: an unknown family, one that cannot sample, or a folder that holds a comparison by another protocol.
        KeyboardInterrupt: stopped by hand; what was measured is kept.
    """
    require(num_seeds >= 1, "seeds", "at least 1", num_seeds)
    for family in families:  # before hours of training, not after
        if preset(family, protocol.budget).family == "classifier":
            raise CourseError(f"{family}: cannot sample; compare generative families.")
    find_extractor(protocol.features, dataset.name)
    out = Path(out)
    rows = _resumed(out, protocol)
    heldout = None
    if protocol.num_heldout:  # the shipped weights have seen those images
        dataset, heldout = split_training(dataset, len(dataset.train_images) - protocol.num_heldout)
        use_shipped = False
    judge = CopyJudge(dataset, protocol.features, protocol.num_copy_images, heldout)
    for seed in range(num_seeds):
        for family in dict.fromkeys(families):
            if any((row["family"], row["seed"]) == (family, seed) for row in rows):
                continue
            rows.append(_measured_row(family, seed, dataset, protocol, judge, use_shipped))
            write_text(out / ROWS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
            print(_line(rows[-1]), flush=True)
    return Comparison(asdict(protocol), tuple(row for row in rows if row["family"] in families and row["seed"] < num_seeds))


def _resumed(out: Path, protocol: Protocol) -> list[dict[str, Any]]:
    """Returns the rows that are there, and writes down the protocol where there are none."""
    if not (out / PROTOCOL).exists():
        write_json(out / PROTOCOL, asdict(protocol))
    found = read_json(out / PROTOCOL)
    different = sorted(name for name, value in asdict(protocol).items() if found.get(name) != value)
    if different:
        was = ", ".join(f"{name} {found.get(name)!r}" for name in different)
        raise CourseError(f"{out}: holds a comparison by another protocol ({was}); choose another --out, or the same settings.")
    path = out / ROWS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _measured_row(family: str, seed: int, dataset: Dataset, protocol: Protocol, judge: CopyJudge, use_shipped: bool) -> dict[str, Any]:
    trained, weights = obtain(family, seed, dataset, protocol.budget, use_shipped)
    metrics = measure_run(trained, dataset, protocol, judge)
    record = trained.record
    metrics["training seconds"] = _plain(record["training_seconds"])
    return {"family": family, "seed": seed, "weights": weights, "trained_on": record["machine"], "measured_on": machine(), "metrics": metrics}


def obtain(family: str, seed: int, dataset: Dataset, budget: str, use_shipped: bool = True) -> tuple[Run, str]:
    """Returns the run of a preset with a seed, and where it came from: "earlier run", "shipped" or "trained".

    Raises:
        KeyboardInterrupt: the training was stopped; it goes on with the next call.
    """
    experiment = replace(preset(family, budget), seed=seed).fitted_to(dataset)
    folder = default_folder(experiment, dataset)
    if (folder / RECORD).exists() and is_run_of(folder, experiment, dataset.sha256):
        return load_run(folder), "earlier run"
    shipped = find_shipped(experiment) if use_shipped else None
    if shipped is not None:
        return load_run(shipped), "shipped"
    print(f"{family}, seed {seed}: training on {dataset.name}", flush=True)
    trained = run(experiment, dataset, folder)
    if not trained.record["finished"]:
        raise KeyboardInterrupt
    return trained, "trained"


def measure_run(trained: Run, dataset: Dataset, protocol: Protocol, judge: CopyJudge) -> dict[str, dict[str, float | None]]:
    """Returns `{metric: {"value", "error", "floor", "floor_error"}}` of one run; None where there is no such number."""
    model, seed = trained.model, trained.experiment.seed
    frequencies = label_frequencies(dataset.train_labels, dataset.num_classes)
    draw_images(model, FEW, frequencies, seed=seed)  # warms up
    few_seconds = drawing_seconds(model, FEW, frequencies, seed=seed)[1]
    images, seconds = drawing_seconds(model, protocol.num_images, frequencies, seed=seed)
    classifier = find_extractor(protocol.features, dataset.name)[1]
    names = [name for name in COMPARED if classifier is not None or not METRICS[name][0]]
    evaluation = evaluate_images(images, dataset, metrics=names, features=protocol.features, seed=seed)
    metrics = {row["name"]: {key: row[key] for key in ("value", "error", "floor", "floor_error")} for row in evaluation.as_dict()["metrics"]}
    metrics |= _likelihood(model, dataset, protocol, seed)
    metrics |= {name: _plain(*number) for name, number in judge.numbers(images, trained.experiment).items()}
    costs = {f"seconds for {FEW} images": few_seconds, f"seconds for {protocol.num_images:,} images": seconds}
    costs |= {"parameters": model.num_parameters, "network calls": network_calls(model)}
    return metrics | {name: _plain(value) for name, value in costs.items()}


def _likelihood(model: Model, dataset: Dataset, protocol: Protocol, seed: int) -> dict[str, dict[str, float | None]]:
    if not (hasattr(model, "log_prob") or hasattr(model, "log_weights")):
        return {}
    number = {"num_draws": protocol.num_likelihood_draws, "num_images": protocol.num_likelihood_images}
    measured = negative_log_likelihood(model, dataset, seed=seed, **number)
    return {"NLL": _plain(measured.value, measured.error)}


def _plain(value: float, error: float | None = None) -> dict[str, float | None]:
    return {"value": value, "error": error, "floor": None, "floor_error": None}


def _line(row: dict[str, Any]) -> str:
    shown = [f"{name} {row['metrics'][name]['value']:.4g}" for name in ("FID", "precision", "recall", "training seconds") if name in row["metrics"]]
    return f"{row['family']}, seed {row['seed']} ({row['weights']}): {', '.join(shown)}"
