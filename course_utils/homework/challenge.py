"""The few-step challenge: the best images after 1, 2 and 4 calls of one given network.

Fixed are the network (that of the course's diffusion model), the judge (FID in the features of the
course's classifier), the number of images, their classes and the seeds of their noise. Free is all
else: data order, loss, pairs, times, length of the training. A student judges herself on one half
of the test images, as often as she likes; the other half is only looked at when the class is
collected, so that a model that was chosen by looking at the first half too often gives itself away.

The images travel in the submission as three ordinary pictures, and the instructor measures them
anew: nothing of a student's is executed or believed.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from course_utils.base.device import make_rng, pick_device
from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path, write_text
from course_utils.data import load_dataset
from course_utils.data.dataset import Dataset
from course_utils.homework.archive import read_submission
from course_utils.homework.class_table import defused, table_text, write_csv
from course_utils.homework.downloads import read_download
from course_utils.homework.report import PagePicture, course_style, render_page, report_png
from course_utils.homework.rule import parse_moment
from course_utils.homework.study import CHALLENGE, SAMPLES, read_homework
from course_utils.metrics.features import Extractor, classifier_extractor, extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.measurement import Measurement, is_difference_real
from course_utils.models.diffusion.model import Diffusion
from course_utils.studies.few_steps import draw_with_calls
from course_utils.training.presets import preset
from course_utils.training.registry import build
from course_utils.training.runs import pretrained, resolve

CALLS = (1, 2, 4)
# One sheet holds all images of one number of calls. Of noise, which does not compress, it is still
# smaller than a picture of a submission may be.
NUM_IMAGES, COLUMNS = 1000, 50
SEED, SPLIT = 2026, 7  # of the noise, and of the halves
DATASETS = ("mnist", "strokes")  # for which a judge ships
HIDDEN_IS_WORSE = "the hidden half is worse than the open one by more than the noise"


@dataclass(frozen=True)
class Judge:
    """What images of the challenge are compared with: features of both halves of the test images.

    Attributes:
        open_half, hidden_half: float `[M, F]`.
    """

    dataset: str
    image_shape: tuple[int, int, int]
    extractor: Extractor
    open_half: Tensor
    hidden_half: Tensor

    def measure(self, images: Tensor, hidden: bool = False) -> Measurement:
        """Returns the FID of uint8 images `[N, C, H, W]` against one of the halves."""
        half = "hidden" if hidden else "open"
        reference = self.hidden_half if hidden else self.open_half
        found = fid(extract(self.extractor, images), reference)
        return replace(found, dataset=f"{self.dataset}, {half} half", extractor=self.extractor.name)


@dataclass(frozen=True)
class Entry:
    """One student's images, measured on the instructor's machine.

    Attributes:
        open_fid, hidden_fid: for each number of calls.
    """

    student: str
    dataset: str
    open_fid: Mapping[int, Measurement]
    hidden_fid: Mapping[int, Measurement]

    @property
    def questions(self) -> list[str]:
        """What may be asked: numbers of calls where the hidden half is worse than chance allows. It
        is no verdict, since one entry in forty has such a difference by chance.
        """
        found = []
        for num_calls, seen in self.open_fid.items():
            # the halves are of one source, so FIDs to them may be compared
            unseen = replace(self.hidden_fid[num_calls], dataset=seen.dataset)
            difference = is_difference_real(unseen, seen)
            if difference and difference.difference > 0:
                found.append(f"{num_calls} calls: {HIDDEN_IS_WORSE}")
        return found


def judge_of(dataset: Dataset) -> Judge:
    """Returns the judge of a dataset.

    Raises:
        CourseError: a dataset without a shipped classifier, which must not be the student's own.
    """
    if dataset.name not in DATASETS:
        raise CourseError(
            f"the challenge runs on {' or '.join(DATASETS)}, for which a judge ships, got"
            f" {dataset.name}."
        )
    extractor = classifier_extractor(
        pretrained("classifier", dataset).model.to(pick_device()), f"classifier-{dataset.name}"
    )
    order = torch.randperm(len(dataset.test_images), generator=make_rng(SPLIT))
    features = extract(extractor, dataset.test_images[order])
    middle = len(order) // 2
    shape = dataset.image_shape
    return Judge(dataset.name, shape, extractor, features[:middle], features[middle:])


def check_network(model: Any) -> None:
    """Raises CourseError unless a model has the network of the challenge: that of the course's
    diffusion model, with the schedule "flow".
    """
    if not isinstance(model, Diffusion):
        raise CourseError(
            f"the challenge: expected a diffusion model or its reflow, got a {model.family}; all"
            " take part with one network."
        )
    fixed = preset("diffusion", "laptop").model
    names = ("channels", "num_blocks", "patch_size", "embed_dim", "attention", "schedule")
    for name in names:
        wanted, got = getattr(fixed, name), getattr(model.config, name)
        if wanted != got:
            raise CourseError(
                f"the challenge fixes the network: expected model.{name}={wanted}, got {got}."
            )
    # settings that are added later may change the network as well
    same_size = replace(
        fixed,
        image_channels=model.config.image_channels,
        image_size=model.config.image_size,
        num_classes=model.config.num_classes,
    )
    if build(same_size).num_parameters != model.num_parameters:
        raise CourseError("the challenge fixes the network: another number of parameters.")


def challenge_labels(num_classes: int) -> Tensor:
    """Returns the classes that are ordered, in turn, int64 `[NUM_IMAGES]`."""
    return torch.arange(NUM_IMAGES) % num_classes


def enter(run: Path | str, folder: Path | str | None = None) -> dict[int, Measurement]:
    """Draws the images of the challenge with the model of a run and measures them on the open half.

    Args:
        run: directory of a run of the family "diffusion".
        folder: a student's folder, into which the three pictures go; None writes nothing.

    Returns:
        FID for each number of calls.

    Raises:
        CourseError: another network, a dataset without a judge, or `folder` is no homework.
    """
    found = resolve(str(run))
    check_network(found.model)
    if folder is not None:
        read_homework(Path(folder))
    judge = judge_of(load_dataset(found.experiment.dataset))
    labels, measured = challenge_labels(found.experiment.model.num_classes), {}
    for num_calls in CALLS:
        images = draw_with_calls(found.model, labels, num_calls, seed=SEED)
        measured[num_calls] = judge.measure(images)
        if folder is not None:
            _write_sheet(images, Path(folder) / CHALLENGE / f"{num_calls}.png")
    return measured


def _write_sheet(images: Tensor, path: Path) -> None:
    """Writes uint8 images `[N, C, H, W]` side by side, without gaps and without loss."""
    num, channels, height, width = images.shape
    rows = images.reshape(num // COLUMNS, COLUMNS, channels, height, width)
    sheet = rows.permute(0, 3, 1, 4, 2).reshape(-1, COLUMNS * width, channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        Image.fromarray(sheet.squeeze(-1).numpy()).save(partial, "PNG", optimize=True)


def read_sheet(data: bytes, image_shape: tuple[int, int, int], where: str) -> Tensor:
    """Returns the images of a sheet, uint8 `[NUM_IMAGES, C, H, W]`.

    Raises:
        CourseError: a picture of another size or kind.
    """
    channels, height, width = image_shape
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        sheet = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    num_rows = NUM_IMAGES // COLUMNS
    if sheet.shape[:2] != (num_rows * height, COLUMNS * width):
        raise CourseError(
            f"{where}: expected a picture of {COLUMNS * width} x {num_rows * height} pixels, as"
            f" `course homework challenge` writes it, got {sheet.shape[1]} x {sheet.shape[0]}."
        )
    cells = torch.from_numpy(sheet.copy()).reshape(num_rows, height, COLUMNS, width, channels)
    return cells.permute(0, 2, 4, 1, 3).reshape(NUM_IMAGES, channels, height, width).contiguous()


def read_entries(folder: Path | str) -> tuple[list[Entry], list[str]]:
    """Returns the entries among a class's submissions, measured anew, and why others could not be:
    one student's pictures cannot keep those of another from being measured.
    """
    entries: list[Entry] = []
    complaints: list[str] = []
    judges: dict[str, Judge] = {}
    for student, dataset, sheets in _sheets_in(Path(folder)):
        try:
            if dataset not in judges:
                judges[dataset] = judge_of(load_dataset(dataset, verbose=False))
            entries.append(_measured(student, judges[dataset], sheets))
        except CourseError as error:
            complaints.append(f"{student}: {error}")
    return entries, complaints


def _measured(student: str, judge: Judge, sheets: Mapping[int, bytes]) -> Entry:
    seen, unseen = {}, {}
    for num_calls, data in sheets.items():
        images = read_sheet(data, judge.image_shape, f"challenge-{num_calls}.png")
        seen[num_calls] = judge.measure(images)
        unseen[num_calls] = judge.measure(images, hidden=True)
    return Entry(student, judge.dataset, seen, unseen)


def _sheets_in(folder: Path) -> Iterator[tuple[str, str, dict[int, bytes]]]:
    """Yields student, dataset and sheets of each readable submission that takes part; `collect`
    names those that cannot be read. Of several of one student the newest counts.
    """
    newest: dict[str, tuple[datetime, str, dict[int, bytes]]] = {}
    for path in filter(_takes_part, read_download(folder).candidates):
        try:
            submission = read_submission(path)
        except Exception:  # as below
            continue
        sheets = {
            num_calls: submission.samples[name]
            for num_calls in CALLS
            if (name := f"{CHALLENGE}-{num_calls}.png") in submission.samples
        }
        results = submission.results
        written = parse_moment(results.created)
        if sheets and (results.student not in newest or written >= newest[results.student][0]):
            newest[results.student] = written, results.dataset.name, sheets
    for student, (_, dataset, sheets) in newest.items():
        yield student, dataset, sheets


def _takes_part(path: Path) -> bool:
    """Whether a submission names a sheet, seen without reading its pictures."""
    try:
        if path.is_symlink() or not path.is_file():  # opening a pipe would wait for ever
            return path.is_dir() and any((path / SAMPLES).glob(f"{CHALLENGE}-*.png"))
        with zipfile.ZipFile(path) as archive:
            return any(f"{SAMPLES}/{CHALLENGE}-" in name for name in archive.namelist())
    except Exception:  # `collect` says what is wrong with it, and it must not hide the others
        return False


def write_board(
    entries: Sequence[Entry], complaints: Sequence[str], out: Path | str, separator: str = "comma"
) -> None:
    """Writes `challenge.html` and `challenge.csv`: the class board, best at four calls first.

    Args:
        separator: of `challenge.csv`, "comma" or "semicolon".
    """
    ranked = sorted(entries, key=lambda entry: _rank(entry.hidden_fid))
    head = ["student", "dataset"]
    for num_calls in CALLS:
        head += [f"FID, {num_calls} calls, hidden half", f"FID, {num_calls} calls, open half"]
    rows = []
    for entry in ranked:
        cells = [entry.student, entry.dataset]
        for num_calls in CALLS:
            for half in (entry.hidden_fid, entry.open_fid):
                cells.append(half[num_calls].number if num_calls in half else "")
        rows.append(cells)
    questions = [f"{entry.student}: {text}" for entry in ranked for text in entry.questions]
    page = render_page(
        "challenge.html",
        title="Few-step challenge",
        head=head,
        rows=rows,
        questions=questions,
        complaints=complaints,
        picture=_picture(ranked),
        num_images=f"{NUM_IMAGES:,}",
    )
    write_text(Path(out) / "challenge.html", page)
    cells = [[defused(cell) for cell in row] for row in [head, *rows]]
    write_csv(Path(out) / "challenge.csv", table_text(cells, separator))


def _rank(fids: Mapping[int, Measurement]) -> tuple[float, ...]:
    return tuple(fids[num].value if num in fids else float("inf") for num in reversed(CALLS))


def _picture(entries: Sequence[Entry]) -> PagePicture:
    from course_utils.plotting.homework import challenge_board

    curves = {
        entry.student: {num: (one.value, one.error) for num, one in entry.hidden_fid.items()}
        for entry in entries
    }
    alt = f"FID over the number of calls, a line for each of {len(curves)} students; see the table"
    with course_style():
        png = report_png(challenge_board(curves))
    return PagePicture(png, alt, "FID on the hidden half", is_chart=True)
