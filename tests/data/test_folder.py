"""Folders of pictures as people have them: every way to store a picture gives the right grey
values, every layout the right classes, and the dataset follows from the pictures' content alone.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.damaged_pictures import FORMATS, outcomes
from course_utils.base.errors import CourseError
from course_utils.data import load_dataset
from course_utils.data.decode import decode_square
from course_utils.data.folder import load_folder, read_pictures


def plain(index: int, size: tuple[int, int] = (12, 12)) -> Image.Image:
    """Returns a picture of one colour, another for each index."""
    return Image.new("RGB", size, (10 * index % 256, 90 + index, 200 - 5 * index))


def add(folder: Path, num: int = 10, start: int = 0) -> Path:
    """Adds `num` different PNG pictures to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + num):
        plain(index).save(folder / f"{index}.png")
    return folder


def grey_values(folder: Path) -> list[int]:
    """Returns the middle pixel of each picture in the folder, in ascending order."""
    images = read_pictures(str(folder), 8).images
    assert images.dtype == torch.uint8 and images.shape[1:] == (1, 8, 8)
    return sorted(images[:, 0, 4, 4].tolist())


def only(folder: Path, image_size: int = 8):
    """Returns the pixels of the one picture in a folder, `[C, S, S]`, and the notes."""
    pictures = read_pictures(str(folder), image_size)
    return pictures.images[0], pictures.notes


def png(depth: int, kind: int, rows: bytes, width: int, height: int, trns: bytes = b"") -> bytes:
    """Returns a PNG of any bit depth, with a transparent colour; Pillow cannot write all of them.

    Args:
        kind: 0 grey, 2 RGB.
        rows: each begins with its filter byte.
    """

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"tRNS", trns) if trns else b""]
    chunks += [chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# Transparency: the left half of each picture is transparent, its hidden colour black or red


def half(mode: str) -> tuple[Image.Image, dict]:
    left = (0, 0, 8, 16)
    if mode in ("RGBA", "LA"):
        picture = Image.new("RGBA", (16, 16), (100, 100, 100, 255))
        picture.paste((0, 0, 0, 0), left)
        return picture.convert(mode), {}
    picture = Image.new("L", (16, 16), 100)
    picture.paste(0, left)
    if mode == "P":
        picture = Image.new("P", (16, 16), 1)
        picture.putpalette([0, 0, 0, 100, 100, 100])
        picture.paste(0, left)
        return picture, {"transparency": 0}
    if mode == "P with alpha for each colour":
        return half("P")[0], {"transparency": b"\x00\xff"}
    return picture.convert(mode), {"transparency": 0 if mode == "L" else (0, 0, 0)}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P with alpha for each colour", "L", "RGB"])
def test_what_is_transparent_becomes_white(tmp_path, mode):
    picture, options = half(mode)
    picture.save(tmp_path / "a.png", **options)
    pixels, notes = only(tmp_path, 16)
    assert pixels.shape == (1, 16, 16)  # grey stays grey
    assert pixels[0, :, :7].unique().tolist() == [255]
    assert pixels[0, :, 9:].unique().tolist() == [100]
    assert notes == ("1 with transparency laid over white",)


@pytest.mark.parametrize(
    ("ending", "options"), [("webp", {"lossless": True}), ("tiff", {}), ("gif", {})]
)
def test_transparency_of_other_formats(tmp_path, ending, options):
    picture = half("P")[0] if ending == "gif" else half("RGBA")[0]
    options = options | ({"transparency": 0} if ending == "gif" else {})
    picture.save(tmp_path / f"a.{ending}", **options)
    pixels, notes = only(tmp_path, 16)
    assert (pixels[0, 0, 0], pixels[0, 0, -1]) == (255, 100)
    assert "1 with transparency laid over white" in notes


def test_half_transparent_ink_is_half_grey(tmp_path):
    Image.new("LA", (9, 9), (0, 128)).save(tmp_path / "a.png")
    assert only(tmp_path)[0].unique().tolist() == [127]


def test_opaque_alpha_is_not_counted_and_an_empty_sheet_is(tmp_path):
    Image.new("RGBA", (9, 9), (40, 40, 40, 255)).save(tmp_path / "opaque.png")
    assert only(tmp_path)[1] == ()
    Image.new("RGBA", (9, 9), (40, 40, 40, 0)).save(tmp_path / "opaque.png")
    pixels, notes = only(tmp_path)
    assert pixels.unique().tolist() == [255]
    assert notes == ("1 wholly transparent, now white",)


@pytest.mark.parametrize(
    ("depth", "kind", "row", "trns", "expected"),
    [
        # two pixels: the first transparent, the second not
        (2, 0, bytes([0b01_10_00_00]), b"\x00\x01", [255, 170]),
        (4, 0, bytes([0x37]), b"\x00\x03", [255, 119]),
        (1, 0, bytes([0b01_000000]), b"\x00\x01", [0, 255]),
        (8, 0, bytes([7, 8]), b"\x00\x07", [255, 8]),
        (16, 0, struct.pack(">2H", 300, 257 * 60), struct.pack(">H", 300), [255, 60]),
        (
            16,
            2,
            struct.pack(">6H", *[300] * 3, *[257 * 60] * 3),
            struct.pack(">3H", 300, 300, 300),
            [255, 60],
        ),
    ],
)
def test_transparent_value_of_a_png_of_any_depth(tmp_path, depth, kind, row, trns, expected):
    (tmp_path / "a.png").write_bytes(png(depth, kind, (b"\x00" + row) * 2, 2, 2, trns))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (2, 2)
    square = decode_square(tmp_path / "a.png", 2).pixels
    assert square.tolist() == [expected] * 2


# More than 8 bits

RAMP = np.repeat(np.linspace(0, 1, 16)[None], 16, axis=0)


def save_values(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values).save(path)


def pgm16(path: Path, values: np.ndarray) -> None:
    height, width = values.shape
    head = f"P5 {width} {height} 65535\n".encode()
    path.write_bytes(head + values.astype(">u2").tobytes())


def tiff16_big_endian(path: Path, values: np.ndarray) -> None:
    image = Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())
    image.save(path)


