"""Datasets: the frozen container, IDX files, folders of pictures, the strokes cache, `auto`, and
augmentation.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from materials import make_dataset
from PIL import Image

from course_utils import data
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_signed, uint8_to_signed
from course_utils.data import strokes
from course_utils.data import strokes as strokes_cache
from course_utils.data.augment import augment
from course_utils.data.mnist import FILES, failure_note, raw_folder, read_folder


def test_sha256_depends_on_pixels_and_labels_only(dataset):
    assert make_dataset(name="other").sha256 == dataset.sha256
    pixels = dataset.test_images.clone()
    pixels[0, 0, 0, 0] ^= 1
    labels = dataset.train_labels.clone()
    labels[0] = (labels[0] + 1) % 4
    others = [
        dataclasses.replace(dataset, test_images=pixels),
        dataclasses.replace(dataset, train_labels=labels),
    ]
    assert len({dataset.sha256, *(other.sha256 for other in others)}) == 3


def test_subset_is_random_repeatable_and_keeps_labels_and_factors_with_their_images(dataset):
    numbered = dataclasses.replace(dataset, train_factors={"index": torch.arange(256)})
    subset = numbered.subset(num_train=40, seed=3)
    chosen = subset.train_factors["index"]
    assert torch.equal(subset.train_images, dataset.train_images[chosen]) and torch.equal(
        subset.train_labels, dataset.train_labels[chosen]
    )
    # without repeats, and not simply the first ones
    assert len(set(chosen.tolist())) == 40 and chosen.max() > 100
    assert torch.equal(subset.test_images, dataset.test_images)
    assert (
        subset.sha256
        == numbered.subset(num_train=40, seed=3).sha256
        != numbered.subset(num_train=40, seed=4).sha256
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": torch.zeros(3).long()}, "256 train images but 3 labels"),
        (
            {"test_images": torch.zeros(0, 1, 28, 28).byte(), "test_labels": torch.zeros(0).long()},
            "the test set has 0 images; expected at least 2",
        ),
        ({"test_labels": torch.full((64,), 4)}, "test labels go up to 4, expected 0 to 3"),
        (
            {"train_images": torch.zeros(256, 1, 8, 8).byte()},
            "train images are [1, 8, 8], test images [1, 28, 28]",
        ),
        (
            {"train_images": torch.zeros(256, 1, 28, 28)},
            "expected uint8 images (0 to 255), got torch.float32",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(dataset, changes, message):
    with pytest.raises(CourseError) as error:
        dataclasses.replace(dataset, **changes)
    assert message in str(error.value)


@pytest.mark.parametrize("num", [0, 257])
def test_subset_refuses_sizes_that_are_not_there(dataset, num):
    with pytest.raises(CourseError) as error:
        dataset.subset(num_train=num)
    assert f"num_train: expected 1 to 256, got {num}" in str(error.value)


def test_mnist_files_are_read_as_they_are(idx_folder, capsys):
    expected = make_dataset(num_train=200, num_test=50)
    loaded = data.load_dataset("mnist")
    assert loaded.sha256 == expected.sha256
    assert (loaded.image_shape, loaded.num_classes, loaded.train_labels.dtype) == (
        (1, 28, 28),
        10,
        torch.int64,
    )
    assert capsys.readouterr().out == (
        "mnist: 200 train and 50 test images, MNIST files on disk, 200 of 60,000 images: a part of"
        " MNIST or other images\n"
    )


def test_fashion_lies_in_a_folder_of_its_own_with_its_own_names(idx_folder):
    (idx_folder / "MNIST").rename(idx_folder / "FashionMNIST")
    assert read_folder("fashion", raw_folder("fashion")).class_names[9] == "Ankle boot"
    assert not data.on_disk("mnist")


def test_auto_takes_mnist_where_it_lies_on_disk(idx_folder, capsys):
    assert data.load_dataset().name == "mnist"
    assert f"(found in {idx_folder})" in capsys.readouterr().out


@pytest.mark.parametrize("file", FILES)
def test_auto_reports_a_broken_mnist_and_never_swaps_it(idx_folder, file):
    (raw_folder("mnist") / file).unlink()
    with pytest.raises(CourseError) as error:
        data.load_dataset()
    assert file in str(error.value)


@pytest.fixture
def few_strokes(monkeypatch):
    """The standard strokes, cut down to 30 + 10; returns how often they were drawn."""
    drawn = []

    def make_few(*arguments):
        drawn.append(arguments)
        return strokes_made

    strokes_made = strokes.make_strokes(30, 10, 0)
    monkeypatch.setattr(strokes, "make_strokes", make_few)
    monkeypatch.setattr(strokes_cache, "NUM_TRAIN", 30)
    monkeypatch.setattr(strokes_cache, "NUM_TEST", 10)
    return drawn


def test_strokes_are_drawn_once_and_then_read_with_their_factors(few_strokes):
    first, second = data.load_dataset("strokes"), data.load_dataset("strokes")
    assert few_strokes == [(30, 10, 0)]
    assert (
        first.sha256 == second.sha256
        and set(first.train_factors) == set(second.train_factors) != set()
    )
    assert all(
        torch.equal(first.test_factors[name], second.test_factors[name])
        for name in first.test_factors
    )
    assert torch.equal(second.train_factors["digit"], second.train_labels)


def damage_bytes(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [damage_bytes, lambda file: file.write_bytes(b"cut"), lambda file: file.write_bytes(b"")],
)
def test_damaged_strokes_cache_is_reported_drawn_again_and_replaced(few_strokes, capsys, damage):
    good = data.load_dataset("strokes")
    damage(strokes_cache.cache_file())
    again = data.load_dataset("strokes")
    printed = capsys.readouterr().out
    assert f"{strokes_cache.cache_file()} is damaged" in printed and "Drawing it again." in printed
    assert again.sha256 == good.sha256 and len(few_strokes) == 2
    data.load_dataset("strokes")
    assert len(few_strokes) == 2


@pytest.fixture
def no_mnist(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "empty"))


def test_auto_is_strokes_where_nothing_may_be_downloaded(no_mnist, few_strokes, capsys):
    assert (
        data.describe_dataset()
        == "strokes (MNIST is not on disk and COURSE_OFFLINE=1; will be drawn once)"
    )
    assert data.load_dataset().name == "strokes"
    assert "(MNIST is not on disk and COURSE_OFFLINE=1)" in capsys.readouterr().out
    assert data.describe_dataset() == "strokes (MNIST is not on disk and COURSE_OFFLINE=1)"


def test_auto_takes_what_the_environment_says(no_mnist, few_strokes, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_OFFLINE", "0")
    monkeypatch.setenv("COURSE_DATASET", "strokes")
    assert data.load_dataset().name == "strokes"
    assert "(chosen by COURSE_DATASET)" in capsys.readouterr().out


def test_failed_download_is_said_remembered_and_leaves_nothing(
    no_mnist, few_strokes, monkeypatch, tmp_path, capsys
):
    """torchvision is replaced: its import takes longer than all tests of this file."""
    import sys
    import types

    calls = []

    def refuse(root, download):
        calls.append(root)
        raise RuntimeError("no route to host")

    fake = types.SimpleNamespace(datasets=types.SimpleNamespace(MNIST=refuse))
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    monkeypatch.delenv("COURSE_OFFLINE")
    assert data.describe_dataset().startswith("mnist (will be downloaded")
    assert data.load_dataset().name == "strokes"
    assert "MNIST is not on disk and cannot be had" in capsys.readouterr().out
    assert list((tmp_path / "empty").iterdir()) == [] and failure_note("mnist").exists()
    # auto does not wait for a dead network again ...
    assert data.load_dataset().name == "strokes" and len(calls) == 1
    with pytest.raises(CourseError) as error:
        # ... but who asks by name gets another try, and never another dataset
        data.load_dataset("mnist")
    assert len(calls) == 2 and "mnist could not be downloaded (no route to host" in str(error.value)


def test_half_downloaded_files_are_never_kept_as_good(no_mnist, monkeypatch, tmp_path):
    import sys
    import types
    from pathlib import Path

    from materials import write_idx_files

    def cut_short(root, download):
        raw = Path(root) / "MNIST" / "raw"
        write_idx_files(raw, 20, 20)
        (raw / FILES[2]).write_bytes((raw / FILES[2]).read_bytes()[:-1])

    fake = types.SimpleNamespace(datasets=types.SimpleNamespace(MNIST=cut_short))
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    monkeypatch.delenv("COURSE_OFFLINE")
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    assert (
        FILES[2] in str(error.value)
        and not data.on_disk("mnist")
        and list((tmp_path / "empty").iterdir()) == []
    )


@pytest.fixture
def pictures(tmp_path):
    """Twelve grey and twelve coloured pictures in two folders, none of them square."""
    for folder, mode in (("cats", "L"), ("dogs", "RGB")):
        (tmp_path / "pets" / folder).mkdir(parents=True)
        for index in range(12):
            shape = (20, 31) if mode == "L" else (20, 31, 3)
            pixels = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / folder / f"{index}.png")
    return tmp_path / "pets"


def test_folder_gives_classes_colours_and_a_random_test_set(pictures, capsys):
    loaded = data.load_dataset(f"folder:{pictures}", image_size=16)
    assert loaded.image_shape == (3, 16, 16) and loaded.class_names == ("cats", "dogs")
    assert len(loaded.train_images) == 16 and len(loaded.test_images) == 8
    labels = torch.cat([loaded.train_labels, loaded.test_labels])
    assert torch.bincount(labels).tolist() == [12, 12]
    images = torch.cat([loaded.train_images, loaded.test_images])
    grey = (images[:, 0] == images[:, 1]).flatten(1).all(1)
    assert torch.equal(grey, labels == 0)
    assert (
        "folder:pets: 16 train and 8 test images, 24 images of 2 classes (cats, dogs), resized to"
        " 16 by 16 pixels\n" in capsys.readouterr().out
    )


def test_folder_without_colour_has_one_channel(pictures):
    assert data.load_dataset(f"folder:{pictures / 'cats'}", image_size=8).image_shape == (1, 8, 8)


def test_the_size_of_own_pictures_can_be_chosen_for_all_notebooks(pictures, monkeypatch):
    monkeypatch.setenv("COURSE_IMAGE_SIZE", "32")
    monkeypatch.setenv("COURSE_DATASET", f"folder:{pictures}")
    assert data.load_dataset().image_shape == (3, 32, 32)
    assert data.load_dataset(image_size=8).image_shape == (3, 8, 8)
    monkeypatch.setenv("COURSE_IMAGE_SIZE", "big")
    with pytest.raises(CourseError, match="COURSE_IMAGE_SIZE: expected a whole number.*'big'"):
        data.load_dataset()


@pytest.mark.parametrize("kind", ["affine", "flip"])
def test_augmentation_changes_images_and_keeps_shape_and_range(dataset, kind):
    images = uint8_to_signed(dataset.train_images)
    kept = images.clone()
    changed = augment(images, kind, make_rng(0))
    assert changed.shape == images.shape and changed.dtype == images.dtype
    check_signed(changed)
    moved = (changed != images).flatten(1).any(1).float().mean()
    assert moved > (0.9 if kind == "affine" else 0.3)
    assert torch.equal(images, kept)
    assert torch.equal(changed, augment(images, kind, make_rng(0))) and not torch.equal(
        changed, augment(images, kind, make_rng(1))
    )


def test_flip_mirrors_about_half_of_the_images():
    images = torch.zeros(400, 1, 2, 2) - torch.tensor([0.0, 1.0])  # left column 0, right column -1
    flipped = augment(images, "flip", make_rng(0))[:, 0, 0, 0] == -1
    assert 150 < flipped.sum() < 250


def test_affine_moves_in_black_from_outside():
    white = torch.ones(200, 1, 28, 28)
    moved = augment(white, "affine", make_rng(0))
    assert moved[:, :, 0].min() == -1 and moved[:, :, 14, 14].min() > 0.999


def test_no_augmentation_draws_nothing():
    rng, images = make_rng(0), torch.zeros(2, 1, 4, 4)
    assert augment(images, "none", rng) is images
    assert torch.equal(rng.get_state(), make_rng(0).get_state())
