"""Zip files byte by byte, so that a test can make any field say anything. Python's zipfile would
refuse to write most of these.
"""

from __future__ import annotations

import json
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from submissions import png, results_dict


@dataclass(frozen=True)
class Part:
    """One file of an archive; what is None follows from the content."""

    name: str | bytes
    content: bytes = b""
    method: int = 8
    flags: int = 0
    attributes: int = 0o100644 << 16
    size: int | None = None
    crc: int | None = None
    packed: bytes | None = None
    place: int | None = None  # where the directory says that it lies
    local_name: bytes | None = None  # what the header at that place says

    @property
    def name_bytes(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode("utf-8")

    @property
    def packed_bytes(self) -> bytes:
        if self.packed is not None or self.method == 0:
            return self.content if self.packed is None else self.packed
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        return compressor.compress(self.content) + compressor.flush()


def deflate_zeros(num_bytes: int) -> bytes:
    """Returns a deflate stream of zeros, a thousand times smaller than what it unpacks to."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1_000_000)
    return (
        b"".join(compressor.compress(block) for _ in range(num_bytes // len(block)))
        + compressor.flush()
    )


def pack(
    parts: Sequence[Part], *, comment: bytes = b"", before: bytes = b"", total: int | None = None
) -> bytes:
    """Returns the bytes of an archive of these parts, in order."""
    body, directory = bytearray(before), bytearray()
    for part in parts:
        place = len(body) if part.place is None else part.place
        crc = zlib.crc32(part.content) if part.crc is None else part.crc
        size = len(part.content) if part.size is None else part.size
        sizes = (crc, len(part.packed_bytes), size)
        local = part.name_bytes if part.local_name is None else part.local_name
        body += (
            struct.pack(
                "<4s5H3I2H", b"PK\3\4", 20, part.flags, part.method, 0, 33, *sizes, len(local), 0
            )
            + local
            + part.packed_bytes
        )
        fields = (
            20 | 3 << 8,
            20,
            part.flags,
            part.method,
            0,
            33,
            *sizes,
            len(part.name_bytes),
            0,
            0,
            0,
            0,
            part.attributes,
            place,
        )
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + part.name_bytes
    count = len(parts) if total is None else total
    end = struct.pack(
        "<4s4H2IH",
        b"PK\5\6",
        0,
        0,
        count,
        count,
        len(directory),
        len(body) - len(before),
        len(comment),
    )
    return bytes(body + directory + end + comment)


RESULTS = Part("results.json", json.dumps(results_dict()).encode())
REPORT = Part("report.html", b"<!DOCTYPE html><title>report</title>")
SAMPLE = Part("samples/vae-baseline.png", png())
GOOD = (REPORT, RESULTS, SAMPLE)


def named(name: str | bytes) -> bytes:
    """Returns a good archive with one more file of this name."""
    return pack([*GOOD, replace(SAMPLE, name=name)])


def with_sample(data: bytes) -> bytes:
    """Returns a good archive whose one picture is this, stored without compression."""
    return pack([REPORT, RESULTS, replace(SAMPLE, content=data, method=0)])


def with_results(text: str | bytes) -> bytes:
    """Returns an archive with this results.json."""
    return pack(
        [
            REPORT,
            Part("results.json", text if isinstance(text, bytes) else text.encode(), method=0),
            SAMPLE,
        ]
    )


def with_values(**changed: object) -> bytes:
    """Returns an archive with some top-level entries of results.json changed."""
    return with_results(json.dumps(results_dict(**changed)))


def overlapping() -> bytes:
    """Returns the bomb without nesting: many names in the directory, one content."""
    copies = [
        replace(SAMPLE, name=f"samples/copy-{index}.png", place=0, content=b"", packed=b"")
        for index in range(20)
    ]
    return pack([SAMPLE, REPORT, RESULTS, *copies])


MODE = {"link": stat.S_IFLNK, "device": stat.S_IFCHR, "pipe": stat.S_IFIFO, "folder": stat.S_IFDIR}
DEEP = '{"version":' + "[" * 5000 + "]" * 5000 + "}"
LONG_NUMBER = json.dumps(results_dict()).replace('"version": 1', '"version": ' + "1" * 100_000)
WIDE = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
INTERLACED = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)

# what is wrong with it: (the bytes that are handed in, what the refusal has to say)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "expected a zip archive, got an empty file"),
    "no archive": (b"%PDF-1.7 " * 100, "does not end like one"),
    "cut off": (pack(GOOD)[:-30], "does not end like one"),
    "comment": (pack(GOOD, comment=b"hello"), "does not end like one"),
    "program in front": (pack(GOOD, before=b"#!/bin/sh\n"), "with other data around it"),
    "no files": (pack([]), "expected 1 to 60 files, got 0"),
    "too many files": (
        pack([*GOOD, *(replace(SAMPLE, name=f"samples/{i}.png") for i in range(100))]),
        "expected 1 to 60 files, got 103",
    ),
    "too many pictures": (
        pack([REPORT, RESULTS, *(replace(SAMPLE, name=f"samples/{i}.png") for i in range(41))]),
        "at most 40 pictures, got 41",
    ),
    "count that lies": (pack(GOOD, total=2), "expected a directory of 2 files"),
    "absolute path": (named("/etc/cron.d/job"), "an absolute one: '/etc/cron.d/job'"),
    "climbing path": (named("samples/../../evil.png"), "climbs out with '..'"),
    "climbing name": (named("../evil.png"), "climbs out with '..'"),
    "backslash": (named("samples\\evil.png"), "one with a backslash"),
    "drive letter": (named("C:/evil.png"), "one with a drive letter"),
    "network path": (named("//server/share.png"), "an absolute one"),
    "zero byte": (named(b"samples/a.png\0.exe"), "one with control characters"),
    "line break": (named("samples/a\nb.png"), "one with control characters"),
    "accent": (named("samples/é.png"), "control characters or accents"),
    "endless name": (named("samples/" + "a" * 60_000), "an empty or endless one"),
    "empty name": (named(b""), "an empty or endless one"),
    "deep": (named("samples/a/b/c/d.png"), "more than 2 levels deep"),
    "folder": (named("samples/"), "a folder"),
    "dot": (named("./report.html"), "one with empty parts"),
    "program": (named("samples/run.py"), "samples/NAME.png only, got 'samples/run.py'"),
    "hidden": (named("samples/.evil.png"), "samples/NAME.png only"),
    "other file": (named("report.htm"), "samples/NAME.png only, got 'report.htm'"),
    "name twice": (pack([*GOOD, SAMPLE]), "got 'samples/vae-baseline.png' twice"),
    "name twice by case": (named("samples/VAE-baseline.PNG"), "upper and lower case count as one"),
    **{
        f"a {kind}": (
            pack([*GOOD[:2], replace(SAMPLE, attributes=mode << 16)]),
            "expected a plain file, got a",
        )
        for kind, mode in MODE.items()
    },
    "encrypted": (pack([REPORT, RESULTS, replace(SAMPLE, flags=1)]), "got an encrypted one"),
    "strongly encrypted": (
        pack([REPORT, RESULTS, replace(SAMPLE, flags=0x41)]),
        "got an encrypted one",
    ),
    "unknown compression": (
        pack([REPORT, RESULTS, replace(SAMPLE, method=14, packed=b"xx")]),
        "(deflated), got 14",
    ),
    "bomb": (
        pack([REPORT, RESULTS, Part("samples/a.png", packed=deflate_zeros(10**9), size=10**9)]),
        "packed at most 100 times, got 1,000,000,000",
    ),
    "bomb that lies": (
        pack([REPORT, RESULTS, Part("samples/a.png", packed=deflate_zeros(10**9), size=90_000)]),
        "at most 90,000 bytes, got more",
    ),
    "bomb that lies with its checksum": (
        pack([REPORT, RESULTS, Part("samples/a.png", bytes(90_000), packed=deflate_zeros(10**8))]),
        "at most 90,000 bytes, got more",
    ),
    "directory that is larger": (
        pack([*GOOD, SAMPLE, SAMPLE], total=3),
        "expected a directory of 3 files, got one of another length",
    ),
    "endless directory": (
        pack([REPORT] * 10_000, total=3),
        "expected a directory of 3 files, got one of another length",
    ),
    "overlapping": (overlapping(), "overlapping ones"),
    "two names for one place": (
        pack([*GOOD, replace(SAMPLE, name="samples/b.png", local_name=b"samples/c.png")]),
        "two different ones",
    ),
    "place outside": (
        pack([REPORT, RESULTS, replace(SAMPLE, place=10**9)]),
        "expected a file at its place",
    ),
    "wrong checksum": (
        pack([REPORT, RESULTS, replace(SAMPLE, crc=1)]),
        "a broken stream or another checksum (Bad CRC-32",
    ),
    "broken stream": (
        pack([REPORT, replace(RESULTS, packed=b"\xff" * 5000), SAMPLE]),
        "broken stream",
    ),
    "shorter than announced": (
        pack([REPORT, RESULTS, replace(SAMPLE, size=500)]),
        "expected 500 bytes, got 140",
    ),
    "stored with two sizes": (
        pack([REPORT, RESULTS, replace(SAMPLE, method=0, size=50)]),
        "packed at most 100 times",
    ),
    "large picture": (
        with_sample(png(extra=((b"tEXt", bytes(range(256)) * 4000),))),
        "expected at most 1,000,000 bytes, got 1,024",
    ),
    "no results": (pack([REPORT, SAMPLE]), "expected a file results.json, got none"),
    "no report": (pack([RESULTS, SAMPLE]), "expected a file report.html, got none"),
    "page as picture": (
        with_sample(b"<svg onload=alert(1)>" + bytes(100)),
        "expected a PNG picture",
    ),
    "cut picture": (
        with_sample(png()[:-6]),
        "expected a whole PNG, got one that is cut off or goes on",
    ),
    "damaged picture": (
        with_sample(png(header=struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))),
        "expected 200 bytes of pixels for 8 x 8",
    ),
    "page in a picture": (
        with_sample(png(extra=((b"htML", b"<script>"),))),
        "expected a plain still PNG, got a chunk b'htML'",
    ),
    "page between two ends": (
        with_sample(png() + b"<script>" + png()[-12:]),
        "got a chunk b'IEND'",
    ),
    "chunk without end": (
        with_sample(png().replace(b"\0\0\0SIDAT", b"\0\1\0SIDAT")),
        "whose chunk b'IDAT' goes on after its end",
    ),
    "comment without end": (
        pack(GOOD)[:-60] + b"\xff\xff" + pack(GOOD)[-58:],
        "directory of 3 files",
    ),
    "other compression of a picture": (
        with_sample(png(header=struct.pack(">IIBBBBB", 8, 8, 8, 0, 1, 0, 0))),
        "methods [1, 0, 0]",
    ),
    "wrong checksum of a header": (
        with_sample(png()[:29] + b"\0" + png()[30:]),
        "expected a whole PNG, got a damaged one",
    ),
    "wrong checksum of pixels": (
        with_sample(png()[:-13] + bytes([png()[-13] ^ 1]) + png()[-12:]),
        "got a damaged one",
    ),
    "wrong checksum at the end": (
        with_sample(png()[:-1] + b"\0"),
        "got one that is cut off or goes on",
    ),
    "two sizes of a picture": (with_sample(png(extra=((b"IHDR", WIDE),))), "got a chunk b'IHDR'"),
    "page behind a picture": (
        with_sample(png() + b"<script>alert(1)</script>"),
        "expected a whole PNG, got one that is cut off or goes on",
    ),
    "colour profile": (
        with_sample(png(extra=((b"iCCP", b"p\0\0" + zlib.compress(bytes(1000))),))),
        "got a chunk b'iCCP'",
    ),
    "huge picture": (with_sample(png(header=WIDE)), "got 100,000 x 100,000"),
    "interlaced picture": (with_sample(png(header=INTERLACED)), "without interlacing"),
    "bomb in a picture": (
        with_sample(png(pixels=bytes(900_000))),
        "expected 72 bytes of pixels for 8 x 8 and nothing behind them, got more",
    ),
    "too few pixels": (with_sample(png(pixels=bytes(10))), "got 10."),
    "UTF-16": (with_results(json.dumps(results_dict()).encode("utf-16")), "expected UTF-8 text"),
    "latin-1": (
        with_results('{"student": "José"}'.encode("latin-1")),
        "expected UTF-8 text, got the byte 0xe9",
    ),
    "no JSON": (with_results("results = {}"), "expected JSON, got a syntax error"),
    "pickle": (
        with_results(b"\x80\x04cos\nsystem\n(S'id'\ntR."),
        "expected UTF-8 text, got the byte 0x80",
    ),
    "NaN": (with_values(created=float("nan")), "expected finite numbers, got 'NaN'"),
    "name twice in JSON": (
        with_results('{"version": 1, "version": 1}'),
        "each name once in an object, got 'version'",
    ),
    "nested JSON": (with_results(DEEP), "a few levels"),
    "many lists": (
        with_results("[" + "[]," * 200_000 + "[]]"),
        "at most 100,000 lists and objects",
    ),
    "endless number": (with_results(LONG_NUMBER), "numbers of at most 40 digits"),
    "long results": (
        pack([REPORT, replace(RESULTS, content=RESULTS.content + bytes(5_000_000)), SAMPLE]),
        "expected",
    ),
    "other version": (with_values(version=2), "version: expected at most 1, got 2"),
    "version of a float": (with_values(version=1.0), "version: expected a whole number, got 1.0"),
    "unknown name": (with_values(grade="A"), "got 'grade'"),
    "name that is missing": (with_results("{}"), "expected the name 'version'"),
}
