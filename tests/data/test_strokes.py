"""The embedded dataset: its contract, its determinism, and that the factors do to the images what
their names say.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.data import strokes
from course_utils.data.glyphs import GLYPHS
from course_utils.data.strokes import (
    NUM_PATH_POINTS,
    PRIOR,
    Factors,
    draw_factors,
    make_strokes,
    num_styles,
    render,
    style_table,
)

FACTORS = [field.name for field in fields(Factors)]


@pytest.fixture(scope="module")
def drawn() -> tuple:
    return make_strokes(1500, 300, seed=0)


def bare(num_images: int, **changes: object) -> Factors:
    """Returns factors without any randomness: digit 1 in its first style, upright, with
    `changes`.
    """
    values: dict = {
        "digit": 1,
        "style": 0,
        "slant": 0.0,
        "rotation": 0.0,
        "width": 1.0,
        "thickness": 2.5,
        "sloppiness": 0.0,
    } | changes
    types = {name: torch.int64 if name in ("digit", "style") else torch.float32 for name in FACTORS}
    return Factors(
        **{
            name: torch.as_tensor(value, dtype=types[name]).expand(num_images).clone()
            for name, value in values.items()
        }
    )


def second_moments(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the variance in x, the variance in y and the covariance of the ink, `[N]` each, y
    pointing up.
    """
    ink = images[:, 0].double() / images.double().sum(dim=(1, 2, 3))[:, None, None]
    x, y = torch.arange(28.0).double(), 27 - torch.arange(28.0).double()
    dx, dy = x - (ink.sum(1) @ x)[:, None], y - (ink.sum(2) @ y)[:, None]
    return (
        (ink.sum(1) * dx**2).sum(1),
        (ink.sum(2) * dy**2).sum(1),
        torch.einsum("nij,ni,nj->n", ink, dy, dx),
    )


def test_images_are_uint8_and_use_the_whole_range(drawn: tuple) -> None:
    train, train_factors, test, test_factors = drawn
    assert (train.dtype, train.shape, test.shape) == (
        torch.uint8,
        (1500, 1, 28, 28),
        (300, 1, 28, 28),
    )
    assert (len(train_factors), len(test_factors)) == (1500, 300)
    # no empty image, no pale one
    assert train.amin() == 0 and (train.amax(dim=(1, 2, 3)) > 180).all()


def test_brightness_is_near_that_of_mnist(drawn: tuple) -> None:
    unit = drawn[0].double() / 255
    assert unit.mean().item() == pytest.approx(0.131, abs=0.01)
    assert unit.std().item() == pytest.approx(0.308, abs=0.015)


