"""From Markdown and executed cells to HTML that needs no network and that the keyboard reaches."""

from __future__ import annotations

import base64
import io
import mimetypes
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bs4 import BeautifulSoup
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image

from course_utils.base.errors import CourseError
from tools.mathml import latex_to_mathml

CELLS_TEMPLATE = Path(__file__).resolve().parent / "templates" / "cells.html.j2"
REMOTE = re.compile(r"(https?:)?//", re.IGNORECASE)
# What a browser loads by itself when it shows a page.
LOADED = "[src]:is(script, iframe, img, source, video, audio, embed), link[href]"
LONGEST_NUMBER = 24  # characters, of a value with its error bar and unit
THUMBNAIL_PIXELS = (480, 240)  # on the index a picture is shown at half this size


def markdown_to_html(source: str, name: str, attachments: dict | None = None) -> str:
    """Returns Markdown as HTML, its formulas as MathML; `name` is the page that errors speak of."""
    renderer = MathRenderer(escape=False, attachments=attachments)
    renderer.page_name = name
    return MarkdownWithMath(renderer=renderer).render(source)


class MathRenderer(IPythonRenderer):
    """Writes Markdown as HTML and its formulas as MathML."""

    page_name = ""

    def inline_math(self, body: str) -> str:
        return latex_to_mathml(body, self.page_name)

    def block_math(self, body: str) -> str:
        return latex_to_mathml(body, self.page_name, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


class PageExporter(HTMLExporter):
    """Writes the cells of a notebook as HTML that loads no script."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        name = context["resources"]["metadata"]["name"]
        attachments = context.get("cell", {}).get("attachments", {})
        return markdown_to_html(source, name, attachments)


def cells_to_html(notebook: Any, name: str) -> str:
    """Returns the cells of an executed notebook as HTML; `name` is the one that errors speak of."""
    cells, _ = PageExporter(
        template_name="basic",
        template_file=str(CELLS_TEMPLATE),
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    ).from_notebook_node(notebook, resources={"metadata": {"name": name}})
    return cells


def title_and_summary(source: str, name: str) -> tuple[str, str]:
    """Returns the text of the first heading of Markdown, else `name`, and the paragraph after it.

    The paragraph comes as HTML without links; where there is none, it is empty.
    """
    soup: Any = BeautifulSoup(markdown_to_html(source, name), "html.parser")
    for anchor in soup.select("a.anchor-link"):
        anchor.decompose()
    for link in soup.select("a"):
        link.unwrap()
    heading = soup.find("h1")
    paragraph = (heading or soup).find_next("p")
    title = " ".join(heading.get_text().split()) if heading else name
    return title, paragraph.decode_contents() if paragraph else ""


# ---- headings, tables and pictures


def anchor_headings(soup: Any) -> None:
    """Gives each heading an anchor of its own, made from its words as GitHub does, in place."""
    seen: Counter[str] = Counter()
    for heading in soup.select("h1, h2, h3, h4, h5, h6"):
        for link in heading.select("a.anchor-link"):
            link.decompose()
        words = re.sub(r"[^\w\- ]", "", heading.get_text().strip().lower())
        slug = words.replace(" ", "-") or "section"
        heading["id"] = f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1
        link = soup.new_tag("a", href=f"#{heading['id']}")
        link["class"], link["aria-label"] = "anchor-link", f"Link to: {heading.get_text().strip()}"
        link.string = "#"
        heading.append(link)


def frame_tables(soup: Any) -> None:
    """Lets each table scroll alone, reachable by keyboard and named, in place."""
    for number, table in enumerate(soup.select("table"), start=1):
        for cell in table.select("th"):
            if not cell.get_text(strip=True) and not cell.find("img"):
                cell.name = "td"  # a heading without words says nothing to a screen reader
        for cell in table.select("td"):
            words = cell.get_text(strip=True)
            if "±" in words and len(words) <= LONGEST_NUMBER:
                cell["class"] = [*cell.get("class", []), "number"]  # stays in one line
        frame = soup.new_tag("div", tabindex="0", role="group")
        frame["class"], frame["aria-label"] = "table-frame", f"Table {number}"
        table.wrap(frame)


def frame_code(soup: Any) -> None:
    """Frames code of no named language as other code is, so that it is copied as well, in place."""
    for block in soup.select(".text_cell_render pre"):
        if not block.find_parent(class_="highlight"):
            block.wrap(soup.new_tag("div", attrs={"class": "highlight"}))


def embedded(source: str, folder: Path, name: str) -> str:
    """Returns a picture's address as a data URI; an address in the network comes back as it is.

    Raises:
        CourseError: there is no such picture in `folder`.
    """
    if source.startswith("data:") or REMOTE.match(source):
        return source
    file = folder / unquote(source)
    mime_type, _ = mimetypes.guess_type(file.name)
    if not file.is_file() or not mime_type:
        raise CourseError(
            f"{name}: expected a picture at {source}, got none; "
            "write its path relative to the page."
        )
    return f"data:{mime_type};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def thumbnail(source: str) -> str:
    """Returns the first frame of a picture, both given as data URIs, small enough for the index."""
    data = base64.b64decode(source.partition(",")[2])
    target = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGBA")
    small.thumbnail(THUMBNAIL_PIXELS)
    white = Image.new("RGBA", small.size, "white")
    flat = Image.alpha_composite(white, small).convert("RGB").quantize(64)
    flat.save(target, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(target.getvalue()).decode('ascii')}"


def refuse_network(soup: Any, name: str) -> None:
    """Checks that nothing on a page is loaded from a network.

    Raises:
        CourseError: something is; the message names it.
    """
    for element in soup.select(LOADED):
        source = element.get("src") or element.get("href")
        if REMOTE.match(source.strip()):
            raise CourseError(
                f"{name}: expected a page that needs no network, "
                f"got <{element.name}> from {source}; store the file in the course."
            )
