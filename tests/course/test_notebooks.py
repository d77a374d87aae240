"""The rules that every notebook of the course keeps: size, rhythm, bootstrap, outputs, alt texts,
headings, links.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from pathlib import Path
from statistics import median

import nbformat
import pytest

from tools.bootstrap import BOOTSTRAP_CELL, BOOTSTRAP_TAG
from tools.notebook_files import stale_cells

ROOT = Path(__file__).resolve().parent.parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 1_000_000
PICTURES = {"image/png", "image/gif"}
MAX_IMPORT_LINES = 8


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def own_cells(notebook) -> list:
    return [
        cell for cell in code_cells(notebook) if BOOTSTRAP_TAG not in cell.metadata.get("tags", [])
    ]


def num_lines(cell) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def words(text: str) -> int:
    return len(re.sub(r"<[^>]+>|https?://\S+", " ", text).split())


def test_there_are_notebooks():
    assert {path.stem[:2] for path in PATHS} >= {"00", "04"}


def test_bootstrap_cell_is_the_same_everywhere(notebook):
    first = code_cells(notebook)[0]
    assert first.source == BOOTSTRAP_CELL
    assert BOOTSTRAP_TAG in first.metadata.tags


def test_size(notebook, path):
    nbformat.validate(notebook)
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    lines = sum(num_lines(cell) for cell in code_cells(notebook))
    assert 25 <= len(text) <= 45, f"{len(text)} markdown cells"
    assert 20 <= len(code_cells(notebook)) <= 35, f"{len(code_cells(notebook))} code cells"
    assert 2000 <= sum(map(words, text)) <= 3000, f"{sum(map(words, text))} words"
    assert 150 <= lines <= 620, f"{lines} lines of code"
    assert path.stat().st_size <= MAX_BYTES


def test_cells_are_short(notebook):
    sizes = [num_lines(cell) for cell in own_cells(notebook)]
    assert median(sizes) <= 19
    assert max(sizes) <= 45
    assert (
        max(len(line) for cell in code_cells(notebook) for line in cell.source.splitlines()) <= 100
    )


def test_first_picture_comes_early(notebook):
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            count += words(cell.source)
        elif any(set(output.get("data", {})) & PICTURES for output in cell.outputs):
            break
    assert count <= 250, f"{count} words before the first computed picture"


def test_names_come_through_the_doors(notebook):
    """The library's names are had in at most eight lines, in the first cell that imports any."""
    sources = [cell.source.splitlines() for cell in own_cells(notebook)]
    imports = [
        [line for line in lines if re.match(r"(from|import) course_utils", line)]
        for lines in sources
    ]
    assert max(map(len, imports)) <= MAX_IMPORT_LINES


def test_a_fifth_of_the_cells_are_exercises(notebook):
    cells = own_cells(notebook)
    exercises = [cell for cell in cells if "exercise" in cell.metadata.get("tags", [])]
    assert all("check(" in cell.source and "..." in cell.source for cell in exercises)
    assert 0.13 <= len(exercises) / len(cells) <= 0.27, f"{len(exercises)} of {len(cells)}"


def test_outputs_are_there_fresh_and_clean(notebook):
    assert stale_cells(notebook) == []
    assert "widgets" not in notebook.metadata
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            printed = str(output.get("text", "")) + str(
                output.get("data", {}).get("text/plain", "")
            )
            assert not re.search(r"(?<![\w.~])/(root|home|work|tmp|Users)/", printed), (
                "a path of one machine"
            )


def test_most_cells_end_in_something_to_see(notebook):
    cells = own_cells(notebook)
    assert sum(bool(cell.outputs) for cell in cells) >= 0.8 * len(cells)


def test_figures_go_through_show_with_an_alt_text(notebook):
    for cell in code_cells(notebook):
        assert (
            "plt.show" not in cell.source and "%" != cell.source[:1] and "!pip" not in cell.source
        )
        for call in (
            node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)
        ):
            if getattr(call.func, "id", "") == "show":
                assert "alt" in {keyword.arg for keyword in call.keywords} or len(call.args) == 2, (
                    cell.source
                )
        for output in cell.outputs:
            for tag in re.findall(r"<img[^>]*>", output.get("data", {}).get("text/html", "")):
                assert re.search(r'alt="[^"]{15,}"', tag)
            for kind in set(output.get("data", {})) & PICTURES:
                alt = output.metadata.get(kind, {}).get("alt", "")
                assert len(alt) >= 15, f"a figure that show() did not make: {cell.source}"


def test_headings_do_not_skip_a_level(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    levels = [
        len(marks)
        for marks in re.findall(
            r"^(#{1,6}) ", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M
        )
    ]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in zip(levels, levels[1:]))


def test_links_to_files_lead_somewhere(notebook, path):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)", cell.source):
                assert target.startswith("http") or (path.parent / target).exists(), target


def test_functions_read_only_their_arguments(notebook):
    source = "\n".join(cell.source for cell in own_cells(notebook))
    tree = ast.parse(source)
    known = set(dir(builtins))
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            known.add(node.name)

    def check(table) -> None:
        if table.get_type() == "function":
            used = {
                symbol.get_name()
                for symbol in table.get_symbols()
                if symbol.is_global() and symbol.is_referenced()
            }
            assert used <= known, f"{table.get_name()} reads {sorted(used - known)} from outside"
        for child in table.get_children():
            if child.get_name() not in ("listcomp", "genexpr", "dictcomp", "setcomp", "lambda"):
                check(child)

    check(symtable.symtable(source, "notebook", "exec"))


def test_notebook_does_not_define_what_the_package_owns(notebook):
    owned = set()
    for module in (ROOT / "course_utils").rglob("*.py"):
        if "exercises" not in module.parts:
            owned |= {
                node.name
                for node in ast.parse(module.read_text()).body
                if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            }
    tree = ast.parse("\n".join(cell.source for cell in own_cells(notebook)))
    defined = {
        node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    assert not defined & owned
