"""What every figure of the course has in common: its colours and sizes, an empty canvas, and
animations of bounded size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from course_utils.base.config import require
from course_utils.base.errors import CourseError, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType
    from PIL.Image import Image
    from torch import Tensor

# Okabe and Ito (2008), "Color Universal Design". Black comes last, so that the first lines of a
# plot are coloured.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
DIVERGING = "RdBu_r"  # ColorBrewer's; readable with every common colour blindness

FIGURE_DPI = 100  # a figure of 7 inches is shown 700 px wide ...
# ... and stored with more pixels than that, so that it stays sharp on dense screens
SAVED_DPI = 140

RC_PARAMS: dict[RcKeyType, Any] = {
    "figure.dpi": FIGURE_DPI,
    "savefig.dpi": SAVED_DPI,
    "figure.figsize": (7.0, 4.0),
    "figure.facecolor": "white",
    "figure.max_open_warning": 0,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}


def apply_style() -> None:
    """Sets matplotlib's defaults to the look of the course, for this process."""
    import matplotlib
    from matplotlib.rcsetup import cycler

    matplotlib.rcParams.update(RC_PARAMS)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=OKABE_ITO)


WIDTH = 7.0  # inches; 700 px in a notebook
ALT_ATTRIBUTE = "alt_text"  # of a Figure (see `describe`) and of an Animation


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Returns an empty figure, `width` by `height` inches, that leaves room for every label."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def describe(figure: Figure, text: str | Callable[[], str]) -> Figure:
    """Attaches an alt text to a figure, as its attribute `alt_text`, and returns the figure.

    The functions of this package call it with the numbers that they have just drawn, so that the
    text cannot differ from the picture; `course_utils.notebook.show` reads it with
    `attached_text`. A second call replaces the text of the first.

    Args:
        text: one or two sentences; or a function that reads them from the figure, which is called
            when the text is needed, so that the text knows a label that was changed in between.

    Raises:
        CourseError: no text.
    """
    if isinstance(text, str):
        text = " ".join(text.split())
        require(bool(text), "text", "a sentence that says what the figure shows", "nothing")
    setattr(figure, ALT_ATTRIBUTE, text)  # a plain attribute, which matplotlib leaves alone
    return figure


def attached_text(picture: Any) -> str:
    """Returns the alt text that a figure or an animation carries, "" where it carries none."""
    text: Any = getattr(picture, ALT_ATTRIBUTE, "")
    return text if isinstance(text, str) else " ".join(text().split())


MIME_TYPES = {"png": "image/png", "gif": "image/gif"}
LAST_FRAME_SECONDS = 1.5
MIN_FRAMES = 3


@dataclass(frozen=True)
class Animation:
    """An animated picture.

    Attributes:
        data: the file's bytes.
        mime_type: "image/png" (animated PNG) or "image/gif".
        num_frames: that it holds; fewer than were given where the size had to shrink.
        width, height: in pixels.
        alt_text: what it shows, in words.
    """

    data: bytes
    mime_type: str
    num_frames: int
    width: int
    height: int
    alt_text: str = ""


def animate(
    frames: Sequence[Tensor],
    seconds: float = 3.0,
    *,
    scale: int = 2,
    kind: str = "png",
    max_bytes: int = 250_000,
) -> Animation:
    """Returns frames as one animation that starts again for ever; every second frame is left out
    until it is small enough.

    Args:
        frames: uint8 `[C, H, W]` with 1 or 3 channels, all of one shape, at least 3.
        seconds: from the first to the last frame, which stays 1.5 s longer.
        scale: how often each pixel is repeated along each side, at least 1.
        kind: "png" or "gif".
        max_bytes: the largest file allowed.

    Raises:
        CourseError: frames of another kind or of different shapes, or a size that cannot be
            reached.
    """
    if kind not in MIME_TYPES:
        raise unknown("kind of animation", kind, MIME_TYPES)
    require(scale >= 1, "scale", "at least 1", scale)
    require(seconds > 0, "seconds", "more than 0", seconds)
    pictures = [_picture(frame, scale) for frame in frames]
    sizes = {(picture.size, picture.mode) for picture in pictures}
    enough = len(pictures) >= MIN_FRAMES and len(sizes) == 1
    require(
        enough,
        "frames",
        f"at least {MIN_FRAMES} of one shape",
        f"{len(pictures)} of {len(sizes)} shapes",
    )
    while len(pictures) >= MIN_FRAMES:
        data = _encode(pictures, seconds, kind)
        if len(data) <= max_bytes:
            width, height = pictures[0].size
            text = (
                f"Animation of {len(pictures)} frames, {width} by {height} pixels, {seconds:g} s"
                " from the first to the last one."
            )
            return Animation(data, MIME_TYPES[kind], len(pictures), width, height, text)
        # the last frame is the result: it stays
        pictures = pictures[:-1:2] + pictures[-1:] if len(pictures) > MIN_FRAMES else []
    raise CourseError(
        f"max_bytes: expected room for {MIN_FRAMES} frames, got {max_bytes:,}; show fewer or"
        " smaller images, or raise max_bytes."
    )


def still_frames(frames: Sequence[Tensor], num: int = 6) -> list[Tensor]:
    """Returns `num` frames evenly spread, the first and the last among them: what stands beside an
    animation in print.
    """
    require(num >= 2, "num", "at least 2", num)
    return [frames[round(index * (len(frames) - 1) / (num - 1))] for index in range(num)]


def _picture(frame: Tensor, scale: int) -> Image:
    import torch
    from PIL import Image

    if (
        not isinstance(frame, torch.Tensor)
        or frame.dtype != torch.uint8
        or frame.ndim != 3
        or frame.shape[0] not in (1, 3)
    ):
        got = (
            f"{frame.dtype} {list(frame.shape)}"
            if isinstance(frame, torch.Tensor)
            else type(frame).__name__
        )
        raise CourseError(
            f"frames: expected uint8 [C, H, W] with 1 or 3 channels, got {got};"
            " course_utils.plotting.diffusion.sheets makes them."
        )
    picture = Image.fromarray(frame.cpu().permute(1, 2, 0).squeeze(-1).numpy())
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def _encode(pictures: list[Image], seconds: float, kind: str) -> bytes:
    pause = 1000 * seconds / (len(pictures) - 1)  # milliseconds
    durations = [pause] * (len(pictures) - 1) + [1000 * LAST_FRAME_SECONDS]
    stream = io.BytesIO()
    if kind == "gif":
        pictures[0].save(
            stream,
            "GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            optimize=True,
        )
    else:  # the picture that is saved first is the still one and no frame of the animation
        pictures[-1].save(
            stream,
            "PNG",
            save_all=True,
            default_image=True,
            append_images=pictures,
            duration=durations,
            loop=0,
            optimize=True,
        )
    return stream.getvalue()
