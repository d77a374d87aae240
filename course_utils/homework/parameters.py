"""The parameters of the assignment: what each setting means, how long the class's trainings are, and which changes count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from course_utils.base.config import flatten, override
from course_utils.base.device import BUDGETS
from course_utils.base.errors import CourseError, unknown
from course_utils.training.config import TrainConfig
from course_utils.training.presets import Experiment, preset

FAMILIES = ("vae", "dcgan", "diffusion")
NUM_IMAGES = {"smoke": 200, "laptop": 2_000, "gpu": 10_000}  # generated ones that are measured, against as many test images
LENGTHS: dict[tuple[str, str], dict[str, Any]] = {
    ("dcgan", "laptop"): {"train.num_train_images": 15_000, "train.num_epochs": 4},  # half of the class's training
    ("diffusion", "laptop"): {"train.num_train_images": 20_000, "train.num_epochs": 6},  # a third of it
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


Bound = float | None


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        meaning: in a few words.
        unit: "" where it is a number without one, or a choice.
        low, high: what the homework accepts; None where the choices are listed by the type.
        why_not: why a change does not count; "" where it does.
        longest: of a list, most entries.
    """

    meaning: str
    unit: str = ""
    low: Bound = None
    high: Bound = None
    why_not: str = ""
    longest: int = 1

    @property
    def counts(self) -> bool:
        return not self.why_not


_BUDGET = "it is the length of the training, not the model"
_KEEPING = "it is bookkeeping and leaves the model as it is"

