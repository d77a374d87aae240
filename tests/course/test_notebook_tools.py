"""setup(), show() and show_source(): what the learner sees, and what is refused."""

from __future__ import annotations

import base64
import functools
import io
import os
import random
import re
import sys
import types
import warnings
from pathlib import Path

import numpy
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from course_utils import notebook
from course_utils.base.errors import CourseError
from course_utils.plotting import canvas as style
from course_utils.plotting.canvas import animate

ALT = "Two rising curves: the loss of the encoder and of the decoder <per image>"


@pytest.fixture
def shown(monkeypatch):
    """The (mime bundle, metadata) pairs that were displayed."""
    displayed = []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda bundle, metadata=None, raw=False: displayed.append((bundle, metadata)),
    )
    return displayed


def picture_in(shown: list, mime_type: str = "image/png") -> tuple[Image.Image, dict]:
    """The picture that was displayed first, and its metadata."""
    bundle, metadata = shown[0]
    return Image.open(io.BytesIO(base64.b64decode(bundle[mime_type]))), metadata[mime_type]


def grey_grid() -> Figure:
    """A typical figure of the course: 40 small grey images."""
    figure, axes = plt.subplots(4, 10, figsize=(7, 3))
    rng = numpy.random.default_rng(0)
    ramp = numpy.linspace(0, 1, 28)
    for ax in axes.flat:
        ax.imshow(numpy.outer(ramp, ramp) ** rng.uniform(0.2, 3), cmap="gray", vmin=0, vmax=1)
        ax.axis("off")
    return figure


def colour_lines() -> Figure:
    figure, ax = plt.subplots()
    for power in range(1, 6):
        ax.plot(numpy.linspace(0, 1, 50) ** power, label=f"power {power}")
    ax.set_title("Powers")
    ax.legend()
    return figure


@pytest.mark.parametrize("make", [grey_grid, colour_lines])
def test_show_displays_one_small_closed_figure_with_its_text(make, shown):
    style.apply_style()
    figure = make()
    reference = notebook._render(make())
    notebook.show(figure, ALT)
    picture, about = picture_in(shown)
    assert about == {"alt": ALT, "width": round(picture.width / 1.4)}
    assert figure.number not in plt.get_fignums()
    assert len(shown[0][0]["image/png"]) <= 60_000
    error = numpy.abs(
        numpy.asarray(picture.convert("RGB"), dtype=float) - numpy.asarray(reference, dtype=float)
    )
    assert error.mean() <= 1.0


def test_show_says_the_picture_in_words_below_it(shown):
    notebook.show(numpy.zeros((1, 28, 28), numpy.uint8), ALT)
    (picture, _), (words, metadata) = shown
    assert set(picture) == {"image/png", "text/plain"} and picture["text/plain"] == ALT
    assert words["text/html"].startswith(
        '<details class="alt-text"><summary>The picture in words</summary>Two rising curves: '
    )
    assert (
        words["text/html"].endswith("&lt;per image&gt;</details>")
        and ALT in words["text/plain"]
        and metadata is None
    )


def test_noise_in_colour_keeps_its_colours(shown):
    pixels = numpy.random.default_rng(0).integers(0, 256, (3, 40, 40), dtype=numpy.uint8)
    notebook.show(pixels, ALT)
    picture, _ = picture_in(shown)
    assert picture.size == (240, 240)  # every pixel is a square of 6 by 6
    numpy.testing.assert_array_equal(
        numpy.asarray(picture.convert("RGB"))[::6, ::6], pixels.transpose(1, 2, 0)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["array", "tensor", "pil"])
def test_show_takes_pixels(channels, kind, shown):
    pixels = (
        numpy.arange(channels * 28 * 28, dtype=numpy.int64)
        .reshape(channels, 28, 28)
        .astype(numpy.uint8)
    )
    if kind == "tensor":
        import torch

        picture = torch.from_numpy(pixels)
    else:
        picture = pixels if kind == "array" else notebook._as_image(pixels)
    notebook.show(picture, ALT)
    shown_picture, about = picture_in(shown)
    assert shown_picture.size == (224, 224) and about["width"] == 224
    grid = numpy.asarray(shown_picture.convert("RGB")).transpose(2, 0, 1)[:channels]
    numpy.testing.assert_array_equal(grid, pixels.repeat(8, axis=1).repeat(8, axis=2))


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_show_takes_an_animation_as_it_is(kind, shown):
    animation = animate(
        [torch.full((1, 6, 6), 60 * index, dtype=torch.uint8) for index in range(4)],
        kind=kind,
        scale=10,
    )
    notebook.show(animation, ALT)
    picture, about = picture_in(shown, f"image/{kind}")
    assert about["alt"].startswith(f"{ALT}. Animation of 4 frames") and about["width"] == 60
    assert picture.format == kind.upper() and picture.n_frames >= 4


