"""MNIST as people bring it: packed, renamed, beside its folder, or another set under its names; and
downloads that end in every way there is.
"""

from __future__ import annotations

import gzip
import http.client
import lzma
import os
import ssl
import sys
import types
import zlib
from pathlib import Path

import pytest
import torch
from materials import make_dataset, write_idx, write_idx_files

from course_utils import data
from course_utils.base.errors import CourseError
from course_utils.cli import doctor
from course_utils.data import mnist, strokes
from course_utils.data.mnist import FILES, FIRST_LABELS, failure_note, raw_folder

EXPECTED = make_dataset(num_train=200, num_test=50).sha256


def renamed(change):
    """Moves each of the four files to the path that `change(data folder, name)` gives."""

    def prepare(folder: Path) -> None:
        for name in FILES:
            target = change(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            (raw_folder("mnist") / name).rename(folder / "moving")
            (folder / "moving").rename(target)

    return prepare


def packed(change):
    """As `renamed`, and packed by gzip."""

    def prepare(folder: Path) -> None:
        for name in FILES:
            file = raw_folder("mnist") / name
            file.write_bytes(gzip.compress(file.read_bytes()))
        renamed(change)(folder)

    return prepare


def dotted(name: str) -> str:
    return name.replace("-idx", ".idx")


def in_own_folder(folder: Path, name: str) -> Path:
    inner = folder / "MNIST" / "raw" / f"{name}.d"
    return inner / dotted(name)


def unpack_folders(folder: Path) -> None:
    """Folders that are called like the files, as 7-Zip and Kaggle make them."""
    renamed(in_own_folder)(folder)
    for name in FILES:
        (raw_folder("mnist") / f"{name}.d").rename(raw_folder("mnist") / name)


def packed_twice(folder: Path) -> None:
    for _ in range(2):
        packed(lambda folder, name: raw_folder("mnist") / name)(folder)


@pytest.mark.parametrize(
    "bring",
    [
        packed(lambda folder, name: folder / "MNIST" / "raw" / f"{name}.gz"),
        packed(lambda folder, name: folder / "MNIST" / "raw" / name),
        packed_twice,
        packed(lambda folder, name: folder / "MNIST" / f"{dotted(name)}.gz"),
        packed(lambda folder, name: folder / f"{name.split('-idx')[0]}.gz"),
        renamed(lambda folder, name: folder / "MNIST" / "raw" / dotted(name)),
        renamed(lambda folder, name: folder / "MNIST" / "raw" / dotted(name).upper()),
        renamed(lambda folder, name: folder / "MNIST" / name),
        renamed(lambda folder, name: folder / "mnist" / dotted(name)),
        renamed(lambda folder, name: folder / name),
        renamed(lambda folder, name: folder / "raw" / name.replace("t10k", "test")),
        unpack_folders,
    ],
)
def test_files_are_taken_as_they_come_and_never_changed(idx_folder, bring):
    bring(idx_folder)
    before = {path: path.read_bytes() for path in idx_folder.rglob("*") if path.is_file()}
    assert len(before) == 4
    assert data.load_dataset("mnist", verbose=False).sha256 == EXPECTED
    assert data.resolve_auto()[0] == "mnist" and doctor.dataset().remedy == ""
    after = {path: path.read_bytes() for path in idx_folder.rglob("*") if path.is_file()}
    assert after == before


def test_fashion_in_a_folder_of_another_spelling(idx_folder):
    (idx_folder / "MNIST" / "raw").rename(idx_folder / "fashion-mnist")
    assert data.load_dataset("fashion", verbose=False).class_names[9] == "Ankle boot"
    assert not data.on_disk("mnist")


def test_exact_name_counts_more_than_a_copy(idx_folder):
    for name in FILES:
        (raw_folder("mnist") / dotted(name)).write_bytes(b"half")
        (raw_folder("mnist") / f"{name}.gz").write_bytes(b"half")
    assert data.load_dataset("mnist", verbose=False).sha256 == EXPECTED


def test_folders_and_tables_of_such_names_are_not_mnist(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    (tmp_path / "train_images").mkdir()
    (tmp_path / "test images").mkdir()
    (tmp_path / "train_labels").write_text("cat,dog")
    assert not data.on_disk("mnist")


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("emnist-letters-train-images-idx3-ubyte", "another set than MNIST"),
        ("kmnist-train-imgs.npz", "another set than MNIST"),
        ("mnist.npz", "the course reads the four IDX files"),
        ("mnist_train.csv", "the course reads the four IDX files"),
        ("train-00000-of-00001.parquet", "the course reads the four IDX files"),
        ("archive.zip", "the course reads the four IDX files"),
    ],
)
@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "."])
def test_other_forms_nearby_are_named(tmp_path, monkeypatch, name, fragment, place):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    file = tmp_path / place / name
    file.write_bytes(b"")
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    message = str(error.value)
    assert f"{file} lies there" in message and fragment in message
    chosen, reason = data.resolve_auto()
    assert chosen == "strokes" and fragment in reason


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("MNIST_data/train-images-idx3-ubyte.gz", "move the four files to"),
        ("mnist-dataset/train-images.idx3-ubyte", "move the four files to"),
        ("archive/MNIST/raw/train-images-idx3-ubyte", "move the four files to"),
        ("MNIST/raw/train-images-idx3-ubyte (1).gz", "move the four files to"),
        ("MNIST/raw/t10k-images-idx3-ubyte.txt", "move the four files to"),
        ("MNIST/raw/train-images-idx3-ubyte.bz2", "the course reads the four IDX files"),
        ("MNIST/processed/training.pt", "the course reads the four IDX files"),
    ],
)
def test_files_in_other_places_are_named(tmp_path, monkeypatch, name, fragment):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    chosen, reason = data.resolve_auto()
    assert chosen == "strokes"
    for text in (str(error.value), reason):
        assert str(tmp_path / name) in text and fragment in text
    with pytest.raises(CourseError) as error:
        data.load_dataset("fashion")
    assert name not in str(error.value)


