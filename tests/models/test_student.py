"""A student of a diffusion model: its noise, its pairs, its loss."""

from __future__ import annotations

import pytest
import scipy.fft
import torch

from course_utils.base.config import override
from course_utils.base.device import ImageNoise, make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import uint8_to_signed
from course_utils.models.base import Batch
from course_utils.models.dcgan import DCGANConfig
from course_utils.models.diffusion.model import DiffusionConfig
from course_utils.models.student import StudentConfig, coarse_noise
from course_utils.training.registry import build

SMALL = {"generator_width": 2, "discriminator_width": 2, "latent_dim": 6, "image_size": 8}
TEACHER = DiffusionConfig(channels=(8,), image_size=8, num_classes=4, num_steps=2)


def small_student(**settings):
    return build(override(StudentConfig(num_classes=4, num_pairs=12), {**SMALL, **settings}))


def test_coarse_noise_is_the_low_frequencies_of_the_cosine_transform():
    noise = torch.randn(5, 2, 8, 8, generator=make_rng(0))
    transformed = scipy.fft.dctn(noise.numpy(), axes=(2, 3), norm="ortho")
    places = sorted(
        ((i**2 + j**2, channel, i, j) for channel in range(2) for i in range(8) for j in range(8)),
        key=lambda place: (place[0], *place[1:]),
    )
    expected = [torch.as_tensor(transformed[:, c, i, j]) for _, c, i, j in places[:7]]
    torch.testing.assert_close(
        coarse_noise(noise, 7), torch.stack(expected, dim=1), rtol=1e-4, atol=1e-5
    )


def test_coarse_noise_is_standard_normal_and_independent():
    z = coarse_noise(torch.randn(20_000, 1, 8, 8, generator=make_rng(1)), 10)
    assert (z.T.cov() - torch.eye(10)).abs().max() < 0.05
    assert z.mean(0).abs().max() < 0.03


def test_pairs_are_noise_and_what_the_teacher_makes_of_it():
    teacher, student = build(TEACHER).eval(), small_student()
    student.start_from(teacher, seed=3)
    pairs = student.pairs
    assert pairs.labels.tolist() == [0, 1, 2, 3] * 3
    noise = ImageNoise(12, make_rng(3, 0)).normal((1, 8, 8), torch.empty(()))
    torch.testing.assert_close(pairs.z, coarse_noise(noise, 6))
    drawn = teacher.sample(12, labels=pairs.labels, rng=make_rng(3, 0))
    assert (uint8_to_signed(pairs.images) - drawn).abs().max() <= 1 / 255 + 1e-6


def test_generator_is_pulled_to_the_teachers_images():
    teacher = build(TEACHER).eval()
    batch = Batch(torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.long))
    student = small_student(pair_weight=10.0)
    without = student.loss(batch, "generator", rng=make_rng(0))
    assert "pair_mse" not in without
    student.start_from(teacher)
    terms = student.loss(batch, "generator", rng=make_rng(0))
    assert terms["pair_mse"].shape == (8,)
    optimizer = torch.optim.Adam(student.generator.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        student.loss(batch, "generator", rng=make_rng(0))["loss"].mean().backward()
        optimizer.step()
    after = student.loss(batch, "generator", rng=make_rng(0))  # the same pairs
    assert after["pair_mse"][0] < 0.7 * terms["pair_mse"][0]


def test_no_share_of_pairs_is_a_plain_gan():
    student, plain = small_student(pair_share=0.0), small_student()
    plain.load_state_dict(student.state_dict())
    student.start_from(build(TEACHER).eval())
    batch = Batch(torch.zeros(8, 1, 8, 8), torch.zeros(8, dtype=torch.long))
    first, second = (m.loss(batch, "generator", rng=make_rng(0))["loss"] for m in (student, plain))
    assert torch.equal(first, second)


def test_unfit_teachers_are_refused():
    student = small_student()
    with pytest.raises(CourseError, match="expected a diffusion model that is told the class, got"):
        student.start_from(build(DCGANConfig(**SMALL, num_classes=4)))
    with pytest.raises(CourseError, match=r"images \[1, 8, 8\], got one of \[1, 16, 16\]"):
        student.start_from(build(override(TEACHER, {"image_size": 16})))
    with pytest.raises(CourseError, match="takes no teacher"):
        build(DCGANConfig(**SMALL)).start_from(student)
    with pytest.raises(CourseError, match="latent_dim.*at most 64"):
        small_student(latent_dim=65)
    with pytest.raises(CourseError, match="conditional"):
        small_student(conditional=False)
