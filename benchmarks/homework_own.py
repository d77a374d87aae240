"""A scripted student on sixty colour pictures of her own, with her own VAE in place of the class's:
from `course homework new` to a submission that is accepted, killed five times on the way with
nothing lost; then `course homework collect --rerun` repeats a run of hers and one of a cheat.

Every command is a process of its own and every kill is SIGKILL: twice from outside, while her code
trains and while the DCGAN does, and three times by the process itself with half of a file written.

    python benchmarks/homework_own.py --out build/homework-own
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from homework_run import Student, check_rows, lines_of
from stand_ins import write_pictures
from students import CUT_OFF, DCGAN_CHANGES, DCGAN_TEXTS, OWN_TEXTS, invented, write_own_vae

from course_utils.homework.archive import read_submission, write_submission
from course_utils.homework.study import make_plan, study_folder, write_texts
from course_utils.training.runs import STATE

NUM_ROWS = 12  # two models, before and after, three seeds


class Victim(Student):
    """A student whose computer loses its power."""

    kills = 0

    def cut_off(self, beginning: str, number: int, *words: object) -> None:
        """Runs a command that dies with half of a file written; see `students.CUT_OFF`."""
        command = [sys.executable, "-c", CUT_OFF, beginning, str(number), "homework"]
        code = subprocess.run([*command, *map(str, words)], env=self.environment).returncode
        self._count(code, f"half of a file {beginning}* was written ({words[0]})")

    def kill_in(self, ready: Callable[[], bool], why: str, *words: object) -> None:
        """Runs a command and kills it as soon as something is there."""
        process = self.command(*words)
        while process.poll() is None and not ready():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        self._count(process.wait(), why)

    def _count(self, code: int, why: str) -> None:
        if code != -signal.SIGKILL:
            raise SystemExit(f"expected a process that was killed ({why}), got code {code}")
        self.kills += 1
        self.say(f"killed, {self.kills} of 5: {why}")

    def expect(self, code: int, told: str, *words: object) -> None:
        """Runs a command that must end with this code and say this."""
        command = [sys.executable, "-m", "course_utils.cli.main", "homework", *map(str, words)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != code or told not in done.stdout + done.stderr:
            raise SystemExit(
                f"{words}: expected {told!r} and code {code}, got code {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        self.say(f"course homework {' '.join(map(str, words))}: code {code}, {told!r}")


def hand_in(student: Victim, pictures: Path, files: tuple[Path, Path]) -> Path:
    """Plays the student to her submission, which is returned."""
    mine = student.folder
    new = ("new", mine, "--name", "A. Student", "--dataset", f"folder:{pictures}")
    student.cut_off(".homework.", 1, *new, "--budget", "smoke")
    student.finish(*new, "--budget", "smoke")
    before, after = files
    own = ("own", after, "--before", before, "--family", "vae", "--folder", mine)
    student.finish(*own, "--prediction", OWN_TEXTS[0])
    make_plan(study_folder(mine, "dcgan"), DCGAN_CHANGES, DCGAN_TEXTS[0])
    places = [study_folder(mine, family) for family in ("vae", "dcgan")]

    first = time.monotonic()

    def one_row_and_on() -> bool:
        """Whether her code has been trained once and is trained again."""
        nonlocal first
        if not lines_of(places):
            first = time.monotonic()
        return time.monotonic() > first + 0.1 and bool(lines_of(places))

    student.kill_in(one_row_and_on, "in the second training of her own code", "run", mine)
    kept = [lines_of(places)]
    student.cut_off(".rows.", 2, "run", mine)
    kept.append(lines_of(places))
    runs = Path(student.environment["COURSE_RUNS"])
    student.kill_in(lambda: any(runs.glob(f"*/{STATE}")), "in a training of the DCGAN", "run", mine)
    kept.append(lines_of(places))
    student.finish("run", mine)
    check_rows(places, *kept)
    if len(lines_of(places)) != NUM_ROWS:
        raise SystemExit(f"expected {NUM_ROWS} rows, got {len(lines_of(places))}")
    for place, texts in zip(places, (OWN_TEXTS, DCGAN_TEXTS)):
        write_texts(place, *texts[1:])
    student.cut_off(".submission.", 1, "report", mine)
    student.finish("report", mine)
    student.finish("check", mine / "submission.zip")
    student.say(f"accepted: {[len(rows) for rows in kept]} rows kept at the kills in between")
    return mine / "submission.zip"


def examine(student: Victim, target: Path, pictures: Path) -> None:
    """Plays the instructor, with the submission and one of a cheat who trained nothing."""
    together = student.folder.with_name("class")
    together.mkdir()
    submission = read_submission(target)
    cheated = invented(submission.results)
    shutil.copy(target, together / "student_1_11_submission.zip")
    write_submission(together / "cheat_2_22_submission.zip", cheated, submission.samples, "")
    student.environment["COURSE_RUNS"] = str(student.folder.with_name("runs-of-the-instructor"))
    student.expect(0, "2 submissions, 2 meet the rule", "collect", together)
    again = ("collect", together, "--data", pictures, "--rerun")
    for results, code, told in ((submission.results, 0, "agrees"), (cheated, 1, "does not agree")):
        (study,) = (one for one in results.experiments if one.own_code is None)
        key = study.of_kind("changed")[0].key[:12]
        student.expect(code, f".zip): {told}", *again, key)


def main() -> None:
    """Plays both and prints how long it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/homework-own"))
    out = parser.parse_args().out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_pictures(out / "pictures")  # two classes of thirty, in colour
    student = Victim(out / "mine", workers=1)
    target = hand_in(student, out / "pictures", write_own_vae(out))
    examine(student, target, out / "pictures")
    used = os.times()
    student.say(f"done; {used.children_user + used.children_system:.0f} s of computing")


if __name__ == "__main__":
    main()
