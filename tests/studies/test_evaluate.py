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
from course_utils.data import load_dataset
from course_utils.data.strokes import make_strokes
from course_utils.metrics.features import class_probabilities, extract
from course_utils.metrics.measurement import MetricWarning
from course_utils.studies.draw import collect_images
from course_utils.studies.evaluate import METRICS, evaluate_images, find_extractor
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


@pytest.fixture
def own_classifier(tiny_classifier, tmp_path):
    """A classifier of the digits in `idx_folder`, under the folder of runs: of 64 features."""
    model = replace(tiny_classifier.model, num_classes=10, feature_dim=64)
    experiment = replace(tiny_classifier, dataset="mnist", model=model)
    folder = tmp_path / "runs" / "classifier-mine"
    save_run(folder, build(model, 0), experiment, History(), RECORD_VALUES)
    return folder


def test_a_file_against_a_dataset_gives_table_json_and_csv(
    course, idx_folder, own_classifier, npz, tmp_path
):
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
    assert lines[0] == f"40 images of {npz} against 40 of mnist test, features: classifier-mine"
    assert [line.split("  ")[0] for line in lines[1:7]] == [
        "metric",
        "FID",
        "KID",
        "class coverage",
        "class KL",
        "confidence",
    ]
    assert "fewer images than the 64 features" in printed and " ± " in lines[2]
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["num_images"] == 40 and result["features"] == "classifier-mine"
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
    first, again, other = (
        collect_images(str(tmp_path / "vae"), make_dataset(), 10, seed=seed).images
        for seed in (0, 0, 1)
    )
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
    assert code == 0 and f"30 images of {tmp_path} against 30 of mnist test" in printed
    # the data of the test lie in the same folder
    assert printed.startswith(f"{tmp_path}: left out: ")
    chosen, again, other = (
        collect_images(str(tmp_path), make_dataset(), 5, seed=seed).images for seed in (0, 0, 1)
    )
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
        (
            ["--metrics", "fid_infinity", "--features", "pixels"],
            "fid_infinity: expected more than 3137 images for 784 features, got 40",
        ),
        (["--metrics", "nll"], "nll: expected a model, got the images of"),
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
        (None, "there is no such file or folder; expected a file .npz or .npy, a run directory"),
        (b"not a zip file", "expected a file of NumPy arrays, got another kind of file"),
        (
            {"images": np.zeros((20, 1, 32, 32), np.uint8)},
            "expected images of 28 by 28 pixels like mnist, got 32 by 32; resize them before",
        ),
        (
            {"images": np.zeros((5, 1, 28, 28), np.uint8)},
            "expected at least 10 images to compare with mnist, got 5; give more images",
        ),
    ],
    ids=["missing", "no zip", "other size", "too few"],
)
def test_a_wrong_file_is_answered_by_one_line(course, idx_folder, tmp_path, content, message):
    path = tmp_path / "wrong.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    code, out, err = course("evaluate", path, "--against", "mnist")
    assert code == 2 and out == "" and err.count("\n") == 1 and message in err, err


@pytest.fixture
def own_pictures(tmp_path):
    """Makes a folder of grey pictures in two classes, or flat; returns its name as a dataset."""

    def make(num: int, classes: tuple[str, ...] = ("a", "b"), name: str = "own") -> str:
        for index, image in enumerate(blobs(num, (1, 28, 28), 3)[0]):
            folder = tmp_path / name / (classes[index % len(classes)] if classes else "")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(folder / f"{index}.png")
        return f"folder:{tmp_path / name}"

    return make


def test_without_a_classifier_pixels_are_taken_and_said(course, npz, own_pictures, tmp_path):
    source = own_pictures(120)
    command = ("evaluate", npz, "--against", source, "--num", 10)
    code, printed, _ = course(*command, "--out", tmp_path / "x.json")
    assert code == 0 and printed.splitlines()[0] == (
        "no classifier was trained on folder:own: measuring in pixels (--features classifier trains"
        f" one, as does `course train classifier --dataset {source}`)"
    )
    assert "features: pixels" in printed
    why = "needs a classifier for folder:own; --features classifier trains one."
    assert f"left out: classes: {why}" in printed
    # 3,138 test images for 784 pixels, a tenth of all
    why_not = "left out: fid_infinity: expected more than 3137 images for 784 features, got 10"
    assert f"{why_not}: about 31,380 pictures" in printed
    left_out = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["left_out"]
    assert len(left_out) == 3 and all(sentence in printed for sentence in left_out)
    code, _, err = course(*command, "--metrics", "fid,classes")
    assert code == 2 and f"classes: {why}" in err and err.count("\n") == 1
    # asked for by name, it is trained once and then found by what it was trained on
    code, printed, _ = course(*command, "--features", "classifier", "--metrics", "fid,classes")
    assert code == 0 and "training classifier" in printed and "class coverage" in printed
    code, printed, _ = course(*command, "--metrics", "fid")
    assert code == 0 and "training classifier" not in printed and "classifier-folder-" in printed


