"""What the learner built: her answers in place of the solutions, and her models on disk."""

from __future__ import annotations

import linecache
import os
import sys
import types

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.exercises import core, keep, mine, yours

NOTEBOOK = '''
import math
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from math import sqrt as root
from course_utils.exercises.core import solution_of

HIDDEN = 7
kl = solution_of("05.aggregate")
offset = torch.zeros(3)


def scale(x):
    return root(4.0) * x * helper(x)


def helper(x):
    """A text
    over two lines."""
    return 1.0 if len(x) else scale(x)  # each uses the other


double = scale


class Net(nn.Module):
    def __init__(self, shape, latent=2):
        super().__init__()
        self.layer = nn.Linear(math.prod(shape), HIDDEN)
        self.latent = latent

    def forward(self, x):
        return double(F.relu(self.layer(x.flatten(1)))) + float(np.float64(0.0))

    def kl(self, mu, logvar):
        return kl(mu, logvar)


class UsesATensor(nn.Module):
    def forward(self, x):
        return x + offset


class Counts(nn.Module):
    def forward(self, offset):  # called like the tensor, and another thing
        scale = [kl for kl in range(len(offset))]
        return sum(scale)
'''


@pytest.fixture
def notebook(monkeypatch, tmp_path):
    """Returns the names of a notebook whose cell holds `NOTEBOOK`."""
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COURSE_MY_MODELS", str(tmp_path / "my_models.py"))
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    monkeypatch.setattr(core, "_passed_answers", {})
    return run_cell(monkeypatch, NOTEBOOK, "cell_1")


def run_cell(monkeypatch, source, name):
    """Runs source as Jupyter runs a cell: in a module without a file, with the lines at hand."""
    module = types.ModuleType("a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", module)
    entry = (len(source), None, source.splitlines(keepends=True), f"/tmp/ipykernel/{name}.py")
    monkeypatch.setitem(linecache.cache, entry[3], entry)
    exec(compile(source, entry[3], "exec"), vars(module))  # noqa: S102 (our own text)
    return module


def test_passed_answers_take_the_place_of_solutions(notebook, capsys):
    def own(mu, logvar):
        return mu.var(0, correction=0) + logvar.exp().mean(0)

    core.check("05.aggregate", own)
    core.check("04.reparameterise", lambda mu, logvar, rng: mu)  # wrong
    capsys.readouterr()
    kl, draw = yours("05.aggregate", "04.reparameterise")
    assert kl is own and draw is core.solution_of("04.reparameterise")
    assert capsys.readouterr().out.splitlines() == [
        "yours: 05.aggregate",
        "reference solution, not passed yet: 04.reparameterise",
    ]
    assert yours("05.aggregate") is own


def test_a_kept_model_is_built_again_elsewhere(notebook, dataset, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = notebook.Net((1, 4, 4), latent=3)
    keep("net", model, dataset, (1, 4, 4), 3)
    x = torch.randn(5, 1, 4, 4)
    expected = model(x)
    monkeypatch.delitem(sys.modules, "a_notebook")  # another session
    again = mine("net", dataset)
    assert torch.equal(again(x), expected) and not again.training
    assert again.latent == 3
    mu = torch.randn(2, 3)
    assert torch.equal(again.kl(mu, mu), core.solution_of("05.aggregate")(mu, mu))
    text = (tmp_path / "my_models.py").read_text()
    assert 'kl = solution_of("05.aggregate")  # not passed yet when this was kept' in text
    assert "double = scale" in text and "HIDDEN = 7" in text and "offset" not in text


def test_models_of_equal_names_do_not_mix(notebook, dataset, monkeypatch):
    keep("first", notebook.Net((1, 4, 4)), dataset, (1, 4, 4))
    other = NOTEBOOK.replace("HIDDEN = 7", "HIDDEN = 9").replace("root(4.0)", "root(9.0)")
    second = run_cell(monkeypatch, other, "cell_2")
    keep("second", second.Net((1, 4, 4)), dataset, (1, 4, 4))
    x = torch.ones(1, 1, 4, 4)
    assert mine("first", dataset)(x).shape == (1, 7)
    assert mine("second", dataset)(x).shape == (1, 9)
    keep("first", second.Net((1, 4, 4)), dataset, (1, 4, 4))  # takes the place of the older
    assert mine("first", dataset)(x).shape == (1, 9)


def test_a_model_kept_twice_within_a_second_is_the_newer_one(
    notebook, dataset, monkeypatch, tmp_path
):
    """Compiled modules are told apart by second and length alone, and both are equal here."""
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    path, x = tmp_path / "my_models.py", torch.ones(1, 1, 4, 4)
    for number in (7, 9):
        module = run_cell(monkeypatch, NOTEBOOK.replace("HIDDEN = 7", f"HIDDEN = {number}"), "cell")
        keep("first", module.Net((1, 4, 4)), dataset, (1, 4, 4))
        os.utime(path, (1_000_000, 1_000_000))
        assert mine("first", dataset)(x).shape == (1, number)


def test_local_names_are_not_those_of_the_notebook(notebook, dataset, tmp_path):
    keep("counts", notebook.Counts(), dataset)
    text = (tmp_path / "my_models.py").read_text()
    # what `scale` and `kl` mean elsewhere
    assert "helper" not in text and "05.aggregate" not in text
    assert mine("counts", dataset)([5, 5, 5]) == 3


def test_what_was_not_kept_is_said(notebook, dataset, capsys):
    assert mine("vae", dataset) is None
    said = f"You have kept no model 'vae' for {dataset.name} yet."
    assert capsys.readouterr().out.strip() == said


def test_a_tensor_of_the_notebook_is_refused_and_nothing_is_written(notebook, dataset, tmp_path):
    with pytest.raises(CourseError, match="it uses `offset`, a Tensor of this notebook"):
        keep("bad", notebook.UsesATensor(), dataset)
    with pytest.raises(CourseError, match="expected numbers, texts or tuples after the dataset"):
        keep("bad", notebook.Net((1, 4, 4)), dataset, torch.ones(1))
    assert not (tmp_path / "my_models.py").exists()


def test_an_edited_file_that_does_not_fit_is_named(notebook, dataset, tmp_path):
    keep("net", notebook.Net((1, 4, 4)), dataset, (1, 4, 4))
    path = tmp_path / "my_models.py"
    path.write_text(path.read_text().replace("HIDDEN = 7", "HIDDEN = 8"))
    with pytest.raises(CourseError, match="(?s)'net' cannot be built again .*size mismatch"):
        mine("net", dataset)
    path.write_text(path.read_text() + "\nraise ValueError('broken')\n")
    with pytest.raises(CourseError, match=r"cannot be built again \(ValueError: broken\)"):
        mine("net", dataset)
