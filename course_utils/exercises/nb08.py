"""The exercises of notebook 08, in which the learner writes methods for inverse problems: the
posterior of a pixel, a search in a latent space, replacement, guidance by a measurement, an edit
and an outlier score.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import Exercise, Mistake

# ------------------------------------------------------------------ one pixel


def _pixel(mean, variance, noise_std, y):
    gain = variance / (variance + noise_std**2)
    return mean + gain * (y - mean), (1 - gain) * variance


def _doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _pixel_cases() -> list[tuple]:
    ordinary = (
        _doubles(-0.4, 0.2, 0.0),
        _doubles(0.3, 0.05, 1.0),
        _doubles(0.5, 1.5, 0.1),
        _doubles(0.8, -0.9, 0.6),
    )
    hidden = (_doubles(0.3), _doubles(0.4), _doubles(math.inf), _doubles(0.0))
    # a pixel that is black in every image, and a measurement without noise
    certain = (_doubles(-1, 0.2), _doubles(0, 0.3), _doubles(0.05, 0), _doubles(-0.97, 0.9))
    return [ordinary, hidden, certain]


def _pixel_with(gain, left=None):
    """Returns an answer with another gain, and another variance where `left(mean, variance,
    noise_std, y)` is given.
    """

    def answer(mean, variance, noise_std, y):
        found = gain(variance, noise_std)
        variance_left = (1 - found) * variance
        if left is not None:
            variance_left = left(mean, variance, noise_std, y)
        return mean + found * (y - mean), variance_left

    return answer


def _right_gain(variance, noise_std):
    return variance / (variance + noise_std**2)


def _by_precisions(mean, variance, noise_std, y):
    left = 1 / (1 / variance + 1 / noise_std**2)
    return left * (mean / variance + y / noise_std**2), left


PIXEL = Exercise(
    id="08.pixel",
    question=(
        "A pixel x has the prior N(mean, variance), and y = x + noise of standard deviation"
        " noise_std. Return the mean and the variance of x given y."
    ),
    solution=_pixel,
    cases=_pixel_cases,
    why=(
        "The answer lies between prior and measurement, nearer to the more certain one. The same"
        " formula with matrices answers for whole images (section 11)."
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
            _pixel_with(lambda variance, noise_std: 0.5 + 0 * variance),
            "You took the plain average. How far y is trusted depends on the two variances.",
        ),
        Mistake(
            _pixel_with(_right_gain, lambda mean, variance, noise_std, y: variance + noise_std**2),
            "The mean is right. Your variance is that of y before it is seen; seeing y makes the"
            " variance smaller than the prior's.",
        ),
        Mistake(
            _pixel_with(_right_gain, lambda mean, variance, noise_std, y: variance),
            "The mean is right. Your variance is still the prior's, but a measurement takes some"
            " of the doubt away.",
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
        Mistake(
            lambda mean, variance, noise_std, y: (
                mean + _right_gain(variance, noise_std) * y,
                (1 - _right_gain(variance, noise_std)) * variance,
            ),
            "The gain has to multiply the surprise y - mean, not y itself: a measurement that"
            " equals the prior's mean changes nothing.",
        ),
        Mistake(
            _pixel_with(
                _right_gain,
                lambda mean, variance, noise_std, y: (
                    _right_gain(variance, noise_std) * noise_std**2
                ),
            ),
            "Your variance is right for pixels that are seen. For a hidden one it is 0 times"
            " infinity: write it with the prior's variance.",
        ),
        Mistake(
            _by_precisions,
            "Your formula is right where both variances are above 0 and finite. A pixel that is"
            " black in every image has the variance 0, by which you divide; write it with the gain"
            " variance / (variance + noise_std**2).",
        ),
    ),
    hints=(
        (
            "The mean lies between the prior's mean and y. How far along? Think of no noise, then"
            " of infinite noise."
        ),
        "gain = variance / (variance + noise_std**2); the mean moves by gain * (y - mean).",
        "The variance that is left is (1 - gain) * variance.",
    ),
)

# ------------------------------------------------------------------ searching a latent space


def _search_loss(decode, z, forward, y, noise_std):
    squared = (y - forward(decode(z))).square().flatten(1).sum(1)
    return squared / (2 * noise_std**2) + 0.5 * z.square().sum(1)


def _decoded(weights: Tensor, z: Tensor) -> Tensor:
    return torch.tanh(z @ weights).view(-1, 1, 4, 3)


def _upper(images: Tensor) -> Tensor:
    return images[:, :, :2]


def _block_means(images: Tensor) -> Tensor:
    return images.unflatten(2, (-1, 2)).mean(3)


def _search_cases() -> list[tuple]:
    rng = make_rng(8, 3)
    decode = functools.partial(_decoded, torch.randn(5, 12, generator=rng))
    z = torch.randn(3, 5, generator=rng)
    y = torch.randn(3, 1, 2, 3, generator=rng)
    return [
        (decode, z, _upper, y, 0.2),
        (decode, z[:1].clone(), _block_means, y[:1], 0.7),
        (decode, torch.zeros(2, 5), _upper, y[:2], 1.5),
    ]


def _misfit(decode, z, forward, y):
    return (y - forward(decode(z))).square().flatten(1).sum(1)


def _prior_term(z):
    return 0.5 * z.square().sum(1)


SEARCH = Exercise(
    id="08.search",
    question=(
        "Return -log p(y | z) - log p(z), without what does not depend on z, one number for each"
        " row of z."
    ),
    solution=_search_loss,
    cases=_search_cases,
    gradients=(1,),
    why=(
        "The two terms are on one scale because both are log-probabilities: no weight between them"
        " has to be tuned."
    ),
    mistakes=(
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                _misfit(decode, z, forward, y) / (2 * noise_std**2)
            ),
            "The prior of z is missing: the search may leave the region that the decoder was"
            " trained on.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                _misfit(decode, z, forward, y) / (2 * noise_std**2) - _prior_term(z)
            ),
            "The prior has the wrong sign: -log p(z) grows with the length of z, and yours falls.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                _misfit(decode, z, forward, y) / (2 * noise_std) + _prior_term(z)
            ),
            "You divided the squared error by the standard deviation of the noise. Its variance,"
            " noise_std**2, belongs there.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                _misfit(decode, z, forward, y) / noise_std**2 + _prior_term(z)
            ),
            "The factor 1/2 of the Gaussian's exponent is missing in the term of the measurement.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                _misfit(decode, z, forward, y) / (2 * noise_std**2) + 2 * _prior_term(z)
            ),
            "The factor 1/2 of the Gaussian's exponent is missing in the term of the prior.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                _misfit(decode, z, forward, y) / (2 * noise_std**2) / y[0].numel() + _prior_term(z)
            ),
            "You took the mean of the squared errors over the measured numbers. log p(y | z) is"
            " their sum, because the noises are independent; a mean makes the measurement weaker.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                _misfit(decode, z, forward, y) / (2 * noise_std**2) + _prior_term(z) / z.shape[1]
            ),
            "You averaged over the dimensions of z. log p(z) is a sum over them.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                _misfit(decode, z, forward, y) + _prior_term(z)
            ),
            "noise_std is not used: how much a misfit of 0.1 matters depends on the noise.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                -_search_loss(decode, z, forward, y, noise_std)
            ),
            "This is the log-probability itself. Gradient descent minimises, so return minus that.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: _search_loss(
                decode, z, forward, y, noise_std
            ).sum(),
            "You added up the rows of z. Return one number for each row.",
        ),
        Mistake(
            lambda decode, z, forward, y, noise_std: (
                (y - decode(z)).square().flatten(1).sum(1) / (2 * noise_std**2) + _prior_term(z)
            ),
            "The decoded image is compared with y directly. y measures forward(decode(z)).",
        ),
    ),
    hints=(
        "The density of N(a, s^2) at y is proportional to exp(-(y - a)^2 / (2 s^2)).",
        "p(z) is N(0, I), so -log p(z) is half the squared length of z, up to a constant.",
        "Sum the squared errors over all measured numbers: .square().flatten(1).sum(1).",
    ),
)

# ------------------------------------------------------------------ replacement


def _put_back(x_t, y, visible, t, noise_std, noise):
    missing = t**2 - ((1 - t) * noise_std) ** 2  # variance that (1 - t) y lacks
    if missing < 0:
        return x_t
    return torch.where(visible, (1 - t) * y + missing**0.5 * noise, x_t)


def _replace_cases() -> list[tuple]:
    rng = make_rng(8, 2)
    x_t, y, noise = (torch.randn(2, 1, 4, 4, generator=rng) for _ in range(3))
    visible = torch.tensor([[True], [True], [False], [True]]).repeat(1, 4)
    one = (x_t[:1], y[:1], torch.ones(4, 4, dtype=torch.bool))
    return [
        (x_t, y, visible, 0.9, 0.3, noise),
        (x_t, y, visible, 0.5, 0.8, noise),
        (x_t, y, visible, 1.0, 0.05, noise),  # no image is left
        (x_t, y, visible, 0.3, 0.8, noise),  # y is noisier than the level
        (*one, 0.6, 0.0, noise[:1]),  # y has no noise
        (x_t, y, visible, 0.0, 0.05, noise),
    ]


def _replaced_with(part):
    """Returns an answer that puts `part(x_t, y, t, noise_std, noise)` into the visible pixels,
    except where y is noisier than the level.
    """

    def answer(x_t, y, visible, t, noise_std, noise):
        if t**2 < ((1 - t) * noise_std) ** 2:
            return x_t
        return torch.where(visible, part(x_t, y, t, noise_std, noise), x_t)

    return answer


def _lacking(t, noise_std):
    return max(0.0, t**2 - ((1 - t) * noise_std) ** 2)


REPLACE = Exercise(
    id="08.replace",
    question=(
        "Return x_t with its visible pixels replaced by measured ones that have the noise level t."
        " Where (1 - t) y is noisier than that, return x_t as it is."
    ),
    solution=_put_back,
    cases=_replace_cases,
    why="A network that was never told of masks then fills in whatever you hide.",
    mistakes=(
        Mistake(
            _replaced_with(lambda x_t, y, t, noise_std, noise: y),
            "You put the measurement as it is into a noisy image. The network expects one noise"
            " level everywhere, that of x_t.",
        ),
        Mistake(
            _replaced_with(lambda x_t, y, t, noise_std, noise: (1 - t) * y + t * noise),
            "Your visible pixels are too noisy: y brings the noise (1 - t) noise_std along, and"
            " you added all of t to it. Add only what is missing; variances add up.",
        ),
        Mistake(
            _replaced_with(
                lambda x_t, y, t, noise_std, noise: y + _lacking(t, noise_std) ** 0.5 * noise
            ),
            "The noise is right, but the image is too bright: in x_t it has the factor 1 - t.",
        ),
        Mistake(
            _replaced_with(lambda x_t, y, t, noise_std, noise: (1 - t) * y),
            "The visible part has the factor 1 - t but no new noise, so the network takes it for"
            " something else than an image at this level.",
        ),
        Mistake(
            _replaced_with(
                lambda x_t, y, t, noise_std, noise: (1 - t) * y + _lacking(t, noise_std) * noise
            ),
            "You multiplied the noise by the missing variance. The factor is the standard"
            " deviation, its root.",
        ),
        Mistake(
            _replaced_with(
                lambda x_t, y, t, noise_std, noise: (
                    (1 - t) * y + max(0.0, t - (1 - t) * noise_std) * noise
                )
            ),
            "You subtracted standard deviations. Independent noises add their variances, so"
            " subtract those, and take the root.",
        ),
        Mistake(
            _replaced_with(
                lambda x_t, y, t, noise_std, noise: (
                    (1 - t) * y + max(0.0, t**2 - noise_std**2) ** 0.5 * noise
                )
            ),
            "The noise inside y shrinks together with y: after the factor 1 - t its standard"
            " deviation is (1 - t) noise_std.",
        ),
        Mistake(
            lambda x_t, y, visible, t, noise_std, noise: _put_back(
                x_t, y, ~visible, t, noise_std, noise
            ),
            "You replaced the hidden pixels and left the measured ones to the model: it has to be"
            " the other way round.",
        ),
        Mistake(
            lambda x_t, y, visible, t, noise_std, noise: _put_back(
                x_t, y, torch.ones_like(visible), t, noise_std, noise
            ),
            "You replaced every pixel. Hidden ones have to keep what the sampler has drawn so far.",
        ),
        Mistake(
            _replaced_with(
                lambda x_t, y, t, noise_std, noise: (
                    (1 - t) * y + _lacking(t, noise_std) ** 0.5 * x_t
                )
            ),
            "You took x_t for the noise. It holds an image too; use `noise`.",
        ),
        Mistake(
            _replaced_with(
                lambda x_t, y, t, noise_std, noise: (
                    t * y + _lacking(1 - t, noise_std) ** 0.5 * noise
                )
            ),
            "Time runs the other way: at t = 1 there is only noise, at t = 0 only the image.",
        ),
        Mistake(
            lambda x_t, y, visible, t, noise_std, noise: torch.where(
                visible, (1 - t) * y + _lacking(t, noise_std) ** 0.5 * noise, x_t
            ),
            "Early in the sampling this is right. Late, (1 - t) y is noisier than the level, and"
            " there x_t has to stay as it is.",
        ),
        Mistake(
            lambda x_t, y, visible, t, noise_std, noise: torch.where(
                visible,
                (1 - t) * y + torch.tensor(t**2 - ((1 - t) * noise_std) ** 2).sqrt() * noise,
                x_t,
            ),
            "The root of a negative number: late in the sampling (1 - t) y is noisier than the"
            " level. Return x_t there.",
        ),
    ),
    hints=(
        "Which standard deviation does the noise in (1 - t) y have? And which should it have?",
        "The missing variance is t**2 - ((1 - t) * noise_std)**2. It may be negative.",
        "torch.where(visible, a, b) takes a where visible is True.",
    ),
)

# ------------------------------------------------------------------ guidance by a measurement


def _guide(denoise, x_t, forward, y, noise_std):
    x_t = x_t.detach().requires_grad_()
    x0 = denoise(x_t)
    log_likelihood = -(y - forward(x0)).square().sum() / (2 * noise_std**2)
    (gradient,) = torch.autograd.grad(log_likelihood, x_t)
    return x0.detach(), gradient


def _mixed(weights: Tensor, x_t: Tensor) -> Tensor:
    """Returns what a toy denoiser sees: each pixel depends on all of its image."""
    return torch.tanh(x_t.flatten(1) @ weights).view_as(x_t)


def _guide_cases() -> list[tuple]:
    rng = make_rng(8, 4)
    denoise = functools.partial(_mixed, torch.randn(12, 12, generator=rng) / 4)
    x_t = torch.randn(3, 1, 4, 3, generator=rng)
    y = torch.randn(3, 1, 2, 3, generator=rng)
    return [
        (denoise, x_t, _upper, y, 0.2),
        (denoise, x_t[:1].clone(), _block_means, y[:1], 0.7),
        (denoise, x_t.clone(), _upper, _upper(denoise(x_t)), 0.5),  # x0 fits y already
    ]


def _guided_by(log_likelihood, through=True):
    """Returns an answer with another log-likelihood of (residuals, noise_std), or one whose
    gradient does not pass through the denoiser.
    """

    def answer(denoise, x_t, forward, y, noise_std):
        x_t = x_t.detach().requires_grad_()
        x0 = denoise(x_t)
        start = x_t if through else x0
        value = log_likelihood(y - forward(x0), noise_std)
        return x0.detach(), torch.autograd.grad(value, start)[0]

    return answer


def _half_squares(residuals, noise_std):
    return -residuals.square().sum() / (2 * noise_std**2)


def _at_x_t(denoise, x_t, forward, y, noise_std):
    x = x_t.detach().requires_grad_()
    value = _half_squares(y - forward(x), noise_std)
    return denoise(x_t), torch.autograd.grad(value, x)[0]


GUIDE = Exercise(
    id="08.guide",
    question=(
        "Return x0, what the denoiser sees in x_t, and the gradient of log p(y | x_t) with respect"
        " to x_t, where p(y | x_t) is taken for N(forward(x0), noise_std^2 I)."
    ),
    solution=_guide,
    cases=_guide_cases,
    why=(
        "The operator may be anything that can be differentiated, and the network is never trained"
        " for it: one backward pass through the denoiser tells which noise would fit y better."
    ),
    mistakes=(
        Mistake(
            _guided_by(lambda r, s: -_half_squares(r, s)),
            "The gradient has the wrong sign: this one increases the misfit. log p(y | x_t) is"
            " minus the squared error.",
        ),
        Mistake(
            _guided_by(lambda r, s: 2 * _half_squares(r, s)),
            "The factor 1/2 of the Gaussian's exponent is missing.",
        ),
        Mistake(
            _guided_by(lambda r, s: -r.square().sum() / (2 * s)),
            "You divided by the standard deviation of the noise. The exponent has its variance,"
            " noise_std**2.",
        ),
        Mistake(
            _guided_by(lambda r, s: -r.square().sum() / 2),
            "noise_std is not used: the less noise, the more a misfit matters.",
        ),
        Mistake(
            _guided_by(lambda r, s: _half_squares(r, s) / r.numel()),
            "You took the mean over all images and pixels. The gradient of an image must not"
            " depend on how many others are in the batch: use a sum.",
        ),
        Mistake(
            _guided_by(lambda r, s: _half_squares(r, s) / r[0].numel()),
            "You took the mean over the measured numbers. log p(y | x_t) is a sum over them.",
        ),
        Mistake(
            _guided_by(lambda r, s: _half_squares(r, s) / len(r)),
            "You took the mean over the images of the batch. The gradient of an image must not"
            " depend on how many others there are: use a sum.",
        ),
        Mistake(
            _guided_by(_half_squares, through=False),
            "This is the gradient with respect to x0. You need that with respect to x_t, which"
            " goes back through the denoiser.",
        ),
        Mistake(
            _at_x_t,
            "You compared x_t itself with y. x_t is noisy; compare what the denoiser sees in it.",
        ),
        Mistake(
            _guided_by(lambda r, s: -r.flatten(1).norm(dim=1).sum() / (2 * s**2)),
            "You took the length of the residuals. The exponent of a Gaussian has its square.",
        ),
        Mistake(
            lambda denoise, x_t, forward, y, noise_std: _guide(denoise, x_t, forward, y, noise_std)[
                ::-1
            ],
            "The two results are swapped: x0 comes first, then the gradient.",
        ),
        Mistake(
            lambda denoise, x_t, forward, y, noise_std: _guide(denoise, x_t, forward, y, noise_std)[
                1
            ],
            "This is the gradient alone. Return x0 as well, so that nobody has to call the network"
            " twice.",
        ),
    ),
    hints=(
        "x_t = x_t.detach().requires_grad_() begins a computation that ends at x_t.",
        "torch.autograd.grad(value, x_t) returns a tuple with one gradient; value is one number.",
        "value = -(y - forward(x0)).square().sum() / (2 * noise_std**2)",
    ),
)

# ------------------------------------------------------------------ mean or draw

DECIBELS = Exercise(
    id="08.decibels",
    question=(
        "A draw of the exact posterior has twice the mean squared error of the posterior mean. By"
        " how many dB is its PSNR lower?"
    ),
    solution=10 * math.log10(2),
    rtol=5e-3,
    why=(
        "A draw from the posterior is this much worse than the mean by design. So a higher PSNR"
        " can mean a blur, and not a better picture."
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
        Mistake(10 * math.log2(2), "You took the logarithm to base 2. Decibels use base 10."),
        Mistake(
            5 * math.log10(2),
            "You took the root of the ratio. PSNR is defined by the mean squared error, not by its"
            " root, when the factor is 10.",
        ),
        Mistake(0.5, "That is the ratio of the errors upside down. Decibels are a logarithm."),
    ),
    hints=("PSNR = 10 log10(range² / MSE). What happens to it when MSE doubles?", "10 · log10(2)"),
)

# ------------------------------------------------------------------ an edit


def _edit_start(guide, strength, num_steps, noise):
    x = (1 - strength) * guide + strength * noise
    return x, torch.linspace(strength, 0, num_steps + 1)


def _edit_cases() -> list[tuple]:
    rng = make_rng(8, 5)
    guide, noise = (torch.randn(2, 1, 3, 3, generator=rng) for _ in range(2))
    return [
        (guide, 0.6, 4, noise),
        (guide, 1.0, 3, noise),  # nothing of the guide is left
        (guide[:1], 0.25, 1, noise[:1]),  # one step
    ]


def _edited_with(start=None, times=None):
    """Returns an answer with another start of (guide, strength, noise), or other times of
    (strength, num_steps).
    """

    def answer(guide, strength, num_steps, noise):
        x, right_times = _edit_start(guide, strength, num_steps, noise)
        return (
            x if start is None else start(guide, strength, noise),
            right_times if times is None else times(strength, num_steps),
        )

    return answer


EDIT = Exercise(
    id="08.edit",
    question=(
        "Return where an edit starts, the guide with the noise of time `strength`, and the times"
        " of its num_steps equal steps from there to 0."
    ),
    solution=_edit_start,
    cases=_edit_cases,
    why=(
        "What is coarse survives the noise and what is fine does not, so the model redraws the"
        " details; strength says where coarse ends."
    ),
    mistakes=(
        Mistake(
            _edited_with(times=lambda strength, num: torch.linspace(1, 0, num + 1)),
            "The start is right, but your times begin at 1. x has the noise of time `strength`, and"
            " the network has to be told so.",
        ),
        Mistake(
            _edited_with(start=lambda guide, strength, noise: guide + strength * noise),
            "The guide keeps its full brightness. In x_t the image has the factor 1 - t.",
        ),
        Mistake(
            _edited_with(
                start=lambda guide, strength, noise: strength * guide + (1 - strength) * noise
            ),
            "The two weights are swapped: at strength 1 nothing of the guide should be left.",
        ),
        Mistake(
            _edited_with(
                start=lambda guide, strength, noise: (
                    (1 - strength) ** 0.5 * guide + strength**0.5 * noise
                )
            ),
            "Roots belong to another schedule. Our x_t lies on the straight line between image and"
            " noise: (1 - t) image + t noise.",
        ),
        Mistake(
            _edited_with(start=lambda guide, strength, noise: guide),
            "The guide has no noise. The network, told that the time is `strength`, would take the"
            " painting's own structure for noise.",
        ),
        Mistake(
            _edited_with(start=lambda guide, strength, noise: noise),
            "This is pure noise: nothing of the guide is left, whatever the strength.",
        ),
        Mistake(
            _edited_with(times=lambda strength, num: torch.linspace(strength, 0, num)),
            "num_steps steps have num_steps + 1 ends: one time is missing.",
        ),
        Mistake(
            _edited_with(times=lambda strength, num: torch.linspace(strength, 0, num + 1)[:-1]),
            "Your times stop before 0: the last step, to the image, is missing.",
        ),
        Mistake(
            _edited_with(times=lambda strength, num: torch.linspace(0, strength, num + 1)),
            "Your times rise from 0. Sampling goes from the noisy end to 0.",
        ),
        Mistake(
            lambda guide, strength, num_steps, noise: _edit_start(
                guide, strength, num_steps, noise
            )[::-1],
            "The two results are swapped: x comes first, then the times.",
        ),
    ),
    hints=(
        "x_t = (1 - t) image + t noise. Which image, and which t?",
        "torch.linspace(a, b, n) returns n numbers; n - 1 steps lie between them.",
    ),
)

# ------------------------------------------------------------------ outliers


def _strangeness(denoise, images, t, noise):
    x_t = (1 - t) * images + t * noise
    seen_noise = (x_t - (1 - t) * denoise(x_t, t)) / t
    return (seen_noise - noise).square().flatten(1).mean(1)


def _shrunk(weights: Tensor, x_t: Tensor, t: float) -> Tensor:
    """Returns what a toy denoiser sees; it depends on the time."""
    return torch.tanh((x_t.flatten(1) @ weights).view_as(x_t) / (0.5 + t))


def _outlier_cases() -> list[tuple]:
    rng = make_rng(8, 6)
    denoise = functools.partial(_shrunk, torch.randn(12, 12, generator=rng) / 4)
    images, noise = (torch.randn(3, 1, 4, 3, generator=rng) for _ in range(2))
    return [
        (denoise, images, 0.4, noise),
        (denoise, images[:1], 0.8, noise[:1]),
        (denoise, images, 1.0, noise),  # x_t is the noise, so it is seen without error
    ]


def _strange_with(seen=None, score=None, noised=None):
    """Returns an answer with another noise seen of (x_t, x0, t), score of (differences), or x_t of
    (images, t, noise).
    """

    def answer(denoise, images, t, noise):
        x_t = (1 - t) * images + t * noise if noised is None else noised(images, t, noise)
        x0 = denoise(x_t, t)
        found = (x_t - (1 - t) * x0) / t if seen is None else seen(x_t, x0, t)
        if score is None:
            return (found - noise).square().flatten(1).mean(1)
        return score(found - noise)

    return answer


OUTLIER = Exercise(
    id="08.outlier",
    question=(
        "Return for each image the mean squared error, over its pixels, of the noise that the"
        " denoiser recognises in x_t = (1 - t) image + t noise."
    ),
    solution=_strangeness,
    cases=_outlier_cases,
    why=(
        "This is the loss of an eps-prediction (notebook 07), kept apart for each image: what the"
        " network has rarely seen, it cannot tell from noise."
    ),
    mistakes=(
        Mistake(
            lambda denoise, images, t, noise: (
                (denoise((1 - t) * images + t * noise, t) - images).square().flatten(1).mean(1)
            ),
            "This is the error of the image. The question asks for that of the noise: solve x_t ="
            " (1 - t) x0 + t noise for the noise, with the x0 that the denoiser sees.",
        ),
        Mistake(
            _strange_with(seen=lambda x_t, x0, t: x_t - (1 - t) * x0),
            "What is left of x_t is t times the noise. Divide by t.",
        ),
        Mistake(
            _strange_with(seen=lambda x_t, x0, t: (x_t - x0) / t),
            "In x_t the image has the factor 1 - t; subtract (1 - t) x0.",
        ),
        Mistake(
            _strange_with(seen=lambda x_t, x0, t: x_t - x0),
            "x_t minus x0 is t (noise - x0), the way that is left to the image. Solve x_t = (1 - t)"
            " x0 + t noise for the noise.",
        ),
        Mistake(
            _strange_with(seen=lambda x_t, x0, t: (x_t - t * x0) / max(1 - t, 1e-12)),
            "The two weights are swapped: the image has the factor 1 - t, the noise the factor t.",
        ),
        Mistake(
            _strange_with(score=lambda d: d.square().flatten(1).sum(1)),
            "You summed over the pixels. The mean keeps scores of larger images comparable.",
        ),
        Mistake(
            _strange_with(score=lambda d: d.square().mean()),
            "You averaged over the images too. Each image needs a score of its own.",
        ),
        Mistake(
            _strange_with(score=lambda d: d.square().flatten(1).mean(1).sqrt()),
            "This is the root of the mean squared error.",
        ),
        Mistake(
            _strange_with(score=lambda d: d.abs().flatten(1).mean(1)),
            "This is the mean absolute error. Square the differences.",
        ),
        Mistake(
            _strange_with(score=lambda d: -d.square().flatten(1).mean(1)),
            "The sign is wrong: a stranger image has to get a higher score.",
        ),
        Mistake(
            _strange_with(score=lambda d: d.flatten(1).mean(1)),
            "You averaged the differences without squaring them, so errors up and down cancel.",
        ),
        Mistake(
            _strange_with(noised=lambda images, t, noise: images + t * noise),
            "Your x_t is too bright: in it the image has the factor 1 - t.",
        ),
        Mistake(
            _strange_with(noised=lambda images, t, noise: images),
            "The denoiser got the clean image. Add noise first: x_t = (1 - t) image + t noise.",
        ),
    ),
    hints=(
        "denoise(x_t, t) returns the image that the network sees. Which noise does that leave?",
        "seen_noise = (x_t - (1 - t) * x0) / t",
        "One number for each image: .square().flatten(1).mean(1).",
    ),
)

# ------------------------------------------------------------------ the adjoint


def _adjoint(y, factor):
    return y.repeat_interleave(factor, 2).repeat_interleave(factor, 3) / factor**2


def _top_left(y: Tensor, factor: int) -> Tensor:
    images = y.new_zeros(*y.shape[:2], y.shape[2] * factor, y.shape[3] * factor)
    images[:, :, ::factor, ::factor] = y
    return images


def _adjoint_cases() -> list[tuple]:
    rng = make_rng(8, 0)
    grey, colour = torch.randn(2, 1, 3, 2, generator=rng), torch.randn(1, 3, 2, 4, generator=rng)
    return [(grey, 2), (grey, 4), (colour, 3), (grey, 1)]


ADJOINT = Exercise(
    id="08.adjoint",
    question=(
        "The operator A averages blocks of factor x factor pixels. Return its adjoint A^T y for y"
        " [B, C, h, w], so that <A x, y> = <x, A^T y>."
    ),
    solution=_adjoint,
    cases=_adjoint_cases,
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
            lambda y, factor: factor**4 * _adjoint(y, factor),
            "You multiplied by factor². The weight of a pixel in A is 1 / factor².",
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
        Mistake(
            lambda y, factor: y.repeat(1, 1, factor, factor),
            "`repeat` tiles the whole small image, and the weight 1 / factor² is missing. Use"
            " repeat_interleave.",
        ),
        Mistake(
            lambda y, factor: _adjoint(y, factor).transpose(2, 3), "Height and width are swapped."
        ),
        Mistake(
            lambda y, factor: y.repeat_interleave(factor, 2) / factor**2,
            "Only the height was enlarged. Enlarge the width as well.",
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

# ------------------------------------------------------------------ a Gaussian prior


def _gaussian_mean(mean, covariance, matrix, noise_std, y):
    noise = noise_std**2 * torch.eye(len(matrix), dtype=matrix.dtype)
    of_y = matrix @ covariance @ matrix.T + noise  # the covariance of y
    return mean + covariance @ matrix.T @ torch.linalg.solve(of_y, y - matrix @ mean)


def _gaussian_cases() -> list[tuple]:
    rng = make_rng(8, 1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    root, matrix, mean, y = draw(4, 4), draw(2, 4), draw(4), draw(2)
    covariance = root @ root.T + torch.eye(4)
    hidden = torch.eye(4, dtype=torch.float64)[:1]  # only the first pixel is seen
    return [
        (mean, covariance, matrix, 0.5, y),
        (mean, covariance, matrix, 2.0, y),
        (mean, covariance, hidden, 0.3, y[:1]),
        (mean, covariance, matrix, 0.5, matrix @ mean),  # y is what was expected
    ]


def _gaussian_with(covariance_of_y=None, gain=None):
    """Returns an answer with another covariance of y, or another gain, each of (covariance,
    matrix, noise_std).
    """

    def answer(mean, covariance, matrix, noise_std, y):
        eye = torch.eye(len(matrix), dtype=matrix.dtype)
        of_y = matrix @ covariance @ matrix.T + noise_std**2 * eye
        if covariance_of_y is not None:
            of_y = covariance_of_y(covariance, matrix, noise_std)
        cross = covariance @ matrix.T if gain is None else gain(covariance, matrix)
        return mean + cross @ torch.linalg.solve(of_y, y - matrix @ mean)

    return answer


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
        Mistake(
            lambda mean, covariance, matrix, noise_std, y: (
                2 * mean - _gaussian_mean(mean, covariance, matrix, noise_std, y)
            ),
            "The correction has the wrong sign: the surprise is y - A mean.",
        ),
        Mistake(
            _gaussian_with(gain=lambda covariance, matrix: matrix.T),
            "The gain lacks the covariance: it is C A^T times the inverse covariance of y.",
        ),
        Mistake(
            _gaussian_with(
                covariance_of_y=lambda covariance, matrix, noise_std: (
                    matrix @ covariance @ matrix.T
                    + noise_std**2 * torch.ones(len(matrix), len(matrix), dtype=matrix.dtype)
                )
            ),
            "noise_std² was added to every entry of A C A^T. The noises are independent, so only"
            " the diagonal gets it.",
        ),
        Mistake(
            lambda mean, covariance, matrix, noise_std, y: mean,
            "This is the prior's mean: y is not used.",
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

EXERCISES = (PIXEL, SEARCH, REPLACE, GUIDE, DECIBELS, EDIT, OUTLIER, ADJOINT, GAUSSIAN)
