"""What textbooks say of the families, measured: contrast, walks, spreads, and their verdicts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.measurement import Measurement
from course_utils.models.dcgan import DCGAN, DCGANConfig
from course_utils.models.diffusion.model import Diffusion, DiffusionConfig
from course_utils.models.gaussian import Gaussian, GaussianConfig
from course_utils.models.vae import VAE, VAEConfig
from course_utils.studies.compare import FamilyComparison
from course_utils.studies.corruptions import blurred, noisy
from course_utils.studies.textbook import (
    edge_contrast,
    latent_measurements,
    spread_limit,
    textbook_table,
    walk_unevenness,
)


def test_edge_contrast_by_hand():
    image = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    image[0, 0, 1, 1] = 255  # four edges of size 1, and ink 1
    assert edge_contrast(image).tolist() == [4.0]
    assert edge_contrast(torch.full((1, 1, 3, 3), 200, dtype=torch.uint8)).tolist() == [0.0]


def test_blur_lowers_the_contrast_and_noise_raises_it():
    images = torch.zeros(4, 1, 20, 20, dtype=torch.uint8)
    images[:, :, 6:14, 6:14] = 200
    plain = edge_contrast(images)
    assert (edge_contrast(blurred(images)) < plain).all()
    assert (edge_contrast(noisy(images)) > plain).all()


class Jumping(VAE):
    """Its images change only where the first latent changes its sign."""

    def decode(self, z):
        return z[:, :1].sign().reshape(-1, 1, 1, 1).expand(-1, *self.config.image_shape)


class Even(VAE):
    """Its images are the latents."""

    def decode(self, z):
        return z.reshape(-1, 1, 1, 2)


TINY = VAEConfig(image_size=4, hidden_dims=(4,), latent_dim=2)


def test_a_single_jump_has_as_many_mean_steps_as_the_walk_has_parts():
    found = walk_unevenness(Jumping(TINY), 40, num_parts=10)
    jumped = found[found > 0]  # the others stay on one side: nothing moves
    assert 10 < len(jumped) < 40 and torch.allclose(jumped, torch.full_like(jumped, 10.0))


def test_a_walk_at_constant_speed_has_one():
    assert torch.allclose(walk_unevenness(Even(TINY), 5), torch.ones(5).double(), atol=1e-3)


def test_walks_of_the_three_families_are_measured_and_repeat():
    models = {
        "vae": VAE(TINY),
        "dcgan": DCGAN(DCGANConfig(image_size=8, generator_width=4, discriminator_width=4)),
        "diffusion": Diffusion(DiffusionConfig(image_size=8, channels=(4, 4), embed_dim=8)),
        "gaussian": Gaussian(GaussianConfig(image_size=4, latent_dim=2)),
    }
    models = {name: model.eval() for name, model in models.items()}
    found = latent_measurements(models, num_walks=2, seed=3)
    assert list(found) == ["vae", "dcgan", "diffusion"]
    assert all(1 <= one.value <= 20 for one in found.values())
    assert found == latent_measurements(models, num_walks=2, seed=3)


def test_a_model_without_latents_has_no_walks():
    with pytest.raises(CourseError, match="expected a VAE, a DCGAN or a diffusion model"):
        walk_unevenness(SimpleNamespace(config=TINY, device="cpu", family="gaussian"), 1)  # type: ignore[arg-type]


def test_the_limit_of_two_spreads_is_rarely_exceeded_by_chance():
    assert spread_limit(3) == pytest.approx(39**0.5)
    stds = torch.randn(2, 20_000, 3, generator=make_rng(0), dtype=torch.float64).std(2)
    beyond = stds.log().diff(dim=0).abs() > torch.tensor(spread_limit(3)).log()
    assert beyond.double().mean().item() == pytest.approx(0.05, abs=0.006)


VALUES = {
    "FID": {"vae": (100, 101, 102), "dcgan": (5, 5.1, 4.9), "diffusion": (3, 3.1, 2.9)},
    "recall": {"vae": (0.5, 0.51, 0.49), "dcgan": (0.7, 0.71, 0.69), "diffusion": (0.8, 0.6, 0.7)},
    "seconds for 100 images": {"vae": (1, 1.1, 1), "dcgan": (1, 1, 1.1), "diffusion": (9, 9, 9.1)},
}


def comparison() -> FamilyComparison:
    rows = []
    for family in ("vae", "dcgan", "diffusion"):
        for seed in range(3):
            metrics = {}
            for name, values in VALUES.items():
                value = values[family][seed]
                metrics[name] = {"value": value, "error": 0.1, "floor": None, "floor_error": None}
            rows.append({"family": family, "seed": seed, "metrics": metrics})
    return FamilyComparison({"num_images": 100}, tuple(rows))


def test_each_sentence_gets_the_verdict_of_its_numbers():
    def one(value):
        return Measurement("edge contrast", value, 0.01, 100)

    single = {"edge contrast": {"real images": one(0.7), "vae": one(0.3), "dcgan": one(0.6)}}
    found = textbook_table(comparison(), single)
    verdicts = found["verdict"].to_dict()
    assert verdicts == {
        "VAE: blurry (below real images)": "one training: no verdict",
        "GAN: sharper than the VAE": "one training: no verdict",
        "VAE: smoothest latent space": "not measured",
        "GAN: loses modes (lowest recall)": "does not agree",
        "diffusion: best quality (FID)": "agrees",
        "diffusion: best coverage (recall)": "undecided",
        "diffusion: slow to draw": "agrees",
        "GAN: trainings differ more than the VAE's": "undecided",
    }
    assert found.loc["diffusion: best quality (FID)", "limit"] == "2.78"


def test_collapsed_trainings_are_judged_by_an_exact_test():
    cures = {
        "broken": SimpleNamespace(covered=(1, 2, 3, 4, 9), num_collapsed=4),
        "R1": SimpleNamespace(covered=(9, 9, 9, 9, 9), num_collapsed=0),
    }
    row = textbook_table(comparison(), {}, cures).iloc[-1]  # type: ignore[arg-type]
    assert row["measured"] == "4 of 5 collapsed; with R1 0 of 5"
    assert row["distance"] == "p = 0.024" and row["verdict"] == "agrees"
