"""What the homework's notebooks call: one object a model, whose methods are the steps of the assignment, in their order.

A step that comes too early prints one line that says what is missing first, so a notebook runs from top to bottom at any time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from course_utils.checkpoint import Run
from course_utils.data import load_dataset
from course_utils.data.base import Dataset
from course_utils.device import budget
from course_utils.errors import CourseError
from course_utils.files import runs_root
from course_utils.homework.folder import StudyFolder, find_homework, new_homework, study_folder
from course_utils.homework.gather import gather_results, read_homework
from course_utils.homework.parameters import ChangeReport, parameter_rows, validate_changes
from course_utils.homework.pictures import Picture, pictures, save_picture
from course_utils.homework.plan import make_plan, ready_plan, start_over, write_texts
from course_utils.homework.rule import Verdict, check
from course_utils.homework.schema import Plan
from course_utils.homework.study import ablation_effects, effects_of, run_study, variants
from course_utils.homework.table import Table
from course_utils.sweep_run import find_or_train

Step = TypeVar("Step", bound=Callable[..., Any])
PICTURE_IMAGES = {"smoke": 100, "laptop": 500, "gpu": 2_000}  # that the pictures with metrics draw, a point


def _patient(step: Step) -> Step:
    """Turns the error of a step that comes too early, or is not right yet, into a line; returns None then."""

    @functools.wraps(step)
    def attempt(*arguments: Any, **options: Any) -> Any:
        try:
            return step(*arguments, **options)
        except CourseError as error:
            print(f"not yet: {error}")
            return None

    return attempt


def open_homework(family: str, folder: Path | str | None = None) -> Homework:
    """Returns the homework of one model.

    Args:
        family: "vae", "dcgan" or "diffusion".
        folder: of the homework; None looks here and in the folders above. Where there is none, you work in a folder for trying out under `runs/`.

    Raises:
        CourseError: an unknown family, or a folder without a homework.
    """
    return Homework(study_folder(_own_folder(folder), family))


def _own_folder(folder: Path | str | None) -> Path:
    """Returns the folder of the homework that a notebook works in."""
    found = Path(folder) if folder is not None else find_homework()
    if found is not None:
        return found
    trial = runs_root() / "homework-trial"
    print("no homework.json here: you are trying out in a folder under runs/; `course homework new DIR` makes one of your own")
    if find_homework(trial) != trial.resolve():
        new_homework(trial, "trial", load_dataset("auto", verbose=False).name, budget())
    return trial


@_patient
def check_homework(folder: Path | str | None = None) -> Verdict:
    """Returns whether the assignment's rule is met, point by point; `folder` as for `open_homework`."""
    folder = _own_folder(folder)
    dataset = load_dataset(read_homework(folder)["dataset"], verbose=False)
    return check(gather_results(folder, dataset.sha256))


@_patient
def report_homework(folder: Path | str | None = None) -> None:
    """Writes report.html and submission.zip; `folder` as for `open_homework`."""
    from course_utils.homework.commands import report_command

    report_command(_own_folder(folder))


