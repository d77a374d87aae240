"""Whether pictures obey their captions: the shipped model, short trainings in latent and in pixel
space that take equally long, guidance, and scenes of two digits.

Everything is measured on the test pictures' captions and their combinations of digit and ink that
are in no training picture. Every row is written as it comes, and a second call goes on where the
first was cut off; trainings are kept under COURSE_RUNS.

    python benchmarks/text_to_image.py --out FILE                          # all
    python benchmarks/text_to_image.py --models latent --seeds 0 --out FILE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from measure import add_row, rows_in

from course_utils.base.device import make_rng
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.metrics.features import extract
from course_utils.metrics.frechet import fid
from course_utils.models.text_to_image import TextToImage
from course_utils.studies.reading import WordAccuracy, binding_errors
from course_utils.studies.text_agreement import (
    CaptionAgreement,
    agreement_by_length,
    caption_agreement,
    draw_captioned,
    guidance_sweep,
    reader_extractor,
)
from course_utils.training.fit import fit
from course_utils.training.presets import Experiment, preset
from course_utils.training.registry import build
from course_utils.training.runs import PRETRAINED, find_or_train, load_run, machine

MODELS = ("shipped", "latent", "pixel", "pixel-wide", "scenes")
# What differs from the preset in pixel space. The preset's network has fewer channels than a folded
# square has numbers; the wide one has more, and time for fewer steps.
PIXEL_CHANGES: dict[str, dict[str, Any]] = {
    "pixel": {"model__space": "pixel"},
    "pixel-wide": {"model__space": "pixel", "model__channels": 64},
}
WITH_GUIDANCE = ("shipped",)
SCALES = (1.0, 2.0, 3.0, 4.0, 6.0)
TIMED_STEPS = 12


def pixel_epoch_steps(latent: Experiment, changes: dict[str, Any], dataset: Dataset) -> int:
    """Returns how many steps an epoch of a pixel model has, so that its training takes the time of
    the latent model's: by the times of one step of each, on this machine and now.
    """
    share = latent.model.autoencoder_share
    autoencoder, flow, pixel = (
        step_seconds(latent.changed(**some), dataset)
        for some in (
            {"model__autoencoder_share": 0.999},
            {"model__autoencoder_share": 0.001},
            changes,
        )
    )
    num_steps = len(dataset.train_images) // latent.train.batch_size
    return round(num_steps * (share * autoencoder + (1 - share) * flow) / pixel)


def experiment_of(kind: str, seed: int, dataset: Dataset, budget: str, out: Path) -> Experiment:
    """Returns the preset in one of the two spaces. The number of steps of the pixel model is kept
    in a row of the file, so that all its seeds, and a second call, have the same.
    """
    experiment = replace(preset("text-to-image", budget), seed=seed).fitted_to(dataset)
    if kind not in PIXEL_CHANGES:
        return experiment
    changes = PIXEL_CHANGES[kind]
    known = [
        row["epoch_steps"]
        for row in rows_in(out)
        if (row["row"], row["model"]) == ("pixel steps", kind)
    ]
    if not known:
        known = [pixel_epoch_steps(experiment, changes, dataset)]
        about = {"row": "pixel steps", "model": kind, "seed": seed, "dataset": dataset.name}
        add_row(out, {**about, "machine": machine(), "epoch_steps": known[0]})
    changed = experiment.changed(**changes)
    num_steps = known[0] * experiment.train.num_epochs
    # an epoch has at least the steps of its images, so a slower model has fewer epochs
    per_epoch = len(dataset.train_images) // experiment.train.batch_size
    num_epochs = max(1, round(num_steps / max(known[0], per_epoch)))
    return changed.changed(train__num_epochs=num_epochs, train__min_epoch_steps=known[0])


def step_seconds(experiment: Experiment, dataset: Dataset) -> float:
    """Returns the seconds of one training step, the mean over some after one for warming up."""
    num_images = TIMED_STEPS * experiment.train.batch_size
    settings = replace(
        experiment.train, num_epochs=2, num_train_images=num_images, num_validation_images=0
    )
    history = fit(build(experiment.model), dataset, settings)
    ends = {row["epoch"]: row["seconds"] for row in history.rows}
    return (ends[2] - ends[1]) / TIMED_STEPS


def numbers(accuracy: WordAccuracy) -> dict[str, float]:
    """Returns what a table keeps of a share of right words."""
    return {"value": accuracy.value, "error": accuracy.error, "read": accuracy.read}


def agreement_row(agreement: CaptionAgreement) -> dict[str, Any]:
    """Returns shares by attribute, of all words and of whole captions."""
    by_attribute = {name: numbers(each) for name, each in agreement.by_attribute.items()}
    whole = {"words": numbers(agreement.words), "captions": numbers(agreement.captions)}
    return {"by_attribute": by_attribute, **whole, "num_images": agreement.captions.num_pictures}


def drawing_time(model: TextToImage, caption: str) -> float:
    """Returns the seconds of 16 pictures of a caption, the shortest of three times."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        model.sample(16, captions=caption, rng=make_rng(0))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measured(model: TextToImage, dataset: Dataset, num: int, seed: int) -> dict[str, Any]:
    """Returns agreement on test captions, also by how many attributes they name, on those of
    held-out combinations alone, FID and the time of 16 pictures.
    """
    captions = dataset.test_captions[:num]
    images = draw_captioned(model, captions, seed=seed)
    found = agreement_row(caption_agreement(images, captions))
    found["by_length"] = {
        str(length): agreement_row(agreement)
        for length, agreement in agreement_by_length(images, captions).items()
    }
    # the test pictures have all combinations, so those that are held out come from the whole set
    factors = cast(Mapping[str, torch.Tensor], dataset.test_factors)
    held = [text for text, out in zip(dataset.test_captions, factors["held_out"].tolist()) if out][
        :num
    ]
    found["held_out"] = agreement_row(
        caption_agreement(draw_captioned(model, held, seed=seed + 1), held)
    )
    extractor = reader_extractor()
    distance = fid(extract(extractor, images), extract(extractor, dataset.test_images[:num]))
    floor = fid(
        extract(extractor, dataset.train_images[:num]),
        extract(extractor, dataset.test_images[:num]),
    )
    found |= {"fid": distance.value, "fid_error": distance.error, "fid_floor": floor.value}
    found["seconds_of_16"] = drawing_time(model, captions[0])
    if dataset.name == "captions:scenes":
        binding = binding_errors(images, captions)
        found |= {"binding_scenes": binding.num_scenes, "binding_swapped": binding.num_swapped}
    return found


