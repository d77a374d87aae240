"""Executing notebooks and their pages.

Three real runs in one go (a good one, a failing one, a failing widget); the rest is on notebooks
made by hand.
"""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import threading
from pathlib import Path

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from course_utils.base.errors import CourseError
from course_utils.base.files import course_root
from tools import notebook_files, run_notebooks
from tools.bootstrap import BOOTSTRAP_CELL
from tools.execute import kernel_env
from tools.mathml import latex_to_mathml
from tools.site import Site

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+k"
    "cQAAAABJRU5ErkJggg=="
)
GOOD_TEXT = r"""# The mean $\mu$ of a digit

A first paragraph with $x < \tfrac12$ and [the next one](02_fails.ipynb#end).

$$\begin{aligned} \log p &\ge a \\ &= b \end{aligned}$$

Code spans keep their dollars: `cost = "$5 and $6"`.

<details><summary>Answer</summary>

It is $z$.

</details>

[words](words.md) ![a picture of one pixel](pixel.png)
"""
GOOD_CODE = """\
import os, sys
from tqdm.auto import tqdm
from IPython.display import display
env = os.environ
print(env["TEST_PYTHON"] == sys.executable, env["PYTHONHASHSEED"], env.get("MPLBACKEND") != "bad")
print(len(list(tqdm(range(3)))), os.path.join(os.getcwd(), "x.txt"))
about = {"image/png": {"alt": "a <small> ramp", "width": 60}}
display({"image/png": "PIXEL", "text/plain": "a <small> ramp"}, metadata=about, raw=True)
words = '<details class="alt-text"><summary>The picture in words</summary>a ramp</details>'
display({"text/html": words, "text/plain": "(a ramp)"}, raw=True)""".replace(
    "PIXEL", PIXEL.split(",")[1]
)
WIDGET_CODE = """\
import ipywidgets
with ipywidgets.Output():
    raise ValueError("the slider broke")"""


def make_course(root: Path) -> Path:
    """Writes three notebooks and a stand-in for the package; returns the notebooks' folder."""
    (root / "course_utils").mkdir(parents=True)
    (root / "course_utils" / "notebook.py").write_text("def setup():\n    print('ready')\n")
    folder = root / "notebooks"
    folder.mkdir()
    first = new_code_cell("old", metadata={"tags": ["bootstrap"]})
    cells = [new_markdown_cell(GOOD_TEXT), first, new_code_cell(GOOD_CODE), new_code_cell("x = 1")]
    nbformat.write(new_notebook(cells=cells), folder / "01_good.ipynb")
    cells = [
        new_markdown_cell("# Fails"),
        first,
        new_code_cell("1 / 0"),
        new_code_cell("print('never')"),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "02_fails.ipynb")
    nbformat.write(
        new_notebook(cells=[first, new_code_cell(WIDGET_CODE)]), folder / "03_widget.ipynb"
    )
    (folder / "words.md").write_text("# Words")
    (folder / "pixel.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The three notebooks, run once with refresh, where the kernel "python3" is somebody else's."""
    root = tmp_path_factory.mktemp("course")
    folder = make_course(root)
    before = {path.name: path.read_text() for path in folder.glob("*.ipynb")}
    kernel = root / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": ["false"], "display_name": "other", "language": "python"})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_PYTHON", sys.executable)
        patch.setenv("JUPYTER_PATH", str(root / "jupyter"))
        patch.setenv("COURSE_CACHE", str(root / "cache"))
        patch.setenv("COURSE_BUDGET", "smoke")
        patch.setenv("COURSE_DATASET", "strokes")
        patch.setenv("MPLBACKEND", "bad")
        results = run_notebooks.run_notebooks(
            run_notebooks.notebook_paths(folder), root / "site", refresh=True
        )
    return results, folder, root / "site", before


def texts(notebook) -> list[str]:
    return [
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream"
    ]


