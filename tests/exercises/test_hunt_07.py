"""The bug hunt of notebook 07: each script differs from the healthy one by its fault alone, shows
what the texts say, and is accepted mended in more than one way and refused half mended.
"""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from messages import message, passes
from torch import nn

from course_utils.exercises import hunt_07
from course_utils.plotting.canvas import attached_text


@pytest.fixture(scope="module")
def runs():
    """What the scripts make of the images of the trial."""
    images, labels = (part[: hunt_07.NUM_TRAIN] for part in hunt_07._trial_data())
    return hunt_07.run_hunts(images, labels, hunt_07.NUM_STEPS)


@pytest.fixture(scope="module")
def health(runs):
    return {number: hunt_07._health(run.trained) for number, run in runs.items()}


def changed_script(*changes, script=hunt_07.healthy):
    """Returns a script with some texts replaced."""
    source = inspect.getsource(script)
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    names: dict = {"torch": torch, "nn": nn, "F": F}
    exec(source, names)  # noqa: S102 (our own text)
    return names[script.__name__]


TARGET = "(velocity(xt, t, y) - (eps - x0))"
STEP = "x = x - (plain + guidance * (told - plain)) / num_steps"
OTHER_MENDS = {
    1: [("(told - plain)) / num_steps", "(told - plain)) * (1 / num_steps)")],
    2: [("torch.rand(128)\n", "((torch.arange(128) + torch.rand(128)) / 128)\n")],
    3: [
        ("rows = torch.randint(len(x_all), (128,))", "rows = torch.randperm(len(x_all))[:128]"),
        ("2e-3", "3e-3"),
    ],
    4: [("torch.randn(128, num_pixels)", "torch.randn_like(x_all[rows])")],
    5: [(STEP, "x = x - (told + (guidance - 1) * (told - plain)) / num_steps")],
}


@pytest.mark.parametrize("number", OTHER_MENDS)
def test_other_mended_scripts_pass(number):
    assert passes(f"07.mend_{number}", changed_script(*OTHER_MENDS[number]))


@pytest.mark.parametrize("number", hunt_07.HUNTS)
def test_the_broken_script_is_told_what_it_does(number):
    script = hunt_07.HUNTS[number].script
    renamed = changed_script(("y = ", "y  = "), script=script)  # not the function that is listed
    for answer in (script, renamed):
        words = message(f"07.mend_{number}", answer)
        assert words.startswith("The script still does what it did: ")
        assert hunt_07.HUNTS[number].seen in words


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    [
        (1, [(TARGET, "(velocity(xt, t, y) - (eps + x0))")], "or the target is another"),
        (1, [("x = x - (plain", "x = x + (0.9 * plain")], "way from noise to image"),
        (1, [(TARGET, "(velocity(xt, t, y) - (x0 - eps))")], "something is still wrong"),
        (2, [("t = torch.rand(128)", "t = torch.rand(2).repeat(64)")], "still jumps"),
        (3, [("labels[rows])", "labels[rows].roll(1))")], "which label belongs to which image"),
        (3, [("labels[rows])", "0 * labels[rows])")], "which label belongs to which image"),
        (
            4,
            [("x0, eps =", "torch.manual_seed(3)\n        x0, eps =")],
            "the noise is not new in every step",
        ),
        (5, [(STEP, "x = x - plain / num_steps")], "Look at the guidance"),
        (5, [("guidance * (told - plain)", "-0.5 * (told - plain)")], "Look at the guidance"),
        (2, [("loss.backward()", "loss.item()")], "something is still wrong"),
    ],
)
def test_half_mended_scripts_are_refused(number, changes, words):
    assert words in message(f"07.mend_{number}", changed_script(*changes))


# these are seen after a few steps as well
RETURN = "return velocity, sample, losses"
FORMS = [
    (2, [("losses.append(loss.item())", "losses.append(float('nan'))")], "NaN or infinity"),
    (4, [(RETURN, "return sample, losses")], "Expected velocity"),
    (4, [(RETURN, "pass")], "Is the `return` missing"),
    (4, [(RETURN, "return 1, 2, losses")], "functions velocity"),
    (4, [("range(num_steps):", "range(3):")], "keep num_steps and losses"),
    (5, [("return x.clamp(-1, 1)", "return x[0]")], "sample(noise, y) to give"),
]


