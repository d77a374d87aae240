"""Two trainings in one run directory: the second waits for the first, or is refused."""

from __future__ import annotations

import threading

import pytest
from materials import same_weights

from course_utils.base.errors import CourseError
from course_utils.training.runs import RECORD, STATE, run


@pytest.fixture
def busy(dataset, tiny_vae, tmp_path):
    """A training in `tmp_path/run` that has done an epoch and goes on once `go` is set; its epochs
    and, in the end, its run.
    """
    reached, go, epochs, runs = threading.Event(), threading.Event(), [], []

    def stop_and_go(_, history):
        epochs.append(history.num_epochs)
        reached.set()
        assert go.wait(60)

    def train():
        runs.append(run(tiny_vae, dataset, tmp_path / "run", on_epoch=stop_and_go))

    thread = threading.Thread(target=train)
    thread.start()
    assert reached.wait(60)
    yield go, epochs, runs
    go.set()
    thread.join()


@pytest.mark.parametrize("resume", [True, False])
def test_a_second_training_is_refused_and_changes_nothing(
    busy, dataset, tiny_vae, tmp_path, resume
):
    before = (tmp_path / "run" / STATE).read_bytes()
    with pytest.raises(CourseError, match="run: another training is under way there, by process"):
        run(tiny_vae, dataset, tmp_path / "run", resume=resume, wait=False)
    assert (tmp_path / "run" / STATE).read_bytes() == before


def test_a_second_training_waits_and_finds_the_run(busy, dataset, tiny_vae, tmp_path):
    go, epochs, runs = busy
    timer = threading.Timer(0.3, go.set)
    timer.start()
    second = run(tiny_vae, dataset, tmp_path / "run", on_epoch=lambda *_: epochs.append("second"))
    timer.join()
    assert epochs == [1, 2, 3] and same_weights(second.model, runs[0].model)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {RECORD}
    assert not list((tmp_path / "run").glob(".*"))


def test_a_finished_run_is_loaded_where_nothing_can_be_written(
    dataset, tiny_vae, tmp_path, monkeypatch
):
    first = run(tiny_vae, dataset, tmp_path / "run")

    def refuse(*_, **__):
        raise AssertionError("something was written")

    monkeypatch.setattr("course_utils.training.runs.locked", refuse)
    assert same_weights(run(tiny_vae, dataset, tmp_path / "run").model, first.model)


def test_runs_that_cannot_be_kept_are_refused_before_the_training(
    dataset, tiny_vae, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "file"))
    epochs = []
    with pytest.raises(CourseError, match=r"cannot write .*\(COURSE_RUNS=FOLDER\)"):
        run(tiny_vae, dataset, on_epoch=lambda *_: epochs.append(1))
    assert epochs == []
