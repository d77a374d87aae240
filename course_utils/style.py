"""The look of every figure of the course: colours that colour-blind readers can tell apart, and sizes that stay readable."""

from __future__ import annotations

# Okabe and Ito (2008), "Color Universal Design". Black comes last, so that the first lines of a plot are coloured.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")

FIGURE_DPI = 100  # a figure of 7 inches is shown 700 px wide ...
SAVED_DPI = 140  # ... and stored with more pixels than that, so that it stays sharp on dense screens

RC_PARAMS = {
    "figure.dpi": FIGURE_DPI,
    "savefig.dpi": SAVED_DPI,
    "figure.figsize": (7.0, 4.0),
    "figure.facecolor": "white",
    "figure.max_open_warning": 0,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}


def apply_style() -> None:
    """Sets matplotlib's defaults to the look of the course, for this process."""
    import matplotlib

    matplotlib.rcParams.update(RC_PARAMS)
    matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=OKABE_ITO)
