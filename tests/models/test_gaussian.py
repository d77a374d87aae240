"""The class-conditional Gaussian: its density, posterior, conditionals, draws and closed-form fit,
each against an independent computation.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from materials import make_dataset
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import uint8_to_signed
from course_utils.models.base import Batch
from course_utils.models.gaussian import (
    GREY_LEVEL,
    Gaussian,
    GaussianConfig,
    fit_class_gaussians,
    principal_factors,
)

NUM_CLASSES, SIZE, LATENT_DIM = 3, 4, 5
NUM_PIXELS = SIZE * SIZE
MASKS = {
    "top": torch.arange(SIZE)[:, None].expand(SIZE, SIZE) < 2,
    "scattered": torch.rand(SIZE, SIZE, generator=make_rng(3)) < 0.4,
    "one pixel": torch.arange(NUM_PIXELS).view(SIZE, SIZE) == 6,
}


@pytest.fixture(scope="module")
def model() -> Gaussian:
    """A double-precision model whose classes overlap and differ in weight, mean, factors and
    noise.
    """
    rng = make_rng(0)
    model = Gaussian(GaussianConfig(1, SIZE, NUM_CLASSES, LATENT_DIM)).double()
    with torch.no_grad():
        model.class_logits.copy_(torch.tensor([0.0, 1.0, -0.5]))
        model.mean.copy_(0.3 * torch.randn(model.mean.shape, generator=rng))
        model.factors.copy_(0.2 * torch.randn(model.factors.shape, generator=rng))
        model.log_noise_std.copy_(torch.tensor([0.1, 0.2, 0.3]).log())
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return 2 * torch.rand(6, 1, SIZE, SIZE, generator=make_rng(1), dtype=torch.float64) - 1


@pytest.fixture(scope="module")
def dataset():
    """Blobs with noise of 0 to 60 grey levels on every pixel: far more than the single level that
    the fit adds.
    """
    clean = make_dataset((1, 8, 8), num_train=400)
    noise = torch.randint(0, 61, clean.train_images.shape, generator=make_rng(2))
    return replace(
        clean, train_images=(clean.train_images.long() * 195 // 255 + noise).to(torch.uint8)
    )


def covariance(model: Gaussian, label: int) -> np.ndarray:
    factors = model.factors[label].numpy()
    return factors @ factors.T + math.exp(2 * model.log_noise_std[label]) * np.eye(NUM_PIXELS)


def scipy_log_likelihoods(model: Gaussian, images: torch.Tensor, shown: np.ndarray) -> np.ndarray:
    """Returns log p(visible | y) with dense covariances, `[B, num_classes]`."""
    pixels = images.flatten(1).numpy()[:, shown]
    return np.stack(
        [
            multivariate_normal(
                model.mean[label].numpy()[shown], covariance(model, label)[np.ix_(shown, shown)]
            )
            .logpdf(pixels)
            .reshape(-1)
            for label in range(NUM_CLASSES)
        ],
        1,
    )


@pytest.mark.parametrize("mask", [None, *MASKS])
def test_densities_and_posterior_agree_with_scipy(model, images, mask):
    visible = None if mask is None else MASKS[mask]
    shown = np.ones(NUM_PIXELS, bool) if visible is None else visible.flatten().numpy()
    likelihoods = scipy_log_likelihoods(model, images, shown)
    joint = likelihoods + model.class_logits.log_softmax(0).numpy()
    np.testing.assert_allclose(model.log_likelihoods(images, visible), likelihoods, rtol=1e-9)
    np.testing.assert_allclose(model.log_joint(images, visible), joint, rtol=1e-9)
    np.testing.assert_allclose(model.log_prob(images, visible), logsumexp(joint, 1), rtol=1e-9)
    np.testing.assert_allclose(
        model.probabilities(images, visible),
        np.exp(joint - logsumexp(joint, 1, keepdims=True)),
        rtol=1e-8,
    )


def conditional(
    mean: np.ndarray, cov: np.ndarray, shown: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean `[B, hidden]` and covariance of the hidden pixels given the visible ones, from
    the dense covariance.
    """
    gain = cov[np.ix_(~shown, shown)] @ np.linalg.inv(cov[np.ix_(shown, shown)])
    return (
        mean[~shown] + (pixels - mean[shown]) @ gain.T,
        cov[np.ix_(~shown, ~shown)] - gain @ cov[np.ix_(shown, ~shown)],
    )


