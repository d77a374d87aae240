"""The homework: change three settings, predict, measure, report; and a class of forty that an instructor can read in an hour.

What students hand in is data: it is checked against `schema`, escaped wherever it is shown, and never executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line must not wait for torch
    from course_utils.homework.student import Homework


def open_homework(family: str, folder: Path | str | None = None) -> Homework:
    """Returns the homework of one model, "vae", "dcgan" or "diffusion"; see `student.open_homework`."""
    from course_utils.homework import student

    return student.open_homework(family, folder)
