"""The site as a reader has it: opened from a disk, its links, its search, its keys, its colours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from accessibility import serious_violations
from browsers import needs_browser
from bs4 import BeautifulSoup

from course_utils.base.files import course_root
from tools.browser import BROWSER, FLAGS, print_page
from tools.execute import RunResult
from tools.glossary import Term, mark_terms
from tools.notebook_files import code_cells, read_notebook
from tools.page_html import anchor_headings, frame_code, frame_tables, markdown_to_html
from tools.run_notebooks import notebook_paths
from tools.site import LIVE, TEXTS, Site, link_live_models

ROOT = course_root()
WITH_CODE = "00_start_here"  # code and pictures of the others have no links, and cost seconds
PAGE = f"{WITH_CODE}.html"
CUT_OFF = """[...document.querySelectorAll("pre, .output_area")].filter(
    element => element.scrollWidth > element.clientWidth + 1).length"""


def some_code(notebook) -> list:
    """Returns the first cells with code, and those that printed a table."""
    cells = [cell for _, cell in code_cells(notebook)]
    return cells[:10] + [cell for cell in cells[10:] if "<table" in str(cell.outputs)]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of the committed notebooks, which are not run."""
    folder = tmp_path_factory.mktemp("site")
    paths = notebook_paths(ROOT / "notebooks") + notebook_paths(ROOT / "homework")
    writer = Site(paths, folder)
    for path in paths:
        notebook = read_notebook(path)
        kept = {id(cell) for cell in some_code(notebook)} if path.stem == WITH_CODE else set()
        notebook.cells = [
            cell for cell in notebook.cells if cell.cell_type == "markdown" or id(cell) in kept
        ]
        writer.write_notebook(notebook, path)
    writer.finish([RunResult(path, 1.0) for path in paths])
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[str, BeautifulSoup]:
    """What the site's pages hold, by name; the example report was checked where it was made."""
    own = [path for path in sorted(site.glob("*.html")) if path.name != "example_report.html"]
    # No test here reads the bytes of pictures, and without them pages are parsed sooner.
    texts = {path.name: re.sub(r"base64,[\w+/=]+", "base64,", path.read_text()) for path in own}
    return {name: BeautifulSoup(text, "html.parser") for name, text in texts.items()}


# ---- links and order


def test_every_link_and_anchor_leads_somewhere(site, pages):
    anchors = {name: {one["id"] for one in page.select("[id]")} for name, page in pages.items()}
    wrong = []
    for name, page in pages.items():
        for link in page.select("a[href]"):
            parts = urlsplit(link["href"])
            if parts.scheme in ("https", "mailto"):
                continue
            target = unquote(parts.path) or name
            found = not parts.scheme and not parts.netloc and (site / target).is_file()
            known = anchors.get(target, {parts.fragment})
            if not found or "/" in target or (parts.fragment and parts.fragment not in known):
                wrong.append(f"{name}: {link['href']}")
    assert wrong == [] and len(pages) >= 24


def test_no_page_loads_anything_from_elsewhere(pages):
    for name, page in pages.items():
        loaded = [one["src"] for one in page.select("[src]")] + page.select("link")
        assert {one for one in loaded if one != "data:" and not one.startswith("data:image/")} == {
            "theme.js",
            "site.js",
            "search.js",
        }, name


def test_anchors_are_unique_on_each_page(pages):
    for name, page in pages.items():
        anchors = [one["id"] for one in page.select("[id]")]
        assert len(anchors) == len(set(anchors)), name


def test_previous_and_next_go_once_through_all_pages(pages):
    visited = [PAGE]
    while following := pages[visited[-1]].select_one("a[rel=next]"):
        before = visited[-1]
        visited.append(following["href"])
        assert pages[visited[-1]].select_one("a[rel=prev]")["href"] == before
    assert sorted([*visited, "index.html"]) == sorted(pages)
    assert pages[PAGE].select_one("a[rel=prev]") is None
    homework = ["homework", "vae", "dcgan", "diffusion", "report", "rubric"]
    start = visited.index("homework.html")
    assert visited[start : start + 6] == [f"{stem}.html" for stem in homework]


def test_tree_lists_every_page_and_the_sections_of_this_one(pages):
    for name in pages.keys() - {"index.html"}:
        tree = pages[name].select_one("details.tree")
        (here,) = tree.select("[aria-current=page]")
        assert here["href"] == name
        assert {link["href"] for link in tree.select("a:not(.sections a)")} == pages.keys() - {
            "index.html"
        }
        sections = [link["href"] for link in tree.select(".sections a")]
        assert sections == [f"#{one['id']}" for one in pages[name].select("main h2")]


