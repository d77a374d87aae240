"""What axe-core finds in an open page: the violations that keep a reader from using it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_page import LivePage

HEIGHT = 800


def serious_violations(evaluate: Callable[[str], Any], scheme: str = "light") -> list[str]:
    """Returns axe's serious and critical violations, up to three elements of each rule.

    Args:
        evaluate: gives the value of a JavaScript expression in the page; it waits for promises.
        scheme: in "dark" only the contrast is looked at, as nothing else depends on colours.
    """
    axe = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    if not evaluate("'axe' in globalThis"):
        source = Path(axe.__file__).parent / "axe.min.js"
        evaluate(f"{source.read_text(encoding='utf-8')}\n;0")
    rules = "['color-contrast']" if scheme == "dark" else "undefined"
    result = evaluate(
        f"axe.run({{resultTypes: ['violations'], runOnly: {rules}}}).then((all) => ({{"
        "violations: all.violations, passes: all.passes.map((rule) => rule.id)}))"
    )
    assert "color-contrast" in result["passes"], "axe has looked at no text"
    return [
        f"{rule['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"][:3]
    ]


def violations_at_all_sizes(page: LivePage) -> list[str]:
    """Returns the serious violations on a desk and on a phone, in light and in dark colours.

    All that the page folds away is opened first, since axe does not look at what is hidden.
    """
    page.value("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = []
    for width in (1280, 390):
        page.resize(width, HEIGHT)
        for scheme in ("light", "dark"):
            page.prefer(prefers_color_scheme=scheme)
            found += [f"{width} {scheme}: {one}" for one in serious_violations(page.value, scheme)]
    page.prefer()
    return found
