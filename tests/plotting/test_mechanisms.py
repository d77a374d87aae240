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
from course_utils.plotting.diffusion_mechanisms import ARROW_KINDS, SKIP_COLOUR
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


SIZES = [(32, 14), (64, 7), (48, 4)]
MAPS = torch.randn(6, 5, 7, generator=make_rng(8))
SCALE = torch.tensor([0.5, -1.5, 0.0, 1.0, 9.0, 9.0])
SHIFT = torch.tensor([0.0, 0.25, -2.0, 1.0, 9.0, 9.0])
MODULATED = MAPS * (1 + SCALE[:, None, None]) + SHIFT[:, None, None]
STANDING = torch.tensor([[0.5, 0.5], [-1.0, 0.0]])
PLAIN, TOLD = torch.tensor([[0.3, 0.0], [0.0, 0.4]]), torch.tensor([[0.5, 0.0], [0.1, 0.4]])
GUIDED = PLAIN + 3 * (TOLD - PLAIN)

EVERY = {
    "vae_diagram": lambda: plotting.vae_diagram(BLACK, MU, LOGVAR, Z, GREY),
    "reparameterisation_graph": plotting.reparameterisation_graph,
    "encoder_ellipses": lambda: plotting.encoder_ellipses(
        PLANE_MU, PLANE_LOGVAR, PLANE_LABELS, NAMES
    ),
    "holes_on_plane": lambda: plotting.holes_on_plane(LATENTS, DRAWS, DECODED),
    "weight_images": lambda: plotting.weight_images(torch.randn(3, 1, 8, 8), NAMES),
    "gan_game": lambda: plotting.gan_game(MU, GREY, BLACK),
    "unet_diagram": lambda: plotting.unet_diagram(SIZES),
    "unet_diagram of four": lambda: plotting.unet_diagram([(128, 256), *SIZES]),
    "film_modulation": lambda: plotting.film_modulation(MAPS, SCALE, SHIFT, MODULATED),
    "guidance_arrows": lambda: plotting.guidance_arrows(
        STANDING, PLAIN, TOLD, GUIDED, data=PLANE_MU, labels=PLANE_LABELS, label=1
    ),
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
        title = plotting.holes_on_plane(
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


def arrows(axes, colour):
    """Start and end of the arrows of one colour."""
    return [
        (text.xyann, text.xy)
        for text in axes.texts
        if getattr(text, "arrow_patch", None) and text.arrowprops["color"] == colour
    ]


def test_game_draws_the_first_of_each_and_two_ways_back():
    noise = torch.cat([MU, 9 * MU])
    figure = plotting.gan_game(noise, torch.cat([GREY, BLACK]), BLACK)
    stage, *panels = figure.axes
    assert bars(panels[0]) == MU[0].tolist()
    assert [axes.images[0].get_array().max() for axes in panels if axes.images] == [128, 0]
    said = attached_text(figure)
    assert "3 dimensions (-1.0 to 2.0)" in said and "[1, 28, 28]" in said
    # the gradient of G's loss ends at G, left of the images, that of D's loss at D, right of them
    middle = panels[1].get_position().x0 * figure.get_figwidth()
    ends = sorted(end[0] for _, end in arrows(stage, GRADIENT_COLOUR))
    assert len(ends) == 2 and ends[0] < middle < ends[1]


@pytest.mark.parametrize("sizes", [SIZES[:2], SIZES, [(128, 256), *SIZES]])
def test_unet_has_two_blocks_a_resolution_one_at_the_lowest_and_a_skip_between(sizes):
    from matplotlib.patches import Rectangle

    figure = plotting.unet_diagram(sizes, (3, 28, 28))
    axes = figure.axes[0]
    labels = [f"[{channels}, {side}, {side}]" for channels, side in sizes]
    numbers = [text.get_text() for text in axes.texts]
    assert [numbers.count(label) for label in labels] == [2] * (len(sizes) - 1) + [1]
    assert sum("[3, 28, 28]" in text for text in numbers) == 2
    skips = arrows(axes, SKIP_COLOUR)
    assert len(skips) == len(sizes) - 1
    # level, from the left block to the right one
    assert all(start[1] == end[1] and start[0] < end[0] for start, end in skips)
    blocks = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(blocks) == 2 * (2 * len(sizes) - 1)  # each with its orange bar
    tallest = max(block.get_height() for block in blocks)
    assert {block.get_height() for block in blocks if block.get_y() > skips[0][0][1]} <= {tallest}
    assert ", ".join(f"{c} channels of {s} x {s}" for c, s in sizes) in attached_text(figure)


def test_no_words_of_a_diagram_cover_one_another():
    for name in ("gan_game", "unet_diagram", "unet_diagram of four", "vae_diagram"):
        figure = EVERY[name]()
        figure.canvas.draw()
        written = [text for text in figure.axes[0].texts if text.get_text()]
        boxes = [text.get_tightbbox() for text in written]
        for place, first in enumerate(boxes):
            for other, second in zip(written[place + 1 :], boxes[place + 1 :]):
                overlap = first.overlaps(second)
                assert not overlap, (name, written[place].get_text(), other.get_text())


def test_film_shows_four_maps_in_one_range_with_their_numbers():
    figure = EVERY["film_modulation"]()
    cells = [axes for axes in figure.axes if axes.images][:8]
    before, after = cells[:4], cells[4:]
    shown = torch.stack([torch.tensor(axes.images[0].get_array()) for axes in after])
    torch.testing.assert_close(shown, MODULATED[:4].double())
    limit = max(MAPS[:4].abs().max().item(), MODULATED[:4].abs().max().item())
    for axes in (*before, *after):
        assert axes.images[0].get_clim() == pytest.approx((-limit, limit))
    titles = [axes.get_title() for axes in after]
    assert titles == ["× 1.50 + 0.00", "× -0.50 + 0.25", "× 1.00 − 2.00", "× 2.00 + 1.00"]
    assert "map 1: times -0.50 plus 0.25" in attached_text(figure)


def test_arrows_go_against_the_velocities_and_guidance_extrapolates():
    figure = plotting.guidance_arrows(
        STANDING, PLAIN, TOLD, GUIDED, data=PLANE_MU, labels=PLANE_LABELS, label=1, step=0.5
    )
    axes = figure.axes[0]
    for (colour, *_), velocity in zip(ARROW_KINDS.values(), (PLAIN, TOLD, GUIDED)):
        starts, ends = zip(*arrows(axes, colour))
        torch.testing.assert_close(torch.tensor(starts), STANDING)
        torch.testing.assert_close(torch.tensor(ends), STANDING - 0.5 * velocity)
    assert axes.get_title() == "guided = plain + 3.00 · (told − plain)"
    said = attached_text(figure)
    length = 0.5 * PLAIN.norm(dim=1).mean().item()
    assert f"without a label (mean length {length:.2f})" in said
    assert "4 points of the data, of which 2 are of class 1" in said


def test_arrows_that_are_not_guidance_get_no_formula():
    bent = GUIDED + torch.tensor([[0.0, 0.5], [0.0, 0.0]])
    figure = plotting.guidance_arrows(STANDING, PLAIN, TOLD, bent)
    assert figure.axes[0].get_title() == "" and "plus" not in attached_text(figure)
    assert "one line" not in attached_text(figure)
    assert plotting.guidance_arrows(STANDING, PLAIN, PLAIN, PLAIN).axes[0].get_title() == ""


LINE = torch.randn(5, 3)
BAD = [
    (lambda: plotting.gan_game(MU[0], GREY, BLACK), r"noise: .* \[N, D\], got \[3\]"),
    (lambda: plotting.gan_game(MU / 0, GREY, BLACK), "noise: expected finite"),
    (lambda: plotting.gan_game(MU, GREY, GREY[..., 1:]), r"one size, got .*28\] and .*27\]"),
    (lambda: plotting.unet_diagram(SIZES[:1]), "sizes: expected 2 to 4 resolutions, got 1"),
    (lambda: plotting.unet_diagram(SIZES[::-1]), "sizes: .* of falling sides"),
    (lambda: plotting.unet_diagram([(0, 14), (2, 7)]), "sizes: .* of falling sides"),
    (
        lambda: plotting.film_modulation(MAPS, SCALE[:4], SHIFT, MODULATED),
        r"scale and shift \[C\], got \[6, 5, 7\], \[4\]",
    ),
    (
        lambda: plotting.film_modulation(MAPS, SCALE, SHIFT, MAPS * SCALE[:, None, None]),
        r"after: expected before \* \(1 \+ scale\) \+ shift, got maps that differ",
    ),
    (
        lambda: plotting.guidance_arrows(STANDING, PLAIN[:1], TOLD, GUIDED),
        r"\[N, 2\] each, got \[2, 2\], \[1, 2\]",
    ),
    (
        lambda: plotting.guidance_arrows(STANDING, PLAIN, TOLD, GUIDED, step=0.0),
        "step: expected more than 0, got 0.0",
    ),
    (
        lambda: plotting.guidance_arrows(STANDING, PLAIN, TOLD, GUIDED, data=LINE),
        r"data: expected .* got \[5, 3\]",
    ),
    (
        lambda: plotting.guidance_arrows(
            STANDING, PLAIN, TOLD, GUIDED, data=PLANE_MU, labels=PLANE_LABELS[:1]
        ),
        "labels: expected 4, one for each point of data, got 1",
    ),
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
