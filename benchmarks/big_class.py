"""Lets `course homework collect` read a class of 200 submissions of 1.4 MB, forty kinds of trouble
among them, and says how long it took, how much memory, and whether every honest student came out
right.

    python benchmarks/big_class.py [--folder DIR] [--students 200]

The submissions are made up: numbers drawn from a seed, pictures of noise. Nothing is trained.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from hostile_zips import HOSTILE
from submissions import METRICS, png, results_dict

from course_utils.homework.archive import write_submission
from course_utils.homework.schema import check_results

MAX_SECONDS, MAX_MEMORY = 60, 1e9
NUM_PICTURES, PICTURE_BYTES = 10, 140_000
Values = dict[str, object]


def noise(rng: np.random.Generator) -> bytes:
    """Returns a picture that takes `PICTURE_BYTES`, since noise does not compress."""
    side = round((PICTURE_BYTES / 3) ** 0.5)
    stream = io.BytesIO()
    pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def honest(seed: int) -> Values:
    """Returns results with words and moments of the student's own."""
    values = results_dict(seed, families=(("vae", "dcgan"), ("vae", "diffusion"))[seed % 2])
    values["student"] = f"Honest {seed:03d}"
    rng, number = random.Random(seed), 0
    for study in values["experiments"]:
        for part in ("prediction", "observation", "explanation"):
            study[part] = " ".join(f"w{rng.randrange(3000)}" for _ in range(120))
        for row in study["rows"]:
            row["started"] = f"2025-03-01T10:{number:02d}:{seed % 60:02d}.{seed:03d}+00:00"
            row["finished"] = f"2025-03-01T11:{number:02d}:{seed % 60:02d}.{seed:03d}+00:00"
            effect = random.Random(json.dumps(row["experiment"], sort_keys=True))
            for name, (value, error) in METRICS.items():  # equal settings, nearly equal numbers
                value *= effect.uniform(0.8, 1.2)
                row["metrics"][name]["value"] = value + rng.gauss(0, error / 3)
            number += 1
    return values


def changed(edit: Callable[[Values], object]) -> Callable[[int], Values]:
    """Returns a maker of results in which one thing is odd."""

    def make(seed: int) -> Values:
        values = honest(seed) | {"student": f"Trouble {seed:03d}"}
        edit(values)
        return values

    return make


def first_row(**entries: object) -> Callable[[Values], object]:
    return lambda values: values["experiments"][0]["rows"][0].update(entries)


def all_metrics(name: str, **entries: object) -> Callable[[Values], object]:
    def edit(values: Values) -> None:
        for study in values["experiments"]:
            for row in study["rows"]:
                row["metrics"][name].update(entries)

    return edit


ODD = {
    "no runs": changed(lambda one: [study.update(rows=[]) for study in one["experiments"]]),
    "no models": changed(lambda one: one.update(experiments=[])),
    "one model": changed(lambda one: one.update(experiments=one["experiments"][:1])),
    "year 1": changed(lambda one: one.update(created="0001-01-01T00:00:00+14:00")),
    "year 9999": changed(first_row(finished="9999-12-31T23:59:59-14:00")),
    "formula": changed(lambda one: one.update(student='Ada;=HYPERLINK("http://x")')),
    "markup": changed(lambda one: one.update(student="<script>alert(1)</script>")),
    "another key": changed(first_row(key="f" * 64)),
    "no time": changed(first_row(training_seconds=0.0)),
    "FID 0": changed(all_metrics("FID", value=0.0)),
    "huge error": changed(all_metrics("FID", error=1e12)),
    "largest numbers": changed(all_metrics("KID", value=1e12)),
    "smallest numbers": changed(all_metrics("KID", value=5e-324)),
    "empty texts": changed(lambda one: one["experiments"][0].update(prediction="")),
    "long texts": changed(lambda one: one["experiments"][0].update(explanation="word " * 1999)),
    "right to left": changed(lambda one: one["experiments"][0].update(observation="שלום " * 50)),
    "other images": changed(
        lambda one: one.update(dataset={"name": "folder:/etc", "sha256": "6" * 64})
    ),
    "smoke": changed(lambda one: one.update(budget="smoke")),
}
NAMES = ["vae-.png", "vae--.png", "dcgan-a.b.png"]