@pytest.mark.parametrize("mask", MASKS)
def test_filled_in_mean_is_the_conditional_mean(model, images, mask):
    visible = MASKS[mask]
    shown = visible.flatten().numpy()
    pixels = images.flatten(1).numpy()[:, shown]
    weights = model.probabilities(images, visible).numpy()
    expected = sum(
        weights[:, [label]]
        * conditional(model.mean[label].numpy(), covariance(model, label), shown, pixels)[0]
        for label in range(NUM_CLASSES)
    )
    filled = model.fill_in(images, visible)
    np.testing.assert_allclose(filled.flatten(1)[:, ~shown], np.clip(expected, -1, 1), atol=1e-9)
    assert torch.equal(filled[..., visible], images[..., visible]), "visible pixels stay"


def test_filled_in_draws_have_the_conditional_moments():
    """One class far from the cut-off at -1 and 1, so that its draws are those of the Gaussian."""
    rng, num = make_rng(4), 40_000
    model = Gaussian(GaussianConfig(1, SIZE, 1, LATENT_DIM)).double().requires_grad_(False)
    model.factors.copy_(0.05 * torch.randn(model.factors.shape, generator=rng))
    model.log_noise_std.fill_(math.log(0.05))
    visible = MASKS["top"]
    shown = visible.flatten().numpy()
    image = 0.1 * torch.randn(1, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    mean, cov = conditional(
        model.mean[0].numpy(), covariance(model, 0), shown, image.flatten(1).numpy()[:, shown]
    )
    drawn = (
        model.fill_in(image.expand(num, -1, -1, -1), visible, rng=rng, pixel_noise=True)
        .flatten(1)
        .numpy()[:, ~shown]
    )
    error = np.sqrt(np.diag(cov) / num)
    assert (np.abs(drawn.mean(0) - mean[0]) < 5 * error).all()
    np.testing.assert_allclose(np.cov(drawn.T), cov, atol=5 * cov.max() * math.sqrt(2 / num))


@pytest.mark.parametrize("pixel_noise", [True, False])
def test_draws_of_a_class_have_its_moments(model, pixel_noise):
    num, label = 40_000, 1
    drawn = (
        model.draw(num, labels=torch.full((num,), label), rng=make_rng(5), pixel_noise=pixel_noise)
        .flatten(1)
        .numpy()
    )
    expected = (
        covariance(model, label)
        if pixel_noise
        else model.factors[label].numpy() @ model.factors[label].numpy().T
    )
    assert (
        np.abs(drawn.mean(0) - model.mean[label].numpy()) < 5 * np.sqrt(np.diag(expected) / num)
    ).all()
    np.testing.assert_allclose(
        np.cov(drawn.T), expected, atol=5 * expected.max() * math.sqrt(2 / num)
    )


def test_draws_without_labels_follow_the_mixture(model):
    num = 40_000
    drawn = model.draw(num, rng=make_rng(6)).flatten(1).numpy()
    weights = model.class_logits.softmax(0).numpy()
    mean = weights @ model.mean.numpy()
    second = sum(
        w * (covariance(model, c) + np.outer(model.mean[c], model.mean[c]))
        for c, w in enumerate(weights)
    ) - np.outer(mean, mean)
    assert (np.abs(drawn.mean(0) - mean) < 5 * np.sqrt(np.diag(second) / num)).all()
    np.testing.assert_allclose(np.cov(drawn.T), second, atol=5 * second.max() * math.sqrt(2 / num))


def test_loss_is_the_joint_and_splits_by_the_chain_rule(model, images):
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    terms = model.loss(Batch(images, labels), rng=make_rng(7))
    noise = GREY_LEVEL * (torch.rand(images.shape, generator=make_rng(7)) - 0.5)
    assert noise.abs().max() <= GREY_LEVEL / 2, "the noise stays inside the grey level"
    expected = -model.log_joint(images + noise).gather(1, labels[:, None]).squeeze(1)
    torch.testing.assert_close(terms["loss"], expected)
    torch.testing.assert_close(
        terms["negative_log_likelihood"] + terms["cross_entropy"], terms["loss"]
    )


def test_float32_is_exact_enough_for_784_pixels():
    """The Woodbury form subtracts large numbers; a mistake of order would show here first."""
    model = Gaussian(GaussianConfig()).requires_grad_(False)
    model.factors.mul_(5)
    images = 2 * torch.rand(8, 1, 28, 28, generator=make_rng(8)) - 1
    single, double = model.log_prob(images), model.double().log_prob(images.double())
    assert ((single - double) / double).abs().max() < 1e-5


# The closed form


@pytest.mark.parametrize("latent_dim", [1, 4, 8])
def test_factors_are_those_of_scikit_learn(latent_dim):
    data = torch.randn(200, 8, generator=make_rng(9), dtype=torch.float64) @ torch.diag(
        torch.arange(1.0, 9.0, dtype=torch.float64)
    )
    # [200, 12]
    wide = torch.cat([data, torch.randn(200, 4, generator=make_rng(10), dtype=torch.float64)], 1)
    centred = wide - wide.mean(0)
    # scikit-learn divides by N - 1
    factors, variance = principal_factors(centred.T @ centred / 199, latent_dim)
    theirs = PCA(latent_dim).fit(wide.numpy())
    np.testing.assert_allclose(
        (factors @ factors.T + variance * torch.eye(12)).numpy(), theirs.get_covariance(), atol=1e-4
    )


def test_fitted_density_is_that_of_scikit_learn(dataset):
    fitted = fit_class_gaussians(
        dataset.train_images, dataset.train_labels, 4, latent_dim=6, prior_images=0
    ).double()
    test = uint8_to_signed(dataset.test_images).double()
    for label in range(4):
        group = (
            uint8_to_signed(dataset.train_images[dataset.train_labels == label])
            .flatten(1)
            .double()
            .numpy()
        )
        theirs = PCA(6).fit(group).score_samples(test.flatten(1).numpy())
        ours = fitted.log_likelihoods(test)[:, label].detach().numpy()
        # scikit-learn divides by N - 1
        np.testing.assert_allclose(ours, theirs, rtol=0.03, atol=1.0)
    frequencies = torch.bincount(dataset.train_labels) / len(dataset.train_labels)
    torch.testing.assert_close(fitted.class_logits.softmax(0).float(), frequencies)


def test_closed_form_is_a_maximum_of_the_likelihood(dataset):
    fitted = fit_class_gaussians(
        dataset.train_images, dataset.train_labels, 4, latent_dim=6, prior_images=0
    ).double()
    images, labels = uint8_to_signed(dataset.train_images).double(), dataset.train_labels

    def mean_loss() -> torch.Tensor:
        return -fitted.log_joint(images).gather(1, labels[:, None]).mean()

    best = mean_loss()
    best.backward()
    scale = {name: value.abs().max().item() for name, value in fitted.named_parameters()}
    assert all(
        value.grad.abs().max() * scale[name] < 0.1 for name, value in fitted.named_parameters()
    ), "the slope is not zero"
    with torch.no_grad():
        for seed, parameter in enumerate(fitted.parameters()):
            shift = 0.02 * torch.randn(
                parameter.shape, generator=make_rng(seed), dtype=torch.float64
            )
            parameter.add_(shift)
            assert mean_loss() > best
            parameter.sub_(shift)


def test_few_images_borrow_from_the_other_classes(dataset):
    """With one image a class its own covariance is zero; the shared one takes its place."""
    firsts = torch.tensor(
        [torch.nonzero(dataset.train_labels == label)[0].item() for label in range(4)]
    )
    lonely = fit_class_gaussians(
        dataset.train_images[firsts], dataset.train_labels[firsts], 4, latent_dim=3
    )
    assert all(torch.isfinite(value).all() for value in lonely.parameters())
    ten = torch.cat([torch.nonzero(dataset.train_labels == label)[:10, 0] for label in range(4)])
    fits = [
        fit_class_gaussians(
            dataset.train_images[ten], dataset.train_labels[ten], 4, latent_dim=6, prior_images=num
        )
        for num in (0, 50)
    ]
    test = uint8_to_signed(dataset.test_images)
    own, shared = (
        -fitted.loss(Batch(test, dataset.test_labels), rng=make_rng(0))["loss"].mean()
        for fitted in fits
    )
    assert shared > own


# What is refused


BAD_MASKS = {
    "numbers": (torch.ones(SIZE, SIZE), "torch.float32"),
    "one a batch": (torch.ones(6, 1, SIZE, SIZE, dtype=torch.bool), f"[6, 1, {SIZE}, {SIZE}]"),
    "another size": (torch.ones(SIZE, SIZE + 1, dtype=torch.bool), f"[{SIZE}, {SIZE + 1}]"),
}


@pytest.mark.parametrize("mask", BAD_MASKS)
@pytest.mark.parametrize("method", ["log_likelihoods", "fill_in"])
def test_masks_of_another_kind_are_refused(model, images, method, mask):
    visible, got = BAD_MASKS[mask]
    with pytest.raises(CourseError) as error:
        getattr(model, method)(images, visible)
    assert f"expected a bool mask of shape [{SIZE}, {SIZE}]" in str(error.value) and got in str(
        error.value
    )


@pytest.mark.parametrize("labels", [[0], [0, 3], [-1, 0]], ids=str)
def test_sample_refuses_labels_that_do_not_fit(model, labels):
    with pytest.raises(CourseError) as error:
        model.sample(2, labels=torch.tensor(labels), rng=make_rng(0))
    assert "expected 2 classes from 0 to 2" in str(error.value) and str(labels) in str(error.value)


def test_fit_refuses_a_class_without_images(dataset):
    with pytest.raises(CourseError) as error:
        fit_class_gaussians(dataset.train_images, dataset.train_labels, 5)
    assert "at least one image of each of 5 classes" in str(error.value) and "add images" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"prior_images": -1.0}, "prior_images"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"latent_dim": 64}, "latent_dim"),
    ],
)
def test_fit_refuses_settings_out_of_range(dataset, options, name):
    with pytest.raises(CourseError) as error:
        fit_class_gaussians(dataset.train_images, dataset.train_labels, 4, **options)
    assert name in str(error.value) and "expected" in str(error.value)


