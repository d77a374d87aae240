"""The ELBO explorer: its plain function shows the exact numbers, and the sliders redraw the
picture.
"""

from __future__ import annotations

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.models.toy_vae import ToyLatentModel, best_gaussian, elbo, gap
from course_utils.widgets import elbo_explorer, elbo_picture

PNG = b"\x89PNG"


def bar_text(figure) -> str:
    return " ".join(text.get_text() for text in figure.axes[1].texts)


@pytest.mark.parametrize(("mean", "std", "x"), [(0.0, 1.0, 1.5), (0.5, 0.3, 0.0), (-3.0, 0.1, 4.0)])
def test_picture_shows_exact_elbo_gap_and_evidence(mean, std, x):
    figure = elbo_picture(mean, std, x)
    numbers = [torch.tensor(value, dtype=torch.float64) for value in (x, mean, std)]
    bound, rest = (fn(ToyLatentModel(), *numbers).item() for fn in (elbo, gap))
    assert f"ELBO {bound:.2f}" in bar_text(figure) and f"KL {rest:.2f}" in bar_text(figure)
    assert f"{ToyLatentModel().log_evidence(numbers[0]).item():.2f}" in figure.axes[1].get_title()


def test_picture_draws_posterior_prior_and_q():
    axes = elbo_picture().axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "posterior p(z | x)",
        "q(z)",
        "prior p(z)",
    ]
    assert len(axes.lines) == 2 and len(axes.collections) == 1


def test_gap_closes_for_the_straight_decoder():
    mu, std = best_gaussian(ToyLatentModel(bend=0.0), torch.tensor(1.5, dtype=torch.float64))
    assert "KL 0.00" in bar_text(elbo_picture(mu.item(), std.item(), 1.5, bend=0.0)).replace(
        "-0.00", "0.00"
    )


@pytest.mark.parametrize(("name", "value"), [("mean", 1.0), ("std", 0.3), ("x", -2.0)])
def test_slider_redraws_the_picture(name, value):
    *sliders, picture = elbo_explorer().children[0].children
    before = bytes(picture.value)
    next(slider for slider in sliders if slider.description == name).value = value
    assert (
        before.startswith(PNG)
        and bytes(picture.value).startswith(PNG)
        and bytes(picture.value) != before
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: elbo_picture(std=0.0), "std: expected more than 0, got 0.0"),
        (lambda: elbo_explorer(9.0), "x: expected -4 to 4, got 9.0"),
    ],
)
def test_bad_settings_have_their_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
