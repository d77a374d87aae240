"""Exercises of notebook 01: right answers in other styles pass, and wrong ones that no list of
mistakes holds are told what is wrong.
"""

from __future__ import annotations

import math
from pathlib import Path

import nbformat
import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from course_utils.base.device import make_rng
from course_utils.exercises import core
from course_utils.exercises.judge import PASSED, WRONG, judge

# ------------------------------------------------------------------ right answers


def shifted_by_hand(logits, labels):
    shifted = logits - logits.max(1, keepdim=True).values
    log_p = shifted - torch.log(torch.exp(shifted).sum(1, keepdim=True))
    return -torch.gather(log_p, 1, labels.view(-1, 1)).squeeze(1)


def by_a_loop(logits, labels):
    return torch.stack([-row.log_softmax(0)[label] for row, label in zip(logits, labels)])


def gradient_by_einsum(x, logits, labels):
    error = logits.softmax(-1)
    error[torch.arange(len(labels)), labels] -= 1
    return torch.einsum("nk,nd->kd", error, x) / x.shape[0], error.sum(0) / x.shape[0]


def gradient_by_autograd(x, logits, labels):
    weight = torch.zeros(logits.shape[1], x.shape[1], requires_grad=True)
    bias = torch.zeros(logits.shape[1], requires_grad=True)
    loss = F.cross_entropy(logits + x @ weight.T + bias, labels)
    return list(torch.autograd.grad(loss, [weight, bias]))


def gradient_in_numpy(x, logits, labels):
    x, logits = x.numpy().astype(np.float64), logits.numpy().astype(np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(labels)), labels.numpy()] -= 1
    return p.T @ x / len(x), p.mean(0)


def fit_in_numpy(x, ridge):
    x = x.numpy()
    return x.mean(0), np.cov(x.T, bias=True) + ridge * np.eye(x.shape[1])


def fit_by_torch(x, ridge):
    covariance = torch.cov(x.T, correction=0)
    covariance.diagonal().add_(ridge)
    return torch.mean(x, dim=0), covariance


def density_by_torch(x, mean, covariance):
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


def density_by_scipy(x, mean, covariance):
    return np.atleast_1d(
        scipy.stats.multivariate_normal(mean.numpy(), covariance.numpy()).logpdf(x.numpy())
    )


def density_by_inverse(x, mean, covariance):
    centred = x - mean
    squared = torch.einsum("nd,de,ne->n", centred, torch.linalg.inv(covariance), centred)
    log_det = torch.linalg.slogdet(covariance).logabsdet
    return -0.5 * (squared + log_det + mean.numel() * math.log(2 * math.pi))


def posterior_by_log_softmax(log_likelihoods, log_prior):
    return F.log_softmax(log_likelihoods + log_prior, dim=-1)


def posterior_in_numpy(log_likelihoods, log_prior):
    joint = log_likelihoods.numpy() + log_prior.numpy()
    return joint - np.logaddexp.reduce(joint, axis=1)[:, None]


def draw_by_columns(mean, covariance, n, rng):
    root = torch.linalg.cholesky(covariance)
    return (mean[:, None] + root @ torch.randn(len(mean), n, generator=rng)).T


def draw_by_eigenvectors(mean, covariance, n, rng):
    values, vectors = torch.linalg.eigh(covariance)
    noise = torch.normal(torch.zeros(n, len(mean)), torch.ones(n, len(mean)), generator=rng)
    return mean + noise * values.sqrt() @ vectors.T


def draw_one_after_the_other(mean, covariance, n, rng):
    root = torch.linalg.cholesky(covariance)
    return [*(mean + root @ torch.randn(len(mean), generator=rng) for _ in range(min(n, 5)))]


def marginal_by_places(mean, covariance, visible):
    places = visible.nonzero()[:, 0]
    return mean[places], covariance[places[:, None], places]


def marginal_by_ix(mean, covariance, visible):
    mask = visible.numpy()
    return mean.numpy()[mask], covariance.numpy()[np.ix_(mask, mask)]


def conditional_by_precision(seen, mean, covariance, visible):
    precision = torch.linalg.inv(covariance)
    left = torch.linalg.inv(precision[~visible][:, ~visible])
    slope = -left @ precision[~visible][:, visible]
    return mean[~visible] + (seen - mean[visible]) @ slope.T, left


