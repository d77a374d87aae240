"""Bits per dimension: exact values for toys, bounds that are tight where they must be, and flows
whose density is known.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from flows import STD, GaussianFlow
from torch import nn

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8, uint8_to_signed, unit_to_signed
from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.data.strokes import make_strokes
from course_utils.metrics.measurement import is_difference_real, mean_over_images
from course_utils.models.diffusion.model import Diffusion, DiffusionConfig
from course_utils.models.vae import VAE, VAEConfig
from course_utils.studies import likelihoods
from course_utils.studies.likelihoods import (
    BitsRow,
    LevelTable,
    VAEParts,
    bits_cells,
    bits_difference,
    bits_per_dimension,
    bits_study,
    count_denoised_levels,
    count_levels,
    count_vae_levels,
    density_bits,
    diffusion_bits,
    flow_bits,
    flow_log_density,
    gaussian_decoder_bits,
    independent_bits,
    rising_times,
    saved_bits,
    vae_bits,
    vae_parts,
    velocity_and_divergence,
)
from course_utils.studies.provenance import velocity_field

UNIFORM = LevelTable(torch.zeros(1), torch.full((2, 256), -math.log(256.0), dtype=torch.float64))


def gaussian_images(num, seed=0, side=4):
    x = STD * torch.randn(num, 1, side, side, generator=make_rng(seed))
    return signed_to_uint8(x.clamp(-1, 1))


def test_equal_levels_take_eight_bits_as_a_probability_and_as_a_density():
    D = 12
    assert bits_per_dimension(torch.tensor([-D * math.log(256)]), D).item() == pytest.approx(8)
    for cell in (2 / 255, 1 / 255):  # signed and unit pixels
        flat = torch.tensor([-D * math.log(256 * cell)])  # a uniform density over 256 cells
        assert bits_per_dimension(flat, D, cell).item() == pytest.approx(8)


def test_counted_levels_are_probabilities_and_follow_the_prediction():
    images = torch.randint(256, (40, 1, 8, 8), generator=make_rng(0)).to(torch.uint8)
    told = count_levels(uint8_to_signed(images), images, num_bins=256)
    assert torch.allclose(told.log_probabilities.exp().sum(1), torch.ones(()).double())
    assert len(told.log_probabilities) == len(told.edges) + 1
    constant = count_levels(torch.zeros(40, 1, 8, 8), images)
    bits = [
        bits_per_dimension(table.log_probability(greys, images), 64).mean().item()
        for table, greys in ((told, uint8_to_signed(images)), (constant, torch.zeros(40, 1, 8, 8)))
    ]
    assert bits[0] < 3 < 7 < bits[1] <= 8
    black = torch.zeros_like(images)
    sure = count_levels(torch.zeros(40, 1, 8, 8), black)
    got = sure.log_probability(torch.zeros(1, 1, 8, 8), black[:1]).item()
    assert got == pytest.approx(64 * math.log(2560.1 / 2585.6))


def test_a_table_needs_one_prediction_a_pixel():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(CourseError, match="one prediction a pixel"):
        count_levels(torch.zeros(2, 16), images)
    with pytest.raises(CourseError, match="uint8"):
        count_levels(images.float(), images.float())


def test_independent_pixels_are_counted_pixel_by_pixel():
    train = torch.zeros(10, 1, 2, 2, dtype=torch.uint8)
    train[:5, 0, 1, 1] = 9
    images = train[4:6]  # one of each kind
    surest, even = math.log2(10.1 / 35.6), math.log2(5.1 / 35.6)
    expected = -(3 * surest + even) / 4
    assert independent_bits(train, images).tolist() == pytest.approx([expected, expected])


def test_the_density_bound_is_just_above_the_exact_probability_of_the_levels():
    std = 0.02  # a few grey levels wide, so that the bound has a gap
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), std)
    images = torch.full((4000, 1, 1, 1), 130, dtype=torch.uint8)
    centre = 130 / 127.5 - 1
    exact = -math.log2(
        normal.cdf(torch.tensor(centre + 1 / 255)) - normal.cdf(torch.tensor(centre - 1 / 255))
    )
    found = density_bits(lambda x: normal.log_prob(x).flatten(1).sum(1), images, make_rng(0))
    error = found.std().item() / 4000**0.5
    assert exact - 3 * error < found.mean().item() < exact + 0.05
    levels = torch.arange(256).view(256, 1, 1, 1).to(torch.uint8)
    flat = density_bits(lambda x: torch.full((len(x),), -math.log(512 / 255)), levels)
    torch.testing.assert_close(flat, torch.full((256,), 8.0).double())


class OneNumber:
    """Images of two equal pixels whose grey follows one latent; q is wider than the posterior."""

    table = count_levels(
        torch.linspace(-1, 1, 25600).view(-1, 1, 1, 1),
        signed_to_uint8(
            (
                torch.linspace(-1, 1, 25600).view(-1, 1, 1, 1)
                + 0.3 * torch.randn(25600, 1, 1, 1, generator=make_rng(0))
            ).clamp(-1, 1)
        ),
        num_bins=16,
    )

    @staticmethod
    def decode(z):
        return torch.tanh(z).expand(-1, 2)

    @staticmethod
    def encode(images):
        mean = uint8_to_signed(images).flatten(1).mean(1, keepdim=True)
        return mean, torch.full_like(mean, math.log(0.3))

    def exact(self, images):
        z = torch.linspace(-6, 6, 20_001)[:, None]
        greys = self.decode(z).view(-1, 1, 1, 2)
        weights = torch.exp(-0.5 * z[:, 0].double() ** 2) / math.sqrt(2 * math.pi) * (12 / 20_000)
        likelihood = [
            self.table.log_probability(greys, one.expand(len(z), -1, -1, -1)).exp()
            for one in images
        ]
        return torch.stack([(one * weights).sum().log() for one in likelihood])


def test_the_vae_bound_lies_above_the_exact_bits_and_closes_with_many_draws():
    toy = OneNumber()
    images = torch.tensor([[100, 140], [30, 60], [200, 180]]).view(3, 1, 1, 2).to(torch.uint8)
    parts, exact = VAEParts(toy.encode, toy.decode), bits_per_dimension(toy.exact(images), 2)
    repeated = images.repeat(400, 1, 1, 1)
    elbo = vae_bits(parts, toy.table, repeated, rng=make_rng(0)).view(400, 3).mean(0)
    tight = vae_bits(parts, toy.table, images, num_draws=20_000, rng=make_rng(1))
    assert (elbo > exact + 0.01).all()
    torch.testing.assert_close(tight, exact, atol=0.02, rtol=0)


def test_the_readers_vae_and_the_courses_are_measured_alike():
    torch.manual_seed(0)
    model = VAE(VAEConfig(hidden_dims=(8,), latent_dim=3)).eval()

    class Hers(nn.Module):
        def encode(self, unit):
            return model.encode(unit_to_signed(unit))

        def decode(self, z):
            return model.decoder(z)

    images = make_strokes(60, 1)[0]
    found = []
    for one in (model, Hers()):
        parts = vae_parts(one)
        table = count_vae_levels(parts, images[:40], make_rng(0))
        found.append(vae_bits(parts, table, images[40:], rng=make_rng(1)))
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    assert found[0].shape == (20,) and (found[0] > 0).all()


def test_what_is_no_vae_of_this_kind_is_refused():
    with pytest.raises(CourseError, match="methods encode and decode, got Linear"):
        vae_parts(nn.Linear(2, 2))
    with pytest.raises(CourseError, match="num_prior_components: expected 0"):
        vae_parts(VAE(VAEConfig(num_prior_components=2)))


def test_the_divergence_of_a_linear_field_is_its_trace():
    matrix = torch.randn(4, 4, generator=make_rng(0))

    def field(x, t):
        return (x.flatten(1) @ matrix.T).view_as(x)

    x = torch.randn(4000, 1, 2, 2, generator=make_rng(1))
    probe = 2.0 * torch.randint(2, x.shape, generator=make_rng(2)) - 1
    velocity, divergence = velocity_and_divergence(field, x, torch.zeros(4000), probe)
    torch.testing.assert_close(velocity, field(x, None))
    error = divergence.std().item() / 4000**0.5
    assert divergence.mean().item() == pytest.approx(matrix.trace().item(), abs=4 * error)


def test_the_density_along_a_known_flow_is_exact_with_enough_steps():
    start, x = 0.05, STD * torch.randn(20, 1, 4, 4, generator=make_rng(0))
    std = math.hypot((1 - start) * STD, start)
    exact = torch.distributions.Normal(0.0, std).log_prob(x).flatten(1).sum(1).double()
    field = velocity_field(GaussianFlow())  # each pixel for itself: the estimate has no noise
    errors = [
        (flow_log_density(field, x, rising_times(start, steps), make_rng(1)) - exact).abs().max()
        for steps in (4, 16, 64)
    ]
    assert errors[0] > 4 * errors[1] > 16 * errors[2] and errors[2] < 0.05


def test_times_rise_with_equal_ratios():
    times = rising_times(0.01, 4)
    assert times[0].item() == pytest.approx(0.01) and times[-1].item() == 1.0
    assert (times[1:] / times[:-1]).std() < 1e-9
    for start, steps in ((0.0, 4), (1.0, 4), (0.1, 0)):
        with pytest.raises(CourseError):
            rising_times(start, steps)


def test_both_bounds_of_diffusion_are_the_information_of_gaussian_pixels():
    """With a table that knows nothing (8 bits) what is left is E[log q(x_s | x) - log p(x_s)], the
    mutual information of a pixel and its noisy twin.
    """
    start, images = 0.1, gaussian_images(1500)
    information = 0.5 * math.log2(1 + ((1 - start) * STD / start) ** 2)
    field = velocity_field(GaussianFlow())
    bound = diffusion_bits(field, UNIFORM, images, start=start, num_times=10, rng=make_rng(1))
    along = flow_bits(field, UNIFORM, images, start=start, num_steps=30, rng=make_rng(2))
    for bits in (bound, along):
        error = bits.std().item() / 1500**0.5
        assert bits.mean().item() == pytest.approx(8 + information, abs=4 * error + 2e-3)
    assert bound.mean() - 8 > 0.5


def test_a_worse_flow_needs_more_bits():
    class Worse(GaussianFlow):
        def forward(self, xt, t, labels):
            return 0.8 * super().forward(xt, t, labels)

    images, options = gaussian_images(400), {"start": 0.1, "rng": make_rng(0)}
    for measure in (diffusion_bits, flow_bits):
        good, bad = (
            measure(velocity_field(one), UNIFORM, images, **options).mean()
            for one in (GaussianFlow(), Worse())
        )
        assert bad > good + 0.02


def test_the_last_step_is_counted_from_what_the_denoiser_sees():
    """Of Gaussian pixels the whole bound comes near their entropy: no bits are lost."""
    field, start = velocity_field(GaussianFlow()), 0.02
    table = count_denoised_levels(
        field, gaussian_images(20_000, seed=3), start=start, rng=make_rng(4)
    )
    bits = diffusion_bits(
        field, table, gaussian_images(1000, seed=5), start=start, num_times=20, rng=make_rng(6)
    )
    entropy = math.log2(STD * math.sqrt(2 * math.pi * math.e) / (2 / 255))
    assert entropy - 0.05 < bits.mean().item() < entropy + 0.15


def tiny_diffusion():
    torch.manual_seed(0)
    return Diffusion(DiffusionConfig(channels=(8, 8), embed_dim=8, attention=False)).eval()


def test_the_bound_of_random_steps_is_asked_without_a_label():
    model = tiny_diffusion()
    seen = []
    predict = model.predict
    model.predict = lambda x, t, labels: seen.append(labels) or predict(x, t, labels)
    images = make_strokes(3, 1)[0]
    bits = gaussian_decoder_bits(model, images, num_steps=20, num_times=2, rng=make_rng(0))
    assert bits.shape == (3,) and bits.isfinite().all()
    assert len(seen) == 3 and all((labels == 10).all() for labels in seen)


@pytest.fixture(scope="module")
def strokes():
    images, factors, test_images, test_factors = make_strokes(300, 40)
    labels = (factors.digit, test_factors.digit)
    return Dataset("strokes", images, labels[0], test_images, labels[1], DIGIT_NAMES, "few")


def test_the_study_has_a_row_for_each_way(strokes):
    torch.manual_seed(0)
    vae = VAE(VAEConfig(hidden_dims=(8,), latent_dim=3)).eval()
    rows = bits_study(
        strokes,
        {"vae": vae, "diffusion": tiny_diffusion()},
        num_images=10,
        num_draws=5,
        num_times=2,
        flow_steps=(2, 3),
    )
    assert [(row.model, row.bound, row.num_calls) for row in rows] == [
        ("independent pixels", False, 0),
        ("gaussian", True, 0),
        ("vae", True, 2),
        ("vae", True, 6),
        ("diffusion", True, 3),
        ("diffusion", True, 5),
        ("diffusion", True, 7),
    ]
    assert all(row.bits.num_images == 10 and row.bits.error > 0 for row in rows)
    only = bits_study(strokes, {"vae": vae}, num_images=10, num_draws=1, baselines=False)
    assert [row.model for row in only] == ["vae"] and only[0].bits == rows[2].bits
    with pytest.raises(CourseError, match="num_images: expected 2 to 40"):
        bits_study(strokes, {}, num_images=41)


def test_rows_are_kept_read_compared_and_shown(monkeypatch):
    first, second = (
        BitsRow(
            name,
            "bound",
            name == "a",
            mean_over_images("bits per dimension", values, dataset="strokes test"),
            values,
            3,
            0.5,
        )
        for name, values in (
            ("a", torch.tensor([1.0, 2.0, 4.0]).double()),
            ("b", torch.tensor([0.9, 1.8, 3.9]).double()),
        )
    )
    monkeypatch.setattr(likelihoods, "shipped_rows", lambda *_: [first.as_dict()])
    (again,) = saved_bits("strokes")
    assert again.bits == first.bits and torch.equal(again.per_image, first.per_image)
    found = bits_difference(first, second)
    assert found.difference == pytest.approx(0.4 / 3) and found.real  # as wholes they would not be
    assert not is_difference_real(first.bits, second.bits)
    texts = [row["bits per dimension"] for row in bits_cells([first, second])]
    assert texts == [f"at most {first.bits.number}", second.bits.number]
    with pytest.raises(CourseError, match="3 and 2 images"):
        bits_difference(first, replace(second, per_image=second.per_image[:2]))


@pytest.mark.parametrize("name", ["strokes", "mnist"])
def test_the_shipped_rows_say_what_the_notebook_says(name):
    rows = {(row.model, row.how): row for row in saved_bits(name)}
    bound = rows["diffusion", "variational bound, 20 times"]
    along = rows["diffusion", "along the flow, 20 steps"]
    elbo = rows["vae", "evidence lower bound"]
    pixels = rows["independent pixels", "a histogram a pixel"]
    gaussian = rows["gaussian", "density, uniform noise in the cell"]
    for lower, higher in ((along, bound), (bound, elbo), (elbo, pixels), (pixels, gaussian)):
        found = bits_difference(lower, higher)
        assert found.real and found.difference < 0
    assert {row.bits.num_images for row in rows.values()} == {300}
