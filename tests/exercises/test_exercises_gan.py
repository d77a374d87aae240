"""What the exercises of notebook 06 accept and refuse beyond their listed mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from course_utils.exercises.judge import PASSED, WRONG, judge
from course_utils.exercises.nb06 import DISCRIMINATOR, PENALTY, TRUNCATION
from course_utils.models.latents import truncated_quantiles


def test_truncation_by_the_inverse_distribution_function_is_right_too():
    def answer(n, dim, bound, rng):
        return truncated_quantiles(torch.rand(n, dim, generator=rng), bound)

    assert judge(TRUNCATION, answer).status == PASSED


def test_truncation_has_to_keep_the_number_of_rows():
    def only_rows_inside(n, dim, bound, rng):
        z = torch.randn(n, dim, generator=rng)
        return z[(z.abs() <= bound).all(1)]

    assert "Expected a tensor of shape [4000, 4]" in judge(TRUNCATION, only_rows_inside).message


def test_a_generator_without_gradients_is_as_good_as_a_detached_image():
    def without_graph(generator, discriminator, images, z):
        with torch.no_grad():
            fakes = generator(z)
        return (F.softplus(-discriminator(images)) + F.softplus(discriminator(fakes))).mean()

    assert judge(DISCRIMINATOR, without_graph).status == PASSED


def test_one_value_an_image_is_refused_with_its_shape():
    def answer(g, d, x, z):
        return F.softplus(-d(x)) + F.softplus(d(g(z).detach()))

    assert "got shape [5]" in judge(DISCRIMINATOR, answer).message


def test_an_unknown_wrong_value_gets_its_direction():
    verdict = judge(
        PENALTY, lambda discriminator, images: discriminator(images).square().mean() * 0
    )
    assert verdict.status == WRONG and "too small" in verdict.message