def write_trouble(folder: Path, sample: bytes) -> list[str]:
    """Writes one of each kind and returns the kinds."""
    kinds = []
    for seed, (kind, make) in enumerate(ODD.items(), start=500):
        target = folder / f"{kind.replace(' ', '_')}.zip"
        write_submission(target, check_results(make(seed)), {"vae-a.png": sample}, "")
        kinds.append(kind)
    for kind, (data, _) in list(HOSTILE.items())[:16]:
        (folder / f"hostile {kind}.zip").write_bytes(data)
        kinds.append(kind)
    names = dict.fromkeys(NAMES, png())
    write_submission(folder / "names.zip", check_results(ODD["no runs"](600)), names, "")
    (folder / "empty").mkdir()
    (folder / "essay.pdf").write_bytes(b"%PDF-1.7")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "onlinetext.html").write_text("<p>Sorry", encoding="utf-8")
    (folder / "link.zip").symlink_to(folder / "names.zip")
    return [*kinds, "names of pictures", "empty folder", "essay", "Thumbs.db", "text", "link"]


def write_honest(folder: Path, num_students: int, sample: list[bytes]) -> None:
    """Writes honest submissions, each tenth one packed again by a file manager."""
    page = "<!DOCTYPE html><title>Homework of a student</title>"
    pictures = {f"vae-picture-{place}.png": data for place, data in enumerate(sample)}
    for seed in range(num_students):
        target = folder / f"honest{seed:03d}_{1000 + seed}_{seed}_submission.zip"
        write_submission(target, check_results(honest(seed)), pictures, page)
        if seed % 10 == 0:
            pack_again(target)


def pack_again(path: Path) -> None:
    """Writes an archive anew with a folder around it and what Finder leaves."""
    with zipfile.ZipFile(path) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name, data in files.items():
            new.writestr(f"submission/{name}", data)
            new.writestr(f"__MACOSX/submission/._{name}", bytes(120))


def write_class(folder: Path, num_students: int) -> list[str]:
    """Writes all hand-ins and returns the kinds of trouble among them."""
    rng = np.random.default_rng(0)
    sample = [noise(rng) for _ in range(NUM_PICTURES)]
    kinds = write_trouble(folder, sample[0])
    write_honest(folder, num_students - len(kinds), sample)
    return kinds


def run_command(*words: object) -> tuple[float, float, float]:
    """Returns seconds, seconds of computing and peak of memory in bytes of `course homework ...`:
    the larger of what the system recorded for the process and of the sum over it and its children,
    looked at twenty times a second.
    """
    command = [sys.executable, "-m", "course_utils.cli.main", "homework", *map(str, words)]
    begin, peak = time.perf_counter(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        pid, _, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            seconds, cpu = time.perf_counter() - begin, used.ru_utime + used.ru_stime
            return seconds, cpu, max(peak, used.ru_maxrss * 1024)
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in family))
        time.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="of the class; written where it is not there")
    parser.add_argument("--students", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = options.folder or Path(scratch) / "class", Path(scratch) / "out"
        if not folder.exists():
            folder.mkdir(parents=True)
            write_class(folder, options.students)
        num_honest = len(list(folder.glob("honest*.zip")))
        size = sum(path.stat().st_size for path in folder.rglob("*.zip")) / 1e6
        print(f"{options.students} hand-ins, {size:.0f} MB, {num_honest} of them honest")
        seconds, cpu, memory = run_command("collect", folder, "--out", out)
        page = (out / "class.html").stat().st_size
        with open(out / "class.csv", encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.DictReader(stream))
    found: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        found.setdefault(line["student"], []).append(line)
    honest = [f"Honest {seed:03d}" for seed in range(num_honest)]
    right = [name for name in honest if {line["rule met"] for line in found[name]} == {"yes"}]
    asked = [name for name in honest if any(line["questions"] != "0" for line in found[name])]
    told = {
        "seconds": round(seconds, 1),
        "CPU seconds": round(cpu, 1),
        "peak of memory in MB": round(memory / 1e6),
        "class.html in MB": round(page / 1e6, 1),
        "honest": num_honest,
        "honest and right": len(right),
        "honest who are asked": len(asked),
        "not readable": len(found.get("", [])),
    }
    print(json.dumps(told, indent=1))
    good = right == honest and cpu <= MAX_SECONDS and memory <= MAX_MEMORY
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