@pytest.mark.parametrize(
    ("ending", "save"),
    [("png", save_values), ("tiff", save_values), ("tif", tiff16_big_endian), ("pgm", pgm16)],
)
def test_16_bits_are_scaled_by_their_range(tmp_path, ending, save):
    save(tmp_path / f"scan.{ending}", (RAMP * 65535).round().astype(np.uint16))
    pixels, notes = only(tmp_path, 16)
    assert pixels.shape == (1, 16, 16)
    assert pixels[0, 0].tolist() == (17 * np.arange(16)).tolist()
    assert notes == ("1 of integers of more than 8 bits, scaled from 0 to 65535",)


def test_dark_16_bit_scan_stays_dark_beside_a_bright_one(tmp_path):
    """One scale for the folder."""
    save_values(tmp_path / "a.png", np.full((9, 9), 257 * 3, np.uint16))
    save_values(tmp_path / "b.png", np.full((9, 9), 257 * 200, np.uint16))
    assert grey_values(tmp_path) == [3, 200]


@pytest.mark.parametrize(
    ("highest", "expected"), [(200, 200), (1023, 255), (4095, 255), (20000, 78), (65535, 255)]
)
def test_12_bit_camera_pictures_are_not_black(tmp_path, highest, expected):
    save_values(tmp_path / "a.png", np.full((9, 9), highest, np.uint16))
    assert grey_values(tmp_path) == [expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.0, 0.4, 1.0]), [0, 102, 255]),
        (np.array([0.0, 100.4, 255.0]), [0, 100, 255]),
        (np.array([-1.0, 0.2, 1.0]), [0, 153, 255]),
        (np.array([-500.0, 0.0, 500.0]), [0, 128, 255]),
        (np.array([0, 70_000, 140_000], np.int32), [0, 128, 255]),
        (np.array([-100, 0, 100], np.int32), [0, 128, 255]),
        (np.array([0, 100, 255], np.int32), [0, 100, 255]),
        (np.array([7.5, 7.5, 7.5]) * 100, [0, 0, 0]),
    ],
)
def test_floats_and_integers_are_scaled_once_for_the_folder(tmp_path, values, expected):
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    for index, value in enumerate(values):
        save_values(tmp_path / f"{index}.tiff", np.full((9, 9), value, values.dtype))
    assert grey_values(tmp_path) == expected


def save_tiff(path: Path, values: np.ndarray, sample_format: int | None, photometric=1) -> None:
    """Writes a TIFF of one row with the tags as given; Pillow chooses them itself."""
    bits = 8 * values.itemsize
    entries = [
        *((256, 4, 1, len(values)), (257, 4, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1)),
        *((262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 1)),
        (279, 4, 1, values.nbytes),
    ]
    entries += [(339, 3, 1, sample_format)] if sample_format else []
    body = values.tobytes() + struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    path.write_bytes(b"II*\x00" + struct.pack("<I", 8 + values.nbytes) + body)


