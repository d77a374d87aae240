"""A model's own loss terms on given images, one value an image. Metrics of generated images live in `metrics/`."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.device import make_rng
from course_utils.errors import unknown
from course_utils.images import uint8_to_signed
from course_utils.models.base import Batch, Model


@torch.no_grad()
def evaluate(model: Model, images: Tensor, labels: Tensor, *, part: str = "model", seed: int = 0, batch_size: int = 500) -> dict[str, Tensor]:
    """Returns every term of the model's loss for each image, `{name: [N]}` on the CPU, with noise from a fixed generator so that calls compare.

    Args:
        model: any family; its training mode is put back afterwards.
        images, labels: uint8 `[N, C, H, W]` and int64 `[N]`.
        part: a key of `model.trainable_parts()`.
        seed: of the fixed generator.
        batch_size: images a call.
    """
    if part not in model.trainable_parts():
        raise unknown("part", part, model.trainable_parts())
    rng = make_rng(seed, 2, device=model.device)
    was_training = model.training
    model.eval()
    rows = []
    try:
        for start in range(0, len(images), batch_size):
            chunk = slice(start, start + batch_size)
            batch = Batch(uint8_to_signed(images[chunk].to(model.device)), labels[chunk].to(model.device))
            rows.append(model.loss(batch, part, rng=rng))
    finally:
        model.train(was_training)
    return {name: torch.cat([row[name].float().cpu() for row in rows]) for name in rows[0]}
