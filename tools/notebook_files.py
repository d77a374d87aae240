"""Notebook files with stored outputs: equal from run to run, and known when out of date."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from PIL import Image, ImageSequence

from course_utils.base.errors import CourseError
from course_utils.base.files import cache_root, course_root, data_root, runs_root, write_text

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE_INFO = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
TIMING_METADATA = ("execution", "ExecuteTime")
LARGE_PICTURE = 20_000  # bytes
NUM_COLOURS = 256
NOT_RUN_TAGS = {"no-output", "skip-execution"}  # cells with one of these need not have been run
EMBEDDED_DATA = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+")
PROGRESS_BAR = re.compile(r"[^\n]*\d+%\|.*\|")  # as text that stands in for tqdm's widget


def read_notebook(path: Path | str) -> Any:
    """Returns the nbformat 4 notebook in `path`.

    Raises:
        CourseError: the file is missing or holds no notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError, AttributeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        expected = "Expected a Jupyter notebook of format 4."
        raise CourseError(f"cannot read {path}: {reason}. {expected}") from error


def write_notebook(path: Path | str, notebook: Any) -> None:
    """Writes a notebook to `path` in one step."""
    write_text(path, nbformat.writes(notebook).rstrip("\n") + "\n")


def code_cells(notebook: Any) -> Iterator[tuple[int, Any]]:
    """Yields (number, cell) of the cells that hold code; numbers count all cells from 1."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            yield number, cell


# ---- is a stored output the output of its source?


def source_sha256(cell: Any) -> str:
    """Returns the SHA-256 of a cell's source as 64 hexadecimal digits."""
    return hashlib.sha256(cell.source.encode("utf-8")).hexdigest()


def record_run(notebook: Any, budget: str, dataset: str) -> None:
    """Notes in the metadata from which source, on which budget and dataset each output was made."""
    hashes = {cell.id: source_sha256(cell) for _, cell in code_cells(notebook)}
    notebook.metadata["course"] = {"budget": budget, "dataset": dataset, "source_sha256": hashes}


def stale_cells(notebook: Any) -> list[str]:
    """Returns one line for each code cell whose stored output cannot be trusted.

    A cell is in order if it was executed (also if it printed nothing), its source is the one that
    `record_run` noted, and no output is an error (unless it is tagged "raises-exception"). Cells
    tagged "no-output" or "skip-execution" need not have been executed.
    """
    recorded = notebook.metadata.get("course", {}).get("source_sha256", {})
    found = []
    for number, cell in code_cells(notebook):
        tags = set(cell.metadata.get("tags", []))
        has_error = any(output.output_type == "error" for output in cell.outputs)
        if has_error and "raises-exception" not in tags:
            found.append(f"cell {number} ({cell.id}): its output is an error")
        elif tags & NOT_RUN_TAGS:
            continue
        elif cell.execution_count is None:
            found.append(f"cell {number} ({cell.id}): it was never executed")
        elif recorded.get(cell.id) != source_sha256(cell):
            found.append(f"cell {number} ({cell.id}): its output is older than its source")
    return found


def widget_errors(notebook: Any) -> list[str]:
    """Returns the errors that widgets' callbacks left in Output widgets, where no cell fails."""
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    models = [model.get("state", {}) for model in state.values()]
    outputs = [output for model in models for output in model.get("outputs", ())]
    errors = [output for output in outputs if output.get("output_type") == "error"]
    return [f"{error['ename']}: {error['evalue']}" for error in errors]


# ---- what differs from run to run and from machine to machine