def test_data_folder_that_is_a_file_is_said(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    for offline in ("1", "0"):
        monkeypatch.setenv("COURSE_OFFLINE", offline)
        with pytest.raises(CourseError, match="COURSE_DATA is a file: "):
            data.load_dataset("mnist")
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    assert "COURSE_DATA is a file: " in data.resolve_auto()[1]


def test_good_packed_file_beside_a_broken_one_is_mentioned(idx_folder):
    file = raw_folder("mnist") / FILES[0]
    content = file.read_bytes()
    file.with_name(f"{FILES[0]}.gz").write_bytes(gzip.compress(content))
    file.write_bytes(content[:-50])
    with pytest.raises(CourseError, match=f"{FILES[0]}.gz lies beside it and is read once"):
        data.load_dataset("mnist")
    file.rename(idx_folder / "aside")
    assert data.load_dataset("mnist", verbose=False).sha256 == EXPECTED


# Broken files: what may be the only copy is never given up


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"PK\x03\x04", "a zip archive: unpack it"),
        (b"<!DOCTYPE html><html>Please log in", "a web page that was saved"),
        (bytes([0, 0, 8, 1]) + bytes(9), "labels in the place of images"),
        (lzma.compress(b"x"), "packed by xz: unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "the impossible shape [-1, -1, -1]"),
        (gzip.compress(b"x" * 500, mtime=0)[:-20], "cannot be unpacked"),
        (b"\x1f\x8b\x08" + bytes(30), "cannot be unpacked"),
    ],
)
def test_broken_files_are_named_without_advice_to_delete(idx_folder, content, fragment):
    file = raw_folder("mnist") / FILES[0]
    file.write_bytes(content)
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    message = str(error.value)
    assert str(file) in message and fragment in message
    assert f"Put a good copy of {FILES[0]} in its place." in message
    assert "elete" not in message and "move" not in message and file.read_bytes() == content


def test_moving_aside_is_offered_only_in_the_own_folder_with_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "course_root", lambda: tmp_path)
    file = tmp_path / "data" / "MNIST" / "raw" / FILES[0]
    assert "move" not in mnist._remedy(file)
    monkeypatch.delenv("COURSE_OFFLINE")
    assert f"or move {file.parent} elsewhere and load the dataset again" in mnist._remedy(file)
    assert "move" not in mnist._remedy(Path("/elsewhere") / FILES[0])


# Other sets under the same names


def write_set(num_train: int, num_test: int, labels: list[int], size: int = 28) -> None:
    raw = raw_folder("mnist")
    raw.mkdir(parents=True, exist_ok=True)
    for name, num in (("train", num_train), ("t10k", num_test)):
        targets = (torch.arange(num) % 10).byte()
        if name == "train":
            targets[: len(labels)] = torch.tensor(labels).byte()
        for kind, values in (
            ("images-idx3", torch.zeros(num, size, size).byte()),
            ("labels-idx1", targets),
        ):
            write_idx(raw / f"{name}-{kind}-ubyte", values)


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (
            (50, 20, FIRST_LABELS["fashion"]),
            ("are those of FashionMNIST", "Load dataset 'fashion'"),
        ),
        ((50, 20, [23, 7, 16]), ("train labels go up to 23, expected 0 to 9", "EMNIST")),
    ],
)
def test_other_sets_under_its_names_are_named(tmp_path, monkeypatch, arguments, fragments):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    write_set(*arguments)
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    assert all(fragment in str(error.value) for fragment in fragments)
    assert str(raw_folder("mnist")) in str(error.value)


