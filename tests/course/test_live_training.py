"""LiveTraining: when it draws, that one output remains, what it keeps, and what it refuses. A clock
stands still except where a test moves it.
"""

from __future__ import annotations

import base64
import io
import re
import types

import numpy
import pytest
import torch
from PIL import Image

from course_utils import notebook
from course_utils.base.errors import CourseError
from course_utils.notebook import LiveTraining
from course_utils.plotting.canvas import attached_text


class Screen:
    """What a front end would show: outputs in their order, updated in place."""

    def __init__(self) -> None:
        self.outputs: list[tuple[dict, dict | None]] = []
        self.texts: list[str] = []  # of every picture that stood there, one after the other

    def display(self, bundle, metadata=None, raw=False, display_id=None):
        assert raw
        self.outputs.append((bundle, metadata))
        if display_id is None:
            return None
        self.texts.append(metadata["image/png"]["alt"])
        place = len(self.outputs) - 1

        def update(bundle, metadata=None, raw=False):
            assert raw
            self.outputs[place] = (bundle, metadata)
            self.texts.append(metadata["image/png"]["alt"])

        return types.SimpleNamespace(update=update)

    @property
    def steps(self) -> list[int]:
        """At which the view was drawn."""
        return [int(re.match(r"Step ([\d,]+) of", text)[1].replace(",", "")) for text in self.texts]


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("IPython.display.display", screen.display)
    monkeypatch.setattr(notebook, "_in_notebook", lambda: True)
    return screen


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(notebook, "time", types.SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def grey(level: int, num: int = 4) -> torch.Tensor:
    return torch.full((num, 1, 4, 4), level, dtype=torch.uint8)


def train(live: LiveTraining, clock, num_steps: int, seconds: float, draw=None) -> None:
    for step in range(1, num_steps + 1):
        clock.now += seconds
        live.step({"loss": 100.0 / step}, images=draw)


def test_it_draws_the_first_step_then_after_two_seconds_at_a_multiple(screen, clock):
    with LiveTraining(100, every=10) as live:
        train(live, clock, 100, 1 / 16)
    # 2 s are 32 steps: step 33 is the first that is late enough, step 40 the next multiple
    assert screen.steps == [1, 40, 80, 100]
    assert screen.texts[1].startswith("Step 40 of 100, 2 s, about 4 s left. ")
    assert screen.texts[-1].startswith("Step 100 of 100, 6 s. ")


def test_dear_pictures_are_drawn_less_often(screen, clock):
    def draw():
        clock.now += 3 / 8
        return grey(0)

    with LiveTraining(220, every=1) as live:
        train(live, clock, 220, 1 / 8, draw)
    # two pictures show what one costs: 3/8 s are a 32nd of 12 s, which are 96 steps
    assert screen.steps == [1, 17, 113, 209, 220]


def test_one_picture_remains_with_its_text_and_the_final_state(screen, clock):
    with LiveTraining(30, every=10, ylabel="loss (nats)") as live:
        train(live, clock, 30, 1.0, lambda: grey(200))
    (picture, about), (words, _) = screen.outputs
    assert len(screen.texts) == 5 and set(about) == {"image/png"}
    alt = about["image/png"]["alt"]
    assert alt == picture["text/plain"] and alt in words["text/plain"]
    assert "loss (nats) over step: loss from 100 at 1 to 3.33 at 30." in alt
    assert "grid of 4 images, 2 rows of 2." in alt
    image = Image.open(io.BytesIO(base64.b64decode(picture["image/png"]))).convert("L")
    assert 600 <= about["image/png"]["width"] <= 700
    assert (numpy.asarray(image) == 200).sum() > 5000  # pixels of the images


def test_finish_draws_once_and_no_step_comes_after_it(screen, clock):
    live = LiveTraining(5)
    with pytest.raises(CourseError, match=r"finish\(\): expected at least one step"):
        live.finish()
    live.step({"loss": 1.0})
    live.finish()
    live.finish()
    assert screen.steps == [1, 1] and len(screen.outputs) == 2
    with pytest.raises(CourseError, match="expected no step after finish"):
        live.step({"loss": 1.0})


def test_an_error_in_the_loop_passes_through_and_leaves_the_picture(screen, clock):
    with pytest.raises(ZeroDivisionError):
        with LiveTraining(10, every=1) as live:
            train(live, clock, 3, 3.0, lambda: grey(9))
            raise ZeroDivisionError
    assert screen.steps == [1, 2, 3] and len(screen.outputs) == 1
    assert attached_text(live.film()).startswith("Film of a training in 3 frames, from step 1")


def frames_of(film) -> list[int]:
    picture = Image.open(io.BytesIO(film.data))
    levels = []
    for index in range(1, picture.n_frames):  # the first one is the still picture
        picture.seek(index)
        levels.append(int(numpy.asarray(picture.convert("L"))[8, 8]))
    return levels


def test_the_film_has_the_images_from_the_first_to_the_last(screen, clock):
    levels = iter(range(0, 255, 5))
    with LiveTraining(40, every=10) as live:
        train(live, clock, 40, 1.0, lambda: grey(next(levels)))
    film = live.film(scale=2)
    # steps 1, 10, 20, 30 and 40, whose images are not drawn again at the end
    assert film.num_frames == 5 and frames_of(film) == [0, 5, 10, 15, 20]
    assert (film.width, film.height) == (28, 28)
    assert attached_text(film) == (
        "Film of a training in 5 frames, from step 1 to step 40: grid of 4 images, 2 rows of 2."
    )


def test_a_film_of_large_images_shows_fewer_of_them(screen, clock):
    noise = torch.randint(0, 256, (16, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    live = LiveTraining(1)
    live.step({"loss": 1.0}, images=lambda: noise.to(torch.uint8))
    film = live.film()
    assert len(film.data) <= 250_000
    assert film.alt_text.endswith("grid of 4 images, 2 rows of 2.")


def test_a_long_training_keeps_few_frames_and_both_ends(monkeypatch, clock):
    monkeypatch.setattr(notebook, "_in_notebook", lambda: False)
    with LiveTraining(200, every=1) as live:
        train(live, clock, 200, 3.0, lambda: grey(min(255, live._step)))
    assert len(live._frames) <= 48
    film = live.film()
    assert film.num_frames <= 24 and "from step 1 to step 200" in attached_text(film)
    levels = frames_of(film)
    assert levels[0] == 1 and levels[-1] == 200 and levels == sorted(set(levels))


def test_a_short_training_has_a_film_too_and_one_without_images_has_none(screen, clock):
    short = LiveTraining(1)
    short.step({"loss": 1.0}, images=lambda: grey(7))
    assert short.film().num_frames == 3
    blind = LiveTraining(1)
    blind.step({"loss": 1.0})
    with pytest.raises(CourseError, match=r"film\(\): expected a training that showed images"):
        blind.film()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(4, 4), r"images: expected images of shape \[N, C, H, W\] .* got \[4, 4\]"),
        (torch.full((1, 1, 4, 4), 255.0), r"images: expected images in \[-1, 1\], got values from"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.int64), "images: expected float images"),
        (torch.zeros(1, 2, 4, 4), r"images: expected images of shape \[N, C, H, W\]"),
        (torch.zeros(0, 1, 4, 4), "images: expected a tensor of images .* got none"),
        ([1, 2], "images: expected a tensor of images .* got list"),
    ],
)
def test_other_images_are_refused(images, message, screen, clock):
    with pytest.raises(CourseError, match=message):
        LiveTraining(3).step({"loss": 1.0}, images=lambda: images)


