"""The example report obeys its own rubric, and its texts are those of the script that made it."""

from __future__ import annotations

import importlib

import pytest
from bs4 import BeautifulSoup
from materials import PROJECT

from course_utils.homework.rule import words_of


@pytest.fixture(scope="module")
def page():
    html = (PROJECT / "homework" / "example_report.html").read_text(encoding="utf-8")
    return BeautifulSoup(html, "html.parser")


def test_the_rule_is_met_and_one_model_is_ablated(page):
    text = page.get_text(" ", strip=True)
    assert "The rule is met." in text and "✗" not in text
    headings = [heading.get_text(strip=True) for heading in page.select("h2, h3")]
    assert headings.count("Which change did it") == 1
    assert {"DCGAN", "VAE"} <= set(headings)
    assert page.select_one("h1").find_next("figure").find_next("h2")  # a picture comes first


def test_texts_are_those_of_the_script_and_name_noise_and_verdicts(page, monkeypatch):
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    script = importlib.import_module("example_report")
    shown = words_of(page.get_text(" "))
    joined = " ".join(shown)
    for family, (observation, explanation) in script.TEXTS.items():
        for text in (script.PREDICTIONS[family], observation, explanation):
            assert " ".join(words_of(text)) in joined
        assert "real" in observation or "chance" in observation
        assert "noise" in observation and "±" in observation and "limit" in observation
        assert "predict" in explanation and "test" in explanation
