"""The study of mode collapse: which saved rows are used and which are not, what is trained and
kept, films, and the sentences that notebook 06 prints.
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
from course_utils.studies import collapse
from course_utils.studies.collapse import (
    COLLAPSE_SETTINGS,
    NUM_COLLAPSE_SEEDS,
    collapse_cells,
    collapse_film,
    collapse_results,
    collapse_study,
    collapse_training,
    collapse_trainings,
    collapse_words,
    is_diverged,
    loss_words,
    losses_and_kl,
    rank_correlation,
    ring_film,
    ring_study,
    ring_trainings,
    train_missing,
)
from course_utils.studies.compare import TABLES
from course_utils.training.fit import TrainingDiverged
from course_utils.training.presets import preset

NAMES = ["broken", "R1"]


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """An empty folder of tables."""
    folder = tmp_path / "tables"
    folder.mkdir()
    monkeypatch.setattr(collapse, "TABLES", folder)
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Which trainings were asked for, `[(changes, seed)]`; none of them takes place."""
    asked = []

    def row(dataset, experiment, identity, filmed=None):
        asked.append((experiment.train.num_epochs, experiment.seed))
        return measured(seed=experiment.seed)

    def points(experiment, identity):
        asked.append((identity["num_steps"], experiment.seed))
        return {"modes_hit": 8, "share_near": 0.9, "seconds": 1.0}

    monkeypatch.setattr(collapse, "_collapse_row", row)
    monkeypatch.setattr(collapse, "_ring_row", points)
    return asked


def measured(covered=4, kl=0.5, loss=1.0, seed=0):
    return {
        "classes_covered": covered,
        "class_kl": kl + 0.01 * seed,
        "distance": 0.9,
        "generator_loss": loss,
        "alarms": [],
        "seconds": 3.0,
        "judge": None,
    }


def saved(dataset, path, names=NAMES, seeds=NUM_COLLAPSE_SEEDS, **changes):
    """Writes rows as the benchmark does, without the training."""
    rows = [
        {
            **one.identity,
            "name": one.name,
            "seed": one.experiment.seed,
            **measured(seed=one.experiment.seed),
            "machine": "another machine",
            "measured": "2026-01-01",
            "settings": one.experiment.as_dict(),
            **changes,
        }
        for one in collapse_trainings(dataset, names, seeds)
    ]
    write_jsonl(path, rows)
    return rows


def test_saved_rows_of_these_images_are_read_and_nothing_is_trained(
    dataset, tables, trained, capsys
):
    rows = saved(dataset, tables / "collapse-blobs.jsonl")
    assert collapse_study(dataset, NAMES) == rows and trained == []
    assert collapse_study(dataset, ["R1"], 2) == rows[5:7]
    printed = capsys.readouterr().out
    assert "10 saved trainings, 2026-01-01, 0.5 min on another machine" in printed
    assert "benchmarks/gan_collapse.py --dataset blobs" in printed


OTHER_IMAGES = {
    "pixels": lambda data: replace(data, train_images=255 - data.train_images),
    "fewer": lambda data: data.subset(num_train=200),
}


@pytest.mark.parametrize("other", OTHER_IMAGES.values(), ids=OTHER_IMAGES)
def test_rows_of_other_images_under_this_name_are_not_used(other, dataset, tables, trained, capsys):
    saved(other(dataset), tables / "collapse-blobs.jsonl")
    rows = collapse_study(dataset, NAMES)
    assert len(trained) == len(rows) == 4  # the smoke budget: two seeds
    assert {row["dataset_sha256"] for row in rows} == {dataset.sha256}
    printed = capsys.readouterr().out
    assert "the saved rows of broken, R1 are of other settings or images" in printed
    assert "4 trainings now (budget smoke, 2 seeds in place of 5, a few steps each)" in printed


