"""What a zip file of a stranger holds, read without trusting it: names, sizes and places first, content one by one, all in memory.

Python's zipfile reads as much as it can; this reads only what `course homework report` writes, and says why it refuses the rest.

Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (its end).
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from course_utils.errors import CourseError

STORED, DEFLATED = 0, 8
END, CENTRAL, LOCAL = struct.Struct("<4s4H2IH"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
ENCRYPTED = 0x1 | 0x40 | 0x2000  # any of the three flags
DOS_DIRECTORY, REPARSE_POINT = 0x10, 0x400
MAX_ENTRIES, MAX_NAME_BYTES, MAX_DEPTH = 60, 120, 2
MAX_RATIO, FREE_BYTES = 100, 100_000  # a file below the latter may be as repetitive as it likes
SHOWN = 60


@dataclass(frozen=True)
class Entry:
    """One file as the archive describes it; sizes in bytes, `place` is that of its local header."""

    name: str
    method: int
    crc: int
    packed_size: int
    size: int
    place: int


def list_entries(data: bytes, where: str) -> tuple[Entry, ...]:
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


def read_entry(data: bytes, entry: Entry, where: str, max_bytes: int) -> bytes:
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
        raise CourseError(f"{where}: {show(entry.name)}: expected a whole file, got a broken stream ({error}).") from None
    if len(content) > limit:
        raise CourseError(f"{where}: {show(entry.name)}: expected at most {limit:,} bytes, got more.")
    complete = len(content) == entry.size and (entry.method == STORED or (stream.eof and not stream.unused_data))
    if not complete or zlib.crc32(content) != entry.crc:
        raise CourseError(f"{where}: {show(entry.name)}: expected {entry.size:,} bytes with the checksum of the archive, got others.")
    return content


def show(name: str) -> str:
    """Returns a name for a message: escaped, quoted and short."""
    return ascii(name if len(name) <= SHOWN else name[: SHOWN - 3] + "...")


def _central(data: bytes, place: int, where: str) -> tuple[Entry, int]:
    """Returns the entry of the directory at `place`, and the place behind it."""
    if place + CENTRAL.size > len(data) or data[place : place + 4] != b"PK\x01\x02":
        raise CourseError(f"{where}: expected a directory of files, got a broken one.")
    _, _, _, flags, method, _, _, crc, packed, size, name_bytes, extra, comment, disk, _, attributes, local = CENTRAL.unpack_from(data, place)
    raw = data[place + CENTRAL.size : place + CENTRAL.size + name_bytes]
    name = _name(raw, where)
    if flags & ENCRYPTED:
        raise CourseError(f"{where}: {show(name)}: expected a readable file, got an encrypted one.")
    if method not in (STORED, DEFLATED):
        raise CourseError(f"{where}: {show(name)}: expected compression 0 (stored) or 8 (deflated), got {method}.")
    mode = stat.S_IFMT(attributes >> 16)
    if mode not in (0, stat.S_IFREG) or attributes & (DOS_DIRECTORY | REPARSE_POINT) or disk:
        raise CourseError(f"{where}: {show(name)}: expected a plain file, got {'a link' if mode == stat.S_IFLNK else 'a folder, link or device'}.")
    if (method == STORED and packed != size) or (size > FREE_BYTES and size > MAX_RATIO * packed):
        raise CourseError(f"{where}: {show(name)}: expected a file packed at most {MAX_RATIO} times, got {size:,} bytes out of {packed:,}.")
    return Entry(name, method, crc, packed, size, local), place + CENTRAL.size + name_bytes + extra + comment


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
            raise CourseError(f"{where}: expected plain relative file names, got {trouble}: {show(name)}.")
    return name


def _refuse_repeats(entries: Iterable[Entry], where: str) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry.name.casefold() in seen:
            raise CourseError(f"{where}: expected each file once, got {show(entry.name)} twice (upper and lower case count as one).")
        seen.add(entry.name.casefold())


def _refuse_overlap(data: bytes, entries: Iterable[Entry], end: int, where: str) -> None:
    """Raises CourseError where two files share bytes, or one reaches into the directory: the trick of bombs without nesting."""
    place = 0
    for entry in sorted(entries, key=lambda entry: entry.place):
        if entry.place < place:
            raise CourseError(f"{where}: {show(entry.name)}: expected files one after the other, got overlapping ones.")
        place = _content(data, entry, where) + entry.packed_size
    if place > end:
        raise CourseError(f"{where}: expected files before the directory, got one that reaches into it.")


def _content(data: bytes, entry: Entry, where: str) -> int:
    """Returns where an entry's content begins, its local header being one of the same file."""
    if data[entry.place : entry.place + 4] != b"PK\x03\x04" or entry.place + LOCAL.size > len(data):
        raise CourseError(f"{where}: {show(entry.name)}: expected a file at its place in the archive, got none.")
    _, _, flags, method, _, _, _, _, _, name_bytes, extra = LOCAL.unpack_from(data, entry.place)
    begin = entry.place + LOCAL.size
    if data[begin : begin + name_bytes] != entry.name.encode("ascii") or method != entry.method or flags & ENCRYPTED:
        raise CourseError(f"{where}: {show(entry.name)}: expected the same file in directory and content, got two different ones.")
    return begin + name_bytes + extra
