"""Figures of the homework show what they were given."""

from __future__ import annotations

import pytest

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import attached_text
from course_utils.plotting.homework import (
    before_and_after,
    curve_terms,
    parameter_scatter,
    seed_curves,
)

NAN = float("nan")


def test_curves_of_groups_seeds_and_splits():
    run = {
        "train.epoch": [1, 2, 4],
        "train.loss": [3.0, 2.0, 1.0],
        "test.loss": [4.0, 3.0],
        "train.seconds": [1, 2, 3],
        "test.epoch": [2, 4],
    }
    assert curve_terms(
        [run, {"discriminator.train.loss": [1.0], "discriminator.train.epoch": [1]}]
    ) == ["loss", "discriminator loss"]
    fig = seed_curves({"class": [run, run], "changed": [run]}, ["loss"])
    axes = fig.axes[0]
    assert len(axes.lines) == 6
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[1, 2, 4], [2, 4]]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "class, train",
        "class, test",
        "changed, train",
        "changed, test",
    ]
    assert len({line.get_color() for line in axes.lines}) == 2 and {
        line.get_linestyle() for line in axes.lines
    } == {"-", "--"}


def test_curves_without_epochs_go_over_steps_or_count_from_one():
    axes = seed_curves({"class": [{"loss": [3.0, 2.0], "epoch": [7]}]}, ["loss"]).axes[0]
    assert list(axes.lines[0].get_xdata()) == [1, 2]
    assert axes.get_xlabel() == "number of the value"
    own = {"train.step": [40.0, 75.0], "train.loss": [3.0, 2.0]}
    axes = seed_curves({"class": [own]}, ["loss"]).axes[0]
    assert list(axes.lines[0].get_xdata()) == [40, 75] and axes.get_xlabel() == "step"
    with pytest.raises(CourseError, match="expected training curves, got none"):
        seed_curves({"class": [{}]}, curve_terms([{}]))


def test_each_panel_of_curves_has_its_unit():
    run = {"train.epoch": [1, 2]} | {f"train.{name}": [3.0, 2.0] for name in ("kl", "x", "y")}
    panels = {"kl": ("KL", "nats an image"), "x": ("answer", "probability")}
    fig = seed_curves({"class": [run]}, ["kl", "x", "y"], panels)
    first, _, last = fig.axes
    assert (first.get_title(), first.get_ylabel(), first.get_xlabel()) == (
        "KL",
        "nats an image",
        "epoch",
    )
    assert (last.get_title(), last.get_ylabel()) == ("y", "")
    # one panel's unit is not said of the others
    text = attached_text(fig)
    assert "values over epoch: KL, in nats an image, class, train from 3 at 1" in text
    assert "answer, in probability, class, train" in text and "y, class, train" in text


def test_no_axis_of_metrics_goes_beyond_what_is_possible():
    metrics = {name: {"class": (0.99, 0.02), "changed": (0.01, 0.02)} for name in ("recall", "x")}
    bounds = {"recall": (0.0, 1.0)}
    share, other = before_and_after(metrics, {"recall": "share"}, bounds).axes
    assert share.get_ylim() == (0.0, 1.0) and share.get_ylabel() == "share"
    assert other.get_ylim()[0] < 0 and other.get_ylabel() == ""
    # a number that cannot be stays in sight
    wrong = before_and_after({"recall": {"class": (1.5, 0.1)}}, {}, bounds).axes[0]
    assert wrong.get_ylim()[1] > 1.5


def test_metrics_before_and_after_with_two_standard_errors():
    fig = before_and_after({name: {"class": (4.0, 0.5), "changed": (6.0, NAN)} for name in "abcd"})
    assert len(fig.axes) == 4
    with_bar, without = (container.lines[2] for container in fig.axes[0].containers)
    assert with_bar[0].get_segments()[0][:, 1].tolist() == [3.0, 5.0] and without == ()
    assert [text.get_text() for text in fig.axes[0].get_xticklabels()] == ["class", "changed"]


def test_scatter_of_numbers_words_and_wide_ranges():
    panels = {
        "model.latent_dim": {"class model": [(20, 5.0)], "changed": [(5, 9.0), (40, 4.0)]},
        "train.learning_rate": {"class model": [(1e-3, 5.0)], "changed": [(1e-5, 9.0)]},
        "model.network": {
            "class model": [("mlp", 5.0)],
            "changed": [("conv", 4.0), ("a name of great length", 3.0), ("$\\frac{", 2.0)],
        },
    }
    fig = parameter_scatter(panels, "FID", 5.0, {"model.latent_dim": "dimensions"})
    numbers, wide, words = fig.axes
    assert (numbers.get_xlabel(), wide.get_xlabel()) == ("dimensions", "")
    assert list(numbers.lines[1].get_xdata()) == [5, 40] and list(numbers.lines[1].get_ydata()) == [
        9.0,
        4.0,
    ]
    assert (numbers.get_xscale(), wide.get_xscale(), words.get_xscale()) == (
        "linear",
        "log",
        "linear",
    )
    assert [text.get_text() for text in words.get_xticklabels()] == [
        r"\$\frac{",
        "a name of g…",
        "conv",
        "mlp",
    ]
    assert numbers.get_ylabel() == "FID" and list(numbers.lines[2].get_ydata()) == [5.0, 5.0]
    fig.canvas.draw()
    with pytest.raises(CourseError, match="at least one parameter"):
        parameter_scatter({}, "FID")
