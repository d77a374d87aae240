"""`submission.zip`: the report, `results.json` and pictures.

It is written in one step and read in memory; nothing is ever extracted to disk.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from PIL import Image

from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path
from course_utils.homework.schema import MAX_RESULTS_BYTES, Results, read_results, shown

RESULTS, REPORT, SAMPLES = "results.json", "report.html", "samples"
SAMPLE = re.compile(r"samples/[A-Za-z0-9][A-Za-z0-9_.-]{0,79}\.png")
MAX_ARCHIVE_BYTES, MAX_TOTAL_BYTES = 30_000_000, 60_000_000
MAX_SAMPLES, MAX_SAMPLE_BYTES, MAX_REPORT_BYTES = 40, 1_000_000, 20_000_000
MAX_CLEAN_BYTES = 2_000_000  # of a picture written anew, which may compress a little worse
MAX_ENTRIES, MAX_NAME_BYTES, MAX_DEPTH = 60, 120, 2
MAX_WITH_LEFTOVERS = 3 * MAX_ENTRIES  # a file manager adds one to each file, and folders
MAX_RATIO, FREE_BYTES = 100, 100_000  # a file below the latter may be as repetitive as it likes
MAX_SIDE, MAX_PIXELS = 4000, 4_000_000
# What file managers put beside a person's files when they pack them.
LEFTOVERS = (".DS_Store", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r")
MAX_AROUND = 3  # folders around everything, one in the other
ADVICE = "unpack it, or ask for the submission.zip that `course homework report` wrote"
NO_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file knows: equal content, equal bytes

FIRST_BYTES, END_CHUNK = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82"
CHUNKS = set(b"IHDR PLTE IDAT tRNS gAMA cHRM sRGB pHYs sBIT bKGD tEXt tIME".split())
BEFORE_PALETTE = {b"gAMA", b"cHRM", b"sRGB", b"sBIT"}
BEFORE_PIXELS = {b"PLTE", b"tRNS", b"bKGD", b"pHYs"}
AFTER_PALETTE = {b"tRNS", b"bKGD"}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
MAX_FILTER = 4
SAMPLES_A_PIXEL = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type

END, LOCAL, CENTRAL_BYTES = struct.Struct("<4s4H2IH"), struct.Struct("<4s5H3I2H"), 46
DESCRIPTOR = 0x8  # the flag for sizes that stand behind the file
OTHER_DATA = ("files one behind the other and nothing else", "other data among them")
ENCRYPTED = 0x1 | 0x40 | 0x2000  # any of the three flags
UTF_8 = 0x800  # the flag for names; `zipfile` decodes those without it by cp437
DOS_DIRECTORY, REPARSE_POINT = 0x10, 0x400


def _fail(where: str, expected: str, got: object, advice: str = "") -> NoReturn:
    raise CourseError(f"{where}: expected {expected}, got {got}{advice and '; '}{advice}.")


def clean_png(data: bytes, where: str) -> bytes:
    """Returns a still PNG picture written anew: its pixels, palette and transparency, no more.

    Raises:
        CourseError: no PNG, more than 4,000 pixels a side or 4 million in all, a broken or unknown
            chunk, interlacing, too few or too many pixels, or one that is too large written anew.
    """
    _check_png(data, where)
    stream = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            picture.verify()  # the checksums, after which a picture has to be opened again
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            picture.load()
            kept = picture.info.get("transparency")
            picture.info = {} if kept is None else {"transparency": kept}
            picture.save(stream, "PNG")
    except Exception as error:  # whatever its decoder stumbled over
        _fail(where, "a whole PNG", f"a damaged one ({shown(str(error))[1:-1]})")
    if stream.tell() > MAX_CLEAN_BYTES:
        _fail(where, f"at most {MAX_CLEAN_BYTES:,} bytes written anew", f"{stream.tell():,}")
    return stream.getvalue()


def _check_png(data: bytes, where: str) -> None:
    """Refuses what Pillow reads or passes over: huge pictures, other chunks, wrong amounts."""
    if data[:16] != FIRST_BYTES or len(data) < 45:
        _fail(where, "a PNG picture", f"bytes that begin with {data[:16]!r}")
    width, height, depth, colour, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        expected = f"a picture of at most {MAX_SIDE:,} pixels a side and {MAX_PIXELS:,} in all"
        _fail(where, expected, f"{width:,} x {height:,}")
    if any(methods) or colour not in SAMPLES_A_PIXEL:
        found = f"colour type {colour}, methods {methods}"
        _fail(where, "a plain PNG without interlacing", found)

    if not data.endswith(END_CHUNK):
        _fail(where, "a whole PNG", "one that is cut off or goes on after its end")
    chunks = list(_chunks(data, where))
    _check_order([kind for kind, _ in chunks], where)
    _check_colours(dict(reversed(chunks)), depth, colour, where)
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    _check_pixels(packed, width, height, depth * SAMPLES_A_PIXEL[colour], where)


def _chunks(data: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content of each chunk before the last, with the checksum right."""
    place, end = 8, len(data) - len(END_CHUNK)
    while place < end:
        length, kind = struct.unpack_from(">I4s", data, place)
        after = place + 12 + length
        if kind not in CHUNKS or (kind == b"IHDR") != (place == 8):
            _fail(where, "a plain still PNG", f"a chunk {kind!r}")
        if after > end:
            _fail(where, "a whole PNG", f"one whose chunk {kind!r} goes on after its end")
        (checksum,) = struct.unpack_from(">I", data, after - 4)
        if zlib.crc32(data[place + 4 : after - 4]) != checksum:
            _fail(where, "a whole PNG", f"a damaged one (the checksum of its chunk {kind!r})")
        yield kind, data[place + 8 : after - 4]
        place = after


