"""LaTeX formulas as MathML, which browsers lay out without any script; a formula that cannot be converted is an error, never a guess."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from course_utils.errors import CourseError

MATHML = "http://www.w3.org/1998/Math/MathML"
# The converter does not know aligned and numbers align, which Jupyter does not; split is laid out in the same way.
ALIGNED = re.compile(r"\\(begin|end)\{(?:aligned|align\*?)\}")
ROWS = {"math", "mrow", "mtd", "mstyle"}  # elements whose children stand side by side
SCRIPTED = {"msub", "msup", "msubsup", "munder", "mover", "munderover"}


def latex_to_mathml(latex: str, name: str, display: str = "inline") -> str:
    """Returns a LaTeX formula as MathML.

    Args:
        latex: the formula without its dollar signs.
        name: the notebook that an error speaks of.
        display: "inline" or "block".

    Raises:
        CourseError: the converter does not know a command, or the formula is malformed.
    """
    from latex2mathml.converter import convert

    try:
        root = ElementTree.fromstring(convert(ALIGNED.sub(r"\\\1{split}", latex.strip()), display=display))
    except Exception as error:  # the converter raises whatever its parser stumbled over, StopIteration included
        reason = f"{type(error).__name__} {error}".strip()
    else:
        reason = _left_over(latex, " ".join(root.itertext()))
    if reason:
        formula = f"${latex.strip()}$ ({reason})"
        raise CourseError(f"{name}: expected a formula that latex2mathml can convert, got {formula}; write it with other commands.")
    _polish(root)
    ElementTree.register_namespace("", MATHML)
    return ElementTree.tostring(root, encoding="unicode")


def _left_over(latex: str, text: str) -> str:
    """Returns what the converter let pass without understanding it: it copies unknown commands as text and ignores stray braces."""
    if unknown_command := re.search(r"\\[A-Za-z]+", text):
        return f"it does not know {unknown_command[0]}"
    depth = len(re.findall(r"(?<!\\)\{", latex)) - len(re.findall(r"(?<!\\)\}", latex))
    return "its braces do not match" if depth else ""


def _polish(root: ElementTree.Element) -> None:
    """Spaces function names as TeX does, and keeps a pair of norm bars at one height."""
    for element in root.iter():
        tag = _tag(element)
        if tag == "mo" and not element.attrib and re.fullmatch(r"[A-Za-z]{2,}", element.text or ""):
            element.tag = f"{{{MATHML}}}mi"  # \operatorname: as an operator it would stand off from its parenthesis
        elif tag == "mo" and not element.attrib and element.text in ("|", "\u2016"):
            element.set("stretchy", "false")
    for element in root.iter():
        if _tag(element) not in ROWS:
            continue
        children = list(element)
        for index in range(len(children) - 1, 0, -1):
            if _is_function_name(children[index - 1]) and _tag(children[index]) not in ("mo", "mspace"):
                element.insert(index, ElementTree.Element(f"{{{MATHML}}}mspace", width="0.167em"))


def _is_function_name(element: ElementTree.Element) -> bool:
    base = element[0] if _tag(element) in SCRIPTED and len(element) else element
    return _tag(base) == "mi" and bool(re.fullmatch(r"[A-Za-z]{2,}", base.text or ""))


def _tag(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(f"{{{MATHML}}}")
