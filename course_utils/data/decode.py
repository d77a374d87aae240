"""One picture file as the pixels that a dataset keeps: upright, laid over white, cut to a square
and resized; whatever Pillow reads, and nothing that it reads by accident.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from course_utils.base.errors import CourseError

# Pillow has openers for these, but they are documents, films, vector graphics or weather data.
NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
# Formats with a signature of their own: known by their content, whatever the ending says.
BY_CONTENT = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000")
# Of a file with an unknown ending only these count: raw photos of cameras are TIFF inside, with
# nothing but a preview that Pillow could read.
BY_CONTENT_WHATEVER_ENDING = ("PNG", "JPEG", "GIF", "WEBP")
HALF_WRITTEN = {".part", ".partial", ".crdownload", ".download", ".tmp"}
BIT_DEPTHS = (8, 10, 12, 16)  # of the integers that cameras and scanners store
# What to do so that a picture stands upright, by its EXIF orientation (names of Image.Transpose).
TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
EXIF_ORIENTATION = 0x0112
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, UNSIGNED, SIGNED = 0, 1, 2
# What can be said of a picture; the texts follow a count, "12 with ...".
TRANSPARENT = "with transparency laid over white"
BLANK = "wholly transparent, now white"
UNTURNED = "with damaged EXIF data, read without turning"
FRAMES = "with several frames, of which the first was taken"


@dataclass(frozen=True)
class Square:
    """A picture of a folder.

    Attributes:
        pixels: `[S, S]` where grey, else `[S, S, 3]`; uint8, or float32 in the file's own units
            where `value_range` is given.
        sha256: of the file's bytes.
        remarks: texts of this file that hold for the picture.
        value_range: lowest and highest value in the file; None for 8 bits.
        is_integer: whether these values are whole numbers.
        is_negative: whether the lowest value means white.
    """

    pixels: np.ndarray
    sha256: str
    remarks: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    is_integer: bool = True
    is_negative: bool = False


@lru_cache(maxsize=1)
def picture_endings() -> dict[str, str]:
    """Returns the endings of picture files that this Pillow reads, each with its format."""
    from PIL import Image

    return {
        ending: name
        for ending, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in NOT_PICTURES
    }


def printable_path(path: Path | str) -> str:
    """Returns a path that can be printed: bytes that are no UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def is_picture(file: Path) -> bool:
    """Returns whether a file is a picture: by its ending, else by its first bytes."""
    from PIL import Image

    ending = file.suffix.lower()
    if ending in picture_endings():
        return True
    if ending in HALF_WRITTEN:
        return False
    formats = BY_CONTENT if ending in ("", ".") else BY_CONTENT_WHATEVER_ENDING
    try:
        with Image.open(file, formats=[name for name in formats if name in Image.OPEN]):
            return True
    except Exception:  # whatever a decoder says: it is none of these
        return False


