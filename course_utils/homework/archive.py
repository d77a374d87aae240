"""`submission.zip`: the report, `results.json` and pictures. It is written in one step and read in memory; nothing is ever extracted to disk."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from course_utils.errors import CourseError
from course_utils.files import atomic_path
from course_utils.homework.png import check_png
from course_utils.homework.schema import MAX_RESULTS_BYTES, Results, read_results
from course_utils.homework.zip_listing import list_entries, read_entry, show

RESULTS, REPORT, SAMPLES = "results.json", "report.html", "samples"
SAMPLE = re.compile(r"samples/[A-Za-z0-9][A-Za-z0-9_.-]{0,79}\.png")
MAX_ARCHIVE_BYTES, MAX_TOTAL_BYTES = 30_000_000, 60_000_000
MAX_SAMPLES, MAX_SAMPLE_BYTES, MAX_REPORT_BYTES = 40, 1_000_000, 20_000_000
NO_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file knows: equal content gives equal bytes


@dataclass(frozen=True)
class Submission:
    """What one student handed in, checked.

    Attributes:
        source: name of the file or folder it came in.
        results: what `results.json` says.
        samples: `{name: PNG bytes}`, names without folder. The student's own report.html is not read: `report` writes it anew from these.
    """

    source: str
    results: Results
    samples: Mapping[str, bytes]


def write_submission(target: Path | str, results: Results, samples: Mapping[str, bytes], report_html: str) -> Path:
    """Writes a `submission.zip` in one step and returns its path; equal content gives equal bytes.

    Args:
        samples: `{name such as "vae-changed.png": PNG bytes}`.

    Raises:
        CourseError: `read_submission` would refuse the result (a text too long, a picture too large), or the file cannot be written.
    """
    files = {REPORT: report_html.encode(), RESULTS: results.as_json(), **{f"{SAMPLES}/{name}": data for name, data in samples.items()}}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, NO_DATE)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(entry, files[name], compresslevel=9)
    parse_submission(packed.getvalue(), Path(target).name)
    with atomic_path(target) as partial:
        partial.write_bytes(packed.getvalue())
    return Path(target)


def read_submission(path: Path | str) -> Submission:
    """Returns the submission in a zip file, or in a folder that such a file was unpacked into (some browsers do so).

    Raises:
        CourseError: anything that `write_submission` would not have written; one line says what.
    """
    path = Path(path)
    where = "".join(character if character.isprintable() else "?" for character in path.name)
    if path.is_dir() and not path.is_symlink():
        return _read_folder(path, where)
    return parse_submission(_read_file(path, MAX_ARCHIVE_BYTES, where), where)


def parse_submission(data: bytes, where: str) -> Submission:
    """Returns the submission in the bytes of a zip file; `where` is what messages call it. Raises CourseError as `read_submission` does."""
    if len(data) > MAX_ARCHIVE_BYTES:
        raise CourseError(f"{where}: expected at most {MAX_ARCHIVE_BYTES:,} bytes, got {len(data):,}.")
    entries = {entry.name: entry for entry in list_entries(data, where)}
    _check_names({name: entry.size for name, entry in entries.items()}, where)
    content = {name: read_entry(data, entry, where, limit(name)) for name, entry in entries.items() if name != REPORT}
    return _submission(content, where)


def limit(name: str) -> int:
    """Returns how many bytes a file of a submission may have."""
    return {RESULTS: MAX_RESULTS_BYTES, REPORT: MAX_REPORT_BYTES}.get(name, MAX_SAMPLE_BYTES)


def _check_names(sizes: Mapping[str, int], where: str) -> None:
    for name, size in sizes.items():
        if name not in (RESULTS, REPORT) and not SAMPLE.fullmatch(name):
            raise CourseError(f"{where}: expected {REPORT}, {RESULTS} and {SAMPLES}/NAME.png only, got {show(name)}.")
        if size > limit(name):
            raise CourseError(f"{where}: {name}: expected at most {limit(name):,} bytes, got {size:,}.")
    for name in (RESULTS, REPORT):
        if name not in sizes:
            raise CourseError(f"{where}: expected a file {name}, got none; hand in the submission.zip that `course homework report` writes.")
    if len(sizes) - 2 > MAX_SAMPLES:
        raise CourseError(f"{where}: expected at most {MAX_SAMPLES} pictures, got {len(sizes) - 2}.")
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        raise CourseError(f"{where}: expected at most {MAX_TOTAL_BYTES:,} bytes unpacked, got {sum(sizes.values()):,}.")


def _submission(content: Mapping[str, bytes], where: str) -> Submission:
    results = read_results(content[RESULTS], f"{where}: {RESULTS}")
    samples = {name.partition("/")[2]: data for name, data in sorted(content.items()) if name != RESULTS}
    for name, data in samples.items():
        check_png(data, f"{where}: {SAMPLES}/{name}")
    return Submission(where, results, samples)


def _read_folder(folder: Path, where: str) -> Submission:
    """Returns the submission in an unpacked folder; names of its own (such as .DS_Store) are passed over, links are refused."""
    paths = {name: folder / name for name in (RESULTS, REPORT) if (folder / name).exists()}
    pictures = sorted((folder / SAMPLES).glob("*.png"))[: MAX_SAMPLES + 1]
    paths |= {f"{SAMPLES}/{path.name}": path for path in pictures}
    for path in (folder / SAMPLES, *paths.values()):
        if path.is_symlink() or (path.exists() and not (path.is_file() or path.name == SAMPLES)):
            raise CourseError(f"{where}: expected plain files, got a link or device: {show(path.name)}.")
    _check_names({name: path.stat().st_size for name, path in paths.items()}, where)
    content = {name: _read_file(path, limit(name), f"{where}: {name}") for name, path in paths.items() if name != REPORT}
    return _submission(content, where)


def _read_file(path: Path, max_bytes: int, where: str) -> bytes:
    """Returns the content of a file, never more than allowed."""
    try:
        if path.is_symlink() or not path.is_file():
            found = "a folder, link or device" if path.is_symlink() or path.exists() else "nothing there"
            raise CourseError(f"{where}: expected a file, got {found}.")
        with open(path, "rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise CourseError(f"{where}: cannot be read ({error.strerror or error}).") from error
    if len(data) > max_bytes:
        raise CourseError(f"{where}: expected at most {max_bytes:,} bytes, got more.")
    return data
