"""The parameters of the assignment: how long the class's trainings are, and which changes count.

What a setting means and which values the homework takes stands in the metadata of its field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from course_utils.base.config import Setting, config_settings, flatten, override
from course_utils.base.device import BUDGETS
from course_utils.base.errors import CourseError, unknown
from course_utils.homework.starters import group_of, table_place
from course_utils.models.diffusion.samplers import guides_at, time_grid
from course_utils.training.config import TrainConfig
from course_utils.training.presets import Experiment, preset
from course_utils.training.registry import config_class, takes_muon

FAMILIES = ("vae", "dcgan", "diffusion")
# Generated images that are measured, against as many test images
NUM_IMAGES = {"smoke": 200, "laptop": 2_000, "gpu": 10_000}
# Of the class's trainings, those of DCGAN and diffusion are cut.
LENGTHS: dict[tuple[str, str], dict[str, Any]] = {
    ("dcgan", "laptop"): {"train.num_train_images": 15_000, "train.num_epochs": 4},
    ("diffusion", "laptop"): {"train.num_train_images": 20_000, "train.num_epochs": 6},
    ("vae", "gpu"): {"train.num_epochs": 20},
    ("dcgan", "gpu"): {"train.num_epochs": 6},
    ("diffusion", "gpu"): {"train.num_epochs": 20},
}


def homework_preset(family: str, budget_name: str) -> Experiment:
    """Returns the class's model with the training length of the homework.

    Args:
        family: "vae", "dcgan" or "diffusion".
        budget_name: "smoke", "laptop" or "gpu".

    Raises:
        CourseError: an unknown family or budget.
    """
    if family not in FAMILIES:
        raise unknown("family of the homework", family, FAMILIES)
    if budget_name not in BUDGETS:
        raise unknown("budget", budget_name, BUDGETS)
    return override(preset(family, budget_name), LENGTHS.get((family, budget_name), {}))


def training_length(family: str, budget_name: str) -> str:
    """Returns how long the class model is trained in the homework, and in class where this is
    something else, in words.

    Raises:
        CourseError: an unknown family or budget.
    """
    here, in_class = homework_preset(family, budget_name), preset(family, budget_name)
    if here.train == in_class.train:
        return f"trained as in class: {_length(in_class)}"
    return f"the class's model, trained for {_length(here)}; in class it is {_length(in_class)}"


_LENGTH = ("train.num_epochs", "train.num_train_images", "train.min_epoch_steps")


def lengths_in_words(family: str, budget_name: str, changes: Mapping[str, Any]) -> str:
    """Returns how long the class model and the changed one are trained, in whole sentences, and in
    class where this is something else; "" for an unknown family or budget.

    Args:
        changes: that somebody planned; where they cannot be made, they are not told.
    """
    if family not in FAMILIES or budget_name not in BUDGETS:
        return ""
    here, in_class = homework_preset(family, budget_name), preset(family, budget_name)
    told = f"The class model was trained for {_length(here)}, "
    told += "as in class." if here.train == in_class.train else f"in class for {_length(in_class)}."
    lengths = {name: changes[name] for name in _LENGTH if name in changes}
    try:
        changed = _length(override(here, lengths))
    except CourseError:
        return told
    return f"{told} The changed model was trained for {changed}." if lengths else told


def _length(experiment: Experiment) -> str:
    train = experiment.train
    images = (
        "all images" if train.num_train_images is None else f"{train.num_train_images:,} images"
    )
    words = f"{train.num_epochs} epoch{'s' if train.num_epochs != 1 else ''} of {images}"
    if train.min_epoch_steps is not None:
        words += f", at least {train.min_epoch_steps} steps each"
    return words


# Why these are not the student's to change
_OF_DATA = "it is taken from the data"
_OF_IMAGES = "models of the homework learn from images and not from a trained model"
_MUON = ("train.optimizer", "train.muon_learning_rate")
FIXED = {
    "seed": (
        "both models are trained with the seeds of homework.json; a seed is no parameter of a model"
    ),
    "dataset": (
        "both models are trained on the dataset of homework.json; "
        "the data are no parameter of a model"
    ),
    "family": "it names the model itself",
    "budget": "both models are trained with the budget of homework.json",
    "model.image_size": _OF_DATA,
    "model.image_channels": _OF_DATA,
    "model.num_classes": _OF_DATA,
    "model.teacher": _OF_IMAGES,
    "model.num_pairs": _OF_IMAGES,
    # but in families that take it
    **dict.fromkeys(_MUON, "'muon' was tried with the diffusion model only"),
}
# Why a change of these, which may be made, does not count. They stand last in the table.
_BUDGET = "it is the length of the training, not the model"
_BOOKKEEPING = "it is bookkeeping and leaves the model as it is"
NOT_COUNTED = {
    "train.num_epochs": _BUDGET,
    "train.num_train_images": _BUDGET,
    "train.min_epoch_steps": _BUDGET,
    "train.num_validation_images": _BOOKKEEPING,
    "train.channels_last": _BOOKKEEPING,
    "train.precision": _BOOKKEEPING,
}
# Of these the distance from 1 is what matters: 0.9 and 0.99 are far apart.
MEMORIES = ("train.adam_betas", "train.ema_decay")


def settings_of(family: str) -> dict[str, Setting]:
    """Returns `{dotted name: setting}` of everything that a student may change in a family.

    The model's own settings come first, and what does not count comes last.

    Raises:
        CourseError: no such family in the homework.
    """
    if family not in FAMILIES:
        raise unknown("family of the homework", family, FAMILIES)
    model, train = config_settings(config_class(family)), config_settings(TrainConfig)
    known = {f"model.{name}": setting for name, setting in model.items()}
    known |= {f"train.{name}": setting for name, setting in train.items()}
    fixed = FIXED.keys() - _MUON if takes_muon(family) else FIXED.keys()
    free = [name for name in known if name not in fixed]
    return {name: known[name] for name in sorted(free, key=NOT_COUNTED.__contains__)}


def meaning(family: str, name: str) -> str:
    """Returns what a setting means, in a few words; "" for an unknown name or family."""
    known = settings_of(family).get(name) if family in FAMILIES else None
    return known.meaning if known else ""


@dataclass(frozen=True)
class NoEffect:
    """A setting that has no effect, or less than its values suggest, in some experiments.

    Attributes:
        family: whose experiments; "" for all.
        name: dotted.
        applies: to which experiments.
        value: the one that stands for all values which are the same there.
        why: in one clause.
    """

    family: str
    name: str
    applies: Callable[[Experiment], bool]
    value: Callable[[Experiment], Any]
    why: str

    def holds_for(self, experiment: Experiment) -> bool:
        """Returns whether the setting has no effect in an experiment of any family."""
        return self.family in ("", experiment.family) and self.applies(experiment)


def _no_penalty(experiment: Experiment) -> bool:
    return experiment.model.r1_weight == 0 and experiment.model.gradient_penalty_weight == 0


def _share_of_whole_images(experiment: Experiment) -> float:
    """Returns the share of a batch that penalties really see, whole images as in `DCGAN`."""
    size = experiment.train.batch_size
    return min(1.0, max(1, round(experiment.model.penalty_share * size)) / size)


def _never_guides(experiment: Experiment) -> bool:
    """Returns whether no step of the sampler begins at a time at which guidance acts."""
    model = experiment.model
    times = time_grid(model.num_steps, start=model.first_time)[:-1].tolist()
    return not any(guides_at(model.guidance_interval, t) for t in times)


RULES = (
    NoEffect(
        "",
        "train.warmup_fraction",
        lambda e: e.train.schedule != "one_cycle",
        lambda e: TrainConfig().warmup_fraction,
        "only the schedule 'one_cycle' has a warm-up",
    ),
    NoEffect(
        "",
        "train.muon_learning_rate",
        lambda e: e.train.optimizer == "adamw",
        lambda e: TrainConfig().muon_learning_rate,
        "only the optimizer 'muon' has this learning rate",
    ),
    NoEffect(
        "vae",
        "model.noise_std",
        lambda e: e.model.likelihood != "gaussian",
        lambda e: 0.1,
        "only the likelihood 'gaussian' has a noise_std",
    ),
    NoEffect(
        "vae",
        "model.free_bits",
        lambda e: e.model.beta == 0,
        lambda e: 0.0,
        "with beta 0 the KL term counts for nothing",
    ),
    NoEffect(
        "dcgan",
        "model.penalty_share",
        _no_penalty,
        lambda e: 1.0,
        "r1_weight and gradient_penalty_weight are 0, so there is no penalty",
    ),
    NoEffect(
        "dcgan",
        "model.penalty_share",
        lambda e: not _no_penalty(e),
        _share_of_whole_images,
        "it comes to the same whole number of images of a batch",
    ),
    NoEffect(
        "diffusion",
        "model.sampler",
        lambda e: e.model.sampler == "ddim",
        lambda e: "euler",
        "'ddim' without noise takes the steps of 'euler'",
    ),
    NoEffect(
        "diffusion",
        "model.sampler",
        lambda e: e.model.num_steps == 1,
        lambda e: "euler",
        "with one step all samplers do the same",
    ),
    NoEffect(
        "diffusion",
        "model.guidance_scale",
        lambda e: e.model.unlabelled == "null",
        lambda e: 1.0,
        "samples without labels have nothing to guide",
    ),
    NoEffect(
        "diffusion",
        "model.guidance_scale",
        _never_guides,
        lambda e: 1.0,
        "none of the sampler's steps lies within guidance_interval",
    ),
    NoEffect(
        "diffusion",
        "model.guidance_interval",
        lambda e: e.model.guidance_scale == 1 or e.model.unlabelled == "null",
        lambda e: (0.0, 1.0),
        "there is no guidance, so no time at which it acts",
    ),
)


def effective(experiment: Experiment) -> Experiment:
    """Returns the experiment with one value for all that come to the same.

    Equal results mean equal models and equal samples.
    """
    for rule in RULES:
        if rule.holds_for(experiment):
            experiment = override(experiment, {rule.name: rule.value(experiment)})
    return experiment


def why_no_effect(experiment: Experiment, name: str) -> str:
    """Returns why a setting has no effect in an experiment, in one clause."""
    for rule in RULES:
        if rule.name == name and rule.holds_for(experiment):
            return rule.why
    return "another setting switches it off"


MIN_COUNTED = 3  # changes in each model
SMALLEST_CHANGE = 0.01  # relative; less is no change that could be examined
SMALLEST_FROM_ZERO = 1e-4  # of the largest value that the homework takes: 1e-12 is not beside 0
# Longer than the gradients of the class's models: of the VAE, the largest, 209 in the first steps
LONGEST_GRADIENT = 500.0
Status = Literal["counts", "idle", "free", "refused"]


@dataclass(frozen=True)
class ChangeEntry:
    """What one change is worth.

    Attributes:
        name, value: as they were given.
        baseline: the value in class; None where there is no such setting.
        status: "counts"; "idle" and "free", which may be changed but do not count; "refused", with
            which nothing is run.
        message: why it does not count, without its name; "" where it does.
    """

    name: str
    value: Any
    baseline: Any
    status: Status
    message: str = ""

    def __str__(self) -> str:
        if self.status == "counts":
            return f"{self.name}: {plain(self.baseline)} -> {plain(self.value)}: counts"
        return f"{self.name}: {self.message}"


@dataclass(frozen=True)
class ChangeReport:
    """What all changes of one model are worth; printing it prints the live count.

    Attributes:
        family: of the model.
        entries: one a change.
        experiment: the changed model, None where a change is refused.
    """

    family: str
    entries: tuple[ChangeEntry, ...]
    experiment: Experiment | None

    @property
    def num_counted(self) -> int:
        return sum(entry.status == "counts" for entry in self.entries)

    @property
    def problems(self) -> tuple[str, ...]:
        """What has to be put right before anything is run."""
        return tuple(str(entry) for entry in self.entries if entry.status == "refused")

    @property
    def enough(self) -> bool:
        """Whether the assignment's rule for the changes is met."""
        return not self.problems and self.num_counted >= MIN_COUNTED

    def __str__(self) -> str:
        head = f"{self.num_counted} of {MIN_COUNTED} parameters count"
        lines = [str(entry) for entry in self.entries] or ["nothing is changed yet"]
        return "\n  ".join([head, *lines])


