"""Where the course keeps files, how it writes them (beside the target first, then renamed, so none
is ever half written), and how it reads what other programs have saved.
"""

from __future__ import annotations

import codecs
import errno
import glob
import hashlib
import json
import os
import platform
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.base.errors import CourseError

if TYPE_CHECKING:
    from torch import Tensor


FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"
# The folder of an installed package with the notebooks and the homework, which setup.py copies.
HANDOUT = "handout"


def course_root() -> Path:
    """Returns the folder of the course: the checkout, or `~/generative-images-course` where only
    the package is installed, whatever the working directory, so that runs are found again.
    """
    checkout = Path(__file__).resolve().parent.parent.parent
    if (checkout / FIRST_NOTEBOOK).is_file():
        return checkout
    return Path.home() / "generative-images-course"


def handout_root() -> Path:
    """Returns the folder with `notebooks/` and `homework/` as the course hands them out: one inside
    the installed package, which is only read, or the checkout.
    """
    package = Path(__file__).resolve().parent.parent
    return package / HANDOUT if (package / HANDOUT).is_dir() else package.parent


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
    is removed when it does not. What is there afterwards outlives a power cut.

    A linked `target` is followed, and a new file gets the access rights that the user's umask asks
    for, an old one keeps its own. What a killed process left behind is removed.

    Raises:
        CourseError: the folder cannot be written or the disk is full; an older `target` is left as
            it was.
    """
    target = Path(target)
    place = Path(os.path.realpath(target)) if target.is_symlink() else target
    partial = place.with_name(f"{_mark(place)}{os.getpid()}-{secrets.token_hex(4)}.partial")
    # writers choose the format by the ending
    partial = partial.with_name(partial.name + place.suffix[:20])
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        mode = _mode(place if place.is_file() else partial)
        yield partial
        # safetensors writes files that only their owner can read; runs are shared
        if _mode(partial) != mode:
            with suppress(OSError):  # some file systems have no access rights
                os.chmod(partial, mode)
        _to_disk(partial)
        _replace(partial, place)
        _to_disk(place.parent)
        _remove_leftovers(place)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        with suppress(OSError):  # whatever stopped the block is the error to tell
            partial.unlink(missing_ok=True)


def _mark(place: Path) -> str:
    """Returns how the names of a file's partial versions begin: short, since names have at most 255
    bytes, and with the machine, since folders are shared.
    """
    machine = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
    return f".{place.stem[:12]}.{machine}-"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# What file systems answer that cannot do what was asked for
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY)


def _to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk, where the system knows."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":
        return
    try:
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if not is_folder and error.errno not in _NOT_SUPPORTED:
            raise


def _replace(partial: Path, place: Path) -> None:
    """Renames; Windows refuses as long as another program, such as a virus scanner, reads one of
    the two.
    """
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, None):
        try:
            os.replace(partial, place)
            return
        except PermissionError as error:
            if pause is None:
                reason = f"{error.strerror}; perhaps another program has it open"
                raise PermissionError(error.errno, reason) from error
            time.sleep(pause)


def _remove_leftovers(place: Path) -> None:
    """Removes partial versions of a file whose process was killed on this machine."""
    pattern = re.compile(re.escape(_mark(place)) + r"(\d+)-[0-9a-f]{8}\.partial.*")
    for path in place.parent.glob(glob.escape(_mark(place)) + "*"):
        found = pattern.fullmatch(path.name)
        if found and not _lives(int(found[1])):
            with suppress(OSError):
                path.unlink()


def _lives(process: int, written: float = float("inf")) -> bool:
    """Returns whether the process that wrote something at that time still runs; a process that is
    younger has only inherited its number.
    """
    import psutil

    try:
        found = psutil.Process(process)
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() < written + 60
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, and somebody else's
        return True


def _cannot_write(target: Path, error: OSError) -> CourseError:
    """Returns the error that says why, and where else to write."""
    roots = {"COURSE_RUNS": runs_root(), "COURSE_CACHE": cache_root(), "COURSE_DATA": data_root()}
    above = target.absolute().parents
    names = [name for name, root in roots.items() if root.absolute() in above]
    setting = f" ({names[0]}=FOLDER)" if names else ""
    reason = "Free some disk space or"
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        reason = "Something of that name is in the way:"
    return CourseError(
        f"cannot write {target}: {error.strerror or error}; nothing was changed. {reason} choose a"
        f" folder that you may write to{setting}."
    )


PULSE_SECONDS, SILENT_SECONDS = 20.0, 300.0
_held: set[str] = set()  # the locks of this process


@contextmanager
def locked(target: Path | str, what: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Lets one process at a time into the block, also where the file system knows no locks.

    A file beside `target` names the process that is inside. It is taken over where that process is
    gone, or where one of another machine has given no sign of life for some minutes.

    Args:
        target: a file that the block writes.
        what: what the block does, for messages, such as "training".
        wait_seconds: how long to wait until another process has left.

    Raises:
        CourseError: another process is inside, or the folder cannot be written.
    """
    lock = Path(target).with_name(f".{Path(target).name}.lock")
    own = {"process": os.getpid(), "machine": platform.node(), "written": time.time()}
    text = json.dumps({**own, "id": secrets.token_hex(8)})
    end, said, start = time.monotonic() + wait_seconds, False, time.monotonic()
    while not _take(lock, text, Path(target), what):
        holder = _holder(lock)
        if holder is None:
            continue
        if time.monotonic() >= end:
            raise CourseError(
                f"{lock.parent}: another {what} is under way there, by {holder}. Wait until it has"
                f" ended, or stop it; where it runs no more, delete {lock}."
            )
        if not said and time.monotonic() > start + 1:
            print(f"{lock.parent}: waiting for another {what}, by {holder}", flush=True)
            said = True
        time.sleep(0.02 if not said else 0.5)
    _held.add(text)
    left = threading.Event()
    threading.Thread(target=_keep_fresh, args=(lock, left), daemon=True).start()
    try:
        yield
    finally:
        left.set()
        _held.discard(text)
        with suppress(OSError, ValueError):
            if lock.read_text(encoding="utf-8") == text:
                lock.unlink()