def test_place_counts_the_pages_of_the_part(pages):
    count = len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert pages[PAGE].select_one(".place span").get_text() == f"Notebooks, page 1 of {count}"


def test_index_shows_a_picture_and_no_second_number(pages):
    index = pages["index.html"]
    assert not index.select("ol")
    card = index.select_one(f"li[data-stem='{WITH_CODE}']")
    assert card.img["alt"] and card.h3.get_text().startswith("00 · ")
    assert "play.html" not in index.decode()


def test_badges_open_the_notebook_that_is_read(pages):
    hrefs = [link["href"] for link in pages["04_vae_on_digits.html"].select(".run a")]
    assert [urlsplit(href).netloc for href in hrefs] == [
        "colab.research.google.com",
        "kaggle.com",
        "mybinder.org",
    ]
    assert all(href.endswith("/notebooks/04_vae_on_digits.ipynb") for href in hrefs)


# ---- terms, tables, headings


def marked(html: str) -> BeautifulSoup:
    soup = BeautifulSoup(f'<div class="text_cell_render">{html}</div>', "html.parser")
    terms = [Term("Latent", "a code"), Term("ELBO", "a bound"), Term("Mode collapse", "few digits")]
    mark_terms(soup, terms, "glossary.html")
    return soup


def test_first_use_of_a_term_in_a_section_is_marked():
    soup = marked("<p>Latents, a latent and mode collapse.</p><h2>B</h2><p>The latent.</p>")
    links = soup.select("a.term")
    assert [link.get_text() for link in links] == ["Latents", "mode collapse", "latent"]
    assert links[1]["href"] == "glossary.html#term-mode-collapse"
    assert links[1]["data-meaning"] == "few digits"
    assert soup.get_text() == "Latents, a latent and mode collapse.BThe latent."


@pytest.mark.parametrize(
    "html",
    [
        "<h2>The latent</h2>",
        "<p><code>latent</code></p>",
        "<p><a href='#x'>latent</a></p>",
        "<p>latently, multi-latent, elbo</p>",
        "<!-- latent -->",
    ],
)
def test_terms_are_not_marked_where_they_mean_something_else(html):
    assert marked(html).select("a.term") == []


def test_headings_have_the_anchors_of_github_and_never_twice():
    soup = BeautifulSoup("<h2>1 What is p(x)?</h2><h3>End</h3><h3>End</h3>", "html.parser")
    anchor_headings(soup)
    assert [one["id"] for one in soup.select("h2, h3")] == ["1-what-is-px", "end", "end-1"]


def test_tables_scroll_alone_have_names_and_no_empty_heading():
    table = "<table><tr><th></th><th>FID</th></tr></table>"
    soup = BeautifulSoup(table + table, "html.parser")
    frame_tables(soup)
    frames = soup.select("div.table-frame[tabindex='0'] > table")
    assert [one.parent["aria-label"] for one in frames] == ["Table 1", "Table 2"]
    assert [one.get_text() for one in soup.select("th")] == ["FID", "FID"]


def test_a_number_stays_in_one_line_with_its_error_bar():
    words = "the mean of three trainings ± its standard error"
    row = f"<tr><td>0.886 ± 0.023</td><td>{words}</td><td>0.886</td></tr>"
    soup = BeautifulSoup(f"<table>{row}</table>", "html.parser")
    frame_tables(soup)
    assert [one.get_text() for one in soup.select("td.number")] == ["0.886 ± 0.023"]


def test_code_of_no_named_language_is_framed_once():
    html = markdown_to_html("1. Run\n\n   ```\n   a\n   ```\n\n```python\nb = 1\n```\n", "x")
    soup = BeautifulSoup(f'<div class="text_cell_render">{html}</div>', "html.parser")
    frame_code(soup)
    frames = soup.select("div.highlight")
    assert [one.pre.get_text().strip() for one in frames] == ["a", "b = 1"]
    assert frames[0].parent.name == "li"


@pytest.fixture
def few_texts(monkeypatch):
    texts = [text for text in TEXTS if text[2] in ("cheat_sheet", "measurements")]
    monkeypatch.setattr("tools.site.TEXTS", texts)


