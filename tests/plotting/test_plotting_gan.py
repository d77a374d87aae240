"""The figures of GANs show every frame, every discriminator and every curve that they were
given.
"""

from __future__ import annotations

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.plotting.gan import GAN_PANELS, discriminators, gan_curves, point_frames
from course_utils.training.history import History


def gan_rows(offset: float = 0.0) -> list[dict]:
    rows = []
    for epoch in (1, 2):
        shared = {
            "epoch": epoch,
            "split": "train",
            "loss": 1.0,
            "gradient_norm": epoch + offset,
            "seconds": 1.0,
        }
        rows.append(
            {
                **shared,
                "part": "discriminator",
                "d_real": 0.6,
                "d_fake": 0.3 + offset,
                "separation": 0.8,
                "penalty": 0.0,
            }
        )
        rows.append(
            {**shared, "part": "generator", "d_fake": 0.2, "diversity": 0.5, "real_diversity": 0.7}
        )
    return rows + [{**rows[0], "split": "test", "d_real": 0.99}]


def heights(axes) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines}


def test_frames_stand_in_rows_of_time_with_the_modes_behind():
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    frames = [torch.zeros(5, 2), torch.full((5, 2), 9.0)]
    fig = point_frames({"broken": frames, "mended": frames}, centres, ["0", "2,000"])
    assert len(fig.axes) == 4
    assert [axes.get_title() for axes in fig.axes[:2]] == ["0", "2,000"] and fig.axes[
        2
    ].get_ylabel() == "mended"
    last = fig.axes[3]
    assert last.lines[0].get_xdata().tolist() == [1.0, 0.0]
    places = last.collections[0].get_offsets()
    # what flies away stays visible at the rim
    assert places.shape == (5, 2) and places.max() == pytest.approx(last.get_xlim()[1])


def test_frames_and_titles_have_to_match():
    with pytest.raises(CourseError, match="broken: expected 2 frames"):
        point_frames({"broken": [torch.zeros(1, 2)]}, torch.ones(1, 2), ["0", "1"])


def test_discriminators_are_drawn_over_the_best_one():
    x = torch.linspace(-1, 1, 3)
    fig = discriminators(
        x,
        {"data": x.exp(), "generated": x.abs()},
        x.sigmoid(),
        {"0 steps": torch.zeros(3), "9 steps": torch.ones(3)},
    )
    assert list(heights(fig.axes[0])) == ["data", "generated"]
    drawn = heights(fig.axes[1])
    assert drawn["best, D*"] == pytest.approx(x.sigmoid().tolist()) and drawn["9 steps"] == [
        1,
        1,
        1,
    ]
    assert [text.get_text() for text in fig.axes[1].get_legend().get_texts()] == [
        "best, D*",
        "0 steps",
        "9 steps",
    ]


def test_curves_take_each_column_from_its_part_and_only_training_rows():
    fig = gan_curves({"final": History(gan_rows()), "broken": gan_rows(0.1)})
    assert [axes.get_title() for axes in fig.axes[:4]] == list(GAN_PANELS)
    answers = heights(fig.axes[4])
    assert answers == {
        "to real": [0.6, 0.6],
        "to fake, before D's step": [0.4, 0.4],
        "to fake, after D's step": [0.2, 0.2],
    }
    assert heights(fig.axes[2]) == {"generated": [0.5, 0.5], "real": [0.7, 0.7]}
    assert heights(fig.axes[7])["G"] == [1.1, 2.1]
    assert fig.axes[4].get_ylabel() == "broken"
    assert fig.axes[7].get_ylim() == fig.axes[3].get_ylim() and fig.axes[3].get_ylim()[1] > 2.1


def test_curves_refuse_a_history_that_is_not_of_a_gan():
    with pytest.raises(CourseError, match="expected a GAN's, with the column 'd_real'"):
        gan_curves({"vae": History([{"epoch": 1, "split": "train", "part": "model", "loss": 1.0}])})