def conditional_by_inverse(seen, mean, covariance, visible):
    own = torch.linalg.inv(covariance[visible][:, visible])
    across = covariance[visible][:, ~visible]
    new_mean = mean[~visible] + torch.einsum("nv,vw,wh->nh", seen - mean[visible], own, across)
    return [new_mean, covariance[~visible][:, ~visible] - across.T @ own @ across]


def auc_by_ranks(inside, outside):
    ranks = scipy.stats.rankdata(np.concatenate([inside.numpy(), outside.numpy()]))
    num = len(outside)
    return (ranks[len(inside) :].sum() - num * (num + 1) / 2) / (num * len(inside))


def auc_by_loops(inside, outside):
    wins = [float(b > a) + 0.5 * float(b == a) for a in inside for b in outside]
    return sum(wins) / len(wins)


RIGHT = [
    ("01.cross_entropy", shifted_by_hand),
    ("01.cross_entropy", by_a_loop),
    ("01.cross_entropy", lambda a, y: F.cross_entropy(a, y, reduction="none")),
    ("01.cross_entropy", lambda a, y: F.nll_loss(a.log_softmax(1), y, reduction="none")),
    ("01.gradient", gradient_by_einsum),
    ("01.gradient", gradient_by_autograd),
    ("01.gradient", gradient_in_numpy),
    ("01.fit", fit_in_numpy),
    ("01.fit", fit_by_torch),
    ("01.density", density_by_torch),
    ("01.density", density_by_scipy),
    ("01.density", density_by_inverse),
    ("01.bayes", posterior_by_log_softmax),
    ("01.bayes", posterior_in_numpy),
    ("01.draw", draw_by_columns),
    ("01.draw", draw_by_eigenvectors),
    ("01.marginal", marginal_by_places),
    ("01.marginal", marginal_by_ix),
    ("01.conditional", conditional_by_precision),
    ("01.conditional", conditional_by_inverse),
    ("01.auc", auc_by_ranks),
    ("01.auc", auc_by_loops),
]


@pytest.mark.parametrize(
    ("name", "answer"), RIGHT, ids=[f"{name}-{index}" for index, (name, _) in enumerate(RIGHT)]
)
def test_other_styles_pass(name, answer):
    verdict = judge(core.find(name), answer)
    assert verdict.status == PASSED, verdict.message


# ------------------------------------------------------------------ wrong answers


def solution(name):
    return core.solution_of(f"01.{name}")


def detached(logits, labels):
    return solution("cross_entropy")(logits.detach(), labels)


def in_numpy(logits, labels):
    return solution("cross_entropy")(logits, labels).detach().numpy()


def half_detached(logits, labels):
    return logits.logsumexp(1).detach() - logits[torch.arange(len(labels)), labels]


def forgets_to_return(logits, labels):
    solution("cross_entropy")(logits, labels)


def without_keepdim(log_likelihoods, log_prior):
    joint = log_likelihoods + log_prior
    return joint - joint.logsumexp(1)


def not_from_rng(mean, covariance, n, rng):
    return mean + torch.randn(n, len(mean)) @ torch.linalg.cholesky(covariance).T


def one_row_for_one(mean, covariance, n, rng):
    return solution("draw")(mean, covariance, n, rng).squeeze(0)


def columns(mean, covariance, n, rng):
    return solution("draw")(mean, covariance, n, rng).T


def without_noise_of_others(mean, covariance, n, rng):
    noise = torch.randn(n, 1, generator=rng)
    return mean + noise * covariance.diagonal().sqrt()


def twice_as_wide(mean, covariance, n, rng):
    return mean + 2 * (solution("draw")(mean, covariance, n, rng) - mean)


def moved(mean, covariance, n, rng):
    return 1.0 + solution("draw")(mean, covariance, n, rng)


def nan_in_front(mean, covariance, n, rng):
    return solution("draw")(mean, covariance, n, rng) * float("nan")


def inverted_root(mean, covariance, n, rng):
    root = torch.linalg.cholesky(torch.linalg.inv(covariance))
    return mean + torch.randn(n, len(mean), generator=rng) @ root.T


def unbiased(x, ridge):
    return x.mean(0), torch.cov(x.T) + ridge * torch.eye(x.shape[1])