def _check_order(kinds: Sequence[bytes], where: str) -> None:
    """Raises CourseError unless the chunks come in the order of the standard (PNG, section 5.6)."""
    if b"IDAT" not in kinds:
        _fail(where, "a PNG with pixels", "one without")
    first, last = kinds.index(b"IDAT"), len(kinds) - 1 - kinds[::-1].index(b"IDAT")
    if set(kinds[first : last + 1]) != {b"IDAT"}:
        _fail(where, "a plain PNG", "one whose pixels stand in several places")
    twice = [kind for kind in set(kinds) - {b"IDAT", b"tEXt"} if kinds.count(kind) > 1]
    if twice:
        _fail(where, "a plain PNG", f"one with the chunk {min(twice)!r} twice")
    places = {kind: place for place, kind in enumerate(kinds)}
    palette = places.get(b"PLTE")
    for kind in sorted(places.keys() & (BEFORE_PALETTE | BEFORE_PIXELS)):
        is_wrong = places[kind] > first
        if palette is not None and kind in BEFORE_PALETTE:
            is_wrong |= places[kind] > palette
        if palette is not None and kind in AFTER_PALETTE:
            is_wrong |= places[kind] < palette
        if is_wrong:
            _fail(where, "a plain PNG", f"one with the chunk {kind!r} in the wrong place")


def _check_colours(chunks: Mapping[bytes, bytes], depth: int, colour: int, where: str) -> None:
    """Raises CourseError unless bits, palette and transparency fit the colour type."""
    if depth not in DEPTHS[colour]:
        _fail(where, f"{DEPTHS[colour]} bits for colour type {colour}", depth)
    palette, clear = chunks.get(b"PLTE"), chunks.get(b"tRNS")
    num_colours = len(palette or b"") // 3
    if (colour == 3 and palette is None) or (colour in (0, 4) and palette is not None):
        found = "one without it" if palette is None else "one with it"
        _fail(where, f"a palette where colour type {colour} has it", found)
    if palette is not None and (len(palette) % 3 or not 1 <= num_colours <= 2 ** min(depth, 8)):
        _fail(where, f"a palette of 1 to {2 ** min(depth, 8)} colours", f"{len(palette)} bytes")
    expected = {0: (2,), 2: (6,), 3: range(1, num_colours + 1)}.get(colour, ())
    if clear is not None and len(clear) not in expected:
        _fail(where, f"transparency that fits colour type {colour}", f"{len(clear)} bytes")


