"""The bootstrap cell wherever a learner may run it, the stamping, and Colab's install."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from course_utils import notebook as course_notebook
from course_utils.base.errors import CourseError
from tools import bootstrap

PROJECT = Path(__file__).resolve().parent.parent.parent
FAKE_SETUP = "def setup():\n    print('setup ran from', __file__)\n"
GIT = [
    "git",
    "-c",
    "user.name=test",
    "-c",
    "user.email=test@example.org",
    "-c",
    "init.defaultBranch=main",
]


@pytest.fixture
def source(tmp_path):
    """A tiny git repository that looks like the course."""
    folder = tmp_path / "source"
    (folder / "course_utils").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    (folder / "course_utils" / "__init__.py").write_text("")
    (folder / "course_utils" / "notebook.py").write_text(FAKE_SETUP)
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True)
    return folder


# The packages of this environment without this course, which is installed in it.
PACKAGES_ONLY = (
    "import sys\n"
    "sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
    "sys.path = [p for p in sys.path if not p.startswith('__editable__')]\n"
)


def run_cell(cwd: Path, colab: bool, **env: object) -> subprocess.CompletedProcess:
    """Runs the cell as a kernel would, in a process of its own; Colab is a stub there."""
    stub = PACKAGES_ONLY + (
        "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')\n"
        if colab
        else ""
    )
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COURSE_", "PYTHONPATH"))
    }
    cwd.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", stub + bootstrap.BOOTSTRAP_CELL]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**clean, **{k: str(v) for k, v in env.items()}},
        capture_output=True,
        text=True,
    )


def test_cell_is_short_plain_python():
    lines = bootstrap.BOOTSTRAP_CELL.splitlines()
    compile(bootstrap.BOOTSTRAP_CELL, "cell", "exec")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert bootstrap.REPOSITORY in bootstrap.BOOTSTRAP_CELL
    assert not any(line.lstrip().startswith(("%", "!")) for line in lines)


def test_colab_clones_once(tmp_path, source):
    course, empty = tmp_path / "course", tmp_path / "empty"
    first = run_cell(empty, colab=True, COURSE_REPO=source.as_uri(), COURSE_DIR=course)
    assert f"setup ran from {course}" in first.stdout, first.stderr
    second = run_cell(empty, colab=True, COURSE_REPO="file:///nowhere", COURSE_DIR=course)
    assert f"setup ran from {course}" in second.stdout, second.stderr


def test_colab_recovers_from_a_half_clone_and_keeps_its_files(tmp_path, source):
    course = tmp_path / "course"
    (course / ".git").mkdir(parents=True)
    (course / "mine.txt").write_text("kept")
    result = run_cell(
        tmp_path / "empty", colab=True, COURSE_REPO=source.as_uri(), COURSE_DIR=course
    )
    assert f"setup ran from {course}" in result.stdout, result.stderr
    assert [path.read_text() for path in tmp_path.glob("*-old/mine.txt")] == ["kept"]


def test_colab_says_when_it_cannot_clone_and_works_the_next_time(tmp_path, source):
    course, empty = tmp_path / "course", tmp_path / "empty"
    failed = run_cell(empty, colab=True, COURSE_REPO="file:///nowhere", COURSE_DIR=course)
    assert failed.returncode == 1
    assert "Cannot clone file:///nowhere. Check the internet connection" in failed.stderr
    assert not course.exists()
    again = run_cell(empty, colab=True, COURSE_REPO=source.as_uri(), COURSE_DIR=course)
    assert "setup ran" in again.stdout, again.stderr


def test_outside_of_the_course_it_says_what_to_do(tmp_path):
    result = run_cell(tmp_path / "empty", colab=False)
    assert result.returncode == 1
    assert result.stderr.strip().endswith("open the course's folder, or install it.")


@pytest.mark.parametrize("folder", ["notebooks", ".", "..", "../.."])
def test_in_a_checkout_and_in_the_folders_above_it(source, tmp_path, folder):
    (tmp_path / "home" / "work").mkdir(parents=True)  # a folder above it that is this test's alone
    checkout = source.rename(tmp_path / "home" / "work" / "course")
    result = run_cell(checkout / folder, colab=False)
    assert f"setup ran from {checkout}" in result.stdout, result.stderr


def installed_copy(folder: Path) -> Path:
    (folder / "course_utils").mkdir(parents=True)
    (folder / "course_utils" / "__init__.py").write_text("")
    (folder / "course_utils" / "notebook.py").write_text(FAKE_SETUP)
    return folder


def test_an_installed_copy_serves_outside_and_a_checkout_wins_inside(source, tmp_path):
    copy = installed_copy(tmp_path / "site")
    outside = run_cell(tmp_path / "homework", colab=False, PYTHONPATH=copy)
    assert f"setup ran from {copy}" in outside.stdout, outside.stderr
    above = run_cell(tmp_path, colab=False, PYTHONPATH=copy)
    assert f"setup ran from {copy}" in above.stdout, above.stderr
    inside = run_cell(source / "notebooks", colab=False, PYTHONPATH=copy)
    assert f"setup ran from {source}" in inside.stdout, inside.stderr


def test_a_folder_that_only_has_the_name_of_the_package_hides_no_course(source, tmp_path):
    """As after `git clone ... course_utils`: Python takes such a folder for a package."""
    checkout = source.rename(tmp_path / "course_utils")
    result = run_cell(tmp_path, colab=False)
    assert f"setup ran from {checkout}" in result.stdout, result.stderr


def test_hidden_folders_are_not_searched(source, tmp_path):
    source.rename(tmp_path / ".trash")
    assert "Cannot find course_utils" in run_cell(tmp_path, colab=False).stderr


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def test_stamp_notebook_changes_only_the_tagged_first_code_cell():
    first = nbformat.v4.new_code_cell("old", metadata={"tags": ["bootstrap"]})
    nb = notebook(
        nbformat.v4.new_markdown_cell("# Title"), first, nbformat.v4.new_code_cell("1 + 1")
    )
    assert bootstrap.stamp_notebook(nb) is True
    assert [cell.source for cell in nb.cells] == ["# Title", bootstrap.BOOTSTRAP_CELL, "1 + 1"]
    assert bootstrap.stamp_notebook(nb) is False


@pytest.mark.parametrize("cells", [[], [nbformat.v4.new_code_cell("1")]])
def test_stamp_notebook_needs_the_tag(cells):
    with pytest.raises(CourseError, match="expected a first code cell with the tag 'bootstrap'"):
        bootstrap.stamp_notebook(notebook(*cells))


def test_stamp_readme_replaces_the_block_and_nothing_else():
    text = "# Course\n<!-- badges -->\nold\n<!-- /badges -->\nrest\n"
    stamped = bootstrap.stamp_readme(text)
    assert stamped.startswith("# Course\n<!-- badges -->\n[![Open the course in Google Colab](")
    assert stamped.endswith("<!-- /badges -->\nrest\n") and "old" not in stamped
    assert (
        "colab.research.google.com/github/generative-images/course/blob/main/notebooks/00_start_here.ipynb"
        in stamped
    )
    assert (
        "mybinder.org/v2/gh/generative-images/course/main?urlpath=lab/tree/notebooks/00_start_here.ipynb"
        in stamped
    )
    assert bootstrap.stamp_readme(stamped) == stamped


@pytest.mark.parametrize(
    "text", ["no markers", "<!-- badges -->", "<!-- /badges --> <!-- badges -->"]
)
def test_stamp_readme_needs_its_markers(text):
    with pytest.raises(CourseError, match="<!-- badges -->"):
        bootstrap.stamp_readme(text)


@pytest.fixture
def pip_calls(monkeypatch):
    """Records what would be run; `pip_calls.result` is what pip answers."""

    class Calls(list):
        result = subprocess.CompletedProcess([], 0, "", "")

    calls = Calls()
    monkeypatch.setattr(
        course_notebook.subprocess,
        "run",
        lambda command, **_: calls.append(command) or calls.result,
    )
    return calls


def hide(monkeypatch, *names: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in names else found(name)
    )


def test_install_missing_does_nothing_where_all_is_there(pip_calls, capsys):
    course_notebook.install_missing()
    assert pip_calls == [] and capsys.readouterr().out == ""


def test_install_missing_names_the_package_and_nothing_else(pip_calls, monkeypatch):
    hide(monkeypatch, "PIL")
    course_notebook.install_missing()
    assert pip_calls == [[sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "pillow"]]


def test_install_missing_never_installs_torch_or_numpy(pip_calls, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    course_notebook.install_missing()
    assert not {"torch", "torchvision", "numpy"} & set(pip_calls[0])
    assert "numpy, torch, torchvision missing" in capsys.readouterr().out


def test_install_missing_offline_is_one_line(pip_calls, monkeypatch, capsys):
    hide(monkeypatch, "tqdm")
    pip_calls.result = subprocess.CompletedProcess(
        [], 1, "", "WARNING: retrying\nERROR: No matching distribution found for tqdm\n"
    )
    course_notebook.install_missing()
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "Could not install tqdm (ERROR: No matching" in out


def test_runtime_packages_are_dependencies_of_the_project():
    declared = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    brought_along = {"ipython", "psygnal"}  # by ipykernel and anywidget
    assert [
        package
        for _, package in course_notebook.RUNTIME_PACKAGES
        if f'"{package}>=' not in declared and package not in brought_along
    ] == []
