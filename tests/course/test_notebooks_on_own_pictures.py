"""Notebooks on sixty colour pictures of a reader's own, in two class folders."""

from __future__ import annotations

import pytest
from materials import PROJECT
from stand_ins import MATRIX, run_notebook, write_pictures

# shows as many real images as drawn ones, though there are few of both
COMPARISON = PROJECT / "notebooks" / "09_comparison_and_memorization.ipynb"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "pictures"
    write_pictures(folder)
    return folder


@pytest.mark.parametrize("notebook", [*MATRIX, COMPARISON], ids=lambda path: path.stem)
def test_every_cell_runs(notebook, pictures):
    run_notebook(notebook, pictures.parent, f"folder:{pictures}", pictures.parent)