def _check_pixels(packed: bytes, width: int, height: int, pixel_bits: int, where: str) -> None:
    """Raises CourseError unless exactly the pixels were compressed, each row by a known filter."""
    row_bytes = 1 + (width * pixel_bits + 7) // 8  # it begins with its filter
    size, stream = height * row_bytes, zlib.decompressobj()
    try:
        rows = stream.decompress(packed, size + 1)
    except zlib.error as error:
        _fail(where, "compressed pixels", f"a broken stream ({error})")
    num_bytes = len(rows)
    if num_bytes != size or not stream.eof or stream.unused_data:
        expected = f"{size:,} bytes of pixels for {width} x {height} and nothing behind them"
        _fail(where, expected, "more" if num_bytes >= size else f"{num_bytes:,}")
    if max(rows[::row_bytes]) > MAX_FILTER:
        _fail(where, "rows filtered in one of five ways", f"filter {max(rows[::row_bytes])}")


def _open_zip(data: bytes, where: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Returns a zip archive and its files by name: plain, separate, with harmless names, nothing
    decompressed.

    A submission that was unpacked and packed again counts: entries for folders, what file managers
    and editors leave (`LEFTOVERS`, `__MACOSX`, `.git`) and folders around everything are passed
    over.

    Raises:
        CourseError: no zip archive; too many files; a name that is absolute, climbs (`..`), has a
            backslash, a drive, more than one folder, or stands twice (upper and lower case count
            as one); a link, folder or device; an encrypted file or an unknown compression; a file
            that is packed more than 100 times; or files that overlap.
    """
    num_files, directory = _read_end(data, where)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # whatever its parser stumbled over
        found = f"a broken one ({shown(str(error))[1:-1]})"
        _fail(where, "a directory of files", found, ADVICE)
    entries, seen = archive.infolist(), set()
    if len(entries) != num_files:
        _fail(where, f"a directory of {num_files} files", f"one of {len(entries)}")
    kept = _own_files(entries)
    if not 1 <= len(kept) <= MAX_ENTRIES:
        _fail(where, f"1 to {MAX_ENTRIES} files", f"{len(kept):,}", ADVICE)
    for name, entry in kept:
        _check_name(name, where)
        _check_entry(entry, f"{where}: {shown(entry.filename)}")
        if name.casefold() in seen:
            found = f"{shown(name)} twice (upper and lower case count as one)"
            _fail(where, "each file once", found, ADVICE)
        seen.add(name.casefold())
    _check_places(data, entries, directory, where)
    return archive, dict(kept)


def _own_files(entries: Sequence[zipfile.ZipInfo]) -> list[tuple[str, zipfile.ZipInfo]]:
    """Returns the files that a person packed, by their names inside the folders around them."""
    kept = [(entry.orig_filename, entry) for entry in entries if not _is_leftover(entry)]
    if all(name.startswith("./") for name, _ in kept):
        kept = [(name[2:], entry) for name, entry in kept]
    kept = [(name, entry) for name, entry in kept if not _is_hidden(name)]
    for _ in range(MAX_AROUND):
        around = _folder_around([name for name, _ in kept])
        inside = [(name.removeprefix(around), entry) for name, entry in kept]
        kept = [(name, entry) for name, entry in inside if not _is_hidden(name)]
    return kept


def _is_hidden(name: str) -> bool:
    """Returns whether a file is hidden, lies in a hidden folder beside the results such as .git, or
    is the lock of an open document.
    """
    first = name.partition("/")[0]
    return first.startswith((".", "~$")) and first not in (".", "..")


def _is_leftover(entry: zipfile.ZipInfo) -> bool:
    """Returns whether an entry is an empty folder, or something that a file manager added."""
    *folders, name = entry.orig_filename.split("/")
    if name == "":
        return entry.file_size == 0
    return "__MACOSX" in folders or name.startswith("._") or name in LEFTOVERS


def _folder_around(names: Sequence[str]) -> str:
    """Returns the one folder that all files lie in, with its slash; "" where there is none."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    all_inside = all("/" in name for name in names)
    if not names or not all_inside or len(folders) != 1 or folders & {"", ".", "..", SAMPLES}:
        return ""
    return folders.pop() + "/"


def _read_end(data: bytes, where: str) -> tuple[int, int]:
    """Returns the number of files and where the directory begins, by the archive's last record.

    `zipfile` looks for that record, and passes over a wrong number and data around the archive.
    """
    record = data[-END.size :]
    if len(record) < END.size or record[:4] != b"PK\x05\x06":
        found = "a file that does not end like one" if data else "an empty file"
        if b"PK\x05\x06" in data[-END.size - 65_535 : -END.size]:  # the longest comment
            found += " (a comment or other bytes follow the end of the archive)"
        _fail(where, "a zip archive", found, ADVICE if data[:2] == b"PK" else "")
    _, disk, first_disk, here, total, size, start, comment = END.unpack(record)
    is_zip64 = data[-END.size - 20 :][:4] == b"PK\x06\x07"
    is_plain = (disk, first_disk, comment) == (0, 0, 0) and here == total and not is_zip64
    if not is_plain or start + size != len(data) - END.size:
        found = "one in parts, with a comment, in zip64 format or with other data around it"
        _fail(where, "one plain zip archive", found, ADVICE)
    if not 1 <= total <= MAX_WITH_LEFTOVERS:
        _fail(where, f"1 to {MAX_ENTRIES} files", f"{total:,}", ADVICE)
    place, end = start, len(data) - END.size
    for _ in range(total):
        if place + CENTRAL_BYTES > end:
            break
        place += CENTRAL_BYTES + sum(struct.unpack_from("<3H", data, place + 28))  # name, extra...
    if place != end:
        _fail(where, f"a directory of {total} files", "one of another length")
    return total, start


def _check_name(name: str, where: str) -> None:
    """Raises CourseError with what is wrong with the name of a file."""
    parts = name.split("/")
    troubles = {
        "an empty or endless one": not 1 <= len(name) <= MAX_NAME_BYTES,
        "one with control characters or accents": not re.fullmatch(r"[ -~]*", name),
        "one with a backslash": "\\" in name,
        "an absolute one": name.startswith("/"),
        "one with a drive letter": bool(re.match(r"[A-Za-z]:", name)),
        "one that climbs out with '..'": ".." in parts,
        "a folder": name.endswith("/"),
        f"one more than {MAX_DEPTH} levels deep": len(parts) > MAX_DEPTH,
        "one with empty parts": any(part.strip() in ("", ".") for part in parts),
    }
    for trouble, is_there in troubles.items():
        if is_there:
            _fail(where, "plain relative file names", f"{trouble}: {shown(name)}", ADVICE)


def _check_entry(entry: zipfile.ZipInfo, where: str) -> None:
    """Raises CourseError unless the directory describes a plain, readable file of modest size."""
    if entry.flag_bits & ENCRYPTED:
        _fail(where, "a readable file", "an encrypted one", ADVICE)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _fail(where, "compression 0 (stored) or 8 (deflated)", entry.compress_type, ADVICE)
    mode = stat.S_IFMT(entry.external_attr >> 16)
    is_special = entry.external_attr & (DOS_DIRECTORY | REPARSE_POINT) or entry.volume
    if mode not in (0, stat.S_IFREG) or is_special:
        found = "a link" if mode == stat.S_IFLNK else "a folder, link or device"
        _fail(where, "a plain file", found, ADVICE)
    size, packed = entry.file_size, entry.compress_size
    is_stored = entry.compress_type == zipfile.ZIP_STORED
    if (is_stored and packed != size) or (size > FREE_BYTES and size > MAX_RATIO * packed):
        expected = f"a file packed at most {MAX_RATIO} times"
        _fail(where, expected, f"{size:,} bytes out of {packed:,}")


def _check_places(
    data: bytes, entries: Sequence[zipfile.ZipInfo], directory: int, where: str
) -> None:
    """Raises CourseError where files share bytes, the trick of bombs without nesting, and where
    other data stand before, between or behind them.

    Newer versions of `zipfile` refuse the former too; those of Python 3.10 and 3.11 may not.
    """
    end = gap = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        begin, place = entry.header_offset, f"{where}: {shown(entry.filename)}"
        if begin + LOCAL.size > len(data) or data[begin : begin + 4] != b"PK\x03\x04":
            _fail(place, "a file at its place in the archive", "none")
        if begin < end:
            _fail(place, "files one after the other", "overlapping ones")
        if begin - end not in (0, gap):
            _fail(where, *OTHER_DATA, ADVICE)
        _, _, flags, method, *_, name_bytes, extra = LOCAL.unpack_from(data, begin)
        content = begin + LOCAL.size + name_bytes
        encoding = "utf-8" if entry.flag_bits & UTF_8 else "cp437"
        is_same = data[begin + LOCAL.size : content] == entry.orig_filename.encode(encoding)
        if not is_same or method != entry.compress_type or flags & ENCRYPTED:
            _fail(place, "the same file in directory and content", "two different ones", ADVICE)
        end = content + extra + entry.compress_size
        gap = _descriptor_bytes(data, end, entry) if flags & DESCRIPTOR else 0
    if end > directory:
        _fail(where, "files before the directory", "one that reaches into it")
    if directory - end not in (0, gap):
        _fail(where, *OTHER_DATA, ADVICE)


def _descriptor_bytes(data: bytes, place: int, entry: zipfile.ZipInfo) -> int:
    """Returns how many bytes behind a file repeat its checksum and its sizes, which a program that
    packs without looking ahead, such as Finder, writes there; 0 where something else stands there.
    """
    for mark in (b"PK\x07\x08", b""):
        for sizes in ("<3I", "<I2Q"):
            record = struct.pack(sizes, entry.CRC, entry.compress_size, entry.file_size)
            if data.startswith(mark + record, place):
                return len(mark + record)
    return 0


def _read_entry(archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo, where: str) -> bytes:
    """Returns the content of one file; never more than its limit (and one byte) is decompressed.

    Raises:
        CourseError: more bytes than allowed or announced, a broken stream, or another checksum.
    """
    where, announced = f"{where}: {shown(name)}", entry.file_size
    max_bytes = min(limit(name), announced)
    # `zipfile` stops where the directory says that the file ends: let it look further.
    entry.file_size = max_bytes + 2
    try:
        with archive.open(entry) as stream:
            content = stream.read(max_bytes + 1)
    except Exception as error:  # whatever its decoder stumbled over
        found = f"a broken stream or another checksum ({shown(str(error))[1:-1]})"
        _fail(where, "a whole file", found)
    if len(content) > max_bytes:
        _fail(where, f"at most {max_bytes:,} bytes", "more")
    if len(content) != announced:
        _fail(where, f"{announced:,} bytes", f"{len(content):,}")
    return content


@dataclass(frozen=True)
class Submission:
    """What one student handed in, checked.

    Attributes:
        source: name of the file or folder it came in.
        results: what `results.json` says.
        samples: `{name: PNG bytes}`, names without folder, the pictures written anew. The
            student's own report.html is not read: `report` writes it anew from these.
    """

    source: str
    results: Results
    samples: Mapping[str, bytes]


def write_submission(
    target: Path | str, results: Results, samples: Mapping[str, bytes], report_html: str
) -> Path:
    """Writes a `submission.zip` in one step and returns its path; equal content, equal bytes.

    Args:
        samples: `{name such as "vae-changed.png": PNG bytes}`.

    Raises:
        CourseError: `read_submission` would refuse the result (a text too long, a picture too
            large), or the file cannot be written.
    """
    files = {REPORT: report_html.encode(), RESULTS: results.as_json()}
    files |= {f"{SAMPLES}/{name}": data for name, data in samples.items()}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, NO_DATE)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name], compresslevel=9)
    parse_submission(packed.getvalue(), Path(target).name)
    with atomic_path(target) as partial:
        partial.write_bytes(packed.getvalue())
    return Path(target)


