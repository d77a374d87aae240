"""The first cell of every notebook and the badges of the README, both stamped from one address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Template

from course_utils.base.errors import CourseError

REPOSITORY = "https://github.com/generative-images/course"
BRANCH = "main"
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"


def _rendered(name: str, **values: Any) -> str:
    template = Path(__file__).parent / "templates" / name
    return Template(template.read_text(encoding="utf-8")).render(values)


BOOTSTRAP_TAG = "bootstrap"
BOOTSTRAP_CELL = _rendered("bootstrap_cell.py.jinja", repository=REPOSITORY)


def addresses_to_run(notebook: str) -> dict[str, str]:
    """Returns where a notebook of the repository can be run, by the name of the service."""
    project = REPOSITORY.removeprefix("https://github.com/")
    in_branch = f"{project}/blob/{BRANCH}/{notebook}"
    return {
        "Google Colab": f"https://colab.research.google.com/github/{in_branch}",
        "Kaggle": f"https://kaggle.com/kernels/welcome?src=https://github.com/{in_branch}",
        "Binder": f"https://mybinder.org/v2/gh/{project}/{BRANCH}?urlpath=lab/tree/{notebook}",
    }


def stamp_notebook(notebook: Any) -> bool:
    """Makes `BOOTSTRAP_CELL` the first code cell, in place; returns whether that changed anything.

    Raises:
        CourseError: the first code cell does not carry the tag "bootstrap".
    """
    cell = next((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), None)
    if cell is None or BOOTSTRAP_TAG not in cell["metadata"].get("tags", []):
        raise CourseError(
            f"expected a first code cell with the tag {BOOTSTRAP_TAG!r}, got none; "
            "add the tag to that cell's metadata."
        )
    changed = cell["source"] != BOOTSTRAP_CELL
    cell["source"] = BOOTSTRAP_CELL
    return changed


def stamp_readme(text: str) -> str:
    """Returns the README with its badges between `<!-- badges -->` and `<!-- /badges -->` renewed.

    Raises:
        CourseError: a marker is missing, doubled or out of order.
    """
    start, end = "<!-- badges -->", "<!-- /badges -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise CourseError(
            f"expected one {start} followed by one {end} in the README, got something else; "
            "write both, each on its own line."
        )
    badges = _rendered("badges.md.jinja", addresses=addresses_to_run(FIRST_NOTEBOOK))
    before, rest = text.split(start)
    return f"{before}{start}\n{badges}\n{end}{rest.split(end)[1]}"
