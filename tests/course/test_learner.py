"""The notebooks with every exercise solved: what the learner wrote is what runs, and what she kept
is what later notebooks use.
"""

from __future__ import annotations

import importlib

import pytest
from materials import PROJECT

NOTHING_KEPT = "You have kept no model"
KEPT_AS = {"04": "vae", "06": "gan", "07": "diffusion"}  # notebook: the name of its model


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the learner's models, and what is drawn once, lie from one notebook to the next."""
    return tmp_path_factory.mktemp("learner")


def build(number, kept, monkeypatch, out=None):
    """Plays one notebook; returns whether everything passed and was used."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    learner = importlib.import_module("learner")
    monkeypatch.setenv("COURSE_RUNS", str(kept))
    monkeypatch.setenv("COURSE_CACHE", str(kept / "cache"))
    monkeypatch.setenv("COURSE_MY_MODELS", str(kept / "my_models.py"))
    return learner.play(learner.find_notebook(number), out)


@pytest.mark.parametrize("number", ["01", "04", "06", "07"])
def test_a_learner_who_solves_everything_runs_her_own_code(number, kept, monkeypatch, capsys):
    assert build(number, kept, monkeypatch), capsys.readouterr().out
    assert "exercises passed" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["08", "09", "10", "11"])
def test_what_she_kept_is_used_later(number, kept, tmp_path, monkeypatch, capsys):
    for earlier in {"08": ["07"], "09": ["04", "06", "07"], "10": ["07"], "11": ["07"]}[number]:
        if not list((kept / "mine").glob(f"{KEPT_AS[earlier]}-*")):  # where this test runs alone
            assert build(earlier, kept, monkeypatch), capsys.readouterr().out
    assert build(number, kept, monkeypatch, out=tmp_path), capsys.readouterr().out
    (executed,) = tmp_path.glob("*.ipynb")
    assert NOTHING_KEPT not in executed.read_text(encoding="utf-8")