@pytest.mark.parametrize(("number", "changes", "words"), FORMS)
def test_what_does_not_have_the_form_of_a_script_is_refused(number, changes, words, monkeypatch):
    monkeypatch.setattr(hunt_07, "NUM_STEPS", 4)
    assert words in message(f"07.mend_{number}", changed_script(*changes))


def test_each_script_begins_as_the_healthy_one_but_for_its_fault():
    images, labels = (part[:200] for part in hunt_07._trial_data())
    runs = hunt_07.run_hunts(images, labels, num_steps=1)
    first = {number: run.trained.losses[0] for number, run in runs.items()}
    assert set(runs) == {0, 1, 2, 3, 4, 5} and first[1] == first[5] == first[0]
    # an untrained network says next to nothing, so labels and noise hardly matter
    assert first[3] == pytest.approx(first[0], rel=0.25)
    assert first[4] == pytest.approx(first[0], rel=0.25)


def test_the_symptoms_are_what_the_texts_say(runs, health):
    """Each sentence of `seen`, measured."""
    late = {number: hunt_07._late(run.trained.losses) for number, run in runs.items()}
    for number in (1, 5):  # the loss is that of the healthy run
        assert late[number] == pytest.approx(late[0], rel=0.05)
    pixels = runs[1].pictures.double() / 127.5 - 1
    assert pixels.abs().mean() > 0.9  # black and white ...
    assert health[1].distance > 2 * health[0].distance  # ... noise
    assert health[2].jumps > 3 * health[0].jumps
    columns = {number: columns_apart(run.pictures) for number, run in runs.items()}
    assert columns[3] < 0.2 * columns[0] and columns[5] > 0.4 * columns[0]
    assert late[4] < 0.6 * late[0] and health[4].distance > 1.2 * health[0].distance
    assert health[5].agreement < 0.15 and health[0].agreement > 0.6


def columns_apart(pictures) -> float:
    """Returns how far the images of one noise are apart, root mean square."""
    x = pictures.double().flatten(2) / 127.5
    return (x - x.mean(1, keepdim=True)).square().mean().sqrt().item()


OTHER_FAULTS = {
    "pixels in the wrong range": [("images / 127.5 - 1", "images / 255")],
    "last step of the sampler left out": [("range(num_steps, 0, -1)", "range(num_steps, 1, -1)")],
    "labels never hidden": [("torch.rand(128) < 0.1", "torch.rand(128) < 0.0")],
}


def test_the_faults_that_no_script_has_would_show_as_told(runs, health):
    found = {}
    images, labels = (part[: hunt_07.NUM_TRAIN] for part in hunt_07._trial_data())
    for name, changes in OTHER_FAULTS.items():
        trained = hunt_07._trained(changed_script(*changes), images, labels, hunt_07.NUM_STEPS)
        found[name] = trained, hunt_07._pictures(trained, 1, 6)
    assert set(found) == set(hunt_07.FAULTS) - {hunt.fault for hunt in hunt_07.HUNTS.values()}
    _, pictures = found["pixels in the wrong range"]
    assert pictures.double().quantile(0.05) > 90
    assert runs[0].pictures.double().quantile(0.05) < 20
    trained, pictures = found["last step of the sampler left out"]
    # the shapes are those of the healthy run, from the same noise; the grain is new
    apart = (pictures.double() - runs[0].pictures.double()).square().mean().sqrt().item()
    assert 2 < apart < 40
    trained, _ = found["labels never hidden"]
    assert hunt_07._late(trained.losses) == pytest.approx(health[0].reported, rel=0.05)
    assert hunt_07._health(trained).agreement > 0.6


def test_the_picture_of_a_hunt_carries_its_numbers(runs):
    figure = hunt_07.symptoms(runs, 3)
    figure.canvas.draw()
    losses = runs[3].trained.losses
    assert figure.get_figwidth() <= 7
    assert f"{losses[0]:.2f} to {hunt_07._late(losses):.2f} and" in attached_text(figure)
    assert "loss of broken script 3" in attached_text(figure) and len(attached_text(figure)) <= 400


def test_colour_other_sizes_and_few_classes_are_taken():
    images = torch.randint(0, 256, (60, 3, 33, 33), dtype=torch.uint8)
    runs = hunt_07.run_hunts(images, torch.arange(60) % 3, num_steps=2)
    assert runs[2].pictures.shape == (3, 3, 3, 14, 14)
    assert hunt_07.symptoms(runs, 2).axes
