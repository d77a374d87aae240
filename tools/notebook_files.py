"""Notebook files with stored outputs: made small and equal from run to run, and able to say which outputs are out of date."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_utils.base.errors import CourseError
from course_utils.base.files import cache_root, course_root, data_root, runs_root, write_text

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE_INFO = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
TIMING_METADATA = ("execution", "ExecuteTime")
NOT_RUN_TAGS = {"no-output", "skip-execution"}  # cells with one of these need not have been run
EMBEDDED_DATA = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+")


def read_notebook(path: Path | str) -> Any:
    """Returns the nbformat 4 notebook in `path`.

    Raises:
        CourseError: the file is missing or holds no notebook.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (OSError, UnicodeDecodeError, nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise CourseError(f"cannot read {path}: {reason}. Expected a Jupyter notebook of format 4.") from error


def write_notebook(path: Path | str, notebook: Any) -> None:
    """Writes a notebook to `path` in one step."""
    import nbformat

    write_text(path, nbformat.writes(notebook).rstrip("\n") + "\n")


def code_cells(notebook: Any) -> Iterator[tuple[int, Any]]:
    """Yields (number, cell) of the code cells that hold code; numbers count all cells from 1, as a reader would."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            yield number, cell


def source_sha256(cell: Any) -> str:
    """Returns the SHA-256 of a cell's source as 64 hexadecimal digits."""
    return hashlib.sha256(cell.source.encode("utf-8")).hexdigest()


def record_run(notebook: Any, budget: str, dataset: str) -> None:
    """Notes in the notebook's metadata from which source, on which budget and dataset each output was made."""
    hashes = {cell.id: source_sha256(cell) for _, cell in code_cells(notebook)}
    notebook.metadata["course"] = {"budget": budget, "dataset": dataset, "source_sha256": hashes}


def stale_cells(notebook: Any) -> list[str]:
    """Returns one line for each code cell whose stored output cannot be trusted; none where all are in order.

    A cell is in order if it was executed (its execution count is set), its source is the one that `record_run` noted, and no output is an
    error (unless it is tagged "raises-exception"). A cell that prints nothing is in order by the same rule. Cells tagged "no-output" or
    "skip-execution" need not have been executed.
    """
    recorded = notebook.metadata.get("course", {}).get("source_sha256", {})
    found = []
    for number, cell in code_cells(notebook):
        tags = set(cell.metadata.get("tags", []))
        if has_error(cell):
            found.append(f"cell {number} ({cell.id}): its output is an error")
        elif tags & NOT_RUN_TAGS:
            continue
        elif cell.execution_count is None:
            found.append(f"cell {number} ({cell.id}): it was never executed")
        elif recorded.get(cell.id) != source_sha256(cell):
            found.append(f"cell {number} ({cell.id}): its output is older than its source")
    return found


def has_error(cell: Any) -> bool:
    """Returns whether an output of the cell is an error that the cell does not announce by its tag "raises-exception"."""
    announced = "raises-exception" in cell.metadata.get("tags", [])
    return not announced and any(output.output_type == "error" for output in cell.outputs)


def widget_errors(notebook: Any) -> list[str]:
    """Returns the errors that widget callbacks left in Output widgets, where executing a notebook does not notice them."""
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    outputs = (output for model in state.values() for output in model.get("state", {}).get("outputs", ()))
    return [f"{output['ename']}: {output['evalue']}" for output in outputs if output.get("output_type") == "error"]


def normalise(notebook: Any) -> None:
    """Strips from an executed notebook, in place, what changes from machine to machine: widget state, timings, versions, progress bars."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = dict(KERNELSPEC)
    notebook.metadata["language_info"] = dict(LANGUAGE_INFO)
    for cell in notebook.cells:
        for name in TIMING_METADATA:
            cell.metadata.pop(name, None)
        if cell.cell_type != "code":
            continue
        cell.outputs = _merge_streams(output for output in cell.outputs if not _is_progress_bar(output))
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET_VIEW, None)
            output.get("metadata", {}).pop(WIDGET_VIEW, None)


def make_paths_relative(notebook: Any, folder: Path) -> None:
    """Writes the folders of this machine that stand in outputs relative to the course, in place.

    Args:
        folder: where the notebook was executed.

    Raises:
        CourseError: an output names a folder of this machine that has no relative form.
    """
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            _relativise(output, folder, f"cell {number}")


def relative_paths(text: str, folder: Path, place: str) -> str:
    """Returns `text` with this machine's folders written relative to the course.

    Raises:
        CourseError: a folder of this machine is left over; the message says where, by `place`.
    """
    names = {cache_root(): "data/cache", data_root(): "data", runs_root(): "runs", folder: "", course_root(): ""}
    for root in sorted(names, key=lambda root: len(str(root)), reverse=True):
        inside, alone = (f"{names[root]}/", names[root]) if names[root] else ("", ".")
        text = re.sub(rf"(?<![\w.]){re.escape(str(root))}(?:([/\\])|(?![\w-]))", lambda m, a=inside, b=alone: a if m[1] else b, text)
    private = (Path.home(), Path(sys.prefix), Path(sys.base_prefix), Path(tempfile.gettempdir()))
    for root in private:
        left = re.search(rf"(?<![\w.])({re.escape(str(root))}[/\\][^\s'\"<>)]*)", EMBEDDED_DATA.sub("", text))
        if left and len(root.parts) > 1:
            raise CourseError(f"{place}: expected an output without folders of this machine, got {left[1]}; print a relative path instead.")
    return text


def _relativise(output: Any, folder: Path, place: str) -> None:
    """Makes the paths in every text of one output relative."""
    if output.output_type == "stream":
        output["text"] = relative_paths(output.text, folder, place)
    elif output.output_type == "error":
        output["evalue"] = relative_paths(output.evalue, folder, place)
        output["traceback"] = [relative_paths(line, folder, place) for line in output.traceback]
    else:
        for mime, value in output.data.items():
            if isinstance(value, str) and (mime.startswith("text/") or mime == "image/svg+xml"):
                output.data[mime] = relative_paths(value, folder, place)


def _is_progress_bar(output: Any) -> bool:
    """Returns whether an output is a tqdm bar: text on stderr, or the text that stands in for tqdm's widget."""
    if output.output_type == "stream":
        return output.name == "stderr" and bool(re.search(r"\r|\d+%\|", output.text))
    return bool(re.search(r"^[^\n]*\d+%\|.*\|", output.get("data", {}).get("text/plain", "")))


def _merge_streams(outputs: Iterator[Any]) -> list:
    """Returns the outputs with neighbouring texts of one stream joined: where the kernel cuts them is chance."""
    merged: list = []
    for output in outputs:
        if merged and output.output_type == "stream" == merged[-1].output_type and output.name == merged[-1].name:
            merged[-1]["text"] += output.text
        else:
            merged.append(output)
    return merged
