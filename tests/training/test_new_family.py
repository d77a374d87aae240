"""The recipe "How to add a family", read from docs/architecture.md and carried out."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest
import torch
from materials import PROJECT, same_weights

from course_utils.base.config import override, setting_rows
from course_utils.base.device import make_rng
from course_utils.base.images import check_signed, uint8_to_signed
from course_utils.models.base import Batch
from course_utils.studies.draw import draw_images
from course_utils.studies.evaluate import negative_log_likelihood
from course_utils.training.presets import PRESETS, preset
from course_utils.training.registry import REGISTRY, build, config_class
from course_utils.training.runs import load_run, run

FAMILY = "realnvp"
MODULE = "new_family"

# What a person adds to registry.py and presets.py, below the names that those files import.
ADDITIONS = """
from dataclasses import replace
from course_utils.training.config import TrainConfig
from course_utils.training.presets import PRESETS, _budgets
from course_utils.training.registry import REGISTRY
REGISTRY.update({{{registry_line}}})
{settings}
PRESETS.update({{{preset_line}}})
"""


def recipe() -> list[str]:
    """Returns the blocks of the recipe: model file, registry line, settings, preset line."""
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("## How to add a family")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    """A folder with the recipe as a module that registers the family when it is imported."""
    model, registry_line, settings, preset_line = recipe()
    additions = ADDITIONS.format(
        registry_line=registry_line, settings=settings, preset_line=preset_line
    )
    (tmp_path / f"{MODULE}.py").write_text(model + additions, encoding="utf-8")
    return tmp_path


@pytest.fixture
def family(folder, monkeypatch):
    """The name of the family, registered as long as the test runs."""
    spec = importlib.util.spec_from_file_location(MODULE, folder / f"{MODULE}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(
        sys.modules, MODULE, module
    )  # type hints of a dataclass are looked up there
    monkeypatch.setitem(REGISTRY, FAMILY, None)  # so that both entries disappear after the test
    monkeypatch.setitem(PRESETS, FAMILY, None)
    spec.loader.exec_module(module)
    return FAMILY


@pytest.fixture
def small(family, dataset):
    """An experiment of the family that trains in a second."""
    changes = {
        "model.num_layers": 4,
        "model.hidden_dim": 32,
        "train.num_epochs": 4,
        "train.batch_size": 32,
        "train.num_train_images": None,
    }
    return override(preset(family, "smoke"), changes).fitted_to(dataset)


def test_a_family_costs_one_short_file_one_line_and_one_preset():
    model, registry_line, settings, preset_line = recipe()
    assert len(model.splitlines()) <= 80 and max(map(len, model.splitlines())) <= 100
    assert [len(block.splitlines()) for block in (registry_line, settings, preset_line)] == [
        1,
        1,
        1,
    ]


def test_the_contract_of_all_families_holds_for_the_new_one(folder):
    # As a plugin of pytest, it is registered before the contract asks which families there are.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/models/test_models.py",
        "-k",
        FAMILY,
        "-p",
        MODULE,
    ]
    options = ["-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:nbval", "-q"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT)]),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [*command, *options],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) >= 20


def test_the_preset_fits_the_data_and_the_settings_explain_themselves(family, dataset):
    experiment = preset(family, "smoke").fitted_to(dataset)
    assert type(build(experiment.model)) is REGISTRY[family][1] and type(
        experiment.model
    ) is config_class(family)
    rows = setting_rows(experiment.model)
    assert {row["setting"] for row in rows} == {
        "image_channels",
        "image_size",
        "num_layers",
        "hidden_dim",
    }
    assert all(row["meaning"] and row["range"] for row in rows)


def test_the_loss_is_the_exact_likelihood(small):
    """Oracle: the Jacobian of the map by automatic differentiation."""
    model = build(override(small.model, {"image_size": 4})).double()
    image = 2 * torch.rand(1, 1, 4, 4, generator=make_rng(0), dtype=torch.float64) - 1

    def to_noise(pixels):
        z = pixels[None]
        for index in range(model.config.num_layers):
            log_scale, shift = model.coupling(index, z)
            z = z * log_scale.exp() + shift
        return z[0]

    jacobian = torch.autograd.functional.jacobian(to_noise, image.flatten())
    noise_log_prob = torch.distributions.Normal(0.0, 1.0).log_prob(to_noise(image.flatten())).sum()
    torch.testing.assert_close(
        model.log_prob(image)[0], noise_log_prob + torch.linalg.slogdet(jacobian)[1]
    )


def test_it_trains_is_saved_and_comes_back(small, dataset, tmp_path):
    trained = run(small, dataset, tmp_path / "run")
    losses = trained.history.select("loss", "test")
    assert trained.record["finished"] and losses[-1] < losses[0]
    loaded = load_run(tmp_path / "run", small.family)
    assert same_weights(loaded.model, trained.model) and loaded.experiment == small
    first, second = (model.sample(3, rng=make_rng(1)) for model in (trained.model, loaded.model))
    assert torch.equal(first, second) and first.shape == (3, *dataset.image_shape)
    check_signed(first)
    batch = Batch(uint8_to_signed(dataset.test_images[:8]), dataset.test_labels[:8])
    assert {
        name: tuple(values.shape)
        for name, values in loaded.model.loss(batch, "model", rng=make_rng(0)).items()
    } == {"loss": (8,), "bits_per_pixel": (8,)}


def test_other_rooms_ask_the_model_what_it_can_do(small, dataset):
    model = build(small.model).eval()
    assert (model.can_sample, model.takes_labels, model.has_likelihood) == (True, False, True)
    assert (
        draw_images(model, 4, torch.full((dataset.num_classes,), 1 / dataset.num_classes)).dtype
        == torch.uint8
    )
    measured = negative_log_likelihood(model, dataset, num_draws=1)
    assert measured.num_images == len(dataset.test_images) and measured.error > 0
