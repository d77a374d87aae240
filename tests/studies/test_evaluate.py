"""`course evaluate`: tables with error bars and the values of real images, from files, runs and
shipped models; its refusals.
"""

from __future__ import annotations

import csv
import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from materials import RECORD_VALUES, blobs, make_dataset
from PIL import Image

from course_utils.base.errors import CourseError
from course_utils.cli.main import main
from course_utils.data.strokes import make_strokes
from course_utils.metrics.measurement import MetricWarning
from course_utils.studies.draw import collect_images
from course_utils.studies.evaluate import METRICS, evaluate_images
from course_utils.training.history import History
from course_utils.training.registry import build
from course_utils.training.runs import save_run

pytestmark = pytest.mark.filterwarnings("error::course_utils.metrics.measurement.MetricWarning")


@pytest.fixture
def course(capsys):
    """Runs one command; returns exit code, what it printed, and its complaint."""

    def call(*arguments: object):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def npz(tmp_path):
    """40 blobs like those of the dataset, as `course sample` would write them."""
    path = tmp_path / "images.npz"
    np.savez_compressed(path, images=blobs(40, (1, 28, 28), 7)[0].numpy())
    return path


def test_a_file_against_a_dataset_gives_table_json_and_csv(course, idx_folder, npz, tmp_path):
    out = tmp_path / "new" / "result.json"
    code, printed, err = course(
        "evaluate",
        npz,
        "--against",
        "mnist",
        "--num",
        40,
        "--metrics",
        "fid,kid,classes",
        "--out",
        out,
    )
    assert (code, err) == (0, "")
    lines = printed.splitlines()
    assert lines[0] == f"40 images of {npz} against 40 of mnist test, features: classifier-mnist"
    assert [line.split("  ")[0] for line in lines[1:7]] == [
        "metric",
        "FID",
        "KID",
        "class coverage",
        "class KL",
        "confidence",
    ]
    assert "fewer images than the 128 features" in printed and " ± " in lines[2]
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["num_images"] == 40 and result["features"] == "classifier-mnist"
    assert {
        "name",
        "value",
        "error",
        "num_images",
        "extractor",
        "dataset",
        "floor",
        "floor_error",
        "differs_from_real",
    } <= set(result["metrics"][0])
    rows = list(csv.DictReader(out.with_suffix(".csv").open(encoding="utf-8")))
    assert [float(row["value"]) for row in rows] == [row["value"] for row in result["metrics"]]


def test_equal_seeds_give_equal_numbers(course, idx_folder, npz, tmp_path):
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        settings = (
            "--num",
            30,
            "--features",
            "pixels",
            "--seed",
            seed,
            "--out",
            tmp_path / f"{name}.json",
        )
        assert course("evaluate", npz, "--against", "mnist", *settings)[0] == 0
    first, again, other = (
        (tmp_path / f"{name}.json").read_text(encoding="utf-8") for name in "abc"
    )
    assert first == again != other


@pytest.mark.parametrize("features", ["pixels", "classifier"])
def test_a_run_is_sampled(course, idx_folder, tiny_vae, tmp_path, features):
    save_run(tmp_path / "vae", build(tiny_vae.model, 0), tiny_vae, History(), RECORD_VALUES)
    code, printed, _ = course(
        "evaluate",
        tmp_path / "vae",
        "--against",
        "mnist",
        "--features",
        features,
        "--metrics",
        "fid",
    )
    assert code == 0 and "50 images of" in printed  # as many as there are test images


def test_a_classifier_of_ones_own_gives_the_features(
    course, idx_folder, npz, tiny_classifier, tmp_path
):
    save_run(
        tmp_path / "judge",
        build(tiny_classifier.model, 0),
        tiny_classifier,
        History(),
        RECORD_VALUES,
    )
    settings = ("--num", 30, "--features", tmp_path / "judge", "--metrics", "fid,inception_score")
    code, printed, _ = course("evaluate", npz, "--against", "mnist", *settings)
    assert code == 0 and "features: classifier-judge" in printed and "sharpness" in printed


def test_real_images_lie_within_the_noise_of_real_images_and_blobs_do_not():
    """The digits are strokes, drawn here; only as many as the test needs."""
    train, train_factors, test, test_factors = make_strokes(600, 300, seed=5)
    splits = {
        "train_images": train[:300],
        "train_labels": train_factors.digit[:300],
        "test_images": test,
        "test_labels": test_factors.digit,
    }
    dataset = replace(make_dataset(), name="strokes", class_names=tuple("0123456789"), **splits)
    real = evaluate_images(train[300:], dataset)
    assert {row.measured.name for row in real.rows} >= {
        "FID",
        "KID",
        "precision",
        "recall",
        "density",
        "coverage",
        "Inception Score",
        "class KL",
    }
    assert sum(bool(row.verdict) for row in real.rows) <= 1
    fake = evaluate_images(blobs(300, (1, 28, 28), 1)[0], dataset)
    worse = {row.measured.name for row in fake.rows if row.verdict}
    assert {"FID", "KID", "precision", "recall", "coverage", "confidence"} <= worse
    assert str(fake).splitlines()[0].endswith("features: classifier-strokes")


