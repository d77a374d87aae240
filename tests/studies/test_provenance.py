"""The key in the starting noise: what of N(0, I) it keeps, p-values that keep their promise, and a
flow that runs backwards, on data whose flow is known.
"""

from __future__ import annotations

import math

import pytest
import torch
from flows import STD, GaussianFlow
from torch import nn

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8, uint8_to_signed
from course_utils.data.dataset import DIGIT_NAMES, Dataset
from course_utils.data.strokes import make_strokes
from course_utils.metrics.features import Extractor
from course_utils.models.diffusion.exact import GaussianMixture
from course_utils.models.diffusion.model import Diffusion, DiffusionConfig
from course_utils.models.diffusion.samplers import time_grid
from course_utils.models.diffusion.schedules import flow_schedule
from course_utils.studies import provenance
from course_utils.studies.evaluate import Features
from course_utils.studies.provenance import (
    LEVEL,
    as_jpeg,
    attacks,
    cropped,
    drawn_from,
    euler_walk,
    inverted,
    key_scores,
    make_key,
    marked_noise,
    provenance_cells,
    provenance_p_values,
    provenance_study,
    quality_rows,
    quality_with_key,
    saved_provenance,
    velocity_field,
)

SHAPE = (1, 28, 28)


def normal(num, seed=0):
    return torch.randn(num, *SHAPE, generator=make_rng(seed))


@pytest.fixture(scope="module")
def strokes():
    images, factors, test_images, test_factors = make_strokes(200, 200)
    labels = (factors.digit, test_factors.digit)
    return Dataset("strokes", images, labels[0], test_images, labels[1], DIGIT_NAMES, "few")


def test_marking_keeps_all_sizes_and_sets_the_signs_of_the_key():
    plain, marked = normal(50, seed=1), marked_noise(50, 3, SHAPE, make_rng(1))
    assert torch.equal(marked.abs(), plain.abs())
    assert (marked.sign() == make_key(3, SHAPE)).all()
    key, half = make_key(3, SHAPE, 0.5), marked_noise(50, 3, SHAPE, make_rng(1), share=0.5)
    decided = key != 0
    assert (half.sign() == key)[:, decided].all()
    assert torch.equal(half[:, ~decided], plain[:, ~decided])


def test_averaged_over_keys_the_noise_is_standard_normal():
    num = 2000
    noise = torch.cat([marked_noise(1, key, SHAPE, make_rng(9, key)) for key in range(num)])
    flat = noise.flatten(1).double()
    assert (flat.mean(0) * num**0.5).abs().max() < 4.6  # 784 values, 4.6 errors
    assert flat.square().mean().item() == pytest.approx(1, abs=4 * math.sqrt(2 / flat.numel()))
    covariance = flat.T @ flat / num
    assert (covariance - covariance.diag().diag()).abs().max() < 5.7 / num**0.5


def test_many_images_of_one_key_give_it_away():
    mean = marked_noise(400, 5, SHAPE, make_rng(0)).mean(0)
    expected = make_key(5, SHAPE) * math.sqrt(2 / math.pi)  # the mean size of N(0, 1)
    torch.testing.assert_close(mean, expected, atol=0.2, rtol=0)


def test_keys_differ_and_decide_what_they_are_asked_to():
    first, second = make_key(0, (3, 28, 28)), make_key(1, (3, 28, 28))
    assert first.shape == (3, 28, 28) and set(first.unique().tolist()) == {-1.0, 1.0}
    assert (first == second).float().mean().item() == pytest.approx(0.5, abs=0.05)
    quarter = make_key(0, SHAPE, 0.25)
    assert set(quarter.unique().tolist()) == {-1.0, 0.0, 1.0} and (quarter != 0).sum() == 196
    for share in (0.0, 1.1):
        with pytest.raises(CourseError, match="share: expected above 0 and at most 1"):
            make_key(0, SHAPE, share)


def test_scores_of_strangers_are_standard_and_those_of_the_owner_are_not():
    for share in (1.0, 0.1):
        scores = torch.stack([key_scores(normal(20, 2), key, share=share) for key in range(300)])
        assert scores.mean().item() == pytest.approx(0, abs=0.2)
        assert scores.var(0).mean().item() == pytest.approx(1, abs=0.1)
        own = key_scores(marked_noise(20, 4, SHAPE, make_rng(2), share=share), 4, share=share)
        assert own.min() > 5


