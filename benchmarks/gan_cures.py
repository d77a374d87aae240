"""Three habits of GAN training over seeds: `detach`, a moving average of the weights, and spectral
normalisation. A row is written as soon as its training has ended; one that is there is not trained
again, unless its settings or images have changed.

    python benchmarks/gan_cures.py detach --dataset strokes --out FILE.jsonl
    python benchmarks/gan_cures.py average --dataset strokes --out FILE.jsonl
    python benchmarks/gan_cures.py spectral --dataset strokes --out FILE.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

from course_utils.data import load_dataset
from course_utils.studies.collapse import train_missing
from course_utils.studies.gan_cures import (
    NUM_DETACH_SEEDS,
    average_words,
    detach_trainings,
    detach_words,
    ema_trainings,
    spectral_trainings,
    spectral_words,
)

STUDIES = {
    "detach": (detach_trainings, detach_words),
    "average": (ema_trainings, average_words),
    "spectral": (spectral_trainings, spectral_words),
}


def main() -> None:
    """Trains what --out lacks, then prints what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--dataset", default="strokes")
    parser.add_argument("--seeds", type=int, help="default: 3, of spectral norm 5")
    parser.add_argument("--out", type=Path, default=Path("build/gan_cures.jsonl"))
    options = parser.parse_args()
    seeds = options.seeds or (5 if options.study == "spectral" else NUM_DETACH_SEEDS)
    trainings, words = STUDIES[options.study]
    rows = train_missing(trainings(load_dataset(options.dataset), seeds), options.out)
    print(words(rows) if seeds > 1 else "one seed says nothing about the noise between trainings")


if __name__ == "__main__":
    main()