def test_the_strokes_are_told_by_name_and_number(tables, trained):
    strokes = make_dataset(name="strokes")
    rows = saved(strokes, tables / "collapse-strokes.jsonl")
    assert "dataset_sha256" not in rows[0]
    another_processor = replace(strokes, train_images=strokes.train_images.clamp(max=254))
    assert collapse_study(another_processor, NAMES) == rows
    collapse_study(strokes.subset(num_train=200), ["R1"])
    assert len(trained) == 2


def test_rows_of_other_settings_are_trained_anew_and_the_others_are_not(
    dataset, tables, trained, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    rows = saved(dataset, tables / "collapse-blobs.jsonl")
    monkeypatch.setitem(COLLAPSE_SETTINGS, "R1", {"model.r1_weight": 2.0})
    found = collapse_study(dataset, NAMES)
    assert found[:5] == rows[:5]
    assert [row["settings"]["model"]["r1_weight"] for row in found[5:]] == [2.0] * 3
    assert len(trained) == 3
    printed = capsys.readouterr().out
    assert "5 saved trainings" in printed
    assert "the saved rows of R1 are of other settings or images; 3 trainings now" in printed


def test_short_trainings_are_never_compared_with_whole_ones(
    dataset, tables, trained, monkeypatch, capsys
):
    saved(dataset, tables / "collapse-blobs.jsonl", ["broken"])
    rows = collapse_study(dataset, NAMES)
    assert len(trained) == len(rows) == 4 and {epochs for epochs, _ in trained} == {1}
    assert "saved trainings" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.pop("settings"),
        lambda row: row["settings"]["model"].update(no_more=1),
        lambda row: row["settings"].update(seed=7),
    ],
    ids=["none", "one that is no more", "another seed"],
)
def test_a_row_with_settings_that_cannot_be_compared_is_not_used(spoil, dataset, tables, trained):
    rows = saved(dataset, tables / "collapse-blobs.jsonl", ["R1"], 1)
    spoil(rows[0])
    write_jsonl(tables / "collapse-blobs.jsonl", rows)
    collapse_study(dataset, ["R1"], 1)
    assert len(trained) == 1


def test_a_setting_that_was_added_since_leaves_old_rows_valid(dataset):
    (one,) = collapse_trainings(dataset, ["R1"], 1)
    row = {**one.identity, "name": "R1", "seed": 0, "settings": one.experiment.as_dict()}
    assert one.fits(row)
    del row["settings"]["train"]["channels_last"]  # was true: the default is another one
    assert not one.fits(row)
    assert "optimizer" not in row["settings"]["train"]


