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
from xml.etree import ElementTree

from course_utils.base.errors import CourseError
from course_utils.base.files import write_text

SITE_TITLE = "Generative models for images"

PAGE_CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 50rem; padding: 1rem 1rem 4rem; background: #fff; color: #1f2328;
  font: 1.05rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: break-word; }
a { color: #0550ae; }
h1, h2, h3, h4 { line-height: 1.25; margin: 2rem 0 0.6rem; }
h1 { font-size: 1.8rem; margin-top: 1rem; } h2 { font-size: 1.4rem; } h3 { font-size: 1.15rem; }
a.anchor-link { margin-left: 0.4rem; text-decoration: none; opacity: 0; } :hover > a.anchor-link, a.anchor-link:focus { opacity: 1; }
img { max-width: 100%; height: auto; }
code { background: #f0f2f4; padding: 0.1em 0.3em; border-radius: 4px;
  font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { font: 0.88rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 0; overflow-x: auto; }
.output_area pre { white-space: pre-wrap; overflow-wrap: anywhere; }
pre code { background: none; padding: 0; font: inherit; }
.cell { margin: 0.9rem 0; }
.input_area, .text_cell_render .highlight, .text_cell_render > pre { background: #f6f8fa; border: 1px solid #d0d7de; border-radius: 6px;
  padding: 0.7rem 0.9rem; }
.input_area .highlight, .text_cell_render .highlight { background: none; }
.output_area { margin: 0.5rem 0 0; padding-left: 0.9rem; border-left: 3px solid #d0d7de; overflow-x: auto; }
.output_stderr { background: #fff4e5; padding: 0.5rem; } .output_error { background: #ffebe9; padding: 0.5rem; border-radius: 6px; }
.prompt { display: none; }
table { border-collapse: collapse; margin: 0.8rem 0; display: block; max-width: 100%; overflow-x: auto; font-size: 0.95rem;
  font-variant-numeric: tabular-nums; }
table, th, td { border: 0; } th, td { border-bottom: 1px solid #d0d7de; padding: 0.3rem 0.7rem; text-align: right; } th { background: #f6f8fa; }
.text_cell_render td, .text_cell_render th { text-align: left; }
blockquote { margin: 1rem 0; padding: 0.1rem 1rem; border-left: 4px solid #0550ae; background: #f3f7fc; }
details { border: 1px solid #d0d7de; border-radius: 6px; padding: 0.5rem 0.9rem; margin: 0.8rem 0; } summary { cursor: pointer; font-weight: 600; }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "Noto Sans Math", "DejaVu Math TeX Gyre", math; font-size: 1.08em; }
math[display="block"] { display: block math; margin: 0.8rem 0; overflow-x: auto; overflow-y: hidden; padding: 0.2rem 0; }
mtable[displaystyle="true"] > mtr > mtd { padding: 0.3ex 0; }
mtd[columnalign="right"] { text-align: right; } mtd[columnalign="left"] { text-align: left; }
mi[mathvariant="bold-italic"] { font-weight: bold; font-style: italic; }
.ansi-red-fg, .ansi-red-intense-fg { color: #a40e26; } .ansi-green-fg, .ansi-green-intense-fg { color: #116329; } .ansi-bold { font-weight: bold; }
ol.index { padding-left: 1.4rem; } ol.index h2 { font-size: 1.15rem; margin: 1.4rem 0 0.2rem; } ol.index p { margin: 0.2rem 0; }
.state { color: #57606a; font-size: 0.9rem; }
@media (max-width: 30rem) { body { font-size: 1rem; padding: 0.7rem 0.7rem 3rem; } h1 { font-size: 1.5rem; } .input_area { padding: 0.5rem 0.6rem; } }
"""


MATHML = "http://www.w3.org/1998/Math/MathML"
# The converter does not know aligned and numbers align, which Jupyter does not; split is laid out in the same way.
ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|align\*?)\}")
ROWS = {"math", "mrow", "mtd", "mstyle"}  # elements whose children stand side by side
SCRIPTED = {"msub", "msup", "msubsup", "munder", "mover", "munderover"}


def latex_to_mathml(latex: str, name: str, display: str = "inline") -> str:
    """Returns a LaTeX formula as MathML.

    Args:
        latex: the formula without its dollar signs.
        name: the notebook that an error speaks of.
        display: "inline" or "block".

    Raises:
        CourseError: the converter does not know a command, or the formula is malformed.
    """
    from latex2mathml.converter import convert

    try:
        root = ElementTree.fromstring(convert(ALIGNED.sub(r"\\\1{split}", latex.strip()), display=display))
    except Exception as error:  # the converter raises whatever its parser stumbled over, StopIteration included
        reason = f"{type(error).__name__} {error}".strip()
    else:
        reason = _left_over(latex, " ".join(root.itertext()))
    if reason:
        formula = f"${latex.strip()}$ ({reason})"
        raise CourseError(f"{name}: expected a formula that latex2mathml can convert, got {formula}; write it with other commands.")
    _polish(root)
    ElementTree.register_namespace("", MATHML)
    return ElementTree.tostring(root, encoding="unicode")


def _left_over(latex: str, text: str) -> str:
    """Returns what the converter let pass without understanding it: it copies unknown commands as text and ignores stray braces."""
    if unknown_command := re.search(r"\\[A-Za-z]+", text):
        return f"it does not know {unknown_command[0]}"
    depth = len(re.findall(r"(?<!\\)\{", latex)) - len(re.findall(r"(?<!\\)\}", latex))
    return "its braces do not match" if depth else ""


def _polish(root: ElementTree.Element) -> None:
    """Spaces function names as TeX does, and keeps a pair of norm bars at one height."""
    for element in root.iter():
        tag = _tag(element)
        if tag == "mo" and not element.attrib and re.fullmatch(r"[A-Za-z]{2,}", element.text or ""):
            element.tag = f"{{{MATHML}}}mi"  # \operatorname: as an operator it would stand off from its parenthesis
        elif tag == "mo" and not element.attrib and element.text in ("|", "\u2016"):
            element.set("stretchy", "false")
    for element in root.iter():
        if _tag(element) not in ROWS:
            continue
        children = list(element)
        for index in range(len(children) - 1, 0, -1):
            if _is_function_name(children[index - 1]) and _tag(children[index]) not in ("mo", "mspace"):
                element.insert(index, ElementTree.Element(f"{{{MATHML}}}mspace", width="0.167em"))


def _is_function_name(element: ElementTree.Element) -> bool:
    base = element[0] if _tag(element) in SCRIPTED and len(element) else element
    return _tag(base) == "mi" and bool(re.fullmatch(r"[A-Za-z]{2,}", base.text or ""))


def _tag(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(f"{{{MATHML}}}")


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