@pytest.mark.parametrize("alt", ["", "   ", "too short", None, "powers OF the latent "])
def test_show_needs_a_text_that_says_something(alt):
    figure = Figure()
    figure.suptitle("Powers of the latent")
    with pytest.raises(CourseError, match="expected an alt text"):
        notebook.show(figure, alt)


def described_figure() -> Figure:
    figure = Figure()
    figure.suptitle("Powers of the latent")
    return style.describe(figure, "Two lines, y over x: a from 1 at 0 to 2 at 1.")


@pytest.mark.parametrize(
    ("own", "text"),
    [
        (None, "Two lines, y over x: a from 1 at 0 to 2 at 1."),
        ("The lines cross twice", "The lines cross twice. Two lines, y over x: a from 1"),
        ("Do the lines cross? ", "Do the lines cross? Two lines, y over x: a from 1"),
    ],
)
def test_an_attached_text_stands_alone_or_after_the_authors(own, text, shown):
    notebook.show(described_figure(), *([] if own is None else [own]))
    (picture, about), (words, _) = shown
    assert about["image/png"]["alt"].startswith(text)
    assert about["image/png"]["alt"].endswith("a from 1 at 0 to 2 at 1.")
    assert picture["text/plain"] == about["image/png"]["alt"]
    assert picture["text/plain"] in words["text/plain"]


def test_an_author_still_has_to_say_something_beside_an_attached_text(shown):
    for own in ("", "short", "powers of the latent"):
        with pytest.raises(CourseError, match="expected an alt text"):
            notebook.show(described_figure(), own)
    assert shown == []


def test_a_picture_without_an_attached_text_needs_one(shown):
    for picture in (Figure(), numpy.zeros((1, 8, 8), numpy.uint8), torch.zeros(1, 8, 8)):
        with pytest.raises(CourseError, match="expected an alt text .* got None"):
            notebook.show(picture)
    assert shown == []


def test_an_animation_brings_its_text(shown):
    frames = [torch.full((1, 6, 6), 60 * index, dtype=torch.uint8) for index in range(4)]
    notebook.show(animate(frames, 2.0, scale=10))
    assert picture_in(shown)[1]["alt"].startswith("Animation of 4 frames, 60 by 60 pixels, 2 s")


def test_show_refuses_the_title_of_an_axes_as_text():
    figure = Figure()
    figure.subplots().set_title("The loss of every epoch", loc="left")
    with pytest.raises(CourseError, match="more than the title"):
        notebook.show(figure, "The loss of every epoch")


@pytest.mark.parametrize(
    "picture",
    [
        numpy.zeros((1, 8, 8)),
        numpy.zeros((8, 8), numpy.uint8),
        numpy.zeros((4, 8, 8), numpy.uint8),
        "x.png",
    ],
)
def test_show_refuses_other_things(picture):
    with pytest.raises(
        CourseError, match=r"expected a matplotlib Figure, a PIL image or uint8 pixels"
    ):
        notebook.show(picture, ALT)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


class Example:
    """An example."""

    @decorated
    def method(self, x):
        return x + 1  # of <method>

    @property
    def value(self):
        return 3

    @functools.cached_property
    def cached(self):
        return 4

    @classmethod
    def build(cls):
        return cls()


