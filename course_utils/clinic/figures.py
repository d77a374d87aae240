"""The figure that each verdict rests on, from what the diagnosis measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.clinic.adapter import Adapter
from course_utils.clinic.causes import ACTIVE_VARIANCE
from course_utils.clinic.optimise import Bills
from course_utils.clinic.readings import Readings
from course_utils.plotting import image_rows, ranked_bars
from course_utils.plotting.distributions import histograms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_SHOWN = 10


@dataclass(frozen=True)
class Material:
    """What the figures are drawn from; `transformed`, `bills` and `latents` are None where nothing was measured."""

    adapter: Adapter
    readings: Readings
    transformed: Readings | None
    bills: Bills | None
    latents: Tensor | None
    prior: Tensor

    @torch.no_grad()
    def decoded(self, z: Tensor) -> Tensor:
        """Returns the first images that a decoder makes of latents, signed."""
        return self.adapter.decode(z[:NUM_SHOWN]).clamp(-1, 1)

    @property
    def originals(self) -> Tensor:
        return self.readings.images[:NUM_SHOWN]


def latent_noise(shown: Material) -> Figure:
    """Returns images, decoded means and decoded samples."""
    r = shown.readings
    return image_rows({"image": shown.originals, "from the mean": shown.decoded(r.mu), "from a sample": shown.decoded(r.z)})


def amortisation(shown: Material) -> Figure:
    """Returns images, what the encoder's means decode to, and what the best means decode to."""
    rows = {"image": shown.originals, "encoder's mean": shown.decoded(shown.readings.mu)}
    if shown.bills is not None:
        rows["optimised mean"] = shown.decoded(shown.bills.mu)
    return image_rows(rows)


def active_units(shown: Material) -> Figure:
    """Returns the variance of each dimension's mean over images, with the threshold below which it is dead."""
    return ranked_bars(shown.readings.mu.var(0), "latent dimension", "variance of the mean", ACTIVE_VARIANCE)


def collapse(shown: Material) -> Figure:
    """Returns images and what their codes decode to: of a collapsed code always the same."""
    return image_rows({"image": shown.originals, "from the mean": shown.decoded(shown.readings.mu), "from a sample": shown.decoded(shown.readings.z)})


def prior_mismatch(shown: Material) -> Figure:
    """Returns what the decoder makes of codes and of draws from the prior."""
    return image_rows({"from codes": shown.decoded(shown.readings.z), "from the prior": shown.decoded(shown.prior)})


def capacity(shown: Material) -> Figure:
    """Returns images, what their codes decode to, and the nearest that the decoder can come."""
    rows = {"image": shown.originals, "encoder's mean": shown.decoded(shown.readings.mu)}
    if shown.latents is not None:
        rows["best z"] = shown.decoded(shown.latents)
    return image_rows(rows)


def augmentation(shown: Material) -> Figure:
    """Returns the bills of plain and of transformed images; samples from the prior where no transform was given."""
    if shown.transformed is None:
        return image_rows({"image": shown.originals, "from the prior": shown.decoded(shown.prior)})
    bills = {"as they are": shown.readings.bill.cpu(), "transformed": shown.transformed.bill.cpu()}
    return histograms(bills, "bill of an image (nats above the floor)", num_bins=30)


FIGURES = {
    "latent noise": latent_noise,
    "amortisation": amortisation,
    "active units": active_units,
    "collapse": collapse,
    "prior mismatch": prior_mismatch,
    "capacity": capacity,
    "augmentation": augmentation,
}
