"""Notebooks on sixty colour pictures of a reader's own, in two class folders."""

from __future__ import annotations

import pytest
from stand_ins import MATRIX, run_notebook, write_pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "pictures"
    write_pictures(folder)
    return folder


@pytest.mark.parametrize("notebook", MATRIX, ids=lambda path: path.stem)
def test_every_cell_runs(notebook, pictures):
    run_notebook(notebook, pictures.parent, f"folder:{pictures}", pictures.parent)
