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
from course_utils.data.handwriting import digit_from_strokes, digits_from_sheet, example_sheet
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


SEVEN = [[[0.2, 0.2], [0.6, 0.2], [0.35, 0.8]], [[0.3, 0.5], [0.6, 0.5]]]


def moved(strokes: list, factor: float, right: float, down: float) -> list:
    """Returns strokes that are drawn larger or smaller, and elsewhere."""
    return [[[factor * x + right, factor * y + down] for x, y in stroke] for stroke in strokes]


def on_paper(strokes: list) -> Image.Image:
    """Returns a scanned sheet with strokes as thick as those of `digit_from_strokes`: black where a
    place is near enough to one of many points along the lines.
    """
    side, thickness = 400, 0.14 / 0.86 * 0.6  # SEVEN is 0.6 high
    rows, columns = np.mgrid[:side, :side] / side
    ink = np.zeros((side, side), dtype=bool)
    for stroke in strokes:
        for first, last in zip(stroke, stroke[1:]):
            for share in np.linspace(0, 1, 60):
                x, y = (1 - share) * np.array(first) + share * np.array(last)
                ink |= (columns - x) ** 2 + (rows - y) ** 2 < (thickness / 2) ** 2
    return Image.fromarray(np.where(ink, 20, 235).astype(np.uint8))


def test_strokes_become_what_a_sheet_with_them_becomes():
    drawn = digit_from_strokes(SEVEN)
    assert drawn.dtype == torch.uint8 and drawn.shape == (1, 28, 28)
    (scanned,) = digits_from_sheet(on_paper(SEVEN))
    assert (drawn.double() - scanned.double()).abs().mean() < 0.02 * 255
    assert matches(drawn[None], scanned[None]).item() > 0.99


def test_a_drawn_digit_has_the_box_the_place_and_the_thickness_of_one_of_mnist():
    image = digit_from_strokes([[[0.9, 0.1], [0.9, 0.5]]])[0].double() / 255
    inked = (image > 0.5).nonzero()
    assert (inked[:, 0].amin(), inked[:, 0].amax()) in ((4, 23), (3, 22))
    assert image.sum() / 20 == pytest.approx(2.8, abs=0.3)
    columns = (image.sum(0) * torch.arange(28)).sum() / image.sum()
    assert columns == pytest.approx(13.5, abs=0.6)


def test_it_does_not_matter_where_and_how_large_a_digit_is_drawn():
    small = digit_from_strokes(moved(SEVEN, 0.4, 0.1, 0.5)).double()
    assert (small - digit_from_strokes(SEVEN).double()).abs().mean() < 3


def test_a_dot_stays_a_dot():
    image = digit_from_strokes([[[0.1, 0.9]]])[0]
    inked = (image > 127).nonzero()
    assert 2 <= int(inked[:, 0].unique().numel()) <= 5
    assert inked.double().mean(0).tolist() == pytest.approx([13.5, 13.5], abs=0.6)


def test_drawn_digits_of_other_sizes_and_channels():
    image = digit_from_strokes(SEVEN, (3, 16, 16))
    assert image.shape == (3, 16, 16) and (image == image[0]).all() and image.any()


@pytest.mark.parametrize(
    "strokes",
    [[], [[]], [[[0.1]]], [[0.1, 0.2]], [[["a", "b"]]], [[[0.1, float("nan")]]], [[[0, 1], [2]]]],
)
def test_what_are_no_strokes_is_refused(strokes):
    with pytest.raises(CourseError, match="strokes: expected one or more lists of points"):
        digit_from_strokes(strokes)


def test_a_drawn_digit_is_square():
    with pytest.raises(CourseError, match="image_shape: expected square images"):
        digit_from_strokes(SEVEN, (1, 28, 32))
