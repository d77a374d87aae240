"""Where the course keeps files, and how it writes them: beside the target first, then renamed, so
none is ever half written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError

if TYPE_CHECKING:
    from torch import Tensor


def course_root() -> Path:
    """Returns the folder of the course: the checkout, or `~/generative-images-course` where only
    the package is installed.
    """
    checkout = Path(__file__).resolve().parent.parent.parent
    return (
        checkout if (checkout / "notebooks").is_dir() else Path.home() / "generative-images-course"
    )


def data_root() -> Path:
    """Returns the folder that datasets are read from (torchvision's layout): `COURSE_DATA`, else
    `data/`.
    """
    return Path(os.environ.get("COURSE_DATA") or course_root() / "data").expanduser()


def cache_root() -> Path:
    """Returns the folder that the course may write caches to: `COURSE_CACHE`, else `data/cache/`.
    Safe to delete.
    """
    return Path(os.environ.get("COURSE_CACHE") or course_root() / "data" / "cache").expanduser()


def runs_root() -> Path:
    """Returns the folder that trained models are kept in: `COURSE_RUNS`, else `runs/`."""
    return Path(os.environ.get("COURSE_RUNS") or course_root() / "runs").expanduser()


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yields a path beside `target` to write to; it becomes `target` when the block ends well and
    is removed when it does not.

    Raises:
        CourseError: the folder cannot be written or the disk is full; an older `target` is left as
            it was.
    """
    target = Path(target)
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        # safetensors writes files that only their owner can read; runs are shared
        partial.chmod(0o644)
        os.replace(partial, target)
    except OSError as error:
        raise CourseError(
            f"cannot write {target}: {error.strerror or error}; nothing was changed. Free some disk"
            " space or choose a folder that you may write to."
        ) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        elif partial.exists():
            partial.unlink()


def write_text(target: Path | str, text: str) -> None:
    """Writes UTF-8 text to `target` in one step."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(target: Path | str, value: object) -> None:
    """Writes `value` as indented JSON to `target` in one step. NaN is refused, since no JSON reader
    has to accept it.
    """
    write_text(target, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def save_tensors(
    target: Path | str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Writes named tensors as a safetensors file in one step, from the CPU and without
    gradients.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(target) as partial:
        try:
            save_file(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                partial,
                metadata=metadata,
            )
        except SafetensorError as error:  # a full disk is one of these and no OSError
            raise OSError(str(error)) from error


def read_json(path: Path | str) -> dict:
    """Returns the JSON object in `path`.

    Raises:
        CourseError: the file is missing, cannot be read, or holds something else than a JSON
            object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CourseError(
            f"cannot read {path}: {error}. Expected a JSON file written by this course."
        ) from error
    if not isinstance(value, dict):
        raise CourseError(
            f"{path}: expected a JSON object, got {type(value).__name__}. Expected a file written"
            " by this course."
        )
    return value


def write_jsonl(target: Path | str, rows: Iterable[Mapping[str, object]]) -> None:
    """Writes one JSON object a line, all in one step. NaN is refused with a ValueError."""
    write_text(
        target, "".join(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n" for row in rows)
    )


def read_jsonl(
    path: Path | str, remedy: str = "expected a file written by this course"
) -> list[dict]:
    """Returns the objects of a file with one JSON object a line.

    Args:
        remedy: what to do about a line that is no JSON object, for the message.

    Raises:
        CourseError: the file is missing or cannot be read, or a line of it is no JSON object.
    """
    try:
        # and not splitlines: texts may hold U+2028
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(
            f"cannot read {path}: {error}. Expected one JSON object a line."
        ) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise CourseError(
                f"{path}, line {number}: expected a JSON object, got {line[:40]!r} ({error.msg});"
                f" {remedy}."
            ) from error
        if not isinstance(row, dict):
            raise CourseError(
                f"{path}, line {number}: expected a JSON object, got {type(row).__name__};"
                f" {remedy}."
            )
        rows.append(row)
    return rows


def file_sha256(path: Path | str) -> str:
    """Returns the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        if sys.version_info >= (3, 11):
            return hashlib.file_digest(stream, "sha256").hexdigest()
        return hashlib.sha256(stream.read()).hexdigest()
