"""Pictures of mechanisms: what they draw, count and say is computed here a second time, by other
means.
"""

from __future__ import annotations

import math
import re

import pytest
import torch

from course_utils import metrics, plotting
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.metrics.neighbours import precision_recall
from course_utils.plotting.canvas import attached_text
from course_utils.plotting.mechanisms import GRADIENT_COLOUR
from course_utils.plotting.words import MAX_CHARACTERS

MU = torch.tensor([[-1.0, 0.5, 2.0]])
LOGVAR = torch.tensor([[0.0, -2.0, -4.0]])
EPS = torch.tensor([[1.5, -1.0, 0.25]])
Z = MU + torch.exp(0.5 * LOGVAR) * EPS
BLACK, GREY = torch.full((1, 1, 28, 28), -1.0), torch.zeros(1, 1, 28, 28)

PLANE_MU = torch.tensor([[0.0, 0.5], [1.5, 0.0], [3.0, -1.0], [-0.4, 0.0]])
PLANE_LOGVAR = 2 * torch.tensor([[0.1, 0.2], [0.3, 0.1], [0.5, 0.4], [0.2, 0.2]]).log()
PLANE_LABELS = torch.tensor([0, 1, 1, 2])
NAMES = ["a", "7", "cat"]

REAL = torch.randn(15, 2, generator=make_rng(1)).double()
FAKE = (1.5 * torch.randn(12, 2, generator=make_rng(0)) + torch.tensor([1.5, 0.0])).double()

IMAGES = torch.randint(0, 256, (2, 3, 16, 14), generator=make_rng(3)).to(torch.uint8)
OTHERS = torch.stack([IMAGES[0].flip(1), 255 - IMAGES[1]])


def latents(num: int) -> torch.Tensor:
    """A prior whose right half is empty."""
    z = torch.randn(num, 2, generator=make_rng(4))
    return torch.stack([-z[:, 0].abs(), z[:, 1]], 1)


LATENTS, DRAWS = latents(2000), torch.randn(60, 2, generator=make_rng(5))
DECODED = torch.rand(60, 1, 8, 8, generator=make_rng(6)) * 2 - 1


def ssim_values():
    return metrics.paired.ssim_maps(OTHERS, IMAGES, data_range=255).value


EVERY = {
    "vae_diagram": lambda: plotting.vae_diagram(BLACK, MU, LOGVAR, Z, GREY),
    "reparameterisation_graph": plotting.reparameterisation_graph,
    "encoder_ellipses": lambda: plotting.encoder_ellipses(
        PLANE_MU, PLANE_LOGVAR, PLANE_LABELS, NAMES
    ),
    "holes_on_plane": lambda: plotting.holes_on_plane(LATENTS, DRAWS, DECODED),
    "weight_images": lambda: plotting.weight_images(torch.randn(3, 1, 8, 8), NAMES),
    "neighbour_balls": lambda: plotting.neighbour_balls(REAL, FAKE, 2),
    "ssim_map": lambda: plotting.ssim_map(IMAGES, OTHERS, ssim_values(), ["turned", "negative"]),
}


@pytest.mark.parametrize("name", EVERY)
def test_figure_is_seven_inches_wide_or_less_and_says_what_it_shows(name):
    figure = EVERY[name]()
    figure.canvas.draw()
    assert figure.get_figwidth() <= 7
    assert 60 < len(attached_text(figure)) <= MAX_CHARACTERS


def bars(axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches]


