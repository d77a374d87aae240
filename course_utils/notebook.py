"""What every notebook calls: `setup()` first, `show()` for each figure, `LiveTraining` where a loop
trains, `show_source()` for the library's own code.
"""

from __future__ import annotations

import base64
import functools
import html
import importlib.util
import inspect
import io
import os
import platform
import random
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from course_utils import __version__
from course_utils.base.config import require
from course_utils.base.errors import CourseError
from course_utils.base.files import course_root

if TYPE_CHECKING:
    from torch import Tensor

    from course_utils.plotting.canvas import Animation

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
    ("anywidget", "anywidget"),
    ("IPython", "ipython"),
    ("ipywidgets", "ipywidgets"),
    ("joblib", "joblib"),
    ("matplotlib", "matplotlib"),
    ("pandas", "pandas"),
    ("PIL", "pillow"),
    ("psygnal", "psygnal"),
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
        _lead_commands_to_the_course()
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
    warnings.formatwarning = _one_line
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    print(f"Generative models for images, version {__version__}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}")
    print(f"device:  {describe_device()}")
    print(f"dataset: {describe_dataset()}")
    print(f"budget:  {budget()}")


def _one_line(message: Warning | str, category: type[Warning], *_: object) -> str:
    """Returns a warning as a reader needs it: the file that Python would name is the kernel's."""
    return f"{category.__name__}: {message}\n"


def on_colab() -> bool:
    """Returns whether this process is a Colab kernel."""
    return "google.colab" in sys.modules


def _lead_commands_to_the_course() -> None:
    """Lets `!python -m course_utils.cli.main` in a cell find the course, which the first cell
    cloned beside the notebook and made known to this process alone.
    """
    root = str(Path(__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *(x for x in others if x not in ("", root))])


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


def show(figure: Any, alt: str | None = None) -> None:
    """Displays a picture once, with a text for those who cannot see it, and closes it.

    The picture is `image/png` (or `image/gif`), which every front end shows, restricted modes and
    repository pages included. Its alt text stands in the metadata, where page builders look for it,
    and below the picture behind a disclosure, because JupyterLab and Colab drop the metadata.

    Args:
        figure: a matplotlib Figure, a PIL image, a uint8 array or tensor [C, H, W] with 1 or 3
            channels, or an `Animation`.
        alt: what the picture shows (type, axes, trend), at least 15 characters, and not just its
            title. The functions of `course_utils.plotting` attach such a text, with the numbers, to
            what they return: it is used where `alt` is left out, and follows `alt` where it is
            given, so that an author adds only what the eye sees beyond the numbers.

    Raises:
        CourseError: there is no text, or it is too short or only the title; `figure` is something
            else.
    """
    text = _alt_text(figure, alt)
    _display(*_picture(figure, text))
    _display_words(text)


def _alt_text(figure: Any, alt: str | None) -> str:
    """Returns the text of a picture: the author's, followed by the one attached to the figure."""
    from matplotlib.figure import Figure

    from course_utils.plotting.canvas import attached_text

    attached = attached_text(figure)
    if alt is not None or not attached:
        _require_alt(alt, _titles(figure) if isinstance(figure, Figure) else ())
    if alt is None or not attached:
        return alt or attached
    own = alt.strip()
    return f"{own if own[-1] in '.!?:;' else own + '.'} {attached}"


