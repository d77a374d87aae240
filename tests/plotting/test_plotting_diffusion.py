"""Figures and animations of diffusion show what they were given."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from course_utils.base.errors import CourseError
from course_utils.models.diffusion.schedules import make_schedule
from course_utils.plotting import diffusion as charts
from course_utils.plotting.canvas import animate, still_frames

T = torch.linspace(0, 1, 21, dtype=torch.float64)
CURVES = {
    name: (s.alpha(T), s.sigma(T), s.log_snr(T))
    for name in ("flow", "linear")
    for s in [make_schedule(name)]
}
XTS = [torch.full((2, 1, 4, 4), value) for value in (-2.0, -0.5, 0.0, 0.5, 1.0)]
TIMES = [1.0, 0.75, 0.5, 0.25, 0.0]
VALUES = ([4.0, 2.0, 1.5], [0.2, 0.1, 0.1])
GRID = torch.cartesian_prod(torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 5))

EVERY = {
    "schedule_curves": lambda: charts.schedule_curves(T, CURVES),
    "film_strip": lambda: charts.film_strip(XTS, TIMES, ["a", "b"], num_columns=3),
    "against_calls": lambda: charts.against_calls(
        [5, 10, 20], {"Euler": VALUES, "Heun": VALUES}, "FID", (1.0, 0.05)
    ),
    "trade_off": lambda: charts.guidance_trade_off(
        [1, 2, 4], VALUES, ([0.9, 0.95, 1.0], [0.01] * 3), "FID", "agreement", (1.0, 0.99)
    ),
    "score_field": lambda: charts.score_field(GRID, -GRID, [GRID, 0.5 * GRID], GRID),
}


@pytest.mark.parametrize("name", EVERY)
def test_figure_can_be_drawn(name):
    stream = io.BytesIO()
    EVERY[name]().savefig(stream, format="png", dpi=30)
    assert stream.getvalue().startswith(b"\x89PNG")


def test_schedule_curves_leave_out_what_is_infinite():
    panels = EVERY["schedule_curves"]().axes
    flow, linear = panels[2].lines
    assert (
        len(flow.get_xdata()) == 19
        and len(linear.get_xdata()) == 20
        and len(panels[0].lines[0].get_xdata()) == 21
    )
    assert flow.get_linestyle() != linear.get_linestyle()


def test_film_strip_shows_the_first_and_the_last_frame():
    axes = EVERY["film_strip"]().axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "t = 1.00",
        "t = 0.50",
        "t = 0.00",
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    sheet = axes.images[0].get_array()
    assert sheet[4, 4] == 0 and sheet[4, 10] == 128 and sheet[4, 16] == 255, (
        "noise beyond the range is cut off"
    )
    assert (
        charts.film_frames(21, 6) == [0, 4, 8, 12, 16, 20]
        and charts.film_frames(3, 8) == [0, 1, 2]
        and charts.film_frames(1, 8) == [0]
    )


def test_bars_reach_two_errors():
    axes = EVERY["against_calls"]().axes[0]
    low, high = axes.containers[0][2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((3.6, 4.4))
    assert axes.get_xscale() == axes.get_yscale() == "log" and [
        tick.get_text() for tick in axes.get_xticklabels()
    ] == ["5", "10", "20"]
    band = axes.patches[0]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.9, 1.1))


def test_the_axis_of_a_metric_has_ticks_and_ends_near_its_values():
    """Bars that reach below 0 do not stretch it, and less than a factor of ten has ticks too."""
    axes = charts.against_calls([1, 2], {"Euler": ([4.0, 3.0], [0.1, 2.0])}, "FID").axes[0]
    low, high = axes.get_ylim()
    assert low == pytest.approx(1.5) and high > 4
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2


def test_trade_off_marks_each_point_with_its_scale():
    axes = EVERY["trade_off"]().axes[0]
    assert [(text.get_text(), text.xy) for text in axes.texts] == [
        ("1", (4.0, 0.9)),
        ("2", (2.0, 0.95)),
        ("4", (1.5, 1.0)),
    ]
    across, up = (bars.get_segments()[0] for bars in axes.containers[0][2])
    assert across[:, 0].tolist() == pytest.approx([3.6, 4.4]) and up[
        :, 1
    ].tolist() == pytest.approx([0.88, 0.92])


def test_arrows_point_along_the_score_and_have_one_length():
    axes = EVERY["score_field"]().axes[0]
    arrows = axes.collections[1]
    # at (-1, -1), towards 0
    assert arrows.U[0] == pytest.approx(2**-0.5, abs=1e-5) and arrows.V[0] == pytest.approx(
        2**-0.5, abs=1e-5
    )
    assert axes.lines[0].get_xydata().tolist() == [[-1, -1], [-0.5, -0.5]]


def frames(num=9, size=6):
    rng = torch.Generator().manual_seed(0)
    return [
        torch.randint(256, (1, size, size), generator=rng, dtype=torch.uint8) for _ in range(num)
    ]


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_animation_plays_every_frame_in_order(kind):
    given = frames()
    result = animate(given, 1.6, kind=kind, scale=2)
    picture = Image.open(io.BytesIO(result.data))
    first = 1 if kind == "png" else 0  # a PNG holds the still picture before its frames
    assert picture.n_frames - first == result.num_frames == 9 and picture.size == (
        result.width,
        result.height,
    ) == (12, 12)
    assert result.mime_type == f"image/{kind}"
    for index, frame in enumerate(given):
        picture.seek(first + index)
        pixels = torch.tensor(list(picture.convert("L").tobytes())).view(12, 12)
        assert (pixels[::2, ::2] - frame[0].long()).abs().max() <= 2
        assert picture.info["duration"] == (1500 if index == 8 else 200)


def test_the_still_picture_is_the_last_frame():
    given = frames()
    still = Image.open(io.BytesIO(animate(given, scale=1).data)).convert("L")
    assert still.tobytes() == bytes(given[-1].flatten().tolist())


def test_an_animation_shrinks_until_it_fits_and_keeps_its_end():
    given = frames(33, 16)
    whole = animate(given, scale=1)
    smaller = animate(given, scale=1, max_bytes=len(whole.data) // 3)
    assert len(smaller.data) <= len(whole.data) // 3 and 3 <= smaller.num_frames < 33
    picture = Image.open(io.BytesIO(smaller.data))
    picture.seek(smaller.num_frames)
    assert picture.convert("L").tobytes() == bytes(given[-1].flatten().tolist())


def test_still_frames_and_sheets():
    given = frames()
    assert all(
        frame is given[index]
        for frame, index in zip(still_frames(given, 3), (0, 4, 8), strict=True)
    )
    sheet = charts.sheets(XTS, num_columns=2)[0]
    assert sheet.dtype == torch.uint8 and sheet.shape == (1, 8, 14) and sheet[0, 3, 3] == 0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: charts.film_strip([], TIMES),
            "xts: expected 1 to 5 frames, .* got 0; sample with trajectory=True",
        ),
        (
            lambda: animate(frames(), kind="webm"),
            "unknown kind of animation 'webm'; valid: gif, png",
        ),
        (
            lambda: animate(frames(2)),
            "frames: expected at least 3 of one shape, got '2 of 1 shapes'",
        ),
        (
            lambda: animate([*frames(3), *frames(1, 5)]),
            "frames: expected at least 3 of one shape, got '4 of 2 shapes'",
        ),
        (
            lambda: animate([torch.zeros(1, 4, 4)] * 3),
            (
                r"frames: expected uint8 \[C, H, W\] with 1 or 3 channels, got torch.float32 \[1,"
                r" 4, 4\]"
            ),
        ),
        (
            lambda: animate(frames(), max_bytes=100),
            "max_bytes: expected room for 3 frames, got 100",
        ),
        (lambda: animate(frames(), scale=0), "scale: expected at least 1"),
        (lambda: still_frames(frames(), 1), "num: expected at least 2"),
    ],
)
def test_bad_input_has_its_message(act, message):
    with pytest.raises(CourseError, match=message):
        act()
