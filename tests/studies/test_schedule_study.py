"""The study of noise schedules and of the average of the weights: what differs between its
settings, which rows are used, which weights are measured, and the sentences.
"""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import replace

import pytest
import torch
from materials import PROJECT, make_dataset

from course_utils.base.config import flatten_dict
from course_utils.base.errors import CourseError
from course_utils.base.files import read_jsonl, write_jsonl
from course_utils.studies import schedule_study
from course_utils.studies.compare import TABLES
from course_utils.studies.schedule_study import (
    CALLS,
    CONSTANT,
    EMA_CALLS,
    NUM_SCHEDULE_SEEDS,
    SCHEDULE_SETTINGS,
    STRAIGHT,
    compare_schedules,
    ema_effects,
    ema_fids,
    ema_words,
    schedule_pairs,
    schedule_series,
    schedule_trainings,
    schedule_words,
)
from course_utils.training.fit import fit
from course_utils.training.registry import build

FLOOR = [0.5, 0.1]


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """An empty folder of tables."""
    folder = tmp_path / "tables"
    folder.mkdir()
    monkeypatch.setattr(schedule_study, "TABLES", folder)
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Which trainings were asked for, `[(schedule, seed)]`; none of them takes place."""
    asked = []

    def row(dataset, experiment, identity):
        asked.append((experiment.model.schedule, experiment.seed))
        return measured([9.0, 5.0, 4.0])

    monkeypatch.setattr(schedule_study, "_schedule_row", row)
    return asked


def measured(fids, last=6.0):
    return {
        "fids": fids,
        "last_fid": last,
        "floor": FLOOR,
        "features": "classifier-blobs",
        "seconds": 60.0,
    }


def saved(dataset, path, *, fids=None, last=None):
    """Writes rows as the benchmark does, without the training; FIDs by setting and seed."""
    rows = []
    for one in schedule_trainings(dataset):
        seed = one.experiment.seed
        own = (fids or {}).get(one.name, [9.0, 5.0, 4.0])
        values = [value + 0.1 * seed for value in own]
        rows.append(
            {
                **one.identity,
                "name": one.name,
                "seed": seed,
                **measured(values, (last or {}).get(one.name, 6.0) + 0.1 * seed),
                "machine": "another machine",
                "measured": "2026-01-01",
                "settings": one.experiment.as_dict(),
            }
        )
    write_jsonl(path, rows)
    return rows


def test_settings_differ_in_nothing_but_what_they_claim(dataset):
    trainings = {one.name: one for one in schedule_trainings(dataset, seeds=1)}
    settings = {name: flatten_dict(one.experiment.as_dict()) for name, one in trainings.items()}
    assert list(settings) == list(SCHEDULE_SETTINGS)
    for name, own in settings.items():
        changed = {key for key, value in own.items() if value != settings[STRAIGHT].get(key)}
        rates = {"train.schedule", "train.learning_rate", "train.muon_learning_rate"}
        assert changed == {STRAIGHT: set(), CONSTANT: rates}.get(name, {"model.schedule"})
        assert own["model.target"] == "velocity" and own["model.time_sampling"] == "uniform"
        assert own["model.guidance_scale"] == 1 and own["train.ema_decay"] is not None
    # half of the highest rates of the cycle
    straight, constant = (trainings[name].experiment.train for name in (STRAIGHT, CONSTANT))
    for rate in ("learning_rate", "muon_learning_rate"):
        assert getattr(constant, rate) == getattr(straight, rate) / 2


def test_saved_rows_of_these_images_are_read(dataset, tables, trained, capsys):
    rows = saved(dataset, tables / "schedules-blobs.jsonl")
    assert compare_schedules(dataset) == rows and len(rows) == 4 * NUM_SCHEDULE_SEEDS
    assert compare_schedules(dataset, ["cosine"], 2) == rows[3:5]
    assert trained == []
    printed = capsys.readouterr().out
    assert "on blobs: 12 saved trainings, 2026-01-01, 12.0 min on another machine" in printed


def test_other_images_get_the_rows_of_strokes_and_are_told_so(dataset, tables, trained, capsys):
    rows = saved(make_dataset(name="strokes"), tables / "schedules-strokes.jsonl")
    saved(dataset, tables / "schedules-blobs.jsonl")
    other = replace(dataset, train_images=255 - dataset.train_images)
    assert compare_schedules(other) == rows and trained == []
    printed = capsys.readouterr().out
    assert "on blobs: none saved for exactly these images" in printed
    assert "12 trainings on strokes" in printed and "in about 12 minutes" in printed


def test_without_any_rows_all_settings_are_trained(dataset, tables, trained):
    rows = compare_schedules(dataset)
    assert [(row["name"], row["seed"]) for row in rows] == [
        (name, seed) for name in SCHEDULE_SETTINGS for seed in (0, 1)
    ]
    assert len(trained) == 8 and compare_schedules(dataset) == rows and len(trained) == 8


def test_retraining_leaves_saved_rows_aside_and_goes_on_with_its_own(
    dataset, tables, trained, capsys
):
    saved(dataset, tables / "schedules-blobs.jsonl")
    rows = compare_schedules(dataset, ["cosine", "linear"], 2, retrain=True)
    assert trained == [("cosine", 0), ("cosine", 1), ("linear", 0), ("linear", 1)]
    # the smoke budget: a few steps
    assert {row["settings"]["train"]["num_train_images"] for row in rows} == {4 * 64}
    assert compare_schedules(dataset, ["cosine", "linear"], 2, retrain=True) == rows
    assert len(trained) == 4
    assert "on blobs: 4 trainings of yours, 0 now" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::course_utils.metrics.measurement.MetricWarning")
def test_averaged_and_last_weights_of_one_training_are_measured(dataset, tables, monkeypatch):
    """A stand-in for FID keeps which weights it saw."""
    seen = []

    def note(model, judge, against, dataset, num_steps):
        seen.append((num_steps, torch.cat([weight.flatten() for weight in model.parameters()])))
        return float(num_steps)

    monkeypatch.setattr(schedule_study, "_measured", note)
    (row,) = compare_schedules(dataset, ["cosine"], 1, retrain=True)
    assert row["fids"] == [float(calls) for calls in CALLS] and row["last_fid"] == EMA_CALLS
    assert [calls for calls, _ in seen] == [*CALLS, EMA_CALLS]
    (training,) = schedule_trainings(dataset, ["cosine"], 1)
    experiment = schedule_study._cut_short(training).experiment
    for decay, place in ((experiment.train.ema_decay, 0), (None, -1)):
        model = build(experiment.model, 0)
        fit(model, dataset, replace(experiment.train, ema_decay=decay))
        weights = torch.cat([weight.flatten() for weight in model.parameters()])
        assert torch.equal(weights, seen[place][1])
    assert not torch.equal(seen[0][1], seen[-1][1])


@pytest.mark.filterwarnings("ignore::course_utils.metrics.measurement.MetricWarning")
def test_a_real_training_measures_everything(dataset, tables):
    (row,) = compare_schedules(dataset, ["linear"], 1, retrain=True)
    assert row["num_drawn"] == 64 and row["calls"] == list(CALLS) and len(row["fids"]) == 3
    assert all(math.isfinite(value) and value > row["floor"][0] for value in row["fids"])
    assert row["features"].startswith("classifier")


FIDS = {
    STRAIGHT: [9.0, 5.0, 4.0],
    "cosine": [12.0, 6.0, 4.1],
    "linear": [30.0, 15.0, 8.0],
    CONSTANT: [9.0, 8.0, 5.0],
}
LAST = {STRAIGHT: 4.01, "cosine": 4.05, "linear": 8.0, CONSTANT: 12.0}


@pytest.fixture
def rows(dataset, tmp_path):
    return saved(dataset, tmp_path / "rows.jsonl", fids=FIDS, last=LAST)


def test_series_are_means_over_seeds_of_the_three_schedules(rows):
    num_calls, series, ylabel, floor = schedule_series(rows)
    assert num_calls == list(CALLS) and ylabel == "FID, 64 images" and floor == tuple(FLOOR)
    assert list(series) == [STRAIGHT, "cosine", "linear"]
    values, errors = series["cosine"]
    assert values == pytest.approx([value + 0.1 for value in FIDS["cosine"]])
    assert errors == pytest.approx([0.1 / math.sqrt(3)] * 3)


def test_pairs_are_judged_with_their_limit(rows):
    verdicts = {(one.first, one.second): bool(one.verdict) for one in schedule_pairs(rows, 16)}
    assert verdicts == {
        (STRAIGHT, "cosine"): False,
        (STRAIGHT, "linear"): True,
        ("cosine", "linear"): True,
    }
    words = schedule_words(rows)
    assert "FID of 64 drawn against as many test images of blobs (classifier-blobs), 3 seeds" in (
        words
    )
    assert "500 training steps each" in words and "real images have 0.50 ± 0.10" in words
    assert "With 4 network calls:" in words and "With 16 network calls:" in words
    assert words.count("real (") == 5 and words.count("within the noise") == 1
    assert "limit 2.78" in words


def test_the_average_is_compared_with_the_last_weights_of_the_same_training(rows):
    effects = ema_effects(rows)
    # the seeds move both by the same amount, so that the differences have no spread
    for name, effect in effects.items():
        assert effect.value == pytest.approx(FIDS[name][2] - LAST[name])
        assert effect.error == pytest.approx(0, abs=1e-12)
    assert ema_fids(rows) == {
        "one cycle, last weights": pytest.approx((4.11, 0.1 / math.sqrt(3))),
        "one cycle, averaged weights": pytest.approx((4.1, 0.1 / math.sqrt(3))),
        "constant rate, last weights": pytest.approx((12.1, 0.1 / math.sqrt(3))),
        "constant rate, averaged weights": pytest.approx((5.1, 0.1 / math.sqrt(3))),
    }


def test_the_words_on_averages_carry_the_verdict(rows):
    noisy = [dict(row, last_fid=row["last_fid"] + (row["seed"] - 1) * 0.5) for row in rows]
    words = ema_words(noisy).splitlines()
    assert words[0].startswith(f"FID with {EMA_CALLS} network calls")
    by_name = {line.split(":")[0].strip(): line for line in words[1:]}
    assert "within the noise" in by_name[STRAIGHT] and ", real (" in by_name[CONSTANT]
    assert "12.10 ± 0.35 and 5.100 ± 0.058" in by_name[CONSTANT]


BAD = [(["cosin"], 3, "unknown setting 'cosin'"), (["cosine"], 0, "seeds: expected at least 1")]


@pytest.mark.parametrize(("names", "seeds", "message"), BAD)
def test_what_there_is_not_is_told(names, seeds, message, dataset):
    with pytest.raises(CourseError, match=message):
        compare_schedules(dataset, names, seeds)


def test_the_benchmark_writes_the_table_and_goes_on(dataset, tables, trained, monkeypatch, capsys):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    script = importlib.import_module("noise_schedules")
    monkeypatch.setattr(script, "load_dataset", lambda name: dataset)
    path = tables / "schedules-blobs.jsonl"
    words = ["noise_schedules", "--dataset", "blobs", "--seeds", "2", "--out", str(path)]
    monkeypatch.setattr(sys, "argv", [*words, "--only", "cosine"])
    script.main()
    assert len(trained) == 2
    monkeypatch.setattr(sys, "argv", words)
    script.main()
    assert len(trained) == 8  # those of cosine were there
    assert "With 4 network calls" in capsys.readouterr().out
    assert compare_schedules(dataset, seeds=2) and len(read_jsonl(path)) == 8


SHIPPED = sorted(TABLES.glob("schedules-*.jsonl"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_rows_are_those_of_todays_settings(path):
    """Where this fails after a change of presets, benchmarks/noise_schedules.py writes them."""
    blobs = make_dataset(name=path.stem.removeprefix("schedules-"), num_test=1000)
    ten = replace(blobs, class_names=tuple("0123456789"))
    rows = {(row["name"], row["seed"]): row for row in read_jsonl(path)}
    for one in schedule_trainings(ten):
        row = rows[one.place]
        assert row["num_train_images"] == 60_000
        own = {"num_train_images": 60_000, "dataset_key": row["dataset_key"]}
        assert replace(one, identity={**one.identity, **own}).fits(row), one.place
