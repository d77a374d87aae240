"""Executed notebooks as web pages that need no network: mathematics becomes MathML, styles and pictures stand in the page."""

from __future__ import annotations

import base64
import html
import mimetypes
import os
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from course_utils.errors import CourseError
from course_utils.files import write_text
from course_utils.html_style import PAGE_CSS, SITE_TITLE
from course_utils.mathml import latex_to_mathml

REMOTE = re.compile(r"^(https?:)?//", re.IGNORECASE)
LOADING_ATTRIBUTES = {"script": "src", "link": "href", "iframe": "src", "img": "src", "source": "src", "video": "src", "audio": "src", "embed": "src"}


def write_page(notebook: Any, folder: Path, target: Path, site_names: Collection[str]) -> None:
    """Writes one executed notebook as an HTML page.

    Args:
        folder: the notebook's own folder; relative links and pictures are looked up there.
        target: the page to write.
        site_names: names (without ending) of all notebooks that have a page; links to them lead to the pages.

    Raises:
        CourseError: a formula cannot be converted, or the page would load something from the network.
    """
    from bs4 import BeautifulSoup

    body, _ = _exporter(target.stem).from_notebook_node(notebook, resources={"metadata": {"name": target.stem}})
    soup = BeautifulSoup(body, "html.parser")
    for link in soup.select("a[href]"):
        link["href"] = _local_link(link["href"], folder, target.parent, site_names)
    for image in soup.select("img[src]"):
        image["src"] = _embedded(image["src"], folder, target.stem)
    for element in soup.select(".output_html table, table.dataframe"):
        element["tabindex"] = "0"  # wide tables scroll: let the keyboard reach them
    _refuse_network(soup, target.stem)
    title, _ = title_and_summary(notebook, target.stem)
    write_text(target, _page(title, f'<nav><a href="index.html">All notebooks</a></nav>\n<main>{soup}</main>'))


def write_index(target: Path, rows: list[dict]) -> None:
    """Writes the page that lists all notebooks.

    Args:
        rows: one dict a notebook with `name`, `title`, `summary` (HTML), `seconds`, `error` (None where it ran well).
    """
    items = []
    for row in rows:
        state = "ran well" if row["error"] is None else f"<strong>failed</strong>: {html.escape(row['error'])}"
        link = html.escape(row["title"])
        if (target.parent / f"{row['name']}.html").is_file():
            link = f'<a href="{html.escape(row["name"])}.html">{link}</a>'
        items.append(f"<li><h2>{link}</h2><p>{row['summary']}</p><p class='state'>{row['seconds']:.1f} s, {state}</p></li>")
    write_text(target, _page(SITE_TITLE, f"<main><h1>{SITE_TITLE}</h1><ol class='index'>{''.join(items)}</ol></main>"))


def title_and_summary(notebook: Any, name: str) -> tuple[str, str]:
    """Returns the plain text of a notebook's first heading (`name` where it has none) and its first paragraph as HTML without links."""
    from bs4 import BeautifulSoup

    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    soup = BeautifulSoup(markdown_to_html("\n\n".join(cells[:3]), name), "html.parser")
    for anchor in soup.select("a.anchor-link"):
        anchor.decompose()
    for link in soup.select("a"):
        link.unwrap()
    heading = soup.find("h1")
    paragraph = heading.find_next("p") if heading else soup.find("p")
    return (" ".join(heading.get_text().split()) if heading else name), (paragraph.decode_contents() if paragraph else "")


def markdown_to_html(source: str, name: str) -> str:
    """Returns Markdown as HTML with its formulas as MathML; `name` is the notebook that errors speak of."""
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    return MarkdownWithMath(renderer=_renderer_class(name)(escape=False)).render(source)


@cache
def _renderer_class(notebook_name: str) -> type:
    """Returns the Markdown renderer that writes MathML, for one notebook."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class MathRenderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return latex_to_mathml(body, notebook_name)

        def block_math(self, body: str) -> str:
            return latex_to_mathml(body, notebook_name, "block")

        def latex_environment(self, name: str, body: str) -> str:
            return latex_to_mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", notebook_name, "block")

    return MathRenderer


def _exporter(name: str) -> Any:
    """Returns the exporter that makes the body of a page; its template loads no script."""
    from jinja2 import pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    class PageExporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            return MarkdownWithMath(renderer=_renderer_class(name)(escape=False, attachments=attachments)).render(source)

    exporter = PageExporter(template_name="basic")
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = exporter.jupyter_widgets_base_url = ""
    return exporter


def _local_link(href: str, folder: Path, site: Path, site_names: Collection[str]) -> str:
    """Returns the link as it must read in the site: to a page where the target has one, else to the file where it lies."""
    parts = urlsplit(href)
    if parts.scheme or parts.netloc or not parts.path:
        return href
    linked = (folder / unquote(parts.path)).resolve()
    anchor = f"#{parts.fragment}" if parts.fragment else ""
    if linked.suffix == ".ipynb" and linked.parent == folder.resolve() and linked.stem in site_names:
        return f"{linked.stem}.html{anchor}"
    return Path(os.path.relpath(linked, site.resolve())).as_posix() + anchor if linked.exists() else href


def _embedded(source: str, folder: Path, name: str) -> str:
    """Returns a picture's address as a data URI; one that is no file of the course comes back as it is."""
    if source.startswith("data:") or REMOTE.match(source):
        return source
    file = folder / unquote(source)
    kind, _ = mimetypes.guess_type(file.name)
    if not file.is_file() or not kind:
        raise CourseError(f"{name}: expected a picture at {source}, got none; write its path relative to the notebook.")
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"


def _refuse_network(soup: Any, name: str) -> None:
    for tag, attribute in LOADING_ATTRIBUTES.items():
        for element in soup.select(f"{tag}[{attribute}]"):
            if REMOTE.match(element[attribute].strip()):
                source = element[attribute]
                raise CourseError(f"{name}: expected a page that needs no network, got <{tag}> from {source}; store the file in the course.")


def _page(title: str, body: str) -> str:
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f"<head>{meta}<title>{html.escape(title)}</title><style>{page_css()}</style></head>"
    return f'<!DOCTYPE html>\n<html lang="en">{head}\n<body>{body}</body></html>\n'


@cache
def page_css() -> str:
    """Returns the styles of every page, the colours of highlighted code included."""
    from pygments.formatters import HtmlFormatter

    return PAGE_CSS + HtmlFormatter(style="xcode").get_style_defs(".highlight")
