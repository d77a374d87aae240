"""LaTeX formulas as MathML, which browsers lay out without a script."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert

from course_utils.base.errors import CourseError

MATHML = "http://www.w3.org/1998/Math/MathML"
ElementTree.register_namespace("", MATHML)

# The converter does not know aligned, and numbers align, which Jupyter does not do; split is laid
# out in the same way.
ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|align\*?)\}")
ROWS = {"math", "mrow", "mtd", "mstyle"}  # elements whose children stand side by side
SCRIPTED = {"msub", "msup", "msubsup", "munder", "mover", "munderover"}
WORD = re.compile(r"[A-Za-z]{2,}")


def latex_to_mathml(latex: str, name: str, display: str = "inline") -> str:
    """Returns a LaTeX formula as MathML.

    Args:
        latex: the formula without its dollar signs.
        name: the notebook that an error speaks of.
        display: "inline" or "block".

    Raises:
        CourseError: the converter does not know a command, or the formula is malformed.
    """
    try:
        converted = convert(ALIGNED.sub(r"\\\1{split}", latex.strip()), display=display)
        root = ElementTree.fromstring(converted)
    except Exception as error:  # whatever its parser stumbled over, StopIteration included
        reason = f"{type(error).__name__} {error}".strip()
    else:
        reason = _not_understood(latex, " ".join(root.itertext()))
    if reason:
        raise CourseError(
            f"{name}: expected a formula that latex2mathml can convert, "
            f"got ${latex.strip()}$ ({reason}); write it with other commands."
        )
    _keep_bars_at_one_height(root)
    _space_function_names(root)
    return ElementTree.tostring(root, encoding="unicode")


def _not_understood(latex: str, text: str) -> str:
    """Returns what the converter let pass: unknown commands as text, and stray braces."""
    if command := re.search(r"\\[A-Za-z]+", text):
        return f"it does not know {command[0]}"
    opened, closed = (len(re.findall(rf"(?<!\\){brace}", latex)) for brace in (r"\{", r"\}"))
    return "" if opened == closed else "its braces do not match"


def _keep_bars_at_one_height(root: Element) -> None:
    for element in root.iter(f"{{{MATHML}}}mo"):
        if element.text in ("|", "\u2016") and not element.attrib:
            element.set("stretchy", "false")


def _space_function_names(root: Element) -> None:
    """Spaces function names as TeX does: a thin space before what follows, unless an operator."""
    for element in list(root.iter(f"{{{MATHML}}}mo")):
        if WORD.fullmatch(element.text or "") and not element.attrib:
            element.tag = f"{{{MATHML}}}mi"  # \operatorname: an operator would stand off from "("
    for row in [element for element in root.iter() if _tag(element) in ROWS]:
        children = list(row)
        for index in range(len(children) - 1, 0, -1):
            if _is_function_name(children[index - 1]) and _tag(children[index]) not in (
                "mo",
                "mspace",
            ):
                row.insert(index, Element(f"{{{MATHML}}}mspace", width="0.167em"))


def _is_function_name(element: Element) -> bool:
    base = element[0] if _tag(element) in SCRIPTED and len(element) else element
    return _tag(base) == "mi" and bool(WORD.fullmatch(base.text or ""))


def _tag(element: Element) -> str:
    return element.tag.removeprefix(f"{{{MATHML}}}")
