"""How many calls of the network do the shipped diffusion weights need, and how much are their
samples worth as training data?

For each number of calls: FID, precision, recall and agreement of conditional samples, with the
guidance that the weights ship with (each step then takes two calls). Then a classifier is trained
on generated images alone, as many as there are real ones, and tested on real ones. One JSON row a
result is appended to --out as it comes; a result that is there is not computed again.

    COURSE_DATA=../shared/data python benchmarks/diffusion_quality.py --out
    build/diffusion_quality.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from measure import add_row, measure, rows_in

from course_utils.base.device import make_rng, reuse_freed_memory
from course_utils.base.images import signed_to_uint8
from course_utils.data import load_dataset
from course_utils.studies.training_sets import synthetic_accuracy
from course_utils.training.presets import preset
from course_utils.training.runs import machine, pretrained

CALLS = (200, 40, 20, 10, 6)


def main() -> None:
    """Prints and writes one row of JSON for each number of calls, and one for the classifier that
    saw generated images only.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument(
        "--num", type=int, default=10_000, help="images for each number of calls (default: 10000)"
    )
    parser.add_argument(
        "--calls",
        type=int,
        nargs="*",
        default=CALLS,
        help=f"of the network, an image (default: {CALLS})",
    )
    parser.add_argument(
        "--guidance-scale",
        type=float,
        nargs="*",
        help="default: the one that the weights ship with",
    )
    parser.add_argument(
        "--synthetic",
        type=int,
        metavar="N",
        help="generated images for the classifier (default: as many as real ones; 0: none)",
    )
    parser.add_argument("--out", type=Path, default=Path("build/diffusion_quality.jsonl"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    reuse_freed_memory()
    dataset, model = load_dataset(options.dataset), pretrained("diffusion", options.dataset).model
    rows = rows_in(options.out)
    labels = torch.arange(options.num) % dataset.num_classes
    for scale in options.guidance_scale or [model.config.guidance_scale]:
        for calls in options.calls:
            what = {
                "what": "samples",
                "dataset": dataset.name,
                "guidance_scale": scale,
                "num_calls": calls,
                "num_images": options.num,
            }
            if any(what.items() <= row.items() for row in rows):
                continue
            start = time.perf_counter()
            per_step = 1 if scale in (0.0, 1.0) else 2
            sampled = model.trace(
                options.num,
                calls // per_step,
                guidance_scale=scale,
                labels=labels,
                rng=make_rng(0, 2),
                trajectory=False,
            )
            assert sampled.num_calls == calls, f"{calls} calls are no whole number of steps"
            _write(
                options.out,
                {
                    **what,
                    "seconds": time.perf_counter() - start,
                    **measure(signed_to_uint8(sampled.x), dataset, labels),
                },
            )
    if options.synthetic != 0 and not any(
        row["what"] == "classifier" and row["dataset"] == dataset.name for row in rows
    ):
        accuracy = synthetic_accuracy(
            model, dataset, preset("classifier", "laptop"), num_images=options.synthetic
        )
        value = {"accuracy": accuracy.value, "error": accuracy.error}
        _write(
            options.out,
            {
                "what": "classifier",
                "dataset": dataset.name,
                "num_generated": options.synthetic or len(dataset.train_images),
                **value,
            },
        )


def _write(path: Path, row: dict[str, Any]) -> None:
    row["machine"] = machine()
    print(json.dumps(row), flush=True)
    add_row(path, row)


if __name__ == "__main__":
    main()
