"""What every model of the course is: `loss` and `sample`, nothing else that the training loop has
to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils.base.errors import CourseError


class Batch(NamedTuple):
    """What a training step sees: signed images `[B, C, H, W]` in [-1, 1], int64 labels `[B]`, and
    captions as the model's tokens, int64 `[B, L]`, where dataset and model have them.
    """

    images: Tensor
    labels: Tensor
    captions: Tensor | None = None


class Model(nn.Module):
    """Base class of all families. A family writes `loss` and, if it is generative, `sample`.

    Attributes:
        family: the name that presets, checkpoints and the command line use.
        can_sample: whether `sample` draws images; False for families that answer questions about an
            image.
        has_likelihood: whether the model gives log p(x), by `log_prob` (exact) or by `log_weights`
            (importance weights of a bound).
        config: the frozen dataclass that the model was built from.
        learns_from: the preset of the trained model that training starts from, for a family that
            has a teacher.
    """

    family: str
    can_sample: bool = True
    has_likelihood: bool = False
    learns_from: str | None = None

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where the parameters are; noise and batches go there."""
        return next(self.parameters()).device

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def takes_labels(self) -> bool:
        """Whether `sample` accepts the classes to draw."""
        return False

    @property
    def needs_labels(self) -> bool:
        """Whether the model learned p(image | label) and not how frequent labels are, so that who
        draws from it as a whole gives the labels.
        """
        return False

    def draw_labels(self, n: int, *, rng: torch.Generator | None = None) -> Tensor | None:
        """Returns classes as `sample` draws them where it is given none, int64 `[n]` where `rng`
        lives; None for a model that draws none.
        """
        if not self.needs_labels:
            return None
        device = self.device if rng is None else rng.device
        return torch.randint(self.config.num_classes, (n,), generator=rng, device=device)

    def trainable_parts(self) -> dict[str, nn.Module]:
        """Returns the sub-modules that are updated one after the other in each step, in that order,
        each by its own optimizer.
        """
        return {"model": self}

    def learning_rate_factors(self) -> dict[str, float]:
        """Returns the factor of the learning rate of each part."""
        return dict.fromkeys(self.trainable_parts(), 1.0)

    def training_spans(self) -> dict[str, tuple[float, float]]:
        """Returns when each part is trained: from which share of the training to which, between 0
        and 1. The learning rate goes through its whole schedule within the span of a part.
        """
        return dict.fromkeys(self.trainable_parts(), (0.0, 1.0))

    def hidden_weights(self) -> list[Tensor]:
        """Returns the weights between the first and the last layer, each with two dimensions or
        more: what the optimizer "muon" is made for. None where the family was not tried with it.
        """
        return []

    def encode_captions(self, captions: Sequence[str]) -> Tensor | None:
        """Returns the tokens of captions, int64 `[N, L]`; None for a model that reads no text."""
        return None

    def start_from(self, teacher: Model, seed: int = 0) -> None:
        """Takes over from its teacher what training needs; for families that name one.

        Raises:
            CourseError: a teacher that does not fit.
        """
        raise CourseError(f"a {self.family} learns from images alone: it takes no teacher.")

    def loss(
        self, batch: Batch, part: str, *, rng: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Returns per-image terms `[B]`; `"loss"` is what training minimises for `part`, the others
        are its named terms.

        Args:
            batch: signed images and labels.
            part: a key of `trainable_parts()`.
            rng: source of all randomness inside; None uses torch's global one.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss()")

    def alarms(self, rows: Sequence[dict[str, Any]]) -> list[str]:
        """Returns a line for each way in which the last epoch of a history shows that the training
        goes wrong; `fit` prints them.
        """
        return []

    def sample(
        self, n: int, *, labels: Tensor | None = None, rng: torch.Generator | None = None
    ) -> Tensor:
        """Returns `n` new images `[n, C, H, W]` in [-1, 1], for the given labels `[n]` where the
        family is conditional.

        Raises:
            CourseError: the family cannot sample, because it answers questions about images and
                models no p(image).
        """
        raise CourseError(
            f"a {self.family} cannot sample: it answers a question about an image and models no"
            " p(image). Use a generative family."
        )


def check_num_samples(n: int) -> None:
    """Raises CourseError unless `n` is a whole number of images, at least 1."""
    if not isinstance(n, int) or n < 1:
        raise CourseError(f"number of samples: expected a whole number of at least 1, got {n!r}.")


def check_unconditional(family: str, labels: Tensor | None) -> None:
    """Raises CourseError where labels are given to a model that was not trained with any."""
    if labels is not None:
        raise CourseError(
            f"this {family} is not class-conditional: expected labels=None, got labels. It samples"
            " p(image), not p(image | label)."
        )
