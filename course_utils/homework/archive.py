"""`submission.zip`: the report, `results.json` and pictures. It is written in one step and read in memory; nothing is ever extracted to disk."""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path
from course_utils.homework.schema import MAX_RESULTS_BYTES, Results, read_results

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_SIDE, MAX_PIXELS = 4000, 4_000_000
SAMPLES_A_PIXEL = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT", b"bKGD", b"tEXt", b"tIME"}


def check_png(data: bytes, where: str) -> tuple[int, int]:
    """Returns width and height in pixels of a still PNG picture without interlacing.

    Raises:
        CourseError: no PNG, more than 4,000 pixels a side or 4 million in all, a broken or unknown chunk, or too few or too many pixels.
    """
    chunks = list(_chunks(data, where))
    if chunks[0][0] != b"IHDR" or chunks[-1] != (b"IEND", b""):
        raise CourseError(f"{where}: expected a PNG from IHDR to IEND, got {chunks[0][0].decode()} to {chunks[-1][0].decode()}.")
    (width, height), row_bytes = _header(chunks[0][1], where)
    size = height * (1 + row_bytes)  # each row begins with its filter
    stream = zlib.decompressobj()
    try:
        pixels = stream.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"), size + 1)
    except zlib.error as error:
        raise CourseError(f"{where}: expected compressed pixels, got a broken stream ({error}).") from None
    if len(pixels) != size or not stream.eof or stream.unused_data:
        found = "more" if len(pixels) > size else f"{len(pixels):,}"
        raise CourseError(f"{where}: expected {size:,} bytes of pixels for {width} x {height} and nothing behind them, got {found}.")
    return width, height


