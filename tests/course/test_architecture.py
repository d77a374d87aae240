"""The shape of the house: rooms and the direction of imports, documented names, tidy and typed
code. One case for each tool.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
PACKAGE = PROJECT / "course_utils"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
ROOMS = {
    "base", "data", "models", "metrics", "inverse", "plotting", "widgets",
    "training", "studies", "exercises", "homework", "cli",
}  # fmt: skip
# 130 and those that came since, each a thing that readers look for: training/muon.py and film.py,
# models/student.py, studies/collapse.py; and for the notebooks in which the learner builds:
# exercises/mine.py and hunt_04.py, plotting/mechanisms.py and words.py, data/handwriting.py,
# studies/two_kinds.py, crash_test.py and clinic/examiner.py, exercises/hunt_06.py and hunt_07.py,
# and the studies gan_cures.py, schedule_study.py, likelihoods.py, provenance.py and textbook.py.
# The diagrams of mechanisms have a file for each family and one for what they share, since one file
# of a thousand lines hid them; and there is a field to draw on, widgets/canvas.py. Of the homework:
# rerun.py (one run of a student once more), downloads.py (of learning platforms), questions.py
# (numbers to ask about) and class_table.py (CSV for spreadsheets and platforms).
# For text to image: data/captions.py (words) and data/scenes.py (pictures of known attributes),
# models/reader.py and studies/reading.py (which words a picture obeys), models/text_to_image.py,
# and studies/text_agreement.py (how well such a model obeys its captions).
# For notebook 10:
# exercises/nb10.py and hunt_10.py, studies/flow_toys.py and plotting/flows.py, beside the library's
# models/diffusion/flows.py and studies/few_steps.py. For notebook 11: exercises/nb11.py and
# hunt_11.py, plotting/text_mechanisms.py and widgets/captions.py.
# The homework's starter questions and groups are a file, homework/starters.py; the learner's own
# code is one, homework/own.py, and so are the slides of a lesson, cli/slides.py.
MAX_FLAT_MODULES, MAX_FILES = 3, 177


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def command(*words: str) -> None:
    """Runs a tool of the environment over the project and shows what it says where it is not
    content.
    """
    result = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]


def test_ruff_is_content():
    command(sys.executable, "-m", "ruff", "check", "--no-cache", ".")


def test_code_is_formatted():
    command(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".")


def test_imports_point_one_way():
    """The contracts stand in pyproject.toml, the drawing in docs/architecture.md."""
    tool = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert tool, "import-linter is not installed; run make setup"
    command(tool, "--no-cache")


def test_types_are_consistent():
    command(sys.executable, "-m", "pyright", "--pythonpath", sys.executable)


def test_the_rooms_are_those_of_the_plan():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == ROOMS
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_FLAT_MODULES
    assert len(FILES) <= MAX_FILES


def test_tests_mirror_the_rooms():
    folders = {
        path.name
        for path in (PROJECT / "tests").iterdir()
        if path.is_dir() and list(path.glob("test_*.py"))
    }
    assert folders == ROOMS | {"course", "atoms"}


def test_no_drawer_for_everything_and_no_star_imports():
    drawers = [
        name_of(path)
        for path in FILES
        if path.stem in {"utils", "util", "helpers", "common", "misc"}
    ]
    stars = [
        name_of(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
    assert drawers == [] and stars == []


def test_nothing_runs_at_import():
    """A module's top level defines names; it calls no function for its effect."""
    running = defaultdict(list)
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, (ast.For, ast.While, ast.With)) or (
                isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            ):
                running[name_of(path)].append(node.lineno)
    assert running == {}


def public(tree: ast.Module):
    """Yields public functions and classes at the top level, and the public methods of the
    classes.
    """
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                        yield f"{node.name}.{method.name}", method


def needs_docstring(node: ast.AST) -> bool:
    """A property of one line is its own description."""
    decorators = {
        decorator.id
        for decorator in getattr(node, "decorator_list", [])
        if isinstance(decorator, ast.Name)
    }
    return not ("property" in decorators and len(node.body) == 1)


def is_of_exercises(path: Path) -> bool:
    """The functions of these files are the learner's own: an exercise's question says what each has
    to return.
    """
    return path.parent.name == "exercises" and path.stem.startswith("nb")


def test_public_names_are_documented():
    bare = [name_of(path) for path, tree in TREES.items() if not ast.get_docstring(tree)]
    for path, tree in TREES.items():
        if not is_of_exercises(path):
            bare += [
                f"{name_of(path)}: {name}"
                for name, node in public(tree)
                if needs_docstring(node) and not ast.get_docstring(node)
            ]
    assert bare == []


def test_no_two_public_functions_or_classes_have_one_name():
    homes = defaultdict(set)
    for path, tree in TREES.items():
        # The bug hunts of several notebooks have one interface: hunt_04.symptoms, hunt_06.symptoms.
        if not is_of_exercises(path) and not path.stem.startswith("hunt_"):
            for node in tree.body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith(
                    "_"
                ):
                    homes[node.name].add(name_of(path))
    # A cause of the clinic has a measurement and a figure, which belong together and share its
    # name.
    causes = {"course_utils/studies/clinic/causes.py", "course_utils/studies/clinic/diagnosis.py"}
    assert {
        name: places for name, places in homes.items() if len(places) > 1 and places != causes
    } == {}


# What a paper defines, as opposed to plumbing: these files name their source.
FROM_PAPERS = [
    *("models/vae", "models/dcgan", "models/gaussian", "models/toy_vae", "models/latents"),
    *(
        f"models/diffusion/{name}"
        for name in ("model", "unet", "schedules", "samplers", "variational_bound", "exact")
    ),
    *(
        f"metrics/{name}"
        for name in (
            "frechet",
            "neighbours",
            "classes",
            "paired",
            "likelihood",
            "memorization",
            "roc",
        )
    ),
    "inverse/posterior",
]


def test_what_comes_from_a_paper_names_it():
    without = [
        name
        for name in FROM_PAPERS
        if "Source:" not in (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
    ]
    assert without == []


def test_importing_the_package_needs_no_torch():
    code = "import sys, course_utils, course_utils.cli.main; sys.exit('torch' in sys.modules)"
    command(sys.executable, "-c", code)


@pytest.mark.parametrize(
    "room",
    [
        "course_utils",
        *(
            f"course_utils.{name}"
            for name in ("inverse", "metrics", "models", "plotting", "studies", "widgets")
        ),
    ],
)
def test_every_name_of_a_door_can_be_had(room):
    import importlib

    package = importlib.import_module(room)
    source = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (doors,) = [node for node in ast.walk(source) if isinstance(node, ast.Dict)]
    offered = ast.literal_eval(doors)
    names = [name for some in offered.values() for name in some]
    assert len(names) == len(set(names)) > 0
    for home, some in offered.items():
        for name in some:  # a module of the same name would hide what the door offers
            assert getattr(package, name) is getattr(importlib.import_module(home), name), name
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = package.nonsense
