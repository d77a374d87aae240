"""How often each family draws a digit that is 2 % of its training set: one training a family and
seed, one JSON row each, as it comes.

    COURSE_DATA=../shared/data python benchmarks/rare_class.py --dataset mnist --out
    build/bias_mnist.jsonl
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from course_utils.data import load_dataset
from course_utils.studies.training_sets import bias_experiment
from course_utils.training.presets import preset
from course_utils.training.runs import machine


def main() -> None:
    """Appends a row for each training that FILE does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", default="strokes", help="one that a classifier ships for (default: strokes)"
    )
    parser.add_argument(
        "--families", nargs="+", default=["vae", "dcgan-unconditional", "dcgan", "diffusion"]
    )
    parser.add_argument("--rare", type=int, default=8, help="the digit (default: 8)")
    parser.add_argument(
        "--share", type=float, default=0.02, help="of it in the training set (default: 0.02)"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="trainings of each family (default: 1)"
    )
    parser.add_argument(
        "--num", type=int, default=10_000, help="samples of each training (default: 10000)"
    )
    parser.add_argument("--out", type=Path, default=Path("build/rare_class.jsonl"))
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = (
        [json.loads(line) for line in options.out.read_text(encoding="utf-8").splitlines()]
        if options.out.exists()
        else []
    )
    finished = {(row["dataset"], row["preset"], row["seed"], row["rare"]) for row in done}
    for seed in range(options.seeds):
        for name in options.families:
            if (dataset.name, name, seed, options.rare) in finished:
                continue
            experiment = replace(preset(name, "laptop"), seed=seed)
            row = asdict(
                bias_experiment(
                    experiment, dataset, options.rare, options.share, num_images=options.num
                )
            )
            line = json.dumps(
                {
                    "dataset": dataset.name,
                    "machine": machine(),
                    "preset": name,
                    "rare": options.rare,
                    **row,
                }
            )
            print(line, flush=True)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
