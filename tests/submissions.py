"""Submissions for tests: plausible numbers drawn from a seed, nothing trained. What a test wants to
break it changes in `results_dict`.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from pathlib import Path

from course_utils.homework.archive import write_submission
from course_utils.homework.parameters import homework_preset
from course_utils.homework.schema import check_results

SHA256 = "5" * 64
CHANGES = {
    "vae": {
        "model.latent_dim": (2, 4, 8, 40),
        "model.beta": (0.5, 2.0, 4.0),
        "train.learning_rate": (3e-4, 1e-2),
        "model.free_bits": (0.1, 0.5),
    },
    "dcgan": {
        "model.latent_dim": (8, 16, 200),
        "train.learning_rate": (1e-3, 6e-3),
        "train.batch_size": (32, 128),
        "model.r1_weight": (0.0, 5.0),
    },
    "diffusion": {
        "model.num_steps": (3, 5, 20),
        "model.guidance_scale": (1.2, 3.0),
        "model.embed_dim": (32, 64),
        "train.ema_decay": (None, 0.9),
    },
}
METRICS = {
    "FID": (20.0, 0.5),
    "KID": (0.02, 0.001),
    "precision": (0.7, 0.01),
    "recall": (0.6, 0.01),
    "class KL": (0.05, 0.01),
}
WORDS = (
    "the model latent samples become blurry sharper because decoder has fewer more dimensions noise"
    " steps guidance class coverage falls rises error seed larger smaller than baseline expected"
    " measured training loss curve collapse digits strokes thin loops closed open variance prior"
).split()


def prose(rng: random.Random, num_words: int = 60) -> str:
    """Returns words in a random order."""
    return " ".join(rng.choice(WORDS) for _ in range(num_words)).capitalize() + "."


def experiment_dict(family: str, changes: dict, seed: int) -> dict:
    """Returns the full experiment of the homework's laptop preset of a family with changes, for any
    seed.
    """
    values = homework_preset(family, "laptop").as_dict() | {"dataset": "strokes", "seed": seed}
    for name, value in changes.items():
        group, leaf = name.split(".")
        values[group] = {**values[group], leaf: value}
    return values


def row_dict(
    rng: random.Random,
    family: str,
    kind: str,
    changes: dict,
    seed: int,
    shift: float = 0.0,
    ablated: str | None = None,
) -> dict:
    """Returns one run whose metrics lie `shift` tenths of the usual value above it."""
    experiment = experiment_dict(family, changes, seed)
    key = hashlib.sha256(json.dumps([experiment, SHA256], sort_keys=True).encode()).hexdigest()
    drawn = {
        name: (value * (1 + 0.1 * shift) + rng.gauss(0, error), error)
        for name, (value, error) in METRICS.items()
    }
    metrics = {
        name: {"value": value, "error": error, "num_images": 2000}
        for name, (value, error) in drawn.items()
    }
    losses = [100 / (1 + epoch) + rng.random() for epoch in range(8)]
    return {
        "kind": kind,
        "ablated": ablated,
        "seed": seed,
        "experiment": experiment,
        "key": key,
        "started": "2025-03-01T10:00:00+00:00",
        "finished": "2025-03-01T10:01:00+00:00",
        "machine": "a test, cpu, 2 threads",
        "training_seconds": 40 + rng.random(),
        "sampling_seconds": 3 + rng.random(),
        "metrics": metrics,
        "history": {"train.epoch": [float(epoch) for epoch in range(1, 9)], "train.loss": losses},
        "data_sha256": SHA256,
    }


def study_dict(
    rng: random.Random,
    family: str,
    seeds: tuple[int, ...] = (0, 1, 2),
    num_changes: int = 3,
    ablate: bool = False,
) -> dict:
    """Returns one family's plan with its rows."""
    chosen = sorted(rng.sample(sorted(CHANGES[family]), num_changes))
    changes = {name: rng.choice(CHANGES[family][name]) for name in chosen}
    rows = [row_dict(rng, family, "baseline", {}, seed) for seed in seeds]
    shift = rng.uniform(-3, 3)
    rows += [row_dict(rng, family, "changed", changes, seed, shift) for seed in seeds]
    for name in chosen if ablate else ():
        rest = {other: value for other, value in changes.items() if other != name}
        shift = rng.uniform(-3, 3)
        rows += [row_dict(rng, family, "ablation", rest, seed, shift, name) for seed in seeds]
    texts = {part: prose(rng) for part in ("prediction", "observation", "explanation")}
    return {
        "family": family,
        "changes": changes,
        **texts,
        "planned": "2025-03-01T09:00:00+00:00",
        "rows": rows,
    }


def results_dict(
    seed: int = 0,
    families: tuple[str, ...] = ("vae", "dcgan"),
    ablate: bool = False,
    **changed: object,
) -> dict:
    """Returns the whole of a `results.json`; `changed` replaces entries of its top level."""
    rng = random.Random(seed)
    return {
        "version": 1,
        "student": f"Student {seed}",
        "course_version": "0.1.0",
        "dataset": {"name": "strokes", "sha256": SHA256},
        "budget": "laptop",
        "seeds": [0, 1, 2],
        "created": "2025-03-01T12:00:00+00:00",
        "experiments": [study_dict(rng, family, ablate=ablate) for family in families],
        **changed,
    }


def png(
    width: int = 8,
    height: int = 8,
    *,
    header: bytes | None = None,
    pixels: bytes | None = None,
    extra: tuple = (),
) -> bytes:
    """Returns a grey PNG; `header`, `pixels` (before compression) and chunks in between may be
    given to break it.
    """
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0) if header is None else header
    pixels = (
        b"".join(
            b"\0" + bytes((17 * x + 31 * y) % 256 for x in range(width)) for y in range(height)
        )
        if pixels is None
        else pixels
    )
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def write_one(target: Path, seed: int = 0, **changed: object) -> Path:
    """Writes one whole submission and returns its path."""
    results = check_results(results_dict(seed, **changed))
    samples = {
        f"{study.family}-{kind}.png": png()
        for study in results.experiments
        for kind in ("baseline", "changed")
    }
    return write_submission(target, results, samples, "<!DOCTYPE html><title>report</title>")


def write_class(folder: Path, num_students: int = 40) -> list[Path]:
    """Writes the submissions of a class, each pair of families in turn."""
    pairs = (("vae", "dcgan"), ("vae", "diffusion"), ("dcgan", "diffusion"))
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write_one(
            folder / f"student-{seed:02d}.zip", seed, families=pairs[seed % 3], ablate=seed % 4 == 0
        )
        for seed in range(num_students)
    ]