def read_submission(path: Path | str) -> Submission:
    """Returns the submission in a zip file, or in a folder that such a file was unpacked into.

    Raises:
        CourseError: anything that `write_submission` would not have written; one line says what.
    """
    path = Path(path)
    where = "".join(character if character.isprintable() else "?" for character in path.name)
    if path.is_dir() and not path.is_symlink():
        return _read_folder(path, where)
    return parse_submission(_read_file(path, MAX_ARCHIVE_BYTES, where), where)


def parse_submission(data: bytes, where: str) -> Submission:
    """Returns the submission in the bytes of a zip file; `where` is what messages call it.

    Raises:
        CourseError: as `read_submission`.
    """
    if len(data) > MAX_ARCHIVE_BYTES:
        _fail(where, f"at most {MAX_ARCHIVE_BYTES:,} bytes", f"{len(data):,}")
    archive, files = _open_zip(data, where)
    with archive:
        _check_names({name: entry.file_size for name, entry in files.items()}, where)
        content = {name: _read_entry(archive, name, files[name], where) for name in files}
    del content[REPORT]  # read for its checksum; a page that a stranger wrote is never used
    return _submission(content, where)


def limit(name: str) -> int:
    """Returns how many bytes a file of a submission may have."""
    return {RESULTS: MAX_RESULTS_BYTES, REPORT: MAX_REPORT_BYTES}.get(name, MAX_SAMPLE_BYTES)


