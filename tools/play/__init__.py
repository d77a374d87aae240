"""Live models in one page: the shipped weights, the course's networks in JavaScript, no network."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors.numpy import load_file

from course_utils.base.errors import CourseError
from course_utils.base.files import course_root, write_text

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE.parent / "templates"  # of the site
SHARED_TEMPLATES = HERE.parent.parent / "course_utils" / "homework" / "templates"  # page.css
# What the page runs: which shipped model, of which data, and the beginnings of the names of its
# weights there.
MODELS = {
    "plane": ("vae-latent2", "mnist", ("decoder.",)),
    "vae": ("vae-conv", "mnist", ("",)),  # the VAE of linear layers has five times the weights
    "gan": ("dcgan", "mnist", ("generator.",)),
    "diffusion": ("diffusion", "mnist", ("",)),
    "classifier": ("classifier", "mnist", ("",)),
    "caption": (
        "text-to-image",
        "captions",
        ("flow.", "codec.decoder.", "codec.mean", "codec.std"),
    ),
}
# Its weights are rounded to whole numbers from -31 to 31, times a scale for each row of a matrix:
# 6 bits for each in place of 16, without which the page would be larger than 6 MB.
ROUNDED = "caption"
LARGEST_WHOLE = 31
FEWEST_ROWS = 4  # a scale for each of fewer rows than this is no saving


def write_play(folder: Path, *, in_site: bool = False) -> Path:
    """Writes `play.html` into a folder and returns its path.

    Args:
        in_site: look for the site's other pages beside it, and link to them where they are.

    Raises:
        CourseError: shipped weights are missing, or are not float16.
    """
    target = folder / "play.html"
    write_text(target, play_page(in_site=in_site))
    return target


def play_page(*, in_site: bool = False) -> str:
    """Returns the page: HTML that loads nothing else, but for the list of the site's pages.

    Args:
        in_site: whether it asks for that list.

    Raises:
        CourseError: shipped weights are missing, or are not float16.
    """
    environment = Environment(
        loader=FileSystemLoader([HERE, TEMPLATES, SHARED_TEMPLATES]),
        autoescape=False,  # noqa: S701  every value below is the course's own
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    weights = {key: packed_weights(weights_of(key), rounded=key == ROUNDED) for key in MODELS}
    painter = _record("caption")["experiment"]["model"]
    return environment.get_template("page.html").render(
        weights=weights,
        typical_nats=_record("vae")["metrics"]["negative_elbo"]["value"],
        vocabulary=painter["vocabulary"],
        max_words=painter["max_words"],
        in_site=in_site,
    )


def weights_of(key: str) -> dict[str, np.ndarray]:
    """Returns the weights, float16, that the page has of a model, by their names in PyTorch.

    Args:
        key: one of `MODELS`.

    Raises:
        CourseError: no such weights, or weights of another precision.
    """
    file = _folder(key) / "model.safetensors"
    if not file.is_file():
        raise CourseError(f"expected shipped weights at {file}, got none; restore that file.")
    _, _, parts = MODELS[key]
    arrays = {
        name: array
        for name, array in load_file(file).items()
        if name.startswith(parts) and not name.endswith("num_batches_tracked")
    }
    for name, array in arrays.items():
        if array.dtype != np.float16:
            raise CourseError(
                f"{file}: expected float16, got {array.dtype} in {name}; train it with --half."
            )
    return arrays


def rounded_rows(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns whole numbers from -31 to 31, int8 `[M, K]`, and the scale of each row, float16
    `[M]`, whose product is nearest to an array `[M, ...]`.
    """
    rows = array.astype(np.float32).reshape(len(array), -1)
    scales = (np.abs(rows).max(1) / LARGEST_WHOLE).astype(np.float16)
    divisors = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.rint(rows / divisors[:, None]).astype(np.int8), scales


def packed_weights(arrays: dict[str, np.ndarray], *, rounded: bool) -> tuple[str, str]:
    """Returns what JavaScript's `readWeights` takes: as JSON the list of `[name, number of values,
    number of scales]`, and as base64 the compressed values: of all float16 the upper bytes, then
    the lower ones, which compresses better than pairs, then whole numbers of one byte.

    Args:
        arrays: float16, by name.
        rounded: whether matrices become whole numbers with a scale for each row; then
            `number of scales` is the number of rows, and 0 for all else.
    """
    entries, halves, wholes = [], [], []
    for name, array in arrays.items():
        if rounded and array.ndim > 1 and len(array) >= FEWEST_ROWS:
            numbers, scales = rounded_rows(array)
            entries.append([name, numbers.size, len(scales)])
            halves.append(scales)
            wholes.append(numbers.tobytes())
        else:
            entries.append([name, array.size, 0])
            halves.append(array.ravel())
    pairs = np.concatenate(halves).astype("<f2").view(np.uint8)
    packed = zlib.compress(pairs[1::2].tobytes() + pairs[::2].tobytes() + b"".join(wholes), 9)
    return json.dumps(entries), base64.b64encode(packed).decode("ascii")


def _record(key: str) -> dict:
    return json.loads((_folder(key) / "experiment.json").read_text(encoding="utf-8"))


def _folder(key: str) -> Path:
    name, dataset, _ = MODELS[key]
    return course_root() / "course_utils" / "pretrained" / f"{name}-{dataset}"
