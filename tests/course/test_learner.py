"""The notebooks with every exercise solved: what the learner wrote is what runs."""

from __future__ import annotations

import importlib

import pytest
from materials import PROJECT


@pytest.mark.parametrize("number", ["01", "04"])
def test_a_learner_who_solves_everything_runs_her_own_code(number, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    learner = importlib.import_module("learner")
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path))
    monkeypatch.setenv("COURSE_MY_MODELS", str(tmp_path / "my_models.py"))
    assert learner.play(learner.find_notebook(number), None), capsys.readouterr().out
    assert "exercises passed" in capsys.readouterr().out
