"""Reading the history of a GAN: what its curves say went wrong, and how many classes its samples cover.

A GAN's losses do not fall as it improves, so they cannot say whether it learns. These readings can.
"""

from __future__ import annotations

from typing import Any

import torch

from course_utils.device import make_rng
from course_utils.history import History
from course_utils.images import signed_to_uint8
from course_utils.metrics.classes import class_coverage, class_histogram
from course_utils.metrics.features import class_probabilities
from course_utils.models.base import Model
