"""The commands that draw or judge images: sample, reconstruct, evaluate. Imported when one of them
runs.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from course_utils.base.config import require
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path
from course_utils.base.images import save_png, signed_to_uint8, uint8_to_signed
from course_utils.data import check_name, load_dataset
from course_utils.data.dataset import Dataset
from course_utils.models.base import Model, check_num_samples
from course_utils.models.diffusion.model import Diffusion
from course_utils.studies.draw import (
    LABELS,
    check_same_images,
    collect_images,
    names_a_run,
    sample_in_batches,
)
from course_utils.studies.evaluate import (
    MAX_IMAGES,
    MIN_IMAGES,
    NLL,
    NUM_DRAWS,
    Evaluation,
    MetricRow,
    check_likelihood,
    check_metrics,
    check_num_images,
    evaluate_images,
    negative_log_likelihood,
)
from course_utils.training.runs import Run, load_data_of, resolve

if TYPE_CHECKING:
    from course_utils.models.text_to_image import TextToImage
    from course_utils.models.vae import VAE


def sample_command(options: argparse.Namespace) -> int:
    """Draws images from a trained model into a file; a .npz holds the classes that it was told as
    well.
    """
    if options.out.suffix.lower() not in (".npz", ".png"):
        raise CourseError(f"--out: expected a name that ends in .npz or .png, got {options.out}.")
    if options.seed < 0:
        raise CourseError(f"--seed: expected 0 or more, got {options.seed}.")
    check_num_samples(options.num)
    model = resolve(options.source).model
    steps = _steps_of(model, options.steps)
    labels = model.draw_labels(options.num, rng=make_rng(options.seed, LABELS))
    images = sample_in_batches(
        model,
        options.num,
        rng=make_rng(options.seed),
        labels=labels,
        images_per_call=options.num,
        **steps,
    )
    if options.out.suffix.lower() == ".png":
        save_png(images, options.out)
    else:
        arrays: dict[str, Any] = {"images": images.numpy()}
        if labels is not None:
            arrays["labels"] = labels.numpy()
        # an open file, since NumPy would add an ending to .NPZ
        with atomic_path(options.out) as partial, open(partial, "wb") as stream:
            np.savez_compressed(stream, **arrays)
    print(f"{options.out}: {len(images)} images, {options.source}, seed {options.seed}")
    return 0


def _steps_of(model: Model, num_steps: int | None) -> dict[str, int]:
    """Returns what `sample` is told of the number of steps; raises CourseError where a model takes
    none.
    """
    if num_steps is None:
        return {}
    if not isinstance(model, Diffusion):
        raise CourseError(
            f"--steps: expected a diffusion model, got a {model.family}, which draws without steps;"
            " leave it out."
        )
    require(num_steps >= 1, "--steps", "at least 1", num_steps)
    return {"num_steps": num_steps}


def draw_command(options: argparse.Namespace) -> int:
    """Draws pictures for a caption into a file; unknown words are named with those that are
    known.
    """
    if options.out.suffix.lower() != ".png":
        raise CourseError(f"--out: expected a name that ends in .png, got {options.out}.")
    if options.seed < 0:
        raise CourseError(f"--seed: expected 0 or more, got {options.seed}.")
    model = cast("TextToImage", resolve(options.model, family="text-to-image").model)
    pictures = model.sample(
        options.num,
        captions=options.caption,
        negative=options.negative,
        guidance_scale=options.guidance,
        rng=make_rng(options.seed),
    )
    columns = math.ceil(math.sqrt(options.num))
    save_png(signed_to_uint8(pictures).cpu(), options.out, num_columns=columns)
    print(f"{options.out}: {len(pictures)} pictures, {options.caption!r}, seed {options.seed}")
    return 0


def reconstruct_command(options: argparse.Namespace) -> int:
    """Writes test images and what a VAE makes of them."""
    run = resolve(options.source, family="vae")
    dataset = data_for(run, options)
    images = dataset.subset(num_test=min(50, len(dataset.test_images))).test_images
    with torch.no_grad():
        model = cast("VAE", run.model)
        recovered = signed_to_uint8(
            model.reconstruct(uint8_to_signed(images).to(model.device))
        ).cpu()
    rows = [
        pair
        for start in range(0, len(images), 10)
        for pair in (images[start : start + 10], recovered[start : start + 10])
    ]
    save_png(torch.cat(rows), options.out)
    print(
        f"{options.out}: rows alternate between test images of {dataset.name} and their"
        " reconstructions"
    )
    return 0


def data_for(run: Run, options: argparse.Namespace) -> Dataset:
    """Returns the dataset of `--dataset`, else the one that a run was trained on."""
    if options.dataset is None:
        return load_data_of(run, options.data)
    if options.data is not None:
        raise CourseError("--data: says where your own pictures lie; leave out --dataset.")
    return load_dataset(options.dataset, image_size=run.experiment.model.image_size)


def evaluate_command(options: argparse.Namespace) -> int:
    """Prints a table of metrics with error bars, and writes it as JSON and CSV."""
    if options.out is not None and options.out.suffix.lower() != ".json":
        raise CourseError(f"--out: expected a name that ends in .json, got {options.out}.")
    if options.seed < 0:
        raise CourseError(f"--seed: expected 0 or more, got {options.seed}.")
    metrics = options.metrics.split(",") if options.metrics is not None else None
    check_metrics(metrics)
    _check_against(options.against)
    if options.k is not None and NLL not in (metrics or ()):
        raise CourseError("--k: belongs to the metric nll; add --metrics nll.")
    judged = _model_with_likelihood(options.source) if NLL in (metrics or ()) else None
    dataset = load_dataset(options.against, image_size=options.image_size, verbose=False)
    if judged is not None:
        check_same_images(judged, dataset, options.source)
    of_images = [name for name in metrics if name != NLL] if metrics is not None else None
    result = _evaluate_images(options, dataset, of_images) if of_images != [] else None
    if judged is not None:
        num_draws = NUM_DRAWS if options.k is None else options.k
        measured = negative_log_likelihood(
            judged, dataset, num_draws=num_draws, num_images=options.num, seed=options.seed
        )
        result = result or Evaluation(
            options.source, f"{dataset.name} test", "", measured.num_images, ()
        )
        result = replace(result, rows=(*result.rows, MetricRow(measured)))
    assert result is not None  # images were measured, or else the model was
    print(result)
    if options.out is not None:
        print(f"{options.out} and {result.save(options.out)}: written")
    return 0


def _check_against(name: str) -> None:
    """Raises CourseError unless a name is that of a dataset; says how a folder is written."""
    if not name.startswith("folder:") and Path(name).expanduser().is_dir():
        raise CourseError(
            f"--against: expected a dataset, got the folder {name}; write folder:{name}."
        )
    check_name(name)


def _model_with_likelihood(source: str) -> Model:
    """Returns the model of a source whose likelihood is asked for."""
    of_images = source.startswith("folder:") or source.endswith((".npz", ".npy"))
    if not names_a_run(source) and (of_images or Path(source).exists()):
        raise CourseError(
            f"nll: expected a model, got the images of {source}; give its run directory, or"
            " pretrained:FAMILY/DATASET."
        )
    model = resolve(source).model
    check_likelihood(model)
    return model


def _evaluate_images(
    options: argparse.Namespace, dataset: Dataset, metrics: list[str] | None
) -> Evaluation:
    """Returns the metrics of the images of a source, and prints what was done to them."""
    num_images = (
        options.num
        if options.num is not None
        else min(MAX_IMAGES, len(dataset.train_images), len(dataset.test_images))
    )
    check_num_images(num_images, dataset)
    images, labels, notes = collect_images(
        options.source, dataset, num_images, seed=options.seed, grey=options.grey
    )
    if len(images) < MIN_IMAGES:
        raise CourseError(
            f"{options.source}: expected at least {MIN_IMAGES} images to compare with"
            f" {dataset.name}, got {len(images)}; give more images."
        )
    if options.num is not None and len(images) < options.num:
        raise CourseError(
            f"--num: expected at most the {len(images):,} images of {options.source}, got"
            f" {options.num:,}."
        )
    if notes:
        print(f"{options.source}: {'; '.join(notes)}")
    return evaluate_images(
        images,
        dataset,
        metrics=metrics,
        features=options.features,
        source=options.source,
        labels=labels,
        seed=options.seed,
    )
