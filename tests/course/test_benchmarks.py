"""`benchmarks/board.py` and `benchmarks/scale.py`: rows, going on after an interruption, and tables
and pictures that hold what the rows do.
"""

from __future__ import annotations

import importlib
import json
import time

import pytest
import torch
from materials import PROJECT
from PIL import Image

from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.data.scenes import make_captions
from course_utils.data.strokes import make_strokes
from course_utils.studies import text_agreement
from course_utils.training.presets import PRESETS, SMOKE_STEPS, VARIANTS, preset
from course_utils.training.registry import build


@pytest.fixture
def script(monkeypatch):
    """Imports a script of `benchmarks/` by its name."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks")
    return importlib.import_module


@pytest.fixture
def board(script, monkeypatch, tmp_path):
    """Runs the board on a few strokes in this process; returns its rows."""
    images, factors, test_images, test_factors = make_strokes(400, 200)
    labels = (factors.digit, test_factors.digit)
    few = Dataset("strokes", images, labels[0], test_images, labels[1], DIGIT_NAMES, "few")
    module = script("board")
    monkeypatch.setattr(module, "load_dataset", lambda name, **_: few)
    out = tmp_path / "board.jsonl"

    def call(*words: object) -> list[dict]:
        fixed = ["--smoke", "--dataset", "strokes", "--num", "60", "--out", str(out)]
        module.main([*fixed, "--started", repr(time.time()), *map(str, words)])
        lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
        return [json.loads(line) for line in lines]

    call.out = out
    return call


def test_board_measures_goes_on_and_prints_what_it_measured(board, capsys):
    rows = board("--only", "real images", "dcgan", "vae")
    names = ["real images", "dcgan", "vae", "vae-fitted-prior"]
    assert [row["model"] for row in rows] == names
    real, dcgan, vae, fitted = rows
    assert real["fid"] == real["fid_floor"] < dcgan["fid"]
    assert real["agreement"] > 0.9 and dcgan["agreement"] <= 1 and "agreement" not in vae
    assert dcgan["num_steps"] == SMOKE_STEPS and dcgan["num_calls"] == 1
    assert dcgan["parameters"] == build(preset("dcgan").model).num_parameters
    assert dcgan["ms_per_step"] == pytest.approx(1000 * dcgan["train_seconds"] / SMOKE_STEPS)
    assert 0 < dcgan["cold_start_seconds"] < dcgan["trained_after_seconds"] < dcgan["job_seconds"]
    assert fitted["train_seconds"] > vae["train_seconds"] and fitted["fid"] != vae["fid"]
    assert dcgan["peak_mib"] > 100 and {"machine", "device", "budget"} <= set(dcgan)
    # cut off in the middle of the third row
    lines = board.out.read_text(encoding="utf-8").splitlines(keepends=True)
    board.out.write_text("".join(lines[:2]) + lines[2][:50], encoding="utf-8")
    again = board("--only", "real images", "dcgan", "vae")
    assert [row["model"] for row in again] == names
    assert again[:2] == rows[:2] and again[2]["fid"] == vae["fid"]
    before = board.out.read_bytes()
    assert "left out" not in capsys.readouterr().out
    board("--only", "real images", "dcgan", "vae")
    assert board.out.read_bytes() == before
    board("--table")
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("| DCGAN |"))
    cells = [cell.strip() for cell in line.split("|")]
    assert f"{dcgan['parameters']:,}" in cells and f"{dcgan['agreement']:.3g}" in cells
    picture = board.out.with_suffix(".png")
    board("--picture", picture)
    with Image.open(picture) as image:
        assert image.size[0] > 800


def test_board_leaves_out_what_there_is_no_time_or_no_partner_for(board, capsys):
    assert board("--minutes", 0.2, "--only", "dcgan", "vae") == []
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert [line.split(",")[0] for line in said] == ["left out: dcgan", "left out: vae"]
    assert board("--only", "dcgan-plain") == []
    assert "dcgan-plain, seed 0: needs a row of dcgan" in capsys.readouterr().out


def test_board_begins_with_one_seed_of_each_and_ends_with_peers(script):
    board = script("board")
    options = board._options(["--budget", "laptop", "--seeds", "3", "--dataset", "strokes"])
    order = list(board.jobs(options))
    own = ["diffusion", "student", "dcgan", "vae"]
    peers = ["unet2d-diffusers", "denoising-diffusion", "dcgan-plain"]
    assert order[: len(own) + 4] == [(name, 0) for name in ["real images", *own, *peers]]
    assert order[len(own) + 4 :] == [
        (n, s) for names in (own, peers) for s in (1, 2) for n in names
    ]
    gpu = board.listed(board._options(["--budget", "gpu"]))
    assert {"vae-binary-long", "vae-fast", "vae-example"} <= set(gpu)


def row_of(model: str, seed: int, **values: object) -> dict:
    shared = {"machine": "a machine, cpu, 2 threads", "device": "cpu, 2 threads"}
    shared |= {"dataset": "mnist", "budget": "laptop", "fid_floor": 0.91, "fid_floor_error": 0.1}
    return {"model": model, "seed": seed, **shared, **values}


def test_board_table_shows_the_median_and_the_worst(script):
    report = script("board_report")
    measured = [(3.0, 0.75), (9.0, 0.5), (4.0, 0.70)]
    rows = [
        row_of("dcgan", seed, train_seconds=100.0 + seed, fid=value, fid_error=0.25, recall=recall)
        for seed, (value, recall) in enumerate(measured)
    ]
    own = [line for line in report.board_table(rows).splitlines() if line.startswith("| DCGAN | ")]
    titles = report.board_table(rows).splitlines()[2].split(" | ")
    cells = dict(zip(titles, own[0].split(" | ")))
    assert (cells["seeds"], cells["FID"], cells["recall"]) == ("3", "4.00 ± 0.25 (9)", "0.7 (0.5)")
    assert cells["training, s"] == "101 (102)" and cells["floor"] == "0.91 ± 0.10"
    # nothing was measured on a GPU, and the table says so
    assert own[1].startswith("| DCGAN | 0 | not measured |")
    gpu = [{**row, "device": "cuda, a GPU", "machine": "cuda"} for row in rows]
    assert "a GPU**" not in report.board_table([*rows, *gpu])
    student = row_of("student", 0, train_seconds=60.0, teacher_seconds=200.0)
    assert "| one-call student | 1 | 260 |" in report.board_table([student])


def test_steps_of_any_loop_are_counted(script):
    measure = script("measure")
    layers = [torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)]
    with measure.StepClock(every=2, max_steps=6) as clock, pytest.raises(KeyboardInterrupt):
        optimizers = [torch.optim.Adam(layer.parameters()) for layer in layers]
        for _ in range(10):
            layers[1](layers[0](torch.ones(4, 3))).sum().backward()
            for optimizer in optimizers:
                optimizer.step()
    assert (clock.num_steps, clock.num_parameters, len(clock.ends)) == (6, 8 + 3, 3)
    assert clock.begun <= clock.first <= clock.last
    optimizers[0].step()  # after the block nothing is counted
    assert clock.num_steps == 6


def test_scale_measures_a_point_once_and_draws_it(script, monkeypatch, tmp_path, capsys):
    scale = script("scale")
    out = tmp_path / "scale.jsonl"
    monkeypatch.setattr(scale, "points", lambda families: [scale.Point("vae", 2000, width=0.5)])
    words = ["--budget", "laptop", "--steps", "2", "--parts", "curves", "--out", str(out)]
    scale.main(words)
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert (row["num_images"], row["width"], row["timed_steps"]) == (2000, 0.5, 2)
    assert row["images_per_second"] == pytest.approx(row["batch_size"] / row["step_seconds"])
    steps = 2000 // row["batch_size"]
    assert row["epoch_seconds"] == pytest.approx(steps * row["step_seconds"])
    assert row["peak_mib"] >= row["start_mib"] > 100
    whole = build(preset("vae", "laptop").model).num_parameters
    assert 0.3 * whole < row["parameters"] < 0.6 * whole

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(scale, "in_fresh_process", refuse)
    scale.main(words)
    capsys.readouterr()
    others = [{**row, "num_images": 10_000, "width": width} for width in (0.5, 1.0, 2.0)]
    table = scale.scale_table([row, *others])
    assert table.count("| width, of the preset's | vae |") == 3
    assert f" {1000 * row['step_seconds']:.3g} |" in table
    scale.scale_picture([row, *others]).savefig(tmp_path / "curves.png")


def test_scale_varies_one_setting_at_a_time(script):
    scale = script("scale")
    base = scale.asdict(scale.Point("vae"))
    for point in scale.points():
        changed = [name for name, value in scale.asdict(point).items() if value != base[name]]
        assert len(set(changed) - {"name"}) <= 1
    named = {point.name for point in scale.preset_points()}
    assert named == {*PRESETS, *VARIANTS}


def test_text_to_image_measures_each_model_once(script, monkeypatch, tmp_path):
    few = make_captions(600, 280)
    module = script("text_to_image")
    monkeypatch.setattr(module, "load_dataset", lambda name: few)
    monkeypatch.setattr(module, "SCALES", (1.0, 2.0))
    monkeypatch.setattr(module, "WITH_GUIDANCE", ("latent",))
    monkeypatch.setattr(module, "TIMED_STEPS", 2)
    monkeypatch.setattr(text_agreement, "VARIETY_CAPTIONS", 2)
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    out = tmp_path / "rows.jsonl"
    command = ["--models", "latent", "pixel", "--seeds", "0", "--num", "270", "--budget", "smoke"]
    command += ["--out", str(out)]
    module.main(command)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["model"], row["row"]) for row in rows] == [
        ("latent", "model"),
        ("latent", "guidance"),
        ("latent", "guidance"),
        ("pixel", "pixel steps"),
        ("pixel", "model"),
    ]
    latent, pixel = rows[0], rows[4]
    assert latent["num_images"] == 270 and latent["held_out"]["num_images"] > 10
    assert 0 <= latent["captions"]["read"] < latent["words"]["read"] < 1
    assert 0 < latent["fid_floor"] < latent["fid"] and latent["seconds_of_16"] > 0
    assert [row["guidance_scale"] for row in rows[1:3]] == [1.0, 2.0]
    # the pixel model has the steps that were found to take as long
    assert pixel["settings"]["model"]["space"] == "pixel"
    assert pixel["settings"]["train"]["min_epoch_steps"] == rows[3]["epoch_steps"] >= 1
    # the second call goes on: it measures what is missing and trains nothing
    lines = out.read_text(encoding="utf-8").splitlines(keepends=True)
    out.write_text("".join(lines[:4]) + lines[4][:40], encoding="utf-8")
    monkeypatch.setattr("course_utils.training.runs.fit", None)
    module.main(command)
    again = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert again[:4] == rows[:4] and again[4]["fid"] == pytest.approx(pixel["fid"], rel=1e-3)
