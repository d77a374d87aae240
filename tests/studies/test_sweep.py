"""Sweeps: rows that are right, written at once, kept through any crash, and equal however many
processes made them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from materials import make_dataset, run_python
from students import few_images

from course_utils.base.config import override
from course_utils.base.errors import CourseError
from course_utils.homework.measure import measured_run
from course_utils.studies.sweep import (
    RUN_COLUMNS,
    NamedData,
    SweepProgress,
    curve_columns,
    portable,
    read_rows,
    sweep,
    thinned,
    work,
)
from course_utils.training import runs as experiment_module
from course_utils.training.history import History
from course_utils.training.runs import default_folder, experiment_key, run

FEW = partial(measured_run, num_images=32)
TIMES = ("started", "finished", "training_seconds", "sampling_seconds")


@pytest.fixture
def epochs(monkeypatch):
    """One entry for each epoch that is trained in this process: the seed."""
    trained = []
    fit = experiment_module.fit

    def counting(model, data, config, *, seed=0, on_epoch=None, **options):
        def count(model, history):
            trained.append(seed)
            if on_epoch is not None:
                on_epoch(model, history)

        return fit(model, data, config, seed=seed, on_epoch=count, **options)

    monkeypatch.setattr(experiment_module, "fit", counting)
    return trained


def seeds_of(experiment, num: int) -> list:
    return [replace(experiment, seed=seed) for seed in range(num)]


def timeless(rows) -> list[dict]:
    """Returns rows without what differs from call to call."""
    kept = [{name: value for name, value in row.items() if name not in TIMES} for row in rows]
    return [
        {
            **row,
            "history": {
                name: values
                for name, values in row["history"].items()
                if not name.endswith("seconds")
            },
        }
        for row in kept
    ]


def test_a_row_says_what_a_run_is_and_what_was_measured(dataset, tiny_vae, tmp_path):
    (row,) = sweep([tiny_vae], dataset, FEW, tmp_path / "rows.jsonl", labels=[{"kind": "baseline"}])
    result = run(tiny_vae, dataset)
    fitted = tiny_vae.fitted_to(dataset)
    assert row["experiment"] == fitted.as_dict() and row["kind"] == "baseline" and row["seed"] == 0
    assert row["key"] == experiment_key(fitted.as_dict(), dataset.sha256) and row["key"].startswith(
        default_folder(fitted, dataset).name[-10:]
    )
    assert row["metrics"] == FEW(result, dataset)["metrics"]
    assert row["metrics"]["negative ELBO"]["value"] == result.metric("negative_elbo")[0]
    assert (
        row["history"]["test.kl"] == result.history.select("kl", "test")
        and len(row["history"]["train.loss"]) == 3
    )
    assert row["started"] < row["finished"] and read_rows(tmp_path / "rows.jsonl") == [row]


def test_what_is_finished_is_not_run_again(dataset, tiny_vae, tmp_path, epochs):
    path = tmp_path / "rows.jsonl"
    first = sweep(seeds_of(tiny_vae, 2), dataset, FEW, path)
    assert epochs == [0, 0, 0, 1, 1, 1]
    again = sweep(seeds_of(tiny_vae, 3), dataset, FEW, path)
    assert epochs == [0, 0, 0, 1, 1, 1, 2, 2, 2] and again[:2] == first and read_rows(path) == again


def test_equal_experiments_are_run_once_whatever_they_are_for(dataset, tiny_vae, tmp_path, epochs):
    labels = [{"kind": "baseline"}, {"kind": "changed"}, {"kind": "baseline"}]
    rows = sweep([tiny_vae] * 3, dataset, FEW, tmp_path / "rows.jsonl", labels=labels)
    assert epochs == [0, 0, 0] and [row["kind"] for row in rows] == [
        "baseline",
        "changed",
        "baseline",
    ]
    assert timeless(rows)[0]["metrics"] == timeless(rows)[1]["metrics"]
    assert [row["kind"] for row in read_rows(tmp_path / "rows.jsonl")] == ["baseline", "changed"]
    sweep([tiny_vae], dataset, FEW, tmp_path / "rows.jsonl", labels=[{"kind": "ablation"}])
    assert epochs == [0, 0, 0] and len(read_rows(tmp_path / "rows.jsonl")) == 3


def test_runs_of_another_program_are_found(dataset, tiny_vae, tmp_path, epochs):
    run(tiny_vae, dataset)
    sweep([tiny_vae], dataset, FEW, tmp_path / "rows.jsonl")
    assert epochs == [0, 0, 0]


def test_shipped_weights_serve_where_the_settings_are_equal(
    dataset, tiny_vae, tmp_path, monkeypatch, epochs
):
    shipped = run(tiny_vae, dataset, tmp_path / "shipped")
    monkeypatch.setattr(
        experiment_module,
        "find_shipped",
        lambda experiment, _: shipped.folder if experiment == shipped.experiment else None,
    )
    rows = sweep(seeds_of(tiny_vae, 2), dataset, FEW, tmp_path / "rows.jsonl")
    assert epochs == [0, 0, 0, 1, 1, 1] and rows[0]["training_seconds"] == pytest.approx(
        shipped.record["training_seconds"], abs=1e-3
    )


KILLED = """
import os, signal, sys
from dataclasses import replace
from functools import partial
import pickle
from course_utils.homework.measure import measured_run
from course_utils.studies.sweep import sweep
from course_utils.studies.sweep import SweepProgress

