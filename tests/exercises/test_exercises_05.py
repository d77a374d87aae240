"""What the exercises of notebook 05 accept, in which styles, and what they refuse beyond their
listed mistakes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_utils.data.strokes import make_strokes
from course_utils.exercises.judge import PASSED, WRONG, judge
from course_utils.exercises.nb05 import (
    AGGREGATE,
    DIAGNOSIS,
    GAP,
    PERTURB,
    REFINE,
    REPORTS,
    TEMPERATURE,
    TWO_SAMPLE,
)
from course_utils.studies.clinic import diagnose
from course_utils.training.runs import pretrained

# ------------------------------------------------------------------ right in other styles


def gap_by_loops(logvar, beta):
    rows = []
    for row in logvar.tolist():
        rows.append(sum(0.5 * beta * (1 - math.exp(value)) for value in row))
    return rows


def gap_in_numpy(logvar, beta):
    return beta / 2 * (1 - np.exp(np.asarray(logvar))).sum(axis=1)


def refine_by_backward(negative_elbo, mu, logvar, rate):
    mu, logvar = mu.clone().requires_grad_(), logvar.clone().requires_grad_()
    negative_elbo(mu, logvar).sum().backward()
    with torch.no_grad():
        return mu - rate * logvar.exp() * mu.grad, logvar - rate * logvar.grad


def refine_image_by_image(negative_elbo, mu, logvar, rate):
    new_mu, new_logvar = [], []
    for row in range(len(mu)):
        m, v = mu.clone().requires_grad_(), logvar.clone().requires_grad_()
        of_mu, of_logvar = torch.autograd.grad(negative_elbo(m, v)[row], (m, v))
        new_mu.append(mu[row] - rate * logvar[row].exp() * of_mu[row])
        new_logvar.append(logvar[row] - rate * of_logvar[row])
    return [torch.stack(new_mu), torch.stack(new_logvar)]


def refine_that_keeps_the_graph(negative_elbo, mu, logvar, rate):
    mu, logvar = mu.clone().requires_grad_(), logvar.clone().requires_grad_()
    of_mu, of_logvar = torch.autograd.grad(negative_elbo(mu, logvar).sum(), (mu, logvar))
    return mu - rate * logvar.exp() * of_mu, logvar - rate * of_logvar


def aggregate_by_moments(mu, logvar):
    second = (mu**2 + logvar.exp()).mean(0)
    return second - mu.mean(0) ** 2


def aggregate_in_numpy(mu, logvar):
    return np.var(mu.numpy(), axis=0) + np.exp(logvar.numpy()).mean(axis=0)


def aggregate_of_biased(mu, logvar):
    return mu.var(dim=0, unbiased=False) + torch.exp(0.5 * logvar).square().mean(dim=0)


def share_by_loops(first, second):
    rows = [(row, 0) for row in first] + [(row, 1) for row in second]
    own = 0
    for i, (row, kind) in enumerate(rows):
        others = [(float((row - r).norm()), k) for j, (r, k) in enumerate(rows) if j != i]
        own += min(others)[1] == kind
    return own / len(rows)


def share_with_topk(first, second):
    both = torch.cat([first, second])
    nearest = torch.cdist(both, both).topk(2, largest=False).indices[:, 1]
    labels = torch.cat([torch.zeros(len(first)), torch.ones(len(second))])
    return (labels[nearest] == labels).double().mean()


def share_in_numpy(first, second):
    both = np.concatenate([first.numpy(), second.numpy()])
    squared = ((both[:, None] - both[None]) ** 2).sum(-1)
    np.fill_diagonal(squared, np.inf)
    labels = np.arange(len(both)) >= len(first)
    return float((labels[squared.argmin(1)] == labels).mean())


def latents_filled_in_place(n, dim, temperature, rng):
    return torch.empty(n, dim).normal_(generator=rng) * temperature


def perturbed_by_variance(mu, logvar, scale, rng):
    eps = torch.randn(*mu.shape, generator=rng)
    return eps.mul(logvar.exp().sqrt()).mul(scale).add(mu)


RIGHT = [
    (GAP, gap_by_loops),
    (GAP, gap_in_numpy),
    (REFINE, refine_by_backward),
    (REFINE, refine_image_by_image),
    (REFINE, refine_that_keeps_the_graph),
    (AGGREGATE, aggregate_by_moments),
    (AGGREGATE, aggregate_in_numpy),
    (AGGREGATE, aggregate_of_biased),
    (TWO_SAMPLE, share_by_loops),
    (TWO_SAMPLE, share_with_topk),
    (TWO_SAMPLE, share_in_numpy),
    (TEMPERATURE, latents_filled_in_place),
    (PERTURB, perturbed_by_variance),
    (DIAGNOSIS, {"A": " Capacity", "B": "Prior  Holes", "C": "COLLAPSE"}),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_other_styles_pass(exercise, answer):
    verdict = judge(exercise, answer)
    assert verdict.status == PASSED, verdict.message


# ------------------------------------------------------------------ wrong in other ways


def no_return(*arguments):
    len(arguments)


def gap_with_nan(logvar, beta):
    return 0.5 * beta * (1 - logvar.exp()).sum(1) + torch.log(torch.zeros(len(logvar))) * 0


def refine_in_place(negative_elbo, mu, logvar, rate):
    first, second = refine_by_backward(negative_elbo, mu, logvar, rate)
    mu.copy_(first)
    return mu, second


def refine_without_sum(negative_elbo, mu, logvar, rate):
    mu, logvar = mu.clone().requires_grad_(), logvar.clone().requires_grad_()
    of_mu, of_logvar = torch.autograd.grad(negative_elbo(mu, logvar), (mu, logvar))
    return mu - rate * of_mu, logvar - rate * of_logvar


def refine_that_trains_the_model(negative_elbo, mu, logvar, rate):
    answer = refine_by_backward(negative_elbo, mu, logvar, rate)
    with torch.no_grad():
        for parameter in negative_elbo.parameters():
            parameter -= 0.1 * parameter.grad
    return answer


def refine_mu_only(negative_elbo, mu, logvar, rate):
    return refine_by_backward(negative_elbo, mu, logvar, rate)[0]


def refine_to_nan(negative_elbo, mu, logvar, rate):
    return tuple(value * math.nan for value in (mu, logvar))


def refine_with_half_of_logvar(negative_elbo, mu, logvar, rate):
    new_mu, new_logvar = refine_by_backward(negative_elbo, mu, logvar, rate)
    return new_mu, 0.5 * (logvar + new_logvar)


def latents_from_elsewhere(n, dim, temperature, rng):
    return temperature * torch.randn(n, dim)


def perturbed_from_elsewhere(mu, logvar, scale, rng):
    return mu + scale * torch.exp(0.5 * logvar) * torch.randn_like(mu)


def share_with_one_norm(first, second):
    both = torch.cat([first, second])
    distances = torch.cdist(both, both, p=0.1).fill_diagonal_(math.inf)
    labels = torch.arange(len(both)) < len(first)
    return (labels[distances.argmin(1)] == labels).float().mean()


WRONG_ANSWERS = [
    (GAP, no_return, "`return` missing"),
    (GAP, gap_with_nan, "NaN or infinity"),
    (GAP, 3.0, "Expected a function"),
    (REFINE, no_return, "`return` missing"),
    (REFINE, refine_in_place, "changed mu in place"),
    (REFINE, refine_without_sum, "take the sum"),
    (REFINE, refine_that_trains_the_model, "the model's parameters in place"),
    (REFINE, refine_mu_only, "Expected two tensors"),
    (REFINE, refine_to_nan, "NaN or infinity"),
    (REFINE, refine_with_half_of_logvar, "The new mu is right, the new logvar is not"),
    (AGGREGATE, no_return, "`return` missing"),
    (AGGREGATE, lambda mu, logvar: mu.var() + logvar.exp().mean(), "Expected numbers of shape [3]"),
    (TWO_SAMPLE, no_return, "`return` missing"),
    (TWO_SAMPLE, lambda first, second: math.nan, "NaN or infinity"),
    (TWO_SAMPLE, share_with_one_norm, "too"),
    (TEMPERATURE, latents_from_elsewhere, "do not come from the generator"),
    (PERTURB, perturbed_from_elsewhere, "do not come from the generator"),
    (PERTURB, no_return, "`return` missing"),
    (DIAGNOSIS, "capacity", "Expected a dictionary"),
    (DIAGNOSIS, {"A": "capacity", "B": "prior holes"}, "C is missing"),
    (DIAGNOSIS, {"A": "too small", "B": "prior holes", "C": "collapse"}, "is no row of the report"),
    (DIAGNOSIS, {"A": 1, "B": "prior holes", "C": "collapse"}, "is no row of the report"),
]


@pytest.mark.parametrize(
    "collapse", ["collapse", "Collapse (nats that the code knows)", "collapse (nats)"]
)
def test_a_cause_may_be_given_by_the_whole_name_of_its_row(collapse):
    rows = {"A": "capacity (share that no z explains)", "B": "prior holes", "C": collapse}
    assert judge(DIAGNOSIS, rows).status == PASSED


@pytest.mark.parametrize(("exercise", "answer", "words"), WRONG_ANSWERS)
def test_wrong_answers_are_told_what_is_wrong(exercise, answer, words):
    verdict = judge(exercise, answer)
    assert verdict.status == WRONG and words in verdict.message


def test_the_reports_of_the_notebook_are_those_of_the_shipped_models():
    images = make_strokes(0, 500, seed=1)[2]
    for model, right in (("beta02", REPORTS["B"]), ("beta50", REPORTS["C"])):
        vae = pretrained(f"vae-clinic-{model}", "strokes").model.cpu()
        # without gradients nothing is optimised, which takes most of the time
        report = diagnose((vae.encode, torch.no_grad()(vae.decode)), images)
        assert report.present == [right]
        if model == "beta02":
            assert report["prior moments"].measurement.value == pytest.approx(0.05, abs=0.005)
            assert report["prior holes"].measurement.value == pytest.approx(0.89, abs=0.06)
