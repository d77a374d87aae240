"""A headless Chromium, where this machine has one: what a page does when it is opened, and what it
looks like.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tools.browser import BROWSER
from tools.browser import FLAGS as ANY_FLAGS

FLAGS = (*ANY_FLAGS, "--hide-scrollbars", "--virtual-time-budget=3000")

needs_browser = pytest.mark.skipif(
    BROWSER is None,
    reason="needs Chromium: apt-get install chromium-headless-shell, or name one in COURSE_BROWSER",
)


def _browse(folder: Path, page: Path, *flags: str) -> str:
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder}", *flags, page.resolve().as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def title_after_opening(page: Path, profile: Path) -> str:
    """Returns the page's title once the browser has run whatever it runs."""
    dom = _browse(profile, page, "--dump-dom")
    return re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]


def screenshot(page: Path, target: Path, profile: Path, width: int, height: int) -> Path:
    """Writes what a window of this size shows to `target`."""
    _browse(profile, page, f"--window-size={width},{height}", f"--screenshot={target}")
    return target