def swapped_results(x, ridge):
    return solution("fit")(x, ridge)[::-1]


def per_pixel(x, mean, covariance):
    return torch.distributions.Normal(mean, covariance.diagonal().sqrt()).log_prob(x).sum(1)


def mean_of_squares(x, mean, covariance):
    white = torch.linalg.solve(torch.linalg.cholesky(covariance), (x - mean).T)
    log_det = torch.linalg.cholesky(covariance).diagonal().log().sum()
    return -0.5 * white.square().mean(0) - log_det - 0.5 * len(mean) * math.log(2 * math.pi)


def swapped_block(seen, mean, covariance, visible):
    vv = covariance[visible][:, visible]
    return seen @ torch.linalg.inv(vv) @ vv, vv


WRONG_ANSWERS = [
    ("cross_entropy", detached, "no gradient reaches `logits`"),
    ("cross_entropy", in_numpy, "no gradient reaches `logits`"),
    ("cross_entropy", half_detached, "a part of the computation is cut off"),
    ("cross_entropy", forgets_to_return, "Is the `return` missing?"),
    ("cross_entropy", lambda a, y: torch.full((len(y),), math.nan), "NaN"),
    ("cross_entropy", lambda a, y: torch.zeros(len(y)), "Every value is 0"),
    ("cross_entropy", lambda a, y: 2 * solution("cross_entropy")(a, y), "2 times what"),
    ("gradient", lambda x, a, y: (torch.zeros(a.shape[1], x.shape[1]),) * 2, "every value is 0"),
    ("gradient", lambda x, a, y: [0.5 * g for g in solution("gradient")(x, a, y)], "0.5 times"),
    ("gradient", lambda x, a, y: [g * math.nan for g in solution("gradient")(x, a, y)], "NaN"),
    ("gradient", lambda x, a, y: solution("gradient")(x, a, y)[::-1], "shape"),
    ("fit", unbiased, "You divided by N - 1"),
    ("fit", swapped_results, "numbers of shape"),
    ("fit", lambda x, ridge: solution("fit")(x, 2 * ridge), "differ"),
    ("fit", lambda x, ridge: solution("fit")(x.round(), ridge), "differ"),
    ("fit", lambda x, ridge: x.mean(0), "items"),
    ("density", per_pixel, "differ"),
    ("density", mean_of_squares, "differ"),
    ("density", lambda x, m, c: solution("density")(x, m, c).mean(), "got a number"),
    ("density", lambda x, m, c: solution("density")(x, m, c)[:, None], "shape"),
    ("density", lambda x, m, c: solution("density")(x, m, c) - 1, "the same amount"),
    ("bayes", without_keepdim, "raised"),
    ("bayes", lambda a, b: -solution("bayes")(a, b), "sign"),
    ("bayes", lambda a, b: solution("bayes")(a, b).argmax(1), "shape"),
    ("bayes", lambda a, b: solution("bayes")(a, b) / math.log(2), "1.443 times"),
    ("draw", not_from_rng, "do not come from the generator that is given"),
    ("draw", one_row_for_one, "[1, 3]"),
    ("draw", columns, "[1, 3]"),
    ("draw", without_noise_of_others, "variances of your draws"),
    ("draw", twice_as_wide, "variances of your draws"),
    ("draw", moved, "The mean of your draws"),
    ("draw", nan_in_front, "NaN"),
    ("draw", inverted_root, "variances of your draws"),
    ("marginal", lambda m, c, v: (m[v], c[v][:, ~v]), "shape"),
    ("marginal", lambda m, c, v: (m[v], c), "shape"),
    ("marginal", lambda m, c, v: (m[v], torch.linalg.inv(c[v][:, v])), "differ"),
    ("marginal", lambda m, c, v: m[v], "items"),
    ("conditional", swapped_block, "shape"),
    (
        "conditional",
        lambda s, m, c, v: [part.mean(0) for part in solution("conditional")(s, m, c, v)],
        "shape",
    ),
    (
        "conditional",
        lambda s, m, c, v: [part * math.nan for part in solution("conditional")(s, m, c, v)],
        "NaN",
    ),
    ("auc", lambda a, b: 1.0, "too large"),
    ("auc", lambda a, b: abs(2 * solution("auc")(a, b) - 1), "too small"),
    ("auc", lambda a, b: solution("auc")(a, b) * math.nan, "NaN"),
]


