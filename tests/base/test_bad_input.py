"""Bad input of every kind: each case ends in one CourseError that names what is wrong and says what
to do. Nothing is left behind.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from materials import make_dataset, write_idx
from PIL import Image
from toys import Stop, stop_after

from course_utils.base import files
from course_utils.base.config import override, parse_assignments
from course_utils.base.device import budget, make_rng, pick_device
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.data import load_dataset
from course_utils.data.mnist import FILES, raw_folder
from course_utils.models.vae import VAEConfig
from course_utils.training.presets import Experiment, preset
from course_utils.training.runs import HISTORY, RECORD, STATE, WEIGHTS, load_run, pretrained, run

SMALL = Experiment(
    "vae", "blobs", 0, VAEConfig(hidden_dims=(16,), latent_dim=3), preset("vae", "smoke").train
)
SMALL = override(
    SMALL, {"train.batch_size": 32, "train.num_train_images": None, "train.num_epochs": 2}
)
REMEDY = "Put a good copy of"


def small_run(folder: Path):
    return run(SMALL, make_dataset(num_train=64, num_test=16), folder)


@dataclass(frozen=True)
class Case:
    """`prepare` breaks something in a folder (and may return what `use` needs); `use` must raise an
    error with all `fragments`.
    """

    name: str
    prepare: Callable
    use: Callable
    fragments: tuple[str, ...]


def check(case: Case, folder: Path) -> None:
    prepared = case.prepare(folder)
    with pytest.raises(CourseError) as error:
        case.use(prepared)
    message = str(error.value)
    assert all(fragment.format(folder=folder) in message for fragment in case.fragments), message
    assert "\n" not in message.strip()


def nothing(_folder):
    return None


# Data


def broken_idx(file: str, change: Callable[[bytes], bytes]) -> Callable:
    def prepare(_folder):
        path = raw_folder("mnist") / file
        path.write_bytes(change(path.read_bytes()))

    return prepare


def replaced_idx(file: str, shape: tuple[int, ...], value: int = 0) -> Callable:
    return lambda _folder: write_idx(raw_folder("mnist") / file, torch.full(shape, value))


def directory_in_place_of(_folder):
    path = raw_folder("mnist") / FILES[0]
    path.unlink()
    path.mkdir()


def folder_with(*names: str) -> Callable:
    """Makes a folder with the named pictures; a name that starts with "text" is no picture at
    all.
    """

    def prepare(folder):
        (folder / "pictures").mkdir()
        for name in names:
            if name.startswith("text"):
                (folder / "pictures" / name).write_text("no picture")
            else:
                Image.new("L", (8, 8), 100).save(folder / "pictures" / name)
        return f"folder:{folder / 'pictures'}"

    return prepare


def load_mnist(_prepared):
    return load_dataset("mnist", verbose=False)


DATA = [
    Case(
        "unknown dataset",
        nothing,
        lambda _: load_dataset("minst"),
        ("unknown dataset 'minst'", "valid: auto, captions", "Did you mean 'mnist'?"),
    ),
    Case(
        "image size",
        nothing,
        lambda _: load_dataset("mnist", image_size=32),
        ("image_size: mnist has 28 by 28", "got 32", "only folder:PATH"),
    ),
    Case(
        "offline",
        nothing,
        lambda _: load_dataset("fashion"),
        ("fashion is not in", "COURSE_OFFLINE=1 forbids", "COURSE_DATA", "'strokes'"),
    ),
    Case(
        "truncated",
        broken_idx(FILES[0], lambda b: b[:-5]),
        load_mnist,
        (FILES[0], "expected 156816 bytes for shape", "got 156811", REMEDY),
    ),
    Case(
        "too long",
        broken_idx(FILES[3], lambda b: b + b"!"),
        load_mnist,
        (FILES[3], "expected 58 bytes for shape [50], got 59", REMEDY),
    ),
    Case(
        "magic number",
        broken_idx(FILES[2], lambda b: b"\x1f\x8c" + b[2:]),
        load_mnist,
        (FILES[2], "magic number 00000803, got 1f8c0803", REMEDY),
    ),
    Case(
        "damaged gzip",
        broken_idx(FILES[2], lambda b: b"\x1f\x8b" + b[2:]),
        load_mnist,
        (FILES[2], "cannot be unpacked", REMEDY),
    ),
    Case(
        "labels as images",
        broken_idx(FILES[0], lambda b: bytes([0, 0, 8, 1]) + b[4:]),
        load_mnist,
        (FILES[0], "magic number", "00000801"),
    ),
    Case(
        "empty file",
        broken_idx(FILES[1], lambda b: b""),
        load_mnist,
        (FILES[1], "got an empty file", REMEDY),
    ),
    Case(
        "header cut off",
        broken_idx(FILES[0], lambda b: b[:9]),
        load_mnist,
        (FILES[0], "the header is cut off after 9 bytes", REMEDY),
    ),
    Case(
        "negative size",
        broken_idx(FILES[1], lambda b: b[:4] + b"\xff" * 4 + b[8:]),
        load_mnist,
        (FILES[1], "shape [-1]", REMEDY),
    ),
    Case(
        "missing file",
        lambda _: (raw_folder("mnist") / FILES[1]).unlink(),
        load_mnist,
        (FILES[1], "cannot read", "No such file", REMEDY),
    ),
    Case("unreadable file", directory_in_place_of, load_mnist, (FILES[0], "cannot read", REMEDY)),
    Case(
        "label count",
        replaced_idx(FILES[1], (199,)),
        load_mnist,
        ("mnist: 200 train images but 199 labels", "do not belong together"),
    ),
    Case(
        "label range",
        replaced_idx(FILES[3], (50,), 10),
        load_mnist,
        ("mnist: test labels go up to 10, expected 0 to 9",),
    ),
    Case(
        "image shape",
        replaced_idx(FILES[2], (50, 32, 32)),
        load_mnist,
        (FILES[2], "expected images of 28 by 28 pixels, got [32, 32]"),
    ),
    Case(
        "no images",
        replaced_idx(FILES[0], (0, 28, 28)),
        load_mnist,
        ("mnist: the train set has 0 images; expected at least 1",),
    ),
    Case(
        "no folder",
        nothing,
        lambda _: load_dataset("folder:/no/such"),
        ("folder:/no/such: there is no such folder", "Give the folder"),
    ),
    Case(
        "empty folder",
        folder_with(),
        load_dataset,
        ("folder:{folder}", "expected at least 10 images", ".png", "found 0"),
    ),
    Case(
        "few pictures",
        folder_with(*(f"{i}.png" for i in range(9)), "text.txt"),
        load_dataset,
        ("expected at least 10 images", "found 9"),
    ),
    Case(
        "text as picture",
        folder_with(*(f"{i}.png" for i in range(11)), "text.png"),
        load_dataset,
        ("text.png: is not a picture", "Remove it"),
    ),
]


@pytest.mark.parametrize("case", DATA, ids=lambda case: case.name)
def test_bad_data(case, idx_folder, tmp_path):
    check(case, tmp_path)


# Names in the environment, settings, images

NAN = torch.zeros(1, 1, 4, 4).fill_(float("nan"))
VALUES = [
    Case(
        "COURSE_BUDGET",
        lambda _: "huge",
        lambda _: budget(),
        ("unknown COURSE_BUDGET 'huge'", "valid: gpu, laptop, smoke"),
    ),
    Case(
        "COURSE_DEVICE",
        lambda _: "abacus",
        lambda _: pick_device(),
        ("unknown COURSE_DEVICE", "'abacus'", "valid: cpu"),
    ),
    Case(
        "COURSE_DATASET",
        lambda _: "digits",
        lambda _: load_dataset(),
        ("unknown dataset (from COURSE_DATASET) 'digits'", "valid: auto, captions"),
    ),
    Case(
        "family",
        nothing,
        lambda _: preset("wae"),
        ("unknown family 'wae'", "valid: classifier, dcgan, dcgan-broken", "Did you mean 'vae'?"),
    ),
    Case(
        "budget",
        nothing,
        lambda _: preset("vae", "lap"),
        ("unknown budget 'lap'", "valid: gpu, laptop, smoke"),
    ),
    Case(
        "latent_dim",
        nothing,
        lambda _: VAEConfig(latent_dim=-2),
        ("latent_dim: expected at least 1, got -2",),
    ),
    Case(
        "key",
        nothing,
        lambda _: override(SMALL, {"model.latentdim": 2}),
        ("'model.latentdim'", "model.beta, ", "Did you mean 'model.latent_dim'?"),
    ),
    Case(
        "type",
        nothing,
        lambda _: override(SMALL, {"model.latent_dim": "8"}),
        ("model.latent_dim: expected a whole number, got '8'",),
    ),
    Case(
        "choice",
        nothing,
        lambda _: override(SMALL, {"model.network": "cnn"}),
        ("model.network: expected one of 'mlp', 'conv', got 'cnn'",),
    ),
    Case(
        "set twice",
        nothing,
        lambda _: parse_assignments(["seed=1", "seed=1"]),
        ("seed is set twice; set it once",),
    ),
    Case(
        "no equals sign",
        nothing,
        lambda _: parse_assignments(["seed"]),
        ("expected name=value, got 'seed'", "for example"),
    ),
    Case(
        "NaN images",
        nothing,
        lambda _: signed_to_uint8(NAN),
        ("expected images in [-1, 1], got values from nan to nan",),
    ),
    Case(
        "wrong range",
        nothing,
        lambda _: signed_to_uint8(NAN.nan_to_num(3.0)),
        ("expected images in [-1, 1], got values from 3 to 3",),
    ),
    Case(
        "uint8",
        nothing,
        lambda _: signed_to_uint8(NAN.byte()),
        ("expected float images in [-1, 1], got torch.uint8", "uint8_to_signed"),
    ),
    Case(
        "wrong config",
        nothing,
        lambda _: replace(SMALL, family="classifier"),
        ("'classifier' needs a ClassifierConfig, got VAEConfig",),
    ),
    Case(
        "nothing ships",
        nothing,
        lambda _: pretrained("vae", "blobs"),
        ("unknown pretrained run 'vae-blobs'", "vae-strokes"),
    ),
]


@pytest.mark.parametrize("case", VALUES, ids=lambda case: case.name)
def test_bad_values(case, tmp_path, monkeypatch):
    if case.name.startswith("COURSE_"):
        monkeypatch.setenv(case.name, case.prepare(tmp_path))
    check(case, tmp_path)


# Run directories


def damaged(file: str, change: Callable[[bytes], bytes]) -> Callable:
    def prepare(folder):
        small_run(folder / "run")
        path = folder / "run" / file
        path.write_bytes(change(path.read_bytes()))
        return folder / "run"

    return prepare


def without(file: str) -> Callable:
    def prepare(folder):
        small_run(folder / "run")
        (folder / "run" / file).unlink()
        return folder / "run"

    return prepare


def drop(values: dict, name: str) -> None:
    del values[name]


def record_changed(change: Callable[[dict], None]) -> Callable:
    def rewrite(content: bytes) -> bytes:
        record = json.loads(content)
        change(record)
        return json.dumps(record).encode()

    return damaged(RECORD, rewrite)


def cut_off(folder):
    with pytest.raises(Stop):
        run(SMALL, make_dataset(num_train=64, num_test=16), folder / "run", on_epoch=stop_after(1))
    return folder / "run"


def cut_off_and_damaged(folder):
    path = cut_off(folder) / STATE
    path.write_bytes(path.read_bytes()[:-100])
    return folder / "run"


def resume_with(num_train: int = 64, **changes) -> Callable:
    names = {name.replace("__", "."): value for name, value in changes.items()}
    return lambda folder: run(
        override(SMALL, names), make_dataset(num_train=num_train, num_test=16), folder
    )


def of_another_model(folder):
    small_run(folder / "run")
    other = run(
        override(SMALL, {"model.latent_dim": 5}),
        make_dataset(num_train=64, num_test=16),
        folder / "other",
    )
    content = (other.folder / WEIGHTS).read_bytes()
    (folder / "run" / WEIGHTS).write_bytes(content)
    record = json.loads((folder / "run" / RECORD).read_text())
    record["weights_sha256"] = json.loads((other.folder / RECORD).read_text())["weights_sha256"]
    (folder / "run" / RECORD).write_text(json.dumps(record))
    return folder / "run"


RUNS = [
    Case(
        "no folder",
        lambda folder: folder / "none",
        load_run,
        ("{folder}/none: there is no such run directory", "`course train` makes one"),
    ),
    Case(
        "no record",
        without(RECORD),
        load_run,
        ("run: has no experiment.json", "it is not a run directory"),
    ),
    Case(
        "no weights",
        without(WEIGHTS),
        load_run,
        (WEIGHTS, "cannot be read as safetensors", "train or copy the run again"),
    ),
    Case("no history", without(HISTORY), load_run, ("cannot read", HISTORY)),
    Case(
        "unfinished",
        cut_off,
        load_run,
        ("has no experiment.json", "its training was cut off", "--resume"),
    ),
    Case(
        "weights cut",
        damaged(WEIGHTS, lambda b: b[:-8]),
        load_run,
        (WEIGHTS, "cannot be read as safetensors", "again"),
    ),
    Case(
        "weights changed",
        damaged(WEIGHTS, lambda b: b[:-1] + bytes([b[-1] ^ 1])),
        load_run,
        (WEIGHTS, "SHA-256", "damaged", "again"),
    ),
    Case(
        "pickled weights",
        damaged(WEIGHTS, lambda b: b"\x80\x04N."),
        load_run,
        (WEIGHTS, "cannot be read as safetensors"),
    ),
    Case(
        "other weights",
        of_another_model,
        load_run,
        (WEIGHTS, "the settings in experiment.json need", "it belongs to another model"),
    ),
    Case(
        "another family",
        lambda folder: small_run(folder).folder,
        lambda f: load_run(f, "classifier"),
        ("expected a classifier, got a vae",),
    ),
    Case(
        "broken JSON",
        damaged(RECORD, lambda b: b[:40]),
        load_run,
        (RECORD, "cannot read", "Expected a JSON file written by this course"),
    ),
    Case(
        "no JSON object",
        damaged(RECORD, lambda b: b"[1]"),
        load_run,
        (RECORD, "expected a JSON object, got list"),
    ),
    Case(
        "binary record", damaged(RECORD, lambda b: b"\xff\xfe"), load_run, (RECORD, "cannot read")
    ),
    Case(
        "broken history",
        damaged(HISTORY, lambda b: b[:-5]),
        load_run,
        ("expected a JSON object", HISTORY),
    ),
    Case(
        "no experiment",
        record_changed(lambda r: drop(r, "experiment")),
        load_run,
        (RECORD, "'experiment' is missing"),
    ),
    Case(
        "no checksum",
        record_changed(lambda r: drop(r, "weights_sha256")),
        load_run,
        (RECORD, "'weights_sha256' is missing"),
    ),
    Case(
        "no seed",
        record_changed(lambda r: drop(r["experiment"], "seed")),
        load_run,
        ("experiment: expected an object with dataset, family, model, seed, train",),
    ),
    Case(
        "new setting",
        record_changed(lambda r: r["experiment"]["model"].update(depth=3)),
        load_run,
        ("setting of VAEConfig 'depth'", "valid:"),
    ),
    Case(
        "new family",
        record_changed(lambda r: r["experiment"].update(family="flow")),
        load_run,
        ("unknown family 'flow'", "valid: "),
    ),
    Case(
        "other settings",
        cut_off,
        resume_with(model__latent_dim=8),
        (STATE, "another training: model.latent_dim was 3, now 8", "another folder"),
    ),
    Case(
        "two settings",
        cut_off,
        resume_with(seed=4, train__learning_rate=0.5),
        ("seed was 0, now 4; train.learning_rate was 0.003, now 0.5",),
    ),
    Case(
        "other data",
        cut_off,
        resume_with(num_train=96),
        (STATE, "belongs to another training: dataset_sha256 was"),
    ),
    Case(
        "damaged state",
        cut_off_and_damaged,
        resume_with(),
        (STATE, "cannot be resumed from", "Delete it to train from the start"),
    ),
    Case(
        "folder in use",
        lambda f: small_run(f / "run").folder,
        resume_with(seed=1),
        ("holds a finished run of other settings", "another folder"),
    ),
]


@pytest.mark.parametrize("case", RUNS, ids=lambda case: case.name)
def test_bad_runs(case, tmp_path):
    check(case, tmp_path)


# Writing


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CourseError) as error:
        files.write_text(tmp_path / "taken" / "run.json", "{}")
    assert f"cannot write {tmp_path / 'taken' / 'run.json'}" in str(
        error.value
    ) and "choose a folder that you may write to" in str(error.value)
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_folder_where_a_file_is_needed(tmp_path):
    (tmp_path / "file.json").mkdir()
    with pytest.raises(CourseError) as error:
        files.write_text(tmp_path / "file.json", "{}")
    assert "cannot write" in str(error.value) and list(tmp_path.iterdir()) == [
        tmp_path / "file.json"
    ]


def test_a_disk_that_is_full_at_the_last_step_leaves_the_old_file(tmp_path, monkeypatch):
    files.write_text(tmp_path / "file.json", "old")
    monkeypatch.setattr(files.os, "replace", full_disk)
    with pytest.raises(CourseError) as error:
        files.write_text(tmp_path / "file.json", "new")
    assert "No space left on device; nothing was changed. Free some disk space" in str(error.value)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file.json", "old")]


@contextmanager
def tiny_disk():
    """Inside, no file of this process can grow beyond 2 kB; the system says so by an error, as it
    does on a full disk.

    It must not outlast the call that is tested: the test runner writes files of its own.
    """
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_while_the_state_is_written(tmp_path):
    """safetensors has an error of its own for this, which is no OSError."""
    with pytest.raises(CourseError) as error, tiny_disk():
        run(SMALL, make_dataset(num_train=64, num_test=16), tmp_path / "run")
    assert f"cannot write {tmp_path / 'run' / STATE}" in str(
        error.value
    ) and "Free some disk space" in str(error.value)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_full_disk_keeps_the_last_state_and_the_training_goes_on_from_it(tmp_path, monkeypatch):
    folder = cut_off(tmp_path)
    before = (folder / STATE).read_bytes()
    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(CourseError) as error:
        small_run(folder)
    assert "No space left on device" in str(error.value)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [(STATE, before)]
    monkeypatch.undo()
    assert small_run(folder).record["finished"]


@pytest.mark.parametrize("n", [0, -1, 1.5, "3"])
def test_numbers_of_samples_that_are_no_counts(n, tmp_path):
    model = small_run(tmp_path).model
    with pytest.raises(CourseError) as error:
        model.sample(n, rng=make_rng(0))
    assert f"number of samples: expected a whole number of at least 1, got {n!r}" in str(
        error.value
    )
