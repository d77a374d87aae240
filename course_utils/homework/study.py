"""A student's folder and the runs in it: the plan of a model, its trainings with every seed, and
everything as one value for the report.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from course_utils import __version__
from course_utils.base.config import override, require
from course_utils.base.device import BUDGETS
from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import atomic_path, handout_root, read_text, write_json
from course_utils.data import load_dataset, load_own_pictures
from course_utils.data.dataset import Dataset
from course_utils.homework.archive import MAX_SAMPLE_BYTES, MAX_SAMPLES
from course_utils.homework.measure import HOMEWORK_METRICS, MetricInfo, incomparable, measure_for
from course_utils.homework.own import read_own_code, run_own
from course_utils.homework.parameters import (
    FAMILIES,
    MIN_COUNTED,
    ChangeReport,
    homework_preset,
    validate_changes,
)
from course_utils.homework.rule import too_short
from course_utils.homework.schema import (
    MAX_NAME,
    MAX_PLAN_BYTES,
    MAX_ROW_BYTES,
    MAX_ROWS,
    MAX_SEEDS,
    MAX_TEXT,
    VERSION,
    Plan,
    Results,
    check_results,
    clean_name,
    parse_json,
    read_homework_file,
    read_plan,
    read_row,
)
from course_utils.studies.significance import SeedComparison, compare_seeds
from course_utils.studies.sweep import Row, read_rows, sweep
from course_utils.training.presets import Experiment

HOMEWORK, PLAN, ROWS, SAMPLES = "homework.json", "plan.json", "rows.jsonl", "samples"
CHALLENGE = "challenge"  # the folder of the few-step challenge


def read_homework(folder: Path) -> dict[str, Any]:
    """Returns what `homework.json` says: version, student, created, dataset, budget, seeds.

    Raises:
        CourseError: the folder holds no homework, or the file is damaged.
    """
    if not (folder / HOMEWORK).is_file():
        raise CourseError(
            f"{folder}: expected a homework folder, got one without {HOMEWORK}; make one with"
            f" `course homework new {folder}`."
        )
    return dict(read_homework_file(_capped(folder / HOMEWORK, MAX_PLAN_BYTES)))


def _capped(path: Path, max_bytes: int) -> bytes:
    """Returns the content of a file, and one byte more than allowed where it has more: then whoever
    reads it says so. A folder that is checked may be somebody else's.
    """
    if not path.is_file():
        raise CourseError(f"{path}: expected a file, got a folder or device.")
    try:
        with open(path, "rb") as stream:
            return stream.read(max_bytes + 1)
    except OSError as error:
        raise CourseError(f"cannot read {path}: {error.strerror or error}.") from error


def homework_sha256(folder: Path | str, data: str | None = None) -> str:
    """Returns the SHA-256 of the images that a homework is about.

    Where it is about the student's own pictures, that is what the rows say, and no picture is
    loaded: whoever checks a folder need not have them, and a path that somebody wrote into
    `homework.json` is not followed.

    Args:
        data: folder of the student's own pictures, for rows of older versions, which do not say it.

    Raises:
        CourseError: rows with different images, or rows that do not say it, and no `data`.
    """
    if data is not None or not read_homework(Path(folder))["dataset"].startswith("folder:"):
        return homework_data(folder, data).sha256
    rows = [row for path in sorted(Path(folder).glob(f"*/{PLAN}")) for row in _rows_of(path)]
    found = {row.get("data_sha256") for row in rows}
    if not rows:
        return "0" * 64  # of no images, as nothing has run
    if len(found) > 1 or None in found:
        raise CourseError(
            f"{folder}: expected runs that all say the same images, got"
            f" {'older ones that do not say it' if None in found else f'{len(found)} different'};"
            " name the folder of the pictures with --data PATH."
        )
    return str(found.pop())


def homework_data(folder: Path | str, data: str | None = None) -> Dataset:
    """Returns the images that a homework is about.

    Args:
        data: folder of the student's own pictures, where it is not the recorded one any more; it
            is recorded from then on.

    Raises:
        CourseError: own pictures that are gone or others, or `data` for a dataset with a name.
    """
    about = read_homework(Path(folder))
    if not about["dataset"].startswith("folder:"):
        if data is not None:
            raise CourseError(
                f"--data: belongs to a homework on your own pictures; this one is on"
                f" {about['dataset']}."
            )
        return load_dataset(about["dataset"], verbose=False)
    recorded = about.get("data", {})
    place, image_size = data or recorded.get("folder"), recorded.get("image_size", 28)
    dataset = load_own_pictures(about["dataset"], place, image_size, verbose=False)
    if data is not None:
        write_json(Path(folder) / HOMEWORK, about | _about_data(dataset))
    return dataset


def _about_data(dataset: Dataset) -> dict[str, Any]:
    """Returns what `homework.json` says about a dataset."""
    return {"dataset": dataset.key, **({"data": dataset.place} if dataset.place else {})}


def gather_results(folder: Path, dataset_sha256: str) -> Results:
    """Returns the results of a student's folder.

    Args:
        dataset_sha256: of the images that the runs were made with, 64 hexadecimal digits.

    Raises:
        CourseError: a file is missing or damaged; the line names the file.
    """
    about = read_homework(folder)
    about.pop("data", None)  # where the pictures lie is nobody else's business
    experiments = []
    for path in sorted(folder.glob(f"*/{PLAN}")):
        where = f"{path.parent.name}/{PLAN}"
        plan = parse_json(_capped(path, MAX_PLAN_BYTES), where, MAX_PLAN_BYTES)
        if not isinstance(plan, dict):
            raise CourseError(f"{where}: expected an object, got {type(plan).__name__}.")
        experiments.append({**plan, "rows": _rows_of(path)})
    dataset = {"name": about["dataset"], "sha256": dataset_sha256}
    whole_of_it = {
        **about,
        "dataset": dataset,
        "course_version": __version__,
        "experiments": experiments,
    }
    return check_results(whole_of_it, str(folder))


def gather_samples(folder: Path) -> dict[str, bytes]:
    """Returns the pictures of a student's folder as `{"vae-changed.png": bytes}`: the family, or
    "challenge", in front of the file's own name.
    """
    paths = [
        path
        for plan in sorted(folder.glob(f"*/{PLAN}"))
        for path in sorted((plan.parent / SAMPLES).glob("[!.]*.png"))
    ]
    named = {f"{path.parent.parent.name}-{path.name}": path for path in paths}
    for path in sorted((folder / CHALLENGE).glob("[!.]*.png")):
        named[f"{CHALLENGE}-{path.name}"] = path
    return {
        name: _capped(path, MAX_SAMPLE_BYTES)
        for name, path in list(named.items())[: MAX_SAMPLES + 1]
    }


def _rows_of(plan_path: Path) -> list[dict[str, Any]]:
    """Returns the finished runs of the family of a plan; none where nothing ran yet."""
    path = plan_path.parent / ROWS
    if not path.exists():
        return []
    if path.is_file() and path.stat().st_size > MAX_ROWS * MAX_ROW_BYTES:
        raise CourseError(
            f"{path}: expected at most {MAX_ROWS * MAX_ROW_BYTES:,} bytes, got"
            f" {path.stat().st_size:,}; put a copy there, or start over."
        )
    lines = [line.encode() for line in read_text(path).split("\n") if line.strip()]
    if not lines:
        read_rows(path)  # refuses a file that a power cut has emptied
    for number, line in enumerate(lines, 1):
        read_row(line, f"{path.parent.name}/{ROWS}, line {number}")
    return [parse_json(line, ROWS, MAX_ROW_BYTES) for line in lines[: MAX_ROWS + 1]]


SEEDS = (0, 1, 2)
# Two are the fewest with an error bar; the class model and the changed one are there already.
ABLATION_SEEDS = 2


def now() -> str:
    """Returns the time as ISO 8601 writes it, in UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _checked_name(name: str) -> str:
    try:
        cleaned, problem = clean_name(name), ""
    except ValueError as error:
        cleaned, problem = "", f" ({error})"
    if not 0 < len(cleaned) <= MAX_NAME:
        raise CourseError(
            f"name: expected 1 to {MAX_NAME} characters in one line, got {name!r}{problem}; give"
            " another one with --name."
        )
    return cleaned