def test_images_of_another_number_are_refused(screen, clock):
    live = LiveTraining(3, every=1)
    live.step({"loss": 1.0}, images=lambda: grey(0))
    clock.now += 9
    with pytest.raises(CourseError, match=r"images: expected the shape .*\[4, 1, 4, 4\], got \[5,"):
        live.step({"loss": 1.0}, images=lambda: grey(0, num=5))


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({}, "losses: expected"),
        ({"loss": torch.ones(2)}, "losses: expected one number for 'loss', got Tensor"),
        ({"loss": "high"}, "losses: expected one number for 'loss', got str"),
    ],
)
def test_losses_that_are_no_numbers_are_refused(losses, message, screen, clock):
    with pytest.raises(CourseError, match=message):
        LiveTraining(3).step(losses)


@pytest.mark.parametrize("wrong", [{"num_steps": 0}, {"num_steps": 5, "every": 0}])
def test_settings_below_one_are_refused(wrong):
    with pytest.raises(CourseError, match="expected at least 1, got 0"):
        LiveTraining(**wrong)


def test_drawing_images_changes_neither_random_numbers_nor_gradients(screen, clock):
    weight = torch.ones(1, requires_grad=True)
    seen = []

    def draw():
        images = (weight * torch.rand(4, 1, 4, 4)).clamp(-1, 1)
        seen.append(images.requires_grad)
        return images

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    LiveTraining(3).step({"loss": 2 * weight}, images=draw)
    assert seen == [False] and torch.equal(torch.rand(3), expected)


def test_outside_a_notebook_it_prints_lines_and_keeps_the_frames(monkeypatch, clock, capsys):
    monkeypatch.setattr(notebook, "_in_notebook", lambda: False)
    with LiveTraining(2000, every=1000) as live:
        train(live, clock, 2000, 0.1, lambda: grey(3))
    assert capsys.readouterr().out.splitlines() == [
        "Step 1 of 2,000, 0 s, about 3 min 20 s left: loss 100",
        "Step 1,000 of 2,000, 1 min 40 s, about 1 min 40 s left: loss 0.1",
        "Step 2,000 of 2,000, 3 min 20 s: loss 0.05",
        "Step 2,000 of 2,000, 3 min 20 s: loss 0.05",
    ]
    assert live.film().num_frames == 3


def test_this_process_is_no_notebook():
    assert not notebook._in_notebook()
