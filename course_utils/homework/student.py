"""What the homework's notebooks call: one object a model, whose methods are the steps of the
assignment, in their order.

A step that comes too early prints one line that says what is missing first, so a notebook runs from
top to bottom at any time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from course_utils.base.config import require
from course_utils.base.device import budget
from course_utils.base.errors import CourseError
from course_utils.base.files import runs_root, write_text
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.homework.archive import read_submission, write_submission
from course_utils.homework.classroom import SchoolClass, collect, read_class
from course_utils.homework.parameters import (
    ChangeReport,
    parameter_rows,
    training_length,
    validate_changes,
)
from course_utils.homework.pictures import Picture, kept_pictures, pictures, save_picture
from course_utils.homework.report import report_page
from course_utils.homework.rule import RuleVerdict, check_rule
from course_utils.homework.schema import Plan
from course_utils.homework.starters import questions_for
from course_utils.homework.study import (
    ABLATION_SEEDS,
    HOMEWORK,
    StudyFolder,
    ablation_effects,
    effects_of,
    find_homework,
    gather_results,
    gather_samples,
    homework_data,
    homework_sha256,
    make_own_plan,
    make_plan,
    missing_time,
    new_homework,
    read_homework,
    ready_plan,
    run_study,
    start_over,
    study_folder,
    variants,
    write_texts,
)
from course_utils.training.runs import Run, find_or_train


class Table:
    """A table of texts: in a notebook as HTML, printed as text; `frame` is the data frame."""

    def __init__(self, rows: Sequence[Mapping[str, str]], index: str) -> None:
        import pandas as pd

        self.frame = pd.DataFrame(rows).set_index(index)

    def __repr__(self) -> str:
        return self.frame.to_string()

    def _repr_html_(self) -> str:
        import pandas as pd

        with pd.option_context("display.max_colwidth", None):  # long meanings in full
            return self.frame.to_html(border=0)


REPORT, SUBMISSION = "report.html", "submission.zip"
Check = Callable[[dict[str, Any]], Any]
Meaning = Callable[[str, str], str]


def hand_in(
    folder: Path | str,
    check_rule: Check,
    meaning: Meaning,
    sha256_of: Callable[[str], str] | None = None,
    data: str | None = None,
) -> tuple[Path, Any]:
    """Writes `report.html` and `submission.zip` into a student's folder; returns the path of the
    latter and the rule's verdict.

    Args:
        check: judges the content of `results.json`; see `rule`.
        meaning: says what a setting means, given a family and a dotted name.
        sha256_of: gives the SHA-256 of a dataset by name; None loads it.
        data: folder of the student's own pictures, where they were moved.

    Raises:
        CourseError: no homework folder, a damaged file in it, or something that is too large to
            hand in.
    """
    folder = Path(folder)
    if sha256_of is not None:
        sha256 = sha256_of(read_homework(folder)["dataset"])
    else:
        sha256 = homework_sha256(folder, data)
    results, samples = gather_results(folder, sha256), gather_samples(folder)
    verdict = check_rule(results.as_dict())
    page = report_page(results, samples, verdict, meaning)
    target = write_submission(folder / SUBMISSION, results, samples, page)
    write_text(folder / REPORT, page)
    return target, verdict


def report_again(path: Path | str, out: Path | str, check_rule: Check, meaning: Meaning) -> Any:
    """Writes the report of a submission anew, from its data, to `out`; returns the rule's verdict.

    The report.html that came with it is not opened: a page that a stranger wrote may do anything.

    Raises:
        CourseError: no submission, or one that is refused.
    """
    submission = read_submission(path)
    verdict = check_rule(submission.results.as_dict())
    write_text(out, report_page(submission.results, submission.samples, verdict, meaning))
    return verdict


def is_homework(path: Path | str) -> bool:
    """Returns whether a path is a student's folder, not a submission."""
    return (Path(path) / HOMEWORK).is_file()


