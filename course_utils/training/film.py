"""The film of a training: images from the same noise at fixed moments, kept with the run, so that a
run that is loaded can show how it learned.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.base.files import atomic_path
from course_utils.base.images import check_uint8, signed_to_uint8, tile
from course_utils.models.base import Model

NUM_IMAGES = 10  # of each frame: one of each class, where there are ten and the model takes labels
# Shares of the training after which a frame is drawn: close together at first, when most changes.
MOMENTS = tuple((place / 11) ** 2 for place in range(12))
FILM = 12  # the purpose that the noise of the frames is derived for
MIN_STEPS = 100  # a shorter training has nothing to show, and drawing would cost more than it


class Film(NamedTuple):
    """Images from the same noise during a training.

    Attributes:
        frames: uint8 `[moments, images, C, H, W]`.
        steps: how many training steps each moment comes after.
    """

    frames: Tensor
    steps: tuple[int, ...]


class Camera:
    """Draws the frames of one training. Its noise is its own, so the training is the same with it
    and without.

    Args:
        seed: of the noise.
        shape: of one image, `(C, H, W)`.
    """

    def __init__(self, seed: int, shape: tuple[int, int, int]) -> None:
        self.seed = seed
        self.frames = torch.zeros(len(MOMENTS), NUM_IMAGES, *shape, dtype=torch.uint8)
        self.steps = torch.full((len(MOMENTS),), -1)  # -1: not drawn yet

    def watch(self, model: Model, step: int, before: float, now: float) -> None:
        """Draws the frames whose moment has come.

        Args:
            model: the weights that the training would hand over now.
            step: training steps until now.
            before, now: shares of the training that were done at the last call and are done now.
        """
        due = [k for k, moment in enumerate(MOMENTS) if before < moment <= now]
        if due:
            self.frames[due] = self._frame(model)
            self.steps[due] = step

    @torch.no_grad()
    def _frame(self, model: Model) -> Tensor:
        rng = make_rng(self.seed, FILM, device=model.device)
        labels = None
        if model.takes_labels:
            labels = torch.arange(NUM_IMAGES, device=model.device) % model.config.num_classes
        was_training = model.training
        model.eval()
        try:
            return signed_to_uint8(model.sample(NUM_IMAGES, labels=labels, rng=rng)).cpu()
        finally:
            model.train(was_training)

    def film(self) -> Film | None:
        """Returns the film; None where a moment is missing, because the training was cut off or
        began before there were films.
        """
        steps = [int(step) for step in self.steps]
        return None if -1 in steps else Film(self.frames, tuple(steps))


def film_sheet(frames: Tensor) -> Tensor:
    """Returns frames `[moments, images, C, H, W]` as one picture, uint8 `[C, moments*H, images*W]`,
    time downwards.
    """
    return tile(frames.flatten(0, 1), frames.shape[1], pad=0)


def frames_of(sheet: Tensor, num_moments: int, num_images: int) -> Tensor:
    """Returns the frames `[moments, images, C, H, W]` that `film_sheet` made a picture of.

    Raises:
        CourseError: the picture cannot hold so many images.
    """
    channels, height, width = sheet.shape
    if height % num_moments or width % num_images:
        raise CourseError(
            f"film: expected a picture of {num_moments} rows of {num_images} images, got"
            f" {height} x {width} pixels, which do not divide so."
        )
    shape = (channels, num_moments, height // num_moments, num_images, width // num_images)
    frames = sheet.reshape(shape).permute(1, 3, 0, 2, 4).contiguous()
    check_uint8(frames.flatten(0, 1))
    return frames


def save_film(path: Path, film: Film) -> None:
    """Writes the pictures of a film as one PNG, a row for each moment; what its steps are has to be
    kept apart.
    """
    from PIL import Image

    picture = Image.fromarray(film_sheet(film.frames).permute(1, 2, 0).squeeze(-1).numpy())
    with atomic_path(path) as partial:
        picture.save(partial, format="PNG", optimize=True)


def load_film(path: Path, steps: tuple[int, ...]) -> Film:
    """Returns the film that `save_film` wrote.

    Raises:
        CourseError: the file cannot be read or holds another number of images.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as picture:
            pixels = torch.from_numpy(np.array(picture))
    except (OSError, SyntaxError) as error:
        raise CourseError(
            f"{path}: cannot be read as PNG ({error}); delete it, and the run has no film."
        ) from error
    sheet = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    return Film(frames_of(sheet, len(steps), NUM_IMAGES), steps)
