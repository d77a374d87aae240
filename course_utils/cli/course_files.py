"""`course new-notebooks` and `course update`: the learner's own copy of the notebooks, and how a
newer course comes into it without losing an edit.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from course_utils import __version__
from course_utils.base.errors import CourseError
from course_utils.base.files import (
    atomic_path,
    course_root,
    file_sha256,
    handout_root,
    read_json,
    write_json,
)
from course_utils.cli import path_argument

MANIFEST = ".course-files.json"
# What learners get: the notebooks and every page that these link to.
PATTERNS = (
    "README.md", "AGENTS.md", "CONTRIBUTING.md", "LICENSE", "gallery.png", "data/README.md",
    "docs/*.md", "docs/*.png", "docs/board.jsonl", "notebooks/[0-9][0-9]_*.ipynb", "notebooks/*.md",
    "homework/*.ipynb", "homework/*.md", "homework/*.html", "atoms/*.py",
)  # fmt: skip
OF_THE_LEARNER = ("data", "runs")  # these may lie in the folder before the notebooks do


def add_course_files(commands: argparse._SubParsersAction) -> None:
    """Adds `new-notebooks` and `update` to the commands of `course`."""
    command = commands.add_parser(
        "new-notebooks", help="copy the notebooks and the homework to a folder of your own"
    )
    command.add_argument(
        "folder",
        type=path_argument,
        nargs="?",
        metavar="DIR",
        help="new or empty (default: generative-images-course in your home folder)",
    )
    command.set_defaults(run=_new_notebooks)

    command = commands.add_parser(
        "update",
        help="bring the notebooks of the installed course to your folder; your edits stay",
        description=(
            "Replaces what you left as it was. Beside a file that you edited, the newer one is"
            " written as NAME.new.ipynb. The network is not used: update the package first."
        ),
    )
    command.add_argument(
        "folder",
        type=path_argument,
        nargs="?",
        metavar="DIR",
        help="that `course new-notebooks` made (default: the one you are in)",
    )
    command.add_argument(
        "--restore", action="store_true", help="also bring back the files that you deleted"
    )
    command.set_defaults(run=_update)


def _new_notebooks(options: argparse.Namespace) -> int:
    folder = options.folder or course_root()
    count = hand_out(folder)
    print(f"{folder}: {count} files of course {__version__}, yours to edit")
    where = "" if folder == course_root() else f"in {folder}: "
    print(f"next: {where}`course lab`")
    return 0


def _update(options: argparse.Namespace) -> int:
    folder = options.folder or course_folder()
    done = update_folder(folder, restore=options.restore, say=print)
    counts = ", ".join(f"{number} {what}" for what, number in done.items())
    print(f"{folder}: {counts or 'nothing to do'}; course {__version__}")
    return 0


def files_of_course(root: Path) -> dict[str, Path]:
    """Returns what learners get of the course in `root`: `{"notebooks/00_start_here.ipynb": path}`,
    sorted by name, with forward slashes on every system.
    """
    found = [path for pattern in PATTERNS for path in root.glob(pattern)]
    return {path.relative_to(root).as_posix(): path for path in sorted(found)}


def course_folder() -> Path:
    """Returns the learner's folder: the one that the working directory lies in, if `hand_out` made
    it or it is a checkout, else `course_root()`.
    """
    here = Path.cwd()
    made = (
        path for path in (here, *here.parents) if (path / MANIFEST).is_file() or _is_checkout(path)
    )
    return next(made, course_root())


def _is_checkout(folder: Path) -> bool:
    return (folder / "course_utils" / "notebook.py").is_file()


def hand_out(folder: Path) -> int:
    """Copies the notebooks, the homework and their pages to `folder` and returns how many files
    these are. A copy that was cut off is completed.

    Raises:
        CourseError: the folder holds anything else (nothing is overwritten), or it cannot be
            written.
    """
    files = files_of_course(handout_root())
    if (folder / MANIFEST).exists():
        raise CourseError(
            f"{folder}: holds the notebooks of the course already; `course update {folder}` brings"
            " newer ones, and `course lab` in it opens them."
        )
    if not files:
        raise CourseError(
            f"{handout_root()}: expected the notebooks of the course there, got none; install the"
            " course again."
        )
    stranger = _stranger(folder, files)
    if stranger is not None:
        raise CourseError(
            f"{folder}: expected a new or an empty folder, got one that holds {stranger}; choose"
            " another: `course new-notebooks DIR`."
        )
    for name, source in files.items():
        _copy(source, folder / name)
    _write_manifest(folder, {name: _handed(source) for name, source in files.items()})
    return len(files)


def _stranger(folder: Path, files: dict[str, Path]) -> str | None:
    """Returns the name of something in `folder` that the course did not put there, or None."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        return "no folder but a file"
    ours = {name.split("/")[0] for name in files}
    for path in sorted(folder.iterdir()):
        if path.name in OF_THE_LEARNER or path.name.startswith("."):
            continue
        if path.name not in ours:
            return path.name
        for inner in path.rglob("*") if path.is_dir() else (path,):
            name = inner.relative_to(folder).as_posix()
            equal = name in files and file_sha256(inner) == file_sha256(files[name])
            if not (inner.is_dir() or equal or inner.name.startswith(".")):
                return name
    return None


