"""Alt texts say what was drawn: each number is computed here in another way. A text stays short
enough to be spoken, and no figure of the package comes without one.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from course_utils import plotting
from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.plotting import (
    canvas,
    charts,
    clinic,
    compare,
    derivation,
    diffusion,
    gan,
    homework,
    inverse,
    memorization,
    metrics,
    pictures,
    words,
)
from course_utils.studies.compare import Cell

PLOTTING = Path(canvas.__file__).parent
IMAGES = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
X = torch.linspace(0, 1, 21)
NAN = float("nan")


def text_of(figure) -> str:
    return canvas.attached_text(figure)


def test_every_figure_of_the_package_carries_a_text():
    """A public function that returns a Figure returns what `describe` or another such function
    returned.
    """
    functions = {}
    for path in sorted(PLOTTING.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and getattr(node.returns, "id", "") == "Figure":
                functions[node.name] = node
    public = {name: node for name, node in functions.items() if not name.startswith("_")}
    bare = {}
    for name, node in public.items():
        if name in {"new_figure", "describe"}:
            continue
        returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
        called = {getattr(getattr(value, "func", None), "id", None) for value in returned}
        if not called <= set(public) - {"new_figure"}:
            bare[name] = called
    assert len(public) > 40 and bare == {}


def test_describe_attaches_one_text_and_refuses_none():
    figure = canvas.new_figure(2.0)
    assert text_of(figure) == ""
    assert canvas.describe(figure, "Two\n  curves.") is figure
    assert text_of(figure) == figure.alt_text == "Two curves."
    assert text_of(canvas.describe(figure, "Three curves.")) == "Three curves."
    with pytest.raises(CourseError, match="text: expected a sentence"):
        canvas.describe(figure, " ")


def test_the_text_is_that_of_the_numbers_at_the_time_of_drawing():
    values = [1.0, 2.0]
    figure = plotting.lines([0, 1], {"a": values}, "x", "y")
    values[1] = 9.0
    assert text_of(figure) == "Lines, y over x: a from 1 at 0 to 2 at 1."
    assert list(figure.axes[0].lines[0].get_ydata()) == [1.0, 2.0]
    assert "9 at 1" in text_of(plotting.lines([0, 1], {"a": values}, "x", "y"))


def test_labels_that_are_changed_after_drawing_are_those_of_the_text():
    figure = plotting.lines(range(3), {"a": [0.25, 0.5, 0.125]}, "class", "share")
    axes = figure.axes[0]
    axes.set_xticks(range(3), ["Bag", "Coat", "Boot"])
    axes.set_xlabel("kind of garment")
    assert text_of(figure) == (
        "Lines, share over kind of garment: a from 0.25 at Bag to 0.125 at Boot, highest 0.5 at"
        " Coat."
    )
    axes.plot([0, 2], [1.0, 0.75], label="b")
    assert "; b from 1 at Bag to 0.75 at Boot." in text_of(figure)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (98.44, "98.4"),
        (0.012345, "0.0123"),
        (101.24, "101.2"),
        (12345.6, "12,346"),
        (3, "3"),
        (torch.tensor(-2.5), "-2.5"),
        (2.5e8, "2.5e+08"),
        (NAN, "nan"),
        (-3e-16, "0"),
        ("beta 4", "beta 4"),
    ],
)
def test_numbers_are_rounded(value, text):
    assert words.rounded(value) == text


def test_labels_lose_the_signs_of_formulas():
    assert words.spoken(r"$\beta_{1}$ times KL") == "beta_1 times KL"
    assert words.spoken("5 $") == "5 $"


@pytest.mark.parametrize(
    ("y", "text"),
    [
        ([4.0, 3.0, 2.0], "from 4 at 0 to 2 at 20"),
        ([4.0, 1.0, 2.0], "from 4 at 0 to 2 at 20, lowest 1 at 10"),
        ([4.0, 9.0, 2.0], "from 4 at 0 to 2 at 20, highest 9 at 10"),
        ([4.0, 4.0001, 3.9999], "from 4 at 0 to 4 at 20"),
        ([NAN, 9.0, 2.0], "from 9 at 10 to 2 at 20"),
        ([NAN, 9.0, NAN], "9 at 10"),
        ([NAN] * 3, "without values"),
    ],
)
def test_a_curve_has_its_ends_and_its_extremes(y, text):
    assert words.trace([0, 10, 20], y) == text


def test_many_series_become_the_extremes_and_a_count():
    values = {f"generator number {index:02}": (float(index), 0.5) for index in range(40)}
    text = text_of(plotting.comparison(values, "FID"))
    assert len(text) <= words.MAX_CHARACTERS
    assert "lowest: generator number 00 0.00 ± 0.50" in text
    assert "highest: generator number 39 39.00 ± 0.50" in text and "38 more." in text


def test_many_panels_become_the_first_ones_and_a_count():
    rows = [
        {"epoch": epoch, "split": "train", **{f"loss_term_{index:02}": 1.0 for index in range(20)}}
        for epoch in (1, 2)
    ]
    text = text_of(plotting.training_curves(rows, [f"loss_term_{index:02}" for index in range(20)]))
    named = text.count(", train")
    assert len(text) <= words.MAX_CHARACTERS and 2 <= named < 20
    assert text.endswith(f"; {20 - named} more.") and "loss term 00, train from 1 at 1" in text


def test_one_long_part_is_not_replaced_by_a_count():
    assert words.summary("Dots", {"n" * 500: "1"}) == f"Dots: {'n' * 500} 1."


def test_a_table_names_only_the_labels_that_it_has():
    figure = pictures.image_table(
        torch.zeros(6, 1, 4, 4, dtype=torch.uint8),
        num_columns=3,
        row_labels=["2.1", ""],
        column_labels=["a", "", "b"],
    )
    assert canvas.attached_text(figure) == (
        "Rows of 3 images each, from top to bottom (those with a label): 2.1. Labelled columns,"
        " from left to right: a; b."
    )


def test_many_names_are_counted():
    text = words.names_words(f"row {index:03}" for index in range(100))
    kept = text.count("row")
    assert len(text) <= 200 and text.endswith(f"; {100 - kept} more") and kept > 5


ROWS = [
    {"epoch": epoch, "split": split, "kl": 10.0 * epoch + (split == "test")}
    for epoch in (1, 2, 3)
    for split in ("train", "test")
]
TWO = {"VAE": (98.4, 0.3), "mine": (101.2, 0.3)}
SHARES = torch.tensor([0.0, 0.5, 1.0])


def latent_points() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 4.0], [0.0, 1.0]]), torch.tensor(
        [0, 0, 1, 1]
    )


TEXTS = {
    "training_curves": (
        lambda: plotting.training_curves({"a": ROWS}, ["kl"]),
        "Training curves, nats per image over epoch (KL): a train from 10 at 1 to 30 at 3; a test"
        " from 11 at 1 to 31 at 3.",
    ),
    "latent_map": (
        lambda: plotting.latent_map(*latent_points(), ("0", "shoe")),
        "Map of 4 images in a 2-D latent space, with the median of each class: 0 (1.00, 0.00);"
        " 1 shoe (0.00, 1.00). 75 % lie in the circle that holds 95 % of the prior.",
    ),
    "lines": (
        lambda: plotting.lines([1, 2, 3], {"a": ([5.0, 1.0, 2.0], [1.0] * 3)}, "$\\beta$", "nats"),
        "Lines, nats over beta: a from 5 at 1 to 2 at 3, lowest 1 at 2.",
    ),
    "comparison": (
        lambda: plotting.comparison(TWO, "test -ELBO (nats per image)", "title"),
        "Dots with error bars, test -ELBO (nats per image): VAE 98.40 ± 0.30; mine 101.20 ± 0.30.",
    ),
    "stacked_bars": (
        lambda: plotting.stacked_bars({"1": {"kl": 2.0, "rest": 3.0}}, "beta", "nats"),
        "Stacked bars, nats: beta 1: KL 2.0, rest 3.0, total 5.0.",
    ),
    "ranked_bars": (
        lambda: plotting.ranked_bars(torch.tensor([0.25, 2.0, 1.0]), "dimension", "nats", 0.5),
        "3 bars from high to low, nats over dimension: highest 2 (number 1), lowest 0.25 (number"
        " 0). 2 of 3 are above the threshold of 0.5.",
    ),
    "curves": (
        lambda: plotting.curves(X, {"parabola": (X - 0.5) ** 2}, "x", "y"),
        "Smooth curves, y over x: parabola from 0.25 at 0 to 0.25 at 1, lowest 0 at 0.5.",
    ),
    "fits": (
        lambda: plotting.fits(X, 1 - X, {"first": X}),
        "Densities over x, one panel a fit, the target as a grey area: target peak 1 at 0; first"
        " peak 1 at 1.",
    ),
    "histograms": (
        lambda: plotting.histograms({"a": torch.arange(101.0)}, "distance"),
        "Histograms of distance: a median 50, 90 % from 5 to 95.",
    ),
    "scatter_band": (
        lambda: plotting.scatter_band(torch.rand(30, 2), X, 2 * X, 0.5 + X, "x", "y"),
        "30 points, y over x: mean of y given x from 0 at 0 to 2 at 1. The band reaches ± 2"
        " standard deviations around it, which are 1 to 3.",
    ),
    "roc_curves": (
        lambda: plotting.roc_curves({"score": (SHARES, torch.tensor([0.0, 1.0, 1.0]))}),
        "ROC curves over the diagonal of blind guessing, area under the curve: score 0.75.",
    ),
    "image_grid": (
        lambda: plotting.image_grid(IMAGES.repeat(7, 1, 1, 1)[:40], title="Digits"),
        "Digits. Grid of 40 images, 4 rows of 10.",
    ),
    "image_grid_texts": (
        lambda: plotting.image_grid(IMAGES, 4, titles=list("abcdef")),
        "Grid of 6 images, 2 rows of up to 4, with texts above them, row by row: a; b; c; d; e; f.",
    ),
    "image_rows": (
        lambda: plotting.image_rows({"original": IMAGES, "decoded": IMAGES}),
        "Rows of 6 images each, from top to bottom: original; decoded.",
    ),
    "image_table": (
        lambda: pictures.image_table(
            IMAGES, num_columns=3, column_labels=list("abc"), xlabel="z 0", ylabel="z 1"
        ),
        "Grid of 6 images, 2 rows of 3. Columns, from left to right: a; b; c. Axes: across z 0;"
        " down z 1.",
    ),
    "one_image": (lambda: plotting.image_grid(IMAGES[:1]), "Grid of 1 image."),
    "one_row": (lambda: plotting.image_grid(IMAGES), "Grid of 6 images in one row."),
    "mixture": (
        lambda: derivation.mixture(X, 2 * X, 0.25, torch.rand(7, 2), X, torch.ones(3, 21), 1 - X),
        "Left: 7 draws of z and x around the decoder's curve, mean of x given z from 0 at 0 to 2 at"
        " 1, with a band of ± 0.5. Right, on the same axis of x: 3 slices, one for each z, and"
        " their sum p(x), whose peak of 1 is at x = 0.",
    ),
    "jensen": (
        lambda: derivation.jensen(torch.tensor([1.0, 9.0])),
        "The curve of log w with 2 weights from 1 to 9 on it. Above their mean 5: log of the mean"
        " 1.61 on the curve, mean of the logs 1.10 below it, a gap of 0.51 nats.",
    ),
    "bound_bars": (
        lambda: derivation.bound_bars(-1.0, {"a": (-3.0, 2.0), "b": (-1.5, 0.5)}),
        "Stacked bars that reach log p(x) = -1.00 nats, one for each q: a ELBO -3.00 and KL 2.00;"
        " b ELBO -1.50 and KL 0.50.",
    ),
    "bound_picture": (
        lambda: derivation.bound_picture(X, {"posterior": X, "q": 1 - X}, -1.0, -3.0, 2.0),
        "Densities over z, the first as an area: posterior peak 1 at 1; q peak 1 at 0. Beside them"
        " the bar of log p(x) = -1.00 nats: ELBO -3.00 and KL 2.00.",
    ),
    "scaled_lines": (
        lambda: derivation.scaled_lines(
            [1, 10], {"a": ([2.0, 4.0], [1.0, 1.0])}, "D", "error", level=("floor", 3.0)
        ),
        "Lines on logarithmic axes, error over D: floor at 3; a from 2 at 1 to 4 at 10.",
    ),
    "progress_bands": (
        lambda: derivation.progress_bands(
            [0, 9], {"p": {"a": torch.tensor([[1.0, 3.0], [5.0, 6.0]])}}, ("best", 7.0), "n", "e"
        ),
        "Means of several runs, e over n (p): a from 2 at 0 to 5.5 at 9; best at 7.",
    ),
    "verdicts": (
        lambda: clinic.verdicts(
            {"noise": (5.0, 0.1, "0.5", "present"), "size": (NAN, NAN, "none", "cannot tell")}
        ),
        "Dots for the causes between good and bad, with bars of ± 2 standard errors: noise:"
        " present, 0.5; size: cannot tell, none.",
    ),
    "setting_sweep": (
        lambda: clinic.setting_sweep(
            [1, 2, 5], {"FID": [(30, 1), (5, 1), (10, 1)]}, "latents", {"FID": 2.0}
        ),
        "1 panel with bars of ± 2 standard errors over latents: FID from 30 at 1 to 10 at 5, lowest"
        " 5 at 2 (real vs real 2).",
    ),
    "fidelity_trade_off": (
        lambda: clinic.fidelity_trade_off({"T": ((0.2, 0.01), (0.9, 0.02))}, "recall", "precision"),
        "Curve through points (recall, precision) with error bars: T (0.200 ± 0.010, 0.900 ±"
        " 0.020).",
    ),
    "gaussian_distance": (
        lambda: metrics.gaussian_distance(
            {"a": (torch.zeros(2), torch.eye(2)), "b": (torch.ones(2), torch.eye(2))}, (2.0, 1.0)
        ),
        "Two Gaussians as ellipses of 1 and 2 standard deviations, with means at: a (0, 0); b (1,"
        " 1). Beside them a bar of their squared Fréchet distance 3.00: means 2.00, covariances"
        " 1.00.",
    ),
    "score_map": (
        lambda: metrics.score_map({"a": (0.5, 3.0)}, 10),
        "Points (S, D) among lines of equal Inception Score S x D up to 10: a (0.5, 3).",
    ),
    "plane": (
        lambda: metrics.plane({"a": (0.25, 1.0)}, "precision", "recall"),
        "Points (precision, recall): a (0.25, 1).",
    ),
    "against_num_images": (
        lambda: metrics.against_num_images(
            [100, 400], {"a": ([3.0, 1.5], [0.2, 0.1])}, {"a": (1.0, 0.1)}, "FID"
        ),
        "Points with error bars and straight lines, FID over 1/N, N images: a from 3 at 100 to 1.5"
        " at 400, limit 1.00 ± 0.10.",
    ),
    "comparison_with_floor": (
        lambda: metrics.comparison_with_floor({"a": (3.0, 0.2)}, (1.0, 0.1), "FID"),
        "Dots with error bars, FID: a 3.00 ± 0.20. Grey band: real vs real 1.00 ± 0.10.",
    ),
    "verdict_table": (
        lambda: metrics.verdict_table(
            {"blur": {"FID": ("3", "caught"), "IS": ("9", "blind")}}, ("blind", "caught", "missed")
        ),
        "Table of 1 row (blur) and 2 columns (FID; IS), cells of each state: blind: 1; caught: 1;"
        " missed: 0.",
    ),
    "comparison_panels": (
        lambda: compare.comparison_panels(
            {"FID": {"vae": Cell(20.0, 1.0, (19.0,)), "gan": Cell(4.0, NAN, (4.0,))}}, {}, {}
        ),
        "1 panel of dots with error bars: FID: vae 20.0 ± 1.0, gan 4.",
    ),
    "quality_and_cost": (
        lambda: compare.quality_and_cost(
            {"vae": (20.0, 1.0)}, {"parameters": {"vae": 2e6}}, "FID", (1.0, 0.1)
        ),
        "Dots with error bars, FID, one panel a cost: vae 20.0 ± 1.0 at parameters 2.0 M. Grey"
        " band: real images 1.00 ± 0.10.",
    ),
    "schedule_curves": (
        lambda: diffusion.schedule_curves(X, {"flow": (1 - X, X, ((1 - X) / X).log())}),
        "3 panels of lines, values over t (0: image, 1: noise): alpha: share of the image, flow"
        " from 1 at 0 to 0 at 1; sigma: share of the noise, flow from 0 at 0 to 1 at 1;"
        " log(alpha² / sigma²), flow from 2.94 at 0.05 to -2.94 at 0.95.",
    ),
    "against_calls": (
        lambda: diffusion.against_calls(
            [5, 20], {"Euler": ([4.0, 1.5], [0.1] * 2)}, "FID", (1.0, 0.1)
        ),
        "Lines, FID (bars: ± 2 standard errors) over network calls an image: Euler from 4 at 5 to"
        " 1.5 at 20. Grey band: real vs real 1.00 ± 0.10.",
    ),
    "guidance_trade_off": (
        lambda: diffusion.guidance_trade_off(
            [1, 2], ([4.0, 2.0], [0.1] * 2), ([0.5, 0.75], [0.1] * 2), "FID", "agreement", (1, 0.9)
        ),
        "Path of points (FID, agreement) with error bars: scale 1 (4, 0.5); scale 2 (2, 0.75). Real"
        " vs real: (1, 0.9).",
    ),
    "score_field": (
        lambda: diffusion.score_field(
            torch.rand(4, 2),
            torch.tensor([[3.0, 4.0]]).repeat(4, 1) * torch.tensor([[1.0], [2], [3], [4]]),
            [torch.zeros(5, 2)] * 9,
            torch.rand(11, 2),
        ),
        "Score field: arrows at 4 places of the plane, their colour the length of the score, from 5"
        " to 20. 11 points of data. 5 paths of x_t over 9 times.",
    ),
    "point_frames": (
        lambda: gan.point_frames({"plain": [torch.zeros(5, 2)] * 2}, torch.eye(2), ["0", "9"]),
        "Rows of 2 frames each, generated points in the plane with the 2 modes of the data as"
        " rings, from top to bottom: plain. Columns, from left to right: 0; 9.",
    ),
    "discriminators": (
        lambda: gan.discriminators(X, {"data": X, "model": 1 - X}, X / 2, {"trained": 1 - X}),
        "Densities over x, below them D(x) from 0 to 1: data peak 1 at 1; model peak 1 at 0; D"
        " best, D* from 0 at 0 to 0.5 at 1; D trained from 1 at 0 to 0 at 1.",
    ),
    "seed_curves": (
        lambda: homework.seed_curves(
            {"class": [{"train.loss": [3.0, 2.0], "train.epoch": [1, 2]}, {"train.loss": []}]},
            ["loss"],
        ),
        "Training curves (in words: first seed), values over epoch (loss): class, train from 3 at 1"
        " to 2 at 2.",
    ),
    "before_and_after": (
        lambda: homework.before_and_after({"FID": {"class": (4.0, 0.5), "changed": (6.0, NAN)}}),
        "Dots with error bars, one panel a metric: FID: class 4.00 ± 0.50, changed 6.",
    ),
    "parameter_scatter": (
        lambda: homework.parameter_scatter({"beta": {"a": [(1, 5.0), (2, 3.0)]}}, "FID", 4.0),
        "Dots, one for each run, FID over each parameter: beta: 2 runs from 3 to 5. Dashed line at"
        " 4.",
    ),
    "distortion_plane": (
        lambda: inverse.distortion_plane({"a": ((20.0, 0.5), (90.0, 3.0))}, "PSNR, dB", "FID"),
        "Points (PSNR, dB; FID) with error bars: a (20.00 ± 0.50, 90.0 ± 3.0).",
    ),
    "ratio_histogram": (
        lambda: memorization.ratio_histogram(
            torch.linspace(0.5, 1, 101), {"vae": torch.linspace(0, 1, 101)}, 0.25, "ratio"
        ),
        "Histograms of ratio: held-out images median 0.75, 90 % from 0.525 to 0.975, 0 % below"
        " 0.25; vae median 0.5, 90 % from 0.05 to 0.95, 24.8 % below 0.25.",
    ),
    "lookalike_pairs": (
        lambda: memorization.lookalike_pairs(
            IMAGES, IMAGES, torch.tensor([0.9, 0.05, 1, 1, 1, 1]), torch.arange(6), 2
        ),
        "Rows of 2 images each, from top to bottom: sample; nearest. Columns, from left to right:"
        " 0.05; 0.90. The number of a column is its sample's ratio.",
    ),
    "training_view": (
        lambda: pictures.training_view(
            {"loss": ([1, 2, 3], [6.0, NAN, 2.0])}, IMAGES, "Step 3 of 9", window=2
        ),
        "Step 3 of 9. Mean of 2 steps, loss over step: loss from 6 at 1 to 2 at 3. Beside them a"
        " grid of 6 images, 2 rows of 3.",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_has_the_numbers_of_the_picture(name):
    draw, expected = TEXTS[name]
    assert text_of(draw()) == expected
    assert len(expected) <= words.MAX_CHARACTERS


def test_curves_of_a_gan_name_training_panel_and_part():
    rows = []
    for epoch in (1, 2):
        shared = {"epoch": epoch, "split": "train", "gradient_norm": 3.0 * epoch}
        rows.append(
            {**shared, "part": "discriminator", "d_real": 0.75, "d_fake": 0.25, "separation": 0.5}
        )
        rows.append(
            {**shared, "part": "generator", "d_fake": 0.2, "diversity": 0.5, "real_diversity": 0.7}
        )
    text = text_of(gan.gan_curves({"plain": rows}))
    assert text.startswith(
        "Training curves of a GAN over epochs: plain, D's answer to real from 0.75 at 1 to 0.75"
    )
    assert len(text) <= words.MAX_CHARACTERS and text.endswith(" more.")


def test_the_area_under_a_roc_curve_is_that_of_all_pairs():
    rng = make_rng(0)
    inlier, outlier = torch.randn(200, generator=rng), 1 + torch.randn(200, generator=rng)
    thresholds = torch.cat([inlier, outlier]).sort(descending=True).values
    false_alarms = torch.tensor([0.0, *((inlier >= one).double().mean() for one in thresholds)])
    hits = torch.tensor([0.0, *((outlier >= one).double().mean() for one in thresholds)])
    share = (outlier[:, None] > inlier[None]).double().mean().item()
    text = text_of(charts.roc_curves({"score": (false_alarms, hits)}))
    assert text.endswith(f"score {share:.3g}.")


def test_an_animation_says_how_long_and_how_large_it_is():
    frames = [torch.full((1, 6, 8), 40 * index, dtype=torch.uint8) for index in range(5)]
    film = canvas.animate(frames, 2.0, scale=10)
    assert text_of(film) == (
        "Animation of 5 frames, 80 by 60 pixels, 2 s from the first to the last one."
    )


def test_the_view_of_a_training_smooths_and_leaves_out_the_first_steps():
    values = [1000.0, *np.linspace(2, 1, 999)]
    view = pictures.training_view({"loss": (range(1, 1001), values)}, window=10)
    (axes,) = view.axes
    raw, mean = axes.lines
    assert mean.get_ydata()[0] == 1000 and mean.get_ydata()[500] == pytest.approx(
        np.mean(values[491:501])
    )
    assert list(raw.get_ydata()[:2]) == [1000, 2] and axes.get_ylim()[1] < 3


def test_a_long_training_is_drawn_with_few_points_that_keep_its_ends():
    steps = range(1, 50_001)
    view = pictures.training_view({"loss": (steps, [float(step) for step in steps])})
    x = view.axes[0].lines[1].get_xdata()
    assert len(x) <= 1000 and x[0] == 1 and x[-1] == 50_000


def test_a_line_without_points_is_said_too():
    text = text_of(plotting.lines([], {"a": []}, "x", "y"))
    assert text == "Lines, y over x: a without values."
