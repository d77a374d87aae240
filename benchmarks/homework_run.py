"""A scripted student: from `course homework new` to a submission that meets the rule, killed twice
on the way with nothing lost or repeated.

Everything runs through the command line in processes of its own; the two kills are SIGKILL, one
between runs and one in the middle of a training.

    COURSE_DATASET=strokes python benchmarks/homework_run.py --budget smoke --out
    build/homework-student
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from course_utils.homework.study import StudyFolder, make_plan, study_folder, write_texts
from course_utils.studies.sweep import read_rows
from course_utils.training.runs import STATE

STUDENT = {
    "vae": (
        {"model.latent_dim": 2, "model.beta": 4.0, "model.hidden_dims": [200]},
        (
            "Two latent dimensions and a larger beta leave little room for an image, so samples"
            " blur and FID rises clearly."
        ),
        (
            "FID is higher than in class with every seed, and the KL term is much smaller, as the"
            " table above shows."
        ),
        (
            "The encoder pays four times for each nat, and two dimensions cannot tell ten classes"
            " and their styles apart."
        ),
    ),
    "dcgan": (
        {"model.latent_dim": 8, "model.generator_width": 16, "model.r1_weight": 1.0},
        (
            "A smaller generator should draw coarser strokes, while the stronger penalty keeps all"
            " ten classes covered evenly."
        ),
        (
            "Precision fell in each seed and the strokes are rougher, but no class is missing among"
            " two thousand samples."
        ),
        (
            "Half of the channels hold fewer shapes of strokes; the penalty flattens the"
            " discriminator, so nothing collapses."
        ),
    ),
    "diffusion": (
        {"model.num_steps": 4, "model.guidance_scale": 2.0, "train.ema_decay": None},
        (
            "Four steps are too coarse for the curved paths, and guidance will trade variety for"
            " clearer classes, so recall falls."
        ),
        (
            "Recall is lower and class agreement higher in all seeds, while FID moved by several of"
            " its standard errors."
        ),
        (
            "Guidance pushes samples towards what tells classes apart, and long Euler steps cut the"
            " corners of each path."
        ),
    ),
}


class Student:
    """Types commands and counts the seconds."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.workers, self.start = folder, workers, time.perf_counter()
        self.environment = {
            **os.environ,
            "COURSE_RUNS": str(folder.with_name(f"{folder.name}-runs")),
        }

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.start:6.0f} s] {text}", flush=True)

    def command(self, *words: object) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "course_utils.cli.main", "homework", *map(str, words)],
            env=self.environment,
        )

    def finish(self, *words: object) -> None:
        """Runs one command to its end."""
        self.say(f"course homework {' '.join(map(str, words))}")
        code = self.command(*words).wait()
        if code != 0:
            raise SystemExit(f"course homework {words[0]} ended with {code}")

    def kill_when(self, ready: Callable[[], bool], why: str) -> None:
        """Starts the runs and kills them, without warning, as soon as something is there."""
        process = self.command("run", self.folder, "--workers", self.workers)
        while process.poll() is None and not ready():
            time.sleep(0.02)
        if process.poll() is not None:
            raise SystemExit(
                f"the runs ended before they could be killed ({why}); choose a larger budget"
            )
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.say(f"killed: {why}")


def lines_of(places: list[StudyFolder]) -> list[str]:
    """Returns all rows as they stand in the files."""
    return [
        line
        for place in places
        if place.rows_path.exists()
        for line in place.rows_path.read_text(encoding="utf-8").splitlines()
    ]


def main() -> None:
    """Plays the student and prints how long it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", default="smoke", choices=("smoke", "laptop", "gpu"))
    parser.add_argument("--families", nargs=2, default=["vae", "dcgan"], choices=sorted(STUDENT))
    parser.add_argument("--dataset", default="auto")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/homework-student"))
    options = parser.parse_args()
    student = Student(options.out, options.workers)
    for folder in (options.out, Path(student.environment["COURSE_RUNS"])):
        shutil.rmtree(folder, ignore_errors=True)
    student.finish(
        "new",
        options.out,
        "--name",
        "A. Scripted Student",
        "--dataset",
        options.dataset,
        "--budget",
        options.budget,
    )
    places = [study_folder(options.out, family) for family in options.families]
    for place in places:
        make_plan(place, *STUDENT[place.family][:2])
    student.kill_when(lambda: len(lines_of(places)) >= 1, "after the first row")
    kept = lines_of(places)
    runs = Path(student.environment["COURSE_RUNS"])
    done = {path.parent for path in runs.glob(f"*/{STATE}")}
    student.kill_when(
        lambda: (
            len(lines_of(places)) > len(kept)
            and any(path.parent not in done for path in runs.glob(f"*/{STATE}"))
        ),
        "in a training",
    )
    kept_later = lines_of(places)
    student.finish("run", options.out, "--workers", options.workers)
    check_rows(places, kept, kept_later)
    for place in places:
        write_texts(place, *STUDENT[place.family][2:])
    student.finish("report", options.out)
    student.finish("check", options.out / "submission.zip")
    trained = sum(row["training_seconds"] for place in places for row in read_rows(place.rows_path))
    student.say(
        f"accepted: {len(lines_of(places))} runs with {trained:.0f} s of training;"
        f" {(options.out / 'submission.zip').stat().st_size:,} bytes"
    )


def check_rows(places: list[StudyFolder], *kept: list[str]) -> None:
    """Stops with an error where a row was lost, changed or made twice."""
    final = lines_of(places)
    keys = [(place.family, row["key"]) for place in places for row in read_rows(place.rows_path)]
    lost = [line for lines in kept for line in lines if line not in final]
    if lost or len(set(keys)) < len(keys):
        raise SystemExit(
            f"{len(lost)} rows were lost or made again, {len(keys) - len(set(keys))} runs stand"
            " twice"
        )


if __name__ == "__main__":
    main()
