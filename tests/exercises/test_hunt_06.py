"""The bug hunt of notebook 06: the scripts show what their texts say, other right mends pass, and
half mended ones are refused with a reason.
"""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from messages import message, passes
from torch import nn

from course_utils.exercises import hunt_06


def changed_script(*changes, script=hunt_06.healthy):
    """Returns a script with some texts replaced."""
    source = inspect.getsource(script)
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    names: dict = {"torch": torch, "nn": nn, "F": F}
    exec(source, names)  # noqa: S102 (our own text)
    return names[script.__name__]


@pytest.fixture(scope="module")
def runs():
    return hunt_06.run_hunts(hunt_06._trial_images()[:1000], num_steps=200)


def parts(runs, number):
    """Returns the terms of a script in its first step and at its end, means of 30 steps."""
    terms = torch.tensor(runs[number].terms)
    return terms[0], terms[-30:].mean(0)


# ------------------------------------------------------------------ what they show


def test_each_script_is_the_healthy_one_but_for_its_fault(runs):
    first = {number: run.terms[0] for number, run in runs.items()}
    assert set(first) == {0, 1, 2, 3, 4, 5}
    assert first[1][0] == first[5][0] == first[0][0]  # before the first update
    assert first[4] != first[0]
    assert first[2][0] == first[0][0] and first[2][1] != first[0][1]
    assert first[3][0] != first[0][0]
    assert all(runs[number].terms[-1] != runs[0].terms[-1] for number in range(1, 6))


def test_without_gradient_the_generator_keeps_its_noise(runs):
    (_, g_first, *_), (d_last, g_last, *_) = parts(runs, 1)
    assert g_last > 2 * g_first and d_last < 0.1
    torch.manual_seed(0)
    untrained = hunt_06.GanTrained(*hunt_06.hunt_1(hunt_06._trial_images(), 0)).generator
    weights = zip(untrained.parameters(), runs[1].generator.parameters())
    assert all(torch.equal(*pair) for pair in weights)


def test_with_a_swapped_target_both_losses_vanish_and_the_discriminator_is_right(runs):
    _, (d_last, g_last, real, fake) = parts(runs, 2)
    assert d_last < 0.05 and g_last < 0.05 and real > 0.95 and fake < 0.05


def test_with_pixels_from_0_to_1_the_background_is_grey(runs):
    shape = hunt_06._trial_images().shape[1:]
    # the corner is background in every stroke image
    corners = [hunt_06._new_images(runs[number], shape)[:, 0, 0, 0].float() for number in (3, 0)]
    assert 100 < corners[0].median() < 155 and corners[1].median() < 40


def test_with_two_sigmoids_probabilities_and_loss_keep_away_from_the_ends(runs):
    terms = torch.tensor(runs[4].terms)
    assert terms[:, 2:].min() >= 0.5 and terms[:, 2:].max() < 0.732 and terms[:, 0].min() > 1
    assert torch.tensor(runs[0].terms)[:, 2:].min() < 0.45


def test_a_discriminator_without_updates_is_soon_content(runs):
    (d_first, g_first, *_), (d_last, g_last, _, fake) = parts(runs, 5)
    assert g_last < 0.2 < g_first and d_last > 1.5 * d_first and fake > 0.8


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 12, 12), (1, 9, 9)])
def test_they_take_other_images_and_few_of_them(shape):
    images = torch.randint(256, (60, *shape), dtype=torch.uint8)
    runs = hunt_06.run_hunts(images, num_steps=2)
    figure = hunt_06.symptoms(runs, 3, images[:3])
    assert len(runs) == 6 and "Curves of broken script 3" in figure.alt_text


def test_equal_images_give_equal_runs_and_leave_the_random_stream_alone():
    images = hunt_06._trial_images()[:40]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = hunt_06.run_hunts(images, num_steps=2)
    assert torch.equal(torch.rand(1), expected)
    again = hunt_06.run_hunts(images, num_steps=2)
    assert all(first[number].terms == again[number].terms for number in first)


def test_the_picture_carries_its_numbers(runs):
    figure = hunt_06.symptoms(runs, 2, hunt_06._trial_images()[1000:1008])
    curves = [line.get_ydata()[-1] for line in figure.axes[0].get_lines()]
    for value in curves:
        assert hunt_06._short(value) in figure.alt_text
    dashed = [line.get_linestyle() for line in figure.axes[0].get_lines()]
    assert sorted(dashed) == ["-", "-", "--", "--"]


