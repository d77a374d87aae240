"""The command `course train`. Heavy imports happen when it runs, so that `course --help` answers at
once.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError
from course_utils.cli import path_argument

if TYPE_CHECKING:
    from course_utils.training.presets import Experiment


def add_train(commands: argparse._SubParsersAction) -> None:
    """Adds `course train` to the commands of `course`."""
    command = commands.add_parser(
        "train",
        help="train a model family",
        description="Train a family and save the run directory.",
    )
    command.add_argument(
        "family",
        metavar="FAMILY",
        help="vae, classifier, ..., or a variant such as vae-binary; an unknown name lists all",
    )
    command.add_argument(
        "--dataset",
        default="auto",
        help="auto, mnist, fashion, strokes or folder:PATH (default: auto)",
    )
    command.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="side of the images of folder:PATH (default: COURSE_IMAGE_SIZE, or 28)",
    )
    command.add_argument(
        "--budget", help="smoke, laptop or gpu (default: by the device, or COURSE_BUDGET)"
    )
    command.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting, such as model.latent_dim=8; --settings lists all",
    )
    command.add_argument("--seed", type=int, help="seed of weights, order and noise (default: 0)")
    command.add_argument(
        "--out",
        type=path_argument,
        metavar="DIR",
        help="run directory (default: one under runs/ named by the settings)",
    )
    command.add_argument(
        "--resume", action="store_true", help="go on with a training that was cut off"
    )
    command.add_argument("--half", action="store_true", help="store the weights as float16")
    command.add_argument(
        "--dry-run", action="store_true", help="print the resolved experiment as JSON and stop"
    )
    command.add_argument(
        "--settings",
        action="store_true",
        help="print every setting of FAMILY with its default, range and meaning, and stop",
    )
    command.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from course_utils.base.config import override, parse_assignments
    from course_utils.data import check_name
    from course_utils.training.presets import preset

    experiment = preset(options.family, options.budget)
    if options.settings:
        print(_settings_table(experiment))
        return 0
    if options.seed is not None:
        experiment = replace(experiment, seed=options.seed)
    experiment = override(experiment, parse_assignments(options.changes))
    check_name(options.dataset)
    if options.dry_run:
        print(json.dumps(replace(experiment, dataset=options.dataset).as_dict(), indent=2))
        return 0
    with _one_voice():
        return _train_and_report(experiment, options)


@contextmanager
def _one_voice() -> Iterator[None]:
    """Lets only the main process of a launcher print, and has all of them part at the end."""
    from course_utils.base.device import processes

    everyone = processes()
    if everyone.is_main_process:
        yield
    else:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    everyone.destroy_process_group()


def _train_and_report(experiment: Experiment, options: argparse.Namespace) -> int:
    from course_utils.base.device import processes
    from course_utils.data import load_dataset
    from course_utils.training.runs import STATE, default_folder, run

    # one process of a machine downloads or draws what the others then find
    with processes().local_main_process_first():
        dataset = load_dataset(options.dataset, image_size=options.image_size)
    folder = options.out or default_folder(experiment.fitted_to(dataset), dataset)
    if (folder / STATE).exists() and not options.resume:
        raise CourseError(
            f"{folder}: holds a training that was cut off; add --resume to go on with it, or choose"
            " another --out."
        )
    result = run(
        experiment,
        dataset,
        folder,
        resume=options.resume,
        half=options.half,
        command=_command_line(options),
        wait=False,
    )
    if not result.record["finished"]:
        print(f"not finished: go on with the same command and --resume ({folder})")
        return 130
    print(
        f"{folder}: {result.history.num_epochs} epochs in {result.record['training_seconds']:.1f} s"
        " of training"
    )
    for name, metric in result.record["metrics"].items():
        print(
            f"  test {name}: {metric['value']:.4f} ± {metric['standard_error']:.4f} (standard"
            f" error, {metric['num_images']:,} images)"
        )
    return 0


def _settings_table(experiment: Experiment) -> str:
    """Returns name, default, range and meaning of each setting, as wide as the terminal at most."""
    import itertools
    import shutil
    import textwrap

    from course_utils.base.config import setting_rows

    rows = setting_rows(experiment.model, "model.") + setting_rows(experiment.train, "train.")
    table = [dict(zip(rows[0], rows[0])), *rows]
    names = max(len(row["setting"]) for row in table)
    defaults = max(len(row["default"]) for row in table)
    ranges = min(30, max(len(row["range"]) for row in table))
    meanings = shutil.get_terminal_size().columns - names - defaults - ranges - 6

    lines = []
    for row in table:
        cells = [
            [row["setting"]],
            [row["default"]],
            textwrap.wrap(row["range"], ranges, break_on_hyphens=False),
            textwrap.wrap(row["meaning"], max(30, meanings)),
        ]
        for name, default, accepted, meaning in itertools.zip_longest(*cells, fillvalue=""):
            start = f"{name:{names}}  {default:{defaults}}  {accepted:{ranges}}"
            lines.append(f"{start}  {meaning}".rstrip())
    return "\n".join(lines)


def _command_line(options: argparse.Namespace) -> str:
    """Returns the shortest command that trains the same again, without the places of files."""
    words = ["course", "train", options.family, "--dataset", options.dataset]
    words += ["--budget", options.budget] if options.budget else []
    words += [word for change in options.changes for word in ("--set", change)]
    words += ["--seed", str(options.seed)] if options.seed is not None else []
    return shlex.join(words + (["--half"] if options.half else []))
