"""Every method on every inverse problem: PSNR, SSIM, diversity and misfit of several solutions, FID
of single ones, and seconds.

One JSON row a problem and method is written as it comes; a second call goes on where the first
stopped. Regressors that do not ship are trained first (about a minute each) and kept under runs/.
Problems that a method cannot have are left out.

    COURSE_DATA=../shared/data python benchmarks/inverse_table.py --dataset mnist --out
    build/inverse_mnist.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8, uint8_to_signed
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.inverse.problems import PROBLEMS, make_problem
from course_utils.inverse.solve import METHODS, recover, score_recoveries
from course_utils.metrics.features import extract
from course_utils.metrics.frechet import fid
from course_utils.models.base import Model
from course_utils.models.gaussian import fit_class_gaussians
from course_utils.studies.evaluate import find_extractor
from course_utils.training.presets import preset
from course_utils.training.runs import machine, pretrained, pretrained_names, run


def loader(dataset: Dataset) -> Callable[[str, str], Model | None]:
    """Returns a function (family, problem) -> model, or None where none ships; each is loaded,
    fitted or trained once.
    """
    kept: dict[str, Model | None] = {}

    def load(family: str, problem: str) -> Model | None:
        name = f"regressor-{problem}" if family == "regressor" else family
        if name not in kept:
            if family == "gaussian":
                kept[name] = fit_class_gaussians(
                    dataset.train_images, dataset.train_labels, dataset.num_classes
                )
            elif f"{name}-{dataset.name}" in pretrained_names():
                kept[name] = pretrained(name, dataset.name).model
            else:
                kept[name] = (
                    run(preset(name, "laptop"), dataset).model if family == "regressor" else None
                )
        return kept[name]

    return load


def measured(
    model: Model, dataset: Dataset, problem_name: str, method: str, options: argparse.Namespace
) -> dict:
    """Returns one row: quality of `--num` questions with `--samples` solutions each, FID of
    `--num-fid` questions with one solution each.
    """
    problem = make_problem(problem_name, dataset.image_shape)
    asked = dataset.subset(num_test=options.num_fid, seed=options.seed)
    truths = uint8_to_signed(asked.test_images)
    measurements = problem.measure(truths, make_rng(options.seed, 1))
    few = slice(options.num)
    start = time.perf_counter()
    solutions = recover(
        model,
        problem,
        measurements[few],
        options.samples,
        method=method,
        rng=make_rng(options.seed, 2),
    ).cpu()
    seconds = time.perf_counter() - start
    found = score_recoveries(solutions, truths[few], problem, measurements[few])
    single = recover(model, problem, measurements, 1, method=method, rng=make_rng(options.seed, 3))[
        0
    ].cpu()
    extractor, _ = find_extractor(None, dataset)
    # Not the truths themselves: a perfect solution would share its digit with them, and so would
    # the noise of the two sets.
    real = dataset.subset(num_train=options.num_fid, seed=options.seed).train_images
    found["FID"] = fid(
        extract(extractor, signed_to_uint8(single)), extract(extractor, real)
    ).labelled(extractor.name)
    return {
        "metrics": {name: (one.value, one.error) for name, one in found.items()},
        "seconds": seconds,
        "seconds_per_solution": seconds / (options.num * options.samples),
    }


def main() -> None:
    """Appends one row a problem and method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="strokes")
    parser.add_argument(
        "--problems", nargs="*", default=[name for name in PROBLEMS if name != "colourise"]
    )
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument(
        "--num",
        type=int,
        default=100,
        help="test images with several solutions each (default: 100)",
    )
    parser.add_argument("--samples", type=int, default=8, help="solutions of each (default: 8)")
    parser.add_argument(
        "--num-fid",
        type=int,
        default=1000,
        help="test images with one solution each, for FID (default: 1000)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/inverse_table.jsonl"))
    options = parser.parse_args()
    dataset = load_dataset(options.dataset)
    load = loader(dataset)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = (
        [json.loads(line) for line in options.out.read_text(encoding="utf-8").splitlines()]
        if options.out.exists()
        else []
    )
    finished = {(row["dataset"], row["problem"], row["method"]) for row in done}
    for problem in options.problems:
        for method in options.methods:
            key = {"dataset": dataset.name, "problem": problem, "method": method}
            model = (
                None if tuple(key.values()) in finished else load(METHODS[method].family, problem)
            )
            if model is None:
                continue
            try:
                found = measured(model, dataset, problem, method, options)
            except CourseError as error:
                print(f"{problem}, {method}: left out, {error}", flush=True)
                continue
            row = {
                **key,
                "machine": machine(),
                "num": options.num,
                "samples": options.samples,
                "num_fid": options.num_fid,
                **found,
            }
            print(json.dumps(row), flush=True)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