def report_command(path: Path | str, out: Path | str | None = None, data: str | None = None) -> int:
    """Makes report.html and submission.zip of a student's folder, or the report of a submission
    anew; returns 0 where the rule is met, else 1.

    Args:
        path: a student's folder, or a submission.
        out: where the report of a submission goes; None puts NAME.html into this folder, and
            NAME-report.html where such a file is there and is no report.
        data: folder of the student's own pictures, where they were moved.

    Raises:
        CourseError: neither of the two, something in it is damaged, or `out` for a student's
            folder, whose report lies in it.
    """
    from course_utils.homework.parameters import meaning
    from course_utils.homework.rule import check_rule

    if is_homework(path):
        if out is not None:
            raise CourseError(
                f"--out: belongs to the report of a submission; the report of {path} lies in it."
            )
        target, verdict = hand_in(path, check_rule, meaning, data=data)
        print(f"wrote {target.with_name('report.html')} and {target}; hand in the latter")
    else:
        out = Path(out) if out is not None else _report_beside(path)
        verdict = report_again(path, out, check_rule, meaning)
        print(f"wrote {out}")
    for point in verdict.points:
        if not point.ok:
            print(f"  missing: {point.name}: {point.message}")
    print("the rule is met" if verdict.met else "the rule is not met yet")
    return 0 if verdict.met else 1


MOST_NAMES = 3  # in one line of a terminal


def _report_beside(path: Path | str) -> Path:
    """Returns the file in this folder for the report of a submission: one that is not there yet, or
    an earlier report.
    """
    whole = Path(path).resolve()  # "." and ".." have no names
    name = (whole.name if whole.is_dir() else whole.stem) or "submission"
    for target in (Path(f"{name}.html"), Path(f"{name}-report.html")):
        if not target.exists() or _is_report(target):
            return target
    raise CourseError(
        f"{target}: expected a report or nothing under this name, got another file; say with --out"
        " where the report goes."
    )


def _is_report(path: Path) -> bool:
    """Returns whether a file begins as the reports of this course do, and not as a class page."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        head = stream.read(2_000)
    return b"<title>Homework of " in head and b"<title>Homework of the class</title>" not in head


def collect_command(
    folder: Path | str,
    out: Path | str | None = None,
    run_id: str | None = None,
    platform: str | None = None,
    separator: str = "comma",
    data: str | None = None,
) -> int:
    """Writes class.html and class.csv of a folder of submissions, or trains one of their runs
    again; returns 1 where not all is well.

    Args:
        folder: of the class.
        out: folder for the two files; None is the class's own.
        run_id: number of a run on the class page.
        platform: "canvas" or "moodle", for a table that it imports.
        separator: of class.csv, "comma" or "semicolon".
        data: folder of a student's own pictures, for a run on them that is trained again.

    Raises:
        CourseError: nothing to read or nowhere to write, no such run, or `data` without `run_id`.
    """
    from course_utils.homework.rule import check_rule

    if run_id is not None:
        return _rerun(read_class(Path(folder), check_rule), run_id, data)
    if data is not None:
        raise CourseError("--data: belongs to --rerun, for a run on a student's own pictures.")
    out = Path(folder if out is None else out)
    school_class = collect(folder, out, check_rule, platform, separator)
    for one in school_class.broken:
        print(f"  not readable: {one.source}: {one.reason}")
    for one in school_class.earlier:
        print(f"  handed in twice: {one.student}: {one.newest} counts, {one.source} is passed over")
    for one in school_class.questions:
        who = ", ".join(school_class.judged[index].student for index in one.students[:MOST_NAMES])
        more = len(one.students) - MOST_NAMES
        print(f"  to ask: {who}{f' and {more} more' if more > 0 else ''}: {one.text}")
    if school_class.aside:
        print(f"  passed over: {len(school_class.aside)} other files; class.html lists them")
    if platform is not None:
        _tell_platform(school_class, platform)
    met = sum(bool(one.verdict.met) for one in school_class.judged)
    _write_challenge(Path(folder), out, separator)
    counts = (
        f"{len(school_class.judged)} submissions, {met} meet the rule, {len(school_class.broken)}"
        " not readable"
    )
    print(f"{counts}, {len(school_class.pairs)} pairs of nearly equal texts")
    names = ["class.html", "class.csv", *([f"class-{platform}.csv"] if platform else [])]
    print(f"wrote {' and '.join(str(out / name) for name in names)}")
    return 1 if school_class.broken else 0


def _write_challenge(folder: Path, out: Path, separator: str) -> None:
    """Writes the board of the few-step challenge where somebody takes part."""
    from course_utils.homework.challenge import read_entries, write_board

    entries, complaints = read_entries(folder)
    for text in complaints:
        print(f"  challenge, not measured: {text}")
    if entries:
        write_board(entries, complaints, out, separator)
        print(f"challenge: {len(entries)} entries, wrote {out / 'challenge.html'}")


def _tell_platform(school_class: SchoolClass, platform: str) -> None:
    """Says whose rows a platform will not find."""
    without = [one for one in school_class.judged if one.origin.platform != platform]
    if without:
        names = ", ".join(one.student for one in without[:MOST_NAMES])
        print(
            f"  {len(without)} submissions without an id of {platform.capitalize()} in their file's"
            f" name ({names}{', …' if len(without) > MOST_NAMES else ''}); the platform will not"
            " find these rows. Collect the folder as it was downloaded."
        )


MAX_SIDE = 128  # of own pictures, in pixels; a submission may ask for any


def _rerun(school_class: SchoolClass, run_id: str, data: str | None) -> int:
    from course_utils.data import load_dataset, load_own_pictures
    from course_utils.homework.measure import measure_for
    from course_utils.homework.rerun import checked_experiment, find_claims, rerun, sound_claims
    from course_utils.studies.sweep import run_and_measure

    claims = find_claims(school_class, run_id)
    has_pictures = data is not None
    claim = sound_claims(claims, has_pictures)[0][0]
    measure = measure_for(claim.results.budget)

    def load(name: str) -> Dataset:
        if not has_pictures:
            return load_dataset(name)
        side = checked_experiment(claim, has_pictures).model.image_size
        require(side <= MAX_SIDE, "model.image_size", f"at most {MAX_SIDE} pixels", side)
        return load_own_pictures(name, data, side)

    found = rerun(
        claims,
        load,
        lambda experiment, dataset: run_and_measure(experiment, dataset, measure),
        has_pictures=has_pictures,
    )
    for one in found:
        print(one)
    return 0 if all(one.agrees for one in found) else 1


Options = ParamSpec("Options")
Answer = TypeVar("Answer")
# that the pictures with metrics draw, a point
PICTURE_IMAGES = {"smoke": 100, "laptop": 500, "gpu": 2_000}


def _patient(step: Callable[Options, Answer]) -> Callable[Options, Answer | None]:
    """Turns the error of a step that comes too early, or is not right yet, into a line; returns
    None then.
    """

    @functools.wraps(step)
    def attempt(*arguments: Options.args, **options: Options.kwargs) -> Answer | None:
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
        folder: of the homework; None looks here and in the folders above. Where there is none, you
            work in a folder for trying out under `runs/`.

    Raises:
        CourseError: an unknown family, or a folder without a homework.
    """
    return Homework(study_folder(_own_folder(folder), family))