def every_text(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_diagram_draws_the_tensors_and_the_eps_that_made_z():
    figure = EVERY["vae_diagram"]()
    strips = [bars(axes) for axes in figure.axes[1:] if axes.patches]
    assert [pytest.approx(strip, abs=1e-5) for strip in strips] == [
        *(part[0].tolist() for part in (MU, LOGVAR, EPS, Z))
    ]
    levels = [axes.images[0].get_array().max() for axes in figure.axes if axes.images]
    assert levels == [0, 128]
    assert {axes.get_xlim() for axes in figure.axes[1:] if axes.patches} == {(-4.0, 4.0)}


def test_diagram_says_shapes_and_numbers():
    figure = EVERY["vae_diagram"]()
    texts = every_text(figure)
    assert texts.count("x\n[1, 28, 28]") == 1 and "log σ²  [3]" in texts
    said = attached_text(figure)
    assert "mu (-1.0 to 2.0)" in said and "eps (-1.0 to 1.5)" in said
    assert f"by {128 / 255:.2f} of the range" in said


def test_gradient_is_crossed_out_on_the_left_and_reaches_both_on_the_right():
    stage = EVERY["reparameterisation_graph"]().axes[0]
    backward = [
        (text.xyann, text.xy)
        for text in stage.texts
        if getattr(text, "arrow_patch", None) and text.arrowprops["color"] == GRADIENT_COLOUR
    ]
    crosses = [line.get_xdata()[0] for line in stage.lines if line.get_marker() == "x"]
    assert len(crosses) == 2 and max(crosses) < 3.5
    # they end beside mu and sigma on the right, and half-way at a cross on the left
    low = sorted(round(end[0], 1) for _, end in backward if end[1] < 1.5)
    assert len(low) == 2 and low[0] < 5.25 < low[1] and low[0] > 3.5
    assert all(start[1] > end[1] for start, end in backward)
    stubs = [end for _, end in backward if end[0] < 3.5 and end[1] < 2.0]
    assert sorted(end[0] for end in stubs) == pytest.approx(sorted(crosses))


def test_ellipses_reach_one_standard_deviation():
    from matplotlib.patches import Circle, Ellipse

    axes = EVERY["encoder_ellipses"]().axes[0]
    ellipses = [
        patch
        for patch in axes.patches
        if isinstance(patch, Ellipse) and not isinstance(patch, Circle)
    ]
    stds = torch.exp(0.5 * PLANE_LOGVAR)
    assert [(one.width / 2, one.height / 2) for one in ellipses] == [
        pytest.approx(row) for row in stds.tolist()
    ]
    assert [tuple(one.center) for one in ellipses] == [tuple(row) for row in PLANE_MU.tolist()]
    assert [text.get_text() for text in axes.texts] == ["a", "7", "7", "2"]
    assert axes.get_xlim()[1] == pytest.approx(3.0 + 0.5 + 0.2)


def test_ellipses_are_counted_within_the_prior():
    lengths = [math.hypot(x, y) for x, y in PLANE_MU.tolist()]
    one, two = (sum(length <= radius for length in lengths) for radius in (1, 2))
    said = attached_text(EVERY["encoder_ellipses"]())
    assert f"{one} centres lie within one and {two} within two" in said and (one, two) == (2, 3)
    median = torch.exp(0.5 * PLANE_LOGVAR).flatten().sort().values[3]
    assert f"have the median {median:.2f}" in said


def holes_by_hand(radius: float, level: float) -> tuple[list[bool], float]:
    """Whether each draw lies in a hole, counted image by image, and how many would do so by chance,
    from the Poisson probabilities.
    """
    holes, chance = [], 0.0
    for x, y in DRAWS.tolist():
        near = sum(math.dist((x, y), place) <= radius for place in LATENTS.tolist())
        mean = len(LATENTS) * math.exp(-(x * x + y * y) / 2) / (2 * math.pi) * math.pi * radius**2
        holes.append(near < level * mean)
        k, term = 0, math.exp(-mean)
        while k < level * mean:
            chance += term
            k += 1
            term *= mean / k
    return holes, chance


@pytest.mark.parametrize(("radius", "level"), [(0.2, 0.25), (0.4, 0.5)])
def test_holes_are_counted_and_compared_with_chance(radius, level):
    holes, chance = holes_by_hand(radius, level)
    found = sum(holes)
    figure = plotting.holes_on_plane(LATENTS, DRAWS, DECODED, radius=radius, level=level)
    share, by_chance = (f"{100 * part / 60:.1f} %" for part in (found, chance))
    assert 10 < found < 50  # the right half of the prior
    assert figure.axes[0].get_title().startswith(f"{found} of 60 draws ({share})")
    assert f"(by chance: {by_chance})" in figure.axes[0].get_title()
    assert f"{found} draws ({share})" in attached_text(figure)
    marked = [len(points.get_offsets()) for points in figure.axes[0].collections[1:3]]
    assert marked == [found, 60 - found]


def test_chance_is_what_latents_from_the_prior_show():
    """Averaged over draws of the latents, their share of holes is the one by chance."""
    draws, shares = torch.randn(400, 2, generator=make_rng(7)), []
    for seed in range(10):
        spread = torch.randn(500, 2, generator=make_rng(100 + seed))
        title = plotting.mechanisms.holes_on_plane(
            spread, draws, DECODED[:1].expand(400, -1, -1, -1), num_shown=1
        ).axes[0]
        numbers = re.findall(r"([\d.]+) %", title.get_title())
        shares.append([float(numbers[0]), float(numbers[2])])
    found, by_chance = torch.tensor(shares).mean(0).tolist()
    assert found == pytest.approx(by_chance, abs=0.8) and by_chance > 3


def test_holes_show_their_own_pictures():
    figure = plotting.holes_on_plane(LATENTS, DRAWS, DECODED, num_shown=4)
    shown = [axes for axes in figure.axes[1:] if axes.images]
    assert [axes.get_title() for axes in shown] == [*"ABCD", *"1234"]
    levels = torch.stack([torch.tensor(axes.images[0].get_array()) for axes in shown]).float()
    expected = ((DECODED[:, 0] + 1) * 127.5).round()
    off = (levels[:, None] - expected).abs().amax((2, 3))  # [8, 60]
    assert off.amin(1).max() <= 1  # half a level may round either way
    holes, _ = holes_by_hand(0.2, 0.25)
    empty, others = ([i for i, hole in enumerate(holes) if hole is kind] for kind in (True, False))
    assert off.argmin(1).tolist() == empty[:4] + others[:4]


def test_balls_have_the_shares_of_the_metric_and_of_plain_distances():
    k = 2
    figure = plotting.neighbour_balls(REAL, FAKE, k)
    found = precision_recall(REAL, FAKE, k)
    sets = {"precision": (FAKE, REAL), "recall": (REAL, FAKE)}
    for axes, metric, value in zip(figure.axes, sets, found):
        points, centres = sets[metric]
        radii = torch.cdist(centres, centres).sort(1).values[:, k]
        num = int((torch.cdist(points, centres) <= radii + 1e-9).any(1).sum())
        share = f"{100 * num / len(points):.0f} %"
        assert 0 < num < len(points) and num / len(points) == pytest.approx(value.value)
        assert axes.get_title() == f"{metric}: {num} of {len(points)} ({share})"
        assert [circle.radius for circle in axes.patches] == pytest.approx(radii.tolist())
        covered = [len(one.get_offsets()) for one in axes.collections[1:]]
        assert covered == [num, len(points) - num]
        assert f"{num} of {len(points)}" in attached_text(figure)


def test_balls_of_one_metric_have_one_panel():
    (axes,) = plotting.neighbour_balls(REAL, FAKE, 2, "recall").axes
    assert axes.get_title().startswith("recall") and len(axes.patches) == len(FAKE)


def test_ssim_map_has_the_mean_of_the_metric_and_no_colour_below_0():
    figure = EVERY["ssim_map"]()
    values = metrics.paired.ssim(OTHERS, IMAGES, data_range=255).value.tolist()
    titles = [axes.get_title() for axes in figure.axes[:6]]
    assert titles[2::3] == [f"mean SSIM {value:.2f}" for value in values]
    assert titles[1::3] == ["turned", "negative"] and values[1] < 0
    drawn = figure.axes[5].images[0]
    assert drawn.get_clim() == (0, 1) and drawn.get_array().shape == (6, 4)
    # pixel by pixel below the image beside it: the window of 11 fits from pixel 5 on
    assert tuple(drawn.get_extent()) == (4.5, 8.5, 10.5, 4.5)
    assert figure.axes[5].get_xlim() == figure.axes[4].get_xlim() == (-0.5, 13.5)
    lowest = ssim_values()[1].mean(0).min().item()
    assert f"negative mean {values[1]:.2f}, lowest {lowest:.2f}" in attached_text(figure)


def test_weights_share_one_symmetric_range():
    weights = torch.zeros(3, 3, 4, 5)
    weights[0, :, 1, 2], weights[2, 0, 0, 0] = -0.5, 0.25  # -1.5 over three channels
    figure = plotting.weight_images(weights, NAMES)
    images = [axes.images[0] for axes in figure.axes[:3]]
    assert {image.get_clim() for image in images} == {(-1.5, 1.5)}
    assert images[0].get_array()[1, 2] == -1.5 and images[2].get_array()[0, 0] == 0.25
    assert [axes.get_title() for axes in figure.axes[:3]] == NAMES
    assert "from -1.5 to 0.25" in attached_text(figure) and "class a." in attached_text(figure)
    blank = plotting.weight_images(torch.zeros(2, 1, 4, 4), ["0", "1"]).axes[0].images[0]
    assert blank.get_clim() == (-1, 1)


LINE = torch.randn(5, 3)
BAD = [
    (
        lambda: plotting.vae_diagram(BLACK, MU[0], LOGVAR, Z, GREY),
        r"of one image, \[1, D\] each, got \[3\], \[1, 3\]",
    ),
    (
        lambda: plotting.vae_diagram(BLACK, MU, LOGVAR, Z, GREY.expand(2, -1, -1, -1)),
        r"\[1, C, H, W\] each, got \[1, 1, 28, 28\] and \[2, 1, 28, 28\]",
    ),
    (lambda: plotting.vae_diagram(BLACK, MU / 0, LOGVAR, Z, GREY), "NaN or infinity; the model"),
    (
        lambda: plotting.encoder_ellipses(MU, LOGVAR, PLANE_LABELS[:1], NAMES),
        r"mu: expected points of a latent plane, \[N, 2\], got \[1, 3\]",
    ),
    (
        lambda: plotting.encoder_ellipses(PLANE_MU, PLANE_LOGVAR, PLANE_LABELS[:2], NAMES),
        "4 labels, one for each row of mu, got .* and 2 labels",
    ),
    (
        lambda: plotting.encoder_ellipses(PLANE_MU, PLANE_LOGVAR, PLANE_LABELS, NAMES[:2]),
        "labels: expected numbers from 0 to 1, got 0 to 2",
    ),
    (lambda: plotting.holes_on_plane(LINE, DRAWS, DECODED), r"latents: .* got \[5, 3\]"),
    (lambda: plotting.holes_on_plane(LATENTS, LINE, DECODED), r"draws: .* got \[5, 3\]"),
    (lambda: plotting.holes_on_plane(LATENTS, DRAWS, DECODED[:5]), "decoded: expected 60 .* got 5"),
    (lambda: plotting.holes_on_plane(LATENTS, DRAWS, DECODED, radius=0.0), "radius: .* got 0.0"),
    (lambda: plotting.holes_on_plane(LATENTS, DRAWS, DECODED, level=1.0), "level: .* got 1.0"),
    (
        lambda: plotting.holes_on_plane(LATENTS, DRAWS, DECODED, num_shown=10),
        "num_shown: .* got 10",
    ),
    (
        lambda: plotting.weight_images(torch.zeros(3, 16), NAMES),
        r"weights: expected \[3, C, H, W\].* got \[3, 16\]",
    ),
    (lambda: plotting.neighbour_balls(LINE, LINE), r"points of the plane, \[N, 2\], got \[5, 3\]"),
    (lambda: plotting.neighbour_balls(REAL, FAKE, 12), "k: .* from 1 to 11, got 12"),
    (
        lambda: plotting.neighbour_balls(REAL, FAKE, 2, "precisoin"),
        "unknown panel 'precisoin'.*Did you mean 'precision'",
    ),
    (
        lambda: plotting.ssim_map(IMAGES, OTHERS[:1], ssim_values()),
        r"of one shape, got \[2, 3, 16, 14\] and \[1, 3, 16, 14\]",
    ),
    (
        lambda: plotting.ssim_map(IMAGES, OTHERS, ssim_values().mean(1)),
        r"values: expected \[2, 3, 6, 4\].* got \[2, 6, 4\]",
    ),
    (
        lambda: plotting.ssim_map(IMAGES, OTHERS, ssim_values(), ["one"]),
        "names: expected 2, one for each pair, got 1",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_has_its_message(call, message):
    with pytest.raises(CourseError, match=message):
        call()