@pytest.mark.parametrize("sample_format", [None, 1])
def test_unsigned_32_bits_do_not_wrap(tmp_path, sample_format):
    """Pillow's mode I is signed."""
    save_tiff(tmp_path / "a.tif", np.array([0, 4_000_000_000], np.uint32), sample_format)
    assert decode_square(tmp_path / "a.tif", 4).value_range == (0, 4e9)


@pytest.mark.parametrize(
    ("values", "sample_format", "expected"),
    [
        (np.array([0, 257 * 60, 65535], np.uint16), 1, [0, 195, 255]),
        (np.array([0, 1023, 4095], np.uint16), None, [0, 191, 255]),
        (np.array([0, 0.4, 1], np.float32), 3, [0, 153, 255]),
        (np.array([0, 55, 255], np.uint8), 1, [0, 200, 255]),
    ],
)
def test_scans_whose_zero_is_white_are_no_negatives(tmp_path, values, sample_format, expected):
    for index, value in enumerate(values):
        row = np.full(8, value, values.dtype)
        save_tiff(tmp_path / f"{index}.tif", row, sample_format, photometric=0)
    assert grey_values(tmp_path) == expected


def test_signed_bytes_do_not_wrap(tmp_path):
    for value in (-100, 0, 100):
        save_tiff(tmp_path / f"{value + 100}.tif", np.full(8, value, np.int8), 2)
    assert grey_values(tmp_path) == [0, 128, 255]
    assert read_pictures(str(tmp_path), 8).notes == (
        "3 of signed integers, scaled from -100 to 100",
    )


@pytest.mark.parametrize(("attribute_bits", "expected"), [(0, 40), (8, 255)])
def test_alpha_of_a_tga_counts_only_where_its_header_says_so(tmp_path, attribute_bits, expected):
    Image.new("RGBA", (9, 9), (40, 40, 40, 0)).save(tmp_path / "a.tga")
    content = bytearray((tmp_path / "a.tga").read_bytes())
    content[17] = content[17] & 0xF0 | attribute_bits
    (tmp_path / "a.tga").write_bytes(content)
    assert grey_values(tmp_path) == [expected]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path, value):
    save_values(tmp_path / "bad.tiff", np.array([[0.5, value]], np.float32))
    with pytest.raises(CourseError) as error:
        read_pictures(str(tmp_path), 8)
    assert "bad.tiff" in str(error.value) and "NaN or infinite" in str(error.value)


# Colour spaces and formats


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "1", "P", "L", "RGBX"])
def test_colour_spaces_keep_their_colour(tmp_path, mode):
    colour = (200, 60, 30)
    picture = Image.new("RGB", (16, 16), colour)
    if mode == "P":
        picture = picture.quantize(8)
    elif mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
        picture = ImageCms.applyTransform(picture, transform)
    elif mode == "1":
        picture = Image.new("1", (16, 16), 1)
    else:
        picture = picture.convert(mode)
    ending = "tiff" if mode not in ("HSV", "1", "P") else "png"
    if mode == "HSV":
        picture = picture.convert("RGB")
    picture.save(tmp_path / f"a.{ending}")
    expected = {"1": [255], "L": [98]}.get(mode, list(colour))
    found = only(tmp_path)[0][:, 4, 4].tolist()
    assert len(found) == len(expected)
    assert np.abs(np.subtract(found, expected)).max() <= 3


