"""Whether two checkouts of the course give equal numbers, to the last digit: trainings, samples,
metrics, a comparison and a homework.

For a change that moves code and must not move a number. Each checkout is asked through its own
command line, on one thread, with the smoke budget and empty run folders; times, dates, versions and
machine names are left out.

    python benchmarks/equal_numbers.py ../before . --dataset strokes
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIES = {
    "training_seconds",
    "sampling_seconds",
    "seconds",
    "versions",
    "machine",
    "trained_on",
    "measured_on",
    "command",
    "started",
    "finished",
}
VARIES |= {"planned", "created", "course_version", "epoch_seconds"}


class Checkout:
    """Runs commands of one checkout in a scratch folder."""

    def __init__(self, root: Path, scratch: Path, dataset: str) -> None:
        self.root, self.scratch, self.dataset = root.resolve(), scratch, dataset
        self.module = (
            "course_utils.cli.main"
            if (root / "course_utils/cli/main.py").is_file()
            else "course_utils.cli"
        )
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "COURSE_RUNS": str(scratch / "runs"),
            "COURSE_BUDGET": "smoke",
            "COURSE_OFFLINE": "1",
            "COURSE_PROGRESS": "off",
            "COURSE_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *words: object) -> None:
        self._call([sys.executable, "-m", self.module, *map(str, words)])

    def script(self, name: str, *words: object) -> None:
        self._call([sys.executable, str(self.root / "benchmarks" / name), *map(str, words)])

    def _call(self, command: list[str]) -> None:
        done = subprocess.run(
            command, env=self.environment, cwd=self.scratch, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(
                f"{self.root}: {' '.join(command[1:])} ended with"
                f" {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )


def steady(value: Any) -> Any:
    """Returns a JSON value without what differs between two runs of one program."""
    if isinstance(value, dict):
        return {
            name: steady(part)
            for name, part in value.items()
            if name not in VARIES and "seconds" not in name
        }
    return [steady(part) for part in value] if isinstance(value, list) else value


def fingerprint(path: Path) -> str:
    """Returns the SHA-256 of a file; of JSON and JSON lines, without what varies."""
    if path.suffix not in (".json", ".jsonl"):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = (
        path.read_text(encoding="utf-8").split("\n")
        if path.suffix == ".jsonl"
        else [path.read_text(encoding="utf-8")]
    )
    values = [steady(json.loads(line)) for line in lines if line.strip()]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def trained(family: str) -> Callable[[Checkout], list[Path]]:
    """Returns a check: a short training, its weights, losses and metrics."""

    def check(course: Checkout) -> list[Path]:
        folder = course.scratch / family
        course.run("train", family, "--dataset", course.dataset, "--out", folder)
        return [folder / "model.safetensors", folder / "history.jsonl", folder / "experiment.json"]

    return check


def sampled(family: str) -> Callable[[Checkout], list[Path]]:
    """Returns a check: images of shipped weights, more than one batch."""

    def check(course: Checkout) -> list[Path]:
        out = course.scratch / f"{family}.png"
        course.run(
            "sample",
            f"pretrained:{family}/{course.dataset}",
            "--num",
            600,
            "--seed",
            3,
            "--out",
            out,
        )
        return [out]

    return check


def evaluated(course: Checkout) -> list[Path]:
    out = course.scratch / "evaluation.json"
    course.run(
        "evaluate",
        f"pretrained:dcgan/{course.dataset}",
        "--against",
        course.dataset,
        "--num",
        1000,
        "--out",
        out,
    )
    return [out]


def likelihood(course: Checkout) -> list[Path]:
    out = course.scratch / "likelihood.json"
    words = ("--metrics", "nll", "--num", 50, "--k", 20, "--out", out)
    course.run(
        "evaluate", f"pretrained:vae-binary/{course.dataset}", "--against", course.dataset, *words
    )
    return [out]


def compared(course: Checkout) -> list[Path]:
    out = course.scratch / "comparison"
    course.run("compare", "vae", "dcgan", "--dataset", course.dataset, "--seeds", 1, "--out", out)
    return [out / "rows.jsonl", out / "comparison.json"]


def homework(course: Checkout) -> list[Path]:
    out = course.scratch / "student"
    course.script("homework_run.py", "--dataset", course.dataset, "--out", out)
    return sorted(out.glob("*/rows.jsonl"))


CHECKS: dict[str, Callable[[Checkout], list[Path]]] = {
    **{
        f"train {family}": trained(family)
        for family in ("vae", "dcgan", "diffusion", "classifier", "gaussian")
    },
    **{f"sample {family}": sampled(family) for family in ("vae", "dcgan", "diffusion")},
    "evaluate": evaluated,
    "likelihood": likelihood,
    "compare": compared,
    "homework": homework,
}


def main() -> int:
    """Prints a line for each check; returns 1 where a number differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--dataset", default="strokes")
    parser.add_argument("--only", nargs="*", default=list(CHECKS), choices=list(CHECKS))
    options = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as scratch:
        courses = []
        for name in ("before", "after"):
            folder = Path(scratch) / name
            folder.mkdir()
            courses.append(Checkout(getattr(options, name), folder, options.dataset))
        for name in options.only:
            found = [
                [(path.name, fingerprint(path)) for path in CHECKS[name](course)]
                for course in courses
            ]
            equal = found[0] == found[1] and len(found[0]) > 0
            different += not equal
            digest = hashlib.sha256(str(found[1]).encode()).hexdigest()[:12]
            print(
                f"{name:18} {'equal' if equal else 'DIFFERENT'}  {len(found[1])} files  {digest}",
                flush=True,
            )
            if not equal:
                print(f"  before {found[0]}\n  after  {found[1]}")
    print(f"{len(options.only) - different} of {len(options.only)} checks equal")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
