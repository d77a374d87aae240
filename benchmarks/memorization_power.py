"""Does the memorisation test keep its promise? Four parts, each printed as it comes, one JSON line
for each at the end of FILE.jsonl.

alarms      how often it cries wolf over samples that copy nothing: real images, drawn anew in
            each round as training, held-out and "generated" ones
power       how often it catches planted memorisers: 0 to 10 % copies, as they are and disguised
generators  what it says of the three shipped families, of blurred and of noisy real images, beside
            C_T and authenticity, which are fooled
sizes       diffusion trained on 100 images and on all but 10,000, as many steps each (long: two
            trainings for each seed)

    COURSE_DATA=../shared/data python benchmarks/memorization_power.py --dataset mnist --only alarms
    power generators
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.metrics.features import (
    Extractor,
    aligned_pixel_extractor,
    classifier_extractor,
    extract,
    pixel_extractor,
)
from course_utils.metrics.memorization import (
    Memorization,
    MemorizationTest,
    authenticity,
    data_copying_statistic,
)
from course_utils.metrics.neighbours import nearest_distances
from course_utils.studies.copies import DISGUISES, power_curve
from course_utils.studies.corruptions import blurred, noisy
from course_utils.studies.draw import draw_images, label_frequencies
from course_utils.studies.training_sets import train_size_experiment
from course_utils.training.presets import preset
from course_utils.training.runs import machine, pretrained

NUM_IMAGES, NUM_HELDOUT = 2000, 10_000
NUM_TRAIN = 20_000  # of a round of "alarms": a hundred rounds of all images would take an hour
PARTS = ("alarms", "power", "generators", "sizes")


def extractors(dataset: Dataset) -> list[Extractor]:
    """Returns the ways of seeing: the two that `course compare` uses, and plain pixels."""
    classifier = classifier_extractor(
        pretrained("classifier", dataset.name).model, f"classifier-{dataset.name}"
    )
    return [pixel_extractor(), aligned_pixel_extractor(), classifier]


def pieces(dataset: Dataset, sizes: list[int], seed: int) -> list[Tensor]:
    """Returns row numbers of disjoint random sets of training images; the last one takes what is
    left.
    """
    order = torch.randperm(len(dataset.train_images), generator=make_rng(seed, 7))
    return list(order.split([*sizes, len(order) - sum(sizes)]))


def false_alarms(dataset: Dataset, num_rounds: int) -> Iterator[dict]:
    """Yields the share of alarms for each way of seeing; training and held-out images are others in
    each round.
    """
    for extractor in extractors(dataset)[1:]:  # those that `course compare` uses
        features, start = extract(extractor, dataset.train_images), time.perf_counter()
        results = []
        for seed in range(num_rounds):
            fresh, heldout, train, _ = (
                features[rows]
                for rows in pieces(dataset, [NUM_IMAGES, NUM_HELDOUT, NUM_TRAIN], seed)
            )
            results.append(MemorizationTest(train, heldout, num_null=2000).judge(fresh))
        shares = torch.tensor([result.copied_share.value for result in results])
        yield {
            "part": "alarms",
            "extractor": extractor.name,
            "num_rounds": num_rounds,
            "alarms": sum(result.is_memorising() for result in results) / num_rounds,
            "alarms_at_1_percent": (
                sum(result.is_memorising(0.01) for result in results) / num_rounds
            ),
            "copied_share": [shares.mean().item(), shares.std().item()],
            "images_flagged_a_round": (
                sum(int(result.flags.sum()) for result in results) / num_rounds
            ),
            "seconds_a_round": (time.perf_counter() - start) / num_rounds,
        }


def power(dataset: Dataset, num_rounds: int) -> Iterator[dict]:
    """Yields a power curve for each way of seeing and each disguise."""
    fresh, heldout, train = (
        dataset.train_images[rows] for rows in pieces(dataset, [4 * NUM_IMAGES, NUM_HELDOUT], 0)
    )
    for extractor in extractors(dataset):
        test = MemorizationTest(
            extract(extractor, train), extract(extractor, heldout), extractor.name
        )
        for name, disguise in DISGUISES.items():
            rows = power_curve(
                test,
                extractor,
                fresh,
                train[: 2 * NUM_IMAGES],
                num_images=NUM_IMAGES,
                num_rounds=num_rounds,
                disguise=disguise,
            )
            yield {
                "part": "power",
                "extractor": extractor.name,
                "disguise": name,
                "rows": [asdict(row) for row in rows],
            }


def generators(dataset: Dataset) -> Iterator[dict]:
    """Yields what three tests say of generators that copy nothing, good and bad ones; the shipped
    ones have seen all images but the test images.
    """
    fresh, train = (dataset.train_images[rows] for rows in pieces(dataset, [NUM_IMAGES], 0))
    frequencies = label_frequencies(dataset.train_labels, dataset.num_classes)
    sets = {"real": fresh, "real, blurred": blurred(fresh), "real, noisy": noisy(fresh)}
    sets |= {
        family: draw_images(pretrained(family, dataset.name).model, NUM_IMAGES, frequencies)
        for family in ("vae", "dcgan", "diffusion")
    }
    for extractor in extractors(dataset):
        test = MemorizationTest(extract(extractor, train), extract(extractor, dataset.test_images))
        others = test.heldout[:NUM_IMAGES]
        null = nearest_distances(others, test.train)
        floor = authenticity(others, test.train).value
        for name, images in sets.items():
            features = extract(extractor, images)
            statistic = data_copying_statistic(nearest_distances(features, test.train), null)
            row = {
                "part": "generators",
                "extractor": extractor.name,
                "generator": name,
                "c_t": statistic,
                **summary(test.judge(features)),
            }
            yield row | {
                "authenticity": authenticity(features, test.train).value,
                "authenticity_of_heldout": floor,
            }


def summary(result: Memorization) -> dict:
    """Returns the numbers of one verdict."""
    share = result.copied_share
    return {
        "p_value": result.p_value,
        "copied_share": [share.value, share.error],
        "flagged": int(result.flags.sum()),
    }


def train_sizes(dataset: Dataset, num_seeds: int, family: str) -> Iterator[dict]:
    """Yields the verdicts on trainings of the laptop preset on few images and on all but the
    held-out ones.
    """
    for seed in range(num_seeds):
        for num_train in (100, len(dataset.train_images) - NUM_HELDOUT):
            row = train_size_experiment(
                replace(preset(family, "laptop"), seed=seed),
                dataset,
                num_train,
                num_heldout=NUM_HELDOUT,
            )
            verdicts = {name: summary(result) for name, result in row.verdicts.items()}
            yield {
                "part": "sizes",
                "family": family,
                "seed": seed,
                "num_train": num_train,
                "p_value": row.p_value,
                "verdicts": verdicts,
            }


def main() -> None:
    """Runs the parts that are asked for; appends their rows to a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", default="strokes", help="one that weights ship for (default: strokes)"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--rounds", type=int, default=100, help="of alarms and power (default: 100)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="of sizes (default: 1)")
    parser.add_argument("--family", default="diffusion", help="of sizes (default: diffusion)")
    parser.add_argument("--out", type=Path, default=Path("build/memorization_power.jsonl"))
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    parts = {
        "alarms": lambda: false_alarms(dataset, options.rounds),
        "power": lambda: power(dataset, options.rounds),
        "generators": lambda: generators(dataset),
        "sizes": lambda: train_sizes(dataset, options.seeds, options.family),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        for row in parts[name]():
            line = json.dumps({"dataset": dataset.name, "machine": machine(), **row})
            print(line, flush=True)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
