"""`course slides`: what is marked in the notebooks, and the page that shows it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.base.errors import CourseError
from course_utils.cli.main import main
from course_utils.cli.slides import SLIDE_TAG, slides_page, write_slides

NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
PNG = base64.b64encode(b"a picture").decode()


def notebook_file(path: Path, *cells) -> Path:
    nbformat.write(new_notebook(cells=[new_markdown_cell("# 99 · <Title>"), *cells]), path)
    return path


def picture(tags=(SLIDE_TAG,), alt='a "digit" <b>'):
    output = new_output("display_data", {"image/png": PNG}, metadata={"image/png": {"alt": alt}})
    return new_code_cell("show(figure)", outputs=[output], metadata={"tags": list(tags)})


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_notebook_has_marked_pictures_with_alt_texts(path):
    cells = nbformat.read(path, as_version=4).cells
    page = BeautifulSoup(slides_page(path), "html.parser")
    marked = [cell for cell in cells if SLIDE_TAG in cell.metadata.get("tags", [])]
    assert len(page.select("section:not(.first)")) == len(marked) >= 5
    shown = page.select("section img")
    assert len(shown) >= 5 and all(len(image["alt"]) > 20 for image in shown)
    stored = [
        output.data["image/png"].replace("\n", "")
        for cell in marked
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert [image["src"].partition("base64,")[2] for image in shown] == stored
    assert all(heading.get_text().strip() for heading in page.select("h2"))


def test_slides_do_not_say_whose_answers_a_cell_used(tmp_path):
    printed = "yours: 07.film\nreference solution, not passed yet: 07.guide\nFID 2.1\n"
    cell = picture()
    cell.outputs.append(new_output("stream", text=printed))
    page = BeautifulSoup(slides_page(notebook_file(tmp_path / "99_x.ipynb", cell)), "html.parser")
    assert page.pre.get_text() == "FID 2.1"


def test_a_page_needs_no_network_and_escapes_what_it_shows(tmp_path):
    text = new_markdown_cell("## 3 The *parts* (9 min)\n\nOne.\n\nTake $x^2 < 1$ of it.")
    path = notebook_file(tmp_path / "99_x.ipynb", text, picture(), picture(tags=()))
    html = slides_page(path)
    page = BeautifulSoup(html, "html.parser")
    assert page.title.get_text() == "99 · <Title>" and len(page.select("section")) == 2
    (image,) = page.select("img")
    assert image["alt"] == 'a "digit" <b>' and image["src"] == f"data:image/png;base64,{PNG}"
    assert page.select_one("h2").get_text() == "The *parts*"
    assert page.select_one("section:not(.first) p").get_text().startswith("Take")
    assert page.select_one("math msup") is not None and "One." not in html
    addresses = re.findall(r"https?://[^\"' ]+", html)
    assert set(addresses) <= {"http://www.w3.org/1998/Math/MathML"}
    assert not page.select("link, script[src], iframe")
    assert "default-src 'none'" in page.select_one("meta[http-equiv]")["content"]


def test_what_cannot_be_shown_is_said(tmp_path):
    silent = new_code_cell("x = 1", metadata={"tags": [SLIDE_TAG]})
    with pytest.raises(CourseError, match="cell 1 is marked as a slide and shows nothing"):
        slides_page(notebook_file(tmp_path / "97_x.ipynb", silent))
    with pytest.raises(CourseError, match="expected cells with the tag 'slide', got none"):
        slides_page(notebook_file(tmp_path / "98_x.ipynb", picture(tags=())))
    (tmp_path / "96_x.ipynb").write_text("no notebook")
    with pytest.raises(CourseError, match="96_x.ipynb: expected a notebook"):
        slides_page(tmp_path / "96_x.ipynb")
    with pytest.raises(CourseError, match="starts with 12; there are 96_x, 97_x, 98_x"):
        write_slides(["12"], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_page_for_each_notebook(tmp_path, capsys):
    assert main(["slides", "00", "03", "--out", str(tmp_path / "a b")]) == 0
    names = [path.name for path in sorted((tmp_path / "a b").iterdir())]
    assert names == ["00_start_here.html", "03_vae_derivation.html"]
    assert capsys.readouterr().out.count("wrote ") == 2
