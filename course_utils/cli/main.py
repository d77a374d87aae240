"""The `course` command. Heavy imports happen inside the commands, so that `course --help` answers
at once.

Exit codes: 0 done, 1 a notebook or a check failed, 2 something in the command was wrong (one line
says what), 130 stopped by Ctrl-C, 141 nobody reads the output any more (`course ... | head -3`).
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from course_utils import __version__
from course_utils.base.errors import CourseError
from course_utils.cli import course_files, homework, path_argument, slides, studies, train

PAINTER = "pretrained:text-to-image/captions"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        """Prints one line instead of the whole usage."""
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code of one `course` command."""
    _prepare_streams()
    try:
        try:
            return _run_command(arguments)
        finally:
            _flush()
    except BrokenPipeError:
        _print_nowhere()
        return 141


def _run_command(arguments: Sequence[str] | None) -> int:
    command, stopped = "course", False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # only the main thread may
            signal.signal(signal.SIGINT, stop)
    try:
        options = _parser().parse_args(arguments)
        command = f"course {options.command}"
        _pin_dataset()
        return options.run(options)
    except CourseError as error:
        print(f"{command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Exception) as error:
        # half imported packages turn an interrupt into errors of their own
        if stopped or isinstance(error, KeyboardInterrupt):
            print(f"{command}: stopped.", file=sys.stderr)
            return 130
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            print(f"{command}: cannot print its output: {error.strerror}.", file=sys.stderr)
            return 2
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            name = str(error.filename)[:60]
            print(f"{command}: {name}...: this name is too long; choose another.", file=sys.stderr)
            return 2
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is stop:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _pin_dataset() -> None:
    """Makes the folder in `COURSE_DATASET` absolute: notebooks run in a folder of their own."""
    name = os.environ.get("COURSE_DATASET", "")
    path = Path(name.removeprefix("folder:")).expanduser()
    if name.startswith("folder:") and path.is_dir():
        os.environ["COURSE_DATASET"] = f"folder:{path.resolve()}"


def _flush() -> None:
    """Prints what is still waiting, while an error can be told.

    Raises:
        BrokenPipeError: nobody reads it any more, as in `| head -3`.
        SystemExit: it cannot be printed, as on a full disk.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _print_nowhere()
        if error.errno == errno.EINVAL:  # Windows says so of a pipe that nobody reads
            raise BrokenPipeError from error
        print(f"course: cannot print its output: {error.strerror or error}.", file=sys.stderr)
        raise SystemExit(2) from error


def _prepare_streams() -> None:
    """Lets a console that lacks a character print "?" instead of stopping the command, and gives a
    command that was started without an output one that leads nowhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _print_nowhere() -> None:
    """Gives up an output that cannot be written, or Python would complain of it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="course", description="Generative models for images: train, sample and run the course."
    )
    parser.add_argument("--version", action="version", version=f"course {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_Parser
    )

    command = commands.add_parser(
        "doctor", help="report what this machine has, and what to do about each problem"
    )
    command.set_defaults(run=_doctor)

    command = commands.add_parser("lab", help="open the course in JupyterLab")
    command.set_defaults(run=_lab)

    course_files.add_course_files(commands)
    slides.add_slides(commands)

    train.add_train(commands)
    _add_image_commands(commands)
    studies.add_recover(commands)
    studies.add_compare(commands)
    homework.add_commands(commands, _Parser)

    command = commands.add_parser(
        "run-notebooks", help="execute the notebooks in order and write browsable copies"
    )
    command.add_argument("names", nargs="*", metavar="NAME", help="such as 04; default: all")
    command.add_argument(
        "--out",
        type=path_argument,
        default=Path("build/course"),
        metavar="DIR",
        help="for the copies (default: build/course)",
    )
    command.add_argument(
        "--refresh", action="store_true", help="write the outputs back into notebooks/ as well"
    )
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="notebooks at a time (default: 2; with --refresh 1, so that their times compare)",
    )
    command.set_defaults(run=_run_notebooks)
    return parser


def _add_image_commands(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("sample", help="draw new images from a trained model")
    command.add_argument("source", metavar="DIR|pretrained:FAMILY/DATASET")
    command.add_argument(
        "--num", type=int, default=100, metavar="N", help="how many images (default: 100)"
    )
    command.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    command.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="of a diffusion model's sampler, such as 1 (default: as its settings say)",
    )
    command.add_argument("--out", type=path_argument, required=True, metavar="FILE.npz|FILE.png")
    command.set_defaults(run=_images("sample"))

    command = commands.add_parser("draw", help="draw pictures for a caption")
    command.add_argument("caption", metavar="CAPTION", help='such as "a thick red 7 on blue"')
    command.add_argument(
        "--model",
        default=PAINTER,
        metavar="DIR|pretrained:FAMILY/DATASET",
        help="a text-to-image model (default: the one that ships with the course)",
    )
    command.add_argument(
        "--num", type=int, default=16, metavar="N", help="how many pictures (default: 16)"
    )
    command.add_argument(
        "--negative", metavar="CAPTION", help="what the pictures are led away from"
    )
    command.add_argument(
        "--guidance",
        type=float,
        metavar="SCALE",
        help="strength of guidance, 1 is none (default: the model's)",
    )
    command.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    command.add_argument("--out", type=path_argument, required=True, metavar="FILE.png")
    command.set_defaults(run=_images("draw"))

    command = commands.add_parser(
        "reconstruct", help="test images and what the model makes of them, row by row"
    )
    command.add_argument("source", metavar="DIR|pretrained:FAMILY/DATASET")
    command.add_argument("--dataset", help="default: the one it was trained on")
    studies.add_data(command)
    command.add_argument("--out", type=path_argument, required=True, metavar="FILE.png")
    command.set_defaults(run=_images("reconstruct"))

    command = commands.add_parser(
        "evaluate",
        help="measure images against a dataset, with error bars and the values of real images",
    )
    command.add_argument(
        "source", metavar="DIR|FILE.npz|FILE.npy|folder:PATH|pretrained:FAMILY/DATASET"
    )
    command.add_argument(
        "--against", required=True, metavar="DATASET", help="mnist, fashion, strokes or folder:PATH"
    )
    command.add_argument(
        "--metrics",
        metavar="NAME,NAME",
        help="such as fid,kid; an unknown name lists all (default: all but nll)",
    )
    command.add_argument(
        "--num",
        type=int,
        metavar="N",
        help="images of each set (default: 10000, or as many as there are)",
    )
    command.add_argument(
        "--k",
        type=int,
        metavar="N",
        help="of nll: importance samples for each test image (default: 5000)",
    )
    command.add_argument(
        "--features",
        help=(
            "classifier, pixels, inception, or a classifier's DIR (default: a classifier of these"
            " data if there is one, else pixels)"
        ),
    )
    command.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="side of the images of folder:PATH (default: COURSE_IMAGE_SIZE, or 28)",
    )
    command.add_argument(
        "--grey",
        action="store_true",
        help="average coloured images by luminance where the dataset is grey",
    )
    command.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the samples and of the choice of real images (default: 0)",
    )
    command.add_argument(
        "--out",
        type=path_argument,
        metavar="FILE.json",
        help="also write the numbers there, and to FILE.csv",
    )
    command.set_defaults(run=_images("evaluate"))


def _images(name: str) -> Callable[[argparse.Namespace], int]:
    """Returns a command of `cli/images.py`, which is imported when it runs."""

    def run(options: argparse.Namespace) -> int:
        from course_utils.cli import images

        return getattr(images, f"{name}_command")(options)

    return run


def _doctor(options: argparse.Namespace) -> int:
    from course_utils.cli.doctor import examine

    problems = examine()
    return 1 if problems else 0


def _lab(options: argparse.Namespace) -> int:
    import subprocess

    from course_utils.base.files import FIRST_NOTEBOOK

    folder = course_files.course_folder()
    first = folder / FIRST_NOTEBOOK
    if not first.exists():
        raise CourseError(
            f"{first} is not there; make a folder of notebooks with `course new-notebooks DIR`,"
            " then run `course lab` in it."
        )
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(first)], cwd=folder)


def _run_notebooks(options: argparse.Namespace) -> int:
    """Running the notebooks is the work of `tools/`, which a checkout has and an installed package
    has not.
    """
    import importlib

    from course_utils.base.files import course_root

    if not (course_root() / "tools").is_dir():
        raise CourseError(
            f"expected a checkout of the course, got {course_root()}; run `course run-notebooks`"
            " from a checkout."
        )
    sys.path.insert(0, str(course_root()))
    tool = importlib.import_module("tools.run_notebooks")
    return tool.run_course(
        options.names, options.out, refresh=options.refresh, workers=options.workers
    )


if __name__ == "__main__":
    raise SystemExit(main())
