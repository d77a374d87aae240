"""Measurements and what they print, the rule for differences, error bars by resampling, and
extractors with their guards.
"""

from __future__ import annotations

import json
import math
import sys
import types

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics import features as inception
from course_utils.metrics.features import (
    Extractor,
    callable_extractor,
    class_probabilities,
    classifier_extractor,
    extract,
    pixel_extractor,
)
from course_utils.metrics.likelihood import LikelihoodBound
from course_utils.metrics.measurement import (
    Difference,
    Measurement,
    bootstrap,
    is_difference_real,
    is_effect_real,
    mean_over_images,
    seed_error,
)


def measured(value: float, error: float, **changes) -> Measurement:
    return Measurement(
        **{"name": "FID", "value": value, "error": error, "num_images": 10_000, **changes}
    )


def test_a_measurement_prints_all_that_it_carries():
    full = measured(4.3123, 0.1234).labelled(extractor="classifier-strokes", dataset="strokes test")
    assert (
        str(full)
        == "FID 4.31 ± 0.12 (10,000 images, features: classifier-strokes, against strokes test)"
    )
    assert (
        str(measured(4.3123, math.nan, note="few images"))
        == "FID 4.312 (10,000 images, few images)"
    )
    assert json.loads(json.dumps(full.as_dict(), allow_nan=False))["error"] == 0.1234
    assert measured(1, math.nan).as_dict()["error"] is None


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (106.07, 6.94, "106.1 ± 6.9"),
        (-0.00012, 0.00034, "-0.00012 ± 0.00034"),
        (1.0, 1e-7, "1.00000 ± 0.00000"),
        (1.0, 0.0, "1.00000 ± 0.00000"),
        (1234.5, 321.0, "1234 ± 321"),
        (0.0, 0.0, "0.00 ± 0.00"),
    ],
)
def test_two_digits_of_the_error_are_shown(value, error, text):
    assert measured(value, error).number == text


@pytest.mark.parametrize(
    ("difference", "real"), [(0.0, False), (1.9 * 5, False), (2.0 * 5, True), (-2.0 * 5, True)]
)
def test_a_difference_is_real_beyond_1_96_standard_errors(difference, real):
    verdict = is_difference_real(measured(50 + difference, 3.0), measured(50, 4.0))
    assert (verdict.real, bool(verdict), verdict.error) == (real, real, 5.0)
    assert (
        verdict.difference == difference
        and ("real" if real else "within the noise") in verdict.text
    )
    assert (
        is_difference_real(measured(50 + difference, 3.0), measured(50, 4.0), num_errors=3.0).real
        is False
    )


def test_independent_normal_measurements_differ_in_5_percent():
    rng = make_rng(1)
    values = torch.randn(2000, 2, generator=rng, dtype=torch.float64)
    alarms = sum(
        is_difference_real(measured(a, 1.0), measured(b, 1.0)).real for a, b in values.tolist()
    )
    assert 0.035 < alarms / 2000 < 0.065


def test_bootstrap_of_a_mean_is_its_standard_error():
    x = torch.randn(500, 1, generator=make_rng(0), dtype=torch.float64)
    error = bootstrap(lambda rows: rows.mean().item(), x, num_rounds=400, rng=make_rng(1))
    assert error == pytest.approx(x.std().item() / 500**0.5, rel=0.12)
    both = bootstrap(
        lambda a, b: (a.mean() - b.mean()).item(), x, x, num_rounds=400, rng=make_rng(1)
    )
    assert both == pytest.approx(2**0.5 * x.std().item() / 500**0.5, rel=0.12)


def test_seed_error_is_the_error_of_the_mean():
    assert seed_error([1.0, 2.0, 3.0]) == pytest.approx((2.0, 1 / 3**0.5))


def test_a_likelihood_bound_is_a_measurement_too():
    bound = LikelihoodBound(torch.tensor([-98.0, -102.0]), 50).measurement()
    assert str(bound) == "log p(x) bound, k = 50 -100.0 ± 2.0 (2 images)"


IMAGES = torch.arange(6 * 1 * 4 * 4, dtype=torch.uint8).reshape(6, 1, 4, 4)


