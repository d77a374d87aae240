"""The files that set the course up agree with each other and with what the code imports. No solver
and no network is needed.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import stat
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib")

PROJECT = Path(__file__).resolve().parent.parent.parent
META = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = META["project"]["optional-dependencies"]
ENVIRONMENTS = ["environment.yml", "binder/environment.yml"]
CONDA_NAMES = {"pytorch": "torch", "pytorch-cpu": "torch", "matplotlib-base": "matplotlib"}
# Import name -> package name, where they differ.
PACKAGES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Needed although no line of the package imports them: they run notebooks, or are imported under
# another name.
NOT_IMPORTED = {"jupyterlab", "ipykernel"}
OF_AN_EXTRA = {"dask"}  # imported only where its backend is asked for
# Imported although not declared, because a declared package cannot do without them: {package: the
# one that brings it}.
COMES_WITH_OTHERS = {
    "ipython": "ipykernel",
    "pydantic-core": "pydantic",
    "jupyter-client": "nbclient",
    "traitlets": "ipywidgets",
    "markupsafe": "jinja2",
}


def requirements(*groups: list[str]) -> dict[str, Requirement]:
    parsed = [Requirement(line) for group in groups for line in group]
    return {
        canonicalize_name(one.name): one
        for one in parsed
        if one.marker is None or one.marker.evaluate()
    }


DECLARED = requirements(META["project"]["dependencies"])
WITH_EXTRAS = requirements(META["project"]["dependencies"], *EXTRAS.values())


def pins() -> list[Requirement]:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


PINS_HERE = {
    canonicalize_name(pin.name): pin
    for pin in pins()
    if pin.marker is None or pin.marker.evaluate()
}


def text_of(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_conda_environment_is_in_step_with_pyproject(name):
    environment = yaml.safe_load(text_of(name))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *packages, pip_group = environment["dependencies"]
    assert "pip" in packages and list(pip_group) == ["pip"]
    (python,) = (package for package in packages if re.match(r"python\b", package))
    assert re.fullmatch(r"python=3\.\d+", python), "Binder reads the version only from python=X.Y"
    assert (
        python.removeprefix("python=")
        in Requirement(f"python{META['project']['requires-python']}").specifier
    )
    for package in set(packages) - {"pip", python}:
        wanted = Requirement(package)
        project_name = CONDA_NAMES.get(wanted.name, wanted.name)
        assert wanted.specifier == DECLARED[canonicalize_name(project_name)].specifier, (
            f"{package} differs from pyproject.toml"
        )


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_conda_environment_installs_this_project_and_nothing_else_by_pip(name):
    (entry,) = yaml.safe_load(text_of(name))["dependencies"][-1]["pip"]
    match = re.fullmatch(r"-e (\.{1,2})(?:\[([\w,]+)\])?", entry)
    assert match, entry
    assert (PROJECT / name).parent.joinpath(match[1]).resolve() == PROJECT
    assert set((match[2] or "").split(",")) - {""} <= set(EXTRAS)


def test_both_environments_use_the_same_python_and_name():
    first, second = (yaml.safe_load(text_of(name)) for name in ENVIRONMENTS)
    assert first["dependencies"][0] == second["dependencies"][0] and first["name"] == second["name"]


def test_constraints_are_exact_and_name_no_host():
    assert "://" not in text_of("constraints.txt") and "--" not in text_of("constraints.txt")
    for pin in pins():
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin


@pytest.mark.parametrize("name", sorted(WITH_EXTRAS))
def test_every_dependency_is_pinned_within_its_floor(name):
    assert name in PINS_HERE, f"{name} is not in constraints.txt; run make constraints"
    (pin,) = PINS_HERE[name].specifier
    assert Version(pin.version) in WITH_EXTRAS[name].specifier


@pytest.mark.parametrize("name", sorted(WITH_EXTRAS))
def test_dependencies_have_floors_and_no_ceilings(name):
    assert [specifier.operator for specifier in WITH_EXTRAS[name].specifier] == [">="]


def imported_packages(folder: str) -> set[str]:
    roots: set[str] = set()
    for path in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                roots.add(node.module.split(".")[0])
    local = {"course", "course_utils", "tools", "atoms", "benchmarks", "google", "conftest"}
    local |= {"_typeshed"} | {path.stem for path in (PROJECT / folder).rglob("*.py")}
    return {
        canonicalize_name(PACKAGES.get(root, root))
        for root in roots - set(sys.stdlib_module_names) - local
    }


def test_every_import_of_the_package_is_declared():
    assert set(WITH_EXTRAS) >= OF_AN_EXTRA
    found = imported_packages("course_utils") | imported_packages("tools")
    undeclared = found - set(DECLARED) - set(COMES_WITH_OTHERS) - OF_AN_EXTRA
    assert undeclared == set()


@pytest.mark.parametrize(("package", "parent"), COMES_WITH_OTHERS.items())
def test_what_comes_with_others_really_does(package, parent):
    needed = [Requirement(line) for line in importlib.metadata.requires(parent)]
    assert parent in DECLARED and package in {
        canonicalize_name(item.name) for item in needed if item.marker is None
    }


def test_every_import_of_the_tests_is_declared():
    assert imported_packages("tests") - set(WITH_EXTRAS) - set(COMES_WITH_OTHERS) == set()


def test_every_dependency_is_imported():
    found = imported_packages("course_utils") | imported_packages("tools")
    assert set(DECLARED) - found - NOT_IMPORTED == set()


def test_makefile_has_the_documented_targets():
    text = text_of("Makefile")
    targets = set(re.findall(r"^([a-z]+):", text, flags=re.MULTILINE))
    assert {
        "help",
        "setup",
        "course",
        "test",
        "lab",
        "notebooks",
        "constraints",
        "clean",
    } <= targets
    promised = set(re.findall(r"make ([a-z]+) ", text))
    assert promised and promised <= targets
    assert "TORCH_BACKEND" in text and "PYTHON ?=" in text


def test_continuous_integration_runs_what_a_person_runs():
    path = PROJECT / ".ci" / "run"
    lines = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert path.stat().st_mode & stat.S_IXUSR
    assert [line for line in lines if not line.startswith(("set ", "cd "))] == ["make test"]


def test_readme_names_the_two_commands_first():
    readme = text_of("README.md")
    assert "make course" in readme and "make test" in readme
    first_block = re.search(r"```\w*\n(.*?)```", readme, flags=re.DOTALL)[1]
    commands = [
        line.split("#")[0].strip()
        for line in first_block.splitlines()
        if line.split("#")[0].strip()
    ]
    assert commands[-2:] == ["make course", "make test"]


def test_licence_is_there():
    assert META["project"]["license"] == "MIT" and "MIT License" in text_of("LICENSE")


def test_console_command_exists():
    module, _, function = META["project"]["scripts"]["course"].partition(":")
    tree = ast.parse((PROJECT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_nothing_that_is_committed_is_a_lock_file_with_hosts():
    ignored = text_of(".gitignore").split()
    assert {"uv.lock", "pylock.toml"} <= set(ignored)


def test_every_test_that_the_table_of_troubles_names_is_there():
    text = (PROJECT / "docs" / "troubles.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", text)
    named = [(file, test) for file, test in named if file or test]
    assert len(named) >= 40
    last = ""
    for file, test in named:
        last = file or last
        source = (PROJECT / last).read_text(encoding="utf-8")
        assert f"def {test}(" in source if test else "def test_" in source, (last, test)
