"""Bits per dimension of the models that ship, on the same test images: one JSON row a model and way
of computing.

    COURSE_DATA=../shared/data python benchmarks/bits_per_dimension.py --dataset mnist --out
    build/bits_mnist.jsonl
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from course_utils.base.files import write_jsonl
from course_utils.data import load_dataset
from course_utils.studies.likelihoods import bits_study
from course_utils.training.runs import machine, pretrained


def main() -> None:
    """Writes the rows of the whole study; FILE is replaced."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dataset", default="strokes", help="one that weights ship for (default: strokes)"
    )
    parser.add_argument("--families", nargs="+", default=["vae", "diffusion"])
    parser.add_argument("--num", type=int, default=300, help="test images (default: 300)")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[5, 10, 20, 40], help="of Heun's method"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bits.jsonl"))
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    models = {name: pretrained(name, dataset.name).model.cpu().eval() for name in options.families}
    rows = bits_study(dataset, models, num_images=options.num, flow_steps=options.steps)
    about = {"dataset": dataset.name, "machine": machine(), "measured": time.strftime("%Y-%m-%d")}
    write_jsonl(options.out, [{**about, **row.as_dict()} for row in rows])
    for row in rows:
        print(f"{row.model:20} {row.how:40} {row.bits.number:18} {row.num_calls:4} calls")


if __name__ == "__main__":
    main()
