"""The assignment's rule, point by point: two of three models, three counted changes in each, texts,
and runs that are what they say they are.

Nothing that a submission claims about itself is believed where it can be worked out: what was
changed is read off the settings of each run.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import combinations, product
from typing import Any, NamedTuple

from course_utils.base.config import override
from course_utils.base.errors import CourseError
from course_utils.homework.own import MIN_LINES, own_experiment
from course_utils.homework.parameters import (
    FAMILIES,
    MIN_COUNTED,
    NUM_IMAGES,
    ChangeReport,
    counted_names,
    homework_preset,
    validate_changes,
)
from course_utils.homework.schema import Results, Study, SubmittedRow, changed_lines, check_results
from course_utils.training.presets import Experiment, steps_for_few_pictures
from course_utils.training.runs import experiment_key


@dataclass(frozen=True)
class RulePoint:
    """One thing that the rule asks for: its name, whether it is there, and what was found or is
    missing.
    """

    name: str
    ok: bool
    message: str


# words a shingle; shorter texts say too little to be compared by parts
SHINGLE, MIN_WORDS_COMPARED = 4, 8
# scripts without spaces between words: there each sign is a word
UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}_]+")


class Pair(NamedTuple):
    """The keys of two texts and how much of the shorter one stands in the longer one, 0 to 1."""

    first: Any
    second: Any
    similarity: float


def near_equal(texts: Mapping[Any, str], threshold: float = 0.5) -> list[Pair]:
    """Returns all pairs of texts that share at least `threshold`, most alike first.

    Texts of fewer than 8 words count only where all their words are equal; texts of fewer than 3
    words never do. Longer texts with the same words in another order share all of it.
    """
    words = {key: words_of(text) for key, text in texts.items()}
    groups: dict[tuple[str, ...], list[Any]] = {}  # equal texts are compared with others once
    for key, own in words.items():
        if len(own) >= 3:
            groups.setdefault(own, []).append(key)
    order = {key: place for place, key in enumerate(texts)}
    pairs = [
        Pair(first, second, 1.0)
        for keys in groups.values()
        for first, second in combinations(keys, 2)
    ]
    for (one, other), similarity in _similarities(list(groups)).items():
        if similarity >= threshold:
            for first, second in product(groups[one], groups[other]):
                one_key, other_key = sorted((first, second), key=order.__getitem__)
                pairs.append(Pair(one_key, other_key, similarity))
    return sorted(pairs, key=lambda pair: (-pair.similarity, order[pair[0]], order[pair[1]]))


def _similarities(
    texts: Sequence[tuple[str, ...]],
) -> dict[tuple[tuple[str, ...], tuple[str, ...]], float]:
    """Returns, for the pairs of different texts that share a run of four words, or all words in
    another order, the share of the shorter one's runs that stand in the other one.
    """
    holders: dict[tuple[str, ...], list[int]] = {}  # which of the texts until now hold a run
    sizes: list[int] = []
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], float] = {}
    reordered: dict[tuple[str, ...], list[int]] = {}
    for place, own in enumerate(texts):
        runs = shingles_of(own) if len(own) >= MIN_WORDS_COMPARED else frozenset()
        sizes.append(len(runs))
        shared: Counter[int] = Counter()
        for run in runs:
            there = holders.setdefault(run, [])
            shared.update(there)
            there.append(place)
        found |= {
            (texts[other], own): count / min(sizes[other], len(runs))
            for other, count in shared.items()
        }
        if runs:
            there = reordered.setdefault(tuple(sorted(own)), [])
            found |= {(texts[other], own): 1.0 for other in there}
            there.append(place)
    return found


# Letters of other scripts that look like Latin ones, as far as a keyboard has them, and each a
# lower-case letter: what is compared has no upper case.
_LOOK_ALIKE = str.maketrans(
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u04cf"
    "\u03b1\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03b3\u03f2\u03f3"
    "\u0251\u0261\u0131\u0269\u028b\u1d04\u1d0f\u1d20\u0578\u057d\u0581\u0570\u0561",
    "aceopxyisjdqwhl" "aeikvoptuxycj" "agiivcovnughw",
)  # fmt: skip
# Fillers and selectors without a picture, which are no formatting characters (Cf) by their category
_NO_PICTURE = re.compile("[\u0300-\u036f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe00-\ufe0f\uffa0]")


def words_of(text: str) -> tuple[str, ...]:
    """Returns the words of a text without case, punctuation, layout, and what a reader does not
    see: accents, characters of no width, and letters of other scripts that look like Latin ones.
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    seen = "".join(one for one in plain if unicodedata.category(one) != "Cf")
    composed = unicodedata.normalize("NFC", _NO_PICTURE.sub("", seen))
    return tuple(WORD.findall(composed.translate(_LOOK_ALIKE)))