def guidance_row(
    model: TextToImage, dataset: Dataset, scale: float, num: int, seed: int
) -> dict[str, Any]:
    """Returns agreement, FID and variety with one strength of guidance."""
    [row] = guidance_sweep(model, dataset, [scale], num_images=num, seed=seed)
    return {
        "guidance_scale": scale,
        "words": numbers(row.agreement.words),
        "captions": numbers(row.agreement.captions),
        "fid": row.fid.value,
        "fid_error": row.fid.error,
        "variety": row.variety.value,
        "variety_error": row.variety.error,
        "num_images": num,
    }


def add_rows(
    kind: str,
    seed: int,
    wanted: Sequence[float | None],
    dataset: Dataset,
    options: argparse.Namespace,
) -> None:
    """Trains or finds one model and writes its wanted rows.

    Args:
        kind: one of `MODELS`.
        seed: of training and noise.
        wanted: strengths of guidance, a row each; None is the row of the model as it draws.
        dataset: whose captions are drawn.
        options: of the command line.
    """
    if kind == "shipped":
        trained = load_run(PRETRAINED / "text-to-image-captions")
    else:
        experiment = experiment_of(kind, seed, dataset, options.budget, options.out)
        trained = find_or_train(experiment, dataset, use_shipped=False).run
    about = {
        "model": kind,
        "seed": seed,
        "dataset": dataset.name,
        "train_seconds": trained.history.seconds,
        "train_machine": trained.record["machine"],
        "settings": trained.experiment.as_dict(),
        "machine": machine(),
    }
    model = cast(TextToImage, trained.model)
    for scale in wanted:
        if scale is None:
            found = measured(model, dataset, options.num, seed)
            add_row(options.out, {"row": "model", **about, **found})
        else:
            found = guidance_row(model, dataset, scale, options.num // 2, seed)
            add_row(options.out, {"row": "guidance", **about, **found})


def main(words: Sequence[str] | None = None) -> None:
    """Appends the rows that FILE does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of trainings")
    parser.add_argument("--num", type=int, default=2000, help="pictures of each row")
    parser.add_argument("--budget", default="laptop", help="of what is trained (default: laptop)")
    parser.add_argument("--out", type=Path, default=Path("build/text_to_image.jsonl"))
    options = parser.parse_args(words)
    for kind in options.models:
        dataset = load_dataset("captions:scenes" if kind == "scenes" else "captions")
        for seed in [0] if kind == "shipped" else options.seeds:
            done = {
                row.get("guidance_scale")
                for row in rows_in(options.out)
                if (row["model"], row["seed"]) == (kind, seed) and row["row"] != "pixel steps"
            }
            asked = (None, *SCALES) if kind in WITH_GUIDANCE else (None,)
            wanted = [scale for scale in asked if scale not in done]
            if wanted:
                add_rows(kind, seed, wanted, dataset, options)


if __name__ == "__main__":
    main()