def _check_names(sizes: Mapping[str, int], where: str) -> None:
    for name, size in sizes.items():
        if name not in (RESULTS, REPORT) and not SAMPLE.fullmatch(name):
            expected = f"{REPORT}, {RESULTS} and {SAMPLES}/NAME.png only"
            _fail(where, expected, shown(name), ADVICE)
        if size > limit(name):
            _fail(f"{where}: {name}", f"at most {limit(name):,} bytes", f"{size:,}")
    for name in (RESULTS, REPORT):
        if name not in sizes:
            advice = "hand in the submission.zip that `course homework report` writes"
            _fail(where, f"a file {name}", "none", advice)
    if len(sizes) - 2 > MAX_SAMPLES:
        _fail(where, f"at most {MAX_SAMPLES} pictures", len(sizes) - 2, ADVICE)
    total = sum(sizes.values())
    if total > MAX_TOTAL_BYTES:
        _fail(where, f"at most {MAX_TOTAL_BYTES:,} bytes unpacked", f"{total:,}")


def _submission(content: Mapping[str, bytes], where: str) -> Submission:
    results = read_results(content[RESULTS], f"{where}: {RESULTS}")
    samples = {}
    for path, data in sorted(content.items()):
        if path != RESULTS:
            samples[path.partition("/")[2]] = clean_png(data, f"{where}: {path}")
    return Submission(where, results, samples)


