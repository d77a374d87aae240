"""`recover` on every family and method, `judge`, and the regressor; the exact method against the
Gaussian's own way to fill in pixels.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from materials import make_dataset

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import check_signed, uint8_to_signed
from course_utils.inverse import solve as recovery
from course_utils.inverse.exact import exact_posterior
from course_utils.inverse.problems import PROBLEMS, make_problem
from course_utils.inverse.regressor import RegressorConfig
from course_utils.inverse.solve import (
    FAVOURITES,
    METHODS,
    check_method,
    gaussian_prior,
    recover,
    score_recoveries,
)
from course_utils.metrics.features import pixel_extractor
from course_utils.models.base import Batch
from course_utils.models.gaussian import fit_class_gaussians
from course_utils.training.presets import preset
from course_utils.training.registry import build

SHAPE = (1, 12, 12)
DATA = make_dataset(SHAPE, num_train=300, num_test=8)
TRUTHS = uint8_to_signed(DATA.test_images)
SETTINGS = {
    "vae": {"hidden_dims": (16,), "latent_dim": 3},
    "dcgan": {"generator_width": 4, "discriminator_width": 4, "latent_dim": 3},
    "diffusion": {"channels": (8,), "embed_dim": 16},
    "gaussian": {"latent_dim": 4},
    "regressor": {"channels": (8,), "embed_dim": 16, "problem": "inpaint-half"},
}
QUICK = {
    "vae-search": {"num_steps": 3, "num_candidates": 4},
    "gan-search": {"num_steps": 3, "num_candidates": 4},
    **{name: {"num_steps": 3} for name in ("replacement", "repaint", "dps", "pi-gdm", "tweedie")},
}


def untrained(family, **changes):
    experiment = preset(family, "smoke")
    experiment = replace(experiment, model=replace(experiment.model, **SETTINGS[family], **changes))
    return build(experiment.fitted_to(DATA).model, 1).eval()


def question(name="inpaint-half", num=3, **options):
    problem = make_problem(name, SHAPE, **options)
    return problem, problem.measure(TRUTHS[:num], make_rng(1))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_alike_for_equal_seeds(method):
    model, (problem, y) = untrained(METHODS[method].family), question()
    first, second, other = (
        recover(model, problem, y, 2, method=method, rng=make_rng(seed), **QUICK.get(method, {}))
        for seed in (0, 0, 1)
    )
    assert (
        first.shape == (2, 3, *SHAPE) and first.dtype == torch.float32 and not first.requires_grad
    )
    check_signed(first.flatten(0, 1))
    assert torch.equal(first, second)
    assert torch.equal(first, other) == torch.equal(first[0], first[1]) == (method == "regressor")


@pytest.mark.parametrize(
    "method", [name for name, one in METHODS.items() if one.family == "diffusion"]
)
def test_batches_have_no_influence(method, monkeypatch):
    model, (problem, y) = untrained("diffusion"), question()
    whole = recover(model, problem, y, 2, method=method, rng=make_rng(0), **QUICK[method])
    monkeypatch.setattr(recovery, "ROWS_PER_CALL", 2)
    torch.testing.assert_close(
        recover(model, problem, y, 2, method=method, rng=make_rng(0), **QUICK[method]),
        whole,
        atol=1e-4,
        rtol=0,
    )


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "colourise"])
@pytest.mark.parametrize("method", ["exact", "vae-search", "dps", "tweedie"])
def test_general_methods_take_every_problem(method, name):
    problem, y = question(name)
    assert (
        recover(
            untrained(METHODS[method].family),
            problem,
            y,
            2,
            method=method,
            rng=make_rng(0),
            **QUICK.get(method, {}),
        )
        .isfinite()
        .all()
    )


def test_exact_agrees_with_the_gaussians_own_conditional():
    model = fit_class_gaussians(DATA.train_images, DATA.train_labels, 4, latent_dim=6)
    problem, y = question("inpaint-half", noise_std=1e-4)
    mean = exact_posterior(gaussian_prior(model), problem, y.double()).mean()
    filled = model.fill_in(TRUTHS[:3], problem.operator.visible)
    torch.testing.assert_close(mean.clamp(-1, 1).float(), filled, atol=2e-3, rtol=0)
    draws = recover(model, problem, y, 200, rng=make_rng(0))
    assert (draws.mean(0) - mean).abs().mean() < 0.1
    assert (draws[..., :6, :] - TRUTHS[:3, ..., :6, :]).abs().max() < 2e-3


def test_a_trained_vae_explains_what_it_has_decoded():
    """Measurements of the decoder's own images: the search has to find images that explain them
    about as well as the truth does.
    """
    model, problem = untrained("vae"), make_problem("inpaint-half", SHAPE, 0.02)
    with torch.no_grad():
        model.decoder[0][-1].weight.mul_(20)  # an untrained decoder hardly looks at z
    truths = model.sample(3, rng=make_rng(2))
    y = problem.measure(truths, make_rng(3))
    found = recover(model, problem, y, 2, rng=make_rng(4), model_std=0.0, num_steps=200)
    assert (
        problem.misfit(found, y).max()
        < 1.2
        < problem.misfit(model.sample(3, rng=make_rng(5)), y).min()
    )


def test_the_regressor_learns_its_problem_and_refuses_others():
    model = untrained("regressor")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = Batch(uint8_to_signed(DATA.train_images), DATA.train_labels)
    before = model.loss(batch, rng=make_rng(0))["loss"].mean().item()
    for step in range(30):
        optimizer.zero_grad()
        model.loss(batch, rng=make_rng(0, step))["loss"].mean().backward()
        optimizer.step()
    assert model.loss(batch, rng=make_rng(9))["loss"].mean().item() < 0.3 * before
    problem, y = question()
    assert torch.equal(recover(model, problem, y, 3)[2], model.recover(y).clamp(-1, 1).detach())
    for other in (question("inpaint-box"), question(noise_std=0.3)):
        with pytest.raises(CourseError, match="trained for, 'inpaint-half' with noise 0.05, got"):
            recover(model, *other, 2)


def test_every_problem_has_a_regressor_preset():
    for name in PROBLEMS:
        model = preset(f"regressor-{name}", "laptop").model
        assert model.problem == name and build(model).problem.name == name
    with pytest.raises(CourseError, match="problem: expected|unknown problem 'x'"):
        RegressorConfig(problem="x")
    with pytest.raises(CourseError, match="3 colour channels"):
        RegressorConfig(problem="colourise")


@pytest.mark.filterwarnings("ignore::course_utils.metrics.measurement.MetricWarning")
def test_judge_measures_what_it_says():
    problem, y = question("denoise", num=8, noise_std=0.5)
    solutions = torch.stack([TRUTHS, TRUTHS.clone()])
    found = score_recoveries(
        solutions + 0, TRUTHS, problem, y, extractor=pixel_extractor(), real=DATA.train_images
    )
    assert found["misfit"].value == pytest.approx(1, abs=0.1) and found["pixel std"].value == 0
    assert found["PSNR"].value == float("inf") and found["SSIM of the mean"].value == pytest.approx(
        1
    )
    assert (
        found["FID"].value == found["FID of the mean"].value
        and found["FID"].extractor == "pixels"
        and found["FID"].size_matters
    )
    assert "FID" not in score_recoveries(
        solutions, TRUTHS, problem, y
    ) and "pixel std" not in score_recoveries(solutions[:1], TRUTHS, problem, y)


def test_methods_and_favourites_cover_the_same_families():
    assert {one.family for one in METHODS.values()} == set(FAVOURITES)
    assert all(METHODS[name].family == family for family, name in FAVOURITES.items())


BAD = {
    "unknown": (
        lambda: check_method("diffusion", "dsp"),
        "unknown method for a diffusion 'dsp'; valid: dps, pi-gdm",
    ),
    "other family": (
        lambda: check_method("vae", "dps"),
        "method 'dps': needs a diffusion, got a vae, which has vae-search",
    ),
    "no solver": (
        lambda: check_method("classifier", None),
        "a classifier solves no inverse problem",
    ),
    "count": (
        lambda: recover(untrained("vae"), *question(), 0),
        "num_samples: expected a whole number of at least 1, got 0",
    ),
    "measured": (
        lambda: recover(untrained("vae"), question("deblur")[0], question()[1]),
        "expected measurements of shape [B, 1, 12, 12]",
    ),
    "blur": (
        lambda: recover(untrained("diffusion"), *question("deblur"), 2, method="repaint"),
        "orthogonal rows",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_is_refused(case):
    call, fragment = BAD[case]
    with pytest.raises(CourseError) as error:
        call()
    assert fragment in str(error.value)
