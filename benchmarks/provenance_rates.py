"""How often a key in the starting noise is found again: after each attack, with each knowledge of
the owner, with a search for shifts, with half a key; and what a key does to FID. One JSON row each.

    COURSE_DATA=../shared/data python benchmarks/provenance_rates.py --dataset mnist --out
    build/provenance_mnist.jsonl
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from course_utils.base.files import write_jsonl
from course_utils.data import load_dataset
from course_utils.studies.provenance import (
    KNOWLEDGE,
    attacks,
    provenance_study,
    quality_rows,
    quality_with_key,
)
from course_utils.training.runs import machine, pretrained

# (attacks, or None for all; further arguments of `provenance_study`)
PARTS: list[tuple[tuple[str, ...] | None, dict[str, Any]]] = [
    (None, {}),
    (("none",), {"knowledge": KNOWLEDGE[1]}),
    (("none",), {"knowledge": KNOWLEDGE[2]}),
    (("none", "shift 1 px", "shift 2 px"), {"reach_px": 2}),
    (("none",), {"share": 0.5}),
]
# arguments of `quality_with_key`
QUALITY: list[dict[str, Any]] = [
    {"share": 1.0, "fresh": False},
    {"share": 0.5, "fresh": False},
    {"share": 1.0, "fresh": True},
]


def main() -> None:
    """Writes the rows of the whole study; FILE is replaced."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", default="strokes", help="one that weights ship for (default: strokes)"
    )
    parser.add_argument("--keys", type=int, default=10, help="(default: 10)")
    parser.add_argument("--num", type=int, default=40, help="images a key (default: 40)")
    parser.add_argument("--keys-fid", type=int, default=5, help="for FID (default: 5)")
    parser.add_argument(
        "--num-fid", type=int, default=400, help="images a key for FID (default: 400)"
    )
    parser.add_argument("--out", type=Path, default=Path("build/provenance.jsonl"))
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    model = pretrained("diffusion", dataset.name).model.cpu().eval()
    found: list[dict[str, Any]] = []
    for names, arguments in PARTS:
        some = None if names is None else {name: attacks(model)[name] for name in names}
        amount = {"num_keys": options.keys, "images_per_key": options.num}
        for row in provenance_study(model, dataset, chosen=some, **amount, **arguments):
            print(row, flush=True)
            found.append({"part": "rates", **row.as_dict()})
    for arguments in QUALITY:
        amount = {"num_keys": options.keys_fid, "images_per_key": options.num_fid}
        for one in quality_rows(quality_with_key(model, dataset, **amount, **arguments)):
            print(arguments, one["verdict"], flush=True)
            found.append({"part": "quality", **arguments, **one})
    about = {"dataset": dataset.name, "machine": machine(), "measured": time.strftime("%Y-%m-%d")}
    write_jsonl(options.out, [{**about, **row} for row in found])


if __name__ == "__main__":
    main()