def test_a_page_that_could_not_be_made_says_why(tmp_path, few_texts):
    path = tmp_path / "a.ipynb"
    bad = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A\n\n$\\nosuch$")])
    nbformat.write(bad, path)
    Site([path], tmp_path / "site").finish([RunResult(path, error="a formula <failed>")])
    page = BeautifulSoup((tmp_path / "site" / "a.html").read_text(), "html.parser")
    assert "This page could not be made: a formula <failed>" in page.main.get_text()


def test_play_is_linked_where_it_was_written(tmp_path, few_texts, monkeypatch):
    monkeypatch.setattr("tools.browser.BROWSER", None)
    (tmp_path / "play.html").write_text("<!DOCTYPE html>")
    path = ROOT / "notebooks" / "00_start_here.ipynb"
    site = Site([path], tmp_path)
    site.write_notebook(nbformat.v4.new_notebook(), path)
    site.finish([RunResult(path, 1.0)])
    assert 'href="play.html"' in (tmp_path / "index.html").read_text()
    before = BeautifulSoup((tmp_path / "00_start_here.html").read_text(), "html.parser")
    assert before.select_one("a[rel=next]")["href"] == "play.html"
    assert before.select_one(".tree a[href='play.html']")
    after = BeautifulSoup((tmp_path / "cheat_sheet.html").read_text(), "html.parser")
    assert after.select_one("a[rel=prev]")["href"] == "play.html"
    listed = (tmp_path / "pages.js").read_text().removeprefix("window.coursePages = ")
    assert [name for _, name, _ in json.loads(listed.removesuffix(";\n"))] == [
        "00_start_here.html",
        "play.html",
        "cheat_sheet.html",
        "measurements.html",
    ]