def test_start_noise_has_to_be_positive():
    with pytest.raises(CourseError, match="start_noise_std"):
        GaussianConfig(start_noise_std=0.0)


@pytest.mark.parametrize("num_images", [60, 900])
def test_many_pixels_give_the_factors_of_the_whole_covariance(num_images):
    """Colour images of 18 pixels have 972 values, more than an eigendecomposition is taken of."""
    rng = make_rng(num_images)
    shades = torch.randn(num_images, 5, generator=rng) @ torch.randn(5, 3 * 18 * 18, generator=rng)
    images = (128 + 20 * shades).clamp(0, 255).to(torch.uint8).view(num_images, 3, 18, 18)
    fitted = fit_class_gaussians(
        images, torch.zeros(num_images).long(), 1, latent_dim=6, prior_images=0
    )
    pixels = uint8_to_signed(images).flatten(1).double()
    centred = pixels - pixels.mean(0)
    factors, variance = principal_factors(centred.T @ centred / num_images, 6)
    ours = fitted.factors[0].detach().double()
    assert torch.allclose(fitted.log_noise_std[0].exp().double(), variance.sqrt(), rtol=0.02)
    # eigenvectors have no sign, so compare what they span
    error = (ours @ ours.T - factors @ factors.T).norm() / (factors @ factors.T).norm()
    assert error < (1e-5 if num_images == 60 else 0.02)


def test_fewer_images_than_directions_leave_the_others_at_zero():
    images = torch.randint(0, 256, (4, 3, 18, 18), generator=make_rng(5), dtype=torch.uint8)
    labels = torch.tensor([0, 0, 0, 1])
    fitted = fit_class_gaussians(images, labels, 2, latent_dim=8)
    assert fitted.factors.shape == (2, 972, 8)
    assert (fitted.factors.square().sum(1) > 1e-6).sum(1).tolist() == [2, 2]
    assert fitted.log_prob(uint8_to_signed(images)).isfinite().all()
