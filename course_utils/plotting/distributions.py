"""Figures of distributions: densities, histograms, a target with its fits, what one pixel says about another, and ROC curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from course_utils.errors import CourseError
from course_utils.plotting.canvas import WIDTH, new_figure
from course_utils.style import OKABE_ITO

if TYPE_CHECKING:  # torch and matplotlib cost seconds to import
    from matplotlib.figure import Figure
    from torch import Tensor

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))


def curves(x: Tensor, series: Mapping[str, Tensor], xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Returns one smooth line for each entry of `series`, told apart by colour, dash and legend.

    Args:
        x: `[N]`.
        series: `{name: y [N]}`.

    Raises:
        CourseError: a series of another length.
    """
    fig = new_figure(3.4)
    axes = fig.subplots()
    for (name, y), colour, dash in zip(series.items(), OKABE_ITO, DASHES):
        if len(y) != len(x):
            raise CourseError(f"{name}: expected {len(x)} values, one for each x, got {len(y)}; compute the curve on the same grid.")
        axes.plot(x, y, color=colour, linestyle=dash, label=name)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return fig


def fits(x: Tensor, target: Tensor, fitted: Mapping[str, Tensor], xlabel: str = "x") -> Figure:
    """Returns one panel for each fitted density, the target as a grey area behind it.

    Args:
        x: `[N]`.
        target: density `[N]`.
        fitted: `{title: density [N]}`.
    """
    fig = new_figure(2.6, WIDTH * 1.25)
    for axes, (name, density), colour, dash in zip(fig.subplots(1, len(fitted), sharey=True, squeeze=False)[0], fitted.items(), OKABE_ITO, DASHES):
        axes.fill_between(x, target, color="#BBBBBB", linewidth=0, label="target")
        axes.plot(x, density, color=colour, linestyle=dash, label="fit")
        axes.set(xlabel=xlabel)
        axes.set_title(name, fontsize=11)
    fig.axes[0].set_ylabel("density")
    fig.axes[-1].legend(fontsize=9)
    return fig


def histograms(values: Mapping[str, Tensor], xlabel: str, num_bins: int = 60, title: str = "") -> Figure:
    """Returns one outlined histogram for each entry, on shared bins and each with area 1; values beyond the outer 0.5 % are left out.

    Args:
        values: `{name: [N]}`.
    """
    import numpy as np

    everything = np.concatenate([np.asarray(one) for one in values.values()])
    bins = np.linspace(*np.quantile(everything, [0.005, 0.995]), num_bins)
    fig = new_figure(3.2)
    axes = fig.subplots()
    for (name, one), colour, dash in zip(values.items(), OKABE_ITO, DASHES):
        axes.hist(np.asarray(one), bins, density=True, histtype="step", color=colour, linestyle=dash, linewidth=1.8, label=name)
    axes.set(title=title, xlabel=xlabel, ylabel="share (area 1)")
    axes.legend()
    return fig


def scatter_band(points: Tensor, x: Tensor, mean: Tensor, std: Tensor, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Returns points with a line for the mean of y given x and a band of two standard deviations to each side.

    Args:
        points: `[N, 2]`.
        x, mean, std: `[M]`.
    """
    fig = new_figure(3.6, 5.0)
    axes = fig.subplots()
    axes.scatter(*points.T, s=8, alpha=0.4, color="#666666", linewidths=0, label="images")
    axes.plot(x, mean, color=OKABE_ITO[1], label="mean of y given x")
    axes.fill_between(x, mean - 2 * std, mean + 2 * std, color=OKABE_ITO[1], alpha=0.2, linewidth=0, label="± 2 standard deviations")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.legend(fontsize=9)
    return fig


def roc_curves(rates: Mapping[str, tuple[Tensor, Tensor]], title: str = "") -> Figure:
    """Returns ROC curves over the diagonal of blind guessing.

    Args:
        rates: `{name: (false alarms [N], hits [N])}`, shares from 0 to 1 as the threshold falls.
    """
    fig = new_figure(4.0, 5.0)
    axes = fig.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, label="blind guessing")
    for (name, (false_alarms, hits)), colour, dash in zip(rates.items(), OKABE_ITO, DASHES):
        axes.plot(false_alarms, hits, color=colour, linestyle=dash, label=name)
    axes.set(title=title, xlabel="share of digits called outliers", ylabel="share of outliers found", aspect="equal")
    axes.legend(fontsize=9)
    return fig
