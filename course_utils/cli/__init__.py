"""The `course` command: `main` reads the arguments, the other files hold the commands."""

from __future__ import annotations

import argparse
from pathlib import Path


def path_argument(text: str) -> Path:
    """Returns the path that an argument gives; an empty one, as of a shell variable that is not
    set, is refused, since it would mean the working directory.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty one")
    return Path(text)
