"""The eight causes for which a VAE disappoints at inference: how each is measured, from what
threshold on it counts, and what a finding says.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from course_utils.base.errors import unknown
from course_utils.base.images import signed_to_unit
from course_utils.metrics.measurement import Measurement
from course_utils.studies.clinic.readings import (
    ExcessNLL,
    Readings,
    aggregate_kl,
    mutual_information,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESENT, ABSENT, CANNOT_TELL = "present", "absent", "cannot tell"
NUM_ERRORS = 1.96  # a verdict needs the value this many standard errors away from the threshold


@dataclass(frozen=True)
class Finding:
    """The verdict on one cause.

    Attributes:
        cause: its name, such as "collapse".
        measured: what the value is, in words.
        measurement: value, standard error and number of images; None where nothing could be
            measured.
        threshold: of the value.
        bad_side: "above" or "below": on which side of the threshold the cause is present.
        missing: what is missing for a verdict, where something is.
        detail: what else is worth knowing, in one sentence.
        remedy: what to do where the cause is present.
    """

    cause: str
    measured: str
    measurement: Measurement | None
    threshold: float
    bad_side: str
    remedy: str
    detail: str = ""
    missing: str = ""

    @property
    def verdict(self) -> str:
        """Present or absent where the value is further from the threshold than its noise, else
        "cannot tell".
        """
        if self.missing or self.measurement is None:
            return CANNOT_TELL
        distance = self.measurement.value - self.threshold
        if not math.isfinite(distance) or abs(distance) <= NUM_ERRORS * self.measurement.error:
            return CANNOT_TELL
        return PRESENT if (distance > 0) == (self.bad_side == "above") else ABSENT

    @property
    def why_not(self) -> str:
        """What is missing for a verdict; empty where there is one."""
        if self.verdict != CANNOT_TELL:
            return ""
        return self.missing or "the error bar reaches across the threshold: give more images"

    @property
    def severity(self) -> float:
        """The value on a scale where 1 is the threshold and more is worse; NaN where nothing was
        measured.
        """
        if self.measurement is None:
            return math.nan
        ratio = self.measurement.value / self.threshold
        return ratio if self.bad_side == "above" else 2 - ratio

    @property
    def number(self) -> str:
        """Value ± standard error in words, all to three decimals, so that they stand below each
        other.
        """
        return (
            "not measured"
            if self.measurement is None
            else f"{self.measurement.value:.3f} ± {self.measurement.error:.3f}"
        )

    @property
    def limit(self) -> str:
        """When the cause counts as present, such as "> 0.1"."""
        return f"{'>' if self.bad_side == 'above' else '<'} {self.threshold:g}"


@dataclass(frozen=True)
class Diagnosis:
    """Findings on one encoder/decoder pair; `print` shows the report.

    Attributes:
        findings: `{cause: Finding}`.
        about: what was examined, in one sentence.
        figures: `{cause: function that draws the figure that the verdict rests on}`.
    """

    findings: Mapping[str, Finding]
    about: str
    figures: Mapping[str, Callable[[], Figure]]

    @property
    def present(self) -> list[str]:
        """Names of the causes that are present."""
        return [cause for cause, finding in self.findings.items() if finding.verdict == PRESENT]

    @property
    def summary(self) -> dict[str, str]:
        """Verdict and value of each cause, such as "present, 0.320 ± 0.030": a table's column."""
        return {cause: f"{found.verdict}, {found.number}" for cause, found in self.findings.items()}

    def __getitem__(self, cause: str) -> Finding:
        if cause not in self.findings:
            raise unknown("cause", cause, self.findings)
        return self.findings[cause]

    def figure(self, cause: str | None = None) -> Figure:
        """Returns the overview of all causes, or the figure that the verdict on one cause rests on.

        Raises:
            CourseError: no such cause.
        """
        if cause is not None:
            self[cause]  # an unknown name is an error that lists the valid ones
            return self.figures[cause]()
        from course_utils.plotting.clinic import verdicts

        rows = {
            name: (f.severity, _relative_error(f), f"{f.number}, limit {f.limit}", f.verdict)
            for name, f in self.findings.items()
        }
        return verdicts(rows)

    def __str__(self) -> str:
        lines = [
            self.about,
            "",
            f"{'cause':18}{'verdict':13}{'value ± error':18}{'present if':12}measured",
        ]
        for f in self.findings.values():
            lines.append(f"{f.cause:18}{f.verdict:13}{f.number:18}{f.limit:12}{f.measured}")
        notes: dict[str, list[str]] = {}  # causes that share a note share a line
        for f in self.findings.values():
            notes.setdefault(f.why_not or f.detail, []).append(f.cause)
        lines += [
            "",
            "Notes",
            *(_wrapped(f"{', '.join(names)}: {text}.") for text, names in notes.items() if text),
            "",
        ]
        lines += ["What to do"] if self.present else ["Nothing to do: no cause is present."]
        return "\n".join(
            [*lines, *(_wrapped(f"{cause}: {self[cause].remedy}.") for cause in self.present)]
        )


