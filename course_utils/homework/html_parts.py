"""HTML from data of strangers. Whatever is not `Html` is escaped, so that a page cannot forget it; a page runs no script and loads nothing."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence

from course_utils.errors import CourseError
from course_utils.homework.page_style import HOMEWORK_CSS
from course_utils.html_style import PAGE_CSS

# The second line of defence: where a browser reads this, nothing but pictures and styles in the page itself is ever loaded or run.
SECURITY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
VOID = {"br", "img", "meta"}
NAME = re.compile(r"[a-z][a-z0-9-]*")


class Html(str):
    """Text that is HTML already. Only the functions of this file make it."""


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Returns an element; text among its children and in its attributes is escaped.

    Args:
        children: Html as it is, anything else as text; None is left out.
        attributes: a trailing underscore keeps clear of Python's words (`class_`), other underscores become hyphens; None is left out.

    Raises:
        CourseError: names of elements or attributes that are none.
    """
    written = ""
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if not NAME.fullmatch(key) or key.startswith("on"):
            raise CourseError(f"expected the name of an attribute that runs nothing, got {key!r}.")
        written += "" if value is None else f' {key}="{html.escape(str(value))}"'
    if not NAME.fullmatch(name) or name in ("script", "iframe", "object", "embed"):
        raise CourseError(f"expected the name of an element that runs nothing, got {name!r}.")
    return Html(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Returns children one after the other, text escaped."""
    return Html("".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children if child is not None))


def paragraphs(text: str) -> Html:
    """Returns plain text as paragraphs: an empty line begins a new one, a line break stays. Each finds its own direction of writing."""
    blocks = [block for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()) if block]
    return join(tag("p", join(_broken(block)), dir="auto") for block in blocks)


def _broken(block: str) -> list[object]:
    parts: list[object] = []
    for line in block.split("\n"):
        parts += [tag("br"), line] if parts else [line]
    return parts


def table(head: Sequence[object], rows: Iterable[Sequence[object]], caption: str | None = None, numbers_from: int = 1) -> Html:
    """Returns a table in a box that scrolls on narrow screens.

    Args:
        numbers_from: columns from this one on are aligned to the right.
    """

    def cell(name: str, column: int, content: object, /, **attributes: object) -> Html:
        return tag(name, content, class_="number" if column >= numbers_from else None, **attributes)

    top = tag("tr", *(cell("th", column, content, scope="col") for column, content in enumerate(head)))
    body = [tag("tr", *(cell("th" if column == 0 else "td", column, content) for column, content in enumerate(row))) for row in rows]
    whole = tag("table", tag("thead", top), tag("tbody", *body))
    box = tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption or "table")
    return box if caption is None else join([tag("p", caption, class_="quiet"), box])


def picture(png: bytes, alt: str, caption: object = None, *, chart: bool = False) -> Html:
    """Returns a PNG that stands in the page itself, with a text for those who do not see it; a chart scrolls on a phone rather than shrinking."""
    address = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    image = tag("img", src=address, alt=alt)
    box = tag("div", image, class_="scroll chart", tabindex="0", role="region", aria_label="chart") if chart else image
    return tag("figure", box, None if caption is None else tag("figcaption", caption))


def moment(date: str) -> str:
    """Returns an ISO date as people write it, such as "2025-03-01 12:30 UTC"."""
    day, _, time = date.partition("T")
    zone = "UTC" if date.endswith(("Z", "+00:00")) else re.sub(r".*?([+-]\d\d:\d\d)?$", r"\1", time)
    return f"{day} {time[:5]} {zone}".strip()


def page(title: str, *body: object) -> str:
    """Returns a whole page that opens offline, prints well, and reads on a phone and in the dark."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=SECURITY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(PAGE_CSS + HOMEWORK_CSS)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"