def validate_changes(
    family: str, changes: Mapping[str, Any], budget_name: str = "laptop"
) -> ChangeReport:
    """Returns what changes of a class model are worth, at once and without training anything.

    Args:
        family: "vae", "dcgan" or "diffusion".
        changes: `{dotted name: value}`, such as `{"model.latent_dim": 8}`.
        budget_name: of the class model that is changed.

    Raises:
        CourseError: no such family or budget. Wrong changes are not raised but reported.
    """
    return judge_changes(homework_preset(family, budget_name), changes)


def judge_changes(baseline: Experiment, changes: Mapping[str, Any]) -> ChangeReport:
    """Returns what changes of any baseline are worth; see `validate_changes`."""
    if not isinstance(changes, Mapping):
        example = "{'model.latent_dim': 8}"
        raise CourseError(f"changes: expected a dict such as {example}, got {changes!r}.")
    settings, before = settings_of(baseline.family), flatten(baseline)
    refused = _wrong_names(changes, settings)
    refused |= _wrong_values(baseline, _without(changes, refused), settings)
    changed = override(baseline, _without(changes, refused))

    entries = []
    for name, value in changes.items():
        if name in refused:
            status, message = "refused", refused[name]
        else:
            status, message = _worth(name, baseline, changed)
        entries.append(ChangeEntry(str(name), value, before.get(name), status, message))
    return ChangeReport(baseline.family, tuple(entries), None if refused else changed)


