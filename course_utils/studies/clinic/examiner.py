"""One examination for every model of a sweep: reconstruction error, KL, dimensions in use, and FID
of the samples, all on the same test images.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.images import signed_to_uint8, signed_to_unit, uint8_to_signed
from course_utils.metrics.features import Extractor, extract
from course_utils.metrics.frechet import fid
from course_utils.metrics.measurement import Measurement, MetricWarning, mean_over_images
from course_utils.models.vae import gaussian_kl
from course_utils.studies.clinic.readings import Adapter, as_adapter

IN_USE_NATS = 0.1  # of mean KL: less than that tells hardly anything about an image


class Examiner:
    """Examines encoder/decoder pairs on the same test images.

    Args:
        extractor: of the features that FID compares.
        images: test images, uint8 `[N, C, H, W]`; FID compares as many samples with them.
        seed: of the samples, equal for all models.
    """

    def __init__(self, extractor: Extractor, images: Tensor, seed: int = 0) -> None:
        self.extractor, self.seed = extractor, seed
        self.images = uint8_to_signed(images)
        self.features = extract(extractor, images)
        num, dim = self.features.shape
        self.has_few_images = num <= dim
        if self.has_few_images:
            print(f"FID needs more images than its {dim} features; with {num} it is too high.")

    def fid(self, images: Tensor) -> Measurement:
        """Returns the FID of signed or uint8 images against the test images."""
        if images.dtype != torch.uint8:
            images = signed_to_uint8(images)
        features = extract(self.extractor, images)
        with warnings.catch_warnings():
            if self.has_few_images:  # said once, at the start
                warnings.simplefilter("ignore", MetricWarning)
            return fid(features, self.features)

    @torch.no_grad()
    def samples(self, pair: Adapter) -> Tensor:
        """Returns as many decoded draws of N(0, I) as there are test images, signed."""
        dim = pair.encode(self.images[:1])[0].shape[1]
        return pair.decode(torch.randn(len(self.images), dim, generator=make_rng(self.seed)))

    @torch.no_grad()
    def examine(self, model: Any) -> dict[str, Measurement]:
        """Returns squared error of the decoded means (a pixel, in units of the range [0, 1]), KL
        (nats an image), the number of dimensions with more than 0.1 nats, and FID of the samples.

        Args:
            model: see `as_adapter`.
        """
        pair = as_adapter(model)
        mu, logvar = pair.encode(self.images)
        kl = gaussian_kl(mu, logvar)
        off = signed_to_unit(self.images) - signed_to_unit(pair.decode(mu))
        in_use = int((kl.mean(0) > IN_USE_NATS).sum())
        found = (
            mean_over_images("squared error", off.square().flatten(1).mean(1)),
            mean_over_images("KL", kl.sum(1)),
            Measurement("dimensions in use", in_use, float("nan"), len(mu)),
            self.fid(self.samples(pair)),
        )
        return {measurement.name: measurement for measurement in found}


def sweep_panels(
    examined: Mapping[float, Mapping[str, Measurement]],
) -> dict[str, list[tuple[float, float]]]:
    """Returns what `plotting.clinic.setting_sweep` draws: (value, error) of each setting, by the
    name of the quantity.

    Args:
        examined: `{setting: what examine() returned}`.
    """
    panels: dict[str, list[tuple[float, float]]] = {}
    for found in examined.values():
        for name, measurement in found.items():
            error = measurement.error if measurement.error == measurement.error else 0.0
            panels.setdefault(name, []).append((measurement.value, error))
    return panels
