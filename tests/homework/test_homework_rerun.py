"""A run is repeated from its settings; numbers that were made up do not agree, and settings that
were changed by hand are not run.
"""

from __future__ import annotations

import copy
import random
from types import SimpleNamespace

import pytest
from submissions import SHA256, results_dict, row_dict, write_one

from course_utils.base.errors import CourseError
from course_utils.homework.archive import write_submission
from course_utils.homework.classroom import find_claims, read_class, rerun
from course_utils.homework.schema import check_results


def check(_):
    return SimpleNamespace(met=True, points=())


def data(name, sha256=SHA256):
    """Stands in for a dataset: what an experiment is fitted to."""
    shape = {"image_shape": (1, 28, 28), "num_classes": 10}
    return SimpleNamespace(name=name, key=name, content_id="", sha256=sha256, **shape)


def claims_of(folder, values, kind="changed", seed=1):
    write_submission(folder / "a.zip", check_results(values), {}, "")
    school_class = read_class(folder, check)
    row = next(row for row in school_class.judged[0].studies[0].of_kind(kind) if row.seed == seed)
    assert not school_class.broken
    return find_claims(school_class, row.key[:10])


def measured(values, shift=0.0, kind="changed", seed=1):
    """Returns a function that trains nothing: it gives back the claimed numbers, shifted by so many
    of their error bars.
    """
    row = next(
        row
        for row in values["experiments"][0]["rows"]
        if (row["kind"], row["seed"]) == (kind, seed)
    )
    metrics = copy.deepcopy(row["metrics"])
    for metric in metrics.values():
        metric["value"] += shift * metric["error"]
    return lambda experiment, dataset: {"metrics": metrics}


def test_honest_numbers_agree(tmp_path):
    values = results_dict()
    (result,) = rerun(claims_of(tmp_path, values), data, measured(values, 0.5))
    assert result.agrees and result.same_data and len(result.verdicts) == 5 and result.unknown == ()
    assert str(result).startswith("Student 0, vae, changed, seed 1 (a.zip): agrees")


def test_numbers_that_were_made_up_do_not(tmp_path):
    values = results_dict()
    for row in values["experiments"][0]["rows"]:
        row["metrics"]["FID"]["value"] += 60 if row["kind"] == "changed" else 0
    (result,) = rerun(claims_of(tmp_path, values), data, measured(results_dict()))
    assert [verdict.real for verdict in result.verdicts] == [True, False, False, False, False]
    assert not result.agrees and "does not agree" in str(result) and "FID" in str(result)


def test_the_spread_between_seeds_is_allowed_for(tmp_path):
    """Another processor is as another seed: where a student's seeds lie far apart, so may the run
    here.
    """
    values = results_dict()
    for index, row in enumerate(
        row for row in values["experiments"][0]["rows"] if row["kind"] == "changed"
    ):
        row["metrics"]["FID"]["value"] = 20.0 + 10 * index
    (result,) = rerun(claims_of(tmp_path, values), data, measured(values, 30))
    assert not result.verdicts[0].real


def test_metrics_that_one_side_lacks_are_named(tmp_path):
    values = results_dict()
    here = {
        "FID": values["experiments"][0]["rows"][4]["metrics"]["FID"],
        "coverage": {"value": 1.0, "error": 0.1, "num_images": 10},
    }
    (result,) = rerun(claims_of(tmp_path, values), data, lambda *_: {"metrics": here})
    assert result.unknown == (
        "KID",
        "class KL",
        "coverage",
        "precision",
        "recall",
    ) and "coverage: only one side has it" in str(result)
    (result,) = rerun(claims_of(tmp_path, values), data, lambda *_: {"metrics": {}})
    assert not result.agrees


def test_other_images_are_told(tmp_path):
    values = results_dict()
    (result,) = rerun(
        claims_of(tmp_path, values), lambda name: data(name, "6" * 64), measured(values)
    )
    assert result.agrees and not result.same_data and "SHA-256" in str(result)