def _without(changes: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name not in names}


def _wrong_names(changes: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, str]:
    """Returns a message for each name that cannot be changed.

    It is no setting of the model, is not the student's to change, or is a second name of another.
    """
    wrong: dict[str, str] = {}
    seen: dict[str, str] = {}  # what was meant: the name that said so first
    for name in changes:
        meant = _normal(name, settings)
        if meant in seen:
            other = seen[meant]
            wrong[name] = f"is the same parameter as {other}; it has one value and counts once"
        elif meant in FIXED and meant not in settings:
            wrong[name] = f"does not count and cannot be changed: {FIXED[meant]}"
        elif name not in settings:
            wrong[name] = str(unknown("parameter", name, settings)).rstrip(".")
        seen.setdefault(meant, name)
    return wrong


def _normal(name: Any, settings: Iterable[str]) -> str:
    """Returns the name that was meant: no blanks, no capitals, and with its group."""
    text = str(name).strip().casefold().replace("__", ".").replace("-", "_")
    for full in (*settings, *FIXED):
        if text in (full, full.partition(".")[2]):
            return full
    return text


def _wrong_values(
    baseline: Experiment, changes: Mapping[str, Any], settings: Mapping[str, Setting]
) -> dict[str, str]:
    """Returns a message for each value that the model or the homework does not accept.

    What is left can be changed together.
    """
    messages = {name: _out_of_range(value, settings[name]) for name, value in changes.items()}
    wrong = {name: message for name, message in messages.items() if message}
    while True:
        rest = _without(changes, wrong)
        error = _error(baseline, rest)
        if not error:
            return wrong
        messages = {name: _error(baseline, {name: value}) for name, value in rest.items()}
        alone = {name: message for name, message in messages.items() if message}
        wrong |= alone or {next(reversed(rest)): f"does not go with the other changes: {error}"}