@pytest.mark.parametrize(
    ("obj", "start", "end"),
    [
        (Example, "class Example:\n", "        return cls()\n"),
        (Example.method, "@decorated\ndef method(self, x):\n", "    return x + 1  # of <method>\n"),
        (
            Example().method,
            "@decorated\ndef method(self, x):\n",
            "    return x + 1  # of <method>\n",
        ),
        (Example.value, "@property\ndef value(self):\n", "    return 3\n"),
        (
            Example.__dict__["cached"],
            "@functools.cached_property\ndef cached(self):\n",
            "    return 4\n",
        ),
        (Example.build, "@classmethod\ndef build(cls):\n", "    return cls()\n"),
        (functools.partial(decorated, None), "def decorated(function):\n", "    return wrapper\n"),
        (lambda x: x, "        (lambda x: x", "\n"),
    ],
)
def test_show_source_shows_dedented_source(obj, start, end, shown):
    notebook.show_source(obj)
    bundle = shown[0][0]
    assert bundle["text/plain"].startswith(start.strip(" ")) and bundle["text/plain"].endswith(end)
    assert "tests/course/test_notebook_tools.py, line " in bundle["text/html"]
    assert "http" not in bundle["text/html"] and "<of" not in bundle["text/html"]


def test_show_source_breaks_no_lines(shown):
    notebook.show_source(Example)
    (style_of_source,) = re.findall(r'<pre style="([^"]*)"', shown[0][0]["text/html"])
    assert (
        "white-space:pre;" in style_of_source.replace(" ", "")
        and "word-break:normal" in style_of_source
    )


def test_show_source_colours_are_readable_on_their_background(shown):
    notebook.show_source(Example)
    page = shown[0][0]["text/html"]
    background, *colours = re.findall(r"background:#(\w{6})", page) + re.findall(
        r"(?<!-)color: ?#(\w{6})", page
    )
    assert len(set(colours)) >= 3
    assert min(contrast(colour, background) for colour in colours) >= 4.5


def contrast(first: str, second: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [
            value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
            for value in channels
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("obj", [len, 3, numpy.add, "text"])
def test_show_source_says_when_there_is_none(obj):
    with pytest.raises(CourseError, match="expected a function, method or class written in Python"):
        notebook.show_source(obj)


@pytest.fixture
def course_stubs(monkeypatch):
    """Stands in for the modules that look at the machine and at the data; afterwards warnings are
    written as before.
    """
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    device = types.SimpleNamespace(
        budget=lambda: "laptop", describe_device=lambda: "cpu, 2 threads"
    )
    data = types.SimpleNamespace(describe_dataset=lambda: "strokes (embedded)")
    monkeypatch.setitem(sys.modules, "course_utils.base.device", device)
    monkeypatch.setitem(sys.modules, "course_utils.data", data)


def test_setup_reports_seeds_and_styles(course_stubs, capsys):
    import torch

    draws = []
    for seed in (3, 3, 4):
        notebook.setup(seed)
        draws.append((random.random(), numpy.random.rand(), torch.rand(1).item()))
    lines = capsys.readouterr().out.splitlines()
    assert draws[0] == draws[1] and all(a != b for a, b in zip(draws[1], draws[2], strict=True))
    assert lines[2:5] == [
        "device:  cpu, 2 threads",
        "dataset: strokes (embedded)",
        "budget:  laptop",
    ]
    assert len(lines) == 15 and torch.__version__ in lines[1]
    assert not plt.isinteractive() and plt.rcParams["image.cmap"] == "gray"
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == list(style.OKABE_ITO)


def test_warnings_name_no_file_of_the_kernel(course_stubs):
    notebook.setup()
    text = warnings.formatwarning("few images", UserWarning, "/tmp/ipykernel_7/1.py", 9)
    assert text == "UserWarning: few images\n"


@pytest.mark.parametrize("colab", [True, False])
def test_setup_installs_and_leads_commands_on_colab_only(colab, course_stubs, monkeypatch):
    counted = []
    monkeypatch.setattr(notebook, "on_colab", lambda: colab)
    monkeypatch.setattr(notebook, "install_missing", lambda: counted.append(1))
    monkeypatch.setenv("PYTHONPATH", "theirs")
    for _ in range(2):  # the first cell may be run again
        notebook.setup()
    root = str(Path(notebook.__file__).parents[1])
    assert os.environ["PYTHONPATH"] == (f"{root}{os.pathsep}theirs" if colab else "theirs")
    assert len(counted) == (2 if colab else 0)


def test_palette_is_eight_colours_with_black_last():
    assert len(set(style.OKABE_ITO)) == 8 and style.OKABE_ITO[-1] == "#000000"