def test_live_models_are_linked_behind_their_cells():
    """Each cell and each panel exists, and the link stands after the cell."""
    panels = (ROOT / "tools" / "play" / "page.html").read_text(encoding="utf-8")
    for (number, cell), (panel, _) in LIVE.items():
        (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        assert cell in {one.id for one in read_notebook(path).cells}
        assert f'id="{panel}"' in panels
    html = '<div id="cell-id=manifold">a</div><div id="cell-id=other">b</div>'
    for stem, count in (("04_vae_on_digits", 1), ("05_vae_clinic", 0)):
        soup = BeautifulSoup(html, "html.parser")
        link_live_models(soup, stem)
        assert len(soup.select("p.live a[href='play.html#plane-title']")) == count
    soup = BeautifulSoup(html, "html.parser")
    link_live_models(soup, "04_vae_on_digits")
    assert soup.select_one("p.live").find_previous_sibling()["id"] == "cell-id=manifold"


def test_without_a_browser_the_sheet_in_print_is_skipped_aloud(tmp_path, few_texts, monkeypatch):
    monkeypatch.setattr("tools.browser.BROWSER", None)
    (tmp_path / "cheat_sheet.pdf").write_text("an older one")
    (remark,) = Site([], tmp_path).finish([])
    assert remark.startswith("cheat_sheet.pdf was skipped: no Chromium was found")
    assert not (tmp_path / "cheat_sheet.pdf").exists()
    sheet = BeautifulSoup((tmp_path / "cheat_sheet.html").read_text(), "html.parser")
    assert not sheet.select("a[href='cheat_sheet.pdf']")


def test_search_index_has_sections_and_terms_but_no_code(site):
    text = (site / "search_index.js").read_text()
    rows = json.loads(text.removeprefix("window.courseSections = ").removesuffix(";\n"))
    found = {(page, anchor): (heading, words) for page, _, anchor, heading, words in rows}
    heading, words = found["glossary.html", "term-posterior-collapse"]
    assert heading == "Posterior collapse" and "latent" in words
    assert "importlib" not in text


def test_container_sets_up_what_the_makefile_offers():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"] == "TORCH_BACKEND=cpu make setup"
    assert re.search(r"^setup:", (ROOT / "Makefile").read_text(), re.MULTILINE)


# ---- in a browser


@needs_browser
def test_cheat_sheet_is_one_page_of_paper(site, tmp_path):
    assert print_page(site / "cheat_sheet.html", tmp_path / "sheet.pdf") is None
    assert re.findall(rb"/Count (\d+)", (tmp_path / "sheet.pdf").read_bytes()) == [b"1"]


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser):
    """A window of 1280 pixels whose errors fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    yield page
    context.close()
    assert errors == []


def focused(tab) -> str:
    return tab.evaluate("document.activeElement.textContent || document.activeElement.tagName")


@needs_browser
def test_search_by_keyboard_leads_to_the_term(site, tab):
    tab.goto((site / PAGE).as_uri())
    tab.keyboard.press("/")
    tab.keyboard.type("posterior colla")
    tab.wait_for_selector(".found li")
    assert re.fullmatch(r"\d+ sections found.*", tab.inner_text(".found [role=status]"))
    tab.keyboard.press("ArrowDown")
    assert focused(tab).startswith("Posterior collapse")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/glossary.html#term-posterior-collapse")


@needs_browser
def test_search_finds_nothing_for_nonsense_and_closes(site, tab):
    tab.goto((site / PAGE).as_uri())
    tab.keyboard.press("/")
    tab.keyboard.type("(zzz*")
    tab.wait_for_selector(".found:not([hidden])")
    assert tab.inner_text(".found [role=status]") == "0 sections found"
    tab.keyboard.press("Escape")
    assert tab.is_hidden(".found")


@needs_browser
def test_copied_text_is_the_cell(site, tab):
    tab.goto((site / PAGE).as_uri())
    tab.evaluate(
        "Object.defineProperty(navigator, 'clipboard', "
        "{value: {writeText: async text => { window.copied = text; }}})"
    )
    notebook = read_notebook(ROOT / "notebooks" / f"{WITH_CODE}.ipynb")
    sources = [cell.source for cell in some_code(notebook)]
    buttons = tab.locator(".input_area .copy")
    assert buttons.count() == len(sources)
    for index in (0, 1, len(sources) - 1):
        buttons.nth(index).focus()
        tab.keyboard.press("Enter")
        assert tab.evaluate("window.copied") == sources[index].rstrip("\n")


@needs_browser
def test_theme_follows_the_system_until_it_is_chosen_and_is_kept(site, tab):
    tab.emulate_media(color_scheme="dark")
    tab.goto((site / PAGE).as_uri())
    paper = "getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(paper) == "rgb(15, 20, 26)"
    tab.focus("button.theme")
    tab.keyboard.press("Space")
    assert tab.evaluate(paper) == "rgb(255, 255, 255)"
    tab.goto((site / "glossary.html").as_uri())
    assert tab.evaluate(paper) == "rgb(255, 255, 255)"


@needs_browser
def test_a_term_shows_its_meaning_on_focus_until_escape(site, tab):
    tab.goto((site / PAGE).as_uri())
    term = tab.locator("a.term").first
    term.focus()
    assert tab.inner_text("#meaning") == term.get_attribute("data-meaning")
    assert term.get_attribute("aria-describedby") == "meaning"
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#meaning")


@needs_browser
def test_a_section_counts_as_read_once_its_end_was_seen(site, tab):
    tab.goto((site / PAGE).as_uri())
    count = tab.locator("main h2").count()
    tab.wait_for_function(
        f"document.querySelector('.progress').textContent == '0 of {count} sections read'"
    )
    tab.locator("main h2").nth(1).scroll_into_view_if_needed()
    tab.wait_for_function(
        f"document.querySelector('.progress').textContent == '1 of {count} sections read'"
    )
    tab.goto((site / "index.html").as_uri())
    card = tab.locator(f"li[data-stem='{WITH_CODE}'] .progress")
    assert card.inner_text() == f"1 of {count} sections read"


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_but_code_and_tables_scrolls_sideways(site, tab, width):
    tab.set_viewport_size({"width": width, "height": 900})
    for name in (PAGE, "index.html", "cheat_sheet.html", "glossary.html"):
        tab.goto((site / name).as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name


@needs_browser
def test_code_of_100_columns_fits_beside_the_tree(site, tab):
    tab.goto((site / PAGE).as_uri())
    tab.evaluate("document.querySelector('.input_area pre').textContent = 'x'.repeat(100)")
    assert tab.evaluate(CUT_OFF) == 0


@needs_browser
def test_print_shows_all_code_and_no_controls(site, tab):
    tab.goto((site / PAGE).as_uri())
    tab.set_viewport_size({"width": 700, "height": 900})
    tab.emulate_media(media="print", color_scheme="dark")
    for selector in (".top", ".tree", ".copy", ".onward"):
        assert not tab.locator(selector).first.is_visible(), selector
    assert tab.evaluate(CUT_OFF) == 0
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(31, 35, 40)"


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", PAGE, "cheat_sheet.html"])
def test_axe_finds_no_serious_violation(site, tab, name, scheme):
    tab.set_viewport_size({"width": 390, "height": 800})  # where most of a page scrolls
    tab.emulate_media(color_scheme=scheme)
    tab.goto((site / name).as_uri())
    assert serious_violations(tab.evaluate, scheme) == []
