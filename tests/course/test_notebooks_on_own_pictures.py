"""Notebooks on sixty colour pictures of a reader's own, in two class folders."""

from __future__ import annotations

import pytest
from materials import PROJECT
from stand_ins import MATRIX, run_notebook, write_pictures

# shows as many real images as drawn ones, though there are few of both
COMPARISON = PROJECT / "notebooks" / "09_comparison_and_memorization.ipynb"
TEXT_TO_IMAGE = PROJECT / "notebooks" / "11_text_to_image.ipynb"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "pictures"
    write_pictures(folder)
    return folder


@pytest.mark.parametrize("notebook", [*MATRIX, COMPARISON], ids=lambda path: path.stem)
def test_every_cell_runs(notebook, pictures):
    run_notebook(notebook, pictures.parent, f"folder:{pictures}", pictures.parent)


def test_text_to_image_runs_on_pictures_with_captions(tmp_path):
    folder = tmp_path / "pictures"
    write_pictures(folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    rows = [f'{name},"A {name.split("/")[0][:-1]}, coloured"' for name in names]
    (folder / "captions.csv").write_text("\n".join(["file,caption", *rows]), encoding="utf-8")
    run_notebook(TEXT_TO_IMAGE, tmp_path, f"folder:{folder}", tmp_path)
