"""The bug hunt of notebook 10: each script differs from the healthy one by its fault alone, shows
what the texts say, and is accepted mended and refused half mended.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from messages import message, passes
from torch import nn

from course_utils.exercises import hunt_10
from course_utils.plotting.canvas import attached_text


@pytest.fixture(scope="module")
def runs():
    return hunt_10.run_hunts(hunt_10.NUM_STEPS)


def changed_script(*changes):
    """Returns the healthy script with some texts replaced."""
    source = inspect.getsource(hunt_10.healthy)
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    names: dict = {"torch": torch, "nn": nn}
    exec(source, names)  # noqa: S102 (our own text)
    return names["healthy"]


def test_the_symptoms_are_what_the_texts_say(runs):
    right, apart, one_time = (runs[number].health for number in (0, 1, 2))
    assert apart.second == pytest.approx(apart.first, rel=0.15) and apart.near_one < 0.05
    assert runs[1].one.norm(dim=1).median() < 0.5  # a blob inside the ring
    assert apart.first == right.first and right.second < 0.02
    assert one_time.first < 0.95 * right.first and one_time.second < 0.02
    assert max(one_time.near_slow, one_time.near_one) < 0.5 * right.near_slow


def test_a_mended_script_passes():
    old = "rows, t = torch.randint(4000, (256,)), torch.rand(256)"
    other = "rows, t = torch.randperm(4000)[:256], torch.rand(256)"
    assert passes("10.mend_1", changed_script((old, other)))


@pytest.mark.parametrize("number", hunt_10.HUNTS)
def test_the_broken_script_is_told_what_it_does(number):
    words = message(f"10.mend_{number}", hunt_10.HUNTS[number].script)
    assert words == f"The script still does what it did: {hunt_10.HUNTS[number].seen}."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("(noise - x0)).square()", "(x0 - noise)).square()")], "are near a mode"),
        ([("step / num_calls)", "1 - step / num_calls)")], "is not straight"),
        ([("noise, t = torch.randn(256, 2)", "noise, t = torch.ones(256, 2)")], "cannot be lower"),
        ([("losses.append(loss.item())", "losses.append(float('nan'))")], "NaN or infinity"),
        ([("return straight, sample, losses", "return straight, losses")], "Expected velocity"),
        ([("return straight, sample, losses", "pass")], "Is the `return` missing"),
        ([("return straight, sample, losses", "return 1, 2, losses")], "functions velocity"),
        ([("range(num_steps)", "range(9)")], "keep num_steps and losses"),
        ([("        return x\n", "        return x[0]\n")], "Expected|raised"),
    ],
)
def test_half_mended_scripts_are_refused(changes, words):
    found = message("10.mend_1", changed_script(*changes))
    assert any(word in found for word in words.split("|")), found


def test_the_picture_of_a_hunt_carries_its_numbers(runs):
    figure = hunt_10.symptoms(runs, 1)
    figure.canvas.draw()
    text = attached_text(figure)
    assert f"ends at {runs[1].health.first:.2f}" in text and len(text) <= 400
