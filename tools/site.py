"""Executed notebooks as web pages that need no network: formulas, styles, pictures in the page."""

from __future__ import annotations

import base64
import mimetypes
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, pass_context, select_autoescape
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from course_utils.base.errors import CourseError
from course_utils.base.files import write_text
from tools.mathml import latex_to_mathml

if TYPE_CHECKING:
    from tools.execute import RunResult

TEMPLATES = Path(__file__).resolve().parent / "templates"
SHARED_TEMPLATES = TEMPLATES.parent.parent / "course_utils" / "homework" / "templates"  # page.css

REMOTE = re.compile(r"(https?:)?//", re.IGNORECASE)
# What a browser loads by itself when it shows a page.
LOADED = "[src]:is(script, iframe, img, source, video, audio, embed), link[href]"


def write_page(notebook: Any, folder: Path, target: Path, site_names: Collection[str]) -> None:
    """Writes one executed notebook as an HTML page.

    Args:
        folder: the notebook's own folder; relative links and pictures are looked up there.
        target: the page to write.
        site_names: names (without ending) of the notebooks whose links lead to their pages.

    Raises:
        CourseError: a formula cannot be converted, or the page would need a network.
    """
    name = target.stem
    cells, _ = PageExporter(
        template_name="basic",
        template_file=str(TEMPLATES / "cells.html.j2"),
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    ).from_notebook_node(notebook, resources={"metadata": {"name": name}})

    soup: Any = BeautifulSoup(cells, "html.parser")
    for in_words in soup.select(".output_area:has(details.alt-text)"):
        in_words.decompose()  # the picture above it says the same in its alt text
    for link in soup.select("a[href]"):
        link["href"] = _local_link(link["href"], folder, target.parent, site_names)
    for image in soup.select("img[src]"):
        image["src"] = _embedded(image["src"], folder, name)
    for table in soup.select(".output_html table"):
        table["tabindex"] = "0"  # wide tables scroll: let the keyboard reach them
    _refuse_network(soup, name)

    title, _ = title_and_summary(notebook, name)
    write_text(target, _rendered("notebook.html", title=title, cells=str(soup)))


def write_index(target: Path, results: Sequence[RunResult]) -> None:
    """Writes the page that lists all notebooks, with links to those that have a page beside it."""
    pages = {page.stem for page in target.parent.glob("*.html")}
    write_text(target, _rendered("index.html", results=results, pages=pages))


def title_and_summary(notebook: Any, name: str) -> tuple[str, str]:
    """Returns the text of the first heading, else `name`, and as HTML the paragraph after it."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    soup: Any = BeautifulSoup(markdown_to_html("\n\n".join(texts[:3]), name), "html.parser")
    for anchor in soup.select("a.anchor-link"):
        anchor.decompose()
    for link in soup.select("a"):
        link.unwrap()
    heading = soup.find("h1")
    paragraph = (heading or soup).find_next("p")
    title = " ".join(heading.get_text().split()) if heading else name
    return title, paragraph.decode_contents() if paragraph else ""


# ---- from Markdown and cells to HTML


def markdown_to_html(source: str, name: str, attachments: dict | None = None) -> str:
    """Returns Markdown as HTML, its formulas as MathML; `name` is the notebook errors speak of."""
    renderer = MathRenderer(escape=False, attachments=attachments)
    renderer.notebook_name = name
    return MarkdownWithMath(renderer=renderer).render(source)


class MathRenderer(IPythonRenderer):
    """Writes Markdown as HTML and its formulas as MathML."""

    notebook_name = ""

    def inline_math(self, body: str) -> str:
        return latex_to_mathml(body, self.notebook_name)

    def block_math(self, body: str) -> str:
        return latex_to_mathml(body, self.notebook_name, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


class PageExporter(HTMLExporter):
    """Writes the cells of a notebook as HTML that loads no script."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        name = context["resources"]["metadata"]["name"]
        attachments = context.get("cell", {}).get("attachments", {})
        return markdown_to_html(source, name, attachments)


def _rendered(template: str, **values: Any) -> str:
    """Returns a page from tools/templates; text among the values is escaped there."""
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES, SHARED_TEMPLATES]),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    code_colours = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    return environment.get_template(template).render(values, code_colours=code_colours)


# ---- links, pictures and whatever else a page refers to


def _local_link(href: str, folder: Path, site: Path, site_names: Collection[str]) -> str:
    """Returns a link as the site needs it: to the target's page, else to the file where it lies."""
    parts = urlsplit(href)
    if parts.scheme or parts.netloc or not parts.path:
        return href
    linked = (folder / unquote(parts.path)).resolve()
    anchor = f"#{parts.fragment}" if parts.fragment else ""
    is_notebook = linked.suffix == ".ipynb" and linked.parent == folder.resolve()
    if is_notebook and linked.stem in site_names:
        return f"{linked.stem}.html{anchor}"
    if linked.exists():
        return Path(os.path.relpath(linked, site.resolve())).as_posix() + anchor
    return href


def _embedded(source: str, folder: Path, name: str) -> str:
    """Returns a picture's address as a data URI; an address in the network comes back as it is."""
    if source.startswith("data:") or REMOTE.match(source):
        return source
    file = folder / unquote(source)
    mime_type, _ = mimetypes.guess_type(file.name)
    if not file.is_file() or not mime_type:
        raise CourseError(
            f"{name}: expected a picture at {source}, got none; "
            "write its path relative to the notebook."
        )
    return f"data:{mime_type};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def _refuse_network(soup: Any, name: str) -> None:
    for element in soup.select(LOADED):
        source = element.get("src") or element.get("href")
        if REMOTE.match(source.strip()):
            raise CourseError(
                f"{name}: expected a page that needs no network, "
                f"got <{element.name}> from {source}; store the file in the course."
            )