def new_homework(
    folder: Path | str,
    student: str,
    dataset: Dataset | str,
    budget_name: str,
    seeds: Sequence[int] = SEEDS,
) -> list[Path]:
    """Makes a student's folder and returns the notebooks that were copied into it.

    Args:
        folder: made where it does not exist; what else lies there stays.
        student: name for the report.
        dataset: that all models are trained on, or its name, such as "strokes".
        budget_name: "smoke", "laptop" or "gpu".
        seeds: that every model is trained with.

    Raises:
        CourseError: the folder holds a homework already, a bad argument, or a folder that cannot be
            written.
    """
    folder = Path(folder)
    if (folder / HOMEWORK).exists():
        raise CourseError(
            f"{folder}: holds a homework already; go on in there, or choose another folder."
        )
    student = _checked_name(student)
    if budget_name not in BUDGETS:
        raise unknown("budget", budget_name, BUDGETS)
    whole = all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    require(
        0 < len(set(seeds)) == len(seeds) <= MAX_SEEDS and whole,
        "seeds",
        "different whole numbers of at least 0",
        list(seeds),
    )
    copied = []
    for source in sorted((handout_root() / "homework").glob("*.ipynb")):
        if not (folder / source.name).exists():
            with atomic_path(folder / source.name) as partial:
                shutil.copyfile(source, partial)
            copied.append(folder / source.name)
    about = {
        "version": VERSION,
        "student": student,
        "created": now(),
        **({"dataset": dataset} if isinstance(dataset, str) else _about_data(dataset)),
        "budget": budget_name,
        "seeds": list(seeds),
    }
    write_json(folder / HOMEWORK, about)
    return copied


