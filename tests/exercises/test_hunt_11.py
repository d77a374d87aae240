"""The bug hunt of notebook 11: each script differs from the healthy one by its fault alone, shows
what the texts say, and is accepted mended and refused half mended.
"""

from __future__ import annotations

import difflib
import inspect

import pytest
import torch
import torch.nn.functional as F
from messages import message, passes
from torch import nn

from course_utils.exercises import hunt_11
from course_utils.plotting.canvas import attached_text


@pytest.fixture(scope="module")
def runs():
    return hunt_11.run_hunts(hunt_11.NUM_STEPS)


def changed_script(*changes):
    """Returns the healthy script with some texts replaced."""
    source = inspect.getsource(hunt_11.healthy)
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    names: dict = {"torch": torch, "nn": nn, "F": F}
    exec(source, names)  # noqa: S102 (our own text)
    return names["healthy"]


@pytest.mark.parametrize("number", hunt_11.HUNTS)
def test_a_script_differs_in_one_line(number):
    texts = [
        inspect.getsource(script).splitlines()[2:]
        for script in (hunt_11.healthy, hunt_11.HUNTS[number].script)
    ]
    changed = [line for line in difflib.ndiff(*texts) if line.startswith("- ")]
    assert len(changed) == 1, changed


def test_captions_are_true_of_their_pictures():
    pictures, tokens = hunt_11._trial_data()
    places = (pictures - hunt_11._MIDDLE) / hunt_11._STEP + 1
    for column, words in ((0, (2, 3, 4)), (1, (5, 6, 7))):
        for code, word in enumerate(words):
            told = (tokens == word).any(1)
            assert told.sum() > 500 and (places[told, column] - code).abs().mean() < 0.2
    assert (tokens[:, 0] == 1).all() and (tokens[:, 3] == 0).all()
    assert not ((tokens[:, 1] == 0) & (tokens[:, 2] > 0)).any()  # no word stands at the end
    assert 0.2 < (tokens[:, 2] == 0).float().mean() < 0.5


def test_the_symptoms_are_what_the_texts_say(runs):
    right, shuffled, unscaled, unnormalised, away, mask = (runs[i].health for i in range(6))
    assert min(right.plain, right.guided) > 0.95
    assert shuffled.loss > 1.5 * right.loss and 0 < shuffled.moved < 0.1
    assert 0.25 < shuffled.plain < 0.42 and 0.25 < shuffled.guided < 0.42
    assert unscaled.loss == right.loss and unscaled.plain == unscaled.guided == 0
    assert runs[2].plain.abs().mean() < 3
    assert unnormalised.loss > 20 * right.loss and unnormalised.plain < 0.05
    assert mask.loss > 1.5 * right.loss and mask.moved < 1e-6
    assert away.loss == right.loss and away.moved < 1e-5
    assert away.guided < 0.15 < away.plain < 0.45


@pytest.mark.parametrize(
    ("fault", "old", "new"),
    [
        ("captions never hidden", "captions[hidden, 1:] = 0", "pass"),
        ("all captions hidden", "captions[hidden, 1:] = 0", "captions[:, 1:] = 0"),
        ("target with the wrong sign", "(noise - x0)).square", "(x0 - noise)).square"),
    ],
)
def test_the_other_faults_are_described_as_they_are(fault, old, new, runs):
    right, given = runs[0].health, hunt_11._run(changed_script((old, new)), 500).health
    text = hunt_11.FAULTS[fault]
    if fault == "captions never hidden":
        assert "a little below" in text and 0.8 * right.loss < given.loss < right.loss
        assert given.plain > 0.95 and given.guided < given.plain - 0.02
    elif fault == "all captions hidden":
        assert "settle above" in text and given.loss > 1.5 * right.loss
        assert 0.02 < given.moved < 0.6 and given.plain < 0.5
    else:
        assert "far outside" in text and given.loss < 1.1 * right.loss and given.plain < 0.3


def test_a_mended_script_passes():
    old = "rows = torch.randint(len(latents), (256,))"
    assert passes("11.mend_1", changed_script((old, "rows = torch.randperm(len(latents))[:256]")))


@pytest.mark.parametrize("number", hunt_11.HUNTS)
def test_the_broken_script_is_told_what_it_does(number):
    words = message(f"11.mend_{number}", hunt_11.HUNTS[number].script)
    assert words == f"The script still does what it did: {hunt_11.HUNTS[number].seen}."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("(noise - x0)).square()", "(x0 - noise)).square()")], "are obeyed"),
        ([("captions[hidden, 1:] = 0", "captions[:, 1:] = 0")], "hardly changes"),
        ([("w * (wanted - unwanted)", "(1 + w - 2 * w * (w > 1)) * wanted")], "obeyed"),
        ([("losses.append(loss.item())", "losses.append(float('nan'))")], "NaN or infinity"),
        ([("return draw, losses", "return draw")], "Expected draw"),
        ([("return draw, losses", "pass")], "Is the `return` missing"),
        ([("return draw, losses", "return 1, losses")], "function draw"),
        ([("range(num_steps)", "range(9)")], "keep num_steps and losses"),
        ([("return x * std + mean", "return x[0]")], "Expected draw"),
    ],
)
def test_half_mended_scripts_are_refused(changes, words):
    found = message("11.mend_1", changed_script(*changes))
    assert words in found, found


def test_the_picture_of_a_hunt_carries_its_numbers(runs):
    figure = hunt_11.symptoms(runs, 1)
    figure.canvas.draw()
    text = attached_text(figure)
    assert f"ends at {runs[1].health.loss:.2f}" in text and len(text) <= 400
