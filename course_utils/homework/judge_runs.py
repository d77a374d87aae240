"""Whether the runs of a model are there and are what they say: the class model and the changed one, with every seed, under settings that fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from course_utils.config import override
from course_utils.errors import CourseError
from course_utils.experiment import experiment_key
from course_utils.homework.budgets import NUM_IMAGES, homework_preset
from course_utils.homework.judge_texts import moment
from course_utils.homework.point import Point
from course_utils.homework.schema import Results, Row, Study
from course_utils.presets import Experiment

REQUIRED_METRICS = ("FID", "KID", "precision", "recall")
SHARES = ("precision", "recall", "class agreement", "separation")  # from 0 to 1
NEVER_NEGATIVE = ("FID", "class KL", "reconstruction", "KL", "denoising error", "diversity")
ROUNDING = -1e-6
GREY_28 = {"image_size": 28, "image_channels": 1, "num_classes": 10}
DATA_FIELDS = {"mnist": GREY_28, "fashion": GREY_28, "strokes": GREY_28}  # what follows from data that everybody has


def run_points(study: Study, results: Results) -> list[Point]:
    """Returns the points of the runs: both kinds with every seed, settings that fit, and numbers that can be."""
    return [_there("baseline", study, results), _there("changed", study, results), _settings(study, results), _numbers(study, results)]


def _there(kind: str, study: Study, results: Results) -> Point:
    """Every claimed seed once."""
    name = {"baseline": "runs of the class model", "changed": "runs of the changed model"}[kind]
    seeds = [row.seed for row in study.of_kind(kind)]
    missing = [seed for seed in results.seeds if seed not in seeds]
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    others = sorted({seed for seed in seeds if seed not in results.seeds})
    found = [f"missing: {_seeds(missing)}"] if missing else []
    found += [f"more than once: {_seeds(twice)}"] if twice else []
    found += [f"not among the seeds of the homework: {_seeds(others)}"] if others else []
    if not seeds:
        return Point(name, False, "there are none; start them with `course homework run`")
    return Point(name, not found, "; ".join(found) or f"{len(seeds)} seeds")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _settings(study: Study, results: Results) -> Point:
    """The settings of each run are those of the class model and of the plan, and its number belongs to them."""
    for row in study.rows:
        problem = wrong_run(row, study, results)
        if problem:
            return Point("settings of the runs", False, f"{row.kind}, seed {row.seed}: {problem}")
    return Point("settings of the runs", True, "as planned" if study.rows else "no runs")


def wrong_run(row: Row, study: Study, results: Results) -> str:
    """Returns why a run is not the class model, or the class model with the planned changes; "" where it is."""
    try:
        expected = _flat(planned_experiment(row, study, results).as_dict())
        found = _flat(Experiment.from_dict(row.experiment).as_dict())
    except CourseError as error:
        return f"its settings cannot be used: {error}"
    differing = [name for name, value in expected.items() if found.get(name) != value]
    if differing:
        values = ", ".join(f"{name} is {found.get(name)!r}, planned {expected[name]!r}" for name in differing[:3])
        return f"its settings are not those of the plan: {values}"
    if experiment_key(row.experiment, results.dataset.sha256) != row.key:
        return "its number does not belong to its settings and data; one of them was changed by hand"
    return ""


def planned_experiment(row: Row, study: Study, results: Results) -> Experiment:
    """Returns the experiment that a run of this kind and seed must be.

    Raises:
        CourseError: changes that the model refuses, or an ablation of something that was not changed.
    """
    changes: Mapping[str, Any] = {} if row.kind == "baseline" else study.changes
    if row.kind == "ablation":
        if row.ablated not in study.changes:
            raise CourseError(f"it leaves out {row.ablated!r}, which is not among the changes.")
        changes = {name: value for name, value in study.changes.items() if name != row.ablated}
    baseline = homework_preset(study.family, results.budget)
    model = row.experiment.get("model", {})
    known = DATA_FIELDS.get(results.dataset.name, {})
    from_data = {name: known.get(name, model.get(name)) for name in GREY_28 if hasattr(baseline.model, name)}
    fixed = {"dataset": results.dataset.name, "seed": row.seed, **{f"model.{name}": value for name, value in from_data.items()}}
    return override(override(baseline, fixed), changes)


def _flat(experiment: Mapping[str, Any]) -> dict[str, Any]:
    groups = {f"{group}.{name}": value for group in ("model", "train") for name, value in experiment[group].items()}
    return {name: experiment[name] for name in ("family", "dataset", "seed")} | groups


def _numbers(study: Study, results: Results) -> Point:
    """Metrics that are there, possible, of equally many images, and not copied from one run to another."""
    if not study.rows:
        return Point("numbers", False, "no runs, so no numbers")
    # A small folder of images has fewer test images than the budget asks for.
    num_images = NUM_IMAGES[results.budget] if results.dataset.name in DATA_FIELDS else _num_images(study.rows[0])
    for row in study.rows:
        problem = _impossible(row, num_images)
        if problem:
            return Point("numbers", False, f"{row.kind}, seed {row.seed}: {problem}")
    compared = [row for row in study.rows if row.kind != "ablation"]  # leaving out a change that did nothing gives the same numbers
    for one, other in combinations(compared, 2):
        if all(one.metrics[name].value == other.metrics[name].value for name in REQUIRED_METRICS):
            pair = f"{one.kind}, seed {one.seed}, and {other.kind}, seed {other.seed}"
            return Point("numbers", False, f"{pair}, have the same numbers; two different runs never do")
    return Point("numbers", True, f"{len(study.rows)} runs with {len(study.rows[0].metrics)} metrics each")


def _num_images(row: Row) -> int:
    return row.metrics["FID"].num_images if "FID" in row.metrics else 0


def _impossible(row: Row, num_images: int) -> str:
    """Returns what is wrong with the numbers of one run; "" where nothing is."""
    missing = [name for name in REQUIRED_METRICS if name not in row.metrics]
    if missing:
        return f"the metrics {', '.join(missing)} are missing"
    for name, metric in row.metrics.items():
        if not math.isfinite(metric.value):
            return f"{name} is {metric.value}, expected a finite number"
        if name in SHARES and not 0 <= metric.value <= 1:
            return f"{name} is {metric.value:g}, expected a share from 0 to 1"
        if name in NEVER_NEGATIVE and metric.value < ROUNDING:
            return f"{name} is {metric.value:g}, which is never negative"
    few = [name for name in REQUIRED_METRICS if row.metrics[name].num_images != num_images]
    if few:
        return f"{few[0]} is of {row.metrics[few[0]].num_images:,} images, expected {num_images:,} in this budget"
    if not row.history or not any(row.history.values()):
        return "its training curves are missing"
    if moment(row.finished) < moment(row.started):
        return f"it ends ({row.finished}) before it starts ({row.started})"
    return ""
