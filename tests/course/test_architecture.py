"""The shape of the house: who imports whom, small files, documented doors. Read off the source with `ast`, nothing is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
PACKAGE = PROJECT / "course_utils"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_LINE_LENGTH = 220, 45, 150

# From the bottom up. A module imports from its own layer or from lower ones; a package stands for everything in it.
LAYERS = [
    ["errors"],
    ["files", "config", "device", "style"],
    ["images", "schedules", "image_noise"],
    ["targets", "sampling_steps", "guidance", "descent"],
    ["sampling"],
    ["inverse"],
    ["data", "models"],
    ["history", "training_config", "evaluation"],
    ["training_state", "training_meter", "training", "presets"],
    ["model_card", "checkpoint"],
    ["evaluate_likelihood"],
    ["experiment", "evaluate", "image_source", "recovery", "outliers", "synthetic", "applications"],
    ["compare_table", "copy_judge"],
    ["protocol", "shipped_tables"],
    ["audits"],
    ["sweep_rows", "sweep_progress", "sweep_run", "sweep_workers", "sweep", "compare"],
    ["homework"],
    ["cli_images", "cli_recover", "cli_compare", "cli_homework"],
    ["cli"],
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
# What measures and draws takes tensors and rows, never a training or a file of weights.
DIFFUSION_MATHS = {"schedules", "targets", "sampling_steps", "sampling", "guidance", "image_noise", "bound", "mixture"}
NO_TRAINING = {"metrics", "plotting", "inverse", "models", "data"} | DIFFUSION_MATHS
TRAINING = {"training", "training_meter", "training_state", "checkpoint", "experiment", "evaluate", "image_source", "synthetic", "homework"}
TRAINING |= {"copy_judge", "protocol", "audits", "sweep", "sweep_run", "sweep_workers"}
TRAINING |= {"cli_images", "cli_recover", "cli_compare", "cli_homework", "cli"}


def part_of(path: Path) -> str:
    """Returns the first name below the package: "vae.py" in "models/" belongs to "models"."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> set[str]:
    """Returns dotted names of all modules that are imported anywhere in a file, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if module in ("course_utils", "") else {module}
    return names


def parts_imported(path: Path) -> set[str]:
    """Returns the parts of the package that a file imports, itself left out."""
    parts = {name.split(".")[1] for name in imports(TREES[path]) if name.startswith("course_utils.")}
    return parts - {part_of(path), "__version__"}


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


each_file = pytest.mark.parametrize("path", FILES, ids=name_of)


def test_layers_name_modules_that_exist():
    there = {part_of(path) for path in FILES}
    later = {"homework", "inverse", "metrics", "plotting", "widgets"}  # other issues write these
    assert set(LEVELS) <= there | later


@each_file
def test_imports_point_one_way(path):
    level = LEVELS.get(part_of(path))
    upward = {part for part in parts_imported(path) if level is not None and LEVELS.get(part, -1) > level}
    assert not upward, f"{name_of(path)} imports {sorted(upward)}, which stand above it"


@each_file
def test_what_measures_and_draws_knows_no_training(path):
    if part_of(path) in NO_TRAINING:
        assert not parts_imported(path) & TRAINING


def test_diffusion_maths_knows_no_model():
    """Samplers, schedules and the bound take any denoiser; the exact ones of the tests are no models."""
    for path in FILES:
        if part_of(path) in DIFFUSION_MATHS:
            assert not parts_imported(path) & {"models", "data", "metrics", "plotting"}, name_of(path)


def test_metrics_know_no_models_and_no_files():
    for path in FILES:
        if part_of(path) == "metrics":
            assert not parts_imported(path) & {"files", "data"}, name_of(path)


@each_file
def test_only_the_widgets_import_ipywidgets(path):
    roots = {name.split(".")[0] for name in imports(TREES[path])}
    assert "ipywidgets" not in roots or part_of(path) == "widgets"
    assert not roots & {"notebooks", "tests", "benchmarks"}


def test_nothing_below_a_notebook_imports_widgets_or_the_command_line():
    users = {name_of(path) for path in FILES if parts_imported(path) & {"widgets", "cli"}}
    assert users == set()


@each_file
def test_files_and_functions_are_small(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_FILE_LINES
    assert max(map(len, lines), default=0) <= MAX_LINE_LENGTH
    for node in ast.walk(TREES[path]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines without its docstring"


def docstring_lines(node: ast.AST) -> int:
    if ast.get_docstring(node) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1


@each_file
def test_no_star_imports_and_no_drawer_for_everything(path):
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}
    stars = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.ImportFrom) for alias in node.names if alias.name == "*"]
    assert not stars


@each_file
def test_nothing_runs_at_import(path):
    """A module's top level defines names; it calls no function for its effect (the command line's last line aside)."""
    calls = [node for node in TREES[path].body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    loops = [node for node in TREES[path].body if isinstance(node, (ast.For, ast.While, ast.With))]
    assert calls == [] and loops == []


def public(tree: ast.Module):
    """Yields public functions and classes at the top level, and the public methods of the classes."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                        yield f"{node.name}.{method.name}", method


# The functions of these files are the learner's own: an exercise's question says what each has to return.
EXERCISES = sorted(PACKAGE.glob("checks/nb*.py"))


def needs_docstring(node: ast.AST) -> bool:
    """A property of one line is its own description."""
    decorators = {decorator.id for decorator in getattr(node, "decorator_list", []) if isinstance(decorator, ast.Name)}
    return not ("property" in decorators and len(node.body) == 1)


@each_file
def test_public_names_are_documented(path):
    assert ast.get_docstring(TREES[path]), "a file begins with what it is for"
    if path in EXERCISES:
        return
    bare = [name for name, node in public(TREES[path]) if needs_docstring(node) and not ast.get_docstring(node)]
    assert bare == []


def from_papers() -> list[Path]:
    """Files that hold what a paper defines: model families, samplers and metrics. Plumbing beside them is left out."""
    plumbing = {"__init__", "base", "blocks", "classifier", "features", "result", "guards", "sampling", "image_noise"}
    return [path for path in FILES if part_of(path) in {"models", "metrics"} | DIFFUSION_MATHS and path.stem not in plumbing]


@pytest.mark.parametrize("path", from_papers(), ids=name_of)
def test_what_comes_from_a_paper_names_it(path):
    assert "Source:" in path.read_text(encoding="utf-8")


def test_the_list_of_papers_is_not_empty():
    assert "vae" in {path.stem for path in from_papers()}


def test_ruff_is_content():
    result = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=PROJECT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