@pytest.mark.parametrize("batch_size", [1, 4, 500])
def test_extract_hands_over_the_range_that_the_function_expects(batch_size):
    for name, low, high in (
        ("uint8", 0, 95),
        ("unit", 0, 95 / 255),
        ("signed", -1, 2 * 95 / 255 - 1),
    ):
        features = extract(
            callable_extractor(lambda images: images.flatten(1).float(), "mine", name),
            IMAGES,
            batch_size,
        )
        assert (
            features.shape == (6, 16)
            and features.dtype == torch.float64
            and features.device.type == "cpu"
        )
        assert (features.min().item(), features.max().item()) == pytest.approx(
            (low, high), abs=1e-6
        )


def test_pixels_are_features_in_unit_range():
    torch.testing.assert_close(
        extract(pixel_extractor(), IMAGES), IMAGES.flatten(1).double() / 255, atol=1e-7, rtol=0
    )


class FakeClassifier:
    """What a classifier looks like to an extractor."""

    device = torch.device("cpu")
    training = False

    def features(self, images):
        assert images.min() >= -1 and images.is_floating_point()
        return images.flatten(1)[:, :3]

    def probabilities(self, images):
        return images.flatten(1)[:, :5].softmax(1)


def test_a_classifier_gives_features_and_probabilities():
    assert extract(classifier_extractor(FakeClassifier(), "fake"), IMAGES).shape == (6, 3)
    torch.testing.assert_close(
        class_probabilities(FakeClassifier(), IMAGES).sum(1),
        torch.ones(6, dtype=torch.float64),
        atol=1e-6,
        rtol=0,
    )


def in_training_mode():
    classifier = FakeClassifier()
    classifier.training = True
    return classifier


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: extract(pixel_extractor(), IMAGES.float() / 255),
            "expected uint8 images .*, got torch.float32",
        ),
        (lambda: extract(pixel_extractor(), IMAGES[:1]), "expected at least 2 images, got 1"),
        (lambda: extract(pixel_extractor(), IMAGES[0]), r"expected images of shape \[N, C, H, W\]"),
        (
            lambda: extract(pixel_extractor(), IMAGES, 0),
            "batch_size: expected a whole number at least 1, got 0",
        ),
        (
            lambda: extract(callable_extractor(lambda x: x.float(), "mine"), IMAGES),
            r"mine: expected features of shape \[6, D\], got \[6, 1, 4, 4\]",
        ),
        (
            lambda: extract(callable_extractor(lambda x: x[:1].flatten(1), "mine"), IMAGES),
            r"expected features of shape \[6, D\], got \[1, 16\]",
        ),
        (
            lambda: extract(Extractor("mine", lambda x: x.flatten(1), dim=3), IMAGES),
            r"expected features of shape \[6, 3\], got \[6, 16\]",
        ),
        (
            lambda: extract(callable_extractor(lambda x: x.flatten(1) * math.nan, "mine"), IMAGES),
            "mine: expected finite features, got NaN",
        ),
        (
            lambda: callable_extractor("name", "mine"),
            "function: expected something to call with images, got str",
        ),
        (
            lambda: callable_extractor(len, "mine", "byte"),
            "unknown pixel range 'byte'; valid: signed, uint8, unit",
        ),
        (
            lambda: classifier_extractor(in_training_mode()),
            "expected a classifier in evaluation mode",
        ),
        (
            lambda: class_probabilities(in_training_mode(), IMAGES),
            "expected a classifier in evaluation mode",
        ),
        (
            lambda: is_difference_real(measured(1, 1), measured(1, 1, name="KID")),
            "with one name, got 'FID' and 'KID'",
        ),
        (
            lambda: is_difference_real(measured(1, 1), measured(1, 1, extractor="pixels")),
            "with one extractor, got '' and 'pixels'",
        ),
        (
            lambda: is_difference_real(measured(1, 1), measured(1, 1, dataset="mnist")),
            "with one dataset",
        ),
        (
            lambda: is_difference_real(measured(1, 1), measured(1, math.nan)),
            "expected two measurements with error bars, got 1.0 ± 1.0 and 1;",
        ),
        (
            lambda: is_difference_real(measured(1, 1), measured(1, 1), num_errors=0),
            "num_errors: expected a number above 0",
        ),
        (
            lambda: is_difference_real(
                measured(1, 1, size_matters=True), measured(1, 1, num_images=5, size_matters=True)
            ),
            (
                "expected two FID of equal numbers of images, got 10,000 and 5; its bias depends on"
                " the number"
            ),
        ),
        (
            lambda: bootstrap(lambda x: 0.0, torch.zeros(1, 2)),
            "expected at least 2 rows to draw from, got 1",
        ),
        (
            lambda: bootstrap(lambda x: 0.0, torch.zeros(5, 2), num_rounds=1),
            "num_rounds: expected at least 2, got 1",
        ),
        (lambda: seed_error([1.0]), "expected the values of at least 2 seeds, got 1"),
        (lambda: seed_error([1.0, math.nan]), "expected finite values"),
        (
            lambda: inception.inception_extractor("keras"),
            "unknown source of Inception v3 'keras'; valid: torch-fidelity, torchvision",
        ),
    ],
)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()


