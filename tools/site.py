"""The course as a folder of web pages that need no network and no server.

Every link is relative, so the folder works from a disk and at any address.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, select_autoescape
from pygments.styles import get_style_by_name
from pygments.token import STANDARD_TYPES

from course_utils.base.errors import CourseError
from course_utils.base.files import course_root, write_text
from tools import page_html
from tools.bootstrap import BRANCH, REPOSITORY, addresses_to_run
from tools.browser import print_page
from tools.glossary import Term, anchor_terms, mark_terms
from tools.notebook_files import read_notebook

if TYPE_CHECKING:
    from tools.execute import RunResult

TEMPLATES = Path(__file__).resolve().parent / "templates"
SHARED_TEMPLATES = TEMPLATES.parent.parent / "course_utils" / "homework" / "templates"  # page.css
SCRIPTS = ("theme.js", "site.js", "search.js")

# The Markdown files that become pages: the part of the site, the file, and the name of its page.
TEXTS = [
    ("Homework", "homework/README.md", "homework"),
    ("Homework", "homework/rubric.md", "rubric"),
    ("Homework", "homework/instructor.md", "instructor"),
    ("To look things up", "docs/cheat_sheet.md", "cheat_sheet"),
    ("To look things up", "notebooks/glossary.md", "glossary"),
    ("About the course", "README.md", "about"),
    ("About the course", "data/README.md", "data"),
    ("About the course", "docs/measurements.md", "measurements"),
    ("About the course", "docs/troubles.md", "troubles"),
    ("About the course", "docs/architecture.md", "architecture"),
    ("About the course", "CONTRIBUTING.md", "contributing"),
]
# Where a page of a notebook leads to live models: number of the notebook and cell, then the panel
# of play.html and the words of the link.
LIVE = {
    ("04", "manifold"): ("plane-title", "Move through a plane like this one with a finger"),
    ("04", "field"): ("draw-title", "Draw a digit and see what a VAE makes of it"),
    ("06", "walk-figure"): ("gan-title", "Walk through the generator's noise yourself"),
    ("07", "order"): ("diffusion-title", "Order a digit, with guidance and steps of your choice"),
    ("10", "loop"): ("flow-title", "Train a flow on points that you draw"),
    ("11", "box"): ("caption-title", "Write a caption and see four pictures of it"),
}
HOMEWORK = (
    "homework",
    "vae",
    "dcgan",
    "diffusion",
    "report",
    "rubric",
    "instructor",
)  # in the order of work
PARTS = ("Notebooks", "Homework", "To look things up", "About the course")
COPIED = ("homework/example_report.html",)  # pages that are ready as they are


@dataclass(eq=False)
class SitePage:
    """One page: where it comes from, what it is called, and what the search finds on it."""

    source: Path
    part: str
    stem: str
    title: str
    summary: str = ""  # HTML
    picture: str = ""  # a data URI for the index
    picture_alt: str = ""
    sections: list[tuple[str, str, str]] = field(default_factory=list)  # anchor, heading, text
    headings: list[tuple[str, str]] = field(default_factory=list)  # anchor and heading of each h2

    @property
    def name(self) -> str:
        return f"{self.stem}.html"

    @property
    def written(self) -> bool:
        return bool(self.sections)


class Site:
    """The pages of the course in reading order, and what each of them needs to know of the rest.

    Args:
        notebooks: the notebooks that get a page, in order.
        folder: where the pages are written.
    """

    def __init__(self, notebooks: Sequence[Path], folder: Path) -> None:
        self.folder = folder
        root = course_root()
        pages = [_notebook_page(path) for path in notebooks]
        pages += [_text_page(root / file, part, stem) for part, file, stem in TEXTS]
        self.pages = sorted(pages, key=_reading_order)
        # The offline page with the models at work, where somebody wrote it here.
        there = (folder / "play.html").is_file()
        self.live = SitePage(folder, "Notebooks", "play", "Play with the models") if there else None
        self.by_source = {page.source: page for page in self.pages}

    # ---- pages

    def write_notebook(self, notebook: Any, path: Path) -> None:
        """Writes the page of one executed notebook, whose own file is `path`.

        Raises:
            CourseError: a formula cannot be converted, or the page would need a network.
        """
        page = self.by_source[path.resolve()]
        soup: Any = BeautifulSoup(page_html.cells_to_html(notebook, page.stem), "html.parser")
        for in_words in soup.select(".output_area:has(details.alt-text)"):
            in_words.decompose()  # the picture above it says the same in its alt text
        if self.live:
            link_live_models(soup, page.stem)
        mark_terms(soup, self.terms, "glossary.html")
        page.title, page.summary = notebook_title(notebook, page.stem)
        self._write(page, soup, addresses_to_run(_in_repository(page.source) or path.name))

    def write_markdown(self, page: SitePage) -> None:
        """Writes the page of a Markdown file.

        Raises:
            CourseError: a formula cannot be converted, or a picture is missing.
        """
        source = page.source.read_text(encoding="utf-8")
        html = page_html.markdown_to_html(source, page.stem)
        soup: Any = BeautifulSoup(f'<div class="text_cell_render">{html}</div>', "html.parser")
        for image in soup.select("img[src]"):
            if page_html.REMOTE.match(image["src"]):
                image.replace_with(image.get("alt", ""))  # a badge: its words carry the link
        if page.stem == "glossary":
            anchor_terms(soup)
        self._write(page, soup, {})

    def _write(self, page: SitePage, soup: Any, run_at: dict[str, str]) -> None:
        for link in soup.select("a[href]"):
            link["href"] = self.link(link["href"], page.source.parent)
        for image in soup.select("img[src]"):
            image["src"] = page_html.embedded(image["src"], page.source.parent, page.stem)
        page_html.refuse_network(soup, page.stem)
        page_html.anchor_headings(soup)
        page_html.frame_tables(soup)
        page_html.frame_code(soup)
        self._note_contents(page, soup)
        in_order = self.in_order
        place = in_order.index(page)
        values = {
            "page": page,
            "body": str(soup),
            "parts": self.parts,
            "siblings": [other for other in self.pages if other.part == page.part],
            "live": self.live,
            "previous": in_order[place - 1] if place else None,
            "following": in_order[place + 1] if place + 1 < len(in_order) else None,
            "run_at": run_at,
            "printed": page.stem == "cheat_sheet" and (self.folder / "cheat_sheet.pdf").is_file(),
        }
        write_text(self.folder / page.name, _rendered("page.html", **values))

    def _note_contents(self, page: SitePage, soup: Any) -> None:
        """Notes a page's sections for the tree and for the search, and its first large picture."""
        page.headings = [(one["id"], _heading_text(one)) for one in soup.select("h2")]
        page.sections = list(_sections(soup, page.title))
        for image in soup.select(".output_area img"):
            if image["src"].startswith("data:image/"):
                page.picture = page_html.thumbnail(image["src"])
                page.picture_alt = image.get("alt", "")
                break

    def link(self, href: str, folder: Path) -> str:
        """Returns a link as the site needs it: to a page of the site, else into the repository.

        A link to a file that belongs to neither comes back as it is.
        """
        parts = urlsplit(href)
        if parts.scheme or parts.netloc or not parts.path:
            return href
        linked = (folder / unquote(parts.path)).resolve()
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        if linked in self.by_source:
            return self.by_source[linked].name + anchor
        file = _in_repository(linked)
        if file in COPIED:
            return Path(file).name + anchor
        if file and linked.exists():
            kind = "tree" if linked.is_dir() else "blob"
            return f"{REPOSITORY}/{kind}/{BRANCH}/{file}{anchor}"
        return href

    @cached_property
    def terms(self) -> list[Term]:
        source = (course_root() / "notebooks" / "glossary.md").read_text(encoding="utf-8")
        return anchor_terms(
            BeautifulSoup(page_html.markdown_to_html(source, "glossary"), "html.parser")
        )

    @property
    def parts(self) -> list[tuple[str, list[SitePage]]]:
        """Returns the parts that have pages, each with its pages in order."""
        of_part = {part: [page for page in self.pages if page.part == part] for part in PARTS}
        return [(part, pages) for part, pages in of_part.items() if pages]

    @property
    def in_order(self) -> list[SitePage]:
        """Returns all pages as they are read; that of the live models comes after the notebooks."""
        if self.live is None:
            return self.pages
        count = sum(page.part == self.live.part for page in self.pages)
        return [*self.pages[:count], self.live, *self.pages[count:]]

    # ---- what belongs to all pages

    def finish(self, results: Sequence[RunResult]) -> list[str]:
        """Writes the texts, the index, the search and the scripts, after all notebooks.

        Args:
            results: how each notebook ran.

        Returns:
            Remarks for the author, one line each: what was left out and why.

        Raises:
            CourseError: a Markdown file of the course cannot be made a page.
        """
        by_source = {result.path.resolve(): result for result in results}
        printed = self.folder / "cheat_sheet.pdf"
        printed.unlink(missing_ok=True)
        for page in self.pages:
            if page.source.suffix == ".md":
                self.write_markdown(page)
            elif not page.written:  # other pages link to it
                self._write_refused(page, by_source[page.source].error or "")
        for script in SCRIPTS:
            shutil.copyfile(TEMPLATES / script, self.folder / script)
        for file in COPIED:
            shutil.copyfile(course_root() / file, self.folder / Path(file).name)
        write_text(self.folder / "search_index.js", self._search_index())
        write_text(self.folder / "pages.js", self._list_of_pages())
        gallery = page_html.embedded("gallery.png", course_root(), "index")
        values = {
            "parts": self.parts,
            "results": by_source,
            "gallery": gallery,
            "live": self.live,
            "page": None,
        }
        write_text(self.folder / "index.html", _rendered("index.html", **values))
        sheet = self.by_source[course_root() / "docs" / "cheat_sheet.md"]
        reason = print_page(self.folder / sheet.name, printed)
        if reason:
            return [f"cheat_sheet.pdf was skipped: {reason}."]
        self.write_markdown(sheet)  # again, now that it can link to the file
        return []

    def _write_refused(self, page: SitePage, error: str) -> None:
        soup: Any = BeautifulSoup("<h1></h1><p>This page could not be made: </p>", "html.parser")
        soup.h1.string = page.title
        soup.p.append(error)
        self._write(page, soup, {})

    def _search_index(self) -> str:
        """Returns a script that defines the list of all sections; a page loads it for a search."""
        rows = [
            [page.name, page.title, anchor, heading, text]
            for page in self.pages
            for anchor, heading, text in page.sections
        ]
        as_json = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
        return f"window.courseSections = {as_json};\n"

    def _list_of_pages(self) -> str:
        """Returns a script that defines the list of all pages. `play.html` makes its links of it,
        since it may also be opened without its neighbours.
        """
        rows = [[page.part, page.name, page.title] for page in self.in_order]
        return f"window.coursePages = {json.dumps(rows, ensure_ascii=False)};\n"