path, fatal_epoch, fatal_run = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
experiment, dataset = pickle.load(open(sys.argv[4], "rb"))
epochs, runs = [], []
whole = SweepProgress.epoch_finished
def epoch_finished(self):
    epochs.append(1)
    if len(epochs) == fatal_epoch:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(self)
SweepProgress.epoch_finished = epoch_finished
def measured(run, dataset):
    runs.append(1)
    if len(runs) == fatal_run:
        os.kill(os.getpid(), signal.SIGKILL)
    return measured_run(run, dataset, num_images=32)
sweep([replace(experiment, seed=seed) for seed in range(3)], dataset, measured, path)
"""


@pytest.mark.parametrize(
    ("fatal_epoch", "fatal_run", "num_rows", "left"),
    [(5, 0, 1, [1, 2, 2, 2]), (0, 2, 1, [2, 2, 2]), (1, 0, 0, None)],
)
def test_a_sweep_that_was_killed_goes_on_where_it_was(
    dataset, tiny_vae, tmp_path, epochs, fatal_epoch, fatal_run, num_rows, left
):
    """Killed in the fifth epoch's wake, or while the second run is measured: whole rows only, and
    no epoch is trained twice.
    """
    import pickle

    whole = sweep(seeds_of(tiny_vae, 3), dataset, FEW, tmp_path / "whole.jsonl")
    for folder in (tmp_path / "runs").iterdir():
        folder.rename(tmp_path / f"away-{folder.name}")
    (tmp_path / "given.pickle").write_bytes(pickle.dumps((tiny_vae, dataset)))
    path = tmp_path / "rows.jsonl"
    result = run_python(
        KILLED, path, fatal_epoch, fatal_run, tmp_path / "given.pickle", check=False
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert len(read_rows(path)) == num_rows
    epochs.clear()
    rows = sweep(seeds_of(tiny_vae, 3), dataset, FEW, path)
    assert epochs == (left if left is not None else [0, 0, 1, 1, 1, 2, 2, 2])
    assert timeless(rows) == timeless(whole) and read_rows(path) == rows


def test_a_run_that_fails_stops_no_other_and_is_named(dataset, tiny_vae, tmp_path, epochs):
    bad = override(tiny_vae, {"train.learning_rate": 1e30, "seed": 7})
    with pytest.raises(
        CourseError, match=r"1 of 3 runs failed; the others are kept\. vae, seed 7: the loss of"
    ):
        sweep([tiny_vae, bad, replace(tiny_vae, seed=1)], dataset, FEW, tmp_path / "rows.jsonl")
    assert [row["seed"] for row in read_rows(tmp_path / "rows.jsonl")] == [0, 1]


def test_numbers_that_are_none_are_no_row(dataset, tiny_vae, tmp_path):
    def nothing(run, dataset):
        return {
            "metrics": {"KID": {"value": float("nan"), "error": None, "num_images": 3}},
            "sampling_seconds": 0.1,
        }

    with pytest.raises(CourseError, match="KID: expected a finite number, got nan"):
        sweep([tiny_vae], dataset, nothing, tmp_path / "rows.jsonl")
    assert read_rows(tmp_path / "rows.jsonl") == []


def test_ctrl_c_keeps_what_is_finished(dataset, tiny_vae, tmp_path, monkeypatch, epochs):
    def stop_in_the_fifth(self):
        if len(epochs) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SweepProgress, "epoch_finished", stop_in_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            sweep(seeds_of(tiny_vae, 2), dataset, FEW, tmp_path / "rows.jsonl")
    assert len(read_rows(tmp_path / "rows.jsonl")) == 1
    sweep(seeds_of(tiny_vae, 2), dataset, FEW, tmp_path / "rows.jsonl")
    assert epochs == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers: expected a whole number of at least 1, got 0"),
        ({"backend": "mpi"}, "unknown backend 'mpi'; valid: dask, loky"),
        ({"scheduler": "tcp://x:1"}, "belongs to the backend 'dask'"),
        ({"labels": []}, "expected one for each of 1 experiments"),
    ],
)
def test_bad_arguments(dataset, tiny_vae, tmp_path, options, message):
    with pytest.raises(CourseError, match=message):
        sweep([tiny_vae], dataset, FEW, tmp_path / "rows.jsonl", **options)


@pytest.mark.parametrize("line", ["{", "[]", '{"key": "x"}'])
def test_a_damaged_row_is_named(tmp_path, dataset, tiny_vae, line):
    path = tmp_path / "rows.jsonl"
    sweep([tiny_vae], dataset, FEW, path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CourseError, match=r"rows\.jsonl, line 2: .*remove the line"):
        sweep([tiny_vae], dataset, FEW, path)


def test_curves_are_columns_and_short(dataset):
    rows = [
        {"epoch": epoch, "split": split, "part": part, "loss": epoch / 2}
        for epoch in range(1, 501)
        for split in "ab"
        for part in "de"
    ]
    found = curve_columns(History(rows))
    assert set(found) == {
        f"{part}.{split}.{name}" for part in "de" for split in "ab" for name in ("epoch", "loss")
    }
    assert all(len(values) == 200 and values[-1] == values[0] * 500 for values in found.values())
    assert thinned([1, 2, 3], 2) == [1, 3] and thinned([1.0], 200) == [1.0]


def test_progress_estimates_from_the_pace(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress = SweepProgress({"a": 4, "b": 4, "c": 8}, 5)
    assert progress.seconds_left is None
    clock[0] = 10.0
    progress.epoch_finished()
    assert progress.seconds_left == pytest.approx(150.0)  # 15 of 16 epochs at 10 s
    clock[0] = 40.0
    progress.run_finished("a", "a")
    assert progress.seconds_left == pytest.approx(120.0)  # 12 epochs at 10 s
    progress.run_finished("b", "b", trained=False)  # only found: says nothing about the pace
    assert progress.seconds_left == pytest.approx(80.0)
    text = capsys.readouterr().out
    assert (
        "5 runs, 2 of them finished before" in text
        and "about 150 s for all of them" not in text
        and "about 2 min for all of them" in text
    )
    assert (
        "run 3 of 5 (a) finished; about 2 min left" in text
        and "run 4 of 5 (b) finished; about 80 s left" in text
    )


# Several processes.


@pytest.fixture
def one_thread():
    """Sums are rounded alike only where equally many threads share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def elsewhere(tmp_path, monkeypatch, name: str) -> None:
    """Lets what follows find none of the runs before."""
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / name))


