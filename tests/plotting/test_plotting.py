"""Figures show what they were given: pixels, labels, lines, errors. How they look was judged by eye
in the notebooks.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from course_utils import plotting
from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import with_error
from course_utils.plotting import charts

IMAGES = (torch.arange(6 * 4, dtype=torch.uint8) * 10).reshape(6, 1, 2, 2)
ROWS = [
    {
        "epoch": epoch,
        "split": split,
        "part": "model",
        "kl": 10.0 * epoch + (split == "test"),
        "loss": 100.0 / epoch,
    }
    for epoch in (1, 2, 3)
    for split in ("train", "test")
]


def shown_pixels(axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def tick_texts(axis) -> list[str]:
    return [text.get_text() for text in axis.get_ticklabels()]


EVERY = {
    "image_grid": lambda: plotting.image_grid(IMAGES, 4, title="grid"),
    "image_grid_titles": lambda: plotting.image_grid(IMAGES, 4, titles=list("abcdef")),
    "image_grid_colour": lambda: plotting.image_grid(IMAGES.repeat(1, 3, 1, 1), 3),
    "image_rows": lambda: plotting.image_rows({"a": IMAGES, "b": IMAGES}),
    "image_table": lambda: plotting.image_table(
        IMAGES, num_columns=3, xlabel="x", ylabel="y", pad=0
    ),
    "training_curves": lambda: plotting.training_curves(ROWS, ["kl", "loss"]),
    "latent_map": lambda: plotting.latent_map(
        torch.randn(50, 2), torch.arange(50) % 10, tuple("0123456789")
    ),
    "latent_map_names": lambda: plotting.latent_map(
        torch.randn(9, 2), torch.arange(9) % 2, ("shirt", "shoe")
    ),
    "lines": lambda: plotting.lines(
        [0, 1], {"a": [1.0, 2.0], "b": ([0.0, 1.0], [0.1, 0.2])}, "x", "y"
    ),
    "comparison": lambda: plotting.comparison({"a": (1.0, 0.1), "b": (2.0, 0.2)}, "nats"),
    "stacked_bars": lambda: plotting.stacked_bars(
        {"1": {"kl": 2.0, "rest": 3.0}, "2": {"kl": 1.0, "rest": 5.0}}, "beta", "nats"
    ),
    "ranked_bars": lambda: plotting.ranked_bars(
        torch.tensor([0.0, 2.0, 1.0]), "dimension", "nats", threshold=0.5
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_figure_can_be_drawn_and_leaves_no_global_figure(name):
    figure = EVERY[name]()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=30)
    assert stream.getvalue().startswith(b"\x89PNG")
    assert figure.get_size_inches()[0] == 7.0
    assert plt.get_fignums() == []


@pytest.mark.parametrize("images", [IMAGES, IMAGES.float() / 127.5 - 1.0], ids=["uint8", "signed"])
def test_image_rows_places_pixels_and_labels(images):
    axes = plotting.image_rows(
        {"original": images[:3], "decoded": images[3:]}, column_titles=["a", "b", "c"]
    ).axes[0]
    pixels = shown_pixels(axes)
    assert pixels.shape == (10, 14)  # 2 rows, 3 columns of 2 x 2 pixels, 2 pixels apart
    np.testing.assert_array_equal(pixels[6:8, 2:4], IMAGES[3, 0])
    assert tick_texts(axes.yaxis) == ["original", "decoded"] and tick_texts(axes.xaxis) == [
        "a",
        "b",
        "c",
    ]
    assert list(axes.get_yticks()) == [2.5, 6.5]
    assert axes.images[0].get_clim() == (0, 255)


@pytest.mark.parametrize(
    "names, rotation", [(["Bag", "Ankle boot"] * 5, 0), (["golden retriever", "Dachshund"] * 5, 90)]
)
def test_long_column_labels_are_turned_and_do_not_overlap(names, rotation):
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    figure = plotting.image_table(images, num_columns=10, column_labels=names)
    figure.canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert {label.get_rotation() for label in labels} == {rotation}
    assert all(left.x1 <= right.x0 for left, right in zip(boxes, boxes[1:]))


def test_image_table_without_gaps_continues_the_images():
    axes = plotting.image_table(IMAGES, num_columns=3, pad=0).axes[0]
    np.testing.assert_array_equal(shown_pixels(axes)[:2, :2], IMAGES[0, 0])
    assert shown_pixels(axes).shape == (4, 6)


def test_image_grid_writes_a_title_over_each_image():
    figure = plotting.image_grid(IMAGES, 4, titles=list("abcdef"))
    assert [axes.get_title() for axes in figure.axes][:6] == list("abcdef")
    assert len(figure.axes) == 8 and not figure.axes[7].images


def test_training_curves_draw_train_and_test_of_each_term():
    figure = plotting.training_curves({"a": ROWS, "b": ROWS}, ["kl", "loss"])
    assert [axes.get_title() for axes in figure.axes] == ["KL", "loss"]
    train, test = figure.axes[0].lines[:2]
    assert (train.get_label(), test.get_label()) == ("a train", "a test")
    assert list(train.get_ydata()) == [10.0, 20.0, 30.0] and list(test.get_ydata()) == [
        11.0,
        21.0,
        31.0,
    ]
    assert train.get_linestyle() != test.get_linestyle() and len(figure.axes[0].lines) == 4


def test_latent_map_marks_the_centre_of_each_class_and_names_its_dimensions():
    mu = torch.tensor([[1.0, 1.0], [1.0, 3.0], [1.0, 2.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 0, 0, 1])
    axes = plotting.latent_map(mu, labels, ("7", "shoe"), dimensions=(9, 4)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("z, dimension 9", "z, dimension 4")
    assert {text.get_text(): tuple(text.xy) for text in axes.texts} == {
        "7": (1.0, 2.0),
        "1 shoe": (-1.0, 0.0),
    }


@pytest.mark.parametrize("name", ["$", "a$b$", "{", "猫"])
def test_latent_map_takes_any_character_as_a_class_name(name):
    figure = plotting.latent_map(
        torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1]), (name, "b")
    )
    assert [text.get_text() for text in figure.axes[0].texts] == [f"0 {name}", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without that character draws a box
        figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_labels_that_would_cover_each_other_are_moved_apart():
    places = charts.apart([(0.0, 0.0), (0.0, 0.0), (0.1, 0.0), (5.0, 5.0)], distance=1.0)
    assert places[3] == (5.0, 5.0)
    assert min(math.dist(a, b) for a, b in itertools.combinations(places, 2)) > 0.9


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (87.342, 0.224, "87.34 ± 0.22"),
        (86.44, 1.04, "86.4 ± 1.0"),
        (1234.0, 56.0, "1234 ± 56"),
        (2.0, 0.0, "2.00000 ± 0.00000"),
    ],
)
def test_number_and_error_have_the_same_digits(value, error, text):
    assert with_error(value, error) == text


def test_comparison_shows_two_standard_errors():
    axes = plotting.comparison({"a": (1.0, 0.25), "b": (2.0, 0.5)}, "nats").axes[0]
    reach = [
        segment[:, 0].tolist()
        for container in axes.containers
        for segment in container.lines[2][0].get_segments()
    ]
    assert reach == [[0.5, 1.5], [1.0, 3.0]]
    assert tick_texts(axes.yaxis) == ["a", "b"]


def test_stacked_bars_add_up():
    axes = plotting.stacked_bars({"x": {"kl": 2.0, "rest": 3.0}}, "beta", "nats").axes[0]
    assert [(bar.get_y(), bar.get_height()) for bar in axes.patches] == [(0.0, 2.0), (2.0, 3.0)]
    assert "5.0" in [text.get_text() for text in axes.texts]


def test_ranked_bars_sort_and_count():
    axes = plotting.ranked_bars(
        torch.tensor([0.1, 2.0, 1.0]), "dimension", "nats", threshold=0.5
    ).axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([2.0, 1.0, 0.1])
    assert tick_texts(axes.xaxis) == ["1", "2", "0"]
    assert axes.get_legend().get_texts()[0].get_text() == "threshold 0.5: 2 of 3 above"


BAD = [
    (
        lambda: plotting.image_rows({"a": IMAGES, "b": IMAGES[:2]}),
        r"rows of images of one shape, got .*\[6, 1, 2, 2\].*\[2, 1, 2, 2\]",
    ),
    (lambda: plotting.image_rows({}), "one or more rows"),
    (lambda: plotting.image_rows({"a": IMAGES}, column_titles=["x"]), "labels: expected 6, got 1"),
    (lambda: plotting.image_grid(IMAGES, titles=["x"]), "titles: expected 6, got 1"),
    (
        lambda: plotting.image_grid(IMAGES.float()),
        r"expected images in \[-1, 1\], got values from 0 to 230",
    ),
    (lambda: plotting.training_curves(ROWS, ["fid"]), "no row of the history has the term 'fid'"),
    (
        lambda: plotting.latent_map(torch.zeros(5, 3), torch.zeros(5), ("0",)),
        r"shape \[N, 2\], got \[5, 3\]",
    ),
]


@pytest.mark.parametrize(("draw", "message"), BAD)
def test_bad_input_has_its_message(draw, message):
    with pytest.raises(CourseError, match=message):
        draw()