def test_results_name_the_cell_and_the_error(run):
    results, *_ = run
    assert [(result.path.name, result.error) for result in results] == [
        ("01_good.ipynb", None),
        ("02_fails.ipynb", "cell 3: ZeroDivisionError: division by zero"),
        ("03_widget.ipynb", "a widget's callback: ValueError: the slider broke"),
    ]
    assert [result.ok for result in results] == [True, False, False] and results[0].seconds > 0


def test_good_notebook_is_refreshed_and_fresh(run):
    _, folder, *_ = run
    notebook = nbformat.read(folder / "01_good.ipynb", as_version=4)
    assert notebook.cells[1].source == BOOTSTRAP_CELL
    assert texts(notebook) == ["ready\n", "True 0 True\n3 x.txt\n"]
    assert notebook_files.stale_cells(notebook) == []
    assert (
        notebook.metadata.course.budget == "smoke" and notebook.metadata.course.dataset == "strokes"
    )
    assert (
        set(notebook.metadata) == {"course", "kernelspec", "language_info"}
        and "version" not in notebook.metadata.language_info
    )
    assert not any("execution" in cell.metadata for cell in notebook.cells)
    assert str(folder) not in (folder / "01_good.ipynb").read_text()


@pytest.mark.parametrize("name", ["02_fails.ipynb", "03_widget.ipynb"])
def test_failing_notebook_is_left_as_it_was(run, name):
    _, folder, site, before = run
    assert (folder / name).read_text() == before[name]
    assert (site / name).is_file() and (site / name.replace(".ipynb", ".html")).is_file()


def test_failing_copy_keeps_its_error_and_stops_there(run):
    failed = nbformat.read(run[2] / "02_fails.ipynb", as_version=4)
    assert (
        failed.cells[2].outputs[-1].ename == "ZeroDivisionError"
        and failed.cells[3].execution_count is None
    )
    assert notebook_files.stale_cells(failed)[-1].endswith("it was never executed")


def test_page_reads_well_without_a_network(run):
    page = (run[2] / "01_good.html").read_text()
    loaded = r'<(?:script|link|iframe|img|source)[^>]+(?:src|href)="(?!data:)([^"]*)"'
    assert re.findall(loaded, page) == ["theme.js", "site.js", "search.js"]
    assert "@import" not in page and "url(" not in page
    text = page[page.index("<main") : page.index("</main>")]
    assert text.count("<math") == 4 and "$" not in re.sub(
        r"<code>.*?</code>|<pre>.*?</pre>", "", text, flags=re.S
    )
    assert '<code>cost = "$5 and $6"</code>' in text
    assert f'alt="a picture of one pixel" src="{PIXEL[:22]}' in text
    assert 'href="02_fails.html#end"' in text and 'href="words.md"' in text
    assert re.search(
        r"<details><summary>Answer</summary>\s*<p>It is <math.*?</math>.</p>\s*</details>", text
    )
    assert "<title>The mean μ of a digit</title>" in page and 'name="viewport"' in page


def test_pictures_of_a_page_carry_their_text_and_width_once(run):
    page = BeautifulSoup((run[2] / "01_good.html").read_text(), "html.parser")
    (picture,) = page.select(".output_area img")
    assert picture["src"] == PIXEL
    assert (picture["alt"], picture["width"]) == ("a <small> ramp", "60")
    assert page.select("details.alt-text") == []
    assert [len(area.select("img, pre")) for area in page.select(".output_area")] == [1, 1, 1]


def test_stored_pictures_keep_their_text_and_width(run):
    for notebook in (run[1] / "01_good.ipynb", run[2] / "01_good.ipynb"):
        _, picture, words = nbformat.read(notebook, as_version=4).cells[2].outputs
        assert picture.metadata == {"image/png": {"alt": "a <small> ramp", "width": 60}}
        assert (
            set(picture.data) == {"image/png", "text/plain"}
            and "details" in words.data["text/html"]
        )


def write_page(notebook, folder: Path) -> None:
    """Writes the page a.html of a notebook a.ipynb, both in `folder`."""
    Site([folder / "a.ipynb"], folder).write_notebook(notebook, folder / "a.ipynb")


