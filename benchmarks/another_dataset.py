"""A reader who chose another dataset: notebooks 00, 04, 06 and 07 and a whole homework, twice, the
second time from another working directory. The second time nothing may be trained again.

    python benchmarks/another_dataset.py --dataset folder:/home/me/pictures --out build/another
    COURSE_DATA=/path/with/FashionMNIST python benchmarks/another_dataset.py --dataset fashion
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from homework_run import STUDENT

from course_utils.base.files import course_root
from course_utils.homework.study import make_plan, study_folder, write_texts
from course_utils.studies.sweep import read_rows
from course_utils.training.runs import RECORD

NOTEBOOKS = ("00", "04", "06", "07")
FAMILIES = ("vae", "dcgan")


def course(*words: object, cwd: Path, environment: dict[str, str]) -> None:
    """Runs one command of the course to its end."""
    line = ["course", *map(str, words)]
    print(f"[in {cwd}] {' '.join(line)}", flush=True)
    command = [sys.executable, "-m", "course_utils.cli.main", *line[1:]]
    code = subprocess.run(command, cwd=cwd, env=environment).returncode
    if code != 0:
        raise SystemExit(f"{' '.join(line)} ended with {code}")


def main() -> None:
    """Runs everything twice and prints the seconds of both times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--budget", default="smoke", choices=("smoke", "laptop", "gpu"))
    parser.add_argument("--out", type=Path, default=Path("build/another"))
    options = parser.parse_args()
    out = options.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    places = [out / "first", out / "second"]
    for place in places:
        place.mkdir(parents=True)
    environment = {
        **os.environ,
        "COURSE_DATASET": options.dataset,
        "COURSE_BUDGET": options.budget,
        "COURSE_RUNS": str(out / "runs"),
    }
    homework, seconds = out / "homework", []
    for turn, place in enumerate(places):
        start = time.perf_counter()
        course(
            "run-notebooks", *NOTEBOOKS, "--out", place, cwd=course_root(), environment=environment
        )
        if turn == 0:
            named = ("--name", "A. Reader", "--dataset", options.dataset)
            course("homework", "new", homework, *named, cwd=place, environment=environment)
            for family in FAMILIES:
                make_plan(study_folder(homework, family), *STUDENT[family][:2])
        course("homework", "run", homework, cwd=place, environment=environment)
        for family in FAMILIES:
            write_texts(study_folder(homework, family), *STUDENT[family][2:])
        course("homework", "report", homework, cwd=place, environment=environment)
        course("homework", "check", homework, cwd=place, environment=environment)
        seconds.append(time.perf_counter() - start)
        made = {path: path.stat().st_mtime_ns for path in out.glob(f"runs/*/{RECORD}")}
        rows = [read_rows(study_folder(homework, family).rows_path) for family in FAMILIES]
        if turn == 0:
            first = made, rows
        elif (made, rows) != first:
            raise SystemExit("the second time something was trained or measured again")
    print(
        f"{options.dataset}: {len(made)} runs and {sum(map(len, rows))} rows;"
        f" {seconds[0]:.0f} s, then {seconds[1]:.0f} s with nothing trained again"
    )


if __name__ == "__main__":
    main()
