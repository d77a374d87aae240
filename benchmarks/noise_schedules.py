"""The noise schedules and the average of the weights, measured: the trainings of
`course_utils.studies.schedule_study`, one row each, which is written as soon as its training has
ended. A row that is there is not trained again, unless its settings or images have changed.

    python benchmarks/noise_schedules.py --dataset strokes --out FILE.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from course_utils.data import load_dataset
from course_utils.studies.collapse import train_missing
from course_utils.studies.schedule_study import (
    NUM_SCHEDULE_SEEDS,
    ema_words,
    schedule_trainings,
    schedule_words,
)


def main() -> None:
    """Trains what --out lacks, then prints what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="strokes")
    parser.add_argument("--seeds", type=int, default=NUM_SCHEDULE_SEEDS, help="2 or more")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="settings; default: all")
    parser.add_argument("--out", type=Path, default=Path("build/noise_schedules.jsonl"))
    options = parser.parse_args()
    trainings = schedule_trainings(load_dataset(options.dataset), options.only, options.seeds)
    rows = train_missing(trainings, options.out)
    print(ema_words(rows) if options.only else f"{schedule_words(rows)}\n\n{ema_words(rows)}")


if __name__ == "__main__":
    main()
