"""One point of the assignment's rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One thing that the rule asks for: its name, whether it is there, and what was found or is missing."""

    name: str
    ok: bool
    message: str
