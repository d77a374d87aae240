"""The exercises of notebook 08, using generative models."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake


def _put_back(
    xt: Tensor, y: Tensor, visible: Tensor, alpha: float, sigma: float, noise: Tensor
) -> Tensor:
    return torch.where(visible, alpha * y + sigma * noise, xt)


def _replacement_cases() -> list[tuple]:
    rng = make_rng(8, 2)
    xt, y, noise = (torch.randn(2, 1, 4, 4, generator=rng) for _ in range(3))
    visible = torch.tensor([[True], [True], [False], [True]]).repeat(1, 4)
    return [(xt, y, visible, alpha, sigma, noise) for alpha, sigma in ((0.3, 0.7), (0.8, 0.2))]


REPLACEMENT = Exercise(
    id="08.replacement",
    question=(
        "Return x_t with its visible pixels replaced by the measured ones, noised to the level of"
        " x_t. All images are [B, C, H, W], visible is bool [H, W]; y holds the measured image,"
        " without noise of its own."
    ),
    solution=_put_back,
    cases=_replacement_cases,
    why="A network that was never told of masks then fills in whatever you hide.",
    mistakes=(
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, y, xt),
            "You put the clean measurement into a noisy image. The network expects one noise level"
            " everywhere: that of x_t.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, y + sigma * noise, xt),
            "The noise is there, but the image is too bright: in x_t it has the factor alpha.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(visible, alpha * y, xt),
            "The visible part has the factor alpha but no noise, so the network takes it for"
            " something else than an image at this level.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(
                visible, alpha * y + sigma**2 * noise, xt
            ),
            "You multiplied the noise by its variance sigma². The factor is the standard deviation"
            " sigma.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(
                visible, xt, alpha * y + sigma * noise
            ),
            "You replaced the hidden pixels and left the measured ones to the model: it has to be"
            " the other way round.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: alpha * y + sigma * noise,
            "You replaced every pixel. Hidden ones have to keep what the sampler has drawn so far.",
        ),
        Mistake(
            lambda xt, y, visible, alpha, sigma, noise: torch.where(
                visible, alpha * y + sigma * xt, xt
            ),
            "You took x_t for the noise. It holds an image too; use `noise`.",
        ),
    ),
    hints=(
        (
            "What is the distribution of x_t, given the image? Notebook 07: alpha · image + sigma ·"
            " noise."
        ),
        "torch.where(visible, a, b) takes a where visible is True.",
    ),
)


def _amplified(hits: int, num_samples: int, training_share: float) -> tuple[float, float]:
    share = hits / num_samples
    return share / training_share, (share * (1 - share) / num_samples) ** 0.5 / training_share


def _share_error(hits: int, num_samples: int) -> float:
    return (hits / num_samples * (1 - hits / num_samples) / num_samples) ** 0.5


BIAS = Exercise(
    id="08.bias",
    question=(
        "Of num_samples generated images `hits` show a class that has the share training_share in"
        " the training set. Return how often it is drawn for each time that it should be (1 = as in"
        " training), and the standard error of that ratio."
    ),
    solution=_amplified,
    cases=lambda: [(120, 10_000, 0.02), (60, 2000, 0.02), (5, 400, 0.05)],
    why=(
        "Below 1 the model makes the rare rarer. Without the error bar nobody can tell that from"
        " chance."
    ),
    mistakes=(
        Mistake(
            lambda hits, num_samples, training_share: (
                training_share * num_samples / hits,
                _share_error(hits, num_samples) / training_share,
            ),
            "The ratio is upside down: a class that is drawn too rarely has to get a number"
            " below 1.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (
                hits / num_samples / training_share,
                _share_error(hits, num_samples),
            ),
            "The ratio is right. Your error is that of the share; dividing by training_share"
            " stretches it too.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (
                hits / num_samples / training_share,
                _share_error(hits, num_samples) * num_samples**0.5 / training_share,
            ),
            "The ratio is right. Your error is the spread of one sample; the mean of num_samples is"
            " known better, by their root.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (
                hits / num_samples / training_share,
                _share_error(hits, num_samples) ** 2 / training_share,
            ),
            "The ratio is right. You forgot the root: this is a variance.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (
                hits / num_samples - training_share,
                _share_error(hits, num_samples),
            ),
            "This is a difference. One per cent less means little for a class of 50 % and half of"
            " everything for one of 2 %: take the ratio.",
        ),
        Mistake(
            lambda hits, num_samples, training_share: (
                hits / num_samples,
                _share_error(hits, num_samples),
            ),
            "This is the share among the samples. Compare it with the share in training.",
        ),
    ),
    hints=(
        "The share among samples is hits / num_samples. Divide it by the share in training.",
        "A share p of N draws has the variance p (1 - p) / N.",
        "Whatever divides the value divides its error as well.",
    ),
)


def _pixel(mean: float, variance: float, noise_std: float, y: float) -> tuple[float, float]:
    gain = variance / (variance + noise_std**2)
    return mean + gain * (y - mean), (1 - gain) * variance


def _pixel_with(gain, left=None):
    """Returns an answer with another gain, and another variance where `left(mean, variance,
    noise_std, y)` is given.
    """

    def answer(mean, variance, noise_std, y):
        found = gain(variance, noise_std)
        return mean + found * (y - mean), (
            (1 - found) * variance if left is None else left(mean, variance, noise_std, y)
        )

    return answer


def _right_gain(variance: float, noise_std: float) -> float:
    return variance / (variance + noise_std**2)


PIXEL = Exercise(
    id="08.pixel",
    question=(
        "A pixel has the prior N(mean, variance); y adds noise of standard deviation noise_std."
        " Return its mean and variance given y."
    ),
    solution=_pixel,
    cases=lambda: [(-0.4, 0.3, 0.5, 0.8), (0.2, 0.05, 1.5, -0.9), (0.0, 1.0, 0.1, 0.6)],
    why=(
        "Every method of this notebook is this formula with more pixels, or with a better prior"
        " than a bell."
    ),
    mistakes=(
        Mistake(
            _pixel_with(lambda variance, noise_std: variance / (variance + noise_std)),
            "You added a standard deviation to a variance. Square the noise first.",
        ),
        Mistake(
            _pixel_with(lambda variance, noise_std: noise_std**2 / (variance + noise_std**2)),
            "The two weights are swapped: your answer trusts y more, the more noise there is.",
        ),
        Mistake(
            _pixel_with(lambda variance, noise_std: 0.5),
            "You took the plain average. How far y is trusted depends on the two variances.",
        ),
        Mistake(
            _pixel_with(_right_gain, lambda mean, variance, noise_std, y: variance + noise_std**2),
            "The mean is right. Your variance is that of y before it is seen; seeing y makes the"
            " variance smaller than the prior's.",
        ),
        Mistake(
            _pixel_with(_right_gain, lambda mean, variance, noise_std, y: variance),
            "The mean is right. Your variance is still the prior's: a measurement always takes some"
            " doubt away.",
        ),
        Mistake(
            lambda mean, variance, noise_std, y: (
                _pixel(mean, variance, noise_std, y)[0],
                _pixel(mean, variance, noise_std, y)[1] ** 0.5,
            ),
            "The mean is right. You returned the standard deviation in place of the variance.",
        ),
        Mistake(
            lambda mean, variance, noise_std, y: (y, noise_std**2),
            "You forgot the prior: this is what y says by itself.",
        ),
    ),
    hints=(
        (
            "The mean lies between the prior's mean and y. How far along? Test with no noise, then"
            " with endless noise."
        ),
        "gain = variance / (variance + noise_std**2); the mean moves by gain * (y - mean).",
        "The doubt that is left is (1 - gain) * variance.",
    ),
)


def _adjoint(y: Tensor, factor: int) -> Tensor:
    return y.repeat_interleave(factor, 2).repeat_interleave(factor, 3) / factor**2


def _top_left(y: Tensor, factor: int) -> Tensor:
    images = y.new_zeros(*y.shape[:2], y.shape[2] * factor, y.shape[3] * factor)
    images[:, :, ::factor, ::factor] = y
    return images


ADJOINT = Exercise(
    id="08.adjoint",
    question=(
        "The operator A averages blocks of factor x factor pixels. Return its adjoint A^T y for y"
        " [B, C, h, w], so that <A x, y> = <x, A^T y>."
    ),
    solution=_adjoint,
    cases=lambda: [
        (torch.randn(2, 1, 3, 2, generator=make_rng(8, 0)), factor) for factor in (2, 4)
    ],
    why=(
        "Adjoints carry a misfit of the measurement back to the pixels: they are what backward()"
        " runs through a linear layer."
    ),
    mistakes=(
        Mistake(
            lambda y, factor: factor**2 * _adjoint(y, factor),
            "This is the pseudo-inverse: averaging its blocks gives y back. The adjoint has the"
            " weights that A has, 1 / factor² for each pixel.",
        ),
        Mistake(
            lambda y, factor: factor * _adjoint(y, factor),
            "You divided by factor once. Each of the factor² pixels of a block has a weight.",
        ),
        Mistake(
            _top_left,
            "You put each value at one pixel. All pixels of a block have a share in its mean, so"
            " all get something back.",
        ),
        Mistake(
            lambda y, factor: _top_left(y, factor) / factor**2,
            "The weight is right, but only one pixel of each block gets it. Every pixel went into"
            " the mean.",
        ),
        Mistake(
            lambda y, factor: y.repeat(1, 1, factor, factor) / factor**2,
            "`repeat` tiles the whole small image. Use repeat_interleave.",
        ),
    ),
    hints=(
        (
            "Write A as a matrix: row i has 1 / factor² at the pixels of block i and 0 elsewhere."
            " Read off a column: that is a row of A^T."
        ),
        "Each pixel belongs to one block, so it gets that block's value times 1 / factor².",
        "repeat_interleave(factor, 2), then (factor, 3), makes blocks.",
    ),
)


def _gaussian_mean(
    mean: Tensor, covariance: Tensor, matrix: Tensor, noise_std: float, y: Tensor
) -> Tensor:
    noisy = matrix @ covariance @ matrix.T + noise_std**2 * torch.eye(
        len(matrix), dtype=matrix.dtype
    )
    return mean + covariance @ matrix.T @ torch.linalg.solve(noisy, y - matrix @ mean)


def _gaussian_cases() -> list[tuple]:
    rng = make_rng(8, 1)
    root, matrix = (
        torch.randn(4, 4, generator=rng, dtype=torch.float64),
        torch.randn(2, 4, generator=rng, dtype=torch.float64),
    )
    mean, y = (
        torch.randn(4, generator=rng, dtype=torch.float64),
        torch.randn(2, generator=rng, dtype=torch.float64),
    )
    return [(mean, root @ root.T + torch.eye(4), matrix, noise_std, y) for noise_std in (0.5, 2.0)]


GAUSSIAN = Exercise(
    id="08.gaussian",
    question=(
        "x is N(mean [D], covariance [D, D]) and y = A x + noise with standard deviation noise_std."
        " Return E[x | y] for A [M, D], y [M]."
    ),
    solution=_gaussian_mean,
    cases=_gaussian_cases,
    why=(
        "With a Gaussian prior any linear inverse problem is solved by a few matrix products,"
        " without a network."
    ),
    mistakes=(
        Mistake(
            lambda mean, covariance, matrix, noise_std, y: _gaussian_mean(
                mean, covariance, matrix, noise_std**0.5, y
            ),
            "You added noise_std where the variance of the noise belongs.",
        ),
        Mistake(
            lambda mean, covariance, matrix, noise_std, y: _gaussian_mean(
                mean, covariance, matrix, 0.0, y
            ),
            "Your answer trusts y completely: the noise is missing in the covariance of y, A C A^T"
            " + noise_std² I.",
        ),
        Mistake(
            lambda mean, covariance, matrix, noise_std, y: _gaussian_mean(
                mean, covariance, matrix, noise_std, y + matrix @ mean
            ),
            "The gain belongs on what y tells you that the mean did not: the surprise y - A mean.",
        ),
        Mistake(
            lambda mean, covariance, matrix, noise_std, y: (
                _gaussian_mean(mean, covariance, matrix, noise_std, y) - mean
            ),
            "You returned the correction alone. It is added to the prior's mean.",
        ),
        Mistake(
            lambda mean, covariance, matrix, noise_std, y: _gaussian_mean(
                mean, torch.eye(len(mean), dtype=mean.dtype), matrix, noise_std, y
            ),
            "You left the covariance out. It is what tells unseen pixels about seen ones.",
        ),
        Mistake(
            lambda mean, covariance, matrix, noise_std, y: torch.linalg.lstsq(
                matrix, y[:, None]
            ).solution[:, 0],
            "This is the pseudo-inverse: the smallest x that explains y, without any prior.",
        ),
    ),
    hints=(
        "The same as one pixel: mean + gain · (y - what was expected). The gain is a matrix now.",
        (
            "gain = C A^T (A C A^T + noise_std² I)^-1: covariance of x and y, over the covariance"
            " of y."
        ),
        "torch.linalg.solve(noisy, y - A @ mean) spares you the inverse; then multiply by C @ A.T.",
    ),
)


DECIBELS = Exercise(
    id="08.decibels",
    question=(
        "A draw of the exact posterior has twice the mean squared error of the posterior mean. By"
        " how many dB is its PSNR lower?"
    ),
    solution=10 * math.log10(2),
    rtol=5e-3,
    why=(
        "Whoever draws from the posterior pays these decibels by design. So a higher PSNR can mean"
        " a blur, and not a better picture."
    ),
    mistakes=(
        Mistake(
            20 * math.log10(2),
            "You took 20 log10, which is for amplitudes such as RMSE. The squared error doubles: 10"
            " log10.",
        ),
        Mistake(
            -10 * math.log10(2),
            "The size is right. The question asks how much lower, which is a positive number.",
        ),
        Mistake(2.0, "That is the ratio of the errors. Decibels are ten times its logarithm."),
        Mistake(math.log10(2), "You forgot the factor of 10: a decibel is a tenth of a bel."),
        Mistake(10 * math.log(2), "You took the natural logarithm. Decibels use base 10."),
    ),
    hints=("PSNR = 10 log10(range² / MSE). What happens to it when MSE doubles?", "10 · log10(2)"),
)

EXERCISES = (PIXEL, ADJOINT, GAUSSIAN, DECIBELS, REPLACEMENT, BIAS)
