"""What notebook 01 measures: small grey images, strange images, scores of labels, few labels, the
crossing of Ng and Jordan, divergences.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from course_utils.base.errors import CourseError
from course_utils.data.dataset import Dataset
from course_utils.metrics.measurement import Measurement, is_difference_real
from course_utils.studies import two_kinds


def dataset_of(channels: int = 1, side: int = 28, num_classes: int = 3) -> Dataset:
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % num_classes
    images = torch.randint(0, 256, (24, channels, side, side), generator=rng, dtype=torch.uint8)
    names = tuple(f"class {index}" for index in range(num_classes))
    return Dataset("toy", images, labels, images[:8], labels[:8], names, "for a test")


def test_small_grey_leaves_digits_alone():
    dataset = dataset_of()
    assert two_kinds.small_grey(dataset) is dataset


def test_small_grey_makes_colour_grey_and_large_small():
    dataset = dataset_of(channels=3, side=56)
    red = torch.zeros_like(dataset.test_images)
    red[:, 0] = 200
    small = two_kinds.small_grey(replace(dataset, test_images=red))
    assert small.image_shape == (1, 28, 28) and small.train_images.dtype == torch.uint8
    assert (small.test_images == round(0.299 * 200)).all()  # the brightness of red
    area = dataset.train_images[0, :, :2, :2].float().mean((1, 2))
    expected = (area * torch.tensor([0.299, 0.587, 0.114])).sum()
    assert abs(small.train_images[0, 0, 0, 0] - expected) <= 0.51


def test_small_pictures_keep_their_size():
    assert two_kinds.small_grey(dataset_of(channels=3, side=16)).image_shape == (1, 16, 16)


def test_ink_of_two_classes_takes_halves_where_there_is_one_class():
    ink, label = two_kinds.ink_of_two_classes(dataset_of(num_classes=1))
    assert len(ink) == 24 and label.sum() == 12
    assert ink[label == 1].min() >= ink[label == 0].max()
    dataset = dataset_of()
    ink, label = two_kinds.ink_of_two_classes(dataset)
    assert len(ink) == 16 and set(label.tolist()) == {0, 1}
    first = dataset.train_images[dataset.train_labels == 0][0].float().mean() / 255
    assert ink[0] == pytest.approx(first.item())


def test_strange_images_are_five_kinds_of_one_shape():
    images = dataset_of().test_images
    strange = two_kinds.strange_images(images, seed=1)
    assert len(strange) == 5
    assert all(kind.shape == images.shape for kind in strange.values())
    assert (strange["inverted"] + images == 255).all()
    shuffled = strange["pixels shuffled"].flatten(1)
    assert not torch.equal(shuffled, images.flatten(1))
    assert torch.equal(shuffled.sort(1).values, images.flatten(1).sort(1).values)
    white = strange["white shapes"]
    assert (white.flatten(1).amax(1) == 255).all() and white.float().mean() < 0.3 * 255
    again = two_kinds.strange_images(images, seed=1)
    assert all(torch.equal(again[name], kind) for name, kind in strange.items())


def test_label_scores_of_known_probabilities():
    log_p = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]).log()
    labels = torch.tensor([0, 1, 1])
    assert two_kinds.accuracy(log_p, labels).value == pytest.approx(2 / 3)
    scores = two_kinds.label_scores(log_p, labels)
    nats = -torch.tensor([0.5, 0.1, 0.8]).log().mean().item()
    assert float(scores["cross-entropy (nats)"].split()[0]) == pytest.approx(nats, abs=0.01)
    assert scores["mean confidence"].startswith("0.73")


def test_few_labelled_takes_that_many_of_each_class():
    dataset = dataset_of()
    small = two_kinds.few_labelled(dataset, 2, seed=0)
    assert small.train_labels.bincount().tolist() == [2, 2, 2]
    other = two_kinds.few_labelled(dataset, 2, seed=1)
    assert not torch.equal(small.train_images, other.train_images)
    assert len(two_kinds.few_labelled(dataset, 100, seed=0).train_labels) == 24
    with pytest.raises(CourseError, match="num_per_class"):
        two_kinds.few_labelled(dataset, 0, seed=0)


def test_few_label_accuracies_measures_each_size_and_seed():
    def knows_all(small, seed):
        return lambda images: small.test_labels

    def says_zero(small, seed):
        return lambda images: torch.zeros(len(images), dtype=torch.int64)

    trainers = {"knows": knows_all, "zero": says_zero}
    found = two_kinds.few_label_accuracies(trainers, dataset_of(), (1, 4), 3)
    assert [one.value for one in found["knows"]] == [1.0, 1.0]
    assert found["zero"][0].value == pytest.approx(3 / 8)
    assert found["zero"][0].num_seeds == 3 and found["zero"][0].error == 0
    alone = two_kinds.few_label_accuracies(trainers, dataset_of(), (1,), 1)
    assert math.isnan(alone["zero"][0].error)


def test_brief_cnn_learns_two_plain_classes():
    labels = torch.arange(16) % 2
    images = torch.zeros(16, 1, 8, 8, dtype=torch.uint8)
    images[labels == 1] = 220
    names = ("dark", "bright")
    dataset = Dataset("toy", images, labels, images, labels, names, "for a test")
    guess = two_kinds.brief_cnn(dataset, 0, "none", num_steps=12)
    assert torch.equal(guess(images), labels)


def test_naive_bayes_and_logistic_regression_cross():
    """With few points the generative model is ahead, with many the discriminative one."""
    errors = two_kinds.naive_bayes_crossing([40, 2560], num_seeds=8)
    (bayes, bayes_bars), (logistic, logistic_bars) = errors.values()

    def compared(place):
        sides = (bayes, bayes_bars), (logistic, logistic_bars)
        first, second = (
            Measurement("error", float(v[place]), float(b[place]), 5000, num_seeds=8)
            for v, b in sides
        )
        return is_difference_real(first, second)

    few, many = compared(0), compared(1)
    assert few and few.difference < 0
    assert many and many.difference > 0
    with pytest.raises(CourseError, match="sizes"):
        two_kinds.naive_bayes_crossing([3])


def test_divergences_of_two_gaussians():
    x = torch.linspace(-9, 9, 1801, dtype=torch.float64)

    def log_normal(mean, std):
        return -0.5 * ((x - mean) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)

    found = two_kinds.divergences(log_normal(0.0, 1.0), log_normal(1.0, 2.0), 0.01)
    # KL of two Gaussians: log(s2 / s1) + (s1^2 + d^2) / (2 s2^2) - 1/2
    assert found["KL(p || q)"] == pytest.approx(math.log(2) + 2 / 8 - 0.5, abs=1e-4)
    assert found["KL(q || p)"] == pytest.approx(-math.log(2) + 5 / 2 - 0.5, abs=3e-3)
    far = two_kinds.divergences(log_normal(-4.0, 0.3), log_normal(4.0, 0.3), 0.01)
    assert far["Jensen-Shannon"] == pytest.approx(math.log(2), abs=1e-6)
    assert far["Wasserstein"] == pytest.approx(8.0, abs=1e-2)
    with pytest.raises(CourseError, match="one grid"):
        two_kinds.divergences(x, x[1:], 0.01)


def test_facts_of_images_have_error_bars():
    facts = {"share": torch.tensor([True, False, True, True])}
    assert two_kinds.facts_of_images(facts) == {"share": "0.75 ± 0.25"}