def test_a_search_finds_a_key_that_was_shifted():
    moved = marked_noise(5, 4, SHAPE, make_rng(2)).roll((1, -2), (2, 3))
    assert key_scores(moved, 4).max() < 5 and key_scores(moved, 4, reach_px=1).max() < 5
    assert key_scores(moved, 4, reach_px=2).min() > 15
    assert provenance_p_values(moved, 4, num_keys=49, reach_px=2).tolist() == [0.02] * 5
    with pytest.raises(CourseError, match="reach_px: expected 0 or more"):
        key_scores(moved, 4, reach_px=-1)


def test_ranks_keep_their_promise_over_keys_whatever_the_image_is():
    """One image for all keys, which is far from noise; with and without a search."""
    x = torch.linspace(-1, 1, 784).view(1, 1, 28, 28)
    for reach in (0, 1):
        p_values = torch.cat(
            [
                provenance_p_values(x, key, num_keys=49, seed=key, reach_px=reach)
                for key in range(300)
            ]
        )
        for level in (0.02, 0.1, 0.5):
            error = math.sqrt(level * (1 - level) / 300)
            found = (p_values <= level).double().mean().item()
            assert found == pytest.approx(level, abs=4 * error)


def test_the_owner_gets_the_smallest_p_value_and_strangers_do_not():
    noise = marked_noise(6, 7, SHAPE, make_rng(0))
    assert (provenance_p_values(noise, 7, num_keys=99) == 0.01).all()
    assert provenance_p_values(noise, 8, num_keys=99).min() > 0.01
    with pytest.raises(CourseError, match="num_keys"):
        provenance_p_values(noise, 7, num_keys=0)


def test_a_known_flow_is_inverted_the_better_the_more_steps():
    z = normal(8)
    images = signed_to_uint8((STD * z).clamp(-1, 1))  # where the flow takes z to
    errors = [
        (inverted(GaussianFlow(), images, num_steps=steps) - z).square().mean().sqrt().item()
        for steps in (10, 100, 1000)
    ]
    rounding = 1 / 255 / math.sqrt(3) / STD  # of the grey levels, which no step undoes
    assert errors[0] > 3 * errors[1] > 3 * errors[2] and errors[2] < 1.05 * rounding


class TwoGreys(nn.Module):
    """The exact velocity of images of one pixel, dark or light: a mixture of two Gaussians."""

    num_classes = 2
    mixture = GaussianMixture(
        torch.tensor([0.3, 0.7]).double(),
        torch.tensor([[-0.5], [0.4]]).double(),
        torch.tensor([[[0.04]], [[0.02]]]).double(),
        torch.tensor([0, 1]),
    )

    def forward(self, xt, t, labels):
        x, t = xt.flatten(1).double(), t.double()
        seen = self.mixture.denoise(flow_schedule(), x, t)
        return ((x - seen) / t[:, None]).view(xt.shape).to(xt)


def test_the_flow_of_a_mixture_is_inverted_to_the_quantiles_of_the_noise():
    """On a line a flow keeps the order, so the noise of an image is the normal quantile of the
    share of images that are darker.
    """
    images = torch.arange(20, 240).to(torch.uint8).view(-1, 1, 1, 1)
    mixture, x = TwoGreys.mixture, uint8_to_signed(images).flatten().double()
    std = mixture.covariances.flatten().sqrt()
    shares = mixture.shares * torch.special.ndtr((x[:, None] - mixture.means[:, 0]) / std)
    exact = torch.special.ndtri(shares.sum(1))
    coarse, fine = (
        (inverted(TwoGreys(), images, num_steps=steps).flatten() - exact).abs().max().item()
        for steps in (50, 500)
    )
    assert fine < 0.02 and coarse > 5 * fine


def test_walks_go_both_ways():
    z, field = normal(3), velocity_field(GaussianFlow())
    there = euler_walk(field, z, time_grid(2000))
    torch.testing.assert_close(there, STD * z, atol=0.01, rtol=0)


