"""The course on Google Colab, as far as it can be had without Colab: `colab.py` says how. What is
short runs here; `make colab` runs all of it with the packages that Colab has.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from colab import CHOSEN, PROJECT, ColabMachine, published_course

from tools.bootstrap import BOOTSTRAP_CELL

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
# What `make colab` runs beside the first one.
WHOLE = [path for path in NOTEBOOKS if path.name.startswith(("04", "07", "10", "11"))]
long = pytest.mark.skipif(not CHOSEN, reason="`make colab` runs it, with Colab's packages")

# What README.md tells a learner on Colab to run before the first cell.
ON_THE_DRIVE = """
from google.colab import drive

drive.mount("/content/drive")
%env COURSE_RUNS=/content/drive/MyDrive/course/runs
%env COURSE_MY_MODELS=/content/drive/MyDrive/course/my_models.py
"""
# Sixty short epochs: time enough to be cut in.
TRAINING = """
from course_utils import load_dataset, preset
from course_utils.base.config import override
from course_utils.training.runs import run

epochs = []
experiment = override(preset("vae", "smoke"), {"train.num_epochs": 60})
trained = run(
    experiment, load_dataset(), on_epoch=lambda model, history: epochs.append(history.num_epochs)
)
print("epochs", epochs[0], "to", epochs[-1])
"""
# A model of the learner's own, kept as notebooks do it.
BUILT = """
from course_utils import load_dataset
from course_utils.exercises import keep
from torch import nn


class Brightness(nn.Module):
    def __init__(self, num_pixels):
        super().__init__()
        self.layer = nn.Linear(num_pixels, 1)


keep("brightness", Brightness(784), load_dataset(), 784)
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return published_course(tmp_path_factory.mktemp("network"))


@pytest.fixture
def machine(tmp_path, published) -> ColabMachine:
    return ColabMachine(tmp_path, published)


def here(code: str, machine: ColabMachine) -> str:
    """Returns code that names folders of Colab with those of this machine."""
    return code.replace("/content", str(machine.content))


def test_the_readme_says_how_to_keep_work_on_the_drive():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert ON_THE_DRIVE.strip() in readme


def test_first_notebook_runs_whole_in_an_empty_folder(machine):
    notebook = machine.run_notebook(NOTEBOOKS[0])
    assert (machine.course / "notebooks" / "00_start_here.ipynb").is_file()
    assert (machine.content / "my_models.py").is_file()  # beside the notebook, as its text says
    assert list((machine.course / "runs" / "mine").glob("pixels-*.safetensors"))
    images = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in images) > 5


def test_work_on_the_drive_outlives_the_machine_and_a_cut_training_goes_on(machine):
    """The session ends in the middle of a training, and the next one has a new machine."""
    with machine.start() as kernel:
        kernel.run(here(ON_THE_DRIVE, machine))
        kernel.run(BOOTSTRAP_CELL)
        kernel.run(BUILT)
        kernel.cut_while(TRAINING, lambda: any(machine.drive.rglob("state.safetensors")))
    (state,) = machine.drive.rglob("state.safetensors")
    assert state.is_relative_to(machine.drive / "course" / "runs")
    assert (machine.drive / "course" / "my_models.py").is_file()

    machine.replace()
    with machine.start() as kernel:
        kernel.run(here(ON_THE_DRIVE, machine))
        kernel.run(BOOTSTRAP_CELL)
        printed = kernel.run(TRAINING)
        kernel.run("from course_utils.exercises import mine\nmine('brightness', load_dataset())")
    first, last = map(int, printed.split("epochs ")[-1].split(" to "))
    assert 1 < first < last == 60, printed
    assert not state.exists()
    record = json.loads((state.parent / "experiment.json").read_text(encoding="utf-8"))
    assert record["finished"] is True


def test_homework_on_the_drive_and_a_field_to_draw_on(machine):
    """The command is that of homework/README.md. Colab shows widgets that it does not know only
    where a notebook asks for it.
    """
    text = (PROJECT / "homework" / "README.md").read_text(encoding="utf-8")
    command = re.search(r"`(!python -m course_utils.cli.main homework new [^`]+)`", text)[1]
    opened = re.search(r"`(open_homework\([^`]+\))`", text)[1]
    with machine.start() as kernel:
        kernel.run(here('from google.colab import drive\ndrive.mount("/content/drive")', machine))
        kernel.run(BOOTSTRAP_CELL)
        printed = kernel.run(here(command, machine))
        assert (machine.drive / "homework" / "homework.json").is_file(), printed
        kernel.run("from course_utils.homework.student import open_homework")
        kernel.run(here(opened, machine))
        kernel.run("from course_utils import widgets\nwidgets.draw_digit()")
        assert "custom widgets" in kernel.run("import google.colab\nprint(google.colab.asked)")


@long
@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_notebook_runs_whole_in_an_empty_folder(machine, path):
    machine.run_notebook(path)
    assert machine.course.is_dir()
