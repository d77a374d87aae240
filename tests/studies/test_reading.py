"""The reader of attributes: right on fresh renderings, its errors corrected for, and captions that
are obeyed or not.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.data.captions import ATTRIBUTES, SCENE_ATTRIBUTES
from course_utils.data.scenes import draw_scenes, draw_singles
from course_utils.models.reader import UNKNOWN, AttributeReader
from course_utils.studies.reading import (
    READER,
    READER_VALUES,
    binding_errors,
    calibrate,
    corrected_accuracy,
    load_reader,
    obeyed,
    read_attributes,
    reader_record,
    word_accuracy,
)

NUM_FRESH, FRESH_SEED = 1000, 77


@pytest.fixture(scope="module")
def singles():
    return draw_singles(300, np.random.default_rng(FRESH_SEED + 1))


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(200, np.random.default_rng(FRESH_SEED + 1))


def test_the_reader_is_right_on_fresh_renderings():
    recorded = reader_record()["calibration"]
    for dataset, attributes in calibrate(load_reader(), NUM_FRESH, FRESH_SEED).items():
        assert list(attributes) == list(recorded[dataset])
        for name, counts in attributes.items():
            noted = recorded[dataset][name]
            rate = noted["num_right"] / noted["num_pictures"]
            assert rate >= 0.99 and noted["num_pictures"] == 20_000, name
            assert counts["num_right"] / NUM_FRESH >= 0.985, name


def test_it_is_right_on_the_combinations_that_no_model_sees_in_training():
    drawn = draw_singles(300, np.random.default_rng(FRESH_SEED), held_out=True)
    read = read_attributes(drawn.images)
    for name in ("digit", "ink"):
        assert (read[name] == drawn.factors[name]).double().mean() >= 0.98, name


def test_the_card_says_what_the_record_says():
    record, text = reader_record(), (READER / "README.md").read_text(encoding="utf-8")
    assert record["weights_sha256"] in text
    for dataset, attributes in record["calibration"].items():
        for name, counts in attributes.items():
            share = counts["num_right"] / counts["num_pictures"]
            assert f"| {dataset} | {name} | {share:.4f} | {counts['num_pictures']:,} |" in text
    size = sum(path.stat().st_size for path in READER.iterdir())
    assert size <= 500_000


def test_true_captions_are_obeyed_and_a_changed_word_is_noticed(singles):
    found = word_accuracy(singles.images, singles.captions)
    assert set(found) == set(ATTRIBUTES)
    for name, accuracy in found.items():
        assert accuracy.value >= 0.97 and accuracy.num_pictures > 20, name
        assert 0 < accuracy.error < 0.1
    captions = ["a red 7 leaning left on blue"] * 300
    rows = obeyed(singles.images, captions)
    assert {tuple(row) for row in rows} == {("paper", "ink", "digit", "slant")}
    for name, code in (("digit", 7), ("ink", 0), ("slant", 0), ("paper", 3)):
        truth = (singles.factors[name] == code).tolist()
        agreeing = np.mean([row[name] == right for row, right in zip(rows, truth)])
        assert agreeing >= 0.98, name


def test_scenes_are_read_digit_by_digit(scenes):
    found = word_accuracy(scenes.images, scenes.captions)
    assert set(found) == set(SCENE_ATTRIBUTES)
    assert min(accuracy.value for accuracy in found.values()) >= 0.97
    alone = draw_singles(50, np.random.default_rng(0)).images
    assert (read_attributes(alone, scenes=True)["relation"] == -1).double().mean() >= 0.95


def test_colours_bound_to_the_wrong_digit_are_counted(scenes):
    factors, inks = scenes.factors, SCENE_ATTRIBUTES["first_ink"]
    rows = list(
        zip(*(factors[f"{place}_ink"].tolist() for place in ("first", "second")), strict=True)
    )
    different = [row for row, (first, second) in enumerate(rows) if first != second]
    images = scenes.images[different]
    links = [("left of", "above")[factors["relation"][row]] for row in different]
    digits = [
        [factors[f"{place}_digit"][row] for place in ("first", "second")] for row in different
    ]
    for turn, share in ((1, 0.0), (-1, 1.0)):
        captions = [
            f"{inks[pair[0]]} {first} {link} {inks[pair[1]]} {second}"
            for link, (first, second), row in zip(links, digits, different)
            for pair in [rows[row][::turn]]
        ]
        binding = binding_errors(images, captions)
        assert binding.num_scenes >= 0.97 * len(images)
        assert binding.num_swapped == share * binding.num_scenes
    with pytest.raises(CourseError, match="expected captions of two digits"):
        binding_errors(images[:1], ["a red 7"])


def test_the_correction_recovers_the_share_that_is_true():
    """A reader that is right in 90 of 100 cases, and answers one of three other values else."""
    rng = np.random.default_rng(0)
    calibration = {"num_pictures": 2000, "num_right": 1800}
    values, errors = [], []
    for _ in range(400):
        obeys = rng.random(500) < 0.7
        right = np.where(obeys, rng.random(500) < 0.9, rng.random(500) < 0.1 / 3)
        known = {"num_pictures": 2000, "num_right": int(rng.binomial(2000, 0.9))}
        answer = corrected_accuracy(int(right.sum()), 500, known, 4)
        values.append(answer.value)
        errors.append(answer.error)
    assert np.mean(values) == pytest.approx(0.7, abs=4 * np.std(values) / math.sqrt(400))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)
    perfect = corrected_accuracy(450, 500, {"num_pictures": 1000, "num_right": 1000}, 4)
    assert perfect.value == perfect.read == 0.9
    assert corrected_accuracy(500, 500, calibration, 4).value == 1.0, "kept within 0 and 1"
    assert corrected_accuracy(0, 500, calibration, 4).value == 0.0
    assert str(perfect) == "0.900 ± 0.014"


def test_attributes_that_a_picture_does_not_have_add_no_loss():
    torch.manual_seed(0)
    reader = AttributeReader({"a": 2, "b": 3}).eval()
    images = torch.randn(6, 3, 32, 32)
    codes = {"a": torch.tensor([0, 1, 0, 1, 0, 1]), "b": torch.tensor([UNKNOWN] * 4 + [0, 2])}
    logits = reader.logits(images)
    expected = sum(
        torch.nn.functional.cross_entropy(logits[name][rows], codes[name][rows])
        for name, rows in (("a", slice(None)), ("b", slice(4, None)))
    )
    torch.testing.assert_close(reader.cross_entropy(images, codes), expected)
    codes["b"] = torch.full((6,), UNKNOWN)
    assert torch.isfinite(reader.cross_entropy(images, codes))


@pytest.mark.parametrize(
    "captions, words",
    [
        (["a 7"], ["2 pictures and 1 captions"]),
        (["a 7", "a 7 above a 3"], ["got both"]),
        (["a 7", "a sept"], ["unknown word 'sept'"]),
    ],
)
def test_captions_that_cannot_be_compared_are_refused(captions, words, singles):
    with pytest.raises(CourseError) as caught:
        word_accuracy(singles.images[:2], captions)
    assert all(word in str(caught.value) for word in words), caught.value


def test_pictures_of_another_size_are_refused():
    with pytest.raises(CourseError, match=r"\[B, 3, 32, 32\], got \[2, 3, 28, 28\]"):
        load_reader().read(torch.zeros(2, 3, 28, 28, dtype=torch.uint8))
    assert READER_VALUES["layout"] == 3