_TRAINING = {
    "train.learning_rate": Setting("highest learning rate of the schedule", "", 1e-5, 0.1),
    "train.batch_size": Setting("images that one step sees", "images", 8, 1024),
    "train.schedule": Setting("how the learning rate changes during the training"),
    "train.warmup_fraction": Setting("share of the training in which one_cycle climbs", "", 0.01, 0.9),
    "train.adam_betas": Setting("how long Adam remembers gradients and their squares", "", 0.0, 0.99999, longest=2),
    "train.weight_decay": Setting("decoupled weight decay", "", 0.0, 1.0),
    "train.max_grad_norm": Setting("gradients longer than this are shortened to it", "", 1e-3, 1e3),
    "train.ema_decay": Setting("decay of the moving average of the weights", "a step", 0.5, 0.99999),
    "train.augmentation": Setting("random changes of the training images"),
    "train.num_epochs": Setting("passes over the training images", "epochs", 1, 200, _BUDGET),
    "train.num_train_images": Setting("training images, a random subset", "images", 500, 1_000_000, _BUDGET),
    "train.num_validation_images": Setting("test images measured after each epoch", "images", 0, 100_000, _KEEPING),
    "train.channels_last": Setting("memory layout", "", None, None, _KEEPING),
    "train.precision": Setting("of the arithmetic", "", None, None, _KEEPING),
}
_MODELS: dict[str, dict[str, Setting]] = {
    "vae": {
        "model.network": Setting("kind of encoder and decoder"),
        "model.hidden_dims": Setting("units a layer (mlp), channels a resolution (conv, two of them)", "units", 4, 1024, longest=4),
        "model.latent_dim": Setting("dimensions of z", "", 1, 128),
        "model.likelihood": Setting("distribution of a pixel given z"),
        "model.binarisation": Setting("whether pixels are drawn black or white at every step"),
        "model.noise_std": Setting("standard deviation of the Gaussian likelihood", "of the range of pixels", 0.01, 1.0),
        "model.beta": Setting("weight of the KL term", "", 0.0, 100.0),
        "model.free_bits": Setting("KL that a latent dimension may use for free", "nats", 0.0, 10.0),
        "model.num_prior_components": Setting("Gaussians of a learned prior; 0: N(0, I)", "", 0, 500),
        "model.num_importance_samples": Setting("draws of z an image in the loss", "", 1, 20),
    },
    "dcgan": {
        "model.conditional": Setting("whether both networks are told the class"),
        "model.latent_dim": Setting("dimensions of the noise z", "", 1, 256),
        "model.generator_width": Setting("channels of the generator's last hidden layer", "channels", 4, 96),
        "model.discriminator_width": Setting("channels of the discriminator's first layer", "channels", 4, 96),
        "model.loss": Setting("what the two networks minimise"),
        "model.discriminator_norm": Setting("normalisation in the discriminator"),
        "model.discriminator_lr_factor": Setting("the discriminator's learning rate", "of the generator's", 0.02, 50.0),
        "model.r1_weight": Setting("weight of the penalty on gradients at real images", "", 0.0, 100.0),
        "model.gradient_penalty_weight": Setting("weight of the penalty on gradients between real and fake", "", 0.0, 100.0),
        "model.penalty_share": Setting("share of a batch on which penalties are computed", "", 0.01, 1.0),
        "model.instance_noise_std": Setting("noise on all that the discriminator sees", "pixels in [-1, 1]", 0.0, 2.0),
        "model.minibatch_std": Setting("whether the discriminator sees how much the images of a batch differ"),
        "model.label_smoothing": Setting("by how much the label of a real image is less than 1", "", 0.0, 0.4),
    },
    "diffusion": {
        "model.channels": Setting("channels of each resolution of the U-Net", "channels", 4, 128, longest=3),
        "model.num_blocks": Setting("blocks a resolution, on each side", "", 1, 4),
        "model.patch_size": Setting("side of the squares that are folded into channels; 28 must be a multiple of it", "pixels", 1, 2),
        "model.embed_dim": Setting("dimensions of the code of time and class", "", 8, 512),
        "model.attention": Setting("whether the lowest resolution has self-attention"),
        "model.schedule": Setting("how image and noise are mixed at each time"),
        "model.target": Setting("what the network predicts"),
        "model.time_sampling": Setting("how often the training sees each time"),
        "model.loss_weighting": Setting("how much each time counts"),
        "model.label_dropout": Setting("share of the training images whose label is hidden", "", 0.0, 1.0),
        "model.unlabelled": Setting("what sampling without labels does"),
        "model.sampler": Setting("how an image is made from noise"),
        "model.num_steps": Setting("of the sampler", "steps", 1, 250),
        "model.guidance_scale": Setting("strength of classifier-free guidance; 1 is none", "", 0.0, 10.0),
    },
}
# Why these are not the student's to change. The homework takes them from homework.json and from the data.
FIXED = {
    "seed": "both models are trained with the seeds of homework.json; a seed is no parameter of a model",
    "dataset": "both models are trained on the dataset of homework.json; the data are no parameter of a model",
    "family": "it names the model itself",
    "budget": "both models are trained with the budget of homework.json",
    "model.image_size": "it is taken from the data",
    "model.image_channels": "it is taken from the data",
    "model.num_classes": "it is taken from the data",
}
# Of these the distance from 1 is what matters: 0.9 and 0.99 are far apart.
MEMORIES = ("train.adam_betas", "train.ema_decay")


def settings_of(family: str) -> dict[str, Setting]:
    """Returns `{dotted name: setting}` of everything that a student may change in a family; the model's own settings come first.

    Raises:
        CourseError: no such family in the homework.
    """
    if family not in FAMILIES:
        raise unknown("family of the homework", family, FAMILIES)
    return {**_MODELS[family], **_TRAINING}


def meaning(family: str, name: str) -> str:
    """Returns what a setting means, in a few words; "" for a name or family that the homework does not know."""
    known = _MODELS.get(family, {}).get(name) or _TRAINING.get(name)
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


def _no_penalty(experiment: Experiment) -> bool:
    return experiment.model.r1_weight == 0 and experiment.model.gradient_penalty_weight == 0


def _share_of_whole_images(experiment: Experiment) -> float:
    """Returns the share of a batch that penalties really see, whole images as in `DCGAN`."""
    size = experiment.train.batch_size
    return min(1.0, max(1, round(experiment.model.penalty_share * size)) / size)


