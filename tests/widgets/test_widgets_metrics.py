"""The explorers of metrics: their plain functions, and that sliders redraw the picture."""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.metrics.classes import inception_score
from course_utils.widgets import (
    constructed_probabilities,
    fid_explorer,
    fid_picture,
    inception_explorer,
    inception_picture,
)
from course_utils.widgets.metrics import gaussian_of

PNG = b"\x89PNG"


def texts(figure) -> str:
    axes = [part for part in figure.axes]
    legends = [
        text.get_text()
        for part in axes
        if part.get_legend()
        for text in part.get_legend().get_texts()
    ]
    return " ".join(
        [
            *legends,
            *(text.get_text() for part in axes for text in part.texts),
            *(part.get_title() for part in axes),
        ]
    )


def sliders_and_picture(panel):
    *sliders, picture = panel.children[0].children
    return {slider.description: slider for slider in sliders}, picture


def test_gaussian_of_sliders():
    mean, covariance = gaussian_of(1.0, -2.0, 2.0, 0.5, 0.6)
    assert mean.tolist() == [1.0, -2.0]
    torch.testing.assert_close(
        covariance, torch.tensor([[4.0, 0.6], [0.6, 0.25]], dtype=torch.float64)
    )


@pytest.mark.parametrize(
    ("values", "mean_term", "covariance_term"),
    [
        ({}, 0.0, 0.0),
        ({"mean_x": 3.0, "mean_y": 4.0}, 25.0, 0.0),
        ({"std_x": 2.0, "std_y": 0.5}, 0.0, 1.25),  # (2 - 1)^2 + (0.5 - 1)^2
        # the covariance has the eigenvalues 2 and 0
        ({"correlation": 1.0}, 0.0, 4 - 2 * math.sqrt(2)),
    ],
)
def test_fid_picture_shows_both_terms(values, mean_term, covariance_term):
    shown = texts(fid_picture(**values))
    assert f"means: {mean_term:.2f}" in shown.replace("-0.00", "0.00")
    assert f"covariances: {covariance_term:.2f}" in shown.replace("-0.00", "0.00")
    assert f"{mean_term + covariance_term:.2f}" in shown


def test_constructed_probabilities():
    p = constructed_probabilities(0.7, 2, 4)
    torch.testing.assert_close(
        p, torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]], dtype=torch.float64)
    )


@pytest.mark.parametrize(
    ("confidence", "num_drawn", "score"),
    [(1.0, 10, 10.0), (1.0, 1, 1.0), (1.0, 4, 4.0), (0.1, 10, 1.0)],
)
def test_constructed_generator_has_the_score_that_it_should(confidence, num_drawn, score):
    measured = inception_score(
        constructed_probabilities(confidence, num_drawn).repeat(2, 1)
    ).score.value
    assert measured == pytest.approx(score, rel=1e-9)
    assert f"IS = S x D = {score:.2f}" in texts(inception_picture(confidence, num_drawn))


@pytest.mark.parametrize(
    ("explorer", "moved", "value"),
    [
        (fid_explorer, "mean x", -2.0),
        (fid_explorer, "correlation", -0.9),
        (inception_explorer, "classes", 2),
    ],
)
def test_slider_redraws_the_picture(explorer, moved, value):
    sliders, picture = sliders_and_picture(explorer())
    before = bytes(picture.value)
    assert before.startswith(PNG)
    sliders[moved].value = value
    assert bytes(picture.value).startswith(PNG) and bytes(picture.value) != before


def test_fid_explorer_begins_where_the_static_picture_stands():
    sliders, _ = sliders_and_picture(fid_explorer())
    assert [slider.value for slider in sliders.values()] == [1.5, 0.5, 1.5, 0.7, 0.6]


def test_extreme_sliders_can_be_drawn():
    sliders, picture = sliders_and_picture(fid_explorer())
    for name, value in {"std x": 0.0, "std y": 0.0, "correlation": 1.0}.items():
        sliders[name].value = value
    assert bytes(picture.value).startswith(PNG)


BAD = [
    (lambda: gaussian_of(0, 0, -1, 1, 0), "std_x, std_y: expected 0 or more"),
    (lambda: gaussian_of(0, 0, 1, 1, 1.5), "correlation: expected -1 to 1, got 1.5"),
    (lambda: constructed_probabilities(0.05, 3), "confidence: expected 1/10 to 1, got 0.05"),
    (lambda: constructed_probabilities(0.5, 11), "num_drawn: expected 1 to 10, got 11"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_settings_have_their_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
