"""Breaks VAEs on purpose, one for each cause of the clinic, and asks `diagnose` what is wrong with
them.

    COURSE_DATASET=strokes python benchmarks/diagnose_check.py                  # 3 seeds
    COURSE_DATASET=mnist python benchmarks/diagnose_check.py --seeds 1

For each seed a healthy VAE is trained, and three whose training is wrong: latent_dim 1 (capacity),
beta 50 (collapse), augmentation. The other four are made from the healthy one, so that nothing else
can differ. The training transform is handed over for all of them.
"""

from __future__ import annotations

import argparse
import math
import time
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.data import load_dataset
from course_utils.data.augment import augment
from course_utils.data.dataset import Dataset
from course_utils.studies.clinic import Adapter, as_adapter, diagnose
from course_utils.training.presets import preset
from course_utils.training.runs import run

SMALL = {"model.hidden_dims": [128], "train.num_epochs": 3}
TRAININGS = {
    "healthy": {},
    "capacity": {"model.latent_dim": 1},
    "collapse": {"model.beta": 50.0},
    "augmentation": {"train.augmentation": "affine"},
}
# Each VAE of this size has holes in its prior, planted or not: a density that is fitted to its
# codes halves its FID. The tests examine that cause on pairs whose codes are known.
EVERYWHERE = "prior holes"
NOISE_FACTOR, ANGLE, NUM_DEAD, PRIOR_SCALE = 3.0, 0.4, 30, 2.0


def rotation(dim: int, angle: float, seed: int = 0) -> Tensor:
    """Returns a rotation that turns every vector by `angle` radians (the last dimension stays where
    `dim` is odd), `[dim, dim]`.
    """
    basis, _ = torch.linalg.qr(torch.randn(dim, dim, generator=make_rng(seed)))
    turn = torch.zeros(dim, dim)
    for i in range(0, dim - 1, 2):
        turn[i, i + 1], turn[i + 1, i] = angle, -angle
    return torch.matrix_exp(basis @ turn @ basis.T)


def with_codes(healthy: Adapter, change, undo=lambda z: z) -> Adapter:
    """Returns the pair whose encoder's answers (mu, logvar) are changed, and whose decoder first
    undoes something to z.
    """
    return Adapter(
        lambda images: change(*healthy.encode(images)),
        lambda z: healthy.decode(undo(z)),
        healthy.likelihood,
        healthy.noise_std,
    )


def broken(healthy: Adapter, dim: int) -> dict[str, Adapter]:
    """Returns the four pairs that are made from a healthy one, by the cause that was planted."""
    log_scale = 2 * math.log(NOISE_FACTOR)
    turn = rotation(dim, ANGLE)
    return {
        # Three times the noise in every dimension, but never more than the prior's.
        "latent noise": with_codes(
            healthy, lambda mu, logvar: (mu, (logvar + log_scale).clamp(max=0).maximum(logvar))
        ),
        # Every code is turned away from where the decoder expects it; their distribution stays what
        # it was.
        "amortisation": with_codes(healthy, lambda mu, logvar: (mu @ turn, logvar)),
        # More dimensions, which the encoder leaves at the prior and the decoder does not read.
        "active units": with_codes(
            healthy,
            lambda mu, logvar: (F.pad(mu, (0, NUM_DEAD)), F.pad(logvar, (0, NUM_DEAD))),
            lambda z: z[:, :dim],
        ),
        # Codes and decoder agree on another scale than the prior's.
        "prior moments": with_codes(
            healthy,
            lambda mu, logvar: (PRIOR_SCALE * mu, logvar + 2 * math.log(PRIOR_SCALE)),
            lambda z: z / PRIOR_SCALE,
        ),
    }


def examine(dataset: Dataset, seed: int) -> dict[str, list[str]]:
    """Returns, for each planted cause, the causes that `diagnose` found, without those that every
    VAE has; prints them on the way.
    """
    base = preset("vae", "laptop").changed(seed=seed)
    runs = {
        name: run(override(base, {**SMALL, **changes}), dataset)
        for name, changes in TRAININGS.items()
    }
    pairs = {name: as_adapter(trained.model) for name, trained in runs.items()}
    pairs |= broken(pairs["healthy"], runs["healthy"].model.config.latent_dim)
    found = {}
    for planted, pair in pairs.items():
        start = time.perf_counter()
        transform = partial(augment, kind="affine", rng=make_rng(seed, 7))
        diagnosis = diagnose(pair, dataset.test_images, train_transform=transform, seed=seed)
        found[planted] = [cause for cause in diagnosis.present if cause != EVERYWHERE]
        right = found[planted] == ([] if planted == "healthy" else [planted])
        values = ", ".join(f"{name} {f.number}" for name, f in diagnosis.findings.items())
        seconds = time.perf_counter() - start
        print(
            f"seed {seed} {planted:15} found {diagnosis.present or 'nothing'}"
            f" {'ok' if right else 'WRONG'} ({seconds:.1f} s): {values}",
            flush=True,
        )
    return found


def main() -> int:
    """Returns 0 when every planted cause was named, no other was, and the healthy VAEs raised no
    alarm.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, default 3")
    dataset = load_dataset()
    all_found = [examine(dataset, seed) for seed in range(parser.parse_args().seeds)]
    pairs = [(planted, names) for found in all_found for planted, names in found.items()]
    num_right = sum(
        names == ([] if planted == "healthy" else [planted]) for planted, names in pairs
    )
    print(f"{num_right} of {len(pairs)} right")
    return int(num_right < len(pairs))


if __name__ == "__main__":
    raise SystemExit(main())
