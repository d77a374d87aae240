"""Images in the files of other tools: every form of the same pixels gives the same uint8 images,
and pixels whose range cannot be told are refused with advice that is right.
"""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pytest
import torch
from materials import blobs, make_dataset

from course_utils.base.errors import CourseError
from course_utils.data.arrays import ImageSet, fitted, read_arrays

IMAGES = blobs(12, (1, 28, 28), 3)[0].numpy()
IMAGES[0, 0, 0, :2] = 0, 255
COLOUR = blobs(12, (3, 28, 28), 3)[0].numpy()
UNIT = IMAGES / 255
GREY, RGB = make_dataset(), make_dataset((3, 28, 28))
LABELS = np.arange(12) % 4


def saved(tmp_path, content):
    """Returns the path of a file with an array, or with several by name."""
    if isinstance(content, dict):
        np.savez(tmp_path / "images.npz", **content)
        return tmp_path / "images.npz"
    np.save(tmp_path / "images.npy", content)
    return tmp_path / "images.npy"


FORMS = {
    "uint8": (IMAGES, ""),
    "channels last": (IMAGES.transpose(0, 2, 3, 1), "uint8, channels last: converted to [N, C"),
    "no axis": (IMAGES[:, 0], "uint8, without an axis of channels: converted to [N, C, H, W]"),
    "rows": (IMAGES.reshape(12, -1), "uint8, rows of 784 pixels"),
    "Fortran order": (np.asfortranarray(IMAGES), ""),
    "unit, float32": (UNIT.astype(np.float32), "float32 in [0, 1]: converted to uint8"),
    "unit, float16": (UNIT.astype(np.float16), "float16 in [0, 1]: converted to uint8"),
    "unit, float64, last": (UNIT.transpose(0, 2, 3, 1), "float64 in [0, 1], channels last: conv"),
    "big endian": (UNIT.astype(">f4"), "float32 in [0, 1]"),
    "signed, float32": ((2 * UNIT - 1).astype(np.float32), "float32 in [-1, 1]: converted"),
    "signed, float16": ((2 * UNIT - 1).astype(np.float16), "float16 in [-1, 1]"),
    "float, 0 to 255": (IMAGES.astype(np.float64), "float64 in [0, 255]"),
    "a hair of overshoot": (UNIT * 1.0009, "[0, 1], up to 0.0009 of white beyond it clipped: con"),
    "signed, overshoot": ((2 * UNIT - 1) * 1.0005, "in [-1, 1], up to 0.0005 of white beyond it"),
    "255, overshoot": (IMAGES * 1.0009, "in [0, 255], up to 0.0009 of white beyond it clipped"),
    "int64": (IMAGES.astype(np.int64), "int64 in [0, 255]"),
    "int32": (IMAGES.astype(np.int32), "int32 in [0, 255]"),
    "uint16, 0 to 255": (IMAGES.astype(np.uint16), "uint16 in [0, 255]"),
    "uint16, 16 bits": (IMAGES.astype(np.uint16) * 257, "uint16 in [0, 65535]"),
    "RGB": (np.repeat(IMAGES, 3, 1), "grey stored as RGB: one channel taken"),
    "RGB, last, unit": (np.repeat(UNIT.transpose(0, 2, 3, 1), 3, 3), "channels last: converted"),
    "a single array": ({"pictures": IMAGES}, ""),
    "a capital": ({"X": IMAGES}, ""),
    "samples": ({"samples": IMAGES, "fid": np.array(3.0)}, "array `samples` taken of samples, fid"),
    "objects beside": ({"images": IMAGES, "about": np.array([{}], dtype=object)}, "`images` taken"),
    "other arrays": ({"arr_0": IMAGES, "images": 255 - IMAGES}, None),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_images(tmp_path, name):
    content, note = FORMS[name]
    found = read_arrays(saved(tmp_path, content), GREY)
    wanted = 255 - IMAGES if name == "other arrays" else IMAGES
    assert found.images.dtype == torch.uint8 and np.array_equal(found.images.numpy(), wanted)
    if note is not None:
        assert note in "; ".join(found.notes) if note else found.notes == ()


def test_bool_is_black_and_white(tmp_path):
    found = read_arrays(saved(tmp_path, IMAGES > 99), GREY)
    assert np.array_equal(found.images.numpy(), np.where(IMAGES > 99, 255, 0))
    assert found.notes == ("bool, False as black and True as white: converted to uint8",)
    signs = read_arrays(saved(tmp_path, np.where(IMAGES > 99, 1, -1)), GREY)
    assert np.array_equal(signs.images, found.images) and "int64 in [-1, 1]" in signs.notes[0]


def test_colour_is_kept_where_the_dataset_has_some_and_grey_is_repeated(tmp_path):
    for form in (COLOUR, COLOUR.transpose(0, 2, 3, 1), COLOUR / 255):
        assert np.array_equal(read_arrays(saved(tmp_path, form), RGB).images.numpy(), COLOUR)
    found = read_arrays(saved(tmp_path, IMAGES), RGB)
    assert np.array_equal(found.images.numpy(), np.repeat(IMAGES, 3, 1))
    assert found.notes == ("grey, repeated in three channels like blobs",)


def test_equal_images_are_measured_and_said(tmp_path):
    found = read_arrays(saved(tmp_path, np.full((12, 28, 28), 200, np.uint8)), GREY)
    assert found.images.unique().tolist() == [200]
    assert found.notes[-1] == "all 12 images are equal"
    black = read_arrays(saved(tmp_path, np.zeros((12, 28, 28), np.float32)), GREY)
    assert not black.images.any()


# what is stored, how much of it the advice is applied to, and the advice, as code
RECOVERED = {
    "normalised": ((UNIT - 0.1307) / 0.3081, None),
    "0 and 1": ((IMAGES > 99).astype(np.uint8), "images.astype(bool)"),
    "shifted by 128": ((IMAGES.astype(np.int16) - 128).astype(np.int8), None),
    "divided twice": (UNIT / 255, "images * 255"),
    "overshoot of unit": (UNIT * 1.04 - 0.02, "images.clip(0, 1)"),
    "overshoot of signed": (2.1 * UNIT - 1.05, "(images.clip(-1, 1) + 1) / 2"),
    "overshoot of 255": (IMAGES * 1.04 - 4, "images.clip(0, 255)"),
    "slight overshoot of 255": (IMAGES * (255.4 / 255), "images.clip(0, 255)"),
    "whole overshoot of 255": (IMAGES.astype(np.int32) * 256 // 250 - 3, "images.clip(0, 255)"),
    "dark, white is 255": (IMAGES * 0.25, "images.round().astype('uint8')"),
}


@pytest.mark.parametrize("name", RECOVERED)
def test_advice_gives_images_that_are_read_and_right(tmp_path, name):
    images, advice = RECOVERED[name]
    images = images if name == "0 and 1" else np.concatenate([images, images])
    path = saved(tmp_path, images)
    with pytest.raises(CourseError) as caught:
        read_arrays(path, GREY)
    message = str(caught.value)
    low, high = images.min(), images.max()
    assert f"got {images.dtype.name} from {low:.4g} to {high:.4g}" in message
    options = re.findall(r"`([^`]+)`", message)
    assert "overshoot of 255" not in name or len(options) == 1 and "ivide" not in message
    code = options[-1] if advice is None else advice
    assert code in options
    mended = eval(code, {"images": images})  # noqa: S307 (the course's own advice)
    again = read_arrays(saved(tmp_path, mended), GREY).images.numpy()
    wanted = {
        "0 and 1": np.where(IMAGES > 99, 255, 0),
        "dark, white is 255": np.tile(IMAGES * 0.25, (2, 1, 1, 1)),
    }.get(name, np.tile(IMAGES, (2, 1, 1, 1)))
    # overshoot that was clipped is lost, up to a twentieth of the range
    tolerance = 6.5 if "overshoot" in name else 1
    assert np.abs(again - wanted.astype(float)).max() <= tolerance


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 2, 3, 1)], ids=["first", "last"])
def test_advice_for_channels_normalised_apart_keeps_grey_grey(tmp_path, axes):
    grey = np.repeat(UNIT, 3, 1)
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    images = ((grey - mean) / std).transpose(axes)
    with pytest.raises(CourseError, match="one of each a channel; where those are Image") as caught:
        read_arrays(saved(tmp_path, images), RGB)
    (code,) = re.findall(r"`([^`]+)`", str(caught.value))
    mended = eval(code, {"images": images})  # noqa: S307 (the course's own advice)
    again = read_arrays(saved(tmp_path, mended), RGB).images
    assert np.array_equal(again.numpy(), np.repeat(IMAGES, 3, 1))