RULES = (
    NoEffect(
        "",
        "train.warmup_fraction",
        lambda e: e.train.schedule != "one_cycle",
        lambda e: TrainConfig().warmup_fraction,
        "only the schedule 'one_cycle' has a warm-up",
    ),
    NoEffect(
        "vae", "model.noise_std", lambda e: e.model.likelihood != "gaussian", lambda e: 0.1, "only the likelihood 'gaussian' has a noise_std"
    ),
    NoEffect("vae", "model.free_bits", lambda e: e.model.beta == 0, lambda e: 0.0, "with beta 0 the KL term counts for nothing"),
    NoEffect("dcgan", "model.penalty_share", _no_penalty, lambda e: 1.0, "r1_weight and gradient_penalty_weight are 0, so there is no penalty"),
    NoEffect(
        "dcgan",
        "model.penalty_share",
        lambda e: not _no_penalty(e),
        _share_of_whole_images,
        "it comes to the same whole number of images of a batch",
    ),
    NoEffect("diffusion", "model.sampler", lambda e: e.model.sampler == "ddim", lambda e: "euler", "'ddim' without noise takes the steps of 'euler'"),
    NoEffect("diffusion", "model.sampler", lambda e: e.model.num_steps == 1, lambda e: "euler", "with one step all samplers do the same"),
    NoEffect("diffusion", "model.guidance_scale", lambda e: e.model.unlabelled == "null", lambda e: 1.0, "samples without labels have nothing to guide"),
)


def effective(experiment: Experiment) -> Experiment:
    """Returns the experiment with one value for all that come to the same: equal results mean equal models and equal samples."""
    for rule in RULES:
        if rule.family in ("", experiment.family) and rule.applies(experiment):
            experiment = override(experiment, {rule.name: rule.value(experiment)})
    return experiment


def why_no_effect(experiment: Experiment, name: str) -> str:
    """Returns why a setting has no effect in an experiment, in one clause."""
    for rule in RULES:
        if rule.name == name and rule.family in ("", experiment.family) and rule.applies(experiment):
            return rule.why
    return "another setting switches it off"


MIN_COUNTED = 3  # changes in each model
SMALLEST_CHANGE = 0.01  # relative; less is no change that could be examined


@dataclass(frozen=True)
class ChangeEntry:
    """What one change is worth.

    Attributes:
        name, value: as they were given.
        baseline: the value in class; None where there is no such setting.
        status: "counts"; "idle" and "free", which may be changed but do not count; "refused", with which nothing is run.
        message: why it does not count, without its name; "" where it does.
    """

    name: str
    value: Any
    baseline: Any
    status: Literal["counts", "idle", "free", "refused"]
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
        lines = [f"{self.num_counted} of {MIN_COUNTED} parameters count", *(f"  {entry}" for entry in self.entries)]
        return "\n".join(lines if self.entries else [lines[0], "  nothing is changed yet"])


def validate_changes(family: str, changes: Mapping[str, Any], budget_name: str = "laptop") -> ChangeReport:
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
        raise CourseError(f"changes: expected a dict such as {{'model.latent_dim': 8}}, got {changes!r}.")
    settings, before = settings_of(baseline.family), flatten(baseline)
    refused = _wrong_names(changes, settings)
    refused |= _wrong_values(baseline, {name: value for name, value in changes.items() if name not in refused}, settings)
    changed = override(baseline, {name: value for name, value in changes.items() if name not in refused})
    entries = []
    for name, value in changes.items():
        status, message = ("refused", refused[name]) if name in refused else _worth(name, baseline, changed, settings[name])
        entries.append(ChangeEntry(str(name), value, before.get(name), status, message))
    return ChangeReport(baseline.family, tuple(entries), None if refused else changed)


def _wrong_names(changes: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, str]:
    """Returns a message for each name that is no setting of the model, is not the student's to change, or stands for one that is there already."""
    wrong: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name in changes:
        meant = _normal(name, settings)
        if meant in seen:
            wrong[name] = f"is the same parameter as {seen[meant]}; it has one value and counts once"
        elif meant in FIXED:
            wrong[name] = f"does not count and cannot be changed: {FIXED[meant]}"
        elif name not in settings:
            wrong[name] = str(unknown("parameter", name, settings)).rstrip(".")
        seen.setdefault(meant, name)
    return wrong


def _normal(name: Any, settings: Iterable[str]) -> str:
    """Returns the name that was meant: without blanks and capitals, and with its group where that is left out."""
    text = str(name).strip().casefold().replace("__", ".").replace("-", "_")
    return next((full for full in (*settings, *FIXED) if text == full or text == full.partition(".")[2]), text)


