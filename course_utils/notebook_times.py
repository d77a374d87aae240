"""How long each notebook took on this machine, so that the next run can say how much time is left."""

from __future__ import annotations

import os

from course_utils.errors import CourseError
from course_utils.files import cache_root, read_json, write_json


class NotebookTimes:
    """Seconds that notebooks took, this time and in earlier runs on this machine with the same budget."""

    def __init__(self, workers: int) -> None:
        self.workers = workers  # notebooks at a time
        self.path = cache_root() / "notebook_seconds.json"
        self.prefix = f"{os.environ.get('COURSE_BUDGET') or 'default'}/"
        self.seconds: dict[str, float] = {}
        if self.path.exists():
            try:
                self.seconds = {name: float(value) for name, value in read_json(self.path).items()}
            except (CourseError, TypeError, ValueError) as error:
                print(f"The times of earlier runs cannot be used; they are measured anew. ({one_line(str(error))})")

    def record(self, name: str, seconds: float) -> None:
        """Keeps how long a notebook took; where that cannot be written, it says so and goes on."""
        self.seconds[self.prefix + name] = round(seconds, 1)
        try:
            write_json(self.path, self.seconds)
        except CourseError as error:
            print(f"(times not kept: {one_line(str(error))}) ", end="")

    def left(self, names: list[str]) -> str:
        """Returns ", about 3 min left" for the notebooks still to run; an unknown one counts as the mean of the known."""
        known = [value for name, value in self.seconds.items() if name.startswith(self.prefix)]
        if not names or not known:
            return ""
        seconds = sum(self.seconds.get(self.prefix + name, sum(known) / len(known)) for name in names) / min(self.workers, len(names))
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"


def one_line(text: str) -> str:
    """Returns the first line of a text, 200 characters at most."""
    lines = text.strip().splitlines() or ["no message"]
    return lines[0][:200]
