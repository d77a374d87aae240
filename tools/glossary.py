"""The terms of notebooks/glossary.md, and their first use in each section of a page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag

# Words that the text mostly uses in their everyday sense, so that a mark would mislead.
EVERYDAY = {
    *("Baseline", "Budget", "Code", "Diversity", "Evidence", "Feature", "Floor", "Gain"),
    *("Generator", "Hole", "Metric", "Mode", "Moments", "Power", "Protocol", "Replacement"),
    *("Ridge", "Run", "Score", "Separation", "Strokes", "Target"),
}
NOT_MARKED = {"a", "code", "h1", "h2", "h3", "h4", "math", "pre", "summary"}


@dataclass(frozen=True)
class Term:
    """An entry of the glossary: its name, its explanation as plain text, and its anchor."""

    name: str
    meaning: str

    @property
    def anchor(self) -> str:
        return "term-" + re.sub(r"\W+", "-", self.name.lower()).strip("-")

    @property
    def spellings(self) -> list[str]:
        """Returns the name, and for "Decibel (dB)" both parts of it."""
        return [part.strip() for part in re.split(r"[()]", self.name) if part.strip()]


def anchor_terms(soup: Any) -> list[Term]:
    """Returns the terms of the glossary's page, and gives each entry its anchor, in place."""
    terms = []
    for entry in soup.select("li:has(> strong:first-child)"):
        name = entry.strong.get_text()
        term = Term(name, entry.get_text().removeprefix(name).lstrip(": ").strip())
        entry["id"] = term.anchor
        terms.append(term)
    return terms


def mark_terms(soup: Any, terms: list[Term], page: str) -> None:
    """Links the first use of each term in a section to the glossary, in place.

    Args:
        soup: a page; a section begins at each h2.
        terms: what is looked for, in the text of paragraphs and lists.
        page: the address of the glossary's page.
    """
    known = {
        spelling: term for term in terms if term.name not in EVERYDAY for spelling in term.spellings
    }
    if not known:
        return
    pattern = re.compile(
        r"(?<![\w-])(" + "|".join(map(_pattern, sorted(known, key=len, reverse=True))) + r")"
        r"s?(?![\w-])"
    )
    by_lower_case = {spelling.lower(): term for spelling, term in known.items()}
    used: set[str] = set()

    def walk(element: Any) -> None:
        for child in list(element.children):
            if isinstance(child, Tag):
                if child.name == "h2":
                    used.clear()
                if child.name not in NOT_MARKED:
                    walk(child)
            elif type(child) is NavigableString:  # a comment is a subclass
                _mark(child, pattern, by_lower_case, used, page)

    for cell in soup.select(".text_cell_render"):
        walk(cell)


def _pattern(spelling: str) -> str:
    """Returns a pattern: abbreviations as they are, other words also with a small first letter."""
    first, rest = spelling[0], re.escape(spelling[1:])
    if any(letter.isupper() for letter in spelling[1:]):
        return re.escape(first) + rest
    return f"[{first.upper()}{first.lower()}]{rest}"


def _mark(
    text: NavigableString, pattern: re.Pattern, terms: dict[str, Term], used: set[str], page: str
) -> None:
    pieces: list[Any] = []
    end = 0
    for match in pattern.finditer(text):
        term = terms[match[1].lower()]
        if term.name in used:
            continue
        used.add(term.name)
        link = BeautifulSoup("", "html.parser").new_tag("a", href=f"{page}#{term.anchor}")
        link.string = match[0]
        link["class"], link["data-meaning"] = "term", term.meaning
        pieces += [NavigableString(text[end : match.start()]), link]
        end = match.end()
    if pieces:
        text.replace_with(*pieces, NavigableString(text[end:]))
