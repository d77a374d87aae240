"""What a student wrote stays text: no element, attribute or address of a page depends on it, and a
browser runs none of it.
"""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import html
import io
import json
import math
import re
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from accessibility import violations_at_all_sizes
from browsers import needs_browser, screenshot, title_after_opening
from jinja2 import UndefinedError
from live_page import LivePage
from submissions import png, results_dict

from course_utils.base.errors import CourseError
from course_utils.homework.archive import Submission
from course_utils.homework.classroom import (
    Broken,
    Judged,
    SchoolClass,
    _mark_outliers,
    class_page,
    rubric,
    write_class_page,
)
from course_utils.homework.measure import effects, judgement
from course_utils.homework.report import SECURITY, TEMPLATES, render_page, report_page, show_moment
from course_utils.homework.rule import Pair
from course_utils.homework.schema import check_results

RUN = "document.title='RUN'"
ATTACKS = {
    "script": f"<script>{RUN}</script>",
    "handler": f"<img src=x onerror={RUN}>",
    "svg": f"<svg/onload={RUN}>",
    "out of a style": f"</style><script>{RUN}</script>",
    "out of a title": f"</title><script>{RUN}</script>",
    "out of a comment": f"--><script>{RUN}</script>",
    "out of an attribute": f'"><script>{RUN}</script><a title="',
    "handler in an attribute": f'" onmouseover="{RUN}" autofocus onfocus="{RUN}',
    "single quotes": f"' onclick='{RUN}",
    "link": f'<a href="javascript:{RUN}">x</a> javascript:{RUN}',
    "frame": f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    "refresh": '<meta http-equiv="refresh" content="0;url=https://example.org">',
    "base": '<base href="https://example.org/">',
    "style": "<style>body{display:none}</style><link rel=stylesheet href=//example.org/x.css>",
    "form": "<form action=//example.org><button autofocus>x</button></form>",
    "entities": "&lt;script&gt; &amp;lt; &#60;b&#62;",
    "broken": "<<b <!-- <![CDATA[ <?php ]]> ",
}


class Outline(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def verdict_of(text: str, met: bool = False):
    """Returns a verdict whose message repeats a student's text, as the rule's messages may."""
    return SimpleNamespace(
        met=met, points=(SimpleNamespace(name="three changes", ok=met, message=text),)
    )


def results_with(text: str):
    """Returns results in which every free text is this one, or its beginning where it has to be
    short.
    """
    line = text[:200]
    values = results_dict(
        ablate=True,
        student=line,
        course_version=text[:40],
        dataset={"name": line, "sha256": "5" * 64},
    )
    for study in values["experiments"]:
        study |= {
            "prediction": text,
            "observation": text,
            "explanation": text,
            "changes": {**study["changes"], "model.network": line},
        }
        for row in study["rows"]:
            row["machine"] = line
            row["experiment"]["model"]["network"] = line
            row["experiment"]["dataset"] = line
    return check_results(values)


@pytest.fixture(autouse=True)
def no_drawing(monkeypatch):
    """Figures hold text of students only as pixels, so one small picture stands for all of them."""
    monkeypatch.setattr("course_utils.homework.report.report_png", lambda _: png())


def report_with(text: str) -> str:
    return report_page(
        results_with(text), {"vae-changed.png": png()}, verdict_of(text), lambda *_: text
    )


def lengths_on(page: str) -> list[str]:
    """Returns what a report says about the length of the trainings."""
    return re.findall(r'<p class="note">([^<]* was trained for [^<]*)</p>', page)


def test_the_report_says_how_long_the_models_were_trained():
    values = results_dict()
    values["experiments"][0]["changes"]["train.num_epochs"] = 3
    for row in values["experiments"][1]["rows"]:
        row["experiment"]["train"]["min_epoch_steps"] = 50
    vae, dcgan = lengths_on(report_page(check_results(values), {}, verdict_of("")))
    assert vae.endswith("as in class. The changed model was trained for 3 epochs of all images.")
    assert "4 epochs of 15,000 images, in class for 2 epochs of all images" in dcgan
    assert dcgan.endswith("so each epoch repeats them for 50 steps.")
    values["experiments"][1]["rows"][0]["experiment"]["train"]["min_epoch_steps"] = [50]
    assert len(lengths_on(report_page(check_results(values), {}, verdict_of("")))) == 2


def class_with(text: str) -> str:
    results = results_with(text)
    found = {
        study.family: effects(study.of_kind("baseline"), study.of_kind("changed"))
        for study in results.experiments
    }
    judged = Judged(
        Submission(text, results, {"vae-changed.png": png()}), verdict_of(text), found, 1
    )
    pairs = (Pair((0, "vae", "prediction"), (1, "vae", "prediction"), 0.9),)
    return class_page(SchoolClass((judged, judged), (Broken(text, text),), pairs))


def test_the_page_of_a_class_is_never_in_memory_as_a_whole(tmp_path):
    """Eight students with pictures of a million bytes each."""
    results = check_results(results_dict())
    judged = [
        Judged(Submission("a", results, {"vae-a.png": bytes(1_000_000)}), verdict_of("✓"), {}, 1)
        for _ in range(8)
    ]
    judged = [replace(one, effects={"vae": (), "dcgan": ()}) for one in judged]
    school_class = SchoolClass(tuple(judged), (), ())
    write_class_page(tmp_path / "first.html", school_class)  # compiles the templates
    tracemalloc.start()
    write_class_page(tmp_path / "class.html", school_class)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (tmp_path / "class.html").stat().st_size
    assert size > 10_000_000 and peak < size
    assert (tmp_path / "class.html").read_text(encoding="utf-8") == class_page(school_class)


PAGES = {"report": report_with, "class": class_with}
OWN_SCRIPTS = {report_with: [], class_with: [(TEMPLATES / "class.js").read_text(encoding="utf-8")]}
HARMLESS = functools.cache(lambda make: Outline(make("plain")))
each_page = pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)


