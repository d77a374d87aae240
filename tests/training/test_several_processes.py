"""Two processes that train one model together give what one process gives, and write one run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress

import pytest
import torch
from materials import PROJECT, make_dataset, same_weights, write_idx_files

from course_utils.base.config import override
from course_utils.base.device import batch_share, make_rng, own_rows, rand, randn
from course_utils.models.blocks import SharedBatchNorm2d, share_batch_norms
from course_utils.training.fit import fit
from course_utils.training.presets import preset
from course_utils.training.registry import build
from course_utils.training.runs import load_run

# Every kind of draw and every statistic of a batch is in one of them. In float32 and with channels
# first, since bf16, and torch's batch normalisation with channels last, round by 1e-5 and more.
TINY = {
    "train.num_epochs": 2,
    "train.batch_size": 32,
    "train.num_validation_images": 32,
    "train.precision": "no",
    "train.channels_last": False,
}
CASES: dict[str, dict] = {
    "vae": {"model.hidden_dims": (16,), "model.latent_dim": 4, "train.max_grad_norm": 1.0},
    "vae-iw": {
        "model.hidden_dims": (16,),
        "model.latent_dim": 4,
        "model.num_importance_samples": 3,
        "model.binarisation": "dynamic",
    },
    "vae-free": {"model.hidden_dims": (16,), "model.latent_dim": 4, "model.free_bits": 0.5},
    "diffusion": {"model.channels": (8, 8), "model.embed_dim": 16, "train.augmentation": "affine"},
    "classifier": {"model.channels": (4, 4, 4), "train.augmentation": "flip"},
    "gaussian": {"model.latent_dim": 2},
    "dcgan": {
        "model.generator_width": 4,
        "model.discriminator_width": 4,
        "model.gradient_penalty_weight": 1.0,
        "model.penalty_share": 0.25,
    },
}


def train(case: str, **options):
    """Trains a case on the blobs; returns the model and its history."""
    experiment = override(preset(case.partition("-")[0], "laptop"), TINY | CASES[case])
    dataset = make_dataset()
    experiment = experiment.fitted_to(dataset)
    model = build(experiment.model, experiment.seed)
    return model, fit(model, dataset, experiment.train, seed=3, **options)


# What each of two processes does; the main one's results and the other's are compared as well.
WORKER = """
import json, sys
from pathlib import Path
sys.path.insert(0, "tests/training")
from course_utils.base.errors import CourseError
from course_utils.base.device import in_main, processes
from course_utils.training.fit import TrainingDiverged
import test_several_processes as cases
folder, rank = Path(sys.argv[1]), processes().process_index
told = {"rows": {}, "messages": [], "calls": 0}
for case in cases.CASES:
    told["rows"][case] = cases.train(case)[1].rows

def refused(*arguments, **options):
    try:
        cases.train(*arguments, **options)
    except CourseError as error:
        told["messages"].append(str(error))

def stop(_, history):
    told["calls"] += 1
    raise KeyboardInterrupt

def fail(*_):
    raise ValueError("of the main process alone")

state = folder / "state"
told["interrupted"] = cases.train("diffusion", state_path=state, on_epoch=stop)[1].num_epochs
told["resumed"] = cases.train("diffusion", state_path=state)[1].rows
cases.TINY["train.batch_size"] = 33
refused("vae")
cases.TINY["train.batch_size"] = 32
cases.CASES["vae"]["train.learning_rate"] = 1e30
cases.CASES["vae"]["train.max_grad_norm"] = None
refused("vae")
try:
    in_main(fail)
except (CourseError, ValueError) as error:
    told["messages"].append(type(error).__name__)