def _picture(figure: Any, alt: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns a picture and what is said about it, the two parts of a display message."""
    from matplotlib.figure import Figure

    from course_utils.plotting.canvas import FIGURE_DPI, SAVED_DPI, Animation

    is_figure = isinstance(figure, Figure)
    if isinstance(figure, Animation):
        data, mime_type, width = figure.data, figure.mime_type, figure.width
    else:
        image = _render(figure) if is_figure else _enlarged(_as_image(figure))
        data, mime_type = _small_png(image), "image/png"
        width = round(image.width * FIGURE_DPI / SAVED_DPI) if is_figure else image.width
    picture = {mime_type: base64.b64encode(data).decode("ascii"), "text/plain": alt}
    return picture, {mime_type: {"alt": alt, "width": width}}


def _display(picture: dict[str, str], about: dict[str, Any], **how: Any) -> Any:
    from IPython.display import display

    return display(picture, metadata=about, raw=True, **how)


def _display_words(alt: str) -> None:
    """Displays the text of a picture behind a disclosure."""
    from IPython.display import display

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


MIN_PAUSE = 2.0  # seconds between two pictures of a running training ...
MAX_SHARE = 1 / 32  # ... or more, so that drawing them takes no larger share of the time
MAX_KEPT_FRAMES = 48  # of a running training; its film shows half as many
WINDOWS = 50  # the strong line is the mean of a 50th of all steps


class LiveTraining:
    """The view of a running training: loss curves and current images in one output, which is drawn
    anew now and then while a plain PyTorch loop runs.

    ```python
    with LiveTraining(num_steps, every=50, ylabel="loss (nats per image)") as live:
        for step in range(num_steps):
            ...
            live.step({"loss": loss}, images=lambda: decode(z_fixed))
    show(live.film())
    ```

    Leaving the block draws the final state. An error inside it passes through and leaves the last
    picture where it is. Without `with`, call `finish()` after the loop. Outside a notebook a short
    line is printed instead of each picture.

    Args:
        num_steps: of the training, from which the time left is computed.
        every: a picture is drawn after a multiple of so many steps, and at least 2 seconds after
            the one before; later still where drawing one takes long, so that all of them together
            take about 3 % of the time.
        ylabel: name and unit of the losses.
    """

    def __init__(self, num_steps: int, every: int = 50, ylabel: str = "loss") -> None:
        require(num_steps >= 1, "num_steps", "at least 1", num_steps)
        require(every >= 1, "every", "at least 1", every)
        self.num_steps, self.every, self.ylabel = num_steps, every, ylabel
        self._losses: dict[str, tuple[list[int], list[float]]] = {}
        self._images: Callable[[], Tensor] | None = None
        self._frames: list[tuple[int, Tensor]] = []  # step and uint8 images [N, C, H, W]
        self._step, self._finished, self._handle = 0, False, None
        self._costs: list[float] = []
        self._start = self._drawn = time.perf_counter()

    def __enter__(self) -> LiveTraining:
        self._start = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()

    def step(self, losses: Mapping[str, Any], images: Callable[[], Tensor] | None = None) -> None:
        """Notes the losses of one training step, and draws the view where it is time.

        Args:
            losses: `{name: number}`; a tensor with one element is a number too.
            images: returns the images of this moment, uint8 or signed, `[N, C, H, W]`, always of
                one shape; called without gradients, and only when the view is drawn. Global random
                numbers that it draws do not change the training. It has to switch the model to
                `eval()` and back itself where that matters.

        Raises:
            CourseError: no losses, losses that are not numbers, images of another kind, or the
                view is finished.
        """
        if self._finished:
            raise CourseError(
                "expected no step after finish(), got one; make a new LiveTraining for a new loop."
            )
        require(bool(losses), "losses", "{name: number} with at least one entry", losses)
        self._step, self._images = self._step + 1, images
        for name, value in losses.items():
            steps, values = self._losses.setdefault(name, ([], []))
            steps.append(self._step)
            values.append(_number(name, value))
        if self._step == 1 or (self._step % self.every == 0 and self._is_time()):
            self._draw()

    def finish(self) -> None:
        """Draws the final state, with its text in words below; a second call does nothing.

        Raises:
            CourseError: no step was made.
        """
        require(self._step > 0, "finish()", "at least one step() before it", "none")
        if not self._finished:
            self._draw(final=True)
            self._finished = True

    def film(self, seconds: float = 3.0, scale: int = 2) -> Animation:
        """Returns the images that were drawn, from the first to the last, as an animation of up to
        24 frames with its text; the first half, or less, of images that are too large for it.

        Args:
            seconds: from the first to the last frame.
            scale: how often each pixel is repeated along each side.

        Raises:
            CourseError: no images were drawn.
        """
        from course_utils.plotting.pictures import training_film

        if not self._frames:
            raise CourseError(
                "film(): expected a training that showed images, got none; give each step"
                " images=, a function that returns them."
            )
        steps, frames = zip(*self._frames)
        return training_film(frames, steps, seconds, scale)

    def _is_time(self) -> bool:
        # the first picture is slower than the others, so no single one decides
        cost = min(self._costs[-2:]) if len(self._costs) > 1 else 0.0
        return time.perf_counter() - self._drawn >= max(MIN_PAUSE, cost / MAX_SHARE)

    def _draw(self, final: bool = False) -> None:
        begin = time.perf_counter()
        self._keep_frame()
        if _in_notebook():
            self._display_view(final)
        else:
            last = ", ".join(
                f"{name} {values[-1]:.4g}" for name, (_, values) in self._losses.items()
            )
            print(f"{self._progress()}: {last}")
        self._drawn = time.perf_counter()
        self._costs.append(self._drawn - begin)

    def _keep_frame(self) -> None:
        """Draws the images of this step and keeps them, unless that was done."""
        if self._images is None or (self._frames and self._frames[-1][0] == self._step):
            return
        images = _drawn_images(self._images)
        if self._frames and images.shape != self._frames[0][1].shape:
            raise CourseError(
                f"images: expected the shape of the first ones, {list(self._frames[0][1].shape)},"
                f" got {list(images.shape)}; draw the same number at every step."
            )
        self._frames.append((self._step, images))
        if len(self._frames) > MAX_KEPT_FRAMES:
            # every second one leaves, neither the first nor the last
            self._frames = self._frames[::2]

    def _display_view(self, final: bool) -> None:
        from course_utils.plotting.canvas import attached_text
        from course_utils.plotting.pictures import training_view

        figure = training_view(
            self._losses,
            self._frames[-1][1] if self._frames else None,
            self._progress(),
            self.ylabel,
            window=max(1, self.num_steps // WINDOWS),
        )
        alt = attached_text(figure)
        picture, about = _picture(figure, alt) if final else _quick_picture(figure, alt)
        if self._handle is None:
            self._handle = _display(picture, about, display_id=True)
        else:
            self._handle.update(picture, metadata=about, raw=True)
        if final:
            _display_words(alt)

    def _progress(self) -> str:
        seconds = time.perf_counter() - self._start
        text = f"Step {self._step:,} of {self.num_steps:,}, {_duration(seconds)}"
        left = seconds / self._step * (self.num_steps - self._step)
        return f"{text}, about {_duration(left)} left" if left > 0 else text


def _number(name: str, value: Any) -> float:
    try:
        return float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CourseError(
            f"losses: expected one number for {name!r}, got {type(value).__name__} ({error}); take"
            " the mean over the batch."
        ) from error


def _drawn_images(draw: Callable[[], Tensor]) -> Tensor:
    """Returns what `draw` returns as uint8 `[N, C, H, W]`, without a trace in gradients or in the
    global generators.
    """
    import torch

    from course_utils.plotting.pictures import as_uint8

    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.no_grad(), torch.random.fork_rng(devices=gpus):
        images = draw()
    if not isinstance(images, torch.Tensor) or len(images) == 0:
        got = "none" if isinstance(images, torch.Tensor) else type(images).__name__
        raise CourseError(f"images: expected a tensor of images [N, C, H, W], got {got}.")
    try:
        return as_uint8(images)
    except CourseError as error:
        raise CourseError(f"images: {error}") from error


def _in_notebook() -> bool:
    """Returns whether a kernel runs this code, whose front end can show a picture."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _quick_picture(figure: Any, alt: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns what `_picture` returns, in less time and with more bytes."""
    from course_utils.plotting.canvas import FIGURE_DPI

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=FIGURE_DPI, pil_kwargs={"compress_level": 1})
    picture = {"image/png": base64.b64encode(stream.getvalue()).decode("ascii"), "text/plain": alt}
    width = round(figure.get_figwidth() * FIGURE_DPI)
    return picture, {"image/png": {"alt": alt, "width": width}}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


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


def _require_alt(alt: str | None, titles: tuple[str, ...]) -> None:
    advice = "say in a sentence what the picture shows"
    if not isinstance(alt, str) or len(alt.strip()) < MIN_ALT_CHARACTERS:
        raise CourseError(
            f"expected an alt text of at least {MIN_ALT_CHARACTERS} characters, got {alt!r};"
            f" {advice} (the figures of course_utils.plotting bring a text of their own)."
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
    for num_colors in (64, 256):  # the fewer the smaller, and finding them takes longest
        palette = image.quantize(
            num_colors, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
        )
        error = numpy.abs(numpy.asarray(palette.convert("RGB")).astype(numpy.int16) - pixels)
        # of 255 grey levels: below what one sees
        if error.mean() <= 1.0 and numpy.quantile(error, 0.999) <= 12:
            versions.append(palette)
            break
    return min((_png_bytes(version) for version in versions), key=len)


def _png_bytes(image: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
