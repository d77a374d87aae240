"""Inverse problems with the models of the course: `recover` hands a model to a method of `inverse`,
and `judge` measures what comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.base.device import ImageNoise, randn
from course_utils.base.errors import CourseError, unknown
from course_utils.base.images import signed_to_uint8
from course_utils.inverse.exact import exact_posterior
from course_utils.inverse.posterior import sample_dps, sample_posterior, sample_replacement
from course_utils.inverse.problems import Problem
from course_utils.inverse.search import Latents, search_latents
from course_utils.metrics.features import Extractor, extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.measurement import Measurement
from course_utils.metrics.paired import check_solutions, diversity, paired_quality
from course_utils.models.base import Model
from course_utils.models.diffusion.exact import GaussianMixture

if TYPE_CHECKING:
    from course_utils.inverse.regressor import Regressor
    from course_utils.models.dcgan import DCGAN
    from course_utils.models.diffusion.model import Diffusion
    from course_utils.models.gaussian import Gaussian
    from course_utils.models.vae import VAE

ROWS_PER_CALL = 240  # solutions at once: the network's activations are kept for the backward pass
# measured on the course's models: above it the variance that their derivative implies is far too
# large
TRUSTED_TIME = 0.95
DIFFUSION_OPTIONS = {"limit": 1.0}
# Measured too (strokes, half hidden and super-resolution): 2 steps of conjugate gradients give
# higher PSNR than 5 or 10 of a derivative that is only nearly symmetric, and half of DPS's usual
# 100 steps give the same within error bars.
TWEEDIE = {"trusted_time": TRUSTED_TIME, "num_iterations": 2, "num_steps": 30}


def gaussian_prior(model: Gaussian) -> GaussianMixture:
    """Returns the class-conditional Gaussian of the course as a mixture with dense covariances, in
    float64 on the CPU.
    """
    factors = model.factors.detach().cpu().double()
    identity = torch.eye(factors.shape[1], dtype=torch.float64)
    variances = torch.exp(2 * model.log_noise_std.detach().cpu().double())
    shares = model.class_logits.detach().cpu().double().softmax(0)
    covariances = factors @ factors.mT + variances[:, None, None] * identity
    return GaussianMixture(
        shares, model.mean.detach().cpu().double(), covariances, torch.arange(len(shares))
    )


def _exact(
    model: Gaussian,
    problem: Problem,
    measurements: Tensor,
    num_samples: int,
    rng: torch.Generator | None,
) -> Tensor:
    posterior = exact_posterior(gaussian_prior(model), problem, measurements.cpu().double())
    return posterior.sample(num_samples, rng).to(measurements)


def _search_vae(
    model: VAE,
    problem: Problem,
    measurements: Tensor,
    num_samples: int,
    rng: torch.Generator | None,
    **options,
) -> Tensor:
    like = next(model.parameters())
    return search_latents(
        lambda latents: model.decode(latents.z),
        lambda num, source: Latents(model.prior.sample(num, source, like)),
        problem,
        measurements,
        num_samples,
        log_prior=lambda z: model.prior.log_ratio(z) - 0.5 * z.square().sum(1),
        rng=rng,
        **options,
    )


def _search_gan(
    model: DCGAN,
    problem: Problem,
    measurements: Tensor,
    num_samples: int,
    rng: torch.Generator | None,
    **options,
) -> Tensor:
    config, like = model.config, next(model.parameters())

    def draw(num: int, source: torch.Generator | None) -> Latents:
        z = randn((num, config.latent_dim), source, like)
        return Latents(
            z,
            (
                torch.arange(num, device=like.device) % config.num_classes
                if config.conditional
                else None
            ),
        )

    decode = lambda latents: model.generate(latents.z, latents.labels)  # noqa: E731
    return search_latents(decode, draw, problem, measurements, num_samples, rng=rng, **options)


def _with_denoiser(sampler: Callable[..., Tensor], **defaults: object) -> Callable[..., Tensor]:
    """Returns a method that runs a sampler of `inverse` on a diffusion model, unlabelled, in
    batches that fit into memory.
    """

    def run(
        model: Diffusion,
        problem: Problem,
        measurements: Tensor,
        num_samples: int,
        rng: torch.Generator | None,
        **options,
    ) -> Tensor:
        denoise = lambda xt, t: model.predict(xt, t).x0  # noqa: E731
        at_once = max(1, ROWS_PER_CALL // num_samples)
        noise = ImageNoise(len(measurements) * num_samples, rng).split(at_once * num_samples)
        own = {**DIFFUSION_OPTIONS, **defaults, **options}
        pieces = zip(measurements.split(at_once), noise)
        return torch.cat(
            [
                sampler(denoise, model.schedule, problem, some, num_samples, rng=stream, **own)
                for some, stream in pieces
            ],
            1,
        )

    return run


def _regress(
    model: Regressor,
    problem: Problem,
    measurements: Tensor,
    num_samples: int,
    rng: torch.Generator | None,
) -> Tensor:
    if (model.config.problem, model.problem.noise_std) != (problem.name, problem.noise_std):
        trained = f"{model.config.problem!r} with noise {model.problem.noise_std:g}"
        raise CourseError(
            f"expected the problem that this regressor was trained for, {trained}, got"
            f" {problem.name!r} with {problem.noise_std:g}."
        )
    with torch.no_grad():
        answers = torch.cat([model.recover(some) for some in measurements.split(500)])
    return answers.expand(num_samples, *answers.shape)


@dataclass(frozen=True)
class Method:
    """A way to solve inverse problems: the family whose models it takes, and `run(model, problem,
    measurements, num_samples, rng, **options)`.
    """

    family: str
    run: Callable[..., Tensor]


METHODS: dict[str, Method] = {
    "exact": Method("gaussian", _exact),
    "vae-search": Method("vae", _search_vae),
    "gan-search": Method("dcgan", _search_gan),
    "replacement": Method("diffusion", _with_denoiser(sample_replacement)),
    "repaint": Method("diffusion", _with_denoiser(sample_replacement, num_visits=5)),
    "dps": Method("diffusion", _with_denoiser(sample_dps, num_steps=50)),
    "pi-gdm": Method(
        "diffusion",
        _with_denoiser(
            sample_posterior, covariance="isotropic", trusted_time=TRUSTED_TIME, num_steps=30
        ),
    ),
    "tweedie": Method("diffusion", _with_denoiser(sample_posterior, **TWEEDIE)),
    "regressor": Method("regressor", _regress),
}
FAVOURITES = {
    "gaussian": "exact",
    "vae": "vae-search",
    "dcgan": "gan-search",
    "diffusion": "tweedie",
    "regressor": "regressor",
}


def recover(
    model: Model,
    problem: Problem,
    measurements: Tensor,
    num_samples: int = 8,
    *,
    method: str | None = None,
    rng: torch.Generator | None = None,
    **options: object,
) -> Tensor:
    """Returns solutions of an inverse problem, `[num_samples, B, C, H, W]` in [-1, 1], on the
    model's device.

    Args:
        model: of the course, in evaluation mode.
        problem: what was measured; `make_problem` knows those of the course by name.
        measurements: `[B, *measured_shape]`.
        num_samples: solutions a measurement; the regressor has one answer and repeats it.
        method: a key of `METHODS`; None takes the family's favourite.
        rng: source of all randomness.
        options: of the method, such as `num_steps`; see the functions of `course_utils.inverse`.

    Raises:
        CourseError: an unknown method, or one for models of another family.
    """
    if not isinstance(num_samples, int) or num_samples < 1:
        raise CourseError(
            f"num_samples: expected a whole number of at least 1, got {num_samples!r}."
        )
    problem.check_measurements(measurements)
    chosen = METHODS[check_method(model.family, method)]
    return chosen.run(
        model, problem, measurements.to(model.device), num_samples, rng, **options
    ).clamp(-1, 1)


def check_method(family: str, method: str | None) -> str:
    """Returns the method to use for a family, its favourite for None.

    Raises:
        CourseError: no such method, or one for another family.
    """
    if family not in FAVOURITES:
        raise CourseError(
            f"a {family} solves no inverse problem; expected a model of one of"
            f" {', '.join(FAVOURITES)}."
        )
    if method is None:
        return FAVOURITES[family]
    own = [name for name, one in METHODS.items() if one.family == family]
    if method not in METHODS:
        raise unknown(f"method for a {family}", method, own)
    if method not in own:
        raise CourseError(
            f"method {method!r}: needs a {METHODS[method].family}, got a {family}, which has"
            f" {', '.join(own)}."
        )
    return method


def score_recoveries(
    solutions: Tensor,
    truths: Tensor,
    problem: Problem,
    measurements: Tensor,
    *,
    extractor: Extractor | None = None,
    real: Tensor | None = None,
) -> dict[str, Measurement]:
    """Returns the metrics of solutions, `{name: measurement}`, each with its error bar.

    PSNR and SSIM of the mean and of single solutions; "pixel std" and "pairwise distance" (2 or
    more solutions); "misfit", the RMS of y - A x in units of the noise; and with `extractor` and
    `real` the "FID" of the first solution of each measurement and the "FID of the mean".

    Args:
        solutions: `[S, B, C, H, W]`, signed.
        truths: `[B, C, H, W]`, signed.
        problem, measurements: what was asked.
        extractor: of features.
        real: uint8 images to compare with, other than the truths, `[B, C, H, W]`.
    """
    check_solutions(solutions, truths)
    solutions, truths, measurements = solutions.cpu(), truths.cpu(), measurements.cpu()
    found = [
        *paired_quality(solutions, truths),
        *(diversity(solutions) if len(solutions) > 1 else ()),
    ]
    misfit = problem.misfit(solutions, measurements).double().mean(0)
    found.append(
        Measurement(
            "misfit", misfit.mean().item(), misfit.std().item() / len(misfit) ** 0.5, len(misfit)
        )
    )
    if extractor is not None and real is not None:
        reference = extract(extractor, real)
        for name, images in (("FID", solutions[0]), ("FID of the mean", solutions.mean(0))):
            measured = fid(extract(extractor, signed_to_uint8(images)), reference)
            found.append(
                Measurement(
                    name,
                    measured.value,
                    measured.error,
                    measured.num_images,
                    extractor.name,
                    size_matters=True,
                )
            )
    return {one.name: one for one in found}
