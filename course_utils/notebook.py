"""What every notebook calls: `setup()` first, `show()` for each figure, `show_source()` for the library's own code."""

from __future__ import annotations

import base64
import functools
import html
import inspect
import io
import platform
import random
import textwrap
from pathlib import Path
from typing import Any

from course_utils import __version__
from course_utils.animation import Animation
from course_utils.bootstrap import install_missing, on_colab
from course_utils.errors import CourseError
from course_utils.files import course_root
from course_utils.style import FIGURE_DPI, SAVED_DPI, apply_style

MIN_ALT_CHARACTERS = 15
PIXEL_IMAGE_WIDTH_PX = 224  # small pixel images are enlarged to about this width, in whole steps
# Source stands on a light background of its own, on which every colour of the style reaches a contrast of 4.5: dark themes cannot break it.
SOURCE_STYLE = "xcode"
SOURCE_CSS = "background:#f6f8fa;color:#24292f;padding:0.8em 1em;margin:0;line-height:1.4;overflow-x:auto;border-radius:6px"


def setup(seed: int = 0) -> None:
    """Prepares a notebook: installs what Colab lacks, sets the figure style, seeds the global generators, prints where the notebook runs.

    Args:
        seed: seed of Python's, NumPy's and torch's global generators. Course code draws from generators of its own.
    """
    if on_colab():
        install_missing()
    import matplotlib.pyplot as plt
    import numpy
    import torch

    from course_utils.data import describe_dataset
    from course_utils.device import budget, describe_device

    plt.switch_backend(plt.get_backend())  # the inline backend turns interactive mode on when it loads, so load it first
    plt.ioff()  # otherwise a figure would appear twice: once by itself at the end of its cell, once through show()
    apply_style()
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    print(f"Generative models for images, version {__version__}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}")
    print(f"device:  {describe_device()}")
    print(f"dataset: {describe_dataset()}")
    print(f"budget:  {budget()}")


def show(figure: Any, alt: str) -> None:
    """Displays a picture once, with a text for those who cannot see it, and closes it.

    Args:
        figure: a matplotlib Figure, a PIL image, a uint8 array or tensor [C, H, W] with 1 or 3 channels, or an `Animation`.
        alt: what the picture shows (type, axes, trend), at least 15 characters, and not just its title.

    Raises:
        CourseError: `alt` is missing, too short or only the title; `figure` is something else.
    """
    from IPython.display import display
    from matplotlib.figure import Figure

    is_figure = isinstance(figure, Figure)
    _require_alt(alt, _titles(figure) if is_figure else ())
    if isinstance(figure, Animation):
        width, data, mime_type = figure.width, figure.data, figure.mime_type
    else:
        image = _render(figure) if is_figure else _as_image(figure)
        scale = FIGURE_DPI / SAVED_DPI if is_figure else max(1, round(PIXEL_IMAGE_WIDTH_PX / image.width))
        width, data, mime_type = round(image.width * scale), _small_png(image), "image/png"
    style = "max-width:100%;height:auto" + ("" if is_figure else ";image-rendering:pixelated")
    source = f"data:{mime_type};base64,{base64.b64encode(data).decode('ascii')}"
    tag = f'<img alt="{html.escape(alt)}" width="{width}" style="{style}" src="{source}">'
    display({"text/html": tag, "text/plain": alt}, metadata={"text/html": {"alt": alt}}, raw=True)


def show_source(obj: Any) -> None:
    """Displays the source code of a function, method or class, highlighted, with its file and line.

    Raises:
        CourseError: `obj` has no Python source.
    """
    from IPython.display import display
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    source, place = read_source(obj)
    formatter = HtmlFormatter(noclasses=True, style=SOURCE_STYLE, prestyles=SOURCE_CSS, cssstyles="background:none;margin:0")
    caption = f'<div style="font-size:0.85em;opacity:0.8">{html.escape(place)}</div>'
    display({"text/html": caption + highlight(source, PythonLexer(), formatter), "text/plain": source}, raw=True)


def read_source(obj: Any) -> tuple[str, str]:
    """Returns the dedented source of `obj` and the place it stands, such as "course_utils/models/vae.py, line 42".

    Raises:
        CourseError: `obj` has no Python source.
    """
    target = obj.fget if isinstance(obj, property) else obj.func if isinstance(obj, (functools.partial, functools.cached_property)) else obj
    target = inspect.unwrap(target)
    try:
        lines, first_line = inspect.getsourcelines(target)
        file = Path(inspect.getsourcefile(target) or "?")
    except (TypeError, OSError) as error:
        raise CourseError(f"expected a function, method or class written in Python, got {obj!r}; it has no source to show ({error}).") from error
    package = Path(__file__).resolve().parent.parent
    root = next((root for root in (package, course_root()) if file.is_relative_to(root)), file.parent)
    name = file.relative_to(root).as_posix() if file.suffix == ".py" and file.is_file() else "this notebook"
    return textwrap.dedent("".join(lines)), f"{name}, line {max(first_line, 1)}"


def _titles(figure: Any) -> tuple[str, ...]:
    return (figure.get_suptitle(), *(axes.get_title(loc=side) for axes in figure.axes for side in ("left", "center", "right")))


def _require_alt(alt: str, titles: tuple[str, ...]) -> None:
    advice = "say in a sentence what the picture shows"
    if not isinstance(alt, str) or len(alt.strip()) < MIN_ALT_CHARACTERS:
        raise CourseError(f"expected an alt text of at least {MIN_ALT_CHARACTERS} characters, got {alt!r}; {advice}.")
    if alt.strip().casefold() in {title.strip().casefold() for title in titles}:
        raise CourseError(f"expected an alt text that says more than the title, got {alt!r}; {advice}.")


def _render(figure: Any) -> Any:
    """Returns the figure as an RGB PIL image, and closes the figure."""
    import matplotlib.pyplot as plt
    from PIL import Image

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=SAVED_DPI, bbox_inches="tight", pad_inches=0.08)
    plt.close(figure)
    image = Image.open(stream).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _as_image(picture: Any) -> Any:
    """Returns a PIL image of a PIL image or of a uint8 array [C, H, W]."""
    import numpy
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    array = numpy.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture)
    if array.dtype != numpy.uint8 or array.ndim != 3 or array.shape[0] not in (1, 3):
        got = f"{type(picture).__name__} of {array.dtype} with shape {list(array.shape)}"
        raise CourseError(f"expected a matplotlib Figure, a PIL image or uint8 pixels [C, H, W] with C = 1 or 3, got {got}; convert it first.")
    return Image.fromarray(array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0))


def _small_png(image: Any) -> bytes:
    """Returns PNG bytes: grey where the image is grey, a palette where nobody can see the difference, else as it is."""
    import numpy
    from PIL import Image

    pixels = numpy.asarray(image.convert("RGB")).astype(numpy.int16)
    if (pixels == pixels[..., :1]).all():
        image = image.convert("L")
    versions = [image]
    for num_colors in (256, 64):
        palette = image.quantize(num_colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        error = numpy.abs(numpy.asarray(palette.convert("RGB")).astype(numpy.int16) - pixels)
        if error.mean() <= 1.0 and numpy.quantile(error, 0.999) <= 12:  # of 255 grey levels: below what one sees
            versions.append(palette)
    return min((_png_bytes(version) for version in versions), key=len)


def _png_bytes(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
