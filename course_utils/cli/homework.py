"""The commands of the homework: new, own, parameters, run, check, report, challenge, collect. Heavy
imports happen inside the commands.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from course_utils.base.errors import CourseError
from course_utils.cli import path_argument
from course_utils.cli.studies import add_data

FAMILIES = ("vae", "dcgan", "diffusion")


def add_commands(
    commands: argparse._SubParsersAction, parser_class: type[argparse.ArgumentParser]
) -> None:
    """Adds `course homework ...` to the commands of `course`."""
    homework = commands.add_parser(
        "homework",
        help="the homework: new, own, parameters, run, check, report; for instructors collect",
    )
    verbs = homework.add_subparsers(
        dest="verb", required=True, metavar="VERB", parser_class=parser_class
    )

    verb = verbs.add_parser("new", help="make a folder with the notebooks of the homework")
    verb.add_argument("folder", type=path_argument, metavar="DIR")
    verb.add_argument("--name", help="yours, for the report (default: the folder's name)")
    verb.add_argument(
        "--dataset", default="auto", help="mnist, fashion, strokes or folder:PATH (default: auto)"
    )
    verb.add_argument(
        "--budget", help="smoke, laptop or gpu (default: by the device, or COURSE_BUDGET)"
    )
    verb.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        metavar="N",
        help="of all trainings (default: 0 1 2)",
    )
    verb.set_defaults(run=_new)

    verb = verbs.add_parser(
        "run", help="run what is planned and has not run yet; call it again after any interruption"
    )
    verb.add_argument(
        "folder",
        type=path_argument,
        nargs="?",
        default=Path("."),
        metavar="DIR",
        help="of the homework (default: here)",
    )
    verb.add_argument(
        "--family", choices=FAMILIES, help="only this model (default: all that are planned)"
    )
    verb.add_argument(
        "--ablate", action="store_true", help="also all changes but one, for each change"
    )
    verb.add_argument(
        "--ablation-seeds",
        type=int,
        default=2,
        metavar="N",
        help="with how many of the seeds these are trained (default: 2)",
    )
    verb.add_argument("--time", action="store_true", help="say how long it will take; run nothing")
    verb.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that train at the same time (default: 1)",
    )
    verb.add_argument(
        "--backend",
        choices=("loky", "dask"),
        default="loky",
        help="processes of this machine, or a dask cluster (default: loky)",
    )
    verb.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="of dask, such as tcp://10.0.0.1:8786 (default: workers on this machine)",
    )
    add_data(verb)
    verb.set_defaults(run=_run)

    verb = verbs.add_parser(
        "own",
        help="plan your own code in place of one model: two versions of a file with `train`",
        description=(
            "AFTER and BEFORE define train(dataset, seed), which returns (draw, losses): draw(n,"
            " rng) gives n images [n, C, H, W] in [-1, 1], losses one number a step. `course"
            " homework run` trains both with every seed on this machine."
        ),
    )
    verb.add_argument("after", type=path_argument, metavar="AFTER.py")
    verb.add_argument("--before", type=path_argument, required=True, metavar="BEFORE.py")
    verb.add_argument("--family", choices=FAMILIES, required=True, help="the model it stands for")
    verb.add_argument(
        "--prediction", required=True, metavar="TEXT", help="what you expect, and why"
    )
    verb.add_argument(
        "--folder", type=path_argument, default=Path("."), metavar="DIR", help="of the homework"
    )
    verb.set_defaults(run=_own)

    verb = verbs.add_parser(
        "parameters", help="list what may be changed in a model, and questions to begin with"
    )
    verb.add_argument("family", choices=FAMILIES)
    verb.add_argument(
        "--budget", help="smoke, laptop or gpu (default: by the device, or COURSE_BUDGET)"
    )
    verb.set_defaults(run=_parameters)

    verb = verbs.add_parser("check", help="say point by point whether the assignment's rule is met")
    verb.add_argument(
        "path",
        type=path_argument,
        nargs="?",
        default=Path("."),
        metavar="DIR|SUBMISSION.zip",
        help="(default: here)",
    )
    add_data(verb)
    verb.set_defaults(run=_check)

    verb = verbs.add_parser("report", help="write report.html and submission.zip")
    verb.add_argument(
        "path",
        type=path_argument,
        nargs="?",
        default=Path("."),
        metavar="DIR|SUBMISSION.zip",
        help="(default: here)",
    )
    verb.add_argument(
        "--out",
        type=path_argument,
        metavar="FILE.html",
        help="of a submission: where its report is written anew",
    )
    add_data(verb)
    verb.set_defaults(run=_report)

    verb = verbs.add_parser(
        "challenge", help="optional: FID of a diffusion model of yours after 1, 2 and 4 calls"
    )
    verb.add_argument(
        "source", metavar="RUN", help="directory of a run, or pretrained:NAME/DATASET"
    )
    verb.add_argument(
        "--homework",
        type=path_argument,
        metavar="DIR",
        help="your homework's folder, where the pictures are kept for the class board",
    )
    verb.set_defaults(run=_challenge)

    verb = verbs.add_parser(
        "collect", help="read a class's submissions and write a page and a table"
    )
    verb.add_argument("folder", type=path_argument, metavar="DIR")
    verb.add_argument(
        "--out",
        type=path_argument,
        metavar="DIR",
        help="for class.html and class.csv (default: the same folder)",
    )
    verb.add_argument(
        "--rerun", metavar="ID", help="train one run again, from its settings alone, and compare"
    )
    verb.add_argument(
        "--for",
        dest="platform",
        choices=("canvas", "moodle"),
        help="also write class-PLATFORM.csv with the columns that it imports, and its ids",
    )
    verb.add_argument(
        "--separator",
        choices=("comma", "semicolon"),
        default="comma",
        help="of class.csv; semicolon also writes 0,5 for a half (default: comma)",
    )
    verb.add_argument(
        "--data",
        metavar="PATH",
        help="with --rerun of a run on a student's own pictures: the folder that has them here",
    )
    verb.set_defaults(run=_collect)


def _new(options: argparse.Namespace) -> int:
    from course_utils.base.device import budget
    from course_utils.data import check_name, load_dataset
    from course_utils.homework.study import new_homework

    check_name(options.dataset)
    name = options.name if options.name is not None else options.folder.resolve().name
    dataset = load_dataset(options.dataset)
    copied = new_homework(options.folder, name, dataset, options.budget or budget(), options.seeds)
    notebooks = (
        ", ".join(path.name for path in copied) or "no notebooks; this installation has none"
    )
    print(f"{options.folder}: {notebooks}")
    print(
        f"next: open {options.folder}, plan in the notebook of a model, then `course homework run"
        f" {shlex.quote(str(options.folder))}`"
    )
    return 0


def _run(options: argparse.Namespace) -> int:
    from course_utils.homework.student import Homework
    from course_utils.homework.study import homework_data, missing_time, run_study, study_folder

    families = (
        [options.family]
        if options.family
        else [name for name in FAMILIES if study_folder(options.folder, name).plan_path.exists()]
    )
    if not families:
        raise CourseError(
            f"{options.folder}: nothing is planned yet; open the notebook of a model, choose"
            " changes and write a prediction."
        )
    places = [study_folder(options.folder, name) for name in families]
    which = {"ablate": options.ablate, "ablation_seeds": options.ablation_seeds}
    if options.time:
        for place in places:
            print(f"{place.family}: {missing_time(place, **which)}")
        return 0
    dataset = homework_data(options.folder, options.data)
    for place in places:
        print(f"{place.family}: {missing_time(place, **which)}", flush=True)
        how = {
            **which,
            "workers": options.workers,
            "backend": options.backend,
            "scheduler": options.scheduler,
        }
        run_study(place, dataset, **how)
        paths = Homework(place).save_pictures()
        print(f"  {len(paths)} pictures in {place.samples_path}")
    return 0


def _own(options: argparse.Namespace) -> int:
    from course_utils.homework.study import make_own_plan, study_folder

    place = study_folder(options.folder, options.family)
    plan = make_own_plan(place, options.before, options.after, options.prediction)
    print(f"{options.family}: {options.after} instead of {options.before}, planned {plan.planned}")
    print(f"next: `course homework run {shlex.quote(str(options.folder))}`")
    return 0


def _parameters(options: argparse.Namespace) -> int:
    from course_utils.base.device import budget
    from course_utils.homework.parameters import parameter_rows, training_length
    from course_utils.homework.starters import questions_for

    budget_name = options.budget or budget()
    rows = parameter_rows(options.family, budget_name)
    print(training_length(options.family, budget_name))
    for group in dict.fromkeys(row["does"].removesuffix(" (try first)") for row in rows):
        print(f"\n{group}")
        for row in rows:
            if row["does"].removesuffix(" (try first)") == group:
                first = "*" if row["does"] != group else " "
                name, unit = f"{row['parameter']} = {row['in class']}", row["unit"]
                span = f"{row['range']} {unit}".strip()
                print(f" {first} {name:45} {span}: {row['meaning']}")
    print("\n* try these first\n")
    for one in questions_for(options.family):
        print(one)
    return 0


def _check(options: argparse.Namespace) -> int:
    from course_utils.homework.archive import read_submission
    from course_utils.homework.rule import check_rule
    from course_utils.homework.student import is_homework
    from course_utils.homework.study import gather_results, homework_sha256

    if is_homework(options.path):
        sha256 = homework_sha256(options.path, options.data)
        results = gather_results(options.path, sha256)
    else:
        results = read_submission(options.path).results
    verdict = check_rule(results)
    print(verdict)
    return 0 if verdict else 1


def _report(options: argparse.Namespace) -> int:
    from course_utils.homework.student import report_command

    return report_command(options.path, options.out, options.data)


def _challenge(options: argparse.Namespace) -> int:
    from course_utils.homework.challenge import enter

    for num_calls, found in enter(options.source, options.homework).items():
        print(f"{num_calls} calls: FID {found.number} ({found.dataset})")
    if options.homework is None:
        print("nothing is kept; --homework DIR keeps the pictures for your submission")
    else:
        print(f"kept in {options.homework / 'challenge'}; `course homework report` packs them")
    return 0


def _collect(options: argparse.Namespace) -> int:
    from course_utils.homework.student import collect_command

    return collect_command(
        options.folder,
        options.out,
        options.rerun,
        options.platform,
        options.separator,
        options.data,
    )