@pytest.mark.filterwarnings("ignore:cov")  # torch.cov of one image
@pytest.mark.parametrize(
    ("name", "answer", "words"),
    WRONG_ANSWERS,
    ids=[f"{name}-{index}" for index, (name, _, _) in enumerate(WRONG_ANSWERS)],
)
def test_wrong_answers_are_told_what_is_wrong(name, answer, words):
    verdict = judge(core.find(f"01.{name}"), answer)
    assert verdict.status == WRONG
    assert words in verdict.message, verdict.message


def test_every_exercise_knows_many_wrong_answers():
    exercises = core.exercises("nb01")
    mutants = [name for name, _, _ in WRONG_ANSWERS]
    known = {e.id: len(e.mistakes) + mutants.count(e.id.removeprefix("01.")) for e in exercises}
    assert min(known.values()) >= 8, known


# ------------------------------------------------------------------ the whole

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks/01_generative_vs_discriminative.ipynb"
CELLS = ("my-softmax", "softmax-step", "my-gaussians", "my-gaussian", "keep-visible", "repair")
# answers that pass, written with tensors and written with NumPy
IN_TORCH = {
    "cross_entropy": shifted_by_hand,
    "softmax_gradient": gradient_by_autograd,
    "fit_class": fit_by_torch,
    "log_density": density_by_inverse,
    "posterior": posterior_by_log_softmax,
    "draw": draw_by_eigenvectors,
    "marginal": marginal_by_places,
    "conditional": conditional_by_precision,
}
IN_NUMPY = {
    "cross_entropy": by_a_loop,
    "softmax_gradient": gradient_in_numpy,
    "fit_class": fit_in_numpy,
    "log_density": density_by_scipy,
    "posterior": posterior_in_numpy,
    "draw": lambda *given: draw_by_columns(*given).numpy(),
    "marginal": marginal_by_ix,
    "conditional": lambda *given: [part.numpy() for part in conditional_by_inverse(*given)],
}


def built_in_the_notebook(answers: dict) -> dict:
    """Returns what the cells of "Run yours" define, with these answers to the exercises."""
    sources = {cell["id"]: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
    own = {"torch": torch, "nn": torch.nn, "make_rng": make_rng, **answers}
    names = {"01.fit": "fit_class", "01.density": "log_density", "01.bayes": "posterior"}
    names |= {"01.draw": "draw"}
    own["yours"] = lambda *ids: [answers[names[exercise_id]] for exercise_id in ids]
    for name in CELLS:
        exec(compile(sources[name], name, "exec"), own)  # noqa: S102
    return own


@pytest.mark.parametrize("answers", [IN_TORCH, IN_NUMPY], ids=["torch", "numpy"])
def test_what_passes_can_be_assembled(answers):
    """The notebook's models, made of passed answers in any style, tell two blobs apart and repair
    hidden pixels.
    """
    own = built_in_the_notebook(answers)
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 2
    common = torch.randn(80, 1, generator=rng)  # all pixels of an image move together
    x = common + 0.3 * torch.randn(80, 5, generator=rng) + 2.5 * y[:, None]
    softmax = own["MySoftmax"](5, 2)
    losses = [own["softmax_step"](softmax, x, y, 0.1).item() for _ in range(200)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5) and losses[-1] < 0.5 * losses[0]
    gaussian = own["MyGaussian"](5, 2).fit(x, y, ridge=0.01)
    right = (gaussian.log_posterior(x).argmax(1) == y).float().mean()
    assert right > 0.8
    whole = torch.distributions.MultivariateNormal(gaussian.mean[0], gaussian.covariance[0])
    assert torch.allclose(gaussian.log_likelihoods(x)[:, 0], whole.log_prob(x), atol=1e-3)
    drawn = gaussian.sample(1, 2000, make_rng(0))
    assert (drawn.mean(0) - gaussian.mean[1]).abs().max() < 0.15
    visible = torch.tensor([True, True, True, False, False])
    repaired = own["repair"](gaussian, x, visible)
    assert torch.equal(repaired[:, visible], x[:, visible])
    error = (repaired - x)[:, ~visible].square().mean()
    assert error < 0.2 * x[:, ~visible].var()
