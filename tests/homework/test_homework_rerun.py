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
from course_utils.cli.main import main
from course_utils.homework.archive import write_submission
from course_utils.homework.classroom import read_class
from course_utils.homework.rerun import find_claims, rerun
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


def by_seed(values, numbers):
    """Returns a stand-in for training that gives each seed its FID, and otherwise the claimed
    numbers.
    """
    claimed = measured(values)

    def train(experiment, dataset):
        metrics = claimed(experiment, dataset)["metrics"]
        metrics = copy.deepcopy(metrics)
        metrics["FID"]["value"] = numbers[experiment.seed]
        return {"metrics": metrics}

    return train


def fid_claimed(values, value, error=0.5):
    values["experiments"][0]["rows"][4]["metrics"]["FID"] |= {"value": value, "error": error}
    return values


def test_the_spread_between_seeds_here_is_allowed_for(tmp_path):
    """Another processor is as another seed: where seeds lie apart here, so may the claim."""
    values = fid_claimed(results_dict(), 25.0)
    claims = claims_of(tmp_path, values)
    (result,) = rerun(claims, data, by_seed(values, {0: 18.0, 1: 20.0, 2: 22.0}))
    assert result.agrees and result.num_runs == 3 and "tolerance of 3 runs" in str(result)
    (result,) = rerun(claims, data, by_seed(values, {0: 19.9, 1: 20.0, 2: 20.1}))
    assert not result.agrees


def test_nothing_that_the_student_measured_widens_the_tolerance(tmp_path):
    values = fid_claimed(results_dict(), 0.001, error=1e6)
    for index, row in enumerate(values["experiments"][0]["rows"]):
        row["metrics"]["FID"]["value"] = 0.001 + 1e6 * (index % 3)
    values = fid_claimed(values, 0.001, error=1e6)
    honest_error = by_seed(fid_claimed(results_dict(), 20.0), {0: 20.0, 1: 20.0, 2: 20.0})
    (result,) = rerun(claims_of(tmp_path, values), data, honest_error)
    assert result.verdicts[0].real and "FID: its error is 1e+06, 0.5 here" in str(result)


def test_an_error_bar_that_was_made_up_does_not_agree(tmp_path):
    values = fid_claimed(results_dict(), 20.0, error=30.0)
    honest = by_seed(fid_claimed(results_dict(), 20.0), {0: 20.0, 1: 20.0, 2: 20.0})
    (result,) = rerun(claims_of(tmp_path, values), data, honest)
    assert not result.agrees and not any(result.verdicts) and "its error is 30" in str(result)


def test_the_tolerance_is_capped_where_seeds_differ_wildly(tmp_path):
    """15 % of 20, three times, and the error of 0.5: a claim more than 9.2 away does not agree."""
    values = results_dict()
    here = {0: 1.0, 1: 20.0, 2: 90.0}
    found = {}
    for claimed in (29.0, 29.3):
        values = fid_claimed(values, claimed)
        (result,) = rerun(claims_of(tmp_path, values), data, by_seed(values, here))
        found[claimed] = result.agrees
    assert found == {29.0: True, 29.3: False}


@pytest.mark.parametrize("num_errors, agrees", [(2.9, True), (3.1, False), (5.0, False)])
def test_three_errors_are_the_tolerance(num_errors, agrees, tmp_path):
    values = results_dict()
    (result,) = rerun(claims_of(tmp_path, values), data, measured(values, num_errors))
    assert result.agrees is agrees


def test_a_seed_that_diverges_here_is_told(tmp_path):
    values = fid_claimed(results_dict(), 60.0)
    claimed = by_seed(values, {1: 20.0, 2: 21.0})

    def train(experiment, dataset):
        if experiment.seed == 0:
            raise CourseError("the training diverged")
        return claimed(experiment, dataset)

    (result,) = rerun(claims_of(tmp_path, values), data, train)
    assert not result.agrees and "seed 0 gave no numbers here: the training diverged" in str(result)


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


def test_a_tampered_row_stops_nobody_elses_run(tmp_path):
    """Its number is that of the class model, its settings are not; it is the first of the two."""
    values = results_dict(1, families=("vae",), student="Eve")
    values["experiments"][0]["rows"][0]["experiment"]["train"]["num_epochs"] = 7
    write_submission(tmp_path / "a.zip", check_results(values), {}, "")
    honest = results_dict(2, families=("vae",))
    write_submission(tmp_path / "b.zip", check_results(honest), {}, "")
    row = honest["experiments"][0]["rows"][0]
    claims = find_claims(read_class(tmp_path, check), row["key"])
    assert [claim.results.student for claim in claims] == ["Eve", "Student 2"]
    good, tampered_one = rerun(claims, data, measured(honest, kind="baseline", seed=0))
    assert good.agrees and good.claim.results.student == "Student 2"
    assert not tampered_one.agrees and "num_epochs is 7, planned 8" in str(tampered_one)


@pytest.mark.parametrize("shift, code, told", [(0.5, 0, "agrees"), (20.0, 1, "does not agree")])
def test_the_command_repeats_a_run(shift, code, told, tmp_path, monkeypatch, capsys):
    """From the command line to the training, whose place a stand-in takes."""
    values, asked = results_dict(families=("vae",)), []
    write_submission(tmp_path / "a.zip", check_results(values), {}, "")
    train = measured(values, shift)

    def run_and_measure(experiment, dataset, measure, on_epoch=None):
        asked.append((experiment.seed, dataset.name, measure.keywords["num_images"]))
        return train(experiment, dataset)

    monkeypatch.setattr("course_utils.data.load_dataset", data)
    monkeypatch.setattr("course_utils.studies.sweep.run_and_measure", run_and_measure)
    row = values["experiments"][0]["rows"][4]
    assert main(["homework", "collect", str(tmp_path), "--rerun", row["key"][:10]]) == code
    assert f"Student 0, vae, changed, seed 1 (a.zip): {told}" in capsys.readouterr().out
    assert asked[0] == (1, "strokes", 2000)