def _relative_error(finding: Finding) -> float:
    return (
        math.nan
        if finding.measurement is None
        else finding.measurement.error / abs(finding.threshold)
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="- ", subsequent_indent="  ")


SHARE_OF_EXCESS = 0.1
# a code of one nat tells e = 2.7 images apart: it carries nothing worth the name
COLLAPSE_NATS = 1.0
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016 (arXiv:1509.00519), section 5.2
DEAD_SHARE = 0.5  # most of the latent space is unused
# of the prior's draws: where codes are missing from a fifth of it, samples show that
HOLE_SHARE = 0.2
# errors with half the amplitude of the images' own variation: visible at a glance
UNEXPLAINED_SHARE = 0.25
# a model that knows the transform finds its images no dearer; half of SHARE_OF_EXCESS leaves room
# for noise
TRANSFORM_COST = 0.05
COLLAPSED = "the code has collapsed and carries nothing; mend that first"
NO_GRADIENTS = "gradients do not pass through decode(); remove torch.no_grad() from it"


def ratio(cause: str, parts: Tensor, wholes: Tensor) -> Measurement:
    """Returns mean(parts) / mean(wholes) over images with its standard error (delta method)."""
    value = (parts.mean() / wholes.mean()).item()
    error = (
        (parts - value * wholes).std().item() / math.sqrt(len(parts)) / abs(wholes.mean().item())
    )
    return Measurement(cause, value, error, len(parts))


def collapse(readings: Readings) -> Finding:
    """Returns the finding on posterior collapse: the information that the whole code carries about
    the image, in nats.
    """
    information, most = mutual_information(readings)
    measurement = Measurement(
        "collapse",
        information.mean().item(),
        information.std().item() / math.sqrt(len(information)),
        len(information),
    )
    remedy = (
        "lower beta or give each dimension free bits (VAEConfig.free_bits), warm beta up, or weaken"
        " a decoder that ignores z"
    )
    detail = (
        f"{len(information)} images can show at most {most:.1f} nats"
        if measurement.value > 0.8 * most
        else ""
    )
    return Finding(
        "collapse",
        "nats that the code knows of its image",
        measurement,
        COLLAPSE_NATS,
        "below",
        remedy,
        detail,
    )