LAST = blobs(50, (1, 28, 28), 3)[0].numpy()


@pytest.mark.parametrize(
    ("images", "code"),
    [
        (LAST[:, 0].transpose(1, 2, 0), "images.transpose(2, 0, 1)"),
        (LAST.transpose(2, 3, 1, 0), "images.transpose(3, 2, 0, 1)"),
        (LAST.transpose(2, 3, 0, 1), "images.transpose(2, 3, 0, 1)"),
        (LAST[:3].transpose(2, 3, 1, 0), "images.transpose(3, 2, 0, 1)"),
    ],
)
def test_images_along_the_last_axis_are_not_resized_but_transposed(tmp_path, images, code):
    with pytest.raises(CourseError, match=re.escape(f"save `{code}`")) as caught:
        read_arrays(saved(tmp_path, images), GREY)
    assert "resize" not in str(caught.value)
    mended = eval(code, {"images": images})  # noqa: S307 (the course's own advice)
    again = read_arrays(saved(tmp_path, mended), GREY).images
    assert np.array_equal(again.numpy(), LAST[: len(again)])


@pytest.mark.parametrize(
    "images", [np.zeros((32, 32, 50), np.uint8), np.zeros((32, 32, 3, 50), np.uint8)]
)
def test_images_of_another_size_along_the_last_axis_are_seen(tmp_path, images):
    with pytest.raises(CourseError, match=r"save `images\.transpose\("):
        read_arrays(saved(tmp_path, images), GREY)