@dataclass(frozen=True)
class StudyFolder:
    """One model of a student's homework on disk.

    Attributes:
        folder: of the whole homework.
        family: of the model.
        dataset_name, budget, seeds: of the whole homework; the first is `Dataset.key`.
    """

    folder: Path
    family: str
    dataset_name: str
    budget: str
    seeds: tuple[int, ...]

    @property
    def rows_path(self) -> Path:
        return self.folder / self.family / ROWS

    @property
    def plan_path(self) -> Path:
        return self.folder / self.family / PLAN

    @property
    def samples_path(self) -> Path:
        return self.folder / self.family / SAMPLES

    def plan(self) -> Plan | None:
        """Returns the plan, or None where there is none yet.

        Raises:
            CourseError: the file is damaged.
        """
        return (
            read_plan(_capped(self.plan_path, MAX_PLAN_BYTES), str(self.plan_path))
            if self.plan_path.exists()
            else None
        )

    def write_plan(self, plan: Plan) -> None:
        """Writes the plan in one step."""
        write_json(self.plan_path, plan.as_dict())

    def rows(self, kind: str | None = None, ablated: str | None = None) -> list[Row]:
        """Returns the finished runs, those of one kind where it is given."""
        return [
            row
            for row in read_rows(self.rows_path)
            if kind is None or (row["kind"] == kind and row["ablated"] == ablated)
        ]


def study_folder(folder: Path | str, family: str) -> StudyFolder:
    """Returns one model's place in a student's folder.

    Raises:
        CourseError: no homework in that folder, a damaged one, or an unknown family.
    """
    if family not in FAMILIES:
        raise unknown("family of the homework", family, FAMILIES)
    about = read_homework(Path(folder))
    return StudyFolder(
        Path(folder), family, about["dataset"], about["budget"], tuple(about["seeds"])
    )


def find_homework(start: Path | str = ".") -> Path | None:
    """Returns the nearest folder with a homework, at `start` or above it; None where there is
    none.
    """
    start = Path(start).resolve()
    return next(
        (folder for folder in (start, *start.parents) if (folder / HOMEWORK).is_file()), None
    )


def make_plan(place: StudyFolder, changes: Mapping[str, Any], prediction: str) -> Plan:
    """Returns the plan that was written to the folder: what will be changed, and what the student
    expects.

    It may be made again as often as one likes, until the changed model has run; from then on only
    an equal plan is accepted.

    Raises:
        CourseError: fewer than three changes that count, a prediction that says too little, or runs
            of another plan that are there already.
    """
    report = validate_changes(place.family, changes, place.budget)
    check_ready(report, prediction)
    texts = {"prediction": prediction, "observation": "", "explanation": ""}
    new = read_plan(
        json.dumps(
            {"family": place.family, "changes": dict(changes), **texts, "planned": now()}
        ).encode(),
        "plan",
    )
    old = place.plan()
    if old is not None and (old.changes, old.prediction) == (new.changes, new.prediction):
        return old
    if has_run(place) or (old is not None and old.own_code is not None and place.rows()):
        raise CourseError(
            f"{place.family}: the changed model has run, so changes and prediction stay as they"
            f" were planned ({old.planned if old else 'earlier'}). Write what you see into the"
            " observation; start_over() keeps these runs aside and begins anew."
        )
    place.write_plan(new)
    return new