def _read_folder(folder: Path, where: str) -> Submission:
    """Returns the submission in an unpacked folder.

    Names of its own (such as .DS_Store) are passed over, links are refused.
    """
    paths = {name: folder / name for name in (RESULTS, REPORT) if (folder / name).exists()}
    pictures = sorted((folder / SAMPLES).glob("*.png"))[: MAX_SAMPLES + 1]
    paths |= {f"{SAMPLES}/{path.name}": path for path in pictures}
    for path in (folder / SAMPLES, *paths.values()):
        is_expected = path.is_file() or path.name == SAMPLES
        if path.is_symlink() or (path.exists() and not is_expected):
            _fail(where, "plain files", f"a link or device: {shown(path.name)}")
    _check_names({name: path.stat().st_size for name, path in paths.items()}, where)
    del paths[REPORT]
    content = {
        name: _read_file(path, limit(name), f"{where}: {name}") for name, path in paths.items()
    }
    return _submission(content, where)


def _read_file(path: Path, max_bytes: int, where: str) -> bytes:
    """Returns the content of a file, never more than allowed."""
    try:
        if path.is_symlink() or not path.is_file():
            is_there = path.is_symlink() or path.exists()
            _fail(where, "a file", "a folder, link or device" if is_there else "nothing there")
        with open(path, "rb") as stream:
            data = stream.read(max_bytes + 1)
    except OSError as error:
        raise CourseError(f"{where}: cannot be read ({error.strerror or error}).") from error
    if len(data) > max_bytes:
        _fail(where, f"at most {max_bytes:,} bytes", "more")
    return data