@pytest.mark.parametrize(
    "images", [np.zeros((32, 32, 32), np.uint8), np.zeros((32, 32, 32, 1), np.uint8)]
)
def test_as_many_images_as_rows_are_taken_along_the_first_axis(tmp_path, images):
    with pytest.raises(CourseError, match="got 32 by 32; resize"):
        read_arrays(saved(tmp_path, images), GREY)


def test_a_member_that_is_no_array_is_named(tmp_path):
    path = saved(tmp_path, {"labels": LABELS})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("images.npy", b"\0" * 50)
    with pytest.raises(CourseError, match=re.escape(f"{path}: images: expected an array of NumPy")):
        read_arrays(path, GREY)


@pytest.mark.parametrize(
    "images",
    [UNIT - 0.5, UNIT - UNIT.mean(), UNIT * 2, UNIT * 16, IMAGES.astype(np.int64) // 16],
    ids=["centred", "mean subtracted", "0 to 2", "0 to 16", "16 levels"],
)
def test_pixels_whose_range_cannot_be_told_are_refused(tmp_path, images):
    with pytest.raises(CourseError, match="does not say what is black and what is white"):
        read_arrays(saved(tmp_path, images), GREY)


NAN = UNIT.copy()
NAN[0, 0, 0, :3] = [np.nan, np.inf, -np.inf]
BAD = {
    "nan": (NAN, "3 of 9,408 pixels are NaN or infinite"),
    "12 bits": (IMAGES.astype(np.uint16) * 16, "Divide by the value of white (4095 of 12 bits"),
    "no images": (IMAGES[:0], "holds no images (shape [0, 1, 28, 28])"),
    "other size": (np.zeros((12, 32, 32), np.uint8), "28 by 28 pixels like blobs, got 32 by 32"),
    "opacity": (np.zeros((12, 28, 28, 4), np.uint8), "over white before saving"),
    "five channels": (np.zeros((12, 5, 28, 28), np.uint8), "got shape [12, 5, 28, 28]"),
    "one image": (np.zeros((28, 28, 3), np.uint8), "one image is no set"),
    "one grey image": (IMAGES[0, 0], "one image is no set"),
    "one row": (np.zeros(784, np.uint8), "got shape [784]"),
    "a number": (np.array(3, np.uint8), "got shape []"),
    "objects": (np.array([{}, {}]), "holds Python objects, which are not loaded"),
    "objects, npz": ({"images": np.array([IMAGES, None], dtype=object)}, "holds Python objects"),
    "text": (np.full((12, 28, 28), "a"), "expected pixels that are numbers, got the type <U1"),
    "complex": (UNIT.astype(np.complex64), "got the type complex64"),
    "two unnamed": (
        {"a": IMAGES, "b": IMAGES},
        "expected the array `images` (or samples, arr_0, x), got a [12, 1, 28, 28], b [12, 1",
    ),
    "colour": (COLOUR, "expected grey images like blobs, got colours"),
    "few labels": ({"images": IMAGES, "labels": LABELS[:5]}, "one class for each of 12 images"),
    "labels too large": ({"images": IMAGES, "labels": LABELS + 1}, "from 0 to 3, got 1 to 4"),
    "negative labels": ({"images": IMAGES, "labels": LABELS - 1}, "from 0 to 3, got -1 to 2"),
    "fractions": ({"images": IMAGES, "labels": LABELS / 2}, "whole numbers, got fractions"),
    "NaN label": ({"images": IMAGES, "labels": LABELS * np.nan}, "whole numbers, got fractions"),
    "infinite label": ({"images": IMAGES, "labels": LABELS * 0 + np.inf}, "got inf to inf; leave"),
    "huge labels": ({"images": IMAGES, "labels": LABELS + 1e300}, "got 1e+300 to 1e+300; leave"),
    "objects as labels": (
        {"images": IMAGES, "labels": LABELS.astype(object)},
        "labels: holds Python objects, which are not loaded, since they may hold a program; leave"
        " `labels` out, or save whole numbers.",
    ),
    "words": ({"images": IMAGES, "labels": LABELS.astype(str)}, "expected whole numbers, got <U"),
    "probabilities": (
        {"images": IMAGES, "labels": np.full((12, 4), 0.25)},
        "one class for each of 12 images, got shape [12, 4]; leave `labels` out",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said(tmp_path, name):
    content, message = BAD[name]
    path = saved(tmp_path, content)
    with pytest.raises(CourseError, match=re.escape(message)) as caught:
        read_arrays(path, GREY)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", ["empty", "cut", "changed", "pickle", "text"])
def test_a_damaged_file_is_named(tmp_path, kind):
    path = saved(tmp_path, {"images": IMAGES})
    data = path.read_bytes()
    contents = {
        "empty": b"",
        "cut": data[: len(data) // 2],
        "changed": data[:2000] + bytes(100) + data[2100:],
        "pickle": b"\x80\x04]\x94.",
        "text": b"version https://git-lfs.github.com/spec/v1",
    }
    path.write_bytes(contents[kind])
    with pytest.raises(CourseError, match=re.escape(f"{path}: ")):
        read_arrays(path, GREY)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.astype(np.uint8),
        LABELS.astype(np.float32),
        LABELS[:, None],
        np.eye(4)[LABELS],
        np.eye(4, dtype=bool)[LABELS],
    ],
    ids=["int64", "uint8", "floats", "a column", "one-hot", "one-hot, bool"],
)
def test_labels_are_int64_classes(tmp_path, labels):
    found = read_arrays(saved(tmp_path, {"images": IMAGES, "labels": labels}), GREY)
    assert found.labels.dtype == torch.int64 and found.labels.tolist() == LABELS.tolist()
    assert found.notes == ()


def test_labels_of_two_unnamed_arrays_are_the_second(tmp_path):
    """As `np.savez(file, images, labels)` of guided-diffusion writes them."""
    np.savez(tmp_path / "x.npz", IMAGES.transpose(0, 2, 3, 1), LABELS)
    found = read_arrays(tmp_path / "x.npz", GREY)
    assert found.labels.tolist() == LABELS.tolist()
    np.savez(tmp_path / "x.npz", IMAGES, IMAGES)
    assert read_arrays(tmp_path / "x.npz", GREY).labels is None


def test_a_name_that_lies_is_no_obstacle(tmp_path):
    path = saved(tmp_path, IMAGES).rename(tmp_path / "images.npz")
    assert np.array_equal(read_arrays(path, GREY).images.numpy(), IMAGES)


def test_faint_colours_are_colours():
    found = ImageSet(torch.from_numpy(np.repeat(IMAGES, 3, 1)))
    found.images[0, 0, 0, 0] += 2
    with pytest.raises(CourseError, match="differ by up to 2 of 255"):
        fitted(found, GREY, "x")
    grey = fitted(found, GREY, "x", grey=True)
    assert np.array_equal(grey.images[1:].numpy(), IMAGES[1:])  # luminance adds up to 1