def link_live_models(soup: Any, stem: str) -> None:
    """Puts a link to the page of live models behind the cells of a notebook whose sliders stand
    still on a page.
    """
    for (notebook, cell), (panel, text) in LIVE.items():
        place = soup.find(id=f"cell-id={cell}") if stem.startswith(notebook) else None
        if place is not None:
            line = soup.new_tag("p", attrs={"class": "live"})
            link = soup.new_tag("a", href=f"play.html#{panel}")
            link.string = text
            line.append(link)
            place.insert_after(line)


def notebook_title(notebook: Any, name: str) -> tuple[str, str]:
    """Returns a notebook's title, else `name`, and as HTML the paragraph after it."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return page_html.title_and_summary("\n\n".join(texts[:3]), name)


def _notebook_page(path: Path) -> SitePage:
    part = "Homework" if path.resolve().parent.name == "homework" else "Notebooks"
    page = SitePage(path.resolve(), part, path.stem, path.stem)
    try:
        page.title, page.summary = notebook_title(read_notebook(path), path.stem)
    except CourseError:
        pass  # whoever runs the notebook is told; until then its name is its title
    return page


def _text_page(path: Path, part: str, stem: str) -> SitePage:
    title, summary = page_html.title_and_summary(path.read_text(encoding="utf-8"), stem)
    return SitePage(path.resolve(), part, stem, title, summary)


def _reading_order(page: SitePage) -> tuple[int, int]:
    """Orders pages by part, and those of the homework as they are worked on."""
    in_homework = page.part == "Homework" and page.stem in HOMEWORK
    return PARTS.index(page.part), HOMEWORK.index(page.stem) if in_homework else 0


def _in_repository(path: Path) -> str:
    """Returns a file's place in the course with forward slashes; empty outside of it."""
    root = course_root().resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""