def update_folder(
    folder: Path, restore: bool = False, say: Callable[[str], None] = print
) -> Counter[str]:
    """Brings the files of the installed course to a learner's folder and returns how many of them
    were renewed, added, and so on. Nothing that the learner wrote or ran is lost: a newer version
    of an edited file is written beside it, and of a notebook that was run a copy is kept.

    Args:
        folder: that `hand_out` made.
        restore: also bring back what the learner deleted.
        say: gets a line about each file that the learner has to know of.

    Raises:
        CourseError: no such folder, a git checkout, a folder of a newer course, or one that cannot
            be read or written. Called again, it goes on.
    """
    handed = _handed_before(folder)
    files = files_of_course(handout_root())
    done: Counter[str] = Counter()
    for name, source in files.items():
        try:
            what, line = _update_file(source, folder / name, handed.get(name), restore)
        except OSError as error:
            raise CourseError(
                f"cannot read {folder / name}: {error.strerror or error}; nothing of it was"
                " changed. Check its permissions, then run `course update` again."
            ) from error
        if what:
            done[what] += 1
        if line:
            say(f"{name}: {line}")
        if what != DELETED:
            handed[name] = _handed(source)
    for name in sorted(set(handed) - set(files)):
        say(f"{name}: is no longer part of the course; yours stays")
        del handed[name]
    _write_manifest(folder, handed)
    return done


DELETED = "deleted by you and not brought back (--restore does)"


def _update_file(
    source: Path, target: Path, handed: dict[str, str] | None, restore: bool
) -> tuple[str, str]:
    """Returns what was done with one file, for counting, and what to say about it; both may be
    empty.
    """
    if not target.exists():
        if handed and not restore:
            return DELETED, ""
        _copy(source, target)
        return ("restored" if handed else "added"), ""
    if not target.is_file():
        beside = _write_beside(source, target, "new")
        return "beside yours", f"is no file here; the course's is {beside.name}"
    if file_sha256(target) == file_sha256(source):
        return "", ""
    if handed and file_sha256(target) == handed["sha256"]:
        _copy(source, target)
        return "renewed", ""
    mine, new = _content(target), _content(source)
    if mine == new or (handed and new == handed["content"]):
        return "", ""  # only run, or edited while the course has nothing newer
    if handed and mine == handed["content"]:
        kept = _write_beside(target, target, "old")
        _copy(source, target)
        return "renewed", f"renewed; the one that you ran, with its outputs, is {kept.name}"
    beside = _write_beside(source, target, "new", before=handed["sha256"] if handed else "")
    return "beside yours", f"you edited it, so yours stays; the newer one is {beside.name}"


def _content(path: Path) -> str:
    """Returns what shows an edit: of a notebook the SHA-256 of its cells' types and sources,
    without outputs and metadata; of another file, or a damaged notebook, that of its bytes.
    """
    data = path.read_bytes()
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(data)["cells"]
            texts = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
            data = json.dumps(texts).encode()
        except (ValueError, KeyError, TypeError):
            pass  # no notebook any more, which is an edit
    return hashlib.sha256(data).hexdigest()


def _handed(source: Path) -> dict[str, str]:
    """Returns what the manifest keeps of a file as it was handed out."""
    return {"sha256": file_sha256(source), "content": _content(source)}


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as partial:
        shutil.copyfile(source, partial)


def _write_beside(source: Path, target: Path, word: str, before: str = "") -> Path:
    """Copies `source` to `NAME.word.ipynb` beside `target`, or to the first name with a number that
    is free, and returns that path. A file there may be replaced if it is equal to `source` or is
    the one with the SHA-256 `before`, which the course wrote and nobody has touched.
    """
    endings = itertools.chain([word], (f"{word}-{number}" for number in itertools.count(2)))
    names = (target.with_name(f"{target.stem}.{ending}{target.suffix}") for ending in endings)
    replaceable = {before, file_sha256(source)}
    path = next(
        path
        for path in names
        if not path.exists() or (path.is_file() and file_sha256(path) in replaceable)
    )
    _copy(source, path)
    return path


def _handed_before(folder: Path) -> dict[str, dict[str, str]]:
    """Returns the manifest of a learner's folder: of each name the SHA-256 of file and content."""
    if not (folder / MANIFEST).is_file():
        if _is_checkout(folder):
            raise CourseError(
                f"{folder} is a checkout of the course, which git keeps: commit your edits"
                " (`git commit --all`), then `git pull` brings the newer notebooks and says where"
                " both changed. `course update` serves a folder from `course new-notebooks DIR`."
            )
        raise CourseError(
            f"{folder}: expected a folder that `course new-notebooks` made, got one without"
            f" {MANIFEST}; make a new one with `course new-notebooks DIR` and copy your notebooks"
            " into it."
        )
    about = read_json(folder / MANIFEST)
    version, files = about.get("version"), about.get("files")
    if not isinstance(version, str) or not isinstance(files, dict) or not _well_formed(files):
        raise CourseError(
            f"{folder / MANIFEST}: expected what `course new-notebooks` wrote, got something else;"
            " make a new folder with `course new-notebooks DIR` and copy your notebooks into it."
        )
    if _numbers(version) > _numbers(__version__):
        raise CourseError(
            f"{folder}: holds the notebooks of course {version}, and this is {__version__}, which"
            " is older; update the package (pip install --upgrade), then run this again."
        )
    return files


def _well_formed(files: dict) -> bool:
    return all(
        isinstance(entry, dict) and {"sha256", "content"} <= set(entry) for entry in files.values()
    )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _write_manifest(folder: Path, handed: dict[str, dict[str, str]]) -> None:
    write_json(folder / MANIFEST, {"version": __version__, "files": handed})
