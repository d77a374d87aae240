"""`course slides`: the marked cells of a notebook as one page to present, which needs no network.

A cell is marked by the tag `slide`. Its stored pictures and printed lines are shown under the
heading of its section, with the paragraph that stands before it; nothing is run.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.base.errors import CourseError
from course_utils.base.files import handout_root, write_text
from course_utils.cli import path_argument

SLIDE_TAG = "slide"
TEMPLATE = Path(__file__).with_name("slides.html")
MAX_LINES = 12  # of printed text that can be read from the back of a room
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.DOTALL)
# What `yours` prints: for the one who works through the notebook.
WHOSE_ANSWER = re.compile(r"(yours|reference solution, not passed yet): ")
SECTION_HEADING = re.compile(r"^#{1,2} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Slide:
    """One marked cell.

    Attributes:
        title: heading of the section.
        words: the paragraph before the cell, as HTML; "" where another cell stands between.
        pictures: PNG in base64 and its alt text, each.
        text: what the cell printed, cut to 12 lines, without whose answers it used.
    """

    title: str
    words: str
    pictures: tuple[tuple[str, str], ...]
    text: str


def add_slides(commands: argparse._SubParsersAction) -> None:
    """Adds `course slides` to the commands of `course`."""
    command = commands.add_parser(
        "slides",
        help="write the marked cells of notebooks as pages to present",
        description=(
            "Writes NAME.html for each notebook: one slide a cell with the tag `slide`, with its"
            " stored pictures. The page needs no network; arrow keys turn the slides."
        ),
    )
    command.add_argument("names", nargs="+", metavar="NAME", help="such as 04")
    command.add_argument(
        "--out",
        type=path_argument,
        default=Path("slides"),
        metavar="DIR",
        help="for the pages (default: slides)",
    )
    command.set_defaults(run=_slides)


def _slides(options: argparse.Namespace) -> int:
    from course_utils.cli.course_files import course_folder

    own = course_folder() / "notebooks"
    for path in write_slides(options.names, own if own.is_dir() else None, options.out):
        print(f"wrote {path}")
    return 0


def write_slides(names: Sequence[str], folder: Path | None, out: Path) -> list[Path]:
    """Writes one page for each notebook into `out` and returns their paths.

    Args:
        names: beginnings of the notebooks' names, such as "04".
        folder: of the notebooks; None takes those that the course hands out.
        out: made where it does not exist.

    Raises:
        CourseError: no notebook has such a name, or none of its cells is marked.
    """
    folder = folder or handout_root() / "notebooks"
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    chosen = [path for path in paths if path.name.startswith(tuple(names))]
    if not chosen:
        there = ", ".join(path.stem for path in paths)
        raise CourseError(
            f"no notebook in {folder} starts with {' or '.join(names)}; there are"
            f" {there or 'none'}."
        )
    written = []
    for path in chosen:
        page = slides_page(path)
        out.mkdir(parents=True, exist_ok=True)
        written.append(out / f"{path.stem}.html")
        write_text(written[-1], page)
    return written


def slides_page(path: Path) -> str:
    """Returns the marked cells of a notebook as a page of HTML.

    Raises:
        CourseError: no notebook, no marked cell, or a marked cell that shows nothing.
    """
    import nbformat
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    try:
        cells = nbformat.read(path, as_version=4).cells
    except (OSError, ValueError) as error:  # also of nbformat: NotJSONError is a ValueError
        raise CourseError(
            f"{path}: expected a notebook, got a file without one: {error}."
        ) from None
    slides = list(_marked(cells, path))
    if not slides:
        raise CourseError(
            f"{path}: expected cells with the tag {SLIDE_TAG!r}, got none; add it to the cells that"
            " you want to show, in JupyterLab under Property Inspector."
        )
    title = next(iter(SECTION_HEADING.findall(cells[0].source)), path.stem)
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    shown = [{**vars(slide), "words": Markup(slide.words)} for slide in slides]
    text = TEMPLATE.read_text(encoding="utf-8")
    return template.from_string(text).render(title=title, slides=shown) + "\n"


def _marked(cells: Sequence[Any], path: Path) -> Iterator[Slide]:
    section, before = path.stem, ""
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            section = [section, *SECTION_HEADING.findall(cell.source)][-1]
            before = cell.source
            continue
        if SLIDE_TAG in cell.metadata.get("tags", ()):
            pictures = tuple(_pictures(cell.outputs))
            printed = "".join(o.text for o in cell.outputs if o.output_type == "stream")
            lines = [line for line in printed.splitlines() if not WHOSE_ANSWER.match(line)]
            text = "\n".join(lines[:MAX_LINES])
            if not pictures and not text:
                raise CourseError(
                    f"{path}: cell {number} is marked as a slide and shows nothing; run the"
                    " notebook and save it, or take the tag away."
                )
            # the number of minutes is for those who work through the notebook
            title = re.sub(r"^\d+ (◆ )?| \([^)]*min[^)]*\)$", "", section)
            yield Slide(title, _last_paragraph(before), pictures, text)
        before = ""


def _pictures(outputs: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Yields the PNGs of a cell in base64, with their alt texts."""
    for output in outputs:
        png = output.get("data", {}).get("image/png")
        if png is not None:
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            yield png.replace("\n", ""), alt


def _last_paragraph(markdown: str) -> str:
    """Returns the last paragraph of a cell as HTML, formulas as MathML; "" for a heading."""
    from latex2mathml.converter import convert
    from nbconvert.filters.markdown import markdown2html

    paragraph = markdown.strip().split("\n\n")[-1]
    if paragraph.startswith("#"):
        return ""
    formulas = []

    def put_aside(match: re.Match) -> str:
        formulas.append(convert(match[1] or match[2]))
        return f"FORMULA{len(formulas) - 1}X"

    html = markdown2html(FORMULA.sub(put_aside, paragraph))
    return re.sub(r"FORMULA(\d+)X", lambda match: formulas[int(match[1])], html)
