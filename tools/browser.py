"""A headless Chromium, where this machine has one: it prints pages, and the tests open them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("COURSE_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
TIMEOUT_SECONDS = 300


def print_page(page: Path, target: Path) -> str | None:
    """Prints a page to the PDF file `target`; returns None, or why no file was written.

    An older file of that name is deleted first, so that what lies there belongs to the page.
    """
    target.unlink(missing_ok=True)
    if BROWSER is None:
        return "no Chromium was found; install one, or name it in COURSE_BROWSER"
    with tempfile.TemporaryDirectory() as profile:
        flags = [f"--user-data-dir={profile}", "--no-pdf-header-footer", f"--print-to-pdf={target}"]
        command = [BROWSER, *FLAGS, *flags, page.resolve().as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            return f"{BROWSER} could not print it ({type(error).__name__})"
    return None if target.is_file() else f"{BROWSER} wrote no file"


if __name__ == "__main__":  # the Makefile asks whether it has to install one
    raise SystemExit(BROWSER is None)
