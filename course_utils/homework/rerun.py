"""One run of a student once more: the same settings, never the student's code, and whether the numbers agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_utils.errors import CourseError
from course_utils.homework.collect import SchoolClass
from course_utils.homework.schema import Results, Row, Study

if TYPE_CHECKING:  # torch costs seconds to import
    from course_utils.data.base import Dataset
    from course_utils.metrics.result import Measurement, Verdict
    from course_utils.presets import Experiment

MIN_ID = 6  # hexadecimal digits
# Other processors round differently, and after some epochs that is as another seed; with a few seeds their spread is known only roughly.
NUM_ERRORS = 3.0


@dataclass(frozen=True)
class Claim:
    """One run as a student reported it."""

    source: str
    results: Results
    study: Study
    row: Row

    @property
    def name(self) -> str:
        return f"{self.results.student}, {self.study.family}, {self.row.kind}, seed {self.row.seed}"


@dataclass(frozen=True)
class Rerun:
    """A claim and what came out here: one verdict a metric, real where the numbers do not agree.

    Attributes:
        same_data: whether the images here are bitwise those of the student.
        unknown: metrics that only one side has.
    """

    claim: Claim
    same_data: bool
    verdicts: tuple[Verdict, ...]
    unknown: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether there is something to compare and all of it agrees."""
        return bool(self.verdicts) and not any(self.verdicts)

    def __str__(self) -> str:
        lines = [f"{self.claim.name} ({self.claim.source}): {'agrees' if self.agrees else 'does not agree'}; each line: here against claimed."]
        lines += [f"  {verdict.text}" for verdict in self.verdicts]
        lines += [f"  {name}: only one side has it" for name in self.unknown]
        lines += [] if self.same_data else ["  The images differ from the student's in their SHA-256, which alone can change the numbers a little."]
        return "\n".join(lines)


RunAndMeasure = Callable[["Experiment", "Dataset"], Mapping[str, Any]]


def find_claims(school_class: SchoolClass, run_id: str) -> list[Claim]:
    """Returns everyone's claim of one run; class models are often the same run.

    Args:
        run_id: the run's number on the class page, or more digits of its key.

    Raises:
        CourseError: no such run, or two different ones.
    """
    if len(run_id) < MIN_ID or set(run_id) - set("0123456789abcdef"):
        raise CourseError(f"expected the number of a run, {MIN_ID} or more of the digits 0 to 9 and a to f, got {run_id!r}; the class page has them.")
    claims = [
        Claim(one.submission.source, one.submission.results, study, row)
        for one in school_class.judged
        for study in one.studies
        for row in study.rows
        if row.key.startswith(run_id)
    ]
    if not claims:
        raise CourseError(f"expected the number of a run in these submissions, got {run_id!r}; the class page lists them.")
    keys = {claim.row.key for claim in claims}
    if len(keys) > 1:
        raise CourseError(f"expected the number of one run, got {run_id!r}, with which {len(keys)} begin; give more digits.")
    return claims


def rerun(claims: list[Claim], load: Callable[[str], Dataset], run_and_measure: RunAndMeasure) -> list[Rerun]:
    """Returns what one training here says of each claim.

    Args:
        claims: of one run, by `find_claims`.
        load: gives the images of a dataset that everybody has, by name.
        run_and_measure: trains (or finds) an experiment and returns a row with `metrics`, as `sweep_run.run_and_measure`.

    Raises:
        CourseError: images that only the student has, or settings that are not the class model with planned changes in range.
    """
    experiments = [checked_experiment(claim) for claim in claims]
    dataset = load(claims[0].results.dataset.name)
    metrics = run_and_measure(experiments[0].fitted_to(dataset), dataset)["metrics"]
    return [_compare(claim, metrics, claim.results.dataset.sha256 == dataset.sha256) for claim in claims]


def checked_experiment(claim: Claim) -> Experiment:
    """Returns the experiment of a claim, built from its data alone and within the ranges of the homework: a billion layers are data too.

    Raises:
        CourseError: as `rerun`.
    """
    from course_utils.homework.judge_runs import DATA_FIELDS, wrong_run
    from course_utils.homework.parameters import validate_changes
    from course_utils.presets import Experiment

    name = claim.results.dataset.name
    if name not in DATA_FIELDS:
        raise CourseError(f"{claim.name}: expected one of the datasets {', '.join(DATA_FIELDS)}, got {name!r}; only the student has these images.")
    problems = validate_changes(claim.study.family, claim.study.changes, claim.results.budget).problems
    if problems:
        raise CourseError(f"{claim.name}: is not run, since its changes would not have been accepted: {'; '.join(problems)}.")
    problem = wrong_run(claim.row, claim.study, claim.results)
    if problem:
        raise CourseError(f"{claim.name}: is not run, since {problem}.")
    return Experiment.from_dict(claim.row.experiment)


def _compare(claim: Claim, metrics: Mapping[str, Mapping[str, Any]], same_data: bool) -> Rerun:
    from course_utils.metrics.result import is_difference_real

    verdicts, unknown = [], sorted(set(metrics) ^ set(claim.row.metrics))
    for name, claimed in claim.row.metrics.items():
        if name in metrics:
            here = _measurement(name, metrics[name]["value"], metrics[name]["error"], metrics[name]["num_images"], _spread(claim, name))
            there = _measurement(name, claimed.value, claimed.error, claimed.num_images, 0.0)
            verdicts.append(is_difference_real(here, there, NUM_ERRORS))
    return Rerun(claim, same_data, tuple(verdicts), tuple(unknown))


def _measurement(name: str, value: float, error: float | None, num_images: int, spread: float) -> Measurement:
    from course_utils.metrics.result import Measurement

    return Measurement(name, value, math.hypot(error or 0.0, spread), num_images)


def _spread(claim: Claim, name: str) -> float:
    """Returns the standard deviation of a metric between the student's own seeds, 0 where there is only one."""
    rows = claim.study.of_kind(claim.row.kind, claim.row.ablated)
    values = [row.metrics[name].value for row in rows if name in row.metrics]
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0
