"""The examination that all models of a sweep pass through, on a pair whose answers are known."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.metrics.features import pixel_extractor
from course_utils.studies.clinic import Adapter, Examiner, sweep_panels

NUM, DIM = 40, 3


@pytest.fixture
def images():
    return torch.randint(256, (NUM, 1, 2, 2), generator=make_rng(0), dtype=torch.uint8)


def pair(decoded: float) -> Adapter:
    """Returns a pair with mu 1 and sigma 1 in the first dimension, the prior in the others, whose
    decoder gives one grey value.
    """

    def encode(signed):
        mu = torch.zeros(len(signed), DIM)
        mu[:, 0] = 1.0
        return mu, torch.zeros(len(signed), DIM)

    return Adapter(encode, lambda z: torch.full((len(z), 1, 2, 2), decoded))


def test_what_is_examined_agrees_with_the_closed_forms(images):
    found = Examiner(pixel_extractor(), images).examine(pair(-1.0))
    squared = (images / 255).square().mean((1, 2, 3))
    assert found["squared error"].value == pytest.approx(squared.mean().item(), rel=1e-5)
    assert found["squared error"].error == pytest.approx(squared.std().item() / math.sqrt(NUM))
    assert found["KL"].value == pytest.approx(0.5)  # mu^2 / 2
    assert found["dimensions in use"].value == 1


def test_fid_of_the_test_images_themselves_is_zero_and_of_a_grey_model_is_not(images):
    check = Examiner(pixel_extractor(), images)
    assert check.fid(images).value == pytest.approx(0, abs=1e-3)
    assert check.examine(pair(0.0))["FID"].value > 0.1


def test_samples_are_equal_for_equal_seeds(images):
    linear = Adapter(pair(0.0).encode, lambda z: z.tanh()[:, [0, 1, 2, 0]].view(-1, 1, 2, 2))
    first, again = (Examiner(pixel_extractor(), images).samples(linear) for _ in range(2))
    other = Examiner(pixel_extractor(), images, seed=1).samples(linear)
    assert first.shape == (NUM, 1, 2, 2) and torch.equal(first, again)
    assert not torch.equal(first, other)


def test_too_few_images_are_said_once(images, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check = Examiner(pixel_extractor(), images[:3])
        check.fid(images[:3])
        check.fid(images[3:6])
    assert capsys.readouterr().out.count("with 3 it is too high") == 1


def test_panels_of_a_sweep_hold_value_and_error_of_each_setting(images):
    check = Examiner(pixel_extractor(), images)
    panels = sweep_panels({1: check.examine(pair(-1.0)), 2: check.examine(pair(0.0))})
    assert list(panels) == ["squared error", "KL", "dimensions in use", "FID"]
    assert all(len(values) == 2 for values in panels.values())
    assert panels["dimensions in use"] == [(1, 0.0), (1, 0.0)]  # a count has no error bar