def make_own_plan(
    place: StudyFolder, before: Path | str, after: Path | str, prediction: str
) -> Plan:
    """Returns the plan that was written to the folder: the student's own code in two versions in
    place of the class model and the changed one. As `make_plan`, it may be made again until the
    changed code has run.

    Raises:
        CourseError: files that `read_own_code` refuses, a prediction that says too little, or runs
            of another plan that are there already.
    """
    code = read_own_code(before, after)
    _check_prediction(place.family, prediction)
    values = {"family": place.family, "changes": {}, "prediction": prediction, "planned": now()}
    texts = {"observation": "", "explanation": "", "own_code": asdict(code)}
    new = read_plan(json.dumps(values | texts).encode(), "plan")
    old = place.plan()
    if old is not None and (old.own_code, old.prediction) == (new.own_code, new.prediction):
        return old
    if place.rows():
        raise CourseError(
            f"{place.family}: runs of another plan are there, so it stays as it was planned"
            f" ({old.planned if old else 'earlier'}); start_over() keeps these runs aside and"
            " begins anew."
        )
    place.write_plan(new)
    return new


def _check_prediction(family: str, prediction: str) -> None:
    problem = too_short(prediction)
    if problem:
        raise CourseError(
            f"{family}: the prediction: {problem}. Write what you expect, and why, before"
            " anything runs."
        )


def check_ready(report: ChangeReport, prediction: str) -> None:
    """Raises CourseError unless the changes are enough and the prediction is written."""
    if report.problems:
        raise CourseError(f"{report.family}: {'; '.join(report.problems)}.")
    if not report.enough:
        lacking = (
            "; ".join(str(entry) for entry in report.entries if entry.status != "counts")
            or "nothing else is changed"
        )
        raise CourseError(
            f"{report.family}: expected at least {MIN_COUNTED} changes that count, got"
            f" {report.num_counted}: {lacking}."
        )
    _check_prediction(report.family, prediction)


def has_run(place: StudyFolder) -> bool:
    """Returns whether a run with changes has finished."""
    return any(row["kind"] != "baseline" for row in place.rows())


def ready_plan(place: StudyFolder) -> Plan:
    """Returns the plan of a model that may run; a file that was edited by hand is judged again.

    Raises:
        CourseError: no plan, or one that is not complete.
    """
    plan = place.plan()
    if plan is None:
        raise CourseError(
            f"{place.family}: there is no plan yet; open {place.family}.ipynb, choose the changes"
            " and write a prediction first."
        )
    if plan.own_code is not None:
        _check_prediction(place.family, plan.prediction)
    else:
        check_ready(validate_changes(place.family, plan.changes, place.budget), plan.prediction)
    return plan


def write_texts(place: StudyFolder, observation: str, explanation: str) -> Plan:
    """Returns the plan with what the student saw and why; both may be written again as often as one
    likes.

    Raises:
        CourseError: nothing has run yet, or a text that says too little.
    """
    plan = ready_plan(place)
    if not has_run(place):
        raise CourseError(
            f"{place.family}: nothing has run yet, so there is nothing to observe; run it first."
        )
    for name, written in (("observation", observation), ("explanation", explanation)):
        problem = too_short(written)
        if not problem and len(written) > MAX_TEXT:
            problem = f"expected at most {MAX_TEXT:,} characters, got {len(written):,}"
        if problem:
            raise CourseError(f"{place.family}: the {name}: {problem}.")
    plan = replace(plan, observation=observation, explanation=explanation)
    place.write_plan(plan)
    return plan


def start_over(place: StudyFolder) -> Path:
    """Returns the folder that plan, rows and pictures were moved to; the trained models stay where
    they are and are found again.

    Raises:
        CourseError: there is nothing to move.
    """
    own = place.plan_path.parent
    if not own.exists():
        raise CourseError(f"{place.family}: there is nothing to start over from.")
    numbers = (
        number
        for number in range(1, 1000)
        if not (place.folder / "earlier" / f"{place.family}-{number}").exists()
    )
    target = place.folder / "earlier" / f"{place.family}-{next(numbers)}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(own, target)
    except OSError as error:
        raise CourseError(
            f"cannot move {own} to {target}: {error.strerror or error}; nothing was changed. Close"
            " the programs that use it, or choose a folder that you may write to."
        ) from error
    return target


