"""What becomes of damaged pictures? Each is either read or named in a CourseError; nothing else may
escape. (What libtiff itself says on stderr is not of interest.)

Good pictures of six formats are damaged from a fixed seed: bytes changed, cut off, repeated,
removed, or overwritten by zeros.

    python benchmarks/damaged_pictures.py --num 6000
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from course_utils.base.errors import CourseError
from course_utils.data.decode import decode_square

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
# mode and options of the good pictures
VARIANTS: dict[str, tuple[tuple[str, dict], ...]] = {
    "PNG": (("RGB", {}), ("RGBA", {}), ("P", {"transparency": 3}), ("I;16", {}), ("1", {})),
    "JPEG": (("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True})),
    "GIF": (("P", {}), ("L", {}), ("P", {"transparency": 3})),
    "BMP": (("RGB", {}), ("L", {}), ("1", {}), ("P", {})),
    "TIFF": (
        ("RGB", {"compression": "tiff_lzw"}),
        ("F", {}),
        ("I;16", {"compression": "tiff_deflate"}),
        ("LAB", {}),
        ("L", {"compression": "packbits"}),
    ),
    "WEBP": (("RGB", {}), ("RGBA", {}), ("RGB", {"lossless": True})),
}


def good_picture(name: str, rng: np.random.Generator) -> bytes:
    """Returns a file of the format, with EXIF data where the format has any."""
    mode, options = VARIANTS[name][rng.integers(len(VARIANTS[name]))]
    height, width = rng.integers(8, 40, 2)
    values = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    elif mode == "F":
        picture = Image.fromarray(values[..., 0].astype(np.float32) / 255)
    else:
        picture = Image.fromarray(values).convert(mode)
    if name in ("PNG", "JPEG", "WEBP"):
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        options = options | {"exif": exif}
    stream = io.BytesIO()
    picture.save(stream, format=name, **options)
    return stream.getvalue()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns the file with one to three damages, most of them near its start."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        reach = len(data) if rng.random() < 0.4 else min(len(data), 120)
        start = int(rng.integers(0, max(reach, 1)))
        length = int(rng.integers(1, 9))
        kind = rng.integers(5)
        if kind == 0:
            data[start : start + length] = rng.bytes(len(data[start : start + length]))
        elif kind == 1:
            del data[max(start, 12) :]
        elif kind == 2:
            data[start:start] = data[start : start + length]
        elif kind == 3:
            del data[start : start + length]
        else:
            data[start : start + length] = bytes(len(data[start : start + length]))
    return bytes(data)


def outcomes(num_pictures: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Yields for each damaged picture its format and "read", "named", or the traceback of what else
    came.
    """
    rng = np.random.default_rng(seed)
    for index in range(num_pictures):
        name = FORMATS[index % len(FORMATS)]
        file = folder / f"{index}.{name.lower()}"
        file.write_bytes(damaged(good_picture(name, rng), rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                square = decode_square(file, 16)
                shape_is_right = square.pixels.shape in ((16, 16), (16, 16, 3))
                yield name, "read" if shape_is_right else f"shape {square.pixels.shape}"
            except CourseError as error:
                yield name, "named" if file.name in str(error) else f"not named: {error}"
            except Exception:
                yield name, traceback.format_exc()
        file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--num", type=int, default=6000, help="damaged pictures (default: 6000)")
    parser.add_argument("--seed", type=int, default=0, help="decides the damage (default: 0)")
    options = parser.parse_args()
    counts: Counter = Counter()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, outcome in outcomes(options.num, options.seed, Path(folder)):
            known = outcome in ("read", "named")
            counts[name, outcome if known else "escaped"] += 1
            if not known:
                print(outcome, file=sys.stderr)
    for name in FORMATS:
        words = ", ".join(f"{counts[name, what]} {what}" for what in ("read", "named", "escaped"))
        print(f"{name}: {words}")
    print(f"{options.num} damaged pictures in {time.perf_counter() - begin:.1f} s")
    sys.exit(any(counts[name, "escaped"] for name in FORMATS))


if __name__ == "__main__":
    main()
