"""A training that was cut off goes on bit for bit, after an exception as after kill -9, and its
memory stays small.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from materials import run_python, same_weights
from safetensors import safe_open
from safetensors.torch import save_file
from toys import CONFIG, Stop, ToyGAN, stop_after, train

from course_utils.base.config import flatten_dict, override
from course_utils.base.errors import CourseError
from course_utils.training.config import TrainConfig
from course_utils.training.fit import fit


def without_seconds(history):
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in history.rows
    ]


@pytest.mark.parametrize(
    "changes",
    [{}, {"train.ema_decay": 0.9}, {"train.augmentation": "affine", "train.max_grad_norm": 1.0}],
    ids=str,
)
@pytest.mark.parametrize("name", ["tiny_vae", "tiny_classifier"])
@pytest.mark.parametrize("num_epochs_before", [1, 2])
def test_resume_equals_uninterrupted_bit_for_bit(
    dataset, request, tmp_path, name, changes, num_epochs_before
):
    experiment = override(request.getfixturevalue(name), changes)
    uninterrupted, expected = train(experiment, dataset)
    with pytest.raises(Stop):
        train(
            experiment,
            dataset,
            state_path=tmp_path / "state",
            on_epoch=stop_after(num_epochs_before),
        )
    epochs = []
    resumed, history = train(
        experiment,
        dataset,
        state_path=tmp_path / "state",
        on_epoch=lambda _, so_far: epochs.append(so_far.num_epochs),
    )
    assert epochs == list(range(num_epochs_before + 1, 4))
    assert same_weights(resumed, uninterrupted) and without_seconds(history) == without_seconds(
        expected
    )


def test_resume_of_two_parts_is_exact_too(dataset, tmp_path):
    def new():
        torch.manual_seed(0)
        return ToyGAN()

    uninterrupted, resumed = new(), new()
    fit(uninterrupted, dataset, CONFIG)
    with pytest.raises(Stop):
        fit(new(), dataset, CONFIG, state_path=tmp_path / "state", on_epoch=stop_after(1))
    fit(resumed, dataset, CONFIG, state_path=tmp_path / "state")
    assert same_weights(resumed, uninterrupted)


def test_a_finished_state_is_not_trained_again(dataset, tiny_vae, tmp_path):
    first, _ = train(tiny_vae, dataset, state_path=tmp_path / "state")
    again, history = train(tiny_vae, dataset, state_path=tmp_path / "state", on_epoch=stop_after(3))
    assert same_weights(first, again) and history.num_epochs == 3


def experiment_to_kill():
    from course_utils.models.classifier import ClassifierConfig
    from course_utils.training.presets import Experiment

    config = TrainConfig(
        num_epochs=3, batch_size=32, ema_decay=0.9, augmentation="affine", num_validation_images=16
    )
    return Experiment(
        "classifier",
        "blobs",
        4,
        ClassifierConfig(num_classes=4, channels=(4, 4, 4), feature_dim=8),
        config,
    )


# Two facts are read off one process, since a fresh one takes seconds to import torch: the memory
# that a training on 60,000 images takes, and what kill -9 leaves of another training.
CHILD = """
import os, signal, sys
from dataclasses import replace
import torch
sys.path.insert(0, sys.argv[2])
import test_resume as here
from materials import make_dataset
from course_utils.data.dataset import Dataset
from course_utils.training.registry import build
from course_utils.training.presets import preset
from course_utils.training.fit import fit
rng = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (70_000, 1, 28, 28), generator=rng, dtype=torch.uint8)
labels = torch.randint(0, 10, (70_000,), generator=rng)
parts = images[:60_000], labels[:60_000], images[60_000:], labels[60_000:]
noise = Dataset("noise", *parts, tuple("0123456789"), "noise")
experiment = preset("vae", "laptop")
fit(build(experiment.model), noise, replace(experiment.train, num_epochs=1, batch_size=3000))
print(here.peak_bytes(), flush=True)
def kill(model, history):
    if history.num_epochs == 2:
        os.kill(os.getpid(), signal.SIGKILL)