def active_units(readings: Readings, collapsed: bool) -> Finding:
    """Returns the finding on dead dimensions: the share whose mean varies by less than 0.01 between
    images.
    """
    variance = readings.mu.var(0)
    num_active, dim = int((variance > ACTIVE_VARIANCE).sum()), len(variance)
    # the count hardly varies between images; five groups say how much
    groups = readings.mu[: 5 * (len(readings.mu) // 5)].chunk(5)
    shares = torch.tensor([(group.var(0) <= ACTIVE_VARIANCE).double().mean() for group in groups])
    error = (shares.std() / math.sqrt(5)).item()
    measurement = Measurement("active units", 1 - num_active / dim, error, len(readings.mu))
    remedy = (
        "take a smaller latent_dim; if reconstructions are poor as well, lower beta or use free"
        " bits, so that the dimensions get used"
    )
    detail = f"{num_active} of {dim} dimensions are active"
    missing = COLLAPSED if collapsed else ""
    return Finding(
        "active units",
        "share of dead dimensions",
        measurement,
        DEAD_SHARE,
        "above",
        remedy,
        detail,
        missing,
    )


def latent_noise(readings: Readings, collapsed: bool) -> Finding:
    """Returns the finding on the mean-vs-sample gap: how far it exceeds the noise that the
    ELBO itself calls for.

    Where the ELBO is at its best, each dimension's noise costs (1 - sigma^2 / s^2) / 2 nats of
    reconstruction, s^2 being its variance over all images: a more precise code would cost more KL
    than it saves. With beta in the loss it costs beta times that. What the gap exceeds that price
    by is noise that does not pay.

    Source: the stationarity of the ELBO in sigma^2, with the decoder's cost to second order; Kingma
    & Welling 2014 (arXiv:1312.6114), app. B.
    """
    gap = readings.from_sample - readings.from_mean
    price = 0.5 * (1 - readings.logvar.exp() / readings.aggregate_variance).clamp(min=0).sum(1)
    remedy = (
        "decode the mean where you want a faithful picture; check that the encoder gives"
        " log-variances (not variances, not standard deviations); if it was trained with a beta"
        " above 1, train with a lower one"
    )
    detail = (
        f"a draw's NLL lies {gap.mean():.1f} nats above the mean's; the ELBO itself asks for noise"
        f" that makes {price.mean():.1f} nats"
    )
    missing = COLLAPSED if collapsed else ""
    return Finding(
        "latent noise",
        "share of the excess NLL for too much noise",
        ratio("noise", gap - price, readings.excess_nll),
        SHARE_OF_EXCESS,
        "above",
        remedy,
        detail,
        missing,
    )


def amortisation(excess_nll: ExcessNLL | None, collapsed: bool) -> Finding:
    """Returns the finding on the amortisation gap: what better means and variances for each image
    would save.
    """
    remedy = (
        "optimise z for the images that matter, from the encoder's answer; train the encoder"
        " longer, or make it larger"
    )
    measured = "share of the excess NLL that the best q(z | x) saves"
    if excess_nll is None:
        return Finding(
            "amortisation",
            measured,
            None,
            SHARE_OF_EXCESS,
            "above",
            remedy,
            missing=COLLAPSED if collapsed else NO_GRADIENTS,
        )
    gain = excess_nll.calibrated - excess_nll.optimised
    detail = (
        f"optimising each image's q(z | x) saves {round(gain.mean().item(), 1) + 0.0:.1f} ±"
        f" {gain.std() / math.sqrt(len(gain)):.1f} nats"
    )
    return Finding(
        "amortisation",
        measured,
        ratio("amortisation", gain, excess_nll.encoder),
        SHARE_OF_EXCESS,
        "above",
        remedy,
        detail,
    )


def prior_moments(readings: Readings, collapsed: bool) -> Finding:
    """Returns the finding on the means and covariances of all codes: the share of the excess NLL
    that pays for their difference from those of the prior and not for information.
    """
    num, dim = readings.z.shape
    remedy = (
        "fit a density to the codes and sample from it (course_utils.models.latents), or make the"
        " prior learnable"
    )
    measured = "share of the excess NLL for codes of other moments than N(0, I)"
    few = (
        f"the covariance of {dim} dimensions needs more than {2 * dim} images, got {num}"
        if num <= 2 * dim
        else ""
    )
    if collapsed or few:
        return Finding(
            "prior moments",
            measured,
            None,
            SHARE_OF_EXCESS,
            "above",
            remedy,
            missing=COLLAPSED if collapsed else few,
        )
    value, error = aggregate_kl(readings.z)
    whole = readings.excess_nll.mean().item()
    return Finding(
        "prior moments",
        measured,
        Measurement("moments", value / whole, error / whole, num),
        SHARE_OF_EXCESS,
        "above",
        remedy,
        f"KL of all codes to N(0, I) is at least {round(value, 1) + 0.0:.1f} nats",
    )


def prior_holes(accuracy: Measurement | None) -> Finding:
    """Returns the finding on holes: regions that hold more of the prior than of the codes, so that
    samples start where the decoder was hardly trained.

    Args:
        accuracy: of telling codes from draws of the prior by their nearest neighbour; None where
            the code has collapsed.
    """
    measured = "share of the prior where codes are missing, at least"
    remedy = (
        "sample from a density that is fitted to the codes (course_utils.models.latents), make the"
        " prior learnable, or raise beta, which makes reconstructions worse"
    )
    if accuracy is None:
        return Finding(
            "prior holes", measured, None, HOLE_SHARE, "above", remedy, missing=COLLAPSED
        )
    return Finding(
        "prior holes",
        measured,
        Measurement("holes", 2 * accuracy.value - 1, 2 * accuracy.error, accuracy.num_images),
        HOLE_SHARE,
        "above",
        remedy,
        f"the nearest neighbour of a code or of a draw from the prior is of its own kind in"
        f" {accuracy.value:.0%} of all cases; it would be 50% if both were spread alike",
    )


def capacity(
    readings: Readings, errors: Tensor | None, num_components: int | None, collapsed: bool
) -> Finding:
    """Returns the finding on capacity: the share of the images' variance that even the best z
    leaves unexplained.

    Args:
        errors: squared error of the first images at their best z, `[M]`.
        num_components: of a principal component analysis that reaches the same error; None if it
            does not.
    """
    remedy = "raise latent_dim, widen or deepen the decoder, train longer, or lower beta"
    measured = "share of pixel variance that no z explains"
    if errors is None:
        return Finding(
            "capacity",
            measured,
            None,
            UNEXPLAINED_SHARE,
            "above",
            remedy,
            missing=COLLAPSED if collapsed else NO_GRADIENTS,
        )
    x = signed_to_unit(readings.images)
    spread = (x[: len(errors)] - x.mean(0)).square().flatten(1).sum(1)
    equal = f"{num_components}" if num_components else "more than it could be given"
    detail = (
        f"{readings.mu.shape[1]} latent dimensions do what a principal component analysis does with"
        f" {equal}"
    )
    return Finding(
        "capacity",
        measured,
        ratio("capacity", errors, spread),
        UNEXPLAINED_SHARE,
        "above",
        remedy,
        detail,
    )


def augmentation(readings: Readings, transformed: Readings | None, collapsed: bool) -> Finding:
    """Returns the finding on augmentation: how much dearer images get by the training transform. A
    model that learned it finds them no dearer.
    """
    remedy = (
        "samples carry the transform: train the last epochs without it, or condition on it; bring"
        " inference images to the training's form"
    )
    measured = "rise of the excess NLL by the training transform"
    if transformed is None or collapsed:
        missing = (
            COLLAPSED if collapsed else "pass the transform of the training as train_transform"
        )
        return Finding(
            "augmentation", measured, None, TRANSFORM_COST, "below", remedy, missing=missing
        )
    rise = transformed.excess_nll - readings.excess_nll
    changed = (transformed.images - readings.images).abs().mean().item()
    missing = "the transform leaves images nearly as they are" if changed < 0.01 else ""
    detail = f"the transform changes the excess NLL by {rise.mean():+.1f} nats an image"
    return Finding(
        "augmentation",
        measured,
        ratio("augmentation", rise, readings.excess_nll),
        TRANSFORM_COST,
        "below",
        remedy,
        detail,
        missing,
    )