def _error(baseline: Experiment, changes: Mapping[str, Any]) -> str:
    """Returns what the model says against changes; "" where it accepts them.

    The name of a single change is left out.
    """
    try:
        override(baseline, changes)
        return ""
    except CourseError as error:
        message = str(error).rstrip(".")
    if len(changes) == 1:
        (name,) = changes
        message = message.removeprefix(f"{name}: ").removeprefix(f"{name.split('.')[1]}: ")
    return message


def _out_of_range(value: Any, setting: Setting) -> str:
    """Returns a message for a value outside what the homework takes; types are not looked at."""
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    longest = setting.length or setting.longest
    if longest and len(entries) > longest:
        return f"expected at most {longest} entries, got {len(entries)}"
    if setting.sensible is None:
        return ""
    low, high = setting.sensible
    for entry in entries:
        if type(entry) in (int, float) and not low <= entry <= high:
            return f"out of range: expected {low:g} to {high:g}, got {entry!r}"
    return ""


def _worth(name: str, baseline: Experiment, changed: Experiment) -> tuple[Status, str]:
    """Returns status and message of a change that may be made, among the others that may."""
    if name in NOT_COUNTED:
        return "free", f"may be changed but does not count: {NOT_COUNTED[name]}"
    old, new = flatten(baseline)[name], flatten(changed)[name]
    if old == new:
        return "idle", f"no effect: {plain(old)} is the value in class"
    if _nearly_equal(name, old, new):
        difference = f"differs from {plain(old)} by less than {SMALLEST_CHANGE:.0%}"
        return "idle", f"no effect to be seen: {plain(new)} {difference}"
    if name == "train.max_grad_norm" and old is None and new >= LONGEST_GRADIENT:
        return "idle", f"no effect to be seen: gradients are shorter than {LONGEST_GRADIENT:g}"
    least = _least_from_zero(name, baseline)
    if 0 in (old, new) and _is_nearly_zero(old, least) and _is_nearly_zero(new, least):
        return "idle", f"no effect to be seen: expected 0 or at least {least:g}, got {plain(new)}"
    try:
        without = override(changed, {name: old})
    except CourseError:  # the other changes need this one
        return "counts", ""
    if effective(without) == effective(changed):
        return "idle", f"no effect: {why_no_effect(changed, name)}"
    return "counts", ""