@pytest.mark.parametrize("mime_type", ["image/png", "image/gif", "image/jpeg"])
@pytest.mark.parametrize("kind", ["display_data", "execute_result"])
def test_page_embeds_pictures_of_each_kind_with_their_text(mime_type, kind, tmp_path):
    about = {"alt": 'a "ramp" <in> grey', "width": 60}
    data = {mime_type: PIXEL.split(",")[1], "text/plain": "in words"}
    output = new_output(kind, data=data, metadata={mime_type: about})
    cell = new_code_cell("show()", outputs=[output])
    write_page(new_notebook(cells=[cell]), tmp_path)
    page = BeautifulSoup((tmp_path / "a.html").read_text(), "html.parser")
    (picture,) = page.select("main img")
    expected = {
        "src": f"data:{mime_type};base64,{data[mime_type]}",
        "alt": about["alt"],
        "width": "60",
    }
    assert picture.attrs == expected and "in words" not in page.get_text()


def test_index_lists_titles_summaries_and_outcomes(run):
    index = (run[2] / "index.html").read_text()
    assert '<a href="01_good.html">The mean μ of a digit</a>' in index
    assert "A first paragraph with <math" in index and "and the next one." in index
    assert "<strong>failed</strong>: cell 3: ZeroDivisionError: division by zero" in index
    listed = BeautifulSoup(index, "html.parser").select("ul.cards")[0].select("li")
    assert len(listed) == 3 and [len(one.select("img")) for one in listed] == [1, 0, 0]


def test_times_are_kept_for_the_next_run(run):
    kept = json.loads((run[1].parent / "cache" / "notebook_seconds.json").read_text())
    assert list(kept) == ["smoke/01_good"] and kept["smoke/01_good"] > 0


@pytest.fixture
def no_kernel(monkeypatch, tmp_path):
    """Lets notebooks "run" at once; `no_kernel.append(function)` adds what happens meanwhile."""
    actions = []

    def fake(notebook, folder, workers):
        for action in actions:
            action(notebook)

    monkeypatch.setattr(run_notebooks, "execute", fake)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_BUDGET", "smoke")
    monkeypatch.setenv("COURSE_DATASET", "strokes")
    return actions


def write_small(path: Path, *cells) -> Path:
    nbformat.write(
        new_notebook(cells=[new_code_cell("old", metadata={"tags": ["bootstrap"]}), *cells]), path
    )
    return path


def test_a_notebook_that_was_edited_meanwhile_is_not_overwritten(no_kernel, tmp_path):
    path = write_small(tmp_path / "a.ipynb")
    no_kernel.append(lambda notebook: write_small(path, new_code_cell("mine")))
    (result,) = run_notebooks.run_notebooks([path], refresh=True)
    assert "it was edited" in result.error and "mine" in path.read_text()


def test_an_output_with_a_private_folder_is_refused(no_kernel, tmp_path):
    path = write_small(tmp_path / "a.ipynb")
    text = f"saved to {Path.home() / 'secret' / 'x.txt'}"
    no_kernel.append(
        lambda notebook: notebook.cells[0].update(outputs=[new_output("stream", text=text)])
    )
    (result,) = run_notebooks.run_notebooks([path], refresh=True)
    assert (
        result.error.startswith("cell 1: expected an output without folders of this machine, got ")
        and "old" in path.read_text()
    )


@pytest.mark.parametrize("content", ["{half", "[]", "{}"])
def test_an_unreadable_notebook_is_one_failed_result(no_kernel, tmp_path, content):
    (tmp_path / "broken.ipynb").write_text(content)
    good = write_small(tmp_path / "good.ipynb")
    broken, fine = run_notebooks.run_notebooks([tmp_path / "broken.ipynb", good], tmp_path / "site")
    assert "Expected a Jupyter notebook" in broken.error and fine.ok


