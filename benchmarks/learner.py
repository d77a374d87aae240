"""Plays the learner: solves the exercises of a notebook one by one with the reference solutions,
runs it from top to bottom, and prints what became of each exercise and what "Run yours" measured.

    COURSE_DATA=../shared/data python benchmarks/learner.py 04 --dataset mnist
    python benchmarks/learner.py 01 04 05 --out build/learner   # keeps the executed notebooks

It ends with status 1 where an exercise did not pass or a "Run yours" used a reference solution.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tools/ is in no package

from course_utils.base.device import BUDGETS
from tools.execute import execute

ROOT = Path(__file__).resolve().parent.parent
CHECK = re.compile(r'^check\("(?P<id>\d\d\.\w+)", (?P<name>\w+)\)', re.MULTILINE)
IMPORT = "from course_utils.exercises.core import solution_of"
SOLVED = r'\g<name> = solution_of("\g<id>")\ncheck("\g<id>", \g<name>)'
HEADING = re.compile(r"^#{2,3} .*|^\*\*Run yours\.?\*\*", re.MULTILINE)
YOURS = "run yours"


def solve(notebook: Any) -> list[str]:
    """Puts the reference solution into every exercise of a notebook; returns the exercises' ids."""
    solved = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and "exercise" in cell.metadata.get("tags", []):
            solved += [found["id"] for found in CHECK.finditer(cell.source)]
            cell.source = f"{IMPORT}\n\n{CHECK.sub(SOLVED, cell.source)}"
    return solved


def printed(cell: Any) -> str:
    """Returns what a cell printed and the texts of what it displayed."""
    texts = []
    for output in cell.get("outputs", []):
        texts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(text.strip() for text in texts if text)


def measured(notebook: Any) -> str:
    """Returns what was printed below headings that say "Run yours", up to the next heading."""
    lines, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for title in HEADING.findall(cell.source):
                inside = YOURS in title.lower()
        elif inside:
            lines.append(printed(cell))
    return "\n".join(filter(None, lines))


def find_notebook(number: str) -> Path:
    """Returns the path of a notebook, given its number, such as "04"."""
    return next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))


def play(path: Path, out: Path | None) -> bool:
    """Solves and runs one notebook; returns whether all exercises passed and were used."""
    notebook = nbformat.read(path, as_version=4)
    ids = solve(notebook)
    error = execute(notebook, path.parent, workers=1)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, out / path.name)
    text = "\n".join(printed(cell) for cell in notebook.cells if cell.cell_type == "code")
    passed = [name for name in ids if f"✓ {name}: passed" in text]
    reference = re.findall(r"reference solution, not passed yet: .*", text)
    print(f"{path.stem}: {len(passed)} of {len(ids)} exercises passed")
    for problem in [*(set(ids) - set(passed)), *reference, *([error] if error else [])]:
        print(f"  not as it should be: {problem}")
    print(measured(notebook))
    return len(passed) == len(ids) and not reference and error is None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="+", help="numbers, such as 04")
    parser.add_argument("--dataset", default="strokes")
    parser.add_argument("--budget", choices=BUDGETS, default="laptop")
    parser.add_argument("--out", type=Path, help="folder for the executed notebooks")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "COURSE_DATASET": options.dataset,
            "COURSE_BUDGET": options.budget,
            "COURSE_RUNS": folder,  # no earlier run is found: everything is trained
            "COURSE_MY_MODELS": str(Path(folder) / "my_models.py"),
        }
        results = [play(find_notebook(number), options.out) for number in options.notebooks]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