def shingles_of(words: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """Returns all runs of four words."""
    return frozenset(
        tuple(words[place : place + SHINGLE]) for place in range(len(words) - SHINGLE + 1)
    )


PARTS = ("prediction", "observation", "explanation")
MIN_WORDS, MIN_DIFFERENT = 8, 6
COPIED = 0.8  # of the shorter text's runs of four words stand in the other one


def text_points(study: Study, results: Results) -> list[RulePoint]:
    """Returns a point for each text, one for texts that repeat another, and one for the time of the
    prediction.
    """
    return [
        *(_written(part, getattr(study, part)) for part in PARTS),
        _own_words(study, results),
        _in_time(study),
    ]


def _written(part: str, text: str) -> RulePoint:
    problem = too_short(text)
    return RulePoint(part, not problem, problem or f"{len(words_of(text))} words")


def too_short(text: str) -> str:
    """Returns what a text lacks in length, or "" where it says enough."""
    words = words_of(text)
    if not words:
        return "expected a text, got an empty one"
    if len(words) < MIN_WORDS or len(set(words)) < MIN_DIFFERENT:
        return (
            f"expected at least {MIN_WORDS} words, {MIN_DIFFERENT} of them different, got"
            f" {len(words)} and {len(set(words))}"
        )
    return ""


def _own_words(study: Study, results: Results) -> RulePoint:
    """Looks for a text that repeats another one of this model, or the same part of another
    model.
    """
    own = {part: getattr(study, part) for part in PARTS}
    for first, second in combinations(PARTS, 2):
        if near_equal({first: own[first], second: own[second]}, COPIED):
            return RulePoint(
                "own words",
                False,
                f"the {second} repeats the {first}; each answers another question",
            )
    for other in results.experiments:
        for part in PARTS:
            if other.family != study.family and near_equal(
                {"own": own[part], "other": getattr(other, part)}, COPIED
            ):
                return RulePoint(
                    "own words",
                    False,
                    f"the {part} repeats that of the {other.family}; write what belongs to this"
                    " model",
                )
    return RulePoint("own words", True, "no text repeats another")


def _in_time(study: Study) -> RulePoint:
    """The prediction comes before the runs of the changed model; the times are self-reported."""
    planned = parse_moment(study.planned)
    started = [parse_moment(row.started) for row in study.rows if row.kind != "baseline"]
    if started and planned > min(started):
        return RulePoint(
            "predicted first",
            False,
            f"planned {_minute(planned)}, after the first run of the changed model"
            f" ({_minute(min(started))}); where a clock was wrong, set it right, call start_over()"
            " and plan and run again: what was trained is found",
        )
    return RulePoint("predicted first", True, f"planned {_minute(planned)}")


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def parse_moment(text: str) -> datetime:
    """Returns the time that a checked ISO date says, in UTC; without a zone it is taken as UTC."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    try:
        return found.replace(tzinfo=found.tzinfo or timezone.utc).astimezone(timezone.utc)
    except OverflowError:  # the first and the last day of the calendar have no other zones
        return found.replace(tzinfo=timezone.utc)


REQUIRED_METRICS = ("FID", "KID", "precision", "recall")
SHARES = ("precision", "recall", "class agreement", "separation")  # from 0 to 1
NEVER_NEGATIVE = ("FID", "class KL", "reconstruction", "KL", "denoising error", "diversity")
ROUNDING = -1e-6
GREY_28 = {"image_size": 28, "image_channels": 1, "num_classes": 10}
# what follows from data that everybody has
DATA_FIELDS = {"mnist": GREY_28, "fashion": GREY_28, "strokes": GREY_28}


def run_points(study: Study, results: Results) -> list[RulePoint]:
    """Returns the points of the runs: both kinds with every seed, settings that fit, and numbers
    that can be.
    """
    return [
        _there("baseline", study, results),
        _there("changed", study, results),
        _settings(study, results),
        _numbers(study, results),
    ]


def _there(kind: str, study: Study, results: Results) -> RulePoint:
    """Every claimed seed once."""
    name = {"baseline": "runs of the class model", "changed": "runs of the changed model"}[kind]
    seeds = [row.seed for row in study.of_kind(kind)]
    missing = [seed for seed in results.seeds if seed not in seeds]
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    others = sorted({seed for seed in seeds if seed not in results.seeds})
    found = [f"missing: {_seeds_of_runs(missing)}"] if missing else []
    found += [f"more than once: {_seeds_of_runs(twice)}"] if twice else []
    found += [f"not among the seeds of the homework: {_seeds_of_runs(others)}"] if others else []
    if not seeds:
        return RulePoint(name, False, "there are none; start them with `course homework run`")
    return RulePoint(name, not found, "; ".join(found) or f"{len(seeds)} seeds")


def _seeds_of_runs(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _settings(study: Study, results: Results) -> RulePoint:
    """The settings of each run are those of the class model and of the plan, and its number belongs
    to them.
    """
    find_problem = wrong_run if study.own_code is None else _wrong_own_run
    for row in study.rows:
        problem = find_problem(row, study, results)
        if problem:
            return RulePoint(
                "settings of the runs", False, f"{row.kind}, seed {row.seed}: {problem}"
            )
    return RulePoint("settings of the runs", True, "as planned" if study.rows else "no runs")


def wrong_run(row: SubmittedRow, study: Study, results: Results) -> str:
    """Returns why a run is not the class model, or the class model with the planned changes; ""
    where it is.
    """
    if study.own_code is not None:
        return "it was made with the student's own code, which is read here and never run"
    try:
        expected = _flat(planned_experiment(row, study, results).as_dict())
        found = _flat(Experiment.from_dict(row.experiment).as_dict())
    except CourseError as error:
        return f"its settings cannot be used: {error}"
    names = {**expected, **found}
    differing = [name for name in names if found.get(name) != expected.get(name)]
    if differing:
        values = ", ".join(
            f"{name} is {found.get(name)!r}, planned {expected.get(name)!r}"
            for name in differing[:3]
        )
        return f"its settings are not those of the plan: {values}"
    return _wrong_number(row, results.dataset.sha256)


def _wrong_number(row: SubmittedRow, sha256: str) -> str:
    """Returns why a run's number is not that of its settings and these images, with a remedy; ""
    where it is.
    """
    if experiment_key(row.experiment, sha256) == row.key:
        return ""
    remedy = "put those images back, or keep these runs aside with start_over() and run again"
    trained_on = row.data_sha256
    if trained_on and experiment_key(row.experiment, trained_on) == row.key:
        return (
            f"it was run with other images (SHA-256 {trained_on[:10]}) than those of the dataset"
            f" now ({sha256[:10]}); {remedy}"
        )
    return (
        "its number does not belong to its settings and data; either one of them was changed by"
        f" hand, or the images are others than when it ran: then {remedy}"
    )


def _wrong_own_run(row: SubmittedRow, study: Study, results: Results) -> str:
    """Returns why a run does not belong to the student's own code; "" where it does."""
    assert study.own_code is not None
    if row.kind == "ablation":
        return "own code has no settings, so none can be left out"
    name, code = results.dataset.name, study.own_code
    expected = own_experiment(study.family, code, row.kind, name, row.seed)
    if row.experiment != expected or experiment_key(expected, results.dataset.sha256) != row.key:
        return "it belongs to other code than the plan holds, or to other data"
    return ""


def planned_experiment(row: SubmittedRow, study: Study, results: Results) -> Experiment:
    """Returns the experiment that a run of this kind and seed must be.

    Raises:
        CourseError: changes that the model refuses, or an ablation of something that was not
            changed.
    """
    changes: Mapping[str, Any] = {} if row.kind == "baseline" else study.changes
    if row.kind == "ablation":
        if row.ablated not in study.changes:
            raise CourseError(f"it leaves out {row.ablated!r}, which is not among the changes.")
        changes = {name: value for name, value in study.changes.items() if name != row.ablated}
    baseline = homework_preset(study.family, results.budget)
    model = row.experiment.get("model", {})
    known = DATA_FIELDS.get(results.dataset.name, {})
    from_data = {
        name: known.get(name, model.get(name)) for name in GREY_28 if hasattr(baseline.model, name)
    }
    fixed = {
        "dataset": results.dataset.name,
        "seed": row.seed,
        **{f"model.{name}": value for name, value in from_data.items()},
    }
    planned = override(override(baseline, fixed), changes)
    repeated = row.experiment.get("train", {}).get("min_epoch_steps") is not None
    if repeated and results.dataset.name.startswith("folder:"):  # few pictures of the student's
        num_steps = steps_for_few_pictures(planned.train)
        planned = override(planned, {"train.min_epoch_steps": num_steps})
    return planned


def _flat(experiment: Mapping[str, Any]) -> dict[str, Any]:
    groups = {
        f"{group}.{name}": value
        for group in ("model", "train")
        for name, value in experiment[group].items()
    }
    return {name: experiment[name] for name in ("family", "dataset", "seed")} | groups


def _numbers(study: Study, results: Results) -> RulePoint:
    """Metrics that are there, possible, of equally many images, and not copied from one run to
    another.
    """
    if not study.rows:
        return RulePoint("numbers", False, "no runs, so no numbers")
    # A small folder of images has fewer test images than the budget asks for.
    num_images = (
        NUM_IMAGES[results.budget]
        if results.dataset.name in DATA_FIELDS
        else _num_images(study.rows[0])
    )
    for row in study.rows:
        problem = _impossible(row, num_images)
        if problem:
            return RulePoint("numbers", False, f"{row.kind}, seed {row.seed}: {problem}")
    # leaving out a change that did nothing gives the same numbers
    compared = [row for row in study.rows if row.kind != "ablation"]
    for one, other in combinations(compared, 2):
        if all(one.metrics[name].value == other.metrics[name].value for name in REQUIRED_METRICS):
            if one.seed == other.seed and one.kind != other.kind:
                return RulePoint(
                    "numbers",
                    False,
                    f"both models have the same numbers with seed {one.seed}, so the changes did"
                    " nothing; choose others, or check that these are the right runs",
                )
            pair = f"{one.kind}, seed {one.seed}, and {other.kind}, seed {other.seed}"
            return RulePoint(
                "numbers", False, f"{pair}, have the same numbers; two different runs never do"
            )
    return RulePoint(
        "numbers", True, f"{len(study.rows)} runs with {len(study.rows[0].metrics)} metrics each"
    )


def _num_images(row: SubmittedRow) -> int:
    return row.metrics["FID"].num_images if "FID" in row.metrics else 0


def _impossible(row: SubmittedRow, num_images: int) -> str:
    """Returns what is wrong with the numbers of one run; "" where nothing is."""
    missing = [name for name in REQUIRED_METRICS if name not in row.metrics]
    if missing:
        return f"the metrics {', '.join(missing)} are missing"
    for name, metric in row.metrics.items():
        if not math.isfinite(metric.value):
            return f"{name} is {metric.value}, expected a finite number"
        if name in SHARES and not 0 <= metric.value <= 1:
            return f"{name} is {metric.value:g}, expected a share from 0 to 1"
        if name in NEVER_NEGATIVE and metric.value < ROUNDING:
            return f"{name} is {metric.value:g}, which is never negative"
    few = [name for name in REQUIRED_METRICS if row.metrics[name].num_images != num_images]
    if few:
        return (
            f"{few[0]} is of {row.metrics[few[0]].num_images:,} images, expected {num_images:,} in"
            " this budget"
        )
    if not row.history or not any(row.history.values()):
        return "its training curves are missing"
    if parse_moment(row.finished) < parse_moment(row.started):
        return f"it ends ({row.finished}) before it starts ({row.started})"
    return ""


MIN_MODELS, MIN_SEEDS, MAX_OWN = 2, 3, 1


@dataclass(frozen=True)
class RuleVerdict:
    """Whether a submission meets the assignment's rule.

    Attributes:
        points: what the rule asks for, first of the whole, then of each model.
        met: the points of the whole are met, and all points of at least two models.
    """

    points: tuple[RulePoint, ...]
    met: bool

    def __bool__(self) -> bool:
        return self.met

    def __str__(self) -> str:
        lines = [
            f"  [{'x' if point.ok else ' '}] {point.name}: {point.message}" for point in self.points
        ]
        return "\n".join([*lines, "The rule is met." if self.met else "The rule is not met yet."])


def check_rule(results: Mapping[str, Any] | Results) -> RuleVerdict:
    """Returns the verdict on what `results.json` holds; it raises nothing, whatever is in there.

    Args:
        results: the content of the file, or the same checked already.
    """
    if not isinstance(results, Results):
        try:
            results = check_results(results)
        except CourseError as error:
            return RuleVerdict((RulePoint("results.json", False, str(error)),), False)
    by_study = {study.family: _study_points(study, results) for study in results.experiments}
    complete = [family for family, points in by_study.items() if all(point.ok for point in points)]
    whole = [_models(results, complete), _seeds(results), _budget(results)]
    points = (*whole, *(point for points in by_study.values() for point in points))
    return RuleVerdict(points, all(point.ok for point in whole))


def _models(results: Results, complete: list[str]) -> RulePoint:
    there = [study.family for study in results.experiments if study.family in FAMILIES]
    if len(there) < MIN_MODELS:
        missing = f"choose {MIN_MODELS} of {', '.join(FAMILIES)}"
        return RulePoint(
            "models",
            False,
            f"expected changes in {MIN_MODELS} models, got {', '.join(there) or 'none'}; {missing}",
        )
    own = [study.family for study in results.experiments if study.own_code is not None]
    if len(own) > MAX_OWN:
        return RulePoint(
            "models",
            False,
            f"expected own code in place of at most {MAX_OWN} model, got {', '.join(own)}; change"
            " settings of the class model in the others",
        )
    if len(complete) < MIN_MODELS:
        return RulePoint(
            "models",
            False,
            f"expected {MIN_MODELS} complete models, got {', '.join(complete) or 'none'}; see what"
            " each still lacks",
        )
    return RulePoint("models", True, f"complete: {', '.join(complete)}")


def _seeds(results: Results) -> RulePoint:
    seeds = results.seeds
    listed = ", ".join(map(str, seeds)) or "none"
    if len(set(seeds)) < len(seeds):
        return RulePoint("seeds", False, f"expected each seed once, got {listed}")
    if len(seeds) < MIN_SEEDS:
        return RulePoint(
            "seeds",
            False,
            f"expected at least {MIN_SEEDS}, got {listed}; one training says nothing about the"
            " noise between trainings",
        )
    return RulePoint("seeds", True, listed)


def _budget(results: Results) -> RulePoint:
    remark = (
        "; its trainings take a few steps, so its numbers say nothing about the models"
        if results.budget == "smoke"
        else ""
    )
    return RulePoint("budget", True, results.budget + remark)


def _study_points(study: Study, results: Results) -> list[RulePoint]:
    """Returns the points of one model."""
    if study.family not in FAMILIES:
        return [
            RulePoint(
                f"{study.family}: model",
                False,
                f"expected one of {', '.join(FAMILIES)}; {study.family!r} is no model of this"
                " homework",
            )
        ]
    if study.own_code is not None:
        changed = _own_change(study)
    else:
        changed = _changes(validate_changes(study.family, study.changes, results.budget))
    points = [changed, *text_points(study, results), *run_points(study, results)]
    return [RulePoint(f"{study.family}: {point.name}", point.ok, point.message) for point in points]


def _own_change(study: Study) -> RulePoint:
    """Returns the point of a change in the student's own code, which is parsed and never run."""
    assert study.own_code is not None
    number = changed_lines(study.own_code)
    if study.changes:
        message = "expected settings or own code, got both; keep one of them"
        return RulePoint("changes", False, message)
    if number < MIN_LINES:
        message = f"expected {study.own_code.file} with code that differs from before, got none"
        return RulePoint("changes", False, message)
    return RulePoint("changes", True, f"own code: {number} lines of {study.own_code.file} changed")


def _changes(report: ChangeReport) -> RulePoint:
    """Returns the point of the counted changes."""
    counted = counted_names(report)
    others = [str(entry) for entry in report.entries if entry.status != "counts"]
    if report.enough:
        return RulePoint(
            "changes", True, "; ".join([f"{len(counted)} count ({', '.join(counted)})", *others])
        )
    why = "; ".join(others) or f"{MIN_COUNTED - len(counted)} more needed"
    return RulePoint(
        "changes",
        False,
        f"expected at least {MIN_COUNTED} changes that count, got {len(counted)}"
        f" ({', '.join(counted) or 'none'}): {why}",
    )
