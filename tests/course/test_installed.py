"""The course as `pip install .` gives it: built as a wheel, unpacked outside the checkout, and
called from another working directory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from materials import write_idx_files

PROJECT = Path(__file__).resolve().parent.parent.parent
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
OF_THE_BUILD = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "CONTRIBUTING.md")
MODULE = ("-m", "course_utils.cli")
FOLDERS = ("course_utils", "notebooks", "homework", "atoms", "docs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, built from a copy, since setuptools leaves build/ behind."""
    copy = tmp_path_factory.mktemp("copy")
    no_caches = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in FOLDERS:
        shutil.copytree(PROJECT / name, copy / name, ignore=no_caches)
    (copy / "data").mkdir()
    for name in (*OF_THE_BUILD, "gallery.png", "data/README.md"):
        shutil.copyfile(PROJECT / name, copy / name)
    (copy / "homework" / "mine").mkdir()
    (copy / "homework" / "mine" / "secret.ipynb").write_text("a learner's own", encoding="utf-8")
    stale = copy / "build" / "lib" / "course_utils" / "module_of_last_year.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("", encoding="utf-8")
    target = tmp_path_factory.mktemp("wheel")
    result = subprocess.run(
        [sys.executable, "-c", BUILD, str(target)], cwd=copy, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder on Python's path that holds the unpacked wheel; nobody may write to it."""
    target = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.fixture
def course(installed, tmp_path):
    """Runs `course` of the installed copy as a user of its own, in an empty working directory."""
    home, here = tmp_path / "home", tmp_path / "somewhere"
    home.mkdir()
    here.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COURSE_", "PYTHON"))}
    settings = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "PYTHONPATH": str(installed),
        "PYTHONSAFEPATH": "1",
        "COURSE_DATA": str(home / "data"),
        "COURSE_OFFLINE": "1",
        "COURSE_BUDGET": "smoke",
        "COURSE_DEVICE": "cpu",
    }

    def run(*words: str, python: tuple[str, ...] = MODULE, folder: str = ".") -> str:
        result = subprocess.run(
            [sys.executable, *python, *words],
            cwd=here / folder,
            env=kept | settings,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    run.home, run.here = home, here
    return run


def tracked(*folders: str) -> set[str]:
    """Names of all files below the folders, without caches."""
    files = (path for folder in folders for path in (PROJECT / folder).rglob("*"))
    return {
        path.relative_to(PROJECT).as_posix()
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_with_weights_tables_and_templates_and_the_notebooks(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("course_utils/")}
    handed_out = {name for name in names if name.startswith("course_utils/handout/")}
    assert names - handed_out == tracked("course_utils")
    assert {name.removeprefix("course_utils/handout/") for name in handed_out} >= {
        *(f"notebooks/{path.name}" for path in (PROJECT / "notebooks").glob("[0-9]*.ipynb")),
        *(f"homework/{name}.ipynb" for name in ("vae", "dcgan", "diffusion", "report")),
        "notebooks/glossary.md",
        "homework/README.md",
        "atoms/vae.py",
        "README.md",
    }
    assert not [name for name in names if "/mine/" in name or "last_year" in name]


def test_doctor_names_places_of_the_user_and_none_in_the_installation(course, installed):
    out = course("doctor")
    assert str(course.home / "generative-images-course" / "runs") in out
    assert str(installed) not in out and str(PROJECT) not in out


def test_shipped_weights_draw_the_same_images_as_in_the_checkout(course):
    course("sample", "pretrained:vae/strokes", "--num", "4", "--seed", "1", "--out", "s.npz")
    from course_utils.base.device import make_rng
    from course_utils.base.images import signed_to_uint8
    from course_utils.training.runs import pretrained

    images = np.load(course.here / "s.npz")["images"]
    expected = signed_to_uint8(pretrained("vae", "strokes").model.sample(4, rng=make_rng(1)))
    np.testing.assert_array_equal(images, expected.numpy())


def test_notebooks_and_homework_come_from_the_installation(course, installed):
    handed_out = installed / "course_utils" / "handout"
    name = "notebooks/00_start_here.ipynb"
    original = (handed_out / name).read_bytes()
    course("new-notebooks", "mine")
    first = course.here / "mine" / name
    assert first.read_bytes() == original
    first.write_text("my own work", encoding="utf-8")
    assert "nothing to do" in course("update", "mine")
    assert first.read_text(encoding="utf-8") == "my own work"
    assert (handed_out / name).read_bytes() == original

    write_idx_files(course.home / "data" / "MNIST" / "raw", num_train=60, num_test=20)
    course("homework", "new", "hw", "--name", "A. Student", "--dataset", "mnist")
    copies = {path.name: path.read_bytes() for path in (course.here / "hw").glob("*.ipynb")}
    shipped = {path.name: path.read_bytes() for path in (handed_out / "homework").glob("*.ipynb")}
    assert len(copies) == 4 and copies == shipped


def test_the_first_cell_works_in_such_a_folder(course):
    course("new-notebooks", "mine")
    text = (course.here / "mine/notebooks/00_start_here.ipynb").read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    first = next(cell for cell in cells if "bootstrap" in cell["metadata"].get("tags", []))
    code = "".join(first["source"]).replace("setup()", "print(setup.__code__.co_filename)")
    out = course(python=("-c", code), folder="mine/notebooks")
    assert "site-packages" in out.splitlines()[-1]
