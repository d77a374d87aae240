"""Run directories: what is written, what comes back, and that a cut-off write leaves the old
file.
"""

from __future__ import annotations

import json

import pytest
import torch
from materials import RECORD_VALUES, same_weights

from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path, file_sha256, read_json, write_json, write_text
from course_utils.training import runs as checkpoint
from course_utils.training.history import History
from course_utils.training.registry import build
from course_utils.training.runs import (
    HISTORY,
    RECORD,
    WEIGHTS,
    load_run,
    pretrained,
    resolve,
    save_run,
)

ROWS = [
    {
        "epoch": 1,
        "split": "train",
        "part": "model",
        "loss": 3.5,
        "seconds": 0.5,
        "learning_rate": 0.1,
    },
    {"epoch": 1, "split": "test", "part": "model", "loss": 3.25, "seconds": 0.5},
    {
        "epoch": 2,
        "split": "train",
        "part": "model",
        "loss": 2.5,
        "seconds": 1.0,
        "learning_rate": 0.2,
    },
]


@pytest.fixture
def saved(tmp_path, tiny_vae):
    """A saved run: its model and its folder."""
    model = build(tiny_vae.model, seed=5)
    save_run(tmp_path / "run", model, tiny_vae, History(ROWS), RECORD_VALUES)
    return model, tmp_path / "run"


def test_a_run_comes_back_whole(saved, tiny_vae):
    model, folder = saved
    run = load_run(folder)
    assert same_weights(run.model, model) and not run.model.training
    assert run.experiment == tiny_vae and run.history.rows == ROWS and run.folder == folder
    assert run.metric("loss") == (2.5, 0.1)
    assert {WEIGHTS, RECORD, HISTORY} <= {path.name for path in folder.iterdir()} and not list(
        folder.glob("*partial*")
    )


def test_the_record_says_what_was_used_and_names_no_place(saved):
    _, folder = saved
    record = read_json(folder / RECORD)
    assert (
        record["versions"]["torch"] == torch.__version__.partition("+")[0]
        or record["versions"]["torch"] == torch.__version__
    )
    assert (
        record["weights_sha256"] == file_sha256(folder / WEIGHTS)
        and record["weights_dtype"] == "float32"
    )
    assert str(folder.parent) not in json.dumps(record)


def test_loading_needs_no_pickle(saved, monkeypatch):
    import pickle

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    load_run(saved[1])


def test_half_the_bytes_are_read_back_as_float32(saved, tiny_vae, tmp_path):
    model, folder = saved
    save_run(tmp_path / "half", model, tiny_vae, History(ROWS), RECORD_VALUES, half=True)
    sizes = [(place / WEIGHTS).stat().st_size for place in (tmp_path / "half", folder)]
    assert sizes[0] < 0.6 * sizes[1]
    loaded = load_run(tmp_path / "half").model
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].dtype == torch.float32 and torch.equal(
            loaded.state_dict()[name], value.half().float()
        )


def test_counters_are_not_rounded_by_half(tiny_classifier, tmp_path):
    model = build(tiny_classifier.model)
    counter = next(name for name, value in model.state_dict().items() if value.dtype == torch.int64)
    model.state_dict()[counter].fill_(2**30 + 1)
    save_run(tmp_path / "run", model, tiny_classifier, History(), RECORD_VALUES, half=True)
    assert load_run(tmp_path / "run").model.state_dict()[counter] == 2**30 + 1


@pytest.fixture
def shipped(saved, tmp_path, monkeypatch):
    """A folder of pretrained runs that holds one, vae-strokes."""
    saved[1].rename(tmp_path / "vae-strokes")
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path)
    return saved[0]


def test_pretrained_runs_are_found_by_name_and_by_source(shipped):
    assert checkpoint.pretrained_names() == ["vae-strokes"]
    for run in (
        pretrained("vae"),
        pretrained("vae", dataset="strokes"),
        resolve("pretrained:vae/strokes"),
        resolve("pretrained:vae/strokes", "vae"),
    ):
        assert same_weights(run.model, shipped)


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (
            lambda: pretrained("vea"),
            [
                "unknown pretrained run 'vea-strokes'",
                "valid: vae-strokes",
                "Did you mean 'vae-strokes'?",
            ],
        ),
        (
            lambda: resolve("pretrained:vae/letters"),
            ["unknown pretrained run 'vae-letters'", "valid: vae-strokes"],
        ),
        (
            lambda: resolve("pretrained:vae"),
            ["expected pretrained:FAMILY/DATASET, got 'pretrained:vae'", "vae-strokes"],
        ),
        (lambda: pretrained("vae").metric("fid"), ["unknown metric 'fid'", "valid: loss"]),
        (
            lambda: resolve("pretrained:vae/strokes", "classifier"),
            ["expected a classifier, got a vae"],
        ),
    ],
    ids=["family", "dataset", "no slash", "metric", "another family"],
)
def test_unknown_runs_list_those_that_exist(shipped, call, fragments):
    with pytest.raises(CourseError) as error:
        call()
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


# The history


def test_history_survives_its_file(tmp_path):
    History(ROWS).save(tmp_path / "history.jsonl")
    loaded = History.load(tmp_path / "history.jsonl")
    assert loaded.rows == ROWS and (loaded.num_epochs, loaded.seconds, len(loaded)) == (2, 1.0, 3)
    assert [
        json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()
    ] == ROWS


def test_history_selects_columns_by_split_and_part():
    history = History(
        [*ROWS, {"epoch": 2, "split": "train", "part": "other", "loss": 9.0, "seconds": 1.0}]
    )
    assert history.select("loss", part="model") == [3.5, 2.5] and history.select(
        "loss", part="other"
    ) == [9.0]
    assert history.select("learning_rate") == [0.1, 0.2] and history.select(
        "loss", split="test"
    ) == [3.25]
    assert list(history.table()["loss"]) == [3.5, 3.25, 2.5, 9.0]
    assert (
        repr(history)
        == "History(2 epochs, 1.0 s, columns: epoch, split, part, loss, seconds, learning_rate)"
    )


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["lss"], ["unknown column of the history 'lss'", "Did you mean 'loss'?"]),
        (
            ["loss", "validation"],
            ["no rows of split 'validation'", "('test', 'model'), ('train', 'model')"],
        ),
        (["loss", "train", "generator"], ["part 'generator'"]),
    ],
)
def test_history_says_what_it_has(arguments, fragments):
    with pytest.raises(CourseError) as error:
        History(ROWS).select(*arguments)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


def test_an_empty_history_has_no_epochs():
    assert (History().num_epochs, History().seconds, History().columns) == (0, 0.0, [])


# Files


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "file.txt", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "file.txt") as partial:
        partial.write_text("half of the n")
        raise RuntimeError
    assert (tmp_path / "file.txt").read_text() == "old" and [
        path.name for path in tmp_path.iterdir()
    ] == ["file.txt"]


def test_a_reader_never_sees_a_half_written_file(tmp_path):
    write_text(tmp_path / "file.txt", "old")
    with atomic_path(tmp_path / "file.txt") as partial:
        partial.write_text("new")
        assert (
            (tmp_path / "file.txt").read_text() == "old"
            and partial.suffix == ".txt"
            and partial.parent == tmp_path
        )
    assert (tmp_path / "file.txt").read_text() == "new"


def test_json_refuses_what_no_reader_has_to_accept(tmp_path):
    write_json(tmp_path / "file.json", {"name": "Zoë"})
    with pytest.raises(ValueError):
        write_json(tmp_path / "file.json", {"value": float("nan")})
    assert read_json(tmp_path / "file.json") == {"name": "Zoë"}