@dataclass(frozen=True)
class Variant:
    """One experiment for all seeds and what it is for, as the rows say it."""

    kind: str
    ablated: str | None
    experiment: Experiment

    @property
    def labels(self) -> dict[str, Any]:
        return {"kind": self.kind, "ablated": self.ablated}


def variants(family: str, budget_name: str, changes: Mapping[str, Any]) -> list[Variant]:
    """Returns the class model and the model with all changes."""
    baseline = homework_preset(family, budget_name)
    return [
        Variant("baseline", None, baseline),
        Variant("changed", None, override(baseline, changes)),
    ]


def ablations(family: str, budget_name: str, changes: Mapping[str, Any]) -> list[Variant]:
    """Returns the models with all changes but one; one that the others need cannot be left out."""
    baseline, found = homework_preset(family, budget_name), []
    for left_out in changes:
        rest = {name: value for name, value in changes.items() if name != left_out}
        try:
            found.append(Variant("ablation", left_out, override(baseline, rest)))
        except CourseError as error:
            print(
                f"{left_out} cannot be left out: the other changes need it"
                f" ({str(error).rstrip('.')})"
            )
    return found


def run_study(
    place: StudyFolder,
    dataset: Dataset,
    *,
    ablate: bool = False,
    ablation_seeds: int = ABLATION_SEEDS,
    workers: int = 1,
    backend: str = "loky",
    scheduler: str | None = None,
) -> list[Row]:
    """Returns the rows of the class model and of the changed one, all seeds, after running what is
    missing; see `sweep`.

    Args:
        place: the student's folder; it must hold a complete plan.
        dataset: the one that `homework.json` names.
        ablate: also run the models with all changes but one.
        ablation_seeds: of these models; the first ones of the homework's seeds.

    Raises:
        CourseError: no plan or prediction, another dataset, or runs that failed.
    """
    if dataset.key != place.dataset_name:
        raise CourseError(
            f"{place.folder}: expected the dataset {place.dataset_name!r} of its homework.json, got"
            f" {dataset.key!r}."
        )
    refuse_other_images(place, dataset)
    own_code = ready_plan(place).own_code
    if own_code is not None:
        _refuse_own(place.family, ablate)
        paths = place.rows_path, place.samples_path
        return run_own(place.family, own_code, dataset, place.seeds, place.budget, *paths)
    experiments, labels = zip(*_wanted(place, ablate, ablation_seeds))
    options = {"labels": labels, "workers": workers, "backend": backend, "scheduler": scheduler}
    return sweep(experiments, dataset, measure_for(place.budget), place.rows_path, **options)


def refuse_other_images(place: StudyFolder, dataset: Dataset) -> None:
    """Raises CourseError where runs are there that were made with other images: new ones beside
    them would give each seed twice.
    """
    found = {str(row.get("data_sha256", dataset.sha256)) for row in place.rows()}
    others = found - {dataset.sha256}
    if others:
        raise CourseError(
            f"{place.rows_path}: expected runs with the images of {dataset.key!r} here (SHA-256"
            f" {dataset.sha256[:10]}), got runs with others ({min(others)[:10]}). Put those images"
            " back (`course doctor` says where data are looked for), or keep these runs aside with"
            " start_over() and plan again."
        )


def _refuse_own(family: str, ablate: bool) -> None:
    if ablate:
        raise CourseError(
            f"{family}: expected changed settings for an ablation, got your own code; take the"
            " other model for it."
        )


def _wanted(
    place: StudyFolder, ablate: bool, ablation_seeds: int
) -> list[tuple[Experiment, dict[str, Any]]]:
    """Returns each experiment that belongs to a plan, with what its row says it is for."""
    require(ablation_seeds >= 2, "ablation_seeds", "at least 2, for an error bar", ablation_seeds)
    changes = ready_plan(place).changes
    found = [
        (replace(variant.experiment, seed=seed), variant.labels)
        for seed in place.seeds
        for variant in variants(place.family, place.budget, changes)
    ]
    left_out = ablations(place.family, place.budget, changes) if ablate else []
    return found + [
        (replace(variant.experiment, seed=seed), variant.labels)
        for seed in place.seeds[:ablation_seeds]
        for variant in left_out
    ]


