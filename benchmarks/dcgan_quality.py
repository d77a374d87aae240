"""How good is the course's DCGAN after three minutes? Against the plain recipe of the paper after
the same wall-clock time, over several seeds.

Both train in this process, one after the other. The plain recipe (`course train dcgan-plain`) stops
at the end of the first epoch after ours was done, so it never has less time. A seed that is
finished is not run again: rows are appended to --out as they come.

    COURSE_DATA=../shared/data python benchmarks/dcgan_quality.py --out build/dcgan_quality.jsonl
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from measure import add_row, rows_in
from torch import Tensor

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.base.images import signed_to_uint8
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.metrics.features import class_probabilities
from course_utils.models.base import Model
from course_utils.studies.evaluate import evaluate_images
from course_utils.studies.training_sets import synthetic_accuracy
from course_utils.training.fit import fit
from course_utils.training.presets import Experiment, preset
from course_utils.training.registry import build
from course_utils.training.runs import machine, run

METRICS = ("fid", "precision_recall", "classes")
NUM_IMAGES, CHUNK = 10_000, 500
CONFIDENT = 0.9


def sampled(model: Model, n: int, seed: int, labels: Tensor | None = None) -> Tensor:
    """Returns `n` images, uint8; labels are given to the model in order."""
    model.eval()
    rng, chunks = make_rng(seed, 5), range(0, n, CHUNK)
    labelled = [
        {} if labels is None else {"labels": labels[start : start + CHUNK]} for start in chunks
    ]
    return torch.cat(
        [
            signed_to_uint8(model.sample(min(CHUNK, n - start), rng=rng, **given))
            for start, given in zip(chunks, labelled)
        ]
    )


def train_for(
    experiment: Experiment, dataset: Dataset, min_seconds: float | None = None
) -> tuple[Model, float]:
    """Returns a trained model and its training seconds; with `min_seconds`, the training that ends
    with the first epoch after that time.
    """
    if min_seconds is not None:
        experiment = override(experiment, {"train.num_epochs": 1000})
    model = build(experiment.model, experiment.seed)

    def stop(_: Model, history) -> None:
        if min_seconds is not None and history.seconds >= min_seconds:
            raise KeyboardInterrupt

    return model, fit(model, dataset, experiment.train, seed=experiment.seed, on_epoch=stop).seconds


def measured(images: Tensor, dataset: Dataset, judge: Model) -> dict[str, tuple[float, float]]:
    """Returns value and standard error of each metric; "confident" is the share that `judge` gives
    a class 90 % or more.
    """
    rows = evaluate_images(images, dataset, metrics=METRICS).rows
    values = {row.measured.name: (row.measured.value, row.measured.error) for row in rows}
    share = (class_probabilities(judge, images).amax(1) >= CONFIDENT).double()
    return values | {"confident": (share.mean().item(), share.std().item() / len(share) ** 0.5)}


def main() -> None:
    """Appends one row a seed; prints the ratio of the FIDs at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--synthetic-seeds",
        type=int,
        default=1,
        help="how many of them train a classifier on samples (default: 1)",
    )
    parser.add_argument("--out", type=Path, default=Path("build/dcgan_quality.jsonl"))
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    classifier = override(
        preset("classifier", "laptop"), {"train.num_validation_images": 0}
    ).fitted_to(dataset)
    # The shipped classifier was trained with smoothed labels, which keep its confidence below 0.95;
    # this one was not.
    judge = run(override(classifier, {"model.label_smoothing": 0.0}), dataset).model
    real = measured(
        dataset.train_images[
            torch.randperm(len(dataset.train_images), generator=make_rng(0))[:NUM_IMAGES]
        ],
        dataset,
        judge,
    )
    rows = rows_in(options.out)
    for seed in range(len(rows), options.seeds):
        row = {"seed": seed, "machine": machine(), "real": real}
        seconds = None
        for name in ("dcgan", "dcgan-plain"):
            experiment = replace(
                override(preset(name, "laptop"), {"train.num_validation_images": 0}), seed=seed
            ).fitted_to(dataset)
            model, took = train_for(experiment, dataset, seconds)
            seconds = seconds or took
            row[name] = {
                "seconds": took,
                **measured(sampled(model, NUM_IMAGES, seed), dataset, judge),
            }
            if name == "dcgan" and seed < options.synthetic_seeds:
                row[name]["synthetic_accuracy"] = synthetic_accuracy(
                    model, dataset, classifier, seed=seed
                ).value
            print(f"seed {seed}, {name}: {json.dumps(row[name])}", flush=True)
        rows.append(row)
        add_row(options.out, row)
    ratios = [row["dcgan-plain"]["FID"][0] / row["dcgan"]["FID"][0] for row in rows]
    print(
        f"real images: {json.dumps(real)}\nplain FID / our FID:"
        f" {', '.join(f'{ratio:.1f}' for ratio in ratios)}"
    )


if __name__ == "__main__":
    main()
