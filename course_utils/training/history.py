"""The history of a training: a list of flat rows, one JSON line each on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError, unknown
from course_utils.base.files import read_jsonl, write_jsonl

if TYPE_CHECKING:
    import pandas as pd


class History:
    """Rows such as `{"epoch": 1, "split": "train", "part": "model", "loss": 130.2, "kl": 21.5,
    "seconds": 2.1}`, in order.

    `loss` and its terms are means per image; `seconds` is training time since the start, without
    validation.
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self.rows = list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return (
            f"History({self.num_epochs} epochs, {self.seconds:.1f} s, columns:"
            f" {', '.join(self.columns)})"
        )

    @property
    def num_epochs(self) -> int:
        return max((row["epoch"] for row in self.rows), default=0)

    @property
    def seconds(self) -> float:
        return max((row["seconds"] for row in self.rows), default=0.0)

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def select(self, column: str, split: str = "train", part: str | None = None) -> list[float]:
        """Returns one column as a list over epochs; `part` may be left out where there is only one.

        Raises:
            CourseError: no such column, split or part.
        """
        if column not in self.columns:
            raise unknown("column of the history", column, self.columns)
        rows = [row for row in self.rows if row["split"] == split and part in (None, row["part"])]
        if not rows:
            there = sorted({(row["split"], row["part"]) for row in self.rows})
            raise CourseError(
                f"history: no rows of split {split!r} and part {part!r}; it has {there}."
            )
        return [row[column] for row in rows if column in row]

    def table(self) -> pd.DataFrame:
        """Returns the rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def save(self, path: Path | str) -> None:
        """Writes one JSON object a line, in one step."""
        write_jsonl(path, self.rows)

    @classmethod
    def load(cls, path: Path | str) -> History:
        """Returns the history that `save` wrote.

        Raises:
            CourseError: the file is missing or not made of JSON lines.
        """
        return cls(read_jsonl(path))