class Homework:
    """One model of the homework.

    Attributes:
        place: where it lies, with dataset, budget and seeds.
    """

    def __init__(self, place: StudyFolder) -> None:
        self.place = place

    def __repr__(self) -> str:
        place = self.place
        seeds = ", ".join(map(str, place.seeds))
        return f"Homework({place.family} on {place.dataset_name}, budget {place.budget}, seeds {seeds}, in {place.folder})"

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The images that both models are trained on."""
        return load_dataset(self.place.dataset_name, verbose=False)

    def parameters(self) -> Table:
        """Returns the class model: each parameter with its value, range, unit and meaning, and whether a change of it counts."""
        return Table(parameter_rows(self.place.family, self.place.budget), "parameter")

    def check(self, changes: Mapping[str, Any]) -> ChangeReport:
        """Returns what changes are worth; printing it says how many count."""
        report = validate_changes(self.place.family, changes, self.place.budget)
        print(report)
        return report

    @_patient
    def plan(self, changes: Mapping[str, Any], prediction: str) -> Plan:
        """Returns the plan that was kept: the changes, and what you expect of them. Once the changed model has run it stays as it is."""
        plan = make_plan(self.place, changes, prediction)
        print(f"planned {plan.planned}: {', '.join(f'{name} = {value}' for name, value in plan.changes.items())}")
        return plan

    @_patient
    def run(self, workers: int = 1) -> None:
        """Runs the class model and the changed one with every seed, as far as they have not run yet, and keeps the pictures for the report."""
        run_study(self.place, self.dataset, workers=workers)
        self.save_pictures()

    @_patient
    def ablate(self, workers: int = 1) -> None:
        """Runs the changed model without one of its changes at a time, each with every seed."""
        run_study(self.place, self.dataset, ablate=True, workers=workers)

    @_patient
    def table(self) -> Table:
        """Returns each metric of both models, mean over seeds with its error, and whether the difference is more than noise."""
        return Table([effect.as_row() for effect in effects_of(self.place, ready_plan(self.place).changes)], "metric")

    @_patient
    def ablation_table(self) -> Table:
        """Returns, for each change, how the metrics differ between the model with all changes and the one without it."""
        found = ablation_effects(self.place, list(ready_plan(self.place).changes))
        if not found:
            raise CourseError("nothing was left out yet; ablate() runs that.")
        rows = []
        for name, comparisons in found.items():
            cells = {one.name: f"{one.verdict.difference:+.3g} ({one.judgement})" if one.verdict else one.judgement for one in comparisons}
            rows.append({"what this change did": name, **cells})
        return Table(rows, "what this change did")

    @_patient
    def show(self, name: str) -> None:
        """Shows one picture of both models, trained with the first seed: "curves", "samples", or one that `picture_names` lists."""
        from course_utils.notebook import show

        found = self.pictures
        if name not in found:
            raise CourseError(f"there is no picture {name!r}; choose one of {', '.join(found)}.")
        show(*found[name])

    @property
    def picture_names(self) -> list[str]:
        """What `show` can show."""
        return list(self.pictures)

    @functools.cached_property
    def pictures(self) -> dict[str, Picture]:
        """All pictures of both models."""
        return pictures(self.runs(), self.dataset, PICTURE_IMAGES[self.place.budget])

    def runs(self) -> dict[str, Run]:
        """Returns the class model and the changed one, trained with the first seed; what has not been trained is trained now.

        Raises:
            CourseError: no complete plan, or nothing has run.
        """
        plan = ready_plan(self.place)
        seed = self.place.seeds[0]
        done = [{row["seed"] for row in self.place.rows(kind)} for kind in ("baseline", "changed")]
        if not all(seed in seeds for seeds in done):
            raise CourseError(f"{self.place.family}: seed {seed} has not run with both models yet; run them first.")
        experiments = [variant.experiment for variant in variants(self.place.family, self.place.budget, plan.changes)]
        fitted = [replace(experiment, seed=seed).fitted_to(self.dataset) for experiment in experiments]
        return {name: find_or_train(experiment, self.dataset) for name, experiment in zip(("class model", "changed model"), fitted)}

    def save_pictures(self) -> list[Path]:
        """Writes all pictures into the folder, for the report, and returns their paths."""
        self.__dict__.pop("pictures", None)  # of runs that may be gone
        paths = []
        for name, picture in self.pictures.items():
            paths.append(self.place.samples_path / f"{name}.png")
            save_picture(picture, paths[-1])
        return paths

    @_patient
    def write(self, observation: str, explanation: str) -> Plan:
        """Returns the plan with what you saw and why you think it happened; write again as often as you like."""
        plan = write_texts(self.place, observation, explanation)
        print(f"kept {len(observation.split())} words of observation and {len(explanation.split())} of explanation")
        return plan

    @_patient
    def start_over(self) -> None:
        """Keeps plan and runs of this model aside, to begin anew with other changes."""
        print(f"kept in {start_over(self.place)}; plan anew")