# ------------------------------------------------------------------ mends

REPORT = "d_loss.item(), g_loss.item(), *said"
RETURN = "return generator, discriminator, terms"
DETACH_LATER = "discriminator(fake), is_real", "discriminator(fake.detach()), is_real"
SLOPE = ("nn.LeakyReLU(0.2),\n        nn.Linear(256", "nn.LeakyReLU(0.1),\n        nn.Linear(256")

OTHER_MENDS = {
    1: [("fake.detach()", "fake.data")],
    2: [("cross_entropy(discriminator(fake), is_real)", "F.softplus(-discriminator(fake)).mean()")],
    3: [(".flatten(1) / 127.5 - 1", ".flatten(1) / 255"), ("nn.Tanh()", "nn.Sigmoid()")],
    4: [
        ("nn.Linear(128, 1),", "nn.Linear(128, 1), nn.Sigmoid(),"),
        ("F.binary_cross_entropy_with_logits", "F.binary_cross_entropy"),
        ("real_logits.sigmoid()", "real_logits"),
        ("fake_logits.sigmoid()", "fake_logits"),
    ],
    5: [SLOPE],
}


@pytest.mark.parametrize("number", OTHER_MENDS)
def test_other_mended_scripts_pass(number):
    assert passes(f"06.mend_{number}", changed_script(*OTHER_MENDS[number]))


WRONG_STILL, AS_BEFORE = "Something is still wrong", "still does what it did"
HALF = [
    (1, [DETACH_LATER], AS_BEFORE),
    (
        2,
        [
            ("cross_entropy(real_logits, is_real)", "cross_entropy(real_logits, is_fake)"),
            ("cross_entropy(fake_logits, is_fake)", "cross_entropy(fake_logits, is_real)"),
        ],
        "Both losses fall to zero",
    ),
    (3, [("/ 127.5 - 1", "/ 1.0")], WRONG_STILL),
    (3, [("/ 127.5 - 1", "/ 127.5")], WRONG_STILL),
    (
        4,
        [
            ("nn.Linear(128, 1),", "nn.Linear(128, 1), nn.Sigmoid(),"),
            ("F.binary_cross_entropy_with_logits", "F.binary_cross_entropy"),
        ],
        "apply it once",
    ),
    (4, [("randn(64, latent_dim)", "ones(64, latent_dim)")], WRONG_STILL),
    (5, [("        d_optimizer.step()\n", "")], AS_BEFORE),
]


@pytest.mark.parametrize(("number", "changes", "words"), HALF)
def test_half_mended_scripts_are_refused(number, changes, words):
    assert words in message(f"06.mend_{number}", changed_script(*changes))


# these are seen after a few steps as well
FORMS = [
    ([(REPORT, "d_loss.item(), g_loss.item(), 9 + real_logits.mean().item(), 0.0")], "the sigmoid"),
    ([(REPORT, "d_loss.item(), float('nan'), *said")], "NaN or infinity"),
    ([(RETURN, "return generator, terms")], "Expected generator, discriminator and terms"),
    ([(RETURN, "return 1, discriminator, terms")], "two networks"),
    ([(f"    {RETURN}\n", "")], "Is the `return` missing"),
    ([("range(num_steps)", "range(3)")], "each of the 4 steps"),
    ([(REPORT, "d_loss.item(), g_loss.item()")], "Expected four numbers for each step"),
]


@pytest.mark.parametrize(("changes", "words"), FORMS)
def test_what_does_not_have_the_form_of_a_script_is_refused(changes, words, monkeypatch):
    monkeypatch.setattr(hunt_06, "NUM_STEPS", 4)
    assert words in message("06.mend_1", changed_script(*changes))


@pytest.mark.parametrize("number", [2, 4])
def test_a_script_that_only_looks_different_still_does_what_it_did(number):
    hunt = hunt_06.HUNTS[number]
    change = ("num_pixels, latent_dim = ", "_, num_pixels, latent_dim = 0, ")
    same = changed_script(change, script=hunt.script)
    assert hunt.seen in message(f"06.mend_{number}", same)
