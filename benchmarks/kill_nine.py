"""Kills `course train`, `course compare` and `course homework run` at random moments (SIGKILL),
starts each again with the documented command until it ends, and compares with runs that nobody
disturbed: equal weights to the last bit, every row once, no epoch trained twice but the one that
was cut.

    python benchmarks/kill_nine.py --kills 20 --out build/kill-nine
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from homework_run import STUDENT

from course_utils.base.files import read_json, read_jsonl
from course_utils.homework.study import make_plan, new_homework, study_folder

COURSE = [sys.executable, "-m", "course_utils.cli"]
DATA = ["--dataset", "strokes", "--budget", "smoke"]
# how a training's progress bar begins: one for each epoch
EPOCH = re.compile(r"epoch \d+/\d+: +0%\|[^|]*\| 0/")
# What differs from call to call: times, and whether a run was trained now or a moment before.
TIMES = ("started", "finished", "history", "weights")


@dataclass
class Job:
    """A command in a folder of its own.

    Attributes:
        first, again: the command, and the one that goes on after an interruption.
        prepare: called once in a fresh folder.
    """

    name: str
    folder: Path
    first: list[str]
    again: list[str]
    prepare: Callable[[Path], object] = field(default=lambda folder: folder.mkdir(parents=True))

    def begin(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.prepare(self.folder)

    def attempt(self, words: list[str], seconds: float | None) -> tuple[int, float, int]:
        """Returns exit code, seconds and number of epochs begun, killed after so many seconds."""
        environment = {**os.environ, "COURSE_RUNS": str(self.folder / "runs")}
        log, start = self.folder / "log.txt", time.monotonic()
        with log.open("w", encoding="utf-8") as stream:
            command = [*COURSE, *(word.format(self.folder) for word in words)]
            process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        text = log.read_text(encoding="utf-8")
        return process.returncode, time.monotonic() - start, len(EPOCH.findall(text))

    def finish(self, words: list[str]) -> tuple[float, int]:
        """Runs to the end; returns seconds and epochs."""
        code, seconds, epochs = self.attempt(words, None)
        if code != 0:
            text = (self.folder / "log.txt").read_text(encoding="utf-8")
            raise SystemExit(f"{self.name} ended with {code}: {text}")
        return seconds, epochs

    def result(self) -> dict[str, object]:
        """Returns what has to be equal: weights by run, and rows without times."""
        found: dict[str, object] = {
            path.parent.name: read_json(path)["weights_sha256"]
            for path in self.folder.rglob("experiment.json")
        }
        for path in self.folder.rglob("rows.jsonl"):
            rows = [json.dumps(_timeless(row), sort_keys=True) for row in read_jsonl(path)]
            found[str(path.relative_to(self.folder))] = sorted(rows)
        return found

    def leftovers(self) -> list[str]:
        return [
            path.name
            for pattern in (".*partial*", ".*lock*", "state.safetensors")
            for path in self.folder.rglob(pattern)
        ]


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        kept = {name: part for name, part in value.items() if name not in TIMES}
        return {name: _timeless(part) for name, part in kept.items() if "seconds" not in name}
    return value


def prepare_homework(folder: Path) -> None:
    new_homework(folder, "A. Student", "strokes", "smoke")
    make_plan(study_folder(folder, "vae"), *STUDENT["vae"][:2])


def jobs(out: Path) -> list[Job]:
    """Returns the three commands."""
    # long enough that most kills fall into an epoch
    train = ["train", "vae", *DATA, "--set", "train.num_epochs=60", "--out", "{}/run"]
    train += ["--set", "train.num_train_images=4096"]
    compare = ["compare", "vae", "dcgan", *DATA, "--seeds", "2", "--num", "50"]
    compare += ["--no-shipped", "--out", "{}/compared"]
    homework = ["homework", "run", "{}"]
    return [
        Job("train", out / "train", train, [*train, "--resume"]),
        Job("compare", out / "compare", compare, compare),
        Job("homework", out / "homework", homework, homework, prepare_homework),
    ]


def disturb(job: Job, kills: int, seconds: float, rng: random.Random) -> tuple[int, int, int]:
    """Returns kills, attempts that ended before they could be killed, and epochs begun."""
    done = early = epochs = 0
    job.begin()
    words = job.first
    while done < kills:
        code, _, begun = job.attempt(words, rng.uniform(0.25, 0.9) * seconds)
        epochs += begun
        words = job.again
        if code == 0:
            early += 1
            break
        if code != -9:
            text = (job.folder / "log.txt").read_text(encoding="utf-8")
            raise SystemExit(f"{job.name} ended with {code}: {text}")
        done += 1
    if not early:
        epochs += job.finish(words)[1]
    return done, early, epochs


def judge(
    job: Job, expected: dict[str, object], kills: int, epochs: int, planned: int
) -> list[str]:
    """Returns a line for each thing that is not as if nothing had happened."""
    problems = []
    result = job.result()
    for name in sorted({*expected, *result}):
        if expected.get(name) != result.get(name):
            problems.append(
                f"{name}: {result.get(name)!s:.300} instead of {expected.get(name)!s:.300}"
            )
    if not planned <= epochs <= planned + kills:
        problems.append(f"{epochs} epochs were begun, {planned} to {planned + kills} expected")
    if job.leftovers():
        problems.append(f"left behind: {', '.join(job.leftovers())}")
    return problems


def main() -> None:
    """Prints one line for each series of kills; exits with 1 where anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/kill-nine"))
    options = parser.parse_args()
    rng, total, failed = random.Random(options.seed), 0, False
    whole = {}
    for job in jobs(options.out.resolve()):
        job.begin()
        seconds, planned = job.finish(job.first)
        whole[job.name] = (job.result(), seconds, planned)
        print(f"{job.name}, undisturbed: {seconds:.0f} s, {planned} epochs", flush=True)
    while total < options.kills:
        for job in jobs(options.out.resolve()):
            expected, seconds, planned = whole[job.name]
            wanted = min(2 + rng.randrange(3), options.kills - total)
            if not wanted:
                break
            kills, early, epochs = disturb(job, wanted, seconds, rng)
            problems = judge(job, expected, kills, epochs, planned)
            total, failed = total + kills, failed or bool(problems)
            note = " (then it ended by itself)" if early else ""
            outcome = "; ".join(problems) or f"equal; {epochs} epochs begun for {planned}"
            print(f"{job.name}, {kills} kills{note}: {outcome}", flush=True)
    print(f"{total} kills: {'SOMETHING WAS LOST' if failed else 'nothing lost, nothing repeated'}")
    raise SystemExit(int(failed))


if __name__ == "__main__":
    main()
