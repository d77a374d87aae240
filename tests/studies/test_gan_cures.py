"""What `detach`, a moving average and spectral normalisation are worth: which rows are shown, what
a training measures, and sentences that say what the rows do.
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace

import pytest
import torch
from materials import PROJECT, make_dataset

from course_utils.base.errors import CourseError
from course_utils.base.files import read_jsonl, write_jsonl
from course_utils.studies import gan_cures
from course_utils.studies.collapse import collapse_film
from course_utils.studies.compare import TABLES
from course_utils.studies.gan_cures import (
    CLEARED,
    DETACHED,
    KEPT,
    NO_NORM,
    NO_NORM_LARGE,
    SPECTRAL,
    SPECTRAL_LARGE,
    average_verdict,
    average_words,
    detach_trainings,
    detach_words,
    ema_effect,
    ema_trainings,
    forgotten_detach,
    spectral_norm_works,
    spectral_trainings,
    spectral_words,
)

STUDIES = {
    "detach": (forgotten_detach, detach_trainings),
    "average": (ema_effect, ema_trainings),
    "spectral": (spectral_norm_works, spectral_trainings),
}


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """An empty folder of tables."""
    folder = tmp_path / "tables"
    folder.mkdir()
    monkeypatch.setattr(gan_cures, "TABLES", folder)
    return folder


def saved(dataset, what, path):
    """Writes rows as the benchmark does, without the training."""
    rows = [
        {
            **one.identity,
            "name": one.name,
            "seed": one.experiment.seed,
            "seconds": 3.0,
            "machine": "another machine",
            "measured": "2026-01-01",
            "settings": one.experiment.as_dict(),
        }
        for one in STUDIES[what][1](dataset)
    ]
    write_jsonl(path, rows)
    return rows


# ------------------------------------------------------------------ which rows


@pytest.mark.parametrize("what", STUDIES)
def test_saved_rows_of_these_images_are_shown(what, tables, capsys):
    dataset = make_dataset()
    saved(make_dataset(name="strokes"), what, tables / f"gan_{what}-strokes.jsonl")
    rows = saved(dataset, what, tables / f"gan_{what}-blobs.jsonl")
    assert STUDIES[what][0](dataset) == rows
    printed = capsys.readouterr().out
    assert f"{len(rows)} saved trainings on blobs; 2026-01-01" in printed
    assert f"benchmarks/gan_cures.py {what}" in printed


@pytest.mark.parametrize("what", STUDIES)
def test_other_images_get_those_of_the_strokes_and_are_told_so(what, tables, capsys):
    rows = saved(make_dataset(name="strokes"), what, tables / f"gan_{what}-strokes.jsonl")
    assert STUDIES[what][0](make_dataset()) == rows
    assert "saved trainings on strokes, since none fit blobs" in capsys.readouterr().out


def test_without_any_rows_it_is_said_and_nothing_is_claimed(tables, capsys):
    for what, words in zip(STUDIES, (detach_words, average_words, spectral_words)):
        assert "nothing was measured" in words(STUDIES[what][0](make_dataset()))
    assert capsys.readouterr().out.count("there are no saved rows") == 3


def test_rows_of_other_settings_do_not_count_as_this_dataset(tables, capsys):
    dataset = make_dataset()
    strokes = saved(make_dataset(name="strokes"), "detach", tables / "gan_detach-strokes.jsonl")
    rows = saved(dataset, "detach", tables / "gan_detach-blobs.jsonl")
    rows[1]["settings"]["train"]["learning_rate"] = 1.0
    write_jsonl(tables / "gan_detach-blobs.jsonl", rows)
    assert forgotten_detach(dataset) == strokes


def test_the_average_is_measured_on_images_that_it_was_not_trained_on():
    dataset = make_dataset(num_train=1200)
    identity = ema_trainings(dataset)[0].identity
    assert (identity["num_train_images"], identity["num_drawn"]) == (1080, 120)
    numbered = replace(dataset, train_images=dataset.train_images.clone())
    numbered.train_images[:, 0, 0, 0] = torch.arange(1200) % 256
    numbered.train_images[:, 0, 0, 1] = torch.arange(1200) // 256
    split = gan_cures._held_out(numbered, 120)
    numbers = [part[:, 0, 0, :2].int().tolist() for part in (split.train_images, split.test_images)]
    kept, held = (set(map(tuple, some)) for some in numbers)
    assert len(kept) == 1080 and len(held) == 120 and not kept & held
    with pytest.raises(CourseError, match="at least 100"):
        ema_trainings(make_dataset(num_train=60))


# ------------------------------------------------------------------ what is measured


def test_retraining_measures_detach_and_keeps_it(tables, capsys):
    dataset = make_dataset()
    rows = forgotten_detach(dataset, retrain=True)
    assert [row["seed"] for row in rows] == [0, 1] and {row["num_steps"] for row in rows} == {4}
    for row in rows:
        assert set(row["ms"]) == {DETACHED, CLEARED, KEPT} and min(row["ms"].values()) > 0
        assert row["leak"][DETACHED] == 0 < row["leak"][CLEARED]
        assert row["weights_apart"][DETACHED] == 0 == row["weights_apart"][CLEARED]
        assert row["weights_apart"][KEPT] > 0
        assert all(0 <= hit <= 4 for hit in row["classes_covered"].values())
    assert forgotten_detach(dataset, retrain=True) == rows
    assert "forgotten detach: 2 trainings, a few steps each" in capsys.readouterr().out
    assert "seeds" in detach_words(rows)


def test_retraining_measures_both_weights_of_one_training(tables):
    rows = ema_effect(make_dataset(num_train=600), retrain=True)
    assert [row["seed"] for row in rows] == [0, 1]
    for row in rows:
        assert set(row["fid"]) == {"average", "last", "real"} == set(row["fid_error"])
        assert row["fid"]["average"] != row["fid"]["last"] and row["num_drawn"] == 60
        assert row["fid"]["real"] < row["fid"]["last"]
        assert row["agreement"] == {}  # there is no classifier of these
        assert row["ema_decay"] == 0.995
    pictures = collapse_film(rows[0])
    assert pictures.shape == (2, 10, 1, 28, 28) and not torch.equal(*pictures)
    assert "film" not in rows[1]


@pytest.mark.parametrize("pair", [(NO_NORM, SPECTRAL), (NO_NORM_LARGE, SPECTRAL_LARGE)])
def test_the_spectral_settings_differ_in_the_norm_alone(pair):
    trainings = spectral_trainings(make_dataset())
    without, within = (
        next(one.experiment for one in trainings if one.name == name) for name in pair
    )
    assert within.model.discriminator_norm == "spectral" and within.train == without.train
    assert replace(within.model, discriminator_norm="none") == without.model
    assert without.model.r1_weight == 0 == without.model.gradient_penalty_weight
    assert f"rate {within.train.learning_rate:g}" in pair[1] and len(trainings) == 20


# ------------------------------------------------------------------ sentences


def detach_rows(*kls, ms=(10.0, 14.0), apart=0.0):
    return [
        {
            "ms": {DETACHED: ms[0], CLEARED: ms[1] + 0.1 * seed, KEPT: ms[1]},
            "leak": {DETACHED: 0.0, CLEARED: 0.5, KEPT: 0.6},
            "weights_apart": {DETACHED: 0.0, CLEARED: apart, KEPT: 1.0},
            "class_kl": {DETACHED: before, CLEARED: before, KEPT: after},
            "num_drawn": 1000,
        }
        for seed, (before, after) in enumerate(kls)
    ]


def test_the_words_on_detach_follow_the_rows():
    words = detach_words(detach_rows((0.4, 1.4), (0.5, 1.6), (0.3, 1.3)))
    assert "a step takes 10.0 ms, without it 41 ± 1 % more (3 seeds)" in words
    assert "0.50 times as long" in words and "equal to the last bit" in words
    assert "by +1.03 ± 0.03 nats" in words and "a real change" in words
    words = detach_words(detach_rows((0.4, 0.9), (0.5, 0.2), apart=0.5))
    assert "no change that these seeds can show" in words and "weights differ by 0.5" in words


def average_rows(*fids):
    return [
        {"fid": {"average": average, "last": last, "real": 0.5}, "num_drawn": 5000, "seed": seed}
        for seed, (average, last) in enumerate(fids)
    ]


def test_the_words_on_the_average_follow_the_rows():
    rows = average_rows((10.0, 20.0), (11.0, 22.0), (9.0, 18.5))
    words = average_words(rows)
    assert "5,000 images against 5,000 held-out training images, 3 seeds" in words
    assert "the average is better" in words and "limit 4.30" in words
    assert average_verdict(rows).difference == pytest.approx(-10.1667, abs=1e-3)
    assert "no effect that these seeds can show" in average_words(
        average_rows((10.0, 20.0), (12.0, 11.0), (10.0, 10.5))
    )
    worse = average_rows((20.0, 10.0), (21.0, 11.1), (22.0, 12.0))
    assert "the average is worse" in average_words(worse)


def spectral_rows(*groups):
    return [
        {"name": name, "classes_covered": hit, "class_kl": kl, "num_classes": 10, "num_drawn": 1000}
        for name, some in zip((NO_NORM, SPECTRAL, NO_NORM_LARGE, SPECTRAL_LARGE), groups)
        for hit, kl in some
    ]


def test_the_words_on_spectral_norm_follow_the_rows():
    bad, good = [(3, 2.0), (4, 1.8), (2, 2.1)], [(10, 0.2), (9, 0.3), (8, 0.3)]
    *table, small, large = spectral_words(spectral_rows(good, good[::-1], bad, good)).split("\n")
    assert "classes hit, by seed: 3, 4, 2 of 10; 0 of 3 healthy" in table[2]
    assert "10, 9, 8 of 10; 3 of 3 healthy" in table[3]
    assert "rate of 0.005" in small and "no effect that these seeds can show" in small
    assert "rate of 0.02" in large and "by -1.70" in large and ": less collapse" in large
    worse = spectral_words(spectral_rows(good, bad, bad, good)).split("\n")
    assert ": more collapse" in worse[-2]


# ------------------------------------------------------------------ the table


def test_the_benchmark_writes_the_table_and_goes_on(tables, monkeypatch, capsys):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    script = importlib.import_module("gan_cures")
    monkeypatch.setattr(script, "load_dataset", lambda name: make_dataset(name=name))
    monkeypatch.setattr(gan_cures, "DETACH_STEPS", 2)
    path = tables / "gan_detach-blobs.jsonl"
    words = ["gan_cures", "detach", "--dataset", "blobs", "--out", str(path), "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", words)
    script.main()
    assert "(2 seeds)" in capsys.readouterr().out
    rows = read_jsonl(path)
    script.main()
    assert read_jsonl(path) == rows and [row["seed"] for row in rows] == [0, 1]


@pytest.mark.parametrize("what", STUDIES)
def test_shipped_rows_are_those_of_todays_settings(what):
    """Where this fails after a change of presets, benchmarks/gan_cures.py writes them anew."""
    path = TABLES / f"gan_{what}-strokes.jsonl"
    few = replace(make_dataset(name="strokes"), class_names=tuple("0123456789"))
    rows = {(row["name"], row["seed"]): row for row in read_jsonl(path)}
    wanted = STUDIES[what][1](few)
    assert [one.place for one in wanted if one.place not in rows] == []
    for one in wanted:
        row = rows[one.place]
        sizes = {key: row[key] for key in ("num_train_images", "num_drawn")}
        assert replace(one, identity={**one.identity, **sizes}).fits(row), one.place
        assert row["num_train_images"] in (55_000, 60_000)
        json.dumps(row, allow_nan=False)


def test_few_pictures_are_shown_the_rows_of_the_strokes(capsys):
    """Images that are too few to train on are no reason to stop a notebook."""
    few = make_dataset(num_train=50, num_test=20)
    rows = ema_effect(few)
    assert len(rows) == 3 and "strokes, since none fit" in capsys.readouterr().out
    with pytest.raises(CourseError, match="training images: expected at least 100, got 50"):
        ema_effect(few, retrain=True)
