"""The clinic: why a VAE disappoints at inference, measured on any encoder/decoder pair."""

from course_utils.clinic.adapter import Adapter, as_adapter
from course_utils.clinic.diagnosis import diagnose
from course_utils.clinic.report import ABSENT, CANNOT_TELL, PRESENT, Diagnosis, Finding

__all__ = ["ABSENT", "CANNOT_TELL", "PRESENT", "Adapter", "Diagnosis", "Finding", "as_adapter", "diagnose"]
