"""Live models in one page: the shipped weights, the course's networks in JavaScript, no network."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors.numpy import load_file

from course_utils.base.errors import CourseError
from course_utils.base.files import course_root, write_text

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE.parent / "templates"  # of the site
SHARED_TEMPLATES = HERE.parent.parent / "course_utils" / "homework" / "templates"  # page.css
DATASET = "mnist"
# What the page runs: which shipped model, and the beginnings of the names of its weights there.
MODELS = {
    "plane": ("vae-latent2", ("decoder.",)),
    "vae": ("vae-conv", ("",)),  # the VAE of linear layers would take the page above 6 MB
    "gan": ("dcgan", ("generator.",)),
    "diffusion": ("diffusion", ("",)),
    "classifier": ("classifier", ("",)),
}


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
    weights = {key: packed_weights(name, parts) for key, (name, parts) in MODELS.items()}
    return environment.get_template("page.html").render(
        weights=weights,
        typical_nats=_card("vae-conv")["metrics"]["negative_elbo"]["value"],
        in_site=in_site,
    )


def packed_weights(name: str, parts: tuple[str, ...]) -> tuple[str, str]:
    """Returns what JavaScript's `readWeights` takes: as JSON the list of `[name, number of
    values]`, and as base64 the values in that order, little-endian float16.

    Args:
        name: of the shipped model, such as "vae-conv".
        parts: beginnings of the names of the weights that are wanted.

    Raises:
        CourseError: no such weights, or weights of another precision.
    """
    file = _folder(name) / "model.safetensors"
    if not file.is_file():
        raise CourseError(f"expected shipped weights at {file}, got none; restore that file.")
    arrays = {
        key: array
        for key, array in load_file(file).items()
        if key.startswith(parts) and not key.endswith("num_batches_tracked")
    }
    for key, array in arrays.items():
        if array.dtype != np.float16:
            raise CourseError(
                f"{file}: expected float16, got {array.dtype} in {key}; train it with --half."
            )
    entries = [[key, array.size] for key, array in arrays.items()]
    values = b"".join(array.astype("<f2").tobytes() for array in arrays.values())
    return json.dumps(entries), base64.b64encode(values).decode("ascii")


def _card(name: str) -> dict:
    return json.loads((_folder(name) / "experiment.json").read_text(encoding="utf-8"))


def _folder(name: str) -> Path:
    return course_root() / "course_utils" / "pretrained" / f"{name}-{DATASET}"
