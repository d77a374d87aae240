"""The few-step challenge: one network, fixed noise and judge, two halves of the test images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from submissions import results_dict

from course_utils.base.config import override
from course_utils.base.errors import CourseError
from course_utils.cli.main import main
from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.data.strokes import make_strokes
from course_utils.homework import challenge
from course_utils.homework.archive import MAX_SAMPLE_BYTES, write_submission
from course_utils.homework.schema import check_results
from course_utils.metrics.measurement import Measurement
from course_utils.models.dcgan import DCGANConfig
from course_utils.training.presets import preset
from course_utils.training.registry import build

NUM = 160  # more than the judge has features


@pytest.fixture
def few(monkeypatch):
    """The challenge with fewer images, and few strokes as its dataset."""
    images, factors, test_images, test_factors = make_strokes(200, 320)
    dataset = Dataset(
        "strokes", images, factors.digit, test_images, test_factors.digit, DIGIT_NAMES, "few"
    )
    monkeypatch.setattr(challenge, "NUM_IMAGES", NUM)
    monkeypatch.setattr(challenge, "COLUMNS", 8)
    monkeypatch.setattr(challenge, "load_dataset", lambda name, **_: dataset)
    return dataset


def sheet(images, path):
    challenge._write_sheet(images, path)
    return path.read_bytes()


def handed_in(folder, student, sheets):
    results = check_results(results_dict(student=student))
    samples = {f"challenge-{num}.png": data for num, data in sheets.items()}
    write_submission(folder / f"{student}.zip", results, samples, "<html></html>")


def test_a_sheet_holds_its_images_to_the_last_bit(few, tmp_path):
    images = few.test_images[:NUM]
    data = sheet(images, tmp_path / "4.png")
    assert torch.equal(challenge.read_sheet(data, (1, 28, 28), "4.png"), images)
    colours = images.expand(-1, 3, -1, -1).clone()
    colours[:, 1] = 255 - colours[:, 1]
    data = sheet(colours, tmp_path / "2.png")
    assert torch.equal(challenge.read_sheet(data, (3, 28, 28), "2.png"), colours)
    with pytest.raises(CourseError, match="2.png: expected a picture of 256 x 640"):
        challenge.read_sheet(data, (3, 32, 32), "2.png")


def test_a_sheet_of_noise_is_small_enough_to_hand_in(tmp_path):
    shape = (challenge.NUM_IMAGES, 1, 28, 28)
    noise = torch.randint(256, shape, dtype=torch.uint8)
    assert len(sheet(noise, tmp_path / "1.png")) < MAX_SAMPLE_BYTES


def test_only_the_network_of_the_course_takes_part():
    config = preset("diffusion", "laptop").model
    challenge.check_network(build(config))
    challenge.check_network(build(preset("reflow", "laptop").model))
    challenge.check_network(build(replace(config, image_channels=3, num_classes=4)))
    for changes in ({"channels": (32, 64, 96)}, {"num_blocks": 2}, {"attention": False}):
        with pytest.raises(CourseError, match=f"model.{next(iter(changes))}"):
            challenge.check_network(build(override(config, changes)))
    with pytest.raises(CourseError, match="dcgan"):
        challenge.check_network(build(DCGANConfig(generator_width=2, discriminator_width=2)))


def test_the_halves_are_two_and_real_images_are_near_to_both(few):
    judge = challenge.judge_of(few)
    assert len(judge.open_half) == len(judge.hidden_half) == 160
    real, noise = few.train_images[:NUM], torch.randint(256, (NUM, 1, 28, 28), dtype=torch.uint8)
    for hidden in (False, True):
        assert judge.measure(real, hidden).value < judge.measure(noise, hidden).value
    assert judge.measure(real).dataset == "strokes, open half"
    with pytest.raises(CourseError, match="folder"):
        challenge.judge_of(replace(few, name="folder"))


def test_the_class_board_measures_pictures_anew_and_one_cannot_stop_the_others(few, tmp_path):
    real = few.train_images
    good = {num: sheet(real[:NUM], tmp_path / "a.png") for num in challenge.CALLS}
    bad = {4: sheet(255 - real[:NUM], tmp_path / "b.png")}
    small = {1: sheet(real[:NUM, :, :14], tmp_path / "c.png")}
    for student, sheets in (("Ada", good), ("Bob", bad), ("Cyd", small), ("Dan", {})):
        handed_in(tmp_path, student, sheets)
    (tmp_path / "Eve.zip").write_bytes(b"no archive")
    entries, complaints = challenge.read_entries(tmp_path)
    assert [entry.student for entry in entries] == ["Ada", "Bob"]
    assert len(complaints) == 1 and complaints[0].startswith("Cyd: challenge-1.png")
    assert entries[0].hidden_fid[4].value < entries[1].hidden_fid[4].value
    challenge.write_board(entries[::-1], complaints, tmp_path / "out")
    lines = (tmp_path / "out" / "challenge.csv").read_text(encoding="utf-8-sig").splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["Ada", "Bob"]
    page = (tmp_path / "out" / "challenge.html").read_text(encoding="utf-8")
    assert "Cyd: challenge-1.png" in page and page.index("Ada") < page.index("Bob")


def test_no_name_becomes_a_formula_in_the_table(tmp_path):
    measured = {4: Measurement("FID", 2.5, 0.3, NUM)}
    entry = challenge.Entry("=HYPERLINK(1)", "strokes", measured, measured)
    for separator in ("comma", "semicolon"):
        challenge.write_board([entry], [], tmp_path, separator)
        text = (tmp_path / "challenge.csv").read_text(encoding="utf-8-sig")
        assert text.splitlines()[1].startswith(
            "'=HYPERLINK(1)" + {"comma": ",", "semicolon": ";"}[separator]
        )


def test_a_model_that_was_chosen_on_the_open_half_gives_itself_away():
    def entry(open_fid, hidden_fid):
        def measured(value, half):
            return Measurement("FID", value, 0.3, NUM, extractor="judge", dataset=half)

        return challenge.Entry(
            "Ada", "strokes", {4: measured(open_fid, "open")}, {4: measured(hidden_fid, "hidden")}
        )

    assert entry(2.0, 4.0).questions == [f"4 calls: {challenge.HIDDEN_IS_WORSE}"]
    assert entry(2.0, 2.5).questions == [] and entry(4.0, 2.0).questions == []


def test_entering_draws_measures_and_keeps_the_pictures(few, tmp_path, monkeypatch):
    model = build(preset("diffusion", "laptop").model).eval()
    experiment = replace(preset("diffusion", "laptop"), dataset="strokes")
    run = type("Run", (), {"model": model, "experiment": experiment})()
    monkeypatch.setattr(challenge, "resolve", lambda source: run)
    monkeypatch.setattr(challenge, "CALLS", (1, 2))
    monkeypatch.setattr(challenge, "read_homework", lambda folder: {})
    found = challenge.enter("anywhere", tmp_path)
    assert list(found) == [1, 2] and all(one.value > 0 for one in found.values())
    kept = (tmp_path / "challenge" / "2.png").read_bytes()
    images = challenge.read_sheet(kept, (1, 28, 28), "2.png")
    labels = challenge.challenge_labels(10)
    expected = challenge.draw_with_calls(model, labels, 2, seed=challenge.SEED)
    assert torch.equal(images, expected)


def test_the_command_prints_a_line_for_each_number_of_calls(monkeypatch, capsys, tmp_path):
    asked = []

    def enter(source, folder):
        asked.append((source, folder))
        return {1: Measurement("FID", 9.0, 0.5, NUM, dataset="strokes, open half")}

    monkeypatch.setattr(challenge, "enter", enter)
    words = ["homework", "challenge", "pretrained:diffusion/strokes"]
    assert main(words) == 0 and main([*words, "--homework", str(tmp_path)]) == 0
    assert asked == [(words[2], None), (words[2], tmp_path)]
    out = capsys.readouterr().out
    assert "1 calls: FID 9.00 ± 0.50 (strokes, open half)" in out and "nothing is kept" in out
    assert str(tmp_path / "challenge") in out