def test_a_formula_that_cannot_be_converted_fails_its_notebook(no_kernel, tmp_path):
    path = write_small(tmp_path / "a.ipynb", new_markdown_cell(r"$\nosuchcommand{x}$"))
    (result,) = run_notebooks.run_notebooks([path], tmp_path / "site")
    assert r"a: expected a formula that latex2mathml can convert, got $\nosuch" in result.error
    assert r"(it does not know \nosuchcommand)" in result.error


def test_progress_lines_tell_the_time_left(no_kernel, tmp_path, capsys):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "notebook_seconds.json").write_text(
        '{"smoke/b": 100.0, "smoke/c": 80.0, "laptop/b": 9999}'
    )
    paths = [write_small(tmp_path / f"{name}.ipynb") for name in "abc"]
    run_notebooks.run_notebooks(paths)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 notebooks, 1 at a time, about 4 min left"
    assert lines[1] == "[1/3] a: 0.0 s, ok, about 3 min left"
    assert lines[2] == "[2/3] b: 0.0 s, ok, about 80 s left"
    assert lines[3:] == ["[3/3] c: 0.0 s, ok", "3 notebooks: 3 ok, 0 failed, 0 s."]


def test_two_notebooks_run_at_a_time_and_share_the_cores(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    meeting, threads = threading.Barrier(2), []

    def fake(notebook, folder, workers):
        threads.append(kernel_env(workers)["OMP_NUM_THREADS"])
        meeting.wait(timeout=60)  # nobody goes on until two are here

    monkeypatch.setattr(run_notebooks, "execute", fake)
    results = run_notebooks.run_notebooks(
        [write_small(tmp_path / f"{name}.ipynb") for name in "ab"], workers=2
    )
    assert [result.path.stem for result in results] == ["a", "b"] and all(
        result.ok for result in results
    )
    assert threads == ["3", "3"] and "2 notebooks, 2 at a time" in capsys.readouterr().out
    assert "OMP_NUM_THREADS" not in kernel_env(1)
    with pytest.raises(CourseError, match="workers: expected at least 1, got 0"):
        run_notebooks.run_notebooks([], workers=0)


def test_broken_record_of_times_is_said(no_kernel, tmp_path, capsys):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "notebook_seconds.json").write_text("{")
    assert run_notebooks.run_notebooks([write_small(tmp_path / "a.ipynb")])[0].ok
    assert "The times of earlier runs cannot be used" in capsys.readouterr().out


def test_notebook_paths_are_ordered_and_required(tmp_path):
    for name in ("10_b", "02_a"):
        write_small(tmp_path / f"{name}.ipynb")
    assert [path.stem for path in run_notebooks.notebook_paths(tmp_path)] == ["02_a", "10_b"]
    with pytest.raises(CourseError, match="expected a folder with notebooks"):
        run_notebooks.notebook_paths(tmp_path / "nowhere")


def executed_cell(source="x", outputs=(), tags=(), count=1):
    return new_code_cell(
        source, outputs=list(outputs), metadata={"tags": list(tags)}, execution_count=count
    )


ERROR = new_output("error", ename="E", evalue="e", traceback=["t"])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (executed_cell(), None),
        (executed_cell(source="  "), None),
        (executed_cell(count=None), "never executed"),
        (executed_cell(count=None, tags=["no-output"]), None),
        (executed_cell(outputs=[ERROR]), "an error"),
        (executed_cell(outputs=[ERROR], tags=["no-output"]), "an error"),
        (executed_cell(outputs=[ERROR], tags=["raises-exception"]), None),
    ],
)
def test_stale_cells_after_a_run(cell, reason):
    notebook = new_notebook(cells=[new_markdown_cell("# T"), cell])
    notebook_files.record_run(notebook, "laptop", "strokes")
    found = notebook_files.stale_cells(notebook)
    assert found == [] if reason is None else reason in found[0] and found[0].startswith("cell 2 (")