def test_each_free_text_is_one_that_the_pages_show():
    assert report_with("nowhere else").count("nowhere else") >= 15


@each_page
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_element_depends_on_what_a_student_wrote(make, attack):
    harmless, hostile = HARMLESS(make), Outline(make(ATTACKS[attack]))
    assert [name for name, _ in hostile.elements] == [name for name, _ in harmless.elements]
    assert [sorted(attributes) for _, attributes in hostile.elements] == [
        sorted(attributes) for _, attributes in harmless.elements
    ]
    assert ATTACKS[attack].split("<")[-1].strip() in "".join(hostile.text)  # it is there, as text


@each_page
def test_a_page_runs_nothing_and_loads_nothing(make):
    source = make("plain")
    outline = Outline(source)
    names = {name for name, _ in outline.elements}
    scripts = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    assert len([name for name, _ in outline.elements if name == "script"]) == len(scripts)
    assert scripts == OWN_SCRIPTS[make]  # the page's own one, which the policy names by its hash
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    policy = SECURITY + "".join(f"; script-src 'sha256-{digest}'" for digest in digests)
    assert not names & {
        "iframe",
        "frame",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "input",
        "svg",
        "video",
        "audio",
        "template",
    }
    for name, attributes in outline.elements:
        assert not [
            key
            for key in attributes
            if key.startswith("on") or key in ("style", "srcset", "srcdoc", "action")
        ]
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert attributes.get("href", "#").startswith("#")
        if name == "img":
            assert attributes["alt"].strip()
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in [
        attributes for name, attributes in outline.elements if name == "meta"
    ]
    style = re.search(r"<style>(.*?)</style>", source, re.DOTALL)[1]
    assert (
        "url(" not in style
        and "@import" not in style
        and "@media print" in style
        and "prefers-color-scheme: dark" in style
    )


@each_page
def test_a_page_says_that_its_numbers_are_self_reported(make):
    assert "self-reported" in "".join(Outline(make("plain")).text)


def test_report_tells_everything():
    results = check_results(results_dict(ablate=True))
    text = " ".join(
        "".join(
            Outline(
                report_page(
                    results, {}, verdict_of("two models", True), lambda _, name: f"means of {name}"
                )
            ).text
        ).split()
    )
    for study in results.experiments:
        for part in (
            study.prediction,
            study.observation,
            study.explanation,
            *study.changes,
            *(f"means of {name}" for name in study.changes),
        ):
            assert part in text
        for name in study.changes:
            assert f"all but {name}" in text
    assert (
        "The numbers in this report are self-reported" in text
        and results.student in text
        and results.dataset.sha256[:12] in text
    )
    assert "The rule is met." in text and "✓ met three changes: two models" in text


def test_report_of_a_folder_where_nothing_ran_yet():
    values = results_dict()
    for study in values["experiments"]:
        study |= {"rows": [], "observation": "", "explanation": " "}
    text = "".join(Outline(report_page(check_results(values), {}, verdict_of("nothing ran"))).text)
    assert (
        text.count("Nothing written yet.") == 4
        and "Not measured yet" in text
        and "The rule is not met yet." in text
    )
    text = "".join(
        Outline(
            report_page(check_results(results_dict(experiments=[])), {}, verdict_of("no plan"))
        ).text
    )
    assert "No model was planned yet." in text


