"""What a diagnosis says: one finding a cause, with value, threshold, verdict, and the figure it rests on."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from course_utils.errors import unknown
from course_utils.metrics.result import Measurement

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
        measurement: value, standard error and number of images; None where nothing could be measured.
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
        """Present or absent where the value is further from the threshold than its noise, else "cannot tell"."""
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
        """The value on a scale where 1 is the threshold and more is worse; NaN where nothing was measured."""
        if self.measurement is None:
            return math.nan
        ratio = self.measurement.value / self.threshold
        return ratio if self.bad_side == "above" else 2 - ratio

    @property
    def number(self) -> str:
        """Value ± standard error in words, all to three decimals, so that they stand below each other."""
        return "not measured" if self.measurement is None else f"{self.measurement.value:.3f} ± {self.measurement.error:.3f}"

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

        rows = {name: (f.severity, _relative_error(f), f"{f.number}, limit {f.limit}", f.verdict) for name, f in self.findings.items()}
        return verdicts(rows)

    def __str__(self) -> str:
        lines = [self.about, "", f"{'cause':18}{'verdict':13}{'value ± error':18}{'present if':12}measured"]
        for f in self.findings.values():
            lines.append(f"{f.cause:18}{f.verdict:13}{f.number:18}{f.limit:12}{f.measured}")
        notes: dict[str, list[str]] = {}  # causes that share a note share a line
        for f in self.findings.values():
            notes.setdefault(f.why_not or f.detail, []).append(f.cause)
        lines += ["", "Notes", *(_wrapped(f"{', '.join(names)}: {text}.") for text, names in notes.items() if text), ""]
        lines += ["What to do"] if self.present else ["Nothing to do: no cause is present."]
        return "\n".join([*lines, *(_wrapped(f"{cause}: {self[cause].remedy}.") for cause in self.present)])


def _relative_error(finding: Finding) -> float:
    return math.nan if finding.measurement is None else finding.measurement.error / abs(finding.threshold)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 118, initial_indent="- ", subsequent_indent="  ")