def test_a_folder_of_one_class_is_measured_in_pixels(course, npz, own_pictures):
    source = own_pictures(120, ())
    for features in ([], ["--features", "classifier"]):
        code, printed, _ = course("evaluate", npz, "--against", source, "--num", 10, *features)
        assert code == 0 and "features: pixels" in printed
        assert "folder:own has one class, so there is nothing to classify: measuring in pixels" in (
            printed
        )


def test_too_few_test_images_give_the_number_needed(course, npz, own_pictures, tmp_path):
    dataset = load_dataset(own_pictures(60), verbose=False)
    few = replace(dataset, test_images=dataset.test_images[:6], test_labels=dataset.test_labels[:6])
    message = (
        "needs at least 10 test images, folder:own has 6: about 30 pictures, or 10 in a folder"
        " `test` beside one `train`."
    )
    with pytest.raises(CourseError, match=message):
        evaluate_images(few.train_images[:6], few)
    np.savez(tmp_path / "few.npz", images=blobs(9, (1, 28, 28), 7)[0].numpy())
    against = ("--against", f"folder:{dataset.folder}")
    code, _, err = course("evaluate", tmp_path / "few.npz", *against)
    assert code == 2 and "to compare with folder:own, got 9; give more images" in err
    code, _, err = course("evaluate", npz, *against, "--num", 50)
    assert code == 2 and (
        "expected 10 images to compare with folder:own, got 50; change --num, or add pictures:"
        " about 500 pictures, or 50 in a folder `test` beside one `train`." in err
    )


def test_a_classifier_is_found_by_its_data_and_not_by_its_folder(
    own_classifier, idx_folder, monkeypatch
):
    dataset = load_dataset("mnist", verbose=False)
    assert find_extractor(None, dataset).extractor.name == "classifier-mine"
    assert find_extractor("pixels", dataset).classifier is not None
    # other data, another size, or a run that only shows that the code runs
    assert find_extractor(None, replace(dataset, name="fashion")).extractor.name == "pixels"
    small = {f"{split}_images": dataset.test_images[:, :, :14, :14] for split in ("train", "test")}
    small["train_labels"] = dataset.test_labels
    assert find_extractor(None, replace(dataset, **small)).extractor.name == "pixels"
    assert find_extractor("classifier", "strokes").extractor.name == "classifier-strokes"
    with pytest.raises(CourseError, match="no classifier for fashion ships with the course"):
        find_extractor("classifier", "fashion")
    found = find_extractor(None, dataset)
    assert find_extractor(found, replace(dataset, name="fashion")) is found
    record = json.loads((own_classifier / "experiment.json").read_text(encoding="utf-8"))
    record["experiment"]["train"] |= {"num_epochs": 1, "num_train_images": 4 * 64}
    (own_classifier / "experiment.json").write_text(json.dumps(record), encoding="utf-8")
    assert find_extractor(None, dataset).extractor.name == "classifier-mine"
    monkeypatch.setenv("COURSE_BUDGET", "laptop")
    assert find_extractor(None, dataset).extractor.name == "pixels"


def test_files_of_other_tools_give_the_numbers_of_the_uint8_file(course, idx_folder, tmp_path):
    """Real images: whatever they are stored as, FID is the same to the last digit."""
    images = load_dataset("mnist", verbose=False).test_images[:40].numpy()
    unit = images.astype(np.float32) / 255
    forms = {
        "plain.npz": {"images": images},
        "unit.npz": {"arr_0": unit.transpose(0, 2, 3, 1)},
        "signed.npz": {"samples": 2 * unit - 1},
        "rgb.npz": {"x": np.repeat(images, 3, 1)},
        "bare.npy": images[:, 0],
    }
    found = {}
    for name, arrays in forms.items():
        path, out = tmp_path / name, tmp_path / f"{name}.json"
        np.savez(path, **arrays) if isinstance(arrays, dict) else np.save(path, arrays)
        settings = ("--features", "pixels", "--metrics", "fid,kid", "--out", out)
        code, printed, err = course("evaluate", path, "--against", "mnist", *settings)
        assert (code, err) == (0, "")
        result = json.loads(out.read_text(encoding="utf-8"))
        found[name] = [row["value"] for row in result["metrics"]]
        if name == "unit.npz":
            assert printed.splitlines()[0] == (
                f"{path}: float32 in [0, 1], channels last: converted to uint8"
            )
        if name == "plain.npz":
            assert printed.startswith("40 images of")
    assert all(values == found["plain.npz"] for values in found.values()), found
    # the same digits on both sides, but for 10 of the 50
    assert found["plain.npz"][0] < 5


def test_the_classes_that_were_asked_for_are_measured(course, idx_folder, own_classifier, tmp_path):
    dataset = load_dataset("mnist", verbose=False)
    classifier = find_extractor(None, dataset).classifier
    images = dataset.test_images[:40]
    seen = classifier.probabilities((images / 127.5 - 1).float()).argmax(1)
    labels = torch.where(torch.arange(40) < 30, seen, (seen + 1) % 10)
    path, out = tmp_path / "told.npz", tmp_path / "told.json"
    np.savez(path, images=images.numpy(), labels=labels.numpy())
    settings = ("--metrics", "classes", "--out", out)
    assert course("evaluate", path, "--against", "mnist", *settings)[0] == 0
    rows = json.loads(out.read_text(encoding="utf-8"))["metrics"]
    (agreement,) = (row for row in rows if row["name"] == "class agreement")
    assert agreement["value"] == 0.75 and agreement["floor"] is not None


