"""What every notebook calls: `setup()` first, `show()` for each figure, `show_source()` for the
library's own code.
"""

from __future__ import annotations

import base64
import functools
import html
import importlib.util
import inspect
import io
import platform
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, cast

from course_utils import __version__
from course_utils.base.errors import CourseError
from course_utils.base.files import course_root

MIN_ALT_CHARACTERS = 15
PIXEL_IMAGE_WIDTH_PX = 224  # small pixel images are enlarged to about this width, in whole steps
# Source stands on a light background of its own, on which every colour of the style reaches a
# contrast of 4.5: dark themes cannot break it.
SOURCE_STYLE = "xcode"
SOURCE_CSS = (
    "background:#f6f8fa;color:#24292f;padding:0.8em"
    " 1em;margin:0;line-height:1.4;overflow-x:auto;border-radius:6px;"
    # JupyterLab breaks lines, and words, in every <pre> otherwise
    "white-space:pre;word-break:normal;overflow-wrap:normal"
)

# Import name -> package name of what the notebooks need at run time.
RUNTIME_PACKAGES = (
    ("accelerate", "accelerate"),
    ("IPython", "ipython"),
    ("ipywidgets", "ipywidgets"),
    ("joblib", "joblib"),
    ("matplotlib", "matplotlib"),
    ("pandas", "pandas"),
    ("PIL", "pillow"),
    ("safetensors", "safetensors"),
    ("sklearn", "scikit-learn"),
    ("tqdm", "tqdm"),
)
# Never installed from here: another build of one of these breaks everything that was compiled
# against it.
GIVEN_PACKAGES = ("numpy", "torch", "torchvision")


def setup(seed: int = 0) -> None:
    """Prepares a notebook: installs what Colab lacks, sets the figure style, seeds the global
    generators, prints where the notebook runs.

    Args:
        seed: seed of Python's, NumPy's and torch's global generators. Course code draws from
            generators of its own.
    """
    if on_colab():
        install_missing()
    import matplotlib.pyplot as plt
    import numpy
    import torch

    from course_utils.base.device import budget, describe_device
    from course_utils.data import describe_dataset
    from course_utils.plotting.canvas import apply_style

    # the inline backend turns interactive mode on when it loads, so load it first
    plt.switch_backend(plt.get_backend())
    # otherwise a figure would appear twice: once by itself at the end of its cell, once through
    # show()
    plt.ioff()
    apply_style()
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    print(f"Generative models for images, version {__version__}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}")
    print(f"device:  {describe_device()}")
    print(f"dataset: {describe_dataset()}")
    print(f"budget:  {budget()}")


def on_colab() -> bool:
    """Returns whether this process is a Colab kernel."""
    return "google.colab" in sys.modules


def install_missing() -> None:
    """Installs the runtime packages that are missing, and only those, without touching any that is
    there.

    A package that cannot be installed (no network) and a missing torch are said in one line;
    nothing is raised.
    """
    given = [name for name in GIVEN_PACKAGES if importlib.util.find_spec(name) is None]
    if given:
        print(
            f"{', '.join(given)} missing: this runtime cannot run the course. Choose a standard"
            " Colab runtime, which brings them."
        )
    packages = [
        package for name, package in RUNTIME_PACKAGES if importlib.util.find_spec(name) is None
    ]
    if not packages:
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *packages]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        print(
            f"Could not install {', '.join(packages)} ({reason}). Check the internet connection and"
            " run this cell again."
        )
    importlib.invalidate_caches()


def show(figure: Any, alt: str) -> None:
    """Displays a picture once, with a text for those who cannot see it, and closes it.

    The picture is `image/png` (or `image/gif`), which every front end shows, restricted modes and
    repository pages included. Its alt text stands in the metadata, where page builders look for it,
    and below the picture behind a disclosure, because JupyterLab and Colab drop the metadata.

    Args:
        figure: a matplotlib Figure, a PIL image, a uint8 array or tensor [C, H, W] with 1 or 3
            channels, or an `Animation`.
        alt: what the picture shows (type, axes, trend), at least 15 characters, and not just its
            title.

    Raises:
        CourseError: `alt` is missing, too short or only the title; `figure` is something else.
    """
    from IPython.display import display
    from matplotlib.figure import Figure

    from course_utils.plotting.canvas import FIGURE_DPI, SAVED_DPI, Animation

    is_figure = isinstance(figure, Figure)
    _require_alt(alt, _titles(figure) if is_figure else ())
    if isinstance(figure, Animation):
        data, mime_type, width = figure.data, figure.mime_type, figure.width
    else:
        image = _render(figure) if is_figure else _enlarged(_as_image(figure))
        data, mime_type = _small_png(image), "image/png"
        width = round(image.width * FIGURE_DPI / SAVED_DPI) if is_figure else image.width
    picture = {mime_type: base64.b64encode(data).decode("ascii"), "text/plain": alt}
    display(picture, metadata={mime_type: {"alt": alt, "width": width}}, raw=True)
    in_words = (
        '<details class="alt-text"><summary>The picture in'
        f" words</summary>{html.escape(alt)}</details>"
    )
    display({"text/html": in_words, "text/plain": f"(The picture in words: {alt})"}, raw=True)