@pytest.mark.parametrize(("budget", "seeds"), [("laptop", 3), ("gpu", 5)])
def test_the_budget_says_how_many_seeds_are_trained(
    budget, seeds, dataset, tables, trained, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_BUDGET", budget)
    rows = collapse_study(dataset, NAMES)
    assert [(row["name"], row["seed"]) for row in rows] == [
        (name, seed) for name in NAMES for seed in range(seeds)
    ]
    epochs = preset("dcgan-broken", "laptop").train.num_epochs
    assert trained == [(epochs, row["seed"]) for row in rows]
    printed = capsys.readouterr().out
    assert "no saved rows for these images" in printed
    assert ("seeds in place of 5" in printed) == (seeds < 5)


def test_what_was_trained_is_kept_for_the_next_call(dataset, tables, trained, capsys):
    rows = collapse_study(dataset, NAMES)
    assert len(trained) == 4
    assert "kept for the next call" in capsys.readouterr().out
    assert collapse_study(dataset, NAMES) == rows and len(trained) == 4
    assert "4 trainings of yours" in capsys.readouterr().out


def test_the_switch_trains_all_seeds_once_and_leaves_the_saved_rows_alone(
    dataset, tables, trained, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    path = tables / "collapse-blobs.jsonl"
    there = saved(dataset, path)
    rows = collapse_study(dataset, NAMES, retrain=True)
    assert len(trained) == 10 and {row["measured"] for row in rows} != {"2026-01-01"}
    assert "10 trainings now" in capsys.readouterr().out
    assert read_jsonl(path) == there
    assert collapse_study(dataset, NAMES, retrain=True) == rows and len(trained) == 10
    assert collapse_study(dataset, NAMES) == there


def test_other_images_are_shown_the_strokes_rows_until_they_have_their_own(
    dataset, tables, trained, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    strokes = saved(dataset, tables / "collapse-strokes.jsonl")
    assert collapse_study(dataset, NAMES) == strokes and trained == []
    printed = capsys.readouterr().out
    assert "no rows of these images are saved. Shown are those of strokes" in printed
    own = collapse_study(dataset, NAMES, retrain=True)
    assert len(trained) == len(own) == 10
    # with three seeds, as a call without the switch asks for on a laptop
    assert collapse_study(dataset, NAMES) == [row for row in own if row["seed"] < 3]
    assert len(trained) == 10


def test_a_ring_without_saved_rows_is_not_shown_rows_of_images(
    dataset, tables, trained, monkeypatch
):
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    saved(dataset, tables / "collapse-strokes.jsonl")
    assert len(trained) == 0
    rows = collapse.ring_study(seeds=1)
    assert len(trained) == len(rows) == 2 and all("modes_hit" in row for row in rows)


def test_a_study_that_was_cut_off_goes_on(dataset, tmp_path, trained, monkeypatch):
    path, trainings = tmp_path / "rows.jsonl", collapse_trainings(dataset, NAMES, 2)
    row = collapse._collapse_row

    def stopped(*words):
        if len(trained) == 3:
            raise KeyboardInterrupt
        return row(*words)

    monkeypatch.setattr(collapse, "_collapse_row", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_missing(collapse_trainings(dataset, NAMES, 2), path)
    assert len(read_jsonl(path)) == 3
    rows = train_missing(trainings, path)
    assert len(trained) == 4 and rows == read_jsonl(path)


def test_rows_stand_in_the_order_of_the_settings_whoever_came_first(dataset, tmp_path, trained):
    path = tmp_path / "rows.jsonl"
    train_missing(collapse_trainings(dataset, ["label smoothing"], 1), path)
    train_missing(collapse_trainings(dataset, ["R1"], 2), path)
    train_missing(collapse_trainings(dataset, ["broken"], 1), path)
    places = [(row["name"], row["seed"]) for row in read_jsonl(path)]
    assert places == [("broken", 0), ("R1", 0), ("R1", 1), ("label smoothing", 0)]


def test_a_real_training_measures_everything_and_keeps_a_film(dataset, tables, capsys):
    rows = collapse_study(dataset, NAMES)
    assert set(measured()) <= set(rows[0]) and ["film" in row for row in rows] == [1, 0, 1, 0]
    film = collapse_film(rows[0])  # one epoch of the smoke budget
    assert film.shape == (2, 10, 1, 28, 28) and film.dtype == torch.uint8
    assert not torch.equal(film[0], film[1])
    # the same weights before training, and the same noise
    assert torch.equal(film[0], collapse_film(rows[2])[0])
    for row in rows:
        assert 0 <= row["classes_covered"] <= 4 and row["class_kl"] >= 0 and row["distance"] > 0
    assert collapse_study(dataset, NAMES) == rows
    with pytest.raises(CourseError, match="only seed 0"):
        collapse_film(rows[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_films_are_decoded_pixel_for_pixel(channels):
    frames = torch.randint(256, (3, 10, channels, 12, 12), dtype=torch.uint8)
    sheet = collapse.tile(frames.flatten(0, 1), 10, pad=0)
    assert torch.equal(collapse_film({"film": collapse._to_png(sheet)}), frames)


def test_the_ring_is_measured_and_its_film_shows_where_the_points_went(tables, capsys):
    rows = ring_study()
    assert [(row["name"], row["seed"]) for row in rows] == [
        (name, seed) for name in ("broken", "course") for seed in (0, 1)
    ]
    film = ring_film(rows[0])
    assert film.shape == (29, 500, 2) and film.dtype == torch.float32
    run = collapse.train_ring(
        ring_trainings()[0].experiment.model,
        ring_trainings()[0].experiment.train,
        num_steps=collapse.SMOKE_RING_STEPS,
        num_frames=29,
    )
    assert (film - torch.stack(run.frames).clamp(-2, 2)).abs().max() <= 2 / 255 + 1e-5
    assert rows[0]["modes_hit"] == run.coverage.modes_hit
    assert ring_study() == rows
    assert "4 trainings of yours" in capsys.readouterr().out


def test_rings_of_other_settings_are_trained_anew(tables, trained, monkeypatch, capsys):
    rows = train_missing(ring_trainings(), tables / "collapse-ring.jsonl")
    assert ring_study() == rows and len(trained) == 10
    assert "collapse on the ring: 10 saved trainings" in capsys.readouterr().out
    monkeypatch.setattr(collapse, "RING_STEPS", 100)
    ring_study(["course"])
    assert trained[10:] == [(collapse.SMOKE_RING_STEPS, 0), (collapse.SMOKE_RING_STEPS, 1)]


def test_a_training_that_diverges_is_a_row_as_well(dataset, monkeypatch):
    def diverges(*_, **__):
        raise TrainingDiverged("the loss of 'generator' is nan")

    monkeypatch.setattr(collapse, "fit", diverges)
    row = collapse_training(dataset, {"model.loss": "wasserstein"})
    assert row["generator_loss"] is None and row["alarms"] == ["the loss of 'generator' is nan"]
    assert collapse_film(row).shape == (1, 10, 1, 28, 28)
    json.dumps(row, allow_nan=False)


def test_a_training_stopped_by_hand_is_no_row(dataset, tables, monkeypatch):
    def stopped(model, dataset, config, **_):
        return collapse.History()

    monkeypatch.setattr(collapse, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        collapse_study(dataset, ["R1"], 1)
    assert not list(tables.iterdir())


BAD = [(["R2"], 5, "unknown setting 'R2'"), (["R1"], 0, "seeds: expected at least 1")]


@pytest.mark.parametrize(("names", "seeds", "message"), BAD)
def test_what_there_is_not_is_told(names, seeds, message, dataset):
    with pytest.raises(CourseError, match=message):
        collapse_study(dataset, names, seeds)


def rows_of(**settings):
    """Rows of ten classes: `{name: [(classes hit, class KL, G's loss), ...]}`."""
    model = {"loss": "non-saturating"}
    return [
        {
            "name": name.replace("_", " "),
            "seed": seed,
            "num_classes": 10,
            "num_drawn": 1000,
            "settings": {"model": {**model, **({"loss": "hinge"} if name == "hinge" else {})}},
            **measured(covered, kl, loss),
        }
        for name, some in settings.items()
        for seed, (covered, kl, loss) in enumerate(some)
    ]


ROWS = rows_of(
    broken=[(1, 2.3, 9.0), (2, 2.0, 8.0), (1, 2.2, 9.5)],
    R1=[(10, 0.1, 1.0), (9, 0.2, 1.2), (8, 0.3, 1.1)],
    hinge=[(10, 0.1, 7.0), (7, 0.9, 6.0), (10, 0.2, 6.5)],
    moving_average=[(1, 2.3, 9.0), (2, 2.1, 8.0), (4, 2.2, 9.5)],
)


def test_the_states_follow_the_counts():
    results = collapse_results(ROWS)
    states = {name: one.state for name, one in results.items()}
    assert states == {
        "broken": "collapsed",
        "R1": "cured",
        "hinge": "between",
        "moving average": "collapsed",
    }
    assert (results["broken"].num_collapsed, results["R1"].num_cured) == (3, 3)
    assert collapse_cells(results)["R1"]["classes hit, by seed"] == ("10, 9, 8", "cured")
    assert collapse_cells(results)["R1"]["class KL, nats"] == ("0.20 ± 0.06", "cured")


def test_the_words_say_what_the_rows_say():
    words = collapse_words(collapse_results(ROWS))
    assert "The trainings of the broken GAN hit 1, 2, 1 of 10 classes." in words
    assert "At least 80% of the classes with every seed: R1." in words
    assert "Neither: hinge." in words
    assert "Fewer than half of the classes with most seeds: moving average." in words
    assert "little to cure" not in words
    healthy = rows_of(broken=[(10, 0.1, 1.0), (9, 0.2, 1.0)], R1=[(3, 1.0, 1.0), (2, 1.1, 1.0)])
    words = collapse_words(collapse_results(healthy))
    assert "None of them lost half of the classes: there is little to cure." in words
    assert "At least 80% of the classes with every seed: none." in words


def test_divergence_is_told_apart_from_collapse_by_the_loss_of_the_generator():
    results = collapse_results(ROWS)
    # -log D above log 1000; the hinge loss is no cross-entropy, so its size says nothing
    assert {name: one.num_diverged for name, one in results.items()} == {
        "broken": 3,
        "R1": 0,
        "hinge": 0,
        "moving average": 3,
    }
    assert collapse_cells(results)["broken"]["diverged"] == ("3 of 3", "collapsed")
    words = collapse_words(results)
    assert "Diverged, with G's loss above 6.9 nats at the end: broken 3 of 3, moving" in words
    assert is_diverged({"generator_loss": None})  # broke off in the first epoch
    lost = rows_of(broken=[(1, 2.3, 6.8), (2, 2.2, 7.0)])
    assert [is_diverged(row) for row in lost] == [False, True]
    assert "at the end: none." in collapse_words(collapse_results(lost[:1] * 2))


def test_precision_is_a_column_once_every_row_has_it():
    assert "precision" not in collapse_cells(collapse_results(ROWS))["R1"]
    some = [row | {"precision": 0.25 * row["seed"]} for row in ROWS]
    assert collapse_cells(collapse_results(some))["R1"]["precision"] == ("0.25 ± 0.14", "cured")
    del some[-1]["precision"]
    assert "precision" not in collapse_cells(collapse_results(some))["R1"]


def test_an_effect_is_told_only_where_the_seeds_show_one():
    results = collapse_results(ROWS)
    assert "less collapse: class KL -1.97 ± 0.11 nats" in results["R1"].effect_text
    assert "no effect that 3 seeds can show" in results["moving average"].effect_text
    assert results["broken"].effect is None
    worse = rows_of(broken=[(9, 0.2, 1.0), (9, 0.21, 1.0)], R1=[(1, 2.3, 1.0), (1, 2.2, 1.0)])
    assert "more collapse" in collapse_results(worse)["R1"].effect_text


def test_results_need_the_broken_gan_to_compare_with():
    with pytest.raises(CourseError, match="expected rows of 'broken'"):
        collapse_results([row for row in ROWS if row["name"] != "broken"])


def test_losses_compare_only_where_the_generator_minimises_the_same():
    pairs = losses_and_kl(ROWS)
    assert list(pairs) == ["broken", "R1", "moving average"]
    assert pairs["R1"] == [(1.0, 0.1), (1.2, 0.2), (1.1, 0.3)]
    text = loss_words(ROWS)
    # broken 9, 8, 9.5 and R1 1, 1.2, 1.1 against KL 2.3, 2.0, 2.2 and 0.1, 0.2, 0.3
    assert "0.89 over the 6 trainings with the loss of the broken GAN" in text
    assert "0.50 over the 3 of them that hit four fifths of the classes" in text
    assert "the same in 3 of 3 trainings, the class KL in 2" in text


def test_a_training_without_a_loss_has_no_rank():
    rows = rows_of(broken=[(1, 2.3, None), (1, 2.2, 3.0)], R1=[(9, 0.1, 1.0), (9, 0.2, 2.0)])
    assert "over the 3 trainings" in loss_words(rows)
    assert "too few to say over the 2 of them" in loss_words(rows)


def test_rank_correlation_agrees_with_scipy_and_says_where_there_is_none():
    from scipy.stats import spearmanr

    first, second = [3.0, 1.0, 2.0, 2.0, 9.0], [1.0, 2.0, 2.0, 5.0, 0.5]
    expected, _ = spearmanr(first, second)
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert str(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])) == "nan"
    assert str(rank_correlation([1.0, 2.0], [1.0, 2.0])) == "nan"


def test_the_benchmark_writes_the_table_goes_on_and_counts(
    dataset, tables, trained, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    script = importlib.import_module("gan_collapse")
    monkeypatch.setattr(script, "load_dataset", lambda name: dataset)
    path = tables / "collapse-blobs.jsonl"
    words = ["gan_collapse", "--dataset", "blobs", "--out", str(path), "--only"]
    monkeypatch.setattr(sys, "argv", [*words, "R1"])
    script.main()
    assert len(trained) == 5
    assert "R1                     collapsed 0, cured 5 of 5; classes hit [4, 4, 4, 4, 4] of 4" in (
        capsys.readouterr().out
    )
    monkeypatch.setattr(sys, "argv", [*words, "R1", "broken"])
    script.main()
    assert len(trained) == 10  # those of R1 were there
    assert collapse_study(dataset, NAMES) == read_jsonl(path) and len(trained) == 10
    monkeypatch.setattr(sys, "argv", ["", "--dataset", "ring", "--out", str(tables / "r.jsonl")])
    script.main()
    assert "course                 modes hit [8, 8, 8, 8, 8] of 8" in capsys.readouterr().out


def test_notebook_06_trains_these_only_where_its_switch_says_so():
    cells = json.loads((PROJECT / "notebooks" / "06_dcgan.ipynb").read_text(encoding="utf-8"))
    source = "".join(
        line for cell in cells["cells"] if cell["cell_type"] == "code" for line in cell["source"]
    )
    assert source.count("RETRAIN = False") == 1 and source.count("retrain=RETRAIN") == 2
    assert "train_ring(" not in source and '"dcgan-broken"' not in source


SHIPPED = sorted(TABLES.glob("collapse-*.jsonl"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_rows_are_those_of_todays_settings(path):
    """Where this fails after a change of presets, benchmarks/gan_collapse.py writes them anew."""
    if path.stem == "collapse-ring":
        wanted = ring_trainings()
    else:
        wanted = collapse_trainings(ten_classes(path.stem.removeprefix("collapse-")))
    rows = {(row["name"], row["seed"]): row for row in read_jsonl(path)}
    stale = [one.place for one in wanted if one.place not in rows]
    stale += [one.place for one in wanted if one.place in rows and not fits(one, rows[one.place])]
    assert stale == []
    films = [row for row in rows.values() if "film" in row]
    assert {row["seed"] for row in films} == {0} and len(films) == len(rows) / NUM_COLLAPSE_SEEDS
    if path.stem != "collapse-ring":
        epochs = preset("dcgan-broken", "laptop").train.num_epochs
        assert {collapse_film(row).shape for row in films} == {(epochs + 1, 10, 1, 28, 28)}


def ten_classes(name):
    """Few images in the place of a dataset of 60,000 with ten classes."""
    blobs = make_dataset(name=name)
    return replace(blobs, class_names=tuple("0123456789"))


def fits(one, row):
    """The settings fit; the images are not at hand."""
    identity = {key: row.get(key) for key in ("num_train_images", "dataset_sha256") if key in row}
    assert row["dataset"] == "ring" or row["num_train_images"] == 60_000
    return replace(one, identity={**one.identity, **identity}).fits(row)
