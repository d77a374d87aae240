"""The homework's notebooks: the rules of the course's notebooks that apply to a form to be filled
in.
"""

from __future__ import annotations

import re

import nbformat
import pytest
from course.test_notebooks import (
    ROOT,
    code_cells,
    num_lines,
    own_cells,
    test_headings_do_not_skip_a_level,
    test_links_to_files_lead_somewhere,
    test_outputs_are_there_fresh_and_clean,
    words,
)

from course_utils.homework.parameters import FAMILIES
from course_utils.homework.pictures import FAMILY_PICTURES
from tools.bootstrap import BOOTSTRAP_CELL

NAMES = (*FAMILIES, "report")
# pytest runs these here too, on the notebooks of this folder.
SHARED = (
    test_headings_do_not_skip_a_level,
    test_links_to_files_lead_somewhere,
    test_outputs_are_there_fresh_and_clean,
)


@pytest.fixture(scope="module", params=NAMES)
def path(request):
    return ROOT / "homework" / f"{request.param}.ipynb"


@pytest.fixture(scope="module")
def notebook(path):
    return nbformat.read(path, as_version=4)


def test_there_are_no_others():
    assert {path.stem for path in (ROOT / "homework").glob("*.ipynb")} == set(NAMES)


def test_bootstrap_cell_comes_first(notebook):
    assert code_cells(notebook)[0].source == BOOTSTRAP_CELL


def test_they_are_short(notebook):
    nbformat.validate(notebook)
    assert max(num_lines(cell) for cell in own_cells(notebook)) <= 5
    assert sum(words(cell.source) for cell in notebook.cells if cell.cell_type == "markdown") <= 450


def test_nothing_is_filled_in(notebook, path):
    if path.stem == "report":
        return
    source = "\n".join(cell.source for cell in own_cells(notebook))
    assert f'open_homework("{path.stem}")' in source and "changes = {}" in source
    assert re.findall(r'(\w+) = """\n"""', source) == ["prediction", "observation", "explanation"]
    shown = set(re.findall(r'hw\.show\("([\w-]+)"\)', source))
    assert shown == {"curves", "samples", *FAMILY_PICTURES[path.stem]}