def _own_folder(folder: Path | str | None) -> Path:
    """Returns the folder of the homework that a notebook works in."""
    found = Path(folder) if folder is not None else find_homework()
    if found is not None:
        return found
    dataset = load_dataset("auto", verbose=False)
    trial = runs_root() / f"homework-trial-{dataset.key.replace(':', '-')}-{budget()}"
    print(
        "no homework.json here: you are trying out in a folder under runs/; `course homework new"
        " DIR` makes one of your own"
    )
    if find_homework(trial) != trial.resolve():
        new_homework(trial, "trial", dataset, budget())
    return trial


@_patient
def check_homework(folder: Path | str | None = None) -> RuleVerdict:
    """Returns whether the assignment's rule is met, point by point; `folder` as for
    `open_homework`.
    """
    folder = _own_folder(folder)
    return check_rule(gather_results(folder, homework_data(folder).sha256))


@_patient
def report_homework(folder: Path | str | None = None) -> None:
    """Writes report.html and submission.zip; `folder` as for `open_homework`."""
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
        return (
            f"Homework({place.family} on {place.dataset_name}, budget {place.budget}, seeds"
            f" {seeds}, in {place.folder})"
        )

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The images that both models are trained on."""
        return homework_data(self.place.folder)

    def questions(self) -> None:
        """Prints questions to begin with, each with the changes that ask it."""
        for one in questions_for(self.place.family):
            print(one)

    def parameters(self) -> Table:
        """Returns the class model: each parameter with what it does, its value, range, unit and
        meaning, and whether a change of it counts; the five to try first stand first. Prints how
        long the model is trained.
        """
        print(training_length(self.place.family, self.place.budget))
        return Table(parameter_rows(self.place.family, self.place.budget), "parameter")

    def check(self, changes: Mapping[str, Any]) -> ChangeReport:
        """Returns what changes are worth; printing it says how many count."""
        report = validate_changes(self.place.family, changes, self.place.budget)
        print(report)
        return report

    @_patient
    def plan(self, changes: Mapping[str, Any], prediction: str) -> Plan:
        """Returns the plan that was kept: the changes, and what you expect of them. Once the
        changed model has run it stays as it is.
        """
        plan = make_plan(self.place, changes, prediction)
        print(
            f"planned {plan.planned}:"
            f" {', '.join(f'{name} = {value}' for name, value in plan.changes.items())}"
        )
        return plan

    @_patient
    def own(self, after: Path | str, before: Path | str, prediction: str) -> Plan:
        """Returns the plan that was kept: your own code in place of this model, in two versions of
        a file with `train(dataset, seed)`, and what you expect of the change.
        """
        plan = make_own_plan(self.place, before, after, prediction)
        print(f"planned {plan.planned}: {after} instead of {before}; run() runs both")
        return plan

    @_patient
    def run(self, workers: int = 1) -> None:
        """Runs the class model and the changed one with every seed, as far as they have not run
        yet, and keeps the pictures for the report.
        """
        run_study(self.place, self.dataset, workers=workers)
        self.save_pictures()

    @_patient
    def time(self, ablate: bool = False, seeds: int = ABLATION_SEEDS) -> None:
        """Prints how many runs are missing and how long they take, judged by those that have
        finished here; nothing is run.
        """
        print(missing_time(self.place, ablate=ablate, ablation_seeds=seeds))

    @_patient
    def ablate(self, workers: int = 1, seeds: int = ABLATION_SEEDS) -> None:
        """Runs the changed model without one of its changes at a time, each with the first two
        seeds, or with more.
        """
        run_study(self.place, self.dataset, ablate=True, ablation_seeds=seeds, workers=workers)

    @_patient
    def table(self) -> Table:
        """Returns each metric of both models, mean over seeds with its error, and whether the
        difference is more than noise.
        """
        return Table(
            [effect.as_row() for effect in effects_of(self.place, ready_plan(self.place).changes)],
            "metric",
        )

    @_patient
    def ablation_table(self) -> Table:
        """Returns, for each change, how the metrics differ between the model with all changes and
        the one without it.
        """
        found = ablation_effects(self.place, list(ready_plan(self.place).changes))
        if not found:
            raise CourseError("nothing was left out yet; ablate() runs that.")
        rows = []
        for name, comparisons in found.items():
            cells = {
                one.name: (
                    f"{one.verdict.difference:+.3g} ({one.judgement})"
                    if one.verdict
                    else one.judgement
                )
                for one in comparisons
            }
            rows.append({"what this change did": name, **cells})
        return Table(rows, "what this change did")

    @_patient
    def show(self, name: str) -> None:
        """Shows one picture of both models, trained with the first seed: "curves", "samples", or
        one that `picture_names` lists.
        """
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
        """All pictures of both models.

        Raises:
            CourseError: as `runs`.
        """
        if ready_plan(self.place).own_code is not None:
            return kept_pictures(self.place.samples_path)
        return pictures(self.runs(), self.dataset, PICTURE_IMAGES[self.place.budget])

    def runs(self) -> dict[str, Run]:
        """Returns the class model and the changed one, trained with the first seed; what has not
        been trained is trained now.

        Raises:
            CourseError: no complete plan, or nothing has run.
        """
        plan = ready_plan(self.place)
        seed = self.place.seeds[0]
        done = [{row["seed"] for row in self.place.rows(kind)} for kind in ("baseline", "changed")]
        if not all(seed in seeds for seeds in done):
            raise CourseError(
                f"{self.place.family}: seed {seed} has not run with both models yet; run them"
                " first."
            )
        experiments = [
            variant.experiment
            for variant in variants(self.place.family, self.place.budget, plan.changes)
        ]
        fitted = [
            replace(experiment, seed=seed).fitted_to(self.dataset) for experiment in experiments
        ]
        return {
            name: find_or_train(experiment, self.dataset).run
            for name, experiment in zip(("class model", "changed model"), fitted)
        }

    def save_pictures(self) -> list[Path]:
        """Writes all pictures into the folder, for the report, and returns their paths."""
        if ready_plan(self.place).own_code is not None:  # these were saved while it ran
            return sorted(self.place.samples_path.glob("*.png"))
        self.__dict__.pop("pictures", None)  # of runs that may be gone
        paths = []
        for name, picture in self.pictures.items():
            paths.append(self.place.samples_path / f"{name}.png")
            save_picture(picture, paths[-1])
        return paths

    @_patient
    def write(self, observation: str, explanation: str) -> Plan:
        """Returns the plan with what you saw and why you think it happened; write again as often as
        you like.
        """
        plan = write_texts(self.place, observation, explanation)
        print(
            f"kept {len(observation.split())} words of observation and {len(explanation.split())}"
            " of explanation"
        )
        return plan

    @_patient
    def start_over(self) -> None:
        """Keeps plan and runs of this model aside, to begin anew with other changes."""
        print(f"kept in {start_over(self.place)}; plan anew")
