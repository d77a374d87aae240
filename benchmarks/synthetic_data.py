"""How good a classifier gets that has only seen generated images (CAS), next to one that saw as
many real ones: one JSON row each, as it comes.

    COURSE_DATA=../shared/data python benchmarks/synthetic_data.py --dataset mnist --out
    build/synthetic_mnist.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from course_utils.base.config import override
from course_utils.data import load_dataset
from course_utils.metrics.features import class_probabilities
from course_utils.studies.evaluate import find_extractor
from course_utils.studies.training_sets import synthetic_accuracy, trained_accuracy
from course_utils.training.presets import preset
from course_utils.training.runs import machine, pretrained


def main() -> None:
    """Appends a row for the real images and one for each family; the VAE takes no labels, the
    shipped classifier gives them.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", default="strokes", help="one that weights ship for (default: strokes)"
    )
    parser.add_argument("--families", nargs="+", default=["real", "vae", "dcgan", "diffusion"])
    parser.add_argument("--num", type=int, default=10_000, help="training images (default: 10000)")
    parser.add_argument(
        "--epochs",
        type=int,
        default=16,
        help="of the classifier (default: 16; with 10,000 images a third of the class's steps)",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="of samples and classifier (default: 3)"
    )
    parser.add_argument("--out", type=Path, default=Path("build/synthetic_data.jsonl"))
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    classify = find_extractor("classifier", dataset).classifier
    # Without a moving average: over so few steps it still holds the batch statistics of the first
    # ones, and 99 % in training became 82 % in a test.
    classifier = override(
        preset("classifier", "laptop"),
        {"train.num_epochs": options.epochs, "train.ema_decay": None},
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for family in options.families:
            start = time.perf_counter()
            if family == "real":
                found = trained_accuracy(
                    dataset.subset(num_train=options.num, seed=seed), classifier, seed=seed
                )
            else:
                labeller = (
                    (lambda images: class_probabilities(classify, images).argmax(1))
                    if family == "vae"
                    else None
                )
                model = pretrained(family, dataset.name).model
                found = synthetic_accuracy(
                    model, dataset, classifier, num_images=options.num, seed=seed, labeller=labeller
                )
            row = {
                "family": family,
                "seed": seed,
                "num": options.num,
                "accuracy": found.value,
                "error": found.error,
            }
            row |= {
                "num_epochs": classifier.train.num_epochs,
                "seconds": time.perf_counter() - start,
            }
            line = json.dumps({"dataset": dataset.name, "machine": machine(), **row})
            print(line, flush=True)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
