"""One run of a student done once more on this machine, from its settings alone, and compared with
what everybody says of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.homework.classroom import SchoolClass
from course_utils.homework.parameters import validate_changes
from course_utils.homework.rule import DATA_FIELDS, wrong_run
from course_utils.homework.schema import Results, Study, SubmittedRow
from course_utils.metrics.measurement import Difference, Measurement, is_difference_real
from course_utils.training.presets import Experiment

if TYPE_CHECKING:
    from course_utils.data.dataset import Dataset

MIN_ID = 6  # hexadecimal digits
# Other processors round differently, and after some epochs that is as another seed; with a few
# seeds their spread is known only roughly.
NUM_ERRORS = 3.0
NUM_OTHER_SEEDS = 2  # that are trained here where the first comparison fails, for their spread
# The spread between seeds widens the tolerance up to this share of the number found here: a setting
# that trains differently each time would otherwise agree with any claim.
MAX_SPREAD = 0.15
ODD_ERROR = 5.0  # times larger or smaller than the error here

RunAndMeasure = Callable[[Experiment, "Dataset"], Mapping[str, Any]]
Metrics = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Claim:
    """One run as a student reported it."""

    source: str
    results: Results
    study: Study
    row: SubmittedRow

    @property
    def name(self) -> str:
        """Student, family, kind and seed of the run, in words."""
        row = self.row
        return f"{self.results.student}, {self.study.family}, {row.kind}, seed {row.seed}"


@dataclass(frozen=True)
class Rerun:
    """A claim and what came out here: one verdict a metric, real where the numbers do not agree.

    Attributes:
        problem: why the claim's settings cannot be those of this run, or ""; then nothing else is
            said of it.
        same_data: whether the images here are bitwise those of the student.
        unknown: metrics that only one side has.
        odd_errors: a line for each metric whose claimed error bar is far from the one found here.
        num_runs: trainings here, with different seeds, that the tolerance comes from.
        notes: what went wrong with the others of these trainings.
    """

    claim: Claim
    same_data: bool
    verdicts: tuple[Difference, ...]
    unknown: tuple[str, ...]
    odd_errors: tuple[str, ...] = ()
    num_runs: int = 1
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def agrees(self) -> bool:
        """Whether there is something to compare and all of it agrees."""
        return bool(self.verdicts) and not any(self.verdicts) and not self.odd_errors

    def __str__(self) -> str:
        judged = "agrees" if self.agrees else "does not agree"
        first = f"{self.claim.name} ({self.claim.source}): {judged}"
        if self.problem:
            return f"{self.claim.source}: {self.problem}"
        runs = "one run" if self.num_runs == 1 else f"{self.num_runs} runs"
        lines = [f"{first}; each line: here against claimed, with the tolerance of {runs} here."]
        lines += [f"  {verdict.text}" for verdict in self.verdicts]
        lines += [f"  {name}: only one side has it" for name in self.unknown]
        lines += [f"  {line}" for line in (*self.odd_errors, *self.notes)]
        if not self.same_data:
            which = "  The images differ from the student's in their SHA-256"
            lines.append(f"{which}, which alone can change the numbers a little.")
        return "\n".join(lines)


def find_claims(school_class: SchoolClass, run_id: str) -> list[Claim]:
    """Returns everyone's claim of one run; class models are often the same run.

    Args:
        run_id: the run's number on the class page, or more digits of its key.

    Raises:
        CourseError: no such run, or two different ones.
    """
    if len(run_id) < MIN_ID or set(run_id) - set("0123456789abcdef"):
        expected = f"the number of a run, {MIN_ID} or more of the digits 0 to 9 and a to f"
        raise CourseError(f"expected {expected}, got {run_id!r}; the class page has them.")
    claims = [
        Claim(one.submission.source, one.submission.results, study, row)
        for one in school_class.judged
        for study in one.studies
        for row in study.rows
        if row.key.startswith(run_id)
    ]
    if not claims:
        expected = "the number of a run in these submissions"
        raise CourseError(f"expected {expected}, got {run_id!r}; the class page lists them.")
    keys = sorted({claim.row.key for claim in claims})
    if len(keys) > 1:
        found = f"{run_id!r}, with which {len(keys)} begin"
        which = ", ".join(keys[:3])
        raise CourseError(
            f"expected the number of one run, got {found}; give more digits ({which})."
        )
    return claims


def rerun(
    claims: list[Claim],
    load: Callable[[str], Dataset],
    run_and_measure: RunAndMeasure,
    *,
    has_pictures: bool = False,
) -> list[Rerun]:
    """Returns what trainings here say of each claim.

    The run is trained once. Where a claim lies further off than the errors of the metrics explain,
    the same settings are trained with other seeds, and the claim is judged again by their spread:
    another processor is as another seed. Nothing that the student measured widens the tolerance. A
    claim whose settings are not those of its number stops no other.

    Args:
        claims: of one run, by `find_claims`.
        load: gives the images of a dataset, by name.
        run_and_measure: trains (or finds) an experiment and returns a row with `metrics`.
        has_pictures: whether `load` also gives the pictures of a student's own.

    Raises:
        CourseError: every claim has images that are not here, or settings that are not the class
            model with planned changes in range.
    """
    sound, problems = sound_claims(claims, has_pictures)
    experiment = checked_experiment(sound[0], has_pictures)
    dataset = load(sound[0].results.dataset.name)
    here = [run_and_measure(experiment.fitted_to(dataset), dataset)["metrics"]]
    found = [_compare(claim, here, dataset.sha256) for claim in sound]
    if any(any(one.verdicts) for one in found):
        notes = []
        for seed in _other_seeds(sound[0]):
            other = replace(experiment, seed=seed).fitted_to(dataset)
            try:
                here.append(run_and_measure(other, dataset)["metrics"])
            except CourseError as error:  # one that diverges says nothing of the spread
                notes.append(f"seed {seed} gave no numbers here: {error}")
        found = [_compare(claim, here, dataset.sha256) for claim in sound]
        found = [replace(one, notes=tuple(notes)) for one in found]
    return [*found, *problems]


def sound_claims(
    claims: Sequence[Claim], has_pictures: bool = False
) -> tuple[list[Claim], list[Rerun]]:
    """Returns the claims that can be run, and for each of the others why not.

    Raises:
        CourseError: none can be run.
    """
    sound, problems = [], []
    for claim in claims:
        try:
            checked_experiment(claim, has_pictures)
            sound.append(claim)
        except CourseError as error:
            problems.append(Rerun(claim, False, (), (), problem=str(error)))
    if not sound:
        raise CourseError(problems[0].problem)
    return sound, problems


def _other_seeds(claim: Claim) -> list[int]:
    """Returns seeds beside the claim's own, the student's first: those may be trained already."""
    seeds = dict.fromkeys([*claim.results.seeds, *range(NUM_OTHER_SEEDS + 1)])
    return [seed for seed in seeds if seed != claim.row.seed][:NUM_OTHER_SEEDS]


def checked_experiment(claim: Claim, has_pictures: bool = False) -> Experiment:
    """Returns the experiment of a claim, built from its data alone.

    Its settings are within the ranges of the homework: a billion layers are data too.

    Raises:
        CourseError: as `rerun`.
    """
    name, study = claim.results.dataset.name, claim.study
    if name not in DATA_FIELDS and not has_pictures:
        expected = f"one of the datasets {', '.join(DATA_FIELDS)}"
        found = f"{name!r}; only the student has these images. Ask for the folder with the pictures"
        raise CourseError(f"{claim.name}: expected {expected}, got {found}, and give --data PATH.")
    if has_pictures and not name.startswith("folder:"):
        expected = "a run on a student's own pictures with --data"
        raise CourseError(f"{claim.name}: expected {expected}, got one on {name!r}; leave it out.")
    problems = validate_changes(study.family, study.changes, claim.results.budget).problems
    if problems:
        reason = f"its changes would not have been accepted: {'; '.join(problems)}"
        raise CourseError(f"{claim.name}: is not run, since {reason}.")
    problem = wrong_run(claim.row, study, claim.results)
    if problem:
        raise CourseError(f"{claim.name}: is not run, since {problem}.")
    return Experiment.from_dict(claim.row.experiment)


def _compare(claim: Claim, here: Sequence[Metrics], sha256: str) -> Rerun:
    """Returns the verdict on a claim by runs here; the first has the claim's seed."""
    first, verdicts, odd = here[0], [], []
    for name, claimed in claim.row.metrics.items():
        if name in first:
            found = first[name]
            own_error = found["error"] or 0.0
            spread = min(_spread(here, name), MAX_SPREAD * abs(found["value"]))
            measured = Measurement(
                name, found["value"], math.hypot(own_error, spread), found["num_images"]
            )
            # the claimed error is the student's word: it must not decide what agrees
            there = Measurement(name, claimed.value, 0.0, claimed.num_images)
            verdicts.append(is_difference_real(measured, there, NUM_ERRORS))
            if _is_odd(claimed.error, own_error):
                odd.append(f"{name}: its error is {claimed.error:.3g}, {own_error:.3g} here")
    unknown = tuple(sorted(set(first) ^ set(claim.row.metrics)))
    same_data = claim.results.dataset.sha256 == sha256
    return Rerun(claim, same_data, tuple(verdicts), unknown, tuple(odd), len(here))


def _spread(here: Sequence[Metrics], name: str) -> float:
    """Returns a metric's standard deviation between the runs here, 0 for a single one."""
    values = [metrics[name]["value"] for metrics in here if name in metrics]
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _is_odd(claimed: float | None, found: float) -> bool:
    if claimed is None or found == 0:
        return False
    return not found / ODD_ERROR <= claimed <= found * ODD_ERROR