def test_stale_cells_sees_an_edit_and_a_missing_record():
    notebook = new_notebook(cells=[executed_cell("a"), executed_cell("b")])
    assert len(notebook_files.stale_cells(notebook)) == 2
    notebook_files.record_run(notebook, "laptop", "strokes")
    notebook.cells[1].source = "c"
    assert notebook_files.stale_cells(notebook) == [
        f"cell 2 ({notebook.cells[1].id}): its output is older than its source"
    ]


def test_normalise_drops_what_differs_from_run_to_run():
    view = new_output(
        "display_data",
        data={notebook_files.WIDGET_VIEW: {"model_id": "1"}, "text/plain": "IntSlider()"},
    )
    bar = new_output("stream", name="stderr", text="\r 50%|#####     | 1/2")
    parts = [new_output("stream", name="stdout", text=text) for text in ("one\n", "two\n")]
    cell = new_code_cell(
        "x",
        outputs=[parts[0], parts[1], bar, view],
        metadata={"execution": {"shell.execute_reply": "2026-11-20"}},
    )
    notebook = new_notebook(
        cells=[cell],
        metadata={"widgets": {}, "kernelspec": {"name": "mine", "display_name": "My kernel"}},
    )
    notebook_files.normalise(notebook)
    assert [output.get("text") or dict(output.data) for output in notebook.cells[0].outputs] == [
        "one\ntwo\n",
        {"text/plain": "IntSlider()"},
    ]
    assert (
        "widgets" not in notebook.metadata
        and notebook.metadata.kernelspec.name == "python3"
        and notebook.cells[0].metadata == {}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{folder}/a/b.txt and {folder}", "a/b.txt and ."),
        ("in {runs}/vae-1, {runs}", "in runs/vae-1, runs"),
        ("{folder}s/x ./y", "{folder}s/x ./y"),
        ("nothing", "nothing"),
    ],
)
def test_relative_paths(text, expected, monkeypatch):
    folder, runs = "/course/notebooks", "/elsewhere/runs"
    monkeypatch.setenv("COURSE_RUNS", runs)
    result = notebook_files.relative_paths(
        text.format(folder=folder, runs=runs), Path(folder), "cell 1"
    )
    assert result == expected.format(folder=folder)


def noisy_picture(side: int, mode: str = "RGB", num_frames: int = 1) -> str:
    """Returns a PNG in base64: coloured noise around one red."""
    rng, file = np.random.default_rng(0), io.BytesIO()
    noise = rng.integers(-12, 13, (num_frames, side, side, 3))
    frames = [
        Image.fromarray(frame).convert(mode) for frame in (noise + (200, 40, 40)).astype(np.uint8)
    ]
    frames[0].save(file, "PNG", save_all=num_frames > 1, append_images=frames[1:])
    return base64.b64encode(file.getvalue()).decode()


def opened(encoded: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoded)))


def reduced(encoded: str) -> str:
    output = new_output("display_data", data={"image/png": encoded})
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[output])])
    notebook_files.reduce_pictures(notebook)
    return notebook.cells[0].outputs[0].data["image/png"]


def test_a_large_picture_gets_a_palette_and_looks_the_same():
    large = noisy_picture(150)
    small = reduced(large)
    assert len(small) < 0.6 * len(large)
    before, after = (np.asarray(opened(one).convert("RGB"), float) for one in (large, small))
    assert np.abs(before - after).mean() < 3  # of 255 levels


def test_an_animation_keeps_its_frames_their_times_and_its_still_picture():
    frames = [opened(noisy_picture(60 + step)).resize((150, 150)) for step in range(4)]
    file, durations = io.BytesIO(), [100.0, 250.0, 1500.0]
    still, *moving = frames
    still.save(
        file,
        "PNG",
        save_all=True,
        append_images=moving,
        default_image=True,
        duration=durations,
        loop=0,
    )
    before = base64.b64encode(file.getvalue()).decode()
    after = reduced(before)
    assert len(after) < 0.7 * len(before)
    old, new = opened(before), opened(after)
    assert new.n_frames == old.n_frames == 4
    assert new.info["default_image"] is True and new.info["loop"] == 0
    for index in range(4):
        old.seek(index)
        new.seek(index)
        assert index == 0 or new.info["duration"] == durations[index - 1]
        one, other = (np.asarray(each.convert("RGB"), float) for each in (old, new))
        assert np.abs(one - other).mean() < 3


