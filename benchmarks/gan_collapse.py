"""Mode collapse, reproduced and cured: the broken DCGAN and each mitigation, and broken and final
settings on the ring, over several seeds.

A training on digits counts as collapsed where a tenth of an equal share of samples is reached by
fewer than half of the classes, as cured where it is reached by at least 8 of 10. A finished
training is not run again: rows are appended to --out as they come.

    COURSE_DATA=../shared/data python benchmarks/gan_collapse.py --dataset mnist --out
    build/gan_collapse.jsonl
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.base.images import signed_to_uint8
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.metrics.classes import class_coverage, class_kl
from course_utils.metrics.features import class_probabilities
from course_utils.models.base import Model
from course_utils.studies.ring import train_ring
from course_utils.training.fit import fit
from course_utils.training.presets import GAN_MITIGATIONS, preset
from course_utils.training.registry import build
from course_utils.training.runs import pretrained

NUM_IMAGES = 1000
COLLAPSED_BELOW, CURED_FROM = 0.5, 0.8  # share of the classes


def digits(dataset: Dataset, changes: dict[str, Any], seed: int, judge: Model) -> dict[str, Any]:
    """Returns what one training of the broken DCGAN with `changes` draws."""
    experiment = override(
        preset("dcgan-broken", "laptop"), {**changes, "train.num_validation_images": 0}
    ).fitted_to(dataset)
    model = build(experiment.model, seed)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        history = fit(model, dataset, experiment.train, seed=seed)
    probabilities = class_probabilities(
        judge, signed_to_uint8(model.eval().sample(NUM_IMAGES, rng=make_rng(9)))
    )
    frequencies = torch.bincount(dataset.train_labels).double() / len(dataset.train_labels)
    kl = class_kl(probabilities, frequencies)
    covered = class_coverage(probabilities).value
    return {
        "covered": covered,
        "class_kl": kl.value,
        "alarms": len(printed.getvalue().splitlines()),
        "seconds": history.seconds,
    }


def rows(
    dataset: Dataset, num_seeds: int, done: set[tuple[str, str, int]]
) -> Iterator[dict[str, Any]]:
    """Yields a row for each training that is not done."""
    judge = pretrained("classifier", dataset.name).model
    for name, seed in itertools.product(("dcgan", "dcgan-broken"), range(num_seeds)):
        if ("ring", name, seed) not in done:
            settings = preset(name, "laptop")
            yield {
                "data": "ring",
                "name": name,
                "seed": seed,
                **train_ring(settings.model, settings.train, seed=seed).coverage._asdict(),
            }
    for (name, changes), seed in itertools.product(
        {"broken": {}, **GAN_MITIGATIONS}.items(), range(num_seeds)
    ):
        if (dataset.name, name, seed) not in done:
            yield {
                "data": dataset.name,
                "name": name,
                "seed": seed,
                **digits(dataset, changes, seed, judge),
            }


def main() -> None:
    """Appends one row a training, then prints the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/gan_collapse.jsonl"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = (
        [json.loads(line) for line in options.out.read_text(encoding="utf-8").splitlines()]
        if options.out.exists()
        else []
    )
    for row in rows(
        load_dataset(options.dataset),
        options.seeds,
        {(row["data"], row["name"], row["seed"]) for row in found},
    ):
        print(json.dumps(row), flush=True)
        found.append(row)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    for name in ("dcgan", "dcgan-broken"):
        hit = [row["modes_hit"] for row in found if (row["data"], row["name"]) == ("ring", name)]
        print(f"ring, {name}: modes hit {hit} of 8")
    for name in ("broken", *GAN_MITIGATIONS):
        covered = [
            row["covered"] for row in found if (row["data"], row["name"]) == (options.dataset, name)
        ]
        collapsed, cured = (
            sum(share < COLLAPSED_BELOW for share in covered),
            sum(share >= CURED_FROM for share in covered),
        )
        print(
            f"{name:22} collapsed {collapsed} of {len(covered)}, cured {cured} of {len(covered)};"
            f" share of classes {covered}"
        )


if __name__ == "__main__":
    main()
