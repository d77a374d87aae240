"""Pictures of flows: their numbers, their frames, and what they refuse."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.models.diffusion.flows import path_bends
from course_utils.plotting.canvas import attached_text
from course_utils.plotting.flows import FILM_GAP, FILM_SIDE, WAY, flow_film, flow_paths
from course_utils.studies.flow_toys import walk_points
from course_utils.studies.ring import ring_centres

NOISE = torch.randn(30, 2, generator=make_rng(0))


def turning(x, t):
    return torch.stack([-x[:, 1], x[:, 0]], dim=1) + x * t[:, None]


def straight(x, t):
    return torch.ones_like(x)


WALKS = {"straight": walk_points(straight, NOISE, 12), "turning": walk_points(turning, NOISE, 12)}


def test_the_bend_is_that_of_the_library():
    figure = flow_paths(WALKS, ring_centres())
    bend = path_bends(turning, NOISE, 12).median()
    text = attached_text(figure)
    assert f"turning {bend:.3f}" in text and "straight 0.000" in text and bend > 0.05
    assert figure.axes[1].get_title() == f"turning\nbend {bend:.3f}"
    assert len(figure.axes[0].lines) == 30 + 1


def test_the_film_shows_the_flows_side_by_side():
    film = flow_film(WALKS, ring_centres())
    assert (film.width, film.height) == (2 * (2 * FILM_SIDE + FILM_GAP), 2 * FILM_SIDE)
    picture = Image.open(io.BytesIO(film.data))
    assert picture.n_frames >= film.num_frames >= 3
    ways = []
    for frame in (picture.n_frames - film.num_frames, picture.n_frames - 1):
        picture.seek(frame)
        pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
        ways.append(int((pixels.view(-1, 3) == torch.tensor(WAY)).all(1).sum()))
    assert ways[0] == 0 and ways[1] > 1000  # each point leaves its way behind
    assert "straight, turning" in film.alt_text


@pytest.mark.parametrize("walks", [{}, {"one": NOISE}, {"one": NOISE[None]}])
def test_other_walks_are_refused(walks):
    with pytest.raises(CourseError):
        flow_paths(walks, ring_centres())


def test_films_need_equal_lengths():
    other = {**WALKS, "short": walk_points(straight, NOISE, 5)}
    with pytest.raises(CourseError, match="equally many"):
        flow_film(other, ring_centres())
