"""Operators against their adjoints, their dense matrices and independent implementations; the
problems by name.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import LUMA, check_signed
from course_utils.inverse.operators import (
    BlockMean,
    Blur,
    FourierRows,
    Grey,
    Identity,
    Mask,
    blur_matrix,
    dense,
)
from course_utils.inverse.problems import PROBLEMS, Problem, make_problem

SHAPES = {"digit": (1, 28, 28), "colour": (3, 28, 28), "odd": (3, 9, 12)}
SMALL = (3, 6, 4)


def every(shape=SMALL):
    """Returns one operator of each kind for a shape."""
    visible = torch.rand(shape[1:], generator=make_rng(1)) < 0.4
    rows = torch.zeros(shape[1], dtype=torch.bool)
    rows[[0, 2, -2]] = True
    return {
        "identity": Identity(shape),
        "mask": Mask(shape, visible),
        "block mean": BlockMean(shape, 2),
        "blur": Blur(shape, 0.8),
        "fourier": FourierRows(shape, rows),
        "grey": Grey(shape),
    }


KINDS = list(every())


def draw(shape, seed=0, num=5):
    return torch.randn(num, *shape, generator=make_rng(seed), dtype=torch.float64)


def fits(name, shape):
    return (name != "colourise" or shape[0] == 3) and (
        name != "super-resolution" or shape[1] % 4 == 0
    )


CASES = [(name, key) for name in PROBLEMS for key, shape in SHAPES.items() if fits(name, shape)]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_adjoint_passes_the_dot_product_test(name, key):
    operator = make_problem(name, SHAPES[key]).operator
    x, y = draw(operator.image_shape), draw(operator.measured_shape, 1)
    left = (operator.forward(x) * y).flatten(1).sum(1)
    right = (x * operator.adjoint(y)).flatten(1).sum(1)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)
    assert left.abs().min() > 1e-3, "the test must be able to fail"


@pytest.mark.parametrize("kind", KINDS)
def test_dense_matrix_is_the_operator_and_its_transpose_the_adjoint(kind):
    operator = every()[kind]
    matrix, x, y = dense(operator), draw(operator.image_shape), draw(operator.measured_shape, 1)
    torch.testing.assert_close(operator.forward(x).flatten(1), x.flatten(1) @ matrix.T)
    torch.testing.assert_close(operator.adjoint(y).flatten(1), y.flatten(1) @ matrix)


@pytest.mark.parametrize("kind", KINDS)
def test_row_scale_and_solve_agree_with_the_dense_matrix(kind):
    operator = every()[kind]
    matrix, y = dense(operator), draw(operator.measured_shape, 1)
    gram = matrix @ matrix.T
    if operator.row_scale is not None:
        torch.testing.assert_close(
            gram, operator.row_scale * torch.eye(len(gram), dtype=gram.dtype)
        )
    expected = torch.linalg.solve(
        0.7 * gram + 0.2 * torch.eye(len(gram), dtype=gram.dtype), y.flatten(1).T
    ).T
    torch.testing.assert_close(operator.solve(y, 0.7, 0.2).flatten(1), expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "blur"])
def test_pseudo_inverse_is_that_of_linear_algebra(kind):
    operator = every()[kind]
    y = draw(operator.measured_shape, 1)
    torch.testing.assert_close(
        operator.pseudo_inverse(y).flatten(1), y.flatten(1) @ torch.linalg.pinv(dense(operator)).T
    )


def test_blur_agrees_with_scipy():
    images = draw((1, 16, 12), num=1)
    expected = gaussian_filter(images[0, 0].numpy(), 1.5, mode="reflect", truncate=20)
    np.testing.assert_allclose(
        Blur((1, 16, 12), 1.5).forward(images)[0, 0].numpy(), expected, atol=1e-6
    )


def test_blur_keeps_a_constant_image_and_every_mean():
    images = draw((1, 28, 28))
    blurred = Blur((1, 28, 28)).forward(images)
    torch.testing.assert_close(blurred.mean((1, 2, 3)), images.mean((1, 2, 3)))
    torch.testing.assert_close(blur_matrix(28, 3.0).sum(1), torch.ones(28, dtype=torch.float64))


def test_fourier_rows_hold_what_the_complex_transform_holds_there():
    """From the real numbers of rows k and -k the complex ones follow: Re is their even part, -Im
    their odd part.
    """
    images, rows = draw((1, 6, 4)), torch.ones(6, dtype=torch.bool)
    real = FourierRows((1, 6, 4), rows).forward(images)
    mirrored = real.roll((-1, -1), (2, 3)).flip(2, 3)  # the value at (-k, -l)
    spectrum = torch.fft.fft2(images, norm="ortho")
    torch.testing.assert_close((real + mirrored) / 2, spectrum.real)
    torch.testing.assert_close((mirrored - real) / 2, spectrum.imag)


def test_block_mean_is_average_pooling_and_grey_the_weighted_sum():
    images = draw((3, 8, 8))
    torch.testing.assert_close(
        BlockMean((3, 8, 8), 4).forward(images), torch.nn.functional.avg_pool2d(images, 4)
    )
    grey = LUMA[0] * images[:, 0] + LUMA[1] * images[:, 1] + LUMA[2] * images[:, 2]
    torch.testing.assert_close(Grey((3, 8, 8)).forward(images)[:, 0], grey)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_through_and_equal_the_adjoint(kind):
    operator = every()[kind]
    x, y = draw(operator.image_shape).requires_grad_(), draw(operator.measured_shape, 1)
    (gradient,) = torch.autograd.grad((operator.forward(x) * y).sum(), x)
    torch.testing.assert_close(gradient, operator.adjoint(y))


@pytest.mark.parametrize(("name", "key"), CASES)
def test_measuring_adds_the_stated_noise_and_can_be_shown(name, key):
    problem = make_problem(name, SHAPES[key])
    images = draw(SHAPES[key], num=40).clamp(-1, 1).float()
    measured = problem.measure(images, make_rng(3))
    assert torch.equal(measured, problem.measure(images, make_rng(3)))
    noise = measured - problem.operator.forward(images)
    assert noise.std().item() == pytest.approx(
        problem.noise_std, rel=5 / (2 * noise.numel()) ** 0.5
    )
    check_signed(problem.shown(measured))
    assert problem.shown(measured).shape == images.shape


def test_misfit_is_one_for_the_truth_and_zero_for_a_perfect_explanation():
    problem = make_problem("denoise", (1, 28, 28), 0.3)
    images = draw((1, 28, 28), num=20)
    measured = problem.measure(images, make_rng(0))
    misfit = problem.misfit(torch.stack([images, measured]), measured)
    assert misfit.shape == (2, 20) and misfit[0].mean().item() == pytest.approx(1, abs=0.02)
    assert misfit[1].abs().max() == 0


def test_problems_hide_what_their_names_say():
    visible = {
        name: make_problem(name, (1, 28, 28)).operator.visible
        for name in PROBLEMS
        if name.startswith("inpaint")
    }
    assert visible["inpaint-half"][:14].all() and not visible["inpaint-half"][14:].any()
    assert (
        not visible["inpaint-box"][7:21, 7:21].any() and visible["inpaint-box"].sum() == 784 - 196
    )
    assert visible["inpaint-random"].sum() == 157
    rows = make_problem("fourier", (1, 28, 28)).operator.rows
    assert rows[[0, 1, -1]].all() and 0.25 < rows.double().mean() < 0.4


BAD = {
    "no such problem": (
        lambda: make_problem("inpaint", (1, 28, 28)),
        "unknown problem 'inpaint'; valid: colourise, deblur",
    ),
    "grey of grey": (
        lambda: make_problem("colourise", (1, 28, 28)),
        "3 colour channels, got [1, 28, 28]",
    ),
    "side": (
        lambda: make_problem("super-resolution", (1, 30, 30)),
        "a divisor of both sides of 30 by 30 pixels, got 4",
    ),
    "noise": (
        lambda: make_problem("denoise", (1, 28, 28), 0.0),
        "noise_std: expected more than 0, got 0.0",
    ),
    "mask": (lambda: Mask((1, 4, 4), torch.zeros(4, 4, dtype=torch.bool)), "True somewhere"),
    "mask shape": (lambda: Mask((1, 4, 4), torch.ones(4, 5, dtype=torch.bool)), "[4, 4]"),
    "rows": (lambda: FourierRows((1, 4, 4), torch.tensor([True, True, False, False])), "symmetric"),
    "no rows": (lambda: FourierRows((1, 4, 4), torch.zeros(4, dtype=torch.bool)), "True somewhere"),
    "blur": (lambda: Blur((1, 4, 4), 0.0), "width_px: expected more than 0 pixels"),
    "images": (
        lambda: make_problem("denoise", (1, 4, 4)).measure(torch.zeros(2, 1, 5, 5)),
        "[B, 1, 4, 4], got [2, 1, 5, 5]",
    ),
    "measured": (
        lambda: make_problem("deblur", (1, 4, 4)).shown(torch.zeros(2, 16)),
        "[B, 1, 4, 4], got [2, 16]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_is_refused(case):
    call, fragment = BAD[case]
    with pytest.raises(CourseError) as error:
        call()
    assert fragment in str(error.value)


def test_a_problem_of_ones_own():
    problem = Problem("left", Mask((1, 4, 4), (torch.arange(4) < 2).expand(4, 4)), 0.1)
    assert problem.measure(torch.zeros(3, 1, 4, 4), make_rng(0)).shape == (3, 1, 8)