def test_effects_of_whatever_was_handed_in():
    """A seed twice, a metric that only some runs have, and one measured on other numbers of
    images.
    """
    values = results_dict()
    rows = values["experiments"][0]["rows"]
    for row in rows[3:]:
        row["metrics"]["FID"]["num_images"] = 200
    again = {**rows[3]["metrics"], "KID": {"value": 1e6, "error": 1.0, "num_images": 2000}}
    rows.append({**rows[3], "metrics": again})  # seed 0 of the changed model
    del rows[1]["metrics"]["recall"]
    study = check_results(values).experiments[0]
    found = effects(study.of_kind("baseline"), study.of_kind("changed"))
    assert [one.name for one in found] == ["KID", "precision", "class KL"]
    mean = sum(row["metrics"]["KID"]["value"] for row in rows[3:6]) / 3
    assert found[0].changed.value == pytest.approx(mean)  # the first run of a seed counts
    assert judgement(found[0], {"model.likelihood"}) == found[0].judgement
    bound = replace(found[0], name="negative ELBO")
    assert (
        judgement(bound, {"model.likelihood", "model.beta"})
        == "not comparable: model.likelihood changed"
    )
    assert judgement(bound, {"model.beta"}) == found[0].judgement
    assert effects((), study.of_kind("changed")) == effects(study.of_kind("baseline"), ()) == ()


def test_paragraphs_and_line_breaks():
    values = results_dict(families=("vae",))
    values["experiments"][0]["prediction"] = "one\ntwo\r\n\n \n<three>"
    page = report_page(check_results(values), {}, verdict_of(""))
    assert '<p dir="auto">one<br>two</p><p dir="auto">&lt;three&gt;</p></blockquote>' in page


def test_dates_are_written_for_people():
    assert (
        show_moment("2025-03-01T12:30:59.123+00:00")
        == show_moment("2025-03-01T12:30Z")
        == "2025-03-01 12:30 UTC"
    )
    assert (
        show_moment("2025-03-01T12:30:00+05:30"),
        show_moment("2025-03-01T12:30"),
        show_moment("2025-03-01"),
    ) == ("2025-03-01 12:30 +05:30", "2025-03-01 12:30", "2025-03-01")


def test_the_templates_escape_everything_and_name_no_address():
    """No template marks a value as safe, writes one into a style, a script or a link, or loads
    anything; the one script of the class page is a file of the course.
    """
    own_script = "<script>{{ script }}</script>"
    for path in TEMPLATES.iterdir():
        source = path.read_text(encoding="utf-8")
        if path.name == "class.html":
            assert source.count(own_script) == 1
            source = source.replace(own_script, "")
        assert not re.search(
            r"\|\s*safe\b|Markup|autoescape|<script|javascript:|https?:|url\(|@import|\son\w+\s*=",
            source,
        ), path.name
        assert not re.search(r"=\s*{[{%]|=[^\s\"'>{]+{{", source), (
            f"{path.name}: an attribute without quotes"
        )
        assert set(re.findall(r'(?:href|src)="([^"]*)', source)) <= {
            "#student-{{ index }}",
            "data:image/png;base64,{{ picture.png | base64 }}",
        }


def test_a_name_that_the_template_does_not_know_is_an_error():
    with pytest.raises(UndefinedError):
        render_page("report.html", title="x")


def test_a_broken_picture_is_named():
    with pytest.raises(CourseError, match="samples/vae-x.png: expected a PNG picture"):
        report_page(
            check_results(results_dict()),
            {"vae-x.png": b"<svg onload=alert(1)>" + bytes(100)},
            verdict_of(""),
        )


def titled(page: str) -> str:
    return re.sub(r"<title>.*?</title>", "<title>safe</title>", page, flags=re.DOTALL)


def without_policy(page: str) -> str:
    page, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert count == 1
    return page


