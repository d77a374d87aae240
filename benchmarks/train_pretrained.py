"""Trains every set of weights that ships with the course again, each by one `course train` command,
into course_utils/pretrained/.

    COURSE_DATA=../shared/data python benchmarks/train_pretrained.py      # all, one after the other
    python benchmarks/train_pretrained.py vae-strokes classifier-strokes        # some
"""

from __future__ import annotations

import shutil
import sys

from course_utils.base.errors import unknown
from course_utils.cli.main import main as course
from course_utils.training.runs import PRETRAINED

DATASETS = ("strokes", "mnist")
OTHER_DATASETS = {"text-to-image": ("captions",)}
SMALL = "model.hidden_dims=[200,200]"
CLINIC = ("model.hidden_dims=[128]", "train.num_epochs=3")
# name: family and settings; notebooks 04 and 05 (the clinic) ask for the vae variants under the
# same settings
VARIANTS = {
    "classifier": ("classifier", ()),
    "vae": ("vae", ()),
    "vae-latent2": ("vae", ("model.latent_dim=2", "train.num_epochs=6")),
    "vae-beta025": ("vae", (SMALL, "model.beta=0.25", "train.num_epochs=3")),
    "vae-beta1": ("vae", (SMALL, "model.beta=1.0", "train.num_epochs=3")),
    "vae-beta4": ("vae", (SMALL, "model.beta=4.0", "train.num_epochs=3")),
    "vae-conv": ("vae", ("model.network=conv", "model.hidden_dims=[16,32]", "train.num_epochs=3")),
    # variants of presets.py; their weights lie under the same names
    "vae-binary": ("vae-binary", ()),
    "vae-binary-long": ("vae-binary-long", ()),
    "dcgan": ("dcgan", ()),
    "dcgan-unconditional": ("dcgan-unconditional", ()),
    "diffusion": ("diffusion", ()),
    "diffusion-long": ("diffusion-long", ()),
    "student": ("student", ()),  # learns from the shipped diffusion weights
    # larger and trained for longer than the preset, which a reader waits for
    "text-to-image": (
        "text-to-image",
        ("train.num_epochs=32", "model.channels=64", "model.latent_channels=8"),
    ),
    "regressor-inpaint-half": ("regressor-inpaint-half", ()),
    "vae-clinic": ("vae", CLINIC),
    **{
        f"vae-clinic-latent{dim}": ("vae", (*CLINIC, f"model.latent_dim={dim}"))
        for dim in (1, 2, 5, 10, 50)
    },
    "vae-clinic-beta02": ("vae", (*CLINIC, "model.beta=0.2")),
    "vae-clinic-beta5": ("vae", (*CLINIC, "model.beta=5.0")),
    "vae-clinic-beta50": ("vae", (*CLINIC, "model.beta=50.0")),
    "vae-clinic-freebits": ("vae", (*CLINIC, "model.beta=50.0", "model.free_bits=0.5")),
    "vae-clinic-affine": ("vae", (*CLINIC, "train.augmentation=affine")),
}
# long trainings
NOT_SHIPPED = ("vae-binary-long-strokes", "diffusion-long-mnist", "diffusion-long-strokes")


def main(names: list[str]) -> int:
    """Returns 0 when every named run (none: all) was trained."""
    all_names = [
        name
        for variant in VARIANTS
        for dataset in OTHER_DATASETS.get(variant, DATASETS)
        if (name := f"{variant}-{dataset}") not in NOT_SHIPPED
    ]
    for name in names or all_names:
        if name not in all_names:
            raise unknown("shipped run", name, all_names)
        variant, _, dataset = name.rpartition("-")
        family, settings = VARIANTS[variant]
        fresh = PRETRAINED / f"{name}.partial"  # the old weights stay until the new ones are there
        shutil.rmtree(fresh, ignore_errors=True)
        flags = [word for setting in settings for word in ("--set", setting)]
        code = course(
            [
                "train",
                family,
                "--dataset",
                dataset,
                "--budget",
                "laptop",
                "--half",
                "--out",
                str(fresh),
                *flags,
            ]
        )
        if code:
            return code
        shutil.rmtree(PRETRAINED / name, ignore_errors=True)
        fresh.rename(PRETRAINED / name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
