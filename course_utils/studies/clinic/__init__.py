"""The clinic: why a VAE disappoints at inference, measured on any encoder/decoder pair."""

from __future__ import annotations

from course_utils.studies.clinic.causes import ABSENT, CANNOT_TELL, PRESENT, Diagnosis, Finding
from course_utils.studies.clinic.diagnosis import diagnose
from course_utils.studies.clinic.examiner import Examiner, sweep_panels
from course_utils.studies.clinic.readings import Adapter, as_adapter

__all__ = [
    "ABSENT",
    "CANNOT_TELL",
    "PRESENT",
    "Adapter",
    "Diagnosis",
    "Finding",
    "Examiner",
    "as_adapter",
    "diagnose",
    "sweep_panels",
]
