"""Exercises of notebook 01, "Generative vs discriminative": the parts of a softmax regression and
of a class-conditional Gaussian, what a Gaussian says of hidden pixels, and the area under the ROC
curve.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.exercises.judge import (
    Exercise,
    Mistake,
    Wrong,
    kind_of,
    require_finite,
    require_repeatable,
    to_array,
)

# ------------------------------------------------------------------ softmax regression


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    rows = torch.arange(len(labels))
    return logits.logsumexp(1) - logits[rows, labels]


def _own(values: Tensor, labels: Tensor) -> Tensor:
    return values[torch.arange(len(labels)), labels]


def _naive_probabilities(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def _cross_entropy_cases() -> list[tuple]:
    rng = make_rng(1, 0)
    return [
        (2 * torch.randn(4, 3, generator=rng), torch.tensor([2, 0, 1, 1])),
        # right and wrong with certainty: 0 and 2,000 nats
        (torch.tensor([[1000.0, -1000.0, 0.0]] * 2), torch.tensor([0, 1])),
        (torch.zeros(1, 5), torch.tensor([3])),  # one image, equal classes: log 5
        (torch.tensor([[0.7], [-2.0]]), torch.tensor([0, 0])),  # one class: 0
    ]


CROSS_ENTROPY = Exercise(
    id="01.cross_entropy",
    question=(
        "Return -log p(label | image) in nats, `[N]`, from `logits` [N, K], which may be 1000, and"
        " `labels` [N]."
    ),
    solution=cross_entropy,
    cases=_cross_entropy_cases,
    gradients=(0,),
    why=(
        "This is the loss of every classifier in the course: log of the sum of exp, less the own"
        " logit, and it survives logits of any size."
    ),
    mistakes=(
        Mistake(
            lambda a, y: -_own(_naive_probabilities(a), y).log(),
            "This is right on paper, but exp(1000) is infinite in a computer and inf / inf is NaN."
            " Find a form in which the largest logit is subtracted before exp.",
        ),
        Mistake(
            lambda a, y: -_own(a.softmax(1), y).log(),
            "softmax survives, but a probability of exp(-2000) is rounded to 0, and its log is"
            " minus infinity. Take the log on paper first and simplify.",
        ),
        Mistake(
            lambda a, y: -(_own(a.softmax(1), y) + 1e-9).log(),
            "A small number inside the log hides the infinity and gives a wrong loss: 2,000 nats"
            " become about 21. Take the log on paper first and simplify.",
        ),
        Mistake(
            lambda a, y: -cross_entropy(a, y),
            "This is log p, which is never positive. A loss is to be made small, so it needs the"
            " minus sign.",
        ),
        Mistake(
            lambda a, y: cross_entropy(a, y).mean(),
            "You averaged over the images. One number for each image is asked for; the training"
            " step takes the mean.",
        ),
        Mistake(
            lambda a, y: cross_entropy(a, y).sum(),
            "You summed over the images. One number for each image is asked for.",
        ),
        Mistake(
            lambda a, y: -_own(a, y),
            "This is minus the own logit. Logits become log-probabilities only when the log of the"
            " sum of all exp(logits) is subtracted.",
        ),
        Mistake(
            lambda a, y: a.logsumexp(1),
            "This is the log of the sum of exp(logits). The logit of the label has to be subtracted"
            " from it.",
        ),
        Mistake(
            lambda a, y: -_own(a.log_softmax(0), y),
            "Your probabilities add up to 1 over the images of the batch. They have to add up to 1"
            " over the classes of each image, which are axis 1.",
        ),
        Mistake(
            lambda a, y: F.cross_entropy(a.softmax(1), y, reduction="none"),
            "You applied softmax twice: F.cross_entropy and log_softmax take logits.",
        ),
        Mistake(
            lambda a, y: a.logsumexp(1) - a.amax(1),
            "This uses the most probable class of each image. The loss asks for the label, right or"
            " wrong.",
        ),
        Mistake(
            lambda a, y: cross_entropy(a, y) / math.log(2),
            "This is in bits. Nats use the natural logarithm.",
        ),
        Mistake(
            lambda a, y: 1 - _own(a.softmax(1), y),
            "This is one minus the probability. The loss is minus its logarithm.",
        ),
    ),
    hints=(
        "Take the log of exp(a_y) / sum_k exp(a_k) on paper: it becomes a difference.",
        "The log of a sum of exp is torch.logsumexp, which subtracts the largest logit first.",
        "logits.logsumexp(1) - logits[torch.arange(len(labels)), labels].",
    ),
)


def softmax_gradient(x: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    error = logits.softmax(1) - F.one_hot(labels, logits.shape[1])  # [N, K]
    return error.T @ x / len(x), error.mean(0)


def _from_error(error: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return error.T @ x / len(x), error.mean(0)


def _one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, logits.shape[1]).float()


def _gradient_cases() -> list[tuple]:
    rng = make_rng(1, 1)
    first = torch.rand(6, 3, generator=rng), torch.randn(6, 4, generator=rng)
    second = torch.rand(4, 3, generator=rng), torch.randn(4, 3, generator=rng)
    return [
        (*first, torch.tensor([0, 3, 1, 1, 2, 0])),
        (*second, torch.tensor([2, 0, 0, 1])),
        (torch.tensor([[0.2, 0.9]]), torch.zeros(1, 3), torch.tensor([1])),  # one image
        # an image that is right with certainty moves nothing, one that is wrong moves most
        (
            torch.tensor([[1.0], [0.5]]),
            torch.tensor([[1000.0, 0.0], [1000.0, 0.0]]),
            torch.tensor([0, 1]),
        ),
    ]


GRADIENT = Exercise(
    id="01.gradient",
    question=(
        "Return the gradients of the mean cross-entropy with respect to `weight` [K, D] and `bias`"
        " [K], where logits = x @ weight.T + bias."
    ),
    solution=softmax_gradient,
    cases=_gradient_cases,
    why=(
        "The gradient is probability minus truth, times the input; the next cell shows that"
        " autograd arrives at the same."
    ),
    mistakes=(
        Mistake(
            lambda x, a, y: _from_error(_one_hot(a, y) - a.softmax(1), x),
            "The signs are the wrong way round: a step against your gradient would climb. Raising"
            " the logit of a wrong class raises the loss.",
        ),
        Mistake(
            lambda x, a, y: tuple(len(x) * part for part in softmax_gradient(x, a, y)),
            "This is the gradient of the summed loss. The mean divides it by the number of images.",
        ),
        Mistake(
            lambda x, a, y: tuple(part / a.shape[1] for part in softmax_gradient(x, a, y)),
            "You divided by the number of classes as well. The loss is a mean over images only.",
        ),
        Mistake(
            lambda x, a, y: _from_error(a.softmax(1), x),
            "The labels are missing: this is the derivative of the log of the sum. That of the own"
            " logit has to be subtracted.",
        ),
        Mistake(
            lambda x, a, y: _from_error(a - _one_hot(a, y), x),
            "You took the logits for probabilities. The derivative of logsumexp is softmax.",
        ),
        Mistake(
            lambda x, a, y: _from_error(_one_hot(a, a.argmax(1)) - _one_hot(a, y), x),
            "You used the most probable class in place of the probabilities. That is the"
            " perceptron's rule, which stops learning once the answer is right.",
        ),
        Mistake(
            lambda x, a, y: _from_error(a.softmax(0) - _one_hot(a, y), x),
            "Your probabilities add up to 1 over the images. The classes are axis 1.",
        ),
        Mistake(
            lambda x, a, y: tuple(part.T for part in softmax_gradient(x, a, y)),
            "The gradient of the weights is transposed: like the weights it is [K, D], one row a"
            " class.",
        ),
        Mistake(
            lambda x, a, y: (softmax_gradient(x, a, y)[0], len(x) * softmax_gradient(x, a, y)[1]),
            "The gradient of the weights is right, but that of the bias is a sum over the images"
            " and has to be their mean.",
        ),
        Mistake(
            lambda x, a, y: softmax_gradient(x, a, y)[0],
            "The weights' gradient is right, but it is alone: return that of the bias too, as a"
            " second result.",
        ),
    ),
    hints=(
        "First the derivative of logsumexp(a) - a_y with respect to one logit a_k.",
        "It is p_k, less 1 for the label: error = softmax - one-hot, [N, K].",
        "a_k = sum_d weight[k, d] x_d + bias[k], so weight[k, d] gets error_k x_d: error.T @ x.",
    ),
)

# ------------------------------------------------------------------ one Gaussian


def fit_class(x: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    mean = x.mean(0)
    centred = x - mean
    covariance = centred.T @ centred / len(x)
    return mean, covariance + ridge * torch.eye(x.shape[1])


def _fit_cases() -> list[tuple]:
    rng = make_rng(1, 2)
    flat = torch.rand(5, 3, generator=rng)
    flat[:, 1] = 0.25  # a pixel that never changes
    return [
        (torch.rand(8, 3, generator=rng), 0.1),
        (torch.rand(2, 4, generator=rng), 0.03),  # fewer images than pixels
        (torch.rand(1, 2, generator=rng), 0.05),  # one image
        (flat, 0.2),
    ]


def _with_covariance(x: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), covariance


FIT = Exercise(
    id="01.fit",
    question=(
        "Return the mean [D] and the covariance [D, D] of the images `x` [N, D], the most likely"
        " one (divided by N), with `ridge` added to the variance of each pixel."
    ),
    solution=fit_class,
    cases=_fit_cases,
    why=(
        "The ridge says that each pixel carries some noise of its own. With it even one image gives"
        " a covariance that can be inverted."
    ),
    mistakes=(
        Mistake(
            lambda x, ridge: _with_covariance(
                x,
                (x - x.mean(0)).T @ (x - x.mean(0)) / (len(x) - 1) + ridge * torch.eye(x.shape[1]),
            ),
            "You divided by N - 1, as torch.cov does by itself. The most likely covariance divides"
            " by N, and only that one works for a single image.",
        ),
        Mistake(
            lambda x, ridge: fit_class(x, 0.0),
            "The ridge is missing. Without it the covariance of a few images, or of a pixel that"
            " never changes, has no inverse.",
        ),
        Mistake(
            lambda x, ridge: _with_covariance(x, fit_class(x, 0.0)[1] + ridge),
            "You added the ridge to all entries, which says that all pixels have one noise in"
            " common. Each pixel has its own: only the diagonal grows.",
        ),
        Mistake(
            lambda x, ridge: fit_class(x, ridge**2),
            "You squared the ridge. It is a variance already.",
        ),
        Mistake(
            lambda x, ridge: fit_class(x, -ridge),
            "You subtracted the ridge, which can make variances negative.",
        ),
        Mistake(
            lambda x, ridge: _with_covariance(x, x.T @ x / len(x) + ridge * torch.eye(x.shape[1])),
            "The mean has not been subtracted: this is the mean of x x^T, which is large wherever"
            " pixels are bright.",
        ),
        Mistake(
            lambda x, ridge: _with_covariance(
                x, len(x) * fit_class(x, 0.0)[1] + ridge * torch.eye(x.shape[1])
            ),
            "This is the sum over the images. Divide by their number before you add the ridge.",
        ),
        Mistake(
            lambda x, ridge: _with_covariance(
                x, (x - x.mean(0)) @ (x - x.mean(0)).T / len(x) + ridge * torch.eye(len(x))
            ),
            "This compares images with each other, [N, N]. The covariance compares pixels, [D, D].",
        ),
        Mistake(
            lambda x, ridge: _with_covariance(x, fit_class(x, ridge)[1].diagonal()),
            "These are the variances alone. A hidden half is repaired with the other entries, which"
            " say how pixels vary together.",
        ),
        Mistake(
            lambda x, ridge: _with_covariance(x, torch.diag(fit_class(x, ridge)[1].diagonal())),
            "You kept only the diagonal, as if pixels were independent. A hidden half is repaired"
            " with the other entries, which say how pixels vary together.",
        ),
        Mistake(
            lambda x, ridge: (x.mean(1), fit_class(x, ridge)[1]),
            "Your mean has one entry an image. The mean image has one entry a pixel: average over"
            " axis 0.",
        ),
        Mistake(
            lambda x, ridge: (x.mean(), fit_class(x, ridge)[1]),
            "Your mean is one number over everything. The mean image has one entry a pixel.",
        ),
    ),
    hints=(
        "centred = x - x.mean(0); how do two of its columns vary together?",
        "centred.T @ centred / N compares every pixel with every other.",
        "Add ridge * torch.eye(D).",
    ),
)


def log_density(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, (x - mean).T, upper=False)  # [D, N]
    half_log_det = root.diagonal().log().sum()
    return -0.5 * white.square().sum(0) - half_log_det - 0.5 * len(mean) * math.log(2 * math.pi)


def _density_parts(x: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, float]:
    """Returns the squared distance [N], the log of the determinant, and log 2 pi for all pixels."""
    centred = x - mean
    squared = (centred * torch.linalg.solve(covariance, centred.T).T).sum(1)
    return squared, torch.logdet(covariance), len(mean) * math.log(2 * math.pi)


def _density_from(
    squared: float = 0.5, log_det: float = 0.5, constant: float = 0.5, sign: float = -1.0
):
    def density(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
        parts = _density_parts(x, mean, covariance)
        return sign * (squared * parts[0] + log_det * parts[1] + constant * parts[2])

    return density


def _density_by_det(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    squared, _, constant = _density_parts(x, mean, covariance)
    return -0.5 * (squared + torch.linalg.det(covariance).log() + constant)


def _root_turned(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root.T, (x - mean).T, upper=True)
    constant = 0.5 * len(mean) * math.log(2 * math.pi)
    return -0.5 * white.square().sum(0) - root.diagonal().log().sum() - constant


def _times_covariance(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    squared = ((x - mean) @ covariance * (x - mean)).sum(1)
    return -0.5 * (squared + torch.logdet(covariance) + len(mean) * math.log(2 * math.pi))


def _one_constant(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    squared, log_det, _ = _density_parts(x, mean, covariance)
    return -0.5 * (squared + log_det + math.log(2 * math.pi))


def _density_cases() -> list[tuple]:
    rng = make_rng(1, 3)
    root = torch.randn(3, 3, generator=rng)
    dense = root @ root.T + 0.5 * torch.eye(3)
    mean = torch.randn(3, generator=rng)
    many = 40 * torch.rand(3, 200, generator=rng)
    return [
        (torch.randn(4, 3, generator=rng), mean, dense),
        (torch.tensor([[0.3]]), torch.tensor([0.1]), torch.tensor([[0.04]])),  # one pixel
        (mean[None], mean, dense),  # the peak itself
        # 200 pixels: the determinant, 1e-400, is no number of a computer
        (many / 200, torch.full((200,), 0.1), 0.01 * torch.eye(200)),
    ]


DENSITY = Exercise(
    id="01.density",
    question=(
        "Return log N(x; mean, covariance) in nats, `[N]`, for `x` [N, D], by the Cholesky factor"
        " L of the covariance, L @ L.T."
    ),
    solution=log_density,
    cases=_density_cases,
    why=(
        "One triangular factor gives both the distance and the determinant, and neither an inverse"
        " nor a number that underflows is needed."
    ),
    mistakes=(
        Mistake(
            _density_by_det,
            "The determinant of 200 small variances is about 1e-400, which a computer rounds to 0;"
            " its log is minus infinity. Add up the logs of the diagonal of L.",
        ),
        Mistake(
            _density_from(log_det=0.25),
            "The determinant of L is the root of that of the covariance, so the sum of log L_ii is"
            " already half of log det: you halved it once more.",
        ),
        Mistake(
            _density_from(log_det=1.0),
            "Your log-determinant counts twice what it should: the density has the root of the"
            " determinant in it.",
        ),
        Mistake(_density_from(log_det=0.0), "The log-determinant is missing."),
        Mistake(
            _density_from(log_det=-0.5),
            "The sign of the log-determinant is wrong: a wide Gaussian is low everywhere.",
        ),
        Mistake(
            _density_from(squared=1.0), "The factor 1/2 before the squared distance is missing."
        ),
        Mistake(
            _density_from(constant=0.0),
            "The term with 2 pi is missing. Without it the density does not integrate to 1.",
        ),
        Mistake(_one_constant, "log 2 pi counts once for each pixel, not once in all."),
        Mistake(
            _density_from(sign=1.0), "The sign is turned: this is -log p, which grows far away."
        ),
        Mistake(
            _times_covariance,
            "You multiplied with the covariance. The distance divides by it: directions that vary"
            " much count little.",
        ),
        Mistake(
            _root_turned,
            "You solved with the transposed factor. L is the lower one: solve L w = x - mean, so"
            " that |w|^2 is the squared distance.",
        ),
        Mistake(
            lambda x, mean, covariance: log_density(x, torch.zeros_like(mean), covariance),
            "The mean has not been subtracted.",
        ),
        Mistake(
            lambda x, mean, covariance: log_density(x, mean, covariance).sum(),
            "You summed over the images. One number for each image is asked for.",
        ),
        Mistake(
            lambda x, mean, covariance: log_density(x, mean, covariance).exp(),
            "This is the density itself. With 784 pixels it overflows or underflows: stay in logs.",
        ),
    ),
    hints=(
        "Solve L w = x - mean; then (x - mean)^T inverse(covariance) (x - mean) = |w|^2.",
        "det(covariance) = det(L)^2, and det(L) is the product of its diagonal.",
        "torch.linalg.solve_triangular(L, (x - mean).T, upper=False) is [D, N].",
        "-0.5 * |w|^2 - log L_ii summed - 0.5 * D * log(2 pi).",
    ),
)


def posterior(log_likelihoods: Tensor, log_prior: Tensor) -> Tensor:
    log_joint = log_likelihoods + log_prior
    return log_joint - log_joint.logsumexp(1, keepdim=True)


def _exp_first(log_likelihoods: Tensor, log_prior: Tensor) -> Tensor:
    joint = (log_likelihoods + log_prior).exp()
    return (joint / joint.sum(1, keepdim=True)).log()


def _posterior_cases() -> list[tuple]:
    log_prior = torch.tensor([0.7, 0.2, 0.1]).log()
    ordinary = torch.randn(4, 3, generator=make_rng(1, 4))
    far = torch.tensor([[-900.0, -1500.0, -950.0]])  # one image, and densities that exp cannot hold
    return [
        (ordinary, log_prior),
        (ordinary - 900, log_prior),
        (far, log_prior),
        (torch.zeros(2, 3), log_prior),  # pixels that say nothing leave the prior
        (torch.tensor([[-3.0], [5.0]]), torch.zeros(1)),  # one class
    ]


BAYES = Exercise(
    id="01.bayes",
    question=(
        "Return log p(y | x), `[N, K]`, from `log_likelihoods` log p(x | y) [N, K] and `log_prior`"
        " log p(y) [K]."
    ),
    solution=posterior,
    cases=_posterior_cases,
    atol=1e-3,  # float32 near -900
    why="Any model of p(x | y) is a classifier: Bayes' rule turns it round.",
    mistakes=(
        Mistake(
            lambda a, b: a.log_softmax(1),
            "You left out p(y). Equal classes would hide it; here one class is seven times as"
            " frequent as another.",
        ),
        Mistake(
            lambda a, b: (a + b).log_softmax(0),
            "Your columns add up to 1. The classes of one image have to: the class axis is axis 1.",
        ),
        Mistake(
            _exp_first,
            "This is right on paper, but exp of -900 is 0, and 0/0 is NaN. Stay in logs: logsumexp"
            " subtracts the largest one first.",
        ),
        Mistake(
            lambda a, b: (a + b).softmax(1),
            "These are probabilities. Their logs are asked for, because softmax rounds small ones"
            " to 0.",
        ),
        Mistake(
            lambda a, b: (a + b).softmax(1).log(),
            "softmax rounds a probability of exp(-600) to 0, whose log is minus infinity. Subtract"
            " logsumexp and no exp is needed.",
        ),
        Mistake(
            lambda a, b: a + b,
            "This is log p(x, y). Divide by p(x), the sum over the classes; in logs, subtract.",
        ),
        Mistake(
            lambda a, b: (a + b.exp()).log_softmax(1),
            "You added a probability to a log. Both terms have to be logs.",
        ),
        Mistake(
            lambda a, b: (a - b).log_softmax(1),
            "You divided by p(y). The joint is the product p(x | y) p(y): in logs, add.",
        ),
        Mistake(
            lambda a, b: a.log_softmax(1) + b,
            "You normalised before p(y) came in, so your probabilities do not add up to 1.",
        ),
        Mistake(
            lambda a, b: (a + b) - (a + b).amax(1, keepdim=True),
            "You divided by the largest joint. p(x) is the sum over all classes.",
        ),
    ),
    hints=(
        "log p(x, y) = log p(x | y) + log p(y).",
        "log p(x) is the logsumexp of that over the classes.",
        "Subtract it, with keepdim=True; log_softmax does the same.",
    ),
)


def draw(mean: Tensor, covariance: Tensor, n: int, rng: torch.Generator) -> Tensor:
    root = torch.linalg.cholesky(covariance)
    eps = torch.randn(n, len(mean), generator=rng)
    return mean + eps @ root.T


NUM_DRAWS = 40_000

NO_MEAN = "Your draws scatter round zero: the mean has not been added."
ONE_EPS = (
    "All your draws are the same image: each needs noise of its own, so eps has the shape [n, D]."
)
ALWAYS_SAME = (
    "Two different generators gave you the same draws, so the one that is given is not used."
)
WRONG_SPREADS = {
    "turned": (
        "You multiplied with the wrong side of L: the covariance of your draws is L^T L and not L"
        " L^T. A row of noise has to be multiplied with L.T."
    ),
    "squared": (
        "You multiplied the noise with the covariance, so your draws vary with its square. A factor"
        " L with L L^T = covariance is needed."
    ),
    "independent": (
        "Each of your pixels has the right variance, but they vary independently. The Cholesky"
        " factor makes them vary together."
    ),
    "white": "Your draws vary with variance 1 in all directions: the covariance plays no role.",
    "none": "Your draws do not vary at all: noise times the Cholesky factor has to be added.",
}
NOT_NORMAL = (
    "Mean and covariance are right, but the noise is not Gaussian: it has too few large values."
    " Use torch.randn."
)


def _draw_arguments() -> tuple[Tensor, Tensor]:
    mean = torch.tensor([2.0, -1.0, 0.5])
    root = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.7, 0.0], [-0.6, 0.8, 0.4]])
    return mean, root @ root.T


def _check_draw(answer) -> None:
    mean, covariance = _draw_arguments()

    def given(n: int, seed: int = 3) -> Tensor:
        return torch.as_tensor(to_array(answer(mean, covariance, n, make_rng(1, seed))))

    for n in (1, 5):
        shape = list(given(n).shape)
        if shape != [n, 3]:
            raise Wrong(
                f"Expected {n} draws of 3 pixels, shape [{n}, 3], got"
                f" {kind_of(given(n)) if shape else 'a number'}."
            )
    require_repeatable(answer, lambda: (mean, covariance, 5, make_rng(1, 3)))
    draws = given(NUM_DRAWS)
    require_finite(draws)
    spread = torch.cov(draws.T, correction=0)
    if spread.abs().max() < 1e-9:
        away = (draws[0] - mean).abs().max()
        raise Wrong(WRONG_SPREADS["none"] if away < 1e-6 else ONE_EPS)
    if torch.equal(given(5), given(5, seed=4)):
        raise Wrong(ALWAYS_SAME)
    if draws.mean(0).abs().max() < 0.1:
        raise Wrong(NO_MEAN)
    _compare_spread(spread, covariance.double())
    if (draws.mean(0) - mean).abs().max() > 0.05:
        raise Wrong(f"The mean of your draws is {_rounded(draws.mean(0))}, not {_rounded(mean)}.")
    white = torch.linalg.solve(torch.linalg.cholesky(spread), (draws - draws.mean(0)).T)
    if (white**4).mean() < 2.7:  # 3 for a Gaussian
        raise Wrong(NOT_NORMAL)


def _compare_spread(spread: Tensor, covariance: Tensor) -> None:
    """Raises `Wrong` where the covariance of the draws is not the given one, and says which one it
    is.
    """
    root = torch.linalg.cholesky(covariance)
    candidates = {
        "right": covariance,
        "turned": root.T @ root,
        "squared": covariance @ covariance,
        "independent": torch.diag(covariance.diagonal()),
        "white": torch.eye(3, dtype=torch.float64),
    }
    off = {name: (spread - one).abs().max().item() for name, one in candidates.items()}
    nearest = min(off, key=off.__getitem__)
    if off[nearest] > 0.1:
        variances = _rounded(spread.diagonal())
        raise Wrong(
            f"The variances of your draws are {variances}, not {_rounded(covariance.diagonal())}."
        )
    if nearest != "right":
        raise Wrong(WRONG_SPREADS[nearest])


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 2) for value in values.tolist()]


def _with_noise(mean: Tensor, n: int, rng: torch.Generator | None) -> Tensor:
    return torch.randn(n, len(mean), generator=rng)


DRAW = Exercise(
    id="01.draw",
    question=(
        "Return `n` draws of N(mean, covariance), `[n, D]`, from Gaussian noise of the generator"
        " `rng`."
    ),
    solution=draw,
    check=_check_draw,
    why=(
        "The density used this factor to turn images into independent noise; here the same factor"
        " turns independent noise into images."
    ),
    mistakes=(
        Mistake(lambda m, c, n, rng: draw(0 * m, c, n, rng), NO_MEAN),
        Mistake(lambda m, c, n, rng: draw(m, c, 1, rng).expand(n, -1), ONE_EPS),
        Mistake(lambda m, c, n, rng: draw(m, c, n, make_rng(0)), ALWAYS_SAME),
        Mistake(
            lambda m, c, n, rng: m + _with_noise(m, n, rng) @ torch.linalg.cholesky(c),
            WRONG_SPREADS["turned"],
        ),
        Mistake(lambda m, c, n, rng: m + _with_noise(m, n, rng) @ c, WRONG_SPREADS["squared"]),
        Mistake(
            lambda m, c, n, rng: m + _with_noise(m, n, rng) * c.diagonal().sqrt(),
            WRONG_SPREADS["independent"],
        ),
        Mistake(lambda m, c, n, rng: m + _with_noise(m, n, rng), WRONG_SPREADS["white"]),
        Mistake(lambda m, c, n, rng: m.expand(n, -1), WRONG_SPREADS["none"]),
        Mistake(
            lambda m, c, n, rng: (
                m
                + math.sqrt(12)
                * (torch.rand(n, len(m), generator=rng) - 0.5)
                @ torch.linalg.cholesky(c).T
            ),
            NOT_NORMAL,
        ),
    ),
    hints=(
        "If eps has the covariance I, which covariance has L eps?",
        "It is L L^T, which is the covariance that is asked for.",
        "With one draw a row: mean + torch.randn(n, D, generator=rng) @ L.T.",
    ),
)

# ------------------------------------------------------------------ hidden pixels


def marginal(mean: Tensor, covariance: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    return mean[visible], covariance[visible][:, visible]


def _zeroed(mean: Tensor, covariance: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    return mean * visible, covariance * visible[:, None] * visible


def _precision_block(mean: Tensor, covariance: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    return mean[visible], torch.linalg.inv(torch.linalg.inv(covariance)[visible][:, visible])


def _random_gaussian(num_pixels: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    root = torch.randn(num_pixels, num_pixels, generator=rng)
    mean = torch.randn(num_pixels, generator=rng)
    return mean, root @ root.T + torch.eye(num_pixels)


def _marginal_cases() -> list[tuple]:
    rng = make_rng(1, 5)
    masks = (
        [True, False, True, True, False],
        [False, False, True, False, True],
        [False, True, False, False, False],  # one pixel is seen
        [True] * 5,  # all are
    )
    return [(*_random_gaussian(5, rng), torch.tensor(mask)) for mask in masks]


MARGINAL = Exercise(
    id="01.marginal",
    question=(
        "Return mean [V] and covariance [V, V] of the visible pixels alone, from `mean` [D],"
        " `covariance` [D, D] and the bool mask `visible` [D]."
    ),
    solution=marginal,
    cases=_marginal_cases,
    why="The integral over the hidden pixels of a Gaussian only makes its matrix smaller.",
    mistakes=(
        Mistake(
            _zeroed,
            "You set the hidden pixels to zero, as if they had been seen and were black. They have"
            " to disappear: the shapes shrink.",
        ),
        Mistake(
            _precision_block,
            "You cut the block out of the inverse, which fixes the hidden pixels. Integrating cuts"
            " the covariance.",
        ),
        Mistake(
            lambda mean, covariance, visible: (mean[visible], covariance[visible]),
            "You dropped rows. The columns have to go as well.",
        ),
        Mistake(
            lambda mean, covariance, visible: (mean[visible], covariance[:, visible]),
            "You dropped columns. The rows have to go as well.",
        ),
        Mistake(
            lambda mean, covariance, visible: marginal(mean, covariance, ~visible),
            "The mask is True where a pixel is seen.",
        ),
        Mistake(
            lambda mean, covariance, visible: (mean[visible], covariance[visible, visible]),
            "covariance[visible, visible] picks pairs of equal places, which is the diagonal. Index"
            " rows and columns one after the other.",
        ),
        Mistake(
            lambda mean, covariance, visible: (
                mean[visible],
                covariance[visible[:, None] & visible],
            ),
            "The right entries, but as one long row: a two-dimensional mask flattens. Index rows"
            " and columns one after the other.",
        ),
        Mistake(
            lambda mean, covariance, visible: (mean, marginal(mean, covariance, visible)[1]),
            "The covariance is right, but the mean still has all pixels.",
        ),
        Mistake(
            lambda mean, covariance, visible: (
                mean[visible],
                torch.diag(covariance.diagonal()[visible]),
            ),
            "You kept only the variances. The visible pixels still vary together.",
        ),
    ),
    hints=(
        "Index the mean with the mask.",
        "Of the covariance keep rows and columns of visible pixels.",
        "covariance[visible][:, visible].",
    ),
)


def conditional(
    seen: Tensor, mean: Tensor, covariance: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    hidden = ~visible
    between = covariance[hidden][:, visible]  # [H, V]
    slope = torch.linalg.solve(covariance[visible][:, visible], between.T).T  # [H, V]
    new_mean = mean[hidden] + (seen - mean[visible]) @ slope.T
    return new_mean, covariance[hidden][:, hidden] - slope @ between.T


def _blocks(covariance: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the blocks [V, V], [H, V] and [H, H]."""
    hidden = ~visible
    return (
        covariance[visible][:, visible],
        covariance[hidden][:, visible],
        covariance[hidden][:, hidden],
    )


