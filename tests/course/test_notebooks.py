"""The rules that every notebook of the course keeps: size, rhythm, bootstrap, outputs, alt texts,
headings, links.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from pathlib import Path

import nbformat
import pytest

from tools.bootstrap import BOOTSTRAP_CELL, BOOTSTRAP_TAG
from tools.notebook_files import stale_cells

ROOT = Path(__file__).resolve().parent.parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 1_000_000
PICTURES = {"image/png", "image/gif"}
MAX_IMPORT_LINES = 8
# Every notebook has a core, and sections that may be skipped.
DEEPER, FIGURE = "◆", "figure"
CORE_MINUTES = {"00": (40, 55)}  # of most notebooks: 45 to 60


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


def by_section(notebook) -> list[tuple[str, list]]:
    """Returns the second-level headings and the cells below each; the cells above the first one
    stand under an empty heading.
    """
    found = [("", [])]
    for cell in notebook.cells:
        pieces = [cell.source]
        if cell.cell_type == "markdown":
            pieces = re.split(r"^(?=## )", cell.source, flags=re.M)
        for piece in filter(str.strip, pieces):
            if cell.cell_type == "markdown" and piece.startswith("## "):
                found.append((piece.splitlines()[0], []))
            found[-1][1].append(nbformat.from_dict({**cell, "source": piece}))
    return found


def core_cells(notebook) -> list:
    return [cell for title, cells in by_section(notebook) if DEEPER not in title for cell in cells]


def is_read(cell) -> bool:
    """Whether a reader has to read a code cell: not the first one, nor one that only draws."""
    tags = cell.metadata.get("tags", [])
    return cell.cell_type == "code" and BOOTSTRAP_TAG not in tags and FIGURE not in tags


def test_core_is_short_enough_to_be_read(notebook, path):
    nbformat.validate(notebook)
    cells = core_cells(notebook)
    text = sum(words(cell.source) for cell in cells if cell.cell_type == "markdown")
    whole = sum(words(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    assert text <= 2600 and whole <= 3600, f"{text} words in the core, {whole} in all"
    lines = sum(map(num_lines, filter(is_read, cells)))
    assert lines <= 250, f"{lines} lines of code to read in the core"
    assert path.stat().st_size <= MAX_BYTES


def test_a_cell_that_is_read_holds_one_idea(notebook):
    for cell in filter(is_read, notebook.cells):
        assert num_lines(cell) <= 12, cell.source
        assert max(map(len, cell.source.splitlines())) <= 100
    for cell in own_cells(notebook):
        if not is_read(cell):
            assert num_lines(cell) <= 20, cell.source
            assert cell.metadata.get("jupyter", {}).get("source_hidden"), cell.source


def test_sections_are_numbered_and_timed(notebook, path):
    titles = [title for title, _ in by_section(notebook) if title]
    numbers = [int(re.match(r"## (\d+) ", title).group(1)) for title in titles]
    assert numbers == list(range(1, len(titles) + 1))
    minutes = {title: re.findall(r"\((\d+) min", title) for title in titles}
    core = sum(int(found[0]) for title, found in minutes.items() if found and DEEPER not in title)
    least, most = CORE_MINUTES.get(path.stem[:2], (45, 60))
    assert least <= core <= most, f"{core} minutes"
    assert all(found for title, found in minutes.items() if DEEPER in title)


def test_deeper_sections_may_be_skipped(notebook):
    """The core uses no name that only a deeper section defines."""
    assigned: set[str] = set()
    for cell in core_cells(notebook):
        if cell.cell_type == "code":
            assigned |= names_bound(ast.parse(cell.source))
    for title, cells in by_section(notebook):
        if DEEPER in title:
            sources = [cell.source for cell in cells if cell.cell_type == "code"]
            own = set().union(*(names_bound(ast.parse(source)) for source in sources))
            for name in own - assigned:
                uses = [
                    cell.source
                    for cell in core_cells(notebook)
                    if cell.cell_type == "code" and name in names_read(ast.parse(cell.source))
                ]
                assert not uses, f"the core reads {name}, which only {title!r} defines"


def names_bound(tree: ast.AST) -> set[str]:
    """Returns the global names that a cell defines."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return found


def names_read(tree: ast.AST) -> set[str]:
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def test_what_the_learner_writes_is_used(notebook):
    """Each exercise's answer comes back through `yours`, or as a guess that is judged."""
    sources = [cell.source for cell in own_cells(notebook)]
    text = "\n".join(sources)
    fetched = set(re.findall(r"\d\d\.\w+", " ".join(re.findall(r"yours\([^)]*\)", text))))
    for cell in own_cells(notebook):
        if "exercise" in cell.metadata.get("tags", []) and "def " in cell.source:
            names = re.findall(r'check\("(\d\d\.\w+)"', cell.source)
            assert set(names) <= fetched, f"{names} is written and never used"


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


def test_there_are_exercises(notebook):
    cells = own_cells(notebook)
    exercises = [cell for cell in cells if "exercise" in cell.metadata.get("tags", [])]
    assert all("check(" in cell.source and "..." in cell.source for cell in exercises)
    assert 3 <= len(exercises) <= 15


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
    # a class that is built in view has nothing to show yet
    assert sum(bool(cell.outputs) for cell in cells) >= 0.6 * len(cells)


def test_figures_go_through_show_with_an_alt_text(notebook):
    for cell in code_cells(notebook):
        assert (
            "plt.show" not in cell.source and "%" != cell.source[:1] and "!pip" not in cell.source
        )
        for call in (
            node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)
        ):
            if getattr(call.func, "id", "") == "show":
                assert call.args, cell.source
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
        elif isinstance(node, ast.Assign):
            # the learner's parts, and constants
            bound = names_bound(node)
            call = node.value.func if isinstance(node.value, ast.Call) else None
            known |= {
                name for name in bound if name.isupper() or getattr(call, "id", "") == "yours"
            }

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
    written = [
        cell.source
        for cell in own_cells(notebook)
        if "exercise" not in cell.metadata.get("tags", [])
    ]  # an exercise is where the learner writes what the package has too
    tree = ast.parse("\n".join(written))
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert not defined & owned  # methods may be called as they like: `sample`, `encode`
