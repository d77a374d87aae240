"""Mode collapse, reproduced and cured: the broken DCGAN and each mitigation, or the broken and the
course's settings on the ring, over several seeds.

A training on images counts as collapsed where a tenth of an equal share of samples is reached by
fewer than half of the classes, as cured where it is reached by at least 8 of 10. A row is written
as soon as its training has ended. One that is there is not trained again, unless its settings or
images have changed.

    python benchmarks/gan_collapse.py --dataset strokes --out FILE.jsonl
    python benchmarks/gan_collapse.py --dataset ring --out FILE.jsonl
    COURSE_DATA=../shared/data python benchmarks/gan_collapse.py --dataset mnist --only R1 broken
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from course_utils.data import load_dataset
from course_utils.studies.collapse import (
    COLLAPSED_BELOW,
    CURED_FROM,
    NUM_COLLAPSE_SEEDS,
    collapse_trainings,
    ring_trainings,
    train_missing,
)


def counts(rows: list[dict[str, Any]]) -> list[str]:
    """Returns one line for each setting."""
    names = dict.fromkeys(row["name"] for row in rows)
    groups = {name: [row for row in rows if row["name"] == name] for name in names}
    lines = []
    for name, some in groups.items():
        seconds = f"{sum(row['seconds'] for row in some):.0f} s of training"
        if some[0]["dataset"] == "ring":
            hit, near = [row["modes_hit"] for row in some], [row["share_near"] for row in some]
            shares = ", ".join(f"{share:.0%}" for share in near)
            lines.append(f"{name:22} modes hit {hit} of 8, near one {shares}; {seconds}")
            continue
        hit, num_classes = [row["classes_covered"] for row in some], some[0]["num_classes"]
        collapsed = sum(one < COLLAPSED_BELOW * num_classes for one in hit)
        cured = sum(one >= CURED_FROM * num_classes for one in hit)
        kl = ", ".join(f"{row['class_kl']:.2f}" for row in some)
        lines.append(
            f"{name:22} collapsed {collapsed}, cured {cured} of {len(hit)}; classes hit {hit} of"
            f" {num_classes}; class KL {kl} nats; {seconds}"
        )
    return lines


def main() -> None:
    """Trains what --out lacks, then prints the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="mnist", help='a dataset, or "ring"')
    parser.add_argument("--seeds", type=int, default=NUM_COLLAPSE_SEEDS)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="settings; default: all")
    parser.add_argument("--out", type=Path, default=Path("build/gan_collapse.jsonl"))
    options = parser.parse_args()
    if options.dataset == "ring":
        trainings = ring_trainings(options.only, options.seeds)
    else:
        trainings = collapse_trainings(load_dataset(options.dataset), options.only, options.seeds)
    print("\n".join(counts(train_missing(trainings, options.out))))


if __name__ == "__main__":
    main()