def _chunks(data: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content of every chunk up to the end of the data."""
    if data[:8] != SIGNATURE or len(data) < 8 + 12 + 13:
        raise CourseError(f"{where}: expected a PNG picture, got bytes that begin with {data[:8]!r}.")
    place = 8
    while place < len(data):
        if place + 12 > len(data):
            raise CourseError(f"{where}: expected a whole PNG, got one that is cut off.")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if kind not in CHUNKS:
            raise CourseError(f"{where}: expected a plain still PNG, got a chunk {kind!r}.")
        if end > len(data) or zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise CourseError(f"{where}: expected a whole PNG, got a chunk {kind!r} that is cut off or damaged.")
        yield kind, data[place + 8 : end - 4]
        place = end


def _header(body: bytes, where: str) -> tuple[tuple[int, int], int]:
    """Returns the picture's size, and the bytes of one row of pixels."""
    if len(body) != 13:
        raise CourseError(f"{where}: expected a PNG header of 13 bytes, got {len(body)}.")
    width, height, depth, colour, *methods = struct.unpack(">IIBBBBB", body)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise CourseError(f"{where}: expected a picture of at most {MAX_SIDE:,} pixels a side and {MAX_PIXELS:,} in all, got {width:,} x {height:,}.")
    if depth not in DEPTHS.get(colour, ()) or methods != [0, 0, 0]:
        raise CourseError(f"{where}: expected a plain PNG without interlacing, got colour type {colour}, depth {depth}, methods {methods}.")
    return (width, height), (width * depth * SAMPLES_A_PIXEL[colour] + 7) // 8


STORED, DEFLATED = 0, 8
END, CENTRAL, LOCAL = struct.Struct("<4s4H2IH"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
ENCRYPTED = 0x1 | 0x40 | 0x2000  # any of the three flags
DOS_DIRECTORY, REPARSE_POINT = 0x10, 0x400
MAX_ENTRIES, MAX_NAME_BYTES, MAX_DEPTH = 60, 120, 2
MAX_RATIO, FREE_BYTES = 100, 100_000  # a file below the latter may be as repetitive as it likes
SHOWN = 60


@dataclass(frozen=True)
class ZipEntry:
    """One file as the archive describes it; sizes in bytes, `place` is that of its local header."""

    name: str
    method: int
    crc: int
    packed_size: int
    size: int
    place: int


def list_entries(data: bytes, where: str) -> tuple[ZipEntry, ...]:
    """Returns the files of a zip archive in the order of its directory, nothing decompressed.

    Raises:
        CourseError: no zip archive; too many files; a name that is absolute, climbs (`..`), has a backslash, a drive, more than one folder, or stands
            twice (upper and lower case count as one); a link, folder or device; an encrypted file or an unknown compression; a file that is
            packed more than 100 times; or files that overlap.
    """
    if len(data) < END.size or data[-END.size :][:4] != b"PK\x05\x06":
        raise CourseError(f"{where}: expected a zip archive, got {'an empty file' if not data else 'a file that does not end like one'}.")
    _, disk, first_disk, here, total, size, start, comment = END.unpack(data[-END.size :])
    if (disk, first_disk, comment) != (0, 0, 0) or here != total or start + size != len(data) - END.size:
        raise CourseError(f"{where}: expected one plain zip archive, got one in parts, with a comment, in zip64 format or with other data around it.")
    if not 1 <= total <= MAX_ENTRIES:
        raise CourseError(f"{where}: expected 1 to {MAX_ENTRIES} files, got {total:,}.")
    entries, place = [], start
    for _ in range(total):
        entry, place = _central(data, place, where)
        entries.append(entry)
    if place != len(data) - END.size:
        raise CourseError(f"{where}: expected a directory of {total} files, got one of another length.")
    _refuse_repeats(entries, where)
    _refuse_overlap(data, entries, start, where)
    return tuple(entries)


def read_entry(data: bytes, entry: ZipEntry, where: str, max_bytes: int) -> bytes:
    """Returns the content of one file; at most `max_bytes` (and one) are ever decompressed, whatever the archive claims.

    Raises:
        CourseError: more bytes than allowed or announced, a broken stream, or another checksum.
    """
    begin = _content(data, entry, where)
    packed = data[begin : begin + entry.packed_size]
    limit = min(max_bytes, entry.size)
    try:
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        content = packed if entry.method == STORED else stream.decompress(packed, limit + 1)
    except zlib.error as error:
        raise CourseError(f"{where}: {quoted(entry.name)}: expected a whole file, got a broken stream ({error}).") from None
    if len(content) > limit:
        raise CourseError(f"{where}: {quoted(entry.name)}: expected at most {limit:,} bytes, got more.")
    complete = len(content) == entry.size and (entry.method == STORED or (stream.eof and not stream.unused_data))
    if not complete or zlib.crc32(content) != entry.crc:
        raise CourseError(f"{where}: {quoted(entry.name)}: expected {entry.size:,} bytes with the checksum of the archive, got others.")
    return content


def quoted(name: str) -> str:
    """Returns a name for a message: escaped, quoted and short."""
    return ascii(name if len(name) <= SHOWN else name[: SHOWN - 3] + "...")


def _central(data: bytes, place: int, where: str) -> tuple[ZipEntry, int]:
    """Returns the entry of the directory at `place`, and the place behind it."""
    if place + CENTRAL.size > len(data) or data[place : place + 4] != b"PK\x01\x02":
        raise CourseError(f"{where}: expected a directory of files, got a broken one.")
    _, _, _, flags, method, _, _, crc, packed, size, name_bytes, extra, comment, disk, _, attributes, local = CENTRAL.unpack_from(data, place)
    raw = data[place + CENTRAL.size : place + CENTRAL.size + name_bytes]
    name = _name(raw, where)
    if flags & ENCRYPTED:
        raise CourseError(f"{where}: {quoted(name)}: expected a readable file, got an encrypted one.")
    if method not in (STORED, DEFLATED):
        raise CourseError(f"{where}: {quoted(name)}: expected compression 0 (stored) or 8 (deflated), got {method}.")
    mode = stat.S_IFMT(attributes >> 16)
    if mode not in (0, stat.S_IFREG) or attributes & (DOS_DIRECTORY | REPARSE_POINT) or disk:
        raise CourseError(f"{where}: {quoted(name)}: expected a plain file, got {'a link' if mode == stat.S_IFLNK else 'a folder, link or device'}.")
    if (method == STORED and packed != size) or (size > FREE_BYTES and size > MAX_RATIO * packed):
        raise CourseError(f"{where}: {quoted(name)}: expected a file packed at most {MAX_RATIO} times, got {size:,} bytes out of {packed:,}.")
    return ZipEntry(name, method, crc, packed, size, local), place + CENTRAL.size + name_bytes + extra + comment


def _name(raw: bytes, where: str) -> str:
    """Returns the name of an entry, or says what is wrong with it."""
    name = raw.decode("latin-1")
    parts = name.split("/")
    troubles = {
        "an empty or endless one": not 1 <= len(raw) <= MAX_NAME_BYTES,
        "one with control characters or accents": not re.fullmatch(r"[ -~]*", name),
        "one with a backslash": "\\" in name,
        "an absolute one": name.startswith("/"),
        "one with a drive letter": bool(re.match(r"[A-Za-z]:", name)),
        "one that climbs out with '..'": ".." in parts,
        "a folder": name.endswith("/"),
        f"one more than {MAX_DEPTH} levels deep": len(parts) > MAX_DEPTH,
        "one with empty parts": any(part.strip() in ("", ".") for part in parts),
    }
    for trouble, there in troubles.items():
        if there:
            raise CourseError(f"{where}: expected plain relative file names, got {trouble}: {quoted(name)}.")
    return name


def _refuse_repeats(entries: Iterable[ZipEntry], where: str) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name.casefold() in seen:
            raise CourseError(f"{where}: expected each file once, got {quoted(entry.name)} twice (upper and lower case count as one).")
        seen.add(entry.name.casefold())


def _refuse_overlap(data: bytes, entries: Iterable[ZipEntry], end: int, where: str) -> None:
    """Raises CourseError where two files share bytes, or one reaches into the directory: the trick of bombs without nesting."""
    place = 0
    for entry in sorted(entries, key=lambda entry: entry.place):
        if entry.place < place:
            raise CourseError(f"{where}: {quoted(entry.name)}: expected files one after the other, got overlapping ones.")
        place = _content(data, entry, where) + entry.packed_size
    if place > end:
        raise CourseError(f"{where}: expected files before the directory, got one that reaches into it.")


def _content(data: bytes, entry: ZipEntry, where: str) -> int:
    """Returns where an entry's content begins, its local header being one of the same file."""
    if data[entry.place : entry.place + 4] != b"PK\x03\x04" or entry.place + LOCAL.size > len(data):
        raise CourseError(f"{where}: {quoted(entry.name)}: expected a file at its place in the archive, got none.")
    _, _, flags, method, _, _, _, _, _, name_bytes, extra = LOCAL.unpack_from(data, entry.place)
    begin = entry.place + LOCAL.size
    if data[begin : begin + name_bytes] != entry.name.encode("ascii") or method != entry.method or flags & ENCRYPTED:
        raise CourseError(f"{where}: {quoted(entry.name)}: expected the same file in directory and content, got two different ones.")
    return begin + name_bytes + extra


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
            raise CourseError(f"{where}: expected {REPORT}, {RESULTS} and {SAMPLES}/NAME.png only, got {quoted(name)}.")
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
            raise CourseError(f"{where}: expected plain files, got a link or device: {quoted(path.name)}.")
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