@pytest.mark.parametrize("kept", [{"side": 30}, {"side": 150, "mode": "RGBA"}])
def test_small_and_transparent_pictures_stay(kept):
    picture = noisy_picture(**kept)
    assert reduced(picture) == picture


def test_base64_of_pictures_is_no_path():
    text = f'<img src="data:image/png;base64,{Path.home()}/AAAA">'
    assert notebook_files.relative_paths(text, Path("/course"), "cell 1") == text
    with pytest.raises(CourseError, match="cell 1: expected an output without folders"):
        notebook_files.relative_paths(f"{Path.home()}/x", Path("/course"), "cell 1")


@pytest.mark.parametrize(
    ("latex", "part"),
    [
        (r"\log p", '<mi>log</mi><mspace width="0.167em" /><mi>p</mi>'),
        (r"\log_2 p", '</msub><mspace width="0.167em" /><mi>p</mi>'),
        (r"\operatorname{KL}(q)", '<mi>KL</mi><mo stretchy="false">(</mo>'),
        (
            r"\lVert x \rVert^2",
            '<mo stretchy="false">‖</mo><mi>x</mi><msup><mo stretchy="false">‖</mo>',
        ),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", '<mtd columnalign="left">'),
        (r"a < b", "<mo>&lt;</mo>"),
    ],
)
def test_latex_to_mathml(latex, part):
    assert part in latex_to_mathml(latex, "01_x")


@pytest.mark.parametrize(
    "latex",
    [r"\nosuch{x}", r"\frac{1}{2", r"a & b", r"\left( x", "x_", " ", r"\DeclareMathOperator"],
)
def test_latex_that_cannot_be_converted_names_notebook_and_formula(latex):
    with pytest.raises(
        CourseError,
        match=r"^01_x: expected a formula that latex2mathml can convert, got "
        + re.escape(f"${latex.strip()}$"),
    ):
        latex_to_mathml(latex, "01_x")


@pytest.mark.parametrize(
    "markdown",
    [
        "![x](https://example.org/a.png)",
        "<script src='//a.org/a.js'></script>",
        "<iframe src='http://a.org'></iframe>",
        "![x](missing.png)",
    ],
)
def test_page_that_needs_a_network_or_a_missing_picture_is_refused(markdown, tmp_path):
    with pytest.raises(CourseError, match="^a: expected a p"):
        write_page(new_notebook(cells=[new_markdown_cell(markdown)]), tmp_path)
    assert not (tmp_path / "a.html").exists()


IN_REPOSITORY = "https://github.com/generative-images/course"


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("b.ipynb", "b.html"),
        ("./b.ipynb#part", "b.html#part"),
        ("c.ipynb", "c.ipynb"),
        ("#here", "#here"),
        ("https://arxiv.org/abs/1312.6114", "https://arxiv.org/abs/1312.6114"),
        ("mailto:a@example.org", "mailto:a@example.org"),
    ],
)
def test_links(href, expected, tmp_path):
    assert Site([tmp_path / "b.ipynb"], tmp_path).link(href, tmp_path) == expected


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("../homework/README.md#grading", "homework.html#grading"),
        ("../README.md", "about.html"),
        ("../homework/example_report.html", "example_report.html"),
        ("../LICENSE", f"{IN_REPOSITORY}/blob/main/LICENSE"),
        ("../atoms/", f"{IN_REPOSITORY}/tree/main/atoms"),
    ],
)
def test_links_to_other_files_of_the_course(href, expected, tmp_path):
    assert Site([], tmp_path).link(href, course_root() / "notebooks") == expected