@dataclass(frozen=True)
class RunTime:
    """How long the runs that are missing will take.

    Attributes:
        num_runs: trainings that are missing.
        seconds: that these take in a row, as this model's finished runs of this folder took on
            average; None where none has finished.
    """

    num_runs: int
    seconds: float | None

    def __str__(self) -> str:
        if not self.num_runs:
            return "nothing is missing"
        runs = f"{self.num_runs} run{'s' if self.num_runs > 1 else ''} to go"
        if self.seconds is None:
            return f"{runs}; none has finished here yet, so nobody knows how long they take"
        minutes = self.seconds / 60
        return (
            f"{runs}, about {minutes:.0f} min" if minutes >= 1 else f"{runs}, about 1 min or less"
        )


def missing_time(
    place: StudyFolder, *, ablate: bool = False, ablation_seeds: int = ABLATION_SEEDS
) -> RunTime:
    """Returns how many runs of a plan are missing and how long they will take, judged by those that
    have finished; arguments as for `run_study`.

    Raises:
        CourseError: no complete plan.
    """
    if ready_plan(place).own_code is not None:
        _refuse_own(place.family, ablate)
        wanted = {(kind, None, seed) for kind in ("baseline", "changed") for seed in place.seeds}
    else:
        wanted = {
            (labels["kind"], labels["ablated"], experiment.seed)
            for experiment, labels in _wanted(place, ablate, ablation_seeds)
        }
    rows = place.rows()
    missing = len(wanted - {(row["kind"], row["ablated"], row["seed"]) for row in rows})
    took = [row["training_seconds"] + row["sampling_seconds"] for row in rows]
    return RunTime(missing, missing * sum(took) / len(took) if took else None)


@dataclass(frozen=True)
class Effect:
    """What the changes did to one metric.

    Attributes:
        comparison: of the two models.
        info: how to read the metric.
        incomparable: changed settings that changed what the metric means, so that no verdict is
            given.
    """

    comparison: SeedComparison
    info: MetricInfo
    incomparable: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Real and in which direction, within noise, or why there is no verdict."""
        if self.incomparable:
            return f"not comparable: {', '.join(self.incomparable)} changes its meaning"
        if not self.comparison.verdict:
            return self.comparison.judgement
        rose = self.comparison.verdict.difference > 0
        if not self.info.better:
            return f"real: {'higher' if rose else 'lower'}"
        return f"real: {'better' if rose == (self.info.better == 'higher') else 'worse'}"

    def as_row(self) -> dict[str, str]:
        """Returns the cells of a table."""
        name = self.comparison.name + (f" ({self.info.unit})" if self.info.unit else "")
        numbers = {
            "class model": self.comparison.baseline.number,
            "changed model": self.comparison.changed.number,
        }
        return {
            "metric": name,
            **numbers,
            "verdict": self.verdict,
            "because": self.comparison.reason,
            "better": self.info.better,
            "meaning": self.info.meaning,
        }


def effects_of(place: StudyFolder, changes: Mapping[str, Any]) -> list[Effect]:
    """Returns what the changes did to each metric, from the rows of the seeds that both models
    have.

    Raises:
        CourseError: no seed has run with both models.
    """
    rows = {kind: place.rows(kind) for kind in ("baseline", "changed")}
    shared = {row["seed"] for row in rows["baseline"]} & {row["seed"] for row in rows["changed"]}
    if not shared:
        raise CourseError(f"{place.family}: no seed has run with both models yet; run them first.")
    both = ([row for row in rows[kind] if row["seed"] in shared] for kind in rows)
    return [
        Effect(
            one,
            HOMEWORK_METRICS.get(one.name, MetricInfo("", "", "")),
            incomparable(one.name, changes),
        )
        for one in compare_seeds(*both)
    ]


def ablation_effects(place: StudyFolder, changes: Sequence[str]) -> dict[str, list[SeedComparison]]:
    """Returns, for each change that was left out, the changed model compared with the one without
    it; those that have not run are missing.
    """
    changed, found = place.rows("changed"), {}
    for name in changes:
        without = place.rows("ablation", name)
        if without and changed:
            found[name] = compare_seeds(without, changed)
    return found