def test_metrics_that_cannot_be_had_are_left_out_unless_they_are_asked_for():
    dataset = make_dataset()
    found = evaluate_images(dataset.train_images[:20], dataset, features="pixels")
    assert {row.measured.name for row in found.rows} == {
        "FID",
        "KID",
        "precision",
        "recall",
        "density",
        "coverage",
    }
    for metrics, message in (
        (["classes"], "classes: needs a classifier for blobs"),
        (["fid_infinity"], "expected more than 3137 images"),
    ):
        with pytest.raises(CourseError, match=message):
            evaluate_images(dataset.train_images[:20], dataset, features="pixels", metrics=metrics)


def test_images_of_a_run_come_in_batches_that_the_seed_decides(tiny_vae, tmp_path, monkeypatch):
    monkeypatch.setattr("course_utils.studies.draw.IMAGES_PER_CALL", 4)
    save_run(tmp_path / "vae", build(tiny_vae.model, 0), tiny_vae, History(), RECORD_VALUES)
    first, again, other = (collect_images(str(tmp_path / "vae"), 10, seed) for seed in (0, 0, 1))
    assert first.shape == (10, 1, 28, 28) and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_folder_of_pictures_is_measured(course, idx_folder, tmp_path):
    for number, image in enumerate(blobs(30, (1, 28, 28), 7)[0]):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{number}.png")
    code, printed, _ = course(
        "evaluate",
        tmp_path,
        "--against",
        "mnist",
        "--num",
        30,
        "--features",
        "pixels",
        "--metrics",
        "kid",
    )
    assert code == 0 and printed.startswith(f"30 images of {tmp_path} against 30 of mnist test")
    chosen, again, other = (collect_images(str(tmp_path), 5, seed) for seed in (0, 0, 1))
    assert torch.equal(chosen, again) and not torch.equal(chosen, other)


def test_a_folder_without_pictures_or_run_is_refused(course, tmp_path):
    code, _, err = course("evaluate", tmp_path, "--against", "strokes", "--num", 10)
    assert code == 2 and "expected at least 1 images" in err and "found 0" in err


def test_warnings_are_still_warnings_outside():
    assert issubclass(MetricWarning, UserWarning) and len(METRICS) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--metrics", "fid,kit"],
            (
                "unknown metric 'kit'; valid: classes, density_coverage, fid, fid_infinity,"
                " inception_score, kid,"
            ),
        ),
        (["--features", "resnet"], "unknown features 'resnet'"),
        (["--num", "51"], "expected 10 to 50 images to compare with mnist, got 51"),
        (["--num", "9"], "expected 10 to 50 images to compare with mnist, got 9"),
        (["--num", "45"], "--num: expected at most the 40 images of"),
        (["--out", "x.csv"], "--out: expected a name that ends in .json, got x.csv"),
        (["--seed", "-1"], "--seed: expected 0 or more, got -1"),
        (["--against", "cifar"], "unknown dataset 'cifar'"),
        (["--metrics", "fid_infinity"], "expected more than 513 images for 128 features, got 40"),
        (["--features", "inception"], "the weights of Inception v3 are not in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_is_answered_by_one_line(
    course, idx_folder, npz, tmp_path, monkeypatch, arguments, message
):
    weights = types.SimpleNamespace(
        IMAGENET1K_V1=types.SimpleNamespace(url="https://example.org/weights.pth")
    )
    monkeypatch.setitem(
        sys.modules, "torchvision.models", types.SimpleNamespace(Inception_V3_Weights=weights)
    )
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    default = ["--against", "mnist"] if "--against" not in arguments else []
    code, out, err = course("evaluate", npz, *default, *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and message in err, err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a file with the array `images`"),
        (b"not a zip file", "expected a file with the array `images`"),
        (
            {"pictures": np.zeros((20, 1, 28, 28), np.uint8)},
            "expected a file with the array `images`",
        ),
        (
            {"images": np.zeros((20, 1, 28, 28), np.float32)},
            "expected uint8 images (0 to 255), got float32",
        ),
        ({"images": np.array([{}], dtype=object)}, "expected a file with the array `images`"),
        ({"images": np.zeros((20, 28, 28), np.uint8)}, "expected images of shape [N, C, H, W]"),
        (
            {"images": np.zeros((20, 1, 32, 32), np.uint8)},
            "expected images of shape [1, 28, 28] like mnist, got [1, 32, 32]",
        ),
        (
            {"images": np.zeros((5, 1, 28, 28), np.uint8)},
            "expected 10 to 50 images to compare with mnist, got 5",
        ),
    ],
    ids=[
        "missing",
        "no zip",
        "no images",
        "floats",
        "objects",
        "three axes",
        "other size",
        "too few",
    ],
)
def test_a_wrong_file_is_answered_by_one_line(course, idx_folder, tmp_path, content, message):
    path = tmp_path / "wrong.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    code, out, err = course("evaluate", path, "--against", "mnist")
    assert code == 2 and out == "" and err.count("\n") == 1 and message in err, err


def test_a_dataset_without_a_classifier_says_what_to_do(course, npz, tmp_path):
    for index, image in enumerate(blobs(60, (1, 28, 28), 3)[0]):
        for label in "ab":
            (tmp_path / "own" / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(tmp_path / "own" / label / f"{index}.png")
    source = f"folder:{tmp_path / 'own'}"
    code, _, err = course("evaluate", npz, "--against", source, "--num", 10)
    assert code == 2 and "ships with the course; use --features pixels, or train one" in err, err
    assert course("evaluate", npz, "--against", source, "--num", 10, "--features", "pixels")[0] == 0
