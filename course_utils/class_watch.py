"""Counting the classes that a generator draws while it trains: a hook for `fit` that adds rows to the history."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.config import require
from course_utils.device import make_rng
from course_utils.history import History
from course_utils.images import signed_to_uint8
from course_utils.metrics.classes import class_coverage, class_kl
from course_utils.metrics.features import class_probabilities
from course_utils.models.base import Model

CHUNK = 500


def watch_classes(classifier: Model, frequencies: Tensor, num_images: int = 1000) -> Callable[[Model, History], None]:
    """Returns an `on_epoch` hook for `fit` that samples the model after each epoch and adds what classes it drew to the history.

    The row has split "samples" and the columns `classes_covered` (a number of classes), `class_kl` (nats) and `seconds` (training time so far).

    Args:
        classifier: tells the classes of images.
        frequencies: of the classes among real images, `[K]`, adding up to 1.
        num_images: sampled each time, from the same noise.
    """
    require(num_images >= len(frequencies), "num_images", f"at least {len(frequencies)}, the number of classes", num_images)

    @torch.no_grad()
    def hook(model: Model, history: History) -> None:
        was_training, rng = model.training, make_rng(0, 3)
        model.eval()
        chunks = [model.sample(min(CHUNK, num_images - start), rng=rng) for start in range(0, num_images, CHUNK)]
        model.train(was_training)
        probabilities = class_probabilities(classifier, signed_to_uint8(torch.cat(chunks)).cpu())
        covered = round(class_coverage(probabilities).value * len(frequencies))
        row = {"epoch": history.num_epochs, "split": "samples", "part": "generator", "seconds": history.seconds}
        history.rows.append({**row, "classes_covered": covered, "class_kl": class_kl(probabilities, frequencies).value})

    return hook
