"""Fixtures that all tests share. The environment of the whole session, notebooks included, is set
in the conftest.py above this folder.
"""

from __future__ import annotations

import pytest
from materials import make_dataset, write_idx_files


@pytest.fixture(autouse=True)
def own_folders(request, monkeypatch, tmp_path):
    """Each test reads and writes in folders of its own, on the CPU, whatever the user's environment
    says.
    """
    for name in ("COURSE_DATA", "COURSE_DATASET", "COURSE_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setenv("COURSE_DEVICE", "cpu")
    for name, value in {"OFFLINE": "1", "BUDGET": "smoke", "PROGRESS": "off"}.items():
        monkeypatch.setenv(f"COURSE_{name}", value)
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.accelerator.is_available():
        pytest.skip("needs a GPU")


@pytest.fixture(scope="session")
def dataset():
    """256 train and 64 test images of blobs, 1 x 28 x 28. Read it, do not change it."""
    return make_dataset()


@pytest.fixture
def tiny_vae():
    """An experiment that trains in a tenth of a second: a VAE of 4 latents, 3 epochs of 4 steps on
    the blobs.
    """
    from course_utils.models.vae import VAEConfig
    from course_utils.training.config import TrainConfig
    from course_utils.training.presets import Experiment

    train = TrainConfig(num_epochs=3, batch_size=64, num_validation_images=32)
    return Experiment("vae", "blobs", 0, VAEConfig(hidden_dims=(32,), latent_dim=4), train)


@pytest.fixture
def tiny_classifier(tiny_vae):
    """The same for a classifier, with a moving average of its weights."""
    from dataclasses import replace

    from course_utils.models.classifier import ClassifierConfig

    model = ClassifierConfig(num_classes=4, channels=(4, 4, 4), feature_dim=8)
    return replace(
        tiny_vae, family="classifier", model=model, train=replace(tiny_vae.train, ema_decay=0.9)
    )


@pytest.fixture
def idx_folder(tmp_path, monkeypatch):
    """A data folder with 200 train and 50 test digits in MNIST's layout; `COURSE_DATA` points to
    it.
    """
    folder = tmp_path / "data"
    write_idx_files(folder / "MNIST" / "raw", num_train=200, num_test=50)
    monkeypatch.setenv("COURSE_DATA", str(folder))
    return folder


@pytest.fixture
def few_strokes(monkeypatch):
    """Blobs in the place of strokes for the homework, and models that train at once."""
    from students import few_images, small_preset

    blobs = few_images()
    monkeypatch.setattr("course_utils.homework.student.load_dataset", lambda name, **_: blobs)
    monkeypatch.setattr("course_utils.homework.study.load_dataset", lambda name, **_: blobs)
    for module in ("study", "parameters", "rule"):
        monkeypatch.setattr(f"course_utils.homework.{module}.homework_preset", small_preset)
    return blobs


@pytest.fixture
def vae_place(tmp_path):
    """The VAE of a new homework with the smoke budget."""
    from course_utils.homework.study import new_homework, study_folder

    new_homework(tmp_path / "mine", "A. Student", "strokes", "smoke", (0, 1, 2))
    return study_folder(tmp_path / "mine", "vae")
