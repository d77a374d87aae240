"""The ring of eight modes, and the GAN that is trained on it."""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.dcgan import DCGANConfig
from course_utils.studies.ring import (
    MODE_STD,
    NUM_MODES,
    ring_centres,
    ring_coverage,
    ring_image,
    ring_points,
    train_ring,
)
from course_utils.training.config import TrainConfig

CONFIG, TRAIN = (
    DCGANConfig(latent_dim=2, conditional=False),
    TrainConfig(batch_size=32, learning_rate=1e-3, ema_decay=0.9),
)


def test_the_ring_covers_itself():
    coverage = ring_coverage(ring_points(20_000, make_rng(0)))
    assert coverage.modes_hit == NUM_MODES
    # a 2-D Gaussian within 3 standard deviations
    assert coverage.share_near == pytest.approx(1 - math.exp(-4.5), abs=0.003)


@pytest.mark.parametrize("modes", [[0], [1, 4, 6]])
def test_lost_modes_are_counted(modes):
    points = ring_centres()[modes].repeat(100, 1)
    assert ring_coverage(points) == (len(modes), 1.0)


def test_points_between_the_modes_count_for_none():
    assert ring_coverage(torch.zeros(50, 2)) == (0, 0.0)
    halfway = ring_centres()[0] + torch.tensor([3.1 * MODE_STD, 0.0])
    assert ring_coverage(halfway.expand(50, 2)) == (0, 0.0)


def test_a_few_stray_points_do_not_make_a_mode():
    points = torch.cat([ring_centres()[:1].repeat(999, 1), ring_centres()[1:2]])
    assert ring_coverage(points).modes_hit == 1


def test_coverage_refuses_what_is_no_list_of_points():
    with pytest.raises(CourseError, match=r"points: expected \[N, 2\]"):
        ring_coverage(torch.zeros(3))


SETTINGS = [
    {},
    {"discriminator_norm": "spectral", "minibatch_std": True, "loss": "hinge"},
    {"discriminator_norm": "batch"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_training_depends_on_the_seed_alone_and_leaves_the_global_generator_alone(settings):
    config = DCGANConfig(latent_dim=2, conditional=False, **settings)
    before = torch.get_rng_state()
    first, second, other = (
        train_ring(config, TRAIN, num_steps=5, seed=seed, num_frames=3) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.frames[-1], second.frames[-1]) and not torch.equal(
        first.frames[-1], other.frames[-1]
    )
    assert [frame.shape for frame in first.frames] == [(500, 2)] * 3


def test_frames_show_the_training_from_its_start_to_its_end():
    run = train_ring(CONFIG, TRAIN, num_steps=40, num_frames=4)
    steps = [
        (later - earlier).abs().mean().item() for earlier, later in zip(run.frames, run.frames[1:])
    ]
    assert min(steps) > 0
    noise = torch.randn(500, 2, generator=make_rng(0, 1))
    assert torch.equal(run.model.generator(noise).detach(), run.frames[-1])


def test_the_picture_shows_points_where_they_are_and_leaves_others_out():
    image = ring_image(torch.tensor([[0.0, 1.5], [-1.5, 0.0], [9.0, 0.0]]), size=96, reach=1.6)
    assert image.shape == (1, 96, 96) and image.dtype == torch.uint8
    # high up in the middle; far left, half way down
    assert (image == 255).nonzero().tolist() == [[0, 3, 48], [0, 48, 3]]
    assert (image == 110).sum() == NUM_MODES * 9
