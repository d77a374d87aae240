"""Notebooks on a dataset of MNIST's shape for which no weights ship. The notebooks on strokes are
tests themselves (`testpaths`); this file and the next one are apart so that both cores have one.
"""

from __future__ import annotations

import pytest
from stand_ins import MATRIX, run_notebook, write_fashion

# 00 and the homework run on a reader's own pictures, where fewer things are given
NEED_CLASSES = [path for path in MATRIX if path.name[:2] in ("01", "04", "06", "07", "10")]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_fashion(root)
    return root


@pytest.mark.parametrize("notebook", NEED_CLASSES, ids=lambda path: path.stem)
def test_every_cell_runs(notebook, data_root):
    run_notebook(notebook, data_root, "fashion", data_root)
