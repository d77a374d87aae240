"""Measured tables that ship: they are read, they name their machine, and one that is not there is
told.
"""

from __future__ import annotations

import pytest

from course_utils.base.errors import CourseError
from course_utils.studies.compare import TABLES, shipped_comparison, shipped_datasets, shipped_rows

ROWS = sorted(TABLES.glob("*.jsonl"))
COMPARISONS = sorted(TABLES.glob("*.json"))


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_rows_name_their_dataset_and_machine(path):
    name, dataset = path.stem.rsplit("-", 1)
    rows = shipped_rows(name, dataset)
    assert rows and {row["dataset"] for row in rows} == {dataset}
    assert all(row["machine"] for row in rows)


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda path: path.stem)
def test_comparisons_have_every_family_with_every_seed(path):
    found = shipped_comparison(path.stem.rsplit("-", 1)[1])
    assert found.protocol["budget"] == "laptop"
    assert [(row["family"], row["seed"]) for row in found.rows] == [
        (family, seed) for seed in range(3) for family in found.families
    ]
    assert "FID" in found.metrics and found.floor("FID") is not None


def test_an_unknown_table_lists_those_there_are():
    with pytest.raises(CourseError, match="shipped table"):
        shipped_rows("inverse", "nothing")


def test_the_datasets_of_a_table_are_those_that_can_be_read(monkeypatch, tmp_path):
    for name in (
        "compare-strokes.json",
        "compare-mnist.json",
        "compared-other.json",
        "inverse-strokes.jsonl",
    ):
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr("course_utils.studies.compare.TABLES", tmp_path)
    assert shipped_datasets("compare") == ["mnist", "strokes"]
    assert shipped_datasets("inverse") == ["strokes"] and shipped_datasets("nothing") == []


def test_every_table_is_described():
    text = (TABLES / "README.md").read_text(encoding="utf-8")
    for path in ROWS + COMPARISONS:
        assert f"`{path.stem.rsplit('-', 1)[0]}-" in text