def decode_square(file: Path, image_size: int) -> Square:
    """Returns the centre square of a picture, resized.

    Raises:
        CourseError: the file cannot be read or decoded, is cut off, has too many pixels or values
            that are no numbers; the message names it.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CourseError(
            f"{printable_path(file)}: cannot be read ({error.strerror}). Check its permissions."
        ) from error
    try:
        return _decode(content, file.suffix.lower(), image_size)
    except MemoryError as error:
        raise CourseError(
            f"{printable_path(file)}: there is not enough memory to read this picture. Close other"
            " programs, or make the picture smaller."
        ) from error
    except Exception as error:  # decoders raise nearly every class there is
        lines = str(error).splitlines() or [type(error).__name__]
        reason = "the file is empty" if not content else lines[0].rstrip(".")
        if "cannot identify" in reason:
            reason = "no decoder knows its content"
        raise CourseError(
            f"{printable_path(file)}: is not a picture that can be read ({reason}). Remove it or"
            " replace it, for instance by a PNG or JPEG."
        ) from error


def _decode(content: bytes, ending: str, image_size: int) -> Square:
    from PIL import Image, ImageOps

    wanted = (picture_endings().get(ending), *BY_CONTENT)
    size = (image_size, image_size)
    with Image.open(io.BytesIO(content), formats=[n for n in wanted if n in Image.OPEN]) as picture:
        # a large JPEG is decoded at a half to an eighth of its size, which is much faster
        picture.draft(None, (3 * image_size, 3 * image_size))
        picture.load()
        turn, remarks = _orientation(picture)
        values, is_negative = None, False
        is_signed_byte = picture.mode == "L" and _tiff_tag(picture, TIFF_SAMPLE_FORMAT) == SIGNED
        if is_signed_byte or (picture.mode[0] in "IF" and not picture.has_transparency_data):
            values = _numbers(picture)
            # of 8 bits Pillow turns them itself
            white_is_zero = _tiff_tag(picture, TIFF_PHOTOMETRIC) == WHITE_IS_ZERO
            is_negative = white_is_zero and not is_signed_byte
            flat = Image.fromarray(values.astype(np.float32))
        else:
            flat, remark = _over_white(picture, content)
            remarks += remark
        # only the small square is turned: its cut is the same either way
        square = ImageOps.fit(flat, size, Image.Resampling.LANCZOS)
        if turn is not None:
            square = square.transpose(Image.Transpose[turn])
        remarks += _frames(picture)
    sha256 = hashlib.sha256(content).hexdigest()
    pixels = np.array(square)
    if values is None:
        if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all():
            pixels = pixels[..., 0].copy()
        return Square(pixels, sha256, remarks)
    lowest, highest = float(values.min()), float(values.max())
    is_integer = values.dtype.kind != "f"
    pixels = pixels.clip(lowest, highest)  # the resizing filter overshoots at edges
    return Square(pixels, sha256, remarks, (lowest, highest), is_integer, is_negative)


def _orientation(picture) -> tuple[str | None, tuple[str, ...]]:
    """Returns how to turn the picture, and the remark that its EXIF data cannot be read."""
    try:
        return TURNS.get(picture.getexif().get(EXIF_ORIENTATION)), ()
    except Exception:  # SyntaxError, struct.error and more; the pixels are good
        return None, (UNTURNED,)


def _frames(picture) -> tuple[str, ...]:
    """Returns the remark that there are more frames; the second picture that phones hide in a JPEG
    does not count.
    """
    if picture.format in ("MPO", "ICO", "ICNS", "PSD"):
        return ()
    try:
        return (FRAMES,) if getattr(picture, "n_frames", 1) > 1 else ()
    except Exception:  # what follows the first frame is damaged
        return (FRAMES,)


def _tiff_tag(picture, tag: int) -> int | None:
    """Returns the first value of a TIFF tag; None where it is not given."""
    value = getattr(picture, "tag_v2", {}).get(tag)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else None


def _numbers(picture) -> np.ndarray:
    """Returns the values of a picture with more than 8 bits or a sign, `[H, W]`.

    Raises:
        ValueError: some are no numbers.
    """
    values = np.asarray(picture)
    if not np.isfinite(values).all():
        raise ValueError("it has values that are NaN or infinite")
    if values.dtype == np.uint8:
        return values.view(np.int8)
    is_unsigned = _tiff_tag(picture, TIFF_SAMPLE_FORMAT) in (None, UNSIGNED)
    if values.dtype == np.int32 and is_unsigned and _tiff_tag(picture, TIFF_BITS) == 32:
        values = values.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    return values


def _over_white(picture, content: bytes):
    """Returns the picture as RGB, and the remark that something of it was transparent."""
    from PIL import Image

    # a TGA without attribute bits says nothing in the place of its alpha
    is_opaque = picture.format == "TGA" and content[17] & 15 == 0
    if is_opaque or not picture.has_transparency_data:
        return picture.convert("RGB"), ()
    if picture.format == "PNG":
        picture = _transparent_value_as_shown(picture, depth=content[24])
    if picture.mode == "La":
        picture = picture.convert("LA")
    layer = picture.convert("RGBA")
    least, most = layer.getchannel("A").getextrema()
    if least == 255:
        return layer.convert("RGB"), ()
    paper = Image.new("RGBA", layer.size, "white")
    flat = Image.alpha_composite(paper, layer).convert("RGB")
    return flat, (TRANSPARENT if most else BLANK,)


def _transparent_value_as_shown(picture, depth: int):
    """Returns a PNG whose transparent grey or colour is in the 8 bits of its pixels: the file gives
    it in `depth` bits, and Pillow compares the two as they are.
    """
    from PIL import Image

    value = picture.info.get("transparency")
    if picture.mode[0] == "I":
        values = np.asarray(picture).astype(np.int64)
        grey, alpha = (values / 257).round(), 255 * (values != value)
        bands = [Image.fromarray(band.astype(np.uint8)) for band in (grey, alpha)]
        return Image.merge("LA", bands)
    if picture.mode == "RGB" and depth == 16:
        picture.info["transparency"] = tuple(channel >> 8 for channel in value)
    elif picture.mode == "L" and depth < 8:
        picture.info["transparency"] = value * 255 // (2**depth - 1)
    return picture


def scaled_to_bytes(squares: Sequence[Square]) -> tuple[list[np.ndarray], list[str]]:
    """Returns the pixels of all pictures as uint8, and how those of more than 8 bits were scaled.

    One scale for all pictures of a kind, so that they stay comparable. Integers from 0: by the
    smallest usual bit depth (8, 10, 12, 16) that holds the largest value; floats within [0, 1] or
    [0, 255]: by that range; all others: by the smallest and largest value.
    """
    scales, notes = {}, []
    for is_integer in (True, False):
        ranges = [s.value_range for s in squares if s.value_range and s.is_integer == is_integer]
        if not ranges:
            continue
        lowest, highest = min(low for low, _ in ranges), max(high for _, high in ranges)
        limits = [2.0**bits - 1 for bits in BIT_DEPTHS] if is_integer else [1.0, 255.0]
        fitting = [limit for limit in limits if lowest >= 0 and highest <= limit]
        lowest, highest = (0.0, fitting[0]) if fitting else (lowest, highest)
        scales[is_integer] = lowest, highest if highest > lowest else lowest + 1
        kind = "integers of more than 8 bits" if lowest >= 0 else "signed integers"
        kind = kind if is_integer else "floats"
        notes.append(f"{len(ranges):,} of {kind}, scaled from {lowest:g} to {highest:g}")
    arrays = []
    for square in squares:
        pixels = square.pixels
        if square.value_range is not None:
            lowest, highest = scales[square.is_integer]
            unit = (pixels.astype(np.float64) - lowest) / (highest - lowest)
            unit = 1 - unit if square.is_negative else unit
            pixels = (255 * unit).round().clip(0, 255).astype(np.uint8)
        arrays.append(pixels)
    return arrays, notes
