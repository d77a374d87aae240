"""The film of a training: kept with the run, the same after a cut, and without any effect on what
is learned.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from materials import same_weights
from PIL import Image
from toys import Stop, stop_after

from course_utils.base.config import override
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8
from course_utils.models.classifier import ClassifierConfig
from course_utils.plotting import training_film
from course_utils.training import fit as loop
from course_utils.training.film import FILM, MOMENTS, NUM_IMAGES, Camera, film_sheet, frames_of
from course_utils.training.fit import fit
from course_utils.training.registry import build
from course_utils.training.runs import FILM_PICTURE, RECORD, load_run, pretrained, run


@pytest.fixture
def filmed(tiny_vae, monkeypatch):
    """A tiny experiment whose 12 steps are enough for a film."""
    monkeypatch.setattr(loop, "MIN_STEPS", 12)
    return tiny_vae


def drawn_by(model, seed):
    rng = make_rng(seed, FILM)
    return signed_to_uint8(model.eval().sample(NUM_IMAGES, rng=rng).detach())


def test_film_starts_with_the_untrained_model_and_ends_with_the_trained_one(
    filmed, dataset, tmp_path
):
    trained = run(filmed, dataset, tmp_path / "run")
    assert trained.film.frames.shape == (len(MOMENTS), NUM_IMAGES, 1, 28, 28)
    assert trained.film.steps[0] == 0 and trained.film.steps[-1] == 12
    assert list(trained.film.steps) == sorted(trained.film.steps)
    experiment = filmed.fitted_to(dataset)
    assert torch.equal(trained.film.frames[0], drawn_by(build(experiment.model, 0), 0))
    assert torch.equal(trained.film.frames[-1], drawn_by(trained.model.cpu(), 0))
    assert not torch.equal(trained.film.frames[0], trained.film.frames[-1])


def test_loaded_run_shows_the_film_of_its_training(filmed, dataset, tmp_path):
    trained = run(filmed, dataset, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert torch.equal(loaded.film.frames, trained.film.frames)
    assert loaded.film.steps == trained.film.steps
    animation = training_film(*loaded.film)
    assert 3 <= animation.num_frames <= len(MOMENTS)
    assert "from step 0 to step 12" in animation.alt_text


@pytest.mark.parametrize("changes", [{}, {"train.ema_decay": 0.9}], ids=str)
def test_camera_changes_nothing_that_is_learned(filmed, dataset, changes):
    experiment = override(filmed, changes).fitted_to(dataset)
    models = [build(experiment.model, 0) for _ in range(2)]
    histories = [
        fit(model, dataset, experiment.train, camera=camera)
        for model, camera in zip(models, (None, Camera(0, dataset.image_shape)))
    ]
    assert same_weights(*models)
    assert histories[0].select("loss") == histories[1].select("loss")


def test_training_that_was_cut_off_has_the_film_of_one_that_was_not(filmed, dataset, tmp_path):
    whole = run(filmed, dataset, tmp_path / "whole")
    with pytest.raises(Stop):
        run(filmed, dataset, tmp_path / "cut", on_epoch=stop_after(2))
    resumed = run(filmed, dataset, tmp_path / "cut")
    assert torch.equal(resumed.film.frames, whole.film.frames)
    assert resumed.film.steps == whole.film.steps


def test_film_orders_one_image_of_each_class(filmed, dataset):
    """A model that takes labels draws one image of each class, again and again."""

    class Labelled(torch.nn.Module):
        takes_labels, device = True, torch.device("cpu")
        config = type("Config", (), {"num_classes": 4})
        asked: list[int]

        def sample(self, n, *, labels, rng):
            self.asked = labels.tolist()
            return torch.zeros(n, 1, 28, 28)

    model = Labelled()
    Camera(0, dataset.image_shape).watch(model, 0, -1.0, 0.0)
    assert model.asked == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_models_that_cannot_draw_and_short_trainings_have_no_film(
    tiny_vae, tiny_classifier, dataset, tmp_path
):
    assert run(tiny_vae, dataset, tmp_path / "short").film is None  # 12 steps
    assert not (tmp_path / "short" / FILM_PICTURE).exists()
    longer = replace(tiny_classifier.train, num_epochs=25)  # 100 steps
    assert isinstance(tiny_classifier.model, ClassifierConfig)
    trained = run(replace(tiny_classifier, train=longer), dataset, tmp_path / "classifier")
    assert trained.film is None


@pytest.mark.parametrize("content", [b"", b"not a picture"], ids=["empty", "text"])
def test_damaged_film_is_named(filmed, dataset, tmp_path, content):
    run(filmed, dataset, tmp_path / "run")
    (tmp_path / "run" / FILM_PICTURE).write_bytes(content)
    with pytest.raises(CourseError, match=r"film.png: cannot be read as PNG.*delete it"):
        load_run(tmp_path / "run")
    (tmp_path / "run" / FILM_PICTURE).unlink()
    assert load_run(tmp_path / "run").film is None


def test_film_of_another_size_is_refused(filmed, dataset, tmp_path):
    run(filmed, dataset, tmp_path / "run")
    Image.new("L", (281, 336)).save(tmp_path / "run" / FILM_PICTURE)
    with pytest.raises(CourseError, match="expected a picture of 12 rows of 10 images"):
        load_run(tmp_path / "run")


def test_sheet_and_frames_are_each_other_s_inverse():
    frames = torch.randint(0, 256, (3, 4, 3, 5, 6), dtype=torch.uint8)
    sheet = film_sheet(frames)
    assert sheet.shape == (3, 15, 24)
    assert torch.equal(sheet[:, 5:10, 12:18], frames[1, 2])
    assert torch.equal(frames_of(sheet, 3, 4), frames)


def test_record_tells_the_steps(filmed, dataset, tmp_path):
    run(filmed, dataset, tmp_path / "run")
    assert '"film_steps"' in (tmp_path / "run" / RECORD).read_text(encoding="utf-8")


@pytest.mark.parametrize("family", ["vae", "dcgan", "diffusion", "student"])
@pytest.mark.parametrize("data", ["strokes", "mnist"])
def test_a_shipped_film_ends_with_what_the_shipped_weights_draw(family, data):
    shipped = pretrained(family, data)
    model, labels = shipped.model.cpu(), torch.arange(NUM_IMAGES)
    rng = make_rng(shipped.experiment.seed, FILM)
    drawn = model.sample(NUM_IMAGES, labels=labels if model.takes_labels else None, rng=rng)
    last = shipped.film.frames[-1].float()
    # the weights were rounded to float16 after the last frame had been drawn
    apart = (signed_to_uint8(drawn.detach()).float() - last).abs().mean().item()
    others = (shipped.film.frames[-1].roll(1, 0).float() - last).abs().mean().item()
    assert apart < 0.005 * others  # that of the VAE trained by another torch: 0.013 and 0.015
    assert len(shipped.film.steps) == len(MOMENTS) and shipped.film.steps[0] == 0
