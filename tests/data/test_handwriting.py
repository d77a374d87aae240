"""A photographed sheet: its digits come back in order, and what is no such sheet is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from materials import make_dataset
from PIL import Image

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.data import handwriting
from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.data.handwriting import digits_from_sheet, example_sheet
from course_utils.data.strokes import make_strokes


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    train, factors, test, test_factors = make_strokes(20, 40, seed=9)
    labels = factors.digit, test_factors.digit
    return Dataset("strokes", train, labels[0], test, labels[1], DIGIT_NAMES, "drawn")


@pytest.fixture(scope="module")
def originals(dataset) -> torch.Tensor:
    """The digits of the example sheet, centred as those of a sheet are."""
    images = handwriting._grey_digits(dataset, 20, make_rng(0, 41))
    trimmed = [handwriting._trimmed(image[0].numpy() / 255)[0] for image in images]
    return torch.stack([torch.from_numpy(handwriting._centred(ink, 28)) for ink in trimmed])


def matches(digits: torch.Tensor, originals: torch.Tensor) -> torch.Tensor:
    """Returns the correlation of each digit with each original, [N, M]."""
    rows = [images.flatten(1).double() for images in (digits, originals)]
    rows = [row - row.mean(1, keepdim=True) for row in rows]
    first, second = (row / row.norm(dim=1, keepdim=True) for row in rows)
    return first @ second.T


def assert_are(digits, originals):
    assert digits.shape == (20, 1, 28, 28) and digits.dtype == torch.uint8
    found = matches(digits[:, 0], originals)
    assert found.argmax(1).tolist() == list(range(20))  # each is itself, in reading order
    assert found.diagonal().min() > 0.75


def test_the_digits_of_a_sheet_come_back_in_reading_order(dataset, originals):
    assert_are(digits_from_sheet(example_sheet(dataset)), originals)


@pytest.mark.parametrize("kind", ["light on dark", "colour", "large", "jpeg", "transparent"])
def test_other_photographs_of_the_same_sheet(dataset, originals, tmp_path, kind):
    sheet = example_sheet(dataset)
    if kind == "light on dark":
        sheet = Image.fromarray(255 - np.asarray(sheet))
    elif kind == "colour":  # blue ink on yellowish paper
        grey = np.asarray(sheet) / 255
        tinted = [grey, 0.95 * grey, 0.7 * grey + 0.1]
        sheet = Image.fromarray((255 * np.stack(tinted, -1)).astype(np.uint8))
    elif kind == "large":
        sheet = sheet.resize((2800, 752), Image.Resampling.BICUBIC)
    elif kind == "jpeg":
        sheet.save(tmp_path / "sheet.jpg", quality=70)
        sheet = str(tmp_path / "sheet.jpg")
    else:
        alpha = Image.fromarray(255 - np.asarray(sheet))
        sheet = Image.merge("LA", (Image.new("L", sheet.size, 0), alpha))
    assert_are(digits_from_sheet(sheet), originals)


def test_a_photograph_that_lies_on_its_side_is_turned(dataset, originals, tmp_path):
    sheet = example_sheet(dataset).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    sheet.save(tmp_path / "sheet.png", exif=exif)
    assert_are(digits_from_sheet(tmp_path / "sheet.png"), originals)


def test_specks_and_a_dark_edge_are_no_digits(dataset, originals):
    pixels = np.asarray(example_sheet(dataset)).copy()
    pixels[5:9, 300:303] = 60  # a crumb
    pixels[:, :6] = 20  # the desk
    assert_are(digits_from_sheet(Image.fromarray(pixels)), originals)


def test_the_longer_side_fills_the_box_and_the_mass_is_central():
    ink = np.zeros((200, 200))
    ink[60:140, 90:110] = 1.0  # a bar
    sheet = Image.fromarray((255 * (0.9 - 0.8 * ink)).astype(np.uint8))
    image = digits_from_sheet(sheet)[0, 0].double()
    rows, columns = (image.sum(axis).nonzero().flatten() for axis in (1, 0))
    assert len(rows) == 20 and len(columns) in (5, 6)
    places = torch.arange(28).double()
    for axis in (0, 1):
        mass = image.sum(1 - axis)
        assert abs((mass * places).sum() / mass.sum() - 13.5) <= 0.51


def test_other_sizes_and_channels(dataset):
    digits = digits_from_sheet(example_sheet(dataset), (3, 56, 56))
    assert digits.shape == (20, 3, 56, 56)
    assert torch.equal(digits[:, 0], digits[:, 2])


def test_a_dataset_without_digits_gets_strokes_on_its_sheet():
    blobs = make_dataset(num_test=30)
    sheet = np.asarray(example_sheet(blobs, 12))
    assert len(digits_from_sheet(Image.fromarray(sheet))) == 12


def blank(level: float = 0.8) -> Image.Image:
    noise = 0.01 * np.random.default_rng(0).standard_normal((120, 160))
    return Image.fromarray((255 * (level + noise)).astype(np.uint8))


def tiny(dataset) -> Image.Image:
    sheet = example_sheet(dataset)
    return sheet.resize((sheet.width // 6, sheet.height // 6), Image.Resampling.BOX)


def confetti() -> Image.Image:
    pixels = np.full((900, 900), 230, dtype=np.uint8)
    for row in range(20, 880, 30):
        for column in range(20, 880, 30):
            pixels[row : row + 14, column : column + 14] = 20
    return Image.fromarray(pixels)


def test_what_is_no_sheet_is_refused_with_what_to_do(dataset, tmp_path):
    for sheet, words in (
        (blank(), "found no ink: .*Write with a dark pen"),
        (tiny(dataset), "at least 10 pixels tall, got [0-9]; take the photograph from nearer"),
        (confetti(), "at most 400 digits, found 841 pieces"),
        (tmp_path / "none.png", "none.png: expected a photograph .*FileNotFoundError"),
    ):
        with pytest.raises(CourseError, match=words):
            digits_from_sheet(sheet)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(CourseError, match="text.png: expected a photograph"):
        digits_from_sheet(tmp_path / "text.png")
    with pytest.raises(CourseError, match="image_shape: expected square images"):
        digits_from_sheet(example_sheet(dataset), (1, 28, 32))
    with pytest.raises(CourseError, match="num_digits: expected 1 to 40, got 0"):
        example_sheet(dataset, 0)


def test_a_line_across_the_sheet_is_no_digit(dataset):
    pixels = np.asarray(blank()).copy()
    pixels[60:64, :] = 30
    with pytest.raises(CourseError, match="leave a margin, and no line that touches the edge"):
        digits_from_sheet(Image.fromarray(pixels))