def _with_slope(make_slope):
    """Returns a conditional whose slope [H, V] is `make_slope(vv, hv, hh)`."""

    def answer(
        seen: Tensor, mean: Tensor, covariance: Tensor, visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        vv, hv, hh = _blocks(covariance, visible)
        slope = make_slope(vv, hv, hh)
        return mean[~visible] + (seen - mean[visible]) @ slope.T, hh - slope @ hv.T

    return answer


def _conditional_cases() -> list[tuple]:
    rng = make_rng(1, 6)
    cases = []
    for num_images, mask in (
        (3, [True, False, True, True, False]),
        (2, [False, True, True, True, True]),  # one pixel is hidden
        (1, [False, False, True, False, False]),  # one pixel is seen, of one image
    ):
        visible = torch.tensor(mask)
        seen = torch.randn(num_images, sum(mask), generator=rng)
        cases.append((seen, *_random_gaussian(5, rng), visible))
    # pixels that know nothing of each other
    cases.append((seen, torch.randn(5, generator=rng), 2 * torch.eye(5), visible))
    return cases


CONDITIONAL = Exercise(
    id="01.conditional",
    question=(
        "Return mean [N, H] and covariance [H, H] of the hidden pixels, given the visible ones"
        " `seen` [N, V], `mean` [D], `covariance` [D, D] and the bool mask `visible` [D]."
    ),
    solution=conditional,
    cases=_conditional_cases,
    rtol=1e-3,
    atol=1e-4,
    why=(
        "These two lines serve any mask: the mean moves by slope times surprise, and the"
        " covariance shrinks, whatever was seen."
    ),
    mistakes=(
        Mistake(
            _with_slope(lambda vv, hv, hh: torch.linalg.solve(hh, hv)),
            "You divided by the covariance of the hidden pixels. The slope divides by that of the"
            " pixels that were seen.",
        ),
        Mistake(
            _with_slope(lambda vv, hv, hh: hv),
            "You used the covariance itself as slope. It has to be divided by the covariance of the"
            " visible pixels.",
        ),
        Mistake(
            _with_slope(lambda vv, hv, hh: hv / vv.diagonal()),
            "You divided by the variances of the visible pixels, as if they were independent. The"
            " whole matrix has to be inverted, or what two neighbours both say counts twice.",
        ),
        Mistake(
            lambda seen, mean, covariance, visible: (
                conditional(seen + mean[visible], mean, covariance, visible)[0],
                conditional(seen, mean, covariance, visible)[1],
            ),
            "Only the surprise counts: subtract the mean of the visible pixels first.",
        ),
        Mistake(
            lambda seen, mean, covariance, visible: (
                conditional(seen, mean, covariance, visible)[0] - mean[~visible],
                conditional(seen, mean, covariance, visible)[1],
            ),
            "This is only how far the mean moves: the mean of the hidden pixels has to be added.",
        ),
        Mistake(
            lambda seen, mean, covariance, visible: (
                conditional(seen, mean, covariance, visible)[0],
                covariance[~visible][:, ~visible],
            ),
            "You kept the covariance of the hidden pixels. Seeing the others made you surer, so it"
            " has to shrink.",
        ),
        Mistake(
            lambda seen, mean, covariance, visible: (
                conditional(seen, mean, covariance, visible)[0],
                2 * covariance[~visible][:, ~visible]
                - conditional(seen, mean, covariance, visible)[1],
            ),
            "Your covariance grew. What was seen takes uncertainty away: subtract.",
        ),
        Mistake(
            lambda seen, mean, covariance, visible: (
                mean[~visible].expand(len(seen), -1),
                conditional(seen, mean, covariance, visible)[1],
            ),
            "Your mean does not depend on what was seen.",
        ),
        Mistake(
            lambda seen, mean, covariance, visible: (
                conditional(seen, mean, covariance, visible)[0],
                conditional(seen, mean, covariance, visible)[1].diagonal(),
            ),
            "These are the variances alone. The hidden pixels vary together, [H, H].",
        ),
        Mistake(
            lambda seen, mean, covariance, visible: (
                conditional(seen, mean, covariance, visible)[0],
                conditional(seen, mean, covariance, visible)[1].diagonal().sqrt(),
            ),
            "You returned standard deviations. The covariance of the hidden pixels is asked for.",
        ),
        Mistake(
            lambda seen, mean, covariance, visible: conditional(seen, mean, covariance, visible)[0],
            "The mean is right, but it is alone: return the covariance of the hidden pixels too.",
        ),
    ),
    hints=(
        "With two pixels: mean 1 + (s01 / s00) (seen - mean 0). What is s01 / s00 for blocks?",
        "slope = covariance[hidden][:, visible] @ inverse(covariance[visible][:, visible]).",
        "Covariance left: covariance[hidden][:, hidden] - slope @ covariance[visible][:, hidden].",
    ),
)


# ------------------------------------------------------------------ outliers


def pair_share(inside: Tensor, outside: Tensor) -> Tensor:
    larger = (outside[:, None] > inside).double() + 0.5 * (outside[:, None] == inside)
    return larger.mean()


def _auc_cases() -> list[tuple]:
    rng = make_rng(1, 7)
    return [
        (torch.randn(40, generator=rng), torch.randn(30, generator=rng) + 1),
        # many ties
        (torch.randint(0, 4, (20,), generator=rng), torch.randint(2, 6, (25,), generator=rng)),
        (torch.full((5,), 0.3), torch.full((3,), 0.3)),  # a detector that always says the same
        (torch.tensor([1.0]), torch.tensor([0.5])),  # one of each
        (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])),  # told apart without a mistake
    ]


