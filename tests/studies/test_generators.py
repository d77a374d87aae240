"""Known-bad generators: each does what its name says and nothing else, and equal seeds give equal
images.
"""

from __future__ import annotations

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.studies import corruptions as generators

RNG = torch.Generator().manual_seed(0)
IMAGES = torch.randint(60, 190, (12, 1, 9, 9), generator=RNG).to(torch.uint8)
LABELS = torch.arange(12) % 3

EVERY = {
    "blurred": lambda: generators.blurred(IMAGES, 1.0),
    "noisy": lambda: generators.noisy(IMAGES, 0.1, seed=4),
    "shifted": lambda: generators.shifted(IMAGES, 2, -1),
    "low_contrast": lambda: generators.low_contrast(IMAGES, 0.5),
    "dropped_modes": lambda: generators.dropped_modes(IMAGES, LABELS, (1,), 5, seed=4),
    "memorised": lambda: generators.memorised(IMAGES, 3, 7, seed=4),
}


@pytest.mark.parametrize("name", EVERY)
def test_uint8_images_of_the_same_shape_and_the_same_again(name):
    images = EVERY[name]()
    assert images.dtype == torch.uint8 and images.shape[1:] == IMAGES.shape[1:]
    assert torch.equal(images, EVERY[name]())


def test_blur_spreads_a_point_and_keeps_its_ink():
    point = torch.zeros(1, 1, 15, 15, dtype=torch.uint8)
    point[0, 0, 7, 7] = 255
    spread = generators.blurred(point, 1.0)[0, 0].int()
    # the weight of the middle of a unit Gaussian on whole pixels
    assert spread[7, 7] == round(255 * 0.39905**2)
    assert torch.equal(spread, spread.T) and torch.equal(spread, spread.flip(0))
    assert abs(spread.sum().item() - 255) < 12  # rounding of 169 levels


def test_no_blur_changes_nothing():
    assert torch.equal(generators.blurred(IMAGES, 0), IMAGES)


def test_noise_has_the_standard_deviation_asked_for():
    grey = torch.full((200, 1, 9, 9), 128, dtype=torch.uint8)
    noise = generators.noisy(grey, 0.1, seed=1).float() - 128
    assert abs(noise.std().item() / 25.5 - 1) < 0.02 and abs(noise.mean().item()) < 1
    assert not torch.equal(generators.noisy(grey, 0.1, seed=1), generators.noisy(grey, 0.1, seed=2))


def test_noise_is_clipped_and_does_not_wrap():
    white = torch.full((1, 1, 9, 9), 255, dtype=torch.uint8)
    assert generators.noisy(white, 0.1).min() > 100


@pytest.mark.parametrize(("right", "down"), [(2, 0), (-2, 0), (0, 3), (1, -3)])
def test_shift_moves_pixels_and_fills_with_black(right, down):
    moved = generators.shifted(IMAGES, right, down)
    for y, x in ((4, 4), (3, 5)):
        assert torch.equal(moved[:, :, y + down, x + right], IMAGES[:, :, y, x])
    black = (moved == 0).all(0)[0]
    assert black.sum() == 81 - (9 - abs(right)) * (9 - abs(down))


def test_contrast_scales_towards_black():
    assert torch.equal(
        generators.low_contrast(IMAGES, 0.5), (IMAGES.float() * 0.5).round().to(torch.uint8)
    )


def test_dropped_modes_shows_different_images_of_the_other_classes():
    images = generators.dropped_modes(IMAGES, LABELS, (1,), 8, seed=2)
    places = [(IMAGES == image).flatten(1).all(1).nonzero().item() for image in images]
    assert len(set(places)) == 8 and 1 not in LABELS[places].tolist()


def test_memoriser_repeats_what_it_knows_equally_often():
    images = generators.memorised(IMAGES, 3, 7)
    counts = [(images == image).flatten(1).all(1).sum().item() for image in IMAGES]
    assert sorted(counts[:3]) == [2, 2, 3] and sum(counts[3:]) == 0


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_planted_copies_replace_a_share_and_leave_the_rest(share):
    fresh = 255 - IMAGES
    images = generators.planted_copies(fresh, IMAGES, share, seed=5)
    places = [(IMAGES == image).flatten(1).all(1).nonzero().flatten().tolist() for image in images]
    copied = [found[0] for found in places if found]
    assert len(copied) == len(set(copied)) == round(share * len(fresh))
    assert all(
        torch.equal(image, original)
        for image, original, found in zip(images, fresh, places)
        if not found
    )


def test_disguises_are_applied_to_copies_alone():
    fresh = torch.zeros_like(IMAGES)
    images = generators.planted_copies(fresh, IMAGES, 0.5, right_px=1, seed=5)
    copies = images[(images > 0).flatten(1).any(1)]
    moved = generators.shifted(IMAGES, 1)
    assert len(copies) == 6 and all((moved == copy).flatten(1).all(1).any() for copy in copies)
    both = generators.disguised(IMAGES, noise_std=0.1, blur_px=1.0, seed=3)
    assert torch.equal(both, generators.noisy(generators.blurred(IMAGES, 1.0), 0.1, seed=3))
    assert torch.equal(generators.disguised(IMAGES), IMAGES)


BAD = [
    (lambda: generators.planted_copies(IMAGES, IMAGES, 1.5), "share: expected 0 to 1, got 1.5"),
    (
        lambda: generators.planted_copies(IMAGES, IMAGES[:2], 0.5),
        "train: expected at least 6 images to copy, got 2",
    ),
    (
        lambda: generators.planted_copies(IMAGES, IMAGES[:, :, :5], 0.5),
        "train: expected images of shape",
    ),
    (lambda: generators.blurred(IMAGES, -1), "width_px: expected 0 pixels or more, got -1"),
    (lambda: generators.blurred(IMAGES.float()), "expected uint8 images"),
    (lambda: generators.noisy(IMAGES, -0.1), "noise_std: expected 0 or more"),
    (lambda: generators.shifted(IMAGES, 9), "right_px, down_px: expected less than 9 and 9 pixels"),
    (lambda: generators.low_contrast(IMAGES, 1.5), "factor: expected 0 to 1, got 1.5"),
    (lambda: generators.dropped_modes(IMAGES, LABELS, (1,), 9), "num_images: expected at most 8"),
    (
        lambda: generators.dropped_modes(IMAGES, LABELS[:3], (1,), 2),
        "labels: expected 12, one an image, got 3",
    ),
    (lambda: generators.memorised(IMAGES, 13, 2), "num_remembered: expected 1 to 12"),
    (lambda: generators.memorised(IMAGES, 2, 0), "num_images: expected 1 or more"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_bad_input_has_its_message(spoil, message):
    with pytest.raises(CourseError, match=message):
        spoil()
