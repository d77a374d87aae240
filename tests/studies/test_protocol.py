"""`course compare` on small models of blobs: rows are written as they come, measured once, and
summed up over seeds.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
import torch
from materials import make_dataset

from course_utils.base.errors import CourseError
from course_utils.base.files import read_jsonl, write_jsonl
from course_utils.cli.main import main
from course_utils.metrics.measurement import seed_error
from course_utils.models.gaussian import GaussianConfig
from course_utils.studies import compare as module
from course_utils.studies.compare import (
    PROTOCOL,
    ROWS,
    FamilyComparison,
    compare_families,
    make_protocol,
)
from course_utils.studies.copies import MemorizationAudit, split_training, training_images
from course_utils.training import runs
from course_utils.training.presets import preset
from course_utils.training.runs import default_folder, find_or_train, find_shipped, load_run, run


@pytest.fixture(scope="module")
def blobs():
    return make_dataset(num_train=300, num_test=200)


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch, tiny_vae):
    """Two families that train in a tenth of a second."""
    gaussian = replace(
        tiny_vae, family="gaussian", model=GaussianConfig(latent_dim=2, num_classes=4)
    )
    tiny = {"vae": tiny_vae, "gaussian": gaussian}
    monkeypatch.setattr(
        module, "preset", lambda name, budget: tiny.get(name) or preset(name, budget)
    )


def protocol_of(dataset, **changes):
    return replace(make_protocol(dataset, "smoke", 120, "pixels"), **changes)


@pytest.fixture
def compared(blobs, tmp_path):
    return (
        compare_families(["vae", "gaussian"], blobs, protocol_of(blobs), 2, tmp_path / "out"),
        tmp_path / "out",
    )


def test_there_is_a_row_for_each_family_and_seed(compared):
    result, out = compared
    rows = [json.loads(line) for line in (out / ROWS).read_text().splitlines()]
    assert [(row["family"], row["seed"]) for row in rows] == [
        ("vae", 0),
        ("gaussian", 0),
        ("vae", 1),
        ("gaussian", 1),
    ]
    assert list(result.rows) == rows and all(row["weights"] == "trained" for row in rows)
    wanted = {
        "FID",
        "KID",
        "precision",
        "recall",
        "NLL",
        "copy p-value",
        "copied share (aligned pixels)",
        "authenticity",
        "edge contrast",
        "walk unevenness",
    }
    wanted |= {
        "training seconds",
        "seconds for 100 images",
        "seconds for 120 images",
        "parameters",
        "network calls",
    }
    assert wanted == set(result.metrics)


def test_a_row_repeats_what_the_run_says(compared, blobs):
    result, _ = compared
    metrics = result.rows[2]["metrics"]
    trained = load_run(
        default_folder(replace(module.preset("vae", ""), seed=1).fitted_to(blobs), blobs)
    )
    assert metrics["parameters"]["value"] == trained.model.num_parameters
    assert metrics["training seconds"]["value"] == trained.record["training_seconds"]
    assert metrics["FID"]["floor"] > 0 and metrics["FID"]["error"] > 0
    assert metrics["edge contrast"]["floor"] > 0 and metrics["walk unevenness"]["value"] >= 1
    # a Gaussian of classes has no latent to walk in
    assert result.cell("walk unevenness", "gaussian") is None


def test_what_is_measured_is_not_measured_again(compared, blobs, monkeypatch):
    _, out = compared
    before = (out / ROWS).read_text()
    measured = []
    monkeypatch.setattr(
        module,
        "measure_run",
        lambda trained, *_: measured.append(trained.experiment.seed) or {"FID": module._plain(1.0)},
    )
    result = compare_families(["vae", "gaussian"], blobs, protocol_of(blobs), 3, out)
    assert measured == [2, 2] and len(result.rows) == 6
    assert (out / ROWS).read_text().startswith(before)
    assert len(compare_families(["vae"], blobs, protocol_of(blobs), 2, out).rows) == 2


def test_stopping_keeps_the_rows_that_are_there(blobs, tmp_path, monkeypatch):
    trained = []

    def stop_at_third(experiment, *arguments, **options):
        trained.append(experiment.family)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return run(experiment, *arguments, **options)

    monkeypatch.setattr(runs, "run", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        compare_families(["vae", "gaussian"], blobs, protocol_of(blobs), 2, tmp_path)
    assert len((tmp_path / ROWS).read_text().splitlines()) == 2
    assert (
        len(compare_families(["vae", "gaussian"], blobs, protocol_of(blobs), 2, tmp_path).rows) == 4
        and len(trained) == 5
    )


def test_a_training_that_was_stopped_is_no_row(blobs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        runs,
        "run",
        lambda *arguments, **options: replace(
            run(*arguments, **options), record={"finished": False}
        ),
    )
    with pytest.raises(KeyboardInterrupt):
        compare_families(["vae"], blobs, protocol_of(blobs), 1, tmp_path)
    assert not (tmp_path / ROWS).exists()


def test_another_protocol_is_refused(compared, blobs):
    _, out = compared
    with pytest.raises(CourseError, match="holds a comparison by another protocol .num_images 120"):
        compare_families(["vae"], blobs, protocol_of(blobs, num_images=150), 1, out)
    assert json.loads((out / PROTOCOL).read_text())["dataset_sha256"] == blobs.sha256


def test_held_out_images_are_not_trained_on(blobs, tmp_path, monkeypatch):
    seen = []
    real = module.find_or_train
    monkeypatch.setattr(
        module,
        "find_or_train",
        lambda experiment, data, **how: seen.append(data) or real(experiment, data, **how),
    )
    compare_families(["vae"], blobs, protocol_of(blobs, num_heldout=120), 1, tmp_path)
    kept, rest = split_training(blobs, 180)
    assert torch.equal(seen[0].train_images, kept.train_images) and len(rest) == 120
    assert torch.equal(
        torch.cat([kept.train_images, rest]).flatten(1).double().sum(0),
        blobs.train_images.flatten(1).double().sum(0),
    )


def test_shipped_weights_are_taken_where_the_settings_are_equal(blobs):
    shipped = find_shipped(replace(preset("vae", "laptop"), dataset="strokes"))
    named = replace(
        make_dataset(num_train=20, num_test=20), name="strokes", class_names=tuple("0123456789")
    )
    trained, weights = find_or_train(preset("vae-binary", "laptop").fitted_to(named), named)
    assert (
        weights == "shipped"
        and trained.folder.name == "vae-binary-strokes"
        and shipped.name == "vae-strokes"
    )


def test_training_images_are_those_that_fit_takes(tiny_vae, blobs):
    few = replace(tiny_vae, seed=3, train=replace(tiny_vae.train, num_train_images=50))
    assert torch.equal(training_images(blobs, few), blobs.subset(50, seed=3).train_images)
    assert torch.equal(training_images(blobs, tiny_vae), blobs.train_images)


def test_copies_are_found_by_both_ways_of_seeing(blobs, tiny_vae):
    judge = MemorizationAudit(blobs, "pixels", 200)
    numbers = judge.numbers(blobs.train_images[:200], tiny_vae)
    assert (
        numbers["copy p-value"][0] < 1e-6
        and numbers["copied share (aligned pixels)"][0] == pytest.approx(1)
        and numbers["authenticity"][0] == 0
    )
    assert judge.numbers(blobs.test_images, tiny_vae)["copied share (aligned pixels)"][0] < 0
    assert (
        MemorizationAudit(
            replace(blobs, test_images=blobs.test_images[:50], test_labels=blobs.test_labels[:50])
        ).judge(blobs.train_images, tiny_vae)
        == {}
    )


def rows_of(*values, family="vae", floor=None):
    number = {"error": 0.3, "floor": floor, "floor_error": None if floor is None else 0.05}
    return tuple(
        {
            "family": family,
            "seed": seed,
            "weights": "trained",
            "trained_on": "a machine",
            "metrics": {"FID": {"value": value, **number}},
        }
        for seed, value in enumerate(values)
    )


def test_cells_are_means_over_seeds_with_the_error_between_them():
    result = FamilyComparison(
        {"num_images": 10, "dataset": "blobs", "budget": "smoke"},
        rows_of(3.0, 4.0, 8.0, floor=1.0) + rows_of(7.0, family="dcgan"),
    )
    cell, single = result.cell("FID", "vae"), result.cell("FID", "dcgan")
    assert (cell.mean, cell.error) == tuple(seed_error([3.0, 4.0, 8.0])) and cell.values == (
        3.0,
        4.0,
        8.0,
    )
    assert (single.mean, single.error) == (7.0, 0.3)
    assert result.floor("FID") == (1.0, pytest.approx(0.05)) and result.cell("KID", "vae") is None
    assert (
        "vae (3 seeds)" in str(result)
        and "5.0 ± 1.5" in str(result)
        and "7.00 ± 0.30" in str(result)
        and "lower" in str(result)
    )
    assert "do not compare" not in str(result)
    mixed = FamilyComparison(
        result.protocol,
        (*result.rows, {**result.rows[0], "family": "gaussian", "trained_on": "another"}),
    )
    assert "seconds of different machines do not compare" in str(mixed)


def test_exact_numbers_have_no_error_bar_and_p_values_no_mean():
    numbers = {
        "copy p-value": (0.6, 0.2, 0.9),
        "network calls": (10.0, 10.0, 10.0),
        "parameters": (1_234_567, 1_234_567, 1_234_567),
    }
    rows = [
        {
            **row,
            "metrics": {
                name: {**row["metrics"]["FID"], "value": values[row["seed"]], "error": None}
                for name, values in numbers.items()
            },
        }
        for row in rows_of(0, 0, 0)
    ]
    result = FamilyComparison(
        {"num_images": 10, "dataset": "blobs", "budget": "smoke"}, tuple(rows)
    )
    assert [result.cell(name, "vae").text for name in numbers] == ["0.2", "10", "1,234,567"]


def test_files_hold_the_same_numbers(compared):
    result, out = compared
    paths = result.save(out)
    saved = json.loads(paths[0].read_text())
    assert saved["rows"] == list(result.rows) and saved["protocol"]["num_images"] == 120
    assert saved["summary"]["FID"]["vae"]["mean"] == result.cell("FID", "vae").mean
    lines = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    found = {
        (line["family"], int(line["seed"]), line["metric"]): float(line["value"]) for line in lines
    }
    assert found == {
        (row["family"], row["seed"], name): number["value"]
        for row in result.rows
        for name, number in row["metrics"].items()
    }
    assert paths[2].read_bytes().startswith(b"\x89PNG")


BAD = [
    (lambda d, out: compare_families(["vea"], d, protocol_of(d), 1, out), "unknown family 'vea'"),
    (
        lambda d, out: compare_families(["classifier"], d, protocol_of(d), 1, out),
        "classifier: cannot sample",
    ),
    (
        lambda d, out: compare_families(["vae"], d, protocol_of(d), 0, out),
        "seeds: expected at least 1, got 0",
    ),
    (
        lambda d, out: compare_families(["vae"], d, protocol_of(d, features="resnet"), 1, out),
        "unknown features 'resnet'",
    ),
    (
        lambda d, out: compare_families(["vae"], d, protocol_of(d, num_heldout=300), 1, out),
        "num_train: expected 1 to 299",
    ),
    (lambda d, out: make_protocol(d, "smoke", 500), "expected 10 to 200 images"),
    (lambda d, out: make_protocol(d, "smoke", 9), "expected 10 to 200 images"),
    (lambda d, out: replace(protocol_of(d), num_images=9), "num_images: expected at least 10"),
    (
        lambda d, out: make_protocol(d, "smoke", num_heldout=300),
        "--hold-out: expected 0 to 299 of the 300 training images of blobs, got 300",
    ),
    (lambda d, out: FamilyComparison({}, ()), "needs at least one row"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message, blobs, tmp_path):
    with pytest.raises(CourseError, match=message):
        call(blobs, tmp_path)
    assert not (tmp_path / ROWS).exists()


def test_command_prints_the_table_and_goes_on(capsys, idx_folder, tmp_path):
    command = ["compare", "vae", "--dataset", "folder:x", "--out", str(tmp_path / "out")]
    assert main(command) == 2 and "folder" in capsys.readouterr().err
    command = ["compare", "vea", "--out", str(tmp_path / "out")]
    assert main(command) == 2 and "course compare: unknown family 'vea'" in capsys.readouterr().err


def test_smoke_protocol_is_small_and_laptop_takes_ten_thousand(blobs):
    many = make_dataset((1, 8, 8), 12_000, 11_000)
    assert (
        make_protocol(many, "laptop").num_images == 10_000
        and make_protocol(many, "smoke").num_images == 300
    )
    assert (
        make_protocol(blobs, "laptop").num_images == 200
        and make_protocol(blobs, "laptop").num_likelihood_images == 200
    )


def test_few_test_images_leave_out_what_cannot_be_measured_and_say_so(blobs, tmp_path):
    """As of 60 pictures, ten of which are the test set."""
    few = replace(
        blobs,
        test_images=blobs.test_images[:10],
        test_labels=blobs.test_labels[:10],
        name="folder:own",
        folder="/own",
        content_id="0123456789ab",
    )
    protocol = make_protocol(few, "smoke")
    assert (protocol.num_images, protocol.features) == (10, "pixels")
    result = compare_families(["vae"], few, protocol, 2, tmp_path)
    assert {"FID", "KID", "precision", "recall", "NLL", "seconds for 100 images"} <= set(
        result.metrics
    )
    sentences = [
        "left out: the metrics of classes, which need a classifier of folder:own (--features"
        " classifier; at least 2 classes).",
        "left out: the tests for copies, which need at least 100 images that were not trained on;"
        " folder:own has 10: about 1,000 pictures, or 100 in a folder `test` beside one `train`.",
    ]
    assert str(result).splitlines()[-2:] == sentences  # once, not for each seed
    assert json.loads((tmp_path / ROWS).read_text().splitlines()[0])["left_out"] == sentences
    few = replace(few, test_images=few.test_images[:6], test_labels=few.test_labels[:6])
    with pytest.raises(CourseError, match="at least 10 test images, folder:own has 6: about 30"):
        make_protocol(few, "smoke")


def test_held_out_images_do_not_change_the_features(blobs, tmp_path, monkeypatch):
    """A dataset without some of its images is another one by content; what it is seen through is
    found for the whole.
    """
    seen = []
    real = module.find_extractor
    monkeypatch.setattr(
        module, "find_extractor", lambda how, data: seen.append((how, data)) or real(how, data)
    )
    compare_families(["vae"], blobs, protocol_of(blobs, num_heldout=120), 1, tmp_path)
    assert seen[0] == ("pixels", blobs) and len(seen) > 1
    assert all(how.extractor.name == "pixels" for how, _ in seen[1:])


def test_the_protocol_writes_down_which_features_there_are(blobs, tiny_classifier):
    assert make_protocol(blobs, "smoke").features == "pixels"
    run(tiny_classifier, blobs)
    features = make_protocol(blobs, "smoke").features
    assert features == str(default_folder(tiny_classifier.fitted_to(blobs), blobs))
    named = replace(blobs, name="strokes", class_names=tuple("0123456789"))
    assert make_protocol(named, "smoke").features == "classifier"


def test_rows_of_another_process_are_kept_and_not_measured_again(
    compared, blobs, tmp_path, monkeypatch
):
    rows = {(row["family"], row["seed"]): row for row in compared[0].rows}
    measured = []

    def measured_row(family, seed, *_):
        if not measured:  # meanwhile another process has finished one
            write_jsonl(tmp_path / ROWS, [rows["gaussian", 0]])
        measured.append((family, seed))
        return rows[family, seed]

    monkeypatch.setattr(module, "_measured_row", measured_row)
    result = compare_families(["vae", "gaussian"], blobs, protocol_of(blobs), 2, tmp_path)
    assert measured == [("vae", 0), ("vae", 1), ("gaussian", 1)]
    assert sorted((row["family"], row["seed"]) for row in result.rows) == sorted(rows)
    assert read_jsonl(tmp_path / ROWS) == list(result.rows)


def test_rows_that_a_power_cut_emptied_are_not_measured_anew_in_silence(compared, blobs):
    (compared[1] / ROWS).write_bytes(b"")
    with pytest.raises(CourseError, match="expected rows of a comparison, got an empty file"):
        compare_families(["vae"], blobs, protocol_of(blobs), 1, compared[1])