def _take(lock: Path, text: str, target: Path, what: str) -> bool:
    """Returns whether the lock is ours now, or there is none to be had on this file system."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with open(lock, "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        if not lock.parent.is_dir():
            raise _cannot_write(target, NotADirectoryError(errno.ENOTDIR, "not a folder")) from None
        return False
    except OSError as error:
        try:
            write_text(lock, text)
        except CourseError:
            raise _cannot_write(target, error) from error
        print(f"{lock.parent}: cannot be locked here; never start a second {what} meanwhile")
    return True


def _holder(lock: Path) -> str | None:
    """Returns who holds a lock; None where nobody does any more, and then the file is gone."""
    try:
        text = lock.read_text(encoding="utf-8", errors="replace")
        silent = abs(time.time() - lock.stat().st_mtime)
    except FileNotFoundError:
        return None
    except OSError:  # Windows, while it is being removed
        return "another process"
    try:
        value = json.loads(text)
        process, machine, written = value["process"], value["machine"], value["written"]
        here = machine == platform.node()
        inside = _lives(process, written) if here else silent < SILENT_SECONDS
        if process == os.getpid() and here:  # the same number as before a restart
            inside = text in _held
        who = f"process {process}" + ("" if here else f" of {machine}")
    except (ValueError, KeyError, TypeError):  # just being written, or left so by a power cut
        inside, who = silent < 5, "a process that starts"
    if inside:
        return who
    aside = lock.with_name(f"{lock.name}.{secrets.token_hex(4)}")
    try:
        os.rename(lock, aside)
        if aside.read_text(encoding="utf-8", errors="replace") == text:
            aside.unlink()
        else:  # meanwhile another process has taken it over
            os.rename(aside, lock)
    except FileNotFoundError:  # another process takes it over at this moment
        pass
    except OSError:  # it cannot be removed
        return f"{who}, which has ended"
    return None


def _keep_fresh(lock: Path, left: threading.Event) -> None:
    while not left.wait(PULSE_SECONDS):
        with suppress(OSError):
            os.utime(lock)


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


# How files of Notepad and PowerShell begin, and their encodings; UTF-32 before UTF-16, whose mark
# it begins with.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decode_text(data: bytes, where: str) -> str:
    """Returns the text in the bytes of a file: UTF-8, or what a byte order mark says; line ends
    become "\\n".

    Args:
        where: what messages call the file.

    Raises:
        CourseError: another encoding.
    """
    encoding = next(
        (name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8"
    )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        found = f"the byte 0x{data[error.start]:02x} at {error.start:,}"
        raise CourseError(
            f"{where}: expected UTF-8 text, got {found}; save the file as UTF-8."
        ) from None
    if "\0" in text:
        raise CourseError(
            f"{where}: expected UTF-8 text, got zero bytes, as in UTF-16 without its mark or after"
            " a power cut; save the file as UTF-8, or put a good copy there."
        )
    return text.replace("\r\n", "\n")


def read_text(path: Path | str) -> str:
    """Returns the text of a file that a person may have saved with any editor; see `decode_text`.

    Raises:
        CourseError: the file is missing, cannot be read, or has another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CourseError(f"cannot read {path}: {error.strerror or error}.") from error
    return decode_text(data, str(path))


def read_json(path: Path | str) -> dict:
    """Returns the JSON object in `path`.

    Raises:
        CourseError: the file is missing, cannot be read, or holds something else than a JSON
            object.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
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
    rows = []
    # and not splitlines: texts may hold U+2028
    for number, line in enumerate(read_text(path).split("\n"), start=1):
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