def tiny_diffusion(**settings):
    torch.manual_seed(0)
    config = DiffusionConfig(channels=(8, 8), embed_dim=8, attention=False, **settings)
    return Diffusion(config).eval()


def test_the_course_model_and_a_module_of_the_same_network_are_one_flow():
    model = tiny_diffusion(num_steps=20, guidance_scale=1.0)
    module = model.network
    module.num_classes = 10
    x, t, labels = normal(4), torch.full((4,), 0.4), torch.tensor([0, 3, 9, 9])
    for given in (None, labels):
        torch.testing.assert_close(
            velocity_field(model, given)(x, t), velocity_field(module, given)(x, t)
        )
    noise = 0.1 * normal(4)
    module_images = drawn_from(module, noise, labels).int()
    assert (drawn_from(model, noise, labels).int() - module_images).abs().max() <= 1


def test_the_guided_flow_is_that_of_the_sampler():
    model = tiny_diffusion(guidance_scale=3.0, guidance_interval=(0.3, 0.6))
    x, labels = normal(4), torch.tensor([0, 3, 9, 9])
    for time in (0.4, 0.7):
        t = torch.full((4,), time)
        x0 = model.denoiser(labels, clamp=False)(x, t)
        expected = (x - x0) / time
        found = velocity_field(model, labels, guided=True)(x, t)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        same = torch.allclose(found, velocity_field(model, labels)(x, t), atol=1e-4)
        assert same == (time == 0.7)


def test_models_without_this_flow_are_refused():
    with pytest.raises(CourseError, match="schedule: expected 'flow', got 'cosine'"):
        velocity_field(tiny_diffusion(schedule="cosine"))
    with pytest.raises(CourseError, match="num_classes, got Linear without"):
        velocity_field(nn.Linear(1, 1))
    with pytest.raises(CourseError, match="deterministic"):
        drawn_from(tiny_diffusion(sampler="ddpm"), normal(1), torch.tensor([1]))


def test_attacks_change_images_and_keep_their_kind(strokes):
    found = attacks()
    assert list(found)[0] == "none" and "drawn again" not in found
    for name, attack in found.items():
        changed = attack(strokes.test_images[:5])
        assert changed.dtype == torch.uint8 and changed.shape == (5, *SHAPE)
        assert torch.equal(changed, strokes.test_images[:5]) == (name == "none"), name
    again = attacks(tiny_diffusion())["drawn again"](strokes.test_images[:2])
    assert again.dtype == torch.uint8 and again.shape == (2, *SHAPE)


def test_a_crop_enlarges_the_middle():
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    image[..., 2:26, 2:26] = 200  # a frame that is cut away
    assert (cropped(image) == 200).all() and torch.equal(cropped(image, 0), image)
    with pytest.raises(CourseError, match="num_px: expected 0 to 13"):
        cropped(image, 14)


def test_jpeg_loses_less_at_a_higher_quality_and_takes_colours(strokes):
    images = strokes.test_images[:3]
    errors = [
        (as_jpeg(images, quality).float() - images).square().mean().item() for quality in (10, 90)
    ]
    assert errors[0] > 4 * errors[1] > 0
    assert as_jpeg(images.repeat(1, 3, 1, 1)).shape == (3, 3, 28, 28)


def test_the_study_finds_keys_where_they_are(strokes, monkeypatch):
    rows = provenance_study(
        GaussianFlow(),
        strokes,
        num_keys=3,
        images_per_key=20,
        chosen={"none": torch.clone, "erased": torch.zeros_like},
        num_steps=20,
        null_keys=199,
    )
    found = {(row.images, row.attack): row for row in rows}
    assert list(found) == [
        ("marked", "none"), ("marked", "erased"), ("unmarked", "none"), ("real", "none"),
    ]  # fmt: skip
    assert found["marked", "none"].rate == 1 and found["marked", "none"].score > 5
    for kind in (("marked", "erased"), ("unmarked", "none"), ("real", "none")):
        assert found[kind].rate < 0.2
    assert found["unmarked", "none"].median_p == pytest.approx(0.5, abs=0.25)
    assert all((row.num_keys, row.num_images) == (3, 60) for row in rows)
    assert found["marked", "none"].measurement.num_seeds == 3
    kept = [{"part": "rates", **row.as_dict()} for row in rows] + [{"part": "quality"}]
    monkeypatch.setattr(provenance, "shipped_rows", lambda *_: kept)
    assert saved_provenance("strokes") == rows
    cells = provenance_cells(rows)[0]
    assert cells["images"] == "marked" and cells["images, keys"] == "60, 3"
    assert cells["found at p <= 0.01"] == "1.00 ± 0.02"