def test_ink_is_centred_and_keeps_off_the_border(drawn: tuple) -> None:
    images = drawn[0][:, 0].double()
    position = torch.arange(28.0).double() - 13.5
    mass = images.sum((1, 2))
    for axis in (1, 2):
        assert ((images.sum(axis) @ position) / mass).abs().max() <= 0.5
    border = torch.ones(28, 28, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert (images[:, border] > 0).double().mean() < 0.002
    longer = torch.stack([(images > 64).any(axis).sum(1) for axis in (1, 2)]).amax(0)
    assert longer.min() >= 18 and longer.max() <= 21  # MNIST: 20


def test_equal_seeds_give_equal_data_and_other_seeds_do_not() -> None:
    first, again, other = (make_strokes(200, 100, seed=seed) for seed in (0, 0, 1))
    for index in (0, 2):
        assert torch.equal(first[index], again[index]) and not torch.equal(
            first[index], other[index]
        )
        assert all(
            torch.equal(getattr(first[index + 1], name), getattr(again[index + 1], name))
            for name in FACTORS
        )


def test_train_and_test_differ(drawn: tuple) -> None:
    train = {image.numpy().tobytes() for image in drawn[0]}
    assert len(train) == 1500 and not train & {image.numpy().tobytes() for image in drawn[2]}


def test_the_generator_advances() -> None:
    """Two draws from one generator differ: its streams are spawned, not copied."""
    rng = np.random.default_rng(0)
    assert not torch.equal(draw_factors(20, rng).slant, draw_factors(20, rng).slant)


def test_fewer_images_are_the_first_of_more(drawn: tuple) -> None:
    assert torch.equal(make_strokes(300, 0, seed=0)[0], drawn[0][:300])


def test_chunk_size_has_no_influence(drawn: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strokes, "CHUNK", 37)
    assert torch.equal(make_strokes(100, 0, seed=0)[0], drawn[0][:100])


def test_drawing_matches_the_definition_of_distance() -> None:
    """With even pressure, a pixel's grey depends on its distance to the nearest path point alone
    (computed here the slow way).
    """
    path = np.array([[-3.0, -4.0], [0.5, 0.25], [2.0, 6.0]])[None]
    image = strokes._ink(path, np.array([1.5]), np.ones((1, 3)))[0]
    y, x = np.mgrid[:28, :28] - 13.5
    distance = np.sqrt(
        (x[..., None] - path[0, :, 0]) ** 2 + (y[..., None] - path[0, :, 1]) ** 2
    ).min(-1)
    ramp = np.clip(0.5 + (1.5 - distance) / strokes.EDGE, 0, 1)
    assert np.abs(image - 255 * ramp**2 * (3 - 2 * ramp)).max() <= 1


def test_factors_follow_the_stated_prior(drawn: tuple) -> None:
    factors = drawn[1]
    assert factors.digit.dtype == factors.style.dtype == torch.int64
    assert torch.bincount(factors.digit, minlength=10).min() > 100
    for name, (mean, std, lowest, highest) in PRIOR.items():
        values = getattr(factors, name)
        assert values.dtype == torch.float32 and lowest <= values.min() and values.max() <= highest
        assert values.mean().item() == pytest.approx(mean, abs=0.15 * std)
        assert values.std().item() == pytest.approx(std, rel=0.15)


@pytest.mark.parametrize("digit", range(10))
def test_every_style_occurs(drawn: tuple, digit: int) -> None:
    factors = drawn[1]
    assert num_styles(digit) >= 3
    assert set(factors.style[factors.digit == digit].tolist()) == set(range(num_styles(digit)))


def test_given_digits_are_used() -> None:
    digits = torch.tensor([3, 3, 8])
    assert torch.equal(draw_factors(3, np.random.default_rng(0), digits).digit, digits)


def test_nothing_can_be_drawn() -> None:
    images, factors, _, _ = make_strokes(0, 0)
    assert images.shape == (0, 1, 28, 28) and len(factors) == 0


def test_thickness_is_the_width_of_the_line_in_pixels() -> None:
    thickness = torch.tensor([1.5, 2.0, 2.5, 3.0, 3.5, 4.0])
    images = render(bare(6, thickness=thickness), np.random.default_rng(0))
    width = images[:, 0, 10:18].double().sum(2).mean(1) / 255  # across the stem of a 1
    assert width.numpy() == pytest.approx(thickness.numpy(), abs=0.15)


def test_thickness_moves_the_ink_of_real_draws(drawn: tuple) -> None:
    ink = drawn[0].double().sum((1, 2, 3))
    assert torch.corrcoef(torch.stack([ink, drawn[1].thickness.double()]))[0, 1] > 0.6


def test_slant_leans_to_the_right_by_its_angle() -> None:
    slant = torch.tensor([-20.0, -10.0, 0.0, 10.0, 20.0, 30.0])
    _, var_y, cov = second_moments(render(bare(6, slant=slant), np.random.default_rng(0)))
    assert torch.rad2deg(torch.atan(cov / var_y)).numpy() == pytest.approx(slant.numpy(), abs=1.5)


def test_rotation_turns_clockwise_by_its_angle() -> None:
    rotation = torch.tensor([-10.0, 0.0, 10.0])
    var_x, var_y, cov = second_moments(render(bare(3, rotation=rotation), np.random.default_rng(0)))
    angle = 0.5 * torch.rad2deg(torch.atan2(2 * cov, var_y - var_x))
    assert angle.numpy() == pytest.approx(rotation.numpy(), abs=1.0)


def test_width_widens() -> None:
    var_x, _, _ = second_moments(
        render(bare(3, digit=0, width=[0.7, 1.0, 1.2]), np.random.default_rng(0))
    )
    assert var_x[0] < 0.8 * var_x[1] < 0.8 * 0.9 * var_x[2]


def test_no_sloppiness_leaves_no_randomness() -> None:
    first, second = (
        render(bare(4, digit=[2, 5, 6, 8]), np.random.default_rng(seed)) for seed in (0, 1)
    )
    assert torch.equal(first, second)


def test_path_points_lie_close_together() -> None:
    """Neighbours on a stroke are at most a pixel apart, so that no line shows its dots."""
    table = style_table()
    paths = 20 * (table.curves @ table.controls)
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=2)
    jumps = [len(style) - 1 for styles in GLYPHS for style in styles]  # pen up
    assert paths.shape[1] == NUM_PATH_POINTS
    assert all(
        np.sort(row)[: NUM_PATH_POINTS - 1 - lifts].max() < 1.0 for row, lifts in zip(steps, jumps)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make_strokes(num_train=-1),
            "num_train: expected a whole number, 0 or more, got -1",
        ),
        (lambda: make_strokes(10, num_test=2.5), "num_test: expected a whole number"),
        (lambda: make_strokes(10, 10, seed=-3), "seed: expected a whole number"),
        (lambda: draw_factors(2, np.random.default_rng(0), torch.tensor([0, 10])), "from 0 to 9"),
        (
            lambda: draw_factors(3, np.random.default_rng(0), torch.tensor([0, 1])),
            "expected 3 whole numbers",
        ),
        (
            lambda: draw_factors(1, np.random.default_rng(0), torch.tensor([0.5])),
            "expected 1 whole numbers",
        ),
        (lambda: render(bare(2, style=9), np.random.default_rng(0)), "a style does not exist"),
        (lambda: render(bare(2, digit=11), np.random.default_rng(0)), "from 0 to 9"),
        (
            lambda: render(bare(2, thickness=0.0), np.random.default_rng(0)),
            "expected thickness from 0.5 to 8",
        ),
        (
            lambda: render(bare(2, width=float("nan")), np.random.default_rng(0)),
            "expected width from 0.1 to 4",
        ),
        (
            lambda: render(bare(2, slant=90.0), np.random.default_rng(0)),
            "expected slant from -75 to 75",
        ),
        (
            lambda: render(replace(bare(2), slant=torch.zeros(3)), np.random.default_rng(0)),
            "one number an image",
        ),
    ],
)
def test_wrong_input_is_refused_in_plain_words(call, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        call()
