"""`course doctor`: every probe finds the problem that it is there for, and says what to do about
it.
"""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import psutil
import pytest
from materials import write_idx_files

from course_utils.cli import doctor
from course_utils.cli.main import main
from course_utils.data.mnist import FILES, raw_folder


def test_a_healthy_machine_has_no_problems(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "All is well."
    names = ("Python", "packages", "torch", "memory", "disk", "dataset", "budget", "write access")
    assert [line[9:21].strip() for line in lines[:-1]] == list(names)


def no_package(monkeypatch, tmp_path):
    monkeypatch.setattr(
        doctor.importlib.util, "find_spec", lambda name: None if name == "tqdm" else object()
    )


def no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**29))


def no_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))


def no_device(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DEVICE", "tpu")


def no_budget(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUDGET", "tablet")


def no_such_dataset(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATASET", "mnits")


def damaged_mnist(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    write_idx_files(raw_folder("mnist"), 8, 4)
    (raw_folder("mnist") / FILES[0]).write_bytes(b"half")


def no_write_access(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "file" / "runs"))


@pytest.mark.parametrize(
    ("harm", "probe", "value", "remedy"),
    [
        (no_package, doctor.packages, "missing: tqdm", "make setup"),
        (no_memory, doctor.memory, "0.5 GiB free", "Close other programs"),
        (no_disk, doctor.disk, "0.0 GiB free", "Free some space"),
        (
            no_device,
            doctor.torch_device,
            "",
            "unknown COURSE_DEVICE (on this machine) 'tpu'; valid: cpu",
        ),
        (no_budget, doctor.budget_name, "tablet", "valid: gpu, laptop, smoke"),
        (no_such_dataset, doctor.dataset, "COURSE_DATASET=mnits", "Did you mean 'mnist'?"),
        (damaged_mnist, doctor.dataset, "mnist is damaged", FILES[0]),
        (no_write_access, doctor.write_access, "none to", "Set COURSE_CACHE and COURSE_RUNS"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_problem_is_found_with_its_remedy(harm, probe, value, remedy, monkeypatch, tmp_path):
    harm(monkeypatch, tmp_path)
    finding = probe()
    assert value in finding.value and remedy in finding.remedy


def test_problems_make_the_exit_code_1(monkeypatch, capsys):
    no_memory(monkeypatch, None)
    assert main(["doctor"]) == 1
    assert "-> Close other programs" in capsys.readouterr().out