def _in_turn(inside: Tensor, outside: Tensor) -> Tensor:
    num = min(len(inside), len(outside))
    return (outside[:num] > inside[:num]).double().mean()


AUC = Exercise(
    id="01.auc",
    question=(
        "Return the share of pairs in which the outlier is higher, from scores `inside` [N] and"
        " `outside` [M]; a tie counts half."
    ),
    solution=pair_share,
    cases=_auc_cases,
    why=(
        "The area under the ROC curve needs no threshold: it is the probability that a random"
        " outlier looks stranger than a random test image."
    ),
    mistakes=(
        Mistake(
            lambda inside, outside: pair_share(outside, inside),
            "This is the share of pairs in which the ordinary image scores higher: swapped.",
        ),
        Mistake(
            lambda inside, outside: (outside[:, None] > inside).double().mean(),
            "Your ties count nothing. A detector that says the same of every image would get 0 and"
            " not one half.",
        ),
        Mistake(
            lambda inside, outside: (outside[:, None] >= inside).double().mean(),
            "Your ties count fully. A detector that says the same of every image would get 1 and"
            " not one half.",
        ),
        Mistake(
            lambda a, b: (b > a.float().mean()).double().mean(),
            "You chose one threshold, the mean of the ordinary images. Compare every outlier with"
            " every ordinary image.",
        ),
        Mistake(
            lambda a, b: (b > a.max()).double().mean(),
            "You compared with the highest ordinary image only. Compare every outlier with every"
            " ordinary image.",
        ),
        Mistake(
            _in_turn,
            "You compared the first with the first, the second with the second, and so on. Every"
            " outlier has to meet every ordinary image: [M, 1] against [N].",
        ),
        Mistake(
            lambda a, b: pair_share(a, b) * len(a) * len(b),
            "This is the number of pairs. The share divides by N M.",
        ),
        Mistake(
            lambda a, b: pair_share(a, b) * len(b),
            "You divided by N only. The share divides by the number of pairs, N M.",
        ),
        Mistake(
            lambda a, b: b.double().mean() - a.double().mean(),
            "This is the difference of the means, which has the unit of the scores. A share counts"
            " pairs.",
        ),
    ),
    hints=(
        "outside[:, None] > inside has the shape [M, N]: every pair.",
        "Add half of (outside[:, None] == inside).",
        "Then take the mean.",
    ),
)

EXERCISES = (CROSS_ENTROPY, GRADIENT, FIT, DENSITY, BAYES, DRAW, MARGINAL, CONDITIONAL, AUC)