def _enlarged(image: Any) -> Any:
    """Returns a small pixel image with every pixel as a square of whole screen pixels, so that no
    browser blurs it.
    """
    from PIL import Image

    scale = max(1, round(PIXEL_IMAGE_WIDTH_PX / image.width))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


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
    formatter = HtmlFormatter(
        noclasses=True,
        style=SOURCE_STYLE,
        prestyles=SOURCE_CSS,
        cssstyles="background:none;margin:0",
    )
    caption = f'<div style="font-size:0.85em;opacity:0.8">{html.escape(place)}</div>'
    display(
        {"text/html": caption + highlight(source, PythonLexer(), formatter), "text/plain": source},
        raw=True,
    )


def read_source(obj: Any) -> tuple[str, str]:
    """Returns the dedented source of `obj` and the place it stands, such as
    "course_utils/models/vae.py, line 42".

    Raises:
        CourseError: `obj` has no Python source.
    """
    target = (
        obj.fget
        if isinstance(obj, property)
        else obj.func
        if isinstance(obj, (functools.partial, functools.cached_property))
        else obj
    )
    target = inspect.unwrap(cast(Any, target))  # None is refused below
    try:
        lines, first_line = inspect.getsourcelines(target)
        file = Path(inspect.getsourcefile(target) or "?")
    except (TypeError, OSError) as error:
        raise CourseError(
            f"expected a function, method or class written in Python, got {obj!r}; it has no source"
            f" to show ({error})."
        ) from error
    package = Path(__file__).resolve().parent.parent
    root = next(
        (root for root in (package, course_root()) if file.is_relative_to(root)), file.parent
    )
    name = (
        file.relative_to(root).as_posix()
        if file.suffix == ".py" and file.is_file()
        else "this notebook"
    )
    return textwrap.dedent("".join(lines)), f"{name}, line {max(first_line, 1)}"


def _titles(figure: Any) -> tuple[str, ...]:
    return (
        figure.get_suptitle(),
        *(axes.get_title(loc=side) for axes in figure.axes for side in ("left", "center", "right")),
    )


def _require_alt(alt: str, titles: tuple[str, ...]) -> None:
    advice = "say in a sentence what the picture shows"
    if not isinstance(alt, str) or len(alt.strip()) < MIN_ALT_CHARACTERS:
        raise CourseError(
            f"expected an alt text of at least {MIN_ALT_CHARACTERS} characters, got {alt!r};"
            f" {advice}."
        )
    if alt.strip().casefold() in {title.strip().casefold() for title in titles}:
        raise CourseError(
            f"expected an alt text that says more than the title, got {alt!r}; {advice}."
        )


def _render(figure: Any) -> Any:
    """Returns the figure as an RGB PIL image, and closes the figure."""
    import matplotlib.pyplot as plt
    from PIL import Image

    from course_utils.plotting.canvas import SAVED_DPI

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
        raise CourseError(
            "expected a matplotlib Figure, a PIL image or uint8 pixels [C, H, W] with C = 1 or 3,"
            f" got {got}; convert it first."
        )
    return Image.fromarray(array[0] if array.shape[0] == 1 else array.transpose(1, 2, 0))


def _small_png(image: Any) -> bytes:
    """Returns PNG bytes: grey where the image is grey, a palette where nobody can see the
    difference, else as it is.
    """
    import numpy
    from PIL import Image

    pixels = numpy.asarray(image.convert("RGB")).astype(numpy.int16)
    if (pixels == pixels[..., :1]).all():
        image = image.convert("L")
    versions = [image]
    for num_colors in (256, 64):
        palette = image.quantize(
            num_colors, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        error = numpy.abs(numpy.asarray(palette.convert("RGB")).astype(numpy.int16) - pixels)
        # of 255 grey levels: below what one sees
        if error.mean() <= 1.0 and numpy.quantile(error, 0.999) <= 12:
            versions.append(palette)
    return min((_png_bytes(version) for version in versions), key=len)


def _png_bytes(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
