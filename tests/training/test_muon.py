"""Muon: its step is the orthogonal part of the momentum, and `fit` trains with it, also on."""

from dataclasses import replace

import pytest
import torch

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.training.fit import fit
from course_utils.training.muon import Muon, orthogonalised
from course_utils.training.presets import preset
from course_utils.training.registry import build


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_singular_values_become_about_one_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=make_rng(0), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.logspace(0, -2, len(values), dtype=torch.float64)  # badly conditioned
    [_, result] = orthogonalised([torch.ones(4, 9, dtype=torch.float64), left * values @ right])
    # left^T result right is the diagonal of the new singular values
    new = left.T @ result @ right.T
    assert torch.allclose(new, torch.diag(new.diagonal()), atol=1e-6)
    assert 0.6 < new.diagonal().min() and new.diagonal().max() < 1.25


def test_first_step_is_that_of_the_orthogonalised_gradient():
    weight = torch.nn.Parameter(torch.randn(4, 2, 3, 3, generator=make_rng(1)))
    before = weight.detach().clone()
    weight.grad = torch.randn(4, 2, 3, 3, generator=make_rng(2))
    Muon([weight], lr=0.1).step()
    [step] = orthogonalised([weight.grad.flatten(1)])
    expected = before - 0.1 * step.view_as(before)
    # Nesterov's first momentum is 1.95 times the gradient, whose length does not count
    assert torch.allclose(weight, expected, atol=1e-4)


def small(**changes):
    settings = {"train.optimizer": "muon", "train.num_epochs": 2, "train.num_train_images": 128}
    settings |= {"train.batch_size": 32, "model.channels": (8, 8), "train.precision": "no"}
    return override(preset("diffusion", "laptop"), settings | changes)


def test_a_training_with_muon_learns_and_goes_on_exactly(dataset, tmp_path):
    experiment = small().fitted_to(dataset)
    whole = build(experiment.model, 0)
    history = fit(whole, dataset, experiment.train)
    losses = history.select("loss", "train")
    assert losses[1] < losses[0]

    class Cut(Exception):
        pass

    def cut(model, rows):
        raise Cut

    state = tmp_path / "state.safetensors"
    first = build(experiment.model, 0)
    with pytest.raises(Cut):
        fit(first, dataset, experiment.train, state_path=state, on_epoch=cut)
    again = build(experiment.model, 0)
    fit(again, dataset, experiment.train, state_path=state)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_hidden_weights_leave_out_the_ends():
    model = build(small().model, 0)
    ids = {id(weight) for weight in model.hidden_weights()}
    assert id(model.network.stem.weight) not in ids and id(model.network.out.weight) not in ids
    assert all(weight.ndim == 4 for weight in model.hidden_weights())


def test_a_family_that_was_not_tried_with_it_says_so():
    with pytest.raises(
        CourseError, match="train.optimizer: expected 'adamw' for a vae, got 'muon'"
    ):
        override(preset("vae", "smoke"), {"train.optimizer": "muon"})


def test_fit_says_so_too(dataset):
    experiment = preset("vae", "smoke").fitted_to(dataset)
    config = replace(experiment.train, optimizer="muon")
    with pytest.raises(CourseError, match="'muon' knows no hidden weights of a vae"):
        fit(build(experiment.model, 0), dataset, config)
