"""The first cell of every notebook, and the repository's address.

The address stands here and nowhere else: the bootstrap cell and the README's badges are stamped from it.
"""

from __future__ import annotations

from typing import Any

from course_utils.base.errors import CourseError

REPOSITORY = "https://github.com/generative-images/course"
BRANCH = "main"
FIRST_NOTEBOOK = "notebooks/00_start_here.ipynb"

BOOTSTRAP_TAG = "bootstrap"
BOOTSTRAP_CELL = f'''\
# Finds the course above this folder (on Colab: clones it once), so that `course_utils` can be imported.
import os, pathlib, subprocess, sys, tempfile
marker, here = "course_utils/notebook.py", pathlib.Path.cwd()
root = next((folder for folder in (here, *here.parents) if (folder / marker).is_file()), None)
if root is None and "google.colab" in sys.modules:
    root = pathlib.Path(os.environ.get("COURSE_DIR", "/content/course"))
    if not (root / marker).is_file():  # clone beside it, then rename: a clone that was cut short is never used
        repository, fresh = os.environ.get("COURSE_REPO", "{REPOSITORY}"), tempfile.mkdtemp(dir=root.parent)
        if subprocess.run(["git", "clone", "--quiet", "--depth", "1", repository, fresh]).returncode:
            raise ConnectionError(f"Could not clone {{repository}}. Check the internet connection, then run this cell again.")
        if root.exists(): root.rename(fresh + "-old")
        root = pathlib.Path(fresh).rename(root)
if root is None:
    raise ImportError("Cannot find the folder course_utils. Open this notebook inside the folder of the course, or on Colab.")
sys.path.insert(0, str(root))
from course_utils.notebook import setup; setup()'''


def stamp_notebook(notebook: Any) -> bool:
    """Returns whether the bootstrap cell of a notebook had to be changed; it is `BOOTSTRAP_CELL` afterwards.

    Args:
        notebook: an nbformat 4 notebook; it is changed in place.

    Raises:
        CourseError: the first code cell does not carry the tag "bootstrap".
    """
    cell = next((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), None)
    if cell is None or BOOTSTRAP_TAG not in cell["metadata"].get("tags", []):
        raise CourseError(f"expected a first code cell with the tag {BOOTSTRAP_TAG!r}, got none; add the tag to that cell's metadata.")
    if cell["source"] == BOOTSTRAP_CELL:
        return False
    cell["source"] = BOOTSTRAP_CELL
    return True


def badges() -> str:
    """Returns the Markdown of the Colab and the Binder badge."""
    project = REPOSITORY.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{project}/blob/{BRANCH}/{FIRST_NOTEBOOK}"
    binder = f"https://mybinder.org/v2/gh/{project}/{BRANCH}?urlpath=lab/tree/{FIRST_NOTEBOOK}"
    return (
        f"[![Open the course in Google Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n"
        f"[![Open the course on Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )


def stamp_readme(text: str) -> str:
    """Returns the README with the block between `<!-- badges -->` and `<!-- /badges -->` written anew.

    Raises:
        CourseError: a marker is missing, doubled or out of order.
    """
    start, end = "<!-- badges -->", "<!-- /badges -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise CourseError(f"expected one {start} followed by one {end} in the README, got something else; write both, each on its own line.")
    before, rest = text.split(start)
    return f"{before}{start}\n{badges()}\n{end}{rest.split(end)[1]}"
