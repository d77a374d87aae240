"""Patterns that made the prose of the course hard to read, so that they do not come back.

The list is short on purpose: each entry has to find real faults and hardly ever a good sentence.
Everything else is for a reader's eye.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parent.parent.parent / "notebooks"
PAGES = [*sorted(FOLDER.glob("0[0-5]_*.ipynb")), FOLDER / "glossary.md"]

# What to avoid -> what finds it. Words are matched in any case, but not inside others.
PATTERNS = {
    # "Who can draw it again can show that..." is German syntax; a question may begin with "Who"
    "a sentence that begins with a relative 'Who'": r"(?-i:(?:^|(?<=[.!:] ))Who)\b[^.?!]*[.!]",
    "'who must' in place of 'if you have to'": r"\bwho must\b",
    # a loss is not a bill: say which term rises, which falls, and by how much; "costs" may stay,
    # because computing does cost time
    "a money word for a loss": (
        r"\b(?:buys?|bought|pays?|paid|bills?|cheap(?:er|est|ly)?|expensive|dear(?:er)?"
        r"|prices? of|bargains?)\b"
    ),
    # the field has a word for each: Gaussian, reference value, neighbour, classifier or extractor;
    # "bell-shaped" describes a curve
    "a private word": (
        r"\b(?:bells?(?!-shaped)|yardsticks?|fellows?|(?:a|an|the|this|that|each|which|its|our|her)"
        r" judge)\b"
    ),
}
# A short sentence may stand for emphasis, but a page of them has no connectives. Questions are left
# out, and so are the answers of the quiz.
FEW_WORDS, MAX_SHARE = 4, 0.05


def markdown(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def prose(text: str) -> list[str]:
    """Returns the paragraphs of a page without tables, headings, code, quiz and references.

    Formulas and inline code become one word each; labels such as "**Exercise 02.psnr.**" are left
    out.
    """
    text = re.sub(r"^##[^\n]*(?:quiz|References).*?(?=^## |\Z)", "", text, flags=re.M | re.S | re.I)
    text = re.sub(r"^\*\*[^*\n]*\.\*\*", "", text, flags=re.M)
    text = re.sub(r"```.*?```", " ", text, flags=re.S)
    text = re.sub(r"\$\$.*?\$\$", "\n\n", text, flags=re.S)
    text = re.sub(r"`[^`\n]+`|\$[^$\n]+\$", "X", text)
    text = re.sub(r"<[^>]+>", "\n\n", text)
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    lines = ["" if re.match(r"\s*(?:\||#)", line) else line for line in text.splitlines()]
    lines = [re.sub(r"^\s*(?:[-*]|\d+\.)\s+", "\n", line) for line in lines]
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).replace("*", ""))
    return [" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()]


def sentences(text: str) -> list[str]:
    found = []
    for paragraph in prose(text):
        found += re.split(r"(?<=[.!?])(?<!\bal\.) +(?=[A-Z(\"'0-9])", paragraph)
    return found


def offences(text: str) -> list[str]:
    return [
        f"{what}: {sentence}"
        for sentence in sentences(text)
        for what, pattern in PATTERNS.items()
        if re.search(pattern, sentence, flags=re.I)
    ]


def short_sentences(text: str) -> list[str]:
    said = [sentence for sentence in sentences(text) if sentence.endswith((".", "!"))]
    return [sentence for sentence in said if len(sentence.split()) <= FEW_WORDS]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_sentence_follows_a_bad_pattern(path):
    found = offences(markdown(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_few_sentences_are_only_a_few_words_long(path):
    text = markdown(path)
    short, every = short_sentences(text), sentences(text)
    assert len(short) <= MAX_SHARE * len(every), f"{len(short)} of {len(every)}: {short}"


@pytest.mark.parametrize(
    ("sentence", "what"),
    [
        ("Who can draw them again can show it.", "relative 'Who'"),
        ("It holds. Who gives one image should name the mean.", "relative 'Who'"),
        ("Readers who must choose take the mean.", "'who must'"),
        ("The model buys a more precise code.", "money word"),
        ("Little ink is cheap.", "money word"),
        ("That is the price of a small latent.", "money word"),
        ("| a | table |\n\nThe bell is too wide.", "private word"),
        ("- An item: ask the judge.", "private word"),
    ],
)
def test_the_patterns_find_what_they_are_for(sentence, what):
    assert [what in found for found in offences(sentence)] == [True]


@pytest.mark.parametrize(
    "sentence",
    [
        "Who drew these images?",
        "Those who solve it go on.",
        "Judge 100 images, and the bell-shaped curve appears.",
        "| price of | bills |",
        "`bill` and $pay$ are names.",
        "It costs 20 ms an image.",
        "## References\n\nFellow 2020, *Cheap images*.",
    ],
)
def test_good_sentences_are_left_alone(sentence):
    assert offences(sentence) == []


def test_short_sentences_are_counted():
    text = "Look. **Really?** This has four words. `draw(model)` is code, and $x + y$ is not. Why?"
    page = f"**Exercise 02.psnr.** {text}\n\n## 9 Self-quiz\n\n(b). No.\n\n## Summary\n\nIt is so."
    assert short_sentences(page) == ["Look.", "This has four words.", "It is so."]
    assert len(sentences(page)) == 6
