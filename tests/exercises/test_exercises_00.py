"""The exercises of notebook 00: right answers in other styles pass, wrong ones are told what is
wrong with them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.exercises import core

# ---- 00.levels ----


def levels_numpy(signed):
    return np.rint((signed.numpy() + 1) * 127.5).astype(np.uint8)


def levels_in_one_go(signed):
    return (127.5 * signed + 127.5).round().byte()


def levels_half_up(signed):
    return torch.floor(127.5 * (signed + 1) + 0.5).to(torch.uint8)


def levels_as_floats(signed):
    return ((signed + 1) / 2 * 255).round()


def levels_as_integers(signed):
    return ((signed + 1) / 2 * 255).round().long()


def levels_in_place(signed):
    signed += 1
    return (signed / 2 * 255).round().to(torch.uint8)


def levels_of_the_first(signed):
    return ((signed[:1] + 1) / 2 * 255).round().to(torch.uint8)


def levels_wrapped(signed):
    return ((signed + 1) * 128).round().long().to(torch.uint8)


def levels_without_return(signed):
    levels = ((signed + 1) / 2 * 255).round().to(torch.uint8)  # noqa: F841


def levels_with_128(signed):
    return (signed * 128 + 127).clamp(0, 255).round().to(torch.uint8)


# ---- 00.pixel_shares ----


def shares_numpy(images):
    return (images.numpy() > 127).mean(axis=0)


def shares_counted(images):
    counts = torch.zeros(images.shape[1:])
    for image in images:
        counts += image >= 128
    return counts / len(images)


def shares_einsum(images):
    return torch.einsum("nchw->chw", (images > 127).float()) / images.shape[0]


def shares_of_booleans(images):
    return (images > 127).mean(0)


def shares_from_127(images):
    return (images >= 127).double().mean(0)


def shares_overflown(images):
    return (images > 127).to(torch.uint8).sum(0) // len(images)


def shares_of_rows(images):
    return (images > 127).double().mean(2)


def shares_of_the_median(images):
    return (images > 127).double().median(0).values


def shares_of_batch(images):
    return (images > 127).double().sum(0) / (len(images) - 1)


def shares_without_return(images):
    (images > 127).double().mean(0)


# ---- 00.sample_pixels ----


def drawn_by_bernoulli(shares, num_images, rng):
    return (255 * torch.bernoulli(shares.expand(num_images, *shares.shape), generator=rng)).byte()


def drawn_one_by_one(shares, num_images, rng):
    drawings = [
        torch.where(torch.rand(shares.shape, generator=rng) < shares, 255, 0)
        for _ in range(num_images)
    ]
    return torch.stack(drawings).to(torch.uint8)


def drawn_with_numpy(shares, num_images, rng):
    noise = torch.rand((num_images, *shares.shape), generator=rng).numpy()
    return np.where(noise < shares.numpy(), 255, 0).astype(np.uint8)


def drawn_above(shares, num_images, rng):
    noise = torch.rand((num_images, *shares.shape), generator=rng)
    return ((noise >= 1 - shares) * 255).to(torch.uint8)


def drawn_unseeded(shares, num_images, rng):
    return 255 * (torch.rand((num_images, *shares.shape)) < shares).to(torch.uint8)


def drawn_from_numpys_own(shares, num_images, rng):
    noise = np.random.random((num_images, *shares.shape))
    return (255 * (noise < shares.numpy())).astype(np.uint8)


def drawn_from_normals(shares, num_images, rng):
    noise = torch.randn((num_images, *shares.shape), generator=rng)
    return 255 * (noise < shares).to(torch.uint8)


def drawn_as_floats(shares, num_images, rng):
    return 255.0 * (torch.rand((num_images, *shares.shape), generator=rng) < shares)


def drawn_single(shares, num_images, rng):
    return 255 * (torch.rand(shares.shape, generator=rng) < shares).to(torch.uint8)


def drawn_as_noise(shares, num_images, rng):
    return (255 * torch.rand((num_images, *shares.shape), generator=rng) * shares).to(torch.uint8)


def drawn_black(shares, num_images, rng):
    return torch.zeros((num_images, *shares.shape), dtype=torch.uint8)


def drawn_nan(shares, num_images, rng):
    return torch.rand((num_images, *shares.shape), generator=rng) / 0 * 0


def drawn_without_return(shares, num_images, rng):
    255 * (torch.rand((num_images, *shares.shape), generator=rng) < shares)


# ---- 00.standard_error ----


def error_numpy(values):
    return np.std(values.numpy(), ddof=1) / np.sqrt(len(values))


def error_by_hand(values):
    mean = sum(values.tolist()) / len(values)
    squares = [(value - mean) ** 2 for value in values.tolist()]
    return (sum(squares) / len(values) / len(values)) ** 0.5


def error_of_the_variance(values):
    return (values.var() / values.numel()).sqrt()


def error_of_200(values):
    return values.std() / 200**0.5


def error_nan(values):
    return (values.var() - values.var() - 1).sqrt()


def error_without_return(values):
    values.std() / len(values) ** 0.5


# ---- 00.seed ----


def batches_of_torch(sample, seed):
    first = sample(4, torch.Generator().manual_seed(seed))
    return first, sample(4, torch.Generator().manual_seed(seed))


def batches_seeded_again(sample, seed):
    rng = torch.Generator()
    return [sample(4, rng.manual_seed(seed)) for _ in range(2)]


def batches_of_a_kept_state(sample, seed):
    rng = make_rng(seed)
    state = rng.get_state()
    first = sample(4, rng)
    rng.set_state(state)
    return first, sample(4, rng)


def batches_by_name(sample, seed):
    return sample(num_images=4, rng=make_rng(seed)), sample(num_images=4, rng=make_rng(seed))


def batches_of_five(sample, seed):
    return sample(5, make_rng(seed)), sample(5, make_rng(seed))


def batches_of_numpy(sample, seed):
    return sample(4, np.random.default_rng(seed)), sample(4, np.random.default_rng(seed))


def batches_never_drawn(sample, seed):
    batch = torch.randn((4, 3), generator=make_rng(seed))
    return batch, batch


def batches_joined(sample, seed):
    return sample(4, make_rng(seed))


def batches_of_another_seed(sample, seed):
    return sample(4, make_rng(seed)), sample(4, make_rng(2 * seed + 1))


def batches_without_return(sample, seed):
    first = sample(4, make_rng(seed))
    second = sample(4, make_rng(seed))  # noqa: F841
    return first, None


# ---- 00.share_above ----


def shares_above_numpy(losses, reference):
    return (reference.numpy()[None] >= losses.numpy()[:, None]).mean(1)


def shares_above_as_list(losses, reference):
    return [float((reference >= loss).float().mean()) for loss in losses]


def shares_above_sorted(losses, reference):
    below = torch.searchsorted(reference.sort().values, losses)
    return 1 - below / len(reference)


def shares_above_shifted(losses, reference):
    return ((reference[None] >= losses[:, None]).double().sum(1) + 1) / (len(reference) + 1)


def shares_above_of_the_first(losses, reference):
    return (reference >= losses[0]).double().mean()


def shares_above_in_percent(losses, reference):
    return 100 * shares_above_numpy(losses, reference)


def shares_above_without_return(losses, reference):
    (reference[None] >= losses[:, None]).double().mean(1)


RIGHT = {
    "00.toy": [784, 784.0, 28**2, np.int64(784), torch.tensor(784)],
    "00.levels": [levels_numpy, levels_in_one_go, levels_half_up],
    "00.pixel_shares": [shares_numpy, shares_counted, shares_einsum],
    "00.sample_pixels": [drawn_by_bernoulli, drawn_one_by_one, drawn_with_numpy, drawn_above],
    "00.standard_error": [error_numpy, error_by_hand, error_of_the_variance],
    "00.changes": [
        {"train.num_train_images": 6000, "model.latent_dim": 8, "train.num_epochs": 1},
        dict([("model.latent_dim", 8), ("train.num_epochs", 1), ("train.num_train_images", 6_000)]),
    ],
    "00.seed": [batches_of_torch, batches_seeded_again, batches_of_a_kept_state, batches_by_name],
    "00.share_above": [shares_above_numpy, shares_above_as_list, shares_above_sorted],
}

GOOD = {"model.latent_dim": 8, "train.num_epochs": 1, "train.num_train_images": 6000}

# what each of these wrong answers has to be told; the known mistakes are tested for all notebooks
WRONG = {
    "00.toy": [(785, "too large"), (-784, "The sign is the wrong way round")],
    "00.levels": [
        (levels_as_floats, "The values are right, but their type is float32"),
        (levels_as_integers, "The values are right, but their type is int64"),
        (levels_in_place, "changes the tensor that it is given"),
        (levels_of_the_first, "Expected numbers of shape [6], got numbers of shape [1]"),
        (levels_wrapped, "differ"),
        (levels_with_128, "differ"),
        (levels_without_return, "Is the `return` missing?"),
    ],
    "00.pixel_shares": [
        (shares_of_booleans, "Your function raised"),
        (shares_from_127, "(test input 4 of 5)"),
        (shares_overflown, "(test input 1 of 5)"),
        (shares_of_rows, "Expected numbers of shape [1, 4, 5], got numbers of shape [7, 1, 5]"),
        (shares_of_the_median, "differ (test input 1 of 5)"),
        (shares_of_batch, "Every value is 1.167 times what it should be"),
        (shares_without_return, "Is the `return` missing?"),
    ],
    "00.sample_pixels": [
        (drawn_unseeded, "do not come from the generator that is given"),
        (drawn_from_numpys_own, "do not come from the generator that is given"),
        (drawn_from_normals, "A pixel with the share 0.0 is bright in 5"),
        (drawn_as_floats, "The values are right, but their type is float32"),
        (drawn_single, "Expected drawings of shape [1, 1, 2, 4]"),
        (drawn_as_noise, "Each pixel is either 0 or 255"),
        (drawn_black, "so compare the share with a random number"),
        (drawn_nan, "NaN"),
        (drawn_without_return, "Is the `return` missing?"),
    ],
    "00.standard_error": [
        (error_of_200, "too large (test input 2 of 4)"),
        (error_nan, "NaN"),
        (error_without_return, "Is the `return` missing?"),
    ],
    "00.changes": [
        ([("model.latent_dim", 8)], "Expected a dictionary"),
        (GOOD | {"model.latent_dims": 8}, "model.latent_dim"),
        (GOOD | {"model.latent_dim": 6000}, "This experiment has 6000 latent dimensions"),
        (GOOD | {"train.num_epochs": 5}, "This experiment trains for 5 epochs"),
        ({"model.latent_dim": 8, "train.num_epochs": 1}, "trains on all images"),
        (GOOD | {"train.num_train_images": 600}, "trains on 600 images"),
        (GOOD | {"train.batch_size": 64}, "train.batch_size is one too many"),
        (GOOD | {"train.num_epochs": -1}, "num_epochs"),
    ],
    "00.seed": [
        (batches_of_five, "Expected batches of 4, got [5, 5]"),
        (batches_of_numpy, "Expected a torch generator, such as make_rng(seed), got a numpy"),
        (batches_never_drawn, "never calls `sample`"),
        (batches_joined, "Expected two batches"),
        (batches_of_another_seed, "Your second batch has another seed"),
        (batches_without_return, "None"),
    ],
    "00.share_above": [
        (shares_above_shifted, "differ"),
        (shares_above_of_the_first, "Expected numbers of shape [4], got a number"),
        (shares_above_in_percent, "Every value is 100 times what it should be"),
        (shares_above_without_return, "Is the `return` missing?"),
    ],
}


def cases(answers: dict) -> list:
    return [
        pytest.param(exercise_id, answer, id=f"{exercise_id}-{place}")
        for exercise_id, given in answers.items()
        for place, answer in enumerate(given)
    ]


@pytest.fixture(autouse=True)
def no_progress_file(monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "off")


@pytest.mark.parametrize(("exercise_id", "answer"), cases(RIGHT))
def test_other_styles_pass(exercise_id, answer, capsys):
    core.check(exercise_id, answer)
    printed = capsys.readouterr().out
    assert printed.startswith(f"✓ {exercise_id}: passed."), printed


@pytest.mark.parametrize(("exercise_id", "answer_and_words"), cases(WRONG))
def test_wrong_answers_are_told_what_is_wrong(exercise_id, answer_and_words, capsys):
    answer, words = answer_and_words
    core.check(exercise_id, answer)
    printed = " ".join(capsys.readouterr().out.split())  # printed in lines
    assert printed.startswith(f"✗ {exercise_id}: not yet.") and words in printed, printed


def test_every_exercise_is_tried():
    ids = {exercise.id for exercise in core.exercises("nb00")}
    assert ids == set(RIGHT) == set(WRONG)
    known = sum(len(exercise.mistakes) for exercise in core.exercises("nb00"))
    assert known + sum(map(len, WRONG.values())) >= 8 * len(ids)
