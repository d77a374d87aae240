"""Whether bytes are a PNG of modest size: the header first, then each chunk, then the pixels, which are counted and not kept.

Source: W3C Portable Network Graphics, third edition, sections 5 (chunks), 10 (compression) and 11.2.1 (IHDR).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from course_utils.errors import CourseError

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