def test_labels_stay_with_their_images(idx_folder, tmp_path):
    """Files are often in the order of classes, so some of many are chosen at random."""
    images, labels = blobs(60, (1, 28, 28), 7)
    path = tmp_path / "sorted.npz"
    np.savez(path, images=images[labels.argsort()].numpy(), labels=labels.sort().values.numpy())
    found = collect_images(str(path), make_dataset(), 20)
    assert len(found.images) == 20 and len(found.labels.unique()) > 1
    for image, label in zip(found.images, found.labels):
        row = int((images == image).flatten(1).all(1).nonzero()[0, 0])
        assert labels[row] == label


@pytest.mark.parametrize("kind", ["runs", "nll"])
def test_a_model_of_other_images_is_refused(course, tiny_vae, own_pictures, tmp_path, kind):
    model = replace(tiny_vae.model, image_size=32)
    experiment = replace(tiny_vae, model=model)
    save_run(tmp_path / "vae", build(model, 0), experiment, History(), RECORD_VALUES)
    source = own_pictures(40)
    metrics = ["--metrics", "nll"] if kind == "nll" else []
    code, _, err = course("evaluate", tmp_path / "vae", "--against", source, *metrics)
    assert code == 2 and err.count("\n") == 1
    assert (
        "expected a model of images like folder:own (28 by 28 pixels in 1 channel), got one of 32"
        " by 32 pixels in 1 channel; compare at its size with --image-size 32, or train a vae on"
        " folder:own" in err
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grid.png", "one picture is no set of images. Give folder:PATH"),
        ("model.pt", "got a file .pt; it may hold a program, so it is never opened"),
        ("model.safetensors", "give the run directory in which it lies"),
        ("images.zip", "got a file .zip; unpack it"),
        ("images.h5", "got a file .h5; save the pixels with `np.savez"),
        ("images.csv", "got a file .csv; save the pixels"),
        ("images", "got a file without ending"),
    ],
)
def test_other_files_are_named_with_what_to_give(course, idx_folder, tmp_path, name, message):
    (tmp_path / name).write_bytes(b"anything")
    code, _, err = course("evaluate", tmp_path / name, "--against", "mnist")
    assert code == 2 and err.count("\n") == 1 and message in err, err


def test_a_place_that_is_not_there_is_said(course, idx_folder, tmp_path):
    for name in ("gone", "gone.npz", "gone.npy", "gone.png"):
        code, _, err = course("evaluate", tmp_path / name, "--against", "mnist")
        assert code == 2 and f"{tmp_path / name}: there is no such file or folder; expected" in err


def test_a_folder_as_dataset_is_written_with_its_prefix(course, npz, own_pictures):
    source = own_pictures(40)
    code, _, err = course("evaluate", npz, "--against", source.removeprefix("folder:"))
    assert code == 2 and f"write {source}." in err and err.count("\n") == 1


def test_a_folder_with_its_prefix_is_a_source_too(course, idx_folder, own_pictures):
    settings = ("--features", "pixels", "--metrics", "fid", "--num", 30)
    code, printed, _ = course("evaluate", own_pictures(40), "--against", "mnist", *settings)
    assert code == 0 and "30 images of folder:" in printed


def test_colours_are_averaged_only_on_request(course, idx_folder, tmp_path):
    images = blobs(20, (3, 28, 28), 7)[0].numpy()
    np.savez(tmp_path / "colour.npz", images=images)
    command = ("evaluate", tmp_path / "colour.npz", "--against", "mnist", "--features", "pixels")
    code, _, err = course(*command)
    assert code == 2 and "expected grey images like mnist, got colours" in err and "--grey" in err
    code, printed, _ = course(*command, "--grey")
    assert code == 0 and "colours averaged by luminance" in printed
    found = collect_images(str(tmp_path / "colour.npz"), make_dataset(), 20, grey=True).images
    luminance = (images * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1).round()
    assert np.array_equal(found[:, 0].numpy(), luminance.astype(np.uint8))


def test_each_image_passes_the_classifier_once():
    """The convolutions cost nearly all the time, and the probabilities follow from the features."""
    dataset = load_dataset("strokes", verbose=False).subset(60, 60)
    found = find_extractor("classifier", "strokes")
    classifier, seen = found.classifier, []
    hook = classifier.backbone.register_forward_hook(lambda *call: seen.append(len(call[1][0])))
    evaluate_images(dataset.train_images[:40], dataset, features=found, metrics=["classes"])
    hook.remove()
    assert sum(seen) == 3 * 40
    images = dataset.test_images[:40]
    of_features = classifier.probabilities_of(extract(found.extractor, images))
    assert torch.allclose(of_features, class_probabilities(classifier, images), atol=1e-6)
