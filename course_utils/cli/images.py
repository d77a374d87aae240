"""The commands that draw or judge images: sample, reconstruct, evaluate. Imported when one of them
runs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path
from course_utils.base.images import save_png, signed_to_uint8, uint8_to_signed
from course_utils.data import check_name, load_dataset
from course_utils.data.dataset import Dataset
from course_utils.models.base import Model
from course_utils.studies.draw import collect_images, sample_in_batches
from course_utils.studies.evaluate import (
    MAX_IMAGES,
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
from course_utils.training.runs import resolve

if TYPE_CHECKING:
    from course_utils.models.vae import VAE


def sample_command(options: argparse.Namespace) -> int:
    """Draws images from a trained model into a file."""
    if options.out.suffix not in (".npz", ".png"):
        raise CourseError(f"--out: expected a name that ends in .npz or .png, got {options.out}.")
    if options.seed < 0:
        raise CourseError(f"--seed: expected 0 or more, got {options.seed}.")
    model = resolve(options.source).model
    images = sample_in_batches(
        model, options.num, rng=make_rng(options.seed), images_per_call=max(1, options.num)
    )
    if options.out.suffix == ".png":
        save_png(images, options.out)
    else:
        with atomic_path(options.out) as partial:
            np.savez_compressed(partial, images=images.numpy())
    print(f"{options.out}: {len(images)} images, {options.source}, seed {options.seed}")
    return 0


def reconstruct_command(options: argparse.Namespace) -> int:
    """Writes test images and what a VAE makes of them."""
    run = resolve(options.source, family="vae")
    dataset = load_dataset(
        options.dataset or run.experiment.dataset, image_size=run.experiment.model.image_size
    )
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


def evaluate_command(options: argparse.Namespace) -> int:
    """Prints a table of metrics with error bars, and writes it as JSON and CSV."""
    if options.out is not None and options.out.suffix != ".json":
        raise CourseError(f"--out: expected a name that ends in .json, got {options.out}.")
    if options.seed < 0:
        raise CourseError(f"--seed: expected 0 or more, got {options.seed}.")
    metrics = options.metrics.split(",") if options.metrics is not None else None
    check_metrics(metrics)
    check_name(options.against)
    if options.k is not None and NLL not in (metrics or ()):
        raise CourseError("--k: belongs to the metric nll; add --metrics nll.")
    judged = _model_with_likelihood(options.source) if NLL in (metrics or ()) else None
    dataset = load_dataset(options.against, image_size=options.image_size, verbose=False)
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


def _model_with_likelihood(source: str) -> Model:
    """Returns the model of a source whose likelihood is asked for."""
    if source.endswith(".npz"):
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
    """Returns the metrics of the images of a source."""
    num_images = (
        options.num
        if options.num is not None
        else min(MAX_IMAGES, len(dataset.train_images), len(dataset.test_images))
    )
    check_num_images(num_images, dataset)
    images = collect_images(options.source, num_images, options.seed, dataset.image_shape[1])
    if options.num is not None and len(images) < options.num:
        raise CourseError(
            f"--num: expected at most the {len(images):,} images of {options.source}, got"
            f" {options.num:,}."
        )
    return evaluate_images(
        images,
        dataset,
        metrics=metrics,
        features=options.features,
        source=options.source,
        seed=options.seed,
    )