@pytest.mark.parametrize(
    "options, words",
    [
        ({"knowledge": "all"}, "knowledge: expected 'no label'"),
        ({"num_keys": 1}, "num_keys: expected at least 2"),
        ({"images_per_key": 1000}, "num_keys: expected at most 200 test images"),
    ],
)
def test_a_study_that_cannot_be_is_refused(strokes, options, words):
    with pytest.raises(CourseError, match=words):
        provenance_study(GaussianFlow(), strokes, **options)


def test_quality_is_compared_key_by_key(strokes, monkeypatch):
    quarters = Extractor("quarters", lambda x: x.float().unflatten(2, (2, 14)).mean((1, 3, 4)), 2)
    monkeypatch.setattr(provenance, "find_extractor", lambda *_: Features(quarters, None))
    (row,) = quality_with_key(GaussianFlow(), strokes, num_keys=3, images_per_key=30)
    assert row.metric == "FID" and row.marked.num_seeds == row.unmarked.num_seeds == 3
    assert row.marked.num_images == 30 and row.marked.size_matters
    expected = row.marked.value - row.unmarked.value
    assert row.verdict.difference == pytest.approx(expected)
    assert row.verdict.limit == pytest.approx(4.30, abs=0.01)  # two degrees of freedom
    (kept,) = quality_rows([row])
    assert kept["with a key"] == row.marked.number and kept["verdict"] == row.verdict.text
    with pytest.raises(CourseError, match="images_per_key: expected at most 200"):
        quality_with_key(GaussianFlow(), strokes, images_per_key=300)


def test_signed_and_uint8_images_meet():
    """The inversion starts at the image's own values."""
    images = torch.randint(256, (2, *SHAPE), generator=make_rng(0)).to(torch.uint8)

    class Still(GaussianFlow):
        def forward(self, xt, t, labels):
            return torch.zeros_like(xt)

    assert torch.equal(inverted(Still(), images), uint8_to_signed(images))


def test_one_key_makes_images_alike_and_fresh_keys_do_not(strokes, monkeypatch):
    """The mean of a set of marked noise is seen by a feature that fresh keys leave as it is."""
    seen = []

    def drawn(model, noise, labels):
        seen.append(noise)
        return signed_to_uint8((STD * noise).clamp(-1, 1))

    halves = Extractor("halves", lambda x: x.float().unflatten(2, (2, 14)).mean((1, 3, 4)), 2)
    monkeypatch.setattr(provenance, "find_extractor", lambda *_: Features(halves, None))
    monkeypatch.setattr(provenance, "drawn_from", drawn)
    for fresh in (False, True):
        quality_with_key(GaussianFlow(), strokes, num_keys=2, images_per_key=100, fresh=fresh)
    size = [noise.mean(0).abs().mean().item() for noise in seen]
    one_key, plain, fresh_keys = size[0], size[1], size[4]
    assert one_key == pytest.approx(math.sqrt(2 / math.pi), abs=0.02)
    assert plain == pytest.approx(math.sqrt(2 / math.pi) / 10, abs=0.02)
    assert fresh_keys == pytest.approx(plain, abs=0.02)


def test_the_shipped_rows_can_be_read():
    rows = saved_provenance("strokes")
    plain = {(row.images, row.attack): row for row in rows if row.reach_px == 0}
    assert plain["marked", "none"].rate > 0.8 > 0.1 > plain["marked", "blur 1 px"].rate
    for kind in ("unmarked", "real"):
        assert plain[kind, "none"].rate < LEVEL + 3 * plain[kind, "none"].error