here.train(here.experiment_to_kill(), make_dataset(), state_path=sys.argv[1], on_epoch=kill)
"""


def peak_bytes() -> int:
    """Returns the largest resident size of this process so far. VmHWM is read first: a child's
    ru_maxrss can hold its parent's peak.
    """
    import resource

    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peak_kib = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)
    if peak_kib is not None:
        return 1024 * peak_kib
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The process that measured its memory and was killed, and the folder with its state."""
    folder = tmp_path_factory.mktemp("killed")
    return (
        run_python(CHILD, folder / "state.safetensors", Path(__file__).parent, check=False),
        folder,
    )


needs_posix = pytest.mark.skipif(os.name == "nt", reason="needs signals and the resource module")


@needs_posix
def test_training_on_60000_images_stays_below_two_gigabytes(killed):
    process, _ = killed
    assert process.stdout, process.stderr
    assert 1e8 < int(process.stdout.split()[0]) < 2e9


@needs_posix
def test_resume_after_kill_9_equals_uninterrupted_bit_for_bit(dataset, killed):
    process, folder = killed
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert os.listdir(folder) == ["state.safetensors"]
    resumed, history = train(experiment_to_kill(), dataset, state_path=folder / "state.safetensors")
    uninterrupted, expected = train(experiment_to_kill(), dataset)
    assert same_weights(resumed, uninterrupted) and without_seconds(history) == without_seconds(
        expected
    )


def changed_state(path, change):
    """Changes the identity in a state, as if another version of the course had written it."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    saved = json.loads(metadata["identity"])
    change(saved)
    save_file(tensors, path, {**metadata, "identity": json.dumps(saved)})


@pytest.fixture
def cut_off(dataset, tiny_vae, tmp_path):
    """Keywords that train a VAE whose first epoch is done already."""
    identity = {**flatten_dict(tiny_vae.as_dict()), "dataset_sha256": dataset.sha256}
    options = {"state_path": tmp_path / "state", "identity": identity}
    with pytest.raises(Stop):
        train(tiny_vae, dataset, on_epoch=stop_after(1), **options)
    return options


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.pop("train.schedule"),
        lambda saved: [saved.pop("model.network"), saved.pop("train.augmentation")],
        lambda saved: saved.update(dataset="blobs by another name"),
    ],
    ids=["one setting", "settings of both", "name of the data"],
)
def test_a_training_goes_on_after_an_update_that_adds_a_setting(dataset, tiny_vae, cut_off, change):
    uninterrupted, expected = train(tiny_vae, dataset)
    changed_state(cut_off["state_path"], change)
    resumed, history = train(tiny_vae, dataset, **cut_off)
    assert same_weights(resumed, uninterrupted)
    assert without_seconds(history) == without_seconds(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda saved: saved.update({"model.depth": 3}),
            "model.depth was 3, and this version of the course has no such setting",
        ),
        (lambda saved: saved.pop("train.batch_size"), "train.batch_size was 128, now 64"),
        (lambda saved: saved.pop("seed"), "seed was None, now 0"),
        (lambda saved: saved.update(dataset="a", dataset_sha256="0"), "dataset was 'a', now"),
    ],
    ids=["removed", "added with another value", "no setting", "other data"],
)
def test_a_state_of_other_settings_is_refused(dataset, tiny_vae, cut_off, change, message):
    changed_state(cut_off["state_path"], change)
    with pytest.raises(CourseError, match="belongs to another training") as error:
        train(tiny_vae, dataset, **cut_off)
    assert message in str(error.value)


def test_the_state_outlives_a_run_that_could_not_be_saved(dataset, tiny_vae, tmp_path, monkeypatch):
    """A full disk at the very end costs nothing: the next call goes on from the last epoch."""
    from course_utils.training import runs

    def full(*_):
        raise CourseError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "save_run", full)
        with pytest.raises(CourseError, match="the disk is full"):
            runs.run(tiny_vae, dataset, tmp_path / "run")
    assert (tmp_path / "run" / runs.STATE).exists()
    epochs = []
    finished = runs.run(
        tiny_vae, dataset, tmp_path / "run", on_epoch=lambda _, history: epochs.append(history)
    )
    assert epochs == [] and finished.history.num_epochs == 3
    assert not (tmp_path / "run" / runs.STATE).exists()
