"""The metric `nll`: against an exact density, its fixed black and white test images, and the
command line.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from materials import RECORD_VALUES, make_dataset

from course_utils.base.errors import CourseError
from course_utils.base.images import uint8_to_signed
from course_utils.cli.main import main
from course_utils.data.dataset import Dataset
from course_utils.metrics.likelihood import importance_weighted_bound
from course_utils.metrics.measurement import is_difference_real
from course_utils.models.base import Model
from course_utils.models.classifier import ClassifierConfig
from course_utils.models.gaussian import fit_class_gaussians
from course_utils.models.vae import VAEConfig
from course_utils.studies.evaluate import binarised_test_images, negative_log_likelihood
from course_utils.training.history import History
from course_utils.training.registry import build
from course_utils.training.runs import save_run


@pytest.fixture(scope="module")
def small() -> Dataset:
    return make_dataset((1, 8, 8), num_train=200, num_test=60)


@pytest.fixture(scope="module")
def gaussian(small):
    return fit_class_gaussians(small.train_images, small.train_labels, 4, latent_dim=4)


class ClassesAsLatents(Model):
    """The same Gaussian with its class as the latent: q(y | x) is a mixture of the posterior and of
    guessing, so the weights vary.
    """

    family = "test"
    has_likelihood = True

    def __init__(self, gaussian: Model) -> None:
        super().__init__(gaussian.config)
        self.gaussian = gaussian

    def log_weights(
        self, images: torch.Tensor, num_samples: int, *, rng: torch.Generator | None = None
    ) -> torch.Tensor:
        joint = self.gaussian.log_joint(images)
        q = 0.5 * joint.softmax(1) + 0.5 / joint.shape[1]
        # [B, num_samples]
        label = torch.multinomial(q, num_samples, replacement=True, generator=rng)
        return (joint.gather(1, label) - q.gather(1, label).log()).T


def test_exact_models_give_their_own_density(small, gaussian):
    measured = negative_log_likelihood(gaussian, small)
    noisy = (
        uint8_to_signed(small.test_images)
        + (torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(9)) - 0.5) * 2 / 255
    )
    assert measured.value == pytest.approx(-gaussian.log_prob(noisy).mean().item(), abs=1.0)
    assert (
        measured.num_images == 60
        and measured.error > 0
        and "exact" in measured.note
        and measured.dataset == "blobs test"
    )


def test_importance_weights_reach_the_exact_density(small, gaussian):
    exact = -gaussian.log_prob(uint8_to_signed(small.test_images)).mean().item()
    errors = [
        negative_log_likelihood(ClassesAsLatents(gaussian), small, num_draws=k).value - exact
        for k in (1, 400)
    ]
    assert errors[0] > 0.05 and abs(errors[1]) < 0.01
    assert errors[0] < 100  # the first is a bound as well, not another number


def test_a_vae_gets_its_importance_weighted_bound(small):
    model = build(VAEConfig(image_size=8, hidden_dims=(16,), latent_dim=3)).eval()
    values = [negative_log_likelihood(model, small, num_draws=k) for k in (1, 200)]
    elbo = importance_weighted_bound(
        model.log_weights,
        uint8_to_signed(small.test_images),
        500,
        rng=torch.Generator().manual_seed(1),
    )
    assert (
        values[1].value == pytest.approx(-elbo.value, abs=0.05)
        and values[0].value > values[1].value
    )
    assert "k = 200" in values[1].note and "grey" in values[1].note


def test_models_of_black_and_white_pixels_are_judged_on_black_and_white_images(small):
    grey = build(VAEConfig(image_size=8, hidden_dims=(16,), latent_dim=3)).eval()
    binary = build(replace(grey.config, binarisation="dynamic")).eval()
    measured = negative_log_likelihood(binary, small, num_draws=20)
    assert (
        measured.dataset == "blobs test, binarised"
        and "black and white once (seed 0)" in measured.note
    )
    drawn = importance_weighted_bound(
        binary.log_weights, binarised_test_images(small), 20, rng=torch.Generator().manual_seed(1)
    )
    assert measured.value == pytest.approx(
        -drawn.value, abs=4 * measured.error / math.sqrt(20) + 0.2
    )
    # grey and black and white pixels are two tasks
    with pytest.raises(CourseError, match="two measurements with one dataset"):
        is_difference_real(measured, negative_log_likelihood(grey, small, num_draws=20))


def test_the_draw_of_the_test_images_is_part_of_the_protocol(small):
    images = binarised_test_images(small)
    assert torch.equal(images, binarised_test_images(small)) and set(images.unique().tolist()) == {
        -1.0,
        1.0,
    }
    fewer = replace(small, test_images=small.test_images[:25], test_labels=small.test_labels[:25])
    assert torch.equal(binarised_test_images(fewer), images[:25])


def test_equal_seeds_give_equal_numbers(small):
    model = build(VAEConfig(image_size=8, hidden_dims=(16,), latent_dim=3)).eval()
    first, again, other = (
        negative_log_likelihood(model, small, num_draws=3, num_images=20, seed=seed).value
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_error_bar_shrinks_with_the_images(small):
    model = build(VAEConfig(image_size=8, hidden_dims=(16,), latent_dim=3)).eval()
    errors = [
        negative_log_likelihood(model, small, num_draws=3, num_images=num).error for num in (10, 60)
    ]
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_draws": 0}, "k: expected at least 1 importance sample an image, got 0"),
        ({"num_images": 1}, "expected 2 to 60 test images of blobs, got 1"),
        ({"num_images": 61}, "expected 2 to 60 test images of blobs, got 61"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(small, gaussian, options, message):
    with pytest.raises(CourseError, match=message):
        negative_log_likelihood(gaussian, small, **options)


def test_a_classifier_has_no_likelihood(small):
    with pytest.raises(CourseError, match="nll: a classifier gives no likelihood of images"):
        negative_log_likelihood(
            build(ClassifierConfig(image_size=8, channels=(4, 4, 4), feature_dim=8)), small
        )


# The command line


@pytest.fixture
def course(capsys):
    def call(*arguments: object):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def binary_run(tiny_vae, tmp_path):
    experiment = replace(tiny_vae, model=replace(tiny_vae.model, binarisation="dynamic"))
    save_run(tmp_path / "vae", build(experiment.model, 0), experiment, History(), RECORD_VALUES)
    return tmp_path / "vae"


def test_nll_alone_asks_the_model(course, idx_folder, binary_run, tmp_path):
    code, printed, _ = course(
        "evaluate",
        binary_run,
        "--against",
        "mnist",
        "--metrics",
        "nll",
        "--k",
        7,
        "--out",
        tmp_path / "nll.json",
    )
    assert code == 0
    lines = printed.splitlines()
    assert lines[0] == f"{binary_run} on 50 images of mnist test"
    assert lines[2].startswith("NLL ") and " ± " in lines[2] and lines[2].split()[-2:] == ["-", "-"]
    assert (
        "NLL: nats an image, importance-weighted, k = 7, pixels black and white once (seed 0)"
        in printed
    )
    (row,) = json.loads((tmp_path / "nll.json").read_text(encoding="utf-8"))["metrics"]
    assert (
        row["num_images"] == 50
        and row["floor"] is None
        and row["differs_from_real"] is None
        and row["dataset"] == "mnist test, binarised"
    )


def test_nll_stands_beside_metrics_of_samples_and_never_comes_unasked(
    course, idx_folder, binary_run
):
    settings = ("--against", "mnist", "--num", 20, "--features", "pixels")
    code, printed, _ = course("evaluate", binary_run, *settings, "--metrics", "fid,nll", "--k", 3)
    assert code == 0 and [line.split()[0] for line in printed.splitlines()[1:4]] == [
        "metric",
        "FID",
        "NLL",
    ]
    code, printed, _ = course("evaluate", binary_run, *settings)
    assert code == 0 and "NLL" not in printed


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (
            "run",
            ["--metrics", "nll", "--k", "0"],
            "k: expected at least 1 importance sample an image, got 0",
        ),
        (
            "run",
            ["--metrics", "nll", "--num", "51"],
            "expected 2 to 50 test images of mnist, got 51",
        ),
        (
            "run",
            ["--metrics", "fid", "--k", "5"],
            "--k: belongs to the metric nll; add --metrics nll",
        ),
        ("images.npz", ["--metrics", "nll"], "nll: expected a model, got the images of images.npz"),
        ("classifier", ["--metrics", "nll"], "nll: a classifier gives no likelihood of images"),
        ("run", ["--metrics", "nlll"], "unknown metric 'nlll'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_is_answered_by_one_line(
    course, idx_folder, binary_run, tiny_classifier, tmp_path, source, arguments, message
):
    if source == "classifier":
        save_run(
            tmp_path / "judge",
            build(tiny_classifier.model, 0),
            tiny_classifier,
            History(),
            RECORD_VALUES,
        )
    path = {"run": binary_run, "classifier": tmp_path / "judge"}.get(source, source)
    code, out, err = course("evaluate", path, "--against", "mnist", *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and message in err, err