def _heading_text(heading: Any) -> str:
    return " ".join(heading.get_text().removesuffix("#").split())


def _sections(soup: Any, title: str) -> list[tuple[str, str, str]]:
    """Returns the anchor, the heading and the text of each section; an entry of the glossary, too,
    is a section. Code and what it printed are left out.
    """
    found = [["", title, []]]
    for element in soup.select("h1, h2, h3, h4, p, li, td"):
        if element.find_parent(class_="output_area") or element.find(["p", "li"]):
            continue
        if element.name.startswith("h"):
            found.append([element["id"], _heading_text(element), []])
        elif element.name == "li" and element.get("id"):
            name = element.strong.get_text()
            found.append([element["id"], name, [" ".join(element.get_text().split())]])
        else:
            found[-1][2].append(" ".join(element.get_text().split()))
    return [(anchor, heading, " ".join(texts)) for anchor, heading, texts in found]


def _rendered(template: str, **values: Any) -> str:
    """Returns a page from tools/templates; text among the values is escaped there."""
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES, SHARED_TEMPLATES]),
        autoescape=select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values, code_colours=_code_colours())


def _code_colours() -> str:
    """Returns the colours of code for light and dark pages as CSS."""
    light, dark = (get_style_by_name(name) for name in ("xcode", "github-dark"))
    rules = []
    for token, css_class in STANDARD_TYPES.items():
        colours = [style.style_for_token(token)["color"] for style in (light, dark)]
        if css_class and any(colours):
            on_light, on_dark = (f"#{one}" if one else "inherit" for one in colours)
            rules.append(f".highlight .{css_class} {{ {_two_colours(on_light, on_dark)} }}")
    return "\n".join(rules)


def _two_colours(on_light: str, on_dark: str) -> str:
    ink = "var(--ink)"  # light-dark() takes colours alone
    return f"color: light-dark({on_light}, {on_dark});".replace("inherit", ink)