def _nearly_equal(name: str, old: Any, new: Any) -> bool:
    """Returns whether two floats, or lists of them, differ by less than could be examined.

    Whole numbers always differ.
    """
    old, new = (list(value) if isinstance(value, tuple) else [value] for value in (old, new))
    if len(old) != len(new) or not all(isinstance(value, float) for value in (*old, *new)):
        return False
    if name in MEMORIES:
        old, new = ([1 - value for value in values] for values in (old, new))
    return all(math.isclose(a, b, rel_tol=SMALLEST_CHANGE) for a, b in zip(old, new))


def _least_from_zero(name: str, baseline: Experiment) -> float:
    """Returns the smallest value of a setting that differs from 0 to be seen; 0 where none is."""
    sensible = settings_of(baseline.family)[name].sensible
    return 0.0 if sensible is None else SMALLEST_FROM_ZERO * abs(sensible[1])


def _is_nearly_zero(value: Any, least: float) -> bool:
    return isinstance(value, float) and abs(value) < least


def plain(value: Any) -> str:
    """Returns a setting's value as it is written in `changes`."""
    return str(list(value)) if isinstance(value, tuple) else repr(value)


def parameter_rows(family: str, budget_name: str = "laptop") -> list[dict[str, str]]:
    """Returns the class baseline as rows of texts, one a setting: the five to try first, then group
    by group.

    Columns: parameter, what it does, value in class, the range that the homework takes, unit,
    meaning, and whether a change counts.
    """
    baseline = homework_preset(family, budget_name)
    values = flatten(baseline)
    hints = {group: get_type_hints(type(getattr(baseline, group))) for group in ("model", "train")}
    rows = []
    known = settings_of(family)
    for name in sorted(known, key=lambda name: table_place(family, name, name not in NOT_COUNTED)):
        setting = known[name]
        group, field = name.split(".")
        first = table_place(family, name, name not in NOT_COUNTED)[0] == 0
        what = group_of(name, name not in NOT_COUNTED)
        rows.append(
            {
                "parameter": name,
                "does": f"{what} (try first)" if first else what,
                "in class": plain(values[name]),
                "range": _range_in_words(setting, hints[group][field]),
                "unit": setting.unit,
                "meaning": setting.meaning,
                "counts": f"no: {NOT_COUNTED[name]}" if name in NOT_COUNTED else "yes",
            }
        )
    return rows


def _range_in_words(setting: Setting, hint: Any) -> str:
    """Returns the values that the homework takes, such as "1 to 128" or "'mlp' or 'conv'"."""
    if setting.sensible is not None:
        low, high = setting.sensible
        return f"{low:g} to {high:g}"
    choices = get_args(hint) if get_origin(hint) is Literal else (True, False)
    return " or ".join(map(repr, choices))


def counted_names(report: ChangeReport) -> Sequence[str]:
    """Returns the changes that count."""
    return [entry.name for entry in report.entries if entry.status == "counts"]