@needs_browser
@pytest.mark.parametrize("name", PAGES)
def test_no_script_of_a_student_runs_in_chromium(name, tmp_path):
    """First the proof that the same browser runs them where nothing stops it, then that each of two
    walls holds alone.
    """
    everything = " ".join(
        ATTACKS[name]
        for name in ("script", "handler", "svg", "out of a style", "out of an attribute")
    )
    pages = {
        "bare": f"<title>safe</title><p>{everything}",
        "escaped": without_policy(titled(PAGES[name](everything))),
        "policy": titled(PAGES[name]("plain")).replace("</main>", f"<p>{everything}</main>"),
    }
    titles = {}
    for kind, source in pages.items():
        path = tmp_path / f"{kind}.html"
        path.write_text(source, encoding="utf-8")
        titles[kind] = title_after_opening(path, tmp_path / "profile")
    assert titles == {"bare": "RUN", "escaped": "safe", "policy": "safe"}


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_phone_and_desk(width, tmp_path):
    """A page that is too wide for a phone is scaled down or cut: nothing dark may stand at the
    right edge.
    """
    import numpy as np
    from PIL import Image

    path = tmp_path / "report.html"
    path.write_text(report_with("a text of some length that wraps " * 20), encoding="utf-8")
    shot = screenshot(path, tmp_path / "shot.png", tmp_path / "profile", width, 1500)
    pixels = np.asarray(Image.open(shot).convert("L"))
    assert pixels.shape[1] == width and pixels.min() < 100 < 250 < pixels[:, -6:].min()


@needs_browser
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_violation(name, tmp_path):
    path = tmp_path / f"{name}.html"
    path.write_text(PAGES[name]("a text of some length " * 20), encoding="utf-8")
    with LivePage(path, tmp_path / "profile") as page:
        page.wait_for("document.readyState === 'complete' && document.querySelector('main')")
        assert violations_at_all_sizes(page) == []


DRIVE = """<script>addEventListener("load", () => {
  const form = document.querySelector("table.grading"), saved = [];
  const keep = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    blob.text().then((text) => { saved.push(text); document.title = JSON.stringify(saved); });
    return keep.call(URL, blob);
  };
  form.querySelector("input").value = "7.5";
  form.querySelector("textarea").value = "=1;\\n=2";
  form.querySelector("input").dispatchEvent(new Event("input", { bubbles: true }));
  document.querySelectorAll("#grades button").forEach((button) => button.click());
  document.querySelectorAll("table.sortable th button")[0].click();
  document.querySelectorAll("table.sortable th button")[0].click();
});</script>"""


@needs_browser
def test_the_rubric_is_a_form_and_tables_sort(tmp_path):
    """What a person enters is in the files that the page hands to the browser's downloads."""
    page = class_with("Ada & Co").replace("</body>", f"{DRIVE}</body>")
    path = tmp_path / "class.html"
    path.write_text(without_policy(page), encoding="utf-8")
    title = html.unescape(title_after_opening(path, tmp_path / "profile"))
    saved, table = json.loads(title)
    first = json.loads(saved)["students"][0]
    assert (first["student"], first["total"]) == ("Ada & Co", 7.5)
    assert [(one["criterion"], one["most"]) for one in first["criteria"]] == rubric()
    assert first["criteria"][0]["points"] == 7.5 and first["criteria"][1]["points"] is None
    assert first["criteria"][0]["remark"] == "=1;\n=2"
    (row, _) = csv.DictReader(io.StringIO(table.removeprefix("\ufeff")))
    assert row["total"] == "7.5" and row[f"remark: {rubric()[0][0]}"] == "'=1, '=2"


def test_the_rubric_is_that_of_the_homework():
    names = [name for name, _ in rubric()]
    assert {"Prediction", "Observation", "Explanation"} <= set(names)
    assert all(points > 0 for _, points in rubric())


def test_differences_far_from_the_class_are_marked():
    values = [1.0, 1.1, 0.9, 1.2, 0.8, 9.0, math.nan]
    cells = [{"value": value, "is_outlier": False} for value in values]
    _mark_outliers(cells)
    assert [cell["is_outlier"] for cell in cells] == [value == 9.0 for value in values]
    few = [{"value": value, "is_outlier": False} for value in (1.0, 1.1, 0.9, 99.0)]
    _mark_outliers(few)
    assert not any(cell["is_outlier"] for cell in few)


def test_the_report_begins_with_samples_and_shows_them_once():
    results = check_results(results_dict())
    family = results.experiments[0].family
    samples = {f"{family}-samples.png": png(), f"{family}-reconstructions.png": png()}
    html = report_page(results, samples, verdict_of("x"))
    front, _, rest = html.partition('<dl class="facts">')
    assert front.count("<figure") == 1 and "samples of the class model above" in front
    assert "samples of the class model above" not in rest and "Test images, and what" in rest