def test_whole_set_that_is_not_mnist_is_refused(tmp_path, monkeypatch):
    """The full size is made small: what counts is that size and pixels do not go together."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    write_set(50, 20, FIRST_LABELS["mnist"])
    assert "50 of 60,000 images" in data.load_dataset("mnist", verbose=False).source
    monkeypatch.setattr(mnist, "FULL_SIZE", (50, 20))
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    assert "not the published MNIST: 50 and 20 images" in str(error.value)
    assert "KMNIST" in str(error.value)
    monkeypatch.setattr(mnist, "FULL_SIZE", (40, 20))  # EMNIST digits are four times as many
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    assert "not the published MNIST" in str(error.value)
    monkeypatch.setattr(mnist, "FULL_SIZE", (50, 20))
    raw_folder("mnist").parent.rename(tmp_path / "FashionMNIST")
    with pytest.raises(CourseError) as error:
        data.load_dataset("fashion")
    assert "are those of MNIST" in str(error.value)


def test_published_mnist_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    write_set(50, 20, FIRST_LABELS["mnist"])
    loaded = data.load_dataset("mnist", verbose=False)
    monkeypatch.setattr(mnist, "FULL_SIZE", (50, 20))
    monkeypatch.setattr(mnist, "MNIST_SHA256", loaded.sha256)
    assert data.load_dataset("mnist", verbose=False).source == "MNIST files on disk"


def test_recorded_hash_is_the_one_that_the_shipped_weights_were_trained_on():
    from course_utils.base.files import read_json
    from course_utils.training.runs import PRETRAINED

    record = read_json(PRETRAINED / "vae-mnist" / "experiment.json")
    assert record["dataset_sha256"] == mnist.MNIST_SHA256


# Downloads


@pytest.fixture
def failing_download(tmp_path, monkeypatch):
    """Lets torchvision fail with a given exception; the data folder is empty, strokes are few."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "empty"))
    monkeypatch.delenv("COURSE_OFFLINE")
    few = strokes.make_strokes(30, 10, 0)
    monkeypatch.setattr(strokes, "make_strokes", lambda *_: few)
    monkeypatch.setattr(strokes, "NUM_TRAIN", 30)
    monkeypatch.setattr(strokes, "NUM_TEST", 10)

    def fail_with(error: BaseException) -> None:
        def fetch(root, download):
            print("Failed to download (trying next):\n...")
            raise error

        fake = types.SimpleNamespace(datasets=types.SimpleNamespace(MNIST=fetch))
        monkeypatch.setitem(sys.modules, "torchvision", fake)

    return fail_with


@pytest.mark.parametrize(
    "error",
    [
        http.client.InvalidURL("nonnumeric port: '80a'"),
        http.client.BadStatusLine("Please log in to the campus network"),
        http.client.IncompleteRead(b"half"),
        ssl.SSLCertVerificationError("self-signed certificate"),
        zlib.error("invalid header"),
        gzip.BadGzipFile("Not a gzipped file (b'<!')"),
        EOFError("ended early"),
        ValueError("unknown url type"),
        KeyError("Content-Length"),
        UnicodeError("label too long"),
        TimeoutError(),
        RuntimeError("File not found or corrupted.\nsecond line"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_failed_download_falls_back_or_gives_one_line(failing_download, capsys, error):
    failing_download(error)
    assert data.load_dataset().name == "strokes"
    out = capsys.readouterr().out
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    assert f"mnist could not be downloaded ({reason}" in out and "trying next" not in out
    assert not any((Path(os.environ["COURSE_DATA"])).iterdir())
    assert type(error).__name__ in failure_note("mnist").read_text()
    with pytest.raises(CourseError) as caught:
        data.load_dataset("mnist")
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_login_page_in_place_of_the_files(failing_download, monkeypatch):
    """A gateway answers each address with status 200 and a page."""

    def fetch(root, download):
        raw = Path(root) / "MNIST" / "raw"
        write_idx_files(raw, 20, 20)
        for name in FILES:
            (raw / name).write_bytes(b"<html>Please log in</html>")

    fake = types.SimpleNamespace(datasets=types.SimpleNamespace(MNIST=fetch))
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    assert "could not be downloaded" in str(error.value) and "a web page" in str(error.value)
    assert data.load_dataset("auto", verbose=False).name == "strokes"


def test_interrupt_is_no_failed_download(failing_download):
    failing_download(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        data.load_dataset()
    assert not failure_note("mnist").exists()


def test_cache_that_cannot_be_written_stops_nothing(
    failing_download, monkeypatch, tmp_path, capsys
):
    """A file where the cache should be: nobody can write below it, root neither."""
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "blocked" / "cache"))
    failing_download(OSError("no route to host"))
    strokes._say_not_kept.cache_clear()
    first, second = data.load_dataset(), data.load_dataset()
    assert first.name == "strokes" and first.sha256 == second.sha256
    out = capsys.readouterr().out
    assert out.count("COURSE_CACHE") == 1
    assert f"the strokes cannot be kept in {tmp_path / 'blocked' / 'cache'}" in out
    assert not data.download_failed_lately("mnist")


def test_data_folder_that_cannot_be_written_falls_back(failing_download, monkeypatch, tmp_path):
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "blocked" / "data"))
    assert data.load_dataset().name == "strokes"
    with pytest.raises(CourseError) as error:
        data.load_dataset("mnist")
    assert "Set COURSE_DATA to a folder that you may write to" in str(error.value)