@pytest.mark.parametrize(
    ("name", "written_as"),
    [
        *(("a.jfif", "JPEG"), ("a.pgm", "PPM"), ("a.avif", "AVIF"), ("a.tga", "TGA")),
        *(("a.jp2", "JPEG2000"), ("a.ico", "ICO"), ("a.pcx", "PCX"), ("A.PNG", "PNG")),
        # the ending is missing, unknown or wrong
        *(("a", "JPEG"), ("a", "BMP"), ("subject01.happy", "GIF"), ("a.jpg_large", "JPEG")),
        *(("a.png", "JPEG"), ("a.jpg", "WEBP"), ("a.gif", "TIFF"), ("a.", "PNG")),
    ],
)
def test_pictures_of_any_ending_are_read(tmp_path, name, written_as):
    if written_as == "AVIF" and "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow writes no AVIF")
    picture = Image.new("L", (16, 16), 120)
    (picture.convert("RGB") if written_as in ("AVIF", "ICO") else picture).save(
        tmp_path / name, format=written_as
    )
    assert abs(grey_values(tmp_path)[0] - 120) <= 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"BM and PNG"),
        ("README", b"P5 is a format"),
        ("scan.pdf", b"%PDF-1.4"),
        ("drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"),
        ("film.mpg", b"\x00\x00\x01\xb3" + bytes(50)),
        ("table.h5", b"\x89HDF\r\n\x1a\n" + bytes(50)),
        ("raw.nef", b"II*\x00" + bytes(50)),
        ("photo.jpg.part", b"\xff\xd8\xff\xe0" + bytes(50)),
    ],
)
def test_what_is_no_picture_is_counted_by_its_ending(tmp_path, name, content):
    add(tmp_path)
    (tmp_path / name).write_bytes(content)
    notes = read_pictures(str(tmp_path), 8).notes
    ending = os.path.splitext(name)[1] or "without ending"
    assert notes[0].startswith(f"left out: 1 {ending}")
    assert ("convert them" in notes[0]) == (ending in (".pdf", ".eps", ".nef"))


def test_phone_pictures_are_left_out_with_the_remedy(tmp_path, capsys):
    add(tmp_path)
    for index in range(12):
        (tmp_path / f"IMG_{index}.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "notes.txt").write_text("no picture")
    load_dataset(f"folder:{tmp_path}")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "left out: 12 .heic, 1 .txt; convert them to PNG or JPEG\n" in out
    for file in tmp_path.glob("*.png"):
        file.unlink()
    (tmp_path / "pictures.zip").write_bytes(b"PK")
    with pytest.raises(CourseError) as error:
        load_dataset(f"folder:{tmp_path}")
    assert "found 0; left out: 12 .heic" in str(error.value)
    assert "convert them to PNG or JPEG, and unpack archives." in str(error.value)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("L", (9, 9), value) for value in (50, 150, 250)]
    for ending in ("gif", "tiff", "webp"):
        frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    pictures = read_pictures(str(tmp_path), 8)
    assert (pictures.images[:, 0, 4, 4] - 50.0).abs().max() <= 2
    assert pictures.notes == ("3 with several frames, of which the first was taken",)


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (5, 4000)])
def test_extreme_shapes(tmp_path, size):
    Image.new("L", size, 77).save(tmp_path / "a.png")
    assert grey_values(tmp_path) == [77]


@pytest.mark.parametrize("image_size", [28, 32, 64])
def test_sizes_and_the_centre_square(tmp_path, image_size):
    """A white square in the middle of a wide black picture fills the image; a large JPEG is decoded
    at a part of its size and shows the same.
    """
    for name, scale in (("small.png", 1), ("large.jpg", 20)):
        picture = Image.new("L", (100 * scale, 40 * scale), 0)
        picture.paste(255, (30 * scale, 0, 70 * scale, 40 * scale))
        picture.save(tmp_path / name)
    images = read_pictures(str(tmp_path), image_size).images
    assert images.shape == (2, 1, image_size, image_size)
    assert images[:, :, :, 2:-2].min() >= 250


# EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_pictures_stand_upright(tmp_path, orientation, ending):
    """Compared with Pillow's own turning of the whole picture."""
    from PIL import ImageOps

    values = np.zeros((64, 64, 3), np.uint8)
    values[:32, :32] = (250, 0, 0)
    values[32:, :32] = (0, 250, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / f"a.{ending}", exif=exif)
    with Image.open(tmp_path / f"a.{ending}") as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    pixels = only(tmp_path, 64)[0]
    difference = np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - upright.astype(int))
    assert difference.max() <= 3


@pytest.mark.parametrize("ending", ["png", "webp"])
@pytest.mark.parametrize("block", [bytes(40), b"MM\x00*" + b"\xff" * 30, b"II*\x00\x08"])
def test_damaged_exif_is_read_without_turning(tmp_path, ending, block):
    values = np.zeros((16, 16, 3), np.uint8)
    values[:8] = (240, 240, 240)
    exif = block if ending == "png" else b"Exif\x00\x00" + block
    Image.fromarray(values).save(tmp_path / f"a.{ending}", exif=exif, lossless=True)
    pixels = only(tmp_path, 16)[0]
    assert pixels[0, :7].min() >= 238 and pixels[0, 9:].max() <= 2


def test_damaged_exif_is_said(tmp_path):
    add(tmp_path)
    plain(99).save(tmp_path / "phone.png", exif=bytes(40))
    note = "1 with damaged EXIF data, read without turning"
    assert read_pictures(str(tmp_path), 8).notes == (note,)