def _wrong_values(baseline: Experiment, changes: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, str]:
    """Returns a message for each value that the model or the homework does not accept; what is left can be changed together."""
    wrong = {name: message for name, value in changes.items() if (message := _out_of_range(value, settings[name]))}
    while error := _error(baseline, rest := {name: value for name, value in changes.items() if name not in wrong}):
        alone = {name: message for name, value in rest.items() if (message := _error(baseline, {name: value}))}
        wrong |= alone or {next(reversed(rest)): f"does not go with the other changes: {error}"}
    return wrong


def _error(baseline: Experiment, changes: Mapping[str, Any]) -> str:
    """Returns what the model says against changes, without the name of a single one; "" where it accepts them."""
    try:
        override(baseline, changes)
        return ""
    except CourseError as error:
        name = next(iter(changes)) if len(changes) == 1 else ""
        return str(error).rstrip(".").removeprefix(f"{name}: ").removeprefix(f"{name.partition('.')[2]}: ")


def _out_of_range(value: Any, setting: Setting) -> str:
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if setting.longest > 1 and len(items) > setting.longest:
        return f"expected at most {setting.longest} entries, got {len(items)}"
    for item in items:
        if type(item) in (int, float) and setting.low is not None and not setting.low <= item <= setting.high:
            return f"out of range: expected {range_in_words(setting)}, got {item!r}"
    return ""


def _worth(name: str, baseline: Experiment, changed: Experiment, setting: Setting) -> tuple[str, str]:
    """Returns status and message of a change that may be made, among the others that may."""
    if not setting.counts:
        return "free", f"may be changed but does not count: {setting.why_not}"
    old, new = flatten(baseline)[name], flatten(changed)[name]
    if old == new:
        return "idle", f"no effect: {plain(old)} is the value in class"
    if _nearly_equal(name, old, new):
        return "idle", f"no effect to be seen: {plain(new)} differs from {plain(old)} by less than {SMALLEST_CHANGE:.0%}"
    try:
        without = override(changed, {name: old})
    except CourseError:  # the other changes need this one
        return "counts", ""
    if effective(without) == effective(changed):
        return "idle", f"no effect: {why_no_effect(changed, name)}"
    return "counts", ""


def _nearly_equal(name: str, old: Any, new: Any) -> bool:
    """Returns whether two floats, or two lists of them, differ by less than could be examined; whole numbers always differ."""
    old, new = (list(value) if isinstance(value, (list, tuple)) else [value] for value in (old, new))
    if len(old) != len(new) or not all(isinstance(value, float) for value in (*old, *new)):
        return False
    if name in MEMORIES:
        old, new = ([1 - value for value in values] for values in (old, new))
    return all(math.isclose(a, b, rel_tol=SMALLEST_CHANGE) for a, b in zip(old, new))


def plain(value: Any) -> str:
    """Returns a setting's value as it is written in `changes`."""
    return str(list(value)) if isinstance(value, tuple) else repr(value)


def range_in_words(setting: Setting, hint: Any = None) -> str:
    """Returns what values are accepted, such as "1 to 128" or "'mlp' or 'conv'"."""
    if setting.low is not None:
        return f"{setting.low:g} to {setting.high:g}"
    return " or ".join(map(repr, get_args(hint))) if get_origin(hint) is Literal else "True or False"


def parameter_rows(family: str, budget_name: str = "laptop") -> list[dict[str, str]]:
    """Returns the class baseline as rows of texts: parameter, value in class, range, unit, meaning, and whether a change of it counts."""
    baseline = homework_preset(family, budget_name)
    values = flatten(baseline)
    hints = {group: get_type_hints(type(getattr(baseline, group))) for group in ("model", "train")}
    rows = []
    for name, setting in settings_of(family).items():
        group, field = name.split(".")
        row = {"parameter": name, "in class": plain(values[name]), "range": range_in_words(setting, hints[group][field])}
        rows.append({**row, "unit": setting.unit, "meaning": setting.meaning, "counts": "yes" if setting.counts else f"no: {setting.why_not}"})
    return rows


def counted_names(report: ChangeReport) -> Sequence[str]:
    """Returns the changes that count."""
    return [entry.name for entry in report.entries if entry.status == "counts"]
