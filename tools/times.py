"""How long notebooks take on this machine: measured, kept for the next run, and added up."""

from __future__ import annotations

import os

from course_utils.base.errors import CourseError
from course_utils.base.files import cache_root, read_json, write_json


class NotebookTimes:
    """Seconds that notebooks took, this time and in earlier runs with the same budget."""

    def __init__(self, workers: int) -> None:
        self.workers = workers  # notebooks at a time
        self.path = cache_root() / "notebook_seconds.json"
        self.prefix = f"{os.environ.get('COURSE_BUDGET') or 'default'}/"
        self.seconds: dict[str, float] = {}
        try:
            if self.path.exists():
                kept = read_json(self.path)
                self.seconds = {name: float(value) for name, value in kept.items()}
        except (CourseError, TypeError, ValueError) as error:
            print(f"The times of earlier runs cannot be used; they are measured anew. ({error})")

    def record(self, name: str, seconds: float) -> None:
        """Keeps how long a notebook took; where that cannot be written, it says so and goes on."""
        self.seconds[self.prefix + name] = round(seconds, 1)
        try:
            write_json(self.path, self.seconds)
        except CourseError as error:
            print(f"(times not kept: {error}) ", end="")

    def left(self, names: list[str]) -> str:
        """Returns ", about 3 min left" for notebooks still to run; an unknown one is a mean one."""
        known = [value for name, value in self.seconds.items() if name.startswith(self.prefix)]
        if not names or not known:
            return ""
        mean = sum(known) / len(known)
        total = sum(self.seconds.get(self.prefix + name, mean) for name in names)
        seconds = total / min(self.workers, len(names))
        amount = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        return f", about {amount} left"
