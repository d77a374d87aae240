"""A student that draws in one call of a small network what a diffusion model, its teacher, draws in
ten calls of a larger one.

A diffusion model without noise on the way turns each starting noise into one image. Pairs of both
are drawn from the teacher once; the student, a DCGAN, learns from real images as a GAN does and
from the pairs where each noise should lead.

Source: pairs of a noise and the image that a flow takes it to: Liu et al. 2023 (arXiv:2209.03003),
sec. 2.2; beside an adversarial loss: Sauer et al. 2023 (arXiv:2311.17042). Deviations: the student
is a smaller network of another kind, and it sees only the coarse part of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.base.config import require, setting
from course_utils.base.device import rand
from course_utils.base.errors import CourseError
from course_utils.base.images import signed_to_uint8, uint8_to_signed
from course_utils.models.base import Model
from course_utils.models.dcgan import DCGAN, DCGANConfig
from course_utils.models.diffusion.flows import draw_pairs

IMAGES_PER_CALL = 1000


@dataclass(frozen=True)
class StudentConfig(DCGANConfig):
    """Settings of a student: those of a DCGAN, and of what it learns from its teacher."""

    teacher: str = setting("diffusion", "preset whose trained model is the teacher")
    num_pairs: int = setting(
        10_000, "noises that the teacher turns into images", minimum=1, sensible=(100, 100_000)
    )
    pair_share: float = setting(
        0.5, "share of a batch that is compared with the teacher's images", minimum=0, maximum=1
    )
    pair_weight: float = setting(
        1.0, "weight of the squared distance to the teacher's images", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.conditional, "conditional", "true: the teacher is told the class", False)
        num_pixels = self.image_channels * self.image_size**2
        require(
            self.latent_dim <= num_pixels, "latent_dim", f"at most {num_pixels}", self.latent_dim
        )


class Pairs(NamedTuple):
    """What a teacher made of noise: the noise's coarse part `[N, latent_dim]`, the ordered classes
    `[N]` and the uint8 images `[N, C, H, W]`.
    """

    z: Tensor
    labels: Tensor
    images: Tensor


class Student(DCGAN):
    """A DCGAN whose noise means what its teacher's noise means.

    Attributes:
        learns_from: the preset of its teacher.
        pairs: what the teacher drew; None in a student that was loaded, whose loss then lacks that
            term.
    """

    family = "student"
    config: StudentConfig

    def __init__(self, config: StudentConfig) -> None:
        super().__init__(config)
        self.learns_from = config.teacher
        self.pairs: Pairs | None = None

    def start_from(self, teacher: Model, seed: int = 0) -> None:
        """Draws the pairs that the student will learn from.

        Args:
            teacher: a conditional diffusion model whose sampler adds no noise on the way.
            seed: of the noises.

        Raises:
            CourseError: a model of another kind, or one of other images.
        """
        if teacher.family != "diffusion" or not teacher.takes_labels:
            raise CourseError(
                f"model.teacher: expected a diffusion model that is told the class, got a"
                f" {teacher.family}."
            )
        if teacher.config.image_shape != self.config.image_shape:
            raise CourseError(
                f"model.teacher: expected one of images {list(self.config.image_shape)}, got one"
                f" of {list(teacher.config.image_shape)}."
            )
        found = draw_pairs(teacher, self.config.num_pairs, seed, IMAGES_PER_CALL)
        z = coarse_noise(found.noise, self.config.latent_dim)
        self.pairs = Pairs(z, found.labels, signed_to_uint8(found.images))

    def _generator_terms(
        self, images: Tensor, z: Tensor, labels: Tensor | None, rng: torch.Generator | None
    ) -> dict[str, Tensor]:
        num = round(self.config.pair_share * len(images))
        if self.pairs is None or num == 0:
            return super()._generator_terms(images, z, labels, rng)
        assert labels is not None  # a student is conditional
        chosen = rand((len(images),), rng, images.device)[:num]
        rows = (chosen * len(self.pairs.z)).long().cpu()
        pairs = Pairs(*(part[rows].to(images.device) for part in self.pairs))
        z = torch.cat([pairs.z, z[num:]])
        labels = torch.cat([pairs.labels, labels[num:]])
        fakes = self.generator(z, labels)
        terms = self._generator_terms_of(fakes, images, labels, rng)
        squared = (fakes[:num].float() - uint8_to_signed(pairs.images)).square().mean()
        loss = terms.pop("loss") + self.config.pair_weight * squared
        return {"loss": loss, **terms, "pair_mse": squared.detach().expand(len(images))}


def coarse_noise(noise: Tensor, num: int) -> Tensor:
    """Returns the `num` numbers of lowest frequency of the discrete cosine transform of noise
    images, `[B, num]` for `[B, C, H, W]`. Of standard normal noise they are standard normal and
    independent, because the transform is orthonormal.

    What a diffusion model draws depends mostly on them: the shape of a digit is decided while fine
    detail still drowns in noise.
    """
    *_, channels, height, width = noise.shape
    rows, columns = _cosines(height, noise), _cosines(width, noise)
    frequencies = torch.arange(height)[:, None] ** 2 + torch.arange(width) ** 2
    order = frequencies.expand(channels, height, width).flatten().argsort(stable=True)[:num]
    return (rows @ noise @ columns.T).flatten(1)[:, order.to(noise.device)]


def _cosines(side: int, like: Tensor) -> Tensor:
    """Returns the orthonormal matrix of the discrete cosine transform, `[side, side]`, a frequency
    a row.
    """
    places = (torch.arange(side) + 0.5) * torch.pi / side
    matrix = torch.cos(torch.arange(side)[:, None] * places) * (2 / side) ** 0.5
    matrix[0] /= 2**0.5
    return matrix.to(like)
