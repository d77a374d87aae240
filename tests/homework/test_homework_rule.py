"""The assignment's rule on a table of submissions: each judged right, with the message that tells
its author what to do.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from course_utils.homework.parameters import NUM_IMAGES
from course_utils.homework.rule import check_rule
from course_utils.homework.schema import check_results
from course_utils.homework.study import ablations, variants
from course_utils.training.runs import experiment_key

SHA256 = "a" * 64
SEEDS = (0, 1, 2)
CHANGES = {
    "vae": {"model.latent_dim": 4, "model.beta": 4.0, "train.learning_rate": 1e-3},
    "dcgan": {"model.latent_dim": 8, "model.r1_weight": 1.0, "train.batch_size": 32},
    "diffusion": {"model.num_steps": 4, "model.target": "x0", "train.ema_decay": None},
}
TEXTS = {
    "vae": {
        "prediction": (
            "Fewer latent dimensions and a larger beta will blur the samples, so FID rises and the"
            " KL term falls clearly."
        ),
        "observation": (
            "FID rose from eight to thirty in every seed and the strokes in the grid look thicker"
            " than those of the class."
        ),
        "explanation": (
            "Four dimensions carry less information about each image, and beta makes the encoder"
            " pay more for every nat of it."
        ),
    },
    "dcgan": {
        "prediction": (
            "A stronger gradient penalty should calm the discriminator, and the generator will"
            " cover all ten classes evenly."
        ),
        "observation": (
            "All ten classes appear, class KL fell by half, while precision stayed where it was"
            " within its error bars."
        ),
        "explanation": (
            "The penalty flattens the discriminator near real images, which leaves the generator a"
            " slope to follow everywhere."
        ),
    },
    "diffusion": {
        "prediction": (
            "With four steps the sampler will be too coarse, and without averaged weights single"
            " seeds will scatter widely."
        ),
        "observation": (
            "The spread between seeds doubled and thin lines break apart, but the digits can still"
            " be read without effort."
        ),
        "explanation": (
            "Euler steps this long leave the curved path, and the last weights of a training jump"
            " around their own mean."
        ),
    },
}


def row(variant, seed: int, rng: random.Random, budget: str, dataset: str) -> dict:
    """Returns the row of a run with plausible numbers."""
    experiment = json.loads(
        json.dumps(replace(variant.experiment, seed=seed, dataset=dataset).as_dict())
    )
    num = NUM_IMAGES[budget]
    metrics = {
        name: {"value": rng.uniform(0.2, 0.8), "error": 0.01, "num_images": num}
        for name in ("FID", "KID", "precision", "recall", "class KL")
    }
    return {
        "kind": variant.kind,
        "ablated": variant.ablated,
        "seed": seed,
        "experiment": experiment,
        "key": experiment_key(experiment, SHA256),
        "started": "2025-03-01T10:00:00+00:00",
        "finished": "2025-03-01T10:02:00+00:00",
        "machine": "a test",
        "training_seconds": 40.0,
        "sampling_seconds": 2.0,
        "metrics": metrics,
        "history": {"train.loss": [3.0, 2.0]},
    }


def study(
    family: str,
    changes: dict,
    budget: str = "laptop",
    ablate: bool = False,
    dataset: str = "strokes",
) -> dict:
    """Returns a complete study of one model."""
    rng = random.Random(family)
    wanted = variants(family, budget, changes) + (
        ablations(family, budget, changes) if ablate else []
    )
    rows = [row(variant, seed, rng, budget, dataset) for seed in SEEDS for variant in wanted]
    return {
        "family": family,
        "changes": dict(changes),
        **TEXTS[family],
        "planned": "2025-03-01T09:00:00+00:00",
        "rows": rows,
    }


def submission(
    *families: str, budget: str = "laptop", ablate: bool = False, dataset: str = "strokes"
) -> dict:
    """Returns a submission that meets the rule."""
    return {
        "version": 1,
        "student": "A. Student",
        "course_version": "0.1.0",
        "dataset": {"name": dataset, "sha256": SHA256},
        "budget": budget,
        "seeds": list(SEEDS),
        "created": "2025-03-01T12:00:00+00:00",
        "experiments": [
            study(family, CHANGES[family], budget, ablate, dataset)
            for family in families or ("vae", "dcgan")
        ],
    }


GOOD = {
    "two models": submission(),
    "the other two": submission("dcgan", "diffusion"),
    "all three": submission("vae", "dcgan", "diffusion"),
    "with ablations": submission("vae", "diffusion", ablate=True),
    "smoke": submission(budget="smoke"),
    "gpu and mnist": submission(budget="gpu", dataset="mnist"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_meets_the_rule(name):
    verdict = check_rule(GOOD[name])
    assert verdict.met and verdict and all(point.ok for point in verdict.points), str(verdict)
    assert check_rule(check_results(GOOD[name])) == verdict and "The rule is met." in str(verdict)
    assert ("numbers say nothing" in str(verdict)) == (name == "smoke")


def in_vae(change: Callable[[dict], None]) -> Callable[[dict], None]:
    """Returns what changes the study of the VAE."""
    return lambda results: change(results["experiments"][0])


def with_changes(**changes: object) -> Callable[[dict], None]:
    """Returns what puts an honest study with other changes in place; dots are written as double
    underscores.
    """
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return lambda results: results["experiments"].__setitem__(0, study("vae", named))


def claim(changes: dict) -> Callable[[dict], None]:
    """Returns what claims more changes than were run."""
    return in_vae(lambda one: one["changes"].update(changes))


def of_rows(
    kind: str, change: Callable[[dict], None], seeds: tuple[int, ...] = SEEDS
) -> Callable[[dict], None]:
    """Returns what changes some rows of the VAE."""
    return in_vae(
        lambda one: [
            change(row) for row in one["rows"] if row["kind"] == kind and row["seed"] in seeds
        ]
    )


def retuned(row: dict, **settings: object) -> None:
    """Changes settings of a run and its number with them, as a careful forger would."""
    for name, value in settings.items():
        group, field = name.split("__")
        row["experiment"][group][field] = value
    row["key"] = experiment_key(row["experiment"], SHA256)


def without(kind: str, *seeds: int) -> Callable[[dict], None]:
    return in_vae(
        lambda one: one.update(
            rows=[row for row in one["rows"] if row["kind"] != kind or row["seed"] not in seeds]
        )
    )


def text(part: str, value: str) -> Callable[[dict], None]:
    return in_vae(lambda one: one.update({part: value}))


def metric(name: str, value: float, kind: str = "changed") -> Callable[[dict], None]:
    return of_rows(kind, lambda row: row["metrics"][name].update(value=value), (1,))


def copy_rows(results: dict) -> None:
    rows = results["experiments"][0]["rows"]
    for changed in (row for row in rows if row["kind"] == "changed"):
        changed["metrics"] = copy.deepcopy(
            next(
                row for row in rows if row["kind"] == "baseline" and row["seed"] == changed["seed"]
            )["metrics"]
        )


def copy_other_seed(results: dict) -> None:
    rows = {(row["kind"], row["seed"]): row for row in results["experiments"][0]["rows"]}
    rows["changed", 1]["metrics"] = copy.deepcopy(rows["baseline", 0]["metrics"])


def relabel(results: dict) -> None:
    """The runs of the class model as those of the changed one."""
    one = results["experiments"][0]
    baseline = [row for row in one["rows"] if row["kind"] == "baseline"]
    one["rows"] = baseline + [{**copy.deepcopy(row), "kind": "changed"} for row in baseline]


LOW_BUDGET = submission(budget="smoke")["experiments"][0]["rows"]
# name: (what was done to a good submission of VAE and DCGAN, the point that is not met, what its
# message says)
BAD: dict[str, tuple[Callable[[dict], None], str, str]] = {
    "only one model": (
        lambda r: r.update(experiments=r["experiments"][:1]),
        "models",
        "expected changes in 2 models, got vae",
    ),
    "no model": (
        lambda r: r.update(experiments=[]),
        "models",
        "got none; choose 2 of vae, dcgan, diffusion",
    ),
    "the same model twice": (
        lambda r: r["experiments"].__setitem__(1, r["experiments"][0]),
        "results.json",
        "expected each family once, got 'vae, vae'",
    ),
    "another model of the course": (
        in_vae(lambda one: one.update(family="gaussian")),
        "gaussian: model",
        "'gaussian' is no model of this homework",
    ),
    "two changes only": (
        with_changes(model__latent_dim=4, model__beta=4.0),
        "vae: changes",
        "got 2 (model.latent_dim, model.beta): 1 more needed",
    ),
    "no changes": (with_changes(), "vae: changes", "got 0 (none): 3 more needed"),
    "three changes of which one has no effect": (
        with_changes(model__latent_dim=4, model__beta=4.0, model__noise_std=0.3),
        "vae: changes",
        "model.noise_std: no effect: only the likelihood 'gaussian' has a noise_std",
    ),
    "a change to the value in class": (
        with_changes(model__latent_dim=4, model__beta=1.0, train__batch_size=64),
        "vae: changes",
        "model.beta: no effect: 1.0",
    ),
    "a change too small to see": (
        with_changes(model__latent_dim=4, model__beta=1.0001, train__batch_size=64),
        "vae: changes",
        "less than 1%",
    ),
    "the same parameter twice": (
        claim({"latent_dim": 8}),
        "vae: changes",
        "latent_dim: is the same parameter as model.latent_dim",
    ),
    "a name that does not exist": (
        claim({"model.depth": 3}),
        "vae: changes",
        "unknown parameter 'model.depth'",
    ),
    "a seed counted": (
        with_changes(model__latent_dim=4, model__beta=4.0, seed=7),
        "vae: changes",
        "seed: does not count and cannot be changed",
    ),
    "a seed among the changes": (
        claim({"seed": 7}),
        "vae: changes",
        "seed: does not count and cannot be changed",
    ),
    "the dataset among the changes": (
        claim({"dataset": "mnist"}),
        "vae: changes",
        "dataset: does not count and cannot be changed",
    ),
    "the budget among the changes": (
        claim({"budget": "gpu"}),
        "vae: changes",
        "budget: does not count",
    ),
    "longer training counted": (
        with_changes(model__latent_dim=4, model__beta=4.0, train__num_epochs=9),
        "vae: changes",
        "train.num_epochs: may be changed but does not count",
    ),
    "a value out of range": (
        claim({"model.latent_dim": 10**6}),
        "vae: changes",
        "out of range: expected 1 to 128, got 1000000",
    ),
    "a value of the wrong type": (
        claim({"model.latent_dim": "four"}),
        "vae: changes",
        "expected a whole number, got 'four'",
    ),
    "no prediction": (
        text("prediction", ""),
        "vae: prediction",
        "expected a text, got an empty one",
    ),
    "a prediction of blanks": (
        text("prediction", " \n\t "),
        "vae: prediction",
        "expected a text, got an empty one",
    ),
    "a prediction of three words": (
        text("prediction", "FID will rise"),
        "vae: prediction",
        "expected at least 8 words",
    ),
    "a prediction of one word": (
        text("prediction", "blur " * 40),
        "vae: prediction",
        "6 of them different, got 40 and 1",
    ),
    "no observation": (text("observation", ""), "vae: observation", "got an empty one"),
    "no explanation": (
        text("explanation", "todo"),
        "vae: explanation",
        "expected at least 8 words",
    ),
    "the prediction as observation": (
        text("observation", TEXTS["vae"]["prediction"]),
        "vae: own words",
        "the observation repeats the prediction",
    ),
    "the prediction with other punctuation": (
        text("explanation", TEXTS["vae"]["prediction"].upper().replace(",", " --")),
        "vae: own words",
        "the explanation repeats the prediction",
    ),
    "the other model's prediction": (
        text("prediction", TEXTS["dcgan"]["prediction"]),
        "vae: own words",
        "the prediction repeats that of the dcgan",
    ),
    "a prediction after the runs": (
        in_vae(lambda one: one.update(planned="2025-03-01T10:30:00+00:00")),
        "vae: predicted first",
        "after the first run",
    ),
    "the same, in another time zone": (
        in_vae(lambda one: one.update(planned="2025-03-01T09:30:00-01:00")),
        "vae: predicted first",
        "after the first run",
    ),
    "a seed of the class model is missing": (
        without("baseline", 2),
        "vae: runs of the class model",
        "missing: seed 2",
    ),
    "a seed of the changed model is missing": (
        without("changed", 1),
        "vae: runs of the changed model",
        "missing: seed 1",
    ),
    "no run of the changed model": (
        without("changed", *SEEDS),
        "vae: runs of the changed model",
        "there are none; start them with",
    ),
    "nothing ran": (
        in_vae(lambda one: one.update(rows=[])),
        "vae: runs of the class model",
        "there are none",
    ),
    "a run twice": (
        in_vae(lambda one: one["rows"].append(copy.deepcopy(one["rows"][0]))),
        "vae: runs of the class model",
        "more than once: seed 0",
    ),
    "a run of a seed that nobody claimed": (
        in_vae(lambda one: one["rows"].append({**copy.deepcopy(one["rows"][0]), "seed": 9})),
        "vae: runs of the class model",
        "not among the seeds of the homework: seed 9",
    ),
    "only one seed": (lambda r: r.update(seeds=[0]), "seeds", "expected at least 3, got 0"),
    "a seed claimed thrice": (
        lambda r: r.update(seeds=[0, 0, 0]),
        "seeds",
        "expected each seed once, got 0, 0, 0",
    ),
    "a run with another seed inside": (
        of_rows("changed", lambda row: row.update(seed=0), (1,)),
        "vae: settings of the runs",
        "seed is 1, planned 0",
    ),
    "a run of other settings": (
        of_rows("changed", lambda row: retuned(row, model__latent_dim=40)),
        "vae: settings of the runs",
        "model.latent_dim is 40, planned 4",
    ),
    "a changed class model": (
        of_rows("baseline", lambda row: retuned(row, train__num_epochs=1)),
        "vae: settings of the runs",
        "train.num_epochs is 1, planned 8",
    ),
    "settings edited without their number": (
        of_rows("changed", lambda row: row.update(key="b" * 64), (2,)),
        "vae: settings of the runs",
        "changed, seed 2: its number does not belong to its settings and data",
    ),
    "runs on other data": (
        lambda r: r["dataset"].update(sha256="c" * 64),
        "vae: settings of the runs",
        "its number does not belong to",
    ),
    "another dataset named": (
        lambda r: r["dataset"].update(name="mnist"),
        "vae: settings of the runs",
        "dataset is 'strokes', planned 'mnist'",
    ),
    "smaller images": (
        of_rows("changed", lambda row: retuned(row, model__image_size=8)),
        "vae: settings of the runs",
        "model.image_size is 8, planned 28",
    ),
    "settings that are none": (
        of_rows("changed", lambda row: retuned(row, model__latent_dim=-1)),
        "vae: settings of the runs",
        "its settings cannot be used: latent_dim: expected at least 1",
    ),
    "the class model's runs as the changed ones": (
        relabel,
        "vae: settings of the runs",
        "model.latent_dim is 20, planned 4",
    ),
    "an ablation of nothing": (
        in_vae(
            lambda one: one["rows"].append(
                {**copy.deepcopy(one["rows"][1]), "kind": "ablation", "ablated": "model.free_bits"}
            )
        ),
        "vae: settings of the runs",
        "it leaves out 'model.free_bits', which is not among the changes",
    ),
    "runs of the smoke budget as laptop": (
        in_vae(lambda one: one.update(rows=LOW_BUDGET)),
        "vae: settings of the runs",
        "train.num_epochs is 1, planned 8",
    ),
    "a metric that is no number": (metric("FID", math.nan), "results.json", ", got nan."),
    "an infinite metric": (metric("FID", math.inf), "results.json", ", got inf."),
    "a negative FID": (
        metric("FID", -3.0),
        "vae: numbers",
        "changed, seed 1: FID is -3, which is never negative",
    ),
    "a precision above 1": (
        metric("precision", 1.5),
        "vae: numbers",
        "precision is 1.5, expected a share from 0 to 1",
    ),
    "a metric left out": (
        of_rows("changed", lambda row: row["metrics"].pop("recall")),
        "vae: numbers",
        "the metrics recall are missing",
    ),
    "fewer images": (
        of_rows("changed", lambda row: row["metrics"]["FID"].update(num_images=50)),
        "vae: numbers",
        "of 50 images, expected 2,000",
    ),
    "changes that did nothing": (
        copy_rows,
        "vae: numbers",
        "both models have the same numbers with seed 0, so the changes did nothing",
    ),
    "copied numbers": (
        copy_other_seed,
        "vae: numbers",
        "have the same numbers; two different runs never do",
    ),
    "a run before the plan and others after it": (
        in_vae(
            lambda one: next(row for row in one["rows"] if row["kind"] == "changed").update(
                started="2025-03-01T08:59:59+00:00"
            )
        ),
        "vae: predicted first",
        "after the first run of the changed model (2025-03-01 08:59 UTC)",
    ),
    "gradients that are never that long": (
        with_changes(model__latent_dim=4, model__beta=4.0, train__max_grad_norm=1000.0),
        "vae: changes",
        "train.max_grad_norm: no effect to be seen: gradients are shorter than 500",
    ),
    "a change from zero too small to see": (
        with_changes(model__latent_dim=4, model__beta=4.0, train__weight_decay=1e-12),
        "vae: changes",
        "train.weight_decay: no effect to be seen: expected 0 or at least 0.0001",
    ),
    "no training curves": (
        of_rows("baseline", lambda row: row.update(history={})),
        "vae: numbers",
        "its training curves are missing",
    ),
    "a run that ends before it starts": (
        of_rows("baseline", lambda row: row.update(finished="2025-03-01T09:59:00+00:00")),
        "vae: numbers",
        "before it starts",
    ),
    "a file of another program": (
        lambda r: r.pop("experiments"),
        "results.json",
        "expected the name 'experiments'",
    ),
    "no student": (lambda r: r.update(student=" "), "results.json", "student"),
}


def test_the_table_is_long_enough():
    assert len(GOOD) + len(BAD) >= 25


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_meet_the_rule(name):
    change, point, message = BAD[name]
    results = copy.deepcopy(GOOD["two models"])
    change(results)
    verdict = check_rule(results)
    missing = {one.name: one.message for one in verdict.points if not one.ok}
    assert not verdict.met and point in missing and message in missing[point], str(verdict)
    assert "The rule is not met yet." in str(verdict)


def test_a_third_model_that_is_not_complete_does_no_harm():
    results = copy.deepcopy(GOOD["all three"])
    results["experiments"][2]["observation"] = ""
    verdict = check_rule(results)
    assert (
        verdict.met
        and not next(point for point in verdict.points if point.name == "diffusion: observation").ok
    )
    results["experiments"][0]["observation"] = ""
    assert not check_rule(results).met


@pytest.mark.parametrize("value", [None, [], "results", 3, {"version": 2}, {"experiments": [{}]}])
def test_anything_else_is_refused_without_an_error(value):
    verdict = check_rule(value)
    assert not verdict.met and [point.name for point in verdict.points] == ["results.json"]


def test_every_honest_change_of_text_keeps_the_rule_met():
    """The rule looks at words and numbers, not at the order of rows or of models."""
    results = copy.deepcopy(GOOD["with ablations"])
    results["experiments"].reverse()
    for one in results["experiments"]:
        one["rows"].reverse()
    assert check_rule(results).met


@pytest.mark.parametrize(
    "num_shared, is_copied", [(22, True), (19, True), (18, False), (15, False)]
)
def test_four_fifths_of_a_text_make_it_a_copy(num_shared, is_copied):
    """Of 23 words, 20 runs of four: the first `num_shared` words in common hold all but 3 of that
    many runs, in a text of as many words.
    """
    words = [f"{letter}word" for letter in "abcdefghijklmnopqrstuvw"]
    others = [f"{letter}other" for letter in "abcdefghijklmnopqrstuvw"]
    study = submission("vae")["experiments"][0]
    study["prediction"] = " ".join(words)
    study["observation"] = " ".join([*words[:num_shared], *others[num_shared:]])
    results = submission("vae", "dcgan")
    results["experiments"][0] = study
    (point,) = [one for one in check_rule(results).points if one.name == "vae: own words"]
    assert point.ok is not is_copied
