"""The learner's own code in place of one of the models: what she changed in a file, trained and
measured on her own machine.

The file defines `train(dataset, seed)`, which returns `(draw, losses)`: `draw(n, rng)` gives `n`
images, float `[n, C, H, W]` in [-1, 1], and `losses` has one number a step. Whoever reads a
submission sees the change as text; nothing but `run_own` runs it.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.files import decode_text
from course_utils.base.images import signed_to_uint8
from course_utils.data.dataset import Dataset
from course_utils.exercises.mine import module_of
from course_utils.homework.measure import sample_metrics
from course_utils.homework.parameters import NUM_IMAGES
from course_utils.homework.pictures import Picture, save_picture
from course_utils.homework.schema import MAX_CODE, OwnCode, changed_lines
from course_utils.plotting import image_grid
from course_utils.studies.sweep import DATA_SHA256, Row, add_rows, read_rows
from course_utils.training.runs import experiment_key, machine

DRAWN_AT_ONCE = 500
MAX_POINTS = 100  # of the training curve that is kept
MIN_LINES = 1  # of code that differ
PICTURE_OF = {"baseline": "before", "changed": "after"}


def read_own_code(before: Path | str, after: Path | str) -> OwnCode:
    """Returns two versions of a file with `train`, checked as text; neither is run.

    Args:
        before: the reference, or what was built in class.
        after: the same with the change.

    Raises:
        CourseError: a file is missing, too long, no Python, without `train`, or without a change.
    """
    texts = [_source(Path(path)) for path in (before, after)]
    code = OwnCode(file=Path(after).name, before=texts[0], after=texts[1])
    if changed_lines(code) < MIN_LINES:
        raise CourseError(
            f"{after}: expected code that differs from {before}, got the same but for comments and"
            " layout; change a layer, a loss term or the sampler."
        )
    return code


def _source(path: Path) -> str:
    try:
        text = decode_text(path.read_bytes(), str(path)).replace("\r\n", "\n")
    except OSError as error:
        raise CourseError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if len(text) > MAX_CODE:
        raise CourseError(
            f"{path}: expected at most {MAX_CODE:,} characters, got {len(text):,}; keep what the"
            " model needs."
        )
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise CourseError(f"{path}: expected Python, got a syntax error: {error}.") from None
    if not any(isinstance(one, ast.FunctionDef) and one.name == "train" for one in body):
        raise CourseError(
            f"{path}: expected a function `train(dataset, seed)` that returns (draw, losses), got"
            " a file without one."
        )
    return text


def code_diff(code: OwnCode) -> str:
    """Returns the change as a unified diff with three lines around each place."""
    texts = (code.before.splitlines(), code.after.splitlines())
    lines = difflib.unified_diff(*texts, f"before/{code.file}", f"after/{code.file}", lineterm="")
    return "\n".join(lines)


def own_experiment(
    family: str, code: OwnCode, kind: str, dataset_name: str, seed: int
) -> dict[str, Any]:
    """Returns what the row of such a run says in place of settings: the SHA-256 of its code.

    Args:
        kind: "baseline" for the code before the change, "changed" for that after it.
    """
    text = code.before if kind == "baseline" else code.after
    digest = hashlib.sha256(text.encode()).hexdigest()
    about = {"family": family, "dataset": dataset_name, "seed": seed}
    return {**about, "model": {"code_sha256": digest}, "train": {}}


def run_own(
    family: str,
    code: OwnCode,
    dataset: Dataset,
    seeds: Sequence[int],
    budget_name: str,
    rows_path: Path,
    samples_path: Path,
) -> list[Row]:
    """Returns a row for each version of the code and each seed, after running what is missing;
    samples of the first seed are kept as pictures.

    Raises:
        CourseError: the code fails, or returns something else than it should; finished runs stay.
    """
    finished = {row["key"]: row for row in read_rows(rows_path)}
    rows = []
    for seed in seeds:
        for kind, text in (("baseline", code.before), ("changed", code.after)):
            experiment = own_experiment(family, code, kind, dataset.key, seed)
            key = experiment_key(experiment, dataset.sha256)
            if key not in finished:
                about = {"kind": kind, "ablated": None, "seed": seed, "experiment": experiment}
                print(f"  {kind}, seed {seed}: your code is training", flush=True)
                measured, images = _run(text, code.file, dataset, seed, NUM_IMAGES[budget_name])
                if seed == seeds[0]:
                    picture = Picture(image_grid(images[:20]), "")
                    save_picture(picture, samples_path / f"samples-{PICTURE_OF[kind]}.png")
                finished[key] = {**about, "key": key, **measured, DATA_SHA256: dataset.sha256}
                add_rows(rows_path, [finished[key]])
            rows.append(finished[key])
    return rows


def _run(
    text: str, name: str, dataset: Dataset, seed: int, num_images: int
) -> tuple[dict[str, Any], torch.Tensor]:
    """Runs one version of the learner's code; returns the columns of its row, and its samples."""
    started, start = _now(), time.perf_counter()
    try:
        torch.manual_seed(seed)  # of her first weights; what is passed in is seeded anyway
        draw, losses = module_of(text, name).train(dataset, seed)
        training = time.perf_counter() - start
        start = time.perf_counter()
        num_images = min(num_images, len(dataset.test_images))
        images = _drawn(draw, num_images, make_rng(seed, 7), dataset)
    except CourseError:
        raise
    except Exception as error:  # whatever a learner's code may raise
        where = _line_of(error, name)
        raise CourseError(f"{name}{where}: {type(error).__name__}: {error}.") from error
    columns = {
        "started": started,
        "finished": _now(),
        "machine": machine(),
        "training_seconds": training,
        "sampling_seconds": time.perf_counter() - start,
        "metrics": sample_metrics(images, None, dataset),
        "history": _curve(losses, name),
    }
    return columns, images


def _drawn(
    draw: Callable[..., Any], num_images: int, rng: torch.Generator, dataset: Dataset
) -> torch.Tensor:
    """Returns uint8 images `[num_images, C, H, W]`."""
    parts = []
    for first in range(0, num_images, DRAWN_AT_ONCE):
        number = min(DRAWN_AT_ONCE, num_images - first)
        with torch.no_grad():
            part = draw(number, rng)
        shape = (number, *dataset.image_shape)
        if not isinstance(part, torch.Tensor) or tuple(part.shape) != shape:
            found = tuple(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__
            raise CourseError(
                f"draw({number}, rng): expected images of shape {shape}, got {found}."
            )
        if not bool(part.isfinite().all()) or float(part.abs().max()) > 1 + 1e-4:
            raise CourseError(
                f"draw({number}, rng): expected finite values in [-1, 1], got some outside; images"
                " in [0, 1] become 2 * x - 1."
            )
        parts.append(signed_to_uint8(part.float().clamp(-1, 1)).cpu())
    return torch.cat(parts)


def _curve(losses: Any, name: str) -> dict[str, list[float]]:
    """Returns the training curve as at most 100 means, each with the last step that it is of."""
    values = [float(loss) for loss in losses]
    if not values or not all(map(math.isfinite, values)):
        raise CourseError(
            f"{name}: expected train to return (draw, losses) with a finite loss for each step, got"
            f" {len(values)} losses, {sum(map(math.isfinite, values))} of them finite."
        )
    size = -(-len(values) // MAX_POINTS)
    parts = [values[place : place + size] for place in range(0, len(values), size)]
    ends = itertools.accumulate(map(len, parts))
    means = [sum(part) / len(part) for part in parts]
    return {"train.step": [float(end) for end in ends], "train.loss": means}


def _line_of(error: BaseException, name: str) -> str:
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    return line


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