(folder / f"{rank}.json").write_text(json.dumps(told))
"""


def launch(arguments: list[str], **environment: str) -> list[subprocess.CompletedProcess]:
    """Runs Python twice, as `torchrun --nproc_per_node 2` would, and returns what both did."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": "1", "COURSE_DEVICE": "cpu", "PYTHONPATH": path}
    started = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **shared, **environment, "RANK": rank, "LOCAL_RANK": rank},
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            with suppress(OSError):
                process.kill()
    return [
        subprocess.CompletedProcess(arguments, process.returncode, *output)
        for process, output in zip(started, outputs)
    ]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the two processes found."""
    folder = tmp_path_factory.mktemp("two")
    done = launch(["-c", WORKER, str(folder)])
    assert [process.returncode for process in done] == [0, 0], done[0].stderr + done[1].stderr
    assert "stopped by hand after 1 of 2 epochs" in done[0].stdout and done[1].stdout == ""
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def same_rows(rows, others, tolerance: float, *, but: tuple[str, ...] = ("seconds",)) -> None:
    assert len(rows) == len(others) > 0
    for row, other in zip(rows, others):
        assert list(row) == list(other)
        for name in {*row} - {*but}:
            same = row[name] == other[name] or abs(row[name] - other[name]) <= (
                tolerance * abs(other[name])
            )
            assert same, (name, row, other)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_curve_of_one(told, case):
    # who lies beside an image in the batch is another question in each process
    but = ("seconds", "diversity", "real_diversity") if case == "dcgan" else ("seconds",)
    same_rows(told[0]["rows"][case], train(case)[1].rows, 1e-4, but=but)


@pytest.mark.parametrize("case", CASES)
def test_both_processes_have_one_history(told, case):
    same_rows(told[0]["rows"][case], told[1]["rows"][case], 1e-12)


def test_a_stop_by_the_main_process_stops_both_and_the_training_goes_on_as_if_there_was_none(told):
    assert [each["interrupted"] for each in told] == [1, 1]
    assert [each["calls"] for each in told] == [1, 0]
    for each in told:
        same_rows(each["resumed"], told[0]["rows"]["diffusion"], 1e-12)


def test_what_cannot_be_shared_and_what_goes_wrong_is_told_in_both(told):
    for each, last in zip(told, ("ValueError", "CourseError")):
        indivisible, diverged, error = each["messages"]
        expected = "batch_size: expected a multiple of the 2 processes, which share it equally"
        assert indivisible == f"{expected}, got 33."
        assert "the loss of 'model' is" in diverged and error == last
    assert told[0]["messages"][1] == told[1]["messages"][1]


def test_the_command_writes_one_run(tmp_path):
    write_idx_files(tmp_path / "data" / "MNIST" / "raw", num_train=200, num_test=50)
    changes = ("train.num_epochs=2", "train.batch_size=50", "model.hidden_dims=[16]")
    words = ["-m", "course_utils.cli.main", "train", "vae", "--dataset", "mnist"]
    words += [word for change in changes for word in ("--set", change)]
    main, other = launch(words, COURSE_DATA=str(tmp_path / "data"), COURSE_RUNS=str(tmp_path / "r"))
    assert (main.returncode, other.returncode) == (0, 0), main.stderr + other.stderr
    assert "2 epochs in" in main.stdout and other.stdout == other.stderr == ""
    (folder,) = (tmp_path / "r").iterdir()
    names = {"model.safetensors", "experiment.json", "history.jsonl", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert load_run(folder, "vae").history.num_epochs == 2


@pytest.mark.parametrize("batch_axis", [0, 1, -2])
def test_shares_of_a_draw_make_up_the_draw(batch_axis):
    like = torch.zeros(1)

    def draws(shape):
        return [
            randn(shape, make_rng(1), like, batch_axis=batch_axis),
            rand(shape, make_rng(1), like.device, batch_axis=batch_axis),
            own_rows(shape, torch.zeros, batch_axis),
        ]

    whole = draws((6, 6, 2))
    share = [6, 6, 2]
    share[batch_axis] = 2
    for rank in range(3):
        with batch_share(rank, 3):
            own = draws(tuple(share))
        for one, all_rows in zip(own, whole):
            rows = torch.arange(rank, 6, 3)
            assert torch.equal(one, all_rows.index_select(batch_axis, rows))
    assert all(torch.equal(one, again) for one, again in zip(draws((6, 6, 2)), whole))


def test_a_shared_batch_norm_of_one_process_is_the_plain_one():
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3))
    shared = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3))
    shared.load_state_dict(plain.state_dict())
    share_batch_norms(shared)
    assert type(shared[1]) is SharedBatchNorm2d
    images = torch.randn(8, 1, 9, 9)
    assert torch.equal(plain(images), shared(images)) and same_weights(plain, shared)
