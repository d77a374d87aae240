"""Quality over calls: how many calls are really taken, and what is said of the rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from course_utils.base.config import override
from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import seed_error
from course_utils.models.dcgan import DCGANConfig
from course_utils.models.diffusion.model import DiffusionConfig
from course_utils.studies import few_steps
from course_utils.studies.few_steps import (
    FewStepsRow,
    bend_table,
    draw_with_calls,
    few_steps_table,
    flow_bend,
    saved_few_steps,
    student_ratios,
)
from course_utils.training.registry import build

ROW = FewStepsRow("strokes", 0, "teacher", 10, 2.0, 0.2, 0.8, 0.05, 0.001, 250.0, 1000, "here")
FLOW = DiffusionConfig(
    channels=(8,), image_size=8, num_classes=4, num_steps=3, guidance_scale=1.5,
    guidance_interval=(0.5, 0.9),
)  # fmt: skip


@pytest.mark.parametrize("num_calls", [1, 2, 4])
def test_as_many_calls_are_taken_as_are_asked_for(num_calls):
    model, counted = build(FLOW).eval(), []
    model.network.register_forward_pre_hook(lambda _, inputs: counted.append(len(inputs[0])))
    labels = torch.tensor([0, 1, 2, 3, 0])
    expected = draw_with_calls(model, labels, num_calls, seed=1)
    counted.clear()
    again = draw_with_calls(model, labels, num_calls, seed=1)
    rows = 4 * few_steps.network_calls(model) + 5 * num_calls  # `network_calls` draws four images
    assert torch.equal(expected, again) and expected.shape == (5, 1, 8, 8)
    counted.clear()
    draw_with_calls(model, labels, num_calls, seed=1)
    assert sum(counted) == rows - 4 * few_steps.network_calls(model) + 4 * (3 + 1)


def test_a_generator_takes_one_call_and_no_other():
    gan = build(DCGANConfig(generator_width=2, discriminator_width=2, image_size=8)).eval()
    labels = torch.tensor([0, 1])
    assert draw_with_calls(gan, labels, 1).shape == (2, 1, 8, 8)
    with pytest.raises(CourseError, match="num_calls"):
        draw_with_calls(gan, labels, 2)


def test_the_bend_is_measured_with_an_error():
    found = flow_bend(build(FLOW).eval(), 12)
    assert found.num_images == 12 and found.value > 0 and found.error > 0


def test_rows_become_means_over_trainings_and_ratios():
    rows = [replace(ROW, seed=seed, fid=2.0 + seed) for seed in range(3)]
    rows += [replace(ROW, seed=seed, num_calls=1, fid=300.0) for seed in range(3)]
    rows += [
        replace(ROW, kind="student", seed=seed, num_calls=1, fid=3.0, bend=None, bend_error=None)
        for seed in range(2)
    ]
    table = few_steps_table(rows)
    assert list(table) == ["teacher", "student"] and list(table["teacher"]) == [1, 10]
    mean, error = seed_error([2.0, 3.0, 4.0])
    assert (table["teacher"][10].value, table["teacher"][10].error) == (mean, error)
    assert table["teacher"][10].num_seeds == 3
    assert student_ratios(rows) == {0: 1.5, 1: 1.0}
    assert list(bend_table(rows)) == ["teacher"]
    single = few_steps_table([ROW])["teacher"][10]
    assert (single.value, single.error, single.num_seeds) == (2.0, 0.2, 1)
    assert FewStepsRow(**ROW.as_dict()) == ROW


def test_where_nothing_ships_there_are_no_rows():
    assert saved_few_steps("nothing") == []


def test_reflow_is_a_preset_with_the_network_of_its_teacher():
    from course_utils.training.presets import preset

    reflow, teacher = (preset(name, "laptop").model for name in ("reflow", "diffusion"))
    sampling = {"teacher": "", "label_dropout": 0.1, "guidance_scale": 1.5, "num_steps": 7}
    assert override(reflow, sampling) == replace(teacher, num_pairs=reflow.num_pairs)
    # only what has a teacher draws pairs, so only its smoke version is another one
    assert preset("reflow", "smoke").model.num_pairs < reflow.num_pairs
    assert preset("diffusion", "smoke").model == teacher