# Broken pictures


@pytest.mark.parametrize(
    "error", [SyntaxError, struct.error, IndexError, zlib.error, EOFError, KeyError]
)
def test_any_exception_of_a_decoder_names_the_file(tmp_path, monkeypatch, error):
    add(tmp_path, 1)

    def fail(*_):
        raise error("odd bytes")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(CourseError) as caught:
        read_pictures(str(tmp_path), 8)
    message = str(caught.value)
    assert f"{tmp_path / '0.png'}: is not a picture" in message and "odd bytes" in message


def test_lack_of_memory_does_not_blame_the_picture(tmp_path, monkeypatch):
    add(tmp_path, 1)

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(CourseError, match="0.png: there is not enough memory to read this"):
        read_pictures(str(tmp_path), 8)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_truncated_pictures_are_refused(tmp_path, ending):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
        tmp_path / f"a.{ending}"
    )
    content = (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(content[: len(content) // 2])
    with pytest.raises(CourseError) as error:
        read_pictures(str(tmp_path), 8)
    assert f"a.{ending}: is not a picture" in str(error.value)


def test_empty_file_and_too_many_pixels_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(CourseError) as error:
        read_pictures(str(tmp_path), 8)
    assert "a.png: is not a picture that can be read (the file is empty)" in str(error.value)
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # a warning up to twice as many
    assert read_pictures(str(tmp_path), 8).notes == ()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(CourseError) as error:
        read_pictures(str(tmp_path), 8)
    assert "a.png" in str(error.value) and "decompression bomb" in str(error.value)


def test_damaged_pictures_are_read_or_named(tmp_path):
    """`benchmarks/damaged_pictures.py` does the same with 6,000."""
    found = list(outcomes(300, seed=1, folder=tmp_path))
    assert [what for _, what in found if what not in ("read", "named")] == []
    for name in FORMATS:
        assert sum(one == name for one, _ in found) == 50
    assert {"read", "named"} == {what for _, what in found}


# What systems leave in folders


def test_hidden_and_system_names_are_passed_over_at_every_level(tmp_path):
    names = [
        ".ipynb_checkpoints",
        ".thumbnails",
        "__MACOSX",
        "$RECYCLE.BIN",
        "@eaDir",
        "lost+found",
    ]
    root = tmp_path / ".hidden" / "pets"
    for index, folder in enumerate(("cats", "dogs")):
        add(root / folder, 6, start=20 * index)
        (root / folder / "._0.png").write_bytes(bytes.fromhex("0005160700020000") + bytes(40))
        (root / folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (root / folder / "desktop.ini").write_text("[x]")
        for name in names:
            add(root / folder / name, 1)
    for name in [*names, "System Volume Information"]:
        add(root / name, 2)
    loaded = load_folder(str(root), 8)
    assert loaded.class_names == ("cats", "dogs")
    assert len(loaded.train_images) + len(loaded.test_images) == 12
    assert "left out" not in loaded.source


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_are_followed_once_and_without_loops(tmp_path):
    outside = add(tmp_path / "outside", 6, start=50)
    root = tmp_path / "pets"
    add(root / "cats", 6)
    (root / "all").symlink_to(root)  # a loop
    (root / "best").symlink_to(root / "cats")  # read already
    (root / "dogs").symlink_to(outside)
    (root / "cats" / "again.png").symlink_to(root / "cats" / "0.png")
    (root / "cats" / "more.png").symlink_to(add(tmp_path / "one", 1, start=90) / "90.png")
    (root / "cats" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "self").symlink_to(root / "self")
    loaded = load_folder(str(root), 8)
    assert loaded.class_names == ("cats", "dogs")
    labels = torch.cat([loaded.train_labels, loaded.test_labels])
    assert torch.bincount(labels).tolist() == [7, 6]
    assert "left out: 2 broken link(s) such as" in loaded.source


def test_unreadable_folder_is_named(tmp_path, monkeypatch):
    add(tmp_path / "cats")
    add(tmp_path / "secret")
    scandir = os.scandir

    def refuse(place):
        if str(place).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CourseError) as error:
        load_folder(str(tmp_path), 8)
    assert f"{tmp_path / 'secret'} cannot be read (Permission denied)" in str(error.value)


# Train and test folders


@pytest.mark.parametrize(
    "names",
    [
        *(("train", "test"), ("Training", "TESTING"), ("train", "valid"), ("train", "eval")),
        *(("train_images", "test_images"), ("train set", "test set"), ("training_set", "dev")),
    ],
)
def test_split_folders_are_the_split(tmp_path, names):
    for folder, num, start in ((names[0], 8, 0), (names[1], 3, 100)):
        for index, group in enumerate(("cats", "dogs")):
            add(tmp_path / folder / group, num, start=start + 20 * index)
    loaded = load_folder(str(tmp_path), 8)
    assert loaded.class_names == ("cats", "dogs")
    assert torch.bincount(loaded.train_labels).tolist() == [8, 8]
    assert torch.bincount(loaded.test_labels).tolist() == [3, 3]
    assert f"train from {names[0]}/, test from {names[1]}/" in loaded.source
    # the right pictures: of the test set all have indices from 100
    expected = {plain(index).getpixel((0, 0))[0] for index in (*range(100, 103), *range(120, 123))}
    assert set(loaded.test_images[:, 0, 4, 4].tolist()) == expected


def test_split_with_validation_below_one_more_folder(tmp_path):
    inner = tmp_path / "archive" / "data"
    for folder, num, start in (("train", 8, 0), ("test", 3, 40), ("val", 2, 60)):
        add(inner / folder / "cats", num, start=start)
    add(inner, 1, start=90)
    loaded = load_folder(str(tmp_path / "archive"), 8)
    assert (len(loaded.train_images), len(loaded.test_images)) == (8, 3)
    assert loaded.class_names == ("cats",)
    assert "2 in val/ left out" in loaded.source and "1 in no folder left out" in loaded.source


def test_test_folder_without_classes_gives_way_to_validation_or_a_tenth(tmp_path):
    add(tmp_path / "train" / "cats", 8)
    add(tmp_path / "train" / "dogs", 8, start=20)
    add(tmp_path / "test", 5, start=60)
    loaded = load_folder(str(tmp_path), 8)
    assert (len(loaded.train_images), len(loaded.test_images)) == (11, 5)
    assert loaded.class_names == ("cats", "dogs")
    assert "test taken from train/ as no other folder has classes" in loaded.source
    assert "5 in test/ left out" in loaded.source
    add(tmp_path / "val" / "cats", 3, start=80)
    loaded = load_folder(str(tmp_path), 8)
    assert (len(loaded.train_images), len(loaded.test_images)) == (16, 3)
    assert "train from train/, test from val/; 5 in test/ left out" in loaded.source


def test_flat_split_has_one_class_and_leaks_are_said(tmp_path):
    add(tmp_path / "train", 9)
    add(tmp_path / "test", 4, start=8)
    loaded = load_folder(str(tmp_path), 8)
    assert (len(loaded.train_images), len(loaded.test_images)) == (9, 4)
    assert loaded.class_names == (tmp_path.name,)
    assert "1 test pictures are also among the training pictures" in loaded.source


@pytest.mark.parametrize("part", ["train", "archive/train", "val"])
def test_one_part_alone_gives_the_classes_inside(tmp_path, part):
    add(tmp_path / part / "cats", 15)
    add(tmp_path / part / "dogs", 15, start=20)
    (tmp_path / part).with_name("test").mkdir()  # empty
    loaded = load_folder(str(tmp_path), 8)
    assert loaded.class_names == ("cats", "dogs")
    assert (len(loaded.train_images), len(loaded.test_images)) == (20, 10)
    name, other = ("val", "train") if part == "val" else ("train", "test")
    assert f"no {other} folder: the test set is drawn from {name}" in loaded.source


def test_folder_beside_the_split_is_left_out_and_named(tmp_path):
    for name, num, start in (("train/cats", 12, 0), ("test/cats", 3, 20), ("docs", 2, 40)):
        add(tmp_path / name, num, start=start)
    loaded = load_folder(str(tmp_path), 8)
    assert (len(loaded.train_images), len(loaded.test_images)) == (12, 3)
    assert loaded.class_names == ("cats",)
    assert "docs/ beside train and test left out (2 pictures)" in loaded.source


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (("test", "val"), "test, val taken for classes; rename them to train and test to use"),
        (("test2017", "train2017"), "test2017, train2017 taken for classes; rename them"),
        (("cats/train", "cats/test", "dogs/train"), "test, train inside the classes not used as"),
        (("train/cats", "train/dogs", "docs"), "train/ taken for one class; to use the folders in"),
        (("trainers", "testudo"), ""),
        (("train", "bus"), ""),
    ],
)
def test_names_that_look_like_a_split_are_said(tmp_path, names, note):
    for index, name in enumerate(names):
        add(tmp_path / name, 8, start=10 * index)
    loaded = load_folder(str(tmp_path), 8)
    assert loaded.class_names == tuple(sorted({name.split("/")[0] for name in names}))
    assert note in loaded.source if note else "split" not in loaded.source


@pytest.mark.parametrize(
    ("num_train", "num_test", "message"),
    [
        (1, 12, "1 training image; expected at least 2: add pictures to train/."),
        (12, 1, "1 test image; expected at least 2: add pictures to test/ or remove it."),
    ],
)
def test_parts_of_one_picture_are_refused(tmp_path, num_train, num_test, message):
    add(tmp_path / "train" / "c", num_train)
    add(tmp_path / "test" / "c", num_test, start=20)
    with pytest.raises(CourseError) as error:
        load_folder(str(tmp_path), 8)
    assert str(error.value) == f"folder:{tmp_path}: {message}"


@pytest.mark.parametrize(("num_train", "said"), [(4, True), (10, False)])
def test_few_training_pictures_are_said(tmp_path, num_train, said):
    add(tmp_path / "train" / "c", num_train)
    add(tmp_path / "test" / "c", 6, start=20)
    assert ("ONLY 4 TRAINING PICTURES" in load_folder(str(tmp_path), 8).source) == said


def test_sizes_out_of_reach_are_refused_by_the_name_of_the_setting(tmp_path, monkeypatch):
    add(tmp_path)
    for size in (3, 513):
        with pytest.raises(CourseError, match=f"image_size: .* at most 512, got {size}"):
            load_folder(str(tmp_path), size)
        monkeypatch.setenv("COURSE_IMAGE_SIZE", str(size))
        with pytest.raises(CourseError, match=f"COURSE_IMAGE_SIZE: .* 4 to 512 .*'{size}'"):
            load_dataset(f"folder:{tmp_path}")


def test_class_that_only_the_test_folder_has_is_said(tmp_path):
    add(tmp_path / "train" / "cats", 8)
    add(tmp_path / "test" / "birds", 4, start=20)
    loaded = load_folder(str(tmp_path), 8)
    assert loaded.class_names == ("birds", "cats")
    assert loaded.train_labels.tolist() == [1] * 8
    assert "NO TRAINING PICTURES in 1 of the classes (birds)" in loaded.source


@pytest.mark.parametrize("names", [("train", "bus"), ("train",), ("test", "val"), ("test", "exam")])
def test_other_names_are_classes_and_the_line_says_which(tmp_path, names, capsys):
    for index, name in enumerate(names):
        add(tmp_path / name, 12, start=12 * index)
    loaded = load_dataset(f"folder:{tmp_path}")
    assert loaded.class_names == tuple(sorted(names))
    assert f"({', '.join(sorted(names))})" in capsys.readouterr().out


def test_pictures_beside_folders_are_a_class_of_their_own(tmp_path):
    root = tmp_path / "cats"
    add(root, 4)
    add(root / "cats", 8, start=20)
    loaded = load_folder(str(root), 8)
    assert loaded.class_names == ("./cats", "cats")
    assert "the 4 directly in the folder are a class of their own" in loaded.source


def test_line_names_five_classes_at_most(tmp_path):
    for index in range(7):
        add(tmp_path / f"c{index}", 2, start=2 * index)
    assert "of 7 classes (c0, c1, c2, c3, c4, ...)," in load_folder(str(tmp_path), 8).source


# One dataset wherever it lies


def test_moved_and_renamed_folder_is_the_same_dataset(tmp_path, monkeypatch):
    root = tmp_path / "pets"
    for index, name in enumerate(("cats", "dogs")):
        add(root / name, 20, start=20 * index)
    first = load_folder(str(root), 8)
    assert first.name == "folder:pets" and first.folder == str(root)
    assert len(first.content_id) == 12 and first.key == f"folder:{first.content_id}"
    moved = tmp_path / "far" / "away"
    moved.parent.mkdir()
    root.rename(moved)
    for name, new in (("cats", "chats"), ("dogs", "fox terriers")):
        (moved / name).rename(moved / new)
    for file in moved.rglob("*.png"):
        file.rename(file.with_name(f"{1000 - int(file.stem)}.png"))
    monkeypatch.chdir(moved / "chats")
    second = load_folder("..", 8)
    assert second.name == "folder:away" and second.folder == str(moved)
    assert second.class_names == ("chats", "fox terriers")
    assert (second.content_id, second.sha256) == (first.content_id, first.sha256)
    assert load_folder("../", 12).content_id == first.content_id  # of any size


@pytest.mark.parametrize("change", ["add", "remove", "edit", "other class", "other split"])
def test_other_pictures_are_another_dataset(tmp_path, change):
    for index, name in enumerate(("train/cats", "train/dogs", "test/cats", "test/dogs")):
        add(tmp_path / name, 5, start=20 * index)
    first = load_folder(str(tmp_path), 8)
    file = tmp_path / "train" / "cats" / "0.png"
    if change == "add":
        add(tmp_path / "train" / "cats", 1, start=90)
    elif change == "remove":
        file.unlink()
    elif change == "edit":
        plain(99).save(file)
    else:
        target = "train/dogs" if change == "other class" else "test/cats"
        file.rename(tmp_path / target / "moved.png")
    assert load_folder(str(tmp_path), 8).content_id != first.content_id


@pytest.mark.parametrize(("num", "num_test"), [(10, 3), (24, 8), (30, 10), (60, 10), (150, 15)])
def test_test_set_is_large_enough_to_measure_with(tmp_path, num, num_test):
    for index in range(num):
        Image.new("RGB", (4, 4), (index, 7, 9)).save(tmp_path / f"{index}.bmp")
    loaded = load_folder(str(tmp_path), 4)
    assert (len(loaded.test_images), len(loaded.train_images)) == (num_test, num - num_test)


def test_most_pictures_stay_on_their_side_when_one_is_added(tmp_path):
    add(tmp_path, 40)

    def test_colours():
        return set(load_folder(str(tmp_path), 8).test_images[:, 2, 4, 4].tolist())

    before = test_colours()
    add(tmp_path, 1, start=45)
    assert len(before & test_colours()) >= 9


def test_copies_lie_on_one_side(tmp_path):
    add(tmp_path, 20)
    for index in range(20):
        for copy in range(2):
            shutil.copy(tmp_path / f"{index}.png", tmp_path / f"copy {copy} of {index}.png")
    loaded = load_folder(str(tmp_path), 8)
    train, test = (set(x[:, 2, 4, 4].tolist()) for x in (loaded.train_images, loaded.test_images))
    assert not train & test and len(train) + len(test) == 20
    assert 10 <= len(loaded.test_images) <= 20
    assert "40 are copies of others" in loaded.source


def test_copies_of_one_picture_are_a_dataset_and_it_is_said(tmp_path):
    for index in range(12):
        plain(0).save(tmp_path / f"{index}.png")
    loaded = load_folder(str(tmp_path), 8)
    assert (len(loaded.train_images), len(loaded.test_images)) == (8, 4)
    assert "11 are copies of others, in training and test alike" in loaded.source


# The path


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        ("", "expected a path after the colon, got nothing"),
        ("  ", "expected a path after the colon, got nothing"),
        ("'{folder}'", "Leave out the quotation marks."),
        ("file://{folder}", "Give a plain path in place of an address."),
        ("C:\\Users\\me\\pets", "joined by /"),
        ("{folder}/none", "there is no such folder (looked for {folder}/none)"),
        ("{folder}/0.png", "expected a folder, got a file; give the folder"),
        ("{folder}/pets.zip", "unpack it and give the folder"),
        ("~nobody-of-this-name/x", "cannot be read"),
        ("a\0b", "null"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths of other systems")
def test_wrong_paths_are_explained(tmp_path, path, fragment):
    add(tmp_path)
    (tmp_path / "pets.zip").write_bytes(b"PK")
    with pytest.raises(CourseError) as error:
        load_dataset("folder:" + path.format(folder=tmp_path))
    assert fragment.format(folder=tmp_path) in str(error.value)


def test_folder_given_without_its_prefix_is_explained(tmp_path):
    with pytest.raises(CourseError) as error:
        load_dataset(str(tmp_path))
    assert f"folder:{tmp_path} loads the pictures in it" in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no UTF-8")
def test_names_that_are_no_utf8_can_be_printed(tmp_path, capsys):
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    os.makedirs(root)
    for index in range(10):
        stream = io.BytesIO()
        plain(index).save(stream, "PNG")
        with open(root + b"/%d.png" % index, "wb") as file:
            file.write(stream.getvalue())
    loaded = load_dataset(f"folder:{os.fsdecode(root)}")
    capsys.readouterr().out.encode("utf-8")
    assert loaded.name == "folder:caf\ufffd"