def normalise(notebook: Any) -> None:
    """Strips widget state, timings, versions, progress bars and cuts in printed text, in place."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = dict(KERNELSPEC)
    notebook.metadata["language_info"] = dict(LANGUAGE_INFO)
    for cell in notebook.cells:
        for name in TIMING_METADATA:
            cell.metadata.pop(name, None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if not _is_progress_bar(output)]
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET_VIEW, None)
            output.get("metadata", {}).pop(WIDGET_VIEW, None)


def reduce_pictures(notebook: Any) -> None:
    """Gives large pictures and animations among the outputs a palette of 256 colours, where that
    makes them smaller.

    Coloured noise hardly compresses, and a notebook that is kept in the repository has to stay
    small. Small pictures and those with transparent parts stay as they are.
    """
    for _, cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = _with_palette(data["image/png"])


def _with_palette(encoded: str) -> str:
    """Returns a PNG in base64, with a palette where that is smaller."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    if picture.mode != "RGB" or len(encoded) * 3 / 4 <= LARGE_PICTURE:
        return encoded
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(picture)]
    # one palette for all frames, so that what stands still does not flicker
    sheet = Image.new("RGB", (picture.width, picture.height * len(frames)))
    for index, frame in enumerate(frames):
        sheet.paste(frame, (0, index * picture.height))
    palette = sheet.quantize(NUM_COLOURS, dither=Image.Dither.NONE)
    reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    file = io.BytesIO()
    if len(frames) == 1:
        reduced[0].save(file, "PNG", optimize=True)
    else:
        options = _timing(picture)
        reduced[0].save(file, "PNG", save_all=True, append_images=reduced[1:], **options)
    smaller = base64.b64encode(file.getvalue()).decode()
    return min(encoded, smaller, key=len)


def _timing(picture: Any) -> dict[str, Any]:
    """Returns how long each frame of an animation is shown, how often all are, and whether the
    first is only the still picture, as Pillow takes it.
    """
    has_still = bool(picture.info.get("default_image"))
    durations = []
    for index in range(int(has_still), picture.n_frames):
        picture.seek(index)
        durations.append(picture.info.get("duration", 0))
    loop = picture.info.get("loop", 0)
    return {"duration": durations, "loop": loop, "default_image": has_still}


def _is_progress_bar(output: Any) -> bool:
    """Returns whether an output is a bar of tqdm, or the text that stands in for its widget."""
    if output.output_type == "stream":
        return output.name == "stderr" and bool(re.search(r"\r|\d+%\|", output.text))
    return bool(PROGRESS_BAR.match(output.get("data", {}).get("text/plain", "")))


def make_paths_relative(notebook: Any, folder: Path) -> None:
    """Writes the folders of this machine that stand in outputs relative to the course, in place.

    Args:
        folder: where the notebook was executed.

    Raises:
        CourseError: an output names a folder of this machine that has no relative form.
    """
    for number, cell in code_cells(notebook):
        place = f"cell {number}"
        for output in cell.outputs:
            for key in ("text", "evalue"):
                if key in output:
                    output[key] = relative_paths(output[key], folder, place)
            if "traceback" in output:
                lines = output["traceback"]
                output["traceback"] = [relative_paths(line, folder, place) for line in lines]
            for mime, value in output.get("data", {}).items():
                if isinstance(value, str) and mime.startswith(("text/", "image/svg")):
                    output["data"][mime] = relative_paths(value, folder, place)


def relative_paths(text: str, folder: Path, place: str) -> str:
    """Returns `text` with this machine's folders written relative to the course.

    Raises:
        CourseError: a folder of this machine is left over; the message says where, by `place`.
    """
    names = {cache_root(): "data/cache", data_root(): "data", runs_root(): "runs"}
    names |= {folder: ".", course_root(): "."}
    for root in sorted(names, key=lambda root: len(str(root)), reverse=True):
        start = rf"(?<![\w.]){re.escape(str(root))}"
        inside = "" if names[root] == "." else f"{names[root]}/"
        text = re.sub(rf"{start}[/\\]", inside, text)
        text = re.sub(rf"{start}(?![\w-])", names[root], text)

    for root in (Path.home(), Path(sys.prefix), Path(sys.base_prefix), Path(tempfile.gettempdir())):
        path = rf"(?<![\w.])({re.escape(str(root))}[/\\][^\s'\"<>)]*)"
        left = re.search(path, EMBEDDED_DATA.sub("", text))
        if left and len(root.parts) > 1:
            raise CourseError(
                f"{place}: expected an output without folders of this machine, got {left[1]}; "
                "print a relative path instead."
            )
    return text
