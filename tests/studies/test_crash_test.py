"""Known-bad generators, the verdicts on them, and changes of equal squared error."""

from __future__ import annotations

import math

import pytest
import torch

from course_utils.base.device import make_rng
from course_utils.base.errors import CourseError
from course_utils.data.dataset import Dataset
from course_utils.metrics.measurement import check_probabilities
from course_utils.studies import crash_test

SIZE = 16


def images_of(num, seed=0):
    return torch.randint(0, 256, (num, 1, SIZE, SIZE), generator=make_rng(seed)).to(torch.uint8)


def dataset_of(num_train, num_test, labels=None):
    num_classes = 2
    train_labels = torch.arange(num_train) % num_classes if labels is None else labels
    return Dataset(
        name="own",
        train_images=torch.zeros(num_train, 1, SIZE, SIZE, dtype=torch.uint8),
        train_labels=train_labels,
        test_images=torch.zeros(num_test, 1, SIZE, SIZE, dtype=torch.uint8),
        test_labels=torch.zeros(num_test, dtype=torch.int64),
        class_names=("a", "b"),
        source="a test",
    )


def test_scores_are_those_of_the_own_images_where_there_are_enough(capsys):
    own = dataset_of(1600, 200)
    assert crash_test.scoring_dataset(own) is own
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "own",
    [
        dataset_of(1599, 200),
        dataset_of(1600, 199),
        dataset_of(1600, 200, (torch.arange(1600) > 399).long() * 0),
        dataset_of(1600, 200, (torch.arange(1600) < 399).long()),
    ],
    ids=["few training images", "few test images", "one class", "a rare class"],
)
def test_scores_are_those_of_the_strokes_where_there_are_not(own, capsys, monkeypatch):
    monkeypatch.setattr(crash_test, "load_dataset", lambda name: name)
    assert crash_test.scoring_dataset(own) == "strokes"
    assert "own has 1," in capsys.readouterr().out


def test_generators_fail_in_one_way_each():
    memory, fresh = images_of(150), images_of(400, seed=1)
    labels = torch.arange(400) % 4
    sets = crash_test.crash_generators(memory, fresh, labels, {"no 3": 3}, 60)
    assert {len(images) for images in sets.values()} == {60}
    control = sets.pop("control")
    assert torch.equal(control, fresh[-60:])
    known = {image.numpy().tobytes() for image in memory}
    copied = {name: {image.numpy().tobytes() for image in sets[name]} for name in sets}
    assert copied["all copies"] <= known and len(copied["100 copies"] & known) == 60
    assert not copied["no 3"] & {image.numpy().tobytes() for image in fresh[labels == 3]}
    assert copied["no 3"] <= {image.numpy().tobytes() for image in fresh[labels != 3]}
    for name in ("blur", "noise", "shift", "contrast"):
        assert not torch.equal(sets[name], control)


FLOOR = [{"FID ↓": 1.0, "IS ↑": 9.0}, {"FID ↓": 3.0, "IS ↑": 7.0}, {"FID ↓": 2.0, "IS ↑": 8.0}]


@pytest.mark.parametrize(
    ("name", "fid", "score", "expected"),
    [
        ("bad", 6.1, 3.9, ("caught", "caught")),
        ("bad", 5.9, 4.1, ("missed", "missed")),
        ("bad", -2.1, 12.1, ("preferred", "preferred")),
        ("control", 5.9, 4.1, ("quiet", "quiet")),
        ("control", 6.1, 3.9, ("caught", "caught")),
    ],
)
def test_verdicts_count_standard_deviations_of_perfect_sets(name, fid, score, expected):
    """The floors have the means 2 and 8 and the standard deviation 1; the limit is 4 of them."""
    table = crash_test.crash_verdicts(FLOOR, {name: {"FID ↓": fid, "IS ↑": score}})
    assert (table["FID ↓"][name][1], table["IS ↑"][name][1]) == expected
    assert table["FID ↓"][name][0] == f"{fid:.3g}"
    caught = expected[0] == "caught" or name == "control"
    assert crash_test.missed_by(table)["FID ↓"] == ([] if caught else [name])


def test_verdicts_need_a_spread_and_a_direction():
    with pytest.raises(CourseError, match="2 or more perfect sets"):
        crash_test.crash_verdicts(FLOOR[:1], {})
    with pytest.raises(CourseError, match="ends in ↑ or ↓"):
        crash_test.crash_verdicts([{"FID": 1.0}, {"FID": 2.0}], {})


def test_every_metric_is_the_librarys_own():
    from course_utils import metrics

    rng = make_rng(2)
    features, reference, memory = torch.randn(3, 50, 4, generator=rng, dtype=torch.float64)
    p = check_probabilities(torch.randn(50, 3, generator=rng, dtype=torch.float64).softmax(1))
    memory[:10] = features[:10]
    found = crash_test.every_metric(features, p, reference, memory, 1e-6, torch.full((3,), 1 / 3))
    assert len(found) == 11 and all(name[-1] in "↑↓" for name in found)
    assert found["FID ↓"] == pytest.approx(metrics.fid(features, reference).value)
    assert found["IS ↑"] == pytest.approx(found["S ↑"] * found["D ↑"])
    assert found["recall ↑"] == metrics.precision_recall(reference, features).recall.value
    assert found["copies ↓"] == pytest.approx(0.2)


def test_changes_have_equal_errors_and_need_no_clipping():
    x, changed = crash_test.equal_error_changes(images_of(12))
    assert list(changed) == ["brighter", "more contrast", "noise", "blur", "double image"]
    errors = torch.stack([(y - x).square().mean((1, 2, 3)).sqrt() for y in changed.values()])
    assert torch.allclose(errors, errors[:1].expand_as(errors))
    assert errors.max() <= 0.05 + 1e-9 and errors.min() > 0.01
    assert min(y.min() for y in changed.values()) >= 0
    assert max(y.max() for y in changed.values()) <= 1


def test_density_of_copies_is_that_of_the_mixture():
    rng = make_rng(4)
    points, centres = torch.randn(2, 15, 3, generator=rng, dtype=torch.float64)
    std = 0.7
    parts = torch.distributions.Normal(centres, std).log_prob(points[:, None]).sum(2)
    expected = parts.logsumexp(1) - math.log(15)
    assert torch.allclose(crash_test.log_density_of_copies(points, centres, std), expected)