def test_processes_give_the_rows_of_one(dataset, tiny_vae, tmp_path, monkeypatch, one_thread):
    serial = sweep(seeds_of(tiny_vae, 3), dataset, FEW, tmp_path / "serial.jsonl")
    elsewhere(tmp_path, monkeypatch, "others")
    parallel = sweep(seeds_of(tiny_vae, 3), dataset, FEW, tmp_path / "parallel.jsonl", workers=2)
    assert timeless(parallel) == timeless(serial)
    assert sorted(row["seed"] for row in read_rows(tmp_path / "parallel.jsonl")) == [0, 1, 2]
    # in the folder of this program, not of an earlier one
    assert len(list((tmp_path / "others").iterdir())) == 3


def test_processes_share_the_cores(dataset, tiny_vae, tmp_path, monkeypatch):
    import joblib

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def threads(run, dataset):
        import torch

        return {
            "metrics": {
                "threads": {"value": torch.get_num_threads(), "error": None, "num_images": 1}
            },
            "sampling_seconds": 0.0,
        }

    rows = sweep(seeds_of(tiny_vae, 2), dataset, threads, tmp_path / "rows.jsonl", workers=2)
    assert {row["metrics"]["threads"]["value"] for row in rows} == {max(1, joblib.cpu_count() // 2)}


def test_a_process_that_dies_is_reported_and_loses_nothing(dataset, tiny_vae, tmp_path, epochs):
    marker = tmp_path / "died"

    def die_once(run, dataset):
        if run.experiment.seed == 1 and not marker.exists():
            marker.touch()
            os._exit(9)
        return FEW(run, dataset)

    with pytest.raises(CourseError, match="a worker process died .* Start again"):
        sweep(seeds_of(tiny_vae, 2), dataset, die_once, tmp_path / "rows.jsonl", workers=2)
    sweep(seeds_of(tiny_vae, 2), dataset, FEW, tmp_path / "rows.jsonl")
    assert epochs.count(1) == 0  # it was trained, though not measured


def test_named_data_are_loaded_by_the_worker_and_must_be_the_same(monkeypatch, tiny_vae, tmp_path):
    from course_utils.studies import sweep as sweep_workers

    strokes = few_images()
    monkeypatch.setattr(sweep_workers, "_load_once", lambda name: strokes)
    data = portable(strokes)
    assert data == NamedData("strokes", strokes.sha256) and data.load() is strokes
    # other images under that name are sent
    assert portable(make_dataset(name="strokes", num_train=200)).num_classes == 4
    assert portable(make_dataset()).name == "blobs"
    outcome = work(tiny_vae.fitted_to(strokes), data, FEW, {})
    assert outcome.row["metrics"]["FID"]["num_images"] == 32
    with pytest.raises(CourseError, match="this worker has other images"):
        NamedData("strokes", "0" * 64).load()


def test_without_dask_the_line_says_how_to_get_it(dataset, tiny_vae, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(CourseError, match=r"pip install \"dask\[distributed\]\""):
        sweep([tiny_vae], dataset, FEW, tmp_path / "rows.jsonl", backend="dask")


@pytest.fixture
def cluster(monkeypatch):
    """A dask cluster of two processes on this machine."""
    from dask import distributed

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster


def test_a_cluster_gives_the_rows_of_one_process(
    dataset, tiny_vae, tmp_path, monkeypatch, one_thread, cluster
):
    options = {"backend": "dask", "scheduler": cluster.scheduler_address}
    rows = sweep(seeds_of(tiny_vae, 4), dataset, FEW, tmp_path / "rows.jsonl", **options)
    elsewhere(tmp_path, monkeypatch, "others")
    serial = sweep(seeds_of(tiny_vae, 4), dataset, FEW, tmp_path / "serial.jsonl")
    assert timeless(rows) == timeless(serial)


def test_a_worker_of_a_cluster_that_is_killed_loses_nothing(dataset, tiny_vae, tmp_path, cluster):
    marker = tmp_path / "died"

    def die_once(run, dataset):
        if run.experiment.seed == 1 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return FEW(run, dataset)

    rows = sweep(
        seeds_of(tiny_vae, 4),
        dataset,
        die_once,
        tmp_path / "rows.jsonl",
        backend="dask",
        scheduler=cluster.scheduler_address,
    )
    assert marker.exists() and [row["seed"] for row in rows] == [0, 1, 2, 3]
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 4
    assert all(
        json.loads(line)["metrics"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()
    )


def test_no_scheduler_answers(dataset, tiny_vae, tmp_path, monkeypatch):
    monkeypatch.setattr("course_utils.studies.sweep.SECONDS_TO_CONNECT", 1)
    with pytest.raises(CourseError, match="no dask scheduler answers at 'tcp://127.0.0.1:1'"):
        sweep(
            [tiny_vae],
            dataset,
            FEW,
            tmp_path / "rows.jsonl",
            backend="dask",
            scheduler="tcp://127.0.0.1:1",
        )


# Two processes and one file

ADDING = """
import json, sys
from course_utils.studies.sweep import add_rows
row = json.loads(sys.argv[2])
for number in range(int(sys.argv[4])):
    add_rows(sys.argv[1], [{**row, "key": f"{sys.argv[3]}-{number}"}])
add_rows(sys.argv[1], [{**row, "key": "shared"}])
"""


def test_processes_that_write_at_once_lose_no_row_and_write_none_twice(tmp_path):
    row = dict.fromkeys(RUN_COLUMNS, "")
    path = tmp_path / "rows.jsonl"
    processes = [
        subprocess.Popen([sys.executable, "-c", ADDING, path, json.dumps(row), name, "15"])
        for name in ("a", "b", "c")
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    expected = [f"{name}-{number}" for name in "abc" for number in range(15)]
    assert sorted(row["key"] for row in read_rows(path)) == sorted([*expected, "shared"])
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n"])
def test_a_file_that_a_power_cut_emptied_is_not_taken_for_no_rows(tmp_path, content):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(
        CourseError, match="expected rows of a sweep, got an empty file, as a power"
    ):
        read_rows(tmp_path / "rows.jsonl")


def test_half_a_line_is_named(tmp_path):
    row = json.dumps(dict.fromkeys(RUN_COLUMNS, ""))
    (tmp_path / "rows.jsonl").write_text(row + "\n" + row[:30], encoding="utf-8")
    with pytest.raises(CourseError, match="rows.jsonl, line 2: expected a JSON object, got"):
        read_rows(tmp_path / "rows.jsonl")
