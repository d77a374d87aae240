"""A table that a notebook shows in full and a terminal prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Table:
    """A table of texts: in a notebook as HTML, printed as text; `frame` is the data frame."""

    def __init__(self, rows: Sequence[Mapping[str, str]], index: str) -> None:
        import pandas as pd

        self.frame = pd.DataFrame(rows).set_index(index)

    def __repr__(self) -> str:
        return self.frame.to_string()

    def _repr_html_(self) -> str:
        import pandas as pd

        with pd.option_context("display.max_colwidth", None):  # long meanings in full
            return self.frame.to_html(border=0)
