"""The ELBO explorer: sliders for the mean and width of q and for the observation, on the model
whose log p(x) is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from course_utils.base.config import require
from course_utils.models.toy_vae import ToyLatentModel, elbo, gap, latent_grid, log_normal
from course_utils.plotting.derivation import bound_picture
from course_utils.widgets.controls import Panel, figure_explorer, slider

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEP = 10  # every 10th point of the grid: 0.05 apart, fine enough for the eye


def elbo_picture(mean: float = 0.0, std: float = 1.0, x: float = 1.5, bend: float = 1.2) -> Figure:
    """Returns prior, exact posterior and q = N(mean, std^2) over z, beside log p(x) as ELBO plus
    KL(q || posterior).

    Args:
        mean, std: of q.
        x: the observation.
        bend: of the decoder; 0 makes the posterior a Gaussian.

    Raises:
        CourseError: `std` is not above 0.
    """
    require(std > 0, "std", "more than 0", std)
    model = ToyLatentModel(bend=bend)
    observation, mu, width = (
        torch.tensor(float(value), dtype=torch.float64) for value in (x, mean, std)
    )
    z = latent_grid()[::STEP]
    z = z[z.abs() <= 4]
    curves = {
        "posterior p(z | x)": model.log_posterior(observation, z).exp(),
        "q(z)": log_normal(z, mu, width).exp(),
        "prior p(z)": log_normal(z, 0.0, 1.0).exp(),
    }
    bounds = (fn(model, observation, mu, width).item() for fn in (elbo, gap))
    return bound_picture(
        z,
        curves,
        model.log_evidence(observation).item(),
        *bounds,
        title=f"x = {x:.1f}, q = N({mean:.2f}, {std:.2f}²)",
    )


def elbo_explorer(x: float = 1.5) -> Panel:
    """Returns sliders for q and for the observation above `elbo_picture`, which is redrawn with
    each move.

    Args:
        x: the observation to begin with, from -4 to 4.
    """
    require(-4 <= x <= 4, "x", "-4 to 4", x)
    ranges = {"mean": (0.0, -3.0, 3.0), "std": (1.0, 0.1, 2.0), "x": (x, -4.0, 4.0)}
    return figure_explorer(
        elbo_picture, {name: slider(name, *limits, step=0.05) for name, limits in ranges.items()}
    )