def test_one_run_of_several_students_is_trained_once(tmp_path):
    write_one(tmp_path / "b.zip", seed=7, families=("vae",))
    values, trained = results_dict(families=("vae",)), []
    claims = claims_of(tmp_path, values, "baseline", 0)
    assert [claim.source for claim in claims] == ["a.zip", "b.zip"]
    results = rerun(
        claims,
        data,
        lambda experiment, _: (
            trained.append(experiment) or measured(values, kind="baseline", seed=0)(0, 0)
        ),
    )
    assert (
        len(results) == 2
        and len(trained) == 1
        and trained[0].as_dict() == values["experiments"][0]["rows"][0]["experiment"]
    )


def with_row(**changed):
    """Returns results whose second run of the changed model is changed, key and all."""
    values = results_dict()
    values["experiments"][0]["rows"][4] |= changed
    return values


def tampered(name, value):
    values = results_dict()
    row = values["experiments"][0]["rows"][4]
    group, _, leaf = name.rpartition(".")
    (row["experiment"][group] if group else row["experiment"])[leaf] = value
    return values


def planned(name, value):
    """Returns results in which a change was planned and run, with keys that fit."""
    values = results_dict()
    study = values["experiments"][0]
    study["changes"] = {name: value}
    study["rows"] = [
        row_dict(random.Random(seed), "vae", "changed", study["changes"], seed)
        for seed in (0, 1, 2)
    ]
    return values


ELSEWHERE = results_dict(dataset={"name": "folder:/etc", "sha256": SHA256})
NOT_RUN = {
    "another key": (with_row(key="f" * 64), "one of them was changed by hand"),
    "another setting": (
        tampered("model.beta", 77.0),
        "its settings are not those of the plan: model.beta is 77.0",
    ),
    "longer training": (
        tampered("train.num_epochs", 10**6),
        "not those of the plan: train.num_epochs is 1000000, planned 8",
    ),
    "another seed": (tampered("seed", 2), "not those of the plan: seed is 2, planned 1"),
    "another dataset": (
        tampered("dataset", "folder:/etc"),
        "not those of the plan: dataset is 'folder:/etc'",
    ),
    "images of the student": (ELSEWHERE, "only the student has these images"),
    "no such setting": (tampered("model.colour", 7), "unknown setting of VAEConfig 'colour'"),
    "code for a setting": (
        tampered("model.network", "__import__('os')"),
        "network: expected one of",
    ),
    "no such family": (tampered("family", "gan"), "'gan'"),
    "too large": (
        planned("model.latent_dim", 10**9),
        "would not have been accepted: model.latent_dim: out of range",
    ),
    "too long": (
        planned("train.num_epochs", 10**6),
        "would not have been accepted: train.num_epochs: out of range",
    ),
    "seed as a change": (
        planned("model.num_classes", 1000),
        "would not have been accepted: model.num_classes: does not count",
    ),
}


@pytest.mark.parametrize("trouble", NOT_RUN)
def test_settings_that_are_not_what_they_say_are_not_run(trouble, tmp_path):
    values, message = NOT_RUN[trouble]
    trained = []
    with pytest.raises(CourseError) as refusal:
        rerun(claims_of(tmp_path, values), data, lambda *_: trained.append(1))
    assert message in str(refusal.value) and trained == []


NO_RUN = {
    "abc": "6 or more of the digits",
    "../../x": "of the digits 0 to 9",
    "ABCDEF": "of the digits 0 to 9",
    "0" * 20: "in these submissions",
}


@pytest.mark.parametrize("run_id, message", NO_RUN.items())
def test_numbers_of_no_run(run_id, message, tmp_path):
    write_one(tmp_path / "a.zip")
    with pytest.raises(CourseError, match=message):
        find_claims(read_class(tmp_path, check), run_id)


def test_a_number_of_two_runs_is_refused(tmp_path):
    values = results_dict()
    for row, key in zip(values["experiments"][0]["rows"], ("abcdef0", "abcdef1")):
        row["key"] = key + "0" * 57
    write_submission(tmp_path / "a.zip", check_results(values), {}, "")
    with pytest.raises(CourseError, match="with which 2 begin"):
        find_claims(read_class(tmp_path, check), "abcdef")
