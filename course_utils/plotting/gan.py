"""Figures of GANs: points of a plane during training, a discriminator beside the best one, and the
curves that a GAN's history holds.

Colour is never the only difference: lines differ by dash or marker too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from course_utils.base.errors import CourseError
from course_utils.plotting.canvas import OKABE_ITO, WIDTH, describe, new_figure
from course_utils.plotting.charts import DASHES, peak_words
from course_utils.plotting.words import names_words, summary, trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

# panel: {curve: (part whose rows hold it, column)}
GAN_PANELS = {
    "D's answer": {
        "to real": ("discriminator", "d_real"),
        "to fake, before D's step": ("discriminator", "d_fake"),
        "to fake, after D's step": ("generator", "d_fake"),
    },
    "separation": {"share of real above fake": ("discriminator", "separation")},
    "distance of two images": {
        "generated": ("generator", "diversity"),
        "real": ("generator", "real_diversity"),
    },
    "gradient norm": {"D": ("discriminator", "gradient_norm"), "G": ("generator", "gradient_norm")},
}
PANEL_LIMITS = {
    "D's answer": (-0.05, 1.05),
    "separation": (0.45, 1.02),
    "distance of two images": (0, None),
    "gradient norm": (0, None),
}
CURVE_MARKERS = "os^"


def point_frames(
    rows: Mapping[str, Sequence[Tensor]],
    centres: Tensor,
    column_titles: Sequence[str],
    title: str = "",
) -> Figure:
    """Returns a film as a sheet: one row of small pictures for each training, time to the right,
    the modes of the data as rings.

    Args:
        rows: `{label: frames}`, each frame the points `[N, 2]` of one moment, equally many frames
            in each row.
        centres: of the modes, `[K, 2]`.
        column_titles: one for each frame, such as the number of steps.

    Raises:
        CourseError: a row with another number of frames than there are titles.
    """
    for label, frames in rows.items():
        if len(frames) != len(column_titles):
            raise CourseError(
                f"{label}: expected {len(column_titles)} frames, one for each title, got"
                f" {len(frames)}."
            )
    side = WIDTH * 1.25 / len(column_titles)
    fig = new_figure(side * len(rows) + 0.3 + (0.3 if title else 0), WIDTH * 1.25)
    limit = 1.5 * centres.abs().max().item()
    cells = fig.subplots(len(rows), len(column_titles), squeeze=False)
    for cells_row, (label, frames) in zip(cells, rows.items()):
        for axes, points in zip(cells_row, frames):
            axes.plot(
                *centres.T.tolist(),
                "o",
                markersize=7,
                markerfacecolor="none",
                markeredgecolor=OKABE_ITO[1],
                zorder=1,
            )
            axes.scatter(
                *points.detach().cpu().clamp(-limit, limit).T.tolist(),
                s=3,
                alpha=0.5,
                color=OKABE_ITO[0],
                linewidths=0,
                zorder=2,
            )
            axes.set(
                xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[]
            )
        cells_row[0].set_ylabel(label)
    for axes, text in zip(cells[0], column_titles):
        axes.set_title(text, fontsize=10)
    if title:
        fig.suptitle(title)
    return describe(
        fig,
        f"Rows of {len(column_titles)} frames each, generated points in the plane with the"
        f" {len(centres)} modes of the data as rings, from top to bottom: {names_words(rows)}."
        f" Columns, from left to right: {names_words(column_titles)}.",
    )


def discriminators(
    x: Tensor,
    densities: Mapping[str, Tensor],
    best: Tensor,
    learned: Mapping[str, Tensor],
    title: str = "",
) -> Figure:
    """Returns two densities on a line above the best discriminator between them, with others to
    compare it with.

    Args:
        x: `[N]`.
        densities: `{name: density [N]}`, the data and the generated distribution.
        best: D*(x) from 0 to 1, `[N]`.
        learned: `{name: D(x) [N]}`, up to five.
    """
    fig = new_figure(4.8)
    top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    for (name, density), colour, dash in zip(densities.items(), OKABE_ITO, DASHES):
        top.plot(x, density, color=colour, linestyle=dash, label=name)
        top.fill_between(x, density, color=colour, alpha=0.15, linewidth=0)
    bottom.plot(x, best, color="black", linewidth=3, alpha=0.35, label="best, D*")
    for (name, values), colour, dash in zip(learned.items(), OKABE_ITO[2:], DASHES[1:]):
        bottom.plot(x, values, color=colour, linestyle=dash, label=name)
    bottom.axhline(0.5, color="#999999", linewidth=0.8)
    top.set(ylabel="density", title=title)
    bottom.set(xlabel="x", ylabel="D(x)", ylim=(-0.05, 1.05))
    for axes in (top, bottom):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    words = {name: peak_words(x, density) for name, density in densities.items()}
    words |= {f"D {name}": trace(x, y) for name, y in {"best, D*": best, **learned}.items()}
    return describe(fig, summary("Densities over x, below them D(x) from 0 to 1", words))


def gan_curves(histories: Mapping[str, Any]) -> Figure:
    """Returns one row of panels for each training, over epochs: D's answers, how well it tells the
    sets apart, diversity, gradient norms.

    Means over the training steps of each epoch. The panels of a column share their scale, so that
    trainings compare.

    Args:
        histories: `{name: History}` of GANs (or their rows).

    Raises:
        CourseError: a history that is not a GAN's.
    """
    fig = new_figure(2.35 * len(histories) + 0.8, WIDTH * 1.4)
    cells = fig.subplots(len(histories), len(GAN_PANELS), squeeze=False, sharey="col")
    for cells_row, (name, history) in zip(cells, histories.items()):
        rows = [row for row in getattr(history, "rows", history) if row["split"] == "train"]
        for axes, curves in zip(cells_row, GAN_PANELS.values()):
            _draw_curves(axes, rows, curves)
            axes.xaxis.get_major_locator().set_params(integer=True)
        cells_row[0].set_ylabel(name)
    for axes, panel in zip(cells[0], GAN_PANELS):
        axes.set_title(panel, fontsize=11)
        low, high = PANEL_LIMITS[panel]
        # once all curves of the column are drawn
        axes.set_ylim(low, high or 1.08 * axes.get_ylim()[1])
    for axes in cells[-1]:
        axes.set_xlabel("epoch")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), fontsize=9)
    words = {}
    for cells_row, name in zip(cells, histories):
        for axes, panel in zip(cells_row, GAN_PANELS):
            for line in axes.lines:
                words[f"{name}, {panel} {line.get_label()}"] = trace(*line.get_data())
    return describe(fig, summary("Training curves of a GAN over epochs", words))


def _draw_curves(
    axes: Axes, rows: Sequence[Mapping[str, Any]], curves: Mapping[str, tuple[str, str]]
) -> None:
    for (label, (part, column)), colour, marker, dash in zip(
        curves.items(), OKABE_ITO, CURVE_MARKERS, DASHES
    ):
        points = [
            (row["epoch"], row[column]) for row in rows if row["part"] == part and column in row
        ]
        if not points:
            raise CourseError(
                f"history: expected a GAN's, with the column {column!r} for the part {part!r}, got"
                " none; pass the history of a dcgan."
            )
        axes.plot(
            *zip(*points), color=colour, marker=marker, markersize=4, linestyle=dash, label=label
        )