@pytest.fixture
def stand_ins(monkeypatch, tmp_path):
    """Small modules in the place of torchvision's and torch-fidelity's, whose import takes long or
    which may be missing.
    """
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    class Network(torch.nn.Module):
        def __init__(self, *args, **kwargs):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.fc, self.seen = torch.nn.Linear(1, 1), None

        def forward(self, images):
            self.seen = images
            return self.fc(
                images.mean((1, 2, 3), keepdim=True)[:, :, 0, 0].expand(-1, inception.DIM).float()
            )

    network = Network()
    state = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    weights = types.SimpleNamespace(
        url="https://example.org/inception.pth", get_state_dict=lambda **options: state
    )
    models = types.ModuleType("torchvision.models")
    models.Inception_V3_Weights = types.SimpleNamespace(IMAGENET1K_V1=weights)
    models.inception_v3 = lambda **options: network
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    (tmp_path / "checkpoints").mkdir()
    return types.SimpleNamespace(
        network=network, weights=weights, file=tmp_path / "checkpoints" / "inception.pth"
    )


def test_inception_gets_signed_rgb_images_of_299_pixels(stand_ins):
    stand_ins.file.touch()
    features = extract(inception.inception_extractor(), IMAGES)
    seen = stand_ins.network.seen
    assert features.shape == (6, 2048) and seen.shape == (6, 3, 299, 299)
    assert -1 <= seen.min() < -0.99 and seen.max() == pytest.approx(2 * 95 / 255 - 1, abs=0.01)


def test_inception_without_weights_or_package_says_what_to_do(stand_ins, monkeypatch):
    with pytest.raises(
        CourseError,
        match=(
            "are not in .*inception.pth and COURSE_OFFLINE=1; run once with a network, or use the"
            " course's classifier"
        ),
    ):
        inception.inception_extractor()
    with pytest.raises(
        CourseError,
        match=(
            r"torch_fidelity is not installed; pip install 'generative-images-course\[inception\]'"
        ),
    ):
        inception.inception_extractor("torch-fidelity")
    monkeypatch.setenv("COURSE_OFFLINE", "0")
    stand_ins.weights.get_state_dict = lambda **options: (_ for _ in ()).throw(
        OSError("no route to host")
    )
    with pytest.raises(CourseError, match="cannot be had: no route to host"):
        inception.inception_extractor()


@pytest.mark.parametrize(
    ("difference", "error", "expected"), [(0.0, 0.0, 0.0), (0.5, 0.0, math.inf), (-3.0, 1.5, 2.0)]
)
def test_size_of_a_difference_in_standard_errors(difference, error, expected):
    """No difference is none, also where nothing is noisy."""
    assert Difference(False, difference, error, 1.96, "").num_errors == expected


def test_mean_over_images_and_whether_it_differs_from_zero():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = mean_over_images("gain, nats", values)
    assert found.value == 2.5 and found.num_images == 4
    assert found.error == pytest.approx(values.std().item() / 2)
    assert is_effect_real(found).text == (
        "gain, nats: 2.50 ± 0.65, real (3.9 standard errors, limit 1.96)."
    )
    unsure = is_effect_real(mean_over_images("gain, nats", values - 2.0))
    assert not unsure and "within the noise (0.8 standard errors" in unsure.text
    with pytest.raises(CourseError, match="at least 2 images, got 1"):
        mean_over_images("gain", values[:1])
