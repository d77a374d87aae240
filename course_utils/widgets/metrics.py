"""Explorers of two metrics: the Fréchet distance of two Gaussians, and the Inception Score as
sharpness times diversity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.base.config import require
from course_utils.metrics.classes import inception_score
from course_utils.metrics.frechet import GaussianParams, frechet_terms
from course_utils.plotting.metrics import gaussian_distance, score_map
from course_utils.widgets.controls import CountSlider, Panel, figure_explorer, slider

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# the Gaussian that stands still
REFERENCE = (torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))


def gaussian_of(
    mean_x: float, mean_y: float, std_x: float, std_y: float, correlation: float
) -> tuple[Tensor, Tensor]:
    """Returns mean `[2]` and covariance `[2, 2]` of a Gaussian of the plane, float64.

    Raises:
        CourseError: a negative standard deviation, or a correlation outside [-1, 1].
    """
    require(min(std_x, std_y) >= 0, "std_x, std_y", "0 or more", (std_x, std_y))
    require(-1 <= correlation <= 1, "correlation", "-1 to 1", correlation)
    shared = correlation * std_x * std_y
    mean = torch.tensor([mean_x, mean_y], dtype=torch.float64)
    return mean, torch.tensor([[std_x**2, shared], [shared, std_y**2]], dtype=torch.float64)


def fid_picture(
    mean_x: float = 0.0,
    mean_y: float = 0.0,
    std_x: float = 1.0,
    std_y: float = 1.0,
    correlation: float = 0.0,
) -> Figure:
    """Returns the standard Gaussian and another one as ellipses, beside the two terms of their
    squared Fréchet distance.

    Args:
        mean_x, mean_y: mean of the other Gaussian.
        std_x, std_y, correlation: its standard deviations and their correlation.
    """
    other = gaussian_of(mean_x, mean_y, std_x, std_y, correlation)
    terms = frechet_terms(
        *(GaussianParams(mean, covariance, 1) for mean, covariance in (REFERENCE, other))
    )
    return gaussian_distance({"real": REFERENCE, "generated": other}, terms)


def constructed_probabilities(confidence: float, num_drawn: int, num_classes: int = 10) -> Tensor:
    """Returns class probabilities `[num_drawn, num_classes]` of a made-up generator that draws one
    image of each of its first classes.

    Args:
        confidence: probability that the classifier gives to the right class, from 1/num_classes to
            1; the others share the rest.
        num_drawn: how many of the classes are drawn.
    """
    require(1 / num_classes <= confidence <= 1, "confidence", f"1/{num_classes} to 1", confidence)
    require(1 <= num_drawn <= num_classes, "num_drawn", f"1 to {num_classes}", num_drawn)
    rest = (1 - confidence) / (num_classes - 1)
    probabilities = torch.full((num_drawn, num_classes), rest, dtype=torch.float64)
    return probabilities.fill_diagonal_(confidence)


def inception_picture(
    confidence: float = 0.9, num_drawn: int = 10, num_classes: int = 10
) -> Figure:
    """Returns the place of `constructed_probabilities` in the plane of sharpness and diversity; the
    title gives the score.
    """
    # Two copies of each image: a score needs at least two images, and copies change neither factor.
    probabilities = constructed_probabilities(confidence, num_drawn, num_classes).repeat(2, 1)
    result = inception_score(probabilities)
    sharpness, diversity, score = (
        part.value for part in (result.sharpness, result.diversity, result.score)
    )
    title = f"S = {sharpness:.3f},  D = {diversity:.2f},  IS = S x D = {score:.2f}"
    return score_map({"generator": (sharpness, diversity)}, num_classes, title)


def fid_explorer() -> Panel:
    """Returns sliders for the mean and the covariance of one of two Gaussians; `fid_picture` is
    redrawn with each move.
    """
    sliders = {
        "mean_x": slider("mean x", 1.5, -3.0, 3.0),
        "mean_y": slider("mean y", 0.5, -3.0, 3.0),
        "std_x": slider("std x", 1.5, 0.0, 2.5),
        "std_y": slider("std y", 0.7, 0.0, 2.5),
        "correlation": slider("correlation", 0.6, -1.0, 1.0),
    }
    return figure_explorer(fid_picture, sliders)


def inception_explorer(num_classes: int = 10) -> Panel:
    """Returns sliders for a generator's confidence and number of classes; `inception_picture` is
    redrawn with each move.
    """
    drawn = CountSlider(value=num_classes, min=1, max=num_classes, description="classes")
    sliders = {
        "confidence": slider("confidence", 0.9, 1 / num_classes, 1.0, step=0.01),
        "num_drawn": drawn,
    }
    return figure_explorer(
        lambda **values: inception_picture(**values, num_classes=num_classes), sliders
    )
